//! What a hook is told of a job, under the names that configurations, commands and webhooks know it by.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::config::{Field, Piece, Template};
use crate::job::Reason;
use crate::job::report::timestamp;
use crate::os::beneath::Base;

/// What a hook is told.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What happened: `done`, `failed`, `held` or `expiring`.
    pub event: &'static str,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// With `job` and `event` the name of this one occasion.
    pub number: u64,
    /// The job's number.
    pub job: i64,
    /// Where the source is.
    pub path: PathBuf,
    /// The watched folder from which it is reached.
    pub base: Base,
    /// The host's name.
    pub host: String,
    /// The host's kind.
    pub kind: String,
    /// Where the file can be fetched.
    pub link: Option<String>,
    /// The host's own name for it.
    pub remote_id: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// The job's state.
    pub state: &'static str,
    /// Why it is not moving.
    pub why: Option<Reason>,
    /// When the link dies, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

impl Facts {
    /// What stands for `field`; empty where nothing is known. The file system's own bytes for what comes from it.
    pub fn value(&self, field: Field) -> OsString {
        // No argument can hold a zero byte, and a host may say anything.
        let text = |text: &str| OsString::from(text.replace('\0', " "));
        match field {
            Field::Path => self.path.clone().into_os_string(),
            Field::Name => self.path.file_name().unwrap_or_default().to_owned(),
            Field::Dir => self.path.parent().map(|dir| dir.as_os_str().to_owned()).unwrap_or_default(),
            Field::Host => text(&self.host),
            Field::Kind => text(&self.kind),
            Field::Link => text(self.link.as_deref().unwrap_or_default()),
            Field::RemoteId => text(self.remote_id.as_deref().unwrap_or_default()),
            Field::Bytes => text(&self.bytes.to_string()),
            Field::State => text(self.state),
            Field::Why => text(&self.why().unwrap_or_default()),
            Field::Event => text(self.event),
            Field::Job => text(&self.job.to_string()),
            Field::Expires => text(&self.expires().unwrap_or_default()),
        }
    }

    /// The text of `template` for this job, as one argument: nothing in a value is ever read as anything but itself.
    pub fn fill(&self, template: &Template) -> OsString {
        let mut filled = Vec::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => filled.extend_from_slice(self.value(*field).as_bytes()),
            }
        }
        OsString::from_vec(filled)
    }

    /// The same as a JSON object; a path that is not Unicode is shown as far as it can be.
    pub fn json(&self) -> serde_json::Value {
        let text = |field: Field| self.value(field).to_string_lossy().into_owned();
        serde_json::json!({
            "event": self.event,
            "time": timestamp(self.at_ms).map(|at| at.to_string()),
            "job": self.job,
            "path": text(Field::Path),
            "name": text(Field::Name),
            "dir": text(Field::Dir),
            "host": self.host,
            "kind": self.kind,
            "link": self.link,
            "remote_id": self.remote_id,
            "bytes": self.bytes,
            "state": self.state,
            "why": self.why(),
            "expires": self.expires(),
        })
    }

    /// Why the job is not moving, as a sentence.
    fn why(&self) -> Option<String> {
        self.why.as_ref().map(Reason::to_string)
    }

    /// When it happened, as RFC 3339 in UTC, in seconds.
    pub fn time(&self) -> String {
        timestamp(self.at_ms).map(|at| at.to_string()).unwrap_or_default()
    }

    /// When the link dies, likewise.
    pub fn expires(&self) -> Option<String> {
        self.expires_ms.and_then(timestamp).map(|at| at.to_string())
    }

    /// The name of a variable that tells a command about `field`.
    pub fn variable(field: Field) -> String {
        format!("FERRYD_{}", field.word().to_ascii_uppercase())
    }
}

/// A file's name with something behind it.
pub(super) fn name_with(name: &OsStr, behind: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(behind);
    name
}

#[cfg(test)]
pub(super) fn sample() -> Facts {
    Facts {
        event: "done",
        at_ms: 1_767_323_045_000,
        number: 1,
        job: 8,
        path: PathBuf::from(OsStr::from_bytes(b"/home/u/Drop/caf\xe9\t$(x).mov")),
        base: Base::new(std::path::Path::new("/home/u/Drop"), false),
        host: "box".into(),
        kind: "cloudkp".into(),
        link: Some("https://cloudkp.com?c=1".into()),
        remote_id: Some("1".into()),
        bytes: 9,
        state: "uploaded",
        why: None,
        expires_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_filled_with_the_bytes_of_the_name() {
        let template = Template(vec![Piece::Text("n=".into()), Piece::Field(Field::Name), Piece::Field(Field::Expires)]);
        assert_eq!(sample().fill(&template).as_bytes(), b"n=caf\xe9\t$(x).mov");
    }

    #[test]
    fn every_field_is_in_the_json() {
        let json = sample().json();
        assert!(Field::ALL.iter().all(|field| json.get(field.word()).is_some()), "{json}");
        assert_eq!((json["time"].as_str(), json["bytes"].as_u64()), (Some("2026-01-02T03:04:05Z"), Some(9)));
    }
}
