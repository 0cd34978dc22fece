//! Open folders.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
use rustix::io::Errno;

use super::beneath::READ;
use super::file::File;
use super::look::{kind, look_at};
#[cfg(feature = "simulator")]
use super::simulated;
use super::stat::{Entry, Stat};

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(pub(super) FolderHandle);

#[derive(Debug)]
pub(super) enum FolderHandle {
    Real(OwnedFd),
    #[cfg(feature = "simulator")]
    Simulated(simulated::Folder),
}

/// An open folder that is being listed.
pub(crate) struct Listing(Listed);

enum Listed {
    Real(Dir),
    #[cfg(feature = "simulator")]
    Simulated(simulated::Listing),
}

impl Folder {
    /// Opens the file `name` to be read; not one that is a link.
    pub(crate) fn open(&self, name: &OsStr) -> io::Result<File> {
        match &self.0 {
            FolderHandle::Real(folder) => {
                Ok(File::Real(rustix::fs::openat(folder, name, READ | OFlags::NOFOLLOW, Mode::empty())?.into()))
            }
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => folder.open(name).map(File::Simulated),
        }
    }

    /// What has the name `name`, a link itself included.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Stat> {
        match &self.0 {
            FolderHandle::Real(folder) => look_at(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW),
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => folder.look(name),
        }
    }

    /// The folder's own device and inode.
    pub(crate) fn device_and_inode(&self) -> io::Result<(i64, i64)> {
        match &self.0 {
            FolderHandle::Real(folder) => {
                let found = rustix::fs::fstat(folder)?;
                Ok((found.st_dev as i64, found.st_ino as i64))
            }
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => folder.device_and_inode(),
        }
    }

    /// Makes the file `name` to be written and read; there must be nothing of that name, not even a link.
    pub(crate) fn create_new(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        match &self.0 {
            FolderHandle::Real(folder) => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(File::Real(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode as _))?.into()))
            }
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => folder.create_new(name, mode).map(File::Simulated),
        }
    }

    /// Removes the name of a file, or a link.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match &self.0 {
            FolderHandle::Real(folder) => Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?),
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => folder.remove(name),
        }
    }

    /// Removes a folder that is empty.
    pub(crate) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        match &self.0 {
            FolderHandle::Real(folder) => Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?),
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => folder.remove_folder(name),
        }
    }

    /// Gives `name` the name `new` in the folder `to`, whatever had it.
    pub(crate) fn rename_over(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        match (&self.0, &to.0) {
            (FolderHandle::Real(folder), FolderHandle::Real(to)) => Ok(rustix::fs::renameat(folder, name, to, new)?),
            #[cfg(feature = "simulator")]
            (FolderHandle::Simulated(folder), FolderHandle::Simulated(to)) => folder.rename_over(name, to, new),
            #[cfg(feature = "simulator")]
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        }
    }

    /// The same, unless something has the name `new`: then the error is `AlreadyExists`. Where the platform or the file system
    /// cannot do this, it is `Unsupported`. Nothing has changed after an error.
    pub(crate) fn rename_new(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        match (&self.0, &to.0) {
            (FolderHandle::Real(folder), FolderHandle::Real(to)) => rename_new(folder, name, to, new),
            #[cfg(feature = "simulator")]
            (FolderHandle::Simulated(folder), FolderHandle::Simulated(to)) => folder.rename_new(name, to, new),
            #[cfg(feature = "simulator")]
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        }
    }

    /// Gives the file `name` a second name in the folder `to`. An error is `AlreadyExists` where something has it.
    pub(crate) fn link(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        match (&self.0, &to.0) {
            (FolderHandle::Real(folder), FolderHandle::Real(to)) => {
                Ok(rustix::fs::linkat(folder, name, to, new, AtFlags::empty())?)
            }
            #[cfg(feature = "simulator")]
            (FolderHandle::Simulated(folder), FolderHandle::Simulated(to)) => folder.link(name, to, new),
            #[cfg(feature = "simulator")]
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        }
    }

    /// Makes what happened to the names in the folder durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.0 {
            FolderHandle::Real(folder) => Ok(rustix::fs::fsync(folder)?),
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => folder.sync(),
        }
    }

    /// Begins to list the folder.
    pub(crate) fn list(self) -> io::Result<Listing> {
        let listed = match self.0 {
            FolderHandle::Real(folder) => Listed::Real(Dir::new(folder)?),
            #[cfg(feature = "simulator")]
            FolderHandle::Simulated(folder) => Listed::Simulated(folder.list()?),
        };
        Ok(Listing(listed))
    }
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(super) fn rename_new(folder: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat_with(folder, name, to, new, rustix::fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        renamed => Ok(renamed?),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn rename_new(_: &OwnedFd, _: &OsStr, _: &OwnedFd, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Listing {
    /// The next entry; those of the folder itself and of the one above it are left out.
    pub(crate) fn next_entry(&mut self) -> Option<io::Result<Entry>> {
        match &mut self.0 {
            Listed::Real(listing) => next_real(listing),
            #[cfg(feature = "simulator")]
            Listed::Simulated(listing) => listing.next_entry(),
        }
    }

    /// What the entry `name` is, a link itself included.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Stat> {
        match &self.0 {
            Listed::Real(listing) => look_at(listing.fd()?, name, AtFlags::SYMLINK_NOFOLLOW),
            #[cfg(feature = "simulator")]
            Listed::Simulated(listing) => listing.look(name),
        }
    }

    /// What the entry `name` is, or what it leads to.
    pub(crate) fn look_through(&self, name: &OsStr) -> io::Result<Stat> {
        match &self.0 {
            Listed::Real(listing) => look_at(listing.fd()?, name, AtFlags::empty()),
            #[cfg(feature = "simulator")]
            Listed::Simulated(listing) => listing.look_through(name),
        }
    }
}

fn next_real(listing: &mut Dir) -> Option<io::Result<Entry>> {
    loop {
        match listing.read()? {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Ok(entry) => {
                let kind = match entry.file_type() {
                    FileType::Unknown => None,
                    known => Some(kind(known)),
                };
                let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
                return Some(Ok(Entry::new(name, kind, entry.ino().cast_signed())));
            }
            Err(error) => return Some(Err(error.into())),
        }
    }
}
