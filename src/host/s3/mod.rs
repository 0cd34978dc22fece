//! S3 and what speaks like it: numbered parts in any order, a list of those that the service holds, and one request that makes an
//! object of them.
//!
//! Source of every fact: `docs/protocols/s3.md`, here "page". Every object is stored with a token of its upload, drawn before the
//! first request: whoever finds it there knows that this upload made it, whatever became of the answer (page, 8).

mod agreed;
mod checksum;
mod keys;
mod place;
mod replies;
mod requests;
mod settings;
mod sign;
mod taken;
mod unheard;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Proof;
use crate::job::digest::Algorithm;
use crate::job::upload::{Ack, Class, Found, Opened, Order, Outcome, Repeat, Session, Shape};
use crate::secret::Secret;

use super::error::{HostError, excerpt};
use super::http::{Reply, Transport};
use super::kind::Protocol;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Tickets, UploadSession, names, stored, xml};

use checksum::Expected;
use place::Place;
use requests::{Call, Sender};
use sign::Credentials;

pub use checksum::Checksum;
pub use replies::{
    Listed, Listing, Stored, Uploads, abort_reply, bucket_reply, complete_reply, create_reply, head_reply, list_reply, put_reply,
    uploads_reply,
};
pub use settings::{OnExisting, S3Config};

/// The most parts of a file (page, 4).
const PARTS_MAX: u32 = 10_000;
/// What the size of a part is rounded up to where a file is too large for the configured one (page, 4).
const PART_STEP: u64 = 1024 * 1024;
/// How many parts are asked for at once (page, 3).
const LISTED_AT_ONCE: &str = "1000";
/// How long the service may take to join the parts; it sends white space meanwhile (page, 3).
const COMPLETE_PATIENCE: Duration = Duration::from_secs(600);
/// How often an upload is given up until nothing is left of it: a part in flight may survive that (page, 5).
const ABORTS_MAX: u32 = 3;

/// What is before the version in the id of an object.
const VERSION: &str = "?versionId=";

// What is stored.

/// A session as stored. Requests go on to where it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    place: Place,
    key: String,
    token: String,
    /// The id of the upload in parts; nothing where the file goes in one request, or the upload is only announced.
    upload: Option<String>,
    /// Whether an upload in parts is about to be opened, or may have been, and nobody has heard its id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    announced: bool,
    checksum: Checksum,
    on_existing: OnExisting,
    content_type: String,
    mtime: String,
}

impl Open {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Open, HostError> {
        stored::load(session, S3::NAME)
    }

    /// Whether an object came from this upload (page, 8).
    fn made(&self, stored: &Stored) -> bool {
        stored.token.as_ref() == Some(&self.token)
    }

    /// Whether it may have, and nothing tells: some services keep no metadata. An object in its place would be overwritten by the same
    /// bytes; beside it, another one would stand.
    fn may_have_made(&self, stored: &Stored, bytes: u64) -> bool {
        self.on_existing != OnExisting::Overwrite && stored.token.is_none() && stored.bytes == Some(bytes)
    }

    fn likely(&self) -> Found {
        Found::Likely(format!(
            "the bucket has an object `{}` of the same size, without the metadata that would tell whose",
            excerpt(&self.key)
        ))
    }
}

/// What is kept of a part, or of an object that was sent in one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    /// What stands for it.
    #[serde(rename = "e")]
    etag: String,
    /// Its checksum.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// What the service has told of the whole object.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    /// The version of the object.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl Receipt {
    fn store(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    fn load(text: &str) -> Option<Receipt> {
        serde_json::from_str(text).ok()
    }
}

/// Whose object a key has.
enum Whose {
    /// That of the upload that asks.
    Ours(Stored),
    /// None, or one of another upload.
    NotOurs,
    /// The credentials may not look.
    Unknown,
}

/// What is known of an object that has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    proof: Proof,
    version: Option<String>,
}

impl Made {
    /// What an object of this upload proves of a file that would be `own`.
    fn of(stored: Stored, own: &Expected) -> Result<Made, HostError> {
        match stored.proof(own) {
            Some(proof) => Ok(Made { proof, version: stored.version }),
            None => Err(another(&stored, own)),
        }
    }

    /// There is only the service's word for it.
    fn on_its_word() -> Made {
        Made { proof: Proof::Word, version: None }
    }
}

