//! What moves right now: counters that workers raise, written down about once a second while something moves, and never otherwise.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::store::{JobId, Live, Store, StoreError};

/// How often the rows are written.
const PERIOD: Duration = Duration::from_secs(1);
/// How much of the rate shown is the last second's; the rest is what was shown before.
const NEWEST_SHARE: f64 = 0.3;
/// Rows written at once; more jobs than this upload together only by configuration.
const ROWS_MAX: usize = 256;

/// The jobs that move, each with the bytes that have flowed.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<BoardState>);

#[derive(Default)]
struct BoardState {
    jobs: Mutex<BTreeMap<JobId, Arc<AtomicU64>>>,
    entered: Notify,
}

/// A job's place on the board, left when dropped.
pub(crate) struct BoardEntry {
    board: Board,
    job: JobId,
    /// Bytes that have flowed.
    pub sent: Arc<AtomicU64>,
}

impl Board {
    /// Puts `job` on the board.
    pub(crate) fn enter(&self, job: JobId) -> BoardEntry {
        let sent = Arc::new(AtomicU64::new(0));
        let mut jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.is_empty() {
            self.0.entered.notify_one();
        }
        jobs.insert(job, sent.clone());
        BoardEntry { board: self.clone(), job, sent }
    }

    fn read(&self) -> BTreeMap<JobId, u64> {
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().take(ROWS_MAX).map(|(job, sent)| (*job, sent.load(Ordering::Relaxed))).collect()
    }

    /// Writes what moves until the queue fails. Wakes nobody while nothing moves.
    pub(crate) async fn write_down(&self, store: Store) -> StoreError {
        let mut shown: BTreeMap<JobId, Live> = BTreeMap::new();
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = self.read();
            shown = now.iter().map(|(job, sent)| (*job, next(shown.get(job), *job, *sent))).collect();
            if let Err(error) = store.record_progress(shown.values().copied().collect()).await {
                return error;
            }
            if now.is_empty() {
                self.0.entered.notified().await;
            }
        }
    }
}

fn next(before: Option<&Live>, job: JobId, sent: u64) -> Live {
    let moved = sent.saturating_sub(before.map_or(0, |before| before.sent)) as f64;
    let per_second = match before {
        None => moved,
        Some(before) => before.per_second as f64 * (1.0 - NEWEST_SHARE) + moved * NEWEST_SHARE,
    };
    Live { job, sent, per_second: per_second as u64 }
}

impl Drop for BoardEntry {
    fn drop(&mut self) {
        self.board.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.job);
    }
}
