//! How fast the whole road is: one large file, and many small ones, from the folder to `done`, through the real daemon to a sandbox host
//! that discards. Next to each, in the same run, what the machine gives without any of it: the same bytes through one TCP connection.
//!
//! `cargo bench` takes 1 GiB and 5,000 files of 4 KiB; `FERRYD_BENCH_MIB` and `FERRYD_BENCH_FILES` change that. Reports ratios; asserts
//! nothing, since machines differ and drift.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement that cannot go on ends")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
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
fn start(dir: &Path) -> (Process, Process) {
    let program = env!("CARGO_BIN_EXE_ferryd");
    let mut sandbox = Command::new(program)
        .args(["sandbox", "--listen", "127.0.0.1:0", "--discard", "--dir"])
        .arg(dir.join("host"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(sandbox.stdout.take().unwrap()).lines().map(Result::unwrap);
    let host: Vec<String> = lines.by_ref().skip(2).take(4).collect();
    std::fs::create_dir_all(dir.join("drop")).unwrap();
    let text = format!(
        "[daemon]\nstate_dir = {:?}\nmax_uploads = 32\nmax_connections = 32\n[[watch]]\npath = {:?}\nsettle = \"0s\"\nto = [\"cloudkp\"]\n{}\n",
        dir.join("state"),
        dir.join("drop"),
        host.join("\n")
    );
    std::fs::write(dir.join("config.toml"), text).unwrap();
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

fn large_file(mebibytes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_sandbox, daemon) = start(dir.path());
    let staged = dir.path().join("staged");
    let (mut walls, mut ratios) = (Vec::new(), Vec::new());
    let before = cost(daemon.0.id()).0;
    for round in 0..ROUNDS {
        let mut file = File::create(&staged).unwrap();
        let block: Vec<u8> = (0..1024 * 1024).map(|index| (index % 251) as u8 ^ round as u8).collect();
        (0..mebibytes).for_each(|_| file.write_all(&block).unwrap());
        drop(file);
        let raw = raw(&staged);
        let begun = Instant::now();
        std::fs::rename(&staged, dir.path().join("drop").join(format!("large{round}"))).unwrap();
        wait_done(dir.path(), round as u64 + 1);
        let wall = begun.elapsed();
        std::fs::remove_file(dir.path().join("drop").join(format!("large{round}"))).unwrap();
        walls.push(wall.as_secs_f64());
        ratios.push(wall.as_secs_f64() / raw.as_secs_f64());
    }
    let (after, peak) = cost(daemon.0.id());
    let (wall, cpu) = (median(walls), (after - before) / ROUNDS as f64);
    println!(
        "{mebibytes} MiB to CloudKP: {wall:.2} s ({:.0} MiB/s), {:.2} x raw, {cpu:.2} CPU s, peak {} MiB resident",
        mebibytes as f64 / wall,
        median(ratios),
        peak / 1024
    );
}

fn small_files(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_sandbox, daemon) = start(dir.path());
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
        "{count} files of 4 KiB to CloudKP: {:.0} files/s (two requests a file), {cpu:.0} CPU us a file, peak {} MiB resident",
        median(rates),
        peak / 1024
    );
}

fn main() {
    large_file(number("FERRYD_BENCH_MIB", 1024));
    small_files(number("FERRYD_BENCH_FILES", 5000));
}
