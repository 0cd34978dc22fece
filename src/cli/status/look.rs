//! One look at everything: the queue's database, the lock's note, and whether the daemon answers. Waits for nobody beyond two seconds.

use std::path::Path;

use jiff::tz::TimeZone;

use crate::job::bandwidth::Bandwidth;
use crate::job::pace::time_left;
use crate::job::{JobRow, Paces, State};
use crate::os::lock::{self, LastEnd, LockNote};
use crate::store::{Query, Snapshot};

use super::super::protocol;
use super::super::queue::{Allowed, QueueFolder};
use super::super::render::CommandFailure;

/// What is known of the daemon.
#[derive(Debug, Clone, Default)]
pub(super) struct Daemon {
    /// What the one that runs says of itself.
    pub owner: Option<LockNote>,
    /// Whether it answers; nothing where nobody can ask.
    pub answers: Option<bool>,
    /// How the last one ended.
    pub last_end: Option<LastEnd>,
    /// How fast bytes go, as it says.
    pub paces: Paces,
}

/// All that was seen: what `--json` prints, people read and `--watch` draws.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// The queue.
    pub snapshot: Snapshot,
    /// The daemon.
    pub daemon: Daemon,
    /// What may be under way.
    pub allowed: Allowed,
    /// When it was seen, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Where times are read.
    pub zone: TimeZone,
    /// Whether some jobs alone were asked for, so that the totals are those of others, too.
    pub is_filtered: bool,
    /// Whether there is a queue.
    pub has_queue: bool,
}

impl Daemon {
    /// Asks the daemon whose state folder is `dir`.
    pub(super) fn in_folder(dir: &Path) -> Daemon {
        match lock::owner(dir) {
            None => Daemon { last_end: lock::last_end(dir), ..Daemon::default() },
            Some(_) => {
                let (answers, paces) = protocol::is_alive(dir).unzip();
                // It has noted meanwhile that it has answered.
                let owner = lock::owner(dir);
                let last_end = owner.as_ref().and_then(|note| note.last_end.clone());
                Daemon { last_end, owner, answers, paces: paces.unwrap_or_default() }
            }
        }
    }
}

/// A limit that follows the time of day, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit<'a> {
    /// The host; nothing where it is the daemon's.
    pub host: Option<&'a str>,
    /// Bytes a second; `None` is unlimited.
    pub per_second: Option<u64>,
    /// When it changes, in milliseconds since the Unix epoch.
    pub until_ms: Option<i64>,
}

impl Report {
    /// The limits that follow the time of day: the daemon's, then those of its hosts.
    pub(super) fn limits(&self) -> Vec<Limit<'_>> {
        let all = self.allowed.bandwidth.iter().map(|bandwidth| (None, bandwidth));
        let hosts = self.allowed.bandwidth_to.iter().map(|(host, bandwidth)| (Some(host.as_str()), bandwidth));
        let that_change = all.chain(hosts).filter(|(_, bandwidth)| bandwidth.always().is_none());
        let now = |(host, bandwidth): (_, &Bandwidth)| Limit {
            host,
            per_second: bandwidth.limit(self.now_ms, &self.zone),
            until_ms: bandwidth.next_change(self.now_ms, &self.zone),
        };
        that_change.map(now).collect()
    }

    /// Seconds until everything is sent that goes without a person, at the paces of the last minutes; nothing while nothing is sent.
    pub(super) fn seconds_left(&self) -> Option<u64> {
        let moves = self.snapshot.totals.iter().any(|(state, jobs)| *state == State::Uploading && *jobs > 0);
        let left = self.daemon.paces.time_left(&self.snapshot.bytes_moving).filter(|_| moves);
        left.map(|left| left.as_secs())
    }

    /// Seconds until this job is sent, at its pace of the last minutes.
    pub(super) fn seconds_left_of(&self, job: &JobRow) -> Option<u64> {
        let pace = self.daemon.paces.of(job.id).filter(|_| job.state == State::Uploading);
        time_left(job.bytes.saturating_sub(job.sent), pace).map(|left| left.as_secs())
    }
}

/// Looks for what is asked for.
pub(super) fn look(place: &QueueFolder, query: &Query) -> Result<Report, CommandFailure> {
    let daemon = Daemon::in_folder(&place.dir);
    let view = place.open_silently(&query.hosts)?;
    let has_queue = view.is_some();
    let mut snapshot = match view {
        Some(mut view) => view.snapshot(query).map_err(|error| CommandFailure::store(&place.dir, &error))?,
        None => Snapshot { totals: State::ALL.map(|state| (state, 0)).to_vec(), ..Snapshot::default() },
    };
    if daemon.owner.is_none() {
        snapshot.nothing_moves();
    }
    let is_filtered = !(query.states.is_empty() && query.hosts.is_empty() && query.paths.is_empty() && query.since_ms.is_none());
    let (allowed, zone) = (place.allowed.clone(), TimeZone::system());
    Ok(Report { snapshot, daemon, allowed, now_ms: query.now_ms, zone, is_filtered, has_queue })
}
