//! Bodies on their way, and what watches that they move.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::super::error::HostError;
use super::super::{Frames, PartSource};
use crate::job::upload::Class;

/// Bytes of a part: its source, and which of them.
#[derive(Clone, Copy)]
pub(super) struct PartSlice<'a> {
    pub(super) source: &'a dyn PartSource,
    /// All of them where there is no offset; the length is that of what flows, which an encoding may make longer.
    pub(super) offset: Option<u64>,
    pub(super) bytes: u64,
}

impl PartSlice<'_> {
    fn frames(&self) -> Frames {
        self.offset.map_or_else(|| self.source.frames(), |offset| self.source.frames_of(offset, self.bytes))
    }
}

/// What moves in one exchange.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    /// Whether the connection would take more than we have.
    waits_for_us: AtomicBool,
}

impl Meter {
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn moved(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Gives up when nothing has moved for `idle`; a slow transfer that goes on may take as long as it needs.
pub(super) async fn watched<T>(
    exchange: impl Future<Output = Result<T, HostError>>,
    meter: &Meter,
    idle: Duration,
) -> Result<T, HostError> {
    tokio::pin!(exchange);
    let mut seen = 0;
    loop {
        match tokio::time::timeout(idle, &mut exchange).await {
            Ok(result) => return result,
            Err(_) if meter.moved() != seen => seen = meter.moved(),
            // It is we who keep the host waiting: a slow disk, or a limit on the rate.
            Err(_) if meter.waits_for_us.load(Ordering::Relaxed) => {}
            Err(_) => {
                let said = format!("no data was transferred for {} s", idle.as_secs());
                return Err(HostError::unanswered(Class::Transient, said));
            }
        }
    }
}

/// A body on its way: a text, the bytes of a part as they come, a text. Counts what the connection has taken.
pub(super) struct Around {
    head: Option<Bytes>,
    file: Option<Frames>,
    tail: Option<Bytes>,
    pub(super) left: u64,
    meter: Arc<Meter>,
}

impl Around {
    pub(super) fn new(head: Bytes, file: Option<PartSlice<'_>>, tail: Bytes, meter: Arc<Meter>) -> Around {
        let left = head.len() as u64 + file.map_or(0, |file| file.bytes) + tail.len() as u64;
        let full = |text: Bytes| Some(text).filter(|text| !text.is_empty());
        Around { head: full(head), file: file.map(|file| file.frames()), tail: full(tail), left, meter }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        if let Some(file) = &mut self.file {
            match std::task::ready!(file.as_mut().poll_frame(cx)) {
                Some(frame) => return Poll::Ready(Some(frame.map(|frame| frame.into_data().unwrap_or_default()))),
                None => self.file = None,
            }
        }
        Poll::Ready(self.tail.take().map(Ok))
    }
}

impl Body for Around {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let next = self.poll_next(cx);
        self.meter.waits_for_us.store(next.is_pending(), Ordering::Relaxed);
        let next = std::task::ready!(next);
        if let Some(Ok(bytes)) = &next {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            self.meter.add(bytes.len());
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
