//! Uploads as a daemon makes them, measured: a large file, files one after the other, and files all at once.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::rename;
use serde::Serialize;

use crate::host::HostError;
use crate::job::flow::InFlight;
use crate::job::{JobRow, Reason, State};
use crate::os::clock;
use crate::store::Snapshot;

use super::super::exit::Exit;
use super::super::progress::Progress;
use super::super::render::{self, CommandFailure};
use super::engine::Engine;
use super::observed::InUse;
use super::place::Place;
use super::processor;
use super::rate::{Times, per_second};
use super::stop::Stop;
use super::trouble::failed;

/// How often the host is asked whether it takes the credentials.
const LOGINS: usize = 3;
const LOOK: Duration = Duration::from_millis(20);
/// How much longer than it may take nothing may come before a measurement fails.
const NOTHING_CAME: Duration = Duration::from_secs(20);

/// The states of files that will not be uploaded by waiting.
const NOT_TAKEN: [State; 3] = [State::Held, State::Failed, State::Gone];

/// How uploads went.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Uploaded {
    pub files: u64,
    /// How many of them the host has, confirmed and on record.
    pub done: u64,
    pub bytes: u64,
    /// How many of them went in this time.
    pub sent: u64,
    pub seconds: f64,
    pub bytes_per_second: u64,
    pub files_per_second: f64,
    /// How many requests were in flight.
    pub requests: InUse,
    /// How many there might have been, as the engine had found in the end.
    pub in_flight: Option<InFlight>,
    /// How much of the processors that can be at work here was used or waited for, from 0 to 1.
    pub processor: f64,
}

/// How long files took that came when nothing else was to do.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Alone {
    pub files: u64,
    /// From its last byte in the folder to the first on its way to the host.
    pub first_byte: Option<Times>,
    /// From the same to its upload being on record.
    pub done: Option<Times>,
}

/// A file that the host has now.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Left {
    pub name: String,
    pub link: Option<String>,
}

/// What uploads are measured with.
pub(super) struct Uploads<'a> {
    pub engine: Engine,
    pub place: &'a Place,
    /// How long each measurement may take.
    pub time: Duration,
    pub stop: &'a Stop,
    /// What the names of files begin with.
    pub prefix: String,
    /// Threads that may be at work at once.
    pub threads: usize,
    /// Jobs by now, all told.
    pub jobs: usize,
    /// Those of them that are done.
    pub done: u64,
}

