//! A WebDAV server from the other side, written from `docs/protocols/webdav.md` and RFC 4918: one tree of folders and files.
//!
//! A file whose name begins with a dot is somebody's work in progress: its bytes are kept as a part is, and become an object when it
//! is moved to a name of its own. What the description does not allow is refused, with a status and, as Sabre has it, in XML.

mod properties;
mod shares;
mod sums;
mod tree;
mod uploads;

use std::net::SocketAddr;
use std::pin::Pin;

use percent_encoding::percent_decode_str;
use quick_xml::escape::escape;
use sha1::{Digest, Sha1};

use super::digest::{hex, sha256};
use super::exchange::{Answer, Exchange, Stop, full_disk};
use super::faults::{Endpoint, Met};
use super::log::Outcome;
use super::objects::Refusal;
use super::reply::Reply;
use super::spool::{Spool, Spooled};
use super::{Emulated, Shared};

pub(super) const KIND: &str = "webdav";
/// The folder that takes files, below the host's own path, ...
const FILES: &str = "remote.php/dav/files/practice";
/// ... and that which takes chunks of them.
const UPLOADS: &str = "remote.php/dav/uploads/practice";
/// The same for everybody who knows an address, for reading.
const PUBLIC: &str = "public";
/// How long a question may be.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What a server does with digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digests {
    /// As Nextcloud: answers that of the bytes which it took, if it is asked, and keeps what it is told of a file unchecked.
    Answered,
    /// As ownCloud: compares what it is told, and tells its own.
    Compared,
    /// Knows none.
    Unknown,
}

/// How links are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// For everybody who asks.
    Made,
    /// Only with a password.
    WithPassword,
    /// Not at all.
    Never,
}

/// How addresses stand in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hrefs {
    /// As paths.
    Paths,
    /// With scheme and host, which are those of a server behind a proxy.
    Absolute,
    /// As paths, encoded in small letters.
    SmallLetters,
}

/// How the emulated server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who may write.
    pub user: String,
    /// With this password.
    pub password: String,
    /// Or with this token.
    pub token: Option<String>,
    /// Whether what came of a body that broke off is kept in the place of the file, as most servers do.
    pub writes_in_place: bool,
    /// Whether `Overwrite: F` is heeded.
    pub heeds_overwrite: bool,
    /// Whether a file that is moved keeps its ETag and its time.
    pub keeps_facts: bool,
    /// Whether PROPFIND is known.
    pub knows_propfind: bool,
    /// Whether `getcontentlength` is told.
    pub tells_sizes: bool,
    /// How addresses stand in lists.
    pub hrefs: Hrefs,
    /// What it does with digests.
    pub digests: Digests,
    /// How links are made.
    pub links: Links,
    /// Whether somebody works at it, and it takes nothing.
    pub is_in_maintenance: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            user: "practice".into(),
            password: "s3cret-dav-password".into(),
            token: None,
            writes_in_place: true,
            heeds_overwrite: true,
            keeps_facts: true,
            knows_propfind: true,
            tells_sizes: true,
            hrefs: Hrefs::Paths,
            digests: Digests::Answered,
            links: Links::Made,
            is_in_maintenance: false,
        }
    }
}

/// What `[host.webdav]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    let Rules { user, password, .. } = Rules::default();
    format!(
        "[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}/{FILES}\"\nuser = \"{user}\"\npassword = \"{password}\"\n\
         link_base = \"http://{addr}/{KIND}/{PUBLIC}\"\n"
    )
}

/// A refusal: status, the name of the exception, words.
#[derive(Debug)]
struct Fault {
    status: u16,
    exception: &'static str,
    words: String,
}

impl Fault {
    fn new(status: u16, exception: &'static str, words: impl Into<String>) -> Fault {
        Fault { status, exception, words: words.into() }
    }

    fn bad(words: impl Into<String>) -> Fault {
        Fault::new(400, "BadRequest", words)
    }

    fn missing() -> Fault {
        Fault::new(404, "NotFound", "File not found")
    }

