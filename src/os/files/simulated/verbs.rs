//! What else users' programs do to files.

use std::io;
use std::path::Path;

use super::disk::Disk;
use super::file::File;
use super::node::MAY_READ;

impl Disk {
    /// Cuts the file at `path` off, or lengthens it by zeroes that take no room.
    pub fn truncate(&self, path: &Path, length: usize) -> io::Result<()> {
        self.append(path)?.set_len(length)
    }

    /// Writes `bytes` over those from `offset` on, and closes the file.
    pub fn overwrite(&self, path: &Path, bytes: &[u8], offset: usize) -> io::Result<()> {
        self.append(path)?.write_at(bytes, offset)
    }

    /// The same, after which the file has the modification time that it had before.
    pub fn overwrite_unnoticed(&self, path: &Path, bytes: &[u8], offset: usize) -> io::Result<()> {
        let mtime_ns = self.mtime_ns(path)?;
        self.overwrite(path, bytes, offset)?;
        self.set_mtime(path, mtime_ns)
    }

    /// Makes a file of so many zeroes, with room on the disk for all of them. It is open for writing until it is dropped.
    pub fn allocate(&self, path: &Path, length: usize) -> io::Result<File> {
        let file = self.create(path)?;
        file.allocate(length)?;
        Ok(file)
    }

    /// Writes `bytes` under the name `aside`, and gives the file the name `path`, whatever file has it.
    pub fn replace(&self, path: &Path, aside: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(aside, bytes)?;
        self.rename(aside, path)
    }

    /// Gives the file at `path` a second name.
    pub fn link(&self, path: &Path, new: &Path) -> io::Result<()> {
        let ((folder, name), (target, new)) = (self.parent(path)?, self.parent(new)?);
        folder.link(name, &target, new)
    }

    /// Swaps what is at the two paths, in one step.
    pub fn exchange(&self, path: &Path, other: &Path) -> io::Result<()> {
        let ((folder, name), (target, new)) = (self.parent(path)?, self.parent(other)?);
        folder.exchange(name, &target, new)
    }

    /// When the content at `path` was last changed, in nanoseconds since the Unix epoch.
    pub fn mtime_ns(&self, path: &Path) -> io::Result<i64> {
        let key = self.resolve(path, true)?;
        self.lock().node(key).map(|node| node.mtime_ns)
    }

    /// Says that the content at `path` was last changed then.
    pub fn set_mtime(&self, path: &Path, mtime_ns: i64) -> io::Result<()> {
        self.change(path, |node| node.mtime_ns = mtime_ns)
    }

    /// Takes from the daemon the permission to read the file, or to list the folder, at `path`, or gives it back.
    pub fn set_readable(&self, path: &Path, is_readable: bool) -> io::Result<()> {
        self.change(path, |node| node.mode = if is_readable { node.mode | MAY_READ } else { node.mode & !MAY_READ })
    }
}
