//! Reads the replies. Every function here is pure; `docs/protocols/example.md`, here "page", has the forms.

use std::time::Duration;

use crate::job::Proof;
use crate::job::upload::{Class, Outcome};
use crate::secret::Secret;

use super::super::address;
use super::super::error::{HostError, excerpt};
use super::super::http::Reply;
use super::super::token::Granted;
use super::super::xml::{self, Element};

/// Characters of a token (page, 2.1), ...
const TOKEN_CHARS_MAX: usize = 4096;
/// ... of the id of a session (page, 2.2), ...
const SESSION_CHARS: usize = 32;
/// ... of what stands for a part, without its quotation marks (page, 2.3), and of the id of a file (page, 2.5).
const ID_CHARS_MAX: usize = 64;

/// A part that the host holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, counted from 1 (page, 2.3).
    pub number: u32,
    /// How long it is.
    pub bytes: u64,
    /// What stands for it.
    pub etag: String,
}

/// What the host holds of a session (page, 2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// These parts.
    Parts(Vec<Listed>),
    /// The file that was made of them.
    Stored(Outcome),
}

/// A token. What is wrong with one is told without quoting it.
pub fn token_reply(reply: &Reply) -> Result<Granted, HostError> {
    let root = answer(reply)?;
    let value = text_in(&root, "Token", "Value")
        .filter(|value| value.len() <= TOKEN_CHARS_MAX && value.bytes().all(|byte| byte.is_ascii_graphic()));
    let seconds = text_in(&root, "Token", "Seconds").and_then(|seconds| seconds.parse().ok());
    let granted =
        value.zip(seconds).map(|(value, seconds)| Granted { secret: Secret::new(value), life: Some(Duration::from_secs(seconds)) });
    granted.ok_or_else(|| reply.failure(Class::Unreadable, "the answer to the login has no token"))
}

/// The id of a session that was opened.
pub fn open_reply(reply: &Reply) -> Result<String, HostError> {
    succeeded(reply)?;
    let is_id = |id: &&str| id.len() == SESSION_CHARS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = reply.header("session-id").filter(is_id);
    id.map(str::to_owned).ok_or_else(|| unreadable(reply, "opened no session"))
}

/// What stands for a part that was taken.
pub fn part_reply(reply: &Reply) -> Result<String, HostError> {
    succeeded(reply)?;
    let etag = reply.header("etag").filter(|etag| is_etag(etag));
    etag.map(str::to_owned).ok_or_else(|| unreadable(reply, "gave no ETag for a part"))
}

/// What is held of a session for a file of `bytes` bytes. A listing with anything in it that cannot be read is none.
pub fn listing_reply(reply: &Reply, bytes: u64) -> Result<Listing, HostError> {
    let root = answer(reply)?;
    match root.name.as_str() {
        "Stored" => stored(&root, bytes).map(Listing::Stored).ok_or_else(|| unreadable(reply, "stored another file")),
        "Parts" => {
            let parts: Option<Vec<Listed>> = root.children.iter().map(listed).collect();
            parts.map(Listing::Parts).ok_or_else(|| unreadable(reply, "listed parts in an unknown form"))
        }
        _ => Err(unreadable(reply, "gave no listing")),
    }
}

/// The file of `bytes` bytes that was made. A success that cannot be read, or tells of another size, leaves it open what was made.
pub fn finish_reply(reply: &Reply, bytes: u64) -> Result<Outcome, HostError> {
    succeeded(reply)?;
    let outcome = xml::parse(&reply.text).and_then(|root| stored(&root, bytes));
    outcome.ok_or_else(|| HostError { class: Class::Transient, doubt: true, ..unreadable(reply, "did not say what it stored") })
}

/// Whether a session was given up.
pub fn gone_reply(reply: &Reply) -> Result<(), HostError> {
    succeeded(reply)
}

