//! The one place that asks for the time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use tokio::sync::watch;

/// Who tells the time. Clones are the same clock; the default is the machine's.
#[derive(Clone, Default)]
pub struct Clock {
    source: Option<Arc<dyn TimeSource>>,
    sleeps: Arc<Sleeps>,
}

/// What the machine's steady clock does not count: it stands still while the machine sleeps.
#[derive(Debug, Default)]
struct Sleeps {
    slept_ms: AtomicU64,
    changed: watch::Sender<()>,
}

/// A clock other than the machine's.
pub trait TimeSource: Send + Sync {
    /// The time of day, in nanoseconds since the Unix epoch.
    fn now_ns(&self) -> i64;
    /// The time by the clock that nobody sets, and that stands still while the machine sleeps.
    fn awake(&self) -> Instant;
    /// Where that time of day is told.
    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.source.is_some() { "Clock(simulated)" } else { "Clock(system)" })
    }
}

impl Clock {
    /// A clock that `source` moves.
    pub fn of(source: Arc<dyn TimeSource>) -> Clock {
        Clock { source: Some(source), sleeps: Arc::default() }
    }

    /// Now, in nanoseconds since the Unix epoch.
    pub fn now_ns(&self) -> i64 {
        self.source.as_ref().map_or_else(now_ns, |source| source.now_ns())
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.source.as_ref().map_or_else(now_ms, |source| source.now_ns() / 1_000_000)
    }

    /// The time zone, which the user may change at any time.
    pub fn zone(&self) -> TimeZone {
        self.source.as_ref().map_or_else(TimeZone::system, |source| source.zone())
    }

    /// Now, by the clock that nobody sets. It runs on while the machine sleeps, so it is the one for waits and for the lives of
    /// what hosts give.
    pub fn instant(&self) -> Instant {
        self.awake() + self.slept()
    }

    /// Now, by the clock that nobody sets, and that stands still while the machine sleeps, as every program on it does: the one
    /// for evidence that nobody was writing.
    pub fn awake(&self) -> Instant {
        self.source.as_ref().map_or_else(Instant::now, |source| source.awake())
    }

    /// For how long the machine has slept since this clock was made, as far as [`Clock::has_slept`] was called.
    pub fn slept(&self) -> Duration {
        Duration::from_millis(self.sleeps.slept_ms.load(Ordering::Acquire))
    }

    /// The machine has slept for so long, beyond what was said before.
    pub fn has_slept(&self, time: Duration) {
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.sleeps.slept_ms.fetch_add(time_ms, Ordering::AcqRel);
        self.has_changed();
    }

    /// The time of day was set, or the machine has slept: whoever waits for a time looks again.
    pub fn has_changed(&self) {
        self.sleeps.changed.send_replace(());
    }

    /// Tells of each time that [`Clock::has_changed`] is called from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.sleeps.changed.subscribe()
    }

    /// Whether it is the machine's.
    pub(crate) fn is_the_machines(&self) -> bool {
        self.source.is_none()
    }

    /// How long ago `at_ms` was, in milliseconds since the Unix epoch; nothing where that lies ahead, as after a clock was set
    /// back.
    pub fn since(&self, at_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms().saturating_sub(at_ms)).unwrap_or(0))
    }

    /// The time after `pause` has passed, in milliseconds since the Unix epoch.
    pub fn in_ms(&self, pause: Duration) -> i64 {
        self.now_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Now by the machine's clock, in milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

/// Now by the machine's clock, in nanoseconds since the Unix epoch.
pub fn now_ns() -> i64 {
    i64::try_from(since_epoch().as_nanos()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
