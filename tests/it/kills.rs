//! The daemon killed again and again, by chance and at named points, with files of every size that a kind of host makes a difference
//! of: few times in every run, as often as one likes with `FERRYD_KILLS`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ferryd::internals::os::crash::POINTS;
use ferryd_sandbox::faults::Endpoint;
use ferryd_sandbox::log::{Entry, Outcome};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::bench_top::{Bench, Daemon, bytes};
use crate::crash::Kill;
use crate::kinds::{self, Kind};
use crate::said::said;

/// Kills on one bench: the log of its hosts is read at each, so it must not grow without end.
const KILLS_IN_A_ROUND: usize = 50;
/// Kills of each kind where nobody asks for more.
const KILLS_USUALLY: usize = 3;
/// The size of the largest files.
const LARGEST: usize = 16 << 20;
/// Rounds at a time.
const AT_ONCE: usize = 2;
/// How long a daemon is waited for that is to die at a point which it may not pass.
const LONGEST_LIFE: Duration = Duration::from_millis(600);

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    kills: usize,
    files: usize,
    bytes: u64,
    /// Of parts that came again or did not arrive whole.
    bytes_sent_twice: u64,
    /// Confirmed before a kill, not in flight then, and sent again.
    acknowledged_sent_twice: usize,
    lost: usize,
    mixed: usize,
    duplicates_marked: usize,
    duplicates_unmarked: usize,
}

impl Counted {
    fn with(self, other: Counted) -> Counted {
        Counted {
            kills: self.kills + other.kills,
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            bytes_sent_twice: self.bytes_sent_twice + other.bytes_sent_twice,
            acknowledged_sent_twice: self.acknowledged_sent_twice + other.acknowledged_sent_twice,
            lost: self.lost + other.lost,
            mixed: self.mixed + other.mixed,
            duplicates_marked: self.duplicates_marked + other.duplicates_marked,
            duplicates_unmarked: self.duplicates_unmarked + other.duplicates_unmarked,
        }
    }

    /// Nothing of what must not be.
    fn is_fine(self) -> bool {
        (self.acknowledged_sent_twice, self.lost, self.mixed, self.duplicates_unmarked) == (0, 0, 0, 0)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, {} files of {} MiB; bytes sent twice: {}; acknowledged parts sent twice: {}; lost: {}; mixed: {}; \
             duplicates marked: {}, unmarked: {}",
            self.kills,
            self.files,
            self.bytes >> 20,
            self.bytes_sent_twice,
            self.acknowledged_sent_twice,
            self.lost,
            self.mixed,
            self.duplicates_marked,
            self.duplicates_unmarked
        )
    }
}

/// A fresh host, a fresh daemon, and so many kills.
#[derive(Debug, Clone, Copy)]
struct Round {
    kind: Kind,
    kills: usize,
    seed: u64,
}

fn rounds(kinds: &[Kind], kills: usize) -> Vec<Round> {
    let of = |(index, kind): (usize, &Kind)| {
        let kills = kills / kinds.len() + usize::from(index < kills % kinds.len());
        let whole = std::iter::repeat_n(KILLS_IN_A_ROUND, kills / KILLS_IN_A_ROUND);
        let parts = whole.chain(Some(kills % KILLS_IN_A_ROUND).filter(|rest| *rest > 0)).enumerate();
        let kind = *kind;
        parts.map(move |(round, kills)| Round { kind, kills, seed: (index * 100_000 + round) as u64 }).collect::<Vec<_>>()
    };
    let mut rounds: Vec<Round> = kinds.iter().enumerate().flat_map(of).collect();
    // The kinds in turns, so that a run that is broken off has seen them all.
    rounds.sort_by_key(|round| round.seed % 100_000);
    rounds
}

impl Round {
    fn run(self) -> Counted {
        let Round { kind, kills, seed } = self;
        let mut random = StdRng::seed_from_u64(seed);
        let edge = kind.part_bytes().unwrap_or(400_000);
        // With two files at a time, more parts of each are confirmed in one life than may be in flight.
        let at_once = [2, 16].choose(&mut random).unwrap();
        let bench = kind.bench().host(&format!("{}\nbandwidth = \"{} B/s\"", kind.small_parts(), (100 * edge).min(40 << 20)));
        let bench = bench.change("[daemon]\n", &format!("[daemon]\nmax_uploads = {at_once}\n"));
        let mut contents: HashMap<String, Vec<u8>> = HashMap::new();
        let mut killed = Vec::new();
        for kill in 0..kills {
            for number in 0..random.random_range(1..=3) {
                let (name, size) = (format!("f{kill}-{number}"), size(&mut random, edge));
                let content = bytes(seed << 32 | (kill << 8 | number) as u64, size);
                bench.put(&name, &content);
                contents.insert(name, content);
            }
            kill_at_random(&bench, &mut random);
            killed.push(Kill::now(bench.sandbox.log()));
        }
        let daemon = bench.start();
        bench.wait_done(contents.len());
        bench.stop(daemon);
        self.count(&bench, &contents, &killed)
    }

