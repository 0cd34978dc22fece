//! A day of the whole daemon in one thread: engine, queue, watching and files in memory, on a clock that jumps from one event to the next,
//! with users who write, rename, change and remove files, and hosts that are slow, down, busy and lose replies. One number decides it all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::config::{self, Config, Environment, HostConfig};
use crate::host::{Answer, FileFacts, Host, HostError, Part, Place, Tickets, Whole};
use crate::job::Proof;
use crate::job::upload::{Ack, Class, Found, Opened, Order, Outcome, Repeat, Session, Shape};
use crate::os::chance::Chance;
use crate::os::files::Files;
use crate::os::simulated::{Disk, Time};
use crate::os::system::System;
use crate::os::threads::Threads;
use crate::store::Store;

use super::super::phase::{Phase, phases};

/// 2027-01-15, a Friday, 08:00 UTC.
const MORNING_NS: i64 = 1_800_000_000_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const PART_BYTES: u64 = 64 * 1024;
/// What a host takes in a second.
const BYTES_PER_SECOND: u64 = 20_000;

/// What goes wrong at a host, from when to when after the morning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Nobody answers.
    Down,
    /// Everything is refused for a minute.
    Busy,
    /// Every third answer is lost on the way back.
    LosesReplies,
}

/// The far side of a host, which outlives every restart of the daemon.
#[derive(Default)]
struct FarSide {
    sessions: BTreeMap<u64, (FileFacts, BTreeMap<u32, Vec<u8>>)>,
    /// Each file that was made, by its session, with its path there and its bytes.
    files: BTreeMap<u64, (String, Vec<u8>)>,
    calls: u64,
    /// Parts that came again after they had been confirmed.
    repeated: u64,
    /// Answers that were lost.
    lost: u64,
    log: Vec<String>,
}

#[derive(Clone)]
struct FakeHost {
    name: String,
    begun: Instant,
    troubles: Vec<(Duration, Duration, Trouble)>,
    far: Arc<Mutex<FarSide>>,
}

impl FakeHost {
    fn far(&self) -> MutexGuard<'_, FarSide> {
        self.far.lock().unwrap()
    }

    /// One call: it takes its time, may fail, and may take effect without an answer.
    async fn call<T>(
        &self,
        what: &str,
        bytes: u64,
        act: impl FnOnce(&mut FarSide) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        tokio::time::sleep(Duration::from_millis(80)).await;
        tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND as f64)).await;
        let now = self.begun.elapsed();
        let trouble = self.troubles.iter().find(|(from, to, _)| (*from..*to).contains(&now)).map(|(.., trouble)| *trouble);
        let mut far = self.far();
        far.calls += 1;
        let line = format!("{:>9} ms {} {what} {trouble:?}", now.as_millis(), self.name);
        far.log.push(line);
        match trouble {
            Some(Trouble::Down) => Err(HostError::new(Class::Transient, "nobody answers")),
            Some(Trouble::Busy) => Err(HostError { wait: Some(MINUTE), ..HostError::new(Class::RateLimited, "too many requests") }),
            Some(Trouble::LosesReplies) if far.calls.is_multiple_of(3) => {
                far.lost += 1;
                drop(act(&mut far));
                Err(HostError::unanswered(Class::Transient, "the connection broke"))
            }
            Some(Trouble::LosesReplies) | None => act(&mut far),
        }
    }
}

fn number_of(session: &Session) -> u64 {
    session.0.parse().unwrap()
}

fn outcome(number: u64) -> Outcome {
    let link = Some(format!("https://example.com/{number}"));
    Outcome { link, remote_id: Some(number.to_string()), expires_ms: None, proof: Proof::Size }
}

fn lost_session() -> HostError {
    HostError::new(Class::SessionLost, "no such session")
}

impl Host for FakeHost {
    fn shape(&self, _: u64) -> Shape {
        Shape {
            order: Order::AnyOrder,
            repeat: Repeat::MayDuplicate,
            parallel: 3,
            part_bytes: PART_BYTES,
            parts_max: 10_000,
            file_bytes_max: None,
            session_life: None,
            digest: None,
            takes_empty_files: true,
        }
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(self.call("open", 0, |far| {
            let number = far.sessions.len() as u64 + 1;
            far.sessions.insert(number, (file.clone(), BTreeMap::new()));
            Ok(Opened::Session(Session(number.to_string())))
        }))
    }

