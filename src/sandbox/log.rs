//! Every request in its order, with what became of it: what tests count from.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Entries kept in memory; the file has them all.
const ENTRIES_MAX: usize = 200_000;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its place in the order of completion, counted from 1.
    pub number: u64,
    /// The host: `cloudkp`.
    pub host: &'static str,
    /// What was asked: `chunk`, `finish`, `link`.
    pub endpoint: &'static str,
    /// The session it is about.
    pub session: String,
    /// The part it brings.
    pub part: Option<u32>,
    /// Bytes of the file that were received.
    pub bytes: u64,
    /// SHA-256 of those bytes, in hexadecimal; nothing where bytes are discarded.
    pub sha256: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The fault that was played.
    pub fault: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A part was taken, and its acknowledgement handed to the connection.
    Acked,
    /// It took effect, and no answer was sent.
    Unanswered,
    /// A file was stored.
    Stored,
    /// It was refused, with this text.
    Refused(String),
    /// A stored file was given out.
    Served,
}

/// The list.
#[derive(Debug)]
pub struct Log(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    entries: VecDeque<Entry>,
    count: u64,
    file: Option<File>,
}

impl Log {
    pub(super) fn open(dir: &Path, discard: bool) -> io::Result<Log> {
        let open = || OpenOptions::new().create(true).append(true).open(dir.join("log.jsonl"));
        let file = if discard { None } else { Some(open()?) };
        Ok(Log(Mutex::new(Inner { entries: VecDeque::new(), count: 0, file })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, mut entry: Entry) {
        let mut inner = self.lock();
        inner.count += 1;
        entry.number = inner.count;
        if let Some(file) = &mut inner.file
            && let Ok(mut line) = serde_json::to_vec(&entry)
        {
            line.push(b'\n');
            if let Err(error) = file.write_all(&line) {
                tracing::warn!("cannot write the sandbox's log: {error}");
            }
        }
        if inner.entries.len() == ENTRIES_MAX {
            inner.entries.pop_front();
        }
        inner.entries.push_back(entry);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.entries.clear();
        inner.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
    }
}
