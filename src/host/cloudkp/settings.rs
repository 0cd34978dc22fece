//! What is configured of a CloudKP host.

use std::time::Duration;

use crate::config::HostSettings;
use crate::config::reading::{Table, base_url, duration, number_or_auto, one_or_more, text, word};

const EMPTY_FILE: &[(&str, EmptyFile)] =
    &[("finish-only", EmptyFile::FinishOnly), ("one-empty-chunk", EmptyFile::OneEmptyChunk), ("reject", EmptyFile::Reject)];
const FINISH: &[(&str, Finish)] = &[("separate", Finish::Separate), ("last_chunk", Finish::LastChunk)];
/// Requests of one file in flight, the most that make sense.
const PARALLEL_MAX: i64 = 32;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Settings of a CloudKP host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudKpConfig {
    /// Where chunks go: scheme, host, port and any path before `/upload`, without a slash at the end. New uploads go to the first of
    /// them that is not gone.
    pub base_urls: Vec<String>,
    /// What makes the chunks a file.
    pub finish: Finish,
    /// What stands before the id in a link.
    pub link_base: String,
    /// How long an unfinished session is trusted.
    pub session_max_age: Duration,
    /// What is done with a file of 0 bytes.
    pub empty_file: EmptyFile,
    /// Chunks of one file in flight at most, where that is not left to measuring.
    pub parallel_parts: Option<usize>,
}

/// What makes the chunks a file; the service describes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A request of its own: what the sample program does.
    Separate,
    /// The request of the last chunk, which goes when all others are there.
    LastChunk,
}

/// What a CloudKP host is sent for a file of 0 bytes; the service does not document it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyFile {
    /// The finish alone, which counts no chunks: what the sample program does.
    FinishOnly,
    /// The job fails with that reason.
    Reject,
    /// One chunk of 0 bytes, then the finish.
    OneEmptyChunk,
}

impl HostSettings for CloudKpConfig {
    fn addresses(&self) -> Vec<&str> {
        self.base_urls.iter().map(String::as_str).collect()
    }
}

/// The settings in its table; every key has a default.
pub(super) fn read(table: &Table<'_>) -> CloudKpConfig {
    CloudKpConfig {
        base_urls: table.get("base_url", vec!["https://kpdl.cloudkp.com".to_owned()], one_or_more(base_url("/upload"))),
        finish: table.get("finish", Finish::Separate, word(FINISH)),
        link_base: table.get("link_base", "https://cloudkp.com?c=".to_owned(), text),
        session_max_age: table.get("session_max_age", DAY, duration(SECOND)),
        empty_file: table.get("empty_file", EmptyFile::FinishOnly, word(EMPTY_FILE)),
        parallel_parts: table.get("parallel_parts", None, number_or_auto(1, PARALLEL_MAX)),
    }
}
