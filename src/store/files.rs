//! What has been taken up: the scan's memory of files, and the one way from a settled file to its jobs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::job::{Fingerprint, Identity, JobId, Likeness, Reason, ReasonClass};

use super::deliveries;
use super::error::StoreError;
use super::rows::identity_at;
use super::values::{Arrival, Caller, DISPLACED, DaemonId, Earlier, LOOKUPS_MAX, Seen, Version};

/// Places that are named at most as the earlier one of a file.
pub(super) const EARLIER_MAX: usize = 16;

/// The hosts of routes, which never change once they are committed.
pub(super) type Routes = HashMap<i64, Vec<String>>;

struct FileRow {
    id: i64,
    identity: Identity,
    route: Option<i64>,
    fingerprint: Option<Fingerprint>,
}

const FILE_COLUMNS: &str = "id, device, inode, size, mtime_ns, ctime_ns, born_ns, route, fingerprint";

/// What is known of these versions of files in `folder` for `hosts`, in their order.
pub(super) fn look_up(
    c: &Connection,
    routes: &mut Routes,
    folder: &Path,
    files: &[(&OsStr, Identity)],
    hosts: &[String],
) -> Result<Vec<Seen>, StoreError> {
    debug_assert!(files.len() <= LOOKUPS_MAX, "{} files at once", files.len());
    let folder = find_folder(c, folder)?;
    files.iter().map(|(name, identity)| look_up_one(c, routes, folder, name, identity, hosts)).collect()
}

fn look_up_one(
    c: &Connection,
    routes: &mut Routes,
    folder: Option<i64>,
    name: &OsStr,
    identity: &Identity,
    hosts: &[String],
) -> Result<Seen, StoreError> {
    if let Some(folder) = folder
        && let Some(row) = file_at(c, folder, name)?
        && let Some(route) = row.route
        && let Some(seen) = seen_at_its_path(row.identity.likeness(identity), row.fingerprint)
    {
        return Ok(for_hosts(seen, covers(c, routes, route, hosts)?));
    }
    look_elsewhere(c, identity)
}

/// What a file is that is met where a version was taken up; nothing if it is another version.
pub(super) fn seen_at_its_path(likeness: Likeness, fingerprint: Option<Fingerprint>) -> Option<Seen> {
    match (likeness, fingerprint) {
        (Likeness::Same, _) => Some(Seen::Known),
        (Likeness::Renumbered, _) | (Likeness::Touched, None) => Some(Seen::Renumbered),
        (Likeness::Touched | Likeness::Coarser, Some(fingerprint)) => Some(Seen::Touched { fingerprint, is_taken_up: true }),
        (Likeness::Coarser, None) | (Likeness::Other, _) => None,
    }
}

/// The same for the hosts it is to go to, of which some may be new to it. A file that was touched is compared before it goes there.
pub(super) fn for_hosts(seen: Seen, are_covered: bool) -> Seen {
    match seen {
        Seen::Touched { fingerprint, .. } => Seen::Touched { fingerprint, is_taken_up: are_covered },
        seen if are_covered => seen,
        _ => Seen::Unknown,
    }
}

/// Whether an arrival is the version that was taken up at its path, of which the fingerprints decide where both are known.
pub(super) fn is_version(likeness: Likeness, known: Option<Fingerprint>, arrival: Option<Fingerprint>) -> bool {
    match likeness {
        Likeness::Same | Likeness::Renumbered => true,
        Likeness::Touched => known.zip(arrival).is_none_or(|(known, arrival)| known == arrival),
        Likeness::Coarser => known.is_some() && known == arrival,
        Likeness::Other => false,
    }
}

