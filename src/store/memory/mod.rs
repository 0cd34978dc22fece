//! A second engine, in plain maps: what SQLite must do, and what any further engine must do, is what both do in `contract`.

mod deliveries;
mod files;
mod hosts;
mod jobs;
mod steering;
mod unwanted;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::job::absence::RootFolder;
use crate::job::digest::Digest;
use crate::job::plan::Plan;
use crate::job::steer::Steered;
use crate::job::upload::{Ack, Outcome, Session, Shape};
use crate::job::{
    DeliveryId, Event, Fingerprint, HostReport, Identity, JobId, JobRow, Reason, SentHash, State, WatchReport, Watches,
};

use super::backend::{Backend, Lookup, verbs};
use super::error::StoreError;
use super::values::{Caller, Recorded, Steer};
use super::{Arrival, Asking, Claims, DaemonId, Due, HookRule, Live, Resting, ReturnedJob, Rules, Seen, Upload, Version, Wanted};

#[derive(Default)]
pub(super) struct Memory {
    tables: Tables,
    /// The tables as they were before the group that has begun.
    before: Option<Tables>,
}

#[derive(Clone, Default)]
struct Tables {
    files: BTreeMap<i64, File>,
    jobs: BTreeMap<JobId, Job>,
    uploads: BTreeMap<JobId, Upload>,
    digests: BTreeMap<JobId, (u64, Digest)>,
    deliveries: BTreeMap<DeliveryId, Row>,
    live: BTreeMap<(DaemonId, JobId), (Live, i64)>,
    hosts: BTreeMap<(DaemonId, String), Host>,
    watches: BTreeMap<(DaemonId, PathBuf), Watch>,
    /// The keys of the hooks that were configured the last time.
    hooks: BTreeMap<DaemonId, Vec<String>>,
    /// The number that was given out last, of whatever.
    last: i64,
}

#[derive(Clone)]
struct File {
    folder: PathBuf,
    name: OsString,
    identity: Identity,
    /// The hosts that this version is taken up for; none once it is forgotten.
    route: Option<BTreeSet<String>>,
    version: i64,
    fingerprint: Option<Fingerprint>,
    /// Whether a job of it was removed from the history.
    forgotten: bool,
}

#[derive(Clone)]
struct Job {
    file: i64,
    host: String,
    version: i64,
    identity: Identity,
    owner: DaemonId,
    state: State,
    priority: i64,
    queued_at: i64,
    since: i64,
    done_at: Option<i64>,
    next_try: Option<i64>,
    why: Option<Reason>,
    attempts: u64,
    failures: u32,
    failing: Option<(String, u32)>,
    failing_for: Option<Duration>,
    failed_at: Option<i64>,
    sessions_lost: u32,
    renewals: u32,
    maybe_duplicate: bool,
    told_held: Option<Reason>,
    close_seen: bool,
    outcome: Outcome,
    trusted: bool,
    parts: u64,
    abandon_at: Option<i64>,
    wanted: Option<State>,
    one_off: bool,
}

#[derive(Clone)]
struct Row {
    job: JobId,
    hook: String,
    event: Event,
    number: u64,
    made_at: i64,
    next_try: Option<i64>,
    tries: u32,
    /// For an after-action that waits for an added host, that it does.
    said: Option<Reason>,
    daemon: DaemonId,
    waited_for: bool,
    trouble: Option<Reason>,
}

#[derive(Clone)]
struct Host {
    kind: String,
    report: HostReport,
    since: i64,
    outage: Option<String>,
}

#[derive(Clone, Default)]
struct Watch {
    configured: bool,
    first_seen: Option<i64>,
    last_scan: Option<i64>,
    root: Option<RootFolder>,
}

impl Tables {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    fn job(&mut self, job: JobId) -> Result<&mut Job, StoreError> {
        self.jobs.get_mut(&job).ok_or_else(|| StoreError::Refused(format!("there is no job {job}")))
    }

    /// Every job changes its state here, and only as `State` allows.
    fn move_to(&mut self, job: JobId, state: State, now_ms: i64) -> Result<&mut Job, StoreError> {
        let job = self.job(job)?;
        assert!(job.state == state || job.state.may_become(state), "{} may not become {state}", job.state);
        (job.state, job.since) = (state, now_ms);
        Ok(job)
    }

    /// Whether nobody else has claimed the job.
    fn is_ours(&mut self, by: Caller, job: JobId) -> Result<bool, StoreError> {
        Ok(self.job(job)?.owner == by.daemon)
    }

    fn path_of(&self, file: i64) -> PathBuf {
        let file = &self.files[&file];
        file.folder.join(&file.name)
    }
}

impl Lookup for Memory {
    fn look_up(&mut self, folder: &Path, wanted: &[(&OsStr, Identity)], hosts: &[String]) -> Result<Vec<Seen>, StoreError> {
        Ok(wanted.iter().map(|(name, identity)| self.tables.look_up_one(folder, name, identity, hosts)).collect())
    }
}

macro_rules! delegate {
    ($($(#[$doc:meta])* $sql:ident::$verb:ident($($value:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Backend for Memory {
            fn begin(&mut self) -> Result<(), StoreError> {
                assert!(self.before.is_none(), "a group has begun already");
                self.before = Some(self.tables.clone());
                Ok(())
            }

            fn commit(&mut self, _: DaemonId) -> Result<(), StoreError> {
                assert!(self.before.take().is_some(), "no group has begun");
                Ok(())
            }

            fn rollback(&mut self) -> Result<(), StoreError> {
                if let Some(before) = self.before.take() {
                    self.tables = before;
                }
                Ok(())
            }

            fn every_job(&mut self) -> Result<Vec<JobRow>, StoreError> {
                Ok(self.tables.every_job())
            }

            $(fn $verb(&mut self, by: Caller $(, $value: $type)*) -> Result<$answer, StoreError> {
                self.tables.$verb(by $(, $value)*)
            })*
        }
    };
}

verbs!(delegate);
