//! `ferryd run`: the daemon. Owns the order of its life: configuration, folder, lock, queue, engine, and all of it backwards.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::config::{self, Config, ProcessEnvironment};
use crate::engine::phase::{Phase, PhaseSwitch, Phases, phases};
use crate::engine::{self, Control, EngineError, OneOffs, Orders, Reloads, SharedPaces};
use crate::host::KeptTokens;
use crate::host::http::Clients;
use crate::host::kinds::KINDS;
use crate::job::Watch;
use crate::os::lock::{LastEnd, Lock, LockError, LockNote};
use crate::os::signals;
use crate::os::system::System;
use crate::os::{clock, service};
use crate::store::{Rescue, Store, StoreError, WriterThread};

use super::answering::Answering;
use super::exit::Exit;
use super::folders;
use super::log;
use super::pending::{PendingSignals, note_in, note_signal};
use super::reloading::Reloading;
use super::render::CommandFailure;
use super::vitals;

/// How often one process sets a damaged queue aside before it gives up.
const RESCUES_MAX: u32 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    log: log::LogArguments,
}

/// Why the engine stopped.
enum RunEnd {
    Stop,
    Damaged(String),
}

pub(super) fn run(path: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let path = path.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
    let config = load(&path)?;
    log::start(&arguments.log)?;
    let state_dir = config.daemon.state_dir.clone();
    prepare_state_dir(&state_dir)?;
    folders::make(&config.watches);
    folders::refuse_met_twice(&config.watches)?;
    let daemon = Daemon::start(state_dir, path, config)?;
    let ended = daemon.live();
    let why = ended.as_ref().err().map_or("it was told to stop", |failure| &failure.message);
    daemon.say_end(why);
    if ended.is_ok() {
        tracing::info!("stopped");
    }
    // A thread that waits for a file system which does not answer ends with the process.
    let Daemon { runtime, .. } = daemon;
    runtime.shutdown_timeout(END_PATIENCE);
    ended
}

fn load(path: &Path) -> Result<Config, CommandFailure> {
    config::load(path, KINDS, &ProcessEnvironment).map_err(|error| CommandFailure::configuration(&error))
}

/// Makes the state folder, if there is none, and makes sure that nobody else writes there.
pub(super) fn prepare_state_dir(dir: &Path) -> Result<(), CommandFailure> {
    let cannot_create = |error: io::Error| {
        CommandFailure::new(Exit::State, format!("cannot create the state folder `{}`: {error}", dir.display()))
            .hint("set `state_dir` in [daemon] to a folder on a local disk that this user can write to")
    };
    when_there_is_room(dir, || make_state_dir(dir)).map_err(cannot_create)?;
    refuse_shared_state_dir(dir)
}

/// The state folder holds names of files and sessions: it is its owner's alone.
fn make_state_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() { Ok(()) } else { DirBuilder::new().recursive(true).mode(0o700).create(dir) }
}

fn refuse_shared_state_dir(dir: &Path) -> Result<(), CommandFailure> {
    let failed = |error: io::Error| {
        CommandFailure::new(Exit::State, format!("cannot examine the state folder `{}`: {error}", dir.display()))
    };
    let mode = std::fs::metadata(dir).map_err(failed)?.permissions().mode();
    if mode & 0o022 != 0 {
        let message = format!("other users can write to the state folder `{}`", dir.display());
        return Err(CommandFailure::new(Exit::State, message).hint(format!("chmod 700 '{}'", dir.display())));
    }
    Ok(())
}

/// Does what a full disk keeps from being done, as soon as it does so no more. There is no note yet in which that could be said, and
/// no handler of signals: they end the process.
fn when_there_is_room<T>(state_dir: &Path, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let is_full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let mut waits = false;
    loop {
        match attempt() {
            Err(error) if is_full(&error) => {
                if !waits {
                    tracing::error!("cannot start: no space left on the disk of {state_dir:?}; waiting until this is fixed");
                    service::status("no space left on the disk of the queue");
                }
                waits = true;
                std::thread::sleep(FULL_PAUSE);
            }
            done => return done,
        }
    }
}