    fn count(self, bench: &Bench, contents: &HashMap<String, Vec<u8>>, killed: &[Kill]) -> Counted {
        let log = bench.sandbox.log();
        let jobs = bench.jobs();
        let mut counted = Counted {
            kills: self.kills,
            files: contents.len(),
            bytes: contents.values().map(|content| content.len() as u64).sum(),
            bytes_sent_twice: log.iter().filter(|entry| is_in_vain(entry)).map(|entry| entry.body_bytes).sum(),
            ..Counted::default()
        };
        if self.kind.part_bytes().is_some() {
            counted.acknowledged_sent_twice = killed.iter().map(|kill| kill.sent_twice(&log)).sum();
        }
        for (name, content) in contents {
            let held = self.kind.held(bench, name);
            let of_file: Vec<_> = jobs.iter().filter(|job| job.path.ends_with(name)).collect();
            counted.lost += usize::from(held.is_empty() || of_file.len() != 1);
            counted.mixed += held.iter().filter(|held| *held != content).count();
            if held.len() > 1 {
                let is_marked = of_file.iter().any(|job| job.maybe_duplicate);
                counted.duplicates_marked += usize::from(is_marked);
                counted.duplicates_unmarked += usize::from(!is_marked);
            }
        }
        counted
    }
}

/// Small files, those at the edges of parts, those of several, and now and then a large one, which outlives many kills.
fn size(random: &mut StdRng, edge: usize) -> usize {
    if random.random_ratio(1, 40) {
        return random.random_range(edge..=LARGEST);
    }
    match random.random_range(0..4) {
        0 => random.random_range(1..=1000),
        1 => *[edge - 1, edge, edge + 1, 2 * edge].choose(random).unwrap(),
        2 => random.random_range(1..=edge),
        // More parts than may be in flight at a kill, where they are small.
        _ => random.random_range(edge..=(24 * edge).min(LARGEST)),
    }
}

/// A daemon that dies after a while, or when it passes a point of the road.
fn kill_at_random(bench: &Bench, random: &mut StdRng) {
    if random.random_bool(0.5) {
        let daemon = bench.start();
        std::thread::sleep(Duration::from_millis(random.random_range(5..400)));
        return daemon.kill();
    }
    let point = format!("{}:{}", POINTS.choose(random).unwrap(), random.random_range(1..=3));
    let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", &point)]);
    let begun = Instant::now();
    let has_died = |daemon: &mut Daemon| daemon.ended().is_some();
    while !has_died(&mut daemon) && begun.elapsed() < LONGEST_LIFE {
        std::thread::sleep(Duration::from_millis(2));
    }
    daemon.kill();
}

/// Whether the body of this request had been sent before, or had to be sent once more.
fn is_in_vain(entry: &Entry) -> bool {
    let is_new = matches!(entry.outcome, Outcome::Acked | Outcome::Stored | Outcome::Served) && !entry.again;
    entry.endpoint == Some(Endpoint::Chunk) && !is_new
}

#[test]
fn however_often_the_daemon_is_killed_no_file_is_lost_mixed_or_there_twice_unmarked() {
    let kinds = kinds::kinds();
    let asked = std::env::var("FERRYD_KILLS").ok().map(|text| text.parse().expect("FERRYD_KILLS is a number"));
    let rounds = rounds(&kinds, asked.unwrap_or(KILLS_USUALLY * kinds.len()));
    let (next, sum, begun) = (AtomicUsize::new(0), Mutex::new(Counted::default()), Instant::now());
    let work = || {
        let _stop = StopWhenPanicking(&next);
        while let Some(round) = rounds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let counted = round.run();
            assert!(counted.is_fine(), "{} with the seed {}: {counted}", round.kind.word, round.seed);
            let mut sum = sum.lock().unwrap();
            *sum = sum.with(counted);
            if asked.is_some() {
                said(&format!("KILLS so far: {sum}, {:.0} a minute", a_minute(sum.kills, begun)));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(work)));
    });
    let sum = sum.into_inner().unwrap();
    said(&format!("KILLS {} kinds of hosts, {sum}; {:.0} kills a minute", kinds.len(), a_minute(sum.kills, begun)));
    assert_eq!(sum.kills, rounds.iter().map(|round| round.kills).sum::<usize>());
    assert!(sum.files >= sum.kills && sum.is_fine(), "{sum}");
}

/// One round that fails ends the others.
struct StopWhenPanicking<'a>(&'a AtomicUsize);

impl Drop for StopWhenPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(usize::MAX / 2, Ordering::Relaxed);
        }
    }
}

fn a_minute(kills: usize, begun: Instant) -> f64 {
    kills as f64 * 60.0 / begun.elapsed().as_secs_f64()
}

#[test]
fn the_rounds_of_a_run_are_as_many_kills_as_were_asked_for() {
    for asked in [1, 5, 17, 10_000] {
        let rounds = rounds(&kinds::all()[..5], asked);
        assert_eq!(rounds.iter().map(|round| round.kills).sum::<usize>(), asked);
        assert!(rounds.iter().all(|round| (1..=KILLS_IN_A_ROUND).contains(&round.kills)));
    }
}
