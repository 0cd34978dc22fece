//! How fast the whole road is: one large file, and many small ones, from the folder to `done`, through the real daemon to each kind of
//! sandbox host that discards. Next to each, in the same run, what the machine gives without any of it: the same bytes through one TCP
//! connection, and the digest a host wants alone.
//!
//! `cargo bench` takes 1 GiB and 5,000 files of 4 KiB; `FERRYD_BENCH_MIB` and `FERRYD_BENCH_FILES` change that. Reports ratios; asserts
//! nothing, since machines differ and drift.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement that cannot go on ends")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ferryd::job::State;
use ferryd::store::{Query, View};

const ROUNDS: usize = 5;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// CPU seconds and peak resident KiB of a process.
fn cost(pid: u32) -> (f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    ((ticks(11) + ticks(12)) / 100.0, peak.unwrap_or(0))
}

/// The same bytes through one connection to a reader that throws them away.
fn raw(path: &Path) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 256 * 1024];
        while stream.read(&mut buffer).unwrap() > 0 {}
    });
    let begun = Instant::now();
    let mut stream = TcpStream::connect(addr).unwrap();
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            bytes => stream.write_all(&buffer[..bytes]).unwrap(),
        }
    }
    drop(stream);
    reader.join().unwrap();
    begun.elapsed()
}

