//! The bytes of a part: read by offset from one open handle, counted, throttled, and never of two versions.
//!
//! The file is never memory-mapped: a file cut short must be an error, not a signal. Its identity is compared before the first
//! part, around every read, and before the commit, so a part that was read while the file changed is never sent as if it were
//! whole.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::host::{Frames, Part, PartSource};
use crate::job::digest::Algorithm;
use crate::job::plan::Range;
use crate::job::{Identity, Reason, ReasonClass};
use crate::os::answers::Answers;
use crate::os::files::{self, Base, File, FileKind, Stat};
use crate::os::page_cache;
use crate::os::threads::Threads;

use super::bandwidth::Limits;
use super::gate::Gate;
use super::hasher::Hasher;

/// A part up to this size is read at once, before its request begins.
const PART_BYTES: u64 = 512 * 1024;
/// The most that is read at once of a larger part, and so the most that its request holds in memory.
const READ_BYTES: u64 = 256 * 1024;
/// Files up to this size are read when they are opened.
const WHOLE_BYTES: u64 = 64 * 1024;
/// What flows at once under a limit, so that a slow line is used evenly.
const THROTTLED_BYTES: usize = 16 * 1024;

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
    sent: Arc<AtomicU64>,
    /// How the digest of each part is computed, where the host wants one.
    part_digest: Option<Algorithm>,
}

struct OpenSource {
    file: File,
    /// The folder from which the file is reached, also when it is looked at again.
    base: Base,
    path: PathBuf,
    identity: Identity,
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
    /// Whether nothing of it was sent yet: then a change of its inode alone (a `chmod`, a rename) does no harm.
    pub fresh: bool,
}

impl Source {
    /// Opens the file that is expected. Bytes that flow are added to `sent`.
    pub(crate) async fn open(
        expected: Expected,
        threads: Threads,
        limits: Limits,
        sent: Arc<AtomicU64>,
    ) -> Result<Source, SourceError> {
        let answers = Answers::of(threads, expected.base.path());
        let open = match OpenSource::from_page_cache(&expected) {
            Some(open) => open,
            None => blocking(&answers, move || OpenSource::open(expected)).await?,
        };
        Ok(Source { open: Arc::new(open), answers, limits, sent, part_digest: None })
    }

    /// The same file, whose parts have their digests with them.
    pub(crate) fn with_part_digests(self, part_digest: Option<Algorithm>) -> Source {
        Source { part_digest, ..self }
    }

    /// The version that is being read.
    pub(crate) fn identity(&self) -> Identity {
        self.open.identity
    }

    /// Makes sure that the handle and the path still mean the version that is being sent.
    pub(crate) async fn check(&self) -> Result<(), SourceError> {
        if self.open.is_unchanged_in_cache() {
            return Ok(());
        }
        let open = self.open.clone();
        blocking(&self.answers, move || open.check()).await
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
        let fits = range.bytes <= PART_BYTES;
        let (mut hasher, mut bytes, mut done) = (Hasher::new(algorithm), Bytes::new(), 0);
        while done < range.bytes {
            let length = if fits { range.bytes } else { READ_BYTES.min(range.bytes - done) };
            (bytes, hasher) = self.read_and_hash(range.offset + done, length, hasher).await?;
            done += length;
        }
        Ok((fits.then_some(bytes), Some(hasher.finish())))
    }

    async fn read_and_hash(&self, offset: u64, bytes: u64, mut hasher: Hasher) -> Result<(Bytes, Hasher), SourceError> {
        let open = self.open.clone();
        blocking(&self.answers, move || {
            let bytes = open.kept(offset, bytes).map_or_else(|| open.read(offset, bytes), Ok)?;
            hasher.update(&bytes);
            Ok((bytes, hasher))
        })
        .await
    }

