//! What is said of the daemon, of the queue as a whole, and of each job: why, since when, what comes next.

use std::path::Path;
use std::time::Duration;

use crate::job::health::HostState;
use crate::job::turn::{self, Told};
use crate::job::{HostReport, HostRow, JobRow, Reason, ReasonClass, State, WatchState};
use crate::os::lock::{LastEnd, LockNote};
use crate::store::{Snapshot, ToTell, WatchRow};

use super::super::render;
use super::look::{Limit, Report};
use super::text::{Line, Tone};

/// Cells of a progress bar.
const BAR_CELLS: u64 = 10;
/// What is further away than this is said by its time, not by how long it takes.
const SOON_MS: i64 = 3_600_000;

/// Puts a report into words.
#[derive(Clone, Copy)]
pub(super) struct Words<'a>(pub &'a Report);

impl Words<'_> {
    /// What comes before the jobs, the most important first.
    pub(super) fn head(self) -> Vec<Line> {
        let mut lines = vec![self.daemon()];
        lines.extend(self.reload_refused());
        lines.push(Line::of(Tone::Plain, self.totals()));
        lines.extend(self.bandwidth());
        lines.extend(self.requests());
        lines.extend(self.hosts());
        lines.extend(self.watches());
        lines.extend(self.hooks());
        lines
    }

    /// What is still to be told to hooks that no job waits for.
    fn hooks(self) -> Vec<Line> {
        let line = |ToTell { hook, events, next_try_ms, why }: &ToTell| {
            let next = next_try_ms.filter(|_| self.0.daemon.owner.is_some()).map(|next| self.at(next));
            let next = next.unwrap_or("when the daemon starts".into());
            let (hook, events) = (render::line(hook), render::count(*events, "event"));
            match why {
                Some(why) => {
                    let why = render::line(why.detail.as_deref().unwrap_or(&why.fragment()));
                    Line::of(Tone::Trouble, format!("Hook `{hook}` has not heard of {events} yet: {why}; retrying {next}."))
                }
                None => Line::of(Tone::Plain, format!("Hook `{hook}` will hear of {events} {next}.")),
            }
        };
        self.0.snapshot.to_tell.iter().map(line).collect()
    }

    fn daemon(self) -> Line {
        let Words(Report { daemon, now_ms, .. }) = self;
        match &daemon.owner {
            None => Line::of(Tone::Trouble, format!("Daemon not running{}; start it with `ferryd run`.", self.last_end())),
            Some(LockNote { pid, trouble: Some(trouble), .. }) => {
                Line::of(Tone::Trouble, format!("Daemon cannot continue (PID {pid}): {}.", render::line(trouble)))
            }
            Some(LockNote { pid, beat_ms, .. }) if daemon.answers == Some(false) => {
                let last = beat_ms.and_then(|beat_ms| render::elapsed(beat_ms, *now_ms));
                let last = last.map_or(String::new(), |long| format!("; it did {long} ago"));
                let text = format!("Daemon does not answer (PID {pid}): it hangs, is stopped, or its disk is very slow{last}.");
                Line::of(Tone::Trouble, text)
            }
            Some(LockNote { pid, since_ms, .. }) => {
                let long = render::elapsed(*since_ms, *now_ms).map_or(String::new(), |long| format!(" for {long}"));
                Line::of(Tone::Plain, format!("Daemon running{long} (PID {pid})."))
            }
        }
    }

    /// Why none runs, as far as the last one has said so.
    fn last_end(self) -> String {
        let Some(LastEnd { at_ms, why }) = &self.0.daemon.last_end else { return String::new() };
        let ago = at_ms.and_then(|at_ms| render::elapsed(at_ms, self.0.now_ms));
        let ago = ago.map_or(String::new(), |long| format!(" {long} ago"));
        format!(" (it ended{ago}: {})", render::line(why))
    }

    fn reload_refused(self) -> Option<Line> {
        let refused = self.0.daemon.owner.as_ref()?.reload_refused.as_ref()?;
        let text = format!("The changed configuration is refused, and the old one stays in effect: {}.", render::line(refused));
        Some(Line::of(Tone::Trouble, text))
    }

    /// How many jobs there are, and how much is left.
    pub(super) fn totals(self) -> String {
        let Snapshot { totals, bytes_left, per_second, .. } = &self.0.snapshot;
        let counted = totals.iter().filter(|(_, jobs)| *jobs > 0);
        let counted: Vec<String> = counted.map(|(state, jobs)| format!("{} {state}", render::thousands(*jobs))).collect();
        if counted.is_empty() {
            return "No jobs.".into();
        }
        let left = if *bytes_left > 0 { format!("; {} left", render::size(*bytes_left)) } else { String::new() };
        let rate = if *per_second > 0 && *bytes_left > 0 { format!(" at {}/s", render::size(*per_second)) } else { String::new() };
        let about = |seconds| format!(", about {}", render::about(Duration::from_secs(seconds)));
        let pace = rate + &self.0.seconds_left().map_or(String::new(), about);
        format!("Jobs: {}{left}{pace}.", counted.join(", "))
    }

    /// How fast bytes may go by the time of day. A limit that never changes is known to whoever has set it.
    fn bandwidth(self) -> Option<Line> {
        let limits: Vec<String> = self.0.limits().into_iter().map(|limit| self.limit(&limit)).collect();
        (!limits.is_empty()).then(|| Line::of(Tone::Plain, format!("Bandwidth by the time of day: {}.", limits.join("; "))))
    }

    fn limit(self, Limit { host, per_second, until_ms }: &Limit) -> String {
        let host = host.map_or(String::new(), |host| format!("{} ", render::line(host)));
        let until = |at_ms| format!(" until {}", render::clock(at_ms, self.0.now_ms, &self.0.zone));
        format!("{host}{}{}", render::rate(*per_second), until_ms.map_or(String::new(), until))
    }

    /// How many requests the hosts have at once that are uploaded to now, where that was found by measuring.
    fn requests(self) -> Option<Line> {
        let Snapshot { uploading, .. } = &self.0.snapshot;
        let known = self.0.daemon.paces.requests.iter().filter(|(host, _)| uploading.contains_key(*host));
        let words = known.filter_map(|(host, requests)| {
            let why = render::requests_why(*requests)?;
            Some(format!("{} {} ({why})", render::line(host), requests.now))
        });
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| Line::of(Tone::Plain, format!("Requests at once: {}.", words.join(", "))))
    }

    fn hosts(self) -> Vec<Line> {
        let troubled = self.0.snapshot.hosts.iter().filter(|host| host.report.state != HostState::Ready);
        let line = |HostRow { name, report: HostReport { state, until_ms, why, .. }, .. }: &HostRow| {
            let why = why.as_ref().map_or("no reason given".into(), Reason::to_string);
            let why = render::line(&why);
            let next = until_ms.map(|until| self.at(until));
            let until = |action: &str| next.as_ref().map_or(String::new(), |next| format!("; {action} {next}"));
            match state {
                HostState::Held => Line::of(Tone::Trouble, format!("Host {name} on hold: {why}{}.", until("next try"))),
                HostState::Full => Line::of(Tone::Trouble, format!("Host {name} out of space: {why}{}.", until("next try"))),
                _ => Line::of(Tone::Waiting, format!("Host {name} paused: {why}{}.", until("retrying"))),
            }
        };
        troubled.map(line).collect()
    }

    fn watches(self) -> Vec<Line> {
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
            let tone = if report.state == WatchState::Missing { Tone::Trouble } else { Tone::Plain };
            (!remarks.is_empty()).then(|| Line::of(tone, format!("Watch {}: {}.", render::path(path), remarks.join("; "))))
        };
        self.0.snapshot.watches.iter().filter_map(line).collect()
    }

    /// A path below a watch is shown from there.
    pub(super) fn short(self, path: &Path) -> String {
        let below = self.0.snapshot.watches.iter().filter_map(|watch| path.strip_prefix(&watch.path).ok());
        render::path(below.min_by_key(|path| path.as_os_str().len()).unwrap_or(path))
    }

    /// Where a file is: its link, or what else finds it. `KooDrive`'s files have no link that lasts; the host's own name for one is what
    /// finds it.
    pub(super) fn place(job: &JobRow) -> Option<String> {
        job.link.as_deref().or(job.remote_id.as_deref()).map(render::line)
    }

    /// What comes next; for what is not moving also why, and since when.
    pub(super) fn details(self, job: &JobRow) -> String {
        let why = why(job);
        let standing = render::after(self.long(job).map(|long| format!("for {long}")), &why);
        let ended = render::after(self.long(job).map(|long| format!("{long} ago")), &why);
        let retrying = self.next(job).map_or(String::new(), |next| format!("; retrying {next}"));
        let duplicate = if job.maybe_duplicate { " (the host may have it twice)" } else { "" };
        let place = format!("{}{}", Words::place(job).unwrap_or("no link".into()), renamed(job));
        match job.state {
            State::Uploaded if !why.is_empty() => format!("{place}; {standing}{retrying}{duplicate}"),
            // What was left undone in the end.
            State::Done if !why.is_empty() => format!("{place}; {why}{duplicate}"),
            State::Done | State::Uploaded => format!("{place}{duplicate}"),
            State::Uploading => self.speed(job),
            State::Queued if self.0.daemon.owner.is_none() => render::after(Some("waiting for the daemon to start".into()), &why),
            State::Queued if why.is_empty() => format!("in the queue{}", self.in_line(job)),
            State::Queued | State::Waiting => format!("{standing}{retrying}"),
            State::Held => format!("{standing}; needs your attention{}", self.next_of_held(job, &job.id.to_string())),
            State::Failed => format!("{ended}; will not be retried unless the file changes"),
            State::Gone => ended,
            State::Paused => format!("{standing}; `ferryd resume {}` continues it", job.id),
            State::Cancelled => ended,
        }
    }

    /// A job among others of its kind: its state, and what is said of it.
    pub(super) fn told(self, job: &JobRow) -> Line {
        self.told_as(job, &job.id.to_string())
    }

    /// The same of several in one state at one host: since the first, and until the first.
    pub(super) fn told_of_several<'j>(self, job: &JobRow, alike: impl Iterator<Item = &'j JobRow> + Clone) -> Line {
        let since_ms = alike.clone().map(|job| job.since_ms).min().unwrap_or(job.since_ms);
        let next_try_ms = alike.filter_map(|job| job.next_try_ms).min();
        let first = JobRow { since_ms, next_try_ms, sent: 0, ..job.clone() };
        self.told_as(&first, &format!("--state {} --host {}", job.state, render::line(&job.host)))
    }

    fn told_as(self, job: &JobRow, which: &str) -> Line {
        let line = Line::default();
        let long = self.long(job).map_or(String::new(), |long| format!(" for {long}"));
        let sent = if job.sent > 0 && job.sent < job.bytes { format!(" at {} %", percent(job)) } else { String::new() };
        // The head says why its host does that.
        let because = match self.kept_by_host(job) {
            Some(what) => format!(": the host is {what}"),
            None if job.why.is_some() => format!(": {}", why(job)),
            None => String::new(),
        };
        let retrying = self.next(job).map_or(String::new(), |next| format!("; retrying {next}"));
        match job.state {
            State::Uploading => line.with(Tone::Moving, bar(job)).with(Tone::Plain, format!("  {}", self.speed(job))),
            State::Held => line
                .with(Tone::Trouble, format!("held{sent}"))
                .with(Tone::Plain, format!("{long}{because}{}", self.next_of_held(job, which))),
            State::Failed => {
                let ago = self.long(job).map_or(String::new(), |long| format!(" {long} ago"));
                let text = format!("{ago}{because}; will not be retried unless the file changes");
                line.with(Tone::Trouble, "failed").with(Tone::Plain, text)
            }
            State::Queued if self.0.daemon.owner.is_none() => {
                line.with(Tone::Plain, format!("waiting{sent} for the daemon to start{because}"))
            }
            State::Queued if job.why.is_none() => line.with(Tone::Plain, format!("in the queue{sent}{}", self.in_line(job))),
            State::Queued | State::Waiting => {
                line.with(Tone::Waiting, format!("waiting{sent}")).with(Tone::Plain, format!("{long}{because}{retrying}"))
            }
            State::Paused => {
                let text = format!("{long}{because}; `ferryd resume {which}` continues it");
                line.with(Tone::Waiting, format!("paused{sent}")).with(Tone::Plain, text)
            }
            State::Uploaded => {
                let text = format!("uploaded {}{because}{retrying}  ", self.when(job));
                with_place(line.with(Tone::Good, text), job)
            }
            State::Done => {
                let left_undone = if job.why.is_some() { format!("  {}", why(job)) } else { String::new() };
                with_place(line.with(Tone::Good, format!("{}  ", self.when(job))), job).with(Tone::Plain, left_undone)
            }
            State::Gone | State::Cancelled => {
                line.with(Tone::Faint, format!("{} {}", job.state, self.when(job))).with(Tone::Plain, because)
            }
        }
    }

    /// What its host does that keeps the job, where the head tells why.
    fn kept_by_host(self, job: &JobRow) -> Option<&'static str> {
        let report = &self.0.snapshot.hosts.iter().find(|host| host.name == job.host)?.report;
        let why = job.why.as_ref().filter(|_| matches!(job.state, State::Queued | State::Waiting | State::Held))?;
        let is_of_host = matches!(why.class, ReasonClass::HostResting | ReasonClass::HostHeld)
            || report.why.as_ref().map(Reason::to_string) == Some(why.to_string());
        match report.state {
            HostState::Ready => None,
            HostState::Held => Some("on hold"),
            HostState::Full => Some("out of space"),
            HostState::Resting => Some("paused"),
        }
        .filter(|_| is_of_host)
    }

    /// When the file arrived, or the job came into its state.
    pub(super) fn when(self, job: &JobRow) -> String {
        render::clock(job.done_at_ms.unwrap_or(job.since_ms), self.0.now_ms, &self.0.zone)
    }

    fn long(self, job: &JobRow) -> Option<String> {
        render::elapsed(job.since_ms, self.0.now_ms)
    }

    /// How fast it goes, and how long it takes.
    fn speed(self, job: &JobRow) -> String {
        let pace = self.0.daemon.paces.of(job.id);
        match (self.0.seconds_left_of(job), pace.unwrap_or(job.per_second)) {
            (_, 0) => "starting".into(),
            (None, rate) => format!("{}/s", render::size(rate)),
            (Some(seconds), rate) => {
                format!("{}/s, about {} left", render::size(rate), render::about(Duration::from_secs(seconds)))
            }
        }
    }

    /// How long a job is in the queue, and whom it waits for, where that was looked up.
    fn in_line(self, job: &JobRow) -> String {
        let long = self.long(job).map_or(String::new(), |long| format!(" for {long}"));
        let turn = self.turn(job).map_or(String::new(), |turn| format!(": {turn}"));
        format!("{long}{turn}")
    }

    fn turn(self, job: &JobRow) -> Option<String> {
        let Snapshot { uploading, before, .. } = &self.0.snapshot;
        let line = turn::Line {
            to_host: uploading.get(&job.host).copied().unwrap_or(0),
            to_all: uploading.values().sum(),
            before: *before.get(&job.id)?,
            host_places: self.0.allowed.uploads_to.get(&job.host).copied(),
            all_places: self.0.allowed.uploads,
        };
        Some(Told { line: &line, host: &render::line(&job.host) }.to_string())
    }

    /// When something is to happen: how soon, or at what time.
    fn at(self, at_ms: i64) -> String {
        if at_ms.saturating_sub(self.0.now_ms) < SOON_MS {
            return render::next(at_ms, self.0.now_ms);
        }
        format!("at {}", render::clock(at_ms, self.0.now_ms, &self.0.zone))
    }

    /// When a job is tried again. Every start tries what waits for a time.
    fn next(self, job: &JobRow) -> Option<String> {
        let at = job.next_try_ms?;
        Some(if self.0.daemon.owner.is_some() { self.at(at) } else { "when the daemon starts".into() })
    }

    /// When a held job is tried again, and how a person has it tried at once.
    fn next_of_held(self, job: &JobRow, which: &str) -> String {
        match (self.next(job), &self.0.daemon.owner) {
            (Some(next), Some(_)) => format!("; next try {next}, or now with `ferryd retry {which}`"),
            (Some(next), None) => format!("; next try {next}"),
            (None, _) => String::new(),
        }
    }
}

