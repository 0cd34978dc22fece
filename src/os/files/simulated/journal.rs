//! Changes of names that are not on the disk yet.
//!
//! A change gets there when every folder that it has changed is synced. With it gets there what it builds on, as in the journal of
//! a file system: earlier changes of the same names and files, and the making of the folders that it was done in. So whatever is
//! lost, what is left is a state that the file system could have been in.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use super::node::Key;

/// A name, what it stood for, and what it stands for now.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) folder: Key,
    pub(super) name: OsString,
    pub(super) before: Option<Key>,
    pub(super) after: Option<Key>,
}

impl Slot {
    pub(super) fn new(folder: Key, name: &OsStr, before: Option<Key>, after: Option<Key>) -> Slot {
        Slot { folder, name: name.to_owned(), before, after }
    }

    fn nodes(&self) -> impl Iterator<Item = Key> {
        [self.before, self.after].into_iter().flatten()
    }
}

/// Changes of the daemon's that are not on the disk yet, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Journal(Vec<Change>);

/// What is done wholly or not at all.
#[derive(Debug)]
struct Change {
    slots: Vec<Slot>,
    /// Folders that are to be synced.
    unsynced: BTreeSet<Key>,
}

/// What changes build on that will be on the disk.
#[derive(Default)]
struct Base {
    nodes: BTreeSet<Key>,
    names: BTreeSet<(Key, OsString)>,
}

impl Base {
    fn includes(&self, change: &Change) -> bool {
        let includes = |slot: &Slot| {
            self.names.contains(&(slot.folder, slot.name.clone())) || slot.nodes().any(|node| self.nodes.contains(&node))
        };
        change.slots.iter().any(includes)
    }

    fn add(&mut self, change: &Change) {
        for slot in &change.slots {
            self.names.insert((slot.folder, slot.name.clone()));
            self.nodes.extend(slot.nodes().chain([slot.folder]));
        }
    }
}

impl Journal {
    /// The daemon has made this change.
    pub(super) fn record(&mut self, slots: &[Slot]) {
        let unsynced = slots.iter().map(|slot| slot.folder).collect();
        self.0.push(Change { slots: slots.to_vec(), unsynced });
    }

    /// This folder was synced.
    pub(super) fn sync(&mut self, folder: Key) {
        for change in &mut self.0 {
            change.unsynced.remove(&folder);
        }
        self.keep(Base::default(), |change| change.unsynced.is_empty());
    }

    /// What is in these folders now, or is one of these files, is on the disk.
    pub(super) fn settle(&mut self, nodes: &BTreeSet<Key>) {
        let base = Base { nodes: nodes.clone(), ..Base::default() };
        self.keep(base, |change| change.slots.iter().any(|slot| nodes.contains(&slot.folder)));
    }

    /// What may get a name back.
    pub(super) fn nodes(&self) -> BTreeSet<Key> {
        self.0.iter().flat_map(|change| &change.slots).flat_map(Slot::nodes).collect()
    }

    /// Everything is on the disk.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Power is lost: what `choose` does not keep is to be put back, in this order.
    pub(super) fn lose(&mut self, choose: &mut dyn FnMut() -> bool) -> Vec<Slot> {
        let lost = self.take_lost(Base::default(), |_| choose());
        let back = |Slot { folder, name, before, after }: Slot| Slot { folder, name, before: after, after: before };
        lost.into_iter().flat_map(|change| change.slots).map(back).collect()
    }

    /// What `is_kept` is on the disk now, and no concern of anybody's.
    fn keep(&mut self, base: Base, is_kept: impl Fn(&Change) -> bool) {
        let mut left = self.take_lost(base, is_kept);
        left.reverse();
        self.0 = left;
    }

    /// Takes every change out, and answers those that are neither in `base`, nor kept by the word of `is_kept`, nor built on by
    /// what is. The last one comes first, and so `is_kept` is asked.
    fn take_lost(&mut self, mut base: Base, mut is_kept: impl FnMut(&Change) -> bool) -> Vec<Change> {
        let mut lost = Vec::new();
        for change in std::mem::take(&mut self.0).into_iter().rev() {
            if base.includes(&change) || is_kept(&change) {
                base.add(&change);
            } else {
                lost.push(change);
            }
        }
        lost
    }
}
