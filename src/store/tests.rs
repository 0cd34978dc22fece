//! The queue through its verbs: what is counted, what is found along an index, what one bad call does to the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::job::upload::{Ack, Class, Outcome};
use crate::job::watch::{After, Watch};
use crate::job::{Event, Proof, ReasonClass};

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
        queue.run(|store| async move { store.configured(vec![PathBuf::from("/drop")], hosts).await }).unwrap();
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

fn arrival(number: i64) -> Arrival {
    Arrival {
        folder: PathBuf::from(format!("/drop/{}", number % 3)),
        name: format!("f{number}").into(),
        identity: Identity { device: 1, inode: number, size: 10, mtime_ns: 1, ctime_ns: 1, born_ns: 1 },
        hosts: Arc::from(["box".to_owned(), "mirror".to_owned()]),
        make_jobs: true,
        priority: number % 2,
        close_seen: false,
    }
}

fn told(text: &str) -> Reason {
    Reason::new(ReasonClass::Told).detail(text)
}

fn hook_failed() -> Reason {
    Reason::new(ReasonClass::HookFailed).about("command sh").detail("exit status: 3")
}

fn put_back(state: State) -> PutBack {
    PutBack {
        state,
        why: Some(told("a reason")),
        next_try_ms: Some(5),
        failures: 1,
        failing: Some(("kind".into(), 1)),
        failing_since_ms: Some(1),
        session: SessionFate::Resume,
    }
}

/// Rules with a hook for these events, an after-action for every file, and renewed links on `box`.
fn rules(on: &[Event], acts: bool) -> Rules {
    let hook = HookRule { key: "hook".into(), on: on.to_vec(), before_ms: 1000 };
    let after = if acts { After::Delete } else { After::Keep };
    let watch = Watch { after, ..Watch::new(PathBuf::from("/drop"), hosts(&["box", "mirror"])) };
    Rules { hooks: vec![hook], watches: [watch].into_iter().collect(), refresh: vec!["box".into()], trusted: Vec::new() }
}

fn hosts(names: &[&str]) -> Arc<[String]> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The same rules, where the files go to these hosts.
fn with_hosts(rules: Rules, names: &[&str]) -> Rules {
    let watches = rules.watches.iter().map(|watch| Watch { to: hosts(names), ..watch.clone() }).collect();
    Rules { watches, ..rules }
}

impl Queue {
    /// What is known of this version, met at the path of `arrival`.
    fn look(&self, identity: &Identity, arrival: &Arrival) -> Seen {
        let Arrival { folder, name, hosts, .. } = arrival;
        self.store.as_ref().unwrap().look_up(folder, &[(name.as_os_str(), *identity)], hosts).unwrap().remove(0)
    }

    fn follow(&self, rules: Rules) -> Vec<(String, u64)> {
        self.run(|store| async move { store.follow(rules).await }).unwrap()
    }

    fn uploaded(&self, job: JobId, expires_ms: Option<i64>) -> State {
        self.uploaded_with(job, expires_ms, Proof::Size)
    }

    fn uploaded_with(&self, job: JobId, expires_ms: Option<i64>, proof: Proof) -> State {
        let outcome = Outcome { link: Some("http://x".into()), remote_id: None, expires_ms, proof };
        self.run(|store| async move { store.uploaded(job, outcome).await }).unwrap()
    }

    fn due(&self, now_ms: i64) -> Due {
        let wanted = ["hook", AFTER, REFRESH].map(|key| (key.to_owned(), 10)).to_vec();
        self.run(|store| async move { store.due(wanted, Vec::new(), now_ms).await }).unwrap()
    }

    fn events(&self, now_ms: i64) -> Vec<(Event, JobId)> {
        self.due(now_ms).deliveries.iter().map(|delivery| (delivery.event, delivery.job)).collect()
    }

    /// Two jobs of a file, the first uploaded, and a third host that was added since.
    fn with_an_added_host() -> (Queue, JobId, JobId) {
        let mut queue = Queue::new();
        queue.follow(rules(&[], true));
        let (first, second) = queue.pair();
        queue.uploaded(first, None);
        let more = with_hosts(rules(&[], true), &["third", "box", "mirror"]);
        queue.restart();
        queue.follow(more);
        (queue, first, second)
    }

