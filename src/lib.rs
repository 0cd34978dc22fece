//! ferryd: drop a file into a folder; it is on the host, and you have the link.
//!
//! What happens to a file: **watch** notices it, **settle** decides that nobody is writing it any more, **enqueue** makes it a row,
//! **dispatch** claims the row, **upload** opens a session, sends the parts and finishes, **deliver** carries the hooks and the
//! after-action, each step committed before the next relies on it. `docs/ARCHITECTURE.md` describes
//! the modules; `docs/STATE.md` says what a crash leaves behind at each step.

pub mod cli;
pub mod config;
pub mod engine;
pub mod hook;
pub mod host;
pub mod job;
pub mod os;
pub mod secret;
pub mod store;
pub mod watch;
