//! Open files in memory.

use std::ffi::{OsStr, OsString};
use std::io;

use super::super::stat::Stat;
use super::disk::{Content, Disk, NameChange, not_found};
use crate::os::lease::Writers;

/// A file that is open.
#[derive(Debug)]
pub struct File {
    pub(super) disk: Disk,
    pub(super) inode: i64,
    pub(super) offset: u64,
    /// Where it is open for writing: the folder and the name that its closing is told of.
    pub(super) written_as: Option<(i64, OsString)>,
}

impl File {
    pub(super) fn open_to_write(disk: &Disk, inode: i64, folder: i64, name: &OsStr) -> io::Result<File> {
        disk.change(inode, |node| node.writers += 1)?;
        Ok(File { disk: disk.clone(), inode, offset: 0, written_as: Some((folder, name.to_owned())) })
    }

    pub(in crate::os::files) fn stat(&self) -> io::Result<Stat> {
        self.disk.stat(self.inode)
    }

    pub(in crate::os::files) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buffer, offset)? == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    pub(in crate::os::files) fn set_mode_and_mtime(&self, mode: u32, mtime_ns: i64) -> io::Result<()> {
        let now_ns = self.disk.now_ns();
        self.disk.change(self.inode, |node| (node.mode, node.mtime_ns, node.ctime_ns) = (mode, mtime_ns, now_ns))
    }

    pub(in crate::os::files) fn writers(&self) -> Writers {
        match self.disk.lock().nodes.get(&self.inode) {
            Some(node) if node.writers > 0 => Writers::Somebody,
            _ => Writers::Nobody,
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.disk.lock().nodes.get(&self.inode).ok_or_else(not_found)?.content {
            Content::File(bytes) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let count = buffer.len().min(bytes.len() - begin);
                buffer[..count].copy_from_slice(&bytes[begin..begin + count]);
                Ok(count)
            }
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

impl io::Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl io::Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now_ns = self.disk.now_ns();
        self.disk.change(self.inode, |node| {
            if let Content::File(content) = &mut node.content {
                content.extend_from_slice(bytes);
            }
            (node.mtime_ns, node.ctime_ns) = (now_ns, now_ns);
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Some((folder, name)) = self.written_as.take() {
            // An error says that the file is gone, which nobody has to be told here.
            self.disk.change(self.inode, |node| node.writers -= 1).ok();
            self.disk.say(folder, &name, NameChange::Closed);
        }
    }
}
