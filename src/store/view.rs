//! The queue as people see it: read in one transaction on a connection of its own, so that it neither waits for the daemon nor
//! stands in its way, whether the daemon runs, hangs or is dead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::job::delivery::hook_name;
use crate::job::health::HostState;
use crate::job::report::{DeliveryDetails, JobDetails};
use crate::job::steer::{Order, Selection, Steered};
use crate::job::turn::BEFORE_MAX;
use crate::job::watch::EventSource;
use crate::job::{HostReport, HostRow, JobId, JobRow, Reason, ReasonClass, State, WatchReport, WatchState};

use super::error::StoreError;
use super::rows::path_of;
use super::values::{DISPLACED, Steer};
use super::{FILE_NAME, place, schema, steering};

/// Rates older than this say nothing.
const LIVE_MS: i64 = 5_000;

/// Further jobs of shown versions, for each of those that are shown.
const BESIDE_MAX: usize = 8;

/// Events still to be told that are counted.
const TO_TELL_MAX: i64 = 10_000;

/// Links that are read at once.
const LINKS_IN_A_PAGE: i64 = 1_000;

/// A reader.
pub struct View {
    connection: Connection,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only jobs in these states; all when empty.
    pub states: Vec<State>,
    /// Only jobs of these hosts; all when empty.
    pub hosts: Vec<String>,
    /// Only jobs of files at or below these paths; all when empty.
    pub paths: Vec<PathBuf>,
    /// Only what has happened since then, in milliseconds since the Unix epoch: files that arrived, and other jobs that came into their
    /// state.
    pub since_ms: Option<i64>,
    /// Whether the other jobs of the same versions are wanted, too ([`Snapshot::beside`]).
    pub beside: bool,
    /// Jobs at most.
    pub limit: usize,
    /// The time against which rates are fresh, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// The queue at one instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Jobs per state, every state once, in the order of [`State::ALL`].
    pub totals: Vec<(State, u64)>,
    /// Bytes of jobs that still have to go, less what hosts hold of them.
    pub bytes_left: u64,
    /// Those of them that go without a person: of queued, uploading and waiting jobs, less what has flowed of them, by
    /// their hosts.
    pub bytes_moving: BTreeMap<String, u64>,
    /// Bytes that hosts hold: of done jobs, and of half-sent ones.
    pub bytes_sent: u64,
    /// Bytes a second, lately.
    pub per_second: u64,
    /// The configured watches.
    pub watches: Vec<WatchRow>,
    /// The configured hosts.
    pub hosts: Vec<HostRow>,
    /// Jobs, the most interesting first.
    pub jobs: Vec<JobRow>,
    /// Jobs of the same versions of files that are not among these: what is known of a file at its other hosts.
    pub beside: Vec<JobRow>,
    /// How many uploads are under way, by their hosts.
    pub uploading: BTreeMap<String, u64>,
    /// How many queued jobs of the same host are claimed before a queued one of these; of the first hundred alone.
    pub before: BTreeMap<JobId, u64>,
    /// What hooks are still to be told, and no job waits for.
    pub to_tell: Vec<ToTell>,
}

/// What a hook is still to be told of what has happened, while no job waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToTell {
    /// The hook, without its digest.
    pub hook: String,
    /// How many events, as far as they are counted.
    pub events: u64,
    /// When it is called next.
    pub next_try_ms: Option<i64>,
    /// Why it was told in vain.
    pub why: Option<Reason>,
}

/// A watch.
#[derive(Debug, Clone)]
pub struct WatchRow {
    /// Its folder.
    pub path: PathBuf,
    /// How it is doing.
    pub report: WatchReport,
}

/// A file that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Whether there is a job for it.
    pub has_jobs: bool,
    /// Whether there was one that was removed from the history.
    pub is_forgotten: bool,
}

/// Queued jobs of which it is counted how many are before them: as many as a person reads.
const PLACED_MAX: usize = 100;

/// Jobs of one file that are told.
const UPLOADS_MAX: i64 = 100;

/// What is left to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Jobs that go on by themselves, and files that will be jobs.
    pub moving: u64,
    /// Jobs that a person must look at, by their states.
    pub needs_a_person: BTreeMap<State, u64>,
}

/// What people want to see first: what needs them, what moves, what waits, what is next, what was done last.
const GROUPS: [&[State]; 5] = [
    &[State::Held, State::Failed],
    &[State::Uploading],
    &[State::Waiting, State::Uploaded, State::Paused],
    &[State::Queued],
    &[State::Done, State::Gone, State::Cancelled],
];

