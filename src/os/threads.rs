//! Where work runs that may wait for a disk.

/// Where work runs that may wait for a disk, so that it keeps no task waiting.
#[derive(Debug, Clone, Copy, Default)]
pub enum Threads {
    /// On threads of the runtime that may block.
    #[default]
    Pool,
    /// On the caller's, which has no other: nothing in a simulator waits.
    #[cfg(feature = "simulator")]
    Caller,
}

/// The work panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("internal error: {0}")]
pub struct Panicked(String);

impl Threads {
    /// Runs `work` and waits for it.
    ///
    /// # Errors
    ///
    /// It panicked.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        match self {
            Threads::Pool => tokio::task::spawn_blocking(work).await.map_err(|error| Panicked(error.to_string())),
            #[cfg(feature = "simulator")]
            Threads::Caller => Ok(work()),
        }
    }

    /// Begins `work`, for which nobody waits.
    pub fn start(self, work: impl FnOnce() + Send + 'static) {
        match self {
            Threads::Pool => drop(tokio::task::spawn_blocking(work)),
            #[cfg(feature = "simulator")]
            Threads::Caller => drop(tokio::spawn(async move { work() })),
        }
    }
}
