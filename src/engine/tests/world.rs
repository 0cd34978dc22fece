//! A world for the engine: files, queue, clock and hosts in memory, all in one thread.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::BodyExt;
use sha2::Digest;
use tokio::time::Instant;

use super::super::phase::{Phase, phases};
use super::super::{Control, Orders, Reloads};
use crate::config::{self, Config, Environment, HostConfig};
use crate::host::{Answer, Completion, FileFacts, Host, HostError, LazyHost, Part, Tickets, UploadSession};
use crate::job::digest::Algorithm;
use crate::job::upload::{Ack, Class, Found, Opened, Outcome, Session, Shape};
use crate::job::{JobRow, Proof, Reason, State};
use crate::os::chance::Chance;
use crate::os::files::Files;
use crate::os::files::simulated::Disk;
use crate::os::simulated_time::Time;
use crate::os::system::System;
use crate::os::threads::Threads;
use crate::store::Store;

/// 2027-01-15, a Friday, 08:00 UTC.
const MORNING_NS: i64 = 1_800_000_000_000_000_000;
pub(super) const START: Duration = Duration::ZERO;
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const PART_BYTES: u64 = 64 * 1024;
/// What a host takes in a second.
const BYTES_PER_SECOND: u64 = 20_000;

/// What goes wrong at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers.
    Down,
    /// There is no connection.
    Offline,
    /// Everything is refused for a minute.
    Busy,
    /// Every third answer is lost on the way back.
    LosesReplies,
    /// It takes requests and never answers.
    Hangs,
    /// It takes a minute for each answer.
    Drips,
    /// It answers nonsense to whatever is about a file whose name begins with `poison`.
    Poisoned,
    /// The password is refused.
    Refuses,
    /// The password that was read in this time is a wrong one.
    WrongPassword,
    /// There is no room for a file.
    Full,
    /// Its own code panics.
    Panics,
}

/// From when to when, after the morning, what goes wrong.
pub(super) type TroubleTime = (Duration, Duration, Trouble);

/// The far side of a host, which outlives every restart of the daemon.
#[derive(Default)]
pub(super) struct FarSide {
    pub(super) sessions: BTreeMap<u64, (FileFacts, BTreeMap<u32, Vec<u8>>)>,
    /// Each file that was made, by its session, with its path there and its bytes.
    pub(super) files: BTreeMap<u64, (String, Vec<u8>)>,
    calls: u64,
    /// Parts that came again after they had been confirmed.
    pub(super) repeated: u64,
    /// Answers that were lost.
    pub(super) lost: u64,
    /// The digests that were told at a finish.
    pub(super) digests: Vec<Option<String>>,
    pub(super) log: Vec<String>,
}

#[derive(Clone)]
pub(super) struct FakeHost {
    pub(super) name: String,
    begun: Instant,
    /// When it was made, after the morning.
    made: Duration,
    pub(super) troubles: Vec<TroubleTime>,
    /// What its settings say now.
    pub(super) shape: Shape,
    far: Arc<Mutex<FarSide>>,
}

impl FakeHost {
    pub(super) fn far(&self) -> MutexGuard<'_, FarSide> {
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
        let counts = |trouble: Trouble| if trouble == Trouble::WrongPassword { self.made } else { now };
        let is_now = |(from, to, trouble): &&TroubleTime| (*from..*to).contains(&counts(*trouble));
        let trouble = self.troubles.iter().find(is_now).map(|(.., trouble)| *trouble);
        if trouble == Some(Trouble::Hangs) {
            self.far().log.push(format!("{:>9} ms {} {what} hangs", now.as_millis(), self.name));
            std::future::pending::<()>().await;
        }
        if trouble == Some(Trouble::Drips) {
            tokio::time::sleep(MINUTE).await;
        }
        let mut far = self.far();
        far.calls += 1;
        let line = format!("{:>9} ms {} {what} {trouble:?}", now.as_millis(), self.name);
        far.log.push(line);
        match trouble {
            Some(Trouble::Down) => Err(HostError::new(Class::Transient, "nobody answers")),
            Some(Trouble::Offline) => {
                Err(HostError { unconnected: true, ..HostError::new(Class::Transient, "no route to the host") })
            }
            Some(Trouble::Busy) => Err(HostError { wait: Some(MINUTE), ..HostError::new(Class::RateLimited, "too many requests") }),
            Some(Trouble::LosesReplies) if far.calls.is_multiple_of(3) => {
                far.lost += 1;
                drop(act(&mut far));
                Err(HostError::unanswered(Class::Transient, "the connection broke"))
            }
            Some(Trouble::Refuses | Trouble::WrongPassword) => {
                Err(HostError::new(Class::HostRefused, "the password is wrong").with_status(401))
            }
            Some(Trouble::Full) if what == "open" => Err(HostError::new(Class::HostFull, "there is no room")),
            Some(Trouble::Panics) => {
                drop(far);
                panic!("the code of this host is wrong")
            }
            _ => act(&mut far),
        }
    }
}

