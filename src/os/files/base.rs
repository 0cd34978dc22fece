//! Files and folders below a folder, each reached by its path.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::beneath::{LIST, PASS, READ, names, open_beneath, subfolder, top};
use super::file::{File, Files};
use super::folder::{Folder, FolderHandle};
use super::look::look_at;
use super::stat::Stat;
use super::top::Top;

/// A folder at the top of some file system, and whether symbolic links below it are followed. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    files: Files,
    top: Top,
}

impl Base {
    /// The folder at `path` of the real file system.
    #[cfg(test)]
    pub(crate) fn new(path: &Path, follow_symlinks: bool) -> Base {
        Base::of(&Files::Real, path, follow_symlinks)
    }

    /// The folder at `path` of these files.
    pub(crate) fn of(files: &Files, path: &Path, follow_symlinks: bool) -> Base {
        Base { files: files.clone(), top: Top { path: path.into(), follow: follow_symlinks } }
    }

    /// For a file that is in no folder of which more is known: the folder it is in, whatever leads there.
    pub(crate) fn around(files: &Files, path: &Path) -> Base {
        Base::of(files, path.parent().unwrap_or(path), false)
    }

    /// The same folder, below which no link is followed.
    pub(crate) fn without_links(&self) -> Base {
        Base { files: self.files.clone(), top: Top { path: self.top.path.clone(), follow: false } }
    }

    /// The files that it belongs to.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The folder at the top.
    pub(crate) fn path(&self) -> &Path {
        &self.top.path
    }

    /// Whether links below it are followed.
    pub(crate) fn follows_links(&self) -> bool {
        self.top.follow
    }

