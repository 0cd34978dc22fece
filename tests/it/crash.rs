//! The real daemon, killed at named points and at random, while the host lives on.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ferryd::internals::os::crash::{POINTS, POINTS_AFTERWARDS, POINTS_OF_REMOVAL};
use ferryd_sandbox::faults::Endpoint;
use ferryd_sandbox::log::{Entry, Outcome};
use rand::{RngExt, SeedableRng};

use crate::bench_top::{Bench, bytes};

/// Parts of one file in flight at most: so many may be sent again for each kill.
const LANES: usize = 5;
/// Files that upload at once.
const UPLOADS: usize = 16;

/// Chunks that were received although the host held them.
fn received_again(log: &[Entry]) -> usize {
    log.iter().filter(|entry| entry.endpoint == Some(Endpoint::Chunk) && entry.again).count()
}

/// What the host had acknowledged when the daemon was killed: parts by session, and the mark of the moment.
pub(crate) struct Kill {
    acked: HashMap<String, BTreeSet<u64>>,
    mark: u64,
}

impl Kill {
    pub(crate) fn now(log: Vec<Entry>) -> Kill {
        let mark = log.iter().filter_map(|entry| entry.ended).chain(log.iter().map(|entry| entry.seq)).max().unwrap_or(0);
        let mut acked: HashMap<String, BTreeSet<u64>> = HashMap::new();
        for entry in log.into_iter().filter(|entry| entry.outcome == Outcome::Acked) {
            acked.entry(entry.session.unwrap_or_default()).or_default().insert(entry.part.unwrap_or(0));
        }
        Kill { acked, mark }
    }

    /// Of what was acknowledged before the kill, only what was in flight may come again. Which parts these were, the host cannot
    /// know (a lane may have slept on its ack while the others went on), but there are no more of them than lanes.
    pub(crate) fn only_parts_in_flight_came_again(&self, log: &[Entry]) {
        for (session, parts) in self.came_again(log) {
            assert!(parts.len() <= LANES, "of {session}, parts {parts:?} were acknowledged before a kill and came again");
        }
    }

    /// How many parts came again that were acknowledged before the kill, and not in flight then.
    pub(crate) fn sent_twice(&self, log: &[Entry]) -> usize {
        self.came_again(log).values().map(|parts| parts.len().saturating_sub(LANES)).sum()
    }

    fn came_again<'l>(&self, log: &'l [Entry]) -> HashMap<&'l str, BTreeSet<u64>> {
        let mut again: HashMap<&str, BTreeSet<u64>> = HashMap::new();
        for entry in log.iter().filter(|entry| entry.seq > self.mark && entry.endpoint == Some(Endpoint::Chunk)) {
            let (Some(session), Some(part)) = (&entry.session, entry.part) else { continue };
            if self.acked.get(session).is_some_and(|acked| acked.contains(&part)) {
                again.entry(session).or_default().insert(part);
            }
        }
        again
    }
}

#[test]
fn death_at_every_point_of_the_road_leaves_one_equal_file() {
    for point in POINTS.iter().chain(POINTS_AFTERWARDS) {
        let bench = if POINTS_AFTERWARDS.contains(point) { with_hook_and_move(Bench::new()) } else { Bench::new() };
        let content = bytes(7, 300_000);
        let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", point)]);
        bench.put("a.bin", &content);
        let ended = bench.wait_for(&format!("death at {point}"), || daemon.ended());
        assert!(ended.code().is_none(), "{point}: died by a signal, not by itself: {ended}");
        let daemon = bench.start();
        let jobs = bench.wait_done(1);
        assert_eq!(jobs.len(), 1, "{point}: {jobs:#?}");
        let held = bench.held("a.bin");
        // A finish that went unanswered is finished again under the same session, which this host answers with the same file.
        assert_eq!(held.len(), 1, "{point}");
        assert!(held[0] == content, "{point}: the bytes differ");
        assert!(received_again(&bench.sandbox.log()) <= LANES, "{point}");
        bench.stop(daemon);
        if bench.dir.path().join("links.tsv").exists() {
            let lines = std::fs::read_to_string(bench.dir.path().join("links.tsv")).unwrap().lines().count();
            assert!((2..=3).contains(&lines), "{point}: a header, and the outcome once, or twice where the death lay between");
            assert!(std::fs::read(bench.dir.path().join("sent/a.bin")).unwrap() == content, "{point}");
            assert!(!bench.drop_dir().join("a.bin").exists(), "{point}");
        }
    }
}

