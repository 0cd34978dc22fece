//! File systems that come and go.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::disk::Disk;
use super::journal::Slot;
use super::node::{Actor, Content, Key, Node, OpenHandles, os_error};
use super::state::{State, Unmounted};
use super::watching::NameChange;

impl Disk {
    /// Mounts a new file system with nothing in it on the folder at `path`.
    pub fn mount(&self, path: &Path) -> io::Result<()> {
        let (below, now_ns) = (self.resolve(path, true)?, self.now_ns());
        let mut state = self.lock();
        state.node(below)?.entries()?;
        let root = state.add_file_system(now_ns);
        state.mount(below, root)
    }

    /// Takes the file system at `path` away, with all that was written to it, and shows the folder below it again. Whatever has
    /// anything of it open gets errors from now on.
    pub fn unmount(&self, path: &Path) -> io::Result<()> {
        let root = self.resolve(path, true)?;
        let mut state = self.lock();
        let below = state.mounts.iter().find(|(_, top)| **top == root).map(|(below, _)| *below);
        let below = below.ok_or_else(|| os_error(libc::EINVAL))?;
        let device = state.node(root)?.device;
        if state.mounts.keys().any(|key| state.nodes.get(key).is_some_and(|node| node.device == device)) {
            return Err(os_error(libc::EBUSY));
        }
        let mut nodes = BTreeMap::new();
        for (key, mut node) in std::mem::take(&mut state.nodes) {
            if node.device == device {
                (node.writers, node.on_disk) = (OpenHandles::default(), None);
                nodes.insert(key, node);
            } else {
                state.nodes.insert(key, node);
            }
        }
        state.mounts.remove(&below);
        state.watching.forget(&nodes.keys().copied().collect());
        state.unmounted.push(Unmounted { below, root, nodes });
        Ok(())
    }

    /// Has what was last unmounted from `path` come back from a backup: another device, with the same names, bytes, modes and
    /// modification times, and all else new. Where nothing was unmounted, the same becomes of everything in the folder at `path`,
    /// unless something is mounted in it.
    pub fn restore(&self, path: &Path) -> io::Result<()> {
        let (folder, now_ns) = (self.resolve(path, true)?, self.now_ns());
        let mut state = self.lock();
        let Ok(system) = state.take_unmounted(folder) else {
            if state.mounts.keys().any(|below| state.is_within(*below, folder)) {
                return Err(os_error(libc::EBUSY));
            }
            let names = state.copy_entries(folder, folder, &mut BTreeMap::new(), now_ns)?;
            drop(state);
            names.iter().for_each(|name| self.say(folder, name, NameChange::Touched));
            return Ok(());
        };
        let root = state.add_file_system(now_ns);
        state.go_on_counting(&system, root);
        let (old, keys): (Key, Vec<Key>) = (system.root, system.nodes.keys().copied().collect());
        state.nodes.extend(system.nodes);
        let copied = state.copy_entries(old, root, &mut BTreeMap::new(), now_ns);
        keys.iter().for_each(|key| drop(state.nodes.remove(key)));
        copied?;
        state.mount(folder, root)
    }

    /// Mounts what was last unmounted from `path` there again, as another device, whose inodes have other numbers.
    pub fn remount(&self, path: &Path) -> io::Result<()> {
        let (below, now_ns) = (self.resolve(path, true)?, self.now_ns());
        let mut state = self.lock();
        let system = state.take_unmounted(below)?;
        // Takes a number for the device, and makes way for the folder that was at the top.
        let root = state.add_file_system(now_ns);
        state.go_on_counting(&system, root);
        let device = state.node(root)?.device;
        let mut keys = BTreeMap::from([(system.root, root)]);
        for key in system.nodes.keys().filter(|key| **key != system.root) {
            state.last_key += 1;
            keys.insert(*key, state.last_key);
        }
        for (key, mut node) in system.nodes {
            node.device = device;
            // The folder at the top has the number that it has on every device.
            node.inode = if key == system.root { node.inode } else { state.next_inode(device) };
            state.take_in(&keys, key, node);
        }
        state.mount(below, root)
    }
}

impl State {
    fn mount(&mut self, below: Key, root: Key) -> io::Result<()> {
        let above = self.node(below)?.above;
        self.node_mut(root)?.above = above;
        self.mounts.insert(below, root);
        Ok(())
    }

    fn take_unmounted(&mut self, below: Key) -> io::Result<Unmounted> {
        let found = self.unmounted.iter().rposition(|system| system.below == below);
        found.map(|index| self.unmounted.remove(index)).ok_or_else(|| os_error(libc::EINVAL))
    }

    /// Gives no number on the device of `root` that was given on the device of `before`.
    fn go_on_counting(&mut self, before: &Unmounted, root: Key) {
        let device = |node: &Node| node.device;
        let before = before.nodes.get(&before.root).map(device);
        let last = before.and_then(|before| self.last_inodes.get(&before).copied());
        self.last_inodes.extend(self.nodes.get(&root).map(device).zip(last));
    }

    /// A node that comes under a new key, with all others that it names.
    fn take_in(&mut self, keys: &BTreeMap<Key, Key>, key: Key, mut node: Node) {
        let new = |key: &Key| keys.get(key).copied().unwrap_or(*key);
        node.above = new(&node.above);
        if let Content::Folder(entries) = &mut node.content {
            entries.values_mut().for_each(|entry| *entry = new(entry));
        }
        self.nodes.insert(new(&key), node);
    }

    /// Moves the names in one folder to another, or the same one, with copies of what they stood for. Whoever has one of the old
    /// files open goes on with that. Answers the names.
    fn copy_entries(&mut self, from: Key, to: Key, copies: &mut BTreeMap<Key, Key>, now_ns: i64) -> io::Result<Vec<OsString>> {
        let (user, device) = (Actor::User(self.faults.boot), self.node(to)?.device);
        let entries = self.node(from)?.entries()?.clone();
        for (name, key) in &entries {
            let (old, is_folder) = (self.node(*key)?, self.node(*key)?.entries().is_ok());
            let (mode, mtime_ns, holes) = (old.mode, old.mtime_ns, old.holes.clone());
            let content = if is_folder { Content::Folder(BTreeMap::new()) } else { old.content.clone() };
            let copy = match copies.get(key) {
                Some(copy) => *copy,
                None => self.add(device, content, mode, now_ns),
            };
            copies.insert(*key, copy);
            self.put(user, &[Slot::new(from, name, Some(*key), None)], now_ns);
            self.put(user, &[Slot::new(to, name, None, Some(copy))], now_ns);
            if is_folder {
                self.copy_entries(*key, copy, copies, now_ns)?;
            }
            let node = self.node_mut(copy)?;
            (node.mtime_ns, node.holes) = (mtime_ns, holes);
        }
        Ok(entries.into_keys().collect())
    }
}
