//! The daemon's own engine at work in this process: a watched folder, a queue and one host, and nothing of the user's but the host.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::config::{Config, Daemon, HostConfig, ProcessEnvironment};
use crate::engine::phase::{Phase, phases};
use crate::engine::{self, Control, EngineError, Orders, Reloads, SharedPaces};
use crate::host::http::Clients;
use crate::host::{Host, KeptTokens, LazyHost, Unusable, registry};
use crate::job::flow::InFlight;
use crate::job::remote_path::{Piece, RemotePath};
use crate::job::steer::{Order, Selection};
use crate::job::{State, Watch};
use crate::os::clock;
use crate::os::system::System;
use crate::store::{Query, Snapshot, Store, View};

use super::super::render::CommandFailure;
use super::observed::{Observed, Requests};
use super::place::Place;
use super::stop::Stop;
use super::target::FOLDER_THERE;
use super::trouble::failed;

/// How long the folder may take to be watched.
const WATCHING_PATIENCE: Duration = Duration::from_secs(30);
/// How long uploads that are given up may take to end.
const GIVING_UP_PATIENCE: Duration = Duration::from_secs(8);
/// How long parts in flight may go on at the end.
const GRACE: Duration = Duration::from_secs(2);
/// How long threads may take that wait for a disk.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How long the engine may take to tell of its window: it does once a second.
const WINDOW_PATIENCE: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(10);

/// The engine; it ends when this is dropped, and gives up what it has not uploaded.
pub(super) struct Engine {
    /// Nothing once it has been ended.
    thread: Option<JoinHandle<Result<(), EngineError>>>,
    control: Control,
    store: Option<Store>,
    /// Nothing once it has been ended.
    runtime: Option<Runtime>,
    state_dir: PathBuf,
    name: String,
    host: LazyHost,
    pub requests: Requests,
}

/// The same engine as a daemon's, with only this host and only the folder in `place`. On a host that has folders, all goes into one,
/// which a person can remove at once.
fn settings(place: &Place, host: &Arc<HostConfig>, daemon: &Daemon) -> Config {
    let remote_path = RemotePath(vec![Piece::Text(FOLDER_THERE.into())]);
    let watch = Watch { settle: Duration::ZERO, remote_path, ..Watch::new(place.watched(), [host.name.clone()].into()) };
    Config {
        file: place.path("config.toml"),
        daemon: Daemon { state_dir: place.state(), shutdown_grace: GRACE, ..daemon.clone() },
        watches: [watch].into_iter().collect(),
        hosts: vec![host.clone()],
        hooks: Vec::new(),
    }
}

/// The host with its secrets read. Tokens that the daemon keeps are used, and none is used up.
fn observed(host: &HostConfig, clients: &Clients, tokens: &KeptTokens, requests: &Requests) -> LazyHost {
    let (host, clients, tokens, requests) = (host.clone(), clients.clone(), tokens.clone(), requests.clone());
    LazyHost::new(clients.system().threads, move || {
        let made = registry::host(&host, &ProcessEnvironment, &clients, &tokens);
        Observed::around(made.unwrap_or_else(|error| Arc::new(Unusable(error))), requests.clone())
    })
}

