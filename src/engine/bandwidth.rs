//! One token bucket per limit, shared by all parts it concerns. A limit may change while bytes wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::job::bandwidth::Bandwidth;
use crate::os::clock::Clock;

/// How far ahead of its rate a bucket may run after a rest.
const BURST: Duration = Duration::from_millis(25);
/// How long bytes that are taken at once should take to flow ...
const PIECE: Duration = Duration::from_millis(25);
/// ... but no fewer of them, ...
const PIECE_BYTES_MIN: u64 = 512;
/// ... and no more.
const PIECE_BYTES_MAX: u64 = 16 * 1024;
/// What is lost in sums of fractions.
const ROUNDING: f64 = 0.5;
/// For how long a limit is believed that follows the time of day: the time may be set, and the zone become another.
const BELIEVED_MS: i64 = 60_000;

/// A limit in bytes a second.
#[derive(Debug)]
pub struct Bucket {
    flow: Mutex<Flow>,
    changed: Notify,
    clock: Clock,
}

#[derive(Debug)]
struct Flow {
    bandwidth: Bandwidth,
    rate: Rate,
    /// Bytes that were ever taken.
    taken: f64,
    /// Bytes that may have flowed at `at`, which may be a little more than were taken.
    flowed: f64,
    at: Instant,
}

/// What a [`Bandwidth`] allows, and how long that holds.
#[derive(Debug, Clone, Copy)]
struct Rate {
    limit: Option<u64>,
    /// The times of day, in milliseconds since the Unix epoch, between which it holds; nothing where it always does.
    within_ms: Option<(i64, i64)>,
}

impl Rate {
    fn of(bandwidth: &Bandwidth, clock: &Clock) -> Rate {
        if let Some(limit) = bandwidth.always() {
            return Rate { limit, within_ms: None };
        }
        let (now_ms, zone) = (clock.now_ms(), clock.zone());
        let believed = now_ms.saturating_add(BELIEVED_MS);
        let end = bandwidth.next_change(now_ms, &zone).map_or(believed, |change| change.min(believed));
        Rate { limit: bandwidth.limit(now_ms, &zone), within_ms: Some((now_ms, end)) }
    }

    /// Bytes a second, never none of them.
    fn per_second(self) -> Option<f64> {
        self.limit.map(|limit| limit.max(1) as f64)
    }

    /// For how long it holds; nothing where it always does.
    fn left(self, clock: &Clock) -> Option<Duration> {
        let (from, to) = self.within_ms?;
        let now = clock.now_ms();
        let left = if now < from { 0 } else { to.saturating_sub(now) };
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }
}

impl Flow {
    /// What has flowed by now, and what the rate is from now on.
    fn advance(&mut self, now: Instant, clock: &Clock) {
        let rate = self.rate.per_second();
        let most = self.taken + rate.map_or(0.0, |rate| rate * BURST.as_secs_f64());
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.flowed = rate.map_or(most, |rate| (self.flowed + rate * passed).min(most));
        self.at = now;
        if self.rate.left(clock).is_some_and(|left| left.is_zero()) {
            self.rate = Rate::of(&self.bandwidth, clock);
        }
    }
}

impl Bucket {
    /// A bucket of what `bandwidth` allows by this clock.
    pub fn new(bandwidth: Bandwidth, clock: Clock) -> Bucket {
        let rate = Rate::of(&bandwidth, &clock);
        let flow = Flow { bandwidth, rate, taken: 0.0, flowed: 0.0, at: Instant::now() };
        Bucket { flow: Mutex::new(flow), changed: Notify::new(), clock }
    }

    /// From now on it is this, also for bytes that wait.
    pub fn set(&self, bandwidth: Bandwidth) {
        {
            let mut flow = self.advanced();
            flow.rate = Rate::of(&bandwidth, &self.clock);
            flow.bandwidth = bandwidth;
        }
        self.changed.notify_waiters();
    }

    /// Bytes a second at this moment; `None` is unlimited.
    fn limit(&self) -> Option<u64> {
        self.advanced().rate.limit
    }

