//! `ferryd send`: files that go to a host because a person says so, with or without a watch and with or without a daemon.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::engine::OneOffs;
use crate::job::{JobId, JobRow, State};
use crate::os::clock;
use crate::os::lock::owner;
use crate::os::system::System;
use crate::store::{Query, StoreError, View};

use super::daemon::duration;
use super::exit::Exit;
use super::protocol::{self, Reply, Request};
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::run::prepare_state_dir;
use super::steer::without_daemon;

/// Files that the daemon is told of at once.
const FILES_AT_ONCE: usize = 100;
/// How long it may take for these: a disk that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a daemon that holds the lock may take to listen, or to let go of it.
const BETWEEN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// How often the queue is looked at.
const WAIT_LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files, or folders with all the files in them and below.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The host that gets them; can be given more than once.
    #[arg(long, value_name = "HOST", required = true)]
    to: Vec<String>,
    /// Wait until the hosts have them, and print the links.
    #[arg(long)]
    wait: bool,
    /// With --wait: give up waiting after so long, such as `30s`, `10m` or `2h`, with exit code 1. The files stay in the queue.
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "wait")]
    timeout: Option<Duration>,
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints. Fields are only ever added.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    /// Whether a daemon is running; else the files are uploaded when one starts.
    running: bool,
    jobs: Vec<SentJob<'a>>,
    refused: Vec<RefusedFile>,
}

#[derive(Serialize)]
struct SentJob<'a> {
    id: JobId,
    path: String,
    host: &'a str,
    state: State,
    link: Option<&'a str>,
    remote_id: Option<&'a str>,
}

#[derive(Serialize)]
struct RefusedFile {
    path: String,
    why: String,
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(config.clone(), None)?;
    place.check_hosts(&arguments.to)?;
    let mut sending = Sending { dir: &place.dir, hosts: arguments.to.as_slice().into(), files: Vec::new(), refused: Vec::new() };
    for path in &arguments.paths {
        sending.add(path);
    }
    let running = sending.hand_over()?;
    let _daemon = if arguments.wait && !running && !sending.files.is_empty() { Some(OwnDaemon::start(config)?) } else { None };
    let (jobs, is_over) = if arguments.wait { sending.wait(arguments.timeout)? } else { (sending.jobs()?, true) };
    for (path, why) in &sending.refused {
        render::note(format!("ferryd: cannot send `{}`: {why}", render::path(path)));
    }
    if arguments.json {
        print_json(running, &jobs, &sending.refused)?;
    } else {
        render::out(&if arguments.wait { links(&jobs) } else { told(&jobs, running) })?;
    }
    let needs_you = jobs.iter().filter(|job| needs_a_person(job.state)).inspect(|job| render::note(trouble(job))).count();
    Ok(match () {
        () if !is_over => Exit::Fault,
        () if needs_you > 0 => Exit::Person,
        () if !sending.refused.is_empty() => Exit::Usage,
        () => Exit::Fine,
    })
}

/// Files on their way into the queue.
struct Sending<'a> {
    dir: &'a Path,
    hosts: Arc<[String]>,
    files: Vec<PathBuf>,
    refused: Vec<(PathBuf, String)>,
}

impl Sending<'_> {
    /// A folder stands for the files in it; symbolic links in it are not followed.
    fn add(&mut self, path: &Path) {
        match named(path) {
            Ok(path) if path.is_dir() => {
                if let Err(error) = self.add_folder(&path) {
                    self.refused.push((path, error.to_string()));
                }
            }
            Ok(path) => self.files.push(path),
            Err(error) => self.refused.push((path.to_owned(), error.to_string())),
        }
    }

    fn add_folder(&mut self, folder: &Path) -> io::Result<()> {
        let mut entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_file() {
                self.files.push(path);
            } else if kind.is_dir()
                && let Err(error) = self.add_folder(&path)
            {
                self.refused.push((path, error.to_string()));
            }
        }
        Ok(())
    }

    /// Puts the files into the queue: the daemon does it, or this process while none runs. Answers which.
    fn hand_over(&mut self) -> Result<bool, CommandFailure> {
        let mut taken_up = Vec::new();
        let mut running = owner(self.dir).is_some();
        for files in std::mem::take(&mut self.files).chunks(FILES_AT_ONCE) {
            let (refused, by_daemon) = self.give(files)?;
            running |= by_daemon;
            for (file, why) in files.iter().zip(refused) {
                match why {
                    None => taken_up.push(file.clone()),
                    Some(why) => self.refused.push((file.clone(), why)),
                }
            }
        }
        self.files = taken_up;
        Ok(running)
    }

    fn give(&self, files: &[PathBuf]) -> Result<(Vec<Option<String>>, bool), CommandFailure> {
        let begun = Instant::now();
        loop {
            if owner(self.dir).is_some() {
                let request = Request::Send { files: files.to_vec(), hosts: self.hosts.to_vec() };
                if let Some(reply) = protocol::ask(self.dir, request, PATIENCE)? {
                    return match reply {
                        Reply::TakenUp { refused } => Ok((refused, true)),
                        other => Err(CommandFailure::new(Exit::Fault, format!("the daemon answered something else: {other:?}"))),
                    };
                }
            } else {
                prepare_state_dir(self.dir)?;
                if let Some(refused) =
                    without_daemon(self.dir, |store| self.take_up(files, &OneOffs::new(System::default(), store.clone())))?
                {
                    return Ok((refused, false));
                }
            }
            // One that starts or ends just now.
            if begun.elapsed() >= BETWEEN {
                let failure = CommandFailure::new(Exit::State, "a daemon is running but does not listen for commands");
                return Err(failure.hint("the log of the daemon says why; not every file system has sockets"));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn take_up(&self, files: &[PathBuf], one_offs: &OneOffs) -> Result<Vec<Option<String>>, StoreError> {
        let take_up = |file: &PathBuf| Ok(one_offs.take_up_now(file, self.hosts.clone())?.err().map(|why| why.to_string()));
        let done = files.iter().map(take_up).collect();
        one_offs.end();
        done
    }

    /// The newest job of each file for each host.
    fn jobs(&self) -> Result<Vec<JobRow>, CommandFailure> {
        let failed = |error: StoreError| CommandFailure::store(self.dir, &error);
        let Some(mut view) = View::open(self.dir).map_err(failed)? else { return Ok(Vec::new()) };
        let mut newest: BTreeMap<(PathBuf, String), JobRow> = BTreeMap::new();
        for file in &self.files {
            let (paths, hosts) = (vec![file.clone()], self.hosts.to_vec());
            let query = Query { paths, hosts, limit: usize::MAX, now_ms: clock::now_ms(), ..Query::default() };
            for job in view.snapshot(&query).map_err(failed)?.jobs.into_iter().filter(|job| job.path == *file) {
                let of_it = newest.entry((job.path.clone(), job.host.clone())).or_insert_with(|| job.clone());
                if of_it.id < job.id {
                    *of_it = job;
                }
            }
        }
        Ok(newest.into_values().collect())
    }

    /// Until the hosts have the files, or nothing goes on without a person. Answers whether that is so.
    fn wait(&self, timeout: Option<Duration>) -> Result<(Vec<JobRow>, bool), CommandFailure> {
        let begun = Instant::now();
        loop {
            let jobs = self.jobs()?;
            if jobs.iter().all(|job| is_there(job.state) || needs_a_person(job.state)) {
                return Ok((jobs, true));
            }
            if timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
                return Ok((jobs, false));
            }
            if owner(self.dir).is_none() && begun.elapsed() > BETWEEN {
                return Err(CommandFailure::new(Exit::State, "the daemon has ended; the files stay in the queue")
                    .hint("`ferryd status` tells why it ended, `ferryd run` goes on"));
            }
            std::thread::sleep(WAIT_LOOK);
        }
    }
}

/// The file that is meant: where a symbolic link leads, but otherwise under the name that was given.
fn named(path: &Path) -> io::Result<PathBuf> {
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return std::fs::canonicalize(path);
    }
    let absolute: PathBuf = std::path::absolute(path)?.components().collect();
    // What `..` means is known only once the folder before it is.
    if absolute.components().any(|part| part == std::path::Component::ParentDir) {
        std::fs::canonicalize(path)
    } else {
        Ok(absolute)
    }
}