/// Takes the lock of the state folder, and has room for its note then.
fn take_lock(state_dir: &Path) -> Result<Lock, CommandFailure> {
    let take = || match Lock::take(state_dir, std::process::id(), clock::now_ms()) {
        Ok(lock) => Ok(Ok(lock)),
        Err(LockError::Held(other)) => Ok(Err(other)),
        Err(LockError::Io(error)) => Err(error),
    };
    match when_there_is_room(state_dir, take) {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(LockNote { pid, .. })) => {
            Err(CommandFailure::store(state_dir, &StoreError::Locked { dir: state_dir.to_owned(), pid }))
        }
        Err(error) => Err(CommandFailure::store(state_dir, &error.into())),
    }
}

/// How long the end waits for threads that wait for a disk.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// How often a full disk is looked at before the queue is open.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What lives as long as the process does.
struct Daemon {
    state_dir: PathBuf,
    /// The configuration file.
    path: PathBuf,
    /// The configuration in force.
    config: Arc<Mutex<Config>>,
    lock: Arc<Lock>,
    /// The engine that runs, as whoever asks the daemon reaches it.
    engine: Arc<Mutex<Option<Control>>>,
    /// How fast bytes go, whichever engine runs.
    paces: SharedPaces,
    /// What takes up files for it that are sent by name.
    one_offs: Arc<Mutex<Option<OneOffs>>>,
    runtime: Runtime,
    pending: Arc<Mutex<PendingSignals>>,
    /// Ends the listening when dropped.
    _signals: signals::Listener,
}

impl Daemon {
    fn start(state_dir: PathBuf, path: PathBuf, config: Config) -> Result<Daemon, CommandFailure> {
        let fault = |error: io::Error| CommandFailure::new(Exit::Fault, format!("cannot start: {error}"));
        let lock = take_lock(&state_dir)?;
        let pending = Arc::new(Mutex::new(PendingSignals::default()));
        let shared = pending.clone();
        let listener = signals::listen(move |signal| note_signal(&shared, signal)).map_err(fault)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(64)
            .thread_name("ferryd")
            .enable_all()
            .build()
            .map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot start the threads that do the work: {error}")))?;
        tracing::info!("ferryd {} starting; the queue is in {state_dir:?}", env!("CARGO_PKG_VERSION"));
        let (lock, engine) = (Arc::new(lock), Arc::<Mutex<Option<Control>>>::default());
        let paces = SharedPaces::default();
        let one_offs = Arc::<Mutex<Option<OneOffs>>>::default();
        {
            let _entered = runtime.enter();
            if let Some(limit) = service::watchdog_limit() {
                tokio::spawn(vitals::feed_watchdog(limit, Arc::clone(&engine), lock.clone()));
            }
            let (engine, one_offs) = (Arc::clone(&engine), Arc::clone(&one_offs));
            Answering { lock: lock.clone(), engine, paces: paces.clone(), one_offs, pending: pending.clone() }.start(&state_dir);
        }
        let config = Arc::new(Mutex::new(config));
        Ok(Daemon { state_dir, path, config, lock, engine, paces, one_offs, runtime, pending, _signals: listener })
    }

    /// Runs one engine after the other, as long as a queue that was damaged can be rescued.
    fn live(&self) -> Result<Exit, CommandFailure> {
        let mut rescues = 0;
        loop {
            let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match self.run_once(&config)? {
                RunEnd::Stop => return Ok(Exit::Fine),
                RunEnd::Damaged(damage) if rescues < RESCUES_MAX => {
                    rescues += 1;
                    self.rescue(&damage)?;
                }
                RunEnd::Damaged(damage) => return Err(CommandFailure::store(&self.state_dir, &StoreError::Damaged(damage))),
            }
        }
    }

