//! An S3 store from the other side, written from `docs/protocols/s3.md`: one bucket, reached by its path.
//!
//! Requests are signed (Signature Version 4) or not answered. An upload takes numbered parts in any order, lists them, and becomes an
//! object when all are named in order with what was answered for each. What the description does not allow is refused, in XML, with
//! a status and a code.

mod bytes;
mod complete;
mod listing;
mod signature;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;

use hyper::Method;
use percent_encoding::percent_decode_str;
use quick_xml::escape::escape;
use serde::{Deserialize, Serialize};

use super::digest::sha256;
use super::exchange::{Answer, Exchange, Stop};
use super::faults::{Endpoint, Met};
use super::log::Outcome;
use super::objects::{Refusal, Stage, Totals};
use super::reply::Reply;
use super::spool::Spooled;
use super::{Emulated, Shared};
use bytes::Algorithm;
use signature::{Payload, Request};

pub(super) const KIND: &str = "s3";
const MIB: u64 = 1024 * 1024;
const KEY_BYTES_MAX: usize = 1024;
const PARTS_MAX: u64 = 10_000;
/// How long a text may be: a completion of as many parts as there may be.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// What an object may be stored with.
const OBJECT_HEADERS: [&str; 8] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "x-amz-storage-class",
    "x-amz-acl",
    "x-amz-tagging",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
];
/// What else may come with a request and begins so.
const OTHER_HEADERS: [&str; 7] = [
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-type",
    "x-amz-checksum-mode",
    "x-amz-mp-object-size",
];
/// What a list of uploads may be asked for with.
const LIST_OF_UPLOADS: [&str; 5] = ["key-marker", "max-uploads", "prefix", "upload-id-marker", "uploads"];
const STORAGE_CLASSES: [&str; 4] = ["STANDARD", "STANDARD_IA", "REDUCED_REDUNDANCY", "GLACIER_IR"];

/// What is done with `x-amz-checksum-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Compared with the bytes, and said back.
    Verified,
    /// Neither.
    Ignored,
    /// The request is refused as something that is not implemented.
    Refused,
}

/// What a completion is answered that comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondCompletion {
    /// There is no such upload.
    NoSuchUpload,
    /// Access is denied, as to everything that is not there.
    AccessDenied,
}

/// How the emulated store is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The id of the key that signs.
    pub access_key_id: String,
    /// The key itself.
    pub secret_access_key: String,
    /// What must go with it.
    pub session_token: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The least size of every part but the last, in bytes.
    pub part_bytes_min: u64,
    /// What is done with `x-amz-checksum-…`.
    pub checksums: Checksums,
    /// Whether the ETag of a part or an object is the MD5 of its bytes.
    pub etag_is_md5: bool,
    /// Whether `If-None-Match: *` is heeded.
    pub heeds_conditions: bool,
    /// Whether `x-amz-meta-…` is kept.
    pub keeps_metadata: bool,
    /// The most parts or uploads on a page of their list.
    pub listed_max: usize,
    /// What a completion is answered that comes again.
    pub second_completion: SecondCompletion,
    /// Whether the bucket keeps every version of an object, and tells which one it has stored.
    pub is_versioned: bool,
    /// Whether the key may list buckets and look at objects.
    pub may_look: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            access_key_id: "AKIDEXAMPLE1234567".into(),
            secret_access_key: "s3cret-object-store-key".into(),
            session_token: None,
            region: "eu-central-1".into(),
            bucket: "practice".into(),
            part_bytes_min: 5 * MIB,
            checksums: Checksums::Verified,
            etag_is_md5: true,
            heeds_conditions: true,
            keeps_metadata: true,
            listed_max: 1000,
            second_completion: SecondCompletion::NoSuchUpload,
            is_versioned: false,
            may_look: true,
        }
    }
}

/// What `[host.s3]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    let Rules { access_key_id, secret_access_key, region, bucket, .. } = Rules::default();
    format!(
        "[host.{KIND}]\nkind = \"{KIND}\"\nendpoint = \"http://{addr}/{KIND}\"\nregion = \"{region}\"\nbucket = \"{bucket}\"\n\
         access_key_id = \"{access_key_id}\"\nsecret_access_key = \"{secret_access_key}\"\n"
    )
}

