//! How many bytes may flow in a second, by the day of the week and the time of day.
//!
//! The hours are those that a clock on the wall shows: where it is put forward or back, the limit follows it.

use std::fmt;
use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// After so many days the hours repeat; one day more, for hours that have begun the day before.
const DAYS: i64 = 8;

/// The days, from Monday on, by the words for them.
pub const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Limits of bytes a second, each for some hours of some days. The first that holds counts; where none does, there is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth(Arc<[Hours]>);

/// A limit, and when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// The days on which the hours begin.
    pub days: Days,
    /// When they begin.
    pub from: Time,
    /// When they are over. Not later than `from`, it is that time of the next day.
    pub to: Time,
    /// Bytes a second; `None` is unlimited.
    pub limit: Option<u64>,
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// All of them.
    pub const ALL: Days = Days(0b111_1111);
    /// None of them.
    pub const NONE: Days = Days(0);

    /// These, and `day`.
    pub fn and(self, day: Weekday) -> Days {
        Days(self.0 | Days::bit(day))
    }

    /// These, and `others`.
    pub fn or(self, others: Days) -> Days {
        Days(self.0 | others.0)
    }

    /// Whether `day` is one of them.
    pub fn contain(self, day: Weekday) -> bool {
        self.0 & Days::bit(day) != 0
    }

    fn bit(day: Weekday) -> u8 {
        1 << day.to_monday_zero_offset()
    }
}

/// As it is configured: `mon-fri,sun`.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<Weekday> = WEEKDAYS.into_iter().map(|(_, day)| day).filter(|day| self.contain(*day)).collect();
        let runs = days.chunk_by(|day, next| day.next() == *next);
        let text = |run: &[Weekday]| match run {
            [first, _, .., last] => format!("{}-{}", word_of(*first), word_of(*last)),
            few => few.iter().map(|day| word_of(*day)).collect::<Vec<_>>().join(","),
        };
        f.write_str(&runs.map(text).collect::<Vec<_>>().join(","))
    }
}

fn word_of(day: Weekday) -> &'static str {
    WEEKDAYS[usize::from(day.to_monday_zero_offset().unsigned_abs())].0
}

impl Hours {
    /// Every hour of every day.
    pub fn always(limit: Option<u64>) -> Hours {
        Hours { days: Days::ALL, from: Time::midnight(), to: Time::midnight(), limit }
    }

    /// Whether they leave out no hour.
    pub fn are_always(self) -> bool {
        self.days == Days::ALL && self.from == self.to
    }

    /// Whether they go on after midnight.
    fn pass_midnight(self) -> bool {
        self.to <= self.from
    }

    fn contain(self, at: DateTime) -> bool {
        let today = self.days.contain(at.weekday());
        if !self.pass_midnight() {
            return today && (self.from..self.to).contains(&at.time());
        }
        (today && at.time() >= self.from) || (self.days.contain(at.weekday().previous()) && at.time() < self.to)
    }

    /// When the clock shows their beginning and their end, on this day.
    fn edges(self, day: Date) -> [DateTime; 2] {
        [day.to_datetime(self.from), day.to_datetime(self.to)]
    }
}

impl Bandwidth {
    /// No limit at any time.
    pub fn unlimited() -> Bandwidth {
        Bandwidth::constant(None)
    }

    /// The same limit at any time.
    pub fn constant(limit: Option<u64>) -> Bandwidth {
        Bandwidth::new(vec![Hours::always(limit)])
    }

    /// These hours, of which the first that hold count.
    pub fn new(hours: Vec<Hours>) -> Bandwidth {
        Bandwidth(hours.into())
    }

    /// The hours, in their order.
    pub fn hours(&self) -> &[Hours] {
        &self.0
    }

    /// The limit that never changes; nothing where it does.
    pub fn always(&self) -> Option<Option<u64>> {
        match self.0.first() {
            None => Some(None),
            Some(hours) if hours.are_always() => Some(hours.limit),
            Some(_) => None,
        }
    }

    /// Bytes a second at this time, in milliseconds since the Unix epoch; `None` is unlimited.
    pub fn limit(&self, at_ms: i64, zone: &TimeZone) -> Option<u64> {
        self.always().unwrap_or_else(|| self.limit_on_the_wall(zone.to_datetime(timestamp(at_ms))))
    }

    fn limit_on_the_wall(&self, at: DateTime) -> Option<u64> {
        self.0.iter().find(|hours| hours.contain(at)).and_then(|hours| hours.limit)
    }

    /// When the limit will be another one than now, in milliseconds since the Unix epoch; nothing where it stays.
    pub fn next_change(&self, now_ms: i64, zone: &TimeZone) -> Option<i64> {
        if self.always().is_some() {
            return None;
        }
        let now = timestamp(now_ms);
        let limit = self.limit(now_ms, zone);
        let mut moments = self.moments(now, zone);
        moments.sort_unstable();
        moments.into_iter().filter(|at| *at > now_ms).find(|at| self.limit(*at, zone) != limit)
    }