/// The receipts of the parts, by their numbers.
fn receipts(completion: Completion<'_>) -> BTreeMap<u32, Receipt> {
    completion.confirmed.receipts.iter().filter_map(|(number, text)| Some((*number, Receipt::load(text)?))).collect()
}

/// What the service will tell of an object of these parts.
fn expected(open: &Open, at: &UploadSession, receipts: &BTreeMap<u32, Receipt>) -> Expected {
    let digests = receipts.iter().filter_map(|(number, receipt)| Some((*number, receipt.digest.clone()?))).collect();
    checksum::of_parts(open.checksum, &digests, at.plan)
}

/// Of the parts that are listed, those that are known to be parts of the file: of the right size, and with the ETag that was
/// answered where the list has one (page, 5).
fn held(at: &UploadSession, completion: Completion<'_>, listed: &[Listed]) -> Vec<Ack> {
    let ack = |listed: &Listed| {
        let number = listed.number.checked_sub(1).filter(|number| *number < at.plan.parts())?;
        let range = at.plan.range(number);
        let text = completion.confirmed.receipts.get(&number)?;
        let receipt = Receipt::load(text)?;
        let same = listed.etag.as_ref().is_none_or(|etag| *etag == receipt.etag);
        let ack = || Ack { number, held_to: range.offset + range.bytes, receipt: Some(text.clone()), moved_to: None };
        (same && listed.bytes == range.bytes).then(ack)
    };
    listed.iter().filter_map(ack).collect()
}

/// What makes an object of the parts (page, 3).
fn complete_body(checksum: Checksum, receipts: &BTreeMap<u32, Receipt>) -> String {
    let part = |(number, receipt): (&u32, &Receipt)| {
        let digest = checksum.element().zip(receipt.digest.as_deref());
        let digest = digest.map_or(String::new(), |(name, digest)| format!("<{name}>{}</{name}>", xml::escaped(digest)));
        let etag = xml::escaped(&format!("\"{}\"", receipt.etag));
        format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag>{digest}</Part>", number + 1)
    };
    let parts: String = receipts.iter().map(part).collect();
    format!("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>")
}

/// A time as other tools write it beside an object (page, 3).
fn mtime(ns: i64) -> String {
    let (seconds, rest) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    format!("{seconds}.{rest:09}")
}

/// The size of a part: the configured one, or as much larger as the file needs (page, 4).
fn part_bytes(configured: u64, file_bytes: u64) -> u64 {
    configured.max(file_bytes.div_ceil(u64::from(PARTS_MAX)).next_multiple_of(PART_STEP))
}

fn is_denied(error: &HostError) -> bool {
    error.status == Some(403) && error.code.as_deref() == Some("AccessDenied")
}

fn has_code(error: &HostError, code: &str) -> bool {
    error.code.as_deref() == Some(code)
}

// Glue.

/// A bucket.
pub struct S3 {
    settings: S3Config,
    place: Place,
    sender: Sender,
    refused: taken::Refused,
    agreed: agreed::Agreed,
}

impl S3 {
    fn new(settings: S3Config, credentials: Credentials, transport: Transport) -> S3 {
        let place = Place::new(&settings.endpoint, settings.style, &settings.region, &settings.bucket);
        S3 {
            settings,
            place,
            sender: Sender::new(credentials, transport),
            refused: taken::Refused::default(),
            agreed: agreed::Agreed::default(),
        }
    }

    async fn ask(&self, open: &Open, call: Call<'_>) -> Result<Reply, HostError> {
        self.sender.ask(&open.place, &call).await
    }

    fn goes_whole(&self, bytes: u64) -> bool {
        bytes <= self.settings.single_put_max
    }

    /// What the object is stored with (page, 3).
    fn object_headers(&self, open: &Open) -> Vec<(&'static str, String)> {
        let own = [("content-type", &open.content_type), (replies::TOKEN, &open.token), ("x-amz-meta-mtime", &open.mtime)];
        let own = own.map(|(name, value)| (name, value.clone()));
        own.into_iter().chain(self.settings.headers.iter().cloned()).collect()
    }