/// The free room of the account, in bytes.
pub fn account_reply(reply: &Reply) -> Result<u64, HostError> {
    let free = text_in(&answer(reply)?, "Account", "Free").and_then(|free| free.parse().ok());
    free.ok_or_else(|| unreadable(reply, "did not describe the account"))
}

/// What a reply outside 2xx means: status and code together, or the status alone (page, 3).
fn refusal(reply: &Reply) -> HostError {
    let error = xml::parse(&reply.text).filter(|root| root.name == "Error");
    let Some(code) = error.as_ref().and_then(|error| error.text_of("Code")) else { return reply.refusal() };
    let class = match (reply.status, code) {
        (400, "BadDigest") => Class::Transient,
        (400, "NameNotTaken") | (413, "TooLarge") => Class::FileRejected,
        (401, "TokenEnded") | (403, "WrongLogin") => Class::HostRefused,
        (404, "NoSuchSession") => Class::SessionLost,
        (409, "WrongPart") => Class::OffsetMismatch,
        (409, "Stored") => Class::RequestRefused,
        (507, "NoSpace") => Class::HostFull,
        _ => return reply.refusal().with_code(code),
    };
    let words = error.as_ref().and_then(|error| error.text_of("Message")).unwrap_or(code);
    let advice = if class == Class::HostRefused { "; check `user` and `password`" } else { "" };
    reply.failure(class, format!("the host answered `{}`{advice}", excerpt(words))).with_code(code)
}

fn succeeded(reply: &Reply) -> Result<(), HostError> {
    if reply.is_success() { Ok(()) } else { Err(refusal(reply)) }
}

/// The XML of a success.
fn answer(reply: &Reply) -> Result<Element, HostError> {
    succeeded(reply)?;
    // Not quoted: it may be half of an answer with a token.
    xml::parse(&reply.text)
        .ok_or_else(|| reply.failure(Class::Unreadable, format!("the host answered {} without XML", reply.status)))
}

fn unreadable(reply: &Reply, what: &str) -> HostError {
    reply.failure(Class::Unreadable, format!("the host {what} ({}): `{}`", reply.status, excerpt(&reply.text)))
}

fn text_in<'e>(root: &'e Element, name: &str, child: &str) -> Option<&'e str> {
    Some(root).filter(|root| root.name == name)?.text_of(child)
}

fn listed(part: &Element) -> Option<Listed> {
    let number = text_in(part, "Part", "Number")?.parse().ok()?;
    let etag = part.text_of("ETag").filter(|etag| is_etag(etag))?;
    Some(Listed { number, bytes: part.text_of("Bytes")?.parse().ok()?, etag: etag.to_owned() })
}

fn stored(root: &Element, bytes: u64) -> Option<Outcome> {
    let is_id = |id: &&str| id.len() <= ID_CHARS_MAX && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = text_in(root, "Stored", "Id").filter(is_id)?;
    let link = root.text_of("Link").and_then(address::link)?;
    let is_whole = root.text_of("Bytes").and_then(|bytes| bytes.parse().ok()) == Some(bytes);
    let proof = Proof::Size;
    is_whole.then(|| Outcome { link: Some(link), remote_id: Some(id.to_owned()), proof, bytes: Some(bytes), ..Outcome::default() })
}