impl Engine {
    /// Starts it, and waits until the folder is watched. `daemon` has the user's limits, and where tokens are kept.
    pub(super) fn start(place: &Place, host: &Arc<HostConfig>, daemon: &Daemon, stop: &Stop) -> Result<Engine, CommandFailure> {
        let system = System::default();
        let runtime = super::super::runtime()?;
        let requests = Requests::default();
        let tokens = KeptTokens::read_only(&system, &daemon.state_dir);
        let lazy = observed(host, &Clients::new(&system), &tokens, &requests);
        let config = settings(place, host, daemon);
        let state_dir = config.daemon.state_dir.clone();
        let (store, writer) = Store::open(&state_dir).map_err(|error| CommandFailure::store(&state_dir, &error))?;
        let (switch, phases) = phases();
        let control = Control {
            switch: Arc::new(switch),
            phases,
            orders: Orders::default(),
            reloads: Reloads::default(),
            paces: SharedPaces::default(),
        };
        let (tell, ready) = mpsc::channel();
        let tasks = runtime.handle().clone();
        let (controlled, queue, speaks) = (control.clone(), store.clone(), lazy.clone());
        let live = move || {
            // Whoever does not listen any more has given up waiting.
            let ready = move || tell.send(()).unwrap_or_default();
            let ended = tasks.block_on(engine::run(&config, &system, |_| speaks.clone(), queue, controlled.clone(), ready));
            controlled.orders.end();
            controlled.reloads.end();
            writer.join();
            ended
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(live);
        let thread = Some(thread.map_err(|error| failed("cannot start a thread", &error))?);
        let (store, runtime, name) = (Some(store), Some(runtime), host.name.clone());
        let mut engine = Engine { thread, control, store, runtime, state_dir, name, host: lazy, requests };
        engine.wait_watching(&ready, stop)?;
        Ok(engine)
    }

    fn wait_watching(&mut self, ready: &mpsc::Receiver<()>, stop: &Stop) -> Result<(), CommandFailure> {
        let begun = Instant::now();
        loop {
            stop.check()?;
            match ready.recv_timeout(LOOK) {
                Ok(()) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if begun.elapsed() < WATCHING_PATIENCE => {}
                Err(_) => {
                    self.check()?;
                    return Err(failed("cannot watch a folder", &"its file system does not answer"));
                }
            }
        }
    }

    /// A failure where the engine has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), CommandFailure> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            None => Ok(()),
            Some(thread) => Err(match thread.join() {
                Ok(Err(EngineError::Store(error))) => CommandFailure::store(&self.state_dir, &error),
                Ok(Err(error)) => failed("the measurement ended", &error),
                Ok(Ok(())) | Err(_) => failed("the measurement ended", &"it stopped unexpectedly"),
            }),
        }
    }

    /// Does something with the host, unless somebody asks for an end meanwhile.
    pub(super) fn ask<T>(&self, stop: &Stop, ask: impl AsyncFnOnce(Arc<dyn Host>) -> T) -> Result<T, CommandFailure> {
        let ended = || failed("the measurement ended", &"nothing runs any more");
        let asked = async {
            while !stop.is_asked() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let done = self.runtime.as_ref().ok_or_else(ended)?.block_on(async {
            tokio::select! {
                done = async { ask(self.host.get().await).await } => Some(done),
                () = asked => None,
            }
        });
        stop.check()?;
        done.ok_or_else(ended)
    }

    /// The queue, with so many jobs.
    pub(super) fn look(&mut self, jobs: usize) -> Result<Snapshot, CommandFailure> {
        self.check()?;
        let query = Query { limit: jobs, now_ms: clock::now_ms(), ..Query::default() };
        let looked = View::open(&self.state_dir).and_then(|view| view.map(|mut view| view.snapshot(&query)).transpose());
        looked.map(Option::unwrap_or_default).map_err(|error| CommandFailure::store(&self.state_dir, &error))
    }

    /// How many requests the host may have in flight, as the engine has found by now.
    pub(super) fn window(&self, stop: &Stop) -> Option<InFlight> {
        let begun = Instant::now();
        loop {
            let told = self.control.paces.lock().unwrap_or_else(PoisonError::into_inner).requests.get(&self.name).copied();
            if told.is_some() || begun.elapsed() > WINDOW_PATIENCE || stop.is_asked() {
                return told;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Gives up what is not uploaded, and half-sent files on the host where it allows that.
    pub(super) fn give_up(&mut self) {
        let Some(runtime) = &self.runtime else { return };
        let cancel = self.control.orders.give(Order::Cancel, Selection::default());
        let is_told = runtime.block_on(async { tokio::time::timeout(GIVING_UP_PATIENCE, cancel).await.is_ok() });
        let begun = Instant::now();
        let moves = |engine: &mut Engine| {
            let totals = engine.look(0).map(|snapshot| snapshot.totals).unwrap_or_default();
            totals.iter().any(|(state, jobs)| *state == State::Uploading && *jobs > 0)
        };
        while is_told && begun.elapsed() < GIVING_UP_PATIENCE && moves(self) {
            std::thread::sleep(LOOK);
        }
    }

    fn end(&mut self) {
        if let Some(store) = self.store.take() {
            store.give_up_waiting();
        }
        self.control.switch.advance(Phase::Draining);
        // How it ended says nothing of what was measured before.
        drop(self.thread.take().map(JoinHandle::join));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END_PATIENCE);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.give_up();
        }
        self.end();
    }
}
