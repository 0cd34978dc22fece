//! The verbs, as the rest of the daemon calls them: what each means, and what its commit must outlive.
//!
//! What an answer says is committed, and what asks for [`Durability::Power`] is on the disk.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::job::absence::RootFolder;
use crate::job::attempt::SessionFate;
use crate::job::believed::after;
use crate::job::digest::Digest;
use crate::job::plan::Plan;
use crate::job::steer::{Order, Selection, Steered};
use crate::job::upload::{Ack, Outcome, Session, Shape};
use crate::job::verdict::RECHECK;
use crate::job::{DeliveryId, HostReport, Identity, JobId, Reason, SentHash, State, WatchReport, Watches};

use super::Durability::{Power, Process};
use super::backend::Backend;
use super::driver::Wake;
use super::values::Caller;
use super::{
    Arrival, Asking, Claims, Due, Durability, Live, Recorded, Resting, ReturnedJob, Rules, Seen, Steer, Store, StoreCall,
    StoreError, Version, Wanted,
};

/// The start, and how hosts and watches are doing.
impl Store {
    /// Notes which watches and hosts are configured. Answers for each watch that was not scanned to its end yet when it was first
    /// configured, in milliseconds since the Unix epoch.
    pub fn configure(&self, watches: Vec<PathBuf>, hosts: Vec<(String, String)>) -> StoreCall<Vec<Option<i64>>> {
        self.call(Power, move |queue, by| queue.configure(by, &watches, &hosts))
    }

    /// What an earlier run left behind goes back to where it can be claimed. Held hosts are looked at again; one that asked for
    /// rest has it, so that a daemon that is started over and over does not earn a lock-out.
    pub fn recover(&self) -> StoreCall<()> {
        self.call(Power, |queue, by| queue.recover(by))
    }

    /// Jobs whose files do not go to their hosts any more, by these watches, rest with the reason; those that do again go on.
    /// Answers how many of either there are. A session is kept for a day.
    pub fn follow_watches(&self, watches: Watches) -> StoreCall<(u64, u64)> {
        self.call(Power, move |queue, by| queue.follow_watches(by, &watches))
    }

    /// Jobs of this daemon that upload though their files do not go to their hosts, by these watches. As long as there are any, the next
    /// [`Store::follow_watches`] looks at every job again: what they become when they are returned is for it to see.
    pub fn unwanted_under_way(&self, watches: Watches) -> StoreCall<Vec<JobId>> {
        self.call(Process, move |queue, by| queue.unwanted_under_way(by, &watches))
    }

    /// A person may have mended what jobs wait for or are held by: they are due now, and hooks hear again of those that stay held.
    pub fn look_again(&self) -> StoreCall<()> {
        self.waking(Power, |queue, by| Ok((queue.look_again(by)?, Wake { arrivals: true, deliveries: false })))
    }

    /// Changes nothing. Fails, as every verb does then, where the file of the queue is not in its place any more.
    pub(crate) fn look_after_place(&self) -> StoreCall<()> {
        self.call(Process, |_, _| Ok(()))
    }

    /// The hosts that still want to rest.
    pub fn resting_hosts(&self) -> StoreCall<Vec<Resting>> {
        self.call(Process, |queue, by| queue.resting_hosts(by))
    }

    /// The time of day was set back: jobs and deliveries that wait for a time are due now, as at a start.
    pub fn clock_was_set_back(&self) -> StoreCall<()> {
        self.waking(Process, |queue, by| Ok((queue.clock_was_set_back(by)?, Wake { arrivals: true, deliveries: true })))
    }

    /// This machine's network has changed: jobs of these hosts are due now that wait for no longer than one does that could not
    /// reach its host, half a minute.
    pub fn network_changed(&self, hosts: Vec<String>) -> StoreCall<()> {
        self.waking(Process, move |queue, by| Ok((queue.network_changed(by, &hosts)?, Wake { arrivals: true, deliveries: false })))
    }

