use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use super::{Arrival, Caller, Event, File, Identity, Job, JobId, Outcome, Reason, Seen, State, StoreError, Tables, Version};
use crate::job::Likeness;
use crate::store::files::{as_earlier, displaced, for_hosts, is_version, replaced, seen_at_its_path, seen_elsewhere};

impl Tables {
    fn file_at(&self, folder: &Path, name: &OsStr) -> Option<i64> {
        self.files.iter().find(|(_, file)| file.folder == folder && file.name == name).map(|(id, _)| *id)
    }

    pub(super) fn look_up_one(&self, folder: &Path, name: &OsStr, identity: &Identity, hosts: &[String]) -> Seen {
        let here = self.file_at(folder, name).map(|id| &self.files[&id]);
        if let Some((here, route)) = here.and_then(|file| Some((file, file.route.as_ref()?)))
            && let Some(seen) = seen_at_its_path(here.identity.likeness(identity), here.fingerprint)
        {
            return for_hosts(seen, hosts.iter().all(|host| route.contains(host)));
        }
        let alike = self.files.values().filter(|file| file.route.is_some() && file.identity.same_version(identity));
        let earlier = |file: &File| {
            let File { folder, name, identity: known, fingerprint, .. } = file.clone();
            as_earlier(folder, name, &known, fingerprint, identity)
        };
        seen_elsewhere(alike.filter_map(earlier).collect())
    }

    pub(super) fn enqueue(&mut self, by: Caller, arrivals: &[Arrival]) -> Result<u64, StoreError> {
        arrivals.iter().map(|arrival| self.enqueue_one(by, arrival)).sum()
    }

    fn enqueue_one(&mut self, by: Caller, arrival: &Arrival) -> Result<u64, StoreError> {
        let before = self.file_at(&arrival.folder, &arrival.name);
        let is_same = |id: &i64| {
            let File { identity, route, fingerprint, .. } = &self.files[id];
            route.is_some() && is_version(identity.likeness(&arrival.identity), *fingerprint, arrival.fingerprint)
        };
        let same = before.filter(is_same);
        let taken = same.and_then(|id| self.files[&id].route.clone()).unwrap_or_default();
        let mut missing: Vec<String> = arrival.hosts.iter().filter(|host| !taken.contains(*host)).cloned().collect();
        if arrival.one_off
            && let Some(file) = same
        {
            missing = self.never_sent_to(by, file, &arrival.hosts);
        }
        if same.is_some() && missing.is_empty() {
            return Ok(0);
        }
        if let Some(file) = same {
            self.renumber(file, &arrival.identity);
        }
        let route: BTreeSet<String> = taken.into_iter().chain(missing.iter().cloned()).collect();
        if arrival.first_version_only
            && let (Some(file), None) = (before, same)
        {
            missing.retain(|host| !self.has_had_a_version(file, host));
        }
        let file = before.unwrap_or_else(|| self.next());
        if same.is_some()
            && let Some(known) = self.files.get_mut(&file)
        {
            known.route = Some(route);
        } else {
            let version = before.map_or(0, |before| self.next_version(before, arrival));
            let Arrival { folder, name, identity, fingerprint, .. } = arrival.clone();
            let forgotten = self.files.get(&file).is_some_and(|known| known.forgotten);
            self.remember_replaced(file, &identity);
            self.files.insert(file, File { folder, name, identity, route: Some(route), version, fingerprint, forgotten });
        }
        if before.is_some() && same.is_none() {
            self.supersede(by, file)?;
        }
        let was_wanted = self.files[&file].forgotten || self.jobs.values().any(|job| job.file == file && !job.one_off);
        let passed_over = same.is_some() && !arrival.one_off && !was_wanted;
        if !arrival.make_jobs || passed_over {
            return Ok(0);
        }
        if same.is_some() {
            for row in self.after_rows_of(file) {
                (row.next_try, row.said) = (None, None);
            }
        }
        let missing = missing.into_iter().filter(|host| !self.has_live_job(file, host)).collect::<Vec<_>>();
        let made = missing.len() as u64;
        missing.into_iter().for_each(|host| self.insert_job(by, file, host, arrival));
        Ok(made)
    }

    fn has_had_a_version(&self, file: i64, host: &str) -> bool {
        let mut jobs = self.jobs.values().filter(|job| job.file == file).peekable();
        let is_up = |job: &Job| job.host == host && matches!(job.state, State::Uploaded | State::Done);
        self.files[&file].forgotten || jobs.peek().is_none() || jobs.any(is_up)
    }

