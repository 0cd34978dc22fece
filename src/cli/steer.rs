//! `ferryd retry`, `pause`, `resume`, `cancel`, `again` and `forget`: asks the running daemon, or writes the queue itself while none runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::config;
use crate::job::steer::{Order, Selection, Steered};
use crate::job::{JobId, State};
use crate::os::clock;
use crate::os::lock::{Lock, LockError, LockNote, owner};
use crate::store::{Query, Store, StoreError, View};

use super::exit::Exit;
use super::protocol::{self, Reply, Request};
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::since::{Since, parse_since};
use super::states::states;

/// How long a daemon may take to carry out an order: as long as its disk is full, it cannot.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a daemon that holds the lock may take to listen, or to let go of it.
const BETWEEN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Jobs by their numbers, or files by their paths. A file whose name is a number is written `./8`.
    #[arg(value_name = "JOB|PATH")]
    what: Vec<PathBuf>,
    /// Every job.
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// Only jobs for this host; can be given more than once.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Only jobs in this state; can be given more than once.
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Vec<State>,
    /// Only jobs for files in this folder and below; can be given more than once.
    #[arg(long = "in", id = "below", value_name = "PATH")]
    below: Vec<PathBuf>,
    /// Only tell what would happen.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
    /// Use the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ForgetArguments {
    #[command(flatten)]
    jobs: Arguments,
    /// Only jobs that were over before then: a date, a time, `today`, `yesterday`, or how long ago, such as `2h` or `7d`.
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    older_than: Option<Since>,
}

/// What `--json` prints. Fields are only ever added.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    order: Order,
    /// Whether this is only what would happen.
    dry_run: bool,
    /// Whether a daemon has carried it out; else it takes effect when one starts.
    running: bool,
    changed: u64,
    jobs: &'a [JobId],
    stopping: &'a [JobId],
    unchanged: &'a std::collections::BTreeMap<State, u64>,
}

pub(super) fn run(config: Option<PathBuf>, order: Order, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    if arguments.choose_nothing() {
        let failure = CommandFailure::new(Exit::Usage, "which jobs? None is named");
        return Err(failure.hint("give their numbers or the paths of their files, or choose with --host, --state, --in or --all"));
    }
    carry_out(config, order, arguments, selection(arguments))
}

pub(super) fn forget(config: Option<PathBuf>, arguments: &ForgetArguments) -> Result<Exit, CommandFailure> {
    let before_ms = arguments.older_than.map(|Since(ms)| ms);
    if arguments.jobs.choose_nothing() && before_ms.is_none() {
        let failure = CommandFailure::new(Exit::Usage, "which jobs? None is named");
        return Err(failure
            .hint("give their numbers or the paths of their files, or choose with --older-than, --host, --state, --in or --all"));
    }
    carry_out(config, Order::Forget, &arguments.jobs, Selection { before_ms, ..selection(&arguments.jobs) })
}

fn carry_out(config: Option<PathBuf>, order: Order, arguments: &Arguments, selection: Selection) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(config, arguments.state_dir.as_ref())?;
    let view = place.open(&arguments.host)?;
    let (steered, running) = match view {
        Some(mut view) => {
            check_names(&mut view, &place.dir, &selection)?;
            if arguments.dry_run {
                let foreseen = view.foresee(order, &selection).map_err(|error| CommandFailure::store(&place.dir, &error))?;
                (foreseen, owner(&place.dir).is_some())
            } else {
                drop(view);
                give(&place.dir, order, &selection)?
            }
        }
        // That there is no queue has been said.
        None if selection.names() => return Ok(Exit::Usage),
        None => (Steered::default(), false),
    };
    if arguments.json {
        let Steered { changed, jobs, stopping, unchanged, .. } = &steered;
        let dry_run = arguments.dry_run;
        let document = Document { version: 1, order, dry_run, running, changed: *changed, jobs, stopping, unchanged };
        let text = serde_json::to_string_pretty(&document).map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?;
        render::out(&format!("{text}\n"))?;
        return Ok(Exit::Fine);
    }
    let told = if arguments.dry_run { foretold(order, &steered) } else { told(order, &steered, running) };
    render::out(&format!("{told}\n"))?;
    Ok(Exit::Fine)
}

impl Arguments {
    fn choose_nothing(&self) -> bool {
        self.what.is_empty() && !self.all && self.host.is_empty() && self.state.is_empty() && self.below.is_empty()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.components().collect())
}

fn selection(arguments: &Arguments) -> Selection {
    let mut selection = Selection {
        below: arguments.below.iter().map(|path| absolute(path)).collect(),
        hosts: arguments.host.clone(),
        states: arguments.state.clone(),
        ..Selection::default()
    };
    for what in &arguments.what {
        match what.to_str().and_then(|text| text.parse().ok()) {
            Some(number) => selection.jobs.push(JobId(number)),
            None => selection.files.push(absolute(what)),
        }
    }
    selection
}

