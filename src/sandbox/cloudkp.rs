//! A CloudKP server as the page describes it (`protocols/cloudkp.md`, section 6): strict about everything that is written there.
//!
//! What the page leaves open is a switch. A request that breaks the protocol is answered with status 200 and
//! `{"error":"…","file_id":null}`, since the service reports errors in the text of its reply; only what is no upload at all (wrong
//! method, wrong path, no form) has an HTTP status of its own.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, StatusCode};
use multer::{Field, Multipart};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::faults::{Action, Asked, Endpoint};
use super::log::{Entry, Outcome};
use super::objects::hex;
use super::wire::{Abort, Connection, Reply};
use super::{Answer, Kind, State};

const HOST: &str = "cloudkp";
/// A text field is never longer.
const FIELD_BYTES_MAX: usize = 4096;
/// The largest chunk of the ladder.
const CHUNK_BYTES_MAX: usize = 524_288;
/// Sessions that may be open at once.
const SESSIONS_MAX: usize = 100_000;

/// How the server answers where the page leaves it open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// To a chunk.
    pub chunk_reply: ChunkReply,
    /// To a finish.
    pub finish_reply: FinishReply,
    /// To a finish that comes again.
    pub replay: Replay,
    /// What is done with files of 0 bytes.
    pub empty_files: EmptyFiles,
}

/// The answer to a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChunkReply {
    /// Nothing.
    #[default]
    Empty,
    /// `ok`.
    Ok,
    /// `{"error":null}`.
    Json,
}

/// The answer to a finish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FinishReply {
    /// `{"error":null,"file_id":"…"}`, as the table says.
    #[default]
    Json,
    /// The id alone, as the sample expects.
    Bare,
    /// The id as a JSON string.
    JsonString,
}

/// The answer to a finish that comes again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replay {
    /// The same id.
    #[default]
    SameId,
    /// The session is unknown by then.
    Error,
    /// The file is stored again, under a new id.
    NewId,
}

/// What is done with files of 0 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyFiles {
    /// They are refused.
    #[default]
    Reject,
    /// A finish with a count of 0 makes one.
    FinishOnly,
    /// One chunk of 0 bytes, then a finish.
    OneEmptyChunk,
}

/// What has been counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Chunks taken.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chunks taken a second time for the same session.
    pub repeated: u64,
    /// Those of them that differed from the first.
    pub differed: u64,
    /// Files finished.
    pub finished: u64,
}

/// The server's state.
pub(super) struct CloudKp {
    dir: PathBuf,
    discard: bool,
    settings: Settings,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<String, Session>,
    finished: HashMap<String, String>,
    stats: Stats,
}

/// A half-sent upload.
#[derive(Debug, Clone)]
struct Session {
    totals: Totals,
    held: BTreeSet<u32>,
}

/// What the first chunk fixes for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    bytes: u64,
    chunks: u32,
}

impl Totals {
    /// The ladder: 128 KiB, from 104857600 bytes on 256 KiB, from 786432000 bytes on 512 KiB.
    fn chunk_bytes(self) -> u64 {
        if self.bytes >= 786_432_000 {
            4 * 131_072
        } else if self.bytes >= 104_857_600 {
            2 * 131_072
        } else {
            131_072
        }
    }

    fn expected_chunks(self) -> u64 {
        self.bytes.div_ceil(self.chunk_bytes())
    }

    fn length_of(self, index: u32) -> u64 {
        let begin = u64::from(index) * self.chunk_bytes();
        self.chunk_bytes().min(self.bytes - begin.min(self.bytes))
    }
}

/// The text fields of a form, as far as they have come.
#[derive(Debug, Default, Clone)]
struct Fields(HashMap<String, String>);

impl Fields {
    fn get(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("{name} is required"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.parse().map_err(|_| format!("{name} is not a number"))
    }

    fn uuid(&self) -> Result<&str, String> {
        let uuid = self.get("dzuuid")?;
        match uuid.len() == 20 && uuid.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ok(uuid),
            false => Err("dzuuid must have 20 digits".into()),
        }
    }

    fn is_last(&self) -> Result<bool, String> {
        match self.0.get("complete").map(String::as_str) {
            None => Ok(false),
            Some("yes") => Ok(true),
            Some(_) => Err("complete must be yes".into()),
        }
    }

