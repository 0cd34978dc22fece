//! SQL for what follows a job's change of state: a row for each hook that wants to hear of it, for the after-action, and for a link
//! that has to be renewed. Rows are made in the commit that changes the state, and go when what they ask for has succeeded.
//!
//! A job is `uploaded` as long as a row is left of it that is `waited_for`, and `done` when the last of them goes: that of the after-action,
//! and those for `done` of hooks that do not gather. What a hook gathers is due after a time, together with what came meanwhile. The
//! after-action has a row for each job of a file version, without a time; when every host has the file and every hook for `done` is
//! through, one of them becomes due, and when it is through they all go. While they wait for a host that was added after the file
//! was sent, and whose job only a scan can make, they are due with the host's name in `said`: somebody has to look whether the scan
//! will find the file at all. Where a host has proved nothing of the file and is not trusted, none becomes due.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::job::delivery::hook_name;
use crate::job::gather::{is_waited_for, told_by};
use crate::job::release::{Release, Sibling, release};
use crate::job::upload::Outcome;
use crate::job::{Delivery, DeliveryId, Event, Identity, JobId, Proof, Reason, ReasonClass, State};

use super::error::StoreError;
use super::rows::{identity_at, path_of};
use super::values::{AFTER, Caller, DaemonId, Due, HookRule, REFRESH, Rules, Wanted};

/// A link is renewed when this share of its life is left, ...
const REFRESH_SHARE: i64 = 10;
/// ... and at most so long before its end.
const REFRESH_MS_MAX: i64 = 6 * 3600 * 1000;
/// Where the doubling of the least time between two renewals ends.
const REFRESH_PAUSE_MS_MAX: i64 = 3600 * 1000;

/// What becomes of a file whose after-action waited for a hook that was taken out.
pub(super) const KEPT: &str = "leaving the file where it is";

/// What must be known of a job to make its rows.
struct Subject {
    host: String,
    attempts: i64,
    path: PathBuf,
}

fn subject(c: &Connection, job: JobId) -> Result<Subject, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT j.host, j.attempts, d.path, f.name FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
         WHERE j.id = ?1",
    )?;
    let read = |row: &Row<'_>| Ok(Subject { host: row.get(0)?, attempts: row.get(1)?, path: path_of(row.get(2)?, row.get(3)?) });
    Ok(select.query_row([job.0], read)?)
}

/// One occasion of one job, and the rows it makes.
struct Occasion<'a> {
    job: JobId,
    number: i64,
    said: Option<&'a Reason>,
    by: Caller,
}

impl Occasion<'_> {
    /// Makes a row for work of ferryd's own that is due at `due_ms`.
    fn insert(&self, c: &Connection, key: &str, event: Event, due_ms: Option<i64>) -> Result<(), StoreError> {
        self.insert_row(c, key, event, due_ms, is_waited_for(event, false))
    }

    /// Makes a row for a hook that may be called at `due_ms`, or later where it gathers. Answers whether the job waits for it.
    fn tell(&self, c: &Connection, hook: &HookRule, event: Event, due_ms: i64) -> Result<bool, StoreError> {
        let due_ms = match hook.every_ms {
            Some(every_ms) if event != Event::Expiring => told_by(self.by.now_ms, every_ms, self.by.now_ms),
            _ => due_ms,
        };
        let waited_for = is_waited_for(event, hook.every_ms.is_some());
        self.insert_row(c, &hook.key, event, Some(due_ms), waited_for).map(|()| waited_for)
    }

    /// An earlier row of the same job, hook and event is history.
    fn insert_row(&self, c: &Connection, key: &str, event: Event, due_ms: Option<i64>, waited_for: bool) -> Result<(), StoreError> {
        let mut insert = c.prepare_cached(
            "INSERT OR REPLACE INTO deliveries (job, hook, event, number, made_at, next_try, said, daemon, waited_for)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        let Caller { daemon, now_ms } = self.by;
        insert.execute(params![self.job.0, key, event.word(), self.number, now_ms, due_ms, self.said, daemon.0, waited_for])?;
        Ok(())
    }
}

