//! What follows from a failure: one table, total, without a clock or a coin. The engine adds the jitter and the time of day.

use std::time::Duration;

use super::upload::Class;

/// The first back-off, doubled with every failure in a row.
pub(crate) const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Where the doubling ends.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// The longest rest a host may ask for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How often a host that needs a person, or more room, is tried without being told to.
pub(crate) const RECHECK: Duration = Duration::from_secs(3600);
/// The rest of a host that refuses us though it has taken something before: its key may have been renewed, and is read again.
pub(crate) const RENEWAL: Duration = Duration::from_secs(2);
/// The first back-off where nobody knows what a failure means, doubled with every failure in a row.
pub(crate) const FIRST_UNKNOWN_BACKOFF: Duration = Duration::from_secs(5);
/// Where that doubling ends.
pub(crate) const LONGEST_UNKNOWN_BACKOFF: Duration = Duration::from_secs(1800);
/// How long a file is left alone of which its host has stored a bad copy, and how many of them a file may leave there.
const BAD_COPY_PAUSE: Duration = Duration::from_secs(300);
const BAD_COPIES_MAX: u32 = 2;
/// How long a file begins anew after each session it has lost; the last one stands for all further ones.
const SESSION_PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(300), Duration::from_secs(1800), Duration::from_secs(3600)];
/// A failure is persistent when it was met this often ...
pub(crate) const PERSISTENT_TIMES: u32 = 3;
/// ... over at least this time, with no success in between. A host that has a bad minute costs the minute, and nothing else.
pub(crate) const PERSISTENT_AFTER: Duration = Duration::from_secs(15 * 60);
/// A row of failures this old, whose cause is not known to pass, is shown to a person, unless the user wants another time.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Where the back-off ends while this machine's network is down.
pub(crate) const LONGEST_BACKOFF_OFFLINE: Duration = Duration::from_secs(30);

/// A failure with what is known of the job's past.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FailureFacts {
    /// What the failure means.
    pub class: Class,
    /// What it means once it is persistent.
    pub worsens: Option<Class>,
    /// The rest the host asked for.
    pub wait: Option<Duration>,
    /// Failures in a row without a byte of progress, this one counted.
    pub failures: u32,
    /// Those of them, counted from the last, that were of this same kind.
    pub alike: u32,
    /// How long this row of failures has lasted: only while the daemon ran and the host was there to be asked.
    pub failing_for: Duration,
    /// How long it may last before the job is shown to a person.
    pub give_up_after: Duration,
    /// Sessions this file has lost before.
    pub sessions_lost: u32,
    /// Failures in a row that are allowed; `None` is unlimited.
    pub retries: Option<u32>,
}

impl FailureFacts {
    /// What the failure means after all that went before it. No count of failures makes one the file's own fault, and those of one
    /// file say nothing of its host ([`super::outage`]).
    pub(crate) fn meaning(&self) -> Class {
        let of_one_file = |class: &Class| !matches!(class, Class::FileRejected | Class::HostRefused);
        self.worsens.filter(|class| self.is_persistent() && of_one_file(class)).unwrap_or(self.class)
    }

    fn is_persistent(&self) -> bool {
        self.alike >= PERSISTENT_TIMES && self.failing_for >= PERSISTENT_AFTER
    }

    fn is_given_up(&self) -> bool {
        self.failures.max(self.sessions_lost) >= PERSISTENT_TIMES && self.failing_for >= self.give_up_after
    }

    fn has_used_its_retries(&self) -> bool {
        self.failing_for >= PERSISTENT_AFTER && self.retries.is_some_and(|allowed| self.failures > allowed)
    }
}

