//! What the operating system gives: the clock, signals, locks, the service manager. Knows nothing else of ours.

pub mod at_hand;
pub mod beneath;
pub mod calendar;
pub mod clock;
pub mod crash;
pub mod durable;
pub mod filesystem;
pub mod lease;
pub mod lock;
pub mod names;
pub mod service;
pub mod signals;