    /// The way from the top to `path`.
    pub(crate) fn relative<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        self.top.relative(path)
    }

    /// Opens the file at `path` to be read, without ever waiting for somebody at the other end.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        match &self.files {
            Files::Real => Ok(File::Real(self.open_as(path, READ)?.into())),
            #[cfg(feature = "simulator")]
            Files::Simulated(disk) => disk.open(&self.top, path).map(File::Simulated),
        }
    }

    /// Opens the folder at `path`.
    pub(crate) fn folder(&self, path: &Path) -> io::Result<Folder> {
        let opened = match &self.files {
            Files::Real => FolderHandle::Real(self.open_as(path, LIST)?),
            #[cfg(feature = "simulator")]
            Files::Simulated(disk) => FolderHandle::Simulated(disk.folder(&self.top, path)?),
        };
        Ok(Folder(opened))
    }

    /// What is at `path`: where links are not followed, a link itself.
    pub(crate) fn look(&self, path: &Path) -> io::Result<Stat> {
        #[cfg(feature = "simulator")]
        if let Files::Simulated(disk) = &self.files {
            return disk.look(&self.top, path);
        }
        if self.top.follow {
            return look_at(CWD, path.as_os_str(), AtFlags::empty());
        }
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if !self.relative(path)?.as_os_str().is_empty() => {
                look_at(self.open_as(folder, PASS)?.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
            }
            _ => look_at(CWD, self.top.path.as_os_str(), AtFlags::empty()),
        }
    }

    /// What the folder at the top is, whatever leads there.
    pub(crate) fn look_at_top(&self) -> io::Result<Stat> {
        self.look(&self.top.path)
    }

    /// Opens the folder at `path`, and makes it, and those above it, where they are missing. Those that are made are on the disk.
    pub(crate) fn make(&self, path: &Path) -> io::Result<Folder> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match &self.files {
            Files::Real => self.make_real(path).map(|folder| Folder(FolderHandle::Real(folder))),
            #[cfg(feature = "simulator")]
            Files::Simulated(disk) => disk.make(&self.top, path).map(|folder| Folder(FolderHandle::Simulated(folder))),
        }
    }

    fn make_real(&self, path: &Path) -> io::Result<OwnedFd> {
        super::super::folders::make(&self.top.path, false)?;
        let mut folder = top(&self.top.path, LIST)?;
        for name in names(self.relative(path)?)? {
            folder = subfolder(&folder, name)?;
        }
        Ok(folder)
    }

    fn open_as(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if self.top.follow {
            return Ok(rustix::fs::open(path, flags, Mode::empty())?);
        }
        let relative = self.relative(path)?;
        if relative.as_os_str().is_empty() {
            return top(&self.top.path, flags);
        }
        Ok(open_beneath(&top(&self.top.path, PASS)?, relative, flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::beneath::step_by_step;
    use super::super::stat::{FileKind, is_link};
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    /// A folder `in` with a file and links, and a folder `out` that the links lead to, with a file of the same name.
    fn place() -> (tempfile::TempDir, Base, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("in");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        std::fs::write(top.join("a/b/file"), "inside").unwrap();
        std::fs::write(dir.path().join("out/file"), "outside").unwrap();
        symlink(dir.path().join("out"), top.join("link")).unwrap();
        symlink("b", top.join("a/near")).unwrap();
        symlink(dir.path().join("out/file"), top.join("file link")).unwrap();
        (dir, Base::new(&top, false), top)
    }

    #[test]
    fn nothing_is_reached_through_a_link_in_one_step_or_in_many() {
        let (_dir, base, top) = place();
        let many = |relative: &str, flags| {
            let opened = step_by_step(&super::top(&top, PASS).unwrap(), Path::new(relative), flags);
            opened.map(drop).map_err(io::Error::from)
        };
        for (relative, is_refused) in
            [("a/b/file", false), ("link/file", true), ("a/near/file", true), ("file link", true), ("a/./b/file", false)]
        {
            let one = base.open(&top.join(relative)).map(drop);
            for opened in [one, many(relative, READ)] {
                assert_eq!(opened.as_ref().err().map(is_link), is_refused.then_some(true), "{relative}: {opened:?}");
            }
            assert!(base.open(&top.join(relative)).is_ok() || Base::new(&top, true).open(&top.join(relative)).is_ok());
        }
        for (relative, is_refused) in [("a/b", false), ("link", true), ("a/near", true)] {
            let one = base.folder(&top.join(relative)).map(drop);
            for opened in [one, many(relative, LIST), many(relative, PASS)] {
                assert_eq!(opened.as_ref().err().map(is_link), is_refused.then_some(true), "{relative}: {opened:?}");
            }
        }
    }

    #[test]
    fn nothing_above_the_top_is_reached() {
        let (dir, base, top) = place();
        assert!(base.open(&dir.path().join("out/file")).is_err());
        assert!(base.open(&top.join("../out/file")).is_err());
        assert!(step_by_step(&super::top(&top, PASS).unwrap(), Path::new("../out/file"), READ).is_err());
    }

    #[test]
    fn the_folder_at_the_top_may_be_a_link() {
        let (dir, _, top) = place();
        let link = dir.path().join("way in");
        symlink(&top, &link).unwrap();
        let base = Base::new(&link, false);
        assert!(base.open(&link.join("a/b/file")).is_ok() && base.folder(&link).is_ok());
        assert_eq!(base.look(&link).unwrap().kind, FileKind::Folder);
        assert!(is_link(&base.open(&link.join("link/file")).unwrap_err()));
    }

    #[test]
    fn a_look_says_what_the_standard_library_says() {
        let (_dir, base, top) = place();
        let followed = Base::new(&top, true);
        for relative in ["a/b/file", "a/b", "file link", "a"] {
            let path = top.join(relative);
            for (stat, metadata) in [(base.look(&path), path.symlink_metadata()), (followed.look(&path), path.metadata())] {
                let (stat, metadata) = (stat.unwrap(), metadata.unwrap());
                let ns = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
                let born = metadata.created().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
                assert_eq!(
                    stat.numbers,
                    [
                        metadata.dev().cast_signed(),
                        metadata.ino().cast_signed(),
                        metadata.len().cast_signed(),
                        ns(metadata.mtime(), metadata.mtime_nsec()),
                        ns(metadata.ctime(), metadata.ctime_nsec()),
                        i64::try_from(born).unwrap(),
                    ]
                );
                let kinds = (stat.kind == FileKind::File, stat.kind == FileKind::Folder, stat.kind == FileKind::Link);
                assert_eq!(kinds, (metadata.is_file(), metadata.is_dir(), metadata.is_symlink()));
                assert_eq!(stat.blocks, metadata.blocks());
            }
        }
    }

    #[test]
    fn a_listing_names_every_entry_once_with_its_kind_and_inode() {
        let (_dir, base, top) = place();
        let mut listing = base.folder(&top).unwrap().list().unwrap();
        let mut found = Vec::new();
        while let Some(entry) = listing.next_entry() {
            let entry = entry.unwrap();
            let stat = listing.look(entry.name()).unwrap();
            assert_eq!((entry.kind().unwrap_or(stat.kind), entry.inode()), (stat.kind, stat.device_and_inode().1));
            found.push((entry.name().to_str().unwrap().to_owned(), stat.kind));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [("a", FileKind::Folder), ("file link", FileKind::Link), ("link", FileKind::Link)];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
        assert_eq!(listing.look_through(OsStr::new("file link")).unwrap().kind, FileKind::File);
    }

    #[test]
    fn folders_are_made_and_never_through_a_link() {
        let (dir, base, top) = place();
        base.make(&top.join("a/new/er")).unwrap();
        assert!(top.join("a/new/er").is_dir());
        assert!(is_link(&base.make(&top.join("link/new")).unwrap_err()));
        assert!(!dir.path().join("out/new").exists());
        let missing = Base::new(&dir.path().join("not/yet"), false);
        missing.make(&dir.path().join("not/yet/there")).unwrap();
        assert!(dir.path().join("not/yet/there").is_dir());
    }

    #[test]
    fn a_new_file_is_never_made_through_a_link_or_over_anything() {
        let (dir, base, top) = place();
        let folder = base.folder(&top).unwrap();
        symlink(dir.path().join("nowhere"), top.join("dangling")).unwrap();
        for name in ["file link", "dangling", "a"] {
            let error = folder.create_new(OsStr::new(name), 0o600).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("out/file")).unwrap(), "outside");
        assert!(!dir.path().join("nowhere").exists());
        assert!(is_link(&folder.open(OsStr::new("file link")).unwrap_err()));
    }
}
