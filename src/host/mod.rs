//! The outside world of uploads: one small trait, and behind it one module per protocol.
//!
//! A host's code holds settings and a transport. What it remembers besides is gone with the process, bounded, and never what a file
//! depends on: a token that it was given for a while (`token`), how the service wants to be spoken to, ids of folders. Without it a
//! request more is made, and no byte is sent twice. A host never sleeps, retries, spawns or stores: the engine calls, commits what
//! was answered, and only then relies on it. It knows no path: a part is a handle to bytes that can be read again.

mod address;
mod addresses;
mod base64;
pub mod cloudkp;
mod error;
#[cfg(feature = "example-kind")]
pub mod example;
mod form;
pub mod fourshared;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
mod json;
mod kept;
pub mod kie;
pub mod kind;
pub mod kinds;
pub mod koodrive;
mod largest;
mod lazy;
mod names;
mod network;
mod redact;
mod redacting;
pub mod registry;
pub mod s3;
mod stored;
mod supplies;
pub(crate) mod token;
pub mod tus;
mod unusable;
pub mod uploadgig;
pub mod webdav;
mod xml;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::job::digest::{Algorithm, MidStates};
use crate::job::plan::Plan;
use crate::job::upload::{Ack, ConfirmedParts, Found, Opened, Outcome, Session, Shape};
use crate::secret::Secret;

pub use error::HostError;
pub(crate) use error::excerpt;
pub use kept::{KeptTokens, TOKENS_FILE};
pub use lazy::LazyHost;
pub use token::Granted;
pub(crate) use unusable::Unusable;

/// The answer of one call to a host, on its way: at most a few requests, no waiting, no retrying.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, HostError>> + Send + 'a>>;

/// A place that takes files.
pub trait Host: Send + Sync {
    /// What this host can do with a file of so many bytes. The same answer for as long as the value lives.
    fn shape(&self, file_bytes: u64) -> Shape;
    /// The bytes of the file that `open` is to be told, by their places in it: a host may want them as proof that we have the file.
    /// Asked for right before `open`, and once more where that answers [`Opened::OtherSamples`].
    fn samples(&self, _file_bytes: u64) -> Vec<Range<u64>> {
        Vec::new()
    }
    /// Open a session for the file. A host that has nothing to reserve answers without the network.
    fn open<'a>(&'a self, file: &'a FileFacts, tickets: &'a Tickets) -> Answer<'a, Opened>;
    /// Whether a session stands for something that the host knows of. One that does not only announces what is about to be opened: it is
    /// put on record, on the disk, and then [`Host::begin`] opens it, so that nothing is open over there of which nobody knows.
    fn has_begun(&self, _session: &Session) -> bool {
        true
    }
    /// Open what a session announces. With `again`, it may have been opened before without an answer being heard: what came of that is
    /// given up first. Answers the session as it is from then on.
    fn begin<'a>(&'a self, at: &'a UploadSession, _again: bool) -> Answer<'a, Session> {
        Box::pin(async { Ok(at.session.clone()) })
    }
    /// What is computed of each part for this session: by default what the shape says. A host that agrees on it with the service, or
    /// that may be configured otherwise by now, knows it by the session.
    fn part_digest(&self, _session: &Session, shape: &Shape) -> Option<Algorithm> {
        shape.part_digest
    }
    /// Deliver one part. A repeat of a part already held must do no harm, save for a host whose order is `WholeFile`.
    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack>;
    /// Ask what the host already holds. Changes nothing over there. Many hosts cannot say.
    fn probe<'a>(&'a self, _at: &'a UploadSession, _completion: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(async { Ok(Found::Unsure) })
    }
    /// Make the parts a file. `completion.confirmed` has every part of the plan. A host whose order is `WholeFile` asks nobody
    /// here: it reads the outcome out of the receipt of its one part.
    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome>;
    /// Give the session back, as far as the host allows it. Many know no such thing.
    fn abandon<'a>(&'a self, _at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    /// Prove that the host is there and takes the credentials, by the cheapest call there is; nothing is uploaded. Answers what a
    /// person wants to read.
    fn check(&self) -> Answer<'_, String>;
    /// Lets the host hear from us, by the cheapest call there is, so that what lets us in does not end while nothing else is asked
    /// for. The engine calls it as often as the settings ask for ([`crate::config::HostSettings::keep_alive`]).
    fn keep_alive(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    /// Makes connections to where the first request of an upload goes, for `files` files to come, so that no more than `most` wait. None
    /// are made for a host that cannot tell where that is.
    fn open_ahead(&self, _files: usize, _most: usize) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    /// A passing address of a stored file, for hosts whose files have no lasting link.
    fn address<'a>(&'a self, _remote_id: &'a str) -> Answer<'a, Option<Secret>> {
        Box::pin(async { Ok(None) })
    }
}

