//! The example from the other side: a store of objects that exists nowhere but here, written from `docs/protocols/example.md`.
//!
//! A login gives a token, which ends after a time or after so many requests. A session takes numbered parts, each with its MD5 in
//! the request; a finish names all of them by what was answered. What the page does not allow is refused, in XML, with a status and
//! a code.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use md5::{Digest, Md5};
use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;
use serde::{Deserialize, Serialize};

use super::digest::{hex, sha256};
use super::exchange::{Answer, Exchange, Stop};
use super::faults::{Endpoint, Met};
use super::log::Outcome;
use super::objects::{Object, Refusal, Stage, Totals};
use super::reply::Reply;
use super::spool::Spooled;
use super::{Emulated, Shared};

pub(super) const KIND: &str = "example";
/// How long a text may be: a finish of as many parts as there may be.
const TEXT_BYTES_MAX: usize = 2 * 1024 * 1024;
const NAME_BYTES_MAX: usize = 255;
const PARTS_MAX: u64 = 10_000;

/// How the emulated example is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// How long a token is good for, in seconds; the login says so.
    pub token_seconds: u64,
    /// How many requests a token is good for; the login does not say so.
    pub token_requests: u64,
    /// How long a session is kept, in seconds.
    pub session_seconds: u64,
    /// The room of the account, in bytes.
    pub account_bytes: u64,
    /// The largest file, in bytes.
    pub file_bytes_max: u64,
}

impl Default for Rules {
    /// A token ends in the middle of things now and then, and leaves time for those that are in flight together.
    fn default() -> Rules {
        Rules {
            user: "me@objects.invalid".into(),
            password: "s3cret-example".into(),
            token_seconds: 600,
            token_requests: 100,
            session_seconds: 7 * 24 * 3600,
            account_bytes: 10 << 30,
            file_bytes_max: 5 << 40,
        }
    }
}

/// What `[host.example]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    let Rules { user, password, .. } = Rules::default();
    format!("[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}\"\nuser = \"{user}\"\npassword = \"{password}\"\n")
}

/// What is remembered of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Token {
    until_ms: i64,
    requests_left: u64,
}

/// What is remembered of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    name: String,
    content_type: String,
    until_ms: i64,
    /// The MD5 with which each part came, by its number.
    parts: BTreeMap<u64, String>,
}

/// What is remembered of a stored file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Served {
    content_type: String,
}

/// A refusal: status, code, words.
#[derive(Debug)]
struct Fault(u16, &'static str, String);

impl Fault {
    fn new(status: u16, code: &'static str, words: impl Into<String>) -> Fault {
        Fault(status, code, words.into())
    }

    fn bad(words: impl Into<String>) -> Fault {
        Fault::new(400, "BadRequest", words)
    }

    fn no_session() -> Fault {
        Fault::new(404, "NoSuchSession", "there is no such session")
    }

    fn wrong_part(words: impl Into<String>) -> Fault {
        Fault::new(409, "WrongPart", words)
    }

    fn reply(&self) -> Reply {
        let Fault(status, code, words) = self;
        xml(*status, &format!("<Error><Code>{code}</Code><Message>{}</Message></Error>", escape(words.as_str())))
    }

    fn answer(self) -> Answer {
        Answer::plain(self.reply(), Outcome::Rejected(self.2))
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::new(500, "Internal", format!("the sandbox cannot keep its files: {error}"))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::NoSession => Fault::no_session(),
            Refusal::Complete => Fault::new(409, "Stored", "the session was finished"),
            Refusal::Full => Fault::new(507, "NoSpace", "no space left"),
            Refusal::Io(error) => error.into(),
            other => Fault::wrong_part(other.to_string()),
        }
    }
}

/// What a request asks for, by its method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Login,
    Account,
    Open,
    Part(String, u64),
    Listing(String),
    Finish(String),
    GiveUp(String),
    Fetch(String),
}

impl Asked {
    fn of(method: &Method, path: &str) -> Result<Asked, Stop> {
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        let asked = match (steps.as_slice(), method) {
            (["login"], &Method::POST) => Asked::Login,
            (["account"], &Method::GET) => Asked::Account,
            (["objects"], &Method::POST) => Asked::Open,
            (["objects", id, "parts", number], &Method::PUT) => {
                let number = number.parse().ok().filter(|read: &u64| read.to_string() == *number);
                Asked::Part((*id).to_owned(), number.ok_or_else(|| refused(404, "there is nothing at this path"))?)
            }
            (["objects", id], &Method::GET) => Asked::Listing((*id).to_owned()),
            (["objects", id], &Method::POST) => Asked::Finish((*id).to_owned()),
            (["objects", id], &Method::DELETE) => Asked::GiveUp((*id).to_owned()),
            (["files", id], &Method::GET | &Method::HEAD) => Asked::Fetch((*id).to_owned()),
            (["login" | "account" | "objects"] | ["objects", _] | ["objects", _, "parts", _] | ["files", _], _) => {
                return Err(refused(405, "this method is not allowed here"));
            }
            _ => return Err(refused(404, "there is nothing at this path")),
        };
        Ok(asked)
    }

