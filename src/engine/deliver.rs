//! What follows an upload: runs hooks and after-actions that are due, and renews links that are about to end.
//!
//! A delivery's row goes only after its hook has succeeded, so a crash at any point runs it again: at least once. The end waits
//! for what is under way; when the grace is over, commands and requests are dropped, and their rows stay as they are.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;

use crate::config::{Config, Hook, HostConfig};
use crate::hook::after::{self, AfterAction, Done, Task};
use crate::hook::{Facts, HookError, HookRunner};
use crate::host::http::Clients;
use crate::job::verdict::backoff;
use crate::job::watch::{After, Watch, Watches};
use crate::job::{Delivery, DeliveryId, Event, Identity, Reason, ReasonClass};
use crate::os::answers::Answers;
use crate::os::files::Base;
use crate::os::names::Names;
use crate::os::one_writer::OneWriter;
use crate::os::system::System;
use crate::store::{AFTER, HookRule, REFRESH, Rules, Store, StoreError, Wanted};
use crate::watch::Root;

use super::clocks;
use super::handed::Handed;
use super::phase::{Phase, Phases};
use super::pool::{self, AtStop, Tasks, Workload};
use super::rests::{Ended, Rests};
use super::roots::KnownRoots;
use super::{EngineError, base_of};

/// Tasks of one hook under way at once. There is no limit for all hooks together, so that none takes the room of another.
const AT_ONCE_OF_A_HOOK: usize = 2;
/// A task that takes longer leaves its place to another one: it moves a large file, or its file system hangs in the middle of a deletion.
const SLOW_AFTER: Duration = Duration::from_secs(30);
/// So many of a hook may do that.
const SLOW_MAX: usize = 4;
/// How long the first wait for a missing source lasts, and how often it doubles.
const MISSING_PAUSE: Duration = Duration::from_secs(2);
const MISSING_DOUBLINGS: u32 = 8;
/// How long a link is left alone whose file is about to be taken away.
const REFRESH_PAUSE: Duration = Duration::from_secs(300);

/// Tells the queue where files go, and what is to follow changes of state. What an earlier configuration asked for and this one does
/// not rests or is dropped, and that is said.
pub async fn follow(config: &Config, store: &Store) -> Result<(), StoreError> {
    let (rest, go_on) = store.follow_watches(config.watches.clone()).await?;
    if (rest, go_on) != (0, 0) {
        tracing::info!("the watches have changed: {rest} uploads are not wanted any more and rest, {go_on} go on");
    }
    for (key, rows) in store.set_rules(rules(config)).await? {
        let name = Hook::name_of(&key);
        tracing::warn!("hook `{name}` is no longer configured; pending calls dropped: {rows}");
    }
    Ok(())
}

fn rules(config: &Config) -> Rules {
    let hook = |hook: &Hook| HookRule {
        key: hook.key(),
        on: hook.on.clone(),
        before_ms: in_ms(hook.before),
        every_ms: hook.every.map(in_ms),
    };
    Rules {
        hooks: config.hooks.iter().map(hook).collect(),
        watches: config.watches.clone(),
        refresh: names(config, |host| host.refresh),
        trusted: names(config, |host| host.trust_replies),
        trusted_before: names(config, |host| host.trust_replies && host.trusts_earlier),
    }
}

fn in_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The names of the hosts of which `is` holds.
fn names(config: &Config, is: impl Fn(&HostConfig) -> bool) -> Vec<String> {
    config.hosts.iter().filter(|host| is(host)).map(|host| host.name.clone()).collect()
}

/// What deliveries are carried out with, whatever is configured.
#[derive(Clone)]
pub(super) struct Means {
    names: Arc<Names>,
    clients: Clients,
}

impl Means {
    pub(super) fn new(system: &System, state_dir: &Path) -> Means {
        Means { names: Arc::new(Names::new(system, state_dir)), clients: Clients::new(system) }
    }
}

/// What a configuration says of what follows an upload.
pub(super) struct DeliverSetting {
    keys: Vec<HookSlots>,
    hooks: Arc<HashMap<String, HookRunner>>,
    watches: Watches,
    roots: Arc<[Root]>,
    known_roots: KnownRoots,
}