/// A sandbox that discards and a daemon that watches `dir/drop`, each a process of its own.
fn start(dir: &Path, kind: &str, more: &str) -> (Process, Process) {
    let program = env!("CARGO_BIN_EXE_ferryd");
    let mut sandbox = Command::new(program)
        .args(["sandbox", "--listen", "127.0.0.1:0", "--discard", "--dir"])
        .arg(dir.join("host"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(sandbox.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The tables come one after the other, with an empty line before each; the last ends with the listening.
    let header = format!("[host.{kind}]");
    let mut host: Vec<String> = vec![lines.by_ref().find(|line| *line == header).unwrap()];
    let keys = |kind: &str| {
        if kind == "koodrive" {
            6
        } else if kind == "cloudkp" || kind == "kie" {
            3
        } else {
            5
        }
    };
    host.extend(lines.by_ref().take(keys(kind)).filter(|line| !line.is_empty()));
    std::fs::create_dir_all(dir.join("drop")).unwrap();
    let text = format!(
        "[daemon]\nstate_dir = {:?}\nmax_uploads = 32\nmax_connections = 32\n[[watch]]\npath = {:?}\nsettle = \"0s\"\nto = [{kind:?}]\n{}\n{more}\n",
        dir.join("state"),
        dir.join("drop"),
        host.join("\n")
    );
    std::fs::write(dir.join("config.toml"), text).unwrap();
    std::fs::set_permissions(dir.join("config.toml"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let log = File::create(dir.join("log")).unwrap();
    let daemon = Command::new(program)
        .arg("--config")
        .arg(dir.join("config.toml"))
        .args(["run", "--log", "warn,ferryd::cli=info"])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    while !std::fs::read_to_string(dir.join("log")).unwrap().contains("watching") {
        std::thread::sleep(Duration::from_millis(5));
    }
    (Process(sandbox), Process(daemon))
}

fn wait_done(dir: &Path, jobs: u64) {
    let mut view = View::open(&dir.join("state")).unwrap().unwrap();
    loop {
        let snapshot = view.snapshot(&Query::default()).unwrap();
        if snapshot.totals.iter().any(|(state, count)| *state == State::Done && *count >= jobs) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A digest of the file, and nothing else.
fn digest_alone<D: sha2::Digest>(path: &Path) -> Duration {
    let begun = Instant::now();
    let (mut file, mut digest) = (File::open(path).unwrap(), D::new());
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            bytes => digest.update(&buffer[..bytes]),
        }
    }
    std::hint::black_box(digest.finalize());
    begun.elapsed()
}

/// What a file is held against: one TCP connection, or the digest its host wants.
type Yardstick = (&'static str, fn(&Path) -> Duration);

const RAW: Yardstick = ("raw", raw);
const SHA256: Yardstick = ("SHA-256 alone", digest_alone::<sha2::Sha256>);
const MD5: Yardstick = ("MD5 alone", digest_alone::<md5::Md5>);

fn large_file(kind: &str, more: &str, mebibytes: u64, yardsticks: &[Yardstick]) {
    let dir = tempfile::tempdir().unwrap();
    let (_sandbox, daemon) = start(dir.path(), kind, more);
    let staged = dir.path().join("staged");
    let mut walls = Vec::new();
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); yardsticks.len()];
    let before = cost(daemon.0.id()).0;
    for round in 0..ROUNDS {
        let mut file = File::create(&staged).unwrap();
        let block: Vec<u8> = (0..1024 * 1024).map(|index| (index % 251) as u8 ^ round as u8).collect();
        (0..mebibytes).for_each(|_| file.write_all(&block).unwrap());
        drop(file);
        let alone: Vec<Duration> = yardsticks.iter().map(|(_, measure)| measure(&staged)).collect();
        let begun = Instant::now();
        std::fs::rename(&staged, dir.path().join("drop").join(format!("large{round}"))).unwrap();
        wait_done(dir.path(), round as u64 + 1);
        let wall = begun.elapsed().as_secs_f64();
        std::fs::remove_file(dir.path().join("drop").join(format!("large{round}"))).unwrap();
        walls.push(wall);
        ratios.iter_mut().zip(alone).for_each(|(ratios, alone)| ratios.push(wall / alone.as_secs_f64()));
    }
    let (after, peak) = cost(daemon.0.id());
    let (wall, cpu) = (median(walls), (after - before) / ROUNDS as f64);
    let ratios: Vec<String> =
        yardsticks.iter().zip(ratios).map(|((name, _), ratios)| format!("{:.2} x {name}", median(ratios))).collect();
    println!(
        "{mebibytes} MiB to {kind} {more}: {wall:.2} s ({:.0} MiB/s), {}, {cpu:.2} CPU s, peak {} MiB resident",
        mebibytes as f64 / wall,
        ratios.join(", "),
        peak / 1024
    );
}

fn small_files(kind: &str, requests: &str, count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_sandbox, daemon) = start(dir.path(), kind, "max_uploads = 32");
    let staged = dir.path().join("staged");
    let mut rates = Vec::new();
    let before = cost(daemon.0.id()).0;
    for round in 0..ROUNDS as u64 {
        std::fs::create_dir(&staged).unwrap();
        (0..count).for_each(|number| std::fs::write(staged.join(format!("{number}")), [round as u8; 4096]).unwrap());
        let begun = Instant::now();
        std::fs::rename(&staged, dir.path().join("drop").join(format!("small{round}"))).unwrap();
        wait_done(dir.path(), count * (round + 1));
        rates.push(count as f64 / begun.elapsed().as_secs_f64());
    }
    let (after, peak) = cost(daemon.0.id());
    let cpu = (after - before) / (count * ROUNDS as u64) as f64 * 1e6;
    println!(
        "{count} files of 4 KiB to {kind}: {:.0} files/s ({requests} a file), {cpu:.0} CPU us a file, peak {} MiB resident",
        median(rates),
        peak / 1024
    );
}

fn main() {
    let mebibytes = number("FERRYD_BENCH_MIB", 1024);
    large_file("cloudkp", "", mebibytes, &[RAW]);
    large_file("kie", "", mebibytes, &[RAW]);
    large_file("uploadgig", "", mebibytes, &[RAW]);
    large_file("koodrive", "flash_upload = false", mebibytes, &[RAW, SHA256]);
    large_file("koodrive", "flash_upload = true", mebibytes, &[RAW, SHA256]);
    large_file("4shared", "", mebibytes, &[RAW, MD5]);
    let files = number("FERRYD_BENCH_FILES", 5000);
    small_files("cloudkp", "two requests", files);
    small_files("kie", "one request", files);
}