    fn met(&self, query: &BTreeMap<String, String>) -> Met {
        let (endpoint, session, part) = match self {
            Asked::Login | Asked::Open => (Endpoint::Open, None, None),
            Asked::Account => (Endpoint::Probe, None, None),
            Asked::Part(id, number) => (Endpoint::Chunk, Some(id), number.checked_sub(1)),
            Asked::Listing(id) => (Endpoint::Probe, Some(id), None),
            Asked::Finish(id) => (Endpoint::Finish, Some(id), None),
            Asked::GiveUp(id) => (Endpoint::Abandon, Some(id), None),
            Asked::Fetch(_) => (Endpoint::Link, None, None),
        };
        let file = query.get("name").filter(|_| *self == Asked::Open).cloned();
        Met { host: KIND, endpoint, session: session.cloned(), part, file }
    }

    fn needs_token(&self) -> bool {
        !matches!(self, Asked::Login | Asked::Fetch(_))
    }
}

/// The emulation.
#[derive(Debug)]
pub(super) struct Example {
    rules: Rules,
}

/// What came with a request, as far as an answer depends on it.
struct Request {
    rules: Rules,
    query: BTreeMap<String, String>,
    host: String,
    content_type: String,
    content_md5: String,
    text: String,
    lies: bool,
}

impl Example {
    pub(super) fn new(rules: Rules) -> Example {
        Example { rules }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let asked = Asked::of(&exchange.method, &exchange.path)?;
        let query = url::form_urlencoded::parse(exchange.query.as_bytes()).into_owned().collect();
        exchange.met(asked.met(&query))?;
        let token = header(exchange, AUTHORIZATION.as_str()).strip_prefix("Bearer ").unwrap_or_default().to_owned();
        let may = !asked.needs_token() || exchange.work(move |shared| is_good(shared, &token)).await?.unwrap_or(false);
        if !may {
            exchange.received().await?;
            return Ok(token_ended().answer());
        }
        let spooled = if let Asked::Part(..) = asked { Some(exchange.spool().await?) } else { None };
        let text = if spooled.is_some() { String::new() } else { text(exchange).await? };
        exchange.received().await?;
        let request = Request {
            rules: self.rules.clone(),
            query,
            host: header(exchange, "host").to_owned(),
            content_type: header(exchange, CONTENT_TYPE.as_str()).to_owned(),
            content_md5: header(exchange, "content-md5").to_owned(),
            text,
            lies: exchange.lies(),
        };
        let has_length = exchange.headers.contains_key(CONTENT_LENGTH);
        if spooled.is_some() && !has_length {
            return Ok(Fault::new(411, "LengthRequired", "a part needs a Content-Length").answer());
        }
        let times = exchange.times();
        exchange.work(move |shared| request.answer(shared, &asked, spooled, times)).await
    }
}

impl Emulated for Example {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Fault::new(status, "BadRequest", reason).reply()
    }

    fn full(&self) -> Reply {
        Fault::from(Refusal::Full).reply()
    }

    fn expired(&self) -> Reply {
        token_ended().reply()
    }

    fn denied(&self) -> Reply {
        wrong_login().reply()
    }

    fn limited(&self) -> Reply {
        Fault::new(429, "SlowDown", "too many requests").reply()
    }
}

impl Request {
    fn answer(&self, shared: &Shared, asked: &Asked, spooled: Option<Spooled>, times: usize) -> Answer {
        if let (Asked::Part(id, number), Some(spooled)) = (asked, spooled) {
            let answered = self.take(shared, id, *number, spooled);
            // The second time brings the bytes that are there.
            return answered.map_or_else(Fault::answer, |answer| Answer { again: answer.again || times > 1, ..answer });
        }
        let mut answered = self.once(shared, asked);
        for _ in 1..times {
            let held = answered.as_ref().is_ok_and(|answer| answer.held);
            answered = self.once(shared, asked).map(|answer| Answer { held: answer.held || held, ..answer });
        }
        answered.unwrap_or_else(Fault::answer)
    }