/// What is remembered of an upload in parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Upload {
    key: String,
    /// When it was opened, in milliseconds since the Unix epoch.
    #[serde(default)]
    opened_ms: i64,
    /// What its object is stored with.
    headers: BTreeMap<String, String>,
    /// The checksum that goes with each part, and whether there is one of the whole.
    checksum: Option<(Algorithm, bool)>,
    parts: BTreeMap<u64, Taken>,
}

/// What is remembered of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    etag: String,
    md5: Option<String>,
    checksum: Option<String>,
}

/// What is remembered of an object.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Meta {
    key: String,
    headers: BTreeMap<String, String>,
    etag: String,
    /// The header that tells its checksum, and what it says.
    checksum: Option<(String, String)>,
    /// Which version it is.
    #[serde(default)]
    version: Option<String>,
}

impl Meta {
    /// A reply with the version in it.
    fn told_in(&self, reply: Reply) -> Reply {
        match &self.version {
            Some(version) => reply.header("x-amz-version-id", version),
            None => reply,
        }
    }
}

/// A refusal: status, code, words, and the region where that is the matter.
#[derive(Debug)]
struct Fault {
    status: u16,
    code: &'static str,
    words: String,
    region: Option<String>,
}

impl Fault {
    fn new(status: u16, code: &'static str, words: impl Into<String>) -> Fault {
        Fault { status, code, words: words.into(), region: None }
    }

    fn bad(code: &'static str, words: impl Into<String>) -> Fault {
        Fault::new(400, code, words)
    }

    fn denied(words: impl Into<String>) -> Fault {
        Fault::new(403, "AccessDenied", words)
    }

    fn no_upload() -> Fault {
        Fault::new(404, "NoSuchUpload", "the upload does not exist; it may have been aborted or completed")
    }

    fn reply(&self) -> Reply {
        let region = self.region.as_ref().map_or(String::new(), |region| format!("<Region>{}</Region>", escape(region.as_str())));
        let (code, words) = (self.code, escape(self.words.as_str()));
        xml(
            self.status,
            &format!("<Error><Code>{code}</Code><Message>{words}</Message>{region}<RequestId>4442587FB7D0A2F9</RequestId></Error>"),
        )
    }

    fn answer(self) -> Answer {
        Answer::plain(self.reply(), Outcome::Rejected(self.words))
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::new(500, "InternalError", format!("the sandbox cannot keep its files: {error}"))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::Full => Fault::new(507, "QuotaExceeded", "no space left"),
            Refusal::Io(error) => error.into(),
            _ => Fault::no_upload(),
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Bucket,
    Uploads,
    Create,
    Part(String, u64),
    Parts(String),
    Complete(String),
    Abort(String),
    Put,
    Head,
    Get,
}

impl Asked {
    fn of(method: &Method, has_key: bool, query: &BTreeMap<String, String>) -> Result<Asked, Fault> {
        // What signs an address, and the name of the request, which some clients add, ask for nothing.
        let says = |name: &&str| !name.starts_with("X-Amz-") && *name != "x-id";
        let names: Vec<&str> = query.keys().map(String::as_str).filter(says).collect();
        let upload = || query.get("uploadId").cloned().unwrap_or_default();
        Ok(match (method, has_key, names.as_slice()) {
            (&Method::GET, false, ["list-type"] | ["list-type", "max-keys"]) if query["list-type"] == "2" => Asked::Bucket,
            (&Method::GET, false, names)
                if names.contains(&"uploads") && names.iter().all(|name| LIST_OF_UPLOADS.contains(name)) =>
            {
                Asked::Uploads
            }
            (&Method::POST, true, ["uploads"]) => Asked::Create,
            (&Method::PUT, true, ["partNumber", "uploadId"]) => {
                let number = query["partNumber"].parse().ok().filter(|number| (1..=PARTS_MAX).contains(number));
                let wrong = || Fault::bad("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive");
                Asked::Part(upload(), number.ok_or_else(wrong)?)
            }
            (&Method::GET, true, ["max-parts", "part-number-marker", "uploadId"] | ["max-parts", "uploadId"] | ["uploadId"]) => {
                Asked::Parts(upload())
            }
            (&Method::POST, true, ["uploadId"]) => Asked::Complete(upload()),
            (&Method::DELETE, true, ["uploadId"]) => Asked::Abort(upload()),
            (&Method::PUT, true, []) => Asked::Put,
            (&Method::HEAD, true, []) => Asked::Head,
            (&Method::GET, true, []) => Asked::Get,
            _ => return Err(Fault::new(501, "NotImplemented", "this is not implemented")),
        })
    }

