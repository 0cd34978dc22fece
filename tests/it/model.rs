//! The engine against hosts that live in memory, with lost requests, lost replies and crashes at every call.
//!
//! The worker, the queue and the file are the real ones; only the host is made of maps. For each family of hosts every run ends
//! with one whole file and its outcome; a host that cannot be asked may end with two, and then the job says so, or holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ferryd::internals::engine::bandwidth::Limits;
use ferryd::internals::engine::connections::connections;
use ferryd::internals::engine::phase::phases;
use ferryd::internals::engine::roots::KnownRoots;
use ferryd::internals::engine::worker::Worker;
use ferryd::internals::host::{Answer, Completion, FileFacts, Host, HostError, Part, Tickets, UploadSession};
use ferryd::internals::job::attempt::OnUnknown;
use ferryd::internals::job::upload::{Ack, Class, Found, Opened, Order, Outcome, Repeat, Session, Shape};
use ferryd::internals::job::{Identity, Watches};
use ferryd::internals::os::system::System;
use ferryd::internals::store::{Arrival, Asking, Store};
use tokio::sync::Notify;

const PART_BYTES: u64 = 10;
const FILE: &[u8] = b"the quick brown fox jumps over the lazy dog, twice";
const LANES: usize = 3;

/// What goes wrong at one call of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The request never arrives.
    RequestLost,
    /// The request takes effect and its answer never arrives.
    ReplyLost,
    /// The daemon dies before the request arrives.
    CrashBefore,
    /// The request takes effect, and the daemon dies before it hears of it.
    CrashAfter,
}

const FAULTS: [Fault; 4] = [Fault::RequestLost, Fault::ReplyLost, Fault::CrashBefore, Fault::CrashAfter];

/// The families of hosts, with what a test must know of each.
#[derive(Debug, Clone, Copy)]
struct Family {
    order: Order,
    repeat: Repeat,
    /// Whether a probe says what is held.
    answers: bool,
    /// Whether the last part makes the file.
    last_part_commits: bool,
}

const BY_PART: Family = Family { order: Order::Any, repeat: Repeat::Harmless, answers: true, last_part_commits: false };
const BY_OFFSET: Family = Family { order: Order::Sequential, repeat: Repeat::Harmless, answers: true, last_part_commits: false };
const BY_OFFSET_TO_THE_LAST_PART: Family =
    Family { order: Order::Sequential, repeat: Repeat::MayDuplicate, answers: true, last_part_commits: true };
const SINGLE_SHOT: Family = Family { order: Order::WholeFile, repeat: Repeat::Harmless, answers: false, last_part_commits: false };
const PARTS_MAY_DUPLICATE: Family =
    Family { order: Order::Any, repeat: Repeat::MayDuplicate, answers: false, last_part_commits: false };
const SHOT_MAY_DUPLICATE: Family =
    Family { order: Order::WholeFile, repeat: Repeat::MayDuplicate, answers: false, last_part_commits: false };

/// What the far side holds, and what goes wrong on the way to it. Outlives every crash of the daemon.
struct World {
    family: Family,
    sessions: Mutex<HashMap<String, BTreeMap<u64, Vec<u8>>>>,
    files: Mutex<Vec<(String, Vec<u8>)>>,
    received: Mutex<Vec<u32>>,
    calls: AtomicUsize,
    faults: Vec<(usize, Fault)>,
    crash: Notify,
}

impl World {
    fn new(family: Family, faults: &[(usize, Fault)]) -> Arc<World> {
        Arc::new(World {
            family,
            sessions: Mutex::default(),
            files: Mutex::default(),
            received: Mutex::default(),
            calls: AtomicUsize::new(0),
            faults: faults.to_vec(),
            crash: Notify::new(),
        })
    }

