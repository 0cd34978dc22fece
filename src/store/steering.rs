//! SQL for what people order: jobs that are paused, resumed, cancelled, tried at once or uploaded anew. What follows for each job is
//! decided by `job::steer`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::job::absence::NO_DEVICE;
use crate::job::steer::{Effect, Order, Selection, Steerable, Steered};
use crate::job::{JobId, State};

use super::error::StoreError;
use super::rows::path_of;
use super::values::{Caller, Rules, Steer};
use super::{deliveries, unwanted, uploads};

/// Jobs that one call moves at most, so that acks do not wait long for it.
const PAGE: usize = 1000;

/// A job that matches.
struct Found {
    id: JobId,
    host: String,
    folder: PathBuf,
    job: Steerable,
}

/// Carries out an order for the jobs after `steer.after`. Answers whether a delivery may be due, too.
pub(super) fn steer(c: &Connection, by: Caller, steer: &Steer, rules: Option<&Rules>) -> Result<(Steered, bool), StoreError> {
    let found = page(c, steer)?;
    let mut steered = Steered::default();
    if found.len() == PAGE {
        steered.next = found.last().map(|last| last.id);
    }
    let mut due = false;
    for found in found {
        let effect = possible(c, found.id, steer.order.effect(found.job))?;
        due |= apply(c, by, &found, effect, rules)?;
        steered.note(found.id, found.job.state, effect);
        if steer.order == Order::Retry && effect != Effect::Nothing {
            steered.hosts.insert(found.host);
        }
    }
    Ok((steered, due))
}

/// What an order would do to the jobs after `after`, a page at a time.
pub(super) fn foresee(c: &Connection, steer: &Steer) -> Result<Steered, StoreError> {
    let found = page(c, steer)?;
    let mut steered = Steered { next: found.get(PAGE - 1).map(|last| last.id), ..Steered::default() };
    for found in found {
        let effect = possible(c, found.id, steer.order.effect(found.job))?;
        steered.note(found.id, found.job.state, effect);
    }
    Ok(steered)
}

/// Jobs that are named are all looked at, so that it can be told what an order does not change; of others only those that it may.
fn page(c: &Connection, steer: &Steer) -> Result<Vec<Found>, StoreError> {
    let (filter, mut values) = filter(steer.order, &steer.selection);
    values[0] = Value::Integer(steer.after.0);
    let sql = format!(
        "SELECT j.id, j.host, d.path, j.state, j.next_try IS NOT NULL, j.wanted
         FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder WHERE j.id > ?1{filter} ORDER BY j.id LIMIT {PAGE}"
    );
    let mut select = c.prepare(&sql)?;
    let found = |row: &Row<'_>| {
        let state = State::from_word(&row.get::<_, String>(3)?).unwrap_or(State::Held);
        let wanted = row.get::<_, Option<String>>(5)?.and_then(|word| State::from_word(&word));
        let job = Steerable { state, has_time: row.get(4)?, wanted, under_way: steer.under_way };
        Ok(Found { id: JobId(row.get(0)?), host: row.get(1)?, folder: path_of(row.get(2)?, Vec::new()), job })
    };
    let rows = select.query_map(params_from_iter(values), found)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first value is the caller's.
fn filter(order: Order, selection: &Selection) -> (String, Vec<Value>) {
    let mut values = vec![Value::Null];
    let mut mark = |value| {
        values.push(value);
        format!("?{}", values.len())
    };
    let mut sql = String::new();
    if selection.names() {
        let ids: Vec<i64> = selection.jobs.iter().map(|job| job.0).collect();
        let mut named =
            vec![format!("j.id IN (SELECT value FROM json_each({}))", mark(Value::Text(serde_json::json!(ids).to_string())))];
        for path in &selection.files {
            let folder = mark(blob(path.parent().unwrap_or(path)));
            let name = mark(Value::Blob(path.file_name().unwrap_or_default().as_bytes().to_vec()));
            named.push(format!("(d.path = {folder} AND f.name = {name})"));
        }
        sql.push_str(&format!(" AND ({})", named.join(" OR ")));
    }
    if !selection.below.is_empty() {
        let below = selection.below.iter().map(|path| {
            let path = mark(blob(path));
            format!("d.path = {path} OR substr(d.path, 1, length({path}) + 1) = CAST({path} || X'2F' AS BLOB)")
        });
        sql.push_str(&format!(" AND ({})", below.collect::<Vec<_>>().join(" OR ")));
    }
    if let Some(before_ms) = selection.before_ms {
        sql.push_str(&format!(" AND j.since < {}", mark(Value::Integer(before_ms))));
    }
    if !selection.hosts.is_empty() {
        sql.push_str(&format!(
            " AND j.host IN (SELECT value FROM json_each({}))",
            mark(Value::Text(serde_json::json!(selection.hosts).to_string()))
        ));
    }
    let concerned: Vec<State> = order.concerns().collect();
    let states: Vec<&str> = match (selection.states.is_empty(), selection.names()) {
        (true, true) => return (sql, values),
        (true, false) => concerned.iter().map(|state| state.word()).collect(),
        (false, _) => selection.states.iter().map(|state| state.word()).collect(),
    };
    sql.push_str(&format!(
        " AND j.state IN (SELECT value FROM json_each({}))",
        mark(Value::Text(serde_json::json!(states).to_string()))
    ));
    (sql, values)
}

