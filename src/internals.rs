//! What tests, fuzz targets, benchmarks and the simulator use of the inside.
//!
//! This is no interface: anything here may change or go away in any version. It exists only with the feature `internals`, which no
//! build for users has; the program's interface is its command line, its configuration, and `status --json` (`docs/STATUS.md`). The
//! modules have the names that they have inside, where each thing is explained.

/// The configuration: from the text of a file to what is meant.
pub mod config {
    pub use crate::config::{Config, ConfigError, Environment, HostConfig, ProcessEnvironment, parse};
}

/// The loops that work on the queue.
pub mod engine {
    pub use crate::engine::{
        Control, EngineError, Orders, Reloads, bandwidth, connections, deliver, host_of, phase, roots, run, worker,
    };
}

/// The protocols, and what their replies mean: everything that is public there, so that no kind need be named.
pub mod host {
    pub use crate::host::*;
}

/// The nouns of an upload, and the rules that decide.
pub mod job {
    pub use crate::job::{
        Fingerprint, Identity, Reason, ReasonClass, State, Step, WatchReport, WatchState, Watches, attempt, bandwidth, health,
        plan, reason, steer, upload, watch,
    };
}

/// What the daemon is handed of the world.
pub mod os {
    #[cfg(feature = "simulator")]
    pub use crate::os::files::{Files, simulated as simulated_files};
    #[cfg(feature = "simulator")]
    pub use crate::os::simulated_time;
    pub use crate::os::{chance, clock, lock, system, threads};

    /// The points at which a test can have the process die.
    #[cfg(feature = "crash-points")]
    pub mod crash {
        pub use crate::os::crash::{
            POINTS, POINTS_AFTERWARDS, POINTS_OF_BEGINNING, POINTS_OF_GIVING_UP, POINTS_OF_ORDERS, POINTS_OF_REMOVAL,
            POINTS_OF_TOKENS,
        };
    }
}

/// Bugs that a simulator must find.
#[cfg(feature = "planted-bugs")]
pub mod planted {
    pub use crate::planted::{BUGS, Bug, Promise, UnknownBug, clear, plant};
}

/// The queue.
pub mod store {
    #[cfg(feature = "simulator")]
    pub use crate::store::LOG_NAME;
    pub use crate::store::{
        Arrival, Asking, FILE_NAME, HostRow, JobId, JobRow, Query, Snapshot, Store, StoreError, View, Wanted, WriterThread,
    };
}
