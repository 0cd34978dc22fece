//! The queue, in verbs. What is told to it is on the disk when it answers; nobody outside knows that it is SQLite.
//!
//! `verbs` are what the rest of the daemon calls, `backend` what an engine that keeps a queue must be able to do, and `driver` carries the
//! one to the other: through one thread (`thread`) that writes, or at once. SQLite is in `sqlite`, its tables in `schema`, the SQL of the
//! verbs in `jobs`, `uploads`, `files` and `deliveries`; `view` reads for people, on connections of its own, so a reader never waits for a
//! writer nor stands in its way; `rescue` is what happens to a damaged database.

mod backend;
#[cfg(test)]
mod contract;
mod deliveries;
mod driver;
mod error;
mod files;
mod jobs;
#[cfg(test)]
mod memory;
mod rescue;
mod rows;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod thread;
mod uploads;
mod verbs;
mod view;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Notify, watch};

use crate::job::attempt::SessionFate;
use crate::job::plan::Plan;
use crate::job::upload::{Held, Session};
use crate::job::{Identity, Reason, State};
use crate::os::clock;

use driver::{Driver, Shared};

pub use deliveries::{AFTER, Due, HookRule, REFRESH, Rules};
pub use driver::Call;
pub use error::StoreError;
pub use files::Seen;
pub use rescue::Rescue;
pub use thread::{Durability, Trouble, WriterThread};
pub use view::{Query, Snapshot, View, WatchRow};

pub use crate::job::{HostRow, JobId, JobRow};

/// The database's name in the state folder.
pub const FILE_NAME: &str = "queue.db";

/// Files that one lookup answers for at most: each holds up the folding of the log for as long as it takes.
pub const LOOKUPS_MAX: usize = 256;

/// Tells what time it is, in milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The number of a daemon among those that share a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DaemonId(pub i64);

impl DaemonId {
    /// The daemon of a queue in a local file, which is shared with nobody.
    pub const LOCAL: DaemonId = DaemonId(1);
}

/// A file that is settled, and the hosts it goes to.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The folder it is in.
    pub folder: PathBuf,
    /// Its name there.
    pub name: std::ffi::OsString,
    /// The version that is settled.
    pub identity: Identity,
    /// Names of the hosts it goes to.
    pub hosts: Arc<[String]>,
    /// Whether jobs are made of it; if not, it is only remembered as taken up.
    pub make_jobs: bool,
    /// Higher goes first.
    pub priority: i64,
    /// Whether a writer was seen to close this version.
    pub close_seen: bool,
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
}

impl Asking {
    /// A host that has nothing and takes up to `room` jobs.
    pub fn new(host: impl Into<String>, room: usize) -> Asking {
        Asking { host: host.into(), uploads: 0, retries: 0, uploads_max: room, room, served: 0, retried_last: false }
    }
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
    /// When this row of failures began, in milliseconds since the Unix epoch.
    pub failing_since_ms: Option<i64>,
    /// Sessions this file has lost.
    pub sessions_lost: u32,
    /// Whether it was its turn again, after a failure or a hold.
    pub retry: bool,
    /// The half-sent upload of an earlier claim.
    pub upload: Option<Upload>,
}

/// A half-sent upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The host's handle.
    pub session: Session,
    /// How the file was cut at `open`.
    pub plan: Plan,
    /// The parts the host has confirmed.
    pub held: Held,
    /// The offset up to which a host that takes bytes in order has confirmed them.
    pub held_bytes: u64,
    /// When the session was opened, in milliseconds since the Unix epoch.
    pub opened_ms: i64,
    /// Whether a commit was sent, or was about to be, and its answer is not known.
    pub committing: bool,
    /// How many commits have gone unanswered.
    pub commits: u32,
    /// Whether every part has been sent a second time because the host missed some.
    pub resent: bool,
}

/// How a worker leaves a job that it could not carry to the end.
#[derive(Debug, Clone)]
pub struct PutBack {
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
    /// When this row of failures began, in milliseconds since the Unix epoch.
    pub failing_since_ms: Option<i64>,
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
    pub left: std::time::Duration,
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

/// The queue.
#[derive(Clone)]
pub struct Store {
    driver: Driver,
    /// Whom it was opened for.
    daemon: DaemonId,
    clock: Clock,
    arrivals: Arc<Notify>,
    /// What follows a change of state; nothing before [`Store::follow`].
    rules: Arc<OnceLock<Arc<Rules>>>,
    deliveries: Arc<Notify>,
}

impl Store {
    /// Opens the queue in `dir`, making it where there is none. The caller owns the folder's lock.
    pub fn open(dir: &Path) -> Result<(Store, WriterThread), StoreError> {
        Store::open_with(dir, Arc::new(clock::now_ms))
    }

    /// The same, with a clock of the caller's.
    pub fn open_with(dir: &Path, clock: Clock) -> Result<(Store, WriterThread), StoreError> {
        let sqlite::Opened { writer, reader, sync } = sqlite::open(dir)?;
        let (writer, thread) = thread::start(Box::new(writer), DaemonId::LOCAL, sync)?;
        Ok((Store::over(Driver::threaded(Box::new(reader), writer), DaemonId::LOCAL, clock), thread))
    }

    /// A queue in memory, without any thread: each verb is carried out at once by whoever calls it. It is gone with the last clone.
    pub fn in_memory(clock: Clock) -> Result<Store, StoreError> {
        Ok(Store::inline(Arc::new(Mutex::new(Box::new(sqlite::Sqlite::in_memory()?))), DaemonId::LOCAL, clock))
    }

    /// A queue in `backend`, for one of the daemons that share it, without any thread.
    pub(crate) fn inline(backend: Shared, daemon: DaemonId, clock: Clock) -> Store {
        Store::over(Driver::inline(backend), daemon, clock)
    }

    fn over(driver: Driver, daemon: DaemonId, clock: Clock) -> Store {
        let (arrivals, rules, deliveries) = Default::default();
        Store { driver, daemon, clock, arrivals, rules, deliveries }
    }

    /// Tells when the store cannot be written, and when it can again.
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.driver.trouble()
    }

    /// A full disk is waited out no longer.
    pub fn give_up_waiting(&self) {
        self.driver.give_up_waiting();
    }

    /// Resolves after jobs have arrived since the last time it did.
    pub async fn arrivals(&self) {
        self.arrivals.notified().await;
    }

    /// Resolves after deliveries may have become due since the last time it did.
    pub async fn deliveries(&self) {
        self.deliveries.notified().await;
    }
}
