//! Reads the replies. Every function here is pure; `docs/protocols/webdav.md`, here "page", has the forms.

use std::time::Duration;

use crate::job::upload::Class;

use super::super::error::{HostError, excerpt, names_the_file};
use super::super::http::Reply;
use super::super::xml::{self, Element};
use super::place::names_of;

/// The longest ETag or date that is believed, in bytes.
const TOLD_BYTES_MAX: usize = 256;

/// How long a server in maintenance is left alone that does not say how long.
const MAINTENANCE_REST: Duration = Duration::from_secs(60);

/// What a server tells of a file or folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its size in bytes.
    pub bytes: Option<u64>,
    /// What stands for its content.
    pub etag: Option<String>,
    /// When it was changed last, as the server writes it.
    pub modified: Option<String>,
    /// How many bytes there is still room for.
    pub free: Option<u64>,
    /// The digests of its content, as Nextcloud and ownCloud write them.
    pub checksums: Option<String>,
}

/// What a request is about, as far as its refusal depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To look at something, or to make a folder.
    Call,
    /// To take bytes, or to give them their name.
    Store,
}

/// What is at an address, where there is anything: the answer to PROPFIND with `Depth: 0`.
pub fn look_reply(reply: &Reply, url: &str) -> Result<Option<Seen>, HostError> {
    if matches!(reply.status, 404 | 410) {
        return Ok(None);
    }
    let wanted = names_of(url);
    if let (301 | 302 | 307 | 308, Some(to)) = (reply.status, reply.header("location"))
        && to.ends_with('/')
        && names_of(to).last() == wanted.last()
    {
        // Some want the slash at the end of a folder's address.
        return Ok(Some(Seen { is_folder: true, ..Seen::default() }));
    }
    let found = listed(reply)?;
    let is_it = |names: &&(Vec<String>, Option<Seen>)| names.0 == wanted;
    // A proxy may show another path than the server knows, but not another name.
    let is_last = |names: &&(Vec<String>, Option<Seen>)| names.0.last() == wanted.last();
    let it = found.iter().find(is_it).or_else(|| found.first().filter(|_| found.len() == 1).filter(is_last));
    it.map(|(_, seen)| seen.clone()).ok_or_else(|| unreadable(reply, "told of something else than it was asked about"))
}

/// What is in a folder, by name, itself left out: the answer to PROPFIND with `Depth: 1`.
pub fn list_reply(reply: &Reply, url: &str) -> Result<Vec<(String, Seen)>, HostError> {
    let depth = names_of(url).len();
    let found = listed(reply)?;
    // The path of the folder as the server writes it is the shortest.
    let own = found.iter().map(|(names, _)| names.len()).min().unwrap_or(depth);
    let within = found.into_iter().filter(|(names, _)| names.len() > own);
    Ok(within.filter_map(|(mut names, seen)| Some((names.pop()?, seen?))).collect())
}

/// What is at an address that a server tells of which knows no PROPFIND (page, 11): the answer to HEAD.
pub fn head_reply(reply: &Reply, url: &str) -> Result<Option<Seen>, HostError> {
    let told = |name: &str| reply.header(name).and_then(told);
    match reply.status {
        404 | 410 => Ok(None),
        200..=299 => Ok(Some(Seen {
            bytes: reply.header("content-length").and_then(|bytes| bytes.trim().parse().ok()),
            etag: told("etag"),
            modified: told("last-modified"),
            ..Seen::default()
        })),
        // Of a folder, servers tell nothing, or that its address has a slash at its end.
        403 if url.ends_with('/') => Ok(Some(Seen { is_folder: true, ..Seen::default() })),
        301 | 302 | 307 | 308 if reply.header("location").is_some_and(|to| to.ends_with('/')) => {
            Ok(Some(Seen { is_folder: true, ..Seen::default() }))
        }
        _ => Err(refusal(reply, Asked::Call)),
    }
}

/// Whether a server knows no PROPFIND.
pub fn knows_no_propfind(reply: &Reply) -> bool {
    matches!(reply.status, 405 | 501)
}

/// Whether a folder is there now that was to be made. Nothing where its own folder is missing.
pub fn folder_reply(reply: &Reply) -> Result<Option<()>, HostError> {
    match reply.status {
        201 | 405 => Ok(Some(())),
        200..=299 if !reply.is_markup() => Ok(Some(())),
        // It wants the address without the slash, or with it: there is something.
        301 | 302 | 307 | 308 if reply.header("location").is_some_and(|to| to.ends_with('/')) => Ok(Some(())),
        404 | 409 => Ok(None),
        _ => Err(refusal(reply, Asked::Call)),
    }
}

