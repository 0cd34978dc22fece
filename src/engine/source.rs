//! A file that is sent: which version it is, what of it has flowed, and whether that is still in it.
//!
//! Its identity is compared before the first part, around every read, and before the commit, so a part that was read while the file
//! changed is never sent as if it were whole.
//!
//! A rename, a link or a change of its mode is not a change of the file, but shows in the same time of its inode as one that is
//! made to look like none. So what flows is hashed, and a file that was touched is compared with what was sent of it before the
//! host makes a file of that.

mod body;
mod open;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use crate::job::digest::{Algorithm, Digest};
use crate::job::plan::Range;
use crate::job::sent_hash::{RangeHasher, SentHash};
use crate::job::{Fingerprint, Identity};
use crate::os::answers::Answers;
use crate::os::threads::Threads;

use super::bandwidth::Limits;
use super::hasher::{Hasher, hex};
use super::live::Sent;

use open::OpenSource;
pub(crate) use open::{Expected, SourceError};

/// The most that is read at once of a part that does not fit into one read, and so the most that its request holds in memory.
const READ_BYTES: u64 = 256 * 1024;
/// The most that is hashed by a thread before it looks whether anybody still waits.
pub(super) const HASHED_BYTES: u64 = 4 * 1024 * 1024;
/// How often a file is compared that is touched again and again meanwhile.
pub(super) const COMPARISONS_MAX: u32 = 3;

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

    /// Notes what was recorded of the content before anything of it flows, by which the other hosts know the version.
    pub(crate) fn note_recorded(&self, fingerprint: Option<Fingerprint>) {
        *self.open.recorded.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
    }

    /// Makes sure that what flows has the fingerprint that was recorded. Somebody may have changed the file in between, and what flowed is
    /// of one version all the same.
    fn compare_recorded(&self, flows: Fingerprint) -> Result<(), SourceError> {
        let recorded = *self.open.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        match recorded {
            Some(recorded) if flows != recorded => Err(SourceError::Changed("when its upload began, and its time was set back")),
            _ => Ok(()),
        }
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

    /// The fingerprint of the content. Where it cannot be read, nothing is known of the content: a file that was touched is not taken for
    /// the same one then, nor for another one.
    pub(crate) async fn fingerprint(&self) -> Result<Fingerprint, SourceError> {
        if let Some(whole) = &self.open.whole {
            return Ok(Fingerprint::of(whole));
        }
        let open = self.open.clone();
        let read = move || {
            let size = open.identity().size;
            let fingerprint = Fingerprint::read(size, |block, offset| open.file.read_exact_at(block, offset))?;
            open.check_handle().map(|()| fingerprint)
        };
        blocking(&self.answers, read).await
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

async fn blocking<T: Send + 'static>(
    answers: &Answers,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    answers.get(work).await.unwrap_or_else(|error| Err(SourceError::Unreadable(error.to_string())))
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
mod tests;
