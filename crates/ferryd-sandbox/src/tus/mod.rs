//! A server of tus 1.0 from the other side, written from `docs/protocols/tus.md`: uploads are created below `/tus/files/`, and take
//! bytes at the offset where they end.
//!
//! What the description does not allow is refused: another version, another offset, more bytes than were announced, metadata of
//! another form, a checksum that is not that of the bytes. Of a request that breaks off, what came is kept, unless it had a checksum.

mod incoming;
mod metadata;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;

use hyper::Method;
use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::exchange::{Answer, Exchange, Stop};
use super::faults::{Endpoint, Met};
use super::log::Outcome;
use super::objects::{Piece, Refusal, Stage, Totals, Wanted};
use super::reply::Reply;
use super::spool::Spooled;
use super::{Emulated, Shared};
use incoming::{Algorithm, Announced, Incoming};

pub(super) const KIND: &str = "tus";
const VERSION: &str = "1.0.0";
const TOKEN: &str = "tus-practice-token-7";
/// Below what uploads are, ...
const FILES: &str = "/files/";
/// ... and where the application behind the server hands out what has become of them: the protocol knows no such thing.
const STORED: &str = "/stored/";
const BYTES_TYPE: &str = "application/offset+octet-stream";

/// How the server writes where an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locations {
    /// With scheme and host, as it was asked.
    Absolute,
    /// With the path alone.
    Relative,
    /// At another origin, such as `http://inner:1080`, as behind a proxy that it does not know of.
    At(String),
}

/// How the server words what it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As tusd: codes before the words, 404 for what has expired.
    Tusd,
    /// As the server of Node: 403 for headers that are missing, 410 for what has expired.
    Node,
    /// As rustus: 417 for a wrong checksum.
    Rustus,
}

/// How the emulated server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The header that every request but OPTIONS has, with its value.
    pub credentials: (String, String),
    /// Further headers that every request must have, with their values.
    pub wants: Vec<(String, String)>,
    /// How it writes where an upload is.
    pub locations: Locations,
    /// How it words what it refuses.
    pub dialect: Dialect,
    /// The checksums that it verifies; nothing for none.
    pub checksums: Vec<String>,
    /// Whether what came of a request that broke off is kept.
    pub keeps_partial: bool,
    /// How long an upload lives after its creation, in seconds.
    pub life_seconds: Option<i64>,
    /// The largest file, in bytes.
    pub bytes_max: Option<u64>,
    /// The most bytes of one request, as behind a proxy.
    pub request_bytes_max: Option<u64>,
    /// Requests end at a multiple of so many bytes, save at the end of the file.
    pub chunk_multiple: u64,
    /// Whether an upload is forgotten as soon as it is whole.
    pub forgets_whole: bool,
    /// How long an upload is locked after a request for it has broken off, in seconds.
    pub lock_seconds: i64,
    /// Whether PATCH and DELETE come through.
    pub takes_all_methods: bool,
    /// Whether uploads can be given up.
    pub terminates: bool,
    /// Whether what follows a whole upload fails, and says so with this status.
    pub hook_fails: Option<u16>,
    /// A header of the reply to the last bytes, with its value.
    pub names_file: Option<(String, String)>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            credentials: ("authorization".into(), format!("Bearer {TOKEN}")),
            wants: Vec::new(),
            locations: Locations::Absolute,
            dialect: Dialect::Tusd,
            checksums: vec!["sha1".into(), "md5".into(), "sha256".into()],
            keeps_partial: true,
            life_seconds: Some(24 * 3600),
            bytes_max: None,
            request_bytes_max: None,
            chunk_multiple: 1,
            forgets_whole: false,
            lock_seconds: 0,
            takes_all_methods: true,
            terminates: true,
            hook_fails: None,
            names_file: None,
        }
    }
}

/// What `[host.tus]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    format!(
        "[host.{KIND}]\nkind = \"{KIND}\"\nendpoint = \"http://{addr}/{KIND}{FILES}\"\ntoken = \"{TOKEN}\"\n\
         link_template = \"http://{addr}/{KIND}{STORED}{{id}}/{{name}}\"\n"
    )
}

