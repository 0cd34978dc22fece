//! Folders on servers that speak WebDAV: the bytes of a file go to a name of their own beside its place, and get the file's name once
//! all of them are there.
//!
//! Source of every fact: `docs/protocols/webdav.md`, here "page". Nobody but the upload itself takes the name of the bytes away, so
//! what has become of an unanswered request is told by that name and by what the server says of the file's (page, 7).

mod chunks;
mod naming;
mod place;
mod replies;
mod settings;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Proof;
use crate::job::upload::{Ack, Class, Found, Opened, Outcome, Repeat, Session, Shape};
use crate::secret::Secret;

use super::error::{HostError, excerpt};
use super::http::{Reply, Request, Transport};
use super::kind::Protocol;
use super::largest::Largest;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Tickets, UploadSession, names, stored};

use naming::Settled;

pub use replies::{
    Asked, Moved, Seen, delete_reply, folder_reply, head_reply, knows_no_propfind, list_reply, look_reply, move_reply, put_reply,
    refusal,
};
pub use settings::{Login, OnExisting, WebDavConfig};

/// How long a server may take for what it does with all the bytes of a file at once (page, 4).
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the list of a folder may be, in bytes; of a longer one, nothing is read.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many folders are remembered; with more, all are forgotten.
const FOLDERS_MAX: usize = 4096;
/// How much of a file's name is in that of its bytes, in bytes: file systems take 255 in all.
const NAME_BYTES_MAX: usize = 200;
/// What is asked of a file or folder (page, 3).
const WANTED: &str = "<?xml version=\"1.0\"?><d:propfind xmlns:d=\"DAV:\"><d:prop><d:resourcetype/><d:getcontentlength/><d:getetag/>\
    <d:getlastmodified/><d:quota-available-bytes/></d:prop></d:propfind>";

// What is stored.

/// A session as stored. Requests go on to where it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    base: String,
    /// Where the file is to be, below the base.
    path: String,
    /// The first of its names that was free: 1 is its own, 2 the one with that number in it.
    number: u32,
    /// Where its bytes are until they are whole: a hidden name below the base, or the address of a folder of chunks.
    waiting: String,
    /// Whether they are in chunks.
    in_chunks: bool,
    on_existing: OnExisting,
    /// What had the file's name when the upload began.
    before: Option<Receipt>,
    /// When the file was changed last, in seconds since the Unix epoch.
    mtime: i64,
}

impl Open {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Open, HostError> {
        stored::load(session, WebDav::NAME)
    }

    /// The address that chunks are announced for: the first name that was free.
    fn target(&self) -> String {
        place::below(&self.base, &naming::further(self, self.number))
    }

    /// Always said: servers differ in what they take its absence for.
    fn overwrites(&self) -> &'static str {
        if self.on_existing == OnExisting::Overwrite { "T" } else { "F" }
    }
}

/// What the server has told of the bytes, or of a file: what it is known by again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

impl From<&Seen> for Receipt {
    fn from(seen: &Seen) -> Receipt {
        Receipt { bytes: seen.bytes, etag: seen.etag.clone(), modified: seen.modified.clone() }
    }
}

impl Receipt {
    fn store(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    fn load(completion: Completion<'_>) -> Option<Receipt> {
        completion.confirmed.receipts.get(&0).and_then(|text| serde_json::from_str(text).ok())
    }
}

fn ack(bytes: u64, receipt: &Receipt) -> Ack {
    Ack { number: 0, held_to: bytes, receipt: receipt.store(), moved_to: None }
}

/// The name of the bytes of a file while they are not whole.
fn waiting_name(path: &str, digits: &str) -> String {
    let (folder, name) = path.rfind('/').map_or(("", path), |at| path.split_at(at + 1));
    let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
    format!("{folder}.{name}.{digits}.ferryd-part")
}

// Glue.

/// A folder on a server.
pub struct WebDav {
    settings: WebDavConfig,
    base: String,
    authorization: Option<Secret>,
    transport: Transport,
    /// Folders that are there.
    folders: Mutex<BTreeSet<String>>,
    /// Whether the server knows no PROPFIND.
    tells_by_head: AtomicBool,
    largest: Largest,
}

impl WebDav {
    fn new(settings: WebDavConfig, authorization: Option<Secret>, transport: Transport) -> WebDav {
        let base = place::base(&settings.base_url);
        WebDav {
            settings,
            base,
            authorization,
            transport,
            folders: Mutex::default(),
            tells_by_head: AtomicBool::new(false),
            largest: Largest::default(),
        }
    }

    async fn ask(&self, request: Request<'_>) -> Result<Reply, HostError> {
        let request = match &self.authorization {
            Some(secret) => request.header("authorization", secret.reveal()).secret(secret),
            None => request,
        };
        self.transport.send(request.verbatim()).await
    }

    async fn propfind(&self, url: &str, depth: &str) -> Result<Reply, HostError> {
        let request = Request::custom("PROPFIND", url).header("depth", depth).text("application/xml", WANTED);
        self.ask(request.reply_max(LIST_BYTES_MAX)).await
    }

