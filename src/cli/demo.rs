//! `ferryd demo`: the main job with no account. A sandbox host in this process, a daemon as it is run for real, files dropped into its
//! folder, links out, every file fetched back and compared.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table};

use crate::host::http::Transport;
use crate::job::State;
use crate::os::clock;
use crate::sandbox::cloudkp::{EmptyFile, Rules};
use crate::sandbox::{Options, Sandbox};
use crate::store::{JobRow, Query, Snapshot, View};

use super::exit::Exit;
use super::render::{self, Failure};

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long nothing may move before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The size of the file that is made when none is given.
const SAMPLE_BYTES: usize = 5 * 1024 * 1024 + 1;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files to send; one is made when none is named.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let folder =
        tempfile::Builder::new().prefix("ferryd-demo-").tempdir().map_err(|error| failed("cannot make a folder", &error))?;
    let files = match arguments.files.is_empty() {
        true => vec![make_sample(folder.path())?],
        false => arguments.files.clone(),
    };
    check(&files)?;
    let runtime = super::runtime()?;
    let cloudkp = Rules { empty_file: EmptyFile::OneEmptyChunk, ..Rules::default() };
    let rules = crate::sandbox::Rules { cloudkp, ..Default::default() };
    let options = Options { rules, ..Options::new(folder.path().join("host")) };
    let sandbox = {
        let _inside = runtime.enter();
        Sandbox::start(options).map_err(|error| Failure::new(Exit::Fault, format!("cannot start the sandbox host: {error}")))?
    };
    let demo = Demo { folder: folder.path().to_owned() };
    demo.configure(&sandbox)?;
    let mut daemon = demo.start_daemon()?;
    render::note(format!("The sandbox host serves on {}; the daemon watches {}.", sandbox.addr(), demo.drop().display()));
    let done = demo.drop_in(&files).and_then(|dropped| Ok((demo.wait(&mut daemon, dropped.len())?, dropped)));
    daemon.stop();
    let (snapshot, dropped) = done.map_err(|failure| demo.with_log(failure))?;
    let fetched = runtime.block_on(fetch_back(&snapshot, &dropped))?;
    render::out(&table(&fetched));
    match fetched.iter().all(|file| file.equal) {
        true => Ok(Exit::Fine),
        false => Err(Failure::new(Exit::Fault, "not every file came back equal")),
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Fault, format!("{what}: {error}"))
}

fn make_sample(folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("holiday video.mov");
    let mut bytes = vec![0; SAMPLE_BYTES];
    rand::fill(&mut bytes[..]);
    std::fs::write(&path, bytes).map_err(|error| failed("cannot make a file", &error))?;
    Ok(path)
}

