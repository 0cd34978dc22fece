//! What must hold, whatever happens: each promise is judged by what the disks and the hosts have, never by what the daemon says of
//! itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use ferryd::internals::job::State;
use ferryd::internals::job::reason::{Reason, ReasonClass};
use ferryd::internals::job::upload::Class;
use ferryd::internals::store::{JobRow, Store};
use ferryd_sandbox::Object;
use ferryd_sandbox::log::Entry;

use crate::ledger::{Content, Digest, Standing};
use crate::log::LOGGED;
use crate::setting::After;
use crate::world::World;

/// How long a well host may be without a file that stands there, while the daemon runs and nothing is wrong with the machine.
const FAIR: Duration = Duration::from_secs(40 * 60);
/// The same where nobody was told that events were lost: the folders are scanned once an hour.
const FAIR_UNTOLD: Duration = Duration::from_secs(100 * 60);
/// What a request may have in its body besides the bytes of files, which alone are counted against a bandwidth.
const BODY_BYTES: u64 = 4096;
/// Bytes of an earlier life that come later, and what may be sent at once.
const UNCOUNTED_BYTES: f64 = 256.0 * 1024.0;
/// Requests in an hour that nothing could justify.
const REQUESTS_MAX: u64 = 40_000;

impl World {
    /// What must hold at any time.
    pub(crate) fn check(&self, store: &Store) {
        self.look();
        let jobs = self.jobs(store);
        self.tell_moves(&jobs);
        self.check_reasons(&jobs);
        self.check_places(&jobs);
        self.check_bandwidth();
        self.check_orders(&jobs);
        self.check_contents();
        self.check_fairness();
    }

    /// The jobs. They are asked for again only where something was written since.
    pub(crate) fn jobs(&self, store: &Store) -> Vec<JobRow> {
        let changes = self.queue.changes();
        let known = self.state().read_jobs.clone().filter(|(of, _)| *of == changes);
        if let Some((_, jobs)) = known {
            return jobs;
        }
        let jobs = read_jobs(store);
        self.state().read_jobs = Some((changes, jobs.clone()));
        jobs
    }

    /// What jobs have done since the last look.
    fn tell_moves(&self, jobs: &[JobRow]) {
        let before: BTreeMap<i64, JobRow> =
            std::mem::replace(&mut self.state().jobs, jobs.to_vec()).into_iter().map(|job| (job.id.0, job)).collect();
        for job in jobs {
            let old = before.get(&job.id.0);
            if old.is_some_and(|old| old.state == job.state && old.why == job.why) {
                continue;
            }
            let from = old.map_or("new", |old| old.state.word());
            let why = job.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
            self.tell(&format!("  job {} of {} for {} is {}{why}", job.id.0, job.path.display(), job.host, job.state.word()));
            let mut state = self.state();
            state.met.insert(format!("{from} -> {}", job.state.word()));
            state.met.extend(job.why.as_ref().map(|why| because_of(why.class)));
        }
    }

    fn check_reasons(&self, jobs: &[JobRow]) {
        for job in jobs {
            let stands = matches!(job.state, State::Waiting | State::Held | State::Failed | State::Gone);
            if stands && job.why.is_none() {
                self.violated("reason", format!("job {} is {} and does not say why", job.id.0, job.state.word()));
            }
        }
    }

    /// The hosts take no more than the daemon may send.
    fn check_bandwidth(&self) {
        let Some(bytes_per_second) = self.setting.bandwidth else { return };
        let (born, before) = self.state().born;
        let now = self.sandbox.stats();
        let seconds = self.time.passed().saturating_sub(born).as_secs_f64();
        let most = bytes_per_second as f64 * seconds + (BODY_BYTES * (now.requests - before.requests)) as f64 + UNCOUNTED_BYTES;
        let sent = now.body_bytes - before.body_bytes;
        if sent as f64 > most {
            let told = format!("the hosts have taken {sent} bytes in {seconds} s, of {bytes_per_second} a second");
            self.violated("bounded", told);
        }
    }

    fn check_places(&self, jobs: &[JobRow]) {
        let uploading = jobs.iter().filter(|job| job.state == State::Uploading).count() as u64;
        if uploading > self.setting.max_uploads {
            self.violated("bounded", format!("{uploading} jobs are uploading, of {} that may", self.setting.max_uploads));
        }
    }

