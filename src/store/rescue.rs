//! What happens to a damaged database: it is set aside, never deleted, and a new one takes up what can still be read of it.
//!
//! Only jobs whose file is on the host are taken over, as done, each with its file: they are what keeps a file from being uploaded
//! twice. Their hooks and after-actions are not: a hook that has heard of them and one that has not look the same. Everything else
//! is found again by the scan. A file whose job could not be read is uploaded again, and its job says that it may be there twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Row, params};

use crate::job::Proof;
use crate::os::clock;

use super::backend::Backend;
use super::error::StoreError;
use super::sqlite::Sqlite;
use super::{Clock, DaemonId, FILE_NAME, Store, WriterThread, files};

/// What was done about a damaged database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescue {
    /// Where the damaged one is now.
    pub kept: PathBuf,
    /// What is wrong with it.
    pub damage: String,
    /// Done jobs that were taken over.
    pub jobs: u64,
}

impl Store {
    /// Opens the queue in `dir`; a damaged one is set aside and replaced. The caller owns the folder's lock.
    pub fn open_or_rescue(dir: &Path) -> Result<(Store, WriterThread, Option<Rescue>), StoreError> {
        Store::open_or_rescue_with(dir, Arc::new(clock::now_ms))
    }

    /// The same, with a clock of the caller's.
    pub fn open_or_rescue_with(dir: &Path, clock: Clock) -> Result<(Store, WriterThread, Option<Rescue>), StoreError> {
        match Store::open_with(dir, clock.clone()) {
            Ok((store, thread)) => Ok((store, thread, None)),
            Err(StoreError::Damaged(damage)) => {
                let (store, thread, rescue) = Store::rescue_with(dir, damage, clock)?;
                Ok((store, thread, Some(rescue)))
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the database in `dir` aside, and begins a new one with what can be read of it.
    pub fn rescue(dir: &Path, damage: String) -> Result<(Store, WriterThread, Rescue), StoreError> {
        Store::rescue_with(dir, damage, Arc::new(clock::now_ms))
    }

    fn rescue_with(dir: &Path, damage: String, clock: Clock) -> Result<(Store, WriterThread, Rescue), StoreError> {
        let now_ms = clock();
        let kept = set_aside(dir, now_ms)?;
        let jobs = {
            let path = dir.join(FILE_NAME);
            let mut fresh = Sqlite::over(Connection::open(&path)?, &path)?;
            fresh
                .connection()
                .execute("INSERT OR REPLACE INTO notes (key, value) VALUES ('rebuilt_at_ms', ?1)", [now_ms.to_string()])?;
            take_over(&kept, &mut fresh).unwrap_or_else(|error| {
                tracing::warn!("part of the damaged queue could not be read: {error}");
                0
            })
        };
        let (store, thread) = Store::open_with(dir, clock)?;
        Ok((store, thread, Rescue { kept, damage, jobs }))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing relies on the old names: should the power fail between two of these, the next start does the rest"
)]
fn set_aside(dir: &Path, now_ms: i64) -> Result<PathBuf, StoreError> {
    let kept = dir.join(format!("queue.damaged-{now_ms}.db"));
    for suffix in ["-wal", "-shm", ""] {
        let from = dir.join(format!("{FILE_NAME}{suffix}"));
        let to = dir.join(format!("queue.damaged-{now_ms}.db{suffix}"));
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(kept)
}

/// Takes over a job with its file, or neither: a file without its job would never be sent again.
fn take_over_one(c: &Connection, row: &Row<'_>) -> Result<bool, StoreError> {
    c.execute_batch("SAVEPOINT one")?;
    let taken = files::take_over(c, row).and_then(|()| take_over_proof(c, row)).is_ok();
    c.execute_batch(if taken { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" })?;
    Ok(taken)
}

/// What the host has told about the job that was just taken over. A word that is none is a damaged one, and proves nothing.
fn take_over_proof(c: &Connection, row: &Row<'_>) -> Result<(), StoreError> {
    let told: Option<String> = row.get(18).unwrap_or(None);
    let proof = told.and_then(|word| Proof::from_word(&word));
    let (name, bytes): (Option<String>, Option<i64>) = (row.get(19).unwrap_or(None), row.get(20).unwrap_or(None));
    let mut update = c.prepare_cached("UPDATE jobs SET proof = ?2, stored_name = ?3, stored_bytes = ?4 WHERE id = ?1")?;
    update.execute(params![c.last_insert_rowid(), proof.map(Proof::word), name, bytes])?;
    Ok(())
}

/// Reads done jobs one by one until the damage stands in the way.
fn take_over(kept: &Path, fresh: &mut Sqlite) -> Result<u64, StoreError> {
    let damaged = Connection::open_with_flags(kept, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Queues of earlier schema versions lack some of these columns.
    let column = |name: &str| {
        let is_there = damaged.prepare(&format!("SELECT {name} FROM jobs")).is_ok();
        if is_there { format!("j.{name}") } else { "NULL".to_owned() }
    };
    let told = ["proof", "stored_name", "stored_bytes"].map(column).join(", ");
    let mut select = damaged.prepare(&format!(
        "SELECT d.path, f.name, j.device, j.inode, j.size, j.mtime_ns, j.ctime_ns, j.born_ns, j.host, j.priority, j.queued_at, j.since,
                j.done_at, j.attempts, j.maybe_duplicate, j.link, j.remote_id, j.expires, {told}
         FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
         WHERE j.state IN ('done', 'uploaded') AND f.inode = j.inode AND f.mtime_ns = j.mtime_ns AND f.size = j.size",
    ))?;
    let mut rows = select.query([])?;
    fresh.begin()?;
    let mut jobs = 0;
    loop {
        match rows.next() {
            Ok(Some(row)) => jobs += u64::from(take_over_one(fresh.connection(), row)?),
            Ok(None) => break,
            Err(error) => {
                tracing::warn!("the rest of the damaged queue cannot be read: {error}");
                break;
            }
        }
    }
    let note = "INSERT OR REPLACE INTO notes (key, value) VALUES ('taken_over', ?1)";
    fresh.connection().execute(note, params![jobs.to_string()])?;
    fresh.commit(DaemonId::LOCAL)?;
    Ok(jobs)
}
