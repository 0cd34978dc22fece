//! The file system in memory does what a real one does, and what a real one does only in bad times.

mod mounts;
mod process;
mod same_as_real;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{Base, Files};
use super::{Disk, FolderEvent, NameChange};
use crate::os::simulated_time::Time;

/// A disk on which time passes only between acts.
struct Place {
    disk: Disk,
    time: Time,
    base: Base,
}

/// A disk with the folder `/drop`, in which a user has put these files, each with its name as its content.
fn place(files: &[&str]) -> Place {
    let time = Time::by_hand(1_800_000_000_000_000_000);
    let disk = Disk::new(time.clock());
    disk.make_folders(Path::new("/drop")).unwrap();
    for name in files {
        disk.write(&at(name), name.as_bytes()).unwrap();
    }
    time.pass(Duration::from_secs(1));
    let base = Base::of(&Files::Simulated(disk.clone()), Path::new("/drop"), false);
    Place { disk, time, base }
}

fn at(name: &str) -> PathBuf {
    Path::new("/drop").join(name)
}

fn named(name: &str) -> &OsStr {
    OsStr::new(name)
}

impl Place {
    fn names(&self) -> Vec<String> {
        self.disk.files_below(Path::new("/drop")).into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    /// Watches `/drop`, and writes down what it is told.
    fn watch(&self) -> Arc<Mutex<Vec<(String, NameChange)>>> {
        let heard: Arc<Mutex<Vec<_>>> = Arc::default();
        let notes = heard.clone();
        let tell = move |event: &FolderEvent| notes.lock().unwrap().push((event.name.to_str().unwrap().to_owned(), event.change));
        self.disk.on_change(Arc::new(tell));
        self.disk.watch(Path::new("/drop")).unwrap();
        heard
    }
}
