//! What the fuzz targets reach besides the reply readers: no part of the interface, and no code of its own.

use std::time::Duration;

use crate::job::upload::Session;

use super::{HostError, http, kinds};

pub use super::address::check as address;
pub use super::addresses::read as addresses;
pub use super::xml::{Element, escaped, parse as xml};

/// Reads a session as `kind` stores it, and stores it again; nothing for a word that is no kind.
pub fn stored_again(kind: &str, session: &Session) -> Option<Result<Session, HostError>> {
    Some(kinds::of(kind)?.stored_again(session))
}

/// Reads a `Retry-After` header.
pub fn retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    http::parse_retry_after(text, now_ms)
}