/// Files of the same size and time elsewhere. There may be many of these where times are coarse, so only some are named.
fn look_elsewhere(c: &Connection, identity: &Identity) -> Result<Seen, StoreError> {
    if planted!("rename.is_new") {
        return Ok(Seen::Unknown);
    }
    let mut earlier = Vec::new();
    for same_inode in [true, false] {
        let compared = if same_inode { "=" } else { "<>" };
        let mut select = c.prepare_cached(&format!(
            "SELECT f.id, f.device, f.inode, f.size, f.mtime_ns, f.ctime_ns, f.born_ns, f.route, f.fingerprint, d.path, f.name
             FROM files f JOIN folders d ON d.id = f.folder
             WHERE f.mtime_ns = ?1 AND f.size = ?2 AND f.inode {compared} ?3 AND f.route IS NOT NULL LIMIT {EARLIER_MAX}"
        ))?;
        let mut rows = select.query(params![identity.mtime_ns, identity.size.cast_signed(), identity.inode])?;
        while let Some(row) = rows.next()? {
            let found = FileRow::read(row)?;
            let (folder, name) = (OsString::from_vec(row.get(9)?), OsString::from_vec(row.get(10)?));
            earlier.extend(as_earlier(folder.into(), name, &found.identity, found.fingerprint, identity));
        }
    }
    Ok(seen_elsewhere(earlier))
}

/// A file of the same size and time, if anything more can tell whether it is this one. Without a time of birth an inode's number
/// may have been used again, so nothing is concluded from it.
pub(super) fn as_earlier(
    folder: PathBuf,
    name: OsString,
    known: &Identity,
    fingerprint: Option<Fingerprint>,
    now: &Identity,
) -> Option<Earlier> {
    let same_inode = now.born_ns != 0 && known.same_numbers(now);
    (same_inode || fingerprint.is_some()).then_some(Earlier { folder, name, same_inode, fingerprint })
}

/// Those of the same inode come first.
pub(super) fn seen_elsewhere(mut earlier: Vec<Earlier>) -> Seen {
    earlier.sort_by_key(|earlier| !earlier.same_inode);
    earlier.truncate(EARLIER_MAX);
    if earlier.is_empty() { Seen::Unknown } else { Seen::Elsewhere(earlier) }
}

fn covers(c: &Connection, routes: &mut Routes, route: i64, hosts: &[String]) -> Result<bool, StoreError> {
    let covered = match routes.entry(route) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(hosts_of(c, route)?),
    };
    Ok(hosts.iter().all(|host| covered.contains(host)))
}

impl FileRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<FileRow> {
        let fingerprint = row.get::<_, Option<i64>>(8)?.map(Fingerprint);
        Ok(FileRow { id: row.get(0)?, identity: identity_at(row, 1)?, route: row.get(7)?, fingerprint })
    }
}

fn find_folder(c: &Connection, path: &Path) -> Result<Option<i64>, StoreError> {
    let mut select = c.prepare_cached("SELECT id FROM folders WHERE path = ?1")?;
    Ok(select.query_row([path.as_os_str().as_bytes()], |row| row.get(0)).optional()?)
}

fn file_at(c: &Connection, folder: i64, name: &OsStr) -> Result<Option<FileRow>, StoreError> {
    let mut select = c.prepare_cached(&format!("SELECT {FILE_COLUMNS} FROM files WHERE folder = ?1 AND name = ?2"))?;
    Ok(select.query_row(params![folder, name.as_bytes()], FileRow::read).optional()?)
}

fn find_file(c: &Connection, folder: &Path, name: &OsStr) -> Result<Option<FileRow>, StoreError> {
    match find_folder(c, folder)? {
        Some(folder) => file_at(c, folder, name),
        None => Ok(None),
    }
}

fn hosts_of(c: &Connection, route: i64) -> Result<Vec<String>, StoreError> {
    let mut select = c.prepare_cached("SELECT hosts FROM routes WHERE id = ?1")?;
    let names: Option<String> = select.query_row([route], |row| row.get(0)).optional()?;
    Ok(names.iter().flat_map(|names| names.lines().map(str::to_owned)).collect())
}