    fn deliver(&self, event: Event) {
        for delivery in self.due(i64::MAX).deliveries.into_iter().filter(|delivery| delivery.event == event) {
            self.run(|store| async move { store.delivered(vec![delivery.id]).await }).unwrap();
        }
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
fn the_after_action_comes_when_every_host_has_the_file_and_every_hook_has_heard_of_it() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Done], true));
    let (first, second) = queue.pair();
    assert_eq!(queue.uploaded(first, None), State::Uploaded);
    queue.deliver(Event::Done);
    assert_eq!(queue.state(first), (State::Uploaded, Some(Reason::new(ReasonClass::WaitsForHost).about("mirror"))));
    assert_eq!(queue.uploaded(second, None), State::Uploaded);
    assert_eq!(queue.events(i64::MAX), [(Event::Done, second)], "the hook goes first");
    queue.deliver(Event::Done);
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)], "once for the file");
    queue.deliver(Event::After);
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Done, None)));
}

#[test]
fn a_host_that_is_added_while_the_source_is_about_to_go_is_waited_for() {
    let mut queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.uploaded(second, None);
    let due = queue.due(i64::MAX).deliveries.remove(0).id;
    // It was tried in vain, and so would be due at once after a restart.
    queue.run(|store| async move { store.undelivered(vec![due], told("the target is away"), 1).await }).unwrap();
    let more = with_hosts(rules(&[], true), &["box", "mirror", "third"]);
    queue.restart();
    queue.follow(more);
    let looks = queue.due(i64::MAX).deliveries;
    assert!(
        looks.iter().all(|look| look.why == Some(Reason::new(ReasonClass::WaitsForHost).about("third"))),
        "the third host has not got it: {looks:?}"
    );
    assert_eq!(queue.state(second).1, Some(Reason::new(ReasonClass::WaitsForHost).about("third")));
    let three = Arrival { hosts: Arc::from(["box".to_owned(), "mirror".to_owned(), "third".to_owned()]), ..arrival(0) };
    assert_eq!(queue.run(|store| async move { store.enqueue(vec![three]).await }).unwrap(), 1);
    for look in looks {
        queue.run(|store| async move { store.look_again(look.id, 1).await }).unwrap();
    }
    assert_eq!(queue.events(i64::MAX), [], "who looked before the job was made sets nothing off");
    let third =
        queue.run(|store| async move { store.claim(vec![Asking::new("third", 1)], 1, i64::MAX).await }).unwrap().jobs.remove(0).id;
    queue.uploaded(third, None);
    assert_eq!(queue.events(i64::MAX).len(), 1, "once, when all three have it");
}

#[test]
fn a_host_that_will_never_take_the_file_leaves_it_where_it_is() {
    let queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.run(|store| async move { store.put_back(second, put_back(State::Failed)).await }).unwrap();
    assert_eq!((queue.state(first).0, queue.events(i64::MAX).len()), (State::Done, 0));
}

#[test]
fn a_source_stays_on_the_mere_word_of_a_host_until_a_start_that_trusts_it() {
    let mut queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded_with(first, None, Proof::Digest);
    assert_eq!(queue.uploaded_with(second, None, Proof::Word), State::Uploaded);
    assert_eq!(queue.events(i64::MAX), [], "nothing may happen to the source");
    for job in [first, second] {
        let (state, why) = queue.state(job);
        let unproven = Reason::new(ReasonClass::UnprovenByHost).about("mirror");
        assert_eq!((state, why), (State::Uploaded, Some(unproven)));
    }
    queue.restart();
    queue.follow(rules(&[], true));
    assert_eq!(queue.events(i64::MAX), [], "a start alone changes nothing");
    queue.restart();
    queue.follow(Rules { trusted: vec!["mirror".into()], ..rules(&[], true) });
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
    assert_eq!(queue.state(first), (State::Uploaded, None));
    queue.deliver(Event::After);
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Done, None)));
}

#[test]
fn an_after_action_that_was_due_before_proof_was_asked_for_waits_for_it() {
    let mut queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.uploaded(second, None);
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
    // As an older version leaves it: due, tried in vain, and nothing known of what the hosts have told.
    queue.connection().execute_batch("UPDATE jobs SET proof = NULL; UPDATE deliveries SET tries = 3").unwrap();
    queue.restart();
    queue.follow(rules(&[], true));
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
    assert_eq!((rescue.jobs, proofs(&queue.connection())), (2, vec![done(Some("digest")), done(Some("word"))]));

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
    assert_eq!((rescue.jobs, proofs(&fresh)), (1, vec![done(None)]));
}

