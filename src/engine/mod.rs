//! The only place where the queue and the hosts meet: builds the tasks, names them, and stops them in order.
//!
//! Order of the end: the watching stops first, so that nothing new arrives; then the workers leave their jobs, with the parts in
//! flight if the grace lasts; then the queue is closed by its owner.

mod ahead;
mod attempt;
pub mod bandwidth;
pub(crate) mod clocks;
pub mod connections;
mod content;
pub mod deliver;
pub(crate) mod digest;
pub(crate) mod dispatch;
pub(crate) mod exclusion;
pub(crate) mod foreseen;
mod gate;
mod halt;
mod handed;
pub(crate) mod hasher;
mod hosts;
pub(crate) mod intake;
mod keeping;
mod leaving;
pub(crate) mod live;
mod looker;
mod one_off;
mod orders;
mod parts;
pub mod phase;
mod pool;
mod reload;
mod rests;
pub mod roots;
pub(crate) mod source;
pub(crate) mod standing;
mod stop;
#[cfg(test)]
mod tests;
mod watching;
pub mod worker;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{Config, Environment, HostConfig};
use crate::host::http::Clients;
use crate::host::{KeptTokens, LazyHost, Unusable, registry};
use crate::job::Watches;
use crate::job::health::HostHealth;
use crate::os::files::{Base, Files};
use crate::os::machine;
use crate::os::mounts::Mounts;
use crate::os::path_changes::PathChanges;
use crate::os::system::System;
use crate::os::threads::Threads;
use crate::store::{self, Resting, Store, StoreError};
use crate::watch::{BadGlob, Handle, Root};

use ahead::Expected;
use deliver::{Deliver, DeliverSetting, Means};
use dispatch::Dispatch;
use hosts::HostsSetting;
use live::Board;
pub(crate) use live::SharedPaces;
pub(crate) use one_off::OneOffs;
pub use orders::Orders;
use phase::{Phase, PhaseSwitch, Phases};
pub use reload::Reloads;
use reload::{Loops, Reloader};
use roots::KnownRoots;
use standing::Network;
use watching::Watched;

/// How often the queue is asked whether its file is still in its place, where nobody tells of it.
const QUEUE_PAUSE: Duration = Duration::from_secs(5);
/// How often where the kernel tells.
const TOLD_QUEUE_PAUSE: Duration = Duration::from_secs(600);
/// How long after one change of the file the next one is heard of. Some are our own.
const QUEUE_QUIET: Duration = Duration::from_secs(1);

/// Why the engine ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The queue failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that the configuration describes cannot be made.
    #[error("{0}")]
    Setup(String),
}

impl From<BadGlob> for EngineError {
    fn from(error: BadGlob) -> EngineError {
        EngineError::Setup(error.to_string())
    }
}

/// By what whoever runs the engine has it end, and has orders carried out.
#[derive(Clone)]
pub struct Control {
    /// Moves the phase.
    pub switch: Arc<PhaseSwitch>,
    /// Shows it.
    pub phases: Phases,
    /// Orders of a person's.
    pub orders: Orders,
    /// Configurations that follow the one it begins with.
    pub reloads: Reloads,
    /// How fast bytes go.
    pub paces: SharedPaces,
}

