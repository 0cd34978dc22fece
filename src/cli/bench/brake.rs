//! Where the brake is: one rule, from what was measured to what held the uploads up. Pure.

use serde::Serialize;

use crate::job::flow::{InFlight, Learned};

/// Something on this side that was measured alone, and that uploads use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// What `bandwidth` allows.
    Bandwidth,
    /// Reading the files.
    Disk,
    /// What the host wants to know of their bytes.
    Digest,
    /// The queue, which waits for its disk.
    Queue,
    /// All that is computed here.
    Processor,
}

/// How much of the time a part was at work, from 0 to 1: what went, of what went where it was measured alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Share {
    pub part: Part,
    pub share: f64,
}

/// What is known of some uploads.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub shares: Vec<Share>,
    /// How much of the time there was a request in flight.
    pub busy: f64,
    /// How many there were on an average.
    pub mean: f64,
    /// How many the host might have been given.
    pub window: Option<InFlight>,
    /// How many these files alone can have in flight, where that is a small number.
    pub most_of_files: Option<usize>,
}

/// What held the uploads up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "brake", rename_all = "snake_case")]
pub(super) enum Brake {
    Bandwidth,
    Disk,
    Digest,
    Queue,
    Processor,
    /// A file has only so many requests in flight at once, and there was one file.
    OneFile {
        most: usize,
    },
    /// As many requests were in flight as may be; more might bring more.
    MaxConnections {
        most: usize,
    },
    /// More requests bring nothing more.
    LinkOrHost {
        enough: Option<usize>,
    },
    /// The host has said that it has too much to do.
    Host,
    /// Nothing stands out.
    Nothing,
}

/// A part that works for so much of the time is what the rest waits for.
const BRAKES: f64 = 0.7;
/// Requests that are in flight for so much of the time are.
const BUSY: f64 = 0.5;
/// So many of the requests that may be in flight are as good as all.
const AT_ITS_BOUND: f64 = 0.8;

/// What held these uploads up.
pub(super) fn brake(facts: &Facts) -> Brake {
    let most_at_work = facts.shares.iter().max_by(|one, other| one.share.total_cmp(&other.share));
    let is_near = |most: usize| facts.mean >= AT_ITS_BOUND * most as f64;
    let room = facts.window.map_or(usize::MAX, |window| window.now);
    match (most_at_work, facts.window) {
        (Some(Share { part, share }), _) if *share >= BRAKES => part.brake(),
        _ if facts.busy < BUSY => Brake::Nothing,
        _ if let Some(most) = facts.most_of_files.filter(|most| *most < room && is_near(*most)) => Brake::OneFile { most },
        (_, Some(InFlight { why: Learned::TooMuch, .. })) => Brake::Host,
        (_, Some(InFlight { why: Learned::MoreBringsNothing, now, .. })) => Brake::LinkOrHost { enough: Some(now) },
        (_, Some(InFlight { now, most, .. })) if now == most && is_near(most) => Brake::MaxConnections { most },
        _ => Brake::LinkOrHost { enough: None },
    }
}

impl Share {
    pub(super) fn of(part: Part, share: f64) -> Share {
        Share { part, share }
    }
}

impl Part {
    /// In a few words.
    pub(super) fn words(self) -> &'static str {
        self.brake().words()
    }

    fn brake(self) -> Brake {
        match self {
            Part::Bandwidth => Brake::Bandwidth,
            Part::Disk => Brake::Disk,
            Part::Digest => Brake::Digest,
            Part::Queue => Brake::Queue,
            Part::Processor => Brake::Processor,
        }
    }
}

impl Brake {
    /// In a few words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Brake::Bandwidth => "`bandwidth`",
            Brake::Disk => "the disk that the files are on",
            Brake::Digest => "the digest",
            Brake::Queue => "the disk of the queue",
            Brake::Processor => "the processor",
            Brake::OneFile { .. } => "that it is one file",
            Brake::MaxConnections { .. } => "`max_connections`",
            Brake::LinkOrHost { .. } => "the link or the host",
            Brake::Host => "the host",
            Brake::Nothing => "nothing that stands out",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(now: usize, most: usize, why: Learned) -> Option<InFlight> {
        Some(InFlight { now, most, why })
    }

