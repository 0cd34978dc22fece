//! CloudKP from the other side: anonymous uploads in small chunks, one form each, then a form that makes them a file.
//!
//! One address takes both: `POST PREFIX/upload`. A form with a file is a chunk, a form without one is a finish; a chunk that says
//! `complete` is both at once. `GET PREFIX?c=ID` serves the file, as the host's public links do. Rejections are what the host
//! documents, a text with an `error`, so they come with status 200; only requests that are no such form at all get a 4xx. The
//! wording of the errors is ours, since the host documents none.

use std::net::SocketAddr;
use std::pin::Pin;

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;

use super::digest::sha256;
use super::exchange::{Answer, Exchange, Stop};
use super::faults::{Endpoint, Met};
use super::form::{FilePart, Form};
use super::log::Outcome;
use super::objects::{Object, Put, Refusal, Stage, Totals};
use super::reply::Reply;
use super::{Emulated, Shared};

pub(super) const KIND: &str = "cloudkp";
const REQUEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SESSION_CHARS: usize = 20;
const SESSION_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 4096;
/// What may stand unescaped in the `filename*` of a `Content-Disposition` header.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const FIELDS: [&str; 8] =
    ["dzuuid", "dzchunkindex", "dztotalchunkcount", "dztotalfilesize", "dzchunksize", "dzchunkbyteoffset", "complete", "file_name"];

/// How the emulated CloudKP reads and answers where its documentation leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Rejects whatever the documentation does not allow. Otherwise any chunk sizes, unknown and repeated fields, late fields,
    /// other words than `yes`, and chunks of a finished session are taken.
    pub strict: bool,
    /// Takes only 20 digits as `dzuuid`. Otherwise any text of 1 to 64 bytes.
    pub strict_uuid: bool,
    /// The answer to a chunk.
    pub chunk_reply: ChunkReply,
    /// The answer to a finish.
    pub finish_reply: FinishReply,
    /// The answer to a finish of a session that is finished.
    pub replay: Replay,
    /// What becomes of a file without bytes.
    pub empty_file: EmptyFile,
    /// What it makes a file of.
    pub finish: Finish,
}

impl Default for Rules {
    /// Strict, with the answers that the documented sample program expects; a repeated finish gets the same id.
    fn default() -> Rules {
        Rules {
            strict: true,
            strict_uuid: true,
            chunk_reply: ChunkReply::Json,
            finish_reply: FinishReply::Bare,
            replay: Replay::SameId,
            empty_file: EmptyFile::FinishOnly,
            finish: Finish::Either,
        }
    }
}

/// The answer to a chunk, which the host does not document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkReply {
    /// Nothing.
    Empty,
    /// The text `ok`.
    Ok,
    /// `{"error":null,"file_id":null}`.
    Json,
}

/// The answer to a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReply {
    /// `{"error":null,"file_id":"ID"}`, as documented.
    Json,
    /// `{"error":"null","file_id":"ID"}`: the table calls `error` a text.
    JsonNullText,
    /// The id alone, which is what the documented sample program expects.
    Bare,
    /// The id in quotation marks.
    JsonString,
}

/// The answer to a finish of a session that is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The id of the first time.
    SameId,
    /// The session is not found.
    Error,
    /// The file is stored once more.
    NewId,
}

/// What becomes of a file without bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyFile {
    /// It is rejected.
    Reject,
    /// A finish that counts 0 chunks makes it.
    FinishOnly,
    /// It takes one chunk without bytes, and a finish that counts 1.
    OneEmptyChunk,
}

/// What makes a file of the chunks of an upload; the documentation describes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A form with the last chunk, or one without a file.
    Either,
    /// The form with the last chunk alone. One without a file lacks a field.
    WithChunk,
    /// A form without a file alone. `complete` is refused beside a chunk, which is not stored then.
    Alone,
}

/// What `[host.cloudkp]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    format!("[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}\"\nlink_base = \"http://{addr}/{KIND}?c=\"\n")
}

/// The bytes of one chunk of a file of `size` bytes; the last chunk may have fewer.
fn chunk_bytes(size: u64) -> u64 {
    match size {
        786_432_000.. => 524_288,
        104_857_600.. => 262_144,
        _ => 131_072,
    }
}

/// The emulation.
#[derive(Debug)]
pub(super) struct CloudKp {
    rules: Rules,
}

