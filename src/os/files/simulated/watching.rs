//! Which folders are watched, and who is told what happens in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// Who is told of events.
pub type Tell = Arc<dyn Fn(&Event) + Send + Sync>;

/// Is asked what becomes of an event.
pub type EventGate = Arc<dyn Fn(&FolderEvent) -> Fate + Send + Sync>;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is told of.
    Deliver,
    /// Nobody ever hears of it.
    Lose,
    /// It is told of twice.
    Twice,
    /// It is told of when the driver says so.
    Later,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something has happened to a name.
    Name(FolderEvent),
    /// So much has happened that some of it was lost.
    Overflow,
}

/// What has happened to a name in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEvent {
    /// The folder.
    pub folder: PathBuf,
    /// The name in it.
    pub name: OsString,
    /// What has happened.
    pub change: NameChange,
}

/// What has happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameChange {
    /// Something of that name was made or removed, or lost its name.
    Touched,
    /// Something was given that name.
    MovedIn,
    /// A writer has closed the file of that name.
    Closed,
}

/// Who watches what.
#[derive(Default)]
pub(super) struct Watching {
    /// Folders that are watched, with the path by which each was watched last.
    pub(super) folders: BTreeMap<u64, PathBuf>,
    pub(super) tell: Option<Tell>,
    /// Events that are told of later.
    pub(super) late: Vec<FolderEvent>,
    pub(super) gate: Option<EventGate>,
    /// How many folders can be watched.
    pub(super) limit: Option<usize>,
}

impl Watching {
    /// The process that watches is dead.
    pub(super) fn end(&mut self) {
        (self.folders, self.tell, self.late) = (BTreeMap::new(), None, Vec::new());
    }

    /// These folders are gone.
    pub(super) fn forget(&mut self, gone: &BTreeSet<u64>) {
        self.folders.retain(|folder, _| !gone.contains(folder));
    }
}
