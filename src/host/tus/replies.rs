//! Reads the replies. Every function here is pure; `docs/protocols/tus.md`, here "page", has the forms.

use crate::job::upload::Class;

use super::super::error::{HostError, excerpt};
use super::super::http::Reply;

/// The version that is spoken.
pub(super) const VERSION: &str = "1.0.0";

/// What a server says that it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it has said anything.
    pub are_known: bool,
    /// The names of its extensions.
    pub extensions: Vec<String>,
    /// The largest file it takes, in bytes.
    pub bytes_max: Option<u64>,
    /// The checksums it verifies.
    pub checksums: Vec<String>,
}

impl Abilities {
    /// Whether it has this extension.
    pub(super) fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|known| known == extension)
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// What the server can do.
    Abilities,
    /// A new upload.
    Creation,
    /// To take some bytes.
    Bytes,
    /// How far an upload is.
    Offset,
}

/// What a server says that it can do. One that says nothing of the kind can create uploads, and that is all we know.
pub fn abilities_reply(reply: &Reply) -> Result<Abilities, HostError> {
    if matches!(reply.status, 400..=405 | 501) {
        return Ok(Abilities::default());
    }
    if !reply.is_success() {
        return Err(refusal(reply, Asked::Abilities));
    }
    let words = |name: &str| -> Vec<String> {
        let told = reply.header(name).unwrap_or_default();
        told.split(',').map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty()).collect()
    };
    let versions = words("tus-version");
    if versions.is_empty() {
        return Ok(Abilities::default());
    }
    if !versions.iter().any(|version| version == VERSION) {
        let said = format!("the host speaks tus {}, and not {VERSION}", excerpt(&versions.join(", ")));
        return Err(reply.failure(Class::HostRefused, said));
    }
    let bytes_max = reply.header("tus-max-size").and_then(|max| max.trim().parse().ok()).filter(|max| *max > 0);
    Ok(Abilities { are_known: true, extensions: words("tus-extension"), bytes_max, checksums: words("tus-checksum-algorithm") })
}

/// Where an upload is that was created, as the server writes it.
pub fn create_reply(reply: &Reply) -> Result<String, HostError> {
    if !reply.is_success() {
        return Err(refusal(reply, Asked::Creation));
    }
    let location = reply.header("location").map(str::trim).filter(|location| !location.is_empty());
    let location = location.ok_or_else(|| HostError { doubt: true, ..strange(reply, "named no place for the upload") })?;
    Ok(location.to_owned())
}

/// How far an upload is after the bytes from `offset` on, of which so many were sent.
pub fn patch_reply(reply: &Reply, offset: u64, sent: u64) -> Result<u64, HostError> {
    if !reply.is_success() {
        return Err(refusal(reply, Asked::Bytes));
    }
    let held = offset_of(reply).filter(|held| (offset..=offset.saturating_add(sent)).contains(held));
    held.ok_or_else(|| HostError { doubt: true, ..strange(reply, "did not say how much it took") })
}

/// How far an upload of a file of so many bytes is.
pub fn head_reply(reply: &Reply, file_bytes: u64) -> Result<u64, HostError> {
    if !reply.is_success() {
        return Err(refusal(reply, Asked::Offset));
    }
    let offset =
        offset_of(reply).ok_or_else(|| strange(reply, "did not say how far the upload is").worsening_to(Class::HostRefused))?;
    let length: Option<u64> = reply.header("upload-length").and_then(|length| length.trim().parse().ok());
    if offset > file_bytes || length.is_some_and(|length| length != file_bytes) {
        let length = length.unwrap_or(offset);
        let said = format!("the host's upload is one of {length} bytes, and the file has {file_bytes}");
        return Err(reply.failure(Class::SessionLost, said));
    }
    Ok(offset)
}

/// Whether an upload is given up; one that is not known is.
pub fn delete_reply(reply: &Reply) -> Result<(), HostError> {
    if reply.is_success() || matches!(reply.status, 403 | 404 | 405 | 410 | 501) {
        Ok(())
    } else {
        Err(refusal(reply, Asked::Offset))
    }
}

fn offset_of(reply: &Reply) -> Option<u64> {
    reply.header("upload-offset").and_then(|offset| offset.trim().parse().ok())
}

fn strange(reply: &Reply, what: &str) -> HostError {
    reply.failure(Class::Unreadable, format!("the host {what} ({}): `{}`", reply.status, excerpt(&reply.text)))
}

