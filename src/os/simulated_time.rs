//! A time that goes on only when somebody says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::clock::{Clock, TimeSource};

/// A time of day and a steady clock. Clones are the same time.
#[derive(Debug, Clone)]
pub struct Time(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begun: Origin,
    /// The time of day at the beginning, with every jump since, in nanoseconds since the Unix epoch.
    start_ns: AtomicI64,
    /// What has passed, in nanoseconds, where it is moved by hand.
    passed_ns: AtomicI64,
}

#[derive(Debug)]
enum Origin {
    /// Moved by [`Time::pass`].
    ByHand(Instant),
    /// Moved by the runtime, whose clock is paused.
    Runtime(tokio::time::Instant),
}

impl Time {
    /// A time that begins at `start_ns`, in nanoseconds since the Unix epoch, and is moved by [`Time::pass`].
    pub fn by_hand(start_ns: i64) -> Time {
        Time::begun(Origin::ByHand(Instant::now()), start_ns)
    }

    /// A time that begins at `start_ns`, in nanoseconds since the Unix epoch, and goes on with the clock of the runtime that this
    /// is called in.
    pub fn of_the_runtime(start_ns: i64) -> Time {
        Time::begun(Origin::Runtime(tokio::time::Instant::now()), start_ns)
    }

    fn begun(begun: Origin, start_ns: i64) -> Time {
        Time(Arc::new(Inner { begun, start_ns: AtomicI64::new(start_ns), passed_ns: AtomicI64::new(0) }))
    }

    /// The clock that tells this time.
    pub fn clock(&self) -> Clock {
        Clock::of(self.0.clone())
    }

    /// Lets so much time pass, where it is moved by hand.
    pub fn pass(&self, time: Duration) {
        self.0.passed_ns.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// Sets the time of day forward, or back.
    pub fn jump(&self, by_ns: i64) {
        self.0.start_ns.fetch_add(by_ns, Ordering::Relaxed);
    }
}

impl Inner {
    fn passed(&self) -> Duration {
        match self.begun {
            Origin::ByHand(_) => Duration::from_nanos(self.passed_ns.load(Ordering::Relaxed).unsigned_abs()),
            Origin::Runtime(begun) => begun.elapsed(),
        }
    }
}

impl TimeSource for Inner {
    fn now_ns(&self) -> i64 {
        self.start_ns.load(Ordering::Relaxed).saturating_add(nanoseconds(self.passed()))
    }

    fn instant(&self) -> Instant {
        let begun = match self.begun {
            Origin::ByHand(begun) => begun,
            Origin::Runtime(begun) => begun.into_std(),
        };
        begun + self.passed()
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