    /// Leaves behind why it ended, for `ferryd status`.
    fn say_end(&self, why: &str) {
        let end = LastEnd { at_ms: Some(clock::now_ms()), why: why.to_owned() };
        self.note(|note| *note = LockNote { last_end: Some(end), ..LockNote::default() });
    }

    fn note(&self, change: impl FnOnce(&mut LockNote)) {
        note_in(&self.lock, change);
    }

    /// Runs the engine until somebody asks for something, or it fails.
    fn run_once(&self, config: &Config) -> Result<RunEnd, CommandFailure> {
        let Some((store, thread, rescue)) = self.open_queue()? else { return self.after(Ok(())) };
        if let Some(rescue) = rescue {
            log_rescue(&rescue);
        }
        let (switch, phases) = phases();
        let switch = Arc::new(switch);
        self.arm(&switch, config.daemon.shutdown_grace);
        let control = Control {
            switch: switch.clone(),
            phases: phases.clone(),
            orders: Orders::default(),
            reloads: Reloads::default(),
            paces: self.paces.clone(),
        };
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(control.clone());
        let trouble = self.runtime.spawn(publish_store_failures(store.clone(), self.lock.clone(), phases.clone()));
        let telling = vitals::tell_line(self.state_dir.clone(), self.lock.clone(), phases.clone());
        let telling = service::is_heard().then(|| self.runtime.spawn(telling));
        let ending = self.runtime.spawn(end_when_draining(phases, store.clone()));
        let (path, config_now) = (self.path.clone(), self.config.clone());
        let reloading = Reloading { path, config: config_now, lock: self.lock.clone(), pending: self.pending.clone() };
        let reloading = self.runtime.spawn(reloading.run(control.clone()));
        let system = System::default();
        let one_offs = OneOffs::new(system.clone(), store.clone());
        *self.one_offs.lock().unwrap_or_else(PoisonError::into_inner) = Some(one_offs.clone());
        let clients = Clients::new(&system);
        let tokens = KeptTokens::new(&system, &self.state_dir);
        let line = |watch: &Watch| format!("watching {:?}, uploading to {}", watch.path, watch.to.join(", "));
        let watched: Vec<String> = config.watches.iter().map(line).collect();
        let ended = self.runtime.block_on(engine::run(
            config,
            &system,
            |host| engine::host_of(host, &clients, &tokens, ProcessEnvironment),
            store,
            control.clone(),
            move || {
                for line in &watched {
                    tracing::info!("{line}");
                }
                service::ready();
            },
        ));
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.one_offs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        control.orders.end();
        control.reloads.end();
        one_offs.end();
        trouble.abort();
        ending.abort();
        reloading.abort();
        telling.inspect(JoinHandle::abort);
        self.runtime.block_on(async {
            // Their ends drop the last handles to the queue, so that its thread can end.
            drop((trouble.await, ending.await, reloading.await));
        });
        thread.join();
        self.after(ended)
    }

