//! The queue through its verbs: what is counted, what is found along an index, what one bad call does to the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::job::upload::Outcome;

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
        let hosts = vec![("box".to_owned(), "cloudkp".to_owned()), ("mirror".to_owned(), "cloudkp".to_owned())];
        queue.run(|store| async move { store.configured(vec![PathBuf::from("/drop")], hosts).await }).unwrap();
        queue
    }

    fn run<T, F: Future<Output = T>>(&self, work: impl FnOnce(Store) -> F) -> T {
        self.runtime.block_on(work(self.store.clone().unwrap()))
    }

    fn enqueue(&self, files: std::ops::Range<i64>) -> u64 {
        let arrivals = files.map(arrival).collect();
        self.run(|store| async move { store.enqueue(arrivals).await }).unwrap()
    }

    fn claim(&self, count: usize) -> Vec<Claimed> {
        let wanted = vec![("box".to_owned(), count), ("mirror".to_owned(), count)];
        self.run(|store| async move { store.claim(wanted, 2 * count, i64::MAX).await }).unwrap().jobs
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

fn arrival(number: i64) -> Arrival {
    Arrival {
        folder: PathBuf::from(format!("/drop/{}", number % 3)),
        name: format!("f{number}").into(),
        identity: Identity { device: 1, inode: number, size: 10, mtime_ns: 1, ctime_ns: 1, born_ns: 1 },
        hosts: Arc::from(["box".to_owned(), "mirror".to_owned()]),
        make_jobs: true,
        priority: number % 2,
    }
}

fn put_back(state: State) -> PutBack {
    PutBack { state, why: Some("a reason".into()), next_try_ms: Some(5), failures: 1, session: Keep::Session }
}

fn counted(connection: &Connection, sql: &str) -> Vec<(String, String, i64, i64)> {
    let mut select = connection.prepare(sql).unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn the_same_arrival_makes_its_jobs_once_and_a_new_host_only_its_own() {
    let queue = Queue::new();
    assert_eq!((queue.enqueue(0..5), queue.enqueue(0..5), queue.enqueue(3..6)), (10, 0, 2));
    let more = Arrival { hosts: Arc::from(["box".to_owned(), "mirror".to_owned(), "third".to_owned()]), ..arrival(0) };
    assert_eq!(queue.run(|store| async move { store.enqueue(vec![more]).await }).unwrap(), 1);
}

#[test]
fn a_gone_file_is_forgotten_and_met_again() {
    let queue = Queue::new();
    queue.enqueue(0..1);
    let job = queue.claim(1).remove(0).id;
    queue
        .run(|store| async move { store.put_back(job, PutBack { session: Keep::Nothing, ..put_back(State::Gone) }).await })
        .unwrap();
    assert_eq!(queue.enqueue(0..1), 2);
}

#[test]
fn higher_priority_goes_first_and_then_the_older() {
    let queue = Queue::new();
    queue.enqueue(0..4);
    let names = |jobs: Vec<Claimed>| {
        let mut names: Vec<String> = jobs.iter().map(|job| job.path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names(queue.claim(1)), ["f1"]);
    assert_eq!(names(queue.claim(1)), ["f3"]);
    assert_eq!(names(queue.claim(2)), ["f0", "f2"]);
}

#[test]
fn one_bad_call_takes_nobody_with_it() {
    let queue = Queue::new();
    let writer = queue.store.as_ref().unwrap().writer.clone();
    let call = |sql: &'static str| writer.call(Durability::Power, move |c| Ok(c.execute(sql, [])?));
    let (good, bad, also_good) = queue.runtime.block_on(async {
        tokio::join!(
            call("INSERT INTO notes VALUES ('a', '1')"),
            call("INSERT INTO nowhere VALUES (1)"),
            call("INSERT INTO notes VALUES ('b', '2')")
        )
    });
    assert!(good.is_ok() && also_good.is_ok());
    assert!(matches!(bad, Err(StoreError::Io(_))), "{bad:?}");
    let notes: i64 = queue.connection().query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
    assert_eq!(notes, 2);
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
    for sql in [jobs::READY, jobs::DUE] {
        assert_indexed(&connection, sql);
    }
}

fn assert_indexed(connection: &Connection, sql: &str) {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = explain.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push(row.get::<_, String>(3).unwrap());
    }
    // Walking an index in its order as far as the limit is no scan of the table.
    let scans = plan.iter().any(|step| step.starts_with("SCAN j") && !step.contains("USING INDEX"));
    let sorts = plan.iter().any(|step| step.contains("USE TEMP B-TREE"));
    assert!(!scans && !sorts, "{sql}\n{}", plan.join("\n"));
}

#[test]
fn a_snapshot_filters_and_puts_first_what_moves() {
    let queue = Queue::new();
    queue.enqueue(0..4);
    let claimed = queue.claim(1);
    let (first, second) = (claimed[0].id, claimed[1].id);
    queue.run(|store| async move { store.uploaded(first, Outcome::default()).await }).unwrap();
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
fn a_hundred_thousand_jobs_are_seen_at_a_glance() {
    let queue = Queue::new();
    for begin in (0..50_000).step_by(500) {
        queue.enqueue(begin..begin + 500);
    }
    let snapshot = queue.snapshot(&Query { limit: 50, ..Query::default() });
    assert_eq!((snapshot.totals[0], snapshot.jobs.len()), ((State::Queued, 100_000), 50));
    assert_eq!(snapshot.bytes_left, 1_000_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_totals_are_what_counting_would_say(steps in prop::collection::vec((0u8..5, 1i64..5), 1..20)) {
        let queue = Queue::new();
        let mut next = 0;
        for (verb, count) in steps {
            if verb == 0 {
                queue.enqueue(next..next + count);
                next += count;
            }
            let states = [State::Done, State::Waiting, State::Held, State::Failed, State::Gone];
            for job in queue.claim(usize::try_from(count).unwrap()) {
                let state = states[usize::from(verb)];
                queue.run(|store| async move {
                    match state {
                        State::Done => store.uploaded(job.id, Outcome::default()).await.map(drop),
                        _ => store.put_back(job.id, put_back(state)).await,
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
