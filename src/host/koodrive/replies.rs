//! What KooDrive answers, and what it means (page, 5).

use serde_json::{Map, Value};
use std::time::Duration;

use crate::job::Proof;
use crate::job::upload::{Class, Outcome};

use super::super::error::{HostError, excerpt};
use super::super::http::Reply;
use super::super::{json, stored, xml};

/// Which call was answered: some codes mean another thing for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `create`.
    Create,
    /// `uploadUrl`.
    Links,
    /// `complete`.
    Complete,
    /// `detail`.
    Detail,
    /// `download`.
    Download,
    /// `directory`.
    Folder,
    /// The list of a folder.
    List,
    /// `share`.
    Share,
    /// `session/refresh` and `auth/refreshToken`.
    Renew,
}

/// What the gateway asks for when it is throttled (page, 5: 2 to 5 s).
const THROTTLED: Duration = Duration::from_secs(3);

/// "no such upload task".
pub(super) const NO_TASK: i64 = 13_000_401;
/// A folder, or another resource, is missing.
pub(super) const MISSING: i64 = 13_000_309;
/// The name is taken.
pub(super) const SAME_NAME: i64 = 13_000_405;

/// A control call that did not succeed.
#[derive(Debug)]
pub struct Refused {
    /// The documented code, where there was one.
    pub code: Option<i64>,
    /// Whether the signature or token was not taken.
    pub credentials: bool,
    /// What the host's clock said, in milliseconds since the Unix epoch; filled in by whoever has the whole reply.
    pub host_ms: Option<i64>,
    /// Whether nothing was asked for, since it takes other bytes of the file than were read for it.
    pub other_samples: bool,
    /// What follows.
    pub error: HostError,
}

impl Refused {
    /// A call that brought no reply.
    pub(super) fn unheard(error: HostError) -> Refused {
        Refused { code: None, credentials: false, host_ms: None, other_samples: false, error }
    }

    /// A call that was not made, since it takes other bytes of the file than were read for it.
    pub(super) fn other_samples() -> Refused {
        let error = HostError::new(Class::Transient, "the token was replaced while an upload was opened with the one before");
        Refused { other_samples: true, ..Refused::unheard(error) }
    }
}

/// A token that could not be had.
impl From<HostError> for Box<Refused> {
    fn from(error: HostError) -> Box<Refused> {
        Box::new(Refused::unheard(error))
    }
}

/// Whether a refusal may pass by itself: everything but the host's own code against the call.
pub(super) fn may_pass(refused: &Refused) -> bool {
    refused.code.is_none() || matches!(refused.error.class, Class::Transient | Class::RateLimited)
}

/// Whether the host calls the request malformed.
pub(super) fn is_malformed(refused: &Refused) -> bool {
    matches!(refused.code, Some(13_000_101 | 13_000_102))
}

/// The fields of a reply whose `code` says success; the code counts, whatever the status.
pub fn control_reply(call: Call, reply: &Reply) -> Result<Map<String, Value>, Box<Refused>> {
    let refused = |code, credentials, error| Err(Box::new(Refused { code, credentials, ..Refused::unheard(error) }));
    let Some(fields) = json::object(&reply.text) else {
        return match reply.status {
            200..=299 => refused(None, false, unknown(call, "no JSON", reply)),
            status => refused(None, matches!(status, 401 | 403), reply.refusal()),
        };
    };
    if let Some(code) = json::text(fields.get("error_code")) {
        return gateway(&code, &fields, reply);
    }
    match json::number(fields.get("code").or_else(|| fields.get("error")?.get("code"))) {
        Some(0) if reply.is_success() => Ok(fields),
        Some(0) | None if reply.is_success() => refused(None, false, unknown(call, "an answer without a code", reply)),
        // A code that is not in the table says less than the status.
        Some(code) if is_documented(code) || (code != 0 && reply.is_success()) => {
            refused(Some(code), false, business(call, code, &fields, reply))
        }
        _ if matches!(reply.status, 401 | 403) => refused(None, true, credentials(reply, reply.said())),
        _ => refused(None, false, reply.refusal()),
    }
}

fn is_documented(code: i64) -> bool {
    (13_000_000..14_000_000).contains(&code)
}