    fn reply(&self) -> Reply {
        let (exception, words) = (self.exception, escape(self.words.as_str()));
        let reply = xml(
            self.status,
            &format!(
                "<d:error xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\"><s:exception>Sabre\\DAV\\Exception\\{exception}</s:exception>\
                 <s:message>{words}</s:message></d:error>"
            ),
        );
        if self.status == 401 { reply.header("www-authenticate", "Basic realm=\"practice\", charset=\"UTF-8\"") } else { reply }
    }

    fn answer(self) -> Answer {
        Answer::plain(self.reply(), Outcome::Rejected(self.words))
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::new(500, "ServiceUnavailable", format!("the sandbox cannot keep its files: {error}"))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::Full => Fault::new(507, "InsufficientStorage", "there is no space left"),
            Refusal::Io(error) => error.into(),
            _ => Fault::missing(),
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Options,
    /// Of what is there, and with `true` of what is in it.
    Look(bool),
    Head,
    Get,
    Folder,
    Put,
    Move,
    Remove,
}

impl Asked {
    fn of(exchange: &Exchange, rules: &Rules) -> Result<Asked, Fault> {
        let header = |name: &str| exchange.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(match exchange.method.as_str() {
            "OPTIONS" => Asked::Options,
            "PROPFIND" if rules.knows_propfind => match header("depth") {
                Some("0") => Asked::Look(false),
                Some("1") => Asked::Look(true),
                _ => return Err(Fault::new(403, "Forbidden", "`Depth` must be 0 or 1")),
            },
            "HEAD" => Asked::Head,
            "GET" => Asked::Get,
            "MKCOL" => Asked::Folder,
            "PUT" => Asked::Put,
            "MOVE" => Asked::Move,
            "DELETE" => Asked::Remove,
            _ => return Err(Fault::new(405, "MethodNotAllowed", "this is not implemented")),
        })
    }

    fn endpoint(self) -> Endpoint {
        match self {
            Asked::Options | Asked::Look(_) | Asked::Head => Endpoint::Probe,
            Asked::Get => Endpoint::Link,
            Asked::Folder => Endpoint::Open,
            Asked::Put => Endpoint::Chunk,
            Asked::Move => Endpoint::Finish,
            Asked::Remove => Endpoint::Abandon,
        }
    }
}

/// The emulation.
#[derive(Debug)]
pub(super) struct WebDav {
    rules: Rules,
}

/// What came, as far as an answer depends on it.
struct Call {
    rules: Rules,
    asked: Asked,
    /// Below the folder that takes files; empty for that itself.
    path: String,
    /// The upload in chunks that it is about, if it is.
    upload: Option<uploads::Place>,
    /// Where a file is to be moved, and whether what is there makes room.
    to: Option<(String, bool)>,
    /// How long the file is that an upload in chunks becomes.
    total: Option<String>,
    /// What is said, and wanted to be known, of the bytes.
    sums: sums::Sums,
    text: String,
    /// The path that addresses in lists begin with.
    prefix: String,
}

impl WebDav {
    pub(super) fn new(rules: Rules) -> WebDav {
        WebDav { rules }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        if let Some(page) = shares::Page::of(exchange) {
            return self.beside(exchange, page).await;
        }
        let call = match self.call(exchange) {
            Ok(call) => call,
            Err(fault) => return Ok(fault.answer()),
        };
        exchange.met(call.met())?;
        if call.asked == Asked::Put {
            return self.put(exchange, call).await;
        }
        let text = text(exchange).await?;
        exchange.received().await?;
        let sums = sums::Sums { lies: exchange.lies(), ..call.sums };
        let (call, times) = (Call { text, sums, ..call }, exchange.times());
        exchange.work(move |shared| call.answer(shared, times)).await
    }