/// The code that some servers begin an error with: `ERR_UPLOAD_LOCKED`.
fn code(reply: &Reply) -> Option<&str> {
    let text = reply.text.trim_start();
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(text.len());
    Some(&text[..end]).filter(|code| code.starts_with("ERR_"))
}

/// Whether the server has broken a request off, for another one of ours that it saw.
fn is_interrupted(reply: &Reply) -> bool {
    let ours =
        matches!(code(reply), Some("ERR_UPLOAD_INTERRUPTED" | "ERR_UNEXPECTED_EOF" | "ERR_CONNECTION_RESET" | "ERR_READ_TIMEOUT"));
    ours || reply.text.contains("aborted due to lock")
}

/// What a reply means that is no success (page, 10).
pub(super) fn refusal(reply: &Reply, asked: Asked) -> HostError {
    let coded = |error: HostError| match code(reply) {
        Some(code) => error.with_code(code),
        None => error,
    };
    let meant = |class: Class, what: &str| {
        let body = excerpt(&reply.text);
        let told = if body.is_empty() { String::new() } else { format!(": `{body}`") };
        let failure = reply.failure(class, format!("the host answered {}, {what}{told}", reply.status));
        coded(HostError { wait: reply.retry_after, ..failure })
    };
    let is_of_an_upload = matches!(asked, Asked::Bytes | Asked::Offset);
    match reply.status {
        400 if is_interrupted(reply) => HostError { doubt: true, ..meant(Class::Transient, "it broke the request off") },
        400 if matches!(code(reply), Some("ERR_UPLOAD_REJECTED" | "ERR_UPLOAD_STOPPED")) => {
            meant(Class::FileRejected, "it does not take this file")
        }
        400 if is_of_an_upload && reply.text.to_lowercase().contains("checksum") => {
            meant(Class::RequestRefused, "it does not know the checksum; set `checksum`")
        }
        401 if !reply.is_markup() => meant(Class::HostRefused, "check the credentials"),
        403 if !reply.is_markup() && asked == Asked::Creation => meant(Class::HostRefused, "check the credentials"),
        // A proxy answers so as well: only what lasts is the server's word.
        404 | 410 if is_of_an_upload && reply.html => {
            meant(Class::Unreadable, "the upload may be gone").worsening_to(Class::SessionLost)
        }
        404 | 410 if is_of_an_upload => meant(Class::SessionLost, "the upload is gone"),
        403 if asked == Asked::Offset && !reply.html => meant(Class::SessionLost, "the upload is gone"),
        403 if asked == Asked::Bytes && !reply.html => meant(Class::RequestRefused, "it lacks something in the request"),
        405 if asked == Asked::Bytes => {
            meant(Class::Unreadable, "it does not take PATCH; set `method_override = true`").worsening_to(Class::HostRefused)
        }
        409 if is_of_an_upload => meant(Class::OffsetMismatch, "the upload is at another place"),
        412 => {
            let versions = reply.header("tus-version").map_or(String::new(), |versions| format!(" {}", excerpt(versions)));
            meant(Class::HostRefused, &format!("it speaks another version of tus{versions}"))
        }
        413 if asked == Asked::Creation => meant(Class::FileRejected, "the file is too large for it"),
        // What damages bytes may go on to do so.
        417 | 460 if is_of_an_upload => {
            meant(Class::Transient, "other bytes arrived than were sent").worsening_to(Class::RequestRefused)
        }
        423 => meant(Class::Transient, "the upload is locked, perhaps by a request that was broken off"),
        _ => coded(reply.refusal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&str, &str)], text: &str) -> Reply {
        Reply { status, headers: headers.iter().copied().collect(), text: text.into(), ..Reply::default() }
    }

    #[test]
    fn the_answers_of_the_page_are_read() {
        let told = [
            ("Tus-Version", "1.0.0,0.2.2"),
            ("Tus-Extension", "creation, Expiration ,checksum"),
            ("Tus-Max-Size", "1073741824"),
            ("Tus-Checksum-Algorithm", "sha1,md5"),
        ];
        let abilities = abilities_reply(&reply(204, &told, "")).unwrap();
        assert!(abilities.has("creation") && abilities.has("expiration") && !abilities.has("termination"));
        assert_eq!((abilities.bytes_max, abilities.checksums.len()), (Some(1_073_741_824), 2));
        for (status, headers) in [(404, &told[..]), (200, &[][..])] {
            assert_eq!(abilities_reply(&reply(status, headers, "")).unwrap(), Abilities::default(), "{status}");
        }
        assert_eq!(abilities_reply(&reply(200, &[("Tus-Version", "2.0.0")], "")).unwrap_err().class, Class::HostRefused);
        assert_eq!(create_reply(&reply(201, &[("Location", "/files/24e5")], "")).unwrap(), "/files/24e5");
        assert!(create_reply(&reply(201, &[], "")).unwrap_err().doubt, "nobody knows what it has made");
    }

    #[test]
    fn only_an_offset_within_what_was_sent_is_believed() {
        let at = |offset: &str| patch_reply(&reply(204, &[("Upload-Offset", offset)], ""), 100, 50);
        assert_eq!((at("150").unwrap(), at("100").unwrap(), at(" 101 ").unwrap()), (150, 100, 101));
        for strange in ["99", "151", "", "-1", "150.0", "1e2"] {
            let error = at(strange).unwrap_err();
            assert!(error.class == Class::Unreadable && error.doubt, "{strange}");
        }
        assert!(patch_reply(&reply(204, &[], ""), 100, 50).is_err());
    }

    #[test]
    fn an_upload_of_another_length_is_not_ours() {
        let head = |headers: &[(&str, &str)]| head_reply(&reply(200, headers, ""), 100);
        assert_eq!(head(&[("Upload-Offset", "70"), ("Upload-Length", "100"), ("Content-Length", "70")]).unwrap(), 70);
        assert_eq!(head(&[("Upload-Offset", "100")]).unwrap(), 100);
        assert_eq!(head(&[("Upload-Offset", "7"), ("Upload-Length", "99")]).unwrap_err().class, Class::SessionLost);
        assert_eq!(head(&[("Upload-Offset", "101")]).unwrap_err().class, Class::SessionLost);
        assert_eq!(head(&[]).unwrap_err().class, Class::Unreadable, "a page of a proxy");
    }

    #[test]
    fn every_refusal_of_the_page_has_its_class() {
        use Asked::{Bytes, Creation, Offset};
        let cases = [
            (400, Bytes, "ERR_UPLOAD_INTERRUPTED: upload has been interrupted", Class::Transient),
            (400, Bytes, "Request aborted due to lock acquired", Class::Transient),
            (400, Bytes, "ERR_UPLOAD_REJECTED: no films", Class::FileRejected),
            (400, Creation, "ERR_UPLOAD_REJECTED: no films", Class::FileRejected),
            (400, Creation, "Invalid metadata", Class::RequestRefused),
            (400, Bytes, "unsupported checksum algorithm", Class::RequestRefused),
            (401, Creation, "", Class::HostRefused),
            (401, Bytes, "<html>", Class::Unreadable),
            (403, Creation, "forbidden", Class::HostRefused),
            (403, Offset, "", Class::SessionLost),
            (403, Bytes, "Upload-Offset header required", Class::RequestRefused),
            (404, Creation, "", Class::Unreadable),
            (404, Bytes, "", Class::SessionLost),
            (410, Offset, "", Class::SessionLost),
            (405, Bytes, "", Class::Unreadable),
            (409, Bytes, "ERR_MISMATCHED_OFFSET: mismatched offset", Class::OffsetMismatch),
            (412, Creation, "", Class::HostRefused),
            (413, Creation, "Maximum size exceeded", Class::FileRejected),
            (413, Bytes, "", Class::RequestRefused),
            (415, Bytes, "", Class::RequestRefused),
            (417, Bytes, "Wrong checksum", Class::Transient),
            (460, Bytes, "", Class::Transient),
            (423, Offset, "ERR_UPLOAD_LOCKED: file currently locked", Class::Transient),
            (429, Creation, "", Class::RateLimited),
            (500, Bytes, "ERR_LOCK_TIMEOUT: failed to acquire lock before timeout", Class::Transient),
            (503, Bytes, "ERR_SERVER_SHUTDOWN", Class::Transient),
        ];
        for (status, asked, text, class) in cases {
            let html = text.starts_with("<html");
            let refused = refusal(&Reply { html, ..reply(status, &[], text) }, asked);
            assert_eq!(refused.class, class, "{status} {asked:?} {text}");
        }
        let locked = refusal(&reply(423, &[], "ERR_UPLOAD_LOCKED: x"), Offset);
        assert_eq!(locked.code.as_deref(), Some("ERR_UPLOAD_LOCKED"));
        assert!(refusal(&reply(412, &[("Tus-Version", "2.0.0")], ""), Creation).said.contains("2.0.0"));
    }
}
