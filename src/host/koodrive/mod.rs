//! Huawei KooDrive: signed control calls, parts as raw PUTs to passing addresses, and a SHA-256 that the store carries on from part
//! to part.
//!
//! Source of every fact: `docs/protocols/koodrive.md`, here "page"; the service's own description is the page
//! "Obtains the upload link". A part's address is signed for its exact length and host, and lives for an hour; it is a secret, so
//! it is kept as a ticket and never stored. The state of the digest before a part travels with the request for its address, which
//! makes the order of the parts free (page, 4).

mod calls;
mod folders;
mod proof;
mod renewed;
mod replies;
mod session;
mod settings;
mod share;
mod sign;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json as object};

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Proof;
use crate::job::digest::{Algorithm, DigestRequirement, MidState};
use crate::job::upload::{Ack, Class, Opened, Outcome, Repeat, Session, Shape};
use crate::os::clock::Clock;
use crate::secret::Secret;

use super::error::{HostError, excerpt};
use super::http::{Request, Transport};
use super::kept::Tokens;
use super::kind::Protocol;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Ticket, Tickets, UploadSession, address, json, stored};

use session::TokenSession;

pub use renewed::{Renewed, renewed_reply};
pub use replies::{Call, PartReply, Refused, control_reply, part_reply};
pub use settings::{EmptyPart, KooDriveConfig, KooDriveLogin, ProofCode, StayAlive};

/// The largest file (page, 9: 200 GB, read as decimal).
const FILE_BYTES_MAX: u64 = 200_000_000_000;
/// The most parts (page, 3.2), and how many a file is cut into before its parts grow (page, 6.10).
const PARTS_MAX: u32 = 10_000;
const PARTS_WANTED: u64 = 5_000;
/// Addresses asked for at once (page, 3.2: 5 to 10).
const LINKS_AT_ONCE: u32 = 5;
/// What must be left of an address's life when a part begins (page, 3.3), besides the time the part takes at the least speed.
const LINK_REST: Duration = Duration::from_secs(300);
const LEAST_BYTES_PER_SECOND: u64 = 1024 * 1024;
/// How long an address lives where it does not say so itself (page, 9).
const LINK_LIFE: Duration = Duration::from_secs(3600);
/// How long the host may take to put the parts together (`docs/protocols/README.md`, section 3).
const COMPLETE_PATIENCE: Duration = Duration::from_secs(120);
/// What a create may do without, one after the other: the proof, and the digest (page, 3.1.1).
const LEFT_OUT_MAX: u8 = 2;
/// The longest name, in characters (page, 3.1).
const NAME_CHARS_MAX: usize = 250;

/// A session as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Created {
    /// Where it was opened. Requests go where today's configuration says; a session that is not known there is given up.
    base_url: String,
    file_id: String,
    container_id: String,
    upload_id: String,
    name: String,
    bytes: u64,
    /// Whether a create that was sent before may make a file of its own: the host then knows the bytes, and no file has this name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    maybe_duplicate: bool,
}

impl Created {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Created, HostError> {
        stored::load(session, KooDrive::NAME)
    }

    fn outcome(&self, proof: Proof) -> Outcome {
        let outcome = replies::outcome(&self.container_id, &self.file_id, Some(self.name.clone()), proof);
        Outcome { maybe_duplicate: self.maybe_duplicate, ..outcome }
    }
}

/// The size of a part: `least`, doubled until the file has no more than 5,000 parts; always a multiple of a block of SHA-256.
fn part_bytes(file_bytes: u64, least: u64) -> u64 {
    let mut bytes = least.next_multiple_of(64);
    while file_bytes.div_ceil(bytes) > PARTS_WANTED {
        bytes *= 2;
    }
    bytes
}

/// A name without what the host does not take (page, 3.1).
fn remote_name(name: &str) -> String {
    let refused = |c: char| c.is_control() || "<>|:\"*?/\\".contains(c);
    let name: String = name.chars().map(|c| if refused(c) { '_' } else { c }).collect();
    let name = if matches!(name.trim(), "" | "." | "..") { "_".repeat(name.len().max(1)) } else { name };
    if name.chars().count() <= NAME_CHARS_MAX {
        return name;
    }
    let (stem, end) = name.rsplit_once('.').filter(|(_, end)| end.chars().count() < 20).unwrap_or((&name, ""));
    let room = NAME_CHARS_MAX - if end.is_empty() { 0 } else { end.chars().count() + 1 };
    let stem: String = stem.chars().take(room).collect();
    if end.is_empty() { stem } else { format!("{stem}.{end}") }
}

