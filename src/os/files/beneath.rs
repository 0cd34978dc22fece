//! Opens what is below a folder of the real file system, without following symbolic links.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::look::look_at;
use super::stat::{FileKind, Stat};

/// How a file is opened to be read: a pipe in its place must not keep us waiting.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// How a folder is opened to be listed, or to be synced.
pub(super) const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How a folder is opened when only its entries are asked for.
#[cfg(target_os = "linux")]
pub(super) const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(super) const PASS: OFlags = LIST;

/// The folder at the top: links that lead there are followed.
pub(super) fn top(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The components of a way, each of which must be a plain name.
pub(super) fn names(relative: &Path) -> rustix::io::Result<Vec<&OsStr>> {
    let name = |component| if let Component::Normal(name) = component { Ok(name) } else { Err(Errno::INVAL) };
    relative.components().map(name).collect()
}

#[cfg(target_os = "linux")]
pub(super) fn open_beneath(top: &OwnedFd, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
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
pub(super) fn open_beneath(top: &OwnedFd, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    step_by_step(top, relative, flags)
}

/// The same without the kernel's help: each component is opened in the folder before it, and is no link.
pub(super) fn step_by_step(top: &OwnedFd, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
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
            Ok(Stat { kind: FileKind::Link, .. }) => Err(Errno::LOOP),
            _ => Err(Errno::NOTDIR),
        },
        opened => opened,
    }
}

/// The folder `name` in another one, which is made where it is missing.
pub(super) fn subfolder(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => rustix::fs::fsync(folder)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(step(folder, name, LIST)?)
}
