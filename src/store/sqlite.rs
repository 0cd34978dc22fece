//! The queue in SQLite: a connection that writes and carries out the verbs, and one that looks up.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use crate::job::absence::RootFolder;
use crate::job::digest::Digest;
use crate::job::plan::Plan;
use crate::job::steer::Steered;
use crate::job::upload::{Ack, Outcome, Session, Shape};
use crate::job::{DeliveryId, HostReport, Identity, JobId, Reason, SentHash, State, WatchReport, Watches};

use super::backend::{Backend, Lookup, verbs};
use super::error::StoreError;
use super::files::Routes;
use super::place::{self, Place};
use super::values::{Caller, Recorded, Steer};
use super::{
    Arrival, Asking, Claims, DaemonId, Due, FILE_NAME, Live, Resting, ReturnedJob, Rules, Seen, Version, Wanted, deliveries, files,
    jobs, schema, steering, unwanted, uploads,
};

/// Is beside a queue once that was made.
const MADE: &str = "queue.made";

/// The connection that writes.
pub(super) struct Sqlite {
    connection: Connection,
    /// Its file, where somebody may take that away.
    place: Option<Place>,
}

/// A queue in a file.
pub(super) struct OpenQueue<S> {
    /// Who writes.
    pub writer: Sqlite,
    /// Who looks up beside it.
    pub reader: Reader,
    /// Takes everything that was committed to the disk.
    pub sync: S,
}

/// Opens the queue in `dir`, making it where there is none.
pub(super) fn open(dir: &Path) -> Result<OpenQueue<impl FnMut() -> std::io::Result<()> + Send + 'static>, StoreError> {
    let path = dir.join(FILE_NAME);
    if let Some(damage) = place::half_done(dir) {
        return Err(StoreError::Damaged(damage));
    }
    refuse_emptied(dir, &path)?;
    // It names every file of the user, so it is nobody else's; SQLite's own files beside it get the same mode.
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    let mut writer = Sqlite::over(Connection::open(&path)?, &path)?;
    writer.place = Some(Place::of(&path)?);
    note_made(dir)?;
    // What an earlier run could not take to the disk is written there now, or this one does not begin. A reader that has an old
    // snapshot open only keeps the log from being cut off: all that is in it is in the database then.
    match writer.fold() {
        Err(StoreError::Busy) => writer.write_log_back()?,
        folded => folded?,
    }
    // One descriptor for as long as the queue is open: the kernel tells it of every write of the log that failed since, even if
    // SQLite's own has been told already. SQLite never replaces the file meanwhile.
    let log = File::open(dir.join(format!("{FILE_NAME}-wal")))?;
    let reader = Reader { connection: schema::open_reader(&path)?, routes: Routes::default() };
    Ok(OpenQueue { writer, reader, sync: move || log.sync_data() })
}

/// Nothing is in the file, not even a schema, and there was a queue: somebody has emptied it.
fn refuse_emptied(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let is_empty = std::fs::metadata(path).is_ok_and(|found| found.len() == 0);
    if is_empty && dir.join(MADE).exists() {
        return Err(StoreError::Damaged("it is empty, and was not before".into()));
    }
    Ok(())
}

/// Notes that there is a queue, which a file of no bytes does not tell from one that was never made.
fn note_made(dir: &Path) -> Result<(), StoreError> {
    let made = dir.join(MADE);
    if !made.exists() {
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&made)?;
    }
    Ok(())
}

impl Sqlite {
    /// A queue that is gone when it is closed.
    pub(super) fn in_memory() -> Result<Sqlite, StoreError> {
        Sqlite::over(Connection::open_in_memory()?, Path::new(FILE_NAME))
    }

    /// The queue on a file system of SQLite's that somebody has registered as `vfs`.
    #[cfg(feature = "simulator")]
    pub(super) fn on_vfs(vfs: &str) -> Result<Sqlite, StoreError> {
        let path = Path::new("/").join(FILE_NAME);
        let queue = Sqlite::over(Connection::open_with_flags_and_vfs(&path, rusqlite::OpenFlags::default(), vfs)?, &path)?;
        // What an earlier run could not take to the disk is written there now, or this one does not begin.
        queue.fold()?;
        Ok(queue)
    }

    /// Takes the database at `path` over, which is brought to the newest schema.
    pub(super) fn over(mut connection: Connection, path: &Path) -> Result<Sqlite, StoreError> {
        connection.set_prepared_statement_cache_capacity(128);
        connection.busy_timeout(Duration::from_secs(5))?;
        schema::prepare_writer(&mut connection, path)?;
        connection.execute_batch(schema::COUNTING)?;
        Ok(Sqlite { connection, place: None })
    }

