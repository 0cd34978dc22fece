//! The folder in which all of a measurement is made, and with which it goes: the files, the queue, and the state of a practice host.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::config::Config;
use crate::os::clock;
use crate::os::lock::{self, Lock, LockError};

use super::super::exit::Exit;
use super::super::folders::is_watched;
use super::super::render::{self, CommandFailure};

/// What the names of these folders begin with.
const PREFIX: &str = "ferryd-bench-";
/// So much of the disk is left free.
const SPARE_BYTES: u64 = 64 << 20;

/// The folder. It goes when this is dropped.
pub(super) struct Place {
    folder: tempfile::TempDir,
    /// Tells those who tidy up later that somebody is at work here.
    _lock: Lock,
}

impl Place {
    /// Makes one in `base`, with room for so many bytes. What a measurement has left there that was killed goes.
    pub(super) fn make(base: &Path, bytes: u64) -> Result<Place, CommandFailure> {
        let cannot = |error: io::Error| {
            CommandFailure::new(Exit::Fault, format!("cannot create a folder in `{}`: {error}", render::path(base)))
                .hint("choose another folder with `--in DIR`")
        };
        remove_left_behind(base);
        check_room(base, bytes)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base).map_err(cannot)?;
        let lock = Lock::take(folder.path(), std::process::id(), clock::now_ms()).map_err(|error| match error {
            LockError::Io(error) => cannot(error),
            LockError::Held(_) => cannot(io::ErrorKind::AlreadyExists.into()),
        })?;
        for name in [STATE, STAGED, WATCHED] {
            std::fs::create_dir(folder.path().join(name)).map_err(cannot)?;
        }
        Ok(Place { folder, _lock: lock })
    }

    /// A folder for a queue.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join(STATE)
    }

    /// Where files are before they go into the watched folder.
    pub(super) fn staged(&self) -> PathBuf {
        self.folder.path().join(STAGED)
    }

    /// The folder that is watched.
    pub(super) fn watched(&self) -> PathBuf {
        self.folder.path().join(WATCHED)
    }

    /// Where it is made, for a person.
    pub(super) fn base(&self) -> String {
        render::path(self.folder.path().parent().unwrap_or(self.folder.path()))
    }

    /// A path that nothing else here has.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Removes all of it.
    pub(super) fn remove(self) -> Result<(), CommandFailure> {
        let path = self.folder.path().to_owned();
        self.folder.close().map_err(|error| {
            CommandFailure::new(Exit::Fault, format!("cannot remove the temporary folder `{}`: {error}", render::path(&path)))
        })
    }
}

const STATE: &str = "state";
const STAGED: &str = "staged";
const WATCHED: &str = "watched";

/// Where a measurement is made that was not told: in the state folder, else in the nearest folder above where it will be, else where
/// temporary files are. Never in a folder whose files a daemon would upload.
pub(super) fn usual(state_dir: &Path, config: Option<&Config>) -> PathBuf {
    let may_be_written = |folder: &&Path| folder.is_dir() && rustix::fs::access(*folder, Access::WRITE_OK).is_ok();
    let is_free = |folder: &&Path| *folder == state_dir || config.is_none_or(|config| !is_watched(&config.watches, folder));
    state_dir.ancestors().find(may_be_written).filter(is_free).map_or_else(std::env::temp_dir, Path::to_owned)
}

/// The folder that was asked for, if files may be made in it.
pub(super) fn chosen(folder: &Path, config: Option<&Config>) -> Result<PathBuf, CommandFailure> {
    let wrong = |why: &str| CommandFailure::new(Exit::Usage, format!("cannot measure in `{}`: {why}", render::path(folder)));
    let found = folder.canonicalize().map_err(|error| wrong(&error.to_string()))?;
    if !found.is_dir() {
        return Err(wrong("it is not a folder"));
    }
    match config {
        Some(config) if is_watched(&config.watches, &found) => {
            Err(wrong("ferryd watches it, and would upload what is made there").hint("choose a folder beside it, on the same disk"))
        }
        _ => Ok(found),
    }
}

fn check_room(base: &Path, bytes: u64) -> Result<(), CommandFailure> {
    let Ok(disk) = rustix::fs::statvfs(base) else { return Ok(()) };
    let (free, wanted) = (disk.f_bavail.saturating_mul(disk.f_frsize), bytes.saturating_add(SPARE_BYTES));
    if free >= wanted {
        return Ok(());
    }
    let message = format!(
        "{} are to be written to `{}`, and only {} are free there",
        render::size(bytes),
        render::path(base),
        render::size(free)
    );
    Err(CommandFailure::new(Exit::Usage, message).hint("make `--size` or `--files` less, or choose another folder with `--in DIR`"))
}

/// Removes the folders of measurements whose process is gone: no `kill -9` leaves one for longer than until the next measurement.
fn remove_left_behind(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type().is_ok_and(|kind| kind.is_dir());
        let folder = entry.path();
        if is_ours && lock::last_end(&folder).is_some() && lock::owner(&folder).is_none() {
            // Whoever cannot remove it did not make it.
            std::fs::remove_dir_all(&folder).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_measurement_left_goes_with_the_next_and_nothing_else_does() {
        let base = tempfile::tempdir().unwrap();
        let alive = Place::make(base.path(), 0).unwrap();
        let killed = base.path().join("ferryd-bench-killed");
        std::fs::create_dir(&killed).unwrap();
        let lock = Lock::take(&killed, 1, 0).unwrap();
        Place::make(base.path(), 0).unwrap().remove().unwrap();
        assert!(killed.exists(), "somebody has its lock");
        drop(lock);
        for name in ["ferryd-bench-of-somebody", "other"] {
            std::fs::create_dir(base.path().join(name)).unwrap();
        }
        Place::make(base.path(), 0).unwrap().remove().unwrap();
        assert!(!killed.exists() && alive.state().is_dir());
        assert!(base.path().join("ferryd-bench-of-somebody").exists() && base.path().join("other").exists());
        alive.remove().unwrap();
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_disk_without_room_is_said_before_anything_is_written() {
        let base = tempfile::tempdir().unwrap();
        let failure = Place::make(base.path(), u64::MAX).err().unwrap();
        assert_eq!((failure.exit, std::fs::read_dir(base.path()).unwrap().count()), (Exit::Usage, 0), "{failure:?}");
    }
}
