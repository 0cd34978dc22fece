//! Stores that are not ours: what they are sent is read back by a client that is not ours either.
//!
//! `rclone serve s3` comes with Python's packages. s3s-fs and Garage are programs that somebody has built: `FERRYD_S3S_FS` and
//! `FERRYD_GARAGE` name them, and without that the tests of theirs are skipped, and say so (docs/SPEED.md has how to get them).

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ferryd::internals::job::State;
use sha2::Digest;

use crate::bench_top::{Bench, bytes};
use crate::cutting::Cutting;
use crate::foreign::{KILLS, MIB, Served, command, files, hex, programs};
use crate::skip::skipped;

/// In the forms that Garage wants.
const KEY_ID: &str = "GK0f0e1d0e19700a11da7e0001";
const SECRET: &str = "f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1";
const BUCKET: &str = "box";
const NO_PYTHON: &str = "FERRYD_PYTHON names no Python with tests/clients/requirements.txt installed";
/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store to be started.
#[derive(Clone, Copy)]
enum Store {
    Rclone,
    S3sFs,
    Garage,
}

impl Store {
    /// The program, or why there is none.
    fn program(self, programs: &Path) -> Result<PathBuf, String> {
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from).ok_or(format!("{variable} names no program"));
        match self {
            Store::Rclone => Ok(programs.join("rclone")),
            Store::S3sFs => named("FERRYD_S3S_FS"),
            Store::Garage => named("FERRYD_GARAGE"),
        }
    }

    /// s3s-fs stores what goes with an object after its bytes, and a daemon that dies in between leaves an object of which nobody can
    /// tell whose it is; ferryd then asks a person, unless it may store the same bytes once more.
    fn host_lines(self) -> &'static str {
        match self {
            Store::S3sFs => "on_existing = \"overwrite\"\n",
            _ => "",
        }
    }

    fn start(self, program: &Path, programs: &Path, folder: &Path) -> Served {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        match self {
            Store::Rclone => Served::by_rclone(programs, &["s3", "--auth-key", &format!("{KEY_ID},{SECRET}")], folder),
            Store::S3sFs => {
                let port = free_port();
                let mut command = command(program);
                command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--access-key", KEY_ID, "--secret-key", SECRET]);
                listening(command.arg(folder), port)
            }
            Store::Garage => {
                let (port, own) = (free_port(), free_port());
                let settings = folder.join("garage.toml");
                let text = format!(
                    "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
                     rpc_bind_addr = \"127.0.0.1:{own}\"\nrpc_public_addr = \"127.0.0.1:{own}\"\nrpc_secret = \"{SECRET}\"\n\
                     [s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{port}\"\n",
                    folder.display()
                );
                std::fs::write(&settings, text).unwrap();
                let mut command = command(program);
                command.arg("-c").arg(settings).args(["server", "--single-node", "--default-bucket"]);
                command.env("GARAGE_DEFAULT_ACCESS_KEY", KEY_ID).env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
                listening(command.env("GARAGE_DEFAULT_BUCKET", BUCKET).env("RUST_LOG", "warn"), port)
            }
        }
    }

    /// The uploads that are open: their number as a client was told. s3s-fs lists none, so nobody can give up what was opened in the
    /// moment of a kill, and forgets an upload before its completion is through, so that nobody can give up its parts then: those that
    /// it knows and that have parts.
    fn left_open(self, told: &str, folder: &Path) -> Vec<String> {
        let Store::S3sFs = self else { return Some(told.to_owned()).filter(|told| told != "0").into_iter().collect() };
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let upload = |name: &str| Some(name.strip_prefix(".upload_id-")?.split_once(".part-")?.0.to_owned());
        names.filter_map(|name| upload(&name)).filter(|upload| folder.join(format!(".upload-{upload}.json")).exists()).collect()
    }
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that was told its port, from when it listens.
fn listening(command: &mut Command, port: u16) -> Served {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(process.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE, "the store does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Served { process, address: format!("http://{address}") }
}

/// A daemon that sends to this address.
fn bench_to(store: Store, address: impl FnOnce(&Bench) -> String) -> Bench {
    let bench = Bench::new().to(&["s3"]).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []");
    let ours = ferryd_sandbox::config_of("s3", bench.sandbox.addr()).unwrap();
    let theirs = format!(
        "[host.s3]\nkind = \"s3\"\nendpoint = \"{}\"\nbucket = \"{BUCKET}\"\naccess_key_id = \"{KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n\
         part_size = \"5 MiB\"\nsingle_put_max = \"5 MiB\"\nbandwidth = \"40 MiB/s\"\nonly_writer = true\n{}",
        address(&bench),
        store.host_lines()
    );
    bench.change(&ours, &theirs)
}

/// What the store has: every file once and equal, nothing else, and nothing open.
fn has_them_all(store: Store, files: &[(String, Vec<u8>)], programs: &Path, folder: &Path, address: &str) {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/s3_digests.py");
    let mut read = command(&programs.join("python"));
    read.arg(reader).args([address, BUCKET, KEY_ID, SECRET]).args(files.iter().map(|(name, _)| name));
    let output = read.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<&str> = said.lines().collect();
    let (open, objects) = (lines.pop().unwrap_or_default(), lines.pop().unwrap_or_default());
    let expected: Vec<String> = files.iter().map(|(_, content)| hex(&sha2::Sha256::digest(content))).collect();
    assert_eq!(lines, expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        (objects, store.left_open(open, folder)),
        (files.len().to_string().as_str(), Vec::new()),
        "objects, and uploads left open"
    );
}

fn though_the_daemon_is_killed(store: Store) {
    let Some(programs) = programs() else { return skipped(NO_PYTHON) };
    let program = match store.program(&programs) {
        Ok(program) => program,
        Err(why) => return skipped(&why),
    };
    let mut served = None;
    let bench = bench_to(store, |bench| {
        let served = served.insert(store.start(&program, &programs, &bench.dir.path().join("foreign")));
        served.address.clone()
    });
    let files = files("sub folder/");
    for (name, content) in &files {
        bench.put(name, content);
    }
    // Each life ends once it has brought something, whatever it is about then.
    for life in 1..=KILLS {
        let daemon = bench.start();
        let acked = || bench.jobs().iter().map(|job| job.parts_acked).sum::<u64>();
        bench.wait_for("some parts", || (acked() >= 6 * life).then_some(()));
        daemon.kill();
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(files.len());
    bench.stop(daemon);
    assert!(jobs.iter().all(|job| job.state == State::Done && !job.maybe_duplicate), "{jobs:#?}");
    let address = served.as_ref().unwrap().address.clone();
    has_them_all(store, &files, &programs, &bench.dir.path().join("foreign"), &address);
}

fn though_replies_are_lost(store: Store) {
    let Some(programs) = programs() else { return skipped(NO_PYTHON) };
    let program = match store.program(&programs) {
        Ok(program) => program,
        Err(why) => return skipped(&why),
    };
    // Ever fewer, so that it ends; of each kind of request some.
    let squares: fn(u64) -> bool = |number| number.isqrt().pow(2) == number;
    let triangles: fn(u64) -> bool = |number| (8 * number + 1).isqrt().pow(2) == 8 * number + 1;
    for is_cut in [squares, triangles] {
        let mut served = None;
        let mut cutting = None;
        let bench = bench_to(store, |bench| {
            let served = served.insert(store.start(&program, &programs, &bench.dir.path().join("foreign")));
            let server = served.address.trim_start_matches("http://").parse().unwrap();
            let mut numbers = 1..;
            let is_cut = move |_: &str| numbers.next().is_some_and(is_cut);
            format!("http://{}", cutting.insert(Cutting::before(server, is_cut)).address)
        });
        let sizes = [0, 1, 5 * MIB, 5 * MIB + 1, 11 * MIB];
        let files: Vec<(String, Vec<u8>)> =
            sizes.iter().map(|size| (format!("f{size}"), bytes(u64::try_from(*size).unwrap(), *size))).collect();
        for (name, content) in &files {
            bench.put(name, content);
        }
        let daemon = bench.start();
        let jobs = bench.wait_done(files.len());
        bench.stop(daemon);
        assert!(jobs.iter().all(|job| job.state == State::Done && !job.maybe_duplicate), "{jobs:#?}");
        assert!(cutting.is_some_and(|cutting| cutting.kept() >= 3), "no reply was lost");
        let address = served.as_ref().unwrap().address.clone();
        has_them_all(store, &files, &programs, &bench.dir.path().join("foreign"), &address);
    }
}

#[test]
fn rclone_has_every_file_once_and_equal_though_the_daemon_is_killed() {
    though_the_daemon_is_killed(Store::Rclone);
}

#[test]
fn s3s_fs_has_every_file_once_and_equal_though_the_daemon_is_killed() {
    though_the_daemon_is_killed(Store::S3sFs);
}

#[test]
fn garage_has_every_file_once_and_equal_though_the_daemon_is_killed() {
    though_the_daemon_is_killed(Store::Garage);
}

#[test]
fn rclone_has_every_file_once_and_equal_though_replies_are_lost() {
    though_replies_are_lost(Store::Rclone);
}

#[test]
fn s3s_fs_has_every_file_once_and_equal_though_replies_are_lost() {
    though_replies_are_lost(Store::S3sFs);
}

#[test]
fn garage_has_every_file_once_and_equal_though_replies_are_lost() {
    though_replies_are_lost(Store::Garage);
}
