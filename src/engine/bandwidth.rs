//! One token bucket per limit, shared by all parts it concerns.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far ahead of its rate a bucket may run after a rest.
const BURST: Duration = Duration::from_millis(50);

/// A limit in bytes a second. A change of it restarts the engine.
#[derive(Debug)]
pub struct Bucket(Mutex<Flow>);

#[derive(Debug)]
struct Flow {
    rate: Option<u64>,
    /// When everything taken so far will have flowed out.
    free_at: Instant,
}

impl Bucket {
    /// A bucket of `rate` bytes a second; `None` is unlimited.
    pub fn new(rate: Option<u64>) -> Bucket {
        Bucket(Mutex::new(Flow { rate, free_at: Instant::now() }))
    }

    fn is_unlimited(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rate.is_none()
    }

    /// Takes `bytes` and says when they may flow.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = state.rate else { return now };
        let start = state.free_at.max(now.checked_sub(BURST).unwrap_or(now));
        state.free_at = start + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        start
    }
}

/// The limits that concern one job: the daemon's and its host's.
#[derive(Debug, Clone)]
pub struct Limits(Vec<Arc<Bucket>>);

impl Limits {
    /// The limits of these buckets together.
    pub fn new(buckets: Vec<Arc<Bucket>>) -> Limits {
        Limits(buckets)
    }

    /// Whether no limit is set.
    pub fn is_unlimited(&self) -> bool {
        self.0.iter().all(|bucket| bucket.is_unlimited())
    }

    /// Waits until `bytes` may flow.
    pub async fn take(&self, bytes: u64) {
        let now = Instant::now();
        if let Some(start) = self.0.iter().map(|bucket| bucket.reserve(bytes, now)).max()
            && start > now
        {
            tokio::time::sleep_until(start).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_takers_share_one_limit() {
        let limits = Limits::new(vec![Arc::new(Bucket::new(Some(1000))), Arc::new(Bucket::new(None))]);
        let start = Instant::now();
        let taker = || async {
            for _ in 0..10 {
                limits.take(100).await;
            }
        };
        tokio::join!(taker(), taker());
        let seconds = start.elapsed().as_secs_f64();
        assert!((1.8..2.0).contains(&seconds), "2000 bytes at 1000 a second, the last 100 of them ahead: {seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let limits = Limits::new(vec![Arc::new(Bucket::new(None))]);
        let start = Instant::now();
        limits.take(u64::MAX).await;
        assert!(limits.is_unlimited() && start.elapsed().is_zero());
    }
}
