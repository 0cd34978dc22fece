//! UploadGig: a login brings an address that is good for a minute, the whole file goes there as one raw body, and nothing can be
//! asked.
//!
//! Source of every fact: `docs/protocols/uploadgig.md`, here "page"; the service's own description is its API page.
//! Too many logins lock an account out for minutes, so every login counts (page, 3); the address is fetched last (page, 4.5), holds
//! a secret and is never stored.

mod settings;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::upload::{Ack, Class, Found, Opened, Outcome, Session, Shape};
use crate::job::{Proof, Step};
use crate::secret::Secret;

use super::error::{HostError, excerpt, names_the_file};
use super::http::{Reply, Request, Transport};
use super::kind::Protocol;
use super::largest::Largest;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Ticket, Tickets, UploadSession, address, json, stored};

pub use settings::{Slug, UploadGigConfig};

/// One unit of `cmbs`, in bytes (page, 4.3).
const MIB: u64 = 1_048_576;
/// How old an address may be when the bytes begin to go there; it is good for 60 s (page, 4.5).
const ACTION_LIFE_MS: i64 = 45_000;
/// The first rest after "too many logins" (page, 3); it doubles up to an hour.
const COOL_DOWN: Duration = Duration::from_secs(300);
/// How long a login may take (page, 2.1), and the host may think about a file it has (`docs/protocols/README.md`, section 3).
const LOGIN_PATIENCE: Duration = Duration::from_secs(30);
const STORE_PATIENCE: Duration = Duration::from_secs(120);
/// What of a name is encoded: all but printable ASCII, and the sign of the encoding itself (page, 2.2).
const SLUG_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

// Requests.

/// A session as stored. The address of the bytes is not in it: it is a secret, and useless after a restart (page, 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SessionRecord {
    name: String,
    bytes: u64,
    /// MiB the account had left before the bytes went, where the host said so.
    cmbs_before: Option<u64>,
}

impl SessionRecord {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<SessionRecord, HostError> {
        stored::load(session, UploadGig::NAME)
    }
}

/// The name as the `Slug` header carries it, which nothing else does (page, 2.2).
fn slug(name: &str, spelling: Slug) -> String {
    match spelling {
        Slug::Encoded => encoded(name),
        // What a header cannot carry would end the request.
        Slug::Raw => name.chars().map(|c| if c.is_control() { '_' } else { c }).collect(),
    }
}

/// A name in ASCII. A space at either end would be lost on the way, so it is encoded as well.
fn encoded(name: &str) -> String {
    let encoded = utf8_percent_encode(name, SLUG_ENCODED).to_string();
    let inner = encoded.trim_matches(' ');
    let before = encoded.len() - encoded.trim_start_matches(' ').len();
    if inner.is_empty() {
        "%20".repeat(encoded.len().max(1))
    } else {
        format!("{}{inner}{}", "%20".repeat(before), "%20".repeat(encoded.len() - before - inner.len()))
    }
}

// Replies.

/// What a login brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Where the bytes go.
    pub address: Secret,
    /// MiB the account has left, where the host says so.
    pub cmbs: Option<u64>,
}

/// The address for the bytes, or why there is none (page, 3).
pub fn login_reply(reply: &Reply) -> Result<Action, HostError> {
    let Some(fields) = json::object(&reply.text) else {
        return Err(if reply.is_success() { strange(Class::Unreadable, "no JSON", reply) } else { reply.refusal() });
    };
    let Some(code) = json::text(fields.get("code")) else {
        return Err(if reply.is_success() {
            strange(Class::Unreadable, "an answer without a code", reply)
        } else {
            reply.refusal()
        });
    };
    if code != "1" {
        return Err(login_failure(&code, json::text(fields.get("result")).unwrap_or_default(), reply));
    }
    let empty = serde_json::Map::new();
    let result = fields.get("result").and_then(Value::as_object).unwrap_or(&empty);
    let Some(action) = result.get("action").and_then(Value::as_str).filter(|action| !action.is_empty()) else {
        let said = "the login worked, but the host gave no upload address";
        return Err(reply.failure(Class::Unreadable, said));
    };
    Ok(Action { address: Secret::new(action), cmbs: mebibytes(result.get("cmbs")) })
}

