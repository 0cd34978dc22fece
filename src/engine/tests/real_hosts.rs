//! The real hosts of every kind in a simulated world: the daemon and the hosts that it talks to are tasks of one thread, on one
//! clock, and what happens follows from one number.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, Rule, Script, When};
use ferryd_sandbox::log::{Entry, Outcome};
use ferryd_sandbox::{Options, Sandbox};
use tokio::io::duplex;
use tokio::time::Instant;

use super::world::{HOUR, MINUTE, Nothing, SECOND, World, paused, world};
use crate::config;
use crate::host::http::{Clients, Connecting, Connector, Destination, Stream};
use crate::host::kind::Kind;
use crate::host::kinds::KINDS;
use crate::host::{KeptTokens, LazyHost, Unusable, registry};
use crate::job::State;
use crate::os::chance::Chance;
use crate::os::threads::Threads;

/// Where the hosts believe to be.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// What is between the two ends of a connection.
const BUFFER_BYTES: usize = 64 * 1024;
/// More than one part where the parts are as small as a kind allows.
const FILE_BYTES: usize = 6 * 1024 * 1024;

/// A network on which all hosts are.
pub(super) struct Lan {
    pub(super) sandbox: Sandbox,
    chance: Chance,
    keeps: bool,
    connections: AtomicUsize,
    /// Until when nobody is reached.
    pub(super) offline_until: Mutex<Option<Instant>>,
}

impl Connector for Lan {
    fn connect(&self, to: &Destination) -> Connecting<'_> {
        assert_eq!((to.host.as_str(), to.port), ("127.0.0.1", 8080), "the address of the hosts");
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis((self.chance.fraction() * 200.0) as u64)).await;
            if self.offline_until.lock().unwrap().is_some_and(|until| Instant::now() < until) {
                tokio::time::sleep(5 * SECOND).await;
                return Err(io::ErrorKind::NetworkUnreachable.into());
            }
            self.connections.fetch_add(1, Ordering::Relaxed);
            let (ours, theirs) = duplex(BUFFER_BYTES);
            tokio::spawn(self.sandbox.serve(theirs));
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }

    fn keeps_connections(&self) -> bool {
        self.keeps
    }
}

/// The table of a kind, with the smallest parts that it can be told to make.
pub(super) fn table(kind: &Kind) -> String {
    let plain = ferryd_sandbox::config_of(kind.word(), ADDRESS).unwrap();
    let small = ["part_size = \"256 KiB\"", "part_size = \"5 MiB\"", "chunk = \"64 KiB\""].map(|line| format!("{plain}{line}\n"));
    let is_right = |table: &String| config::parse(&whole(&[kind], table), Path::new("/config.toml"), KINDS, &Nothing).is_ok();
    small.into_iter().find(is_right).unwrap_or(plain)
}

pub(super) fn whole(kinds: &[&Kind], tables: &str) -> String {
    let words: Vec<String> = kinds.iter().map(|kind| format!("\"{}\"", kind.word())).collect();
    format!("[daemon]\nstate_dir = \"/state\"\n[[watch]]\npath = \"/drop\"\nto = [{}]\n{tables}", words.join(", "))
}

/// A daemon and its hosts.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) lan: Arc<Lan>,
    clients: Clients,
}

fn bench(seed: u64, kinds: &[&Kind], keeps: bool, faults: Script) -> Bench {
    bench_with(seed, kinds, keeps, faults, "")
}

/// The same with more lines in the watch.
fn bench_with(seed: u64, kinds: &[&Kind], keeps: bool, faults: Script, watch: &str) -> Bench {
    let tables: String = kinds.iter().map(|kind| table(kind)).collect();
    bench_of(seed, &whole(kinds, &format!("{watch}\n{tables}")), keeps, |options| options.faults = faults)
}

/// One host of the kind of this name, with more lines in its table, and with rules of its own.
pub(super) fn bench_ruled(word: &str, host: &str, change: impl FnOnce(&mut Options)) -> Bench {
    let kind = KINDS.iter().find(|kind| kind.word() == word).unwrap();
    // A line for a key that the table has already takes its place.
    let is_new = |line: &&str| !line.contains(" = ") || !host.contains(&line[..=line.find('=').unwrap()]);
    let table: Vec<String> = table(kind).lines().filter(is_new).map(str::to_owned).collect();
    bench_of(17, &whole(&[kind], &format!("{}\n{host}\n", table.join("\n"))), true, change)
}

