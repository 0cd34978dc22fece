//! What is in a watch, as a scan would find it.

use std::path::{Path, PathBuf};

use super::Root;
use super::scan::Walk;

/// What a scan would find.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Folders that would be watched.
    pub folders: usize,
    /// Files that count.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether there are more folders than were looked at.
    pub is_cut: bool,
}

/// Goes through the folder of `root`, as far as `folders_max` folders, and counts the files for which `counts` says so. What cannot be
/// read is passed by.
pub(crate) fn survey_of(root: &Root, folders_max: usize, mut counts: impl FnMut(&Path) -> bool) -> Survey {
    let mut found = Survey::default();
    let mut walk = Walk::new(root, root.path().to_owned(), true);
    while let Some(folder) = walk.next_folder() {
        if found.folders == folders_max {
            found.is_cut = true;
            break;
        }
        found.folders += 1;
        let mut files: Vec<(PathBuf, u64)> = Vec::new();
        let each = |file: super::scan::FoundFile| {
            files.push((folder.path.join(&file.name), file.sighting.identity.size));
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = walk.list(&folder, each, |_, _| {});
        for (_, bytes) in files.iter().filter(|(path, _)| counts(path)) {
            found.files += 1;
            found.bytes += bytes;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::Watch;
    use crate::os::files::Files;

    #[test]
    fn files_are_counted_as_a_scan_would_take_them_up() {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in [("a", 1), ("sub/b", 10), ("sub/c.tmp", 100), (".hidden/d", 1000), ("inner/e", 10_000), ("known", 7)] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![0; bytes]).unwrap();
        }
        let watch = |path: &Path| Watch::new(path.to_owned(), Arc::from([]));
        let watches = [watch(dir.path()), watch(&dir.path().join("inner"))].into_iter().collect();
        let roots = Root::all(&Files::Real, &watches, Path::new("/nowhere"), &[]).unwrap();
        let counts = |path: &Path| !path.ends_with("known");
        assert_eq!(survey_of(&roots[0], 10, counts), Survey { folders: 2, files: 2, bytes: 11, is_cut: false });
        assert_eq!(survey_of(&roots[1], 10, counts), Survey { folders: 1, files: 1, bytes: 10_000, is_cut: false });
        assert_eq!(survey_of(&roots[0], 1, counts), Survey { folders: 1, files: 1, bytes: 1, is_cut: true });
    }
}