/// What is left of the account, which may be a fraction: rounded down, so that nothing is sent that finds no room (page, 2.1).
fn mebibytes(value: Option<&Value>) -> Option<u64> {
    let whole = json::number(value).and_then(|number| u64::try_from(number).ok());
    whole.or_else(|| {
        let fraction: f64 = json::text(value)?.parse().ok()?;
        // A conversion that ends at the largest number: there is no account of that size.
        (fraction.is_finite() && fraction >= 0.0).then_some(fraction as u64)
    })
}

fn login_failure(code: &str, text: String, reply: &Reply) -> HostError {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let said = format!("the host answered code {}: `{}`", excerpt(code), excerpt(&text));
    let failure = |class, said: String| reply.failure(class, said).with_code(code);
    if code == "-3" || has(&["few minutes", "too many"]) {
        let wait = Some(reply.retry_after.unwrap_or(COOL_DOWN));
        let doubles = reply.retry_after.is_none();
        return HostError { wait, doubles, spaces: true, ..failure(Class::RateLimited, said) };
    }
    if code == "0" || has(&["password", "incorrect", "banned", "disabled", "suspended"]) {
        return failure(Class::HostRefused, format!("{said}; check `user` and `password`"));
    }
    HostError { wait: reply.retry_after, ..failure(Class::Unreadable, said) }
}

/// The link, or why there is none (page, 3). The reply is read whatever its status, and success needs the right size.
pub fn upload_reply(reply: &Reply, bytes: u64) -> Result<Outcome, HostError> {
    let Some(fields) = result_of(&reply.text) else { return Err(without_result(reply)) };
    let message = json::text(fields.get("message")).unwrap_or_default();
    match json::flag(fields.get("ok")) {
        Some(false) => return Err(upload_failure(&message, reply)),
        Some(true) => {}
        None => return Err(without_result(reply)),
    }
    let id = json::text(fields.get("id"));
    let size = json::number(fields.get("size")).and_then(|size| u64::try_from(size).ok());
    match (json::text(fields.get("url")).and_then(|url| address::link(&url)), size) {
        (Some(url), Some(size)) if size == bytes => {
            let name = stored::name(json::text(fields.get("file_name")));
            Ok(Outcome { link: Some(url), remote_id: id, proof: Proof::Size, name, bytes: Some(size), ..Outcome::default() })
        }
        (_, Some(size)) if size != bytes => {
            let left_there = id.map_or(String::new(), |id| format!(" (that copy is `{}`)", excerpt(&id)));
            let said = format!("the host stored {size} bytes, but {bytes} were sent{left_there}");
            // Each try leaves a copy (page, 3).
            Err(reply.failure(Class::BadCopy, said))
        }
        _ => Err(unknown("an answer without a link or a size", reply)),
    }
}

/// An object keyed "0", an array, or the bare object (page, 4.2).
fn result_of(text: &str) -> Option<serde_json::Map<String, Value>> {
    match serde_json::from_str(text.trim()).ok()? {
        Value::Object(mut fields) => match fields.remove("0") {
            Some(Value::Object(inner)) => Some(inner),
            _ => Some(fields),
        },
        Value::Array(mut items) if !items.is_empty() => match items.swap_remove(0) {
            Value::Object(fields) => Some(fields),
            _ => None,
        },
        _ => None,
    }
}

