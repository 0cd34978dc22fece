//! Requests: each is signed anew when it is sent, by a clock that agrees with the service's (page, 2).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::secret::Secret;

use super::super::Part;
use super::super::error::HostError;
use super::super::http::{Reply, Request, Transport};
use super::place::Place;
use super::sign::{self, Credentials, Scope, Signed, UNSIGNED};

/// How far two clocks may be apart before a refusal may be for that, in milliseconds. Services take up to 15 minutes (page, 2).
const CLOCKS_AGREE_MS: i64 = 5 * 60 * 1000;
/// How long a page of the list of parts may be, in bytes.
const REPLY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What is asked of the service.
pub(super) struct Call<'c> {
    method: &'static str,
    key: Option<&'c str>,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: Body<'c>,
    patience: Duration,
}

enum Body<'c> {
    Nothing,
    Xml(String),
    Part(&'c Part),
}

impl<'c> Call<'c> {
    pub(super) fn of_object(method: &'static str, key: &'c str, query: &[(&str, &str)]) -> Call<'c> {
        Call { key: Some(key), ..Call::of_bucket(method, query) }
    }

    pub(super) fn of_bucket(method: &'static str, query: &[(&str, &str)]) -> Call<'c> {
        let query = sign::query(query);
        Call { method, key: None, query, headers: Vec::new(), body: Body::Nothing, patience: Duration::ZERO }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Call<'c> {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn headers(mut self, headers: impl IntoIterator<Item = (&'static str, String)>) -> Call<'c> {
        self.headers.extend(headers);
        self
    }

    pub(super) fn part(self, part: &'c Part) -> Call<'c> {
        Call { body: Body::Part(part), ..self }
    }

    pub(super) fn xml(self, text: String) -> Call<'c> {
        Call { body: Body::Xml(text), ..self }
    }

    pub(super) fn patience(self, patience: Duration) -> Call<'c> {
        Call { patience, ..self }
    }

    /// The hash of what is in memory. Of a part there is a checksum, which is signed.
    fn payload(&self) -> String {
        match &self.body {
            Body::Nothing => sign::hash(b""),
            Body::Xml(text) => sign::hash(text.as_bytes()),
            Body::Part(_) => UNSIGNED.to_owned(),
        }
    }

    /// All headers, with their signature.
    fn signed(&self, place: &Place, scope: &Scope, credentials: &Credentials) -> Vec<(&'static str, String)> {
        let payload = self.payload();
        let mut headers = self.headers.clone();
        headers.extend([("x-amz-content-sha256", payload.clone()), ("x-amz-date", scope.time.clone())]);
        headers.extend(credentials.session_token.as_ref().map(|token| ("x-amz-security-token", token.reveal().to_owned())));
        headers.extend(matches!(self.body, Body::Xml(_)).then(|| ("content-type", "application/xml".to_owned())));
        // What a proxy may change is not signed.
        let is_signed = |name: &str| name.starts_with("x-amz-") || matches!(name, "content-type" | "content-md5");
        let mut signed: Vec<(&str, &str)> =
            headers.iter().filter(|(name, _)| is_signed(name)).map(|(name, value)| (*name, value.as_str())).collect();
        signed.push(("host", place.host()));
        signed.sort_unstable();
        let path = place.path(self.key);
        let signed = Signed { method: self.method, path: &path, query: &self.query, headers: &signed, payload: &payload };
        let authorization = sign::authorization(&signed, scope, credentials);
        headers.push(("authorization", authorization));
        headers
    }
}

/// What signs requests and sends them.
pub(super) struct Sender {
    credentials: Credentials,
    transport: Transport,
    /// By how much the service's clock is ahead of ours, in milliseconds.
    ahead_ms: AtomicI64,
}

impl Sender {
    pub(super) fn new(credentials: Credentials, transport: Transport) -> Sender {
        Sender { credentials, transport, ahead_ms: AtomicI64::new(0) }
    }

    /// Makes connections to where calls about this place go.
    pub(super) async fn open_ahead(&self, place: &Place, files: usize, most: usize) -> Result<(), HostError> {
        self.transport.open_ahead(&place.url(None, ""), files, most).await
    }

