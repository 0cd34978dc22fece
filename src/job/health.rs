//! How a host is doing: one state machine, from what ended attempts say about it to whether it may be given jobs.
//!
//! It has the shape of a circuit breaker. `Ready` is closed; `Resting` and `Held` are open until a time, after which the next job
//! shows whether the host is well again. Pure: the caller brings the time, by the clock that nobody sets, and stores and shows what
//! has changed.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::verdict::{FIRST_BACKOFF, LONGEST_BACKOFF, RECHECK};

/// Uploads of different files in a row that may fail to open before the whole host is left alone for a while. One poisonous file
/// says nothing of its host.
const OPEN_FAILURES_FREE: u32 = 4;
/// Jobs that try a host which needs a person, once its time has come.
const TRIALS: usize = 1;

/// What an ended attempt says about its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// It took what it was given.
    Fine,
    /// Nothing new.
    Nothing,
    /// It wants to rest.
    Rest {
        /// For so long.
        pause: Duration,
        /// Where it ends, if it doubles with every rest in a row.
        doubles_to: Option<Duration>,
    },
    /// A person must act.
    Refused,
    /// It has no room for a file of this size.
    Full {
        /// The file's size in bytes.
        bytes: u64,
    },
    /// It could not even open an upload.
    OpenFailed,
}

/// The attempt that feedback comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempted {
    /// The number of its job.
    pub job: i64,
    /// The size of its file in bytes.
    pub bytes: u64,
    /// The host's epoch when its job was claimed.
    pub epoch: u32,
}

/// Whether a host may be given jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It takes files, as far as anybody knows.
    Ready,
    /// It asked for rest, or could not open uploads.
    RestingUntil(Instant),
    /// A person must act; one job at a time tries it after this.
    HeldUntil(Instant),
}

/// The states that a host is shown in. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// It takes files.
    Ready,
    /// It is left alone for a while.
    Resting,
    /// A person must act.
    Held,
    /// It has no room for files of some size.
    Full,
}

impl HostState {
    /// Every state.
    pub const ALL: [HostState; 4] = [HostState::Ready, HostState::Resting, HostState::Held, HostState::Full];

    /// The state that `word` names.
    pub fn from_word(word: &str) -> Option<HostState> {
        HostState::ALL.into_iter().find(|state| state.word() == word)
    }

    /// The word for it, as stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            HostState::Ready => "ready",
            HostState::Resting => "resting",
            HostState::Held => "held",
            HostState::Full => "full",
        }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Serialize for HostState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What has changed, to be stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// How the host is shown now.
    pub shown: HostState,
    /// For how long.
    pub pause: Option<Duration>,
    /// Whether jobs that were held because of the host are due now.
    pub releases_held: bool,
}

/// How one host is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostHealth {
    condition: Condition,
    /// Rests in a row.
    rests: u32,
    /// Raised whenever the host asks for rest or refuses us: an attempt that began in an earlier epoch says nothing about this one.
    epoch: u32,
    open_failures: u32,
    /// The last job that could not be opened.
    open_failed: Option<i64>,
    full: Option<NoRoom>,
}

/// The size in bytes from which on the host has no room, and until when that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoRoom {
    bytes: u64,
    until: Instant,
}

impl HostHealth {
    /// A host about which nothing bad is known.
    pub fn ready() -> HostHealth {
        HostHealth { condition: Condition::Ready, rests: 0, epoch: 0, open_failures: 0, open_failed: None, full: None }
    }

    /// A host that asked for rest before the daemon started, for the `rests`th time in a row.
    pub fn resting(until: Instant, rests: u32) -> HostHealth {
        HostHealth { condition: Condition::RestingUntil(until), rests, ..HostHealth::ready() }
    }

    /// Which of its troubles an attempt that begins now knows of.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Rests in a row.
    pub fn rests(&self) -> u32 {
        self.rests
    }

    /// How many jobs it may have at once, of `most` at best.
    pub fn capacity(&self, most: usize, now: Instant) -> usize {
        match self.condition {
            Condition::Ready => most,
            Condition::RestingUntil(until) if until <= now || planted!("rest.ignored") => most,
            Condition::HeldUntil(until) if until <= now => most.min(TRIALS),
            Condition::RestingUntil(_) | Condition::HeldUntil(_) => 0,
        }
    }

