//! The only place that prints. Data goes to stdout, the rest to stderr; a reader that goes away is no error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use crate::config::ConfigError;
use crate::job::bandwidth::{Bandwidth, Days, Hours};
use crate::job::flow::{InFlight, Learned};
use crate::job::shown::is_unsafe;
use crate::store::StoreError;

use super::exit::Exit;

/// What went wrong, for a person, with what to do about it.
#[derive(Debug)]
pub(super) struct CommandFailure {
    /// How the process ends.
    pub exit: Exit,
    /// What failed, on what, why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl CommandFailure {
    /// A failure without advice.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> CommandFailure {
        CommandFailure { exit, message: message.into(), hint: None }
    }

    /// The same with advice.
    pub(super) fn hint(self, hint: impl Into<String>) -> CommandFailure {
        CommandFailure { hint: Some(hint.into()), ..self }
    }

    /// A configuration with all its problems.
    pub(super) fn configuration(error: &ConfigError) -> CommandFailure {
        CommandFailure::new(Exit::Configuration, error.render(color(&io::stderr())))
    }

    /// A queue that cannot be used.
    pub(super) fn store(dir: &Path, error: &StoreError) -> CommandFailure {
        let dir = dir.display();
        // What may have passed by the next start does not keep a service manager from trying it.
        let passes = matches!(
            error,
            StoreError::Closed | StoreError::Refused(_) | StoreError::Busy | StoreError::Disk(_) | StoreError::NotSynced(_)
        );
        let exit = if passes { Exit::Fault } else { Exit::State };
        let failure = CommandFailure::new(exit, format!("cannot use the queue in `{dir}`: {error}"));
        match error {
            StoreError::Locked { .. } => {
                failure.hint("`ferryd status` shows what it is doing; stop it first, or use another `state_dir`")
            }
            StoreError::Newer { .. } => {
                failure.hint("run the version of ferryd that wrote it, or a newer one; nothing was changed")
            }
            StoreError::Damaged(_) => failure.hint("`ferryd run` sets a damaged queue aside and finds the files again"),
            StoreError::Full => failure.hint(format!("free some space on the disk that holds `{dir}`")),
            StoreError::Inaccessible(_) => failure.hint(format!("make sure this user can read and write `{dir}`")),
            StoreError::Disk(_) | StoreError::NotSynced(_) => {
                failure.hint(format!("look for errors of the disk that holds `{dir}`"))
            }
            StoreError::Busy | StoreError::Closed | StoreError::NotOurs { .. } | StoreError::Refused(_) => failure,
        }
    }
}

/// Prints data. A reader that has seen enough ends it quietly.
pub(super) fn out(text: &str) -> Result<(), CommandFailure> {
    stream(|out| written(out.write_all(text.as_bytes())))
}

/// Prints data of any length as it comes. A reader that has seen enough ends it quietly.
pub(super) fn stream(write: impl FnOnce(&mut dyn Write) -> Result<(), CommandFailure>) -> Result<(), CommandFailure> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    write(&mut stdout)?;
    written(stdout.flush())
}