fn gateway(code: &str, fields: &Map<String, Value>, reply: &Reply) -> Result<Map<String, Value>, Box<Refused>> {
    let text = json::text(fields.get("error_msg")).unwrap_or_default();
    let said = format!("the gateway answered {}: `{}`", excerpt(code), excerpt(&text));
    let throttled = code.ends_with(".0308");
    let error = if throttled {
        HostError { wait: Some(reply.retry_after.unwrap_or(THROTTLED)), ..reply.failure(Class::RateLimited, said) }
    } else {
        credentials(reply, said)
    };
    Err(Box::new(Refused { credentials: !throttled, ..Refused::unheard(error.with_code(code)) }))
}

fn credentials(reply: &Reply, said: String) -> HostError {
    reply.failure(Class::HostRefused, format!("{said}; check the credentials, and the clock of this machine"))
}

/// The table of codes (page, 5).
fn business(call: Call, code: i64, fields: &Map<String, Value>, reply: &Reply) -> HostError {
    let inner = fields.get("error");
    let text = json::text(fields.get("msg").or_else(|| inner?.get("msg"))).unwrap_or_default();
    let said = format!("the host answered {code}: `{}`", excerpt(&text));
    let (class, worsens, advice) = match code {
        // Names are made fit before they are sent, and `autoRename` settles equal ones, so the request is at fault.
        13_000_101 | 13_000_102 | 13_000_312 | SAME_NAME => (Class::RequestRefused, None, ""),
        13_000_406 => (Class::FileRejected, None, ""),
        13_000_201 | 13_000_403 => (Class::Transient, None, ""),
        13_000_301 | 13_000_410 | 13_000_412 => {
            (Class::HostRefused, None, "; check in KooDrive that the space is there, active, and yours to write to")
        }
        13_000_302 | 13_000_411 => (Class::SessionLost, Some(Class::HostRefused), ""),
        13_000_306 => (Class::SessionLost, None, ""),
        13_000_304 => (Class::Unreadable, Some(Class::HostRefused), "; check `folder`"),
        // These are about one folder, so only the files for it are left alone.
        13_000_305 | 13_000_404 => (Class::RequestRefused, None, "; check `folder`: it is in the recycle bin"),
        13_000_310 => (Class::RequestRefused, None, "; the folders are nested too deeply"),
        13_000_308 | 13_000_409 => (Class::Unreadable, Some(Class::SessionLost), ""),
        MISSING if matches!(call, Call::Create | Call::Folder | Call::List) => (Class::RequestRefused, None, "; check `folder`"),
        MISSING => (Class::SessionLost, None, ""),
        13_000_311 => (Class::HostFull, None, ""),
        NO_TASK => (Class::SessionLost, None, ""),
        13_000_402 => (Class::OffsetMismatch, None, ""),
        _ => (Class::Unreadable, None, ""),
    };
    let error = reply.failure(class, format!("{said}{advice}")).with_code(code);
    HostError { worsens, wait: reply.retry_after, ..error }
}

/// An answer that cannot be read. Only of `complete` it matters whether it took effect, and the host is asked.
fn unknown(call: Call, what: &str, reply: &Reply) -> HostError {
    let class = if call == Call::Complete { Class::Transient } else { Class::Unreadable };
    let said = format!("the host sent {what} ({}): `{}`", reply.status, excerpt(&reply.text));
    HostError { doubt: true, ..reply.failure(class, said) }
}

/// What the store makes of a part.
#[derive(Debug, PartialEq, Eq)]
pub enum PartReply {
    /// It is held.
    Held,
    /// The link was not taken; with a fresh one it may be. The error is what is true if not.
    LinkEnded(HostError),
}

/// Reads the reply to a part (page, 5, second table). The body of a success is not looked at.
pub fn part_reply(reply: &Reply) -> Result<PartReply, HostError> {
    if reply.status == 200 {
        return Ok(PartReply::Held);
    }
    let error = xml::parse(&reply.text);
    let code = error.as_ref().and_then(|error| error.text_of("Code")).unwrap_or_default();
    let message = error.as_ref().and_then(|error| error.text_of("Message")).unwrap_or_default();
    let said = if code.is_empty() {
        reply.said()
    } else {
        format!("the store answered {} {}: `{}`", reply.status, excerpt(code), excerpt(message))
    };
    let of = |class| reply.failure(class, &said).with_code(code);
    let transient = || HostError { wait: reply.retry_after, ..of(Class::Transient) };
    match (reply.status, code) {
        (_, "SignatureDoesNotMatch") => Ok(PartReply::LinkEnded(of(Class::Unreadable))),
        (_, "InsufficientStorageSpace") => Err(of(Class::HostFull)),
        (_, "NoSuchUpload") => Err(of(Class::SessionLost)),
        (_, "IncompleteBody" | "RequestTimeout" | "BadDigest" | "OperationAborted" | "SlowDown" | "ServiceUnavailable") => {
            Err(transient())
        }
        (_, "EntityTooSmall" | "EntityTooLarge" | "InvalidArgument" | "MissingContentLength") => Err(of(Class::RequestRefused)),
        (401 | 403, _) => Ok(PartReply::LinkEnded(of(Class::Unreadable))),
        (404 | 410, _) => Ok(PartReply::LinkEnded(of(Class::SessionLost))),
        (409 | 429, _) => Err(transient()),
        (200..=299, _) => Err(of(Class::Unreadable)),
        _ => Err(HostError { doubt: false, ..reply.refusal() }),
    }
}

