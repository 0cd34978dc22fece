//! Replies, and what their status means.

use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::super::error::{HostError, excerpt};
use super::super::redact::Secrets;
use super::body::Meter;
use super::failure::cut_short;
use super::headers::Headers;
use super::page::is_html;
use super::request::Request;
use crate::job::upload::Class;

/// How long a reply may take once it has begun, however it comes; longer where the request has more patience.
const REPLY_TIME: Duration = Duration::from_secs(60);

/// A complete reply, or as much of it as is worth reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The rest the host asks for.
    pub retry_after: Option<Duration>,
    /// Its headers.
    pub headers: Headers,
    /// Whether it says that it is HTML, or looks like it. XML is not HTML; see [`Reply::is_markup`].
    pub html: bool,
    /// The body, at most 64 KiB of it unless the request allows more.
    pub text: String,
    /// Whether there was more.
    pub cut: bool,
}

pub(super) async fn read_reply(
    mut response: Response,
    meter: &Meter,
    request: &Request<'_>,
    now_ms: i64,
) -> Result<Reply, HostError> {
    let status = response.status();
    let headers = Headers::of(response.headers());
    let retry_after = headers.get("retry-after").and_then(|text| parse_retry_after(text, now_ms));
    let reading = read_body(&mut response, meter, request.reply_bytes_max);
    let time = REPLY_TIME.max(request.patience);
    let (body, cut) = tokio::time::timeout(time, reading).await.map_err(|_| dribbled(status, time))??;
    let text = String::from_utf8_lossy(&body).into_owned();
    let html = is_html(headers.get("content-type"), &text);
    Ok(Reply { status: status.as_u16(), retry_after, headers, html, text, cut })
}

/// The body, as far as it is worth reading, and whether there was more.
async fn read_body(response: &mut Response, meter: &Meter, bytes_max: usize) -> Result<(Vec<u8>, bool), HostError> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cut_short(status, error))? {
        meter.add(chunk.len());
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

fn dribbled(status: StatusCode, time: Duration) -> HostError {
    let said = format!("the reply ({}) was not complete after {} s", status.as_u16(), time.as_secs());
    HostError::unanswered(Class::Transient, said).with_status(status.as_u16())
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
pub(in crate::host) fn parse_retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now_ms).ok()?);
    Some(until.saturating_sub(now))
}

impl Reply {
    /// The first value of the header `name`, in whatever letters either is written.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Whether it is HTML or XML: of a host that speaks neither, this is somebody else's answer.
    pub fn is_markup(&self) -> bool {
        self.html || self.text.trim_start().starts_with('<')
    }