/// The kind of a file as the host sorts them (page, 3.1); "45" is any other.
fn file_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    match end.as_str() {
        "jpg" | "jpeg" | "png" | "gif" | "bmp" | "webp" | "heic" | "tif" | "tiff" => "15",
        "mp4" | "mov" | "mkv" | "avi" | "webm" | "m4v" | "wmv" => "20",
        "doc" | "docx" | "odt" => "26",
        "xls" | "xlsx" | "ods" => "27",
        "ppt" | "pptx" | "odp" => "28",
        "mp3" | "flac" | "wav" | "aac" | "ogg" | "m4a" => "30",
        "zip" | "rar" | "7z" | "tar" | "gz" | "bz2" | "xz" | "zst" => "35",
        "apk" | "ipa" | "exe" | "dmg" | "msi" => "40",
        _ => "45",
    }
}

/// The address of a part, with the time it ends: `X-Amz-Date` and `X-Amz-Expires` say it (page, 3.3).
fn ticket(address: &str, now_ms: i64) -> Ticket {
    let query: Vec<(String, String)> =
        url::Url::parse(address).map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default();
    let value = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let life = value("X-Amz-Expires").and_then(|text| text.parse::<i64>().ok()).unwrap_or(LINK_LIFE.as_secs().cast_signed());
    // Our own clock, not the host's date: what counts is how long it lives from now on.
    Ticket { address: Secret::new(address), until_ms: now_ms.saturating_add(life.clamp(0, 7 * 86_400).saturating_mul(1000)) }
}

fn upload_id(address: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    url.query_pairs().find(|(name, _)| name == "uploadId").map(|(_, value)| value.into_owned())
}

/// A KooDrive space.
pub struct KooDrive {
    settings: KooDriveConfig,
    /// The app's secret, or the token that is configured.
    key: Secret,
    /// What the token belongs to, where it can be replaced.
    session: Option<TokenSession>,
    transport: Transport,
    strangers: Transport,
    learned: calls::Learned,
}

/// The session of the token `key`, where something is configured that replaces it. What was kept of it belongs to this space and to
/// these secrets alone.
fn session_of(
    settings: &KooDriveConfig,
    key: &Secret,
    supplies: &mut Supplies<'_>,
    clock: &Clock,
) -> Result<Option<TokenSession>, HostError> {
    let KooDriveLogin::Token { session_id, refresh_token, user_id, .. } = &settings.login else { return Ok(None) };
    let session_id = session_id.as_ref().map(|source| supplies.secret(source)).transpose()?;
    let refresh = refresh_token.as_ref().map(|source| supplies.secret(source)).transpose()?;
    if session_id.is_none() && refresh.is_none() {
        return Ok(None);
    }
    let text = |secret: &Option<Secret>| secret.as_ref().map_or("", |secret| secret.reveal()).to_owned();
    let kept = supplies.tokens(&[&settings.base_url, user_id, key.reveal(), &text(&session_id), &text(&refresh)]);
    let configured = Tokens { access: key.clone(), refresh, ends_ms: None };
    TokenSession::new(configured, session_id, kept, supplies.secrets(), clock.clone()).map(Some)
}

impl KooDrive {
    async fn detail(&self, created: &Created) -> Result<Map<String, Value>, Box<Refused>> {
        let path = format!("files/{}/detail", created.file_id);
        self.call(Call::Detail, &self.settings.base_url, &path, &object!({ "containerId": created.container_id })).await
    }

    /// Whether the host has the whole file. Only what says that the file is not there is a no; a token that has lapsed, a host that
    /// is busy, or a reply that nobody understands leaves the matter open.
    async fn has_whole(&self, created: &Created) -> Result<bool, HostError> {
        match self.detail(created).await {
            Ok(detail) => Ok(replies::is_whole(&detail, created.bytes)),
            Err(refused) if refused.error.class == Class::SessionLost => Ok(false),
            Err(refused) => Err(HostError { doubt: true, ..refused.error }),
        }
    }