    fn once(&self, shared: &Shared, asked: &Asked) -> Result<Answer, Fault> {
        match asked {
            Asked::Login => self.login(shared),
            Asked::Account => {
                let free = self.rules.account_bytes.saturating_sub(used(shared));
                Ok(served(xml(200, &format!("<Account><Free>{free}</Free></Account>"))))
            }
            Asked::Open => self.open(shared),
            Asked::Listing(id) => self.list(shared, id),
            Asked::Finish(id) => self.finish(shared, id),
            Asked::GiveUp(id) => give_up(shared, id),
            Asked::Fetch(id) => fetch(shared, id),
            Asked::Part(..) => Err(Fault::bad("a part without bytes")),
        }
    }

    fn login(&self, shared: &Shared) -> Result<Answer, Fault> {
        if self.content_type != "application/x-www-form-urlencoded" {
            return Err(Fault::bad("a login is a form"));
        }
        let given: Vec<(String, String)> = url::form_urlencoded::parse(self.text.as_bytes()).into_owned().collect();
        let right = [("user", &self.rules.user), ("password", &self.rules.password)];
        let known =
            given.len() == right.len() && right.iter().all(|(name, value)| given.iter().any(|(n, v)| n == name && v == *value));
        if !known {
            return Err(wrong_login());
        }
        let value = random_id(shared);
        let seconds = self.rules.token_seconds;
        let until_ms = later(shared, seconds);
        shared.records.set(KIND, &token_record(&value), &Token { until_ms, requests_left: self.rules.token_requests })?;
        Ok(served(xml(200, &format!("<Token><Value>{value}</Value><Seconds>{seconds}</Seconds></Token>"))))
    }

    fn open(&self, shared: &Shared) -> Result<Answer, Fault> {
        if self.query.keys().ne(["bytes", "name", "parts"]) || !self.text.is_empty() {
            return Err(Fault::bad("a session is opened with `name`, `bytes` and `parts`, and without a body"));
        }
        if self.content_type.split('/').filter(|half| !half.is_empty()).count() != 2 {
            return Err(Fault::bad("the Content-Type must be that of the file"));
        }
        let name = &self.query["name"];
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.contains(|c: char| c == '/' || c.is_control()) {
            return Err(Fault::new(400, "NameNotTaken", "this name is not taken"));
        }
        let number = |key: &str| self.query[key].parse::<u64>().map_err(|_| Fault::bad(format!("`{key}` must be a number")));
        let (bytes, parts) = (number("bytes")?, number("parts")?);
        if !(1..=PARTS_MAX).contains(&parts) {
            return Err(Fault::bad("`parts` must be 1 to 10000"));
        }
        if bytes > self.rules.file_bytes_max {
            return Err(Fault::new(413, "TooLarge", "the file is too large"));
        }
        if bytes > self.rules.account_bytes.saturating_sub(used(shared)) {
            return Err(Refusal::Full.into());
        }
        let id = random_id(shared);
        let until_ms = later(shared, self.rules.session_seconds);
        let session = Session { name: name.clone(), content_type: self.content_type.clone(), until_ms, parts: BTreeMap::new() };
        shared.store.begin(KIND, &id, Totals { parts, bytes })?;
        shared.records.set(KIND, &session_record(&id), &session)?;
        Ok(served(Reply::empty(201).header("session-id", &id)))
    }

    fn take(&self, shared: &Shared, id: &str, number: u64, spooled: Spooled) -> Result<Answer, Fault> {
        let (_, stage, totals) = session(shared, id)?;
        if let Stage::Done(_) = stage {
            return Err(Refusal::Complete.into());
        }
        if !(1..=totals.parts).contains(&number) {
            return Err(Fault::bad(format!("the session has the parts 1 to {}", totals.parts)));
        }
        let announced = STANDARD.decode(&self.content_md5).ok().filter(|digest| digest.len() == 16);
        let announced = hex(&announced.ok_or_else(|| Fault::bad("Content-MD5 must be an MD5 in base64"))?);
        if spooled.md5.as_ref().is_some_and(|md5| *md5 != announced) {
            return Err(Fault::new(400, "BadDigest", "the bytes are not those of Content-MD5"));
        }
        let file_sha256 = spooled.sha256.clone();
        let put = shared.store.put_spooled(KIND, id, number - 1, spooled)?;
        let tag = etag(id, number, &announced);
        shared.records.update(KIND, &session_record(id), |known: Option<Session>| {
            let taken = known.map(|mut session| {
                session.parts.insert(number, announced);
                session
            });
            Ok(((), taken))
        })?;
        let tag = if self.lies { etag(id, 0, &tag) } else { tag };
        let answer = Answer::plain(Reply::empty(200).header("etag", &tag), Outcome::Acked);
        Ok(Answer { file_sha256, held: true, again: put.again, differed: put.differed, ..answer })
    }