    /// Opens the queue; where its disk is full or fails, or another program has it locked, when that is over. Nothing if somebody
    /// asked for something meanwhile.
    fn open_queue(&self) -> Result<Option<(Store, WriterThread, Option<Rescue>)>, CommandFailure> {
        let mut waits = false;
        loop {
            let error = match Store::open_or_rescue(&self.state_dir) {
                Ok(opened) => {
                    if waits {
                        tracing::info!("the queue can be written to again");
                        self.publish_trouble(None);
                    }
                    return Ok(Some(opened));
                }
                Err(error) if error.passes() => error,
                Err(error) => return Err(CommandFailure::store(&self.state_dir, &error)),
            };
            if !waits {
                tracing::error!("cannot open the queue: {error}; waiting until this is fixed");
                self.publish_trouble(Some(error.to_string()));
            }
            waits = true;
            if self.pending.lock().unwrap_or_else(PoisonError::into_inner).drain {
                return Ok(None);
            }
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// Says what is wrong where it needs no room on the disk.
    fn publish_trouble(&self, trouble: Option<String>) {
        service::status(trouble.as_deref().unwrap_or("starting"));
        self.note(|note| note.trouble = trouble);
    }

    fn after(&self, ended: Result<(), EngineError>) -> Result<RunEnd, CommandFailure> {
        match ended {
            Ok(()) => Ok(RunEnd::Stop),
            Err(EngineError::Store(StoreError::Damaged(damage))) => Ok(RunEnd::Damaged(damage)),
            Err(EngineError::Store(error)) => Err(CommandFailure::store(&self.state_dir, &error)),
            Err(EngineError::Setup(message)) => Err(CommandFailure::new(Exit::Fault, message)),
        }
    }

    /// A signal that came before this engine started still counts.
    fn arm(&self, switch: &Arc<PhaseSwitch>, grace: Duration) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.drain {
            switch.advance(Phase::Draining);
        }
        pending.switch = Some(switch.clone());
        pending.grace = Some(grace);
    }

    fn rescue(&self, damage: &str) -> Result<(), CommandFailure> {
        let (store, thread, rescue) = match Store::rescue(&self.state_dir, damage.to_owned()) {
            // What is begun is gone on with when the queue is opened, which waits for that.
            Err(error) if error.passes() => return Ok(()),
            rescued => rescued.map_err(|error| CommandFailure::store(&self.state_dir, &error))?,
        };
        drop(store);
        thread.join();
        log_rescue(&rescue);
        Ok(())
    }
}

fn log_rescue(rescue: &Rescue) {
    let Rescue { kept, damage, jobs } = rescue;
    let kept_as = |what: &str| kept.as_ref().map_or(String::new(), |kept| format!("{what} is kept as {kept:?}"));
    match jobs {
        None => tracing::error!(
            "the queue was damaged ({damage}); nothing recorded was lost, and the daemon continues with it{}",
            kept_as("; what was found in its place")
        ),
        Some(jobs) => tracing::error!(
            "the queue was damaged ({damage}){}; a new one takes over {} from it; \
             every other file is found again in its folder and may be uploaded a second time",
            kept_as(" and"),
            super::render::count(*jobs, "finished upload")
        ),
    }
}

/// For how long the queue must have been written to without a failure before its last one is said to be over. A disk at its limit fails
/// and has room again twice a second, and whoever asks for the status in between must be told of it.
const FAILURE_OVER_AFTER: Duration = Duration::from_secs(5);

/// Says in the lock's note, which needs no room on the disk, what the queue itself cannot.
async fn publish_store_failures(store: Store, lock: Arc<Lock>, phases: Phases) {
    let mut failure = store.write_failure();
    drop(store);
    while failure.changed().await.is_ok() {
        let mut text = failure.borrow_and_update().as_ref().map(ToString::to_string);
        while text.is_none() {
            match tokio::time::timeout(FAILURE_OVER_AFTER, failure.changed()).await {
                Ok(Ok(())) => text = failure.borrow_and_update().as_ref().map(ToString::to_string),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        note_in(&lock, |note| note.trouble = text);
        phases.changed();
    }
}

/// With a full disk the daemon would wait for room for ever; one that was asked to stop does not.
async fn end_when_draining(mut phases: Phases, store: Store) {
    phases.reached(Phase::Draining).await;
    store.give_up_waiting();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_waited_for_before_there_is_anything_and_no_other_failure_is() {
        let mut fails = vec![io::ErrorKind::PermissionDenied, io::ErrorKind::QuotaExceeded, io::ErrorKind::StorageFull];
        let mut attempt = || fails.pop().map_or(Ok("made"), |kind| Err(kind.into()));
        let refused = when_there_is_room(Path::new("/state"), &mut attempt).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(when_there_is_room(Path::new("/state"), attempt).unwrap(), "made");
    }
}
