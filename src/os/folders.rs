//! Folders that are made for the user.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes the folder at `path`, and those above it, where they are missing. Whatever the umask of the process is, nobody but their
/// owner may write in them, and nobody else look into them where they are `private`.
pub(crate) fn make(path: &Path, private: bool) -> io::Result<()> {
    let mode = if private { 0o700 } else { 0o755 };
    DirBuilder::new().recursive(true).mode(mode).create(path)
}
