//! The JSON calls: create a file, ask for links, complete it, ask about it, ask for its bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::{HeaderMap, Method};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::super::exchange::{Answer, Exchange, Stop};
use super::super::faults::{Endpoint, Met};
use super::super::log::Outcome;
use super::super::objects::Object;
use super::super::reply::Reply;
use super::super::spool::Spooled;
use super::super::{Shared, hold};
use super::books::{Books, Filed, Held, Place, Proof, Upload};
use super::fields::Fields;
use super::hash::{INITIAL, Words};
use super::parts::{PartLink, fetch_link};
use super::sign::{Caller, Who, stamp};
use super::{Drive, FirstLinks, KIND, Reject, UploadId, code, proof};

const BODY_BYTES_MAX: usize = 1024 * 1024;
pub(super) const CONTAINER: &str = "IAAC1";
pub(super) const ROOT: &str = "DEU1";
const PARTS_MAX: u64 = 10_000;
const PART_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
const BLOCK_BYTES: u64 = 64;
const DESCRIPTION_CHARS_MAX: usize = 512;
const DOWNLOADS_MAX: usize = 100;
const TRACE_CHARS: usize = 58;

const CREATE_FIELDS: [&str; 14] = [
    "fileName",
    "fileType",
    "parentFolder",
    "length",
    "uploadMode",
    "uploadType",
    "sha256",
    "proofCode",
    "preHash",
    "autoRename",
    "multiParts",
    "createdTime",
    "description",
    "mimeType",
];
const PART_FIELDS: [&str; 4] = ["partNumber", "partSize", "partOffset", "hashCtx"];

/// Which call it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// Create a file.
    Create,
    /// Give links for parts.
    Links,
    /// Complete a file.
    Complete,
    /// Tell about a file.
    Detail(String),
    /// Give a link to the bytes of files.
    Download,
    /// Make a folder.
    Folder,
    /// List a folder.
    List,
    /// Share files.
    Share,
    /// Give out another token, by the session's id.
    RefreshSession,
    /// Give out another token, by a refresh token.
    RefreshToken,
}

impl Call {
    /// The call at this path.
    pub(super) fn of(path: &str) -> Option<Call> {
        match path {
            "directory" => Some(Call::Folder),
            "share" => Some(Call::Share),
            "session/refresh" => Some(Call::RefreshSession),
            "auth/refreshToken" => Some(Call::RefreshToken),
            other => Call::of_files(other.strip_prefix("files/")?),
        }
    }

    fn of_files(path: &str) -> Option<Call> {
        match path {
            "0" => Some(Call::List),
            "create" => Some(Call::Create),
            "multipart/uploadUrl" => Some(Call::Links),
            "complete" => Some(Call::Complete),
            "download" => Some(Call::Download),
            other => {
                let id = other.strip_suffix("/detail").filter(|id| !id.is_empty() && !id.contains('/'))?;
                Some(Call::Detail(id.to_owned()))
            }
        }
    }

    /// What the request turned out to be.
    fn met(&self, shared: &Shared, body: &Value) -> Met {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let (endpoint, session) = match self {
            Call::Create => (Endpoint::Open, None),
            Call::Links => (Endpoint::Address, text("fileId")),
            Call::Complete => (Endpoint::Finish, text("fileId")),
            Call::Detail(id) => (Endpoint::Probe, Some(id.clone())),
            Call::Download | Call::Share => (Endpoint::Link, body["fileIds"][0].as_str().map(str::to_owned)),
            Call::Folder | Call::List | Call::RefreshSession | Call::RefreshToken => (Endpoint::Open, None),
        };
        let part = match body["multiParts"].as_array().map(Vec::as_slice) {
            Some([one]) if *self == Call::Links => one["partNumber"].as_u64().and_then(|number| number.checked_sub(1)),
            _ => None,
        };
        let file = text("fileName").or_else(|| session.as_deref().and_then(|id| Books(shared).name(id)));
        Met { host: KIND, endpoint, session, part, file }
    }
}