    /// The same without these secrets.
    pub(super) fn without(self, secrets: &Secrets) -> Reply {
        Reply { text: secrets.taken_out_of(self.text), headers: self.headers.without(secrets), ..self }
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What a status outside 2xx means where the protocol's page says nothing else (`docs/protocols/README.md`, section 2), for a
    /// request to a fixed address of a service with accounts, whose own format has been looked for in vain. Server errors leave it
    /// open whether the request took effect.
    pub fn refusal(&self) -> HostError {
        let (class, worsens) = match self.status {
            429 => (Class::RateLimited, None),
            503 if self.retry_after.is_some() => (Class::RateLimited, None),
            507 => (Class::HostFull, None),
            // A proxy or a captive portal answers so, too, and for a moment: only what lasts is the host's word.
            300..=399 | 401 | 403 | 404 | 405 | 410 | 501 => (Class::Unreadable, Some(Class::HostRefused)),
            407 => (Class::HostRefused, None),
            408 | 425 | 500..=599 => (Class::Transient, None),
            // What is said of the request, or of its size, says nothing of the file.
            400 | 413 | 415 | 422 => (Class::RequestRefused, None),
            _ => (Class::Unreadable, None),
        };
        let doubt = matches!(self.status, 408 | 500 | 502 | 504..=506 | 508..=599);
        HostError { worsens, wait: self.retry_after, doubt, ..self.failure(class, self.said()) }
    }

    /// The same for a service without accounts: what is full is the server's own disk, which others empty.
    pub fn refusal_without_account(&self) -> HostError {
        let class = if self.status == 507 { Some(Class::Transient) } else { None };
        let refusal = self.refusal();
        HostError { class: class.unwrap_or(refusal.class), doubt: refusal.doubt || class.is_some(), ..refusal }
    }

    /// A failure of which this reply tells.
    pub fn failure(&self, class: Class, said: impl Into<String>) -> HostError {
        let error = HostError::new(class, said).with_status(self.status);
        if class == Class::Unreadable { error.with_reply(&self.text) } else { error }
    }

    /// The reply for a person: what the status means, and how the body begins.
    pub fn said(&self) -> String {
        let reason =
            StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("unknown status");
        let advice = match self.status {
            300..=399 => "; the host has moved: set its new `base_url`",
            401 | 403 => "; check the credentials",
            404 | 405 | 410 => "; check `base_url`",
            407 => "; check `proxy`",
            _ => "",
        };
        let body = excerpt(&self.text);
        if body.is_empty() {
            format!("the host answered {} ({reason}){advice}", self.status)
        } else {
            format!("the host answered {} ({reason}){advice}: `{body}`", self.status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, text: text.into(), ..Reply::default() }
    }

    #[test]
    fn a_rest_is_read_in_seconds_and_as_a_date() {
        assert_eq!(parse_retry_after(" 120 ", 0), Some(Duration::from_secs(120)));
        let date = "Thu, 01 Jan 1970 00:01:40 GMT";
        assert_eq!(parse_retry_after(date, 40_000), Some(Duration::from_secs(60)));
        assert_eq!(parse_retry_after(date, 400_000), Some(Duration::ZERO), "a date in the past is no rest");
        assert_eq!(parse_retry_after("soon", 0), None);
    }

    #[test]
    fn every_status_has_a_class() {
        let at_last = Some(Class::HostRefused);
        let classes = [
            (302, Class::Unreadable, at_last),
            (400, Class::RequestRefused, None),
            (401, Class::Unreadable, at_last),
            (403, Class::Unreadable, at_last),
            (404, Class::Unreadable, at_last),
            (405, Class::Unreadable, at_last),
            (407, Class::HostRefused, None),
            (408, Class::Transient, None),
            (410, Class::Unreadable, at_last),
            (413, Class::RequestRefused, None),
            (415, Class::RequestRefused, None),
            (418, Class::Unreadable, None),
            (422, Class::RequestRefused, None),
            (429, Class::RateLimited, None),
            (500, Class::Transient, None),
            (501, Class::Unreadable, at_last),
            (503, Class::Transient, None),
            (507, Class::HostFull, None),
            (522, Class::Transient, None),
        ];
        for (status, class, worsens) in classes {
            let refusal = reply(status, "").refusal();
            assert_eq!((refusal.class, refusal.worsens), (class, worsens), "{status}");
        }
    }

    #[test]
    fn a_full_disk_of_a_host_without_accounts_is_its_own_and_passes() {
        let refusal = reply(507, "").refusal_without_account();
        assert_eq!((refusal.class, refusal.doubt), (Class::Transient, true));
        assert_eq!(reply(404, "").refusal_without_account(), reply(404, "").refusal());
    }

    #[test]
    fn only_a_server_that_may_have_acted_leaves_a_doubt() {
        let doubtful: Vec<u16> = [400, 404, 408, 429, 500, 501, 502, 503, 504, 520]
            .into_iter()
            .filter(|status| reply(*status, "").refusal().doubt)
            .collect();
        assert_eq!(doubtful, [408, 500, 502, 504, 520]);
    }

    #[test]
    fn a_strange_reply_is_quoted_and_cut() {
        let said = reply(404, &"<html>gone\n".repeat(100)).refusal().said;
        assert!(said.starts_with("the host answered 404 (Not Found); check `base_url`: `<html>gone <html>"), "{said}");
        assert!(said.chars().count() < 420);
    }
}
