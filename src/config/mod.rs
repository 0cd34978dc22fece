//! What the user configured: valid by construction, with every default filled in.
//!
//! The text becomes a tree with positions (`file`), and that the meaning (`resolve`). Every problem found on the way is kept, so
//! that a person mends a file once and not once per mistake.

mod bandwidth;
mod file;
mod hook;
mod hosts;
mod kind;
mod mask;
pub(crate) mod network;
mod problem;
pub(crate) mod reading;
mod remote;
mod resolve;
mod secrets;
mod syntax;
#[cfg(test)]
mod tests;
mod units;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use crate::job::Watches;
use crate::job::attempt::OnUnknown;
use crate::job::bandwidth::Bandwidth;
use crate::os::whole;

use kind::Kinds;
use mask::Masked;

pub(crate) use file::did_you_mean;
pub(crate) use hook::{Field, Hook, HookAction, LinksFormat, Template, TemplatePiece, digest};
pub(crate) use kind::{HostKind, HostSettings, KeepAlive};
pub(crate) use network::{Network, ProxySource};
pub use problem::ConfigError;
pub(crate) use problem::Problem;
pub(crate) use secrets::{SecretError, SecretSource};

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// The `[daemon]` table.
    pub daemon: Daemon,
    /// The `[[watch]]` tables, in the order of the file.
    pub watches: Watches,
    /// The `[host.NAME]` tables, in the order of their names.
    pub hosts: Vec<Arc<HostConfig>>,
    /// The `[[hook]]` tables, in the order of the file; no two have the same key.
    pub hooks: Vec<Hook>,
}

/// The `[daemon]` table.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Where the queue and the lock are. Absolute.
    pub state_dir: PathBuf,
    /// Jobs uploading at once, over all hosts; `None` leaves it to what the hosts are found to take.
    pub max_uploads: Option<usize>,
    /// Requests in flight at once, over all hosts.
    pub max_connections: usize,
    /// Bytes a second over all hosts.
    pub bandwidth: Bandwidth,
    /// How long parts in flight may go on after the first SIGTERM.
    pub shutdown_grace: Duration,
}

/// One `[host.NAME]`: a configured place that takes files.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// NAME.
    pub name: String,
    /// The protocol.
    pub kind: &'static HostKind,
    /// The settings that only its kind has.
    pub settings: Arc<dyn HostSettings>,
    /// Bytes a second to this host.
    pub bandwidth: Bandwidth,
    /// Jobs uploading at once to this host; `None` leaves it to what it is found to take.
    pub max_uploads: Option<usize>,
    /// Requests in flight at once to this host; `None` leaves it to the daemon's limit.
    pub max_connections: Option<usize>,
    /// How long a request may go on without a byte moving.
    pub request_timeout: Duration,
    /// How its requests travel.
    pub network: Network,
    /// Failures in a row, without progress, after which a job is held; `None` is unlimited.
    pub retries: Option<u32>,
    /// How long failures that may not pass can go on before a person is to look.
    pub give_up_after: Duration,
    /// What to do when a commit may or may not have taken effect and the host cannot be asked.
    pub on_unknown: OnUnknown,
    /// Whether its mere word is enough for an after-action.
    pub trust_replies: bool,
    /// Whether that holds also for what was uploaded before it was set: not when it was set while the daemon runs.
    pub trusts_earlier: bool,
    /// Whether a file is sent again shortly before its link dies.
    pub refresh: bool,
}

impl HostConfig {
    /// The settings that only its kind has; nothing where they are those of another kind.
    pub fn settings_of<S: HostSettings>(&self) -> Option<&S> {
        let settings: &dyn Any = &*self.settings;
        settings.downcast_ref()
    }

    /// Whether all requests stay on this machine, for certain: every address is its own, and no proxy comes between.
    pub(crate) fn is_on_this_machine(&self, environment: &dyn Environment) -> bool {
        let addresses = self.settings.addresses();
        let is_set = |key: &&str| environment.get(key).is_some_and(|value| !value.is_empty());
        let is_direct = match &self.network.proxy {
            ProxySource::Direct => true,
            ProxySource::At(_) => false,
            ProxySource::Environment => !PROXY_VARIABLES.iter().any(is_set),
        };
        is_direct && !addresses.is_empty() && addresses.into_iter().all(hosts::is_loopback)
    }
}

