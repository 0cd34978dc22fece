//! A simulator of the whole daemon. One number decides what users do, which faults happen, and in what order everything runs, so
//! whatever goes wrong can be seen again.

mod deeds;
pub mod disk;
mod ledger;
mod life;
mod log;
mod many;
mod memory;
mod network;
mod ordered;
mod orders;
mod places;
mod promises;
mod run;
pub mod schedule;
mod setting;
mod shrink;
mod stock;
mod users;
mod vfs;
mod violation;
mod world;

pub use many::{Many, Sum};
pub use run::{Counts, Detail, Report, run};
pub use setting::{After, Setting};
pub use shrink::{shrink, shrink_while};
pub use vfs::mount;
pub use violation::Violation;
