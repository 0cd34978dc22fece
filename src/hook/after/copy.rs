//! Copies of a source on another file system.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;

use crate::job::Identity;
use crate::os::durable;
use crate::os::files::{FileKind, Folder};
use crate::os::names::Purpose;

use super::source::{NAMES_MAX, SentFile, every_name_is_taken, numbered};
use super::target::Destination;

/// Bytes copied and compared at once.
pub(super) const BLOCK_BYTES: usize = 512 * 1024;

impl SentFile<'_> {
    /// Makes a whole copy in `place`, unless an earlier attempt has, and answers its name.
    pub(super) fn copy(&self, place: &Destination<'_>) -> io::Result<OsString> {
        let mut free = 0;
        while free < NAMES_MAX {
            let name = numbered(place.name, free);
            match place.folder.look(&name) {
                // A copy that an earlier attempt has finished.
                Ok(_) if self.is_copy(&place.folder, &name)? => return Ok(name),
                Ok(_) => free += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        let aside = self.write_aside(&place.folder)?;
        for number in free..NAMES_MAX {
            let name = numbered(place.name, number);
            match durable::rename_new(&place.folder, &aside, &place.folder, &name) {
                Ok(()) if self.is_copy(&place.folder, &name)? => return Ok(name),
                Ok(()) => {
                    // The name is ours, and what is under it is worth nothing.
                    place.folder.remove(&name)?;
                    return Err(io::Error::other("the copy differs from the file"));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        place.folder.remove(&aside)?;
        Err(every_name_is_taken())
    }

    /// Writes a copy into `folder`, and answers the name that it has there for a moment.
    fn write_aside(&self, folder: &Folder) -> io::Result<OsString> {
        let aside = self.task.names.of(Purpose::Copy, &self.task.path)?;
        let stat = self.file.stat()?;
        let mut copy = durable::create_aside(folder, &aside, 0o600)?;
        let written = self.blocks(|block, _| copy.write_all(block).map(|()| true));
        if written.is_err() {
            // A full disk must not keep half a copy.
            folder.remove(&aside)?;
        }
        written?;
        // Not every file system keeps these; the bytes are what counts.
        if let Err(error) = copy.set_mode_and_mtime(stat.mode, stat.mtime_ns()) {
            tracing::debug!("the copy of {:?} has another mode or time: {error}", self.task.path);
        }
        copy.sync()?;
        Ok(aside)
    }

    /// Hands the source over block by block, each with its offset, until `each` has seen enough. Answers whether it saw all.
    fn blocks(&self, mut each: impl FnMut(&[u8], u64) -> io::Result<bool>) -> io::Result<bool> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut offset = 0;
        let size = self.identity.size;
        while offset < size {
            if self.task.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the daemon is stopping; the copy starts over at the next start"));
            }
            let length = BLOCK_BYTES.min(usize::try_from(size - offset).unwrap_or(BLOCK_BYTES));
            self.file.read_exact_at(&mut block[..length], offset)?;
            if !each(&block[..length], offset)? {
                return Ok(false);
            }
            offset += length as u64;
        }
        Ok(true)
    }

    /// Whether the file `name` is of the same size, and equal byte for byte. Its time may be kept more coarsely there.
    fn is_copy(&self, folder: &Folder, name: &OsStr) -> io::Result<bool> {
        let stat = folder.look(name)?;
        if stat.kind != FileKind::File || stat.size() != self.identity.size {
            return Ok(false);
        }
        let mut copy = folder.open(name)?;
        let mut other = vec![0; BLOCK_BYTES];
        let equal = self.blocks(|block, _| {
            copy.read_exact(&mut other[..block.len()])?;
            Ok(other[..block.len()] == *block)
        })?;
        Ok(equal && Identity::from(self.file.stat()?.numbers) == self.identity)
    }
}
