//! What is to be done with a source, and what was done.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::job::marker::Marker;
use crate::job::{Identity, Watches};
use crate::os::clock::Clock;
use crate::os::files::Base;
use crate::os::names::Names;

/// What is to be done with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AfterAction {
    /// It is removed.
    Delete,
    /// It goes below `folder`, to the place `below`, or one like it where that is taken.
    Move {
        /// The configured folder.
        folder: PathBuf,
        /// The way from there, the file's own name included.
        below: PathBuf,
    },
}

/// A action and all that it depends on.
#[derive(Debug)]
pub(crate) struct Task {
    /// The watched folder.
    pub base: Base,
    /// Where the source is.
    pub path: PathBuf,
    /// The version that was sent.
    pub sent: Identity,
    /// Whether a writer was seen to close this version.
    pub close_seen: bool,
    /// What is to be done.
    pub action: AfterAction,
    /// How the markers of files are named, if the watch wants any.
    pub markers: Option<Marker>,
    /// Whether folders go that are empty then.
    pub prune_empty: bool,
    /// The watches, whose own folders stay.
    pub watches: Watches,
    /// Names for what is there only for a moment.
    pub names: Arc<Names>,
    /// The time.
    pub clock: Clock,
    /// Ends a long copy early, with an error.
    pub stop: Arc<AtomicBool>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was removed.
    Deleted,
    /// It is here now.
    Moved(PathBuf),
    /// It was not there any more.
    Vanished,
    /// It is not the version that was sent, so it stays.
    Changed,
    /// It is behind a symbolic link, so it stays.
    Linked,
    /// It may still be written, which nobody can tell: it must be left alone for so long.
    Later(Duration),
}
