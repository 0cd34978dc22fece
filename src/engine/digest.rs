//! The digest of a file, computed in one pass on a thread of its own, while parts are sent.
//!
//! The inner states at the borders between parts are told as they come, so that a part can go as soon as everything before it is hashed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use md5::Md5;
use sha2::Sha256;
use sha2::digest::common::hazmat::SerializableState;
use tokio::sync::watch;

use crate::job::plan::Plan;
use crate::job::upload::{Algorithm, Borders, Digest, Words};

use super::source::{Source, SourceError};

/// How much is hashed at once.
const READ_BYTES: u64 = 256 * 1024;

/// A digest that is known, or on its way. Dropped, it stops.
pub struct Digesting {
    borders: Arc<Borders>,
    progress: watch::Receiver<Progress>,
    stopped: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum Progress {
    /// So many borders are known.
    Borders(usize),
    /// All is known.
    Whole(String),
    /// The file is not what it was, or cannot be read.
    Failed(SourceError),
}

impl Digesting {
    /// Begins to read `source` from its first byte.
    pub fn start(source: Source, plan: Plan, algorithm: Algorithm) -> Digesting {
        let borders = Arc::new(Borders::default());
        let (tell, progress) = watch::channel(Progress::Borders(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let threads = source.threads();
        let pass = Pass { source, plan, borders: borders.clone(), tell, stopped: stopped.clone() };
        // Nobody waits for the work itself: it tells what it has.
        threads.start(move || pass.run(algorithm));
        Digesting { borders, progress, stopped }
    }

    /// A digest that an earlier claim has computed.
    pub fn known(digest: &Digest) -> Digesting {
        let borders = Borders::default();
        digest.borders.iter().for_each(|words| borders.push(*words));
        let (_, progress) = watch::channel(Progress::Whole(digest.hex.clone()));
        Digesting { borders: Arc::new(borders), progress, stopped: Arc::default() }
    }

    /// The states at the borders, as far as they are known.
    pub fn borders(&self) -> Arc<Borders> {
        self.borders.clone()
    }

    /// Waits until the state before part `number` is known.
    pub async fn before_part(&self, number: u32) -> Result<(), SourceError> {
        self.wait(|progress| matches!(progress, Progress::Borders(known) if *known < number as usize)).await.map(drop)
    }

    /// Waits for the whole digest.
    pub async fn whole(&self) -> Result<Digest, SourceError> {
        match self.wait(|progress| matches!(progress, Progress::Borders(_))).await? {
            Progress::Whole(hex) => Ok(Digest { hex, borders: self.borders.all() }),
            _ => Err(ended()),
        }
    }

    async fn wait(&self, too_early: impl Fn(&Progress) -> bool) -> Result<Progress, SourceError> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| !too_early(progress)).await.map_err(|_| ended())?.clone();
        match reached {
            Progress::Failed(error) => Err(error),
            other => Ok(other),
        }
    }
}

impl Drop for Digesting {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn ended() -> SourceError {
    SourceError::Unreadable("our own reader failed".into())
}

/// One pass over a file.
struct Pass {
    source: Source,
    plan: Plan,
    borders: Arc<Borders>,
    tell: watch::Sender<Progress>,
    stopped: Arc<AtomicBool>,
}

impl Pass {
    fn run(self, algorithm: Algorithm) {
        let hashed = match algorithm {
            Algorithm::Md5 => self.hash(Md5Pass(Md5::default())),
            Algorithm::Sha256 => self.hash(Sha256Pass(Sha256::default())),
        };
        let last = match hashed {
            Ok(hex) => Progress::Whole(hex),
            Err(error) => Progress::Failed(error),
        };
        self.tell.send_replace(last);
    }

