//! What is told of changes in a watched folder.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::super::{Disk, Event, Fate, NameChange};
use super::{Place, at, named, place};

use NameChange::{Closed, MovedIn, Touched};

type Act = fn(&Disk) -> io::Result<()>;

#[test]
fn every_act_in_a_watched_folder_is_told_as_inotify_tells_it() {
    let acts: &[(Act, &[(&str, NameChange)])] = &[
        (|disk| disk.write(&at("new"), b"x"), &[("new", Touched), ("new", Closed)]),
        (|disk| disk.write(&at("a"), b"x"), &[("a", Closed)]),
        (|disk| disk.append(&at("a"))?.write_all(b"x"), &[("a", Closed)]),
        (|disk| disk.truncate(&at("a"), 0), &[("a", Closed)]),
        (|disk| disk.overwrite(&at("a"), b"x", 0), &[("a", Closed)]),
        (|disk| disk.allocate(&at("new"), 9).map(std::mem::forget), &[("new", Touched)]),
        (|disk| disk.rename(&at("a"), &at("c")), &[("a", Touched), ("c", MovedIn)]),
        (|disk| disk.rename(&at("a"), Path::new("/c")), &[("a", Touched)]),
        (|disk| disk.replace(&at("a"), Path::new("/new"), b"x"), &[("a", MovedIn)]),
        (|disk| disk.exchange(&at("a"), &at("b")), &[("a", Touched), ("a", MovedIn), ("b", Touched), ("b", MovedIn)]),
        (|disk| disk.link(&at("a"), &at("c")), &[("c", Touched)]),
        (|disk| disk.symlink(&at("a"), &at("c")), &[("c", Touched)]),
        (|disk| disk.make_folders(&at("c")), &[("c", Touched)]),
        (|disk| disk.remove(&at("a")), &[("a", Touched)]),
        (|disk| disk.restore(&at("")), &[("a", Touched), ("b", Touched)]),
        (|disk| disk.set_mode(&at("a"), 0o600), &[]),
        (|disk| disk.set_mtime(&at("a"), 0), &[]),
    ];
    for (index, (act, expected)) in acts.iter().enumerate() {
        let place = place(&["a", "b"]);
        let heard = place.watch();
        act(&place.disk).unwrap();
        let expected: Vec<_> = expected.iter().map(|(name, change)| ((*name).to_owned(), *change)).collect();
        assert_eq!(*heard.lock().unwrap(), expected, "act {index}");
    }
}

#[test]
fn an_event_comes_once_or_twice_or_later_or_never() {
    let place = place(&[]);
    let heard = place.watch();
    place.disk.before_events(Arc::new(|event| match event.name.to_str().unwrap() {
        "lost" => Fate::Lose,
        "twice" => Fate::Twice,
        "late" | "later" => Fate::Later,
        _ => Fate::Deliver,
    }));
    let names = || std::mem::take(&mut *heard.lock().unwrap()).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    for name in ["late", "lost", "once", "twice", "later"] {
        place.disk.make_folders(&at(name)).unwrap();
    }
    assert_eq!(names(), ["once", "twice", "twice"]);
    place.disk.deliver_late_events();
    assert_eq!(names(), ["late", "later"]);
    place.disk.deliver_late_events();
    assert_eq!(names(), [""; 0]);
}

#[test]
fn an_overflow_takes_the_events_with_it_that_were_to_come_later() {
    let place = place(&[]);
    let overflows: Arc<Mutex<Vec<Event>>> = Arc::default();
    let notes = overflows.clone();
    place.disk.on_change(Arc::new(move |event| notes.lock().unwrap().push(event.clone())));
    place.disk.watch(Path::new("/drop")).unwrap();
    place.disk.before_events(Arc::new(|_| Fate::Later));
    place.disk.make_folders(&at("late")).unwrap();
    place.disk.lose_events();
    place.disk.deliver_late_events();
    assert_eq!(*overflows.lock().unwrap(), [Event::Overflow]);
}

#[test]
fn events_that_were_to_come_later_die_with_their_process() {
    let place = place(&[]);
    place.watch();
    place.disk.before_events(Arc::new(|_| Fate::Later));
    place.disk.make_folders(&at("late")).unwrap();
    place.disk.freeze();
    place.disk.thaw();
    let heard = place.watch();
    place.disk.deliver_late_events();
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn no_more_folders_are_watched_than_the_limit_allows() {
    let place = place(&[]);
    let watch = |place: &Place, name: &str| place.disk.watch(&at(name)).map_err(|error| error.raw_os_error());
    for name in ["one", "two", "three"] {
        place.disk.make_folders(&at(name)).unwrap();
    }
    place.disk.limit_watches(Some(2));
    assert_eq!(["one", "two", "three", "two"].map(|name| watch(&place, name)), [Ok(()), Ok(()), Err(Some(libc::ENOSPC)), Ok(())]);
    place.disk.remove(&at("one")).unwrap();
    assert_eq!(watch(&place, "three"), Ok(()), "a folder that is gone is not watched");
    place.disk.make_folders(&at("usb")).unwrap();
    place.disk.mount(&at("usb")).unwrap();
    place.disk.remove(&at("three")).unwrap();
    assert_eq!(watch(&place, "usb"), Ok(()));
    place.disk.unmount(&at("usb")).unwrap();
    assert_eq!(watch(&place, "usb"), Ok(()), "nor is one of a disk that is gone");
    place.disk.limit_watches(None);
    assert_eq!(watch(&place, ""), Ok(()));
}

#[test]
fn a_watch_goes_on_with_the_folder_under_the_name_by_which_it_was_watched() {
    let place = place(&[]);
    place.disk.make_folders(&at("sub")).unwrap();
    let heard: Arc<Mutex<Vec<Event>>> = Arc::default();
    let notes = heard.clone();
    place.disk.on_change(Arc::new(move |event| notes.lock().unwrap().push(event.clone())));
    place.disk.watch(&at("sub")).unwrap();
    place.disk.rename(&at("sub"), &at("other")).unwrap();
    place.disk.make_folders(&at("other/in")).unwrap();
    let heard = heard.lock().unwrap();
    let [Event::Name(event)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((event.folder.clone(), &*event.name), (at("sub"), named("in")));
}