#[test]
fn a_start_does_not_set_off_an_after_action_before_every_hook_has_heard() {
    let mut queue = Queue::new();
    queue.follow(rules(&[Event::Done], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.uploaded(second, None);
    queue.deliver(Event::Done);
    let due = queue.due(i64::MAX).deliveries.remove(0).id;
    queue.run(|store| async move { store.undelivered(vec![due], told("the target is away"), 1).await }).unwrap();
    let more = with_hosts(rules(&[Event::Done], true), &["box", "mirror", "third"]);
    queue.restart();
    queue.follow(more.clone());
    let three = Arrival { hosts: more.watches[0].to.clone(), ..arrival(0) };
    queue.run(|store| async move { store.enqueue(vec![three]).await }).unwrap();
    let third = queue.claim_on("third");
    queue.uploaded(third, None);
    queue.restart();
    queue.follow(more);
    assert_eq!(queue.events(i64::MAX), [(Event::Done, third)]);
}

#[test]
fn an_added_host_that_no_scan_finds_the_file_for_is_not_waited_for() {
    let (queue, first, second) = Queue::with_an_added_host();
    assert_eq!(queue.events(i64::MAX), [], "`mirror` has a job, which is waited for");
    queue.uploaded(second, None);
    assert_eq!(queue.events(i64::MAX).len(), 2, "somebody is to look for the file");
    queue.deliver(Event::After);
    let note = Some(Reason::new(ReasonClass::NotFoundForHost).about("third"));
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, note.clone()), (State::Done, note)));
}

#[test]
fn a_look_that_comes_too_late_takes_no_after_action_away() {
    let queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.uploaded(second, None);
    let due = queue.due(i64::MAX).deliveries.remove(0).id;
    let before = queue.events(i64::MAX);
    queue.run(|store| async move { store.not_found(due).await }).unwrap();
    assert!(!before.is_empty() && queue.events(i64::MAX) == before);
}

#[test]
fn a_host_that_failed_is_not_hidden_by_one_that_was_added() {
    let (queue, first, second) = Queue::with_an_added_host();
    queue.run(|store| async move { store.put_back(second, put_back(State::Failed)).await }).unwrap();
    assert_eq!(queue.state(first), (State::Done, Some(Reason::new(ReasonClass::RefusedByHost).about("mirror"))));
}

#[test]
fn a_changed_file_frees_what_waited_for_its_earlier_version() {
    let queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, _) = queue.pair();
    queue.uploaded(first, None);
    assert_eq!(queue.state(first).0, State::Uploaded);
    let changed = Arrival { identity: Identity { mtime_ns: 2, ..arrival(0).identity }, ..arrival(0) };
    queue.run(|store| async move { store.enqueue(vec![changed]).await }).unwrap();
    assert_eq!(queue.state(first).0, State::Done);
}

#[test]
fn a_changed_file_frees_an_after_action_that_waits_for_a_time_to_come() {
    let queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.uploaded(second, None);
    let due = queue.due(i64::MAX).deliveries.remove(0).id;
    let tomorrow = clock::now_ms() + 86_400_000;
    queue.run(|store| async move { store.undelivered(vec![due], told("it may be written"), tomorrow).await }).unwrap();
    let changed = Arrival { identity: Identity { mtime_ns: 2, ..arrival(0).identity }, ..arrival(0) };
    queue.run(|store| async move { store.enqueue(vec![changed]).await }).unwrap();
    assert_eq!((queue.state(first).0, queue.state(second).0), (State::Done, State::Done));
}

#[test]
fn that_a_writer_was_seen_to_close_a_version_is_told_with_its_after_action() {
    let queue = Queue::new();
    queue.follow(rules(&[], true));
    let closed = Arrival { hosts: Arc::from(["box".to_owned()]), close_seen: true, ..arrival(0) };
    queue.run(|store| async move { store.enqueue(vec![closed]).await }).unwrap();
    let first = queue.claim_on("box");
    queue.uploaded(first, None);
    // The job for a host that is added later, by a scan, which sees nobody close anything.
    queue.run(|store| async move { store.enqueue(vec![arrival(0)]).await }).unwrap();
    let second = queue.claim_on("mirror");
    queue.uploaded(second, None);
    let due = queue.due(i64::MAX).deliveries;
    assert_eq!(due.iter().map(|delivery| (delivery.job, delivery.close_seen)).collect::<Vec<_>>(), [(second, true)]);
}

