//! One large file at a time to each kind of host, and several at once.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::{Place, Setup, sandbox};
use crate::machine::{MD5, MIB, RAW, ROUNDS, SHA256, Yardstick, cpu, curl_if_any, median, number, resident, tell};

const PLAIN: &str = "1.5 x curl, 20 MiB resident";
const DIGEST: &str = "1.2 x SHA-256 alone";

pub(crate) fn rows() {
    let mebibytes = number("FERRYD_BENCH_MIB", 1024);
    let plain: Vec<Yardstick> = [RAW].into_iter().chain(curl_if_any()).collect();
    let and = |digest: Yardstick| [plain.as_slice(), &[digest]].concat();
    for kind in ferryd_sandbox::kinds() {
        match kind {
            "cloudkp" => row(kind, "", mebibytes, &plain, "3 x curl"),
            "uploadgig" => row(kind, "", mebibytes, &plain, "none"),
            "koodrive" => {
                row(kind, "flash_upload = false", mebibytes, &and(SHA256), DIGEST);
                row(kind, "flash_upload = true", mebibytes, &and(SHA256), "none, since the digest goes before the first byte");
            }
            "4shared" => row(kind, "", mebibytes, &and(MD5), PLAIN),
            _ => row(kind, "", mebibytes, &plain, PLAIN),
        }
    }
}

fn row(kind: &'static str, host_lines: &str, mebibytes: u64, yardsticks: &[Yardstick], goal: &str) {
    let host = tempfile::tempdir().unwrap();
    let (_sandbox, addr) = sandbox(host.path());
    let place = Place::new(&Setup { host_lines, ..Setup::new(kind) }, addr);
    let (daemon, _) = place.start();
    let staged = place.dir.path().join("staged");
    let mut walls = Vec::new();
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); yardsticks.len()];
    let before = cpu(daemon.id());
    for round in 0..ROUNDS {
        write(&staged, mebibytes, round as u8);
        let alone: Vec<Duration> = yardsticks.iter().map(|(_, measure)| measure(&staged)).collect();
        let begun = Instant::now();
        let path = place.drop_dir().join(format!("large{round}"));
        std::fs::rename(&staged, &path).unwrap();
        place.wait_done(round as u64 + 1);
        let wall = begun.elapsed().as_secs_f64();
        std::fs::remove_file(path).unwrap();
        walls.push(wall);
        ratios.iter_mut().zip(alone).for_each(|(ratios, alone)| ratios.push(wall / alone.as_secs_f64()));
    }
    let cpu = (cpu(daemon.id()) - before) / ROUNDS as f64;
    let (wall, (_, peak)) = (median(&walls), resident(daemon.id()));
    let ratios = yardsticks.iter().zip(&ratios).map(|((name, _), ratios)| format!("{:.2} x {name}", median(ratios)));
    let ratios = ratios.collect::<Vec<_>>().join(", ");
    let rate = mebibytes as f64 / wall;
    let what = format!("{mebibytes} MiB to {kind} {host_lines}");
    tell(&format!("{}: {wall:.2} s ({rate:.0} MiB/s), {ratios}, {cpu:.2} CPU s, peak {peak:.0} MiB resident", what.trim()), goal);
}

/// Sixteen files at once over sixteen connections: what that takes of memory.
pub(crate) fn busy() {
    const FILES: u64 = 16;
    let mebibytes = (number("FERRYD_BENCH_MIB", 1024) / FILES).max(1);
    for kind in ["cloudkp", "kie", "koodrive"] {
        let host = tempfile::tempdir().unwrap();
        let (_sandbox, addr) = sandbox(host.path());
        let place = Place::new(&Setup { uploads: FILES, ..Setup::new(kind) }, addr);
        let staged = place.dir.path().join("staged");
        std::fs::create_dir(&staged).unwrap();
        (0..FILES).for_each(|number| write(&staged.join(number.to_string()), mebibytes, number as u8));
        let (daemon, _) = place.start();
        let begun = Instant::now();
        std::fs::rename(&staged, place.drop_dir().join("busy")).unwrap();
        place.wait_done(FILES);
        let (wall, (_, peak)) = (begun.elapsed().as_secs_f64(), resident(daemon.id()));
        let what = format!("{FILES} files of {mebibytes} MiB at once to {kind}, {FILES} connections");
        tell(&format!("{what}: {wall:.2} s, peak {peak:.1} MiB resident"), "48 MiB");
    }
}

/// A file of so many MiB that is another for each `seed`.
pub(crate) fn write(path: &Path, mebibytes: u64, seed: u8) {
    let mut file = File::create(path).unwrap();
    let block: Vec<u8> = (0..MIB).map(|index| (index % 251) as u8 ^ seed).collect();
    (0..mebibytes).for_each(|_| file.write_all(&block).unwrap());
}
