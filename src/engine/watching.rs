//! Where the watching runs: on threads of its own, since it waits for file systems, or in turns with everything else in a
//! simulator.
//!
//! All watches on file systems of this machine share a thread. Those on a file system that may hang, since another machine or
//! another process serves it, have one of their own, so that it keeps nobody waiting but themselves. Whether a thread still gets
//! answers is looked at here; one that gets none is told in the reports of its watches, and not waited for at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::job::{Watch, WatchReport, Watches};
use crate::os::mounts::{FileSystemId, Mounts};
use crate::os::path_changes::PathChanges;
use crate::os::system::System;
use crate::os::threads::Threads;
use crate::store::{Store, StoreError};
use crate::watch::{self, Handle, Root, RootsHeard, Waiting};

use super::EngineError;
use super::ahead::Expected;
use super::handed::Handed;
use super::intake::{Intake, Lent, Reports};
use super::looker::Looker;
use super::phase::{Phase, Phases};
use super::roots::KnownRoots;

/// A folder that has not answered for so long is said not to answer.
const SILENT: Duration = Duration::from_secs(30);
/// How often that is looked at while a thread waits for an answer.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// How long the end waits for a thread that gets no answer.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How often the end looks whether it gets one.
const END_PAUSE: Duration = Duration::from_millis(100);

/// Why a thread has ended: the queue's failure, if that was the reason.
type Ended = Result<Option<StoreError>, oneshot::error::RecvError>;

/// What is to be watched.
pub(super) struct Watched {
    pub(super) roots: Vec<Root>,
    pub(super) watches: Watches,
    pub(super) known_roots: KnownRoots,
}

/// What the watching and the engine tell each other.
pub(super) struct Told {
    /// Where to look.
    pub(super) hints: Handle,
    /// Which hosts will have files soon.
    pub(super) expected: Expected,
}

/// What is to be done about the watching, and who waits for it.
pub(super) enum WatchOrder {
    /// Nothing is taken up until something else is to be watched.
    Rest(oneshot::Sender<()>),
    /// This is watched from here on.
    Watch(Watched, oneshot::Sender<()>),
    /// What was told of the watches is not there any more.
    ReportAgain(oneshot::Sender<()>),
}

/// The threads that watch.
pub(super) struct Watching {
    groups: Vec<Group>,
    ends: JoinSet<Ended>,
    /// Roots that a thread has given away, since they meet other file systems than before.
    leaving: (UnboundedSender<Vec<Root>>, UnboundedReceiver<Vec<Root>>),
    told: Told,
    watches: Watches,
    known_roots: KnownRoots,
    ready: Arc<Ready>,
    threads: Threads,
    orders: Handed<WatchOrder>,
    looker: Looker,
    /// What tells that another folder may be where a root was.
    changes: Option<PathChanges>,
}

/// Watches that share a thread.
struct Group {
    /// Their places among the watches.
    roots: Vec<usize>,
    handle: Handle,
    lent: Lent,
    reports: Reports,
    begun: Arc<AtomicBool>,
    /// The step at which its thread hangs, if that was told.
    told: Option<Waiting>,
}

/// What is called once every thread has begun, or is known to hang.
struct Ready(Mutex<Outstanding>);

/// How many threads have not begun, and what is called then.
struct Outstanding {
    left: usize,
    call: Option<Box<dyn FnOnce() + Send>>,
}

impl Ready {
    /// One that calls this when so many threads have begun.
    fn when(left: usize, call: impl FnOnce() + Send + 'static) -> Arc<Ready> {
        Arc::new(Ready(Mutex::new(Outstanding { left, call: Some(Box::new(call)) })))
    }

    fn begun(&self, begun: &AtomicBool) {
        if begun.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outstanding.left = outstanding.left.saturating_sub(1);
        let call = if outstanding.left == 0 { outstanding.call.take() } else { None };
        drop(outstanding);
        if let Some(call) = call {
            call();
        }
    }
}

/// The roots that share a thread: those that meet the same file systems that may hang, and all that meet none.
fn groups(roots: Vec<Root>, mounts: &Mounts) -> Vec<Vec<Root>> {
    let mut groups: BTreeMap<BTreeSet<FileSystemId>, Vec<Root>> = BTreeMap::new();
    for root in roots {
        groups.entry(root.may_hang(mounts)).or_default().push(root);
    }
    groups.into_values().collect()
}

