//! One daemon owns a state folder: a lock file that also says who holds it and how it is doing.
//!
//! The note in the file has a fixed length and is written in place, so it can still be changed when the disk is full, and read when
//! the daemon hangs. The lock is the kernel's and ends with the process, however it ends; a note without a lock is history.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

const FILE_NAME: &str = "ferryd.lock";
/// A page of a disk.
const NOTE_BYTES: usize = 4096;
const TEXT_CHARS_MAX: usize = 600;
/// Why a daemon ended that did not say so.
const KILLED: &str = "it was killed, it crashed, or the machine went down";
/// A reader of the note holds a shared lock for some microseconds; a daemon that starts just then asks again.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// How often it asks while a command has the queue that will be through with it soon: for half a minute.
const TRIES_BESIDE_A_COMMAND: u32 = 1500;

/// What the owner of a state folder says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockNote {
    /// Its process id; 0 once it has ended.
    pub pid: u32,
    /// Whether it is a command that changes the queue while no daemon runs, and will be through soon.
    pub is_command: bool,
    /// When it started, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Why it cannot go on right now, if it cannot.
    pub trouble: Option<String>,
    /// Why it goes on with an older configuration, if it does.
    pub reload_refused: Option<String>,
    /// When its main loop answered last, in milliseconds since the Unix epoch.
    pub beat_ms: Option<i64>,
    /// How the last daemon before it ended, or itself once it has.
    pub last_end: Option<LastEnd>,
}

