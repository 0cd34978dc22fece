//! The transport: the one user of reqwest. Sends a request, watches that bytes keep moving, reads a bounded reply, and says in the
//! words of `job` what a status or a broken connection means where a protocol's own page says nothing else.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode};
use url::{Position, Url};

use crate::job::upload::Class;
use crate::os::chance::Chance;
use crate::os::clock::Clock;
use crate::os::system::System;
use crate::secret::Secret;

use super::address;
use super::error::{HostError, excerpt};
use super::form::Form;
use super::redact::Secrets;
use super::{Frames, Part, PartSource};

/// How long a connection may take to be made (`docs/protocols/README.md`, section 3).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection nobody uses is kept.
const KEEP_IDLE: Duration = Duration::from_secs(30);
/// How much of a reply is read before it is judged.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Values of a query that are shorter are no secrets, and would be found everywhere.
const SECRET_BYTES_MIN: usize = 6;
/// How many redirections of a call are followed (`docs/protocols/README.md`, section 2).
const REDIRECTS_MAX: usize = 5;

/// A client with its connections. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    client: Client,
    idle: Duration,
    clock: Clock,
    chance: Chance,
}

/// A complete reply, or as much of it as is worth reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The rest the host asks for.
    pub retry_after: Option<Duration>,
    /// Whether it says that it is HTML, or looks like it.
    pub html: bool,
    /// Where it sends us, if it does.
    pub location: Option<String>,
    /// The body, at most 64 KiB of it unless the request allows more.
    pub text: String,
    /// Whether there was more.
    pub cut: bool,
}

/// A request on its way to be sent.
pub struct Request<'a> {
    method: Method,
    url: &'a str,
    headers: Vec<(&'static str, String)>,
    body: Payload<'a>,
    patience: Duration,
    follows: bool,
    exact: bool,
    reply_bytes_max: usize,
    /// What must not be told, should the host say it back to us.
    secrets: Secrets,
}

/// Bytes of a part: its source, and which of them.
#[derive(Clone, Copy)]
struct Piece<'a> {
    source: &'a dyn PartSource,
    /// All of them where there is no offset; the length is that of what flows, which an encoding may make longer.
    offset: Option<u64>,
    bytes: u64,
}

impl Piece<'_> {
    fn frames(&self) -> Frames {
        self.offset.map_or_else(|| self.source.frames(), |offset| self.source.frames_of(offset, self.bytes))
    }
}

/// What a request carries. The bytes of a part are read anew whenever it is sent.
enum Payload<'a> {
    Nothing,
    Text(Bytes),
    Around { head: Bytes, file: Option<Piece<'a>>, tail: Bytes },
}