/// What is remembered of an upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Upload {
    bytes: u64,
    metadata: Option<String>,
    /// Until when it lives, by the clock of the hosts.
    until_ms: Option<i64>,
    /// Until when it is locked.
    locked_ms: i64,
    /// Whether it is remembered that it became a file.
    is_forgotten: bool,
}

/// A refusal: a status and words.
#[derive(Debug)]
struct Fault {
    status: u16,
    words: String,
}

impl Fault {
    fn new(status: u16, words: impl Into<String>) -> Fault {
        Fault { status, words: words.into() }
    }

    fn reply(&self) -> Reply {
        let reply = Reply::text(self.status, &format!("{}\n", self.words)).header("tus-resumable", VERSION);
        if self.status == 412 { reply.header("tus-version", VERSION) } else { reply }
    }

    fn answer(self) -> Answer {
        Answer::plain(self.reply(), Outcome::Rejected(self.words))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::Full => Fault::new(507, "no space left"),
            Refusal::Io(error) => error.into(),
            _ => Fault::new(404, "ERR_UPLOAD_NOT_FOUND: upload not found"),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::new(500, format!("the sandbox cannot keep its files: {error}"))
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Abilities,
    Create,
    Append { id: String, offset: u64 },
    Look(String),
    GiveUp(String),
    Fetch(String),
}

/// The emulation.
#[derive(Debug)]
pub(super) struct Tus {
    rules: Rules,
}

impl Tus {
    pub(super) fn new(rules: Rules) -> Tus {
        Tus { rules }
    }

    /// What a request asks for. Nothing is done of one that a proxy or the protocol does not let through.
    fn asked(&self, exchange: &Exchange) -> Result<Asked, Fault> {
        let method = overridden(exchange)?;
        if !self.rules.takes_all_methods && matches!(exchange.method, Method::PATCH | Method::DELETE) {
            return Err(Fault::new(405, "method not allowed"));
        }
        let id = exchange.path.strip_prefix(FILES).filter(|id| !id.is_empty() && !id.contains('/'));
        let is_creation = exchange.path == FILES || exchange.path == FILES.trim_end_matches('/');
        let stored = exchange.path.strip_prefix(STORED).and_then(|path| path.split('/').next());
        if let (&Method::GET, Some(stored)) = (&method, stored) {
            return Ok(Asked::Fetch(stored.into()));
        }
        match (method.as_str(), id) {
            ("OPTIONS", _) => Ok(Asked::Abilities),
            ("POST", None) if is_creation => Ok(Asked::Create),
            ("PATCH", Some(id)) => Ok(Asked::Append { id: id.into(), offset: self.offset_header(exchange)? }),
            ("HEAD", Some(id)) => Ok(Asked::Look(id.into())),
            ("DELETE", Some(id)) => Ok(Asked::GiveUp(id.into())),
            _ => Err(Fault::new(404, "there is nothing at this address")),
        }
    }

    fn offset_header(&self, exchange: &Exchange) -> Result<u64, Fault> {
        match header(&exchange.headers, "upload-offset").map(number) {
            Some(Some(offset)) => Ok(offset),
            Some(None) => Err(Fault::new(400, "ERR_INVALID_OFFSET: missing or invalid Upload-Offset header")),
            None if self.rules.dialect == Dialect::Node => Err(Fault::new(403, "Upload-Offset header required")),
            None => Err(Fault::new(400, "ERR_INVALID_OFFSET: missing or invalid Upload-Offset header")),
        }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let asked = match self.asked(exchange) {
            Ok(asked) => asked,
            Err(fault) => return Ok(fault.answer()),
        };
        exchange.met(met(&asked))?;
        if let Err(fault) = self.admitted(&asked, &exchange.headers) {
            exchange.received().await?;
            return Ok(fault.answer());
        }
        match asked {
            Asked::Append { id, offset } => self.append(exchange, id, offset).await,
            asked => self.ask(exchange, asked).await,
        }
    }

