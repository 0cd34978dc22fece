//! The end of the queue's write-ahead log is torn: cut off, or overwritten with rubbish, after the daemon was killed.
//!
//! What the log has lost is as if it had not happened yet, so the road is taken again from an earlier step. Where the host
//! overwrites, that never shows; where it cannot be asked, it does not show as long as the session is still known.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ferryd::internals::job::State;

use crate::bench_top::{Bench, bytes};

/// SQLite's page with the header of its frame in the log.
const FRAME: u64 = 4096 + 24;
const SMALL: usize = 12;
const LARGE_BYTES: usize = 3_000_000;

/// What happens to the end of the log.
#[derive(Debug, Clone, Copy)]
enum Tear {
    Cut(u64),
    Rubbish(u64),
}

fn small(number: usize) -> (String, Vec<u8>) {
    (format!("small{number}"), bytes(number as u64, 700 + number))
}

/// Sends some files and dies in the middle of a large one: when all the others are done and so many parts of it are on the host.
fn die_in_the_middle(bench: &Bench, parts: u64) {
    // So that the database itself is whole, and only what happens from here on is in the log.
    bench.stop(bench.start());
    (0..SMALL).map(small).for_each(|(name, content)| drop(bench.put(&name, &content)));
    let daemon = bench.start();
    bench.wait_done(SMALL);
    let before = bench.sandbox.stats().parts_acked;
    bench.put("large", &bytes(99, LARGE_BYTES));
    bench.wait_for("the large file to be on its way", || {
        let moving = bench.jobs().iter().any(|job| job.path.ends_with("large") && job.state == State::Uploading);
        (moving && bench.sandbox.stats().parts_acked >= before + parts).then_some(())
    });
    daemon.kill();
}

fn tear(bench: &Bench, tear: Tear) {
    let path = log_of(bench);
    let log = File::options().write(true).open(&path).unwrap();
    let length = log.metadata().unwrap().len();
    match tear {
        Tear::Cut(count) => log.set_len(length.saturating_sub(count)).unwrap(),
        Tear::Rubbish(count) => {
            let count = count.min(length);
            log.write_all_at(&bytes(5, usize::try_from(count).unwrap()), length - count).unwrap();
        }
    }
}

fn log_of(bench: &Bench) -> PathBuf {
    bench.state_dir().join(format!("{}-wal", ferryd::internals::store::FILE_NAME))
}

/// Starts again, and again: each file is there with its bytes, and nothing is set aside or in a loop.
fn everything_is_there(bench: &Bench, tear: Tear) {
    let mut daemon = bench.start();
    bench.wait_done(SMALL + 1);
    assert!(daemon.ended().is_none(), "{tear:?}");
    let contents = (0..SMALL).map(small).chain([("large".to_owned(), bytes(99, LARGE_BYTES))]);
    for (name, content) in contents {
        // Kie.ai's objects carry the version of the file before its name.
        let objects = bench.sandbox.objects().into_iter().filter(|object| object.name.ends_with(&name));
        let held: Vec<Vec<u8>> = objects.map(|object| bench.sandbox.read(&object).unwrap()).collect();
        assert_eq!(held.len(), 1, "{tear:?}: {name} is there {} times", held.len());
        assert!(held[0] == content, "{tear:?}: {name} differs");
    }
    bench.stop(daemon);
    let requests = bench.sandbox.stats().requests;
    let daemon = bench.start();
    bench.stop(daemon);
    assert_eq!(bench.sandbox.stats().requests, requests, "{tear:?}: another start has nothing left to send");
    assert_eq!(bench.jobs().len(), SMALL + 1, "{tear:?}: one job for each file");
    assert!(!bench.log_text().contains("was damaged"), "{tear:?}: a torn log is no damaged queue");
}

#[test]
fn a_torn_end_of_the_log_costs_acks_and_no_file() {
    for torn in [Tear::Cut(1), Tear::Cut(FRAME), Tear::Cut(3 * FRAME + 5), Tear::Rubbish(16), Tear::Rubbish(2 * FRAME)] {
        let bench = Bench::new().host("bandwidth = \"12 MiB/s\"");
        die_in_the_middle(&bench, 12);
        tear(&bench, torn);
        everything_is_there(&bench, torn);
    }
}

#[test]
fn a_log_torn_anywhere_loses_no_file_and_makes_none_twice_where_the_host_overwrites() {
    for share in [0, 1, 4, 9] {
        let bench = Bench::new().to(&["kie"]).host("bandwidth = \"12 MiB/s\"");
        die_in_the_middle(&bench, 0);
        let length = std::fs::metadata(log_of(&bench)).unwrap().len();
        let left = length * share / 10;
        let torn = if share == 4 { Tear::Rubbish(length - left) } else { Tear::Cut(length - left) };
        tear(&bench, torn);
        everything_is_there(&bench, torn);
    }
}
