//! What came in and what became of it: the request log.
//!
//! It is the witness of every test, so it never guesses. Two marks taken from one counter, `seq` when a request arrives and `ended`
//! when its outcome is decided, say which answer came before which request. The last [`ENTRIES_MAX`] entries are in memory; all of
//! them are also appended to `log.jsonl`, one line when the outcome is decided (before the reply leaves) and a short line when the
//! reply has left.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::faults::Endpoint;
use super::{excerpt, hold};

/// How many entries stay in memory; the oldest leave first.
pub const ENTRIES_MAX: usize = 100_000;
/// The log file is set aside under the name `log.old.jsonl`, over the one set aside before, when it grows past this many bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const TEXT_BYTES_MAX: usize = 300;

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The mark at which the head of the request arrived.
    pub seq: u64,
    /// The mark at which the outcome was decided, before the reply was written. Empty while the request is being received.
    pub ended: Option<u64>,
    /// When that was, by the clock of the hosts, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub at_ms: i64,
    /// The method, as sent.
    pub method: String,
    /// Path and query, shortened to 300 bytes.
    pub path: String,
    /// The emulated host, when the path belongs to one.
    pub host: Option<String>,
    /// What the request asks for, once the host's protocol knows.
    pub endpoint: Option<Endpoint>,
    /// The upload session, when the request names one.
    pub session: Option<String>,
    /// The number of the part, counted from 0.
    pub part: Option<u64>,
    /// The name of the file, when the request carries it.
    pub file: Option<String>,
    /// The status of the reply; empty when none was given.
    pub status: Option<u16>,
    /// Bytes of the body that were taken off the connection.
    pub body_bytes: u64,
    /// SHA-256 of the file part, in hexadecimal. Empty when there was none, when it was not received whole, and in discard mode.
    pub file_sha256: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The fault that acted on it, by name.
    pub fault: Option<String>,
    /// Whether this request changed what is stored and the change still stands.
    pub held: bool,
    /// Whether the part was already held when it arrived.
    pub again: bool,
    /// Whether that part's bytes were other bytes than those held.
    pub differed: bool,
    /// Whether the whole reply was handed to the kernel; empty while that is not known.
    pub replied: Option<bool>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Still being received or worked on.
    Pending,
    /// A part was taken and the reply says so.
    Acked,
    /// A finish succeeded and the reply names the object.
    Stored,
    /// A call was answered: a stored object is served, or a login, a reservation, an address, a question has its answer.
    Served,
    /// The request broke a rule, which the text names.
    Rejected(String),
    /// A fault answered, or cut the connection, in place of the host.
    Faulted,
    /// The client went away, or the server was stopped, before the request was complete.
    Gone,
}

/// What the protocol found out about a request, to be noted with its outcome.
#[derive(Debug, Clone)]
pub(super) struct Conclusion {
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) body_bytes: u64,
    pub(super) file_sha256: Option<String>,
    pub(super) fault: Option<&'static str>,
    pub(super) held: bool,
    pub(super) again: bool,
    pub(super) differed: bool,
}

impl Conclusion {
    /// An outcome about which nothing more is known.
    pub(super) fn bare(outcome: Outcome) -> Conclusion {
        Conclusion {
            outcome,
            status: None,
            body_bytes: 0,
            file_sha256: None,
            fault: None,
            held: false,
            again: false,
            differed: false,
        }
    }
}

/// The log of one server. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    calm: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    next: u64,
    open: usize,
    path: Option<PathBuf>,
    file: Option<File>,
    file_bytes: u64,
}

/// The later line about an entry: its reply has left, or never will.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replied {
    seq: u64,
    replied: bool,
}

impl Log {
    /// A log in `dir`, with what an earlier run left there; in memory alone when there is no `dir`.
    ///
    /// # Errors
    /// When the file cannot be read or opened. Lines that make no sense, such as one torn by a kill, are passed over.
    pub(super) fn open(dir: Option<&Path>) -> std::io::Result<Log> {
        let mut state = State { next: 1, ..State::default() };
        if let Some(dir) = dir {
            let path = dir.join("log.jsonl");
            state.recall(&path)?;
            state.path = Some(path);
            state.reopen()?;
        }
        Ok(Log { inner: Arc::new(Inner { state: Mutex::new(state), calm: Notify::new() }) })
    }

    /// Notes that a request has arrived.
    pub(super) fn begin(&self, method: &str, path: &str, at_ms: i64) -> Ticket {
        let mut state = hold(&self.inner.state);
        let seq = state.mark();
        state.open += 1;
        if state.entries.len() >= ENTRIES_MAX {
            state.entries.pop_front();
        }
        state.entries.push_back(arrived(seq, at_ms, method, path));
        Ticket { log: self.clone(), seq, concluded: false }
    }

    /// The entries after mark `after`, oldest first.
    pub(super) fn entries(&self, after: u64) -> Vec<Entry> {
        hold(&self.inner.state).entries.iter().filter(|entry| entry.seq > after).cloned().collect()
    }

    /// Waits until every request that has arrived is concluded and its reply has left or failed.
    pub(super) async fn calm(&self) {
        loop {
            let told = self.inner.calm.notified();
            if hold(&self.inner.state).open == 0 {
                return;
            }
            told.await;
        }
    }

