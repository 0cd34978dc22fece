//! What a user, and the daemon, can do by a path.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::super::stat::{FileKind, Stat};
use super::super::top::Top;
use super::disk::{Content, Disk, ROOT, is_link, not_found};
use super::file::File;
use super::folder::Folder;

/// What a user does.
impl Disk {
    /// Makes the folder at `path`, and those above it.
    pub fn make_folders(&self, path: &Path) -> io::Result<()> {
        let mut folder = Folder { disk: self.clone(), inode: ROOT };
        for component in path.components() {
            if let Component::Normal(name) = component {
                folder = folder.subfolder(name)?;
            }
        }
        Ok(())
    }

    /// Makes the file at `path`, or empties it, open for writing until it is dropped.
    pub fn create(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        let inode = match folder.entry(name) {
            Some(inode) => {
                let now_ns = self.now_ns();
                self.change(inode, |node| {
                    node.content = Content::File(Vec::new());
                    (node.mtime_ns, node.ctime_ns) = (now_ns, now_ns);
                })?;
                inode
            }
            None => folder.insert(name, Content::File(Vec::new()), 0o644)?,
        };
        File::open_to_write(self, inode, folder.inode, name)
    }

    /// Opens the file at `path` for writing at its end, until it is dropped.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        let inode = folder.entry(name).ok_or_else(not_found)?;
        File::open_to_write(self, inode, folder.inode, name)
    }

    /// Writes a whole file and closes it.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.create(path)?, bytes)
    }

    /// What is in the file at `path`.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = self.resolve(path, true)?;
        match &self.lock().nodes.get(&inode).ok_or_else(not_found)?.content {
            Content::File(bytes) => Ok(bytes.clone()),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// Gives what is at `from` the path `to`, whatever has it.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((folder, name), (target, new)) = (self.parent(from)?, self.parent(to)?);
        folder.rename_over(name, &target, new)
    }

    /// Removes the name of a file, or an empty folder.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        folder.remove(name)
    }

    /// Makes a symbolic link at `path` that leads to `target`.
    pub fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        folder.insert(name, Content::Link(target.to_owned()), 0o777).map(drop)
    }

    /// Changes the mode of the file at `path`, and so the time of its inode's last change.
    pub fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let inode = self.resolve(path, true)?;
        let now_ns = self.now_ns();
        self.change(inode, |node| (node.mode, node.ctime_ns) = (mode, now_ns))
    }

    /// The names of the files and links below `path`, in order, each with the way from there.
    pub fn files_below(&self, path: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut left = vec![(PathBuf::new(), self.resolve(path, true).unwrap_or_default())];
        let state = self.lock();
        while let Some((way, inode)) = left.pop() {
            match state.nodes.get(&inode).map(|node| &node.content) {
                Some(Content::Folder(entries)) => left.extend(entries.iter().map(|(name, inode)| (way.join(name), *inode))),
                Some(_) => found.push(way),
                None => {}
            }
        }
        found.sort();
        found
    }

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(Folder, &'p OsStr)> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
        Ok((Folder { disk: self.clone(), inode: self.resolve(folder, true)? }, name))
    }
}

/// What the daemon does.
impl Disk {
    pub(in crate::os::files) fn open(&self, top: &Top, path: &Path) -> io::Result<File> {
        let inode = self.reach(top, path)?;
        match self.kind_of(inode)? {
            FileKind::Link => Err(is_link()),
            _ => Ok(File { disk: self.clone(), inode, offset: 0, written_as: None }),
        }
    }

    pub(in crate::os::files) fn folder(&self, top: &Top, path: &Path) -> io::Result<Folder> {
        let inode = self.reach(top, path)?;
        match self.kind_of(inode)? {
            FileKind::Folder => Ok(Folder { disk: self.clone(), inode }),
            FileKind::Link => Err(is_link()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(in crate::os::files) fn look(&self, top: &Top, path: &Path) -> io::Result<Stat> {
        self.stat(self.reach(top, path)?)
    }

    pub(in crate::os::files) fn make(&self, top: &Top, path: &Path) -> io::Result<Folder> {
        self.make_folders(&top.path)?;
        let mut folder = Folder { disk: self.clone(), inode: self.resolve(&top.path, true)? };
        for component in top.relative(path)?.components() {
            if let Component::Normal(name) = component {
                folder = folder.subfolder(name)?;
            }
        }
        Ok(folder)
    }

    /// The inode at `path`: below the top, links are followed only where it says so, and the last one not otherwise.
    fn reach(&self, top: &Top, path: &Path) -> io::Result<i64> {
        if top.follow {
            return self.resolve(path, true);
        }
        let mut inode = self.resolve(&top.path, true)?;
        for component in top.relative(path)?.components() {
            let Component::Normal(name) = component else { return Err(io::ErrorKind::InvalidInput.into()) };
            inode = match &self.lock().nodes.get(&inode).ok_or_else(not_found)?.content {
                Content::Folder(entries) => *entries.get(name).ok_or_else(not_found)?,
                Content::Link(_) => return Err(is_link()),
                Content::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
            };
        }
        Ok(inode)
    }
}