/// Whether the bytes were taken. Nothing where their folder is missing.
pub fn put_reply(reply: &Reply) -> Result<Option<()>, HostError> {
    match reply.status {
        404 | 409 => Ok(None),
        // Apache and wsgidav say it with a web page.
        201 | 204 => Ok(Some(())),
        200..=299 if !reply.html => Ok(Some(())),
        200..=299 => Err(unreadable(reply, "answered an upload with a web page")),
        _ => Err(refusal(reply, Asked::Store)),
    }
}

/// What became of a request to give a file its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It has it.
    Yes,
    /// Another file has it.
    Taken,
    /// The file, or the folder it was to go to, is not there.
    Missing,
}

/// What became of a request to give a file its name.
pub fn move_reply(reply: &Reply) -> Result<Moved, HostError> {
    match reply.status {
        201 | 204 => Ok(Moved::Yes),
        412 => Ok(Moved::Taken),
        404 | 409 => Ok(Moved::Missing),
        // A multistatus, too, tells of what went wrong (page, 3).
        200..=299 => Err(HostError { doubt: true, ..unreadable(reply, "did not say whether the file has its name") }),
        _ => Err(refusal(reply, Asked::Store)),
    }
}

/// Whether what was to be removed is gone.
pub fn delete_reply(reply: &Reply) -> Result<(), HostError> {
    match reply.status {
        404 | 410 => Ok(()),
        200..=299 if !reply.html => Ok(()),
        _ => Err(refusal(reply, Asked::Call)),
    }
}

type Found = Vec<(Vec<String>, Option<Seen>)>;

/// The resources of a multistatus, by the names of their paths, with what the server tells of them; nothing of those that are not
/// there. One with anything in it that cannot be read is none.
fn listed(reply: &Reply) -> Result<Found, HostError> {
    if reply.status != 207 {
        return Err(refusal(reply, Asked::Call));
    }
    let root = xml::parse(reply.text.trim()).filter(|root| !reply.cut && root.name == "multistatus");
    let root = root.ok_or_else(|| unreadable(reply, "sent no list of this protocol"))?;
    let responses = root.children.iter().filter(|child| child.name == "response");
    let found: Option<Found> = responses.map(|response| Some((names_of(response.text_of("href")?), seen(response)?))).collect();
    found.filter(|found| !found.is_empty()).ok_or_else(|| unreadable(reply, "sent a list in an unknown form"))
}

/// What a response of a multistatus tells; nothing in it where there is no such thing.
fn seen(response: &Element) -> Option<Option<Seen>> {
    match response.text_of("status").and_then(status) {
        Some(404 | 410) => return Some(None),
        Some(200..=299) | None => {}
        Some(_) => return None,
    }
    let is_fine = |stat: &&Element| stat.name == "propstat" && stat.text_of("status").and_then(status) == Some(200);
    let props: Vec<&Element> =
        response.children.iter().filter(is_fine).flat_map(|stat| &stat.children).filter(|child| child.name == "prop").collect();
    let text = |name: &str| props.iter().find_map(|prop| prop.text_of(name));
    let number = |name: &str| text(name).and_then(|text| text.trim().parse().ok());
    let kinds = props.iter().flat_map(|prop| &prop.children).filter(|child| child.name == "resourcetype");
    let is_folder = kinds.flat_map(|kind| &kind.children).any(|kind| kind.name == "collection");
    Some(Some(Seen {
        is_folder,
        bytes: number("getcontentlength"),
        etag: text("getetag").and_then(told),
        modified: text("getlastmodified").and_then(told),
        free: number("quota-available-bytes"),
        checksums: props.iter().find_map(|prop| prop.find("checksum")).and_then(|sums| told(&sums.text)),
    }))
}

/// The number in `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    line.split_whitespace().nth(1)?.parse().ok()
}

fn told(text: &str) -> Option<String> {
    let text = text.trim();
    (1..=TOLD_BYTES_MAX).contains(&text.len()).then(|| text.to_owned())
}

fn unreadable(reply: &Reply, what: &str) -> HostError {
    reply.failure(Class::Unreadable, format!("the host {what} ({}): `{}`", reply.status, excerpt(&reply.text)))
}