    fn remember_replaced(&mut self, file: i64, now: &Identity) {
        let Some(known) = self.files.get(&file).filter(|known| known.route.is_some() && !known.identity.same_numbers(now)) else {
            return;
        };
        let memory = File { name: replaced(&known.name, file), version: 0, forgotten: false, ..known.clone() };
        let id = self.file_at(&memory.folder, &memory.name).unwrap_or_else(|| self.next());
        self.files.insert(id, memory);
    }

    fn never_sent_to(&mut self, by: Caller, file: i64, hosts: &[String]) -> Vec<String> {
        let version = self.files[&file].version;
        let mut missing = Vec::new();
        for host in hosts {
            let is_it = |job: &&mut Job| (job.file, &job.host, job.version) == (file, host, version) && job.state != State::Gone;
            let Some(job) = self.jobs.values_mut().rev().find(is_it) else {
                missing.push(host.clone());
                continue;
            };
            job.one_off = true;
            if job.state == State::Waiting && job.next_try.is_none() {
                (job.state, job.since, job.why, job.abandon_at) = (State::Queued, by.now_ms, None, None);
            }
        }
        missing
    }

    fn next_version(&self, file: i64, arrival: &Arrival) -> i64 {
        let live = |state: State| state == State::Uploaded || !state.is_final();
        let jobs = || self.jobs.values().filter(move |job| job.file == file);
        let back = jobs().rev().find(|job| live(job.state) && job.identity.same_version(&arrival.identity));
        let newest = jobs().map(|job| job.version).chain([self.files[&file].version]).max().unwrap_or(0);
        back.filter(|_| arrival.fingerprint.is_none()).map_or(newest + 1, |job| job.version)
    }

    fn has_live_job(&self, file: i64, host: &str) -> bool {
        let live = |state: State| state == State::Uploaded || !state.is_final();
        let version = self.files[&file].version;
        self.jobs.values().any(|job| job.file == file && job.host == host && job.version == version && live(job.state))
    }

    fn insert_job(&mut self, by: Caller, file: i64, host: String, arrival: &Arrival) {
        let unborn = |identity: Identity| Identity { born_ns: 0, ..identity };
        let closed = |job: &Job| job.file == file && job.close_seen && unborn(job.identity) == unborn(arrival.identity);
        let close_seen = arrival.close_seen || self.jobs.values().any(closed);
        let (id, version) = (JobId(self.next()), self.files[&file].version);
        let job = Job::new(by, file, host, version, arrival.identity, arrival.priority);
        let content = |identity: Identity| (identity.size, identity.mtime_ns);
        let is_doubted = |gone: &Job| {
            let same = (gone.file, &gone.host, content(gone.identity)) == (file, &job.host, content(job.identity));
            same && gone.state == State::Gone && gone.maybe_duplicate
        };
        let maybe_duplicate = arrival.maybe_known || self.jobs.values().any(is_doubted);
        self.jobs.insert(id, Job { maybe_duplicate, close_seen, one_off: arrival.one_off, ..job });
    }

    fn supersede(&mut self, by: Caller, file: i64) -> Result<(), StoreError> {
        let sent_nothing = |state| matches!(state, State::Queued | State::Waiting | State::Held | State::Paused);
        let of_file =
            self.jobs.iter().filter(|(id, job)| job.file == file && sent_nothing(job.state) && !self.uploads.contains_key(id));
        for id in of_file.map(|(id, _)| *id).collect::<Vec<_>>() {
            let job = self.move_to(id, State::Gone, by.now_ms)?;
            job.next_try = None;
            job.why = Some(Reason::new(crate::job::ReasonClass::Superseded));
        }
        self.supersede_deliveries(by, file)
    }

    pub(super) fn record_new_numbers(&mut self, _: Caller, folder: &Path, name: &OsStr, now: &Identity) -> Result<(), StoreError> {
        if let Some(file) = self.file_at(folder, name).filter(|id| self.files[id].identity.likeness(now) != Likeness::Other) {
            self.renumber(file, now);
        }
        Ok(())
    }

    fn renumber(&mut self, id: i64, now: &Identity) {
        let Some(file) = self.files.get_mut(&id) else { return };
        file.identity = *now;
        let version = file.version;
        for job in self.jobs.values_mut().filter(|job| job.file == id && job.version == version) {
            job.identity = Identity { ctime_ns: job.identity.ctime_ns, ..*now };
        }
    }

