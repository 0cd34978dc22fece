//! Open files in memory.

use std::ffi::{OsStr, OsString};
use std::io;

use super::super::stat::Stat;
use super::disk::Disk;
use super::node::{Actor, Content, Key, MAY_READ, Node, is_link, no_answer};
use super::state::State;
use super::watching::NameChange;
use crate::os::lease::Writers;

/// A file that is open.
#[derive(Debug)]
pub struct File {
    disk: Disk,
    actor: Actor,
    key: Key,
    offset: u64,
    opened: Box<Opened>,
}

/// How a file was opened.
#[derive(Debug)]
struct Opened {
    folder: Key,
    /// Its name there.
    name: OsString,
    to_write: bool,
}

impl Opened {
    fn new(folder: Key, name: &OsStr, to_write: bool) -> Box<Opened> {
        Box::new(Opened { folder, name: name.to_owned(), to_write })
    }
}

impl File {
    pub(super) fn open_to_read(disk: &Disk, actor: Actor, key: Key, folder: Key, name: &OsStr) -> io::Result<File> {
        disk.alive(actor)?;
        let state = disk.lock();
        let node = state.node(key)?;
        if let Content::Link(_) = node.content {
            return Err(is_link());
        }
        node.permit(actor, MAY_READ)?;
        Ok(File { disk: disk.clone(), actor, key, offset: 0, opened: Opened::new(folder, name, false) })
    }

    pub(super) fn open_to_write(disk: &Disk, actor: Actor, key: Key, folder: Key, name: &OsStr) -> io::Result<File> {
        let mut state = disk.lock();
        let node = state.node_mut(key)?;
        node.bytes()?;
        *node.writers.of(actor) += 1;
        Ok(File { disk: disk.clone(), actor, key, offset: 0, opened: Opened::new(folder, name, true) })
    }

    pub(in crate::os::files) fn stat(&self) -> io::Result<Stat> {
        self.disk.alive(self.actor)?;
        self.disk.lock().stat(self.key)
    }

    pub(in crate::os::files) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buffer, offset)? == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    pub(in crate::os::files) fn set_mode_and_mtime(&self, mode: u32, mtime_ns: i64) -> io::Result<()> {
        self.disk.step(self.actor, |state| format!("set the mode and time of {}", self.words(state)))?;
        self.apply(|node| (node.mode, node.mtime_ns) = (mode, mtime_ns))
    }

    pub(in crate::os::files) fn sync(&self) -> io::Result<()> {
        self.disk.step(self.actor, |state| format!("sync {}", self.words(state)))?;
        self.disk.lock().node_mut(self.key).map(|node| node.on_disk = None)
    }

    pub(in crate::os::files) fn writers(&self) -> Writers {
        let writers = |state: &State| state.node(self.key).map(|node| node.writers);
        match self.disk.alive(self.actor).and_then(|()| writers(&self.disk.lock())) {
            Ok(writers) if writers.of_users + writers.of_the_daemon > 0 => Writers::Somebody,
            Ok(_) => Writers::Nobody,
            Err(_) => Writers::Unknown,
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.alive(self.actor)?;
        let state = self.disk.lock();
        let node = state.node(self.key)?;
        if node.is_damaged && self.actor.is_daemon() {
            return Err(no_answer());
        }
        let bytes = node.bytes()?;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - begin);
        buffer[..count].copy_from_slice(&bytes[begin..begin + count]);
        Ok(count)
    }

    /// Makes it so long: what is added is zeroes that take no room.
    pub fn set_len(&self, length: usize) -> io::Result<()> {
        self.change(|node| node.set_len(length))
    }

    /// Makes it so long, with room on the disk for all of it, and zeroes where nothing is written yet.
    pub fn allocate(&self, length: usize) -> io::Result<()> {
        self.change(|node| {
            node.set_len(node.len().max(length));
            node.allocate(0..length);
        })
    }

    /// Writes `bytes` over what is from `offset` on.
    pub fn write_at(&self, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.change(|node| node.write_at(bytes, offset))
    }

    fn change(&self, change: impl FnOnce(&mut Node)) -> io::Result<()> {
        self.disk.step(self.actor, |state| format!("write to {}", self.words(state)))?;
        self.apply(change)
    }

    /// Changes the file, whose times are those of now unless `change` gives it others.
    fn apply(&self, change: impl FnOnce(&mut Node)) -> io::Result<()> {
        let now_ns = self.disk.now_ns();
        let mut state = self.disk.lock();
        let node = state.changing(self.actor, self.key)?;
        (node.mtime_ns, node.ctime_ns) = (now_ns, now_ns);
        change(node);
        Ok(())
    }

    /// For how many of so many bytes there is room.
    fn room_for(&self, bytes: usize) -> io::Result<usize> {
        let mut state = self.disk.lock();
        let device = state.node(self.key)?.device;
        let room = state.take_room(self.actor, device, bytes as u64)?;
        Ok(usize::try_from(room).unwrap_or(bytes))
    }

    /// The path by which it was opened, for whoever is asked about a step.
    fn words(&self, state: &State) -> String {
        state.path_of(self.opened.folder).join(&self.opened.name).display().to_string()
    }
}

impl io::Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Whatever is written goes to the end of the file.
impl io::Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.step(self.actor, |state| format!("write to {}", self.words(state)))?;
        let count = self.room_for(bytes.len())?;
        self.apply(|node| node.write_at(&bytes[..count], node.len()))?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A process that has died has closed its files long ago.
        if !self.opened.to_write || self.disk.alive(self.actor).is_err() {
            return;
        }
        let closed = self.disk.lock().node_mut(self.key).map(|node| {
            let writers = node.writers.of(self.actor);
            *writers = writers.saturating_sub(1);
        });
        if closed.is_ok() {
            self.disk.say(self.opened.folder, &self.opened.name, NameChange::Closed);
        }
    }
}