/// Makes the rows of a job whose outcome is being committed. Answers the state it goes to, and whether any row may have been made.
pub(super) fn after_upload(
    c: &Connection,
    by @ Caller { now_ms, .. }: Caller,
    job: JobId,
    outcome: &Outcome,
    rules: &Rules,
) -> Result<(State, bool), StoreError> {
    if rules.is_empty() {
        return Ok((State::Done, false));
    }
    let subject = subject(c, job)?;
    c.prepare_cached("DELETE FROM deliveries WHERE job = ?1 AND event IN ('expiring', 'refresh')")?.execute([job.0])?;
    let occasion = Occasion { job, number: subject.attempts, said: None, by };
    let mut state = State::Done;
    for hook in &rules.hooks {
        if hook.on.contains(&Event::Done) && occasion.tell(c, hook, Event::Done, now_ms)? {
            state = State::Uploaded;
        }
        if let Some(expires_ms) = outcome.expires_ms
            && hook.on.contains(&Event::Expiring)
        {
            let due_ms = expires_ms.saturating_sub(hook.before_ms).max(now_ms);
            occasion.tell(c, hook, Event::Expiring, due_ms)?;
        }
    }
    if let Some(expires_ms) = outcome.expires_ms
        && rules.refresh.contains(&subject.host)
    {
        let due_ms = refresh_due_ms(now_ms, expires_ms, subject.attempts);
        occasion.insert(c, REFRESH, Event::Refresh, Some(due_ms))?;
    }
    if rules.after_of(&subject.path).is_some() {
        occasion.insert(c, AFTER, Event::After, None)?;
        state = State::Uploaded;
    }
    let gathers = rules.hooks.iter().any(|hook| hook.every_ms.is_some());
    Ok((state, state == State::Uploaded || outcome.expires_ms.is_some() || gathers))
}

/// A tenth of its life before a link dies, and at most six hours. A link that is dead when it comes, because a clock is wrong, must
/// not have its file sent without end: the least time to the next one doubles with every attempt, up to an hour.
pub(super) fn refresh_due_ms(now_ms: i64, expires_ms: i64, attempts: i64) -> i64 {
    let life = expires_ms.saturating_sub(now_ms).max(0);
    let least = 1000_i64.saturating_mul(1 << attempts.clamp(0, 20)).min(REFRESH_PAUSE_MS_MAX);
    expires_ms.saturating_sub((life / REFRESH_SHARE).min(REFRESH_MS_MAX)).max(now_ms.saturating_add(least))
}

/// Makes the rows of a job that is left in `state`. Answers whether anything may be due now.
pub(super) fn after_leaving(
    c: &Connection,
    by: Caller,
    job: JobId,
    state: State,
    why: Option<&Reason>,
    rules: &Rules,
) -> Result<bool, StoreError> {
    let event = match state {
        State::Failed => Event::Failed,
        State::Held => Event::Held,
        State::Gone | State::Cancelled => return review(c, by, job, rules),
        _ => return Ok(false),
    };
    let mut made = false;
    if event != Event::Held || is_news(c, job, why)? {
        for hook in rules.hooks.iter().filter(|hook| hook.on.contains(&event)) {
            let occasion = Occasion { job, number: subject(c, job)?.attempts, said: why, by };
            occasion.tell(c, hook, event, by.now_ms)?;
            made = true;
        }
    }
    if state == State::Failed {
        made |= review(c, by, job, rules)?;
    }
    Ok(made)
}

/// A held job is tried again every hour, and a person wants to hear once that it needs them: again only for another reason, after
/// progress, or after a start that let it go.
fn is_news(c: &Connection, job: JobId, why: Option<&Reason>) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached("SELECT told_held FROM jobs WHERE id = ?1")?;
    let told: Option<Reason> = select.query_row([job.0], |row| row.get(0))?;
    if told.zip(why).is_some_and(|(told, why)| told.same_news(why)) {
        return Ok(false);
    }
    c.prepare_cached("UPDATE jobs SET told_held = ?2 WHERE id = ?1")?.execute(params![job.0, why])?;
    Ok(true)
}

