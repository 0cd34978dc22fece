//! The life of a process: what it does is counted, and it can end before any of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::schedule::Event;

/// Things that one life may do before it counts as running wild.
const STEPS_MAX: u64 = 3_000_000;

/// Whether the daemon lives, and what it has done. Each write to a disk and to a connection is a step.
#[derive(Debug, Default)]
pub(crate) struct Life {
    state: Mutex<State>,
    died: Notify,
}

#[derive(Debug, Default)]
struct State {
    alive: bool,
    /// Steps of all lives.
    steps: u64,
    /// Steps when this life began.
    born: u64,
    /// What happens before the step of this number.
    armed: Option<(u64, Event)>,
}

/// What follows from a step that the daemon wants to take.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// It takes it.
    Taken,
    /// It is dead, and does nothing any more.
    Dead,
    /// This happens first.
    After(Event),
}

impl Life {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) {
        let mut state = self.state();
        (state.alive, state.born) = (true, state.steps);
    }

    pub(crate) fn end(&self) {
        self.state().alive = false;
        self.died.notify_one();
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state().alive
    }

    /// Steps of all lives.
    pub(crate) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Whether this life has done more than anything could ask of it.
    pub(crate) fn runs_wild(&self) -> bool {
        let state = self.state();
        state.steps - state.born > STEPS_MAX
    }

    /// Resolves when it has ended.
    pub(crate) async fn ended(&self) {
        while self.is_alive() {
            self.died.notified().await;
        }
    }

    /// Has `event` happen before the step that is so far ahead as it says. Answers one that was waiting for its step and has not
    /// met it.
    pub(crate) fn arm(&self, event: Event) -> Option<Event> {
        let mut state = self.state();
        let at = state.steps + u64::from(event.steps);
        state.armed.replace((at, event)).map(|(_, event)| event)
    }

    /// Takes back what was waiting for its step.
    pub(crate) fn disarm(&self) -> Option<Event> {
        self.state().armed.take().map(|(_, event)| event)
    }

    /// The daemon is about to do something.
    pub(crate) fn step(&self) -> Step {
        let mut state = self.state();
        if !state.alive {
            return Step::Dead;
        }
        state.steps += 1;
        let steps = state.steps;
        match state.armed.take_if(|(at, _)| *at <= steps) {
            Some((_, event)) => Step::After(event),
            None => Step::Taken,
        }
    }
}
