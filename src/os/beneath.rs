//! Files and folders below a folder, reached without following symbolic links.
//!
//! A path is resolved anew whenever it is used, and whoever may write in a folder may have put a symbolic link into the way since the last
//! time. Where links are not to be followed, what lies below a folder is therefore opened in one step that refuses them (`openat2(2)`), or
//! component by component where the kernel has no such call. What is done afterwards is done through the descriptor, which goes on meaning
//! the same folder or file whatever happens to its path.
//!
//! The folder at the top may itself be reached through links: it is the user's own word. It is opened anew for each use, so that nothing
//! here stands in the way of an unmount.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::files::{File, Files};
#[cfg(feature = "simulator")]
use super::simulated;

/// How a file is opened to be read: a pipe in its place must not keep us waiting.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// How a folder is opened to be listed, or to be synced.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How a folder is opened when only its entries are asked for.
#[cfg(target_os = "linux")]
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const PASS: OFlags = LIST;

/// A folder at the top of some file system, and whether symbolic links below it are followed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Base {
    files: Files,
    path: Arc<Path>,
    follow: bool,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder(Opened);

#[derive(Debug)]
enum Opened {
    Real(OwnedFd),
    #[cfg(feature = "simulator")]
    Simulated(simulated::Folder),
}

/// An open folder that is being listed.
pub struct Listing(Listed);

enum Listed {
    Real(Dir),
    #[cfg(feature = "simulator")]
    Simulated(simulated::Listing),
}

/// An entry of a folder, as its listing tells it.
#[derive(Debug, Clone)]
pub struct Entry {
    name: OsString,
    kind: Option<Kind>,
    inode: i64,
}

/// What sort of thing has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, a socket or a device.
    Other,
}

/// What the file system says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Device, inode, size in bytes, and the times of the last change, of the last change of the inode, and of birth: in nanoseconds since
    /// the Unix epoch, the last one 0 where it is not known.
    pub numbers: [i64; 6],
    /// Allocated blocks.
    pub blocks: u64,
    /// Permission bits.
    pub mode: u32,
    /// Names that the file has.
    pub links: u64,
}

impl Stat {
    /// Device and inode.
    pub fn device_and_inode(&self) -> (i64, i64) {
        (self.numbers[0], self.numbers[1])
    }

    /// When the content was last changed, in nanoseconds since the Unix epoch.
    pub fn mtime_ns(&self) -> i64 {
        self.numbers[3]
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.numbers[2].cast_unsigned()
    }
}

/// Whether this is the refusal to follow a symbolic link.
pub fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

impl Base {
    /// The folder at `path` of the real file system.
    pub fn new(path: &Path, follow_symlinks: bool) -> Base {
        Base::of(&Files::Real, path, follow_symlinks)
    }

    /// The folder at `path` of these files.
    pub fn of(files: &Files, path: &Path, follow_symlinks: bool) -> Base {
        Base { files: files.clone(), path: path.into(), follow: follow_symlinks }
    }

    /// For a file that is in no folder of which more is known: the folder it is in, whatever leads there.
    pub fn around(files: &Files, path: &Path) -> Base {
        Base::of(files, path.parent().unwrap_or(path), false)
    }

    /// The same folder, below which no link is followed.
    pub fn without_links(&self) -> Base {
        Base { follow: false, ..self.clone() }
    }

    /// The files that it belongs to.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The folder at the top.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether links below it are followed.
    pub fn follows_links(&self) -> bool {
        self.follow
    }

