//! What a person types and reads: the command tree, and one module per command.

mod check;
mod demo;
mod exit;
mod links;
mod queue;
mod render;
mod run;
mod sandbox;
mod status;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, ProcessEnvironment};

pub use exit::Exit;
use render::CommandFailure;

/// Drop a file into a folder; it is on the host, and you have the link.
#[derive(Debug, Parser)]
#[command(name = "ferryd", version, max_term_width = 100)]
struct Arguments {
    /// The configuration [default: $FERRYD_CONFIG, else ~/.config/ferryd/config.toml, else /etc/ferryd/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground.
    ///
    /// SIGTERM or SIGINT lets the parts in flight arrive and ends; a second one ends at once; SIGHUP reads the configuration again.
    /// `kill -9` is a supported way to stop.
    Run(run::Arguments),
    /// Show the queue: totals, hosts, watches, and the jobs with their progress, link or reason.
    Status(status::Arguments),
    /// Show what is up, and where: each file that a host has, with its link.
    Links(links::Arguments),
    /// Check the configuration, the folders, the secrets and the limits of this machine; with --online, each host's login.
    Check(check::Arguments),
    /// See ferryd at work without an account: five sandbox hosts, a daemon, your files in, links out, fetched back and compared.
    Demo(demo::Arguments),
    /// Serve the sandbox hosts on loopback, to try settings and faults without an account.
    Sandbox(sandbox::Arguments),
}

/// Does what the command line says.
pub fn main() -> Exit {
    let Arguments { config, command } = Arguments::parse();
    let done = match command {
        Command::Run(arguments) => run::run(config, &arguments),
        Command::Status(arguments) => status::run(config, &arguments),
        Command::Check(arguments) => check::run(config, &arguments),
        Command::Links(arguments) => links::run(config, &arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Sandbox(arguments) => sandbox::run(&arguments),
    };
    done.unwrap_or_else(|failure| {
        render::failure(&failure);
        failure.exit
    })
}

/// The configuration that was named, or the one in its usual place.
fn load(path: Option<PathBuf>) -> Result<Config, CommandFailure> {
    let path = path.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
    config::load(&path, &ProcessEnvironment).map_err(|error| CommandFailure::configuration(&error))
}

/// A runtime for a command that is not the daemon.
fn runtime() -> Result<tokio::runtime::Runtime, CommandFailure> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot start the runtime: {error}")))
}
