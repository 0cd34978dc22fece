//! `ferryd status`: the queue for people and, with `--json`, for programs. Reads the database and the lock's note, and asks the daemon
//! whether it answers, for two seconds at most: so it tells a running daemon from a hung and from a dead one.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use comfy_table::{CellAlignment, Color, ContentArrangement, Table};
use jiff::Timestamp;
use serde::Serialize;

use crate::job::health::HostState;
use crate::job::report::{path_fields, timestamp};
use crate::job::turn::{Line, Told};
use crate::job::{HostReport, HostRow, JobRow, Reason, State, WatchState};
use crate::os::clock;
use crate::os::lock::{self, LastEnd, LockNote};
use crate::store::{Query, Snapshot, WatchRow};

use super::exit::Exit;
use super::protocol;
use super::queue::{Places, QueueFolder};
use super::render::{self, CommandFailure};

/// How often `--watch` looks.
const REDRAW: Duration = Duration::from_secs(1);
/// Cells of a progress bar.
const BAR_CELLS: u64 = 10;

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

/// Reads the word of a state.
pub(super) fn states() -> impl TypedValueParser<Value = State> {
    // The reader lets no other word pass.
    PossibleValuesParser::new(State::ALL.map(State::word)).map(|word| State::from_word(&word).unwrap_or(State::Queued))
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(config, arguments.state_dir.as_ref())?;
    if arguments.json {
        let (snapshot, daemon) = look(&place, arguments)?;
        let text = serde_json::to_string_pretty(&Document::new(&snapshot, &daemon));
        render::out(&format!("{}\n", text.map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?))?;
        return Ok(Exit::Fine);
    }
    loop {
        let (snapshot, daemon) = look(&place, arguments)?;
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

/// What is known of the daemon.
#[derive(Debug, Default)]
struct Daemon {
    /// What the one that runs says of itself.
    owner: Option<LockNote>,
    /// Whether it answers; nothing where nobody can ask.
    answers: Option<bool>,
    /// How the last one ended.
    last_end: Option<LastEnd>,
}

impl Daemon {
    /// Asks the daemon whose state folder is `dir`.
    fn in_folder(dir: &Path) -> Daemon {
        match lock::owner(dir) {
            None => Daemon { last_end: lock::last_end(dir), ..Daemon::default() },
            Some(_) => {
                let answers = protocol::is_alive(dir);
                // It has noted meanwhile that it has answered.
                let owner = lock::owner(dir);
                Daemon { last_end: owner.as_ref().and_then(|note| note.last_end.clone()), owner, answers }
            }
        }
    }
}

fn look(place: &QueueFolder, arguments: &Arguments) -> Result<(Snapshot, Daemon), CommandFailure> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let query = Query {
        states: arguments.state.clone(),
        hosts: arguments.host.clone(),
        paths: arguments.paths.iter().map(absolute).collect(),
        limit: arguments.limit,
        now_ms: clock::now_ms(),
    };
    let daemon = Daemon::in_folder(&place.dir);
    let mut snapshot = match place.open(&arguments.host)? {
        Some(mut view) => view.snapshot(&query).map_err(|error| CommandFailure::store(&place.dir, &error))?,
        None => Snapshot { totals: State::ALL.map(|state| (state, 0)).to_vec(), ..Snapshot::default() },
    };
    if daemon.owner.is_none() {
        snapshot.nothing_moves();
    }
    Ok((snapshot, daemon))
}

/// The document of `--json`. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    daemon: DaemonDocument,
    totals: Totals,
    bytes: BytesDocument,
    watches: Vec<WatchDocument<'a>>,
    hosts: &'a [HostRow],
    jobs: &'a [JobRow],
}

/// Jobs by state, in the order in which people read states.
#[derive(Debug)]
struct Totals(Vec<(State, u64)>);

impl Serialize for Totals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(state, jobs)| (state.word(), jobs)))
    }
}

#[derive(Debug, Serialize)]
struct DaemonDocument {
    running: bool,
    pid: Option<u32>,
    since: Option<Timestamp>,
    /// Whether its main loop answers.
    responding: Option<bool>,
    /// When it did last.
    heartbeat: Option<Timestamp>,
    /// Why the daemon cannot go on: a full disk, for one.
    trouble: Option<String>,
    /// Why it goes on with an older configuration.
    reload_refused: Option<String>,
    last_end: Option<EndDocument>,
}

