//! What a start would take up, for a person who asks.

use std::path::Path;

use crate::job::Watches;
use crate::os::clock;
use crate::os::files::Files;
use crate::store::{Query, View};
use crate::watch::{Root, Survey as Found, survey_of};

/// What is in a watch.
pub(crate) type Survey = Found;

/// Goes through the folder of the watch at `index`, as far as `folders_max` folders, and counts what a start would take up: all files that
/// count, but for those that the queue knows at their paths, and for those that are there before a watch that does not want them.
pub(crate) fn survey(watches: &Watches, index: usize, state_dir: &Path, folders_max: usize) -> Survey {
    let watch = &watches[index];
    // The configuration has no other globs than those that can be read.
    let Ok(roots) = Root::all(&Files::Real, watches, state_dir, &[]) else { return Survey::default() };
    let mut queue = View::open(state_dir).ok().flatten();
    let query = Query { limit: 0, now_ms: clock::now_ms(), ..Query::default() };
    let seen = queue.as_mut().and_then(|queue| queue.snapshot(&query).ok());
    let is_seen = seen.is_some_and(|snapshot| snapshot.watches.iter().any(|row| row.path == watch.path));
    survey_of(&roots[index], folders_max, |path| {
        let is_known = || queue.as_ref().is_some_and(|queue| queue.known(path).is_ok_and(|known| known.is_some()));
        (watch.existing || is_seen) && !is_known()
    })
}
