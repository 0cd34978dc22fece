//! What a hook is told of a job, under the names that configurations, commands and webhooks know it by.

use std::ffi::{OsStr, OsString};
#[cfg(test)]
use std::os::unix::ffi::OsStrExt;

use crate::config::Field;
use crate::job::gather;
use crate::job::report::timestamp;
use crate::job::{Delivery, Reason};
#[cfg(test)]
use crate::job::{DeliveryId, Event, Identity, JobId, State};
use crate::os::files::Base;

/// What a hook is told.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// What happened, to which job.
    pub delivery: Delivery,
    /// The watched folder from which the source is reached.
    pub base: Base,
}

impl Facts {
    /// What stands for `field`; empty where nothing is known. The file system's own bytes for what comes from it.
    pub(crate) fn value(&self, field: Field) -> OsString {
        // No argument can hold a zero byte, and a host may say anything.
        let text = |text: &str| OsString::from(text.replace('\0', " "));
        let told = &self.delivery;
        match field {
            Field::Path => told.path.clone().into_os_string(),
            Field::Name => told.path.file_name().unwrap_or_default().to_owned(),
            Field::Dir => told.path.parent().map(|dir| dir.as_os_str().to_owned()).unwrap_or_default(),
            Field::Host => text(&told.host),
            Field::Kind => text(&told.kind),
            Field::Link => text(told.link.as_deref().unwrap_or_default()),
            Field::RemoteId => text(told.remote_id.as_deref().unwrap_or_default()),
            Field::Bytes => text(&told.identity.size.to_string()),
            Field::State => text(told.state.word()),
            Field::Why => text(&self.why().unwrap_or_default()),
            Field::Event => text(told.event.word()),
            Field::Job => text(&told.job.to_string()),
            Field::Expires => text(&self.expires().unwrap_or_default()),
            Field::Count => text("1"),
            Field::Summary => text(&summary(std::slice::from_ref(self))),
        }
    }

    /// What names this one occasion, however often it is told of.
    pub(crate) fn id(&self) -> String {
        let told = &self.delivery;
        format!("{}-{}-{}", told.job, told.event.word(), told.number)
    }

    /// The same as a JSON object; a path that is not Unicode is shown as far as it can be.
    pub(crate) fn json(&self) -> serde_json::Value {
        let text = |field: Field| self.value(field).to_string_lossy().into_owned();
        let told = &self.delivery;
        serde_json::json!({
            "id": self.id(),
            "event": told.event.word(),
            "time": timestamp(told.made_ms).map(|at| at.to_string()),
            "job": told.job,
            "path": text(Field::Path),
            "name": text(Field::Name),
            "dir": text(Field::Dir),
            "host": told.host,
            "kind": told.kind,
            "link": told.link,
            "remote_id": told.remote_id,
            "bytes": told.identity.size,
            "state": told.state,
            "why": self.why(),
            "expires": self.expires(),
        })
    }

    /// Why the job is not moving, as a sentence.
    fn why(&self) -> Option<String> {
        self.delivery.why.as_ref().map(Reason::to_string)
    }

    /// When it happened, as RFC 3339 in UTC, in seconds.
    pub(crate) fn time(&self) -> String {
        timestamp(self.delivery.made_ms).map(|at| at.to_string()).unwrap_or_default()
    }

    /// When the link dies, likewise.
    pub(crate) fn expires(&self) -> Option<String> {
        self.delivery.expires_ms.and_then(timestamp).map(|at| at.to_string())
    }

    /// The name of a variable that tells a command about `field`.
    pub(crate) fn variable(field: Field) -> String {
        format!("FERRYD_{}", field.word().to_ascii_uppercase())
    }
}

/// What has happened, in a few words.
pub(super) fn summary(events: &[Facts]) -> String {
    gather::summary(events.iter().map(|facts| (facts.delivery.event, facts.delivery.path.as_path())))
}

/// A file's name with something behind it.
pub(super) fn name_with(name: &OsStr, behind: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(behind);
    name
}

#[cfg(test)]
pub(super) fn sample() -> Facts {
    let identity = Identity { device: 1, inode: 2, size: 9, mtime_ns: 3, ctime_ns: 4, born_ns: 5 };
    let delivery = Delivery {
        id: DeliveryId(1),
        hook: "sidecar".into(),
        event: Event::Done,
        number: 1,
        made_ms: 1_767_323_045_000,
        tries: 0,
        job: JobId(8),
        path: std::path::PathBuf::from(OsStr::from_bytes(b"/home/u/Drop/caf\xe9\t$(x).mov")),
        identity,
        close_seen: true,
        one_off: false,
        host: "box".into(),
        kind: "cloudkp".into(),
        state: State::Uploaded,
        why: None,
        link: Some("https://cloudkp.com?c=1".into()),
        remote_id: Some("1".into()),
        expires_ms: None,
    };
    Facts { delivery, base: Base::new(std::path::Path::new("/home/u/Drop"), false) }
}

#[cfg(test)]
impl Facts {
    /// The same with another delivery.
    pub(super) fn with(&self, change: impl FnOnce(&mut Delivery)) -> Facts {
        let mut facts = self.clone();
        change(&mut facts.delivery);
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_json() {
        let json = sample().json();
        assert!(Field::ALL.iter().filter(|field| field.is_of_one_event()).all(|field| json.get(field.word()).is_some()), "{json}");
        assert_eq!((json["time"].as_str(), json["bytes"].as_u64()), (Some("2026-01-02T03:04:05Z"), Some(9)));
    }
}
