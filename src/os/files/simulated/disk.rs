//! A file system in memory: folders, files, hard and symbolic links, with inode numbers, times by the clock that is handed in,
//! writers who have a file open, and events like those of inotify. Everything about it follows from what is done to it.
//!
//! What users do always happens. What the daemon does may fail: its process may be dead, or about to die.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::StepGate;
use super::node::{Actor, Key, no_answer};
use super::state::{ROOT, State};
use super::watching::{FolderEvent, NameChange, Tell};
use crate::os::clock::Clock;

/// A whole file system. Clones are the same one.
#[derive(Clone)]
pub struct Disk(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    /// An empty file system, whose times are those of `clock`.
    pub fn new(clock: Clock) -> Disk {
        let disk = Disk(Arc::new(Shared { clock, state: Mutex::default() }));
        let now_ns = disk.now_ns();
        disk.lock().add_file_system(now_ns);
        disk
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.0.clock.now_ns()
    }

    pub(super) fn resolve(&self, path: &Path, through: bool) -> io::Result<Key> {
        self.lock().resolve(Actor::User, ROOT, path, through)
    }
}

/// The daemon's process, and its end.
impl Disk {
    /// Asks `gate` before each thing that the daemon does to the file system, with words such as `remove /drop/a`: a false has it
    /// fail, with nothing done. The gate may itself do to the disk whatever can happen at that moment.
    pub fn before_steps(&self, gate: StepGate) {
        self.lock().faults.step_gate = Some(gate);
    }

    /// The daemon's process dies: whatever it has open is closed, its watches are gone, and nothing that it still tries has an
    /// effect, the end of its handles included.
    pub fn freeze(&self) {
        let mut state = self.lock();
        state.faults.is_frozen = true;
        state.faults.process += 1;
        state.watching.end();
        for node in state.nodes.values_mut() {
            node.writers.of_the_daemon = 0;
        }
    }

    /// Another process of the daemon's may begin. Handles of the one that died stay dead; what it had that works by path must be
    /// gone by now.
    pub fn thaw(&self) {
        self.lock().faults.is_frozen = false;
    }

    pub(super) fn daemon(&self) -> Actor {
        Actor::Daemon(self.lock().faults.process)
    }

    /// Whether `actor` still lives.
    pub(super) fn alive(&self, actor: Actor) -> io::Result<()> {
        let faults = &self.lock().faults;
        let lives = match actor {
            Actor::User => true,
            Actor::Daemon(process) => !faults.is_frozen && process == faults.process,
        };
        if lives { Ok(()) } else { Err(no_answer()) }
    }

    /// Whether `actor` lives to do what is about to be done.
    pub(super) fn step(&self, actor: Actor, words: impl FnOnce(&State) -> String) -> io::Result<()> {
        self.alive(actor)?;
        if !actor.is_daemon() {
            return Ok(());
        }
        let state = self.lock();
        let Some(gate) = state.faults.step_gate.clone() else { return Ok(()) };
        let words = words(&state);
        drop(state);
        if gate(&words) { self.alive(actor) } else { Err(no_answer()) }
    }
}

/// Events.
impl Disk {
    /// Tells `tell` of what happens in folders that [`Disk::watch`] names. There is one who is told.
    pub fn on_change(&self, tell: Tell) {
        self.lock().watching.tell = Some(tell);
    }

    /// Tells from now on what happens to names in the folder at `path`.
    pub fn watch(&self, path: &Path) -> io::Result<()> {
        let daemon = self.daemon();
        self.alive(daemon)?;
        let mut state = self.lock();
        let folder = state.resolve(daemon, ROOT, path, true)?;
        state.watching.folders.insert(folder, path.to_owned());
        Ok(())
    }

    /// Tells of `name` in a folder that is watched, when nothing of ours is locked.
    pub(super) fn say(&self, folder: Key, name: &OsStr, change: NameChange) {
        let state = self.lock();
        let watching = &state.watching;
        let Some((tell, path)) = watching.tell.clone().zip(watching.folders.get(&folder).cloned()) else { return };
        drop(state);
        tell(&FolderEvent { folder: path, name: name.to_owned(), change });
    }
}
