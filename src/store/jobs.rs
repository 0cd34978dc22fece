//! SQL for jobs: claim, end, leave; and the rows that people look at.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use crate::job::absence::RootFolder;
use crate::job::attempt::SessionFate;
use crate::job::believed::{LONGEST_TO_NEXT_TRY, after, believed};
use crate::job::share::{self, Holder, RETRIES_COMPARED};
use crate::job::steer;
use crate::job::upload::Outcome;
use crate::job::verdict::RECHECK;
use crate::job::verdict::{LONGEST_BACKOFF_OFFLINE, LONGEST_WAIT};
use crate::job::{HostReport, JobId, Reason, State, WatchReport};

use super::error::StoreError;
use super::rows::{CLAIMABLE, claimed_of, path_of};
use super::values::{Asking, Caller, Claimed, Claims, Live, Recorded, Resting, ReturnedJob, Rules, Turns, Version};
use super::{deliveries, files, steering, unwanted, uploads};

/// Claims of an earlier run are claims no more: there are no leases and no clocks, because a daemon runs once. A held host or
/// job is looked at again, since a restart is how a person says that something was mended.
pub(super) fn recover(c: &Connection, by @ Caller { daemon, now_ms }: Caller) -> Result<(), StoreError> {
    steering::recover(c, by)?;
    // What was only to be given back rests as before.
    c.execute(
        "UPDATE jobs SET state = 'waiting', since = ?1, next_try = NULL
         WHERE state = 'uploading' AND owner = ?2 AND abandon_at IS NOT NULL",
        [now_ms, daemon.0],
    )?;
    // What was being given back when the daemon died is given back now.
    let sql = "UPDATE jobs SET abandon_at = ?1 WHERE abandon_at > ?1 AND state IN ('cancelled', 'gone', 'failed') AND owner = ?2";
    c.execute(sql, [now_ms, daemon.0])?;
    if !planted!("claim.not_recovered") {
        c.execute(
            "UPDATE jobs SET state = 'queued', since = ?1, told_held = NULL, why = NULL WHERE state = 'uploading' AND owner = ?2",
            [now_ms, daemon.0],
        )?;
    }
    look_again(c, by)?;
    c.execute(
        "UPDATE hosts SET state = 'ready', until = NULL, why = NULL, since = ?1
         WHERE daemon = ?2 AND state <> 'ready' AND NOT (state = 'resting' AND until > ?1)",
        [now_ms, daemon.0],
    )?;
    for Resting { host, left, .. } in resting_hosts(c, by)? {
        let until_ms = after(now_ms, left);
        let sql = "UPDATE hosts SET until = ?2, since = ?3 WHERE daemon = ?4 AND name = ?1 AND until > ?2";
        c.execute(sql, params![host, until_ms, now_ms, daemon.0])?;
    }
    c.execute("DELETE FROM live WHERE daemon = ?1", [daemon.0])?;
    Ok(())
}

/// What jobs wait for or are held by may have been mended: they are due now.
pub(super) fn look_again(c: &Connection, Caller { daemon, now_ms }: Caller) -> Result<(), StoreError> {
    c.execute(
        "UPDATE jobs SET next_try = ?1, told_held = NULL, failed_at = NULL
         WHERE state IN ('waiting', 'held') AND next_try IS NOT NULL AND owner = ?2",
        [now_ms, daemon.0],
    )?;
    Ok(())
}

/// What waits for a time is due now: the clock that said when was another one.
fn be_due(c: &Connection, by: Caller) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET next_try = ?1, failed_at = NULL
         WHERE state IN ('waiting', 'held') AND next_try > ?1 AND owner = ?2",
    )?;
    update.execute([by.now_ms, by.daemon.0])?;
    Ok(())
}

pub(super) fn network_changed(c: &Connection, by: Caller, hosts: &[String]) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET next_try = ?1
         WHERE state = 'waiting' AND next_try > ?1 AND next_try <= ?2 AND host = ?3 AND owner = ?4",
    )?;
    for host in hosts {
        update.execute(params![by.now_ms, after(by.now_ms, LONGEST_BACKOFF_OFFLINE), host, by.daemon.0])?;
    }
    Ok(())
}