/// What a host is told of a file when an upload is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// The file's own name, without folders; never empty, no control characters.
    pub name: String,
    /// The folder it goes to, on hosts that have folders: names joined by `/`, without one at either end; empty is the host's root.
    pub folder: String,
    /// A short text of digits and letters that is another one for every version of every file.
    pub version: String,
    /// How often this version is sent again because its link dies, this time counted.
    pub renewals: u32,
    /// Its size.
    pub bytes: u64,
    /// How many parts the plan has.
    pub parts: u32,
    /// The size of every part but the last.
    pub part_bytes: u64,
    /// Its digest, where the shape wants it before `open`; in lower-case hexadecimal.
    pub digest: Option<String>,
    /// Whether the host may have been asked with that digest before, and may yet do what it was asked.
    pub asked_before: bool,
    /// The bytes that [`Host::samples`] asks for, in its order.
    pub samples: Vec<Sample>,
    /// Its media type, as its name says; `application/octet-stream` where it says nothing.
    pub content_type: &'static str,
    /// When its content changed last, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
}

/// Some bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where they are in it.
    pub range: Range<u64>,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
impl FileFacts {
    /// A file of one part, below the host's root.
    pub(crate) fn named(name: &str, bytes: u64) -> FileFacts {
        FileFacts {
            name: name.to_owned(),
            folder: String::new(),
            version: "670f15212a83941c".to_owned(),
            renewals: 0,
            bytes,
            parts: 1,
            part_bytes: u64::MAX,
            digest: None,
            asked_before: false,
            samples: Vec::new(),
            content_type: crate::job::content_type::of_name(name),
            mtime_ns: 0,
        }
    }
}

/// A half-sent upload, as a host's calls meet it.
#[derive(Debug)]
pub struct UploadSession {
    /// The host's own handle.
    pub session: Session,
    /// The passing addresses of its parts.
    pub tickets: Tickets,
    /// How the file is cut.
    pub plan: Plan,
    /// The mid-states of the digest where parts begin, for a host that wants them: that of a part is known when the part is sent.
    pub mid_states: Arc<MidStates>,
}

/// A passing address that bytes go to, with the time it ends. It is a secret, so it is never stored; it is made anew after a
/// restart.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The address.
    pub address: Secret,
    /// When it ends, in milliseconds since the Unix epoch.
    pub until_ms: i64,
}

/// Tickets by the number of the part they are for. Locked while new ones are fetched, so that parts in flight together fetch them
/// once.
pub type Tickets = tokio::sync::Mutex<BTreeMap<u32, Ticket>>;

/// What is known of a file when all its parts are held, or may be.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// The parts that were confirmed, with what the host wants to see again.
    pub confirmed: &'a ConfirmedParts,
    /// The digest of the file, where the shape wants one; in lower-case hexadecimal.
    pub digest: Option<&'a str>,
    /// Whether a finish was sent before, or by now a second body in one session, and the answer to the earlier one is not known.
    pub repeated: bool,
    /// The last part, where the shape has it go with the finish, or where a finish without it was answered with
    /// [`HostError::wants_last`].
    pub last: Option<&'a Part>,
}

/// One part, with its bytes within reach.
#[derive(Clone)]
pub struct Part {
    /// Its place in the plan, counted from 0.
    pub number: u32,
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// The digest of its bytes, where the shape wants one of each part.
    pub digest: Option<Vec<u8>>,
    /// Its bytes, readable from the start as often as the transport needs.
    pub source: Arc<dyn PartSource>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({}, {} bytes from {})", self.number, self.bytes, self.offset)
    }
}

/// The bytes of a part.
pub trait PartSource: Send + Sync {
    /// Begins to read at the first byte. Throttle and progress live in here, so that no host can forget them.
    fn frames(&self) -> Frames;
    /// The same for `bytes` bytes from `offset` on, counted from the part's first byte; a host may find that a part is too much for
    /// one request.
    fn frames_of(&self, offset: u64, bytes: u64) -> Frames;
}

/// The bytes of a part on their way, some at a time.
pub(crate) type Frames = Pin<Box<dyn http_body::Body<Data = Bytes, Error = std::io::Error> + Send + Sync>>;
