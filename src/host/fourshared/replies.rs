//! What 4shared answers, and what it means.

use std::time::Duration;

use crate::job::upload::Class;

use super::super::error::{HostError, excerpt};
use super::super::http::Reply;
use super::super::xml::{self, Element};
use super::super::{address, json};

/// How long a file is left alone that another client sends (page, 4: error 5).
const HELD_ELSEWHERE: Duration = Duration::from_secs(600);
/// The call that makes the parts a file.
pub(super) const FINISH: &str = "uploadFinishFile";

/// What a call was answered.
#[derive(Debug, PartialEq, Eq)]
pub enum SoapReply {
    /// Its response element.
    Response(Element),
    /// A fault, and what it means: the host has read the call, and refused it.
    Fault(HostError),
}

impl SoapReply {
    pub(super) fn response(self) -> Result<Element, HostError> {
        match self {
            SoapReply::Response(response) => Ok(response),
            SoapReply::Fault(error) => Err(error),
        }
    }
}

/// What the host answered to a call, or why nobody knows. `about_a_file` is whether the call names a file id.
pub fn soap_reply(reply: &Reply, operation: &str, about_a_file: bool) -> Result<SoapReply, HostError> {
    let Some(root) = xml::parse(&reply.text).filter(|root| root.name == "Envelope") else {
        return Err(match reply.status {
            200..=299 => unknown(operation, "no SOAP", reply),
            _ => reply.refusal(),
        });
    };
    if let Some(fault) = root.find("Fault") {
        return Ok(SoapReply::Fault(fault_error(fault, about_a_file, reply)));
    }
    let response = root.find(&format!("{operation}Response")).filter(|_| reply.is_success()).cloned();
    response.map(SoapReply::Response).ok_or_else(|| unknown(operation, "an answer to a different request", reply))
}

/// What a fault means, by its words (page, 5).
fn fault_error(fault: &Element, about_a_file: bool, reply: &Reply) -> HostError {
    let part = |name: &str| fault.find(name).map(|element| element.text.as_str()).unwrap_or_default();
    let words = [part("faultstring"), part("details"), part("exceptionClass")].join(" ");
    let said = format!(
        "the host answered with an error: `{}`",
        excerpt(&fault_text(part("faultstring"), part("details"), part("exceptionClass")))
    );
    let lower = words.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let error = if has(&["login", "password", "access", "denied", "banned", "not active"]) {
        reply.failure(Class::HostRefused, format!("{said}; check `user` and `password`"))
    } else if about_a_file && has(&["not found", "no such", "does not exist", "unknown file"]) {
        reply.failure(Class::SessionLost, said)
    } else {
        // A fault is an answer: the call was refused.
        reply.failure(Class::Unreadable, said)
    };
    error.with_code(part("faultcode"))
}

/// The texts of a fault, of which one often repeats the other. The name of its class is of use only where there is nothing else.
fn fault_text(words: &str, details: &str, class: &str) -> String {
    match (words.trim(), details.trim()) {
        ("", "") => class.trim().to_owned(),
        (words, details) if details.contains(words) => details.to_owned(),
        (words, details) if words.contains(details) => words.to_owned(),
        (words, details) => format!("{words}: {details}"),
    }
}

/// What a call returned. The service has no clean null: nothing, `xsi:nil`, an empty text and the text `null` are all one (page, 2).
pub(super) fn returned(response: &Element) -> Option<&str> {
    response.text_of("return").filter(|text| !text.eq_ignore_ascii_case("null"))
}

pub(super) fn number(response: &Element) -> Result<i64, HostError> {
    let text = returned(response).unwrap_or_default();
    text.parse().map_err(|_| HostError::new(Class::Unreadable, format!("the host sent `{}` instead of a number", excerpt(text))))
}

