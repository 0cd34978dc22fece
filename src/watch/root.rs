//! A watch made ready for looking at files: its globs are compiled, and it knows which folders are its own among those of the
//! others.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::job::{Identity, Watch, Watches};
use crate::os::files::{self, Base, FileKind, Files, Stat};
use crate::os::filesystem::Served;
use crate::os::mounts::{FileSystemId, Mounts};

use super::filter::{BadGlob, Filter};

/// Device and inode of the folder at the top of a watch.
pub(super) type Top = (i64, i64);

/// The times of a file lag a little behind the clock, and what is in doubt is sent.
const MARGIN_MS: i64 = 1000;

fn old_before_ns(new_since_ms: i64) -> i64 {
    new_since_ms.saturating_sub(MARGIN_MS).saturating_mul(1_000_000)
}

/// A folder to watch.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    files: Files,
    watches: Watches,
    /// Which of them this is.
    index: usize,
    /// Which files count.
    pub(super) filter: Filter,
    /// What the first scan finds that is older than this is passed over: nanoseconds since the Unix epoch.
    pub(super) old_before_ns: Option<i64>,
    /// Where the queue lives, which is never entered.
    state_dir: PathBuf,
}

impl Root {
    /// The roots of `watches`, in their order. `new_since` says of each that was not scanned to the end yet since when it is
    /// configured, in milliseconds since the Unix epoch: where files that were there before are not wanted, what was not changed,
    /// made or moved since is one of them.
    pub(crate) fn all(files: &Files, watches: &Watches, state_dir: &Path, new_since: &[Option<i64>]) -> Result<Vec<Root>, BadGlob> {
        let root = |(index, watch): (usize, &Watch)| {
            Ok(Root {
                files: files.clone(),
                watches: watches.clone(),
                index,
                filter: Filter::new(&watch.include, &watch.exclude, watch.min_size, watch.max_size)?
                    .without(watch.ready_when.clone()),
                old_before_ns: new_since.get(index).copied().flatten().filter(|_| !watch.existing).map(old_before_ns),
                state_dir: state_dir.to_owned(),
            })
        };
        watches.iter().enumerate().map(root).collect()
    }

    /// Whether a scan would still find this version of the file at `path`. What nobody can tell, as in a root that is not there, is
    /// a yes.
    pub(crate) fn would_find(&self, path: &Path, version: &Identity) -> bool {
        let Some(name) = path.file_name() else { return false };
        if !self.filter.enters_all_above(self.relative(path)) || self.is_excepted(path) {
            return false;
        }
        match self.base().look(path) {
            Ok(found) => Identity::from(found.numbers).same_version(version) && self.takes(path, name, &found),
            Err(error) if files::is_link(&error) => false,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound || self.top().is_err(),
        }
    }

    /// Device and inode of the folder to be scanned, or why there is none.
    pub(super) fn top(&self) -> Result<Top, String> {
        match self.base().look_at_top() {
            Ok(stat) if stat.kind == FileKind::Folder => Ok(stat.device_and_inode()),
            Ok(_) => Err("not a folder".into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("the folder does not exist".into()),
            Err(error) => Err(format!("cannot access it: {error}")),
        }
    }

    /// Whether `path` is itself a symbolic link.
    pub(super) fn is_link(&self, path: &Path) -> bool {
        self.base().without_links().look(path).is_ok_and(|stat| stat.kind == FileKind::Link)
    }

    /// What sort of file system it is on.
    pub(super) fn served(&self) -> Served {
        self.files.served(self.path())
    }

    /// Its place among the watches.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The file systems that may hang and that a scan of it meets.
    pub(crate) fn may_hang(&self, mounts: &Mounts) -> BTreeSet<FileSystemId> {
        mounts.met(self.path(), |way| self.walks(&self.path().join(way)))
    }

    /// Every watch there is.
    pub(super) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// What the user wants of it.
    pub(super) fn watch(&self) -> &Watch {
        &self.watches[self.index]
    }

    /// The folder; may itself be a symbolic link.
    pub(super) fn path(&self) -> &Path {
        &self.watch().path
    }

    /// Where its files are reached from.
    pub(super) fn base(&self) -> Base {
        Base::of(&self.files, self.path(), self.watch().follow_symlinks)
    }

    /// The way to `path`, which lies below it.
    pub(super) fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.path()).unwrap_or(Path::new(""))
    }

    /// Whether the files in `folder` are this watch's.
    pub(super) fn owns(&self, folder: &Path) -> bool {
        self.watches.owner(folder) == Some(self.index)
    }

    /// Whether a scan goes into `folder`, which it finds below the root: not where a recursive watch inside this one begins, but
    /// through one that is not recursive, whose files are its own, to what is below.
    pub(super) fn walks(&self, folder: &Path) -> bool {
        self.watches.walker(folder) == Some(self.index) && !self.is_excepted(folder)
    }

    /// Whether `path` is in the state folder, if that is inside this watch.
    pub(super) fn is_excepted(&self, path: &Path) -> bool {
        self.state_dir != self.path() && self.state_dir.starts_with(self.path()) && path.starts_with(&self.state_dir)
    }

    /// Whether the file at `path` counts.
    pub(super) fn takes(&self, path: &Path, name: &OsStr, stat: &Stat) -> bool {
        stat.kind == FileKind::File && self.filter.takes(self.relative(path), name) && self.filter.takes_size(stat.size())
    }
}
