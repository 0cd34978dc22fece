//! Files, folders and links in memory, and what may go wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::super::stat::{FileKind, Stat};

/// Bytes in an allocated block.
const BLOCK_BYTES: usize = 512;
/// The permission to read a file, or to list a folder.
pub(super) const MAY_READ: u32 = 0o400;
/// The permission to change the names in a folder.
pub(super) const MAY_WRITE: u32 = 0o200;
/// The permission to use the names in a folder.
pub(super) const MAY_PASS: u32 = 0o100;

/// Names a node. No two ever have the same, not even one that has gone and one that comes, other than with inode numbers.
pub(super) type Key = u64;

pub(super) struct Node {
    pub(super) content: Content,
    pub(super) device: i64,
    pub(super) inode: i64,
    /// Of a folder, the one that it is in.
    pub(super) above: Key,
    pub(super) mode: u32,
    pub(super) links: u64,
    pub(super) mtime_ns: i64,
    pub(super) ctime_ns: i64,
    pub(super) born_ns: i64,
    /// Handles that are open for writing.
    pub(super) writers: OpenHandles,
    /// Blocks of a file that nothing was ever written to.
    pub(super) holes: BTreeSet<usize>,
}

/// How many handles are open, by whose they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OpenHandles {
    pub(super) of_users: usize,
    pub(super) of_the_daemon: usize,
}

impl OpenHandles {
    pub(super) fn of(&mut self, actor: Actor) -> &mut usize {
        if actor.is_daemon() { &mut self.of_the_daemon } else { &mut self.of_users }
    }
}

#[derive(Clone)]
pub(super) enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, Key>),
    Link(PathBuf),
}

/// Whose an act is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Actor {
    User,
    /// The process of this number, of those that have run one after the other.
    Daemon(u64),
}

impl Actor {
    pub(super) fn is_daemon(self) -> bool {
        self != Actor::User
    }
}

pub(super) fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

pub(super) fn is_link() -> io::Error {
    os_error(libc::ELOOP)
}

pub(super) fn not_found() -> io::Error {
    os_error(libc::ENOENT)
}

/// The disk cannot be reached: nobody knows what is on it.
pub(super) fn no_answer() -> io::Error {
    os_error(libc::EIO)
}

impl Node {
    pub(super) fn entries(&self) -> io::Result<&BTreeMap<OsString, Key>> {
        match &self.content {
            Content::Folder(entries) => Ok(entries),
            Content::Link(_) => Err(is_link()),
            Content::File(_) => Err(os_error(libc::ENOTDIR)),
        }
    }

    pub(super) fn bytes(&self) -> io::Result<&Vec<u8>> {
        match &self.content {
            Content::File(bytes) => Ok(bytes),
            Content::Folder(_) => Err(os_error(libc::EISDIR)),
            Content::Link(_) => Err(is_link()),
        }
    }

    pub(super) fn kind(&self) -> FileKind {
        match &self.content {
            Content::File(_) => FileKind::File,
            Content::Folder(_) => FileKind::Folder,
            Content::Link(_) => FileKind::Link,
        }
    }

    /// Users may do everything; the daemon is the owner of every file, and not root.
    pub(super) fn permit(&self, actor: Actor, permission: u32) -> io::Result<()> {
        if actor.is_daemon() && self.mode & permission != permission { Err(os_error(libc::EACCES)) } else { Ok(()) }
    }

    /// Writes `bytes` from `offset` on.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        self.set_len(self.len().max(end));
        self.allocate(offset..end);
        if let Content::File(content) = &mut self.content {
            content[offset..end].copy_from_slice(bytes);
        }
    }

    /// Makes a file so long. What is added is zeroes, for which no block is allocated.
    pub(super) fn set_len(&mut self, length: usize) {
        let (before, blocks) = (self.len().div_ceil(BLOCK_BYTES), length.div_ceil(BLOCK_BYTES));
        self.holes.extend(before..blocks);
        self.holes.retain(|block| *block < blocks);
        if let Content::File(content) = &mut self.content {
            content.resize(length, 0);
        }
    }

    /// Allocates the blocks of these bytes.
    pub(super) fn allocate(&mut self, bytes: Range<usize>) {
        let blocks = bytes.start / BLOCK_BYTES..bytes.end.div_ceil(BLOCK_BYTES);
        self.holes.retain(|block| !blocks.contains(block));
    }

    pub(super) fn len(&self) -> usize {
        match &self.content {
            Content::File(bytes) => bytes.len(),
            Content::Folder(_) => 0,
            Content::Link(target) => target.as_os_str().len(),
        }
    }

    pub(super) fn stat(&self) -> Stat {
        let size = self.len();
        let blocks = (size.div_ceil(BLOCK_BYTES) - self.holes.len()) as u64;
        let numbers = [self.device, self.inode, size as i64, self.mtime_ns, self.ctime_ns, self.born_ns];
        Stat { kind: self.kind(), numbers, blocks, mode: self.mode, links: self.links }
    }
}
