//! What can go wrong with the queue itself, by what must follow.

use std::io;
use std::path::PathBuf;

use super::JobId;

/// A failure of the queue, as opposed to a failure of a job in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another daemon owns this state folder.
    #[error("another ferryd (process {pid}) owns `{dir}`")]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The other's process id; 0 where it did not say.
        pid: u32,
    },
    /// A newer ferryd has written here.
    #[error("the queue has schema version {found}, and this ferryd knows versions up to {known}")]
    Newer {
        /// The version in the file.
        found: i64,
        /// The newest version this build knows.
        known: i64,
    },
    /// The file is not what was written.
    #[error("the queue's database is damaged: {0}")]
    Damaged(String),
    /// No room for the database to grow.
    #[error("no space left for the queue's database")]
    Full,
    /// The operating system refused something else.
    #[error("{0}")]
    Io(String),
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

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        // The memory that connections share is a file, too, and there may be no room to make it.
        let shared_memory = error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
        match error.sqlite_error_code() {
            _ if shared_memory => StoreError::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(error.to_string()),
            Some(ErrorCode::DiskFull) => StoreError::Full,
            _ => StoreError::Io(error.to_string()),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Io(error.to_string()),
        }
    }
}