/// Makes the jobs of `arrivals`, in one transaction with the memory of them. Repeating it makes nothing twice.
pub(super) fn enqueue(c: &Connection, by @ Caller { now_ms, .. }: Caller, arrivals: &[Arrival]) -> Result<u64, StoreError> {
    let rebuilt_ns = rebuilt_ns(c)?;
    let mut made = 0;
    for arrival in arrivals {
        let folder = folder_id(c, &arrival.folder)?;
        let before = file_at(c, folder, &arrival.name)?;
        let is_same = |row: &&FileRow| {
            let likeness = row.identity.likeness(&arrival.identity);
            row.route.is_some() && is_version(likeness, row.fingerprint, arrival.fingerprint)
        };
        let same = before.as_ref().filter(is_same);
        let taken = match same.and_then(|row| row.route) {
            Some(route) => hosts_of(c, route)?,
            None => Vec::new(),
        };
        let mut missing: Vec<&String> = arrival.hosts.iter().filter(|host| !taken.contains(host)).collect();
        if arrival.one_off
            && let Some(row) = same
        {
            missing = never_sent_to(c, by, row.id, &arrival.hosts)?;
        }
        if same.is_some() && missing.is_empty() {
            continue;
        }
        let route = route_id(c, taken.iter().chain(missing.iter().copied()))?;
        if arrival.first_version_only
            && let (Some(row), None) = (&before, same)
        {
            missing = without_a_version(c, row.id, missing)?;
        }
        if let Some(row) = same {
            renumber(c, row, &arrival.identity)?;
        }
        let file = match (&before, same) {
            (_, Some(row)) => take_up_for(c, row, route)?,
            (Some(row), None) => {
                remember_replaced(c, folder, row, arrival)?;
                replace_version(c, row, arrival, route)?
            }
            (None, None) => remember(c, folder, arrival, route)?,
        };
        if before.is_some() && same.is_none() {
            supersede(c, file, now_ms)?;
        }
        let passed_over = same.is_some() && !arrival.one_off && !was_wanted(c, file)?;
        if arrival.make_jobs && !passed_over {
            let maybe_duplicate = arrival.maybe_known || rebuilt_ns.is_some_and(|rebuilt| arrival.identity.ctime_ns < rebuilt);
            if same.is_some() {
                // What is to happen when every host has the file waits for these, too.
                c.prepare_cached(
                    "UPDATE deliveries SET next_try = NULL, said = NULL WHERE event = 'after' AND job IN (SELECT id FROM jobs WHERE file = ?1)",
                )?
                .execute([file])?;
            }
            for host in missing {
                if !has_live_job(c, file, host)? {
                    insert_job(c, by, file, host, arrival, maybe_duplicate)?;
                    made += 1;
                }
            }
        }
    }
    Ok(made)
}

/// A file that was there before its watch, and was not wanted then, never had any; a host that is added later does not make it wanted.
fn was_wanted(c: &Connection, file: i64) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT 1 FROM files WHERE id = ?1 AND (forgotten OR EXISTS (SELECT 1 FROM jobs WHERE file = ?1 AND NOT one_off))",
    )?;
    Ok(select.exists([file])?)
}

/// Those of `hosts` that have had no version of this file, unless it was passed over on purpose.
fn without_a_version<'a>(c: &Connection, file: i64, hosts: Vec<&'a String>) -> Result<Vec<&'a String>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT 1 FROM files WHERE id = ?1 AND (forgotten OR NOT EXISTS (SELECT 1 FROM jobs WHERE file = ?1)
           OR EXISTS (SELECT 1 FROM jobs WHERE file = ?1 AND host = ?2 AND state IN ('uploaded', 'done')))",
    )?;
    let mut without = Vec::new();
    for host in hosts {
        if !select.exists(params![file, host])? {
            without.push(host);
        }
    }
    Ok(without)
}

/// Those of `hosts` that this version of a file was never for. What is on its way to the others goes there from now on whatever the
/// watches say.
fn never_sent_to<'a>(c: &Connection, by: Caller, file: i64, hosts: &'a [String]) -> Result<Vec<&'a String>, StoreError> {
    let mut missing = Vec::new();
    for host in hosts {
        let mut select = c.prepare_cached(
            "SELECT j.id FROM jobs j JOIN files f ON f.id = j.file AND f.version = j.version
             WHERE j.file = ?1 AND j.host = ?2 AND j.state <> 'gone' ORDER BY j.id DESC LIMIT 1",
        )?;
        match select.query_row(params![file, host], |row| Ok(JobId(row.get(0)?))).optional()? {
            Some(job) => send_all_the_same(c, by, job)?,
            None => missing.push(host),
        }
    }
    Ok(missing)
}

