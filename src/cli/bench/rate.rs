//! How much in how long, and what of several times a person wants to know. Pure.

use std::time::Duration;

use serde::Serialize;

/// So many in a second.
pub(super) fn per_second(count: u64, took: Duration) -> u64 {
    let nanoseconds = took.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

/// The middle one of several times, and the worst.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Times {
    pub median_ms: f64,
    pub worst_ms: f64,
}

impl Times {
    /// Nothing of no times.
    pub(super) fn of(mut times: Vec<Duration>) -> Option<Times> {
        times.sort_unstable();
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        Some(Times { median_ms: ms(times.get(times.len() / 2)?), worst_ms: ms(times.last()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_a_second_and_has_no_division_by_nothing() {
        assert_eq!((per_second(5, Duration::from_millis(500)), per_second(7, Duration::ZERO)), (10, 7_000_000_000));
        assert_eq!(per_second(u64::MAX, Duration::from_nanos(1)), u64::MAX);
    }

    #[test]
    fn of_several_times_the_middle_and_the_worst_are_told() {
        let times = |ms: &[u64]| Times::of(ms.iter().map(|ms| Duration::from_millis(*ms)).collect());
        assert_eq!(times(&[]), None);
        assert_eq!(times(&[9, 1, 5]), Some(Times { median_ms: 5.0, worst_ms: 9.0 }));
        assert_eq!(times(&[4]), Some(Times { median_ms: 4.0, worst_ms: 4.0 }));
    }
}
