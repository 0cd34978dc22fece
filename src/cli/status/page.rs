//! What a person reads.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, Color, ContentArrangement, Table};

use crate::job::health::HostState;
use crate::job::turn::{Line, Told};
use crate::job::{HostReport, HostRow, JobRow, Reason, State, WatchState};
use crate::os::lock::{LastEnd, LockNote};
use crate::store::{Snapshot, WatchRow};

use super::super::queue::Places;
use super::super::render;
use super::look::Daemon;

/// Cells of a progress bar.
const BAR_CELLS: u64 = 10;

/// What a person reads.
pub(super) struct Page<'a> {
    pub snapshot: &'a Snapshot,
    pub daemon: &'a Daemon,
    pub places: &'a Places,
    pub now_ms: i64,
    pub color: bool,
}

impl Page<'_> {
    pub(super) fn draw(&self) -> String {
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
    pub(super) fn details(&self, job: &JobRow) -> String {
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
    use super::super::examples::{daemon, job, note, places, snapshot};
    use super::*;

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
}