    /// The way from the top to `path`.
    pub fn relative<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        path.strip_prefix(&self.path).map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    /// Opens the file at `path` to be read, without ever waiting for somebody at the other end.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        match &self.files {
            Files::Real => Ok(File::Real(self.open_as(path, READ)?.into())),
            #[cfg(feature = "simulator")]
            Files::Simulated(disk) => disk.open(self, path).map(File::Simulated),
        }
    }

    /// Opens the folder at `path`.
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        let opened = match &self.files {
            Files::Real => Opened::Real(self.open_as(path, LIST)?),
            #[cfg(feature = "simulator")]
            Files::Simulated(disk) => Opened::Simulated(disk.folder(self, path)?),
        };
        Ok(Folder(opened))
    }

    /// What is at `path`: where links are not followed, a link itself.
    pub fn look(&self, path: &Path) -> io::Result<Stat> {
        #[cfg(feature = "simulator")]
        if let Files::Simulated(disk) = &self.files {
            return disk.look(self, path);
        }
        if self.follow {
            return look_at(CWD, path.as_os_str(), AtFlags::empty());
        }
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if !self.relative(path)?.as_os_str().is_empty() => {
                look_at(self.open_as(folder, PASS)?.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
            }
            _ => look_at(CWD, self.path.as_os_str(), AtFlags::empty()),
        }
    }

    /// What the folder at the top is, whatever leads there.
    pub fn look_at_top(&self) -> io::Result<Stat> {
        self.look(&self.path)
    }

    /// Opens the folder at `path`, and makes it, and those above it, where they are missing. Those that are made are on the disk.
    pub fn make(&self, path: &Path) -> io::Result<Folder> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match &self.files {
            Files::Real => self.make_real(path).map(|folder| Folder(Opened::Real(folder))),
            #[cfg(feature = "simulator")]
            Files::Simulated(disk) => disk.make(self, path).map(|folder| Folder(Opened::Simulated(folder))),
        }
    }

    fn make_real(&self, path: &Path) -> io::Result<OwnedFd> {
        std::fs::create_dir_all(&self.path)?;
        let mut folder = top(&self.path, LIST)?;
        for name in names(self.relative(path)?)? {
            folder = subfolder(&folder, name)?;
        }
        Ok(folder)
    }

    fn open_as(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if self.follow {
            return Ok(rustix::fs::open(path, flags, Mode::empty())?);
        }
        let relative = self.relative(path)?;
        if relative.as_os_str().is_empty() {
            return top(&self.path, flags);
        }
        Ok(open_beneath(&top(&self.path, PASS)?, relative, flags)?)
    }
}

