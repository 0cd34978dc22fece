//! Whether somebody has asked the measurement to end, and what it says then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::os::signals::{self, Listener};

use super::super::exit::Exit;
use super::super::render::CommandFailure;

/// Set by a signal. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for signals until the listener is dropped.
    pub(super) fn listen(&self) -> io::Result<Listener> {
        let asked = self.0.clone();
        signals::listen(move |_| asked.store(true, Ordering::Relaxed))
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A failure once somebody has asked.
    pub(super) fn check(&self) -> Result<(), CommandFailure> {
        if self.is_asked() {
            return Err(CommandFailure::new(Exit::Fault, "interrupted: the measurement was given up"));
        }
        Ok(())
    }
}
