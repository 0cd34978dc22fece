//! The only place where the queue and the hosts meet: builds the tasks, names them, and stops them in order.
//!
//! Order of the end: the watching stops first, so that nothing new arrives; then the workers leave their jobs, with the parts in
//! flight if the grace lasts; then the queue is closed by its owner.

mod attempt;
pub mod bandwidth;
pub(crate) mod clocks;
pub mod connections;
pub mod deliver;
pub(crate) mod digest;
pub(crate) mod dispatch;
pub(crate) mod exclusion;
mod gate;
mod halt;
mod hasher;
pub(crate) mod intake;
mod keeping;
mod leaving;
pub(crate) mod live;
mod one_off;
mod orders;
mod parts;
pub mod phase;
mod pool;
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
use crate::job::flow::MOST_UNASKED;
use crate::job::health::HostHealth;
use crate::os::files::{Base, Files};
use crate::os::machine;
use crate::os::system::System;
use crate::os::threads::Threads;
use crate::store::{Resting, Store, StoreError};
use crate::watch::{BadGlob, Handle, Root};

use bandwidth::{Bucket, Limits};
use connections::{Connections, connections};
use deliver::Deliver;
use dispatch::{Dispatch, HostSlots};
use halt::Halt;
use live::Board;
pub(crate) use live::SharedPaces;
pub(crate) use one_off::OneOffs;
pub use orders::Orders;
use phase::{Phase, PhaseSwitch, Phases};
use roots::KnownRoots;
use standing::Network;
use worker::Worker;

/// How often the queue is asked whether its file is still in its place.
const QUEUE_PAUSE: Duration = Duration::from_secs(5);

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
    let Control { switch, phases, orders, paces } = control;
    let board = Board::telling(paces);
    let watches = config.watches.iter().map(|watch| watch.path.clone()).collect();
    let hosts = config.hosts.iter().map(|host| (host.name.clone(), host.kind.word().to_owned())).collect();
    let new_since = store.configure(watches, hosts).await?;
    store.recover().await?;
    let hints = Handle::default();
    let known_roots = KnownRoots::new(system.files.clone(), config.watches.clone(), store.known_roots().await?, hints.clone());
    let deliver = Deliver::new(config, system.clone(), store.clone(), phases.clone(), known_roots.clone())?;
    deliver::follow(config, &store).await?;
    let past = Past { resting: store.resting_hosts().await?, outages: store.outages().await? };
    let network = Network::default();
    let world = Surroundings { roots: &known_roots, past: &past, network: &network };
    let hosts = host_slots(config, system, host, &store, &phases, &world);

    let making = tokio::spawn(make_all(hosts.iter().map(|host| host.worker.host.clone()).collect()));

    let roots = Root::all(&system.files, &config.watches, &config.daemon.state_dir, &new_since)?;
    let watching = watching::start(roots, system, &config.watches, &store, known_roots, hints.clone(), ready)?;
    let looks_after = store.clone();
    let shared = dispatch::Shared { network: network.clone(), board: board.clone(), hints, orders };
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
    let dispatch = Dispatch::new(system.clone(), store.clone(), hosts, config.daemon.max_uploads, shared);
    let writing_down = tokio::spawn(async move { board.write_down(store).await });
    let grace = tokio::spawn(end_grace(switch.clone(), phases.clone(), config.daemon.shutdown_grace));

    // Whichever ends first, asked or not, ends the other.
    let watching = then_drain(watching.run(system, &looks_after, phases.clone()), &switch);
    let placed = then_drain(look_after_queue(system, &looks_after, phases.clone()), &switch);
    let dispatching = then_drain(dispatch.run(phases), &switch);
    let (watched, dispatched, delivered, placed) = tokio::join!(watching, dispatching, then_drain(deliver.run(), &switch), placed);
    drop(following);
    making.abort();
    writing_down.abort();
    grace.abort();
    dispatched?;
    delivered?;
    watched?;
    placed
}

/// Somebody may take the file of the queue away while nothing is written to it, too. In memory nobody can.
async fn look_after_queue(system: &System, store: &Store, mut phases: Phases) -> Result<(), EngineError> {
    if !matches!(system.threads, Threads::Pool) {
        phases.reached(Phase::Draining).await;
        return Ok(());
    }
    let looks = async {
        loop {
            tokio::time::sleep(QUEUE_PAUSE).await;
            if let Err(error) = store.look_after_place().await {
                return error;
            }
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
async fn end_grace(switch: Arc<PhaseSwitch>, mut phases: Phases, grace: Duration) {
    phases.reached(Phase::Draining).await;
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

/// What all hosts have around them.
struct Surroundings<'a> {
    roots: &'a KnownRoots,
    past: &'a Past,
    network: &'a Network,
}

fn host_slots(
    config: &Config,
    system: &System,
    lazy: impl Fn(&HostConfig) -> LazyHost,
    store: &Store,
    phases: &Phases,
    world: &Surroundings<'_>,
) -> Vec<HostSlots> {
    let daemon = &config.daemon;
    let unasked = daemon.max_connections.min(MOST_UNASKED);
    let now = clocks::now(&system.clock).into_std();
    let limits: Vec<usize> = config.hosts.iter().map(|host| host.max_connections.unwrap_or(unasked)).collect();
    let connections = connections(daemon.max_connections, &limits);
    let bandwidth = Arc::new(Bucket::new(daemon.bandwidth));
    let slots = |(host, connections): (&HostConfig, Connections)| {
        let worker = Worker {
            system: system.clone(),
            store: store.clone(),
            host: lazy(host),
            on_unknown: host.on_unknown,
            retries: host.retries,
            give_up_after: host.give_up_after,
            standing: world.network.host(world.past.of(&host.name, now)),
            epoch: 0,
            connections,
            limits: Limits::new(vec![Arc::new(Bucket::new(host.bandwidth)), bandwidth.clone()]),
            watches: config.watches.clone(),
            roots: world.roots.clone(),
            phases: phases.clone(),
            halt: Halt::default(),
        };
        let uploads_max = host.max_uploads.or(host.kind.max_uploads()).unwrap_or(daemon.max_uploads);
        HostSlots::new(host.name.clone(), worker, uploads_max).kept_alive(host.settings.keep_alive())
    };
    config.hosts.iter().zip(connections).map(slots).collect()
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
