use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Caller, Host, HostReport, JobId, Live, Resting, State, StoreError, Tables, WatchReport};
use crate::job::absence::RootFolder;
use crate::job::believed::{after, believed};
use crate::job::health::HostState;
use crate::job::verdict::{LONGEST_BACKOFF_OFFLINE, LONGEST_WAIT};

fn between(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

impl Tables {
    pub(super) fn recover(&mut self, by: Caller) -> Result<(), StoreError> {
        self.recover_steered(by)?;
        for job in self.jobs.values_mut().filter(|job| job.owner == by.daemon) {
            match job.state {
                State::Uploading if job.abandon_at.is_some() => {
                    (job.state, job.since, job.next_try) = (State::Waiting, by.now_ms, None);
                }
                State::Cancelled | State::Gone | State::Failed => job.abandon_at = job.abandon_at.map(|at| at.min(by.now_ms)),
                State::Uploading => (job.state, job.since, job.told_held, job.why) = (State::Queued, by.now_ms, None, None),
                _ => {}
            }
        }
        self.look_again(by)?;
        let rests = self.resting_hosts(by)?;
        for ((_, name), host) in self.hosts.iter_mut().filter(|((daemon, _), _)| *daemon == by.daemon) {
            if let Some(rest) = rests.iter().find(|rest| rest.host == *name) {
                let until_ms = after(by.now_ms, rest.left);
                if host.report.until_ms > Some(until_ms) {
                    (host.report.until_ms, host.since) = (Some(until_ms), by.now_ms);
                }
            } else if host.report.state != HostState::Ready {
                let rests = host.report.rests;
                (host.report, host.since) = (HostReport { state: HostState::Ready, until_ms: None, why: None, rests }, by.now_ms);
            }
        }
        self.live.retain(|(daemon, _), _| *daemon != by.daemon);
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "a verb may fail")]
    pub(super) fn look_again(&mut self, by: Caller) -> Result<(), StoreError> {
        let put_off = |job: &&mut super::Job| matches!(job.state, State::Waiting | State::Held) && job.next_try.is_some();
        for job in self.jobs.values_mut().filter(|job| job.owner == by.daemon).filter(put_off) {
            (job.next_try, job.told_held, job.failed_at) = (Some(by.now_ms), None, None);
        }
        Ok(())
    }

    pub(super) fn resting_hosts(&mut self, by: Caller) -> Result<Vec<Resting>, StoreError> {
        let ours = self.hosts.iter().filter(|((daemon, _), _)| *daemon == by.daemon);
        let rests = ours.filter_map(|((_, name), Host { report, since, .. })| {
            let until_ms = report.until_ms.filter(|until_ms| report.state == HostState::Resting && *until_ms > by.now_ms)?;
            let whole = between(*since, until_ms).min(LONGEST_WAIT);
            let left = believed(until_ms, by.now_ms, whole).map_or(whole, |until_ms| between(by.now_ms, until_ms));
            Some(Resting { host: name.clone(), left, rests: report.rests })
        });
        Ok(rests.collect())
    }

    pub(super) fn configure(
        &mut self,
        by: Caller,
        watches: &[PathBuf],
        hosts: &[(String, String)],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        for (_, watch) in self.watches.iter_mut().filter(|((daemon, _), _)| *daemon == by.daemon) {
            watch.configured = false;
        }
        let new_since = watches.iter().map(|path| {
            let watch = self.watches.entry((by.daemon, path.clone())).or_default();
            watch.configured = true;
            let first_seen = *watch.first_seen.get_or_insert(by.now_ms);
            watch.last_scan.is_none().then_some(first_seen.min(by.now_ms))
        });
        let new_since = new_since.collect();
        self.hosts.retain(|(daemon, name), _| *daemon != by.daemon || hosts.iter().any(|(host, _)| host == name));
        for (name, kind) in hosts {
            let report = HostReport { state: HostState::Ready, until_ms: None, why: None, rests: 0 };
            let new = Host { kind: kind.clone(), report, since: by.now_ms, outage: None };
            self.hosts.entry((by.daemon, name.clone())).or_insert(new).kind.clone_from(kind);
        }
        Ok(new_since)
    }

    pub(super) fn clock_was_set_back(&mut self, by: Caller) -> Result<(), StoreError> {
        for job in self.jobs.values_mut().filter(|job| job.owner == by.daemon) {
            if matches!(job.state, State::Waiting | State::Held) && job.next_try > Some(by.now_ms) {
                (job.next_try, job.failed_at) = (Some(by.now_ms), None);
            }
        }
        self.deliveries_be_due(by);
        Ok(())
    }

    pub(super) fn network_changed(&mut self, by: Caller, hosts: &[String]) -> Result<(), StoreError> {
        let soon = Some(after(by.now_ms, LONGEST_BACKOFF_OFFLINE));
        for job in self.jobs.values_mut().filter(|job| job.owner == by.daemon && hosts.contains(&job.host)) {
            if job.state == State::Waiting && job.next_try > Some(by.now_ms) && job.next_try <= soon {
                job.next_try = Some(by.now_ms);
            }
        }
        Ok(())
    }

    pub(super) fn record_host(&mut self, by: Caller, host: &str, report: &HostReport) -> Result<(), StoreError> {
        if let Some(host) = self.hosts.get_mut(&(by.daemon, host.to_owned())) {
            (host.report, host.since) = (report.clone(), by.now_ms);
        }
        Ok(())
    }

    pub(super) fn record_host_rest(&mut self, by: Caller, host: &str, until_ms: i64) -> Result<(), StoreError> {
        if let Some(host) = self.hosts.get_mut(&(by.daemon, host.to_owned())).filter(|host| host.report.until_ms.is_some()) {
            (host.report.until_ms, host.since) = (Some(until_ms), by.now_ms);
        }
        Ok(())
    }

    pub(super) fn outages(&mut self, by: Caller) -> Result<Vec<(String, String)>, StoreError> {
        let ours = self.hosts.iter().filter(|((daemon, _), _)| *daemon == by.daemon);
        Ok(ours.filter_map(|((_, name), host)| Some((name.clone(), host.outage.clone()?))).collect())
    }

    pub(super) fn record_outage(&mut self, by: Caller, host: &str, outage: Option<&str>) -> Result<(), StoreError> {
        if let Some(host) = self.hosts.get_mut(&(by.daemon, host.to_owned())) {
            host.outage = outage.map(str::to_owned);
        }
        Ok(())
    }

    pub(super) fn others_wait(&mut self, _: Caller, host: &str, job: JobId) -> Result<bool, StoreError> {
        let waits = |other: &super::Job| other.state == State::Queued || (other.is_put_off() && other.next_try.is_some());
        Ok(self.jobs.iter().any(|(id, other)| *id != job && other.host == host && waits(other)))
    }

    pub(super) fn requeue_held(&mut self, by: Caller, host: &str) -> Result<(), StoreError> {
        for job in self.jobs.values_mut().filter(|job| job.owner == by.daemon && job.host == host) {
            if job.state == State::Held && job.next_try > Some(by.now_ms) {
                job.next_try = Some(by.now_ms);
            }
        }
        Ok(())
    }

    pub(super) fn record_watch(&mut self, by: Caller, path: &Path, report: &WatchReport) -> Result<(), StoreError> {
        if let Some(watch) = self.watches.get_mut(&(by.daemon, path.to_owned())) {
            watch.last_scan = report.last_scan_ms.or(watch.last_scan);
        }
        Ok(())
    }

    pub(super) fn known_roots(&mut self, by: Caller) -> Result<Vec<(PathBuf, RootFolder)>, StoreError> {
        let of_daemon = self.watches.iter().filter(|((daemon, _), _)| *daemon == by.daemon);
        Ok(of_daemon.filter_map(|((_, path), watch)| Some((path.clone(), watch.root?))).collect())
    }

    pub(super) fn record_root(&mut self, by: Caller, watch: &Path, root: &RootFolder) -> Result<(), StoreError> {
        let Some(known) = self.watches.get_mut(&(by.daemon, watch.to_owned())) else { return Ok(()) };
        let before = known.root.replace(*root);
        let Tables { files, jobs, .. } = self;
        let below = |file: i64| files[&file].folder.starts_with(watch);
        let live = |state: State| state == State::Uploaded || !state.is_final();
        for job in jobs.values_mut().filter(|job| live(job.state) && below(job.file)) {
            if before.is_some_and(|before| before.device == job.identity.device) {
                job.identity.device = root.device;
            }
        }
        Ok(())
    }

    pub(super) fn record_progress(&mut self, by: Caller, live: &[Live]) -> Result<(), StoreError> {
        self.live.retain(|(daemon, _), _| *daemon != by.daemon);
        self.live.extend(live.iter().map(|live| ((by.daemon, live.job), (*live, by.now_ms))));
        Ok(())
    }
}
