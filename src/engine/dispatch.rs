//! Alone claims jobs: it owns the slots and what is known of each host, and has every job carried by a task of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::host::LazyHost;
use crate::job::attempt::{self, Cause, Failure, History, OnUnknown, SessionFate};
use crate::job::health::{Change, Feedback, HostHealth, HostState};
use crate::job::share::SMALL_BYTES;
use crate::job::steer::{Order, Selection, Steered};
use crate::job::upload::Class;
use crate::job::verdict::GIVE_UP_AFTER;
use crate::job::{HostReport, JobId, Reason, ReasonClass, State, Watches};
use crate::os::crash::crash_point;
use crate::os::system::System;
use crate::store::{Asking, Claimed, ReturnedJob, Steer, Store, StoreError};
use crate::watch::Handle;

use super::ahead::{Expected, Opening};
use super::clocks;
use super::halt::Halt;
use super::handed::Handed;
use super::hosts::{HostSlots, Hosts, HostsSetting};
use super::keeping::{Calls, Rhythm};
use super::leaving::End;
use super::live::Board;
use super::orders::{GivenOrder, Orders};
use super::phase::{Phase, Phases};
use super::pool::{self, AtStop, Tasks, Workload};
use super::split;
use super::standing::{Network, News};
use super::worker::Worker;

/// A job under way.
pub(super) struct Running {
    job: JobId,
    /// Its host's place in the list.
    host: usize,
    bytes: u64,
    /// What speaks to its host for it.
    speaker: LazyHost,
    failures: u32,
    failing_for: Option<Duration>,
    /// Whether it had been tried before.
    retry: bool,
    /// What tells its attempt to stop.
    halt: Halt,
}

/// Claims jobs for every host, and has each carried by a task.
pub(crate) struct Dispatch {
    system: System,
    store: Store,
    hosts: Hosts,
    /// Jobs that may upload at once, where that is not found by measuring.
    uploads_max: Option<usize>,
    watches: Watches,
    /// Jobs under way that were told to leave because nobody wants them any more.
    leaving: BTreeSet<JobId>,
    shared: Shared,
    /// Jobs given so far, over all hosts.
    served: u64,
    calls: Calls,
    opening: Opening,
}

/// What is shared with others.
pub(crate) struct Shared {
    /// Where the hosts are.
    pub network: Network,
    /// What moves.
    pub board: Board,
    /// Where the scan is told to look.
    pub hints: Handle,
    /// Which hosts will have files soon.
    pub expected: Expected,
    /// What people order.
    pub orders: Orders,
    /// Hosts and limits to go by from now on.
    pub renewals: Handed<Renewal>,
}

/// What a new configuration changes here.
pub(crate) struct Renewal {
    /// The hosts and limits.
    pub hosts: HostsSetting,
    /// Jobs under way that are wanted no more.
    pub unwanted: Vec<JobId>,
    /// Who waits for it to be in force.
    pub taken: oneshot::Sender<()>,
}

type UploadTasks = Tasks<Running, Result<End, StoreError>>;

impl Dispatch {
    /// A loop over these hosts, of which `past` is known. Files whose job is gone are hinted at, so that their new version is met at
    /// once.
    pub(crate) fn new(
        system: System,
        store: Store,
        phases: Phases,
        setting: &HostsSetting,
        past: impl Fn(&str) -> HostHealth,
        shared: Shared,
    ) -> Dispatch {
        let mut hosts = Hosts::new(system.clone(), store.clone(), phases, shared.network.clone());
        hosts.renew(setting, past);
        let (uploads_max, watches) = (setting.uploads_max, setting.watches.clone());
        Dispatch {
            system,
            store,
            hosts,
            uploads_max,
            watches,
            leaving: BTreeSet::new(),
            shared,
            served: 0,
            calls: Calls::default(),
            opening: Opening::default(),
        }
    }

    /// Works until the daemon stops and every worker has left. An error is the queue's own.
    pub(crate) async fn run(self, phases: Phases) -> Result<(), StoreError> {
        let clock = self.system.clock.clone();
        pool::run(self, &clock, phases).await
    }