/// Jobs and deliveries alike.
pub(super) fn clock_was_set_back(c: &Connection, by: Caller) -> Result<(), StoreError> {
    be_due(c, by)?;
    deliveries::be_due(c, by)
}

pub(super) fn resting_hosts(c: &Connection, Caller { daemon, now_ms }: Caller) -> Result<Vec<Resting>, StoreError> {
    let mut select =
        c.prepare_cached("SELECT name, until, since, rests FROM hosts WHERE daemon = ?2 AND state = 'resting' AND until > ?1")?;
    let rows = select.query_map([now_ms, daemon.0], |row| {
        Ok(Resting { host: row.get(0)?, left: rest_left(row.get(1)?, row.get(2)?, now_ms), rests: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What is left of a rest: no more than the whole of it, whatever the clock says that it began by.
fn rest_left(until_ms: i64, since_ms: i64, now_ms: i64) -> Duration {
    let between = |from_ms, to_ms: i64| Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0));
    let whole = between(since_ms, until_ms).min(LONGEST_WAIT);
    let longest = if planted!("rest.believed_without_end") { Duration::MAX } else { whole };
    believed(until_ms, now_ms, longest).map_or(whole, |until_ms| between(now_ms, until_ms))
}

pub(super) fn configure(
    c: &Connection,
    Caller { daemon, now_ms }: Caller,
    watches: &[PathBuf],
    hosts: &[(String, String)],
) -> Result<Vec<Option<i64>>, StoreError> {
    c.execute("UPDATE watches SET configured = 0 WHERE daemon = ?1", [daemon.0])?;
    let mut new_since = Vec::with_capacity(watches.len());
    for path in watches {
        let path = path.as_os_str().as_bytes();
        // A first scan that was cut short begins again: only what it has finished counts.
        let sql = "SELECT iif(last_scan IS NULL, first_seen, NULL) FROM watches WHERE daemon = ?1 AND path = ?2";
        let known: Option<Option<i64>> = c.query_row(sql, params![daemon.0, path], |row| row.get(0)).optional()?;
        // A clock that was ahead then must not have everything pass for old.
        new_since.push(known.unwrap_or(Some(now_ms)).map(|first_seen| first_seen.min(now_ms)));
        c.execute(
            "INSERT INTO watches (path, first_seen, daemon) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET configured = 1, state = 'starting', settling = 0, why = NULL",
            params![path, now_ms, daemon.0],
        )?;
    }
    let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
    let sql = "DELETE FROM hosts WHERE daemon = ?2 AND name NOT IN (SELECT value FROM json_each(?1))";
    c.execute(sql, params![serde_json::json!(names).to_string(), daemon.0])?;
    for (name, kind) in hosts {
        c.execute(
            "INSERT INTO hosts (name, kind, state, since, daemon) VALUES (?1, ?2, 'ready', ?3, ?4)
             ON CONFLICT DO UPDATE SET kind = excluded.kind",
            params![name, kind, now_ms, daemon.0],
        )?;
    }
    Ok(new_since)
}

// What moves jobs by the thousand says `OR FAIL`. A statement that fails takes its whole transaction with it anyway (`thread`), so
// SQLite need not keep copies of pages to undo that statement alone.

const CLAIM: &str = "UPDATE OR FAIL jobs SET state = 'uploading', since = ?2, attempts = attempts + 1, why = NULL, next_try = NULL,
        owner = ?3 WHERE id = ?1";

/// Those of the highest priority go first, of as many as have waited longest.
pub(super) fn due_sql() -> String {
    let longest = format!(
        "SELECT id FROM jobs WHERE host = ?1 AND state IN ('waiting', 'held') AND next_try <= ?3 ORDER BY next_try LIMIT {RETRIES_COMPARED}"
    );
    format!("{CLAIMABLE} AND j.id IN ({longest}) ORDER BY j.priority DESC, j.next_try LIMIT ?2")
}

pub(super) fn ready_sql() -> String {
    format!("{CLAIMABLE} AND j.state = 'queued' ORDER BY j.priority DESC, j.id LIMIT ?2")
}

/// The smallest of those that come first, as far as they are smaller than that.
pub(super) fn small_sql() -> String {
    let first = "SELECT id FROM jobs WHERE host = ?1 AND state = 'queued' ORDER BY priority DESC, size, id LIMIT ?2";
    format!("{CLAIMABLE} AND j.id IN ({first}) AND j.size < ?3")
}

pub(super) const DUE_COUNT: &str = "SELECT count(*) FROM
    (SELECT 1 FROM jobs WHERE host = ?1 AND state IN ('waiting', 'held') AND next_try <= ?3 LIMIT ?2)";

pub(super) const READY_COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE host = ?1 AND state = 'queued' LIMIT ?2)";

pub(super) const DISBELIEVE: &str =
    "UPDATE OR FAIL jobs SET next_try = ?2 WHERE host = ?1 AND state IN ('waiting', 'held') AND next_try > ?3";

pub(super) fn claim(
    c: &Connection,
    by @ Caller { now_ms, .. }: Caller,
    asking: &[Asking],
    uploads_max: usize,
) -> Result<Claims, StoreError> {
    let there: Vec<There> = asking.iter().map(|asking| there(c, asking, now_ms)).collect::<Result<_, _>>()?;
    let holder = |(asking, there): (&Asking, &There)| Holder {
        holds: asking.uploads,
        limit: asking.uploads_max,
        wants: asking.room.min(there.due + there.new),
        served: asking.served,
    };
    let holders: Vec<Holder> = asking.iter().zip(&there).map(holder).collect();
    let mut jobs = Vec::new();
    for ((asking, there), given) in asking.iter().zip(&there).zip(share::places(uploads_max, &holders)) {
        let (host, Turns { retries, new, small, small_bytes }) = (&asking.host, asking.turns(there.due, there.new, given));
        claim_by(c, &due_sql(), retries, &mut jobs, |room| (host, room, now_ms), true, by)?;
        let before = jobs.len();
        claim_by(c, &small_sql(), small, &mut jobs, |room| (host, room, small_bytes), false, by)?;
        let others = new.saturating_sub(jobs.len() - before);
        claim_by(c, &ready_sql(), others, &mut jobs, |room| (host, room), false, by)?;
    }
    let next_to_abandon_ms = unwanted::claim(c, by, asking, uploads_max, &mut jobs)?;
    let next_due_ms = there.into_iter().filter_map(|there| there.next_due_ms).chain(next_to_abandon_ms).min();
    Ok(Claims { jobs, next_due_ms })
}

/// What a host could be given, counted as far as it has room, and when its next job is due.
#[derive(Default)]
struct There {
    due: usize,
    new: usize,
    next_due_ms: Option<i64>,
}

fn there(c: &Connection, asking: &Asking, now_ms: i64) -> Result<There, StoreError> {
    if asking.room == 0 {
        return Ok(There::default());
    }
    let (host, room) = (&asking.host, asking.room as i64);
    let new = c.prepare_cached(READY_COUNT)?.query_row(params![host, room], count)?;
    if next_due(c, host, i64::MIN)?.is_none() {
        return Ok(There { new, ..There::default() });
    }
    c.prepare_cached(DISBELIEVE)?.execute(params![host, now_ms, after(now_ms, LONGEST_TO_NEXT_TRY)])?;
    let due = c.prepare_cached(DUE_COUNT)?.query_row(params![host, room, now_ms], count)?;
    Ok(There { due, new, next_due_ms: next_due(c, host, now_ms)? })
}

fn count(row: &Row<'_>) -> rusqlite::Result<usize> {
    Ok(row.get::<_, u32>(0)? as usize)
}

/// When the first job of `host` is due of those that are due later than `after_ms`.
fn next_due(c: &Connection, host: &str, after_ms: i64) -> Result<Option<i64>, StoreError> {
    let mut select =
        c.prepare_cached("SELECT min(next_try) FROM jobs WHERE host = ?1 AND state IN ('waiting', 'held') AND next_try > ?2")?;
    Ok(select.query_row(params![host, after_ms], |row| row.get(0))?)
}

/// Claims up to `room` of what `sql` finds.
fn claim_by<P: Params>(
    c: &Connection,
    sql: &str,
    room: usize,
    into: &mut Vec<Claimed>,
    values: impl FnOnce(i64) -> P,
    retry: bool,
    by: Caller,
) -> Result<(), StoreError> {
    if room == 0 {
        return Ok(());
    }
    let mut select = c.prepare_cached(sql)?;
    let claimed = |row: &Row<'_>| claimed_of(row, by.now_ms);
    let found: Vec<Claimed> = select.query_map(values(room as i64), claimed)?.collect::<Result<_, _>>()?;
    let mut update = c.prepare_cached(CLAIM)?;
    for mut job in found {
        update.execute(params![job.id.0, by.now_ms, by.daemon.0])?;
        job.upload = uploads::load(c, job.id, job.identity.size)?;
        job.retry = retry;
        into.push(job);
    }
    Ok(())
}

/// Where no hook and no after-action is to come, a job that is uploaded is done in the same commit. Answers its state, and whether
/// a delivery may be to come.
pub(super) fn record_outcome(
    c: &Connection,
    by @ Caller { now_ms, .. }: Caller,
    job: JobId,
    outcome: &Outcome,
    rules: &Rules,
) -> Result<(State, bool), StoreError> {
    if let Some(state) = moved_on(c, by, job)? {
        return Ok((state, false));
    }
    let (state, made) = deliveries::after_upload(c, by, job, outcome, rules)?;
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = ?2, since = ?3, done_at = ?3, parts = coalesce((SELECT parts FROM uploads WHERE job = ?1), 0),
                trusted = ?4, next_try = NULL, why = NULL, failures = 0, failing = NULL, alike = 0,
                failing_ms = NULL, failed_at = NULL, sessions_lost = 0, told_held = NULL, wanted = NULL, link = ?5, remote_id = ?6, expires = ?7, proof = ?8, stored_name = ?9,
                stored_bytes = ?10, maybe_duplicate = max(maybe_duplicate, ?11) WHERE id = ?1",
    )?;
    let Outcome { link, remote_id, expires_ms, proof, name, bytes, maybe_duplicate } = outcome;
    let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok());
    let trusted = !rules.trusted.is_empty() && rules.trusted.contains(&host(c, job)?);
    let proof = proof.word();
    update.execute(params![
        job.0,
        state.word(),
        now_ms,
        trusted,
        link,
        remote_id,
        expires_ms,
        proof,
        name,
        bytes,
        maybe_duplicate
    ])?;
    uploads::forget_upload(c, job)?;
    uploads::forget_digest(c, job)?;
    if state == State::Uploaded {
        deliveries::review(c, by, job, rules)?;
    }
    Ok((state, made))
}

