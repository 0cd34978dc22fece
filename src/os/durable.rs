//! Changes of names that outlive the loss of power: the folders are synced with them. Everything is done through open folders
//! (`os::files`), so that nobody can put another folder into the way.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use super::files::{File, Folder};

/// Writes `bytes` under the name `aside` and puts them in the place of the file `name`, or of a link of that name, which is not
/// followed.
pub(crate) fn replace(folder: &Folder, name: &OsStr, aside: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create_aside(folder, aside, mode)?;
    let written = file.write_all(bytes).and_then(|()| file.sync());
    if let Err(error) = written.and_then(|()| folder.rename_over(aside, folder, name)) {
        // What cannot be removed now is removed by the next attempt.
        folder.remove(aside).ok();
        return Err(error);
    }
    folder.sync()
}

/// A new file of a name that is ours alone: what an earlier attempt has left of it goes first.
pub(crate) fn create_aside(folder: &Folder, name: &OsStr, mode: u32) -> io::Result<File> {
    match folder.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    folder.create_new(name, mode)
}

/// How a file has come to its new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// It has only the new name.
    Renamed,
    /// It has the old one, too: no rename of this file system spares what is there.
    Linked,
}

/// Gives the file `name` the name `new` in the folder `to`, unless something is there: then the error is `AlreadyExists`, and
/// nothing has changed. Across file systems the error is `CrossesDevices`.
pub(crate) fn name_new(from: &Folder, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<Came> {
    let came = match from.rename_new(name, to, new) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => link_or_claim(from, name, to, new)?,
        renamed => renamed.map(|()| Came::Renamed)?,
    };
    to.sync()?;
    from.sync()?;
    Ok(came)
}

/// Where no rename spares what is there, as on exFAT and many file systems in user space, a link does; and where there are no links
/// either, the name is taken by an empty file, whose place the file then takes. Dying in between leaves the empty file.
fn link_or_claim(from: &Folder, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<Came> {
    match from.link(name, to, new) {
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
            drop(to.create_new(new, 0o600)?);
            if let Err(error) = from.rename_over(name, to, new) {
                to.remove(new).ok();
                return Err(error);
            }
            Ok(Came::Renamed)
        }
        linked => linked.map(|()| Came::Linked),
    }
}

/// The same for a file whose old name is ours alone, so that it can be removed by its name.
pub(crate) fn rename_new(from: &Folder, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
    match name_new(from, name, to, new)? {
        Came::Renamed => Ok(()),
        Came::Linked => {
            from.remove(name)?;
            from.sync()
        }
    }
}

/// Gives the file `name` a name that is ours alone, and that nothing has. Not durable by itself: what follows is.
pub(crate) fn take_aside(folder: &Folder, name: &OsStr, aside: &OsStr) -> io::Result<()> {
    match folder.rename_new(name, folder, aside) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => folder.rename_over(name, folder, aside),
        renamed => renamed,
    }
}

/// Makes what happened to the names in the folder of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::super::files::{Base, Files, simulated};
    use super::*;

    fn name(name: &str) -> &OsStr {
        OsStr::new(name)
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Base::new(dir.path(), false).folder(dir.path()).unwrap();
        (dir, folder)
    }

    #[test]
    fn nothing_is_ever_overwritten_by_a_new_name() {
        let (dir, folder) = folder();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("from"), "new").unwrap();
        std::fs::write(at("to"), "old").unwrap();
        let taken = rename_new(&folder, name("from"), &folder, name("to")).unwrap_err();
        let linked = folder.link(name("from"), &folder, name("to")).unwrap_err();
        assert_eq!((taken.kind(), linked.kind()), (io::ErrorKind::AlreadyExists, io::ErrorKind::AlreadyExists));
        assert_eq!((std::fs::read(at("from")).unwrap(), std::fs::read(at("to")).unwrap()), (b"new".to_vec(), b"old".to_vec()));
        rename_new(&folder, name("from"), &folder, name("other")).unwrap();
        assert!(!at("from").exists() && at("other").exists());
    }

    #[test]
    fn a_file_system_that_cannot_name_a_file_exclusively_still_overwrites_nothing() {
        let disk = simulated::Disk::new(Clock::default());
        disk.make_folders(Path::new("/drop")).unwrap();
        disk.cannot_name_exclusively(true);
        for (path, content) in [("/drop/from", "new"), ("/drop/to", "old")] {
            disk.write(Path::new(path), content.as_bytes()).unwrap();
        }
        let folder = Base::of(&Files::Simulated(disk.clone()), Path::new("/drop"), false).folder(Path::new("/drop")).unwrap();
        assert_eq!(folder.link(name("from"), &folder, name("other")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let taken = name_new(&folder, name("from"), &folder, name("to")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(name_new(&folder, name("from"), &folder, name("other")).unwrap(), Came::Renamed);
        let read = |path: &str| disk.read(Path::new(path)).unwrap();
        assert_eq!((read("/drop/to"), read("/drop/other")), (b"old".to_vec(), b"new".to_vec()));
        assert!(disk.read(Path::new("/drop/from")).is_err());
    }

    #[test]
    fn what_is_replaced_is_a_link_itself_and_never_what_it_leads_to() {
        let (dir, folder) = folder();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("victim"), "victim").unwrap();
        for link in ["sidecar", "aside"] {
            std::os::unix::fs::symlink(at("victim"), at(link)).unwrap();
        }
        replace(&folder, name("sidecar"), name("aside"), b"ours", 0o644).unwrap();
        assert_eq!(std::fs::read_to_string(at("victim")).unwrap(), "victim");
        assert_eq!(std::fs::read_to_string(at("sidecar")).unwrap(), "ours");
        assert!(!at("sidecar").is_symlink() && !at("aside").is_symlink());
    }

    #[test]
    fn what_could_not_be_written_whole_leaves_nothing() {
        let (dir, folder) = folder();
        std::fs::create_dir(dir.path().join("name")).unwrap();
        assert!(replace(&folder, name("name"), name("aside"), b"ours", 0o644).is_err());
        assert!(!dir.path().join("aside").exists());
    }
}
