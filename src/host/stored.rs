//! What a host leaves in the queue: sessions, each with the version of its format, and receipts that are outcomes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::job::Proof;
use crate::job::upload::{Class, Outcome, Session};

use super::{Completion, HostError};

/// The format of every session so far; one that changes gets a number of its own.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    fields: T,
}

/// A session as it is stored.
pub(super) fn session(fields: &impl Serialize) -> Result<Session, HostError> {
    let text = serde_json::to_string(&Versioned { v: FORMAT, fields });
    text.map(Session).map_err(|error| HostError::new(Class::Unreadable, error.to_string()).caused_by(error))
}

/// The fields of a stored session of `whose`; one that cannot be read is lost.
pub(super) fn load<T: DeserializeOwned>(session: &Session, whose: &str) -> Result<T, HostError> {
    let read: Option<Versioned<T>> = serde_json::from_str(&session.0).ok();
    let known = read.filter(|read| read.v == FORMAT);
    known
        .map(|read| read.fields)
        .ok_or_else(|| HostError::new(Class::SessionLost, format!("the stored session does not belong to {whose}")))
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    link: Option<String>,
    remote_id: Option<String>,
    #[serde(default)]
    expires_ms: Option<i64>,
    /// The word of a [`Proof`].
    #[serde(default)]
    proof: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    bytes: Option<u64>,
}

/// The longest name that is kept, in bytes: no file system has longer ones.
const NAME_BYTES_MAX: usize = 1024;

/// The name that a host says it has stored a file under.
pub(super) fn name(said: Option<String>) -> Option<String> {
    said.filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX)
}

/// The receipt of a body that was its own commit: its outcome, until the finish hands it out.
pub(super) fn receipt(Outcome { link, remote_id, expires_ms, proof, name, bytes, maybe_duplicate: _ }: Outcome) -> Option<String> {
    serde_json::to_string(&Receipt { link, remote_id, expires_ms, proof: proof.word().into(), name, bytes }).ok()
}

/// The outcome in the receipt of the one part there was. One without a link is none.
pub(super) fn outcome(completion: Completion<'_>) -> Result<Outcome, HostError> {
    let kept = completion.confirmed.receipts.get(&0).and_then(|text| serde_json::from_str(text).ok());
    let kept = kept.filter(|Receipt { link, .. }| link.as_ref().is_some_and(|link| !link.trim().is_empty()));
    let outcome = kept.map(|Receipt { link, remote_id, expires_ms, proof, name, bytes }| {
        let proof = Proof::from_word(&proof).unwrap_or_default();
        Outcome { link, remote_id, expires_ms, proof, name, bytes, maybe_duplicate: false }
    });
    outcome.ok_or_else(|| HostError::new(Class::SessionLost, "the reply to the upload was not kept"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::upload::ConfirmedParts;

    #[test]
    fn an_outcome_without_a_link_was_not_kept() {
        let handed_out = |text: Option<&str>| {
            let mut confirmed = ConfirmedParts::default();
            confirmed.receipts.extend(text.map(|text| (0, text.to_owned())));
            outcome(Completion { confirmed: &confirmed, digest: None, repeated: false, last: None })
        };
        let (link, remote_id) = (Some("https://x/y".into()), Some("y".into()));
        let (name, bytes) = (Some("y (2)".into()), Some(9));
        let kept = Outcome { link, remote_id, expires_ms: Some(7), proof: Proof::Size, name, bytes, maybe_duplicate: false };
        assert_eq!(handed_out(receipt(kept.clone()).as_deref()).unwrap(), kept);
        let older = handed_out(Some("{\"link\":\"https://x/y\",\"remote_id\":null}")).unwrap();
        assert_eq!((older.expires_ms, older.proof, older.name, older.bytes), (None, Proof::Word, None, None));
        for text in
            [None, Some(""), Some("{}"), Some("{\"link\":null,\"remote_id\":\"y\"}"), Some("{\"link\":\" \",\"remote_id\":null}")]
        {
            assert_eq!(handed_out(text).unwrap_err().class, Class::SessionLost, "{text:?}");
        }
    }
}
