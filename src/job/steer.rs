//! What a person may order for jobs, and what follows from an order for a job in each state.
//!
//! Pure and total. A job that is under way is moved by whoever works on it: it keeps what the host has confirmed, and a file that
//! turns out to be on the host is uploaded whatever was ordered.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{JobId, State};

/// What is to happen with jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// What waits, is held or has failed is tried at once.
    Retry,
    /// What is not on the host yet is set aside.
    Pause,
    /// What was set aside goes on.
    Resume,
    /// What is not on the host yet will not be sent.
    Cancel,
    /// What is over is uploaded anew.
    Again,
    /// What is over is told no more. Its file stays known.
    Forget,
}

/// The jobs that an order is for: those that are named, or all, as far as they match the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Named by their numbers.
    pub jobs: Vec<JobId>,
    /// Named by the paths of their files.
    #[serde(serialize_with = "write_paths", deserialize_with = "read_paths")]
    pub files: Vec<PathBuf>,
    /// Only those of files below these folders; all when empty.
    #[serde(serialize_with = "write_paths", deserialize_with = "read_paths")]
    pub below: Vec<PathBuf>,
    /// Only those of these hosts; all when empty.
    pub hosts: Vec<String>,
    /// Only those in these states; all when empty.
    pub states: Vec<State>,
    /// Only those that have been in their state since before this, in milliseconds since the Unix epoch.
    pub before_ms: Option<i64>,
}

/// What is known of a job that an order is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steerable {
    /// Its state.
    pub state: State,
    /// Whether it is tried again at a time that is known.
    pub has_time: bool,
    /// What was ordered for it while it is under way: to be paused or cancelled.
    pub wanted: Option<State>,
    /// Whether somebody works on it.
    pub under_way: bool,
}

/// What follows from an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Nothing,
    /// It is paused or cancelled.
    Become(State),
    /// It is queued as it was left.
    Queue,
    /// It is queued, and begins with a new session: the host may have the file already.
    QueueAnew,
    /// It is due now.
    BeDue,
    /// What follows its upload is due now.
    DeliverNow,
    /// Whoever works on it stops, and leaves it paused or cancelled.
    LeaveAs(State),
    /// Whoever works on it goes on.
    GoOn,
    /// It stays as it is, and the version of its file gets a further job for its host.
    FurtherJob,
    /// It is removed.
    Remove,
}

/// What became of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steered {
    /// The jobs that it has changed.
    pub changed: u64,
    /// The first of them.
    pub jobs: Vec<JobId>,
    /// Those of them that are under way, and stop.
    pub stopping: Vec<JobId>,
    /// How many it has left as they are, by their state.
    pub unchanged: BTreeMap<State, u64>,
    /// The hosts of the jobs that are to be tried at once.
    pub hosts: BTreeSet<String>,
    /// Where to go on, if there may be more.
    #[serde(skip)]
    pub next: Option<JobId>,
}

/// Jobs that are named in what became of an order.
const NAMED_MAX: usize = 1000;

impl Order {
    /// Every order.
    #[cfg(test)]
    const ALL: [Order; 6] = [Order::Retry, Order::Pause, Order::Resume, Order::Cancel, Order::Again, Order::Forget];

    /// What follows for this job.
    pub(crate) fn effect(self, job: Steerable) -> Effect {
        if job.state == State::Uploading && job.under_way {
            return self.effect_under_way(job.wanted);
        }
        match (self, job.state) {
            (Order::Pause, State::Queued | State::Uploading | State::Waiting | State::Held) => Effect::Become(State::Paused),
            (Order::Cancel, State::Queued | State::Uploading | State::Waiting | State::Held | State::Paused) => {
                Effect::Become(State::Cancelled)
            }
            (Order::Resume, State::Paused) => Effect::Queue,
            (Order::Retry, State::Waiting) if job.has_time => Effect::BeDue,
            (Order::Retry, State::Held) => Effect::BeDue,
            (Order::Retry, State::Uploaded) => Effect::DeliverNow,
            (Order::Retry, State::Failed) => Effect::Queue,
            (Order::Again, State::Failed | State::Cancelled) => Effect::Queue,
            // The host may have the file, and this is how a person says that it is to be sent all the same.
            (Order::Again, State::Held) if !job.has_time => Effect::QueueAnew,
            (Order::Again, State::Done) => Effect::FurtherJob,
            (Order::Forget, State::Done | State::Failed | State::Gone | State::Cancelled) => Effect::Remove,
            _ => Effect::Nothing,
        }
    }