impl DeliverSetting {
    pub(super) fn of(
        config: &Config,
        system: &System,
        known_roots: KnownRoots,
        means: &Means,
    ) -> Result<DeliverSetting, EngineError> {
        let mut hooks = HashMap::new();
        let mut keys = Vec::new();
        for hook in &config.hooks {
            let key = hook.key();
            let runner = HookRunner::new(hook, means.names.clone(), &means.clients);
            let tasks_max = if runner.one_at_a_time() || hook.every.is_some() { 1 } else { AT_ONCE_OF_A_HOOK };
            let ahead_ms = hook.every.map_or(0, in_ms);
            keys.push(HookSlots { hook: key.clone(), tasks_max, each: runner.at_once(), ahead_ms });
            hooks.insert(key, runner);
        }
        if config.watches.iter().any(|watch| watch.after != After::Keep) {
            keys.push(HookSlots { hook: AFTER.to_owned(), tasks_max: AT_ONCE_OF_A_HOOK, each: 1, ahead_ms: 0 });
        }
        if config.hosts.iter().any(|host| host.refresh) {
            keys.push(HookSlots { hook: REFRESH.to_owned(), tasks_max: 1, each: 1, ahead_ms: 0 });
        }
        let (watches, hooks) = (config.watches.clone(), Arc::new(hooks));
        let roots = Root::all(&system.files, &watches, &config.daemon.state_dir, &[])?.into();
        Ok(DeliverSetting { keys, hooks, watches, roots, known_roots })
    }
}

/// Takes due deliveries, and runs them in tasks.
pub struct Deliver {
    task: DeliveryTask,
    /// What to go by from now on.
    settings: Handed<DeliverSetting>,
    /// What may be asked of the queue.
    keys: Vec<HookSlots>,
    rests: Rests,
}

type DeliveryTasks = Tasks<RunningBatch, Result<Ended, StoreError>>;

/// The key of a hook, how many tasks it may have under way, and how many deliveries each of them has.
struct HookSlots {
    hook: String,
    tasks_max: usize,
    each: usize,
    /// How long a hook that gathers keeps what it is to be told: what comes within that time goes with what is due.
    ahead_ms: i64,
}

/// What a task is doing.
pub(super) struct RunningBatch {
    ids: Vec<DeliveryId>,
    hook: String,
    tries: u32,
    began: Instant,
}

/// Runs one delivery, or several that one hook takes together.
#[derive(Clone)]
struct DeliveryTask {
    system: System,
    store: Store,
    hooks: Arc<HashMap<String, HookRunner>>,
    watches: Watches,
    /// The same as the scan sees them.
    roots: Arc<[Root]>,
    known_roots: KnownRoots,
    phases: Phases,
    names: Arc<Names>,
    /// Ends long copies early.
    stop: Arc<AtomicBool>,
}

impl Deliver {
    /// A loop for the hooks and after-actions of `config`.
    pub fn new(
        config: &Config,
        system: System,
        store: Store,
        phases: Phases,
        known_roots: KnownRoots,
    ) -> Result<Deliver, EngineError> {
        let means = Means::new(&system, &config.daemon.state_dir);
        let setting = DeliverSetting::of(config, &system, known_roots, &means)?;
        Ok(Deliver::by(setting, system, store, phases, &means, Handed::default()))
    }

    /// The same by what is configured now, and by what is handed over later.
    pub(super) fn by(
        setting: DeliverSetting,
        system: System,
        store: Store,
        phases: Phases,
        means: &Means,
        settings: Handed<DeliverSetting>,
    ) -> Deliver {
        let DeliverSetting { keys, hooks, watches, roots, known_roots } = setting;
        let (names, stop) = (means.names.clone(), Arc::default());
        let task = DeliveryTask { system, store, hooks, watches, roots, known_roots, phases, names, stop };
        Deliver { task, settings, keys, rests: Rests::default() }
    }

