//! SQL for half-sent uploads: sessions, plans, acks.

use rusqlite::{Connection, OptionalExtension, params};

use crate::job::attempt::SessionFate;
use crate::job::digest::{Algorithm, Digest, MidState};
use crate::job::plan::Plan;
use crate::job::upload::{Ack, ConfirmedParts, Order, Session, Shape};
use crate::job::{JobId, SentHash};

use super::error::StoreError;
use super::files;
use super::values::{Caller, DaemonId, Recorded, Upload, Version};

/// Whether nobody else has claimed the job since this daemon did.
pub(super) fn is_ours(c: &Connection, by: Caller, job: JobId) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached("SELECT owner FROM jobs WHERE id = ?1")?;
    let owner = DaemonId(select.query_row([job.0], |row| row.get(0))?);
    if owner != by.daemon {
        tracing::warn!(job.id = %job, "its upload continues here, but daemon {} has claimed the job; not recording its progress", owner.0);
    }
    Ok(owner == by.daemon)
}

pub(super) fn record_session(
    c: &Connection,
    by: Caller,
    job: JobId,
    session: &Session,
    shape: &Shape,
    plan: &Plan,
    version: &Version,
) -> Result<Recorded, StoreError> {
    if !is_ours(c, by, job)? {
        return Ok(Recorded::NotOurs);
    }
    if !files::keep_fingerprint(c, job.0, version)? {
        return Ok(Recorded::OtherVersion);
    }
    if may_have_been_finished(c, job)? {
        c.prepare_cached("UPDATE jobs SET maybe_duplicate = 1 WHERE id = ?1")?.execute([job.0])?;
    }
    forget_upload(c, job)?;
    let mut insert = c.prepare_cached(
        "INSERT INTO uploads (job, session, shape, part_bytes, parts, opened_at, sent_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
    )?;
    insert.execute(params![job.0, session.0, shape.stored(), plan.part_bytes.cast_signed(), plan.parts(), by.now_ms])?;
    note_ctime(c, job, version.identity.ctime_ns)?;
    Ok(Recorded::Yes)
}

/// What the job sends was touched before this time. A digest that was kept may be of other content.
pub(super) fn note_ctime(c: &Connection, job: JobId, ctime_ns: i64) -> Result<(), StoreError> {
    let mut update = c.prepare_cached("UPDATE jobs SET ctime_ns = ?2 WHERE id = ?1 AND ctime_ns IS NOT ?2")?;
    if update.execute(params![job.0, ctime_ns])? > 0 {
        forget_digest(c, job)?;
    }
    Ok(())
}

pub(super) fn record_begun(c: &Connection, by: Caller, job: JobId, session: &Session) -> Result<bool, StoreError> {
    if !is_ours(c, by, job)? {
        return Ok(false);
    }
    c.prepare_cached("UPDATE uploads SET session = ?2 WHERE job = ?1")?.execute(params![job.0, session.0])?;
    Ok(true)
}

pub(super) fn record_ack(
    c: &Connection,
    by: Caller,
    job: JobId,
    ack: &Ack,
    plan: &Plan,
    hash: Option<SentHash>,
) -> Result<bool, StoreError> {
    if !is_ours(c, by, job)? {
        return Ok(false);
    }
    if note_acks(c, job, std::slice::from_ref(ack), plan)? > 0 {
        // SQLite has no exclusive or; this is one, and never overflows.
        let mut update = c.prepare_cached("UPDATE uploads SET sent_hash = (sent_hash | ?2) - (sent_hash & ?2) WHERE job = ?1")?;
        update.execute(params![job.0, hash.map(|hash| hash.0)])?;
    }
    progressed(c, job)?;
    Ok(true)
}

/// What went wrong before it says nothing any more, and what goes wrong from here on is news. The row of failures
/// goes on only for a file that has lost sessions, since every new session makes progress at first.
fn progressed(c: &Connection, job: JobId) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE jobs SET failures = 0, failing = NULL, alike = 0, told_held = NULL,
                failing_ms = CASE WHEN sessions_lost > 0 THEN failing_ms END
         WHERE id = ?1 AND (failures > 0 OR told_held IS NOT NULL)",
    )?;
    update.execute([job.0])?;
    Ok(())
}

/// Answers how many of these acks are news.
fn note_acks(c: &Connection, job: JobId, acks: &[Ack], plan: &Plan) -> Result<u32, StoreError> {
    let mut news = 0;
    let mut bytes = 0;
    for ack in acks {
        let mut insert = c.prepare_cached("INSERT OR IGNORE INTO acks (job, number, receipt) VALUES (?1, ?2, ?3)")?;
        if insert.execute(params![job.0, ack.number, ack.receipt])? > 0 {
            news += 1;
            bytes += plan.range(ack.number).bytes;
        }
        if let Some(session) = &ack.moved_to {
            c.prepare_cached("UPDATE uploads SET session = ?2 WHERE job = ?1")?.execute(params![job.0, session.0])?;
        }
    }
    let mut update =
        c.prepare_cached("UPDATE uploads SET parts_acked = parts_acked + ?2, held_bytes = held_bytes + ?3 WHERE job = ?1")?;
    update.execute(params![job.0, news, bytes.cast_signed()])?;
    Ok(news)
}