    /// Runs one call with whatever goes wrong at it.
    async fn call<T>(&self, act: impl FnOnce() -> Result<T, HostError>) -> Result<T, HostError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = self.faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault);
        // Lets other lanes go between, so that crashes meet parts in every state.
        tokio::task::yield_now().await;
        match fault {
            None => act(),
            Some(Fault::RequestLost) => Err(HostError::new(Class::Transient, "lost on the way")),
            Some(Fault::ReplyLost) => {
                drop(act());
                Err(HostError::unanswered(Class::Transient, "lost on the way back"))
            }
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::CrashAfter) => {
                drop(act());
                self.die().await
            }
        }
    }

    async fn die<T>(&self) -> T {
        self.crash.notify_one();
        std::future::pending().await
    }

    fn whole_file(&self, session: &str) -> Option<Outcome> {
        let files = self.files.lock().unwrap();
        files.iter().find(|(from, _)| from == session).map(|(from, _)| outcome(from))
    }

    fn store_file(&self, session: &str, bytes: Vec<u8>) -> Outcome {
        let mut files = self.files.lock().unwrap();
        if self.family.repeat == Repeat::Harmless {
            files.clear();
        }
        files.push((session.to_owned(), bytes));
        outcome(session)
    }
}

fn outcome(session: &str) -> Outcome {
    Outcome { link: Some(format!("memory:{session}")), ..Outcome::default() }
}

fn lost() -> HostError {
    HostError::new(Class::SessionLost, "no such session")
}

struct MemoryHost(Arc<World>);

impl Host for MemoryHost {
    fn shape(&self, _file_bytes: u64) -> Shape {
        let Family { order, repeat, last_part_commits, .. } = self.0.family;
        if order == Order::WholeFile {
            Shape { repeat, ..Shape::whole() }
        } else {
            Shape { order, repeat, parallel: LANES, parts_max: 10_000, last_part_commits, ..Shape::parts(PART_BYTES) }
        }
    }

    fn open<'a>(&'a self, _: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(self.0.call(|| {
            let mut sessions = self.0.sessions.lock().unwrap();
            let name = format!("s{}", sessions.len());
            sessions.insert(name.clone(), BTreeMap::new());
            Ok(Opened::Session(Session(name)))
        }))
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let bytes = read(part).await;
            self.0
                .call(|| {
                    self.0.received.lock().unwrap().push(u32::try_from(part.offset / PART_BYTES).unwrap());
                    let mut sessions = self.0.sessions.lock().unwrap();
                    let parts = sessions.get_mut(&at.session.0).ok_or_else(lost)?;
                    parts.insert(part.offset, bytes.clone());
                    let whole: Vec<u8> = parts.values().flatten().copied().collect();
                    drop(sessions);
                    if self.0.family.last_part_commits && whole.len() == FILE.len() {
                        self.0.store_file(&at.session.0, whole);
                    }
                    let link = (self.0.family.order == Order::WholeFile).then(|| self.0.store_file(&at.session.0, bytes));
                    let receipt = link.and_then(|outcome| outcome.link);
                    Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt, moved_to: None })
                })
                .await
        })
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, _: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(self.0.call(|| {
            if !self.0.family.answers {
                return Ok(Found::Unsure);
            }
            if let Some(outcome) = self.0.whole_file(&at.session.0) {
                return Ok(Found::Complete(outcome));
            }
            let sessions = self.0.sessions.lock().unwrap();
            let Some(parts) = sessions.get(&at.session.0) else { return Ok(Found::Gone) };
            let held: u64 = parts.values().map(|part| part.len() as u64).sum();
            let ack = |offset: &u64| Ack {
                number: u32::try_from(offset / PART_BYTES).unwrap(),
                held_to: offset + PART_BYTES,
                receipt: None,
                moved_to: None,
            };
            Ok(match self.0.family.order {
                Order::Sequential => Found::UpTo(held),
                _ => Found::Parts(parts.keys().map(ack).collect()),
            })
        }))
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            if self.0.family.order == Order::WholeFile {
                return Ok(Outcome { link: completion.confirmed.receipts.get(&0).cloned(), ..Outcome::default() });
            }
            self.0
                .call(|| {
                    if self.0.family.answers
                        && let Some(outcome) = self.0.whole_file(&at.session.0)
                    {
                        return Ok(outcome);
                    }
                    let parts = self.0.sessions.lock().unwrap().remove(&at.session.0).ok_or_else(lost)?;
                    Ok(self.0.store_file(&at.session.0, parts.into_values().flatten().collect()))
                })
                .await
        })
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async move {
            self.0.sessions.lock().unwrap().remove(&at.session.0);
            Ok(())
        })
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async { Ok(String::new()) })
    }
}

