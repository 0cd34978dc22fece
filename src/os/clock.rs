//! The one place that asks for the time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Who tells the time. Clones are the same clock; the default is the machine's.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn TimeSource>>);

/// A clock other than the machine's.
pub trait TimeSource: Send + Sync {
    /// The time of day, in nanoseconds since the Unix epoch.
    fn now_ns(&self) -> i64;
    /// The time by the clock that nobody sets.
    fn instant(&self) -> Instant;
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(simulated)" } else { "Clock(system)" })
    }
}

impl Clock {
    /// A clock that `source` moves.
    pub fn of(source: Arc<dyn TimeSource>) -> Clock {
        Clock(Some(source))
    }

    /// Now, in nanoseconds since the Unix epoch.
    pub fn now_ns(&self) -> i64 {
        self.0.as_ref().map_or_else(now_ns, |source| source.now_ns())
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.0.as_ref().map_or_else(now_ms, |source| source.now_ns() / 1_000_000)
    }

    /// Now, by the clock that nobody sets.
    pub fn instant(&self) -> Instant {
        self.0.as_ref().map_or_else(Instant::now, |source| source.instant())
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
