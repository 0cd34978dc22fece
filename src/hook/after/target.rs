//! Where a source is moved to.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::os::files::{Base, Files, Folder};

/// Where a source is moved to.
pub(super) struct Destination<'t> {
    pub(super) folder: Folder,
    pub(super) path: PathBuf,
    pub(super) name: &'t OsStr,
}

impl<'t> Destination<'t> {
    /// The folder is the configured one, or below it without a link on the way; it is made where it is missing.
    pub(super) fn make(files: &Files, root: &Path, below: &'t Path) -> io::Result<Destination<'t>> {
        let name = below.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = root.join(below.parent().unwrap_or(Path::new("")));
        let folder = Base::of(files, root, false).make(&path)?;
        Ok(Destination { folder, path, name })
    }
}