impl Drive {
    /// Answers a call.
    pub(super) async fn call(self: &Arc<Self>, exchange: &mut Exchange, call: Call) -> Result<Answer, Stop> {
        let bytes = whole_body(exchange).await?;
        let body: Option<Value> = serde_json::from_slice(&bytes).ok();
        let met = call.met(exchange.shared(), body.as_ref().unwrap_or(&Value::Null));
        exchange.met(met)?;
        exchange.received().await?;
        let (method, path, query) = (exchange.method.clone(), exchange.path.clone(), exchange.query.clone());
        let (lies, renames) = (exchange.lies(), exchange.renames());
        let request = Request { method, path, query, headers: exchange.headers.clone(), bytes, body, call, lies, renames };
        let (drive, times) = (Arc::clone(self), exchange.times());
        exchange.work(move |shared| drive.times(shared, &request, times)).await
    }

    /// Does what the call asks, `times` times; the last answer counts.
    fn times(&self, shared: &Shared, request: &Request, times: usize) -> Answer {
        let job = Job { drive: self, shared, books: Books(shared), request };
        let mut held = false;
        let mut answer = job.answer();
        for _ in 1..times {
            held |= answer.held;
            answer = job.answer();
        }
        Answer { held: held || answer.held, ..answer }
    }
}

/// Takes a body that must fit into memory.
async fn whole_body(exchange: &mut Exchange) -> Result<Vec<u8>, Stop> {
    let mut whole = Vec::new();
    while let Some(bytes) = exchange.body.next().await? {
        whole.extend_from_slice(&bytes);
        if whole.len() > BODY_BYTES_MAX {
            return Err(Stop::TooLarge);
        }
    }
    Ok(whole)
}

/// A call, all of it received.
#[derive(Debug)]
struct Request {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    bytes: Vec<u8>,
    body: Option<Value>,
    call: Call,
    lies: bool,
    renames: bool,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A call being answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'j> {
    pub(super) drive: &'j Drive,
    pub(super) shared: &'j Shared,
    pub(super) books: Books<'j>,
    request: &'j Request,
}

/// A link asked for.
#[derive(Debug, Clone, Copy)]
struct Asked<'v> {
    number: u64,
    place: Place,
    context: Option<Words>,
    given: &'v Map<String, Value>,
}

impl<'j> Job<'j> {
    fn answer(self) -> Answer {
        self.checked().unwrap_or_else(|reject| self.drive.rejected(reject))
    }

    fn checked(self) -> Result<Answer, Reject> {
        let is_refresh = matches!(self.request.call, Call::RefreshSession | Call::RefreshToken);
        if !is_refresh {
            self.check_caller()?;
        }
        self.check_headers()?;
        let body = self.request.body.as_ref().ok_or_else(|| Reject::business(code::REQUEST, "the body is not JSON"))?;
        let fields = Fields::of(body, "the body")?;
        match &self.request.call {
            Call::Create => self.create(fields),
            Call::Links => self.links(fields),
            Call::Complete => self.complete(fields),
            Call::Detail(id) => self.detail(id, fields),
            Call::Download => self.download(fields),
            Call::Folder => self.make_folder(fields),
            Call::List => self.list(fields),
            Call::Share => self.share(fields),
            Call::RefreshSession => self.refresh_session(),
            Call::RefreshToken => self.refresh_token(fields),
        }
    }

