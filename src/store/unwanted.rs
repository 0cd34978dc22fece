//! SQL for jobs whose files do not go to their hosts any more, because the host was taken out of the watch, or the watch out of the
//! configuration. They rest: `waiting`, without a time. Their sessions are kept for a day, in case the line comes back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::job::believed::after;
use crate::job::verdict::RECHECK;
use crate::job::{JobId, Reason, State, Watches};

use super::error::StoreError;
use super::rows::{CLAIMABLE, claimed_of};
use super::uploads;
use super::values::{Asking, Caller, Claimed};

/// How long the session of a job is kept that rests.
pub(super) const SESSION_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long after it was opened the session of a job that is over is given back again where that has failed.
pub(super) const SESSION_OWED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Jobs looked at between two changes.
const PAGE: usize = 10_000;

/// Answers how many jobs rest now that did not before, and how many go on. Where the watches are those of the last time, there is
/// nothing to look for.
pub(super) fn follow_watches(c: &Connection, by: Caller, watches: &Watches) -> Result<(u64, u64), StoreError> {
    if watches.is_empty() {
        return Ok((0, 0));
    }
    forget_sessions(c, by)?;
    let (key, routes) = (routes_key(by), routes(watches));
    let before: Option<String> = c.query_row("SELECT value FROM notes WHERE key = ?1", [&key], |row| row.get(0)).optional()?;
    if before.as_ref() == Some(&routes) {
        return Ok((0, 0));
    }
    let mut changed = (0, 0);
    let mut folders = HashMap::new();
    for state in [State::Queued, State::Waiting, State::Held] {
        let mut last = 0;
        loop {
            let page = page(c, by, state, last)?;
            let Some(end) = page.last() else { break };
            last = end.id;
            for job in page {
                let folder = match folders.entry(job.folder) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(folder(c, job.folder)?),
                };
                match watches.unwanted(folder, &job.host) {
                    Some(why) => changed.0 += u64::from(rest(c, by, &job, &why)?),
                    None => changed.1 += u64::from(job.rests && go_on(c, by, &job)?),
                }
            }
        }
    }
    if unwanted_under_way(c, by, watches)?.is_empty() {
        c.execute("INSERT OR REPLACE INTO notes (key, value) VALUES (?1, ?2)", [&key, &routes])?;
    } else {
        c.execute("DELETE FROM notes WHERE key = ?1", [&key])?;
    }
    Ok(changed)
}

/// Jobs that upload though their files do not go to their hosts.
pub(super) fn unwanted_under_way(c: &Connection, by: Caller, watches: &Watches) -> Result<Vec<JobId>, StoreError> {
    let mut found = Vec::new();
    // No more are claimed at once than are looked at together.
    for job in page(c, by, State::Uploading, 0)? {
        if watches.unwanted(&folder(c, job.folder)?, &job.host).is_some() {
            found.push(JobId(job.id));
        }
    }
    Ok(found)
}

/// A job was queued by a person: it rests if its file, in `folder`, does not go to its host. Where the watches are not known, the next
/// start looks at every job.
pub(super) fn look_at(
    c: &Connection,
    by: Caller,
    job: JobId,
    folder: &Path,
    host: &str,
    watches: Option<&Watches>,
) -> Result<(), StoreError> {
    let Some(watches) = watches else {
        c.prepare_cached("DELETE FROM notes WHERE key = ?1")?.execute([routes_key(by)])?;
        return Ok(());
    };
    let Some(why) = watches.unwanted(folder, host).filter(|_| !watches.is_empty()) else { return Ok(()) };
    if c.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1 AND one_off")?.exists([job.0])? {
        return Ok(());
    }
    rest(c, by, &Found { id: job.0, host: host.to_owned(), folder: 0, rests: false }, &why).map(drop)
}

/// Under what is noted which files went where the last time.
fn routes_key(by: Caller) -> String {
    format!("routes of daemon {}", by.daemon.0)
}

/// Which files go where, in a text.
fn routes(watches: &Watches) -> String {
    watches.iter().map(|watch| format!("{:?} {} {:?}\n", watch.path, watch.recursive, watch.to)).collect()
}

struct Found {
    id: i64,
    host: String,
    folder: i64,
    /// Whether it rests already.
    rests: bool,
}