impl CloudKp {
    pub(super) fn new(rules: Rules) -> CloudKp {
        CloudKp { rules }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        match (exchange.path.as_str(), &exchange.method) {
            ("/upload", &Method::POST) => self.upload(exchange).await,
            ("" | "/", &Method::GET | &Method::HEAD) => serve(exchange).await,
            ("/upload", _) => Ok(not_allowed("POST")),
            ("" | "/", _) => Ok(not_allowed("GET, HEAD")),
            _ => Err(Stop::Refused { status: 404, reason: "there is nothing at this path".into() }),
        }
    }

    async fn upload(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let mut form = Form::open(exchange)?;
        let has_file = form.head().await?;
        exchange.met(what(&form.texts, has_file))?;
        let file = if has_file { Some(form.file().await?) } else { None };
        let late = form.tail().await?;
        exchange.received().await?;
        let request = Request { rules: self.rules, texts: form.texts, late };
        let times = exchange.times();
        exchange.work(move |shared| request.answer(shared, file, times)).await
    }
}

impl Emulated for CloudKp {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn request_bytes_max(&self) -> u64 {
        REQUEST_BYTES_MAX
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        failure(status, reason)
    }

    fn full(&self) -> Reply {
        failure(200, &Refusal::Full.to_string())
    }
}

fn failure(status: u16, reason: &str) -> Reply {
    Reply::json(status, json!({ "error": reason, "file_id": null }).to_string())
}

fn rejected(reason: impl Into<String>) -> Answer {
    let reason = reason.into();
    Answer::plain(failure(200, &reason), Outcome::Rejected(reason))
}

fn not_allowed(allowed: &str) -> Answer {
    let reason = "this method is not allowed here";
    Answer::plain(failure(405, reason).header("allow", allowed), Outcome::Rejected(reason.into()))
}

fn what(texts: &[(String, String)], has_file: bool) -> Met {
    let endpoint = if has_file { Endpoint::Chunk } else { Endpoint::Finish };
    let text = |name| text(texts, name).map(str::to_owned);
    let part = if has_file { text("dzchunkindex").and_then(|part| part.parse().ok()) } else { None };
    Met { host: KIND, endpoint, session: text("dzuuid"), part, file: text("file_name") }
}

/// The last field of this name, as servers that read forms into tables take it.
fn text<'t>(texts: &'t [(String, String)], name: &str) -> Option<&'t str> {
    texts.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

/// One form, all of it received.
#[derive(Debug)]
struct Request {
    rules: Rules,
    texts: Vec<(String, String)>,
    late: bool,
}

/// Why a form is rejected: a rule of ours, or the store.
#[derive(Debug, thiserror::Error)]
enum Reject {
    #[error("{0}")]
    Rule(String),
    #[error(transparent)]
    Store(#[from] Refusal),
}

impl From<&str> for Reject {
    fn from(rule: &str) -> Reject {
        Reject::Rule(rule.to_owned())
    }
}

impl Reject {
    fn answer(self) -> Answer {
        match self {
            Reject::Store(Refusal::Io(error)) => {
                let reason = format!("the sandbox cannot keep its files: {error}");
                Answer::plain(failure(500, &reason), Outcome::Rejected(reason))
            }
            other => rejected(other.to_string()),
        }
    }
}

/// What a chunk request says about its chunk.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    index: u64,
    totals: Totals,
}

impl Request {
    /// Does what the form asks, `times` times; the last answer counts.
    fn answer(&self, shared: &Shared, file: Option<FilePart>, times: usize) -> Answer {
        let digest = file.as_ref().and_then(|file| file.data.as_deref()).map(sha256);
        let mut changed = false;
        let mut answer = rejected("nothing was done");
        for _ in 0..times {
            answer = self.once(shared, file.as_ref()).unwrap_or_else(Reject::answer);
            changed |= answer.held;
        }
        Answer { file_sha256: digest, held: changed, ..answer }
    }

    fn once(&self, shared: &Shared, file: Option<&FilePart>) -> Result<Answer, Reject> {
        self.check_fields()?;
        let session = self.session()?;
        let Some(file) = file else {
            let is_empty = self.number("dztotalchunkcount")? == Some(0);
            return match self.rules.finish {
                Finish::WithChunk if !is_empty => Err("the field `file` is missing".into()),
                _ => self.finish(shared, session),
            };
        };
        if self.rules.finish == Finish::Alone && self.text("complete").is_some() {
            return Err("`complete` is not allowed with a chunk".into());
        }
        let put = match self.take(shared, session, file) {
            // A chunk that arrives late, or again, changes nothing any more; with `complete` it is a second finish.
            Err(Reject::Store(Refusal::Complete)) if !self.rules.strict || self.text("complete").is_some() => None,
            put => Some(put?),
        };
        let noted = |answer: Answer| {
            let held = answer.held || put.is_some();
            let Put { again, differed } = put.unwrap_or_default();
            Answer { held, again, differed, ..answer }
        };
        let finished = self.text("complete").map(|_| self.finish(shared, session));
        Ok(noted(match finished {
            None => Answer::plain(self.chunk_reply(), Outcome::Acked),
            Some(finished) => finished.unwrap_or_else(Reject::answer),
        }))
    }

