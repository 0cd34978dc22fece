//! Keys that are taken (page, 8). An object of our own upload is no obstacle, and nobody else's is ever taken for ours.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::job::upload::{Class, Outcome};

use super::super::error::{HostError, excerpt};
use super::checksum::Expected;
use super::keys::numbered;
use super::settings::OnExisting;
use super::{Made, Open, S3, Whose};

/// How many further names are tried.
const NAMES_TRIED: u32 = 100;
/// How many keys are kept in memory that were refused; with more, all are forgotten.
const REFUSED_MAX: usize = 4096;

/// Keys that the service has refused to store a whole body under, since the host was made. It heeds the condition, then.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether it has refused any.
    refuses: bool,
    keys: BTreeSet<String>,
}

impl Refused {
    fn hold(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, key: &str) {
        let mut known = self.hold();
        if known.keys.len() >= REFUSED_MAX {
            known.keys.clear();
        }
        known.refuses = true;
        known.keys.insert(key.to_owned());
    }

    /// Whether a key has to be looked at before a whole body is sent to it. A service that `refuses_taken_keys` says itself that one is
    /// taken, once; then a free name has to be found.
    fn is_to_be_looked_at(&self, key: &str, refuses_taken_keys: bool) -> bool {
        let known = self.hold();
        !(refuses_taken_keys || known.refuses) || known.keys.contains(key)
    }
}

impl S3 {
    /// Gives an upload a key that is free, as far as that can be known before it begins. With `skip`, what is there already.
    pub(super) async fn find_a_key(&self, open: &mut Open, is_whole: bool) -> Result<Option<Outcome>, HostError> {
        let wanted = open.key.clone();
        // What is to be skipped or refused is not sent to find that out.
        let may_be_refused = is_whole && open.on_existing == OnExisting::Rename;
        if may_be_refused && !self.refused.is_to_be_looked_at(&wanted, self.settings.refuses_taken_keys) {
            return Ok(None);
        }
        for number in 1..=NAMES_TRIED {
            if open.on_existing == OnExisting::Overwrite || !self.is_there(open).await? {
                return Ok(None);
            }
            match open.on_existing {
                OnExisting::Skip => return Ok(Some(self.named(open, Made::on_its_word()))),
                OnExisting::Error | OnExisting::Overwrite => return Err(taken(open)),
                OnExisting::Rename => open.key = numbered(&wanted, number + 1)?,
            }
        }
        open.key = wanted;
        Err(taken(open))
    }

    /// Whether the key has an object. What may not look finds out when it stores; what is refused hears then why: the answer to a HEAD
    /// has no body that would say it.
    async fn is_there(&self, open: &Open) -> Result<bool, HostError> {
        match self.head(open, &open.key).await {
            Ok(stored) => Ok(stored.is_some()),
            Err(error) if matches!(error.status, Some(301 | 400 | 403)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks once more before an object would be made of parts: not every service heeds the condition. What there is to tell where
    /// the key has an object; nothing where it is free.
    pub(super) async fn look_before(&self, open: &Open, upload: &str, own: &Expected) -> Result<Option<Made>, HostError> {
        if !self.is_there(open).await? {
            return Ok(None);
        }
        let made = self.who_took(open, own, taken(open)).await?;
        self.give_up(open, upload).await?;
        Ok(Some(made))
    }

    /// What follows where the service says that the key is taken: by this upload, whose answer was lost; or by another object.
    pub(super) async fn who_took(&self, open: &Open, own: &Expected, refused: HostError) -> Result<Made, HostError> {
        // Of what cannot be looked at nobody knows whether it was made by a request of ours that went unanswered.
        let doubt = match self.whose(open).await? {
            Whose::Ours(stored) => return Made::of(stored, own),
            Whose::NotOurs => false,
            Whose::Unknown => true,
        };
        match open.on_existing {
            OnExisting::Skip => Ok(Made::on_its_word()),
            OnExisting::Error => Err(HostError { status: refused.status, code: refused.code, ..taken(open) }),
            // The key of an upload cannot be changed: another begins, with the next name.
            OnExisting::Rename | OnExisting::Overwrite => Err(HostError { class: Class::SessionLost, doubt, ..refused }),
        }
    }
}

fn taken(open: &Open) -> HostError {
    let said = format!("the bucket has another object `{}`; rename one of them, or set `on_existing`", excerpt(&open.key));
    HostError::new(Class::RequestRefused, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_at_unless_the_service_refuses_what_is_taken_and_has_not_refused_it_yet() {
        let refused = Refused::default();
        assert!(refused.is_to_be_looked_at("a", false), "not every service heeds the condition");
        assert!(!refused.is_to_be_looked_at("a", true));
        refused.note("a");
        assert!(refused.is_to_be_looked_at("a", true), "a free name has to be found");
        assert!(!refused.is_to_be_looked_at("b", false), "it has shown that it heeds the condition");
    }
}