fn blob(path: &Path) -> Value {
    Value::Blob(path.as_os_str().as_bytes().to_vec())
}

/// What is over is taken up again only while its version is the file's, and no other job of that version is on its way to the host.
fn possible(c: &Connection, job: JobId, effect: Effect) -> Result<Effect, StoreError> {
    if effect == Effect::Remove {
        return Ok(if may_be_removed(c, job)? { effect } else { Effect::Nothing });
    }
    if !matches!(effect, Effect::Queue | Effect::QueueAnew | Effect::FurtherJob) {
        return Ok(effect);
    }
    let mut select = c.prepare_cached(
        "SELECT 1 FROM jobs j JOIN files f ON f.id = j.file
         WHERE j.id = ?1 AND (j.state = 'paused' OR (f.version = j.version AND f.route IS NOT NULL))
           AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.file = j.file AND o.host = j.host AND o.version = j.version AND o.id <> j.id
                           AND o.state IN ('queued', 'uploading', 'waiting', 'held', 'paused', 'uploaded'))",
    )?;
    Ok(if select.exists([job.0])? { effect } else { Effect::Nothing })
}

/// Nothing is removed of a file that is on its way to a host, or has a hook or its after-action to come: the other jobs decide about
/// that. Nor is what may be on its host by accident, which a later job of the file says, or what names a later job would use again.
fn may_be_removed(c: &Connection, job: JobId) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT 1 FROM jobs j WHERE j.id = ?1 AND j.abandon_at IS NULL AND NOT (j.state = 'gone' AND j.maybe_duplicate)
           AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.file = j.file AND o.state NOT IN ('done', 'failed', 'gone', 'cancelled'))
           AND NOT EXISTS (SELECT 1 FROM jobs o JOIN deliveries d ON d.job = o.id WHERE o.file = j.file)
           AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.file = j.file AND o.host = j.host AND o.renewals < j.renewals)",
    )?;
    Ok(select.exists([job.0])?)
}

/// The file stays known with its hosts, and is not taken for one that was passed over.
fn remove(c: &Connection, job: JobId) -> Result<(), StoreError> {
    uploads::forget_upload(c, job)?;
    uploads::forget_digest(c, job)?;
    c.prepare_cached("DELETE FROM live WHERE job = ?1")?.execute([job.0])?;
    c.prepare_cached("UPDATE files SET forgotten = 1 WHERE id = (SELECT file FROM jobs WHERE id = ?1 AND NOT one_off)")?
        .execute([job.0])?;
    c.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([job.0])?;
    Ok(())
}

/// Answers whether a delivery may be due.
fn apply(c: &Connection, by: Caller, found: &Found, effect: Effect, rules: Option<&Rules>) -> Result<bool, StoreError> {
    match effect {
        Effect::Nothing => {}
        Effect::Become(State::Cancelled) => return cancel(c, by, found.id, rules),
        Effect::Become(_) => pause(c, by, found.id)?,
        Effect::Queue => {
            if found.job.state == State::Failed {
                uploads::forget_upload(c, found.id)?;
            }
            queue(c, by, found, rules)?;
        }
        Effect::QueueAnew => {
            let mut update = c.prepare_cached(
                "UPDATE jobs SET maybe_duplicate = 1 WHERE id IN (SELECT job FROM uploads WHERE job = ?1 AND committing)",
            )?;
            update.execute([found.id.0])?;
            uploads::forget_upload(c, found.id)?;
            queue(c, by, found, rules)?;
        }
        Effect::BeDue => {
            let mut update = c.prepare_cached("UPDATE OR FAIL jobs SET next_try = ?2, told_held = NULL WHERE id = ?1")?;
            update.execute([found.id.0, by.now_ms])?;
        }
        Effect::DeliverNow => return deliveries::try_now(c, by, found.id),
        Effect::LeaveAs(state) => {
            c.prepare_cached("UPDATE jobs SET wanted = ?2 WHERE id = ?1")?.execute(params![found.id.0, state.word()])?;
        }
        Effect::GoOn => {
            c.prepare_cached("UPDATE jobs SET wanted = NULL WHERE id = ?1")?.execute([found.id.0])?;
        }
        Effect::FurtherJob => further_job(c, by, found, rules)?,
        Effect::Remove => remove(c, found.id)?,
    }
    Ok(false)
}

