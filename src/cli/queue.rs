//! What the commands that only read the queue have in common: where it is, whether there is one, and which hosts it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Config, HostConfig, ProcessEnvironment};
use crate::host::kinds::KINDS;
use crate::job::bandwidth::Bandwidth;
use crate::store::{FILE_NAME, View};

use super::exit::Exit;
use super::render::{self, CommandFailure};

/// Where a queue is, or will be.
pub(super) struct QueueFolder {
    /// The state folder.
    pub dir: PathBuf,
    /// Names of the configured hosts; nothing without a configuration.
    configured: Vec<String>,
    /// What may be under way.
    pub allowed: Allowed,
}

/// What may be under way, as far as there is a configuration that says so; what is found by measuring it does not say.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    /// How many uploads in all.
    pub uploads: Option<u64>,
    /// How many to each host.
    pub uploads_to: BTreeMap<String, u64>,
    /// How many bytes a second in all.
    pub bandwidth: Option<Bandwidth>,
    /// How many to each host, in the order of their names.
    pub bandwidth_to: Vec<(String, Bandwidth)>,
}

impl Allowed {
    fn of(config: &Config) -> Allowed {
        let of_host = |host: &Arc<HostConfig>| {
            let fixed = host.max_uploads.into_iter().chain(config.daemon.max_uploads).min()?;
            Some((host.name.clone(), fixed as u64))
        };
        Allowed {
            uploads: config.daemon.max_uploads.map(|fixed| fixed as u64),
            uploads_to: config.hosts.iter().filter_map(of_host).collect(),
            bandwidth: Some(config.daemon.bandwidth.clone()),
            bandwidth_to: config.hosts.iter().map(|host| (host.name.clone(), host.bandwidth.clone())).collect(),
        }
    }
}

impl QueueFolder {
    /// The state folder that was named, or the one of the configuration. With a broken configuration it is the folder that still can be
    /// made out, if there is a queue in it: a queue is looked at most when something is wrong.
    pub(super) fn find(config: Option<PathBuf>, state_dir: Option<&PathBuf>) -> Result<QueueFolder, CommandFailure> {
        if let Some(dir) = state_dir {
            return Ok(QueueFolder { dir: dir.clone(), configured: Vec::new(), allowed: Allowed::default() });
        }
        let file = config.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
        let config = match config::load(&file, KINDS, &ProcessEnvironment) {
            Ok(config) => config,
            Err(error) => {
                let dir = config::likely_state_dir(&file, &ProcessEnvironment);
                if !dir.join(FILE_NAME).exists() {
                    return Err(CommandFailure::configuration(&error));
                }
                render::note(format!(
                    "The configuration cannot be used: {} (`ferryd check` tells all of it).",
                    render::line(&error.first())
                ));
                return Ok(QueueFolder { dir, configured: Vec::new(), allowed: Allowed::default() });
            }
        };
        let allowed = Allowed::of(&config);
        let configured = config.hosts.iter().map(|host| host.name.clone()).collect();
        Ok(QueueFolder { dir: config.daemon.state_dir, configured, allowed })
    }

    /// Refuses hosts that nobody knows.
    pub(super) fn check_hosts(&self, asked: &[String]) -> Result<(), CommandFailure> {
        let mut known: BTreeSet<String> = self.configured.iter().cloned().collect();
        // Without a configuration the queue says whom the daemon knows.
        if known.is_empty()
            && let Some(view) = View::open(&self.dir).map_err(|error| CommandFailure::store(&self.dir, &error))?
        {
            known.extend(view.host_names().map_err(|error| CommandFailure::store(&self.dir, &error))?);
        }
        asked.iter().find(|name| !known.contains(*name)).map_or(Ok(()), |name| Err(unknown_host(name, &known)))
    }

    /// Opens the queue for somebody who asks for these hosts. That there is none yet is no failure, and is said.
    pub(super) fn open(&self, asked: &[String]) -> Result<Option<View>, CommandFailure> {
        let view = self.open_silently(asked)?;
        if view.is_none() {
            self.say_that_there_is_none();
        }
        Ok(view)
    }

    /// That there is no queue is no failure.
    pub(super) fn say_that_there_is_none(&self) {
        render::note(format!("There is no queue in `{}` yet; `ferryd run` creates it.", render::path(&self.dir)));
    }

    /// The same, for somebody who draws on the whole terminal.
    pub(super) fn open_silently(&self, asked: &[String]) -> Result<Option<View>, CommandFailure> {
        let failed = |error| CommandFailure::store(&self.dir, &error);
        let view = View::open(&self.dir).map_err(failed)?;
        let mut known: BTreeSet<String> = self.configured.iter().cloned().collect();
        if let Some(view) = &view {
            known.extend(view.host_names().map_err(failed)?);
        }
        // Without a queue and a configuration nobody knows any name.
        match asked.iter().find(|name| !known.contains(*name)) {
            Some(name) if !known.is_empty() => Err(unknown_host(name, &known)),
            _ => Ok(view),
        }
    }
}

pub(super) fn unknown_host(name: &str, known: &BTreeSet<String>) -> CommandFailure {
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let failure = CommandFailure::new(
        Exit::Usage,
        format!("there is no host `{}`; the known hosts are {}", render::line(name), names.join(", ")),
    );
    match config::did_you_mean(name, known.iter().map(String::as_str)) {
        Some(nearest) => failure.hint(nearest),
        None => failure,
    }
}
