//! What the client is told: status, headers, bytes.

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::files::Opened;
use super::wire::{Payload, ReplyBody};

/// A reply before it meets the connection.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) payload: Payload,
    pub(super) headers: HeaderMap,
}

impl Reply {
    /// Bytes without a type.
    pub(super) fn bytes(status: u16, bytes: impl Into<Bytes>) -> Reply {
        Reply { status, payload: Payload::Bytes(bytes.into()), headers: HeaderMap::new() }
    }

    /// Nothing but a status.
    pub(super) fn empty(status: u16) -> Reply {
        Reply::bytes(status, Bytes::new())
    }

    /// Plain text.
    pub(super) fn text(status: u16, text: &str) -> Reply {
        Reply::bytes(status, text.to_owned()).header("content-type", "text/plain; charset=utf-8")
    }

    /// A page for people.
    pub(super) fn html(status: u16, text: &str) -> Reply {
        Reply::bytes(status, text.to_owned()).header("content-type", "text/html; charset=utf-8")
    }

    /// JSON, already written down.
    pub(super) fn json(status: u16, text: impl Into<String>) -> Reply {
        Reply::bytes(status, text.into()).header("content-type", "application/json")
    }

    /// The first `bytes` of an open file.
    pub(super) fn file(file: Opened, bytes: u64) -> Reply {
        Reply { payload: Payload::File { file, bytes }, ..Reply::empty(200) }.header("content-type", "application/octet-stream")
    }

    /// The reply with one more header; what cannot be a header is left out.
    pub(super) fn header(mut self, name: &str, value: &str) -> Reply {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The response for the HTTP server, which announces `length` bytes.
    pub(super) fn response(self, length: u64, body: impl FnOnce(Payload) -> ReplyBody) -> Response<ReplyBody> {
        let Reply { status, payload, mut headers } = self;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let mut response = Response::new(body(payload));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response
    }
}
