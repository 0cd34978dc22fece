//! The one thread that writes, and the one behind it that waits for the disk.
//!
//! The writer gathers what callers ask for into one transaction and commits it; a call is answered after its COMMIT, so whoever has
//! an answer may rely on it. Calls that change a state ask for [`Durability::Power`]: they go on to the second thread, which takes
//! everything that was committed so far to the disk, and only then answers. Acks, sessions and claims ask for
//! [`Durability::Process`]: a killed process keeps them, losing them with the power does no harm, and they never wait for a disk.
//! The log is written in one direction only, so whatever is on the disk has everything on the disk that came before it.
//!
//! On a full disk, on one that fails for a while, and while another program has the queue locked, the group waits and is tried again:
//! nothing is answered meanwhile, so nothing relies on what is not written, and nothing is lost. A disk that fails to keep what it was given ends everything: nobody can know what it has,
//! so nothing more is written, and the log is left for the next start, which reads it with its checksums. The same goes for a file that
//! somebody has taken away or replaced, in which no start would find what is written.

use std::mem::Discriminant;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::DaemonId;
use super::backend::Backend;
use super::error::StoreError;

/// Calls waiting for the thread; a caller that finds it full waits its turn.
const QUEUE_CALLS: usize = 1024;
/// Calls in one commit.
const GROUP_CALLS: usize = 512;
/// Groups waiting for the disk; the writer waits with them when there are more.
const GROUPS_UNSYNCED: usize = 64;
/// How long a full disk is left alone before the group is tried again.
pub(super) const FULL_PAUSE: Duration = Duration::from_millis(500);

/// How often the writer looks, while there is something to write, whether its file is still where it was.
const PLACE_PAUSE: Duration = Duration::from_secs(1);

/// How long after the last failure there must have been none before that is said.
const OVER_AFTER: Duration = Duration::from_secs(30);

/// What a commit must outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of this process.
    Process,
    /// The loss of power.
    Power,
}

/// What the writer says of itself while it cannot go on; `None` while it can.
pub(crate) type WriteFailure = Option<StoreError>;

/// The way to the writing thread.
#[derive(Clone)]
pub(super) struct WriterHandle {
    calls: mpsc::Sender<Box<dyn QueuedCall>>,
    failure: watch::Receiver<WriteFailure>,
    closing: Arc<AtomicBool>,
}

/// The thread itself, to be waited for.
pub struct WriterThread(std::thread::JoinHandle<()>);

impl WriterThread {
    /// Waits until every call has been answered and the database is closed. Every `WriterHandle` must be gone.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread of the queue panicked; the database is intact up to its last commit");
        }
    }
}

