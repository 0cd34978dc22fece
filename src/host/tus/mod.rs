//! tus 1.0: an upload is created, bytes are appended at the offset that the server names, and in doubt it is asked how far it is.
//!
//! Source of every fact: `docs/protocols/tus.md`, here "page". The last bytes are the commit: the server makes the file of them. The
//! address of an upload opens it to everybody, so it is a secret: it stands in the session, and nowhere else.

mod location;
mod replies;
mod settings;
mod template;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Proof;
use crate::job::digest::{Algorithm, DigestRequirement};
use crate::job::upload::{Ack, Class, Found, Opened, Order, Outcome, Repeat, Session, Shape};
use crate::secret::Secret;

use super::error::HostError;
use super::http::{Reply, Request, Transport};
use super::kind::Protocol;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Tickets, UploadSession, address, stored};

use replies::VERSION;
use template::Template;

pub use location::{Location, locate};
pub use replies::{Abilities, abilities_reply, create_reply, delete_reply, head_reply, patch_reply};
pub use settings::{Checksum, Credentials, OnGone, TusConfig};

/// How long the server may think about bytes that it has: the last ones may have it store the file.
const STORE_PATIENCE: Duration = Duration::from_secs(120);
/// What a request is never made smaller than, where one was too large (page, 10).
const CHUNK_MIN: u64 = 1024 * 1024;
/// How many uploads are remembered of which the server has lost something.
const FALLEN_MAX: usize = 256;
/// The shortest id of an upload that is taken for a secret: shorter texts are found anywhere.
const ID_BYTES_MIN: usize = 8;
/// The longest name that a header is believed to give to a file, in bytes.
const ID_BYTES_MAX: usize = 256;
/// What `verify_header` is compared with.
const VERIFIED: DigestRequirement = DigestRequirement { algorithm: Algorithm::Sha256, before_open: false, mid_states: false };
/// What of a name is encoded in a link.
const LINK_ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

// What is stored.

/// A session as stored. Requests go on to where it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    /// Where the upload was created.
    endpoint: String,
    /// Where it is; nothing of an empty file, which is whole once it is created.
    upload: Option<String>,
    metadata: String,
    bytes: u64,
    name: String,
    folder: String,
    /// The checksum that goes with the bytes.
    checksum: Option<String>,
    /// Whether an upload can be given up.
    terminates: bool,
    /// What the reply to the last bytes, or to the creation, says that the file is called.
    told: Option<String>,
    /// Whether the server has confirmed the last byte.
    whole: bool,
    /// The digest of the file, as that reply tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl Open {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Open, HostError> {
        stored::load(session, Tus::NAME)
    }

    fn upload(&self) -> Result<&str, HostError> {
        self.upload.as_deref().ok_or_else(|| HostError::new(Class::SessionLost, "no upload was created"))
    }
}

/// What goes into `Upload-Metadata`: names, and values in base64 (page, 3).
fn metadata(templates: Option<&[(String, Template)]>, file: &FileFacts) -> String {
    let meaning = |word: &str| match word {
        "name" => file.name.clone(),
        "folder" => file.folder.clone(),
        "type" => file.content_type.to_owned(),
        "mtime" => file.mtime_ns.div_euclid(1_000_000_000).to_string(),
        _ => file.version.clone(),
    };
    // Servers know a file's name and type by one pair of keys or the other.
    let usual = || {
        let (name, kind) = (file.name.clone(), file.content_type.to_owned());
        vec![("filename", name.clone()), ("filetype", kind.clone()), ("name", name), ("type", kind)]
    };
    let pair = |key: &str, value: &str| {
        if value.is_empty() { key.to_owned() } else { format!("{key} {}", STANDARD.encode(value)) }
    };
    let pairs: Vec<String> = match templates {
        Some(templates) => templates.iter().map(|(key, template)| pair(key, &template.fill(meaning))).collect(),
        None => usual().iter().map(|(key, value)| pair(key, value)).collect(),
    };
    pairs.join(",")
}

