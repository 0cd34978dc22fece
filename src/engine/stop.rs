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
    Host { error: HostError, opening: bool, session: SessionFate },
    /// A finish may have taken effect, and nobody can be asked: what happened.
    Undecidable(String),
    /// There is evidence that a finish took effect, and no proof: the evidence.
    Probable(String),
    /// The daemon stops.
    Draining,
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
        Stop::Host { error, opening: false, session }
    }
}

impl Stop {
    /// The call that opens a session failed.
    pub(super) fn while_opening(error: HostError) -> Stop {
        Stop::Host { opening: true, session: attempt::call_failure(error.class), error }
    }
}
