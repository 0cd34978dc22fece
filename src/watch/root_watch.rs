//! How one root is doing: when it is scanned next, how its changes are noticed, and when its report is due. Pure but for the log:
//! the time is handed in.

use std::time::{Duration, Instant};

use crate::job::watch::EventSource;
use crate::job::{Watch, WatchReport, WatchState};
use crate::os::filesystem::Served;

use super::Root;
use super::root::Top;

/// How often a folder without events is scanned at most.
const POLL_PAUSE: Duration = Duration::from_secs(5);
/// How often a missing root is looked for.
const MISSING_PAUSE: Duration = Duration::from_secs(5);
/// What is said of a watch with files of which nobody tells who writes them.
const WRITERS_UNKNOWN: &str = "the kernel does not tell who writes the files here, so one whose writer was not seen to close it \
    must stay the same for `settle_unknown` or, if it grows in bursts, up to 10 min";
/// What is said of a watch with files whose markers are missing.
const UNMARKED: &str = "files in it wait for the marker that `ready_when` names, or for one that is not older than they are";
/// How long it is told of a watch that another folder has taken its place.
const REPLACED_TOLD: Duration = Duration::from_secs(3600);
/// How often a mere change of the number of settling files is reported.
const REPORT_PAUSE: Duration = Duration::from_millis(500);

/// A root, and how it is doing.
pub(super) struct RootWatch {
    pub root: Root,
    pub report: WatchReport,
    last_report: Option<(WatchReport, Instant)>,
    /// When the first report became due.
    unreported_since: Instant,
    pub next_scan: Instant,
    unreadable: Option<String>,
    fallback: Option<String>,
    /// Whether there are files of which nobody tells who writes them.
    unasked: bool,
    /// Settling files that lack their marker.
    unmarked: u64,
    /// The folder that was scanned last.
    top: Option<Top>,
    /// Until when it is told that another folder has taken its place, and how.
    replaced: Option<(Instant, String)>,
    /// Whether it was scanned to the end.
    pub scanned: bool,
}

impl RootWatch {
    /// A root that is due for its first report and its first scan.
    pub(super) fn new(root: Root, has_events: bool, now: Instant) -> RootWatch {
        let events = event_source(&root, has_events);
        let report = WatchReport { state: WatchState::Scanning, events, ..WatchReport::default() };
        RootWatch {
            root,
            report,
            last_report: None,
            unreported_since: now,
            next_scan: now,
            unreadable: None,
            fallback: None,
            unasked: false,
            unmarked: 0,
            top: None,
            replaced: None,
            scanned: false,
        }
    }

    /// It was scanned to the end at this time of day, in milliseconds since the Unix epoch.
    pub(super) fn scanned_at(&mut self, at_ms: i64, now: Instant) {
        self.scanned = true;
        self.report.state = WatchState::Watching;
        self.report.last_scan_ms = Some(at_ms);
        self.next_scan = now + self.scan_pause();
    }

    /// The report, if it is due; it then counts as delivered.
    pub(super) fn due_report(&mut self, now: Instant) -> Option<&WatchReport> {
        self.report_due().filter(|until| *until <= now)?;
        self.last_report = Some((self.report.clone(), now));
        Some(&self.report)
    }

    /// What was told of it is not to be relied on any more: it is told again.
    pub(super) fn report_again(&mut self, now: Instant) {
        (self.last_report, self.unreported_since) = (None, now);
    }

    fn scan_pause(&self) -> Duration {
        let Watch { rescan, settle, .. } = *self.root.watch();
        if self.report.events == EventSource::Native { rescan } else { POLL_PAUSE.max(settle) }
    }

    /// It is not there.
    pub(super) fn mark_missing(&mut self, why: String, now: Instant) {
        if self.report.state != WatchState::Missing {
            tracing::warn!("the watched folder {:?} is missing: {why}", self.root.path());
        }
        self.report.state = WatchState::Missing;
        self.report.why = Some(why);
        self.next_scan = now + MISSING_PAUSE;
    }

    /// Whether this is another folder than the one that was scanned.
    pub(super) fn is_another(&self, top: Top) -> bool {
        self.top.is_some_and(|scanned| scanned != top)
    }