    /// What is begun from here on goes by another configuration.
    fn renew(&mut self, setting: DeliverSetting) {
        let DeliverSetting { keys, hooks, watches, roots, known_roots } = setting;
        self.keys = keys;
        let task = &mut self.task;
        (task.hooks, task.watches, task.roots, task.known_roots) = (hooks, watches, roots, known_roots);
    }

    /// Works until the daemon stops and everything under way has ended. An error is the queue's own.
    pub async fn run(self) -> Result<(), StoreError> {
        let (clock, phases) = (self.task.system.clock.clone(), self.task.phases.clone());
        pool::run(self, &clock, phases).await
    }

    /// Begins what is due as far as there is room, and answers when the next is due.
    async fn begin_due(&mut self, tasks: &mut DeliveryTasks) -> Result<Option<Instant>, StoreError> {
        if let Some(setting) = self.settings.take() {
            self.renew(setting);
        }
        if tasks.clocks.were_set_back() {
            self.task.store.clock_was_set_back().await?;
        }
        let now = clocks::now(&self.task.system.clock);
        let becomes_slow = tasks.loads().map(|load| load.began + SLOW_AFTER).filter(|at| *at > now);
        let more_room = self.rests.next_end(now).into_iter().chain(becomes_slow).min();
        let wanted = self.wanted(tasks);
        if wanted.is_empty() {
            return Ok(more_room);
        }
        let running = tasks.loads().flat_map(|load| load.ids.iter().copied()).collect();
        let due = self.task.store.due_deliveries(wanted, running, tasks.clocks.wall_ms()).await?;
        let batches: Vec<Vec<Delivery>> = self.batches(&due.deliveries).collect();
        for batch in batches {
            self.spawn(batch, tasks);
        }
        Ok(tasks.wake_at(due.next_due_ms, false).into_iter().chain(more_room).min())
    }

    /// Deliveries of one hook that go together.
    fn batches<'a>(&'a self, due: &'a [Delivery]) -> impl Iterator<Item = Vec<Delivery>> + 'a {
        let each = |hook: &str| self.keys.iter().find(|key| key.hook == hook).map_or(1, |key| key.each);
        let of_a_hook = due.chunk_by(|one, next| one.hook == next.hook);
        of_a_hook.flat_map(move |deliveries| deliveries.chunks(each(&deliveries[0].hook))).map(<[Delivery]>::to_vec)
    }

    fn spawn(&self, batch: Vec<Delivery>, tasks: &mut DeliveryTasks) {
        let Some(first) = batch.first() else { return };
        let (hook, tries) = (first.hook.clone(), first.tries);
        let running = RunningBatch { ids: ids(&batch), hook, tries, began: clocks::now(&self.task.system.clock) };
        let task = self.task.clone();
        tasks.start(running, async move { task.run(batch).await });
    }

    /// How many deliveries each hook may begin that does not rest. One that had to rest begins with one alone.
    fn wanted(&self, tasks: &DeliveryTasks) -> Vec<Wanted> {
        let now = clocks::now(&self.task.system.clock);
        let busy = |hook: &str| places_taken(tasks.loads().filter(|load| load.hook == hook).map(|load| now - load.began));
        let tasks_max = |key: &HookSlots| self.rests.tasks_max(&key.hook, key.tasks_max, now);
        let room = |key: &HookSlots| tasks_max(key).saturating_sub(busy(&key.hook)) * key.each;
        let wanted = |key: &HookSlots| Wanted { ahead_ms: key.ahead_ms, ..Wanted::new(&key.hook, room(key)) };
        self.keys.iter().map(wanted).filter(|wanted| wanted.room > 0).collect()
    }
}

/// How many places tasks take that have run for so long.
fn places_taken(running: impl Iterator<Item = Duration>) -> usize {
    let (slow, others): (Vec<Duration>, Vec<Duration>) = running.partition(|long| *long >= SLOW_AFTER);
    others.len() + slow.len().saturating_sub(SLOW_MAX)
}

impl Workload for Deliver {
    type Load = RunningBatch;
    type End = Result<Ended, StoreError>;

    async fn begin(&mut self, tasks: &mut DeliveryTasks) -> Result<Option<Instant>, StoreError> {
        self.begin_due(tasks).await
    }

