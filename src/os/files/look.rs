//! Looks at what is on the real file system.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use super::stat::{FileKind, Stat};

pub(super) fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Folder,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
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
pub(super) fn look_at(folder: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<Stat> {
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
pub(super) fn look_at(folder: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<Stat> {
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
