//! Folders on servers that speak WebDAV: the bytes of a file go to a name of their own beside its place, and get the file's name once
//! all of them are there.
//!
//! Source of every fact: `docs/protocols/webdav.md`, here "page". Nobody but the upload itself takes the name of the bytes away, so
//! what has become of an unanswered request is told by that name and by what the server says of the file's (page, 7).

mod checking;
mod chunks;
mod claims;
mod cloud;
mod naming;
mod ocs;
mod place;
mod reading;
mod replies;
mod settings;
mod shares;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Proof;
use crate::job::digest::{Algorithm, DigestRequirement};
use crate::job::upload::{Ack, Class, Found, Opened, Outcome, Repeat, Session, Shape};
use crate::secret::Secret;

use super::error::{HostError, excerpt};
use super::http::{Reply, Request, Transport};
use super::kind::Protocol;
use super::largest::Largest;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Tickets, UploadSession, names, stored};

use claims::Claims;
use naming::{Free, Settled};
use reading::ReadWell;

pub use cloud::Cloud;
pub use ocs::{Link, Product, Sharing, link_reply, links_reply, product_reply, sharing_reply};
pub use replies::{
    Asked, Moved, Seen, delete_reply, digest_reply, folder_reply, head_reply, knows_no_propfind, list_reply, look_reply,
    move_reply, put_reply, refusal,
};
pub use settings::{Login, OnExisting, Share, WebDavConfig};

/// How long a server may take for what it does with all the bytes of a file at once (page, 4).
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the list of a folder may be, in bytes; of a longer one, nothing is read.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many folders are remembered; with more, all are forgotten.
const FOLDERS_MAX: usize = 4096;
/// How much of a file's name is in that of its bytes, in bytes: file systems take 255 in all.
const NAME_BYTES_MAX: usize = 200;
/// What is asked of a file or folder (page, 3), ...
const WANTED: &str = "<?xml version=\"1.0\"?><d:propfind xmlns:d=\"DAV:\"><d:prop><d:resourcetype/><d:getcontentlength/><d:getetag/>\
    <d:getlastmodified/><d:quota-available-bytes/></d:prop></d:propfind>";
/// ... and of one at Nextcloud or ownCloud (page, 12).
const WANTED_OF_CLOUDS: &str = "<?xml version=\"1.0\"?><d:propfind xmlns:d=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\"><d:prop>\
    <d:resourcetype/><d:getcontentlength/><d:getetag/><d:getlastmodified/><d:quota-available-bytes/><oc:checksums/></d:prop></d:propfind>";
/// The largest file that is sent before anybody has looked whether its name is free: there is little to lose.
const SENT_AT_ONCE_MAX: u64 = 256 * 1024;
/// For how long it counts that a name was free, ...
const LOOK_LIFE_MS: i64 = 10_000;
/// ... and of how many uploads that is remembered.
const LOOKS_MAX: usize = 1024;

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
    before: Option<Facts>,
    /// When the file was changed last, in seconds since the Unix epoch.
    mtime: i64,
    /// Whether the server is told digests, and asked for them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hashed: bool,
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
}

/// What the server has told of a file: what it is known by again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Facts {
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

impl From<&Seen> for Facts {
    fn from(seen: &Seen) -> Facts {
        Facts { bytes: seen.bytes, etag: seen.etag.clone(), modified: seen.modified.clone() }
    }
}

/// What is known once the bytes are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    /// Of the bytes.
    #[serde(flatten)]
    facts: Facts,
    /// The SHA-1 that the server has computed of them; it is that of the file.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The name that was free then, where somebody has looked.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    free: Option<Free>,
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

/// The SHA-1 of a part, as servers write it.
fn digest_of(part: &Part) -> Option<String> {
    let hex = |digest: &Vec<u8>| digest.iter().map(|byte| format!("{byte:02x}")).collect();
    part.digest.as_ref().filter(|digest| digest.len() == 20).map(hex)
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
    share_password: Option<Secret>,
    transport: Transport,
    /// Folders that are there.
    folders: Mutex<BTreeSet<String>>,
    /// The folders of uploads in chunks.
    chunk_folders: Mutex<BTreeMap<String, chunks::ChunkFolder>>,
    /// Uploads whose names were free just now, by the names of their bytes, with the time of the look.
    looks: Mutex<VecDeque<(String, i64)>>,
    read_well: ReadWell,
    claims: Claims,
    /// Whether the server knows no PROPFIND.
    tells_by_head: AtomicBool,
    largest: Largest,
}

