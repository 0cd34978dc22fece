//! Services that are not ours: what they are sent is read back by a program that is not ours either.
//!
//! They come with Python's packages (`tests/clients/requirements.txt`), which `cargo test` must not fetch: without `FERRYD_PYTHON` every
//! test here is skipped, and says so.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{ReasonClass, State};
use sha2::Digest;

use crate::bench_top::{Bench, bytes};
use crate::hosts::stands;
use crate::skip::skipped;

pub(crate) const MIB: usize = 1024 * 1024;
pub(crate) const USER: &str = "somebody";
pub(crate) const PASSWORD: &str = "foreign-password";

/// The folder of the programs that come with the Python that tests use.
pub(crate) fn programs() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("FERRYD_PYTHON")?);
    python.parent().map(Path::to_owned)
}

/// A command that does not ask a proxy of this machine for its own loopback.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.stdin(Stdio::null());
    command
}

/// How often the daemon is killed while it sends.
pub(crate) const KILLS: u64 = 3;

/// A server on a folder.
pub(crate) struct Served {
    pub(crate) process: Child,
    pub(crate) address: String,
}

impl Served {
    /// `rclone serve s3` or `rclone serve webdav`, which says where it is.
    pub(crate) fn by_rclone(programs: &Path, words: &[&str], folder: &Path) -> Served {
        let mut command = command(&programs.join("rclone"));
        command.arg("serve").args(words).args(["--config", "", "--addr", "127.0.0.1:0"]).arg(folder);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let told =
            |line: String| Some(line.to_lowercase().split_once("server ")?.1.split_once("on [")?.1.split_once("/]")?.0.to_owned());
        let address = lines.find_map(told).unwrap();
        // What else it says has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Served { process, address }
    }