fn host(c: &Connection, job: JobId) -> Result<String, StoreError> {
    Ok(c.prepare_cached("SELECT host FROM jobs WHERE id = ?1")?.query_row([job.0], |row| row.get(0))?)
}

/// The state of a job that this daemon works on no more, whatever its attempt still has to say: somebody else has moved it.
fn moved_on(c: &Connection, by: Caller, job: JobId) -> Result<Option<State>, StoreError> {
    let mut select = c.prepare_cached("SELECT state, owner FROM jobs WHERE id = ?1")?;
    let (word, owner): (String, i64) = select.query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let ours = owner == by.daemon.0;
    Ok(State::from_word(&word).filter(|state| *state != State::Uploading || !ours).inspect(
        |state| tracing::warn!(job.id = %job, "its upload ended here, but the job is {state} and daemon {owner} claimed it last"),
    ))
}

pub(super) fn record_wait(c: &Connection, by: Caller, job: JobId, why: Option<&Reason>) -> Result<(), StoreError> {
    let mut update = c.prepare_cached("UPDATE jobs SET why = ?3 WHERE id = ?1 AND owner = ?2 AND state = 'uploading'")?;
    update.execute(params![job.0, by.daemon.0, why])?;
    Ok(())
}

/// The version that was looked at is the one that counts.
pub(super) fn record_version(c: &Connection, by: Caller, job: JobId, version: &Version) -> Result<Recorded, StoreError> {
    if !uploads::is_ours(c, by, job)? {
        return Ok(Recorded::NotOurs);
    }
    if !files::keep_fingerprint(c, job.0, version)? {
        return Ok(Recorded::OtherVersion);
    }
    uploads::note_ctime(c, job, version.identity.ctime_ns)?;
    Ok(Recorded::Yes)
}

