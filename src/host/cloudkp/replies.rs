//! What CloudKP answers, and what it means (page, 3). Every function here is pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::job::upload::{Class, Outcome};

use super::super::error::{HostError, excerpt, names_the_file};
use super::super::http::Reply;
use super::super::json;

/// What stays as it is in the id of a link.
const ID_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The bounds of an id that comes alone, in characters.
const ID_CHARS: std::ops::RangeInclusive<usize> = 4..=128;
/// What stands where an id should, and is none.
const NO_ID: [&str; 15] = [
    "null",
    "none",
    "nil",
    "undefined",
    "unknown",
    "invalid",
    "true",
    "false",
    "ok",
    "success",
    "error",
    "fail",
    "failed",
    "failure",
    "denied",
];
/// What tells of a failure where it stands as a status or result.
const FAILURES: [&str; 7] = ["error", "fail", "failed", "failure", "ko", "denied", "refused"];

/// Whether a chunk is acknowledged. The service documents no reply to a chunk, so anything that is no error counts (page, 3.1).
/// Answers the id that the reply would be if it came to a finish: a host that answers both alike has made no file.
pub fn chunk_reply(reply: &Reply) -> Result<Option<String>, HostError> {
    if !reply.is_success() {
        return Err(reply.refusal_without_account());
    }
    if reply.is_markup() {
        return Err(strange(Class::Unreadable, "a web page instead of an answer", reply));
    }
    match parse(&reply.text) {
        Parsed::Failed(text) => Err(failed(chunk_failure(&text), &text, reply)),
        Parsed::Broken => Err(strange(Class::Unreadable, "a truncated answer", reply)),
        Parsed::Denied => Err(strange(Class::Unreadable, "an answer that reports a failure without saying which", reply)),
        Parsed::Id(id) => Ok(Some(id)),
        Parsed::Nothing | Parsed::Words(_) | Parsed::Other => Ok(None),
    }
}

/// The link, or why there is none (page, 3.2 and 3.3). `acks` are the ids that replies to chunks would have been.
/// `is_id` tells of a text that reads as words whether it is an id.
pub fn finish_reply(
    reply: &Reply,
    link_base: &str,
    acks: &BTreeMap<u32, String>,
    is_id: impl Fn(&str) -> bool,
) -> Result<Outcome, HostError> {
    if !reply.is_success() {
        return Err(reply.refusal_without_account());
    }
    if reply.is_markup() {
        return Err(unknown("a web page instead of an answer", reply));
    }
    let parsed = match parse(&reply.text) {
        Parsed::Words(text) if is_id(&text) => Parsed::Id(text),
        parsed => parsed,
    };
    match parsed {
        Parsed::Id(id) if acks.values().any(|ack| *ack == id) => Err(unknown("the same answer as to a chunk", reply)),
        Parsed::Id(id) => {
            let link = format!("{link_base}{}", utf8_percent_encode(&id, ID_KEPT));
            // An id is all that this host ever tells.
            Ok(Outcome { link: Some(link), remote_id: Some(id), ..Outcome::default() })
        }
        Parsed::Failed(text) => Err(failed_finish(&text, reply)),
        Parsed::Nothing => Err(unknown("an empty answer", reply)),
        Parsed::Denied | Parsed::Broken | Parsed::Words(_) | Parsed::Other => Err(unknown("an answer without a file id", reply)),
    }
}

enum Parsed {
    Nothing,
    Id(String),
    /// What may be an id, but reads as words.
    Words(String),
    Failed(String),
    /// A failure without a word of what failed.
    Denied,
    /// JSON that was begun and does not end.
    Broken,
    Other,
}

fn parse(text: &str) -> Parsed {
    let text = text.trim();
    match serde_json::from_str(text) {
        _ if text.is_empty() => Parsed::Nothing,
        Ok(Value::Object(fields)) => parse_object(&fields),
        Ok(Value::String(text)) => parse_bare(text.trim()),
        Err(_) if text.starts_with(['{', '[', '"']) => Parsed::Broken,
        _ => parse_bare(text),
    }
}

