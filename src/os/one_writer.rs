//! One writer for a file at a time, however long the earlier one takes: a thread that waits for a file system which does not answer
//! goes on with its work when that does, long after its task has given up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::threads::Threads;

/// How long the earlier one is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

type Turns = Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>;

static TURNS: Turns = Mutex::new(BTreeMap::new());

/// The right to write one file. Goes with the thread that does so, and ends with its work.
#[derive(Debug)]
pub(crate) struct OneWriter {
    path: PathBuf,
    turn: Option<OwnedMutexGuard<()>>,
}

impl OneWriter {
    /// Waits for everyone who writes the file at `path`; nothing where one of them does not come to an end. Work on the caller's own
    /// thread is over when the caller goes on, so there nobody is waited for: what has the same path is in another world.
    pub(crate) async fn of(threads: Threads, path: &Path) -> Option<OneWriter> {
        if !matches!(threads, Threads::Pool) {
            return Some(OneWriter { path: path.to_owned(), turn: None });
        }
        let turn = locked().entry(path.to_owned()).or_default().clone();
        let turn = tokio::time::timeout(PATIENCE, turn.lock_owned()).await;
        // A turn that is given up may have been the last that was wanted.
        let writer = OneWriter { path: path.to_owned(), turn: turn.ok() };
        if writer.turn.is_some() { Some(writer) } else { None }
    }
}

impl Drop for OneWriter {
    fn drop(&mut self) {
        let mut turns = locked();
        self.turn = None;
        if turns.get(&self.path).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.path);
        }
    }
}

fn locked() -> std::sync::MutexGuard<'static, BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_has_one_writer_at_a_time_and_one_that_hangs_is_waited_for_no_longer_than_a_while() {
        let path = Path::new("/one-writer/a");
        let first = OneWriter::of(Threads::Pool, path).await.unwrap();
        let other = OneWriter::of(Threads::Pool, Path::new("/one-writer/b")).await;
        assert!(other.is_some(), "another file is nobody's business");
        assert!(OneWriter::of(Threads::Pool, path).await.is_none());
        let second = tokio::spawn(OneWriter::of(Threads::Pool, path));
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        let second = second.await.unwrap();
        assert!(second.is_some());
        drop((second, other));
        assert!(!locked().keys().any(|path| path.starts_with("/one-writer")), "nothing is left of what is over");
    }

    #[cfg(feature = "simulator")]
    #[tokio::test(start_paused = true)]
    async fn worlds_in_one_process_do_not_wait_for_each_others_files() {
        let path = Path::new("/one-writer/of-a-world");
        let first = OneWriter::of(Threads::Caller, path).await;
        assert!(first.is_some() && OneWriter::of(Threads::Caller, path).await.is_some());
    }
}
