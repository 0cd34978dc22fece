use std::ffi::OsStr;
use std::fs::{File, FileTimes, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copy::BLOCK_BYTES;
use super::source::{SentFile, numbered};
use super::target::Destination;
use super::*;
use crate::job::marker::Marker;
use crate::job::{Watch, Watches};
use crate::os::clock::Clock;
use crate::os::durable::{self, Came};
use crate::os::files::{Base, Files};
use crate::os::names::{Names, Purpose};
use crate::os::system::System;

struct Place {
    dir: tempfile::TempDir,
    _state: tempfile::TempDir,
    /// The folder that files are moved to.
    root: PathBuf,
    task: Task,
}

static CONTENT: [u8; BLOCK_BYTES + 1] = [7; BLOCK_BYTES + 1];

/// A source and a target; with `apart` on two file systems, where this machine has two.
fn place(apart: bool) -> Place {
    let dir = if apart && Path::new("/dev/shm").is_dir() { tempfile::tempdir_in("/dev/shm") } else { tempfile::tempdir() }.unwrap();
    let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("a.mov");
    std::fs::write(&path, CONTENT).unwrap();
    let root = if apart { other.keep() } else { dir.path().to_owned() }.join("Sent");
    let task = Task {
        base: Base::new(dir.path(), false),
        sent: version(&path),
        path,
        close_seen: false,
        action: AfterAction::Move { folder: root.clone(), below: "x/a.mov".into() },
        markers: None,
        prune_empty: false,
        watches: Watches::default(),
        names: Arc::new(Names::new(&System::default(), state.path())),
        clock: Clock::default(),
        stop: Arc::default(),
    };
    Place { dir, _state: state, root, task }
}

/// A source that is to be removed.
fn doomed() -> Place {
    let mut place = place(false);
    place.task.action = AfterAction::Delete;
    place
}

fn version(path: &Path) -> Identity {
    Identity::of(&std::fs::symlink_metadata(path).unwrap())
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

impl Place {
    fn act(&self) -> Result<Done, HookError> {
        act(&self.task)
    }

    fn source(&self) -> SentFile<'_> {
        match find(&self.task).unwrap() {
            Search::Source(source) => source,
            Search::Nothing(done) => panic!("{done:?}"),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn aside(&self) -> PathBuf {
        self.dir.path().join(self.task.names.of(Purpose::Aside, &self.task.path).unwrap())
    }

    /// What has arrived.
    fn sent(&self) -> Vec<String> {
        names_in(&self.root.join("x"))
    }

    fn left(&self) -> Vec<String> {
        names_in(self.dir.path())
    }
}

/// Renames as another user would, with no thought of durability.
#[expect(clippy::disallowed_methods, reason = "it is not the daemon that does it")]
fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

#[test]
fn a_move_never_overwrites_and_can_be_asked_for_again() {
    for apart in [false, true] {
        let place = place(apart);
        std::fs::create_dir_all(place.root.join("x")).unwrap();
        std::fs::write(place.root.join("x/a.mov"), "another").unwrap();
        let Ok(Done::Moved(moved)) = place.act() else { panic!("not moved") };
        assert_eq!(moved, place.root.join("x/a (1).mov"));
        assert_eq!(std::fs::read(&moved).unwrap(), CONTENT);
        assert_eq!(text(place.root.join("x/a.mov")), "another");
        assert_eq!(place.act(), Ok(Done::Vanished));
        assert_eq!(place.sent(), ["a (1).mov", "a.mov"]);
    }
}

#[test]
fn a_copy_that_was_finished_before_a_crash_is_not_made_again() {
    let mut place = place(true);
    let mtime = std::fs::metadata(&place.task.path).unwrap().modified().unwrap();
    place.act().unwrap();
    std::fs::write(&place.task.path, CONTENT).unwrap();
    File::options().write(true).open(&place.task.path).unwrap().set_times(FileTimes::new().set_modified(mtime)).unwrap();
    place.task.sent = version(&place.task.path);
    assert_eq!(place.act(), Ok(Done::Moved(place.root.join("x/a.mov"))));
    assert_eq!((place.sent(), place.task.path.exists()), (vec!["a.mov".to_owned()], false));
}

#[test]
fn what_a_crash_left_of_a_copy_is_taken_up_and_a_link_in_its_place_is_not_followed() {
    let place = place(true);
    let victim = place.at("victim");
    std::fs::write(&victim, "victim").unwrap();
    std::fs::create_dir_all(place.root.join("x")).unwrap();
    let copy = place.root.join("x").join(place.task.names.of(Purpose::Copy, &place.task.path).unwrap());
    symlink(&victim, &copy).unwrap();
    assert!(matches!(place.act(), Ok(Done::Moved(_))));
    assert_eq!((text(&victim), place.sent()), ("victim".to_owned(), vec!["a.mov".to_owned()]));
}

#[test]
fn a_changed_file_stays() {
    for mut place in [doomed(), place(false)] {
        std::fs::write(&place.task.path, "changed").unwrap();
        assert_eq!(place.act(), Ok(Done::Changed));
        // Neither is one that only its change time tells apart.
        place.task.sent = version(&place.task.path);
        std::fs::set_permissions(&place.task.path, PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(place.act(), Ok(Done::Changed));
        assert_eq!(text(&place.task.path), "changed");
    }
}

#[test]
fn a_file_that_is_open_for_writing_stays_until_it_is_closed() {
    let place = doomed();
    let writer = OpenOptions::new().append(true).open(&place.task.path).unwrap();
    if cfg!(target_os = "linux") {
        assert!(place.act().is_err());
    }
    drop(writer);
    assert_eq!(place.act(), Ok(Done::Deleted));
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Who writes, whether a writer was seen to close the version, how long ago it was last modified and its inode last changed, and
/// for how long it must be left alone: all in hours, and a negative age is in the future.
#[test]
fn a_file_of_which_nobody_tells_who_writes_it_goes_after_a_close_or_a_day() {
    use Writers::{Nobody, Somebody, Unknown};
    const HOUR_NS: i64 = 3_600_000_000_000;
    let now_ns = 1_000_000 * HOUR_NS;
    for (writers, close_seen, modified, changed, left) in [
        (Nobody, false, 0, 0, None),
        (Somebody, false, 0, 0, None),
        (Unknown, true, 0, 0, None),
        (Unknown, false, 0, 0, Some(24)),
        (Unknown, false, 30, 1, Some(23)),
        (Unknown, false, 1, 30, Some(23)),
        (Unknown, false, 23, 23, Some(1)),
        (Unknown, false, 24, 24, None),
        (Unknown, false, 100, 100, None),
        // A modification time is what its writer says; the change time is not.
        (Unknown, false, -9000, 10, Some(14)),
        (Unknown, false, -9000, 24, None),
        (Unknown, false, 24, -1, Some(24)),
    ] {
        let (mtime_ns, ctime_ns) = (now_ns - modified * HOUR_NS, now_ns - changed * HOUR_NS);
        let sent = Identity { device: 1, inode: 1, size: 1, mtime_ns, ctime_ns, born_ns: 1 };
        let expected = left.map(|hours| Duration::from_secs(hours * 3600));
        assert_eq!(must_wait(writers, close_seen, &sent, now_ns), expected, "{writers:?} {close_seen} {modified} {changed}");
    }
}

#[test]
fn the_sidecar_goes_with_its_file() {
    for apart in [false, true] {
        let place = place(apart);
        std::fs::write(place.at("a.mov.ferryd.json"), "{}").unwrap();
        place.act().unwrap();
        assert_eq!(place.sent(), ["a.mov", "a.mov.ferryd.json"]);
        assert!(!place.at("a.mov.ferryd.json").exists());
    }
}

#[test]
fn what_is_no_sidecar_stays_and_the_file_goes_without_it() {
    for apart in [false, true] {
        let place = place(apart);
        let sidecar = place.at("a.mov.ferryd.json");
        std::fs::create_dir(&sidecar).unwrap();
        assert!(matches!(place.act(), Ok(Done::Moved(_))));
        assert_eq!((place.sent(), sidecar.is_dir()), (vec!["a.mov".to_owned()], true));
    }
    for apart in [false, true] {
        let place = place(apart);
        let sidecar = File::create(place.at("a.mov.ferryd.json")).unwrap();
        sidecar.set_len(3 << 30).unwrap();
        assert!(matches!(place.act(), Ok(Done::Moved(_))));
        assert_eq!(place.sent(), ["a.mov"]);
    }
}

#[test]
fn a_number_goes_before_the_ending() {
    let cases = [("a.mov", "a (1).mov"), ("a", "a (1)"), (".hidden", ".hidden (1)"), ("a.tar.gz", "a.tar (1).gz")];
    for (name, numbered_name) in cases {
        assert_eq!(numbered(OsStr::new(name), 1), numbered_name);
    }
}

/// Writes other bytes to `path`, of the same size, and says that they were last written when the file `like` was.
fn write_twin(path: &Path, like: &Path) {
    let metadata = std::fs::metadata(like).unwrap();
    std::fs::write(path, vec![8; usize::try_from(metadata.len()).unwrap()]).unwrap();
    let times = FileTimes::new().set_modified(metadata.modified().unwrap());
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

/// What somebody puts in the place of a file that has been renamed to `kept`.
const STRANGERS: [fn(&Path, &Path); 3] = [
    |path, _| std::fs::write(path, "another").unwrap(),
    |path, kept| symlink(kept, path).unwrap(),
    // By its size and its time it is the version that was sent.
    |path, kept| write_twin(path, kept),
];

#[test]
fn what_takes_the_name_between_the_look_and_the_removal_is_put_back() {
    for put in STRANGERS {
        let place = doomed();
        let source = place.source();
        rename(&place.task.path, &place.at("kept"));
        put(&place.task.path, &place.at("kept"));
        let (before, is_link) = (std::fs::read(&place.task.path).unwrap(), place.task.path.is_symlink());
        assert_eq!(source.remove().unwrap(), Removed::PutBack);
        assert_eq!(place.left(), ["a.mov", "kept"]);
        assert!(std::fs::read(&place.task.path).unwrap() == before && place.task.path.is_symlink() == is_link);
    }
}

#[test]
fn what_takes_the_name_between_the_look_and_the_move_is_put_back() {
    for put in STRANGERS {
        let place = place(false);
        let source = place.source();
        rename(&place.task.path, &place.at("kept"));
        put(&place.task.path, &place.at("kept"));
        let before = std::fs::read(&place.task.path).unwrap();
        let AfterAction::Move { folder, below } = &place.task.action else { unreachable!() };
        assert_eq!(source.go_below(folder, below).unwrap(), Done::Changed);
        assert!(std::fs::read(&place.task.path).unwrap() == before && place.sent().is_empty());
    }
}

#[test]
fn another_file_of_the_same_size_and_time_under_the_name_aside_is_put_back_and_not_removed() {
    let place = doomed();
    write_twin(&place.aside(), &place.task.path);
    rename(&place.task.path, &place.at("kept"));
    assert_eq!(place.act(), Ok(Done::Changed));
    assert_eq!(place.left(), ["a.mov", "kept"]);
    assert!(std::fs::read(&place.task.path).unwrap()[0] == 8);
}

#[test]
fn what_cannot_be_put_back_under_its_name_gets_a_visible_one() {
    let place = doomed();
    let source = place.source();
    durable::take_aside(&source.folder, &source.name, &source.aside).unwrap();
    // Somebody writes it through an old handle, and somebody else takes its name.
    std::fs::write(place.aside(), "rewritten").unwrap();
    std::fs::write(&place.task.path, "another").unwrap();
    assert_eq!(source.remove_aside().unwrap(), Removed::PutBack);
    assert_eq!(place.left(), ["a (1).mov", "a.mov"]);
    assert_eq!((text(place.at("a (1).mov")), text(&place.task.path)), ("rewritten".to_owned(), "another".to_owned()));
}

#[cfg(target_os = "linux")]
#[test]
fn what_somebody_opens_for_writing_at_the_last_moment_is_put_back() {
    let place = doomed();
    let source = place.source();
    durable::take_aside(&source.folder, &source.name, &source.aside).unwrap();
    let _writer = OpenOptions::new().append(true).open(place.aside()).unwrap();
    assert_eq!(source.remove_aside().unwrap(), Removed::PutBack);
    assert_eq!(place.left(), ["a.mov"]);
}

#[test]
fn a_file_that_an_attempt_left_aside_when_it_died_goes_with_the_next() {
    for place in [doomed(), place(false), place(true)] {
        rename(&place.task.path, &place.aside());
        let moved = place.root.join("x/a.mov");
        let done = if place.task.action == AfterAction::Delete { Done::Deleted } else { Done::Moved(moved.clone()) };
        assert_eq!(place.act(), Ok(done));
        assert!(!place.aside().exists() && !place.task.path.exists());
        assert_eq!(moved.exists(), place.task.action != AfterAction::Delete);
    }
}

#[test]
fn a_file_that_was_left_aside_and_changed_there_is_put_back() {
    for place in [doomed(), place(false)] {
        rename(&place.task.path, &place.aside());
        std::fs::write(place.aside(), "rewritten").unwrap();
        assert_eq!(place.act(), Ok(Done::Changed));
        assert_eq!((text(&place.task.path), place.aside().exists()), ("rewritten".to_owned(), false));
    }
}

#[test]
fn a_file_that_was_left_aside_while_a_new_one_took_its_name_loses_neither() {
    let mut place = doomed();
    rename(&place.task.path, &place.aside());
    std::fs::write(&place.task.path, "new").unwrap();
    // The new one is the version that was sent meanwhile.
    place.task.sent = version(&place.task.path);
    assert_eq!(place.act(), Ok(Done::Deleted));
    assert_eq!(place.left(), ["a (1).mov"]);
    assert_eq!(std::fs::read(place.at("a (1).mov")).unwrap(), CONTENT);
}

#[test]
fn a_move_that_died_between_its_link_and_its_removal_is_ended() {
    let place = place(false);
    std::fs::create_dir_all(place.root.join("x")).unwrap();
    std::fs::write(place.root.join("x/a.mov"), "another").unwrap();
    std::fs::hard_link(&place.task.path, place.root.join("x/a (1).mov")).unwrap();
    assert_ne!(version(&place.task.path), place.task.sent, "a link changes the inode");
    assert_eq!(place.act(), Ok(Done::Moved(place.root.join("x/a (1).mov"))));
    assert_eq!((place.sent(), place.task.path.exists()), (vec!["a (1).mov".to_owned(), "a.mov".to_owned()], false));
}

#[test]
fn a_link_made_where_no_rename_spares_what_is_there_is_only_of_the_file_that_was_looked_at() {
    let place = place(false);
    let source = place.source();
    let AfterAction::Move { folder, below } = &place.task.action else { unreachable!() };
    let target = Destination::make(&Files::Real, folder, below).unwrap();
    source.folder.link(&source.name, &target.folder, target.name).unwrap();
    assert_eq!(source.arrive(&target, target.name, Came::Linked).unwrap(), Done::Moved(place.root.join("x/a.mov")));
    assert_eq!((place.sent(), place.task.path.exists()), (vec!["a.mov".to_owned()], false));
    // Another file under the name: the link goes again, and the file stays.
    std::fs::write(&place.task.path, "another").unwrap();
    source.folder.link(&source.name, &target.folder, OsStr::new("b.mov")).unwrap();
    assert_eq!(source.arrive(&target, OsStr::new("b.mov"), Came::Linked).unwrap(), Done::Changed);
    assert_eq!((place.sent(), text(&place.task.path)), (vec!["a.mov".to_owned()], "another".to_owned()));
}

#[test]
fn nothing_behind_a_link_is_removed_whether_links_are_followed_or_not() {
    for follow in [false, true] {
        let place = doomed();
        let private = place.at("private");
        std::fs::create_dir(&private).unwrap();
        rename(&place.task.path, &private.join("a.mov"));
        symlink(&private, place.at("sub")).unwrap();
        symlink(private.join("a.mov"), place.at("b.mov")).unwrap();
        let sent = version(&private.join("a.mov"));
        for path in [place.at("sub/a.mov"), place.at("b.mov")] {
            let base = Base::new(place.dir.path(), follow);
            let (names, stop) = (place.task.names.clone(), Arc::default());
            let clock = Clock::default();
            let task = Task {
                base,
                path,
                sent,
                close_seen: true,
                action: AfterAction::Delete,
                markers: None,
                prune_empty: false,
                watches: Watches::default(),
                names,
                clock,
                stop,
            };
            assert_eq!(act(&task), Ok(Done::Linked));
        }
        assert_eq!(names_in(&private), ["a.mov"]);
    }
}

#[test]
fn a_folder_that_becomes_a_link_after_the_look_changes_nothing() {
    let mut place = doomed();
    let (sub, private) = (place.at("sub"), place.at("private"));
    for folder in [&sub, &private] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("a.mov"), "x").unwrap();
    }
    place.task.path = sub.join("a.mov");
    place.task.sent = version(&place.task.path);
    let source = place.source();
    rename(&sub, &place.at("aside"));
    symlink(&private, &sub).unwrap();
    assert_eq!(source.remove().unwrap(), Removed::Gone, "the file that was looked at, where it is now");
    assert_eq!((names_in(&private), names_in(&place.at("aside"))), (vec!["a.mov".to_owned()], Vec::new()));
}

#[test]
fn nothing_is_moved_through_a_link_below_the_target() {
    for apart in [false, true] {
        let place = place(apart);
        let private = place.root.with_file_name("private");
        std::fs::create_dir_all(&place.root).unwrap();
        std::fs::create_dir(&private).unwrap();
        symlink(&private, place.root.join("x")).unwrap();
        let error = place.act().unwrap_err().to_string();
        assert!(error.contains("symbolic link is in the way"), "{error}");
        assert_eq!((names_in(&private), place.task.path.exists()), (Vec::new(), true));
    }
}

/// A source with its marker.
fn with_marker(place: Place, markers: &str) -> Place {
    let markers = Marker::parse(markers).unwrap();
    std::fs::write(place.at(markers.of(OsStr::new("a.mov")).to_str().unwrap()), "whole").unwrap();
    Place { task: Task { markers: Some(markers), ..place.task }, ..place }
}

#[test]
fn the_marker_goes_where_its_file_goes_also_to_another_file_system() {
    for apart in [false, true] {
        let place = with_marker(place(apart), "{name}.done");
        std::fs::create_dir_all(place.root.join("x")).unwrap();
        std::fs::write(place.root.join("x/a.mov"), "another").unwrap();
        assert_eq!(place.act().unwrap(), Done::Moved(place.root.join("x/a (1).mov")));
        assert_eq!(place.sent(), ["a (1).mov", "a (1).mov.done", "a.mov"]);
        assert_eq!(text(place.root.join("x/a (1).mov.done")), "whole");
        assert!(!place.at("a.mov.done").exists());
    }
    let place = with_marker(doomed(), "{name}.done");
    assert_eq!(place.act().unwrap(), Done::Deleted);
    assert!(names_in(place.dir.path()).is_empty());
}

#[test]
fn an_attempt_that_died_between_a_file_and_its_marker_is_gone_on_with() {
    let place = with_marker(doomed(), "{name}.done");
    std::fs::remove_file(place.at("a.mov")).unwrap();
    assert_eq!(place.act().unwrap(), Done::Vanished);
    assert!(names_in(place.dir.path()).is_empty());
    // It may also have died when the marker was aside.
    let place = with_marker(doomed(), "{name}.done");
    let aside = place.task.names.of(Purpose::Aside, &place.at("a.mov.done")).unwrap();
    rename(&place.at("a.mov.done"), &place.at(aside.to_str().unwrap()));
    assert_eq!(place.act().unwrap(), Done::Deleted);
    assert!(names_in(place.dir.path()).is_empty());
}

#[test]
fn a_marker_stays_that_a_file_still_needs() {
    // Another file with the same stem.
    let place = with_marker(doomed(), "{stem}.done");
    std::fs::write(place.at("a.xml"), "not sent yet").unwrap();
    assert_eq!(place.act().unwrap(), Done::Deleted);
    assert_eq!(names_in(place.dir.path()), ["a.done", "a.xml"]);
    // A source that has changed, and stays.
    let place = with_marker(doomed(), "{name}.done");
    std::fs::write(place.at("a.mov"), "changed").unwrap();
    assert_eq!(place.act().unwrap(), Done::Changed);
    assert_eq!(names_in(place.dir.path()), ["a.mov", "a.mov.done"]);
    // A file that has come under the same name since, found with the marker aside.
    let place = with_marker(doomed(), "{name}.done");
    let aside = place.task.names.of(Purpose::Aside, &place.at("a.mov.done")).unwrap();
    rename(&place.at("a.mov.done"), &place.at(aside.to_str().unwrap()));
    super::beside::follow(&place.task, &Done::Deleted);
    assert_eq!(names_in(place.dir.path()), ["a.mov", "a.mov.done"]);
}

/// A source two folders below its watch, which is inside another one.
fn deep(prune_empty: bool) -> Place {
    let mut place = doomed();
    let folder = place.at("watch/day/hour");
    std::fs::create_dir_all(&folder).unwrap();
    rename(&place.at("a.mov"), &folder.join("a.mov"));
    let watch = |path: &str| Watch::new(place.at(path), Arc::from([]));
    place.task.watches = [watch(""), watch("watch")].into_iter().collect();
    place.task.path = folder.join("a.mov");
    place.task.sent = version(&place.task.path);
    place.task.prune_empty = prune_empty;
    place
}

#[test]
fn folders_that_are_left_empty_go_up_to_the_watch_and_only_where_they_are_to() {
    let place = deep(true);
    assert_eq!(place.act().unwrap(), Done::Deleted);
    assert_eq!((names_in(place.dir.path()), names_in(&place.at("watch"))), (vec!["watch".to_owned()], vec![]));
    let place = deep(false);
    assert_eq!(place.act().unwrap(), Done::Deleted);
    assert!(place.at("watch/day/hour").is_dir());
    // Something else is in the upper one.
    let place = deep(true);
    std::fs::write(place.at("watch/day/.hidden"), "x").unwrap();
    assert_eq!(place.act().unwrap(), Done::Deleted);
    assert_eq!(names_in(&place.at("watch/day")), [".hidden"]);
    // An attempt that has died may have removed the lower one.
    let place = deep(true);
    std::fs::remove_dir_all(place.at("watch/day/hour")).unwrap();
    assert_eq!(place.act().unwrap(), Done::Vanished);
    assert!(names_in(&place.at("watch")).is_empty());
}

#[test]
fn no_folder_goes_with_a_source_that_stays_or_through_a_link() {
    let place = deep(true);
    std::fs::write(&place.task.path, "changed").unwrap();
    assert_eq!(place.act().unwrap(), Done::Changed);
    assert!(place.task.path.exists());
    let place = deep(true);
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(outside.path().join("hour")).unwrap();
    std::fs::remove_dir_all(place.at("watch/day")).unwrap();
    symlink(outside.path(), place.at("watch/day")).unwrap();
    place.act().unwrap();
    assert!(outside.path().join("hour").is_dir());
}
