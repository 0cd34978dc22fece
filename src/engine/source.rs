//! The bytes of a part: read by offset from one open handle, counted, throttled, and never of two versions.
//!
//! The file is never memory-mapped: a file cut short must be an error, not a signal. Its identity is compared before the first
//! part, around every read, and before the commit, so a part that was read while the file changed is never sent as if it were
//! whole.
//!
//! A rename, a link or a change of its mode is not a change of the file, but shows in the same time of its inode as one that is
//! made to look like none. So what flows is hashed, and a file that was touched is compared with what was sent of it before the
//! host makes a file of that.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::host::{Frames, Part, PartSource};
use crate::job::digest::{Algorithm, Digest};
use crate::job::identity::Likeness;
use crate::job::plan::Range;
use crate::job::sent_hash::{RangeHasher, SentHash};
use crate::job::{Fingerprint, Identity, Reason, ReasonClass};
use crate::os::answers::Answers;
use crate::os::files::{self, Base, File, FileKind, Stat};
use crate::os::page_cache;
use crate::os::threads::Threads;

use super::bandwidth::Limits;
use super::gate::Gate;
use super::hasher::{Hasher, hex};
use super::live::Sent;

/// A part up to this size is read at once, before its request begins.
const PART_BYTES: u64 = 512 * 1024;
/// The most that is read at once of a larger part, and so the most that its request holds in memory.
const READ_BYTES: u64 = 256 * 1024;
/// The most that is hashed by a thread before it looks whether anybody still waits.
pub(super) const HASHED_BYTES: u64 = 4 * 1024 * 1024;
/// Files up to this size are read when they are opened.
const WHOLE_BYTES: u64 = 64 * 1024;
/// How often a file is compared that is touched again and again meanwhile.
pub(super) const COMPARISONS_MAX: u32 = 3;

/// Why the bytes of a file cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Reason::from(self.clone()))]
pub enum SourceError {
    /// There is no such file any more.
    Vanished,
    /// It is not the version that was settled: when that was noticed.
    Changed(&'static str),
    /// The operating system does not let us read it.
    Unreadable(String),
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if files::is_link(&error) => {
                SourceError::Changed("since it was queued: a symbolic link has replaced it or a folder above it")
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceError::Vanished,
            io::ErrorKind::UnexpectedEof => SourceError::Changed("while it was being read: it is shorter now"),
            _ => SourceError::Unreadable(error.to_string()),
        }
    }
}

impl From<SourceError> for Reason {
    fn from(error: SourceError) -> Reason {
        match error {
            SourceError::Vanished => Reason::new(ReasonClass::FileVanished),
            SourceError::Changed(when) => Reason::new(ReasonClass::FileChanged).detail(when),
            SourceError::Unreadable(error) => Reason::new(ReasonClass::FileUnreadable).detail(error),
        }
    }
}

/// A file held open for its upload.
#[derive(Clone)]
pub(crate) struct Source {
    open: Arc<OpenSource>,
    answers: Answers,
    limits: Limits,
    sent: Arc<Sent>,
    /// How the digest of each part is computed, where the host wants one.
    part_digest: Option<Algorithm>,
}

struct OpenSource {
    file: Arc<File>,
    answers: Answers,
    /// The folder from which the file is reached, also when it is looked at again.
    base: Base,
    path: PathBuf,
    /// What the file was when it was known for the last time that its content is what is being sent.
    identity: Mutex<Identity>,
    /// The hashes of ranges that have flowed whole, until somebody asks for them.
    hashes: Mutex<HashMap<Range, SentHash>>,
    /// All of a file that one read holds: it is read as it is opened, which spares small files a way to the disk.
    whole: Option<Bytes>,
    failed: Mutex<Option<SourceError>>,
}

/// Which version of which file is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// The folder from which the file is reached.
    pub base: Base,
    /// The file.
    pub path: PathBuf,
    /// The version.
    pub version: Identity,
    /// Whether nothing of it was sent yet: then a change of its inode alone (a `chmod`, a rename) does no harm. Otherwise it is
    /// opened as a file that was touched, which must be compared with what was sent.
    pub fresh: bool,
}

impl Source {
    /// Opens the file that is expected. Bytes that flow are added to `sent`.
    pub(crate) async fn open(expected: Expected, threads: Threads, limits: Limits, sent: Arc<Sent>) -> Result<Source, SourceError> {
        let answers = Answers::of(threads, expected.base.path());
        let open = match OpenSource::from_page_cache(&expected, &answers) {
            Some(open) => open,
            None => {
                let its = answers.clone();
                blocking(&answers, move || OpenSource::open(expected, its)).await?
            }
        };
        Ok(Source { open: Arc::new(open), answers, limits, sent, part_digest: None })
    }