/// Numbers may come as strings and the reverse, so both are read (`docs/protocols/README.md`, section 2).
fn parse_object(fields: &Map<String, Value>) -> Parsed {
    match fields.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::String(text)) if matches!(text.trim().to_ascii_lowercase().as_str(), "" | "null" | "none") => {}
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => {}
        Some(Value::String(text)) => return Parsed::Failed(text.clone()),
        Some(other) => return Parsed::Failed(other.to_string()),
    }
    if denies(fields) {
        return Parsed::Denied;
    }
    json::text(fields.get("file_id")).filter(|id| may_be_id(id)).map_or(Parsed::Other, Parsed::Id)
}

/// Whether fields besides `error` tell of a failure.
fn denies(fields: &Map<String, Value>) -> bool {
    let is_no = |key: &str| json::flag(fields.get(key)) == Some(false);
    let is_failure = |key: &str| {
        let word = json::text(fields.get(key)).map(|word| word.to_ascii_lowercase());
        let number = json::number(fields.get(key));
        word.is_some_and(|word| FAILURES.contains(&word.as_str())) || number.is_some_and(|number| (400..600).contains(&number))
    };
    is_no("success") || is_no("ok") || ["status", "result", "state", "code"].into_iter().any(is_failure)
}

/// Whether what stands as `file_id` may be one: a field says that it is meant, so any text will do that does not say the opposite.
fn may_be_id(id: &str) -> bool {
    let is_number = id.parse::<f64>().is_ok_and(|number| number <= 0.0 || !number.is_finite());
    !is_number
        && id.len() <= *ID_CHARS.end()
        && !id.chars().any(char::is_control)
        && !NO_ID.contains(&id.to_ascii_lowercase().as_str())
}

fn parse_bare(text: &str) -> Parsed {
    let in_link = text.starts_with("http").then(|| text.split_once("?c=")).flatten().map(|(_, id)| id);
    match in_link {
        Some(id) if reads_as_id(id) => Parsed::Id(id.to_owned()),
        _ if text.to_ascii_lowercase().contains("error") => Parsed::Failed(text.to_owned()),
        _ if reads_as_id(text) => Parsed::Id(text.to_owned()),
        _ if is_sound(text) && !tells_of_failure(text) => Parsed::Words(text.to_owned()),
        _ => Parsed::Other,
    }
}

/// Whether a text that comes alone has the shape of an id. Anything that answers for the host, such as a proxy or a parked domain,
/// may answer with a word; an id is none: it has digits among its letters, or capitals where no language has them.
pub(super) fn reads_as_id(text: &str) -> bool {
    is_sound(text) && !is_words(text)
}

/// Whether a text consists of what ids consist of. A number is none, however it is written: `1e999`.
fn is_sound(text: &str) -> bool {
    let all = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let some = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    all && some && ID_CHARS.contains(&text.len()) && text.parse::<f64>().is_err()
}

/// Whether one of the words that stand in the place of an id is somewhere in the text.
fn tells_of_failure(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    NO_ID.iter().chain(&FAILURES).any(|word| word.len() >= 4 && text.contains(word))
}

/// Whether a text is words, perhaps with a status before or behind them: `not_found`, `NotFound`, `HTTP-503`.
fn is_words(text: &str) -> bool {
    let is_status = |end: &str| end.parse().is_ok_and(is_status);
    let behind = text.split_at_checked(text.len().saturating_sub(3)).filter(|(_, end)| is_status(end)).map(|(words, _)| words);
    let before = text.split_at_checked(3).filter(|(end, _)| is_status(end)).map(|(_, words)| words);
    let words = behind.or(before).unwrap_or(text);
    // One word alone stands close to a status: more of them, as in `285qofKoim`, are rather an id.
    let is_close = words.len() < text.len() && !words.starts_with(['_', '-']) && !words.ends_with(['_', '-']);
    words.split(['_', '-']).all(|word| if is_close { is_one_word(word) } else { is_word(word) })
}