/// The jobs of the version of a file that `job` is about, in the order in which they were made.
fn siblings(c: &Connection, job: JobId) -> Result<Vec<(JobId, Sibling)>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT s.id, s.host, s.state, EXISTS (SELECT 1 FROM deliveries WHERE job = s.id AND event = 'done' AND waited_for), s.proof, s.trusted,
                s.ctime_ns
         FROM jobs j JOIN jobs s ON s.file = j.file AND s.version = j.version
         WHERE j.id = ?1 ORDER BY s.id",
    )?;
    let rows = select.query_map([job.0], |row| {
        let state = State::from_word(&row.get::<_, String>(2)?).unwrap_or(State::Held);
        // Nothing is known of what was uploaded before proof was asked for.
        let proof = row.get::<_, Option<String>>(4)?.and_then(|word| Proof::from_word(&word)).unwrap_or_default();
        let (host, hook_pending, trusted, ctime_ns) = (row.get(1)?, row.get(3)?, row.get(5)?, row.get(6)?);
        Ok((JobId(row.get(0)?), Sibling { host, state, proof, trusted, hook_pending, ctime_ns }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The hosts that the version of a job was taken up for, as long as its file has no other one.
fn taken_up_for(c: &Connection, job: JobId) -> Result<Vec<String>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT r.hosts FROM jobs j JOIN files f ON f.id = j.file AND f.version = j.version JOIN routes r ON r.id = f.route
         WHERE j.id = ?1",
    )?;
    let hosts: Option<String> = select.query_row([job.0], |row| row.get(0)).optional()?;
    Ok(hosts.iter().flat_map(|hosts| hosts.lines().map(str::to_owned)).collect())
}

/// Looks again whether the after-action of this job's file version may run, must wait, or will not come. Answers whether it is due.
pub(super) fn review(
    c: &Connection,
    by @ Caller { daemon, now_ms }: Caller,
    job: JobId,
    rules: &Rules,
) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT 1 FROM deliveries d JOIN jobs s ON s.id = d.job WHERE s.file = (SELECT file FROM jobs WHERE id = ?1) AND d.event = 'after'
           AND d.daemon = ?2 LIMIT 1",
    )?;
    if select.query_row([job.0, daemon.0], |_| Ok(())).optional()?.is_none() {
        return Ok(false);
    }
    let (ids, siblings): (Vec<JobId>, Vec<Sibling>) = siblings(c, job)?.into_iter().unzip();
    let path = subject(c, job)?.path;
    let hosts = rules.after_of(&path).map(|watch| &*watch.to);
    let hosts = hosts.map(|hosts| hosts.get(..1).filter(|_| planted!("after.first_host")).unwrap_or(hosts));
    let family = Family { ids: &ids, siblings: &siblings, of: Some(by.daemon) };
    match release(&siblings, hosts, &taken_up_for(c, job)?, &rules.trusted) {
        Release::Unwanted => family.give_up(c, None, now_ms).map(|()| false),
        Release::WaitFor(host) => family.wait(c, host, None).map(|()| false),
        Release::LookFor(host) => family.wait(c, host, Some(now_ms)).map(|()| true),
        Release::Forgotten(host) => {
            let note = Reason::new(ReasonClass::UploadForgotten).about(host);
            family.give_up(c, Some(&note), now_ms).map(|()| false)
        }
        Release::RefusedBy(host) => {
            let note = Reason::new(ReasonClass::RefusedByHost).about(host);
            family.give_up(c, Some(&note), now_ms).map(|()| false)
        }
        Release::UnprovenBy(host) => {
            let why = Reason::new(ReasonClass::UnprovenByHost).about(host);
            family.stay(c, &why, None).map(|()| false)
        }
        Release::Touched => family.give_up(c, Some(&Reason::new(ReasonClass::SourceChanged)), now_ms).map(|()| false),
        Release::HooksPending => family.look_no_more(c).map(|()| false),
        Release::Due(on_behalf_of) => {
            family.look_no_more(c)?;
            family.be_due(c, on_behalf_of.map_or(job, |at| ids[at]), now_ms)
        }
    }
}

/// The jobs of one version, with their numbers.
struct Family<'a> {
    ids: &'a [JobId],
    siblings: &'a [Sibling],
    /// Whose rows may be taken away or put off: what another daemon wants is decided by its own rules.
    of: Option<DaemonId>,
}