    fn call(&self, exchange: &Exchange) -> Result<Call, Fault> {
        if self.rules.is_in_maintenance {
            return Err(Fault::new(503, "ServiceUnavailable", "System is in maintenance mode."));
        }
        let asked = Asked::of(exchange, &self.rules)?;
        let (place, path) = place(&exchange.path)?;
        let is_public = place == PUBLIC && matches!(asked, Asked::Get | Asked::Head);
        if !is_public {
            self.admitted(exchange)?;
        }
        let header = |name: &str| exchange.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let upload = if place == UPLOADS { Some(uploads::Place::of(&path)?) } else { None };
        let says_where = asked == Asked::Move || (upload.is_some() && header("destination").is_some());
        let to = if says_where { Some(destination(exchange)?) } else { None };
        let prefix = format!("/{KIND}/{place}");
        let total = header("oc-total-length");
        let sums = sums::Sums::of(header("oc-checksum"), header("x-hash"))?;
        Ok(Call { rules: self.rules.clone(), asked, path, upload, to, total, sums, text: String::new(), prefix })
    }

    fn admitted(&self, exchange: &Exchange) -> Result<(), Fault> {
        let given = exchange.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let pair = format!("{}:{}", self.rules.user, self.rules.password);
        let basic = format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair));
        let bearer = self.rules.token.as_ref().map(|token| format!("Bearer {token}"));
        if given == basic || bearer.is_some_and(|bearer| given == bearer) { Ok(()) } else { Err(denied()) }
    }

    /// Takes a file in. A server that writes in place has what came, also of a body that broke off.
    async fn put(&self, exchange: &mut Exchange, call: Call) -> Result<Answer, Stop> {
        let header = |name: &str| exchange.headers.get(name).is_some();
        if header("content-range") || header("content-encoding") {
            return Ok(Fault::bad("a file is taken whole and as it is").answer());
        }
        if !header("content-length") {
            return Ok(Fault::new(411, "LengthRequired", "the length is missing").answer());
        }
        let refused = if call.upload.is_some() { Ok(()) } else { call.may_put(exchange.shared()) };
        let mut spool = exchange.shared().store.aside().and_then(Spool::new).map_err(|error| full_disk(&error))?;
        let mut sha1 = Sha1::new();
        let broken = loop {
            match exchange.body.next().await {
                Ok(Some(bytes)) => {
                    sha1.update(&bytes);
                    spool.take(&bytes).map_err(|error| full_disk(&error))?;
                }
                Ok(None) => break None,
                Err(stop) => break Some(stop),
            }
        };
        let spooled = spool.end();
        if let Some(stop) = broken {
            if self.rules.writes_in_place && refused.is_ok() && call.upload.is_none() {
                exchange.work(move |shared| call.keep(shared, spooled).err()).await?;
            }
            return Err(stop);
        }
        exchange.received().await?;
        if let Err(fault) = refused {
            return Ok(fault.answer());
        }
        let times = exchange.times();
        let sums = sums::Sums { own: Some(hex(&sha1.finalize())), lies: exchange.lies(), ..call.sums };
        let call = Call { sums, ..call };
        let answered = exchange.work(move |shared| call.keep(shared, spooled)).await?;
        Ok(answered.map_or_else(Fault::answer, |answer| Answer { again: answer.again || times > 1, ..answer }))
    }
}

fn denied() -> Fault {
    Fault::new(401, "NotAuthenticated", "Cannot authenticate with these credentials")
}

impl Emulated for WebDav {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Fault::new(status, "Exception", reason).reply()
    }

    fn full(&self) -> Reply {
        Fault::from(Refusal::Full).reply()
    }

    fn denied(&self) -> Reply {
        denied().reply()
    }
}

impl Call {
    fn met(&self) -> Met {
        let file = self.to.as_ref().map_or(&self.path, |(to, _)| to).rsplit('/').next().map(str::to_owned);
        let part = (self.asked == Asked::Put).then(|| self.upload.as_ref().and_then(uploads::Place::chunk).unwrap_or(0));
        let session = Some(self.upload.as_ref().map_or_else(|| id_of(&self.path), |upload| upload.id.clone()));
        Met { host: KIND, endpoint: self.asked.endpoint(), session, part, file: file.filter(|name| !name.is_empty()) }
    }

