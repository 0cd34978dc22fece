//! What people have ordered so far, and what must hold since.

use std::collections::BTreeMap;

use ferryd::internals::job::State;
use ferryd::internals::job::steer::{Order, Selection, Steered};
use ferryd::internals::store::{JobId, JobRow};

/// What was ordered so far, and what must hold since.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// How many orders were given.
    given: u64,
    /// What was to be paused or cancelled at any time.
    set_aside: Vec<Selection>,
    /// The states that jobs have by orders that were answered, as long as no later one may have changed them.
    states: BTreeMap<JobId, State>,
    /// For each upload that was ordered of a file that its host has: the host, and how many bytes it has.
    pub(crate) repeated: Vec<(String, u64)>,
}

impl Orders {
    /// Notes an order, and answers its number.
    pub(crate) fn give(&mut self, order: Order, selection: &Selection) -> u64 {
        self.given += 1;
        if matches!(order, Order::Pause | Order::Cancel) {
            self.set_aside.push(selection.clone());
        }
        if selection.jobs.is_empty() {
            self.states.clear();
        }
        self.states.retain(|job, _| !selection.jobs.contains(job));
        self.given
    }

    /// The order of this number was answered.
    pub(crate) fn answered(&mut self, number: u64, order: Order, steered: &Steered) {
        let state = match order {
            Order::Pause => State::Paused,
            Order::Cancel => State::Cancelled,
            _ => return,
        };
        if number == self.given {
            let at_once = steered.jobs.iter().filter(|job| !steered.stopping.contains(job));
            self.states.extend(at_once.map(|job| (*job, state)));
        }
    }

    /// The state that the job has by an order, as long as no later one may have changed it.
    pub(crate) fn state_of(&self, job: JobId) -> Option<State> {
        self.states.get(&job).copied()
    }

    /// Whether nobody has ever ordered that the job be set aside. Files get other names, so folders do not tell.
    pub(crate) fn is_surprised_by(&self, job: &JobRow) -> bool {
        let is_for = |selection: &Selection| {
            (selection.jobs.is_empty() || selection.jobs.contains(&job.id))
                && (selection.hosts.is_empty() || selection.hosts.contains(&job.host))
        };
        !self.set_aside.iter().any(is_for)
    }
}
