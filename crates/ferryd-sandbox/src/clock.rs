//! What time it is at the hosts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who tells the time of day. The default is the machine.
#[derive(Clone, Default)]
pub struct Time(Option<Arc<dyn Fn() -> i64 + Send + Sync>>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Time(given)" } else { "Time(system)" })
    }
}

impl Time {
    /// The time that `now_ms` tells, in milliseconds since the Unix epoch.
    pub fn of(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Time {
        Time(Some(Arc::new(now_ms)))
    }

    /// Milliseconds since the Unix epoch.
    #[allow(clippy::disallowed_methods, reason = "the sandbox is not the daemon: its clock is its own")]
    fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(now_ms) => now_ms(),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
            }
        }
    }
}

/// The clock of the hosts, which may be put forward and back.
#[derive(Debug)]
pub(super) struct Clock {
    time: Time,
    ahead_ms: AtomicI64,
}

impl Clock {
    pub(super) fn new(time: Time) -> Clock {
        Clock { time, ahead_ms: AtomicI64::new(0) }
    }

    /// Milliseconds since the Unix epoch, as the hosts believe.
    pub(super) fn now_ms(&self) -> i64 {
        self.time.now_ms().saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// The time that the hosts believe, in the words of a header.
    pub(super) fn believed_date(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now_ms()).unwrap_or(0)))
    }

    /// The true time, in the words of a header, so many seconds from now.
    pub(super) fn http_date(&self, seconds_ahead: u32) -> String {
        let now = Duration::from_millis(u64::try_from(self.time.now_ms()).unwrap_or(0));
        httpdate::fmt_http_date(UNIX_EPOCH + now + Duration::from_secs(seconds_ahead.into()))
    }

    /// Puts the clock forward, or back.
    pub(super) fn shift(&self, seconds: i64) {
        self.ahead_ms.fetch_add(seconds.saturating_mul(1000), Ordering::Relaxed);
    }

    /// Sets the clock right.
    pub(super) fn reset(&self) {
        self.ahead_ms.store(0, Ordering::Relaxed);
    }
}
