//! Folders become settled files. What happens to a settled file is not known here.
//!
//! Hints may be lost; the scan may not. There is one road from a file to a settled file, and start-up, events and the timer all take it:
//! a look at the file itself (`Watcher::look`). Events only say where to look. The road ends in [`Memory`], which answers for the owner
//! of the watches, and is the only thing that remembers.

mod events;
pub mod filter;
mod hints;
mod scan;
mod settle;
mod watcher;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::job::Identity;

pub use filter::{BadGlob, Filter};
pub use hints::Handle;
pub use watcher::run;

/// A folder to watch.
#[derive(Debug, Clone)]
pub struct Root {
    /// The folder; may itself be a symbolic link.
    pub path: PathBuf,
    /// Whether folders below it count.
    pub recursive: bool,
    /// Which files count.
    pub filter: Filter,
    /// Quiet time that must pass besides the other evidence.
    pub settle: Duration,
    /// The same for a file of which nobody tells who writes it, unless its writer was seen to close it.
    pub settle_unknown: Duration,
    /// How changes are noticed.
    pub mode: Mode,
    /// How often everything is scanned whatever the events say.
    pub rescan: Duration,
    /// Whether symbolic links are followed.
    pub follow_symlinks: bool,
    /// Whether files found by the first scan count.
    pub existing: bool,
    /// Folders that are never entered: the state folder, watches inside this one.
    pub except: Vec<PathBuf>,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Events where the file system gives them, scans where it does not.
    Auto,
    /// Events.
    Native,
    /// Scans.
    Poll,
}

/// A file that nobody is writing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The place of its root in the list given to [`run`].
    pub root: usize,
    /// The folder it is in.
    pub folder: PathBuf,
    /// Its name there.
    pub name: OsString,
    /// The version that is settled.
    pub identity: Identity,
    /// Whether a writer was seen to close this version.
    pub close_seen: bool,
}

/// The owner cannot go on: the watching ends. The owner knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// Files that are asked about together at most.
pub const KNOWN_AT_ONCE: usize = 256;

/// What the owner of the watches answers, on the watches' own thread.
pub trait Memory {
    /// Whether these versions of files in `folder` are already taken up, in their order. At most [`KNOWN_AT_ONCE`] are asked about.
    fn known(&mut self, root: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<bool>, Stop>;
    /// A writer was seen to close this version of a file that is taken up already.
    fn closed(&mut self, _folder: &Path, _name: &OsStr, _identity: &Identity) -> Result<(), Stop> {
        Ok(())
    }
    /// Takes up settled files; returns when they are durable.
    fn settled(&mut self, batch: Vec<Settled>) -> Result<(), Stop>;
    /// Remembers files that were there before their watch, without taking them up.
    fn passed_over(&mut self, batch: Vec<Settled>) -> Result<(), Stop>;
    /// Hears how a root is doing.
    fn report(&mut self, root: usize, report: &Report);
}

/// How a root is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In a word.
    pub state: RootState,
    /// How changes are noticed: never [`Mode::Auto`].
    pub events: Noticed,
    /// When the last full scan ended, in milliseconds since the Unix epoch.
    pub last_scan_ms: Option<i64>,
    /// Files that somebody is still writing, or may be.
    pub settling: usize,
    /// Times events were lost, each followed by a full scan.
    pub gaps_seen: u64,
    /// What is wrong.
    pub why: Option<String>,
}

/// The state of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootState {
    /// Being scanned for the first time.
    Scanning,
    /// Watched.
    Watching,
    /// Not there.
    Missing,
}

impl RootState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            RootState::Scanning => "scanning",
            RootState::Watching => "watching",
            RootState::Missing => "missing",
        }
    }
}

/// How changes of a root are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// By the platform's events.
    Native,
    /// By scanning.
    Poll,
}

impl Noticed {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Noticed::Native => "native",
            Noticed::Poll => "poll",
        }
    }
}
