//! Queues that released versions of ferryd have written, under the program of today. `tests/fixtures/README.md` tells how they were
//! made.
//!
//! A migration that changes a value on purpose names its column in [`CHANGED_ON_PURPOSE`]; every other value of every fixture must
//! be the same before and after.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ferryd::internals::job::{Identity, State};
use ferryd::internals::os::clock;
use ferryd::internals::store::{FILE_NAME, JobRow, Store};
use ferryd_sandbox::cloudkp::FinishReply;
use ferryd_sandbox::faults::Endpoint;
use ferryd_sandbox::log::Outcome;
use percent_encoding::percent_decode_str;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::bench_top::{Bench, Daemon};

/// Table and column of each value that some migration changes on purpose.
const CHANGED_ON_PURPOSE: &[(&str, &str)] = &[
    // It is called `mid_states` since version 4.
    ("digests", "borders"),
    // Since version 5 it is when the host had the file, so a job that waits for a hook has it, too.
    ("jobs", "done_at"),
];

/// Counted anew in version 5, without rows for what is not there: `is_sound` compares them with the jobs.
const COUNTED_ANEW: &str = "totals";

/// Where everything was when the fixtures were made, and where the sandbox listened.
const ROOT: &str = "/srv/ferryd-fixture";
const ADDRESS: &str = "127.0.0.1:8787";

/// A folder below `tests/fixtures/queue-vN/`.
struct Fixture {
    dir: PathBuf,
    manifest: Manifest,
}

#[derive(Deserialize)]
struct Manifest {
    /// When the daemon ended, in milliseconds since the Unix epoch.
    ended_ms: i64,
    /// What was in the watched folders then.
    files: Vec<FileFacts>,
    jobs: Vec<JobFacts>,
}

#[derive(Deserialize)]
struct FileFacts {
    path: String,
    size: u64,
    mtime_ns: u64,
    seed: u64,
    sha256: String,
}

#[derive(Deserialize)]
struct JobFacts {
    id: i64,
    path: String,
    host: String,
    state: String,
    parts: u64,
    parts_acked: u64,
    committing: i64,
    maybe_duplicate: i64,
    size: u64,
}

/// The sandbox's folder: documents by path, and files that are ranges of the fixture's own.
#[derive(Deserialize)]
struct SandboxFiles {
    documents: BTreeMap<String, serde_json::Value>,
    ranges: BTreeMap<String, Range>,
}

#[derive(Deserialize)]
struct Range {
    seed: u64,
    offset: usize,
    bytes: usize,
}

/// Lines of 16 bytes with the file's seed and the line's number.
fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=size / 16).flat_map(|line| format!("{seed:07x} {line:07x}\n").into_bytes()).collect();
    bytes.truncate(size);
    bytes
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path of a manifest, in which every byte that is not plain is percent-encoded.
fn decoded(path: &str) -> PathBuf {
    OsString::from_vec(percent_decode_str(path).collect()).into()
}

/// The name of a file as hosts are told it.
fn remote_name(path: &str) -> String {
    decoded(path).file_name().unwrap().to_string_lossy().into_owned()
}

