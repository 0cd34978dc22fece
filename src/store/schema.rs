//! The shape of the queue on disk: pragmas, and migrations that are only ever appended.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::StoreError;

/// Marks the file as ours: "fryd" in ASCII.
const APPLICATION_ID: i64 = 0x6672_7964;

/// Each entry takes the schema one version up; the version is its place in the list, counted from 1. Never edit one: append.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// The version this build reads and writes.
pub fn version() -> i64 {
    MIGRATIONS.len() as i64
}

/// Prepares the one connection that writes.
pub fn prepare_writer(connection: &mut Connection) -> Result<(), StoreError> {
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
    migrate(connection)?;
    // From here on `thread` takes the log to the disk, once for many commits and without keeping the next ones waiting.
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    Ok(())
}

/// Prepares a connection that only reads. A file without a schema yet is not an error; there is nothing in it.
pub fn prepare_reader(connection: &Connection) -> Result<(), StoreError> {
    refuse_strangers(connection)?;
    keep_plans(connection)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;")?;
    Ok(())
}

/// Whether the file has no schema yet: whoever made it has not come further, because its disk is full, for one.
pub fn is_empty(connection: &Connection) -> Result<bool, StoreError> {
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
    if application != APPLICATION_ID && (application != 0 || found != 0) {
        return Err(StoreError::Damaged("it is a database of another program".into()));
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found = user_version(connection)?;
    let from = usize::try_from(found).map_err(|_| StoreError::Damaged(format!("its schema version is {found}")))?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

fn user_version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}
