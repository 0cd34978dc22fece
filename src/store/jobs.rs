//! SQL for jobs: claim, end, leave; and the rows that people look at.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use crate::job::State;
use crate::job::upload::Outcome;

use super::error::StoreError;
use super::files::{self, identity_at, path_of};
use super::{Claimed, Claims, HostStatus, JobId, Live, PutBack, Resting, Rules, WatchStatus, deliveries, uploads};

/// Claims of an earlier run are claims no more: there are no leases and no clocks, because one daemon owns the queue. A held host or
/// job is looked at again, since a restart is how a person says that something was mended.
pub(super) fn recover(c: &Connection, now_ms: i64) -> Result<(), StoreError> {
    c.execute("UPDATE jobs SET state = 'queued', since = ?1, told_held = NULL WHERE state = 'uploading'", [now_ms])?;
    c.execute(
        "UPDATE jobs SET next_try = ?1, told_held = NULL WHERE state IN ('waiting', 'held') AND next_try IS NOT NULL",
        [now_ms],
    )?;
    c.execute(
        "UPDATE hosts SET state = 'ready', until = NULL, why = NULL, since = ?1
         WHERE state <> 'ready' AND NOT (state = 'resting' AND until > ?1)",
        [now_ms],
    )?;
    c.execute("DELETE FROM live", [])?;
    Ok(())
}

