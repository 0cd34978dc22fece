//! What a file system in memory is made of, and the one way in which its names change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::super::stat::Stat;
use super::faults::Faults;
use super::journal::{Journal, Slot};
use super::node::{Actor, Content, Key, MAY_PASS, MAY_WRITE, Node, OpenHandles, is_link, no_answer, not_found, os_error};
use super::watching::Watching;

/// Links on one way before it counts as a circle, as on Linux.
const LINKS_MAX: usize = 40;
/// The folder at the top of everything.
pub(super) const ROOT: Key = 1;
/// The inode of a folder at the top of a file system.
const ROOT_INODE: i64 = 2;
/// All that there is.
#[derive(Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<Key, Node>,
    pub(super) last_key: Key,
    pub(super) last_device: i64,
    /// Of each file system the inode number given last.
    pub(super) last_inodes: BTreeMap<i64, i64>,
    /// Folders that a file system is mounted on, each with the folder at the top of that.
    pub(super) mounts: BTreeMap<Key, Key>,
    /// What was mounted and is no more, the latest last.
    pub(super) unmounted: Vec<Unmounted>,
    pub(super) journal: Journal,
    pub(super) watching: Watching,
    pub(super) faults: Faults,
}

/// A file system that is mounted nowhere.
pub(super) struct Unmounted {
    /// The folder that it was mounted on.
    pub(super) below: Key,
    pub(super) root: Key,
    pub(super) nodes: BTreeMap<Key, Node>,
}

impl State {
    /// What is open, or on the way. It has gone with its file system if it is not there.
    pub(super) fn node(&self, key: Key) -> io::Result<&Node> {
        self.nodes.get(&key).ok_or_else(no_answer)
    }

    pub(super) fn node_mut(&mut self, key: Key) -> io::Result<&mut Node> {
        self.nodes.get_mut(&key).ok_or_else(no_answer)
    }

    pub(super) fn stat(&self, key: Key) -> io::Result<Stat> {
        self.node(key).map(Node::stat)
    }

    /// A node of the file system `device` that has no name yet.
    pub(super) fn add(&mut self, device: i64, content: Content, mode: u32, now_ns: i64) -> Key {
        self.last_key += 1;
        let inode = self.next_inode(device);
        let node = Node {
            content,
            device,
            inode,
            above: ROOT,
            mode,
            links: 0,
            mtime_ns: now_ns,
            ctime_ns: now_ns,
            born_ns: now_ns,
            writers: OpenHandles::default(),
            holes: BTreeSet::new(),
            is_damaged: false,
            on_disk: None,
        };
        self.nodes.insert(self.last_key, node);
        self.last_key
    }

    pub(super) fn next_inode(&mut self, device: i64) -> i64 {
        let last = self.last_inodes.entry(device).or_insert(ROOT_INODE - 1);
        *last += 1;
        *last
    }

    /// A new file system with nothing in it, and the folder at its top.
    pub(super) fn add_file_system(&mut self, now_ns: i64) -> Key {
        self.last_device += 1;
        let root = self.add(self.last_device, Content::Folder(BTreeMap::new()), 0o755, now_ns);
        self.nodes.entry(root).and_modify(|node| node.links = 1);
        root
    }

    /// What `actor` finds under `name` in `folder`.
    pub(super) fn entry(&self, actor: Actor, folder: Key, name: &OsStr) -> io::Result<Key> {
        let node = self.node(folder)?;
        let entries = node.entries()?;
        node.permit(actor, MAY_PASS)?;
        let key = *entries.get(name).ok_or_else(not_found)?;
        Ok(self.mounts.get(&key).copied().unwrap_or(key))
    }

    /// Refuses what is of another file system than the folder that it was found in: something is mounted there.
    pub(super) fn is_no_mount(&self, folder: Key, key: Key) -> io::Result<()> {
        if self.node(folder)?.device == self.node(key)?.device { Ok(()) } else { Err(os_error(libc::EBUSY)) }
    }

    /// Whether `actor` may change names in `folder`, which must still have a name itself.
    pub(super) fn may_change(&self, actor: Actor, folder: Key) -> io::Result<()> {
        let node = self.node(folder)?;
        node.entries()?;
        if node.links == 0 { Err(not_found()) } else { node.permit(actor, MAY_WRITE | MAY_PASS) }
    }