    pub(super) fn record_rename(
        &mut self,
        _: Caller,
        from: (&Path, &OsStr),
        to: (&Path, &OsStr),
        now: &Identity,
    ) -> Result<bool, StoreError> {
        let is_it = |id: &i64| self.files[id].route.is_some() && self.files[id].identity.same_version(now);
        let Some(id) = self.file_at(from.0, from.1).filter(is_it) else { return Ok(false) };
        if let Some(other) = self.file_at(to.0, to.1).filter(|other| *other != id)
            && let Some(file) = self.files.get_mut(&other)
        {
            file.name = displaced(to.1, other);
        }
        if let Some(file) = self.files.get_mut(&id) {
            (file.folder, file.name) = (to.0.to_owned(), to.1.to_owned());
        }
        self.renumber(id, now);
        Ok(true)
    }

    pub(super) fn forget(&mut self, id: JobId) -> Result<(), StoreError> {
        let job = self.job(id)?.clone();
        if let Some(file) = self.files.get_mut(&job.file).filter(|file| file.version == job.version) {
            file.route = file.route.take().map(|mut route| {
                route.remove(&job.host);
                route
            });
            file.route = file.route.take().filter(|route| !route.is_empty());
        }
        Ok(())
    }

    pub(super) fn record_close(&mut self, by: Caller, folder: &Path, name: &OsStr, version: &Identity) -> Result<bool, StoreError> {
        let Some(file) = self.file_at(folder, name) else { return Ok(false) };
        let is_it = |job: &Job| Identity { born_ns: version.born_ns, ..job.identity } == *version;
        let of_file = self.jobs.values_mut().filter(|job| job.file == file);
        let closed: Vec<&mut Job> = of_file.filter(|job| is_it(job) && !job.close_seen && !job.state.is_final()).collect();
        if closed.is_empty() {
            return Ok(false);
        }
        closed.into_iter().for_each(|job| job.close_seen = true);
        let mut due = false;
        for row in self.after_rows_of(file).into_iter().filter(|row| row.said.is_none() && row.next_try > Some(by.now_ms)) {
            row.next_try = Some(by.now_ms);
            due = true;
        }
        Ok(due)
    }

    pub(super) fn keep_fingerprint(&mut self, id: JobId, told: &Version) -> Result<bool, StoreError> {
        let (file, version, identity) = (self.job(id)?.file, self.job(id)?.version, self.job(id)?.identity);
        let fingerprint = told.fingerprint;
        let is_later = |file: &&File| {
            let is_told = file.fingerprint == fingerprint || file.identity.ctime_ns == told.identity.ctime_ns;
            file.version != version && file.identity.same_version(&identity) && file.route.is_some() && is_told
        };
        if fingerprint.is_some() && self.files.get(&file).filter(is_later).is_some() {
            return Ok(false);
        }
        let sent = |(other, job): (&JobId, &Job)| {
            let has_sent = matches!(job.state, State::Uploaded | State::Done) || self.uploads.contains_key(other);
            *other != id && (job.file, job.version) == (file, version) && has_sent
        };
        let is_sent = self.jobs.iter().any(sent);
        let Some(file) = self.files.get_mut(&file).filter(|file| file.version == version && fingerprint.is_some()) else {
            return Ok(true);
        };
        if is_sent && file.fingerprint.is_some() && file.fingerprint != fingerprint {
            file.identity.ctime_ns = 0;
            return Ok(false);
        }
        file.fingerprint = fingerprint;
        Ok(true)
    }

    /// The rows for the after-action of any version of a file.
    fn after_rows_of(&mut self, file: i64) -> Vec<&mut super::Row> {
        let jobs = &self.jobs;
        self.deliveries.values_mut().filter(|row| row.event == Event::After && jobs[&row.job].file == file).collect()
    }
}

impl Job {
    /// A job that nobody has claimed yet.
    pub(super) fn new(by: Caller, file: i64, host: String, version: i64, identity: Identity, priority: i64) -> Job {
        Job {
            file,
            host,
            version,
            identity,
            owner: by.daemon,
            state: State::Queued,
            priority,
            queued_at: by.now_ms,
            since: by.now_ms,
            done_at: None,
            next_try: None,
            why: None,
            attempts: 0,
            failures: 0,
            failing: None,
            failing_for: None,
            failed_at: None,
            sessions_lost: 0,
            renewals: 0,
            maybe_duplicate: false,
            told_held: None,
            close_seen: false,
            outcome: Outcome::default(),
            trusted: false,
            parts: 0,
            abandon_at: None,
            wanted: None,
            one_off: false,
        }
    }
}
