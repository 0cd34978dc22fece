//! The failures of a host since its last success, over all its files: whether it is down, and whether it needs a person. Pure.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::upload::Class;
use super::verdict::{PERSISTENT_AFTER, PERSISTENT_TIMES};

/// Failures in a row, of two files or more, after which a host is left alone.
const FAILURES_OF_MANY: u32 = 3;
/// The same where all are of one file ...
const FAILURES_OF_ONE: u32 = 5;
/// ... over at least this time.
const FAILURES_OF_ONE_OVER: Duration = Duration::from_secs(60);

/// What a failed attempt says against its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What the failure means.
    pub class: Class,
    /// What it means once it is persistent.
    pub worsens: Option<Class>,
    /// The rest the host asked for.
    pub floor: Option<Duration>,
    /// Whether nothing is reached at all, so that it is this machine's network that failed.
    pub network_is_down: bool,
}

/// The failures of a host since its last success. It outlives the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outage {
    failures: u32,
    /// The file that failed first, and whether another one did, too.
    first_job: i64,
    has_others: bool,
    began: Option<Since>,
    /// Those of the failures, counted from the last, that were of this same kind.
    alike: Option<Alike>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Alike {
    kind: String,
    needs: Option<Needs>,
    times: u32,
    first_job: i64,
    has_others: bool,
    began: Since,
}

/// What a host needs that fails so for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Needs {
    /// A person: its address, or what it thinks of us, has changed.
    Person,
    /// A person, if it is so over different files; with one file, it is the file that a person is to look at.
    PersonForMany,
}

/// When something began, by the time that the daemon has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    at: Instant,
    /// How long it had lasted by then.
    before: Duration,
}

/// An outage as it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stored {
    failures: u32,
    first_job: i64,
    has_others: bool,
    ms: u64,
    alike: Option<StoredAlike>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredAlike {
    kind: String,
    needs: Option<Needs>,
    times: u32,
    first_job: i64,
    has_others: bool,
    ms: u64,
}

impl Evidence {
    fn kind(&self) -> String {
        self.worsens.map_or_else(|| self.class.word().into(), |worsens| format!("{}/{}", self.class.word(), worsens.word()))
    }

    fn needs(&self) -> Option<Needs> {
        match (self.class, self.worsens) {
            (_, Some(Class::HostRefused)) => Some(Needs::Person),
            (Class::RequestRefused, _) => Some(Needs::PersonForMany),
            _ => None,
        }
    }
}

impl Since {
    fn now(at: Instant) -> Since {
        Since { at, before: Duration::ZERO }
    }