/// How the daemon before this one ended, or the last one where none runs.
#[derive(Debug, Serialize)]
struct EndDocument {
    at: Option<Timestamp>,
    why: String,
}

#[derive(Debug, Serialize)]
struct BytesDocument {
    left: u64,
    sent: u64,
    per_second: u64,
}

#[derive(Debug, Serialize)]
struct WatchDocument<'a> {
    #[serde(flatten, serialize_with = "path_fields")]
    path: &'a Path,
    state: &'static str,
    events: &'static str,
    last_scan: Option<Timestamp>,
    settling: u64,
    gaps_seen: u64,
    why: Option<String>,
}

impl Document<'_> {
    fn new<'a>(snapshot: &'a Snapshot, daemon: &Daemon) -> Document<'a> {
        let Daemon { owner, answers, last_end } = daemon;
        let owner = owner.as_ref();
        let Snapshot { totals, bytes_left, bytes_sent, per_second, watches, hosts, jobs, .. } = snapshot;
        Document {
            version: 1,
            daemon: DaemonDocument {
                running: owner.is_some(),
                pid: owner.map(|note| note.pid),
                since: owner.and_then(|note| timestamp(note.since_ms)),
                responding: owner.and(*answers),
                heartbeat: owner.and_then(|note| note.beat_ms).and_then(timestamp),
                trouble: owner.and_then(|note| note.trouble.clone()),
                reload_refused: owner.and_then(|note| note.reload_refused.clone()),
                last_end: last_end.as_ref().map(|end| EndDocument { at: end.at_ms.and_then(timestamp), why: end.why.clone() }),
            },
            totals: Totals(totals.clone()),
            bytes: BytesDocument { left: *bytes_left, sent: *bytes_sent, per_second: *per_second },
            watches: watches
                .iter()
                .map(|WatchRow { path, report }| WatchDocument {
                    path,
                    state: report.state.word(),
                    events: report.events.word(),
                    last_scan: report.last_scan_ms.and_then(timestamp),
                    settling: report.settling,
                    gaps_seen: report.gaps_seen,
                    why: report.why.clone(),
                })
                .collect(),
            hosts,
            jobs,
        }
    }
}

/// What a person reads.
struct Page<'a> {
    snapshot: &'a Snapshot,
    daemon: &'a Daemon,
    places: &'a Places,
    now_ms: i64,
    color: bool,
}

