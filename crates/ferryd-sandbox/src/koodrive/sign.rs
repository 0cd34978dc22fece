//! Who asks: the signature and the tokens of control calls, and the date they carry.

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::Sha256;

use super::super::digest::{hex, sha256};
use super::Rules;

const SCHEME: &str = "HMAC-SHA256";
const SIGNED: [&str; 3] = ["host", "x-date", "x-user-id"];
const AGE_SECONDS_MAX: i64 = 15 * 60;
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// A control call, as it came over the wire.
#[derive(Debug)]
pub(crate) struct Signed<'r> {
    /// The method.
    pub method: &'r str,
    /// The whole path.
    pub path: &'r str,
    /// The query.
    pub query: &'r str,
    /// The names of the signed headers and their values, in their order.
    pub headers: Vec<(&'r str, &'r str)>,
    /// The body.
    pub body: &'r [u8],
}

impl Signed<'_> {
    /// The text whose digest is signed.
    pub(crate) fn canonical(&self) -> String {
        let mut query: Vec<_> = self.query.split('&').filter(|pair| !pair.is_empty()).collect();
        query.sort_unstable();
        let slash = if self.path.ends_with('/') { "" } else { "/" };
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        let (method, path, query, names) = (self.method, self.path, query.join("&"), names.join(";"));
        format!("{method}\n{path}{slash}\n{query}\n{headers}\n{names}\n{}", sha256(self.body))
    }

    /// The signature, in hexadecimal.
    pub(crate) fn signature(&self, secret: &str) -> String {
        mac(secret, &format!("{SCHEME}\n{}", sha256(self.canonical().as_bytes())))
    }
}

/// The keyed digest of a text, in hexadecimal.
pub(crate) fn mac(key: &str, text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes());
    mac.map(|mac| hex(&mac.chain_update(text).finalize().into_bytes())).unwrap_or_default()
}

/// A moment as the host writes it in headers and links.
pub(crate) fn stamp(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().strftime(STAMP).to_string()
}

/// The moment a stamp means, in milliseconds since the Unix epoch.
pub(crate) fn read_stamp(text: &str) -> Option<i64> {
    let moment = DateTime::strptime(STAMP, text).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    (stamp(moment) == text).then_some(moment)
}

/// Who is allowed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// An application, by its signature.
    App,
    /// Whoever has the token.
    Token,
}

/// One call and the rules it is held against.
pub(crate) struct Caller<'r> {
    /// The rules.
    pub rules: &'r Rules,
    /// The method.
    pub method: &'r str,
    /// The whole path.
    pub path: &'r str,
    /// The query.
    pub query: &'r str,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The body.
    pub body: &'r [u8],
    /// Whether a header's value is the token that was given out last; nothing before one was.
    pub issued: &'r dyn Fn(&str) -> Option<bool>,
}

impl<'r> Caller<'r> {
    /// Who makes the call, if that is allowed at this time; why not, if not.
    pub(crate) fn check(&self, now_ms: i64) -> Result<Who, String> {
        let given = self.header("authorization").ok_or("the header Authorization is missing")?;
        match given.strip_prefix(SCHEME) {
            Some(rest) if self.rules.hmac => {
                self.check_user(now_ms, true)?;
                self.check_signature(rest).map(|()| Who::App)
            }
            Some(_) => Err("signatures are not taken here".into()),
            None => {
                self.check_user(now_ms, self.rules.strict)?;
                self.check_token(given).map(|()| Who::Token)
            }
        }
    }

    fn check_user(&self, now_ms: i64, needed: bool) -> Result<(), String> {
        match self.header("x-user-id") {
            None if needed => return Err("the header X-User-Id is missing".into()),
            Some(user) if user != self.rules.user_id => return Err("the user is unknown".into()),
            _ => {}
        }
        match self.header("x-date") {
            None if needed => Err("the header X-Date is missing".into()),
            None => Ok(()),
            Some(date) => check_date(date, now_ms),
        }
    }

    fn check_signature(&self, rest: &str) -> Result<(), String> {
        let (id, names, signature) = signature_fields(rest).ok_or("the header Authorization cannot be read")?;
        if id != self.rules.app_id {
            return Err("the application is unknown".into());
        }
        let names: Vec<_> = names.split(';').collect();
        if !names.is_sorted() || SIGNED.iter().any(|name| !names.contains(name)) {
            return Err("SignedHeaders must be sorted and name host, x-date and x-user-id".into());
        }
        let headers: Option<Vec<_>> = names.iter().map(|name| Some((*name, self.header(name)?))).collect();
        let headers = headers.ok_or("a signed header is missing")?;
        let Caller { method, path, query, body, .. } = *self;
        let wanted = Signed { method, path, query, headers, body }.signature(&self.rules.app_secret);
        if signature == wanted { Ok(()) } else { Err("the signature does not match".into()) }
    }

    fn check_token(&self, given: &str) -> Result<(), String> {
        if let Some(is_issued) = (self.issued)(given) {
            return if is_issued { Ok(()) } else { Err("the access token is not valid".into()) };
        }
        let Rules { strict, bearer, bearer_plus, bare, .. } = *self.rules;
        let forms = [("Bearer ", bearer), ("Bearer+", bearer_plus), ("", bare)];
        let taken = |(prefix, taken): (&str, bool)| {
            (taken || !strict) && given.strip_prefix(prefix) == Some(self.rules.access_token.as_str())
        };
        if forms.into_iter().any(taken) { Ok(()) } else { Err("the access token is not valid".into()) }
    }

    fn header(&self, name: &str) -> Option<&'r str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn check_date(date: &str, now_ms: i64) -> Result<(), String> {
    let age = now_ms.div_euclid(1000) - read_stamp(date).ok_or("X-Date is no YYYYMMDD'T'HHMMSS'Z'")?.div_euclid(1000);
    match age {
        0..=AGE_SECONDS_MAX => Ok(()),
        ..0 => Err("X-Date is in the future".into()),
        _ => Err("X-Date is too old".into()),
    }
}

/// Application, signed headers and signature.
fn signature_fields(rest: &str) -> Option<(&str, &str, &str)> {
    let mut fields = rest.strip_prefix(' ')?.split(',');
    let id = fields.next()?.strip_prefix("AppId=")?;
    let names = fields.next()?.strip_prefix("SignedHeaders=")?;
    let signature = fields.next()?.strip_prefix("Signature=")?;
    fields.next().is_none().then_some((id, names, signature))
}