    /// How a host is doing, for people to see.
    pub fn record_host(&self, host: String, report: HostReport) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_host(by, &host, &report))
    }

    /// The rest of a host ends at another time of day than was said, in milliseconds since the Unix epoch.
    pub fn record_host_rest(&self, host: String, until_ms: i64) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_host_rest(by, &host, until_ms))
    }

    /// How the hosts have failed that have failed since their last success.
    pub fn outages(&self) -> StoreCall<Vec<(String, String)>> {
        self.call(Process, |queue, by| queue.outages(by))
    }

    /// How a host has failed since its last success, if it has. It outlives the process.
    pub fn record_outage(&self, host: String, outage: Option<String>) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_outage(by, &host, outage.as_deref()))
    }

    /// Whether other jobs than this one are to be done for its host.
    pub fn others_wait(&self, host: String, job: JobId) -> StoreCall<bool> {
        self.call(Process, move |queue, by| queue.others_wait(by, &host, job))
    }

    /// A host that was held takes files again: what was held because of it is due now.
    pub fn requeue_held(&self, host: String) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.requeue_held(by, &host))
    }

    /// How a watch is doing, for people to see.
    pub fn record_watch(&self, path: PathBuf, report: WatchReport) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_watch(by, &path, &report))
    }

    /// What the roots of watches were when known files were last met below them.
    pub(crate) fn known_roots(&self) -> StoreCall<Vec<(PathBuf, RootFolder)>> {
        self.call(Process, |queue, by| queue.known_roots(by))
    }

    /// Known files were met below the root of this watch. A scan finds that out again.
    pub(crate) fn record_root(&self, watch: PathBuf, root: RootFolder) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_root(by, &watch, &root))
    }

    /// What moves right now, for people to see. Replaces what was said before. It comes once a second while something moves, and
    /// takes sessions and acks of that second to the disk with it.
    pub fn record_progress(&self, live: Vec<Live>) -> StoreCall<()> {
        self.call(Power, move |queue, by| queue.record_progress(by, &live))
    }
}

/// Files that a scan meets.
impl Store {
    /// What is known of these versions of files in `folder` for `hosts`, in their order; at most [`super::LOOKUPS_MAX`] at once. It
    /// reads on the caller's thread, which may have to wait for the disk, and holds nothing when it returns.
    pub fn look_up(&self, folder: &Path, files: &[(&OsStr, Identity)], hosts: &[String]) -> Result<Vec<Seen>, StoreError> {
        self.driver.look_up(folder, files, hosts)
    }

    /// Makes a job for each arrival and each of its hosts, unless that version is already taken up for that host.
    pub fn enqueue(&self, arrivals: Vec<Arrival>) -> StoreCall<u64> {
        self.waking(Power, move |queue, by| {
            let made = queue.enqueue(by, &arrivals)?;
            Ok((made, Wake { arrivals: made > 0, ..Wake::default() }))
        })
    }

    /// A writer was seen to close this version of a file, whose jobs were made before.
    pub fn record_close(&self, folder: PathBuf, name: OsString, identity: Identity) -> StoreCall<()> {
        self.call_for_deliveries(Process, move |queue, by| queue.record_close(by, &folder, &name, &identity))
    }

    /// A known version of a file has another path now, each a folder and a name: its jobs follow it. Answers whether it was known
    /// at the earlier one.
    pub fn record_rename(&self, from: (PathBuf, OsString), to: (PathBuf, OsString), now: Identity) -> StoreCall<bool> {
        self.call(Power, move |queue, by| queue.record_rename(by, (&from.0, &from.1), (&to.0, &to.1), &now))
    }

    /// The file system tells something else of a known version now, which jobs and the scan go by from here on: other numbers, or
    /// another time. A scan can find that out again, so it need not outlive the power.
    pub fn record_new_numbers(&self, folder: PathBuf, name: OsString, now: Identity) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_new_numbers(by, &folder, &name, &now))
    }

    /// Where the file of `job` is, as far as the scan has followed it.
    pub fn path_of(&self, job: JobId) -> StoreCall<PathBuf> {
        self.call(Process, move |queue, by| queue.path(by, job))
    }
}

/// Jobs, from the claim to the outcome. What is told of a job that another daemon has claimed since changes nothing, and the answer
/// of the verbs that tell of an upload says whether the job is still this daemon's.
impl Store {
    /// Claims jobs for hosts that share `uploads_max` places ([`crate::job::share`]): all that are configured, since each is sure
    /// of some. Retries go by the time that they are due, new jobs by priority and age. A claim outlives the process but not the
    /// power: a claim lost with the power is a queued job.
    pub fn claim(&self, asking: Vec<Asking>, uploads_max: usize, now_ms: i64) -> StoreCall<Claims> {
        self.call(Process, move |queue, by| queue.claim(Caller { now_ms, ..by }, &asking, uploads_max))
    }

    /// The session is known from now on, and so are the shape it was opened with, the plan, and the exact version that is being
    /// sent, with its fingerprint where it could be read. Outlives the process; with the power, a session may be lost that is younger than a
    /// second, as its acks are, but none that is the place of a file.
    pub fn record_session(&self, job: JobId, session: Session, shape: Shape, plan: Plan, version: Version) -> StoreCall<Recorded> {
        let durability = if shape.session_is_place() { Power } else { Process };
        self.call(durability, move |queue, by| queue.record_session(by, job, &session, &shape, &plan, &version))
    }

