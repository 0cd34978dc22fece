//! A file beside the source, `NAME.ferryd.json`, with an entry for each host. Written aside and renamed, so that a reader finds it whole.
//! Repeating replaces the entry of that host. The watches pass it over.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::os::durable;

use super::facts::name_with;
use super::{Facts, HookError};

/// What follows the source's name.
pub(super) const SUFFIX: &str = ".ferryd.json";

/// Where the sidecar of `source` is.
pub(super) fn beside(source: &Path) -> PathBuf {
    source.with_file_name(name_with(source.file_name().unwrap_or_default(), SUFFIX))
}

/// Writes what `facts` say into the sidecar. One at a time for one source.
pub(super) fn write(facts: &Facts) -> Result<(), HookError> {
    let path = beside(&facts.path);
    if !facts.path.exists() {
        // Beside nothing there is no place.
        tracing::info!("no sidecar for {:?}: it is not there any more", facts.path);
        return Ok(());
    }
    let mut hosts = entries(&path);
    hosts.insert(facts.host.clone(), facts.json());
    let document = serde_json::json!({ "version": 1, "hosts": hosts });
    let text = format!("{document:#}\n");
    durable::replace(&path, text.as_bytes(), facts.job)
        .map_err(|error: io::Error| HookError::new(format!("cannot write `{}`: {error}", path.display())))
}

/// What an earlier writing left; something else under this name begins anew.
fn entries(path: &Path) -> Map<String, Value> {
    let found: Option<Value> = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match found {
        Some(Value::Object(mut fields)) => match fields.remove("hosts") {
            Some(Value::Object(hosts)) => hosts,
            _ => Map::new(),
        },
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::sample;
    use super::*;

    #[test]
    fn each_host_has_its_entry() {
        let dir = tempfile::tempdir().unwrap();
        let facts = Facts { path: dir.path().join("a.mov"), ..sample() };
        write(&facts).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written beside nothing");
        std::fs::write(&facts.path, "a").unwrap();
        write(&facts).unwrap();
        write(&Facts { host: "mirror".into(), link: None, ..facts.clone() }).unwrap();
        write(&Facts { link: Some("https://new".into()), ..facts.clone() }).unwrap();
        let document: Value = serde_json::from_slice(&std::fs::read(dir.path().join("a.mov.ferryd.json")).unwrap()).unwrap();
        assert_eq!(document["hosts"]["box"]["link"], "https://new");
        assert_eq!(document["hosts"]["mirror"]["link"], Value::Null);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left beside it");
    }
}