    async fn send_part(&self, open: &Open, upload: &str, part: &Part) -> Result<Ack, HostError> {
        let number = (part.number + 1).to_string();
        let digest = part.digest.as_deref().map(checksum::text);
        let call = Call::of_object("PUT", &open.key, &[("partNumber", &number), ("uploadId", upload)]).part(part);
        let call = call.headers(open.checksum.header().zip(digest.clone()));
        let stored = put_reply(&self.ask(open, call).await?, open.checksum, digest.as_deref())?;
        self.agreed.note_part(open.checksum, &stored);
        let receipt = Receipt { etag: stored.etag.unwrap_or_default(), digest, proof: None, version: None };
        Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: receipt.store(), moved_to: None })
    }

    /// The file in one request.
    async fn send_whole(&self, open: &Open, part: &Part) -> Result<Ack, HostError> {
        let digest = part.digest.as_deref().map(checksum::text);
        let call = Call::of_object("PUT", &open.key, &[]).headers(self.object_headers(open)).part(part);
        let call = call.headers(open.checksum.header().zip(digest.clone())).headers(only_if_free(open));
        let reply = self.ask(open, call.patience(COMPLETE_PATIENCE)).await?;
        let own = checksum::of_whole(open.checksum, digest.as_deref(), part.bytes);
        let receipt = match put_reply(&reply, open.checksum, digest.as_deref()) {
            Ok(stored) => {
                let Made { proof, version } = self.proved(open, &stored, &own).await?;
                Receipt { etag: stored.etag.unwrap_or_default(), digest, proof: Some(proof.word().into()), version }
            }
            Err(error) if is_taken(&error) => {
                self.refused.note(&open.key);
                let Made { proof, version } = self.who_took(open, &own, error).await?;
                Receipt { etag: String::new(), digest: None, proof: Some(proof.word().into()), version }
            }
            Err(error) => return Err(error),
        };
        let ack = |receipt| Ack { number: 0, held_to: part.bytes, receipt: Some(receipt), moved_to: None };
        receipt.store().map(ack).ok_or_else(|| HostError::new(Class::Transient, "the answer of the host cannot be kept"))
    }

    /// Every part that the service holds.
    async fn listed(&self, open: &Open, upload: &str) -> Result<Vec<Listed>, HostError> {
        let (mut parts, mut marker) = (Vec::new(), 0);
        loop {
            let behind = marker.to_string();
            let query = [("max-parts", LISTED_AT_ONCE), ("part-number-marker", &behind), ("uploadId", upload)];
            let query = if marker == 0 { [&query[..1], &query[2..]].concat() } else { query.to_vec() };
            let page = list_reply(&self.ask(open, Call::of_object("GET", &open.key, &query)).await?, marker)?;
            parts.extend(page.parts);
            match page.next {
                // Numbers grow from page to page, so this ends.
                Some(next) if next < PARTS_MAX => marker = next,
                _ => return Ok(parts),
            }
        }
    }

    /// Whether the service has lost an upload to which it denies access. Some refuse what they do not know, and one may list parts
    /// of it all the same (page, 7): where the key may begin another upload, it is not the key that is refused.
    async fn is_lost(&self, open: &Open, upload: &str) -> bool {
        match self.listed(open, upload).await {
            Ok(parts) if parts.is_empty() => return true,
            Err(error) if error.class == Class::SessionLost => return true,
            _ => {}
        }
        let mut other = Open { upload: None, ..open.clone() };
        match self.create(&mut other).await {
            Ok(()) => self.abandon_upload(&other).await.is_ok(),
            Err(_) => false,
        }
    }

    /// The object of the key, where there is one.
    async fn head(&self, open: &Open, key: &str) -> Result<Option<Stored>, HostError> {
        let call = Call::of_object("HEAD", key, &[]).header("x-amz-checksum-mode", "ENABLED");
        head_reply(&self.ask(open, call).await?, open.checksum)
    }

    /// Whether the object of its key is of this upload.
    async fn whose(&self, open: &Open) -> Result<Whose, HostError> {
        match self.head(open, &open.key).await {
            Ok(Some(stored)) if open.made(&stored) => Ok(Whose::Ours(stored)),
            Ok(_) => Ok(Whose::NotOurs),
            Err(error) if error.status == Some(403) => Ok(Whose::Unknown),
            Err(error) => Err(error),
        }
    }

    /// The object of its key, where there is one. A key that may not look cannot know.
    async fn look(&self, open: &Open) -> Result<Option<Stored>, HostError> {
        match self.head(open, &open.key).await {
            Err(error) if error.status == Some(403) => Ok(None),
            stored => stored,
        }
    }

    /// What the service has told of the object that it has just stored; where that is too little, it is asked.
    async fn proved(&self, open: &Open, told: &Stored, own: &Expected) -> Result<Made, HostError> {
        let made = |proof| Ok(Made { proof, version: told.version.clone() });
        if told.proof(own) == Some(Proof::Digest) {
            return made(Proof::Digest);
        }
        let asked = match self.head(open, &open.key).await {
            Ok(Some(stored)) => stored,
            // Somebody may have removed it since, or put another in its place.
            Ok(None) => return made(Proof::Word),
            Err(error) if error.status == Some(403) => return made(told.proof(own).unwrap_or(Proof::Word)),
            Err(error) => return Err(HostError { doubt: true, ..error }),
        };
        match asked.proof(own) {
            Some(proof) if open.made(&asked) || asked.token.is_none() => made(proof),
            // Another has taken its place since.
            _ if asked.token.is_some() && !open.made(&asked) => made(Proof::Word),
            None if open.made(&asked) => Err(another(&asked, own)),
            // Without the token it may be anybody's answer, such as that of a network that wants a login first.
            _ => Err(HostError { class: Class::Transient, doubt: true, ..another(&asked, own) }),
        }
    }

    /// Makes an object of the parts, or finds that it has been made.
    async fn complete(
        &self,
        at: &UploadSession,
        open: &Open,
        upload: &str,
        completion: Completion<'_>,
    ) -> Result<Outcome, HostError> {
        let receipts = receipts(completion);
        let own = expected(open, at, &receipts);
        if open.on_existing != OnExisting::Overwrite
            && let Some(made) = self.look_before(open, upload, &own).await?
        {
            return Ok(self.outcome(open, at, made));
        }
        let call = Call::of_object("POST", &open.key, &[("uploadId", upload)]).xml(complete_body(open.checksum, &receipts));
        let whole = own.checksum.clone().zip(open.checksum.announced()).zip(open.checksum.header());
        let call = match whole.filter(|((_, (_, kind)), _)| *kind == "FULL_OBJECT") {
            Some(((checksum, (_, kind)), header)) => call
                .header(header, checksum)
                .header("x-amz-checksum-type", kind)
                .header("x-amz-mp-object-size", at.plan.file_bytes.to_string()),
            None => call,
        };
        let reply = self.ask(open, call.headers(only_if_free(open)).patience(COMPLETE_PATIENCE)).await?;
        let made = match complete_reply(&reply, open.checksum) {
            Ok(stored) => self.proved(open, &stored, &own).await?,
            Err(error) if is_taken(&error) => {
                let made = self.who_took(open, &own, error).await?;
                self.give_up(open, upload).await?;
                made
            }
            Err(error) => self.after_refusal(open, upload, &own, error).await?,
        };
        Ok(self.outcome(open, at, made))
    }

    /// What a refused completion means: the answer to one that has succeeded may be that there is no such upload (page, 8).
    async fn after_refusal(&self, open: &Open, upload: &str, own: &Expected, error: HostError) -> Result<Made, HostError> {
        let is_gone = error.class == Class::SessionLost || is_denied(&error);
        if is_gone {
            match self.whose(open).await.map_err(|error| HostError { doubt: true, ..error })? {
                Whose::Ours(stored) => return Made::of(stored, own),
                Whose::Unknown if error.class == Class::SessionLost => return Err(HostError { doubt: true, ..error }),
                Whose::Unknown | Whose::NotOurs => {}
            }
        }
        if is_denied(&error) && self.is_lost(open, upload).await {
            return Err(HostError { class: Class::SessionLost, ..error });
        }
        // The checksum of the whole is not that of the parts that are there.
        let class = if has_code(&error, "BadDigest") { Class::OffsetMismatch } else { error.class };
        Err(HostError { class, ..error })
    }

    /// Gives an upload up until nothing of it is left.
    async fn give_up(&self, open: &Open, upload: &str) -> Result<(), HostError> {
        for _ in 0..ABORTS_MAX {
            abort_reply(&self.ask(open, Call::of_object("DELETE", &open.key, &[("uploadId", upload)])).await?)?;
            if self.listed(open, upload).await.map_or(true, |left| left.is_empty()) {
                break;
            }
        }
        Ok(())
    }

    async fn abandon_upload(&self, open: &Open) -> Result<(), HostError> {
        match &open.upload {
            Some(upload) => self.give_up(open, upload).await,
            None => Ok(()),
        }
    }

    fn outcome(&self, open: &Open, at: &UploadSession, made: Made) -> Outcome {
        let bytes = Some(at.plan.file_bytes).filter(|_| made.proof > Proof::Word);
        Outcome { bytes, ..self.named(open, made) }
    }

    fn named(&self, open: &Open, Made { proof, version }: Made) -> Outcome {
        let link = self.settings.link_base.as_ref().map(|base| format!("{base}{}", sign::encoded(&open.key)));
        let version = version.map_or(String::new(), |version| format!("{VERSION}{version}"));
        let remote_id = Some(format!("s3://{}/{}{version}", open.place.bucket, open.key));
        Outcome { link, remote_id, proof, name: stored::name(Some(names::last_name(&open.key).to_owned())), ..Outcome::default() }
    }
}

