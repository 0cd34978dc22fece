//! UploadGig from the other side: a login brings an address that is good for a minute and for one body, and the body is the file.
//!
//! `POST PREFIX/api/get_upload_action` takes a form of either kind; `POST PREFIX/upload?identity=…` takes the raw bytes, with the
//! name in the `Slug` header; `GET PREFIX/file/download/ID/NAME` serves the file. Logins are counted, and too many lock the account
//! for a while; what is left of the account's room shrinks with every file.

use std::net::SocketAddr;
use std::pin::Pin;

use hyper::Method;
use hyper::header::CONTENT_TYPE;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exchange::{Answer, Exchange, Stop, full_disk};
use super::faults::{Endpoint, Met};
use super::form::Form;
use super::log::Outcome;
use super::objects::{Object, Refusal};
use super::reply::Reply;
use super::spool::Spooled;
use super::{Emulated, Shared};

pub(super) const KIND: &str = "uploadgig";
const MIB: u64 = 1024 * 1024;
const LOGIN_BYTES_MAX: usize = 16 * 1024;
const ACCOUNT: &str = "account";

/// How the emulated UploadGig reads and answers where its documentation leaves a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The one account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Its room, in MiB.
    pub storage_mib: u64,
    /// Logins allowed within `login_window_seconds`; one more locks the account for `lock_seconds`.
    pub logins_max: usize,
    /// The window in which logins are counted, in seconds.
    pub login_window_seconds: i64,
    /// How long a lock lasts, in seconds.
    pub lock_seconds: i64,
    /// How long an address for bytes is good, in seconds, until the bytes begin.
    pub action_seconds: i64,
    /// Whether `code` is a number.
    pub code_as_number: bool,
    /// What stands around the result of an upload.
    pub result: ResultShape,
    /// How the room that is left is told.
    pub cmbs: Cmbs,
    /// Whether the name in `Slug` is percent-decoded; otherwise it is stored as it comes.
    pub decodes_slug: bool,
    /// How long a link answers 404 at first, in seconds.
    pub link_delay_seconds: i64,
}

impl Default for Rules {
    /// As the samples have it; links are live at once, and logins are not scarce.
    fn default() -> Rules {
        Rules {
            user: "me@example.test".into(),
            password: "s3cret-gig".into(),
            storage_mib: 10_240,
            logins_max: 100_000,
            login_window_seconds: 300,
            lock_seconds: 300,
            action_seconds: 60,
            code_as_number: false,
            result: ResultShape::Keyed,
            cmbs: Cmbs::Number,
            decodes_slug: true,
            link_delay_seconds: 0,
        }
    }
}

/// What stands around the result of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultShape {
    /// `{"0":{…}}`.
    Keyed,
    /// `[{…}]`.
    Array,
    /// `{…}`.
    Bare,
}

/// How the room that is left is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmbs {
    /// As a number.
    Number,
    /// As a text.
    Text,
    /// As a number with a fraction.
    Fraction,
    /// Not at all.
    Missing,
}

/// What `[host.uploadgig]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    let Rules { user, password, .. } = Rules::default();
    format!(
        "[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}\"\nuser = \"{user}\"\npassword = \"{password}\"\nallow_private = true\n"
    )
}

/// What is remembered of the account.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Account {
    used_bytes: u64,
    logins_ms: Vec<i64>,
    locked_until_ms: i64,
}

/// What is remembered of an address for bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Action {
    until_ms: i64,
    used: bool,
}

/// What is remembered of a stored file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    live_ms: i64,
}

/// The emulation.
#[derive(Debug)]
pub(super) struct UploadGig {
    rules: Rules,
}

impl UploadGig {
    pub(super) fn new(rules: Rules) -> UploadGig {
        UploadGig { rules }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let path = exchange.path.clone();
        match (path.as_str(), &exchange.method) {
            ("/api/get_upload_action", &Method::POST) => self.login(exchange).await,
            ("/upload", &Method::POST) => self.upload(exchange).await,
            (path, &Method::GET | &Method::HEAD) if path.starts_with("/file/download/") => serve(exchange).await,
            ("/api/get_upload_action" | "/upload", _) => Err(Stop::Refused { status: 405, reason: "only POST".into() }),
            _ => Err(Stop::Refused { status: 404, reason: "there is nothing at this path".into() }),
        }
    }

