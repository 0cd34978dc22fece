//! Who stops when: everyone watches one value that only ever goes forward.

use tokio::sync::watch;

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
pub struct Phases(watch::Receiver<Phase>);

/// The one hand that moves it.
#[derive(Debug)]
pub struct PhaseSwitch(watch::Sender<Phase>);

/// A phase that begins with `Running`.
pub fn phases() -> (PhaseSwitch, Phases) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (PhaseSwitch(sender), Phases(receiver))
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
        *self.0.borrow() >= Phase::Draining
    }

    /// Resolves once `phase` is reached, at once if it is already. Never resolves if nobody can move the phase any more.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
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
