//! Work that waits for a file system, and a limit to that: whoever waits gives up when no answer comes, while the thread that asked
//! goes on waiting, since nothing can call it back.
//!
//! Of the file systems that may hang (`os::mounts`) each has a few such threads and no more, so that one that hangs leaves the other
//! threads to everybody else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::Instant;

use super::mounts::{FileSystemId, Mounts};
use super::threads::Threads;

/// How long a single answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Threads that wait for the same file system, of those that may hang.
const THREADS_MAX: usize = 4;
/// So many of them may do work that takes as long as it takes, so that some are left to whoever asks for a single answer.
const LONG_MAX: usize = 2;
/// How long the list of mounts is believed.
const MOUNTS_KEPT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The file system does not give any.
    #[error("its file system has not answered for {} s", PATIENCE.as_secs())]
    Silent,
    /// It does as much long work already as it may.
    #[error("{LONG_MAX} other files are being written or moved there")]
    Busy,
    /// The work panicked.
    #[error("internal error: {0}")]
    Panicked(String),
}

/// Where work runs that waits for one file system, or for two. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    threads: Threads,
    /// Those that may hang.
    lanes: Vec<Arc<Lane>>,
}

/// The threads of a file system that may hang.
#[derive(Debug)]
struct Lane {
    /// A path on it.
    path: PathBuf,
    free: Arc<Semaphore>,
    /// Those of the free ones that are for long work.
    long: Arc<Semaphore>,
    /// When it last gave an answer, or was first asked for one.
    answered: Mutex<Instant>,
}

/// A thread of a file system, until the work is done.
#[derive(Debug)]
struct Place {
    lane: Arc<Lane>,
    _free: OwnedSemaphorePermit,
    _long: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lane.has_answered();
    }
}

impl Lane {
    fn new(path: &Path) -> Lane {
        let threads = |count: usize| Arc::new(Semaphore::new(count));
        Lane { path: path.to_owned(), free: threads(THREADS_MAX), long: threads(LONG_MAX), answered: Mutex::new(Instant::now()) }
    }

    /// A thread, as soon as one is free.
    async fn place(self: Arc<Lane>, long: Option<OwnedSemaphorePermit>) -> Result<Place, NoAnswer> {
        let free = loop {
            if let Ok(free) = self.free.clone().try_acquire_owned() {
                break free;
            }
            let patience = self.patience_left();
            if patience.is_zero() {
                return Err(NoAnswer::Silent);
            }
            if let Ok(Ok(free)) = tokio::time::timeout(patience, self.free.clone().acquire_owned()).await {
                break free;
            }
        };
        Ok(Place { lane: self, _free: free, _long: long })
    }

    /// The same for long work, if it may have one.
    async fn long_place(self: Arc<Lane>) -> Result<Place, NoAnswer> {
        match self.long.clone().try_acquire_owned() {
            Ok(long) => self.place(Some(long)).await,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) if self.patience_left().is_zero() => Err(NoAnswer::Silent),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => Err(NoAnswer::Busy),
        }
    }

    fn has_answered(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long it has to go on being silent to count as such.
    fn patience_left(&self) -> Duration {
        PATIENCE.saturating_sub(self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed())
    }
}

impl Answers {
    /// For the file system that `path` is on.
    pub(crate) fn of(threads: Threads, path: &Path) -> Answers {
        Answers::of_each(threads, &[path])
    }

    /// For work that waits for the file systems of all these paths.
    pub(crate) fn of_each(threads: Threads, paths: &[&Path]) -> Answers {
        let lanes = match threads {
            Threads::Pool => lanes_of(paths),
            #[cfg(feature = "simulator")]
            Threads::Caller => Vec::new(),
        };
        Answers { threads, lanes }
    }

    /// Runs `work`, which waits for the file system once or a few times.
    pub(crate) async fn get<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoAnswer> {
        let mut places = Vec::new();
        for lane in &self.lanes {
            places.push(lane.clone().place(None).await?);
        }
        self.within_patience(move || {
            let done = work();
            drop(places);
            done
        })
        .await
    }

