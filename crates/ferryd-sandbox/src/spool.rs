//! Bytes on their way to the disk: a body or the file of a form, taken as it comes, so that no file has to fit into memory.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::digest::hex;

/// Bytes being taken.
#[derive(Debug)]
pub(super) struct Spool {
    /// Nothing when bytes are discarded.
    kept: Option<Kept>,
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    file: File,
    path: PathBuf,
    sha256: Sha256,
    md5: Md5,
}

/// Bytes that were taken. They go with this value, unless the store has taken them over.
#[derive(Debug)]
pub(super) struct Spooled {
    /// How many.
    pub(super) bytes: u64,
    /// Their SHA-256, in hexadecimal; nothing when bytes are discarded.
    pub(super) sha256: Option<String>,
    /// Their MD5, in hexadecimal; nothing when bytes are discarded.
    pub(super) md5: Option<String>,
    /// Where they are; nothing when bytes are discarded.
    pub(super) path: Option<PathBuf>,
}

impl Spool {
    /// Begins in the file `path`, or to discard when there is none.
    pub(super) fn new(path: Option<PathBuf>) -> std::io::Result<Spool> {
        let kept = match path {
            Some(path) => Some(Kept { file: File::create(&path)?, path, sha256: Sha256::new(), md5: Md5::new() }),
            None => None,
        };
        Ok(Spool { kept, bytes: 0 })
    }

    /// Takes some more. The write is short and local, so it may happen in a task.
    pub(super) fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes += bytes.len() as u64;
        let Some(kept) = &mut self.kept else { return Ok(()) };
        kept.sha256.update(bytes);
        kept.md5.update(bytes);
        kept.file.write_all(bytes)
    }

    /// There is no more.
    pub(super) fn end(mut self) -> Spooled {
        match self.kept.take() {
            None => Spooled { bytes: self.bytes, sha256: None, md5: None, path: None },
            Some(Kept { path, sha256, md5, .. }) => Spooled {
                bytes: self.bytes,
                sha256: Some(hex(&sha256.finalize())),
                md5: Some(hex(&md5.finalize())),
                path: Some(path),
            },
        }
    }
}

/// A client that goes away in the middle leaves nothing.
impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            std::fs::remove_file(&kept.path).ok();
        }
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            std::fs::remove_file(path).ok();
        }
    }
}