/// Starts the thread over `backend`, which becomes its own, for `daemon`. `sync` takes everything that was committed to the disk.
pub(super) fn start(
    backend: Box<dyn Backend>,
    daemon: DaemonId,
    sync: impl FnMut() -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<(WriterHandle, WriterThread)> {
    let (calls, inbox) = mpsc::channel(QUEUE_CALLS);
    let (unsynced, committed) = sync_channel(GROUPS_UNSYNCED);
    let (tell, failure) = watch::channel(None);
    let closing = Arc::new(AtomicBool::new(false));
    let broken = Arc::new(OnceLock::new());
    let told = broken.clone();
    let syncing =
        std::thread::Builder::new().name("store-sync".into()).spawn(move || answer_when_synced(&committed, sync, &told))?;
    let worker = Loop {
        backend,
        daemon,
        inbox,
        unsynced,
        broken,
        tell,
        trouble: Trouble::default(),
        closing: closing.clone(),
        looked: Instant::now(),
    };
    let thread = std::thread::Builder::new().name("store".into()).spawn(move || worker.run(syncing))?;
    Ok((WriterHandle { calls, failure, closing }, WriterThread(thread)))
}

impl WriterHandle {
    /// Runs `work` inside the next group and answers when it is as durable as it must be. `work` may run more than once, and each time
    /// against the state before it. `committed` is told what came of it once that is committed, which may be before the disk has it.
    pub(super) async fn call<T, F, C>(&self, durability: Durability, work: F, committed: C) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
        C: Fn(&T) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = TypedCall { durability, work, committed, result: None, reply };
        self.calls.send(Box::new(call)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same from a thread that may wait, and that no runtime needs.
    pub(super) fn call_blocking<T, F, C>(&self, durability: Durability, work: F, committed: C) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
        C: Fn(&T) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = TypedCall { durability, work, committed, result: None, reply };
        self.calls.blocking_send(Box::new(call)).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Tells when the writer cannot go on, and when it can again.
    pub(super) fn failure(&self) -> watch::Receiver<WriteFailure> {
        self.failure.clone()
    }

    /// Whether nothing is waited out any more.
    pub(super) fn gives_up(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// A full disk is waited out no longer: what cannot be committed is answered with the error.
    pub(super) fn give_up_waiting(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

trait QueuedCall: Send {
    fn durability(&self) -> Durability;
    fn run(&mut self, backend: &mut dyn Backend) -> Result<(), StoreError>;
    fn tell_committed(&self);
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct TypedCall<T, F, C> {
    durability: Durability,
    work: F,
    committed: C,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F, C> QueuedCall for TypedCall<T, F, C>
where
    T: Send + 'static,
    F: FnMut(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
    C: Fn(&T) + Send + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, backend: &mut dyn Backend) -> Result<(), StoreError> {
        let result = (self.work)(backend);
        let failed = result.as_ref().err().cloned();
        self.result = Some(result);
        failed.map_or(Ok(()), Err)
    }

    fn tell_committed(&self) {
        if let Some(Ok(result)) = &self.result {
            (self.committed)(result);
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match committed {
            Ok(()) => self.result.unwrap_or(Err(StoreError::Closed)),
            Err(error) => Err(error),
        };
        // A caller that has stopped waiting has stopped caring.
        drop(self.reply.send(result));
    }
}

type CallGroup = Vec<Box<dyn QueuedCall>>;

struct Loop {
    backend: Box<dyn Backend>,
    daemon: DaemonId,
    inbox: mpsc::Receiver<Box<dyn QueuedCall>>,
    unsynced: SyncSender<CallGroup>,
    broken: Arc<OnceLock<StoreError>>,
    tell: watch::Sender<WriteFailure>,
    trouble: Trouble,
    closing: Arc<AtomicBool>,
    /// When its file was found in its place last.
    looked: Instant,
}

/// Answers committed groups when the disk has them; those that come meanwhile go together. A failure is final: the kernel tells of
/// it once, and forgets what it could not write.
fn answer_when_synced(
    committed: &Receiver<CallGroup>,
    mut sync: impl FnMut() -> std::io::Result<()>,
    broken: &OnceLock<StoreError>,
) {
    while let Ok(mut group) = committed.recv() {
        group.extend(committed.try_iter().flatten());
        if broken.get().is_none()
            && let Err(error) = sync()
        {
            tracing::error!("cannot sync the queue to the disk: {error}; nothing more is written");
            broken.get_or_init(|| StoreError::NotSynced(format!("cannot sync it to the disk: {error}")));
        }
        for call in group {
            call.answer(broken.get().cloned().map_or(Ok(()), Err));
        }
    }
}

impl Loop {
    fn run(mut self, syncing: JoinHandle<()>) {
        while let Some(first) = self.inbox.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_CALLS
                && let Ok(next) = self.inbox.try_recv()
            {
                group.push(next);
            }
            let committed = match self.broken.get() {
                None => self.commit_when_there_is_room(&mut group),
                Some(error) => Err(error.clone()),
            };
            self.answer(group, &committed);
        }
        let Loop { mut backend, unsynced, broken, .. } = self;
        drop(unsynced);
        if syncing.join().is_err() {
            tracing::error!("the thread that syncs the queue panicked");
        }
        if broken.get().is_none()
            && let Err(error) = backend.still_in_place()
        {
            tracing::error!("at the end of the daemon: {error}");
            broken.get_or_init(|| error);
        }
        backend.close(broken.get().is_none());
    }

    fn answer(&self, group: CallGroup, committed: &Result<(), StoreError>) {
        if committed.is_ok() {
            group.iter().for_each(|call| call.tell_committed());
        }
        let (to_sync, done): (CallGroup, CallGroup) =
            group.into_iter().partition(|call| committed.is_ok() && call.durability() == Durability::Power);
        for call in done {
            call.answer(committed.clone());
        }
        if !to_sync.is_empty()
            && let Err(SendError(group)) = self.unsynced.send(to_sync)
        {
            group.into_iter().for_each(|call| call.answer(Err(StoreError::Closed)));
        }
    }

    fn commit_when_there_is_room(&mut self, group: &mut CallGroup) -> Result<(), StoreError> {
        loop {
            let committed = self.commit(group);
            self.say(&committed);
            let waits = committed.as_ref().is_err_and(StoreError::is_waited_for);
            if !waits || self.closing.load(Ordering::Relaxed) {
                return committed;
            }
            if matches!(committed, Err(StoreError::Full)) {
                self.backend.make_room();
            }
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// A call that fails by its own fault is answered and leaves the group, and the rest begins again without it: calls may run
    /// more than once, and a failure is rare enough not to pay for a savepoint a call. An error that concerns everybody is passed
    /// up.
    fn commit(&mut self, group: &mut CallGroup) -> Result<(), StoreError> {
        loop {
            // What was left of a group that failed halfway is undone.
            self.backend.rollback()?;
            self.look_after_place()?;
            self.backend.begin()?;
            let backend = self.backend.as_mut();
            let failed = group.iter_mut().enumerate().find_map(|(index, call)| Some((index, call.run(backend).err()?)));
            let committed = match failed {
                None => self.backend.commit(self.daemon),
                Some((_, error @ (StoreError::Damaged(_) | StoreError::NotSynced(_)))) => Err(error),
                Some((_, error)) if error.is_waited_for() => Err(error),
                Some((index, _)) => {
                    self.backend.rollback()?;
                    group.remove(index).answer(Ok(()));
                    continue;
                }
            };
            if committed.is_err()
                && let Err(error) = self.backend.rollback()
            {
                tracing::debug!("what was begun cannot be undone either: {error}");
            }
            return committed;
        }
    }

    /// Once the file is lost nothing more is written to it: what is in it was kept, and nothing that came later would be.
    fn look_after_place(&mut self) -> Result<(), StoreError> {
        if self.looked.elapsed() < PLACE_PAUSE {
            return Ok(());
        }
        let found = self.backend.still_in_place();
        match &found {
            Ok(()) => self.looked = Instant::now(),
            Err(error @ StoreError::Damaged(_)) => drop(self.broken.set(error.clone())),
            // It is looked at again with the next try.
            Err(_) => {}
        }
        found
    }

    fn say(&mut self, committed: &Result<(), StoreError>) {
        let failure = committed.as_ref().err();
        match self.trouble.next(failure.map(std::mem::discriminant), Instant::now()) {
            Some(Told::Trouble) => {
                let error = failure.map(ToString::to_string).unwrap_or_default();
                let next = if failure.is_some_and(StoreError::is_waited_for) { "waiting until this is fixed" } else { "giving up" };
                tracing::error!("cannot write to the queue: {error}; {next}");
            }
            Some(Told::Over) => tracing::info!("the queue can be written to again"),
            None => {}
        }
        self.tell.send_if_modified(|told| {
            let changed = told.as_ref().map(std::mem::discriminant) != failure.map(std::mem::discriminant);
            if changed {
                *told = failure.cloned();
            }
            changed
        });
    }
}

/// What the log has said of failures. A disk at its limit fails, has room and fails again twice a second: that is one trouble.
#[derive(Default)]
struct Trouble {
    /// What the last failure was, and when.
    last: Option<(Discriminant<StoreError>, Instant)>,
}

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Trouble,
    Over,
}

impl Trouble {
    /// What is to be said after a commit that failed, or did not.
    fn next(&mut self, failure: Option<Discriminant<StoreError>>, now: Instant) -> Option<Told> {
        match (failure, self.last) {
            (Some(failure), last) => {
                self.last = Some((failure, now));
                (last.map(|(before, _)| before) != Some(failure)).then_some(Told::Trouble)
            }
            (None, Some((_, at))) if now.duration_since(at) >= OVER_AFTER => {
                self.last = None;
                Some(Told::Over)
            }
            (None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::HostReport;
    use crate::job::health::HostState;
    use crate::store::sqlite::Sqlite;
    use crate::store::values::Caller;
    use std::sync::mpsc::channel;

    /// A queue whose disk waits for a word before each sync, and does what the word says.
    fn with_slow_disk() -> (WriterHandle, WriterThread, std::sync::mpsc::Sender<std::io::Result<()>>) {
        let backend = Box::new(Sqlite::in_memory().unwrap());
        let (word, words) = channel();
        let (writer, thread) = start(backend, DaemonId::LOCAL, move || words.recv().unwrap_or(Ok(()))).unwrap();
        (writer, thread, word)
    }

    /// Makes a host more, and answers how many there are.
    async fn insert(writer: &WriterHandle, durability: Durability) -> Result<usize, StoreError> {
        let work = |queue: &mut dyn Backend| {
            let by = Caller { daemon: DaemonId::LOCAL, now_ms: 0 };
            let mut hosts: Vec<(String, String)> = queue
                .resting_hosts(Caller { now_ms: -1, ..by })?
                .into_iter()
                .map(|rest| (rest.host, "cloudkp".to_owned()))
                .collect();
            let name = hosts.len().to_string();
            hosts.push((name.clone(), "cloudkp".to_owned()));
            queue.configure(by, &[], &hosts)?;
            let rests = HostReport { state: HostState::Resting, until_ms: Some(1), why: None, rests: 1 };
            queue.record_host(by, &name, &rests)?;
            Ok(hosts.len())
        };
        writer.call(durability, work, |_| ()).await
    }

    #[test]
    fn a_disk_that_is_full_twice_a_second_is_told_of_once_and_of_its_end_when_it_is_over() {
        let (full, busy) = (std::mem::discriminant(&StoreError::Full), std::mem::discriminant(&StoreError::Busy));
        let (begun, mut trouble) = (Instant::now(), Trouble::default());
        let mut told = |seconds, failure| trouble.next(failure, begun + Duration::from_secs(seconds));
        assert_eq!((told(0, None), told(0, Some(full))), (None, Some(Told::Trouble)));
        for seconds in 1..20 {
            assert_eq!((told(seconds, Some(full)), told(seconds, None)), (None, None));
        }
        assert_eq!(told(20, Some(busy)), Some(Told::Trouble), "another one");
        assert_eq!((told(49, None), told(50, None), told(51, None)), (None, Some(Told::Over), None));
    }

    #[tokio::test]
    async fn a_queue_that_another_program_has_locked_for_long_is_waited_for_and_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(crate::store::FILE_NAME);
        let backend = Sqlite::over(rusqlite::Connection::open(&path).unwrap(), &path).unwrap();
        backend.connection().busy_timeout(Duration::from_millis(1)).unwrap();
        let other = rusqlite::Connection::open(&path).unwrap();
        let (writer, thread) = start(Box::new(backend), DaemonId::LOCAL, || Ok(())).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut failure = writer.failure();
        let call = tokio::spawn({
            let writer = writer.clone();
            async move { insert(&writer, Durability::Power).await }
        });
        failure.changed().await.unwrap();
        assert!(matches!(&*failure.borrow_and_update(), Some(StoreError::Busy)));
        assert!(!call.is_finished());
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(call.await.unwrap().unwrap(), 1);
        failure.changed().await.unwrap();
        assert!(failure.borrow().is_none());
        drop((writer, failure));
        thread.join();
    }

    #[tokio::test]
    async fn a_disk_that_fails_for_a_while_is_waited_for_and_what_was_to_be_written_is() {
        let (writer, thread, word) = with_slow_disk();
        let mut failure = writer.failure();
        let mut fails = 2;
        let work = move |queue: &mut dyn Backend| {
            fails -= 1;
            if fails > 0 {
                let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_WRITE);
                return Err(rusqlite::Error::SqliteFailure(error, None).into());
            }
            queue.outages(Caller { daemon: DaemonId::LOCAL, now_ms: 0 })
        };
        let call = tokio::spawn({
            let writer = writer.clone();
            async move { writer.call(Durability::Process, work, |_| ()).await }
        });
        let told = tokio::time::timeout(Duration::from_secs(60), failure.changed()).await;
        assert!(told.is_ok() && matches!(&*failure.borrow_and_update(), Some(StoreError::Disk(_))), "it is told");
        assert!(call.await.unwrap().unwrap().is_empty());
        drop((writer, failure, word));
        thread.join();
    }

    #[tokio::test]
    async fn what_needs_the_disk_waits_for_it_and_nothing_else_does() {
        let (writer, thread, word) = with_slow_disk();
        let durable = tokio::spawn({
            let writer = writer.clone();
            async move { insert(&writer, Durability::Power).await }
        });
        let mut rows = 0;
        while rows < 2 {
            // Answered while the disk is still busy with the other one.
            rows = insert(&writer, Durability::Process).await.unwrap();
        }
        tokio::task::yield_now().await;
        assert!(!durable.is_finished());
        word.send(Ok(())).unwrap();
        assert!(durable.await.unwrap().is_ok());
        drop((writer, word));
        thread.join();
    }

    #[tokio::test]
    async fn what_is_committed_is_told_while_the_disk_is_still_busy_with_it() {
        let (writer, thread, word) = with_slow_disk();
        let (tell, told) = oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        let call = tokio::spawn({
            let writer = writer.clone();
            let committed = move |rows: &usize| tell.lock().unwrap().take().unwrap().send(*rows).unwrap();
            async move { writer.call(Durability::Power, |_| Ok(7), committed).await }
        });
        assert_eq!(told.await.unwrap(), 7);
        assert!(!call.is_finished());
        word.send(Ok(())).unwrap();
        assert_eq!(call.await.unwrap().unwrap(), 7);
        drop((writer, word));
        thread.join();
    }

    #[tokio::test]
    async fn after_a_disk_has_failed_once_nothing_counts_as_being_on_it() {
        let (writer, thread, word) = with_slow_disk();
        word.send(Err(std::io::Error::other("a bad sector"))).unwrap();
        word.send(Ok(())).unwrap();
        for _ in 0..2 {
            let said = insert(&writer, Durability::Power).await.unwrap_err().to_string();
            assert!(said.contains("a bad sector"), "{said}");
        }
        assert!(insert(&writer, Durability::Process).await.is_err(), "nothing more is written");
        drop((writer, word));
        thread.join();
    }
}