/// What rests because of the watches goes on.
fn send_all_the_same(c: &Connection, by: Caller, job: JobId) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE jobs SET one_off = 1 WHERE id = ?1")?.execute([job.0])?;
    let mut update = c.prepare_cached(
        "UPDATE OR FAIL jobs SET state = 'queued', since = ?2, why = NULL, abandon_at = NULL
         WHERE id = ?1 AND state = 'waiting' AND next_try IS NULL",
    )?;
    update.execute(params![job.0, by.now_ms])?;
    Ok(())
}

/// A version that is on its way to a host, or is there and has hooks to come, is never sent there a second time beside it.
fn has_live_job(c: &Connection, file: i64, host: &str) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT 1 FROM jobs j JOIN files f ON f.id = j.file WHERE j.file = ?1 AND j.host = ?2 AND j.version = f.version
           AND j.state IN ('queued', 'uploading', 'waiting', 'held', 'paused', 'uploaded') LIMIT 1",
    )?;
    Ok(select.query_row(params![file, host], |_| Ok(())).optional()?.is_some())
}

/// The file system tells something else of the version at this path by now.
pub(super) fn record_new_numbers(c: &Connection, _: Caller, folder: &Path, name: &OsStr, now: &Identity) -> Result<(), StoreError> {
    match find_file(c, folder, name)? {
        Some(row) if row.identity.likeness(now) != Likeness::Other => renumber(c, &row, now),
        _ => Ok(()),
    }
}

/// The jobs of the version keep the change time of what was sent: where it is another now, nothing half-sent is completed unseen, and
/// no source is touched on the strength of the new numbers.
fn renumber(c: &Connection, row: &FileRow, now: &Identity) -> Result<(), StoreError> {
    let Identity { device, inode, mtime_ns, ctime_ns, born_ns, .. } = now;
    let mut update = c.prepare_cached(
        "UPDATE jobs SET device = ?2, inode = ?3, mtime_ns = ?4, born_ns = ?5
         WHERE file = ?1 AND version = (SELECT version FROM files WHERE id = ?1)
           AND (device, inode, mtime_ns, born_ns) <> (?2, ?3, ?4, ?5)",
    )?;
    update.execute(params![row.id, device, inode, mtime_ns, born_ns])?;
    let mut update =
        c.prepare_cached("UPDATE files SET device = ?2, inode = ?3, mtime_ns = ?4, ctime_ns = ?5, born_ns = ?6 WHERE id = ?1")?;
    update.execute(params![row.id, device, inode, mtime_ns, ctime_ns, born_ns])?;
    Ok(())
}

/// After a damaged queue was rebuilt, files from before may have been uploaded already; their jobs say so.
fn rebuilt_ns(c: &Connection) -> Result<Option<i64>, StoreError> {
    let mut select = c.prepare_cached("SELECT CAST(value AS INTEGER) FROM notes WHERE key = 'rebuilt_at_ms'")?;
    let rebuilt_ms: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
    Ok(rebuilt_ms.map(|ms| ms.saturating_mul(1_000_000)))
}

fn folder_id(c: &Connection, path: &Path) -> Result<i64, StoreError> {
    if let Some(id) = find_folder(c, path)? {
        return Ok(id);
    }
    let mut insert = c.prepare_cached("INSERT INTO folders (path) VALUES (?1)")?;
    Ok(insert.insert([path.as_os_str().as_bytes()])?)
}

