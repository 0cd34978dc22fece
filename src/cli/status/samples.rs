//! Jobs, queues and daemons for the tests of what is said of them.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::look::{Daemon, Report};
use crate::cli::queue::Allowed;
use crate::job::flow::{InFlight, Learned};
use crate::job::health::HostState;
use crate::job::watch::EventSource;
use crate::job::{HostReport, HostRow, JobId, JobRow, Paces, Reason, State, WatchReport, WatchState};
use crate::os::lock::LockNote;
use crate::store::{Snapshot, WatchRow};

pub(super) fn job(state: State, why: Option<&str>) -> JobRow {
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

pub(super) fn snapshot(jobs: Vec<JobRow>) -> Snapshot {
    Snapshot {
        totals: State::ALL.map(|state| (state, jobs.iter().filter(|job| job.state == state).count() as u64)).to_vec(),
        bytes_left: 30,
        bytes_moving: [("box".to_owned(), 30)].into(),
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
        beside: Vec::new(),
        to_tell: Vec::new(),
        uploading: [("box".to_owned(), 4), ("mirror".to_owned(), 1)].into(),
    }
}

/// Four uploads to the one host, and sixteen in all.
pub(super) fn allowed() -> Allowed {
    Allowed { uploads: Some(16), uploads_to: [("box".to_owned(), 4)].into(), ..Allowed::default() }
}

pub(super) fn note(pid: u32, since_ms: i64) -> LockNote {
    LockNote { pid, since_ms, ..LockNote::default() }
}

pub(super) fn daemon(owner: LockNote) -> Daemon {
    Daemon {
        owner: Some(owner),
        answers: Some(true),
        last_end: None,
        paces: Paces {
            hosts: [("box".into(), 5)].into(),
            jobs: vec![(JobId(8), 10)],
            requests: [("box".into(), InFlight { now: 8, most: 8, why: Learned::MoreBringsMore })].into(),
        },
    }
}

/// A minute after a daemon has started that is well.
pub(super) fn report(jobs: Vec<JobRow>) -> Report {
    let (snapshot, daemon, allowed) = (snapshot(jobs), daemon(note(7, 0)), allowed());
    Report { snapshot, daemon, allowed, now_ms: 60_000, zone: TimeZone::UTC, is_filtered: false, has_queue: true }
}
