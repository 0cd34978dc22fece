//! What the kernel has in memory, taken without waiting for a disk: the fast path for small files, most of whose cost would be the
//! hand-over to a thread that may wait.
//!
//! Where anything would have to be waited for the answer is `None`, and the caller takes the slow path, which also finds out what
//! is wrong. Nothing is tried on a file system that another machine or another process may serve: there even an open may wait for
//! ever. A file system is known not to be one of these once [`remember_filesystem`] has looked at a file of it. What is not ruled
//! out is a mount that is laid over a known folder in the moment before, and a virus scanner that keeps every open waiting.

use std::path::Path;

use super::files::{Base, File, Files, Stat};

/// Opens the file at `path` on a file system that is known, to be read.
pub(crate) fn open(base: &Base, path: &Path, device: i64) -> Option<File> {
    real(base).then(|| platform::open(base, path, device, false)).flatten().map(File::Real)
}

/// What the file system says of `path`, on a file system that is known.
pub(crate) fn look(base: &Base, path: &Path, device: i64) -> Option<Stat> {
    let opened = real(base).then(|| platform::open(base, path, device, true)).flatten()?;
    File::Real(opened).stat().ok()
}

fn real(base: &Base) -> bool {
    matches!(base.files(), Files::Real)
}

/// The file of this machine, which alone has a kernel that can be asked.
#[cfg_attr(not(feature = "simulator"), expect(clippy::unnecessary_wraps, reason = "a simulator has others"))]
fn kernel_file(file: &File) -> Option<&std::fs::File> {
    match file {
        File::Real(file) => Some(file),
        #[cfg(feature = "simulator")]
        File::Simulated(_) => None,
    }
}

/// The first bytes of `file`, if so many are in memory.
pub(crate) fn read(file: &File, bytes: u64) -> Option<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(bytes).ok()?];
    (buffer.is_empty() || platform::read(kernel_file(file)?, &mut buffer)? == buffer.len()).then_some(buffer)
}

/// Finds out whether the file system of this open file, whose device has this number, is one of this machine's own. May wait.
pub(crate) fn remember_filesystem(file: &File, device: i64) {
    if let Some(file) = kernel_file(file) {
        platform::remember_filesystem(file, device);
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::io::IoSliceMut;
    use std::path::Path;
    use std::sync::{PoisonError, RwLock};

    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use rustix::io::ReadWriteFlags;

    use super::Base;

    /// ext, XFS, F2FS (magic numbers: `statfs(2)`): file systems with a block device of their own. The kernel gives the numbers of
    /// the others, network file systems among them, to whoever comes next.
    const OWN: [u32; 3] = [0xEF53, 0x5846_5342, 0xF2F5_2010];

    static KNOWN_DEVICES: RwLock<BTreeSet<i64>> = RwLock::new(BTreeSet::new());

    pub(super) fn open(base: &Base, path: &Path, device: i64, only_looked_at: bool) -> Option<File> {
        if !is_known(device) {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = if only_looked_at { OFlags::PATH | OFlags::CLOEXEC } else { flags };
        if base.follows_links() {
            return rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from);
        }
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::openat2(CWD, base.path(), folder, Mode::empty(), ResolveFlags::CACHED).ok()?;
        let resolve = ResolveFlags::CACHED | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(top, base.relative(path).ok()?, flags, Mode::empty(), resolve).ok().map(File::from)
    }

    pub(super) fn read(file: &File, buffer: &mut [u8]) -> Option<usize> {
        rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], 0, ReadWriteFlags::NOWAIT).ok()
    }

    pub(super) fn remember_filesystem(file: &File, device: i64) {
        if !is_known(device) && rustix::fs::fstatfs(file).is_ok_and(|fs| OWN.contains(&(fs.f_type as u32))) {
            KNOWN_DEVICES.write().unwrap_or_else(PoisonError::into_inner).insert(device);
        }
    }

    fn is_known(device: i64) -> bool {
        KNOWN_DEVICES.read().unwrap_or_else(PoisonError::into_inner).contains(&device)
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::fs::File;
    use std::path::Path;

    use super::Base;

    pub fn open(_: &Base, _: &Path, _: i64, _: bool) -> Option<File> {
        None
    }

    pub fn read(_: &File, _: &mut [u8]) -> Option<usize> {
        None
    }

    pub fn remember_filesystem(_: &File, _: i64) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_was_just_written_is_cached_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"words").unwrap();
        let device = path.metadata().unwrap().dev().cast_signed();
        for base in [Base::new(dir.path(), false), Base::new(dir.path(), true)] {
            let Some(file) = known_after_a_look(&base, &path, device).then(|| open(&base, &path, device)).flatten() else { return };
            assert_eq!(read(&file, 5).as_deref(), Some(&b"words"[..]));
            assert_eq!(read(&file, 6), None, "a file that is shorter takes the slow path");
            assert_eq!(read(&file, 0).as_deref(), Some(&b""[..]));
            assert_eq!(look(&base, &path, device).unwrap().size(), 5);
            assert!(open(&base, &dir.path().join("other"), device).is_none());
            assert!(open(&base, &path, -1).is_none() && look(&base, &path, -1).is_none(), "nothing is known of that file system");
        }
    }

    #[test]
    fn what_a_link_leads_to_is_cached_only_where_links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("folder"), dir.path().join("link"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), b"words").unwrap();
        std::os::unix::fs::symlink("folder", &link).unwrap();
        std::os::unix::fs::symlink("folder/file", dir.path().join("file link")).unwrap();
        let device = folder.metadata().unwrap().dev().cast_signed();
        let (strict, follows) = (Base::new(dir.path(), false), Base::new(dir.path(), true));
        if !known_after_a_look(&strict, &folder.join("file"), device) {
            return;
        }
        for path in [link.join("file"), dir.path().join("file link")] {
            assert!(is_cached(&follows, &path, device), "{path:?}");
            assert!(open(&strict, &path, device).is_none() && look(&strict, &path, device).is_none(), "{path:?}");
        }
        // The folder at the top may be one.
        assert!(is_cached(&Base::new(&link, false), &link.join("file"), device));
    }

    #[test]
    fn a_file_system_that_the_kernel_makes_up_is_not_known() {
        let path = Path::new("/proc/self/stat");
        let device = path.metadata().unwrap().dev().cast_signed();
        let base = Base::new(Path::new("/proc"), true);
        assert!(!known_after_a_look(&base, path, device) && open(&base, path, device).is_none());
    }

    /// Whether the file at `path` is cached. The kernel may let go of what it has in memory, and then has it again after a look.
    fn is_cached(base: &Base, path: &Path, device: i64) -> bool {
        (0..100).any(|_| path.metadata().is_ok() && open(base, path, device).is_some() && look(base, path, device).is_some())
    }

    /// Whether the temporary folder's file system is one that is known, and the kernel has such calls at all.
    fn known_after_a_look(base: &Base, path: &Path, device: i64) -> bool {
        std::fs::File::open(path).is_ok_and(|file| {
            remember_filesystem(&File::Real(file), device);
            open(base, path, device).is_some()
        })
    }
}
