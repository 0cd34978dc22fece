//! What people see of the queue: how a host is doing, and where a job stands. Serialized it is what `ferryd status --json` prints,
//! so names are kept and fields are only ever added.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::health::HostState;
use super::{Reason, ReasonClass, State};

/// The number of a job: given once, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a host is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// In a word.
    pub state: HostState,
    /// Until when, in milliseconds since the Unix epoch.
    #[serde(rename = "until", serialize_with = "time_or_none")]
    pub until_ms: Option<i64>,
    /// Why.
    #[serde(serialize_with = "sentence")]
    pub why: Option<Reason>,
    /// Rests it asked for in a row.
    #[serde(skip)]
    pub rests: u32,
}

/// A configured host.
#[derive(Debug, Clone, Serialize)]
pub struct HostRow {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How it is doing.
    #[serde(flatten)]
    pub report: HostReport,
}

/// A job. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Serialize)]
pub struct JobRow {
    /// Its number.
    pub id: JobId,
    /// Where its file is.
    #[serde(flatten, serialize_with = "path_fields")]
    pub path: PathBuf,
    /// Its host.
    pub host: String,
    /// Its state.
    pub state: State,
    /// The size of its file.
    pub bytes: u64,
    /// What the host holds of it, or what has flowed where that is more.
    pub sent: u64,
    /// Bytes a second, lately.
    #[serde(skip)]
    pub per_second: u64,
    /// Parts of its plan; once it is uploaded, of the one by which it was.
    pub parts: u64,
    /// Parts the host has confirmed.
    pub parts_acked: u64,
    /// Times it was claimed.
    pub attempts: u64,
    /// Higher goes first.
    pub priority: i64,
    /// Since when it is in its state.
    #[serde(rename = "since", serialize_with = "time")]
    pub since_ms: i64,
    /// When it is tried again.
    #[serde(rename = "next_try", serialize_with = "time_or_none")]
    pub next_try_ms: Option<i64>,
    /// Why it is not moving.
    #[serde(flatten, serialize_with = "why_fields")]
    pub why: Option<Reason>,
    /// Where the file can be fetched.
    pub link: Option<String>,
    /// The host's name for it.
    pub remote_id: Option<String>,
    /// When it will be gone from the host.
    #[serde(rename = "expires", serialize_with = "time_or_none")]
    pub expires_ms: Option<i64>,
    /// Whether the host may have it twice.
    pub maybe_duplicate: bool,
    /// When it was queued.
    #[serde(rename = "queued_at", serialize_with = "time")]
    pub queued_at_ms: i64,
    /// When the host had the file.
    #[serde(rename = "done_at", serialize_with = "time_or_none")]
    pub done_at_ms: Option<i64>,
    /// The name under which the host says it has stored the file.
    pub stored_name: Option<String>,
    /// The size that the host says it has stored.
    pub stored_bytes: Option<u64>,
}

/// What is known of a job besides what everybody sees. Times are in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Serialize)]
pub struct JobDetails {
    /// Failures in a row without progress.
    pub failures: u32,
    /// Sessions it has lost.
    pub sessions_lost: u32,
    /// What a person wants it to be once the upload under way has stopped.
    pub wanted: Option<State>,
    /// What its host has told about the file.
    pub proof: Option<String>,
    /// When its session was opened.
    #[serde(rename = "session_opened", serialize_with = "time_or_none")]
    pub opened_ms: Option<i64>,
    /// Whether a finish was sent, or was about to be, and its answer is not known.
    pub committing: bool,
    /// What is to follow.
    pub deliveries: Vec<DeliveryDetails>,
    /// Other jobs of the same file, the newest first.
    pub others: Vec<JobRow>,
}

/// A delivery that has not succeeded yet.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryDetails {
    /// The hook, without its digest.
    pub hook: String,
    /// What it waits for.
    pub event: String,
    /// When it is tried next; nothing while it waits for something else.
    #[serde(rename = "next_try", serialize_with = "time_or_none")]
    pub next_try_ms: Option<i64>,
    /// How often it was tried in vain.
    pub tries: u64,
}

impl JobRow {
    /// The name that the file has on its host, where that is not the one it was sent under. An id before its own name is ours.
    pub fn renamed_to(&self) -> Option<&str> {
        let own = self.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let told = self.stored_name.as_deref()?;
        (!told.strip_suffix(&*own).is_some_and(|id| id.is_empty() || id.ends_with('-'))).then_some(told)
    }