/// Whether a detail is that of the whole file.
pub(super) fn is_whole(detail: &Map<String, Value>, bytes: u64) -> bool {
    let size = ["size", "length", "fileSize", "fileLength"].iter().find_map(|key| json::number(detail.get(*key)));
    json::flag(detail.get("recycled")) != Some(true) && size.and_then(|size| u64::try_from(size).ok()) == Some(bytes)
}

/// The id of the folder of this name in a listing. How the list is wrapped is not documented, so an item is whatever has a name
/// and an id.
pub(super) fn folder_of(listing: &Value, name: &str) -> Option<String> {
    match listing {
        Value::Array(items) => items.iter().find_map(|item| folder_of(item, name)),
        Value::Object(fields) => {
            let is_folder = json::text(fields.get("fileType")).is_none_or(|kind| kind == "10");
            let is_it = is_folder && fields.get("fileName").and_then(Value::as_str) == Some(name);
            let is_there = json::flag(fields.get("recycled")) != Some(true);
            let id = json::text(fields.get("id")).or_else(|| json::text(fields.get("fileId"))).filter(|_| is_it && is_there);
            id.or_else(|| fields.values().find_map(|value| folder_of(value, name)))
        }
        _ => None,
    }
}

/// Where the next page of a listing begins, if there is one.
pub(super) fn next_page(listing: &Value) -> Option<String> {
    let of = |fields: &Value| ["pageCursor", "nextCursor"].iter().find_map(|key| json::text(fields.get(*key)));
    of(listing).or_else(|| of(listing.get("pageInfo")?))
}

/// The link in the reply to `share`; the documents show `linkUrl` as a bare number, too (page, 3.5).
pub(super) fn share_link(reply: &Map<String, Value>) -> Option<String> {
    let link = reply.get("shareLink")?;
    let addresses = ["linkUrl", "shortUrl"].iter().filter_map(|key| json::text(link.get(*key)));
    addresses.into_iter().find(|text| text.starts_with("http://") || text.starts_with("https://"))
}

/// The lasting name of a file; there is no lasting link (page, 3.5).
pub(super) fn outcome(container_id: &str, file_id: &str, name: Option<String>, proof: Proof) -> Outcome {
    Outcome { remote_id: Some(format!("{container_id}/{file_id}")), proof, name: stored::name(name), ..Outcome::default() }
}