fn upload_failure(message: &str, reply: &Reply) -> HostError {
    let lower = message.to_lowercase();
    // Whole words: "successfully" is not "full".
    let has = |words: &[&str]| lower.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word));
    let said = format!("the host answered `{}`", excerpt(message));
    if has(&["identity"]) {
        // A new address is fetched with the next attempt, which is a login: not at the pace of what passes by itself.
        reply.failure(Class::Unreadable, said)
    } else if has(&["storage", "space", "full"]) {
        reply.failure(Class::HostFull, said)
    } else if names_the_file(message) {
        reply.failure(Class::FileRejected, said)
    } else {
        // Nothing was stored, and a new address is fetched with the next attempt.
        reply.failure(Class::Unreadable, said)
    }
}

fn without_result(reply: &Reply) -> HostError {
    match reply.status {
        200..=299 | 500.. => unknown("an unclear answer", reply),
        401 | 403 | 404 | 410 => reply.failure(Class::Unreadable, reply.said()),
        _ => reply.refusal(),
    }
}

fn strange(class: Class, what: &str, reply: &Reply) -> HostError {
    let said = format!("the host sent {what} ({}): `{}`", reply.status, excerpt(&reply.text));
    HostError { wait: reply.retry_after, ..reply.failure(class, said) }
}

fn unknown(what: &str, reply: &Reply) -> HostError {
    HostError { doubt: true, ..strange(Class::Transient, what, reply) }
}

/// Whether a file of `bytes` bytes seems to have arrived, by what was left before and after (page, 3.1). Other uploads of the
/// account disturb it, so it is never more than evidence.
fn evidence(bytes: u64, before: Option<u64>, now: Option<u64>) -> Found {
    let (Some(before), Some(now)) = (before, now) else { return Found::Unsure };
    let needs = bytes.div_ceil(MIB);
    match before.checked_sub(now) {
        // What is left is told in whole MiB, so a small file may leave no trace.
        _ if needs < 2 => Found::Unsure,
        Some(0) => Found::Unlikely,
        Some(gone) if gone + 1 >= needs => {
            Found::Likely(format!("the account had {before} MiB free before and has {now} MiB free now"))
        }
        _ => Found::Unsure,
    }
}

// Glue.

/// An UploadGig account.
pub struct UploadGig {
    settings: UploadGigConfig,
    password: Secret,
    transport: Transport,
    strangers: Transport,
    /// Whether the host has stored a name as it was encoded: it does not decode, and gets names as they are from then on.
    is_not_decoded: AtomicBool,
    largest: Largest,
}

impl UploadGig {
    /// An account with these settings. `strangers` goes to addresses that the host names.
    pub fn new(settings: UploadGigConfig, password: Secret, transport: Transport, strangers: Transport) -> UploadGig {
        let (is_not_decoded, largest) = (AtomicBool::new(false), Largest::default());
        UploadGig { settings, password, transport, strangers, is_not_decoded, largest }
    }

    fn spelling(&self) -> Slug {
        if self.is_not_decoded.load(Ordering::Relaxed) { Slug::Raw } else { self.settings.slug }
    }

    /// Learns from the name that the host has stored whether it decodes them (page, 2.2).
    fn take_in_name(&self, name: &str, reply: &Reply) {
        let stored = result_of(&reply.text).and_then(|fields| json::text(fields.get("file_name")));
        if stored.is_some_and(|stored| stored != name && stored == encoded(name)) {
            self.is_not_decoded.store(true, Ordering::Relaxed);
        }
    }

    async fn login(&self) -> Result<Action, HostError> {
        self.ask_for_action().await.map_err(|error| error.during(Step::Login))
    }

    async fn ask_for_action(&self) -> Result<Action, HostError> {
        let url = format!("{}/api/get_upload_action", self.settings.base_url);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("user", &self.settings.user)
            .append_pair("pass", self.password.reveal())
            .finish();
        let request = Request::post(&url).text("application/x-www-form-urlencoded", form).patience(LOGIN_PATIENCE);
        let request = request.secret(&self.password).following();
        let action = login_reply(&self.transport.send(request).await?)?;
        address::check(action.address.reveal(), self.settings.allow_private)?;
        Ok(action)
    }
}

