//! File systems come and go.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::Stat;
use super::{Place, at, named, place};
use crate::os::lease::Writers;

/// `/drop/usb` is a disk with the file `a`, its second name `link`, and `sub/b`.
fn with_a_disk() -> Place {
    let place = place(&["here"]);
    place.disk.make_folders(&at("usb")).unwrap();
    place.disk.mount(&at("usb")).unwrap();
    place.disk.make_folders(&at("usb/sub")).unwrap();
    place.disk.write(&at("usb/a"), b"words").unwrap();
    place.disk.link(&at("usb/a"), &at("usb/link")).unwrap();
    place.disk.write(&at("usb/sub/b"), b"others").unwrap();
    place.time.pass(Duration::from_secs(1));
    place
}

const ON_THE_DISK: [&str; 4] = ["usb/a", "usb/link", "usb/sub", "usb/sub/b"];

fn looks(place: &Place) -> Vec<Stat> {
    ON_THE_DISK.iter().map(|name| place.base.look(&at(name)).unwrap()).collect()
}

#[test]
fn a_file_system_is_a_device_of_its_own_and_shows_what_is_below_when_it_goes() {
    let place = place(&["here"]);
    place.disk.make_folders(&at("usb")).unwrap();
    place.disk.write(&at("usb/below"), b"x").unwrap();
    let device = |name: &str| place.base.look(&at(name)).unwrap().device_and_inode().0;
    let inode_listed = || {
        let mut listing = place.base.folder(Path::new("/drop")).unwrap().list().unwrap();
        std::iter::from_fn(|| listing.next_entry()).map(Result::unwrap).find(|entry| entry.name() == "usb").unwrap().inode()
    };
    let below = inode_listed();
    place.disk.mount(&at("usb")).unwrap();
    place.disk.write(&at("usb/on it"), b"x").unwrap();
    assert_eq!(place.names(), ["here", "usb/on it"]);
    assert_ne!(device("usb"), device("here"));
    assert_eq!((device("usb/on it"), inode_listed()), (device("usb"), below));
    assert!(place.base.look(&at("usb/below")).is_err() && place.base.look(&at("usb/../here")).is_err());
    assert_eq!(place.disk.read(&at("usb/../here")).unwrap(), b"here");
    place.disk.unmount(&at("usb")).unwrap();
    assert!(place.base.look(&at("usb/on it")).is_err() && place.base.look(&at("usb/below")).is_ok());
}

#[test]
fn a_disk_that_comes_back_has_other_numbers_and_is_else_what_it_was() {
    let place = with_a_disk();
    let before = looks(&place);
    place.disk.unmount(&at("usb")).unwrap();
    place.time.pass(Duration::from_secs(60));
    place.disk.remount(&at("usb")).unwrap();
    let after = looks(&place);
    let numbers: BTreeSet<_> = before.iter().chain(&after).map(|stat| stat.numbers[1]).collect();
    assert_eq!(numbers.len(), 6, "three inodes, before and after: {numbers:?}");
    assert_eq!(after[0].device_and_inode(), after[1].device_and_inode());
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before.numbers[0], after.numbers[0]);
        let rest = |stat: &Stat| (stat.kind, stat.numbers[2..].to_vec(), stat.blocks, stat.mode, stat.links);
        assert_eq!(rest(before), rest(after));
    }
    assert_eq!(place.disk.read(&at("usb/sub/b")).unwrap(), b"others");
    assert!(place.disk.remount(&at("usb")).is_err(), "it is there");
    place.disk.before_steps(Arc::new(|step| step == "remove /drop/usb/sub/b"));
    place.base.folder(&at("usb/sub")).unwrap().remove(named("b")).unwrap();
}

