//! The only place where the queue and the hosts meet: builds the tasks, names them, and stops them in order.
//!
//! Order of the end: the watching stops first, so that nothing new arrives; then the workers leave their jobs, with the parts in flight
//! if the grace lasts; then the queue is closed by its owner.

mod attempt;
pub mod bandwidth;
pub mod clocks;
pub mod connections;
pub mod deliver;
pub mod digest;
pub mod dispatch;
pub mod intake;
pub mod live;
mod parts;
pub mod phase;
pub mod source;
mod stop;
pub mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Config, Events, HostConfig, ProcessEnvironment, Watch};
use crate::host::{Host, Unusable, registry};
use crate::job::health::HostHealth;
use crate::os::beneath::Base;
use crate::store::{Resting, Store, StoreError};
use crate::watch::{self, Filter, Handle, Mode, Root};

use bandwidth::{Bucket, Limits};
use connections::{Connections, connections};
use deliver::Deliver;
use dispatch::{Dispatch, HostSlots};
use intake::Intake;
use live::Board;
use phase::{Phase, PhaseSwitch, Phases};
use worker::Worker;

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

/// Runs the daemon's work until `phases` says that it ends. `ready` is called once every folder is watched.
pub async fn run(
    config: &Config,
    store: Store,
    switch: Arc<PhaseSwitch>,
    phases: Phases,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), EngineError> {
    let board = Board::default();
    let watches = config.watches.iter().map(|watch| watch.path.clone()).collect();
    let hosts = config.hosts.iter().map(|host| (host.name.clone(), host.kind.word().to_owned())).collect();
    let seen_before = store.configured(watches, hosts).await?;
    store.recover().await?;
    let deliver = Deliver::new(config, store.clone(), phases.clone())?;
    deliver::follow(config, &store).await?;
    let hosts = host_slots(config, &store, &phases, &store.resting().await?);

    let hints = Handle::default();
    let intake = start_intake(config, &store, &seen_before, hints.clone(), ready)?;
    let dispatch = Dispatch::new(store.clone(), hosts, config.daemon.max_uploads, board.clone(), phases.clone(), hints.clone());
    let writing_down = tokio::spawn(async move { board.write_down(store).await });
    let grace = tokio::spawn(end_grace(switch.clone(), phases.clone(), config.daemon.shutdown_grace));

    // Whichever ends first, asked or not, ends the other.
    let watching = then_drain(end_intake(intake, hints, phases), &switch);
    let dispatching = then_drain(dispatch.run(), &switch);
    let (watched, dispatched, delivered) = tokio::join!(watching, dispatching, then_drain(deliver.run(), &switch));
    writing_down.abort();
    grace.abort();
    dispatched?;
    delivered?;
    watched
}

async fn then_drain<T>(work: impl Future<Output = T>, switch: &PhaseSwitch) -> T {
    let result = work.await;
    switch.advance(Phase::Draining);
    result
}

/// When parts in flight have had their grace, requests are dropped.
async fn end_grace(switch: Arc<PhaseSwitch>, mut phases: Phases, grace: Duration) {
    phases.reached(Phase::Draining).await;
    tokio::time::sleep(grace).await;
    tracing::info!("the grace of {} s is over; what is in flight is sent again at the next start", grace.as_secs());
    switch.advance(Phase::Stopping);
}