    pub(super) fn header(self, name: &str) -> Option<&'j str> {
        self.request.header(name)
    }

    fn check_caller(self) -> Result<(), Reject> {
        let Request { method, path, query, headers, bytes, .. } = self.request;
        let path = format!("/{KIND}{path}");
        let rules = &self.drive.rules;
        let login = self.drive.login(self.shared);
        let issued = |given: &str| Drive::is_issued(&login, given);
        let caller = Caller { rules, method: method.as_str(), path: &path, query, headers, body: bytes, issued: &issued };
        match caller.check(self.shared.clock.now_ms()).map_err(Reject::Denied)? {
            Who::App => Ok(()),
            Who::Token => self.drive.live_on(self.shared),
        }
    }

    fn check_headers(self) -> Result<(), Reject> {
        if !self.drive.rules.strict {
            return Ok(());
        }
        let kind = self.request.header("content-type").unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            return Err(Reject::business(code::REQUEST, "the content type must be application/json"));
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match self.request.header("x-traceid") {
            Some(trace) if trace.len() != TRACE_CHARS || !trace.bytes().all(word) => {
                Err(Reject::parameter("X-Traceid must have 58 letters, digits and underscores"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_fields(self, fields: Fields<'_>, names: &[&str]) -> Result<(), Reject> {
        if self.drive.rules.strict { fields.only(names) } else { Ok(()) }
    }

    fn create(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &CREATE_FIELDS)?;
        check_free_fields(fields)?;
        let wanted = self.wanted(fields)?;
        let rename = rename(fields)?;
        let asked = fields.list("multiParts")?;
        let clashes = self.books.of_name(&wanted.folder, &wanted.name);
        let same = |(_, filed): &&(Object, Filed)| wanted.sha256.is_some() && filed.sha256 == wanted.sha256;
        let upload = match clashes.iter().find(same) {
            _ if self.request.renames => Upload { name: self.other_name(&wanted), ..wanted },
            _ if clashes.is_empty() => wanted,
            _ if rename == Rename::Refuse => return Err(Reject::business(code::SAME_NAME, "Duplicate name.")),
            Some((object, filed)) if rename == Rename::Unless => return Ok(self.exists(object, filed)),
            _ => Upload { name: self.other_name(&wanted), ..wanted },
        };
        self.check_space(upload.bytes)?;
        match self.flash(&upload)? {
            Some(id) => Ok(self.flashed(&id, &upload)),
            None => self.begun(upload, asked),
        }
    }

    /// What the fields of a create ask for.
    fn wanted(self, fields: Fields<'_>) -> Result<Upload, Reject> {
        let name = fields.needed_text("fileName")?;
        self.check_name(name)?;
        let folder = self.folder(&fields.needed_texts("parentFolder")?)?;
        let bytes = fields.needed_number("length")?;
        self.check_length(bytes)?;
        if fields.needed_text("uploadMode")? != "multipart" {
            return Err(Reject::parameter("`uploadMode` must be `multipart`"));
        }
        if fields.needed_number("uploadType")? != 1 {
            return Err(Reject::parameter("`uploadType` must be 1"));
        }
        let sha256 = fields.digest("sha256")?;
        let proof = self.proof(fields, bytes, sha256.is_some())?;
        Ok(Upload { name: name.into(), folder, bytes, sha256, upload_id: self.books.new_upload_id(), proof })
    }

    fn proof(self, fields: Fields<'_>, bytes: u64, has_digest: bool) -> Result<Option<Proof>, Reject> {
        let rules = &self.drive.rules;
        let wanted = rules.proof == super::Proof::Required && has_digest && bytes > 0;
        let Some(code) = fields.digest("proofCode")? else {
            return if wanted { Err(Reject::parameter("`proofCode` is missing")) } else { Ok(None) };
        };
        if rules.proof == super::Proof::Off {
            return if rules.strict { Err(Reject::parameter("the field `proofCode` is not for requests")) } else { Ok(None) };
        }
        let given = self.request.header("authorization").unwrap_or_default();
        let origin = if given.starts_with("HMAC-") { self.request.header("x-user-id").unwrap_or_default() } else { given };
        Ok(Some(Proof { start: proof::start(origin, bytes), code }))
    }

    /// Whether the proof of an upload, if it has one, is that of these files.
    fn check_proof(self, upload: &Upload, files: &[PathBuf]) -> Result<(), Reject> {
        let Some(Proof { start, code }) = &upload.proof else { return Ok(()) };
        if *code == proof::of(&self.shared.store, files, *start)? { Ok(()) } else { Err(Reject::parameter("`proofCode` is wrong")) }
    }

    pub(super) fn check_name(self, name: &str) -> Result<(), Reject> {
        let wrong = |c: char| "<>|:\"*?/\\".contains(c) || c.is_control();
        if name.contains(wrong) {
            return Err(Reject::parameter("`fileName` holds a character that names must not have"));
        }
        if matches!(name, "." | "..") || name.trim().is_empty() {
            return Err(Reject::parameter("`fileName` is no name"));
        }
        if name.chars().count() > self.drive.rules.name_chars_max {
            return Err(Reject::parameter("`fileName` is too long"));
        }
        Ok(())
    }

    pub(super) fn folder(self, folders: &[&str]) -> Result<String, Reject> {
        match folders.first() {
            Some(&("root" | ROOT)) => Ok(ROOT.into()),
            Some(folder) if self.drive.rules.folders.iter().any(|known| known == folder) => Ok((*folder).to_owned()),
            Some(folder) if self.books.folder(folder).is_some() => Ok((*folder).to_owned()),
            _ => Err(Reject::business(code::MISSING, "the folder does not exist")),
        }
    }

    fn check_length(self, bytes: u64) -> Result<(), Reject> {
        match bytes {
            0 if !self.drive.rules.empty_files => Err(Reject::parameter("`length` must not be 0")),
            _ if bytes > self.drive.rules.length_max => Err(Reject::parameter("`length` is too large")),
            _ => Ok(()),
        }
    }

    fn check_space(self, bytes: u64) -> Result<(), Reject> {
        let quota = self.drive.rules.quota;
        if quota < u64::MAX && self.books.used().saturating_add(bytes) > quota {
            return Err(Reject::business(code::FULL, "Insufficient space."));
        }
        Ok(())
    }

    /// The name with the time in it. Only complete files stand in its way, since a create may be sent twice.
    fn other_name(self, upload: &Upload) -> String {
        let (stem, end) = match upload.name.rfind('.') {
            Some(at) if at > 0 => upload.name.split_at(at),
            _ => (upload.name.as_str(), ""),
        };
        let mut now = self.shared.clock.now_ms();
        loop {
            let mark = format!("_{}{:03}{end}", stamp(now).trim_end_matches('Z'), now.rem_euclid(1000));
            let room = self.drive.rules.name_chars_max.saturating_sub(mark.chars().count());
            let name: String = stem.chars().take(room).chain(mark.chars()).collect();
            if self.books.of_name(&upload.folder, &name).is_empty() {
                return name;
            }
            now += 1;
        }
    }

    /// The id of a new file with bytes that are held already.
    fn flash(self, upload: &Upload) -> Result<Option<String>, Reject> {
        let Some(digest) = upload.sha256.as_deref().filter(|_| self.drive.rules.flash) else { return Ok(None) };
        let Some(path) = self.books.of_hash(digest, upload.bytes) else { return Ok(None) };
        self.check_proof(upload, std::slice::from_ref(&path))?;
        let id = self.books.new_id();
        self.books.keep(&id, upload, self.books.join(&[path])?)?;
        Ok(Some(id))
    }

    fn flashed(self, id: &str, upload: &Upload) -> Answer {
        let reply = json!({ "fileId": id, "containerId": CONTAINER, "fileName": upload.name, "uploadId": upload.upload_id,
            "parentFolder": [upload.folder], "exist": false, "rapidUpload": true });
        Answer { held: true, ..self.said(reply, Outcome::Stored) }
    }

    fn exists(self, object: &Object, filed: &Filed) -> Answer {
        let reply = json!({ "fileId": object.id, "containerId": CONTAINER, "fileName": object.name,
            "parentFolder": [filed.folder], "exist": true, "rapidUpload": false });
        self.said(reply, Outcome::Served)
    }

    fn begun(self, upload: Upload, asked: Option<&[Value]>) -> Result<Answer, Reject> {
        let whole = [json!({ "partNumber": 1, "partSize": upload.bytes, "partOffset": 0 })];
        let asked = match (asked, self.drive.rules.first_links) {
            (_, FirstLinks::Never) | (None, FirstLinks::Asked) => None,
            (None, FirstLinks::Always) if upload.bytes > PART_BYTES_MAX => None,
            (None, FirstLinks::Always) => Some(&whole[..]),
            (Some(asked), _) => Some(asked),
        };
        // Read before the upload begins, so that a create that is rejected leaves none behind.
        let asked = asked.map(|asked| self.asked(None, &upload, asked)).transpose()?;
        let id = self.books.begin(&upload)?;
        let mut reply = json!({ "fileId": id, "containerId": CONTAINER, "fileName": upload.name, "uploadId": upload.upload_id,
            "parentFolder": [upload.folder], "exist": false, "rapidUpload": false });
        if let Some(asked) = asked {
            reply["multiParts"] = self.give(&id, &upload, &asked)?;
        }
        Ok(self.said(reply, Outcome::Served))
    }

    fn links(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &["fileId", "multiParts"])?;
        let id = fields.needed_text("fileId")?;
        let asked = fields.needed_list("multiParts")?;
        let mut upload = self.books.upload(id).ok_or_else(Reject::no_upload)?;
        let asked = self.asked(Some(id), &upload, asked)?;
        if self.drive.rules.upload_id == UploadId::Changes {
            self.books.forget_parts(id)?;
            upload.upload_id = self.books.new_upload_id();
            self.books.set_upload(id, &upload)?;
        }
        let given = self.give(id, &upload, &asked)?;
        Ok(self.said(json!({ "multiParts": given }), Outcome::Served))
    }

    /// Reads and checks what links are asked for. The upload has no `id` yet when its create asks.
    fn asked<'v>(self, id: Option<&str>, upload: &Upload, given: &'v [Value]) -> Result<Vec<Asked<'v>>, Reject> {
        let rules = &self.drive.rules;
        if given.is_empty() || rules.strict && given.len() > rules.links_max {
            return Err(Reject::parameter(format!("`multiParts` must ask for 1 to {} links", rules.links_max)));
        }
        let mut known = BTreeMap::new();
        let mut asked = Vec::new();
        for part in given {
            let part = self.part(id, upload, &known, Fields::of(part, "a part")?)?;
            if known.insert(part.number, part.place).is_some() {
                return Err(Reject::parameter(format!("part {} is asked for twice", part.number)));
            }
            asked.push(part);
        }
        for part in &asked {
            self.check_neighbours(id, &known, part)?;
        }
        Ok(asked)
    }

    fn part<'v>(
        self,
        id: Option<&str>,
        upload: &Upload,
        known: &BTreeMap<u64, Place>,
        fields: Fields<'v>,
    ) -> Result<Asked<'v>, Reject> {
        self.check_fields(fields, &PART_FIELDS)?;
        let number = fields.needed_number("partNumber")?;
        let bytes = fields.needed_number("partSize")?;
        if !(1..=PARTS_MAX).contains(&number) {
            return Err(Reject::parameter("`partNumber` must be from 1 to 10000"));
        }
        let (offset, context) = (fields.number("partOffset")?, context(fields)?);
        let offset = match (number, offset) {
            (1, offset) => offset.unwrap_or(0),
            (_, Some(offset)) => offset,
            (_, None) if self.drive.rules.sequential => self.end_before(id, known, number)?,
            _ => return Err(Reject::parameter(format!("`partOffset` of part {number} is missing"))),
        };
        self.check_context(number, fields, context)?;
        let place = Place { offset, bytes };
        self.check_place(upload, number, place)?;
        Ok(Asked { number, place, context, given: fields.0 })
    }

    /// Where the part before ends, when its link is known.
    fn end_before(self, id: Option<&str>, known: &BTreeMap<u64, Place>, number: u64) -> Result<u64, Reject> {
        let before = self.planned(id, known, number - 1).map(Place::end);
        before.ok_or_else(|| Reject::parameter(format!("`partOffset` of part {number} is missing")))
    }

    fn planned(self, id: Option<&str>, known: &BTreeMap<u64, Place>, number: u64) -> Option<Place> {
        known.get(&number).copied().or_else(|| self.books.link(id?, number))
    }

    fn check_context(self, number: u64, fields: Fields<'_>, context: Option<Words>) -> Result<(), Reject> {
        let parallel = fields.0.contains_key("partOffset") || !self.drive.rules.sequential;
        match (number, context) {
            (1, Some(_)) if self.drive.rules.strict => Err(Reject::parameter("`hashCtx` is not for the first part")),
            (1, Some(words)) if words != INITIAL => Err(Reject::parameter("`hashCtx` of the first part is wrong")),
            (2.., None) if parallel => Err(Reject::parameter(format!("`hashCtx` of part {number} is missing"))),
            (2.., Some(_)) if !fields.0.contains_key("partOffset") => {
                Err(Reject::parameter(format!("`partOffset` of part {number} is missing")))
            }
            _ => Ok(()),
        }
    }

    fn check_place(self, upload: &Upload, number: u64, place: Place) -> Result<(), Reject> {
        let least = self.drive.rules.part_bytes_min;
        let wrong = |reason: String| Err(Reject::parameter(format!("part {number}: {reason}")));
        if number == 1 && place.offset != 0 {
            return wrong("`partOffset` of the first part must be 0".into());
        }
        if place.bytes > PART_BYTES_MAX {
            return wrong(format!("`partSize` must be at most {PART_BYTES_MAX}"));
        }
        if place.end() > upload.bytes {
            return wrong(format!("it ends after the {} bytes of the file", upload.bytes));
        }
        if !place.offset.is_multiple_of(BLOCK_BYTES) {
            return wrong("`partOffset` must be a multiple of 64".into());
        }
        if place.end() == upload.bytes {
            return Ok(());
        }
        if place.bytes < least {
            return wrong(format!("`partSize` must be at least {least}"));
        }
        if !place.bytes.is_multiple_of(BLOCK_BYTES) {
            return wrong("`partSize` must be a multiple of 64".into());
        }
        Ok(())
    }

    /// The offset against the sizes of the parts before. Links may be asked for in any order, so some of them may not be known yet;
    /// then there must be room for them.
    fn check_neighbours(self, id: Option<&str>, known: &BTreeMap<u64, Place>, part: &Asked<'_>) -> Result<(), Reject> {
        let before = (1..part.number).rev().find_map(|number| Some((number, self.planned(id, known, number)?.end())));
        let (number, end) = before.unwrap_or((0, 0));
        let between = part.number - 1 - number;
        let least = end.saturating_add(between.saturating_mul(self.drive.rules.part_bytes_min));
        let most = end.saturating_add(between.saturating_mul(PART_BYTES_MAX));
        let after = self.planned(id, known, part.number + 1).map(|place| place.offset);
        if !(least..=most).contains(&part.place.offset) || after.is_some_and(|offset| offset != part.place.end()) {
            let reason = format!("part {}: `partOffset` is not the sum of the sizes of the parts before", part.number);
            return Err(Reject::parameter(reason));
        }
        Ok(())
    }

    /// The links, as the reply has them.
    fn give(self, id: &str, upload: &Upload, asked: &[Asked<'_>]) -> Result<Value, Reject> {
        let mut given = Vec::new();
        for part in asked {
            self.books.set_link(id, part.number, part.place)?;
            let mut info: Map<String, Value> = part
                .given
                .iter()
                .filter(|(name, _)| PART_FIELDS.contains(&name.as_str()))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect();
            info.insert("uploadUrl".into(), self.part_link(id, upload, part).into());
            given.push(Value::Object(info));
        }
        Ok(Value::Array(given))
    }

    fn part_link(self, id: &str, upload: &Upload, part: &Asked<'_>) -> String {
        let link = PartLink {
            host: self.request.header("host").unwrap_or_default(),
            id,
            upload_id: &upload.upload_id,
            number: part.number,
            bytes: part.place.bytes,
            context: part.context.filter(|_| part.number > 1).map(|words| (words, part.place.offset)),
        };
        link.url(&self.drive.rules, self.shared.clock.now_ms())
    }

    fn complete(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &["fileId", "sha256"])?;
        let id = fields.needed_text("fileId")?;
        let digest = fields.digest("sha256")?;
        if !hold(&self.drive.completing).insert(id.to_owned()) {
            return Err(Reject::business(code::BUSY, "State change failed."));
        }
        let completed = self.completed(id, digest);
        hold(&self.drive.completing).remove(id);
        completed
    }

    fn completed(self, id: &str, digest: Option<String>) -> Result<Answer, Reject> {
        let upload = self.books.upload(id).ok_or_else(Reject::no_upload)?;
        let held = self.covering(id, &upload)?;
        let digests = [upload.sha256.as_deref(), digest.as_deref()];
        let whole = self.joined(id, &held, &digests)?;
        if !self.shared.store.discards() {
            self.check_proof(&upload, &self.books.part_files(id, held.len() as u64)?)?;
        }
        if self.request.lies {
            return Err(Reject::integrity("a fault on purpose"));
        }
        self.check_space(upload.bytes)?;
        let upload = Upload { sha256: upload.sha256.or(digest), ..upload };
        self.books.keep(id, &upload, whole)?;
        self.books.close(id)?;
        Ok(Answer { held: true, ..self.said(json!({}), Outcome::Stored) })
    }

    /// The parts, which must follow one another from the first byte to the last.
    fn covering(self, id: &str, upload: &Upload) -> Result<Vec<Held>, Reject> {
        let stored = self.shared.store.parts(KIND, id);
        let mut end = 0;
        let mut parts = Vec::new();
        for ((index, bytes), number) in stored.into_iter().zip(1..) {
            let held = self.books.part(id, number).filter(|held| index + 1 == number && held.place.bytes == bytes);
            let held = held.ok_or_else(|| Reject::integrity(format!("part {number} is missing")))?;
            if held.place.offset != end {
                return Err(Reject::integrity(format!("part {number} does not begin where the part before ends")));
            }
            end = held.place.end();
            parts.push(held);
        }
        if parts.is_empty() || end != upload.bytes {
            return Err(Reject::integrity(format!("the parts have {end} of {} bytes", upload.bytes)));
        }
        Ok(parts)
    }

    /// The bytes of the file, if all digests are right. There are none, and nothing to check, when bytes are discarded.
    fn joined(self, id: &str, parts: &[Held], digests: &[Option<&str>]) -> Result<Spooled, Reject> {
        if self.shared.store.discards() {
            let bytes = parts.iter().map(|held| held.place.bytes).sum();
            return Ok(Spooled::discarded(bytes));
        }
        let reached = chain(parts)?;
        if digests.iter().flatten().any(|digest| *digest != reached) {
            return Err(Reject::integrity("the SHA-256 of the parts is another"));
        }
        let whole = self.books.join(&self.books.part_files(id, parts.len() as u64)?)?;
        if whole.sha256.as_deref() != Some(reached) {
            return Err(Reject::integrity("a part has changed since it came"));
        }
        Ok(whole)
    }

    fn detail(self, id: &str, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &["containerId"])?;
        check_container(fields)?;
        let (object, filed) = self.file(id)?;
        let created = iso(filed.created_ms);
        let reply = json!({ "id": id, "fileName": object.name, "recycled": false, "parentFolder": [filed.folder],
            "containers": [CONTAINER], "size": object.bytes, "createdTime": created, "modifiedTime": created });
        Ok(self.said(reply, Outcome::Served))
    }

    fn download(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &["containerId", "fileIds"])?;
        check_container(fields)?;
        let ids = fields.needed_texts("fileIds")?;
        if ids.len() > DOWNLOADS_MAX {
            return Err(Reject::parameter(format!("`fileIds` has more than {DOWNLOADS_MAX} ids")));
        }
        let host = self.request.header("host").unwrap_or_default();
        let now = self.shared.clock.now_ms();
        let mut files = Vec::new();
        for id in ids {
            self.file(id)?;
            files.push(json!({ "fileId": id, "downloadUrl": fetch_link(&self.drive.rules, host, id, now) }));
        }
        let first = files[0]["downloadUrl"].clone();
        Ok(self.said(json!({ "downloadUrl": first, "files": files }), Outcome::Served))
    }

    pub(super) fn file(self, id: &str) -> Result<(Object, Filed), Reject> {
        self.books.file(id).ok_or_else(|| Reject::business(code::MISSING, "the file does not exist"))
    }

    pub(super) fn said(self, mut reply: Value, outcome: Outcome) -> Answer {
        reply["code"] = self.drive.code(0);
        reply["msg"] = "Success.".into();
        Answer::plain(Reply::json(200, reply.to_string()), outcome)
    }
}

