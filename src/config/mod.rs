//! What the user configured: valid by construction, with every default filled in.
//!
//! The text becomes a tree with positions (`file`), and that the meaning (`resolve`). Every problem found on the way is kept, so
//! that a person mends a file once and not once per mistake.

mod file;
mod hook;
mod hosts;
mod mask;
mod network;
mod problem;
mod remote;
mod resolve;
mod secrets;
#[cfg(test)]
mod tests;
mod units;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::job::Watches;
use crate::job::attempt::OnUnknown;

pub use file::did_you_mean;
pub use hook::{Field, Hook, HookAction, Template, TemplatePiece};
pub use network::{Network, ProxySource};
pub use problem::{ConfigError, Problem};
pub use secrets::{SecretError, SecretSource};

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
    /// How its requests travel.
    pub network: Network,
    /// Failures in a row, without progress, after which a job is held; `None` is unlimited.
    pub retries: Option<u32>,
    /// What to do when a commit may or may not have taken effect and the host cannot be asked.
    pub on_unknown: OnUnknown,
    /// Whether its mere word is enough for an after-action.
    pub trust_replies: bool,
    /// Whether a file is sent again shortly before its link dies.
    pub refresh: bool,
}

/// The protocol of a host, with the settings only it has.
#[derive(Debug, Clone)]
pub enum HostKind {
    /// CloudKP.
    CloudKp(CloudKpConfig),
    /// UploadGig.
    UploadGig(UploadGigConfig),
    /// Huawei KooDrive.
    KooDrive(KooDriveConfig),
    /// Kie.ai.
    Kie(KieConfig),
    /// 4shared.
    FourShared(FourSharedConfig),
}

impl HostKind {
    /// The word after `kind =`.
    pub fn word(&self) -> &'static str {
        match self {
            HostKind::CloudKp(_) => "cloudkp",
            HostKind::UploadGig(_) => "uploadgig",
            HostKind::KooDrive(_) => "koodrive",
            HostKind::Kie(_) => "kie",
            HostKind::FourShared(_) => "4shared",
        }
    }

    /// Jobs uploading at once that make sense when nobody says; nothing leaves it to the daemon's limit. One at a time for UploadGig,
    /// whose every upload costs a login of which it allows few (`docs/protocols/uploadgig.md`, section 7); two for Kie.ai, which limits its
    /// keys (`docs/protocols/kie.md`, 4.9).
    pub fn max_uploads(&self) -> Option<usize> {
        match self {
            HostKind::UploadGig(_) => Some(1),
            HostKind::Kie(_) => Some(2),
            HostKind::CloudKp(_) | HostKind::KooDrive(_) | HostKind::FourShared(_) => None,
        }
    }

    /// Whether this kind never tells more of a stored file than that it has it: no size, no digest. CloudKP answers with an id alone
    /// (`docs/protocols/cloudkp.md`, 3.2). Kie.ai tells the size of what it is sent, though not of what it fetches itself.
    pub fn gives_only_its_word(&self) -> bool {
        match self {
            HostKind::CloudKp(_) => true,
            HostKind::UploadGig(_) | HostKind::KooDrive(_) | HostKind::Kie(_) | HostKind::FourShared(_) => false,
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

/// Settings of an UploadGig account.
#[derive(Debug, Clone)]
pub struct UploadGigConfig {
    /// Scheme, host, port and any path before `/api`, without a slash at the end.
    pub base_url: String,
    /// The account, an e-mail address.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// Whether the address the host names for the bytes may be one of this machine or of a private network.
    pub allow_private: bool,
}

/// Settings of a KooDrive space.
#[derive(Debug, Clone)]
pub struct KooDriveConfig {
    /// Scheme, host, port and any path before `/koodrive`, without a slash at the end.
    pub base_url: String,
    /// How requests are signed.
    pub login: KooDriveLogin,
    /// The id of the folder that files go to.
    pub folder: String,
    /// The least size of a part, in bytes; larger files may need larger parts.
    pub part_bytes: u64,
    /// Whether the digest is computed before anything is sent, so that a file the host knows already is not sent at all.
    pub flash_upload: bool,
    /// What is done with a file of 0 bytes.
    pub empty_file: EmptyPart,
    /// Whether the addresses the host names for parts may be of this machine or of a private network.
    pub allow_private: bool,
}

/// How a KooDrive request proves who sends it.
#[derive(Debug, Clone)]
pub enum KooDriveLogin {
    /// The signature of an app, for one of its users.
    App {
        /// The app's id.
        app_id: String,
        /// What the signature is made with.
        app_secret: SecretSource,
        /// The user's id.
        user_id: String,
    },
    /// A token of a session, which lives for 20 minutes after its last use.
    Token {
        /// The token.
        access_token: SecretSource,
        /// What stands before it in the header; the documents have both `Bearer ` and `Bearer+`.
        prefix: String,
        /// The user's id, where it is sent.
        user_id: Option<String>,
    },
}

/// What a KooDrive space is sent for a file of 0 bytes; the documents leave open whether it takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyPart {
    /// The job fails with that reason.
    Reject,
    /// One part of 0 bytes.
    OneEmptyPart,
}

/// Settings of a Kie.ai account.
#[derive(Debug, Clone)]
pub struct KieConfig {
    /// Scheme, host, port and any path before `/api`, without a slash at the end.
    pub base_url: String,
    /// The key of the account.
    pub api_key: SecretSource,
    /// How files travel.
    pub method: KieMethod,
    /// Whether a dropped `*.url`, `*.webloc` or `*.uri-list` file means the addresses it holds.
    pub remote_urls: bool,
    /// What stands before the folder of a file: no slash at either end.
    pub upload_path: String,
    /// How long the host keeps a file when it does not say so itself.
    pub kept_for: Duration,
}

/// How files travel to Kie.ai.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KieMethod {
    /// As a form.
    Stream,
    /// As text in a JSON document, up to 10 MB.
    Base64,
}

/// Settings of a 4shared account.
#[derive(Debug, Clone)]
pub struct FourSharedConfig {
    /// Where the calls go.
    pub base_url: String,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// The name of the program as 4shared wants to see it before the password, where it does.
    pub app: Option<String>,
    /// Where files go.
    pub folder: FourSharedFolder,
    /// The size of a part, in bytes.
    pub part_bytes: u64,
    /// Parts of one file in flight together.
    pub parallel_parts: usize,
    /// Whether the addresses the host names for parts may be of this machine or of a private network.
    pub allow_private: bool,
}

/// A folder of a 4shared account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FourSharedFolder {
    /// By its number; -1 is the root.
    Id(i64),
    /// By its way from the root, names in order; made where it is missing. Empty is the root.
    Path(Vec<String>),
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
    let syntax = errors.into_iter().map(|error| Problem {
        message: error.message().to_owned(),
        help: error.message().starts_with("string values must be quoted").then(|| "put text in quotes: \"~/Drop\"".into()),
        span: error.span(),
    });
    let syntax: Vec<Problem> = syntax.collect();
    if !syntax.is_empty() {
        // What a broken text means is a guess; its problems are told first.
        return Err(ConfigError::new(path, &mask::masked(text, None), syntax));
    }
    let problems = file::Problems::default();
    problems.note_readers(path);
    let config = resolve::config(&tree, path, environment, &problems);
    match problems.into_list() {
        list if list.is_empty() => Ok(config),
        list => Err(ConfigError::new(path, &mask::masked(text, Some(tree.get_ref())), list)),
    }
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
    ConfigError::new(path, "", vec![problem])
}
