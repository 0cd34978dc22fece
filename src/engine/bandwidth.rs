//! One token bucket per limit, shared by all parts it concerns. A limit may change while bytes wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How far ahead of its rate a bucket may run after a rest.
const BURST: Duration = Duration::from_millis(50);
/// What is lost in sums of fractions.
const ROUNDING: f64 = 0.5;

/// A limit in bytes a second.
#[derive(Debug)]
pub struct Bucket {
    flow: Mutex<Flow>,
    changed: Notify,
}

#[derive(Debug)]
struct Flow {
    rate: Option<u64>,
    /// Bytes that were ever taken.
    taken: f64,
    /// Bytes that may have flowed at `at`, which may be a little more than were taken.
    flowed: f64,
    at: Instant,
}

impl Flow {
    /// What has flowed by now.
    fn advance(&mut self, now: Instant) {
        let rate = self.rate.map(|rate| rate.max(1) as f64);
        let most = self.taken + rate.map_or(0.0, |rate| rate * BURST.as_secs_f64());
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.flowed = rate.map_or(most, |rate| (self.flowed + rate * passed).min(most));
        self.at = now;
    }
}

impl Bucket {
    /// A bucket of `rate` bytes a second; `None` is unlimited.
    pub fn new(rate: Option<u64>) -> Bucket {
        let flow = Flow { rate, taken: 0.0, flowed: 0.0, at: Instant::now() };
        Bucket { flow: Mutex::new(flow), changed: Notify::new() }
    }

    /// From now on it is this rate, also for bytes that wait.
    pub fn set_rate(&self, rate: Option<u64>) {
        {
            let mut flow = self.flow();
            flow.advance(Instant::now());
            flow.rate = rate;
        }
        self.changed.notify_waiters();
    }

    fn is_unlimited(&self) -> bool {
        self.flow().rate.is_none()
    }

    /// Takes `bytes` and waits until they may flow.
    async fn take(&self, bytes: u64) {
        let place = {
            let mut flow = self.flow();
            flow.advance(Instant::now());
            let place = flow.taken;
            flow.taken += bytes as f64;
            place
        };
        loop {
            // Asked for before the wait is computed, so that no change is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let Some(wait) = self.wait(place) else { return };
            tokio::select! {
                biased;
                () = &mut changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// How long it takes until what was taken before `place` has flowed, as things are; nothing where it has.
    fn wait(&self, place: f64) -> Option<Duration> {
        let mut flow = self.flow();
        flow.advance(Instant::now());
        let left = place - flow.flowed;
        let rate = flow.rate?.max(1) as f64;
        (left > ROUNDING).then(|| Duration::try_from_secs_f64(left / rate).unwrap_or(Duration::MAX))
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
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
        for bucket in &self.0 {
            bucket.take(bytes).await;
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

    #[tokio::test(start_paused = true)]
    async fn of_two_limits_the_lower_one_holds() {
        let limits = Limits::new(vec![Arc::new(Bucket::new(Some(1000))), Arc::new(Bucket::new(Some(500)))]);
        let start = Instant::now();
        for _ in 0..100 {
            limits.take(100).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((19.5..20.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_wait_flow_at_the_new_rate_once_it_has_changed() {
        let bucket = Arc::new(Bucket::new(Some(1)));
        let limits = Limits::new(vec![bucket.clone()]);
        let start = Instant::now();
        // At the first rate the second would wait for a day.
        limits.take(86_400).await;
        let taking = limits.take(1000);
        let changing = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            bucket.set_rate(Some(8639));
        };
        tokio::join!(taking, changing);
        let seconds = start.elapsed().as_secs_f64();
        assert!((19.9..20.1).contains(&seconds), "{seconds}");
        let waiting = limits.take(1);
        let lifting = async { bucket.set_rate(None) };
        tokio::join!(waiting, lifting);
        assert!(start.elapsed().as_secs_f64() < 20.1 && limits.is_unlimited());
        bucket.set_rate(Some(100));
        let start = Instant::now();
        for _ in 0..11 {
            limits.take(100).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((9.9..=10.0).contains(&seconds), "what flowed without a limit gives none ahead and owes none: {seconds}");
    }
}