    fn met(&self, key: &str) -> Met {
        let (endpoint, session, part) = match self {
            Asked::Create => (Endpoint::Open, None, None),
            Asked::Part(id, number) => (Endpoint::Chunk, Some(id), Some(number - 1)),
            Asked::Put => (Endpoint::Chunk, None, Some(0)),
            Asked::Complete(id) => (Endpoint::Finish, Some(id), None),
            Asked::Abort(id) => (Endpoint::Abandon, Some(id), None),
            Asked::Parts(id) => (Endpoint::Probe, Some(id), None),
            Asked::Bucket | Asked::Uploads | Asked::Head => (Endpoint::Probe, None, None),
            Asked::Get => (Endpoint::Link, None, None),
        };
        let file = key.rsplit('/').next().map(str::to_owned).filter(|name| !name.is_empty());
        Met { host: KIND, endpoint, session: session.cloned(), part, file }
    }

    fn has_bytes(&self) -> bool {
        matches!(self, Asked::Part(..) | Asked::Put)
    }
}

/// The emulation.
#[derive(Debug)]
pub(super) struct S3 {
    rules: Rules,
}

/// What came, as far as an answer depends on it.
struct Call {
    rules: Rules,
    asked: Asked,
    key: String,
    request: Request,
    query: BTreeMap<String, String>,
    text: String,
    lies: bool,
}

impl S3 {
    pub(super) fn new(rules: Rules) -> S3 {
        S3 { rules }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        let request = request(exchange);
        let query: BTreeMap<String, String> = request.pairs().into_iter().collect();
        let (bucket, key) = place(&exchange.path);
        let asked = match Asked::of(&exchange.method, !key.is_empty(), &query) {
            Ok(asked) => asked,
            Err(fault) => return Ok(fault.answer()),
        };
        exchange.met(asked.met(&key))?;
        let spooled = if asked.has_bytes() { Some(exchange.spool().await?) } else { None };
        let text = if spooled.is_some() { String::new() } else { text(exchange).await? };
        exchange.received().await?;
        let hash = spooled.as_ref().map_or_else(|| Some(sha256(text.as_bytes())), |spooled| spooled.sha256.clone());
        if let Err(fault) = admitted(&self.rules, &request, &bucket, &key, hash) {
            return Ok(fault.answer());
        }
        let call = Call { rules: self.rules.clone(), asked, key, request, query, text, lies: exchange.lies() };
        let times = exchange.times();
        exchange.work(move |shared| call.answer(shared, spooled, times)).await
    }
}

/// Whether a request may be answered: its signature, its body, its bucket and key.
fn admitted(rules: &Rules, request: &Request, bucket: &str, key: &str, hash: Option<String>) -> Result<(), Fault> {
    if let Payload::Hashed(signed) = request.verify(rules)?
        && hash.is_some_and(|hash| hash != signed)
    {
        return Err(Fault::bad("XAmzContentSHA256Mismatch", "the body is not the one that is signed"));
    }
    if bucket != rules.bucket {
        return Err(Fault::new(404, "NoSuchBucket", "there is no such bucket"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Fault::bad("KeyTooLongError", "the key is too long"));
    }
    let is_known = |name: &str| {
        !name.starts_with("x-amz-")
            || name.starts_with("x-amz-meta-")
            || Algorithm::of_header(name).is_some()
            || OBJECT_HEADERS.contains(&name)
            || OTHER_HEADERS.contains(&name)
    };
    match request.headers.iter().find(|(name, _)| !is_known(name)) {
        Some((name, _)) => Err(Fault::new(501, "NotImplemented", format!("`{name}` is not implemented"))),
        None => Ok(()),
    }
}

impl Emulated for S3 {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Fault::new(status, "InvalidRequest", reason).reply()
    }

    fn full(&self) -> Reply {
        Fault::from(Refusal::Full).reply()
    }

    fn expired(&self) -> Reply {
        Fault::bad("ExpiredToken", "the provided token has expired").reply()
    }

    fn denied(&self) -> Reply {
        Fault::new(403, "SignatureDoesNotMatch", "the signature is not that of the request").reply()
    }

    fn limited(&self) -> Reply {
        Fault::new(503, "SlowDown", "please reduce your request rate").reply()
    }
}

impl Call {
    fn answer(&self, shared: &Shared, spooled: Option<Spooled>, times: usize) -> Answer {
        if let Some(spooled) = spooled {
            let answered = match &self.asked {
                Asked::Part(id, number) => self.take(shared, id, *number, spooled),
                _ => self.put(shared, spooled),
            };
            // The second time brings the bytes that are there.
            return answered.map_or_else(Fault::answer, |answer| Answer { again: answer.again || times > 1, ..answer });
        }
        let mut answered = self.once(shared);
        for _ in 1..times {
            let held = answered.as_ref().is_ok_and(|answer| answer.held);
            answered = self.once(shared).map(|answer| Answer { held: answer.held || held, ..answer });
        }
        answered.unwrap_or_else(Fault::answer)
    }

