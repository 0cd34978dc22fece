//! How a world's daemon is configured, and how its hosts are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ferryd::internals::config::{self, Config, ConfigError, Environment};
use ferryd::internals::host::kinds::KINDS;

use crate::places::{ADDRESS, DROP, MARKER, SENT};

/// The kind whose hosts tell nothing about a file but that they have it.
const ONLY_WORDS: &str = "cloudkp";

/// What the table of a host depends on.
type TableOf = (&'static str, bool, bool, Option<u32>);

/// How the daemon is configured, and how the hosts are.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The kinds of the hosts that every file goes to.
    pub hosts: Vec<&'static str>,
    /// What happens to a file that all of them have.
    pub after: After,
    /// Whether a host's mere word is proof enough for a source to go.
    pub trusts: bool,
    /// Whether hosts that can are asked first whether they know the content already.
    pub asks_first: bool,
    /// How many requests may be in flight at once.
    pub max_connections: u64,
    /// How many jobs may be uploading at once.
    pub max_uploads: u64,
    /// How long a file must be quiet, in seconds.
    pub settle_seconds: u64,
    /// Bytes a second that each host takes; as fast as it can where there is none.
    pub pace: Option<u64>,
    /// Whether the folder that files are moved to is on a disk of its own.
    pub moves_far: bool,
    /// Whether the watched folder is a disk of its own, which can be taken away.
    pub is_disk: bool,
    /// Whether connections carry more than one request.
    pub keeps_connections: bool,
    /// Whether there was no queue before the first start; otherwise there is one that nothing was put into yet.
    pub is_new: bool,
    /// Bytes a second that the daemon may send to all hosts together.
    pub bandwidth: Option<u64>,
    /// After how many failures in a row a job is held for a person.
    pub retries: Option<u32>,
    /// Whether a file is sent only when its marker says that it is complete.
    pub has_markers: bool,
}

/// What happens to a file that is on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum After {
    /// It stays.
    Keep,
    /// It is removed.
    Delete,
    /// It is moved to another folder.
    Move,
}

/// An environment without a variable.
pub(crate) struct NoEnvironment;

impl Environment for NoEnvironment {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

impl Setting {
    /// The configuration, when it says this of sources.
    pub(crate) fn config(&self, after: After) -> Config {
        match parse(&self.text(&self.hosts, &self.tables(), after)) {
            Ok(config) => config,
            Err(error) => unreachable!("the configuration of a world: {}", error.render(false)),
        }
    }

    /// Whether what the hosts tell is proof enough for a source to go.
    pub(crate) fn has_proof(&self) -> bool {
        self.trusts || !self.hosts.contains(&ONLY_WORDS)
    }

    /// The secrets that the configuration has.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.hosts.iter().flat_map(|kind| self.secrets_of(kind)).collect()
    }

    /// The secrets of one host.
    pub(crate) fn secrets_of(&self, kind: &'static str) -> Vec<String> {
        let secret = |line: &str| {
            let (key, value) = line.split_once(" = ")?;
            matches!(key, "password" | "api_key" | "app_secret").then(|| value.trim_matches('"').to_owned())
        };
        self.table(kind).lines().filter_map(secret).collect()
    }

    /// The table of each host, with the smallest parts that its kind can be told to make.
    fn tables(&self) -> String {
        self.hosts.iter().map(|kind| self.table(kind)).collect()
    }

    /// Finding out which keys a kind has takes longer than a life of the daemon may, so it is done once.
    fn table(&self, kind: &'static str) -> String {
        static TABLES: Mutex<BTreeMap<TableOf, String>> = Mutex::new(BTreeMap::new());
        let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        tables.entry((kind, self.trusts, self.asks_first, self.retries)).or_insert_with(|| self.new_table(kind)).clone()
    }

    fn new_table(&self, kind: &'static str) -> String {
        let mut table = ferryd_sandbox::config_of(kind, ADDRESS).unwrap_or_default();
        table += &format!("trust_replies = {}\n", self.trusts);
        table += &self.retries.map_or(String::new(), |retries| format!("retries = {retries}\n"));
        let wanted = [("part_size = \"256 KiB\"\n", true), ("flash_upload = false\n", !self.asks_first)];
        for (line, _) in wanted.iter().filter(|(_, is_wanted)| *is_wanted) {
            let with = format!("{table}{line}");
            // Not every kind has the key.
            if parse(&self.text(&[kind], &with, After::Keep)).is_ok() {
                table = with;
            }
        }
        table
    }

    fn text(&self, kinds: &[&str], tables: &str, after: After) -> String {
        let words: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
        let after = match after {
            After::Keep => "\"keep\"".to_owned(),
            After::Delete => "\"delete\"".to_owned(),
            After::Move => format!("{{ move = \"{SENT}\" }}"),
        };
        let bandwidth = self.bandwidth.map_or(String::new(), |bytes| format!("bandwidth = \"{bytes} B/s\"\n"));
        let ready = if self.has_markers { format!("ready_when = \"{{name}}{MARKER}\"\n") } else { String::new() };
        format!(
            "[daemon]\nstate_dir = \"/state\"\nmax_uploads = {}\nmax_connections = {}\n{bandwidth}[[watch]]\npath = \"{DROP}\"\n\
             to = [{}]\nsettle = \"{}s\"\nafter = {after}\n{ready}{tables}",
            self.max_uploads,
            self.max_connections,
            words.join(", "),
            self.settle_seconds,
        )
    }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    config::parse(text, Path::new("/config.toml"), KINDS, &NoEnvironment)
}
