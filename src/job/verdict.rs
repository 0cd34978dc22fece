//! What follows from a failure: one table, total, without a clock or a coin. The engine adds the jitter and the time of day.

use std::time::Duration;

use super::upload::Class;

/// The first back-off, doubled with every failure in a row.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Where the doubling ends.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// The longest rest a host may ask for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How often a host that needs a person, or more room, is tried without being told to.
pub const RECHECK: Duration = Duration::from_secs(3600);
/// Sessions one file may lose before it is failed.
const SESSIONS_LOST_MAX: u32 = 3;
/// Replies in a row that cannot be read before the file is failed.
const UNREADABLE_MAX: u32 = 3;
/// The failure in a row from which on the benefit of the doubt is gone (the "3 times" of the protocols' pages).
const WORSENS_AT: u32 = 3;

/// A failure with what is known of the job's past.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// What the failure means.
    pub class: Class,
    /// What it means from the third time in a row on.
    pub worsens: Option<Class>,
    /// The rest the host asked for.
    pub wait: Option<Duration>,
    /// Failures in a row without a byte of progress, this one counted.
    pub failures: u32,
    /// Those of them, counted from the last, that were of this same kind.
    pub alike: u32,
    /// Sessions this file has lost before.
    pub sessions_lost: u32,
    /// Failures in a row that are allowed; `None` is unlimited.
    pub retries: Option<u32>,
}

impl Trouble {
    /// What the failure means after all that went before it.
    pub fn meaning(&self) -> Class {
        self.worsens.filter(|_| self.alike >= WORSENS_AT).unwrap_or(self.class)
    }
}

/// What the engine does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The job waits: at least `floor`, and a random share of `ceiling`.
    Retry {
        /// What the host asked for.
        floor: Duration,
        /// The back-off, to be multiplied by a number drawn from 0 to 1.
        ceiling: Duration,
    },
    /// The whole host rests for so long; no attempt is spent.
    RestHost(Duration),
    /// The session is forgotten and the file begins again, at once.
    Anew,
    /// A person must act on the host; it is looked at again after [`RECHECK`].
    HoldHost,
    /// The host has no room for files of this size; asked again after [`RECHECK`].
    HoldForRoom,
    /// A person must act on the job: too many failures in a row.
    Hold,
    /// The file will never be taken.
    Fail,
}

/// The one place that decides what a failure leads to.
pub fn verdict(trouble: Trouble) -> Verdict {
    match trouble.meaning() {
        Class::Transient | Class::OffsetMismatch | Class::RequestRefused => retry(trouble),
        Class::RateLimited => Verdict::RestHost(rest(trouble)),
        Class::SessionLost if trouble.sessions_lost < SESSIONS_LOST_MAX => Verdict::Anew,
        Class::SessionLost => Verdict::Fail,
        Class::HostRefused => Verdict::HoldHost,
        Class::HostFull => Verdict::HoldForRoom,
        Class::FileRejected => Verdict::Fail,
        Class::Unreadable if trouble.alike < UNREADABLE_MAX => retry(trouble),
        Class::Unreadable => Verdict::Fail,
    }
}

fn retry(trouble: Trouble) -> Verdict {
    if trouble.retries.is_some_and(|allowed| trouble.failures > allowed) {
        return Verdict::Hold;
    }
    Verdict::Retry { floor: trouble.wait.unwrap_or_default().min(LONGEST_WAIT), ceiling: backoff(trouble.failures) }
}

fn rest(trouble: Trouble) -> Duration {
    trouble.wait.unwrap_or_else(|| backoff(trouble.failures)).clamp(FIRST_BACKOFF, LONGEST_WAIT)
}

/// How long to wait after so many failures in a row: a second, doubled each time, and five minutes at most. To be multiplied by chance.
pub fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(class: Class, failures: u32) -> Trouble {
        Trouble { class, worsens: None, wait: None, failures, alike: failures, sessions_lost: 0, retries: None }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn every_class_has_its_answer() {
        let expected = [
            (Class::Transient, Verdict::Retry { floor: seconds(0), ceiling: seconds(1) }),
            (Class::RateLimited, Verdict::RestHost(seconds(1))),
            (Class::OffsetMismatch, Verdict::Retry { floor: seconds(0), ceiling: seconds(1) }),
            (Class::SessionLost, Verdict::Anew),
            (Class::HostRefused, Verdict::HoldHost),
            (Class::HostFull, Verdict::HoldForRoom),
            (Class::FileRejected, Verdict::Fail),
            (Class::Unreadable, Verdict::Retry { floor: seconds(0), ceiling: seconds(1) }),
            (Class::RequestRefused, Verdict::Retry { floor: seconds(0), ceiling: seconds(1) }),
        ];
        assert_eq!(expected.map(|(class, _)| class), Class::ALL);
        for (class, answer) in expected {
            assert_eq!(verdict(trouble(class, 1)), answer, "{class:?}");
        }
    }

    #[test]
    fn the_back_off_doubles_and_ends_at_five_minutes() {
        let ceilings = [1, 2, 3, 9, 10, 1000].map(|failures| backoff(failures).as_secs());
        assert_eq!(ceilings, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn what_the_host_asks_for_is_a_lower_bound_and_has_an_end() {
        let asked = Trouble { wait: Some(seconds(7200)), ..trouble(Class::Transient, 1) };
        assert_eq!(verdict(asked), Verdict::Retry { floor: seconds(3600), ceiling: seconds(1) });
        let limited = Trouble { wait: Some(seconds(7200)), ..trouble(Class::RateLimited, 1) };
        assert_eq!(verdict(limited), Verdict::RestHost(seconds(3600)));
    }

    #[test]
    fn a_file_that_loses_every_session_is_failed_in_the_end() {
        let lost = |sessions_lost| verdict(Trouble { sessions_lost, ..trouble(Class::SessionLost, 1) });
        assert_eq!([lost(0), lost(1), lost(2), lost(3)], [Verdict::Anew, Verdict::Anew, Verdict::Anew, Verdict::Fail]);
    }

    #[test]
    fn replies_nobody_can_read_end_in_failed_after_a_few_tries() {
        assert_eq!(verdict(trouble(Class::Unreadable, 3)), Verdict::Fail);
    }

    #[test]
    fn what_looks_passing_may_turn_out_to_last() {
        let verdict = |failures| verdict(Trouble { worsens: Some(Class::HostRefused), ..trouble(Class::Transient, failures) });
        assert!(matches!(verdict(2), Verdict::Retry { .. }));
        assert_eq!(verdict(3), Verdict::HoldHost);
    }

    #[test]
    fn failures_of_other_kinds_do_not_count_against_a_file() {
        let first = Trouble { alike: 1, ..trouble(Class::Unreadable, 40) };
        assert!(matches!(verdict(first), Verdict::Retry { .. }));
    }

    #[test]
    fn a_limit_on_retries_ends_in_held() {
        let limited = |failures| verdict(Trouble { retries: Some(2), ..trouble(Class::Transient, failures) });
        assert!(matches!(limited(2), Verdict::Retry { .. }));
        assert_eq!(limited(3), Verdict::Hold);
    }
}
