//! A simulator of the whole daemon. One number decides what users do, which faults happen, and in what order everything runs, so
//! whatever goes wrong can be seen again.

pub mod disk;
mod ledger;
mod life;
mod log;
mod many;
mod network;
mod promises;
mod run;
pub mod schedule;
mod setting;
mod shrink;
mod users;
mod vfs;
mod world;

pub use many::{Many, Sum};
pub use promises::Violation;
pub use run::{Counts, Detail, Report, run};
pub use setting::{After, Setting};
pub use shrink::shrink;
pub use vfs::mount;