/// How many bytes of a part go in one request: no more than `max`, and up to a multiple of `multiple`, save at the end of the file.
fn cut(part: &Part, file_bytes: u64, max: u64, multiple: u64) -> u64 {
    let bytes = part.bytes.min(max);
    let end = part.offset + bytes;
    if end >= file_bytes || multiple <= 1 {
        return bytes;
    }
    let border = end / multiple * multiple;
    if border > part.offset { border - part.offset } else { bytes }
}

// Glue.

/// A server of tus.
pub struct Tus {
    settings: TusConfig,
    authorization: Option<(String, Secret)>,
    transport: Transport,
    /// What it says that it can do, once it was asked.
    abilities: OnceCell<Abilities>,
    /// The most bytes of one request that it has not called too large.
    chunk_max: AtomicU64,
    /// The last uploads of which it has lost what it had confirmed.
    fallen: Mutex<VecDeque<String>>,
}

impl Tus {
    /// A request to an address of the server, with our credentials if it may have them.
    fn request<'a>(&self, method: &str, url: &'a str) -> Request<'a> {
        let overrides = self.settings.method_override && matches!(method, "PATCH" | "DELETE");
        let request =
            if overrides { Request::post(url).header("x-http-method-override", method) } else { Request::custom(method, url) };
        let headers = self.settings.headers.iter().cloned();
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        let trusted = location::is_trusted(url, &self.settings.endpoint, &self.settings.upload_origins);
        match self.authorization.as_ref().filter(|_| trusted) {
            Some((name, value)) => request.header(name.clone(), value.reveal()).secret(value),
            None => request,
        }
    }

    /// A request to an upload. Neither its address nor what it is called there may be told.
    fn to_upload<'a>(&self, method: &str, upload: &'a str) -> Request<'a> {
        let request = self.request(method, upload).header("tus-resumable", VERSION).secret(&Secret::new(upload));
        match location::last_segment(upload).filter(|id| id.len() >= ID_BYTES_MIN) {
            Some(id) => request.secret(&Secret::new(id)),
            None => request,
        }
    }

    /// What the server can do. Asked for once.
    async fn abilities(&self) -> Result<&Abilities, HostError> {
        let ask = async {
            let reply = self.transport.send(self.request("OPTIONS", &self.settings.endpoint)).await?;
            abilities_reply(&reply)
        };
        let abilities = self.abilities.get_or_try_init(|| ask).await?;
        if abilities.are_known && !abilities.has("creation") {
            return Err(HostError::new(Class::HostRefused, "the host does not let clients create uploads; check `endpoint`"));
        }
        Ok(abilities)
    }

    /// Creates an upload.
    async fn create(&self, open: &Open) -> Result<(String, Reply), HostError> {
        let request = self.request("POST", &open.endpoint).header("tus-resumable", VERSION);
        let request = request.header("upload-length", open.bytes.to_string());
        let request = if open.metadata.is_empty() { request } else { request.header("upload-metadata", open.metadata.clone()) };
        let reply = self.transport.send(request.patience(STORE_PATIENCE)).await?;
        Ok((create_reply(&reply)?, reply))
    }

    /// Where an upload is that was created. Behind a proxy some servers name an address that only they know.
    async fn place(&self, open: &Open, location: &str) -> Result<String, HostError> {
        match locate(location, &open.endpoint, &self.settings.upload_origins)? {
            Location::Known(upload) => Ok(upload),
            Location::Elsewhere { here, named } => match self.offset(&here, open.bytes).await {
                Ok(_) => Ok(here),
                Err(error) if matches!(error.class, Class::Transient | Class::RateLimited) => Err(error),
                Err(_) => Err(location::refused(&named)),
            },
        }
    }

    /// How far an upload is.
    async fn offset(&self, upload: &str, file_bytes: u64) -> Result<u64, HostError> {
        head_reply(&self.transport.send(self.to_upload("HEAD", upload)).await?, file_bytes)
    }

    /// Sends the beginning of a part, as much as may go at once.
    async fn append(&self, open: &mut Open, part: &Part) -> Result<u64, HostError> {
        let upload = open.upload()?.to_owned();
        let bytes = cut(part, open.bytes, self.chunk_max.load(Ordering::Relaxed), self.settings.chunk_multiple);
        let request = self.to_upload("PATCH", &upload).header("upload-offset", part.offset.to_string());
        let request = request.header("content-type", "application/offset+octet-stream").patience(STORE_PATIENCE);
        let digest = part.digest.as_ref().filter(|_| bytes == part.bytes);
        let request = match open.checksum.as_ref().zip(digest) {
            Some((algorithm, digest)) => request.header("upload-checksum", format!("{algorithm} {}", STANDARD.encode(digest))),
            None => request,
        };
        let reply = self.transport.send(request.raw_start(part, bytes)).await?;
        if reply.status == 413 && bytes > CHUNK_MIN {
            self.chunk_max.fetch_min((bytes / 2).max(CHUNK_MIN), Ordering::Relaxed);
            let said = format!("the host does not take {bytes} bytes at once; it gets fewer from now on");
            return Err(reply.failure(Class::OffsetMismatch, said));
        }
        let held = patch_reply(&reply, part.offset, bytes)?;
        self.note(open, &reply);
        Ok(held)
    }

    /// What follows from bytes that were refused: how far the upload is decides (page, 5 and 7).
    async fn after_refusal(&self, open: &Open, part: &Part, error: HostError) -> Result<u64, HostError> {
        let is_last = part.offset + part.bytes >= open.bytes;
        let is_offset = error.status == Some(409);
        // What nobody has answered is settled after a rest: the server may still be at it.
        let settled = matches!(error.class, Class::FileRejected | Class::RequestRefused) && is_last && error.status != Some(413);
        if !is_offset && !settled {
            return Err(error);
        }
        match self.offset(open.upload()?, open.bytes).await {
            Ok(held) if is_offset && held == part.offset => {
                // It holds what we think, and takes nothing: another request of ours has not ended there.
                Err(HostError { class: Class::Transient, ..error })
            }
            Ok(held) if is_offset && held > part.offset => Ok(held),
            // It has lost what it had confirmed. One that does so again will not stop.
            Ok(_) if is_offset && self.has_fallen_before(open.upload()?) => Err(HostError { class: Class::SessionLost, ..error }),
            // Stored, whatever became of it there afterwards.
            Ok(held) if settled && held == open.bytes => Ok(held),
            Err(other) if is_offset => Err(other),
            _ => Err(error),
        }
    }

    /// Whether the server has lost confirmed bytes of this upload for the second time.
    fn has_fallen_before(&self, upload: &str) -> bool {
        let mut fallen = self.fallen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = fallen.iter().position(|known| known == upload);
        match known {
            Some(known) => fallen.remove(known).is_some(),
            None => {
                fallen.push_back(upload.to_owned());
                if fallen.len() > FALLEN_MAX {
                    fallen.pop_front();
                }
                false
            }
        }
    }

    /// Keeps what a reply says of the file.
    fn note(&self, open: &mut Open, reply: &Reply) {
        let told = |name: &Option<String>| {
            let told = name.as_deref().and_then(|name| reply.header(name)).map(str::trim)?;
            let is_plain = !told.is_empty() && told.len() <= ID_BYTES_MAX && !told.chars().any(char::is_control);
            is_plain.then(|| told.to_owned())
        };
        open.told = told(&self.settings.link_header).or(open.told.take());
        open.digest = told(&self.settings.verify_header).or(open.digest.take());
    }

    fn outcome(&self, open: &Open, proof: Proof) -> Outcome {
        let link = open.told.as_deref().and_then(address::link);
        let id = open.told.clone().filter(|_| link.is_none()).or_else(|| location::last_segment(open.upload.as_deref()?));
        let encoded = |text: &str| utf8_percent_encode(text, LINK_ENCODED).to_string();
        let meaning = |word: &str| match word {
            "id" => encoded(id.as_deref().unwrap_or_default()),
            "name" => encoded(&open.name),
            _ => open.folder.split('/').map(encoded).collect::<Vec<_>>().join("/"),
        };
        let made = self.settings.link_template.as_ref().map(|template| template.fill(meaning));
        Outcome {
            link: link.or_else(|| made.as_deref().and_then(address::link)),
            remote_id: id,
            proof,
            bytes: Some(open.bytes).filter(|_| proof > Proof::Word),
            ..Outcome::default()
        }
    }

    /// What the server has proved of a file that it has whole.
    fn proof(open: &Open, digest: Option<&str>) -> Result<Proof, HostError> {
        match open.digest.as_deref().zip(digest) {
            None => Ok(Proof::Size),
            Some((told, own)) if says(told, own) => Ok(Proof::Digest),
            Some(_) => Err(HostError::new(Class::BadCopy, "the host tells another digest than the file has")),
        }
    }

    /// Creates the upload of an empty file, which is whole by that.
    async fn create_empty(&self, open: &mut Open, digest: Option<&str>) -> Result<Outcome, HostError> {
        let (location, reply) = self.create(open).await?;
        open.upload = match locate(&location, &open.endpoint, &self.settings.upload_origins) {
            Ok(Location::Known(upload)) => Some(upload),
            _ => None,
        };
        self.note(open, &reply);
        Ok(self.outcome(open, Tus::proof(open, digest)?))
    }
}

