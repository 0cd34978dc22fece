//! Names that uploads of this process are about to get. Two files of one name may find it free at the same time, and not every server
//! refuses the second.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::os::clock::Clock;

/// For how long a name counts as taken after it was asked for: longer than anybody relies on a look at it.
const LIFE_MS: i64 = 20_000;
/// How many names are remembered; with more, those that are not being asked for are forgotten.
const CLAIMS_MAX: usize = 4096;

/// The names, by their addresses.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<BTreeMap<String, Held>>);

#[derive(Debug)]
struct Held {
    /// The upload that has it.
    by: String,
    /// Until when; nothing while it is being asked for.
    until_ms: Option<i64>,
}

/// A name that an upload is asking for.
pub(super) struct Claim<'c> {
    claims: &'c Claims,
    clock: &'c Clock,
    address: String,
}

impl Claims {
    /// Keeps a name for an upload, if no other one has it.
    pub(super) fn claim<'c>(&'c self, clock: &'c Clock, address: &str, by: &str) -> Option<Claim<'c>> {
        let now = clock.now_ms();
        let mut held = self.held();
        let is_over = |held: &Held| held.until_ms.is_some_and(|until| !(now..=now.saturating_add(LIFE_MS)).contains(&until));
        if held.len() >= CLAIMS_MAX {
            held.retain(|_, held| held.until_ms.is_none());
        }
        if held.get(address).is_some_and(|held| held.by != by && !is_over(held)) {
            return None;
        }
        held.insert(address.to_owned(), Held { by: by.to_owned(), until_ms: None });
        Some(Claim { claims: self, clock, address: address.to_owned() })
    }

    /// Gives back whatever an upload has that is given up.
    pub(super) fn forget(&self, by: &str) {
        self.held().retain(|_, held| held.by != by);
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// The name was not given.
    pub(super) fn give_back(self) {
        self.claims.held().remove(&self.address);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.claims.held().get_mut(&self.address) {
            held.until_ms = Some(self.clock.now_ms().saturating_add(LIFE_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_uploads_until_a_while_after_it_was_asked_for() {
        let (claims, clock) = (Claims::default(), Clock::default());
        let first = claims.claim(&clock, "https://h.example/a", "one").unwrap();
        assert!(claims.claim(&clock, "https://h.example/a", "two").is_none());
        assert!(claims.claim(&clock, "https://h.example/b", "two").is_some());
        drop(first);
        assert!(claims.claim(&clock, "https://h.example/a", "two").is_none(), "somebody may have looked before");
        assert!(claims.claim(&clock, "https://h.example/a", "one").is_some(), "its own");
        claims.forget("one");
        claims.claim(&clock, "https://h.example/a", "two").unwrap().give_back();
        assert!(claims.claim(&clock, "https://h.example/a", "one").is_some());
        claims.held().values_mut().for_each(|held| held.until_ms = Some(clock.now_ms() - 1));
        assert!(claims.claim(&clock, "https://h.example/a", "two").is_some());
    }
}