/// The first web address anywhere in a reply.
pub(super) fn first_address(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| text.starts_with("https://") || text.starts_with("http://")),
        Value::Array(items) => items.iter().find_map(first_address),
        Value::Object(fields) => fields.values().find_map(first_address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json as object;

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, html: text.trim_start().starts_with('<'), text: text.into(), ..Reply::default() }
    }

    fn class(call: Call, status: u16, text: &str) -> (Class, Option<Class>, bool) {
        let error = control_reply(call, &reply(status, text)).unwrap_err().error;
        (error.class, error.worsens, error.doubt)
    }

    #[test]
    fn success_is_a_code_of_0_as_a_number_or_a_text() {
        for text in ["{\"code\":0,\"msg\":\"Success.\"}", "{\"code\":\"0\"}", "{\"code\":0,\"x\":[1]}"] {
            assert!(control_reply(Call::Links, &reply(200, text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_code_counts_whatever_the_status() {
        let code = |call, code: i64| class(call, 400, &format!("{{\"code\":{code},\"msg\":\"m\"}}")).0;
        let cases = [
            (13_000_101, Class::RequestRefused),
            (13_000_102, Class::RequestRefused),
            (13_000_201, Class::Transient),
            (13_000_301, Class::HostRefused),
            (13_000_302, Class::SessionLost),
            (13_000_305, Class::RequestRefused),
            (13_000_310, Class::RequestRefused),
            (13_000_312, Class::RequestRefused),
            (13_000_410, Class::HostRefused),
            (13_000_411, Class::SessionLost),
            (13_000_311, Class::HostFull),
            (13_000_401, Class::SessionLost),
            (13_000_402, Class::OffsetMismatch),
            (13_000_403, Class::Transient),
            (13_000_405, Class::RequestRefused),
            (13_000_406, Class::FileRejected),
            (13_009_999, Class::Unreadable),
        ];
        for (number, expected) in cases {
            assert_eq!(code(Call::Links, number), expected, "{number}");
            assert_eq!(class(Call::Links, 200, &format!("{{\"code\":\"{number}\"}}")).0, expected, "{number}");
        }
        for call in [Call::Create, Call::Folder, Call::List] {
            assert_eq!(code(call, 13_000_309), Class::RequestRefused, "{call:?}");
        }
        for number in [13_000_302, 13_000_411] {
            let lost = (Class::SessionLost, Some(Class::HostRefused), false);
            assert_eq!(class(Call::Links, 400, &format!("{{\"code\":{number}}}")), lost);
        }
        assert_eq!(code(Call::Complete, 13_000_309), Class::SessionLost);
        assert_eq!(class(Call::Links, 400, "{\"code\":13000409}"), (Class::Unreadable, Some(Class::SessionLost), false));
        assert_eq!(class(Call::Create, 200, "{\"code\":777}"), (Class::Unreadable, None, false));
        for text in ["", "<html>", "{\"msg\":\"?\"}", "{\"code\":777}"] {
            assert_eq!(class(Call::Create, 400, text), (Class::RequestRefused, None, false), "{text}");
        }
    }

    #[test]
    fn a_code_inside_an_error_counts_like_one_beside_it() {
        for text in ["{\"error\":{\"code\":13000311,\"msg\":\"full\",\"errorData\":{}}}", "{\"error\":{\"code\":\"13000311\"}}"] {
            let refused = control_reply(Call::Create, &reply(400, text)).unwrap_err();
            assert_eq!((refused.code, refused.error.class), (Some(13_000_311), Class::HostFull), "{text}");
        }
        assert_eq!(class(Call::Create, 400, "{\"error\":{}}").0, Class::RequestRefused);
        assert!(control_reply(Call::Create, &reply(200, "{\"code\":0,\"error\":null}")).is_ok());
    }

    #[test]
    fn only_a_refusal_in_the_hosts_own_words_lasts() {
        let refused = |status, text| *control_reply(Call::Share, &reply(status, text)).unwrap_err();
        for (status, text) in [(500, ""), (401, ""), (200, "<html>"), (400, "{\"code\":13000201}"), (429, "{}")] {
            assert!(may_pass(&refused(status, text)), "{status} {text}");
        }
        assert!(!may_pass(&refused(400, "{\"code\":13000410}")) && !may_pass(&refused(400, "{\"code\":13000102}")));
    }

    #[test]
    fn a_share_link_is_a_web_address() {
        let link = |text: &str| share_link(&json::object(text).unwrap());
        assert_eq!(
            link("{\"shareLink\":{\"linkUrl\":\"https://k/1\",\"shortUrl\":\"https://k/2\"}}").as_deref(),
            Some("https://k/1")
        );
        assert_eq!(link("{\"shareLink\":{\"linkUrl\":12345,\"shortUrl\":\"https://k/2\"}}").as_deref(), Some("https://k/2"));
        for text in ["{}", "{\"shareLink\":{}}", "{\"shareLink\":{\"linkUrl\":\"12345\"}}"] {
            assert_eq!(link(text), None, "{text}");
        }
    }

    #[test]
    fn a_folder_is_found_however_the_list_is_wrapped() {
        let items = object!([{ "id": "F1", "fileName": "a", "fileType": "45" }, { "id": "F2", "fileName": "a", "fileType": "10" }]);
        for listing in [object!({ "files": items, "code": 0 }), object!({ "data": { "list": items } })] {
            assert_eq!(folder_of(&listing, "a").as_deref(), Some("F2"), "{listing}");
            assert_eq!(folder_of(&listing, "b"), None);
        }
        assert_eq!(next_page(&object!({ "pageInfo": { "pageCursor": "7" } })).as_deref(), Some("7"));
        assert_eq!(next_page(&object!({ "pageInfo": { "pageCursor": "" } })), None);
    }

    #[test]
    fn the_gateway_and_the_credentials_have_their_own_words() {
        let throttled =
            control_reply(Call::Create, &reply(429, "{\"error_code\":\"APIGW.0308\",\"error_msg\":\"slow\"}")).unwrap_err();
        assert_eq!(
            (throttled.error.class, throttled.error.wait, throttled.credentials),
            (Class::RateLimited, Some(THROTTLED), false)
        );
        for (status, text) in
            [(401, "{\"code\":401,\"msg\":\"expired\"}"), (401, "{\"error_code\":\"APIGW.0301\"}"), (403, "{\"msg\":\"auth\"}")]
        {
            let refused = control_reply(Call::Create, &reply(status, text)).unwrap_err();
            assert!(refused.credentials && refused.error.class == Class::HostRefused, "{text}");
        }
        // Signed anew all the same, but these are not the words of the service.
        for (status, text) in [(401, ""), (403, "<html>")] {
            let refused = control_reply(Call::Create, &reply(status, text)).unwrap_err();
            let HostError { class, worsens, .. } = refused.error;
            assert_eq!((refused.credentials, class, worsens), (true, Class::Unreadable, Some(Class::HostRefused)), "{text}");
        }
    }

    #[test]
    fn the_status_and_the_code_are_kept_apart_from_the_words() {
        let control = |status, text: &str| control_reply(Call::Create, &reply(status, text)).unwrap_err().error;
        let store = |status, text: &str| part_reply(&reply(status, text)).unwrap_err();
        let cases = [
            (control(400, "{\"code\":13000311}"), 400, Some("13000311")),
            (control(429, "{\"error_code\":\"APIGW.0308\"}"), 429, Some("APIGW.0308")),
            (control(401, ""), 401, None),
            (control(502, "<html>"), 502, None),
            (control(200, "{}"), 200, None),
            (store(404, "<Error><Code>NoSuchUpload</Code></Error>"), 404, Some("NoSuchUpload")),
            (store(500, ""), 500, None),
        ];
        for (error, status, code) in cases {
            assert_eq!((error.status, error.code.as_deref()), (Some(status), code), "{error:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_leaves_the_matter_open() {
        for text in ["", "<html>", "{\"code\":", "{}", "[]"] {
            assert_eq!(class(Call::Complete, 200, text), (Class::Transient, None, true), "{text}");
            assert_eq!(class(Call::Links, 200, text), (Class::Unreadable, None, true), "{text}");
        }
        assert_eq!(class(Call::Complete, 502, ""), (Class::Transient, None, true));
        assert_eq!(class(Call::Create, 503, "{\"code\":503}"), (Class::Transient, None, false));
    }

    #[test]
    fn the_store_speaks_xml() {
        let xml = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
        let failed = |status, code: &str| part_reply(&reply(status, &xml(code))).unwrap_err().class;
        assert_eq!(part_reply(&reply(200, "")), Ok(PartReply::Held));
        assert_eq!(failed(404, "NoSuchUpload"), Class::SessionLost);
        assert_eq!(failed(400, "EntityTooSmall"), Class::RequestRefused);
        assert_eq!(failed(400, "InvalidArgument"), Class::RequestRefused);
        assert_eq!([failed(413, ""), failed(411, "MissingContentLength")], [Class::RequestRefused; 2]);
        assert_eq!(failed(400, "IncompleteBody"), Class::Transient);
        assert_eq!(failed(403, "InsufficientStorageSpace"), Class::HostFull);
        assert_eq!(failed(503, "SlowDown"), Class::Transient);
        assert_eq!(part_reply(&reply(500, "")).unwrap_err().class, Class::Transient);
        for code in ["AccessDenied", "RequestTimeTooSkewed", "SignatureDoesNotMatch"] {
            let Ok(PartReply::LinkEnded(error)) = part_reply(&reply(403, &xml(code))) else { panic!("{code}") };
            assert_eq!((error.class, error.worsens), (Class::Unreadable, None), "{code}");
        }
        assert!(part_reply(&reply(204, "")).is_err());
    }

    #[test]
    fn only_the_whole_file_is_whole() {
        let detail = |text: &str| is_whole(&json::object(text).unwrap(), 7);
        assert!(detail("{\"size\":7,\"recycled\":false}") && detail("{\"size\":\"7\"}"));
        assert!(detail("{\"fileLength\":7}"));
        assert!(!detail("{\"size\":7,\"recycled\":true}") && !detail("{\"size\":6}") && !detail("{}"));
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_readers_panic_or_an_error_a_success(status in 201u16..600, text in ".{0,200}") {
            prop_assert!(control_reply(Call::Create, &reply(status, &text)).is_err());
            prop_assert!(part_reply(&reply(status, &text)) != Ok(PartReply::Held));
        }
    }
}