    /// When it may be given jobs again, if that lies ahead.
    pub fn wakes_at(&self, now: Instant) -> Option<Instant> {
        match self.condition {
            Condition::Ready => None,
            Condition::RestingUntil(until) | Condition::HeldUntil(until) => Some(until).filter(|until| *until > now),
        }
    }

    /// The end of whatever it is shown to wait for.
    pub fn shown_until(&self, now: Instant) -> Option<Instant> {
        let no_room = self.full.map(|full| full.until).filter(|until| *until > now);
        self.wakes_at(now).into_iter().chain(no_room).max()
    }

    /// Until when a file of so many bytes is not even tried, because the host has no room for it.
    pub fn no_room_until(&self, bytes: u64, now: Instant) -> Option<Instant> {
        self.full.filter(|full| bytes >= full.bytes && full.until > now).map(|full| full.until)
    }

    /// Takes in what an ended attempt says. Several changes are several facts about the host, the last of which is the one to show.
    pub fn apply(&mut self, feedback: Feedback, attempted: &Attempted, now: Instant) -> Vec<Change> {
        // Attempts that were under way together tell of one and the same trouble.
        let is_news = attempted.epoch == self.epoch;
        match feedback {
            Feedback::Nothing => Vec::new(),
            Feedback::Fine => self.fine(attempted, is_news),
            Feedback::OpenFailed => self.open_failed(attempted, now).into_iter().collect(),
            Feedback::Full { bytes } => vec![self.no_room(bytes, now)],
            Feedback::Rest { pause, doubles_to } => {
                self.epoch = self.epoch.wrapping_add(1);
                self.rests = self.rests.saturating_add(u32::from(is_news));
                let pause = doubles_to.map_or(pause, |most| doubled(pause, self.rests, most));
                self.rest(pause, now).into_iter().collect()
            }
            Feedback::Refused => {
                self.epoch = self.epoch.wrapping_add(1);
                self.condition = Condition::HeldUntil(now + RECHECK);
                vec![Change { shown: HostState::Held, pause: Some(RECHECK), releases_held: false }]
            }
        }
    }

    fn fine(&mut self, attempted: &Attempted, is_news: bool) -> Vec<Change> {
        let ready = Change { shown: HostState::Ready, pause: None, releases_held: true };
        let mut changes = Vec::new();
        if self.full.take_if(|full| attempted.bytes >= full.bytes).is_some() {
            changes.push(ready);
        }
        self.open_failures = 0;
        if self.condition != Condition::Ready && is_news {
            (self.condition, self.rests) = (Condition::Ready, 0);
            changes.push(ready);
        }
        changes
    }

    fn open_failed(&mut self, attempted: &Attempted, now: Instant) -> Option<Change> {
        if self.open_failed == Some(attempted.job) {
            return None;
        }
        self.open_failed = Some(attempted.job);
        self.open_failures = self.open_failures.saturating_add(1);
        let beyond = self.open_failures.checked_sub(OPEN_FAILURES_FREE).filter(|beyond| *beyond > 0)?;
        self.rest(doubled(FIRST_BACKOFF, beyond, LONGEST_BACKOFF), now)
    }

    /// The smallest file that found no room says most, for as long as it is believed.
    fn no_room(&mut self, bytes: u64, now: Instant) -> Change {
        let known = self.full.filter(|full| full.until > now).map_or(bytes, |full| full.bytes);
        self.full = Some(NoRoom { bytes: bytes.min(known), until: now + RECHECK });
        Change { shown: HostState::Full, pause: Some(RECHECK), releases_held: false }
    }

    /// A host that needs a person is not let go by an attempt that was under way together with the one that found out.
    fn rest(&mut self, pause: Duration, now: Instant) -> Option<Change> {
        if matches!(self.condition, Condition::HeldUntil(until) if until > now) {
            return None;
        }
        self.condition = Condition::RestingUntil(now + pause);
        Some(Change { shown: HostState::Resting, pause: Some(pause), releases_held: false })
    }
}

