//! What can go wrong with the queue itself, by what must follow.

use std::io;
use std::path::PathBuf;

use crate::job::JobId;

/// A failure of the queue, as opposed to a failure of a job in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another daemon owns this state folder.
    #[error("another ferryd (PID {pid}) is using `{dir}`")]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The other's process id; 0 where it did not say.
        pid: u32,
    },
    /// A newer ferryd has written here.
    #[error("the queue has schema version {found}, but this ferryd supports only versions up to {known}")]
    Newer {
        /// The version in the file.
        found: i64,
        /// The newest version this build knows.
        known: i64,
    },
    /// The file is not what was written.
    #[error("the queue is damaged: {0}")]
    Damaged(String),
    /// No room for the queue to grow.
    #[error("no space left on the disk of the queue")]
    Full,
    /// Another program works on the queue, and has not let go of it for seconds.
    #[error("another program has locked the queue")]
    Busy,
    /// Its disk has reported an error, which may pass.
    #[error("the queue cannot be read or written: {0}")]
    Disk(String),
    /// What was written may not be on the disk, and nobody can know.
    #[error("the queue cannot be read or written: {0}")]
    NotSynced(String),
    /// What keeps it can be neither read nor written, for another reason.
    #[error("the queue cannot be read or written: {0}")]
    Inaccessible(String),
    /// A verb asked for what cannot be: a bug of ours.
    #[error("the queue rejected a request; this is a bug in ferryd: {0}")]
    Refused(String),
    /// What was about to be done is another daemon's to do.
    #[error("job {job} was claimed by another daemon meanwhile")]
    NotOurs {
        /// The job.
        job: JobId,
    },
    /// The store has been shut down.
    #[error("the queue is closed")]
    Closed,
}

impl StoreError {
    /// Whether it is over by itself, or when somebody has made room, and may be waited for also where the queue was never open.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, StoreError::Full | StoreError::Busy | StoreError::Disk(_))
    }

    /// Whether whoever has written to the queue before waits and tries again.
    pub(super) fn is_waited_for(&self) -> bool {
        self.passes() || matches!(self, StoreError::Inaccessible(_))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Inaccessible(error.to_string()),
        }
    }
}
