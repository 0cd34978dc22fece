//! How a verb comes to be carried out: by a thread of its own, in one commit with others, or at once on the caller's thread.

use std::ffi::OsStr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::job::Identity;

use super::backend::{Backend, Lookup};
use super::error::StoreError;
use super::thread::{Durability, FULL_PAUSE, WriteFailure, WriterHandle};
use super::values::Caller;
use super::{DaemonId, Seen, Store};

/// What carries out the verbs. Clones share one queue.
#[derive(Clone)]
pub(super) enum Driver {
    /// A thread writes, and lookups have a reader beside it.
    Threaded { reader: Arc<Mutex<Box<dyn Lookup>>>, writer: WriterHandle },
    /// Every verb is a commit of its own, made by whoever calls it.
    Inline(Inline),
}

/// An engine that is used by whoever calls, and the disk behind it.
#[derive(Clone)]
pub(super) struct Inline {
    backend: SharedBackend,
    disk: Option<Arc<dyn SyncDisk>>,
    broken: Arc<OnceLock<StoreError>>,
    failure: Arc<watch::Sender<WriteFailure>>,
    closing: Arc<AtomicBool>,
}

/// A disk that takes everything that was committed when it is told to.
pub(super) trait SyncDisk: Send + Sync {
    /// Waits until it has everything.
    fn sync(&self) -> std::io::Result<()>;
}

impl<S: Fn() -> std::io::Result<()> + Send + Sync> SyncDisk for S {
    fn sync(&self) -> std::io::Result<()> {
        self()
    }
}

/// An engine that several stores have together.
pub(crate) type SharedBackend = Arc<Mutex<Box<dyn Backend>>>;

/// A panic in a verb leaves its group unfinished, which the next one undoes.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    pub(super) fn threaded(reader: Box<dyn Lookup>, writer: WriterHandle) -> Driver {
        Driver::Threaded { reader: Arc::new(Mutex::new(reader)), writer }
    }

    pub(super) fn inline(backend: SharedBackend, disk: Option<Arc<dyn SyncDisk>>) -> Driver {
        let (broken, closing) = Default::default();
        Driver::Inline(Inline { backend, disk, broken, failure: Arc::new(watch::channel(None).0), closing })
    }

    pub(super) fn failure(&self) -> watch::Receiver<WriteFailure> {
        match self {
            Driver::Threaded { writer, .. } => writer.failure(),
            Driver::Inline(inline) => inline.failure.subscribe(),
        }
    }

    pub(super) fn give_up_waiting(&self) {
        match self {
            Driver::Threaded { writer, .. } => writer.give_up_waiting(),
            Driver::Inline(inline) => inline.closing.store(true, Ordering::Relaxed),
        }
    }

    pub(super) fn look_up(&self, folder: &Path, files: &[(&OsStr, Identity)], hosts: &[String]) -> Result<Vec<Seen>, StoreError> {
        match self {
            Driver::Threaded { reader, writer } => {
                until_it_passes(|| locked(reader).look_up(folder, files, hosts), || writer.gives_up())
            }
            Driver::Inline(inline) => locked(&inline.backend).look_up(folder, files, hosts),
        }
    }
}

/// Asks again until what stands in the way is over, or nothing is waited for any more. A lookup that fails would end the watching.
fn until_it_passes<T>(mut ask: impl FnMut() -> Result<T, StoreError>, gives_up: impl Fn() -> bool) -> Result<T, StoreError> {
    let mut waits = false;
    loop {
        match ask() {
            Err(error) if error.passes() && !gives_up() => {
                if !waits {
                    tracing::error!("cannot read the queue: {error}; waiting until this is fixed");
                }
                waits = true;
                std::thread::sleep(FULL_PAUSE);
            }
            answer => {
                if waits && answer.is_ok() {
                    tracing::info!("the queue can be read again");
                }
                return answer;
            }
        }
    }
}

#[cfg(any(test, feature = "simulator"))]
impl Store {
    /// Every job of a queue that needs no thread, in the order of their numbers; none where another thread writes.
    pub fn jobs(&self) -> Vec<crate::job::JobRow> {
        match &self.driver {
            Driver::Threaded { .. } => Vec::new(),
            Driver::Inline(inline) => locked(&inline.backend).every_job().unwrap_or_default(),
        }
    }
}

impl Inline {
    /// Carries out `work` as one commit, and takes it to the disk where it must outlive the loss of power. A disk that failed once
    /// is not trusted again, as behind a thread.
    fn commit<T>(
        &self,
        daemon: DaemonId,
        durability: Durability,
        work: impl FnMut(&mut dyn Backend) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(error) = self.broken.get() {
            return Err(error.clone());
        }
        let done = at_once(locked(&self.backend).as_mut(), daemon, work)?;
        if durability == Durability::Power
            && let Some(disk) = &self.disk
            && let Err(error) = disk.sync()
        {
            let error = StoreError::NotSynced(format!("cannot sync it to the disk: {error}"));
            return Err(self.broken.get_or_init(|| error).clone());
        }
        Ok(done)
    }

