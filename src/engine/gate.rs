//! What holds the last bytes of a file back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::os::crash::crash_point;
use crate::store::{JobId, Store, StoreError};

use super::halt::Halt;

/// What must be on the disk before the last bytes of a file leave: the intent to commit, where the last byte is the commit. Until
/// then it is certain that the host has nothing.
pub(crate) struct Gate {
    store: Store,
    job: JobId,
    halt: Halt,
    passed: AtomicBool,
    failed: Mutex<Option<StoreError>>,
}

impl Gate {
    /// A gate nothing has passed.
    pub(crate) fn new(store: Store, job: JobId, halt: Halt) -> Arc<Gate> {
        Arc::new(Gate { store, job, halt, passed: AtomicBool::new(false), failed: Mutex::new(None) })
    }

    /// Commits the intent. An error is kept for [`Gate::failure`].
    pub(crate) async fn pass(&self) -> io::Result<()> {
        if self.passed() {
            return Ok(());
        }
        if !self.halt.commits() {
            return Err(io::Error::other("the upload was stopped"));
        }
        crash_point!("finish.before_commit");
        match self.store.record_commit_intent(self.job).await {
            Ok(()) => {
                self.passed.store(true, Ordering::Release);
                crash_point!("finish.before_send");
                Ok(())
            }
            Err(error) => {
                let said = error.to_string();
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(io::Error::other(said))
            }
        }
    }

    /// Whether the last bytes may have left.
    pub(crate) fn passed(&self) -> bool {
        self.passed.load(Ordering::Acquire)
    }

    /// Why the intent could not be committed.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
