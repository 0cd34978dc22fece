//! One look at everything: the queue's database, the lock's note, and whether the daemon answers. Waits for nobody beyond two seconds.

use std::path::Path;

use crate::job::State;
use crate::os::lock::{self, LastEnd, LockNote};
use crate::store::{Query, Snapshot};

use super::super::protocol;
use super::super::queue::QueueFolder;
use super::super::render::CommandFailure;

/// What is known of the daemon.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    /// What the one that runs says of itself.
    pub owner: Option<LockNote>,
    /// Whether it answers; nothing where nobody can ask.
    pub answers: Option<bool>,
    /// How the last one ended.
    pub last_end: Option<LastEnd>,
}

impl Daemon {
    /// Asks the daemon whose state folder is `dir`.
    pub(super) fn in_folder(dir: &Path) -> Daemon {
        match lock::owner(dir) {
            None => Daemon { last_end: lock::last_end(dir), ..Daemon::default() },
            Some(_) => {
                let answers = protocol::is_alive(dir);
                // It has noted meanwhile that it has answered.
                let owner = lock::owner(dir);
                Daemon { last_end: owner.as_ref().and_then(|note| note.last_end.clone()), owner, answers }
            }
        }
    }
}

/// Looks for what is asked for.
pub(super) fn look(place: &QueueFolder, query: &Query) -> Result<(Snapshot, Daemon), CommandFailure> {
    let daemon = Daemon::in_folder(&place.dir);
    let mut snapshot = match place.open(&query.hosts)? {
        Some(mut view) => view.snapshot(query).map_err(|error| CommandFailure::store(&place.dir, &error))?,
        None => Snapshot { totals: State::ALL.map(|state| (state, 0)).to_vec(), ..Snapshot::default() },
    };
    if daemon.owner.is_none() {
        snapshot.nothing_moves();
    }
    Ok((snapshot, daemon))
}
