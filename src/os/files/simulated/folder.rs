//! Open folders in memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::super::stat::{Entry, FileKind, Stat};
use super::disk::Disk;
use super::file::File;
use super::journal::Slot;
use super::node::{Actor, Content, Key, MAY_READ, os_error};
use super::state::State;
use super::watching::NameChange;

/// A folder that is open.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(super) disk: Disk,
    pub(super) actor: Actor,
    pub(super) key: Key,
}

/// A folder that is being listed.
#[derive(Debug)]
pub(crate) struct Listing {
    folder: Folder,
    left: std::vec::IntoIter<Entry>,
}

impl Folder {
    /// What has the name.
    pub(super) fn entry(&self, name: &OsStr) -> io::Result<Key> {
        self.disk.alive(self.actor)?;
        self.disk.lock().entry(self.actor, self.key, name)
    }

    /// The path of a name, for whoever is asked about a step.
    fn words(&self, state: &State, name: &OsStr) -> String {
        state.path_of(self.key).join(name).display().to_string()
    }

    pub(super) fn insert(&self, name: &OsStr, content: Content, mode: u32) -> io::Result<Key> {
        let doing = if let Content::Folder(_) = content { "make the folder" } else { "create" };
        self.disk.step(self.actor, |state| format!("{doing} {}", self.words(state, name)))?;
        let now_ns = self.disk.now_ns();
        let key = {
            let mut state = self.disk.lock();
            self.vacant(&state, name)?;
            let device = state.node(self.key)?.device;
            state.take_room(self.actor, device, 0)?;
            let key = state.add(device, content, mode, now_ns);
            state.put(self.actor, &[Slot::new(self.key, name, None, Some(key))], now_ns);
            key
        };
        self.disk.say(self.key, name, NameChange::Touched);
        Ok(key)
    }

    /// Whether the name is free, and may be given away.
    fn vacant(&self, state: &State, name: &OsStr) -> io::Result<()> {
        match state.entry(self.actor, self.key, name) {
            Ok(_) => Err(os_error(libc::EEXIST)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => state.may_change(self.actor, self.key),
            Err(error) => Err(error),
        }
    }

    /// The folder of that name, which is made where it is missing.
    pub(super) fn subfolder(&self, name: &OsStr) -> io::Result<Folder> {
        let key = match self.entry(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.insert(name, Content::Folder(BTreeMap::new()), 0o755)?,
            found => found?,
        };
        Folder::open_at(&self.disk, self.actor, key)
    }

    /// Opens a folder, which is no link to one.
    pub(super) fn open_at(disk: &Disk, actor: Actor, key: Key) -> io::Result<Folder> {
        disk.lock().node(key)?.entries()?;
        Ok(Folder { disk: disk.clone(), actor, key })
    }

    pub(in crate::os::files) fn open(&self, name: &OsStr) -> io::Result<File> {
        File::open_to_read(&self.disk, self.actor, self.entry(name)?, self.key, name)
    }

    pub(in crate::os::files) fn look(&self, name: &OsStr) -> io::Result<Stat> {
        let key = self.entry(name)?;
        self.disk.lock().stat(key)
    }

    pub(in crate::os::files) fn device_and_inode(&self) -> io::Result<(i64, i64)> {
        self.disk.alive(self.actor)?;
        self.disk.lock().stat(self.key).map(|stat| stat.device_and_inode())
    }

    pub(in crate::os::files) fn create_new(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let key = self.insert(name, Content::File(Vec::new()), mode)?;
        File::open_to_write(&self.disk, self.actor, key, self.key, name)
    }

    /// A user's `remove` takes folders, too; the daemon's never does.
    pub(in crate::os::files) fn remove(&self, name: &OsStr) -> io::Result<()> {
        let by_daemon = self.actor.is_daemon();
        self.take_away(name, |content| match content {
            Content::Folder(_) if by_daemon => Err(os_error(libc::EISDIR)),
            Content::Folder(entries) if !entries.is_empty() => Err(os_error(libc::ENOTEMPTY)),
            _ => Ok(()),
        })
    }

    pub(in crate::os::files) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        self.take_away(name, |content| match content {
            Content::Folder(entries) if entries.is_empty() => Ok(()),
            Content::Folder(_) => Err(os_error(libc::ENOTEMPTY)),
            _ => Err(os_error(libc::ENOTDIR)),
        })
    }

    fn take_away(&self, name: &OsStr, may_go: impl Fn(&Content) -> io::Result<()>) -> io::Result<()> {
        self.disk.step(self.actor, |state| format!("remove {}", self.words(state, name)))?;
        let now_ns = self.disk.now_ns();
        {
            let mut state = self.disk.lock();
            state.may_change(self.actor, self.key)?;
            let key = state.entry(self.actor, self.key, name)?;
            state.is_no_mount(self.key, key)?;
            may_go(&state.node(key)?.content)?;
            state.put(self.actor, &[Slot::new(self.key, name, Some(key), None)], now_ns);
        }
        self.disk.say(self.key, name, NameChange::Touched);
        Ok(())
    }

    pub(in crate::os::files) fn rename_over(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        self.rename(name, to, new, true)
    }

