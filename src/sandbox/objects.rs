//! What the sandbox hosts hold: finished files in a folder, each with a note of its name, size and digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Letters of an id.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
const ID_LETTERS: usize = 8;

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What a link names it by.
    pub id: String,
    /// The host that stored it.
    pub host: String,
    /// The name it was given.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal; empty where bytes are discarded.
    pub sha256: String,
    /// The session that brought it.
    pub session: String,
}

/// All stored files.
#[derive(Debug)]
pub struct Objects {
    dir: PathBuf,
    discard: bool,
    list: Mutex<BTreeMap<String, Object>>,
}

impl Objects {
    pub(super) fn open(dir: &Path, discard: bool) -> io::Result<Objects> {
        let dir = dir.join("objects");
        std::fs::create_dir_all(&dir)?;
        let mut list = BTreeMap::new();
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let object: Object = serde_json::from_slice(&std::fs::read(&path)?)?;
                list.insert(object.id.clone(), object);
            }
        }
        Ok(Objects { dir, discard, list: Mutex::new(list) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the file at `data` in, and gives it an id.
    pub(super) fn store(&self, host: &str, name: &str, session: &str, bytes: u64, data: Option<&Path>) -> io::Result<Object> {
        let id: String = (0..ID_LETTERS).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect();
        let mut object = Object {
            id: id.clone(),
            host: host.to_owned(),
            name: name.to_owned(),
            bytes,
            sha256: String::new(),
            session: session.to_owned(),
        };
        if let Some(data) = data.filter(|_| !self.discard) {
            let kept = self.dir.join(&id);
            std::fs::copy(data, &kept)?;
            object.sha256 = digest(&kept)?;
            std::fs::write(self.dir.join(format!("{id}.json")), serde_json::to_vec(&object)?)?;
            self.lock().insert(id, object.clone());
        } else if self.discard {
            self.lock().insert("discarded".into(), object.clone());
        }
        Ok(object)
    }

    pub(super) fn list(&self) -> Vec<Object> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Object> {
        self.lock().get(id).cloned()
    }

    pub(super) fn file(&self, object: &Object) -> io::Result<File> {
        File::open(self.path(object))
    }

    pub(super) fn path(&self, object: &Object) -> PathBuf {
        self.dir.join(&object.id)
    }

    pub(super) fn read(&self, id: &str) -> io::Result<Vec<u8>> {
        let object = self.find(id).ok_or(io::ErrorKind::NotFound)?;
        std::fs::read(self.dir.join(object.id))
    }

    pub(super) fn clear(&self) -> io::Result<()> {
        self.lock().clear();
        std::fs::remove_dir_all(&self.dir)?;
        std::fs::create_dir_all(&self.dir)
    }
}

/// SHA-256 of a file, in hexadecimal.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