/// How many of so many jobs in each group are shown: each group is sure of its share, and what one leaves over goes to the first that
/// have more.
fn shares(found: [usize; GROUPS.len()], limit: usize) -> [usize; GROUPS.len()] {
    let mut shown = found.map(|jobs| jobs.min(limit / GROUPS.len()));
    let mut room = limit - shown.iter().sum::<usize>();
    for (shown, found) in shown.iter_mut().zip(found) {
        let more = (found - *shown).min(room);
        *shown += more;
        room -= more;
    }
    shown
}

const COLUMNS: &str = "j.id, d.path, f.name, j.host, j.state, j.size, coalesce(u.held_bytes, 0),
    coalesce((SELECT max(sent) FROM live WHERE job = j.id AND at >= ?1), 0),
    coalesce((SELECT max(per_second) FROM live WHERE job = j.id AND at >= ?1), 0), CASE WHEN j.state IN ('done', 'uploaded') THEN j.parts ELSE coalesce(u.parts, 0) END,
    CASE WHEN j.state IN ('done', 'uploaded') THEN j.parts ELSE coalesce(u.parts_acked, 0) END, j.attempts, j.priority, j.since, j.next_try, j.why,
    j.link, j.remote_id, j.expires, j.maybe_duplicate, j.queued_at, j.done_at, j.stored_name, j.stored_bytes";

impl View {
    /// Opens the queue in `dir`; nothing when there is none yet, or nothing in it.
    pub fn open(dir: &Path) -> Result<Option<View>, StoreError> {
        if let Some(damage) = place::half_done(dir) {
            return Err(StoreError::Damaged(damage));
        }
        let path = dir.join(FILE_NAME);
        if !path.try_exists()? {
            return Ok(None);
        }
        let connection = schema::open_reader(&path)?;
        Ok((!schema::is_empty(&connection)?).then_some(View { connection }))
    }