#[test]
fn a_close_that_is_seen_later_sets_off_the_after_action_that_waits_for_it_and_no_other() {
    let queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.uploaded(second, None);
    let due = queue.due(i64::MAX).deliveries.remove(0);
    assert!(!due.close_seen);
    let tomorrow = clock::now_ms() + 86_400_000;
    queue.run(|store| async move { store.undelivered(vec![due.id], told("it may be written"), tomorrow).await }).unwrap();
    let close = |identity: Identity| {
        let Arrival { folder, name, .. } = arrival(0);
        queue.run(|store| async move { store.close_seen(folder, name, identity).await }).unwrap();
        queue.due(clock::now_ms()).deliveries.iter().map(|delivery| delivery.close_seen).collect::<Vec<_>>()
    };
    let version = arrival(0).identity;
    assert!(close(Identity { ctime_ns: 2, ..version }).is_empty(), "another version was closed");
    assert_eq!(close(version), vec![true]);
}

#[test]
fn an_after_action_that_will_never_be_done_ends_every_job_of_its_version_with_the_reason() {
    let queue = Queue::new();
    queue.follow(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.uploaded(second, None);
    let due = queue.due(i64::MAX).deliveries.remove(0).id;
    queue.run(|store| async move { store.stays(due, told("it stays")).await }).unwrap();
    let note = Some(told("it stays"));
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, note.clone()), (State::Done, note)));
    assert_eq!(queue.events(i64::MAX), []);
}

#[test]
fn a_removed_hook_holds_nothing_up_and_is_named() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Done, Event::Held], false));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.run(|store| async move { store.put_back(second, put_back(State::Held)).await }).unwrap();
    assert_eq!(queue.events(i64::MAX), [(Event::Done, first), (Event::Held, second)]);
    // The next start has no hooks.
    let next_start = backend::Caller { daemon: DaemonId::LOCAL, now_ms: 7 };
    let dropped = deliveries::follow(&queue.connection(), next_start, &Rules::default()).unwrap();
    assert_eq!(dropped.iter().map(|(_, rows)| rows).sum::<u64>(), 2);
    assert_eq!((queue.state(first).0, queue.state(second).0), (State::Done, State::Held));
}

#[test]
fn a_delivery_that_fails_is_seen_in_its_job_and_tried_again() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Done, Event::Held], false));
    let (first, second) = queue.pair();
    queue.uploaded(first, None);
    queue.run(|store| async move { store.put_back(second, put_back(State::Held)).await }).unwrap();
    let later = clock::now_ms() + 60_000;
    for delivery in queue.due(later - 1).deliveries {
        queue.run(|store| async move { store.undelivered(vec![delivery.id], hook_failed(), later).await }).unwrap();
    }
    assert_eq!(queue.due(later - 1).next_due_ms, Some(later));
    assert_eq!(queue.state(first), (State::Uploaded, Some(hook_failed())));
    assert_eq!(queue.state(second), (State::Held, Some(told("a reason").and_also(Some(hook_failed())))));
    assert_eq!(queue.due(i64::MAX).deliveries[0].tries, 1);
    queue.deliver(Event::Done);
    queue.deliver(Event::Held);
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Held, Some(told("a reason")))));
}

#[test]
fn a_dying_link_is_told_of_and_renewed_once() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Expiring], false));
    let (first, second) = queue.pair();
    let expires_ms = clock::now_ms() + 100_000_000;
    assert_eq!((queue.uploaded(first, Some(expires_ms)), queue.uploaded(second, None)), (State::Done, State::Done));
    assert_eq!(queue.events(clock::now_ms()), []);
    assert_eq!(queue.events(expires_ms - 1000), [(Event::Expiring, first), (Event::Refresh, first)]);
    let refresh = queue.due(expires_ms).deliveries.remove(1);
    assert!(queue.run(|store| async move { store.send_again(refresh.id).await }).unwrap());
    assert_eq!(queue.state(first).0, State::Queued);
    assert_eq!(queue.claim(1)[0].id, first);
    queue.uploaded(first, Some(expires_ms + 100_000_000));
    assert_eq!(queue.events(expires_ms), [], "the old link's end is nobody's business any more");
}

impl Queue {
    /// Claims the one job of `box` and leaves it held for `why`; whether hooks are told.
    fn hold(&self, why: &Reason) -> bool {
        let job = self.claim_on("box");
        let put_back = PutBack { why: Some(why.clone()), ..put_back(State::Held) };
        self.run(|store| async move { store.put_back(job, put_back).await }).unwrap();
        let told = self.events(i64::MAX) == [(Event::Held, job)];
        self.deliver(Event::Held);
        told
    }

