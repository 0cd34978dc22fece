//! How far apart the logins to a host are kept that has had too many. Pure: the caller brings the time.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The distance after the first "too many logins"; it doubles with each further one.
const FIRST_DISTANCE: Duration = Duration::from_secs(30);
/// Where that doubling ends.
const LONGEST_DISTANCE: Duration = Duration::from_secs(600);
/// So many logins without one halve it.
const GOOD_LOGINS: u32 = 10;

/// How far apart logins are kept. It outlives the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spacing {
    /// Zero where nobody has complained.
    distance: Duration,
    /// Logins since the last complaint, or since the distance was halved.
    logins: u32,
    last: Option<Instant>,
}

/// The same as it is stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Stored {
    ms: u64,
    logins: u32,
}

impl Spacing {
    /// The host has had too many logins.
    pub(super) fn too_many(&mut self) {
        self.distance = (self.distance * 2).clamp(FIRST_DISTANCE, LONGEST_DISTANCE);
        self.logins = 0;
    }

    /// A login begins. Answers whether what is stored is not true any more.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        self.last = Some(now);
        if self.distance.is_zero() {
            return false;
        }
        if self.logins >= GOOD_LOGINS {
            let half = self.distance / 2;
            (self.distance, self.logins) = (if half < FIRST_DISTANCE { Duration::ZERO } else { half }, 0);
        }
        self.logins += 1;
        true
    }

    /// When the next login may begin, if that lies ahead.
    pub(super) fn free_at(&self, now: Instant) -> Option<Instant> {
        let free_at = self.last? + self.distance;
        Some(free_at).filter(|free_at| *free_at > now)
    }

    /// Whether logins are kept apart.
    pub(super) fn is_kept(&self) -> bool {
        !self.distance.is_zero()
    }

    /// As it is stored; nothing where nobody has complained.
    pub(super) fn stored(&self) -> Option<Stored> {
        let ms = u64::try_from(self.distance.as_millis()).unwrap_or(u64::MAX);
        self.is_kept().then_some(Stored { ms, logins: self.logins })
    }

    /// What was stored. When the last login was is not known, so it counts as just now.
    pub(super) fn load(Stored { ms, logins }: Stored, now: Instant) -> Spacing {
        Spacing { distance: Duration::from_millis(ms).min(LONGEST_DISTANCE), logins, last: Some(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(complaints: u32, logins: u32) -> u64 {
        let (mut spacing, now) = (Spacing::default(), Instant::now());
        (0..complaints).for_each(|_| spacing.too_many());
        for _ in 0..logins {
            spacing.begins(now);
        }
        spacing.distance.as_secs()
    }

    #[test]
    fn the_distance_grows_with_each_complaint_and_shrinks_after_ten_logins_without_one() {
        assert_eq!([0, 1, 2, 3, 5, 6, 100].map(|complaints| after(complaints, 0)), [0, 30, 60, 120, 480, 600, 600]);
        assert_eq!([10, 11, 20, 21, 31, 41].map(|logins| after(3, logins)), [120, 60, 60, 30, 0, 0]);
        assert_eq!(after(0, 100), 0);
    }

    #[test]
    fn a_login_waits_for_its_distance_from_the_one_before_also_after_a_restart() {
        let (mut spacing, now) = (Spacing::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(!spacing.begins(now));
        assert_eq!(spacing.free_at(now), None);
        spacing.too_many();
        assert_eq!([0, 29, 30].map(|seconds| spacing.free_at(later(seconds))), [Some(later(30)), Some(later(30)), None]);
        let restarted = Spacing::load(spacing.stored().unwrap(), later(100));
        assert_eq!(restarted.free_at(later(100)), Some(later(130)));
        assert!(Spacing::default().stored().is_none());
    }

    #[test]
    fn a_distance_from_a_damaged_queue_has_an_end() {
        let now = Instant::now();
        let stored = Stored { ms: u64::MAX, logins: u32::MAX };
        assert_eq!(Spacing::load(stored, now).free_at(now), Some(now + LONGEST_DISTANCE));
    }
}