/// Whether what a header says is this digest, in hexadecimal or in base64, with whatever is around it.
fn says(told: &str, digest: &str) -> bool {
    let byte = |at: usize| u8::from_str_radix(digest.get(at..at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..digest.len()).step_by(2).map_while(byte).collect();
    !bytes.is_empty() && (told.to_ascii_lowercase().contains(digest) || told.contains(&STANDARD.encode(bytes)))
}

impl Protocol for Tus {
    const WORD: &'static str = "tus";
    const NAME: &'static str = "tus";

    type Settings = TusConfig;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<TusConfig> {
        settings::read(table, environment)
    }

    fn make(settings: &TusConfig, supplies: &mut Supplies<'_>) -> Result<Tus, HostError> {
        let authorization = match &settings.credentials {
            Credentials::None => None,
            Credentials::Basic(user, password) => {
                let password = supplies.secret(password)?;
                let value = Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal()))));
                Some(("authorization".to_owned(), value))
            }
            Credentials::Token(header, token) => {
                let token = supplies.secret(token)?;
                let before = if header == "authorization" && !token.reveal().contains(' ') { "Bearer " } else { "" };
                Some((header.clone(), Secret::new(format!("{before}{}", token.reveal()))))
            }
        };
        Ok(Tus {
            settings: settings.clone(),
            authorization,
            transport: supplies.transport()?,
            abilities: OnceCell::new(),
            chunk_max: AtomicU64::new(u64::MAX),
            fallen: Mutex::default(),
        })
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Open::load(session)?.store()
    }
}

