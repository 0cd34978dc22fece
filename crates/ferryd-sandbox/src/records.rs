//! What a host has to remember besides parts and objects: accounts, reservations, folders, who has how much room. Small JSON values
//! by name, in memory and, where bytes are kept, in one file for each: `DIR/KIND/records/NAME.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::files::Files;
use super::hold;

/// The records of all hosts.
#[derive(Debug)]
pub(super) struct Records {
    files: Files,
    root: Option<PathBuf>,
    known: Mutex<BTreeMap<(String, String), Value>>,
}

impl Records {
    /// The records in `root`, with what an earlier run left there; only in memory when there is no `root`.
    pub(super) fn open(root: Option<&std::path::Path>) -> std::io::Result<Records> {
        let (files, mut known) = (Files::default(), BTreeMap::new());
        for kind in root.map(|root| files.names(root)).transpose()?.unwrap_or_default() {
            let folder = root.map(|root| root.join(&kind).join("records")).unwrap_or_default();
            for name in files.names(&folder)? {
                let plain = percent_decode_str(name.trim_end_matches(".json")).decode_utf8_lossy().into_owned();
                if let Some(value) = files.read_json(&folder.join(&name)) {
                    known.insert((kind.clone(), plain), value);
                }
            }
        }
        Ok(Records { files, root: root.map(std::path::Path::to_owned), known: Mutex::new(known) })
    }

    /// The record of this name.
    pub(super) fn get<T: DeserializeOwned>(&self, host: &str, name: &str) -> Option<T> {
        let value = hold(&self.known).get(&(host.to_owned(), name.to_owned())).cloned()?;
        serde_json::from_value(value).ok()
    }

    /// The names of all records of a host that begin with `prefix`.
    pub(super) fn names(&self, host: &str, prefix: &str) -> Vec<String> {
        let known = hold(&self.known);
        known.keys().filter(|(kind, name)| kind == host && name.starts_with(prefix)).map(|(_, name)| name.clone()).collect()
    }

    /// Writes a record.
    pub(super) fn set(&self, host: &str, name: &str, value: &impl Serialize) -> std::io::Result<()> {
        self.update(host, name, |_: Option<Value>| Ok(((), Some(serde_json::to_value(value)?))))
    }

    /// Forgets a record.
    pub(super) fn remove(&self, host: &str, name: &str) -> std::io::Result<()> {
        self.update::<Value, Value, ()>(host, name, |_| Ok(((), None)))
    }

    /// Changes a record while nobody else does: `change` gets what it was, and gives what it is to be, or nothing to forget it.
    pub(super) fn update<T: DeserializeOwned, U: Serialize, R>(
        &self,
        host: &str,
        name: &str,
        change: impl FnOnce(Option<T>) -> std::io::Result<(R, Option<U>)>,
    ) -> std::io::Result<R> {
        let mut known = hold(&self.known);
        let key = (host.to_owned(), name.to_owned());
        let before = known.get(&key).cloned().and_then(|value| serde_json::from_value(value).ok());
        let (result, after) = change(before)?;
        let path = self
            .root
            .as_ref()
            .map(|root| root.join(host).join("records").join(format!("{}.json", utf8_percent_encode(name, NON_ALPHANUMERIC))));
        match after {
            Some(value) => {
                let value = serde_json::to_value(value)?;
                if let Some(path) = path {
                    self.files.create_dir_all(path.parent().unwrap_or(&path))?;
                    self.files.write_json(&path, &value)?;
                }
                known.insert(key, value);
            }
            None => {
                known.remove(&key);
                path.map_or(Ok(()), |path| self.files.remove(&path))?;
            }
        }
        Ok(result)
    }

    /// Forgets every record whose name begins with `prefix`, over all hosts.
    pub(super) fn clear(&self, prefix: &str) -> std::io::Result<()> {
        let all: Vec<_> = hold(&self.known).keys().filter(|(_, name)| name.starts_with(prefix)).cloned().collect();
        all.iter().try_for_each(|(host, name)| self.remove(host, name))
    }
}
