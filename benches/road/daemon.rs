//! A folder with a configuration, and the daemons and sandboxes that are started for it, each a process of its own.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ferryd::internals::job::State;
use ferryd::internals::store::{Query, View};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ferryd");
const LOOK: Duration = Duration::from_millis(2);

/// A process that ends with its row.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL, and the end of it.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and the end of it.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How a daemon is to be.
#[derive(Clone)]
pub(crate) struct Setup<'a> {
    /// The kind of its one host.
    pub kind: &'static str,
    /// More lines of the host.
    pub host_lines: &'a str,
    /// More lines of the watch.
    pub watch_lines: &'a str,
    /// Jobs uploading at once, and requests.
    pub uploads: u64,
    pub environment: Vec<(&'static str, PathBuf)>,
}

impl Setup<'_> {
    pub(crate) fn new(kind: &'static str) -> Setup<'static> {
        Setup { kind, host_lines: "", watch_lines: "", uploads: 32, environment: Vec::new() }
    }
}

/// Where a daemon finds its configuration, its folder and its queue.
pub(crate) struct Place {
    pub dir: tempfile::TempDir,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Place {
    /// A place for a daemon whose host is at `host`.
    pub(crate) fn new(setup: &Setup<'_>, host: SocketAddr) -> Place {
        Place::of(setup, &ferryd_sandbox::config_of(setup.kind, host).unwrap())
    }

    /// The same with the table of its host as it is written.
    pub(crate) fn of(setup: &Setup<'_>, table: &str) -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap(), environment: setup.environment.clone() };
        std::fs::create_dir_all(place.drop_dir()).unwrap();
        let Setup { kind, host_lines, watch_lines, uploads, .. } = setup;
        let daemon = format!("[daemon]\nstate_dir = {:?}\nmax_uploads = {uploads}\nmax_connections = {uploads}", place.state_dir());
        let watch = format!("[[watch]]\npath = {:?}\nsettle = \"0s\"\nto = [{kind:?}]\n{watch_lines}", place.drop_dir());
        std::fs::write(place.config(), format!("{daemon}\n{watch}\n{table}{host_lines}\n")).unwrap();
        std::fs::set_permissions(place.config(), std::fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    pub(crate) fn drop_dir(&self) -> PathBuf {
        self.dir.path().join("drop")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.config()).args(words).stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until every folder is in view; answers how long that took.
    pub(crate) fn start(&self) -> (Process, Duration) {
        let begun = Instant::now();
        let mut command = self.command(&["run", "--log", "warn,ferryd::cli=info"]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let watching = log.by_ref().inspect(|line| pass_on(line)).find(|line| line.contains(" watching "));
        let took = begun.elapsed();
        assert!(watching.is_some(), "the daemon has ended");
        std::thread::spawn(move || log.for_each(|line| pass_on(&line)));
        (Process(child), took)
    }

    pub(crate) fn view(&self) -> View {
        View::open(&self.state_dir()).unwrap().unwrap()
    }

    pub(crate) fn wait_done(&self, jobs: u64) {
        let mut view = self.view();
        loop {
            let snapshot = view.snapshot(&Query::default()).unwrap();
            if snapshot.totals.iter().any(|(state, count)| *state == State::Done && *count >= jobs) {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How the watch is noticed, in its own word.
    pub(crate) fn events(&self) -> String {
        self.view().snapshot(&Query::default()).unwrap().watches[0].report.events.word().to_owned()
    }
}

/// What the daemon complains of is part of a figure.
fn pass_on(line: &str) {
    if line.contains("WARN") || line.contains("ERROR") {
        eprintln!("{line}");
    }
}

/// A sandbox that counts and discards, and where it listens.
pub(crate) fn sandbox(dir: &Path) -> (Process, SocketAddr) {
    let mut command = Command::new(PROGRAM);
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--discard", "--dir"]).arg(dir.join("host"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.strip_prefix("# Serving on ").and_then(|rest| rest.split(',').next()).unwrap();
    (Process(child), addr.parse().unwrap())
}

/// A host that takes connections and never says a word.
pub(crate) fn silent_host() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
