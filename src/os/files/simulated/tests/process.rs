//! The daemon's process dies.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::super::super::Folder;
use super::{Place, at, named, place};
use crate::os::lease::Writers;

/// Everything that the daemon can do to the file system, with the words that it is asked about with, and the names afterwards.
type Step = (&'static str, fn(&Folder, &Place) -> io::Result<()>, &'static [&'static str]);

const STEPS: [Step; 8] = [
    ("create /drop/b", |folder, _| folder.create_new(named("b"), 0o600).map(drop), &["a", "b"]),
    ("remove /drop/a", |folder, _| folder.remove(named("a")), &[]),
    ("rename /drop/a to /drop/b", |folder, _| folder.rename_over(named("a"), folder, named("b")), &["b"]),
    ("rename /drop/a to /drop/c", |folder, _| folder.rename_new(named("a"), folder, named("c")), &["c"]),
    ("link /drop/a as /drop/b", |folder, _| folder.link(named("a"), folder, named("b")), &["a", "b"]),
    ("make the folder /drop/sub", |_, place| place.base.make(&at("sub")).map(drop), &["a"]),
    ("write to /drop/new", |folder, _| folder.create_new(named("new"), 0o600)?.write_all(b"x"), &["a", "new"]),
    (
        "set the mode and time of /drop/new",
        |folder, _| folder.create_new(named("new"), 0o600)?.set_mode_and_mtime(0o640, 7),
        &["a", "new"],
    ),
];

fn is_dead<T: std::fmt::Debug>(answer: io::Result<T>) -> bool {
    answer.is_err_and(|error| error.raw_os_error() == Some(libc::EIO))
}

#[test]
fn a_step_that_the_process_does_not_live_to_do_fails_and_has_no_effect() {
    for (words, act, after) in STEPS {
        for happens in [true, false] {
            let place = place(&["a"]);
            let asked: Arc<Mutex<Vec<String>>> = Arc::default();
            let notes = asked.clone();
            place.disk.before_steps(Arc::new(move |step| {
                notes.lock().unwrap().push(step.to_owned());
                happens || step != words
            }));
            let folder = place.base.folder(Path::new("/drop")).unwrap();
            let answer = act(&folder, &place);
            assert!(asked.lock().unwrap().iter().any(|step| step == words), "{words}: {asked:?}");
            assert_eq!((answer.is_ok(), is_dead(answer)), (happens, !happens), "{words}");
            let without = if after.contains(&"new") { after } else { &["a"] };
            assert_eq!(place.names(), if happens { after } else { without }, "{words}");
            assert_eq!(place.disk.resolve(&at("sub"), true).is_ok(), happens && words.contains("folder"), "{words}");
            let new = folder.look(named("new")).ok().map(|stat| (stat.size(), stat.mode));
            let expected =
                if words.starts_with("write") { (u64::from(happens), 0o600) } else { (0, if happens { 0o640 } else { 0o600 }) };
            assert_eq!(new, after.contains(&"new").then_some(expected), "{words}");
        }
    }
}

#[test]
fn users_are_never_asked_and_never_dead() {
    let place = place(&["a"]);
    place.disk.before_steps(Arc::new(|step| panic!("{step}")));
    place.disk.freeze();
    place.disk.write(&at("b"), b"x").unwrap();
    place.disk.rename(&at("a"), &at("c")).unwrap();
    place.disk.set_mode(&at("b"), 0o600).unwrap();
    assert_eq!((place.names(), place.disk.read(&at("b")).unwrap()), (vec!["b".to_owned(), "c".to_owned()], b"x".to_vec()));
}

#[test]
fn nothing_that_a_dead_process_still_tries_has_an_effect_not_even_when_the_next_one_lives() {
    for (words, act, _) in STEPS {
        let place = place(&["a"]);
        let folder = place.base.folder(Path::new("/drop")).unwrap();
        place.disk.freeze();
        assert!(is_dead(act(&folder, &place)), "{words}");
        assert_eq!(place.names(), ["a"], "{words}");
        place.disk.thaw();
        if !words.contains("folder") {
            assert!(is_dead(act(&folder, &place)), "{words}: the handle is of the process that died");
            assert_eq!(place.names(), ["a"], "{words}");
        }
        let folder = place.base.folder(Path::new("/drop")).unwrap();
        act(&folder, &place).unwrap();
    }
}

#[test]
fn a_dead_process_reads_nothing() {
    let place = place(&["a"]);
    let folder = place.base.folder(Path::new("/drop")).unwrap();
    let mut file = folder.open(named("a")).unwrap();
    let mut listing = place.base.folder(Path::new("/drop")).unwrap().list().unwrap();
    for thawed in [false, true] {
        if thawed {
            place.disk.thaw();
        } else {
            place.disk.freeze();
        }
        assert!(is_dead(file.read(&mut [0])) && is_dead(file.read_exact_at(&mut [0], 0)) && is_dead(file.stat()));
        assert!(is_dead(listing.next_entry().unwrap()) && is_dead(listing.look(named("a"))));
        assert!(is_dead(listing.look_through(named("a"))) && is_dead(folder.look(named("a"))));
        assert!(is_dead(folder.device_and_inode()) && is_dead(folder.open(named("a"))));
        assert_eq!(file.writers(), Writers::Unknown);
        assert_eq!(is_dead(place.base.look(&at("a"))), !thawed);
        assert_eq!(is_dead(place.base.open(&at("a"))), !thawed);
        assert_eq!(is_dead(place.base.folder(Path::new("/drop"))), !thawed);
        assert_eq!(is_dead(place.disk.watch(Path::new("/drop"))), !thawed);
    }
}

#[test]
fn a_process_that_dies_closes_its_files_and_hears_no_more() {
    let place = place(&[]);
    let heard = place.watch();
    let folder = place.base.folder(Path::new("/drop")).unwrap();
    let written = folder.create_new(named("new"), 0o600).unwrap();
    let writers = || place.base.open(&at("new")).unwrap().writers();
    assert_eq!((writers(), heard.lock().unwrap().len()), (Writers::Somebody, 1));
    place.disk.freeze();
    place.disk.thaw();
    assert_eq!(writers(), Writers::Nobody);
    place.disk.write(&at("other"), b"x").unwrap();
    assert_eq!(heard.lock().unwrap().len(), 1);
    let heard_anew = place.watch();
    drop(written);
    assert!(heard_anew.lock().unwrap().is_empty(), "it was closed long ago");
    place.disk.write(&at("other"), b"x").unwrap();
    assert_eq!((heard.lock().unwrap().len(), heard_anew.lock().unwrap().len()), (1, 1));
}

#[test]
fn what_has_no_name_is_kept_as_long_as_somebody_can_come_back_to_it() {
    let place = place(&["a", "b", "c", "d"]);
    let nodes = || place.disk.lock().nodes.len();
    let before = nodes();
    let writer = place.disk.append(&at("a")).unwrap();
    let mut reader = place.base.open(&at("b")).unwrap();
    place.base.folder(Path::new("/drop")).unwrap().remove(named("c")).unwrap();
    place.disk.remove(Path::new("/drop/a")).unwrap();
    place.base.folder(Path::new("/drop")).unwrap().remove(named("b")).unwrap();
    reader.read_exact(&mut [0]).unwrap();
    place.disk.sync();
    place.base.folder(Path::new("/drop")).unwrap().remove(named("d")).unwrap();
    place.disk.freeze();
    assert_eq!(nodes(), before - 2, "a user writes one, and another may come back when power is lost");
    drop(writer);
    place.disk.power_cut(&mut || false);
    assert_eq!((nodes(), place.disk.read(&at("d")).unwrap()), (before - 3, b"d".to_vec()));
}

#[test]
fn at_a_step_the_world_may_change_first() {
    let place = place(&["a"]);
    let disk = place.disk.clone();
    place.disk.before_steps(Arc::new(move |_| disk.remove(&at("a")).is_ok()));
    let folder = place.base.folder(Path::new("/drop")).unwrap();
    assert_eq!(folder.remove(named("a")).unwrap_err().kind(), io::ErrorKind::NotFound);
    let disk = place.disk.clone();
    place.disk.before_steps(Arc::new(move |_| {
        disk.freeze();
        true
    }));
    assert!(is_dead(folder.create_new(named("b"), 0o600)), "nobody lives to do it");
    assert!(place.names().is_empty());
}

#[test]
fn the_daemon_needs_the_owners_permissions_and_users_need_none() {
    for (path, mode, allowed) in [
        ("a", 0o300, [false, true, true, true, true]),
        ("a", 0o400, [true, true, true, true, true]),
        ("", 0o300, [true, true, false, false, true]),
        ("", 0o600, [false, false, true, true, false]),
        ("", 0o500, [true, true, true, true, false]),
    ] {
        let place = place(&["a"]);
        place.disk.set_mode(&at(path), mode).unwrap();
        let folder = place.base.folder(Path::new("/drop")).unwrap();
        let answers = [
            folder.open(named("a")).map(drop),
            folder.look(named("a")).map(drop),
            place.base.folder(Path::new("/drop")).unwrap().list().map(drop),
            place.disk.watch(Path::new("/drop")),
            folder.create_new(named("b"), 0o600).map(drop),
        ];
        for (answer, allowed) in answers.iter().zip(allowed) {
            let refused = answer.as_ref().err().map(io::Error::kind);
            assert_eq!(refused, (!allowed).then_some(io::ErrorKind::PermissionDenied), "{path} {mode:o}");
        }
        place.disk.write(&at("c"), b"x").unwrap();
        assert_eq!(place.disk.read(&at("a")).unwrap(), b"a");
    }
}

#[test]
fn what_was_made_unreadable_can_be_read_again_later() {
    let place = place(&["a"]);
    let before = place.base.look(&at("a")).unwrap();
    for is_readable in [false, true] {
        place.disk.set_readable(&at("a"), is_readable).unwrap();
        place.disk.set_readable(&at(""), is_readable).unwrap();
        assert_eq!(place.base.open(&at("a")).is_ok(), is_readable);
        assert_eq!(place.base.folder(&at("")).unwrap().list().is_ok(), is_readable);
    }
    let after = place.base.look(&at("a")).unwrap();
    assert_eq!((before.mode, before.mtime_ns()), (after.mode, after.mtime_ns()));
    assert!(before.numbers[4] < after.numbers[4]);
}