/// Jobs in `state` after the one of this number. One that only a person lets go is held anyway.
fn page(c: &Connection, by: Caller, state: State, last: i64) -> Result<Vec<Found>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT j.id, j.host, f.folder, j.state = 'waiting' AND j.next_try IS NULL FROM jobs j JOIN files f ON f.id = j.file
         WHERE j.state = ?1 AND j.id > ?2 AND j.owner = ?3 AND NOT j.one_off AND NOT (j.state = 'held' AND j.next_try IS NULL)
         ORDER BY j.id LIMIT ?4",
    )?;
    let rows = select.query_map(params![state.word(), last, by.daemon.0, PAGE as i64], |row| {
        Ok(Found { id: row.get(0)?, host: row.get(1)?, folder: row.get(2)?, rests: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn folder(c: &Connection, folder: i64) -> Result<PathBuf, StoreError> {
    let mut select = c.prepare_cached("SELECT path FROM folders WHERE id = ?1")?;
    Ok(OsString::from_vec(select.query_row([folder], |row| row.get(0))?).into())
}

/// A session whose finish may have taken effect is not given back: the host may have made a file of it.
fn rest(c: &Connection, by: Caller, job: &Found, why: &Reason) -> Result<bool, StoreError> {
    if job.rests {
        c.prepare_cached("UPDATE jobs SET why = ?2 WHERE id = ?1 AND why IS NOT ?2")?.execute(params![job.id, why])?;
        return Ok(false);
    }
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = 'waiting', since = ?2, next_try = NULL, why = ?3, told_held = NULL,
                abandon_at = (SELECT ?4 FROM uploads WHERE job = jobs.id AND NOT committing) WHERE id = ?1",
    )?;
    Ok(update.execute(params![job.id, by.now_ms, why, after(by.now_ms, SESSION_KEPT)])? > 0)
}

fn go_on(c: &Connection, by: Caller, job: &Found) -> Result<bool, StoreError> {
    let mut update =
        c.prepare_cached("UPDATE OR FAIL jobs SET state = 'queued', since = ?2, why = NULL, abandon_at = NULL WHERE id = ?1")?;
    Ok(update.execute(params![job.id, by.now_ms])? > 0)
}

/// What nobody can give back any more, because its host is not configured, is forgotten. No session is kept for longer than from
/// now, whatever clock said until when.
fn forget_sessions(c: &Connection, by: Caller) -> Result<(), StoreError> {
    c.execute("UPDATE jobs SET abandon_at = ?1 WHERE abandon_at > ?1", [after(by.now_ms, SESSION_KEPT)])?;
    let mut select = c.prepare(
        "SELECT id FROM jobs WHERE abandon_at <= ?1 AND owner = ?2 AND host NOT IN (SELECT name FROM hosts WHERE daemon = ?2)",
    )?;
    let jobs: Vec<i64> = select.query_map([by.now_ms, by.daemon.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for job in jobs {
        uploads::forget_upload(c, JobId(job))?;
        c.prepare_cached("UPDATE jobs SET abandon_at = NULL WHERE id = ?1")?.execute([job])?;
    }
    Ok(())
}

/// Claims for each host that has room one job whose session is to be given back. Answers when the next one is.
pub(super) fn claim(
    c: &Connection,
    by: Caller,
    asking: &[Asking],
    uploads_max: usize,
    jobs: &mut Vec<Claimed>,
) -> Result<Option<i64>, StoreError> {
    if !c.prepare_cached("SELECT 1 FROM jobs WHERE abandon_at IS NOT NULL LIMIT 1")?.exists([])? {
        return Ok(None);
    }
    let running: usize = asking.iter().map(|asking| asking.uploads).sum();
    let mut next = None;
    for Asking { host, room, .. } in asking {
        let given = jobs.iter().filter(|job| job.host == *host).count();
        if given < *room && running + jobs.len() < uploads_max {
            jobs.extend(claim_one(c, by, host)?);
        }
        let mut select = c.prepare_cached("SELECT min(abandon_at) FROM jobs WHERE host = ?1 AND abandon_at > ?2")?;
        let at: Option<i64> = select.query_row(params![host, by.now_ms], |row| row.get(0))?;
        next = next.into_iter().chain(at).min();
    }
    Ok(next)
}

fn is_over(c: &Connection, job: JobId) -> Result<bool, StoreError> {
    Ok(c.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1 AND state IN ('cancelled', 'gone', 'failed')")?.exists([job.0])?)
}

/// A job that is over stays so. Its session is forgotten when it has been given back; where that fails, it is tried again, but not
/// for ever.
fn give_back_now(c: &Connection, by: Caller, job: Claimed) -> Result<Claimed, StoreError> {
    let upload = uploads::load(c, job.id, job.identity.size)?;
    let is_last = upload.as_ref().is_none_or(|upload| after(upload.opened_ms, SESSION_OWED) <= by.now_ms);
    if is_last {
        uploads::forget_upload(c, job.id)?;
    }
    let again_ms = Some(after(by.now_ms, RECHECK)).filter(|_| !is_last);
    c.prepare_cached("UPDATE jobs SET abandon_at = ?2 WHERE id = ?1")?.execute(params![job.id.0, again_ms])?;
    Ok(Claimed { upload, retry: true, give_back: true, is_over: true, ..job })
}

pub(super) fn record_given_back(c: &Connection, _: Caller, job: JobId) -> Result<(), StoreError> {
    if is_over(c, job)? {
        uploads::forget_upload(c, job)?;
        c.prepare_cached("UPDATE jobs SET abandon_at = NULL WHERE id = ?1")?.execute([job.0])?;
    }
    Ok(())
}

fn claim_one(c: &Connection, by: Caller, host: &str) -> Result<Option<Claimed>, StoreError> {
    let sql = format!(
        "{CLAIMABLE} AND j.abandon_at <= ?2 AND j.state IN ('waiting', 'cancelled', 'gone', 'failed') ORDER BY j.abandon_at LIMIT 1"
    );
    let found = c.prepare_cached(&sql)?.query_row(params![host, by.now_ms], |row| claimed_of(row, by.now_ms)).optional()?;
    let Some(mut job) = found else { return Ok(None) };
    if is_over(c, job.id)? {
        return give_back_now(c, by, job).map(Some);
    }
    let mut update = c.prepare_cached("UPDATE jobs SET state = 'uploading', since = ?2, owner = ?3 WHERE id = ?1")?;
    update.execute(params![job.id.0, by.now_ms, by.daemon.0])?;
    job.upload = uploads::load(c, job.id, job.identity.size)?;
    (job.retry, job.give_back) = (true, true);
    Ok(Some(job))
}
