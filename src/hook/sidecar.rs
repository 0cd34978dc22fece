//! A file beside the source, `NAME.ferryd.json`, with an entry for each host. Written aside and renamed, so that a reader finds it
//! whole. Repeating replaces the entry of that host. The watches pass it over.
//!
//! Others may write in the folder, so nothing is read or written through a link, and nothing that is not a regular file is opened.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::os::durable;
use crate::os::files::{self, FileKind, Folder};
use crate::os::names::{Names, Purpose};

use super::facts::name_with;
use super::{Facts, HookError};

/// What follows the source's name.
const SUFFIX: &str = ".ferryd.json";
/// A sidecar of ours is far smaller.
const BYTES_MAX: u64 = 1024 * 1024;
/// How the mode of a new sidecar begins, before the process's mask.
pub(super) const MODE: u32 = 0o644;

/// What is found under the name of a sidecar.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Nothing,
    /// A file that may be ours.
    Text(Vec<u8>),
    /// Something that is not ours and can be replaced: this.
    Foreign(&'static str),
    /// Something that is no file at all, and is not to be touched.
    InTheWay,
}

/// What the sidecar of the source `name` is called.
pub(super) fn name_of(name: &OsStr) -> OsString {
    name_with(name, SUFFIX)
}

/// Where the sidecar of the source at `path` is.
pub(super) fn path_of(path: &Path) -> PathBuf {
    path.with_file_name(name_of(path.file_name().unwrap_or_default()))
}

/// What is in `folder` under this name of a sidecar.
pub(super) fn read(folder: &Folder, sidecar: &OsStr) -> io::Result<Existing> {
    // Before it is opened, since opening a device may do something.
    match folder.look(sidecar) {
        Ok(stat) if stat.kind == FileKind::File => {}
        Ok(stat) if stat.kind == FileKind::Link => return Ok(Existing::Foreign("a symbolic link")),
        Ok(_) => return Ok(Existing::InTheWay),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Existing::Nothing),
        Err(error) => return Err(error),
    }
    let file = folder.open(sidecar)?;
    if file.stat()?.kind != FileKind::File {
        return Ok(Existing::InTheWay);
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut text)?;
    Ok(if text.len() as u64 > BYTES_MAX { Existing::Foreign("larger than 1 MiB") } else { Existing::Text(text) })
}

/// Writes what `facts` say into the sidecar. One at a time for one source.
pub(super) fn write(facts: &Facts, names: &Names) -> Result<(), HookError> {
    let (Some(folder), Some(name)) = (facts.delivery.path.parent(), facts.delivery.path.file_name()) else { return Ok(()) };
    let (sidecar, path) = (name_of(name), path_of(&facts.delivery.path));
    let failed = |error: io::Error| HookError::new(format!("cannot write `{}`: {error}", path.display()));
    let is_there = |folder: &Folder| folder.look(name).is_ok();
    let folder = match facts.base.folder(folder) {
        Ok(folder) => Some(folder).filter(is_there),
        Err(error) if is_gone(&error) => None,
        Err(error) => return Err(failed(error)),
    };
    let Some(folder) = folder else {
        // Beside nothing there is no place.
        tracing::info!("no sidecar for {:?}: the file no longer exists", facts.delivery.path);
        return Ok(());
    };
    let mut hosts = match read(&folder, &sidecar).map_err(failed)? {
        Existing::Nothing => Map::new(),
        Existing::Text(text) => entries(&text),
        Existing::Foreign(what) => {
            tracing::warn!("replacing {path:?}: it is {what}, so ferryd did not write it");
            Map::new()
        }
        Existing::InTheWay => return Err(failed(io::Error::other("what is there is not a regular file; move it out of the way"))),
    };
    hosts.insert(facts.delivery.host.clone(), facts.json());
    let document = serde_json::json!({ "version": 1, "hosts": hosts });
    let text = format!("{document:#}\n");
    let aside = names.of(Purpose::Sidecar, &facts.delivery.path).map_err(failed)?;
    durable::replace(&folder, &sidecar, &aside, text.as_bytes(), MODE).map_err(failed)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || files::is_link(error)
}

