//! A file system in memory: folders, files, hard and symbolic links, with inode numbers, times by the clock that is handed in, writers who
//! have a file open, and events like those of inotify. Everything about it follows from what is done to it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::beneath::{Base, Kind, Stat};
use super::super::clock::Clock;
use super::file::File;
use super::folder::Folder;

/// Links on one way before it counts as a circle, as on Linux.
const LINKS_MAX: usize = 40;
/// The number of the file system.
pub(super) const DEVICE: i64 = 1;
/// The inode of the root.
const ROOT: i64 = 2;
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
pub type Tell = Arc<dyn Fn(&FolderEvent) + Send + Sync>;

/// What has happened to a name in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEvent {
    /// The folder.
    pub folder: PathBuf,
    /// The name in it.
    pub name: OsString,
    /// What has happened.
    pub change: Change,
}

/// What has happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
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

/// What a user does.
impl Disk {
    /// An empty file system, whose times are those of `clock`.
    pub fn new(clock: Clock) -> Disk {
        let disk = Disk(Arc::new(Shared { clock, state: Mutex::default() }));
        let root = disk.node(Content::Folder(BTreeMap::new()), 0o755);
        disk.lock().nodes.insert(ROOT, root);
        disk.lock().last_inode = ROOT;
        disk
    }

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
        self.open_to_write(inode, folder.inode, name)
    }

    /// Opens the file at `path` for writing at its end, until it is dropped.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        let inode = folder.entry(name).ok_or_else(not_found)?;
        self.open_to_write(inode, folder.inode, name)
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
}

/// What the daemon does.
impl Disk {
    /// Tells `tell` of what happens in folders that [`Disk::watch`] names. There is one who is told.
    pub fn tell(&self, tell: Tell) {
        self.lock().tell = Some(tell);
    }

    /// Tells from now on what happens to names in the folder at `path`.
    pub fn watch(&self, path: &Path) -> io::Result<()> {
        let inode = self.resolve(path, true)?;
        self.lock().watched.insert(inode, path.to_owned());
        Ok(())
    }

    pub(in crate::os) fn open(&self, base: &Base, path: &Path) -> io::Result<File> {
        let inode = self.reach(base, path)?;
        match self.kind_of(inode)? {
            Kind::Link => Err(is_link()),
            _ => Ok(File { disk: self.clone(), inode, offset: 0, written_as: None }),
        }
    }

    pub(in crate::os) fn folder(&self, base: &Base, path: &Path) -> io::Result<Folder> {
        let inode = self.reach(base, path)?;
        match self.kind_of(inode)? {
            Kind::Folder => Ok(Folder { disk: self.clone(), inode }),
            Kind::Link => Err(is_link()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(in crate::os) fn look(&self, base: &Base, path: &Path) -> io::Result<Stat> {
        self.stat(self.reach(base, path)?)
    }

    pub(in crate::os) fn make(&self, base: &Base, path: &Path) -> io::Result<Folder> {
        self.make_folders(base.path())?;
        let mut folder = Folder { disk: self.clone(), inode: self.resolve(base.path(), true)? };
        for component in base.relative(path)?.components() {
            if let Component::Normal(name) = component {
                folder = folder.subfolder(name)?;
            }
        }
        Ok(folder)
    }

    /// The inode at `path`: below the top of `base`, links are followed only where it says so, and the last one not otherwise.
    fn reach(&self, base: &Base, path: &Path) -> io::Result<i64> {
        if base.follows_links() {
            return self.resolve(path, true);
        }
        let mut inode = self.resolve(base.path(), true)?;
        for component in base.relative(path)?.components() {
            let Component::Normal(name) = component else { return Err(io::ErrorKind::InvalidInput.into()) };
            inode = match &self.lock().nodes.get(&inode).ok_or_else(not_found)?.content {
                Content::Folder(entries) => *entries.get(name).ok_or_else(not_found)?,
                Content::Link(_) => return Err(is_link()),
                Content::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
            };
        }
        Ok(inode)
    }

    /// The inode at `path`, every link on the way followed, and the last one if `through`.
    fn resolve(&self, path: &Path, through: bool) -> io::Result<i64> {
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

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(Folder, &'p OsStr)> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
        Ok((Folder { disk: self.clone(), inode: self.resolve(folder, true)? }, name))
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

    pub(super) fn kind_of(&self, inode: i64) -> io::Result<Kind> {
        self.stat(inode).map(|stat| stat.kind)
    }

    pub(super) fn stat(&self, inode: i64) -> io::Result<Stat> {
        let state = self.lock();
        let node = state.nodes.get(&inode).ok_or_else(not_found)?;
        let (kind, size) = match &node.content {
            Content::File(bytes) => (Kind::File, bytes.len() as u64),
            Content::Folder(_) => (Kind::Folder, 0),
            Content::Link(target) => (Kind::Link, target.as_os_str().len() as u64),
        };
        Ok(Stat {
            kind,
            numbers: [DEVICE, inode, size.cast_signed(), node.mtime_ns, node.ctime_ns, node.born_ns],
            blocks: size.div_ceil(BLOCK_BYTES),
            mode: node.mode,
            links: node.links,
        })
    }

    pub(super) fn open_to_write(&self, inode: i64, folder: i64, name: &OsStr) -> io::Result<File> {
        self.change(inode, |node| node.writers += 1)?;
        Ok(File { disk: self.clone(), inode, offset: 0, written_as: Some((folder, name.to_owned())) })
    }

    /// Tells of `name` in a folder that is watched, when nothing of ours is locked.
    pub(super) fn say(&self, folder: i64, name: &OsStr, change: Change) {
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
}

impl Disk {
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