    fn claim_on(&self, host: &str) -> JobId {
        let asking = vec![Asking::new(host, 1)];
        self.run(|store| async move { store.claim(asking, 1, i64::MAX).await }).unwrap().jobs.remove(0).id
    }
}

#[test]
fn hooks_hear_once_that_a_person_must_act() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Held], false));
    queue.enqueue(0..1);
    let full = |said: &str| Reason::new(ReasonClass::Host(Class::HostFull)).detail(said);
    let wrong = Reason::new(ReasonClass::Host(Class::HostRefused)).detail("the password is wrong");
    assert!(queue.hold(&full("12 bytes left")));
    assert!(!queue.hold(&full("12 bytes left")), "the hourly try is no news");
    assert!(!queue.hold(&full("there is no room")), "nor are other words for it");
    assert!(queue.hold(&wrong), "another reason is");
    let job = queue.claim_on("box");
    let (plan, ack) = (Plan { file_bytes: 10, part_bytes: 5 }, Ack { number: 0, held_to: 5, receipt: None, moved_to: None });
    let (session, acks) = (Session("s".into()), vec![ack]);
    let opened = session.clone();
    queue.run(|store| async move { store.opened(job, opened, plan, arrival(0).identity).await }).unwrap();
    let found = acks.clone();
    queue.run(|store| async move { store.found(job, found, 0, plan).await }).unwrap();
    queue.run(|store| async move { store.put_back(job, put_back(State::Waiting)).await }).unwrap();
    assert!(!queue.hold(&wrong), "what the host had already is no progress, and waiting neither");
    let job = queue.claim_on("box");
    queue.run(|store| async move { store.acked(job, acks, plan).await }).unwrap();
    queue.run(|store| async move { store.put_back(job, put_back(State::Waiting)).await }).unwrap();
    assert!(queue.hold(&wrong), "after progress it is news");
    queue.run(|store| async move { store.recover().await }).unwrap();
    assert!(queue.hold(&wrong), "and after a start, which lets it go");
}

#[test]
fn a_sentence_of_an_older_version_is_shown_and_its_job_told_of_once_more() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Held], false));
    queue.enqueue(0..1);
    let wrong = Reason::new(ReasonClass::Host(Class::HostRefused)).detail("the password is wrong");
    assert!(queue.hold(&wrong));
    let older = queue.connection();
    older.execute_batch("UPDATE jobs SET why = 'the password is wrong', told_held = 'the password is wrong'").unwrap();
    let all = Query { limit: 1, ..Query::default() };
    assert_eq!(queue.snapshot(&all).jobs[0].why, Some(told("the password is wrong")));
    assert!(queue.hold(&wrong), "nobody can tell whether it is the same");
    assert!(!queue.hold(&wrong));
}

#[test]
fn a_hook_that_cannot_be_told_of_a_held_job_does_not_hide_why_it_is_held() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Held], false));
    queue.enqueue(0..1);
    let job = queue.claim_on("box");
    let full = Reason::new(ReasonClass::Host(Class::HostFull)).detail("12 bytes left");
    let held = PutBack { why: Some(full.clone()), ..put_back(State::Held) };
    queue.run(|store| async move { store.put_back(job, held).await }).unwrap();
    let delivery = queue.due(i64::MAX).deliveries.remove(0);
    assert_eq!(delivery.why.as_ref(), Some(&full));
    queue.run(|store| async move { store.undelivered(vec![delivery.id], hook_failed(), 1).await }).unwrap();
    let both = full.clone().and_also(Some(hook_failed()));
    assert_eq!(queue.state(job), (State::Held, Some(both.clone())));
    assert_eq!(both.to_string(), "12 bytes left; the hook `command sh` failed: exit status: 3");
    assert_eq!(queue.due(i64::MAX).deliveries.remove(0).why.as_ref(), Some(&full), "the hook hears of the job, not of itself");
    queue.deliver(Event::Held);
    assert_eq!(queue.state(job), (State::Held, Some(full)));
}

