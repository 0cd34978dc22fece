//! `ferryd reload`, `stop` and `wait`: what is asked of a running daemon as a whole.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::job::State;
use crate::os::lock::{self, owner};
use crate::store::{Remaining, StoreError, View};

use super::exit::Exit;
use super::protocol::{self, Reply, Request};
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};

/// How long a reload may take: it waits for scans to leave off, and for folders that do not answer.
const RELOAD_PATIENCE: Duration = Duration::from_secs(120);
/// How much longer than it has said a daemon may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
/// How often the queue is looked at, and how long nothing may be left to do: a file that was just closed is noticed by then.
const WAIT_LOOK: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
    /// Use the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct WaitArguments {
    /// Give up after so long, such as `30s`, `10m` or `2h`, with exit code 1.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    more: Arguments,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 30s, 10m or 2h".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    jiff::SignedDuration::try_from(span).ok().and_then(|span| Duration::try_from(span).ok()).ok_or_else(wrong)
}

fn not_running() -> CommandFailure {
    CommandFailure::new(Exit::State, "the daemon is not running").hint("`ferryd run` starts it")
}

/// What the daemon in `dir` answers.
fn ask(dir: &Path, request: Request, patience: Duration) -> Result<Reply, CommandFailure> {
    if owner(dir).is_none() {
        return Err(not_running());
    }
    let unheard = || CommandFailure::new(Exit::State, "a daemon is running but does not listen for commands");
    protocol::ask(dir, request, patience)?.ok_or_else(unheard)
}

fn print(json: bool, document: &impl Serialize, text: &str) -> Result<(), CommandFailure> {
    if json {
        let document =
            serde_json::to_string_pretty(document).map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?;
        return render::out(&format!("{document}\n"));
    }
    render::out(&format!("{text}\n"))
}

#[derive(Serialize)]
struct Reloaded {
    version: u32,
    changes: String,
}

pub(super) fn reload(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let dir = QueueFolder::find(config, arguments.state_dir.as_ref())?.dir;
    match ask(&dir, Request::Reload, RELOAD_PATIENCE)? {
        Reply::Reloaded { changes } => {
            let text = format!("Configuration reloaded: {}.", render::line(&changes));
            print(arguments.json, &Reloaded { version: 1, changes }, &text)?;
            Ok(Exit::Fine)
        }
        Reply::ReloadRefused { why } => {
            let message =
                format!("the new configuration is refused, and the daemon goes on with the old one: {}", render::line(&why));
            Err(CommandFailure::new(Exit::Configuration, format!("ferryd: {message}"))
                .hint("`ferryd check` tells all that is wrong"))
        }
        other => Err(CommandFailure::new(Exit::Fault, format!("the daemon answered something else: {other:?}"))),
    }
}

#[derive(Serialize)]
struct Stopped {
    version: u32,
    why: String,
}

pub(super) fn stop(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let dir = QueueFolder::find(config, arguments.state_dir.as_ref())?.dir;
    let Reply::Stopping { grace_ms } = ask(&dir, Request::Stop, STOP_PATIENCE)? else {
        return Err(CommandFailure::new(Exit::Fault, "the daemon answered something else"));
    };
    let (begun, patience) = (Instant::now(), Duration::from_millis(grace_ms).saturating_add(STOP_PATIENCE));
    while owner(&dir).is_some() {
        if begun.elapsed() > patience {
            let message = format!("the daemon has been told to stop, and is still running after {}", render::duration(patience));
            return Err(CommandFailure::new(Exit::State, message).hint("`ferryd status` shows what it is doing"));
        }
        std::thread::sleep(LOOK);
    }
    let why = lock::last_end(&dir).map_or_else(|| "nobody knows why".into(), |end| end.why);
    print(arguments.json, &Stopped { version: 1, why: why.clone() }, &format!("The daemon has stopped: {}.", render::line(&why)))?;
    Ok(Exit::Fine)
}

#[derive(Serialize)]
struct Waited {
    version: u32,
    /// Whether nothing is left that the daemon can do.
    over: bool,
    /// Jobs that need a person, by state.
    needs_you: std::collections::BTreeMap<State, u64>,
}

/// Until nothing is left that the daemon can do by itself.
pub(super) fn wait(config: Option<PathBuf>, arguments: &WaitArguments) -> Result<Exit, CommandFailure> {
    let WaitArguments { timeout, more } = arguments;
    let dir = QueueFolder::find(config, more.state_dir.as_ref())?.dir;
    let (begun, mut quiet_since) = (Instant::now(), None);
    loop {
        let remaining = look(&dir).map_err(|error| CommandFailure::store(&dir, &error))?;
        let is_over = remaining.moving == 0;
        if !is_over {
            quiet_since = None;
            if owner(&dir).is_none() {
                return Err(not_running());
            }
        } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET || owner(&dir).is_none() {
            return waited(more.json, true, remaining);
        }
        if timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
            return waited(more.json, false, remaining);
        }
        std::thread::sleep(WAIT_LOOK);
    }
}

fn look(dir: &Path) -> Result<Remaining, StoreError> {
    View::open(dir)?.map_or_else(|| Ok(Remaining::default()), |mut view| view.remaining())
}

fn waited(json: bool, over: bool, remaining: Remaining) -> Result<Exit, CommandFailure> {
    let Remaining { moving, needs_a_person } = remaining;
    let people =
        needs_a_person.iter().map(|(state, jobs)| format!("{} {state}", render::thousands(*jobs))).collect::<Vec<_>>().join(", ");
    let text = match (over, people.is_empty()) {
        (true, true) => "Nothing is left to do.".to_owned(),
        (true, false) => format!("Nothing is left that the daemon can do; waiting for you: {people}. `ferryd status` tells why."),
        (false, _) => format!("Not over yet: {} to go.", render::count(moving, "job")),
    };
    let exit = match (over, people.is_empty()) {
        (true, true) => Exit::Fine,
        (true, false) => Exit::Person,
        (false, _) => Exit::Fault,
    };
    print(json, &Waited { version: 1, over, needs_you: needs_a_person }, &text)?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        assert_eq!(
            ["30s", "10m", "2h", "1h 30m"].map(|text| duration(text).ok().map(|time| time.as_secs())),
            [Some(30), Some(600), Some(7200), Some(5400)]
        );
        for wrong in ["", "soon", "5", "-3s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
