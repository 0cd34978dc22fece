//! Temporary folders, a sandbox host that stays up, and a real daemon to start, kill and start again.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ferryd::internals::job::State;
use ferryd::internals::store::{JobRow, Query, Snapshot, View};
use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::{Lose, Options, Sandbox, SandboxError};

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(2);

/// A place to try things.
pub(crate) struct Bench {
    pub dir: tempfile::TempDir,
    pub sandbox: Sandbox,
    /// The sandbox lives on it.
    runtime: tokio::runtime::Runtime,
    watch_lines: String,
    /// Kinds of hosts the files go to; the first has `host_lines` of its own.
    kinds: Vec<&'static str>,
    /// More hosts of the watch, by name.
    others: Vec<&'static str>,
    host_lines: String,
    /// Texts of the configuration that a test wants to be others.
    changes: Vec<(String, String)>,
    options: Options,
    starts: std::cell::Cell<usize>,
}

/// A daemon that dies with the test.
pub(crate) struct Daemon {
    child: Child,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut options = Options::new(dir.path().join("host"));
        change(&mut options);
        let sandbox = {
            let _inside = runtime.enter();
            Sandbox::start(options.clone()).unwrap()
        };
        std::fs::create_dir(dir.path().join("drop")).unwrap();
        let watch_lines = "settle = \"0s\"\n".to_owned();
        let (kinds, others) = (vec!["cloudkp"], Vec::new());
        let (host_lines, changes, starts) = (String::new(), Vec::new(), std::cell::Cell::new(0));
        Bench { dir, sandbox, runtime, watch_lines, kinds, others, host_lines, changes, options, starts }
    }

    /// Writes `to` in the configuration wherever it says `from`.
    pub(crate) fn change(mut self, from: &str, to: &str) -> Bench {
        self.changes.push((from.into(), to.into()));
        self
    }

    /// Ends the sandbox host and starts it again at the same address, with what `lose` leaves it.
    pub(crate) fn restart_host(&mut self, lose: Lose) {
        let inside = self.runtime.enter();
        let aside = Sandbox::start(Options::new(self.dir.path().join("aside"))).unwrap();
        let old = std::mem::replace(&mut self.sandbox, aside);
        let listen = old.addr();
        self.runtime.block_on(old.stop());
        let options = Options { listen, lose, ..self.options.clone() };
        // Between the two, some connection of another test may have been given the same number.
        let again = self.wait_for("the host's address to be free", || match Sandbox::start(options.clone()) {
            Err(SandboxError::Listen { .. }) => None,
            started => Some(started.unwrap()),
        });
        drop(inside);
        self.sandbox = again;
    }

    /// Sends to hosts of these kinds instead of CloudKP.
    pub(crate) fn to(mut self, kinds: &[&'static str]) -> Bench {
        self.kinds = kinds.to_vec();
        self
    }

    /// Replaces the lines of the watch beyond its path and host.
    pub(crate) fn watch(mut self, lines: &str) -> Bench {
        self.watch_lines = format!("{lines}\n");
        self
    }

    /// Sends to one more host, whose table is among the lines of the first.
    pub(crate) fn also_to(mut self, name: &'static str) -> Bench {
        self.others.push(name);
        self
    }

    /// Adds lines to the host.
    pub(crate) fn host(mut self, lines: &str) -> Bench {
        self.host_lines = format!("{lines}\n");
        self
    }

    pub(crate) fn drop_dir(&self) -> PathBuf {
        self.dir.path().join("drop")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub(crate) fn faults(&self, script: Script) {
        self.sandbox.set_faults(script).unwrap();
    }

    /// Puts a file into the watched folder: written elsewhere and moved in, so that it is there at once.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let staged = self.dir.path().join("staged");
        std::fs::write(&staged, bytes).unwrap();
        let path = self.drop_dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::rename(staged, &path).unwrap();
        path
    }

    pub(crate) fn config(&self) -> PathBuf {
        let file = self.dir.path().join("config.toml");
        let addr = self.sandbox.addr();
        let hosts = self.kinds.iter().enumerate().map(|(index, kind)| {
            let more = if index == 0 { self.host_lines.as_str() } else { "" };
            format!("{}{more}\n", ferryd_sandbox::config_of(kind, addr).unwrap())
        });
        let text = format!(
            "[daemon]\nstate_dir = {:?}\n\n[[watch]]\npath = {:?}\nto = {:?}\n{}\n{}",
            self.state_dir(),
            self.drop_dir(),
            self.kinds.iter().chain(&self.others).collect::<Vec<_>>(),
            self.watch_lines,
            hosts.collect::<String>()
        );
        let text = self.changes.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "the configuration does not say `{from}`");
            text.replace(from, to)
        });
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferryd"));
        command.arg("--config").arg(self.config()).args(words).stdin(Stdio::null());
        command.env_remove("NOTIFY_SOCKET").env_remove("FERRYD_CRASH_AT");
        command
    }

    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, environment: &[(&str, &str)]) -> Daemon {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command(&["run", "--log", "info,ferryd=debug"]);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(log);
        self.starts.set(self.log_text().matches(" watching").count() + 1);
        Daemon { child: command.spawn().unwrap() }
    }

    /// Waits until the daemon that was started last has every folder in view.
    pub(crate) fn wait_watching(&self) {
        self.wait_for("the daemon to watch", || (self.log_text().matches(" watching").count() >= self.starts.get()).then_some(()));
    }

    /// Stops a daemon in order.
    pub(crate) fn stop(&self, daemon: Daemon) {
        self.wait_watching();
        let ended = daemon.stop();
        assert!(ended.success(), "{ended}\n{}", tail(&self.log_text()));
    }

    /// The queue as `status` sees it; nothing before there is one.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let query = Query { limit: 100_000, now_ms: ferryd::internals::os::clock::now_ms(), ..Query::default() };
        View::open(&self.state_dir()).ok().flatten()?.snapshot(&query).ok()
    }

    pub(crate) fn jobs(&self) -> Vec<JobRow> {
        self.snapshot().map(|snapshot| snapshot.jobs).unwrap_or_default()
    }

    /// Waits until `there` has something to say, and answers it.
    pub(crate) fn wait_for<T>(&self, what: &str, mut there: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = there() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited too long for {what}\n{:#?}\n{}", self.jobs(), tail(&self.log_text()));
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until so many jobs are done and none is on its way.
    pub(crate) fn wait_done(&self, count: usize) -> Vec<JobRow> {
        self.wait_for(&format!("{count} done jobs"), || {
            let jobs = self.jobs();
            let done = jobs.iter().filter(|job| job.state == State::Done).count();
            let ended = jobs.iter().filter(|job| job.state.is_final()).count();
            (done >= count && ended == jobs.len()).then_some(jobs)
        })
    }

    /// Waits for a job in this state.
    pub(crate) fn wait_state(&self, state: State) -> JobRow {
        self.wait_for(&format!("a job that is {state}"), || self.jobs().into_iter().find(|job| job.state == state))
    }

    /// What the host holds under this name.
    pub(crate) fn held(&self, name: &str) -> Vec<Vec<u8>> {
        let named = self.sandbox.objects().into_iter().filter(|object| object.name == name);
        named.map(|object| self.sandbox.read(&object).unwrap()).collect()
    }
}

impl Daemon {
    /// Starts a daemon in another way; it writes its log where the bench looks for it.
    pub(crate) fn spawn(mut command: Command, bench: &Bench) -> Daemon {
        let log = File::options().create(true).append(true).open(bench.log_file()).unwrap();
        Daemon { child: command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap() }
    }

    /// Starts a daemon that writes its log where the command says.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(mut command: Command) -> Daemon {
        Daemon { child: command.spawn().unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and the end of it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A script of one rule.
pub(crate) fn one(endpoint: Endpoint, when: When, action: Action) -> Script {
    Script::of([Rule::new(action).at(endpoint).when(when)])
}

/// Bytes that differ everywhere, the same for the same seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    use rand::{RngExt, SeedableRng};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Peak resident memory of a process, in bytes, less the pages of files that it has: those of its program, which are as many as its
/// build has them.
pub(crate) fn peak_resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    Some(of("VmHWM:")?.saturating_sub(of("RssFile:")?))
}