    /// Empties the log; marks go on counting.
    pub(super) fn clear(&self) -> std::io::Result<()> {
        let mut state = hold(&self.inner.state);
        state.entries.clear();
        let Some(path) = state.path.clone() else { return Ok(()) };
        File::create(path)?;
        state.reopen()
    }

    fn replied(&self, seq: u64, replied: bool) {
        let mut state = hold(&self.inner.state);
        state.open = state.open.saturating_sub(1);
        if let Some(entry) = state.entry(seq) {
            entry.replied = Some(replied);
        }
        state.append(&Replied { seq, replied });
        if state.open == 0 {
            self.inner.calm.notify_waiters();
        }
    }
}

impl State {
    fn mark(&mut self) -> u64 {
        let mark = self.next;
        self.next += 1;
        mark
    }

    fn entry(&mut self, seq: u64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&seq, |entry| entry.seq).ok()?;
        self.entries.get_mut(at)
    }

    fn recall(&mut self, path: &Path) -> std::io::Result<()> {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for line in BufReader::new(file).lines() {
            let line = line?;
            if let Ok(Replied { seq, replied }) = serde_json::from_str(&line) {
                // The entry is one of the last, since a reply follows its outcome.
                if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.seq == seq) {
                    entry.replied = Some(replied);
                }
            } else if let Ok(entry) = serde_json::from_str::<Entry>(&line) {
                self.next = self.next.max(entry.seq + 1).max(entry.ended.unwrap_or(0) + 1);
                self.entries.push_back(entry);
            }
            if self.entries.len() > ENTRIES_MAX {
                self.entries.pop_front();
            }
        }
        self.entries.make_contiguous().sort_by_key(|entry| entry.seq);
        Ok(())
    }

    fn reopen(&mut self) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        self.file_bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// A line that cannot be written costs the record on disk, never the request.
    fn append(&mut self, line: &impl Serialize) {
        let Some(file) = &mut self.file else { return };
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Err(error) = file.write_all(&text) {
            tracing::warn!(%error, "the sandbox cannot write its log");
        }
        self.file_bytes += text.len() as u64;
        if self.file_bytes > FILE_BYTES_MAX {
            self.set_aside();
        }
    }

    #[allow(clippy::disallowed_methods, reason = "the log of the sandbox does not have to outlive a power cut")]
    fn set_aside(&mut self) {
        let Some(path) = self.path.clone() else { return };
        let moved = std::fs::rename(&path, path.with_file_name("log.old.jsonl")).and_then(|()| self.reopen());
        if let Err(error) = moved {
            tracing::warn!(%error, "the sandbox cannot set its log aside");
        }
    }
}

/// The open entry of one request. Dropped without a conclusion, it says that the client went away.
#[derive(Debug)]
pub(super) struct Ticket {
    log: Log,
    seq: u64,
    concluded: bool,
}

impl Ticket {
    /// Notes what the request turned out to be.
    pub(super) fn describe(&self, tell: impl FnOnce(&mut Entry)) {
        let mut state = hold(&self.log.inner.state);
        if let Some(entry) = state.entry(self.seq) {
            tell(entry);
            for text in [&mut entry.session, &mut entry.file].into_iter().flatten() {
                *text = excerpt(text, TEXT_BYTES_MAX);
            }
        }
    }

    /// Notes the outcome, which from here on stands, and hands out the duty to say whether the reply left.
    pub(super) fn conclude(mut self, conclusion: Conclusion) -> Delivery {
        self.settle(conclusion);
        Delivery { log: self.log.clone(), seq: self.seq, done: false }
    }

    fn settle(&mut self, conclusion: Conclusion) {
        self.concluded = true;
        let mut state = hold(&self.log.inner.state);
        let ended = state.mark();
        let Some(entry) = state.entry(self.seq) else { return };
        entry.ended = Some(ended);
        entry.outcome = match conclusion.outcome {
            Outcome::Rejected(reason) => Outcome::Rejected(excerpt(&reason, TEXT_BYTES_MAX)),
            other => other,
        };
        entry.status = conclusion.status;
        entry.body_bytes = conclusion.body_bytes;
        entry.file_sha256 = conclusion.file_sha256;
        entry.fault = conclusion.fault.map(str::to_owned);
        (entry.held, entry.again, entry.differed) = (conclusion.held, conclusion.again, conclusion.differed);
        let line = entry.clone();
        state.append(&line);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.concluded {
            self.settle(Conclusion::bare(Outcome::Gone));
            self.log.replied(self.seq, false);
        }
    }
}

/// The duty to say whether a reply left. Dropped, it says that it did not.
#[derive(Debug)]
pub(super) struct Delivery {
    log: Log,
    seq: u64,
    done: bool,
}

impl Delivery {
    /// The whole reply is with the kernel.
    pub(super) fn sent(mut self) {
        self.done = true;
        self.log.replied(self.seq, true);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.done {
            self.log.replied(self.seq, false);
        }
    }
}

fn arrived(seq: u64, at_ms: i64, method: &str, path: &str) -> Entry {
    Entry {
        seq,
        ended: None,
        at_ms,
        method: excerpt(method, TEXT_BYTES_MAX),
        path: excerpt(path, TEXT_BYTES_MAX),
        host: None,
        endpoint: None,
        session: None,
        part: None,
        file: None,
        status: None,
        body_bytes: 0,
        file_sha256: None,
        outcome: Outcome::Pending,
        fault: None,
        held: false,
        again: false,
        differed: false,
        replied: None,
    }
}
