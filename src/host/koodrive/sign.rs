//! The app signature of a control call (page, 2). The body's hash is taken as lower-case hexadecimal of the exact body, as in its
//! sibling schemes; the page marks that as an assumption.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// What of a request is signed.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The path, as it is on the wire.
    pub path: &'a str,
    /// Host and port, as they are on the wire.
    pub host: &'a str,
    /// UTC, `YYYYMMDD'T'HHMMSS'Z'`.
    pub date: &'a str,
    /// The user's id.
    pub user_id: &'a str,
    /// The exact body.
    pub body: &'a [u8],
}

/// The value of the `Authorization` header, with this signature.
pub(super) fn authorization(app_id: &str, signature: &Secret) -> String {
    format!("HMAC-SHA256 AppId={app_id},SignedHeaders=host;x-date;x-user-id,Signature={}", signature.reveal())
}

/// The signature, which lets anybody repeat the request as long as its date is good.
pub(super) fn signature(signed: &Signed<'_>, app_secret: &Secret) -> Secret {
    let Signed { method, path, host, date, user_id, body } = signed;
    let slash = if path.ends_with('/') { "" } else { "/" };
    let headers = format!("host:{}\nx-date:{}\nx-user-id:{}\n", host.trim(), date.trim(), user_id.trim());
    let body = hex(&Sha256::digest(body));
    let canonical = format!("{method}\n{path}{slash}\n\n{headers}\nhost;x-date;x-user-id\n{body}");
    let to_sign = format!("HMAC-SHA256\n{}", hex(&Sha256::digest(canonical)));
    // HMAC takes keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(app_secret.reveal().as_bytes()) else { return Secret::new("") };
    mac.update(to_sign.as_bytes());
    Secret::new(hex(&mac.finalize().into_bytes()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_page() {
        let body = r#"{"fileId":"FxTestFileId0001","sha256":"670f15212a83941c8aed6758628e846b0a90cec8704292d0929c1fd44adcd0da"}"#;
        assert_eq!(hex(&Sha256::digest(body)), "2c05e11d9e4b587d93b42c23799e209b9ad5796c8105ac17bacb5e5745b0549a");
        let signed = Signed {
            method: "POST",
            path: "/koodrive/ose/v1/files/complete",
            host: "koodrive.test",
            date: "20250102T030405Z",
            user_id: "1000000000000000001",
            body: body.as_bytes(),
        };
        let expected = "c3bfad58c31227f8f398145741cf70545ace9774f587d83ce82e2c50bef2eae8";
        let signature = signature(&signed, &Secret::new("test-app-secret"));
        assert_eq!(signature.reveal(), expected);
        let header = authorization("app1", &signature);
        assert_eq!(header, format!("HMAC-SHA256 AppId=app1,SignedHeaders=host;x-date;x-user-id,Signature={expected}"));
    }
}
