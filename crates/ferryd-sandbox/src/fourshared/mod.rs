//! 4shared from the other side: SOAP calls reserve a file and give an address, forms bring its bytes in parts, a last call joins
//! them.
//!
//! `POST PREFIX/jax3/DesktopApp` takes the calls, and describes them at `GET PREFIX/jax3/DesktopApp?wsdl`. `POST
//! PREFIX/dcN/upload?sid=KEY` takes the parts, and `GET PREFIX/file/ID/NAME` serves a file, as the public links do. `soap` reads
//! and writes envelopes, `wsdl` is the description, `service` does what a call asks, `part` takes a part, `account` is what is
//! remembered.
//!
//! To the fault script and in the log the session is the id of the file, and the number of a part is its **first byte**: parts have
//! whatever size the client likes, so nothing else tells them apart. A finish that has to lie about the digest stores nothing, as a
//! host does that believes what it says. The wording of texts and faults is ours, since the host documents none.

mod account;
mod part;
mod service;
mod soap;
mod wsdl;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HOST};

use self::account::Account;
use self::service::{Desk, Done};
use self::soap::Fault;
use super::exchange::{Answer, Exchange, Stop};
use super::faults::{Endpoint, Met};
use super::log::Outcome;
use super::reply::Reply;
use super::{Emulated, hold};

pub(super) const KIND: &str = "4shared";
const CALL_BYTES_MAX: usize = 256 * 1024;

/// How the emulated 4shared reads and answers where its documentation leaves a choice, and what its account is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The login of the only account.
    pub login: String,
    /// Its password, which programs may send with `!!!NAME!!:` before it.
    pub password: String,
    /// Rejects whatever the documentation does not allow. Otherwise namespaces, the order of arguments, further arguments, types of
    /// bodies, unknown and repeated fields, and fields behind the file do not matter.
    pub strict: bool,
    /// The longest file it takes.
    pub max_file_bytes: i64,
    /// The space of the account before anything is stored.
    pub free_bytes: i64,
    /// The longest form it takes as a part; a longer one gets a 413.
    pub part_form_bytes_max: u64,
    /// The numbers of its data centres, which it gives out in turn. With none, asking for one fails.
    pub data_centers: Vec<i32>,
    /// How long a session key is good, in seconds.
    pub key_lifetime_seconds: u64,
    /// How it writes down that there is nothing.
    pub nulls: NullStyle,
    /// The answer to a part.
    pub part_reply: PartReply,
    /// How many questions about a stored file are answered without its MD5, as by a host that computes it later.
    pub md5_after_calls: u64,
    /// Whether a part sent to another data centre than those before makes the host forget these. Otherwise all are shared.
    pub parts_lost_on_change: bool,
    /// The answer to a finish of a finished file.
    pub second_finish: SecondFinish,
    /// Whether the account is banned.
    pub banned: bool,
    /// Whether the account is not active.
    pub inactive: bool,
    /// Whether uploading is switched on.
    pub upload_right: bool,
    /// Whether faults come with a detail.
    pub fault_detail: bool,
    /// What becomes of a file whose name another one has in its folder, or is to have.
    pub same_name: SameName,
    /// Whether listings show what is reserved and not finished.
    pub lists_reserved: bool,
    /// Whether listings come in pages, too.
    pub pages: bool,
}

impl Default for Rules {
    /// Strict, with room, two data centres and keys for an hour; null is an empty text, parts are answered in JSON.
    fn default() -> Rules {
        Rules {
            login: "me@example.test".into(),
            password: "s3cret".into(),
            strict: true,
            max_file_bytes: 2 << 30,
            free_bytes: 15 << 30,
            part_form_bytes_max: u64::MAX,
            data_centers: vec![7, 12],
            key_lifetime_seconds: 3600,
            nulls: NullStyle::Empty,
            part_reply: PartReply::Json,
            md5_after_calls: 0,
            parts_lost_on_change: true,
            second_finish: SecondFinish::Text,
            banned: false,
            inactive: false,
            upload_right: true,
            fault_detail: true,
            same_name: SameName::Refuse,
            lists_reserved: true,
            pages: true,
        }
    }
}

/// What becomes of a file whose name is taken in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameName {
    /// Nothing is reserved for it.
    Refuse,
    /// There are two of the name.
    Allow,
}

/// How the host writes down that there is nothing, for which rpc/literal has no clean way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullStyle {
    /// The text `null`.
    Text,
    /// The element is missing.
    Absent,
    /// The element says `xsi:nil="true"`.
    Nil,
    /// The element is empty.
    Empty,
}

/// The answer to a part, which the host does not document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartReply {
    /// Nothing; an error comes in JSON.
    Empty,
    /// `{"status":"OK"}`, or `{"status":"error","errorCode":N}`.
    Json,
    /// A page with hidden inputs: `uploadedFileId`, or `alert` and `errorCode`.
    Html,
}

/// The answer to a finish of a finished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondFinish {
    /// A text that says it is finished.
    Text,
    /// Nothing, as the first time.
    Empty,
}

/// What `[host.4shared]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    let Rules { login, password, .. } = Rules::default();
    format!(
        "[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}/jax3/DesktopApp\"\nuser = \"{login}\"\n\
         password = \"{password}\"\nallow_private = true\n"
    )
}

/// The emulation.
#[derive(Debug)]
pub(super) struct FourShared {
    rules: Arc<Rules>,
    /// Held while what is remembered changes in more than one place.
    turn: Arc<Mutex<()>>,
}

