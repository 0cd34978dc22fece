//! The outside world of uploads: one small trait, and behind it one module per protocol.
//!
//! A host's code holds settings and a transport and remembers nothing. It never sleeps, retries, spawns or stores: the engine calls,
//! commits what was answered, and only then relies on it. It knows no path: a part is a handle to bytes that can be read again.

pub mod cloudkp;
mod error;
mod form;
pub mod http;
pub mod registry;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::job::upload::{Ack, Found, Held, Outcome, Session, Shape};

pub use error::{HostError, excerpt};

/// One call to a host: at most a few requests, no waiting, no retrying.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, HostError>> + Send + 'a>>;

/// A place that takes files.
pub trait Host: Send + Sync {
    /// What this host can do with a file of so many bytes. The same answer for as long as the value lives.
    fn shape(&self, file_bytes: u64) -> Shape;
    /// Reserve a place for the file. A host that has nothing to reserve answers without the network.
    fn open<'a>(&'a self, file: &'a FileFacts) -> Step<'a, Session>;
    /// Deliver one part. A repeat of a part already held must do no harm, save for a host whose order is `Whole`.
    fn send<'a>(&'a self, at: &'a Session, part: &'a Part) -> Step<'a, Ack>;
    /// Ask what the host already holds. Changes nothing over there.
    fn probe<'a>(&'a self, at: &'a Session) -> Step<'a, Found>;
    /// Make the parts a file. `held` has every part of the plan.
    fn finish<'a>(&'a self, at: &'a Session, held: &'a Held) -> Step<'a, Outcome>;
    /// Give the place back, as far as the host allows it.
    fn abandon<'a>(&'a self, at: &'a Session) -> Step<'a, ()>;
}

/// What a host is told of a file when an upload is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// The file's own name, without folders; never empty, no control characters.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// How many parts the plan has.
    pub parts: u32,
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
    /// Its bytes, readable from the start as often as the transport needs.
    pub source: Arc<dyn PartSource>,
}

/// The bytes of a part.
pub trait PartSource: Send + Sync {
    /// Begins to read at the first byte. Throttle and progress live in here, so that no host can forget them.
    fn frames(&self) -> Frames;
}

/// The bytes of a part on their way, some at a time.
pub type Frames = Pin<Box<dyn http_body::Body<Data = Bytes, Error = std::io::Error> + Send + Sync>>;
