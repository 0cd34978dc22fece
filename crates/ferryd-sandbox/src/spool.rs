//! Bytes on their way to the disk: a body or the file of a form, taken as it comes, so that no file has to fit into memory.

use std::io::Write;
use std::path::PathBuf;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::digest::hex;
use super::files::{Created, Files};

/// A place for bytes that are still coming in.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) files: Files,
    pub(super) path: PathBuf,
}

/// Bytes being taken.
#[derive(Debug)]
pub(super) struct Spool {
    /// Nothing when bytes are discarded.
    kept: Option<Kept>,
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    file: Created,
    aside: Aside,
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
    files: Files,
}

impl Spool {
    /// Begins in the file of `aside`, or to discard when there is none.
    pub(super) fn new(aside: Option<Aside>) -> std::io::Result<Spool> {
        let kept = match aside {
            Some(aside) => Some(Kept { file: aside.files.create(&aside.path)?, aside, sha256: Sha256::new(), md5: Md5::new() }),
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
            None => Spooled::discarded(self.bytes),
            Some(Kept { aside: Aside { files, path }, sha256, md5, .. }) => Spooled {
                bytes: self.bytes,
                sha256: Some(hex(&sha256.finalize())),
                md5: Some(hex(&md5.finalize())),
                path: Some(path),
                files,
            },
        }
    }
}

impl Spooled {
    /// So many bytes, of which nothing is kept.
    pub(super) fn discarded(bytes: u64) -> Spooled {
        Spooled { bytes, sha256: None, md5: None, path: None, files: Files::default() }
    }
}

/// A client that goes away in the middle leaves nothing.
impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            kept.aside.files.remove(&kept.aside.path).ok();
        }
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            self.files.remove(path).ok();
        }
    }
}
