//! One daemon owns a state folder: a lock file that also says who holds it and how it is doing.
//!
//! The note in the file has a fixed length and is written in place, so it can still be changed when the disk is full, and read when
//! the daemon hangs. The lock is the kernel's and ends with the process, however it ends; a note without a lock is history.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "ferryd.lock";
const NOTE_BYTES: usize = 1024;
const TROUBLE_BYTES_MAX: usize = 600;
/// A reader of the note holds a shared lock for some microseconds; a daemon that starts just then asks again.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// What the owner of a state folder says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockNote {
    /// Its process id.
    pub pid: u32,
    /// When it started, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Why it cannot go on right now, if it cannot.
    pub trouble: Option<String>,
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else holds it, and said this.
    Held(LockNote),
    /// The file cannot be opened or locked.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock in `dir` and writes `note` into it.
    pub fn take(dir: &Path, note: &LockNote) -> Result<Lock, LockError> {
        let file = open(dir, true).map_err(LockError::Io)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => {
                    let lock = Lock { file };
                    lock.write(note).map_err(LockError::Io)?;
                    return Ok(lock);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        Err(LockError::Held(read(&file)))
    }

    /// Replaces the note. Needs no new room on the disk.
    pub fn write(&self, note: &LockNote) -> io::Result<()> {
        let mut note = note.clone();
        if let Some(trouble) = &mut note.trouble {
            trouble.truncate(trouble.floor_char_boundary(TROUBLE_BYTES_MAX));
        }
        let mut text = serde_json::to_vec(&note)?;
        text.resize(NOTE_BYTES.max(text.len()), b' ');
        self.file.write_all_at(&text, 0)
    }
}

/// Who owns `dir` right now; `None` when nobody does. Never blocks, and never stands in the way of a daemon that starts: it asks
/// for a shared lock, which it gives back at once.
pub fn owner(dir: &Path) -> Option<LockNote> {
    let file = open(dir, false).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read(&file)),
        _ => None,
    }
}

fn open(dir: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(create).create(create).truncate(false).mode(0o600).open(dir.join(FILE_NAME))
}

fn read(file: &File) -> LockNote {
    let mut text = [0; NOTE_BYTES];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    serde_json::from_slice(&text[..length]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_owns_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(owner(dir.path()), None);
        let note = LockNote { pid: 42, since_ms: 7, trouble: Some("no space".repeat(400)) };
        let lock = Lock::take(dir.path(), &note).unwrap();
        let Err(LockError::Held(seen)) = Lock::take(dir.path(), &note) else { panic!("locked twice") };
        assert_eq!((seen.pid, seen.since_ms), (42, 7));
        assert!(seen.trouble.is_some_and(|trouble| trouble.starts_with("no space")));
        lock.write(&LockNote { trouble: None, ..note }).unwrap();
        assert_eq!(owner(dir.path()).unwrap().trouble, None);
        drop(lock);
        assert_eq!(owner(dir.path()), None);
    }
}