fn host_slots(config: &Config, store: &Store, phases: &Phases, resting: &[Resting]) -> Vec<HostSlots> {
    let daemon = &config.daemon;
    let limits: Vec<usize> = config.hosts.iter().map(|host| host.max_connections.unwrap_or(daemon.max_connections)).collect();
    let connections = connections(daemon.max_connections, &limits);
    let bandwidth = Arc::new(Bucket::new(daemon.bandwidth));
    let folder = |watch: &Watch| (Base::new(&watch.path, watch.follow_symlinks), watch.remote_path.clone());
    let folders: Arc<[_]> = config.watches.iter().map(folder).collect();
    let slots = |(host, connections): (&HostConfig, Connections)| {
        let worker = Worker {
            store: store.clone(),
            host: speaker(host),
            on_unknown: host.on_unknown,
            retries: host.retries,
            connections,
            limits: Limits::new(vec![Arc::new(Bucket::new(host.bandwidth)), bandwidth.clone()]),
            folders: folders.clone(),
            phases: phases.clone(),
        };
        let uploads_max = host.max_uploads.or(host.kind.max_uploads()).unwrap_or(daemon.max_uploads);
        let rest = resting.iter().find(|resting| resting.host == host.name);
        let resting = |rest: &Resting| HostHealth::resting(Instant::now().into_std() + rest.left, rest.rests);
        let health = rest.map_or_else(HostHealth::ready, resting);
        HostSlots::new(host.name.clone(), worker, uploads_max, health)
    };
    config.hosts.iter().zip(connections).map(slots).collect()
}

/// A host that cannot be made, because a secret is missing, stops only itself: its jobs are held, with the reason.
fn speaker(host: &HostConfig) -> Arc<dyn Host> {
    registry::host(host, &ProcessEnvironment).unwrap_or_else(|error| {
        tracing::warn!("host {} cannot be used: {error}", host.name);
        Arc::new(Unusable(error))
    })
}

fn start_intake(
    config: &Config,
    store: &Store,
    seen_before: &[bool],
    hints: Handle,
    ready: impl FnOnce() + Send + 'static,
) -> Result<tokio::sync::oneshot::Receiver<Option<StoreError>>, EngineError> {
    let roots: Result<Vec<Root>, EngineError> =
        config.watches.iter().zip(seen_before).map(|(watch, seen)| root(config, watch, *seen)).collect();
    let roots = roots?;
    let described = config.watches.iter().map(intake::Root::of).collect();
    let mut intake = Intake::new(store.clone(), described);
    let (ended, end) = tokio::sync::oneshot::channel();
    let work = move || {
        watch::run(roots, &mut intake, &hints, ready);
        // Nobody listens only when the engine is gone already.
        drop(ended.send(intake.into_failure()));
    };
    std::thread::Builder::new().name("watch".into()).spawn(work).map_err(|error| EngineError::Setup(error.to_string()))?;
    Ok(end)
}

async fn end_intake(
    mut intake: tokio::sync::oneshot::Receiver<Option<StoreError>>,
    hints: Handle,
    mut phases: Phases,
) -> Result<(), EngineError> {
    let ended = tokio::select! {
        ended = &mut intake => ended,
        () = phases.reached(Phase::Draining) => {
            hints.stop();
            intake.await
        }
    };
    match ended {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error.into()),
        Err(_) => Err(EngineError::Setup("the watching thread panicked; this is a bug in ferryd".into())),
    }
}

fn root(config: &Config, watch: &Watch, seen_before: bool) -> Result<Root, EngineError> {
    let filter = Filter::new(&watch.include, &watch.exclude, watch.min_size, watch.max_size)
        .map_err(|error| EngineError::Setup(error.to_string()))?;
    let inside = |path: &PathBuf| *path != watch.path && path.starts_with(&watch.path);
    let others = config.watches.iter().map(|other| other.path.clone());
    Ok(Root {
        path: watch.path.clone(),
        recursive: watch.recursive,
        filter,
        settle: watch.settle,
        settle_unknown: watch.settle_unknown,
        mode: match watch.events {
            Events::Auto => Mode::Auto,
            Events::Native => Mode::Native,
            Events::Poll => Mode::Poll,
        },
        rescan: watch.rescan,
        follow_symlinks: watch.follow_symlinks,
        existing: watch.existing || seen_before,
        except: others.chain([config.daemon.state_dir.clone()]).filter(inside).collect(),
    })
}

/// The folder and the name of a job's file, for a new look at it.
fn split(path: &std::path::Path) -> Option<(PathBuf, OsString)> {
    Some((path.parent()?.to_owned(), path.file_name()?.to_owned()))
}