    /// Whether a request may be answered: its version and its token.
    fn admitted(&self, asked: &Asked, headers: &HeaderMap) -> Result<(), Fault> {
        if matches!(asked, Asked::Abilities | Asked::Fetch(_)) {
            return Ok(());
        }
        let has = |(name, value): &(String, String)| header(headers, name) == Some(value);
        if !has(&self.rules.credentials) {
            return Err(Fault::new(401, "the credentials are wrong"));
        }
        if let Some((name, _)) = self.rules.wants.iter().find(|wanted| !has(wanted)) {
            return Err(Fault::new(403, format!("{name} header required")));
        }
        if header(headers, "tus-resumable") != Some(VERSION) {
            return Err(Fault::new(412, "ERR_UNSUPPORTED_VERSION: missing, invalid or unsupported Tus-Resumable header"));
        }
        Ok(())
    }

    /// Answers what has no bytes.
    async fn ask(&self, exchange: &mut Exchange, asked: Asked) -> Result<Answer, Stop> {
        exchange.received().await?;
        if header(&exchange.headers, "content-length").is_some_and(|length| length != "0") {
            return Ok(Fault::new(400, "a body that nobody wants").answer());
        }
        let (rules, headers, times) = (self.rules.clone(), exchange.headers.clone(), exchange.times());
        let answer = move |shared: &Shared| {
            let once = || match &asked {
                Asked::Create => rules.create(shared, &headers),
                Asked::Look(id) => rules.look(shared, id),
                Asked::GiveUp(id) => rules.give_up(shared, id),
                Asked::Fetch(id) => fetch(shared, id),
                Asked::Abilities | Asked::Append { .. } => Ok(Answer::plain(rules.abilities(), Outcome::Served)),
            };
            let mut answered = once();
            for _ in 1..times {
                answered = once();
            }
            answered.unwrap_or_else(Fault::answer)
        };
        exchange.work(answer).await
    }

    /// Takes bytes, and makes a file of them when they are the last ones.
    async fn append(&self, exchange: &mut Exchange, id: String, offset: u64) -> Result<Answer, Stop> {
        let announced = match self.rules.announced(&exchange.headers) {
            Ok(announced) => announced,
            Err(fault) => {
                exchange.received().await?;
                return Ok(fault.answer());
            }
        };
        let begins = self.rules.begins(exchange.shared(), &id, offset, &announced);
        let keeps = begins.is_ok() && self.rules.keeps_partial && announced.checksum.is_none();
        let mut incoming = Incoming::begin(exchange, &self.rules, &id, offset, keeps)?;
        while let Some(bytes) = exchange.body.next().await? {
            incoming.take(&bytes, &announced)?;
        }
        let (spooled, digest) = incoming.end();
        exchange.received().await?;
        let (rules, times, lies) = (self.rules.clone(), exchange.times(), exchange.lies());
        let answer = move |shared: &Shared| {
            let first = rules.take(shared, &id, offset, &announced, (spooled, digest), lies).unwrap_or_else(Fault::answer);
            match rules.begins(shared, &id, offset, &announced) {
                // The same bytes once more come where the upload does not end any more.
                Err(fault) if times > 1 && first.held => Answer { held: true, ..fault.answer() },
                _ => first,
            }
        };
        exchange.work(answer).await
    }
}

impl Emulated for Tus {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Fault::new(status, reason).reply()
    }

    fn full(&self) -> Reply {
        Fault::from(Refusal::Full).reply()
    }

    fn expired(&self) -> Reply {
        Fault::new(410, "the upload has expired").reply()
    }
}

impl Rules {
    fn abilities(&self) -> Reply {
        let mut extensions = vec!["creation"];
        extensions.extend(self.life_seconds.map(|_| "expiration"));
        extensions.extend(self.terminates.then_some("termination"));
        extensions.extend((!self.checksums.is_empty()).then_some("checksum"));
        let reply = Reply::empty(204).header("tus-resumable", VERSION).header("tus-version", VERSION);
        let reply = reply.header("tus-extension", &extensions.join(","));
        let reply = match self.bytes_max {
            Some(max) => reply.header("tus-max-size", &max.to_string()),
            None => reply,
        };
        if self.checksums.is_empty() { reply } else { reply.header("tus-checksum-algorithm", &self.checksums.join(",")) }
    }

