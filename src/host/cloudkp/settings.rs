//! What is configured of a CloudKP host.

use std::time::Duration;

use crate::config::HostSettings;
use crate::config::reading::{Table, base_url, duration, text, word};

const EMPTY_FILE: &[(&str, EmptyFile)] = &[("reject", EmptyFile::Reject), ("one-empty-chunk", EmptyFile::OneEmptyChunk)];
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Settings of a CloudKP host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudKpConfig {
    /// Where chunks go: scheme, host, port and any path before `/upload`, without a slash at the end.
    pub base_url: String,
    /// What stands before the id in a link.
    pub link_base: String,
    /// How long an unfinished session is trusted.
    pub session_max_age: Duration,
    /// What is done with a file of 0 bytes.
    pub empty_file: EmptyFile,
}

/// What a CloudKP host is sent for a file of 0 bytes; the service does not document it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyFile {
    /// The job fails with that reason.
    Reject,
    /// One chunk of 0 bytes, then the finish.
    OneEmptyChunk,
}

impl HostSettings for CloudKpConfig {}

/// The settings in its table; every key has a default.
pub(super) fn read(table: &Table<'_>) -> CloudKpConfig {
    CloudKpConfig {
        base_url: table.get("base_url", "https://kpdl.cloudkp.com".to_owned(), base_url("/upload")),
        link_base: table.get("link_base", "https://cloudkp.com?c=".to_owned(), text),
        session_max_age: table.get("session_max_age", DAY, duration(SECOND)),
        empty_file: table.get("empty_file", EmptyFile::Reject, word(EMPTY_FILE)),
    }
}
