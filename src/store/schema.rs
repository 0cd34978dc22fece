//! The shape of the queue on disk: pragmas, and migrations that are only ever appended.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use crate::os::durable;

use super::error::StoreError;

/// Marks the file as ours: "fryd" in ASCII.
const APPLICATION_ID: i64 = 0x6672_7964;

/// Each entry takes the schema one version up; the version is its place in the list, counted from 1. Never edit one: append.
const MIGRATIONS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
];

/// Gathers, on the connection that writes, by how much a transaction changes the totals. What is rolled back is rolled back here,
/// too. Nothing here may fail once it has begun, as a column that must not be NULL could: SQLite would keep a journal of its own for
/// every statement that changes a job.
pub(super) const COUNTING: &str = "
    CREATE TEMP TABLE moved (
        host  TEXT,
        state TEXT,
        jobs  INTEGER,
        bytes INTEGER,
        UNIQUE (host, state)
    );
    CREATE TEMP TRIGGER jobs_made AFTER INSERT ON main.jobs BEGIN
        INSERT INTO moved VALUES (new.host, new.state, 1, new.size)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TEMP TRIGGER jobs_moved AFTER UPDATE OF state ON main.jobs WHEN new.state IS NOT old.state BEGIN
        INSERT INTO moved VALUES (old.host, old.state, -1, -old.size)
        ON CONFLICT DO UPDATE SET jobs = jobs - 1, bytes = bytes + excluded.bytes;
        INSERT INTO moved VALUES (new.host, new.state, 1, new.size)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TEMP TRIGGER jobs_removed AFTER DELETE ON main.jobs BEGIN
        INSERT INTO moved VALUES (old.host, old.state, -1, -old.size)
        ON CONFLICT DO UPDATE SET jobs = jobs - 1, bytes = bytes + excluded.bytes;
    END;";

/// Adds what was gathered to the rows of a daemon.
pub(super) const COUNT: &str = "INSERT INTO totals (daemon, host, state, jobs, bytes)
    SELECT ?1, host, state, jobs, bytes FROM moved WHERE jobs <> 0 OR bytes <> 0
    ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, bytes = bytes + excluded.bytes";

/// The version this build reads and writes.
pub(super) fn version() -> i64 {
    MIGRATIONS.len() as i64
}

/// Prepares the one connection that writes, to the database at `path`.
pub(super) fn prepare_writer(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    refuse_strangers(connection)?;
    keep_plans(connection)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    migrate(connection, path)?;
    // From here on `thread` takes the log to the disk, once for many commits and without keeping the next ones waiting.
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    // The words that columns may have are those of our own types; to compare them again takes a table for each row that changes.
    if !cfg!(debug_assertions) {
        connection.execute_batch("PRAGMA ignore_check_constraints = ON")?;
    }
    Ok(())
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    prepare_reader(&connection)?;
    Ok(connection)
}

/// Prepares a connection that only reads. A file without a schema yet is not an error; there is nothing in it.
fn prepare_reader(connection: &Connection) -> Result<(), StoreError> {
    refuse_strangers(connection)?;
    keep_plans(connection)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;")?;
    Ok(())
}

/// Whether the file has no schema yet: whoever made it has not come further, because its disk is full, for one.
pub(super) fn is_empty(connection: &Connection) -> Result<bool, StoreError> {
    Ok(user_version(connection)? == 0)
}

