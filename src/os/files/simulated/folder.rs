//! Open folders in memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;

use super::super::stat::{Entry, FileKind, Stat};
use super::disk::{Content, DEVICE, Disk, NameChange, is_link, not_found};
use super::file::File;

/// A folder that is open.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(super) disk: Disk,
    pub(super) inode: i64,
}

/// A folder that is being listed.
#[derive(Debug)]
pub(crate) struct Listing {
    folder: Folder,
    left: std::vec::IntoIter<Entry>,
}

impl Folder {
    pub(super) fn entry(&self, name: &OsStr) -> Option<i64> {
        match &self.disk.lock().nodes.get(&self.inode)?.content {
            Content::Folder(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn has(&self, name: &OsStr) -> io::Result<i64> {
        self.entry(name).ok_or_else(not_found)
    }

    /// Changes the names in the folder.
    fn names<T>(&self, change: impl FnOnce(&mut BTreeMap<OsString, i64>) -> T) -> io::Result<T> {
        let now_ns = self.disk.now_ns();
        let mut state = self.disk.lock();
        let node = state.nodes.get_mut(&self.inode).ok_or_else(not_found)?;
        (node.mtime_ns, node.ctime_ns) = (now_ns, now_ns);
        match &mut node.content {
            Content::Folder(entries) => Ok(change(entries)),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn insert(&self, name: &OsStr, content: Content, mode: u32) -> io::Result<i64> {
        if self.entry(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = self.disk.node(content, mode);
        let inode = {
            let mut state = self.disk.lock();
            state.last_inode += 1;
            let inode = state.last_inode;
            state.nodes.insert(inode, node);
            inode
        };
        self.names(|entries| entries.insert(name.to_owned(), inode))?;
        self.disk.say(self.inode, name, NameChange::Touched);
        Ok(inode)
    }

    pub(super) fn subfolder(&self, name: &OsStr) -> io::Result<Folder> {
        let inode = match self.entry(name) {
            Some(inode) => inode,
            None => self.insert(name, Content::Folder(BTreeMap::new()), 0o755)?,
        };
        match self.disk.kind_of(inode)? {
            FileKind::Folder => Ok(Folder { disk: self.disk.clone(), inode }),
            FileKind::Link => Err(is_link()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(in crate::os::files) fn open(&self, name: &OsStr) -> io::Result<File> {
        let inode = self.has(name)?;
        match self.disk.kind_of(inode)? {
            FileKind::Link => Err(is_link()),
            _ => Ok(File { disk: self.disk.clone(), inode, offset: 0, written_as: None }),
        }
    }

    pub(in crate::os::files) fn look(&self, name: &OsStr) -> io::Result<Stat> {
        self.disk.stat(self.has(name)?)
    }

    pub(in crate::os::files) fn device_and_inode(&self) -> io::Result<(i64, i64)> {
        Ok((DEVICE, self.inode))
    }

    pub(in crate::os::files) fn create_new(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let inode = self.insert(name, Content::File(Vec::new()), mode)?;
        File::open_to_write(&self.disk, inode, self.inode, name)
    }

    pub(in crate::os::files) fn remove(&self, name: &OsStr) -> io::Result<()> {
        let inode = self.has(name)?;
        if self.disk.kind_of(inode)? == FileKind::Folder && !self.disk.folder_is_empty(inode) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.names(|entries| entries.remove(name))?;
        self.disk.unlink(inode);
        self.disk.say(self.inode, name, NameChange::Touched);
        Ok(())
    }

    pub(in crate::os::files) fn rename_over(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        let inode = self.has(name)?;
        let replaced = to.entry(new).filter(|replaced| *replaced != inode);
        self.names(|entries| entries.remove(name))?;
        to.names(|entries| entries.insert(new.to_owned(), inode))?;
        if let Some(replaced) = replaced {
            self.disk.unlink(replaced);
        }
        let now_ns = self.disk.now_ns();
        self.disk.change(inode, |node| node.ctime_ns = now_ns)?;
        self.disk.say(self.inode, name, NameChange::Touched);
        to.disk.say(to.inode, new, NameChange::MovedIn);
        Ok(())
    }

    pub(in crate::os::files) fn rename_new(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        match to.entry(new) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => self.rename_over(name, to, new),
        }
    }

    pub(in crate::os::files) fn link(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        let inode = self.has(name)?;
        if to.entry(new).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        to.names(|entries| entries.insert(new.to_owned(), inode))?;
        let now_ns = self.disk.now_ns();
        self.disk.change(inode, |node| (node.links, node.ctime_ns) = (node.links + 1, now_ns))?;
        to.disk.say(to.inode, new, NameChange::Touched);
        Ok(())
    }

    pub(in crate::os::files) fn list(self) -> io::Result<Listing> {
        let entries: Vec<(OsString, i64)> = self.names_now()?;
        let entry = |(name, inode): (OsString, i64)| Entry::new(name, self.disk.kind_of(inode).ok(), inode);
        let left = entries.into_iter().map(entry).collect::<Vec<_>>().into_iter();
        Ok(Listing { folder: self, left })
    }

    fn names_now(&self) -> io::Result<Vec<(OsString, i64)>> {
        match &self.disk.lock().nodes.get(&self.inode).ok_or_else(not_found)?.content {
            Content::Folder(entries) => Ok(entries.iter().map(|(name, inode)| (name.clone(), *inode)).collect()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }
}

impl Listing {
    pub(in crate::os::files) fn next_entry(&mut self) -> Option<Entry> {
        self.left.next()
    }

    pub(in crate::os::files) fn look(&self, name: &OsStr) -> io::Result<Stat> {
        self.folder.look(name)
    }

    pub(in crate::os::files) fn look_through(&self, name: &OsStr) -> io::Result<Stat> {
        let inode = self.folder.disk.through(self.folder.inode, self.folder.has(name)?)?;
        self.folder.disk.stat(inode)
    }
}