/// What happens when there is a file of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rename {
    /// The new one gets another name.
    Always,
    /// Nothing is created.
    Refuse,
    /// Nothing is created if it has the same digest, else the new one gets another name.
    Unless,
}

fn rename(fields: Fields<'_>) -> Result<Rename, Reject> {
    match fields.number("autoRename")? {
        None | Some(2) => Ok(Rename::Always),
        Some(3) => Ok(Rename::Refuse),
        Some(4) => Ok(Rename::Unless),
        Some(_) => Err(Reject::parameter("`autoRename` must be 2, 3 or 4")),
    }
}

/// The fields of a create that are read by nobody, but must be sound.
fn check_free_fields(fields: Fields<'_>) -> Result<(), Reject> {
    if fields.needed_text("fileType")?.trim().is_empty() {
        return Err(Reject::parameter("`fileType` is empty"));
    }
    fields.digest("preHash")?;
    fields.text("mimeType")?;
    if fields.text("description")?.is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX) {
        return Err(Reject::parameter("`description` is too long"));
    }
    let is_time = |text| ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"].iter().any(|form| DateTime::strptime(form, text).is_ok());
    if fields.text("createdTime")?.is_some_and(|text| !is_time(text)) {
        return Err(Reject::parameter("`createdTime` is no time"));
    }
    Ok(())
}