    fn file_name(&self) -> Result<&str, String> {
        let name = self.get("file_name")?;
        let bad = name.is_empty() || name.contains(['/', '\\']) || name.chars().any(char::is_control);
        if bad { Err("file_name is not a file name".into()) } else { Ok(name) }
    }
}

/// A chunk as it was announced.
struct Announced {
    uuid: String,
    index: u32,
    totals: Totals,
}

impl CloudKp {
    pub(super) fn open(dir: &Path, discard: bool, settings: Settings) -> io::Result<CloudKp> {
        let dir = dir.join("cloudkp-sessions");
        std::fs::create_dir_all(&dir)?;
        let kp = CloudKp { dir, discard, settings, inner: Mutex::default() };
        kp.load()?;
        Ok(kp)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> Stats {
        self.lock().stats
    }

    pub(super) fn lose_sessions(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.sessions.clear();
        inner.finished.clear();
        std::fs::remove_dir_all(&self.dir)?;
        std::fs::create_dir_all(&self.dir)
    }

    /// Takes up what an earlier run left: a file of bytes and a list of indexes per session, and the ids of finished ones.
    fn load(&self) -> io::Result<()> {
        let mut inner = self.lock();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let uuid = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("index") => {
                    let text = std::fs::read_to_string(&path)?;
                    let mut lines = text.lines();
                    let Some(totals) = lines.next().and_then(|line| serde_json::from_str(line).ok()) else { continue };
                    let held = lines.filter_map(|line| line.parse().ok()).collect();
                    inner.sessions.insert(uuid, Session { totals, held });
                }
                Some("id") => {
                    inner.finished.insert(uuid, std::fs::read_to_string(&path)?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, uuid: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{uuid}.{extension}"))
    }

    fn announced(&self, fields: &Fields) -> Result<Announced, String> {
        let uuid = fields.uuid()?.to_owned();
        let index = fields.number("dzchunkindex")?;
        let totals = Totals { bytes: fields.number("dztotalfilesize")?, chunks: fields.number("dztotalchunkcount")? };
        let empty_allowed = self.settings.empty_files == EmptyFiles::OneEmptyChunk && totals.chunks == 1;
        if totals.bytes == 0 && !empty_allowed {
            return Err("empty files are not accepted".into());
        }
        if totals.bytes > 0 && u64::from(totals.chunks) != totals.expected_chunks() {
            return Err(format!("dztotalchunkcount must be {}", totals.expected_chunks()));
        }
        if index >= totals.chunks {
            return Err("dzchunkindex is out of range".into());
        }
        self.check_supplements(fields, index, totals)?;
        match self.lock().sessions.get(&uuid) {
            Some(session) if session.totals != totals => Err("the totals differ from those of the first chunk".into()),
            _ => Ok(Announced { uuid, index, totals }),
        }
    }

    /// Fields that the browser library sends besides: accepted, and held against the plan (page, 2.3).
    fn check_supplements(&self, fields: &Fields, index: u32, totals: Totals) -> Result<(), String> {
        if fields.0.contains_key("dzchunksize") && fields.number::<u64>("dzchunksize")? != totals.chunk_bytes() {
            return Err("dzchunksize does not fit the plan".into());
        }
        let offset = u64::from(index) * totals.chunk_bytes();
        if fields.0.contains_key("dzchunkbyteoffset") && fields.number::<u64>("dzchunkbyteoffset")? != offset {
            return Err("dzchunkbyteoffset does not fit the plan".into());
        }
        Ok(())
    }

    /// Stores one chunk; a repeated one replaces the earlier bytes.
    fn take(&self, chunk: &Announced, bytes: &[u8]) -> Result<(), String> {
        let expected = chunk.totals.length_of(chunk.index);
        if bytes.len() as u64 != expected {
            return Err(format!("the chunk has {} bytes, not {expected}", bytes.len()));
        }
        let mut inner = self.lock();
        if inner.sessions.len() >= SESSIONS_MAX && !inner.sessions.contains_key(&chunk.uuid) {
            return Err("too many sessions".into());
        }
        let session =
            inner.sessions.entry(chunk.uuid.clone()).or_insert_with(|| Session { totals: chunk.totals, held: BTreeSet::new() });
        let news = session.held.insert(chunk.index);
        let first = session.held.len() == 1 && news;
        inner.stats.chunks += 1;
        inner.stats.bytes += bytes.len() as u64;
        if !news {
            inner.stats.repeated += 1;
            inner.stats.differed += u64::from(!self.discard && self.differs(chunk, bytes));
        }
        drop(inner);
        if self.discard {
            return Ok(());
        }
        self.write(chunk, bytes, first, news).map_err(|error| format!("the server cannot write: {error}"))
    }

    fn differs(&self, chunk: &Announced, bytes: &[u8]) -> bool {
        let mut before = vec![0; bytes.len()];
        let offset = u64::from(chunk.index) * chunk.totals.chunk_bytes();
        let read = File::open(self.file(&chunk.uuid, "data")).and_then(|file| file.read_exact_at(&mut before, offset));
        read.is_err() || before != bytes
    }

    fn write(&self, chunk: &Announced, bytes: &[u8], first: bool, news: bool) -> io::Result<()> {
        let data = OpenOptions::new().create(true).truncate(false).write(true).open(self.file(&chunk.uuid, "data"))?;
        data.write_all_at(bytes, u64::from(chunk.index) * chunk.totals.chunk_bytes())?;
        // Chunks arrive side by side, and the index begins with the totals: one writer at a time.
        let _guard = self.lock();
        let mut index = OpenOptions::new().create(true).append(true).open(self.file(&chunk.uuid, "index"))?;
        if first || index.metadata()?.len() == 0 {
            writeln!(index, "{}", serde_json::to_string(&chunk.totals)?)?;
        }
        if news { writeln!(index, "{}", chunk.index) } else { Ok(()) }
    }

    /// Makes the chunks a file, and answers its id.
    fn finish(&self, state: &State, fields: &Fields) -> Result<String, String> {
        let uuid = fields.uuid()?;
        let name = fields.file_name()?;
        let count: u32 = fields.number("dztotalchunkcount")?;
        if let Some(id) = self.replayed(state, uuid, name) {
            return id;
        }
        if count == 0 && self.settings.empty_files == EmptyFiles::FinishOnly {
            let empty = self.file(uuid, "data");
            std::fs::write(&empty, b"").map_err(|error| error.to_string())?;
            return self.keep(state, uuid, name, 0);
        }
        let session = self.lock().sessions.get(uuid).cloned().ok_or("unknown session")?;
        if count != session.totals.chunks {
            return Err("dztotalchunkcount differs from that of the chunks".into());
        }
        for (field, value) in [("dztotalfilesize", session.totals.bytes)] {
            if fields.0.contains_key(field) && fields.number::<u64>(field)? != value {
                return Err(format!("{field} differs from that of the chunks"));
            }
        }
        let missing = u64::from(session.totals.chunks) - session.held.len() as u64;
        if missing > 0 {
            return Err(format!("{missing} chunks missing"));
        }
        self.keep(state, uuid, name, session.totals.bytes)
    }

    fn replayed(&self, state: &State, uuid: &str, name: &str) -> Option<Result<String, String>> {
        let id = self.lock().finished.get(uuid).cloned()?;
        Some(match self.settings.replay {
            Replay::SameId => Ok(id),
            Replay::Error => Err("unknown session".into()),
            Replay::NewId => {
                let first = state.objects.find(&id);
                let path = first.as_ref().map(|object| state.objects.path(object));
                let bytes = first.map_or(0, |object| object.bytes);
                let again = state.objects.store(HOST, name, uuid, bytes, path.as_deref());
                again.map(|object| object.id).map_err(|error| error.to_string())
            }
        })
    }

    fn keep(&self, state: &State, uuid: &str, name: &str, bytes: u64) -> Result<String, String> {
        let data = self.file(uuid, "data");
        let object = state.objects.store(HOST, name, uuid, bytes, Some(&data)).map_err(|error| error.to_string())?;
        if !self.discard {
            std::fs::write(self.file(uuid, "id"), &object.id).map_err(|error| error.to_string())?;
        }
        let mut inner = self.lock();
        inner.sessions.remove(uuid);
        inner.stats.finished += 1;
        if !self.discard {
            inner.finished.insert(uuid.to_owned(), object.id.clone());
            for extension in ["data", "index"] {
                // A session of a file of 0 bytes has no index.
                drop(std::fs::remove_file(self.file(uuid, extension)));
            }
        }
        Ok(object.id)
    }

    fn forget(&self, uuid: &str) {
        let mut inner = self.lock();
        inner.sessions.remove(uuid);
        inner.finished.remove(uuid);
        for extension in ["data", "index", "id"] {
            drop(std::fs::remove_file(self.file(uuid, extension)));
        }
    }

    fn drop_chunk(&self, chunk: &Announced) {
        if let Some(session) = self.lock().sessions.get_mut(&chunk.uuid) {
            session.held.remove(&chunk.index);
        }
    }

    fn acknowledge(&self) -> Reply {
        match self.settings.chunk_reply {
            ChunkReply::Empty => Reply::text(StatusCode::OK, ""),
            ChunkReply::Ok => Reply::text(StatusCode::OK, "ok"),
            ChunkReply::Json => Reply::json(StatusCode::OK, "{\"error\":null}".into()),
        }
    }

    fn announce(&self, id: &str) -> Reply {
        match self.settings.finish_reply {
            FinishReply::Json => Reply::json(StatusCode::OK, format!("{{\"error\":null,\"file_id\":\"{id}\"}}")),
            FinishReply::Bare => Reply::text(StatusCode::OK, id),
            FinishReply::JsonString => Reply::json(StatusCode::OK, format!("\"{id}\"")),
        }
    }

    async fn upload(&self, state: &State, request: Request<Incoming>, connection: &Connection) -> Answer {
        let kind = request.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let Ok(boundary) = multer::parse_boundary(kind) else {
            return Ok(Reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "multipart/form-data is expected"));
        };
        let mut form = Multipart::new(Frames(request.into_body()), boundary);
        let mut fields = Fields::default();
        loop {
            match form.next_field().await {
                Ok(Some(field)) if field.name() == Some("file") => {
                    return self.chunk(state, connection, fields, field).await;
                }
                Ok(Some(field)) => match read_text(field).await {
                    Ok((name, value)) if fields.0.len() < 32 => {
                        fields.0.insert(name, value);
                    }
                    _ => return Ok(Reply::text(StatusCode::BAD_REQUEST, "a field cannot be read")),
                },
                Ok(None) => return self.commit(state, &fields).await,
                Err(_) => return Ok(Reply::text(StatusCode::BAD_REQUEST, "the form is broken")),
            }
        }
    }

    async fn chunk(&self, state: &State, connection: &Connection, fields: Fields, mut field: Field<'_>) -> Answer {
        let announced = self.announced(&fields);
        let part = announced.as_ref().ok().map(|chunk| chunk.index);
        let fault = state.faults.strike(Asked { host: HOST, endpoint: Endpoint::Chunk, part, file: None });
        let mut entry = entry("chunk", &fields, part, fault.as_ref());
        let refuse = |entry: Entry, why: String| {
            let reply = refusal(&why);
            state.log.add(Entry { outcome: Outcome::Refused(why), ..entry });
            Ok(reply)
        };
        match &fault {
            Some(Action::ResetBeforeReading) => return abort(state, entry),
            Some(Action::EarlyReply { status }) => {
                state.log.add(Entry { outcome: Outcome::Refused("early".into()), ..entry });
                return Ok(Reply::text(status_of(*status), "no").header("connection", "close"));
            }
            Some(Action::LoseSession) => self.forget(fields.uuid().unwrap_or_default()),
            _ => {}
        }
        let bytes = match read_file(&mut field, fault.as_ref(), connection).await? {
            Ok(bytes) => bytes,
            Err(why) => return refuse(entry, why),
        };
        entry.bytes = bytes.len() as u64;
        entry.sha256 = (!self.discard).then(|| hex(&Sha256::digest(&bytes)));
        if let Some(reply) = fault.as_ref().and_then(answer_in_place) {
            return match reply {
                Ok(reply) => {
                    state.log.add(Entry { outcome: Outcome::Refused("by a fault".into()), ..entry });
                    Ok(reply)
                }
                Err(Abort) => abort(state, entry),
            };
        }
        let chunk = match announced {
            Ok(chunk) => chunk,
            Err(why) => return refuse(entry, why),
        };
        if fault == Some(Action::LoseSession) && chunk.totals.chunks > 1 {
            return refuse(entry, "unknown session".into());
        }
        if let Err(why) = self.store_chunk(&chunk, bytes, fault.as_ref()) {
            return refuse(entry, why);
        }
        if fields.is_last() == Ok(true) && self.lock().sessions.get(&chunk.uuid).is_some_and(|session| session.is_whole()) {
            state.log.add(Entry { outcome: Outcome::Acked, ..entry });
            return self.commit(state, &fields).await;
        }
        reply_late(fault.as_ref()).await;
        finish_reply(state, entry, Outcome::Acked, self.acknowledge(), fault.as_ref())
    }

    fn store_chunk(&self, chunk: &Announced, bytes: Bytes, fault: Option<&Action>) -> Result<(), String> {
        match fault {
            Some(Action::CorruptChunk) if !bytes.is_empty() => {
                let mut wrong = bytes.to_vec();
                wrong[0] ^= 1;
                self.take(chunk, &wrong)
            }
            Some(Action::Twice) => self.take(chunk, &bytes).and_then(|()| self.take(chunk, &bytes)),
            Some(Action::DropChunk) => self.take(chunk, &bytes).map(|()| self.drop_chunk(chunk)),
            _ => self.take(chunk, &bytes),
        }
    }

    async fn commit(&self, state: &State, fields: &Fields) -> Answer {
        let file = fields.0.get("file_name").map(String::as_str);
        let fault = state.faults.strike(Asked { host: HOST, endpoint: Endpoint::Finish, part: None, file });
        let entry = entry("finish", fields, None, fault.as_ref());
        match fault.as_ref().and_then(answer_in_place) {
            Some(Ok(reply)) => {
                state.log.add(Entry { outcome: Outcome::Refused("by a fault".into()), ..entry });
                return Ok(reply);
            }
            Some(Err(Abort)) => return abort(state, entry),
            None => {}
        }
        if fault == Some(Action::LoseSession) {
            self.forget(fields.uuid().unwrap_or_default());
        }
        let finished = match fields.is_last() {
            Ok(true) => self.finish(state, fields),
            Ok(false) => Err("a request without a file must be complete".into()),
            Err(why) => Err(why),
        };
        if fault == Some(Action::Twice) && finished.is_ok() {
            drop(self.finish(state, fields));
        }
        reply_late(fault.as_ref()).await;
        match finished {
            Ok(id) => finish_reply(state, entry, Outcome::Stored, self.announce(&id), fault.as_ref()),
            Err(why) => {
                let reply = refusal(&why);
                state.log.add(Entry { outcome: Outcome::Refused(why), ..entry });
                Ok(reply)
            }
        }
    }

    /// Serves a stored file under its link: `?c=ID`.
    fn link(&self, state: &State, query: &str) -> Reply {
        let id = query.split('&').find_map(|pair| pair.strip_prefix("c=")).unwrap_or_default();
        let id = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
        let Some(object) = state.objects.find(&id) else { return Reply::text(StatusCode::NOT_FOUND, "no such file") };
        let Ok(file) = state.objects.file(&object) else { return Reply::text(StatusCode::NOT_FOUND, "no such file") };
        let name = percent_encoding::utf8_percent_encode(&object.name, percent_encoding::NON_ALPHANUMERIC);
        let served = entry("link", &Fields::default(), None, None);
        state.log.add(Entry { session: object.session, bytes: object.bytes, outcome: Outcome::Served, ..served });
        Reply::file(file, object.bytes, format!("attachment; filename*=UTF-8''{name}"))
    }
}

impl Session {
    fn is_whole(&self) -> bool {
        self.held.len() as u64 == u64::from(self.totals.chunks)
    }
}

impl Kind for CloudKp {
    fn answer<'a>(
        &'a self,
        state: &'a State,
        request: Request<Incoming>,
        connection: &'a Connection,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let below = request.uri().path().trim_start_matches("/cloudkp").to_owned();
            match (request.method(), below.as_str()) {
                (&Method::POST, "/upload") => self.upload(state, request, connection).await,
                (_, "/upload") => Ok(Reply::text(StatusCode::METHOD_NOT_ALLOWED, "only POST").header("allow", "POST")),
                (&Method::GET, "" | "/") => Ok(self.link(state, request.uri().query().unwrap_or_default())),
                _ => Ok(Reply::text(StatusCode::NOT_FOUND, "no such page")),
            }
        })
    }
}

