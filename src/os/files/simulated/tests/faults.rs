//! Disks that are full, or damaged.

use std::io::{self, Read, Write};
use std::path::Path;

use super::{at, named, place};

#[test]
fn a_full_disk_takes_what_there_is_room_for_and_nothing_more() {
    let place = place(&["a"]);
    let folder = place.base.folder(Path::new("/drop")).unwrap();
    place.disk.set_room(Path::new("/drop"), Some(5)).unwrap();
    let mut file = folder.create_new(named("b"), 0o600).unwrap();
    assert_eq!(file.write_all(b"12345678").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(place.disk.read(&at("b")).unwrap(), b"12345");
    for refused in [folder.create_new(named("c"), 0o600).map(drop), place.base.make(&at("sub")).map(drop)] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    folder.rename_new(named("a"), &folder, named("d")).unwrap();
    folder.remove(named("d")).unwrap();
    place.disk.write(&at("e"), b"a user finds room").unwrap();
    assert_eq!(place.names(), ["b", "e"]);
    place.disk.set_room(Path::new("/drop"), None).unwrap();
    file.write_all(b"678").unwrap();
    assert_eq!(place.disk.read(&at("b")).unwrap(), b"12345678");
}

#[test]
fn one_disk_is_full_by_itself() {
    let place = place(&[]);
    place.disk.make_folders(&at("usb")).unwrap();
    place.disk.mount(&at("usb")).unwrap();
    place.disk.set_room(&at("usb"), Some(0)).unwrap();
    let create = |folder: &str| place.base.folder(&at(folder)).unwrap().create_new(named("b"), 0o600).is_ok();
    assert_eq!([create(""), create("usb")], [true, false]);
}

#[test]
fn a_damaged_file_is_opened_and_looked_at_but_not_read() {
    let place = place(&["a", "b"]);
    place.disk.damage(&at("a")).unwrap();
    let mut file = place.base.open(&at("a")).unwrap();
    file.stat().unwrap();
    let errors = [file.read(&mut [0]).unwrap_err(), file.read_exact_at(&mut [0], 0).unwrap_err()];
    assert_eq!(errors.map(|error| error.raw_os_error()), [Some(libc::EIO); 2]);
    place.base.open(&at("b")).unwrap().read_exact_at(&mut [0], 0).unwrap();
    place.disk.mend_all();
    file.read_exact_at(&mut [0], 0).unwrap();
}
