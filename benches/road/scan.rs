//! A full scan of many files that have not changed since they were last seen, next to a bare walk over them.

use std::path::Path;
use std::time::Duration;

use crate::daemon::{Place, Setup, silent_host};
use crate::machine::{median, number, resident, tell, walk};

const STARTS: usize = 3;
const FILES_IN_ONE_FOLDER: u64 = 1000;

pub(crate) fn row() {
    let files = number("FERRYD_BENCH_SCAN_FILES", 100_000);
    let (_silent, addr) = silent_host();
    // Files that were there before are remembered and not sent: the scan is all there is to do.
    let place = Place::new(&Setup { watch_lines: "existing = false", ..Setup::new("kie") }, addr);
    let empty = start(&place).0;
    forget(&place);
    write(&place.drop_dir(), files);
    let first = start(&place).0;
    let mut walks = Vec::new();
    let mut scans = Vec::new();
    let mut peak: f64 = 0.0;
    for _ in 0..STARTS {
        let (found, alone) = walk(&place.drop_dir());
        assert_eq!(found, files);
        walks.push(alone.as_secs_f64());
        let (took, resident) = start(&place);
        scans.push(took.saturating_sub(empty).as_secs_f64());
        peak = peak.max(resident);
    }
    let (scan, alone) = (median(&scans), median(&walks));
    let rate = files as f64 / scan;
    let row = format!(
        "scan of {files} unchanged files: {scan:.2} s ({rate:.0} files/s), {:.2} x a bare walk, peak {peak:.1} MiB resident; the first took {:.2} s",
        scan / alone,
        first.as_secs_f64()
    );
    tell(&row, "1,000,000 in 3 s, which is 333,333 files/s");
}

/// How long a start takes until everything was scanned, and its peak of memory.
fn start(place: &Place) -> (Duration, f64) {
    let (daemon, took) = place.start();
    let (_, peak) = resident(daemon.id());
    daemon.stop();
    (took, peak)
}

/// The watch has been seen; what is put there now is to be there before it.
fn forget(place: &Place) {
    std::fs::remove_dir_all(place.state_dir()).unwrap();
}

fn write(dir: &Path, files: u64) {
    for number in 0..files {
        let folder = dir.join((number / FILES_IN_ONE_FOLDER).to_string());
        if number.is_multiple_of(FILES_IN_ONE_FOLDER) {
            std::fs::create_dir(&folder).unwrap();
        }
        std::fs::write(folder.join(format!("file{number}.txt")), b"x").unwrap();
    }
}