    fn take(&self, shared: &Shared, session: &str, file: &FilePart) -> Result<Put, Reject> {
        let chunk = self.chunk()?;
        self.check_chunk(chunk, file)?;
        shared.store.begin(KIND, session, chunk.totals)?;
        Ok(shared.store.put(KIND, session, chunk.index, file.bytes, file.data.as_deref())?)
    }

    fn check_fields(&self) -> Result<(), Reject> {
        if !self.rules.strict {
            return Ok(());
        }
        if let Some((unknown, _)) = self.texts.iter().find(|(name, _)| !FIELDS.contains(&name.as_str())) {
            return Err(Reject::Rule(format!("the field `{unknown}` is unknown")));
        }
        let repeated = |name: &&str| self.texts.iter().filter(|(field, _)| field == name).count() > 1;
        if let Some(name) = FIELDS.iter().find(|name| repeated(name)) {
            return Err(Reject::Rule(format!("the field `{name}` is repeated")));
        }
        if self.late {
            return Err("the file must be the last field".into());
        }
        Ok(())
    }

    fn session(&self) -> Result<&str, Reject> {
        let session = self.text("dzuuid").ok_or("dzuuid is missing")?;
        let digits = session.len() == SESSION_CHARS && session.bytes().all(|byte| byte.is_ascii_digit());
        match (self.rules.strict_uuid, session.len()) {
            (true, _) if !digits => Err("dzuuid must be 20 digits".into()),
            (_, 1..=SESSION_BYTES_MAX) => Ok(session),
            _ => Err("dzuuid must have 1 to 64 bytes".into()),
        }
    }

    fn chunk(&self) -> Result<Chunk, Reject> {
        let index = self.needed_number("dzchunkindex")?;
        let totals = Totals { parts: self.needed_number("dztotalchunkcount")?, bytes: self.needed_number("dztotalfilesize")? };
        Ok(Chunk { index, totals })
    }

    fn check_chunk(&self, chunk: Chunk, file: &FilePart) -> Result<(), Reject> {
        let Chunk { index, totals: Totals { parts, bytes: size } } = chunk;
        if size == 0 && self.rules.empty_file != EmptyFile::OneEmptyChunk {
            return Err("the file is empty".into());
        }
        if file.field != "file" {
            return Err("the chunk must be in the field `file`".into());
        }
        if index >= parts {
            return Err(Reject::Rule(format!("dzchunkindex {index} is not below dztotalchunkcount {parts}")));
        }
        if self.rules.strict { self.check_plan(chunk, file.bytes) } else { Ok(()) }
    }

    /// The chunk against the plan that follows from the size of the file.
    fn check_plan(&self, chunk: Chunk, bytes: u64) -> Result<(), Reject> {
        let Chunk { index, totals: Totals { parts, bytes: size } } = chunk;
        let nominal = chunk_bytes(size);
        let planned = size.div_ceil(nominal).max(1);
        if parts != planned {
            return Err(Reject::Rule(format!("a file of {size} bytes has {planned} chunks, not {parts}")));
        }
        let wanted = if index + 1 == parts { size - index * nominal } else { nominal };
        if bytes != wanted {
            return Err(Reject::Rule(format!("chunk {index} has {bytes} bytes instead of {wanted}")));
        }
        let announced = [("dzchunksize", nominal), ("dzchunkbyteoffset", index * nominal)];
        for (name, planned) in announced {
            if self.number(name)?.is_some_and(|value| value != planned) {
                return Err(Reject::Rule(format!("{name} must be {planned}")));
            }
        }
        Ok(())
    }