/// Runs the daemon's work until the phase says that it ends. `host` answers what speaks to a configured host ([`host_of`]); `ready`
/// is called once every folder is watched.
pub async fn run(
    config: &Config,
    system: &System,
    host: impl Fn(&HostConfig) -> LazyHost,
    store: Store,
    control: Control,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    let Control { switch, phases, orders, reloads, paces } = control;
    let board = Board::telling(paces);
    let new_since = configure(config, &store).await?;
    store.recover().await?;
    let hints = Handle::default();
    let known_roots = KnownRoots::new(system.files.clone(), config.watches.clone(), store.known_roots().await?, hints.clone());
    let (means, loops) = (Means::new(system, &config.daemon.state_dir), Loops::default());
    let setting = DeliverSetting::of(config, system, known_roots.clone(), &means)?;
    let deliver = Deliver::by(setting, system.clone(), store.clone(), phases.clone(), &means, loops.deliver.clone());
    deliver::follow(config, &store).await?;
    let past = Past { resting: store.resting_hosts().await?, outages: store.outages().await? };
    let network = Network::default();
    let hosts = HostsSetting::of(config, &host, known_roots.clone());
    let making = tokio::spawn(make_all(hosts.hosts.iter().map(|(_, host)| host.clone()).collect()));

    let roots = Root::all(&system.files, &config.watches, &config.daemon.state_dir, &new_since)?;
    let watched = Watched { roots, watches: config.watches.clone(), known_roots: known_roots.clone() };
    let told = watching::Told { hints: hints.clone(), expected: Expected::default() };
    let expected = told.expected.clone();
    let watching = watching::start(watched, system, &store, told, loops.watching.clone(), ready)?;
    let looks_after = store.clone();
    let renewals = loops.dispatch.clone();
    let shared = dispatch::Shared { network: network.clone(), board: board.clone(), hints, expected, orders, renewals };
    let mut following = JoinSet::new();
    if system.clock.is_the_machines() {
        following.spawn(machine::follow_clock(system.clock.clone()));
        following.spawn(machine::follow_network(system.network.clone()));
    }
    let mut changes = system.network.changes();
    following.spawn(async move {
        while changes.changed().await.is_ok() {
            network.changed();
        }
    });
    let now = clocks::now(&system.clock).into_std();
    let dispatch = Dispatch::new(system.clone(), store.clone(), phases.clone(), &hosts, |name| past.of(name, now), shared);
    let (grace, grace_now) = tokio::sync::watch::channel(config.daemon.shutdown_grace);
    let reloader = Reloader {
        reloads,
        system: system.clone(),
        store: store.clone(),
        host,
        known_roots,
        means,
        grace,
        to: loops,
        config: config.clone(),
        making: Some(making),
    };
    let writing_down = tokio::spawn(async move { board.write_down(store).await });
    let grace = tokio::spawn(end_grace(switch.clone(), phases.clone(), grace_now));

    // Whichever ends first, asked or not, ends the other.
    let watching = then_drain(watching.run(system, &looks_after, phases.clone()), &switch);
    let placed = then_drain(look_after_queue(&config.daemon.state_dir, system, &looks_after, phases.clone()), &switch);
    let reloading = then_drain(reloader.run(phases.clone()), &switch);
    let dispatching = then_drain(dispatch.run(phases), &switch);
    let delivering = then_drain(deliver.run(), &switch);
    let (watched, dispatched, delivered, placed, reloaded) = tokio::join!(watching, dispatching, delivering, placed, reloading);
    drop(following);
    writing_down.abort();
    grace.abort();
    reloaded?;
    dispatched?;
    delivered?;
    watched?;
    placed
}

/// Tells the queue what is configured. Answers of each watch that was not scanned to the end yet since when it is.
async fn configure(config: &Config, store: &Store) -> Result<Vec<Option<i64>>, StoreError> {
    let watches = config.watches.iter().map(|watch| watch.path.clone()).collect();
    let hosts = config.hosts.iter().map(|host| (host.name.clone(), host.kind.word().to_owned())).collect();
    store.configure(watches, hosts).await
}

/// What tells that the file of the queue in `dir` may have been taken from its place.
fn changes_of_queue(dir: &Path) -> Option<PathChanges> {
    let hangs = !Mounts::now().met(dir, |_| false).is_empty();
    if hangs { None } else { PathChanges::of_file(&dir.join(store::FILE_NAME)).ok() }
}

async fn until_changed(changes: Option<PathChanges>) {
    match changes {
        Some(changes) => {
            // In the end it is looked at without having been told.
            drop(tokio::time::timeout(TOLD_QUEUE_PAUSE, changes.next()).await);
            tokio::time::sleep(QUEUE_QUIET).await;
        }
        None => tokio::time::sleep(QUEUE_PAUSE).await,
    }
}

