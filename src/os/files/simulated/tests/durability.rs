//! What a loss of power leaves.

use std::io::Write;
use std::path::Path;

use super::super::super::{Base, Folder};
use super::{Place, at, named, place};
use crate::os::durable;

/// The daemon does something with the folder, which has the files `a` and `b` at first.
type Work = fn(&Folder, &Place);

/// Every way in which power can be lost after `work`: the files that are left, with what is in each, without repetitions.
fn left_after(work: Work) -> Vec<Vec<(String, String)>> {
    let mut left: Vec<Vec<(String, String)>> = Vec::new();
    for choices in 0..256 {
        let place = place(&["a", "b"]);
        work(&place.base.folder(Path::new("/drop")).unwrap(), &place);
        let mut asked = 0;
        place.disk.power_cut(&mut || {
            asked += 1;
            choices & (1 << (asked - 1)) == 0
        });
        assert!(asked <= 8, "not every way was tried");
        let text = |name: &String| String::from_utf8(place.disk.read(&at(name)).unwrap()).unwrap();
        let files = place.names().into_iter().map(|name| (name.clone(), text(&name))).collect();
        if !left.contains(&files) {
            left.push(files);
        }
    }
    left.sort();
    left
}

fn sync(folder: &Folder) {
    folder.sync().unwrap();
}

fn check(words: &str, work: Work, expected: &[&[(&str, &str)]]) {
    let owned =
        |files: &&[(&str, &str)]| files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<Vec<_>>();
    let mut expected: Vec<_> = expected.iter().map(owned).collect();
    expected.sort();
    assert_eq!(left_after(work), expected, "{words}");
}

const A: (&str, &str) = ("a", "a");
const B: (&str, &str) = ("b", "b");

#[test]
fn a_change_of_names_may_be_lost_until_its_folder_is_synced() {
    check("nothing", |_, _| {}, &[&[A, B]]);
    let remove: Work = |folder, _| folder.remove(named("a")).unwrap();
    check("remove", remove, &[&[A, B], &[B]]);
    let rename: Work = |folder, _| folder.rename_new(named("a"), folder, named("c")).unwrap();
    check("rename", rename, &[&[A, B], &[B, ("c", "a")]]);
    let over: Work = |folder, _| folder.rename_over(named("a"), folder, named("b")).unwrap();
    check("rename over", over, &[&[A, B], &[("b", "a")]]);
    let link: Work = |folder, _| folder.link(named("a"), folder, named("c")).unwrap();
    check("link", link, &[&[A, B], &[A, B, ("c", "a")]]);
    let create: Work = |folder, _| drop(folder.create_new(named("c"), 0o600).unwrap());
    check("create", create, &[&[A, B], &[A, B, ("c", "")]]);
    let two: Work = |folder, _| ["a", "b"].iter().for_each(|name| folder.remove(named(name)).unwrap());
    check("two of them, each by itself", two, &[&[A, B], &[A], &[B], &[]]);
    let synced: Work = |folder, _| {
        folder.remove(named("a")).unwrap();
        sync(folder);
        folder.remove(named("b")).unwrap();
    };
    check("synced", synced, &[&[B], &[]]);
}

#[test]
fn what_is_kept_keeps_what_it_builds_on() {
    let aside: Work = |folder, _| {
        folder.rename_new(named("a"), folder, named("aside")).unwrap();
        folder.remove(named("aside")).unwrap();
    };
    check("renamed and removed", aside, &[&[A, B], &[("aside", "a"), B], &[B]]);
    let reused: Work = |folder, _| {
        folder.remove(named("a")).unwrap();
        folder.rename_new(named("b"), folder, named("a")).unwrap();
    };
    check("a name that is used again", reused, &[&[A, B], &[B], &[("a", "b")]]);
    let inside: Work = |folder, place| {
        let sub = place.base.make(&at("sub")).unwrap();
        folder.rename_new(named("a"), &sub, named("a")).unwrap();
    };
    check("a rename to a folder that was made", inside, &[&[A, B], &[B, ("sub/a", "a")]]);
    let elsewhere: Work = |_, place| {
        let base = Base::of(place.base.files(), &at("new/top"), false);
        let folder = base.make(&at("new/top")).unwrap();
        drop(folder.create_new(named("c"), 0o600).unwrap());
        sync(&folder);
    };
    check("a folder at the top, which nobody syncs", elsewhere, &[&[A, B, ("new/top/c", "")]]);
    let after_a_sync: Work = |folder, place| {
        folder.rename_new(named("a"), folder, named("aside")).unwrap();
        folder.remove(named("aside")).unwrap();
        sync(&Base::of(place.base.files(), Path::new("/"), false).folder(Path::new("/")).unwrap());
    };
    check("renamed and removed, and another folder synced", after_a_sync, &[&[A, B], &[("aside", "a"), B], &[B]]);
}

#[test]
fn a_rename_is_on_the_disk_when_both_of_its_folders_are() {
    let neither: Work = |folder, place| {
        place.disk.make_folders(&at("sub")).unwrap();
        let sub = place.base.folder(&at("sub")).unwrap();
        folder.rename_new(named("a"), &sub, named("a")).unwrap();
    };
    check("neither", neither, &[&[A, B], &[B, ("sub/a", "a")]]);
    let one: Work = |folder, place| {
        let sub = place.base.make(&at("sub")).unwrap();
        folder.rename_new(named("a"), &sub, named("a")).unwrap();
        sync(&sub);
    };
    check("one", one, &[&[A, B], &[B, ("sub/a", "a")]]);
    let both: Work = |folder, place| {
        let sub = place.base.make(&at("sub")).unwrap();
        durable::rename_new(folder, named("a"), &sub, named("a")).unwrap();
    };
    check("both", both, &[&[B, ("sub/a", "a")]]);
}