    /// Reads the whole queue and says what is damaged in it.
    pub fn check(&self) -> Result<(), StoreError> {
        let found: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(StoreError::Damaged(found.replace('\n', " "))) }
    }

    /// The names of the hosts that the queue knows: those that were configured last, and those of its jobs.
    pub fn host_names(&self) -> Result<Vec<String>, StoreError> {
        let mut select = self
            .connection
            .prepare("SELECT name FROM hosts UNION SELECT host FROM totals GROUP BY host, state HAVING sum(jobs) > 0")?;
        let rows = select.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The queue at this instant.
    pub fn snapshot(&mut self, query: &Query) -> Result<Snapshot, StoreError> {
        let transaction = self.connection.transaction()?;
        let c = &transaction;
        let mut snapshot = Snapshot { watches: watches(c)?, hosts: hosts(c)?, to_tell: to_tell(c)?, ..Snapshot::default() };
        totals(c, &mut snapshot)?;
        snapshot.per_second =
            c.query_row("SELECT coalesce(sum(per_second), 0) FROM live WHERE at >= ?1", [query.now_ms - LIVE_MS], |row| {
                unsigned(row, 0)
            })?;
        let mut groups: [Vec<JobRow>; GROUPS.len()] = Default::default();
        for (found, group) in groups.iter_mut().zip(GROUPS) {
            for state in group.iter().filter(|state| query.states.is_empty() || query.states.contains(state)) {
                found.extend(jobs(c, query, *state, query.limit)?);
            }
            sort(found, group);
            found.truncate(query.limit);
        }
        let shares = shares(groups.each_ref().map(Vec::len), query.limit);
        snapshot.jobs = groups.into_iter().zip(shares).flat_map(|(group, share)| group.into_iter().take(share)).collect();
        if query.beside {
            snapshot.beside = beside(c, query, &snapshot.jobs)?;
        }
        snapshot.bytes_moving = bytes_moving(c, query.now_ms)?;
        snapshot.uploading = uploading(c)?;
        for job in snapshot.jobs.iter().filter(|job| job.state == State::Queued).take(PLACED_MAX) {
            snapshot.before.insert(job.id, before(c, job)?);
        }
        snapshot.explain();
        Ok(snapshot)
    }

    /// The job of this number.
    pub fn job(&self, id: JobId) -> Result<Option<JobRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
             LEFT JOIN uploads u ON u.job = j.id WHERE j.id = ?2"
        );
        let sql = if is_older(&self.connection)? { for_older(&sql) } else { sql };
        let mut select = self.connection.prepare(&sql)?;
        Ok(select.query_row([i64::MAX, id.0], job_row).optional()?)
    }

    /// Names of files that are known in the folder of this one, as far as they are texts.
    pub fn names_beside(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        use std::os::unix::ffi::OsStrExt;
        let mut select = self.connection.prepare(
            "SELECT f.name FROM files f JOIN folders d ON d.id = f.folder WHERE d.path = ?1 AND f.route IS NOT NULL LIMIT 10000",
        )?;
        let folder = path.parent().unwrap_or(path).as_os_str().as_bytes();
        let names = select.query_map([folder], |row| row.get::<_, Vec<u8>>(0))?.collect::<Result<Vec<_>, _>>()?;
        let names = names.into_iter().filter(|name| !name.contains(&DISPLACED));
        Ok(names.filter_map(|name| String::from_utf8(name).ok()).collect())
    }

    /// What is known of the file at this path, if it is.
    pub fn known(&self, path: &Path) -> Result<Option<Known>, StoreError> {
        use std::os::unix::ffi::OsStrExt;
        let forgotten = if version_of(&self.connection)? < 6 { "0" } else { "f.forgotten" };
        let mut select = self.connection.prepare(&format!(
            "SELECT {forgotten}, EXISTS (SELECT 1 FROM jobs WHERE file = f.id) FROM files f JOIN folders d ON d.id = f.folder
             WHERE d.path = ?1 AND f.name = ?2 AND f.route IS NOT NULL"
        ))?;
        let folder = path.parent().unwrap_or(path).as_os_str().as_bytes();
        let name = path.file_name().unwrap_or_default().as_bytes();
        Ok(select.query_row([folder, name], |row| Ok(Known { is_forgotten: row.get(0)?, has_jobs: row.get(1)? })).optional()?)
    }

    /// What is on the hosts of the file at this path, the newest first.
    pub fn uploads_of(&self, path: &Path) -> Result<Vec<JobRow>, StoreError> {
        let query = Query { paths: vec![path.to_owned()], ..Query::default() };
        let (filter, mut values) = filter(&query);
        (values[0], values[1]) = (Value::Integer(i64::MAX), Value::Integer(UPLOADS_MAX));
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
             LEFT JOIN uploads u ON u.job = j.id
             WHERE (j.link IS NOT NULL OR j.remote_id IS NOT NULL){filter} ORDER BY j.done_at DESC, j.id DESC LIMIT ?2"
        );
        let sql = if is_older(&self.connection)? { for_older(&sql) } else { sql };
        let mut select = self.connection.prepare(&sql)?;
        let rows = select.query_map(params_from_iter(values), job_row)?.collect::<Result<Vec<_>, _>>()?;
        Ok(rows.into_iter().filter(|job| job.path == path).collect())
    }

    /// What an order would do.
    pub fn foresee(&mut self, order: Order, selection: &Selection) -> Result<Steered, StoreError> {
        let transaction = self.connection.transaction()?;
        if version_of(&transaction)? < schema::version() {
            return Err(older());
        }
        let (mut foreseen, mut after) = (Steered::default(), Some(JobId(0)));
        while let Some(from) = after {
            let page = Steer { order, selection: selection.clone(), after: from, under_way: true };
            let page = steering::foresee(&transaction, &page)?;
            after = page.next;
            foreseen.add(page);
        }
        Ok(foreseen)
    }

    /// A job with all that is known of it. A queue of an older version does not have it all.
    pub fn details(&mut self, id: JobId, now_ms: i64) -> Result<Option<(JobRow, JobDetails)>, StoreError> {
        let transaction = self.connection.transaction()?;
        if is_older(&transaction)? {
            return Err(older());
        }
        let sql = format!(
            "SELECT {COLUMNS}, j.failures AS failures, j.sessions_lost AS sessions_lost, j.wanted AS wanted, j.proof AS proof, u.opened_at AS opened_at,
                    coalesce(u.committing, 0) AS committing, j.file AS file
             FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder LEFT JOIN uploads u ON u.job = j.id WHERE j.id = ?2"
        );
        let found = transaction.prepare(&sql)?.query_row([now_ms - LIVE_MS, id.0], |row| {
            let wanted = row.get::<_, Option<String>>("wanted")?.and_then(|word| State::from_word(&word));
            let details = JobDetails {
                failures: row.get("failures")?,
                sessions_lost: row.get("sessions_lost")?,
                wanted,
                proof: row.get("proof")?,
                opened_ms: row.get("opened_at")?,
                committing: row.get("committing")?,
                deliveries: Vec::new(),
                others: Vec::new(),
            };
            Ok((job_row(row)?, details, row.get::<_, i64>("file")?))
        });
        let Some((job, mut details, file)) = found.optional()? else { return Ok(None) };
        let mut select = transaction.prepare("SELECT hook, event, next_try, tries FROM deliveries WHERE job = ?1 ORDER BY id")?;
        let delivery = |row: &Row<'_>| {
            let hook = hook_name(&row.get::<_, String>(0)?).to_owned();
            Ok(DeliveryDetails { hook, event: row.get(1)?, next_try_ms: row.get(2)?, tries: unsigned(row, 3)? })
        };
        details.deliveries = select.query_map([id.0], delivery)?.collect::<Result<_, _>>()?;
        let sql = format!(
            "SELECT {COLUMNS} FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
             LEFT JOIN uploads u ON u.job = j.id WHERE j.file = ?2 AND j.id <> ?3 ORDER BY j.id DESC LIMIT {UPLOADS_MAX}"
        );
        details.others = transaction.prepare(&sql)?.query_map([i64::MAX, file, id.0], job_row)?.collect::<Result<_, _>>()?;
        Ok(Some((job, details)))
    }

    /// What is left to do. A job that waits for a line of the configuration to come back, or for a person, does not move; neither does
    /// one whose after-action waits for such a job, or for proof that its host does not give.
    pub fn remaining(&mut self) -> Result<Remaining, StoreError> {
        let transaction = self.connection.transaction()?;
        let mut remaining = Remaining::default();
        let waited_for = waited_for(&transaction)?;
        let mut select = transaction.prepare(&format!(
            "SELECT j.state, j.state IN ('queued', 'uploading') OR (j.state = 'waiting' AND j.next_try IS NOT NULL)
                    OR (j.state = 'uploaded' AND EXISTS (SELECT 1 FROM deliveries WHERE job = j.id AND {waited_for} AND next_try IS NOT NULL)),
                    count(*)
             FROM jobs j WHERE j.state IN ('queued', 'uploading', 'waiting', 'uploaded', 'held', 'failed', 'paused') GROUP BY 1, 2"
        ))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let state = State::from_word(&row.get::<_, String>(0)?).unwrap_or(State::Held);
            if row.get(1)? {
                remaining.moving += unsigned(row, 2)?;
            } else {
                *remaining.needs_a_person.entry(state).or_default() += unsigned(row, 2)?;
            }
        }
        // Files that will be jobs, and folders that have not been looked through yet.
        let sql = "SELECT coalesce(sum(settling + (state IN ('starting', 'scanning'))), 0) FROM watches WHERE configured = 1";
        remaining.moving += transaction.query_row(sql, [], |row| unsigned(row, 0))?;
        Ok(remaining)
    }

    /// Hands over what is on the hosts, one job after the other, in the order in which it came there. With `since_ms`, only what came
    /// since then, in milliseconds since the Unix epoch. Ends early when `each` answers false. No snapshot is held meanwhile, which
    /// would keep the writer's log from being folded in as long as somebody reads.
    pub fn links(&mut self, since_ms: Option<i64>, mut each: impl FnMut(&JobRow) -> bool) -> Result<(), StoreError> {
        let mut after = (since_ms.unwrap_or(i64::MIN), i64::MIN);
        loop {
            let page = self.page_of_links(after)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.done_at_ms.unwrap_or(i64::MAX), last.id.0);
            // Somebody may delete a source because we say that it is up.
            self.take_to_disk()?;
            for job in &page {
                if !each(job) {
                    return Ok(());
                }
            }
        }
    }

    fn page_of_links(&self, (done_at_ms, id): (i64, i64)) -> Result<Vec<JobRow>, StoreError> {
        let mut sql = links_sql();
        if is_older(&self.connection)? {
            // It has the time of those that are done alone.
            sql = for_older(&sql).replace("INDEXED BY jobs_done", "").replace("j.done_at", "coalesce(j.done_at, j.since)");
        }
        let mut select = self.connection.prepare_cached(&sql)?;
        // No rate is fresh.
        let rows = select.query_map([i64::MAX, LINKS_IN_A_PAGE, done_at_ms, id], job_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What is committed may be ahead of the disk by one sync of the writer's.
    fn take_to_disk(&self) -> Result<(), StoreError> {
        let log = self.connection.path().map(|path| format!("{path}-wal"));
        match log.map(std::fs::File::open) {
            Some(Ok(log)) => Ok(log.sync_data()?),
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Snapshot {
    /// Without a daemon nothing moves, whatever the last one wrote down.
    pub fn nothing_moves(&mut self) {
        self.per_second = 0;
        self.uploading.clear();
        for job in self.jobs.iter_mut().chain(&mut self.beside) {
            job.per_second = 0;
            if job.state == State::Uploading {
                job.state = State::Queued;
            }
        }
        let uploading = self.totals.iter().find(|(state, _)| *state == State::Uploading).map_or(0, |(_, jobs)| *jobs);
        for (state, jobs) in &mut self.totals {
            match state {
                State::Uploading => *jobs = 0,
                State::Queued => *jobs += uploading,
                _ => {}
            }
        }
    }

    fn explain(&mut self) {
        for job in self.jobs.iter_mut().chain(&mut self.beside) {
            let host = self.hosts.iter().find(|host| host.name == job.host);
            job.explain(host.map(|host| &host.report));
        }
    }
}

fn sort(jobs: &mut [JobRow], group: &[State]) {
    use std::cmp::Reverse;
    match group[0] {
        State::Done => jobs.sort_by_key(|job| Reverse((job.done_at_ms.unwrap_or(job.since_ms), job.id))),
        State::Queued => jobs.sort_by_key(|job| (Reverse(job.priority), job.id)),
        _ => jobs.sort_by_key(|job| job.id),
    }
}

/// One state at a time, and the queue host by host, so that each is read along an index of its own and only as far as there is
/// room.
fn jobs(c: &Connection, query: &Query, state: State, room: usize) -> Result<Vec<JobRow>, StoreError> {
    if room == 0 {
        return Ok(Vec::new());
    }
    match state {
        State::Queued => {
            let mut found = Vec::new();
            for host in hosts_with_queue(c)? {
                if query.hosts.is_empty() || query.hosts.contains(&host) {
                    let query = Query { hosts: vec![host], ..query.clone() };
                    found.extend(select_jobs(c, &query, state, "j.priority DESC, j.id", room)?);
                }
            }
            Ok(found)
        }
        State::Done => select_jobs(c, query, state, "j.done_at DESC", room),
        State::Gone | State::Cancelled => select_jobs(c, query, state, "j.id DESC", room),
        _ => select_jobs(c, query, state, "j.id", room),
    }
}

/// What is left of the jobs that go without a person, less what has flowed of those under way.
fn bytes_moving(c: &Connection, now_ms: i64) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT host, sum(bytes) FROM totals WHERE state IN ('queued', 'uploading', 'waiting') GROUP BY host HAVING sum(bytes) > 0",
    )?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?;
    let mut left: BTreeMap<String, u64> = rows.collect::<Result<_, _>>()?;
    // Left to itself, SQLite would walk all jobs of these states rather than the few uploads.
    let mut select = c.prepare_cached(
        "SELECT j.host, sum(min(j.size, max(u.held_bytes, coalesce((SELECT max(sent) FROM live WHERE job = j.id AND at >= ?1), 0))))
         FROM uploads u CROSS JOIN jobs j ON j.id = u.job WHERE j.state IN ('queued', 'uploading', 'waiting') GROUP BY j.host",
    )?;
    let mut rows = select.query([now_ms - LIVE_MS])?;
    while let Some(row) = rows.next()? {
        if let Some(left) = left.get_mut(&row.get::<_, String>(0)?) {
            *left = left.saturating_sub(unsigned(row, 1)?);
        }
    }
    Ok(left)
}

/// The other jobs of the versions that these jobs are of.
fn beside(c: &Connection, query: &Query, jobs: &[JobRow]) -> Result<Vec<JobRow>, StoreError> {
    if is_older(c)? {
        return Ok(Vec::new());
    }
    let query = Query { paths: Vec::new(), ..query.clone() };
    let (filter, mut values) = filter(&query);
    values[0] = Value::Integer(query.now_ms - LIVE_MS);
    values[1] = Value::Integer(i64::try_from(query.limit.saturating_mul(BESIDE_MAX)).unwrap_or(i64::MAX));
    let ids: Vec<i64> = jobs.iter().map(|job| job.id.0).collect();
    let ids = mark(&mut values, Value::Text(serde_json::to_string(&ids).unwrap_or_default()));
    let mut select = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM (SELECT DISTINCT file, version FROM jobs WHERE id IN (SELECT value FROM json_each({ids}))) shown
         CROSS JOIN jobs j ON j.file = shown.file AND j.version = shown.version
         JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder LEFT JOIN uploads u ON u.job = j.id
         WHERE j.id NOT IN (SELECT value FROM json_each({ids})){filter} LIMIT ?2"
    ))?;
    let rows: Vec<JobRow> = select.query_map(params_from_iter(values), job_row)?.collect::<Result<_, _>>()?;
    rows.into_iter().map(|row| with_what_it_waits_for(c, row)).collect()
}

