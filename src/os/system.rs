//! What the daemon is handed of the world: time, the network, chance, files and threads. Whoever hands in others runs it in a simulator.

use super::chance::Chance;
use super::clock::Clock;
use super::files::Files;
use super::machine::NetworkChanges;
use super::threads::Threads;

/// The world that a daemon runs in. The default is the machine it is on. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct System {
    /// The time.
    pub clock: Clock,
    /// What happens to the network.
    pub network: NetworkChanges,
    /// Random numbers.
    pub chance: Chance,
    /// Files and folders.
    pub files: Files,
    /// Where work runs that may wait for a disk.
    pub threads: Threads,
}