    fn answer(&self, shared: &Shared, times: usize) -> Answer {
        let mut answered = self.once(shared);
        for _ in 1..times {
            let held = answered.as_ref().is_ok_and(|answer| answer.held);
            answered = self.once(shared).map(|answer| Answer { held: answer.held || held, ..answer });
        }
        answered.unwrap_or_else(Fault::answer)
    }

    fn once(&self, shared: &Shared) -> Result<Answer, Fault> {
        if !self.text.is_empty() && !matches!(self.asked, Asked::Look(_)) {
            return Err(Fault::new(415, "UnsupportedMediaType", "there is no use for a body"));
        }
        if let Some(place) = &self.upload {
            return self.about_upload(shared, place);
        }
        match self.asked {
            Asked::Options => Ok(served(
                Reply::empty(200).header("dav", "1, 3").header("allow", "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, MKCOL, MOVE"),
            )),
            Asked::Look(is_deep) => self.look(shared, is_deep),
            Asked::Head | Asked::Get => self.fetch(shared),
            Asked::Folder => self.make_folder(shared),
            Asked::Move => self.rename(shared),
            Asked::Remove => self.remove(shared),
            Asked::Put => Err(Fault::bad("there are no bytes")),
        }
    }
}

/// Which of the places of this server a path is in, and the rest of it, decoded.
fn place(path: &str) -> Result<(&'static str, String), Fault> {
    let mut names = Vec::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let name = percent_decode_str(name).decode_utf8().map_err(|_| Fault::bad("the path is not UTF-8"))?;
        if matches!(name.as_ref(), "." | "..") || name.contains(|c: char| c == '/' || c.is_control()) || name.len() > 255 {
            return Err(Fault::bad("the path has a name that cannot be one"));
        }
        names.push(name.into_owned());
    }
    let path = names.join("/");
    let below = |place: &str| path.strip_prefix(place).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let found =
        [FILES, UPLOADS, PUBLIC].into_iter().find_map(|place| Some((place, below(place)?.trim_start_matches('/').to_owned())));
    found.ok_or_else(Fault::missing)
}

/// Where a file is to be moved: an absolute address of this server, as the request line has it.
fn destination(exchange: &Exchange) -> Result<(String, bool), Fault> {
    let header = |name: &str| exchange.headers.get(name).and_then(|value| value.to_str().ok());
    let told = header("destination").ok_or_else(|| Fault::bad("`Destination` is missing"))?;
    let own = format!("http://{}/{KIND}", header("host").unwrap_or_default());
    let below = told.strip_prefix(&own).filter(|rest| rest.starts_with('/'));
    let below = below.ok_or_else(|| Fault::new(502, "BadGateway", "`Destination` is another server"))?;
    if !below.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err(Fault::bad("`Destination` is not encoded"));
    }
    let (place, path) = place(below)?;
    if place != FILES || path.is_empty() {
        return Err(Fault::new(403, "Forbidden", "`Destination` is not in the folder"));
    }
    match header("overwrite") {
        None | Some("T") => Ok((path, true)),
        Some("F") => Ok((path, false)),
        Some(_) => Err(Fault::bad("`Overwrite` must be T or F")),
    }
}

/// What stands for a path.
fn id_of(path: &str) -> String {
    sha256(path.as_bytes())[..32].to_owned()
}

fn xml(status: u16, text: &str) -> Reply {
    let text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{text}");
    Reply::bytes(status, text).header("content-type", "application/xml; charset=utf-8")
}

fn served(reply: Reply) -> Answer {
    Answer::plain(reply, Outcome::Served)
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
    String::from_utf8(body).map_err(|_| Stop::Refused { status: 400, reason: "the body is not UTF-8".into() })
}

impl Call {
    fn keep(&self, shared: &Shared, spooled: Spooled) -> Result<Answer, Fault> {
        self.sums.compare(self.rules.digests)?;
        let answer = match &self.upload {
            Some(place) => self.keep_chunk(shared, place, spooled),
            None => tree::keep(self, shared, spooled),
        };
        answer.map(|answer| Answer { reply: self.sums.told(self.rules.digests, answer.reply), ..answer })
    }
}
