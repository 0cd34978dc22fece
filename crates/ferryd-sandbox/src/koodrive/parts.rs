//! What goes over links: parts in, files out. A link says by its own signature for what, for how many bytes and for how long it is.

use std::sync::Arc;

use hyper::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use quick_xml::escape::escape;

use super::super::digest::sha256;
use super::super::exchange::{Answer, Exchange, Stop, full_disk};
use super::super::faults::{Endpoint, Met};
use super::super::log::Outcome;
use super::super::objects::Refusal;
use super::super::reply::Reply;
use super::super::spool::Spooled;
use super::super::{Shared, hold};
use super::books::{Books, Held, Place};
use super::hash::{INITIAL, Reached, Words, context, reach, read_context};
use super::sign::{mac, read_stamp, stamp};
use super::{Drive, KIND, Rules};

/// Where parts go.
pub(super) const STORE: &str = "/store/";
/// Where files come from.
pub(super) const FETCH: &str = "/fetch/";

const SIGNATURE: &str = "X-Amz-Signature";
const SKEW_SECONDS_MAX: i64 = 15 * 60;
/// What may stand unescaped in the value of a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A link to be made, for one part.
#[derive(Debug)]
pub(super) struct PartLink<'l> {
    /// The host and port it leads to.
    pub host: &'l str,
    /// The file.
    pub id: &'l str,
    /// The upload at the object storage.
    pub upload_id: &'l str,
    /// The number of the part, from 1.
    pub number: u64,
    /// Its length.
    pub bytes: u64,
    /// The state before it and the offset where that is.
    pub context: Option<(Words, u64)>,
}

impl PartLink<'_> {
    /// The link, good from `now_ms` on.
    pub(super) fn url(&self, rules: &Rules, now_ms: i64) -> String {
        let PartLink { host, id, upload_id, number, bytes, .. } = self;
        let date = stamp(now_ms);
        let day = date.get(..8).unwrap_or_default();
        let seconds = rules.link_seconds;
        let mut query = format!(
            "partNumber={number}&uploadId={upload_id}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={date}\
             &X-Amz-SignedHeaders=content-length%3Bhost&X-Amz-Expires={seconds}\
             &X-Amz-Credential=AK1%2F{day}%2Fr1%2Fs3%2Faws4_request"
        );
        if let Some((words, offset)) = self.context {
            let context = context(words, offset);
            query.push_str(&format!("&X-Amz-Iteration-Hash-Ctx={}", utf8_percent_encode(&context, ESCAPED)));
        }
        let path = format!("/{KIND}{STORE}{id}");
        let signature = signature(rules, &format!("PUT\n{path}\n{query}\nhost:{host}\ncontent-length:{bytes}\n"));
        format!("http://{host}{path}?{query}&{SIGNATURE}={signature}")
    }
}

/// A link to the bytes of a file, good from `now_ms` on.
pub(super) fn fetch_link(rules: &Rules, host: &str, id: &str, now_ms: i64) -> String {
    let (path, date, seconds) = (format!("/{KIND}{FETCH}{id}"), stamp(now_ms), rules.link_seconds);
    let query = format!("X-Amz-Date={date}&X-Amz-Expires={seconds}");
    let signature = signature(rules, &format!("GET\n{path}\n{query}\nhost:{host}\n"));
    format!("http://{host}{path}?{query}&{SIGNATURE}={signature}")
}

fn signature(rules: &Rules, text: &str) -> String {
    mac(&format!("links of {}", rules.app_secret), text)
}

/// Why a link or what came over it is not taken, in the words of object storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    status: u16,
    code: &'static str,
    message: String,
}

impl Fault {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Fault {
        Fault { status, code, message: message.into() }
    }

    /// The link is past its end.
    pub(super) fn expired() -> Fault {
        Fault::new(403, "AccessDenied", "Request has expired")
    }

    fn argument(message: &str) -> Fault {
        Fault::new(400, "InvalidArgument", message)
    }

    fn no_upload() -> Fault {
        Fault::new(404, "NoSuchUpload", "The specified multipart upload does not exist.")
    }

    fn tampered() -> Fault {
        Fault::new(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
    }

    /// As a reply.
    pub(super) fn reply(&self) -> Reply {
        let Fault { status, code, message } = self;
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{}</Message><RequestId>r1</RequestId>\
             <HostId>h1</HostId></Error>",
            escape(message.as_str())
        );
        Reply::bytes(*status, text).header("content-type", "application/xml")
    }