pub(super) fn bench_of(seed: u64, config: &str, keeps: bool, change: impl FnOnce(&mut Options)) -> Bench {
    let world = world(seed, config, &[]);
    let clock = world.system.clock.clone();
    let mut options = Options {
        listen: ADDRESS,
        chance: ferryd_sandbox::Chance::seeded(seed),
        time: ferryd_sandbox::Time::of(move || clock.now_ms()),
        ..Options::new("/nowhere")
    };
    change(&mut options);
    let sandbox = Sandbox::detached(options).unwrap();
    let lan = Arc::new(Lan {
        sandbox,
        chance: Chance::seeded(seed),
        keeps,
        connections: AtomicUsize::new(0),
        offline_until: Mutex::default(),
    });
    let clients = Clients::simulated(&world.system, lan.clone()).unwrap();
    Bench { world, lan, clients }
}

impl Bench {
    pub(super) async fn run(&self, time: Duration) {
        let host = |host: &config::HostConfig| {
            let (host, clients) = (host.clone(), self.clients.clone());
            let tokens = KeptTokens::new(&self.world.system, &self.world.config.daemon.state_dir);
            LazyHost::new(Threads::Caller, move || {
                registry::host(&host, &Nothing, &clients, &tokens).unwrap_or_else(|error| Arc::new(Unusable(error)))
            })
        };
        self.world.run_with(host, time).await;
    }

    /// A file whose bytes are all different ones.
    pub(super) fn put(&self, name: &str, bytes: usize) -> Vec<u8> {
        let content: Vec<u8> = (0..bytes as u64).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 16) as u8).collect();
        self.world.disk.write(&Path::new("/drop").join(name), &content).unwrap();
        content
    }

    /// What a host holds.
    pub(super) fn held(&self, kind: &Kind) -> Vec<Vec<u8>> {
        let sandbox = &self.lan.sandbox;
        let objects = sandbox.objects().into_iter().filter(|object| object.host == kind.word());
        objects.map(|object| sandbox.read(&object).unwrap()).collect()
    }

    pub(super) fn log(&self) -> Vec<Entry> {
        self.lan.sandbox.log()
    }

    pub(super) fn is_done_at(&self, word: &str, name: &str) {
        self.is_done(KINDS.iter().find(|kind| kind.word() == word).unwrap(), name);
    }

    fn is_done(&self, kind: &Kind, name: &str) {
        let (state, why) = self.world.state(name, kind.word());
        assert_eq!(state, State::Done, "{}: {why:?}\n{:#?}", kind.word(), self.log());
    }
}

/// One file to a host that this happens to, and how long the daemon needed.
fn through(kind: &Kind, action: Action, endpoint: Endpoint) -> Bench {
    paused(async {
        let script = Script::of([Rule::new(action).at(endpoint).when(When::First(1))]);
        let bench = bench(7, &[kind], true, script);
        let content = bench.put("file", FILE_BYTES);
        bench.run(3 * HOUR).await;
        bench.is_done(kind, "file");
        let held = bench.held(kind);
        assert!(!held.is_empty() && held.iter().all(|held| *held == content), "{}: {} files", kind.word(), held.len());
        bench
    })
}

#[test]
fn a_file_reaches_every_kind_of_host_without_a_socket_or_a_thread() {
    for kind in KINDS {
        let connections = [true, false].map(|keeps| {
            paused(async {
                let bench = bench(7, &[kind], keeps, Script::default());
                let content = bench.put("file", FILE_BYTES);
                bench.run(5 * MINUTE).await;
                bench.is_done(kind, "file");
                assert!(bench.held(kind) == [content], "{}: {:#?}", kind.word(), bench.log());
                (bench.lan.connections.load(Ordering::Relaxed), bench.log().len())
            })
        });
        let [(kept, _), (single, requests)] = connections;
        assert!(kept <= single && single == requests, "{}: {kept} and {single} connections, {requests} requests", kind.word());
    }
}