    /// Says why the job is not moving where that is because of its host: a queued job on one that takes nothing now, and any on one
    /// that is not configured any more. One that waits for longer than its own time says until when.
    pub fn explain(&mut self, host: Option<&HostReport>) {
        let class = match (self.state, host.map(|host| host.state)) {
            (State::Queued | State::Waiting | State::Held, None) => ReasonClass::HostUnconfigured,
            (State::Queued, Some(HostState::Resting)) => ReasonClass::HostResting,
            // One without a time waits for something else than its host.
            (State::Waiting, Some(HostState::Held)) if self.next_try_ms.is_none() => return,
            (State::Queued | State::Waiting, Some(HostState::Held)) => ReasonClass::HostHeld,
            (State::Waiting | State::Held, Some(HostState::Resting)) => {
                self.next_try_ms = self.next_try_ms.max(host.and_then(|host| host.until_ms).filter(|_| self.next_try_ms.is_some()));
                return;
            }
            _ => return,
        };
        let why = |host: &HostReport| host.why.as_ref().map_or("no reason given".into(), Reason::to_string);
        let reason = Reason { detail: host.map(why), ..Reason::new(class) };
        self.why = Some(reason.about(&self.host));
        self.next_try_ms = host.and_then(|host| host.until_ms);
    }
}

/// A time in milliseconds since the Unix epoch, in whole seconds; nothing where no calendar has it. Shown as RFC 3339, in UTC.
pub(crate) fn timestamp(at_ms: i64) -> Option<Timestamp> {
    Timestamp::from_second(at_ms.div_euclid(1000)).ok()
}

fn time<S: Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    timestamp(*at_ms).serialize(serializer)
}

fn time_or_none<S: Serializer>(at_ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    at_ms.and_then(timestamp).serialize(serializer)
}

fn sentence<S: Serializer>(why: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    why.as_ref().map(Reason::to_string).serialize(serializer)
}

/// A reason as programs read it: a sentence, with the reply beside that nobody understood.
fn why_fields<S: Serializer>(why: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_map(Some(2))?;
    fields.serialize_entry("why", &why.as_ref().map(Reason::to_string))?;
    fields.serialize_entry("reply", &why.as_ref().and_then(|why| why.reply.as_ref()))?;
    fields.end()
}

