//! Servers and clients that are not ours: SIGKILL at half of a large file, and a new start, by a proxy that counts; and how fast the
//! clients are to a sandbox that keeps nothing. Each program is named by a variable of the environment, and what is not named is left
//! out with a line that says so.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ferryd_sandbox::s3::Rules;

use crate::counting::Counting;
use crate::daemon::{Place, Setup, sandbox};
use crate::large;
use crate::machine::{MIB, ROUNDS, cpu, cpu_of_children, median, number, tell};

/// In the forms that Garage wants.
const KEY_ID: &str = "GK0f0e1d0e19700a11da7e0001";
const SECRET: &str = "f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1f0e1d0e1";
const BUCKET: &str = "box";
const REGION: &str = "us-east-1";
/// How long a server may take to listen, and a client to send a file.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_micros(500);
/// How far the kills are apart, so that they do not all come at the border of a part.
const APART: u64 = 1_782_579;

/// A process that ends with its row, and all that it has started: some clients are a script that starts a program.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.process_group(0).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let group = rustix::process::Pid::from_child(&self.0);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
            self.0.wait().ok();
        }
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        println!("# {variable} names no program, and what needs it is left out");
    }
    program
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    S3sFs,
    Garage,
    Rustus,
}

impl Server {
    const ALL: [(Server, &'static str, &'static str); 3] = [
        (Server::S3sFs, "s3s-fs", "FERRYD_S3S_FS"),
        (Server::Garage, "garage", "FERRYD_GARAGE"),
        (Server::Rustus, "rustus", "FERRYD_RUSTUS"),
    ];

    fn start(self, program: &Path, folder: &Path) -> (Running, SocketAddr) {
        let (addr, own) = (free(), free());
        let port = addr.port().to_string();
        let mut command = Command::new(program);
        match self {
            Server::S3sFs => {
                std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
                let words = ["--host", "127.0.0.1", "--port", &port, "--access-key", KEY_ID, "--secret-key", SECRET];
                command.args(words).arg(folder);
            }
            Server::Garage => {
                let settings = folder.join("garage.toml");
                let text = format!(
                    "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
                     rpc_bind_addr = \"{own}\"\nrpc_public_addr = \"{own}\"\nrpc_secret = \"{SECRET}\"\n\
                     [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"{addr}\"\n",
                    folder.display()
                );
                std::fs::write(&settings, text).unwrap();
                command.arg("-c").arg(settings).args(["server", "--single-node", "--default-bucket"]);
                command.env("GARAGE_DEFAULT_ACCESS_KEY", KEY_ID).env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
                command.env("GARAGE_DEFAULT_BUCKET", BUCKET).env("RUST_LOG", "error");
            }
            Server::Rustus => {
                let words = ["--host", "127.0.0.1", "--port", &port, "--url", "/files", "--log-level", "ERROR"];
                command.args(words).args(["--max-body-size", "1099511627776"]);
                command.arg("--data-dir").arg(folder).arg("--info-dir").arg(folder);
            }
        }
        let running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        let begun = Instant::now();
        while TcpStream::connect(addr).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        (running, addr)
    }

