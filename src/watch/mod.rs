//! Folders become settled files. What happens to a settled file is not known here.
//!
//! Hints may be lost; the scan may not. Start-up, events and the timer all lead to the same function, which looks at the file
//! itself (`Watcher::look`); events only say where to look. Settled files are handed to [`KnownFiles`], which answers for the owner
//! of the watches. Nothing else remembers what was taken up.

mod events;
pub(crate) mod filter;
mod hints;
mod pulse;
mod root;
mod root_watch;
mod scan;
mod settle;
mod survey;
mod watcher;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::job::{Fingerprint, Identity, WatchReport};

pub(crate) use filter::BadGlob;
pub(crate) use hints::{Handle, RootsHeard};
pub(crate) use pulse::Waiting;
pub(crate) use root::Root;
pub(crate) use survey::{Survey, survey_of};
pub(crate) use watcher::{Watcher, run};

/// A file that nobody is writing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The place of its root among the watches.
    pub root: usize,
    /// The folder it is in.
    pub folder: PathBuf,
    /// Its name there.
    pub name: OsString,
    /// The version that is settled.
    pub identity: Identity,
    /// Whether a writer was seen to close this version.
    pub close_seen: bool,
    /// What its owner has said of it.
    pub news: News,
}

/// What the owner of the watches knows of a version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// It is taken up already.
    Known,
    /// It is to be taken up when it is settled.
    New(News),
}

/// What the owner has found out about a version that it has not taken up, and wants to hear again with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The fingerprint of its content, where that had to be looked at.
    pub fingerprint: Option<Fingerprint>,
    /// Whether it may be a file that was taken up before, under another name.
    pub maybe_known: bool,
}

/// The owner cannot go on: the watching ends. The owner knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchingEnds;

/// Files that are asked about together at most.
pub(crate) const KNOWN_AT_ONCE: usize = 256;

/// What the owner of the watches answers, on the watches' own thread.
pub(crate) trait KnownFiles {
    /// What is known of these versions of files in `folder`, in their order. At most [`KNOWN_AT_ONCE`] are asked about.
    fn known(&mut self, root: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<Knowledge>, WatchingEnds>;
    /// A writer was seen to close this version of a file that is taken up already.
    fn closed(&mut self, _folder: &Path, _name: &OsStr, _identity: &Identity) -> Result<(), WatchingEnds> {
        Ok(())
    }
    /// A file of this root was met that will be taken up within seconds, if nobody changes it.
    fn settling(&mut self, _root: usize) {}
    /// Takes up settled files; returns when they are durable.
    fn settled(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds>;
    /// Remembers files that were there before their watch, without taking them up.
    fn skipped(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds>;
    /// Receives the report of a root that has changed.
    fn report(&mut self, root: usize, report: &WatchReport);
}