/// Begins to watch. `ready` is called once each root has been scanned, or is known not to answer. What is told through its hints
/// reaches the threads.
pub(super) fn start(
    watched: Watched,
    system: &System,
    store: &Store,
    told: Told,
    orders: Handed<WatchOrder>,
    ready: impl FnOnce() + Send + 'static,
) -> Result<Watching, EngineError> {
    let mut watching = Watching {
        groups: Vec::new(),
        ends: JoinSet::new(),
        leaving: unbounded_channel(),
        told,
        watches: Watches::default(),
        known_roots: KnownRoots::default(),
        ready: Ready::when(0, || ()),
        threads: system.threads,
        orders,
        looker: Looker::default(),
        changes: None,
    };
    watching.begin_all(watched, system, store, ready)?;
    Ok(watching)
}

impl Watching {
    /// Begins the threads for all that is to be watched.
    fn begin_all(
        &mut self,
        watched: Watched,
        system: &System,
        store: &Store,
        ready: impl FnOnce() + Send + 'static,
    ) -> Result<(), EngineError> {
        let Watched { roots, watches, known_roots } = watched;
        (self.watches, self.known_roots) = (watches, known_roots);
        let groups = match system.threads {
            Threads::Pool => groups(roots, &Mounts::now()),
            #[cfg(feature = "simulator")]
            Threads::Caller => vec![roots],
        };
        self.ready = Ready::when(groups.len(), ready);
        groups.into_iter().try_for_each(|roots| self.begin(roots, system, store))?;
        self.listen();
        Ok(())
    }

    /// Listens anew for what leads a root elsewhere, and has all of them looked at, since it may have happened before.
    fn listen(&mut self) {
        if !self.may_hang() {
            return;
        }
        let mounts = Mounts::now();
        let is_here = |root: &usize| mounts.met(&self.watches[*root].path, |_| false).is_empty();
        let here = self.groups.iter().flat_map(|group| &group.roots).filter(|root| is_here(root));
        let changes = PathChanges::of(here.map(|root| self.watches[*root].path.as_path()));
        for group in &self.groups {
            let is_told = changes.is_ok() && group.roots.iter().all(is_here);
            group.handle.look_at_roots(if is_told { RootsHeard::Told } else { RootsHeard::Untold });
        }
        self.changes = changes.ok();
    }

    /// In turns with everything else nothing hangs, and nothing is mounted.
    fn may_hang(&self) -> bool {
        matches!(self.threads, Threads::Pool)
    }

    /// Ends all threads. What they have not done is met again by the next.
    async fn rest(&mut self) -> Ended {
        self.told.hints.stop();
        let failure = self.end().await;
        self.groups.clear();
        self.told.hints.hand_on_to_nobody();
        // What they have given away was theirs.
        self.leaving = unbounded_channel();
        failure
    }

    async fn obey(&mut self, order: WatchOrder, system: &System, store: &Store) -> Result<(), EngineError> {
        let told = match order {
            WatchOrder::Rest(told) => match self.rest().await {
                Ok(None) => told,
                Ok(Some(error)) => return Err(error.into()),
                Err(_) => return Err(panicked()),
            },
            WatchOrder::Watch(watched, told) => {
                let lines = lines(&watched.watches, &self.watches);
                self.begin_all(watched, system, store, move || lines.iter().for_each(|line| tracing::info!("{line}")))?;
                told
            }
            WatchOrder::ReportAgain(told) => {
                self.groups.iter().for_each(|group| group.handle.report_again());
                told
            }
        };
        // Whoever waits for it may have gone.
        told.send(()).ok();
        Ok(())
    }