#[test]
fn a_backup_has_the_names_the_bytes_and_the_times_of_change_and_nothing_else() {
    for is_mounted in [false, true] {
        let place = with_a_disk();
        let before = looks(&place);
        if !is_mounted {
            place.disk.unmount(&at("usb")).unwrap();
        }
        place.time.pass(Duration::from_secs(60));
        place.disk.restore(&at("usb")).unwrap();
        let after = looks(&place);
        let numbers: BTreeSet<_> = before.iter().chain(&after).map(|stat| stat.numbers[1]).collect();
        assert_eq!(numbers.len(), 6, "three inodes, before and after: {numbers:?}");
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.numbers[0] == after.numbers[0], is_mounted);
            let rest = |stat: &Stat| (stat.kind, stat.numbers[2..4].to_vec(), stat.blocks, stat.mode, stat.links);
            assert_eq!(rest(before), rest(after));
            assert!(before.numbers[4] < after.numbers[4] && before.numbers[5] < after.numbers[5]);
        }
        assert_eq!(place.disk.read(&at("usb/link")).unwrap(), b"words");
        assert_eq!(place.disk.read(&at("usb/sub/b")).unwrap(), b"others");
    }
}

#[test]
fn nothing_goes_from_one_file_system_to_another_by_its_name_alone() {
    let place = with_a_disk();
    let (drop, usb) = (place.base.folder(Path::new("/drop")).unwrap(), place.base.folder(&at("usb")).unwrap());
    let kind = |answer: io::Result<()>| answer.unwrap_err().kind();
    for answer in [
        drop.rename_over(named("here"), &usb, named("new")),
        drop.rename_new(named("here"), &usb, named("new")),
        drop.link(named("here"), &usb, named("new")),
        usb.rename_over(named("a"), &drop, named("here")),
        place.disk.rename(&at("usb/sub"), &at("sub")),
        place.disk.exchange(&at("usb/a"), &at("here")),
    ] {
        assert_eq!(kind(answer), io::ErrorKind::CrossesDevices);
    }
    for answer in [place.disk.remove(&at("usb")), place.disk.rename(&at("usb"), &at("other"))] {
        assert_eq!(kind(answer), io::ErrorKind::ResourceBusy);
    }
    place.disk.rename(Path::new("/drop"), Path::new("/elsewhere")).unwrap();
    assert_eq!(place.disk.read(Path::new("/elsewhere/usb/a")).unwrap(), b"words", "what is above a mount can move");
    assert_eq!(place.disk.files_below(Path::new("/elsewhere/usb")), ["a", "link", "sub/b"].map(PathBuf::from));
}

#[test]
fn what_is_open_on_a_disk_that_goes_stays_lost_though_the_disk_comes_back() {
    let place = with_a_disk();
    let heard = place.watch();
    place.disk.watch(&at("usb")).unwrap();
    let folder = place.base.folder(&at("usb")).unwrap();
    let mut file = folder.open(named("a")).unwrap();
    let mut written = place.disk.append(&at("usb/a")).unwrap();
    place.disk.unmount(&at("usb")).unwrap();
    for is_back in [false, true] {
        if is_back {
            place.disk.remount(&at("usb")).unwrap();
        }
        let errors = [
            file.read(&mut [0]).unwrap_err(),
            file.stat().unwrap_err(),
            folder.look(named("a")).unwrap_err(),
            folder.open(named("a")).unwrap_err(),
            folder.create_new(named("new"), 0o600).unwrap_err(),
            written.write(b"x").unwrap_err(),
        ];
        assert_eq!(errors.map(|error| error.raw_os_error()), [Some(libc::EIO); 6]);
    }
    assert_eq!(place.base.open(&at("usb/a")).unwrap().writers(), Writers::Nobody);
    drop(written);
    assert_eq!(place.disk.read(&at("usb/a")).unwrap(), b"words");
    assert_eq!(heard.lock().unwrap().len(), 0, "its watch is gone, too");
}

#[test]
fn a_disk_with_another_one_in_it_stays_until_that_is_gone() {
    let place = with_a_disk();
    place.disk.mount(&at("usb/sub")).unwrap();
    assert_eq!(place.disk.restore(&at("")).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(place.disk.unmount(&at("usb")).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    place.disk.unmount(&at("usb/sub")).unwrap();
    place.disk.unmount(&at("usb")).unwrap();
    assert!(place.disk.unmount(&at("usb")).is_err());
}
