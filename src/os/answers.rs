//! Work that waits for a file system, and a limit to that: whoever waits gives up when no answer comes, while the thread that asked
//! goes on waiting, since nothing can call it back.
//!
//! Of the file systems that may hang (`os::mounts`) each has a few such threads and no more, so that one that hangs leaves the other
//! threads to everybody else.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::mounts::{FileSystemId, Mounts};
use super::threads::Threads;

/// How long a single answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Threads that wait for the same file system, of those that may hang.
const THREADS_MAX: usize = 4;
/// How long the list of mounts is believed.
const MOUNTS_KEPT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The file system does not give any.
    #[error("its file system has not answered for {} s", PATIENCE.as_secs())]
    Silent,
    /// The work panicked.
    #[error("internal error: {0}")]
    Panicked(String),
}

/// Where work runs that waits for one file system. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    threads: Threads,
    lane: Option<Arc<Lane>>,
}

/// The threads of a file system that may hang.
#[derive(Debug)]
struct Lane {
    free: Arc<Semaphore>,
    /// When it last gave an answer, or was first asked for one.
    answered: Mutex<Instant>,
}

impl Lane {
    fn new() -> Lane {
        Lane { free: Arc::new(Semaphore::new(THREADS_MAX)), answered: Mutex::new(Instant::now()) }
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
        let lane = match threads {
            Threads::Pool => lane_of(path),
            #[cfg(feature = "simulator")]
            Threads::Caller => None,
        };
        Answers { threads, lane }
    }

    /// Runs `work`, which waits for the file system once or a few times.
    pub(crate) async fn get<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoAnswer> {
        let Some(lane) = self.lane.clone() else { return self.within_patience(work).await };
        let free = loop {
            if let Ok(free) = lane.free.clone().try_acquire_owned() {
                break free;
            }
            let patience = lane.patience_left();
            if patience.is_zero() {
                return Err(NoAnswer::Silent);
            }
            if let Ok(Ok(free)) = tokio::time::timeout(patience, lane.free.clone().acquire_owned()).await {
                break free;
            }
        };
        let work = move || {
            let done = work();
            lane.has_answered();
            drop(free);
            done
        };
        self.within_patience(work).await
    }

    /// Drops `last` where that keeps nobody waiting, once whoever shares it has let go: to close a file is to ask its file system,
    /// too. Nothing is done where that does not hang, or no runtime is left.
    pub(crate) fn let_go<T: Send + Sync + 'static>(&self, last: &Arc<T>) {
        if let (Some(_), Ok(runtime)) = (&self.lane, tokio::runtime::Handle::try_current()) {
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

fn lane_of(path: &Path) -> Option<Arc<Lane>> {
    static LANES: Mutex<Option<HashMap<FileSystemId, Arc<Lane>>>> = Mutex::new(None);
    let id = mounts().met(path, |_| false).into_iter().next()?;
    let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
    Some(lanes.get_or_insert_default().entry(id).or_insert_with(|| Arc::new(Lane::new())).clone())
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
        Answers { threads: Threads::Pool, lane: Some(Arc::new(Lane::new())) }
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
        while answers.lane.as_ref().unwrap().free.available_permits() < THREADS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(answers.get(|| 7).await, Ok(7), "it answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_system_that_answers_slowly_has_all_its_work_done() {
        let answers = lane();
        let lane = answers.lane.clone().unwrap();
        let held: Vec<_> = (0..THREADS_MAX).map(|_| lane.free.clone().try_acquire_owned().unwrap()).collect();
        let waits = tokio::spawn(async move { answers.get(|| 7).await });
        for _ in 0..3 {
            tokio::time::sleep(PATIENCE / 2).await;
            lane.has_answered();
        }
        drop(held);
        assert_eq!(waits.await.unwrap(), Ok(7));
    }
}
