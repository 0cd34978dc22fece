//! What has been taken up: the scan's memory of files, and the one way from a settled file to its jobs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::job::{Identity, Reason, ReasonClass};

use super::deliveries;
use super::error::StoreError;
use super::rows::identity_at;
use super::values::{Arrival, Caller, DaemonId, LOOKUPS_MAX, Seen};

/// The hosts of routes, which never change once they are committed.
pub(super) type Routes = HashMap<i64, Vec<String>>;

struct FileRow {
    id: i64,
    identity: Identity,
    route: Option<i64>,
}

const FILE_COLUMNS: &str = "id, device, inode, size, mtime_ns, ctime_ns, born_ns, route";

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
        && row.identity.same_version(identity)
        && let Some(route) = row.route
    {
        return Ok(if !covers(c, routes, route, hosts)? {
            Seen::Unknown
        } else if row.identity.same_numbers(identity) {
            Seen::Known
        } else {
            Seen::Renumbered
        });
    }
    look_elsewhere(c, identity)
}

/// Without a time of birth an inode's number may have been used again, so nothing is concluded from it.
fn look_elsewhere(c: &Connection, identity: &Identity) -> Result<Seen, StoreError> {
    if identity.born_ns == 0 || planted!("rename.is_new") {
        return Ok(Seen::Unknown);
    }
    let mut select = c.prepare_cached(
        "SELECT f.id, f.device, f.inode, f.size, f.mtime_ns, f.ctime_ns, f.born_ns, f.route, d.path, f.name
         FROM files f JOIN folders d ON d.id = f.folder WHERE f.inode = ?1 AND f.route IS NOT NULL",
    )?;
    let mut rows = select.query([identity.inode])?;
    while let Some(row) = rows.next()? {
        let found = FileRow::read(row)?;
        if found.identity.same_inode(identity) {
            let (folder, name) = (OsString::from_vec(row.get(8)?), OsString::from_vec(row.get(9)?));
            return Ok(Seen::Elsewhere { folder: folder.into(), name });
        }
    }
    Ok(Seen::Unknown)
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
        Ok(FileRow { id: row.get(0)?, identity: identity_at(row, 1)?, route: row.get(7)? })
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
        let same = before.as_ref().filter(|row| row.identity.same_version(&arrival.identity) && row.route.is_some());
        let taken = match same.and_then(|row| row.route) {
            Some(route) => hosts_of(c, route)?,
            None => Vec::new(),
        };
        let missing: Vec<&String> = arrival.hosts.iter().filter(|host| !taken.contains(host)).collect();
        if same.is_some() && missing.is_empty() {
            continue;
        }
        if let Some(row) = same {
            renumber(c, row, &arrival.identity)?;
        }
        let route = route_id(c, taken.iter().chain(missing.iter().copied()))?;
        let file = remember(c, before.as_ref(), folder, arrival, route)?;
        if before.is_some() && same.is_none() {
            supersede(c, file, now_ms)?;
        }
        let passed_over = same.is_some() && !has_jobs(c, file)?;
        if arrival.make_jobs && !passed_over {
            let maybe_duplicate = rebuilt_ns.is_some_and(|rebuilt| arrival.identity.ctime_ns < rebuilt);
            if same.is_some() {
                // What is to happen when every host has the file waits for these, too.
                c.prepare_cached(
                    "UPDATE deliveries SET next_try = NULL, said = NULL WHERE event = 'after' AND job IN (SELECT id FROM jobs WHERE file = ?1)",
                )?
                .execute([file])?;
            }
            for host in missing {
                if !has_live_job(c, file, host, &arrival.identity)? {
                    insert_job(c, by, file, host, arrival, maybe_duplicate)?;
                    made += 1;
                }
            }
        }
    }
    Ok(made)
}

/// A file that was there before its watch, and was not wanted then, has none; a host that is added later does not make it wanted.
fn has_jobs(c: &Connection, file: i64) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached("SELECT 1 FROM jobs WHERE file = ?1 LIMIT 1")?;
    Ok(select.query_row([file], |_| Ok(())).optional()?.is_some())
}

/// A version that is on its way to a host, or is there and has hooks to come, is never sent there a second time beside it.
fn has_live_job(c: &Connection, file: i64, host: &str, identity: &Identity) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT 1 FROM jobs WHERE file = ?1 AND host = ?2 AND size = ?3 AND mtime_ns = ?4
           AND state IN ('queued', 'uploading', 'waiting', 'held', 'paused', 'uploaded') LIMIT 1",
    )?;
    let values = params![file, host, identity.size.cast_signed(), identity.mtime_ns];
    Ok(select.query_row(values, |_| Ok(())).optional()?.is_some())
}