/// Whether this is the status of a reply that servers and those before them give.
fn is_status(number: u16) -> bool {
    matches!(number, 100..=103 | 200..=208 | 226 | 300..=308 | 400..=418 | 421..=431 | 451 | 500..=511 | 520..=530)
}

/// `failed`, `Failed`, `FAILED`.
fn is_one_word(text: &str) -> bool {
    let all = |is: fn(&u8) -> bool| text.as_bytes().iter().all(is);
    all(u8::is_ascii_alphabetic) && (all(u8::is_ascii_uppercase) || !text.bytes().skip(1).any(|byte| byte.is_ascii_uppercase()))
}

/// `failed`, `Failed`, `FAILED`, or such words written together: `BadGateway`.
fn is_word(text: &str) -> bool {
    if is_one_word(text) || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return is_one_word(text);
    }
    // Each begins with a capital, has three letters and one that can be spoken.
    let spoken = |word: &str| word.len() >= 3 && word.to_ascii_lowercase().contains(['a', 'e', 'i', 'o', 'u', 'y']);
    let begins = (1..text.len()).filter(|at| text.as_bytes()[*at].is_ascii_uppercase());
    let borders: Vec<usize> = std::iter::once(0).chain(begins).chain([text.len()]).collect();
    borders.windows(2).all(|pair| spoken(&text[pair[0]..pair[1]]))
}

/// No list of error texts exists; these words are the page's reading (page, 3.1).
fn chunk_failure(text: &str) -> Class {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["uuid", "session", "not found", "expired"]) {
        Class::SessionLost
    } else if has(&["space", "disk full"]) {
        Class::Transient
    } else if names_the_file(&text) {
        Class::FileRejected
    } else {
        Class::Unreadable
    }
}

/// A failed merge cannot be mended piecemeal, since the host never says which chunk is bad (page, 3.2). What is not understood is
/// finished again.
fn finish_failure(text: &str) -> Class {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["missing", "not all ", "incomplete"]) { Class::OffsetMismatch } else { chunk_failure(text) }
}

/// Why a finish fails, in the host's own words. What is not understood is finished again, and once it persists the file begins anew
/// (page, 3.2).
fn failed_finish(text: &str, reply: &Reply) -> HostError {
    let error = failed(finish_failure(text), text, reply);
    if error.class == Class::Unreadable { error.worsening_to(Class::SessionLost) } else { error }
}

/// Whether the host refuses a finish because of its form: what was sent, with the last chunk or without it, is not what it makes a
/// file of. Only a refusal in its own words counts, after which nothing was made (page, 4.1).
pub fn is_other_form_wanted(reply: &Reply, with_chunk: bool) -> bool {
    if reply.is_markup() || !(reply.is_success() || matches!(reply.status, 400 | 422)) {
        return false;
    }
    let text = match parse(&reply.text) {
        Parsed::Failed(text) => text,
        Parsed::Id(_) | Parsed::Nothing | Parsed::Broken => return false,
        Parsed::Words(_) | Parsed::Denied | Parsed::Other if reply.is_success() => return false,
        Parsed::Words(_) | Parsed::Denied | Parsed::Other => reply.text.clone(),
    };
    if with_chunk { refuses_chunk(&text) } else { lacks_chunk(&text) }
}

/// Whether a text says that a field is missing that only a chunk has.
fn lacks_chunk(text: &str) -> bool {
    let words = words_of(text);
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let pair = |first: &str, second: &str| words.windows(2).any(|two| two[0] == first && two[1] == second);
    let is_chunk_lost = has(&["chunk", "chunks", "part", "parts", "found", "such"]);
    let names_file = has(&["file"]) && !is_chunk_lost;
    let names_field = has(&["dzchunkindex", "dztotalfilesize", "dzchunksize", "dzchunkbyteoffset"]);
    let is_missing = has(&["missing", "required", "undefined", "lacks", "lacking"])
        || ["no", "without"].iter().any(|first| pair(first, "file"))
        || ["set", "given", "provided", "sent"].iter().any(|second| pair("not", second));
    (names_file || names_field) && is_missing
}

