//! What the daemon has been asked for by signals and commands, and has not done yet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::phase::{Phase, PhaseSwitch};
use crate::os::lock::{Lock, LockNote};
use crate::os::service;
use crate::os::signals::Signal;

/// What signals have asked for, and the running engine they go to.
#[derive(Default)]
pub(super) struct PendingSignals {
    /// The one that counts.
    pub(super) signal: Option<Signal>,
    /// What has that engine end.
    pub(super) switch: Option<Arc<PhaseSwitch>>,
    /// How long that engine waits for parts in flight.
    pub(super) grace: Option<Duration>,
    /// Who waits for the end of a reload: what has changed, or why it was refused.
    pub(super) reloads: Vec<oneshot::Sender<Result<String, String>>>,
}

/// Takes a signal, or what stands for one.
pub(super) fn note_signal(pending: &Mutex<PendingSignals>, signal: Signal) {
    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
    if signal == Signal::Drain || pending.signal.is_none() {
        pending.signal = Some(signal);
    }
    if let Some(switch) = &pending.switch {
        switch.advance(Phase::Draining);
    }
    if signal == Signal::Reload {
        tracing::info!("reloading the configuration");
    }
    if signal == Signal::Drain {
        let grace = pending.grace.map_or(String::new(), |grace| format!(" up to {}", super::render::duration(grace)));
        tracing::info!("stopping: waiting{grace} for parts in flight; signal again to quit at once");
        service::stopping();
    }
}

/// Says something of the daemon in the note of its lock.
pub(super) fn note_in(lock: &Lock, change: impl FnOnce(&mut LockNote)) {
    if let Err(error) = lock.update(change) {
        tracing::warn!("cannot update the lock file: {error}");
    }
}