/// The variables that may send requests through a proxy.
const PROXY_VARIABLES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// Where variables of the environment come from.
pub trait Environment {
    /// The value of the variable `key`, if it is set and Unicode.
    fn get(&self, key: &str) -> Option<String>;
}

/// The environment of this process.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, key: &str) -> Option<String> {
        std::env::var(key).ok()
    }
}

/// Where the configuration is when nobody says: `$FERRYD_CONFIG`, else the user's own, else the machine's.
pub(crate) fn default_path(environment: &dyn Environment) -> PathBuf {
    let given = |key| environment.get(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = given("FERRYD_CONFIG") {
        return path;
    }
    let config_home = given("XDG_CONFIG_HOME").or_else(|| given("HOME").map(|home| home.join(".config")));
    let own = config_home.map(|home| home.join("ferryd/config.toml"));
    let machine = PathBuf::from("/etc/ferryd/config.toml");
    match own {
        Some(own) if own.exists() || !machine.exists() => own,
        _ => machine,
    }
}

/// Reads the configuration at `path`, whose hosts are of these kinds. The error holds everything that is wrong with it.
pub(crate) fn load<K: AsRef<HostKind>>(
    path: &Path,
    kinds: &'static [K],
    environment: &dyn Environment,
) -> Result<Config, ConfigError> {
    let bytes = whole::read(path, CONFIG_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        let problem = Problem::whole(format!("line {line} is not UTF-8 text"), "save the file as UTF-8");
        ConfigError::new(path, Masked::default(), vec![problem])
    })?;
    parse(&text, path, kinds, environment)
}

/// The state folder as far as it can be made out in a configuration that may be broken; else the default one.
pub(crate) fn likely_state_dir(path: &Path, environment: &dyn Environment) -> PathBuf {
    let text = whole::read(path, CONFIG_BYTES_MAX).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let (tree, _) = DeTable::parse_recoverable(&text);
    resolve::state_dir(tree.get_ref(), environment)
}

/// Reads a configuration from its text; `path` is only for people.
pub fn parse<K: AsRef<HostKind>>(
    text: &str,
    path: &Path,
    kinds: &'static [K],
    environment: &dyn Environment,
) -> Result<Config, ConfigError> {
    parse_with(text, path, &kinds.iter().map(AsRef::as_ref).collect(), environment)
}

fn parse_with(text: &str, path: &Path, kinds: &Kinds, environment: &dyn Environment) -> Result<Config, ConfigError> {
    let syntax = syntax::problems(text);
    if !syntax.is_empty() {
        // What a broken text means is a guess; its problems are told first.
        return Err(ConfigError::new(path, mask::masked(text, None), one_if_no_toml(text, syntax)));
    }
    let (tree, _) = DeTable::parse_recoverable(text);
    let problems = file::Problems::default();
    problems.note_readers(path);
    let config = resolve::config(&tree, path, kinds, environment, &problems);
    match problems.into_list() {
        list if list.is_empty() => Ok(config),
        list => Err(ConfigError::new(path, mask::masked(text, Some(tree.get_ref())), list)),
    }
}

/// The longest configuration that makes sense, in bytes.
const CONFIG_BYTES_MAX: usize = 16 << 20;

/// A file of another format, such as YAML or JSON, is wrong in one way, not in every line.
fn one_if_no_toml(text: &str, problems: Vec<Problem>) -> Vec<Problem> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_toml = |line: &str| line.starts_with('[') || line.contains('=');
    if lines.clone().next().is_none() || lines.clone().any(is_toml) {
        return problems;
    }
    let help = "write it in TOML: `[[watch]]`, then lines such as `path = \"~/Drop\"`; see config.example.toml";
    vec![Problem::whole("the file is not in TOML", help)]
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    let problem = match error.kind() {
        std::io::ErrorKind::NotFound => Problem::whole(
            format!("there is no configuration file at `{}`", path.display()),
            "copy config.example.toml there, or choose another file with `--config FILE`; `ferryd demo` needs none",
        ),
        std::io::ErrorKind::IsADirectory => {
            Problem::whole(format!("`{}` is a folder", path.display()), "give the path of a file in it with `--config FILE`")
        }
        _ => Problem::whole(
            format!("cannot read `{}`: {error}", path.display()),
            "give the user that runs ferryd permission to read it",
        ),
    };
    ConfigError::new(path, Masked::default(), vec![problem])
}