    /// Begins a thread for these roots.
    fn begin(&mut self, roots: Vec<Root>, system: &System, store: &Store) -> Result<(), EngineError> {
        let looker = self.looker.clone();
        let handle = Handle::telling(move || looker.wake());
        self.told.hints.hand_on_to(handle.clone());
        let expected = self.told.expected.clone();
        let intake = Intake::new(system.clone(), store.clone(), self.watches.clone(), self.known_roots.clone(), expected);
        let begun = Arc::<AtomicBool>::default();
        self.groups.push(Group {
            roots: roots.iter().map(Root::index).collect(),
            handle: handle.clone(),
            lent: intake.lent(),
            reports: intake.reports(),
            begun: begun.clone(),
            told: None,
        });
        let ready = self.ready.clone();
        let leaving = self.leaving.0.clone();
        let leave = move |roots| drop(leaving.send(roots));
        let end = spawn(roots, system, intake, handle, move || ready.begun(&begun), leave)?;
        self.ends.spawn(end);
        Ok(())
    }

    /// Looks after the threads until one has ended by itself, or the daemon drains; then ends them all.
    pub(super) async fn run(mut self, system: &System, store: &Store, mut phases: Phases) -> Result<(), EngineError> {
        let (mut ended, orders, may_hang) = (Ok(None), self.orders.clone(), self.may_hang());
        loop {
            tokio::select! {
                biased;
                Some(end) = self.ends.join_next() => match end.unwrap_or(Ok(None)) {
                    // It has given all its roots away.
                    Ok(None) => {}
                    end => {
                        ended = end;
                        break;
                    }
                },
                Some(roots) = self.leaving.1.recv() => self.take_in(roots, system, store)?,
                () = phases.reached(Phase::Draining) => break,
                () = orders.news() => if let Some(order) = orders.take() {
                    self.obey(order, system, store).await?;
                },
                () = changed(self.changes.as_ref()) => self.listen(),
                () = next_look(&self.looker, &self.groups), if may_hang => self.look_after(store).await,
            }
        }
        self.told.hints.stop();
        let others = self.end().await;
        match ended.and_then(|failure| Ok(failure.or(others?))) {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error.into()),
            Err(_) => Err(panicked()),
        }
    }

    /// Begins threads for roots that others have given away.
    fn take_in(&mut self, roots: Vec<Root>, system: &System, store: &Store) -> Result<(), EngineError> {
        let taken: Vec<usize> = roots.iter().map(Root::index).collect();
        for group in &mut self.groups {
            group.roots.retain(|root| !taken.contains(root));
        }
        for roots in groups(roots, &Mounts::now()) {
            for root in &roots {
                tracing::info!(
                    "what is mounted on {:?} or below it has changed; watching it anew",
                    self.watches[root.index()].path
                );
            }
            self.begin(roots, system, store)?;
        }
        self.listen();
        Ok(())
    }

    /// Waits for threads that were told to end, but not for those that get no answer. Those have no queue any more when their
    /// answer comes.
    async fn end(&mut self) -> Ended {
        let mut failure = Ok(None);
        while !self.ends.is_empty() {
            match tokio::time::timeout(END_PAUSE, self.ends.join_next()).await {
                Ok(Some(Ok(end))) => failure = failure.and_then(|failure: Option<StoreError>| Ok(failure.or(end?))),
                Ok(_) => {}
                Err(_) if self.groups.iter().filter(|group| group.is_stuck(END_PATIENCE)).count() == self.ends.len() => break,
                Err(_) => {}
            }
        }
        for group in &self.groups {
            group.lent.take_back();
        }
        self.ends.detach_all();
        failure
    }

    /// Tells which watches get no answer, and which get one again.
    async fn look_after(&mut self, store: &Store) {
        if self.changes.is_none() {
            // A root that was not there may be by now.
            self.listen();
        }
        for group in &mut self.groups {
            let pulse = group.handle.pulse();
            match (pulse.stuck(SILENT), group.told) {
                (_, Some(told)) if !pulse.is_still(told) => {
                    group.told = None;
                    tracing::info!("the watched folder {:?} answers again", self.watches[told.root].path);
                    group.handle.report_again();
                }
                (Some(waiting), None) => {
                    group.told = Some(waiting);
                    let path = self.watches[waiting.root].path.clone();
                    tracing::warn!("the watched folder {path:?} has not answered for {} s", SILENT.as_secs());
                    for (path, report) in group.silent(waiting.root, &self.watches) {
                        if let Err(error) = store.record_watch(path, report).await {
                            tracing::debug!("cannot note how a watch is doing: {error}");
                        }
                    }
                    self.ready.begun(&group.begun);
                    // Its own report may have come first.
                    if !pulse.is_still(waiting) {
                        group.handle.report_again();
                    }
                }
                _ => {}
            }
        }
    }
}