    /// Nothing early, nothing mixed: what a host holds was whole at some time.
    fn check_contents(&self) {
        let careless = self.state().careless.clone();
        for object in self.sandbox.objects().into_iter().filter(|object| !careless.contains(&object.host)) {
            let digest = object.sha256.clone().unwrap_or_default();
            if !self.state().ledger.closed.get(&digest).is_some_and(|content| content.was_ready) {
                let told =
                    format!("{} holds `{}`, {} bytes that no user ever left like that", object.host, object.name, object.bytes);
                return self.violated("mixed", told);
            }
        }
    }

    fn check_fairness(&self) {
        let bound = if self.state().was_untold { FAIR_UNTOLD } else { FAIR };
        let late: Vec<(PathBuf, Standing)> =
            self.state().ledger.expected().filter(|(_, file)| file.calm > bound).map(|(p, s)| (p.clone(), s.clone())).collect();
        let healthy = self.state().healthy.clone();
        for ((path, file), host) in late.iter().flat_map(|file| healthy.iter().map(move |host| (file, host))) {
            if !self.holds(host, &file.digest) {
                let told = format!("{host} is well, but has not got {} for {} s", path.display(), file.calm.as_secs());
                return self.violated("fair", told);
            }
        }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_at_rest(&self, jobs: &[JobRow]) -> bool {
        jobs.iter().all(|job| match job.state {
            State::Held => is_left_to_a_person(job),
            State::Queued | State::Uploading | State::Waiting | State::Paused => false,
            // Another host has to take the file first.
            State::Uploaded => job.why.is_some(),
            _ => true,
        })
    }

    /// What must hold at the end, when every fault has long been over.
    pub(crate) fn check_end(&self, store: &Store) {
        self.check(store);
        let jobs = self.jobs(store);
        for job in jobs.iter().filter(|job| !self.is_at_rest(std::slice::from_ref(job))) {
            let told = format!("job {} of {} for {} is still {}", job.id.0, job.path.display(), job.host, job.state.word());
            self.violated("rest", format!("{told}: {:?}", job.why));
        }
        self.check_lost(&jobs);
        self.check_once(&jobs);
        self.check_done(&jobs);
        for path in self.private_files() {
            self.violated("source", format!("the daemon has left {} behind", path.display()));
        }
        self.check_bounds();
    }

    /// Every file that stands there is on every host: nothing that hosts did gives them a reason to refuse one for good.
    fn check_lost(&self, jobs: &[JobRow]) {
        let standing: BTreeMap<PathBuf, Standing> =
            self.state().ledger.expected().map(|(path, file)| (path.clone(), file.clone())).collect();
        let careless = self.state().careless.clone();
        for (path, file) in &standing {
            let lacks = |host: &&&str| !careless.contains(**host) && !self.holds(host, &file.digest);
            for host in self.setting.hosts.iter().filter(lacks) {
                // Under whatever name its file was then.
                let is_cancelled = |job: &JobRow| job.state == State::Cancelled && job.host == **host && job.bytes == file.bytes;
                if jobs.iter().any(is_cancelled) {
                    continue;
                }
                let its_job = |job: &&JobRow| job.path == *path && job.host == **host && job.bytes == file.bytes;
                if jobs.iter().filter(its_job).any(is_left_to_a_person) {
                    continue;
                }
                let why = jobs.iter().filter(its_job).map(|job| format!(", its job is {}: {:?}", job.state.word(), job.why));
                self.violated("lost", format!("{} is not on {host}{}", path.display(), why.collect::<String>()));
            }
        }
        if !self.setting.has_proof() || self.state().after == After::Keep || self.state().ledger.afters.len() > 1 {
            return;
        }
        // A second name may count as a renaming of the first, and then stays: its content is on the hosts. So may what was away
        // when its turn came.
        let has_one_name = |file: &Standing| {
            self.state().ledger.closed.get(&file.digest).is_some_and(|content| content.names == 1 && !content.was_away)
        };
        for (path, file) in standing.iter().filter(|(_, file)| !file.spared && has_one_name(file)) {
            let on_all = self.setting.hosts.iter().all(|host| self.holds(host, &file.digest));
            let is_flagged = jobs.iter().any(|job| job.path == *path && (job.why.is_some() || job.state != State::Done));
            if on_all && !is_flagged {
                self.violated("rest", format!("{} is on every host and has not gone", path.display()));
            }
        }
    }

    /// One upload for each version and host; others are marked.
    fn check_once(&self, jobs: &[JobRow]) {
        let mut stored: BTreeMap<(String, Digest), Vec<Object>> = BTreeMap::new();
        for object in self.sandbox.objects() {
            let digest = object.sha256.clone().unwrap_or_default();
            stored.entry((object.host.clone(), digest)).or_default().push(object);
        }
        let (log, repeated) = (self.sandbox.log(), self.state().orders.repeated.clone());
        let ends = {
            let state = self.state();
            state.lives + state.restarts
        };
        for ((host, digest), objects) in stored {
            let Some(Content { bytes, names, arrivals, .. }) = self.state().ledger.closed.get(&digest).cloned() else { continue };
            let is_marked = jobs.iter().any(|job| job.host == host && job.bytes == bytes && job.maybe_duplicate);
            // Each reply that was lost, and each death, may have cost one more.
            let unanswered = log.iter().filter(|entry| entry.held && entry.fault.is_some()).count() + ends;
            // What a host does twice by itself, and what somebody wants there twice, needs no mark. Nor does what a host of names keeps under
            // another one, and does not say so: the next body with the name it was told takes the place of nothing.
            let is_own = |fault: &str| fault == "twice" || fault == "store_other_name";
            let by_host =
                |entry: &&Entry| entry.held && entry.fault.as_deref().is_some_and(is_own) && entry.host.as_ref() == Some(&host);
            let wanted = repeated.iter().filter(|(to, of)| *to == host && *of == bytes).count();
            let arrivals = arrivals.max(names) + wanted + log.iter().filter(by_host).count();
            if objects.len() > arrivals + if is_marked { unanswered } else { 0 } {
                let called: Vec<&str> = objects.iter().take(4).map(|object| object.name.as_str()).collect();
                let told = format!("{host} has {} times the {bytes} bytes of {called:?}", objects.len());
                let promise = if names > 1 { "linked" } else { "once" };
                self.violated(promise, format!("{told}, {} a mark", if is_marked { "with" } else { "without" }));
            }
        }
    }

    /// What is said to be done is there.
    fn check_done(&self, jobs: &[JobRow]) {
        let (objects, careless) = (self.sandbox.objects(), self.state().careless.clone());
        let is_there = |job: &&JobRow| matches!(job.state, State::Done | State::Uploaded) && !careless.contains(&job.host);
        for job in jobs.iter().filter(is_there) {
            if !objects.iter().any(|object| object.host == job.host && object.bytes == job.bytes) {
                let told = format!("job {} is done, but {} has nothing of {}", job.id.0, job.host, job.path.display());
                self.violated("lost", told);
            }
        }
    }

    fn check_bounds(&self) {
        let hours = self.time.passed().as_secs() / 3600 + 1;
        let requests = self.sandbox.stats().requests;
        if requests > hours * REQUESTS_MAX {
            self.violated("bounded", format!("{requests} requests in {hours} hours"));
        }
    }

    /// The secrets of the configuration are in no text that outlives the process.
    pub(crate) fn check_secrets(&self, secrets: &[String]) {
        let is_logged = |line: &&String| line.contains(LOGGED);
        let log: String = self.state().story.iter().filter(is_logged).map(String::as_str).collect();
        for (name, bytes) in self.queue.files().into_iter().chain([("the log".to_owned(), log.into_bytes())]) {
            for secret in secrets.iter().filter(|secret| contains(&bytes, secret.as_bytes())) {
                self.violated("secret", format!("{name} has the secret `{secret}`"));
            }
        }
    }
}

/// The name of a reason that jobs can have.
pub(crate) fn because_of(class: ReasonClass) -> String {
    format!("because of {}", class.word())
}

/// The jobs, each with the path of its file. The queue adds a mark to the paths of files that have lost theirs to another file.
fn read_jobs(store: &Store) -> Vec<JobRow> {
    let mut jobs = store.jobs();
    for job in &mut jobs {
        let bytes = job.path.as_os_str().as_bytes();
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            job.path = PathBuf::from(OsStr::from_bytes(&bytes[..end]));
        }
    }
    jobs
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && memchr::memmem::find(text, part).is_some()
}

/// Whether the host has stored another size than was sent, twice: each try leaves a bad copy there, so none is made without a person.
fn is_left_to_a_person(job: &JobRow) -> bool {
    let is_bad_copy = |why: &Reason| why.class == ReasonClass::Host(Class::BadCopy);
    job.state == State::Held && job.why.as_ref().is_some_and(is_bad_copy)
}