    /// The outcome where there is no task to complete any more: an earlier complete may have made the file (page, 5.1). The size in
    /// its detail is the one that we have announced ourselves, so it proves nothing. After an earlier complete whose answer is not
    /// known the parts may be about to become the file, so it is asked for a few times before it counts as lost.
    async fn completed_before(&self, created: &Created, refused: Refused, repeated: bool) -> Result<Outcome, HostError> {
        if self.has_whole(created).await? {
            return self.shared(created.outcome(Proof::Word)).await;
        }
        match self.learned.asked_in_vain(&created.file_id) {
            Some(wait) if repeated => {
                let said = format!("{}; the host does not have the whole file yet", refused.error.said);
                let error = HostError { class: Class::OffsetMismatch, worsens: None, said, ..refused.error };
                Err(HostError { wait: Some(wait), doubt: true, ..error })
            }
            _ => Err(refused.error),
        }
    }

    /// Creates the file where it goes. A folder that is not there any more is made once more (page, 5).
    async fn create(&self, file: &FileFacts, name: &str) -> Result<Map<String, Value>, Box<Refused>> {
        let mut reply = self.create_with_less(file, name).await;
        if !file.folder.is_empty() && matches!(&reply, Err(refused) if refused.code == Some(replies::MISSING)) {
            self.learned.forget_folders();
            reply = self.create_with_less(file, name).await;
        }
        let reply = reply?;
        if let Some(container) = json::text(reply.get("containerId")) {
            self.learned.container.get_or_init(|| container);
        }
        Ok(reply)
    }

    /// Creates the file with its digest and a proof of that; a space that calls the request malformed may not know these fields, so
    /// it is asked again without (page, 3.1.1). What was taken is kept.
    async fn create_with_less(&self, file: &FileFacts, name: &str) -> Result<Map<String, Value>, Box<Refused>> {
        let folder = self.folder(file).await.map_err(|error| Box::new(Refused::unheard(error)))?;
        let known = self.learned.left_out.load(Ordering::Relaxed);
        let mut left_out = known;
        loop {
            let reply = self.create_once(file, name, &folder, left_out).await;
            let has_more = file.digest.is_some() && left_out < LEFT_OUT_MAX && self.settings.proof_code == ProofCode::Auto;
            match &reply {
                Err(refused) if has_more && replies::is_malformed(refused) => {
                    left_out = if !file.samples.is_empty() { left_out + 1 } else { LEFT_OUT_MAX };
                }
                Ok(_) if left_out > known => {
                    self.learned.left_out.store(left_out, Ordering::Relaxed);
                    return reply;
                }
                _ => return reply,
            }
        }
    }

    async fn create_once(
        &self,
        file: &FileFacts,
        name: &str,
        folder: &str,
        left_out: u8,
    ) -> Result<Map<String, Value>, Box<Refused>> {
        let mut body = object!({
            "fileName": name, "fileType": file_type(name), "parentFolder": [folder], "length": file.bytes,
            "uploadMode": "multipart", "uploadType": 1, "autoRename": 4,
            // The first part needs no state, so its address can come at once: all that a small file needs.
            "multiParts": [{ "partNumber": 1, "partSize": file.part_bytes.min(file.bytes), "partOffset": 0 }],
        });
        if let Some(digest) = file.digest.as_ref().filter(|_| left_out < LEFT_OUT_MAX) {
            body["sha256"] = digest.as_str().into();
        }
        let is_proved = !file.samples.is_empty() && left_out == 0 && body.get("sha256").is_some();
        let body_for = |origin: &str| {
            let mut body = body.clone();
            if is_proved {
                let place = proof::place(origin, file.bytes)?;
                let sample = file.samples.iter().find(|sample| sample.range == place)?;
                body["proofCode"] = proof::code(&sample.bytes).into();
            }
            Some(body)
        };
        self.call_by(Call::Create, &self.settings.base_url, "files/create", &body_for).await
    }

    /// An address for `part` that lives long enough. With it come those of the next parts whose states are known.
    async fn link(&self, created: &Created, at: &UploadSession, part: &Part) -> Result<Ticket, HostError> {
        let rest = LINK_REST + Duration::from_secs(part.bytes / LEAST_BYTES_PER_SECOND);
        let needed_until = self.transport.clock().in_ms(rest);
        let mut tickets = at.tickets.lock().await;
        if let Some(ticket) = tickets.get(&part.number).filter(|ticket| ticket.until_ms > needed_until) {
            return Ok(ticket.clone());
        }
        let reply = self.links(created, at, part.number, &tickets).await?;
        self.take_links(created, &reply, &mut tickets)?;
        let said = || HostError::new(Class::Unreadable, "the host gave no upload address for the part");
        let found = tickets.get(&part.number).cloned();
        // Addresses of parts that are through are of no use any more.
        tickets.retain(|number, _| *number >= part.number.saturating_sub(LINKS_AT_ONCE));
        found.ok_or_else(said)
    }