/// Why a job is not moving. Its state is said elsewhere.
fn why(job: &JobRow) -> String {
    let why = render::line(&job.why.as_ref().map(Reason::to_string).unwrap_or_default());
    why.strip_prefix("uploaded; ").map(str::to_owned).unwrap_or(why)
}

fn renamed(job: &JobRow) -> String {
    job.renamed_to().map_or(String::new(), |name| format!(" (stored as `{}`)", render::line(name)))
}

/// The place of a file, and what is to be said of what is there.
fn with_place(line: Line, job: &JobRow) -> Line {
    let place = Words::place(job).unwrap_or("no link".into());
    let duplicate = if job.maybe_duplicate { " (the host may have it twice)" } else { "" };
    line.with(Tone::Plain, place).with(Tone::Plain, format!("{}{duplicate}", renamed(job)))
}

fn share(job: &JobRow, of: u64) -> u64 {
    (job.sent.saturating_mul(of)).checked_div(job.bytes).unwrap_or(of).min(of)
}

fn percent(job: &JobRow) -> u64 {
    share(job, 100)
}

/// How much of it is sent, drawn.
pub(super) fn bar(job: &JobRow) -> String {
    let full = usize::try_from(share(job, BAR_CELLS)).unwrap_or(0);
    let bar: String = (0..BAR_CELLS as usize).map(|cell| if cell < full { '#' } else { '.' }).collect();
    format!("{bar} {:>3} %", percent(job))
}