    pub(in crate::os::files) fn rename_new(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        if self.disk.lock().faults.no_exclusive_names {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.rename(name, to, new, false)
    }

    fn rename(&self, name: &OsStr, to: &Folder, new: &OsStr, replaces: bool) -> io::Result<()> {
        self.disk.step(self.actor, |state| format!("rename {} to {}", self.words(state, name), to.words(state, new)))?;
        let now_ns = self.disk.now_ns();
        {
            let mut state = self.disk.lock();
            let key = self.movable(&state, name, to)?;
            let replaced = match state.entry(to.actor, to.key, new) {
                Ok(_) if !replaces => return Err(os_error(libc::EEXIST)),
                // Two names of one file both stay.
                Ok(other) if other == key => return Ok(()),
                Ok(other) => Some(other),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if let Some(other) = replaced {
                state.is_no_mount(to.key, other)?;
                if state.is_within(self.key, other) {
                    return Err(os_error(libc::ENOTEMPTY));
                }
                can_take_the_place(&state, key, other)?;
            }
            let slots = [Slot::new(self.key, name, Some(key), None), Slot::new(to.key, new, replaced, Some(key))];
            state.put(self.actor, &slots, now_ns);
        }
        self.disk.say(self.key, name, NameChange::Touched);
        to.disk.say(to.key, new, NameChange::MovedIn);
        Ok(())
    }

    /// What has the name, if it can go to the folder `to`.
    fn movable(&self, state: &State, name: &OsStr, to: &Folder) -> io::Result<Key> {
        let key = state.entry(self.actor, self.key, name)?;
        let (device, other) = (state.node(self.key)?.device, state.node(to.key)?.device);
        if device != other {
            return Err(os_error(libc::EXDEV));
        }
        state.may_change(self.actor, self.key)?;
        state.may_change(to.actor, to.key)?;
        state.is_no_mount(self.key, key)?;
        let is_folder = state.node(key)?.kind() == FileKind::Folder;
        if is_folder && state.is_within(to.key, key) { Err(os_error(libc::EINVAL)) } else { Ok(key) }
    }

    pub(in crate::os::files) fn link(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        if self.disk.lock().faults.no_exclusive_names {
            return Err(os_error(libc::EPERM));
        }
        self.disk.step(self.actor, |state| format!("link {} as {}", self.words(state, name), to.words(state, new)))?;
        let now_ns = self.disk.now_ns();
        {
            let mut state = self.disk.lock();
            let key = state.entry(self.actor, self.key, name)?;
            to.vacant(&state, new)?;
            if state.node(key)?.device != state.node(to.key)?.device {
                return Err(os_error(libc::EXDEV));
            }
            if state.node(key)?.kind() == FileKind::Folder {
                return Err(os_error(libc::EPERM));
            }
            state.put(self.actor, &[Slot::new(to.key, new, None, Some(key))], now_ns);
        }
        to.disk.say(to.key, new, NameChange::Touched);
        Ok(())
    }

    /// Swaps what the two names stand for.
    pub(super) fn exchange(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        let now_ns = self.disk.now_ns();
        {
            let mut state = self.disk.lock();
            let (one, other) = (self.movable(&state, name, to)?, to.movable(&state, new, self)?);
            let slots = [Slot::new(self.key, name, Some(one), Some(other)), Slot::new(to.key, new, Some(other), Some(one))];
            state.put(self.actor, &slots, now_ns);
        }
        for (folder, name) in [(self, name), (to, new)] {
            folder.disk.say(folder.key, name, NameChange::Touched);
            folder.disk.say(folder.key, name, NameChange::MovedIn);
        }
        Ok(())
    }

    pub(in crate::os::files) fn sync(&self) -> io::Result<()> {
        self.disk.step(self.actor, |state| format!("sync {}", state.path_of(self.key).display()))?;
        let mut state = self.disk.lock();
        state.node(self.key)?;
        state.journal.sync(self.key);
        Ok(())
    }

    pub(in crate::os::files) fn list(self) -> io::Result<Listing> {
        self.disk.alive(self.actor)?;
        let entries = {
            let state = self.disk.lock();
            let node = state.node(self.key)?;
            node.permit(self.actor, MAY_READ)?;
            let entry = |(name, key): (&OsString, &Key)| {
                let node = state.node(*key)?;
                Ok(Entry::new(name.clone(), Some(node.kind()), node.inode))
            };
            node.entries()?.iter().map(entry).collect::<io::Result<Vec<_>>>()?
        };
        Ok(Listing { folder: self, left: entries.into_iter() })
    }
}

/// Whether `key` can have the name that `other` has.
fn can_take_the_place(state: &State, key: Key, other: Key) -> io::Result<()> {
    let refused = match (&state.node(key)?.content, &state.node(other)?.content) {
        (Content::Folder(_), Content::Folder(entries)) if entries.is_empty() => return Ok(()),
        (Content::Folder(_), Content::Folder(_)) => libc::ENOTEMPTY,
        (Content::Folder(_), _) => libc::ENOTDIR,
        (_, Content::Folder(_)) => libc::EISDIR,
        _ => return Ok(()),
    };
    Err(os_error(refused))
}

impl Listing {
    pub(in crate::os::files) fn next_entry(&mut self) -> Option<io::Result<Entry>> {
        if let Err(error) = self.folder.disk.alive(self.folder.actor) {
            return Some(Err(error));
        }
        self.left.next().map(Ok)
    }

    pub(in crate::os::files) fn look(&self, name: &OsStr) -> io::Result<Stat> {
        self.folder.look(name)
    }

    pub(in crate::os::files) fn look_through(&self, name: &OsStr) -> io::Result<Stat> {
        let Folder { disk, actor, key } = &self.folder;
        disk.alive(*actor)?;
        let state = disk.lock();
        state.stat(state.resolve(*actor, *key, Path::new(name), true)?)
    }
}