    /// wsgidav, which prints its port.
    fn by_wsgidav(programs: &Path, folder: &Path) -> Served {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/webdav_wsgidav.py");
        let mut command = command(&programs.join("python"));
        command.arg(program).arg(folder).args([USER, PASSWORD]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Served { process, address: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Files of sizes around the borders of parts of 5 MiB, and of odd names, one of them in `folder`.
pub(crate) fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let sizes = [0, 1, 65_536, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 10 * MIB, 10 * MIB + 1, 47 * MIB];
    let odd = ["a b.txt", "ünï—кот 猫.bin", "quo\"te'.x", "100% [a]{b}.zip", "-dash", "semi;colon=&+.t", "q?x=1#y~.z", "(2)*!$,@:"];
    let of_sizes = sizes.iter().map(|size| (format!("f{size}"), *size));
    let named = |name: &str| if name.starts_with("q?") { format!("{folder}{name}") } else { name.to_owned() };
    let of_names = (1000..).zip(odd).map(|(size, name)| (named(name), size));
    of_sizes.chain(of_names).map(|(name, size)| (name, bytes(u64::try_from(size).unwrap(), size))).collect()
}

#[test]
fn rclone_serving_webdav_has_every_file_once_and_equal_though_the_daemon_is_killed() {
    let Some(programs) = programs() else {
        return skipped("FERRYD_PYTHON names no Python with tests/clients/requirements.txt installed");
    };
    webdav(&programs, &files("sub folder/"), |folder| {
        Served::by_rclone(&programs, &["webdav", "--user", USER, "--pass", PASSWORD], folder)
    });
}

#[test]
fn wsgidav_has_every_file_once_and_equal_though_the_daemon_is_killed() {
    let Some(programs) = programs() else {
        return skipped("FERRYD_PYTHON names no Python with tests/clients/requirements.txt installed");
    };
    // It reads a name only up to these (docs/protocols/webdav.md, section 11).
    let files: Vec<(String, Vec<u8>)> = files("sub folder/").into_iter().filter(|(name, _)| !name.contains([';', '?'])).collect();
    webdav(&programs, &files, |folder| Served::by_wsgidav(&programs, folder));
}

fn webdav(programs: &Path, files: &[(String, Vec<u8>)], serve: impl FnOnce(&Path) -> Served) {
    let bench = Bench::new().to(&["webdav"]).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []");
    let folder = bench.dir.path().join("foreign");
    std::fs::create_dir_all(&folder).unwrap();
    let served = serve(&folder);
    let ours = ferryd_sandbox::config_of("webdav", bench.sandbox.addr()).unwrap();
    let theirs = format!(
        "[host.webdav]\nkind = \"webdav\"\nbase_url = \"{}\"\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\nbandwidth = \"40 MiB/s\"\n",
        served.address
    );
    let bench = bench.change(&ours, &theirs);
    for (name, content) in files {
        bench.put(name, content);
    }
    let done = || bench.jobs().iter().filter(|job| job.state == State::Done).count() as u64;
    for life in 1..=KILLS {
        let daemon = bench.start();
        bench.wait_for("some files", || (done() >= 4 * life).then_some(()));
        daemon.kill();
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(files.len());
    bench.stop(daemon);
    assert!(jobs.iter().all(|job| job.state == State::Done && !job.maybe_duplicate), "{jobs:#?}");
    assert!(jobs.iter().all(|job| job.stored_bytes.is_some() && job.renamed_to().is_none()), "{jobs:#?}");
    let mut expected: Vec<(String, String)> =
        files.iter().map(|(name, content)| (name.clone(), hex(&sha2::Sha256::digest(content)))).collect();
    expected.sort();
    assert_eq!(read_by_rclone(programs, &served.address), expected, "every file once, and nothing else");
}

/// Every file below an address, with the SHA-256 of its bytes.
fn read_by_rclone(programs: &Path, address: &str) -> Vec<(String, String)> {
    let rclone = || command(&programs.join("rclone"));
    let obscured = rclone().args(["obscure", PASSWORD]).output().unwrap().stdout;
    let mut read = rclone();
    read.args(["hashsum", "SHA256", "--config", "", "--download", ":webdav:", "--webdav-url", address, "--webdav-user", USER]);
    let output = read.args(["--webdav-pass", String::from_utf8(obscured).unwrap().trim()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut read: Vec<(String, String)> =
        text.lines().filter_map(|line| line.split_once("  ")).map(|(digest, name)| (name.to_owned(), digest.to_owned())).collect();
    read.sort();
    read
}

#[test]
fn a_server_that_misreads_a_name_is_not_believed_to_have_the_file() {
    let Some(programs) = programs() else {
        return skipped("FERRYD_PYTHON names no Python with tests/clients/requirements.txt installed");
    };
    let bench = Bench::new().to(&["webdav"]).watch("settle = \"0s\"\nafter = \"delete\"");
    let folder = bench.dir.path().join("foreign");
    std::fs::create_dir_all(&folder).unwrap();
    let served = Served::by_wsgidav(&programs, &folder);
    let ours = ferryd_sandbox::config_of("webdav", bench.sandbox.addr()).unwrap();
    let theirs = format!(
        "[host.webdav]\nkind = \"webdav\"\nbase_url = \"{}\"\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\n",
        served.address
    );
    let bench = bench.change(&ours, &theirs);
    let path = bench.put("semi;colon", b"content");
    let daemon = bench.start();
    let job = bench.wait_state(State::Waiting);
    bench.stop(daemon);
    assert!(stands(&job, State::Waiting, ReasonClass::Host(Class::RequestRefused), "another name than `semi;colon`"), "{job:#?}");
    assert!(path.exists(), "the only copy under its name");
}

/// `@tus/server` with a folder.
struct Tus {
    process: Child,
    port: u16,
}

impl Tus {
    fn start(modules: &Path, folder: &Path) -> Tus {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/tus_server.mjs");
        let mut command = command(Path::new("node"));
        command.arg(script).arg(modules).arg(folder);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.parse().ok()).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Tus { process, port }
    }
}

impl Drop for Tus {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The uploads in the folder of `@tus/file-store`: their names, how long they are to be, and what is there of them.
fn uploads(folder: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let told = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let read = |path: PathBuf| {
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let name = told["metadata"]["filename"].as_str()?.to_owned();
        Some((name, told["size"].as_u64()?, std::fs::read(path.with_extension("")).unwrap_or_default()))
    };
    told.filter_map(read).collect()
}

#[test]
fn a_foreign_tus_server_has_every_file_once_and_equal_though_the_daemon_is_killed() {
    let Some(modules) = std::env::var_os("FERRYD_NODE_MODULES").map(PathBuf::from) else {
        return skipped("FERRYD_NODE_MODULES names no folder with what tests/clients/package.json wants");
    };
    let bench = Bench::new().to(&["tus"]).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []");
    let folder = bench.dir.path().join("foreign");
    std::fs::create_dir_all(&folder).unwrap();
    let served = Tus::start(&modules, &folder);
    let ours = ferryd_sandbox::config_of("tus", bench.sandbox.addr()).unwrap();
    let theirs = format!(
        "[host.tus]\nkind = \"tus\"\nendpoint = \"http://127.0.0.1:{}/files\"\nchunk = \"5 MiB\"\nbandwidth = \"40 MiB/s\"\n",
        served.port
    );
    let bench = bench.change(&ours, &theirs);
    let files = files("");
    for (name, content) in &files {
        bench.put(name, content);
    }
    let there =
        || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().metadata().map_or(0, |file| file.len())).sum::<u64>();
    // Each life ends once it has brought something, whatever it is about then.
    for life in 1..=KILLS {
        let daemon = bench.start();
        bench.wait_for("some bytes", || (there() >= life * 20 * MIB as u64).then_some(()));
        daemon.kill();
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(files.len());
    bench.stop(daemon);
    assert!(jobs.iter().all(|job| job.state == State::Done && (job.bytes == 0 || !job.maybe_duplicate)), "{jobs:#?}");
    let uploads = uploads(&folder);
    for (name, content) in &files {
        let of_it = || uploads.iter().filter(|(known, ..)| known == name);
        let whole: Vec<_> = of_it().filter(|(_, bytes, held)| *bytes == held.len() as u64).collect();
        assert!(whole.iter().all(|(.., held)| held == content), "{name}: the bytes differ");
        assert!(whole.len() == 1 || (content.is_empty() && !whole.is_empty()), "{name}: {} times", whole.len());
        // A daemon that dies after an upload was created, and before its address is on record, cannot know of it.
        assert!(of_it().all(|(_, bytes, held)| held.is_empty() || *bytes == held.len() as u64), "{name}: bytes that nobody wants");
    }
    assert!(uploads.len() as u64 <= files.len() as u64 + KILLS * 16, "{} uploads", uploads.len());
}
