//! Walks folders: watches each, then lists it, so that nothing can appear between the two unseen. Holds the folders still to visit,
//! never their files.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Root;

/// The folders of a root still to be visited.
pub(super) struct Walk<'a> {
    root: &'a Root,
    left: Vec<PathBuf>,
    below: bool,
    /// Folders seen, where symbolic links could lead in circles.
    seen: HashSet<(u64, u64)>,
}

/// What is found in a folder.
pub(super) struct Found {
    pub name: OsString,
    pub metadata: Metadata,
}

impl<'a> Walk<'a> {
    /// A walk from `start`, and below it if `below`.
    pub(super) fn new(root: &'a Root, start: PathBuf, below: bool) -> Walk<'a> {
        Walk { root, left: vec![start], below: below && root.recursive, seen: HashSet::new() }
    }

    /// The next folder to be watched and then listed.
    pub(super) fn next_folder(&mut self) -> Option<PathBuf> {
        self.left.pop()
    }

    /// Lists `folder`: files that count go to `each`, folders are visited later. An error of one entry is told and passed by.
    pub(super) fn list<E>(
        &mut self,
        folder: &Path,
        mut each: impl FnMut(Found) -> Result<(), E>,
        mut unreadable: impl FnMut(&Path, &io::Error),
    ) -> Result<(), E> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    unreadable(folder, &error);
                }
                return Ok(());
            }
        };
        let mut relative = relative(self.root, folder).to_owned();
        for entry in entries {
            let found = entry.and_then(|entry| self.look(&mut relative, folder, &entry));
            match found {
                Ok(Some(found)) => each(found)?,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unreadable(folder, &error),
            }
        }
        Ok(())
    }

    fn look(&mut self, relative: &mut PathBuf, folder: &Path, entry: &DirEntry) -> io::Result<Option<Found>> {
        let kind = entry.file_type()?;
        let name = entry.file_name();
        relative.push(&name);
        let found = match () {
            () if kind.is_symlink() && !self.root.follow_symlinks => Ok(None),
            () if kind.is_symlink() => self.look_through(relative, folder, name),
            () if kind.is_dir() => {
                self.enter(relative, folder, &name);
                Ok(None)
            }
            () if kind.is_file() && self.root.filter.takes(relative, &name) => {
                Ok(Some(Found { metadata: entry.metadata()?, name })
                    .filter(|found| self.root.filter.takes_size(found.metadata.len())))
            }
            () => Ok(None),
        };
        relative.pop();
        found
    }

    fn look_through(&mut self, relative: &Path, folder: &Path, name: OsString) -> io::Result<Option<Found>> {
        let metadata = std::fs::metadata(folder.join(&name))?;
        if metadata.is_dir() {
            self.enter(relative, folder, &name);
            return Ok(None);
        }
        let counts = metadata.is_file() && self.root.filter.takes(relative, &name) && self.root.filter.takes_size(metadata.len());
        Ok(counts.then_some(Found { name, metadata }))
    }

    fn enter(&mut self, relative: &Path, folder: &Path, name: &OsStr) {
        if !self.below || !self.root.filter.enters(relative, name) {
            return;
        }
        let path = folder.join(name);
        if self.root.except.contains(&path) || (self.root.follow_symlinks && !self.is_new(&path)) {
            return;
        }
        self.left.push(path);
    }

    fn is_new(&mut self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| self.seen.insert((metadata.dev(), metadata.ino())))
    }
}

/// The way from a root to `path`, which lies below it.
pub(super) fn relative<'a>(root: &Root, path: &'a Path) -> &'a Path {
    path.strip_prefix(&root.path).unwrap_or(Path::new(""))
}