    fn list(&self, shared: &Shared, id: &str) -> Result<Answer, Fault> {
        let (session, stage, _) = session(shared, id)?;
        if let Stage::Done(object) = stage {
            return self.stored(shared, &object).map(served);
        }
        let parts: String = sound(shared, id, &session)?
            .into_iter()
            .map(|(number, (bytes, tag))| {
                format!("<Part><Number>{number}</Number><Bytes>{bytes}</Bytes><ETag>{}</ETag></Part>", escape(tag.as_str()))
            })
            .collect();
        Ok(served(xml(200, &format!("<Parts>{parts}</Parts>"))))
    }

    fn finish(&self, shared: &Shared, id: &str) -> Result<Answer, Fault> {
        if self.content_type != "application/xml" {
            return Err(Fault::bad("a finish is application/xml"));
        }
        let named = read_finish(&self.text).map_err(Fault::bad)?;
        let (session, stage, totals) = session(shared, id)?;
        if let Stage::Done(object) = stage {
            return self.stored(shared, &object).map(|reply| Answer::plain(reply, Outcome::Stored));
        }
        let held = sound(shared, id, &session)?;
        if named.iter().map(|(number, _)| *number).ne(1..=totals.parts) {
            return Err(Fault::wrong_part(format!("a finish names the parts 1 to {} in order", totals.parts)));
        }
        if let Some((number, _)) = named.iter().find(|(number, tag)| held.get(number).is_none_or(|(_, held)| held != tag)) {
            return Err(Fault::wrong_part(format!("part {number} is not held, or has another ETag")));
        }
        if held.values().map(|(bytes, _)| bytes).sum::<u64>() != totals.bytes {
            return Err(Fault::wrong_part(format!("the parts have not the {} bytes that were announced", totals.bytes)));
        }
        let object = shared.store.finish(KIND, id, &session.name)?;
        shared.records.set(KIND, &file_record(&object.id), &Served { content_type: session.content_type })?;
        let answer = Answer::plain(self.stored(shared, &object.id)?, Outcome::Stored);
        Ok(Answer { held: true, ..answer })
    }

    fn stored(&self, shared: &Shared, id: &str) -> Result<Reply, Fault> {
        let Object { bytes, .. } = shared.store.object(KIND, id).ok_or_else(Fault::no_session)?;
        let (bytes, host) = (bytes + u64::from(self.lies), escape(self.host.as_str()));
        Ok(xml(200, &format!("<Stored><Id>{id}</Id><Bytes>{bytes}</Bytes><Link>http://{host}/{KIND}/files/{id}</Link></Stored>")))
    }
}

fn refused(status: u16, reason: &str) -> Stop {
    Stop::Refused { status, reason: reason.into() }
}

fn token_ended() -> Fault {
    Fault::new(401, "TokenEnded", "the token has ended")
}

fn wrong_login() -> Fault {
    Fault::new(403, "WrongLogin", "wrong user or password")
}

fn xml(status: u16, text: &str) -> Reply {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
    Reply::bytes(status, text).header("content-type", "application/xml")
}

fn served(reply: Reply) -> Answer {
    Answer::plain(reply, Outcome::Served)
}

fn header<'e>(exchange: &'e Exchange, name: &str) -> &'e str {
    exchange.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The body of a request that has a text.
async fn text(exchange: &mut Exchange) -> Result<String, Stop> {
    let mut body = Vec::new();
    while let Some(bytes) = exchange.body.next().await? {
        if body.len() + bytes.len() > TEXT_BYTES_MAX {
            return Err(Stop::TooLarge);
        }
        body.extend_from_slice(&bytes);
    }
    String::from_utf8(body).map_err(|_| refused(400, "the body is not UTF-8"))
}

fn random_id(shared: &Shared) -> String {
    format!("{:032x}", shared.chance.number())
}

fn later(shared: &Shared, seconds: u64) -> i64 {
    shared.clock.now_ms().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
}

fn token_record(token: &str) -> String {
    format!("token-{token}")
}

fn session_record(id: &str) -> String {
    format!("session-{id}")
}

fn file_record(id: &str) -> String {
    format!("file-{id}")
}