/// What is named must be there: a slip of the pen steers nothing.
fn check_names(view: &mut View, dir: &Path, selection: &Selection) -> Result<(), CommandFailure> {
    let failed = |error: StoreError| CommandFailure::store(dir, &error);
    for id in &selection.jobs {
        if view.job(*id).map_err(failed)?.is_none() {
            return Err(CommandFailure::new(Exit::Usage, format!("there is no job {id}")).hint("`ferryd status` lists the jobs"));
        }
    }
    for path in &selection.files {
        let query = Query { paths: vec![path.clone()], limit: 1, now_ms: clock::now_ms(), ..Query::default() };
        let found = view.snapshot(&query).map_err(failed)?.jobs;
        if !found.iter().any(|job| job.path == *path) {
            return Err(unknown_file(view, path, !found.is_empty()).map_err(failed)?);
        }
    }
    Ok(())
}

/// That there is no job for a file, with what may have been meant.
pub(super) fn unknown_file(view: &View, path: &Path, is_folder: bool) -> Result<CommandFailure, StoreError> {
    let shown = render::path(path);
    if is_folder {
        let failure = CommandFailure::new(Exit::Usage, format!("`{shown}` is a folder"));
        return Ok(failure.hint(format!("`--in '{shown}'` means every file in it")));
    }
    let failure = CommandFailure::new(Exit::Usage, format!("there is no job for `{shown}`"));
    let beside = view.names_beside(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nearest = config::did_you_mean(&name, beside.iter().map(String::as_str));
    Ok(failure.hint(nearest.map_or_else(|| format!("`ferryd status '{shown}'` may tell why"), |nearest| render::line(&nearest))))
}

/// Has the daemon carry out the order, or carries it out here while none runs. Answers which.
pub(super) fn give(dir: &Path, order: Order, selection: &Selection) -> Result<(Steered, bool), CommandFailure> {
    let mut waited = Duration::ZERO;
    loop {
        if owner(dir).is_some() {
            let request = Request::Steer { order, selection: selection.clone() };
            if let Some(reply) = protocol::ask(dir, request, PATIENCE)? {
                return match reply {
                    Reply::Steered { steered } => Ok((steered, true)),
                    other => Err(CommandFailure::new(Exit::Fault, format!("the daemon answered something else: {other:?}"))),
                };
            }
        } else if let Some(steered) = without_daemon(dir, |store| store.carry_out(order, selection))? {
            return Ok((steered, false));
        }
        // One that starts or ends just now.
        if waited >= BETWEEN {
            let failure = CommandFailure::new(Exit::State, "a daemon is running but does not listen for commands");
            return Err(failure.hint("the log of the daemon says why; not every file system has sockets"));
        }
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}

/// Does something with the queue in `dir` while no daemon has it, and none can begin; nothing where one has.
pub(super) fn without_daemon<T>(
    dir: &Path,
    work: impl FnOnce(&Store) -> Result<T, StoreError>,
) -> Result<Option<T>, CommandFailure> {
    let failed = |error: StoreError| CommandFailure::store(dir, &error);
    let lock = match Lock::take(dir, std::process::id(), clock::now_ms()) {
        Ok(lock) => lock,
        Err(LockError::Held(_)) => return Ok(None),
        Err(LockError::Io(error)) => return Err(failed(error.into())),
    };
    let (store, thread) = Store::open(dir).map_err(failed)?;
    // A full disk would be waited for.
    store.give_up_waiting();
    let done = work(&store);
    drop(store);
    thread.join();
    let forgotten = lock.update(|note| *note = LockNote { last_end: note.last_end.take(), ..LockNote::default() });
    forgotten.map_err(|error| failed(error.into()))?;
    done.map(Some).map_err(failed)
}

/// What has happened, for a person.
pub(super) fn told(order: Order, steered: &Steered, running: bool) -> String {
    let jobs = render::count(steered.changed, "job");
    let done = match order {
        _ if steered.changed == 0 => "Nothing was changed.".to_owned(),
        Order::Retry => format!("Retrying {jobs} now."),
        Order::Pause => format!("Paused {jobs}."),
        Order::Resume => format!("Resumed {jobs}."),
        Order::Cancel => format!("Cancelled {jobs}."),
        Order::Again => format!("Uploading again: {jobs}."),
        Order::Forget => format!("Removed {jobs} from the history."),
    };
    let stopping = match steered.stopping.len() as u64 {
        0 => String::new(),
        jobs => format!(
            " {} under way will stop within seconds; a file that is just being completed will be.",
            render::count(jobs, "upload")
        ),
    };
    let later = if running || steered.changed == 0 || order == Order::Forget {
        ""
    } else {
        " The daemon is not running; this counts when it starts."
    };
    format!("{done}{stopping}{later}{}", told_unchanged(order, steered))
}

/// What would happen, for a person.
fn foretold(order: Order, steered: &Steered) -> String {
    let jobs = render::count(steered.changed, "job");
    let done = match order {
        _ if steered.changed == 0 => "Nothing would be changed.".to_owned(),
        Order::Retry => format!("Would retry {jobs}."),
        Order::Pause => format!("Would pause {jobs}."),
        Order::Resume => format!("Would resume {jobs}."),
        Order::Cancel => format!("Would cancel {jobs}."),
        Order::Again => format!("Would upload again: {jobs}."),
        Order::Forget => format!("Would remove {jobs} from the history."),
    };
    format!("{done}{}", told_unchanged(order, steered))
}

fn told_unchanged(order: Order, steered: &Steered) -> String {
    let unchanged = steered.unchanged.iter().map(|(state, jobs)| {
        let why = why_unchanged(order, *state).map_or(String::new(), |why| format!(" ({why})"));
        format!("\nLeft as it is: {}, {state}{why}.", render::count(*jobs, "job"))
    });
    unchanged.collect()
}

fn why_unchanged(order: Order, state: State) -> Option<&'static str> {
    match (order, state) {
        (Order::Forget, State::Done | State::Failed | State::Gone | State::Cancelled) => {
            Some("something of its file is still to come, or an earlier upload of it stays")
        }
        (Order::Forget, _) => Some("it is not over; `ferryd cancel` ends it"),
        (_, State::Gone) => Some("the file changed or is no more; a new version has a job of its own"),
        (Order::Again, State::Done | State::Failed | State::Cancelled) => Some("the file has another version or job since"),
        (Order::Again, State::Held) => Some("nothing of it is on the host yet; `ferryd retry` tries it at once"),
        (Order::Retry | Order::Resume, State::Done) => Some("`ferryd again` uploads it anew"),
        (Order::Retry | Order::Resume, State::Cancelled) => Some("`ferryd again` takes it up"),
        (Order::Retry, State::Paused) => Some("`ferryd resume` continues it"),
        (Order::Retry, State::Failed) => Some("the file has another version or job since"),
        (Order::Retry, State::Waiting) => Some("its watch or host is not configured"),
        (Order::Resume, State::Held | State::Waiting | State::Failed) => Some("`ferryd retry` tries it at once"),
        (Order::Pause | Order::Cancel, State::Uploaded | State::Done) => Some("the host has the file"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_has_happened_and_what_has_not() {
        let mut steered = Steered { changed: 2, stopping: vec![JobId(3)], ..Steered::default() };
        steered.unchanged.insert(State::Done, 1);
        let expected = "Paused 2 jobs. 1 upload under way will stop within seconds; a file that is just being completed will be.\n\
                        Left as it is: 1 job, done (the host has the file).";
        assert_eq!(told(Order::Pause, &steered, true), expected);
        let steered = Steered { changed: 1, ..Steered::default() };
        let expected = "Cancelled 1 job. The daemon is not running; this counts when it starts.";
        assert_eq!(told(Order::Cancel, &steered, false), expected);
        assert_eq!(told(Order::Retry, &Steered::default(), false), "Nothing was changed.");
        let mut steered = Steered { changed: 3, ..Steered::default() };
        assert_eq!(told(Order::Forget, &steered, false), "Removed 3 jobs from the history.");
        steered.unchanged.insert(State::Queued, 1);
        let expected =
            "Would remove 3 jobs from the history.\nLeft as it is: 1 job, queued (it is not over; `ferryd cancel` ends it).";
        assert_eq!(foretold(Order::Forget, &steered), expected);
    }

    #[test]
    fn a_number_is_a_job_and_anything_else_a_file() {
        let arguments = Arguments {
            what: ["8", "./8", "/a/b/../c", "film.mov"].map(PathBuf::from).to_vec(),
            all: false,
            host: Vec::new(),
            state: Vec::new(),
            below: vec!["/d/".into()],
            dry_run: false,
            json: false,
            state_dir: None,
        };
        let selection = selection(&arguments);
        assert_eq!((selection.jobs, selection.below), (vec![JobId(8)], vec![PathBuf::from("/d")]));
        let here = std::env::current_dir().unwrap();
        assert_eq!(selection.files, [here.join("8"), "/a/b/../c".into(), here.join("film.mov")]);
    }

    #[test]
    fn while_no_daemon_runs_none_can_begin_and_how_the_last_one_ended_stays_known() {
        let dir = tempfile::tempdir().unwrap();
        let seen = without_daemon(dir.path(), |_| Ok(Lock::take(dir.path(), 1, 1).is_err() && owner(dir.path()).is_some()));
        assert_eq!(seen.unwrap(), Some(true));
        assert!(owner(dir.path()).is_none() && crate::os::lock::last_end(dir.path()).is_none());
        let _daemon = Lock::take(dir.path(), 1, 1).unwrap();
        assert_eq!(without_daemon(dir.path(), |_| Ok(())).unwrap(), None);
    }
}
