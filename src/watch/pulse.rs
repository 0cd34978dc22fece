//! What a watching thread waits for, for whoever looks whether it still gets answers.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::job::{Identity, WatchReport};

use super::{Knowledge, KnownFiles, Settled, WatchingEnds};

/// Whether a thread waits for a file system, for which root, and since when. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pulse {
    waiting: Arc<Mutex<Option<Waiting>>>,
    on_step: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// The step that a thread is at: one call of the file system, or a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The place of the root among the watches.
    pub root: usize,
    since: Instant,
}

impl Pulse {
    /// One that calls this whenever a step has begun.
    pub(super) fn telling(on_step: Arc<dyn Fn() + Send + Sync>) -> Pulse {
        Pulse { on_step: Some(on_step), ..Pulse::default() }
    }

    /// The next step begins, for this root.
    pub(super) fn begins(&self, root: usize) {
        self.set(Some(Waiting { root, since: Instant::now() }));
        if let Some(on_step) = &self.on_step {
            on_step();
        }
    }

    /// Nothing is asked of a file system.
    pub(super) fn rests(&self) {
        self.set(None);
    }

    /// Whether nothing is asked of a file system.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.get().is_none()
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
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    fn get(&self) -> Option<Waiting> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_of_a_step_finds_that_it_has_begun() {
        let (found, pulse) = (Arc::<Mutex<Vec<bool>>>::default(), Pulse::default());
        let (told, seen) = (found.clone(), pulse.clone());
        let on_step = move || told.lock().unwrap().push(seen.is_at_rest());
        let pulse = Pulse { on_step: Some(Arc::new(on_step)), ..pulse };
        pulse.begins(0);
        pulse.rests();
        assert!(pulse.is_at_rest());
        assert_eq!(*found.lock().unwrap(), [false]);
    }
}
