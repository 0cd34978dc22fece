//! Answers and connections, with the freedom to be broken on purpose: cut replies, resets, lying lengths.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How much of a stored file is sent at once.
const FILE_FRAME_BYTES: u64 = 256 * 1024;
/// The largest body that is read whole.
const SMALL_BYTES: usize = 1024 * 1024;

/// The connection is to be reset without another byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abort;

/// A client's connection, which can be reset.
#[derive(Clone)]
pub(crate) struct Connection {
    handle: Arc<OwnedFd>,
    breaks: Arc<Notify>,
}

impl Connection {
    /// Takes the stream apart into what serves and what can break it.
    pub(crate) fn new(stream: TcpStream) -> io::Result<(TcpStream, Connection)> {
        stream.set_nodelay(true)?;
        let handle = Arc::new(stream.as_fd().try_clone_to_owned()?);
        Ok((stream, Connection { handle, breaks: Arc::default() }))
    }

    /// Resolves when the connection is to be dropped.
    pub(crate) fn broken(&self) -> impl Future<Output = ()> + use<> {
        let breaks = self.breaks.clone();
        async move { breaks.notified().await }
    }

    /// Closes with a reset rather than a good-bye.
    pub(crate) fn break_off(&self) {
        if let Err(error) = rustix::net::sockopt::set_socket_linger(&*self.handle, Some(Duration::ZERO)) {
            tracing::warn!("cannot reset a connection: {error}");
        }
        self.breaks.notify_one();
    }
}

/// An answer.
pub(crate) struct Reply {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: ReplyBody,
}

impl Reply {
    pub(crate) fn text(status: StatusCode, text: &str) -> Reply {
        Reply::typed(status, "text/plain; charset=utf-8", text.to_owned())
    }

    pub(crate) fn json(status: StatusCode, text: String) -> Reply {
        Reply::typed(status, "application/json", text)
    }

    pub(crate) fn html(status: StatusCode) -> Reply {
        Reply::typed(status, "text/html", "<!doctype html><title>maintenance</title><h1>We will be back soon</h1>".into())
    }

    fn typed(status: StatusCode, kind: &str, text: String) -> Reply {
        let body = Bytes::from(text);
        let left = body.len() as u64;
        Reply {
            status,
            headers: vec![("content-type".into(), kind.into())],
            body: ReplyBody::Text { left, text: Some(body), cut: None },
        }
    }

    /// A stored file, under the name it was given.
    pub(crate) fn file(file: File, bytes: u64, disposition: String) -> Reply {
        let headers = vec![("content-type".into(), "application/octet-stream".into()), ("content-disposition".into(), disposition)];
        Reply { status: StatusCode::OK, headers, body: ReplyBody::File { file, offset: 0, left: bytes } }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Says its whole length, sends only `bytes` of it and breaks off.
    pub(crate) fn cut_after(mut self, bytes: usize) -> Reply {
        if let ReplyBody::Text { cut, .. } = &mut self.body {
            *cut = Some(bytes);
        }
        self
    }

    /// Says that it is longer than it is.
    pub(crate) fn lie_about_length(mut self) -> Reply {
        if let ReplyBody::Text { left, text: Some(text), cut } = &mut self.body {
            *left += 10;
            *cut = Some(text.len());
        }
        self
    }

    pub(crate) fn into_response(self) -> Response<ReplyBody> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(self.body).unwrap_or_else(|error| {
            tracing::error!("the sandbox cannot build an answer: {error}");
            Response::new(ReplyBody::Text { left: 0, text: None, cut: None })
        })
    }
}

/// The bytes of an answer.
pub(crate) enum ReplyBody {
    Text { left: u64, text: Option<Bytes>, cut: Option<usize> },
    File { file: File, offset: u64, left: u64 },
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match &mut *self {
            ReplyBody::Text { left, text, cut } => match (text.take(), *cut) {
                (Some(text), None) => {
                    *left -= text.len() as u64;
                    (!text.is_empty()).then(|| Ok(Frame::data(text)))
                }
                (Some(text), Some(cut)) if cut > 0 => Some(Ok(Frame::data(text.slice(..cut.min(text.len()))))),
                (_, Some(_)) => Some(Err(io::Error::other("cut on purpose"))),
                (None, None) => None,
            },
            ReplyBody::File { left: 0, .. } => None,
            ReplyBody::File { file, offset, left } => {
                let bytes = (*left).min(FILE_FRAME_BYTES);
                let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
                let read = file.read_exact_at(&mut buffer, *offset);
                (*offset, *left) = (*offset + bytes, *left - bytes);
                Some(read.map(|()| Frame::data(Bytes::from(buffer))))
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Text { left, .. } | ReplyBody::File { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

/// Reads a body that ought to be small.
pub(crate) async fn read_small(body: Incoming) -> Result<String, String> {
    let bytes = Limited::new(body, SMALL_BYTES).collect().await.map_err(|error| error.to_string())?.to_bytes();
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}