fn context(fields: Fields<'_>) -> Result<Option<Words>, Reject> {
    let Some(list) = fields.list("hashCtx")? else { return Ok(None) };
    let words: Option<Vec<u32>> = list.iter().map(|word| word.as_u64().and_then(|word| u32::try_from(word).ok())).collect();
    let words = words.and_then(|words| Words::try_from(words).ok());
    words.map(Some).ok_or_else(|| Reject::parameter("`hashCtx` must be 8 numbers below 2^32"))
}

pub(super) fn check_container(fields: Fields<'_>) -> Result<(), Reject> {
    match fields.needed_text("containerId")? {
        CONTAINER => Ok(()),
        _ => Err(Reject::business(code::OTHER_SPACE, "the file is not in this space")),
    }
}

/// The digest at the end of a chain of parts in which each goes on from where the one before led.
fn chain(parts: &[Held]) -> Result<&str, Reject> {
    let mut words = INITIAL;
    let mut digest = None;
    for (held, number) in parts.iter().zip(1..) {
        let reached = held.reached.as_ref().ok_or_else(|| Reject::integrity(format!("part {number} has no digest")))?;
        if held.context != words {
            return Err(Reject::integrity(format!("`hashCtx` of part {number} is not the state after the part before")));
        }
        words = reached.words;
        digest = Some(reached.digest.as_str());
    }
    digest.ok_or_else(|| Reject::integrity("there are no parts"))
}

fn iso(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
