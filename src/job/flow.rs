//! How many requests a host is given at once: as many as bring more through, fewer when it shows that it has too many. Pure.
//!
//! A window begins small. While its places are in use it is measured, in *rounds* of a few answers for each place: what came through,
//! and how long that took. A larger window stays if it brings more, and a smaller one if it brings no less; else the one before comes
//! back. A window that has found its size rests for some rounds, longer each time, before others are tried. An answer that says that
//! the host has too much to do halves it at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Requests in flight at a host whose documents say nothing of that, unless the user wants another number.
pub(crate) const MOST_UNASKED: usize = 8;

/// Bytes that may be in flight for one file: what is sent a second time after a crash.
const FILE_BYTES_IN_FLIGHT: u64 = 16 * 1024 * 1024;

/// The window of a host of which nothing is known.
pub(crate) const FIRST: usize = 4;

/// Answers to each place that a round has, and the time that it takes, at least.
const ROUND_ANSWERS: usize = 3;
const ROUND_AT_LEAST: Duration = Duration::from_millis(100);

/// A request without bytes counts as so many: what limits small requests is their number.
const REQUEST_BYTES: u64 = 16 * 1024;

/// Of what a larger window could bring in proportion to its size, it has to bring so many percent.
const GAIN_PERCENT: u64 = 12;

/// A smaller window may bring so many percent less.
const LOSS_PERCENT: u64 = 3;

/// A round counts if at least so many percent of the window's places were in use, on an average over its time.
const BUSY_PERCENT: u128 = 75;

/// Rounds that a window rests after it has found its size, at first and at most.
const REST_FIRST: u32 = 4;
const REST_MOST: u32 = 16;

/// How many parts of one file may be in flight: as many as a crash may send again, and one at least.
pub(crate) fn parts_in_flight(part_bytes: u64) -> usize {
    usize::try_from(FILE_BYTES_IN_FLIGHT / part_bytes.max(1)).unwrap_or(usize::MAX).max(1)
}

/// Jobs that upload at once where so many requests may be in flight and no number is set: between two requests a small file waits for the
/// disk, and another one may send meanwhile.
const UPLOADS: std::ops::RangeInclusive<usize> = 16..=128;

/// How many files upload at once where so many requests may be in flight.
pub(crate) fn uploads(requests: usize) -> usize {
    requests.saturating_mul(2).clamp(*UPLOADS.start(), *UPLOADS.end())
}

/// What a request has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It was answered as it should be.
    Fine,
    /// The host has too much to do: 429, 503, or a connection that broke.
    TooMuch,
    /// Nothing of that.
    Nothing,
}

/// An answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What it shows.
    pub shown: Shown,
    /// Bytes of the file that the request carried.
    pub bytes: u64,
    /// When the request was sent, on a clock that only goes forward.
    pub sent: Duration,
    /// When the answer came, on the same clock.
    pub at: Duration,
    /// Other requests that were in flight then.
    pub others: usize,
}

/// What is told of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// How many requests may be in flight now.
    pub now: usize,
    /// As many as there may ever be.
    pub most: usize,
    /// Why it is as large as it is.
    pub why: Learned,
}

/// What a window has learned of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learned {
    /// Nothing yet: it is not in full use, or has not been for long.
    Nothing,
    /// More has brought more, as far as more is allowed.
    MoreBringsMore,
    /// More has brought nothing.
    MoreBringsNothing,
    /// The host had too much to do.
    TooMuch,
}

/// How many requests may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// As many as there may ever be.
    most: usize,
    now: usize,
    /// Answers that are still to come to requests from before its size changed, which say nothing of what it is now.
    late: usize,
    aim: Aim,
    round: Option<Round>,
    rest: u32,
    learned: Learned,
}

/// What the rounds are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To know what comes through at this size, and to grow then.
    Measure,
    /// To know whether it brings more than a smaller window did.
    Larger { than: usize, rate: u64 },
    /// To know whether it brings less than a larger window did.
    Smaller { than: usize, rate: u64 },
    /// None, for so many rounds.
    Rest { rounds: u32 },
}

