//! The bytes of a part as a request sends them: counted, throttled, hashed, and the last ones behind a gate.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::engine::gate::Gate;
use crate::engine::hasher::Hasher;
use crate::host::{Frames, Part, PartSource};
use crate::job::Fingerprint;
use crate::job::digest::Algorithm;
use crate::job::plan::Range;
use crate::job::sent_hash::RangeHasher;

use super::{HASHED_BYTES, READ_BYTES, Source, SourceError};

/// A part up to this size is read at once, before its request begins.
pub(super) const PART_BYTES: u64 = 512 * 1024;

impl Source {
    /// The part `number` at `range`. A part that fits into one read is read here and now, so that its request never waits for a
    /// disk.
    pub(crate) async fn part(&self, number: u32, range: Range) -> Result<Part, SourceError> {
        self.part_behind(number, range, None).await
    }

    /// The same, but its last bytes go only when `gate` has been passed.
    pub(crate) async fn part_behind(&self, number: u32, range: Range, gate: Option<Arc<Gate>>) -> Result<Part, SourceError> {
        let (start, digest) = match self.part_digest {
            Some(algorithm) => self.read_for_digest(range, algorithm).await?,
            None if range.bytes <= PART_BYTES => (Some(self.read(range.offset, range.bytes).await?), None),
            None => (None, None),
        };
        let source = PartBytes { source: self.clone(), range, start, gate };
        Ok(Part { number, offset: range.offset, bytes: range.bytes, digest, source: Arc::new(source) })
    }

    /// Reads a part and computes its digest, piece by piece, so that it ends soon when nobody waits any more. A part that fits into
    /// one read is kept; a larger one is read again as it is sent, since many of them do not fit into memory.
    async fn read_for_digest(&self, range: Range, algorithm: Algorithm) -> Result<(Option<Bytes>, Option<Vec<u8>>), SourceError> {
        let mut hasher = Hasher::new(algorithm);
        if range.bytes <= PART_BYTES {
            let (bytes, hasher) = self.read_and_hash(range, hasher).await?;
            return Ok((Some(bytes), Some(hasher.finish())));
        }
        let mut done = 0;
        while done < range.bytes {
            let piece = Range { offset: range.offset + done, bytes: HASHED_BYTES.min(range.bytes - done) };
            hasher = self.digest_range(piece, hasher).await?;
            done += piece.bytes;
        }
        Ok((None, Some(hasher.finish())))
    }
}

/// One part's bytes, as often as they are asked for.
struct PartBytes {
    source: Source,
    range: Range,
    start: Option<Bytes>,
    gate: Option<Arc<Gate>>,
}

impl PartSource for PartBytes {
    fn frames(&self) -> Frames {
        self.frames_of(0, self.range.bytes)
    }

    fn frames_of(&self, offset: u64, bytes: u64) -> Frames {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = begin.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        let ready = self.start.as_ref().map(|start| start.slice(begin.min(start.len())..end.min(start.len())));
        let last = offset + bytes == self.range.bytes;
        let cursor = Cursor {
            source: self.source.clone(),
            offset: self.range.offset + offset,
            left: bytes,
            ready: ready.unwrap_or_default(),
            gate: self.gate.clone().filter(|_| last),
            range: Range { offset: self.range.offset + offset, bytes },
            hasher: RangeHasher::new(self.range.offset + offset),
        };
        Box::pin(Reading { next: Mutex::new(Box::pin(cursor.next())), left: bytes })
    }
}

/// Where a reading stands.
struct Cursor {
    source: Source,
    offset: u64,
    left: u64,
    ready: Bytes,
    gate: Option<Arc<Gate>>,
    /// What it reads, and the hash of what it has read.
    range: Range,
    hasher: RangeHasher,
}

impl Cursor {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Cursor)> {
        if self.left == 0 {
            return None;
        }
        if self.ready.is_empty() {
            match self.source.read(self.offset, self.left.min(READ_BYTES)).await {
                Ok(bytes) => self.ready = bytes,
                Err(error) => return Some((Err(io::Error::other(error)), self)),
            }
        }
        let bytes = match self.source.limits.piece() {
            None => std::mem::take(&mut self.ready),
            Some(piece) => self.ready.split_to(self.ready.len().min(piece)),
        };
        let length = bytes.len() as u64;
        self.source.limits.take(length).await;
        if length == self.left
            && let Err(error) = self.compare_whole_body(&bytes).await
        {
            return Some((Err(io::Error::other(error)), self));
        }
        self.hasher.update(&bytes);
        self.offset += length;
        self.left -= length;
        if self.left == 0 {
            self.source.keep_hash(self.range, self.hasher.so_far());
        }
        if let Some(gate) = self.gate.as_ref().filter(|_| self.left == 0)
            && let Err(error) = gate.pass().await
        {
            return Some((Err(error), self));
        }
        self.source.sent.flow(length);
        Some((Ok(bytes), self))
    }

    /// The last bytes of a body that is the whole file are also its finish, so a file that was touched is compared before they go.
    async fn compare_whole_body(&self, last: &[u8]) -> Result<(), SourceError> {
        let source = &self.source;
        if self.range != (Range { offset: 0, bytes: source.identity().size }) {
            return Ok(());
        }
        let compared = match self.offset {
            0 => source.compare_recorded(Fingerprint::of(last)),
            sent if source.check().await? => self.compare_sent(sent).await,
            _ => Ok(()),
        };
        compared.inspect_err(|error| source.open.note_failure(error))
    }

    async fn compare_sent(&self, bytes: u64) -> Result<(), SourceError> {
        let sent = Range { offset: 0, bytes };
        self.source.compare(std::iter::once(sent), Some(self.hasher.so_far())).await?;
        self.source.compare_recorded(self.source.fingerprint().await?)
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(io::Result<Bytes>, Cursor)>> + Send>>;

/// A reading as the transport wants it.
struct Reading {
    /// Only ever reached through `&mut`: the lock makes it `Sync`, and is never taken.
    next: Mutex<Next>,
    left: u64,
}

impl Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = self.next.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some((bytes, cursor)) = ready!(next.as_mut().poll(cx)) else { return Poll::Ready(None) };
        self.left = cursor.left;
        self.next = Mutex::new(Box::pin(cursor.next()));
        Poll::Ready(Some(bytes.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
