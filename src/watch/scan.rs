//! Walks folders: watches each, then lists it, so that nothing can appear between the two unseen. Holds the folders still to visit,
//! never their files.
//!
//! Where links are not followed, a folder is opened beneath the root without following any, however long ago it was listed, and its
//! files are looked at through the open folder: a link that has taken the place of a folder meanwhile leads nowhere.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::os::files::{self, Base, Entry, FileKind, Folder, Listing, Stat};

use super::Root;
use super::settle::Sighting;

/// The folders of a root still to be visited.
pub(super) struct Walk<'a> {
    root: &'a Root,
    base: Base,
    left: Vec<Ahead>,
    /// Links to folders, followed when nothing else is left: a folder that is below the root anyway is visited by its own way.
    links: Vec<PathBuf>,
    below: bool,
    from_the_root: bool,
    /// Folders seen, where symbolic links could lead in circles or to a folder twice.
    seen: HashSet<(i64, i64)>,
    /// Links to folders that only a walk from the root can judge.
    passed_links: bool,
}

/// A folder still to be visited.
pub(super) struct Ahead {
    pub path: PathBuf,
    /// Device and inode as the listing told them that it was found in.
    listed: Option<(i64, i64)>,
}

/// What is found in a folder.
pub(super) struct FoundFile {
    pub name: OsString,
    pub sighting: Sighting,
}

/// The folder that is being listed.
struct Here<'f> {
    folder: &'f Path,
    /// The way there from the root, and to the entry that is looked at.
    relative: PathBuf,
    listing: Listing,
    device: i64,
    /// Whether its files are another watch's, and only the folders in it count.
    only_passed: bool,
}