pub(super) fn path(c: &Connection, _: Caller, job: JobId) -> Result<PathBuf, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT d.path, f.name FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder WHERE j.id = ?1",
    )?;
    Ok(select.query_row([job.0], |row| Ok(path_of(row.get(0)?, row.get(1)?)))?)
}

pub(super) fn return_job(
    c: &Connection,
    by @ Caller { now_ms, .. }: Caller,
    job: JobId,
    returned: &ReturnedJob,
    rules: &Rules,
) -> Result<Option<bool>, StoreError> {
    if moved_on(c, by, job)?.is_some() {
        return Ok(None);
    }
    let is_in_doubt = returned.state == State::Gone && uploads::is_in_doubt(c, job)?;
    let (lost, maybe_duplicate) = uploads::keep(c, job, returned.session)?;
    let maybe_duplicate = maybe_duplicate || is_in_doubt;
    let state = steer::left(steering::wanted(c, job)?, returned.state);
    let is_steered = state != returned.state;
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = ?2, since = ?3, next_try = ?4, why = ?5, failures = ?6,
                sessions_lost = sessions_lost + ?7, maybe_duplicate = max(maybe_duplicate, ?8), failing = ?9, alike = ?10,
                 failing_ms = ?11, failed_at = ?12, abandon_at = NULL, wanted = NULL WHERE id = ?1",
    )?;
    let ReturnedJob { why, next_try_ms, failures, failing, failing_for, counts, .. } = returned;
    let (why, next_try_ms) = (why.as_ref().filter(|_| !is_steered), next_try_ms.filter(|_| !is_steered));
    let (failing, alike) = failing.as_ref().map_or((None, 0), |(kind, alike)| (Some(kind), *alike));
    let failing_ms = failing_for.map(|lasted| i64::try_from(lasted.as_millis()).unwrap_or(i64::MAX));
    let failed_at = (*counts && !is_steered).then_some(now_ms);
    let values = params![
        job.0,
        state.word(),
        now_ms,
        next_try_ms,
        why,
        failures,
        lost,
        maybe_duplicate,
        failing,
        alike,
        failing_ms,
        failed_at
    ];
    update.execute(values)?;
    if state.is_final() {
        uploads::forget_digest(c, job)?;
    }
    if state == State::Cancelled {
        steering::give_back_soon(c, by, job)?;
    }
    if returned.session == SessionFate::Owed && state.is_final() {
        steering::give_back_at(c, job, after(now_ms, RECHECK))?;
    }
    if state == State::Gone && !planted!("gone.remembered") {
        files::forget(c, job.0)?;
    }
    deliveries::after_leaving(c, by, job, state, why, rules).map(Some)
}

