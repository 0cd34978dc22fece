//! The word of a state on the command line.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::job::State;

/// Reads the word of a state.
pub(super) fn states() -> impl TypedValueParser<Value = State> {
    // The reader lets no other word pass.
    PossibleValuesParser::new(State::ALL.map(State::word)).map(|word| State::from_word(&word).unwrap_or(State::Queued))
}