    /// The same file, whose parts have their digests with them.
    pub(crate) fn with_part_digests(self, part_digest: Option<Algorithm>) -> Source {
        Source { part_digest, ..self }
    }

    /// The version that is being read.
    pub(crate) fn identity(&self) -> Identity {
        self.open.identity()
    }

    /// Makes sure that the file still has a name, and the size and time of the version that is being sent. Answers whether it was
    /// touched, and must be compared with what was sent.
    pub(crate) async fn check(&self) -> Result<bool, SourceError> {
        if self.open.is_untouched_in_cache() {
            return Ok(false);
        }
        let open = self.open.clone();
        blocking(&self.answers, move || open.check()).await
    }

    /// Compares a file that was touched with what was sent of it: the ranges `sent`, whose bytes had this hash. From here on it is
    /// untouched again.
    pub(crate) async fn compare(
        &self,
        sent: impl Iterator<Item = Range> + Clone,
        hash: Option<SentHash>,
    ) -> Result<(), SourceError> {
        let hash = hash.ok_or(SourceError::Changed(
            "while it was being uploaded: its inode has changed, and what was sent cannot be compared",
        ))?;
        let sent = &sent;
        let is_same = move || async move {
            let mut found = SentHash::default();
            for range in sent.clone() {
                found = found.and(self.hash(range).await?);
            }
            Ok(found == hash || planted!("resume.any_version"))
        };
        self.settle(is_same, "while it was being uploaded, and its time was set back").await
    }

    /// The same for a file that the host has by its digest: all that is in it is compared with that.
    pub(crate) async fn compare_digest(&self, digest: &Digest) -> Result<(), SourceError> {
        let is_same = move || async move { Ok(self.digest(digest.algorithm).await? == digest.hex) };
        self.settle(is_same, "after its digest was computed, and its time was set back").await
    }