/// Whether a text says that a chunk does not go with the finish.
fn refuses_chunk(text: &str) -> bool {
    let words = words_of(text);
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    has(&["complete"]) && has(&["chunk", "file"]) && has(&["unexpected", "separate", "alone", "allowed", "without"])
}

/// The words of a text; the name of a field is one.
fn words_of(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What the host itself calls a failure. It documents no codes; a number that stands alone is one.
fn failed(class: Class, text: &str, reply: &Reply) -> HostError {
    let error = reply.failure(class, format!("the host answered `{}`", excerpt(text)));
    if text.trim().parse::<i64>().is_ok() { error.with_code(text) } else { error }
}

fn strange(class: Class, what: &str, reply: &Reply) -> HostError {
    reply.failure(class, format!("the host sent {what} ({}): `{}`", reply.status, excerpt(&reply.text)))
}

fn unknown(what: &str, reply: &Reply) -> HostError {
    HostError { doubt: true, ..strange(Class::Transient, what, reply) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: &str = "https://cloudkp.com?c=";

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, text: text.into(), html: text.trim_start().starts_with('<'), ..Reply::default() }
    }

    fn chunk(text: &str) -> Result<(), (Class, bool)> {
        chunk_reply(&reply(200, text)).map(drop).map_err(|error| (error.class, error.doubt))
    }

    fn finish(text: &str) -> Result<String, (Class, bool)> {
        let outcome = finish_reply(&reply(200, text), BASE, &BTreeMap::new(), |_| false);
        outcome.map(|outcome| outcome.link.unwrap()).map_err(|error| (error.class, error.doubt))
    }

    #[test]
    fn a_chunk_is_acknowledged_by_anything_that_is_no_error() {
        for text in
            ["", "ok", " \n", "{\"error\":null}", "{\"error\":\"\"}", "{\"error\":0,\"extra\":[1]}", "uploaded 3 of 9", "null"]
        {
            assert_eq!(chunk(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_chunk_with_an_error_is_not_acknowledged() {
        let cases = [
            ("{\"error\":\"unknown uuid\"}", Class::SessionLost),
            ("{\"error\":\"session expired\"}", Class::SessionLost),
            ("{\"error\":\"file too large\"}", Class::FileRejected),
            ("{\"error\":\"no space left\"}", Class::Transient),
            ("{\"error\":\"file size limit exceeded\"}", Class::FileRejected),
            ("{\"error\":\"wrong chunk size\"}", Class::Unreadable),
            ("{\"error\":\"odd\"}", Class::Unreadable),
            ("{\"error\":17}", Class::Unreadable),
            ("{\"error\":true}", Class::Unreadable),
            ("Internal error", Class::Unreadable),
            ("{\"error\":nul", Class::Unreadable),
            ("<html>maintenance</html>", Class::Unreadable),
        ];
        for (text, class) in cases {
            assert_eq!(chunk(text), Err((class, false)), "{text}");
        }
    }

    #[test]
    fn a_finish_gives_the_link_in_every_documented_form() {
        let link = "https://cloudkp.com?c=q7Zk2".to_owned();
        for text in [
            "{\"error\":null,\"file_id\":\"q7Zk2\"}",
            "{\"error\":\"null\",\"file_id\":\"q7Zk2\"}",
            "{\"file_id\":\" q7Zk2 \",\"x\":1}",
            "{\"file_id\":\"q7Zk2\",\"status\":\"ok\",\"success\":true,\"code\":200}",
            "q7Zk2",
            " q7Zk2\n",
            "\"q7Zk2\"",
            "https://cloudkp.com?c=q7Zk2",
        ] {
            assert_eq!(finish(text), Ok(link.clone()), "{text}");
        }
        assert_eq!(finish("{\"file_id\":12}"), Ok("https://cloudkp.com?c=12".into()));
        assert_eq!(finish("{\"file_id\":\"a b/c\"}"), Ok("https://cloudkp.com?c=a%20b%2Fc".into()));
    }

    #[test]
    fn a_finish_that_nobody_can_read_is_neither_success_nor_failure() {
        for text in
            ["", "  ", "<html>", "{\"file_id\":null}", "{\"file_id\":\"\"}", "null", "OK", "well done, you", "{\"file_id\":\"q"]
        {
            assert_eq!(finish(text), Err((Class::Transient, true)), "{text}");
        }
        for id in [
            "0",
            "\"0\"",
            "-1",
            "0.0",
            "\"-7\"",
            "\"error\"",
            "\"NULL\"",
            "\"none\"",
            "\"failed\"",
            "\"nan\"",
            "true",
            "[1]",
            "\"a\\u0007\"",
        ] {
            assert_eq!(finish(&format!("{{\"file_id\":{id}}}")), Err((Class::Transient, true)), "{id}");
        }
        for more in [
            "\"status\":\"failed\"",
            "\"status\":\"Error\"",
            "\"success\":false",
            "\"ok\":\"false\"",
            "\"code\":503",
            "\"result\":\"ko\"",
        ] {
            let text = format!("{{\"file_id\":\"q7Zk2\",{more}}}");
            assert_eq!(finish(&text), Err((Class::Transient, true)), "{text}");
            assert_eq!(chunk(&text), Err((Class::Unreadable, false)), "{text}");
        }
    }

    #[test]
    fn a_word_alone_is_no_id() {
        let words = [
            "failed",
            "maintenance",
            "Unauthorized",
            "busy",
            "timeout",
            "denied",
            "not_found",
            "Not-Found",
            "NotFound",
            "BadGateway",
            "tryAgainLater",
            "FORBIDDEN",
            "0",
            "-1",
            "404",
            "12345678",
            "OK",
            "id1",
            "HTTP503",
            "http-502",
            "404_Not_Found",
            "503Busy",
            "status200",
            "----",
            "a b1c2",
            "q7Zk2\u{e9}",
        ];
        for word in words {
            assert!(!reads_as_id(word), "{word}");
            assert_eq!(finish(word), Err((Class::Transient, true)), "{word}");
            assert_eq!(finish(&format!("https://cloudkp.com?c={word}")), Err((Class::Transient, true)), "{word}");
        }
        for id in [
            "q7Zk2",
            "7vIiHDo5zX",
            "kXbQz",
            "aBcdEfgh",
            "hI5eaHLGdL",
            "550e8400-e29b-41d4-a716-446655440000",
            "file_12a",
            "1abcd",
            "x2048",
            "583FawStge",
            "285qofKoim",
            "Mghizpd529Q",
        ] {
            assert!(reads_as_id(id), "{id}");
            assert!(finish(id).is_ok() && finish(&format!("https://cloudkp.com?c={id}")).is_ok(), "{id}");
        }
        assert!(!reads_as_id(&"a1".repeat(65)) && reads_as_id(&"a1".repeat(64)));
    }

    #[test]
    fn what_a_chunk_was_answered_is_no_id() {
        for text in ["q7Zk2", "\"q7Zk2\"", "{\"error\":null,\"file_id\":\"q7Zk2\"}"] {
            let kept = chunk_reply(&reply(200, text)).unwrap();
            assert_eq!(kept.as_deref(), Some("q7Zk2"), "{text}");
            let acks = BTreeMap::from([(3, kept.unwrap())]);
            let error = finish_reply(&reply(200, text), BASE, &acks, |_| false).unwrap_err();
            assert_eq!((error.class, error.doubt), (Class::Transient, true), "{text}");
            assert!(finish_reply(&reply(200, "q7Zk3"), BASE, &acks, |_| false).is_ok());
        }
        for text in ["", "ok", "failed", "uploaded 3 of 9", "{\"error\":null,\"file_id\":null}"] {
            assert_eq!(chunk_reply(&reply(200, text)), Ok(None), "{text}");
        }
    }

    #[test]
    fn a_finish_that_fails_says_what_to_do() {
        let cases = [
            ("{\"error\":\"chunk 3 missing\",\"file_id\":null}", Class::OffsetMismatch),
            ("{\"error\":\"unknown session\"}", Class::SessionLost),
            ("{\"error\":\"file type not allowed\"}", Class::FileRejected),
            ("{\"error\":\"not all chunks are there\"}", Class::OffsetMismatch),
            ("{\"error\":\"disk full\"}", Class::Transient),
            ("{\"error\":\"bad\",\"file_id\":\"q7Zk2\"}", Class::Unreadable),
            ("an error occurred", Class::Unreadable),
            ("error", Class::Unreadable),
        ];
        for (text, class) in cases {
            assert_eq!(finish(text), Err((class, false)), "{text}");
        }
    }

    #[test]
    fn a_finish_that_lacks_a_field_of_a_chunk_is_told_from_one_that_lacks_a_chunk() {
        let wants = |status, text: &str, with_chunk| is_other_form_wanted(&reply(status, text), with_chunk);
        let error = |text: &str| format!("{{\"error\":\"{text}\",\"file_id\":null}}");
        for text in [
            "the field `file` is missing",
            "file is required",
            "no file",
            "No file uploaded",
            "dzchunkindex is missing",
            "Undefined index: dztotalfilesize",
            "field dztotalfilesize not set",
            "file: not provided",
        ] {
            assert!(wants(200, &error(text), false) && wants(400, &error(text), false) && wants(422, text, false), "{text}");
            assert!(!wants(200, &error(text), true), "the chunk was sent: {text}");
            assert!(!wants(500, &error(text), false) && !wants(404, text, false), "{text}");
        }
        for text in [
            "chunk 3 missing",
            "missing chunk of file a",
            "not all chunks are there",
            "file not found",
            "no such file",
            "file too large",
            "file type not allowed",
            "unknown dzuuid",
            "file_name is missing",
            "dzuuid is missing",
            "session expired",
            "",
        ] {
            assert!(!wants(200, &error(text), false), "{text}");
        }
        for (status, text) in
            [(200, "file required"), (200, "q7Zk2"), (400, ""), (400, "<p>no file</p>"), (400, "{\"error\":\"no fi")]
        {
            assert!(!wants(status, text, false), "{status} {text}");
        }
        assert!(wants(200, &error("`complete` is not allowed with a chunk"), true));
        assert!(wants(400, "unexpected file in a complete request", true));
        for text in ["file type not allowed", "chunk 3 missing", "the upload is complete", "unexpected chunk"] {
            assert!(!wants(200, &error(text), true), "{text}");
        }
    }

    #[test]
    fn only_what_lasts_says_that_the_address_has_moved_or_refuses_us() {
        for status in [301, 403, 404, 405] {
            let error = chunk_reply(&reply(status, "")).unwrap_err();
            assert_eq!((error.class, error.worsens), (Class::Unreadable, Some(Class::HostRefused)), "{status}");
        }
        // Even the documented chunk is too much, so this says nothing of the file (page, 3.1).
        for status in [400, 413, 422] {
            assert_eq!(chunk_reply(&reply(status, "")).unwrap_err().class, Class::RequestRefused, "{status}");
        }
    }

    #[test]
    fn the_status_and_the_code_are_kept_apart_from_the_words() {
        let told = |status, text: &str| {
            let error = chunk_reply(&reply(status, text)).unwrap_err();
            (error.status, error.code)
        };
        assert_eq!(told(200, "{\"error\":17}"), (Some(200), Some("17".into())));
        assert_eq!(told(200, "{\"error\":\"odd\"}"), (Some(200), None));
        assert_eq!(told(507, "full"), (Some(507), None));
        assert_eq!(told(200, "<html>"), (Some(200), None));
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_readers_panic_or_an_error_a_success(status in 100u16..600, text in ".{0,200}") {
            let reply = reply(status, &text);
            let outcome = finish_reply(&reply, BASE, &BTreeMap::new(), |_| false);
            prop_assert!(chunk_reply(&reply).is_err() || reply.is_success());
            prop_assert!(outcome.is_err() || reply.is_success());
        }
    }
}
