//! Which files the daemon works on, and open ones.

use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::look::look_at_open;
#[cfg(feature = "simulator")]
use super::simulated;
use super::stat::Stat;
use crate::os::filesystem::{self, Served};
use crate::os::lease::{self, Writers};

/// The files that there are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Files {
    /// Those of this machine.
    #[default]
    Real,
    /// Those of a simulator.
    #[cfg(feature = "simulator")]
    Simulated(simulated::Disk),
}

impl Files {
    /// What sort of file system serves `path`.
    pub fn served(&self, path: &Path) -> Served {
        match self {
            Files::Real => filesystem::at(path),
            #[cfg(feature = "simulator")]
            Files::Simulated(_) => Served::Here,
        }
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) enum File {
    /// One of this machine.
    Real(std::fs::File),
    /// One of a simulator.
    #[cfg(feature = "simulator")]
    Simulated(simulated::File),
}

impl File {
    /// What the file system says of it.
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        match self {
            File::Real(file) => look_at_open(file),
            #[cfg(feature = "simulator")]
            File::Simulated(file) => file.stat(),
        }
    }

    /// Fills `buffer` with the bytes from `offset` on. A file that ends before is an error, `UnexpectedEof`.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            File::Real(file) => file.read_exact_at(buffer, offset),
            #[cfg(feature = "simulator")]
            File::Simulated(file) => file.read_exact_at(buffer, offset),
        }
    }

    /// So many bytes from `offset` on, which are not written twice as those of a buffer that is zeroed first. A file that ends before is an
    /// error, `UnexpectedEof`.
    pub(crate) fn read_at(&self, bytes: usize, offset: u64) -> io::Result<Vec<u8>> {
        match self {
            File::Real(file) => {
                let mut read = Vec::with_capacity(bytes);
                while read.len() < bytes {
                    let at = offset + read.len() as u64;
                    match rustix::io::pread(file, spare_capacity(&mut read), at) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                // The room that there is may be larger.
                read.truncate(bytes);
                Ok(read)
            }
            #[cfg(feature = "simulator")]
            File::Simulated(file) => {
                let mut read = vec![0; bytes];
                file.read_exact_at(&mut read, offset).map(|()| read)
            }
        }
    }

    /// Takes what was written to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            File::Real(file) => file.sync_all(),
            #[cfg(feature = "simulator")]
            File::Simulated(file) => file.sync(),
        }
    }

    /// Gives it these permission bits and this time of its last change, in nanoseconds since the Unix epoch.
    pub(crate) fn set_mode_and_mtime(&self, mode: u32, mtime_ns: i64) -> io::Result<()> {
        match self {
            File::Real(file) => {
                file.set_permissions(std::fs::Permissions::from_mode(mode))?;
                file.set_modified(time_of(mtime_ns))
            }
            #[cfg(feature = "simulator")]
            File::Simulated(file) => file.set_mode_and_mtime(mode, mtime_ns),
        }
    }

    /// Who has it open for writing. It must be open for reading only.
    pub(crate) fn writers(&self) -> Writers {
        match self {
            File::Real(file) => lease::writers(file),
            #[cfg(feature = "simulator")]
            File::Simulated(file) => file.writers(),
        }
    }
}

/// The time so many nanoseconds after, or before, the Unix epoch.
fn time_of(ns: i64) -> SystemTime {
    let away = Duration::from_nanos(ns.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if ns < 0 { epoch.checked_sub(away) } else { epoch.checked_add(away) };
    time.unwrap_or(epoch)
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            File::Real(file) => file.read(buffer),
            #[cfg(feature = "simulator")]
            File::Simulated(file) => file.read(buffer),
        }
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            File::Real(file) => file.write(bytes),
            #[cfg(feature = "simulator")]
            File::Simulated(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_is_set_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::Real(std::fs::File::create(dir.path().join("file")).unwrap());
        for mtime_ns in [-1_500_000_000, 0, 1_700_000_000_123_456_789] {
            file.set_mode_and_mtime(0o640, mtime_ns).unwrap();
            let stat = file.stat().unwrap();
            assert_eq!((stat.numbers[3], stat.mode), (mtime_ns, 0o640));
        }
    }
}
