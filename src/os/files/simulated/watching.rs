//! Which folders are watched, and who is told what happens in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// Who is told of events.
pub type Tell = Arc<dyn Fn(&FolderEvent) + Send + Sync>;

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

/// Who watches what. All of it belongs to the daemon's process.
#[derive(Default)]
pub(super) struct Watching {
    /// Folders that are watched, with the path by which each was watched last.
    pub(super) folders: BTreeMap<u64, PathBuf>,
    pub(super) tell: Option<Tell>,
}

impl Watching {
    /// Nobody watches any more.
    pub(super) fn end(&mut self) {
        *self = Watching::default();
    }

    /// These folders are gone.
    pub(super) fn forget(&mut self, gone: &BTreeSet<u64>) {
        self.folders.retain(|folder, _| !gone.contains(folder));
    }
}
