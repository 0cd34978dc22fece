//! What goes into the queue and comes out of it, in words of our own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::job::attempt::SessionFate;
use crate::job::plan::Plan;
use crate::job::share::{self, Mix, SMALL_BYTES};
use crate::job::steer::{Order, Selection};
use crate::job::upload::{ConfirmedParts, Session, Shape};
use crate::job::watch::{After, Watch, Watches};
use crate::job::{Delivery, Event, Fingerprint, Identity, JobId, Reason, SentHash, State};

/// Files that one lookup answers for at most: each holds up the folding of the log for as long as it takes.
pub(crate) const LOOKUPS_MAX: usize = 256;

/// The key of rows that ask for the after-action.
pub(crate) const AFTER: &str = Event::After.word();
/// The key of rows that ask for a new link.
pub(crate) const REFRESH: &str = Event::Refresh.word();
/// The number of a daemon among those that share a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DaemonId(pub i64);

impl DaemonId {
    /// The daemon of a queue in a local file, which is shared with nobody.
    pub(crate) const LOCAL: DaemonId = DaemonId(1);
}

/// A file that is settled, and the hosts it goes to.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The folder it is in.
    pub folder: PathBuf,
    /// Its name there.
    pub name: OsString,
    /// The version that is settled.
    pub identity: Identity,
    /// Names of the hosts it goes to.
    pub hosts: Arc<[String]>,
    /// Whether jobs are made of it; if not, it is only remembered as taken up.
    pub make_jobs: bool,
    /// Whether a person sends it by name: it goes to the hosts whatever the watches say.
    pub one_off: bool,
    /// Whether it goes to no host that has had an earlier version of it.
    pub first_version_only: bool,
    /// Higher goes first.
    pub priority: i64,
    /// Whether a writer was seen to close this version.
    pub close_seen: bool,
    /// The fingerprint of its content, where somebody had to look to know the version.
    pub fingerprint: Option<Fingerprint>,
    /// Whether it may be a file that was uploaded already, under another name.
    pub maybe_known: bool,
}

/// A host that asks for jobs.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Its name.
    pub host: String,
    /// Its jobs that upload.
    pub uploads: usize,
    /// Those of them that had been tried before.
    pub retries: usize,
    /// Jobs that may upload to it at once.
    pub uploads_max: usize,
    /// How many more it takes now.
    pub room: usize,
    /// When it was given a job last: a number that grows with time.
    pub served: u64,
    /// Whether that job had been tried before.
    pub retried_last: bool,
    /// Its jobs that upload a small file.
    pub small: usize,
    /// Whether the job that it was given last had a small file.
    pub small_last: bool,
    /// Whether the job that it is given is to find out whether it is well again.
    pub is_trial: bool,
}

impl Asking {
    /// A host that has nothing and takes up to `room` jobs.
    pub fn new(host: impl Into<String>, room: usize) -> Asking {
        Asking {
            host: host.into(),
            uploads: 0,
            retries: 0,
            uploads_max: room,
            room,
            served: 0,
            retried_last: false,
            small: 0,
            small_last: false,
            is_trial: false,
        }
    }

    /// Which jobs it is given in `given` places, where so many of its jobs are due again and so many are new.
    pub(super) fn turns(&self, due: usize, new: usize, given: usize) -> Turns {
        if self.is_trial {
            // What may fail again is to cost as little as it can, and each time it is another file.
            let new = given.min(new);
            return Turns { retries: (given - new).min(due), new, small: new, small_bytes: i64::MAX };
        }
        let Asking { uploads: running, retries: retrying, retried_last, small, small_last, .. } = *self;
        let (retries, new) = share::mix(given, Mix { running, retrying, due, new, retried_last });
        let small = share::small(new, running + given, small, small_last);
        Turns { retries, new, small, small_bytes: SMALL_BYTES.cast_signed() }
    }
}

/// How many jobs of each sort a host is given.
pub(super) struct Turns {
    pub(super) retries: usize,
    /// Those that were not tried yet.
    pub(super) new: usize,
    /// As many of these are to be the smallest, below so many bytes.
    pub(super) small: usize,
    pub(super) small_bytes: i64,
}