async fn read(part: &Part) -> Vec<u8> {
    let mut frames = part.source.frames();
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| frames.as_mut().poll_frame(cx)).await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    bytes
}

/// Where a run ended.
#[derive(Debug)]
struct End {
    state: String,
    maybe_duplicate: bool,
    files: usize,
    crashes: usize,
    received: Vec<u32>,
}

/// Runs one file to its end through all faults, with a new daemon after each crash.
fn run(family: Family, faults: &[(usize, Fault)], on_unknown: OnUnknown) -> End {
    let dir = tempfile::tempdir_in(if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, FILE).unwrap();
    let world = World::new(family, faults);
    let mut crashes = 0;
    loop {
        assert!(crashes < 10, "the daemon dies without end");
        let (store, thread) = Store::open(dir.path()).unwrap();
        // A runtime a life: with it die the lanes that were in flight.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let died = runtime.block_on(one_life(&world, store, &path, on_unknown));
        drop(runtime);
        thread.join();
        if !died {
            return end(&world, dir.path(), crashes);
        }
        crashes += 1;
    }
}

/// One process: recovers, enqueues, and carries what there is until nothing is left or it dies.
async fn one_life(world: &Arc<World>, store: Store, path: &std::path::Path, on_unknown: OnUnknown) -> bool {
    store.recover().await.unwrap();
    let arrival = Arrival {
        folder: path.parent().unwrap().to_owned(),
        name: path.file_name().unwrap().to_owned(),
        identity: Identity::of(&std::fs::metadata(path).unwrap()),
        hosts: Arc::from(["box".to_owned()]),
        make_jobs: true,
        one_off: false,
        first_version_only: false,
        priority: 0,
        close_seen: false,
        fingerprint: None,
        maybe_known: false,
    };
    store.enqueue(vec![arrival]).await.unwrap();
    let (_switch, phases) = phases();
    let worker: Worker = Worker {
        system: System::default(),
        store: store.clone(),
        host: Arc::new(MemoryHost(world.clone())),
        on_unknown,
        retries: None,
        give_up_after: std::time::Duration::from_secs(86_400),
        standing: Default::default(),
        epoch: 0,
        connections: connections(8, &[8]).remove(0),
        limits: Limits::new(Vec::new()),
        watches: Watches::default(),
        roots: KnownRoots::default(),
        phases,
        halt: Default::default(),
    };
    let work = async {
        let later = i64::MAX / 2;
        loop {
            let claims = store.claim(vec![Asking::new("box", 1)], 1, later).await.unwrap();
            let Some(job) = claims.jobs.into_iter().next() else { return };
            worker.run(job, Arc::default()).await.unwrap();
        }
    };
    tokio::select! {
        () = world.crash.notified() => true,
        () = work => false,
    }
}

