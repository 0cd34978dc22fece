//! Sleeps while the watching threads have nothing to do, so that an idle daemon does not wake up to look after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whoever looks at the pulses. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Looker(Arc<Asleep>);

#[derive(Debug, Default)]
struct Asleep {
    sleeps: AtomicBool,
    woken: Notify,
}

impl Looker {
    /// Waits while nothing is asked of a file system, as `at_rest` says of the pulses whose steps wake this. May end too early.
    pub(super) async fn sleep_while(&self, at_rest: impl FnOnce() -> bool) {
        // From here on whoever begins a step wakes us, and whoever has begun one before is seen.
        self.0.sleeps.store(true, Ordering::SeqCst);
        if at_rest() {
            self.0.woken.notified().await;
        }
        self.0.sleeps.store(false, Ordering::SeqCst);
    }

    /// A step has begun.
    pub(super) fn wake(&self) {
        if self.0.sleeps.load(Ordering::SeqCst) && self.0.sleeps.swap(false, Ordering::SeqCst) {
            self.0.woken.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn whoever_looks_sleeps_while_every_thread_rests_and_is_woken_by_the_first_step() {
        let looker = Looker::default();
        let steps = Cell::new(0);
        let at_rest = || steps.get() == 0;
        for _ in 0..2 {
            let mut sleep = pin!(looker.sleep_while(at_rest));
            assert_eq!(poll(sleep.as_mut()), Poll::Pending);
            steps.set(1);
            looker.wake();
            assert_eq!(poll(sleep), Poll::Ready(()));
            assert_eq!(poll(pin!(looker.sleep_while(at_rest))), Poll::Ready(()), "it has not ended");
            steps.set(0);
        }
        // One that began and ended while nobody slept is no reason to stay awake.
        looker.wake();
        assert_eq!(poll(pin!(looker.sleep_while(at_rest))), Poll::Pending);
    }
}