/// The time that it rests is none in which it fails.
fn pause(c: &Connection, by: Caller, job: JobId) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = 'paused', since = ?2, next_try = NULL, why = NULL, wanted = NULL, failed_at = NULL, abandon_at = NULL WHERE id = ?1",
    )?;
    update.execute([job.0, by.now_ms])?;
    Ok(())
}

/// Answers whether a delivery may be due: an after-action may have waited for the job.
fn cancel(c: &Connection, by: Caller, job: JobId, rules: Option<&Rules>) -> Result<bool, StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = 'cancelled', since = ?2, next_try = NULL, why = NULL, wanted = NULL, failed_at = NULL WHERE id = ?1",
    )?;
    update.execute([job.0, by.now_ms])?;
    give_back_soon(c, by, job)?;
    // Without the rules nobody can tell; a start looks at whatever waits.
    rules.map_or(Ok(false), |rules| deliveries::after_leaving(c, by, job, State::Cancelled, None, rules))
}

/// The session of a job that is cancelled is given back, unless the host may have made a file of it.
pub(super) fn give_back_soon(c: &Connection, by: Caller, job: JobId) -> Result<(), StoreError> {
    uploads::forget_digest(c, job)?;
    give_back_at(c, job, by.now_ms)
}

/// The session of a job that is over is given back from this time on, unless the host may have made a file of it.
pub(super) fn give_back_at(c: &Connection, job: JobId, at_ms: i64) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE jobs SET abandon_at = (SELECT ?2 FROM uploads WHERE job = jobs.id AND NOT committing) WHERE id = ?1",
    )?;
    update.execute([job.0, at_ms])?;
    Ok(())
}

/// A job that does not go to its host any more, by the watches, rests at once; where these are not known, a start looks at all.
fn queue(c: &Connection, by: Caller, found: &Found, rules: Option<&Rules>) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = 'queued', since = ?2, next_try = NULL, why = NULL, failures = 0, failing = NULL, alike = 0,
                failing_ms = NULL, failed_at = NULL, told_held = NULL, abandon_at = NULL, owner = ?3 WHERE id = ?1",
    )?;
    update.execute([found.id.0, by.now_ms, by.daemon.0])?;
    unwanted::look_at(c, by, found.id, &found.folder, &found.host, rules.map(|rules| &rules.watches))
}

/// A job beside one that is done, for the file as it is known now. Whoever follows the numbers of disks follows them for jobs that are
/// not over, so nobody knows what disk a file is on that has gone since. Where the host keeps files by names, it takes none that has a link.
fn further_job(c: &Connection, by: Caller, found: &Found, rules: Option<&Rules>) -> Result<(), StoreError> {
    let mut insert = c.prepare_cached(
        "INSERT INTO jobs (file, host, device, inode, size, mtime_ns, ctime_ns, born_ns, state, priority, queued_at, since, owner, version, close_seen, one_off, renewals)
         SELECT f.id, j.host, ?4, f.inode, f.size, f.mtime_ns, f.ctime_ns, f.born_ns, 'queued', j.priority, ?2, ?2, ?3, j.version, j.close_seen, j.one_off,
                1 + (SELECT max(renewals) FROM jobs o WHERE o.file = j.file AND o.host = j.host)
         FROM jobs j JOIN files f ON f.id = j.file WHERE j.id = ?1",
    )?;
    let id = JobId(insert.insert([found.id.0, by.now_ms, by.daemon.0, NO_DEVICE])?);
    unwanted::look_at(c, by, id, &found.folder, &found.host, rules.map(|rules| &rules.watches))
}

/// What was ordered for a job under way, if anything was.
pub(super) fn wanted(c: &Connection, job: JobId) -> Result<Option<State>, StoreError> {
    let mut select = c.prepare_cached("SELECT wanted FROM jobs WHERE id = ?1 AND wanted IS NOT NULL")?;
    let word: Option<String> = select.query_row([job.0], |row| row.get(0)).optional()?;
    Ok(word.and_then(|word| State::from_word(&word)))
}

/// What an earlier run was told to leave, and did not live to, is where it was ordered.
pub(super) fn recover(c: &Connection, by: Caller) -> Result<(), StoreError> {
    let mut select = c.prepare("SELECT id, wanted FROM jobs WHERE state = 'uploading' AND wanted IS NOT NULL AND owner = ?1")?;
    let rows = select.query_map([by.daemon.0], |row| Ok((JobId(row.get(0)?), row.get::<_, String>(1)?)))?;
    for (job, wanted) in rows.collect::<Result<Vec<_>, _>>()? {
        if State::from_word(&wanted) == Some(State::Cancelled) {
            cancel(c, by, job, None)?;
        } else {
            pause(c, by, job)?;
        }
    }
    Ok(())
}
