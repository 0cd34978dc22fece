//! Reads the replies. Every function here is pure; `docs/protocols/s3.md`, here "page", has the forms.

use crate::job::Proof;
use crate::job::upload::Class;

use super::super::error::{HostError, excerpt};
use super::super::http::Reply;
use super::super::xml::{self, Element};
use super::checksum::{Checksum, Expected};

/// The longest id of an upload, ETag and checksum that are believed, in bytes.
const UPLOAD_ID_BYTES_MAX: usize = 4096;
const ETAG_BYTES_MAX: usize = 256;
/// Each object of ours has this, with the token of its upload (page, 3).
pub(super) const TOKEN: &str = "x-amz-meta-ferryd-upload";

/// A part that the service holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, counted from 1.
    pub number: u32,
    /// How long it is.
    pub bytes: u64,
    /// What stands for it; some services do not say.
    pub etag: Option<String>,
}

/// A page of the list of the parts that the service holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The parts.
    pub parts: Vec<Listed>,
    /// Behind which number the next page begins, where there is one.
    pub next: Option<u32>,
}

/// A page of the list of the uploads that are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploads {
    /// The key and the id of each.
    pub open: Vec<(String, String)>,
    /// The key and the id behind which the next page begins, where there is one.
    pub next: Option<(String, String)>,
}

/// What the service tells of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its size in bytes.
    pub bytes: Option<u64>,
    /// Its ETag, without quotation marks.
    pub etag: Option<String>,
    /// Its checksum.
    pub checksum: Option<String>,
    /// The token of the upload that it came from.
    pub token: Option<String>,
    /// Which of the versions it is that the bucket keeps of the key.
    pub version: Option<String>,
}

impl Stored {
    /// What it proves of a file that would be `expected`; nothing where it is something else. An ETag that is another one proves
    /// nothing, since services make them as they like (page, 6).
    pub(super) fn proof(&self, expected: &Expected) -> Option<Proof> {
        if self.bytes.is_some_and(|bytes| bytes != expected.bytes) {
            return None;
        }
        let same_kind = |one: &str, other: &str| one.contains('-') == other.contains('-');
        let checksums = self.checksum.as_deref().zip(expected.checksum.as_deref()).filter(|(told, own)| same_kind(told, own));
        let etags = self.etag.as_deref().zip(expected.etag.as_deref());
        match (checksums, etags) {
            (Some((told, own)), _) if told != own => None,
            (Some(_), _) => Some(Proof::Digest),
            (None, Some((told, own))) if told.eq_ignore_ascii_case(own) => Some(Proof::Digest),
            _ if self.bytes.is_some() => Some(Proof::Size),
            _ => Some(Proof::Word),
        }
    }
}

/// An upload that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// The algorithm by which the service verifies its parts, where it says one.
    pub algorithm: Option<String>,
}

impl Created {
    /// Whether the service says that it verifies this checksum.
    pub(super) fn names(&self, checksum: Checksum) -> bool {
        let announced = checksum.announced().map(|(algorithm, _)| algorithm);
        self.algorithm.as_deref().zip(announced).is_some_and(|(named, announced)| named.eq_ignore_ascii_case(announced))
    }
}

/// The upload that was opened.
pub fn create_reply(reply: &Reply) -> Result<Created, HostError> {
    let root = answer(reply, "InitiateMultipartUpload")?;
    let id = root.text_of("UploadId").filter(sound_id).map(str::to_owned);
    let algorithm = reply.header("x-amz-checksum-algorithm").map(str::to_owned);
    id.map(|id| Created { id, algorithm }).ok_or_else(|| unreadable(reply, "gave no upload id"))
}

/// What stands for a part, or for an object, that was taken with this digest.
pub fn put_reply(reply: &Reply, checksum: Checksum, digest: Option<&str>) -> Result<Stored, HostError> {
    succeeded(reply)?;
    let etag = reply.header("etag").and_then(etag);
    let etag = etag.ok_or_else(|| HostError { doubt: true, ..unreadable(reply, "gave no ETag for what it was sent") })?;
    let told = told_checksum(reply, checksum);
    if told.as_deref().zip(digest).is_some_and(|(told, own)| told != own) {
        let said = "the host tells another checksum than that of what it was sent";
        return Err(HostError { doubt: true, ..reply.failure(Class::Transient, said) }.worsening_to(Class::RequestRefused));
    }
    Ok(Stored { etag: Some(etag), checksum: told, version: version(reply), ..Stored::default() })
}

