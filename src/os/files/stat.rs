//! What the file system says of a name.

use std::ffi::{OsStr, OsString};
use std::io;

/// What sort of thing has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A regular file.
    File,
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, a socket or a device.
    Other,
}

/// What the file system says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Device, inode, size in bytes, and the times of the last change, of the last change of the inode, and of birth: in
    /// nanoseconds since the Unix epoch, the last one 0 where it is not known.
    pub numbers: [i64; 6],
    /// Allocated blocks.
    pub blocks: u64,
    /// Permission bits.
    pub mode: u32,
    /// Names that the file has.
    pub links: u64,
}

impl Stat {
    /// Device and inode.
    pub(crate) fn device_and_inode(&self) -> (i64, i64) {
        (self.numbers[0], self.numbers[1])
    }

    /// When the content was last changed, in nanoseconds since the Unix epoch.
    pub(crate) fn mtime_ns(&self) -> i64 {
        self.numbers[3]
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.numbers[2].cast_unsigned()
    }
}

/// An entry of a folder, as its listing tells it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    name: OsString,
    kind: Option<FileKind>,
    inode: i64,
}

impl Entry {
    /// An entry of this name and inode.
    pub(in crate::os::files) fn new(name: OsString, kind: Option<FileKind>, inode: i64) -> Entry {
        Entry { name, kind, inode }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// What it is; not every file system tells in a listing.
    pub(crate) fn kind(&self) -> Option<FileKind> {
        self.kind
    }

    /// Its inode: below a mount point that of the folder underneath, and made up on some file systems.
    pub(crate) fn inode(&self) -> i64 {
        self.inode
    }
}

/// Whether this is the refusal to follow a symbolic link.
pub(crate) fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}