impl<'a> Request<'a> {
    /// A GET.
    pub fn get(url: &'a str) -> Request<'a> {
        Request::new(Method::GET, url)
    }

    /// A POST.
    pub fn post(url: &'a str) -> Request<'a> {
        Request::new(Method::POST, url)
    }

    /// A PUT.
    pub fn put(url: &'a str) -> Request<'a> {
        Request::new(Method::PUT, url)
    }

    fn new(method: Method, url: &'a str) -> Request<'a> {
        Request {
            method,
            url,
            headers: Vec::new(),
            body: Payload::Nothing,
            patience: Duration::ZERO,
            follows: false,
            exact: false,
            reply_bytes_max: REPLY_BYTES_MAX,
            secrets: Secrets::default(),
        }
    }

    /// With a header. A value that cannot be one is an error when the request is sent.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Request<'a> {
        self.headers.push((name, value.into()));
        self
    }

    /// With a text as its body.
    #[must_use]
    pub fn text(self, content_type: &str, text: impl Into<Bytes>) -> Request<'a> {
        Request { body: Payload::Text(text.into()), ..self }.header("content-type", content_type)
    }

    /// With a form, and the bytes of `part` as its file where there is one.
    #[must_use]
    pub fn form(self, form: Form, part: Option<&'a Part>) -> Request<'a> {
        let file = part.map(|part| Piece { source: part.source.as_ref(), offset: None, bytes: part.bytes });
        self.form_of(form, file)
    }

    /// The same with `bytes` bytes of the part from `offset` on.
    #[must_use]
    pub fn form_piece(self, form: Form, part: &'a Part, offset: u64, bytes: u64) -> Request<'a> {
        self.form_of(form, Some(Piece { source: part.source.as_ref(), offset: Some(offset), bytes }))
    }

    fn form_of(self, form: Form, file: Option<Piece<'a>>) -> Request<'a> {
        let kind = form.content_type();
        Request { body: Payload::Around { head: form.head(), file, tail: form.tail() }, ..self }.header("content-type", kind)
    }

    /// With `bytes` bytes of a file, and texts around them.
    #[must_use]
    pub fn around(self, head: impl Into<Bytes>, file: &'a dyn PartSource, bytes: u64, tail: impl Into<Bytes>) -> Request<'a> {
        let file = Some(Piece { source: file, offset: None, bytes });
        Request { body: Payload::Around { head: head.into(), file, tail: tail.into() }, ..self }
    }

    /// With the bytes of a part and nothing else.
    #[must_use]
    pub fn raw(self, part: &'a Part) -> Request<'a> {
        self.around(Bytes::new(), part.source.as_ref(), part.bytes, Bytes::new())
    }

    /// With time for the host to think once it has everything.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Request<'a> {
        Request { patience, ..self }
    }

    /// Follows redirections that repeat the same request at the same host.
    #[must_use]
    pub fn following(self) -> Request<'a> {
        Request { follows: true, ..self }
    }

    /// To an address that is signed, and must leave byte for byte as it came. The values of its query are secrets.
    #[must_use]
    pub fn exactly(mut self) -> Request<'a> {
        let query = Url::parse(self.url).ok().map(|url| url.query().unwrap_or_default().to_owned()).unwrap_or_default();
        let values = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
        for value in values.filter(|value| value.len() >= SECRET_BYTES_MIN) {
            self.secrets.add(&Secret::new(value));
            // What it means may be said back as well.
            self.secrets.add(&Secret::new(percent_encoding::percent_decode_str(value).decode_utf8_lossy()));
        }
        Request { exact: true, ..self }
    }

    /// With something that must not be told, should the host say it back to us.
    #[must_use]
    pub fn secret(mut self, secret: &Secret) -> Request<'a> {
        self.secrets.add(secret);
        self
    }

    /// With a reply of more than 64 KiB.
    #[must_use]
    pub fn reply_max(self, bytes: usize) -> Request<'a> {
        Request { reply_bytes_max: bytes, ..self }
    }
}

impl Transport {
    /// A client that gives up on a request when no byte has moved for `idle`.
    pub fn new(system: &System, idle: Duration) -> Result<Transport, HostError> {
        Transport::of(Client::builder(), system, idle)
    }

    /// The same for addresses that a host named in a reply: unless `allow_private`, no name leads to a private network.
    pub fn for_strangers(system: &System, idle: Duration, allow_private: bool) -> Result<Transport, HostError> {
        if allow_private {
            return Transport::new(system, idle);
        }
        // A proxy would resolve the names itself.
        Transport::of(Client::builder().dns_resolver(Arc::new(PublicNames)).no_proxy(), system, idle)
    }

    /// The time by which replies are read.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Random numbers.
    pub fn chance(&self) -> &Chance {
        &self.chance
    }

    /// An empty form with a boundary nobody can guess, so that no file can hold it.
    pub fn form(&self) -> Form {
        let boundary: String = self.chance.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        Form::with_boundary(format!("ferryd-{boundary}"))
    }

    fn of(builder: ClientBuilder, system: &System, idle: Duration) -> Result<Transport, HostError> {
        // Another part of the process may have chosen a provider before; any will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = builder
            .user_agent(concat!("ferryd/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(KEEP_IDLE)
            .tcp_nodelay(true)
            .http1_only()
            .build()
            .map_err(|error| HostError::new(Class::HostRefused, format!("no HTTP client can be made: {error}")).caused_by(error))?;
        Ok(Transport { client, idle, clock: system.clock.clone(), chance: system.chance.clone() })
    }

    /// Sends a request and reads its reply, whatever its status.
    pub async fn send(&self, request: Request<'_>) -> Result<Reply, HostError> {
        let mut url = Url::parse(request.url).map_err(|_| unusable_address())?;
        if request.exact && target(request.url) != url[Position::BeforePath..] {
            return Err(HostError::new(Class::Unreadable, "the host named an address that cannot be sent as it is written"));
        }
        for _ in 0..REDIRECTS_MAX {
            let reply = self.send_once(&request, url.clone()).await?;
            let target = reply.location.as_deref().filter(|_| request.follows && matches!(reply.status, 307 | 308));
            let next = target.and_then(|target| url.join(target).ok()).filter(|next| same_host(next, &url));
            match next {
                Some(next) => url = next,
                None => return Ok(reply),
            }
        }
        Err(HostError::new(Class::HostRefused, "the host sends a call around in circles"))
    }

    async fn send_once(&self, request: &Request<'_>, url: Url) -> Result<Reply, HostError> {
        let meter = Arc::new(Meter::default());
        let mut builder = self.client.request(request.method.clone(), url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        builder = match &request.body {
            Payload::Nothing if request.method == Method::GET => builder,
            Payload::Nothing => builder.header("content-length", "0"),
            Payload::Text(text) => builder.body(text.clone()),
            Payload::Around { head, file, tail } => {
                let body = Around::new(head.clone(), *file, tail.clone(), meter.clone());
                // An empty body has no length of its own to announce.
                if body.left == 0 { builder.header("content-length", "0") } else { builder.body(reqwest::Body::wrap(body)) }
            }
        };
        let ready = builder.build().map_err(lost)?;
        let exchange = async {
            let response = self.client.execute(ready).await.map_err(lost)?;
            read_reply(response, &meter, request.reply_bytes_max, self.clock.now_ms()).await
        };
        let reply = watched(exchange, &meter, self.idle.max(request.patience)).await?;
        Ok(Reply { text: request.secrets.taken_out_of(reply.text), ..reply })
    }
}

/// What of an address goes into the first line of a request, as it is written.
fn target(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn unusable_address() -> HostError {
    HostError::new(Class::Unreadable, "the host named an address that is none")
}

fn same_host(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

/// A name that leads to a private network only.
#[derive(Debug, thiserror::Error)]
#[error("the host wants the bytes in a private network; set `allow_private = true` if that is right")]
struct PrivateName;

/// Names, but not those of private networks.
struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| address::is_public(at.ip())).collect();
            match public.is_empty() {
                true => Err(PrivateName.into()),
                false => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

impl Transport {
    /// Fetches what is at `url`, and hands it to `each` as it comes.
    pub async fn fetch(&self, url: &str, mut each: impl FnMut(&[u8])) -> Result<(), HostError> {
        let mut response = self.client.get(url).send().await.map_err(lost)?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(HostError::new(Class::Transient, format!("the host answered {status}")).with_status(status));
        }
        while let Some(frame) = tokio::time::timeout(self.idle, response.chunk()).await.unwrap_or(Ok(None)).map_err(lost)? {
            each(&frame);
        }
        Ok(())
    }
}

/// What moves in one exchange.
#[derive(Debug, Default)]
struct Meter {
    bytes: AtomicU64,
    /// Whether the connection would take more than we have.
    waits_for_us: AtomicBool,
}

impl Meter {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn moved(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Gives up when nothing has moved for `idle`; a slow transfer that goes on may take as long as it needs.
async fn watched<T>(exchange: impl Future<Output = Result<T, HostError>>, meter: &Meter, idle: Duration) -> Result<T, HostError> {
    tokio::pin!(exchange);
    let mut seen = 0;
    loop {
        match tokio::time::timeout(idle, &mut exchange).await {
            Ok(result) => return result,
            Err(_) if meter.moved() != seen => seen = meter.moved(),
            // It is we who keep the host waiting: a slow disk, or a limit on the rate.
            Err(_) if meter.waits_for_us.load(Ordering::Relaxed) => {}
            Err(_) => {
                let said = format!("the host has not moved a byte for {} s", idle.as_secs());
                return Err(HostError::unanswered(Class::Transient, said));
            }
        }
    }
}

async fn read_reply(mut response: Response, meter: &Meter, bytes_max: usize, now_ms: i64) -> Result<Reply, HostError> {
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header("retry-after").and_then(|text| parse_retry_after(text, now_ms));
    let location = header("location").map(str::to_owned);
    let says_html = header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
    let (mut body, mut cut) = (Vec::new(), false);
    while let Some(chunk) = response.chunk().await.map_err(|error| cut_short(status, error))? {
        meter.add(chunk.len());
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            cut = true;
            break;
        }
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    let html = says_html || text.trim_start().starts_with('<');
    Ok(Reply { status: status.as_u16(), retry_after, html, location, text, cut })
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
pub(super) fn parse_retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now_ms).ok()?);
    Some(until.saturating_sub(now))
}

/// A connection that failed before a reply came. Where no connection was made, nothing was sent.
fn lost(error: reqwest::Error) -> HostError {
    let said = chain(&error);
    let failed = if error.is_connect() && (certificate_refused(&error) || is_private(&error)) {
        HostError::new(Class::HostRefused, said)
    } else if error.is_connect() || error.is_builder() {
        HostError::new(Class::Transient, said)
    } else {
        HostError::unanswered(Class::Transient, said)
    };
    failed.caused_by(error.without_url())
}

fn cut_short(status: StatusCode, error: reqwest::Error) -> HostError {
    let said = format!("the reply ({}) was cut short: {}", status.as_u16(), chain(&error));
    HostError::unanswered(Class::Transient, said).with_status(status.as_u16()).caused_by(error.without_url())
}

/// The whole chain of causes, without the address: it may hold what must not be shown.
fn chain(error: &reqwest::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // "client error (Connect)" says nothing that its cause does not say better.
        if !text.starts_with("client error (") && !said.iter().any(|known| known.contains(&text)) {
            said.push(text);
        }
    }
    match said.is_empty() {
        true => "the request cannot be made".into(),
        false => excerpt(&said.join(": ")),
    }
}

/// What an error came from, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
}

fn is_private(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.is::<PrivateName>())
}

fn certificate_refused(error: &reqwest::Error) -> bool {
    let refused = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
    causes(error).any(|cause| {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause.downcast_ref().or(inner.and_then(|inner| inner.downcast_ref())).is_some_and(refused)
    })
}

impl Reply {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What a status outside 2xx means where the protocol's page says nothing else (`docs/protocols/README.md`, section 2), for a
    /// request to a fixed address. Server errors leave it open whether the request took effect.
    pub fn refusal(&self) -> HostError {
        let class = match self.status {
            429 => Class::RateLimited,
            503 if self.retry_after.is_some() => Class::RateLimited,
            408 | 425 | 500..=599 if self.status != 501 => Class::Transient,
            // What is said of the request, or of its size, says nothing of the file.
            400 | 413 | 415 | 422 => Class::RequestRefused,
            300..=399 | 401 | 403 | 404 | 405 | 410 | 501 => Class::HostRefused,
            _ => Class::Unreadable,
        };
        let doubt = matches!(self.status, 408 | 500 | 502 | 504..=599);
        HostError { wait: self.retry_after, doubt, ..self.failure(class, self.said()) }
    }

    /// A failure of which this reply tells.
    pub fn failure(&self, class: Class, said: impl Into<String>) -> HostError {
        HostError::new(class, said).with_status(self.status)
    }

    /// The reply for a person: what the status means, and how the body begins.
    pub fn said(&self) -> String {
        let reason =
            StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("unknown status");
        let advice = match self.status {
            300..=399 => "; the host has moved: set its new `base_url`",
            401 | 403 => "; check the credentials",
            404 | 405 | 410 => "; check `base_url`",
            _ => "",
        };
        let body = excerpt(&self.text);
        match body.is_empty() {
            true => format!("the host answered {} ({reason}){advice}", self.status),
            false => format!("the host answered {} ({reason}){advice}: `{body}`", self.status),
        }
    }
}

/// A body on its way: a text, the bytes of a part as they come, a text. Counts what the connection has taken.
struct Around {
    head: Option<Bytes>,
    file: Option<Frames>,
    tail: Option<Bytes>,
    left: u64,
    meter: Arc<Meter>,
}

impl Around {
    fn new(head: Bytes, file: Option<Piece<'_>>, tail: Bytes, meter: Arc<Meter>) -> Around {
        let left = head.len() as u64 + file.map_or(0, |file| file.bytes) + tail.len() as u64;
        let full = |text: Bytes| Some(text).filter(|text| !text.is_empty());
        Around { head: full(head), file: file.map(|file| file.frames()), tail: full(tail), left, meter }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        if let Some(file) = &mut self.file {
            match std::task::ready!(file.as_mut().poll_frame(cx)) {
                Some(frame) => return Poll::Ready(Some(frame.map(|frame| frame.into_data().unwrap_or_default()))),
                None => self.file = None,
            }
        }
        Poll::Ready(self.tail.take().map(Ok))
    }
}

impl Body for Around {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let next = self.poll_next(cx);
        self.meter.waits_for_us.store(next.is_pending(), Ordering::Relaxed);
        let next = std::task::ready!(next);
        if let Some(Ok(bytes)) = &next {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            self.meter.add(bytes.len());
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, text: text.into(), ..Reply::default() }
    }

    #[test]
    fn a_rest_is_read_in_seconds_and_as_a_date() {
        assert_eq!(parse_retry_after(" 120 ", 0), Some(Duration::from_secs(120)));
        let date = "Thu, 01 Jan 1970 00:01:40 GMT";
        assert_eq!(parse_retry_after(date, 40_000), Some(Duration::from_secs(60)));
        assert_eq!(parse_retry_after(date, 400_000), Some(Duration::ZERO), "a date in the past is no rest");
        assert_eq!(parse_retry_after("soon", 0), None);
    }

    #[test]
    fn every_status_has_a_class() {
        let classes = [
            (302, Class::HostRefused),
            (400, Class::RequestRefused),
            (401, Class::HostRefused),
            (404, Class::HostRefused),
            (408, Class::Transient),
            (413, Class::RequestRefused),
            (415, Class::RequestRefused),
            (418, Class::Unreadable),
            (422, Class::RequestRefused),
            (429, Class::RateLimited),
            (500, Class::Transient),
            (501, Class::HostRefused),
            (503, Class::Transient),
            (522, Class::Transient),
        ];
        for (status, class) in classes {
            assert_eq!(reply(status, "").refusal().class, class, "{status}");
        }
    }

    #[test]
    fn only_a_server_that_may_have_acted_leaves_a_doubt() {
        let doubtful: Vec<u16> = [400, 404, 408, 429, 500, 501, 502, 503, 504, 520]
            .into_iter()
            .filter(|status| reply(*status, "").refusal().doubt)
            .collect();
        assert_eq!(doubtful, [408, 500, 502, 504, 520]);
    }

    #[test]
    fn a_secret_that_comes_back_is_not_told() {
        let request = Request::post("https://s.example/o?id=01234%2F56789&n=1").exactly().secret(&Secret::new("hunter2"));
        let said = |text: &str| reply(403, &request.secrets.taken_out_of(text.to_owned())).refusal().said;
        assert!(said("no hunter2 for 01234%2F56789 here").contains("no [secret] for [secret] here"));
        assert!(said("no Hunter2 for 01234/56789 here").contains("no [secret] for [secret] here"));
    }

    #[test]
    fn an_address_that_says_the_same_otherwise_is_taken() {
        let leaves = |address: &str| target(address) == Url::parse(address).unwrap()[Position::BeforePath..];
        assert!(
            leaves("https://s.example:443/o?a=%2F&b=c+d") && leaves("http://DC7.example:80?sid=1") && leaves("https://s.example")
        );
        assert!(!leaves("https://s.example/a/../b") && !leaves("https://s.example/a b"));
    }

    #[tokio::test]
    async fn a_connection_that_is_refused_says_so_to_whoever_asks_for_the_cause() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let transport = Transport::new(&System::default(), Duration::from_secs(5)).unwrap();
        let url = format!("http://127.0.0.1:{port}/?token=hush");
        let error = transport.send(Request::get(&url)).await.unwrap_err();
        let causes = || std::iter::successors(std::error::Error::source(&error), |cause| (*cause).source());
        let kinds = causes().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        assert!(kinds.into_iter().any(|kind| kind == std::io::ErrorKind::ConnectionRefused), "{error:?}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }

    #[test]
    fn a_strange_reply_is_quoted_and_cut() {
        let said = reply(404, &"<html>gone\n".repeat(100)).refusal().said;
        assert!(said.starts_with("the host answered 404 (Not Found); check `base_url`: `<html>gone <html>"), "{said}");
        assert!(said.chars().count() < 420);
    }
}