pub(super) fn resting(c: &Connection, now_ms: i64) -> Result<Vec<Resting>, StoreError> {
    let mut select = c.prepare_cached("SELECT name, until, rests FROM hosts WHERE state = 'resting' AND until > ?1")?;
    let rows = select.query_map([now_ms], |row| Ok(Resting { host: row.get(0)?, until_ms: row.get(1)?, rests: row.get(2)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn configured(
    c: &Connection,
    watches: &[PathBuf],
    hosts: &[(String, String)],
    now_ms: i64,
) -> Result<Vec<bool>, StoreError> {
    c.execute("UPDATE watches SET configured = 0", [])?;
    let mut seen_before = Vec::with_capacity(watches.len());
    for path in watches {
        let path = path.as_os_str().as_bytes();
        // A first scan that was cut short begins again: only what it has finished counts.
        let scanned = c.query_row("SELECT last_scan IS NOT NULL FROM watches WHERE path = ?1", [path], |row| row.get(0));
        seen_before.push(scanned.optional()?.unwrap_or(false));
        c.execute(
            "INSERT INTO watches (path, first_seen) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET configured = 1, state = 'starting', settling = 0, why = NULL",
            params![path, now_ms],
        )?;
    }
    let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
    c.execute("DELETE FROM hosts WHERE name NOT IN (SELECT value FROM json_each(?1))", [serde_json::json!(names).to_string()])?;
    for (name, kind) in hosts {
        c.execute(
            "INSERT INTO hosts (name, kind, state, since) VALUES (?1, ?2, 'ready', ?3) ON CONFLICT DO UPDATE SET kind = excluded.kind",
            params![name, kind, now_ms],
        )?;
    }
    Ok(seen_before)
}

// What moves jobs by the thousand says `OR FAIL`. A statement that fails takes its whole transaction with it anyway (`thread`), so SQLite
// need not keep copies of pages to undo that statement alone.

const CLAIM: &str = "UPDATE OR FAIL jobs SET state = 'uploading', since = ?2, attempts = attempts + 1, why = NULL, next_try = NULL
    WHERE id = ?1";

const CLAIMABLE: &str =
    "SELECT j.id, j.host, j.device, j.inode, j.size, j.mtime_ns, j.ctime_ns, j.born_ns, j.failures, j.sessions_lost,
        j.failing, j.alike, j.failing_since, d.path, f.name
    FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder WHERE j.host = ?1";

pub(super) fn due_sql() -> String {
    format!("{CLAIMABLE} AND j.state IN ('waiting', 'held') AND j.next_try <= ?3 ORDER BY j.next_try LIMIT ?2")
}

pub(super) fn ready_sql() -> String {
    format!("{CLAIMABLE} AND j.state = 'queued' ORDER BY j.priority DESC, j.id LIMIT ?2")
}

pub(super) fn claim(c: &Connection, wanted: &[(String, usize)], most: usize, now_ms: i64) -> Result<Claims, StoreError> {
    let mut jobs = Vec::new();
    let mut next_due_ms: Option<i64> = None;
    for (host, count) in wanted {
        let until = jobs.len().saturating_add(*count).min(most);
        let mut due = next_due(c, host)?;
        if due.is_some_and(|due| due <= now_ms) {
            claim_by(c, &due_sql(), until, &mut jobs, |room| (host, room, now_ms), now_ms)?;
            due = next_due(c, host)?;
        }
        claim_by(c, &ready_sql(), until, &mut jobs, |room| (host, room), now_ms)?;
        next_due_ms = next_due_ms.into_iter().chain(due).min();
    }
    Ok(Claims { jobs, next_due_ms })
}

fn next_due(c: &Connection, host: &str) -> Result<Option<i64>, StoreError> {
    let mut select = c.prepare_cached("SELECT min(next_try) FROM jobs WHERE host = ?1 AND state IN ('waiting', 'held')")?;
    Ok(select.query_row([host], |row| row.get(0))?)
}

/// Claims what `sql` finds until there are `until` jobs in all.
fn claim_by<P: Params>(
    c: &Connection,
    sql: &str,
    until: usize,
    into: &mut Vec<Claimed>,
    values: impl FnOnce(i64) -> P,
    now_ms: i64,
) -> Result<(), StoreError> {
    let room = until.saturating_sub(into.len());
    if room == 0 {
        return Ok(());
    }
    let mut select = c.prepare_cached(sql)?;
    let found: Vec<Claimed> = select.query_map(values(room as i64), claimed_of)?.collect::<Result<_, _>>()?;
    let mut update = c.prepare_cached(CLAIM)?;
    for mut job in found {
        update.execute(params![job.id.0, now_ms])?;
        job.upload = uploads::load(c, job.id, job.identity.size)?;
        into.push(job);
    }
    Ok(())
}

fn claimed_of(row: &Row<'_>) -> rusqlite::Result<Claimed> {
    Ok(Claimed {
        id: JobId(row.get(0)?),
        path: path_of(row.get(13)?, row.get(14)?),
        host: row.get(1)?,
        identity: identity_at(row, 2)?,
        failures: row.get(8)?,
        sessions_lost: row.get(9)?,
        failing: row.get::<_, Option<String>>(10)?.zip(row.get(11)?),
        failing_since_ms: row.get(12)?,
        upload: None,
    })
}

/// Where no hook and no after-action is to come, a job that is uploaded is done in the same commit. Answers its state, and whether
/// a delivery may be to come.
pub(super) fn uploaded(
    c: &Connection,
    job: JobId,
    outcome: &Outcome,
    rules: &Rules,
    now_ms: i64,
) -> Result<(State, bool), StoreError> {
    if let Some(state) = moved_on(c, job)? {
        return Ok((state, false));
    }
    uploads::forget_upload(c, job)?;
    uploads::forget_digest(c, job)?;
    let (state, made) = deliveries::after_upload(c, job, outcome, rules, now_ms)?;
    let done_at = (state == State::Done).then_some(now_ms);
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = ?2, since = ?3, done_at = ?4, next_try = NULL, why = NULL, failures = 0, failing = NULL, alike = 0,
                failing_since = NULL, sessions_lost = 0, told_held = NULL, link = ?5, remote_id = ?6, expires = ?7, proof = ?8 WHERE id = ?1",
    )?;
    let Outcome { link, remote_id, expires_ms, proof } = outcome;
    update.execute(params![job.0, state.word(), now_ms, done_at, link, remote_id, expires_ms, proof.word()])?;
    if state == State::Uploaded {
        deliveries::review(c, job, rules, now_ms)?;
    }
    Ok((state, made))
}

/// The state of a job that is not under way any more, whatever its attempt still has to say: somebody else has moved it.
fn moved_on(c: &Connection, job: JobId) -> Result<Option<State>, StoreError> {
    let mut select = c.prepare_cached("SELECT state FROM jobs WHERE id = ?1")?;
    let state = State::from_word(&select.query_row([job.0], |row| row.get::<_, String>(0))?);
    Ok(state
        .filter(|state| *state != State::Uploading)
        .inspect(|state| tracing::warn!(job.id = %job, "its attempt ends, but it is {state}")))
}

/// The host has these bytes without being sent them: the version that was looked at is the one that counts.
pub(super) fn sent_as(c: &Connection, job: JobId, ctime_ns: i64) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE jobs SET ctime_ns = ?2 WHERE id = ?1")?.execute(params![job.0, ctime_ns])?;
    Ok(())
}

pub(super) fn path(c: &Connection, job: JobId) -> Result<PathBuf, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT d.path, f.name FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder WHERE j.id = ?1",
    )?;
    Ok(select.query_row([job.0], |row| Ok(path_of(row.get(0)?, row.get(1)?)))?)
}