pub(super) fn record_offset(
    c: &Connection,
    by: Caller,
    job: JobId,
    held_bytes: u64,
    hash: Option<SentHash>,
    moved_to: Option<&Session>,
) -> Result<bool, StoreError> {
    if !is_ours(c, by, job)? {
        return Ok(false);
    }
    let mut update =
        c.prepare_cached("UPDATE uploads SET held_bytes = ?2, sent_hash = ?3, session = coalesce(?4, session) WHERE job = ?1")?;
    update.execute(params![job.0, held_bytes.cast_signed(), hash.map(|hash| hash.0), moved_to.map(|session| &session.0)])?;
    progressed(c, job)?;
    Ok(true)
}

/// For a host that takes bytes in order, `acks` is empty and `held_bytes` says all.
pub(super) fn replace_acks(
    c: &Connection,
    by: Caller,
    job: JobId,
    acks: &[Ack],
    held_bytes: u64,
    plan: &Plan,
    hash: Option<SentHash>,
) -> Result<bool, StoreError> {
    if !is_ours(c, by, job)? {
        return Ok(false);
    }
    forget_acks(c, job)?;
    let held_bytes = if acks.is_empty() { held_bytes } else { 0 };
    let mut update = c.prepare_cached("UPDATE uploads SET held_bytes = ?2, sent_hash = ?3 WHERE job = ?1")?;
    update.execute(params![job.0, held_bytes.cast_signed(), hash.map(|hash| hash.0)])?;
    // Nothing new has been sent, so a reason that hooks were told of is still the same news.
    note_acks(c, job, acks, plan)?;
    Ok(true)
}

pub(super) fn record_commit_intent(c: &Connection, by: Caller, job: JobId) -> Result<bool, StoreError> {
    if !is_ours(c, by, job)? {
        return Ok(false);
    }
    let committing = !planted!("commit.intent_not_kept");
    c.prepare_cached("UPDATE uploads SET committing = ?2 WHERE job = ?1")?.execute(params![job.0, committing])?;
    Ok(true)
}

pub(super) fn save_digest(c: &Connection, by: Caller, job: JobId, part_bytes: u64, digest: &Digest) -> Result<bool, StoreError> {
    if !is_ours(c, by, job)? {
        return Ok(false);
    }
    let mut insert = c.prepare_cached(
        "INSERT OR REPLACE INTO digests (job, part_bytes, algorithm, hex, mid_states) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let Digest { algorithm, hex, mid_states } = digest;
    insert.execute(params![job.0, part_bytes.cast_signed(), algorithm.word(), hex, stored(mid_states)])?;
    Ok(true)
}

pub(super) fn saved_digest(c: &Connection, _: Caller, job: JobId, part_bytes: u64) -> Result<Option<Digest>, StoreError> {
    let mut select = c.prepare_cached("SELECT algorithm, hex, mid_states FROM digests WHERE job = ?1 AND part_bytes = ?2")?;
    let found = select.query_row(params![job.0, part_bytes.cast_signed()], |row| {
        let Some(algorithm) = Algorithm::from_word(&row.get::<_, String>(0)?) else { return Ok(None) };
        Ok(Some(Digest { algorithm, hex: row.get(1)?, mid_states: loaded(&row.get::<_, Vec<u8>>(2)?, algorithm) }))
    });
    Ok(found.optional()?.flatten())
}

pub(super) fn forget_digest(c: &Connection, job: JobId) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM digests WHERE job = ?1")?.execute([job.0])?;
    Ok(())
}

/// The words of all states, each of four bytes with the lowest first.
fn stored(states: &[MidState]) -> Vec<u8> {
    states.iter().flat_map(|MidState(words)| words).flat_map(|word| word.to_le_bytes()).collect()
}

fn loaded(bytes: &[u8], algorithm: Algorithm) -> Vec<MidState> {
    let (words, _) = bytes.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    words.chunks_exact(algorithm.state_words()).map(|words| MidState(words.into())).collect()
}

/// What a worker's leaving does to the half-sent upload. Answers by how much the count of lost sessions grows, and whether the host
/// may have kept a copy.
pub(super) fn keep(c: &Connection, job: JobId, fate: SessionFate) -> Result<(u32, bool), StoreError> {
    match fate {
        SessionFate::Resume | SessionFate::ResumeDoubtful | SessionFate::Owed => {}
        SessionFate::ResumeUncommitted => {
            c.prepare_cached("UPDATE uploads SET committing = 0 WHERE job = ?1")?.execute([job.0])?;
        }
        SessionFate::ResumeUnanswered => {
            c.prepare_cached("UPDATE uploads SET committing = 1, commits = commits + 1 WHERE job = ?1")?.execute([job.0])?;
        }
        SessionFate::ResendParts => {
            forget_acks(c, job)?;
            c.prepare_cached("UPDATE uploads SET resent = 1, committing = 0 WHERE job = ?1")?.execute([job.0])?;
        }
        SessionFate::Drop | SessionFate::DropLost | SessionFate::DropLostMaybeDuplicate => forget_upload(c, job)?,
    }
    Ok((u32::from(fate.is_lost()), fate.may_duplicate()))
}