    /// It is about to be scanned, and is this folder: what was said about its absence no longer holds, and events are asked of it
    /// anew.
    pub(super) fn mark_present(&mut self, top: Top, has_events: bool, now: Instant) {
        if self.is_another(top) {
            tracing::warn!("the watched folder {:?} is another one now; scanning it", self.root.path());
            let why = "another folder has taken its place, and was scanned".to_owned();
            self.replaced = Some((now + REPLACED_TOLD, why));
            self.report.events = event_source(&self.root, has_events);
            self.fallback = None;
        }
        self.top = Some(top);
        self.replaced = self.replaced.take().filter(|(until, _)| *until > now);
        if self.report.state == WatchState::Missing {
            tracing::info!("the watched folder {:?} is back", self.root.path());
            self.report.state = WatchState::Scanning;
            self.report.events = event_source(&self.root, has_events);
            self.fallback = None;
        }
        self.explain();
    }

    /// What of it cannot be read, if anything.
    pub(super) fn note_unreadable(&mut self, unreadable: Option<String>) {
        if let Some(why) = &unreadable
            && self.unreadable != unreadable
        {
            tracing::warn!("{why}");
        }
        self.unreadable = unreadable;
        self.explain();
    }

    /// Of a file in it nobody tells who writes it.
    pub(super) fn note_unasked(&mut self) {
        if !self.unasked {
            self.unasked = true;
            self.explain();
        }
    }

    /// One more file of it settles, which may lack its marker.
    pub(super) fn settles(&mut self, is_unmarked: bool) {
        self.report.settling += 1;
        self.unmarked += u64::from(is_unmarked);
        if is_unmarked && self.unmarked == 1 {
            self.explain();
        }
    }

    /// One that did has settled, or is gone.
    pub(super) fn settles_no_more(&mut self, was_unmarked: bool) {
        self.report.settling -= 1;
        self.unmarked -= u64::from(was_unmarked);
        if was_unmarked && self.unmarked == 0 {
            self.explain();
        }
    }

    /// Its changes are found by scanning from now on.
    pub(super) fn fall_back(&mut self, why: &str, now: Instant) {
        tracing::warn!("watched folder {:?}: {why}", self.root.path());
        self.fallback = Some(why.to_owned());
        self.report.events = EventSource::Poll;
        // Outside a full scan, the next one may be an hour away.
        self.next_scan = self.next_scan.min(now + self.scan_pause());
        self.explain();
    }

    fn reasons(&self) -> impl Iterator<Item = &str> {
        let replaced = self.replaced.as_ref().map(|(_, why)| why);
        let unasked = self.unasked.then_some(WRITERS_UNKNOWN);
        let unmarked = (self.unmarked > 0).then_some(UNMARKED);
        replaced.into_iter().chain(&self.fallback).chain(&self.unreadable).map(String::as_str).chain(unasked).chain(unmarked)
    }

    fn explain(&mut self) {
        let reasons: Vec<&str> = self.reasons().collect();
        self.report.why = (!reasons.is_empty()).then(|| reasons.join("; "));
    }

    /// When the report is due, if it has changed: at once, but for a mere count of settling files, which may change often.
    pub(super) fn report_due(&self) -> Option<Instant> {
        match &self.last_report {
            None => Some(self.unreported_since),
            Some((last, _)) if *last == self.report => None,
            Some((last, at)) => {
                let only_a_count =
                    WatchReport { settling: last.settling, ..self.report.clone() } == *last && self.report.settling > 0;
                Some(if only_a_count { *at + REPORT_PAUSE } else { *at })
            }
        }
    }
}

