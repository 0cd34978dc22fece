//! What the machine gives without the daemon, what it says of a process, and how figures are told.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::listener;

/// Rounds of which the median is told.
pub(crate) const ROUNDS: usize = 5;
pub(crate) const MIB: u64 = 1024 * 1024;

/// A size or a count that the environment may set.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    share(values, 0.5)
}

/// The value below which this share of all lies.
pub(crate) fn share(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * share) as usize).min(values.len() - 1)]
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// One row, next to what is wanted of it.
pub(crate) fn tell(row: &str, goal: &str) {
    println!("{row} | goal: {goal}");
    std::io::stdout().flush().ok();
}

/// How much else is going on, since that decides what the figures are worth.
pub(crate) fn state() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!("# {processors} processors, load average {load}")
}

/// CPU seconds of a process.
pub(crate) fn cpu(pid: u32) -> f64 {
    ticks(&format!("/proc/{pid}/stat"), [11, 12])
}

/// CPU seconds of all processes that this one has started and waited for.
pub(crate) fn cpu_of_children() -> f64 {
    ticks("/proc/self/stat", [13, 14])
}

fn ticks(file: &str, fields: [usize; 2]) -> f64 {
    let stat = std::fs::read_to_string(file).unwrap_or_default();
    let told: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let of = |index: usize| told.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    fields.map(of).iter().sum::<f64>() / 100.0
}

/// Resident memory of a process, in MiB: now, and at its peak.
pub(crate) fn resident(pid: u32) -> (f64, f64) {
    (status(pid, "VmRSS:"), status(pid, "VmHWM:"))
}

/// What of it is a process's own and not pages of the program's file, which the kernel can drop and read again: in MiB.
pub(crate) fn own(pid: u32) -> f64 {
    status(pid, "RssAnon:")
}

fn status(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let number = status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next());
    number.and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// How often each thread of a process has gone to sleep of itself, by the number and the name of the thread: it woke up as often.
pub(crate) fn sleeps(pid: u32) -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let thread = |path: &Path| {
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let field = |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
        let name = format!("{} {}", path.file_name()?.to_string_lossy(), field("Name:")?);
        Some((name, field("voluntary_ctxt_switches:")?.parse().ok()?))
    };
    tasks.flatten().filter_map(|task| thread(&task.path())).collect()
}

/// What a row is held against: the same bytes by other means.
pub(crate) type Yardstick = (&'static str, fn(&Path) -> Duration);

pub(crate) const RAW: Yardstick = ("raw", raw);
pub(crate) const SHA256: Yardstick = ("SHA-256 alone", digest_alone::<sha2::Sha256>);
pub(crate) const MD5: Yardstick = ("MD5 alone", digest_alone::<md5::Md5>);

/// `curl -T`, where there is curl.
pub(crate) fn curl_if_any() -> Option<Yardstick> {
    let there = Command::new("curl").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    there.is_ok_and(|status| status.success()).then_some(("curl", curl))
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
    each_piece(path, |piece| stream.write_all(piece).unwrap());
    drop(stream);
    reader.join().unwrap();
    begun.elapsed()
}

/// The same file by `curl -T`, to a reader that throws it away.
fn curl(path: &Path) -> Duration {
    let addr = listener::serve(b"", |_, _| {});
    let begun = Instant::now();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "-H", "Expect:", "-o", "/dev/null", "-T"]).arg(path).arg(format!("http://{addr}/"));
    assert!(curl.status().unwrap().success(), "curl has failed");
    begun.elapsed()
}

/// A digest of the file, and nothing else.
fn digest_alone<D: sha2::Digest>(path: &Path) -> Duration {
    let begun = Instant::now();
    let mut digest = D::new();
    each_piece(path, |piece| digest.update(piece));
    std::hint::black_box(digest.finalize());
    begun.elapsed()
}

fn each_piece(path: &Path, mut work: impl FnMut(&[u8])) {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return,
            bytes => work(&buffer[..bytes]),
        }
    }
}

/// Milliseconds of so many appends of 4 KiB in `dir`, each on the disk.
pub(crate) fn synced_appends(dir: &Path, count: usize) -> Vec<f64> {
    let mut file = File::create(dir.join("appended")).unwrap();
    let append = |_| {
        let begun = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        milliseconds(begun.elapsed())
    };
    (0..count).map(append).collect()
}

/// Every file below `dir` looked at, and nothing else.
pub(crate) fn walk(dir: &Path) -> (u64, Duration) {
    let begun = Instant::now();
    let (mut files, mut left) = (0, vec![dir.to_owned()]);
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.metadata().unwrap() {
                metadata if metadata.is_dir() => left.push(entry.path()),
                _ => files += 1,
            }
        }
    }
    (files, begun.elapsed())
}