/// The parts that are held of an upload, from behind `marker` on. A list with anything in it that cannot be read is none.
pub fn list_reply(reply: &Reply, marker: u32) -> Result<Listing, HostError> {
    let root = answer(reply, "ListParts")?;
    let parts: Option<Vec<Listed>> = root.children.iter().filter(|child| child.name == "Part").map(listed).collect();
    let parts = parts.ok_or_else(|| unreadable(reply, "listed parts in an unknown form"))?;
    if root.text_of("IsTruncated") != Some("true") {
        return Ok(Listing { parts, next: None });
    }
    let next = root.text_of("NextPartNumberMarker").and_then(|next| next.parse().ok()).filter(|next| *next > marker);
    let next = next.ok_or_else(|| unreadable(reply, "did not say where its list of parts goes on"))?;
    Ok(Listing { parts, next: Some(next) })
}

/// The uploads that are open. One whose id cannot be read is left out: nothing could be done about it.
pub fn uploads_reply(reply: &Reply) -> Result<Uploads, HostError> {
    let root = answer(reply, "ListMultipartUploads")?;
    let of = |upload: &Element| Some((upload.text_of("Key")?.to_owned(), upload.text_of("UploadId").filter(sound_id)?.to_owned()));
    let open = root.children.iter().filter(|child| child.name == "Upload").filter_map(of).collect();
    let marker = |name| root.text_of(name).unwrap_or_default().to_owned();
    let next = (marker("NextKeyMarker"), marker("NextUploadIdMarker"));
    Ok(Uploads { open, next: Some(next).filter(|(key, _)| root.text_of("IsTruncated") == Some("true") && !key.is_empty()) })
}

/// The object that was made of an upload. Only the root of the XML decides: the status is told before anything is done (page, 3).
pub fn complete_reply(reply: &Reply, checksum: Checksum) -> Result<Stored, HostError> {
    succeeded(reply)?;
    let root = xml::parse(reply.text.trim()).filter(|root| !reply.cut && root.name == "CompleteMultipartUploadResult");
    let lost = || HostError { doubt: true, ..reply.failure(Class::Transient, said_instead(reply, "did not say what it stored")) };
    let root = root.ok_or_else(lost)?;
    let told = checksum.element().and_then(|element| root.text_of(element)).map(str::to_owned);
    Ok(Stored { etag: root.text_of("ETag").and_then(etag), checksum: told, version: version(reply), ..Stored::default() })
}

/// An object, where there is one.
pub fn head_reply(reply: &Reply, checksum: Checksum) -> Result<Option<Stored>, HostError> {
    match reply.status {
        200 => {
            let bytes = reply.header("content-length").and_then(|bytes| bytes.parse().ok());
            // Every object has one: an answer without it, such as a proxy's page, is about none.
            let Some(etag) = reply.header("etag").and_then(etag) else {
                return Err(unreadable(reply, "answered without the ETag of an object"));
            };
            let token = reply.header(TOKEN).map(str::to_owned);
            Ok(Some(Stored { bytes, etag: Some(etag), checksum: told_checksum(reply, checksum), token, version: version(reply) }))
        }
        404 => Ok(None),
        _ => Err(refusal(reply)),
    }
}

/// Whether an upload is given up; one that is not known is.
pub fn abort_reply(reply: &Reply) -> Result<(), HostError> {
    match succeeded(reply) {
        Err(error) if error.class == Class::SessionLost => Ok(()),
        answered => answered,
    }
}

/// Whether the bucket is there, and may be listed.
pub fn bucket_reply(reply: &Reply) -> Result<bool, HostError> {
    match answer(reply, "ListBucket") {
        Ok(_) => Ok(true),
        Err(error) if error.code.as_deref() == Some("AccessDenied") => Ok(false),
        Err(error) => Err(error),
    }
}

