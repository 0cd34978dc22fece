//! How a command gets on that takes its time: on a terminal a line for each host, or for each step, drawn again and again; elsewhere a line
//! for each file that has arrived, or every few seconds.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::job::{JobId, JobRow, State};

use super::render;

/// Cells of a bar.
const BAR_CELLS: u64 = 20;
/// How long nothing may be said in a pipe while something moves.
const SILENCE: Duration = Duration::from_secs(5);

/// How often a line is drawn again at most.
const REDRAW: Duration = Duration::from_millis(100);

/// What was shown so far.
pub(super) struct Progress {
    is_terminal: bool,
    /// Rows that are drawn again.
    drawn: usize,
    told: BTreeSet<JobId>,
    spoke: Instant,
}

impl Progress {
    /// On stderr.
    pub(super) fn new() -> Progress {
        Progress { is_terminal: io::stderr().is_terminal(), drawn: 0, told: BTreeSet::new(), spoke: Instant::now() }
    }

    /// Shows how the uploads get on.
    pub(super) fn uploads(&mut self, kinds: &[&str], jobs: &[JobRow]) {
        if self.is_terminal {
            self.draw(&bars(kinds, jobs));
            return;
        }
        for job in jobs.iter().filter(|job| has_arrived(job)) {
            if self.told.insert(job.id) {
                self.say(&arrived(job));
            }
        }
        if self.spoke.elapsed() > SILENCE && jobs.iter().any(|job| job.state == State::Uploading) {
            self.say(&format!("{} % uploaded", percent(jobs.iter())));
        }
    }

    /// Shows how much of something is done, in one line.
    pub(super) fn step(&mut self, what: &str, done: u64, all: u64) {
        if self.is_terminal {
            if self.spoke.elapsed() > REDRAW || done == all {
                self.draw(&[format!("{what}  {}", bar(done, all))]);
                self.spoke = Instant::now();
            }
        } else if self.spoke.elapsed() > SILENCE {
            self.say(&format!("{what}: {} %", share(done, all, 100)));
        }
    }

    /// Shows what is done now, of which nobody knows how much is left.
    pub(super) fn now(&mut self, what: &str) {
        if self.is_terminal {
            self.draw(&[what.to_owned()]);
        } else if self.spoke.elapsed() > SILENCE {
            self.say(what);
        }
    }

    /// What is drawn stays, and the next is drawn below it.
    pub(super) fn keep(&mut self) {
        self.drawn = 0;
    }

    /// What is drawn goes.
    pub(super) fn clear(&mut self) {
        self.draw(&[]);
    }

    fn say(&mut self, line: &str) {
        render::note(line);
        self.spoke = Instant::now();
    }

    fn draw(&mut self, lines: &[String]) {
        if !self.is_terminal || (lines.is_empty() && self.drawn == 0) {
            return;
        }
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        let rows: String = lines.iter().map(|line| format!("{line}\n")).collect();
        // Goes up to the first of the rows, and clears from there.
        render::note_on_line(&format!("{up}\r\x1b[J{rows}"));
        self.drawn = lines.len();
    }
}

/// A line for each host: how much of all files it has, and how many of them whole.
fn bars(kinds: &[&str], jobs: &[JobRow]) -> Vec<String> {
    let cells = kinds.iter().map(|kind| kind.len()).max().unwrap_or(0);
    let line = |kind: &&str| {
        let of_host = || jobs.iter().filter(|job| job.host == **kind);
        let (whole, all) = (of_host().filter(|job| has_arrived(job)).count(), of_host().count());
        let sum = |bytes: fn(&JobRow) -> u64| of_host().map(bytes).sum::<u64>();
        let bar = if all > 0 && whole == all { bar(1, 1) } else { bar(sum(|job| job.sent), sum(|job| job.bytes).max(1)) };
        format!("  {}  {bar}  {whole} of {}", render::padded(kind, cells), render::count(all as u64, "file"))
    };
    kinds.iter().map(line).collect()
}

fn arrived(job: &JobRow) -> String {
    let name = render::path(job.path.file_name().unwrap_or_default().as_ref());
    format!("{name} is on {} ({})", render::line(&job.host), render::size(job.bytes))
}

fn has_arrived(job: &JobRow) -> bool {
    matches!(job.state, State::Done | State::Uploaded)
}

fn percent<'j>(jobs: impl Iterator<Item = &'j JobRow>) -> u64 {
    let (sent, all) = jobs.fold((0, 0), |(sent, all), job| (sent + job.sent, all + job.bytes));
    share(sent, all, 100)
}

fn share(done: u64, all: u64, of: u64) -> u64 {
    done.saturating_mul(of).checked_div(all).unwrap_or(of).min(of)
}

fn bar(done: u64, all: u64) -> String {
    let full = share(done, all, BAR_CELLS) as usize;
    format!("{}{} {:>3} %", "#".repeat(full), ".".repeat(BAR_CELLS as usize - full), share(done, all, 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(host: &str, state: State, sent: u64) -> JobRow {
        JobRow {
            id: JobId(1),
            path: "/drop/a.mov".into(),
            host: host.into(),
            state,
            bytes: 100,
            sent,
            per_second: 0,
            parts: 0,
            parts_acked: 0,
            attempts: 1,
            priority: 0,
            since_ms: 0,
            next_try_ms: None,
            why: None,
            link: None,
            remote_id: None,
            expires_ms: None,
            maybe_duplicate: false,
            queued_at_ms: 0,
            done_at_ms: None,
            stored_name: None,
            stored_bytes: None,
        }
    }

    #[test]
    fn each_host_has_a_line_with_what_it_has_of_all_files() {
        let jobs = [job("one", State::Done, 100), job("one", State::Uploading, 50), job("another", State::Queued, 0)];
        let expected =
            ["  one      ###############.....  75 %  1 of 2 files", "  another  ....................   0 %  0 of 1 file"];
        assert_eq!(bars(&["one", "another"], &jobs), expected);
        assert_eq!(bars(&["one"], &[]), ["  one  ....................   0 %  0 of 0 files"]);
        let empty = JobRow { bytes: 0, ..job("one", State::Done, 0) };
        assert_eq!(bars(&["one"], &[empty]), ["  one  #################### 100 %  1 of 1 file"]);
        assert_eq!(arrived(&jobs[0]), "a.mov is on one (100 B)");
    }
}