/// What a reply means that is no success (page, 10).
pub fn refusal(reply: &Reply, asked: Asked) -> HostError {
    let plain = reply.refusal();
    let error = xml::parse(reply.text.trim()).filter(|root| root.name == "error");
    let message = error.as_ref().and_then(|error| error.text_of("message"));
    let exception = error.as_ref().and_then(|error| error.text_of("exception"));
    let is_own = error.is_some() || reply.header("www-authenticate").is_some();
    let names_file = asked == Asked::Store && message.is_some_and(names_the_file);
    let is_damaged = message.is_some_and(|message| message.contains("checksum does not match"));
    let (class, advice) = match reply.status {
        // What arrived is not what was sent.
        400 if asked == Asked::Store && is_damaged => (Class::OffsetMismatch, ""),
        503 if is_in_maintenance(reply, message) => (Class::RateLimited, "; it is in maintenance"),
        401 if is_own => (Class::HostRefused, login_advice(reply)),
        400 | 403 | 415 if names_file => (Class::FileRejected, ""),
        403 if is_own => (Class::HostRefused, "; the account must be allowed to write in the folder"),
        423 => (Class::Transient, "; it is locked"),
        _ => (plain.class, ""),
    };
    if class == plain.class && message.is_none() && !is_in_maintenance(reply, message) {
        return plain;
    }
    let words = message.or(exception).map_or(String::new(), |words| format!(": `{}`", excerpt(words)));
    let said = format!("the host answered {}{words}{advice}", reply.status);
    let worsens = plain.worsens.filter(|_| class == plain.class);
    let doubt = plain.doubt || reply.status == 423;
    let wait = plain.wait.or_else(|| is_in_maintenance(reply, message).then_some(MAINTENANCE_REST));
    let failure = HostError { worsens, wait, doubt, ..reply.failure(class, said) };
    match exception {
        Some(exception) => failure.with_code(exception.rsplit('\\').next().unwrap_or(exception)),
        None => failure,
    }
}

/// Whether somebody works at the server, who will be a while (page, 14).
fn is_in_maintenance(reply: &Reply, message: Option<&str>) -> bool {
    let says_so = message.unwrap_or(&reply.text).contains("maintenance mode");
    reply.status == 503 && (reply.header("x-nextcloud-maintenance-mode").is_some() || says_so)
}

/// The SHA-1 that a server has computed of what it received, in lower-case hexadecimal (page, 12).
pub fn digest_reply(reply: &Reply) -> Option<String> {
    reply.header("x-hash-sha1").and_then(sha1)
}

/// The SHA-1 of a file that a server has told with its other digests, ...
pub(super) fn told_digest(checksums: &str) -> Option<String> {
    checksums.split_whitespace().find_map(|sum| sum.strip_prefix("SHA1:").and_then(sha1))
}

/// ... and the same where it has computed it: one that only keeps what it was told knows no other digest.
pub(super) fn computed_digest(checksums: &str) -> Option<String> {
    let has_others = checksums.split_whitespace().any(|sum| sum.starts_with("MD5:") || sum.starts_with("ADLER32:"));
    told_digest(checksums).filter(|_| has_others)
}

fn sha1(told: &str) -> Option<String> {
    let told = told.trim();
    (told.len() == 40 && told.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| told.to_ascii_lowercase())
}