fn check(files: &[PathBuf]) -> Result<(), Failure> {
    for file in files {
        let wrong = |why: String| {
            let message = format!("cannot send `{}`: {why}", render::path(file));
            Failure::new(Exit::Usage, message).hint("name files; a name that begins with `-` goes after `--`")
        };
        let metadata = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
        if !metadata.is_file() {
            return Err(wrong("it is not a file".into()));
        }
        File::open(file).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

struct Demo {
    folder: PathBuf,
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

    fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn configure(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        let text = format!(
            "[daemon]\nstate_dir = {state:?}\n\n[[watch]]\npath = {drop:?}\ncreate = true\nto = [\"cloudkp\"]\nsettle = \"100ms\"\nexclude = []\n\
             min_size = \"0 B\"\n\n{host}empty_file = \"one-empty-chunk\"\n",
            state = self.state_dir(),
            drop = self.drop(),
            host = crate::sandbox::config_for(sandbox.addr()),
        );
        std::fs::create_dir_all(self.drop()).map_err(|error| failed("cannot make the folder to watch", &error))?;
        std::fs::write(self.folder.join("config.toml"), text).map_err(|error| failed("cannot write the configuration", &error))
    }

    fn start_daemon(&self) -> Result<Daemon, Failure> {
        let program = std::env::current_exe().map_err(|error| failed("cannot find this program", &error))?;
        let log = File::create(self.folder.join("daemon.log")).map_err(|error| failed("cannot make a log", &error))?;
        let child = Command::new(program)
            .arg("--config")
            .arg(self.folder.join("config.toml"))
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| failed("cannot start the daemon", &error))?;
        Ok(Daemon(child))
    }

    /// Each file goes into a folder of its own, since two may have one name.
    fn drop_in(&self, files: &[PathBuf]) -> Result<Vec<Dropped>, Failure> {
        let mut dropped = Vec::new();
        for (index, original) in files.iter().enumerate() {
            let folder = if files.len() == 1 { self.drop() } else { self.drop().join(format!("{}", index + 1)) };
            let path = folder.join(original.file_name().unwrap_or("file".as_ref()));
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::copy(original, &path))
                .map_err(|error| failed("cannot drop a file in", &error))?;
            dropped.push(Dropped { original: original.clone(), path });
        }
        Ok(dropped)
    }

    /// Waits until every job has ended or needs a person.
    fn wait(&self, daemon: &mut Daemon, files: usize) -> Result<Snapshot, Failure> {
        let mut moved = (0, Instant::now());
        loop {
            if let Ok(Some(ended)) = daemon.0.try_wait() {
                return Err(Failure::new(Exit::Fault, format!("the daemon ended by itself: {ended}")));
            }
            let query = Query { limit: files, now_ms: clock::now_ms(), ..Query::default() };
            // The daemon may be about to make the queue.
            let view = View::open(&self.state_dir()).ok().flatten();
            if let Some(snapshot) = view.and_then(|mut view| view.snapshot(&query).ok()) {
                let is = |states: &[State]| snapshot.jobs.iter().filter(|job| states.contains(&job.state)).count();
                if is(&[State::Held, State::Failed]) > 0 {
                    return Err(not_sent(&snapshot.jobs));
                }
                if is(&[State::Done]) == files {
                    return Ok(snapshot);
                }
                if snapshot.bytes_sent != moved.0 {
                    moved = (snapshot.bytes_sent, Instant::now());
                }
            }
            if moved.1.elapsed() > PATIENCE {
                return Err(Failure::new(Exit::Fault, format!("nothing has moved for {} s", PATIENCE.as_secs())));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn with_log(&self, failure: Failure) -> Failure {
        let log = std::fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Failure { message: format!("{}\n\nthe daemon's last words:\n{}", failure.message, last.join("\n")), ..failure }
    }
}

fn not_sent(jobs: &[JobRow]) -> Failure {
    let stuck = jobs.iter().filter(|job| job.state != State::Done);
    let lines: Vec<String> = stuck
        .map(|job| format!("{} is {}: {}", render::path(&job.path), job.state, job.why.as_deref().unwrap_or("no reason")))
        .collect();
    Failure::new(Exit::Person, lines.join("\n"))
}

/// A file that has come back.
struct Fetched {
    name: String,
    bytes: u64,
    link: String,
    equal: bool,
}

async fn fetch_back(snapshot: &Snapshot, dropped: &[Dropped]) -> Result<Vec<Fetched>, Failure> {
    let transport = Transport::new(PATIENCE).map_err(|error| Failure::new(Exit::Fault, error.to_string()))?;
    let mut fetched = Vec::new();
    for Dropped { original, path } in dropped {
        let job = snapshot.jobs.iter().find(|job| job.path == *path);
        let (link, bytes) = job.map_or((String::new(), 0), |job| (job.link.clone().unwrap_or_default(), job.bytes));
        let mut compare = Compare::new(original).map_err(|error| failed("cannot read a file again", &error))?;
        let came = transport.fetch(&link, |frame| compare.frame(frame)).await;
        let equal = came.is_ok() && compare.ends_here();
        let name = render::path(original.file_name().unwrap_or_default().as_ref());
        fetched.push(Fetched { name, bytes, link, equal });
    }
    Ok(fetched)
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
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["FILE", "SIZE", "LINK", "FETCHED BACK"]);
    for file in fetched {
        let verdict = if file.equal { "equal" } else { "DIFFERENT" };
        table.add_row([file.name.as_str(), &render::size(file.bytes), &file.link, verdict]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}