/// What the engine does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The job waits: at least `floor`, and a random share of `ceiling`.
    Retry {
        /// What the host asked for.
        floor: Duration,
        /// The back-off, to be multiplied by a number drawn from 0 to 1.
        ceiling: Duration,
    },
    /// The whole host rests for so long; no attempt is spent.
    RestHost(Duration),
    /// The session is forgotten and the file begins again after this.
    Anew(Duration),
    /// A person must act on the host; it is looked at again after [`RECHECK`].
    HoldHost,
    /// The host has no room for files of this size; asked again after [`RECHECK`].
    HoldForRoom,
    /// A person should look at the job: it has failed for too long. It is tried again after [`RECHECK`] all the same.
    Hold,
    /// Each try leaves something behind, so the job waits for a person.
    LeaveToPerson,
    /// The file will never be taken.
    Fail,
}

/// The one place that decides what a failure leads to. Only a verdict of the host that names the file fails it.
pub(crate) fn verdict(facts: FailureFacts) -> Verdict {
    match facts.meaning() {
        Class::FileRejected => Verdict::Fail,
        Class::Transient if planted!("transient.fails_the_file") && facts.failures >= 3 => Verdict::Fail,
        Class::HostRefused => Verdict::HoldHost,
        Class::HostFull => Verdict::HoldForRoom,
        Class::RateLimited => Verdict::RestHost(rest(facts)),
        // A copy that the next one takes the place of may be tried again; any other stays there.
        Class::BadCopy if facts.class != Class::BadCopy => Verdict::Hold,
        Class::BadCopy if facts.alike >= BAD_COPIES_MAX => Verdict::LeaveToPerson,
        Class::BadCopy => Verdict::Retry { floor: rest(facts).max(BAD_COPY_PAUSE), ceiling: backoff(facts.failures) },
        _ if facts.has_used_its_retries() => Verdict::Hold,
        Class::Transient => retry(facts, backoff(facts.failures)),
        Class::RequestRefused if facts.is_persistent() => Verdict::Hold,
        _ if facts.is_given_up() => Verdict::Hold,
        Class::SessionLost => Verdict::Anew(pause_after_lost_session(facts.sessions_lost)),
        Class::OffsetMismatch => retry(facts, backoff(facts.failures)),
        Class::Unreadable | Class::RequestRefused => retry(facts, unknown_backoff(facts.failures)),
    }
}

fn retry(facts: FailureFacts, ceiling: Duration) -> Verdict {
    Verdict::Retry { floor: facts.wait.unwrap_or_default().min(LONGEST_WAIT), ceiling }
}

fn rest(facts: FailureFacts) -> Duration {
    facts.wait.unwrap_or_else(|| backoff(facts.failures)).clamp(FIRST_BACKOFF, LONGEST_WAIT)
}

/// How long a file that has lost `before` sessions waits before it begins anew for the one it has lost now.
pub(crate) fn pause_after_lost_session(before: u32) -> Duration {
    SESSION_PAUSES[(before as usize).min(SESSION_PAUSES.len() - 1)]
}

/// How long to wait after so many failures in a row: a second, doubled each time, and five minutes at most. To be multiplied by
/// chance.
pub(crate) fn backoff(failures: u32) -> Duration {
    doubled(FIRST_BACKOFF, failures, LONGEST_BACKOFF)
}

/// The same where nobody knows what the failures mean: five seconds, doubled each time, and half an hour at most.
fn unknown_backoff(failures: u32) -> Duration {
    doubled(FIRST_UNKNOWN_BACKOFF, failures, LONGEST_UNKNOWN_BACKOFF)
}

fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(class: Class, failures: u32) -> FailureFacts {
        FailureFacts {
            class,
            worsens: None,
            wait: None,
            failures,
            alike: failures,
            failing_for: Duration::ZERO,
            give_up_after: GIVE_UP_AFTER,
            sessions_lost: 0,
            retries: None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn wait(ceiling: u64) -> Verdict {
        Verdict::Retry { floor: Duration::ZERO, ceiling: seconds(ceiling) }
    }

    #[test]
    fn every_class_has_its_answer() {
        let expected = [
            (Class::Transient, wait(1)),
            (Class::RateLimited, Verdict::RestHost(seconds(1))),
            (Class::OffsetMismatch, wait(1)),
            (Class::SessionLost, Verdict::Anew(Duration::ZERO)),
            (Class::HostRefused, Verdict::HoldHost),
            (Class::HostFull, Verdict::HoldForRoom),
            (Class::FileRejected, Verdict::Fail),
            (Class::Unreadable, wait(5)),
            (Class::RequestRefused, wait(5)),
            (Class::BadCopy, Verdict::Retry { floor: seconds(300), ceiling: seconds(1) }),
        ];
        assert_eq!(expected.map(|(class, _)| class), Class::ALL);
        for (class, answer) in expected {
            assert_eq!(verdict(facts(class, 1)), answer, "{class:?}");
        }
    }

    #[test]
    fn no_row_of_failures_makes_failed_unless_the_host_names_the_file() {
        for class in Class::ALL.into_iter().filter(|class| *class != Class::FileRejected) {
            for worsens in std::iter::once(None).chain(Class::ALL.map(Some)) {
                for (failures, failing_for) in [(3, Duration::ZERO), (1000, PERSISTENT_AFTER), (1000, 100 * GIVE_UP_AFTER)] {
                    let facts = FailureFacts { worsens, failing_for, sessions_lost: failures, ..facts(class, failures) };
                    assert_ne!(verdict(facts), Verdict::Fail, "{facts:?}");
                }
            }
        }
    }

    #[test]
    fn the_back_off_doubles_and_ends() {
        let ceilings = [1, 2, 3, 9, 10, 1000].map(|failures| backoff(failures).as_secs());
        assert_eq!(ceilings, [1, 2, 4, 256, 300, 300]);
        let unknown = [1, 2, 3, 9, 10, 1000].map(|failures| verdict(facts(Class::Unreadable, failures)));
        assert_eq!(unknown, [wait(5), wait(10), wait(20), wait(1280), wait(1800), wait(1800)]);
    }

    #[test]
    fn what_the_host_asks_for_is_a_lower_bound_and_has_an_end() {
        let asked = FailureFacts { wait: Some(seconds(7200)), ..facts(Class::Transient, 1) };
        assert_eq!(verdict(asked), Verdict::Retry { floor: seconds(3600), ceiling: seconds(1) });
        let limited = FailureFacts { wait: Some(seconds(7200)), ..facts(Class::RateLimited, 1) };
        assert_eq!(verdict(limited), Verdict::RestHost(seconds(3600)));
    }

    #[test]
    fn a_file_that_loses_every_session_begins_anew_less_and_less_often() {
        let lost = |sessions_lost| verdict(FailureFacts { sessions_lost, ..facts(Class::SessionLost, 1) });
        assert_eq!([0, 1, 2, 3, 40].map(lost), [0, 300, 1800, 3600, 3600].map(|pause| Verdict::Anew(seconds(pause))));
    }

    #[test]
    fn what_nobody_understands_is_shown_to_a_person_after_a_day_and_an_outage_never() {
        let after_a_day = |class| verdict(FailureFacts { failing_for: GIVE_UP_AFTER, ..facts(class, 40) });
        for class in [Class::Unreadable, Class::RequestRefused, Class::OffsetMismatch, Class::SessionLost] {
            assert_eq!(after_a_day(class), Verdict::Hold, "{class:?}");
        }
        assert_eq!(after_a_day(Class::Transient), wait(300));
        let first_after_a_pause = FailureFacts { failing_for: GIVE_UP_AFTER, ..facts(Class::Unreadable, 2) };
        assert_eq!(verdict(first_after_a_pause), wait(10), "a day in which the daemon did not run is no evidence");
    }

    #[test]
    fn one_file_never_holds_its_host_and_less_than_a_day_is_no_matter_for_a_person() {
        let after = |class, failing_for| {
            verdict(FailureFacts { worsens: Some(Class::HostRefused), failing_for: seconds(failing_for), ..facts(class, 3) })
        };
        assert_eq!([900, 86_400].map(|failing_for| after(Class::Transient, failing_for)), [wait(4); 2]);
        assert_eq!([86_399, 86_400].map(|failing_for| after(Class::Unreadable, failing_for)), [wait(20), Verdict::Hold]);
    }

    #[test]
    fn a_user_may_want_to_look_sooner_or_never_but_not_within_a_minute() {
        let after = |give_up_after, failures, failing_for| {
            let [give_up_after, failing_for] = [give_up_after, failing_for].map(seconds);
            verdict(FailureFacts { give_up_after, failing_for, ..facts(Class::Unreadable, failures) })
        };
        assert_eq!([after(3600, 3, 3599), after(3600, 3, 3600)], [wait(20), Verdict::Hold]);
        assert_eq!(after(3600, 2, 3600), wait(10), "twice is not often");
        let transient = FailureFacts { give_up_after: seconds(1), failing_for: seconds(86_400), ..facts(Class::Transient, 40) };
        assert_eq!(verdict(transient), wait(300), "an outage is waited out");
    }

    #[test]
    fn a_request_that_is_called_malformed_is_shown_to_a_person_when_that_lasts() {
        let after = |failures, failing_for| {
            verdict(FailureFacts { failing_for: seconds(failing_for), ..facts(Class::RequestRefused, failures) })
        };
        assert_eq!([after(3, 899), after(2, 900), after(3, 900)], [wait(20), wait(10), Verdict::Hold]);
    }

    #[test]
    fn a_bad_copy_that_stays_is_made_twice_and_one_that_is_overwritten_until_that_lasts() {
        let stays = |alike| verdict(FailureFacts { alike, ..facts(Class::BadCopy, 7) });
        assert!(matches!(stays(1), Verdict::Retry { floor, .. } if floor == seconds(300)));
        assert_eq!(stays(2), Verdict::LeaveToPerson);
        let overwritten =
            |failing_for| verdict(FailureFacts { worsens: Some(Class::BadCopy), failing_for, ..facts(Class::Unreadable, 3) });
        assert_eq!([overwritten(seconds(899)), overwritten(PERSISTENT_AFTER)], [wait(20), Verdict::Hold]);
    }

    #[test]
    fn what_looks_passing_may_turn_out_to_last_and_a_bad_second_says_nothing() {
        let after = |failures, failing_for| {
            verdict(FailureFacts { worsens: Some(Class::SessionLost), failing_for, ..facts(Class::Transient, failures) })
        };
        assert!(matches!(after(1000, PERSISTENT_AFTER - seconds(1)), Verdict::Retry { .. }));
        assert!(matches!(after(2, PERSISTENT_AFTER), Verdict::Retry { .. }));
        assert_eq!(after(3, PERSISTENT_AFTER), Verdict::Anew(Duration::ZERO));
    }

    #[test]
    fn failures_of_other_kinds_do_not_worsen_this_one() {
        let first = FailureFacts {
            alike: 1,
            worsens: Some(Class::SessionLost),
            failing_for: PERSISTENT_AFTER,
            ..facts(Class::Transient, 40)
        };
        assert!(matches!(verdict(first), Verdict::Retry { .. }));
    }

    #[test]
    fn a_limit_on_retries_ends_in_held_but_not_within_a_bad_minute() {
        let limited =
            |failures, failing_for| verdict(FailureFacts { retries: Some(2), failing_for, ..facts(Class::Transient, failures) });
        assert!(matches!(limited(2, PERSISTENT_AFTER), Verdict::Retry { .. }));
        assert!(matches!(limited(3, PERSISTENT_AFTER - seconds(1)), Verdict::Retry { .. }));
        assert_eq!(limited(3, PERSISTENT_AFTER), Verdict::Hold);
    }
}