impl Family<'_> {
    /// The after-action is due, on behalf of this job.
    fn be_due(&self, c: &Connection, on_behalf_of: JobId, now_ms: i64) -> Result<bool, StoreError> {
        let mut update =
            c.prepare_cached("UPDATE deliveries SET next_try = ?2 WHERE job = ?1 AND event = 'after' AND next_try IS NULL")?;
        let due = update.execute(params![on_behalf_of.0, now_ms])? > 0;
        if due {
            let mut update = c.prepare_cached("UPDATE jobs SET why = NULL WHERE id = ?1 AND state = 'uploaded'")?;
            for id in self.ids {
                update.execute([id.0])?;
            }
        }
        Ok(due)
    }

    /// Nobody has to look any more whether a scan will find the file.
    fn look_no_more(&self, c: &Connection) -> Result<(), StoreError> {
        let mut update = c.prepare_cached(
            "UPDATE deliveries SET next_try = NULL, said = NULL WHERE job = ?1 AND event = 'after' AND said IS NOT NULL",
        )?;
        for id in self.ids {
            update.execute([id.0])?;
        }
        Ok(())
    }

    /// The after-action waits for `host`, also if it was due already: a host may have been added since. One that has no job yet
    /// gets it from the next scan, if that finds the file: somebody looks whether it will, at `look_ms`.
    fn wait(&self, c: &Connection, host: &str, look_ms: Option<i64>) -> Result<(), StoreError> {
        let why = Reason::new(ReasonClass::WaitsForHost).about(host);
        self.stay(c, &why, look_ms.map(|look_ms| (look_ms, host)))
    }

    /// The after-action is not due, also if it was, for the reason in `why`. With `look`, somebody looks at that time whether a
    /// scan will find the file for the host of that name.
    fn stay(&self, c: &Connection, why: &Reason, look: Option<(i64, &str)>) -> Result<(), StoreError> {
        let mut update = c.prepare_cached(
            "UPDATE deliveries SET next_try = ?2, said = ?3 WHERE job = ?1 AND event = 'after' AND (next_try IS NOT NULL OR ?2 IS NOT NULL)
               AND (?4 IS NULL OR daemon = ?4)",
        )?;
        let members = || self.ids.iter().zip(self.siblings);
        for (id, sibling) in members() {
            let (look_ms, host) = look.filter(|_| !sibling.hook_pending).unzip();
            update.execute(params![id.0, look_ms, host, self.of.map(|daemon| daemon.0)])?;
        }
        let mut update = c.prepare_cached("UPDATE jobs SET why = ?2 WHERE id = ?1 AND state = 'uploaded' AND why IS NOT ?2")?;
        for (id, _) in members().filter(|(_, sibling)| !sibling.hook_pending) {
            update.execute(params![id.0, why])?;
        }
        Ok(())
    }

    /// The after-action of this version is through, or will not come, for the reason in `note`.
    fn give_up(&self, c: &Connection, note: Option<&Reason>, now_ms: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM deliveries WHERE job = ?1 AND event = 'after' AND (?2 IS NULL OR daemon = ?2)";
        for id in self.ids {
            c.prepare_cached(sql)?.execute(params![id.0, self.of.map(|daemon| daemon.0)])?;
            settle(c, *id, note, now_ms)?;
        }
        Ok(())
    }
}

/// The after-action of this job's file version is through, or will not come, for the reason in `note`.
fn release_without_action(c: &Connection, job: JobId, note: Option<&Reason>, now_ms: i64) -> Result<(), StoreError> {
    let (ids, siblings): (Vec<JobId>, Vec<Sibling>) = siblings(c, job)?.into_iter().unzip();
    Family { ids: &ids, siblings: &siblings, of: None }.give_up(c, note, now_ms)
}

/// The file at `file` has another version now: what was to happen to the earlier one will not.
pub(super) fn supersede(c: &Connection, file: i64, now_ms: i64) -> Result<(), StoreError> {
    let mut select = c.prepare_cached(
        "SELECT d.job FROM deliveries d JOIN jobs j ON j.id = d.job WHERE j.file = ?1 AND d.event = 'after'
           AND (d.next_try IS NULL OR d.next_try > ?2 OR d.said IS NOT NULL)",
    )?;
    let jobs: Vec<i64> = select.query_map([file, now_ms], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for job in jobs {
        c.prepare_cached("DELETE FROM deliveries WHERE job = ?1 AND event = 'after'")?.execute([job])?;
        settle(c, JobId(job), None, now_ms)?;
    }
    Ok(())
}

/// A writer was seen to close this version of the file, after its jobs were made. Answers whether an after-action that waits for
/// something may run now.
pub(super) fn record_close(
    c: &Connection,
    Caller { now_ms, .. }: Caller,
    folder: &Path,
    name: &OsStr,
    version: &Identity,
) -> Result<bool, StoreError> {
    let mut select =
        c.prepare_cached("SELECT f.id FROM files f JOIN folders d ON d.id = f.folder WHERE d.path = ?1 AND f.name = ?2")?;
    let file: Option<i64> = select.query_row([folder.as_os_str().as_bytes(), name.as_bytes()], |row| row.get(0)).optional()?;
    let Identity { device, inode, size, mtime_ns, ctime_ns, .. } = *version;
    let mut update = c.prepare_cached(
        "UPDATE jobs SET close_seen = 1 WHERE file = ?1 AND (device, inode, size, mtime_ns, ctime_ns) = (?2, ?3, ?4, ?5, ?6)
           AND NOT close_seen AND state NOT IN ('done', 'failed', 'gone', 'cancelled')",
    )?;
    if update.execute(params![file, device, inode, size.cast_signed(), mtime_ns, ctime_ns])? == 0 {
        return Ok(false);
    }
    let mut update = c.prepare_cached(
        "UPDATE deliveries SET next_try = ?2 WHERE event = 'after' AND next_try > ?2 AND said IS NULL
           AND job IN (SELECT id FROM jobs WHERE file = ?1)",
    )?;
    Ok(update.execute(params![file, now_ms])? > 0)
}

/// A job for which nothing is left to do is done; `note` says what was not done.
fn settle(c: &Connection, job: JobId, note: Option<&Reason>, now_ms: i64) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE jobs SET state = 'done', since = ?2, why = ?3, next_try = NULL WHERE id = ?1 AND state = 'uploaded'
           AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job = jobs.id AND waited_for)",
    )?;
    update.execute(params![job.0, now_ms, note])?;
    Ok(())
}