    /// Fills the free slots and answers when the next job or host is due.
    async fn claim(&mut self, tasks: &mut UploadTasks) -> Result<Option<Instant>, StoreError> {
        self.take_news().await?;
        if let Some(renewal) = self.shared.renewals.take() {
            self.renew(renewal, tasks).await?;
        }
        self.follow_orders(tasks).await?;
        if tasks.clocks.were_set_back() {
            self.forget_times().await?;
        }
        if self.shared.network.has_changed() {
            self.try_network().await?;
        }
        let now = clocks::now(&self.system.clock);
        let rested =
            self.hosts.configured().filter_map(|host| host.health().next_turn(now.into_std())).min().map(Instant::from_std);
        let uploads_max = self.uploads_max.unwrap_or_else(|| self.hosts.uploads_found());
        let free = uploads_max.saturating_sub(tasks.count());
        let asking: Vec<Asking> = self.hosts.configured().map(|host| host.asks(now)).collect();
        let waits = planted!("rest.stops_everyone") && rested.is_some();
        if free == 0 || waits || asking.iter().all(|asking| asking.room == 0) {
            return Ok(rested);
        }
        let claims = self.store.claim(asking, uploads_max, tasks.clocks.wall_ms()).await?;
        crash_point!("claim.after_commit");
        let full = claims.jobs.len() == free;
        let mut held = false;
        for job in claims.jobs {
            self.note(&job);
            if self.hold_for_room(&job).await? {
                held = true;
            } else {
                self.start(job, tasks);
            }
        }
        if held {
            // The slots of those that were held are for others, at once.
            return Ok(Some(clocks::now(&self.system.clock)));
        }
        let due = tasks.wake_at(claims.next_due_ms, full);
        Ok(rested.into_iter().chain(due).min())
    }

    /// From here on attempts begin by another configuration. One that is wanted no more leaves when what it has in flight has arrived;
    /// one whose host has gone, or is another account now, stops.
    async fn renew(&mut self, renewal: Renewal, tasks: &UploadTasks) -> Result<(), StoreError> {
        let Renewal { hosts, unwanted, taken } = renewal;
        let left = self.hosts.renew(&hosts, |_| HostHealth::ready());
        (self.uploads_max, self.watches) = (hosts.uploads_max, hosts.watches);
        for running in tasks.loads() {
            let is_unwanted = unwanted.contains(&running.job);
            if is_unwanted {
                self.leaving.insert(running.job);
            }
            if left.contains(&running.host) {
                running.halt.ask();
            } else if is_unwanted {
                running.halt.ask_to_leave();
            }
        }
        if unwanted.iter().any(|job| !self.leaving.contains(job)) {
            // It has been returned since it was looked for.
            self.store.follow_watches(self.watches.clone()).await?;
        }
        let now = self.now();
        let waiting = self.hosts.configured().filter(|host| host.waits_for_a_person(now));
        let names = waiting.map(|host| host.name.clone()).collect();
        self.try_hosts(&names).await?;
        // Whoever asked may have gone.
        taken.send(()).ok();
        Ok(())
    }

    /// Lets hosts hear from us that are due. Answers when the next one is.
    async fn keep_alive(&mut self) -> Result<Option<Instant>, StoreError> {
        let now = clocks::now(&self.system.clock);
        for host in self.hosts.configured_mut() {
            let Some(rhythm) = host.rhythm.as_mut() else { continue };
            if !rhythm.falls_due(now) {
                continue;
            }
            let is_wanted = rhythm.is_always() || host.uploads > 0 || self.store.others_wait(host.name.clone(), JobId(0)).await?;
            // A host that waits for a person refuses us.
            if is_wanted && !host.health().is_held() {
                self.calls.begin(host.name.clone(), host.worker.clone());
            }
        }
        Ok(self.hosts.configured().filter_map(|host| host.rhythm.as_ref()).map(Rhythm::next).min())
    }

