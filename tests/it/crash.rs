//! The real daemon, killed at named points and at random, while the host lives on.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ferryd::sandbox::log::{Entry, Outcome};
use rand::{RngExt, SeedableRng};

use crate::bench_top::{Bench, bytes};

/// Parts of one file in flight: so many may be sent again for each kill.
const LANES: usize = 4;

/// Chunks that were acknowledged and then received again, by session: for each kill no more than the parts in flight.
fn received_again(log: &[Entry]) -> usize {
    let mut acked: HashSet<(&str, u32)> = HashSet::new();
    let mut again = 0;
    for entry in log.iter().filter(|entry| entry.endpoint == "chunk") {
        let part = (entry.session.as_str(), entry.part.unwrap_or(0));
        if entry.outcome == Outcome::Acked && !acked.insert(part) {
            again += 1;
        }
    }
    again
}

/// Of what was acknowledged before a kill, only the last parts of a session, those in flight, may come again.
fn only_parts_in_flight_again(log: &[Entry], kills_after: &[usize]) {
    let mut begins = 0;
    for &end in kills_after {
        let before = &log[..end];
        let mut last: HashMap<&str, Vec<u32>> = HashMap::new();
        for entry in before.iter().filter(|entry| entry.endpoint == "chunk" && entry.outcome == Outcome::Acked) {
            last.entry(&entry.session).or_default().push(entry.part.unwrap_or(0));
        }
        for entry in log[end..].iter().filter(|entry| entry.endpoint == "chunk") {
            let Some(acked) = last.get(entry.session.as_str()) else { continue };
            let settled = &acked[..acked.len().saturating_sub(LANES)];
            assert!(
                !settled.contains(&entry.part.unwrap_or(0)),
                "chunk {:?} was acknowledged long before the kill and came again",
                entry.part
            );
        }
        assert!(end >= begins);
        begins = end;
    }
}

#[test]
fn death_at_every_point_of_the_road_leaves_one_equal_file() {
    for point in ferryd::os::crash::POINTS {
        let bench = Bench::new();
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
    }
}

/// How often the daemon is killed: few times by default, more with `FERRYD_KILLS`.
fn kills() -> usize {
    std::env::var("FERRYD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn kill_at_random_instants_leaves_every_file_once_and_equal() {
    let kills = kills();
    // The large ones take time to send, and so are met by the kills; a few kills do with smaller ones.
    let large = if kills > 50 { 104_857_600 } else { 12 * 1024 * 1024 };
    let mut sizes = vec![1, 2, 131_071, 131_072, 131_073, 262_144, 262_145, 1_310_720, large - 1, large, large + 1];
    let mut random = rand::rngs::StdRng::seed_from_u64(20);
    sizes.extend((0..kills / 2).map(|_| random.random_range(1..2_000_000)));
    let bench = Bench::new().host("bandwidth = \"60 MiB/s\"");
    let mut waiting = sizes.iter().enumerate().map(|(index, size)| (format!("f{index}-{size}"), bytes(index as u64, *size)));
    let mut contents: HashMap<String, Vec<u8>> = HashMap::new();
    let mut kills_after = Vec::new();
    for kill in 0..kills {
        for (name, content) in waiting.by_ref().take(sizes.len().div_ceil(kills)) {
            bench.put(&name, &content);
            contents.insert(name, content);
        }
        let daemon = bench.start();
        std::thread::sleep(Duration::from_millis(random.random_range(5..400)));
        daemon.kill();
        kills_after.push(bench.sandbox.log().len());
        assert!(kill < kills);
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
    only_parts_in_flight_again(&log, &kills_after);
    assert!(received_again(&log) <= kills * LANES * LANES, "{} chunks came again after {kills} kills", received_again(&log));
    bench.stop(daemon);
}