impl WebDav {
    fn new(settings: WebDavConfig, authorization: Option<Secret>, share_password: Option<Secret>, transport: Transport) -> WebDav {
        let base = place::base(&settings.base_url);
        WebDav {
            settings,
            base,
            authorization,
            share_password,
            transport,
            folders: Mutex::default(),
            chunk_folders: Mutex::default(),
            looks: Mutex::default(),
            read_well: ReadWell::default(),
            claims: Claims::default(),
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
        let wanted = if self.is_hashed() { WANTED_OF_CLOUDS } else { WANTED };
        let request = Request::custom("PROPFIND", url).header("depth", depth).text("application/xml", wanted);
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

    /// Whether digests go with files, and are asked for: Nextcloud and ownCloud know them (page, 12).
    fn is_hashed(&self) -> bool {
        self.settings.checksum && self.settings.cloud.is_some()
    }

    /// Makes the folders that a path is in. Mostly they are there, so the innermost goes first, and those around it only where the
    /// server misses them.
    async fn make_folders(&self, base: &str, path: &str) -> Result<(), HostError> {
        let folders: Vec<&str> = place::folders_of(path).collect();
        let mut from = folders.len();
        while let Some(folder) = from.checked_sub(1).and_then(|at| folders.get(at)) {
            if base == self.base && self.known_folders().contains(*folder) {
                break;
            }
            let reply = self.make_folder(base, folder).await?;
            if folder_reply(&reply)?.is_some() {
                break;
            }
            from -= 1;
            if from == 0 {
                return Err(no_folder(&reply, place::folder_of(folder)));
            }
        }
        for folder in &folders[from..] {
            let reply = self.make_folder(base, folder).await?;
            folder_reply(&reply)?.ok_or_else(|| no_folder(&reply, place::folder_of(folder)))?;
        }
        if base == self.base {
            folders.iter().for_each(|folder| self.remember_folder(folder));
        }
        Ok(())
    }

    async fn make_folder(&self, base: &str, folder: &str) -> Result<Reply, HostError> {
        self.ask(Request::custom("MKCOL", &place::folder_below(base, folder))).await
    }

    fn remember_folder(&self, folder: &str) {
        let mut known = self.known_folders();
        if known.len() >= FOLDERS_MAX {
            known.clear();
        }
        known.insert(folder.to_owned());
    }

    /// Where uploads in chunks go, where this file is too large for one request.
    fn uploads(&self, file_bytes: u64) -> Option<String> {
        self.settings.cloud.as_ref().filter(|_| file_bytes > self.settings.part_bytes).map(Cloud::uploads)
    }

    /// Makes the folders once more, of which one is missing by now.
    async fn make_folders_again(&self, base: &str, path: &str) -> Result<(), HostError> {
        self.known_folders().clear();
        self.make_folders(base, path).await
    }

    async fn put(&self, open: &Open, part: &Part) -> Result<Reply, HostError> {
        let url = place::below(&open.base, &open.waiting);
        let request = Request::put(&url).header("x-oc-mtime", open.mtime.to_string()).raw(part);
        let request = match digest_of(part).filter(|_| open.hashed) {
            Some(digest) => request.header("oc-checksum", format!("SHA1:{digest}")).header("x-hash", "sha1"),
            None => request,
        };
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
        let receipt = match is_as_sent(digest_reply(&reply), part)? {
            Some(digest) => Receipt { digest: Some(digest), ..Receipt::default() },
            None => self.receipt_for(open, part).await?,
        };
        self.largest.took(part.bytes);
        Ok(ack(part.bytes, &receipt))
    }

    /// What the server has of bytes that it has taken.
    async fn receipt_for(&self, open: &Open, part: &Part) -> Result<Receipt, HostError> {
        let other = |said: String| HostError::new(Class::OffsetMismatch, said);
        let seen = self.look(&open.base, &open.waiting).await?;
        let seen = seen.ok_or_else(|| other("the host has nothing of what it was sent".into()))?;
        if let Some(bytes) = seen.bytes.filter(|bytes| *bytes != part.bytes) {
            return Err(other(format!("the host has {bytes} bytes of the {} that it was sent", part.bytes)));
        }
        let computed = seen.checksums.as_deref().and_then(replies::computed_digest);
        let digest = is_as_sent(computed.filter(|_| open.hashed), part)?;
        self.receipt(open, Receipt { facts: Facts::from(&seen), digest, free: None }).await
    }

    /// What is known of bytes that are there, with the name that is free for them. It is on record before that name is asked for, so
    /// what has it afterwards was not there before.
    async fn receipt(&self, open: &Open, receipt: Receipt) -> Result<Receipt, HostError> {
        if receipt.digest.is_some() {
            // Who computes digests refuses names that are taken (page, 7).
            return Ok(receipt);
        }
        let Ok(free) = self.find_a_name(open).await? else { return Ok(receipt) };
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|(waiting, _)| *waiting != open.waiting);
        looks.push_back((open.waiting.clone(), self.transport.clock().now_ms()));
        if looks.len() > LOOKS_MAX {
            looks.pop_front();
        }
        Ok(Receipt { free: Some(free), ..receipt })
    }

    /// Whether somebody has looked just now whether the name is free. Counts once.
    fn was_free_just_now(&self, open: &Open) -> bool {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = looks.iter().position(|(waiting, _)| *waiting == open.waiting).and_then(|at| looks.remove(at));
        let now = self.transport.clock().now_ms();
        known.is_some_and(|(_, at)| (0..LOOK_LIFE_MS).contains(&now.saturating_sub(at)))
    }

    /// The outcome of a file that the host has under this name, with its link.
    async fn outcome(&self, open: &Open, path: &str, bytes: Option<u64>, is_proven: bool) -> Result<Outcome, HostError> {
        self.shared(path, self.outcome_of(open, path, bytes, is_proven)).await
    }

    fn outcome_of(&self, open: &Open, path: &str, bytes: Option<u64>, is_proven: bool) -> Outcome {
        let link = self.settings.link_base.as_ref().map(|base| place::below(&place::base(base), path));
        let remote_id = Some(place::below(&open.base, path));
        let proof = match bytes {
            _ if is_proven => Proof::Digest,
            Some(_) => Proof::Size,
            None => Proof::Word,
        };
        Outcome { link, remote_id, proof, bytes, name: stored::name(Some(names::last_name(path).to_owned())), ..Outcome::default() }
    }
}

/// The digest that the server has computed, where it is that of the part; nothing where it has computed none.
fn is_as_sent(computed: Option<String>, part: &Part) -> Result<Option<String>, HostError> {
    let Some((computed, own)) = computed.zip(digest_of(part)) else { return Ok(None) };
    if computed == own {
        return Ok(Some(computed));
    }
    // By their size they would be taken for what was sent, so nothing is kept of them.
    Err(HostError::new(Class::SessionLost, "the host has received other bytes than it was sent"))
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
        let share_password = settings.share.as_ref().and_then(|share| share.password.as_ref());
        let share_password = share_password.map(|password| supplies.secret(password)).transpose()?;
        Ok(WebDav::new(settings.clone(), authorization, share_password, supplies.transport()?))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Open::load(session)?.store()
    }
}

