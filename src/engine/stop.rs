//! Why an attempt ends before the host has the file.

use crate::host::HostError;
use crate::job::attempt::{self, SessionFate};
use crate::store::StoreError;

use super::source::SourceError;

/// Why an attempt ends before the host has the file.
#[derive(Debug)]
pub(super) enum Stop {
    /// The queue itself failed: the daemon's matter, not the job's.
    Store(StoreError),
    /// The file is not what it was.
    Source(SourceError),
    /// The host did not do what was asked.
    Host { error: HostError, session: SessionFate },
    /// A finish may have taken effect, and nobody can be asked: what happened to the last one, if it was answered at all.
    Undecidable(Option<HostError>),
    /// There is evidence that a finish took effect, and no proof: the evidence.
    Probable(String),
    /// The daemon stops.
    Draining,
    /// A person wants the job to stop.
    Halted,
}

impl Stop {
    /// Whether there was no connection at all.
    pub(super) fn is_unconnected(&self) -> bool {
        matches!(self, Stop::Host { error, .. } if error.unconnected)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Stop::Source(error)
    }
}

/// A failed call that changes nothing for good.
impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        let session = attempt::call_failure(error.class);
        Stop::Host { error, session }
    }
}