pub(super) fn record_host(
    c: &Connection,
    Caller { daemon, now_ms }: Caller,
    host: &str,
    report: &HostReport,
) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE hosts SET state = ?2, until = ?3, why = ?4, since = ?5, rests = ?6 WHERE daemon = ?7 AND name = ?1",
    )?;
    update.execute(params![host, report.state.word(), report.until_ms, report.why, now_ms, report.rests, daemon.0])?;
    Ok(())
}

pub(super) fn record_host_rest(
    c: &Connection,
    Caller { daemon, now_ms }: Caller,
    host: &str,
    until_ms: i64,
) -> Result<(), StoreError> {
    let mut update =
        c.prepare_cached("UPDATE hosts SET until = ?2, since = ?3 WHERE daemon = ?4 AND name = ?1 AND until IS NOT NULL")?;
    update.execute(params![host, until_ms, now_ms, daemon.0])?;
    Ok(())
}

pub(super) fn outages(c: &Connection, by: Caller) -> Result<Vec<(String, String)>, StoreError> {
    let mut select = c.prepare_cached("SELECT name, outage FROM hosts WHERE daemon = ?1 AND outage IS NOT NULL")?;
    let rows = select.query_map([by.daemon.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn record_outage(c: &Connection, by: Caller, host: &str, outage: Option<&str>) -> Result<(), StoreError> {
    let mut update = c.prepare_cached("UPDATE hosts SET outage = ?2 WHERE daemon = ?3 AND name = ?1")?;
    update.execute(params![host, outage, by.daemon.0])?;
    Ok(())
}

pub(super) const OTHER_PUT_OFF: &str =
    "SELECT 1 FROM jobs WHERE host = ?1 AND state IN ('waiting', 'held') AND next_try IS NOT NULL AND id <> ?2 LIMIT 1";

pub(super) const OTHER_QUEUED: &str = "SELECT 1 FROM jobs WHERE host = ?1 AND state = 'queued' AND id <> ?2 LIMIT 1";

pub(super) fn others_wait(c: &Connection, _: Caller, host: &str, job: JobId) -> Result<bool, StoreError> {
    let is_any = |sql: &str| -> Result<bool, StoreError> { Ok(c.prepare_cached(sql)?.exists(params![host, job.0])?) };
    Ok(is_any(OTHER_QUEUED)? || is_any(OTHER_PUT_OFF)?)
}

pub(super) fn requeue_held(c: &Connection, Caller { daemon, now_ms }: Caller, host: &str) -> Result<(), StoreError> {
    let mut update =
        c.prepare_cached("UPDATE jobs SET next_try = ?2 WHERE host = ?1 AND state = 'held' AND next_try > ?2 AND owner = ?3")?;
    update.execute(params![host, now_ms, daemon.0])?;
    Ok(())
}

pub(super) fn record_watch(c: &Connection, by: Caller, path: &std::path::Path, report: &WatchReport) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE watches SET state = ?2, events = ?3, last_scan = coalesce(?4, last_scan), settling = ?5, gaps_seen = ?6, why = ?7
         WHERE daemon = ?8 AND path = ?1",
    )?;
    let WatchReport { state, events, last_scan_ms, settling, gaps_seen, why } = report;
    let (path, state, events) = (path.as_os_str().as_bytes(), state.word(), events.word());
    let (settling, gaps_seen) = (settling.cast_signed(), gaps_seen.cast_signed());
    update.execute(params![path, state, events, last_scan_ms, settling, gaps_seen, why, by.daemon.0])?;
    Ok(())
}

pub(super) fn known_roots(c: &Connection, by: Caller) -> Result<Vec<(PathBuf, RootFolder)>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT path, device, inode, born_ns FROM watches WHERE daemon = ?1 AND device IS NOT NULL AND inode IS NOT NULL AND born_ns IS NOT NULL",
    )?;
    let root = |row: &Row<'_>| {
        let path = PathBuf::from(OsString::from_vec(row.get(0)?));
        Ok((path, RootFolder { device: row.get(1)?, inode: row.get(2)?, born_ns: row.get(3)? }))
    };
    let rows = select.query_map([by.daemon.0], root)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A file system that has come back under another number has it for all files of the watch, those included that no scan meets any
