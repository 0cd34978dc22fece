//! The roots of the watches, as they were when a known file was last met below them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::job::absence::{self, RootFolder};
use crate::job::{Identity, Watch, Watches};
use crate::os::files::{Base, Files};
use crate::watch::Handle;

/// What is known of the roots, shared by whoever meets files below them and whoever misses some.
#[derive(Clone, Default)]
pub struct KnownRoots {
    files: Files,
    watches: Watches,
    known: Arc<Mutex<HashMap<PathBuf, RootFolder>>>,
    hints: Handle,
    /// Since when files are missing that may still be met under another name.
    missing: Arc<Mutex<HashMap<PathBuf, Instant>>>,
}

/// Missing files that are remembered. Those of which nobody asks again would stay for ever; all are forgotten together, and only
/// wait for one more scan.
const MISSING_MAX: usize = 10_000;

impl KnownRoots {
    /// The roots of `watches`, of which this is `known`; their watching listens to `hints`.
    pub(crate) fn new(files: Files, watches: Watches, known: Vec<(PathBuf, RootFolder)>, hints: Handle) -> KnownRoots {
        KnownRoots { files, watches, known: Arc::new(Mutex::new(known.into_iter().collect())), hints, missing: Arc::default() }
    }

    /// The same for these watches.
    #[must_use]
    pub(crate) fn of_watches(&self, watches: Watches) -> KnownRoots {
        KnownRoots { watches, ..self.clone() }
    }

    /// Files that are known were met below the root of `watch`, or were taken up there, on the file systems of these numbers. Answers
    /// what the root is, where that is news.
    pub(crate) fn met_files(&self, watch: &Watch, mut devices: impl Iterator<Item = i64>) -> Option<RootFolder> {
        let now = self.look(watch)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The disk may have gone since they were met, and what is left is the folder that it was mounted on.
        if known.contains_key(&watch.path) && !devices.any(|device| device == now.device) {
            return None;
        }
        (known.insert(watch.path.clone(), now) != Some(now)).then_some(now)
    }

    /// Whether the file at `path`, which is not there, is gone for good: neither out of reach, nor under another name, which the scan
    /// of its watch would have followed that began after somebody has missed it first. It was taken up on the file system of this
    /// number. As long as it is not, its watch is scanned soon.
    pub(crate) fn is_lost(&self, path: &Path, device: i64, now: Instant) -> bool {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.len() >= MISSING_MAX {
            missing.clear();
        }
        let since = *missing.entry(path.to_owned()).or_insert(now);
        drop(missing);
        let lost = self.scanned_since(path, since) && self.is_gone(path, device);
        if lost {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        }
        lost
    }

    /// Has the file at `path` looked at again: what is there now may be a version of which nobody has told.
    pub(crate) fn look_again(&self, path: &Path) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            self.hints.look(folder, name);
        }
    }

    /// Whether it is not merely out of reach.
    fn is_gone(&self, path: &Path, device: i64) -> bool {
        let Some(watch) = self.watches.of_file(path) else { return self.nearest_device(path, None).is_some() };
        let (Some(now), Some(nearest)) = (self.look(watch), self.nearest_device(path, Some(&watch.path))) else { return false };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&watch.path).copied();
        absence::is_gone(known.as_ref(), &now, device, nearest)
    }

    fn scanned_since(&self, path: &Path, since: Instant) -> bool {
        let Some(watch) = self.watches.of_file(path) else { return true };
        let scanned = self.hints.scanned_since(&watch.path, since);
        if !scanned {
            self.hints.scan(&watch.path);
        }
        scanned
    }

    fn look(&self, watch: &Watch) -> Option<RootFolder> {
        let stat = Base::of(&self.files, &watch.path, watch.follow_symlinks).look_at_top().ok()?;
        let Identity { device, inode, born_ns, .. } = Identity::from(stat.numbers);
        Some(RootFolder { device, inode, born_ns })
    }

    /// The file system of the nearest folder above `path` that exists; up to `root`, or only its own folder without one.
    fn nearest_device(&self, path: &Path, root: Option<&Path>) -> Option<i64> {
        let above = path.ancestors().skip(1).take_while(|folder| root.is_none_or(|root| folder.starts_with(root)));
        let depth = if root.is_some() { usize::MAX } else { 1 };
        let mut found = above.take(depth).filter_map(|folder| Base::of(&self.files, folder, true).look_at_top().ok());
        found.next().map(|stat| Identity::from(stat.numbers).device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_watch_is_known_by_files_that_were_met_on_its_own_disk() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::new(dir.path().to_owned(), Arc::from(["box".to_owned()]));
        let here = Identity::of(&std::fs::metadata(dir.path()).unwrap()).device;
        // What was mounted on the folder is gone.
        let away = RootFolder { device: here + 1, inode: 1, born_ns: 1 };
        let watches: Watches = [watch.clone()].into_iter().collect();
        let roots = KnownRoots::new(Files::Real, watches, vec![(watch.path.clone(), away)], Handle::default());
        assert!(roots.met_files(&watch, [away.device].into_iter()).is_none(), "these were met before it went");
        assert!(!roots.is_gone(&dir.path().join("file"), away.device), "what is on it is merely out of reach");
        assert!(roots.met_files(&watch, [away.device, here].into_iter()).is_some());
        assert!(roots.met_files(&watch, [here].into_iter()).is_none(), "that is no news");
        assert!(roots.is_gone(&dir.path().join("file"), here));
    }
}