impl Host for Tus {
    fn shape(&self, _: u64) -> Shape {
        Shape {
            order: Order::Sequential,
            repeat: Repeat::MayDuplicate,
            last_part_commits: true,
            part_digest: self.settings.checksum.map(Checksum::algorithm),
            digest: self.settings.verify_header.as_ref().map(|_| VERIFIED),
            ..Shape::parts(self.settings.chunk)
        }
    }

    /// Of what the server does not verify, nothing is computed.
    fn part_digest(&self, session: &Session, _: &Shape) -> Option<Algorithm> {
        Algorithm::from_word(&Open::load(session).ok()?.checksum?)
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let abilities = self.abilities().await?;
            if let Some(max) = abilities.bytes_max.filter(|max| *max < file.bytes) {
                let said = format!("the file has {} bytes, and this host accepts at most {max}", file.bytes);
                return Err(HostError::new(Class::FileRejected, said));
            }
            let word = self.settings.checksum.map(Checksum::word);
            let checksum = word.filter(|word| abilities.has("checksum") && abilities.checksums.iter().any(|known| known == word));
            let mut open = Open {
                endpoint: self.settings.endpoint.clone(),
                upload: None,
                metadata: metadata(self.settings.metadata.as_deref(), file),
                bytes: file.bytes,
                name: file.name.clone(),
                folder: file.folder.clone(),
                checksum: checksum.map(str::to_owned),
                terminates: abilities.has("termination"),
                told: None,
                whole: false,
                digest: None,
            };
            // The upload of an empty file is its commit, so it is created by the finish.
            if file.bytes > 0 {
                let (location, reply) = self.create(&open).await?;
                open.upload = Some(self.place(&open, &location).await?);
                self.note(&mut open, &reply);
            }
            open.store().map(Opened::Session)
        })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let mut open = Open::load(&at.session)?;
            let held = match self.append(&mut open, part).await {
                Ok(held) => held,
                Err(error) => self.after_refusal(&open, part, error).await?,
            };
            open.whole = held >= open.bytes;
            // Only what must be known after a restart is worth a write.
            let moved_to = if open.whole { Some(open.store()?) } else { None };
            Ok(Ack { number: part.number, held_to: held, receipt: None, moved_to })
        })
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            let Some(upload) = &open.upload else { return Ok(Found::Unsure) };
            if open.whole {
                // What it tells another digest of is not the file.
                let proof = Tus::proof(&open, completion.digest);
                return Ok(proof.map_or(Found::Gone, |proof| Found::Complete(self.outcome(&open, proof))));
            }
            match self.offset(upload, open.bytes).await {
                Ok(held) if held == open.bytes => Ok(Found::Complete(self.outcome(&open, Proof::Size))),
                Ok(held) => Ok(Found::UpTo(held)),
                // The server may have made the file, and let go of the upload; or it has expired.
                Err(error) if error.class == Class::SessionLost => {
                    let done = completion.repeated && self.settings.on_gone == OnGone::Done;
                    Ok(if done { Found::Complete(self.outcome(&open, Proof::Word)) } else { Found::Gone })
                }
                Err(error) => Err(error),
            }
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let mut open = Open::load(&at.session)?;
            let Some(upload) = &open.upload else { return self.create_empty(&mut open, completion.digest).await };
            if !open.whole && self.offset(upload, open.bytes).await? != open.bytes {
                return Err(HostError::new(Class::OffsetMismatch, "the host does not have all bytes"));
            }
            Ok(self.outcome(&open, Tus::proof(&open, completion.digest)?))
        })
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            let Some(upload) = open.upload.as_ref().filter(|_| open.terminates && !open.whole) else { return Ok(()) };
            // A file that was made, though nobody heard of it, is not for us to remove.
            match self.offset(upload, open.bytes).await {
                Ok(held) if held < open.bytes => delete_reply(&self.transport.send(self.to_upload("DELETE", upload)).await?),
                Ok(_) => Ok(()),
                Err(error) if error.class == Class::SessionLost => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(&self.settings.endpoint, files, most))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let abilities = self.abilities().await?;
            let login = if self.authorization.is_some() { self.check_login().await? } else { "(no login needed)" };
            let max = abilities
                .bytes_max
                .map_or(String::new(), |max| format!(", files up to {}", bytesize::ByteSize::b(max).display().iec()));
            let word = self.settings.checksum.map(Checksum::word);
            let verified = word.filter(|word| abilities.checksums.iter().any(|known| known == word));
            let checksum = verified.map_or(String::new(), |word| format!(", verifies {word}"));
            let unknown = if abilities.are_known { "" } else { ", does not say what it can do" };
            Ok(format!("{login}{max}{checksum}{unknown}"))
        })
    }
}

impl Tus {
    /// Asks for an upload that is not there. Only who is let in hears so.
    async fn check_login(&self) -> Result<&'static str, HostError> {
        let endpoint = self.settings.endpoint.trim_end_matches('/');
        let number = u64::from_be_bytes(self.transport.chance().bytes::<8>());
        let nowhere = format!("{endpoint}/ferryd-check-{number:016x}");
        match self.offset(&nowhere, 0).await {
            Err(error) if error.status.is_none() || matches!(error.class, Class::HostRefused | Class::Transient) => Err(error),
            _ => Ok("credentials accepted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_known_however_it_is_written() {
        const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for told in [
            HEX,
            &HEX.to_uppercase(),
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
            "\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\"",
        ] {
            assert!(says(told, HEX), "{told}");
        }
        for other in ["", "2cf24dba", "sha-256=:lPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", "ok"] {
            assert!(!says(other, HEX), "{other}");
        }
        assert!(!says("anything", ""));
    }
}