#[test]
fn an_hour_of_a_host_that_does_not_answer_passes_in_a_moment() {
    let stalled = Action::Stall { after_bytes: 1000, seconds: 3600.0 };
    for kind in KINDS {
        for action in [Action::SlowReply { seconds: 3600.0 }, stalled.clone()] {
            let bench = through(kind, action, Endpoint::Chunk);
            let log = bench.log();
            let parts: Vec<&Entry> = log.iter().filter(|entry| entry.endpoint == Some(Endpoint::Chunk)).collect();
            let met = parts.iter().find(|entry| entry.fault.is_some()).unwrap();
            assert_eq!(met.replied, Some(false), "{}: {log:#?}", kind.word());
            let again = log.iter().find(|entry| entry.at_ms >= met.at_ms + 60_000);
            assert!(again.is_some(), "{}: it was given up, and the host asked or tried again later: {log:#?}", kind.word());
        }
    }
}

#[test]
fn a_reset_and_a_lost_reply_are_seen_and_the_file_arrives_all_the_same() {
    let actions = [
        Action::CloseBeforeReading { reset: true },
        Action::ResetAfterBytes { bytes: 500 },
        Action::ResetAfterBody,
        Action::LoseReply { reset: true },
        Action::LoseReply { reset: false },
        Action::CutReply { bytes: 3 },
        Action::EarlyReply { status: 503, body: ErrorBody::Json, after_bytes: 100, hold_seconds: 5.0 },
    ];
    for kind in KINDS {
        for action in &actions {
            let bench = through(kind, action.clone(), Endpoint::Chunk);
            let log = bench.log();
            let met: Vec<&Entry> = log.iter().filter(|entry| entry.fault.is_some()).collect();
            assert_eq!(met.len(), 1, "{} {action:?}: {log:#?}", kind.word());
            let is_answered = matches!(action, Action::EarlyReply { .. });
            // A reply without a body cannot be cut.
            let may_be_whole = matches!(action, Action::CutReply { .. });
            assert!(may_be_whole || met[0].replied == Some(is_answered), "{} {action:?}: {:#?}", kind.word(), met[0]);
            let is_lost = matches!(action, Action::LoseReply { .. } | Action::CutReply { .. });
            assert_eq!(met[0].held, is_lost, "{} {action:?}: {:#?}", kind.word(), met[0]);
        }
    }
}

/// All kinds at once, on a bad day: the log of the hosts, and how the jobs ended.
fn a_bad_day(seed: u64) -> Vec<String> {
    let sometimes = |action, number| Rule::new(action).when(When::Probability { chance: 0.06, seed: seed + number });
    let script = Script::of([
        sometimes(Action::ResetAfterBytes { bytes: 300 }, 1),
        sometimes(Action::LoseReply { reset: true }, 2),
        sometimes(Action::SlowReply { seconds: 600.0 }, 3),
        sometimes(Action::Status { code: 502, body: ErrorBody::Plain, stored: false }, 4),
    ]);
    paused(async {
        let kinds: Vec<&Kind> = KINDS.iter().collect();
        let bench = bench(seed, &kinds, true, script);
        let names = ["one", "two", "three"];
        for (index, name) in names.iter().enumerate() {
            bench.put(name, 300_000 * (index + 1));
        }
        bench.run(20 * MINUTE + 7 * SECOND).await;
        bench.run(8 * HOUR).await;
        let mut told: Vec<String> = bench.log().iter().map(|entry| format!("{entry:?}")).collect();
        for (kind, name) in kinds.iter().flat_map(|kind| names.map(|name| (kind, name))) {
            let (job, to) = (bench.world.job(name, kind.word()), kind.word());
            told.push(format!("{to} {name} {:?} {:?} {:?}", job.state, job.link, job.why));
        }
        told
    })
}

