//! How a verb comes to be carried out: by a thread of its own, in one commit with others, or at once on the caller's thread.

use std::ffi::OsStr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::job::Identity;

use super::backend::{Backend, Lookup};
use super::error::StoreError;
use super::thread::{Durability, WriteFailure, WriterHandle};
use super::values::Caller;
use super::{DaemonId, Seen, Store};

/// What carries out the verbs. Clones share one queue.
#[derive(Clone)]
pub(super) enum Driver {
    /// A thread writes, and lookups have a reader beside it.
    Threaded { reader: Arc<Mutex<Box<dyn Lookup>>>, writer: WriterHandle },
    /// Every verb is a commit of its own, made by whoever calls it.
    Inline { backend: SharedBackend, failure: Arc<watch::Sender<WriteFailure>> },
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

    pub(super) fn inline(backend: SharedBackend) -> Driver {
        Driver::Inline { backend, failure: Arc::new(watch::channel(None).0) }
    }

    pub(super) fn failure(&self) -> watch::Receiver<WriteFailure> {
        match self {
            Driver::Threaded { writer, .. } => writer.failure(),
            Driver::Inline { failure, .. } => failure.subscribe(),
        }
    }

    pub(super) fn give_up_waiting(&self) {
        match self {
            Driver::Threaded { writer, .. } => writer.give_up_waiting(),
            // It never waits.
            Driver::Inline { .. } => {}
        }
    }

    pub(super) fn look_up(&self, folder: &Path, files: &[(&OsStr, Identity)], hosts: &[String]) -> Result<Vec<Seen>, StoreError> {
        match self {
            Driver::Threaded { reader, .. } => locked(reader).look_up(folder, files, hosts),
            Driver::Inline { backend, .. } => locked(backend).look_up(folder, files, hosts),
        }
    }
}

#[cfg(test)]
impl Store {
    /// Every job of a queue that needs no thread, in the order of their numbers.
    pub(crate) fn jobs(&self) -> Vec<crate::job::JobRow> {
        match &self.driver {
            Driver::Threaded { .. } => panic!("what another thread writes is read through a view"),
            Driver::Inline { backend, .. } => locked(backend).every_job().unwrap(),
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
    /// Whoever claims jobs.
    pub(super) arrivals: bool,
    /// Whoever carries deliveries.
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
            Driver::Threaded { writer, .. } => writer.call_blocking(durability, work),
            Driver::Inline { backend, .. } => at_once(locked(backend).as_mut(), store.daemon, work),
        };
        store.wake(done)
    }

    async fn answer(self) -> Result<T, StoreError> {
        let (store, durability) = (self.store.clone(), self.durability);
        let work = self.told();
        let done = match &store.driver {
            Driver::Threaded { writer, .. } => writer.call(durability, work).await,
            Driver::Inline { backend, .. } => at_once(locked(backend).as_mut(), store.daemon, work),
        };
        store.wake(done)
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
    fn wake<T>(&self, done: Result<(T, Wake), StoreError>) -> Result<T, StoreError> {
        let (answer, wake) = done?;
        if wake.arrivals {
            self.arrivals.notify_one();
        }
        if wake.deliveries {
            self.deliveries.notify_one();
        }
        Ok(answer)
    }
}
