//! What users remember.

use std::path::PathBuf;

use ferryd::internals::os::simulated_files::File;

/// What users remember.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The file that is being written, and its name.
    pub(crate) writing: Option<(File, PathBuf)>,
    /// Where the file was that was moved out last.
    pub(crate) moved_out: Option<PathBuf>,
    /// Contents made so far.
    pub(crate) made: u64,
    /// Whether the disk of the watched folder is away.
    pub(crate) is_away: bool,
}