    /// The connection, for what is no verb.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Writes the log into the database as far as no reader stands in the way, which is told in the log.
    fn write_log_back(&self) -> Result<(), StoreError> {
        let (pages, written): (i64, i64) =
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if written < pages {
            tracing::warn!("a program that reads the queue keeps its write-ahead log from being folded in; it will be later");
        }
        Ok(())
    }

    /// Folds the log into the database.
    pub(super) fn fold(&self) -> Result<(), StoreError> {
        let busy: bool = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy { Err(StoreError::Busy) } else { Ok(()) }
    }
}

impl Sqlite {
    /// Keeps everything that is committed as the queue that the next start will find.
    fn keep_everything(&self, dir: &Path) -> Result<(), StoreError> {
        let unfinished = place::unfinished(dir)?;
        let kept =
            schema::copy_into(&self.connection, &unfinished).and_then(|()| place::finish(&unfinished, &place::complete(dir)));
        if kept.is_err() {
            // Others need the room, too.
            place::discard(dir)?;
        }
        kept
    }
}

impl Lookup for Sqlite {
    fn look_up(&mut self, folder: &Path, wanted: &[(&OsStr, Identity)], hosts: &[String]) -> Result<Vec<Seen>, StoreError> {
        // What was read of a group that is undone must not be remembered.
        files::look_up(&self.connection, &mut Routes::default(), folder, wanted, hosts)
    }
}

/// A connection for lookups.
pub(super) struct Reader {
    connection: Connection,
    routes: Routes,
}

impl Lookup for Reader {
    fn look_up(&mut self, folder: &Path, wanted: &[(&OsStr, Identity)], hosts: &[String]) -> Result<Vec<Seen>, StoreError> {
        // Taking a snapshot costs more than a look does, and one that were kept would stand in the way of folding the log.
        let snapshot = self.connection.transaction()?;
        let seen = files::look_up(&snapshot, &mut self.routes, folder, wanted, hosts)?;
        snapshot.commit()?;
        Ok(seen)
    }
}

