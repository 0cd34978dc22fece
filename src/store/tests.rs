//! The queue through its verbs: what is counted, what is found along an index, what one bad call does to the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::Connection;

use super::backend::Backend as _;
use super::contract::{YEAR_MS, arrival, return_job, rules, told};
use super::*;
use crate::job::upload::{Class, Outcome};
use crate::job::{Event, Proof, ReasonClass};
use crate::job::{Identity, Reason, State};

struct Queue {
    dir: tempfile::TempDir,
    store: Option<Store>,
    thread: Option<WriterThread>,
    runtime: tokio::runtime::Runtime,
}

impl Queue {
    fn new() -> Queue {
        let dir = tempfile::tempdir().unwrap();
        let (store, thread) = Store::open(dir.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let queue = Queue { dir, store: Some(store), thread: Some(thread), runtime };
        queue.refuse_illegal_moves();
        let hosts = vec![("box".to_owned(), "cloudkp".to_owned()), ("mirror".to_owned(), "cloudkp".to_owned())];
        queue.run(|store| async move { store.configure(vec![PathBuf::from("/drop")], hosts).await }).unwrap();
        queue
    }

    /// Every test of the store fails that moves a job in a way that `State` does not allow.
    fn refuse_illegal_moves(&self) {
        let pairs = State::ALL.iter().flat_map(|from| State::ALL.iter().map(move |to| (*from, *to)));
        let legal = pairs.filter(|(from, to)| from.may_become(*to)).map(|(from, to)| format!("('{from}', '{to}')"));
        let legal = legal.collect::<Vec<_>>().join(", ");
        let trigger = format!(
            "CREATE TRIGGER legal_moves BEFORE UPDATE OF state ON jobs
             WHEN new.state <> old.state AND (old.state, new.state) NOT IN (VALUES {legal})
             BEGIN SELECT RAISE(ABORT, 'a job may not move like this'); END"
        );
        self.connection().execute_batch(&trigger).unwrap();
    }

    fn restart(&mut self) {
        self.store.take();
        self.thread.take().unwrap().join();
        let (store, thread) = Store::open(self.dir.path()).unwrap();
        (self.store, self.thread) = (Some(store), Some(thread));
    }

    fn run<T, F: Future<Output = T>>(&self, work: impl FnOnce(Store) -> F) -> T {
        self.runtime.block_on(work(self.store.clone().unwrap()))
    }

    fn enqueue(&self, files: std::ops::Range<i64>) -> u64 {
        let arrivals = files.map(arrival).collect();
        self.run(|store| async move { store.enqueue(arrivals).await }).unwrap()
    }

    fn claim(&self, count: usize) -> Vec<Claimed> {
        let asking = vec![Asking::new("box", count), Asking::new("mirror", count)];
        self.run(|store| async move { store.claim(asking, 2 * count, i64::MAX).await }).unwrap().jobs
    }

    fn connection(&self) -> Connection {
        Connection::open(self.dir.path().join(FILE_NAME)).unwrap()
    }

    fn snapshot(&self, query: &Query) -> Snapshot {
        View::open(self.dir.path()).unwrap().unwrap().snapshot(query).unwrap()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.store.take();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl Queue {
    /// What is known of this version, met at the path of `arrival`.
    fn look(&self, identity: &Identity, arrival: &Arrival) -> Seen {
        let Arrival { folder, name, hosts, .. } = arrival;
        self.store.as_ref().unwrap().look_up(folder, &[(name.as_os_str(), *identity)], hosts).unwrap().remove(0)
    }

    fn set_rules(&self, rules: Rules) -> Vec<(String, u64)> {
        self.run(|store| async move { store.set_rules(rules).await }).unwrap()
    }

    fn record_outcome(&self, job: JobId, expires_ms: Option<i64>) -> State {
        self.uploaded_with(job, expires_ms, Proof::Size)
    }

    fn uploaded_with(&self, job: JobId, expires_ms: Option<i64>, proof: Proof) -> State {
        let outcome = Outcome { link: Some("http://x".into()), expires_ms, proof, ..Outcome::default() };
        self.run(|store| async move { store.record_outcome(job, outcome).await }).unwrap()
    }

    fn due_deliveries(&self, now_ms: i64) -> Due {
        let wanted = ["hook", AFTER, REFRESH].map(|hook| Wanted::new(hook, 10)).to_vec();
        self.run(|store| async move { store.due_deliveries(wanted, Vec::new(), now_ms).await }).unwrap()
    }

    fn events(&self, now_ms: i64) -> Vec<(Event, JobId)> {
        self.due_deliveries(now_ms).deliveries.iter().map(|delivery| (delivery.event, delivery.job)).collect()
    }

    fn state(&self, job: JobId) -> (State, Option<Reason>) {
        let all = Query { limit: 100, ..Query::default() };
        let row = self.snapshot(&all).jobs.into_iter().find(|row| row.id == job).unwrap();
        (row.state, row.why)
    }

    /// The two jobs of one file, claimed.
    fn pair(&self) -> (JobId, JobId) {
        self.enqueue(0..1);
        let claimed = self.claim(1);
        let id = |host: &str| claimed.iter().find(|job| job.host == host).unwrap().id;
        (id("box"), id("mirror"))
    }
}

#[test]
fn a_lookup_sees_what_is_committed_and_leaves_nothing_in_the_way_of_folding_the_log() {
    let queue = Queue::new();
    let known = |number| queue.look(&arrival(number).identity, &arrival(number));
    assert_eq!(known(1), Seen::Unknown);
    queue.enqueue(1..3);
    assert_eq!((known(1), known(3)), (Seen::Known, Seen::Unknown));
    let folded = queue.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    assert_eq!(folded, Ok(0), "nothing stands in the way of folding the log");
}

#[test]
fn of_the_jobs_of_a_file_the_one_whose_after_action_may_run_says_so() {
    let queue = Queue::new();
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    let why = |job: JobId| {
        let found = queue.snapshot(&Query { limit: 10, ..Query::default() }).jobs.into_iter().find(|row| row.id == job);
        found.map(|row| (row.state, row.why)).unwrap()
    };
    queue.record_outcome(first, None);
    assert_eq!(why(first), (State::Uploaded, Some(Reason::new(ReasonClass::WaitsForHost).about("mirror"))));
    queue.record_outcome(second, None);
    assert_eq!(why(second), (State::Uploaded, Some(Reason::new(ReasonClass::AfterDue))));
}

#[test]
fn an_after_action_that_was_due_before_proof_was_asked_for_waits_for_it() {
    let mut queue = Queue::new();
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
    // As an older version leaves it: due, tried in vain, and nothing known of what the hosts have told.
    queue.connection().execute_batch("UPDATE jobs SET proof = NULL; UPDATE deliveries SET tries = 3").unwrap();
    queue.restart();
    queue.set_rules(rules(&[], true));
    assert_eq!(queue.events(i64::MAX), []);
    assert_eq!(queue.state(second).1, Some(Reason::new(ReasonClass::UnprovenByHost).about("box")));
}

#[test]
fn what_a_host_has_proved_outlives_a_damaged_queue_and_an_older_one_proves_nothing() {
    let proofs = |connection: &Connection| -> Vec<(String, Option<String>)> {
        let mut select = connection.prepare("SELECT state, proof FROM jobs ORDER BY host").unwrap();
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let done = |proof: Option<&str>| ("done".to_owned(), proof.map(str::to_owned));
    let mut queue = Queue::new();
    let (first, second) = queue.pair();
    queue.uploaded_with(first, None, Proof::Digest);
    queue.uploaded_with(second, None, Proof::Word);
    queue.store.take();
    queue.thread.take().unwrap().join();
    let (_store, _thread, rescue) = Store::rescue(queue.dir.path(), "it was damaged".into()).unwrap();
    assert_eq!((rescue.jobs, proofs(&queue.connection())), (Some(2), vec![done(Some("digest")), done(Some("word"))]));

    let dir = tempfile::tempdir().unwrap();
    let version_1 = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    version_1.execute_batch(include_str!("schema_1.sql")).unwrap();
    let rows = "INSERT INTO folders VALUES (1, x'2F61'); INSERT INTO routes VALUES (1, 'box');
         INSERT INTO files VALUES (1, 1, x'66', 1, 2, 3, 4, 5, 6, 1);
         INSERT INTO jobs (file, host, device, inode, size, mtime_ns, ctime_ns, born_ns, state, queued_at, since)
         VALUES (1, 'box', 1, 2, 3, 4, 5, 6, 'uploaded', 1, 1)";
    version_1.execute_batch(rows).unwrap();
    drop(version_1);
    let (_store, _thread, rescue) = Store::rescue(dir.path(), "it was damaged".into()).unwrap();
    let fresh = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!((rescue.jobs, proofs(&fresh)), (Some(1), vec![done(None)]));
}

#[test]
fn a_queue_that_was_emptied_or_replaced_is_noticed_and_what_is_sent_again_is_marked() {
    let replaced = |path: &std::path::Path| {
        std::fs::remove_file(path).unwrap();
        Connection::open(path).unwrap().execute_batch("CREATE TABLE notes_of_somebody_else (text)").unwrap();
    };
    let emptied = |path: &std::path::Path| std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    for (happens, said) in [(&emptied as &dyn Fn(&std::path::Path), "it is empty"), (&replaced, "another program")] {
        let mut queue = Queue::new();
        queue.pair();
        queue.store.take();
        queue.thread.take().unwrap().join();
        happens(&queue.dir.path().join(FILE_NAME));
        let (store, thread, rescue) = Store::open_or_rescue(queue.dir.path()).unwrap();
        assert!(
            rescue.is_some_and(|rescue| rescue.damage.contains(said) && rescue.kept.is_some_and(|kept| kept.exists())),
            "{said}"
        );
        (queue.store, queue.thread) = (Some(store), Some(thread));
        queue.pair();
        let marked: i64 = queue.connection().query_row("SELECT min(maybe_duplicate) FROM jobs", [], |row| row.get(0)).unwrap();
        assert_eq!(marked, 1, "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), "").unwrap();
    let (.., rescue) = Store::open_or_rescue(dir.path()).unwrap();
    assert_eq!(rescue, None, "one that was never made is no damage");
}

/// How many jobs are done, and since when the queue counts as made anew.
fn known(dir: &Path) -> (i64, Option<String>) {
    let queue = Connection::open(dir.join(FILE_NAME)).unwrap();
    let done = queue.query_row("SELECT count(*) FROM jobs WHERE state = 'done'", [], |row| row.get(0)).unwrap();
    (done, queue.query_row("SELECT value FROM notes WHERE key = 'rebuilt_at_ms'", [], |row| row.get(0)).ok())
}

/// A queue in a folder, with two done jobs that are in its log alone, as a process leaves it that dies.
fn left_by_a_dead_process() -> tempfile::TempDir {
    let queue = Queue::new();
    queue.run(|store| async move { store.outages().await }).unwrap();
    let (first, second) = queue.pair();
    queue.uploaded_with(first, None, Proof::Digest);
    queue.uploaded_with(second, None, Proof::Digest);
    let dir = tempfile::tempdir().unwrap();
    for name in [FILE_NAME, "queue.db-wal", "queue.made"] {
        std::fs::copy(queue.dir.path().join(name), dir.path().join(name)).unwrap();
    }
    dir
}

#[test]
fn a_rescue_that_dies_between_any_two_steps_is_gone_on_with_and_loses_nothing_of_the_log() {
    use super::rescue::{Rescuing, STEPS};
    let dir = left_by_a_dead_process();
    std::fs::remove_file(dir.path().join("queue.db-wal")).unwrap();
    let without_log = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    let tables: i64 =
        without_log.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'jobs'", [], |row| row.get(0)).unwrap();
    assert!(tables == 0 || known(dir.path()).0 == 0, "all that is done is in the log");
    for steps in 1..=STEPS.len() {
        let dir = left_by_a_dead_process();
        let mut rescuing = Rescuing::begin(dir.path(), "it was damaged".into(), 5);
        STEPS[..steps].iter().try_for_each(|step| step(&mut rescuing)).unwrap();
        drop(rescuing);
        let is_over = steps == STEPS.len();
        let (store, thread, rescue) = Store::open_or_rescue(dir.path()).unwrap();
        assert_eq!(rescue.is_some(), !is_over, "after {steps} steps: {rescue:?}");
        drop(store);
        thread.join();
        assert_eq!(known(dir.path()), (2, Some("5".into())), "after {steps} steps");
        let mut names: Vec<String> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
        names.sort();
        assert_eq!(names, ["queue.damaged-5.db", FILE_NAME, "queue.made"], "after {steps} steps");
    }
}

/// What becomes of the queue, and the word for it.
type Happening<'a> = (&'a dyn Fn(&Path), &'a str);

#[test]
fn a_queue_that_is_taken_away_while_it_is_open_is_kept_and_what_came_in_its_place_beside_it() {
    let removed = |path: &Path| std::fs::remove_file(path).unwrap();
    let replaced = |path: &Path| {
        let other = path.with_extension("other");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE notes_of_somebody_else (text)").unwrap();
        #[expect(clippy::disallowed_methods, reason = "as somebody does it who knows nothing of us")]
        std::fs::rename(other, path).unwrap();
    };
    let emptied = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    let happenings: [Happening<'_>; 3] = [(&removed, "removed"), (&replaced, "replaced"), (&emptied, "emptied")];
    for ((happens, said), is_noticed) in happenings.into_iter().flat_map(|happening| [(happening, true), (happening, false)]) {
        let mut queue = Queue::new();
        let (first, second) = queue.pair();
        queue.uploaded_with(first, None, Proof::Digest);
        happens(&queue.dir.path().join(FILE_NAME));
        // What comes before anybody has looked is no less known.
        queue.uploaded_with(second, None, Proof::Digest);
        if is_noticed {
            let begun = std::time::Instant::now();
            let noticed = std::iter::repeat_with(|| queue.run(|store| async move { store.look_after_place().await }));
            let error = noticed.take_while(|_| begun.elapsed().as_secs() < 60).find_map(Result::err).unwrap();
            assert!(matches!(&error, StoreError::Damaged(damage) if damage.contains(said)), "{error}");
            let again = queue.run(|store| async move { store.outages().await }).unwrap_err();
            assert!(matches!(again, StoreError::Damaged(_)), "nothing more is written: {again}");
        }
        queue.store.take();
        queue.thread.take().unwrap().join();
        let (store, thread, rescue) = Store::open_or_rescue(queue.dir.path()).unwrap();
        let rescue = rescue.unwrap();
        assert_eq!(rescue.kept.is_some_and(|kept| kept.exists()), said != "removed", "{said}");
        drop(store);
        thread.join();
        match known(queue.dir.path()) {
            // Of a file that was cut off, what nobody had in memory is gone: what is sent again is marked.
            (_, rebuilt) if said == "emptied" => assert!(rebuilt.is_some()),
            known => assert_eq!((rescue.jobs, known), (None, (2, None)), "{said}, noticed: {is_noticed}"),
        }
        let (.., rescue) = Store::open_or_rescue(queue.dir.path()).unwrap();
        assert_eq!(rescue, None, "{said}: once");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "as somebody does it who knows nothing of us")]
fn a_state_folder_that_is_taken_away_is_waited_for_and_another_in_its_place_is_left_alone() {
    let queue = Queue::new();
    let (there, away) = (queue.dir.path().to_owned(), queue.dir.path().with_extension("away"));
    std::fs::rename(&there, &away).unwrap();
    std::fs::create_dir(&there).unwrap();
    queue.run(|store| async move {
        let mut failure = store.write_failure();
        let is_back = std::cell::Cell::new(false);
        let calls = async {
            while !is_back.get() {
                store.look_after_place().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let noticed = async {
            let changed = tokio::time::timeout(std::time::Duration::from_secs(60), failure.changed()).await;
            assert!(changed.is_ok(), "nobody has noticed");
            assert!(matches!(&*failure.borrow(), Some(StoreError::Inaccessible(why)) if why.contains("its folder")));
            // Fails where anything is in it.
            std::fs::remove_dir(&there).unwrap();
            std::fs::rename(&away, &there).unwrap();
            is_back.set(true);
        };
        tokio::join!(calls, noticed);
    });
    queue.pair();
}

impl Queue {
    fn claim_on(&self, host: &str) -> JobId {
        let asking = vec![Asking::new(host, 1)];
        self.run(|store| async move { store.claim(asking, 1, i64::MAX).await }).unwrap().jobs.remove(0).id
    }
}

#[test]
fn a_dying_link_is_renewed_while_the_file_waits_for_another_host() {
    let queue = Queue::new();
    queue.set_rules(rules(&[Event::Expiring], true));
    let (first, second) = queue.pair();
    let expires_ms = clock::now_ms() + 100_000_000;
    assert_eq!(queue.record_outcome(first, Some(expires_ms)), State::Uploaded);
    assert_eq!(queue.events(expires_ms), [(Event::Expiring, first), (Event::Refresh, first)]);
    let refresh = queue.due_deliveries(expires_ms).deliveries.remove(1);
    assert!(queue.run(|store| async move { store.requeue(refresh.id).await }).unwrap());
    assert_eq!(queue.state(first).0, State::Queued);
    let mut links = Vec::new();
    let mut view = View::open(queue.dir.path()).unwrap().unwrap();
    view.links(None, |job| {
        links.push(job.id);
        true
    })
    .unwrap();
    assert_eq!(links, [first], "the old link is there until the new one");
    queue.record_outcome(second, None);
    let acts = || queue.events(i64::MAX).iter().any(|(event, _)| *event == Event::After);
    assert!(!acts(), "the file stays until the new link is there");
    assert_eq!(queue.claim_on("box"), first);
    queue.record_outcome(first, Some(expires_ms + 100_000_000));
    assert!(acts());
    let refresh = queue.due_deliveries(i64::MAX).deliveries.into_iter().find(|delivery| delivery.event == Event::Refresh).unwrap();
    assert!(!queue.run(|store| async move { store.requeue(refresh.id).await }).unwrap(), "the file is about to go");
}

#[test]
fn due_deliveries_are_found_along_an_index() {
    let queue = Queue::new();
    assert_indexed(&queue.connection(), deliveries::DUE);
}

#[test]
fn links_are_read_along_an_index() {
    let queue = Queue::new();
    let connection = queue.connection();
    assert_indexed(&connection, &view::links_sql());
}

#[test]
fn links_are_read_in_pages_that_keep_nobody_from_folding_the_log() {
    let queue = Queue::new();
    queue.enqueue(0..1);
    let job = queue.claim(1).remove(0).id;
    queue.record_outcome(job, None);
    // Many that came at one instant.
    queue.sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO jobs (file, host, device, inode, size, mtime_ns, ctime_ns, born_ns, state, queued_at, since, done_at, link)
         SELECT 1, 'box', 1, 1, 1, 1, 1, 1, 'done', 1, 1, 5 + i / 1200, 'http://x' FROM n",
        [],
    );
    let other = queue.connection();
    let mut view = View::open(queue.dir.path()).unwrap().unwrap();
    let mut seen = Vec::new();
    view.links(Some(5), |row| {
        if seen.len() == 1500 {
            let busy: bool = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
            assert!(!busy, "a snapshot is held");
        }
        seen.push((row.done_at_ms, row.id));
        true
    })
    .unwrap();
    assert_eq!(seen.len(), 2501);
    assert!(seen.is_sorted() && seen.windows(2).all(|two| two[0] != two[1]), "each once, in the order in which they came");
    assert_eq!(seen.last().unwrap().1, job);
}

fn counted(connection: &Connection, sql: &str) -> Vec<(String, String, i64, i64)> {
    let mut select = connection.prepare(sql).unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_moment_in_which_another_program_has_the_lock_is_waited_for() {
    let queue = Queue::new();
    queue.enqueue(0..1);
    let job = queue.claim(1).remove(0).id;
    let other = queue.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (store, (told, answer)) = (queue.store.clone().unwrap(), std::sync::mpsc::channel());
    let calling = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Dropped before it is told, as the last of them may be waited for.
        let left = runtime.block_on(async move { store.return_job(job, return_job(State::Queued)).await });
        told.send(left).unwrap();
    });
    let early = answer.recv_timeout(std::time::Duration::from_millis(200));
    assert!(early.is_err(), "it waits: {early:?}");
    other.execute_batch("COMMIT").unwrap();
    answer.recv().unwrap().unwrap();
    calling.join().unwrap();
}

impl Queue {
    /// Files `numbers` for one host.
    fn enqueue_for(&self, host: &str, numbers: std::ops::Range<i64>) {
        let hosts: Arc<[String]> = Arc::from([host.to_owned()]);
        let arrivals = numbers.map(|number| Arrival { hosts: hosts.clone(), priority: 0, ..arrival(number) }).collect();
        self.run(|store| async move { store.enqueue(arrivals).await }).unwrap();
    }

    fn claim_as(&self, asking: Vec<Asking>, uploads_max: usize, now_ms: i64) -> Claims {
        self.run(|store| async move { store.claim(asking, uploads_max, now_ms).await }).unwrap()
    }

    /// Puts rows where a story begins, however they may have come there.
    fn sql(&self, sql: &str, values: impl rusqlite::Params) {
        let connection = self.connection();
        connection.execute_batch("DROP TRIGGER legal_moves").unwrap();
        assert!(connection.execute(sql, values).unwrap() > 0, "{sql}");
        self.refuse_illegal_moves();
    }
}

#[test]
fn jobs_whose_time_is_a_year_ahead_are_worked_on() {
    let queue = Queue::new();
    queue.enqueue_for("box", 0..3);
    let now_ms = clock::now_ms();
    queue.sql("UPDATE jobs SET state = 'waiting', next_try = ?1", [now_ms + YEAR_MS]);
    queue.sql("UPDATE jobs SET state = 'held' WHERE id = 2", []);
    queue.sql("UPDATE jobs SET next_try = ?1 WHERE id = 3", [now_ms + 3_600_000]);
    let claims = queue.claim_as(vec![Asking::new("box", 9)], 9, now_ms);
    assert_eq!(claims.jobs.iter().map(|job| job.id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(claims.next_due_ms, Some(now_ms + 3_600_000), "an hour is a time that a host may have asked for");
}

#[test]
fn a_rest_that_ends_a_year_ahead_lasts_no_longer_than_the_host_asked_for() {
    let queue = Queue::new();
    let far = clock::now_ms() + YEAR_MS;
    queue.sql("UPDATE hosts SET state = 'resting', since = ?1, until = ?1 + 30000, rests = 1 WHERE name = 'box'", [far]);
    // As one that nobody can have asked for.
    queue.sql("UPDATE hosts SET state = 'resting', since = 0, until = ?1 WHERE name = 'mirror'", [far]);
    for _ in 0..2 {
        queue.run(|store| async move { store.recover().await }).unwrap();
        let rests = queue.run(|store| async move { store.resting_hosts().await }).unwrap();
        let left: Vec<_> = rests.iter().map(|rest| (rest.host.as_str(), rest.left.as_secs().div_ceil(10) * 10)).collect();
        assert_eq!(left, [("box", 30), ("mirror", 3600)]);
        let shown = queue.snapshot(&Query::default()).hosts;
        assert!(shown.iter().all(|host| host.report.until_ms.unwrap() <= clock::now_ms() + 3_600_000), "{shown:?}");
    }
}

#[test]
fn a_delivery_that_is_a_year_ahead_is_due_and_the_end_of_a_link_stays_what_it_is() {
    let mut queue = Queue::new();
    let wanted = rules(&[Event::Done, Event::Expiring], false);
    queue.set_rules(wanted.clone());
    let (first, second) = queue.pair();
    let expires_ms = clock::now_ms() + 100_000_000;
    queue.record_outcome(first, Some(expires_ms));
    queue.record_outcome(second, None);
    let tried = queue.due_deliveries(clock::now_ms()).deliveries.remove(0).id;
    queue.run(|store| async move { store.record_failed_delivery(vec![tried], told("it failed"), 1).await }).unwrap();
    for set_back in [true, false] {
        queue.sql("UPDATE deliveries SET next_try = ?1 WHERE event = 'done'", [clock::now_ms() + YEAR_MS]);
        assert_eq!(queue.events(clock::now_ms()), []);
        if set_back {
            queue.run(|store| async move { store.clock_was_set_back().await }).unwrap();
        } else {
            queue.restart();
            queue.set_rules(wanted.clone());
        }
        assert_eq!(queue.events(clock::now_ms()), [(Event::Done, first), (Event::Done, second)]);
        assert_eq!(queue.events(expires_ms).len(), 4, "what is to come before the link dies comes then");
    }
}

impl Queue {
    /// Makes jobs, and fails then unless it is to go well.
    fn enqueue_and(&self, files: std::ops::Range<i64>, well: bool) -> StoreCall<u64> {
        let arrivals: Vec<Arrival> = files.map(arrival).collect();
        let work = move |queue: &mut dyn backend::Backend, by| {
            let made = queue.enqueue(by, &arrivals)?;
            if well { Ok((made, driver::Wake::default())) } else { Err(StoreError::Refused("its own fault".into())) }
        };
        StoreCall::new(self.store.as_ref().unwrap(), Durability::Power, Box::new(work))
    }

    fn fail_after_enqueue(&self, files: std::ops::Range<i64>) {
        self.enqueue_and(files, false).blocking().unwrap_err();
    }
}

#[test]
fn one_bad_call_takes_nobody_with_it() {
    let queue = Queue::new();
    let call = |number: i64, well: bool| queue.enqueue_and(number..number + 1, well);
    let (good, bad, also_good) = queue.runtime.block_on(async { tokio::join!(call(0, true), call(1, false), call(2, true)) });
    assert_eq!((good.unwrap(), also_good.unwrap()), (2, 2));
    assert!(matches!(bad, Err(StoreError::Refused(_))), "{bad:?}");
    let known = [0, 1, 2].map(|number| queue.look(&arrival(number).identity, &arrival(number)));
    assert_eq!(known, [Seen::Known, Seen::Unknown, Seen::Known], "what the bad one did is undone");
}

#[test]
fn status_reads_every_state_along_an_index() {
    let queue = Queue::new();
    queue.enqueue(0..10);
    let connection = queue.connection();
    for (state, order) in [
        (State::Uploading, "j.id"),
        (State::Held, "j.id"),
        (State::Waiting, "j.id"),
        (State::Done, "j.done_at DESC"),
        (State::Gone, "j.id DESC"),
    ] {
        assert_indexed(&connection, &view::select_sql(state, "", order));
    }
    assert_indexed(&connection, &view::select_sql(State::Queued, " AND j.host IN ('box')", "j.priority DESC, j.id"));
    let sql = [jobs::READY_COUNT, jobs::DUE_COUNT, jobs::DISBELIEVE, jobs::OTHER_QUEUED, jobs::OTHER_PUT_OFF].map(String::from);
    for sql in sql.into_iter().chain([jobs::ready_sql(), jobs::small_sql()]) {
        assert_indexed(&connection, &sql);
    }
    // It sorts no more than it compares.
    let (scans, sorts) = plan(&connection, &jobs::due_sql());
    assert!(scans.is_empty() && sorts.len() == 1, "{scans:?} {sorts:?}");
}

#[test]
fn status_takes_no_longer_the_longer_the_queue_is() {
    let queue = Queue::new();
    let effort = |query: &Query| View::open(queue.dir.path()).unwrap().unwrap().effort(query).unwrap();
    let queries = [
        Query { limit: 50, ..Query::default() },
        Query { limit: 50, beside: true, ..Query::default() },
        Query { limit: 50, states: vec![State::Queued], hosts: vec!["box".into()], ..Query::default() },
    ];
    queue.enqueue(0..2_000);
    for job in queue.claim(20) {
        let waiting = return_job(State::Waiting);
        queue.run(|store| async move { store.return_job(job.id, waiting).await }).unwrap();
    }
    let before = queries.each_ref().map(effort);
    queue.enqueue(2_000..20_000);
    for (query, before) in queries.iter().zip(before) {
        let now = effort(query);
        assert!(now <= before + before / 10, "{query:?}: {before}, then {now} hundreds of instructions");
    }
}

fn assert_indexed(connection: &Connection, sql: &str) {
    let (scans, sorts) = plan(connection, sql);
    assert!(scans.is_empty() && sorts.is_empty(), "{sql}\n{scans:?} {sorts:?}");
}

/// The steps of the query that walk a whole table, and those that sort.
fn plan(connection: &Connection, sql: &str) -> (Vec<String>, Vec<String>) {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = explain.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push(row.get::<_, String>(3).unwrap());
    }
    // Walking an index in its order as far as the limit is no scan of the table.
    let is_scan = |step: &&String| step.starts_with("SCAN j") && !step.contains("USING INDEX");
    let sorts = plan.iter().filter(|step| step.contains("USE TEMP B-TREE")).cloned().collect();
    (plan.iter().filter(is_scan).cloned().collect(), sorts)
}

#[test]
fn a_snapshot_filters_and_puts_first_what_moves() {
    let queue = Queue::new();
    queue.enqueue(0..4);
    let claimed = queue.claim(1);
    let (first, second) = (claimed[0].id, claimed[1].id);
    queue.run(|store| async move { store.record_outcome(first, Outcome::default()).await }).unwrap();
    let all = Query { limit: 100, ..Query::default() };
    let states: Vec<State> = queue.snapshot(&all).jobs.iter().map(|job| job.state).collect();
    assert_eq!((states[0], states[states.len() - 1], states.len()), (State::Uploading, State::Done, 8));
    assert_eq!(queue.snapshot(&all).jobs[0].id, second);
    let few = Query { limit: 2, hosts: vec!["box".into()], states: vec![State::Queued], ..Query::default() };
    assert!(queue.snapshot(&few).jobs.iter().all(|job| job.host == "box" && job.state == State::Queued));
    let below = |path: &str| queue.snapshot(&Query { paths: vec![Path::new(path).into()], ..all.clone() }).jobs.len();
    assert_eq!((below("/drop"), below("/drop/0"), below("/drop/0/f3"), below("/dro"), below("/drop/0/f")), (8, 4, 2, 0, 0));
}

#[test]
fn a_snapshot_knows_the_other_hosts_of_a_file_and_what_has_happened_since() {
    let queue = Queue::new();
    queue.enqueue(0..4);
    let one = Query { limit: 1, beside: true, ..Query::default() };
    let snapshot = queue.snapshot(&one);
    let (job, [beside]) = (&snapshot.jobs[0], snapshot.beside.as_slice()) else { panic!("{:#?}", snapshot.beside) };
    assert!(job.path == beside.path && job.host != beside.host);
    assert!(queue.snapshot(&Query { beside: false, ..one.clone() }).beside.is_empty());
    let of_host = Query { hosts: vec![job.host.clone()], ..one };
    assert!(queue.snapshot(&of_host).beside.is_empty(), "another host was not asked for");
    let since = |since_ms| queue.snapshot(&Query { since_ms: Some(since_ms), limit: 100, ..Query::default() }).jobs.len();
    assert_eq!((since(0), since(i64::MAX)), (8, 0));
    assert_eq!(snapshot.bytes_moving.values().sum::<u64>(), snapshot.bytes_left);
}

#[test]
fn a_hundred_thousand_jobs_are_seen_at_a_glance() {
    let queue = Queue::new();
    for begin in (0..50_000).step_by(500) {
        queue.enqueue(begin..begin + 500);
    }
    let snapshot = queue.snapshot(&Query { limit: 50, ..Query::default() });
    assert_eq!((snapshot.totals[0], snapshot.jobs.len()), ((State::Queued, 100_000), 50));
    assert_eq!(snapshot.bytes_left, 1_000_000);
}

#[test]
fn however_many_jobs_move_in_a_commit_each_total_is_written_once() {
    let queue = Queue::new();
    queue.enqueue(0..1);
    let trigger = "CREATE TRIGGER written AFTER UPDATE ON totals BEGIN INSERT INTO notes VALUES (hex(randomblob(8)), new.host || new.state); END";
    queue.connection().execute_batch(trigger).unwrap();
    queue.enqueue(1..50);
    let written =
        queue.connection().query_row("SELECT count(*), count(DISTINCT value) FROM notes", [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(written, Ok((2, 2)));
    assert_eq!(queue.snapshot(&Query::default()).totals[0], (State::Queued, 100));
}

#[test]
fn the_totals_of_a_transaction_that_died_are_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let by = values::Caller { daemon: DaemonId::LOCAL, now_ms: 1 };
    for commits in [true, false] {
        let mut queue = sqlite::open(dir.path()).unwrap().writer;
        queue.begin().unwrap();
        queue.enqueue(by, &[arrival(i64::from(commits))]).unwrap();
        if commits {
            queue.commit(by.daemon).unwrap();
        }
    }
    let snapshot = View::open(dir.path()).unwrap().unwrap().snapshot(&Query { limit: 10, ..Query::default() }).unwrap();
    assert_eq!((snapshot.totals[0], snapshot.jobs.len()), ((State::Queued, 2), 2));
}

#[test]
fn readers_see_the_totals_of_all_daemons_together() {
    let queue = Queue::new();
    queue.enqueue(0..5);
    let other =
        "INSERT INTO totals (daemon, host, state, jobs, bytes) VALUES (2, 'box', 'queued', -5, -50), (2, 'box', 'done', 5, 50)";
    queue.connection().execute_batch(other).unwrap();
    let seen = queue.snapshot(&Query::default());
    let of = |wanted: State| seen.totals.iter().find(|(state, _)| *state == wanted).unwrap().1;
    assert_eq!((of(State::Queued), of(State::Done), seen.bytes_left, seen.bytes_sent), (5, 5, 50, 50));
    let listed = queue.snapshot(&Query { states: vec![State::Queued], limit: 100, ..Query::default() }).jobs;
    assert!(listed.iter().all(|job| job.host == "mirror"), "nothing is queued for `box` any more: {listed:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_totals_are_what_counting_would_say(steps in prop::collection::vec((0u8..6, 1i64..5), 1..20)) {
        let queue = Queue::new();
        let mut next = 0;
        for (verb, count) in steps {
            if verb == 0 {
                queue.enqueue(next..next + count);
                next += count;
            }
            if verb == 5 {
                queue.fail_after_enqueue(next..next + count);
                continue;
            }
            let states = [State::Done, State::Waiting, State::Held, State::Failed, State::Gone];
            for job in queue.claim(usize::try_from(count).unwrap()) {
                let state = states[usize::from(verb)];
                queue.run(|store| async move {
                    match state {
                        State::Done => store.record_outcome(job.id, Outcome::default()).await.map(drop),
                        _ => store.return_job(job.id, return_job(state)).await,
                    }
                }).unwrap();
            }
        }
        let connection = queue.connection();
        let kept = counted(&connection, "SELECT host, state, jobs, bytes FROM totals WHERE jobs > 0 ORDER BY 1, 2");
        let real = counted(&connection, "SELECT host, state, count(*), sum(size) FROM jobs GROUP BY 1, 2 ORDER BY 1, 2");
        prop_assert_eq!(kept, real);
    }
}

#[test]
fn a_sentence_of_an_older_version_is_shown_and_its_job_told_of_once_more() {
    let queue = Queue::new();
    queue.set_rules(rules(&[Event::Held], false));
    queue.enqueue(0..1);
    let wrong = Reason::new(ReasonClass::Host(Class::HostRefused)).detail("the password is wrong");
    // Whether hooks are told that the one job of `box` is held for this.
    let hold = || {
        let job = queue.claim_on("box");
        let held = ReturnedJob { why: Some(wrong.clone()), ..return_job(State::Held) };
        queue.run(|store| async move { store.return_job(job, held).await }).unwrap();
        let due = queue.due_deliveries(i64::MAX).deliveries;
        let ids: Vec<_> = due.iter().map(|delivery| delivery.id).collect();
        queue.run(|store| async move { store.record_delivery(ids).await }).unwrap();
        !due.is_empty()
    };
    assert!(hold());
    let older = queue.connection();
    older.execute_batch("UPDATE jobs SET why = 'the password is wrong', told_held = 'the password is wrong'").unwrap();
    let all = Query { limit: 1, ..Query::default() };
    assert_eq!(queue.snapshot(&all).jobs[0].why, Some(told("the password is wrong")));
    assert!(hold(), "nobody can tell whether it is the same");
    assert!(!hold());
}
