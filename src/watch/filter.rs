//! Which names and sizes count. A glob without a slash is about each name on the way from the root; one with a slash is about the
//! whole way. Sidecars (`*.ferryd.json`) never count, whatever the globs say: we write them ourselves.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::job::marker::Marker;

/// How the names of the files end that we write beside the user's own.
const OURS: &[u8] = b".ferryd.json";

/// The names and sizes that count below a root.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    include: Globs,
    exclude: Globs,
    min_size: u64,
    max_size: Option<u64>,
    markers: Option<Marker>,
}

/// A glob that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{glob}` is not a valid glob: {why}")]
pub struct BadGlob {
    /// The glob.
    pub glob: String,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Debug, Clone)]
struct Globs {
    names: GlobSet,
    paths: GlobSet,
    everything: bool,
}

impl Filter {
    /// Reads the globs. A file counts when it matches one of `include`, nothing on its way matches one of `exclude`, and its size
    /// is in bounds.
    pub(crate) fn new(include: &[String], exclude: &[String], min_size: u64, max_size: Option<u64>) -> Result<Filter, BadGlob> {
        Ok(Filter { include: Globs::new(include)?, exclude: Globs::new(exclude)?, min_size, max_size, markers: None })
    }

    /// The same, but files that are markers of others do not count.
    pub(crate) fn without(self, markers: Option<Marker>) -> Filter {
        Filter { markers, ..self }
    }

    /// Whether a file of this `name`, at `relative` below its root, counts. Folders on the way are asked about by
    /// [`Filter::enters`].
    pub(crate) fn takes(&self, relative: &Path, name: &OsStr) -> bool {
        !name.as_bytes().ends_with(OURS)
            && (self.include.everything || self.include.matches(relative, name))
            && !self.exclude.matches(relative, name)
            && !self.markers.as_ref().is_some_and(|markers| markers.is_one(name))
    }

    /// Whether the folder of this `name`, at `relative` below the root, is entered.
    pub(crate) fn enters(&self, relative: &Path, name: &OsStr) -> bool {
        !self.exclude.matches(relative, name)
    }

    /// Whether every folder on the way to `relative` is entered, for a file that was not found by walking there.
    pub(crate) fn enters_all_above(&self, relative: &Path) -> bool {
        let mut folders = relative.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        folders.all(|folder| match folder.components().next_back() {
            Some(Component::Normal(name)) => self.enters(folder, name),
            _ => true,
        })
    }

    /// Whether a file of so many bytes counts.
    pub(crate) fn takes_size(&self, bytes: u64) -> bool {
        bytes >= self.min_size && self.max_size.is_none_or(|max| bytes <= max)
    }
}

impl Globs {
    fn new(globs: &[String]) -> Result<Globs, BadGlob> {
        let mut names = GlobSetBuilder::new();
        let mut paths = GlobSetBuilder::new();
        for text in globs {
            let bad = |error: globset::Error| BadGlob { glob: text.clone(), why: error.kind().to_string() };
            let pattern = text.strip_prefix("./").unwrap_or(text);
            let glob = GlobBuilder::new(pattern.trim_start_matches('/')).literal_separator(true).build().map_err(bad)?;
            if pattern.contains('/') {
                paths.add(glob)
            } else {
                names.add(glob)
            };
        }
        let built = |set: GlobSetBuilder| set.build().map_err(|error| BadGlob { glob: globs.join(", "), why: error.to_string() });
        let everything = globs.iter().any(|glob| glob == "*" || glob == "**");
        Ok(Globs { names: built(names)?, paths: built(paths)?, everything })
    }

    fn matches(&self, relative: &Path, name: &OsStr) -> bool {
        self.names.is_match(Path::new(name)) || (!self.paths.is_empty() && self.paths.is_match(relative))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude), 1, Some(10)).unwrap()
    }

    fn takes(filter: &Filter, path: &str) -> bool {
        let path = Path::new(path);
        filter.enters_all_above(path) && filter.takes(path, path.file_name().unwrap())
    }

    #[test]
    fn markers_of_files_do_not_count() {
        let filter = filter(&["*"], &[]).without(Marker::parse("{name}.done").ok());
        assert!(takes(&filter, "a/b.mov") && takes(&filter, ".done") && !takes(&filter, "a/b.mov.done"));
    }

    #[test]
    fn a_glob_without_a_slash_is_about_every_name_on_the_way() {
        let filter = filter(&["*"], &["*.part", ".*", "*~"]);
        assert!(takes(&filter, "a/b/c.mov"));
        for path in ["x.part", "a/b/x.part", ".git/config", "a/.cache/x", "notes~"] {
            assert!(!takes(&filter, path), "{path}");
        }
    }

    #[test]
    fn a_glob_with_a_slash_is_about_the_whole_way() {
        let filter = filter(&["photos/**/*.jpg"], &["photos/raw/*"]);
        assert!(takes(&filter, "photos/2026/a.jpg"));
        assert!(takes(&filter, "photos/a.jpg"));
        for path in ["a.jpg", "photos/raw/a.jpg", "photos/a.png", "x/photos/a.jpg"] {
            assert!(!takes(&filter, path), "{path}");
        }
    }

    #[test]
    fn names_need_not_be_unicode() {
        let name = OsStr::from_bytes(b"caf\xe9\n.part");
        assert!(!filter(&["*"], &["*.part"]).takes(Path::new(name), name));
        assert!(filter(&["*"], &["*.tmp"]).takes(Path::new(name), name));
    }

    #[test]
    fn our_own_files_never_count() {
        let filter = filter(&["*.json"], &[]);
        assert!(takes(&filter, "a.json") && !takes(&filter, "a.mov.ferryd.json") && !takes(&filter, "x/.ferryd-7.tmp.ferryd.json"));
    }

    #[test]
    fn sizes_are_bounds_on_both_sides() {
        let filter = filter(&["*"], &[]);
        assert_eq!([0, 1, 10, 11].map(|bytes| filter.takes_size(bytes)), [false, true, true, false]);
    }

    #[test]
    fn a_bad_glob_is_named() {
        let error = Filter::new(&["[".to_owned()], &[], 0, None).unwrap_err();
        assert!(error.to_string().starts_with("`[` is not a valid glob: "), "{error}");
    }
}