#[test]
fn the_same_number_gives_the_same_requests_at_the_same_times() {
    let first = a_bad_day(3);
    assert!(first.iter().filter(|line| line.contains("fault: Some")).count() > 3, "{first:#?}");
    for (ours, theirs) in first.iter().zip(a_bad_day(3).iter()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(first.len(), a_bad_day(3).len());
    assert_ne!(first, a_bad_day(4));
}

/// Replies that no host of the five gives to anything, or none to what was asked.
fn nonsense() -> Vec<(u16, &'static str)> {
    vec![
        (200, "maintenance"),
        (200, "{\"status\":\"ok\",\"id\":17}"),
        (200, "<html>Please sign in</html>"),
        (200, "<S:Envelope><S:Body><ns:pingResponse/></S:Body></S:Envelope>"),
        (400, "{\"code\":13000102,\"msg\":\"Parameter error.\"}"),
        (403, "<html>blocked</html>"),
        (404, "<html>not here</html>"),
        (405, ""),
        (413, "Payload Too Large"),
        (501, "Not Implemented"),
    ]
}

/// Three files for a host that answers everything like this for so long: what its jobs are then, and whether all arrive after it.
fn nonsense_for(kind: &Kind, (status, body): (u16, &str), time: Duration) {
    let told = format!("{} {status} {body} for {time:?}", kind.word());
    paused(async {
        let says = Action::Reply { status, headers: Default::default(), body: body.into(), stored: false };
        let bench = bench(11, &[kind], true, Script::of([Rule::new(says)]));
        let names = ["one", "two", "three"];
        let contents = names.map(|name| bench.put(name, 20_000 + name.len()));
        let meanwhile = async {
            tokio::time::sleep(time).await;
            for name in names {
                let (state, why) = bench.world.state(name, kind.word());
                assert!(matches!(state, State::Queued | State::Waiting | State::Held | State::Uploading), "{told}: {why:?}");
            }
            assert!(bench.held(kind).is_empty(), "{told}");
            let asked = bench.log().len();
            assert!(asked < 250, "{told}: {asked} requests");
            bench.lan.sandbox.set_faults(Script::default()).unwrap();
        };
        tokio::join!(bench.run(time + 3 * HOUR), meanwhile);
        for (name, content) in names.iter().zip(&contents) {
            bench.is_done(kind, name);
            assert!(bench.held(kind).contains(content), "{told}: {name}");
        }
    });
}

#[test]
fn a_minute_of_nonsense_costs_no_file_and_needs_no_command() {
    for kind in KINDS {
        for reply in nonsense() {
            nonsense_for(kind, reply, MINUTE);
        }
    }
}

#[test]
fn an_hour_of_nonsense_costs_no_file_and_needs_no_command() {
    for kind in KINDS {
        for reply in nonsense() {
            nonsense_for(kind, reply, HOUR);
        }
    }
}

/// What the bodies of replies may be that are none: words, numbers, pages, halves, and what other hosts say to other requests. None
/// has the shape of an outcome, and none names the file.
const BODIES: [&str; 20] = [
    "",
    " ",
    "ok",
    "failed",
    "Bad Gateway",
    "0",
    "-1",
    "1e999",
    "null",
    "true",
    "[]",
    "{}",
    "{\"code\":",
    "{\"error\":null}",
    "<html><body>Please sign in</body></html>",
    "<?xml version=\"1.0\"?><Error><Code>Oops</Code></Error>",
    "<S:Envelope><S:Body><ns:pingResponse><return>1</return></ns:pingResponse></S:Body></S:Envelope>",
    "{\"0\":{\"ok\":true,\"message\":\"m\"}}",
    "{\"success\":true,\"code\":200,\"data\":{}}",
    "\u{1b}]0;title\u{7}\u{0}\u{202e}",
];

/// The statuses of these replies.
const STATUSES: [u16; 4] = [200, 404, 429, 500];

/// When a request is answered so.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The first time.
    First,
    /// Each time, for three quarters of a minute.
    ForAWhile,
    /// Each time since the host has confirmed a part, for as long.
    AfterAPart,
}

const PHASES: [Phase; 3] = [Phase::First, Phase::ForAWhile, Phase::AfterAPart];

/// More than one part, where the kind has parts.
fn bytes_of_two_parts(kind: &Kind) -> usize {
    if table(kind).contains("part_size = \"5 MiB\"") { FILE_BYTES } else { 300_000 }
}

