//! What a watching thread waits for, for whoever looks whether it still gets answers.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::job::{Identity, WatchReport};

use super::{Knowledge, KnownFiles, Settled, WatchingEnds};

/// Whether a thread waits for a file system, for which root, and since when. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<Mutex<Option<Waiting>>>);

/// The step that a thread is at: one call of the file system, or a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The place of the root among the watches.
    pub root: usize,
    since: Instant,
}

impl Pulse {
    /// The next step begins, for this root.
    pub(super) fn begins(&self, root: usize) {
        self.set(Some(Waiting { root, since: Instant::now() }));
    }

    /// Nothing is asked of a file system.
    pub(super) fn rests(&self) {
        self.set(None);
    }

    /// The step that has taken longer than `limit`, if there is one.
    pub(crate) fn stuck(&self, limit: Duration) -> Option<Waiting> {
        self.get().filter(|waiting| waiting.since.elapsed() >= limit)
    }

    /// Whether the thread is still at this very step.
    pub(crate) fn is_still(&self, waiting: Waiting) -> bool {
        self.get() == Some(waiting)
    }

    fn set(&self, waiting: Option<Waiting>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    fn get(&self) -> Option<Waiting> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner of the watches, who is no file system: while it takes something up, the pulse rests.
pub(super) struct Owner<'a> {
    owner: &'a mut (dyn KnownFiles + Send),
    pulse: Pulse,
}

impl<'a> Owner<'a> {
    /// The owner, and the pulse of the thread that asks it.
    pub(super) fn new(owner: &'a mut (dyn KnownFiles + Send), pulse: Pulse) -> Owner<'a> {
        Owner { owner, pulse }
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut dyn KnownFiles) -> T) -> T {
        let before = self.pulse.get();
        self.pulse.rests();
        let answer = ask(self.owner);
        if let Some(before) = before {
            self.pulse.begins(before.root);
        }
        answer
    }
}

impl KnownFiles for Owner<'_> {
    fn known(&mut self, root: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<Knowledge>, WatchingEnds> {
        // It looks at files, too.
        self.owner.known(root, folder, files)
    }

    fn closed(&mut self, folder: &Path, name: &OsStr, identity: &Identity) -> Result<(), WatchingEnds> {
        self.ask(|owner| owner.closed(folder, name, identity))
    }

    fn settling(&mut self, root: usize) {
        self.ask(|owner| owner.settling(root));
    }

    fn settled(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds> {
        self.ask(|owner| owner.settled(batch))
    }

    fn skipped(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds> {
        self.ask(|owner| owner.skipped(batch))
    }

    fn report(&mut self, root: usize, report: &WatchReport) {
        self.ask(|owner| owner.report(root, report));
    }
}
