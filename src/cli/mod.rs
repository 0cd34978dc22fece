//! What a person types and reads: the command tree, and one module per command.

mod answering;
mod bench;
mod changes;
mod check;
mod daemon;
#[cfg(feature = "sandbox")]
mod demo;
mod exit;
mod folders;
mod init;
mod link;
mod links;
mod log;
mod manual;
mod pending;
mod progress;
mod protocol;
mod queue;
mod reloading;
mod render;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod send;
mod service;
mod show;
mod since;
mod states;
mod status;
mod steer;
mod vitals;
mod why;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, ProcessEnvironment};
use crate::host::kinds::KINDS;
use crate::job::steer::Order;

pub use exit::Exit;
use render::CommandFailure;

/// Drop a file into a folder, and get a link to it on your file hosts.
#[derive(Debug, Parser)]
#[command(name = "ferryd", version, max_term_width = 100)]
struct Arguments {
    /// The configuration file [default: $FERRYD_CONFIG, else ~/.config/ferryd/config.toml, else /etc/ferryd/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground.
    ///
    /// SIGTERM or SIGINT stops it after the parts in flight have been sent; a second one stops it at once. SIGHUP reloads the
    /// configuration. `kill -9` is safe, too: no file is lost, and no more than the parts in flight are sent again.
    Run(run::Arguments),
    /// Show the queue: what needs you, what is uploading, what is waiting and why, and the newest links; --watch shows it live.
    #[command(after_help = STATUS_HELP)]
    Status(status::Arguments),
    /// List uploaded files with their links.
    Links(links::Arguments),
    /// Tell all that is known of one path: its watch, its jobs, what excludes it, what it waits for.
    Why(why::Arguments),
    /// Show all that the queue has of one job.
    Show(show::Arguments),
    /// Print the newest link of a file, or a fresh temporary one where its host gives no lasting links.
    Link(link::Arguments),
    /// Upload files to a host, wherever they are: no watch is needed, and none decides about them.
    #[command(after_help = SEND_HELP)]
    Send(send::Arguments),
    /// Try waiting, held and failed jobs at once, also on a host that is paused or on hold.
    ///
    /// A hook or after-action that failed is run again, too.
    Retry(steer::Arguments),
    /// Set jobs aside until `ferryd resume`. What the hosts have confirmed is kept.
    ///
    /// An upload under way stops within seconds; a file that is just being completed on the host will be. A paused job stays so when the
    /// daemon restarts and when its file is renamed. Files that arrive later are uploaded as usual.
    Pause(steer::Arguments),
    /// Continue paused jobs where they were.
    Resume(steer::Arguments),
    /// Give jobs up: what is not on the host yet will not be sent. The files stay where they are.
    ///
    /// A half-sent upload is cancelled on the host where that is possible. A new version of a file is a new job.
    Cancel(steer::Arguments),
    /// Upload files anew that are done, cancelled or have failed. Earlier links stay in the list.
    ///
    /// Where a host never said whether it has a file, and the decision is yours, the file is sent again.
    Again(steer::Arguments),
    /// Remove jobs that are over from the history: done, failed, gone or cancelled.
    ///
    /// Their files stay known and are not uploaded again; nothing on a host is touched. What still has a hook, a link's renewal or the
    /// after-action to come stays.
    Forget(steer::ForgetArguments),
    /// Have the daemon read its configuration again, and tell what has changed or why it is refused.
    Reload(daemon::Arguments),
    /// Stop the daemon once the parts in flight have been sent, and wait until it has stopped.
    Stop(daemon::Arguments),
    /// Wait until nothing is left to upload.
    #[command(after_help = WAIT_HELP)]
    Wait(daemon::WaitArguments),
    /// Run ferryd as a service of systemd or launchd.
    Service(service::Arguments),
    /// Check the configuration, folders, secrets and system limits; with --online, also each host's login.
    Check(check::Arguments),
    /// Measure how fast this machine, its disk and a host are, and tell where the brake is.
    #[command(after_help = BENCH_HELP)]
    Bench(bench::Arguments),
    /// Write a first configuration, asking for what is not given.
    Init(init::Arguments),
    /// Print what a shell needs to complete commands and options.
    Completions(manual::CompletionsArguments),
    /// Print the manual page of ferryd, or of one of its commands.
    Man(manual::ManArguments),
    /// Try ferryd without an account: upload files to practice hosts on this machine, download and compare them.
    #[cfg(feature = "sandbox")]
    Demo(demo::Arguments),
    /// Run the practice hosts on this machine, to try settings and faults without an account.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Arguments),
}