/// Somebody may take the file of the queue away while nothing is written to it, too. In memory nobody can.
async fn look_after_queue(dir: &Path, system: &System, store: &Store, mut phases: Phases) -> Result<(), EngineError> {
    if !matches!(system.threads, Threads::Pool) {
        phases.reached(Phase::Draining).await;
        return Ok(());
    }
    let looks = async {
        loop {
            let changes = changes_of_queue(dir);
            if let Err(error) = store.look_after_place().await {
                return error;
            }
            until_changed(changes).await;
        }
    };
    // At the end a full disk is waited for no longer, which is no failure of this question.
    tokio::select! {
        biased;
        () = phases.reached(Phase::Draining) => Ok(()),
        error = looks => Err(error.into()),
    }
}

async fn then_drain<T>(work: impl Future<Output = T>, switch: &PhaseSwitch) -> T {
    let result = work.await;
    switch.advance(Phase::Draining);
    result
}

/// So much of the grace is kept back at most, for what has to end in order when the time of parts in flight is over.
const GRACE_KEPT_BACK: Duration = Duration::from_secs(3);

/// When parts in flight have had their grace, requests are dropped.
async fn end_grace(switch: Arc<PhaseSwitch>, mut phases: Phases, grace: tokio::sync::watch::Receiver<Duration>) {
    phases.reached(Phase::Draining).await;
    let grace = *grace.borrow();
    tokio::time::sleep(grace.saturating_sub(GRACE_KEPT_BACK.min(grace / 4))).await;
    tracing::info!("`shutdown_grace` of {} s is over; parts still in flight will be sent again at the next start", grace.as_secs());
    switch.advance(Phase::Stopping);
}

/// How the hosts were doing when the daemon stopped.
struct Past {
    resting: Vec<Resting>,
    outages: Vec<(String, String)>,
}

impl Past {
    fn of(&self, host: &str, now: std::time::Instant) -> HostHealth {
        let rest = self.resting.iter().find(|resting| resting.host == host);
        let health = rest.map_or_else(HostHealth::ready, |rest| HostHealth::resting(now + rest.left, rest.rests));
        let past = self.outages.iter().find(|(name, _)| name == host);
        health.after(past.map_or("", |(_, text)| text), now)
    }
}

/// Makes the hosts one after the other, so that a secret is read while whoever started the daemon may still be there to unlock it,
/// and the log says early what is missing. Jobs do not wait for this.
async fn make_all(hosts: Vec<LazyHost>) {
    for host in hosts {
        host.get().await;
    }
}

/// What speaks to a host over the network. One that cannot be made, because a secret is missing, stops only itself: its jobs are
/// held, with the reason, and it is made anew for the next that is tried.
pub fn host_of(
    host: &HostConfig,
    clients: &Clients,
    tokens: &KeptTokens,
    environment: impl Environment + Send + Sync + 'static,
) -> LazyHost {
    let (host, clients, tokens) = (host.clone(), clients.clone(), tokens.clone());
    LazyHost::new(clients.system().threads, move || {
        registry::host(&host, &environment, &clients, &tokens).unwrap_or_else(|error| {
            tracing::warn!("host {} cannot be used: {error}", host.name);
            Arc::new(Unusable(error))
        })
    })
}

/// Where the file at `path` is reached from: its watch, or just its folder where no watch covers it any more.
fn base_of(files: &Files, watches: &Watches, path: &Path) -> Base {
    watches.of_file(path).map_or_else(|| Base::around(files, path), |watch| Base::of(files, &watch.path, watch.follow_symlinks))
}

/// The folder and the name of a job's file, for a new look at it.
fn split(path: &Path) -> Option<(PathBuf, OsString)> {
    Some((path.parent()?.to_owned(), path.file_name()?.to_owned()))
}
