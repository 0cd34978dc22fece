//! A simulator of the whole daemon. One number decides what users do, which faults happen, and in what order everything runs, so
//! whatever goes wrong can be seen again.

pub mod disk;
mod vfs;

pub use vfs::mount;