/// The first rest, doubled with every further one in a row.
fn doubled(pause: Duration, rests: u32, most: Duration) -> Duration {
    pause.saturating_mul(1 << rests.saturating_sub(1).min(12)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MOST: usize = 16;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn attempted(health: &HostHealth, job: i64) -> Attempted {
        Attempted { job, bytes: 100, epoch: health.epoch() }
    }

    /// Applies one feedback after the other, each of another job that was claimed just before, and answers what is shown last.
    fn after(health: &mut HostHealth, feedback: &[Feedback], now: Instant) -> Option<(HostState, Option<Duration>)> {
        let mut shown = None;
        for (job, feedback) in feedback.iter().enumerate() {
            let attempted = attempted(health, i64::try_from(job).unwrap());
            let changes = health.apply(*feedback, &attempted, now);
            shown = changes.last().map(|change| (change.shown, change.pause)).or(shown);
        }
        shown
    }

    fn rest(seconds: u64, doubles_to: Option<u64>) -> Feedback {
        Feedback::Rest { pause: Duration::from_secs(seconds), doubles_to: doubles_to.map(Duration::from_secs) }
    }

    #[test]
    fn the_words_never_change() {
        let words = ["ready", "resting", "held", "full"];
        assert_eq!(HostState::ALL.map(HostState::word), words);
        assert_eq!(HostState::ALL.map(|state| state.to_string()), words);
        assert_eq!(words.map(HostState::from_word), HostState::ALL.map(Some));
        assert_eq!(HostState::from_word("x"), None);
    }

    #[test]
    fn what_each_feedback_makes_of_a_host_that_is_well() {
        let full = Feedback::Full { bytes: 100 };
        let cases = [
            (vec![Feedback::Fine, Feedback::Nothing], None, MOST),
            (vec![rest(30, None)], Some((HostState::Resting, Some(seconds(30)))), 0),
            (vec![rest(30, None), rest(30, None)], Some((HostState::Resting, Some(seconds(30)))), 0),
            (vec![rest(30, Some(100)), rest(30, Some(100))], Some((HostState::Resting, Some(seconds(60)))), 0),
            (vec![rest(30, Some(100)); 5], Some((HostState::Resting, Some(seconds(100)))), 0),
            (vec![Feedback::Refused], Some((HostState::Held, Some(HOUR))), 0),
            (vec![Feedback::Refused, rest(30, None)], Some((HostState::Held, Some(HOUR))), 0),
            (vec![Feedback::Refused, Feedback::Fine], Some((HostState::Ready, None)), MOST),
            (vec![rest(30, None), Feedback::Fine], Some((HostState::Ready, None)), MOST),
            (vec![full], Some((HostState::Full, Some(HOUR))), MOST),
            (vec![full, Feedback::Fine], Some((HostState::Ready, None)), MOST),
            (vec![Feedback::OpenFailed; 4], None, MOST),
            (vec![Feedback::OpenFailed; 5], Some((HostState::Resting, Some(seconds(1)))), 0),
            (vec![Feedback::OpenFailed; 7], Some((HostState::Resting, Some(seconds(4)))), 0),
        ];
        let now = Instant::now();
        for (feedback, shown, capacity) in cases {
            let mut health = HostHealth::ready();
            assert_eq!(after(&mut health, &feedback, now), shown, "{feedback:?}");
            assert_eq!(health.capacity(MOST, now), capacity, "{feedback:?}");
        }
    }

    #[test]
    fn a_success_in_between_ends_the_count_of_uploads_that_could_not_be_opened() {
        let (mut health, now) = (HostHealth::ready(), Instant::now());
        let four = [Feedback::OpenFailed; 4];
        after(&mut health, &four, now);
        after(&mut health, &[Feedback::Fine], now);
        assert_eq!(after(&mut health, &four, now), None);
    }

    #[test]
    fn one_poisonous_file_says_nothing_of_its_host() {
        let (mut health, now) = (HostHealth::ready(), Instant::now());
        for _ in 0..100 {
            let attempted = attempted(&health, 7);
            assert_eq!(health.apply(Feedback::OpenFailed, &attempted, now), []);
        }
    }

    #[test]
    fn attempts_that_were_under_way_together_tell_of_one_trouble() {
        let (mut health, now) = (HostHealth::ready(), Instant::now());
        let together = attempted(&health, 1);
        for _ in 0..8 {
            health.apply(rest(30, Some(3600)), &together, now);
        }
        assert_eq!((health.rests(), health.wakes_at(now)), (1, Some(now + seconds(30))));
        assert_eq!(health.apply(Feedback::Fine, &together, now), [], "it was fine before it asked for rest");
        assert_eq!(health.capacity(MOST, now), 0);
        let after_the_rest = attempted(&health, 2);
        health.apply(Feedback::Fine, &after_the_rest, now + seconds(30));
        assert_eq!((health.rests(), health.wakes_at(now)), (0, None));
    }

    #[test]
    fn a_host_comes_back_after_its_time_and_one_that_needs_a_person_is_tried_by_one_job() {
        let (mut health, now) = (HostHealth::ready(), Instant::now());
        after(&mut health, &[rest(30, None)], now);
        assert_eq!([29, 30].map(|later| health.capacity(MOST, now + seconds(later))), [0, MOST]);
        after(&mut health, &[Feedback::Refused], now);
        assert_eq!([3599, 3600].map(|later| health.capacity(MOST, now + seconds(later))), [0, 1]);
        assert_eq!(health.wakes_at(now + HOUR), None);
        let restarted = HostHealth::resting(now + seconds(5), 3);
        assert_eq!([4, 5].map(|later| restarted.capacity(MOST, now + seconds(later))), [0, MOST]);
    }

    #[test]
    fn a_rest_that_doubles_goes_on_doubling_after_a_restart() {
        let now = Instant::now();
        let mut health = HostHealth::resting(now, 3);
        assert_eq!(after(&mut health, &[rest(30, Some(3600))], now), Some((HostState::Resting, Some(seconds(240)))));
    }

    #[test]
    fn nobody_is_told_to_wait_longer_or_shorter_than_the_host_does() {
        let (now, full) = (Instant::now(), Feedback::Full { bytes: 100 });
        let shown = |feedback: &[Feedback], later: u64| {
            let mut health = HostHealth::ready();
            after(&mut health, feedback, now);
            health.shown_until(now + seconds(later)).map(|until| (until - now).as_secs())
        };
        let cases = [
            (vec![], 0, None),
            (vec![rest(30, None)], 29, Some(30)),
            (vec![rest(30, None)], 30, None),
            (vec![full], 0, Some(3600)),
            (vec![full], 3599, Some(3600)),
            (vec![full], 3600, None),
            (vec![full], 3601, None),
            // The later of the two, while both are to come.
            (vec![full, rest(30, None)], 0, Some(3600)),
            (vec![full, rest(7200, None)], 0, Some(7200)),
            (vec![full, rest(7200, None)], 3600, Some(7200)),
        ];
        for (feedback, later, until) in cases {
            assert_eq!(shown(&feedback, later), until, "{feedback:?} after {later} s");
        }
    }

    #[test]
    fn a_full_host_is_not_tried_with_files_that_found_no_room_and_takes_smaller_ones() {
        let (mut health, now) = (HostHealth::ready(), Instant::now());
        after(&mut health, &[Feedback::Full { bytes: 100 }, Feedback::Full { bytes: 500 }], now);
        let no_room = |bytes, now| health.no_room_until(bytes, now).is_some();
        assert_eq!([99, 100, 101].map(|bytes| no_room(bytes, now)), [false, true, true]);
        assert!(!no_room(100, now + HOUR), "it is asked again");
        let mut an_hour_later = health.clone();
        after(&mut an_hour_later, &[Feedback::Full { bytes: 500 }], now + HOUR);
        let found = [499, 500].map(|bytes| an_hour_later.no_room_until(bytes, now + HOUR).is_some());
        assert_eq!(found, [false, true], "what is not believed any more says nothing of smaller files");
        let small = Attempted { bytes: 99, ..attempted(&health, 1) };
        assert_eq!(health.clone().apply(Feedback::Fine, &small, now), [], "a smaller file says nothing of the larger ones");
        let as_large = attempted(&health, 2);
        let changes = health.apply(Feedback::Fine, &as_large, now);
        assert_eq!(changes, [Change { shown: HostState::Ready, pause: None, releases_held: true }]);
        assert_eq!(health.no_room_until(500, now), None);
    }
}
