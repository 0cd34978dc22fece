//! What it means that a file is not where it was: that it is gone, or that its disk is away.

/// The number of no file system, for files that may have been on one that has another number since.
pub(crate) const NO_DEVICE: i64 = 0;

/// What the root of a watch is to its file system. Numbers as in [`crate::job::Identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RootFolder {
    /// The file system.
    pub device: i64,
    /// Its number there.
    pub inode: i64,
    /// When it was made, in nanoseconds since the Unix epoch; 0 where the file system does not say.
    pub born_ns: i64,
}

impl RootFolder {
    /// Whether `now` is the same folder. File systems come back under other numbers, and then the birth tells.
    fn is(&self, now: &RootFolder) -> bool {
        let same_birth = self.born_ns == now.born_ns;
        same_birth && (self.born_ns != 0 || (self.device, self.inode) == (now.device, now.inode))
    }
}

/// Whether a file that is not there is gone for good, and not merely out of reach.
///
/// It is not as long as another folder is in the place of its watch's root, `known`, as when nothing is mounted there, nor as long
/// as the nearest folder above it that exists is on another file system than the file was. `file_device` is the file system that
/// the file was on when it was taken up, and `nearest_device` that of the nearest folder. Where it is not known what the file was on,
/// that was the file system of the root.
pub(crate) fn is_gone(known: Option<&RootFolder>, now: &RootFolder, file_device: i64, nearest_device: i64) -> bool {
    let Some(known) = known else { return true };
    if !known.is(now) {
        return false;
    }
    // Another file system may be mounted below the root, and only the root's own is known to have other numbers now.
    let is_the_roots = [known.device, NO_DEVICE].contains(&file_device);
    let expected = if is_the_roots { now.device } else { file_device };
    nearest_device == expected || nearest_device == file_device
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_gone_only_where_its_own_disk_says_so() {
        let root = RootFolder { device: 1, inode: 2, born_ns: 3 };
        let unborn = RootFolder { born_ns: 0, ..root };
        let cases = [
            ("nothing is known of the root", None, root, 1, 1, true),
            ("the same root", Some(root), root, 1, 1, true),
            ("nothing is mounted on the root", Some(root), RootFolder { device: 7, inode: 9, born_ns: 9 }, 1, 7, false),
            ("another folder has its place", Some(root), RootFolder { inode: 9, born_ns: 9, ..root }, 1, 1, false),
            ("its inode was used again", Some(root), RootFolder { device: 5, inode: 2, born_ns: 9 }, 1, 5, false),
            ("the disk is back under another number", Some(root), RootFolder { device: 5, ..root }, 1, 5, true),
            ("the disk is back, and numbers its files anew", Some(root), RootFolder { device: 5, inode: 7, ..root }, 1, 5, true),
            ("the same, where no birth is known", Some(unborn), RootFolder { device: 5, ..unborn }, 1, 5, false),
            ("no birth is known", Some(unborn), unborn, 1, 1, true),
            ("nothing is mounted on a folder below the root", Some(root), root, 4, 1, false),
            ("something new is mounted on a folder below the root", Some(root), root, 1, 4, false),
            ("the disk below the root is there", Some(root), root, 4, 4, true),
            ("nobody knows what it was on", Some(root), root, NO_DEVICE, 1, true),
            (
                "nobody knows that, and the disk is back under another number",
                Some(root),
                RootFolder { device: 5, ..root },
                NO_DEVICE,
                5,
                true,
            ),
            (
                "nobody knows that, and nothing is mounted on the root",
                Some(root),
                RootFolder { born_ns: 9, ..root },
                NO_DEVICE,
                1,
                false,
            ),
        ];
        for (what, known, now, file_device, nearest_device, expected) in cases {
            assert_eq!(is_gone(known.as_ref(), &now, file_device, nearest_device), expected, "{what}");
        }
    }
}