pub(super) fn truth(response: &Element) -> Option<bool> {
    match returned(response)? {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The items of a listing. How an array is wrapped is not documented, so an item is whatever says whether it is a folder.
pub(super) fn items_of(element: &Element) -> Vec<&Element> {
    if element.children.iter().any(|child| child.name == "directory") {
        vec![element]
    } else {
        element.children.iter().flat_map(items_of).collect()
    }
}

/// What the host makes of a part.
#[derive(Debug, PartialEq, Eq)]
pub enum PartReply {
    /// It is held.
    Held,
    /// The key in the address was not taken; with a fresh one it may be.
    KeyEnded(HostError),
    /// It is too much for one request.
    TooMuch(HostError),
}

/// Reads the reply to a part. The host documents none: JSON or a page with hidden fields may say that it failed (page, 4).
pub fn part_reply(reply: &Reply) -> Result<PartReply, HostError> {
    match reply.status {
        200..=299 => {}
        401 | 403 | 404 | 410 => {
            return Ok(PartReply::KeyEnded(reply.failure(Class::Unreadable, reply.said())));
        }
        413 => {
            return Ok(PartReply::TooMuch(reply.failure(Class::RequestRefused, reply.said())));
        }
        // A part sent again does no harm, so no doubt is worth keeping.
        _ => return Err(HostError { doubt: false, ..reply.refusal() }),
    }
    if let Some(fields) = json::object(&reply.text) {
        let failed =
            fields.get("status").and_then(|status| status.as_str()).is_some_and(|status| status.eq_ignore_ascii_case("error"));
        return match json::number(fields.get("errorCode")).filter(|code| *code != 0) {
            Some(code) => Err(part_failure(code, reply)),
            None if failed => Err(part_failure(0, reply)),
            None => Ok(PartReply::Held),
        };
    }
    match (hidden(&reply.text, "errorCode").and_then(|text| text.parse().ok()), hidden(&reply.text, "uploadedFileId")) {
        (Some(code), _) if code != 0 => Err(part_failure(code, reply)),
        (_, Some(_)) => Ok(PartReply::Held),
        _ if hidden(&reply.text, "alert").is_some_and(|text| !text.is_empty()) => Err(part_failure(0, reply)),
        // A page without any of the fields is somebody else's page.
        _ if reply.is_markup() => {
            Err(reply.failure(Class::Unreadable, format!("the host sent a web page: `{}`", excerpt(&reply.text))))
        }
        _ if reply.text.trim_start().starts_with(['{', '[']) => {
            Err(reply.failure(Class::Unreadable, format!("the host sent a truncated answer: `{}`", excerpt(&reply.text))))
        }
        _ => Ok(PartReply::Held),
    }
}

/// The value of a hidden field of an HTML page. The page is no XML, so it is searched, not read.
fn hidden(page: &str, name: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let marks = [format!("\"{}\"", name.to_ascii_lowercase()), format!("'{}'", name.to_ascii_lowercase())];
    let at = marks.iter().find_map(|mark| lower.find(mark))?;
    let begin = lower[..at].rfind('<')?;
    let end = at + lower[at..].find('>')?;
    let tag = &page[begin..end];
    let value = tag.to_ascii_lowercase().find("value=").map(|from| &tag[from + 6..])?;
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    value[1..].split(quote).next().map(str::to_owned)
}

/// The error codes of the upload server (page, 4).
fn part_failure(code: i64, reply: &Reply) -> HostError {
    let said = |what: &str| format!("the host answered error {code} ({what}): `{}`", excerpt(&reply.text));
    let failure = |class, said: String| reply.failure(class, said).with_code(code);
    match code {
        1 => failure(Class::FileRejected, said("file too large")),
        2 => failure(Class::HostFull, said("not enough space")),
        3 => failure(Class::FileRejected, said("empty file")),
        4 => failure(Class::Transient, said("data center error")).worsening_to(Class::SessionLost),
        5 => {
            let error = failure(Class::Transient, said("resumed from a different offset")).worsening_to(Class::SessionLost);
            HostError { wait: Some(HELD_ELSEWHERE), ..error }
        }
        6 => failure(Class::SessionLost, said("unfinished file was deleted")),
        7 => failure(Class::FileRejected, said("wrong file type")),
        _ => failure(Class::Unreadable, said("unknown")),
    }
}

/// Nothing where the finish worked, else what its text means (page, 5).
pub fn finish_text(text: Option<&str>) -> Result<(), HostError> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(()) };
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let said = format!("the host did not join the parts: `{}`", excerpt(text));
    Err(if has(&["md5", "checksum"]) {
        HostError::new(Class::SessionLost, said)
    } else if has(&["size", "incomplete", "not uploaded"]) {
        HostError::new(Class::OffsetMismatch, said)
    } else {
        HostError::new(Class::Unreadable, said)
    })
}

/// The link of a file that the host has.
pub(super) fn link_of(text: Option<&str>) -> Result<String, HostError> {
    match text {
        Some(text) => address::link(text).ok_or_else(|| {
            HostError::new(Class::Unreadable, format!("the host has the file, but gave `{}` as its link", excerpt(text)))
        }),
        None => Err(HostError::new(Class::Transient, "the host has the file, but no link to it yet")),
    }
}

