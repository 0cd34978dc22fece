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
    /// Links to folders, followed when nothing else is left: a folder that is below the root anyway is visited by its own way.
    links: Vec<PathBuf>,
    below: bool,
    from_the_root: bool,
    /// Folders seen, where symbolic links could lead in circles or to a folder twice.
    seen: HashSet<(u64, u64)>,
    /// Links to folders that only a walk from the root can judge.
    passed_links: bool,
}

/// What is found in a folder.
pub(super) struct Found {
    pub name: OsString,
    pub metadata: Metadata,
}

impl<'a> Walk<'a> {
    /// A walk from `start`, and below it if `below`.
    pub(super) fn new(root: &'a Root, start: PathBuf, below: bool) -> Walk<'a> {
        let below = below && root.recursive;
        let (from_the_root, seen) = (start == root.path, HashSet::new());
        let mut walk = Walk { root, left: Vec::new(), links: Vec::new(), below, from_the_root, seen, passed_links: false };
        if root.follow_symlinks {
            walk.is_new(&start);
        }
        walk.left.push(start);
        walk
    }

    /// The next folder to be watched and then listed.
    pub(super) fn next_folder(&mut self) -> Option<PathBuf> {
        if let Some(folder) = self.left.pop() {
            return Some(folder);
        }
        while let Some(link) = self.links.pop() {
            if self.is_new(&link) {
                return Some(link);
            }
        }
        None
    }

    /// Whether the walk met links to folders which it did not follow because it did not begin at the root: another way may lead to them.
    pub(super) fn passed_links(&self) -> bool {
        self.passed_links
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
            self.follow(relative, folder, &name);
            return Ok(None);
        }
        let counts = metadata.is_file() && self.root.filter.takes(relative, &name) && self.root.filter.takes_size(metadata.len());
        Ok(counts.then_some(Found { name, metadata }))
    }

    fn enter(&mut self, relative: &Path, folder: &Path, name: &OsStr) {
        if let Some(path) = self.wanted(relative, folder, name)
            && (!self.root.follow_symlinks || self.is_new(&path))
        {
            self.left.push(path);
        }
    }

    fn follow(&mut self, relative: &Path, folder: &Path, name: &OsStr) {
        match self.wanted(relative, folder, name) {
            Some(path) if self.from_the_root => self.links.push(path),
            Some(_) => self.passed_links = true,
            None => {}
        }
    }

    /// The folder `name` in `folder`, if it counts.
    fn wanted(&self, relative: &Path, folder: &Path, name: &OsStr) -> Option<PathBuf> {
        let counts = self.below && self.root.filter.enters(relative, name);
        counts.then(|| folder.join(name)).filter(|path| !self.root.except.contains(path))
    }

    fn is_new(&mut self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| self.seen.insert((metadata.dev(), metadata.ino())))
    }
}

/// The way from a root to `path`, which lies below it.
pub(super) fn relative<'a>(root: &Root, path: &'a Path) -> &'a Path {
    path.strip_prefix(&root.path).unwrap_or(Path::new(""))
}
