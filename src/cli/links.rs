//! `ferryd links`: what is up, and where. Rows are printed as they are read, however many there are.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use crate::job::JobRow;
use crate::job::report::timestamp;
use crate::store::View;

use super::exit::Exit;
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::since::{Since, parse_since};

/// The widest column: what is longer sticks out, and is not cut.
const CELL_WIDTH_MAX: usize = 120;
const HEADER: [&str; 5] = ["TIME", "HOST", "FILE", "LINK", "EXPIRES"];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON array of the jobs as in `ferryd status --json`, for scripts.
    #[arg(long)]
    json: bool,
    /// Only files uploaded since then: a date, a time, `today`, `yesterday`, or how long ago, such as `2h` or `7d`.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Only files on this host; can be given more than once.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Read the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Only these files, or files in these folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(config, arguments.state_dir.as_ref())?;
    let view = place.open(&arguments.host)?;
    let mut source = LinkRows { view, dir: &place.dir, arguments };
    render::stream(|out| if arguments.json { print_json(&mut source, out) } else { print_table(&mut source, out) })?;
    Ok(Exit::Fine)
}

/// The rows that were asked for.
struct LinkRows<'a> {
    view: Option<View>,
    dir: &'a Path,
    arguments: &'a Arguments,
}

impl LinkRows<'_> {
    /// Hands over one row after the other, until one cannot be written.
    fn rows(&mut self, mut each: impl FnMut(&JobRow) -> io::Result<()>) -> Result<(), CommandFailure> {
        let Some(view) = &mut self.view else { return Ok(()) };
        let Arguments { since, host: hosts, paths, .. } = self.arguments;
        let paths: Vec<PathBuf> = paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect();
        let is_asked = |job: &JobRow| {
            (hosts.is_empty() || hosts.contains(&job.host))
                && (paths.is_empty() || paths.iter().any(|path| job.path.starts_with(path)))
        };
        let mut done = Ok(());
        let read = view.links(since.map(|since| since.0), |job| {
            if is_asked(job) {
                done = each(job);
            }
            done.is_ok()
        });
        read.map_err(|error| CommandFailure::store(self.dir, &error))?;
        render::written(done)
    }
}

/// Writes one object a line.
fn print_json(source: &mut LinkRows<'_>, out: &mut dyn Write) -> Result<(), CommandFailure> {
    let mut between = "[\n";
    source.rows(|job| {
        let text = serde_json::to_string(job)?;
        write!(out, "{}{text}", std::mem::replace(&mut between, ",\n"))
    })?;
    let end = if between == "[\n" { "[]\n" } else { "\n]\n" };
    render::written(out.write_all(end.as_bytes()))
}

/// Reads the rows twice: first for the widths of the columns, so that memory holds one row at a time.
fn print_table(source: &mut LinkRows<'_>, out: &mut dyn Write) -> Result<(), CommandFailure> {
    if source.view.is_none() {
        return Ok(());
    }
    let mut widths = HEADER.map(|title| title.width());
    source.rows(|job| {
        for (width, cell) in widths.iter_mut().zip(row(job)) {
            *width = (*width).max(cell.width()).min(CELL_WIDTH_MAX);
        }
        Ok(())
    })?;
    render::written(print_row(&HEADER.map(str::to_owned), &widths, out))?;
    source.rows(|job| print_row(&row(job), &widths, out))
}

fn row(job: &JobRow) -> [String; 5] {
    let zoned = |at: Timestamp| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let time = |at_ms: Option<i64>| at_ms.and_then(timestamp).map(zoned);
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
    let padded = cells.iter().zip(widths).map(|(cell, width)| render::padded(cell, *width));
    writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_any_length_is_printed_whole_and_widens_no_other_row() {
        let long = "x".repeat(100_000);
        let rows = [long.as_str(), "y"].map(|link| ["", "box", "f", link, "end"].map(str::to_owned));
        let widths = [1, 3, 1, CELL_WIDTH_MAX, 3];
        let mut out = Vec::new();
        for row in &rows {
            print_row(row, &widths, &mut out).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!("{long}  end\n")) && text.lines().nth(1).unwrap().len() < 200);
    }
}
