//! The watching over files in memory, on a time that is moved by hand.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::*;
use crate::job::{WatchReport, WatchState};
use crate::os::files::Files;
use crate::os::files::simulated::{Disk, Fate};
use crate::os::simulated_time::Time;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What the owner of the watches remembers.
#[derive(Default)]
struct Remembered {
    known: BTreeMap<PathBuf, Identity>,
    /// Files that were taken up, in order, with the hour, minute and second of the day at which they were.
    settled: Vec<(String, u64)>,
    skipped: Vec<String>,
    reports: Vec<WatchReport>,
    looks: usize,
    closed: Vec<String>,
    begun: Option<Instant>,
}

struct Owner {
    remembered: Arc<Mutex<Remembered>>,
    clock: Clock,
}

impl Owner {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap()
    }
}

impl KnownFiles for Owner {
    fn known(&mut self, _: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<Knowledge>, WatchingEnds> {
        let mut remembered = self.lock();
        remembered.looks += files.len();
        let known = |path: PathBuf| remembered.known.get(&path);
        let judge = |(name, now): &(&OsStr, Identity)| match known(folder.join(name)) {
            Some(known) if known.same_version(now) => Knowledge::Known,
            _ => Knowledge::New(News::default()),
        };
        Ok(files.iter().map(judge).collect())
    }

    fn closed(&mut self, folder: &Path, name: &OsStr, _: &Identity) -> Result<(), WatchingEnds> {
        self.lock().closed.push(folder.join(name).display().to_string());
        Ok(())
    }

    fn settled(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds> {
        let now = self.clock.awake();
        let mut remembered = self.lock();
        let at = now.duration_since(*remembered.begun.get_or_insert(now)).as_secs();
        for Settled { folder, name, identity, .. } in batch {
            let path = folder.join(name);
            remembered.settled.push((path.display().to_string(), at));
            remembered.known.insert(path, identity);
        }
        Ok(())
    }

    fn skipped(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds> {
        let mut remembered = self.lock();
        for Settled { folder, name, identity, .. } in batch {
            let path = folder.join(name);
            remembered.skipped.push(path.display().to_string());
            remembered.known.insert(path, identity);
        }
        Ok(())
    }

    fn report(&mut self, _: usize, report: &WatchReport) {
        self.lock().reports.push(report.clone());
    }
}

/// A watching, and the world around it.
struct World {
    disk: Disk,
    time: Time,
    handle: &'static Handle,
    remembered: Arc<Mutex<Remembered>>,
    watcher: Watcher<'static>,
    turns: usize,
}

fn drop_folder() -> Watch {
    Watch::new("/drop".into(), Arc::from([]))
}

/// When the watches of [`world`] were first configured: half an hour before they are scanned.
const CONFIGURED_MS: i64 = 1_800_000_000_000 + 1_800_000;

/// The world with these watches, their folders made, and whatever `before` does before they are first scanned.
fn world(watches: Vec<Watch>, before: impl FnOnce(&Disk)) -> World {
    world_since(watches, before, |_| {})
}

/// The same, with what happens between the configuration of the watches and their first scan.
fn world_since(watches: Vec<Watch>, before: impl FnOnce(&Disk), since_configured: impl FnOnce(&Disk)) -> World {
    let time = Time::by_hand(1_800_000_000_000_000_000);
    let disk = Disk::new(time.clock());
    disk.make_folders(Path::new("/drop")).unwrap();
    before(&disk);
    time.pass(HOUR / 2);
    since_configured(&disk);
    time.pass(HOUR / 2);
    let system = System { clock: time.clock(), files: Files::Simulated(disk.clone()), ..System::default() };
    let begun = Some(system.clock.awake());
    let remembered = Arc::new(Mutex::new(Remembered { begun, ..Remembered::default() }));
    let owner = Box::leak(Box::new(Owner { remembered: remembered.clone(), clock: system.clock.clone() }));
    let handle: &'static Handle = Box::leak(Box::default());
    let roots = Root::all(&system.files, &watches.into_iter().collect(), Path::new("/state"), &[Some(CONFIGURED_MS)]).unwrap();
    let mut watcher = Watcher::new(roots, &system, owner, handle);
    watcher.begin().unwrap();
    World { disk, time, handle, remembered, watcher, turns: 0 }
}

impl World {
    /// Lets time pass, with a turn whenever something is due or hinted at.
    fn pass(&mut self, time: Duration) {
        let end = self.watcher.clock.awake() + time;
        loop {
            self.turns += 1;
            self.watcher.turn(self.handle.take_now()).unwrap();
            let now = self.watcher.clock.awake();
            let next = self.watcher.next_due().unwrap_or(end).max(now).min(end);
            if now >= end {
                return;
            }
            self.time.pass(next - now);
        }
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap()
    }

    fn settled(&self) -> Vec<(String, u64)> {
        self.remembered().settled.clone()
    }

    fn write(&self, path: &str) {
        self.disk.write(Path::new(path), b"words").unwrap();
    }
}

fn at(path: &str, second: u64) -> (String, u64) {
    (path.to_owned(), second)
}

#[test]
fn a_file_is_taken_up_when_its_writer_has_closed_it_however_long_that_takes() {
    use std::io::Write;
    let mut world = world(vec![drop_folder()], |_| {});
    let mut file = world.disk.create(Path::new("/drop/film")).unwrap();
    world.pass(HOUR);
    for _ in 0..3 {
        file.write_all(b"more").unwrap();
        world.pass(HOUR);
    }
    assert_eq!(world.settled(), [], "somebody has it open, however quiet it is");
    let looks = world.remembered().looks;
    assert!(looks < 4 * 130, "one that stays open is looked at less and less often: {looks} times");
    drop(file);
    world.pass(HOUR);
    assert_eq!(world.settled(), [at("/drop/film", 4 * 3600)], "it has been quiet for an hour");
    world.pass(24 * HOUR);
    assert_eq!(world.settled().len(), 1, "and once");
}

#[test]
fn a_file_that_still_grows_is_never_taken_up_in_between() {
    let mut world = world(vec![drop_folder()], |_| {});
    for _ in 0..100 {
        world.disk.append(Path::new("/drop/log")).or_else(|_| world.disk.create(Path::new("/drop/log"))).map(drop).unwrap();
        let mut file = world.disk.append(Path::new("/drop/log")).unwrap();
        std::io::Write::write_all(&mut file, b"a line\n").unwrap();
        drop(file);
        world.pass(SECOND);
    }
    assert_eq!(world.settled(), [], "every second it is another version");
    world.pass(2 * SECOND);
    assert_eq!(world.settled(), [at("/drop/log", 101)]);
}

#[test]
fn what_no_event_tells_of_is_found_by_the_hourly_scan() {
    let mut world = world(vec![drop_folder()], |disk| {
        disk.make_folders(Path::new("/drop/sub")).unwrap();
    });
    // Nobody is told any more.
    world.disk.on_change(Arc::new(|_| {}));
    world.pass(10 * SECOND);
    world.write("/drop/sub/a");
    world.pass(HOUR - 11 * SECOND);
    assert_eq!(world.settled(), []);
    world.pass(2 * SECOND);
    assert_eq!(world.settled(), [at("/drop/sub/a", 3600)]);
}

#[test]
fn an_event_that_is_lost_or_late_or_comes_twice_changes_nothing_but_the_time() {
    for (fate, second) in [(Fate::Deliver, 1), (Fate::Twice, 1), (Fate::Later, 60), (Fate::Lose, 3600)] {
        let mut world = world(vec![drop_folder()], |_| {});
        world.disk.before_events(Arc::new(move |_| fate));
        world.write("/drop/a");
        world.pass(60 * SECOND);
        world.disk.deliver_late_events();
        world.pass(HOUR);
        let [(path, settled)] = &world.settled()[..] else { panic!("{fate:?}: {:?}", world.settled()) };
        assert!(path == "/drop/a" && (second..=second + 5).contains(settled), "{fate:?}: after {settled} s");
    }
}

#[test]
fn a_folder_beyond_the_limit_on_watches_is_scanned_every_few_seconds_instead() {
    let mut world = world(vec![drop_folder()], |disk| {
        disk.make_folders(Path::new("/drop/sub")).unwrap();
        disk.limit_watches(Some(1));
    });
    world.pass(10 * SECOND);
    world.write("/drop/sub/a");
    world.pass(60 * SECOND);
    let found = world.settled();
    assert!(matches!(&found[..], [(path, second)] if path == "/drop/sub/a" && *second < 60), "{found:?}");
    assert!(format!("{:?}", world.remembered().reports.last()).contains("max_user_watches"));
}

#[test]
fn events_that_the_platform_has_lost_are_made_up_for_by_a_scan_at_once() {
    let mut world = world(vec![drop_folder()], |_| {});
    world.disk.before_events(Arc::new(|_| Fate::Lose));
    world.write("/drop/a");
    world.pass(10 * SECOND);
    assert_eq!(world.settled(), []);
    world.disk.lose_events();
    world.pass(SECOND);
    assert_eq!(world.settled(), [at("/drop/a", 10)]);
    assert_eq!(world.remembered().reports.last().unwrap().gaps_seen, 1);
}

#[test]
fn a_folder_that_is_moved_in_with_all_that_is_in_it_is_scanned_and_watched() {
    let mut world = world(vec![drop_folder()], |disk| {
        disk.make_folders(Path::new("/elsewhere/trip/day")).unwrap();
        for path in ["/elsewhere/trip/a", "/elsewhere/trip/day/b"] {
            disk.write(Path::new(path), b"words").unwrap();
        }
    });
    world.disk.rename(Path::new("/elsewhere/trip"), Path::new("/drop/trip")).unwrap();
    world.pass(3 * SECOND);
    let mut found: Vec<String> = world.settled().into_iter().map(|(path, _)| path).collect();
    found.sort();
    assert_eq!(found, ["/drop/trip/a", "/drop/trip/day/b"]);
    world.write("/drop/trip/day/c");
    world.pass(3 * SECOND);
    assert_eq!(world.settled().last().unwrap().0, "/drop/trip/day/c");
}

#[test]
fn files_that_were_there_before_their_watch_are_passed_over_where_they_are_not_wanted() {
    let watch = Watch { existing: false, ..drop_folder() };
    let mut world = world(vec![watch], |disk| disk.write(Path::new("/drop/old"), b"words").unwrap());
    assert_eq!(world.remembered().skipped, ["/drop/old"]);
    world.write("/drop/new");
    world.pass(24 * HOUR);
    assert_eq!(world.settled(), [at("/drop/new", 2)]);
    // Another version of an old one is new.
    world.disk.write(Path::new("/drop/old"), b"other words").unwrap();
    world.pass(HOUR);
    assert_eq!(world.settled().last().unwrap().0, "/drop/old");
}

#[test]
fn what_comes_before_the_first_scan_has_ended_is_new_where_existing_files_are_passed_over() {
    let watch = Watch { existing: false, ..drop_folder() };
    let before = |disk: &Disk| {
        for path in ["/drop/old", "/elsewhere/trip/in it", "/elsewhere/moved in"] {
            disk.make_folders(Path::new(path).parent().unwrap()).unwrap();
            disk.write(Path::new(path), b"words").unwrap();
        }
    };
    let since = |disk: &Disk| {
        disk.write(Path::new("/drop/new"), b"words").unwrap();
        disk.rename(Path::new("/elsewhere/moved in"), Path::new("/drop/moved in")).unwrap();
    };
    let mut world = world_since(vec![watch.clone()], before, since);
    assert_eq!(world.remembered().skipped, ["/drop/old"]);
    world.pass(3 * SECOND);
    assert_eq!(world.settled(), [at("/drop/moved in", 0), at("/drop/new", 0)]);
}

#[test]
fn a_watch_that_is_not_there_is_looked_for_and_scanned_when_it_comes() {
    let mut world = world(vec![Watch::new("/media/disk".into(), Arc::from([]))], |_| {});
    world.pass(60 * SECOND);
    let first = world.remembered().reports.last().unwrap().clone();
    assert_eq!((first.state, first.why.as_deref()), (WatchState::Missing, Some("the folder does not exist")));
    assert!(world.remembered().reports.len() <= 2, "it is told once");
    world.disk.make_folders(Path::new("/media/disk")).unwrap();
    world.write("/media/disk/a");
    world.pass(10 * SECOND);
    assert_eq!(world.settled(), [at("/media/disk/a", 65)]);
    assert_eq!(world.remembered().reports.last().unwrap().state, WatchState::Watching);
    // And while it is there, its changes come as events again.
    world.write("/media/disk/b");
    world.pass(3 * SECOND);
    assert_eq!(world.settled().last().unwrap().0, "/media/disk/b");
}

/// Says at which second after `change` the file `/drop/new` was taken up, and what was reported last.
fn taken_up_after(change: impl FnOnce(&Disk)) -> (Vec<(String, u64)>, WatchReport) {
    let mut world = world(vec![drop_folder()], |disk| disk.write(Path::new("/drop/old"), b"words").unwrap());
    world.pass(8 * SECOND);
    change(&world.disk);
    world.pass(20 * SECOND);
    let new = world.settled().into_iter().filter(|(path, _)| path == "/drop/new").collect();
    let report = world.remembered().reports.last().unwrap().clone();
    (new, report)
}

#[test]
fn another_folder_in_the_place_of_a_watch_is_noticed_within_seconds_scanned_and_told() {
    let (new, report) = taken_up_after(|disk| {
        disk.make_folders(Path::new("/other")).unwrap();
        disk.write(Path::new("/other/new"), b"words").unwrap();
        // Nothing tells of what happens outside of what is watched.
        disk.before_events(Arc::new(|_| Fate::Lose));
        disk.rename(Path::new("/drop"), Path::new("/away")).unwrap();
        disk.rename(Path::new("/other"), Path::new("/drop")).unwrap();
    });
    assert!(matches!(&new[..], [(_, second)] if *second <= 16), "{new:?}");
    assert_eq!(report.state, WatchState::Watching);
    assert!(report.why.as_deref().is_some_and(|why| why.contains("another folder has taken its place")), "{report:?}");
}

#[test]
fn a_file_system_that_is_mounted_on_a_watch_is_noticed_within_seconds_and_so_is_its_end() {
    let (new, _) = taken_up_after(|disk| {
        disk.mount(Path::new("/drop")).unwrap();
        disk.before_events(Arc::new(|_| Fate::Lose));
        disk.write(Path::new("/drop/new"), b"words").unwrap();
    });
    assert!(matches!(&new[..], [(_, second)] if *second <= 16), "{new:?}");
    let mut world = world(vec![drop_folder()], |disk| disk.mount(Path::new("/drop")).unwrap());
    world.write("/drop/on the disk");
    world.pass(8 * SECOND);
    world.disk.unmount(Path::new("/drop")).unwrap();
    world.pass(8 * SECOND);
    let why = world.remembered().reports.last().unwrap().why.clone();
    assert!(why.as_deref().is_some_and(|why| why.contains("another folder has taken its place")), "{why:?}");
}

#[test]
fn a_watch_whose_folder_lost_its_way_or_became_a_file_is_missing_within_seconds() {
    type Change = fn(&Disk);
    let changes: [(Change, &str); 2] = [
        (|disk| disk.rename(Path::new("/drop"), Path::new("/away")).unwrap(), "the folder does not exist"),
        (
            |disk| {
                disk.rename(Path::new("/drop"), Path::new("/away")).unwrap();
                disk.write(Path::new("/drop"), b"no folder").unwrap();
            },
            "not a folder",
        ),
    ];
    for (change, why) in changes {
        let (_, report) = taken_up_after(|disk| {
            disk.before_events(Arc::new(|_| Fate::Lose));
            change(disk);
        });
        assert_eq!((report.state, report.why.as_deref()), (WatchState::Missing, Some(why)));
    }
}

#[test]
fn an_inner_watch_has_its_own_files_and_no_others() {
    let inner = Watch { recursive: false, settle: 10 * SECOND, ..Watch::new("/drop/in".into(), Arc::from([])) };
    let mut world = world(vec![drop_folder(), inner], |disk| disk.make_folders(Path::new("/drop/in/deep")).unwrap());
    for path in ["/drop/a", "/drop/in/b", "/drop/in/deep/c"] {
        world.write(path);
    }
    world.pass(HOUR);
    assert_eq!(world.settled(), [at("/drop/a", 2), at("/drop/in/deep/c", 2), at("/drop/in/b", 10)]);
}

#[test]
fn more_files_than_can_be_remembered_while_they_settle_are_all_taken_up_once() {
    let mut world = world(vec![drop_folder()], |_| {});
    for number in 0..SETTLING_MAX + 1000 {
        world.write(&format!("/drop/{number:05}"));
    }
    world.pass(60 * SECOND);
    let mut found: Vec<String> = world.settled().into_iter().map(|(path, _)| path).collect();
    found.sort();
    found.dedup();
    assert_eq!((found.len(), world.settled().len()), (SETTLING_MAX + 1000, SETTLING_MAX + 1000));
    assert!(world.watcher.settling.is_empty() && world.watcher.due.is_empty());
}

#[test]
fn at_rest_there_is_nothing_to_do_but_the_hourly_scan_and_a_look_at_the_folder_now_and_then() {
    let mut world = world(vec![drop_folder()], |_| {});
    world.write("/drop/a");
    world.pass(HOUR);
    (world.turns, world.remembered().looks) = (0, 0);
    world.pass(24 * HOUR);
    let looks = world.remembered().looks;
    assert!(looks <= 26, "the file is looked at {looks} times");
    assert!(world.turns <= 24 * 720 + 26, "{} turns", world.turns);
}

#[test]
fn where_the_kernel_tells_of_other_folders_hardly_a_look_is_needed_and_a_change_that_is_told_is_met_at_once() {
    let mut world = world(vec![drop_folder()], |disk| disk.make_folders(Path::new("/other")).unwrap());
    world.handle.look_at_roots(RootsHeard::Told);
    world.pass(HOUR);
    world.turns = 0;
    world.pass(24 * HOUR);
    assert!(world.turns <= 24 * 6 + 26, "{} turns", world.turns);
    world.disk.write(Path::new("/other/new"), b"words").unwrap();
    world.disk.before_events(Arc::new(|_| Fate::Lose));
    world.disk.rename(Path::new("/drop"), Path::new("/away")).unwrap();
    world.disk.rename(Path::new("/other"), Path::new("/drop")).unwrap();
    world.handle.look_at_roots(RootsHeard::Told);
    let before = world.settled().len();
    world.pass(16 * SECOND);
    assert_eq!(world.settled().len(), before + 1);
    // From here on nobody tells.
    world.handle.look_at_roots(RootsHeard::Untold);
    world.turns = 0;
    world.pass(HOUR);
    assert!(world.turns >= 700, "{} turns", world.turns);
}

#[test]
fn a_version_that_is_known_is_told_to_have_been_closed() {
    let mut world = world(vec![drop_folder()], |_| {});
    world.write("/drop/a");
    world.pass(10 * SECOND);
    drop(world.disk.append(Path::new("/drop/a")).unwrap());
    world.pass(SECOND);
    let closed = world.remembered().closed.clone();
    assert_eq!((closed, world.settled().len()), (vec!["/drop/a".to_owned()], 1));
}

#[test]
fn a_clock_that_is_set_back_or_forward_changes_nothing_of_when_a_file_has_settled() {
    for jump_ns in [-365 * 86_400 * 1_000_000_000, 365 * 86_400 * 1_000_000_000] {
        let mut world = world(vec![drop_folder()], |_| {});
        world.write("/drop/a");
        world.pass(SECOND);
        world.time.jump(jump_ns);
        world.pass(SECOND);
        let settled = world.settled();
        assert!(settled == [at("/drop/a", 2)] || settled == [at("/drop/a", 1)], "{jump_ns}: {settled:?}");
    }
}

fn ready_when(markers: &str) -> Watch {
    Watch { ready_when: Marker::parse(markers).ok(), ..drop_folder() }
}

#[test]
fn a_file_waits_for_its_marker_however_long_and_says_so() {
    let mut world = world(vec![ready_when("{name}.done")], |_| {});
    world.write("/drop/film");
    world.pass(HOUR);
    assert_eq!(world.settled(), []);
    let why = |world: &World| world.remembered().reports.last().unwrap().why.clone().unwrap_or_default();
    assert!(why(&world).contains("wait for the marker"), "{}", why(&world));
    world.write("/drop/film.done");
    world.pass(3 * SECOND);
    assert_eq!(world.settled(), [at("/drop/film", 3600)], "at the event, and the marker itself is nothing to be taken up");
    assert_eq!(why(&world), "");
    // The marker is of the version that it was made for.
    world.disk.write(Path::new("/drop/film"), b"another version").unwrap();
    world.pass(HOUR);
    assert_eq!(world.settled().len(), 1);
    world.write("/drop/film.done");
    world.pass(3 * SECOND);
    assert_eq!(world.settled().len(), 2);
}

#[test]
fn a_marker_that_comes_first_or_without_an_event_is_found_all_the_same() {
    let mut world = world(vec![ready_when("{stem}.ok")], |disk| {
        disk.write(Path::new("/drop/old.mov"), b"words").unwrap();
        disk.write(Path::new("/drop/old.ok"), b"").unwrap();
    });
    assert_eq!(world.settled(), [at("/drop/old.mov", 0)]);
    world.write("/drop/a.mov");
    world.write("/drop/a.xml");
    world.pass(10 * SECOND);
    world.disk.before_events(Arc::new(|_| Fate::Lose));
    world.write("/drop/a.ok");
    world.pass(61 * SECOND);
    let mut found: Vec<String> = world.settled().into_iter().map(|(path, _)| path).collect();
    found.sort();
    assert_eq!(found, ["/drop/a.mov", "/drop/a.xml", "/drop/old.mov"], "of one marker several files may be ready");
    world.disk.before_events(Arc::new(|_| Fate::Deliver));
    world.write("/drop/b.mov");
    world.write("/drop/b.ok");
    world.pass(3 * SECOND);
    assert_eq!(world.settled().last().unwrap().0, "/drop/b.mov");
}

#[test]
fn a_file_with_its_marker_is_left_alone_as_long_as_somebody_has_it_open() {
    let mut world = world(vec![ready_when("{name}.done")], |_| {});
    let mut file = world.disk.create(Path::new("/drop/film")).unwrap();
    std::io::Write::write_all(&mut file, b"words").unwrap();
    world.pass(SECOND);
    world.write("/drop/film.done");
    world.pass(HOUR);
    assert_eq!(world.settled(), []);
    drop(file);
    world.pass(60 * SECOND);
    assert_eq!(world.settled().len(), 1);
}