    /// What is ordered is committed before anybody hears of it. No job is claimed meanwhile, so every one that is uploading has an
    /// attempt here that can be told to stop.
    async fn follow_orders(&mut self, tasks: &UploadTasks) -> Result<(), StoreError> {
        while let Some(GivenOrder { order, selection, reply }) = self.shared.orders.next() {
            let followed = self.follow(tasks, order, selection).await;
            let (answer, failed) = match followed {
                Ok(steered) => (Ok(steered), Ok(())),
                Err(error) => (Err(error.clone()), Err(error)),
            };
            // Whoever asked may have gone.
            drop(reply.send(answer));
            failed?;
        }
        Ok(())
    }

    async fn follow(&mut self, tasks: &UploadTasks, order: Order, selection: Selection) -> Result<Steered, StoreError> {
        let (mut steered, mut after) = (Steered::default(), Some(JobId(0)));
        let named = if order == Order::Retry { selection.hosts.clone() } else { Vec::new() };
        while let Some(from) = after {
            let page = Steer { order, selection: selection.clone(), after: from, under_way: true };
            crash_point!("order.before_commit");
            let page = self.store.steer(page).await?;
            crash_point!("order.after_commit");
            after = page.next;
            let mut under_way: Vec<_> = tasks.loads().filter(|running| page.jobs.contains(&running.job)).collect();
            under_way.sort_by_key(|running| running.job);
            for running in under_way {
                if page.stopping.contains(&running.job) { running.halt.ask() } else { running.halt.withdraw() }
            }
            steered.add(page);
        }
        steered.hosts.extend(named);
        self.try_hosts(&steered.hosts).await?;
        tracing::info!("{order:?} was ordered for {} jobs", steered.changed);
        Ok(steered)
    }

    /// Hosts that rest or are held may be tried by a job now.
    async fn try_hosts(&self, names: &BTreeSet<String>) -> Result<(), StoreError> {
        let now = self.now();
        for host in self.hosts.configured().filter(|host| names.contains(&host.name)) {
            if host.worker.standing.try_now(now) {
                self.store.record_host_rest(host.name.clone(), self.system.clock.now_ms()).await?;
            }
        }
        Ok(())
    }