/// What a person may want to know besides of `ferryd status`.
const STATUS_HELP: &str = "\
States: queued, uploading, waiting (until a time), held (needs your attention), uploaded (hooks or the after-action are still to run), \
done; failed (the host will never take this file), gone (changed or removed before it was sent); paused, cancelled.

Exit codes: 0 shown, 2 usage, 3 configuration, 4 the queue cannot be read. They say nothing of the jobs.

For instance:
  ferryd status --watch
  ferryd status ~/Drop/film.mov
  ferryd status --state held --state failed --since 7d
  ferryd status --json | jq .totals";

/// How `ferryd send` is to be used.
const SEND_HELP: &str = "\
Without a running daemon the files are uploaded when one starts; with --wait, one runs for as long as that takes, and goes on with whatever \
else is in the queue.

Exit codes: 0 the files are on their way, or with --wait on the hosts; 5 some need your attention; 1 not over within --timeout; 2 some cannot \
be sent; 3 configuration; 4 the queue cannot be read or written.

For instance:
  ferryd send film.mov --to box --wait
  ferryd send ~/Pictures/2026 --to box --to mirror";

/// How `ferryd bench` is to be used.
const BENCH_HELP: &str = "\
Without --to the files go to a practice host on this machine, and nothing leaves it. With --to they go to a host of the configuration, as it \
is configured, and stay there: ferryd cannot delete them. A host that is not on this machine therefore takes --yes. What is made here, the \
queue among it, is removed in the end; the daemon and its queue are not touched.

Exit codes: 0 measured, 2 usage, or --yes is missing, 3 the configuration or its credentials, 5 the host does not take the files, \
1 anything else.

For instance:
  ferryd bench
  ferryd bench --to box --size 16MiB --files 20 --yes
  ferryd bench --json | jq .brakes";

/// How the exit codes of `ferryd wait` are to be read.
const WAIT_HELP: &str = "\
Exit codes: 0 nothing is left, 5 jobs need your attention (held, failed or paused, or waiting for a line of the configuration), \
1 not over within --timeout, 4 the daemon is not running, or the queue cannot be read.";

/// Does what the command line says.
pub fn main() -> Exit {
    let Arguments { config, command } = Arguments::parse();
    keep_memory_private();
    let done = match command {
        Command::Run(arguments) => run::run(config, &arguments),
        Command::Status(arguments) => status::run(config, &arguments),
        Command::Why(arguments) => why::run(config, &arguments),
        Command::Show(arguments) => show::run(config, &arguments),
        Command::Link(arguments) => link::run(config, &arguments),
        Command::Send(arguments) => send::run(config, &arguments),
        Command::Retry(arguments) => steer::run(config, Order::Retry, &arguments),
        Command::Pause(arguments) => steer::run(config, Order::Pause, &arguments),
        Command::Resume(arguments) => steer::run(config, Order::Resume, &arguments),
        Command::Cancel(arguments) => steer::run(config, Order::Cancel, &arguments),
        Command::Again(arguments) => steer::run(config, Order::Again, &arguments),
        Command::Forget(arguments) => steer::forget(config, &arguments),
        Command::Reload(arguments) => daemon::reload(config, &arguments),
        Command::Stop(arguments) => daemon::stop(config, &arguments),
        Command::Wait(arguments) => daemon::wait(config, &arguments),
        Command::Service(arguments) => service::run(config, arguments),
        Command::Check(arguments) => check::run(config, &arguments),
        Command::Bench(arguments) => bench::run(config, &arguments),
        Command::Links(arguments) => links::run(config, &arguments),
        Command::Init(arguments) => init::run(config, &arguments),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Man(arguments) => manual::man(&arguments),
        #[cfg(feature = "sandbox")]
        Command::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => sandbox::run(&arguments),
    };
    done.unwrap_or_else(|failure| {
        render::failure(&failure);
        failure.exit
    })
}

/// Several commands read secrets. What is in memory goes into no core file, and no other process of the user's may read it.
fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let none = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        render::note(format!("ferryd: cannot switch core files off: {error}"));
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        render::note(format!("ferryd: cannot keep other processes from reading this one's memory: {error}"));
    }
}

/// The configuration that was named, or the one in its usual place.
fn load(path: Option<PathBuf>) -> Result<Config, CommandFailure> {
    let path = path.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
    config::load(&path, KINDS, &ProcessEnvironment).map_err(|error| CommandFailure::configuration(&error))
}

/// A runtime for a command that is not the daemon.
fn runtime() -> Result<tokio::runtime::Runtime, CommandFailure> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot start the runtime: {error}")))
}
