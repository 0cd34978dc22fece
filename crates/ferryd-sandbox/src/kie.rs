//! Kie.ai from the other side: one authenticated request for each file, kept for a day or so under a path and a name; the same
//! again overwrites.
//!
//! `POST PREFIX/api/file-stream-upload` takes a form, `…/file-base64-upload` and `…/file-url-upload` take JSON; `GET
//! PREFIX/file/ID/NAME` serves what is kept until it expires. An address to fetch from must be of this machine. Whether an error is
//! in the status or in the body under status 200 is a rule, since the service does both.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exchange::{Answer, Exchange, Stop, full_disk};
use super::faults::{Endpoint, Met};
use super::form::Form;
use super::log::Outcome;
use super::objects::{Object, Refusal};
use super::reply::Reply;
use super::spool::{Spool, Spooled};
use super::{Emulated, Shared};

pub(super) const KIND: &str = "kie";
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 1024;
/// Room for 10 MB of a file as base64, and what is around it.
const JSON_BYTES_MAX: usize = 14 * 1024 * 1024;
const BASE64_BYTES_MAX: usize = 10_000_000;
const URL_BYTES_MAX: usize = 100 * 1024 * 1024;
const FETCH_TIME: Duration = Duration::from_secs(30);

/// How the emulated Kie.ai reads and answers where its documentation leaves a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The one key that is taken.
    pub api_key: String,
    /// Where an error is.
    pub errors: Errors,
    /// The shape of a success.
    pub shape: ReplyShape,
    /// Whether `code` is a text.
    pub code_as_text: bool,
    /// Whether `uploadPath` must be there.
    pub path_required: bool,
    /// The largest file, in bytes.
    pub file_bytes_max: u64,
    /// How long a file is kept, in seconds.
    pub kept_seconds: i64,
    /// Whether a file that overwrites another is kept for as long as a new one; else until the end of that one.
    pub overwriting_renews: bool,
}

impl Default for Rules {
    /// Strict, with real statuses and the shape of the endpoint pages; a file is kept for 24 hours.
    fn default() -> Rules {
        Rules {
            api_key: "sk-test".into(),
            errors: Errors::Status,
            shape: ReplyShape::Pages,
            code_as_text: false,
            path_required: true,
            file_bytes_max: u64::MAX,
            kept_seconds: 24 * 3600,
            overwriting_renews: true,
        }
    }
}

/// Where an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// In the status and in the body.
    Status,
    /// In the body, under status 200.
    Body,
}

/// The shape of a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyShape {
    /// As the quickstart has it: `fileId`, `fileUrl`, `expiresAt`.
    Quickstart,
    /// As the endpoint pages have it: `filePath`, `uploadedAt`.
    Pages,
    /// A link under `url` and nothing else.
    UrlOnly,
}

/// What `[host.kie]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    format!("[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}\"\napi_key = \"sk-test\"\n")
}

/// The emulation.
#[derive(Debug)]
pub(super) struct Kie {
    rules: Rules,
}

/// What is remembered of a kept file, by its path and name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    id: String,
    until_ms: i64,
    #[serde(default)]
    mime: String,
}

/// What a request asks to be kept.
#[derive(Debug)]
struct Wanted {
    upload_path: Option<String>,
    name: Option<String>,
    mime: Option<String>,
}

/// Why a request is refused: the code, and the words.
struct Reject(u16, String);

impl From<&str> for Reject {
    fn from(words: &str) -> Reject {
        Reject(400, words.to_owned())
    }
}

impl Kie {
    pub(super) fn new(rules: Rules) -> Kie {
        Kie { rules }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let path = exchange.path.clone();
        match (path.as_str(), &exchange.method) {
            ("/api/file-stream-upload", &Method::POST) => self.stream(exchange).await,
            ("/api/file-base64-upload", &Method::POST) => self.base64(exchange).await,
            ("/api/file-url-upload", &Method::POST) => self.by_url(exchange).await,
            (path, &Method::GET | &Method::HEAD) if path.starts_with("/file/") => serve(exchange).await,
            (path, _) if path.starts_with("/api/file-") => Ok(self.rejected(Reject(405, "Method not allowed".into()))),
            _ => Ok(self.rejected(Reject(404, "Not found".into()))),
        }
    }