/// Whether a token is good for one more request, which is then counted.
fn is_good(shared: &Shared, token: &str) -> std::io::Result<bool> {
    let now = shared.clock.now_ms();
    shared.records.update(KIND, &token_record(token), |known: Option<Token>| {
        let good = known.filter(|known| known.until_ms > now && known.requests_left > 0);
        let left = good.map(|known| Token { requests_left: known.requests_left - 1, ..known });
        Ok((left.is_some(), left))
    })
}

fn used(shared: &Shared) -> u64 {
    shared.store.objects().iter().filter(|object| object.host == KIND).map(|object| object.bytes).sum()
}

/// A session that is known, has not ended, and was not lost.
fn session(shared: &Shared, id: &str) -> Result<(Session, Stage, Totals), Fault> {
    let known: Option<Session> = shared.records.get(KIND, &session_record(id));
    let known = known.filter(|known| known.until_ms > shared.clock.now_ms()).ok_or_else(Fault::no_session)?;
    match shared.store.stage(KIND, id) {
        None | Some((Stage::Lost, _)) => Err(Fault::no_session()),
        Some((stage, totals)) => Ok((known, stage, totals)),
    }
}

/// What stands for a part.
fn etag(id: &str, number: u64, md5: &str) -> String {
    format!("\"{}\"", &sha256(format!("{id}/{number}/{md5}").as_bytes())[..16])
}

/// The parts whose bytes are still those that came: length and ETag by number.
fn sound(shared: &Shared, id: &str, session: &Session) -> std::io::Result<BTreeMap<u64, (u64, String)>> {
    let mut sound = BTreeMap::new();
    for (part, bytes) in shared.store.parts(KIND, id) {
        let number = part + 1;
        let Some(md5) = session.parts.get(&number) else { continue };
        let now = match shared.store.part_path(KIND, id, part) {
            Some(path) => {
                let mut bytes = Vec::new();
                shared.store.open_file(&path)?.read_to_end(&mut bytes)?;
                hex(&Md5::digest(&bytes))
            }
            None => md5.clone(),
        };
        if now == *md5 {
            sound.insert(number, (bytes, etag(id, number, md5)));
        }
    }
    Ok(sound)
}

fn give_up(shared: &Shared, id: &str) -> Result<Answer, Fault> {
    if let (_, Stage::Done(_), _) = session(shared, id)? {
        return Err(Refusal::Complete.into());
    }
    shared.store.forget_session(KIND, id)?;
    shared.records.remove(KIND, &session_record(id))?;
    Ok(served(Reply::empty(204)))
}

fn fetch(shared: &Shared, id: &str) -> Result<Answer, Fault> {
    let nothing = || Fault::new(404, "NoSuchFile", "there is no such file");
    let kept: Served = shared.records.get(KIND, &file_record(id)).ok_or_else(nothing)?;
    let object = shared.store.object(KIND, id).ok_or_else(nothing)?;
    let file = shared.store.open_object(KIND, id).ok_or_else(nothing)??;
    Ok(served(Reply::file(file, object.bytes).header("content-type", &kept.content_type)))
}

/// The parts that a finish names, with their ETags.
fn read_finish(text: &str) -> Result<Vec<(u64, String)>, String> {
    let (mut path, mut fields, mut parts): (Vec<String>, BTreeMap<String, String>, _) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut ended = false;
    loop {
        let said = match reader.read_event().map_err(|error| format!("the XML cannot be read: {error}"))? {
            Event::Start(start) => {
                path.push(start.name().into_inner().to_owned());
                let known = matches!(path.join("/").as_str(), "Finish" | "Finish/Part" | "Finish/Part/Number" | "Finish/Part/ETag");
                if ended || !known || fields.contains_key(&path[path.len() - 1]) {
                    return Err(format!("`{}` does not belong here", path.join("/")));
                }
                continue;
            }
            Event::End(_) => {
                path.pop();
                ended = path.is_empty();
                if path.len() == 1 {
                    let number = fields.remove("Number").and_then(|number| number.parse().ok()).ok_or("a part has no number")?;
                    parts.push((number, fields.remove("ETag").ok_or("a part has no ETag")?));
                }
                continue;
            }
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::GeneralRef(name) => resolve_predefined_entity(&name).ok_or("an entity is unknown")?.to_owned(),
            Event::Decl(_) => continue,
            Event::Eof if ended => return Ok(parts),
            _ => return Err("the XML ends too early, or has what a finish has not".into()),
        };
        match path.as_slice() {
            [_, _, field] => fields.entry(field.clone()).or_default().push_str(&said),
            _ if said.trim().is_empty() => {}
            _ => return Err("there is text between the elements".into()),
        }
    }
}
