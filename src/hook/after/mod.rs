//! What happens to the source when every host has it: nothing, removal, or a move. Touches only the version that was sent, and
//! never overwrites anything.
//!
//! Others may write in the folder, so it is opened once, below its watch and without following links, and everything is done
//! through it. A source is removed in three steps: it is renamed aside, to a name that nobody else knows; looked at there; and
//! unlinked, or else put back. What is removed is therefore what was looked at, whatever has its name by then. Dying in between
//! leaves it aside, where the next attempt finds it.
//!
//! A move is a rename, which either happened or did not; after a crash the source is found gone, which is success. Across file
//! systems the copy is made under a hidden name, synced, given its name, compared, and only then is the source removed; a crash
//! leaves the source in every case, and the next attempt knows a finished copy by its bytes.

mod beside;
mod copy;
mod find;
mod moving;
mod source;
mod target;
mod task;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use crate::job::Identity;
use crate::os::crash::crash_point;
use crate::os::files;
use crate::os::lease::Writers;

use super::HookError;
use find::{Search, find};
use source::Removed;
pub(crate) use task::{AfterAction, Done, Task};

/// How long a file of which nobody tells who writes it is left alone after its last change.
const UNASKED_QUIET: Duration = Duration::from_secs(24 * 3600);

/// Does what `task` says, if the source is still exactly the version that was sent. Waits for the disk.
///
/// # Errors
///
/// Says what failed; the source is as it was, or aside for the next attempt.
pub(crate) fn act(task: &Task) -> Result<Done, HookError> {
    let done = act_on_source(task)?;
    beside::follow(task, &done);
    Ok(done)
}

fn act_on_source(task: &Task) -> Result<Done, HookError> {
    let found = find(task).map_err(|error| HookError::new(format!("cannot look at the file: {error}")))?;
    let source = match found {
        Search::Source(source) => source,
        Search::Nothing(done) => return Ok(done),
    };
    let writers = source.file.writers();
    // What is aside has passed this before, and is looked at again before it goes.
    if !source.is_aside() {
        if writers == Writers::Somebody {
            return Err(HookError::new("somebody has the file open for writing"));
        }
        if let Some(pause) = must_wait(writers, task.close_seen, &task.sent, task.clock.now_ns()) {
            return Ok(Done::Later(pause));
        }
    }
    crash_point!("after.before_move");
    let done = match &task.action {
        AfterAction::Delete => source.remove().map(Removed::done).map_err(|error| format!("cannot remove the file: {error}")),
        AfterAction::Move { folder, below } => source
            .go_below(folder, below)
            .map_err(|error| format!("cannot move the file to `{}`: {}", folder.join(below).display(), explained(&error))),
    };
    let done = done.map_err(HookError::new)?;
    crash_point!("after.after_move");
    Ok(done)
}

fn explained(error: &io::Error) -> String {
    if files::is_link(error) {
        return "a symbolic link is in the way, and none is followed below the folder that files are moved to".into();
    }
    error.to_string()
}

/// For how long a file must still be left alone, because a writer may have it open of whom nobody tells us. The file's own change
/// time counts, which nobody can set, and its modification time as far as it is not in the future.
fn must_wait(writers: Writers, close_seen: bool, sent: &Identity, now_ns: i64) -> Option<Duration> {
    if writers != Writers::Unknown || close_seen {
        return None;
    }
    let changed_ns = if sent.mtime_ns <= now_ns { sent.mtime_ns.max(sent.ctime_ns) } else { sent.ctime_ns };
    let quiet = Duration::from_nanos(u64::try_from(now_ns.saturating_sub(changed_ns)).unwrap_or(0));
    UNASKED_QUIET.checked_sub(quiet).filter(|left| !left.is_zero())
}