fn entry(endpoint: &'static str, fields: &Fields, part: Option<u32>, fault: Option<&Action>) -> Entry {
    let session = fields.0.get("dzuuid").cloned().unwrap_or_default();
    let fault = fault.and_then(|action| serde_json::to_string(action).ok());
    Entry { number: 0, host: HOST, endpoint, session, part, bytes: 0, sha256: None, outcome: Outcome::Unanswered, fault }
}

fn refusal(why: &str) -> Reply {
    Reply::json(StatusCode::OK, serde_json::json!({ "error": why, "file_id": null }).to_string())
}

fn abort(state: &State, entry: Entry) -> Answer {
    state.log.add(Entry { outcome: Outcome::Refused("reset by a fault".into()), ..entry });
    Err(Abort)
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Faults that answer in the server's place, once the request is read.
fn answer_in_place(fault: &Action) -> Option<Answer> {
    Some(match fault {
        Action::Reply { status, headers, body } => {
            Ok(headers.iter().fold(Reply::text(status_of(*status), body), |reply, (name, value)| reply.header(name, value)))
        }
        Action::RateLimit { seconds, as_date } => {
            let reply = Reply::text(StatusCode::TOO_MANY_REQUESTS, "slow down");
            Ok(match seconds {
                Some(seconds) if *as_date => reply.header("retry-after", httpdate::fmt_http_date(in_seconds(*seconds))),
                Some(seconds) => reply.header("retry-after", seconds.to_string()),
                None => reply,
            })
        }
        Action::Html { status } => Ok(Reply::html(status_of(*status))),
        Action::Redirect { status, to } => Ok(Reply::text(status_of(*status), "").header("location", to.as_str())),
        Action::ResetBeforeReading | Action::ResetUnstored => Err(Abort),
        _ => return None,
    })
}

/// The server's own clock; it shares nothing with the daemon's.
#[expect(clippy::disallowed_methods, reason = "the sandbox is another machine as far as the daemon can tell")]
fn in_seconds(seconds: u64) -> SystemTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // One second more: a date has no fractions, and must not lie in the past.
    UNIX_EPOCH + now + Duration::from_secs(seconds + 1)
}