impl Host for WebDav {
    /// Chunks, or one part that is not the commit: what was sent whole is not sent again, whatever becomes of its name.
    fn shape(&self, file_bytes: u64) -> Shape {
        let part_digest = self.is_hashed().then_some(Algorithm::Sha1);
        if self.uploads(file_bytes).is_none() {
            return Shape { parts_max: 1, repeat: Repeat::Harmless, part_digest, ..Shape::parts(u64::MAX) };
        }
        let digest = part_digest.map(|algorithm| DigestRequirement { algorithm, before_open: false, mid_states: false });
        let shape = chunks::shape(self.settings.part_bytes, self.settings.parallel_parts, file_bytes);
        Shape { part_digest, digest, ..shape }
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let digits: String = self.transport.chance().bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
            let path = place::clean(&format!("{}/{}", file.folder, file.name));
            let mut open = Open {
                base: self.base.clone(),
                waiting: match self.uploads(file.bytes) {
                    Some(uploads) => place::below(&uploads, &format!("ferryd-{digits}")),
                    None => waiting_name(&path, &digits[..8]),
                },
                in_chunks: self.uploads(file.bytes).is_some(),
                path,
                number: 1,
                on_existing: self.settings.on_existing,
                before: None,
                mtime: file.mtime_ns.div_euclid(1_000_000_000),
                hashed: self.is_hashed(),
            };
            let is_refused_where_taken = matches!(open.on_existing, OnExisting::Skip | OnExisting::Error);
            if is_refused_where_taken || open.in_chunks || file.bytes > SENT_AT_ONCE_MAX {
                match self.find_a_name(&open).await? {
                    Ok(Free { number, before }) => (open.number, open.before) = (number, before),
                    Err(there) => return Ok(Opened::AlreadyThere(there)),
                }
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
                return Ok(Found::Parts(self.held(at, &open, seen.as_ref(), None).await?));
            }
            Ok(match self.settle(&open, at.plan.file_bytes, receipt.as_ref(), completion.repeated).await? {
                Settled::Waits(seen) => Found::Parts(self.held(at, &open, Some(&seen), receipt).await?),
                Settled::Named(path, bytes) => {
                    let is_proven = receipt.is_some_and(|receipt| receipt.digest.is_some());
                    Found::Complete(self.outcome(&open, &path, bytes, is_proven).await?)
                }
                Settled::Nowhere if completion.repeated => Found::Gone,
                Settled::Nowhere => Found::Parts(Vec::new()),
            })
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            self.give_name(at, &open, &Receipt::load(completion).unwrap_or_default(), completion.digest).await
        })
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            self.remove_waiting(&open).await
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(&self.base, files, most))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(self.examine())
    }

    fn address<'a>(&'a self, remote_id: &'a str) -> Answer<'a, Option<Secret>> {
        Box::pin(self.link_of(remote_id))
    }
}