    fn hash(&self, mut hasher: impl Hasher) -> Result<String, SourceError> {
        let Plan { file_bytes, part_bytes } = self.plan;
        let mut buffer = vec![0; usize::try_from(READ_BYTES.min(file_bytes)).unwrap_or(0)];
        let (mut at, mut known) = (0, 0);
        while at < file_bytes {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(SourceError::Unreadable("nobody waits for the digest any more".into()));
            }
            let to_border = part_bytes - at % part_bytes;
            let length = READ_BYTES.min(to_border).min(file_bytes - at);
            let piece = &mut buffer[..usize::try_from(length).unwrap_or(0)];
            self.source.read_into(at, piece)?;
            hasher.update(piece);
            at += length;
            // The end of the file is no border.
            if length == to_border && at < file_bytes {
                known += 1;
                if let Some(words) = hasher.words() {
                    self.borders.push(words);
                }
                self.tell.send_replace(Progress::Borders(known));
            }
        }
        self.source.check_handle()?;
        Ok(hasher.end())
    }
}

/// A digest algorithm under way.
trait Hasher {
    fn update(&mut self, bytes: &[u8]);
    /// The inner state, where the host wants to see it.
    fn words(&self) -> Option<Words>;
    fn end(self) -> String;
}

struct Md5Pass(Md5);

impl Hasher for Md5Pass {
    fn update(&mut self, bytes: &[u8]) {
        md5::Digest::update(&mut self.0, bytes);
    }

    fn words(&self) -> Option<Words> {
        None
    }

    fn end(self) -> String {
        hex(&md5::Digest::finalize(self.0))
    }
}

struct Sha256Pass(Sha256);

impl Hasher for Sha256Pass {
    fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.0, bytes);
    }

    /// The serialized state begins with the eight words, little end first; at a border between blocks nothing else is held back.
    fn words(&self) -> Option<Words> {
        let state = self.0.serialize();
        let mut words = Words::default();
        for (word, bytes) in words.iter_mut().zip(state.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(words)
    }

    fn end(self) -> String {
        hex(&sha2::Digest::finalize(self.0))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bandwidth::Limits;
    use crate::engine::source::Expected;
    use crate::job::Identity;
    use crate::os::files::{Base, Files};
    use crate::os::threads::Threads;

    async fn digest(bytes: &[u8], part_bytes: u64, algorithm: Algorithm) -> Digest {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let version = Identity::of(&std::fs::metadata(&path).unwrap());
        let expected = Expected { base: Base::around(&Files::Real, &path), path, version, fresh: true };
        let source = Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap();
        Digesting::start(source, Plan { file_bytes: bytes.len() as u64, part_bytes }, algorithm).whole().await.unwrap()
    }

    /// The file of `docs/protocols/koodrive.md`, section 4, with its values.
    #[tokio::test]
    async fn one_pass_gives_the_digest_and_the_states_of_the_page() {
        let file: Vec<u8> = (0..10_486_760u64).map(|i| ((i * 31 + 7) % 251) as u8).collect();
        let Digest { hex, borders } = digest(&file, 5_242_880, Algorithm::Sha256).await;
        assert_eq!(hex, "670f15212a83941c8aed6758628e846b0a90cec8704292d0929c1fd44adcd0da");
        let second = [3092447890, 3234063028, 3877548911, 3362278882, 2885780610, 2146044395, 3374087744, 4095872729];
        let third = [1779701746, 918995803, 1570685731, 1516663119, 3603315028, 2236031456, 1242210455, 1444001641];
        assert_eq!(borders, [second, third]);
        let a = digest(&[0x61; 65], 64, Algorithm::Sha256).await.borders;
        assert_eq!(a, [[3747330076, 3894281766, 4215646356, 1339297585, 2992531478, 3604257217, 2878359849, 6512230]]);
    }

    #[tokio::test]
    async fn an_empty_file_and_a_file_that_ends_at_a_border_have_no_states() {
        let empty = digest(b"", 64, Algorithm::Sha256).await;
        assert_eq!(empty.hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(empty.borders.is_empty());
        assert!(digest(&[1; 64], 64, Algorithm::Sha256).await.borders.is_empty());
        assert_eq!(digest(b"", 64, Algorithm::Md5).await.hex, "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(digest(b"abc", 2, Algorithm::Md5).await.hex, "900150983cd24fb0d6963f7d28e17f72");
    }
}