pub(super) fn route_id<'a>(c: &Connection, hosts: impl Iterator<Item = &'a String>) -> Result<i64, StoreError> {
    let mut names: Vec<&str> = hosts.map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let text = names.join("\n");
    let mut select = c.prepare_cached("SELECT id FROM routes WHERE hosts = ?1")?;
    if let Some(id) = select.query_row([&text], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    Ok(c.prepare_cached("INSERT INTO routes (hosts) VALUES (?1)")?.insert([&text])?)
}

fn remember(c: &Connection, folder: i64, arrival: &Arrival, route: i64) -> Result<i64, StoreError> {
    let Identity { device, inode, size, mtime_ns, ctime_ns, born_ns } = arrival.identity;
    let mut insert = c.prepare_cached(
        "INSERT INTO files (folder, name, device, inode, size, mtime_ns, ctime_ns, born_ns, route, fingerprint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let (name, size, fingerprint) = (arrival.name.as_bytes(), size.cast_signed(), arrival.fingerprint.map(|of| of.0));
    Ok(insert.insert(params![folder, name, device, inode, size, mtime_ns, ctime_ns, born_ns, route, fingerprint])?)
}

/// The same version goes to these hosts from now on.
fn take_up_for(c: &Connection, row: &FileRow, route: i64) -> Result<i64, StoreError> {
    c.prepare_cached("UPDATE files SET route = ?2 WHERE id = ?1")?.execute(params![row.id, route])?;
    Ok(row.id)
}

/// Another file has taken the place of one that was taken up: whoever comes back under another name may be that one. The last of a
/// place is remembered.
fn remember_replaced(c: &Connection, folder: i64, row: &FileRow, arrival: &Arrival) -> Result<(), StoreError> {
    if row.identity.same_numbers(&arrival.identity) || row.route.is_none() {
        return Ok(());
    }
    let Identity { device, inode, size, mtime_ns, ctime_ns, born_ns } = row.identity;
    let mut insert = c.prepare_cached(
        "INSERT OR REPLACE INTO files (folder, name, device, inode, size, mtime_ns, ctime_ns, born_ns, route, fingerprint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let (name, fingerprint) = (replaced(&arrival.name, row.id), row.fingerprint.map(|of| of.0));
    let numbers =
        params![folder, name.as_bytes(), device, inode, size.cast_signed(), mtime_ns, ctime_ns, born_ns, row.route, fingerprint];
    insert.execute(numbers)?;
    Ok(())
}

fn replace_version(c: &Connection, row: &FileRow, arrival: &Arrival, route: i64) -> Result<i64, StoreError> {
    let Identity { device, inode, size, mtime_ns, ctime_ns, born_ns } = arrival.identity;
    let version = match arrival.fingerprint {
        // It is known to be another one than that of this size and time.
        Some(_) => None,
        None => version_under_way(c, row.id, &arrival.identity)?,
    };
    let mut update = c.prepare_cached(
        "UPDATE files SET device = ?2, inode = ?3, size = ?4, mtime_ns = ?5, ctime_ns = ?6, born_ns = ?7, route = ?8, fingerprint = ?9,
                version = coalesce(?10, 1 + max(version, (SELECT coalesce(max(version), 0) FROM jobs WHERE file = ?1))) WHERE id = ?1",
    )?;
    let (size, fingerprint) = (size.cast_signed(), arrival.fingerprint.map(|of| of.0));
    update.execute(params![row.id, device, inode, size, mtime_ns, ctime_ns, born_ns, route, fingerprint, version])?;
    Ok(row.id)
}

/// The number of an earlier version that is back before its jobs are over, as when two files change their names and change them back.
fn version_under_way(c: &Connection, file: i64, identity: &Identity) -> Result<Option<i64>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT version FROM jobs WHERE file = ?1 AND size = ?2 AND mtime_ns = ?3
           AND state IN ('queued', 'uploading', 'waiting', 'held', 'paused', 'uploaded') ORDER BY id DESC LIMIT 1",
    )?;
    let values = params![file, identity.size.cast_signed(), identity.mtime_ns];
    Ok(select.query_row(values, |row| row.get(0)).optional()?)
}

/// Keeps the fingerprint of what a job sends, by which the scan knows the version again. Answers false where another job has sent
/// something else under the same version: its file was changed in between, and a scan has yet to see that. The same where the scan has
/// seen it, and this is what the jobs of the later version send.
pub(super) fn keep_fingerprint(c: &Connection, job: i64, version: &Version) -> Result<bool, StoreError> {
    let Some(Fingerprint(fingerprint)) = version.fingerprint else { return Ok(true) };
    let mut select = c.prepare_cached(
        "SELECT 1 FROM jobs j JOIN files f ON f.id = j.file AND f.version <> j.version
         WHERE j.id = ?1 AND (f.size, f.mtime_ns) = (j.size, j.mtime_ns) AND f.route IS NOT NULL AND (f.fingerprint = ?2 OR f.ctime_ns = ?3)",
    )?;
    if select.exists(params![job, fingerprint, version.identity.ctime_ns])? {
        return Ok(false);
    }
    let mut select = c.prepare_cached(
        "SELECT f.id FROM jobs j JOIN files f ON f.id = j.file AND f.version = j.version
         WHERE j.id = ?1 AND f.fingerprint <> ?2
           AND EXISTS (SELECT 1 FROM jobs o LEFT JOIN uploads u ON u.job = o.id WHERE o.file = j.file AND o.version = j.version AND o.id <> j.id
                       AND (o.state IN ('uploaded', 'done') OR u.job IS NOT NULL))",
    )?;
    if let Some(file) = select.query_row(params![job, fingerprint], |row| row.get::<_, i64>(0)).optional()? {
        // By its numbers it would be known.
        c.prepare_cached("UPDATE files SET ctime_ns = 0 WHERE id = ?1")?.execute([file])?;
        return Ok(false);
    }
    let mut update = c.prepare_cached(
        "UPDATE files SET fingerprint = ?2 WHERE (id, version) = (SELECT file, version FROM jobs WHERE id = ?1) AND fingerprint IS NOT ?2",
    )?;
    update.execute(params![job, fingerprint])?;
    Ok(true)
}

/// Jobs for an earlier version that have sent nothing yet end here. One with a session is left to its worker, which gives the
/// session back and may still learn that the earlier version is on the host.
fn supersede(c: &Connection, file: i64, now_ms: i64) -> Result<(), StoreError> {
    let mut update = c.prepare_cached(
        "UPDATE jobs SET state = 'gone', since = ?2, next_try = NULL, why = ?3
         WHERE file = ?1 AND state IN ('queued', 'waiting', 'held', 'paused')
           AND NOT EXISTS (SELECT 1 FROM uploads WHERE job = jobs.id)",
    )?;
    update.execute(params![file, now_ms, Reason::new(ReasonClass::Superseded)])?;
    deliveries::supersede(c, file, now_ms)
}

fn insert_job(
    c: &Connection,
    by: Caller,
    file: i64,
    host: &str,
    arrival: &Arrival,
    maybe_duplicate: bool,
) -> Result<(), StoreError> {
    let Identity { device, inode, size, mtime_ns, ctime_ns, born_ns } = arrival.identity;
    let mut insert = c.prepare_cached(
        "INSERT OR FAIL INTO jobs (file, host, device, inode, size, mtime_ns, ctime_ns, born_ns, state, priority, queued_at, since, maybe_duplicate,
                                   owner, version, one_off, close_seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', ?9, ?10, ?10,
                 ?11 OR EXISTS (SELECT 1 FROM jobs s WHERE s.file = ?1 AND s.host = ?2 AND s.state = 'gone' AND s.maybe_duplicate
                                AND (s.size, s.mtime_ns) = (?5, ?6)),
                 ?13, (SELECT version FROM files WHERE id = ?1), ?14,
                 ?12 OR EXISTS (SELECT 1 FROM jobs s WHERE s.file = ?1 AND s.close_seen
                                AND (s.device, s.inode, s.size, s.mtime_ns, s.ctime_ns) = (?3, ?4, ?5, ?6, ?7)))",
    )?;
    let size = size.cast_signed();
    let Arrival { priority, close_seen, one_off, .. } = arrival;
    // What was seen for one host's job holds for another's that is made later. And a host that may have a version which went and has
    // come back may have it still.
    insert.execute(params![
        file,
        host,
        device,
        inode,
        size,
        mtime_ns,
        ctime_ns,
        born_ns,
        priority,
        by.now_ms,
        maybe_duplicate,
        close_seen,
        by.daemon.0,
        one_off
    ])?;
    Ok(())
}

