//! Tokens that hosts have given us, on the disk: `tokens.json` in the state folder, its owner's alone.
//!
//! A host may take back what was configured once it has given out something new, so that is on the disk before anybody relies on it.
//! The file is replaced as a whole: written aside, exclusively made, synced, renamed, and the folder synced. There is one writer, and
//! a few hundred bytes for each host that gives out tokens, so a database would add nothing but files beside it that hold the same
//! secrets.
//!
//! What is kept of a host counts as long as the same secrets are configured for it: they are in there as a digest. Whoever configures
//! others means those, whatever was kept.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::job::upload::Class;
use crate::os::durable;
use crate::os::files::Base;
use crate::os::system::System;
use crate::secret::Secret;

use super::HostError;

/// The file's name in the state folder.
pub const TOKENS_FILE: &str = "tokens.json";
const ASIDE: &str = "tokens.json.new";
/// The version of what is in it.
const VERSION: u32 = 1;
/// More than the tokens of all hosts ever need.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a host has given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// What opens the door.
    pub access: Secret,
    /// What gets another one.
    pub refresh: Option<Secret>,
    /// When the first ends, in milliseconds since the Unix epoch, where the host has said so.
    pub ends_ms: Option<i64>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    hosts: BTreeMap<String, Row>,
}

/// Tokens of one host. It can be printed by nobody.
#[derive(Serialize, Deserialize)]
struct Row {
    /// The digest of what was configured when they were given.
    configured: String,
    access_token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_ms: Option<i64>,
}

/// The tokens of all hosts. Clones are of the same.
#[derive(Clone)]
pub struct KeptTokens(Arc<Place>);

struct Place {
    system: System,
    dir: PathBuf,
    writes: bool,
    /// Held while the file is changed.
    changing: Mutex<()>,
}

impl std::fmt::Debug for KeptTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptTokens")
    }
}

impl KeptTokens {
    /// Those of the daemon that has the lock of this state folder.
    pub fn new(system: &System, state_dir: &Path) -> KeptTokens {
        KeptTokens::of_dir(system, state_dir, true)
    }

    /// The same for whoever may run beside that daemon, and so must use up and change nothing.
    pub fn read_only(system: &System, state_dir: &Path) -> KeptTokens {
        KeptTokens::of_dir(system, state_dir, false)
    }

    fn of_dir(system: &System, state_dir: &Path, writes: bool) -> KeptTokens {
        KeptTokens(Arc::new(Place { system: system.clone(), dir: state_dir.to_owned(), writes, changing: Mutex::default() }))
    }

    /// Those of one host, for which `configured` is in the configuration: each text that makes what was kept another's when it
    /// changes.
    pub(crate) fn of(&self, host: &str, configured: &[&str]) -> HostTokens {
        HostTokens { all: self.clone(), host: host.to_owned(), configured: digest(configured) }
    }
}

/// A digest of texts, each with its length, so that no two lists have the same.
fn digest(texts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tokens of one host.
#[derive(Debug, Clone)]
pub(crate) struct HostTokens {
    all: KeptTokens,
    host: String,
    configured: String,
}

impl HostTokens {
    /// Whether new ones may be asked for: they can be kept.
    pub(crate) fn may_change(&self) -> bool {
        self.all.0.writes
    }

    /// What is kept, unless something else was configured since. May wait for the disk.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn load(&self) -> Result<Option<Tokens>, HostError> {
        let mut hosts = self.all.read().map_err(|error| failed("read", error))?;
        let row = hosts.remove(&self.host).filter(|row| row.configured == self.configured);
        Ok(row.map(|row| Tokens {
            access: Secret::new(row.access_token),
            refresh: row.refresh_token.map(Secret::new),
            ends_ms: row.ends_ms,
        }))
    }

    /// The same off the tasks' threads.
    pub(crate) async fn load_later(&self) -> Result<Option<Tokens>, HostError> {
        let own = self.clone();
        let loaded = self.all.0.system.threads.run(move || own.load()).await;
        loaded.unwrap_or_else(|error| Err(HostError::new(Class::Transient, error.to_string())))
    }

    /// Keeps these. They are on the disk when it returns, and once it has begun they get there even if nobody waits for it.
    ///
    /// # Errors
    /// When they cannot be written, as on a full disk; what was kept before is still there.
    pub(crate) async fn store(&self, tokens: &Tokens) -> Result<(), HostError> {
        let (own, tokens) = (self.clone(), tokens.clone());
        let stored = self.all.0.system.threads.run(move || own.write(&tokens)).await;
        stored.unwrap_or_else(|error| Err(io::Error::other(error.to_string()))).map_err(|error| {
            let HostError { said, source, .. } = failed("write", error);
            HostError { source, ..HostError::new(Class::Transient, said) }
        })
    }

    fn write(&self, tokens: &Tokens) -> io::Result<()> {
        let place = &self.all.0;
        let _changing = place.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = self.all.read()?;
        let row = Row {
            configured: self.configured.clone(),
            access_token: tokens.access.reveal().to_owned(),
            refresh_token: tokens.refresh.as_ref().map(|refresh| refresh.reveal().to_owned()),
            ends_ms: tokens.ends_ms,
        };
        hosts.insert(self.host.clone(), row);
        let bytes = serde_json::to_vec(&Document { v: VERSION, hosts })?;
        let folder = Base::of(&place.system.files, &place.dir, false).folder(&place.dir)?;
        durable::replace(&folder, OsStr::new(TOKENS_FILE), OsStr::new(ASIDE), &bytes, 0o600)
    }
}