    fn lasts(&self, now: Instant) -> Duration {
        self.before + now.saturating_duration_since(self.at)
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(self.lasts(now).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Outage {
    /// Adds a failure of this job's.
    pub fn add(&mut self, evidence: Evidence, job: i64, now: Instant) {
        if self.failures == 0 {
            (self.first_job, self.began) = (job, Some(Since::now(now)));
        }
        self.failures = self.failures.saturating_add(1);
        self.has_others |= job != self.first_job;
        let kind = evidence.kind();
        match &mut self.alike {
            Some(alike) if alike.kind == kind => {
                alike.times = alike.times.saturating_add(1);
                alike.has_others |= job != alike.first_job;
            }
            alike => {
                let (needs, began) = (evidence.needs(), Since::now(now));
                *alike = Some(Alike { kind, needs, times: 1, first_job: job, has_others: false, began });
            }
        }
    }

    /// How long it has lasted.
    pub fn lasts(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.lasts(now))
    }

    /// Whether this is no matter of one file: the host is to be left alone.
    pub fn is_the_hosts(&self, now: Instant) -> bool {
        (self.has_others && self.failures >= FAILURES_OF_MANY)
            || (self.failures >= FAILURES_OF_ONE && self.lasts(now) >= FAILURES_OF_ONE_OVER)
    }

    /// Whether the same was met so often, and over such a time, that a person must look at the host.
    pub fn needs_a_person(&self, others_wait: bool, now: Instant) -> bool {
        let Some(Alike { needs: Some(needs), times, has_others, began, .. }) = &self.alike else { return false };
        let over_files = match needs {
            Needs::Person => *has_others || !others_wait,
            Needs::PersonForMany => *has_others,
        };
        over_files && *times >= PERSISTENT_TIMES && began.lasts(now) >= PERSISTENT_AFTER
    }

    /// Whether there is none.
    pub fn is_over(&self) -> bool {
        self.failures == 0
    }

    /// As it is stored.
    pub(super) fn stored(&self, now: Instant) -> Stored {
        let alike = self.alike.as_ref().map(|alike| StoredAlike {
            kind: alike.kind.clone(),
            needs: alike.needs,
            times: alike.times,
            first_job: alike.first_job,
            has_others: alike.has_others,
            ms: alike.began.ms(now),
        });
        let Outage { failures, first_job, has_others, .. } = *self;
        Stored { failures, first_job, has_others, ms: self.began.map_or(0, |began| began.ms(now)), alike }
    }

    /// What was stored, going on from `now`.
    pub(super) fn load(stored: Stored, now: Instant) -> Outage {
        let Stored { failures, first_job, has_others, ms, alike } = stored;
        let since = |ms| Since { at: now, before: Duration::from_millis(ms) };
        let alike = alike.map(|alike| Alike {
            kind: alike.kind,
            needs: alike.needs,
            times: alike.times,
            first_job: alike.first_job,
            has_others: alike.has_others,
            began: since(alike.ms),
        });
        Outage { failures, first_job, has_others, began: (failures > 0).then(|| since(ms)), alike }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVED: Evidence =
        Evidence { class: Class::Unreadable, worsens: Some(Class::HostRefused), floor: None, network_is_down: false };
    const MALFORMED: Evidence = Evidence { class: Class::RequestRefused, worsens: None, ..MOVED };
    const DOWN: Evidence = Evidence { class: Class::Transient, worsens: None, ..MOVED };

    /// A failure, with its job and the second it came in.
    type Failed = (Evidence, i64, u64);

    /// The outage after these failures, and the last of their seconds.
    fn outage(begun: Instant, failures: &[Failed]) -> (Outage, Instant) {
        let mut outage = Outage::default();
        for (evidence, job, second) in failures {
            outage.add(*evidence, *job, begun + Duration::from_secs(*second));
        }
        (outage, begun + Duration::from_secs(failures.last().map_or(0, |failure| failure.2)))
    }

    #[test]
    fn what_is_a_matter_of_the_host_and_what_of_one_file() {
        let cases: [(&[Failed], bool); 6] = [
            (&[], false),
            (&[(DOWN, 1, 0), (DOWN, 2, 0)], false),
            (&[(DOWN, 1, 0), (MOVED, 1, 0), (MALFORMED, 2, 0)], true),
            (&[(DOWN, 1, 0), (DOWN, 1, 20), (DOWN, 1, 40), (DOWN, 1, 100)], false),
            (&[(DOWN, 1, 0), (DOWN, 1, 20), (DOWN, 1, 30), (DOWN, 1, 40), (DOWN, 1, 59)], false),
            (&[(DOWN, 1, 0), (DOWN, 1, 20), (DOWN, 1, 30), (DOWN, 1, 40), (DOWN, 1, 60)], true),
        ];
        for (failures, expected) in cases {
            let (outage, now) = outage(Instant::now(), failures);
            assert_eq!(outage.is_the_hosts(now), expected, "{failures:?}");
        }
    }

    #[test]
    fn a_person_is_called_for_what_lasts_and_would_not_pass_by_itself() {
        // Two answers: while others wait, and where nobody does.
        let cases: [(&[Failed], [bool; 2]); 8] = [
            (&[], [false; 2]),
            (&[(MOVED, 1, 0), (MOVED, 2, 1), (MOVED, 1, 900)], [true; 2]),
            (&[(MOVED, 1, 0), (MOVED, 2, 1), (MOVED, 1, 899)], [false; 2]),
            (&[(MOVED, 1, 0), (MOVED, 2, 900)], [false; 2]),
            (&[(MOVED, 1, 0), (MOVED, 1, 1), (MOVED, 1, 900)], [false, true]),
            (&[(MALFORMED, 1, 0), (MALFORMED, 1, 1), (MALFORMED, 1, 900)], [false; 2]),
            (&[(MALFORMED, 1, 0), (MALFORMED, 2, 1), (MALFORMED, 1, 900)], [true; 2]),
            (&[(DOWN, 1, 0), (DOWN, 2, 1), (DOWN, 1, 90_000)], [false; 2]),
        ];
        for (failures, expected) in cases {
            let (outage, now) = outage(Instant::now(), failures);
            assert_eq!([true, false].map(|others_wait| outage.needs_a_person(others_wait, now)), expected, "{failures:?}");
        }
        let mixed = [(MOVED, 1, 0), (MOVED, 2, 1), (DOWN, 1, 500), (MOVED, 1, 900), (MOVED, 2, 901), (MOVED, 1, 902)];
        let (outage, now) = outage(Instant::now(), &mixed);
        assert!(!outage.needs_a_person(false, now), "it was another failure in between");
    }

    #[test]
    fn an_outage_goes_on_after_a_restart_without_the_time_in_between() {
        let begun = Instant::now();
        let (outage, now) = outage(begun, &[(MOVED, 1, 0), (MOVED, 2, 600)]);
        let later = now + Duration::from_secs(86_400);
        let mut restarted = Outage::load(outage.stored(now), later);
        restarted.add(MOVED, 1, later + Duration::from_secs(299));
        assert!(!restarted.needs_a_person(true, later + Duration::from_secs(299)));
        assert!(restarted.needs_a_person(true, later + Duration::from_secs(300)));
    }
}