/// The folder at the top: links that lead there are followed.
fn top(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The components of a way, each of which must be a plain name.
fn names(relative: &Path) -> rustix::io::Result<Vec<&OsStr>> {
    let name = |component| if let Component::Normal(name) = component { Ok(name) } else { Err(Errno::INVAL) };
    relative.components().map(name).collect()
}

#[cfg(target_os = "linux")]
fn open_beneath(top: &OwnedFd, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    use std::sync::atomic::{AtomicBool, Ordering};

    static MISSING: AtomicBool = AtomicBool::new(false);

    if MISSING.load(Ordering::Relaxed) {
        return step_by_step(top, relative, flags);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(top, relative, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => {
            MISSING.store(true, Ordering::Relaxed);
            step_by_step(top, relative, flags)
        }
        // A sandbox that does not know the call may refuse it so.
        Err(Errno::PERM) => step_by_step(top, relative, flags),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(top: &OwnedFd, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    step_by_step(top, relative, flags)
}

/// The same without the kernel's help: each component is opened in the folder before it, and is no link.
fn step_by_step(top: &OwnedFd, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let names = names(relative)?;
    let (last, above) = names.split_last().ok_or(Errno::INVAL)?;
    let mut folder: Option<OwnedFd> = None;
    for name in above {
        let next = step(folder.as_ref().unwrap_or(top), name, PASS)?;
        folder = Some(next);
    }
    step(folder.as_ref().unwrap_or(top), last, flags)
}

fn step(folder: &OwnedFd, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
        // This is how a link is refused where a folder was asked for.
        Err(Errno::NOTDIR) => match look_at(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(Stat { kind: Kind::Link, .. }) => Err(Errno::LOOP),
            _ => Err(Errno::NOTDIR),
        },
        opened => opened,
    }
}

/// The folder `name` in another one, which is made where it is missing.
fn subfolder(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => rustix::fs::fsync(folder)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(step(folder, name, LIST)?)
}

impl Folder {
    /// Opens the file `name` to be read; not one that is a link.
    pub fn open(&self, name: &OsStr) -> io::Result<File> {
        match &self.0 {
            Opened::Real(folder) => {
                Ok(File::Real(rustix::fs::openat(folder, name, READ | OFlags::NOFOLLOW, Mode::empty())?.into()))
            }
            #[cfg(feature = "simulator")]
            Opened::Simulated(folder) => folder.open(name).map(File::Simulated),
        }
    }

    /// What has the name `name`, a link itself included.
    pub fn look(&self, name: &OsStr) -> io::Result<Stat> {
        match &self.0 {
            Opened::Real(folder) => look_at(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW),
            #[cfg(feature = "simulator")]
            Opened::Simulated(folder) => folder.look(name),
        }
    }

    /// The folder's own device and inode.
    pub fn device_and_inode(&self) -> io::Result<(i64, i64)> {
        match &self.0 {
            Opened::Real(folder) => {
                let found = rustix::fs::fstat(folder)?;
                Ok((found.st_dev as i64, found.st_ino as i64))
            }
            #[cfg(feature = "simulator")]
            Opened::Simulated(folder) => folder.device_and_inode(),
        }
    }

    /// Makes the file `name` to be written and read; there must be nothing of that name, not even a link.
    pub fn create_new(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        match &self.0 {
            Opened::Real(folder) => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(File::Real(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode as _))?.into()))
            }
            #[cfg(feature = "simulator")]
            Opened::Simulated(folder) => folder.create_new(name, mode).map(File::Simulated),
        }
    }

    /// Removes the name of a file, or a link.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match &self.0 {
            Opened::Real(folder) => Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?),
            #[cfg(feature = "simulator")]
            Opened::Simulated(folder) => folder.remove(name),
        }
    }

    /// Gives `name` the name `new` in the folder `to`, whatever had it.
    pub fn rename_over(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        match (&self.0, &to.0) {
            (Opened::Real(folder), Opened::Real(to)) => Ok(rustix::fs::renameat(folder, name, to, new)?),
            #[cfg(feature = "simulator")]
            (Opened::Simulated(folder), Opened::Simulated(to)) => folder.rename_over(name, to, new),
            #[cfg(feature = "simulator")]
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        }
    }

    /// The same, unless something has the name `new`: then the error is `AlreadyExists`. Where the platform or the file system cannot do
    /// this, it is `Unsupported`. Nothing has changed after an error.
    pub fn rename_new(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        match (&self.0, &to.0) {
            (Opened::Real(folder), Opened::Real(to)) => rename_new(folder, name, to, new),
            #[cfg(feature = "simulator")]
            (Opened::Simulated(folder), Opened::Simulated(to)) => folder.rename_new(name, to, new),
            #[cfg(feature = "simulator")]
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        }
    }

    /// Gives the file `name` a second name in the folder `to`. An error is `AlreadyExists` where something has it.
    pub fn link(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        match (&self.0, &to.0) {
            (Opened::Real(folder), Opened::Real(to)) => Ok(rustix::fs::linkat(folder, name, to, new, AtFlags::empty())?),
            #[cfg(feature = "simulator")]
            (Opened::Simulated(folder), Opened::Simulated(to)) => folder.link(name, to, new),
            #[cfg(feature = "simulator")]
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        }
    }

    /// Makes what happened to the names in the folder durable.
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Opened::Real(folder) => Ok(rustix::fs::fsync(folder)?),
            #[cfg(feature = "simulator")]
            Opened::Simulated(_) => Ok(()),
        }
    }

    /// Begins to list the folder.
    pub fn list(self) -> io::Result<Listing> {
        let listed = match self.0 {
            Opened::Real(folder) => Listed::Real(Dir::new(folder)?),
            #[cfg(feature = "simulator")]
            Opened::Simulated(folder) => Listed::Simulated(folder.list()?),
        };
        Ok(Listing(listed))
    }
}