/// Without this, SQLite compiles a statement anew for every value bound to it, where the value might decide for another index.
fn keep_plans(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn refuse_strangers(connection: &Connection) -> Result<(), StoreError> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let found = user_version(connection)?;
    if found > version() {
        return Err(StoreError::Newer { found, known: version() });
    }
    // One without marks is new, and has nothing in it.
    let unmarked = application == 0
        && found == 0
        && connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    if application != APPLICATION_ID && !unmarked {
        return Err(StoreError::Damaged("it is the database of another program".into()));
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found = user_version(connection)?;
    let from = usize::try_from(found).map_err(|_| StoreError::Damaged(format!("its schema version is {found}")))?;
    if (1..MIGRATIONS.len()).contains(&from) {
        keep_copy(connection, path, found)?;
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Copies the queue beside itself before a migration touches it. The copy has its name only when it is complete and on the disk.
#[expect(clippy::disallowed_methods, reason = "the folder is synced below")]
fn keep_copy(connection: &Connection, path: &Path, version: i64) -> Result<(), StoreError> {
    let copy = path.with_extension(format!("version-{version}.db"));
    if copy.exists() {
        return Ok(());
    }
    // SQLite writes into a file that is there and empty, and this one is readable by its owner alone.
    let unfinished = path.with_extension("copy");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    copy_into(connection, &unfinished)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, &copy)?;
    durable::sync_folder_of(&copy)?;
    tracing::info!("upgrading the queue from schema version {version} to {}; the old version is kept as {copy:?}", self::version());
    Ok(())
}

/// Copies all that is committed into the file at `path`, which is there and empty. It is not synced.
pub(super) fn copy_into(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let name = ToSqlOutput::Borrowed(ValueRef::Text(path.as_os_str().as_bytes()));
    connection.execute("VACUUM INTO ?1", [name])?;
    Ok(())
}

fn user_version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of version 1 in `dir`, with one job in it.
    fn version_1(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = OFF;
                 INSERT INTO jobs (file, host, device, inode, size, mtime_ns, ctime_ns, born_ns, state, queued_at, since)
                 VALUES (1, 'box', 1, 1, 1, 1, 1, 1, 'waiting', 1, 1)",
            )
            .unwrap();
        connection
    }

    #[test]
    fn a_queue_is_copied_whole_before_it_is_migrated_and_only_then() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.db");
        std::fs::write(path.with_extension("copy"), "what a crash has left").unwrap();
        let mut connection = version_1(&path);
        prepare_writer(&mut connection, &path).unwrap();
        assert_eq!(user_version(&connection).unwrap(), version());
        let copy = dir.path().join("queue.version-1.db");
        let kept = Connection::open(&copy).unwrap();
        assert_eq!(user_version(&kept).unwrap(), 1);
        assert_eq!(kept.query_row("SELECT state FROM jobs", [], |row| row.get::<_, String>(0)).unwrap(), "waiting");
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&copy).unwrap();
        prepare_writer(&mut connection, &path).unwrap();
        assert!(!copy.exists(), "nothing was migrated, so nothing is copied");
    }

    #[test]
    fn the_versions_that_are_in_use_are_frozen() {
        use sha2::{Digest, Sha256};
        let frozen = [
            "b762748f17771d5e7c83a5203679e963a25dca2da38b3e525b8c143355def41d",
            "c6ce444d8b99f8c827e91c032cf28668bfdb3c8bf62c295bb496ee99dfad12dd",
            "47a67524f5681197f8b8c69d3148f97639771053aa6cfe60279341ce10834d90",
            "6917b1942d39c59db985c834832d11a6ded5bbfe3dcf2aa4e621bcf74c330795",
            "355b5e1f3919f1dd9f3dd795b8532fc1045f5e55f0af6317f84c3f2dcab46a58",
            "cb328901c7876b33b2d2a27918c7bb34d85b42ea4d34782795a1c71a758974d6",
            "f923de64e3ef3915b9f66421896b54436713c4f57a9c585f2addf96a025e325d",
            "3a251be935a9bd2143c93967d54b228f7c7954ff50730ee38fef7cf81684db97",
        ];
        for (index, (migration, frozen)) in MIGRATIONS.iter().zip(frozen).enumerate() {
            let digest = Sha256::digest(migration);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, frozen, "queues of version {} are in use: append a migration in place of editing it", index + 1);
        }
    }
}