fn end(world: &World, dir: &std::path::Path, crashes: usize) -> End {
    let files = world.files.lock().unwrap();
    for (_, bytes) in files.iter() {
        assert_eq!(bytes, FILE, "what the host holds is not the file");
    }
    let queue = rusqlite::Connection::open(dir.join(ferryd::internals::store::FILE_NAME)).unwrap();
    let (state, maybe_duplicate, link): (String, bool, Option<String>) = queue
        .query_row("SELECT state, maybe_duplicate, link FROM jobs", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("one job, neither lost nor made twice");
    assert_eq!(link.is_some(), state == "done", "a link and the state `done` go together");
    if let Some(link) = link {
        assert!(files.iter().any(|(session, _)| link == format!("memory:{session}")), "the link leads nowhere");
    }
    End { state, maybe_duplicate, files: files.len(), crashes, received: world.received.lock().unwrap().clone() }
}

/// How many calls a run without faults makes.
fn calls_without_faults(family: Family) -> usize {
    let world_calls = |faults: &[(usize, Fault)]| run(family, faults, OnUnknown::UploadAgain);
    let end = world_calls(&[]);
    assert_eq!((end.state.as_str(), end.files, end.maybe_duplicate), ("done", 1, false));
    2 + end.received.len()
}

/// Every single fault, and every pair of a lost answer or crash with a later crash.
fn scripts(calls: usize) -> Vec<Vec<(usize, Fault)>> {
    let mut scripts = Vec::new();
    for at in 0..calls + 1 {
        for fault in FAULTS {
            scripts.push(vec![(at, fault)]);
            for later in at + 1..calls + 4 {
                for crash in [Fault::CrashBefore, Fault::CrashAfter] {
                    scripts.push(vec![(at, fault), (later, crash)]);
                }
            }
        }
    }
    scripts
}

fn for_every_script(family: Family, on_unknown: OnUnknown, check: impl Fn(&[(usize, Fault)], &End)) {
    let plain = calls_without_faults(family);
    for script in scripts(plain) {
        let end = run(family, &script, on_unknown);
        check(&script, &end);
    }
}

fn lands_exactly_once(family: Family) {
    for_every_script(family, OnUnknown::UploadAgain, |script, end| {
        assert_eq!((end.state.as_str(), end.files, end.maybe_duplicate), ("done", 1, false), "{script:?}: {end:?}");
    });
}

#[test]
fn a_host_by_part_has_the_file_once_whatever_is_lost() {
    lands_exactly_once(BY_PART);
}

#[test]
fn a_host_by_offset_has_the_file_once_whatever_is_lost() {
    lands_exactly_once(BY_OFFSET);
}

#[test]
fn a_host_by_offset_that_makes_the_file_of_the_last_part_has_it_once_whatever_is_lost() {
    lands_exactly_once(BY_OFFSET_TO_THE_LAST_PART);
}

#[test]
fn a_single_shot_that_overwrites_has_the_file_once_whatever_is_lost() {
    lands_exactly_once(SINGLE_SHOT);
}

#[test]
fn parts_in_flight_are_all_that_is_sent_twice() {
    for_every_script(BY_PART, OnUnknown::UploadAgain, |script, end| {
        let parts = FILE.len().div_ceil(usize::try_from(PART_BYTES).unwrap());
        let again = end.received.len() - parts;
        let troubles = script.len().max(end.crashes);
        assert!(again <= LANES * troubles, "{script:?}: {again} parts were sent twice");
    });
}

#[test]
fn a_host_that_cannot_be_asked_has_the_file_and_a_second_one_is_announced() {
    for family in [PARTS_MAY_DUPLICATE, SHOT_MAY_DUPLICATE] {
        for_every_script(family, OnUnknown::UploadAgain, |script, end| {
            assert_eq!(end.state, "done", "{script:?}: {end:?}");
            assert!(end.files >= 1);
            assert!(end.files == 1 || end.maybe_duplicate, "{script:?}: a second file that nobody was told of: {end:?}");
        });
    }
}

#[test]
fn with_hold_a_host_that_cannot_be_asked_never_has_the_file_twice() {
    for family in [PARTS_MAY_DUPLICATE, SHOT_MAY_DUPLICATE] {
        for_every_script(family, OnUnknown::Hold, |script, end| {
            assert!(end.files <= 1, "{script:?}: {end:?}");
            assert!(end.state == "held" || (end.state == "done" && end.files == 1), "{script:?}: {end:?}");
        });
    }
}
