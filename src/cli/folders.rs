//! What can be said of watched folders by looking at them, without waiting for one that does not answer.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::job::Watches;
use crate::os::{folders as os_folders, threads};

use super::exit::Exit;
use super::render::{self, CommandFailure};

/// How long folders are waited for, all together.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the folders of watches that want it. One that cannot be made is a missing watch, which is looked for again; it stops
/// nothing else, and neither does one that does not answer.
pub(super) fn make(watches: &Watches) {
    let wanted = watches.iter().filter(|watch| watch.create).map(|watch| watch.path.clone());
    threads::each_within(wanted.collect(), PATIENCE, |path| {
        if !path.exists() {
            match os_folders::make(path, false) {
                Ok(()) => tracing::info!("created the folder {path:?}"),
                Err(error) => tracing::warn!("cannot create the folder {path:?}: {error}"),
            }
        }
    });
}

/// Watches that are the same folder by another way, each with the earlier one: every file in it would go up twice.
pub(super) fn met_twice(watches: &Watches) -> Vec<(PathBuf, PathBuf)> {
    let folder = |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir).map(|top| (top.dev(), top.ino()));
    let tops = threads::each_within(watches.iter().map(|watch| watch.path.clone()).collect(), PATIENCE, folder);
    let (mut first, mut twice) = (HashMap::new(), Vec::new());
    for (watch, top) in watches.iter().zip(tops) {
        let Some(top) = top.flatten() else { continue };
        match first.get(&top) {
            Some(earlier) => twice.push((watch.path.clone(), PathBuf::clone(earlier))),
            None => drop(first.insert(top, watch.path.clone())),
        }
    }
    twice
}

/// Whether files below `folder` belong to one of the watches. One that does not answer is taken at its word.
pub(super) fn is_watched(watches: &Watches, folder: &Path) -> bool {
    let found = |path: &Path| path.canonicalize().ok();
    let recursive: Vec<PathBuf> = watches.iter().filter(|watch| watch.recursive).map(|watch| watch.path.clone()).collect();
    let tops = threads::each_within(recursive.clone(), PATIENCE, found);
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    recursive.into_iter().zip(tops).any(|(path, top)| folder.starts_with(top.flatten().unwrap_or(path)))
}

/// Two watches on one folder would send every file twice.
pub(super) fn refuse_met_twice(watches: &Watches) -> Result<(), CommandFailure> {
    match met_twice(watches).first() {
        None => Ok(()),
        Some((later, earlier)) => {
            let (later, earlier) = (render::path(later), render::path(earlier));
            let message = format!("the watches `{earlier}` and `{later}` are the same folder");
            Err(CommandFailure::new(Exit::Configuration, message).hint("remove one of the two [[watch]] sections"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::Watch;

    #[test]
    fn what_is_below_a_recursive_watch_is_watched_by_whatever_way_it_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        for folder in ["w/sub", "flat/sub", "other"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("w/sub", top.join("link")).unwrap();
        let watch = |name: &str, recursive| Watch { recursive, ..Watch::new(top.join(name), Arc::from([])) };
        let watches: Watches = [watch("w", true), watch("flat", false), watch("none", true)].into_iter().collect();
        let cases = [("w", true), ("w/sub", true), ("link", true), ("flat/sub", false), ("other", false), ("none", true)];
        for (name, expected) in cases {
            assert_eq!(is_watched(&watches, &top.join(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_folder_is_known_again_by_whatever_way_it_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        for folder in ["w/sub", "other"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("w", top.join("link")).unwrap();
        let paths = ["w", "other", "w/../w", "link", "w/sub", "none", "none/../none"].map(|way| top.join(way));
        let watches: Watches = paths.iter().map(|path| Watch::new(path.clone(), Arc::from([]))).collect();
        assert_eq!(met_twice(&watches), [(paths[2].clone(), paths[0].clone()), (paths[3].clone(), paths[0].clone())]);
    }
}