fn is_etag(text: &str) -> bool {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
    (1..=ID_CHARS_MAX).contains(&inner.len()) && inner.bytes().all(|byte| byte.is_ascii_hexdigit())
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

    const STORED: &str =
        "<Stored><Id>q7Zk2Lw0aB</Id><Bytes>7</Bytes><Link>https://objects.invalid/files/q7Zk2Lw0aB</Link></Stored>";

    #[test]
    fn the_answers_of_the_page_are_read() {
        let granted = token_reply(&text("<Token><Value>b7c1f0</Value><Seconds>600</Seconds></Token>")).unwrap();
        assert_eq!((granted.secret.reveal(), granted.life), ("b7c1f0", Some(Duration::from_secs(600))));
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(open_reply(&reply(201, &[("Session-Id", id)], "")).unwrap(), id);
        assert_eq!(part_reply(&reply(200, &[("ETag", "\"9a0364b9\"")], "")).unwrap(), "\"9a0364b9\"");
        let listing = "<Parts><Part><Number>1</Number><Bytes>7</Bytes><ETag>&quot;9a03&quot;</ETag></Part></Parts>";
        let listed = Listed { number: 1, bytes: 7, etag: "\"9a03\"".into() };
        assert_eq!(listing_reply(&text(listing), 7).unwrap(), Listing::Parts(vec![listed]));
        assert_eq!(listing_reply(&text("<Parts/>"), 7).unwrap(), Listing::Parts(vec![]));
        let outcome = finish_reply(&text(STORED), 7).unwrap();
        assert_eq!((outcome.remote_id.as_deref(), outcome.proof), (Some("q7Zk2Lw0aB"), Proof::Size));
        assert_eq!(listing_reply(&text(STORED), 7).unwrap(), Listing::Stored(outcome));
        assert_eq!(account_reply(&text("<Account><Free>12</Free></Account>")).unwrap(), 12);
    }

    #[test]
    fn a_success_of_another_form_is_none() {
        let class = |error: HostError| (error.class, error.doubt);
        for strange in ["", "ok", "<html><body>Maintenance</body></html>", "<Token><Value>b7c1f0</Value></Token>", &STORED[..40]] {
            let reply = text(strange);
            let seen = [
                token_reply(&reply).map(drop),
                open_reply(&reply).map(drop),
                part_reply(&reply).map(drop),
                listing_reply(&reply, 7).map(drop),
                account_reply(&reply).map(drop),
            ];
            assert!(seen.into_iter().all(|seen| seen.map_err(class) == Err((Class::Unreadable, false))), "{strange}");
            assert_eq!(finish_reply(&reply, 7).map_err(class), Err((Class::Transient, true)), "{strange}");
        }
        assert_eq!(finish_reply(&text(STORED), 8).map_err(class), Err((Class::Transient, true)), "of another size");
        for etag in ["9a03", "\"\"", "\"9a03", "W/\"9a03\"", "\"oops\""] {
            assert!(part_reply(&reply(200, &[("etag", etag)], "")).is_err(), "{etag}");
        }
        assert!(open_reply(&reply(201, &[("session-id", "../../../../../../../../account/")], "")).is_err());
    }

    #[test]
    fn status_and_code_together_say_what_a_refusal_means() {
        let class = |status, code: &str| {
            let said = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
            let error = refusal(&reply(status, &[], &said));
            assert_eq!(error.code.as_deref(), Some(code));
            error.class
        };
        let page = [
            (400, "BadDigest", Class::Transient),
            (400, "NameNotTaken", Class::FileRejected),
            (401, "TokenEnded", Class::HostRefused),
            (403, "WrongLogin", Class::HostRefused),
            (404, "NoSuchSession", Class::SessionLost),
            (409, "WrongPart", Class::OffsetMismatch),
            (409, "Stored", Class::RequestRefused),
            (413, "TooLarge", Class::FileRejected),
            (429, "SlowDown", Class::RateLimited),
            (507, "NoSpace", Class::HostFull),
            (502, "NoSuchSession", Class::Transient),
            (404, "Oops", Class::Unreadable),
        ];
        for (status, code, expected) in page {
            assert_eq!(class(status, code), expected, "{status} {code}");
        }
        let elsewhere = refusal(&reply(404, &[], "not found"));
        assert_eq!((elsewhere.class, elsewhere.worsens, elsewhere.code), (Class::Unreadable, Some(Class::HostRefused), None));
    }

    #[test]
    fn half_an_answer_to_a_login_is_not_quoted() {
        for cut in ["<Token><Value>b7c1f0</Va", "<Token><Value>b7c1f0</Value></Token>", "<Tok><Value>b7c1f0</Value></Tok>"] {
            let error = token_reply(&text(cut)).unwrap_err();
            assert!(!error.said.contains("b7c1f0"), "{}", error.said);
        }
    }
}
