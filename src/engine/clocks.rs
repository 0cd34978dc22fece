//! The time of day next to the clock that nobody sets.

use std::time::Duration;

use tokio::time::Instant;

use crate::job::believed::was_set_back;
use crate::os::clock::Clock;

/// How far ahead a loop sleeps at most.
const LONGEST_SLEEP_MS: u64 = 24 * 3600 * 1000;

/// Now, by the runtime's clock and with the time for which the machine has slept, during which that one stands still.
pub(crate) fn now(clock: &Clock) -> Instant {
    Instant::now() + clock.slept()
}

/// Resolves when [`now`] has come to `at`, unless the machine sleeps meanwhile. Whoever waits for it waits for [`Clock::changes`], too.
pub(crate) async fn sleep_until(clock: &Clock, at: Instant) {
    tokio::time::sleep_until(at.checked_sub(clock.slept()).unwrap_or_else(Instant::now)).await;
}

/// Both clocks as they were when somebody last looked. Whoever works and sleeps by what they said then meets a clock that is set
/// meanwhile at its next look; by the time of day alone it would sleep for the difference.
#[derive(Debug)]
pub(crate) struct Clocks {
    clock: Clock,
    wall_ms: i64,
    at: Instant,
}

impl Clocks {
    /// Looks at them.
    pub(crate) fn of(clock: &Clock) -> Clocks {
        Clocks { clock: clock.clone(), wall_ms: clock.now_ms(), at: now(clock) }
    }

    /// Looks again. Whether the time of day was set back since the last look.
    pub(crate) fn were_set_back(&mut self) -> bool {
        let now = Clocks::of(&self.clock);
        let set_back = was_set_back(self.wall_ms, now.wall_ms, now.at.saturating_duration_since(self.at));
        *self = now;
        set_back
    }

    /// The time of day at the last look, in milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// When it is `at_ms`, in milliseconds since the Unix epoch, or a day after the last look if that comes first.
    pub(crate) fn instant_of(&self, at_ms: i64) -> Instant {
        let left = u64::try_from(at_ms.saturating_sub(self.wall_ms)).unwrap_or(0);
        // One millisecond more, so that the time has certainly come when the sleep ends.
        self.at + Duration::from_millis(left.saturating_add(1).min(LONGEST_SLEEP_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_shorter_by_what_the_machine_has_slept() {
        let clock = Clock::default();
        let due = now(&clock) + Duration::from_secs(100);
        clock.has_slept(Duration::from_secs(70));
        let begun = Instant::now();
        sleep_until(&clock, due).await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert!(now(&clock) >= due);
    }

    #[test]
    fn a_clock_that_is_set_back_just_after_a_look_makes_nobody_sleep_for_the_difference() {
        let year_ms = 365 * 24 * 3600 * 1000;
        let clock = Clock::default();
        let mut clocks = Clocks { wall_ms: clock.now_ms() + year_ms, at: Instant::now(), clock };
        let due = clocks.instant_of(clocks.wall_ms() + 1000);
        assert_eq!(due - clocks.at, Duration::from_millis(1001), "by the clock that said so");
        assert!(clocks.were_set_back(), "and it is noticed then");
        assert!(!clocks.were_set_back(), "once");
        assert_eq!(clocks.instant_of(clocks.wall_ms() + year_ms) - clocks.at, Duration::from_secs(24 * 3600));
        assert_eq!(clocks.instant_of(0) - clocks.at, Duration::from_millis(1));
    }
}
