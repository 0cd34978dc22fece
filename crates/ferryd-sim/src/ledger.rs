//! What users have in the watched folder, and every content that a file there ever had while nobody wrote into it: what the
//! promises are judged by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::setting::After;

impl Ledger {
    /// The files that every host is to have.
    pub(crate) fn expected(&self) -> impl Iterator<Item = (&PathBuf, &Standing)> {
        self.standing.iter().filter(|(_, file)| file.is_ready && !self.hidden.contains(&file.digest))
    }
}

/// SHA-256 of a content, in hexadecimal, as the hosts say it.
pub(crate) type Digest = String;

/// What was seen of the users' files.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every content that a file in the watch had when nobody had it open for writing.
    pub(crate) closed: BTreeMap<Digest, Content>,
    /// The files that are in the watch.
    pub(crate) standing: BTreeMap<PathBuf, Standing>,
    /// What was last seen under each name.
    pub(crate) last: BTreeMap<PathBuf, Digest>,
    /// Digests of files that have not changed since.
    pub(crate) digests: BTreeMap<[i64; 6], Digest>,
    /// What the daemon has put aside at any time so far, and where it was: it may put that back.
    pub(crate) aside: BTreeMap<Digest, PathBuf>,
    /// Contents that differ from the one before where no fingerprint looks, under the same time: which of the two a host gets is not
    /// promised.
    pub(crate) hidden: BTreeSet<Digest>,
    /// What sources were configured to become at any time so far.
    pub(crate) afters: BTreeSet<After>,
}

/// A content that was whole.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) bytes: u64,
    /// The most names that it had at one time.
    pub(crate) names: usize,
    /// Whether it was outside the watch for a while: its after-action may have come and found nothing.
    pub(crate) was_away: bool,
    /// Whether a file that had it was ready to be sent.
    pub(crate) was_ready: bool,
    /// How often it came under a name that did not have it, renamings apart: so many files have it, or had it, one after the other.
    pub(crate) arrivals: usize,
}

impl Content {
    pub(crate) fn new(bytes: u64) -> Content {
        Content { bytes, names: 0, was_away: false, was_ready: false, arrivals: 0 }
    }
}

/// A file that stands in the watch and that nobody writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// Since when it is as it is, after the beginning.
    pub(crate) since: Duration,
    /// How long it has been so while the daemon ran and nothing was wrong with the machine.
    pub(crate) calm: Duration,
    /// Every host had it before the sources were told to go: it must stay.
    pub(crate) spared: bool,
    /// Whether it may be sent: its marker says that it is complete, where markers are wanted.
    pub(crate) is_ready: bool,
}

impl Standing {
    pub(crate) fn new(digest: &str, bytes: u64, since: Duration, is_ready: bool) -> Standing {
        Standing { digest: digest.to_owned(), bytes, since, calm: Duration::ZERO, spared: false, is_ready }
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
