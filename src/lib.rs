//! ferryd: drop a file into a folder; it is on the host, and you have the link.
//!
//! What happens to a file: **watch** notices it, **settle** decides that nobody is writing it any more, **enqueue** makes it a row,
//! **dispatch** claims the row, **upload** opens a session, sends the parts and finishes, **deliver** carries the hooks and the
//! after-action, each step committed before the next relies on it. `docs/ARCHITECTURE.md` describes
//! the modules; `docs/STATE.md` says what a crash leaves behind at each step.

// Without `internals` nobody sees what is there for it alone: whether it is used, and how far it must be visible, is checked with
// it.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unreachable_pub, unused_imports))]

#[macro_use]
mod planted;

mod cli;
mod config;
mod engine;
mod hook;
mod host;
#[cfg(feature = "internals")]
pub mod internals;
mod job;
mod os;
mod secret;
mod store;
mod watch;

pub use cli::{Exit, main};