    /// The session that was put on record is open over there, and is this from now on. Durable as a session is.
    pub fn record_begun(&self, job: JobId, session: Session) -> StoreCall<bool> {
        self.call(Process, move |queue, by| queue.record_begun(by, job, &session))
    }

    /// All that was answered before outlives the power when this is answered.
    pub fn on_the_disk(&self) -> StoreCall<()> {
        self.call(Power, |_, _| Ok(()))
    }

    /// An upload that has not begun waits for something, or does so no longer.
    pub fn record_wait(&self, job: JobId, why: Option<Reason>) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_wait(by, job, why.as_ref()))
    }

    /// This is exactly the version of the file whose bytes the host has: it has them already, or the file was touched while they
    /// were sent, and then compared with them.
    pub fn record_version(&self, job: JobId, version: Version) -> StoreCall<Recorded> {
        self.call(Power, move |queue, by| queue.record_version(by, job, &version))
    }

    /// Keeps the digest of a job's file, cut into parts of this size, until the job has ended. It can be computed again, so it need
    /// not outlive the power.
    pub fn save_digest(&self, job: JobId, part_bytes: u64, digest: Digest) -> StoreCall<bool> {
        self.call(Process, move |queue, by| queue.save_digest(by, job, part_bytes, &digest))
    }

    /// The digest that was kept of a job's file, cut into parts of this size.
    pub fn saved_digest(&self, job: JobId, part_bytes: u64) -> StoreCall<Option<Digest>> {
        self.call(Process, move |queue, by| queue.saved_digest(by, job, part_bytes))
    }

    /// The host has confirmed a part, whose bytes have this hash. Outlives the process, and within a second the power
    /// ([`Store::record_progress`]): a part sent twice does no harm.
    pub fn record_ack(&self, job: JobId, ack: Ack, plan: Plan, hash: Option<SentHash>) -> StoreCall<bool> {
        self.call(Process, move |queue, by| queue.record_ack(by, job, &ack, &plan, hash))
    }

    /// A host that takes bytes in order has confirmed them up to here, and may have moved the session. `hash` is that of all it
    /// has confirmed.
    pub fn record_offset(&self, job: JobId, held_bytes: u64, hash: Option<SentHash>, moved_to: Option<Session>) -> StoreCall<bool> {
        self.call(Process, move |queue, by| queue.record_offset(by, job, held_bytes, hash, moved_to.as_ref()))
    }

    /// The host was asked, and this is what it holds: it is believed over our own rows. `hash` is that of all of it.
    pub fn replace_acks(&self, job: JobId, acks: Vec<Ack>, held_bytes: u64, plan: Plan, hash: Option<SentHash>) -> StoreCall<bool> {
        self.call(Power, move |queue, by| queue.replace_acks(by, job, &acks, held_bytes, &plan, hash))
    }

    /// The commit is about to be sent. For a job that another daemon has claimed it must not be, so that is an error.
    pub fn record_commit_intent(&self, job: JobId) -> StoreCall<()> {
        self.call(
            Power,
            move |queue, by| if queue.record_commit_intent(by, job)? { Ok(()) } else { Err(StoreError::NotOurs { job }) },
        )
    }

    /// The host has the file, and this is what the user gets. Answers the job's state: `uploaded` as long as a hook or an
    /// after-action is still to come, else `done`.
    pub fn record_outcome(&self, job: JobId, outcome: Outcome) -> StoreCall<State> {
        let rules = self.rules.clone();
        self.waking(Power, move |queue, by| {
            let (state, due) = queue.record_outcome(by, job, &outcome, &rules.now())?;
            Ok((state, Wake { deliveries: due, ..Wake::default() }))
        })
    }

    /// The session of a job that is over has been given back, and is forgotten.
    pub fn record_given_back(&self, job: JobId) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_given_back(by, job))
    }

    /// The worker leaves the job.
    pub fn return_job(&self, job: JobId, returned: ReturnedJob) -> StoreCall<()> {
        let durability = match returned.state {
            State::Queued if returned.session == SessionFate::Resume => Process,
            _ => Power,
        };
        let rules = self.rules.clone();
        self.call_for_deliveries(durability, move |queue, by| {
            Ok(queue.return_job(by, job, &returned, &rules.now())?.unwrap_or(false))
        })
    }
}

/// Deliveries.
impl Store {
    /// Takes up what is to follow changes of state, before any job is carried and whenever it is configured anew: deliveries are continued,
    /// and those of hooks that are not configured any more are dropped. Answers these, each with the number of its rows.
    pub fn set_rules(&self, rules: Rules) -> StoreCall<Vec<(String, u64)>> {
        let (current, rules) = (self.rules.clone(), Arc::new(rules));
        self.call(Power, move |queue, by| {
            // What is committed after this goes by them, whenever it was asked for.
            current.set(&rules);
            queue.set_rules(by, &rules)
        })
    }