fn uploading(c: &Connection) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut select =
        c.prepare_cached("SELECT host, sum(jobs) FROM totals WHERE state = 'uploading' GROUP BY host HAVING sum(jobs) > 0")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many queued jobs of its host are claimed before this one: those of a higher priority, and the earlier ones of its own. Each
/// is counted along the index by which jobs are claimed, and no further than matters.
fn before(c: &Connection, job: &JobRow) -> Result<u64, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT min(?4, (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = 'queued' AND host = ?1 AND priority > ?2 LIMIT ?4))
              + (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = 'queued' AND host = ?1 AND priority = ?2 AND id < ?3 LIMIT ?4)))",
    )?;
    let most = i64::try_from(BEFORE_MAX).unwrap_or(i64::MAX);
    Ok(select.query_row(rusqlite::params![job.host, job.priority, job.id.0, most], |row| unsigned(row, 0))?)
}

fn hosts_with_queue(c: &Connection) -> Result<Vec<String>, StoreError> {
    let mut select = c.prepare_cached("SELECT host FROM totals WHERE state = 'queued' GROUP BY host HAVING sum(jobs) > 0")?;
    let rows = select.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn select_jobs(c: &Connection, query: &Query, state: State, order: &str, room: usize) -> Result<Vec<JobRow>, StoreError> {
    let (mut filter, mut values) = filter(query);
    values[0] = Value::Integer(query.now_ms - LIVE_MS);
    values[1] = Value::Integer(i64::try_from(room).unwrap_or(i64::MAX));
    if let Some(since_ms) = query.since_ms {
        let since = mark(&mut values, Value::Integer(since_ms));
        // What is done is found along the times of arrival.
        let column = if state == State::Done { "j.done_at" } else { "j.since" };
        filter.push_str(&format!(" AND {column} >= {since}"));
    }
    let sql = select_sql(state, &filter, order);
    let sql = if is_older(c)? { for_older(&sql) } else { sql };
    let mut select = c.prepare_cached(&sql)?;
    let rows: Vec<JobRow> = select.query_map(params_from_iter(values), job_row)?.collect::<Result<_, _>>()?;
    rows.into_iter().map(|row| with_what_it_waits_for(c, row)).collect()
}

fn with_what_it_waits_for(c: &Connection, mut row: JobRow) -> Result<JobRow, StoreError> {
    if row.state == State::Uploaded && row.why.is_none() {
        row.why = match awaited_hook(c, row.id)? {
            Some(hook) => Some(Reason::new(ReasonClass::WaitsForHook).about(hook)),
            None => after_is_due(c, row.id)?.then(|| Reason::new(ReasonClass::AfterDue)),
        };
    }
    Ok(row)
}

/// Whether the after-action of a job may run, and has not yet.
fn after_is_due(c: &Connection, job: JobId) -> Result<bool, StoreError> {
    let mut select = c.prepare_cached("SELECT 1 FROM deliveries WHERE job = ?1 AND event = 'after' AND next_try IS NOT NULL")?;
    Ok(select.exists([job.0])?)
}

/// The hook that is to hear next that the host has the file: its key without the digest.
fn awaited_hook(c: &Connection, job: JobId) -> Result<Option<String>, StoreError> {
    let waited_for = waited_for(c)?;
    let mut select = c.prepare_cached(&format!(
        "SELECT hook FROM deliveries WHERE job = ?1 AND event = 'done' AND {waited_for} ORDER BY next_try, id LIMIT 1"
    ))?;
    let key: Option<String> = select.query_row([job.0], |row| row.get(0)).optional()?;
    Ok(key.map(|key| hook_name(&key).to_owned()))
}

/// What a delivery is that its job waits for; a queue of an older version has no others of these events.
fn waited_for(c: &Connection) -> Result<&'static str, StoreError> {
    Ok(if version_of(c)? < 7 { "event IN ('done', 'after')" } else { "waited_for" })
}