impl Protocol for UploadGig {
    const WORD: &'static str = "uploadgig";
    const NAME: &'static str = "UploadGig";
    /// Every upload costs a login, of which the service allows few (page, 7).
    const MAX_UPLOADS: Option<usize> = Some(1);
    /// A probe costs a login.
    const PROBES_IF_TOLD_TO: bool = true;

    type Settings = UploadGigConfig;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<UploadGigConfig> {
        settings::read(table, environment)
    }

    fn make(settings: &UploadGigConfig, supplies: &mut Supplies<'_>) -> Result<UploadGig, HostError> {
        let password = supplies.secret(&settings.password)?;
        let strangers = supplies.strangers(settings.allow_private)?;
        Ok(UploadGig::new(settings.clone(), password, supplies.transport()?, strangers))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        SessionRecord::load(session)?.store()
    }
}

impl Host for UploadGig {
    fn shape(&self, _: u64) -> Shape {
        Shape::whole()
    }

    fn open<'a>(&'a self, file: &'a FileFacts, tickets: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let Action { address, cmbs } = self.login().await?;
            if let Some(cmbs) = cmbs.filter(|cmbs| file.bytes > cmbs.saturating_mul(MIB)) {
                let said = format!("the account has {cmbs} MiB free, but the file has {} bytes", file.bytes);
                return Err(HostError::new(Class::HostFull, said));
            }
            let until_ms = self.transport.clock().now_ms().saturating_add(ACTION_LIFE_MS);
            tickets.lock().await.insert(0, Ticket { address, until_ms });
            SessionRecord { name: file.name.clone(), bytes: file.bytes, cmbs_before: cmbs }.store().map(Opened::Session)
        })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let begun = SessionRecord::load(&at.session)?;
            // An address is good for one body (page, 4.6), so it is taken away before the first byte goes.
            let ticket = at.tickets.lock().await.remove(&0).filter(|ticket| ticket.until_ms > self.transport.clock().now_ms());
            let Some(ticket) = ticket else {
                return Err(HostError::new(Class::Transient, "the upload address expired before the upload began"));
            };
            let request =
                Request::post(ticket.address.reveal()).header("slug", slug(&begun.name, self.spelling())).raw(part).exactly();
            let reply = self.strangers.send(request.patience(STORE_PATIENCE)).await?;
            let outcome = upload_reply(&reply, part.bytes).map_err(|error| self.largest.judge(error, part.bytes))?;
            self.largest.took(part.bytes);
            self.take_in_name(&begun.name, &reply);
            let receipt = stored::receipt(outcome);
            Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt, moved_to: None })
        })
    }

    /// Costs a login, and brings evidence at best.
    fn probe<'a>(&'a self, at: &'a UploadSession, _: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(async move {
            let begun = SessionRecord::load(&at.session)?;
            let now = self.login().await?.cmbs;
            Ok(evidence(begun.bytes, begun.cmbs_before, now))
        })
    }

    fn finish<'a>(&'a self, _: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move { stored::outcome(completion) })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(&self.settings.base_url, files, most))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let left = self.login().await?.cmbs.map_or(String::new(), |cmbs| format!("; {cmbs} MiB free"));
            Ok(format!("logged in{left} (this used one of the few logins the service allows)"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, html: text.trim_start().starts_with('<'), text: text.into(), ..Reply::default() }
    }

    fn login(status: u16, text: &str) -> Result<(String, Option<u64>), (Class, Option<Class>)> {
        let read = login_reply(&reply(status, text));
        read.map(|action| (action.address.reveal().to_owned(), action.cmbs)).map_err(|error| (error.class, error.worsens))
    }

    fn upload(status: u16, text: &str) -> Result<Outcome, (Class, Option<Class>, bool)> {
        upload_reply(&reply(status, text), 52_428_800).map_err(|error| (error.class, error.worsens, error.doubt))
    }

    #[test]
    fn a_login_is_read_in_every_documented_form() {
        let address = "http://192.0.2.10:81/upload?identity=0123456789abcdef".to_owned();
        for (code, cmbs, expected) in [
            ("\"1\"", "10240", Some(10240)),
            ("1", "\"10240\"", Some(10240)),
            ("1", "10238.9", Some(10238)),
            ("1", "\"0.5\"", Some(0)),
            ("\" 1 \"", "null", None),
            ("1", "\"lots\"", None),
            ("1", "-1.5", None),
            ("1", "\"inf\"", None),
        ] {
            let text = format!("{{\"code\":{code},\"result\":{{\"action\":\"{address}\",\"cmbs\":{cmbs}}}}}");
            assert_eq!(login(200, &text), Ok((address.clone(), expected)), "{text}");
        }
    }

    #[test]
    fn a_login_that_fails_says_whose_fault_it_is() {
        let wrong = "{\"code\":\"0\",\"result\":\"Email or password was incorrect!\"}";
        assert_eq!(login(200, wrong), Err((Class::HostRefused, None)));
        assert_eq!(login(200, "{\"code\":-7,\"result\":\"account suspended\"}"), Err((Class::HostRefused, None)));
        let unclear = Err((Class::Unreadable, None));
        assert_eq!(login(200, "{\"code\":2,\"result\":\"hm\"}"), unclear);
        assert_eq!(login(200, "{\"code\":1,\"result\":{}}"), unclear);
        assert_eq!(login(200, "{\"code\":1,\"result\":{\"action\":null}}"), unclear);
        for text in ["<html>", "", "{\"code\":", "{}", "gibberish"] {
            assert_eq!(login(200, text), unclear, "{text}");
        }
        for (status, text) in [(500, "{\"error\":1}"), (503, "")] {
            assert_eq!(login(status, text).unwrap_err().0, Class::Transient, "{text}");
        }
        assert_eq!([400, 422].map(|status| login(status, "").unwrap_err().0), [Class::RequestRefused; 2]);
        assert_eq!(login(429, "").unwrap_err().0, Class::RateLimited);
        assert_eq!([404, 403].map(|status| login(status, "<html>").unwrap_err().0), [Class::Unreadable; 2]);
    }

    #[test]
    fn too_many_logins_rest_the_account_longer_each_time() {
        let error = login_reply(&reply(200, "{\"code\":\"-3\",\"result\":\"You can not login for a few minutes\"}")).unwrap_err();
        assert_eq!((error.class, error.wait, error.doubles, error.spaces), (Class::RateLimited, Some(COOL_DOWN), true, true));
    }

    #[test]
    fn an_upload_gives_the_link_in_every_documented_form() {
        let bare = "{\"ok\":true,\"message\":\"a few minutes\",\"url\":\"https://uploadgig.com/f/89ab01\",\"size\":52428800,\"id\":\"89ab01\"}";
        for text in [format!("{{\"0\":{bare}}}"), format!("[{bare}]"), bare.to_owned(), bare.replace("52428800", "\"52428800\"")] {
            let outcome = upload(200, &text).unwrap();
            assert_eq!(outcome.link.as_deref(), Some("https://uploadgig.com/f/89ab01"));
            assert_eq!((outcome.remote_id.as_deref(), outcome.proof), (Some("89ab01"), Proof::Size));
            assert_eq!(upload(500, &text).unwrap(), outcome, "the body counts, not the status");
        }
    }

    #[test]
    fn an_upload_that_fails_says_what_follows() {
        let no = |message: &str| upload(200, &format!("{{\"0\":{{\"ok\":false,\"message\":\"{message}\"}}}}")).unwrap_err();
        assert_eq!(no("Invalid identity provided"), (Class::Unreadable, None, false), "each try is a login");
        assert_eq!(no("Your storage is full"), (Class::HostFull, None, false));
        for verdict in ["File is too large", "File type not allowed", "Invalid file name"] {
            assert_eq!(no(verdict), (Class::FileRejected, None, false), "{verdict}");
        }
        for unknown in ["not uploaded successfully", "oops", "Internal error, please retry", "wrong size", ""] {
            assert_eq!(no(unknown), (Class::Unreadable, None, false), "{unknown}");
        }
        for (status, class) in
            [(400, Class::RequestRefused), (413, Class::RequestRefused), (403, Class::Unreadable), (404, Class::Unreadable)]
        {
            assert_eq!(upload(status, "<html>").unwrap_err(), (class, None, false), "{status}");
        }
        let short = "{\"0\":{\"ok\":true,\"url\":\"https://x\",\"size\":7,\"id\":\"a\"}}";
        let error = upload_reply(&reply(200, short), 52_428_800).unwrap_err();
        let told = (error.class, error.doubt, error.said.contains("that copy is `a`"));
        assert_eq!(told, (Class::BadCopy, false, true), "each try leaves a copy");
    }

    #[test]
    fn an_answer_that_says_neither_yes_nor_no_leaves_the_matter_open() {
        let doubt = Err((Class::Transient, None, true));
        for text in [
            "",
            "<html>",
            "{\"0\":{}}",
            "[]",
            "[1]",
            "{\"0\":{\"ok\":true}}",
            "{\"0\":{\"ok\":true,\"url\":\"https://x\"}}",
            "{\"0\":{\"ok\":true,\"url\":\"maintenance\",\"size\":52428800,\"id\":\"a1\"}}",
            "{\"0\":{\"ok\":true,\"url\":\"javascript:alert(1)\",\"size\":52428800}}",
            "{\"0\":{\"ok\":tr",
        ] {
            assert_eq!(upload(200, text), doubt, "{text}");
        }
        assert_eq!(upload(502, ""), doubt);
    }

    #[test]
    fn a_name_travels_as_ascii() {
        assert_eq!(encoded("report 2024 (1).zip"), "report 2024 (1).zip");
        assert_eq!(encoded("100% тест.zip"), "100%25 %D1%82%D0%B5%D1%81%D1%82.zip");
        assert_eq!(encoded(" a "), "%20a%20");
        assert_eq!(encoded("  "), "%20%20");
        assert_eq!(slug("100% тест.zip", Slug::Encoded), encoded("100% тест.zip"));
        assert_eq!(slug("100% тест\n.zip", Slug::Raw), "100% тест_.zip");
    }

    #[test]
    fn what_is_left_is_evidence_and_no_more() {
        assert!(matches!(evidence(2 * MIB, Some(10240), Some(10238)), Found::Likely(_)));
        assert_eq!(evidence(2 * MIB, Some(10240), Some(10240)), Found::Unlikely);
        assert_eq!(evidence(20 * MIB, Some(10240), Some(10239)), Found::Unsure);
        assert_eq!(evidence(2 * MIB, Some(10240), Some(10250)), Found::Unsure);
        assert_eq!(evidence(2 * MIB, None, Some(1)), Found::Unsure);
        assert_eq!(evidence(0, Some(1), Some(1)), Found::Unsure);
    }

    #[test]
    fn the_status_and_the_code_are_kept_apart_from_the_words() {
        let told = |error: HostError| (error.status, error.code);
        let login = |status, text: &str| told(login_reply(&reply(status, text)).unwrap_err());
        let upload = |status, text: &str| told(upload_reply(&reply(status, text), 7).unwrap_err());
        assert_eq!(login(200, "{\"code\":\"-3\",\"result\":\"wait\"}"), (Some(200), Some("-3".into())));
        assert_eq!(login(403, "<html>"), (Some(403), None));
        assert_eq!(upload(200, "{\"ok\":false,\"message\":\"disk full\"}"), (Some(200), None));
        assert_eq!(upload(200, "{\"ok\":true,\"size\":3}"), (Some(200), None));
        assert_eq!(upload(502, ""), (Some(502), None));
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_readers_panic_or_an_error_a_success(status in 100u16..600, text in ".{0,200}") {
            prop_assert!(login_reply(&reply(status, &text)).is_err());
            prop_assert!(upload(status, &text).is_err());
        }
    }
}
