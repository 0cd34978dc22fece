//! A watched folder as the user wants it, and which of several watches a folder belongs to.

use std::cmp::Reverse;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::marker::Marker;
use super::remote_path::RemotePath;
use super::{Reason, ReasonClass};

/// Names that are passed over unless the user says otherwise: files that other programs are still filling, and hidden ones.
pub const DEFAULT_EXCLUDE: [&str; 5] = ["*.part", "*.crdownload", "*.tmp", "*~", ".*"];

/// A folder, and what is to be done with the files in it.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The folder. Absolute, not resolved through symbolic links.
    pub path: PathBuf,
    /// Names of the hosts its files go to; none stands twice.
    pub to: Arc<[String]>,
    /// Whether folders below `path` count.
    pub recursive: bool,
    /// Whether a missing `path` is made at start.
    pub create: bool,
    /// Globs; a file must match one.
    pub include: Vec<String>,
    /// Globs; a file or folder that matches one is passed over.
    pub exclude: Vec<String>,
    /// Files below this many bytes are passed over.
    pub min_size: u64,
    /// Files above this many bytes are passed over.
    pub max_size: Option<u64>,
    /// Whether files already there when the watch is first seen count.
    pub existing: bool,
    /// Quiet time that must pass besides the other evidence.
    pub settle: Duration,
    /// The same for a file of which nobody tells who writes it, unless its writer was seen to close it.
    pub settle_unknown: Duration,
    /// The file that must say of another one beside it that it is complete.
    pub ready_when: Option<Marker>,
    /// What becomes of a file that is changed after it was uploaded.
    pub on_change: OnChange,
    /// How changes are noticed.
    pub events: EventSource,
    /// How often the whole folder is scanned whatever the events say.
    pub rescan: Duration,
    /// Whether symbolic links are followed.
    pub follow_symlinks: bool,
    /// The folder a file goes to, on hosts that have folders.
    pub remote_path: RemotePath,
    /// Higher goes first.
    pub priority: i64,
    /// What happens to a file when every host in `to` has it.
    pub after: After,
    /// Whether a folder goes that is empty once that has happened.
    pub prune_empty: bool,
}

/// What happens to the source when every host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It stays.
    Keep,
    /// It is removed.
    Delete,
    /// It goes into this folder, below which it keeps its path relative to the watch. Absolute, outside every watch.
    Move(PathBuf),
}

/// What becomes of a file that is changed after it was uploaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnChange {
    /// The new version is uploaded, too.
    #[default]
    Upload,
    /// It stays on the hosts as it was.
    Ignore,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventSource {
    /// Events where the file system gives them, scans where it does not.
    #[default]
    Auto,
    /// The platform's events.
    Native,
    /// Scans only.
    Poll,
}

/// Every watch, in the order of the configuration. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Watches(Arc<[Watch]>);

impl Watch {
    /// A watch with every default filled in.
    pub fn new(path: PathBuf, to: Arc<[String]>) -> Watch {
        Watch {
            path,
            to,
            recursive: true,
            create: false,
            include: vec!["*".to_owned()],
            exclude: DEFAULT_EXCLUDE.map(str::to_owned).to_vec(),
            min_size: 1,
            max_size: None,
            existing: true,
            settle: Duration::from_secs(2),
            settle_unknown: Duration::from_secs(60),
            ready_when: None,
            on_change: OnChange::Upload,
            events: EventSource::Auto,
            rescan: Duration::from_secs(3600),
            follow_symlinks: false,
            remote_path: RemotePath::default(),
            priority: 0,
            after: After::Keep,
            prune_empty: false,
        }
    }

    /// Whether files in `folder` would count if this were the only watch.
    fn covers(&self, folder: &Path) -> bool {
        if self.recursive { folder.starts_with(&self.path) } else { folder == self.path }
    }
}

impl OnChange {
    /// The word for it, as configured and shown.
    pub fn word(self) -> &'static str {
        match self {
            OnChange::Upload => "upload",
            OnChange::Ignore => "ignore",
        }
    }
}

impl EventSource {
    const ALL: [EventSource; 3] = [EventSource::Auto, EventSource::Native, EventSource::Poll];

    /// The word for it, as configured, stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            EventSource::Auto => "auto",
            EventSource::Native => "native",
            EventSource::Poll => "poll",
        }
    }

    /// What has this word.
    pub fn from_word(word: &str) -> Option<EventSource> {
        EventSource::ALL.into_iter().find(|source| source.word() == word)
    }
}

impl Watches {
    /// The watch that the files in `folder` belong to: the innermost that covers it. A watch that is not recursive covers its own
    /// folder and none below.
    pub fn owner(&self, folder: &Path) -> Option<usize> {
        self.innermost(|watch| watch.covers(folder))
    }

    /// The watch that the file at `path` belongs to.
    pub fn of_file(&self, path: &Path) -> Option<&Watch> {
        self.get(self.owner(path.parent()?)?)
    }

    /// Why a file in `folder` is not sent to `host`; nothing where it is.
    pub(crate) fn unwanted(&self, folder: &Path, host: &str) -> Option<Reason> {
        match self.owner(folder).and_then(|index| self.get(index)) {
            None => Some(Reason::new(ReasonClass::NotWatched)),
            Some(watch) if !watch.to.iter().any(|to| to == host) => Some(Reason::new(ReasonClass::NotSentTo).about(host)),
            Some(_) => None,
        }
    }

    /// The watch that goes through `folder` to what is below it: the innermost recursive one around it. The files in `folder`
    /// itself may belong to another, which is not recursive.
    pub fn walker(&self, folder: &Path) -> Option<usize> {
        self.innermost(|watch| watch.recursive && watch.covers(folder))
    }

