//! What people have ordered so far, and what must hold since.

use std::collections::{BTreeMap, BTreeSet};

use ferryd::internals::job::State;
use ferryd::internals::job::steer::{Order, Selection, Steered};
use ferryd::internals::store::{JobId, JobRow};

/// What was ordered so far, and what must hold since.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// How many orders were given.
    given: u64,
    /// What was to be paused or cancelled at any time, of the orders without an answer, by their numbers.
    unanswered: BTreeMap<u64, Selection>,
    /// The jobs that were named in answers to orders to pause or cancel.
    named: BTreeSet<JobId>,
    /// What may not become of jobs any more, though no answer says more than that an order was carried out, as long as no later one
    /// may have changed that.
    ruled_out: BTreeMap<JobId, &'static [State]>,
    /// The jobs of the last order, in states that it changes.
    concerned: Vec<JobId>,
    /// The states that jobs have by orders that were answered, as long as no later one may have changed them.
    states: BTreeMap<JobId, State>,
    /// For each upload that was ordered of a file that its host has: the host, and how many bytes it has.
    pub(crate) repeated: Vec<(String, u64)>,
}

impl Orders {
    /// Notes an order while jobs are like this, and answers its number.
    pub(crate) fn give(&mut self, order: Order, selection: &Selection, jobs: &[JobRow]) -> u64 {
        self.given += 1;
        if matches!(order, Order::Pause | Order::Cancel) {
            self.unanswered.insert(self.given, selection.clone());
        }
        if selection.jobs.is_empty() {
            self.states.clear();
            self.ruled_out.clear();
        }
        self.states.retain(|job, _| !selection.jobs.contains(job));
        self.ruled_out.retain(|job, _| !selection.jobs.contains(job));
        // Files get other names, so folders do not tell.
        let is_certain = |job: &&JobRow| selection.below.is_empty() && is_for(selection, job);
        self.concerned = jobs.iter().filter(is_certain).map(|job| job.id).collect();
        self.given
    }

    /// The order of this number was answered.
    pub(crate) fn answered(&mut self, number: u64, order: Order, steered: &Steered) {
        let (state, ruled_out): (State, &'static [State]) = match order {
            Order::Pause => (State::Paused, &[State::Queued, State::Waiting, State::Held]),
            Order::Cancel => (State::Cancelled, &[State::Queued, State::Waiting, State::Held, State::Paused]),
            _ => return,
        };
        self.unanswered.remove(&number);
        self.named.extend(steered.jobs.iter().copied());
        if number == self.given {
            self.ruled_out.extend(self.concerned.iter().map(|job| (*job, ruled_out)));
            let at_once = steered.jobs.iter().filter(|job| !steered.stopping.contains(job));
            self.states.extend(at_once.map(|job| (*job, state)));
        }
    }

    /// The state that the job has by an order, as long as no later one may have changed it.
    pub(crate) fn state_of(&self, job: JobId) -> Option<State> {
        self.states.get(&job).copied()
    }

    /// Whether the job is in a state that it may not be in after an order that was answered.
    pub(crate) fn is_ruled_out(&self, job: &JobRow) -> bool {
        self.ruled_out.get(&job.id).is_some_and(|states| states.contains(&job.state))
    }

    /// Whether nobody knows of an order that the job be set aside: no answer has named it, and none is missing.
    pub(crate) fn is_surprised_by(&self, job: &JobRow) -> bool {
        !self.named.contains(&job.id) && !self.unanswered.values().any(|selection| is_for(selection, job))
    }
}

/// Whether an order for these jobs may be for this one, folders apart.
fn is_for(selection: &Selection, job: &JobRow) -> bool {
    (selection.jobs.is_empty() || selection.jobs.contains(&job.id))
        && (selection.hosts.is_empty() || selection.hosts.contains(&job.host))
}