/// Takes up the deliveries of an earlier run under new rules: what nobody asks for any more goes, what was tried in vain is due at
/// once. Answers which hooks are gone, each with the number of its rows.
pub(super) fn set_rules(
    c: &Connection,
    by @ Caller { daemon, now_ms }: Caller,
    rules: &Rules,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut dropped = Vec::new();
    let new = new_hooks(c, by, rules)?;
    for (hook, event) in kinds(c, daemon)? {
        let rows = match event {
            Event::After => 0,
            Event::Refresh => {
                let names = serde_json::json!(rules.refresh).to_string();
                let sql = "DELETE FROM deliveries WHERE hook = 'refresh' AND daemon = ?2
                           AND job IN (SELECT id FROM jobs WHERE host NOT IN (SELECT value FROM json_each(?1)))";
                c.execute(sql, params![names, daemon.0])?
            }
            _ if rules.wants(&hook, event) => 0,
            _ => {
                let heirs: Vec<&String> = new.iter().filter(|new| rules.wants(new, event)).collect();
                match heirs.as_slice() {
                    [heir] => hand_over(c, by, &hook, event, heir)?,
                    _ => remove_hook(c, by, &hook, event)?,
                }
            }
        };
        if rows > 0 {
            dropped.push((hook, rows as u64));
        }
    }
    be_due(c, by)?;
    gather_on(c, by, rules)?;
    let sql = "UPDATE jobs SET trusted = 1 WHERE state = 'uploaded' AND owner = ?2 AND NOT trusted
               AND host IN (SELECT value FROM json_each(?1))";
    c.execute(sql, params![serde_json::json!(rules.trusted_before).to_string(), daemon.0])?;
    let mut select = c.prepare("SELECT job FROM deliveries WHERE event = 'after' AND daemon = ?1")?;
    let waiting: Vec<i64> = select.query_map([daemon.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for job in waiting {
        review(c, by, JobId(job), rules)?;
    }
    c.execute(
        "UPDATE jobs SET state = 'done', since = ?1, why = NULL, next_try = NULL WHERE state = 'uploaded' AND owner = ?2
           AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job = jobs.id AND waited_for)",
        [now_ms, daemon.0],
    )?;
    Ok(dropped)
}

/// The hooks that were not configured the last time; none where nobody knows of a last time.
fn new_hooks(c: &Connection, by: Caller, rules: &Rules) -> Result<Vec<String>, StoreError> {
    let note = format!("hooks of daemon {}", by.daemon.0);
    let before: Option<String> = c.query_row("SELECT value FROM notes WHERE key = ?1", [&note], |row| row.get(0)).optional()?;
    let keys: Vec<&str> = rules.hooks.iter().map(|hook| hook.key.as_str()).collect();
    let now = serde_json::json!(keys).to_string();
    if before.as_ref() != Some(&now) {
        c.execute("INSERT OR REPLACE INTO notes (key, value) VALUES (?1, ?2)", [&note, &now])?;
    }
    let Some(before) = before else { return Ok(Vec::new()) };
    let before: Vec<String> = serde_json::from_str(&before).unwrap_or_default();
    Ok(keys.into_iter().filter(|key| !before.iter().any(|known| known == key)).map(str::to_owned).collect())
}

/// A hook that was mended is another one; what the earlier one was to hear, it will. Answers how many calls are dropped: none.
fn hand_over(c: &Connection, by: Caller, hook: &str, event: Event, heir: &str) -> Result<usize, StoreError> {
    tracing::info!("hook `{}` takes over what hook `{}` was to hear", hook_name(heir), hook_name(hook));
    c.execute(
        "UPDATE jobs SET why = NULL, next_try = NULL WHERE state = 'uploaded'
           AND id IN (SELECT job FROM deliveries WHERE hook = ?1 AND event = ?2 AND daemon = ?3 AND waited_for)",
        params![hook, event.word(), by.daemon.0],
    )?;
    let sql =
        "UPDATE OR REPLACE deliveries SET hook = ?4, tries = 0, trouble = NULL WHERE hook = ?1 AND event = ?2 AND daemon = ?3";
    c.execute(sql, params![hook, event.word(), by.daemon.0, heir])?;
    Ok(0)
}

/// What a hook that is not configured any more was to hear, it will not, and its jobs say so. An after-action that waited for it will
/// not come either: the new configuration alone must make none due. Answers how many calls are dropped.
fn remove_hook(c: &Connection, by: Caller, hook: &str, event: Event) -> Result<usize, StoreError> {
    let mut select =
        c.prepare_cached("SELECT job, said, waited_for FROM deliveries WHERE hook = ?1 AND event = ?2 AND daemon = ?3")?;
    let rows =
        select.query_map(params![hook, event.word(), by.daemon.0], |row| Ok((JobId(row.get(0)?), row.get(1)?, row.get(2)?)))?;
    let jobs: Vec<(JobId, Option<Reason>, bool)> = rows.collect::<Result<_, _>>()?;
    let sql = "DELETE FROM deliveries WHERE hook = ?1 AND event = ?2 AND daemon = ?3";
    c.execute(sql, params![hook, event.word(), by.daemon.0])?;
    let removed = Reason::new(ReasonClass::HookRemoved).about(hook_name(hook));
    for (job, said, waited_for) in &jobs {
        match event {
            Event::Done if *waited_for => without_hook(c, by, *job, &removed)?,
            Event::Failed | Event::Held => {
                let both = said.clone().map(|said| said.and_also(Some(removed.clone())));
                let mut update = c.prepare_cached("UPDATE jobs SET why = coalesce(?3, why) WHERE id = ?1 AND state = ?2")?;
                update.execute(params![job.0, event.word(), both])?;
            }
            Event::Done | Event::Expiring | Event::After | Event::Refresh => {}
        }
    }
    Ok(jobs.len())
}

/// A job that a removed hook was to hear of waits for it no longer.
fn without_hook(c: &Connection, by: Caller, job: JobId, removed: &Reason) -> Result<(), StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE job = ?1 AND event = 'after' AND daemon = ?2)";
    if c.prepare_cached(sql)?.query_row([job.0, by.daemon.0], |row| row.get(0))? {
        let (ids, siblings): (Vec<JobId>, Vec<Sibling>) = siblings(c, job)?.into_iter().unzip();
        let kept = removed.clone().detail(KEPT);
        return Family { ids: &ids, siblings: &siblings, of: Some(by.daemon) }.give_up(c, Some(&kept), by.now_ms);
    }
    settle(c, job, Some(removed), by.now_ms)
}