/// Answers whether a delivery may be due.
pub(super) fn put_back(c: &Connection, job: JobId, put_back: &PutBack, rules: &Rules, now_ms: i64) -> Result<bool, StoreError> {
    if moved_on(c, job)?.is_some() {
        return Ok(false);
    }
    let (lost, maybe_duplicate) = uploads::keep(c, job, put_back.session)?;
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = ?2, since = ?3, next_try = ?4, why = ?5, failures = ?6,
                sessions_lost = sessions_lost + ?7, maybe_duplicate = max(maybe_duplicate, ?8), failing = ?9, alike = ?10,
                failing_since = ?11 WHERE id = ?1",
    )?;
    let PutBack { state, why, next_try_ms, failures, failing, failing_since_ms, .. } = put_back;
    let (failing, alike) = failing.as_ref().map_or((None, 0), |(kind, alike)| (Some(kind), *alike));
    let values =
        params![job.0, state.word(), now_ms, next_try_ms, why, failures, lost, maybe_duplicate, failing, alike, failing_since_ms];
    update.execute(values)?;
    if state.is_final() {
        uploads::forget_digest(c, job)?;
    }
    if *state == State::Gone {
        files::forget(c, job.0)?;
    }
    deliveries::after_leaving(c, job, *state, why.as_deref(), rules, now_ms)
}

pub(super) fn host_status(c: &Connection, host: &str, status: &HostStatus, now_ms: i64) -> Result<(), StoreError> {
    let mut update =
        c.prepare_cached("UPDATE hosts SET state = ?2, until = ?3, why = ?4, since = ?5, rests = ?6 WHERE name = ?1")?;
    update.execute(params![host, status.state, status.until_ms, status.why, now_ms, status.rests])?;
    Ok(())
}

pub(super) fn release_held(c: &Connection, host: &str, now_ms: i64) -> Result<(), StoreError> {
    let mut update = c.prepare_cached("UPDATE jobs SET next_try = ?2 WHERE host = ?1 AND state = 'held' AND next_try > ?2")?;
    update.execute(params![host, now_ms])?;
    Ok(())
}

pub(super) fn watch_status(c: &Connection, path: &std::path::Path, status: &WatchStatus) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE watches SET state = ?2, events = ?3, last_scan = coalesce(?4, last_scan), settling = ?5, gaps_seen = ?6, why = ?7
         WHERE path = ?1",
    )?;
    let WatchStatus { state, events, last_scan_ms, settling, gaps_seen, why } = status;
    let path = path.as_os_str().as_bytes();
    update.execute(params![path, state, events, last_scan_ms, settling.cast_signed(), gaps_seen.cast_signed(), why])?;
    Ok(())
}

pub(super) fn live(c: &Connection, live: &[Live], now_ms: i64) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM live")?.execute([])?;
    let mut insert = c.prepare_cached("INSERT INTO live (job, sent, per_second, at) VALUES (?1, ?2, ?3, ?4)")?;
    for Live { job, sent, per_second } in live {
        insert.execute(params![job.0, sent.cast_signed(), per_second.cast_signed(), now_ms])?;
    }
    Ok(())
}
