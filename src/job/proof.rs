//! What a host has told about a stored file, and whether that is enough to touch the source.

/// What a host has told about a stored file, from the least to the most. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// That it has the file, and nothing that could be compared.
    #[default]
    Word,
    /// The size that it stored, which is that of the file.
    Size,
    /// That the digest of what it stored is that of the file.
    Digest,
}

impl Proof {
    /// Every proof.
    pub const ALL: [Proof; 3] = [Proof::Word, Proof::Size, Proof::Digest];

    /// The word for it, as stored.
    pub fn word(self) -> &'static str {
        match self {
            Proof::Word => "word",
            Proof::Size => "size",
            Proof::Digest => "digest",
        }
    }

    /// The proof that `word` names.
    pub fn from_word(word: &str) -> Option<Proof> {
        Proof::ALL.into_iter().find(|proof| proof.word() == word)
    }

    /// Whether the source may be removed or moved on this proof alone. A `trusted` host is taken at its word.
    pub fn suffices(self, trusted: bool) -> bool {
        trusted || self > Proof::Word || planted!("after.word_suffices")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_never_change() {
        assert_eq!(Proof::ALL.map(Proof::word), ["word", "size", "digest"]);
        assert_eq!(Proof::ALL.map(|proof| Proof::from_word(proof.word())), Proof::ALL.map(Some));
        assert_eq!((Proof::from_word(""), Proof::default()), (None, Proof::Word));
    }

    #[test]
    fn a_mere_word_suffices_only_from_a_trusted_host() {
        assert_eq!(Proof::ALL.map(|proof| proof.suffices(false)), [false, true, true]);
        assert_eq!(Proof::ALL.map(|proof| proof.suffices(true)), [true; 3]);
    }
}
