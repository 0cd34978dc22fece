//! What the user configured: valid by construction, with every default filled in.
//!
//! The road is text, then a tree with positions (`file`), then the meaning (`resolve`). Every problem found on the way is kept, so
//! that a person mends a file once and not once per mistake.

mod file;
mod hook;
mod problem;
mod resolve;
#[cfg(test)]
mod tests;
mod units;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

pub use hook::{Field, Hook, HookAction, HookEvent, Piece, Template};
pub use problem::{ConfigError, Problem};
pub use resolve::DEFAULT_EXCLUDE;

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// The `[daemon]` table.
    pub daemon: Daemon,
    /// The `[[watch]]` tables, in the order of the file.
    pub watches: Vec<Watch>,
    /// The `[host.NAME]` tables, in the order of their names.
    pub hosts: Vec<HostConfig>,
    /// The `[[hook]]` tables, in the order of the file; no two have the same key.
    pub hooks: Vec<Hook>,
}

/// The `[daemon]` table.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Where the queue, the lock and the control socket live. Absolute.
    pub state_dir: PathBuf,
    /// Jobs uploading at once, over all hosts.
    pub max_uploads: usize,
    /// Requests in flight at once, over all hosts.
    pub max_connections: usize,
    /// Bytes a second over all hosts; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// How long parts in flight may go on after the first SIGTERM.
    pub shutdown_grace: Duration,
}

/// One `[[watch]]`: a folder and what to do with the files in it.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The folder. Absolute, `~` expanded, not resolved through symbolic links.
    pub path: PathBuf,
    /// Names of hosts; each exists in [`Config::hosts`], none stands twice.
    pub to: Vec<String>,
    /// Whether folders below `path` count.
    pub recursive: bool,
    /// Whether a missing `path` is made at start.
    pub create: bool,
    /// Globs; a file must match one.
    pub include: Vec<String>,
    /// Globs; a file or folder that matches one is passed over.
    pub exclude: Vec<String>,
    /// Files below this many bytes are passed over.
    pub min_size: u64,
    /// Files above this many bytes are passed over.
    pub max_size: Option<u64>,
    /// Whether files already there when the watch is first seen count.
    pub existing: bool,
    /// Quiet time that must pass besides the other evidence.
    pub settle: Duration,
    /// How changes are noticed.
    pub events: Events,
    /// How often the whole folder is scanned whatever the events say.
    pub rescan: Duration,
    /// Whether symbolic links are followed.
    pub follow_symlinks: bool,
    /// Higher goes first.
    pub priority: i64,
    /// What happens to a file when every host in `to` has it.
    pub after: After,
}

/// What happens to the source when every host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It stays.
    Keep,
    /// It is removed.
    Delete,
    /// It goes into this folder, below which it keeps its path relative to the watch. Absolute, outside every watch.
    Move(PathBuf),
}

/// How a watch notices changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// Events where the file system gives them, scans where it does not.
    Auto,
    /// The platform's events.
    Native,
    /// Scans only.
    Poll,
}

/// One `[host.NAME]`: a configured place that takes files.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// NAME.
    pub name: String,
    /// The protocol and its own settings.
    pub kind: HostKind,
    /// Bytes a second to this host; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// Jobs uploading at once to this host; `None` leaves it to the daemon's limit.
    pub max_uploads: Option<usize>,
    /// Requests in flight at once to this host; `None` leaves it to the kind's default.
    pub max_connections: Option<usize>,
    /// How long a request may go on without a byte moving.
    pub request_timeout: Duration,
    /// Failures in a row, without progress, after which a job is held; `None` is unlimited.
    pub retries: Option<u32>,
    /// What to do when a commit may or may not have taken effect and the host cannot be asked.
    pub on_unknown: OnUnknown,
    /// Whether a file is sent again shortly before its link dies.
    pub refresh: bool,
}

/// The protocol of a host, with the settings only it has.
#[derive(Debug, Clone)]
pub enum HostKind {
    /// CloudKP.
    CloudKp(CloudKpConfig),
}

impl HostKind {
    /// The word after `kind =`.
    pub fn word(&self) -> &'static str {
        match self {
            HostKind::CloudKp(_) => "cloudkp",
        }
    }
}

/// Settings of a CloudKP host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudKpConfig {
    /// Where chunks go: scheme, host, port and any path before `/upload`, without a slash at the end.
    pub base_url: String,
    /// What stands before the id in a link.
    pub link_base: String,
    /// How long an unfinished session is trusted.
    pub session_max_age: Duration,
    /// What is done with a file of 0 bytes.
    pub empty_file: EmptyFile,
}

/// What a CloudKP host is sent for a file of 0 bytes; the service does not document it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyFile {
    /// The job fails with that reason.
    Reject,
    /// One chunk of 0 bytes, then the finish.
    OneEmptyChunk,
}

/// What to do when a commit may or may not have taken effect and the host cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// Upload again and flag the job `maybe_duplicate`.
    UploadAgain,
    /// Hold the job for a person.
    Hold,
}

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
pub fn default_path(environment: &dyn Environment) -> PathBuf {
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

/// Reads the configuration at `path`. The error holds everything that is wrong with it.
pub fn load(path: &Path, environment: &dyn Environment) -> Result<Config, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        let problem = Problem::whole(format!("line {line} is not UTF-8 text"), "save the file as UTF-8");
        ConfigError::new(path, "", vec![problem])
    })?;
    parse(&text, path, environment)
}

/// Reads a configuration from its text; `path` is only for people.
pub fn parse(text: &str, path: &Path, environment: &dyn Environment) -> Result<Config, ConfigError> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let syntax = errors.into_iter().map(|error| Problem { message: error.message().to_owned(), help: None, span: error.span() });
    let syntax: Vec<Problem> = syntax.collect();
    if !syntax.is_empty() {
        // What a broken text means is a guess; its problems are told first.
        return Err(ConfigError::new(path, text, syntax));
    }
    let problems = file::Problems::default();
    let config = resolve::config(&tree, path, environment, &problems);
    match problems.into_list() {
        list if list.is_empty() => Ok(config),
        list => Err(ConfigError::new(path, text, list)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    let problem = match error.kind() {
        std::io::ErrorKind::NotFound => Problem::whole(
            format!("there is no configuration at `{}`", path.display()),
            "copy config.example.toml there, or name another file with `--config FILE`; `ferryd demo` needs none",
        ),
        std::io::ErrorKind::IsADirectory => {
            Problem::whole(format!("`{}` is a folder", path.display()), "name the file in it with `--config FILE`")
        }
        _ => Problem::whole(format!("cannot read `{}`: {error}", path.display()), "make it readable for the user that runs ferryd"),
    };
    ConfigError::new(path, "", vec![problem])
}