impl<'a> Walk<'a> {
    /// A walk from `start`, and below it if `below`.
    pub(super) fn new(root: &'a Root, start: PathBuf, below: bool) -> Walk<'a> {
        let (below, from_the_root) = (below && root.watch().recursive, start == root.path());
        let (links, seen, left) = (Vec::new(), HashSet::new(), Vec::new());
        let mut walk = Walk { root, base: root.base(), left, links, below, from_the_root, seen, passed_links: false };
        if root.watch().follow_symlinks {
            walk.is_new(&start);
        }
        walk.left.push(Ahead { path: start, listed: None });
        walk
    }

    /// The next folder to be watched and then listed.
    pub(super) fn next_folder(&mut self) -> Option<Ahead> {
        if let Some(folder) = self.left.pop() {
            return Some(folder);
        }
        while let Some(path) = self.links.pop() {
            if self.is_new(&path) {
                return Some(Ahead { path, listed: None });
            }
        }
        None
    }

    /// Whether the walk met links to folders which it did not follow because it did not begin at the root: another way may lead to
    /// them.
    pub(super) fn passed_links(&self) -> bool {
        self.passed_links
    }

    fn is_new(&mut self, path: &Path) -> bool {
        self.base.look(path).is_ok_and(|stat| self.seen.insert(stat.device_and_inode()))
    }

    /// Lists `folder`: files that count go to `each`, folders are visited later. An error of one entry is told and passed by.
    pub(super) fn list<E>(
        &mut self,
        folder: &Ahead,
        mut each: impl FnMut(FoundFile) -> Result<(), E>,
        mut unreadable: impl FnMut(&Path, &io::Error),
    ) -> Result<(), E> {
        let opened = self.open(folder).and_then(|(opened, device)| {
            let relative = self.root.relative(&folder.path).to_owned();
            let only_passed = !self.root.owns(&folder.path);
            Ok(Here { folder: &folder.path, relative, listing: opened.list()?, device, only_passed })
        });
        let mut here = match opened {
            Ok(here) => here,
            Err(error) => {
                if !is_gone(&error) {
                    unreadable(&folder.path, &error);
                }
                return Ok(());
            }
        };
        while let Some(entry) = here.listing.next_entry() {
            match entry.and_then(|entry| self.look(&mut here, &entry)) {
                Ok(Some(found)) => each(found)?,
                Ok(None) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => unreadable(&folder.path, &error),
            }
        }
        Ok(())
    }

    /// The folder that was listed, and its device. One that is another by now is taken if its path means just that one: it may be a
    /// mount point, of which the listing tells what is underneath. One that is being replaced right now is met again by the event
    /// or the next scan.
    fn open(&self, ahead: &Ahead) -> io::Result<(Folder, i64)> {
        let folder = self.base.folder(&ahead.path)?;
        let opened = folder.device_and_inode()?;
        let is_listed = ahead.listed.is_none_or(|listed| listed == opened);
        if !is_listed && opened != self.base.look(&ahead.path)?.device_and_inode() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((folder, opened.0))
    }

    fn look(&mut self, here: &mut Here<'_>, entry: &Entry) -> io::Result<Option<FoundFile>> {
        let name = entry.name();
        here.relative.push(name);
        let found = self.look_at(here, entry, name.to_owned());
        here.relative.pop();
        found
    }

    fn look_at(&mut self, here: &Here<'_>, entry: &Entry, name: OsString) -> io::Result<Option<FoundFile>> {
        let kind = match entry.kind() {
            Some(kind) => kind,
            None => here.listing.look(&name)?.kind,
        };
        match kind {
            FileKind::Link if self.root.watch().follow_symlinks => self.look_through(here, name),
            FileKind::Folder => {
                self.enter(here, &name, (here.device, entry.inode()))?;
                Ok(None)
            }
            FileKind::File if self.takes(here, &name) => {
                let stat = here.listing.look(&name)?;
                Ok(self.found(name, &stat))
            }
            FileKind::Link | FileKind::File | FileKind::Other => Ok(None),
        }
    }

    fn look_through(&mut self, here: &Here<'_>, name: OsString) -> io::Result<Option<FoundFile>> {
        let stat = here.listing.look_through(&name)?;
        match stat.kind {
            FileKind::Folder => {
                self.follow(here, &name);
                Ok(None)
            }
            FileKind::File if self.takes(here, &name) => Ok(self.found(name, &stat)),
            _ => Ok(None),
        }
    }

    fn takes(&self, here: &Here<'_>, name: &OsStr) -> bool {
        !here.only_passed && self.root.filter.takes(&here.relative, name)
    }

    /// It may have become something else since it was listed.
    fn found(&self, name: OsString, stat: &Stat) -> Option<FoundFile> {
        let counts = stat.kind == FileKind::File && self.root.filter.takes_size(stat.size());
        counts.then(|| FoundFile { name, sighting: Sighting::of(stat) })
    }

    fn enter(&mut self, here: &Here<'_>, name: &OsStr, listed: (i64, i64)) -> io::Result<()> {
        let Some(path) = self.wanted(here, name) else { return Ok(()) };
        if !self.root.watch().follow_symlinks {
            self.left.push(Ahead { path, listed: Some(listed) });
        } else if self.seen.insert(here.listing.look_through(name)?.device_and_inode()) {
            self.left.push(Ahead { path, listed: None });
        }
        Ok(())
    }

    fn follow(&mut self, here: &Here<'_>, name: &OsStr) {
        match self.wanted(here, name) {
            Some(path) if self.from_the_root => self.links.push(path),
            Some(_) => self.passed_links = true,
            None => {}
        }
    }

    /// The folder `name` in the folder that is listed, if it counts.
    fn wanted(&self, here: &Here<'_>, name: &OsStr) -> Option<PathBuf> {
        let counts = self.below && self.root.filter.enters(&here.relative, name);
        counts.then(|| here.folder.join(name)).filter(|path| self.root.walks(path))
    }
}

/// What is not there any more, or behind a link that is not followed, is nothing that counts.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || files::is_link(error)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "it is another user that renames here")]

    use super::*;
    use crate::job::Watch;
    use crate::os::files::Files;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    fn root(path: &Path, follow_symlinks: bool) -> Root {
        let watch = Watch { follow_symlinks, ..Watch::new(path.to_owned(), Arc::from([])) };
        Root::all(&Files::Real, &[watch].into_iter().collect(), Path::new("/nowhere"), &[]).unwrap().remove(0)
    }

    /// The files that a walk finds, in order; before each folder is listed, `before` is told of it.
    fn walk(root: &Root, mut before: impl FnMut(&Path)) -> Vec<String> {
        let mut walk = Walk::new(root, root.path().to_owned(), true);
        let mut names = Vec::new();
        while let Some(folder) = walk.next_folder() {
            before(&folder.path);
            let each = |found: FoundFile| {
                names.push(folder.path.join(found.name).strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned());
                Ok::<(), ()>(())
            };
            walk.list(&folder, each, |path, error| panic!("{path:?}: {error}")).unwrap();
        }
        names.sort();
        names
    }