/// The file system has given the file at this path other numbers since it was taken up.
pub(super) fn record_new_numbers(c: &Connection, _: Caller, folder: &Path, name: &OsStr, now: &Identity) -> Result<(), StoreError> {
    match find_file(c, folder, name)? {
        Some(row) if row.identity.same_version(now) => renumber(c, &row, now),
        _ => Ok(()),
    }
}

/// The jobs of the version keep the change time of what was sent: where it is another now, nothing half-sent is completed and no
/// source is touched on the strength of the new numbers.
fn renumber(c: &Connection, row: &FileRow, now: &Identity) -> Result<(), StoreError> {
    let Identity { device, inode, ctime_ns, born_ns, .. } = now;
    let before = row.identity;
    let mut update = c.prepare_cached(
        "UPDATE jobs SET device = ?2, inode = ?3, born_ns = ?4
         WHERE file = ?1 AND size = ?5 AND mtime_ns = ?6 AND (device, inode, born_ns) = (?7, ?8, ?9)",
    )?;
    let size = before.size.cast_signed();
    update.execute(params![row.id, device, inode, born_ns, size, before.mtime_ns, before.device, before.inode, before.born_ns])?;
    let mut update = c.prepare_cached("UPDATE files SET device = ?2, inode = ?3, born_ns = ?4, ctime_ns = ?5 WHERE id = ?1")?;
    update.execute(params![row.id, device, inode, born_ns, ctime_ns])?;
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

fn remember(c: &Connection, before: Option<&FileRow>, folder: i64, arrival: &Arrival, route: i64) -> Result<i64, StoreError> {
    let Identity { device, inode, size, mtime_ns, ctime_ns, born_ns } = arrival.identity;
    let size = size.cast_signed();
    if let Some(row) = before {
        let mut update = c.prepare_cached(
            "UPDATE files SET device = ?2, inode = ?3, size = ?4, mtime_ns = ?5, ctime_ns = ?6, born_ns = ?7, route = ?8 WHERE id = ?1",
        )?;
        update.execute(params![row.id, device, inode, size, mtime_ns, ctime_ns, born_ns, route])?;
        return Ok(row.id);
    }
    let mut insert = c.prepare_cached(
        "INSERT INTO files (folder, name, device, inode, size, mtime_ns, ctime_ns, born_ns, route)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let name = arrival.name.as_bytes();
    Ok(insert.insert(params![folder, name, device, inode, size, mtime_ns, ctime_ns, born_ns, route])?)
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
                                   owner, close_seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', ?9, ?10, ?10, ?11, ?13,
                 ?12 OR EXISTS (SELECT 1 FROM jobs s WHERE s.file = ?1 AND s.close_seen
                                AND (s.device, s.inode, s.size, s.mtime_ns, s.ctime_ns) = (?3, ?4, ?5, ?6, ?7)))",
    )?;
    let size = size.cast_signed();
    let Arrival { priority, close_seen, .. } = arrival;
    // What was seen for one host's job holds for another's that is made later.
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
        by.daemon.0
    ])?;
    Ok(())
}

/// Moves what is remembered of a file to another path. Whatever was remembered there before is of a file that is no more.
pub(super) fn record_rename(
    c: &Connection,
    _: Caller,
    from: (&Path, &OsStr),
    to: (&Path, &OsStr),
    now: &Identity,
) -> Result<bool, StoreError> {
    let Some(file) = find_file(c, from.0, from.1)?.filter(|row| row.route.is_some() && row.identity.same_inode(now)) else {
        return Ok(false);
    };
    let (folder, name) = (folder_id(c, to.0)?, to.1);
    if let Some(other) = file_at(c, folder, name)?
        && other.id != file.id
    {
        let unique = format!("{}\0{}", String::from_utf8_lossy(name.as_bytes()), other.id);
        c.prepare_cached("UPDATE files SET name = ?2, route = NULL WHERE id = ?1")?
            .execute(params![other.id, unique.as_bytes()])?;
    }
    let mut update = c.prepare_cached("UPDATE files SET folder = ?2, name = ?3, ctime_ns = ?4 WHERE id = ?1")?;
    update.execute(params![file.id, folder, name.as_bytes(), now.ctime_ns])?;
    Ok(true)
}

/// Forgets that this version was taken up for the job's host, so that the scan meets it again. Other hosts keep what they have.
pub(super) fn forget(c: &Connection, job: i64) -> Result<(), StoreError> {
    let mut select = c.prepare_cached(
        "SELECT f.id, f.route, j.host FROM jobs j JOIN files f ON f.id = j.file
         WHERE j.id = ?1 AND f.route IS NOT NULL AND (f.mtime_ns, f.size) = (j.mtime_ns, j.size)",
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
    let hosts = hosts.into();
    let arrival =
        Arrival { folder: PathBuf::new(), name, identity, hosts, make_jobs: false, priority: row.get(9)?, close_seen: false };
    let file = remember(c, before.as_ref(), folder, &arrival, route)?;
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
