//! Where to look next: a bounded set that events fill and the watcher empties. When it is full, names become their folder, and
//! folders become "everything"; nothing that was hinted at is forgotten, it is only known less exactly.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::pulse::Pulse;

/// Names kept for one folder.
const NAMES_PER_FOLDER: usize = 512;
/// Names and folders kept in all.
const HINTS_MAX: usize = 4096;

/// The set, shared by everybody who has a hint to give.
#[derive(Clone, Default)]
pub(crate) struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    hints: Mutex<Hints>,
    wake: Condvar,
    on_hint: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    /// The handles of threads, where this one only hands on what comes from elsewhere than the events of one.
    others: Mutex<Vec<Handle>>,
    pulse: Pulse,
    /// When the last scan of each root began that has ended.
    scans: Mutex<HashMap<PathBuf, Instant>>,
}

/// What there is to look at.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// By folder.
    pub(super) folders: BTreeMap<PathBuf, Hint>,
    /// Everything must be scanned.
    pub(super) everything: bool,
    /// Times the platform lost events.
    pub(super) gaps: u64,
    /// The watching ends.
    pub(super) stop: bool,
    /// Every report is told once more.
    pub(super) report_again: bool,
    /// Another folder may be where a root was.
    pub(super) roots: Option<RootsHeard>,
    count: usize,
}

/// Whether it will be told when another folder may be where a root was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootsHeard {
    /// It is told.
    Told,
    /// Only a look will tell.
    Untold,
}

/// What is to be looked at in one folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// All of it.
    Whole,
    /// These names, each with what was heard of it last.
    Names(BTreeMap<OsString, Heard>),
}

/// What events have said of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing: somebody asks for a look.
    Nothing,
    /// Something of that name was made, changed or removed, or lost its name.
    Touched,
    /// A file was moved to that name, by somebody who may have it open still.
    MovedIn,
    /// A writer has closed the file of that name. The event came at this time, in nanoseconds since the Unix epoch.
    Closed {
        /// The wall clock's time.
        at_ns: i64,
    },
}

impl Heard {
    /// Of a name the last event counts, since it may be about another file than those before; a mere look takes nothing away from
    /// it.
    fn then(self, later: Heard) -> Heard {
        if later == Heard::Nothing { self } else { later }
    }
}

impl Handle {
    /// Look at the file `name` in `folder`.
    pub(crate) fn look(&self, folder: &Path, name: &OsStr) {
        self.all(|handle| handle.hear(folder, name, Heard::Nothing));
    }

