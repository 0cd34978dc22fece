//! What users do, by paths. It always happens, whatever has become of the daemon.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::disk::Disk;
use super::file::File;
use super::folder::Folder;
use super::node::{Actor, Content, Node};
use super::state::ROOT;

impl Disk {
    /// Makes the folder at `path`, and those above it.
    pub fn make_folders(&self, path: &Path) -> io::Result<()> {
        self.make_folders_as(Actor::User, path)
    }

    pub(super) fn make_folders_as(&self, actor: Actor, path: &Path) -> io::Result<()> {
        let mut folder = Folder { disk: self.clone(), actor, key: ROOT };
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
        match self.append(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => folder.create_new(name, 0o644),
            opened => {
                let file = opened?;
                file.set_len(0)?;
                Ok(file)
            }
        }
    }

    /// Opens the file at `path` for writing at its end, until it is dropped.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        File::open_to_write(self, Actor::User, self.resolve(path, true)?, folder.key, name)
    }

    /// Writes a whole file and closes it.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.create(path)?, bytes)
    }

    /// What is in the file at `path`.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let key = self.resolve(path, true)?;
        self.lock().node(key)?.bytes().cloned()
    }

    /// Gives what is at `from` the path `to`, whatever file has it, or empty folder.
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

    /// Changes the mode of what is at `path`, and so the time of its inode's last change. The daemon cannot open a file, or list a
    /// folder, without `0o400`, reach anything in a folder without `0o100`, or change its names without `0o200`.
    pub fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.change(path, |node| node.mode = mode)
    }

    pub(super) fn change(&self, path: &Path, change: impl FnOnce(&mut Node)) -> io::Result<()> {
        let key = self.resolve(path, true)?;
        let now_ns = self.now_ns();
        let mut state = self.lock();
        let node = state.node_mut(key)?;
        change(node);
        node.ctime_ns = now_ns;
        Ok(())
    }

    /// The names of the files and links below `path`, in order, each with the way from there.
    pub fn files_below(&self, path: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut left = vec![(PathBuf::new(), self.resolve(path, true).unwrap_or_default())];
        let state = self.lock();
        while let Some((way, key)) = left.pop() {
            match state.nodes.get(&key).map(|node| &node.content) {
                Some(Content::Folder(entries)) => left.extend(entries.iter().map(|(name, key)| (way.join(name), *key))),
                Some(_) => found.push(way),
                None => {}
            }
        }
        found.sort();
        found
    }

    pub(super) fn parent<'p>(&self, path: &'p Path) -> io::Result<(Folder, &'p OsStr)> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
        Ok((Folder { disk: self.clone(), actor: Actor::User, key: self.resolve(folder, true)? }, name))
    }
}
