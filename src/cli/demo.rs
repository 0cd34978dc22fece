//! `ferryd demo`: the main job with no account. The sandbox hosts in this process, a daemon as it is run for real, files dropped
//! into its folder, links out, every file fetched back from every host and compared. Whatever ends it, nothing of it is left.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;

use crate::config::{Config, ProcessEnvironment};
use crate::host::http::{Clients, Transport};
use crate::host::{KeptTokens, registry};
use crate::job::upload::Class;
use crate::job::{Reason, ReasonClass, State};
use crate::os::clock;
use crate::os::signals;
use crate::os::system::System;
use crate::secret::Secret;
use crate::store::{JobRow, Query, Snapshot, View};
use ferryd_sandbox::{self as sandbox, Options, Sandbox};

use super::exit::Exit;
use super::progress::Progress;
use super::render::{self, CommandFailure};

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long nothing may move before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The size of the file that is made when none is given.
const SAMPLE_BYTES: usize = 5 * 1024 * 1024 + 1;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files to upload; without any, a sample file is made.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Upload to the practice host of this kind; may be given more than once [default: all of them]
    #[arg(long, value_name = "KIND", hide_possible_values = true, value_parser = PossibleValuesParser::new(sandbox::kinds()))]
    to: Vec<String>,
}

impl Arguments {
    /// The kinds that are asked for, in the order of all.
    fn kinds(&self) -> Vec<&'static str> {
        let is_wanted = |kind: &&str| self.to.is_empty() || self.to.iter().any(|wanted| wanted == kind);
        sandbox::kinds().into_iter().filter(is_wanted).collect()
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let folder = tempfile::Builder::new()
        .prefix("ferryd-demo-")
        .tempdir()
        .map_err(|error| failed("cannot create a temporary folder", &error))?;
    let files = if arguments.files.is_empty() { vec![make_sample(folder.path())?] } else { arguments.files.clone() };
    check(&files)?;
    let runtime = super::runtime()?;
    let options = Options::new(folder.path().join("host"));
    let hosts = {
        let _inside = runtime.enter();
        Sandbox::start(options)
            .map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot start the practice hosts: {error}")))?
    };
    let demo = Demo { folder: folder.path().to_owned(), kinds: arguments.kinds(), interrupted: Arc::default() };
    let interrupted = demo.interrupted.clone();
    let signals = signals::listen(move |_| interrupted.store(true, Ordering::Relaxed))
        .map_err(|error| failed("cannot listen for signals", &error))?;
    demo.configure(&hosts)?;
    let mut daemon = demo.start_daemon()?;
    render::note(format!(
        "{} {} running on {}. Dropping {} into {} ...",
        render::count(demo.kinds.len() as u64, "practice host"),
        if demo.kinds.len() == 1 { "is" } else { "are" },
        hosts.addr(),
        render::count(files.len() as u64, "file"),
        demo.drop().display()
    ));
    let done = demo.carry_out(&mut daemon, &runtime, &files);
    daemon.stop();
    let done = match done {
        Err(_) if demo.is_interrupted() => Err(CommandFailure::new(Exit::Fault, "interrupted; nothing of the demo is left")),
        Err(failure) if failure.exit != Exit::Usage => Err(demo.with_log(failure)),
        done => done,
    };
    drop((hosts, daemon));
    folder.close().map_err(|error| failed("cannot remove the temporary folder", &error))?;
    drop(signals);
    let fetched = done?;
    render::out(&table(&fetched))?;
    if fetched.iter().all(|file| file.came.is_fine()) {
        render::note(NEXT_STEPS);
        Ok(Exit::Fine)
    } else {
        Err(CommandFailure::new(Exit::Fault, "some files differ from what was uploaded"))
    }
}

/// What somebody does who has seen enough.
const NEXT_STEPS: &str = "
Everything came back equal. The practice hosts are gone again, and with them these links.

Next:
  ferryd init             writes a configuration for a folder and a host of your own
  ferryd check            finds what is wrong with it
  ferryd run              runs the daemon
  ferryd status --watch   shows what it does";

fn failed(what: &str, error: &io::Error) -> CommandFailure {
    CommandFailure::new(Exit::Fault, format!("{what}: {error}"))
}