    /// What this machine's network kept from its host is tried at once.
    async fn try_network(&self) -> Result<(), StoreError> {
        let unreached = self.hosts.configured().filter(|host| host.worker.standing.is_unreached());
        let names: BTreeSet<String> = unreached.map(|host| host.name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        tracing::info!("the network has changed; trying again what could not be reached");
        self.try_hosts(&names).await?;
        self.store.network_changed(names.into_iter().collect()).await
    }

    /// The time of day was set back: what was put off until a time of the old one is due, as at a start, and rests, which go on,
    /// end at another.
    async fn forget_times(&mut self) -> Result<(), StoreError> {
        tracing::warn!("the system clock was set back; retrying at once whatever waits for a time");
        self.store.clock_was_set_back().await?;
        let now = self.now();
        for host in self.hosts.configured() {
            if let Some(until) = host.health().shown_until(now) {
                self.store.record_host_rest(host.name.clone(), self.system.clock.in_ms(until - now)).await?;
            }
        }
        Ok(())
    }

    /// Whose turn it was, whatever becomes of the job.
    fn note(&mut self, job: &Claimed) {
        self.served += 1;
        if let Some(host) = self.hosts.configured_mut().find(|host| host.name == job.host) {
            (host.served, host.retried_last) = (self.served, job.retry);
            host.small_last = job.identity.size < SMALL_BYTES;
        }
    }

    /// Now, as rests are counted.
    fn now(&self) -> std::time::Instant {
        clocks::now(&self.system.clock).into_std()
    }

    fn start(&mut self, job: Claimed, tasks: &mut UploadTasks) {
        let now = self.now();
        let Some(place) = self.hosts.place_of(&job.host) else { return };
        let host = self.hosts.at(place);
        host.uploads += 1;
        host.retries += usize::from(job.retry);
        host.small += usize::from(job.identity.size < SMALL_BYTES);
        let halt = Halt::default();
        let running = Running {
            halt: halt.clone(),
            job: job.id,
            host: place,
            bytes: job.identity.size,
            speaker: host.worker.host.clone(),
            failures: job.failures,
            failing_for: job.failing_for,
            retry: job.retry,
        };
        let worker = Worker { epoch: host.health().epoch(), halt, ..host.worker.clone() };
        let stopped = worker.halt.clone();
        host.worker.standing.begins(now);
        let (entry, store) = (self.shared.board.enter(job.id, &job.host, &worker.connections), self.store.clone());
        tasks.start(running, async move {
            let mut phases = worker.phases.clone();
            let ready = tokio::select! {
                biased;
                ready = worker.ready_for(job.id, &job.host) => ready?,
                // A program that is to tell a secret may take as long as it likes.
                () = phases.reached(Phase::Draining) => return give_back_untried(&store, job).await,
                () = stopped.dropped(), if !job.give_back => return give_back_untried(&store, job).await,
            };
            let end = ready.run(job, entry.sent.clone()).await;
            drop(entry);
            end
        });
    }

    /// A job whose file changed is over, and the file itself may be there in a new version, or under a new name that the scan has
    /// followed.
    async fn look_again_at_file_of(&self, job: JobId) -> Result<(), StoreError> {
        if let Some((folder, name)) = split(&self.store.path_of(job).await?) {
            self.shared.hints.look(&folder, &name);
        }
        Ok(())
    }

    /// Makes connections to hosts that will have files soon, as far as they may upload them at once.
    fn open_ahead(&self) {
        let now = clocks::now(&self.system.clock);
        for (name, files) in self.shared.expected.take() {
            let host = self.hosts.configured().find(|host| host.name == name);
            if let Some(host) = host.filter(|host| !host.worker.standing.is_open()) {
                let most = host.asks(now).room.min(host.worker.connections.window().size());
                self.opening.begin(&name, host.worker.host.clone(), files, most);
            }
        }
    }

    /// Keeps what an attempt says about its host besides how it is doing.
    fn keep(&mut self, running: &Running, feedback: Feedback, why: Option<Reason>) {
        let host = self.hosts.at(running.host);
        if matches!(feedback, Feedback::Full { .. }) {
            host.no_room = why;
        } else if feedback == Feedback::Refused {
            host.make_anew(&running.speaker);
        }
    }

    /// Stores and tells how the hosts are doing now.
    async fn take_news(&self) -> Result<(), StoreError> {
        for host in self.hosts.all() {
            for News { change, why } in host.worker.standing.take_news() {
                self.record(host, &change, why).await?;
            }
            if let Some(past) = host.worker.standing.take_past(self.now()) {
                self.store.record_outage(host.name.clone(), past).await?;
            }
        }
        Ok(())
    }

    async fn record(&self, host: &HostSlots, change: &Change, why: Option<Reason>) -> Result<(), StoreError> {
        host.tell(change, why.as_ref());
        if change.releases_held {
            self.store.requeue_held(host.name.clone()).await?;
        }
        let report = HostReport {
            state: change.shown,
            until_ms: change.pause.map(|pause| self.system.clock.in_ms(pause)),
            why: why.filter(|_| change.shown != HostState::Ready),
            rests: host.health().rests(),
        };
        self.store.record_host(host.name.clone(), report).await?;
        Ok(())
    }

    /// A file for which the host is known to have no room is not even tried.
    async fn hold_for_room(&self, job: &Claimed) -> Result<bool, StoreError> {
        let now = self.now();
        let Some(host) = self.hosts.configured().find(|host| host.name == job.host) else { return Ok(false) };
        let Some(until) = host.health().no_room_until(job.identity.size, now) else { return Ok(false) };
        let returned = ReturnedJob {
            state: State::Held,
            why: host.no_room.clone(),
            next_try_ms: Some(self.system.clock.in_ms(until - now)),
            failures: job.failures,
            failing: job.failing.clone(),
            failing_for: job.failing_for,
            counts: false,
            session: SessionFate::Resume,
        };
        self.store.return_job(job.id, returned).await?;
        Ok(true)
    }

    /// A panic is our fault, and ends only its own job: it counts as a reply that nobody can read.
    async fn after_a_panic(&self, running: &Running, error: &JoinError) -> Result<(), StoreError> {
        tracing::error!(job.id = %running.job, "ferryd panicked during an upload; this is a bug in ferryd: {error}");
        let lasts = running.failing_for.unwrap_or_default();
        let history = History {
            progress: false,
            failures: running.failures,
            last_kind: None,
            failing_for: lasts,
            give_up_after: GIVE_UP_AFTER,
            host_is_down: false,
            refusal_may_pass: false,
            network_is_down: false,
            sessions_lost: 0,
            retries: None,
            on_unknown: OnUnknown::UploadAgain,
            bytes: running.bytes,
        };
        let failure = Failure {
            class: Class::Unreadable,
            worsens: None,
            wait: None,
            doubles: false,
            spaces: false,
            session: SessionFate::Resume,
        };
        let leaving = attempt::leaving(&Cause::Failed(failure), &history);
        let why = Some(Reason::new(ReasonClass::Panic));
        self.store.return_job(running.job, super::leaving::returned(&self.system, leaving, why, (Some(lasts), lasts))).await
    }
}

/// A job of which nothing has been asked of its host is as it was.
async fn give_back_untried(store: &Store, job: Claimed) -> Result<End, StoreError> {
    let Claimed { id, failures, failing, failing_for, give_back, .. } = job;
    if give_back {
        // The next start has it rest as before.
        return Ok(End { state: State::Waiting, feedback: Feedback::Nothing, why: None });
    }
    let returned = ReturnedJob {
        state: State::Queued,
        why: None,
        next_try_ms: None,
        failures,
        failing,
        failing_for,
        counts: false,
        session: SessionFate::Resume,
    };
    store.return_job(id, returned).await?;
    Ok(End { state: State::Queued, feedback: Feedback::Nothing, why: None })
}

impl Workload for Dispatch {
    type Load = Running;
    type End = Result<End, StoreError>;
    const IS_MAIN: bool = true;