#[test]
fn a_dying_link_is_renewed_while_the_file_waits_for_another_host() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Expiring], true));
    let (first, second) = queue.pair();
    let expires_ms = clock::now_ms() + 100_000_000;
    assert_eq!(queue.uploaded(first, Some(expires_ms)), State::Uploaded);
    assert_eq!(queue.events(expires_ms), [(Event::Expiring, first), (Event::Refresh, first)]);
    let refresh = queue.due(expires_ms).deliveries.remove(1);
    assert!(queue.run(|store| async move { store.send_again(refresh.id).await }).unwrap());
    assert_eq!(queue.state(first).0, State::Queued);
    let mut links = Vec::new();
    let mut view = View::open(queue.dir.path()).unwrap().unwrap();
    view.links(None, |job| {
        links.push(job.id);
        true
    })
    .unwrap();
    assert_eq!(links, [first], "the old link is there until the new one");
    queue.uploaded(second, None);
    let acts = || queue.events(i64::MAX).iter().any(|(event, _)| *event == Event::After);
    assert!(!acts(), "the file stays until the new link is there");
    assert_eq!(queue.claim_on("box"), first);
    queue.uploaded(first, Some(expires_ms + 100_000_000));
    assert!(acts());
    let refresh = queue.due(i64::MAX).deliveries.into_iter().find(|delivery| delivery.event == Event::Refresh).unwrap();
    assert!(!queue.run(|store| async move { store.send_again(refresh.id).await }).unwrap(), "the file is about to go");
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
    assert_indexed(&connection, &view::select_sql(State::Done, " AND j.done_at >= 3", "j.done_at, j.id"));
    assert_indexed(&connection, &view::select_sql(State::Uploaded, " AND j.since >= 3", "j.id"));
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
fn a_file_that_was_passed_over_is_not_sent_to_a_host_that_is_added_later() {
    let queue = Queue::new();
    let pass_over = |number| Arrival { make_jobs: false, ..arrival(number) };
    assert_eq!(queue.run(|store| async move { store.enqueue(vec![pass_over(0)]).await }).unwrap(), 0);
    let more = |version: i64| {
        let identity = Identity { mtime_ns: version, ..arrival(0).identity };
        Arrival { hosts: Arc::from(["box".to_owned(), "mirror".to_owned(), "third".to_owned()]), identity, ..arrival(0) }
    };
    assert_eq!(queue.run(|store| async move { store.enqueue(vec![more(1)]).await }).unwrap(), 0);
    assert_eq!(queue.run(|store| async move { store.enqueue(vec![more(2)]).await }).unwrap(), 3, "a new version is wanted");
}

#[test]
fn a_gone_file_is_forgotten_and_met_again() {
    let queue = Queue::new();
    queue.enqueue(0..1);
    let job = queue.claim(1).remove(0).id;
    queue
        .run(|store| async move { store.put_back(job, PutBack { session: SessionFate::Drop, ..put_back(State::Gone) }).await })
        .unwrap();
    assert_eq!(queue.enqueue(0..1), 1, "the other host keeps its job");
}

#[test]
fn new_numbers_of_device_inode_and_birth_make_no_new_version() {
    let mut queue = Queue::new();
    assert_eq!(queue.enqueue(1..2), 2);
    let before = arrival(1);
    let look = |queue: &Queue, identity: &Identity| queue.look(identity, &before);
    let mut identity = before.identity;
    for now in [
        Identity { device: 2, ..identity },
        Identity { device: 2, inode: 77, ..identity },
        Identity { device: 2, inode: 77, born_ns: 5, ctime_ns: 9, ..identity },
    ] {
        assert_eq!(look(&queue, &now), Seen::Renumbered, "{now:?}");
        let Arrival { folder, name, .. } = before.clone();
        queue.run(|store| async move { store.renumbered(folder, name, now).await }).unwrap();
        assert_eq!(look(&queue, &now), Seen::Known);
        let again = vec![Arrival { identity: Identity { device: 3, ..now }, ..arrival(1) }];
        assert_eq!(queue.run(|store| async move { store.enqueue(again).await }).unwrap(), 0, "a settled file that was met before");
        identity = now;
    }
    queue.restart();
    for job in queue.claim(2) {
        assert!(job.identity.same_numbers(&identity), "the jobs go by the new numbers");
        assert_eq!(job.identity.ctime_ns, before.identity.ctime_ns, "and still mean the bytes that were settled");
    }
    let changed = Identity { size: 11, ..identity };
    assert_eq!(look(&queue, &changed), Seen::Unknown);
}

