//! Files in memory, for a simulator. A plain build has none of it.

mod disk;
mod driver;
mod durability;
mod events;
mod facts;
mod faults;
mod file;
mod folder;
mod journal;
mod mounts;
mod node;
mod paths;
mod reach;
mod state;
#[cfg(test)]
mod tests;
mod verbs;
mod watching;

pub use disk::Disk;
pub use facts::Facts;
pub use faults::StepGate;
pub use file::File;
pub(crate) use folder::{Folder, Listing};
pub use watching::{Event, EventGate, Fate, FolderEvent, NameChange, Tell};
