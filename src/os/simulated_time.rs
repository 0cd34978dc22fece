//! A time that goes on only when somebody says so.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock::{Clock, TimeSource};

/// A time of day and a steady clock. Clones are the same time.
#[derive(Debug, Clone)]
pub struct Time(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Mutex<Origin>,
    /// The time of day at the beginning, with every jump since, in nanoseconds since the Unix epoch.
    start_ns: AtomicI64,
    /// What has passed before it followed a runtime, or all of it where it is moved by hand, in nanoseconds.
    passed_ns: AtomicI64,
}

#[derive(Debug, Clone, Copy)]
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
        Time(Arc::new(Inner { origin: Mutex::new(begun), start_ns: AtomicI64::new(start_ns), passed_ns: AtomicI64::new(0) }))
    }

    /// The clock that tells this time.
    pub fn clock(&self) -> Clock {
        Clock::of(self.0.clone())
    }

    /// Lets so much time pass, where it is moved by hand.
    pub fn pass(&self, time: Duration) {
        self.0.passed_ns.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// Goes on with the clock of the runtime that this is called in, from where it is.
    pub fn follow_runtime(&self) {
        *self.0.origin() = Origin::Runtime(tokio::time::Instant::now());
    }

    /// Follows the runtime no more, which must be the one that this is called in. From now on it is moved by [`Time::pass`].
    pub fn leave_runtime(&self) {
        let passed = self.passed();
        *self.0.origin() = Origin::ByHand(Instant::now());
        self.0.passed_ns.store(nanoseconds(passed), Ordering::Relaxed);
    }

    /// What has passed since the beginning, whatever the time of day was set to.
    pub fn passed(&self) -> Duration {
        self.0.passed()
    }

    /// Sets the time of day forward, or back.
    pub fn jump(&self, by_ns: i64) {
        self.0.start_ns.fetch_add(by_ns, Ordering::Relaxed);
    }
}

impl Inner {
    fn origin(&self) -> MutexGuard<'_, Origin> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self) -> Duration {
        let before = Duration::from_nanos(self.passed_ns.load(Ordering::Relaxed).unsigned_abs());
        match *self.origin() {
            Origin::ByHand(_) => before,
            Origin::Runtime(begun) => before + begun.elapsed(),
        }
    }
}

impl TimeSource for Inner {
    fn now_ns(&self) -> i64 {
        self.start_ns.load(Ordering::Relaxed).saturating_add(nanoseconds(self.passed()))
    }

    fn awake(&self) -> Instant {
        match *self.origin() {
            Origin::ByHand(begun) => begun + Duration::from_nanos(self.passed_ns.load(Ordering::Relaxed).unsigned_abs()),
            // The instant that the runtime itself would say.
            Origin::Runtime(begun) => begun.into_std() + begun.elapsed(),
        }
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
