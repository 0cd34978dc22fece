//! What goes wrong, by the word of whoever drives the simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Is asked before each thing that the daemon does to the file system, and answers whether it happens.
pub type StepGate = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What goes wrong.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) step_gate: Option<StepGate>,
    /// The daemon's process is dead.
    pub(super) is_frozen: bool,
    /// The number of the process that runs, or will run next.
    pub(super) process: u64,
    /// The number of the machine's start.
    pub(super) boot: u64,
    /// There are no links, and no rename that spares what is there, as on exFAT.
    pub(super) no_exclusive_names: bool,
    /// Of devices that are getting full, the bytes that there is room for.
    pub(super) rooms: BTreeMap<i64, u64>,
}
