//! What the daemon has been asked for by signals and commands, and has not done yet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::engine::phase::{Phase, PhaseSwitch};
use crate::os::lock::{Lock, LockNote};
use crate::os::service;
use crate::os::signals::Signal;

/// What signals have asked for, and the running engine they go to.
#[derive(Default)]
pub(super) struct PendingSignals {
    /// Whether the daemon is to stop.
    pub(super) drain: bool,
    /// Whether the configuration is to be read again.
    reload: bool,
    /// Says that it is.
    pub(super) reload_wanted: Arc<Notify>,
    /// What has that engine end.
    pub(super) switch: Option<Arc<PhaseSwitch>>,
    /// How long that engine waits for parts in flight.
    pub(super) grace: Option<Duration>,
    /// Who waits for the end of a reload: what has changed, or why it was refused.
    pub(super) reloads: Vec<oneshot::Sender<Result<String, String>>>,
}

impl PendingSignals {
    /// Who waits for the reload that is asked for, if one is.
    pub(super) fn take_reload(&mut self) -> Option<Vec<oneshot::Sender<Result<String, String>>>> {
        std::mem::take(&mut self.reload).then(|| std::mem::take(&mut self.reloads))
    }

    /// That reload is still to be done.
    pub(super) fn put_reload_back(&mut self, waiting: Vec<oneshot::Sender<Result<String, String>>>) {
        self.reload = true;
        self.reloads.extend(waiting);
    }
}

/// Takes a signal, or what stands for one.
pub(super) fn note_signal(pending: &Mutex<PendingSignals>, signal: Signal) {
    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
    if signal == Signal::Reload {
        pending.reload = true;
        pending.reload_wanted.notify_one();
        tracing::info!("reloading the configuration");
        service::reloading();
    }
    if signal == Signal::Drain {
        pending.drain = true;
        if let Some(switch) = &pending.switch {
            switch.advance(Phase::Draining);
        }
        let grace = pending.grace.map_or(String::new(), |grace| format!(" up to {}", super::render::duration(grace)));
        let line = format!("stopping: waiting{grace} for parts in flight");
        tracing::info!("{line}; signal again to quit at once");
        service::stopping(&line);
    }
}

/// Says something of the daemon in the note of its lock.
pub(super) fn note_in(lock: &Lock, change: impl FnOnce(&mut LockNote)) {
    if let Err(error) = lock.update(change) {
        tracing::warn!("cannot update the lock file: {error}");
    }
}