    /// Asks for the address of a part, and with it for those of the next ones. How many the host gives at once is not documented:
    /// where it refuses several, it is asked for one.
    async fn links(
        &self,
        created: &Created,
        at: &UploadSession,
        number: u32,
        known: &BTreeMap<u32, Ticket>,
    ) -> Result<Map<String, Value>, HostError> {
        let at_once = if self.learned.one_link.load(Ordering::Relaxed) { 1 } else { LINKS_AT_ONCE };
        let last = number.saturating_add(at_once).min(at.plan.parts());
        let next = (number + 1..last).filter(|number| !known.contains_key(number) && at.mid_states.before(*number).is_some());
        let several: Vec<u32> = std::iter::once(number).chain(next).collect();
        match self.links_of(created, at, &several).await {
            Err(refused) if several.len() > 1 && refused.error.class == Class::RequestRefused => {
                let one = self.links_of(created, at, &[number]).await.map_err(|refused| refused.error)?;
                self.learned.one_link.store(true, Ordering::Relaxed);
                Ok(one)
            }
            reply => reply.map_err(|refused| refused.error),
        }
    }

    async fn links_of(&self, created: &Created, at: &UploadSession, numbers: &[u32]) -> Result<Map<String, Value>, Box<Refused>> {
        let wanted: Vec<Value> = numbers.iter().map(|number| part_info(at, *number)).collect();
        let body = object!({ "fileId": created.file_id, "multiParts": wanted });
        self.call(Call::Links, &self.settings.base_url, "files/multipart/uploadUrl", &body).await
    }

    /// Notes the addresses in a reply.
    fn take_links(
        &self,
        created: &Created,
        reply: &Map<String, Value>,
        tickets: &mut BTreeMap<u32, Ticket>,
    ) -> Result<(), HostError> {
        let now_ms = self.transport.clock().now_ms();
        for info in reply.get("multiParts").and_then(Value::as_array).into_iter().flatten() {
            let number = json::number(info.get("partNumber")).and_then(|number| u32::try_from(number.checked_sub(1)?).ok());
            if let (Some(number), Some(address)) = (number, json::text(info.get("uploadUrl"))) {
                self.check_link(created, &address)?;
                tickets.insert(number, ticket(&address, now_ms));
            }
        }
        Ok(())
    }

    fn check_link(&self, created: &Created, link: &str) -> Result<(), HostError> {
        address::check(link, self.settings.allow_private)?;
        if link.starts_with("http://") && !self.settings.allow_private {
            let said = "the host gave an upload address with unencrypted http; set `allow_private = true` to allow that";
            return Err(HostError::new(Class::HostRefused, said));
        }
        match upload_id(link) {
            Some(id) if !created.upload_id.is_empty() && id != created.upload_id => {
                Err(HostError::new(Class::SessionLost, "the host started a different upload for this file"))
            }
            _ => Ok(()),
        }
    }

    async fn put(&self, ticket: &Ticket, part: &Part) -> Result<PartReply, HostError> {
        let request = Request::put(ticket.address.reveal()).raw(part).exactly().patience(COMPLETE_PATIENCE);
        part_reply(&self.strangers.send(request).await?)
    }
}

/// `partOffset` and `hashCtx` make the order free; the first part has no state before it (page, 3.2).
fn part_info(at: &UploadSession, number: u32) -> Value {
    let range = at.plan.range(number);
    let mut info = object!({ "partNumber": number + 1, "partSize": range.bytes, "partOffset": range.offset });
    if let (Some(MidState(words)), Some(fields)) = (at.mid_states.before(number), info.as_object_mut()) {
        fields.insert("hashCtx".into(), object!(words));
    }
    info
}

impl Protocol for KooDrive {
    const WORD: &'static str = "koodrive";
    const NAME: &'static str = "KooDrive";

    type Settings = KooDriveConfig;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<KooDriveConfig> {
        settings::read(table, environment)
    }

    fn make(settings: &KooDriveConfig, supplies: &mut Supplies<'_>) -> Result<KooDrive, HostError> {
        let key = supplies.secret(settings.login.secret())?;
        let (transport, strangers) = (supplies.transport()?, supplies.strangers(settings.allow_private)?);
        let session = session_of(settings, &key, supplies, transport.clock())?;
        Ok(KooDrive { settings: settings.clone(), key, session, transport, strangers, learned: calls::Learned::default() })
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Created::load(session)?.store()
    }
}