    fn finish(&self, shared: &Shared, session: &str) -> Result<Answer, Reject> {
        let complete = self.text("complete").ok_or("there is neither a file nor `complete`")?;
        if self.rules.strict && complete != "yes" {
            return Err("`complete` must be `yes`".into());
        }
        let name = self.file_name()?;
        let parts = self.needed_number("dztotalchunkcount")?;
        if self.rules.empty_file == EmptyFile::FinishOnly && parts == 0 {
            shared.store.begin(KIND, session, Totals { parts: 0, bytes: 0 })?;
        }
        if parts == 0 && self.rules.empty_file != EmptyFile::FinishOnly {
            return Err("the file is empty".into());
        }
        let (stage, totals) = shared.store.stage(KIND, session).ok_or(Refusal::NoSession)?;
        self.check_totals(totals, parts)?;
        let object = match stage {
            Stage::Done(id) => return self.replay(shared, &id, &name),
            Stage::Lost => return Err(Refusal::NoSession.into()),
            Stage::Open => shared.store.finish(KIND, session, &name)?,
        };
        Ok(Answer { held: true, ..self.stored(&object) })
    }

    fn check_totals(&self, totals: Totals, parts: u64) -> Result<(), Reject> {
        let size = self.number("dztotalfilesize")?.unwrap_or(totals.bytes);
        if (Totals { parts, bytes: size }) != totals {
            return Err(Refusal::OtherTotals.into());
        }
        match self.number("dzchunkindex")? {
            Some(index) if index >= parts => Err("dzchunkindex is not below dztotalchunkcount".into()),
            _ => Ok(()),
        }
    }

    fn replay(&self, shared: &Shared, id: &str, name: &str) -> Result<Answer, Reject> {
        let object = shared.store.object(KIND, id).ok_or(Refusal::NoSession)?;
        match self.rules.replay {
            Replay::SameId => Ok(self.stored(&object)),
            Replay::Error => Err(Refusal::NoSession.into()),
            Replay::NewId => Ok(Answer { held: true, ..self.stored(&shared.store.copy(&object, name)?) }),
        }
    }

    fn stored(&self, object: &Object) -> Answer {
        let reply = match self.rules.finish_reply {
            FinishReply::Json => Reply::json(200, json!({ "error": null, "file_id": object.id }).to_string()),
            FinishReply::JsonNullText => Reply::json(200, json!({ "error": "null", "file_id": object.id }).to_string()),
            FinishReply::Bare => Reply::text(200, &object.id),
            FinishReply::JsonString => Reply::json(200, json!(object.id).to_string()),
        };
        Answer::plain(reply, Outcome::Stored)
    }

    fn chunk_reply(&self) -> Reply {
        match self.rules.chunk_reply {
            ChunkReply::Empty => Reply::empty(200),
            ChunkReply::Ok => Reply::text(200, "ok"),
            ChunkReply::Json => Reply::json(200, json!({ "error": null, "file_id": null }).to_string()),
        }
    }

    fn file_name(&self) -> Result<String, Reject> {
        let name = self.text("file_name").unwrap_or_default();
        if name.is_empty() {
            return Err("file_name is missing".into());
        }
        if name.len() > NAME_BYTES_MAX {
            return Err("file_name is too long".into());
        }
        let wrong = |c: char| matches!(c, '/' | '\\') || c.is_control();
        match (name.contains(wrong), self.rules.strict) {
            (true, true) => Err("file_name holds a slash, a backslash or a control character".into()),
            (true, false) => Ok(name.replace(wrong, "_")),
            _ => Ok(name.to_owned()),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        text(&self.texts, name)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Reject> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse::<u64>().ok().filter(|number| !self.rules.strict || number.to_string() == text);
        number.map(Some).ok_or_else(|| Reject::Rule(format!("{name} is not a decimal number")))
    }

    fn needed_number(&self, name: &str) -> Result<u64, Reject> {
        self.number(name)?.ok_or_else(|| Reject::Rule(format!("{name} is missing")))
    }
}

/// Serves the object a link names.
async fn serve(exchange: &mut Exchange) -> Result<Answer, Stop> {
    let nothing = || Stop::Refused { status: 404, reason: "there is no such file".into() };
    let id = exchange.query.split('&').find_map(|pair| pair.strip_prefix("c=")).ok_or_else(nothing)?;
    let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
    let object = exchange.work(move |shared| shared.store.object(KIND, &id)).await?.ok_or_else(nothing)?;
    exchange.met(Met { host: KIND, endpoint: Endpoint::Link, session: None, part: None, file: Some(object.name.clone()) })?;
    exchange.received().await?;
    let Object { id, name, bytes, .. } = object;
    let file = exchange.work(move |shared| shared.store.open_object(KIND, &id)).await?;
    let Some(Ok(file)) = file else { return Err(nothing()) };
    let reply = Reply::file(file, bytes).header("content-disposition", &attachment(&name));
    Ok(Answer::plain(reply, Outcome::Served))
}

fn attachment(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' };
    let fallback: String = name.chars().map(plain).collect();
    format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ESCAPED))
}
