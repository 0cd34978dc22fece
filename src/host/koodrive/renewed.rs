//! What the host answers to the calls that renew a token (page, 2.1). No error of these quotes a reply: it may hold the new secrets,
//! which nobody knows yet.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::job::upload::Class;
use crate::secret::Secret;

use super::super::error::HostError;
use super::super::http::Reply;
use super::super::json;
use super::replies::{Call, control_reply};

/// A token that says that it lives for longer is replaced once it is refused.
pub(super) const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// What says that it lives for less gives no time that could be meant.
const LIFE_MIN: Duration = Duration::from_secs(60);
/// The longest token that makes sense.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What the host has given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// The new token, as it is to be sent.
    pub access: Secret,
    /// What gets the next one, where the host has said so.
    pub refresh: Option<Secret>,
    /// How long the token lives, where the host has said so.
    pub life: Option<Duration>,
}

/// The new token, in whichever of the documented places it is: in `data.sessionInfo`, in `data`, or beside the code.
///
/// # Errors
/// `HostRefused` when the host does not renew the session.
pub fn renewed_reply(reply: &Reply) -> Result<Renewed, HostError> {
    let fields = json::object(&reply.text).unwrap_or_default();
    let has_failed =
        fields.get("code").is_some_and(|code| json::number(Some(code)) != Some(0)) || fields.contains_key("error_code");
    match renewed(&fields).filter(|_| reply.is_success() && !has_failed) {
        Some(renewed) => Ok(renewed),
        None => Err(failure(reply)),
    }
}

fn renewed(fields: &Map<String, Value>) -> Option<Renewed> {
    let data = fields.get("data").and_then(Value::as_object);
    let inner = data.and_then(|data| data.get("sessionInfo")).and_then(Value::as_object);
    let info = inner.or(data).unwrap_or(fields);
    let secret = |key: &str| info.get(key).and_then(Value::as_str).filter(|text| is_token(text)).map(Secret::new);
    let seconds = json::number(info.get("expiresIn")).and_then(|seconds| u64::try_from(seconds).ok());
    let life = seconds.map(Duration::from_secs).filter(|life| (LIFE_MIN..=LIFE_MAX).contains(life));
    Some(Renewed { access: secret("accessToken")?, refresh: secret("refreshToken"), life })
}

/// Whether a text can stand in a header.
fn is_token(text: &str) -> bool {
    let is_sound = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_sound && text.trim() == text && (1..=TOKEN_BYTES_MAX).contains(&text.len())
}

fn failure(reply: &Reply) -> HostError {
    let (class, code, wait, doubt) = match control_reply(Call::Renew, reply) {
        // A success without a token in it.
        Ok(_) => (Class::Unreadable, None, None, true),
        Err(refused) => {
            let is_hosts_own = json::object(&reply.text).is_some();
            let class = match refused.error.class {
                // What is renewed by is at fault, whatever the host calls it: there is nothing else in the request.
                Class::RequestRefused | Class::SessionLost | Class::HostRefused if is_hosts_own => Class::HostRefused,
                // Somebody else's answer, as long as it does not last.
                Class::RequestRefused | Class::SessionLost => Class::Unreadable,
                other => other,
            };
            (class, refused.code, refused.error.wait, refused.error.doubt)
        }
    };
    let worsens = (class == Class::Unreadable).then_some(Class::HostRefused);
    let code = code.map(|code| format!(" and code {code}")).unwrap_or_default();
    let said = format!("the token was not renewed: the host answered with status {}{code}", reply.status);
    HostError { worsens, wait, doubt, ..HostError::new(class, said).with_status(reply.status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, html: text.trim_start().starts_with('<'), text: text.into(), ..Reply::default() }
    }

    fn read(text: &str) -> Result<Renewed, HostError> {
        renewed_reply(&reply(200, text))
    }

    fn renewed(access: &str, refresh: Option<&str>, seconds: Option<u64>) -> Renewed {
        Renewed { access: Secret::new(access), refresh: refresh.map(Secret::new), life: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn a_new_token_is_found_in_each_of_the_documented_places() {
        let cases = [
            ("{\"accessToken\":\"Bearer+013b\"}", renewed("Bearer+013b", None, None)),
            ("{\"code\":0,\"msg\":\"Success.\",\"accessToken\":\"AT 3b91\"}", renewed("AT 3b91", None, None)),
            (
                "{\"code\":\"0\",\"data\":{\"sessionInfo\":{\"accessToken\":\"AT 3b91\",\"expiresIn\":1800,\"issuedAt\":\"1700000000000\",\"refreshToken\":\"r2\"}}}",
                renewed("AT 3b91", Some("r2"), Some(1800)),
            ),
            (
                "{\"data\":{\"accessToken\":\"t\",\"expiresIn\":\"1800\",\"refreshToken\":\"r2\"}}",
                renewed("t", Some("r2"), Some(1800)),
            ),
            ("{\"data\":{\"accessToken\":\"t\",\"refreshToken\":null,\"expiresIn\":null}}", renewed("t", None, None)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_life_that_cannot_be_meant_is_none() {
        for seconds in ["-1", "0", "59", "86401", "1800000", "\"soon\"", "1e99"] {
            let read = read(&format!("{{\"accessToken\":\"t\",\"expiresIn\":{seconds}}}"));
            assert_eq!(read.unwrap().life, None, "{seconds}");
        }
    }

    #[test]
    fn what_does_not_renew_says_whether_a_person_must_log_in() {
        let cases = [
            (401, "", Class::Unreadable),
            (401, "{\"error_code\":\"APIGW.0301\",\"error_msg\":\"Incorrect\"}", Class::HostRefused),
            (403, "{\"msg\":\"no\"}", Class::HostRefused),
            (401, "{}", Class::HostRefused),
            (403, "<html>blocked</html>", Class::Unreadable),
            (400, "{\"code\":13000101,\"msg\":\"bad\"}", Class::HostRefused),
            (400, "{\"code\":13000410}", Class::HostRefused),
            (200, "{\"code\":13000102}", Class::HostRefused),
            (400, "", Class::Unreadable),
            (429, "{\"error_code\":\"APIGW.0308\"}", Class::RateLimited),
            (500, "{\"code\":13000201}", Class::Transient),
            (503, "", Class::Transient),
            (200, "", Class::Unreadable),
            (200, "{\"code\":0}", Class::Unreadable),
            (200, "<html>sign in</html>", Class::Unreadable),
        ];
        for (status, text, class) in cases {
            assert_eq!(renewed_reply(&reply(status, text)).unwrap_err().class, class, "{status} {text}");
        }
    }

    #[test]
    fn no_error_quotes_a_reply_since_it_may_hold_the_new_secrets() {
        for (status, text) in [
            (200, "{\"code\":7,\"data\":{\"accessToken\":\"hunter2\",\"refreshToken\":\"hunter2\"}}"),
            (200, "{\"code\":0,\"data\":{\"accesstoken\":\"hunter2\"}}"),
            (200, "{\"accessToken\":\"hunter2\\n\"}"),
            (200, "{\"accessToken\":\" hunter2\"}"),
            (200, "{\"accessToken\":\"hunter2\""),
            (200, "hunter2"),
            (500, "{\"accessToken\":\"hunter2\"}"),
            (400, "{\"code\":13000101,\"msg\":\"hunter2\"}"),
            (401, "{\"error_code\":\"hunter2\",\"error_msg\":\"hunter2\"}"),
        ] {
            let error = renewed_reply(&reply(status, text)).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
