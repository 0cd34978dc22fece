//! What goes wrong, by the word of whoever drives the simulation.

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
}