    async fn begin(&mut self, tasks: &mut UploadTasks) -> Result<Option<Instant>, StoreError> {
        let heard = self.keep_alive().await?;
        let claimed = self.claim(tasks).await?;
        Ok(heard.into_iter().chain(claimed).min())
    }

    async fn end(&mut self, running: Running, end: Result<Result<End, StoreError>, JoinError>) -> Result<(), StoreError> {
        let host = self.hosts.at(running.host);
        host.uploads -= 1;
        host.retries -= usize::from(running.retry);
        host.small -= usize::from(running.bytes < SMALL_BYTES);
        let End { state, feedback, why } = match end {
            Ok(end) => end?,
            Err(panic) => return self.after_a_panic(&running, &panic).await,
        };
        if state == State::Gone {
            self.look_again_at_file_of(running.job).await?;
        }
        if self.leaving.remove(&running.job) {
            // It rests, unless its last request has made the file.
            self.store.follow_watches(self.watches.clone()).await?;
        }
        self.keep(&running, feedback, why);
        self.take_news().await
    }

    async fn arrivals(&self) {
        loop {
            tokio::select! {
                biased;
                // No job is begun for that.
                () = self.shared.expected.news() => self.open_ahead(),
                () = self.store.arrivals() => return,
                () = self.shared.network.news() => return,
                () = self.shared.orders.news() => return,
                () = self.shared.renewals.news() => return,
            }
        }
    }

    /// Requests are dropped; what was committed stays, and the rest is found at the next start.
    fn stop(&mut self) -> AtStop {
        AtStop::Drop
    }
}

/// Whoever waits for an order to be carried out hears that it will not be.
impl Drop for Dispatch {
    fn drop(&mut self) {
        self.shared.orders.end();
    }
}
