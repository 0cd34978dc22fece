//! The open handle of a file that is sent: reads from it are never of two versions.
//!
//! The file is never memory-mapped: a file cut short must be an error, not a signal. Its identity is compared around every read.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::job::identity::Likeness;
use crate::job::plan::Range;
use crate::job::sent_hash::SentHash;
use crate::job::{Fingerprint, Identity, Reason, ReasonClass};
use crate::os::answers::Answers;
use crate::os::files::{self, Base, File, FileKind, Stat};
use crate::os::page_cache;

/// Files up to this size are read when they are opened.
pub(super) const WHOLE_BYTES: u64 = 64 * 1024;

/// Why the bytes of a file cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Reason::from(self.clone()))]
pub(crate) enum SourceError {
    /// There is no such file any more.
    Vanished,
    /// It is not the version that was settled: when that was noticed.
    Changed(&'static str),
    /// The operating system does not let us read it.
    Unreadable(String),
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if files::is_link(&error) => {
                SourceError::Changed("since it was queued: a symbolic link has replaced it or a folder above it")
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceError::Vanished,
            io::ErrorKind::UnexpectedEof => SourceError::Changed("while it was being read: it is shorter now"),
            _ => SourceError::Unreadable(error.to_string()),
        }
    }
}

impl From<SourceError> for Reason {
    fn from(error: SourceError) -> Reason {
        match error {
            SourceError::Vanished => Reason::new(ReasonClass::FileVanished),
            SourceError::Changed(when) => Reason::new(ReasonClass::FileChanged).detail(when),
            SourceError::Unreadable(error) => Reason::new(ReasonClass::FileUnreadable).detail(error),
        }
    }
}

/// A handle and what is known of its file.
pub(super) struct OpenSource {
    pub(super) file: Arc<File>,
    answers: Answers,
    /// The folder from which the file is reached, also when it is looked at again.
    base: Base,
    path: PathBuf,
    /// What the file was when it was known for the last time that its content is what is being sent.
    pub(super) identity: Mutex<Identity>,
    /// The hashes of ranges that have flowed whole, until somebody asks for them.
    pub(super) hashes: Mutex<HashMap<Range, SentHash>>,
    /// What was recorded of its content before anything of it flowed.
    pub(super) recorded: Mutex<Option<Fingerprint>>,
    /// All of a file that one read holds: it is read as it is opened, which spares small files a way to the disk.
    pub(super) whole: Option<Bytes>,
    pub(super) failed: Mutex<Option<SourceError>>,
}

/// Which version of which file is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// The folder from which the file is reached.
    pub base: Base,
    /// The file.
    pub path: PathBuf,
    /// The version.
    pub version: Identity,
    /// Whether nothing of it was sent yet: then a change of its inode alone (a `chmod`, a rename) does no harm. Otherwise it is
    /// opened as a file that was touched, which must be compared with what was sent.
    pub fresh: bool,
}

impl Drop for OpenSource {
    fn drop(&mut self) {
        self.answers.let_go(&self.file);
    }
}

impl OpenSource {
    pub(super) fn open(expected: Expected, answers: Answers) -> Result<OpenSource, SourceError> {
        let file = expected.base.open(&expected.path)?;
        let mut held = OpenSource::of(file, expected, answers)?;
        let Identity { device, size, .. } = held.identity();
        page_cache::remember_filesystem(&held.file, device);
        if size <= WHOLE_BYTES {
            held.whole = Some(held.read(0, size)?);
        }
        Ok(held)
    }

    /// A small file that nothing has to be waited for, and nothing is wrong with.
    pub(super) fn from_page_cache(expected: &Expected, answers: &Answers) -> Option<OpenSource> {
        let Expected { base, path, version, .. } = expected;
        let file = page_cache::open(base, path, version.device).filter(|_| version.size <= WHOLE_BYTES)?;
        let mut held = OpenSource::of(file, expected.clone(), answers.clone()).ok()?;
        held.whole = Some(page_cache::read(&held.file, held.identity().size)?.into());
        held.check_handle().ok().map(|()| held)
    }

    fn of(file: File, expected: Expected, answers: Answers) -> Result<OpenSource, SourceError> {
        let Expected { base, path, version, fresh } = expected;
        let stat = file.stat()?;
        let found = Identity::from(stat.numbers);
        let likeness = version.likeness(&found);
        if stat.kind != FileKind::File || matches!(likeness, Likeness::Other | Likeness::Coarser) {
            return Err(SourceError::Changed("since it was queued"));
        }
        let identity = if fresh { found } else { Identity { ctime_ns: version.ctime_ns, ..found } };
        let (identity, hashes, recorded, failed) = (Mutex::new(identity), Mutex::default(), Mutex::default(), Mutex::default());
        Ok(OpenSource { file: Arc::new(file), answers, base, path, identity, hashes, recorded, whole: None, failed })
    }

    pub(super) fn identity(&self) -> Identity {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file system says of the open file. That a handle is not found says nothing of the file: some file systems forget
    /// theirs when a file is renamed.
    pub(super) fn stat(&self) -> Result<Stat, SourceError> {
        self.file.stat().map_err(|error| SourceError::Unreadable(error.to_string()))
    }

    pub(super) fn is_untouched_in_cache(&self) -> bool {
        let seen = page_cache::look(&self.base, &self.path, self.identity().device).is_some();
        seen && self.check() == Ok(false)
    }

    /// Answers whether it was touched.
    pub(super) fn check(&self) -> Result<bool, SourceError> {
        let stat = self.stat()?;
        if stat.links == 0 {
            return Err(SourceError::Changed("while it was being uploaded: it was deleted, or another file has taken its place"));
        }
        self.judge(&stat)
    }

    pub(super) fn check_handle(&self) -> Result<(), SourceError> {
        self.judge(&self.stat()?).map(drop)
    }

    fn judge(&self, stat: &Stat) -> Result<bool, SourceError> {
        match self.identity().likeness(&Identity::from(stat.numbers)) {
            Likeness::Same | Likeness::Renumbered => Ok(false),
            Likeness::Touched => Ok(true),
            Likeness::Coarser | Likeness::Other if planted!("source.numbers_only") => Ok(false),
            Likeness::Coarser | Likeness::Other => Err(SourceError::Changed("while it was being uploaded")),
        }
    }

    /// The bytes of a small file, which are in memory.
    pub(super) fn kept(&self, offset: u64, bytes: u64) -> Option<Bytes> {
        let whole = self.whole.as_ref()?;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let end = begin.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX)).min(whole.len());
        Some(whole.slice(begin..end))
    }

    pub(super) fn read(&self, offset: u64, bytes: u64) -> Result<Bytes, SourceError> {
        let read = || {
            let buffer = self.file.read_at(usize::try_from(bytes).unwrap_or(0), offset)?;
            self.check_handle()?;
            Ok(Bytes::from(buffer))
        };
        read().inspect_err(|error| self.note_failure(error))
    }

    pub(super) fn note_failure(&self, error: &SourceError) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }
}