    /// Makes a file that was touched an untouched one, if it is the same and nobody touches it meanwhile.
    async fn settle<F>(&self, is_same: impl Fn() -> F, changed: &'static str) -> Result<(), SourceError>
    where
        F: Future<Output = Result<bool, SourceError>>,
    {
        for _ in 0..COMPARISONS_MAX {
            let before = self.stat().await?;
            if !is_same().await? {
                return Err(SourceError::Changed(changed));
            }
            if self.stat().await? == before {
                *self.open.identity.lock().unwrap_or_else(PoisonError::into_inner) = before;
                return Ok(());
            }
        }
        Err(SourceError::Changed("while it was being uploaded, again and again"))
    }

    async fn stat(&self) -> Result<Identity, SourceError> {
        let open = self.open.clone();
        blocking(&self.answers, move || open.stat().map(|stat| Identity::from(stat.numbers))).await
    }

    async fn hash(&self, range: Range) -> Result<SentHash, SourceError> {
        let (mut hasher, mut done) = (RangeHasher::new(range.offset), 0);
        while done < range.bytes {
            let (open, offset, length) = (self.open.clone(), range.offset + done, READ_BYTES.min(range.bytes - done));
            // Not what was kept of it: what is there now.
            let bytes = blocking(&self.answers, move || open.read(offset, length)).await?;
            hasher.update(&bytes);
            done += bytes.len() as u64;
        }
        Ok(hasher.so_far())
    }

    /// The digest of what is there now.
    async fn digest(&self, algorithm: Algorithm) -> Result<String, SourceError> {
        let (mut hasher, mut done, size) = (Hasher::new(algorithm), 0, self.identity().size);
        while done < size {
            let (open, offset, length) = (self.open.clone(), done, READ_BYTES.min(size - done));
            let bytes = blocking(&self.answers, move || open.read(offset, length)).await?;
            hasher.update(&bytes);
            done += length;
        }
        Ok(hex(&hasher.finish()))
    }

    /// The hash of a range that has flowed, to be asked for once.
    pub(crate) fn take_hash(&self, range: Range) -> Option<SentHash> {
        self.open.hashes.lock().unwrap_or_else(PoisonError::into_inner).remove(&range)
    }

    /// The fingerprint of the content; nothing where it cannot be read, which will show again.
    pub(crate) async fn fingerprint(&self) -> Option<Fingerprint> {
        if let Some(whole) = &self.open.whole {
            return Some(Fingerprint::of(whole));
        }
        let open = self.open.clone();
        let read = move || {
            let size = open.identity().size;
            let fingerprint = Fingerprint::read(size, |block, offset| open.file.read_exact_at(block, offset))?;
            open.check_handle().map(|()| fingerprint)
        };
        blocking(&self.answers, read).await.ok()
    }

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

    async fn read_and_hash(&self, range: Range, mut hasher: Hasher) -> Result<(Bytes, Hasher), SourceError> {
        let open = self.open.clone();
        blocking(&self.answers, move || {
            let bytes = open.kept(range.offset, range.bytes).map_or_else(|| open.read(range.offset, range.bytes), Ok)?;
            hasher.update(&bytes);
            Ok((bytes, hasher))
        })
        .await
    }

    /// Adds a range to a digest, without a rest between its reads. Of no more than [`HASHED_BYTES`], so that whoever waits no more is noticed.
    pub(super) async fn digest_range(&self, range: Range, mut hasher: Hasher) -> Result<Hasher, SourceError> {
        let source = self.clone();
        blocking(&self.answers, move || {
            let mut buffer = vec![0; usize::try_from(READ_BYTES.min(range.bytes)).unwrap_or(0)];
            let (mut at, end) = (range.offset, range.offset + range.bytes);
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                source.read_into(at, &mut buffer[..length])?;
                hasher.update(&buffer[..length]);
                at += length as u64;
            }
            source.open.check_handle()?;
            Ok(hasher)
        })
        .await
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        match &self.open.whole {
            Some(whole) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
                let found = whole
                    .get(begin..begin + buffer.len())
                    .ok_or(SourceError::Changed("while it was being read: it is shorter now"))?;
                buffer.copy_from_slice(found);
            }
            None => self.open.file.read_exact_at(buffer, offset)?,
        }
        Ok(())
    }

    /// Makes sure that the handle still means the version that is being read.
    pub(crate) async fn check_handle(&self) -> Result<(), SourceError> {
        let open = self.open.clone();
        blocking(&self.answers, move || open.check_handle()).await
    }

    /// Why a part's bytes stopped coming, where it was the file's fault and not the network's.
    pub(crate) fn failure(&self) -> Option<SourceError> {
        self.open.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep_hash(&self, range: Range, hash: SentHash) {
        self.open.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(range, hash);
    }

    /// The bytes of this range, which a host wants to be told of.
    pub(crate) async fn sample(&self, range: std::ops::Range<u64>) -> Result<Vec<u8>, SourceError> {
        Ok(self.read(range.start, range.end.saturating_sub(range.start)).await?.to_vec())
    }

    async fn read(&self, offset: u64, bytes: u64) -> Result<Bytes, SourceError> {
        if let Some(kept) = self.open.kept(offset, bytes) {
            return Ok(kept);
        }
        let open = self.open.clone();
        blocking(&self.answers, move || open.read(offset, bytes)).await
    }
}

impl Drop for OpenSource {
    fn drop(&mut self) {
        self.answers.let_go(&self.file);
    }
}

impl OpenSource {
    fn open(expected: Expected, answers: Answers) -> Result<OpenSource, SourceError> {
        let file = expected.base.open(&expected.path)?;
        let mut held = OpenSource::of(file, expected, answers)?;
        let Identity { device, size, .. } = held.identity();
        page_cache::remember_filesystem(&held.file, device);
        if size <= WHOLE_BYTES {
            held.whole = Some(held.read(0, size)?);
        }
        Ok(held)
    }

    /// A small file that nothing has to be waited for, and nothing is wrong with.
    fn from_page_cache(expected: &Expected, answers: &Answers) -> Option<OpenSource> {
        let Expected { base, path, version, .. } = expected;
        let file = page_cache::open(base, path, version.device).filter(|_| version.size <= WHOLE_BYTES)?;
        let mut held = OpenSource::of(file, expected.clone(), answers.clone()).ok()?;
        held.whole = Some(page_cache::read(&held.file, held.identity().size)?.into());
        held.check_handle().ok().map(|()| held)
    }

