//! The files of the queue in its folder: whether the one that is written to is still the one that a start would find, and what is
//! under way to take its place.
//!
//! `queue.complete.db` is a whole queue that counts from the moment it has this name, whatever is at the place of the queue, which
//! it takes next. `queue.rescue` stands while a damaged queue is set aside and a new one is made of it. With either of them no queue
//! is opened, so whatever a crash has left half done is done to its end first.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::os::durable;

use super::error::StoreError;

/// Stands while a damaged queue is set aside.
const MARKER: &str = "queue.rescue";
/// A queue that is still being written.
const UNFINISHED: &str = "queue.unfinished.db";
/// A whole queue, which is to take its place.
const COMPLETE: &str = "queue.complete.db";

/// What tells a file or a folder from any other.
type Number = (u64, u64);

/// The file that is open, as it was found at its path, and its folder.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: Number,
    folder: Number,
}

fn number(found: &Metadata) -> Number {
    (found.dev(), found.ino())
}

impl Place {
    /// The file at `path`, which was opened just now.
    pub(super) fn of(path: &Path) -> io::Result<Place> {
        let number = |path: &Path| std::fs::metadata(path).map(|found| number(&found));
        let folder = number(path.parent().unwrap_or(Path::new("/")))?;
        Ok(Place { path: path.to_owned(), file: number(path)?, folder })
    }

    /// What has become of it, if a start would not find it any more. A path that cannot be looked at tells nothing.
    ///
    /// # Errors
    /// `Inaccessible` where the whole folder is another one: nothing in there is ours, not even the lock.
    pub(super) fn lost(&self) -> Result<Option<&'static str>, StoreError> {
        match std::fs::metadata(self.dir()) {
            Ok(folder) if number(&folder) == self.folder => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Ok(None),
            _ => return Err(StoreError::Inaccessible("its folder was removed or replaced".into())),
        }
        Ok(match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Some("it was removed while ferryd was running"),
            Err(_) => None,
            Ok(found) if number(&found) != self.file => Some("it was replaced by another file while ferryd was running"),
            Ok(found) if found.len() == 0 => Some("it was emptied while ferryd was running"),
            Ok(_) => None,
        })
    }

    /// The folder of the queue.
    pub(super) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// What the marker of a rescue says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    /// When it began, which is in the names of what is set aside.
    pub at_ms: i64,
    /// What is wrong.
    pub damage: String,
}

impl Begun {
    /// The rescue that was under way when the last process ended. A marker that cannot be read was never synced, and nothing had
    /// happened then.
    pub(super) fn read(dir: &Path) -> Option<Begun> {
        let text = std::fs::read_to_string(dir.join(MARKER)).ok()?;
        let (at_ms, damage) = text.strip_suffix('\n')?.split_once('\n')?;
        Some(Begun { at_ms: at_ms.parse().ok()?, damage: damage.to_owned() })
    }

    /// From here on the rescue is gone on with, whenever this process ends.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let text = format!("{}\n{}\n", self.at_ms, self.damage.replace('\n', " "));
        let path = dir.join(MARKER);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(durable::sync_folder_of(&path)?)
    }

    /// There is nothing to go on with.
    pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(MARKER);
        remove(&path)?;
        Ok(durable::sync_folder_of(&path)?)
    }
}

/// What has to be done before the queue in `dir` may be opened, if a process ended in the midst of it.
pub(super) fn half_done(dir: &Path) -> Option<String> {
    if let Some(Begun { damage, .. }) = Begun::read(dir) {
        return Some(damage);
    }
    complete(dir).exists().then(|| "it was replaced while ferryd was running".to_owned())
}

/// The whole queue that is to take its place.
pub(super) fn complete(dir: &Path) -> PathBuf {
    dir.join(COMPLETE)
}

/// An empty file for a queue that is to be whole later, readable by its owner alone. What an earlier try has left goes first.
pub(super) fn unfinished(dir: &Path) -> Result<PathBuf, StoreError> {
    discard(dir)?;
    let path = dir.join(UNFINISHED);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok(path)
}

/// There is no queue any more that is to be whole later.
pub(super) fn discard(dir: &Path) -> io::Result<()> {
    ["-wal", "-shm", ""].iter().try_for_each(|suffix| remove(&dir.join(format!("{UNFINISHED}{suffix}"))))
}

/// The queue at `from`, which nobody has open, is whole: from here on it is the one at `to`.
#[expect(clippy::disallowed_methods, reason = "the folder is synced below")]
pub(super) fn finish(from: &Path, to: &Path) -> Result<(), StoreError> {
    File::open(from)?.sync_all()?;
    std::fs::rename(from, to)?;
    Ok(durable::sync_folder_of(to)?)
}

/// Renames a file that may not be there, unless something has the new name. Answers whether it has that now. The folder is not
/// synced.
#[expect(clippy::disallowed_methods, reason = "the folder is synced after all of a row")]
pub(super) fn set_aside(from: &Path, to: &Path) -> Result<bool, StoreError> {
    if to.symlink_metadata().is_ok() {
        return Ok(false);
    }
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        renamed => Ok(renamed.map(|()| true)?),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
