//! Small files and large ones: on the disk, or in memory for a sandbox that touches no disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hold;

/// Where files are. Clones are the same place; the default is the machine's disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(Option<Arc<Mutex<Tree>>>);

/// Files in memory by their paths. A folder is there when a file is in it.
type Tree = BTreeMap<PathBuf, Bytes>;

/// The bytes of a file in memory. A reader keeps those that it opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes(Arc<Vec<u8>>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A file that is open to be read.
#[derive(Debug)]
pub(super) enum Opened {
    OnDisk(File),
    InMemory(Cursor<Bytes>),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Opened::OnDisk(file) => file.read(buffer),
            Opened::InMemory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Opened {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match self {
            Opened::OnDisk(file) => file.seek(to),
            Opened::InMemory(bytes) => bytes.seek(to),
        }
    }
}

/// A file that is being written from its beginning.
#[derive(Debug)]
pub(super) enum Created {
    OnDisk(File),
    InMemory { tree: Arc<Mutex<Tree>>, path: PathBuf },
}

impl Write for Created {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Created::OnDisk(file) => file.write(bytes),
            Created::InMemory { tree, path } => {
                let mut tree = hold(tree);
                let file = tree.get_mut(path).ok_or(ErrorKind::NotFound)?;
                Arc::make_mut(&mut file.0).extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Created::OnDisk(file) => file.flush(),
            Created::InMemory { .. } => Ok(()),
        }
    }
}

impl Files {
    /// No file yet, and none that will ever be on a disk.
    pub(super) fn in_memory() -> Files {
        Files(Some(Arc::default()))
    }

    /// Opens a file to read it.
    pub(super) fn open(&self, path: &Path) -> std::io::Result<Opened> {
        match &self.0 {
            None => File::open(path).map(Opened::OnDisk),
            Some(tree) => Ok(Opened::InMemory(Cursor::new(held(tree, path)?))),
        }
    }

    /// Makes a file, or empties it.
    pub(super) fn create(&self, path: &Path) -> std::io::Result<Created> {
        match &self.0 {
            None => File::create(path).map(Created::OnDisk),
            Some(tree) => {
                hold(tree).insert(path.to_owned(), Bytes::default());
                Ok(Created::InMemory { tree: Arc::clone(tree), path: path.to_owned() })
            }
        }
    }

    /// Makes a file of these bytes.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        self.create(path)?.write_all(bytes)
    }

    /// All bytes of a file.
    pub(super) fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match &self.0 {
            None => fs::read(path),
            Some(tree) => Ok(held(tree, path)?.0.to_vec()),
        }
    }

    /// The length of a file.
    pub(super) fn len(&self, path: &Path) -> std::io::Result<u64> {
        match &self.0 {
            None => Ok(fs::metadata(path)?.len()),
            Some(tree) => Ok(held(tree, path)?.0.len() as u64),
        }
    }

    /// The names in a folder that are text; none when there is no such folder.
    pub(super) fn names(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        if let Some(tree) = &self.0 {
            let tree = hold(tree);
            let below = tree.keys().filter_map(|path| path.strip_prefix(dir).ok()?.iter().next()?.to_str());
            let mut names: Vec<String> = below.map(str::to_owned).collect();
            names.dedup();
            return Ok(names);
        }
        let entries = match fs::read_dir(dir) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
            other => other?,
        };
        let names: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name().into_string())).collect();
        Ok(names?.into_iter().flatten().collect())
    }

    /// Makes a folder and all above it.
    pub(super) fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        if self.0.is_some() { Ok(()) } else { fs::create_dir_all(dir) }
    }

    /// Removes a folder with all that is in it, if there is one.
    pub(super) fn remove_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        match self.0.as_ref().map(|tree| hold(tree).retain(|path, _| !path.starts_with(dir))) {
            Some(()) => Ok(()),
            None => unless_missing(fs::remove_dir_all(dir)),
        }
    }

    /// Removes a file, if there is one.
    pub(super) fn remove(&self, path: &Path) -> std::io::Result<()> {
        match self.0.as_ref().map(|tree| hold(tree).remove(path)) {
            Some(_) => Ok(()),
            None => unless_missing(fs::remove_file(path)),
        }
    }

    /// Gives a file another name, over whatever has it.
    #[allow(
        clippy::disallowed_methods,
        reason = "nothing of the sandbox has to outlive a power cut, and it shares no code with the daemon"
    )]
    pub(super) fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        let Some(tree) = &self.0 else { return fs::rename(from, to) };
        let mut tree = hold(tree);
        let bytes = tree.remove(from).ok_or(ErrorKind::NotFound)?;
        tree.insert(to.to_owned(), bytes);
        Ok(())
    }

    /// Changes the first byte of a file.
    pub(super) fn flip_first_byte(&self, path: &Path) -> std::io::Result<()> {
        if let Some(tree) = &self.0 {
            let mut tree = hold(tree);
            let file = tree.get_mut(path).ok_or(ErrorKind::NotFound)?;
            let first = Arc::make_mut(&mut file.0).first_mut().ok_or(ErrorKind::UnexpectedEof)?;
            *first = !*first;
            return Ok(());
        }
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        file.rewind()?;
        file.write_all(&[!byte[0]])
    }

    /// What a file says; nothing when it cannot be read.
    pub(super) fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        serde_json::from_slice(&self.read(path).ok()?).ok()
    }

    /// Makes a file say this, at once and whole.
    pub(super) fn write_json(&self, path: &Path, value: &impl Serialize) -> std::io::Result<()> {
        let aside = path.with_extension("new");
        self.write(&aside, &serde_json::to_vec(value)?)?;
        self.rename(&aside, path)
    }
}

fn held(tree: &Mutex<Tree>, path: &Path) -> std::io::Result<Bytes> {
    hold(tree).get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
}

fn unless_missing(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same steps on a disk and in memory, and what is there after each.
    fn steps(files: &Files, root: &Path) -> Vec<String> {
        let mut seen = Vec::new();
        let mut see = |told: &str| {
            let mut names = files.names(root).unwrap();
            names.sort();
            seen.push(format!("{told} {names:?} {:?}", files.read(&root.join("a")).map_err(|error| error.kind())));
        };
        see("begin");
        files.create_dir_all(&root.join("d/e")).unwrap();
        files.write(&root.join("a"), b"one").unwrap();
        files.write(&root.join("d/e/f"), b"deep").unwrap();
        files.write(&root.join("d/g"), b"stays").unwrap();
        let mut opened = files.open(&root.join("a")).unwrap();
        see("written");
        files.rename(&root.join("d/e/f"), &root.join("a")).unwrap();
        see("renamed over");
        let mut text = String::new();
        opened.seek(SeekFrom::Start(1)).unwrap();
        opened.read_to_string(&mut text).unwrap();
        see(&text);
        files.flip_first_byte(&root.join("a")).unwrap();
        see("flipped");
        files.write_json(&root.join("a"), &7).unwrap();
        see(&format!("{:?} {}", files.read_json::<u8>(&root.join("a")), files.len(&root.join("a")).unwrap()));
        files.remove_dir_all(&root.join("d")).unwrap();
        files.remove_dir_all(&root.join("d")).unwrap();
        files.remove(&root.join("a")).unwrap();
        files.remove(&root.join("a")).unwrap();
        see("removed");
        seen.push(format!("{:?}", files.open(&root.join("a")).map_err(|error| error.kind()).err()));
        seen
    }

    #[test]
    fn files_in_memory_are_as_files_on_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(steps(&Files::in_memory(), Path::new("/")), steps(&Files::default(), dir.path()));
    }
}