    /// The shares, for how much of the time there was a request, how many, how many there might be, and the brake.
    type Case = (&'static [(Part, f64)], f64, f64, Option<InFlight>, Brake);

    #[test]
    fn what_works_all_the_time_is_the_brake_and_else_it_is_on_the_other_side() {
        use Learned::{MoreBringsMore, MoreBringsNothing, TooMuch};
        let all = Learned::Nothing;
        let cases: [Case; 18] = [
            // What is at work for most of the time, whatever the requests say.
            (&[(Part::Bandwidth, 1.0), (Part::Disk, 0.1)], 1.0, 8.0, window(8, 8, MoreBringsMore), Brake::Bandwidth),
            (&[(Part::Disk, 0.8), (Part::Digest, 0.3)], 1.0, 2.0, None, Brake::Disk),
            (&[(Part::Disk, 0.8), (Part::Digest, 0.9)], 1.0, 2.0, None, Brake::Digest),
            (&[(Part::Digest, 0.95)], 0.1, 0.1, None, Brake::Digest),
            (&[(Part::Queue, 0.7), (Part::Processor, 0.69)], 0.4, 1.0, None, Brake::Queue),
            (&[(Part::Queue, 0.2), (Part::Processor, 0.97)], 1.0, 8.0, window(8, 8, MoreBringsNothing), Brake::Processor),
            // Nothing here is: the requests tell.
            (&[(Part::Processor, 0.69)], 1.0, 8.0, window(8, 8, MoreBringsMore), Brake::MaxConnections { most: 8 }),
            (&[], 1.0, 7.0, window(8, 8, all), Brake::MaxConnections { most: 8 }),
            (&[], 1.0, 1.0, window(1, 1, all), Brake::MaxConnections { most: 1 }),
            (&[], 1.0, 6.0, window(8, 8, MoreBringsMore), Brake::LinkOrHost { enough: None }),
            (&[], 1.0, 4.0, window(4, 8, MoreBringsMore), Brake::LinkOrHost { enough: None }),
            (&[], 1.0, 8.0, window(8, 8, MoreBringsNothing), Brake::LinkOrHost { enough: Some(8) }),
            (&[], 0.5, 2.0, window(3, 8, MoreBringsNothing), Brake::LinkOrHost { enough: Some(3) }),
            (&[], 1.0, 8.0, window(2, 8, TooMuch), Brake::Host),
            (&[], 0.9, 1.0, None, Brake::LinkOrHost { enough: None }),
            // Nor are there requests for most of the time.
            (&[(Part::Queue, 0.3)], 0.49, 8.0, window(8, 8, MoreBringsMore), Brake::Nothing),
            (&[(Part::Queue, f64::NAN)], 0.0, 0.0, None, Brake::Nothing),
            (&[], 0.0, 0.0, window(2, 8, TooMuch), Brake::Nothing),
        ];
        for (shares, busy, mean, window, expected) in cases {
            let shares = shares.iter().map(|(part, share)| Share::of(*part, *share)).collect();
            let facts = Facts { shares, busy, mean, window, most_of_files: None };
            assert_eq!(brake(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn one_file_that_has_all_its_requests_in_flight_is_the_brake_where_the_host_would_take_more() {
        let more = Learned::MoreBringsMore;
        let cases = [
            (1, 1.0, window(4, 8, more), Brake::OneFile { most: 1 }),
            (3, 2.5, window(8, 8, Learned::TooMuch), Brake::OneFile { most: 3 }),
            (1, 0.9, None, Brake::OneFile { most: 1 }),
            (4, 3.0, window(8, 8, more), Brake::LinkOrHost { enough: None }),
            (8, 8.0, window(8, 8, more), Brake::MaxConnections { most: 8 }),
            (16, 8.0, window(8, 8, more), Brake::MaxConnections { most: 8 }),
        ];
        for (most, mean, window, expected) in cases {
            let facts = Facts { shares: vec![Share::of(Part::Disk, 0.5)], busy: 0.9, mean, window, most_of_files: Some(most) };
            assert_eq!(brake(&facts), expected, "{facts:?}");
            let facts = Facts { shares: vec![Share::of(Part::Disk, 0.9)], ..facts };
            assert_eq!(brake(&facts), Brake::Disk, "{facts:?}");
        }
    }
}
