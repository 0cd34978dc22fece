//! What keeps a measurement from being made, as a failure of the command.

use std::fmt::Display;

use super::super::exit::Exit;
use super::super::render::CommandFailure;

/// Something on this machine that could not be done.
pub(super) fn failed(what: &str, error: &dyn Display) -> CommandFailure {
    CommandFailure::new(Exit::Fault, format!("{what}: {error}"))
}