/// more: whether these are gone is asked of the disk they were on.
fn follow_device(c: &Connection, by: Caller, watch: &std::path::Path, device: i64) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE jobs SET device = ?3
         WHERE state IN ('queued', 'uploading', 'waiting', 'held', 'paused', 'uploaded') AND device <> ?3
           AND device = (SELECT device FROM watches WHERE daemon = ?1 AND path = ?2)
           AND EXISTS (SELECT 1 FROM files f JOIN folders d ON d.id = f.folder WHERE f.id = jobs.file
                       AND (d.path = ?2 OR substr(d.path, 1, length(?2) + 1) = CAST(?2 || x'2f' AS BLOB)))",
    )?;
    update.execute(params![by.daemon.0, watch.as_os_str().as_bytes(), device])?;
    Ok(())
}

pub(super) fn record_root(c: &Connection, by: Caller, watch: &std::path::Path, root: &RootFolder) -> Result<(), StoreError> {
    let RootFolder { device, inode, born_ns } = root;
    follow_device(c, by, watch, *device)?;
    let mut update =
        c.prepare_cached("UPDATE watches SET device = ?3, inode = ?4, born_ns = ?5 WHERE daemon = ?1 AND path = ?2")?;
    update.execute(params![by.daemon.0, watch.as_os_str().as_bytes(), device, inode, born_ns])?;
    Ok(())
}

pub(super) fn record_progress(c: &Connection, Caller { daemon, now_ms }: Caller, live: &[Live]) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM live WHERE daemon = ?1")?.execute([daemon.0])?;
    let mut insert = c.prepare_cached("INSERT INTO live (job, sent, per_second, at, daemon) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for Live { job, sent, per_second } in live {
        insert.execute(params![job.0, sent.cast_signed(), per_second.cast_signed(), now_ms, daemon.0])?;
    }
    Ok(())
}
