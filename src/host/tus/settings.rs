//! What is configured of a server of tus.

use reqwest::header::{HeaderName, HeaderValue};

use crate::config::reading::{
    Table, Value, Wrong, boolean, filled_text, in_the_clear, one_or_more, part_size, secret, text, web_address, word,
};
use crate::config::{Environment, HostSettings, SecretSource};
use crate::job::digest::Algorithm;

use super::template::Template;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// The bounds of what goes in one request (page, 4).
const CHUNK: std::ops::RangeInclusive<u64> = 64 * KIB..=1024 * 1024 * MIB;
const MULTIPLE: std::ops::RangeInclusive<u64> = 1..=1024 * MIB;
/// What may stand in metadata and in links.
const METADATA_WORDS: &[&str] = &["name", "folder", "type", "mtime", "version"];
const LINK_WORDS: &[&str] = &["id", "name", "folder"];
const CHECKSUMS: &[(&str, Option<Checksum>)] =
    &[("sha1", Some(Checksum::Sha1)), ("sha256", Some(Checksum::Sha256)), ("md5", Some(Checksum::Md5)), ("none", None)];
const ON_GONE: &[(&str, OnGone)] = &[("unknown", OnGone::Unknown), ("done", OnGone::Done)];
/// Headers that are ours to send.
const OWN_HEADERS: [&str; 8] = [
    "authorization",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "tus-resumable",
    "x-http-method-override",
    "user-agent",
];

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct TusConfig {
    /// Where uploads are created.
    pub endpoint: String,
    /// How we show who we are.
    pub credentials: Credentials,
    /// Headers that go with every request.
    pub headers: Vec<(String, String)>,
    /// Other origins to which bytes and credentials may go, should the server name them.
    pub upload_origins: Vec<String>,
    /// The most bytes of one request.
    pub chunk: u64,
    /// Requests end at a multiple of so many bytes, save at the end of the file.
    pub chunk_multiple: u64,
    /// What goes with the bytes where the server verifies it.
    pub checksum: Option<Checksum>,
    /// Whether PATCH and DELETE go as POST, for proxies that do not let them through.
    pub method_override: bool,
    /// What the server is told of the file; nothing for its name and type.
    pub metadata: Option<Vec<(String, Template)>>,
    /// Where a file can be fetched.
    pub link_template: Option<Template>,
    /// The header of a reply that names a file, or says where it is.
    pub link_header: Option<String>,
    /// The header of the reply to the last bytes that has the SHA-256 of the file.
    pub verify_header: Option<String>,
    /// What an upload means that is gone after its last bytes were sent.
    pub on_gone: OnGone,
}

/// How we show who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Not at all.
    None,
    /// With a name and a password.
    Basic(String, SecretSource),
    /// With a token, in this header.
    Token(String, SecretSource),
}

/// What goes with the bytes of a request. The words are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-1, which every server knows that verifies anything.
    Sha1,
    /// SHA-256.
    Sha256,
    /// MD5.
    Md5,
}

impl Checksum {
    /// What the engine computes.
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Checksum::Sha1 => Algorithm::Sha1,
            Checksum::Sha256 => Algorithm::Sha256,
            Checksum::Md5 => Algorithm::Md5,
        }
    }

    /// What it is called on the wire.
    pub(super) fn word(self) -> &'static str {
        self.algorithm().word()
    }
}

/// What an upload means that is gone after its last bytes were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGone {
    /// Nobody knows: `on_unknown` decides.
    Unknown,
    /// The server has taken the file and let go of the upload.
    Done,
}

impl HostSettings for TusConfig {
    fn addresses(&self) -> Vec<&str> {
        vec![&self.endpoint]
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        match &self.credentials {
            Credentials::None => Vec::new(),
            Credentials::Basic(_, password) => vec![("password", password)],
            Credentials::Token(_, token) => vec![("token", token)],
        }
    }

    fn account(&self) -> String {
        match &self.credentials {
            Credentials::Basic(user, _) => format!("{user}@{}", self.endpoint),
            _ => self.endpoint.clone(),
        }
    }

    fn risks(&self) -> Vec<String> {
        let risk = "`on_gone = \"done\"`: a file counts as uploaded where the server forgets the upload after its last bytes";
        (self.on_gone == OnGone::Done).then(|| risk.to_owned()).into_iter().collect()
    }
}