    fn of(file: File, expected: Expected, answers: Answers) -> Result<OpenSource, SourceError> {
        let Expected { base, path, version, fresh } = expected;
        let stat = file.stat()?;
        let found = Identity::from(stat.numbers);
        let likeness = version.likeness(&found);
        if stat.kind != FileKind::File || matches!(likeness, Likeness::Other | Likeness::Coarser) {
            return Err(SourceError::Changed("since it was queued"));
        }
        let identity = if fresh { found } else { Identity { ctime_ns: version.ctime_ns, ..found } };
        let (identity, hashes, failed) = (Mutex::new(identity), Mutex::default(), Mutex::default());
        Ok(OpenSource { file: Arc::new(file), answers, base, path, identity, hashes, whole: None, failed })
    }

    fn identity(&self) -> Identity {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file system says of the open file. That a handle is not found says nothing of the file: some file systems forget
    /// theirs when a file is renamed.
    fn stat(&self) -> Result<Stat, SourceError> {
        self.file.stat().map_err(|error| SourceError::Unreadable(error.to_string()))
    }

    fn is_untouched_in_cache(&self) -> bool {
        let seen = page_cache::look(&self.base, &self.path, self.identity().device).is_some();
        seen && self.check() == Ok(false)
    }

    /// Answers whether it was touched.
    fn check(&self) -> Result<bool, SourceError> {
        let stat = self.stat()?;
        if stat.links == 0 {
            return Err(SourceError::Changed("while it was being uploaded: it was deleted, or another file has taken its place"));
        }
        self.judge(&stat)
    }

    fn check_handle(&self) -> Result<(), SourceError> {
        self.judge(&self.stat()?).map(drop)
    }

    fn judge(&self, stat: &Stat) -> Result<bool, SourceError> {
        match self.identity().likeness(&Identity::from(stat.numbers)) {
            Likeness::Same | Likeness::Renumbered => Ok(false),
            Likeness::Touched => Ok(true),
            Likeness::Coarser | Likeness::Other if planted!("source.numbers_only") => Ok(false),
            Likeness::Coarser | Likeness::Other => Err(SourceError::Changed("while it was being uploaded")),
        }
    }

    /// The bytes of a small file, which are in memory.
    fn kept(&self, offset: u64, bytes: u64) -> Option<Bytes> {
        let whole = self.whole.as_ref()?;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let end = begin.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX)).min(whole.len());
        Some(whole.slice(begin..end))
    }

    fn read(&self, offset: u64, bytes: u64) -> Result<Bytes, SourceError> {
        let read = || {
            let buffer = self.file.read_at(usize::try_from(bytes).unwrap_or(0), offset)?;
            self.check_handle()?;
            Ok(Bytes::from(buffer))
        };
        read().inspect_err(|error| self.note_failure(error))
    }

    fn note_failure(&self, error: &SourceError) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }
}

async fn blocking<T: Send + 'static>(
    answers: &Answers,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    answers.get(work).await.unwrap_or_else(|error| Err(SourceError::Unreadable(error.to_string())))
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
            && let Err(error) = self.compare_whole_body().await
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
    async fn compare_whole_body(&self) -> Result<(), SourceError> {
        let sent = Range { offset: 0, bytes: self.offset };
        let is_whole = self.range == Range { offset: 0, bytes: self.source.identity().size };
        if is_whole && sent.bytes > 0 && self.source.check().await? {
            let compared = self.source.compare(std::iter::once(sent), Some(self.hasher.so_far())).await;
            return compared.inspect_err(|error| self.source.open.note_failure(error));
        }
        Ok(())
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

/// The name a host is given: the file's own, without control characters, never empty, never one that means a folder.
pub(crate) fn remote_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(OsStr::new("file")).to_string_lossy();
    name.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}

