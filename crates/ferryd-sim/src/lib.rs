//! A simulator of the whole daemon. One number decides what users do, which faults happen, and in what order everything runs, so
//! whatever goes wrong can be seen again.

pub mod disk;
mod ledger;
mod life;
mod network;
mod promises;
mod run;
pub mod schedule;
mod users;
mod vfs;
mod world;

pub use promises::Violation;
pub use run::{Counts, Report, run};
pub use vfs::mount;