    fn create(&self, shared: &Shared, headers: &HeaderMap) -> Result<Answer, Fault> {
        let bytes = header(headers, "upload-length").and_then(number);
        let bytes = bytes.ok_or_else(|| Fault::new(400, "ERR_INVALID_UPLOAD_LENGTH: missing or invalid Upload-Length header"))?;
        if header(headers, "upload-defer-length").or_else(|| header(headers, "upload-concat")).is_some() {
            return Err(Fault::new(501, "this is not implemented"));
        }
        if self.bytes_max.is_some_and(|max| bytes > max) {
            return Err(Fault::new(413, "ERR_MAX_SIZE_EXCEEDED: maximum size exceeded"));
        }
        let metadata = header(headers, "upload-metadata").map(str::to_owned);
        let is_sound = metadata.as_deref().is_none_or(|text| metadata::read(text).is_some());
        if !is_sound {
            return Err(Fault::new(400, "INVALID_METADATA: invalid Upload-Metadata header"));
        }
        let id = format!("{:032x}", shared.chance.number());
        let until_ms = self.life_seconds.map(|seconds| shared.clock.now_ms() + seconds * 1000);
        let upload = Upload { bytes, metadata, until_ms, locked_ms: 0, is_forgotten: false };
        shared.store.begin(KIND, &id, Totals { parts: 0, bytes })?;
        shared.records.set(KIND, &record(&id), &upload)?;
        let outcome = if bytes == 0 { self.make_file(shared, &id, &upload)? } else { Outcome::Served };
        let origin = match (&self.locations, header(headers, "host")) {
            (Locations::Relative, _) | (Locations::Absolute, None) => String::new(),
            (Locations::Absolute, Some(host)) => format!("http://{host}"),
            (Locations::At(origin), _) => origin.clone(),
        };
        let reply = Reply::empty(201).header("location", &format!("{origin}/{KIND}{FILES}{id}"));
        let held = bytes == 0;
        Ok(Answer { held, ..Answer::plain(self.dated(reply, &upload), outcome) })
    }

    fn look(&self, shared: &Shared, id: &str) -> Result<Answer, Fault> {
        let upload = self.upload(shared, id)?;
        if upload.locked_ms > shared.clock.now_ms() {
            return Err(locked());
        }
        let offset = offset(shared, id, &upload)?;
        let reply =
            Reply::empty(200).header("upload-offset", &offset.to_string()).header("upload-length", &upload.bytes.to_string());
        let reply = reply.header("cache-control", "no-store");
        let reply = match &upload.metadata {
            Some(metadata) => reply.header("upload-metadata", metadata),
            None => reply,
        };
        Ok(Answer::plain(self.dated(reply, &upload), Outcome::Served))
    }

    fn give_up(&self, shared: &Shared, id: &str) -> Result<Answer, Fault> {
        if !self.terminates {
            return Err(Fault::new(501, "uploads cannot be given up"));
        }
        self.upload(shared, id)?;
        shared.store.forget_session(KIND, id)?;
        shared.records.remove(KIND, &record(id))?;
        Ok(Answer::plain(Reply::empty(204).header("tus-resumable", VERSION), Outcome::Served))
    }

    /// What a request with bytes says of them.
    fn announced(&self, headers: &HeaderMap) -> Result<Announced, Fault> {
        if header(headers, "content-type") != Some(BYTES_TYPE) {
            return Err(Fault::new(415, "ERR_INVALID_CONTENT_TYPE: missing or invalid Content-Type header"));
        }
        let bytes = header(headers, "content-length").and_then(number).ok_or_else(|| Fault::new(411, "a length is required"))?;
        if self.request_bytes_max.is_some_and(|max| bytes > max) {
            return Err(Fault::new(413, "Request Entity Too Large"));
        }
        let checksum = match header(headers, "upload-checksum").filter(|_| !self.checksums.is_empty()) {
            None => None,
            Some(text) => {
                let (word, told) = text.split_once(' ').ok_or_else(|| Fault::new(400, "invalid Upload-Checksum header"))?;
                let algorithm = Algorithm::of(word).filter(|_| self.checksums.iter().any(|known| known == word));
                let algorithm = algorithm.ok_or_else(|| Fault::new(400, "unsupported checksum algorithm"))?;
                Some((algorithm, told.to_owned()))
            }
        };
        Ok(Announced { bytes, checksum })
    }