/// What was tried in vain, or was to be carried at once, is due now, whatever clock its time was written by. One without a time
/// waits for something else; what is to come shortly before a link dies may rightly be days ahead.
pub(super) fn be_due(c: &Connection, by: Caller) -> Result<(), StoreError> {
    let sql = "UPDATE deliveries SET next_try = ?1 WHERE daemon = ?2 AND next_try > ?1
               AND (tries > 0 OR event NOT IN ('expiring', 'refresh'))";
    c.prepare_cached(sql)?.execute([by.now_ms, by.daemon.0])?;
    Ok(())
}

/// What a hook keeps goes on being kept, for as long as it is configured to now.
fn gather_on(c: &Connection, by: Caller, rules: &Rules) -> Result<(), StoreError> {
    let sql = "UPDATE deliveries SET next_try = max(?3, min(made_at, ?3) + ?4) WHERE daemon = ?1 AND hook = ?2 AND tries = 0
               AND NOT waited_for AND event IN ('done', 'failed', 'held')";
    for (key, every_ms) in rules.hooks.iter().filter_map(|hook| Some((&hook.key, hook.every_ms?))) {
        c.execute(sql, params![by.daemon.0, key, by.now_ms, every_ms])?;
    }
    Ok(())
}

/// What follows the upload of this job and was tried in vain is due now. Answers whether anything is.
pub(super) fn try_now(c: &Connection, by: Caller, job: JobId) -> Result<bool, StoreError> {
    let sql = "UPDATE deliveries SET next_try = ?1 WHERE job = ?2 AND daemon = ?3 AND next_try > ?1 AND tries > 0";
    Ok(c.prepare_cached(sql)?.execute([by.now_ms, job.0, by.daemon.0])? > 0)
}

