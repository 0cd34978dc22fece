//! What one task hands to another that works on meanwhile: of several the newest counts.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A place for one value. Clones are of the same.
pub(crate) struct Handed<T>(Arc<(Mutex<Option<T>>, Notify)>);

impl<T> Clone for Handed<T> {
    fn clone(&self) -> Handed<T> {
        Handed(self.0.clone())
    }
}

impl<T> Default for Handed<T> {
    fn default() -> Handed<T> {
        Handed(Arc::new((Mutex::new(None), Notify::new())))
    }
}

impl<T> Handed<T> {
    /// Puts it there.
    pub(super) fn give(&self, value: T) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.0.1.notify_one();
    }

    /// What is there.
    pub(super) fn take(&self) -> Option<T> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Resolves when there may be something.
    pub(super) async fn news(&self) {
        self.0.1.notified().await;
    }
}