    /// Sends a call and reads its reply. One that may have been refused for the time it was signed with is sent once more, by the
    /// service's clock.
    pub(super) async fn ask(&self, place: &Place, call: &Call<'_>) -> Result<Reply, HostError> {
        let reply = self.send(place, call).await?;
        let now_ms = self.transport.clock().now_ms();
        match ahead_ms(&reply, now_ms)
            .filter(|ahead| ahead.abs_diff(self.ahead_ms.load(Ordering::Relaxed)) > CLOCKS_AGREE_MS as u64)
        {
            Some(ahead) => {
                self.ahead_ms.store(ahead, Ordering::Relaxed);
                self.send(place, call).await
            }
            None => Ok(reply),
        }
    }

    async fn send(&self, place: &Place, call: &Call<'_>) -> Result<Reply, HostError> {
        let url = place.url(call.key, &call.query);
        let headers = call.signed(place, &self.scope(place), &self.credentials);
        let request = match call.method {
            "GET" => Request::get(&url),
            "HEAD" => Request::head(&url),
            "PUT" => Request::put(&url),
            "POST" => Request::post(&url),
            _ => Request::delete(&url),
        };
        let request = request.verbatim().reply_max(REPLY_BYTES_MAX).patience(call.patience);
        let (request, own_type) = match &call.body {
            Body::Nothing => (request, true),
            Body::Xml(text) => (request.text("application/xml", text.clone()), false),
            Body::Part(part) => (request.raw(part), true),
        };
        let headers = headers.into_iter().filter(|(name, _)| own_type || *name != "content-type");
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        self.transport.send(request).await
    }

    fn scope(&self, place: &Place) -> Scope {
        let now_ms = self.transport.clock().now_ms();
        Scope::at(now_ms.saturating_add(self.ahead_ms.load(Ordering::Relaxed)), &place.region)
    }

    /// An address with which anybody may fetch an object for so long.
    pub(super) fn address(&self, place: &Place, key: &str, life: Duration) -> Secret {
        let scope = self.scope(place);
        let query = sign::presigned(place.host(), &place.path(Some(key)), life.as_secs(), &scope, &self.credentials);
        Secret::new(place.url(Some(key), &query))
    }

    /// 32 digits that nobody else draws.
    pub(super) fn token(&self) -> String {
        sign::hex(&self.transport.chance().bytes::<16>())
    }
}

/// By how much the clock of a service that refuses is ahead of ours.
fn ahead_ms(reply: &Reply, now_ms: i64) -> Option<i64> {
    let date = reply.header("date").filter(|_| reply.status == 403)?;
    let since = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(|told_ms| told_ms.saturating_sub(now_ms))
}

#[cfg(test)]
mod tests {
    use super::super::place::Style;
    use super::*;

    #[test]
    fn every_header_of_the_service_is_signed_and_no_other() {
        let place = Place::new("https://h.example", Style::Path, "r", "box");
        let token = Some(Secret::new("lent"));
        let credentials =
            Credentials { access_key_id: Secret::new("AK"), secret_access_key: Secret::new("SK"), session_token: token };
        let call = Call::of_object("POST", "a b", &[("uploadId", "u")])
            .header("x-amz-meta-mtime", "1.5")
            .header("if-none-match", "*")
            .header("cache-control", "no-store")
            .xml("<a/>".into());
        let headers = call.signed(&place, &Scope::at(0, "r"), &credentials);
        let told = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        let authorization = told("authorization").unwrap();
        let names = "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-mtime;x-amz-security-token,";
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AK/19700101/r/s3/aws4_request,"), "{authorization}");
        assert!(authorization.contains(names), "{authorization}");
        assert_eq!(told("x-amz-content-sha256"), Some(sign::hash(b"<a/>").as_str()));
        assert_eq!((told("x-amz-security-token"), told("if-none-match")), (Some("lent"), Some("*")));
    }

    #[test]
    fn only_a_refusal_tells_that_the_clocks_disagree() {
        let reply = |status, date: &str| Reply { status, headers: [("date", date)].into_iter().collect(), ..Reply::default() };
        let date = "Thu, 01 Jan 1970 01:00:00 GMT";
        assert_eq!(ahead_ms(&reply(403, date), 600_000), Some(3_000_000));
        assert_eq!(ahead_ms(&reply(200, date), 0), None);
        assert_eq!(ahead_ms(&reply(403, "soon"), 0), None);
    }
}