/// Asks the service to refuse what would take the place of another object (page, 8).
fn only_if_free(open: &Open) -> Option<(&'static str, String)> {
    (open.on_existing != OnExisting::Overwrite).then(|| ("if-none-match", "*".to_owned()))
}

fn is_taken(error: &HostError) -> bool {
    error.status == Some(412)
}

/// The service has stored something else than what was sent.
fn another(stored: &Stored, own: &Expected) -> HostError {
    let said = match stored.bytes.filter(|bytes| *bytes != own.bytes) {
        Some(bytes) => format!("the host has stored {bytes} bytes, but the file has {}", own.bytes),
        None => "the checksum that the host tells is not that of the file".to_owned(),
    };
    HostError::new(Class::BadCopy, said)
}

impl Protocol for S3 {
    const WORD: &'static str = "s3";
    const NAME: &'static str = "S3";

    type Settings = S3Config;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<S3Config> {
        settings::read(table, environment)
    }

    fn make(settings: &S3Config, supplies: &mut Supplies<'_>) -> Result<S3, HostError> {
        let credentials = Credentials {
            access_key_id: supplies.secret(&settings.access_key_id)?,
            secret_access_key: supplies.secret(&settings.secret_access_key)?,
            session_token: settings.session_token.as_ref().map(|token| supplies.secret(token)).transpose()?,
        };
        Ok(S3::new(settings.clone(), credentials, supplies.transport()?))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Open::load(session)?.store()
    }
}

