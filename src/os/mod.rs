//! What the operating system gives: time, chance, files, threads, signals, locks, the service manager. Knows nothing else of ours.

pub mod calendar;
pub mod chance;
pub mod clock;
pub mod command;
pub mod crash;
pub mod durable;
pub mod files;
pub mod filesystem;
pub mod lease;
pub mod lock;
pub mod names;
pub mod page_cache;
pub mod service;
pub mod signals;
#[cfg(feature = "simulator")]
pub mod simulated_time;
pub mod system;
pub mod threads;
