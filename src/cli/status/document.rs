//! What `--json` prints. `docs/STATUS.md` tells scripts what they may rely on.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::job::flow::InFlight;
use crate::job::report::{path_fields, timestamp};
use crate::job::{HostRow, JobRow, Reason, State};
use crate::store::{Snapshot, ToTell, WatchRow};

use super::look::{Daemon, Report};

/// The document of `--json`. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    version: u32,
    daemon: DaemonDocument,
    totals: Totals,
    bytes: BytesDocument,
    watches: Vec<WatchDocument<'a>>,
    hosts: Vec<HostDocument<'a>>,
    hooks: Vec<HookDocument<'a>>,
    jobs: Vec<JobDocument<'a>>,
}

/// A host, with how many requests it may have in flight.
#[derive(Debug, Serialize)]
struct HostDocument<'a> {
    #[serde(flatten)]
    host: &'a HostRow,
    in_flight: Option<InFlight>,
}

/// A job, with how it gets on.
#[derive(Debug, Serialize)]
struct JobDocument<'a> {
    #[serde(flatten)]
    job: &'a JobRow,
    per_second: u64,
    seconds_left: Option<u64>,
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
    seconds_left: Option<u64>,
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

/// A hook that is still to be told of what has happened, while no job waits for it.
#[derive(Debug, Serialize)]
struct HookDocument<'a> {
    hook: &'a str,
    events: u64,
    next_try: Option<Timestamp>,
    why: Option<String>,
}

impl HookDocument<'_> {
    fn new(told: &ToTell) -> HookDocument<'_> {
        HookDocument {
            hook: &told.hook,
            events: told.events,
            next_try: told.next_try_ms.and_then(timestamp),
            why: told.why.as_ref().map(Reason::fragment),
        }
    }
}

impl Document<'_> {
    pub(super) fn new(report: &Report) -> Document<'_> {
        let Daemon { owner, answers, last_end, .. } = &report.daemon;
        let owner = owner.as_ref();
        let job = |job| JobDocument { job, per_second: job.per_second, seconds_left: report.seconds_left_of(job) };
        let Snapshot { totals, bytes_left, bytes_sent, per_second, watches, hosts, jobs, to_tell, .. } = &report.snapshot;
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
            bytes: BytesDocument {
                left: *bytes_left,
                sent: *bytes_sent,
                per_second: *per_second,
                seconds_left: report.seconds_left(),
            },
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
            hosts: hosts
                .iter()
                .map(|host| HostDocument { host, in_flight: report.daemon.paces.requests.get(&host.name).copied() })
                .collect(),
            hooks: to_tell.iter().map(HookDocument::new).collect(),
            jobs: jobs.iter().map(job).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{daemon, job, note, report};
    use super::*;
    use crate::job::WatchState;
    use crate::job::flow::Learned;
    use crate::job::health::HostState;
    use crate::os::lock::LastEnd;

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
        let mut report = Report { daemon, ..report(vec![job(State::Uploading, None)]) };
        report.snapshot.to_tell.push(ToTell { hook: "command sh".into(), events: 12, next_try_ms: Some(0), why: None });
        let document = serde_json::to_value(Document::new(&report)).unwrap();
        assert_eq!(document["daemon"]["since"], "2026-01-02T03:04:05Z");
        assert_eq!(names(&document), names(&promised));
    }

    /// The page that tells scripts what they may rely on.
    const PROMISES: &str = include_str!("../../../docs/STATUS.md");

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
        assert_eq!(listed("`hosts`", "`in_flight.why`"), Learned::ALL.map(Learned::word));
    }

    #[test]
    fn every_field_of_the_document_is_explained() {
        let example = example();
        for (heading, object) in [
            ("`daemon`", &example["daemon"]),
            ("`watches`", &example["watches"][0]),
            ("`hosts`", &example["hosts"][0]),
            ("`hooks`", &example["hooks"][0]),
            ("`jobs`", &example["jobs"][0]),
        ] {
            let mut explained = listed(heading, "field");
            explained.extend((!matches!(heading, "`daemon`" | "`hooks`")).then(|| "state".to_owned()));
            explained.sort_unstable();
            assert_eq!(explained, object.as_object().unwrap().keys().cloned().collect::<Vec<_>>(), "{heading}");
        }
    }
}
