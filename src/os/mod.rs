//! What the operating system gives: time, what happens to the machine, chance, files, threads, signals, locks, the service manager. Knows nothing else of ours.

pub(crate) mod answers;
pub(crate) mod calendar;
pub mod chance;
pub mod clock;
pub(crate) mod command;
pub(crate) mod control;
pub(crate) mod crash;
pub(crate) mod durable;
pub(crate) mod files;
pub(crate) mod filesystem;
pub(crate) mod folders;
pub(crate) mod lease;
pub mod lock;
pub(crate) mod machine;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod one_writer;
pub(crate) mod page_cache;
pub(crate) mod path_changes;
pub(crate) mod service;
pub(crate) mod signals;
#[cfg(feature = "simulator")]
pub mod simulated_time;
pub mod system;
pub mod threads;
pub(crate) mod whole;