/// What has come since a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    since: Duration,
    last: Duration,
    answers: usize,
    /// The time that these requests took, all together.
    in_use: Duration,
    bytes: u64,
}

impl Learned {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Learned; 4] = [Learned::Nothing, Learned::MoreBringsMore, Learned::MoreBringsNothing, Learned::TooMuch];

    /// In a word, as documents have it.
    pub fn word(self) -> &'static str {
        match self {
            Learned::Nothing => "nothing",
            Learned::MoreBringsMore => "more_brings_more",
            Learned::MoreBringsNothing => "more_brings_nothing",
            Learned::TooMuch => "too_much",
        }
    }
}

impl Round {
    fn at(since: Duration) -> Round {
        Round { since, last: since, answers: 0, in_use: Duration::ZERO, bytes: 0 }
    }

    fn with(self, answer: &Answer) -> Round {
        Round {
            last: answer.at,
            answers: self.answers + 1,
            in_use: self.in_use.saturating_add(answer.at.saturating_sub(answer.sent)),
            bytes: self.bytes.saturating_add(answer.bytes).saturating_add(REQUEST_BYTES),
            ..self
        }
    }

    /// Whether there was nothing to do for a while before this answer, which the time of the round would have in it.
    fn was_idle_before(&self, answer: &Answer) -> bool {
        let mean = self.in_use.checked_div(u32::try_from(self.answers).unwrap_or(u32::MAX)).unwrap_or_default();
        // One that was answered at once has perhaps not been sent at all.
        let usual = answer.at.saturating_sub(answer.sent).max(mean);
        answer.sent.saturating_sub(self.last) > usual
    }

    fn took(&self) -> Duration {
        self.last.saturating_sub(self.since)
    }

    /// Bytes per second, once there are enough answers to tell.
    fn rate(&self, window: usize) -> Option<u64> {
        let took = self.took();
        let enough = self.answers >= ROUND_ANSWERS * window.max(2) && took >= ROUND_AT_LEAST;
        enough.then(|| u64::try_from(u128::from(self.bytes) * 1000 / took.as_millis().max(1)).unwrap_or(u64::MAX))
    }

    fn was_busy(&self, window: usize) -> bool {
        let places = u128::try_from(window).unwrap_or(u128::MAX);
        self.in_use.as_nanos() * 100 >= self.took().as_nanos().saturating_mul(places) * BUSY_PERCENT
    }
}

impl Window {
    /// The window of a host of which nothing is known, which may have `most` requests in flight.
    pub(crate) fn new(most: usize) -> Window {
        let most = most.max(1);
        Window { most, now: most.min(FIRST), late: 0, aim: Aim::Measure, round: None, rest: REST_FIRST, learned: Learned::Nothing }
    }

    /// One that is as large as it may be.
    #[cfg(test)]
    pub(crate) fn grown(most: usize) -> Window {
        Window { now: most.max(1), learned: Learned::MoreBringsMore, ..Window::new(most) }
    }

    /// The same where there may never be more than `most`.
    #[must_use]
    pub(crate) fn with_most(self, most: usize) -> Window {
        let most = most.max(1);
        if most == self.most {
            return self;
        }
        let grows = most > self.most && self.now == self.most;
        let aim = if grows { Aim::Measure } else { self.aim };
        let now = if self.learned == Learned::Nothing { Window::new(most).now } else { self.now.min(most) };
        Window { most, now, aim, round: None, ..self }
    }

    /// How many requests may be in flight.
    pub(crate) fn size(&self) -> usize {
        self.now
    }

    /// What is told of it.
    pub(crate) fn told(&self) -> InFlight {
        InFlight { now: self.now, most: self.most, why: self.learned }
    }

    /// The window after an answer.
    #[must_use]
    pub(crate) fn after(self, answer: Answer) -> Window {
        if self.late > 0 {
            let late = (self.late - 1).min(answer.others);
            return Window { late, round: (late == 0).then(|| Round::at(answer.at)), ..self };
        }
        match answer.shown {
            Shown::TooMuch => self.halved(answer),
            Shown::Nothing => self,
            Shown::Fine => self.after_a_good_one(answer),
        }
    }

