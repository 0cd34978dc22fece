//! Signature Version 4 (page, 2): in a header for our own requests, in the query for an address that others may fetch.

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// What stands for the hash of a body that is not hashed before it is sent.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Everything but what RFC 3986 calls unreserved, ...
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// ... and the slash between the names of a path.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// Who signs.
pub(super) struct Credentials {
    pub(super) access_key_id: Secret,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Option<Secret>,
}

/// What of a request is signed.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// The path, as it is on the wire.
    pub(super) path: &'a str,
    /// The query, as it is on the wire: made by [`query`].
    pub(super) query: &'a str,
    /// The headers that are signed, their names in lower-case letters and in order.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The SHA-256 of the body in lower-case hexadecimal, or [`UNSIGNED`].
    pub(super) payload: &'a str,
}

/// When and where a signature is good.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// UTC, `YYYYMMDD'T'HHMMSS'Z'`.
    pub(super) time: String,
    pub(super) region: String,
}

impl Scope {
    pub(super) fn at(now_ms: i64, region: &str) -> Scope {
        let moment = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        Scope { time: moment.strftime("%Y%m%dT%H%M%SZ").to_string(), region: region.to_owned() }
    }

    fn day(&self) -> &str {
        self.time.get(..8).unwrap_or_default()
    }

    fn text(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.day(), self.region)
    }

    /// What stands before the signature: whose it is, and for when and where.
    pub(super) fn credential(&self, credentials: &Credentials) -> String {
        format!("{}/{}", credentials.access_key_id.reveal(), self.text())
    }
}

/// The value of the `Authorization` header.
pub(super) fn authorization(signed: &Signed<'_>, scope: &Scope, credentials: &Credentials) -> String {
    let (credential, names) = (scope.credential(credentials), names(signed.headers));
    let signature = signature(signed, scope, &credentials.secret_access_key);
    format!("{ALGORITHM} Credential={credential},SignedHeaders={names},Signature={signature}")
}

/// The query with which anybody may fetch what is at `path` of `host` for so many seconds.
pub(super) fn presigned(host: &str, path: &str, seconds: u64, scope: &Scope, credentials: &Credentials) -> String {
    let (credential, seconds) = (scope.credential(credentials), seconds.to_string());
    let mut pairs = vec![
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &scope.time),
        ("X-Amz-Expires", &seconds),
        ("X-Amz-SignedHeaders", "host"),
    ];
    pairs.extend(credentials.session_token.as_ref().map(|token| ("X-Amz-Security-Token", token.reveal())));
    let query = query(&pairs);
    let signed = Signed { method: "GET", path, query: &query, headers: &[("host", host)], payload: UNSIGNED };
    format!("{query}&X-Amz-Signature={}", signature(&signed, scope, &credentials.secret_access_key))
}

/// A query in the form in which it is signed and sent.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.sort();
    pairs.join("&")
}

/// A key or a bucket in the form in which it is signed and sent: encoded once.
pub(super) fn encoded(key: &str) -> String {
    utf8_percent_encode(key, RESERVED_IN_PATH).to_string()
}

/// The hash of a body, as it is signed.
pub(super) fn hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

fn signature(signed: &Signed<'_>, scope: &Scope, secret: &Secret) -> String {
    let Signed { method, path, query, headers, payload } = signed;
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", trimmed(value))).collect();
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{}\n{payload}", names(headers));
    let to_sign = format!("{ALGORITHM}\n{}\n{}\n{}", scope.time, scope.text(), hash(canonical.as_bytes()));
    let first = format!("AWS4{}", secret.reveal()).into_bytes();
    let steps = [scope.day(), &scope.region, "s3", "aws4_request", &to_sign];
    hex(&steps.iter().fold(first, |key, text| mac(&key, text.as_bytes())))
}

fn names(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
}

/// A value as it is signed: without spaces around it, and with one between its words.
fn trimmed(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HOST: &str = "examplebucket.s3.amazonaws.com";

    /// The credentials, time and place of the published examples (page, 2).
    fn published() -> (Credentials, Scope) {
        let credentials = Credentials {
            access_key_id: Secret::new("AKIAIOSFODNN7EXAMPLE"),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        (credentials, Scope::at(1_369_353_600_000, "us-east-1"))
    }

    #[test]
    fn the_signatures_are_those_of_the_published_examples() {
        let (credentials, scope) = published();
        assert_eq!(scope.time, "20130524T000000Z");
        let content = hash(b"Welcome to Amazon S3.");
        let date = ("x-amz-date", "20130524T000000Z");
        let nothing = ("x-amz-content-sha256", EMPTY);
        let get = [("host", HOST), ("range", "bytes=0-9"), nothing, date];
        let put = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("host", HOST),
            ("x-amz-content-sha256", content.as_str()),
            date,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let plain = [("host", HOST), nothing, date];
        let put_path = format!("/{}", encoded("test$file.text"));
        let listing = query(&[("prefix", "J"), ("max-keys", "2")]);
        let example = |method, path, query, headers| Signed { method, path, query, headers, payload: EMPTY };
        let cases = [
            (example("GET", "/test.txt", "", get.as_slice()), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            (
                Signed { payload: &content, ..example("PUT", &put_path, "", &put) },
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (example("GET", "/", "lifecycle=", &plain), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (example("GET", "/", &listing, &plain), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ];
        for (signed, expected) in cases {
            assert_eq!(signature(&signed, &scope, &credentials.secret_access_key), expected, "{signed:?}");
        }
        let signed = Signed { method: "GET", path: "/test.txt", query: "", headers: &get, payload: EMPTY };
        assert_eq!(
            authorization(&signed, &scope, &credentials),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn a_signed_address_is_that_of_the_published_example() {
        let (credentials, scope) = published();
        let query = presigned(HOST, "/test.txt", 86_400, &scope, &credentials);
        assert_eq!(
            query,
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn a_key_is_encoded_once_and_keeps_its_slashes() {
        assert_eq!(encoded("a b/ü~.txt?x=1&y+z%20*'"), "a%20b/%C3%BC~.txt%3Fx%3D1%26y%2Bz%2520%2A%27");
        assert_eq!(query(&[("uploadId", "a+/="), ("partNumber", "10")]), "partNumber=10&uploadId=a%2B%2F%3D");
        assert_eq!(query(&[("uploads", "")]), "uploads=");
    }
}