    /// Whether bytes may come at this offset.
    fn begins(&self, shared: &Shared, id: &str, at: u64, announced: &Announced) -> Result<Upload, Fault> {
        let upload = self.upload(shared, id)?;
        if upload.locked_ms > shared.clock.now_ms() {
            return Err(locked());
        }
        if offset(shared, id, &upload)? != at {
            return Err(Fault::new(409, "ERR_MISMATCHED_OFFSET: mismatched offset"));
        }
        let end = at.saturating_add(announced.bytes);
        if end > upload.bytes {
            return Err(Fault::new(413, "ERR_UPLOAD_SIZE_EXCEEDED: upload's size exceeded"));
        }
        if end < upload.bytes && !end.is_multiple_of(self.chunk_multiple.max(1)) {
            return Err(Fault::new(400, "a request ends at a multiple of the chunk size"));
        }
        Ok(upload)
    }

    /// Keeps what came of a request that broke off. Where only its answer was lost, the file is made all the same, as tusd does
    /// (`finishUploadIfComplete` in pkg/handler/unrouted_handler.go).
    fn keep(&self, shared: &Shared, id: &str, at: u64, spooled: Spooled) -> Result<(), Fault> {
        let upload = self.upload(shared, id)?;
        let end = at + spooled.bytes;
        shared.store.put_spooled(KIND, id, at, spooled)?;
        if end == upload.bytes {
            self.make_file(shared, id, &upload)?;
        }
        Ok(())
    }

    fn take(
        &self,
        shared: &Shared,
        id: &str,
        at: u64,
        announced: &Announced,
        (spooled, digest): (Spooled, Option<String>),
        lies: bool,
    ) -> Result<Answer, Fault> {
        let upload = self.begins(shared, id, at, announced)?;
        if announced.checksum.as_ref().is_some_and(|(_, told)| digest.as_ref() != Some(told)) {
            let status = if self.dialect == Dialect::Rustus { 417 } else { 460 };
            return Err(Fault::new(status, "Wrong checksum"));
        }
        let (bytes, file_sha256) = (spooled.bytes, spooled.sha256.clone());
        let put = if bytes > 0 { shared.store.put_spooled(KIND, id, at, spooled)? } else { Default::default() };
        let end = at + bytes;
        let outcome = if end == upload.bytes { self.make_file(shared, id, &upload)? } else { Outcome::Acked };
        let told = if lies { end + 7 } else { end };
        let reply = match self.hook_fails.filter(|_| end == upload.bytes) {
            Some(status) => Fault::new(status, "ERR_INTERNAL_SERVER_ERROR: the hook after the upload failed").reply(),
            None => Reply::empty(204).header("upload-offset", &told.to_string()),
        };
        let reply = match &self.names_file {
            Some((name, value)) if end == upload.bytes => reply.header(name, value),
            _ => reply,
        };
        let answer = Answer::plain(self.dated(reply, &upload), outcome);
        Ok(Answer { file_sha256, held: true, again: put.again, differed: put.differed, ..answer })
    }