    fn answer(&self) -> Answer {
        Answer::plain(self.reply(), Outcome::Rejected(format!("{}: {}", self.code, self.message)))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::NoSession | Refusal::Complete => Fault::no_upload(),
            Refusal::Full => Fault::new(403, "InsufficientStorageSpace", "Insufficient storage space."),
            other => Fault::new(500, "InternalError", other.to_string()),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::from(Refusal::Io(error))
    }
}

/// What a link says, whether or not it is sound.
#[derive(Debug, Clone)]
struct Said {
    id: String,
    values: Vec<(String, String)>,
}

impl Said {
    fn of(exchange: &Exchange, prefix: &str) -> Said {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let values = exchange.query.split('&').filter_map(|pair| pair.split_once('='));
        Said {
            id: exchange.path.strip_prefix(prefix).unwrap_or_default().to_owned(),
            values: values.map(|(name, value)| (name.to_owned(), decoded(value))).collect(),
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The number of the part, from 1.
    fn number(&self) -> Option<u64> {
        self.value("partNumber")?.parse().ok().filter(|number| *number > 0)
    }

    fn check_time(&self, now_ms: i64) -> Result<(), Fault> {
        let times =
            (self.value("X-Amz-Date").and_then(read_stamp), self.value("X-Amz-Expires").and_then(|s| s.parse::<i64>().ok()));
        let (Some(date), Some(seconds)) = times else { return Err(Fault::argument("the link has no end")) };
        if now_ms >= date.saturating_add(seconds.saturating_mul(1000)) {
            return Err(Fault::expired());
        }
        if now_ms < date - SKEW_SECONDS_MAX * 1000 {
            return Err(Fault::new(403, "RequestTimeTooSkewed", "The link is from the future."));
        }
        Ok(())
    }
}

/// Checks the signature of a link over these lines before the headers.
fn check_signature(rules: &Rules, exchange: &Exchange, method: &str, headers: &str) -> Result<(), Fault> {
    let (query, given) = exchange.query.rsplit_once(&format!("&{SIGNATURE}=")).ok_or_else(Fault::tampered)?;
    let path = format!("/{KIND}{}", exchange.path);
    let wanted = signature(rules, &format!("{method}\n{path}\n{query}\n{headers}"));
    if given == wanted { Ok(()) } else { Err(Fault::tampered()) }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A part and where it goes.
#[derive(Debug)]
struct Slip {
    id: String,
    upload_id: String,
    number: u64,
    context: Option<(Words, u64)>,
}

impl Drive {
    /// Takes a part in.
    pub(super) async fn put(self: &Arc<Self>, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let said = Said::of(exchange, STORE);
        let part = said.number().map(|number| number - 1);
        let file = Books(exchange.shared()).name(&said.id);
        exchange.met(Met { host: KIND, endpoint: Endpoint::Chunk, session: Some(said.id.clone()), part, file })?;
        match self.check_put(exchange, &said) {
            Ok(slip) => self.take(exchange, slip).await,
            Err(fault) => {
                exchange.received().await?;
                Ok(fault.answer())
            }
        }
    }

    fn check_put(&self, exchange: &Exchange, said: &Said) -> Result<Slip, Fault> {
        if exchange.method != Method::PUT {
            return Err(Fault::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource."));
        }
        let length = header(&exchange.headers, "content-length");
        if length.is_empty() {
            return Err(Fault::new(411, "MissingContentLength", "You must provide the Content-Length HTTP header."));
        }
        let extra = |name: &str| name == "authorization" || name.starts_with("x-amz-");
        if self.rules.strict && exchange.headers.keys().any(|name| extra(name.as_str())) {
            return Err(Fault::argument("Only the query authenticates: no Authorization, no x-amz- header."));
        }
        let host = header(&exchange.headers, "host");
        check_signature(&self.rules, exchange, "PUT", &format!("host:{host}\ncontent-length:{length}\n"))?;
        said.check_time(exchange.shared().clock.now_ms())?;
        let context = said.value("X-Amz-Iteration-Hash-Ctx").map(|text| read_context(text).ok_or_else(Fault::tampered));
        let upload_id = said.value("uploadId").unwrap_or_default().to_owned();
        let number = said.number().ok_or_else(Fault::tampered)?;
        Ok(Slip { id: said.id.clone(), upload_id, number, context: context.transpose()? })
    }

    async fn take(self: &Arc<Self>, exchange: &mut Exchange, slip: Slip) -> Result<Answer, Stop> {
        let spooled = exchange.spool().await?;
        exchange.received().await?;
        let (drive, lies, again) = (Arc::clone(self), exchange.lies(), exchange.times() > 1);
        let answer =
            exchange.work(move |shared| drive.keep(shared, &slip, spooled, lies).unwrap_or_else(|fault| fault.answer())).await?;
        Ok(Answer { again: answer.again || answer.held && again, ..answer })
    }

    fn keep(&self, shared: &Shared, slip: &Slip, spooled: Spooled, lies: bool) -> Result<Answer, Fault> {
        let books = Books(shared);
        let (context, offset) = start(books, slip)?;
        let reached: Option<Reached> = match &spooled.path {
            Some(path) => Some(reach(context, offset, shared.store.open_file(path)?)?),
            None => None,
        };
        let held = Held { place: Place { offset, bytes: spooled.bytes }, context, reached };
        let (digest, tag) = (spooled.sha256.clone(), tag(slip, &spooled, lies));
        // Held until the part is in its place, so that a complete sees it whole or not at all.
        let completing = hold(&self.completing);
        if completing.contains(&slip.id) {
            return Err(Fault::new(409, "OperationAborted", "The upload is being completed."));
        }
        let upload = books.upload(&slip.id).filter(|upload| upload.upload_id == slip.upload_id).ok_or_else(Fault::no_upload)?;
        if offset.saturating_add(held.place.bytes) > upload.bytes {
            return Err(Fault::new(400, "EntityTooLarge", "The part ends after the file."));
        }
        let put = shared.store.put_spooled(KIND, &slip.id, slip.number - 1, spooled)?;
        books.set_part(&slip.id, slip.number, &held)?;
        drop(completing);
        let reply = Reply::empty(200).header("etag", &format!("\"{tag}\""));
        let answer = Answer::plain(reply, Outcome::Acked);
        Ok(Answer { file_sha256: digest, held: true, again: put.again, differed: put.differed, ..answer })
    }

    /// Gives a file out.
    pub(super) async fn fetch(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let said = Said::of(exchange, FETCH);
        let file = Books(exchange.shared()).name(&said.id);
        exchange.met(Met { host: KIND, endpoint: Endpoint::Link, session: Some(said.id.clone()), part: None, file })?;
        exchange.received().await?;
        if let Err(fault) = self.check_fetch(exchange, &said) {
            return Ok(fault.answer());
        }
        let opened = exchange.work(move |shared| {
            let (object, _) = Books(shared).file(&said.id)?;
            Some((shared.store.open_object(KIND, &said.id), object.bytes))
        });
        match opened.await? {
            Some((Some(Ok(file)), bytes)) => Ok(Answer::plain(Reply::file(file, bytes), Outcome::Served)),
            Some((Some(Err(error)), _)) => Err(full_disk(&error)),
            _ => Ok(Fault::new(404, "NoSuchKey", "The specified key does not exist.").answer()),
        }
    }

    fn check_fetch(&self, exchange: &Exchange, said: &Said) -> Result<(), Fault> {
        if !matches!(exchange.method, Method::GET | Method::HEAD) {
            return Err(Fault::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource."));
        }
        check_signature(&self.rules, exchange, "GET", &format!("host:{}\n", header(&exchange.headers, "host")))?;
        said.check_time(exchange.shared().clock.now_ms())
    }
}

/// The state a part goes on from, and where that is: as its link says, or where the part before led.
fn start(books: Books<'_>, slip: &Slip) -> Result<(Words, u64), Fault> {
    match (slip.context, slip.number) {
        (Some(context), _) => Ok(context),
        (None, 1) => Ok((INITIAL, 0)),
        (None, number) => {
            let before = books.part(&slip.id, number - 1);
            let before = before.ok_or_else(|| Fault::argument("without a hash context parts must come in order"))?;
            Ok((before.reached.map_or(INITIAL, |reached| reached.words), before.place.end()))
        }
    }
}

/// The `ETag` of a part: its MD5, where that is known.
fn tag(slip: &Slip, spooled: &Spooled, lies: bool) -> String {
    let known = spooled.md5.clone().unwrap_or_else(|| format!("{}-{}", slip.upload_id, slip.number));
    if lies { sha256(known.as_bytes())[..known.len().min(32)].to_owned() } else { known }
}
