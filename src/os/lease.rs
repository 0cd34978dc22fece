//! Asks the kernel whether anybody has a file open for writing.
//!
//! Linux grants a read lease on a file only while nobody has it open for writing (`fcntl(2)`, F_SETLEASE), so asking for one, and
//! giving it back at once, answers the question for every process on this machine, however long its writer pauses. File systems
//! without leases, and files of other users, leave it open; and where other machines or processes write behind the kernel's back, a
//! lease that is granted says nothing of them.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(target_os = "linux")]
use super::filesystem::{self, Served};

/// Who has a file open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// No process of this machine.
    Nobody,
    /// At least one.
    Somebody,
    /// The platform or the file system cannot tell.
    Unknown,
}

/// Asks who has `file` open for writing; the handle must be open for reading only.
#[cfg(target_os = "linux")]
pub(crate) fn writers(file: &File) -> Writers {
    let asked = set_lease(file, libc::F_RDLCK);
    if asked.is_ok() && set_lease(file, libc::F_UNLCK).is_err() {
        return Writers::Unknown;
    }
    meaning(asked.as_ref().err(), filesystem::of(file))
}

/// What it means that a read lease was granted, or refused so, on a file system of this sort.
#[cfg(target_os = "linux")]
fn meaning(refused: Option<&io::Error>, served: Served) -> Writers {
    match (refused, served) {
        (None, Served::Here) => Writers::Nobody,
        // NFS and SMB refuse it also where the server has promised nothing.
        (Some(error), Served::Here | Served::Elsewhere) if error.raw_os_error() == Some(libc::EAGAIN) => Writers::Somebody,
        _ => Writers::Unknown,
    }
}

/// Other platforms cannot tell.
#[cfg(not(target_os = "linux"))]
pub fn writers(_file: &File) -> Writers {
    Writers::Unknown
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no crate of ours wraps F_SETLEASE")]
fn set_lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and F_SETLEASE takes an integer and touches no memory of
    // ours.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A writer that arrives in the microseconds a lease is held makes the kernel send SIGIO, which would end the process.
pub(crate) fn ignore_lease_signal() -> io::Result<()> {
    signal_hook::flag::register(signal_hook::consts::SIGIO, Arc::new(AtomicBool::new(false))).map(|_| ())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_where_nobody_writes_behind_the_kernels_back() {
        for (refused, here, elsewhere, by_promise) in [
            (None, Writers::Nobody, Writers::Unknown, Writers::Unknown),
            (Some(libc::EAGAIN), Writers::Somebody, Writers::Somebody, Writers::Unknown),
            (Some(libc::EACCES), Writers::Unknown, Writers::Unknown, Writers::Unknown),
            (Some(libc::EINVAL), Writers::Unknown, Writers::Unknown, Writers::Unknown),
        ] {
            let error = refused.map(io::Error::from_raw_os_error);
            let found = [Served::Here, Served::Elsewhere, Served::ByPromise].map(|served| meaning(error.as_ref(), served));
            assert_eq!(found, [here, elsewhere, by_promise], "{refused:?}");
        }
    }

    #[test]
    fn a_writer_is_seen_until_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_ne!(writers(&reader), Writers::Nobody);
        drop(writer);
        assert_ne!(writers(&reader), Writers::Somebody);
    }
}