/// An answer that cannot be read. Only of a finish it matters whether it took effect, and the host is asked.
pub(super) fn unknown(operation: &str, what: &str, reply: &Reply) -> HostError {
    let class = if operation == FINISH { Class::Transient } else { Class::Unreadable };
    let said = format!("the host sent {what} ({}): `{}`", reply.status, excerpt(&reply.text));
    HostError { doubt: true, ..reply.failure(class, said) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(status: u16, text: &str) -> Reply {
        let html = text.trim_start().to_lowercase().starts_with("<html") || text.starts_with("<!DOCTYPE html");
        Reply { status, html, text: text.into(), ..Reply::default() }
    }

    fn class(error: &HostError) -> (Class, Option<Class>, bool) {
        (error.class, error.worsens, error.doubt)
    }

    fn part(status: u16, text: &str) -> Result<PartReply, (Class, Option<Class>)> {
        part_reply(&reply(status, text)).map_err(|error| (error.class, error.worsens))
    }

    fn answered(reply: &Reply, operation: &str, about_a_file: bool) -> Result<Element, HostError> {
        soap_reply(reply, operation, about_a_file).and_then(SoapReply::response)
    }

    #[test]
    fn an_answer_is_read_whatever_its_prefixes() {
        let text = "<S:Envelope xmlns:S=\"http://schemas.xmlsoap.org/soap/envelope/\"><S:Body><ns2:uploadStartFileResponse \
                    xmlns:ns2=\"http://api.soap.shared.pmstation.com/\"><return>1700300001</return></ns2:uploadStartFileResponse></S:Body></S:Envelope>";
        let response = answered(&reply(200, text), "uploadStartFile", false).unwrap();
        assert_eq!(number(&response).unwrap(), 1_700_300_001);
        assert_eq!(class(&answered(&reply(200, text), "login", false).unwrap_err()), (Class::Unreadable, None, true));
        for null in ["", "<return/>", "<return xsi:nil=\"true\"/>", "<return></return>", "<return>null</return>"] {
            let text = text.replace("<return>1700300001</return>", null);
            let response = answered(&reply(200, &text), "uploadStartFile", false).unwrap();
            assert_eq!(returned(&response), None, "{null}");
            assert_eq!(class(&number(&response).unwrap_err()), (Class::Unreadable, None, false));
        }
    }

    #[test]
    fn items_are_found_however_the_array_is_wrapped() {
        let item = |id: u32| format!("<id>{id}</id><name>n</name><directory>true</directory>");
        for text in [
            format!("<r><return>{}</return><return>{}</return></r>", item(1), item(2)),
            format!("<r><return><item>{}</item><item>{}</item></return></r>", item(1), item(2)),
        ] {
            let root = xml::parse(&text).unwrap();
            let ids: Vec<_> = items_of(&root).into_iter().map(|item| item.text_of("id").unwrap()).collect();
            assert_eq!(ids, ["1", "2"]);
        }
    }

    #[test]
    fn what_a_fault_says_twice_is_shown_once() {
        let cases = [
            ("no such file", "no such file", "a.ApiException", "no such file"),
            ("not found", "not found: id 7", "", "not found: id 7"),
            ("not found: id 7", "", "a.ApiException", "not found: id 7"),
            ("not found", "id 7", "a.ApiException", "not found: id 7"),
            ("", " ", "a.ApiException", "a.ApiException"),
        ];
        for (words, details, class, expected) in cases {
            assert_eq!(fault_text(words, details, class), expected);
        }
    }

    #[test]
    fn a_fault_means_what_its_words_say() {
        let fault = |words: &str, about_a_file| {
            let text = format!(
                "<S:Envelope><S:Body><S:Fault><faultcode>S:Server</faultcode><faultstring>{words}</faultstring><detail><n:ApiException><details>d</details>\
                 </n:ApiException></detail></S:Fault></S:Body></S:Envelope>"
            );
            class(&answered(&reply(500, &text), "getFileInfo", about_a_file).unwrap_err())
        };
        assert_eq!(fault("denied", false), (Class::HostRefused, None, false));
        assert_eq!(fault("wrong password", true), (Class::HostRefused, None, false));
        assert_eq!(fault("File not found", true), (Class::SessionLost, None, false));
        assert_eq!(fault("File not found", false), (Class::Unreadable, None, false));
        assert_eq!(fault("oops", true), (Class::Unreadable, None, false));
        let text = "<S:Envelope><S:Body><S:Fault><faultcode>S:Server</faultcode><faultstring>oops</faultstring></S:Fault></S:Body></S:Envelope>";
        let Ok(SoapReply::Fault(error)) = soap_reply(&reply(500, text), "getFileInfo", true) else { panic!("no fault") };
        assert_eq!((error.status, error.code.as_deref()), (Some(500), Some("S:Server")));
    }

    #[test]
    fn what_is_no_soap_leaves_the_matter_open() {
        for text in ["", "<html>", "<S:Envelope><S:Body>", "{}"] {
            let error = |operation| class(&answered(&reply(200, text), operation, false).unwrap_err());
            assert_eq!(error("login"), (Class::Unreadable, None, true), "{text}");
            assert_eq!(error(FINISH), (Class::Transient, None, true), "{text}");
        }
        assert_eq!(class(&answered(&reply(503, ""), "login", false).unwrap_err()).0, Class::Transient);
        for status in [403, 404] {
            let refused = class(&answered(&reply(status, "<html>"), "login", false).unwrap_err());
            assert_eq!(refused, (Class::Unreadable, Some(Class::HostRefused), false), "{status}");
        }
    }

    #[test]
    fn a_part_is_held_in_every_form_of_yes() {
        for text in ["", "ok", "{\"status\":\"OK\"}", "{\"status\":\"ok\",\"errorCode\":0}"] {
            assert_eq!(part(200, text), Ok(PartReply::Held), "{text}");
        }
        let page = "<html><body><input type=\"hidden\" name=\"uploadedFileId\" value=\"17\"/></body></html>";
        assert_eq!(part(200, page), Ok(PartReply::Held));
    }

    #[test]
    fn a_part_that_fails_says_what_follows() {
        let expected = [
            (1, Class::FileRejected, None),
            (2, Class::HostFull, None),
            (3, Class::FileRejected, None),
            (4, Class::Transient, Some(Class::SessionLost)),
            (5, Class::Transient, Some(Class::SessionLost)),
            (6, Class::SessionLost, None),
            (7, Class::FileRejected, None),
            (99, Class::Unreadable, None),
        ];
        for (code, class, worsens) in expected {
            let page =
                format!("<html><input type='hidden' name='errorCode' value='{code}'><input name=\"alert\" value=\"no\"></html>");
            assert_eq!(part(200, &page), Err((class, worsens)), "{code}");
            assert_eq!(part(200, &format!("{{\"status\":\"error\",\"errorCode\":\"{code}\"}}")), Err((class, worsens)), "{code}");
        }
        assert_eq!(part(200, "<html>maintenance</html>"), Err((Class::Unreadable, None)));
        assert_eq!(part(200, "{\"stat"), Err((Class::Unreadable, None)));
        assert!(matches!(part(403, ""), Ok(PartReply::KeyEnded(error)) if error.class == Class::Unreadable));
        assert!(matches!(part(413, ""), Ok(PartReply::TooMuch(error)) if error.class == Class::RequestRefused));
        assert_eq!(part(415, "").unwrap_err(), (Class::RequestRefused, None));
        let error = part_reply(&reply(200, "{\"status\":\"error\",\"errorCode\":\"7\"}")).unwrap_err();
        assert_eq!((error.status, error.code.as_deref()), (Some(200), Some("7")));
        assert_eq!(part(500, "").unwrap_err().0, Class::Transient);
    }

    #[test]
    fn only_a_web_address_is_the_link_of_a_file() {
        assert_eq!(
            link_of(Some("https://www.4shared.com/file/17/a.html")).as_deref(),
            Ok("https://www.4shared.com/file/17/a.html")
        );
        assert_eq!(class(&link_of(Some("maintenance")).unwrap_err()), (Class::Unreadable, None, false));
        assert_eq!(class(&link_of(None).unwrap_err()), (Class::Transient, None, false));
    }

    #[test]
    fn a_finish_is_done_when_nothing_is_said() {
        assert!(finish_text(None).is_ok() && finish_text(Some(" ")).is_ok());
        assert_eq!(class(&finish_text(Some("wrong MD5")).unwrap_err()), (Class::SessionLost, None, false));
        assert_eq!(class(&finish_text(Some("file is incomplete")).unwrap_err()), (Class::OffsetMismatch, None, false));
        assert_eq!(class(&finish_text(Some("hm")).unwrap_err()), (Class::Unreadable, None, false));
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_readers_panic(status in 100u16..600, text in "[<>/a-zA-Z\"'= {}:0-9]{0,120}") {
            let reply = reply(status, &text);
            prop_assert!(answered(&reply, "login", true).is_err());
            prop_assert!(part_reply(&reply) != Ok(PartReply::Held) || reply.is_success());
        }
    }
}