fn kinds(c: &Connection, daemon: DaemonId) -> Result<HashSet<(String, Event)>, StoreError> {
    let mut select = c.prepare("SELECT DISTINCT hook, event FROM deliveries WHERE daemon = ?1")?;
    let rows = select.query_map([daemon.0], |row| Ok((row.get(0)?, event_at(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn event_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Event> {
    let word: String = row.get(column)?;
    // The schema admits no other word.
    Ok(Event::from_word(&word).unwrap_or(Event::Refresh))
}

pub(super) const DUE: &str = "SELECT d.id, d.hook, d.event, d.number, d.made_at, d.tries, d.job, p.path, f.name,
        j.device, j.inode, j.size, j.mtime_ns, j.ctime_ns, j.born_ns, j.host, coalesce(h.kind, ''), j.state, d.said,
        j.link, j.remote_id, j.expires, j.close_seen, j.one_off
    FROM deliveries d JOIN jobs j ON j.id = d.job JOIN files f ON f.id = j.file JOIN folders p ON p.id = f.folder
         LEFT JOIN hosts h ON h.daemon = d.daemon AND h.name = j.host
    WHERE d.daemon = ?4 AND d.hook = ?1 AND d.next_try <= ?2 ORDER BY d.next_try, d.id LIMIT ?3";

/// Due deliveries for each hook, hook by hook and as far as there is room, without those that are `running`.
pub(super) fn due_deliveries(
    c: &Connection,
    Caller { daemon, now_ms }: Caller,
    wanted: &[Wanted],
    running: &[DeliveryId],
) -> Result<Due, StoreError> {
    let mut due = Due::default();
    for Wanted { hook, room, ahead_ms } in wanted {
        let mut select = c.prepare_cached("SELECT 1 FROM deliveries WHERE daemon = ?3 AND hook = ?1 AND next_try <= ?2 LIMIT 1")?;
        let is_any = *ahead_ms == 0 || select.exists(params![hook, now_ms, daemon.0])?;
        let until_ms = now_ms.saturating_add(*ahead_ms);
        let mut select = c.prepare_cached(DUE)?;
        let rows = select.query_map(params![hook, until_ms, (room + running.len()) as i64, daemon.0], delivery)?;
        let found = if is_any { rows.collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
        due.deliveries.extend(found.into_iter().filter(|delivery| !running.contains(&delivery.id)).take(*room));
        let mut select =
            c.prepare_cached("SELECT min(next_try) FROM deliveries WHERE daemon = ?3 AND hook = ?1 AND next_try > ?2")?;
        let next: Option<i64> = select.query_row(params![hook, now_ms, daemon.0], |row| row.get(0))?;
        due.next_due_ms = due.next_due_ms.into_iter().chain(next).min();
    }
    Ok(due)
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let event = event_at(row, 2)?;
    let state = State::from_word(&row.get::<_, String>(17)?).unwrap_or(State::Held);
    Ok(Delivery {
        id: DeliveryId(row.get(0)?),
        hook: row.get(1)?,
        event,
        number: row.get::<_, i64>(3)?.cast_unsigned(),
        made_ms: row.get(4)?,
        tries: row.get(5)?,
        job: JobId(row.get(6)?),
        path: path_of(row.get(7)?, row.get(8)?),
        identity: identity_at(row, 9)?,
        host: row.get(15)?,
        kind: row.get(16)?,
        state: match event {
            Event::Failed => State::Failed,
            Event::Held => State::Held,
            _ => state,
        },
        why: match event {
            Event::After => row.get::<_, Option<String>>(18)?.map(|host| Reason::new(ReasonClass::WaitsForHost).about(host)),
            _ => row.get(18)?,
        },
        link: row.get(19)?,
        remote_id: row.get(20)?,
        expires_ms: row.get(21)?,
        close_seen: row.get(22)?,
        one_off: row.get(23)?,
    })
}

/// The job of a row, its event and what was said; nothing where the row is gone already, or is another daemon's.
fn row_of(c: &Connection, by: Caller, id: DeliveryId) -> Result<Option<(JobId, Event, Option<String>)>, StoreError> {
    let mut select = c.prepare_cached("SELECT job, event, said FROM deliveries WHERE id = ?1 AND daemon = ?2")?;
    Ok(select.query_row([id.0, by.daemon.0], |row| Ok((JobId(row.get(0)?), event_at(row, 1)?, row.get(2)?))).optional()?)
}

/// What the rows ask for has succeeded. Answers whether that made an after-action due.
pub(super) fn record_delivery(c: &Connection, by: Caller, ids: &[DeliveryId], rules: &Rules) -> Result<bool, StoreError> {
    let mut due = false;
    for id in ids {
        due |= delivered_one(c, by, *id, rules)?;
    }
    Ok(due)
}

fn delivered_one(c: &Connection, by @ Caller { now_ms, .. }: Caller, id: DeliveryId, rules: &Rules) -> Result<bool, StoreError> {
    let Some((job, event, said)) = row_of(c, by, id)? else { return Ok(false) };
    say(c, by, id, None, None)?;
    c.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?.execute([id.0])?;
    match event {
        Event::Done => {
            settle(c, job, None, now_ms)?;
            review(c, by, job, rules)
        }
        Event::After => {
            let note = said.map(|host| Reason::new(ReasonClass::NotFoundForHost).about(host));
            release_without_action(c, job, note.as_ref(), now_ms).map(|()| false)
        }
        Event::Failed | Event::Held | Event::Expiring | Event::Refresh => Ok(false),
    }
}

/// The after-action will never be done to this version, for the reason in `note`.
pub(super) fn keep_source(
    c: &Connection,
    by @ Caller { now_ms, .. }: Caller,
    id: DeliveryId,
    note: &Reason,
) -> Result<(), StoreError> {
    match row_of(c, by, id)? {
        Some((job, Event::After, _)) => release_without_action(c, job, Some(note), now_ms),
        _ => Ok(()),
    }
}

/// No scan will find the file for the added host; unless the host's job was made meanwhile, its after-action waits no longer.
pub(super) fn record_missing_file(c: &Connection, by: Caller, id: DeliveryId, rules: &Rules) -> Result<bool, StoreError> {
    match row_of(c, by, id)? {
        Some((.., Some(_))) => delivered_one(c, by, id, rules),
        _ => Ok(false),
    }
}

/// It has not; it is tried again at `next_try_ms`.
pub(super) fn record_failed_delivery(
    c: &Connection,
    by: Caller,
    ids: &[DeliveryId],
    why: &Reason,
    next_try_ms: i64,
) -> Result<(), StoreError> {
    for id in ids {
        let mut update =
            c.prepare_cached("UPDATE deliveries SET tries = tries + 1, next_try = ?2, trouble = iif(waited_for, NULL, ?4) WHERE id = ?1 AND daemon = ?3")?;
        if update.execute(params![id.0, next_try_ms, by.daemon.0, why])? > 0 {
            say(c, by, *id, Some(why), Some(next_try_ms))?;
        }
    }
    Ok(())
}

/// The scan will find the file for the added host, so its after-action goes on waiting; unless the host's job was made meanwhile,
/// somebody looks again at `next_try_ms`.
pub(super) fn look_again_later(c: &Connection, by: Caller, id: DeliveryId, next_try_ms: i64) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE deliveries SET tries = tries + 1, next_try = ?2 WHERE id = ?1 AND said IS NOT NULL AND daemon = ?3",
    )?;
    update.execute(params![id.0, next_try_ms, by.daemon.0])?;
    Ok(())
}

/// Shows in the job how the delivery stands: an uploaded job waits for it, and a failed or held one has a reason of its own before
/// it.
fn say(c: &Connection, by: Caller, id: DeliveryId, why: Option<&Reason>, next_try_ms: Option<i64>) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE jobs SET why = ?2, next_try = ?3 WHERE state = 'uploaded'
           AND id = (SELECT job FROM deliveries WHERE id = ?1 AND waited_for)",
    )?;
    update.execute(params![id.0, why, next_try_ms])?;
    if let Some((job, event @ (Event::Failed | Event::Held), said)) = row_of(c, by, id)? {
        let both = said.map(|said| Reason::read(&said).and_also(why.cloned()));
        let mut update = c.prepare_cached("UPDATE jobs SET why = ?3 WHERE id = ?1 AND state = ?2")?;
        update.execute(params![job.0, event.word(), both])?;
    }
    Ok(())
}

/// A job whose host has the file is sent again for a new link; the old one is kept until then. The row goes in the same commit. Not
/// while the after-action of the file is due, which is about to take it away. Answers whether the job is queued.
pub(super) fn requeue(c: &Connection, by @ Caller { now_ms, .. }: Caller, id: DeliveryId) -> Result<bool, StoreError> {
    let Some((job, ..)) = row_of(c, by, id)? else { return Ok(false) };
    let mut update = c.prepare_cached(
        "UPDATE jobs SET state = 'queued', since = ?2, next_try = NULL, why = ?3, renewals = renewals + 1
         WHERE id = ?1 AND state IN ('done', 'uploaded')
           AND NOT EXISTS (SELECT 1 FROM jobs s JOIN deliveries d ON d.job = s.id
                           WHERE s.file = jobs.file AND d.event = 'after' AND d.next_try IS NOT NULL AND d.said IS NULL)",
    )?;
    let queued = update.execute(params![job.0, now_ms, Reason::new(ReasonClass::LinkExpires)])? > 0;
    if queued {
        c.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?.execute([id.0])?;
    }
    Ok(queued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_renewed_in_its_last_tenth_and_at_most_six_hours_before_its_end() {
        let hour = 3_600_000;
        assert_eq!(refresh_due_ms(0, 10 * hour, 1), 9 * hour);
        assert_eq!(refresh_due_ms(0, 720 * hour, 40), 714 * hour);
        assert_eq!(refresh_due_ms(hour, 0, 1), hour + 2000, "dead already: soon, and less soon each time");
        assert_eq!(refresh_due_ms(hour, 0, 30), 2 * hour);
    }
}
