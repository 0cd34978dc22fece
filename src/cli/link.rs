//! `ferryd link PATH`: the newest link of a file; where its host gives none that lasts, a fresh one that passes.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{self, ProcessEnvironment};
use crate::host::http::Clients;
use crate::host::kinds::KINDS;
use crate::host::{KeptTokens, registry};
use crate::job::JobRow;
use crate::os::system::System;

use super::exit::Exit;
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::steer::unknown_file;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The link on this host.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
    /// Read the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// What `--json` prints. Fields are only ever added.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    link: &'a str,
    /// Whether it ends soon.
    temporary: bool,
    job: &'a JobRow,
}

pub(super) fn run(file: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(file.clone(), arguments.state_dir.as_ref())?;
    let failed = |error| CommandFailure::store(&place.dir, &error);
    let path: PathBuf = std::path::absolute(&arguments.path).unwrap_or_else(|_| arguments.path.clone()).components().collect();
    let Some(view) = place.open(arguments.host.as_slice())? else { return Ok(Exit::Usage) };
    let jobs = view.uploads_of(&path).map_err(failed)?;
    let of_host = |job: &&JobRow| arguments.host.as_ref().is_none_or(|host| job.host == *host);
    let Some(newest) = jobs.iter().find(of_host) else {
        if view.known(&path).map_err(failed)?.is_none() {
            return Err(unknown_file(&view, &path, path.is_dir()).map_err(failed)?);
        }
        let message = format!("`{}` is not uploaded yet", render::path(&path));
        return Err(CommandFailure::new(Exit::Fault, message).hint("`ferryd why` tells what it waits for, and `ferryd wait` waits"));
    };
    drop(view);
    let (link, temporary) = match &newest.link {
        Some(link) => (link.clone(), false),
        None => (address(file, newest)?, true),
    };
    if arguments.json {
        let document = Document { version: 1, link: &link, temporary, job: newest };
        let text = serde_json::to_string_pretty(&document).map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?;
        render::out(&format!("{text}\n"))?;
    } else {
        render::out(&format!("{}\n", render::line(&link)))?;
    }
    Ok(Exit::Fine)
}

/// An address that the host gives out now.
fn address(file: Option<PathBuf>, job: &JobRow) -> Result<String, CommandFailure> {
    let file = file.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
    let config = config::load(&file, KINDS, &ProcessEnvironment).map_err(|error| CommandFailure::configuration(&error))?;
    let none = || without_link(&job.path, job);
    let host = config.hosts.iter().find(|host| host.name == job.host);
    let (Some(host), Some(id)) = (host, job.remote_id.as_deref()) else { return Err(none()) };
    let failed = |error| CommandFailure::new(Exit::Fault, format!("host `{}` gives no link: {error}", job.host));
    let system = System::default();
    let tokens = KeptTokens::read_only(&system, &config.daemon.state_dir);
    let speaks = registry::host(host, &ProcessEnvironment, &Clients::new(&system), &tokens).map_err(failed)?;
    let address = super::runtime()?.block_on(speaks.address(id)).map_err(failed)?;
    address.map(|address| address.reveal().to_owned()).ok_or_else(none)
}

fn without_link(path: &Path, job: &JobRow) -> CommandFailure {
    let message = format!("host `{}` gives no link to `{}`", job.host, render::path(path));
    let failure = CommandFailure::new(Exit::Fault, message);
    match &job.remote_id {
        Some(id) => failure.hint(format!("its own name for the file is {}", render::line(id))),
        None => failure,
    }
}