fn make_sample(folder: &Path) -> Result<PathBuf, CommandFailure> {
    let path = folder.join("holiday video.mov");
    let mut bytes = vec![0; SAMPLE_BYTES];
    rand::fill(&mut bytes[..]);
    std::fs::write(&path, bytes).map_err(|error| failed("cannot create a sample file", &error))?;
    Ok(path)
}

fn check(files: &[PathBuf]) -> Result<(), CommandFailure> {
    for file in files {
        let wrong = |why: String| {
            let message = format!("cannot upload `{}`: {why}", render::path(file));
            CommandFailure::new(Exit::Usage, message)
                .hint("give the names of regular files; put `--` before a name that starts with `-`")
        };
        let metadata = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
        if !metadata.is_file() {
            return Err(wrong("not a regular file".into()));
        }
        File::open(file).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

struct Demo {
    folder: PathBuf,
    /// Where the files go.
    kinds: Vec<&'static str>,
    /// Whether somebody has asked it to end: everything is taken away then, as at its own end.
    interrupted: Arc<AtomicBool>,
}

/// Bytes that are copied between two looks whether somebody wants it to end.
const COPIED_BYTES: usize = 1 << 20;

/// Somebody has asked it to end. What is said instead depends on how that goes.
fn interrupted() -> CommandFailure {
    CommandFailure::new(Exit::Fault, "interrupted")
}

/// The daemon, as it is run for real; stopped when dropped.
struct Daemon(Child);

impl Daemon {
    /// Asks it to stop and waits.
    fn stop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && self.0.try_wait().is_ok_and(|ended| ended.is_none())
            && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        {
            render::note(format!("cannot stop the daemon: {error}"));
        }
        if let Err(error) = self.0.wait() {
            render::note(format!("cannot wait for the daemon: {error}"));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A file that was dropped: the original, and where it is in the watched folder.
struct Dropped {
    original: PathBuf,
    path: PathBuf,
}

impl Demo {
    fn drop(&self) -> PathBuf {
        self.folder.join("Drop")
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Drops the files, waits until they are up, and fetches them back.
    fn carry_out(
        &self,
        daemon: &mut Daemon,
        runtime: &tokio::runtime::Runtime,
        files: &[PathBuf],
    ) -> Result<Vec<Fetched>, CommandFailure> {
        let mut progress = Progress::new();
        let dropped = self.drop_in(files, &mut progress)?;
        let snapshot = self.wait(daemon, dropped.len() * self.kinds.len(), &mut progress)?;
        progress.keep();
        let config = super::load(Some(self.config_file()))?;
        let fetched = runtime.block_on(async {
            tokio::select! {
                fetched = fetch_back(&config, &self.kinds, &snapshot, &dropped, &mut progress) => fetched,
                () = self.interruption() => Err(interrupted()),
            }
        });
        progress.clear();
        fetched
    }

    async fn interruption(&self) {
        while !self.is_interrupted() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Copies a file, unless somebody wants it to end meanwhile.
    fn copy(&self, from: &Path, to: &Path, progress: &mut Progress) -> Result<(), CommandFailure> {
        let cannot = |error: io::Error| failed("cannot copy a file into the watched folder", &error);
        let (mut from, name) = (File::open(from).map_err(cannot)?, render::path(from.file_name().unwrap_or_default().as_ref()));
        let mut to = File::create_new(to).map_err(cannot)?;
        let (all, mut copied) = (from.metadata().map_err(cannot)?.len(), 0);
        let mut buffer = vec![0; COPIED_BYTES];
        loop {
            let length = from.read(&mut buffer).map_err(cannot)?;
            if length == 0 {
                return Ok(());
            }
            if self.is_interrupted() {
                return Err(interrupted());
            }
            to.write_all(&buffer[..length]).map_err(cannot)?;
            copied += length as u64;
            progress.step(&format!("Copying {name}"), copied, all);
        }
    }

    fn configure(&self, hosts: &Sandbox) -> Result<(), CommandFailure> {
        let text = format!(
            "[daemon]\nstate_dir = {state:?}\nmax_uploads = 8\nshutdown_grace = \"2s\"\n\n[[watch]]\npath = {drop:?}\ncreate = true\nto = {kinds:?}\nsettle = \"100ms\"\n\
             exclude = []\nmin_size = \"0 B\"\n\n{hosts}",
            state = self.state_dir(),
            drop = self.drop(),
            kinds = self.kinds,
            hosts = self.kinds.iter().filter_map(|kind| sandbox::config_of(kind, hosts.addr())).collect::<Vec<_>>().join("\n"),
        );
        std::fs::create_dir_all(self.drop()).map_err(|error| failed("cannot create the folder to watch", &error))?;
        // It holds passwords, if only of the sandbox.
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.config_file());
        open.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failed("cannot write the configuration", &error))
    }

    fn start_daemon(&self) -> Result<Daemon, CommandFailure> {
        let program = std::env::current_exe().map_err(|error| failed("cannot find this program", &error))?;
        let log = File::create(self.folder.join("daemon.log")).map_err(|error| failed("cannot create the log file", &error))?;
        let child = Command::new(program)
            .arg("--config")
            .arg(self.config_file())
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| failed("cannot start the daemon", &error))?;
        Ok(Daemon(child))
    }

    /// Each file goes into a folder of its own, since two may have one name.
    fn drop_in(&self, files: &[PathBuf], progress: &mut Progress) -> Result<Vec<Dropped>, CommandFailure> {
        let mut dropped = Vec::new();
        for (index, original) in files.iter().enumerate() {
            let folder = if files.len() == 1 { self.drop() } else { self.drop().join(format!("{}", index + 1)) };
            let path = folder.join(original.file_name().unwrap_or("file".as_ref()));
            std::fs::create_dir_all(&folder).map_err(|error| failed("cannot create a folder to copy into", &error))?;
            self.copy(original, &path, progress)?;
            dropped.push(Dropped { original: original.clone(), path });
        }
        progress.clear();
        Ok(dropped)
    }

    /// Waits until every job has ended or needs a person.
    fn wait(&self, daemon: &mut Daemon, jobs: usize, progress: &mut Progress) -> Result<Snapshot, CommandFailure> {
        let mut moved = (0, Instant::now());
        loop {
            if self.is_interrupted() {
                return Err(interrupted());
            }
            if let Ok(Some(ended)) = daemon.0.try_wait() {
                return Err(CommandFailure::new(Exit::Fault, format!("the daemon stopped unexpectedly: {ended}")));
            }
            let query = Query { limit: jobs, now_ms: clock::now_ms(), ..Query::default() };
            // The daemon may be about to make the queue.
            let view = View::open(&self.state_dir()).ok().flatten();
            if let Some(snapshot) = view.and_then(|mut view| view.snapshot(&query).ok()) {
                progress.uploads(&self.kinds, &snapshot.jobs);
                let stuck = |job: &&JobRow| matches!(job.state, State::Held | State::Failed) && !is_rejected_for_being_empty(job);
                if snapshot.jobs.iter().any(|job| stuck(&job)) {
                    return Err(not_sent(&snapshot.jobs));
                }
                let ended = |job: &&JobRow| job.state == State::Done || job.state == State::Failed;
                if snapshot.jobs.iter().filter(ended).count() == jobs {
                    return Ok(snapshot);
                }
                if snapshot.bytes_sent != moved.0 {
                    moved = (snapshot.bytes_sent, Instant::now());
                }
            }
            if moved.1.elapsed() > PATIENCE {
                return Err(CommandFailure::new(Exit::Fault, format!("no progress for {} s", PATIENCE.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn with_log(&self, failure: CommandFailure) -> CommandFailure {
        let log = std::fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        CommandFailure { message: format!("{}\n\nthe end of the daemon's log:\n{}", failure.message, last.join("\n")), ..failure }
    }
}

fn not_sent(jobs: &[JobRow]) -> CommandFailure {
    let stuck = jobs.iter().filter(|job| job.state != State::Done);
    let lines: Vec<String> = stuck
        .map(|job| {
            format!(
                "{} is {}: {}",
                render::path(&job.path),
                job.state,
                job.why.as_ref().map_or("no reason given".into(), Reason::to_string)
            )
        })
        .collect();
    CommandFailure::new(Exit::Person, lines.join("\n"))
}

/// Some hosts take no empty file, or are not sent one unless that is configured, which is no failure of the demo.
fn is_rejected_for_being_empty(job: &JobRow) -> bool {
    let is_rejected = job.why.as_ref().is_some_and(|why| why.class == ReasonClass::Host(Class::FileRejected));
    job.state == State::Failed && job.bytes == 0 && is_rejected
}

/// A file that has come back, or not.
struct Fetched {
    name: String,
    host: String,
    bytes: u64,
    link: String,
    came: Comparison,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Different,
    TakesNoEmptyFiles,
}

impl Comparison {
    fn is_fine(self) -> bool {
        self != Comparison::Different
    }

    fn word(self) -> &'static str {
        match self {
            Comparison::Equal => "equal",
            Comparison::Different => "DIFFERENT",
            Comparison::TakesNoEmptyFiles => "empty files not accepted",
        }
    }
}

async fn fetch_back(
    config: &Config,
    kinds: &[&'static str],
    snapshot: &Snapshot,
    dropped: &[Dropped],
    progress: &mut Progress,
) -> Result<Vec<Fetched>, CommandFailure> {
    let transport =
        Transport::new(&System::default(), PATIENCE).map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?;
    let mut fetched = Vec::new();
    for Dropped { original, path } in dropped {
        for kind in kinds {
            let Some(job) = snapshot.jobs.iter().find(|job| job.path == *path && job.host == *kind) else { continue };
            let name = render::path(original.file_name().unwrap_or_default().as_ref());
            let link = job.link.clone().or(job.remote_id.clone()).unwrap_or_default();
            let came = if is_rejected_for_being_empty(job) {
                Comparison::TakesNoEmptyFiles
            } else {
                fetch_one(config, &transport, job, original, progress).await?
            };
            fetched.push(Fetched { name, host: (*kind).to_owned(), bytes: job.bytes, link, came });
        }
    }
    Ok(fetched)
}

async fn fetch_one(
    config: &Config,
    transport: &Transport,
    job: &JobRow,
    original: &Path,
    progress: &mut Progress,
) -> Result<Comparison, CommandFailure> {
    let mut compare = Compare::new(original).map_err(|error| failed("cannot read a file to compare it", &error))?;
    let came = match address(config, job).await {
        Some(address) => {
            let (what, mut came) = (format!("Fetching back from {}", job.host), 0);
            let frame = |frame: &[u8]| {
                compare.frame(frame);
                came += frame.len() as u64;
                progress.step(&what, came, job.bytes);
            };
            transport.fetch(address.reveal(), frame).await.is_ok()
        }
        None => false,
    };
    Ok(if came && compare.ends_here() { Comparison::Equal } else { Comparison::Different })
}

/// The link; for a host whose files have none that lasts, a passing address.
async fn address(config: &Config, job: &JobRow) -> Option<Secret> {
    if let Some(link) = &job.link {
        return Some(Secret::new(link));
    }
    let host = config.hosts.iter().find(|host| host.name == job.host)?;
    let system = System::default();
    let tokens = KeptTokens::read_only(&system, &config.daemon.state_dir);
    let speaks = registry::host(host, &ProcessEnvironment, &Clients::new(&system), &tokens).ok()?;
    speaks.address(job.remote_id.as_deref()?).await.ok()?
}

/// Holds what comes against a file, frame by frame.
struct Compare {
    file: File,
    equal: bool,
}

impl Compare {
    fn new(path: &Path) -> io::Result<Compare> {
        Ok(Compare { file: File::open(path)?, equal: true })
    }

    fn frame(&mut self, frame: &[u8]) {
        let mut ours = vec![0; frame.len()];
        self.equal = self.equal && self.file.read_exact(&mut ours).is_ok() && ours == frame;
    }

    fn ends_here(mut self) -> bool {
        self.equal && self.file.read(&mut [0]).is_ok_and(|more| more == 0)
    }
}

fn table(fetched: &[Fetched]) -> String {
    let row = |file: &Fetched| {
        [file.name.clone(), render::size(file.bytes), file.host.clone(), file.came.word().into(), file.link.clone()]
    };
    let head = ["FILE", "SIZE", "HOST", "FETCHED BACK", "LINK OR ID"].map(str::to_owned);
    render::table(&[head].into_iter().chain(fetched.iter().map(row)).collect::<Vec<_>>())
}