/// A claimed job, with all that a worker needs to know.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its number.
    pub id: JobId,
    /// Where the file is.
    pub path: PathBuf,
    /// The host it goes to.
    pub host: String,
    /// The version that was settled.
    pub identity: Identity,
    /// Failures in a row without progress.
    pub failures: u32,
    /// Of what kind the last failure was, in words of the engine's own, and how many in a row were of that kind.
    pub failing: Option<(String, u32)>,
    /// How long this row of failures has lasted, if there is one: while the daemon ran, and the host was there to be asked.
    pub failing_for: Option<Duration>,
    /// Sessions this file has lost.
    pub sessions_lost: u32,
    /// How often the file has been sent again for a new link, this time counted.
    pub renewals: u32,
    /// Whether it was its turn again, after a failure or a hold.
    pub retry: bool,
    /// Whether nothing is to be sent any more, and only its session to be given back.
    pub give_back: bool,
    /// Whether that session is forgotten already, since the job is over.
    pub is_over: bool,
    /// The half-sent upload of an earlier claim.
    pub upload: Option<Upload>,
}

/// Exactly what is sent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// What the file system says.
    pub identity: Identity,
    /// The fingerprint of its content, where it could be read.
    pub fingerprint: Option<Fingerprint>,
}

/// A half-sent upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The host's handle.
    pub session: Session,
    /// The shape that the host had at `open`; nothing where an older version of ferryd opened the session.
    pub shape: Option<Shape>,
    /// How the file was cut at `open`.
    pub plan: Plan,
    /// The parts the host has confirmed.
    pub confirmed: ConfirmedParts,
    /// The offset up to which a host that takes bytes in order has confirmed them.
    pub held_bytes: u64,
    /// The hash of all that it has confirmed, where it is known.
    pub sent_hash: Option<SentHash>,
    /// When the session was opened, in milliseconds since the Unix epoch.
    pub opened_ms: i64,
    /// Whether a commit was sent, or was about to be, and its answer is not known.
    pub committing: bool,
    /// How many commits have gone unanswered.
    pub commits: u32,
    /// Whether every part has been sent a second time because the host missed some.
    pub resent: bool,
}

/// How a worker leaves a job that it could not finish.
#[derive(Debug, Clone)]
pub struct ReturnedJob {
    /// Where it goes.
    pub state: State,
    /// The reason, for a person.
    pub why: Option<Reason>,
    /// When it is claimed again, in milliseconds since the Unix epoch.
    pub next_try_ms: Option<i64>,
    /// Failures in a row without progress.
    pub failures: u32,
    /// Of what kind the last failure was, in words of the engine's own, and how many in a row were of that kind.
    pub failing: Option<(String, u32)>,
    /// How long this row of failures has lasted, if there is one.
    pub failing_for: Option<Duration>,
    /// Whether the time until the next try belongs to that.
    pub counts: bool,
    /// What becomes of the session.
    pub session: SessionFate,
}

/// What a claim brings.
#[derive(Debug, Clone)]
pub struct Claims {
    /// The jobs, ready to be carried.
    pub jobs: Vec<Claimed>,
    /// When the next waiting job of the hosts that have room will be due, in milliseconds since the Unix epoch.
    pub next_due_ms: Option<i64>,
}

/// A host that asked for rest before the daemon started, and is not to be asked again before the rest is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    /// The host.
    pub host: String,
    /// For how long it is still to be left alone.
    pub left: Duration,
    /// Rests it asked for in a row.
    pub rests: u32,
}

/// What moves right now in one job.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// The job.
    pub job: JobId,
    /// Bytes sent, acknowledged or not.
    pub sent: u64,
    /// Bytes a second, lately.
    pub per_second: u64,
}

/// An order of a person's.
#[derive(Debug, Clone)]
pub(crate) struct Steer {
    /// What is to happen.
    pub order: Order,
    /// The jobs that it is for.
    pub selection: Selection,
    /// Only those with a greater number.
    pub after: JobId,
    /// Whether there is somebody who works on what is uploading.
    pub under_way: bool,
}

/// What became of telling which version of a file an upload sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is known from now on.
    Yes,
    /// The job is not this daemon's any more.
    NotOurs,
    /// Another job has sent another content of the file as the same version: it was changed in between.
    OtherVersion,
}