fn fixtures() -> Vec<Fixture> {
    let versions = folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
    let found: Vec<Fixture> = versions.iter().flat_map(|version| folders(version)).map(Fixture::at).collect();
    assert!(found.len() >= 4, "the fixtures of version 1 are four");
    found
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

impl Fixture {
    fn at(dir: PathBuf) -> Fixture {
        let manifest = json(&dir.join("manifest.json"));
        Fixture { dir, manifest }
    }

    fn name(&self) -> String {
        self.dir.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// The schema version that its folder is named after.
    fn version(&self) -> i64 {
        let folder = self.dir.parent().unwrap().file_name().unwrap().to_str().unwrap();
        folder.strip_prefix("queue-v").unwrap().parse().unwrap()
    }

    /// Copies the queue, with its write-ahead log where it has one.
    fn copy_queue(&self, to: &Path) {
        for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")] {
            if self.dir.join(&name).exists() {
                std::fs::copy(self.dir.join(&name), to.join(&name)).unwrap();
            }
        }
    }

    fn queue_in_a_folder(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.copy_queue(dir.path());
        dir
    }

    /// Writes what the sandbox held to `dir`.
    fn restore_sandbox(&self, dir: &Path) {
        let SandboxFiles { documents, ranges } = json(&self.dir.join("sandbox.json"));
        let documents = documents.into_iter().map(|(name, document)| (name, document.to_string().into_bytes()));
        let ranges = ranges.into_iter().map(|(name, Range { seed, offset, bytes })| {
            let mut held = content(seed, offset + bytes);
            (name, held.split_off(offset))
        });
        for (name, bytes) in documents.chain(ranges) {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Makes the files again below `root`: the same bytes, sizes and times, and unavoidably other inodes.
    fn restore_files(&self, root: &Path) {
        for FileFacts { path, size, mtime_ns, seed, sha256 } in &self.manifest.files {
            let bytes = content(*seed, usize::try_from(*size).unwrap());
            assert_eq!(hex_sha256(&bytes), *sha256, "{path}");
            let path = root.join(decoded(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let mtime = SystemTime::UNIX_EPOCH + Duration::from_nanos(*mtime_ns);
            File::options().append(true).open(&path).unwrap().set_modified(mtime).unwrap();
        }
    }
}

/// Columns by table.
type Shape = BTreeMap<String, Vec<String>>;
/// Rows by table.
type Rows = BTreeMap<String, Vec<Vec<Value>>>;

fn texts(queue: &Connection, sql: &str) -> Vec<String> {
    queue.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Every table, the count that gives out ids included, so that none is given out twice.
fn shape(queue: &Connection) -> Shape {
    let tables = texts(queue, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    let columns = |table: &str| texts(queue, &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"));
    tables.into_iter().map(|table| (table.clone(), columns(&table))).collect()
}

fn rows(queue: &Connection, shape: &Shape) -> Rows {
    let of_table = |(table, columns): (&String, &Vec<String>)| {
        let columns = columns.join(", ");
        let mut select = queue.prepare(&format!("SELECT {columns} FROM {table} ORDER BY {columns}")).unwrap();
        let count = select.column_count();
        let rows = select.query_map([], |row| (0..count).map(|column| row.get(column)).collect()).unwrap();
        (table.clone(), rows.collect::<Result<_, _>>().unwrap())
    };
    shape.iter().map(of_table).collect()
}

/// Compares table by table, so that a failure names one.
fn same_rows(fixture: &Fixture, what: &str, found: &Rows, wanted: &Rows) {
    for (table, rows) in wanted {
        assert_eq!(found.get(table), Some(rows), "{}: {what}: the table `{table}`", fixture.name());
    }
}

/// The jobs that version 5 has ended, since another one was under way for the same version and host.
fn merged(queue: &Connection) -> Vec<i64> {
    let sql = "SELECT id FROM jobs WHERE state = 'gone' AND why = '{\"class\":\"superseded\"}'";
    queue.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The rows of all other jobs.
fn without(jobs: &[i64], rows: &Rows, shape: &Shape) -> Rows {
    let is_of = |table: &str, row: &[Value]| {
        let column = if table == "jobs" { "id" } else { "job" };
        let at = shape[table].iter().position(|name| name == column);
        at.is_some_and(|at| jobs.iter().any(|job| row[at] == Value::Integer(*job)))
    };
    let kept = |(table, rows): (&String, &Vec<Vec<Value>>)| {
        (table.clone(), rows.iter().filter(|row| !is_of(table, row)).cloned().collect())
    };
    rows.iter().map(kept).collect()
}

fn version_of(queue: &Connection) -> i64 {
    queue.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn is_sound(fixture: &Fixture, queue: &Connection) {
    assert_eq!(texts(queue, "PRAGMA integrity_check"), ["ok"], "{}", fixture.name());
    let difference = "SELECT count(*) FROM
            (SELECT host, state, jobs, bytes FROM totals WHERE jobs > 0 OR bytes > 0
             EXCEPT SELECT host, state, count(*), sum(size) FROM jobs GROUP BY host, state)";
    let missing = "SELECT count(*) FROM
            (SELECT host, state, count(*), sum(size) FROM jobs GROUP BY host, state EXCEPT SELECT host, state, jobs, bytes FROM totals)";
    for sql in [difference, missing] {
        let count: i64 = queue.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0, "{}: the totals are not those of the jobs", fixture.name());
    }
}

fn migrate(dir: &Path) {
    let (store, thread) = Store::open(dir).unwrap();
    drop(store);
    thread.join();
}

/// What `ferryd status --json` shows of the queue in `dir`.
fn status(dir: &Path) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferryd"));
    let output = command.args(["status", "--json", "--limit", "1000", "--state-dir"]).arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same without the times at which jobs were done.
fn without_end(mut status: serde_json::Value) -> serde_json::Value {
    for job in status["jobs"].as_array_mut().unwrap() {
        job["done_at"].take();
    }
    status
}

/// The jobs that `status` shows are those of the manifest.
fn shows_every_job(fixture: &Fixture, status: &serde_json::Value) {
    let shown = status["jobs"].as_array().unwrap();
    assert_eq!(shown.len(), fixture.manifest.jobs.len(), "{}", fixture.name());
    for job in &fixture.manifest.jobs {
        let found = shown.iter().find(|found| found["id"] == job.id).unwrap();
        let path = Path::new(ROOT).join(decoded(&job.path));
        assert_eq!(found["path"], *path.to_string_lossy());
        assert_eq!(found["host"], *job.host);
        // Nothing uploads without a daemon.
        assert_eq!(found["state"], if job.state == "uploading" { "queued" } else { &job.state });
        let numbers = ["bytes", "parts", "parts_acked"].map(|key| found[key].as_u64().unwrap());
        assert_eq!(numbers, [job.size, job.parts, job.parts_acked], "{path:?}");
        assert_eq!(found["maybe_duplicate"], job.maybe_duplicate == 1);
    }
}

#[test]
fn a_queue_of_an_older_version_is_migrated_whole_and_kept_as_it_was() {
    let newest = {
        let dir = tempfile::tempdir().unwrap();
        migrate(dir.path());
        version_of(&Connection::open(dir.path().join(FILE_NAME)).unwrap())
    };
    for fixture in fixtures().into_iter().filter(|fixture| fixture.version() < newest) {
        let as_it_was = fixture.queue_in_a_folder();
        let before = Connection::open(as_it_was.path().join(FILE_NAME)).unwrap();
        assert_eq!(version_of(&before), fixture.version());
        let old_shape = shape(&before);
        let old_rows = rows(&before, &old_shape);

        let dir = fixture.queue_in_a_folder();
        let shown_before = status(dir.path());
        shows_every_job(&fixture, &shown_before);
        migrate(dir.path());
        let after = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(version_of(&after), newest);
        is_sound(&fixture, &after);
        let mut kept_shape = old_shape.clone();
        for (table, column) in CHANGED_ON_PURPOSE {
            kept_shape.get_mut(*table).unwrap().retain(|known| known != column);
        }
        kept_shape.remove(COUNTED_ANEW);
        let merged = merged(&after);
        assert_eq!(merged.is_empty(), fixture.name() != "remounted", "{}: {merged:?}", fixture.name());
        let of_others = |queue| without(&merged, &rows(queue, &kept_shape), &kept_shape);
        same_rows(&fixture, "after the migration", &of_others(&after), &of_others(&before));
        if merged.is_empty() {
            let shown = [status(dir.path()), shown_before].map(without_end);
            assert_eq!(shown[0], shown[1], "{}: `status` shows the same before and after", fixture.name());
        }

        let copy = dir.path().join(format!("queue.version-{}.db", fixture.version()));
        let copied = std::fs::read(&copy).unwrap();
        let kept = Connection::open(&copy).unwrap();
        assert_eq!(version_of(&kept), fixture.version());
        is_sound(&fixture, &kept);
        let schema = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name";
        assert_eq!(texts(&kept, schema), texts(&before, schema), "{}", fixture.name());
        same_rows(&fixture, "in the copy", &rows(&kept, &old_shape), &old_rows);

        let new_shape = shape(&after);
        let new_rows = rows(&after, &new_shape);
        drop((after, kept));
        migrate(dir.path());
        let again = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(shape(&again), new_shape, "{}: a second start changes nothing", fixture.name());
        same_rows(&fixture, "after a second start", &rows(&again, &new_shape), &new_rows);
        assert!(std::fs::read(&copy).unwrap() == copied, "{}: the copy is made once", fixture.name());
    }
}

#[test]
fn migrated_jobs_have_the_proof_their_hosts_gave_and_no_other_news() {
    for fixture in fixtures().into_iter().filter(|fixture| fixture.version() == 1) {
        let dir = fixture.queue_in_a_folder();
        migrate(dir.path());
        let queue = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        let mut select = queue.prepare("SELECT id, proof, failing_since IS NULL AND close_seen = 0 FROM jobs ORDER BY id").unwrap();
        let found = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        let found: Vec<(i64, Option<String>, bool)> = found.collect::<Result<_, _>>().unwrap();
        let wanted = fixture.manifest.jobs.iter().map(|job| {
            let checked = is_on_the_host(job) && ["koodrive", "4shared"].contains(&job.host.as_str());
            (job.id, checked.then(|| "digest".to_owned()), true)
        });
        assert_eq!(found, wanted.collect::<Vec<_>>(), "{}", fixture.name());
    }
}

#[test]
fn migrated_digests_say_how_they_were_computed_and_have_their_states() {
    let mut seen = BTreeSet::new();
    for fixture in fixtures().into_iter().filter(|fixture| fixture.version() < 4) {
        let (as_it_was, dir) = (fixture.queue_in_a_folder(), fixture.queue_in_a_folder());
        let before = Connection::open(as_it_was.path().join(FILE_NAME)).unwrap();
        migrate(dir.path());
        let after = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        let digests = |queue: &Connection, states: &str| -> Vec<(i64, String, String, Vec<u8>)> {
            let sql = format!("SELECT d.job, j.host, d.hex, d.{states} FROM digests d JOIN jobs j ON j.id = d.job ORDER BY d.job");
            let mut select = queue.prepare(&sql).unwrap();
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        let found = digests(&after, "mid_states");
        assert_eq!(found, digests(&before, "borders"), "{}", fixture.name());
        for (job, host, _, states) in found {
            let sql = "SELECT algorithm FROM digests WHERE job = ?1";
            let algorithm: String = after.query_row(sql, [job], |row| row.get(0)).unwrap();
            seen.insert((host, algorithm, !states.is_empty()));
        }
    }
    let seen: BTreeSet<(&str, &str, bool)> =
        seen.iter().map(|(host, word, states)| (host.as_str(), word.as_str(), *states)).collect();
    assert!(seen.contains(&("koodrive", "sha256", true)) && seen.contains(&("4shared", "md5", false)), "{seen:?}");
    assert!(seen.iter().all(|(host, word, _)| (*host == "koodrive") == (*word == "sha256")), "{seen:?}");
}

/// The fixtures are of use only as long as nothing is missing from them.
#[test]
fn the_queues_of_version_1_hold_everything_that_version_could_write() {
    let fixtures: Vec<Fixture> = fixtures().into_iter().filter(|fixture| fixture.version() == 1).collect();
    let mut filled = BTreeSet::new();
    let mut events = BTreeSet::new();
    for fixture in &fixtures {
        let dir = fixture.queue_in_a_folder();
        let queue = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        is_sound(fixture, &queue);
        let tables = rows(&queue, &shape(&queue)).into_iter();
        filled.extend(tables.filter(|(_, rows)| !rows.is_empty()).map(|(table, _)| table));
        events.extend(texts(&queue, "SELECT event FROM deliveries"));
        assert!(!fixture.dir.join("queue.db-shm").exists(), "{}", fixture.name());
    }
    let empty = Connection::open_in_memory().unwrap();
    empty.execute_batch(include_str!("../../src/store/schema_1.sql")).unwrap();
    assert_eq!(filled, shape(&empty).into_keys().collect());
    assert_eq!(events, ["after", "done", "expiring", "failed", "held", "refresh"].map(str::to_owned).into());
    let jobs = || fixtures.iter().flat_map(|fixture| &fixture.manifest.jobs);
    let states: BTreeSet<&str> = jobs().map(|job| job.state.as_str()).collect();
    assert_eq!(states, State::ALL.map(State::word).into());
    let hosts = |wanted: &dyn Fn(&JobFacts) -> bool| -> BTreeSet<&str> {
        jobs().filter(|job| job.state == "uploading" && wanted(job)).map(|job| job.host.as_str()).collect()
    };
    assert_eq!(
        hosts(&|job| job.parts > job.parts_acked && job.committing == 0),
        ["4shared", "cloudkp", "kie", "koodrive", "uploadgig"].into()
    );
    // A finish of Kie.ai is the file itself, and may be sent as often as one likes.
    assert_eq!(hosts(&|job| job.committing == 1), ["4shared", "cloudkp", "koodrive", "uploadgig"].into());
    assert!(jobs().any(|job| job.maybe_duplicate == 1 && job.state == "done") && jobs().any(|job| job.path.contains("%FF")));
    let logs = fixtures.iter().filter(|fixture| fixture.dir.join("queue.db-wal").exists());
    assert_eq!(logs.count(), 2, "those of the killed daemons");
}

fn is_on_the_host(job: &JobFacts) -> bool {
    matches!(job.state.as_str(), "done" | "uploaded")
}

/// Whether a daemon with working hosts brings the job to its end by itself; one without a time is a person's.
fn goes_on(job: &JobFacts) -> bool {
    matches!(job.state.as_str(), "queued" | "uploading" | "waiting") || (job.state == "held" && job.committing == 0)
}

/// What files have been given besides their sizes and times.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbers {
    /// The queue is told their devices, inodes and births, as if they had never been away.
    Known,
    /// The queue is told the times of their inodes' last changes and knows other numbers, as after a remount or a reboot.
    Remounted,
    /// They have others than the queue knows, as after a restored backup.
    Restored,
}

/// A fixture put under a daemon of today, with its files and its sandbox: as if the earlier daemon had ended two hours ago, when
/// what hosts had asked for is over and their sessions are alive.
struct Revived {
    fixture: Fixture,
    bench: Bench,
}

const AGO_MS: i64 = 2 * 3600 * 1000;

/// The columns that are times.
const TIMES: [(&str, &[&str]); 6] = [
    ("jobs", &["queued_at", "since", "done_at", "next_try", "expires"]),
    ("uploads", &["opened_at"]),
    ("deliveries", &["made_at", "next_try"]),
    ("live", &["at"]),
    ("hosts", &["until", "since"]),
    ("watches", &["first_seen", "last_scan"]),
];

impl Revived {
    fn new(fixture: Fixture, numbers: Numbers) -> Revived {
        let bench = Bench::with(|options| {
            // An id that is left from then reads as words, which it may only where it is named.
            options.rules.cloudkp.finish_reply = FinishReply::Json;
            fixture.restore_sandbox(&options.dir);
        });
        let revived = Revived { fixture, bench };
        let Revived { fixture, bench } = &revived;
        fixture.restore_files(bench.dir.path());
        std::fs::create_dir(bench.state_dir()).unwrap();
        std::fs::set_permissions(bench.state_dir(), PermissionsExt::from_mode(0o700)).unwrap();
        fixture.copy_queue(&bench.state_dir());
        revived.move_queue();
        match numbers {
            Numbers::Known => revived.tell_queue("device = ?1, inode = ?2, ctime_ns = ?3, born_ns = ?4"),
            Numbers::Remounted => revived.tell_queue("device = ?1 + 1, inode = ?2 + 1, ctime_ns = ?3, born_ns = ?4 + 1"),
            Numbers::Restored => {}
        }
        let config = std::fs::read_to_string(fixture.dir.join("config.toml")).unwrap();
        // What was slow enough to be killed in time need not be so again.
        let config = revived.moved(&config).replace("bandwidth = \"48 KiB/s\"", "");
        std::fs::write(revived.config(), config).unwrap();
        std::fs::set_permissions(revived.config(), PermissionsExt::from_mode(0o600)).unwrap();
        revived
    }

    fn config(&self) -> PathBuf {
        self.bench.dir.path().join("fixture.toml")
    }

    fn queue(&self) -> Connection {
        Connection::open(self.bench.state_dir().join(FILE_NAME)).unwrap()
    }

    /// A text with the places of today.
    fn moved(&self, text: &str) -> String {
        text.replace(ROOT, self.bench.dir.path().to_str().unwrap()).replace(ADDRESS, &self.bench.sandbox.addr().to_string())
    }

    /// Gives the queue today's places and times.
    fn move_queue(&self) {
        let queue = self.queue();
        for table in ["folders", "watches"] {
            let mut select = queue.prepare(&format!("SELECT path FROM {table}")).unwrap();
            let paths: Vec<Vec<u8>> = select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
            for path in paths {
                let below = path.strip_prefix(ROOT.as_bytes()).unwrap();
                let moved = [self.bench.dir.path().as_os_str().as_bytes(), below].concat();
                queue.execute(&format!("UPDATE {table} SET path = ?2 WHERE path = ?1"), (path, moved)).unwrap();
            }
        }
        queue.execute("UPDATE uploads SET session = replace(session, ?1, ?2)", (ADDRESS, self.moved(ADDRESS))).unwrap();
        let by_ms = clock::now_ms() - AGO_MS - self.fixture.manifest.ended_ms;
        for (table, columns) in TIMES {
            let later: Vec<String> = columns.iter().map(|column| format!("{column} = {column} + ?1")).collect();
            queue.execute(&format!("UPDATE {table} SET {}", later.join(", ")), [by_ms]).unwrap();
        }
    }

    fn tell_queue(&self, numbers: &str) {
        let queue = self.queue();
        for file in &self.fixture.manifest.files {
            let path = self.bench.dir.path().join(decoded(&file.path));
            let Identity { device, inode, ctime_ns, born_ns, mtime_ns, .. } = Identity::of(&std::fs::metadata(path).unwrap());
            for table in ["files", "jobs"] {
                // No two versions of any file have the same time.
                let sql = format!("UPDATE {table} SET {numbers} WHERE mtime_ns = ?5");
                queue.execute(&sql, (device, inode, ctime_ns, born_ns, mtime_ns)).unwrap();
            }
        }
    }

    /// Runs a daemon until every folder is scanned and nothing goes on by itself any more. What is put off for minutes is tried
    /// again by another start.
    fn run(&self) {
        let starts = (0..5).take_while(|_| self.run_until_rest()).count();
        assert!(starts < 5, "{}: something is put off again and again\n{}", self.fixture.name(), self.bench.log_text());
    }

    /// Answers whether anything is put off.
    fn run_until_rest(&self) -> bool {
        let bench = &self.bench;
        let started_ms = clock::now_ms();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferryd"));
        command.arg("--config").arg(self.config()).args(["run", "--log", "info,ferryd=debug"]);
        let mut daemon = Daemon::spawn(command, bench);
        let put_off = bench.wait_for(&format!("{} to come to rest", self.fixture.name()), || {
            assert!(daemon.ended().is_none(), "{}: {}", self.fixture.name(), bench.log_text());
            let snapshot = bench.snapshot()?;
            let scanned = |last_scan_ms: Option<i64>| last_scan_ms.is_some_and(|at| at >= started_ms);
            let watched = snapshot.watches.iter().all(|watch| scanned(watch.report.last_scan_ms) && watch.report.settling == 0);
            let put_off = |job: &&JobRow| job.next_try_ms.is_some_and(|at| at > clock::now_ms() + 60_000);
            let (waiting, moving): (Vec<_>, Vec<_>) = snapshot
                .jobs
                .iter()
                .filter(|job| match job.state {
                    State::Queued | State::Uploading | State::Waiting => true,
                    State::Held => job.next_try_ms.is_some(),
                    _ => false,
                })
                .partition(put_off);
            (watched && moving.is_empty() && !self.is_met_again(&snapshot.jobs)).then_some(!waiting.is_empty())
        });
        bench.stop(daemon);
        put_off
    }

    /// Whether a file whose jobs are all gone is about to have a new one.
    fn is_met_again(&self, jobs: &[JobRow]) -> bool {
        self.fixture.manifest.jobs.iter().filter(|job| goes_on(job)).any(|job| {
            let path = self.bench.dir.path().join(decoded(&job.path));
            jobs.iter().filter(|row| row.path == path && row.host == job.host).all(|row| row.state == State::Gone)
        })
    }

    /// The state of a job of the manifest.
    fn state_of(&self, id: i64) -> State {
        self.bench.jobs().into_iter().find(|job| job.id.0 == id).unwrap().state
    }

    /// Everything that was on its way to a host is there, with its bytes.
    fn everything_arrived(&self) {
        let objects = self.bench.sandbox.objects();
        for job in self.fixture.manifest.jobs.iter().filter(|job| goes_on(job)) {
            let file = self.fixture.manifest.files.iter().find(|file| file.path == job.path).unwrap();
            let is_it = |held: &str| held.ends_with(&remote_name(&job.path));
            let held = objects.iter().any(|object| {
                object.host == job.host && is_it(&object.name) && object.sha256.as_deref() == Some(file.sha256.as_str())
            });
            assert!(held, "{}: {} is not on {}\n{}", self.fixture.name(), job.path, job.host, self.bench.log_text());
        }
    }

    /// Uploads of what the queue knows to be on its host, or to be left alone.
    fn sent_again(&self) -> Vec<String> {
        let Manifest { files, jobs, .. } = &self.fixture.manifest;
        let is_known = |host: &str, name: &str| {
            let done = jobs.iter().any(|job| is_on_the_host(job) && job.host == host && name.ends_with(&remote_name(&job.path)));
            let has_jobs = |file: &FileFacts| jobs.iter().any(|job| job.path == file.path);
            done || files.iter().any(|file| !has_jobs(file) && name.ends_with(&remote_name(&file.path)))
        };
        let stored = self.bench.sandbox.log().into_iter().filter(|entry| entry.outcome == Outcome::Stored);
        let named = stored.map(|entry| (entry.host.unwrap_or_default(), entry.file.unwrap_or_default()));
        named.filter(|(host, name)| is_known(host, name)).map(|(host, name)| format!("{name} to {host}")).collect()
    }

    /// Parts that hosts with numbered parts have taken, by host.
    fn parts_sent(&self) -> BTreeMap<String, u64> {
        let mut sent = BTreeMap::new();
        for entry in self.bench.sandbox.log().into_iter().filter(|entry| entry.endpoint == Some(Endpoint::Chunk)) {
            if entry.outcome == Outcome::Acked {
                *sent.entry(entry.host.unwrap_or_default()).or_default() += 1;
            }
        }
        sent
    }

    /// The job of the same version and host that was further, if there is one: two were under way.
    fn twin_of(&self, job: &JobFacts) -> Option<&JobFacts> {
        let further = |twin: &JobFacts| (twin.parts_acked, -twin.id) > (job.parts_acked, -job.id);
        let is_twin = |twin: &&JobFacts| {
            (&twin.path, &twin.host, twin.size) == (&job.path, &job.host, job.size)
                && goes_on(twin)
                && goes_on(job)
                && further(twin)
        };
        self.fixture.manifest.jobs.iter().find(is_twin)
    }

    /// Parts that they did not hold when the earlier daemon ended.
    fn parts_missing(&self) -> BTreeMap<String, u64> {
        let mut missing = BTreeMap::new();
        let whole = |host: &str| ["uploadgig", "kie"].contains(&host);
        let goes_on = |job: &&JobFacts| goes_on(job) && self.twin_of(job).is_none() && job.committing == 0 && !whole(&job.host);
        for job in self.fixture.manifest.jobs.iter().filter(goes_on) {
            // A file without a plan is a small one in every fixture.
            *missing.entry(job.host.clone()).or_default() += job.parts.max(1) - job.parts_acked;
        }
        missing
    }
}

fn revived(numbers: Numbers) -> impl Iterator<Item = Revived> {
    fixtures().into_iter().map(move |fixture| Revived::new(fixture, numbers))
}

#[test]
fn an_old_queue_goes_on_where_it_was() {
    goes_on_where_it_was(Numbers::Known);
}

#[test]
fn an_old_queue_goes_on_where_it_was_after_a_remount() {
    goes_on_where_it_was(Numbers::Remounted);
}

fn goes_on_where_it_was(numbers: Numbers) {
    for queue in revived(numbers) {
        queue.run();
        let name = queue.fixture.name();
        for job in &queue.fixture.manifest.jobs {
            let state = queue.state_of(job.id);
            if queue.twin_of(job).is_some() {
                assert_eq!(state, State::Gone, "{name}: of two jobs for one version one ends: {} on {}", job.path, job.host);
            } else if goes_on(job) || is_on_the_host(job) {
                assert!(matches!(state, State::Done | State::Uploaded), "{name}: {} on {} is {state}", job.path, job.host);
            } else {
                assert_eq!(state.word(), job.state, "{name}: {} on {}", job.path, job.host);
            }
        }
        queue.everything_arrived();
        assert_eq!(queue.bench.jobs().len(), queue.fixture.manifest.jobs.len(), "{name}: no job was made anew");
        assert_eq!(queue.sent_again(), Vec::<String>::new(), "{name}");
        assert_eq!(queue.parts_sent(), queue.parts_missing(), "{name}: what was acknowledged is not sent again");
    }
}

#[test]
fn of_an_old_queue_whose_files_were_restored_nothing_done_is_uploaded_again_and_the_rest_arrives() {
    for queue in revived(Numbers::Restored) {
        queue.run();
        queue.everything_arrived();
        for job in queue.fixture.manifest.jobs.iter().filter(|job| is_on_the_host(job)) {
            let state = queue.state_of(job.id);
            assert!(matches!(state, State::Done | State::Uploaded), "{}: {} is {state}", queue.fixture.name(), job.path);
        }
        assert_eq!(queue.sent_again(), Vec::<String>::new(), "{}", queue.fixture.name());
    }
}