/// The version of an object, in a bucket that keeps them; one that did so earlier calls what is new `null`.
fn version(reply: &Reply) -> Option<String> {
    let told = reply.header("x-amz-version-id").filter(sound_id).filter(|told| !told.is_empty() && *told != "null");
    told.map(str::to_owned)
}

fn sound_id(id: &&str) -> bool {
    id.len() <= UPLOAD_ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn told_checksum(reply: &Reply, checksum: Checksum) -> Option<String> {
    let header = checksum.header().filter(|header| header.starts_with("x-amz-"))?;
    reply.header(header).map(str::to_owned)
}

fn listed(part: &Element) -> Option<Listed> {
    let number = part.text_of("PartNumber")?.parse().ok().filter(|number| *number > 0)?;
    Some(Listed { number, bytes: part.text_of("Size")?.parse().ok()?, etag: part.text_of("ETag").and_then(etag) })
}

/// An ETag without its quotation marks.
fn etag(text: &str) -> Option<String> {
    let text = text.trim();
    let inner = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
    let sound = (1..=ETAG_BYTES_MAX).contains(&inner.len()) && inner.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then(|| inner.to_owned())
}

fn succeeded(reply: &Reply) -> Result<(), HostError> {
    let root = xml::parse(reply.text.trim());
    let is_error = root.as_ref().is_some_and(|root| root.name == "Error");
    if reply.is_success() && !is_error { Ok(()) } else { Err(refusal_in(reply, root.as_ref().filter(|_| is_error))) }
}

/// The XML of a success, by how the name of its root begins: services end it as they like (page, 3).
fn answer(reply: &Reply, name: &str) -> Result<Element, HostError> {
    succeeded(reply)?;
    let is_it = |root: &Element| root.name.starts_with(name);
    let root = xml::parse(reply.text.trim()).filter(|root| !reply.cut && is_it(root));
    root.ok_or_else(|| unreadable(reply, "sent no answer of this protocol"))
}

fn unreadable(reply: &Reply, what: &str) -> HostError {
    reply.failure(Class::Unreadable, said_instead(reply, what))
}

fn said_instead(reply: &Reply, what: &str) -> String {
    format!("the host {what} ({}): `{}`", reply.status, excerpt(&reply.text))
}

/// What a reply means that is no success (page, 7).
fn refusal(reply: &Reply) -> HostError {
    let root = xml::parse(reply.text.trim()).filter(|root| root.name == "Error");
    refusal_in(reply, root.as_ref())
}

fn refusal_in(reply: &Reply, error: Option<&Element>) -> HostError {
    let Some((error, code)) = error.and_then(|error| Some((error, error.text_of("Code")?))) else { return reply.refusal() };
    let words = error.text_of("Message").unwrap_or(code);
    let Some((class, advice)) = meaning(code, words, reply.status) else { return reply.refusal().with_code(code) };
    // The status of an error that comes late was told before.
    let doubt = class == Class::Transient && (reply.is_success() || reply.refusal().doubt);
    let request = reply.header("x-amz-request-id").map_or(String::new(), |id| format!(" (request {})", excerpt(id)));
    let elsewhere = [error.text_of("Region"), reply.header("x-amz-bucket-region"), error.text_of("Endpoint")];
    let place = elsewhere.into_iter().flatten().next().filter(|_| class == Class::HostRefused);
    let place = place.map_or(String::new(), |place| format!("; it names `{}`", excerpt(place)));
    let said = format!("the host answered {code}: `{}`{request}{place}{advice}", excerpt(words));
    let failure = HostError { wait: reply.retry_after, doubt, ..reply.failure(class, said) }.with_code(code);
    if is_damage(code) { failure.worsening_to(Class::RequestRefused) } else { failure }
}

/// Whether the bytes that came were not those that were announced: what damages them may go on to do so.
fn is_damage(code: &str) -> bool {
    matches!(code, "BadDigest" | "InvalidDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch")
}

fn meaning(code: &str, words: &str, status: u16) -> Option<(Class, &'static str)> {
    let found = match code {
        "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" => (Class::RateLimited, ""),
        _ if code.starts_with("Throttl") => (Class::RateLimited, ""),
        "ServiceUnavailable" | "InternalError" | "RequestTimeout" | "OperationAborted" | "TemporaryRedirect" => {
            (Class::Transient, "")
        }
        _ if is_damage(code) => (Class::Transient, ""),
        "NoSuchUpload" | "ConditionalRequestConflict" => (Class::SessionLost, ""),
        "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" => (Class::OffsetMismatch, ""),
        _ if status == 403 && words.to_lowercase().split_whitespace().any(|word| word == "cap") => (Class::HostFull, ""),
        "QuotaExceeded" | "XMinioStorageFull" => (Class::HostFull, ""),
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" => {
            (Class::HostRefused, "; check `access_key_id`, `secret_access_key` and `region`")
        }
        "ExpiredToken" | "TokenRefreshRequired" => (Class::HostRefused, "; `session_token` has ended"),
        "RequestTimeTooSkewed" => (Class::HostRefused, "; check the clock of this machine"),
        "NoSuchBucket" | "InvalidBucketName" => (Class::HostRefused, "; check `bucket` and `endpoint`"),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" => (Class::HostRefused, "; check `region` and `endpoint`"),
        "AccessDenied" => (Class::HostRefused, "; the key must be allowed to write objects"),
        "AccountProblem" | "AllAccessDisabled" | "NotSignedUp" | "InvalidObjectState" => (Class::HostRefused, ""),
        "EntityTooLarge" | "KeyTooLongError" | "XMinioInvalidObjectName" => (Class::FileRejected, ""),
        "NotImplemented" | "PreconditionFailed" => (Class::RequestRefused, ""),
        _ if status == 400 => (Class::RequestRefused, ""),
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&str, &str)], text: &str) -> Reply {
        Reply { status, headers: headers.iter().copied().collect(), text: text.into(), ..Reply::default() }
    }

    fn text(text: &str) -> Reply {
        reply(200, &[], text)
    }

    const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

    #[test]
    fn the_answers_of_the_page_are_read() {
        let created = format!(
            "<?xml version=\"1.0\"?>\n<InitiateMultipartUploadResult xmlns=\"{NAMESPACE}\"><Bucket>b</Bucket><Key>k</Key><UploadId>VXBsb2Fk.~-</UploadId></InitiateMultipartUploadResult>"
        );
        assert_eq!(create_reply(&text(&created)).unwrap().id, "VXBsb2Fk.~-");
        let shorter = created.replace("MultipartUploadResult", "MultipartUpload");
        assert_eq!(create_reply(&text(&shorter)).unwrap().id, "VXBsb2Fk.~-", "as one that is found in the field");
        let part = reply(200, &[("ETag", "\"9a03\""), ("x-amz-checksum-crc32c", "4waSgw==")], "");
        let stored = put_reply(&part, Checksum::Crc32c, Some("4waSgw==")).unwrap();
        assert_eq!((stored.etag.as_deref(), stored.checksum.as_deref()), (Some("9a03"), Some("4waSgw==")));
        let page = "<ListPartsResult><UploadId>u</UploadId><IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>\
                    <Part><PartNumber>1</PartNumber><ETag>&quot;9a03&quot;</ETag><Size>7</Size></Part><Part><Size>8</Size><PartNumber>2</PartNumber></Part></ListPartsResult>";
        let listed = |number, bytes, etag: Option<&str>| Listed { number, bytes, etag: etag.map(str::to_owned) };
        let parts = vec![listed(1, 7, Some("9a03")), listed(2, 8, None)];
        assert_eq!(list_reply(&text(page), 0).unwrap(), Listing { parts, next: Some(2) });
        assert!(list_reply(&text(page), 2).is_err(), "it would go on for ever");
        assert!(list_reply(&text("<ListPartsResponse><IsTruncated>false</IsTruncated></ListPartsResponse>"), 0).is_ok());
        assert_eq!(list_reply(&text("<ListPartsResult/>"), 0).unwrap(), Listing { parts: vec![], next: None });
        let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>v</NextUploadIdMarker>\
                    <Upload><Key>k</Key><UploadId>u</UploadId></Upload><Upload><Key>k</Key></Upload><Upload><UploadId>v</UploadId><Key>kk</Key></Upload></ListMultipartUploadsResult>";
        let of = |key: &str, id: &str| (key.to_owned(), id.to_owned());
        let open = vec![of("k", "u"), of("kk", "v")];
        assert_eq!(uploads_reply(&text(page)).unwrap(), Uploads { open: open.clone(), next: Some(of("k", "v")) });
        assert_eq!(uploads_reply(&text(&page.replace("true", "false"))).unwrap(), Uploads { open, next: None });
        let done = "   \n  <?xml version=\"1.0\"?><CompleteMultipartUploadResult><ETag>\"ab-2\"</ETag><ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME></CompleteMultipartUploadResult>";
        let stored = complete_reply(&text(done), Checksum::Crc64Nvme).unwrap();
        assert_eq!((stored.etag.as_deref(), stored.checksum.as_deref()), (Some("ab-2"), Some("rosUhgp5mIg=")));
        let head = reply(200, &[("content-length", "7"), ("ETag", "\"ab\""), (TOKEN, "3f1c"), ("x-amz-version-id", "v.1")], "");
        let stored = head_reply(&head, Checksum::Md5).unwrap().unwrap();
        assert_eq!(stored.version.as_deref(), Some("v.1"));
        let of = |version| {
            put_reply(&reply(200, &[("ETag", "\"ab\""), ("x-amz-version-id", version)], ""), Checksum::Md5, None).unwrap().version
        };
        assert_eq!([of("v.1"), of("null"), of("a b")], [Some("v.1".into()), None, None]);
        assert_eq!((stored.bytes, stored.token.as_deref(), stored.checksum), (Some(7), Some("3f1c"), None));
        assert_eq!(head_reply(&reply(404, &[], ""), Checksum::Md5).unwrap(), None);
        let page = reply(200, &[("content-length", "1200"), ("content-type", "text/html")], "");
        assert_eq!(head_reply(&page, Checksum::Md5).unwrap_err().class, Class::Unreadable, "a proxy's page is about no object");
        assert!(abort_reply(&reply(204, &[], "")).is_ok());
        assert!(bucket_reply(&text("<ListBucketResult><Name>b</Name></ListBucketResult>")).unwrap());
    }

    #[test]
    fn a_success_of_another_form_is_none() {
        let class = |error: HostError| (error.class, error.doubt);
        for strange in ["", "ok", "<html><body>Maintenance</body></html>", "<CompleteMultipartUploadResult><ETag>", "   \n "] {
            let reply = text(strange);
            let seen = [create_reply(&reply).map(drop), list_reply(&reply, 0).map(drop), bucket_reply(&reply).map(drop)];
            assert!(seen.into_iter().all(|seen| seen.map_err(class) == Err((Class::Unreadable, false))), "{strange}");
            assert_eq!(put_reply(&reply, Checksum::Md5, None).map_err(class), Err((Class::Unreadable, true)), "{strange}");
            assert_eq!(complete_reply(&reply, Checksum::Md5).map_err(class), Err((Class::Transient, true)), "{strange}");
        }
        let cut = Reply { cut: true, ..text("<CompleteMultipartUploadResult/>") };
        assert_eq!(complete_reply(&cut, Checksum::Md5).map_err(class), Err((Class::Transient, true)));
        let other = reply(200, &[("etag", "\"a\""), ("x-amz-checksum-crc32c", "AAAAAA==")], "");
        assert_eq!(put_reply(&other, Checksum::Crc32c, Some("4waSgw==")).unwrap_err().class, Class::Transient);
        for id in ["", "a b", &"x".repeat(UPLOAD_ID_BYTES_MAX + 1)] {
            let created = format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
            assert!(create_reply(&text(&created)).is_err(), "{id}");
        }
    }

    #[test]
    fn an_error_that_comes_late_under_a_good_status_is_no_success() {
        let late = "  \n \n<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>again</Message></Error>";
        let error = complete_reply(&text(late), Checksum::Md5).unwrap_err();
        assert_eq!((error.class, error.doubt, error.code.as_deref()), (Class::Transient, true, Some("InternalError")));
        let late = "<Error><Code>InvalidPart</Code><Message>no</Message></Error>";
        let error = complete_reply(&text(late), Checksum::Md5).unwrap_err();
        assert_eq!((error.class, error.doubt), (Class::OffsetMismatch, false));
    }

    #[test]
    fn the_code_says_what_a_refusal_means_and_else_the_status() {
        let error = |status, code: &str, words: &str| {
            let said = format!("<Error><Code>{code}</Code><Message>{words}</Message></Error>");
            refusal(&reply(status, &[], &said))
        };
        let page = [
            (503, "SlowDown", Class::RateLimited),
            (400, "ThrottlingException", Class::RateLimited),
            (400, "RequestTimeout", Class::Transient),
            (500, "InternalError", Class::Transient),
            (409, "OperationAborted", Class::Transient),
            (400, "BadDigest", Class::Transient),
            (404, "NoSuchUpload", Class::SessionLost),
            (409, "ConditionalRequestConflict", Class::SessionLost),
            (400, "InvalidPart", Class::OffsetMismatch),
            (400, "EntityTooSmall", Class::OffsetMismatch),
            (403, "AccessDenied", Class::HostRefused),
            (403, "SignatureDoesNotMatch", Class::HostRefused),
            (400, "ExpiredToken", Class::HostRefused),
            (404, "NoSuchBucket", Class::HostRefused),
            (301, "PermanentRedirect", Class::HostRefused),
            (400, "EntityTooLarge", Class::FileRejected),
            (400, "KeyTooLongError", Class::FileRejected),
            (507, "XMinioStorageFull", Class::HostFull),
            (412, "PreconditionFailed", Class::RequestRefused),
            (400, "InvalidArgument", Class::RequestRefused),
            (400, "Oops", Class::RequestRefused),
            (501, "NotImplemented", Class::RequestRefused),
            (502, "Oops", Class::Transient),
            (404, "Oops", Class::Unreadable),
        ];
        for (status, code, expected) in page {
            let error = error(status, code, "no");
            assert_eq!((error.class, error.code.as_deref()), (expected, Some(code)), "{status} {code}");
        }
        assert_eq!(error(403, "AccessDenied", "Storage cap exceeded").class, Class::HostFull);
        assert_eq!(error(400, "BadDigest", "no").worsens, Some(Class::RequestRefused));
        let html = refusal(&reply(403, &[], "<html>login</html>"));
        assert_eq!((html.class, html.worsens), (Class::Unreadable, Some(Class::HostRefused)));
        let moved = refusal(&reply(301, &[("x-amz-bucket-region", "eu-west-3")], "<Error><Code>PermanentRedirect</Code></Error>"));
        assert!(moved.said.contains("`eu-west-3`"), "{}", moved.said);
    }

    #[test]
    fn what_is_told_of_an_object_proves_it_or_shows_another() {
        let told = |bytes, etag: &str, checksum: &str| {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            Stored { bytes, etag: text(etag), checksum: text(checksum), ..Stored::default() }
        };
        let own = |etag: &str, checksum: &str| {
            let Stored { etag, checksum, .. } = told(None, etag, checksum);
            Expected { bytes: 7, etag, checksum }
        };
        let cases = [
            (told(Some(8), "ab-2", ""), own("ab-2", ""), None),
            (told(Some(7), "ab-2", ""), own("ab-2", ""), Some(Proof::Digest)),
            (told(None, "AB-2", ""), own("ab-2", ""), Some(Proof::Digest)),
            (told(Some(7), "other", ""), own("ab-2", ""), Some(Proof::Size)),
            (told(None, "other", ""), own("ab-2", ""), Some(Proof::Word)),
            (told(None, "other", "AAAA"), own("", "AAAA"), Some(Proof::Digest)),
            (told(Some(7), "other", "AAAA"), own("", "BBBB"), None),
            (told(Some(7), "other", "AAAA-2"), own("", "BBBB"), Some(Proof::Size)),
        ];
        for (told, own, proof) in cases {
            assert_eq!(told.proof(&own), proof, "{told:?} for {own:?}");
        }
    }
}
