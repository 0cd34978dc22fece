//! What makes a file the same version of the same file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

/// What the file system says about one version of one file.
///
/// Times are nanoseconds since the Unix epoch. `device` and `inode` are the file system's numbers, kept as signed integers of the
/// same bits, as the database stores them.
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

    /// What `now`, met at the path of this version, tells of whether it is the same version.
    ///
    /// The numbers of device and inode and the birth decide nothing. A reboot, a remount, a file system that makes up its inode
    /// numbers, a restored backup and a move to another machine all give a file new ones.
    pub(crate) fn likeness(&self, now: &Identity) -> Likeness {
        if self.size != now.size {
            return Likeness::Other;
        }
        if self.mtime_ns != now.mtime_ns {
            return if same_but_coarser(self.mtime_ns, now.mtime_ns) { Likeness::Coarser } else { Likeness::Other };
        }
        // A planted bug makes a version of every new number.
        if planted!("renumbered.is_new") && !self.same_numbers(now) {
            return Likeness::Other;
        }
        match (self.ctime_ns == now.ctime_ns, self.same_numbers(now)) {
            (true, true) => Likeness::Same,
            (true, false) => Likeness::Renumbered,
            (false, _) => Likeness::Touched,
        }
    }

    /// Whether `other` has the same size, and was last written at the same time as far as its writers say.
    pub fn same_version(&self, other: &Identity) -> bool {
        !matches!(self.likeness(other), Likeness::Other | Likeness::Coarser)
    }

    /// Whether `other`, met at any path, is this very inode with the same version in it: a rename, or another hard link.
    pub fn same_inode(&self, other: &Identity) -> bool {
        self.same_version(other) && self.same_numbers(other)
    }

    /// Whether the file system gives `other` the same numbers and the same birth.
    pub fn same_numbers(&self, other: &Identity) -> bool {
        (self.device, self.inode, self.born_ns) == (other.device, other.inode, other.born_ns)
    }

    /// Whether the parts of this version that a host already holds may be completed with bytes of `other`, met at the same path.
    ///
    /// Nobody can set the time of an inode's last change, so where it is the same, nobody has touched the file, whatever its
    /// numbers are now. Where it is another, the content may be another, too, under restored times.
    pub fn may_be_completed_by(&self, other: &Identity) -> bool {
        self.same_version(other) && self.ctime_ns == other.ctime_ns
    }
}

/// What the facts of a file that is met where a version was known tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Nobody has touched it.
    Same,
    /// Nobody has touched it, since nobody can set the time of an inode's last change; but its numbers are others now.
    Renumbered,
    /// Of the same size and modification time, but its inode has changed since: it was renamed, linked or restored, its mode was
    /// changed, or it was written by somebody who then set the time back. Only its content tells.
    Touched,
    /// The same, and besides its modification time is the known one cut to what a coarser file system or archive can hold, or the
    /// other way round. Only its content tells.
    Coarser,
    /// Another version.
    Other,
}

/// Whether one of two times is the other cut to whole microseconds or seconds, or to two seconds as FAT holds them.
fn same_but_coarser(one_ns: i64, other_ns: i64) -> bool {
    let cut = |ns: i64, unit: i64| ns.div_euclid(unit).saturating_mul(unit);
    let is_cut_of = |fine: i64, coarse: i64| [1_000, 1_000_000_000, 2_000_000_000].iter().any(|unit| cut(fine, *unit) == coarse);
    is_cut_of(one_ns, other_ns) || is_cut_of(other_ns, one_ns)
}

impl From<[i64; 6]> for Identity {
    /// Device, inode, size, mtime, ctime and birth, in the order in which they are stored.
    fn from([device, inode, size, mtime_ns, ctime_ns, born_ns]: [i64; 6]) -> Identity {
        Identity { device, inode, size: size.cast_unsigned(), mtime_ns, ctime_ns, born_ns }
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
    fn what_makes_another_version_another_inode_or_other_bytes_to_go_on_with() {
        let others = [
            ("the same", FILE, [true, true, true]),
            ("renamed", Identity { ctime_ns: 9, ..FILE }, [true, true, false]),
            ("another device", Identity { device: 9, ..FILE }, [true, false, true]),
            ("another inode", Identity { inode: 9, ..FILE }, [true, false, true]),
            ("another birth", Identity { born_ns: 9, ..FILE }, [true, false, true]),
            ("restored", Identity { device: 9, inode: 9, ctime_ns: 9, born_ns: 9, ..FILE }, [true, false, false]),
            ("grown", Identity { size: 9, ..FILE }, [false, false, false]),
            ("written again", Identity { mtime_ns: 9, ctime_ns: 9, ..FILE }, [false, false, false]),
        ];
        for (what, other, expected) in others {
            let found = [FILE.same_version(&other), FILE.same_inode(&other), FILE.may_be_completed_by(&other)];
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn what_tells_a_version_that_is_met_again() {
        use Likeness::{Coarser, Other, Renumbered, Same, Touched};
        let fine = Identity { mtime_ns: 7_123_456_789, ..FILE };
        let cases = [
            ("the same", FILE, FILE, Same),
            ("another device", FILE, Identity { device: 9, ..FILE }, Renumbered),
            ("another inode and birth", FILE, Identity { inode: 9, born_ns: 9, ..FILE }, Renumbered),
            ("renamed, or its time set back", FILE, Identity { ctime_ns: 9, ..FILE }, Touched),
            ("restored", FILE, Identity { device: 9, inode: 9, ctime_ns: 9, born_ns: 9, ..FILE }, Touched),
            ("grown", FILE, Identity { size: 9, ..FILE }, Other),
            ("written again", FILE, Identity { mtime_ns: 9, ctime_ns: 9, ..FILE }, Other),
            ("cut to microseconds", fine, Identity { mtime_ns: 7_123_456_000, ..FILE }, Coarser),
            ("cut to a second", fine, Identity { mtime_ns: 7_000_000_000, ..FILE }, Coarser),
            ("cut to two seconds", fine, Identity { mtime_ns: 6_000_000_000, ..FILE }, Coarser),
            ("from a coarse one to a fine one", Identity { mtime_ns: 6_000_000_000, ..FILE }, fine, Coarser),
            ("half a second off", fine, Identity { mtime_ns: 7_500_000_000, ..FILE }, Other),
            (
                "before 1970, cut to a second",
                Identity { mtime_ns: -5, ..FILE },
                Identity { mtime_ns: -1_000_000_000, ..FILE },
                Coarser,
            ),
            ("cut, and grown", fine, Identity { mtime_ns: 7_000_000_000, size: 9, ..FILE }, Other),
        ];
        for (what, before, now, expected) in cases {
            assert_eq!(before.likeness(&now), expected, "{what}");
        }
    }

    #[test]
    fn files_written_within_one_second_or_before_1970_are_told_apart() {
        let cases = [
            ((0, 0), 0),
            ((2, 5), 2_000_000_005),
            ((2, 6), 2_000_000_006),
            ((-2, 999_999_999), -1_000_000_001),
            ((i64::MAX, 5), i64::MAX),
            ((i64::MIN, 0), i64::MIN),
        ];
        for ((seconds, rest), expected) in cases {
            assert_eq!(nanoseconds(seconds, rest), expected, "{seconds} s and {rest} ns");
        }
    }

    #[test]
    fn what_is_stored_is_read_back_into_its_place() {
        assert_eq!(Identity::from([1, 2, 3, 4, 5, 6]), FILE);
    }
}