macro_rules! delegate {
    ($($(#[$doc:meta])* $sql:ident::$verb:ident($($value:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Backend for Sqlite {
            fn begin(&mut self) -> Result<(), StoreError> {
                // A transaction that reads before it writes is refused at once where anybody else has the lock to write, which
                // readers take for a moment when they meet the index of the log half written. One that begins by asking for the
                // lock waits for it.
                self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                Ok(())
            }

            fn commit(&mut self, daemon: DaemonId) -> Result<(), StoreError> {
                if self.connection.prepare_cached("SELECT 1 FROM moved LIMIT 1")?.exists([])? {
                    self.connection.prepare_cached(schema::COUNT)?.execute([daemon.0])?;
                    self.connection.prepare_cached("DELETE FROM moved")?.execute([])?;
                }
                self.connection.prepare_cached("COMMIT")?.execute([])?;
                Ok(())
            }

            fn rollback(&mut self) -> Result<(), StoreError> {
                if !self.connection.is_autocommit() {
                    self.connection.prepare_cached("ROLLBACK")?.execute([])?;
                }
                Ok(())
            }

            fn make_room(&mut self) {
                // The log holds many versions of one page.
                if let Err(error) = self.fold() {
                    tracing::debug!("the write-ahead log cannot be folded in either: {error}");
                }
            }

            fn still_in_place(&mut self) -> Result<(), StoreError> {
                let Some(place) = &self.place else { return Ok(()) };
                let Some(damage) = place.lost()? else { return Ok(()) };
                match self.keep_everything(place.dir()) {
                    Err(error) if error.is_waited_for() => return Err(error),
                    Err(error) => tracing::warn!("what is in the queue cannot be kept: {error}"),
                    Ok(()) => {}
                }
                Err(StoreError::Damaged(damage.into()))
            }

            fn close(&mut self, intact: bool) {
                let folded = if intact {
                    self.fold()
                } else {
                    // Folding does not look at checksums; the next start, which reads the log, does.
                    let kept = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                    kept.map(drop).map_err(StoreError::from)
                };
                if let Err(error) = folded {
                    tracing::warn!("cannot checkpoint the write-ahead log: {error}");
                }
            }

            #[cfg(any(test, feature = "simulator"))]
            fn every_job(&mut self) -> Result<Vec<super::JobRow>, StoreError> {
                super::view::every_job(&self.connection)
            }

            $(fn $verb(&mut self, by: Caller $(, $value: $type)*) -> Result<$answer, StoreError> {
                $sql::$verb(&self.connection, by $(, $value)*)
            })*
        }
    };
}

verbs!(delegate);

/// What a file system says that cannot map a file for several programs.
const SHARED_MEMORY: [i32; 3] =
    [rusqlite::ffi::SQLITE_IOERR_SHMMAP, rusqlite::ffi::SQLITE_IOERR_SHMOPEN, rusqlite::ffi::SQLITE_IOERR_SHMLOCK];
/// What is told once of writes that have failed.
const FSYNC: [i32; 2] = [rusqlite::ffi::SQLITE_IOERR_FSYNC, rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC];

/// What happened to the queue, in words of our own. The number is SQLite's extended code, for whoever has to find out more.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(rusqlite::ffi::Error { code, extended_code }) = error.sqlite_error().copied() else {
            return StoreError::Refused(error.to_string());
        };
        let coded = |words: &str| format!("{words} ({extended_code})");
        match code {
            // The memory that connections share is a file, too, and there may be no room to make it.
            _ if extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full,
            ErrorCode::DiskFull => StoreError::Full,
            ErrorCode::DatabaseCorrupt => StoreError::Damaged(coded("its contents are corrupt")),
            ErrorCode::NotADatabase => StoreError::Damaged(coded("the file is not a database")),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => StoreError::Busy,
            _ if SHARED_MEMORY.contains(&extended_code) => StoreError::Inaccessible(coded(
                "its file system does not let programs share memory; set `state_dir` to a local disk",
            )),
            _ if FSYNC.contains(&extended_code) => StoreError::NotSynced(coded("its disk reported an error")),
            ErrorCode::SystemIoFailure => StoreError::Disk(coded("its disk reported an error")),
            ErrorCode::CannotOpen => StoreError::Inaccessible(coded("its file cannot be opened")),
            ErrorCode::PermissionDenied | ErrorCode::ReadOnly => {
                StoreError::Inaccessible(coded("this user may not write to its file"))
            }
            ErrorCode::OutOfMemory => StoreError::Inaccessible(coded("out of memory")),
            _ => StoreError::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn a_log_that_a_reader_keeps_from_being_folded_in_is_not_folded_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let queue = Sqlite::over(Connection::open(&path).unwrap(), &path).unwrap();
        queue.connection.busy_timeout(Duration::ZERO).unwrap();
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM notes").unwrap();
        queue.connection.execute("INSERT INTO notes VALUES ('a', 'b')", []).unwrap();
        assert!(matches!(queue.fold(), Err(StoreError::Busy)), "what is in the log is not in the database");
        queue.write_log_back().unwrap();
        reader.execute_batch("COMMIT").unwrap();
        queue.fold().unwrap();
    }

    #[test]
    fn what_happened_to_the_queue_is_told_without_a_word_of_the_library() {
        let cases = [
            (ffi::SQLITE_FULL, "no space left on the disk of the queue"),
            (ffi::SQLITE_IOERR_SHMSIZE, "no space left on the disk of the queue"),
            (ffi::SQLITE_CORRUPT, "the queue is damaged: its contents are corrupt (11)"),
            (ffi::SQLITE_NOTADB, "the queue is damaged: the file is not a database (26)"),
            (ffi::SQLITE_BUSY, "another program has locked the queue"),
            (ffi::SQLITE_IOERR_FSYNC, "the queue cannot be read or written: its disk reported an error (1034)"),
            (ffi::SQLITE_IOERR_WRITE, "the queue cannot be read or written: its disk reported an error (778)"),
            (
                ffi::SQLITE_IOERR_SHMMAP,
                "the queue cannot be read or written: its file system does not let programs share memory; \
                 set `state_dir` to a local disk (5386)",
            ),
            (ffi::SQLITE_CANTOPEN, "the queue cannot be read or written: its file cannot be opened (14)"),
            (ffi::SQLITE_READONLY, "the queue cannot be read or written: this user may not write to its file (8)"),
            (ffi::SQLITE_NOMEM, "the queue cannot be read or written: out of memory (7)"),
        ];
        for (code, told) in cases {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("database disk image is malformed".into()));
            assert_eq!(StoreError::from(error).to_string(), told);
        }
    }
}