impl Uploads<'_> {
    /// How long the host takes to say that it knows us, at best.
    pub(super) fn login(&self) -> Result<Duration, CommandFailure> {
        let mut best = Duration::MAX;
        for _ in 0..LOGINS {
            let begun = Instant::now();
            let said = self.engine.ask(self.stop, async |host| tokio::time::timeout(self.time, host.check()).await)?;
            said.map_err(|_| unanswered(self.time))?.map_err(|error| refused(&error))?;
            best = best.min(begun.elapsed());
        }
        Ok(best)
    }

    /// One file, which is made already.
    pub(super) fn large(&mut self, staged: &Path, bytes: u64, progress: &mut Progress) -> Result<Uploaded, CommandFailure> {
        self.together(&[staged.to_owned()], bytes, "Uploading a large file", progress)
    }

    /// So many small files at once.
    pub(super) fn small(&mut self, files: u64, file_bytes: u64, progress: &mut Progress) -> Result<Uploaded, CommandFailure> {
        let staged = (0..files).map(|number| self.stage(&format!("{number:05}"), file_bytes)).collect::<Result<Vec<_>, _>>()?;
        self.together(&staged, file_bytes, "Uploading small files", progress)
    }

    /// So many small files, each when the one before it is done.
    pub(super) fn alone(&mut self, files: u64, file_bytes: u64, progress: &mut Progress) -> Result<Alone, CommandFailure> {
        let (begun, mut first_bytes, mut done) = (Instant::now(), Vec::new(), Vec::new());
        while (done.len() as u64) < files && (done.is_empty() || begun.elapsed() < self.time) {
            let staged = self.stage(&format!("alone-{:03}", done.len()), file_bytes)?;
            self.engine.requests.begin();
            let (came, came_ms) = (Instant::now(), clock::now_ms());
            self.watch(&staged)?;
            let (snapshot, took) = self.wait(1, came, |_| {})?;
            let job = snapshot.jobs.iter().find(|job| is_of(job, &staged));
            if job.is_none_or(|job| job.state != State::Done) {
                self.give_up()?;
                break;
            }
            first_bytes.extend(self.engine.requests.first_byte().map(|at| at.saturating_duration_since(came)));
            done.push(job.map_or(took, |job| on_record(job, came_ms, took)));
            progress.step("Uploading files one after the other", done.len() as u64, files);
        }
        Ok(Alone { files: done.len() as u64, first_byte: Times::of(first_bytes), done: Times::of(done) })
    }

    /// What the host has now.
    pub(super) fn left(&mut self) -> Result<Vec<Left>, CommandFailure> {
        let jobs = self.engine.look(self.jobs)?.jobs;
        let there = jobs.iter().filter(|job| matches!(job.state, State::Done | State::Uploaded));
        let name = |job: &JobRow| job.stored_name.clone().unwrap_or_else(|| name_of(&job.path));
        Ok(there.map(|job| Left { name: name(job), link: job.link.clone().or(job.remote_id.clone()) }).collect())
    }

    fn stage(&self, name: &str, bytes: u64) -> Result<PathBuf, CommandFailure> {
        let cannot = |error: io::Error| failed("cannot write a file to measure with", &error);
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
        rand::fill(&mut content[..]);
        let path = self.place.staged().join(format!("{}{name}.bin", self.prefix));
        File::create_new(&path).and_then(|mut file| file.write_all(&content)).map_err(cannot)?;
        Ok(path)
    }

    /// Has a file be there at once, as one that is closed.
    fn watch(&self, staged: &Path) -> Result<(), CommandFailure> {
        let watched = self.place.watched().join(staged.file_name().unwrap_or_default());
        rename(staged, watched).map_err(|error| failed("cannot move a file into the watched folder", &error))
    }

    /// Files that come together, each of so many bytes.
    fn together(
        &mut self,
        staged: &[PathBuf],
        bytes: u64,
        what: &str,
        progress: &mut Progress,
    ) -> Result<Uploaded, CommandFailure> {
        let files = staged.len() as u64;
        self.engine.requests.begin();
        let (came, came_ms, worked) = (Instant::now(), clock::now_ms(), processor::wanted());
        for path in staged {
            self.stop.check()?;
            self.watch(path)?;
        }
        let all = files * bytes;
        let (snapshot, waited) = self.wait(staged.len(), came, |left| progress.step(what, all.saturating_sub(left), all))?;
        let (worked, requests) = (processor::wanted().saturating_sub(worked), self.engine.requests.over(waited));
        let in_flight = self.engine.window(self.stop);
        let names: HashSet<Option<&OsStr>> = staged.iter().map(|path| path.file_name()).collect();
        let ours: Vec<&JobRow> = snapshot.jobs.iter().filter(|job| names.contains(&job.path.file_name())).collect();
        let done = ours.iter().filter(|job| job.state == State::Done).count() as u64;
        let took =
            if done == files { ours.iter().map(|job| on_record(job, came_ms, waited)).max().unwrap_or(waited) } else { waited };
        if done < files {
            self.give_up()?;
        }
        let sent = ours.iter().map(|job| job.sent).sum();
        let seconds = took.as_secs_f64().max(f64::EPSILON);
        Ok(Uploaded {
            files,
            done,
            bytes: all,
            sent,
            seconds,
            bytes_per_second: per_second(sent, took),
            files_per_second: done as f64 / seconds,
            requests,
            in_flight,
            processor: (worked.as_secs_f64() / waited.as_secs_f64().max(f64::EPSILON) / self.threads as f64).min(1.0),
        })
    }

    /// Gives up what has not been uploaded by now, so that what comes next has the host alone.
    fn give_up(&mut self) -> Result<(), CommandFailure> {
        self.engine.give_up();
        self.done = in_states(&self.engine.look(0)?, &[State::Done]);
        Ok(())
    }

    /// Waits until so many more jobs have ended, or the time is over and something came. Answers how long that took.
    fn wait(&mut self, jobs: usize, since: Instant, mut tell: impl FnMut(u64)) -> Result<(Snapshot, Duration), CommandFailure> {
        let before = self.done;
        self.jobs += jobs;
        loop {
            self.stop.check()?;
            let (looked, snapshot) = (since.elapsed(), self.engine.look(0)?);
            if in_states(&snapshot, &NOT_TAKEN) > 0 {
                return Err(not_taken(&self.engine.look(self.jobs)?.jobs));
            }
            self.done = in_states(&snapshot, &[State::Done]);
            if self.done >= before + jobs as u64 {
                return Ok((self.engine.look(self.jobs)?, looked));
            }
            tell(snapshot.bytes_moving.values().sum());
            if looked > self.time {
                let snapshot = self.engine.look(self.jobs)?;
                let something_came = snapshot.jobs.iter().any(|job| job.state != State::Done && job.sent > 0) || self.done > before;
                if something_came {
                    return Ok((snapshot, looked));
                }
                if looked > self.time + NOTHING_CAME {
                    return Err(nothing_came(&snapshot.jobs));
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// How many jobs are in one of the states.
fn in_states(snapshot: &Snapshot, states: &[State]) -> u64 {
    snapshot.totals.iter().filter(|(state, _)| states.contains(state)).map(|(_, jobs)| jobs).sum()
}

/// How long it took until an upload was on record, as the queue says, if that can be.
fn on_record(job: &JobRow, came_ms: i64, waited: Duration) -> Duration {
    let took = job.done_at_ms.and_then(|at| u64::try_from(at.saturating_sub(came_ms)).ok()).map(Duration::from_millis);
    took.filter(|took| *took > Duration::ZERO && *took <= waited).unwrap_or(waited)
}

fn is_of(job: &JobRow, staged: &Path) -> bool {
    job.path.file_name() == staged.file_name()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn refused(error: &HostError) -> CommandFailure {
    let exit = if super::super::check::is_ours_to_mend(error) { Exit::Configuration } else { Exit::Fault };
    CommandFailure::new(exit, format!("the host cannot be used: {error}"))
        .hint("`ferryd check --online` tests it without an upload")
}

fn unanswered(time: Duration) -> CommandFailure {
    let message = format!("the host cannot be used: it has not answered the login test within {}", render::duration(time));
    CommandFailure::new(Exit::Fault, message).hint("`--time` gives it longer")
}

fn why(job: &JobRow) -> String {
    let why = job.why.as_ref().map_or("no reason given".into(), Reason::to_string);
    format!("`{}` is {}: {}", render::line(&name_of(&job.path)), job.state, render::line(&why))
}

fn not_taken(jobs: &[JobRow]) -> CommandFailure {
    let stuck = jobs.iter().find(|job| NOT_TAKEN.contains(&job.state));
    CommandFailure::new(Exit::Person, stuck.map_or("an upload failed".into(), why))
}

fn nothing_came(jobs: &[JobRow]) -> CommandFailure {
    let waits = jobs.iter().find(|job| job.state != State::Done);
    CommandFailure::new(
        Exit::Fault,
        format!("nothing has been uploaded within the time: {}", waits.map_or("nothing waits".into(), why)),
    )
    .hint("give it longer with `--time`, or less to do with `--size`")
}
