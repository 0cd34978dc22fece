//! Signature Version 4, verified: what was signed is put together again from the request as it came (`docs/protocols/s3.md`,
//! section 2).

use hmac::{Hmac, KeyInit, Mac};
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use super::super::digest::{hex, sha256};
use super::{Fault, Rules};

/// How far the clock of a client may be off, in milliseconds.
const CLOCK_MS: i64 = 15 * 60 * 1000;
/// How long an address may be good, in seconds.
const LIFE_MAX: i64 = 604_800;
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request, as far as it is signed.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    /// As it was on the line.
    pub(super) path: String,
    pub(super) query: String,
    /// Names in lower-case letters, in the order in which they came.
    pub(super) headers: Vec<(String, String)>,
    /// By the clock of the service.
    pub(super) now_ms: i64,
}

/// Which body a signature is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payload {
    Any,
    /// The one with this SHA-256.
    Hashed(String),
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The query, decoded.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decoded(name), decoded(value))).collect()
    }

    /// Whether the request is signed by the owner of the bucket; which body it may have.
    pub(super) fn verify(&self, rules: &Rules) -> Result<Payload, Fault> {
        let pairs = self.pairs();
        if pairs.iter().any(|(name, _)| name == "X-Amz-Signature") {
            return self.verify_address(rules, &pairs).map(|()| Payload::Any);
        }
        let given = self.header("authorization").ok_or_else(|| Fault::denied("the request is not signed"))?;
        let rest =
            given.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| Fault::bad("AuthorizationHeaderMalformed", "another scheme"))?;
        let field = |name: &str| {
            let found = rest.split(',').filter_map(|field| field.trim().split_once('=')).find(|(known, _)| *known == name);
            found.map(|(_, value)| value).ok_or_else(|| Fault::bad("AuthorizationHeaderMalformed", format!("no {name}")))
        };
        let (credential, names, signature) = (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
        let time = self.header("x-amz-date").ok_or_else(|| Fault::denied("no x-amz-date"))?;
        if (moment(time)? - self.now_ms).abs() > CLOCK_MS {
            return Err(Fault::new(403, "RequestTimeTooSkewed", "the difference between the clocks is too large"));
        }
        let names: Vec<&str> = names.split(';').collect();
        let must = |name: &str| name == "host" || name == "content-md5" || name == "content-type" || name.starts_with("x-amz-");
        if let Some((name, _)) = self.headers.iter().find(|(name, _)| must(name) && !names.contains(&name.as_str())) {
            return Err(Fault::denied(format!("`{name}` is not signed")));
        }
        if !names.is_sorted() {
            return Err(Fault::bad("AuthorizationHeaderMalformed", "the names of the headers are not in order"));
        }
        let payload = self.header("x-amz-content-sha256").ok_or_else(|| Fault::bad("InvalidRequest", "no x-amz-content-sha256"))?;
        let canonical = self.canonical(&pairs, &names, payload)?;
        check(rules, credential, time, &canonical, signature)?;
        self.check_token(rules, self.header("x-amz-security-token"))?;
        match payload {
            UNSIGNED => Ok(Payload::Any),
            hash if hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Payload::Hashed(hash.to_owned()))
            }
            _ => Err(Fault::bad("InvalidRequest", "x-amz-content-sha256 must be a hash or UNSIGNED-PAYLOAD")),
        }
    }

    /// A signature in the query.
    fn verify_address(&self, rules: &Rules, pairs: &[(String, String)]) -> Result<(), Fault> {
        let value = |name: &str| {
            let found = pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            found.ok_or_else(|| Fault::bad("AuthorizationQueryParametersError", format!("no {name}")))
        };
        let (credential, time, signature) = (value("X-Amz-Credential")?, value("X-Amz-Date")?, value("X-Amz-Signature")?);
        let life: i64 = value("X-Amz-Expires")?.parse().map_err(|_| Fault::bad("AuthorizationQueryParametersError", "no time"))?;
        if value("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" || !(1..=LIFE_MAX).contains(&life) {
            return Err(Fault::bad("AuthorizationQueryParametersError", "another algorithm, or a life out of range"));
        }
        let age_ms = self.now_ms - moment(time)?;
        if age_ms < -CLOCK_MS || age_ms > life * 1000 {
            return Err(Fault::denied("Request has expired"));
        }
        let names: Vec<&str> = value("X-Amz-SignedHeaders")?.split(';').collect();
        let signed: Vec<_> = pairs.iter().filter(|(name, _)| name != "X-Amz-Signature").cloned().collect();
        check(rules, credential, time, &self.canonical(&signed, &names, UNSIGNED)?, signature)?;
        self.check_token(rules, value("X-Amz-Security-Token").ok())
    }

    fn check_token(&self, rules: &Rules, given: Option<&str>) -> Result<(), Fault> {
        match (&rules.session_token, given) {
            (Some(token), Some(given)) if token == given => Ok(()),
            (None, None) => Ok(()),
            (None | Some(_), _) => Err(Fault::bad("InvalidToken", "the token is not the one that belongs to the key")),
        }
    }

    fn canonical(&self, pairs: &[(String, String)], names: &[&str], payload: &str) -> Result<String, Fault> {
        let path = percent_decode_str(&self.path).decode_utf8().map_err(|_| Fault::bad("InvalidURI", "the key is not UTF-8"))?;
        let path = path.split('/').map(escaped).collect::<Vec<_>>().join("/");
        let mut query: Vec<(String, String)> = pairs.iter().map(|(name, value)| (escaped(name), escaped(value))).collect();
        query.sort();
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut lines = String::new();
        for name in names {
            let value = self.header(name).ok_or_else(|| Fault::denied(format!("`{name}` is signed and not sent")))?;
            let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            lines.push_str(&format!("{name}:{value}\n"));
        }
        Ok(format!("{}\n{path}\n{}\n{lines}\n{}\n{payload}", self.method, query.join("&"), names.join(";")))
    }
}