impl Host for S3 {
    fn shape(&self, file_bytes: u64) -> Shape {
        let common = Shape {
            repeat: Repeat::Harmless,
            // Where the key is taken by an upload of which we know nothing any more, another object would stand beside it.
            session_tells: self.settings.on_existing != OnExisting::Overwrite,
            // What an upload in parts agrees on with the service may be another: see `part_digest`.
            part_digest: self.settings.checksum.unwrap_or(Checksum::Md5).algorithm(),
            ..Shape::parts(part_bytes(self.settings.part_bytes, file_bytes)).with_parallel(self.settings.parallel_parts)
        };
        if self.goes_whole(file_bytes) {
            Shape { order: Order::WholeFile, part_bytes: u64::MAX, parts_max: 1, ..common }
        } else {
            Shape { parts_max: PARTS_MAX, ..common }
        }
    }

    fn part_digest(&self, session: &Session, _: &Shape) -> Option<Algorithm> {
        Open::load(session).ok()?.checksum.algorithm()
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let mut open = Open {
                place: self.place.clone(),
                key: self.settings.key.fill(file)?,
                token: self.sender.token(),
                upload: None,
                announced: false,
                checksum: self.checksum(),
                on_existing: self.settings.on_existing,
                content_type: self.settings.content_type.clone().unwrap_or_else(|| file.content_type.to_owned()),
                mtime: mtime(file.mtime_ns),
            };
            if let Some(there) = self.find_a_key(&mut open, self.goes_whole(file.bytes)).await? {
                return Ok(Opened::AlreadyThere(there));
            }
            if !self.goes_whole(file.bytes) {
                open.announced = self.settings.is_only_writer();
                if !open.announced {
                    self.create(&mut open).await?;
                }
            }
            open.store().map(Opened::Session)
        })
    }

    fn has_begun(&self, session: &Session) -> bool {
        Open::load(session).map_or(true, |open| !open.announced)
    }

    fn begin<'a>(&'a self, at: &'a UploadSession, again: bool) -> Answer<'a, Session> {
        Box::pin(async move {
            let mut open = Open::load(&at.session)?;
            if again {
                self.give_up_unheard(&open).await?;
            }
            self.create(&mut open).await?;
            Open { announced: false, ..open }.store()
        })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            let Some(upload) = &open.upload else { return self.send_whole(&open, part).await };
            match self.send_part(&open, upload, part).await {
                Err(error) if is_denied(&error) && self.is_lost(&open, upload).await => {
                    Err(HostError { class: Class::SessionLost, ..error })
                }
                answered => answered,
            }
        })
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            let Some(upload) = &open.upload else {
                // What is sent again meets its own object and knows it by its token, unless that was not kept.
                let likely = self.look(&open).await?.filter(|stored| open.may_have_made(stored, at.plan.file_bytes));
                return Ok(likely.map_or(Found::Unsure, |_| open.likely()));
            };
            let all_sent = completion.confirmed.count() == at.plan.parts();
            let listed = match self.listed(&open, upload).await {
                Ok(listed) if !(listed.is_empty() && all_sent) => return Ok(Found::Parts(held(at, completion, &listed))),
                // Some list nothing of an upload that they do not know (page, 5).
                Ok(_) => None,
                Err(error) if error.class == Class::SessionLost => None,
                // A key that may not list may still send, and complete.
                Err(error) if is_denied(&error) => Some(Found::Unsure),
                Err(error) => return Err(error),
            };
            let there = if all_sent { self.look(&open).await? } else { None };
            match there {
                Some(stored) if open.made(&stored) => {
                    let made = Made::of(stored, &expected(&open, at, &receipts(completion)))?;
                    Ok(Found::Complete(self.outcome(&open, at, made)))
                }
                Some(stored) if open.may_have_made(&stored, at.plan.file_bytes) => Ok(open.likely()),
                _ => Ok(listed.unwrap_or(Found::Gone)),
            }
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            if let Some(upload) = &open.upload {
                return self.complete(at, &open, upload, completion).await;
            }
            let kept = completion.confirmed.receipts.get(&0).and_then(|text| Receipt::load(text));
            let made = kept.and_then(|kept| Some(Made { proof: Proof::from_word(&kept.proof?)?, version: kept.version }));
            let lost = || HostError::new(Class::SessionLost, "the reply to the upload was not kept");
            made.map(|made| self.outcome(&open, at, made)).ok_or_else(lost)
        })
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            if open.announced { self.give_up_unheard(&open).await } else { self.abandon_upload(&open).await }
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.sender.open_ahead(&self.place, files, most))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let call = Call::of_bucket("GET", &[("list-type", "2"), ("max-keys", "1")]);
            let bucket = &self.place.bucket;
            Ok(if bucket_reply(&self.sender.ask(&self.place, &call).await?)? {
                format!("credentials accepted, bucket `{bucket}` found")
            } else {
                format!("credentials accepted; they may not list the bucket `{bucket}`, but may still upload to it")
            })
        })
    }

    fn address<'a>(&'a self, remote_id: &'a str) -> Answer<'a, Option<Secret>> {
        Box::pin(async move {
            let key = remote_id.strip_prefix("s3://").and_then(|id| id.split_once('/'));
            let key = key.filter(|(bucket, _)| *bucket == self.place.bucket).map(|(_, key)| key);
            // Whoever may read an object may not always read a version of it.
            let key = key.map(|key| key.rsplit_once(VERSION).map_or(key, |(key, _)| key));
            Ok(key.map(|key| self.sender.address(&self.place, key, self.settings.share)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::plan::Plan;
    use crate::job::upload::ConfirmedParts;

    fn open() -> Open {
        Open {
            place: Place::new("https://h.example", place::Style::Auto, "us-east-1", "box"),
            key: "in/a.txt".into(),
            token: "3f1c".into(),
            upload: Some("u".into()),
            announced: false,
            checksum: Checksum::Md5,
            on_existing: OnExisting::Overwrite,
            content_type: "text/plain".into(),
            mtime: "1.000000000".into(),
        }
    }

    #[test]
    fn what_a_queue_has_stored_of_a_session_is_read_for_ever() {
        let stored = r#"{"v":1,"place":{"base":"https://h.example/box","region":"us-east-1","bucket":"box"},"key":"in/a.txt","token":"3f1c","upload":"u","checksum":"md5","on_existing":"overwrite","content_type":"text/plain","mtime":"1.000000000"}"#;
        assert_eq!(open().store().unwrap().0, stored);
        assert_eq!(Open::load(&Session(stored.into())).unwrap(), open());
        let receipt = Receipt { etag: "9a03".into(), digest: Some("AAAA".into()), proof: None, version: None };
        assert_eq!(receipt.store().unwrap(), r#"{"e":"9a03","c":"AAAA"}"#);
        assert_eq!(Receipt::load(r#"{"e":"","p":"word"}"#).unwrap().proof.as_deref(), Some("word"));
    }

    #[test]
    fn a_file_has_parts_of_one_size_and_never_too_many() {
        const MIB: u64 = 1024 * 1024;
        let cases = [(1, 16 * MIB), (160_000 * MIB, 16 * MIB), (160_000 * MIB + 1, 17 * MIB), (5 << 40, 525 * MIB)];
        for (file, part) in cases {
            assert_eq!(part_bytes(16 * MIB, file), part, "{file}");
            assert!(file.div_ceil(part) <= u64::from(PARTS_MAX));
        }
    }

    #[test]
    fn only_parts_that_were_answered_so_are_taken_from_a_list() {
        let plan = Plan { file_bytes: 25, part_bytes: 10 };
        let session = open().store().unwrap();
        let at = UploadSession { session, tickets: Tickets::default(), plan, mid_states: std::sync::Arc::default() };
        let mut confirmed = ConfirmedParts::default();
        for number in [0, 1, 2] {
            confirmed.receipts.insert(number, format!("{{\"e\":\"e{number}\"}}"));
        }
        let completion = Completion { confirmed: &confirmed, digest: None, repeated: false, last: None };
        let listed = |number, bytes, etag: Option<&str>| Listed { number, bytes, etag: etag.map(str::to_owned) };
        let numbers = |listed: &[Listed]| held(&at, completion, listed).iter().map(|ack| ack.number).collect::<Vec<_>>();
        assert_eq!(numbers(&[listed(1, 10, Some("e0")), listed(2, 10, Some("other")), listed(3, 5, None)]), [0, 2]);
        assert_eq!(
            numbers(&[listed(1, 9, Some("e0")), listed(3, 10, Some("e2")), listed(4, 5, None), listed(u32::MAX, 1, None)]),
            [0; 0]
        );
        confirmed.receipts.remove(&0);
        let completion = Completion { confirmed: &confirmed, digest: None, repeated: false, last: None };
        assert!(held(&at, completion, &[listed(1, 10, Some("e0"))]).is_empty(), "nobody knows what is in it");
    }

    #[test]
    fn a_completion_names_the_parts_in_order_and_from_one() {
        let receipt = |etag: &str, digest: Option<&str>| Receipt {
            etag: etag.into(),
            digest: digest.map(str::to_owned),
            proof: None,
            version: None,
        };
        let receipts = BTreeMap::from([(1, receipt("b<", Some("BB=="))), (0, receipt("a", Some("AA==")))]);
        let sent = xml::parse(&complete_body(Checksum::Crc64Nvme, &receipts)).unwrap();
        let of =
            |part: &xml::Element| ["PartNumber", "ETag", "ChecksumCRC64NVME"].map(|name| part.text_of(name).unwrap().to_owned());
        let named: Vec<_> = sent.children.iter().map(of).collect();
        assert_eq!(named, [["1", "\"a\"", "AA=="], ["2", "\"b<\"", "BB=="]]);
        assert!(!complete_body(Checksum::Md5, &receipts).contains("Checksum"));
    }

    #[test]
    fn a_time_is_written_as_other_tools_read_it() {
        let written = [1_500_000_000_000_000_001, 0, -1].map(mtime);
        assert_eq!(written, ["1500000000.000000001", "0.000000000", "-1.999999999"]);
    }
}