#[test]
fn a_folder_that_was_made_below_the_top_is_on_the_disk() {
    let place = place(&[]);
    place.base.make(&at("one/two")).unwrap();
    place.disk.power_cut(&mut || false);
    assert!(place.disk.resolve(&at("one/two"), true).is_ok());
}

#[test]
fn bytes_may_be_lost_or_zeroes_until_the_file_is_synced() {
    let written: Work = |folder, _| {
        let mut file = folder.create_new(named("c"), 0o600).unwrap();
        sync(folder);
        file.write_all(b"1234").unwrap();
    };
    let ways: [&[(&str, &str)]; 4] = [&[A, B, ("c", "1234")], &[A, B, ("c", "\0\0\0\0")], &[A, B, ("c", "12")], &[A, B, ("c", "")]];
    check("written", written, &ways);
    let synced: Work = |folder, _| {
        let mut file = folder.create_new(named("c"), 0o600).unwrap();
        file.write_all(b"12").unwrap();
        file.sync().unwrap();
        file.write_all(b"34").unwrap();
        sync(folder);
    };
    let ways: [&[(&str, &str)]; 4] =
        [&[A, B, ("c", "1234")], &[A, B, ("c", "12\0\0")], &[A, B, ("c", "123")], &[A, B, ("c", "12")]];
    check("half of it synced", synced, &ways);
    let replace: Work = |folder, _| durable::replace(folder, named("a"), named("aside"), b"new", 0o600).unwrap();
    check("replaced as it should be", replace, &[&[("a", "new"), B]]);
}

#[test]
fn a_mode_and_a_time_may_be_lost_until_the_file_is_synced() {
    for is_synced in [false, true] {
        let place = place(&[]);
        let folder = place.base.folder(Path::new("/drop")).unwrap();
        let file = folder.create_new(named("c"), 0o600).unwrap();
        sync(&folder);
        file.set_mode_and_mtime(0o640, 7).unwrap();
        if is_synced {
            file.sync().unwrap();
        }
        place.disk.power_cut(&mut || false);
        place.disk.thaw();
        let stat = place.base.look(&at("c")).unwrap();
        assert_eq!((stat.mode == 0o640, stat.mtime_ns() == 7), (is_synced, is_synced));
    }
}

#[test]
fn what_users_do_is_never_lost_nor_what_it_builds_on() {
    let in_the_folder: Work = |folder, place| {
        folder.rename_new(named("a"), folder, named("c")).unwrap();
        place.disk.write(&at("a"), b"new").unwrap();
        place.disk.remove(&at("b")).unwrap();
    };
    check("names", in_the_folder, &[&[("a", "new"), ("c", "a")]]);
    let in_the_file: Work = |folder, place| {
        let mut file = folder.create_new(named("c"), 0o600).unwrap();
        file.write_all(b"ours").unwrap();
        place.disk.append(&at("c")).unwrap().write_all(b" and theirs").unwrap();
    };
    check("bytes", in_the_file, &[&[A, B, ("c", "ours and theirs")]]);
    let below: Work = |_, place| {
        place.base.make(&at("sub")).unwrap();
        place.disk.write(&at("sub/a"), b"x").unwrap();
    };
    check("in a folder of the daemon's", below, &[&[A, B, ("sub/a", "x")]]);
}

#[test]
fn after_a_while_or_when_the_disk_is_unmounted_everything_is_on_it() {
    let place = place(&["a"]);
    place.disk.make_folders(&at("usb")).unwrap();
    place.disk.mount(&at("usb")).unwrap();
    for folder in ["", "usb"] {
        place.base.folder(&at(folder)).unwrap().create_new(named("new"), 0o600).unwrap().write_all(b"x").unwrap();
    }
    place.disk.unmount(&at("usb")).unwrap();
    place.disk.remount(&at("usb")).unwrap();
    place.disk.power_cut(&mut || false);
    assert_eq!(
        (place.names(), place.disk.read(&at("usb/new")).unwrap()),
        (vec!["a".to_owned(), "usb/new".to_owned()], b"x".to_vec())
    );
    place.disk.thaw();
    let folder = place.base.folder(Path::new("/drop")).unwrap();
    folder.create_new(named("new"), 0o600).unwrap().write_all(b"x").unwrap();
    place.disk.sync();
    place.disk.power_cut(&mut || false);
    assert_eq!(place.disk.read(&at("new")).unwrap(), b"x");
}

#[test]
fn power_that_is_lost_ends_the_daemon_and_every_program() {
    let place = place(&["a"]);
    let heard = place.watch();
    let folder = place.base.folder(Path::new("/drop")).unwrap();
    let mut written = place.disk.append(&at("a")).unwrap();
    place.disk.power_cut(&mut || true);
    assert!(folder.look(named("a")).is_err() && place.base.look(&at("a")).is_err() && written.write(b"x").is_err());
    place.disk.thaw();
    drop(written);
    assert_eq!(place.base.open(&at("a")).unwrap().writers(), crate::os::lease::Writers::Nobody);
    assert!(folder.look(named("a")).is_err() && heard.lock().unwrap().is_empty());
}