/// What no job waits for, hook by hook. It is read along an index of its own, and counted no further than a person wants to know.
fn to_tell(c: &Connection) -> Result<Vec<ToTell>, StoreError> {
    let sql = if version_of(c)? < 7 { TO_TELL_OF_OLDER } else { TO_TELL };
    let mut select = c.prepare_cached(sql)?;
    let rows = select.query_map([TO_TELL_MAX], |row| {
        let hook = hook_name(&row.get::<_, String>(0)?).to_owned();
        Ok(ToTell { hook, events: unsigned(row, 1)?, next_try_ms: row.get(2)?, why: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// In a queue of an older version, every job that is done waits for its hooks, and nobody knows why others failed.
const TO_TELL_OF_OLDER: &str = "SELECT hook, count(*), min(next_try), NULL FROM
    (SELECT hook, next_try FROM deliveries WHERE event IN ('failed', 'held') LIMIT ?1) GROUP BY hook";

/// Of several reasons, the one of the event that is tried next.
const TO_TELL: &str = "WITH told AS (
        SELECT hook, count(*) AS events, min(next_try) AS next_try FROM
            (SELECT hook, next_try FROM deliveries INDEXED BY deliveries_to_tell
             WHERE waited_for = 0 AND event IN ('done', 'failed', 'held') LIMIT ?1)
        GROUP BY hook)
    SELECT hook, events, next_try,
           (SELECT trouble FROM deliveries d WHERE d.hook = told.hook AND d.next_try = told.next_try AND waited_for = 0
              AND event IN ('done', 'failed', 'held') LIMIT 1)
    FROM told";

pub(super) fn select_sql(state: State, filter: &str, order: &str) -> String {
    // Left to itself, SQLite would take the index on states and sort all that was ever done.
    let (index, ended) = if state == State::Done { ("INDEXED BY jobs_done", " AND j.done_at IS NOT NULL") } else { ("", "") };
    format!(
        "SELECT {COLUMNS} FROM jobs j {index} JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
         LEFT JOIN uploads u ON u.job = j.id
         WHERE j.state = '{state}'{ended}{filter} ORDER BY {order} LIMIT ?2"
    )
}

fn older() -> StoreError {
    StoreError::Refused("the queue is of an older version; start the daemon once".into())
}

/// Whether the queue is of a version before 5, and no daemon of this one has migrated it yet.
fn is_older(c: &Connection) -> Result<bool, StoreError> {
    Ok(version_of(c)? < 5)
}

fn version_of(c: &Connection) -> Result<i64, StoreError> {
    Ok(c.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// The same of a queue that does not keep the parts of what is done.
fn for_older(sql: &str) -> String {
    sql.replace("THEN j.parts ", "THEN 0 ").replace("j.stored_name, j.stored_bytes", "NULL, NULL")
}

/// What is on the hosts after a time and the job of that time. A job that is on its way again, for a new link, has its old one until
/// then.
pub(super) fn links_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM jobs j INDEXED BY jobs_done JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
         LEFT JOIN uploads u ON u.job = j.id
         WHERE j.done_at >= ?3 AND (j.done_at > ?3 OR j.id > ?4)
           AND (j.state IN ('done', 'uploaded') OR (j.link IS NOT NULL AND j.state IN ('queued', 'uploading', 'waiting', 'held')))
         ORDER BY j.done_at, j.id LIMIT ?2"
    )
}

/// The first two values are the caller's.
fn filter(query: &Query) -> (String, Vec<Value>) {
    use std::os::unix::ffi::OsStrExt;
    let mut sql = String::new();
    let mut values = vec![Value::Null, Value::Null];
    if !query.hosts.is_empty() {
        let marks: Vec<String> = query.hosts.iter().map(|host| mark(&mut values, Value::Text(host.clone()))).collect();
        sql.push_str(&format!(" AND j.host IN ({})", marks.join(", ")));
    }
    if !query.paths.is_empty() {
        let below = query.paths.iter().map(|path| {
            let whole = mark(&mut values, Value::Blob(path.as_os_str().as_bytes().to_vec()));
            let folder = mark(&mut values, Value::Blob(path.parent().unwrap_or(path).as_os_str().as_bytes().to_vec()));
            let name = mark(&mut values, Value::Blob(path.file_name().unwrap_or_default().as_bytes().to_vec()));
            format!(
                "d.path = {whole} OR (d.path > {whole} AND substr(d.path, 1, length({whole}) + 1) = CAST({whole} || X'2F' AS BLOB)) \
                 OR (d.path = {folder} AND f.name = {name})"
            )
        });
        let below: Vec<String> = below.collect();
        sql.push_str(&format!(" AND ({})", below.join(" OR ")));
    }
    (sql, values)
}

fn mark(values: &mut Vec<Value>, value: Value) -> String {
    values.push(value);
    format!("?{}", values.len())
}

fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let state = State::from_word(&row.get::<_, String>(4)?).unwrap_or(State::Held);
    let bytes = unsigned(row, 5)?;
    let (held, live) = (unsigned(row, 6)?, unsigned(row, 7)?);
    Ok(JobRow {
        id: JobId(row.get(0)?),
        path: path_of(row.get(1)?, row.get(2)?),
        host: row.get(3)?,
        state,
        bytes,
        sent: if matches!(state, State::Done | State::Uploaded) { bytes } else { held.max(live).min(bytes) },
        per_second: unsigned(row, 8)?,
        parts: unsigned(row, 9)?,
        parts_acked: unsigned(row, 10)?,
        attempts: unsigned(row, 11)?,
        priority: row.get(12)?,
        since_ms: row.get(13)?,
        next_try_ms: row.get(14)?,
        why: row.get(15)?,
        link: row.get(16)?,
        remote_id: row.get(17)?,
        expires_ms: row.get(18)?,
        maybe_duplicate: row.get(19)?,
        queued_at_ms: row.get(20)?,
        done_at_ms: row.get(21)?,
        stored_name: row.get(22)?,
        stored_bytes: row.get::<_, Option<i64>>(23)?.and_then(|bytes| u64::try_from(bytes).ok()),
    })
}

fn totals(c: &Connection, into: &mut Snapshot) -> Result<(), StoreError> {
    let mut select = c.prepare_cached("SELECT state, sum(jobs), sum(bytes) FROM totals GROUP BY state")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, unsigned(row, 1)?, unsigned(row, 2)?)))?;
    let counted = rows.collect::<Result<Vec<_>, _>>()?;
    let find = |state: State| counted.iter().find(|(word, ..)| word == state.word());
    into.totals = State::ALL.map(|state| (state, find(state).map_or(0, |(_, jobs, _)| *jobs))).to_vec();
    let bytes_in = |done: bool| -> u64 {
        let states = State::ALL.into_iter().filter(|state| {
            if done { matches!(state, State::Done | State::Uploaded) } else { !state.is_final() && *state != State::Uploaded }
        });
        states.filter_map(find).map(|(_, _, bytes)| *bytes).sum()
    };
    let held: u64 = c.query_row("SELECT coalesce(sum(held_bytes), 0) FROM uploads", [], |row| unsigned(row, 0))?;
    into.bytes_left = bytes_in(false).saturating_sub(held);
    into.bytes_sent = bytes_in(true).saturating_add(held);
    Ok(())
}

