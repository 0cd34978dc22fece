//! Digests: which one a host wants to see, and what is known of a file's.

use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// How a digest is computed. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Md5,
    /// SHA-1: against damage, not against anybody.
    Sha1,
    /// SHA-256.
    Sha256,
    /// CRC-64/NVME: finds what a memory or a line has damaged, and costs next to nothing.
    Crc64Nvme,
    /// CRC-32C, the same with 32 bits.
    Crc32c,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 5] = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Crc64Nvme, Algorithm::Crc32c];

    /// The word for it, as stored.
    pub fn word(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
            Algorithm::Crc64Nvme => "crc64nvme",
            Algorithm::Crc32c => "crc32c",
        }
    }

    /// The algorithm that `word` names.
    pub fn from_word(word: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.word() == word)
    }

    /// How many words of 32 bits its inner state has.
    pub fn state_words(self) -> usize {
        match self {
            Algorithm::Md5 => 4,
            Algorithm::Sha1 => 5,
            Algorithm::Sha256 => 8,
            Algorithm::Crc64Nvme => 2,
            Algorithm::Crc32c => 1,
        }
    }
}

/// What a host wants to know of the bytes of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestRequirement {
    /// How the digest is computed.
    pub algorithm: Algorithm,
    /// Whether `open` needs it; otherwise it is computed while parts are sent, and needed only at the end.
    pub before_open: bool,
    /// Whether a part is sent with the mid-state of what is before it, which takes parts whose sizes are multiples of 64 bytes.
    pub mid_states: bool,
}

/// The inner state of a hash function between two blocks: its words, as they would be continued with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MidState(pub Box<[u32]>);

/// The mid-states where parts begin, as far as they are known. Grows from the front, never shrinks.
#[derive(Debug, Default)]
pub struct MidStates(RwLock<Vec<MidState>>);

impl MidStates {
    /// The state after all bytes before part `number`; nothing for the first part, or when it is not known yet.
    pub fn before(&self, number: u32) -> Option<MidState> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get((number as usize).checked_sub(1)?).cloned()
    }

    /// Adds the state before the next part.
    pub fn push(&self, state: MidState) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(state);
    }

    /// All that are known, in order.
    pub fn all(&self) -> Vec<MidState> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<Vec<MidState>> for MidStates {
    fn from(states: Vec<MidState>) -> MidStates {
        MidStates(RwLock::new(states))
    }
}

/// The digest of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// In lower-case hexadecimal.
    pub hex: String,
    /// The mid-states where the second part and those after it begin; none where no host wanted them.
    pub mid_states: Vec<MidState>,
}

impl Digest {
    /// Whether it is all that is wanted of a file of so many parts.
    pub fn meets(&self, wanted: DigestRequirement, parts: u32) -> bool {
        let has_states = self.mid_states.len() + 1 == parts as usize;
        self.algorithm == wanted.algorithm && (has_states || !wanted.mid_states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_never_change() {
        assert_eq!(Algorithm::ALL.map(Algorithm::word), ["md5", "sha1", "sha256", "crc64nvme", "crc32c"]);
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_word(algorithm.word()), Some(algorithm));
            assert_eq!(serde_json::to_string(&algorithm).unwrap(), format!("{:?}", algorithm.word()));
        }
        assert_eq!(Algorithm::from_word(""), None);
    }

    #[test]
    fn a_part_begins_with_the_digest_of_what_is_before_it_and_of_nothing_else() {
        let states = MidStates::default();
        assert_eq!((states.all(), states.before(0), states.before(1)), (vec![], None, None));
        let [first, second] = [1, 2].map(|word| MidState([word; 8].into()));
        states.push(first.clone());
        states.push(second.clone());
        assert_eq!(states.all(), [first.clone(), second.clone()]);
        assert_eq!([0, 1, 2, 3].map(|number| states.before(number)), [None, Some(first), Some(second), None]);
    }

    #[test]
    fn a_digest_of_another_kind_or_without_its_states_is_computed_anew() {
        let digest =
            |states| Digest { algorithm: Algorithm::Sha256, hex: String::new(), mid_states: vec![MidState([0; 8].into()); states] };
        let wanted = |algorithm, mid_states| DigestRequirement { algorithm, before_open: false, mid_states };
        let cases = [
            (0, wanted(Algorithm::Sha256, false), 3, true),
            (2, wanted(Algorithm::Sha256, false), 3, true),
            (2, wanted(Algorithm::Sha256, true), 3, true),
            (0, wanted(Algorithm::Sha256, true), 1, true),
            (0, wanted(Algorithm::Sha256, true), 3, false),
            (2, wanted(Algorithm::Sha256, true), 4, false),
            (2, wanted(Algorithm::Md5, false), 3, false),
        ];
        for (states, wanted, parts, meets) in cases {
            assert_eq!(digest(states).meets(wanted, parts), meets, "{states} states for {wanted:?} of {parts} parts");
        }
    }
}