/// What became of data for stdout: a closed pipe, as in `ferryd status | head`, is no failure; a full disk is.
pub(super) fn written(result: io::Result<()>) -> Result<(), CommandFailure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandFailure::new(Exit::Fault, format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a remark.
pub(super) fn note(text: impl Display) {
    let mut stderr = io::stderr().lock();
    drop(writeln!(stderr, "{text}"));
}

/// Prints a remark that ends no line, or draws one again.
pub(super) fn note_on_line(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}

/// Prints a failure the way every failure is printed.
pub(super) fn failure(failure: &CommandFailure) {
    let prefix = if failure.exit == Exit::Configuration { "" } else { "ferryd: " };
    note(format!("{prefix}{}", failure.message));
    if let Some(hint) = &failure.hint {
        note(format!("\nhint: {hint}"));
    }
}

/// Whether a stream takes colour: a terminal, and nobody said no.
pub(super) fn color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A size: `5.2 MiB`.
pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Bytes a second; `None` is unlimited.
pub(super) fn rate(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".into(), |limit| format!("{}/s", size(limit)))
}

/// What bandwidth is allowed, as it is configured: `2.0 MiB/s mon-fri 08:00-18:00, else unlimited`.
pub(super) fn bandwidth(bandwidth: &Bandwidth) -> String {
    if let Some(limit) = bandwidth.always() {
        return rate(limit);
    }
    let hours = |hours: &Hours| {
        let days = if hours.days == Days::ALL { String::new() } else { format!(" {}", hours.days) };
        let is_whole_day = hours.from == hours.to && hours.from == Time::midnight();
        let time = |time: Time| time.strftime("%H:%M").to_string();
        let times = if is_whole_day { String::new() } else { format!(" {}-{}", time(hours.from), time(hours.to)) };
        if hours.are_always() { format!("else {}", rate(hours.limit)) } else { rate(hours.limit) + &days + &times }
    };
    bandwidth.hours().iter().map(hours).collect::<Vec<_>>().join(", ")
}

/// A duration in its largest unit: `12 s`, `3 min`, `2 h`, `4 d`.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// About how long something will take: `10 s`, `4 min`, `2 h 40 min`, `3 d 4 h`. Rounded up, and the more so the longer it is.
pub(super) fn about(left: Duration) -> String {
    let up = |seconds: u64, step: u64| seconds.div_ceil(step).max(1).saturating_mul(step);
    let seconds = match left.as_secs() {
        seconds @ 0..10 => up(seconds, 1),
        seconds @ 10..60 => up(seconds, 5),
        seconds @ 60..3600 => up(seconds, 60),
        seconds @ 3600..86_400 => up(seconds, 600),
        seconds => up(seconds, 3600),
    };
    let with_rest = |whole: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{whole} {unit}"),
        _ => format!("{whole} {unit} {rest} {small}"),
    };
    match seconds {
        0..3600 => duration(Duration::from_secs(seconds)),
        3600..86_400 => with_rest(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => with_rest(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// A time as people say it in this zone: `14:03` of the day that it is there now, else with the date.
pub(super) fn clock(at_ms: i64, now_ms: i64, zone: &TimeZone) -> String {
    let zoned = |ms: i64| Timestamp::from_millisecond(ms).map(|time| time.to_zoned(zone.clone()));
    let (Ok(at), Ok(now)) = (zoned(at_ms), zoned(now_ms)) else { return "at an unknown time".into() };
    let format = match (at.date() == now.date(), at.year() == now.year()) {
        (true, _) => "%H:%M",
        (false, true) => "%-d %b %H:%M",
        (false, false) => "%-d %b %Y",
    };
    at.strftime(format).to_string()
}

/// How long ago a time is: `3 min`. Nothing if it is still to come, as after a clock that was wrong.
pub(super) fn elapsed(at_ms: i64, now_ms: i64) -> Option<String> {
    (at_ms <= now_ms).then(|| duration(Duration::from_millis(at_ms.abs_diff(now_ms))))
}

/// When something is to happen: `in 12 s`, or `now`.
pub(super) fn next(at_ms: i64, now_ms: i64) -> String {
    if at_ms <= now_ms {
        return "now".into();
    }
    format!("in {}", duration(Duration::from_millis(at_ms.abs_diff(now_ms) + 999)))
}

/// A text with what comes before it, if either is there: `for 3 s: no reply`.
pub(super) fn after(before: Option<String>, text: &str) -> String {
    match before {
        Some(before) if text.is_empty() => before,
        Some(before) => format!("{before}: {text}"),
        None => text.to_owned(),
    }
}

/// Why as many requests may be in flight as there are; nothing where that was not found by measuring.
pub(super) fn requests_why(requests: InFlight) -> Option<&'static str> {
    let InFlight { now, most, why } = requests;
    match why {
        Learned::Nothing => None,
        Learned::MoreBringsMore if now == most => Some("the maximum"),
        Learned::MoreBringsMore => Some("growing"),
        Learned::MoreBringsNothing => Some("no gain from more"),
        Learned::TooMuch => Some("reduced after errors"),
    }
}

/// A number of things: `1 file`, `1,500 files`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// A number whose digits stand in groups of three: `192,536`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let comma_before = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits.chars().enumerate().flat_map(|(at, digit)| comma_before(at).then_some(',').into_iter().chain([digit])).collect()
}

/// A text with spaces behind it up to so many cells of a terminal.
pub(super) fn padded(text: &str, cells: usize) -> String {
    format!("{text}{}", " ".repeat(cells.saturating_sub(text.width())))
}

/// Rows whose cells stand below each other; nothing follows the last cell of a row.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| padded(cell, width)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A text on one line: what would draw on the terminal, turn the direction of the text or hide in it is shown, never sent.
pub(super) fn line(text: &str) -> String {
    text.chars().flat_map(|c| if is_unsafe(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// A path on one line.
pub(super) fn path(path: &Path) -> String {
    line(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::job::bandwidth::WEEKDAYS;

    #[test]
    fn times_are_said_in_their_largest_unit() {
        let past = [(0, "0 s"), (-59_000, "59 s"), (-61_000, "1 min"), (-7_200_000, "2 h")];
        for (at, said) in past {
            assert_eq!((elapsed(at, 0).as_deref(), next(at, 0).as_str()), (Some(said), "now"));
        }
        for (at, said) in [(1, "in 1 s"), (90_000, "in 1 min")] {
            assert_eq!((elapsed(at, 0), next(at, 0).as_str()), (None, said));
        }
    }

    #[test]
    fn what_is_left_is_said_as_closely_as_it_can_be_known() {
        let cases = [
            (0, "1 s"),
            (9, "9 s"),
            (11, "15 s"),
            (56, "1 min"),
            (61, "2 min"),
            (3_541, "1 h"),
            (5_900, "1 h 40 min"),
            (86_399, "1 d"),
            (273_600, "3 d 4 h"),
        ];
        for (seconds, said) in cases {
            assert_eq!(about(Duration::from_secs(seconds)), said);
        }
        assert!(about(Duration::from_secs(u64::MAX)).contains(" d"));
    }

    #[test]
    fn a_time_is_said_in_the_zone_of_whoever_reads_it() {
        let now = 1_767_323_045_000;
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!((clock(now, now, &TimeZone::UTC).as_str(), clock(now, now, &tokyo).as_str()), ("03:04", "12:04"));
        let day = 86_400_000;
        assert_eq!(clock(now - day, now, &tokyo), "1 Jan 12:04");
        assert_eq!(clock(now - 3 * day, now, &TimeZone::UTC), "30 Dec 2025");
        assert_eq!(clock(i64::MAX, now, &TimeZone::UTC), "at an unknown time");
    }

    #[test]
    fn a_number_agrees_with_its_noun() {
        let cases = [(0, "0 files"), (1, "1 file"), (2, "2 files"), (999, "999 files"), (1_000, "1,000 files")];
        for (number, said) in cases {
            assert_eq!(count(number, "file"), said);
        }
        assert_eq!((thousands(192_536).as_str(), thousands(1_000_000).as_str()), ("192,536", "1,000,000"));
    }

    #[test]
    fn a_column_is_as_wide_for_letters_that_are() {
        assert_eq!((padded("写", 4).as_str(), padded("ab", 4).as_str(), padded("abc", 2).as_str()), ("写  ", "ab  ", "abc"));
    }

    #[test]
    fn a_name_cannot_draw_on_the_terminal() {
        assert_eq!(line("a\n\x1b[31mb"), "a\\n\\u{1b}[31mb");
        assert_eq!(line("a\u{202e}txt.exe\u{200b}\u{2028}"), "a\\u{202e}txt.exe\\u{200b}\\u{2028}");
    }

    #[test]
    fn bandwidth_reads_as_it_is_configured() {
        let workdays = WEEKDAYS[..5].iter().fold(Days::NONE, |days, (_, day)| days.and(*day));
        let office =
            Hours { days: workdays, from: Time::constant(8, 0, 0, 0), to: Time::constant(18, 30, 0, 0), limit: Some(2 << 20) };
        let saturday = Hours { days: Days::NONE.and(WEEKDAYS[5].1), ..Hours::always(Some(1 << 10)) };
        let nightly = Hours { days: Days::ALL, from: Time::constant(22, 0, 0, 0), to: Time::constant(6, 0, 0, 0), limit: None };
        let cases = [
            (vec![Hours::always(Some(2 << 20))], "2.0 MiB/s"),
            (vec![Hours::always(None)], "unlimited"),
            (vec![office, Hours::always(None)], "2.0 MiB/s mon-fri 08:00-18:30, else unlimited"),
            (vec![saturday, nightly], "1.0 KiB/s sat, unlimited 22:00-06:00"),
        ];
        for (hours, expected) in cases {
            assert_eq!(bandwidth(&Bandwidth::new(hours)), expected);
        }
    }
}