    async fn login(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        exchange.met(Met { host: KIND, endpoint: Endpoint::Open, session: None, part: None, file: None })?;
        let fields = credentials(exchange).await?;
        exchange.received().await?;
        let host = exchange.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
        let text =
            |key: &str| fields.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).unwrap_or_default();
        let known = text("user") == self.rules.user && text("pass") == self.rules.password;
        let rules = self.rules.clone();
        let done = exchange.work(move |shared| let_in(shared, &rules, known)).await?;
        Ok(match done.map_err(|error| full_disk(&error))? {
            Ok((identity, cmbs)) => {
                let mut result = json!({ "action": format!("http://{host}/{KIND}/upload?identity={identity}") });
                if let (Some(cmbs), Some(fields)) = (cmbs, result.as_object_mut()) {
                    fields.insert("cmbs".into(), cmbs);
                }
                Answer::plain(self.coded("1", result), Outcome::Served)
            }
            Err((code, words)) => Answer::plain(self.coded(code, words.into()), Outcome::Rejected(words.into())),
        })
    }

    fn coded(&self, code: &str, result: Value) -> Reply {
        let code = if self.rules.code_as_number { json!(code.parse::<i64>().unwrap_or(0)) } else { json!(code) };
        Reply::json(200, json!({ "code": code, "result": result }).to_string())
    }

    async fn upload(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let identity = exchange.query.split('&').find_map(|pair| pair.strip_prefix("identity=")).unwrap_or_default().to_owned();
        let slug = exchange.headers.get("slug").map(|slug| String::from_utf8_lossy(slug.as_bytes())).unwrap_or_default();
        let name =
            if self.rules.decodes_slug { percent_decode_str(&slug).decode_utf8_lossy().into_owned() } else { slug.into_owned() };
        let met = Met {
            host: KIND,
            endpoint: Endpoint::Chunk,
            session: Some(identity.clone()),
            part: Some(0),
            file: Some(name.clone()).filter(|name| !name.is_empty()),
        };
        exchange.met(met)?;
        let at_start = exchange.work(move |shared| take_action(shared, &identity)).await?.map_err(|error| full_disk(&error))?;
        let spooled = exchange.spool().await?;
        exchange.received().await?;
        if !at_start {
            return Ok(self.rejected("Invalid identity provided"));
        }
        if name.is_empty() || name.contains(|c: char| c.is_control() || c == '/') {
            return Ok(self.rejected("Invalid file name provided"));
        }
        let host = exchange.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
        let (rules, times, lies) = (self.rules.clone(), exchange.times(), exchange.lies());
        let name = exchange.stored_name(&name);
        match exchange.work(move |shared| store(shared, &rules, &name, spooled, times)).await? {
            Ok(object) => {
                let mut answer = Answer::plain(self.stored(&object, &host, lies), Outcome::Stored);
                (answer.held, answer.again, answer.file_sha256) = (true, object.stored > 1, object.sha256);
                Ok(answer)
            }
            Err(Refusal::Full) => Ok(self.rejected("Your storage is full")),
            Err(Refusal::Io(error)) => Err(full_disk(&error)),
            Err(other) => Ok(self.rejected(&other.to_string())),
        }
    }

    fn stored(&self, object: &Object, host: &str, lies: bool) -> Reply {
        let name = utf8_percent_encode(&object.name, NON_ALPHANUMERIC);
        self.around(json!({
            "ok": true, "message": "Your file was uploaded; the link will be active in a few minutes", "id": object.id,
            "url": format!("http://{host}/{KIND}/file/download/{}/{name}", object.id),
            "file_name": object.name, "size": object.bytes + u64::from(lies),
        }))
    }

    fn around(&self, result: Value) -> Reply {
        let text = match self.rules.result {
            ResultShape::Keyed => json!({ "0": result }),
            ResultShape::Array => json!([result]),
            ResultShape::Bare => result,
        };
        Reply::json(200, text.to_string())
    }

    fn failure(&self, words: &str) -> Reply {
        self.around(json!({ "ok": false, "message": words }))
    }

    fn rejected(&self, words: &str) -> Answer {
        Answer::plain(self.failure(words), Outcome::Rejected(words.to_owned()))
    }
}

impl Emulated for UploadGig {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Reply::text(status, reason)
    }

    fn full(&self) -> Reply {
        self.failure("Your storage is full")
    }

    fn expired(&self) -> Reply {
        self.failure("Invalid identity provided")
    }

    fn denied(&self) -> Reply {
        self.coded("0", "Email or password was incorrect!".into())
    }

    fn limited(&self) -> Reply {
        self.coded("-3", "You can not login for a few minutes".into())
    }
}