    fn after_a_good_one(self, answer: Answer) -> Window {
        let anew = Window { round: Some(Round::at(answer.at)), ..self };
        let Some(round) = self.round.filter(|round| !round.was_idle_before(&answer)) else { return anew };
        let round = round.with(&answer);
        match round.rate(self.now) {
            None => Window { round: Some(round), ..self },
            Some(rate) if round.was_busy(self.now) => self.measured(rate, answer),
            // It was not in use: its size has limited nothing.
            Some(_) => anew,
        }
    }

    fn halved(self, answer: Answer) -> Window {
        Window { learned: Learned::TooMuch, rest: REST_FIRST, ..self.resized(self.now / 2, Aim::Measure, answer) }
    }

    /// The window after a round in which it was in use.
    fn measured(self, rate: u64, answer: Answer) -> Window {
        match self.aim {
            Aim::Measure => self.larger(rate, answer),
            Aim::Larger { than, rate: before } if is_gain(than, before, self.now, rate) => {
                let learned = if self.learned == Learned::Nothing { Learned::MoreBringsMore } else { self.learned };
                Window { learned, rest: REST_FIRST, ..self }.larger(rate, answer)
            }
            Aim::Larger { than, .. } => Window { learned: Learned::MoreBringsNothing, ..self }.resting(than, answer),
            Aim::Smaller { rate: before, .. } if !is_loss(before, rate) => {
                Window { learned: Learned::MoreBringsNothing, rest: REST_FIRST, ..self }.smaller(rate, answer)
            }
            Aim::Smaller { than, rate: before } => Window { now: than, ..self }.larger(before, answer),
            Aim::Rest { rounds: 0 } => self.smaller(rate, answer),
            Aim::Rest { rounds } => Window { aim: Aim::Rest { rounds: rounds - 1 }, round: Some(Round::at(answer.at)), ..self },
        }
    }

    /// A larger window, to see whether that brings more than `rate`: twice as large as long as nothing else is known, then half as
    /// large again, or by one where the host had too much to do.
    fn larger(self, rate: u64, answer: Answer) -> Window {
        if self.now >= self.most {
            return self.resting(self.now, answer);
        }
        let more = match self.learned {
            Learned::Nothing | Learned::MoreBringsMore => self.now,
            Learned::MoreBringsNothing => self.now.div_ceil(2),
            Learned::TooMuch => 1,
        };
        self.resized(self.now + more, Aim::Larger { than: self.now, rate }, answer)
    }

    /// A window that is smaller by a third, to see whether that brings less than `rate`.
    fn smaller(self, rate: u64, answer: Answer) -> Window {
        if self.now == 1 {
            return self.larger(rate, answer);
        }
        self.resized(self.now - self.now.div_ceil(3), Aim::Smaller { than: self.now, rate }, answer)
    }

    fn resting(self, size: usize, answer: Answer) -> Window {
        let rest = (self.rest * 2).min(REST_MOST);
        Window { rest, ..self.resized(size, Aim::Rest { rounds: self.rest }, answer) }
    }

    fn resized(self, size: usize, aim: Aim, answer: Answer) -> Window {
        let now = size.clamp(1, self.most);
        let round = (answer.others == 0).then(|| Round::at(answer.at));
        Window { now, aim, late: answer.others, round, ..self }
    }
}

/// Whether a window that grew from `smaller` to `larger` brings enough more for that: `rate` after `before`.
fn is_gain(smaller: usize, before: u64, larger: usize, rate: u64) -> bool {
    let of_size = |size: usize| u128::try_from(size).unwrap_or(u128::MAX);
    let (more, base) = (of_size(larger.saturating_sub(smaller)), of_size(smaller.max(1)));
    // rate / before >= 1 + GAIN_PERCENT / 100 * more / base, without fractions.
    u128::from(rate) * 100 * base >= u128::from(before) * (100 * base + u128::from(GAIN_PERCENT) * more)
}

/// Whether a smaller window brings less: `rate` after `before`.
fn is_loss(before: u64, rate: u64) -> bool {
    u128::from(rate) * 100 < u128::from(before) * u128::from(100 - LOSS_PERCENT)
}

#[cfg(test)]
mod links;
#[cfg(test)]
mod tests;