    /// What is at a path.
    async fn look(&self, base: &str, path: &str) -> Result<Option<Seen>, HostError> {
        let url = place::below(base, path);
        if !self.tells_by_head.load(Ordering::Relaxed) {
            let reply = self.propfind(&url, "0").await?;
            if !knows_no_propfind(&reply) {
                return look_reply(&reply, &url);
            }
        }
        let seen = head_reply(&self.ask(Request::head(&url)).await?, &url)?;
        // Only a server that answers this knows no PROPFIND; a proxy may refuse anything for a moment.
        if seen.is_some() {
            self.tells_by_head.store(true, Ordering::Relaxed);
        }
        Ok(seen)
    }

    fn known_folders(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the folders that a path is in, from the outside in.
    async fn make_folders(&self, base: &str, path: &str) -> Result<(), HostError> {
        for folder in place::folders_of(path) {
            if base == self.base && self.known_folders().contains(folder) {
                continue;
            }
            let reply = self.ask(Request::custom("MKCOL", &place::folder_below(base, folder))).await?;
            folder_reply(&reply)?.ok_or_else(|| no_folder(&reply, place::folder_of(folder)))?;
            if base == self.base {
                self.remember_folder(folder);
            }
        }
        Ok(())
    }

    fn remember_folder(&self, folder: &str) {
        let mut known = self.known_folders();
        if known.len() >= FOLDERS_MAX {
            known.clear();
        }
        known.insert(folder.to_owned());
    }

    /// Where uploads in chunks go, where this file is too large for one request.
    fn uploads(&self, file_bytes: u64) -> Option<&str> {
        self.settings.uploads_url.as_deref().filter(|_| file_bytes > self.settings.part_bytes)
    }

    /// Makes the folders once more, of which one is missing by now.
    async fn make_folders_again(&self, base: &str, path: &str) -> Result<(), HostError> {
        self.known_folders().clear();
        self.make_folders(base, path).await
    }

    async fn put(&self, open: &Open, part: &Part) -> Result<Reply, HostError> {
        let url = place::below(&open.base, &open.waiting);
        let request = Request::put(&url).header("x-oc-mtime", open.mtime.to_string()).raw(part);
        self.ask(request.patience(PATIENCE)).await
    }

    /// Sends the bytes, and asks what has come of them.
    async fn send_bytes(&self, open: &Open, part: &Part) -> Result<Ack, HostError> {
        let taken = |reply: &Reply| put_reply(reply).map_err(|error| self.largest.judge(error, part.bytes));
        let reply = self.put(open, part).await?;
        if taken(&reply)?.is_none() {
            self.make_folders_again(&open.base, &open.waiting).await?;
            let reply = self.put(open, part).await?;
            taken(&reply)?.ok_or_else(|| no_folder(&reply, place::folder_of(&open.waiting)))?;
        }
        let other = |said: String| HostError::new(Class::OffsetMismatch, said);
        let seen = self.look(&open.base, &open.waiting).await?;
        let seen = seen.ok_or_else(|| other("the host has nothing of what it was sent".into()))?;
        if let Some(bytes) = seen.bytes.filter(|bytes| *bytes != part.bytes) {
            return Err(other(format!("the host has {bytes} bytes of the {} that it was sent", part.bytes)));
        }
        self.largest.took(part.bytes);
        Ok(ack(part.bytes, &Receipt::from(&seen)))
    }

    fn outcome(&self, open: &Open, path: &str, bytes: Option<u64>) -> Outcome {
        let link = self.settings.link_base.as_ref().map(|base| place::below(&place::base(base), path));
        let remote_id = Some(place::below(&open.base, path));
        let proof = if bytes.is_some() { Proof::Size } else { Proof::Word };
        Outcome { link, remote_id, proof, bytes, name: stored::name(Some(names::last_name(path).to_owned())), ..Outcome::default() }
    }
}

/// The server says that a folder is missing.
fn no_folder(reply: &Reply, folder: &str) -> HostError {
    let advice = if folder.is_empty() { "; check `base_url`" } else { "" };
    let said = format!("the host answered {}: the folder `{}` is missing{advice}", reply.status, excerpt(folder));
    reply.failure(Class::Unreadable, said).worsening_to(Class::HostRefused)
}

impl Protocol for WebDav {
    const WORD: &'static str = "webdav";
    const NAME: &'static str = "WebDAV";

    type Settings = WebDavConfig;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<WebDavConfig> {
        settings::read(table, environment)
    }

    fn make(settings: &WebDavConfig, supplies: &mut Supplies<'_>) -> Result<WebDav, HostError> {
        let authorization = match &settings.login {
            Login::Open => None,
            Login::Password { user, password } => {
                let password = supplies.secret(password)?;
                Some(Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))))
            }
            Login::Token(token) => Some(Secret::new(format!("Bearer {}", supplies.secret(token)?.reveal()))),
        };
        Ok(WebDav::new(settings.clone(), authorization, supplies.transport()?))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Open::load(session)?.store()
    }
}