fn watches(c: &Connection) -> Result<Vec<WatchRow>, StoreError> {
    let mut select = c.prepare_cached(
        "SELECT path, state, events, last_scan, settling, gaps_seen, why FROM watches WHERE configured = 1 ORDER BY path",
    )?;
    let rows = select.query_map([], |row| {
        let state = WatchState::from_word(&row.get::<_, String>(1)?).unwrap_or_default();
        let events = EventSource::from_word(&row.get::<_, String>(2)?).unwrap_or_default();
        let (settling, gaps_seen) = (unsigned(row, 4)?, unsigned(row, 5)?);
        let report = WatchReport { state, events, last_scan_ms: row.get(3)?, settling, gaps_seen, why: row.get(6)? };
        Ok(WatchRow { path: path_of(row.get(0)?, Vec::new()).components().collect(), report })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn hosts(c: &Connection) -> Result<Vec<HostRow>, StoreError> {
    let mut select = c.prepare_cached("SELECT name, kind, state, until, why, rests FROM hosts ORDER BY name")?;
    let rows = select.query_map([], |row| {
        // The schema admits no other word.
        let state = HostState::from_word(&row.get::<_, String>(2)?).unwrap_or(HostState::Ready);
        let report = HostReport { state, until_ms: row.get(3)?, why: row.get(4)?, rests: row.get(5)? };
        Ok(HostRow { name: row.get(0)?, kind: row.get(1)?, report })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

#[cfg(test)]
impl View {
    /// Takes a snapshot, and answers how many hundreds of instructions the database needed for it.
    pub(super) fn effort(&mut self, query: &Query) -> Result<usize, StoreError> {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let hundreds = Arc::new(AtomicUsize::new(0));
        let counted = hundreds.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        self.connection.progress_handler(100, Some(count))?;
        self.snapshot(query)?;
        self.connection.progress_handler(0, None::<fn() -> bool>)?;
        Ok(hundreds.load(Ordering::Relaxed))
    }
}

/// Every job in the order in which they were made, whoever made it, with rates of any age.
#[cfg(any(test, feature = "simulator"))]
pub(super) fn every_job(c: &Connection) -> Result<Vec<JobRow>, StoreError> {
    let mut select = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder
         LEFT JOIN uploads u ON u.job = j.id ORDER BY j.id"
    ))?;
    let jobs = select.query_map([i64::MIN], job_row)?.collect::<Result<Vec<_>, _>>()?;
    jobs.into_iter().map(|job| with_what_it_waits_for(c, job)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_sure_of_its_share_and_the_first_ones_get_the_rest() {
        let cases = [
            ([100, 0, 0, 100, 100], 50, [30, 0, 0, 10, 10]),
            ([3, 0, 0, 0, 100], 50, [3, 0, 0, 0, 47]),
            ([1, 2, 3, 4, 5], 50, [1, 2, 3, 4, 5]),
            ([9, 9, 9, 9, 9], 3, [3, 0, 0, 0, 0]),
            ([0; 5], 50, [0; 5]),
            ([9; 5], 0, [0; 5]),
        ];
        for (found, limit, shown) in cases {
            assert_eq!(shares(found, limit), shown, "{found:?}");
        }
    }
}