    /// A root with two folders in it, and a folder that is nobody else's business.
    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (top, private) = (dir.path().join("top"), dir.path().join("private"));
        for folder in [&top.join("sub/deep"), &top.join("other"), &private.join("deep")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for file in [top.join("file"), top.join("sub/one"), top.join("sub/deep/two"), private.join("one"), private.join("deep/two")]
        {
            std::fs::write(file, "x").unwrap();
        }
        (dir, top, private)
    }

    #[test]
    fn a_folder_that_becomes_a_link_after_it_was_listed_is_not_entered() {
        for swapped in ["sub", "sub/deep"] {
            let (dir, top, private) = place();
            let target = if swapped == "sub" { private.clone() } else { private.join("deep") };
            let mut met = false;
            let found = walk(&root(&top, false), |folder| {
                if folder == top.join(swapped) {
                    std::fs::rename(folder, dir.path().join("aside")).unwrap();
                    symlink(&target, folder).unwrap();
                    met = true;
                }
            });
            assert!(met);
            let expected: &[&str] = if swapped == "sub" { &["file"] } else { &["file", "sub/one"] };
            assert_eq!(found, expected, "{swapped}");
        }
    }

    #[test]
    fn a_folder_above_that_becomes_a_link_leads_nowhere_either() {
        let (dir, top, private) = place();
        let found = walk(&root(&top, false), |folder| {
            if folder == top.join("sub/deep") {
                std::fs::rename(top.join("sub"), dir.path().join("aside")).unwrap();
                symlink(&private, top.join("sub")).unwrap();
            }
        });
        assert_eq!(found, ["file", "sub/one"], "only what was listed before");
    }

    #[test]
    fn a_folder_that_another_folder_has_replaced_is_listed_as_it_is_now() {
        let (dir, top, private) = place();
        let found = walk(&root(&top, false), |folder| {
            if folder == top.join("sub") {
                std::fs::rename(folder, dir.path().join("aside")).unwrap();
                std::fs::rename(&private, folder).unwrap();
                std::fs::write(folder.join("new"), "x").unwrap();
            }
        });
        assert_eq!(found, ["file", "sub/deep/two", "sub/new", "sub/one"]);
    }

    #[test]
    fn each_of_nested_watches_finds_what_is_its_own_and_together_they_find_all() {
        let (dir, top, _) = place();
        let of = |path: &Path, recursive| Watch { recursive, ..Watch::new(path.to_owned(), Arc::from([])) };
        let (sub, deep, other) = (top.join("sub"), top.join("sub/deep"), top.join("other"));
        std::fs::create_dir_all(deep.join("own")).unwrap();
        for file in [top.join("other/four"), deep.join("own/three")] {
            std::fs::write(file, "x").unwrap();
        }
        let found = |watches: &[Watch]| {
            let roots = Root::all(&Files::Real, &watches.iter().cloned().collect(), &dir.path().join("top/other"), &[]).unwrap();
            roots.iter().map(|root| walk(root, |_| {})).collect::<Vec<_>>()
        };
        // The state folder `other` is entered by nobody whom it is inside of.
        let outer = of(&top, true);
        let nested = found(&[outer.clone(), of(&sub, true)]);
        assert_eq!(nested, [vec!["file"], vec!["deep/own/three", "deep/two", "one"]]);
        let passed = found(&[outer.clone(), of(&sub, false)]);
        assert_eq!(passed, [vec!["file", "sub/deep/own/three", "sub/deep/two"], vec!["one"]]);
        let twice = found(&[of(&deep, false), outer.clone(), of(&sub, false)]);
        assert_eq!(twice, [vec!["two"], vec!["file", "sub/deep/own/three"], vec!["one"]]);
        assert_eq!(found(&[of(&sub, false), of(&other, true)]), [vec!["one"], vec!["four"]]);
    }

    #[test]
    fn links_are_followed_where_that_is_wanted_and_circles_end() {
        let (_dir, top, private) = place();
        symlink(&private, top.join("link")).unwrap();
        symlink(private.join("one"), top.join("file link")).unwrap();
        symlink(&top, top.join("other/circle")).unwrap();
        assert_eq!(walk(&root(&top, false), |_| {}), ["file", "sub/deep/two", "sub/one"]);
        let followed = walk(&root(&top, true), |_| {});
        for name in ["file", "file link", "link/deep/two", "link/one", "sub/deep/two", "sub/one"] {
            assert!(followed.iter().any(|found| found == name), "{name}: {followed:?}");
        }
    }
}
