//! What sort of file system a file is on: whether this machine's kernel alone changes it.

use std::os::fd::AsFd;
use std::path::Path;

/// Who may change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// This machine's kernel alone.
    Here,
    /// Another process or another machine, behind the kernel's back.
    Elsewhere,
    /// Another machine, whose promises decide what the kernel grants: NFS, SMB.
    ByPromise,
}

/// Of the file system of this open file.
pub(crate) fn of(file: impl AsFd) -> Served {
    platform::of(file)
}

/// Of the file system at `path`; where it cannot be told, it is taken for this machine's own.
pub(crate) fn at(path: &Path) -> Served {
    platform::at(path)
}

#[cfg(target_os = "linux")]
mod platform {
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::Served;

    /// NFS, SMB, CIFS (magic numbers: `statfs(2)`).
    const BY_PROMISE: [u32; 4] = [0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42];
    /// 9P, FUSE, AFS, Ceph, Lustre, Coda.
    const ELSEWHERE: [u32; 6] = [0x0102_1997, 0x6573_5546, 0x5346_414F, 0x00C3_6400, 0x0BD0_0BD0, 0x7375_7245];

    pub(super) fn of(file: impl AsFd) -> Served {
        rustix::fs::fstatfs(file).map_or(Served::Here, |fs| served(fs.f_type as u32))
    }

    pub(super) fn at(path: &Path) -> Served {
        rustix::fs::statfs(path).map_or(Served::Here, |fs| served(fs.f_type as u32))
    }

    fn served(magic: u32) -> Served {
        match magic {
            magic if BY_PROMISE.contains(&magic) => Served::ByPromise,
            magic if ELSEWHERE.contains(&magic) => Served::Elsewhere,
            _ => Served::Here,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::Served;

    pub fn of(_: impl AsFd) -> Served {
        Served::Here
    }

    pub fn at(_: &Path) -> Served {
        Served::Here
    }
}