fn event_source(root: &Root, has_events: bool) -> EventSource {
    match root.watch().events {
        _ if !has_events => EventSource::Poll,
        EventSource::Poll => EventSource::Poll,
        EventSource::Native => EventSource::Native,
        // Of what others change the kernel tells nothing.
        EventSource::Auto if root.served() != Served::Here => EventSource::Poll,
        EventSource::Auto => EventSource::Native,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::os::files::Files;

    fn root_watch(events: EventSource, has_events: bool, now: Instant) -> RootWatch {
        let watch = Watch { events, settle: Duration::from_secs(9), ..Watch::new("/".into(), Arc::from([])) };
        let root = Root::all(&Files::Real, &[watch].into_iter().collect(), Path::new("/state"), &[]).unwrap().remove(0);
        RootWatch::new(root, has_events, now)
    }

    #[test]
    fn changes_are_noticed_by_events_where_there_are_any_and_nobody_wants_otherwise() {
        use EventSource::{Auto, Native, Poll};
        for (wanted, has_events, noticed) in
            [(Auto, true, Native), (Native, true, Native), (Poll, true, Poll), (Auto, false, Poll), (Native, false, Poll)]
        {
            assert_eq!(root_watch(wanted, has_events, Instant::now()).report.events, noticed, "{wanted:?} {has_events}");
        }
    }

    #[test]
    fn a_scan_comes_hourly_with_events_and_every_few_seconds_without() {
        let now = Instant::now();
        for (events, pause) in [(EventSource::Native, 3600), (EventSource::Poll, 9)] {
            let mut watch = root_watch(events, true, now);
            assert_eq!(watch.next_scan, now, "the first is at once");
            watch.scanned_at(7, now);
            assert_eq!(watch.next_scan, now + Duration::from_secs(pause));
            assert_eq!((watch.report.state, watch.report.last_scan_ms), (WatchState::Watching, Some(7)));
        }
        let mut watch = root_watch(EventSource::Native, true, now);
        watch.scanned_at(7, now);
        watch.fall_back("too many", now);
        assert_eq!((watch.report.events, watch.next_scan), (EventSource::Poll, now + Duration::from_secs(9)));
        watch.mark_missing("gone".into(), now);
        assert_eq!((watch.report.state, watch.next_scan), (WatchState::Missing, now + MISSING_PAUSE));
        watch.mark_present((1, 2), true, now);
        assert_eq!((watch.report.events, watch.report.why.as_deref()), (EventSource::Native, None), "events are asked for anew");
        assert!(!watch.is_another((1, 2)) && watch.is_another((1, 3)) && watch.is_another((2, 2)));
        watch.fall_back("too many", now);
        watch.mark_present((1, 3), true, now);
        let why = "another folder has taken its place, and was scanned";
        assert_eq!((watch.report.events, watch.report.why.as_deref()), (EventSource::Native, Some(why)));
        watch.mark_present((1, 3), true, now + REPLACED_TOLD);
        assert_eq!(watch.report.why, None);
    }

    #[test]
    fn every_reason_stands_until_it_does_not_hold_any_more() {
        let now = Instant::now();
        let mut watch = root_watch(EventSource::Native, true, now);
        watch.fall_back("too many folders", now);
        watch.note_unreadable(Some("cannot read x".into()));
        assert_eq!(watch.report.why.as_deref(), Some("too many folders; cannot read x"));
        watch.note_unreadable(None);
        assert_eq!(watch.report.why.as_deref(), Some("too many folders"));
    }

    #[test]
    fn that_writers_cannot_be_asked_is_said_and_stays_said() {
        let now = Instant::now();
        let mut watch = root_watch(EventSource::Native, true, now);
        watch.note_unasked();
        watch.note_unreadable(None);
        assert!(watch.report.why.as_deref().is_some_and(|why| why.contains("settle_unknown")), "{:?}", watch.report);
    }

    #[test]
    fn news_is_told_at_once_and_a_mere_count_of_settling_files_twice_a_second() {
        let now = Instant::now();
        let mut watch = root_watch(EventSource::Native, true, now);
        assert!(watch.due_report(now).is_some(), "the first report");
        assert!(watch.due_report(now).is_none(), "nothing new");
        watch.report.settling = 1;
        assert_eq!((watch.due_report(now).is_some(), watch.report_due()), (false, Some(now + REPORT_PAUSE)));
        assert!(watch.due_report(now + REPORT_PAUSE).is_some());
        watch.report.settling = 0;
        assert!(watch.due_report(now + REPORT_PAUSE).is_some(), "that nothing settles any more is news");
        watch.report.gaps_seen = 1;
        assert!(watch.due_report(now + REPORT_PAUSE).is_some());
    }
}
