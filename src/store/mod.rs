//! The queue, in verbs. What is told to it is on the disk when it answers; nobody outside knows that it is SQLite.
//!
//! Writing goes through one thread (`thread`); reading has connections of its own (`view`), so a reader never waits for a writer nor
//! stands in its way. `schema` holds the tables, `jobs` and `uploads` the SQL of the verbs, `rescue` what happens to a damaged database.

mod deliveries;
mod error;
mod files;
mod jobs;
mod rescue;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod thread;
mod uploads;
mod view;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

use crate::job::attempt::SessionFate;
use crate::job::believed::after;
use crate::job::plan::Plan;
use crate::job::upload::{Ack, Digest, Held, Outcome, Session};
use crate::job::verdict::RECHECK;
use crate::job::{Identity, State};
use crate::os::clock;

pub use deliveries::{AFTER, Delivery, DeliveryId, Due, Event, HookRule, REFRESH, Rules, WatchRule};
pub use error::StoreError;
pub use files::{Memory, Seen};
pub use rescue::Rescue;
pub use thread::{Durability, Trouble, WriterThread};
pub use view::{HostRow, JobRow, Query, Snapshot, View, WatchRow};

/// The database's name in the state folder.
pub const FILE_NAME: &str = "queue.db";

/// The number of a job: given once, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
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
    pub hosts: std::sync::Arc<[String]>,
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
    pub why: Option<String>,
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

/// How a host is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostStatus {
    /// `ready`, `resting`, `held` or `full`.
    pub state: &'static str,
    /// Until when, in milliseconds since the Unix epoch.
    pub until_ms: Option<i64>,
    /// Why.
    pub why: Option<String>,
    /// Rests it asked for in a row.
    pub rests: u32,
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

/// How a watch is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchStatus {
    /// A word for people.
    pub state: &'static str,
    /// `native` or `poll`.
    pub events: &'static str,
    /// When the last full scan ended, in milliseconds since the Unix epoch.
    pub last_scan_ms: Option<i64>,
    /// Files seen that somebody is still writing, or may be.
    pub settling: u64,
    /// Times the file system lost track of events, each followed by a full scan.
    pub gaps_seen: u64,
    /// What is wrong.
    pub why: Option<String>,
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
    writer: thread::Writer,
    path: PathBuf,
    arrivals: std::sync::Arc<tokio::sync::Notify>,
    /// What follows a change of state; nothing before [`Store::follow`].
    rules: std::sync::Arc<std::sync::OnceLock<std::sync::Arc<Rules>>>,
    deliveries: std::sync::Arc<tokio::sync::Notify>,
}

impl Store {
    /// Opens the queue in `dir`, making it where there is none. The caller owns the folder's lock.
    pub fn open(dir: &Path) -> Result<(Store, WriterThread), StoreError> {
        let path = dir.join(FILE_NAME);
        // It names every file of the user, so it is nobody else's; SQLite's own files beside it get the same mode.
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let mut connection = Connection::open(&path)?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        schema::prepare_writer(&mut connection, &path)?;
        // What an earlier run could not take to the disk is written there now, or this one does not begin.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        // One descriptor for as long as the queue is open: the kernel tells it of every write of the log that failed since, even if SQLite's
        // own has been told already. SQLite never replaces the file meanwhile.
        let log = File::open(dir.join(format!("{FILE_NAME}-wal")))?;
        let (writer, thread) = thread::start(connection, move || log.sync_data())?;
        let (arrivals, rules, deliveries) = Default::default();
        Ok((Store { writer, path, arrivals, rules, deliveries }, thread))
    }

    /// The scan's way to what has been taken up: a reader of its own, for one thread.
    pub fn memory(&self) -> Result<Memory, StoreError> {
        Memory::open(&self.path)
    }