/// The settings in its table.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<TusConfig> {
    let help = "add `endpoint = \"https://HOST/files/\"`, the address where uploads are created";
    let endpoint = table.need("endpoint", help, creation_address);
    let allow_http = table.get("allow_http", false, boolean);
    let credentials = credentials(table, environment);
    if let (Some(endpoint), false) = (&endpoint, matches!(credentials, Credentials::None)) {
        in_the_clear(table, "endpoint", endpoint, allow_http);
    }
    let config = TusConfig {
        credentials,
        headers: table.get("headers", Vec::new(), one_or_more(header)),
        upload_origins: table.get("upload_origins", Vec::new(), one_or_more(web_address)),
        chunk: table.get("chunk", 16 * MIB, chunk),
        chunk_multiple: table.get("chunk_multiple", 1, part_size(MULTIPLE, 1)),
        checksum: table.get("checksum", Some(Checksum::Sha1), word(CHECKSUMS)),
        method_override: table.get("method_override", false, boolean),
        metadata: table.find("metadata", one_or_more(metadata)),
        link_template: table.find("link_template", link_template),
        link_header: table.find("link_header", header_name),
        verify_header: table.find("verify_header", header_name),
        on_gone: table.get("on_gone", OnGone::Unknown, word(ON_GONE)),
        endpoint: endpoint?,
    };
    if config.chunk < config.chunk_multiple {
        table.complain("chunk", "`chunk` is smaller than `chunk_multiple`", "make it a multiple of that");
    }
    Some(config)
}

/// How we show who we are: a name with its password, or a token, or nothing.
fn credentials(table: &Table<'_>, environment: &dyn Environment) -> Credentials {
    let user = table.find("user", filled_text);
    let password = table.find("password", secret(table, environment));
    let token = table.find("token", secret(table, environment));
    let header = table.find("auth_header", header_name);
    for (key, other) in [("user", "password"), ("password", "user"), ("auth_header", "token")] {
        if table.has(key) && !table.has(other) {
            table.complain(key, format!("`{key}` does nothing without `{other}`"), format!("add `{other}`"));
        }
    }
    if table.has("token") && table.has("user") {
        table.complain("token", "there is a `token` as well as a `user`", "remove one of them");
    }
    match (user, password, token) {
        (Some(user), Some(password), _) => Credentials::Basic(user, password),
        (_, _, Some(token)) => Credentials::Token(header.unwrap_or_else(|| "authorization".into()), token),
        _ => Credentials::None,
    }
}

/// An address with its slash at the end, where it has one: servers tell the two apart.
fn creation_address(value: &Value<'_>) -> Result<String, Wrong> {
    let address = web_address(value)?;
    Ok(if text(value)?.ends_with('/') { format!("{address}/") } else { address })
}

/// A size, or "whole".
fn chunk(value: &Value<'_>) -> Result<u64, Wrong> {
    if text(value).is_ok_and(|given| given == "whole") { Ok(u64::MAX) } else { part_size(CHUNK, 1)(value) }
}

fn template(given: &str, words: &'static [&'static str]) -> Result<Template, Wrong> {
    let help = format!("write text and {{{}}}", words.join("}, {"));
    Template::read(given, words).map_err(|wrong| Wrong::new(wrong, help))
}

fn link_template(value: &Value<'_>) -> Result<Template, Wrong> {
    let given = filled_text(value)?;
    let read = template(&given, LINK_WORDS)?;
    let is_web = given.starts_with("https://") || given.starts_with("http://");
    if is_web && (read.has("id") || read.has("name")) {
        Ok(read)
    } else {
        Err(Wrong::new("is no address with {id} or {name}", "write \"https://HOST/{id}/{name}\""))
    }
}

/// "KEY=TEMPLATE".
fn metadata(value: &Value<'_>) -> Result<(String, Template), Wrong> {
    let given = text(value)?;
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    let pair = given.split_once('=').filter(|(key, _)| is_key(key));
    let wrong = || Wrong::new("is no metadata", "write \"KEY=TEXT\", such as \"objectName={folder}/{name}\", or a list of such");
    let (key, text) = pair.ok_or_else(wrong)?;
    Ok((key.to_owned(), template(text, METADATA_WORDS)?))
}

/// "NAME: VALUE".
fn header(value: &Value<'_>) -> Result<(String, String), Wrong> {
    let given = filled_text(value)?;
    let wrong = || Wrong::new("is no header", "write \"NAME: VALUE\", or a list of such");
    let (name, told) = given.split_once(':').ok_or_else(wrong)?;
    let told = told.trim();
    HeaderValue::from_str(told).map_err(|_| wrong())?;
    Ok((checked_name(name.trim())?, told.to_owned()))
}

fn header_name(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    if given.eq_ignore_ascii_case("authorization") { Ok("authorization".into()) } else { checked_name(&given) }
}

fn checked_name(name: &str) -> Result<String, Wrong> {
    let lower = HeaderName::try_from(name).map_err(|_| Wrong::new("is no name of a header", "write one such as \"X-Api-Key\""))?;
    if OWN_HEADERS.contains(&lower.as_str()) || lower.as_str().starts_with("upload-") {
        return Err(Wrong::new(
            format!("is `{name}`, which is set otherwise"),
            "use `token`, `user` or `metadata`, or leave it out",
        ));
    }
    Ok(lower.as_str().to_owned())
}