    fn once(&self, shared: &Shared) -> Result<Answer, Fault> {
        match &self.asked {
            Asked::Bucket => self.looks().and_then(|()| Ok(served(listing::bucket(shared, &self.rules)?))),
            Asked::Uploads => self.looks().and_then(|()| self.uploads(shared)),
            Asked::Create => self.create(shared),
            Asked::Parts(id) => self.looks().and_then(|()| self.list(shared, id)),
            Asked::Complete(id) => self.complete(shared, id),
            Asked::Abort(id) => abort(shared, id),
            Asked::Head | Asked::Get => self.looks().and_then(|()| self.fetch(shared)),
            Asked::Part(..) | Asked::Put => Err(Fault::bad("InvalidRequest", "there are no bytes")),
        }
    }

    fn looks(&self) -> Result<(), Fault> {
        let is_signed_address = self.query.contains_key("X-Amz-Signature");
        if self.rules.may_look || is_signed_address { Ok(()) } else { Err(Fault::denied("Access Denied")) }
    }

    /// What an object is stored with.
    fn object_headers(&self) -> Result<BTreeMap<String, String>, Fault> {
        let meta = |name: &str| self.rules.keeps_metadata && name.starts_with("x-amz-meta-");
        let kept = self.request.headers.iter().filter(|(name, _)| OBJECT_HEADERS.contains(&name.as_str()) || meta(name));
        let headers: BTreeMap<String, String> = kept.cloned().collect();
        if let Some(class) = headers.get("x-amz-storage-class").filter(|class| !STORAGE_CLASSES.contains(&class.as_str())) {
            return Err(Fault::bad("InvalidStorageClass", format!("there is no storage class `{class}`")));
        }
        Ok(headers)
    }

    /// The checksum that came with some bytes, if one did: how it is computed, and what it says.
    fn announced(&self) -> Result<Option<(Algorithm, String)>, Fault> {
        let mut found = self.request.headers.iter().filter_map(|(name, value)| Some((Algorithm::of_header(name)?, value.clone())));
        let first = found.next();
        match self.rules.checksums {
            Checksums::Refused if first.is_some() => Err(Fault::new(501, "NotImplemented", "x-amz-checksum is not implemented")),
            Checksums::Ignored => Ok(None),
            _ if found.next().is_some() => Err(Fault::bad("InvalidRequest", "there is more than one checksum")),
            _ => Ok(first),
        }
    }

    /// Whether the bytes are those that were announced. Their checksum, to be said back.
    fn compared(&self, shared: &Shared, spooled: &Spooled) -> Result<Option<(Algorithm, String)>, Fault> {
        if self.request.header("content-length").is_none() {
            return Err(Fault::new(411, "MissingContentLength", "the length is missing"));
        }
        if let Some(told) = self.request.header("content-md5") {
            let told = bytes::hex_of_base64(told).filter(|hex| hex.len() == 32);
            let told = told.ok_or_else(|| Fault::bad("InvalidDigest", "the Content-MD5 is none"))?;
            if spooled.md5.as_ref().is_some_and(|md5| *md5 != told) {
                return Err(Fault::bad("BadDigest", "the Content-MD5 is not that of the bytes"));
            }
        }
        let announced = self.announced()?;
        if let (Some((algorithm, told)), Some(path)) = (&announced, &spooled.path)
            && algorithm.of_files(shared, std::slice::from_ref(path))? != *told
        {
            return Err(Fault::bad("BadDigest", "the checksum is not that of the bytes"));
        }
        Ok(announced)
    }

    fn etag(&self, shared: &Shared, md5: Option<&str>) -> String {
        let told = self.request.header("content-md5").and_then(bytes::hex_of_base64);
        match md5.map(str::to_owned).or(told).filter(|_| self.rules.etag_is_md5) {
            Some(md5) => md5,
            None => format!("{:032x}", shared.chance.number()),
        }
    }

