//! Small files of the sandbox.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The names in a folder that are text; none when there is no such folder.
pub(super) fn names(dir: &Path) -> std::io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        other => other?,
    };
    let names: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name().into_string())).collect();
    Ok(names?.into_iter().flatten().collect())
}

pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "nothing of the sandbox has to outlive a power cut, and it shares no code with the daemon"
)]
pub(super) fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::rename(from, to)
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, serde_json::to_vec(value)?)?;
    rename(&aside, path)
}
