//! `ferryd links`: what is up, and where. Rows are printed as they are read, however many there are.

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil};

use crate::os::clock;
use crate::store::{JobRow, StoreError, View};

use super::exit::Exit;
use super::render::{self, Failure};
use super::status::{JobDocument, timestamp};

const HEADER: [&str; 5] = ["TIME", "HOST", "FILE", "LINK", "EXPIRES"];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// For programs: one JSON array, its objects those of `ferryd status --json`.
    #[arg(long)]
    json: bool,
    /// Only what is up since then: a date, a time, or so long ago, such as `2h` or `7d`.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Look here, without a configuration.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// A moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since(i64);

fn parse_since(text: &str) -> Result<Since, String> {
    moment(text, clock::now_ms(), TimeZone::system())
        .map(Since)
        .ok_or_else(|| "write a date such as 2026-01-31, a time such as 2026-01-31T08:00, or how long ago, such as 2h or 7d".into())
}

/// What a person means by `text` at `now_ms`, in their own time zone.
fn moment(text: &str, now_ms: i64, zone: TimeZone) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    if let Ok(at) = text.parse::<civil::DateTime>() {
        return Some(at.to_zoned(zone).ok()?.timestamp().as_millisecond());
    }
    let ago = text.parse::<Span>().ok()?.abs();
    let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone);
    Some(now.checked_sub(ago).ok()?.timestamp().as_millisecond())
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, Failure> {
    let dir = match &arguments.state_dir {
        Some(dir) => dir.clone(),
        None => super::load(config)?.daemon.state_dir,
    };
    let failed = |error: StoreError| Failure::store(&dir, &error);
    let view = View::open(&dir).map_err(failed)?;
    let since_ms = arguments.since.map(|since| since.0);
    render::stream(|out| match arguments.json {
        true => print_json(view, since_ms, out),
        false => print_table(view, since_ms, out),
    })
    .map_err(failed)?;
    Ok(Exit::Fine)
}

/// Writes one object a line. A reader that has seen enough ends it.
fn print_json(view: Option<View>, since_ms: Option<i64>, out: &mut dyn Write) -> Result<(), StoreError> {
    let mut between = "[\n";
    if let Some(mut view) = view {
        view.links(since_ms, |job| {
            let text = serde_json::to_string(&JobDocument::new(job)).unwrap_or_else(|_| "null".into());
            write!(out, "{}{text}", std::mem::replace(&mut between, ",\n")).is_ok()
        })?;
    }
    let end = if between == "[\n" { "[]\n" } else { "\n]\n" };
    drop(out.write_all(end.as_bytes()));
    Ok(())
}

/// Reads the rows twice: first for the widths of the columns, so that memory holds one row at a time.
fn print_table(view: Option<View>, since_ms: Option<i64>, out: &mut dyn Write) -> Result<(), StoreError> {
    let mut widths = HEADER.map(|title| title.chars().count());
    let Some(mut view) = view else { return Ok(()) };
    view.links(since_ms, |job| {
        for (width, cell) in widths.iter_mut().zip(row(job)) {
            *width = (*width).max(cell.chars().count());
        }
        true
    })?;
    if print_row(&HEADER.map(str::to_owned), &widths, out).is_ok() {
        view.links(since_ms, |job| print_row(&row(job), &widths, out).is_ok())?;
    }
    Ok(())
}

fn row(job: &JobRow) -> [String; 5] {
    let time = |at_ms: Option<i64>| at_ms.and_then(timestamp).map(|at| at.to_string());
    let place = job.link.as_deref().or(job.remote_id.as_deref()).unwrap_or("no link");
    [
        time(job.done_at_ms.or(Some(job.since_ms))).unwrap_or_default(),
        job.host.clone(),
        render::path(&job.path),
        render::line(place),
        time(job.expires_ms).unwrap_or_default(),
    ]
}

fn print_row(cells: &[String; 5], widths: &[usize; 5], out: &mut dyn Write) -> io::Result<()> {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_a_date_or_so_long_ago() {
        let now = 1_767_323_045_000;
        let day = 86_400_000;
        let cases = [
            ("2026-01-02T03:04:05Z", Some(now)),
            ("2026-01-02T03:04:05", Some(now)),
            ("2026-01-02", Some(now - now % day)),
            ("2h", Some(now - 2 * 3_600_000)),
            ("7d", Some(now - 7 * day)),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(moment(text, now, TimeZone::UTC), expected, "{text}");
        }
    }
}
