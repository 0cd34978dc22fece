//! What the configuration must know of a kind of host. Whoever reads a configuration hands the kinds in; none is named here.

use std::any::Any;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use super::file::Table;
use super::{Environment, SecretSource};

/// How often a host is to hear from us, so that what lets us in does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// The time from one call to the next.
    pub every: Duration,
    /// Whether it is also to hear from us while there is nothing to be uploaded to it.
    pub always: bool,
}

/// The settings that only one kind of host has.
pub trait HostSettings: Any + Debug + Send + Sync {
    /// The secrets among them, with the keys they stand under.
    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        Vec::new()
    }

    /// Whose files they are there, in words that differ for another account; nothing where there are no accounts, or no setting tells.
    fn account(&self) -> String {
        String::new()
    }

    /// How often the host wants to hear from us; nothing where it does not matter.
    fn keep_alive(&self) -> Option<KeepAlive> {
        None
    }

    /// The web addresses that its requests go to, as far as the settings tell; nothing where they tell none.
    fn addresses(&self) -> Vec<&str> {
        Vec::new()
    }

    /// What they allow and a person may not mean, for `check`.
    fn risks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Takes a kind's own keys out of a `[host.NAME]` table. Nothing where one that must be there is missing or wrong, which is then
/// told.
pub(crate) type ReadSettings = fn(&Table<'_>, &dyn Environment) -> Option<Arc<dyn HostSettings>>;

/// A kind of host: the protocol that it speaks, as far as the configuration and what follows from it are concerned.
pub struct HostKind {
    pub(crate) word: &'static str,
    pub(crate) name: &'static str,
    pub(crate) max_uploads: Option<usize>,
    pub(crate) gives_only_its_word: bool,
    pub(crate) probes_if_told_to: bool,
    pub(crate) documented: bool,
    pub(crate) read: ReadSettings,
}

impl Debug for HostKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)
    }
}

impl HostKind {
    /// The word after `kind =`.
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// Its name, as its maker writes it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Jobs uploading at once that make sense when nobody says; nothing leaves it to the daemon's limit.
    pub fn max_uploads(&self) -> Option<usize> {
        self.max_uploads
    }

    /// Whether this kind never tells more of a stored file than that it has it: no size, no digest.
    pub fn gives_only_its_word(&self) -> bool {
        self.gives_only_its_word
    }

    /// Whether it can be asked about a finish that went unanswered, but at a cost that the user has to choose with `on_unknown`.
    pub fn probes_if_told_to(&self) -> bool {
        self.probes_if_told_to
    }

    /// Whether people are told of this kind. One that is built for tests alone is not.
    pub fn is_documented(&self) -> bool {
        self.documented
    }
}

/// Every kind that there is.
pub(super) type Kinds = Vec<&'static HostKind>;

/// The words of the kinds that people are told of, in the order of their list.
pub(super) fn words(kinds: &Kinds) -> Vec<&'static str> {
    kinds.iter().filter(|kind| kind.documented).map(|kind| kind.word).collect()
}

/// The names of those kinds that can be asked if the user wants it, as a sentence has them.
pub(super) fn names_of_those_that_probe(kinds: &Kinds) -> String {
    let names: Vec<&str> = kinds.iter().filter(|kind| kind.probes_if_told_to).map(|kind| kind.name).collect();
    match names.as_slice() {
        [] => "no kind of host supports".into(),
        [name] => format!("only {name} supports"),
        [names @ .., last] => format!("only {} and {last} support", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: HostKind = HostKind {
        word: "a",
        name: "A",
        max_uploads: None,
        gives_only_its_word: false,
        probes_if_told_to: false,
        documented: true,
        read: |_, _| None,
    };
    static ONE: HostKind = HostKind { name: "B", probes_if_told_to: true, ..NONE };
    static TWO: HostKind = HostKind { name: "C", probes_if_told_to: true, ..NONE };
    static HIDDEN: HostKind = HostKind { documented: false, ..NONE };

    #[test]
    fn who_may_be_asked_is_told_by_name() {
        assert_eq!(names_of_those_that_probe(&vec![&NONE]), "no kind of host supports");
        assert_eq!(names_of_those_that_probe(&vec![&NONE, &ONE]), "only B supports");
        assert_eq!(names_of_those_that_probe(&vec![&ONE, &NONE, &TWO]), "only B and C support");
        assert_eq!(words(&vec![&NONE, &HIDDEN, &ONE]), ["a", "a"]);
    }
}