#[test]
fn a_version_never_has_two_live_jobs_for_one_host() {
    let queue = Queue::new();
    assert_eq!(queue.enqueue(1..2), 2);
    let job = queue.claim(1).into_iter().find(|job| job.host == "box").unwrap();
    let changed = || vec![Arrival { identity: Identity { mtime_ns: 2, ..arrival(1).identity }, ..arrival(1) }];
    let enqueue = |arrivals| queue.run(|store| async move { store.enqueue(arrivals).await }).unwrap();
    // The file becomes another version and the first one again while its job is under way.
    assert_eq!(enqueue(changed()), 2);
    assert_eq!(enqueue(vec![arrival(1)]), 0, "the first one is on its way to both hosts");
    let live = || {
        let sql = "SELECT count(*) FROM jobs WHERE mtime_ns = 1 AND host = 'box' AND state IN ('queued', 'uploading')";
        queue.connection().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(live(), 1);
    queue.run(|store| async move { store.put_back(job.id, put_back(State::Gone)).await }).unwrap();
    assert_eq!((enqueue(vec![arrival(1)]), live()), (1, 1), "met again once its job is over");
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
        let left = runtime.block_on(async move { store.put_back(job, put_back(State::Queued)).await });
        told.send(left).unwrap();
    });
    let early = answer.recv_timeout(std::time::Duration::from_millis(200));
    assert!(early.is_err(), "it waits: {early:?}");
    other.execute_batch("COMMIT").unwrap();
    answer.recv().unwrap().unwrap();
    calling.join().unwrap();
}

#[test]
fn only_a_job_under_way_can_be_left_or_be_uploaded() {
    let queue = Queue::new();
    queue.enqueue(0..1);
    let job = queue.claim(1).remove(0).id;
    queue.run(|store| async move { store.put_back(job, put_back(State::Gone)).await }).unwrap();
    // An attempt that ends twice, or after somebody else has ended its job, changes nothing.
    queue.run(|store| async move { store.put_back(job, put_back(State::Queued)).await }).unwrap();
    assert_eq!(queue.uploaded(job, None), State::Gone);
    assert_eq!(
        queue.snapshot(&Query { limit: 10, ..Query::default() }).jobs.iter().find(|row| row.id == job).unwrap().state,
        State::Gone
    );
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

/// How many of the claimed jobs are retries, and how many are new.
fn mixed(claims: &Claims) -> (usize, usize) {
    let retries = claims.jobs.iter().filter(|job| job.retry).count();
    (retries, claims.jobs.len() - retries)
}

#[test]
fn retries_take_half_of_the_room_while_new_jobs_wait_and_all_of_it_when_none_do() {
    let queue = Queue::new();
    queue.enqueue_for("box", 0..20);
    queue.sql("UPDATE jobs SET state = 'waiting', next_try = id", []);
    queue.enqueue_for("box", 20..25);
    let asking = |uploads, retries, room| vec![Asking { uploads, retries, uploads_max: 4, ..Asking::new("box", room) }];
    assert_eq!(mixed(&queue.claim_as(asking(0, 0, 4), 4, 100)), (2, 2));
    assert_eq!(mixed(&queue.claim_as(asking(3, 3, 1), 4, 100)), (0, 1), "those that upload are counted, however slow they are");
    assert_eq!(mixed(&queue.claim_as(asking(3, 1, 1), 4, 100)), (1, 0));
    let claims = queue.claim_as(asking(0, 0, 4), 4, 100);
    assert_eq!((mixed(&claims), claims.next_due_ms), ((2, 2), None), "what is due has no time to wait for, only a slot");
    assert_eq!(mixed(&queue.claim_as(asking(0, 0, 4), 4, 100)), (4, 0), "no new job is left");
}

#[test]
fn retries_and_new_jobs_take_turns_in_a_single_slot() {
    let queue = Queue::new();
    queue.enqueue_for("box", 0..10);
    queue.sql("UPDATE jobs SET state = 'waiting', next_try = id", []);
    queue.enqueue_for("box", 10..20);
    let mut retried_last = false;
    let turns: Vec<bool> = std::iter::repeat_with(|| {
        let job = queue.claim_as(vec![Asking { retried_last, ..Asking::new("box", 1) }], 1, 100).jobs.remove(0);
        retried_last = job.retry;
        job.retry
    })
    .take(6)
    .collect();
    assert_eq!(turns, [true, false, true, false, true, false]);
}

#[test]
fn a_host_with_a_long_queue_leaves_an_idle_one_its_share() {
    let queue = Queue::new();
    queue.enqueue_for("box", 0..100);
    let asking = |first, second| {
        let asking = |host: &str, uploads| Asking { uploads, uploads_max: 16, ..Asking::new(host, 16 - uploads) };
        vec![asking("box", first), asking("mirror", second)]
    };
    let first = queue.claim_as(asking(0, 0), 16, 1).jobs.len();
    assert_eq!((first, queue.claim_as(asking(first, 0), 16, 1).jobs.len()), (12, 0));
    queue.enqueue_for("mirror", 100..200);
    let late = queue.claim_as(asking(first, 0), 16, 1).jobs;
    assert!(late.len() == 4 && late.iter().all(|job| job.host == "mirror"), "{late:#?}");
}

#[test]
fn a_host_that_is_full_of_work_does_not_starve_one_that_takes_its_turn_after_it() {
    let queue = Queue::new();
    queue.enqueue_for("box", 0..3);
    queue.enqueue_for("mirror", 3..6);
    let mut served = [0, 0];
    let turns: Vec<String> = (1..=6)
        .map(|turn| {
            let asking = |host: &str, served| Asking { served, ..Asking::new(host, 1) };
            let job = queue.claim_as(vec![asking("box", served[0]), asking("mirror", served[1])], 1, 1).jobs.remove(0);
            served[usize::from(job.host == "mirror")] = turn;
            job.host
        })
        .collect();
    assert_eq!(turns, ["box", "mirror", "box", "mirror", "box", "mirror"]);
}

const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

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
        let rests = queue.run(|store| async move { store.resting().await }).unwrap();
        let left: Vec<_> = rests.iter().map(|rest| (rest.host.as_str(), rest.left.as_secs().div_ceil(10) * 10)).collect();
        assert_eq!(left, [("box", 30), ("mirror", 3600)]);
        let shown = queue.snapshot(&Query::default()).hosts;
        assert!(shown.iter().all(|host| host.report.until_ms.unwrap() <= clock::now_ms() + 3_600_000), "{shown:?}");
    }
}

