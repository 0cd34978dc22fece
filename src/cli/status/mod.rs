//! `ferryd status`: the queue for people and, with `--json`, for programs. Reads the database and the lock's note, and asks the daemon
//! whether it answers, for two seconds at most: so it tells a running daemon from a hung and from a dead one.

mod document;
mod groups;
mod look;
mod page;
#[cfg(test)]
mod samples;
mod text;
mod watch;
mod words;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::job::{JobRow, State};
use crate::os::clock;
use crate::store::{Query, Snapshot};

use super::exit::Exit;
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::since::{Since, parse_since};
use super::states::states;
use document::Document;
use look::{Daemon, Report, look};
use page::{Size, page};
use text::Line;
use words::Words;

/// Jobs that are shown, where nobody says how many.
const LIMIT: usize = 50;
/// The same where they can be scrolled.
const LIMIT_LIVE: usize = 1_000;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
    /// Show it live on the whole terminal: scroll, find, retry, pause, resume, cancel, copy links; `?` lists the keys.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Only jobs in this state; can be given more than once.
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Vec<State>,
    /// Only jobs for this host; can be given more than once.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Only what has happened since then: a date, a time, `today`, `yesterday`, or how long ago, such as `2h` or `7d`.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Show at most this many jobs [default: 50, or 1000 with --watch].
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Read the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Only jobs for these files, or for files in these folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(config, arguments.state_dir.as_ref())?;
    if is_live(arguments) {
        let arguments = arguments.clone();
        return watch::run(place, move || query(&arguments));
    }
    let report = look(&place, &query(arguments))?;
    if !report.has_queue {
        place.say_that_there_is_none();
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&Document::new(&report));
        render::out(&format!("{}\n", text.map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?))?;
        return Ok(Exit::Fine);
    }
    let color = render::color(&io::stdout());
    let line = |line: &Line| if color { line.colored() } else { line.text() } + "\n";
    render::out(&page(&report, terminal()).iter().map(line).collect::<String>())?;
    if report.snapshot.jobs.is_empty() {
        arguments.paths.iter().for_each(|path| nothing_about(path, &report.snapshot));
    }
    Ok(Exit::Fine)
}

/// Whether the whole terminal is drawn on. Where there is none, `--watch` prints once.
fn is_live(arguments: &Arguments) -> bool {
    arguments.watch && io::stdout().is_terminal()
}

/// The terminal that is printed to; nothing when there is none, and then lines are as long as they need to be.
fn terminal() -> Option<Size> {
    let size = io::stdout().is_terminal().then(|| rustix::termios::tcgetwinsize(io::stdout()).ok()).flatten()?;
    (size.ws_col > 20 && size.ws_row > 4).then(|| Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// What is said of each job in a snapshot of this queue, a line each.
pub(super) fn lines_of_jobs(place: &QueueFolder, snapshot: &mut Snapshot) -> Vec<String> {
    let daemon = Daemon::in_folder(&place.dir);
    if daemon.owner.is_none() {
        snapshot.nothing_moves();
    }
    let (allowed, zone) = (place.allowed.clone(), TimeZone::system());
    let report =
        Report { snapshot: snapshot.clone(), daemon, allowed, now_ms: clock::now_ms(), zone, is_filtered: true, has_queue: true };
    let line = |job: &JobRow| {
        let host = render::line(&job.host);
        format!("Job {} to {host} is {}: {}.", job.id, job.state, Words(&report).details(job))
    };
    report.snapshot.jobs.iter().map(line).collect()
}

/// Says why there is no job about a path that was asked for.
fn nothing_about(path: &Path, snapshot: &Snapshot) {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let watched = snapshot.watches.iter().any(|watch| absolute.starts_with(&watch.path));
    let why = match (absolute.symlink_metadata(), watched) {
        (_, false) => "it is in no watched folder",
        (Err(_), true) => "there is no such file, and there never was a job for it",
        (Ok(_), true) => "its files are excluded, still being written, or were there before the watch",
    };
    render::note(format!("No job matches `{}`: {why}.", render::path(path)));
}

/// What is asked for, now.
fn query(arguments: &Arguments) -> Query {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Query {
        states: arguments.state.clone(),
        hosts: arguments.host.clone(),
        paths: arguments.paths.iter().map(absolute).collect(),
        since_ms: arguments.since.map(|since| since.0),
        beside: !arguments.json && arguments.state.is_empty() && arguments.since.is_none(),
        limit: arguments.limit.unwrap_or(if is_live(arguments) { LIMIT_LIVE } else { LIMIT }),
        now_ms: clock::now_ms(),
    }
}