    /// What is told through this handle is from now on for whoever takes the hints of `other`, and of those handed in before.
    pub(crate) fn hand_on_to(&self, other: Handle) {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner).push(other);
    }

    /// Nobody takes the hints of those handles any more.
    pub(crate) fn hand_on_to_nobody(&self) {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The handle of a thread whose pulse calls this whenever a step has begun.
    pub(crate) fn telling(on_step: impl Fn() + Send + Sync + 'static) -> Handle {
        Handle(Arc::new(Shared { pulse: Pulse::telling(Arc::new(on_step)), ..Shared::default() }))
    }

    /// Look whether each root is still the folder that it was. Whether such a look will be asked for again is known from here on.
    pub(crate) fn look_at_roots(&self, heard: RootsHeard) {
        self.give(|hints| hints.roots = Some(heard));
    }

    /// Tell once more how every root is doing.
    pub(crate) fn report_again(&self) {
        self.give(|hints| hints.report_again = true);
    }

    /// What the thread that takes these hints waits for.
    pub(crate) fn pulse(&self) -> Pulse {
        self.0.pulse.clone()
    }

    /// Scan the watch with this root.
    pub(crate) fn scan(&self, root: &Path) {
        if let (Some(folder), Some(name)) = (root.parent(), root.file_name()) {
            self.look(folder, name);
        }
    }

    /// A scan of this root that began then has ended.
    pub(super) fn scanned(&self, root: &Path, began: Instant) {
        self.0.scans.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned(), began);
    }

    /// Whether a scan of this root has ended that began at `since` or later.
    pub(crate) fn scanned_since(&self, root: &Path, since: Instant) -> bool {
        let here = |handle: &Handle| {
            let scans = handle.0.scans.lock().unwrap_or_else(PoisonError::into_inner);
            scans.get(root).is_some_and(|began| *began >= since)
        };
        // Another thread may have scanned it.
        let others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        here(self) || others.iter().any(here)
    }

    /// End the watching.
    pub(crate) fn stop(&self) {
        self.all(|handle| handle.give(|hints| hints.stop = true));
    }

    fn all(&self, tell: impl Fn(&Handle)) {
        let others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if others.is_empty() { tell(self) } else { others.iter().for_each(tell) }
    }

    /// An event has said this of the file `name` in `folder`.
    pub(super) fn hear(&self, folder: &Path, name: &OsStr, heard: Heard) {
        self.give(|hints| hints.add_name(folder, name, heard));
    }

    pub(super) fn lost_events(&self) {
        self.give(|hints| {
            hints.gaps += 1;
            hints.add_everything();
        });
    }

    fn give(&self, add: impl FnOnce(&mut Hints)) {
        add(&mut self.0.hints.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.wake.notify_one();
        let on_hint = self.0.on_hint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wake) = on_hint {
            wake();
        }
    }

    /// Whether an event that is not followed yet says that the file at `path`, or a folder above it and below `root`, has come there.
    pub(super) fn has_arrived(&self, root: &Path, path: &Path) -> bool {
        let hints = self.0.hints.lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = |at: &Path| match hints.folders.get(at.parent()?)? {
            Hint::Names(names) => names.get(at.file_name()?).copied(),
            Hint::Whole => None,
        };
        path.ancestors().take_while(|at| *at != root).any(|at| match arrived(at) {
            Some(Heard::MovedIn) => true,
            Some(Heard::Closed { .. }) => at == path,
            Some(Heard::Nothing | Heard::Touched) | None => false,
        })
    }

    /// Whether the watching ends.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.hints.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    /// Has `wake` called after each hint, for whoever does not wait in [`run`](super::run).
    pub(crate) fn on_hint(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.0.on_hint.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(wake));
    }

    /// Takes all the hints there are.
    pub(crate) fn take_now(&self) -> Hints {
        Handle::take_from(&mut self.0.hints.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a hint or until `deadline`, and takes all there are.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Hints {
        let mut hints = self.0.hints.lock().unwrap_or_else(PoisonError::into_inner);
        while hints.is_empty() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            hints = match left {
                Some(left) if left.is_zero() => break,
                Some(left) => self.0.wake.wait_timeout(hints, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.0.wake.wait(hints).unwrap_or_else(PoisonError::into_inner),
            };
        }
        Handle::take_from(&mut hints)
    }

    fn take_from(hints: &mut Hints) -> Hints {
        let stop = hints.stop;
        std::mem::replace(hints, Hints { stop, ..Hints::default() })
    }
}

impl Hints {
    fn is_empty(&self) -> bool {
        self.folders.is_empty() && !self.everything && !self.stop && !self.report_again && self.gaps == 0 && self.roots.is_none()
    }

    fn add_everything(&mut self) {
        self.everything = true;
        self.folders.clear();
        self.count = 0;
    }

    fn add_name(&mut self, folder: &Path, name: &OsStr, heard: Heard) {
        if self.everything {
            return;
        }
        let Some(hint) = self.folders.get_mut(folder) else {
            return self.add_folder(folder, name, heard);
        };
        let Hint::Names(names) = hint else { return };
        if let Some(known) = names.get_mut(name) {
            *known = known.then(heard);
        } else if names.len() < NAMES_PER_FOLDER {
            names.insert(name.to_owned(), heard);
            self.count += 1;
        } else {
            self.count -= names.len();
            *hint = Hint::Whole;
        }
        self.keep_bounded();
    }

    fn add_folder(&mut self, folder: &Path, name: &OsStr, heard: Heard) {
        self.folders.insert(folder.to_owned(), Hint::Names(BTreeMap::from([(name.to_owned(), heard)])));
        self.count += 2;
        self.keep_bounded();
    }

    fn keep_bounded(&mut self) {
        if self.count > HINTS_MAX {
            for hint in self.folders.values_mut() {
                *hint = Hint::Whole;
            }
            self.count = self.folders.len();
        }
        if self.count > HINTS_MAX / 2 && self.folders.len() > HINTS_MAX / 2 {
            self.add_everything();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> impl Iterator<Item = OsString> {
        (0..count).map(|number| number.to_string().into())
    }

    #[test]
    fn a_close_is_forgotten_when_the_name_is_given_to_another_file_and_not_by_a_look() {
        let closed = Heard::Closed { at_ns: 7 };
        for (story, last) in [
            (&[closed, Heard::Nothing][..], closed),
            (&[Heard::Touched, closed], closed),
            (&[closed, Heard::Touched], Heard::Touched),
            (&[closed, Heard::Touched, Heard::MovedIn, Heard::Nothing], Heard::MovedIn),
            (&[Heard::Nothing, Heard::Nothing], Heard::Nothing),
        ] {
            let handle = Handle::default();
            story.iter().for_each(|heard| handle.hear(Path::new("/a"), OsStr::new("x"), *heard));
            let hints = handle.take(None);
            assert_eq!(hints.folders[Path::new("/a")], Hint::Names(BTreeMap::from([("x".into(), last)])), "{story:?}");
            assert!(handle.take(Some(Instant::now())).folders.is_empty());
        }
    }

    #[test]
    fn what_has_come_to_a_folder_is_known_of_all_that_is_in_it_until_the_event_is_followed() {
        let handle = Handle::default();
        handle.hear(Path::new("/drop"), OsStr::new("trip"), Heard::MovedIn);
        handle.hear(Path::new("/drop/day"), OsStr::new("b"), Heard::Closed { at_ns: 1 });
        handle.hear(Path::new("/"), OsStr::new("drop"), Heard::MovedIn);
        handle.look(Path::new("/drop"), OsStr::new("c"));
        for (path, arrived) in
            [("/drop/trip/deep/a", true), ("/drop/trip", true), ("/drop/day/b", true), ("/drop/day/b/x", false), ("/drop/c", false)]
        {
            assert_eq!(handle.has_arrived(Path::new("/drop"), Path::new(path)), arrived, "{path}");
        }
        handle.take_now();
        assert!(!handle.has_arrived(Path::new("/drop"), Path::new("/drop/trip/deep/a")));
    }

    #[test]
    fn many_names_become_their_folder() {
        let handle = Handle::default();
        names(NAMES_PER_FOLDER + 1).for_each(|name| handle.look(Path::new("/a"), &name));
        assert_eq!(handle.take(None).folders[Path::new("/a")], Hint::Whole);
    }

    #[test]
    fn many_folders_become_everything() {
        let handle = Handle::default();
        names(10 * HINTS_MAX).for_each(|name| handle.look(&Path::new("/a").join(&name), &name));
        let hints = handle.take(None);
        assert!(hints.everything && hints.folders.len() <= HINTS_MAX);
    }

    #[test]
    fn names_in_many_folders_become_their_folders() {
        let handle = Handle::default();
        for folder in names(20) {
            names(500).for_each(|name| handle.look(&Path::new("/a").join(&folder), &name));
        }
        let hints = handle.take(None);
        assert_eq!(hints.folders.len(), 20);
        assert!(!hints.everything);
    }
}