    /// Due deliveries for each hook, hook by hook and as far as there is room, without those that are `running`. What they follow from is on the
    /// disk.
    pub fn due_deliveries(&self, wanted: Vec<Wanted>, running: Vec<DeliveryId>, now_ms: i64) -> StoreCall<Due> {
        self.call(Power, move |queue, by| queue.due_deliveries(Caller { now_ms, ..by }, &wanted, &running))
    }

    /// What the deliveries ask for has succeeded.
    pub fn record_delivery(&self, ids: Vec<DeliveryId>) -> StoreCall<()> {
        let rules = self.rules.clone();
        self.call_for_deliveries(Power, move |queue, by| queue.record_delivery(by, &ids, &rules.now()))
    }

    /// The file of an after-action that waits for an added host will not be found for it: nothing is waited for any more.
    pub fn record_missing_file(&self, id: DeliveryId) -> StoreCall<()> {
        let rules = self.rules.clone();
        self.call_for_deliveries(Power, move |queue, by| queue.record_missing_file(by, id, &rules.now()))
    }

    /// The file of this after-action stays as it is for good: the jobs of its version are done, and `note` says why nothing was
    /// done to it.
    pub fn keep_source(&self, id: DeliveryId, note: Reason) -> StoreCall<()> {
        self.call(Power, move |queue, by| queue.keep_source(by, id, &note))
    }

    /// It has not; it is tried again at `next_try_ms`, in milliseconds since the Unix epoch. `why` says what failed, for a person.
    pub fn record_failed_delivery(&self, ids: Vec<DeliveryId>, why: Reason, next_try_ms: i64) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.record_failed_delivery(by, &ids, &why, soon(by, next_try_ms)))
    }

    /// The file of this delivery still waits for the scan to find it for the host that was added; somebody looks again at
    /// `next_try_ms`, in milliseconds since the Unix epoch.
    pub fn look_again_later(&self, id: DeliveryId, next_try_ms: i64) -> StoreCall<()> {
        self.call(Process, move |queue, by| queue.look_again_later(by, id, soon(by, next_try_ms)))
    }

    /// The job of this delivery is queued again for a new link, if its host has the file and the after-action is not about to take
    /// it away. Answers whether it is queued.
    pub fn requeue(&self, id: DeliveryId) -> StoreCall<bool> {
        self.waking(Power, move |queue, by| {
            let queued = queue.requeue(by, id)?;
            Ok((queued, Wake { arrivals: queued, ..Wake::default() }))
        })
    }

    /// Carries out an order of a person's for up to a thousand jobs after `steer.after`. On the disk when it answers.
    pub(crate) fn steer(&self, steer: Steer) -> StoreCall<Steered> {
        let rules = self.rules.clone();
        self.waking(Power, move |queue, by| {
            let (steered, deliveries) = queue.steer(by, &steer, rules.known().as_deref())?;
            let arrivals = steered.changed > 0;
            Ok((steered, Wake { arrivals, deliveries }))
        })
    }

    /// Carries out an order of a person's for all its jobs, while no daemon works on the queue. On the disk when it answers.
    pub fn carry_out(&self, order: Order, selection: &Selection) -> Result<Steered, StoreError> {
        let (mut steered, mut after) = (Steered::default(), Some(JobId(0)));
        while let Some(from) = after {
            let page = Steer { order, selection: selection.clone(), after: from, under_way: false };
            let page = self.steer(page).blocking()?;
            after = page.next;
            steered.add(page);
        }
        Ok(steered)
    }
}

impl Store {
    fn call<T: Send + 'static>(
        &self,
        durability: Durability,
        mut work: impl FnMut(&mut dyn Backend, Caller) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreCall<T> {
        self.waking(durability, move |queue, by| Ok((work(queue, by)?, Wake::default())))
    }

    /// A verb that answers whether a delivery may be due now.
    fn call_for_deliveries(
        &self,
        durability: Durability,
        mut work: impl FnMut(&mut dyn Backend, Caller) -> Result<bool, StoreError> + Send + 'static,
    ) -> StoreCall<()> {
        self.waking(durability, move |queue, by| Ok(((), Wake { deliveries: work(queue, by)?, ..Wake::default() })))
    }

    fn waking<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnMut(&mut dyn Backend, Caller) -> Result<(T, Wake), StoreError> + Send + 'static,
    ) -> StoreCall<T> {
        StoreCall::new(self, durability, Box::new(work))
    }
}

/// No delivery is put off for longer than an hour, though the clock be set back between the failure and its commit.
fn soon(by: Caller, next_try_ms: i64) -> i64 {
    next_try_ms.min(after(by.now_ms, RECHECK))
}