    fn check_key(&self, exchange: &Exchange) -> Result<(), Reject> {
        let given = exchange.headers.get("authorization").and_then(|value| value.to_str().ok());
        if given.and_then(|given| given.strip_prefix("Bearer ")) == Some(self.rules.api_key.as_str()) {
            Ok(())
        } else {
            Err(Reject(401, "You do not have access permissions".into()))
        }
    }

    async fn stream(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        if let Err(reject) = self.check_key(exchange) {
            while exchange.body.next().await?.is_some() {}
            return Ok(self.rejected(reject));
        }
        let mut form = Form::open(exchange)?;
        let has_file = form.head().await?;
        let early = wanted(&form.texts, None, None);
        exchange.met(met(&early))?;
        if !has_file {
            exchange.received().await?;
            return Ok(self.rejected("Missing required parameter: file".into()));
        }
        let (head, spooled) = form.spool(exchange).await?;
        form.tail().await?;
        exchange.received().await?;
        if head.field != "file" {
            return Ok(self.rejected("Missing required parameter: file".into()));
        }
        let wanted = wanted(&form.texts, head.content_type, None);
        self.keep(exchange, wanted, spooled).await
    }

    /// What a JSON request asks for, with the key checked and all of it received.
    async fn json_request(&self, exchange: &mut Exchange) -> Result<Result<(Fields, Wanted), Reject>, Stop> {
        if let Err(reject) = self.check_key(exchange) {
            while exchange.body.next().await?.is_some() {}
            return Ok(Err(reject));
        }
        let (fields, texts) = match json_body(exchange).await? {
            Ok(read) => read,
            Err(reject) => return Ok(Err(reject)),
        };
        let wanted = wanted(&texts, None, None);
        exchange.met(met(&wanted))?;
        exchange.received().await?;
        Ok(Ok((fields, wanted)))
    }

    async fn base64(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let (fields, wanted) = match self.json_request(exchange).await? {
            Ok(read) => read,
            Err(reject) => return Ok(self.rejected(reject)),
        };
        let given = fields.get("base64Data").and_then(Value::as_str);
        let Some(data) = given else { return Ok(self.rejected("Missing required parameter: base64Data".into())) };
        let (mime, data) = match data.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((mime, data)) => (Some(mime.to_owned()), data),
            None => (None, data),
        };
        let bytes = match STANDARD.decode(data) {
            Ok(bytes) if bytes.len() <= BASE64_BYTES_MAX => bytes,
            Ok(_) => return Ok(self.rejected(Reject(413, "The file is too large for base64".into()))),
            Err(_) => return Ok(self.rejected("Invalid base64 data".into())),
        };
        let spooled = spool(exchange.shared(), &bytes)?;
        self.keep(exchange, Wanted { mime, ..wanted }, spooled).await
    }

    async fn by_url(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let (fields, wanted) = match self.json_request(exchange).await? {
            Ok(read) => read,
            Err(reject) => return Ok(self.rejected(reject)),
        };
        let Some(url) = fields.get("fileUrl").and_then(Value::as_str) else {
            return Ok(self.rejected("Missing required parameter: fileUrl".into()));
        };
        let fetched = tokio::time::timeout(FETCH_TIME, fetch(exchange.shared(), url))
            .await
            .unwrap_or_else(|_| Err("The download took too long".into()));
        match fetched {
            Ok(bytes) => {
                let spooled = spool(exchange.shared(), &bytes)?;
                self.keep(exchange, wanted, spooled).await
            }
            Err(reject) => Ok(self.rejected(reject)),
        }
    }

    async fn keep(&self, exchange: &mut Exchange, wanted: Wanted, spooled: Spooled) -> Result<Answer, Stop> {
        let host = exchange.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
        let (rules, lies) = (self.rules.clone(), exchange.lies());
        let wanted = Wanted { name: wanted.name.map(|name| exchange.stored_name(&name)), ..wanted };
        let done = exchange.work(move |shared| keep(shared, &rules, wanted, spooled)).await?;
        Ok(match done {
            Ok((object, kept, mime)) => {
                let mut answer = Answer::plain(self.stored(&object, &kept, &mime, &host, lies), Outcome::Stored);
                (answer.held, answer.again, answer.file_sha256) = (true, object.stored > 1, object.sha256);
                answer
            }
            Err(reject) => self.rejected(reject),
        })
    }

    fn stored(&self, object: &Object, kept: &Kept, mime: &str, host: &str, lies: bool) -> Reply {
        let name = utf8_percent_encode(&object.name, NON_ALPHANUMERIC);
        let link = format!("http://{host}/{KIND}/file/{}/{name}", object.id);
        let size = object.bytes + u64::from(lies);
        let path = format!("{}/{}", object.session, object.name);
        let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
        let (now, until) = (at(kept.until_ms - self.rules.kept_seconds * 1000), at(kept.until_ms));
        let data = match self.rules.shape {
            ReplyShape::Quickstart => json!({
                "fileId": object.id, "fileName": object.name, "originalName": object.name, "fileSize": size, "mimeType": mime,
                "uploadPath": object.session, "fileUrl": link, "downloadUrl": link, "uploadTime": now, "expiresAt": until,
            }),
            ReplyShape::Pages => json!({
                "fileName": object.name, "filePath": path, "downloadUrl": link, "fileSize": size, "mimeType": mime, "uploadedAt": now,
            }),
            ReplyShape::UrlOnly => json!({ "url": link }),
        };
        Reply::json(
            200,
            json!({ "success": true, "code": self.code(200), "msg": "File uploaded successfully", "data": data }).to_string(),
        )
    }

    fn code(&self, code: u16) -> Value {
        if self.rules.code_as_text { json!(code.to_string()) } else { json!(code) }
    }

    fn failure(&self, code: u16, words: &str) -> Reply {
        let status = if self.rules.errors == Errors::Body { 200 } else { code };
        Reply::json(status, json!({ "success": false, "code": self.code(code), "msg": words }).to_string())
    }

    fn rejected(&self, Reject(code, words): Reject) -> Answer {
        Answer::plain(self.failure(code, &words), Outcome::Rejected(words))
    }
}