    /// Takes `bytes` and waits until they may flow.
    async fn take(&self, bytes: u64) {
        let place = {
            let mut flow = self.advanced();
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

    /// How long it takes until what was taken before `place` has flowed, or the rate may be another; nothing where it has flowed.
    fn wait(&self, place: f64) -> Option<Duration> {
        let flow = self.advanced();
        let left = place - flow.flowed;
        let rate = flow.rate.per_second()?;
        let wait = Duration::try_from_secs_f64(left.max(0.0) / rate).unwrap_or(Duration::MAX);
        (left > ROUNDING && !planted!("bandwidth.unheeded"))
            .then(|| flow.rate.left(&self.clock).map_or(wait, |holds| wait.min(holds)))
    }

    fn advanced(&self) -> MutexGuard<'_, Flow> {
        let mut flow = self.flow.lock().unwrap_or_else(PoisonError::into_inner);
        flow.advance(Instant::now(), &self.clock);
        flow
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

    /// How many bytes are to be taken at once, so that they flow evenly; nothing where there is no limit now.
    pub fn piece(&self) -> Option<usize> {
        let lowest = self.0.iter().filter_map(|bucket| bucket.limit()).min()?;
        let piece = (lowest as f64 * PIECE.as_secs_f64()) as u64;
        usize::try_from(piece.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)).ok()
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

    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::task::JoinSet;

    use crate::job::bandwidth::{Days, Hours};
    use crate::os::simulated_time::Time;

    fn bucket(limit: Option<u64>) -> Bucket {
        Bucket::new(Bandwidth::constant(limit), Clock::default())
    }

    #[tokio::test(start_paused = true)]
    async fn two_takers_share_one_limit() {
        let limits = Limits::new(vec![Arc::new(bucket(Some(1000))), Arc::new(bucket(None))]);
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
        let limits = Limits::new(vec![Arc::new(bucket(None))]);
        let start = Instant::now();
        limits.take(u64::MAX).await;
        assert!(limits.piece().is_none() && start.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_limits_the_lower_one_holds() {
        let limits = Limits::new(vec![Arc::new(bucket(Some(1000))), Arc::new(bucket(Some(500)))]);
        let start = Instant::now();
        for _ in 0..100 {
            limits.take(100).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((19.5..20.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_wait_flow_at_the_new_rate_once_it_has_changed() {
        let bucket = Arc::new(bucket(Some(1)));
        let limits = Limits::new(vec![bucket.clone()]);
        let start = Instant::now();
        // At the first rate the second would wait for a day.
        limits.take(86_400).await;
        let taking = limits.take(1000);
        let changing = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            bucket.set(Bandwidth::constant(Some(8639)));
        };
        tokio::join!(taking, changing);
        let seconds = start.elapsed().as_secs_f64();
        assert!((19.9..20.1).contains(&seconds), "{seconds}");
        let waiting = limits.take(1);
        let lifting = async { bucket.set(Bandwidth::unlimited()) };
        tokio::join!(waiting, lifting);
        assert!(start.elapsed().as_secs_f64() < 20.1 && limits.piece().is_none());
        bucket.set(Bandwidth::constant(Some(100)));
        let start = Instant::now();
        for _ in 0..11 {
            limits.take(100).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((9.9..=10.0).contains(&seconds), "what flowed without a limit gives none ahead and owes none: {seconds}");
    }

    /// Takers that never rest, and what they have taken, a piece at a time.
    struct Flowing {
        flown: Arc<AtomicU64>,
        _takers: JoinSet<()>,
    }

    impl Flowing {
        fn through(limits: &Limits, takers: usize) -> Flowing {
            let flown = Arc::new(AtomicU64::new(0));
            let mut tasks = JoinSet::new();
            for _ in 0..takers {
                let (limits, flown) = (limits.clone(), flown.clone());
                tasks.spawn(async move {
                    loop {
                        let piece = limits.piece().map_or(1 << 20, |piece| piece as u64);
                        limits.take(piece).await;
                        flown.fetch_add(piece, Ordering::Relaxed);
                    }
                });
            }
            Flowing { flown, _takers: tasks }
        }

        /// What flows in so many seconds.
        async fn during(&self, seconds: u64) -> u64 {
            let before = self.flown.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            self.flown.load(Ordering::Relaxed) - before
        }
    }

    fn assert_within_a_hundredth(flown: u64, expected: u64, what: &str) {
        assert!(flown.abs_diff(expected) * 100 <= expected, "{what}: {flown} bytes for {expected}");
    }

    #[tokio::test(start_paused = true)]
    async fn over_ten_seconds_a_limit_is_kept_within_a_hundredth_whatever_it_is_and_whoever_shares_it() {
        for rate in [50_000, 1 << 20, 20 << 20, 1 << 30] {
            for takers in [1, 7, 64] {
                let limits = Limits::new(vec![Arc::new(bucket(Some(rate))), Arc::new(bucket(Some(rate * 2)))]);
                let flowing = Flowing::through(&limits, takers);
                for part in ["after a rest", "in full flow"] {
                    let flown = flowing.during(10).await;
                    assert_within_a_hundredth(flown, rate * 10, &format!("{rate} bytes a second, {takers} takers, {part}"));
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_wait_follow_the_time_of_day() {
        let from = |hour, limit| Hours {
            from: jiff::civil::Time::constant(hour, 0, 0, 0),
            to: jiff::civil::Time::constant(hour + 1, 0, 0, 0),
            days: Days::ALL,
            limit: Some(limit),
        };
        // A minute before six in the morning, in UTC.
        let time = Time::of_the_runtime((5 * 3600 + 59 * 60) * 1_000_000_000);
        let day = Bandwidth::new(vec![from(6, 100_000), Hours::always(Some(2_000_000))]);
        let bucket = Arc::new(Bucket::new(day, time.clock()));
        let flowing = Flowing::through(&Limits::new(vec![bucket.clone()]), 5);
        let limit_kept = |part: &'static str, seconds: u64, expected: u64| {
            let flowing = &flowing;
            async move { assert_within_a_hundredth(flowing.during(seconds).await, expected, part) }
        };
        limit_kept("before six", 50, 100_000_000).await;
        limit_kept("ten seconds before six and ten after it", 20, 21_000_000).await;
        limit_kept("the rest of the hour", 3590, 359_000_000).await;
        limit_kept("after seven", 10, 20_000_000).await;
        // Somebody sets the clock back an hour: within a minute it is believed.
        time.jump(-3600 * 1_000_000_000);
        tokio::time::sleep(Duration::from_secs(60)).await;
        limit_kept("in the same hour once more", 100, 10_000_000).await;
        bucket.set(Bandwidth::constant(Some(1_000_000)));
        limit_kept("with another limit", 10, 10_000_000).await;
    }
}