/// One file, to be deleted after its upload, for a host that answers so. It may have arrived in the end, but only if it is there.
/// Answers whether any request was answered so.
fn tortured(kind: &Kind, endpoint: Endpoint, phase: Phase, status: u16, body: &str) -> bool {
    let told = format!("{} {endpoint:?} {phase:?} {status} {body:?}", kind.word());
    paused(async {
        let says = Action::Reply { status, headers: Default::default(), body: body.into(), stored: false };
        let when = if matches!(phase, Phase::First) { When::Nth(1) } else { When::Seconds(45.0) };
        let script = Script::of([Rule::new(says).at(endpoint).when(when)]);
        let (now, later) = if matches!(phase, Phase::AfterAPart) { (None, Some(script)) } else { (Some(script), None) };
        let bench = bench_with(13, &[kind], true, now.unwrap_or_default(), "after = \"delete\"");
        let bytes = if later.is_some() { bytes_of_two_parts(kind) } else { 140_000 };
        let content = bench.put("file", bytes);
        let meanwhile = async {
            let Some(script) = later else { return };
            let is_confirmed = || {
                let log = bench.log();
                log.iter().any(|entry| {
                    entry.endpoint == Some(Endpoint::Chunk) && matches!(entry.outcome, Outcome::Acked | Outcome::Stored)
                })
            };
            while !is_confirmed() {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            bench.lan.sandbox.set_faults(script).unwrap();
        };
        tokio::join!(bench.run(3 * MINUTE), async { drop(tokio::time::timeout(MINUTE, meanwhile).await) });
        let (state, why) = bench.world.state("file", kind.word());
        assert_ne!(state, State::Failed, "{told}: {why:?}");
        let is_there = bench.held(kind).contains(&content);
        let has_arrived = matches!(state, State::Done | State::Uploaded);
        assert!(is_there || !has_arrived, "{told}: {state}, and the host has nothing");
        let source = bench.world.disk.read(Path::new("/drop/file"));
        assert!(source.is_ok_and(|source| source == content) || (is_there && has_arrived), "{told}: the source is gone");
        bench.log().iter().any(|entry| entry.fault.is_some())
    })
}

/// One case that fails ends the others.
struct StopWhenPanicking<'a>(&'a AtomicUsize);

impl Drop for StopWhenPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(usize::MAX / 2, Ordering::Relaxed);
        }
    }
}

/// The endpoints that an upload to this kind asks.
fn endpoints_of(kind: &Kind) -> Vec<Endpoint> {
    let endpoints = [Endpoint::Open, Endpoint::Address, Endpoint::Chunk, Endpoint::Finish, Endpoint::Probe, Endpoint::Link];
    let used = paused(async {
        let bench = bench(13, &[kind], true, Script::default());
        bench.put("file", 140_000);
        bench.run(2 * MINUTE).await;
        bench.log().iter().filter_map(|entry| entry.endpoint).collect::<Vec<_>>()
    });
    endpoints.into_iter().filter(|endpoint| used.contains(endpoint)).collect()
}

#[test]
fn no_reply_to_any_request_fails_a_file_or_passes_for_its_upload_or_costs_its_source() {
    let mut cases = Vec::new();
    let mut met = 0;
    for kind in KINDS {
        for endpoint in endpoints_of(kind) {
            met += 1;
            let replies = STATUSES.iter().flat_map(|status| BODIES.iter().map(move |body| (*status, *body)));
            cases.extend(replies.flat_map(|reply| PHASES.map(|phase| (kind, endpoint, phase, reply))));
        }
    }
    let (next, tried, answered) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = std::time::Instant::now();
    let work = || {
        let _stop = StopWhenPanicking(&next);
        while let Some((kind, endpoint, phase, (status, body))) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let is_met = tortured(kind, *endpoint, *phase, *status, body);
            assert!(is_met || matches!(phase, Phase::AfterAPart), "{} {endpoint:?} {phase:?}: nobody asked", kind.word());
            tried.fetch_add(1, Ordering::Relaxed);
            answered.fetch_add(usize::from(is_met), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let (tried, answered) = (tried.into_inner(), answered.into_inner());
    let told = format!(
        "TORTURE {tried} replies, {answered} of them given: {met} endpoints of {} kinds, {} statuses, {} bodies, {} phases, {:.0} s\n",
        KINDS.len(),
        STATUSES.len(),
        BODIES.len(),
        PHASES.len(),
        begun.elapsed().as_secs_f64()
    );
    // Past the capture of the test runner, so that every run tells how much it has tried.
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    assert!(met >= 2 * KINDS.len(), "{met} endpoints");
    assert!(tried >= met * STATUSES.len() * BODIES.len() * PHASES.len() && answered * 3 > tried * 2, "{told}");
}
