//! Names for what is made for a moment beside the user's own files: hidden, passed over by the scan, and known to nobody
//! beforehand.
//!
//! A name comes of what it is for, of the path of the file it is for, and of a random salt that is kept in the state folder. So the
//! next attempt after a crash finds what the last one left, and nobody who may write in the folder can lay something out in its
//! place.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::durable;
use super::files::Base;
use super::system::System;

/// The salt's name in the state folder.
const FILE_NAME: &str = "names.salt";
const SALT_BYTES: usize = 32;
/// Of the digest, so many bytes are in a name.
const NAME_BYTES: usize = 16;

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A sidecar that is being written.
    Sidecar,
    /// A copy on another file system that is being written.
    Copy,
    /// A source that is about to be removed.
    Aside,
}

/// The names of one state folder.
#[derive(Debug)]
pub(crate) struct Names {
    system: System,
    dir: PathBuf,
    salt: Mutex<Option<[u8; SALT_BYTES]>>,
}

impl Names {
    /// The names of this state folder. Nothing is read or written before the first is asked for.
    pub(crate) fn new(system: &System, state_dir: &Path) -> Names {
        Names { system: system.clone(), dir: state_dir.to_owned(), salt: Mutex::new(None) }
    }

    /// The name for this purpose and the file at `path`.
    ///
    /// # Errors
    ///
    /// The salt cannot be read or made.
    pub(crate) fn of(&self, purpose: Purpose, path: &Path) -> io::Result<OsString> {
        let word: &[u8] = match purpose {
            Purpose::Sidecar => b"sidecar",
            Purpose::Copy => b"copy",
            Purpose::Aside => b"aside",
        };
        let mut digest = Sha256::new();
        digest.update(self.salt()?);
        digest.update(word);
        digest.update([0]);
        digest.update(path.as_os_str().as_bytes());
        let hex: String = digest.finalize().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Ok(format!(".ferryd-{hex}.ferryd.json").into())
    }

    fn salt(&self) -> io::Result<[u8; SALT_BYTES]> {
        let mut kept = self.salt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(salt) = *kept {
            return Ok(salt);
        }
        let salt =
            self.load().map_err(|error| io::Error::new(error.kind(), format!("`{FILE_NAME}` in the state folder: {error}")))?;
        Ok(*kept.insert(salt))
    }

    /// Reads the salt, or makes it; it is on the disk before it is used.
    fn load(&self) -> io::Result<[u8; SALT_BYTES]> {
        let base = Base::of(&self.system.files, &self.dir, false);
        let mut found = Vec::new();
        match base.open(&self.dir.join(FILE_NAME)).and_then(|file| file.take(SALT_BYTES as u64 + 1).read_to_end(&mut found)) {
            Ok(SALT_BYTES) => return Ok(std::array::from_fn(|index| found[index])),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let salt: [u8; SALT_BYTES] = self.system.chance.bytes();
        let folder = base.folder(&self.dir)?;
        durable::replace(&folder, OsStr::new(FILE_NAME), OsStr::new("names.salt.new"), &salt, 0o600)?;
        Ok(salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_name_is_the_same_after_a_restart_and_another_for_everything_else() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = |dir: &Path, purpose, path: &str| Names::new(&System::default(), dir).of(purpose, Path::new(path)).unwrap();
        let first = name(dir.path(), Purpose::Aside, "/drop/a.mov");
        assert_eq!(first, name(dir.path(), Purpose::Aside, "/drop/a.mov"));
        let others = [
            name(dir.path(), Purpose::Aside, "/drop/b.mov"),
            name(dir.path(), Purpose::Copy, "/drop/a.mov"),
            name(other.path(), Purpose::Aside, "/drop/a.mov"),
        ];
        assert!(!others.contains(&first), "{first:?} {others:?}");
        let text = first.into_string().unwrap();
        assert!(text.starts_with(".ferryd-") && text.ends_with(".ferryd.json"), "the scan passes it over: {text}");
    }

    #[test]
    fn the_salt_is_its_owners_alone_and_a_torn_one_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE_NAME);
        std::fs::write(&file, "torn").unwrap();
        Names::new(&System::default(), dir.path()).of(Purpose::Copy, Path::new("/a")).unwrap();
        assert_eq!(std::fs::read(&file).unwrap().len(), SALT_BYTES);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_salt_that_cannot_be_kept_is_an_error_that_names_it() {
        let error = Names::new(&System::default(), Path::new("/nowhere/at/all")).of(Purpose::Copy, Path::new("/a")).unwrap_err();
        assert!(error.to_string().contains("names.salt"), "{error}");
    }
}
