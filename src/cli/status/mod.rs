//! `ferryd status`: the queue for people and, with `--json`, for programs. Reads the database and the lock's note, and asks the daemon
//! whether it answers, for two seconds at most: so it tells a running daemon from a hung and from a dead one.

mod document;
#[cfg(test)]
mod examples;
mod look;
mod page;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::job::{JobRow, State};
use crate::os::clock;
use crate::store::{Query, Snapshot};

use super::exit::Exit;
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::states::states;
use document::Document;
use look::{Daemon, look};
use page::Page;

/// How often `--watch` looks.
const REDRAW: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
    /// Refresh every second.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Only jobs in this state; can be given more than once.
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Vec<State>,
    /// Only jobs for this host; can be given more than once.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Show at most this many jobs.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// Read the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Only jobs for these files, or for files in these folders.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(config, arguments.state_dir.as_ref())?;
    if arguments.json {
        let (snapshot, daemon) = look(&place, &query(arguments))?;
        let text = serde_json::to_string_pretty(&Document::new(&snapshot, &daemon));
        render::out(&format!("{}\n", text.map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?))?;
        return Ok(Exit::Fine);
    }
    loop {
        let (snapshot, daemon) = look(&place, &query(arguments))?;
        let color = render::color(&io::stdout());
        let shown = Page { snapshot: &snapshot, daemon: &daemon, places: &place.places, now_ms: clock::now_ms(), color }.draw();
        if !arguments.watch || !io::stdout().is_terminal() {
            render::out(&shown)?;
            if snapshot.jobs.is_empty() {
                arguments.paths.iter().for_each(|path| nothing_about(path, &snapshot));
            }
            return Ok(Exit::Fine);
        }
        // Clears the screen, and begins at its first line.
        render::out(&format!("\x1b[2J\x1b[H{shown}"))?;
        std::thread::sleep(REDRAW);
    }
}

/// What is said of each job in a snapshot of this queue, a line each.
pub(super) fn lines_of_jobs(place: &QueueFolder, snapshot: &mut Snapshot) -> Vec<String> {
    let daemon = Daemon::in_folder(&place.dir);
    if daemon.owner.is_none() {
        snapshot.nothing_moves();
    }
    let page = Page { snapshot, daemon: &daemon, places: &place.places, now_ms: clock::now_ms(), color: false };
    let line = |job: &JobRow| {
        let host = render::line(&job.host);
        format!("Job {} to {host} is {}: {}.", job.id, job.state, page.details(job))
    };
    page.snapshot.jobs.iter().map(line).collect()
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
        limit: arguments.limit,
        now_ms: clock::now_ms(),
    }
}