/// Everything but letters, digits and `-._~` by its bytes.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The moment that `20260101T120000Z` names, in milliseconds since the Unix epoch.
fn moment(time: &str) -> Result<i64, Fault> {
    let wrong = || Fault::denied("the date of the signature cannot be read");
    let parsed = strtime::parse("%Y%m%dT%H%M%SZ", time).and_then(|parsed| parsed.to_datetime());
    let parsed: DateTime = parsed.map_err(|_| wrong())?;
    parsed.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp().as_millisecond()).map_err(|_| wrong())
}

fn check(rules: &Rules, credential: &str, time: &str, canonical: &str, signature: &str) -> Result<(), Fault> {
    let steps: Vec<&str> = credential.split('/').collect();
    let [id, day, region, "s3", "aws4_request"] = steps[..] else {
        return Err(Fault::bad("AuthorizationHeaderMalformed", "the credential is of another form"));
    };
    if id != rules.access_key_id {
        return Err(Fault::new(403, "InvalidAccessKeyId", "there is no such key"));
    }
    if region != rules.region {
        let words = format!("the region '{region}' is wrong; expecting '{}'", rules.region);
        return Err(Fault { region: Some(rules.region.clone()), ..Fault::bad("AuthorizationHeaderMalformed", words) });
    }
    if !time.starts_with(day) {
        return Err(Fault::denied("the credential is of another day"));
    }
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{day}/{region}/s3/aws4_request\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{}", rules.secret_access_key).into_bytes();
    for text in [day, region, "s3", "aws4_request", &to_sign] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| Fault::denied("no key"))?;
        mac.update(text.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    if hex(&key) == signature {
        Ok(())
    } else {
        Err(Fault::new(403, "SignatureDoesNotMatch", "the signature is not that of the request"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// 24 May 2013, midnight.
    const THEN_MS: i64 = 1_369_353_600_000;

    fn rules() -> Rules {
        Rules {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
            ..Rules::default()
        }
    }

    /// The published example of a request for a range.
    fn example() -> Request {
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("authorization", authorization),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Request { method: "GET".into(), path: "/test.txt".into(), query: String::new(), headers, now_ms: THEN_MS }
    }

    fn code(request: &Request) -> &'static str {
        request.verify(&rules()).map_or_else(|fault| fault.code, |_| "fine")
    }

    #[test]
    fn the_published_example_is_taken_and_nothing_else() {
        assert_eq!(example().verify(&rules()).unwrap(), Payload::Hashed(EMPTY.into()));
        let with = |name: &str, value: &str| {
            let mut request = example();
            request.headers.retain(|(known, _)| known != name);
            request.headers.push((name.into(), value.into()));
            code(&request)
        };
        assert_eq!(code(&Request { method: "HEAD".into(), ..example() }), "SignatureDoesNotMatch");
        assert_eq!(code(&Request { path: "/test.tx%74".into(), ..example() }), "fine", "the same path, written otherwise");
        assert_eq!(code(&Request { path: "/other.txt".into(), ..example() }), "SignatureDoesNotMatch");
        assert_eq!(code(&Request { query: "acl".into(), ..example() }), "SignatureDoesNotMatch");
        assert_eq!(with("range", "bytes=0-8"), "SignatureDoesNotMatch");
        assert_eq!(with("x-amz-acl", "public-read"), "AccessDenied", "what is not signed");
        assert_eq!(with("authorization", "Bearer x"), "AuthorizationHeaderMalformed");
        assert_eq!(code(&Request { now_ms: THEN_MS + 15 * 60 * 1000, ..example() }), "fine");
        assert_eq!(code(&Request { now_ms: THEN_MS + 15 * 60 * 1000 + 1, ..example() }), "RequestTimeTooSkewed");
        let region = Rules { region: "eu-west-1".into(), ..rules() };
        assert_eq!(example().verify(&region).unwrap_err().region.as_deref(), Some("eu-west-1"));
        let token = Rules { session_token: Some("lent".into()), ..rules() };
        assert_eq!(example().verify(&token).unwrap_err().code, "InvalidToken");
    }

    #[test]
    fn the_published_address_is_good_for_its_time() {
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                     &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                     &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        let request = Request { query: query.into(), headers: example().headers[..1].to_vec(), ..example() };
        assert_eq!(code(&request), "fine");
        assert_eq!(code(&Request { now_ms: THEN_MS + 86_400_001, ..request.clone() }), "AccessDenied");
        let longer = query.replace("Expires=86400", "Expires=86401");
        assert_eq!(code(&Request { query: longer, ..request }), "SignatureDoesNotMatch");
    }
}
