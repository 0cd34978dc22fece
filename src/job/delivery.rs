//! What follows a job's change of state, with all that a hook may want to know of it.

use std::path::PathBuf;

use super::{Event, Identity, JobId, Reason, State};

/// The number of a delivery: given once, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub i64);

/// A hook for people: its key without the digest.
pub(crate) fn hook_name(key: &str) -> &str {
    key.rsplit_once(" #").map_or(key, |(name, _)| name)
}

/// A delivery that is due, with all that a hook may want to know.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its number.
    pub id: DeliveryId,
    /// The key of its hook; of an after-action or a link to renew, the word of its event.
    pub hook: String,
    /// What it is about.
    pub event: Event,
    /// How often the job has been claimed when it happened: with job and event it names this one occasion.
    pub number: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub made_ms: i64,
    /// How often it was tried in vain.
    pub tries: u32,
    /// The job.
    pub job: JobId,
    /// Where its file is.
    pub path: PathBuf,
    /// The version that was sent.
    pub identity: Identity,
    /// Whether a writer was seen to close this version.
    pub close_seen: bool,
    /// Whether a person sent the file by name.
    pub one_off: bool,
    /// Its host.
    pub host: String,
    /// The host's kind; empty where it is not configured any more.
    pub kind: String,
    /// The job's state: for an event that is a state, that one, whatever the job is now.
    pub state: State,
    /// Why the job was not moving when it happened; for [`Event::After`] which added host the file waits for, and then nothing is
    /// to be done to it yet.
    pub why: Option<Reason>,
    /// Where the file can be fetched.
    pub link: Option<String>,
    /// The host's name for it.
    pub remote_id: Option<String>,
    /// When it will be gone from the host, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}
