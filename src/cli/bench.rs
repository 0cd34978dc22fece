//! `ferryd bench`: how fast this machine, its disk and a host are, and where the brake is. Each is measured alone, and then uploads are,
//! made by the daemon's own engine. Nothing of it stays on this machine; what a `kill -9` leaves goes with the next measurement.

mod brake;
mod digest;
mod disk;
mod engine;
mod loopback;
mod observed;
mod place;
#[cfg(feature = "sandbox")]
mod practice;
mod processor;
mod queue;
mod rate;
mod report;
mod stop;
mod target;
mod trouble;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
#[cfg(feature = "sandbox")]
use clap::builder::PossibleValuesParser;

use crate::config::{Daemon, HostConfig, ProcessEnvironment};
use crate::job::bandwidth::Bandwidth;
use crate::job::flow::{self, InFlight};
use crate::os::clock::{self, Clock};
use crate::os::lock::owner;

use super::exit::Exit;
use super::progress::Progress;
use super::render::{self, CommandFailure};
use disk::Disk;
use engine::Engine;
use place::Place;
use queue::Queue;
use report::{Document, Measured};
use stop::Stop;
use target::{Configured, FILE_PREFIX, Load};
use upload::{Alone, Uploaded, Uploads};

/// The size of a small file.
const SMALL_BYTES: u64 = 4 * 1024;
/// How many there are unless somebody says.
const FILES: u64 = 100;
const PRACTICE_FILES: u64 = 1000;
/// Small files that are uploaded one after the other, at most.
const ALONE_MAX: u64 = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Upload to this host of the configuration [default: a practice host on this machine]
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
    /// What kind the practice host is.
    #[cfg(feature = "sandbox")]
    #[arg(long, value_name = "KIND", conflicts_with = "to", hide_possible_values = true)]
    #[arg(default_value = practice::kinds()[0], value_parser = PossibleValuesParser::new(practice::kinds()))]
    kind: String,
    /// Upload to a host that is not on this machine; what is uploaded stays there.
    #[arg(long)]
    yes: bool,
    /// The size of the large file.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    size: u64,
    /// How many small files, of 4 KiB each [default: 100, or 1000 for a practice host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    files: Option<u64>,
    /// How long each measurement may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    time: Duration,
    /// Measure the disk that this folder is on; it must not be watched [default: the state folder]
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn load(&self) -> Load {
        let files = self.files.unwrap_or(if self.to.is_some() { FILES } else { PRACTICE_FILES });
        Load { large_bytes: self.size, files, file_bytes: SMALL_BYTES }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>().map(|size| size.as_u64()).ok();
    size.filter(|size| *size > 0).ok_or_else(|| "expected a size such as 512KiB, 64MiB or 1GiB".into())
}

fn time(text: &str) -> Result<Duration, String> {
    super::daemon::duration(text).and_then(|time| {
        let sound = (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&time);
        sound.then_some(time).ok_or_else(|| "expected a time from 1s to 1h".into())
    })
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let configured = Configured::read(config, arguments.to.is_some())?;
    let host = arguments.to.as_ref().map(|name| configured.host(name)).transpose()?;
    if let Some(host) = &host {
        target::refuse_unless_meant(host, arguments.load(), arguments.yes)?;
    }
    let base = match &arguments.folder {
        Some(folder) => place::chosen(folder, configured.config.as_ref())?,
        None => place::usual(&configured.state_dir, configured.config.as_ref()),
    };
    let stop = Stop::default();
    let listener = stop.listen().map_err(|error| trouble::failed("cannot listen for signals", &error))?;
    // A file is never there twice, but a host may need as much room again for what it has not passed on.
    let place = Place::make(&base, arguments.load().bytes().saturating_mul(2))?;
    let mut progress = Progress::new();
    let done = Bench { arguments, configured: &configured, place: &place, stop: &stop }.measure(host, &mut progress);
    progress.clear();
    let removed = place.remove();
    drop(listener);
    if let (Err(_), Err(left)) = (&done, &removed) {
        render::failure(left);
    }
    let document = done.map_err(|failure| match &arguments.to {
        Some(name) if failure.hint.is_none() => failure.hint(format!(
            "what had arrived at `{}` by then stays there, under names that begin with `{FILE_PREFIX}`",
            render::line(name)
        )),
        _ => failure,
    })?;
    removed?;
    tell(&document, arguments.json)
}

fn tell(document: &Document, json: bool) -> Result<Exit, CommandFailure> {
    if json {
        let text = serde_json::to_string_pretty(document);
        render::out(&format!("{}\n", text.map_err(|error| trouble::failed("cannot write the document", &error))?))?;
        return Ok(Exit::Fine);
    }
    render::out(&document.table())?;
    if document.daemon_running {
        render::note("\nA daemon is running here: what it uploads shares the disk, the link and the host with this.");
    }
    if !document.host.practice {
        let (host, files) = (render::line(&document.host.name), render::count(document.left.len() as u64, "file"));
        render::note(format!(
            "\nOn `{host}` now: {files} with names that begin with `{FILE_PREFIX}`. `--json` lists them with their links."
        ));
    }
    Ok(Exit::Fine)
}

/// One measurement.
struct Bench<'a> {
    arguments: &'a Arguments,
    configured: &'a Configured,
    place: &'a Place,
    stop: &'a Stop,
}