fn is_there(state: State) -> bool {
    matches!(state, State::Uploaded | State::Done)
}

fn needs_a_person(state: State) -> bool {
    matches!(state, State::Held | State::Paused | State::Failed | State::Gone | State::Cancelled)
}

fn trouble(job: &JobRow) -> String {
    let why = job.why.as_ref().map_or(String::new(), |why| format!(": {}", render::line(&why.to_string())));
    let (path, host) = (render::path(&job.path), render::line(&job.host));
    format!("ferryd: `{path}` to {host} is {}{why} (`ferryd show {}`)", job.state, job.id)
}

fn address(job: &JobRow) -> Option<String> {
    job.link.as_deref().or(job.remote_id.as_deref()).map(render::line)
}

/// A line for each file that is there. One alone is its link, so that a script can take it as it is.
fn links(jobs: &[JobRow]) -> String {
    let there = jobs.iter().filter(|job| is_there(job.state));
    let line = |job: &JobRow| {
        let address = address(job).unwrap_or_default();
        if jobs.len() == 1 {
            return format!("{address}\n");
        }
        format!("{address}\t{}\t{}\n", render::line(&job.host), render::path(&job.path))
    };
    there.map(line).collect()
}

/// What will happen, for a person.
fn told(jobs: &[JobRow], running: bool) -> String {
    let on_its_way = jobs.iter().filter(|job| !is_there(job.state) && !needs_a_person(job.state)).count() as u64;
    let there = jobs.iter().filter(|job| is_there(job.state)).map(|job| {
        let address = address(job).map_or(String::new(), |address| format!(": {address}"));
        format!("{} has `{}` already{address}\n", render::line(&job.host), render::path(&job.path))
    });
    let mut text: String = there.collect();
    if on_its_way > 0 {
        let when = if running { "" } else { " The daemon is not running; they are uploaded when it starts." };
        text.push_str(&format!("In the queue: {}.{when}\n", render::count(on_its_way, "upload")));
    }
    text
}

fn print_json(running: bool, jobs: &[JobRow], refused: &[(PathBuf, String)]) -> Result<(), CommandFailure> {
    let sent = jobs.iter().map(|job| SentJob {
        id: job.id,
        path: job.path.to_string_lossy().into_owned(),
        host: &job.host,
        state: job.state,
        link: job.link.as_deref(),
        remote_id: job.remote_id.as_deref(),
    });
    let refused = refused.iter().map(|(path, why)| RefusedFile { path: path.to_string_lossy().into_owned(), why: why.clone() });
    let document = Document { version: 1, running, jobs: sent.collect(), refused: refused.collect() };
    let text = serde_json::to_string_pretty(&document).map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?;
    render::out(&format!("{text}\n"))
}

/// A daemon for as long as somebody waits; it is asked to stop when dropped.
struct OwnDaemon(Child);

impl OwnDaemon {
    fn start(config: Option<PathBuf>) -> Result<OwnDaemon, CommandFailure> {
        let failed = |error: io::Error| CommandFailure::new(Exit::Fault, format!("cannot start the daemon: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let command = command.args(["run", "--log", "error"]).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(OwnDaemon(command.spawn().map_err(failed)?))
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
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
