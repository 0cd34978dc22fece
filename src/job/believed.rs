//! How far a stored time is believed. The clock that it was written by may have been wrong, or the one that reads it may be.

use std::time::Duration;

use super::verdict::{LONGEST_BACKOFF, LONGEST_WAIT};

/// No job waits longer for its next try: what its host asked for, and a back-off on top.
pub(crate) const LONGEST_TO_NEXT_TRY: Duration = Duration::from_secs(LONGEST_WAIT.as_secs() + LONGEST_BACKOFF.as_secs());

/// How far a clock may fall behind before it counts as set back; less is the rounding and slewing of every clock.
const SLACK: Duration = Duration::from_secs(10);

/// The moment `longest` after `now_ms`; both in milliseconds since the Unix epoch.
pub(crate) fn after(now_ms: i64, longest: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX))
}

/// `until_ms`, unless it lies further ahead of `now_ms` than any wait there is: then one of the clocks was wrong, and nothing is
/// known of the time. All in milliseconds since the Unix epoch.
pub(crate) fn believed(until_ms: i64, now_ms: i64, longest: Duration) -> Option<i64> {
    (until_ms <= after(now_ms, longest)).then_some(until_ms)
}

/// How long a job has waited since a failure that counts: no longer than it was to wait, whatever kept it after that. All in
/// milliseconds since the Unix epoch.
pub(crate) fn waited(failed_ms: Option<i64>, next_try_ms: Option<i64>, now_ms: i64) -> Duration {
    let Some((failed_ms, next_try_ms)) = failed_ms.zip(next_try_ms) else { return Duration::ZERO };
    let waited = next_try_ms.min(now_ms).saturating_sub(failed_ms);
    Duration::from_millis(u64::try_from(waited).unwrap_or(0)).min(LONGEST_TO_NEXT_TRY)
}

/// Whether a clock that said `before_ms` was set back, if it says `now_ms` when `passed` has passed. Both in milliseconds since the
/// Unix epoch.
pub(crate) fn was_set_back(before_ms: i64, now_ms: i64, passed: Duration) -> bool {
    after(now_ms, SLACK) < after(before_ms, passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_time_is_believed_up_to_its_bound() {
        let cases = [
            // (until, now) -> believed
            ((0, 10), Some(0)),
            ((10, 10), Some(10)),
            ((10 + HOUR_MS, 10), Some(10 + HOUR_MS)),
            ((11 + HOUR_MS, 10), None),
            ((365 * 24 * HOUR_MS, 0), None),
            ((i64::MAX, 0), None),
            ((i64::MAX, i64::MAX), Some(i64::MAX)),
            ((i64::MIN, i64::MAX), Some(i64::MIN)),
            ((i64::MIN, i64::MIN), Some(i64::MIN)),
        ];
        for ((until, now), expected) in cases {
            assert_eq!(believed(until, now, HOUR), expected, "{until} at {now}");
        }
    }

    #[test]
    fn a_next_try_is_believed_where_a_host_asked_for_an_hour_and_a_back_off_came_on_top() {
        const LONGEST_MS: i64 = 65 * 60 * 1000;
        let believed = [0, 1].map(|more| believed(10 + LONGEST_MS + more, 10, LONGEST_TO_NEXT_TRY));
        assert_eq!(believed, [Some(10 + LONGEST_MS), None]);
    }

    #[test]
    fn only_the_pause_that_was_meant_counts_as_waiting() {
        let cases = [
            // (failed, next try, now) -> waited
            ((Some(1000), Some(6000), 6000), 5000),
            ((Some(1000), Some(6000), 90_000_000), 5000),
            ((Some(1000), Some(6000), 3000), 2000),
            ((Some(6000), Some(1000), 9000), 0),
            ((None, Some(6000), 9000), 0),
            ((Some(1000), None, 9000), 0),
            ((Some(i64::MIN), Some(i64::MAX), i64::MAX), LONGEST_TO_NEXT_TRY.as_millis()),
        ];
        for ((failed, next_try, now), expected) in cases {
            assert_eq!(waited(failed, next_try, now).as_millis(), expected, "{failed:?} {next_try:?} {now}");
        }
    }

    #[test]
    fn a_clock_is_set_back_when_it_falls_behind_what_has_passed() {
        let cases = [
            // (before, now, seconds passed) -> set back
            ((100_000, 100_000, 0), false),
            ((100_000, 160_000, 60), false),
            ((100_000, 150_000, 60), false),
            ((100_000, 149_999, 60), true),
            ((100_000, 0, 1), true),
            // Set forward, or asleep meanwhile.
            ((100_000, 365 * 24 * HOUR_MS, 1), false),
            ((i64::MAX, i64::MAX, 60), false),
        ];
        for ((before, now, passed), expected) in cases {
            assert_eq!(was_set_back(before, now, Duration::from_secs(passed)), expected, "{before}, {now} after {passed} s");
        }
    }
}