/// What an earlier writing left; something else under this name begins anew.
fn entries(text: &[u8]) -> Map<String, Value> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(mut fields)) => match fields.remove("hosts") {
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
    use crate::os::files::Base;
    use crate::os::system::System;
    use std::os::unix::fs::symlink;

    struct Place {
        dir: tempfile::TempDir,
        state: tempfile::TempDir,
        facts: Facts,
    }

    /// A watched folder with a source in it.
    fn place() -> Place {
        let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let facts = sample().with(|told| told.path = dir.path().join("a.mov"));
        let facts = Facts { base: Base::new(dir.path(), false), ..facts };
        std::fs::write(&facts.delivery.path, "a").unwrap();
        Place { dir, state, facts }
    }

    impl Place {
        fn write(&self, facts: &Facts) -> Result<(), HookError> {
            write(facts, &self.names())
        }

        fn names(&self) -> Names {
            Names::new(&System::default(), self.state.path())
        }

        fn sidecar(&self) -> PathBuf {
            self.dir.path().join("a.mov.ferryd.json")
        }

        fn document(&self) -> Value {
            serde_json::from_slice(&std::fs::read(self.sidecar()).unwrap()).unwrap()
        }

        /// How many files are in the folder.
        fn count(&self) -> usize {
            std::fs::read_dir(self.dir.path()).unwrap().count()
        }
    }

    #[test]
    fn each_host_has_its_entry() {
        let place = place();
        let facts = &place.facts;
        std::fs::remove_file(&facts.delivery.path).unwrap();
        place.write(facts).unwrap();
        assert_eq!(place.count(), 0, "nothing is written beside nothing");
        std::fs::write(&facts.delivery.path, "a").unwrap();
        place.write(facts).unwrap();
        place.write(&facts.with(|told| (told.host, told.link) = ("mirror".into(), None))).unwrap();
        place.write(&facts.with(|told| told.link = Some("https://new".into()))).unwrap();
        let document = place.document();
        assert_eq!(document["hosts"]["box"]["link"], "https://new");
        assert_eq!(document["hosts"]["mirror"]["link"], Value::Null);
        assert_eq!(place.count(), 2, "nothing else is left beside it");
    }

    #[test]
    fn a_link_in_the_place_of_a_sidecar_is_replaced_and_what_it_leads_to_neither_read_nor_written() {
        let place = place();
        let victim = place.state.path().join("victim");
        let text = r#"{"hosts":{"secret":{}}}"#;
        std::fs::write(&victim, text).unwrap();
        symlink(&victim, place.sidecar()).unwrap();
        // Even if somebody knew the name that is written under.
        symlink(&victim, place.dir.path().join(place.names().of(Purpose::Sidecar, &place.facts.delivery.path).unwrap())).unwrap();
        place.write(&place.facts).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), text);
        assert!(!place.sidecar().is_symlink());
        let document = place.document();
        assert!(document["hosts"]["box"].is_object() && document["hosts"].get("secret").is_none(), "{document}");
        assert_eq!(place.count(), 2);
    }

    #[test]
    fn what_is_no_file_is_left_alone_and_said() {
        let place = place();
        std::fs::create_dir(place.sidecar()).unwrap();
        let error = place.write(&place.facts).unwrap_err().to_string();
        assert!(error.contains("a.mov.ferryd.json") && error.contains("not a regular file"), "{error}");
        assert!(place.sidecar().is_dir() && place.count() == 2);
        std::fs::remove_dir(place.sidecar()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place.sidecar()).unwrap();
        assert!(place.write(&place.facts).is_err());
    }

    #[test]
    fn a_file_that_is_too_large_for_a_sidecar_begins_anew_and_rubbish_too() {
        let place = place();
        for size in [3 << 30, BYTES_MAX + 1, BYTES_MAX] {
            let file = std::fs::File::create(place.sidecar()).unwrap();
            file.set_len(size).unwrap();
            drop(file);
            let folder = place.facts.base.folder(place.dir.path()).unwrap();
            let found = read(&folder, &name_of(OsStr::new("a.mov"))).unwrap();
            assert_eq!(matches!(found, Existing::Text(_)), size == BYTES_MAX, "{size}");
            place.write(&place.facts).unwrap();
            assert!(place.document()["hosts"]["box"].is_object());
            std::fs::remove_file(place.sidecar()).unwrap();
        }
    }

    #[test]
    fn nothing_is_written_in_a_folder_that_a_link_leads_to() {
        let place = place();
        let private = place.state.path().join("private");
        std::fs::create_dir(&private).unwrap();
        std::fs::write(private.join("a.mov"), "private").unwrap();
        symlink(&private, place.dir.path().join("sub")).unwrap();
        let facts = place.facts.with(|told| told.path = place.dir.path().join("sub/a.mov"));
        place.write(&facts).unwrap();
        assert!(!private.join("a.mov.ferryd.json").exists());
        place.write(&Facts { base: Base::new(place.dir.path(), true), ..facts }).unwrap();
        assert!(private.join("a.mov.ferryd.json").exists(), "where links are followed it is");
    }

    #[test]
    fn what_a_crash_left_half_written_is_taken_up() {
        let place = place();
        let aside = place.dir.path().join(place.names().of(Purpose::Sidecar, Path::new(&place.facts.delivery.path)).unwrap());
        std::fs::write(&aside, "half").unwrap();
        place.write(&place.facts).unwrap();
        assert!(!aside.exists() && place.count() == 2);
    }
}