fn login_advice(reply: &Reply) -> &'static str {
    let offered = reply.header("www-authenticate").unwrap_or_default().to_ascii_lowercase();
    if offered.starts_with("digest") {
        "; the server asks for Digest authentication, which is not supported: let it take Basic"
    } else {
        "; check `user` and `password`, or `token`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&str, &str)], text: &str) -> Reply {
        Reply { status, headers: headers.iter().copied().collect(), text: text.into(), ..Reply::default() }
    }

    fn multistatus(responses: &str) -> Reply {
        reply(207, &[], &format!("<?xml version=\"1.0\"?><d:multistatus xmlns:d=\"DAV:\">{responses}</d:multistatus>"))
    }

    const FILE: &str = "<d:response><d:href>/dav/a%20b</d:href><d:propstat><d:prop><d:resourcetype/><d:getcontentlength>7</d:getcontentlength>\
        <d:getetag>&quot;9a&quot;</d:getetag><d:getlastmodified>Thu, 01 Jan 1970 00:00:00 GMT</d:getlastmodified></d:prop>\
        <d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop><d:quota-available-bytes>9</d:quota-available-bytes></d:prop>\
        <d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response>";
    const FOLDER: &str = "<D:response xmlns:D=\"DAV:\"><D:href>http://h.example/dav/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>\
        <D:quota-available-bytes>-3</D:quota-available-bytes></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>";

    fn file() -> Seen {
        Seen {
            bytes: Some(7),
            etag: Some("\"9a\"".into()),
            modified: Some("Thu, 01 Jan 1970 00:00:00 GMT".into()),
            ..Seen::default()
        }
    }

    #[test]
    fn what_is_there_is_read_from_a_multistatus() {
        let look = |reply: &Reply| look_reply(reply, "http://h.example/dav/a%20b");
        assert_eq!(look(&multistatus(FILE)).unwrap(), Some(file()), "of what it has not, nothing is taken");
        assert_eq!(look(&multistatus(&format!("{FOLDER}{FILE}"))).unwrap(), Some(file()), "found among others");
        let elsewhere = FILE.replace("/dav/a%20b", "https://inner.example/x/y/a%20b");
        assert_eq!(look(&multistatus(&elsewhere)).unwrap(), Some(file()), "behind a proxy it has another path");
        assert!(look(&multistatus(&FILE.replace("a%20b", "c"))).is_err(), "another name is another file");
        assert!(look(&multistatus(FOLDER)).is_err());
        let gone = "<d:response><d:href>/dav/a%20b</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>";
        assert_eq!(look(&multistatus(gone)).unwrap(), None);
        assert_eq!(look(&reply(404, &[], "<html>")).unwrap(), None);
        assert!(look(&reply(301, &[("location", "/dav/a%20b/")], "")).unwrap().unwrap().is_folder);
        assert!(look(&reply(302, &[("location", "/login/")], "")).is_err());
        let seen = look_reply(&multistatus(FOLDER), "http://h.example/dav").unwrap().unwrap();
        assert_eq!(seen, Seen { is_folder: true, ..Seen::default() }, "a negative room is none that is known");
    }

    #[test]
    fn a_list_has_the_names_in_a_folder_but_not_its_own() {
        let named = list_reply(&multistatus(&format!("{FOLDER}{FILE}")), "http://h.example/dav/").unwrap();
        assert_eq!(named, [("a b".to_owned(), file())]);
        assert_eq!(list_reply(&multistatus(FOLDER), "http://h.example/dav/").unwrap(), []);
        assert_eq!(list_reply(&reply(404, &[], ""), "http://h.example/dav/").unwrap_err().class, Class::Unreadable);
    }

    #[test]
    fn a_list_that_is_not_whole_is_none() {
        let cut = Reply { cut: true, ..multistatus(FILE) };
        let texts = [
            multistatus(""),
            multistatus("<d:response><d:href>/dav/a</d:href><d:status>HTTP/1.1 500 E</d:status></d:response>"),
            cut,
        ];
        for reply in texts.into_iter().chain([reply(207, &[], "<html>"), reply(200, &[], "ok")]) {
            assert_eq!(look_reply(&reply, "http://h.example/dav/a").unwrap_err().class, Class::Unreadable, "{reply:?}");
        }
    }

    #[test]
    fn a_server_without_lists_tells_by_head() {
        let headers = [("content-length", "7"), ("etag", "\"9a\""), ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")];
        let head = |reply: &Reply| head_reply(reply, "https://h.example/dav/a");
        assert_eq!(head(&reply(200, &headers, "")).unwrap(), Some(file()));
        assert_eq!(head(&reply(404, &[], "")).unwrap(), None);
        assert!(head(&reply(301, &[("location", "/dav/a/")], "")).unwrap().unwrap().is_folder);
        assert!(head(&reply(403, &[], "")).is_err() && head(&reply(302, &[("location", "/login")], "")).is_err());
        assert!(head_reply(&reply(403, &[], ""), "https://h.example/dav/").unwrap().unwrap().is_folder);
        assert!(knows_no_propfind(&reply(405, &[], "")) && !knows_no_propfind(&reply(404, &[], "")));
    }

    #[test]
    fn every_answer_to_what_changes_something_has_its_meaning() {
        assert_eq!([201, 405].map(|status| folder_reply(&reply(status, &[], "")).unwrap()), [Some(()); 2]);
        assert_eq!(folder_reply(&reply(409, &[], "")).unwrap(), None);
        assert!(folder_reply(&reply(301, &[("location", "/dav/a/")], "")).unwrap().is_some());
        assert_eq!([201, 204, 200].map(|status| put_reply(&reply(status, &[], "")).unwrap()), [Some(()); 3]);
        assert_eq!(put_reply(&reply(409, &[], "")).unwrap(), None);
        let page = Reply { html: true, ..reply(200, &[], "<html>") };
        assert_eq!(put_reply(&page).unwrap_err().class, Class::Unreadable);
        assert_eq!(put_reply(&Reply { status: 201, ..page.clone() }).unwrap(), Some(()), "some say it with a page");
        let moved = [201, 204, 412, 404].map(|status| move_reply(&reply(status, &[], "")).unwrap());
        assert_eq!(moved, [Moved::Yes, Moved::Yes, Moved::Taken, Moved::Missing]);
        for unsure in [page, multistatus(""), reply(504, &[], ""), reply(423, &[], "")] {
            assert!(move_reply(&unsure).unwrap_err().doubt, "{unsure:?}");
        }
        assert!(!move_reply(&reply(403, &[], "")).unwrap_err().doubt);
        assert!(delete_reply(&reply(404, &[], "")).is_ok() && delete_reply(&reply(500, &[], "")).is_err());
    }

    #[test]
    fn a_refusal_means_what_the_page_says() {
        let own = |exception: &str, message: &str| {
            format!(
                "<?xml version=\"1.0\"?><d:error xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\"><s:exception>{exception}</s:exception>\
                 <s:message>{message}</s:message></d:error>"
            )
        };
        let class = |status, text: &str| refusal(&reply(status, &[], text), Asked::Store).class;
        let forbidden = |message: &str| class(403, &own("Sabre\\DAV\\Exception\\Forbidden", message));
        assert_eq!(forbidden("Not allowed here"), Class::HostRefused);
        assert_eq!(forbidden("File name contains at least one invalid character"), Class::FileRejected);
        assert_eq!(class(403, "<html>"), Class::Unreadable, "a proxy may answer so");
        let basic = reply(401, &[("www-authenticate", "Basic realm=\"x\"")], "");
        let digest = reply(401, &[("www-authenticate", "Digest realm=\"x\"")], "");
        assert_eq!(refusal(&basic, Asked::Call).class, Class::HostRefused);
        assert!(refusal(&digest, Asked::Call).said.contains("let it take Basic"));
        assert_eq!(refusal(&reply(401, &[], ""), Asked::Call).class, Class::Unreadable);
        let full = refusal(&reply(507, &[], &own("Sabre\\DAV\\Exception\\InsufficientStorage", "no room")), Asked::Store);
        assert_eq!((full.class, full.code.as_deref()), (Class::HostFull, Some("InsufficientStorage")));
        assert!(full.said.contains("`no room`"), "{full:?}");
        assert_eq!((class(423, ""), class(429, ""), class(413, "")), (Class::Transient, Class::RateLimited, Class::RequestRefused));
        let sums =
            own("Sabre\\DAV\\Exception\\BadRequest", "The computed checksum does not match the one received from the client.");
        assert_eq!(class(400, &sums), Class::OffsetMismatch);
        let maintained = [
            reply(503, &[], &own("Sabre\\DAV\\Exception\\ServiceUnavailable", "System is in maintenance mode.")),
            reply(503, &[("X-Nextcloud-Maintenance-Mode", "1")], "<html>"),
        ];
        for maintained in maintained {
            let rest = refusal(&maintained, Asked::Store);
            assert_eq!((rest.class, rest.wait), (Class::RateLimited, Some(MAINTENANCE_REST)));
            let told = Reply { retry_after: Some(Duration::from_secs(9)), ..maintained };
            assert_eq!(refusal(&told, Asked::Call).wait, Some(Duration::from_secs(9)));
        }
        assert_eq!(class(503, "maintenance of the database"), Class::Transient);
    }

    #[test]
    fn a_digest_counts_that_the_server_has_computed() {
        const SHA1: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
        let answered = reply(201, &[("X-Hash-SHA1", &SHA1.to_uppercase())], "");
        assert_eq!(digest_reply(&answered).as_deref(), Some(SHA1));
        assert_eq!(digest_reply(&reply(201, &[("X-Hash-SHA1", "x")], "")), None);
        let kept = format!("SHA1:{SHA1}");
        let computed = format!("SHA1:{SHA1} MD5:5d41402abc4b2a76b9719d911017c592 ADLER32:062c0215");
        assert_eq!([&kept, &computed].map(|sums| told_digest(sums).is_some()), [true, true]);
        assert_eq!([&kept, &computed].map(|sums| computed_digest(sums).is_some()), [false, true]);
        let props = "<oc:checksums xmlns:oc=\"http://owncloud.org/ns\"><oc:checksum>SHA1:x</oc:checksum></oc:checksums>";
        let listed = FILE.replace("<d:resourcetype/>", props);
        let seen = look_reply(&multistatus(&listed), "http://h.example/dav/a%20b").unwrap().unwrap();
        assert_eq!(seen.checksums.as_deref(), Some("SHA1:x"));
    }
}