fn number_of(session: &Session) -> u64 {
    session.0.parse().unwrap()
}

fn outcome(number: u64) -> Outcome {
    let link = Some(format!("https://example.com/{number}"));
    Outcome { link, remote_id: Some(number.to_string()), proof: Proof::Size, ..Outcome::default() }
}

fn lost_session() -> HostError {
    HostError::new(Class::SessionLost, "no such session")
}

impl Host for FakeHost {
    fn shape(&self, _: u64) -> Shape {
        self.shape.clone()
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(self.call("open", 0, |far| {
            if self.troubles.iter().any(|(.., trouble)| *trouble == Trouble::Poisoned) && file.name.starts_with("poison") {
                return Err(HostError::new(Class::Unreadable, "nobody can read this"));
            }
            let number = far.sessions.len() as u64 + 1;
            far.sessions.insert(number, (file.clone(), BTreeMap::new()));
            Ok(Opened::Session(Session(number.to_string())))
        }))
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let bytes = match part.source.frames().collect().await {
                Ok(bytes) => bytes.to_bytes().to_vec(),
                Err(error) => return Err(HostError::new(Class::Transient, error.to_string())),
            };
            let algorithm = self.shape.part_digest;
            let digest = algorithm.map(|algorithm| match algorithm {
                Algorithm::Md5 => md5::Md5::digest(&bytes).to_vec(),
                Algorithm::Sha1 => sha1::Sha1::digest(&bytes).to_vec(),
                Algorithm::Sha256 => sha2::Sha256::digest(&bytes).to_vec(),
                Algorithm::Crc64Nvme => crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes).to_be_bytes().to_vec(),
                Algorithm::Crc32c => crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes).to_be_bytes()[4..].to_vec(),
            });
            if part.digest != digest {
                return Err(HostError::new(Class::FileRejected, "the digest of the part is not that of its bytes"));
            }
            self.call("send", part.bytes, |far| {
                let (_, parts) = far.sessions.get_mut(&number_of(&at.session)).ok_or_else(lost_session)?;
                let before = parts.insert(part.number, bytes);
                far.repeated += u64::from(before.is_some());
                Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: None, moved_to: None })
            })
            .await
        })
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, _: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(self.call("probe", 0, |far| {
            let number = number_of(&at.session);
            if far.files.contains_key(&number) {
                return Ok(Found::Complete(outcome(number)));
            }
            let (_, parts) = far.sessions.get(&number).ok_or_else(lost_session)?;
            let ack = |number: &u32| Ack { number: *number, held_to: u64::MAX, receipt: None, moved_to: None };
            Ok(Found::Parts(parts.keys().map(ack).collect()))
        }))
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(self.call("finish", 0, move |far| {
            far.digests.push(completion.digest.map(str::to_owned));
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

pub(super) struct Nothing;

impl Environment for Nothing {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

pub(super) const CONFIG: &str = r#"
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
pub(super) struct World {
    pub(super) config: Config,
    pub(super) time: Time,
    pub(super) disk: Disk,
    pub(super) system: System,
    pub(super) store: Store,
    pub(super) hosts: Vec<FakeHost>,
    /// What takes orders to the daemon that runs.
    pub(super) orders: Mutex<Orders>,
    /// What takes configurations to it.
    pub(super) reloads: Mutex<Reloads>,
}

pub(super) fn world(seed: u64, config: &str, hosts: &[(&str, &[TroubleTime])]) -> World {
    let time = Time::of_the_runtime(MORNING_NS);
    let clock = time.clock();
    let disk = Disk::new(clock.clone());
    for folder in ["/drop", "/state", "/elsewhere"] {
        disk.make_folders(Path::new(folder)).unwrap();
    }
    let files = Files::Simulated(disk.clone());
    let chance = Chance::seeded(seed);
    let system = System { clock: clock.clone(), chance, files, threads: Threads::Caller, ..System::default() };
    let store = Store::in_memory(Arc::new(move || clock.now_ms())).unwrap();
    let begun = Instant::now();
    let host = |(name, troubles): &(&str, &[TroubleTime])| FakeHost {
        name: (*name).to_owned(),
        begun,
        made: Duration::ZERO,
        troubles: troubles.to_vec(),
        shape: Shape { parallel: 3, parts_max: 10_000, ..Shape::parts(PART_BYTES) },
        far: Arc::default(),
    };
    let hosts = hosts.iter().map(host).collect();
    let config = config::parse(config, Path::new("/config.toml"), crate::host::kinds::KINDS, &Nothing).unwrap();
    World { config, time, disk, system, store, hosts, orders: Mutex::default(), reloads: Mutex::default() }
}

impl World {
    /// Runs the daemon for so long, then has it drain.
    pub(super) async fn run(&self, time: Duration) {
        let host = |host: &HostConfig| {
            let fake = self.hosts.iter().find(|fake| fake.name == host.name).unwrap().clone();
            LazyHost::new(Threads::Caller, move || {
                let made = fake.begun.elapsed();
                fake.far().log.push(format!("{:>9} ms {} made", made.as_millis(), fake.name));
                Arc::new(FakeHost { made, ..fake.clone() })
            })
        };
        self.run_with(host, time).await;
    }

    /// The same with these hosts.
    pub(super) async fn run_with(&self, host: impl Fn(&HostConfig) -> LazyHost, time: Duration) {
        let (switch, watched) = phases();
        let switch = Arc::new(switch);
        let orders = Orders::default();
        *self.orders.lock().unwrap() = orders.clone();
        let reloads = Reloads::default();
        *self.reloads.lock().unwrap() = reloads.clone();
        let control = Control { switch: switch.clone(), phases: watched, orders, reloads, paces: Arc::default() };
        let daemon = super::super::run(&self.config, &self.system, host, self.store.clone(), control, || {});
        let end = async {
            tokio::time::sleep(time).await;
            switch.advance(Phase::Draining);
        };
        let (ended, ()) = tokio::join!(daemon, end);
        ended.unwrap();
    }

    pub(super) fn files(&self, host: usize) -> Vec<(String, Vec<u8>)> {
        self.hosts[host].far().files.values().cloned().collect()
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.hosts.iter().flat_map(|host| host.far().log.clone()).collect()
    }

    /// How a job of this file stands.
    pub(super) fn job(&self, name: &str, host: &str) -> JobRow {
        let mut jobs = self.store.jobs().into_iter().filter(|job| job.path.ends_with(name) && job.host == host);
        jobs.next_back().unwrap_or_else(|| panic!("no job of {name} for {host}"))
    }

    pub(super) fn state(&self, name: &str, host: &str) -> (State, Option<Reason>) {
        let job = self.job(name, host);
        (job.state, job.why)
    }

    pub(super) fn write(&self, name: &str, bytes: usize) {
        self.disk.write(&Path::new("/drop").join(name), &vec![b'x'; bytes]).unwrap();
    }

    /// How many calls of this sort a host has seen.
    pub(super) fn calls(&self, host: usize, what: &str) -> usize {
        self.hosts[host].far().log.iter().filter(|line| line.split(' ').any(|word| word == what)).count()
    }

    /// Runs the daemon, and tells `then` when so much time has passed.
    pub(super) async fn run_and(&self, time: Duration, then: impl Future<Output = ()>) {
        tokio::join!(self.run(time), then);
    }
}

/// Runs in one thread, on a clock that jumps ahead whenever there is nothing else to do.
pub(super) fn paused<T>(work: impl Future<Output = T>) -> T {
    let threads = Arc::new(AtomicUsize::new(0));
    let begun = threads.clone();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).on_thread_start(move || {
        begun.fetch_add(1, Ordering::Relaxed);
    });
    let result = runtime.build().unwrap().block_on(work);
    assert_eq!(threads.load(Ordering::Relaxed), 0, "no other thread may have a say in what happens");
    result
}
