//! What the daemon does by a path.

use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

use super::super::stat::Stat;
use super::super::top::Top;
use super::disk::Disk;
use super::file::File;
use super::folder::Folder;
use super::node::{Actor, Key};
use super::state::ROOT;

impl Disk {
    pub(in crate::os::files) fn open(&self, top: &Top, path: &Path) -> io::Result<File> {
        let (daemon, key) = self.reach(top, path)?;
        let folder = path.parent().and_then(|folder| self.resolve(folder, true).ok()).unwrap_or(ROOT);
        File::open_to_read(self, daemon, key, folder, path.file_name().unwrap_or(OsStr::new("/")))
    }

    pub(in crate::os::files) fn folder(&self, top: &Top, path: &Path) -> io::Result<Folder> {
        let (daemon, key) = self.reach(top, path)?;
        Folder::open_at(self, daemon, key)
    }

    pub(in crate::os::files) fn look(&self, top: &Top, path: &Path) -> io::Result<Stat> {
        let (_, key) = self.reach(top, path)?;
        self.lock().stat(key)
    }

    pub(in crate::os::files) fn make(&self, top: &Top, path: &Path) -> io::Result<Folder> {
        let daemon = self.daemon();
        self.make_folders_as(daemon, &top.path)?;
        let key = self.lock().resolve(daemon, ROOT, &top.path, true)?;
        let mut folder = Folder::open_at(self, daemon, key)?;
        for component in top.relative(path)?.components() {
            if let Component::Normal(name) = component {
                folder = folder.subfolder(name)?;
            }
        }
        Ok(folder)
    }

    /// What is at `path`: below the top, links are followed only where it says so, and the last one not otherwise.
    fn reach(&self, top: &Top, path: &Path) -> io::Result<(Actor, Key)> {
        let daemon = self.daemon();
        self.alive(daemon)?;
        let state = self.lock();
        if top.follow {
            return Ok((daemon, state.resolve(daemon, ROOT, path, true)?));
        }
        let mut key = state.resolve(daemon, ROOT, &top.path, true)?;
        for component in top.relative(path)?.components() {
            let Component::Normal(name) = component else { return Err(io::ErrorKind::InvalidInput.into()) };
            key = state.entry(daemon, key, name)?;
        }
        Ok((daemon, key))
    }
}