impl Host for KooDrive {
    fn shape(&self, file_bytes: u64) -> Shape {
        Shape {
            parts_max: PARTS_MAX,
            file_bytes_max: Some(FILE_BYTES_MAX),
            repeat: Repeat::Harmless,
            takes_empty_files: self.settings.empty_file == EmptyPart::OneEmptyPart,
            digest: Some(DigestRequirement {
                algorithm: Algorithm::Sha256,
                before_open: self.settings.flash_upload,
                mid_states: true,
            }),
            ..Shape::parts(part_bytes(file_bytes.min(FILE_BYTES_MAX), self.settings.part_bytes))
        }
        .with_parallel(self.settings.parallel_parts)
    }

    /// One for each way in which we may have to say who we are.
    fn samples(&self, file_bytes: u64) -> Vec<Range<u64>> {
        let is_wanted = self.settings.flash_upload && self.settings.proof_code != ProofCode::Never;
        let is_taken = self.learned.left_out.load(Ordering::Relaxed) == 0;
        let origins = if is_wanted && is_taken { self.origins() } else { Vec::new() };
        origins.iter().filter_map(|origin| proof::place(origin, file_bytes)).collect()
    }

    /// Sent again after a lost reply, the same digest and `autoRename` 4 find what the first one made (page, 5.1).
    fn open<'a>(&'a self, file: &'a FileFacts, tickets: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let name = remote_name(&file.name);
            let reply = match self.create(file, &name).await {
                Err(refused) if refused.other_samples => return Ok(Opened::OtherSamples),
                reply => reply.map_err(|refused| refused.error)?,
            };
            let text = |key: &str| json::text(reply.get(key)).unwrap_or_default();
            let (file_id, container_id) = (text("fileId"), text("containerId"));
            if file_id.is_empty() || file_id.contains(['/', '?', '#']) {
                let said = format!("the host created a file but gave no usable id: `{}`", excerpt(&file_id));
                return Err(HostError::new(Class::Unreadable, said));
            }
            let told_name = json::text(reply.get("fileName"));
            let is = |key: &str| json::flag(reply.get(key)) == Some(true);
            if file.digest.is_some() && (is("rapidUpload") || is("exist")) {
                // It found the bytes by their digest.
                let outcome = self.shared(replies::outcome(&container_id, &file_id, told_name, Proof::Digest)).await?;
                return Ok(Opened::AlreadyThere(outcome));
            }
            // Of a file with the name and the digest that it was asked for, a late create makes no other (page, 3.1).
            let maybe_duplicate = file.asked_before && told_name.as_ref().is_some_and(|told| *told != name);
            let name = told_name.unwrap_or(name);
            let (base_url, upload_id) = (self.settings.base_url.clone(), text("uploadId"));
            let created = Created { base_url, file_id, container_id, upload_id, name, bytes: file.bytes, maybe_duplicate };
            self.take_links(&created, &reply, &mut *tickets.lock().await)?;
            created.store().map(Opened::Session)
        })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let created = Created::load(&at.session)?;
            let ticket = self.link(&created, at, part).await?;
            if let PartReply::LinkEnded(_) = self.put(&ticket, part).await? {
                // Only this part's address: the others may be good.
                at.tickets.lock().await.remove(&part.number);
                let fresh = self.link(&created, at, part).await?;
                if let PartReply::LinkEnded(error) = self.put(&fresh, part).await? {
                    at.tickets.lock().await.remove(&part.number);
                    return Err(error);
                }
            }
            Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: None, moved_to: None })
        })
    }

    // No `probe`: which parts are held cannot be asked (page, 3.5), and a detail of the announced length proves nothing as long as
    // nobody knows what it says of a file that is still uploading. Completing again is harmless, and only then the detail counts.

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let created = Created::load(&at.session)?;
            let mut body = object!({ "fileId": created.file_id });
            if let (Some(digest), Some(fields)) = (completion.digest, body.as_object_mut()) {
                fields.insert("sha256".into(), digest.into());
            }
            // The digest is compared before the parts become a file (page, 3.4).
            let proof = if completion.digest.is_some() { Proof::Digest } else { Proof::Word };
            match self.call(Call::Complete, &self.settings.base_url, "files/complete", &body).await {
                Ok(_) => self.shared(created.outcome(proof)).await,
                Err(refused) if refused.code == Some(replies::NO_TASK) && !planted!("finish.repeated_is_lost") => {
                    self.completed_before(&created, *refused, completion.repeated).await
                }
                Err(refused) => Err(refused.error),
            }
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(&self.settings.base_url, files, most))
    }

    /// Asks for the address of a part of a file that does not exist: credentials that are taken get "no such upload task".
    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let part = object!({ "partNumber": 1, "partSize": self.settings.part_bytes, "partOffset": 0 });
            let body = object!({ "fileId": "ferryd-check", "multiParts": [part] });
            match self.call(Call::Links, &self.settings.base_url, "files/multipart/uploadUrl", &body).await {
                Ok(_) => Ok("credentials accepted".to_owned()),
                // A code of the table that is not about credentials.
                Err(refused)
                    if refused.code.is_some() && matches!(refused.error.class, Class::SessionLost | Class::RequestRefused) =>
                {
                    Ok("credentials accepted".to_owned())
                }
                Err(refused) => Err(refused.error),
            }
        })
    }

    /// The list of a folder where it is known whose, or else what [`Host::check`] asks: each call lets the token live on (page, 2.1).
    fn keep_alive(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let container = self.settings.container_id.as_ref().or(self.learned.container.get());
            let Some(container) = container else { return self.check().await.map(drop) };
            self.list(container, &self.settings.folder, 1, None).await.map(drop)
        })
    }

    /// A temporary address; one that lasts comes with `share` (page, 3.5).
    fn address<'a>(&'a self, remote_id: &'a str) -> Answer<'a, Option<Secret>> {
        Box::pin(async move {
            let Some((container_id, file_id)) = remote_id.split_once('/') else { return Ok(None) };
            let body = object!({ "containerId": container_id, "fileIds": [file_id] });
            let base_url = &self.settings.base_url;
            let reply = self.call(Call::Download, base_url, "files/download", &body).await.map_err(|refused| refused.error)?;
            Ok(replies::first_address(&Value::Object(reply)).map(Secret::new))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_largest_file_are_few_enough_and_whole_blocks() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(part_bytes(10_486_760, 5 * MIB), 5 * MIB);
        assert_eq!(part_bytes(5000 * 16 * MIB, 16 * MIB), 16 * MIB);
        assert_eq!(part_bytes(5000 * 16 * MIB + 1, 16 * MIB), 32 * MIB);
        let largest = part_bytes(FILE_BYTES_MAX, 5 * MIB);
        assert!(FILE_BYTES_MAX.div_ceil(largest) <= u64::from(PARTS_MAX) && largest.is_multiple_of(64));
        assert_eq!(part_bytes(1, 5 * MIB + 1) % 64, 0);
    }

    #[test]
    fn a_name_is_one_the_host_takes() {
        assert_eq!(remote_name("a<b>|c:\"d*e?f.zip"), "a_b__c__d_e_f.zip");
        assert_eq!([remote_name(".."), remote_name(" ")], ["__", "_"]);
        let long = remote_name(&format!("{}.zip", "ü".repeat(300)));
        assert!(long.chars().count() == 250 && long.ends_with("ü.zip"));
    }

    #[test]
    fn an_address_says_when_it_ends_and_which_upload_it_is_for() {
        let link = "https://store.example.test/obj1?partNumber=2&uploadId=0000019039E1&X-Amz-Date=20260102T030406Z&X-Amz-Expires=600&X-Amz-Signature=ab";
        assert_eq!(ticket(link, 1_000).until_ms, 601_000);
        assert_eq!(ticket("https://store.example.test/obj1", 0).until_ms, 3_600_000);
        assert_eq!(upload_id(link).as_deref(), Some("0000019039E1"));
        assert!(!format!("{:?}", ticket(link, 0)).contains("Signature"));
    }

    #[test]
    fn a_session_survives_being_stored_and_a_strange_one_is_lost() {
        let text = |text: &str| text.to_owned();
        let created = Created {
            base_url: text("https://h"),
            file_id: text("FxA1"),
            container_id: text("I1"),
            upload_id: text("00"),
            name: text("a"),
            bytes: 7,
            maybe_duplicate: true,
        };
        assert_eq!(Created::load(&created.store().unwrap()).unwrap(), created);
        let older = Created { maybe_duplicate: false, ..created };
        assert_eq!(Created::load(&older.store().unwrap()).unwrap(), older);
        assert!(!older.store().unwrap().0.contains("duplicate"), "as older programs have stored it");
        assert_eq!(Created::load(&Session("{}".into())).unwrap_err().class, Class::SessionLost);
    }
}