async fn reply_late(fault: Option<&Action>) {
    if let Some(Action::SlowReply { milliseconds }) = fault {
        tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
    }
}

/// Logs what took effect and lets the fault have its way with the answer.
fn finish_reply(state: &State, entry: Entry, outcome: Outcome, reply: Reply, fault: Option<&Action>) -> Answer {
    let lost =
        matches!(fault, Some(Action::ResetStored | Action::CutReply { .. } | Action::WrongLength | Action::ReplyAfterwards { .. }));
    state.log.add(Entry { outcome: if lost { Outcome::Unanswered } else { outcome }, ..entry });
    match fault {
        Some(Action::ResetStored) => Err(Abort),
        Some(Action::CutReply { bytes }) => Ok(reply.cut_after(*bytes)),
        Some(Action::WrongLength) => Ok(reply.lie_about_length()),
        Some(Action::ReplyAfterwards { status, body }) => Ok(Reply::text(status_of(*status), body)),
        _ => Ok(reply),
    }
}

async fn read_text(mut field: Field<'_>) -> Result<(String, String), String> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut value = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| error.to_string())? {
        value.extend_from_slice(&chunk);
        if value.len() > FIELD_BYTES_MAX {
            return Err(format!("{name} is too long"));
        }
    }
    String::from_utf8(value).map(|value| (name, value)).map_err(|error| error.to_string())
}

/// Reads the file part, as slowly as the fault says, and breaks off where it says.
async fn read_file(field: &mut Field<'_>, fault: Option<&Action>, connection: &Connection) -> Result<Result<Bytes, String>, Abort> {
    let mut bytes = BytesMut::new();
    loop {
        match field.chunk().await {
            Ok(None) => return Ok(Ok(bytes.freeze())),
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Err(error) => return Ok(Err(format!("the form ends in the middle: {error}"))),
        }
        match fault {
            Some(Action::ResetAfter { bytes: limit }) if bytes.len() as u64 >= *limit => {
                connection.break_off();
                return Err(Abort);
            }
            Some(Action::SlowRead { bytes_per_second }) => {
                let seconds = 16_384.0 / (*bytes_per_second).max(1) as f64;
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            _ => {}
        }
        if bytes.len() > CHUNK_BYTES_MAX {
            return Ok(Err("the chunk is too large".into()));
        }
    }
}

/// A body as the form reader wants it.
struct Frames(Incoming);

impl futures_core::Stream for Frames {
    type Item = Result<Bytes, hyper::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match std::task::ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => None,
                Some(Err(error)) => Some(Err(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    // Trailers mean nothing here.
                    Err(_) => continue,
                },
            });
        }
    }
}
