//! The queue, in verbs. What is told to it is on the disk when it answers; nobody outside knows that it is SQLite.
//!
//! `verbs` are what the rest of the daemon calls, `backend` what an engine that keeps a queue must be able to do, and `driver`
//! carries the one to the other: through one thread (`thread`) that writes, or at once. SQLite is in `sqlite`, its tables in
//! `schema`, the SQL of the verbs in `jobs`, `unwanted`, `steering`, `uploads`, `files` and `deliveries`; `view` reads for people, on connections of its
//! own, so a reader never waits for a writer nor stands in its way; `rescue` is what happens to a damaged database, and `place` tells whether
//! the queue is still where it was.

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
mod place;
mod rescue;
mod rows;
mod schema;
mod sqlite;
mod steering;
#[cfg(test)]
mod tests;
mod thread;
mod unwanted;
mod uploads;
mod values;
mod verbs;
mod view;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::os::clock;

use driver::{Driver, SharedBackend};

pub(crate) use driver::StoreCall;
pub use error::StoreError;
pub(crate) use rescue::Rescue;
pub use thread::WriterThread;
pub(crate) use thread::{Durability, WriteFailure};
pub(crate) use values::{
    AFTER, Claimed, Claims, DaemonId, Due, Earlier, HookRule, LOOKUPS_MAX, Live, REFRESH, Recorded, Resting, ReturnedJob, Rules,
    Seen, Steer, Upload, Version,
};
pub use values::{Arrival, Asking, Wanted};
pub(crate) use view::{Known, Remaining, ToTell, WatchRow};
pub use view::{Query, Snapshot, View};

pub use crate::job::{HostRow, JobId, JobRow};

/// The database's name in the state folder.
pub const FILE_NAME: &str = "queue.db";

/// The name of the log of a database that [`Store::on_vfs`] opens.
#[cfg(feature = "simulator")]
pub const LOG_NAME: &str = "/queue.db-wal";

/// Tells what time it is, in milliseconds since the Unix epoch.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What follows a change of state, as it is configured now. Clones are of the same.
#[derive(Clone, Default)]
struct CurrentRules(Arc<Mutex<Option<Arc<Rules>>>>);

impl CurrentRules {
    fn set(&self, rules: &Arc<Rules>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules.clone());
    }

    /// Nothing where nobody has said.
    fn known(&self) -> Option<Arc<Rules>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> Arc<Rules> {
        self.known().unwrap_or_default()
    }
}

/// The queue.
#[derive(Clone)]
pub struct Store {
    driver: Driver,
    /// Whom it was opened for.
    daemon: DaemonId,
    clock: Clock,
    arrivals: Arc<Notify>,
    /// What follows a change of state; nothing before [`Store::set_rules`].
    rules: CurrentRules,
    deliveries: Arc<Notify>,
}

impl Store {
    /// Opens the queue in `dir`, making it where there is none. The caller owns the folder's lock.
    pub fn open(dir: &Path) -> Result<(Store, WriterThread), StoreError> {
        Store::open_with(dir, Arc::new(clock::now_ms))
    }

    /// The same, with a clock of the caller's.
    pub fn open_with(dir: &Path, clock: Clock) -> Result<(Store, WriterThread), StoreError> {
        let sqlite::OpenQueue { writer, reader, sync } = sqlite::open(dir)?;
        let (writer, thread) = thread::start(Box::new(writer), DaemonId::LOCAL, sync)?;
        Ok((Store::over(Driver::threaded(Box::new(reader), writer), DaemonId::LOCAL, clock), thread))
    }

    /// A queue in memory, without any thread: each verb is carried out at once by whoever calls it. It is gone with the last clone.
    pub fn in_memory(clock: Clock) -> Result<Store, StoreError> {
        Ok(Store::inline(Arc::new(Mutex::new(Box::new(sqlite::Sqlite::in_memory()?))), DaemonId::LOCAL, clock))
    }

    /// The queue on a disk of a simulator, which SQLite knows by the name `vfs`: each verb is carried out at once by whoever calls
    /// it. `sync` takes the log, [`LOG_NAME`], to the disk.
    #[cfg(feature = "simulator")]
    pub fn on_vfs(
        vfs: &str,
        sync: impl Fn() -> std::io::Result<()> + Send + Sync + 'static,
        clock: Clock,
    ) -> Result<Store, StoreError> {
        let backend = Arc::new(Mutex::new(Box::new(sqlite::Sqlite::on_vfs(vfs)?) as Box<dyn backend::Backend>));
        Ok(Store::over(Driver::inline(backend, Some(Arc::new(sync))), DaemonId::LOCAL, clock))
    }

    /// A queue in `backend`, for one of the daemons that share it, without any thread.
    pub(crate) fn inline(backend: SharedBackend, daemon: DaemonId, clock: Clock) -> Store {
        Store::over(Driver::inline(backend, None), daemon, clock)
    }

    fn over(driver: Driver, daemon: DaemonId, clock: Clock) -> Store {
        let (arrivals, rules, deliveries) = Default::default();
        Store { driver, daemon, clock, arrivals, rules, deliveries }
    }

    /// Tells when the store cannot be written, and when it can again.
    pub fn write_failure(&self) -> watch::Receiver<WriteFailure> {
        self.driver.failure()
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