    fn effect_under_way(self, wanted: Option<State>) -> Effect {
        match (self, wanted) {
            (Order::Pause, None) => Effect::LeaveAs(State::Paused),
            (Order::Cancel, None | Some(State::Paused)) => Effect::LeaveAs(State::Cancelled),
            (Order::Resume, Some(State::Paused)) => Effect::GoOn,
            _ => Effect::Nothing,
        }
    }

    /// The states in which a job may be that this changes.
    pub(crate) fn concerns(self) -> impl Iterator<Item = State> {
        let changes = move |state: &State| {
            let wanted = [None, Some(State::Paused)];
            let jobs = wanted.into_iter().flat_map(|wanted| [true, false].map(|flag| (wanted, flag)));
            jobs.into_iter().any(|(wanted, flag)| {
                self.effect(Steerable { state: *state, has_time: flag, wanted, under_way: true }) != Effect::Nothing
            })
        };
        State::ALL.into_iter().filter(changes)
    }
}

/// The state of a job whose worker leaves it in `state` after `wanted` was ordered. What is over is over.
pub(crate) fn left(wanted: Option<State>, state: State) -> State {
    match (wanted, state) {
        _ if planted!("order.forgotten") => state,
        (Some(wanted), State::Queued | State::Uploading | State::Waiting | State::Held) => wanted,
        _ => state,
    }
}

impl Selection {
    /// Whether single jobs or files are named.
    pub fn names(&self) -> bool {
        !self.jobs.is_empty() || !self.files.is_empty()
    }
}

impl Steered {
    /// Counts a job.
    pub(crate) fn note(&mut self, job: JobId, state: State, effect: Effect) {
        if effect == Effect::Nothing {
            *self.unchanged.entry(state).or_default() += 1;
            return;
        }
        self.changed += 1;
        if self.jobs.len() < NAMED_MAX && !planted!("order.untold") {
            self.jobs.push(job);
        }
        if matches!(effect, Effect::LeaveAs(_)) {
            self.stopping.push(job);
        }
    }

    /// Adds what became of the jobs that come after.
    pub(crate) fn add(&mut self, more: Steered) {
        let room = NAMED_MAX.saturating_sub(self.jobs.len());
        self.changed += more.changed;
        self.jobs.extend(more.jobs.into_iter().take(room));
        self.stopping.extend(more.stopping);
        more.unchanged.into_iter().for_each(|(state, jobs)| *self.unchanged.entry(state).or_default() += jobs);
        self.hosts.extend(more.hosts);
        self.next = more.next;
    }
}

/// Paths in base64, since they need not be UTF-8.
pub(crate) fn write_paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| STANDARD.encode(path.as_os_str().as_bytes())))
}