impl Bench<'_> {
    fn measure(&self, host: Option<Arc<HostConfig>>, progress: &mut Progress) -> Result<Document, CommandFailure> {
        match host {
            Some(host) => {
                let daemon = self.configured.config.as_ref().map(|config| config.daemon.clone());
                self.measure_with(&host, &daemon.unwrap_or_else(|| self.unlimited()), false, progress)
            }
            None => self.practise(progress),
        }
    }

    #[cfg(feature = "sandbox")]
    fn practise(&self, progress: &mut Progress) -> Result<Document, CommandFailure> {
        let practice = practice::Practice::start(&self.arguments.kind, self.place)?;
        self.measure_with(&practice.host, &self.unlimited(), true, progress)
    }

    #[cfg(not(feature = "sandbox"))]
    fn practise(&self, _: &mut Progress) -> Result<Document, CommandFailure> {
        let failure = CommandFailure::new(Exit::Usage, "this ferryd was built without practice hosts");
        Err(failure.hint("name a host of the configuration with `--to HOST`"))
    }

    /// What a daemon does of which nothing is configured.
    fn unlimited(&self) -> Daemon {
        Daemon {
            state_dir: self.configured.state_dir.clone(),
            max_uploads: None,
            max_connections: 64,
            bandwidth: Bandwidth::unlimited(),
            shutdown_grace: Duration::ZERO,
        }
    }

    fn measure_with(
        &self,
        host: &Arc<HostConfig>,
        daemon: &Daemon,
        practice: bool,
        progress: &mut Progress,
    ) -> Result<Document, CommandFailure> {
        let prefix = format!("{FILE_PREFIX}{:08x}-", rand::random::<u32>());
        let large = self.place.staged().join(format!("{prefix}large.bin"));
        let machine = self.machine(&large, host, progress)?;
        let engine = Engine::start(self.place, host, daemon, self.stop)?;
        let (place, time, stop) = (self.place, self.arguments.time, self.stop);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(if practice { 2 * ENGINE_THREADS } else { ENGINE_THREADS });
        let mut uploads = Uploads { engine, place, time, stop, prefix, threads, jobs: 0, done: 0 };
        progress.now("Logging in");
        let login = uploads.login()?;
        let shape = uploads.engine.ask(stop, async |host| host.shape(machine.large_bytes))?;
        let digests = digest::measure(&shape, machine.large_bytes, time, stop);
        let (large, alone, small) = self.upload(&mut uploads, &large, machine.large_bytes, progress)?;
        let in_flight = small.as_ref().unwrap_or(&large).in_flight;
        let mut document = Document {
            version: 1,
            host: Measured { name: host.name.clone(), kind: host.kind.word(), practice },
            folder: place.base(),
            daemon_running: owner(&self.configured.state_dir).is_some(),
            disk: machine.disk,
            queue: machine.queue,
            digests,
            loopback_per_second: machine.loopback_per_second,
            login_ms: login.as_secs_f64() * 1000.0,
            large,
            alone,
            small,
            uploads_at_once: uploads_at_once(daemon, host, in_flight),
            bandwidth: limit(daemon, host),
            brakes: Vec::new(),
            left: if practice { Vec::new() } else { uploads.left()? },
        };
        stop.check()?;
        document.find_brakes(processors, &shape);
        Ok(document)
    }

    /// What this machine does alone. Leaves the large file at that path, and nothing of it in memory.
    fn machine(&self, large: &Path, host: &HostConfig, progress: &mut Progress) -> Result<Machine, CommandFailure> {
        let (time, stop) = (self.arguments.time, self.stop);
        let large_bytes = disk::write(large, self.arguments.size, time, stop, progress)?;
        let disk = disk::read(large, time, stop, progress)?;
        let queue = queue::measure(&self.queue_folder()?, time.min(QUEUE_TIME_MAX), stop, progress)?;
        let is_here = host.is_on_this_machine(&ProcessEnvironment);
        let loopback_per_second = if is_here { Some(loopback::measure(large_bytes, time, stop)?) } else { None };
        disk::forget(large);
        Ok(Machine { large_bytes, disk, queue, loopback_per_second })
    }

    /// The large file, some small ones one after the other, and the others at once.
    fn upload(
        &self,
        uploads: &mut Uploads<'_>,
        large: &Path,
        bytes: u64,
        progress: &mut Progress,
    ) -> Result<(Uploaded, Alone, Option<Uploaded>), CommandFailure> {
        let large = uploads.large(large, bytes, progress)?;
        let Load { files, file_bytes, .. } = self.arguments.load();
        let first = files.div_ceil(2).min(ALONE_MAX);
        let alone = uploads.alone(first, file_bytes, progress)?;
        let small = if first < files { Some(uploads.small(files - first, file_bytes, progress)?) } else { None };
        Ok((large, alone, small))
    }

    /// A folder for a queue that only counts.
    fn queue_folder(&self) -> Result<PathBuf, CommandFailure> {
        let folder = self.place.path("queue");
        std::fs::create_dir(&folder).map_err(|error| trouble::failed("cannot create a folder", &error))?;
        Ok(folder)
    }
}

/// What this machine does without an upload.
struct Machine {
    large_bytes: u64,
    disk: Disk,
    queue: Queue,
    loopback_per_second: Option<u64>,
}

/// Threads that a daemon has for its tasks, and a practice host for its own.
const ENGINE_THREADS: usize = 2;
/// More time tells nothing more of the queue.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(2);

/// How many files the engine uploads at once, as it is configured or as it goes by its window.
fn uploads_at_once(daemon: &Daemon, host: &HostConfig, window: Option<InFlight>) -> usize {
    let found = flow::uploads(window.map_or(1, |window| window.now));
    daemon.max_uploads.unwrap_or(found).min(host.max_uploads.unwrap_or(found)).max(1)
}

/// Bytes a second that the configuration allows now.
fn limit(daemon: &Daemon, host: &HostConfig) -> Option<u64> {
    let (now, zone) = (clock::now_ms(), Clock::default().zone());
    let limits = [&daemon.bandwidth, &host.bandwidth].map(|bandwidth| bandwidth.limit(now, &zone));
    limits.into_iter().flatten().min()
}