    async fn end(&mut self, load: RunningBatch, end: Result<Result<Ended, StoreError>, JoinError>) -> Result<(), StoreError> {
        let panic = match end {
            Ok(ended) => {
                self.rests.note(&load.hook, ended?, clocks::now(&self.task.system.clock));
                return Ok(());
            }
            Err(panic) => panic,
        };
        tracing::error!("ferryd panicked while running a hook; this is a bug in ferryd: {panic}");
        let why = Reason::new(ReasonClass::HookFailed)
            .about(Hook::name_of(&load.hook))
            .detail("ferryd panicked; this is a bug in ferryd");
        let next_try_ms = self.task.later(backoff(load.tries.saturating_add(1)));
        self.task.store.record_failed_delivery(load.ids, why, next_try_ms).await
    }

    async fn arrivals(&self) {
        tokio::select! {
            biased;
            () = self.task.store.deliveries() => {}
            () = self.settings.news() => {}
        }
    }

    /// Each task ends by itself: a command and a request are dropped, a file that is being written is waited for.
    fn stop(&mut self) -> AtStop {
        self.task.stop.store(true, Ordering::Relaxed);
        AtStop::Wait
    }
}

impl DeliveryTask {
    /// Does its batch and commits how it went.
    async fn run(mut self, batch: Vec<Delivery>) -> Result<Ended, StoreError> {
        let Some(first) = batch.first() else { return Ok(Ended::Fine) };
        let done = match first.event {
            Event::Refresh => return self.refresh(first).await.map(|()| Ended::Fine),
            Event::After if first.why.is_some() => return self.check_still_wanted(first).await.map(|()| Ended::Fine),
            Event::After => return self.act(first).await.map(|()| Ended::Fine),
            Event::Done | Event::Failed | Event::Held | Event::Expiring => {
                let Some(runner) = self.hooks.get(&first.hook).cloned() else { return Ok(Ended::Fine) };
                let facts: Vec<Facts> = batch.iter().map(|delivery| self.facts(delivery)).collect();
                tokio::select! {
                    biased;
                    done = runner.run(&facts) => done,
                    // What is dropped here is run again at the next start. A file that is being written is waited for.
                    () = self.phases.reached(Phase::Stopping), if !runner.one_at_a_time() => return Ok(Ended::Fine),
                }
            }
        };
        match done {
            Ok(()) => {
                for delivery in &batch {
                    tracing::debug!(job.id = %delivery.job, "hook `{}` has run for {:?}", Hook::name_of(&delivery.hook), delivery.path);
                }
                self.store.record_delivery(ids(&batch)).await?;
                Ok(Ended::Fine)
            }
            Err(error) => {
                let ended = if error.0.class == ReasonClass::HookTimedOut { Ended::TimedOut } else { Ended::Fine };
                self.fail(&batch, error).await?;
                Ok(ended)
            }
        }
    }

