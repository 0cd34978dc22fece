//! How fast a freshly written file is read, from the disk where that can be had.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::progress::Progress;
use super::super::render::CommandFailure;
use super::rate::per_second;
use super::stop::Stop;
use super::trouble::failed;

/// What is written or read at once.
const PIECE_BYTES: usize = 512 * 1024;

/// Where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    /// The kernel had let go of them.
    Disk,
    /// The kernel still had them, as with a file system in memory.
    Memory,
    /// This system does not tell.
    Unknown,
}

/// How fast it went.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Disk {
    pub bytes: u64,
    pub seconds: f64,
    pub per_second: u64,
    pub from: From,
}

/// Writes a file of random bytes, of as many as fit into `time` if it is short.
pub(super) fn write(path: &Path, bytes: u64, time: Duration, stop: &Stop, progress: &mut Progress) -> Result<u64, CommandFailure> {
    let cannot = |error: io::Error| failed("cannot write a file to measure with", &error);
    let (mut file, mut piece) = (File::create_new(path).map_err(cannot)?, vec![0; PIECE_BYTES]);
    let (begun, mut written) = (Instant::now(), 0);
    while written < bytes && (written == 0 || begun.elapsed() < time) {
        stop.check()?;
        // Bytes that differ everywhere: a host that has some already takes the rest for nothing.
        rand::fill(&mut piece[..]);
        let length = PIECE_BYTES.min(usize::try_from(bytes - written).unwrap_or(PIECE_BYTES));
        file.write_all(&piece[..length]).map_err(cannot)?;
        written += length as u64;
        progress.step("Writing a file", written, bytes);
    }
    file.sync_all().map_err(cannot)?;
    Ok(written)
}

/// Reads the file from its first byte, for so long at most.
pub(super) fn read(path: &Path, time: Duration, stop: &Stop, progress: &mut Progress) -> Result<Disk, CommandFailure> {
    let cannot = |error: io::Error| failed("cannot read a file to measure with", &error);
    let mut file = File::open(path).map_err(cannot)?;
    let all = file.metadata().map_err(cannot)?.len();
    let from = platform::let_go(&file);
    let (begun, mut bytes, mut piece) = (Instant::now(), 0, vec![0; PIECE_BYTES]);
    while begun.elapsed() < time {
        stop.check()?;
        let length = file.read(&mut piece).map_err(cannot)?;
        if length == 0 {
            break;
        }
        bytes += length as u64;
        progress.step("Reading it", bytes, all);
    }
    let took = begun.elapsed();
    Ok(Disk { bytes, seconds: took.as_secs_f64(), per_second: per_second(bytes, took), from })
}

/// Has the kernel let go of what it has of a file, so that an upload reads it from the disk.
pub(super) fn forget(path: &Path) {
    if let Ok(file) = File::open(path) {
        platform::let_go(&file);
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::fs::File;
    use std::io::IoSliceMut;

    use rustix::fs::{Advice, fadvise};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use super::From;

    /// Asks the kernel to let go of a file, and looks whether it has.
    pub(super) fn let_go(file: &File) -> From {
        if fadvise(file, 0, None, Advice::DontNeed).is_err() {
            return From::Memory;
        }
        match preadv2(file, &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT) {
            Ok(_) => From::Memory,
            Err(Errno::AGAIN) => From::Disk,
            Err(_) => From::Unknown,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::fs::File;

    use super::From;

    pub(super) fn let_go(_: &File) -> From {
        From::Unknown
    }
}