    /// Runs `work`, which takes as long as it takes, as to copy a file does. It is given up when the file system has not answered
    /// anybody for a while, and does not answer when it is asked.
    pub(crate) async fn long<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoAnswer> {
        let mut places = Vec::new();
        for lane in &self.lanes {
            places.push(lane.clone().long_place().await?);
        }
        let running = self.threads.run(move || {
            let done = work();
            drop(places);
            done
        });
        let silent = async {
            loop {
                tokio::time::sleep(PATIENCE).await;
                for lane in &self.lanes {
                    let (asked, path) = (Answers { threads: self.threads, lanes: vec![lane.clone()] }, lane.path.clone());
                    if lane.patience_left().is_zero() && asked.get(move || drop(rustix::fs::statvfs(&path))).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            done = running => done.map_err(|panic| NoAnswer::Panicked(panic.to_string())),
            () = silent, if !self.lanes.is_empty() => Err(NoAnswer::Silent),
        }
    }

    /// Drops `last` where that keeps nobody waiting, once whoever shares it has let go: to close a file is to ask its file system,
    /// too. Nothing is done where that does not hang, or no runtime is left.
    pub(crate) fn let_go<T: Send + Sync + 'static>(&self, last: &Arc<T>) {
        if let (false, Ok(runtime)) = (self.lanes.is_empty(), tokio::runtime::Handle::try_current()) {
            let last = last.clone();
            runtime.spawn_blocking(move || {
                while Arc::strong_count(&last) > 1 {
                    std::thread::yield_now();
                }
            });
        }
    }

    async fn within_patience<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoAnswer> {
        match tokio::time::timeout(PATIENCE, self.threads.run(work)).await {
            Ok(done) => done.map_err(|panic| NoAnswer::Panicked(panic.to_string())),
            Err(_) => Err(NoAnswer::Silent),
        }
    }
}

/// The file systems that may hang, of those that the paths are on: always in the same order, in which their threads are taken.
fn lanes_of(paths: &[&Path]) -> Vec<Arc<Lane>> {
    static LANES: Mutex<BTreeMap<FileSystemId, Arc<Lane>>> = Mutex::new(BTreeMap::new());
    let mounts = mounts();
    let found = paths.iter().filter_map(|path| Some((mounts.met(path, |_| false).into_iter().next()?, *path)));
    let ids: BTreeMap<FileSystemId, &Path> = found.collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
    ids.into_iter().map(|(id, path)| lanes.entry(id).or_insert_with(|| Arc::new(Lane::new(path))).clone()).collect()
}

fn mounts() -> Arc<Mounts> {
    static MOUNTS: Mutex<Option<(Instant, Arc<Mounts>)>> = Mutex::new(None);
    let mut kept = MOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, mounts)) = &*kept
        && at.elapsed() < MOUNTS_KEPT
    {
        return mounts.clone();
    }
    let mounts = Arc::new(Mounts::now());
    *kept = Some((Instant::now(), mounts.clone()));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Work that hangs until the sender is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (tell, told) = mpsc::channel();
        (tell, move || assert!(told.recv().is_err()))
    }

    fn lane() -> Answers {
        Answers { threads: Threads::Pool, lanes: vec![Arc::new(Lane::new(Path::new("/")))] }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_given_up_and_four_of_them_keep_no_further_thread() {
        let answers = lane();
        let mut hung = Vec::new();
        for _ in 0..THREADS_MAX {
            let (tell, work) = hanging();
            let begun = Instant::now();
            // The runtime's clock goes on by itself only while no thread is waited for.
            let (done, ()) = tokio::join!(answers.get(work), tokio::time::advance(PATIENCE));
            assert_eq!((done, begun.elapsed() >= PATIENCE), (Err(NoAnswer::Silent), true));
            hung.push(tell);
        }
        let ran = Arc::new(Mutex::new(false));
        let runs = ran.clone();
        let fifth = answers.get(move || *runs.lock().unwrap() = true).await;
        assert_eq!((fifth, *ran.lock().unwrap()), (Err(NoAnswer::Silent), false), "no thread is left to it");
        assert_eq!(lane().get(|| 7).await, Ok(7), "another file system has threads of its own");
        drop(hung);
        while answers.lanes[0].free.available_permits() < THREADS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(answers.get(|| 7).await, Ok(7), "it answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_system_that_answers_slowly_has_all_its_work_done() {
        let answers = lane();
        let lane = answers.lanes[0].clone();
        let held: Vec<_> = (0..THREADS_MAX).map(|_| lane.free.clone().try_acquire_owned().unwrap()).collect();
        let waits = tokio::spawn(async move { answers.get(|| 7).await });
        for _ in 0..3 {
            tokio::time::sleep(PATIENCE / 2).await;
            lane.has_answered();
        }
        drop(held);
        assert_eq!(waits.await.unwrap(), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_takes_its_time_and_two_threads_at_most_while_its_file_system_answers() {
        let answers = lane();
        let (mut tells, mut long) = (Vec::new(), Vec::new());
        for _ in 0..LONG_MAX {
            let (tell, work) = hanging();
            tells.push(tell);
            let asked = answers.clone();
            long.push(tokio::spawn(async move { asked.long(work).await }));
            tokio::task::yield_now().await;
        }
        assert_eq!(answers.long(|| 7).await, Err(NoAnswer::Busy));
        assert_eq!(answers.get(|| 7).await, Ok(7), "a single answer has a thread");
        for _ in 0..10 {
            tokio::time::advance(PATIENCE).await;
            answers.lanes[0].has_answered();
            tokio::task::yield_now().await;
        }
        drop(tells);
        for one in long {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        assert_eq!(answers.long(|| 7).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_is_given_up_when_its_file_system_answers_nobody_and_keeps_its_thread() {
        let answers = lane();
        let (tell, work) = hanging();
        let asked = answers.clone();
        let long = tokio::spawn(async move { asked.long(work).await });
        tokio::task::yield_now().await;
        // Nobody gets an answer, not even whoever asks on its behalf.
        let all = answers.lanes[0].free.available_permits();
        let taken = answers.lanes[0].free.clone().try_acquire_many_owned(u32::try_from(all).unwrap()).unwrap();
        tokio::time::advance(PATIENCE + Duration::from_millis(1)).await;
        assert_eq!(long.await.unwrap(), Err(NoAnswer::Silent));
        assert_eq!(answers.lanes[0].long.available_permits(), LONG_MAX - 1, "the thread goes on waiting");
        drop((taken, tell));
    }

    #[test]
    fn of_two_paths_on_one_file_system_there_is_one_lane_and_of_a_disk_none() {
        let here = Answers::of_each(Threads::Pool, &[Path::new("/"), Path::new("/tmp")]);
        assert!(here.lanes.is_empty(), "{here:?}");
    }
}