    /// What is at `way` from `folder`, every link on the way followed, and the last one if `through`.
    pub(super) fn resolve(&self, actor: Actor, folder: Key, way: &Path, through: bool) -> io::Result<Key> {
        let mut left: Vec<OsString> = way.iter().rev().map(OsStr::to_owned).collect();
        let (mut key, mut links) = (folder, 0);
        while let Some(name) = left.pop() {
            match Path::new(&name).components().next() {
                Some(Component::RootDir) => key = ROOT,
                Some(Component::ParentDir) => key = self.node(key)?.above,
                Some(Component::Normal(_)) => {
                    let next = self.entry(actor, key, &name)?;
                    match &self.node(next)?.content {
                        Content::Link(target) if through || !left.is_empty() => {
                            links += 1;
                            if links > LINKS_MAX {
                                return Err(is_link());
                            }
                            left.extend(target.iter().rev().map(OsStr::to_owned));
                        }
                        _ => key = next,
                    }
                }
                _ => {}
            }
        }
        Ok(key)
    }

    /// Where a folder is now.
    pub(super) fn path_of(&self, folder: Key) -> PathBuf {
        let mut names = Vec::new();
        let mut key = folder;
        while key != ROOT {
            let Some(above) = self.nodes.get(&key).map(|node| node.above) else { break };
            let entries = self.nodes.get(&above).and_then(|node| node.entries().ok());
            let key_there = self.mounts.iter().find(|(_, root)| **root == key).map_or(key, |(below, _)| *below);
            let Some((name, _)) = entries.into_iter().flatten().find(|(_, entry)| **entry == key_there) else { break };
            names.push(name.clone());
            key = above;
        }
        names.iter().rev().fold(PathBuf::from("/"), |path, name| path.join(name))
    }

    /// Whether `folder` is `other`, or somewhere in it.
    pub(super) fn is_within(&self, folder: Key, other: Key) -> bool {
        let mut key = folder;
        while key != other && key != ROOT {
            key = self.nodes.get(&key).map_or(ROOT, |node| node.above);
        }
        key == other
    }

    /// Forgets what has no name and no process that has it open, of users' programs alone.
    pub(super) fn prune(&mut self) {
        let named_again = self.journal.nodes();
        self.nodes.retain(|key, node| node.links > 0 || node.writers.of_users > 0 || named_again.contains(key));
    }

    /// A node that `actor` is about to change.
    pub(super) fn changing(&mut self, actor: Actor, key: Key) -> io::Result<&mut Node> {
        if !actor.is_daemon() {
            self.journal.settle(&BTreeSet::from([key]));
        }
        let node = self.node_mut(key)?;
        if actor.is_daemon() {
            node.leave_the_disk();
        } else {
            node.on_disk = None;
        }
        Ok(node)
    }

    /// Takes room for `bytes` on a device, and answers for how many of them there was.
    pub(super) fn take_room(&mut self, actor: Actor, device: i64, bytes: u64) -> io::Result<u64> {
        match self.faults.rooms.get_mut(&device).filter(|_| actor.is_daemon()) {
            None => Ok(bytes),
            Some(0) => Err(os_error(libc::ENOSPC)),
            Some(room) => {
                let taken = bytes.min(*room);
                *room -= taken;
                Ok(taken)
            }
        }
    }

    /// `actor` has these names stand for what is after them.
    pub(super) fn put(&mut self, actor: Actor, slots: &[Slot], now_ns: i64) {
        self.swap(slots, now_ns);
        if actor.is_daemon() {
            self.journal.record(slots);
        } else {
            let nodes = slots.iter().flat_map(|slot| [Some(slot.folder), slot.before, slot.after]);
            self.journal.settle(&nodes.flatten().collect());
        }
    }

    /// Has these names stand for what is after them: the only way in which names change.
    pub(super) fn swap(&mut self, slots: &[Slot], now_ns: i64) {
        for Slot { folder, name, before, after } in slots {
            if let Some(node) = self.nodes.get_mut(folder) {
                (node.mtime_ns, node.ctime_ns) = (now_ns, now_ns);
                if let Content::Folder(entries) = &mut node.content {
                    match after {
                        Some(key) => entries.insert(name.clone(), *key),
                        None => entries.remove(name),
                    };
                }
            }
            for (key, by) in [(before, -1), (after, 1)] {
                if let Some(node) = key.and_then(|key| self.nodes.get_mut(&key)) {
                    node.links = node.links.saturating_add_signed(by);
                    node.ctime_ns = now_ns;
                    node.above = if by == 1 { *folder } else { node.above };
                }
            }
        }
        let mut gone: BTreeSet<Key> = slots.iter().filter_map(|slot| slot.before).collect();
        gone.retain(|key| self.nodes.get(key).is_none_or(|node| node.links == 0));
        self.watching.forget(&gone);
    }
}
