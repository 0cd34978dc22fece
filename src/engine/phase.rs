//! Who stops when: everyone watches one value that only ever goes forward. And whether the main loop still turns: it is asked to, and
//! counts its turns.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Work goes on.
    Running,
    /// Nothing new begins; parts in flight may arrive.
    Draining,
    /// Requests are dropped.
    Stopping,
}

/// A view of the phase.
#[derive(Debug, Clone)]
pub struct Phases {
    phase: watch::Receiver<Phase>,
    pulse: Arc<Pulse>,
}

/// Turns of the main loop.
#[derive(Debug)]
struct Pulse {
    wanted: Notify,
    turns: watch::Sender<u64>,
    changes: watch::Sender<()>,
}

/// What shows that something may have changed since it was asked last.
#[derive(Debug)]
pub(crate) struct Changes(watch::Receiver<()>);

impl Changes {
    /// Resolves once something may have changed. Never resolves if nothing can any more.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The one hand that moves it.
#[derive(Debug)]
pub struct PhaseSwitch(watch::Sender<Phase>);

/// A phase that begins with `Running`.
pub fn phases() -> (PhaseSwitch, Phases) {
    let (sender, phase) = watch::channel(Phase::Running);
    let pulse = Arc::new(Pulse { wanted: Notify::new(), turns: watch::Sender::new(0), changes: watch::Sender::new(()) });
    (PhaseSwitch(sender), Phases { phase, pulse })
}

impl PhaseSwitch {
    /// Goes forward to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = phase > *now;
            *now = phase.max(*now);
            forward
        });
    }
}

impl Phases {
    /// Whether nothing new may begin.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Resolves once `phase` is reached, at once if it is already. Never resolves if nobody can move the phase any more.
    pub async fn reached(&mut self, phase: Phase) {
        if self.phase.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves once the main loop has turned after this was called.
    pub(crate) async fn turn(&self) {
        let mut turns = self.pulse.turns.subscribe();
        self.pulse.wanted.notify_one();
        // Its sender lives as long as `self`.
        drop(turns.changed().await);
    }

    /// Shows when anything has been begun, has ended or has been told.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.pulse.changes.subscribe())
    }

    /// Something may have changed that people are told of.
    pub(crate) fn changed(&self) {
        self.pulse.changes.send_replace(());
    }

    /// For the main loop: resolves when somebody wants to see it turn.
    pub(crate) async fn turn_wanted(&self) {
        self.pulse.wanted.notified().await;
    }

    /// For the main loop: it has turned.
    pub(crate) fn turned(&self) {
        self.pulse.turns.send_modify(|turns| *turns += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_phase_goes_forward_only() {
        let (switch, mut phases) = phases();
        assert!(!phases.is_draining());
        switch.advance(Phase::Stopping);
        switch.advance(Phase::Draining);
        phases.reached(Phase::Stopping).await;
    }
}
