//! Where the files go: to a host of the configuration, or to a practice host.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Config, HostConfig, ProcessEnvironment};
use crate::host::kinds::KINDS;

use super::super::exit::Exit;
use super::super::queue::unknown_host;
use super::super::render::{self, CommandFailure};

/// What is to be uploaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub large_bytes: u64,
    pub files: u64,
    pub file_bytes: u64,
}

impl Load {
    pub(super) fn bytes(self) -> u64 {
        self.large_bytes.saturating_add(self.files.saturating_mul(self.file_bytes))
    }
}

/// What every file that is made is called before what tells them apart.
pub(super) const FILE_PREFIX: &str = "ferryd-bench-";

/// The folder for them, on hosts that have folders.
pub(super) const FOLDER_THERE: &str = "ferryd-bench";

/// What is known of the user's own configuration.
pub(super) struct Configured {
    /// Nothing where there is none, or a broken one, which a practice host does not need.
    pub config: Option<Config>,
    pub state_dir: PathBuf,
}

impl Configured {
    /// Reads the configuration, which must be there and whole if `is_needed`.
    pub(super) fn read(path: Option<PathBuf>, is_needed: bool) -> Result<Configured, CommandFailure> {
        let path = path.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
        match config::load(&path, KINDS, &ProcessEnvironment) {
            Ok(config) => Ok(Configured { state_dir: config.daemon.state_dir.clone(), config: Some(config) }),
            Err(error) if is_needed => Err(CommandFailure::configuration(&error)),
            Err(_) => Ok(Configured { state_dir: config::likely_state_dir(&path, &ProcessEnvironment), config: None }),
        }
    }

    /// The host of this name.
    pub(super) fn host(&self, name: &str) -> Result<Arc<HostConfig>, CommandFailure> {
        let hosts = self.config.as_ref().map(|config| config.hosts.as_slice()).unwrap_or_default();
        let found = hosts.iter().find(|host| host.name == name).cloned();
        found.ok_or_else(|| unknown_host(name, &hosts.iter().map(|host| host.name.clone()).collect()))
    }
}

/// Nothing goes to somebody else's machine unless a person has said so.
pub(super) fn refuse_unless_meant(host: &HostConfig, load: Load, is_meant: bool) -> Result<(), CommandFailure> {
    if is_meant || host.is_on_this_machine(&ProcessEnvironment) {
        return Ok(());
    }
    let (large, small) = (render::size(load.large_bytes), render::size(load.file_bytes));
    let message = format!(
        "this would upload 1 file of {large} and {} of {small} to `{}`, {} together, under names that begin with `{FILE_PREFIX}` and where there are \
         folders in `{FOLDER_THERE}`; they stay there, since ferryd cannot delete what it has uploaded",
        render::count(load.files, "file"),
        render::line(&host.name),
        render::size(load.bytes()),
    );
    Err(CommandFailure::new(Exit::Usage, message).hint(
        "add `--yes` if that is what you want; `--size` and `--files` make it less, and without `--to` nothing leaves this machine",
    ))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use super::*;
    use crate::config::Environment;

    struct Variables(&'static [&'static str]);

    impl Environment for Variables {
        fn get(&self, key: &str) -> Option<String> {
            self.0.contains(&key).then(|| "http://192.0.2.7:3128".to_owned())
        }
    }

    /// Of the practice hosts with this address, how many are on this machine for certain, and how many there are.
    fn on_this_machine(host: &str, lines: &str, variables: &'static [&'static str]) -> (usize, usize) {
        let addr = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut text = ferryd_sandbox::config_for(addr).replace("127.0.0.1:9", host);
        for kind in ferryd_sandbox::kinds() {
            text = text.replace(&format!("kind = \"{kind}\"\n"), &format!("kind = \"{kind}\"\n{lines}\n"));
        }
        let config = config::parse(&text, Path::new("/config.toml"), KINDS, &Variables(variables)).unwrap();
        let here = config.hosts.iter().filter(|host| host.is_on_this_machine(&Variables(variables)));
        (here.count(), config.hosts.len())
    }

    #[test]
    fn every_kind_tells_where_its_requests_go_and_what_is_not_certain_counts_as_elsewhere() {
        let all = ferryd_sandbox::kinds().len();
        for host in ["127.0.0.1:9", "localhost:9", "[::1]:9", "127.7.7.7"] {
            assert_eq!(on_this_machine(host, "", &[]), (all, all), "{host}");
        }
        assert_eq!(on_this_machine("127.0.0.1:9", "proxy = \"none\"", &["http_proxy"]), (all, all));
        assert_eq!(on_this_machine("127.0.0.1:9", "", &["http_proxy"]), (0, all));
        assert_eq!(on_this_machine("127.0.0.1:9", "", &["ALL_PROXY"]), (0, all));
        assert_eq!(on_this_machine("127.0.0.1:9", "proxy = \"http://127.0.0.1:3128\"", &[]), (0, all));
        let text = ferryd_sandbox::config_for(SocketAddr::from(([127, 0, 0, 1], 9)));
        let elsewhere = text.replace("http://127.0.0.1:9", "https://127.0.0.1.example.org");
        let config = config::parse(&elsewhere, Path::new("/config.toml"), KINDS, &Variables(&[])).unwrap();
        assert!(config.hosts.iter().all(|host| !host.is_on_this_machine(&Variables(&[]))));
    }
}