    /// The same, and while the disk is full once more after a pause.
    async fn commit_when_there_is_room<T>(
        &self,
        daemon: DaemonId,
        durability: Durability,
        mut work: impl FnMut(&mut dyn Backend) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let done = self.commit(daemon, durability, &mut work);
            let passes = matches!(done, Err(StoreError::Full | StoreError::Busy));
            if !passes || self.closing.load(Ordering::Relaxed) {
                if self.failure.borrow().is_some() && done.is_ok() {
                    self.failure.send_replace(None);
                }
                return done;
            }
            self.failure.send_replace(done.err());
            locked(&self.backend).make_room();
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }
}

/// Carries out `work` as one commit.
fn at_once<T>(
    backend: &mut dyn Backend,
    daemon: DaemonId,
    mut work: impl FnMut(&mut dyn Backend) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    backend.rollback()?;
    backend.begin()?;
    let done = work(backend).and_then(|answer| backend.commit(daemon).map(|()| answer));
    if done.is_err()
        && let Err(error) = backend.rollback()
    {
        tracing::debug!("what was begun cannot be undone either: {error}");
    }
    done
}

/// Who is to be woken when a verb is committed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wake {
    /// Whoever claims jobs, as soon as it is committed.
    pub(super) arrivals: bool,
    /// Whoever carries deliveries, once it is as durable as it must be.
    pub(super) deliveries: bool,
}

type VerbBody<T> = Box<dyn FnMut(&mut dyn Backend, Caller) -> Result<(T, Wake), StoreError> + Send>;

/// A verb that is about to be carried out, by awaiting it or by [`StoreCall::blocking`]. Nothing happens before that.
#[must_use = "nothing happens before it is awaited"]
pub struct StoreCall<T> {
    store: Store,
    durability: Durability,
    work: VerbBody<T>,
}

impl<T: Send + 'static> StoreCall<T> {
    pub(super) fn new(store: &Store, durability: Durability, work: VerbBody<T>) -> StoreCall<T> {
        let durability = if planted!("commit.not_synced") { Durability::Process } else { durability };
        StoreCall { store: store.clone(), durability, work }
    }

    /// Carries it out on a thread that may wait, and that no runtime needs.
    pub fn blocking(self) -> Result<T, StoreError> {
        let (store, durability) = (self.store.clone(), self.durability);
        let work = self.told();
        let done = match &store.driver {
            Driver::Threaded { writer, .. } => writer.call_blocking(durability, work, store.committed()),
            Driver::Inline(inline) => inline.commit(store.daemon, durability, work).inspect(store.committed()),
        };
        store.durable(done)
    }

    async fn answer(self) -> Result<T, StoreError> {
        let (store, durability) = (self.store.clone(), self.durability);
        let work = self.told();
        let done = match &store.driver {
            Driver::Threaded { writer, .. } => writer.call(durability, work, store.committed()).await,
            Driver::Inline(inline) => {
                inline.commit_when_there_is_room(store.daemon, durability, work).await.inspect(store.committed())
            }
        };
        store.durable(done)
    }

    /// The work, told each time who calls and when.
    fn told(self) -> impl FnMut(&mut dyn Backend) -> Result<(T, Wake), StoreError> + Send + 'static {
        let (daemon, clock, mut work) = (self.store.daemon, self.store.clock.clone(), self.work);
        move |backend| work(backend, Caller { daemon, now_ms: clock() })
    }
}

impl<T: Send + 'static> IntoFuture for StoreCall<T> {
    type Output = Result<T, StoreError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.answer())
    }
}

impl Store {
    /// Wakes whoever claims jobs. An upload may begin while its row is on the way to the disk: what must outlive the power before anything
    /// is made of the file at its host, such as the intent to finish, gets there behind the row.
    fn committed<T>(&self) -> impl Fn(&(T, Wake)) + Send + use<T> {
        let arrivals = self.arrivals.clone();
        move |(_, wake)| {
            if wake.arrivals {
                arrivals.notify_one();
            }
        }
    }

    /// Wakes whoever carries deliveries: these move and remove the user's files, so what they follow from is on the disk.
    fn durable<T>(&self, done: Result<(T, Wake), StoreError>) -> Result<T, StoreError> {
        let (answer, wake) = done?;
        if wake.deliveries {
            self.deliveries.notify_one();
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_waits_for_a_lock_and_for_a_disk_that_fails_for_a_while_and_for_nothing_else() {
        let errors = || [StoreError::Busy, StoreError::Disk("its disk reported an error (266)".into()), StoreError::Full];
        for passing in errors() {
            let mut fails = 2;
            let answer = until_it_passes(
                || {
                    fails -= 1;
                    if fails > 0 { Err(passing.clone()) } else { Ok("known") }
                },
                || false,
            );
            assert!(matches!(answer, Ok("known")), "{passing}");
            let ended = until_it_passes(|| Err::<(), _>(passing.clone()), || true);
            assert_eq!(ended.unwrap_err().to_string(), passing.to_string(), "the end is not waited for");
        }
        let lasting = until_it_passes(|| Err::<(), _>(StoreError::Damaged("it is".into())), || false);
        assert!(matches!(lasting, Err(StoreError::Damaged(_))));
    }
}
