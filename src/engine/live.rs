//! What moves right now: counters that workers raise, written down about once a second while something moves, and never otherwise.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::job::Paces;
use crate::job::pace::Pace;
use crate::store::{JobId, Live, Store, StoreError};

use super::connections::Connections;

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
    jobs: Mutex<BTreeMap<JobId, Arc<Sent>>>,
    entered: Notify,
    /// The bytes that have flowed to each host, also of jobs that were over before anybody looked.
    flowed: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    /// What each host may have in flight.
    connections: Mutex<BTreeMap<String, Connections>>,
    paces: SharedPaces,
}

/// The paces as they were told last, for whoever asks.
pub(crate) type SharedPaces = Arc<Mutex<Paces>>;

/// A job's place on the board, left when dropped.
pub(crate) struct BoardEntry {
    board: Board,
    job: JobId,
    /// Its bytes.
    pub sent: Arc<Sent>,
}

/// Counts the bytes of one job.
#[derive(Default)]
pub struct Sent {
    /// Those the host had, and those that have flowed since.
    so_far: AtomicU64,
    /// Those that have flowed.
    flowed: AtomicU64,
    /// Those of all jobs of its host.
    to_host: Arc<AtomicU64>,
}

impl Sent {
    /// So many more have flowed.
    pub(crate) fn flow(&self, bytes: u64) {
        for counter in [&self.so_far, &self.flowed, &*self.to_host] {
            counter.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// How many have flowed.
    pub(crate) fn flowed(&self) -> u64 {
        self.flowed.load(Ordering::Relaxed)
    }

    /// The host has so many already.
    pub(crate) fn resume_at(&self, bytes: u64) {
        self.so_far.store(bytes, Ordering::Relaxed);
    }
}

/// What a job is known to have sent, and how fast it goes.
#[derive(Clone, Copy)]
struct Seen {
    live: Live,
    flowed: u64,
    pace: Pace,
}

impl Board {
    /// A board that tells its paces there.
    pub(crate) fn telling(paces: SharedPaces) -> Board {
        Board(Arc::new(BoardState { paces, ..BoardState::default() }))
    }

    /// Puts `job` on the board.
    pub(crate) fn enter(&self, job: JobId, host: &str, connections: &Connections) -> BoardEntry {
        locked(&self.0.connections).insert(host.to_owned(), connections.clone());
        let to_host = locked(&self.0.flowed).entry(host.to_owned()).or_default().clone();
        let sent = Arc::new(Sent { to_host, ..Sent::default() });
        let mut jobs = locked(&self.0.jobs);
        if jobs.is_empty() {
            self.0.entered.notify_one();
        }
        jobs.insert(job, sent.clone());
        BoardEntry { board: self.clone(), job, sent }
    }

    fn read(&self) -> BTreeMap<JobId, Arc<Sent>> {
        let jobs = locked(&self.0.jobs);
        jobs.iter().take(ROWS_MAX).map(|(job, sent)| (*job, sent.clone())).collect()
    }

    fn tell(&self, hosts: &BTreeMap<String, (Pace, u64)>, jobs: &BTreeMap<JobId, Seen>) {
        let hosts = hosts.iter().filter_map(|(host, (pace, _))| Some((host.clone(), pace.per_second()?))).collect();
        let jobs = jobs.iter().filter_map(|(job, seen)| Some((*job, seen.pace.per_second()?))).collect();
        let windows = locked(&self.0.connections);
        let requests = windows.iter().map(|(host, connections)| (host.clone(), connections.window().told())).collect();
        *locked(&self.0.paces) = Paces { hosts, jobs, requests };
    }

    /// The paces of the hosts after so many seconds more. That of one to which nothing goes stays as it was.
    fn follow(&self, hosts: &mut BTreeMap<String, (Pace, u64)>, jobs: &BTreeMap<JobId, Arc<Sent>>, seconds: f64) {
        for (host, flowed) in locked(&self.0.flowed).iter() {
            let (pace, before) = hosts.entry(host.clone()).or_default();
            let moved = flowed.load(Ordering::Relaxed).saturating_sub(*before);
            if moved > 0 || jobs.values().any(|job| Arc::ptr_eq(&job.to_host, flowed)) {
                (*pace, *before) = (pace.after(moved, seconds), *before + moved);
            }
        }
    }

    /// Writes what moves until the queue fails. Wakes nobody while nothing moves.
    pub(crate) async fn write_down(&self, store: Store) -> StoreError {
        let mut shown: BTreeMap<JobId, Seen> = BTreeMap::new();
        // Another engine may have told them last.
        let told = locked(&self.0.paces).hosts.clone();
        let mut hosts: BTreeMap<String, (Pace, u64)> =
            told.into_iter().map(|(host, told)| (host, (Pace::going_on(Some(told)), 0))).collect();
        let mut looked = Instant::now();
        loop {
            tokio::time::sleep(PERIOD).await;
            let (now, seconds) = (self.read(), looked.elapsed().as_secs_f64());
            looked = Instant::now();
            shown = now.iter().map(|(job, sent)| (*job, next(shown.get(job), *job, sent, seconds))).collect();
            self.follow(&mut hosts, &now, seconds);
            self.tell(&hosts, &shown);
            if let Err(error) = store.record_progress(shown.values().map(|seen| seen.live).collect()).await {
                return error;
            }
            if now.is_empty() {
                self.0.entered.notified().await;
                looked = Instant::now();
            }
        }
    }
}

fn next(before: Option<&Seen>, job: JobId, counted: &Sent, seconds: f64) -> Seen {
    let (sent, flowed) = (counted.so_far.load(Ordering::Relaxed), counted.flowed.load(Ordering::Relaxed));
    // One that has begun anew counts from nothing.
    let moved = before.and_then(|before| flowed.checked_sub(before.flowed)).unwrap_or(flowed);
    let per_second = match before {
        None => moved as f64,
        Some(before) => before.live.per_second as f64 * (1.0 - NEWEST_SHARE) + moved as f64 * NEWEST_SHARE,
    };
    let pace = before.map_or(Pace::default(), |before| before.pace).after(moved, seconds);
    Seen { live: Live { job, sent, per_second: per_second as u64 }, flowed, pace }
}

/// What is behind a lock is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for BoardEntry {
    fn drop(&mut self) {
        locked(&self.board.0.jobs).remove(&self.job);
    }
}

#[cfg(test)]
mod tests {
    use super::super::connections::connections;
    use super::*;

    #[test]
    fn a_job_that_begins_anew_is_counted_from_nothing() {
        let board = Board::default();
        let windows = connections(8, &[8]);
        let entry = board.enter(JobId(1), "box", &windows[0]);
        entry.sent.flow(1_000);
        let before = next(None, JobId(1), &entry.sent, 1.0);
        drop(entry);
        let again = board.enter(JobId(1), "box", &windows[0]);
        again.sent.flow(10);
        let seen = next(Some(&before), JobId(1), &again.sent, 1.0);
        assert_eq!((seen.flowed, seen.live.sent), (10, 10));
        assert!(seen.live.per_second <= before.live.per_second, "{} bytes a second", seen.live.per_second);
    }
}