    /// Fills `buffer` from `offset` on, and hashes it; the identity is compared by [`Source::check_handle`] at the end.
    pub(super) async fn hash(
        &self,
        offset: u64,
        mut buffer: Vec<u8>,
        mut hasher: Hasher,
    ) -> Result<(Vec<u8>, Hasher), SourceError> {
        let source = self.clone();
        blocking(&self.answers, move || {
            source.read_into(offset, &mut buffer)?;
            hasher.update(&buffer);
            Ok((buffer, hasher))
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

    async fn read(&self, offset: u64, bytes: u64) -> Result<Bytes, SourceError> {
        if let Some(kept) = self.open.kept(offset, bytes) {
            return Ok(kept);
        }
        let open = self.open.clone();
        blocking(&self.answers, move || open.read(offset, bytes)).await
    }
}

impl OpenSource {
    fn open(expected: Expected) -> Result<OpenSource, SourceError> {
        let file = expected.base.open(&expected.path)?;
        let mut held = OpenSource::of(file, expected)?;
        page_cache::remember_filesystem(&held.file, held.identity.device);
        if held.identity.size <= WHOLE_BYTES {
            held.whole = Some(held.read(0, held.identity.size)?);
        }
        Ok(held)
    }

    /// A small file that nothing has to be waited for, and nothing is wrong with.
    fn from_page_cache(expected: &Expected) -> Option<OpenSource> {
        let Expected { base, path, version, .. } = expected;
        let file = page_cache::open(base, path, version.device).filter(|_| version.size <= WHOLE_BYTES)?;
        let mut held = OpenSource::of(file, expected.clone()).ok()?;
        held.whole = Some(page_cache::read(&held.file, held.identity.size)?.into());
        held.check_handle().ok().map(|()| held)
    }

    fn of(file: File, expected: Expected) -> Result<OpenSource, SourceError> {
        let Expected { base, path, version, fresh } = expected;
        let stat = file.stat()?;
        let identity = Identity::from(stat.numbers);
        let same = if fresh { version.same_version(&identity) } else { version.may_be_completed_by(&identity) };
        let same = same || (planted!("resume.any_version") && !fresh);
        if stat.kind == FileKind::File && same {
            Ok(OpenSource { file, base, path, identity, whole: None, failed: Mutex::new(None) })
        } else {
            Err(SourceError::Changed("since it was queued"))
        }
    }

    fn is_unchanged_in_cache(&self) -> bool {
        let named = page_cache::look(&self.base, &self.path, self.identity.device).map(|stat| Identity::from(stat.numbers));
        named == Some(self.identity) && self.check_handle().is_ok()
    }

    fn check(&self) -> Result<(), SourceError> {
        self.check_handle()?;
        if self.is_the_version(&self.base.look(&self.path)?) {
            Ok(())
        } else {
            Err(SourceError::Changed("while it was being uploaded: another file now has its name, or it is gone"))
        }
    }

    fn check_handle(&self) -> Result<(), SourceError> {
        if self.is_the_version(&self.file.stat()?) { Ok(()) } else { Err(SourceError::Changed("while it was being uploaded")) }
    }

    fn is_the_version(&self, found: &Stat) -> bool {
        let found = Identity::from(found.numbers);
        found == self.identity || (planted!("source.numbers_only") && found.same_numbers(&self.identity))
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
            let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
            self.file.read_exact_at(&mut buffer, offset)?;
            self.check_handle()?;
            Ok(Bytes::from(buffer))
        };
        read().inspect_err(|error: &SourceError| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        })
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
        let bytes = if self.source.limits.is_unlimited() {
            std::mem::take(&mut self.ready)
        } else {
            self.ready.split_to(self.ready.len().min(THROTTLED_BYTES))
        };
        let length = bytes.len() as u64;
        self.source.limits.take(length).await;
        self.offset += length;
        self.left -= length;
        if let Some(gate) = self.gate.as_ref().filter(|_| self.left == 0)
            && let Err(error) = gate.pass().await
        {
            return Some((Err(error), self));
        }
        self.source.sent.fetch_add(length, Ordering::Relaxed);
        Some((Ok(bytes), self))
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

    #[tokio::test]
    async fn a_file_whose_folder_becomes_a_link_while_it_is_sent_has_changed() {
        let place = place();
        let source = place.open(false, &place.top.join("sub")).await.unwrap();
        source.check().await.unwrap();
        // The same file is behind the link, so only the link tells.
        std::fs::rename(place.top.join("sub"), place.top.join("aside")).unwrap();
        symlink("aside", place.top.join("sub")).unwrap();
        let refused = source.check().await.unwrap_err();
        assert!(matches!(&refused, SourceError::Changed(how) if how.contains("symbolic link")), "{refused}");
    }
}