/// A short text that is another one for every version of every file: where it is, its size, and when it was written, digested.
pub(crate) fn version(path: &Path, identity: &Identity) -> String {
    use sha2::{Digest, Sha256};
    let Identity { size, mtime_ns, .. } = identity;
    let mut digest = Sha256::new();
    digest.update(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    digest.update(format!("\0{size} {mtime_ns}"));
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "it is another user that renames here")]

    use super::*;
    use std::os::unix::fs::symlink;

    struct Place {
        _dir: tempfile::TempDir,
        top: PathBuf,
        private: PathBuf,
    }

    /// A watched folder with a folder in it, and a folder that is nobody else's business; a file of the same name is in both.
    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let (top, private) = (dir.path().join("top"), dir.path().join("private"));
        for folder in [top.join("sub"), private.clone()] {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("file"), format!("{folder:?}")).unwrap();
        }
        Place { _dir: dir, top, private }
    }

    impl Place {
        /// Puts a link to the private folder in the place of the other.
        fn swap(&self) {
            std::fs::rename(self.top.join("sub"), self.top.join("aside")).unwrap();
            symlink(&self.private, self.top.join("sub")).unwrap();
        }

        /// Opens the file, as the version that `other` has, as if that had been queued.
        async fn open(&self, follow: bool, other: &Path) -> Result<Source, SourceError> {
            let version = Identity::of(&std::fs::metadata(other.join("file")).unwrap());
            let expected = Expected { base: Base::new(&self.top, follow), path: self.top.join("sub/file"), version, fresh: true };
            Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await
        }
    }

    async fn bytes_of(part: &Part) -> Vec<u8> {
        let mut frames = part.source.frames();
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| frames.as_mut().poll_frame(cx)).await {
            bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        bytes
    }

    #[tokio::test]
    async fn a_part_has_the_digest_of_its_own_bytes_and_only_where_the_host_wants_one() {
        use sha2::Digest;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        // In memory, in one read, and in several with a rest.
        for size in [WHOLE_BYTES, PART_BYTES, 3 * PART_BYTES + 7] {
            let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &content).unwrap();
            let version = Identity::of(&std::fs::metadata(&path).unwrap());
            let expected = Expected { base: Base::new(dir.path(), false), path: path.clone(), version, fresh: true };
            let source = Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap();
            for (offset, bytes) in [(0, size), (3, size - 5), (size, 0), (5, 1)] {
                let range = Range { offset, bytes };
                let wanted = &content[offset as usize..(offset + bytes) as usize];
                assert_eq!(source.part(0, range).await.unwrap().digest, None);
                let with = |algorithm| source.clone().with_part_digests(Some(algorithm));
                let part = with(Algorithm::Sha256).part(0, range).await.unwrap();
                assert_eq!(part.digest, Some(sha2::Sha256::digest(wanted).to_vec()), "{range:?} of {size}");
                assert!(bytes_of(&part).await == wanted && bytes_of(&part).await == wanted, "{range:?} of {size}");
                let part = with(Algorithm::Md5).part(0, range).await.unwrap();
                assert_eq!(part.digest, Some(md5::Md5::digest(wanted).to_vec()), "{range:?} of {size}");
            }
        }
    }

    #[tokio::test]
    async fn a_part_that_fits_into_one_read_is_not_read_again_after_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; PART_BYTES as usize]).unwrap();
        let version = Identity::of(&std::fs::metadata(&path).unwrap());
        let expected = Expected { base: Base::new(dir.path(), false), path: path.clone(), version, fresh: true };
        let source = Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap();
        let part = source.with_part_digests(Some(Algorithm::Md5)).part(0, Range { offset: 0, bytes: PART_BYTES }).await.unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(bytes_of(&part).await, vec![7; PART_BYTES as usize]);
    }

    #[tokio::test]
    async fn a_folder_that_has_become_a_link_is_not_read_through() {
        let place = place();
        assert!(place.open(false, &place.top.join("sub")).await.is_ok());
        place.swap();
        // Even if the version behind the link is the very one that was queued.
        let refused = place.open(false, &place.private).await.map(drop).unwrap_err();
        assert!(matches!(&refused, SourceError::Changed(how) if how.contains("symbolic link")), "{refused}");
        assert!(place.open(true, &place.private).await.is_ok(), "where links are followed it is");
    }

    /// A file of several reads, open to be sent.
    async fn large_file(path: &Path, fresh: bool) -> (Vec<u8>, Source) {
        let content: Vec<u8> = (0..3 * PART_BYTES).map(|i| (i % 251) as u8).collect();
        std::fs::write(path, &content).unwrap();
        let version = Identity::of(&std::fs::metadata(path).unwrap());
        let base = Base::new(path.parent().unwrap(), false);
        let expected = Expected { base, path: path.to_owned(), version, fresh };
        (content, Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap())
    }

    /// Changes the time of an inode's last change as an attribute does, in the next tick of the clock that stamps it.
    fn touch(path: &Path) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let ctime = || std::fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec())).unwrap();
        let before = ctime();
        for mode in [0o600, 0o640].iter().cycle().take_while(|_| ctime() == before) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
    }

    /// Writes one byte and sets the time of the last change back.
    fn change_unseen(path: &Path, at: u64) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        touch(path);
        file.write_all_at(b"!", at).unwrap();
        file.set_modified(before).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_renamed_linked_or_touched_while_it_is_sent_is_the_same_when_it_has_been_compared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (content, source) = large_file(&path, true).await;
        let sent = Range { offset: 5, bytes: PART_BYTES + 9 };
        bytes_of(&source.part(0, sent).await.unwrap()).await;
        let hash = source.take_hash(sent);
        assert_eq!(source.check().await, Ok(false));
        touch(&path);
        std::fs::hard_link(&path, dir.path().join("other")).unwrap();
        std::fs::rename(&path, dir.path().join("renamed")).unwrap();
        assert_eq!(source.check().await, Ok(true));
        let rest = Range { offset: 5 + sent.bytes, bytes: 7 };
        assert_eq!(bytes_of(&source.part(1, rest).await.unwrap()).await, content[rest.offset as usize..][..7], "and is read on");
        assert_eq!(source.compare(std::iter::once(sent), hash).await, Ok(()));
        assert_eq!((source.check().await, source.identity().ctime_ns > 0), (Ok(false), true));
        assert!(source.compare(std::iter::once(sent), None).await.is_err(), "what was sent is not known");
    }

    #[tokio::test]
    async fn a_change_of_what_was_sent_shows_though_its_time_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (_, source) = large_file(&path, true).await;
        let sent = Range { offset: 0, bytes: 2 * PART_BYTES };
        bytes_of(&source.part(0, sent).await.unwrap()).await;
        let hash = source.take_hash(sent);
        assert_eq!((hash.is_some(), source.take_hash(sent)), (true, None), "it is asked for once");
        change_unseen(&path, PART_BYTES);
        assert_eq!(source.check().await, Ok(true));
        let refused = source.compare(std::iter::once(sent), hash).await.unwrap_err();
        assert!(matches!(refused, SourceError::Changed(how) if how.contains("set back")));
        assert_eq!(source.check().await, Ok(true), "it is as doubtful as before");
    }

    #[tokio::test]
    async fn the_last_bytes_of_a_whole_body_go_only_if_those_before_them_are_still_in_the_file() {
        for changed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let (content, source) = large_file(&path, true).await;
            let part = source.part(0, Range { offset: 0, bytes: content.len() as u64 }).await.unwrap();
            let (mut frames, mut sent) = (part.source.frames(), 0);
            while sent < 2 * PART_BYTES {
                let frame = std::future::poll_fn(|cx| frames.as_mut().poll_frame(cx)).await.unwrap().unwrap();
                sent += frame.into_data().unwrap().len() as u64;
            }
            if changed {
                change_unseen(&path, 7)
            } else {
                touch(&path)
            }
            let mut failed = false;
            while let Some(frame) = std::future::poll_fn(|cx| frames.as_mut().poll_frame(cx)).await {
                match frame {
                    Ok(frame) => sent += frame.into_data().unwrap().len() as u64,
                    Err(_) => {
                        failed = true;
                        break;
                    }
                }
            }
            assert_eq!((failed, sent == content.len() as u64), (changed, !changed));
            assert_eq!(source.failure().is_some(), changed);
        }
    }

    #[tokio::test]
    async fn a_file_that_was_touched_since_its_parts_were_sent_is_opened_as_one_to_be_compared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 100]).unwrap();
        let version = Identity::of(&std::fs::metadata(&path).unwrap());
        touch(&path);
        let open = |fresh| {
            let expected = Expected { base: Base::new(dir.path(), false), path: path.clone(), version, fresh };
            Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default())
        };
        assert_eq!(open(true).await.unwrap().check().await, Ok(false));
        assert_eq!(open(false).await.unwrap().check().await, Ok(true));
    }

    #[tokio::test]
    async fn a_file_that_is_deleted_or_replaced_while_it_is_sent_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for replaced in [false, true] {
            let (content, source) = large_file(&path, true).await;
            if replaced {
                std::fs::write(dir.path().join("new"), content).unwrap();
                std::fs::rename(dir.path().join("new"), &path).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
            assert!(matches!(source.check().await, Err(SourceError::Changed(how)) if how.contains("deleted")), "{replaced}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_swapped_for_a_link_while_its_file_is_sent_leads_nowhere_else() {
        let place = place();
        let source = place.open(false, &place.top.join("sub")).await.unwrap();
        place.swap();
        assert_eq!(source.check().await, Ok(false), "the file that is open has been moved, and is the same");
        let own = format!("{:?}", place.top.join("sub"));
        let part = source.part(0, Range { offset: 0, bytes: own.len() as u64 }).await.unwrap();
        assert_eq!(bytes_of(&part).await, own.as_bytes(), "of the file in the watched folder");
    }
}