/// Whether the host may have made the file without anybody having heard of it, and a later job would have it make another.
pub(super) fn is_in_doubt(c: &Connection, job: JobId) -> Result<bool, StoreError> {
    let was_last = |reached: &Reached| {
        reached.committing || reached.held_bytes.saturating_add(reached.plan.part_bytes) >= reached.plan.file_bytes
    };
    Ok(reached(c, job)?.is_some_and(|reached| may_have_made(reached.shape.as_ref(), was_last(&reached))))
}

/// Whether the upload that the job has may have been finished, though no answer said so: the file would be there when another upload
/// makes it once more.
fn may_have_been_finished(c: &Connection, job: JobId) -> Result<bool, StoreError> {
    let Some(Reached { shape, committing, held_bytes, plan }) = reached(c, job)? else { return Ok(false) };
    Ok(was_perhaps_finished(shape.as_ref(), committing, held_bytes, &plan))
}

/// How far the upload of a job has come.
struct Reached {
    shape: Option<Shape>,
    committing: bool,
    held_bytes: u64,
    plan: Plan,
}

fn reached(c: &Connection, job: JobId) -> Result<Option<Reached>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT u.shape, u.committing, u.held_bytes, u.part_bytes, j.size FROM uploads u JOIN jobs j ON j.id = u.job WHERE u.job = ?1",
    )?;
    let bytes = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let reached = select.query_row([job.0], |row| {
        let shape = row.get::<_, Option<String>>(0)?.and_then(|shape| Shape::read(&shape));
        let plan = Plan { file_bytes: bytes(row, 4)?, part_bytes: bytes(row, 3)? };
        Ok(Reached { shape, committing: row.get(1)?, held_bytes: bytes(row, 2)?, plan })
    });
    Ok(reached.optional()?)
}

/// Whether an upload that ends without an answer may have made the file: its finish was sent, or could be. Of a whole body the attempt
/// itself tells.
pub(super) fn was_perhaps_finished(shape: Option<&Shape>, committing: bool, held_bytes: u64, plan: &Plan) -> bool {
    let finishes_with_last = shape.is_some_and(|shape| shape.last_part_commits || shape.last_with_finish);
    let unsent = if finishes_with_last { plan.part_bytes } else { 0 };
    let is_body = shape.is_some_and(|shape| shape.order == Order::WholeFile);
    !is_body && (committing || held_bytes.saturating_add(unsent) >= plan.file_bytes)
}

/// The last part may make the file, or the request after it, whatever is answered: `was_last` says that there was no other to send. In
/// the same session it could be sent again without harm, but a later job has another, and perhaps another name.
pub(super) fn may_have_made(shape: Option<&Shape>, was_last: bool) -> bool {
    was_last || shape.is_some_and(|shape| shape.order == Order::WholeFile)
}

pub(super) fn forget_upload(c: &Connection, job: JobId) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM acks WHERE job = ?1")?.execute([job.0])?;
    c.prepare_cached("DELETE FROM uploads WHERE job = ?1")?.execute([job.0])?;
    Ok(())
}

fn forget_acks(c: &Connection, job: JobId) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM acks WHERE job = ?1")?.execute([job.0])?;
    c.prepare_cached("UPDATE uploads SET parts_acked = 0, held_bytes = 0, sent_hash = 0 WHERE job = ?1")?.execute([job.0])?;
    Ok(())
}

pub(super) fn load(c: &Connection, job: JobId, file_bytes: u64) -> Result<Option<Upload>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT session, part_bytes, held_bytes, opened_at, committing, commits, resent, shape, sent_hash FROM uploads WHERE job = ?1",
    )?;
    let upload = select.query_row([job.0], |row| {
        Ok(Upload {
            session: Session(row.get(0)?),
            shape: row.get::<_, Option<String>>(7)?.and_then(|text| Shape::read(&text)),
            plan: Plan { file_bytes, part_bytes: row.get::<_, i64>(1)?.cast_unsigned().max(1) },
            confirmed: ConfirmedParts::default(),
            held_bytes: row.get::<_, i64>(2)?.cast_unsigned(),
            opened_ms: row.get(3)?,
            committing: row.get(4)?,
            commits: row.get(5)?,
            resent: row.get(6)?,
            sent_hash: row.get::<_, Option<i64>>(8)?.map(SentHash),
        })
    });
    let Some(mut upload) = upload.optional()? else { return Ok(None) };
    let mut select = c.prepare_cached("SELECT number, receipt FROM acks WHERE job = ?1")?;
    let mut rows = select.query([job.0])?;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        upload.confirmed.insert(number);
        if let Some(receipt) = row.get(1)? {
            upload.confirmed.receipts.insert(number, receipt);
        }
    }
    Ok(Some(upload))
}