    fn create(&self, shared: &Shared) -> Result<Answer, Fault> {
        let checksum = match (self.request.header("x-amz-checksum-algorithm"), self.request.header("x-amz-checksum-type")) {
            (None, None) => None,
            (Some(_), _) if self.rules.checksums == Checksums::Refused => {
                return Err(Fault::new(501, "NotImplemented", "x-amz-checksum is not implemented"));
            }
            (Some(_), _) if self.rules.checksums == Checksums::Ignored => None,
            (Some(name), kind) => {
                let algorithm = Algorithm::of_name(name).ok_or_else(|| Fault::bad("InvalidRequest", "another algorithm"))?;
                let is_whole = kind.map_or(algorithm == Algorithm::Crc64Nvme, |kind| kind == "FULL_OBJECT");
                if is_whole != algorithm.combines() && !(kind != Some("FULL_OBJECT") && algorithm == Algorithm::Crc32c) {
                    return Err(Fault::bad("InvalidRequest", "this algorithm has no checksum of this type"));
                }
                Some((algorithm, is_whole))
            }
            (None, Some(_)) => return Err(Fault::bad("InvalidRequest", "a type without an algorithm")),
        };
        let id = format!("{:032x}.{:016x}~-", shared.chance.number(), shared.chance.number() >> 64);
        let (key, opened_ms) = (self.key.clone(), shared.clock.now_ms());
        let upload = Upload { key, opened_ms, headers: self.object_headers()?, checksum, parts: BTreeMap::new() };
        shared.store.begin(KIND, &id, Totals { parts: 0, bytes: 0 })?;
        shared.records.set(KIND, &upload_record(&id), &upload)?;
        let (bucket, key) = (escape(self.rules.bucket.as_str()), escape(self.key.as_str()));
        let reply = xml(
            200,
            &format!(
                "<InitiateMultipartUploadResult xmlns=\"{NAMESPACE}\"><Bucket>{bucket}</Bucket><Key>{key}</Key>\
                 <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ),
        );
        Ok(served(match checksum {
            Some((algorithm, is_whole)) => reply
                .header("x-amz-checksum-algorithm", algorithm.name())
                .header("x-amz-checksum-type", if is_whole { "FULL_OBJECT" } else { "COMPOSITE" }),
            None => reply,
        }))
    }

    fn take(&self, shared: &Shared, id: &str, number: u64, spooled: Spooled) -> Result<Answer, Fault> {
        let upload = upload(shared, id, &self.key)?;
        let checksum = self.compared(shared, &spooled)?;
        let wanted = upload.checksum.map(|(algorithm, _)| algorithm);
        if checksum.as_ref().map(|(algorithm, _)| *algorithm) != wanted && self.rules.checksums == Checksums::Verified {
            return Err(Fault::bad("InvalidRequest", "the upload was created with another checksum algorithm"));
        }
        let etag = self.etag(shared, spooled.md5.as_deref());
        let (file_sha256, md5) = (spooled.sha256.clone(), spooled.md5.clone());
        let put = shared.store.put_spooled(KIND, id, number - 1, spooled)?;
        let taken = Taken { etag: etag.clone(), md5, checksum: checksum.as_ref().map(|(_, told)| told.clone()) };
        shared.records.update(KIND, &upload_record(id), |known: Option<Upload>| {
            let known = known.map(|mut upload| {
                upload.parts.insert(number, taken);
                upload
            });
            Ok(((), known))
        })?;
        let reply = self.told(Reply::empty(200), &etag, checksum.as_ref());
        let answer = Answer::plain(reply, Outcome::Acked);
        Ok(Answer { file_sha256, held: true, again: put.again, differed: put.differed, ..answer })
    }

    fn put(&self, shared: &Shared, spooled: Spooled) -> Result<Answer, Fault> {
        let checksum = self.compared(shared, &spooled)?;
        let headers = self.object_headers()?;
        self.heeded(shared)?;
        let etag = self.etag(shared, spooled.md5.as_deref());
        let file_sha256 = spooled.sha256.clone();
        let id = object_id(&self.key);
        let again = shared.store.object(KIND, &id).is_some();
        shared.store.keep_as(KIND, id.clone(), last_name(&self.key), &id, spooled)?;
        let told = checksum.as_ref().map(|(algorithm, told)| (algorithm.header().to_owned(), told.clone()));
        let meta = Meta { key: self.key.clone(), headers, etag: etag.clone(), checksum: told, version: self.version(shared) };
        shared.records.set(KIND, &object_record(&id), &meta)?;
        let reply = meta.told_in(self.told(Reply::empty(200), &etag, checksum.as_ref()));
        let answer = Answer::plain(reply, Outcome::Stored);
        Ok(Answer { file_sha256, held: true, again, ..answer })
    }

    fn version(&self, shared: &Shared) -> Option<String> {
        self.rules.is_versioned.then(|| format!("{:032x}", shared.chance.number()))
    }

    /// Whether the key is free, where that was asked for.
    fn heeded(&self, shared: &Shared) -> Result<(), Fault> {
        match self.request.header("if-none-match") {
            None => Ok(()),
            Some("*") if !self.rules.heeds_conditions || shared.store.object(KIND, &object_id(&self.key)).is_none() => Ok(()),
            Some("*") => Err(Fault::new(412, "PreconditionFailed", "the key has an object")),
            Some(_) => Err(Fault::new(501, "NotImplemented", "only `*` is implemented")),
        }
    }

    fn told(&self, reply: Reply, etag: &str, checksum: Option<&(Algorithm, String)>) -> Reply {
        let etag = if self.lies { sha256(etag.as_bytes())[..32].to_owned() } else { etag.to_owned() };
        let reply = reply.header("etag", &format!("\"{etag}\"")).header("x-amz-request-id", "4442587FB7D0A2F9");
        match checksum {
            Some((algorithm, told)) => reply.header(algorithm.header(), told),
            None => reply,
        }
    }

    fn fetch(&self, shared: &Shared) -> Result<Answer, Fault> {
        let id = object_id(&self.key);
        let nothing = || Fault::new(404, "NoSuchKey", "there is no such key");
        let meta: Meta = shared.records.get(KIND, &object_record(&id)).ok_or_else(nothing)?;
        let object = shared.store.object(KIND, &id).ok_or_else(nothing)?;
        // Of what is counted and not kept, nothing can be told.
        let file = shared.store.open_object(KIND, &id).ok_or_else(|| Fault::denied("Access Denied"))??;
        let reply = meta.headers.iter().fold(Reply::file(file, object.bytes), |reply, (name, value)| reply.header(name, value));
        let reply = meta.told_in(reply.header("etag", &format!("\"{}\"", meta.etag)));
        let wants = self.request.header("x-amz-checksum-mode") == Some("ENABLED");
        Ok(served(match meta.checksum.filter(|_| wants) {
            Some((name, told)) => reply.header(&name, &told),
            None => reply,
        }))
    }
}

fn abort(shared: &Shared, id: &str) -> Result<Answer, Fault> {
    shared.records.get::<Upload>(KIND, &upload_record(id)).ok_or_else(Fault::no_upload)?;
    shared.store.forget_session(KIND, id)?;
    shared.records.remove(KIND, &upload_record(id))?;
    Ok(served(Reply::empty(204)))
}

/// An upload that is known and was not lost.
fn upload(shared: &Shared, id: &str, key: &str) -> Result<Upload, Fault> {
    let known: Upload = shared.records.get(KIND, &upload_record(id)).ok_or_else(Fault::no_upload)?;
    match shared.store.stage(KIND, id) {
        Some((Stage::Open, _)) if known.key == key => Ok(known),
        _ => Err(Fault::no_upload()),
    }
}

fn request(exchange: &Exchange) -> Request {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Request {
        method: exchange.method.as_str().to_owned(),
        path: format!("/{KIND}{}", exchange.path),
        query: exchange.query.clone(),
        headers: exchange.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        now_ms: exchange.shared().clock.now_ms(),
    }
}

/// The bucket and the key of a path; what is no UTF-8 is none.
fn place(path: &str) -> (String, String) {
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).unwrap_or_default();
    (decoded(bucket), decoded(key))
}

fn last_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// The id of the object of a key.
fn object_id(key: &str) -> String {
    sha256(key.as_bytes())[..32].to_owned()
}

fn upload_record(id: &str) -> String {
    format!("upload-{id}")
}

fn object_record(id: &str) -> String {
    format!("object-{id}")
}

fn xml(status: u16, text: &str) -> Reply {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
    Reply::bytes(status, text).header("content-type", "application/xml")
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