pub(crate) fn read_paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read = |text: String| STANDARD.decode(text).map(|bytes| PathBuf::from(OsString::from_vec(bytes))).map_err(D::Error::custom);
    texts.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: State) -> Steerable {
        Steerable { state, has_time: false, wanted: None, under_way: true }
    }

    #[test]
    fn each_order_changes_what_it_is_for_and_nothing_else() {
        use Effect::{BeDue, Become, DeliverNow, FurtherJob, LeaveAs, Nothing, Queue, QueueAnew, Remove};
        use State::{Cancelled, Done, Failed, Gone, Held, Paused, Queued, Uploaded, Uploading, Waiting};
        for order in Order::ALL {
            for state in State::ALL {
                for has_time in [false, true] {
                    let expected = match (order, state) {
                        (Order::Pause, Queued | Waiting | Held) => Become(Paused),
                        (Order::Pause, Uploading) => LeaveAs(Paused),
                        (Order::Cancel, Queued | Waiting | Held | Paused) => Become(Cancelled),
                        (Order::Cancel, Uploading) => LeaveAs(Cancelled),
                        (Order::Resume, Paused) => Queue,
                        (Order::Retry, Waiting) if has_time => BeDue,
                        (Order::Retry, Held) => BeDue,
                        (Order::Retry, Failed) => Queue,
                        (Order::Retry, Uploaded) => DeliverNow,
                        (Order::Again, Failed | Cancelled) => Queue,
                        (Order::Again, Held) if !has_time => QueueAnew,
                        (Order::Again, Done) => FurtherJob,
                        (Order::Forget, Done | Failed | Gone | Cancelled) => Remove,
                        _ => Nothing,
                    };
                    assert_eq!(order.effect(Steerable { has_time, ..job(state) }), expected, "{order:?} of {state}");
                }
            }
        }
    }

    #[test]
    fn what_is_done_failed_or_gone_is_neither_paused_nor_cancelled() {
        for state in [State::Uploaded, State::Done, State::Failed, State::Gone, State::Cancelled] {
            assert_eq!(Order::Pause.effect(job(state)), Effect::Nothing, "{state}");
            assert_eq!(Order::Cancel.effect(job(state)), Effect::Nothing, "{state}");
        }
    }

    #[test]
    fn the_last_order_for_a_job_under_way_counts_but_a_cancelled_one_does_not_go_on() {
        use State::{Cancelled, Paused};
        let effect = |order: Order, wanted| order.effect(Steerable { wanted, ..job(State::Uploading) });
        assert_eq!(effect(Order::Resume, Some(Paused)), Effect::GoOn);
        assert_eq!(effect(Order::Cancel, Some(Paused)), Effect::LeaveAs(Cancelled));
        for (order, wanted) in [
            (Order::Pause, Some(Paused)),
            (Order::Pause, Some(Cancelled)),
            (Order::Cancel, Some(Cancelled)),
            (Order::Resume, Some(Cancelled)),
            (Order::Resume, None),
            (Order::Retry, Some(Paused)),
            (Order::Again, Some(Cancelled)),
        ] {
            assert_eq!(effect(order, wanted), Effect::Nothing, "{order:?} after {wanted:?}");
        }
        // What a daemon that was killed has left is nobody's work.
        let left = Steerable { under_way: false, ..job(State::Uploading) };
        assert_eq!(Order::Pause.effect(left), Effect::Become(Paused));
        assert_eq!(Order::Cancel.effect(left), Effect::Become(Cancelled));
    }

    #[test]
    fn an_order_moves_no_job_in_a_way_that_its_state_does_not_allow() {
        for order in Order::ALL {
            for state in State::ALL {
                for has_time in [false, true] {
                    let moved = match order.effect(Steerable { has_time, ..job(state) }) {
                        Effect::Become(to) | Effect::LeaveAs(to) => Some(to),
                        Effect::Queue | Effect::QueueAnew => Some(State::Queued),
                        _ => None,
                    };
                    assert!(moved.is_none_or(|to| state.may_become(to)), "{order:?} of {state}");
                }
            }
        }
    }

    #[test]
    fn what_a_worker_leaves_is_where_it_was_ordered_unless_it_is_over() {
        use State::{Cancelled, Done, Failed, Gone, Held, Paused, Queued, Uploaded, Waiting};
        for wanted in [Paused, Cancelled] {
            for state in [Queued, Waiting, Held] {
                assert_eq!(left(Some(wanted), state), wanted);
                assert_eq!(left(None, state), state);
            }
            for state in [Uploaded, Done, Failed, Gone] {
                assert_eq!(left(Some(wanted), state), state);
            }
        }
    }

    #[test]
    fn an_order_concerns_the_states_it_changes() {
        use State::{Cancelled, Done, Failed, Gone, Held, Paused, Queued, Uploaded, Uploading, Waiting};
        let concerns = |order: Order| order.concerns().collect::<Vec<_>>();
        assert_eq!(concerns(Order::Retry), [Waiting, Held, Uploaded, Failed]);
        assert_eq!(concerns(Order::Pause), [Queued, Uploading, Waiting, Held]);
        assert_eq!(concerns(Order::Resume), [Uploading, Paused]);
        assert_eq!(concerns(Order::Cancel), [Queued, Uploading, Waiting, Held, Paused]);
        assert_eq!(concerns(Order::Again), [Held, Done, Failed, Cancelled]);
        assert_eq!(concerns(Order::Forget), [Done, Failed, Gone, Cancelled]);
    }

    #[test]
    fn a_selection_travels_with_paths_of_any_bytes() {
        let selection = Selection {
            jobs: vec![JobId(3)],
            files: vec![OsString::from_vec(b"/a/\xff\n".to_vec()).into()],
            below: vec!["/b".into()],
            hosts: vec!["box".into()],
            states: vec![State::Held],
            before_ms: Some(5),
        };
        let text = serde_json::to_string(&selection).unwrap();
        assert_eq!(serde_json::from_str::<Selection>(&text).unwrap(), selection);
        assert!(serde_json::from_str::<Selection>("{\"states\":[\"x\"]}").is_err());
    }
}