    fn send<'a>(&'a self, at: &'a Place, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let bytes = match part.source.frames().collect().await {
                Ok(bytes) => bytes.to_bytes().to_vec(),
                Err(error) => return Err(HostError::new(Class::Transient, error.to_string())),
            };
            self.call("send", part.bytes, |far| {
                let (_, parts) = far.sessions.get_mut(&number_of(&at.session)).ok_or_else(lost_session)?;
                let before = parts.insert(part.number, bytes);
                far.repeated += u64::from(before.is_some());
                Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: None, moved_to: None })
            })
            .await
        })
    }

    fn probe<'a>(&'a self, at: &'a Place, _: Whole<'a>) -> Answer<'a, Found> {
        Box::pin(self.call("probe", 0, |far| {
            let number = number_of(&at.session);
            if far.files.contains_key(&number) {
                return Ok(Found::Whole(outcome(number)));
            }
            let (_, parts) = far.sessions.get(&number).ok_or_else(lost_session)?;
            let ack = |number: &u32| Ack { number: *number, held_to: u64::MAX, receipt: None, moved_to: None };
            Ok(Found::Parts(parts.keys().map(ack).collect()))
        }))
    }

    fn finish<'a>(&'a self, at: &'a Place, _: Whole<'a>) -> Answer<'a, Outcome> {
        Box::pin(self.call("finish", 0, |far| {
            let number = number_of(&at.session);
            let (facts, parts) = far.sessions.get(&number).ok_or_else(lost_session)?;
            let path = format!("{}/{}", facts.folder, facts.name);
            let bytes = parts.values().flatten().copied().collect();
            far.files.insert(number, (path, bytes));
            Ok(outcome(number))
        }))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async { Ok(String::new()) })
    }
}

/// What users do to the files in the watched folder, and what they mean to have on the hosts.
struct Users {
    disk: Disk,
    chance: Chance,
    /// Files made so far.
    made: u32,
    /// Every content that a file had when its writer closed it.
    closed: BTreeSet<Vec<u8>>,
    /// The last content of each file that its users left alone after that.
    left: BTreeMap<PathBuf, Vec<u8>>,
}

impl Users {
    fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        let index = (self.chance.fraction() * from.len() as f64) as usize;
        from.get(index).cloned()
    }

    fn content(&mut self, bytes: usize) -> Vec<u8> {
        self.made += 1;
        let mut content = format!("file {} ", self.made).into_bytes();
        content.resize(bytes.max(content.len()), b'a' + (self.made % 26) as u8);
        content
    }

    /// A file that is still in the watched folder.
    fn some_file(&self) -> Option<PathBuf> {
        let there: Vec<PathBuf> =
            self.disk.files_below(Path::new("/drop")).iter().map(|path| Path::new("/drop").join(path)).collect();
        self.pick(&there)
    }

    fn close(&mut self, path: &Path, content: Vec<u8>) {
        self.closed.insert(content.clone());
        self.left.insert(path.to_owned(), content);
    }

    async fn act(&mut self) {
        match (self.chance.fraction() * 10.0) as u32 {
            0..=4 => self.write_at_once(),
            5 => self.write_slowly().await,
            6 => self.rename(),
            7 => self.change(),
            8 => self.remove(),
            _ => self.move_a_folder_in(),
        }
    }

    fn write_at_once(&mut self) {
        let bytes = (self.chance.fraction() * 200_000.0) as usize;
        let content = self.content(bytes);
        let path = PathBuf::from(format!("/drop/{}.txt", self.made));
        self.disk.write(&path, &content).unwrap();
        self.close(&path, content);
    }

    /// In ten steps, with pauses that are longer than a file must be quiet.
    async fn write_slowly(&mut self) {
        use std::io::Write;
        let content = self.content(150_000);
        let path = PathBuf::from(format!("/drop/{}.film", self.made));
        let mut file = self.disk.create(&path).unwrap();
        for step in content.chunks(content.len().div_ceil(10)) {
            file.write_all(step).unwrap();
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        drop(file);
        self.close(&path, content);
    }

    fn rename(&mut self) {
        let Some(path) = self.some_file() else { return };
        self.made += 1;
        let renamed = path.with_file_name(format!("{}.renamed", self.made));
        self.disk.rename(&path, &renamed).unwrap();
        if let Some(content) = self.left.remove(&path) {
            self.left.insert(renamed, content);
        }
    }

    fn change(&mut self) {
        let Some(path) = self.some_file() else { return };
        let content = self.content(90_000);
        self.disk.write(&path, &content).unwrap();
        self.close(&path, content);
    }

    fn remove(&mut self) {
        let Some(path) = self.some_file() else { return };
        self.disk.remove(&path).unwrap();
        self.left.remove(&path);
    }

    fn move_a_folder_in(&mut self) {
        let content = self.content(5_000);
        let folder = PathBuf::from(format!("/elsewhere/{}", self.made));
        self.disk.make_folders(&folder).unwrap();
        self.disk.write(&folder.join("in a folder"), &content).unwrap();
        let to = PathBuf::from(format!("/drop/{}", self.made));
        self.disk.rename(&folder, &to).unwrap();
        self.close(&to.join("in a folder"), content);
    }
}

struct Nothing;

