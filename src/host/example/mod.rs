//! The example: a store of objects that does not exist. It is the template for a kind of host, and the test of what no real kind
//! uses yet. Built only with the feature `example-kind`.
//!
//! Source of every fact: `docs/protocols/example.md`, here "page". A token opens every request; parts go by `PUT` in any order,
//! each with its digest; what the host answers to a part is named again at the finish. A listing settles every doubt (page, 4).

mod replies;
mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Step;
use crate::job::digest::Algorithm;
use crate::job::upload::{Ack, Class, Found, Opened, Outcome, Repeat, Session, Shape};
use crate::secret::Secret;

use super::error::HostError;
use super::http::{Reply, Request, Transport};
use super::kind::Protocol;
use super::supplies::Supplies;
use super::token::{Granted, Token, TokenCell};
use super::{Answer, Completion, FileFacts, Host, Part, Tickets, UploadSession, stored, xml};

pub use replies::{Listed, Listing, account_reply, finish_reply, gone_reply, listing_reply, open_reply, part_reply, token_reply};
pub use settings::ExampleConfig;

/// The most parts of a file (page, 2.2).
const PARTS_MAX: u32 = 10_000;
/// Parts of one file in flight; the page sets no limit.
const PARALLEL: usize = 4;
/// How long a session is kept (page, 4).
const SESSION_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A listing of [`PARTS_MAX`] parts has room in this many bytes.
const LISTING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the host may take to join the parts (`docs/protocols/README.md`, section 3).
const FINISH_PATIENCE: Duration = Duration::from_secs(120);

// Requests.

/// A session as stored. The address is not in it: the token belongs to the one in the settings, and must go to no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    id: String,
}

impl Open {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Open, HostError> {
        stored::load(session, Example::NAME)
    }
}

/// What asks for a session (page, 2.2).
fn open_query(file: &FileFacts) -> String {
    format!("name={}&bytes={}&parts={}", utf8_percent_encode(&file.name, NON_ALPHANUMERIC), file.bytes, file.parts)
}

/// What makes a file of the parts (page, 2.5).
fn finish_body(receipts: &BTreeMap<u32, String>) -> String {
    let part = |(number, etag): (&u32, &String)| {
        format!("<Part><Number>{}</Number><ETag>{}</ETag></Part>", number + 1, xml::escaped(etag))
    };
    format!("<Finish>{}</Finish>", receipts.iter().map(part).collect::<String>())
}

/// Of the parts that the host lists, those that are parts of the file.
fn held(at: &UploadSession, listed: Vec<Listed>) -> Vec<Ack> {
    let ack = |Listed { number, bytes, etag }: Listed| {
        let number = number.checked_sub(1).filter(|number| *number < at.plan.parts())?;
        let range = at.plan.range(number);
        (bytes == range.bytes).then(|| Ack { number, held_to: range.offset + range.bytes, receipt: Some(etag), moved_to: None })
    };
    listed.into_iter().filter_map(ack).collect()
}

// Glue.

/// An account of the example.
pub struct Example {
    settings: ExampleConfig,
    password: Secret,
    transport: Transport,
    token: TokenCell,
}

impl Example {
    /// An account with these settings.
    pub fn new(settings: ExampleConfig, password: Secret, transport: Transport) -> Example {
        let token = TokenCell::new(transport.clock().clone());
        Example { settings, password, transport, token }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.settings.base_url)
    }

    fn session_url(&self, session: &Session) -> Result<String, HostError> {
        Ok(self.url(&format!("/objects/{}", Open::load(session)?.id)))
    }

    /// Fetches a token (page, 2.1).
    async fn login(&self) -> Result<Granted, HostError> {
        let fields = [("user", self.settings.user.as_str()), ("password", self.password.reveal())];
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = self.url("/login");
        let request = Request::post(&url).text("application/x-www-form-urlencoded", form).secret(&self.password);
        token_reply(&self.transport.send(request).await?)
    }

    /// Sends a request with the token, and reads the answer. A token that has ended is replaced, once.
    async fn ask<'r, T>(
        &self,
        request: impl Fn() -> Request<'r>,
        read: impl Fn(&Reply) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let login = || async { self.login().await.map_err(|error| error.during(Step::Login)) };
        let has_ended = |error: &HostError| error.status == Some(401);
        let call = |token: Token| {
            let request = request().header("authorization", format!("Bearer {}", token.secret().reveal())).secret(token.secret());
            let read = &read;
            async move { read(&self.transport.send(request).await?) }
        };
        self.token.with(login, has_ended, call).await
    }
}