impl Host for WebDav {
    /// Chunks, or one part that is not the commit: what was sent whole is not sent again, whatever becomes of its name.
    fn shape(&self, file_bytes: u64) -> Shape {
        if self.uploads(file_bytes).is_some() {
            return chunks::shape(self.settings.part_bytes, self.settings.parallel_parts, file_bytes);
        }
        Shape { parts_max: 1, repeat: Repeat::Harmless, ..Shape::parts(u64::MAX) }
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let digits: String = self.transport.chance().bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
            let path = place::clean(&format!("{}/{}", file.folder, file.name));
            let mut open = Open {
                base: self.base.clone(),
                waiting: match self.uploads(file.bytes) {
                    Some(uploads) => place::below(&place::base(uploads), &format!("ferryd-{digits}")),
                    None => waiting_name(&path, &digits[..8]),
                },
                in_chunks: self.uploads(file.bytes).is_some(),
                path,
                number: 1,
                on_existing: self.settings.on_existing,
                before: None,
                mtime: file.mtime_ns.div_euclid(1_000_000_000),
            };
            if let Some(there) = self.find_a_name(&mut open).await? {
                return Ok(Opened::AlreadyThere(there));
            }
            self.make_folders(&open.base, &open.path).await?;
            open.store().map(Opened::Session)
        })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            if open.in_chunks { self.send_chunk(at, &open, part).await } else { self.send_bytes(&open, part).await }
        })
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(async move {
            let (open, receipt) = (Open::load(&at.session)?, Receipt::load(completion));
            if open.in_chunks {
                return self.probe_chunks(at, &open, completion).await;
            }
            if receipt.is_none() && !completion.repeated {
                // The name of the bytes alone can tell.
                let seen = self.look(&open.base, &open.waiting).await?;
                return Ok(Found::Parts(seen.iter().filter_map(|seen| held(at, seen, None)).collect()));
            }
            Ok(match self.settle(&open, at.plan.file_bytes, receipt.as_ref(), completion.repeated).await? {
                Settled::Waits(seen) => Found::Parts(held(at, &seen, receipt.as_ref()).into_iter().collect()),
                Settled::Named(path, bytes) => Found::Complete(self.outcome(&open, &path, bytes)),
                Settled::Nowhere if completion.repeated => Found::Gone,
                Settled::Nowhere => Found::Parts(Vec::new()),
            })
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            self.give_name(at, &open, &Receipt::load(completion).unwrap_or_default()).await
        })
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            self.remove_waiting(&open).await
        })
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let login = if self.authorization.is_some() { "credentials accepted" } else { "no login needed" };
            let missing = || {
                let said = "there is nothing at `base_url`; it must be the address of a folder that is there";
                HostError::new(Class::HostRefused, said)
            };
            let seen = self.look(&self.base, "").await?.ok_or_else(missing)?;
            Ok(match seen.free {
                Some(free) => format!("{login}, folder found, {} MiB free", free / (1024 * 1024)),
                None => format!("{login}, folder found"),
            })
        })
    }
}

/// The bytes as a part, where all of them are there. Where the server tells no size, only what it has answered counts.
fn held(at: &UploadSession, seen: &Seen, receipt: Option<&Receipt>) -> Option<Ack> {
    let is_whole = seen.bytes.map_or(receipt.is_some(), |bytes| bytes == at.plan.file_bytes);
    is_whole.then(|| ack(at.plan.file_bytes, &Receipt::from(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_queue_has_stored_of_a_session_is_read_for_ever() {
        let before = Receipt { bytes: Some(7), etag: Some("\"9a\"".into()), modified: None };
        let open = Open {
            base: "https://h.example/dav".into(),
            path: "in/a.txt".into(),
            number: 2,
            waiting: "in/.a.txt.3f1c0a9b.ferryd-part".into(),
            in_chunks: false,
            on_existing: OnExisting::Rename,
            before: Some(before),
            mtime: 1_500_000_000,
        };
        let stored = r#"{"v":1,"base":"https://h.example/dav","path":"in/a.txt","number":2,"waiting":"in/.a.txt.3f1c0a9b.ferryd-part","in_chunks":false,"on_existing":"rename","before":{"b":7,"e":"\"9a\""},"mtime":1500000000}"#;
        assert_eq!(open.store().unwrap().0, stored);
        assert_eq!(Open::load(&Session(stored.into())).unwrap(), open);
    }

    #[test]
    fn bytes_that_are_not_whole_have_a_hidden_name_beside_the_file() {
        assert_eq!(waiting_name("a/b.txt", "0123abcd"), "a/.b.txt.0123abcd.ferryd-part");
        let long = waiting_name(&"ü".repeat(127), "0123abcd");
        assert!(long.len() < 255 && long.starts_with(".ü") && long.ends_with(".0123abcd.ferryd-part"), "{long}");
    }
}