impl Page<'_> {
    fn draw(&self) -> String {
        let mut lines = vec![self.daemon()];
        lines.extend(self.reload_refused());
        lines.push(self.totals());
        lines.extend(self.hosts());
        lines.extend(self.watches());
        if !self.snapshot.jobs.is_empty() {
            lines.push(String::new());
            lines.push(self.jobs());
        }
        lines.join("\n") + "\n"
    }

    fn daemon(&self) -> String {
        match &self.daemon.owner {
            None => format!("Daemon not running{}; start it with `ferryd run`.", self.last_end()),
            Some(LockNote { pid, trouble: Some(trouble), .. }) => {
                format!("Daemon cannot continue (PID {pid}): {}.", render::line(trouble))
            }
            Some(LockNote { pid, beat_ms, .. }) if self.daemon.answers == Some(false) => {
                let last = beat_ms.and_then(|beat_ms| render::elapsed(beat_ms, self.now_ms));
                let last = last.map_or(String::new(), |long| format!("; it did {long} ago"));
                format!("Daemon does not answer (PID {pid}): it hangs, is stopped, or its disk is very slow{last}.")
            }
            Some(LockNote { pid, since_ms, .. }) => {
                let long = render::elapsed(*since_ms, self.now_ms).map_or(String::new(), |long| format!(" for {long}"));
                format!("Daemon running{long} (PID {pid}).")
            }
        }
    }

    /// Why none runs, as far as the last one has said so.
    fn last_end(&self) -> String {
        let Some(LastEnd { at_ms, why }) = &self.daemon.last_end else { return String::new() };
        let ago = at_ms.and_then(|at_ms| render::elapsed(at_ms, self.now_ms));
        let ago = ago.map_or(String::new(), |long| format!(" {long} ago"));
        format!(" (it ended{ago}: {})", render::line(why))
    }

    fn reload_refused(&self) -> Option<String> {
        let refused = self.daemon.owner.as_ref()?.reload_refused.as_ref()?;
        Some(format!("The changed configuration is refused, and the old one stays in effect: {}.", render::line(refused)))
    }

    fn totals(&self) -> String {
        let Snapshot { totals, bytes_left, per_second, .. } = self.snapshot;
        let counted = totals.iter().filter(|(_, jobs)| *jobs > 0).map(|(state, jobs)| format!("{jobs} {state}"));
        let counted: Vec<String> = counted.collect();
        if counted.is_empty() {
            return "No jobs.".into();
        }
        let left = if *bytes_left > 0 { format!("; {} left", render::size(*bytes_left)) } else { String::new() };
        let rate = match (*per_second, *bytes_left) {
            (0, _) | (_, 0) => String::new(),
            (rate, left) => format!(" at {}/s, about {}", render::size(rate), render::duration(Duration::from_secs(left / rate))),
        };
        format!("Jobs: {}{left}{rate}.", counted.join(", "))
    }

    fn hosts(&self) -> Vec<String> {
        let troubled = self.snapshot.hosts.iter().filter(|host| host.report.state != HostState::Ready);
        let line = |HostRow { name, report: HostReport { state, until_ms, why, .. }, .. }: &HostRow| {
            let why = why.as_ref().map_or("no reason given".into(), Reason::to_string);
            let why = render::line(&why);
            let next = until_ms.map(|until| render::next(until, self.now_ms));
            let until = |action: &str| next.as_ref().map_or(String::new(), |next| format!("; {action} {next}"));
            match state {
                HostState::Held => format!("Host {name} on hold: {why}{}.", until("next try")),
                HostState::Full => format!("Host {name} out of space: {why}{}.", until("next try")),
                _ => format!("Host {name} paused: {why}{}.", until("retrying")),
            }
        };
        troubled.map(line).collect()
    }

    fn watches(&self) -> Vec<String> {
        let line = |WatchRow { path, report }: &WatchRow| {
            let mut remarks = Vec::new();
            if report.state != WatchState::Watching {
                remarks.push(report.state.word().to_owned());
            }
            remarks.extend(report.why.as_deref().map(render::line));
            if report.settling > 0 {
                let verb = if report.settling == 1 { "is" } else { "are" };
                let files = render::count(report.settling, "file");
                remarks.push(format!("{files} {verb} still being written or only just finished"));
            }
            (!remarks.is_empty()).then(|| format!("Watch {}: {}.", render::path(path), remarks.join("; ")))
        };
        self.snapshot.watches.iter().filter_map(line).collect()
    }

    fn jobs(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = width() {
            table.set_width(width);
        }
        table.set_header(["JOB", "FILE", "HOST", "STATE", "SIZE", "PROGRESS", "DETAILS"]);
        for job in &self.snapshot.jobs {
            let state = comfy_table::Cell::new(job.state);
            let state = if self.color { state.fg(color(job.state)) } else { state };
            table.add_row([
                comfy_table::Cell::new(job.id).set_alignment(CellAlignment::Right),
                comfy_table::Cell::new(self.short(&job.path)),
                comfy_table::Cell::new(&job.host),
                state,
                comfy_table::Cell::new(render::size(job.bytes)).set_alignment(CellAlignment::Right),
                comfy_table::Cell::new(progress(job)),
                comfy_table::Cell::new(self.details(job)),
            ]);
        }
        if self.color {
            table.enforce_styling();
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// A path below a watch is shown from there.
    fn short(&self, path: &Path) -> String {
        let below = self.snapshot.watches.iter().filter_map(|watch| path.strip_prefix(&watch.path).ok());
        render::path(below.min_by_key(|path| path.as_os_str().len()).unwrap_or(path))
    }

    /// What comes next; for what is not moving also why, and since when.
    fn details(&self, job: &JobRow) -> String {
        let why = render::line(&job.why.as_ref().map(Reason::to_string).unwrap_or_default());
        // The state has its own column.
        let why = why.strip_prefix("uploaded; ").unwrap_or(&why);
        let standing = render::after(render::elapsed(job.since_ms, self.now_ms).map(|long| format!("for {long}")), why);
        let ended = render::after(render::elapsed(job.since_ms, self.now_ms).map(|long| format!("{long} ago")), why);
        let retrying = self.next(job).map_or(String::new(), |next| format!("; retrying {next}"));
        let duplicate = if job.maybe_duplicate { " (the host may have it twice)" } else { "" };
        let renamed = job.renamed_to().map_or(String::new(), |name| format!(" (stored as `{}`)", render::line(name)));
        // KooDrive's files have no link that lasts; the host's own name for one is what finds it.
        let place = job.link.as_deref().or(job.remote_id.as_deref()).map_or("no link".into(), render::line);
        let place = format!("{place}{renamed}");
        match job.state {
            State::Uploaded if !why.is_empty() => format!("{place}; {standing}{retrying}{duplicate}"),
            // What was left undone in the end.
            State::Done if !why.is_empty() => format!("{place}; {why}{duplicate}"),
            State::Done | State::Uploaded => format!("{place}{duplicate}"),
            State::Uploading => time_left(job),
            State::Queued if self.daemon.owner.is_none() => render::after(Some("waiting for the daemon to start".into()), why),
            State::Queued if why.is_empty() => {
                let long = render::elapsed(job.since_ms, self.now_ms).map_or(String::new(), |long| format!(" for {long}"));
                let turn = self.turn(job).map_or(String::new(), |turn| format!(": {turn}"));
                format!("in the queue{long}{turn}")
            }
            State::Queued | State::Waiting => format!("{standing}{retrying}"),
            State::Held => format!("{standing}; needs your attention{}", self.next_of_held(job)),
            State::Failed => format!("{ended}; will not be retried unless the file changes"),
            State::Gone => ended,
            State::Paused => format!("{standing}; `ferryd resume {}` continues it", job.id),
            State::Cancelled => ended,
        }
    }

    /// Whom a queued job waits for, where that was looked up.
    fn turn(&self, job: &JobRow) -> Option<String> {
        let Snapshot { uploading, before, .. } = self.snapshot;
        let line = Line {
            to_host: uploading.get(&job.host).copied().unwrap_or(0),
            to_all: uploading.values().sum(),
            before: *before.get(&job.id)?,
            host_places: self.places.hosts.get(&job.host).copied(),
            all_places: self.places.all,
        };
        Some(Told { line: &line, host: &render::line(&job.host) }.to_string())
    }

    /// When a job is tried again. Every start tries what waits for a time.
    fn next(&self, job: &JobRow) -> Option<String> {
        let at = job.next_try_ms?;
        Some(if self.daemon.owner.is_some() { render::next(at, self.now_ms) } else { "when the daemon starts".into() })
    }

    /// When a held job is tried again, and how a person has it tried at once.
    fn next_of_held(&self, job: &JobRow) -> String {
        match (self.next(job), &self.daemon.owner) {
            (Some(next), Some(_)) => format!("; next try {next}, or now with `ferryd retry {}`", job.id),
            (Some(next), None) => format!("; next try {next}"),
            (None, _) => String::new(),
        }
    }
}

fn progress(job: &JobRow) -> String {
    if job.state != State::Uploading && (job.sent == 0 || job.sent == job.bytes) {
        return String::new();
    }
    let share = |of: u64| (job.sent.saturating_mul(of)).checked_div(job.bytes).unwrap_or(of).min(of);
    let full = usize::try_from(share(BAR_CELLS)).unwrap_or(0);
    let bar: String = (0..BAR_CELLS as usize).map(|cell| if cell < full { '#' } else { '.' }).collect();
    format!("{bar} {:>3} %", share(100))
}

fn time_left(job: &JobRow) -> String {
    match job.per_second {
        0 => "starting".into(),
        rate => {
            let left = Duration::from_secs(job.bytes.saturating_sub(job.sent) / rate);
            format!("{}/s, about {} left", render::size(rate), render::duration(left))
        }
    }
}

fn color(state: State) -> Color {
    match state {
        State::Done | State::Uploaded => Color::Green,
        State::Uploading => Color::Cyan,
        State::Held | State::Failed => Color::Red,
        State::Waiting => Color::Yellow,
        _ => Color::Reset,
    }
}

/// The terminal's width; nothing when there is none, and then lines are as long as they need to be.
fn width() -> Option<u16> {
    io::stdout()
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())
        .flatten()
        .map(|size| size.ws_col)
        .filter(|width| *width > 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::watch::EventSource;
    use crate::job::{JobId, WatchReport};

    fn job(state: State, why: Option<&str>) -> JobRow {
        JobRow {
            id: JobId(8),
            path: PathBuf::from("/home/u/Drop/a\n.mov"),
            host: "box".into(),
            state,
            bytes: 100,
            sent: 70,
            per_second: 10,
            parts: 10,
            parts_acked: 7,
            attempts: 1,
            priority: 0,
            since_ms: 0,
            next_try_ms: (state == State::Waiting).then_some(72_000),
            why: why.map(Reason::read),
            link: (state == State::Done).then(|| "http://x?c=1".to_owned()),
            remote_id: None,
            expires_ms: None,
            maybe_duplicate: false,
            queued_at_ms: 0,
            done_at_ms: None,
            stored_name: None,
            stored_bytes: None,
        }
    }

    fn snapshot(jobs: Vec<JobRow>) -> Snapshot {
        Snapshot {
            totals: State::ALL.map(|state| (state, jobs.iter().filter(|job| job.state == state).count() as u64)).to_vec(),
            bytes_left: 30,
            bytes_sent: 70,
            per_second: 10,
            watches: vec![WatchRow {
                path: PathBuf::from("/home/u/Drop"),
                report: WatchReport {
                    state: WatchState::Watching,
                    events: EventSource::Native,
                    last_scan_ms: Some(1000),
                    ..WatchReport::default()
                },
            }],
            hosts: vec![HostRow {
                name: "box".into(),
                kind: "cloudkp".into(),
                report: HostReport { state: HostState::Ready, until_ms: None, why: None, rests: 0 },
            }],
            before: jobs.iter().filter(|job| job.state == State::Queued).map(|job| (job.id, 3)).collect(),
            jobs,
            uploading: [("box".to_owned(), 4), ("mirror".to_owned(), 1)].into(),
        }
    }

    /// Four uploads to the one host, and sixteen in all.
    fn places() -> Places {
        Places { all: Some(16), hosts: [("box".to_owned(), 4)].into() }
    }

    /// The names in a JSON value, each with those below it.
    fn names(value: &serde_json::Value) -> Vec<String> {
        match value {
            serde_json::Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, value)| {
                    std::iter::once(name.clone()).chain(names(value).into_iter().map(move |below| format!("{name}.{below}")))
                })
                .collect(),
            serde_json::Value::Array(items) => items.first().map(names).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_document_has_the_fields_that_were_promised() {
        let promised = example();
        let end = LastEnd { at_ms: Some(0), why: "it was told to stop".into() };
        let daemon = Daemon { last_end: Some(end), ..daemon(note(4242, 1_767_323_045_000)) };
        let shot = snapshot(vec![job(State::Uploading, None)]);
        let document = serde_json::to_value(Document::new(&shot, &daemon)).unwrap();
        assert_eq!(document["daemon"]["since"], "2026-01-02T03:04:05Z");
        assert_eq!(names(&document), names(&promised));
    }

    /// The page that tells scripts what they may rely on.
    const PROMISES: &str = include_str!("../../docs/STATUS.md");

    fn example() -> serde_json::Value {
        let (_, json) = PROMISES.split_once("```json").unwrap();
        serde_json::from_str(json.split("```").next().unwrap()).unwrap()
    }

    /// The first column of the table under `heading` that begins with `column`.
    fn listed(heading: &str, column: &str) -> Vec<String> {
        let section = PROMISES.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
        let (_, table) = section.split_once(&format!("| {column} |")).unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let first = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(','));
        first.map(|name| name.trim().trim_matches('`').to_owned()).collect()
    }

    #[test]
    fn every_word_of_a_state_is_promised_and_none_but_these() {
        assert_eq!(listed("`jobs`", "`state`"), State::ALL.map(State::word));
        assert_eq!(listed("`watches`", "`state`"), WatchState::ALL.map(WatchState::word));
        assert_eq!(listed("`hosts`", "`state`"), HostState::ALL.map(HostState::word));
    }

    #[test]
    fn every_field_of_the_document_is_explained() {
        let example = example();
        for (heading, object) in [
            ("`daemon`", &example["daemon"]),
            ("`watches`", &example["watches"][0]),
            ("`hosts`", &example["hosts"][0]),
            ("`jobs`", &example["jobs"][0]),
        ] {
            let mut explained = listed(heading, "field");
            explained.extend((heading != "`daemon`").then(|| "state".to_owned()));
            explained.sort_unstable();
            assert_eq!(explained, object.as_object().unwrap().keys().cloned().collect::<Vec<_>>(), "{heading}");
        }
    }

    #[test]
    fn a_page_says_why_since_when_and_what_next() {
        let jobs = vec![
            job(State::Uploading, None),
            job(State::Waiting, Some("the host answered 502")),
            job(State::Held, Some("the host answered 404")),
            JobRow { stored_name: Some("b\n.mov".into()), ..job(State::Done, None) },
            job(State::Queued, None),
        ];
        let shot = snapshot(jobs);
        let page = Page { snapshot: &shot, daemon: &daemon(note(7, 0)), places: &places(), now_ms: 60_000, color: false }.draw();
        for expected in [
            "Daemon running for 1 min (PID 7).",
            "Jobs: 1 queued, 1 uploading, 1 waiting, 1 held, 1 done; 30 B left at 10 B/s, about 3 s.",
            "a\\n.mov",
            "#######...  70 %",
            "10 B/s, about 3 s left",
            "for 1 min: the host answered 502; retrying in 12 s",
            "for 1 min: the host answered 404; needs your attention",
            "http://x?c=1 (stored as `b\\n.mov`)",
            "in the queue for 1 min: waiting for one of the 4 uploads to `box` that may be under way; 3 jobs for `box` are before it",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in\n{page}");
        }
    }

    #[test]
    fn after_the_clock_was_set_back_nothing_has_lasted_since_a_time_to_come() {
        let jobs = [State::Queued, State::Waiting, State::Held, State::Failed, State::Gone];
        let jobs = jobs.map(|state| JobRow { since_ms: 9_000_000, ..job(state, Some("no reply")) });
        let unexplained = JobRow { since_ms: 9_000_000, ..job(State::Queued, None) };
        let shot = snapshot(jobs.into_iter().chain([unexplained]).collect());
        let page =
            Page { snapshot: &shot, daemon: &daemon(note(7, 9_000_000)), places: &places(), now_ms: 60_000, color: false }.draw();
        assert!(page.contains("Daemon running (PID 7)."), "{page}");
        assert!(
            !page.contains("2 h") && !page.contains(" ago") && page.contains("in the queue: waiting for one of the 4 uploads"),
            "{page}"
        );
    }

    #[test]
    fn a_count_of_one_is_singular() {
        let mut shot = snapshot(vec![]);
        let mut page = |settling| {
            shot.watches[0].report.settling = settling;
            Page { snapshot: &shot, daemon: &Daemon::default(), places: &places(), now_ms: 0, color: false }.draw()
        };
        assert!(page(1).contains("Drop: 1 file is still being written or only just finished."));
        assert!(page(2).contains("Drop: 2 files are still being written or only just finished."));
    }

    #[test]
    fn a_dead_daemon_a_troubled_one_and_one_that_hangs_say_so() {
        let shot = snapshot(vec![job(State::Queued, None)]);
        let page = |daemon: &Daemon| Page { snapshot: &shot, daemon, places: &places(), now_ms: 60_000, color: false }.draw();
        let dead = page(&Daemon::default());
        assert!(dead.starts_with("Daemon not running; start it with `ferryd run`."), "{dead}");
        assert!(dead.contains("waiting for the daemon to start"));
        let end = |at_ms, why: &str| Daemon { last_end: Some(LastEnd { at_ms, why: why.into() }), ..Daemon::default() };
        assert!(
            page(&end(Some(0), "the queue is damaged")).contains("not running (it ended 1 min ago: the queue is damaged); start")
        );
        assert!(page(&end(None, "it was killed")).contains("not running (it ended: it was killed); start"));
        let full = LockNote { trouble: Some("no space left for the queue".into()), ..note(7, 0) };
        assert!(page(&daemon(full)).contains("Daemon cannot continue (PID 7): no space left"));
        let hung = Daemon { answers: Some(false), ..daemon(LockNote { beat_ms: Some(30_000), ..note(7, 0) }) };
        assert!(page(&hung).contains("Daemon does not answer (PID 7)") && page(&hung).contains("; it did 30 s ago."));
        let refused = LockNote { reload_refused: Some("line 1: no".into()), ..note(7, 0) };
        assert!(page(&daemon(refused)).contains("the old one stays in effect: line 1: no."));
    }

    fn note(pid: u32, since_ms: i64) -> LockNote {
        LockNote { pid, since_ms, ..LockNote::default() }
    }

    fn daemon(owner: LockNote) -> Daemon {
        Daemon { owner: Some(owner), answers: Some(true), last_end: None }
    }
}