impl Environment for Nothing {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

const CONFIG: &str = r#"
    [daemon]
    state_dir = "/state"
    [[watch]]
    path = "/drop"
    to = ["box", "mirror"]
    after = "delete"
    [host.box]
    kind = "kie"
    api_key = "k"
    [host.mirror]
    kind = "kie"
    api_key = "k"
"#;

/// A world with a daemon in it.
struct World {
    config: Config,
    time: Time,
    disk: Disk,
    system: System,
    store: Store,
    hosts: Vec<FakeHost>,
}

fn world(seed: u64) -> World {
    let time = Time::of_the_runtime(MORNING_NS);
    let clock = time.clock();
    let disk = Disk::new(clock.clone());
    for folder in ["/drop", "/state", "/elsewhere"] {
        disk.make_folders(Path::new(folder)).unwrap();
    }
    let files = Files::Simulated(disk.clone());
    let system = System { clock: clock.clone(), chance: Chance::seeded(seed), files, threads: Threads::Caller };
    let store = Store::in_memory(Arc::new(move || clock.now_ms())).unwrap();
    let begun = Instant::now();
    let host = |name: &str, troubles: &[(Duration, Duration, Trouble)]| FakeHost {
        name: name.to_owned(),
        begun,
        troubles: troubles.to_vec(),
        far: Arc::default(),
    };
    let hosts = vec![
        host("box", &[(2 * HOUR, 5 * HOUR, Trouble::Down), (9 * HOUR, 11 * HOUR, Trouble::LosesReplies)]),
        host("mirror", &[(4 * HOUR, 4 * HOUR + 10 * MINUTE, Trouble::Busy), (13 * HOUR, 14 * HOUR, Trouble::LosesReplies)]),
    ];
    let config = config::parse(CONFIG, Path::new("/config.toml"), &Nothing).unwrap();
    World { config, time, disk, system, store, hosts }
}

impl World {
    /// Runs the daemon for so long, then has it drain.
    async fn run(&self, time: Duration) {
        let (switch, watched) = phases();
        let switch = Arc::new(switch);
        let host = |host: &HostConfig| -> Arc<dyn Host> {
            Arc::new(self.hosts.iter().find(|fake| fake.name == host.name).unwrap().clone())
        };
        let daemon = super::super::run(&self.config, &self.system, host, self.store.clone(), switch.clone(), watched, || {});
        let end = async {
            tokio::time::sleep(time).await;
            switch.advance(Phase::Draining);
        };
        let (ended, ()) = tokio::join!(daemon, end);
        ended.unwrap();
    }

    fn files(&self, host: usize) -> Vec<(String, Vec<u8>)> {
        self.hosts[host].far().files.values().cloned().collect()
    }

    fn log(&self) -> Vec<String> {
        self.hosts.iter().flat_map(|host| host.far().log.clone()).collect()
    }
}

/// A day of users and a daemon that is restarted at noon; then a quiet night, so that everything may end.
async fn a_day(seed: u64) -> (World, Users) {
    let world = world(seed);
    let (closed, left) = Default::default();
    let mut users = Users { disk: world.disk.clone(), chance: Chance::seeded(seed + 1), made: 0, closed, left };
    let working = async {
        let begun = Instant::now();
        while begun.elapsed() < 16 * HOUR {
            users.act().await;
            tokio::time::sleep(Duration::from_secs_f64(600.0 * users.chance.fraction())).await;
            if begun.elapsed() > 6 * HOUR && begun.elapsed() < 6 * HOUR + 10 * MINUTE {
                // Somebody sets the clock back by two days.
                world.time.jump(-2 * 86_400 * 1_000_000_000);
            }
        }
    };
    let running = async {
        world.run(4 * HOUR + 17 * MINUTE).await;
        world.run(20 * HOUR - 17 * MINUTE).await;
    };
    tokio::join!(working, running);
    (world, users)
}

#[test]
fn a_day_of_users_and_failing_hosts_ends_with_every_file_there_once() {
    for seed in [1, 2] {
        let (world, users) = paused(a_day(seed));
        assert!(users.made > 120, "the users have done something: {} files", users.made);
        for host in [0, 1] {
            let files = world.files(host);
            let mut count = BTreeMap::new();
            for (path, bytes) in &files {
                assert!(users.closed.contains(bytes), "seed {seed}: {path} is a file that nobody has written like this");
                *count.entry(bytes).or_insert(0) += 1;
            }
            for (path, content) in &users.left {
                assert_eq!(count.get(content), Some(&1), "seed {seed}, host {host}: {path:?}");
            }
            let far = world.hosts[host].far();
            assert!(far.lost > 5, "answers were lost: {}", far.lost);
            assert!(far.repeated <= far.lost, "only parts whose answers were lost came again: {} of {}", far.repeated, far.lost);
        }
        assert_eq!(world.disk.files_below(Path::new("/drop")), [] as [PathBuf; 0], "seed {seed}: every source is removed");
    }
}

#[test]
fn the_same_number_gives_the_same_day_call_for_call() {
    let log = |seed| paused(a_day(seed)).0.log();
    let (first, again, other) = (log(3), log(3), log(4));
    let differs = first.iter().zip(&again).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(first.len(), again.len());
    assert_ne!(first, other);
}

/// Runs in one thread, on a clock that jumps ahead whenever there is nothing else to do.
fn paused<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}