    /// Tells when the store cannot be written, and when it can again.
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.writer.trouble()
    }

    /// A full disk is waited out no longer.
    pub fn give_up_waiting(&self) {
        self.writer.give_up_waiting();
    }

    /// Resolves after jobs have arrived since the last time it did.
    pub async fn arrivals(&self) {
        self.arrivals.notified().await;
    }

    /// The hosts that still want to rest.
    pub async fn resting(&self) -> Result<Vec<Resting>, StoreError> {
        self.writer.call(Durability::Process, |c| jobs::resting(c, clock::now_ms())).await
    }

    /// What an earlier run left behind goes back to where it can be claimed. Held hosts are looked at again; one that asked for rest has it,
    /// so that a daemon that is started over and over does not earn a lock-out.
    pub async fn recover(&self) -> Result<(), StoreError> {
        self.writer.call(Durability::Power, |c| jobs::recover(c, clock::now_ms())).await
    }

    /// Notes which watches and hosts are configured. Answers for each watch whether it has been seen before.
    pub async fn configured(&self, watches: Vec<PathBuf>, hosts: Vec<(String, String)>) -> Result<Vec<bool>, StoreError> {
        let work = move |c: &Connection| jobs::configured(c, &watches, &hosts, clock::now_ms());
        self.writer.call(Durability::Power, work).await
    }

    /// Makes a job for each arrival and each of its hosts, unless that version is already taken up for that host.
    pub async fn enqueue(&self, arrivals: Vec<Arrival>) -> Result<u64, StoreError> {
        let work = move |c: &Connection| files::enqueue(c, &arrivals, clock::now_ms());
        let made = self.writer.call(Durability::Power, work).await?;
        if made > 0 {
            self.arrivals.notify_one();
        }
        Ok(made)
    }

    /// A writer was seen to close this version of a file, whose jobs were made before.
    pub async fn close_seen(&self, folder: PathBuf, name: std::ffi::OsString, identity: Identity) -> Result<(), StoreError> {
        let work = move |c: &Connection| deliveries::close_seen(c, &folder, &name, &identity, clock::now_ms());
        if self.writer.call(Durability::Process, work).await? {
            self.deliveries.notify_one();
        }
        Ok(())
    }

    /// A known version of a file has another path now: its jobs follow it.
    pub async fn renamed(&self, file: i64, folder: PathBuf, name: std::ffi::OsString, now: Identity) -> Result<(), StoreError> {
        let work = move |c: &Connection| files::renamed(c, file, &folder, &name, &now);
        self.writer.call(Durability::Power, work).await
    }

    /// A known version of a file has other numbers on its file system now, which jobs and the scan go by from here on. A scan can find that
    /// out again, so it need not outlive the power.
    pub async fn renumbered(&self, file: i64, now: Identity) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| files::renumbered(c, file, &now)).await
    }

    /// Where the file of `job` is, as far as the scan has followed it.
    pub async fn path_of(&self, job: JobId) -> Result<PathBuf, StoreError> {
        self.writer.call(Durability::Process, move |c| jobs::path(c, job)).await
    }

    /// Claims jobs for hosts that share `uploads_max` places ([`crate::job::share`]): all that are configured, since each is sure of some.
    /// Retries go by the time that they are due, new jobs by priority and age. A claim outlives the process but not the power: a claim lost
    /// with the power is a queued job.
    pub async fn claim(&self, asking: Vec<Asking>, uploads_max: usize, now_ms: i64) -> Result<Claims, StoreError> {
        self.writer.call(Durability::Process, move |c| jobs::claim(c, &asking, uploads_max, now_ms)).await
    }

    /// The time of day was set back: jobs and deliveries that wait for a time are due now, as at a start.
    pub async fn clock_was_set_back(&self) -> Result<(), StoreError> {
        let work = |c: &Connection| {
            let now_ms = clock::now_ms();
            jobs::be_due(c, now_ms)?;
            deliveries::be_due(c, now_ms)
        };
        self.writer.call(Durability::Process, work).await?;
        self.arrivals.notify_one();
        self.deliveries.notify_one();
        Ok(())
    }

    /// The session is known from now on, and so are the plan and the exact version that is being sent. Outlives the process; with the
    /// power, a session may be lost that is younger than a second, as its acks are.
    pub async fn opened(&self, job: JobId, session: Session, plan: Plan, identity: Identity) -> Result<(), StoreError> {
        let work = move |c: &Connection| uploads::opened(c, job, &session, &plan, &identity, clock::now_ms());
        self.writer.call(Durability::Process, work).await
    }

    /// The host has these bytes already; this is exactly the version of the file that has them.
    pub async fn sent_as(&self, job: JobId, identity: Identity) -> Result<(), StoreError> {
        self.writer.call(Durability::Power, move |c| jobs::sent_as(c, job, identity.ctime_ns)).await
    }

    /// Keeps the digest of a job's file, cut into parts of this size, until the job has ended. It can be computed again, so it need not
    /// outlive the power.
    pub async fn digested(&self, job: JobId, part_bytes: u64, digest: Digest) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| uploads::digested(c, job, part_bytes, &digest)).await
    }

    /// The digest that was kept of a job's file, cut into parts of this size.
    pub async fn digest(&self, job: JobId, part_bytes: u64) -> Result<Option<Digest>, StoreError> {
        self.writer.call(Durability::Process, move |c| uploads::digest(c, job, part_bytes)).await
    }

    /// The host has confirmed these parts. Outlives the process, and within a second the power ([`Store::live`]): a part sent twice does no
    /// harm.
    pub async fn acked(&self, job: JobId, acks: Vec<Ack>, plan: Plan) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| uploads::acked(c, job, &acks, &plan)).await
    }

    /// A host that takes bytes in order has confirmed them up to here, and may have moved the session.
    pub async fn advanced(&self, job: JobId, held_bytes: u64, moved_to: Option<Session>) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| uploads::advanced(c, job, held_bytes, moved_to.as_ref())).await
    }

    /// The host was asked, and this is what it holds: it is believed over our own rows.
    pub async fn found(&self, job: JobId, acks: Vec<Ack>, held_bytes: u64, plan: Plan) -> Result<(), StoreError> {
        self.writer.call(Durability::Power, move |c| uploads::found(c, job, &acks, held_bytes, &plan)).await
    }

    /// The commit is about to be sent.
    pub async fn committing(&self, job: JobId) -> Result<(), StoreError> {
        self.writer.call(Durability::Power, move |c| uploads::committing(c, job)).await
    }

    /// The host has the file, and this is what the user gets. Answers the job's state: `uploaded` as long as a hook or an after-action
    /// is still to come, else `done`.
    pub async fn uploaded(&self, job: JobId, outcome: Outcome) -> Result<State, StoreError> {
        let rules = self.rules();
        let work = move |c: &Connection| jobs::uploaded(c, job, &outcome, &rules, clock::now_ms());
        let (state, made) = self.writer.call(Durability::Power, work).await?;
        if made {
            self.deliveries.notify_one();
        }
        Ok(state)
    }

    /// The worker leaves the job.
    pub async fn put_back(&self, job: JobId, put_back: PutBack) -> Result<(), StoreError> {
        let durability = match put_back.state {
            State::Queued if put_back.session == SessionFate::Resume => Durability::Process,
            _ => Durability::Power,
        };
        let rules = self.rules();
        if self.writer.call(durability, move |c| jobs::put_back(c, job, &put_back, &rules, clock::now_ms())).await? {
            self.deliveries.notify_one();
        }
        Ok(())
    }

    /// Takes up what is to follow changes of state, once, before any job is carried: deliveries of an earlier run are continued, and
    /// those of hooks that are not configured any more are dropped. Answers these, each with the number of its rows.
    pub async fn follow(&self, rules: Rules) -> Result<Vec<(String, u64)>, StoreError> {
        let rules = self.rules.get_or_init(|| std::sync::Arc::new(rules)).clone();
        self.writer.call(Durability::Power, move |c| deliveries::follow(c, &rules, clock::now_ms())).await
    }

    /// Resolves after deliveries may have become due since the last time it did.
    pub async fn deliveries(&self) {
        self.deliveries.notified().await;
    }

    /// Up to so many due deliveries for each hook, hook by hook, without those that are `running`. What they follow from is on the disk.
    pub async fn due(&self, wanted: Vec<(String, usize)>, running: Vec<DeliveryId>, now_ms: i64) -> Result<Due, StoreError> {
        self.writer.call(Durability::Power, move |c| deliveries::due(c, &wanted, &running, now_ms)).await
    }

    /// What the deliveries ask for has succeeded.
    pub async fn delivered(&self, ids: Vec<DeliveryId>) -> Result<(), StoreError> {
        let rules = self.rules();
        if self.writer.call(Durability::Power, move |c| deliveries::delivered(c, &ids, &rules, clock::now_ms())).await? {
            self.deliveries.notify_one();
        }
        Ok(())
    }

    /// The file of an after-action that waits for an added host will not be found for it: nothing is waited for any more.
    pub async fn not_found(&self, id: DeliveryId) -> Result<(), StoreError> {
        let rules = self.rules();
        if self.writer.call(Durability::Power, move |c| deliveries::not_found(c, id, &rules, clock::now_ms())).await? {
            self.deliveries.notify_one();
        }
        Ok(())
    }

    /// The file of this after-action stays as it is for good: the jobs of its version are done, and `note` says why nothing was done to it.
    pub async fn stays(&self, id: DeliveryId, note: String) -> Result<(), StoreError> {
        self.writer.call(Durability::Power, move |c| deliveries::stays(c, id, &note, clock::now_ms())).await
    }

    /// It has not; it is tried again at `next_try_ms`, in milliseconds since the Unix epoch. `why` says what failed, for a person.
    pub async fn undelivered(&self, ids: Vec<DeliveryId>, why: String, next_try_ms: i64) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| deliveries::undelivered(c, &ids, &why, soon(next_try_ms))).await
    }

    /// The file of this delivery still waits for the scan to find it for the host that was added; somebody looks again at `next_try_ms`, in
    /// milliseconds since the Unix epoch.
    pub async fn look_again(&self, id: DeliveryId, next_try_ms: i64) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| deliveries::look_again(c, id, soon(next_try_ms))).await
    }

    /// The job of this delivery is queued again for a new link, if its host has the file and the after-action is not about to take it
    /// away. Answers whether it is queued.
    pub async fn send_again(&self, id: DeliveryId) -> Result<bool, StoreError> {
        let queued = self.writer.call(Durability::Power, move |c| deliveries::send_again(c, id, clock::now_ms())).await?;
        if queued {
            self.arrivals.notify_one();
        }
        Ok(queued)
    }

    fn rules(&self) -> std::sync::Arc<Rules> {
        self.rules.get().cloned().unwrap_or_default()
    }

    /// How a host is doing, for people to see.
    pub async fn host_status(&self, host: String, status: HostStatus) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| jobs::host_status(c, &host, &status, clock::now_ms())).await
    }

    /// The rest of a host ends at another time of day than was said, in milliseconds since the Unix epoch.
    pub async fn host_rests_until(&self, host: String, until_ms: i64) -> Result<(), StoreError> {
        let work = move |c: &Connection| jobs::host_rests_until(c, &host, until_ms, clock::now_ms());
        self.writer.call(Durability::Process, work).await
    }

    /// A host that was held takes files again: what was held because of it is due now.
    pub async fn release_held(&self, host: String) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| jobs::release_held(c, &host, clock::now_ms())).await
    }

    /// How a watch is doing, for people to see.
    pub async fn watch_status(&self, path: PathBuf, status: WatchStatus) -> Result<(), StoreError> {
        self.writer.call(Durability::Process, move |c| jobs::watch_status(c, &path, &status)).await
    }

    /// What moves right now, for people to see. Replaces what was said before. It comes once a second while something moves, and takes
    /// sessions and acks of that second to the disk with it.
    pub async fn live(&self, live: Vec<Live>) -> Result<(), StoreError> {
        self.writer.call(Durability::Power, move |c| jobs::live(c, &live, clock::now_ms())).await
    }
}

/// No delivery is put off for longer than an hour, though the clock be set back between the failure and its commit.
fn soon(next_try_ms: i64) -> i64 {
    next_try_ms.min(after(clock::now_ms(), RECHECK))
}

/// Opens a connection that only reads.
fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    schema::prepare_reader(&connection)?;
    Ok(connection)
}
