//! Where a way begins.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// A folder at the top, and whether symbolic links below it are followed. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Top {
    pub(super) path: Arc<Path>,
    pub(super) follow: bool,
}

impl Top {
    /// The way from the top to `path`.
    pub(super) fn relative<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        path.strip_prefix(&self.path).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}
