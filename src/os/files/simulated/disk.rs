//! A file system in memory: folders, files, hard and symbolic links, with inode numbers, times by the clock that is handed in,
//! writers who have a file open, and events like those of inotify. Everything about it follows from what is done to it.
//!
//! What users do always happens. What the daemon does may fail: its process may be dead, or about to die.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::node::{Actor, Key, no_answer};
use super::state::{ROOT, State};
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
        let user = self.user();
        self.lock().resolve(user, ROOT, path, through)
    }

    pub(super) fn user(&self) -> Actor {
        Actor::User(self.lock().faults.boot)
    }

    pub(super) fn daemon(&self) -> Actor {
        Actor::Daemon(self.lock().faults.process)
    }

    /// Whether `actor` still lives.
    pub(super) fn alive(&self, actor: Actor) -> io::Result<()> {
        let faults = &self.lock().faults;
        let lives = match actor {
            Actor::User(boot) => boot == faults.boot,
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
