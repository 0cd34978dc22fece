//! What a simulator asks about a file.

use std::path::Path;

use super::super::stat::FileKind;
use super::disk::Disk;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Device, inode, size, time of the last change, time of the inode's last change, birth; times in nanoseconds since the Unix
    /// epoch.
    pub numbers: [i64; 6],
    /// How many have it open for writing.
    pub writers: usize,
    /// Whether it is a regular file.
    pub is_file: bool,
}

impl Disk {
    /// What is at `path`, with no link followed at its end.
    pub fn facts(&self, path: &Path) -> Option<Facts> {
        let inode = self.resolve(path, false).ok()?;
        let state = self.lock();
        let (stat, open) = (state.stat(inode).ok()?, &state.nodes.get(&inode)?.writers);
        let writers = open.of_users + open.of_the_daemon;
        Some(Facts { numbers: stat.numbers, writers, is_file: stat.kind == FileKind::File })
    }
}