impl Emulated for Kie {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        self.failure(status, reason)
    }

    fn full(&self) -> Reply {
        self.failure(402, "Insufficient credits")
    }

    fn denied(&self) -> Reply {
        self.failure(401, "You do not have access permissions")
    }

    fn limited(&self) -> Reply {
        self.failure(429, "Too many requests")
    }
}

fn met(wanted: &Wanted) -> Met {
    Met { host: KIND, endpoint: Endpoint::Chunk, session: wanted.upload_path.clone(), part: Some(0), file: wanted.name.clone() }
}

fn wanted(texts: &[(String, String)], mime: Option<String>, name: Option<String>) -> Wanted {
    let text = |key: &str| texts.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    Wanted { upload_path: text("uploadPath"), name: text("fileName").or(name), mime }
}

type Fields = serde_json::Map<String, Value>;

/// The fields of a JSON body, and those of them that are texts. The documented samples send null for what is not given.
async fn json_body(exchange: &mut Exchange) -> Result<Result<(Fields, Vec<(String, String)>), Reject>, Stop> {
    let mut body = Vec::new();
    while let Some(bytes) = exchange.body.next().await? {
        if body.len() + bytes.len() > JSON_BYTES_MAX {
            return Err(Stop::TooLarge);
        }
        body.extend_from_slice(&bytes);
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&body) else {
        return Ok(Err("The body is not a JSON object".into()));
    };
    fields.retain(|_, value| !value.is_null());
    if fields.values().any(|value| !value.is_string()) {
        return Ok(Err("Every parameter must be a string".into()));
    }
    let texts = fields.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let texts = texts.filter(|(name, _)| name != "base64Data").collect();
    Ok(Ok((fields, texts)))
}

fn spool(shared: &Shared, bytes: &[u8]) -> Result<Spooled, Stop> {
    let mut spool = shared.store.aside().and_then(Spool::new).map_err(|error| full_disk(&error))?;
    spool.take(bytes).map_err(|error| full_disk(&error))?;
    Ok(spool.end())
}