impl WebDav {
    /// The bytes as a part, where all of them are there. Where the server tells no size, only what it has answered counts.
    async fn held(
        &self,
        at: &UploadSession,
        open: &Open,
        seen: Option<&Seen>,
        receipt: Option<Receipt>,
    ) -> Result<Vec<Ack>, HostError> {
        let bytes = at.plan.file_bytes;
        let is_whole = |seen: &&Seen| seen.bytes.map_or(receipt.is_some(), |told| told == bytes);
        let Some(seen) = seen.filter(is_whole) else { return Ok(Vec::new()) };
        let facts = Facts::from(seen);
        let receipt = match receipt {
            Some(receipt) => Receipt { facts, ..receipt },
            None => self.receipt(open, Receipt { facts, ..Receipt::default() }).await?,
        };
        Ok(vec![ack(bytes, &receipt)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_queue_has_stored_of_a_session_is_read_for_ever() {
        let before = Facts { bytes: Some(7), etag: Some("\"9a\"".into()), modified: None };
        let open = Open {
            base: "https://h.example/dav".into(),
            path: "in/a.txt".into(),
            number: 2,
            waiting: "in/.a.txt.3f1c0a9b.ferryd-part".into(),
            in_chunks: false,
            on_existing: OnExisting::Rename,
            before: Some(before.clone()),
            mtime: 1_500_000_000,
            hashed: false,
        };
        let stored = r#"{"v":1,"base":"https://h.example/dav","path":"in/a.txt","number":2,"waiting":"in/.a.txt.3f1c0a9b.ferryd-part","in_chunks":false,"on_existing":"rename","before":{"b":7,"e":"\"9a\""},"mtime":1500000000}"#;
        assert_eq!(open.store().unwrap().0, stored);
        assert_eq!(Open::load(&Session(stored.into())).unwrap(), open);
        let receipt = |text: &str| serde_json::from_str::<Receipt>(text).unwrap();
        let facts = before.clone();
        assert_eq!(receipt(r#"{"b":7,"e":"\"9a\""}"#), Receipt { facts: before.clone(), ..Receipt::default() });
        let whole = Receipt { facts, digest: Some("ab".into()), free: Some(Free { number: 2, before: Some(before) }) };
        let stored = r#"{"b":7,"e":"\"9a\"","h":"ab","n":{"n":2,"w":{"b":7,"e":"\"9a\""}}}"#;
        assert_eq!((whole.store().as_deref(), receipt(stored)), (Some(stored), whole));
    }

    #[test]
    fn bytes_that_are_not_whole_have_a_hidden_name_beside_the_file() {
        assert_eq!(waiting_name("a/b.txt", "0123abcd"), "a/.b.txt.0123abcd.ferryd-part");
        let long = waiting_name(&"ü".repeat(127), "0123abcd");
        assert!(long.len() < 255 && long.starts_with(".ü") && long.ends_with(".0123abcd.ferryd-part"), "{long}");
    }
}
