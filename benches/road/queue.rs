//! A long queue: what it takes of memory, how long a start takes with it, and how long `status` does.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferryd::internals::job::Identity;
use ferryd::internals::store::{Arrival, Store};

use crate::daemon::{Place, Setup, silent_host};
use crate::machine::{MIB, median, milliseconds, number, own, resident, share, tell};

/// Jobs under way while it is looked at, on a host that never answers: those in front of the queue, whose files exist.
const UNDER_WAY: u64 = 16;
const ROWS_IN_ONE_COMMIT: u64 = 10_000;
const FILES_IN_ONE_FOLDER: u64 = 1000;
const REST: Duration = Duration::from_secs(2);

pub(crate) fn row() {
    let alone = times(|place| place.command(&["--version"]), &place_with(0).0).0;
    for jobs in [UNDER_WAY, number("FERRYD_BENCH_JOBS", 100_000)] {
        let (place, _silent) = place_with(jobs);
        // The first start with a configuration asks of every job whether its file still goes to its host.
        let first = place.start().1;
        let (daemon, start) = place.start();
        std::thread::sleep(REST);
        let ((now, peak), own) = (resident(daemon.id()), own(daemon.id()));
        let (status, slowest) = times(|place| place.command(&["status", "--json"]), &place);
        let size = std::fs::metadata(place.state_dir().join(ferryd::internals::store::FILE_NAME)).unwrap().len() / MIB;
        let what = format!("{jobs} queued jobs ({size} MiB of database, {UNDER_WAY} under way)");
        let (first, start) = (milliseconds(first), milliseconds(start));
        tell(
            &format!(
                "{what}: {now:.1} MiB resident ({own:.1} without the program's file, peak {peak:.1}), start {start:.0} ms (the first one {first:.0}), status --json {status:.1} ms, p99 {slowest:.1} ms ({alone:.1} ms of it are any command's)"
            ),
            "12 MiB, 20 ms and 5 ms with 1,000,000",
        );
    }
}

/// Milliseconds of a command: the median, and the time within which 99 % of the runs end.
fn times(command: impl Fn(&Place) -> std::process::Command, place: &Place) -> (f64, f64) {
    let run = |_| {
        let begun = Instant::now();
        assert!(command(place).stdout(Stdio::null()).status().unwrap().success());
        milliseconds(begun.elapsed())
    };
    let runs: Vec<f64> = (0..number("FERRYD_BENCH_STATUS", 200)).map(run).collect();
    (median(&runs), share(&runs, 0.99))
}

/// A place whose queue has so many jobs, made by the store itself, for a host that never answers.
fn place_with(jobs: u64) -> (Place, std::net::TcpListener) {
    let (silent, addr) = silent_host();
    let place = Place::new(&Setup { uploads: UNDER_WAY, ..Setup::new("kie") }, addr);
    std::fs::DirBuilder::new().mode(0o700).create(place.state_dir()).unwrap();
    let elsewhere = place.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let (store, thread) = Store::open(&place.state_dir()).unwrap();
    for begin in (0..jobs).step_by(ROWS_IN_ONE_COMMIT as usize) {
        let numbers = begin..jobs.min(begin + ROWS_IN_ONE_COMMIT);
        store.enqueue(numbers.map(|number| arrival(&elsewhere, number)).collect()).blocking().unwrap();
    }
    drop(store);
    thread.join();
    (place, silent)
}

fn arrival(elsewhere: &Path, number: u64) -> Arrival {
    let name = format!("a file with an ordinary name {number}.mov");
    let hosts: Arc<[String]> = Arc::new(["kie".to_owned()]);
    // Sent by name, so that no watch has to want them.
    let (folder, identity) = if number < UNDER_WAY {
        let path = elsewhere.join(&name);
        std::fs::write(&path, [7; 4096]).unwrap();
        (elsewhere.to_owned(), Identity::of(&std::fs::metadata(path).unwrap()))
    } else {
        (folder(elsewhere, number), Identity::of(&std::fs::metadata(elsewhere).unwrap()))
    };
    // Another file of its own as far as the queue knows.
    let inode = identity.inode.wrapping_add(if number < UNDER_WAY { 0 } else { number.cast_signed() << 20 });
    Arrival {
        folder,
        name: name.into(),
        identity: Identity { inode, ..identity },
        hosts,
        make_jobs: true,
        one_off: true,
        first_version_only: false,
        priority: 0,
        close_seen: false,
        fingerprint: None,
        maybe_known: false,
    }
}

fn folder(elsewhere: &Path, number: u64) -> PathBuf {
    elsewhere.join(format!("folder {}", number / FILES_IN_ONE_FOLDER))
}