impl Protocol for Example {
    const WORD: &'static str = "example";
    const NAME: &'static str = "Example";
    const DOCUMENTED: bool = false;

    type Settings = ExampleConfig;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<ExampleConfig> {
        settings::read(table, environment)
    }

    fn make(settings: &ExampleConfig, supplies: &mut Supplies<'_>) -> Result<Example, HostError> {
        let password = supplies.secret(&settings.password)?;
        Ok(Example::new(settings.clone(), password, supplies.transport()?))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Open::load(session)?.store()
    }
}

impl Host for Example {
    fn shape(&self, _: u64) -> Shape {
        Shape {
            parts_max: PARTS_MAX,
            session_life: Some(SESSION_LIFE),
            repeat: Repeat::Harmless,
            parallel: PARALLEL,
            part_digest: Some(Algorithm::Md5),
            ..Shape::parts(self.settings.part_bytes)
        }
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let url = self.url(&format!("/objects?{}", open_query(file)));
            let id = self.ask(|| Request::post(&url).header("content-type", file.content_type), open_reply).await?;
            Open { id }.store().map(Opened::Session)
        })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let url = format!("{}/parts/{}", self.session_url(&at.session)?, part.number + 1);
            let digest = STANDARD.encode(part.digest.as_deref().unwrap_or_default());
            let etag = self.ask(|| Request::put(&url).header("content-md5", &digest).raw(part), part_reply).await?;
            Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: Some(etag), moved_to: None })
        })
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, _: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(async move {
            let url = self.session_url(&at.session)?;
            let read = |reply: &Reply| listing_reply(reply, at.plan.file_bytes);
            match self.ask(|| Request::get(&url).reply_max(LISTING_BYTES_MAX), read).await {
                Ok(Listing::Parts(listed)) => Ok(Found::Parts(held(at, listed))),
                Ok(Listing::Stored(outcome)) => Ok(Found::Complete(outcome)),
                Err(error) if error.class == Class::SessionLost => Ok(Found::Gone),
                Err(error) => Err(error),
            }
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let url = self.session_url(&at.session)?;
            let body = finish_body(&completion.confirmed.receipts);
            let request = || Request::post(&url).text("application/xml", body.clone()).patience(FINISH_PATIENCE);
            self.ask(request, |reply| finish_reply(reply, at.plan.file_bytes)).await
        })
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async move {
            let url = self.session_url(&at.session)?;
            self.ask(|| Request::delete(&url), gone_reply).await
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(&self.settings.base_url, files, most))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let url = self.url("/account");
            let free = self.ask(|| Request::get(&url), account_reply).await?;
            Ok(format!("logged in; {} free", bytesize::ByteSize::b(free).display().iec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::plan::Plan;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_address() {
        let file = FileFacts::named("a b&bytes=1/ä.zip", 7);
        assert_eq!(open_query(&file), "name=a%20b%26bytes%3D1%2F%C3%A4%2Ezip&bytes=7&parts=1");
    }

    #[test]
    fn a_finish_names_the_parts_in_order_and_from_one() {
        let receipts = BTreeMap::from([(1, "\"b\"".to_owned()), (0, "\"a\"".to_owned())]);
        let sent = xml::parse(&finish_body(&receipts)).unwrap();
        let named: Vec<_> = sent.children.iter().map(|part| (part.text_of("Number"), part.text_of("ETag"))).collect();
        assert_eq!(named, [(Some("1"), Some("\"a\"")), (Some("2"), Some("\"b\""))]);
    }

    #[test]
    fn only_parts_of_this_file_are_taken_from_a_listing() {
        let session = Open { id: "0".repeat(32) }.store().unwrap();
        let plan = Plan { file_bytes: 15, part_bytes: 10 };
        let at = UploadSession { session, tickets: Tickets::default(), plan, mid_states: std::sync::Arc::default() };
        let listed = |number, bytes| Listed { number, bytes, etag: "\"a\"".into() };
        let acks = held(&at, vec![listed(0, 10), listed(1, 9), listed(2, 5), listed(3, 5), listed(u32::MAX, 1)]);
        let acks: Vec<_> = acks.into_iter().map(|ack| (ack.number, ack.held_to, ack.receipt)).collect();
        assert_eq!(acks, [(1, 15, Some("\"a\"".to_owned()))]);
    }
}