impl KeptTokens {
    /// What is in the file; nothing where there is none.
    fn read(&self) -> io::Result<BTreeMap<String, Row>> {
        let base = Base::of(&self.0.system.files, &self.0.dir, false);
        let mut bytes = Vec::new();
        match base.open(&self.0.dir.join(TOKENS_FILE)).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        }
        // The error of the reader would quote what it has read.
        let document = serde_json::from_slice::<Document>(&bytes).ok().filter(|document| document.v == VERSION);
        let strange = || io::Error::other("it is damaged, or of another version of ferryd; remove it and log in again");
        document.map(|document| document.hosts).ok_or_else(strange)
    }
}

fn failed(what: &str, error: io::Error) -> HostError {
    let said = format!("cannot {what} `{TOKENS_FILE}` in the state folder: {error}");
    HostError::new(Class::HostRefused, said).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn tokens(access: &str) -> Tokens {
        Tokens { access: Secret::new(access), refresh: Some(Secret::new("refresh")), ends_ms: Some(7) }
    }

    fn kept(dir: &Path) -> KeptTokens {
        KeptTokens::new(&System::default(), dir)
    }

    #[tokio::test]
    async fn tokens_outlive_the_daemon_and_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (kept(dir.path()).of("one", &["a"]), kept(dir.path()).of("other", &["a"]));
        assert_eq!(one.load().unwrap(), None, "there is no file yet");
        one.store(&tokens("first")).await.unwrap();
        other.store(&Tokens { refresh: None, ends_ms: None, ..tokens("theirs") }).await.unwrap();
        one.store(&tokens("second")).await.unwrap();
        let again = kept(dir.path());
        assert_eq!(again.of("one", &["a"]).load().unwrap(), Some(tokens("second")));
        assert_eq!(again.of("other", &["a"]).load().unwrap().unwrap().access, Secret::new("theirs"));
        let mode = std::fs::metadata(dir.path().join(TOKENS_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[tokio::test]
    async fn whoever_configures_another_token_wins_over_what_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        kept(dir.path()).of("one", &["a", "b"]).store(&tokens("kept")).await.unwrap();
        for configured in [&["a", "c"][..], &["ab"], &["", "ab"], &["ab", ""], &["a"]] {
            assert_eq!(kept(dir.path()).of("one", configured).load().unwrap(), None, "{configured:?}");
        }
        assert!(kept(dir.path()).of("one", &["a", "b"]).load().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_neither_quoted_nor_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(TOKENS_FILE);
        for text in ["", "{\"v\":1,\"hosts\":{\"one\":\"hunter2\"}}", "{\"v\":2,\"hosts\":{}}", "hunter2"] {
            std::fs::write(&file, text).unwrap();
            let own = kept(dir.path()).of("one", &[]);
            let error = own.load().unwrap_err();
            assert_eq!(error.class, Class::HostRefused);
            assert!(error.said.contains(TOKENS_FILE) && !format!("{error:?}").contains("hunter2"), "{error:?}");
            assert_eq!(own.store(&tokens("new")).await.unwrap_err().class, Class::Transient);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        let nowhere = kept(Path::new("/nowhere/at/all")).of("one", &[]).store(&tokens("new")).await;
        assert_eq!(nowhere.unwrap_err().class, Class::Transient);
    }

    #[tokio::test]
    async fn no_token_can_be_printed() {
        let dir = tempfile::tempdir().unwrap();
        let own = kept(dir.path()).of("one", &["hunter2"]);
        assert!(!format!("{own:?} {:?}", tokens("hunter2")).contains("hunter2"));
        assert!(own.may_change() && !KeptTokens::read_only(&System::default(), dir.path()).of("one", &[]).may_change());
    }
}