/// A path as programs read it: one that is not Unicode is shown as far as it can be, with its bytes beside.
pub(crate) fn path_fields<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = path.to_str().is_none().then(|| STANDARD.encode(path.as_os_str().as_bytes()));
    let mut fields = serializer.serialize_map(Some(2))?;
    fields.serialize_entry("path", &path.to_string_lossy())?;
    fields.serialize_entry("path_bytes", &bytes)?;
    fields.end()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::job::upload::Class;

    fn job(state: State) -> JobRow {
        JobRow {
            id: JobId(8),
            path: "/drop/a.mov".into(),
            host: "box".into(),
            state,
            bytes: 9,
            sent: 0,
            per_second: 0,
            parts: 0,
            parts_acked: 0,
            attempts: 1,
            priority: 0,
            since_ms: 0,
            next_try_ms: Some(5),
            why: None,
            link: None,
            remote_id: None,
            expires_ms: None,
            maybe_duplicate: false,
            queued_at_ms: 0,
            done_at_ms: None,
            stored_name: None,
            stored_bytes: None,
        }
    }

    #[test]
    fn a_job_that_stands_because_of_its_host_says_so() {
        let full = Some(Reason::new(ReasonClass::Host(Class::HostFull)).detail("12 bytes left"));
        let host = |state| HostReport { state, until_ms: Some(7), why: full.clone(), rests: 0 };
        let gone = ("the host `box` is no longer configured", None);
        let cases = [
            (State::Queued, Some(host(HostState::Resting)), Some(("host `box` is paused: 12 bytes left", Some(7)))),
            (State::Queued, Some(host(HostState::Held)), Some(("host `box` is on hold: 12 bytes left", Some(7)))),
            (
                State::Queued,
                Some(HostReport { why: None, ..host(HostState::Held) }),
                Some(("host `box` is on hold: no reason given", Some(7))),
            ),
            (State::Queued, Some(host(HostState::Full)), None),
            (State::Queued, Some(host(HostState::Ready)), None),
            (State::Waiting, Some(host(HostState::Held)), Some(("host `box` is on hold: 12 bytes left", Some(7)))),
            (State::Held, Some(host(HostState::Held)), None),
            (State::Queued, None, Some(gone)),
            (State::Waiting, None, Some(gone)),
            (State::Held, None, Some(gone)),
            (State::Done, None, None),
            (State::Uploaded, None, None),
            (State::Failed, None, None),
        ];
        for (state, host, expected) in cases {
            let mut job = job(state);
            job.explain(host.as_ref());
            let why = job.why.map(|why| why.to_string());
            let (sentence, next_try_ms) = expected.unzip();
            assert_eq!((why.as_deref(), job.next_try_ms), (sentence, next_try_ms.unwrap_or(Some(5))), "{state} {host:?}");
        }
    }

    #[test]
    fn a_job_that_is_put_off_is_tried_when_its_host_is() {
        let host = |until_ms| HostReport { state: HostState::Resting, until_ms, why: None, rests: 0 };
        for state in [State::Waiting, State::Held] {
            for (until_ms, own_ms, tried_ms) in
                [(Some(7), Some(5), Some(7)), (Some(3), Some(5), Some(5)), (None, Some(5), Some(5)), (Some(7), None, None)]
            {
                let why = Some(Reason::new(ReasonClass::FolderMissing));
                let mut job = JobRow { next_try_ms: own_ms, why: why.clone(), ..job(state) };
                job.explain(Some(&host(until_ms)));
                assert_eq!((job.next_try_ms, job.why), (tried_ms, why));
            }
        }
    }

    #[test]
    fn programs_read_times_as_rfc_3339_and_reasons_as_sentences() {
        let why = Some(Reason::new(ReasonClass::Host(Class::HostFull)).detail("12 bytes left"));
        let report = HostReport { state: HostState::Full, until_ms: Some(1_767_323_045_999), why, rests: 3 };
        let row = HostRow { name: "box".into(), kind: "kie".into(), report };
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(
            text,
            "{\"name\":\"box\",\"kind\":\"kie\",\"state\":\"full\",\"until\":\"2026-01-02T03:04:05Z\",\"why\":\"12 bytes left\"}"
        );
    }

    #[test]
    fn programs_find_all_that_is_known_of_a_job_also_of_one_with_an_odd_name() {
        let row = JobRow {
            path: PathBuf::from(OsStr::from_bytes(b"/drop/caf\xe9")),
            since_ms: 1_767_323_045_000,
            next_try_ms: Some(i64::MAX),
            why: Some(Reason { reply: Some("<html>".into()), ..Reason::new(ReasonClass::FolderMissing) }),
            queued_at_ms: -1,
            done_at_ms: Some(0),
            ..job(State::Waiting)
        };
        let expected = serde_json::json!({
            "id": 8,
            "path": "/drop/caf\u{fffd}",
            "path_bytes": "L2Ryb3AvY2Fm6Q==",
            "host": "box",
            "state": "waiting",
            "bytes": 9,
            "sent": 0,
            "parts": 0,
            "parts_acked": 0,
            "attempts": 1,
            "priority": 0,
            "since": "2026-01-02T03:04:05Z",
            "next_try": null,
            "why": "the file is not where it was: looking for it under another name, or waiting for its folder or disk to come back",
            "reply": "<html>",
            "link": null,
            "remote_id": null,
            "expires": null,
            "maybe_duplicate": false,
            "queued_at": "1969-12-31T23:59:59Z",
            "done_at": "1970-01-01T00:00:00Z",
            "stored_name": null,
            "stored_bytes": null,
        });
        assert_eq!(serde_json::to_value(&row).unwrap(), expected);
    }

    #[test]
    fn a_name_that_the_host_has_changed_is_told_and_an_id_of_ours_before_it_is_not() {
        let renamed = |stored: Option<&str>| {
            let row = JobRow { stored_name: stored.map(str::to_owned), ..job(State::Done) };
            row.renamed_to().map(str::to_owned)
        };
        for same in [None, Some("a.mov"), Some("670f15212a83941c-a.mov")] {
            assert_eq!(renamed(same), None, "{same:?}");
        }
        for other in ["a (2).mov", "a%2Emov", "xa.mov", "A.MOV"] {
            assert_eq!(renamed(Some(other)).as_deref(), Some(other));
        }
    }

    #[test]
    fn a_job_is_named_by_its_bare_number() {
        assert_eq!(format!("{} {:>4}", JobId(8), JobId(12)), "8   12");
    }
}