    /// Uploads without an end: of S3 as a client is told or by the files, of tus by what each upload says of itself.
    fn left_open(self, addr: SocketAddr, folder: &Path) -> Option<usize> {
        match self {
            Server::S3sFs => Some(count(folder, |path| name(path).starts_with(".upload-"))),
            Server::Rustus => Some(count(folder, is_unfinished)),
            Server::Garage => {
                let mut aws = Command::new(std::env::var_os("FERRYD_AWS")?);
                aws.args(["s3api", "list-multipart-uploads", "--bucket", BUCKET, "--query", "length(Uploads || `[]`)"]);
                String::from_utf8_lossy(&environment(&mut aws, &Target::at(addr)).stdout(Stdio::piped()).output().ok()?.stdout)
                    .trim()
                    .parse()
                    .ok()
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn count(folder: &Path, is_one: impl Fn(&Path) -> bool) -> usize {
    std::fs::read_dir(folder).unwrap().flatten().filter(|entry| is_one(&entry.path())).count()
}

fn is_unfinished(path: &Path) -> bool {
    let told = std::fs::read(path).ok().filter(|_| path.extension().is_some_and(|end| end == "info"));
    let told: Option<serde_json::Value> = told.and_then(|told| serde_json::from_slice(&told).ok());
    told.is_some_and(|told| told["offset"].as_u64() < told["length"].as_u64())
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A bucket, as clients are told of it.
struct Target {
    url: String,
    bucket: String,
    region: String,
    key_id: String,
    secret: String,
}

impl Target {
    fn at(addr: SocketAddr) -> Target {
        let [bucket, region, key_id, secret] = [BUCKET, REGION, KEY_ID, SECRET].map(str::to_owned);
        Target { url: format!("http://{addr}"), bucket, region, key_id, secret }
    }

    /// The sandbox host's.
    fn of_sandbox(addr: SocketAddr) -> Target {
        let Rules { access_key_id, secret_access_key, region, bucket, .. } = Rules::default();
        Target { url: format!("http://{addr}/s3"), bucket, region, key_id: access_key_id, secret: secret_access_key }
    }
}

/// What clients of S3 read of the environment, and nothing of this machine's own.
fn environment<'c>(command: &'c mut Command, target: &Target) -> &'c mut Command {
    let Target { url, region, key_id, secret, .. } = target;
    for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let (own, nothing) = (std::env::temp_dir(), "ferryd-bench-has-no-such-file");
    command.env("AWS_CONFIG_FILE", own.join(nothing)).env("AWS_SHARED_CREDENTIALS_FILE", own.join(nothing));
    command.env("AWS_ACCESS_KEY_ID", key_id).env("AWS_SECRET_ACCESS_KEY", secret).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_DEFAULT_REGION", region).env("AWS_REGION", region).env("AWS_ENDPOINT_URL", url).env("S3_ENDPOINT_URL", url);
    let of_rclone = [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", url),
        ("ACCESS_KEY_ID", key_id),
        ("SECRET_ACCESS_KEY", secret),
        ("REGION", region),
        ("NO_CHECK_BUCKET", "true"),
        ("FORCE_PATH_STYLE", "true"),
        // A sandbox that keeps nothing has nothing to look at.
        ("NO_HEAD", "true"),
    ];
    // Its other way of sending parts looks for the object at the end, whatever is set; this one sends as many together.
    command.env("RCLONE_CONFIG", "").env("RCLONE_MULTI_THREAD_CUTOFF", "1P");
    for (key, value) in of_rclone {
        command.env(format!("RCLONE_CONFIG_S3_{key}"), value);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// A client: its name, the variable that names its program, and its words for one file and for all files of a folder, where it can
/// send these.
struct Client {
    name: &'static str,
    variable: &'static str,
    file: &'static [&'static str],
    folder: &'static [&'static str],
}

const CLIENTS: [Client; 3] = [
    Client {
        name: "rclone",
        variable: "FERRYD_RCLONE",
        file: &["copyto", "{}", "s3:{bucket}/large"],
        folder: &["copy", "--no-traverse", "--transfers", "32", "--checkers", "32", "{}", "s3:{bucket}/small"],
    },
    Client {
        name: "s5cmd",
        variable: "FERRYD_S5CMD",
        file: &["cp", "{}", "s3://{bucket}/large"],
        folder: &["cp", "{}/", "s3://{bucket}/small/"],
    },
    Client {
        name: "aws-cli",
        variable: "FERRYD_AWS",
        file: &["s3", "cp", "--only-show-errors", "{}", "s3://{bucket}/large"],
        folder: &["s3", "cp", "--only-show-errors", "--recursive", "{}", "s3://{bucket}/small/"],
    },
];

/// The client that the makers of S3 recommend for speed, for one file: it has no command of its own.
const COMMON_RUNTIME: Client = Client {
    name: "AWS common runtime",
    variable: "FERRYD_AWSCRT",
    file: &[concat!(env!("CARGO_MANIFEST_DIR"), "/benches/road/crt.py"), "{}", "{bucket}/large"],
    folder: &[],
};

fn client(program: &Path, words: &[&str], what: &Path, target: &Target) -> Running {
    let filled = |word: &&str| word.replace("{bucket}", &target.bucket).replace("{}", what.to_str().unwrap());
    let mut command = Command::new(program);
    Running::start(environment(command.args(words.iter().map(filled)), target))
}

/// Sends a file through a proxy with a kill after so many bytes, and again. Answers how many uploads were open after the kill, which it
/// is handed a way to ask.
type Send<'a> = dyn Fn(&Counting, u64, &dyn Fn() -> Option<usize>) -> Option<usize> + 'a;

/// What became of one kill.
struct Seen {
    twice: f64,
    after_the_kill: Option<usize>,
    in_the_end: Option<usize>,
}

pub(crate) fn rows() {
    let mebibytes = number("FERRYD_BENCH_KILL_MIB", 1024);
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("file");
    for (server, server_name, variable) in Server::ALL {
        let Some(program) = named(variable) else { continue };
        let kill = |send: &Send<'_>| {
            let one = |round| one(server, &program, mebibytes, round, send);
            (0..number("FERRYD_BENCH_KILLS", 5)).map(one).collect::<Vec<Seen>>()
        };
        let by_us = kill(&|proxy, at, open| by_ferryd(server, proxy, mebibytes, at, open));
        report(server_name, "ferryd", mebibytes, &by_us);
        let others = CLIENTS.iter().filter(|_| server != Server::Rustus);
        for client in others {
            let Some(client_program) = named(client.variable) else { continue };
            large::write(&path, mebibytes, 3);
            let by_them = kill(&|proxy, at, open| by_another(&client_program, client.file, &path, proxy, at, open));
            report(server_name, client.name, mebibytes, &by_them);
        }
    }
}

fn report(server: &str, client: &str, mebibytes: u64, seen: &[Seen]) {
    let twice: Vec<f64> = seen.iter().map(|seen| seen.twice).collect();
    let each: Vec<String> = twice.iter().map(|twice| format!("{twice:.1}")).collect();
    let sum = |count: fn(&Seen) -> Option<usize>| {
        seen.iter().map(count).sum::<Option<usize>>().map_or("unknown".to_owned(), |sum| sum.to_string())
    };
    let row = format!(
        "SIGKILL at half of {mebibytes} MiB to {server} by {client}, then the same again: {:.1} MiB sent twice ({}); uploads open after {} kills: {}, in the end: {}",
        median(&twice),
        each.join(", "),
        seen.len(),
        sum(|seen| seen.after_the_kill),
        sum(|seen| seen.in_the_end),
    );
    tell(&row, "the parts in flight, nothing left open");
}

fn one(server: Server, program: &Path, mebibytes: u64, round: u64, send: &Send) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let (_running, addr) = server.start(program, folder.path());
    let proxy = Counting::before(addr, number("FERRYD_BENCH_RATE_MIB", 300) * MIB);
    let open = || server.left_open(addr, folder.path());
    let after_the_kill = send(&proxy, mebibytes * MIB / 2 + (round + 1) * APART, &open);
    let twice = (proxy.bytes() as f64 - (mebibytes * MIB) as f64) / MIB as f64;
    Seen { twice, after_the_kill, in_the_end: open() }
}

fn wait_for(proxy: &Counting, bytes: u64) {
    let begun = Instant::now();
    while proxy.bytes() < bytes {
        assert!(begun.elapsed() < PATIENCE, "nothing is sent");
        std::thread::sleep(LOOK);
    }
}

fn by_ferryd(server: Server, proxy: &Counting, mebibytes: u64, at: u64, open: &dyn Fn() -> Option<usize>) -> Option<usize> {
    let addr = proxy.address;
    let (kind, table) = match server {
        Server::Rustus => ("tus", format!("[host.tus]\nkind = \"tus\"\nendpoint = \"http://{addr}/files/\"\n")),
        _ => (
            "s3",
            format!(
                "[host.s3]\nkind = \"s3\"\nendpoint = \"http://{addr}\"\nregion = \"{REGION}\"\nbucket = \"{BUCKET}\"\n\
                 access_key_id = \"{KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\nonly_writer = true\n"
            ),
        ),
    };
    let place = Place::of(&Setup::new(kind), &table);
    let staged = place.dir.path().join("staged");
    large::write(&staged, mebibytes, 3);
    let daemon = place.start().0;
    std::fs::rename(staged, place.drop_dir().join("large")).unwrap();
    wait_for(proxy, at);
    daemon.kill();
    let left = open();
    let daemon = place.start().0;
    place.wait_done(1);
    daemon.stop();
    left
}

fn by_another(
    program: &Path,
    words: &[&str],
    file: &Path,
    proxy: &Counting,
    at: u64,
    open: &dyn Fn() -> Option<usize>,
) -> Option<usize> {
    let first = client(program, words, file, &Target::at(proxy.address));
    wait_for(proxy, at);
    drop(first);
    let left = open();
    let mut again = client(program, words, file, &Target::at(proxy.address));
    assert!(again.0.wait().unwrap().success(), "the client has failed");
    left
}

/// What one client needed for one task.
struct Took {
    wall: f64,
    cpu: f64,
}

/// One large file and many small ones to a sandbox that keeps nothing, next to the same by other clients in the same rounds.
pub(crate) fn speed() {
    let (mebibytes, files) = (number("FERRYD_BENCH_S3_MIB", 2048), number("FERRYD_BENCH_S3_FILES", 10_000));
    let all = CLIENTS.iter().chain([&COMMON_RUNTIME]);
    let all: Vec<(&Client, PathBuf)> = all.filter_map(|client| Some((client, named(client.variable)?))).collect();
    for is_large in [true, false] {
        let clients: Vec<_> = all.iter().filter(|(client, _)| is_large || !client.folder.is_empty()).cloned().collect();
        let (by_us, by_others) = rounds(is_large, mebibytes, files, &clients);
        let what = if is_large { format!("{mebibytes} MiB to s3") } else { format!("{files} files of 4 KiB to s3") };
        let goal = if is_large { "0.6 x s5cmd, 2 CPU s" } else { "12,000 files/s, 100 CPU us a file" };
        let shown = |took: &[Took]| {
            let (wall, cpu) = (
                median(&took.iter().map(|took| took.wall).collect::<Vec<_>>()),
                median(&took.iter().map(|took| took.cpu).collect::<Vec<_>>()),
            );
            let each = format!("{:.0} files/s, {:.0} CPU us a file", files as f64 / wall, cpu * 1e6 / files as f64);
            if is_large { format!("{wall:.2} s, {cpu:.2} CPU s") } else { each }
        };
        let others: Vec<String> =
            clients.iter().zip(&by_others).map(|((client, _), took)| format!("{}: {}", client.name, shown(took))).collect();
        tell(&format!("{what}: {}; {}", shown(&by_us), others.join("; ")), goal);
    }
}

fn rounds(is_large: bool, mebibytes: u64, files: u64, clients: &[(&Client, PathBuf)]) -> (Vec<Took>, Vec<Vec<Took>>) {
    let host = tempfile::tempdir().unwrap();
    let (_sandbox, addr) = sandbox(host.path());
    // The sandbox says that it verifies CRC-64, as AWS and R2 do; MD5, which the oldest stores get, is a digest of 0.5 GiB/s.
    let checksum = std::env::var("FERRYD_BENCH_S3_CHECKSUM").unwrap_or_else(|_| "auto".into());
    let host_lines = format!("max_uploads = 64\nchecksum = \"{checksum}\"");
    let place = Place::new(&Setup { uploads: 64, host_lines: &host_lines, ..Setup::new("s3") }, addr);
    let (daemon, _) = place.start();
    let (mut by_us, mut by_others) = (Vec::new(), clients.iter().map(|_| Vec::new()).collect::<Vec<_>>());
    for round in 0..ROUNDS as u64 {
        let staged = place.dir.path().join("staged");
        if is_large {
            large::write(&staged, mebibytes, round as u8);
        } else {
            std::fs::create_dir(&staged).unwrap();
            (0..files).for_each(|number| std::fs::write(staged.join(format!("{number}")), [round as u8; 4096]).unwrap());
        }
        for ((client_of, program), took) in clients.iter().zip(&mut by_others) {
            let (begun, before) = (Instant::now(), cpu_of_children());
            let words = if is_large { client_of.file } else { client_of.folder };
            let target = Target::of_sandbox(addr);
            // Some look what is there, of which a sandbox that keeps nothing can tell nothing.
            let bucket = format!("{}/{}-{round}", target.bucket, client_of.name.replace(' ', "-"));
            let mut running = client(program, words, &staged, &Target { bucket, ..target });
            assert!(running.0.wait().unwrap().success(), "{} has failed", client_of.name);
            took.push(Took { wall: begun.elapsed().as_secs_f64(), cpu: cpu_of_children() - before });
        }
        let (begun, before) = (Instant::now(), cpu(daemon.id()));
        let dropped = place.drop_dir().join(format!("dropped{round}"));
        std::fs::rename(&staged, &dropped).unwrap();
        place.wait_done(if is_large { round + 1 } else { files * (round + 1) });
        by_us.push(Took { wall: begun.elapsed().as_secs_f64(), cpu: cpu(daemon.id()) - before });
    }
    (by_us, by_others)
}