#[test]
fn death_at_every_point_of_a_removal_leaves_nothing_behind() {
    for point in POINTS_OF_REMOVAL {
        let bench = Bench::new().watch("settle = \"0s\"\nafter = \"delete\"").host("trust_replies = true");
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(bench.drop_dir()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", point)]);
        bench.put("a.bin", b"content");
        let ended = bench.wait_for(&format!("death at {point}"), || daemon.ended());
        assert!(ended.code().is_none(), "{point}: died by a signal, not by itself: {ended}");
        match *point {
            "after.before_move" => assert_eq!(names(), ["a.bin"]),
            "after.aside" => assert!(names().len() == 1 && names()[0].starts_with(".ferryd-"), "{:?}", names()),
            _ => assert_eq!(names(), [""; 0]),
        }
        let daemon = bench.start();
        let jobs = bench.wait_done(1);
        assert_eq!((jobs.len(), names(), bench.held("a.bin").len()), (1, Vec::new(), 1), "{point}");
        bench.stop(daemon);
    }
}

fn with_hook_and_move(bench: Bench) -> Bench {
    let dir = bench.dir.path().to_owned();
    bench
        .watch(&format!("settle = \"0s\"\nafter = {{ move = {:?} }}", dir.join("sent")))
        .host(&format!("trust_replies = true\n[[hook]]\non = [\"done\"]\nlinks_file = {:?}", dir.join("links.tsv")))
}

#[test]
fn kill_at_random_instants_leaves_every_file_once_and_equal() {
    // Long runs are in `kills`.
    let kills = 12;
    // The large ones take time to send, and so are met by the kills.
    let large = 12 * 1024 * 1024;
    let mut sizes = vec![1, 2, 131_071, 131_072, 131_073, 262_144, 262_145, 1_310_720, large - 1, large, large + 1];
    let mut random = rand::rngs::StdRng::seed_from_u64(20);
    sizes.extend((0..kills / 2).map(|_| random.random_range(1..2_000_000)));
    let bench = Bench::new().host("bandwidth = \"60 MiB/s\"");
    let mut waiting = sizes.iter().enumerate().map(|(index, size)| (format!("f{index}-{size}"), bytes(index as u64, *size)));
    let mut contents: HashMap<String, Vec<u8>> = HashMap::new();
    let mut killed = Vec::new();
    for _ in 0..kills {
        for (name, content) in waiting.by_ref().take(sizes.len().div_ceil(kills)) {
            bench.put(&name, &content);
            contents.insert(name, content);
        }
        let daemon = bench.start();
        std::thread::sleep(Duration::from_millis(random.random_range(5..400)));
        daemon.kill();
        killed.push(Kill::now(bench.sandbox.log()));
    }
    for (name, content) in waiting {
        bench.put(&name, &content);
        contents.insert(name, content);
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(sizes.len());
    assert_eq!(jobs.len(), sizes.len(), "one job for each file");
    for (name, content) in &contents {
        let held = bench.held(name);
        assert_eq!(held.len(), 1, "{name} is there {} times", held.len());
        assert!(&held[0] == content, "{name} differs");
    }
    let log = bench.sandbox.log();
    killed.iter().for_each(|kill| kill.only_parts_in_flight_came_again(&log));
    assert!(received_again(&log) <= kills * UPLOADS * LANES, "{} chunks came again after {kills} kills", received_again(&log));
    bench.stop(daemon);
}