#[cfg(target_os = "linux")]
fn rename_new(folder: &OwnedFd, name: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat_with(folder, name, to, new, rustix::fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
        renamed => Ok(renamed?),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_new(_: &OwnedFd, _: &OsStr, _: &OwnedFd, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Listing {
    /// The next entry; those of the folder itself and of the one above it are left out.
    pub fn next_entry(&mut self) -> Option<io::Result<Entry>> {
        match &mut self.0 {
            Listed::Real(listing) => next_real(listing),
            #[cfg(feature = "simulator")]
            Listed::Simulated(listing) => listing.next_entry().map(Ok),
        }
    }

    /// What the entry `name` is, a link itself included.
    pub fn look(&self, name: &OsStr) -> io::Result<Stat> {
        match &self.0 {
            Listed::Real(listing) => look_at(listing.fd()?, name, AtFlags::SYMLINK_NOFOLLOW),
            #[cfg(feature = "simulator")]
            Listed::Simulated(listing) => listing.look(name),
        }
    }

    /// What the entry `name` is, or what it leads to.
    pub fn look_through(&self, name: &OsStr) -> io::Result<Stat> {
        match &self.0 {
            Listed::Real(listing) => look_at(listing.fd()?, name, AtFlags::empty()),
            #[cfg(feature = "simulator")]
            Listed::Simulated(listing) => listing.look_through(name),
        }
    }
}

fn next_real(listing: &mut Dir) -> Option<io::Result<Entry>> {
    loop {
        match listing.read()? {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Ok(entry) => {
                let kind = match entry.file_type() {
                    FileType::Unknown => None,
                    known => Some(kind(known)),
                };
                let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
                return Some(Ok(Entry::new(name, kind, entry.ino().cast_signed())));
            }
            Err(error) => return Some(Err(error.into())),
        }
    }
}

impl Entry {
    /// An entry of this name and inode.
    pub(super) fn new(name: OsString, kind: Option<Kind>, inode: i64) -> Entry {
        Entry { name, kind, inode }
    }

    /// Its name.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// What it is; not every file system tells in a listing.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Its inode: below a mount point that of the folder underneath, and made up on some file systems.
    pub fn inode(&self) -> i64 {
        self.inode
    }
}

fn kind(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// A time before 1970 is none: no file was born then.
fn born(seconds: i64, rest: i64) -> i64 {
    if seconds < 0 { 0 } else { seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(rest)).unwrap_or(0) }
}

/// What the file system says of an open file.
pub(super) fn look_at_open(file: &std::fs::File) -> io::Result<Stat> {
    #[cfg(target_os = "linux")]
    return look_at(file.as_fd(), OsStr::new(""), AtFlags::EMPTY_PATH);
    #[cfg(not(target_os = "linux"))]
    stat_of(&rustix::fs::fstat(file)?)
}

#[cfg(target_os = "linux")]
fn look_at(folder: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<Stat> {
    use rustix::fs::{Statx, StatxFlags, StatxTimestamp, makedev, statat, statx};

    let of_statx = |found: &Statx| {
        let ns = |at: &StatxTimestamp| nanoseconds(at.tv_sec, at.tv_nsec.into());
        let is_known = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let device = makedev(found.stx_dev_major, found.stx_dev_minor).cast_signed();
        let born_ns = if is_known { born(found.stx_btime.tv_sec, found.stx_btime.tv_nsec.into()) } else { 0 };
        let (inode, size) = (found.stx_ino.cast_signed(), found.stx_size.cast_signed());
        Stat {
            kind: kind(FileType::from_raw_mode(found.stx_mode.into())),
            numbers: [device, inode, size, ns(&found.stx_mtime), ns(&found.stx_ctime), born_ns],
            blocks: found.stx_blocks,
            mode: u32::from(found.stx_mode) & 0o7777,
            links: found.stx_nlink.into(),
        }
    };
    match statx(folder, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME) {
        // An old kernel, which tells no birth.
        Err(Errno::NOSYS) => {
            let found = statat(folder, name, flags)?;
            let numbers = [
                found.st_dev as i64,
                found.st_ino as i64,
                found.st_size as i64,
                nanoseconds(found.st_mtime as i64, found.st_mtime_nsec as i64),
                nanoseconds(found.st_ctime as i64, found.st_ctime_nsec as i64),
                0,
            ];
            Ok(Stat {
                kind: kind(FileType::from_raw_mode(found.st_mode)),
                numbers,
                blocks: found.st_blocks.cast_unsigned(),
                mode: found.st_mode & 0o7777,
                links: found.st_nlink as u64,
            })
        }
        found => Ok(of_statx(&found?)),
    }
}

#[cfg(not(target_os = "linux"))]
fn look_at(folder: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<Stat> {
    stat_of(&rustix::fs::statat(folder, name, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn stat_of(found: &rustix::fs::Stat) -> io::Result<Stat> {
    let numbers = [
        found.st_dev as i64,
        found.st_ino as i64,
        found.st_size,
        nanoseconds(found.st_mtime, found.st_mtime_nsec),
        nanoseconds(found.st_ctime, found.st_ctime_nsec),
        born(found.st_birthtime, found.st_birthtime_nsec),
    ];
    Ok(Stat {
        kind: kind(FileType::from_raw_mode(found.st_mode)),
        numbers,
        blocks: found.st_blocks as u64,
        mode: u32::from(found.st_mode) & 0o7777,
        links: found.st_nlink as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    /// A folder `in` with a file and links, and a folder `out` that the links lead to, with a file of the same name.
    fn place() -> (tempfile::TempDir, Base, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("in");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        std::fs::write(top.join("a/b/file"), "inside").unwrap();
        std::fs::write(dir.path().join("out/file"), "outside").unwrap();
        symlink(dir.path().join("out"), top.join("link")).unwrap();
        symlink("b", top.join("a/near")).unwrap();
        symlink(dir.path().join("out/file"), top.join("file link")).unwrap();
        (dir, Base::new(&top, false), top)
    }

    #[test]
    fn nothing_is_reached_through_a_link_in_one_step_or_in_many() {
        let (_dir, base, top) = place();
        let many = |relative: &str, flags| {
            let opened = step_by_step(&super::top(&top, PASS).unwrap(), Path::new(relative), flags);
            opened.map(drop).map_err(io::Error::from)
        };
        for (relative, is_refused) in
            [("a/b/file", false), ("link/file", true), ("a/near/file", true), ("file link", true), ("a/./b/file", false)]
        {
            let one = base.open(&top.join(relative)).map(drop);
            for opened in [one, many(relative, READ)] {
                assert_eq!(opened.as_ref().err().map(is_link), is_refused.then_some(true), "{relative}: {opened:?}");
            }
            assert!(base.open(&top.join(relative)).is_ok() || Base::new(&top, true).open(&top.join(relative)).is_ok());
        }
        for (relative, is_refused) in [("a/b", false), ("link", true), ("a/near", true)] {
            let one = base.folder(&top.join(relative)).map(drop);
            for opened in [one, many(relative, LIST), many(relative, PASS)] {
                assert_eq!(opened.as_ref().err().map(is_link), is_refused.then_some(true), "{relative}: {opened:?}");
            }
        }
    }

    #[test]
    fn nothing_above_the_top_is_reached() {
        let (dir, base, top) = place();
        assert!(base.open(&dir.path().join("out/file")).is_err());
        assert!(base.open(&top.join("../out/file")).is_err());
        assert!(step_by_step(&super::top(&top, PASS).unwrap(), Path::new("../out/file"), READ).is_err());
    }

    #[test]
    fn the_folder_at_the_top_may_be_a_link() {
        let (dir, _, top) = place();
        let link = dir.path().join("way in");
        symlink(&top, &link).unwrap();
        let base = Base::new(&link, false);
        assert!(base.open(&link.join("a/b/file")).is_ok() && base.folder(&link).is_ok());
        assert_eq!(base.look(&link).unwrap().kind, Kind::Folder);
        assert!(is_link(&base.open(&link.join("link/file")).unwrap_err()));
    }

    #[test]
    fn a_look_says_what_the_standard_library_says() {
        let (_dir, base, top) = place();
        let followed = Base::new(&top, true);
        for relative in ["a/b/file", "a/b", "file link", "a"] {
            let path = top.join(relative);
            for (stat, metadata) in [(base.look(&path), path.symlink_metadata()), (followed.look(&path), path.metadata())] {
                let (stat, metadata) = (stat.unwrap(), metadata.unwrap());
                let ns = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
                let born = metadata.created().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
                assert_eq!(
                    stat.numbers,
                    [
                        metadata.dev().cast_signed(),
                        metadata.ino().cast_signed(),
                        metadata.len().cast_signed(),
                        ns(metadata.mtime(), metadata.mtime_nsec()),
                        ns(metadata.ctime(), metadata.ctime_nsec()),
                        i64::try_from(born).unwrap(),
                    ]
                );
                let kinds = (stat.kind == Kind::File, stat.kind == Kind::Folder, stat.kind == Kind::Link);
                assert_eq!(kinds, (metadata.is_file(), metadata.is_dir(), metadata.is_symlink()));
                assert_eq!(stat.blocks, metadata.blocks());
            }
        }
    }

    #[test]
    fn a_listing_names_every_entry_once_with_its_kind_and_inode() {
        let (_dir, base, top) = place();
        let mut listing = base.folder(&top).unwrap().list().unwrap();
        let mut found = Vec::new();
        while let Some(entry) = listing.next_entry() {
            let entry = entry.unwrap();
            let stat = listing.look(entry.name()).unwrap();
            assert_eq!((entry.kind().unwrap_or(stat.kind), entry.inode()), (stat.kind, stat.device_and_inode().1));
            found.push((entry.name().to_str().unwrap().to_owned(), stat.kind));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [("a", Kind::Folder), ("file link", Kind::Link), ("link", Kind::Link)];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
        assert_eq!(listing.look_through(OsStr::new("file link")).unwrap().kind, Kind::File);
    }

    #[test]
    fn folders_are_made_and_never_through_a_link() {
        let (dir, base, top) = place();
        base.make(&top.join("a/new/er")).unwrap();
        assert!(top.join("a/new/er").is_dir());
        assert!(is_link(&base.make(&top.join("link/new")).unwrap_err()));
        assert!(!dir.path().join("out/new").exists());
        let missing = Base::new(&dir.path().join("not/yet"), false);
        missing.make(&dir.path().join("not/yet/there")).unwrap();
        assert!(dir.path().join("not/yet/there").is_dir());
    }

    #[test]
    fn a_new_file_is_never_made_through_a_link_or_over_anything() {
        let (dir, base, top) = place();
        let folder = base.folder(&top).unwrap();
        symlink(dir.path().join("nowhere"), top.join("dangling")).unwrap();
        for name in ["file link", "dangling", "a"] {
            let error = folder.create_new(OsStr::new(name), 0o600).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("out/file")).unwrap(), "outside");
        assert!(!dir.path().join("nowhere").exists());
        assert!(is_link(&folder.open(OsStr::new("file link")).unwrap_err()));
    }
}
