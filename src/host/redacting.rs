//! The one place where everything that a host's code says or finds is looked through for secrets, whatever the kind.
//!
//! The transport takes secrets out of replies before they are read. What is made of a reply afterwards is decoded, cut and put
//! together with words of our own, so it is looked at once more before anybody keeps it.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use crate::job::digest::Algorithm;
use crate::job::shown::is_unsafe;
use crate::job::upload::{Ack, Found, Opened, Outcome, Session, Shape};
use crate::secret::Secret;

use super::error;
use super::redact::{KnownSecrets, Secrets};
use super::{Answer, Completion, FileFacts, Host, HostError, Part, Tickets, UploadSession};

/// An error with what it came from.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The most that is kept of links to one file, in bytes: a host of several addresses names one for each.
const LINKS_BYTES_MAX: usize = 16 * 1024;
/// The most that is kept of ids of one file, in bytes.
const IDS_BYTES_MAX: usize = 4 * 1024;

/// A host whose words are looked through.
pub(super) struct Redacting {
    host: Arc<dyn Host>,
    secrets: KnownSecrets,
}

impl Redacting {
    /// `host` with its words looked through for `secrets`, and with the bounds of what is kept of them, also where there are none.
    pub(super) fn around(host: Arc<dyn Host>, secrets: KnownSecrets) -> Arc<dyn Host> {
        Arc::new(Redacting { host, secrets })
    }

    /// What is known by now: a call may have brought a secret of its own.
    fn secrets(&self) -> Arc<Secrets> {
        self.secrets.now()
    }

    fn error(&self, error: HostError) -> HostError {
        let secrets = self.secrets();
        let shows_one = |source: &error::ErrorCause| causes(source).any(|cause| secrets.is_shown_in(&cause.to_string()));
        HostError {
            said: secrets.kept_out_of(error.said),
            reply: error.reply.map(|reply| secrets.kept_out_of(reply)),
            code: error.code.map(|code| secrets.kept_out_of(code)),
            source: error.source.filter(|source| !shows_one(source)),
            ..error
        }
    }

    /// A link, an id or a name that shows a secret is none, nor is an id without end or one that a terminal would obey.
    fn outcome(&self, outcome: Outcome) -> Outcome {
        let secrets = self.secrets();
        let told = |text: Option<String>| text.filter(|text| !secrets.is_shown_in(text));
        let link = told(outcome.link).and_then(|links| whole_words(links, LINKS_BYTES_MAX));
        let ids = told(outcome.remote_id).filter(|ids| !ids.chars().any(is_unsafe));
        Outcome { link, remote_id: ids.and_then(|ids| whole_words(ids, IDS_BYTES_MAX)), name: told(outcome.name), ..outcome }
    }

    fn of<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>, tell: impl FnOnce(T) -> T + Send + 'a) -> Answer<'a, T> {
        Box::pin(async move { answer.await.map(tell).map_err(|error| self.error(error)) })
    }
}

/// As many words of a text as `bytes_max` hold; nothing where not even one fits.
fn whole_words(text: String, bytes_max: usize) -> Option<String> {
    if text.len() <= bytes_max {
        return Some(text);
    }
    let end = text[..text.floor_char_boundary(bytes_max)].rfind(' ')?;
    Some(text[..end].trim_end().to_owned()).filter(|words| !words.is_empty())
}

impl Host for Redacting {
    fn shape(&self, file_bytes: u64) -> Shape {
        self.host.shape(file_bytes)
    }

    fn samples(&self, file_bytes: u64) -> Vec<Range<u64>> {
        self.host.samples(file_bytes)
    }