    /// The first of the watches with the longest path of those that `covers`.
    fn innermost(&self, covers: impl Fn(&Watch) -> bool) -> Option<usize> {
        let around = self.iter().enumerate().filter(|(_, watch)| covers(watch));
        around.max_by_key(|(index, watch)| (watch.path.components().count(), Reverse(*index))).map(|(index, _)| index)
    }
}

impl Deref for Watches {
    type Target = [Watch];

    fn deref(&self) -> &[Watch] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Watches {
    type Item = &'a Watch;
    type IntoIter = std::slice::Iter<'a, Watch>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Watch> for Watches {
    fn from_iter<I: IntoIterator<Item = Watch>>(watches: I) -> Watches {
        Watches(watches.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watches of these folders; those that end in `/.` are not recursive.
    fn watches(folders: &[&str]) -> Watches {
        let watch = |folder: &&str| {
            let path = folder.strip_suffix("/.").unwrap_or(folder);
            Watch { recursive: path == *folder, ..Watch::new(path.into(), Arc::from([])) }
        };
        folders.iter().map(watch).collect()
    }

    #[test]
    fn a_file_goes_where_the_innermost_watch_sends_it_and_is_told_why_it_does_not_go_elsewhere() {
        let to = |path: &str, hosts: &[&str]| Watch::new(path.into(), hosts.iter().map(|host| (*host).to_owned()).collect());
        let watches: Watches = [to("/a", &["box", "mirror"]), to("/a/b", &["box"])].into_iter().collect();
        let not_sent = Some(Reason::new(ReasonClass::NotSentTo).about("mirror"));
        let cases = [
            ("/a", "mirror", None),
            ("/a/c", "box", None),
            ("/a/b/c", "box", None),
            ("/a/b/c", "mirror", not_sent),
            ("/b", "box", Some(Reason::new(ReasonClass::NotWatched))),
        ];
        for (folder, host, why) in cases {
            assert_eq!(watches.unwanted(Path::new(folder), host), why, "{folder} to {host}");
        }
    }

    #[test]
    fn a_folder_belongs_to_the_innermost_watch_that_covers_it() {
        // The watches, a folder, whose its files are, and who goes through it to what is below.
        type Case = (&'static [&'static str], &'static str, Option<usize>, Option<usize>);
        let cases: &[Case] = &[
            (&[], "/a", None, None),
            (&["/a"], "/a", Some(0), Some(0)),
            (&["/a"], "/a/b/c", Some(0), Some(0)),
            (&["/a"], "/", None, None),
            (&["/a"], "/b", None, None),
            // A name that begins like another is another.
            (&["/a"], "/ab", None, None),
            (&["/a", "/ab"], "/ab/c", Some(1), Some(1)),
            (&["/a/."], "/a", Some(0), None),
            (&["/a/."], "/a/b", None, None),
            (&["/"], "/", Some(0), Some(0)),
            (&["/", "/a"], "/b", Some(0), Some(0)),
            (&["/", "/a"], "/a", Some(1), Some(1)),
            // Nested, in either order.
            (&["/a", "/a/b"], "/a/b/c", Some(1), Some(1)),
            (&["/a/b", "/a"], "/a/b/c", Some(0), Some(0)),
            (&["/a/b", "/a"], "/a/c", Some(1), Some(1)),
            (&["/a", "/a/b", "/a/b/c"], "/a/b", Some(1), Some(1)),
            // Below an inner watch that is not recursive, what is left is the outer's.
            (&["/a", "/a/b/."], "/a/b", Some(1), Some(0)),
            (&["/a", "/a/b/."], "/a/b/c", Some(0), Some(0)),
            (&["/a", "/a/b/.", "/a/b/c/d"], "/a/b/c/d/e", Some(2), Some(2)),
            (&["/a", "/a/b", "/a/b/c/."], "/a/b/c/d", Some(1), Some(1)),
            (&["/a/.", "/a/b/."], "/a/b/c", None, None),
            // Of equal depth only one covers a folder, unless both are the same folder.
            (&["/a/b", "/a/c"], "/a/c/d", Some(1), Some(1)),
            (&["/a", "/a"], "/a/b", Some(0), Some(0)),
            (&["/a/.", "/a"], "/a", Some(0), Some(1)),
        ];
        for (folders, folder, owner, walker) in cases {
            let watches = watches(folders);
            let found = (watches.owner(Path::new(folder)), watches.walker(Path::new(folder)));
            assert_eq!(found, (*owner, *walker), "{folder} among {folders:?}");
        }
    }

    #[test]
    fn a_file_belongs_to_the_watch_of_the_folder_it_is_in() {
        let watches = watches(&["/a", "/a/b/."]);
        let of_file = |path: &str| watches.of_file(Path::new(path)).map(|watch| watch.path.clone());
        assert_eq!(of_file("/a/b/x"), Some("/a/b".into()));
        assert_eq!([of_file("/a/b"), of_file("/a/b/c/x")], [Some("/a".into()), Some("/a".into())]);
        assert_eq!([of_file("/x"), of_file("/")], [None, None]);
    }

    #[test]
    fn no_watch_is_passed_over_and_all_come_in_the_order_of_the_configuration() {
        let folders = ["/b", "/a", "/a/b"];
        let mut visited = Vec::new();
        for watch in &watches(&folders) {
            visited.push(watch.path.clone());
        }
        assert_eq!(visited, folders.map(PathBuf::from));
    }

    #[test]
    fn a_source_of_events_is_found_again_by_its_word() {
        for source in EventSource::ALL {
            assert_eq!(EventSource::from_word(source.word()), Some(source));
        }
        assert_eq!(EventSource::from_word("x"), None);
    }
}