/// Waits until it is time to look after the threads. While all of them have nothing to do, it is not.
async fn next_look(looker: &Looker, groups: &[Group]) {
    let at_rest = |group: &Group| group.told.is_none() && group.handle.pulse().is_at_rest();
    looker.sleep_while(|| groups.iter().all(at_rest)).await;
    tokio::time::sleep(LOOK_PAUSE).await;
}

/// Waits for what leads a root elsewhere, where that is told.
async fn changed(changes: Option<&PathChanges>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

fn panicked() -> EngineError {
    EngineError::Setup("the watching panicked; this is a bug in ferryd".into())
}

/// What is said of each watch that is watched, and was not before.
fn lines(watches: &Watches, before: &Watches) -> Vec<String> {
    let is_new = |watch: &&Watch| !before.iter().any(|one| one.path == watch.path);
    let line = |watch: &Watch| format!("watching {:?}, uploading to {}", watch.path, watch.to.join(", "));
    watches.iter().filter(is_new).map(line).collect()
}

impl Group {
    fn is_stuck(&self, limit: Duration) -> bool {
        self.handle.pulse().stuck(limit).is_some()
    }

    /// What there is to be told of each watch while its thread gets no answer from the root at `silent`.
    fn silent(&self, silent: usize, watches: &Watches) -> Vec<(PathBuf, WatchReport)> {
        let told = self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = SILENT.as_secs();
        let report = |root: &usize| {
            let why = if *root == silent {
                format!("the folder has not answered for {limit} s")
            } else {
                format!(
                    "waiting for {:?}, which is on the same file system and has not answered for {limit} s",
                    watches[silent].path
                )
            };
            let report = told.get(root).cloned().unwrap_or_default();
            (watches[*root].path.clone(), WatchReport { why: Some(why), ..report })
        };
        self.roots.iter().map(report).collect()
    }
}

/// Watches `roots` where nobody else is kept waiting. What is answered resolves when that has ended.
fn spawn(
    roots: Vec<Root>,
    system: &System,
    mut intake: Intake,
    hints: Handle,
    ready: impl FnOnce() + Send + 'static,
    leave: impl Fn(Vec<Root>) + Send + 'static,
) -> Result<oneshot::Receiver<Option<StoreError>>, EngineError> {
    let (ended, end) = oneshot::channel();
    let system = system.clone();
    match system.threads {
        Threads::Pool => {
            let work = move || {
                watch::run(roots, &system, &mut intake, &hints, ready, leave);
                // Nobody listens only when the engine is gone already.
                drop(ended.send(intake.into_failure()));
            };
            let started = std::thread::Builder::new().name("watch".into()).spawn(work);
            started.map_err(|error| EngineError::Setup(format!("cannot start a thread that watches: {error}")))?;
        }
        #[cfg(feature = "simulator")]
        Threads::Caller => {
            let work = async move {
                in_turns(roots, &system, &mut intake, &hints, ready).await;
                drop(ended.send(intake.into_failure()));
            };
            drop(tokio::spawn(work));
        }
    }
    Ok(end)
}

/// Watches in a task, which has its turn when a hint comes or something is due.
#[cfg(feature = "simulator")]
async fn in_turns(roots: Vec<Root>, system: &System, intake: &mut Intake, hints: &Handle, ready: impl FnOnce()) {
    let hinted = std::sync::Arc::new(tokio::sync::Notify::new());
    let wake = hinted.clone();
    hints.on_hint(move || wake.notify_one());
    let mut watcher = watch::Watcher::new(roots, system, intake, hints);
    if watcher.begin().is_err() {
        return;
    }
    ready();
    while watcher.turn(hints.take_now()).is_ok() {
        let due = watcher.next_due().map(tokio::time::Instant::from_std);
        tokio::select! {
            biased;
            () = hinted.notified() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {}
        }
    }
}