fn keep(shared: &Shared, rules: &Rules, wanted: Wanted, spooled: Spooled) -> Result<(Object, Kept, String), Reject> {
    let path = match wanted.upload_path {
        Some(path) => checked_path(path)?,
        None if rules.path_required => return Err("Missing required parameter: uploadPath".into()),
        None => "uploads".to_owned(),
    };
    let name = match wanted.name {
        Some(name) => checked_name(name)?,
        None => format!("{:016x}", shared.chance.number() >> 64),
    };
    if spooled.bytes > rules.file_bytes_max {
        return Err(Reject(413, "The file is too large".into()));
    }
    let record = format!("file-{path}/{name}");
    let failed = |error: Refusal| Reject(500, error.to_string());
    let known: Option<Kept> = shared.records.get(KIND, &record);
    let over = known.as_ref().and_then(|kept| shared.store.object(KIND, &kept.id));
    let mime = wanted.mime.unwrap_or_else(|| "application/octet-stream".into());
    let object = shared.store.keep_whole(KIND, over.as_ref(), &name, &path, spooled).map_err(failed)?;
    let old_end = known.map(|kept| kept.until_ms).filter(|_| over.is_some() && !rules.overwriting_renews);
    let until_ms = old_end.unwrap_or_else(|| shared.clock.now_ms() + rules.kept_seconds * 1000);
    let kept = Kept { id: object.id.clone(), until_ms, mime: mime.clone() };
    let noted = shared.records.set(KIND, &record, &kept).and_then(|()| shared.records.set(KIND, &format!("id-{}", kept.id), &kept));
    noted.map_err(|error| failed(error.into()))?;
    Ok((object, kept, mime))
}

fn checked_path(path: String) -> Result<String, Reject> {
    let wrong = |name: &str| matches!(name, "" | "." | "..") || name.contains(|c: char| c.is_control() || c == '\\');
    if path.len() > PATH_BYTES_MAX || path.split('/').any(wrong) { Err("Invalid parameter: uploadPath".into()) } else { Ok(path) }
}

fn checked_name(name: String) -> Result<String, Reject> {
    let wrong = |c: char| c.is_control() || matches!(c, '/' | '\\');
    if matches!(name.as_str(), "" | "." | "..") || name.len() > NAME_BYTES_MAX || name.contains(wrong) {
        Err("Invalid parameter: fileName".into())
    } else {
        Ok(name)
    }
}

/// Fetches an address of this machine: the sandbox talks to nobody else.
async fn fetch(shared: &Shared, url: &str) -> Result<Bytes, Reject> {
    let failed = |what: &str| Reject(400, format!("The file cannot be downloaded: {what}"));
    if shared.is_detached {
        return Err(failed("a sandbox without a listener fetches nothing"));
    }
    let parsed = url::Url::parse(url).ok().filter(|url| url.scheme() == "http").ok_or_else(|| failed("not an http address"))?;
    let ip = match parsed.host() {
        Some(url::Host::Ipv4(ip)) if ip.is_loopback() => ip.to_string(),
        _ => return Err(failed("the sandbox fetches from 127.0.0.1 alone")),
    };
    let authority = format!("{ip}:{}", parsed.port().unwrap_or(80));
    let stream = tokio::net::TcpStream::connect(&authority).await.map_err(|error| failed(&error.to_string()))?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| failed(&error.to_string()))?;
    tokio::spawn(connection);
    let target = parsed[url::Position::BeforePath..].to_owned();
    let request =
        Request::get(target).header("host", authority).body(Empty::<Bytes>::new()).map_err(|error| failed(&error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error.to_string()))?;
    if !response.status().is_success() {
        return Err(failed(response.status().as_str()));
    }
    let body = Limited::new(response.into_body(), URL_BYTES_MAX).collect().await.map_err(|error| failed(&error.to_string()))?;
    Ok(body.to_bytes())
}

/// Serves what is kept, until it expires.
async fn serve(exchange: &mut Exchange) -> Result<Answer, Stop> {
    let nothing = || Stop::Refused { status: 404, reason: "there is no such file, or no longer".into() };
    let mut steps = exchange.path.trim_start_matches("/file/").splitn(2, '/');
    let id = steps.next().unwrap_or_default().to_owned();
    let name = percent_decode_str(steps.next().unwrap_or_default()).decode_utf8_lossy().into_owned();
    exchange.met(Met { host: KIND, endpoint: Endpoint::Link, session: None, part: None, file: Some(name.clone()) })?;
    exchange.received().await?;
    let found = exchange.work(move |shared| {
        let kept: Kept = shared.records.get(KIND, &format!("id-{id}"))?;
        let object = shared.store.object(KIND, &id).filter(|object| object.name == name)?;
        let fresh = kept.until_ms > shared.clock.now_ms();
        fresh.then_some(())?;
        Some((shared.store.open_object(KIND, &id)?.ok()?, object.bytes))
    });
    let (file, bytes) = found.await?.ok_or_else(nothing)?;
    Ok(Answer::plain(Reply::file(file, bytes), Outcome::Served))
}