/// Moves what is remembered of a file to another path. Whatever was remembered there before is of a file that is no more, or has yet
/// another name, under which it is met by and by.
pub(super) fn record_rename(
    c: &Connection,
    _: Caller,
    from: (&Path, &OsStr),
    to: (&Path, &OsStr),
    now: &Identity,
) -> Result<bool, StoreError> {
    let Some(file) = find_file(c, from.0, from.1)?.filter(|row| row.route.is_some() && row.identity.same_version(now)) else {
        return Ok(false);
    };
    let (folder, name) = (folder_id(c, to.0)?, to.1);
    if let Some(other) = file_at(c, folder, name)?
        && other.id != file.id
    {
        let unique = displaced(name, other.id);
        c.prepare_cached("UPDATE files SET name = ?2 WHERE id = ?1")?.execute(params![other.id, unique.as_bytes()])?;
    }
    c.prepare_cached("UPDATE files SET folder = ?2, name = ?3 WHERE id = ?1")?.execute(params![
        file.id,
        folder,
        name.as_bytes()
    ])?;
    renumber(c, &file, now)?;
    Ok(true)
}

/// The name that is kept for a file once another one has it.
pub(super) fn displaced(name: &OsStr, file: i64) -> OsString {
    let mut unique = name.as_bytes().to_vec();
    unique.push(DISPLACED);
    unique.extend(file.to_string().into_bytes());
    OsString::from_vec(unique)
}

