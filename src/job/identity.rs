//! What makes a file the same version of the same file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

/// What the file system says about one version of one file.
///
/// Times are nanoseconds since the Unix epoch. `device` and `inode` are the file system's numbers, kept as signed integers of the same
/// bits, as the database stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file system it is on.
    pub device: i64,
    /// Its number there. Numbers are used again after a deletion, which is what `born_ns` guards against.
    pub inode: i64,
    /// Its length in bytes.
    pub size: u64,
    /// When its content last changed, as its writers say: they can set it.
    pub mtime_ns: i64,
    /// When its inode last changed: nobody can set it, but a rename or `chmod` moves it too.
    pub ctime_ns: i64,
    /// When the inode was made; 0 where the file system does not say.
    pub born_ns: i64,
}

impl Identity {
    /// Takes the facts out of `metadata`, which somebody else has asked the file system for.
    pub fn of(metadata: &Metadata) -> Identity {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Identity {
            device: metadata.dev().cast_signed(),
            inode: metadata.ino().cast_signed(),
            size: metadata.size(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            born_ns: born.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0),
        }
    }

    /// Whether `other` holds the same bytes under a changed inode: a rename, a `chmod`, a new hard link.
    ///
    /// Weaker than equality by `ctime_ns` alone. It is enough to know a file that is already uploaded, and never enough for a file
    /// that is being sent.
    pub fn same_version(&self, other: &Identity) -> bool {
        Identity { ctime_ns: 0, ..*self } == Identity { ctime_ns: 0, ..*other }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Identity = Identity { device: 1, inode: 2, size: 3, mtime_ns: 4, ctime_ns: 5, born_ns: 6 };

    #[test]
    fn a_renamed_file_is_the_same_version_but_not_equal() {
        let renamed = Identity { ctime_ns: 99, ..FILE };
        assert_ne!(renamed, FILE);
        assert!(renamed.same_version(&FILE));
    }

    #[test]
    fn every_other_field_makes_another_version() {
        let others = [
            Identity { device: 9, ..FILE },
            Identity { inode: 9, ..FILE },
            Identity { size: 9, ..FILE },
            Identity { mtime_ns: 9, ..FILE },
            Identity { born_ns: 9, ..FILE },
        ];
        assert!(others.iter().all(|other| !other.same_version(&FILE)));
    }
}