    fn open<'a>(&'a self, file: &'a FileFacts, tickets: &'a Tickets) -> Answer<'a, Opened> {
        self.of(self.host.open(file, tickets), |opened| match opened {
            Opened::AlreadyThere(outcome) => Opened::AlreadyThere(self.outcome(outcome)),
            other => other,
        })
    }

    fn has_begun(&self, session: &Session) -> bool {
        self.host.has_begun(session)
    }

    fn begin<'a>(&'a self, at: &'a UploadSession, again: bool) -> Answer<'a, Session> {
        self.of(self.host.begin(at, again), |session| session)
    }

    fn part_digest(&self, session: &Session, shape: &Shape) -> Option<Algorithm> {
        self.host.part_digest(session, shape)
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        self.of(self.host.send(at, part), |ack| ack)
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Found> {
        self.of(self.host.probe(at, completion), |found| match found {
            Found::Complete(outcome) => Found::Complete(self.outcome(outcome)),
            Found::Likely(evidence) => Found::Likely(self.secrets().kept_out_of(evidence)),
            other => other,
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        self.of(self.host.finish(at, completion), |outcome| self.outcome(outcome))
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        self.of(self.host.abandon(at), |()| ())
    }

    fn check(&self) -> Answer<'_, String> {
        self.of(self.host.check(), |said| self.secrets().kept_out_of(said))
    }

    fn keep_alive(&self) -> Answer<'_, ()> {
        self.of(self.host.keep_alive(), |()| ())
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        self.of(self.host.open_ahead(files, most), |()| ())
    }

    fn address<'a>(&'a self, remote_id: &'a str) -> Answer<'a, Option<Secret>> {
        self.of(self.host.address(remote_id), |address| address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unusable;
    use super::*;
    use crate::job::upload::Class;

    /// A failed call of a host with this error, and a password.
    async fn told(error: HostError) -> HostError {
        let secrets = KnownSecrets::default();
        secrets.add(&Secret::new("hunter2"));
        Redacting::around(Arc::new(Unusable(error)), secrets).check().await.unwrap_err()
    }

    #[test]
    fn of_addresses_without_end_whole_ones_are_kept() {
        let many = vec!["https://h/12345"; 5_000].join(" ");
        let kept = whole_words(many, LINKS_BYTES_MAX).unwrap();
        assert!(kept.len() <= LINKS_BYTES_MAX && kept.len() > LINKS_BYTES_MAX - 20 && kept.ends_with("/12345"));
        assert_eq!(whole_words("x".repeat(IDS_BYTES_MAX + 1), IDS_BYTES_MAX), None);
        assert_eq!(whole_words("x".repeat(IDS_BYTES_MAX), IDS_BYTES_MAX).map(|id| id.len()), Some(IDS_BYTES_MAX));
    }

    /// A host that has every file already, under this id.
    struct Has(String);

    impl Host for Has {
        fn shape(&self, file_bytes: u64) -> Shape {
            Unusable(HostError::new(Class::Transient, "")).shape(file_bytes)
        }

        fn open<'a>(&'a self, _: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
            let outcome = Outcome { remote_id: Some(self.0.clone()), link: Some(self.0.clone()), ..Outcome::default() };
            Box::pin(async { Ok(Opened::AlreadyThere(outcome)) })
        }

        fn send<'a>(&'a self, _: &'a UploadSession, _: &'a Part) -> Answer<'a, Ack> {
            Box::pin(async { Err(HostError::new(Class::Transient, "")) })
        }

        fn finish<'a>(&'a self, _: &'a UploadSession, _: Completion<'a>) -> Answer<'a, Outcome> {
            Box::pin(async { Err(HostError::new(Class::Transient, "")) })
        }

        fn check(&self) -> Answer<'_, String> {
            Box::pin(async { Ok(String::new()) })
        }
    }

    #[tokio::test]
    async fn what_a_host_without_secrets_tells_of_a_file_has_its_bounds_too() {
        let told = async |id: &str| {
            let host = Redacting::around(Arc::new(Has(id.to_owned())), KnownSecrets::default());
            match host.open(&FileFacts::named("file", 1), &Tickets::default()).await {
                Ok(Opened::AlreadyThere(Outcome { link, remote_id, .. })) => (link.is_some(), remote_id.is_some()),
                _ => (false, false),
            }
        };
        assert_eq!(told("id").await, (true, true));
        assert_eq!(told(&"x".repeat(LINKS_BYTES_MAX + 1)).await, (false, false));
        assert!(!told("id\u{1b}[2J").await.1);
    }

    #[tokio::test]
    async fn a_secret_is_in_no_part_of_an_error() {
        let shows = |text: &str| {
            let cause = std::io::Error::other(text.to_owned());
            HostError::new(Class::Transient, text).with_code(text).with_reply(text).caused_by(cause)
        };
        let error = told(shows("no hunter2 here")).await;
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert!(error.source.is_none() && error.code.is_some(), "{error:?}");
        let harmless = shows("no route to host");
        assert_eq!(told(harmless.clone()).await, harmless);
    }
}