/// The name under which the version is remembered that a file had, `file`, before another took its place.
pub(super) fn replaced(name: &OsStr, file: i64) -> OsString {
    let mut unique = name.as_bytes().to_vec();
    unique.extend([DISPLACED, DISPLACED]);
    unique.extend(file.to_string().into_bytes());
    OsString::from_vec(unique)
}

/// Forgets that this version was taken up for the job's host, so that the scan meets it again. Other hosts keep what they have.
pub(super) fn forget(c: &Connection, job: i64) -> Result<(), StoreError> {
    let mut select = c.prepare_cached(
        "SELECT f.id, f.route, j.host FROM jobs j JOIN files f ON f.id = j.file
         WHERE j.id = ?1 AND f.route IS NOT NULL AND f.version = j.version",
    )?;
    let found: Option<(i64, i64, String)> =
        select.query_row([job], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let Some((file, route, host)) = found else { return Ok(()) };
    let others: Vec<String> = hosts_of(c, route)?.into_iter().filter(|other| *other != host).collect();
    let route = if others.is_empty() { None } else { Some(route_id(c, others.iter())?) };
    c.prepare_cached("UPDATE files SET route = ?2 WHERE id = ?1")?.execute(params![file, route])?;
    Ok(())
}

/// Takes a done job and its file over from another database: the columns are those of `rescue`.
pub(super) fn take_over(c: &Connection, row: &Row<'_>) -> Result<(), StoreError> {
    use rusqlite::types::Value;

    let folder = folder_id(c, Path::new(OsStr::from_bytes(&row.get::<_, Vec<u8>>(0)?)))?;
    let name = OsString::from_vec(row.get(1)?);
    let identity = identity_at(row, 2)?;
    let host: String = row.get(8)?;
    let before = file_at(c, folder, &name)?;
    let mut hosts = match before.as_ref().and_then(|before| before.route) {
        Some(route) => hosts_of(c, route)?,
        None => Vec::new(),
    };
    hosts.push(host.clone());
    let route = route_id(c, hosts.iter())?;
    let arrival = Arrival {
        folder: PathBuf::new(),
        name,
        identity,
        hosts: hosts.into(),
        make_jobs: false,
        one_off: false,
        first_version_only: false,
        priority: row.get(9)?,
        close_seen: false,
        fingerprint: None,
        maybe_known: false,
    };
    let file = match &before {
        Some(row) => take_up_for(c, row, route)?,
        None => remember(c, folder, &arrival, route)?,
    };
    insert_job(c, Caller { daemon: DaemonId::LOCAL, now_ms: row.get(10)? }, file, &host, &arrival, false)?;
    let job = c.last_insert_rowid();
    let rest: Vec<Value> = (11..18).map(|column| row.get(column)).collect::<Result<_, _>>()?;
    let mut update = c.prepare_cached(
        "UPDATE jobs SET state = 'done', since = ?2, done_at = ?3, attempts = ?4, maybe_duplicate = ?5, link = ?6, remote_id = ?7,
                expires = ?8 WHERE id = ?1",
    )?;
    let values = std::iter::once(Value::Integer(job)).chain(rest);
    update.execute(rusqlite::params_from_iter(values))?;
    Ok(())
}
