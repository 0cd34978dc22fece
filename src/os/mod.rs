//! What the operating system gives: the clock, signals, locks, durable files. Knows nothing else of ours.

pub mod clock;
pub mod lock;
