//! The digest of a file, computed in one pass while parts are sent, a piece at a time on threads that may wait.
//!
//! How far it has come is told where parts begin, so that a part can go as soon as everything before it is hashed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::job::digest::{Digest, DigestRequirement, MidStates};
use crate::job::plan::{Plan, Range};

use super::hasher::{Hasher, hex};
use super::source::{HASHED_BYTES, Source, SourceError};

/// A digest that is known, or on its way. Dropped, it stops.
pub(crate) struct Digesting {
    requirement: DigestRequirement,
    mid_states: Arc<MidStates>,
    progress: watch::Receiver<Progress>,
    stopped: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum Progress {
    /// So many parts are hashed, and the last of them is not the file's last.
    Parts(usize),
    /// All is known.
    Finished(String),
    /// The file is not what it was, or cannot be read.
    Failed(SourceError),
}

impl Digesting {
    /// Begins to read `source` from its first byte.
    pub(crate) fn start(source: Source, plan: Plan, requirement: DigestRequirement) -> Digesting {
        let mid_states = Arc::<MidStates>::default();
        let (tell, progress) = watch::channel(Progress::Parts(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let pass = Pass { source, plan, requirement, mid_states: mid_states.clone(), tell, stopped: stopped.clone() };
        // Nobody waits for the work itself: it tells what it has.
        drop(tokio::spawn(pass.run()));
        Digesting { requirement, mid_states, progress, stopped }
    }

    /// A digest that an earlier claim has computed.
    pub(crate) fn known(digest: &Digest, requirement: DigestRequirement) -> Digesting {
        let mid_states = Arc::new(MidStates::from(digest.mid_states.clone()));
        let (_, progress) = watch::channel(Progress::Finished(digest.hex.clone()));
        Digesting { requirement, mid_states, progress, stopped: Arc::default() }
    }

    /// The states where parts begin, as far as they are known.
    pub(crate) fn mid_states(&self) -> Arc<MidStates> {
        self.mid_states.clone()
    }

    /// Waits until everything before part `number` is hashed.
    pub(crate) async fn before_part(&self, number: u32) -> Result<(), SourceError> {
        self.wait(|progress| matches!(progress, Progress::Parts(hashed) if *hashed < number as usize)).await.map(drop)
    }

    /// Waits for the whole digest.
    pub(crate) async fn whole(&self) -> Result<Digest, SourceError> {
        match self.wait(|progress| matches!(progress, Progress::Parts(_))).await? {
            Progress::Finished(hex) => Ok(Digest { algorithm: self.requirement.algorithm, hex, mid_states: self.mid_states.all() }),
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
    requirement: DigestRequirement,
    mid_states: Arc<MidStates>,
    tell: watch::Sender<Progress>,
    stopped: Arc<AtomicBool>,
}

impl Pass {
    async fn run(self) {
        let last = match self.hash().await {
            Ok(digest) => Progress::Finished(hex(&digest)),
            Err(error) => Progress::Failed(error),
        };
        self.tell.send_replace(last);
    }

    async fn hash(&self) -> Result<Vec<u8>, SourceError> {
        let mut hasher = Hasher::new(self.requirement.algorithm);
        let Plan { file_bytes, part_bytes } = self.plan;
        let (mut at, mut parts) = (0, 0);
        while at < file_bytes {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(SourceError::Unreadable("nobody waits for the digest any more".into()));
            }
            let left = part_bytes - at % part_bytes;
            let length = HASHED_BYTES.min(left).min(file_bytes - at);
            hasher = self.source.digest_range(Range { offset: at, bytes: length }, hasher).await?;
            at += length;
            // No part begins at the end of the file.
            if length == left && at < file_bytes {
                parts += 1;
                if self.requirement.mid_states {
                    self.mid_states.push(hasher.mid_state());
                }
                self.tell.send_replace(Progress::Parts(parts));
            }
        }
        self.source.check_handle().await?;
        Ok(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bandwidth::Limits;
    use crate::engine::source::Expected;
    use crate::job::Identity;
    use crate::job::digest::{Algorithm, MidState};
    use crate::os::files::{Base, Files};
    use crate::os::threads::Threads;

    async fn digest(bytes: &[u8], part_bytes: u64, algorithm: Algorithm) -> Digest {
        let requirement = DigestRequirement { algorithm, before_open: false, mid_states: algorithm == Algorithm::Sha256 };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let version = Identity::of(&std::fs::metadata(&path).unwrap());
        let expected = Expected { base: Base::around(&Files::Real, &path), path, version, fresh: true };
        let source = Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap();
        Digesting::start(source, Plan { file_bytes: bytes.len() as u64, part_bytes }, requirement).whole().await.unwrap()
    }

    /// The file of `docs/protocols/koodrive.md`, section 4, with its values.
    #[tokio::test]
    async fn one_pass_gives_the_digest_and_the_states_of_the_page() {
        let file: Vec<u8> = (0..10_486_760u64).map(|i| ((i * 31 + 7) % 251) as u8).collect();
        let Digest { hex, mid_states, .. } = digest(&file, 5_242_880, Algorithm::Sha256).await;
        assert_eq!(hex, "670f15212a83941c8aed6758628e846b0a90cec8704292d0929c1fd44adcd0da");
        let second = [3092447890, 3234063028, 3877548911, 3362278882, 2885780610, 2146044395, 3374087744, 4095872729];
        let third = [1779701746, 918995803, 1570685731, 1516663119, 3603315028, 2236031456, 1242210455, 1444001641];
        assert_eq!(mid_states, [second, third].map(|words| MidState(words.into())));
        let a = digest(&[0x61; 65], 64, Algorithm::Sha256).await.mid_states;
        let words = [3747330076, 3894281766, 4215646356, 1339297585, 2992531478, 3604257217, 2878359849, 6512230];
        assert_eq!(a, [MidState(words.into())]);
    }

    #[tokio::test]
    async fn an_empty_file_and_a_file_that_ends_at_a_border_have_no_states() {
        let empty = digest(b"", 64, Algorithm::Sha256).await;
        assert_eq!(empty.hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(empty.mid_states.is_empty());
        assert!(digest(&[1; 64], 64, Algorithm::Sha256).await.mid_states.is_empty());
        assert_eq!(digest(b"", 64, Algorithm::Md5).await.hex, "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(digest(b"abc", 2, Algorithm::Md5).await.hex, "900150983cd24fb0d6963f7d28e17f72");
    }
}