/// The fields of a login, in either encoding.
async fn credentials(exchange: &mut Exchange) -> Result<Vec<(String, String)>, Stop> {
    let kind = exchange.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("multipart/") {
        let mut form = Form::open(exchange)?;
        form.head().await?;
        return Ok(form.texts);
    }
    let mut body = Vec::new();
    while let Some(bytes) = exchange.body.next().await? {
        if body.len() + bytes.len() > LOGIN_BYTES_MAX {
            return Err(Stop::TooLarge);
        }
        body.extend_from_slice(&bytes);
    }
    Ok(url::form_urlencoded::parse(&body).into_owned().collect())
}

type LetIn = Result<(String, Option<Value>), (&'static str, &'static str)>;

fn let_in(shared: &Shared, rules: &Rules, known: bool) -> std::io::Result<LetIn> {
    let now = shared.clock.now_ms();
    let counted = shared.records.update(KIND, ACCOUNT, |account: Option<Account>| {
        let mut account = account.unwrap_or_default();
        account.logins_ms.retain(|at| *at > now - rules.login_window_seconds * 1000);
        account.logins_ms.push(now);
        if account.logins_ms.len() > rules.logins_max {
            account.locked_until_ms = now + rules.lock_seconds * 1000;
        }
        account.logins_ms.truncate(rules.logins_max.saturating_add(1));
        Ok((account.clone(), Some(account)))
    });
    let account = counted?;
    if account.locked_until_ms > now {
        return Ok(Err(("-3", "You can not login for a few minutes")));
    }
    if !known {
        return Ok(Err(("0", "Email or password was incorrect!")));
    }
    let identity = format!("{:032x}", shared.chance.number());
    let action = Action { until_ms: now + rules.action_seconds * 1000, used: false };
    shared.records.set(KIND, &action_record(&identity), &action)?;
    let left = (rules.storage_mib * MIB).saturating_sub(account.used_bytes) / MIB;
    let cmbs = match rules.cmbs {
        Cmbs::Number => Some(json!(left)),
        Cmbs::Fraction => Some(json!(left as f64 + 0.5)),
        Cmbs::Text => Some(json!(left.to_string())),
        Cmbs::Missing => None,
    };
    Ok(Ok((identity, cmbs)))
}

fn action_record(identity: &str) -> String {
    format!("session-action-{identity}")
}

/// Uses an address up. Whether it was good: it is checked when the bytes begin, and good for one body.
fn take_action(shared: &Shared, identity: &str) -> std::io::Result<bool> {
    let now = shared.clock.now_ms();
    shared.records.update(KIND, &action_record(identity), |action: Option<Action>| {
        let good = action.as_ref().is_some_and(|action| !action.used && action.until_ms > now);
        Ok((good, action.map(|action| Action { used: true, ..action })))
    })
}

fn store(shared: &Shared, rules: &Rules, name: &str, spooled: Spooled, times: usize) -> Result<Object, Refusal> {
    let bytes = spooled.bytes;
    let fits = shared.records.update(KIND, ACCOUNT, |account: Option<Account>| {
        let mut account = account.unwrap_or_default();
        let fits = account.used_bytes + bytes <= rules.storage_mib * MIB;
        account.used_bytes += if fits { bytes } else { 0 };
        Ok((fits, Some(account)))
    })?;
    if !fits {
        return Err(Refusal::Full);
    }
    let mut object = shared.store.keep_whole(KIND, None, name, "", spooled)?;
    for _ in 1..times {
        object = shared.store.copy(&object, name)?;
    }
    let stored = Stored { live_ms: shared.clock.now_ms() + rules.link_delay_seconds * 1000 };
    shared.records.set(KIND, &format!("file-{}", object.id), &stored)?;
    Ok(object)
}

/// Serves a file, once its link is live.
async fn serve(exchange: &mut Exchange) -> Result<Answer, Stop> {
    let nothing = || Stop::Refused { status: 404, reason: "there is no such file, or not yet".into() };
    let id = exchange.path.trim_start_matches("/file/download/").split('/').next().unwrap_or_default().to_owned();
    exchange.met(Met { host: KIND, endpoint: Endpoint::Link, session: None, part: None, file: None })?;
    exchange.received().await?;
    let found = exchange.work(move |shared| {
        let stored: Stored = shared.records.get(KIND, &format!("file-{id}"))?;
        let object = shared.store.object(KIND, &id)?;
        (stored.live_ms <= shared.clock.now_ms()).then_some(())?;
        Some((shared.store.open_object(KIND, &id)?.ok()?, object.bytes))
    });
    let (file, bytes) = found.await?.ok_or_else(nothing)?;
    Ok(Answer::plain(Reply::file(file, bytes), Outcome::Served))
}
