//! Many small files at once, on the disk as it is and on one that answers late.

use std::time::Instant;

use crate::daemon::{Place, Setup, sandbox};
use crate::machine::{ROUNDS, cpu, median, number, resident, tell};
use crate::slow_disk::SlowDisk;

/// Files uploading at once: as many as a careful user would set, and as many as let one sync of the disk serve many.
const UPLOADS: [u64; 2] = [32, 64];
/// The kinds, each with the requests it takes a file.
const KINDS: [(&str, &str); 2] = [("cloudkp", "two requests"), ("kie", "one request")];

pub(crate) fn rows() {
    each(None, "15,000 files/s");
}

pub(crate) fn rows_on_a_slow_disk() {
    match SlowDisk::new(number("FERRYD_BENCH_SYNC_US", 5000)) {
        Ok(disk) => each(Some(&disk), "5,000 files/s with 5 ms"),
        Err(why) => println!("small files on a slow disk are not measured: {why}"),
    }
}

fn each(disk: Option<&SlowDisk>, goal: &str) {
    let count = number("FERRYD_BENCH_FILES", 5000);
    for (kind, requests) in KINDS {
        UPLOADS.into_iter().for_each(|uploads| row(kind, requests, count, uploads, disk, goal));
    }
}

fn row(kind: &'static str, requests: &str, count: u64, uploads: u64, disk: Option<&SlowDisk>, goal: &str) {
    let host = tempfile::tempdir().unwrap();
    let (_sandbox, addr) = sandbox(host.path());
    let lines = format!("max_uploads = {uploads}");
    let environment = disk.map(SlowDisk::environment).unwrap_or_default();
    let place = Place::new(&Setup { host_lines: &lines, uploads, environment, ..Setup::new(kind) }, addr);
    let (daemon, _) = place.start();
    let staged = place.dir.path().join("staged");
    let mut rates = Vec::new();
    let before = (cpu(daemon.id()), disk.map_or(0, SlowDisk::syncs));
    for round in 0..ROUNDS as u64 {
        std::fs::create_dir(&staged).unwrap();
        (0..count).for_each(|number| std::fs::write(staged.join(format!("{number}")), [round as u8; 4096]).unwrap());
        let begun = Instant::now();
        std::fs::rename(&staged, place.drop_dir().join(format!("small{round}"))).unwrap();
        place.wait_done(count * (round + 1));
        rates.push(count as f64 / begun.elapsed().as_secs_f64());
    }
    let all = (count * ROUNDS as u64) as f64;
    let cpu = (cpu(daemon.id()) - before.0) / all * 1e6;
    let (rate, (_, peak)) = (median(&rates), resident(daemon.id()));
    let synced = disk.map_or(String::new(), |disk| told(disk, disk.syncs() - before.1, all));
    let what = format!("{count} files of 4 KiB to {kind}, {uploads} at once ({requests} a file){synced}");
    tell(&format!("{what}: {rate:.0} files/s, {cpu:.0} CPU us a file, peak {peak:.0} MiB resident"), goal);
}

/// A disk that was never asked to sync was not slow either.
fn told(disk: &SlowDisk, syncs: u64, files: f64) -> String {
    let micros = disk.micros;
    match syncs {
        0 => format!(", {micros} us more a sync HAD NO EFFECT"),
        _ => format!(", {micros} us more a sync ({syncs} syncs, one for {:.1} files)", files / syncs as f64),
    }
}
