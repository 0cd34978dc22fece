//! The states of a job and the legal moves between them.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a job stands. The words are stored, shown and documented; they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Ready to be claimed.
    Queued,
    /// Claimed by a worker of the running daemon.
    Uploading,
    /// Nothing happens until a time that is known.
    Waiting,
    /// A person must act.
    Held,
    /// The host has it and the outcome is committed; hooks and after still have to run.
    Uploaded,
    /// All is done.
    Done,
    /// This file will never be taken by this host.
    Failed,
    /// The file changed or vanished; a new version is a new job.
    Gone,
    /// Set aside by a command.
    Paused,
    /// Ended by a command.
    Cancelled,
}

impl State {
    /// Every state, in the order in which people read them.
    pub const ALL: [State; 10] = [
        State::Queued,
        State::Uploading,
        State::Waiting,
        State::Held,
        State::Uploaded,
        State::Done,
        State::Failed,
        State::Gone,
        State::Paused,
        State::Cancelled,
    ];

    /// The word for it, as stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Uploading => "uploading",
            State::Waiting => "waiting",
            State::Held => "held",
            State::Uploaded => "uploaded",
            State::Done => "done",
            State::Failed => "failed",
            State::Gone => "gone",
            State::Paused => "paused",
            State::Cancelled => "cancelled",
        }
    }

    /// The state that `word` names.
    pub fn from_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing moves the job any more, unless somebody asks for it: a person, or a link that dies.
    pub fn is_final(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Gone | State::Cancelled)
    }

    /// Whether a job may go from this state to `next`. The table is in `docs/STATE.md`.
    pub fn may_become(self, next: State) -> bool {
        match self {
            State::Queued => matches!(next, State::Uploading | State::Waiting | State::Gone | State::Paused | State::Cancelled),
            State::Uploading => !matches!(next, State::Uploading),
            State::Waiting => matches!(next, State::Uploading | State::Queued | State::Gone | State::Paused | State::Cancelled),
            State::Held => {
                matches!(next, State::Uploading | State::Queued | State::Waiting | State::Gone | State::Paused | State::Cancelled)
            }
            State::Paused => matches!(next, State::Queued | State::Gone | State::Cancelled),
            // What a host has is queued again only for a new link, where the host is configured so.
            State::Uploaded => matches!(next, State::Done | State::Queued),
            State::Failed | State::Cancelled | State::Done => matches!(next, State::Queued),
            State::Gone => false,
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
        let word = String::deserialize(deserializer)?;
        State::from_word(&word).ok_or_else(|| D::Error::custom("no such state"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_never_change() {
        let words = ["queued", "uploading", "waiting", "held", "uploaded", "done", "failed", "gone", "paused", "cancelled"];
        assert_eq!(State::ALL.map(State::word), words);
        for state in State::ALL {
            assert_eq!(State::from_word(state.word()), Some(state));
            assert_eq!(state.to_string(), state.word());
        }
        assert_eq!(State::from_word("x"), None);
    }

    #[test]
    fn no_move_is_made_but_those_of_the_table() {
        use State::{Cancelled, Done, Failed, Gone, Held, Paused, Queued, Uploaded, Uploading, Waiting};
        for from in State::ALL {
            let to: &[State] = match from {
                Queued => &[Uploading, Waiting, Gone, Paused, Cancelled],
                Uploading => &[Queued, Waiting, Held, Uploaded, Done, Failed, Gone, Paused, Cancelled],
                Waiting => &[Queued, Uploading, Gone, Paused, Cancelled],
                Held => &[Queued, Uploading, Waiting, Gone, Paused, Cancelled],
                Uploaded => &[Queued, Done],
                Done | Failed | Cancelled => &[Queued],
                Paused => &[Queued, Gone, Cancelled],
                Gone => &[],
            };
            let made: Vec<State> = State::ALL.into_iter().filter(|to| from.may_become(*to)).collect();
            assert_eq!(made, to, "from {from}");
        }
    }

    #[test]
    fn only_an_end_is_final() {
        let ends: Vec<State> = State::ALL.into_iter().filter(|state| state.is_final()).collect();
        assert_eq!(ends, [State::Done, State::Failed, State::Gone, State::Cancelled]);
    }

    #[test]
    fn an_ended_job_is_never_claimed_again() {
        for state in State::ALL.into_iter().filter(|state| state.is_final()) {
            assert!(!state.may_become(State::Uploading), "{state} must pass through `queued`");
        }
    }
}
