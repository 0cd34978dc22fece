//! A file system in memory: folders, files, hard and symbolic links, with inode numbers, times by the clock that is handed in,
//! writers who have a file open, and events like those of inotify. Everything about it follows from what is done to it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::stat::{FileKind, Stat};
use crate::os::clock::Clock;

/// Links on one way before it counts as a circle, as on Linux.
const LINKS_MAX: usize = 40;
/// The number of the file system.
pub(super) const DEVICE: i64 = 1;
/// The inode of the root.
pub(super) const ROOT: i64 = 2;
/// Bytes in an allocated block.
const BLOCK_BYTES: u64 = 512;

/// A whole file system. Clones are the same one.
#[derive(Clone)]
pub struct Disk(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<i64, Node>,
    pub(super) last_inode: i64,
    /// Folders that are watched, with the path by which each was watched last.
    watched: BTreeMap<i64, PathBuf>,
    tell: Option<Tell>,
}

/// Who is told of events.
pub(crate) type Tell = Arc<dyn Fn(&FolderEvent) + Send + Sync>;

/// What has happened to a name in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEvent {
    /// The folder.
    pub folder: PathBuf,
    /// The name in it.
    pub name: OsString,
    /// What has happened.
    pub change: NameChange,
}

/// What has happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameChange {
    /// Something of that name was made or removed, or lost its name.
    Touched,
    /// Something was given that name.
    MovedIn,
    /// A writer has closed the file of that name.
    Closed,
}

pub(super) struct Node {
    pub(super) content: Content,
    pub(super) mode: u32,
    pub(super) links: u64,
    pub(super) mtime_ns: i64,
    pub(super) ctime_ns: i64,
    pub(super) born_ns: i64,
    pub(super) writers: usize,
}

pub(super) enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, i64>),
    Link(PathBuf),
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

pub(super) fn is_link() -> io::Error {
    io::Error::from_raw_os_error(libc::ELOOP)
}

pub(super) fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk {
    /// An empty file system, whose times are those of `clock`.
    pub fn new(clock: Clock) -> Disk {
        let disk = Disk(Arc::new(Shared { clock, state: Mutex::default() }));
        let root = disk.node(Content::Folder(BTreeMap::new()), 0o755);
        disk.lock().nodes.insert(ROOT, root);
        disk.lock().last_inode = ROOT;
        disk
    }

    /// Tells `tell` of what happens in folders that [`Disk::watch`] names. There is one who is told.
    pub fn on_change(&self, tell: Tell) {
        self.lock().tell = Some(tell);
    }

    /// Tells from now on what happens to names in the folder at `path`.
    pub fn watch(&self, path: &Path) -> io::Result<()> {
        let inode = self.resolve(path, true)?;
        self.lock().watched.insert(inode, path.to_owned());
        Ok(())
    }

    /// The inode at `path`, every link on the way followed, and the last one if `through`.
    pub(super) fn resolve(&self, path: &Path, through: bool) -> io::Result<i64> {
        let state = self.lock();
        let mut left: Vec<OsString> = path.iter().rev().map(OsStr::to_owned).collect();
        let (mut inode, mut above, mut links) = (ROOT, Vec::new(), 0);
        while let Some(name) = left.pop() {
            match Path::new(&name).components().next() {
                Some(Component::RootDir) => (inode, above) = (ROOT, Vec::new()),
                Some(Component::ParentDir) => inode = above.pop().unwrap_or(ROOT),
                Some(Component::Normal(_)) => {
                    let Content::Folder(entries) = &state.nodes.get(&inode).ok_or_else(not_found)?.content else {
                        return Err(io::ErrorKind::NotADirectory.into());
                    };
                    let next = *entries.get(&name).ok_or_else(not_found)?;
                    match &state.nodes.get(&next).ok_or_else(not_found)?.content {
                        Content::Link(target) if through || !left.is_empty() => {
                            links += 1;
                            if links > LINKS_MAX {
                                return Err(is_link());
                            }
                            left.extend(target.iter().rev().map(OsStr::to_owned));
                        }
                        _ => {
                            above.push(inode);
                            inode = next;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(inode)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.0.clock.now_ns()
    }

    pub(super) fn node(&self, content: Content, mode: u32) -> Node {
        let now_ns = self.now_ns();
        Node { content, mode, links: 1, mtime_ns: now_ns, ctime_ns: now_ns, born_ns: now_ns, writers: 0 }
    }

    pub(super) fn change(&self, inode: i64, change: impl FnOnce(&mut Node)) -> io::Result<()> {
        self.lock().nodes.get_mut(&inode).map(change).ok_or_else(not_found)
    }

    pub(super) fn kind_of(&self, inode: i64) -> io::Result<FileKind> {
        self.stat(inode).map(|stat| stat.kind)
    }

    pub(super) fn stat(&self, inode: i64) -> io::Result<Stat> {
        let state = self.lock();
        let node = state.nodes.get(&inode).ok_or_else(not_found)?;
        let (kind, size) = match &node.content {
            Content::File(bytes) => (FileKind::File, bytes.len() as u64),
            Content::Folder(_) => (FileKind::Folder, 0),
            Content::Link(target) => (FileKind::Link, target.as_os_str().len() as u64),
        };
        Ok(Stat {
            kind,
            numbers: [DEVICE, inode, size.cast_signed(), node.mtime_ns, node.ctime_ns, node.born_ns],
            blocks: size.div_ceil(BLOCK_BYTES),
            mode: node.mode,
            links: node.links,
        })
    }

    /// Tells of `name` in a folder that is watched, when nothing of ours is locked.
    pub(super) fn say(&self, folder: i64, name: &OsStr, change: NameChange) {
        let state = self.lock();
        let Some((tell, path)) = state.tell.clone().zip(state.watched.get(&folder).cloned()) else { return };
        drop(state);
        tell(&FolderEvent { folder: path, name: name.to_owned(), change });
    }

    /// A name of an inode is gone; the inode goes with the last, as nobody reads a file here that has none.
    pub(super) fn unlink(&self, inode: i64) {
        let now_ns = self.now_ns();
        let mut state = self.lock();
        if let Some(node) = state.nodes.get_mut(&inode) {
            node.links = node.links.saturating_sub(1);
            node.ctime_ns = now_ns;
        }
    }

    pub(super) fn folder_is_empty(&self, inode: i64) -> bool {
        let state = self.lock();
        matches!(state.nodes.get(&inode).map(|node| &node.content), Some(Content::Folder(entries)) if entries.is_empty())
    }

    /// What a link in `folder` leads to.
    pub(super) fn through(&self, folder: i64, inode: i64) -> io::Result<i64> {
        let target = match &self.lock().nodes.get(&inode).ok_or_else(not_found)?.content {
            Content::Link(target) => target.clone(),
            _ => return Ok(inode),
        };
        if target.is_absolute() { self.resolve(&target, true) } else { self.resolve(&self.path_of(folder).join(target), true) }
    }

    /// Where a folder is now.
    fn path_of(&self, folder: i64) -> PathBuf {
        let state = self.lock();
        let mut names = Vec::new();
        let mut inode = folder;
        while inode != ROOT {
            let above = state.nodes.iter().find_map(|(above, node)| match &node.content {
                Content::Folder(entries) => {
                    entries.iter().find(|(_, entry)| **entry == inode).map(|(name, _)| (*above, name.clone()))
                }
                _ => None,
            });
            let Some((above, name)) = above else { break };
            names.push(name);
            inode = above;
        }
        names.iter().rev().fold(PathBuf::from("/"), |path, name| path.join(name))
    }
}
