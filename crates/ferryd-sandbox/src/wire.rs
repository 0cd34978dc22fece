//! The connection beneath the HTTP server: the place where a reply can be cut, a socket reset, a line kept half open.
//!
//! The HTTP crate keeps a server honest; the faults need one that is not. Everything dishonest is done here, below it.

use std::io::{IoSlice, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::files::Opened;
use super::hold;
use super::log::Delivery;

const FILE_READ_BYTES: usize = 256 * 1024;

/// What the server tells the connection beneath it.
#[derive(Debug, Default)]
pub(super) struct Control {
    reset: AtomicBool,
    cut: AtomicBool,
    linger: Mutex<Option<Duration>>,
    reply: Mutex<Option<Leaving>>,
}

/// A reply on its way out.
#[derive(Debug)]
struct Leaving {
    delivery: Delivery,
    handed_over: Arc<AtomicBool>,
}

impl Control {
    /// The connection ends with a RST instead of a FIN.
    pub(super) fn reset_at_end(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// After the FIN the socket stays open this long, unread.
    pub(super) fn half_open_for(&self, time: Duration) {
        *hold(&self.linger) = Some(time);
    }

    /// Watches over the next reply; `handed_over` turns true when the HTTP server has taken all of its body.
    fn watch(&self, delivery: Delivery, handed_over: Arc<AtomicBool>) {
        // A client that does not pipeline asks again only after it has the reply, so a reply that is still here has left.
        self.left();
        *hold(&self.reply) = Some(Leaving { delivery, handed_over });
    }

    fn left(&self) {
        let leaving = hold(&self.reply).take_if(|leaving| leaving.handed_over.load(Ordering::Acquire));
        if let Some(leaving) = leaving {
            leaving.delivery.sent();
        }
    }
}

/// A connection that obeys a [`Control`].
pub(super) struct Wire<S> {
    stream: S,
    reset: fn(&S) -> std::io::Result<()>,
    control: Arc<Control>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    /// `reset` makes the end of the stream a reset.
    pub(super) fn new(stream: S, reset: fn(&S) -> std::io::Result<()>, control: Arc<Control>) -> Wire<S> {
        Wire { stream, reset, control, linger: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The HTTP server flushes only after it has written everything it holds, so this is where a reply is known to have left.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.control.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        self.control.left();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let wanted = hold(&self.control.linger).take();
        if let Some(time) = wanted {
            self.linger = Some(Box::pin(tokio::time::sleep(time)));
        }
        std::task::ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        match &mut self.linger {
            Some(sleep) => sleep.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S> Drop for Wire<S> {
    fn drop(&mut self) {
        if self.control.reset.load(Ordering::Relaxed)
            && let Err(error) = (self.reset)(&self.stream)
        {
            tracing::warn!(%error, "the sandbox cannot reset a connection");
        }
    }
}

/// The bytes of a reply.
#[derive(Debug)]
pub(super) enum Payload {
    /// Bytes in memory.
    Bytes(Bytes),
    /// An open file, served from its start.
    File {
        /// The handle, at its start.
        file: Opened,
        /// How many bytes of it to serve.
        bytes: u64,
    },
}

impl Payload {
    /// The length in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File { bytes, .. } => *bytes,
        }
    }
}

/// The body of a reply, as the HTTP server takes it.
#[derive(Debug)]
pub(super) struct ReplyBody {
    payload: Payload,
    left: u64,
    cut: Option<Arc<Control>>,
    handed_over: Arc<AtomicBool>,
}

impl ReplyBody {
    /// A body that is served whole; `control` sees to it that `delivery` learns of it.
    pub(super) fn whole(payload: Payload, control: &Control, delivery: Option<Delivery>) -> ReplyBody {
        let handed_over = Arc::new(AtomicBool::new(false));
        if let Some(delivery) = delivery {
            control.watch(delivery, Arc::clone(&handed_over));
        }
        ReplyBody { left: payload.len(), payload, cut: None, handed_over }
    }

    /// The first `bytes` of a body, after which the connection ends. The delivery is dropped by the caller: no such reply is whole.
    pub(super) fn cut(payload: Payload, bytes: u64, control: &Arc<Control>) -> ReplyBody {
        let left = payload.len().min(bytes);
        ReplyBody { left, payload, cut: Some(Arc::clone(control)), handed_over: Arc::default() }
    }

    fn next(&mut self) -> std::io::Result<Bytes> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let taken = match &mut self.payload {
            Payload::Bytes(bytes) => bytes.split_to(wanted.min(bytes.len())),
            // A read of a local file within a poll: short, and only when an object is fetched back.
            Payload::File { file, .. } => {
                let mut buffer = vec![0; wanted.min(FILE_READ_BYTES)];
                let read = file.read(&mut buffer)?;
                buffer.truncate(read);
                Bytes::from(buffer)
            }
        };
        if taken.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= taken.len() as u64;
        Ok(taken)
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.left > 0 {
            return Poll::Ready(Some(self.next().map(Frame::data)));
        }
        match &self.cut {
            // Pending for ever: the HTTP server now flushes what it has, and that flush ends the connection.
            Some(control) => {
                control.cut.store(true, Ordering::Release);
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.cut.is_none()
    }

    /// Nothing is promised: the `Content-Length` header alone decides, even where it lies.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The HTTP server drops a body when it has taken it, or when the method or status forbids one; a flush then follows. It also drops
/// it when the connection ends, and then none does.
impl Drop for ReplyBody {
    fn drop(&mut self) {
        self.handed_over.store(true, Ordering::Release);
    }
}