/// How a daemon ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastEnd {
    /// When, in milliseconds since the Unix epoch; nothing for one that could not say so.
    pub at_ms: Option<i64>,
    /// Why.
    pub why: String,
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    note: Mutex<LockNote>,
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
    /// Takes the lock in `dir` for the process `pid` and notes that. A command that has it is waited for.
    pub fn take(dir: &Path, pid: u32, since_ms: i64) -> Result<Lock, LockError> {
        Lock::take_as(dir, LockNote { pid, since_ms, ..LockNote::default() })
    }

    /// The same for a command that changes the queue in place of a daemon.
    pub fn take_for_command(dir: &Path, pid: u32, since_ms: i64) -> Result<Lock, LockError> {
        Lock::take_as(dir, LockNote { pid, since_ms, is_command: true, ..LockNote::default() })
    }

    fn take_as(dir: &Path, note: LockNote) -> Result<Lock, LockError> {
        let file = open(dir, true).map_err(LockError::Io)?;
        for tries in 0..TRIES_BESIDE_A_COMMAND {
            if tries >= TRIES && !read(&file).is_command {
                break;
            }
            match file.try_lock() {
                Ok(()) => {
                    let note = LockNote { last_end: read(&file).end(), ..note };
                    let lock = Lock { file, note: Mutex::new(note) };
                    lock.update(|_| ()).map_err(LockError::Io)?;
                    return Ok(lock);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        Err(LockError::Held(read(&file)))
    }

    /// What was noted last.
    pub fn note(&self) -> LockNote {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the note. Needs no new room on the disk.
    pub fn update(&self, change: impl FnOnce(&mut LockNote)) -> io::Result<()> {
        let mut note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut note);
        self.file.write_all_at(&note.written()?, 0)
    }
}

impl LockNote {
    /// How the daemon that wrote it ended, or the one before it. One that is not there any more and has not said so was killed.
    fn end(self) -> Option<LastEnd> {
        match self.pid {
            0 => self.last_end,
            _ => Some(LastEnd { at_ms: None, why: KILLED.into() }),
        }
    }

    /// The note as it is written, always of the same length: texts that do not fit are cut.
    fn written(&self) -> io::Result<Vec<u8>> {
        let mut note = self.clone();
        let mut chars_max = TEXT_CHARS_MAX;
        loop {
            let texts = [note.trouble.as_mut(), note.reload_refused.as_mut(), note.last_end.as_mut().map(|end| &mut end.why)];
            for text in texts.into_iter().flatten() {
                text.truncate(text.char_indices().nth(chars_max).map_or(text.len(), |(end, _)| end));
            }
            let mut json = serde_json::to_vec(&note)?;
            if json.len() <= NOTE_BYTES || chars_max == 0 {
                json.resize(NOTE_BYTES, b' ');
                return Ok(json);
            }
            chars_max /= 2;
        }
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

/// How the last daemon in `dir` ended, where none runs; `None` where there was none.
pub fn last_end(dir: &Path) -> Option<LastEnd> {
    read(&open(dir, false).ok()?).end()
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

    fn take(dir: &Path) -> Lock {
        Lock::take(dir, 42, 7).unwrap()
    }

    #[test]
    fn a_daemon_that_starts_waits_for_a_command_that_has_the_queue() {
        let dir = tempfile::tempdir().unwrap();
        let command = Lock::take_for_command(dir.path(), 7, 1).unwrap();
        assert!(owner(dir.path()).is_some_and(|note| note.is_command));
        let path = dir.path().to_owned();
        let daemon = std::thread::spawn(move || Lock::take(&path, 8, 2).map(drop).is_ok());
        std::thread::sleep(BETWEEN_TRIES * (TRIES + 2));
        assert!(!daemon.is_finished());
        drop(command);
        assert!(daemon.join().unwrap());
    }

    #[test]
    fn a_second_daemon_is_told_who_owns_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((owner(dir.path()), last_end(dir.path())), (None, None));
        let lock = take(dir.path());
        lock.update(|note| note.trouble = Some("no space".repeat(4000))).unwrap();
        let Err(LockError::Held(seen)) = Lock::take(dir.path(), 43, 8) else { panic!("locked twice") };
        assert_eq!((seen.pid, seen.since_ms), (42, 7));
        assert!(seen.trouble.is_some_and(|trouble| trouble.starts_with("no space")));
        lock.update(|note| note.trouble = None).unwrap();
        assert_eq!(owner(dir.path()).unwrap().trouble, None);
        drop(lock);
        assert_eq!(owner(dir.path()), None);
    }

    #[test]
    fn the_note_has_one_length_whatever_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let lock = take(dir.path());
        let size = || std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
        let before = size();
        let long = "\u{1}\u{10ffff}\"".repeat(5000);
        let end = LastEnd { at_ms: Some(1), why: long.clone() };
        lock.update(|note| (note.trouble, note.reload_refused, note.last_end) = (Some(long.clone()), Some(long), Some(end)))
            .unwrap();
        let seen = owner(dir.path()).unwrap();
        assert_eq!((size(), seen.pid), (before, 42));
        assert!(seen.trouble.is_some_and(|text| !text.is_empty()));
    }

    #[test]
    fn how_a_daemon_ended_is_known_until_the_next_one_ends() {
        let dir = tempfile::tempdir().unwrap();
        let lock = take(dir.path());
        assert_eq!(owner(dir.path()).unwrap().last_end, None);
        let end = LastEnd { at_ms: Some(9), why: "the queue is damaged".into() };
        lock.update(|note| (note.pid, note.last_end) = (0, Some(end.clone()))).unwrap();
        drop(lock);
        assert_eq!(last_end(dir.path()), Some(end.clone()));
        let lock = take(dir.path());
        assert_eq!(owner(dir.path()).unwrap().last_end, Some(end));
        // It dies without a word.
        drop(lock);
        assert_eq!(last_end(dir.path()), Some(LastEnd { at_ms: None, why: KILLED.into() }));
    }

    #[test]
    fn the_note_of_an_older_version_is_read() {
        let note: LockNote = serde_json::from_str("{\"pid\":3,\"since_ms\":4,\"trouble\":null}   ").unwrap();
        assert_eq!(note, LockNote { pid: 3, since_ms: 4, ..LockNote::default() });
    }
}