#[test]
fn a_delivery_that_fails_while_the_clock_is_set_back_is_put_off_by_an_hour_at_most() {
    let queue = Queue::new();
    queue.follow(rules(&[Event::Done], false));
    let (first, _) = queue.pair();
    queue.uploaded(first, None);
    let failed = queue.due(clock::now_ms()).deliveries.remove(0).id;
    let far = clock::now_ms() + YEAR_MS;
    queue.run(|store| async move { store.undelivered(vec![failed], told("it failed"), far).await }).unwrap();
    assert_eq!(queue.events(clock::now_ms() + 3_600_000), [(Event::Done, first)]);
}

#[test]
fn a_delivery_that_is_a_year_ahead_is_due_and_the_end_of_a_link_stays_what_it_is() {
    let mut queue = Queue::new();
    let wanted = rules(&[Event::Done, Event::Expiring], false);
    queue.follow(wanted.clone());
    let (first, second) = queue.pair();
    let expires_ms = clock::now_ms() + 100_000_000;
    queue.uploaded(first, Some(expires_ms));
    queue.uploaded(second, None);
    let tried = queue.due(clock::now_ms()).deliveries.remove(0).id;
    queue.run(|store| async move { store.undelivered(vec![tried], told("it failed"), 1).await }).unwrap();
    for set_back in [true, false] {
        queue.sql("UPDATE deliveries SET next_try = ?1 WHERE event = 'done'", [clock::now_ms() + YEAR_MS]);
        assert_eq!(queue.events(clock::now_ms()), []);
        if set_back {
            queue.run(|store| async move { store.clock_was_set_back().await }).unwrap();
        } else {
            queue.restart();
            queue.follow(wanted.clone());
        }
        assert_eq!(queue.events(clock::now_ms()), [(Event::Done, first), (Event::Done, second)]);
        assert_eq!(queue.events(expires_ms).len(), 4, "what is to come before the link dies comes then");
    }
}

impl Queue {
    /// Makes jobs, and fails then unless it is to go well.
    fn enqueue_and(&self, files: std::ops::Range<i64>, well: bool) -> Call<u64> {
        let arrivals: Vec<Arrival> = files.map(arrival).collect();
        let work = move |queue: &mut dyn backend::Backend, by| {
            let made = queue.enqueue(by, &arrivals)?;
            if well { Ok((made, driver::Wake::default())) } else { Err(StoreError::Refused("its own fault".into())) }
        };
        Call::new(self.store.as_ref().unwrap(), Durability::Power, Box::new(work))
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
    let sql = [jobs::READY_COUNT, jobs::DUE_COUNT, jobs::DISBELIEVE].map(String::from);
    for sql in sql.into_iter().chain([jobs::ready_sql(), jobs::due_sql()]) {
        assert_indexed(&connection, &sql);
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