    /// Makes the file of an upload that is whole.
    fn make_file(&self, shared: &Shared, id: &str, upload: &Upload) -> Result<Outcome, Fault> {
        let metadata = upload.metadata.as_deref().and_then(metadata::read).unwrap_or_default();
        let name = ["filename", "name", "objectName"].iter().find_map(|key| metadata.get(*key)).cloned();
        let name = name.unwrap_or_else(|| id.to_owned());
        let pieces = |parts: &BTreeMap<u64, u64>| {
            let piece = |(part, bytes): (&u64, &u64)| Piece { part: *part, from: 0, bytes: *bytes };
            Ok(parts.iter().map(piece).collect())
        };
        shared.store.finish_ranges(KIND, id, Wanted { id, name: &name, md5: None }, pieces)?;
        if self.forgets_whole {
            shared.records.set(KIND, &record(id), &Upload { is_forgotten: true, ..upload.clone() })?;
        }
        Ok(Outcome::Stored)
    }

    /// An upload that is known, was not lost, and lives.
    fn upload(&self, shared: &Shared, id: &str) -> Result<Upload, Fault> {
        let unknown = || Fault::new(404, "ERR_UPLOAD_NOT_FOUND: upload not found");
        let upload: Upload =
            shared.records.get(KIND, &record(id)).filter(|upload: &Upload| !upload.is_forgotten).ok_or_else(unknown)?;
        if upload.until_ms.is_some_and(|until| until <= shared.clock.now_ms()) {
            return Err(match self.dialect {
                Dialect::Node => Fault::new(410, "The file for this url no longer exists"),
                Dialect::Tusd | Dialect::Rustus => unknown(),
            });
        }
        match shared.store.stage(KIND, id) {
            None | Some((Stage::Lost, _)) => Err(unknown()),
            Some(_) => Ok(upload),
        }
    }

    fn dated(&self, reply: Reply, upload: &Upload) -> Reply {
        let reply = reply.header("tus-resumable", VERSION);
        match upload.until_ms {
            Some(until) => reply.header("upload-expires", &httpdate::fmt_http_date(time(until))),
            None => reply,
        }
    }
}

/// What has become of an upload.
fn fetch(shared: &Shared, id: &str) -> Result<Answer, Fault> {
    let nothing = || Fault::new(404, "there is no such file");
    let object = shared.store.object(KIND, id).ok_or_else(nothing)?;
    let file = shared.store.open_object(KIND, id).ok_or_else(nothing)??;
    Ok(Answer::plain(Reply::file(file, object.bytes), Outcome::Served))
}

fn time(ms: i64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn locked() -> Fault {
    Fault::new(423, "ERR_UPLOAD_LOCKED: file currently locked")
}

/// How far an upload is: up to the first gap.
fn offset(shared: &Shared, id: &str, upload: &Upload) -> Result<u64, Fault> {
    match shared.store.stage(KIND, id) {
        Some((Stage::Done(_), _)) => Ok(upload.bytes),
        Some((Stage::Open, _)) => {
            let mut end = 0;
            for (part, bytes) in shared.store.parts(KIND, id) {
                if part != end {
                    break;
                }
                end += bytes;
            }
            Ok(end)
        }
        _ => Err(Refusal::NoSession.into()),
    }
}

/// The method of a request, or the one that is put in its place.
fn overridden(exchange: &Exchange) -> Result<Method, Fault> {
    match header(&exchange.headers, "x-http-method-override") {
        Some(_) if exchange.method != Method::POST => Err(Fault::new(400, "only POST stands for another method")),
        Some(method) => Method::from_bytes(method.as_bytes()).map_err(|_| Fault::new(400, "no method")),
        None => Ok(exchange.method.clone()),
    }
}

fn met(asked: &Asked) -> Met {
    let (endpoint, session, part) = match asked {
        Asked::Abilities => (Endpoint::Probe, None, None),
        Asked::Create => (Endpoint::Open, None, None),
        Asked::Append { id, offset } => (Endpoint::Chunk, Some(id.clone()), Some(*offset)),
        Asked::Look(id) => (Endpoint::Probe, Some(id.clone()), None),
        Asked::GiveUp(id) => (Endpoint::Abandon, Some(id.clone()), None),
        Asked::Fetch(_) => (Endpoint::Link, None, None),
    };
    Met { host: KIND, endpoint, session, part, file: None }
}

/// The name of the record of an upload, which is forgotten with it.
fn record(id: &str) -> String {
    format!("session-{id}")
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A number that is not negative, in digits alone.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
