//! How one root is doing: when it is scanned next, how its changes are noticed, and what there is to tell of it. Pure but for the log: the
//! time is handed in.

use std::time::{Duration, Instant};

use crate::job::watch::EventSource;
use crate::job::{Watch, WatchReport, WatchState};
use crate::os::filesystem::Served;

use super::Root;

/// How often a folder without events is scanned at most.
const POLL_PAUSE: Duration = Duration::from_secs(5);
/// How often a missing root is looked for.
const MISSING_PAUSE: Duration = Duration::from_secs(5);
/// How often a mere change of the number of settling files is told.
const REPORT_PAUSE: Duration = Duration::from_millis(500);

/// A root, and how it is doing.
pub(super) struct RootWatch {
    pub root: Root,
    pub report: WatchReport,
    told: Option<(WatchReport, Instant)>,
    /// Since when there is something to tell that nobody was told.
    begun: Instant,
    pub next_scan: Instant,
    unreadable: Option<String>,
    fallback: Option<String>,
    /// Whether it was scanned to the end.
    pub scanned: bool,
}

impl RootWatch {
    /// A root that nobody was told of yet.
    pub fn new(root: Root, has_events: bool, now: Instant) -> RootWatch {
        let events = notice(&root, has_events);
        let report = WatchReport { state: WatchState::Scanning, events, ..WatchReport::default() };
        RootWatch { root, report, told: None, begun: now, next_scan: now, unreadable: None, fallback: None, scanned: false }
    }

    /// It was scanned to the end at this time of day, in milliseconds since the Unix epoch.
    pub fn scanned_at(&mut self, at_ms: i64, now: Instant) {
        self.scanned = true;
        self.report.state = WatchState::Watching;
        self.report.last_scan_ms = Some(at_ms);
        self.next_scan = now + self.scan_pause();
    }

    /// What there is to tell now, which counts as told.
    pub fn tell(&mut self, now: Instant) -> Option<&WatchReport> {
        self.untold_until().filter(|until| *until <= now)?;
        self.told = Some((self.report.clone(), now));
        Some(&self.report)
    }

    fn scan_pause(&self) -> Duration {
        let Watch { rescan, settle, .. } = *self.root.watch();
        if self.report.events == EventSource::Native { rescan } else { POLL_PAUSE.max(settle) }
    }

    /// It is not there.
    pub fn miss(&mut self, why: String, now: Instant) {
        if self.report.state != WatchState::Missing {
            tracing::warn!("the watch {:?} is missing: {why}", self.root.path());
        }
        self.report.state = WatchState::Missing;
        self.report.why = Some(why);
        self.next_scan = now + MISSING_PAUSE;
    }

    /// It is there: what was said about its absence no longer holds, and events are asked of it anew.
    pub fn find(&mut self, has_events: bool) {
        if self.report.state == WatchState::Missing {
            tracing::info!("the watch {:?} is there again", self.root.path());
            self.report.state = WatchState::Scanning;
            self.report.events = notice(&self.root, has_events);
            self.fallback = None;
        }
        self.explain();
    }

    /// What of it cannot be read, if anything.
    pub fn note_unreadable(&mut self, unreadable: Option<String>) {
        if let Some(why) = &unreadable
            && self.unreadable != unreadable
        {
            tracing::warn!("{why}");
        }
        self.unreadable = unreadable;
        self.explain();
    }

    /// Its changes are found by scanning from now on.
    pub fn fall_back(&mut self, why: &str, now: Instant) {
        tracing::warn!("the watch {:?}: {why}", self.root.path());
        self.fallback = Some(why.to_owned());
        self.report.events = EventSource::Poll;
        // Outside a full scan, the next one may be an hour away.
        self.next_scan = self.next_scan.min(now + self.scan_pause());
        self.explain();
    }

    fn explain(&mut self) {
        let reasons: Vec<&str> = self.fallback.iter().chain(&self.unreadable).map(String::as_str).collect();
        self.report.why = (!reasons.is_empty()).then(|| reasons.join("; "));
    }

    /// When the report should be told, if it should: at once, but for a mere count of settling files, which may change often.
    pub fn untold_until(&self) -> Option<Instant> {
        match &self.told {
            None => Some(self.begun),
            Some((told, _)) if *told == self.report => None,
            Some((told, at)) => {
                let only_a_count =
                    WatchReport { settling: told.settling, ..self.report.clone() } == *told && self.report.settling > 0;
                Some(if only_a_count { *at + REPORT_PAUSE } else { *at })
            }
        }
    }
}

fn notice(root: &Root, has_events: bool) -> EventSource {
    match root.watch().events {
        _ if !has_events => EventSource::Poll,
        EventSource::Poll => EventSource::Poll,
        EventSource::Native => EventSource::Native,
        // Of what others change the kernel tells nothing.
        EventSource::Auto if root.served() != Served::Here => EventSource::Poll,
        EventSource::Auto => EventSource::Native,
    }
}
