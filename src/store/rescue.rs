//! What happens to a damaged database: it is set aside, never deleted, and a new one takes up what can still be read of it.
//!
//! Only jobs whose file is on the host are taken over, as done, each with its file: they are what keeps a file from being uploaded
//! twice. Their hooks and after-actions are not: a hook that has heard of them and one that has not look the same. Everything else
//! is found again by the scan. A file whose job could not be read is uploaded again, and its job says that it may be there twice.
//!
//! Of a queue that somebody has removed, replaced or emptied under the daemon, the one that is open is the truth: it has everything
//! until now, and what is at its place has not. The writer keeps it whole (`Backend::still_in_place`), nothing is lost and nothing
//! sent again, and what is found at the place is set aside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Row, params};

use crate::job::Proof;
use crate::os::{clock, durable};

use super::backend::Backend;
use super::error::StoreError;
use super::place::{self, Begun};
use super::sqlite::Sqlite;
use super::{Clock, DaemonId, FILE_NAME, Store, WriterThread, files};

/// What was done about a damaged database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescue {
    /// Where the file is now that was at the place of the queue, if there was one.
    pub kept: Option<PathBuf>,
    /// What is wrong with it.
    pub damage: String,
    /// Done jobs that were taken over; nothing where everything that was known is known still.
    pub jobs: Option<u64>,
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

    /// Sets the database in `dir` aside, and begins a new one with what can be read of it, or with everything where the writer has
    /// kept that.
    pub fn rescue(dir: &Path, damage: String) -> Result<(Store, WriterThread, Rescue), StoreError> {
        Store::rescue_with(dir, damage, Arc::new(clock::now_ms))
    }

    fn rescue_with(dir: &Path, damage: String, clock: Clock) -> Result<(Store, WriterThread, Rescue), StoreError> {
        let mut rescuing = Rescuing::begin(dir, damage, clock());
        STEPS.iter().try_for_each(|step| step(&mut rescuing))?;
        let (store, thread) = Store::open_with(dir, clock)?;
        Ok((store, thread, rescuing.done))
    }
}

/// A rescue under way. Nothing of it is needed to go on after a crash but what is in the folder.
pub(super) struct Rescuing {
    dir: PathBuf,
    at_ms: i64,
    done: Rescue,
}

/// One of its steps.
type Step = fn(&mut Rescuing) -> Result<(), StoreError>;

/// What a rescue does, in this order. The process may end before and after each: the next start does them all again, and a step
/// finds done what was done.
pub(super) const STEPS: [Step; 6] = [
    Rescuing::mark,
    Rescuing::set_database_aside,
    Rescuing::set_log_aside,
    Rescuing::build,
    Rescuing::unmark,
    Rescuing::take_its_place,
];

impl Rescuing {
    /// A new one, or the one that a process left when it ended.
    pub(super) fn begin(dir: &Path, damage: String, now_ms: i64) -> Rescuing {
        let at_ms = Begun::read(dir).map_or(now_ms, |begun| begun.at_ms);
        Rescuing { dir: dir.to_owned(), at_ms, done: Rescue { kept: None, damage, jobs: None } }
    }

    fn is_complete(&self) -> bool {
        place::complete(&self.dir).exists()
    }

    fn damaged(&self) -> PathBuf {
        self.dir.join(format!("queue.damaged-{}.db", self.at_ms))
    }

    fn mark(&mut self) -> Result<(), StoreError> {
        if self.is_complete() {
            return Ok(());
        }
        Begun { at_ms: self.at_ms, damage: self.done.damage.clone() }.write(&self.dir)
    }

    fn set_database_aside(&mut self) -> Result<(), StoreError> {
        if !self.is_complete() {
            place::set_aside(&self.dir.join(FILE_NAME), &self.damaged())?;
            self.done.kept = Some(self.damaged()).filter(|kept| kept.exists());
        }
        Ok(())
    }

    /// The log of a database has its name, or it is lost.
    fn set_log_aside(&mut self) -> Result<(), StoreError> {
        if !self.is_complete() {
            for suffix in ["-wal", "-shm"] {
                let aside = self.dir.join(format!("queue.damaged-{}.db{suffix}", self.at_ms));
                place::set_aside(&self.dir.join(format!("{FILE_NAME}{suffix}")), &aside)?;
            }
            durable::sync_folder_of(&self.damaged())?;
        }
        Ok(())
    }

    fn build(&mut self) -> Result<(), StoreError> {
        if self.is_complete() {
            return Ok(());
        }
        let path = place::unfinished(&self.dir)?;
        let mut fresh = Sqlite::over(Connection::open(&path)?, &path)?;
        let note = "INSERT OR REPLACE INTO notes (key, value) VALUES ('rebuilt_at_ms', ?1)";
        fresh.connection().execute(note, [self.at_ms.to_string()])?;
        let jobs = match take_over(&self.damaged(), &mut fresh) {
            // Nothing is wrong with what was to be taken over.
            Err(StoreError::Full) => return Err(StoreError::Full),
            Err(error) => {
                tracing::warn!("part of the damaged queue could not be read: {error}");
                0
            }
            Ok(jobs) => jobs,
        };
        // What was begun and cannot be ended.
        fresh.rollback()?;
        fresh.fold()?;
        drop(fresh);
        place::finish(&path, &place::complete(&self.dir))?;
        self.done.jobs = Some(jobs);
        Ok(())
    }

    fn unmark(&mut self) -> Result<(), StoreError> {
        Begun::remove(&self.dir)
    }

    /// Whatever is at the place of the queue is kept. A log that is there need not belong to it, so it does not get a name by which
    /// SQLite would read the two together.
    fn take_its_place(&mut self) -> Result<(), StoreError> {
        let place = self.dir.join(FILE_NAME);
        let aside = |at_ms: i64| self.dir.join(format!("queue.damaged-{at_ms}.db"));
        let at_ms = (self.at_ms..).find(|at_ms| aside(*at_ms).symlink_metadata().is_err()).unwrap_or(self.at_ms);
        if place::set_aside(&place, &aside(at_ms))? {
            self.done.kept = Some(aside(at_ms));
        }
        for name in ["wal", "shm"] {
            let to = self.dir.join(format!("queue.damaged-{at_ms}.{name}"));
            place::set_aside(&self.dir.join(format!("{FILE_NAME}-{name}")), &to)?;
        }
        durable::sync_folder_of(&place)?;
        place::finish(&place::complete(&self.dir), &place)
    }
}

/// Takes over a job with its file, or neither: a file without its job would never be sent again.
fn take_over_one(c: &Connection, row: &Row<'_>) -> Result<bool, StoreError> {
    c.execute_batch("SAVEPOINT one")?;
    let taken = match files::take_over(c, row).and_then(|()| take_over_proof(c, row)) {
        Err(StoreError::Full) => return Err(StoreError::Full),
        taken => taken.is_ok(),
    };
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