/// Who calls a verb, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// The daemon that the store was opened for.
    pub daemon: DaemonId,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What the queue knows of a file that the scan has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// This version is taken up for all its hosts.
    Known,
    /// Versions of this size and time were taken up at other paths, one of which may be this file's earlier one. Those of the
    /// same inode come first.
    Elsewhere(Vec<Earlier>),
    /// This version is taken up for all its hosts, and the file system tells something else of it by now.
    Renumbered,
    /// A version of this size and time is taken up, and the file's inode has changed since: it is the same one if it still has this
    /// fingerprint.
    Touched {
        /// Of what was sent.
        fingerprint: Fingerprint,
        /// Whether it is taken up for all its hosts.
        is_taken_up: bool,
    },
    /// Nothing is known of this version, or not for all its hosts.
    Unknown,
}

/// What stands between the name that a file had and its number, once another file has taken that name: no name has it.
pub(super) const DISPLACED: u8 = 0;

/// Where a version was taken up that looks like a file that the scan has met elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The folder it was in.
    pub folder: PathBuf,
    /// Its name there.
    pub name: OsString,
    /// Whether it is the very inode.
    pub same_inode: bool,
    /// The fingerprint of its content, where it is known.
    pub fingerprint: Option<Fingerprint>,
}

impl Earlier {
    /// Whether another file has taken its place since.
    pub(crate) fn is_displaced(&self) -> bool {
        self.name.as_bytes().contains(&DISPLACED)
    }

    /// Whether another file has its place, and its jobs are those of that place: of itself there is no more than the memory.
    pub(crate) fn is_replaced(&self) -> bool {
        self.name.as_bytes().windows(2).any(|bytes| bytes == [DISPLACED, DISPLACED])
    }

    /// The name that it had as long as the place was its own.
    pub(crate) fn own_name(&self) -> &OsStr {
        OsStr::from_bytes(self.name.as_bytes().split(|byte| *byte == DISPLACED).next().unwrap_or_default())
    }

    /// The path of that name.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(self.own_name())
    }
}

/// What follows a change of state, as configured. Nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The hooks.
    pub hooks: Vec<HookRule>,
    /// Every watch, for its after-action.
    pub watches: Watches,
    /// Names of the hosts whose links are renewed.
    pub refresh: Vec<String>,
    /// Names of the hosts whose mere word is enough for an after-action.
    pub trusted: Vec<String>,
    /// Those of them whose word is enough also for what was uploaded before they were trusted.
    pub trusted_before: Vec<String>,
}

/// A hook, as far as the queue needs to know it.
#[derive(Debug, Clone)]
pub struct HookRule {
    /// Its stable name.
    pub key: String,
    /// What it waits for.
    pub on: Vec<Event>,
    /// How long before its end a link is called expiring, in milliseconds.
    pub before_ms: i64,
}

/// What is due, and when the next is.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// When the next one is due, in milliseconds since the Unix epoch.
    pub next_due_ms: Option<i64>,
}

impl Rules {
    pub(super) fn is_empty(&self) -> bool {
        self.hooks.is_empty() && self.refresh.is_empty() && !self.watches.iter().any(|watch| watch.after != After::Keep)
    }

    pub(super) fn wants(&self, key: &str, event: Event) -> bool {
        self.hooks.iter().any(|hook| hook.key == key && hook.on.contains(&event))
    }

    /// The watch whose after-action is to be done to the file at `path`.
    pub(super) fn after_of(&self, path: &Path) -> Option<&Watch> {
        self.watches.of_file(path).filter(|watch| watch.after != After::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_watch_around_a_file_decides() {
        let watch = |path: &str, recursive, after| Watch { recursive, after, ..Watch::new(path.into(), Arc::from([])) };
        let watches = [watch("/a", true, After::Delete), watch("/a/b", true, After::Keep), watch("/c", false, After::Delete)];
        let rules = Rules { watches: watches.into_iter().collect(), ..Rules::default() };
        let acts = |path: &str| rules.after_of(Path::new(path)).is_some();
        assert!(acts("/a/x") && acts("/a/d/x") && acts("/c/x"));
        assert!(!acts("/a/b/x") && !acts("/c/d/x") && !acts("/d/x"));
    }
}