    async fn fail(&self, batch: &[Delivery], HookError(reason): HookError) -> Result<(), StoreError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let tries = batch.iter().map(|delivery| delivery.tries).max().unwrap_or_default();
        let ceiling = backoff(tries.saturating_add(1));
        let pause = ceiling.mul_f64(0.5 + self.system.chance.fraction() / 2.0);
        let why = match first.event {
            Event::After => Reason { class: ReasonClass::AfterFailed, ..reason },
            _ => reason.about(Hook::name_of(&first.hook)),
        };
        if batch.len() > 1 {
            tracing::warn!("{}; will retry, for {} events", why.fragment(), batch.len());
        } else {
            tracing::warn!(job.id = %first.job, "{:?} on {}: {}; will retry", first.path, first.host, why.fragment());
        }
        self.store.record_failed_delivery(ids(batch), why, self.later(pause)).await
    }

    /// The after-action of a file that every host has. Commits how it went.
    async fn act(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let (job, path) = (delivery.job, &delivery.path);
        let class = match self.run_after_action(delivery).await {
            Err(error) => return self.fail(std::slice::from_ref(delivery), error).await,
            Ok(Some(Done::Later(pause))) => {
                let why = Reason::new(ReasonClass::MayBeWritten);
                tracing::info!(job.id = %job, "leaving {path:?} in place for now: {}", why.fragment());
                return self.store.record_failed_delivery(vec![delivery.id], why, self.later(pause)).await;
            }
            Ok(Some(Done::Vanished)) if !self.is_lost(delivery).await => {
                let why = Reason::new(ReasonClass::SourceMissing);
                tracing::info!(job.id = %job, "{path:?}: {}", why.fragment());
                let pause = MISSING_PAUSE.saturating_mul(1 << delivery.tries.min(MISSING_DOUBLINGS));
                return self.store.record_failed_delivery(vec![delivery.id], why, self.later(pause)).await;
            }
            Ok(Some(Done::Changed)) => {
                self.known_roots.look_again(path);
                ReasonClass::SourceChanged
            }
            Ok(Some(Done::Linked)) => ReasonClass::SourceLinked,
            Ok(done) => {
                match done {
                    Some(Done::Deleted) => tracing::info!(job.id = %job, "deleted {path:?}: uploaded to every host"),
                    Some(Done::Moved(to)) => tracing::info!(job.id = %job, "moved {path:?} to {to:?}: uploaded to every host"),
                    _ => tracing::info!(job.id = %job, "{path:?} no longer exists; nothing to do after its upload"),
                }
                return self.store.record_delivery(vec![delivery.id]).await;
            }
        };
        let note = Reason::new(class);
        tracing::info!(job.id = %job, "{path:?}: {note}");
        self.store.keep_source(delivery.id, note).await
    }

    /// Whether a source that is missing is not merely out of reach, on a disk that is away or under a name that the next scan finds.
    async fn is_lost(&self, delivery: &Delivery) -> bool {
        let (roots, path, device) = (self.known_roots.clone(), delivery.path.clone(), delivery.identity.device);
        let now = self.system.clock.awake();
        // What does not answer is not gone.
        let lost = self.answers(&delivery.path).get(move || roots.is_lost(&path, device, now)).await.unwrap_or(false);
        // The scan may have followed it after the delivery was read.
        lost && self.store.path_of(delivery.job).await.is_ok_and(|path| path == delivery.path)
    }

    /// Does what the watch of the file says; nothing where it says nothing any more.
    async fn run_after_action(&self, delivery: &Delivery) -> Result<Option<Done>, HookError> {
        let Some((watch, action)) = self.action_for(&delivery.path) else { return Ok(None) };
        let base = base_of(&self.system.files, &self.watches, &delivery.path);
        // A disk that is away for a while has not lost its files, and one that does not answer is not asked for more.
        let top = base.clone();
        match self.answers(&watch.path).get(move || top.look_at_top().is_ok()).await {
            Ok(true) => {}
            Ok(false) => return Err(HookError::new(format!("the folder `{}` is missing", watch.path.display()))),
            Err(error) => return Err(HookError::new(format!("the folder `{}`: {error}", watch.path.display()))),
        }
        if let AfterAction::Move { folder, .. } = &action {
            // One that is not there is made.
            let target = Base::of(&self.system.files, folder, true);
            let answered = self.answers(folder).get(move || drop(target.look_at_top())).await;
            answered.map_err(|error| HookError::new(format!("the folder `{}`: {error}", folder.display())))?;
        }
        let (path, sent, close_seen) = (delivery.path.clone(), delivery.identity, delivery.close_seen);
        let (names, clock, stop) = (self.names.clone(), self.system.clock.clone(), self.stop.clone());
        let Some(turn) = OneWriter::of(self.system.threads, &path).await else {
            return Err(HookError::new("an earlier attempt still waits for its file system"));
        };
        let answers = match &action {
            AfterAction::Delete => self.answers(&path),
            AfterAction::Move { folder, .. } => Answers::of_each(self.system.threads, &[&path, folder]),
        };
        let (markers, prune_empty, watches) = (watch.ready_when.clone(), watch.prune_empty, self.watches.clone());
        let task = Task { base, path, sent, close_seen, action, markers, prune_empty, watches, names, clock, stop };
        let acting = answers.long(move || {
            let done = after::act(&task);
            drop(turn);
            done
        });
        acting.await.unwrap_or_else(|error| Err(HookError::new(error.to_string()))).map(Some)
    }

    /// The after-action waits for a host that was added. A file that no scan will find for it, because it is gone, changed or not
    /// wanted any more, is waited for no longer.
    async fn check_still_wanted(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let (root, path, version) = (self.root_of(&delivery.path).cloned(), delivery.path.clone(), delivery.identity);
        let answers = self.answers(&path);
        let look = move || root.is_some_and(|root| root.would_find(&path, &version));
        if answers.get(look).await.unwrap_or(true) {
            return self.store.look_again_later(delivery.id, self.later(backoff(delivery.tries.saturating_add(1)))).await;
        }
        tracing::info!(job.id = %delivery.job, "{:?} is missing, changed or now excluded; skipping its after-action", delivery.path);
        self.store.record_missing_file(delivery.id).await
    }

    /// The root whose scan would find a file at `path`.
    fn root_of(&self, path: &Path) -> Option<&Root> {
        self.roots.get(self.watches.owner(path.parent()?)?)
    }

    /// What the watch of `path` wants to happen to it.
    fn action_for(&self, path: &Path) -> Option<(&Watch, AfterAction)> {
        let watch = self.watches.of_file(path)?;
        let action = match &watch.after {
            After::Keep => return None,
            After::Delete => AfterAction::Delete,
            After::Move(target) => {
                AfterAction::Move { folder: target.clone(), below: path.strip_prefix(&watch.path).ok()?.to_owned() }
            }
        };
        Some((watch, action))
    }

    fn answers(&self, path: &Path) -> Answers {
        Answers::of(self.system.threads, path)
    }

    fn later(&self, pause: Duration) -> i64 {
        self.system.clock.in_ms(pause)
    }

    fn facts(&self, delivery: &Delivery) -> Facts {
        let path = &delivery.path;
        Facts { delivery: delivery.clone(), base: base_of(&self.system.files, &self.watches, path) }
    }

    async fn is_still_there(&self, delivery: &Delivery) -> bool {
        let (file, version) = (Base::of(&self.system.files, &delivery.path, true), delivery.identity);
        let look = move || file.look_at_top().is_ok_and(|stat| Identity::from(stat.numbers).same_version(&version));
        // What does not answer now is asked again by the upload.
        self.answers(&delivery.path).get(look).await.unwrap_or(true)
    }

    /// A link that dies soon is renewed by sending its file again, if it is still the version that has the link.
    async fn refresh(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let unwanted = || delivery.path.parent().and_then(|folder| self.watches.unwanted(folder, &delivery.host));
        if let Some(why) = (!delivery.one_off).then(unwanted).flatten() {
            return self.store.record_failed_delivery(vec![delivery.id], why, self.later(REFRESH_PAUSE)).await;
        }
        if !self.is_still_there(delivery).await {
            tracing::info!(job.id = %delivery.job, "the link of {:?} expires and cannot be renewed: the file has changed or is gone", delivery.path);
            return self.store.record_delivery(vec![delivery.id]).await;
        }
        if self.store.requeue(delivery.id).await? {
            tracing::info!(job.id = %delivery.job, "uploading {:?} to {} again for a new link", delivery.path, delivery.host);
            Ok(())
        } else {
            self.store
                .record_failed_delivery(vec![delivery.id], Reason::new(ReasonClass::AfterDue), self.later(REFRESH_PAUSE))
                .await
        }
    }
}

fn ids(load: &[Delivery]) -> Vec<DeliveryId> {
    load.iter().map(|delivery| delivery.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_hangs_leaves_its_place_to_others_as_long_as_few_do() {
        let long = |seconds: &[u64]| places_taken(seconds.iter().map(|seconds| Duration::from_secs(*seconds)));
        assert_eq!(long(&[]), 0);
        assert_eq!(long(&[0, 29]), 2);
        assert_eq!(long(&[30, 29]), 1);
        assert_eq!(long(&[30, 31, 3600, 86_400]), 0);
        assert_eq!(long(&[30, 31, 3600, 86_400, 50, 60, 1]), 3);
    }
}