    /// Every moment of the days to come at which the hours may change: where the clock shows an edge of them, or is set.
    fn moments(&self, now: Timestamp, zone: &TimeZone) -> Vec<i64> {
        let today = zone.to_datetime(now).date();
        let days = (-1..=DAYS).filter_map(|days| today.checked_add(days.days()).ok());
        let edges = days.flat_map(|day| self.0.iter().flat_map(move |hours| hours.edges(day)));
        // Where the clock is set back, it shows a time twice.
        let shown = edges.flat_map(|edge| {
            let at = zone.to_ambiguous_timestamp(edge);
            [at.earlier(), at.later()]
        });
        let end = now.as_millisecond().saturating_add(DAYS * 24 * 3600 * 1000);
        let set = zone.following(now).map(|transition| transition.timestamp().as_millisecond());
        shown.flatten().map(Timestamp::as_millisecond).chain(set.take_while(|at| *at <= end)).collect()
    }
}

fn timestamp(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Berlin's rule, of which the clock goes forward on 29 March and back on 25 October 2026.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn ms(at: &str, zone: &TimeZone) -> i64 {
        let at: DateTime = at.parse().unwrap();
        zone.to_timestamp(at).unwrap().as_millisecond()
    }

    fn days(of: &[Weekday]) -> Days {
        of.iter().fold(Days::NONE, |days, day| days.and(*day))
    }

    fn hours(on: &[Weekday], from: (i8, i8), to: (i8, i8), limit: Option<u64>) -> Hours {
        let time = |(hour, minute)| Time::new(hour, minute, 0, 0).unwrap();
        Hours { days: days(on), from: time(from), to: time(to), limit }
    }

    const WORKDAYS: [Weekday; 5] = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];

    #[test]
    fn the_first_hours_that_hold_say_the_limit() {
        let office = Bandwidth::new(vec![
            hours(&[Weekday::Friday], (12, 0), (14, 0), None),
            hours(&WORKDAYS, (8, 0), (18, 0), Some(2 * MIB)),
            Hours::always(Some(20 * MIB)),
        ]);
        let night = Bandwidth::new(vec![hours(&[Weekday::Saturday, Weekday::Sunday], (22, 30), (6, 0), Some(MIB))]);
        let round = Bandwidth::new(vec![hours(&[Weekday::Wednesday], (9, 0), (9, 0), Some(MIB))]);
        // 2026-11-20 is a Friday.
        let cases = [
            (&office, "2026-11-20 07:59:59.999", Some(20 * MIB)),
            (&office, "2026-11-20 08:00", Some(2 * MIB)),
            (&office, "2026-11-20 12:00", None),
            (&office, "2026-11-20 14:00", Some(2 * MIB)),
            (&office, "2026-11-20 17:59:59.999", Some(2 * MIB)),
            (&office, "2026-11-20 18:00", Some(20 * MIB)),
            (&office, "2026-11-21 12:00", Some(20 * MIB)),
            (&night, "2026-11-20 23:00", None),
            (&night, "2026-11-21 00:30", None),
            (&night, "2026-11-21 22:30", Some(MIB)),
            (&night, "2026-11-22 05:59", Some(MIB)),
            (&night, "2026-11-22 06:00", None),
            (&night, "2026-11-22 23:59", Some(MIB)),
            (&night, "2026-11-23 05:59", Some(MIB)),
            (&night, "2026-11-23 22:30", None),
            (&round, "2026-11-25 08:59", None),
            (&round, "2026-11-25 09:00", Some(MIB)),
            (&round, "2026-11-26 08:59", Some(MIB)),
            (&round, "2026-11-26 09:00", None),
        ];
        let zone = berlin();
        for (bandwidth, at, expected) in cases {
            assert_eq!(bandwidth.limit(ms(at, &zone), &zone), expected, "{at}");
        }
    }

    #[test]
    fn days_read_as_they_are_written() {
        let cases: [(&[Weekday], &str); 4] = [
            (&WORKDAYS, "mon-fri"),
            (&[Weekday::Sunday, Weekday::Saturday], "sat,sun"),
            (&[Weekday::Monday, Weekday::Sunday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday], "mon,wed-fri,sun"),
            (&[], ""),
        ];
        for (of, text) in cases {
            assert_eq!(days(of).to_string(), text);
        }
    }

    #[test]
    fn the_next_change_is_found_over_midnight_the_weekend_and_hours_that_change_nothing() {
        let office = Bandwidth::new(vec![hours(&WORKDAYS, (8, 0), (18, 0), Some(2 * MIB))]);
        let night = Bandwidth::new(vec![hours(&[Weekday::Sunday], (22, 30), (6, 0), Some(MIB))]);
        // The second hours begin where the first end, with the same limit.
        let joined =
            Bandwidth::new(vec![hours(&WORKDAYS, (8, 0), (12, 0), Some(MIB)), hours(&WORKDAYS, (12, 0), (18, 0), Some(MIB))]);
        let all_days = Bandwidth::new(vec![hours(&[Weekday::Monday], (0, 0), (0, 0), Some(MIB))]);
        let zone = berlin();
        let cases = [
            (&office, "2026-11-20 07:00", Some("2026-11-20 08:00")),
            (&office, "2026-11-20 08:00", Some("2026-11-20 18:00")),
            (&office, "2026-11-20 18:00", Some("2026-11-23 08:00")),
            (&night, "2026-11-16 06:00", Some("2026-11-22 22:30")),
            (&night, "2026-11-22 23:00", Some("2026-11-23 06:00")),
            (&joined, "2026-11-20 09:00", Some("2026-11-20 18:00")),
            (&all_days, "2026-11-16 00:00", Some("2026-11-17 00:00")),
            (&all_days, "2026-11-17 00:00", Some("2026-11-23 00:00")),
        ];
        for (bandwidth, now, expected) in cases {
            let expected = expected.map(|at| ms(at, &zone));
            assert_eq!(bandwidth.next_change(ms(now, &zone), &zone), expected, "{now}");
        }
        for constant in [Bandwidth::unlimited(), Bandwidth::constant(Some(1)), Bandwidth::new(Vec::new())] {
            assert_eq!(constant.next_change(ms("2026-11-20 07:00", &zone), &zone), None);
        }
        let same = Bandwidth::new(vec![hours(&WORKDAYS, (8, 0), (18, 0), None)]);
        assert_eq!(same.next_change(ms("2026-11-20 07:00", &zone), &zone), None, "unlimited like the rest of the week");
    }

    #[test]
    fn hours_follow_the_clock_on_the_wall_when_it_is_put_forward_and_back() {
        let zone = berlin();
        let every_day = days(&WORKDAYS).and(Weekday::Saturday).and(Weekday::Sunday);
        let small_hours =
            |from: (i8, i8), to: (i8, i8)| Bandwidth::new(vec![Hours { days: every_day, ..hours(&[], from, to, Some(MIB)) }]);
        let utc = |at| ms(at, &TimeZone::UTC);
        // On 29 March 02:00 becomes 03:00 at 01:00 UTC; on 25 October 03:00 becomes 02:00 at 01:00 UTC.
        let cases = [
            // The hours lie where the clock leaps over them: that day they are none.
            ((2, 10), (2, 50), "2026-03-28T12:00", "2026-03-30T00:10", "2026-03-30T00:50"),
            // They begin where it leaps, and are in force when it has.
            ((2, 30), (5, 0), "2026-03-28T12:00", "2026-03-29T01:00", "2026-03-29T03:00"),
            // They end where it leaps.
            ((1, 0), (2, 30), "2026-03-28T12:00", "2026-03-29T00:00", "2026-03-29T01:00"),
            // The clock shows them twice in a row.
            ((1, 30), (4, 0), "2026-10-24T12:00", "2026-10-24T23:30", "2026-10-25T03:00"),
            // It shows their beginning, is set back to before it, and shows it again.
            ((2, 30), (4, 0), "2026-10-24T12:00", "2026-10-25T00:30", "2026-10-25T01:00"),
            ((2, 30), (4, 0), "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-25T03:00"),
        ];
        for (from, to, now, begin, end) in cases {
            let bandwidth = small_hours(from, to);
            assert_eq!(bandwidth.next_change(utc(now), &zone), Some(utc(begin)), "{from:?} {to:?} after {now}");
            assert_eq!(bandwidth.next_change(utc(begin), &zone), Some(utc(end)), "{from:?} {to:?} after {begin}");
            assert_eq!(bandwidth.limit(utc(begin), &zone), Some(MIB));
            assert_eq!(bandwidth.limit(utc(end), &zone), None);
        }
    }

    #[test]
    fn the_limit_changes_at_no_other_time_than_was_foretold() {
        let zones = [berlin(), TimeZone::UTC, TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap()];
        let bandwidth = Bandwidth::new(vec![
            hours(&[Weekday::Saturday, Weekday::Sunday], (22, 30), (2, 30), Some(1)),
            hours(&WORKDAYS, (1, 30), (2, 10), Some(2)),
            hours(&[Weekday::Sunday], (2, 0), (3, 0), Some(3)),
        ]);
        for zone in zones {
            for start in ["2026-03-05 00:00", "2026-03-26 00:00", "2026-10-22 00:00", "2026-10-30 00:00", "2026-12-30 00:00"] {
                let start = ms(start, &zone);
                let end = start + 6 * 24 * 3600 * 1000;
                let mut foretold = bandwidth.next_change(start, &zone).unwrap();
                let mut before = bandwidth.limit(start, &zone);
                for now in (start..end).step_by(60_000) {
                    let limit = bandwidth.limit(now, &zone);
                    assert_eq!(limit != before, now == foretold, "{now} {zone:?}");
                    if now == foretold {
                        foretold = bandwidth.next_change(now, &zone).unwrap();
                    }
                    before = limit;
                }
            }
        }
    }
}