impl FourShared {
    pub(super) fn new(rules: Rules) -> FourShared {
        FourShared { rules: Arc::new(rules), turn: Arc::default() }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let path = exchange.path.clone();
        if path == "/jax3/DesktopApp" {
            return match exchange.method {
                Method::POST => self.call(exchange).await,
                Method::GET if exchange.query.eq_ignore_ascii_case("wsdl") => describe(exchange).await,
                Method::GET => Err(nothing_here()),
                _ => Ok(not_allowed("GET, POST")),
            };
        }
        if let Some(id) = path.strip_prefix("/file/") {
            return match exchange.method {
                Method::GET | Method::HEAD => serve(exchange, id.split('/').next().unwrap_or_default()).await,
                _ => Ok(not_allowed("GET, HEAD")),
            };
        }
        match path.strip_prefix("/dc").and_then(|path| path.strip_suffix("/upload")) {
            Some(_) if exchange.method != Method::POST => Ok(not_allowed("POST")),
            Some(center) => part::take(Arc::clone(&self.rules), Arc::clone(&self.turn), exchange, center).await,
            None => Err(nothing_here()),
        }
    }

    async fn call(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let kind = exchange.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if self.rules.strict && !is_xml(kind) {
            return Err(Stop::Refused { status: 415, reason: "the body must be text/xml in UTF-8".into() });
        }
        let text = text_of(exchange).await?;
        let call = match soap::read(&text, self.rules.strict) {
            Ok(call) => call,
            Err(fault) => return Ok(self.faulted(&fault)),
        };
        exchange.met(service::what(&Account::new(exchange.shared()), &call))?;
        exchange.received().await?;
        let (rules, turn) = (Arc::clone(&self.rules), Arc::clone(&self.turn));
        let (host, times, lies) = (host(exchange), exchange.times(), exchange.lies());
        let operation = call.operation;
        let done = exchange.work(move |shared| {
            let desk = Desk { rules: &rules, account: Account::new(shared), host: &host, turn: &turn, lies };
            let first = desk.answer(&call);
            let held = first.held;
            let last = (1..times).fold(first, |_, _| desk.answer(&call));
            Done { held: held || last.held, ..last }
        });
        let Done { said, outcome, held } = done.await?;
        Ok(match said {
            Ok(value) => Answer { held, ..Answer::plain(soap::reply(operation, &value, self.rules.nulls), outcome) },
            Err(fault) => self.faulted(&fault),
        })
    }

    fn faulted(&self, fault: &Fault) -> Answer {
        Answer::plain(fault.reply(self.rules.fault_detail), Outcome::Rejected(fault.text.clone()))
    }
}

impl Emulated for FourShared {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn request_bytes_max(&self) -> u64 {
        self.rules.part_form_bytes_max
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Reply::text(status, reason)
    }

    /// As a part is told; nothing else can be full.
    fn full(&self) -> Reply {
        part::error_json(part::NO_SPACE)
    }

    /// As a part is told whose key has expired.
    fn expired(&self) -> Reply {
        Reply::text(403, "the session key has expired")
    }

    /// As a call is told.
    fn denied(&self) -> Reply {
        Fault::raised("denied: wrong login or password").reply(self.rules.fault_detail)
    }

    fn limited(&self) -> Reply {
        Reply::text(429, "too many requests")
    }
}

fn nothing_here() -> Stop {
    Stop::Refused { status: 404, reason: "there is nothing at this path".into() }
}

fn not_allowed(allowed: &str) -> Answer {
    let reason = "this method is not allowed here";
    Answer::plain(Reply::text(405, reason).header("allow", allowed), Outcome::Rejected(reason.into()))
}

fn is_xml(kind: &str) -> bool {
    let mut words = kind.split(';').map(str::trim);
    let is_text = words.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/xml"));
    let other = |word: &str| {
        let charset = word.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
        charset.is_some_and(|(_, charset)| !charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8"))
    };
    is_text && !words.any(other)
}

async fn text_of(exchange: &mut Exchange) -> Result<Vec<u8>, Stop> {
    let mut text = Vec::new();
    while let Some(bytes) = exchange.body.next().await? {
        if text.len() + bytes.len() > CALL_BYTES_MAX {
            return Err(Stop::Refused { status: 413, reason: "the call is too long".into() });
        }
        text.extend_from_slice(&bytes);
    }
    Ok(text)
}

/// Where the client believes the host to be, with the prefix of its paths.
fn host(exchange: &Exchange) -> String {
    let name = exchange.headers.get(HOST).and_then(|name| name.to_str().ok()).unwrap_or("localhost");
    format!("http://{name}/{KIND}")
}

async fn describe(exchange: &mut Exchange) -> Result<Answer, Stop> {
    exchange.received().await?;
    let text = wsdl::document(&format!("{}/jax3/DesktopApp", host(exchange)));
    let reply = Reply::bytes(200, text).header("content-type", "text/xml; charset=utf-8");
    Ok(Answer::plain(reply, Outcome::Served))
}

/// Serves the file a link names.
async fn serve(exchange: &mut Exchange, id: &str) -> Result<Answer, Stop> {
    let nothing = || Stop::Refused { status: 404, reason: "there is no such file".into() };
    let object = exchange.shared().store.object(KIND, id).ok_or_else(nothing)?;
    let file = Some(object.name.clone());
    exchange.met(Met { host: KIND, endpoint: Endpoint::Link, session: Some(object.id.clone()), part: None, file })?;
    exchange.received().await?;
    let file = exchange.work(move |shared| shared.store.open_object(KIND, &object.id)).await?;
    let Some(Ok(file)) = file else { return Err(nothing()) };
    Ok(Answer::plain(Reply::file(file, object.bytes), Outcome::Served))
}

/// Waits for a turn to change what is remembered.
fn in_turn<T>(turn: &Mutex<()>, job: impl FnOnce() -> T) -> T {
    let _turn = hold(turn);
    job()
}
