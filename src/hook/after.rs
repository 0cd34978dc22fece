//! What happens to the source when every host has it: nothing, removal, or a move. Touches only the version that was sent, and never
//! overwrites anything.
//!
//! A rename either happened or did not; after a crash the source is found gone, which is success. Across file systems the copy is made
//! under a hidden name, synced, given its name, compared, and only then is the source removed; a crash leaves the source in every case,
//! and the next attempt knows a finished copy by its bytes.

use std::fs::{File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::crash_point;
use crate::job::Identity;
use crate::os::durable;
use crate::os::lease::{self, Writers};

use super::facts::name_with;
use super::{HookError, sidecar};

/// Bytes copied and compared at once.
const BLOCK_BYTES: usize = 512 * 1024;
/// Names that are tried before a move is given up: `a.mov`, `a (1).mov` and so on.
const NAMES_MAX: u32 = 10_000;

/// What is to be done with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is removed.
    Delete,
    /// It gets this path, or one like it where that is taken.
    Move(PathBuf),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It was removed.
    Deleted,
    /// It is here now.
    Moved(PathBuf),
    /// It was not there any more.
    Vanished,
    /// It is not the version that was sent, so it stays.
    Changed,
}

/// Does `deed` to the file at `source`, if it is still exactly the version `sent`. `stop` ends a long copy early, with an error. Waits
/// for the disk.
///
/// # Errors
///
/// Says what failed; the source is as it was.
pub fn act(source: &Path, sent: &Identity, deed: &Deed, job: i64, stop: &AtomicBool) -> Result<Done, HookError> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(source) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Done::Vanished),
        Err(error) => return Err(HookError::new(format!("cannot look at the file: {error}"))),
    };
    if !is_still(&file, source, sent) {
        return Ok(Done::Changed);
    }
    if lease::writers(&file) == Writers::Somebody {
        return Err(HookError::new("somebody has the file open for writing"));
    }
    crash_point!("after.before_move");
    let done = match deed {
        Deed::Delete => {
            delete(source).map(|()| Done::Deleted).map_err(|error| HookError::new(format!("cannot remove the file: {error}")))
        }
        Deed::Move(target) => Mover { file: &file, source, sent, job, stop }
            .go(target)
            .map_err(|error| HookError::new(format!("cannot move the file to `{}`: {error}", target.display()))),
    }?;
    crash_point!("after.after_move");
    Ok(done)
}

/// The name and the handle both mean the version that was sent, and the name is no symbolic link: a link's target is not ours to touch.
fn is_still(file: &File, source: &Path, sent: &Identity) -> bool {
    let handle = file.metadata().is_ok_and(|metadata| metadata.is_file() && Identity::of(&metadata) == *sent);
    handle && std::fs::symlink_metadata(source).is_ok_and(|metadata| Identity::of(&metadata) == *sent)
}

fn delete(source: &Path) -> io::Result<()> {
    std::fs::remove_file(source)?;
    durable::sync_folder_of(source)
}

struct Mover<'a> {
    file: &'a File,
    source: &'a Path,
    sent: &'a Identity,
    job: i64,
    stop: &'a AtomicBool,
}

impl Mover<'_> {
    fn go(&self, target: &Path) -> io::Result<Done> {
        std::fs::create_dir_all(target.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        for number in 0..NAMES_MAX {
            let place = numbered(target, number);
            match durable::rename_new(self.source, &place) {
                Ok(()) => return Ok(self.with_sidecar(place)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return self.copy(target),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name like it is taken"))
    }

    fn copy(&self, target: &Path) -> io::Result<Done> {
        for number in 0..NAMES_MAX {
            let place = numbered(target, number);
            if place.symlink_metadata().is_ok() {
                // A copy that an earlier attempt has finished.
                if self.is_copy(&place)? {
                    return self.remove_source(place);
                }
                continue;
            }
            let aside = self.write_aside(&place)?;
            match durable::rename_new(&aside, &place) {
                Ok(()) if self.is_copy(&place)? => return self.remove_source(place),
                Ok(()) => {
                    // The name is ours, and what is under it is worth nothing.
                    std::fs::remove_file(&place)?;
                    return Err(io::Error::other("the copy differs from the file"));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::fs::remove_file(aside)?,
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name like it is taken"))
    }

    fn write_aside(&self, place: &Path) -> io::Result<PathBuf> {
        let aside = durable::aside(place, self.job);
        let metadata = self.file.metadata()?;
        let mode = metadata.permissions().mode() & 0o7777;
        let mut copy = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        let written = self.blocks(|block, _| copy.write_all(block).map(|()| true));
        if written.is_err() {
            // A full disk must not keep half a copy.
            std::fs::remove_file(&aside)?;
        }
        written?;
        // Not every file system keeps these; the bytes are what counts.
        let times = FileTimes::new().set_modified(metadata.modified()?);
        let kept = copy.set_permissions(std::fs::Permissions::from_mode(mode)).and_then(|()| copy.set_times(times));
        if let Err(error) = kept {
            tracing::debug!("the copy of {:?} has another mode or time: {error}", self.source);
        }
        copy.sync_all()?;
        Ok(aside)
    }

    /// Hands the source over block by block, each with its offset, until `each` has seen enough. Answers whether it saw all.
    fn blocks(&self, mut each: impl FnMut(&[u8], u64) -> io::Result<bool>) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        let mut block = vec![0; BLOCK_BYTES];
        let mut offset = 0;
        while offset < self.sent.size {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the daemon stops; it begins again at the next start"));
            }
            let length = BLOCK_BYTES.min(usize::try_from(self.sent.size - offset).unwrap_or(BLOCK_BYTES));
            self.file.read_exact_at(&mut block[..length], offset)?;
            if !each(&block[..length], offset)? {
                return Ok(false);
            }
            offset += length as u64;
        }
        Ok(true)
    }

    /// Whether the file at `place` is of the same size, and equal byte for byte. Its time may be kept more coarsely there.
    fn is_copy(&self, place: &Path) -> io::Result<bool> {
        let metadata = place.symlink_metadata()?;
        if !metadata.is_file() || metadata.len() != self.sent.size {
            return Ok(false);
        }
        let mut copy = File::open(place)?;
        let mut other = vec![0; BLOCK_BYTES];
        self.blocks(|block, _| {
            copy.read_exact(&mut other[..block.len()])?;
            Ok(other[..block.len()] == *block)
        })
    }

    /// Should the source have changed while it was copied, both stay.
    fn remove_source(&self, place: PathBuf) -> io::Result<Done> {
        if !is_still(self.file, self.source, self.sent) {
            return Ok(Done::Changed);
        }
        delete(self.source)?;
        Ok(self.with_sidecar(place))
    }

    /// The sidecar goes where its file goes; one that cannot stays, and does no harm.
    fn with_sidecar(&self, place: PathBuf) -> Done {
        let (from, to) = (sidecar::beside(self.source), sidecar::beside(&place));
        if from.exists() {
            let moved = durable::rename_new(&from, &to).or_else(|_| {
                durable::replace(&to, &std::fs::read(&from)?, self.job)?;
                std::fs::remove_file(&from)
            });
            if let Err(error) = moved {
                tracing::warn!("{from:?} stays where it is: {error}");
            }
        }
        Done::Moved(place)
    }
}

/// `a.mov`, `a (1).mov`, `a (2).mov`.
fn numbered(target: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return target.to_owned();
    }
    let mut name = name_with(target.file_stem().unwrap_or_default(), &format!(" ({number})"));
    if let Some(extension) = target.extension() {
        name.push(".");
        name.push(extension);
    }
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _dir: tempfile::TempDir,
        source: PathBuf,
        target: PathBuf,
        sent: Identity,
    }

    /// A source and a target; with `apart` on two file systems, where this machine has two.
    fn place(apart: bool) -> Place {
        let dir =
            if apart && Path::new("/dev/shm").is_dir() { tempfile::tempdir_in("/dev/shm") } else { tempfile::tempdir() }.unwrap();
        let other = tempfile::tempdir().unwrap();
        let source = dir.path().join("a.mov");
        std::fs::write(&source, vec![7; BLOCK_BYTES + 1]).unwrap();
        let root = if apart { other.keep() } else { dir.path().to_owned() };
        let sent = Identity::of(&std::fs::metadata(&source).unwrap());
        Place { _dir: dir, source, target: root.join("Sent/x/a.mov"), sent }
    }

    impl Place {
        fn act(&self, deed: Deed) -> Result<Done, HookError> {
            act(&self.source, &self.sent, &deed, 1, &AtomicBool::new(false))
        }

        fn go(&self) -> Done {
            self.act(Deed::Move(self.target.clone())).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.target.parent().unwrap()).unwrap();
            let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_move_never_overwrites_and_can_be_asked_for_again() {
        for apart in [false, true] {
            let place = place(apart);
            std::fs::create_dir_all(place.target.parent().unwrap()).unwrap();
            std::fs::write(&place.target, "another").unwrap();
            let Done::Moved(moved) = place.go() else { panic!("not moved") };
            assert!(moved.ends_with("a (1).mov") && std::fs::read(&moved).unwrap() == vec![7; BLOCK_BYTES + 1]);
            assert_eq!(std::fs::read(&place.target).unwrap(), b"another");
            assert_eq!(place.go(), Done::Vanished);
            assert_eq!(place.names(), ["a (1).mov", "a.mov"]);
        }
    }

    #[test]
    fn a_copy_that_was_finished_before_a_crash_is_not_made_again() {
        let place = place(true);
        let kept = std::fs::read(&place.source).unwrap();
        let mtime = std::fs::metadata(&place.source).unwrap().modified().unwrap();
        place.go();
        std::fs::write(&place.source, kept).unwrap();
        File::options().write(true).open(&place.source).unwrap().set_times(FileTimes::new().set_modified(mtime)).unwrap();
        let sent = Identity::of(&std::fs::metadata(&place.source).unwrap());
        let again = act(&place.source, &sent, &Deed::Move(place.target.clone()), 1, &AtomicBool::new(false));
        assert_eq!(again, Ok(Done::Moved(place.target.clone())));
        assert_eq!((place.names(), place.source.exists()), (vec!["a.mov".to_owned()], false));
    }

    #[test]
    fn a_changed_file_stays() {
        for deed in [Deed::Delete, Deed::Move("/nowhere/at/all".into())] {
            let place = place(false);
            std::fs::write(&place.source, "changed").unwrap();
            assert_eq!(place.act(deed), Ok(Done::Changed));
            assert!(place.source.exists());
        }
    }

    #[test]
    fn a_file_that_is_open_for_writing_stays_until_it_is_closed() {
        let place = place(false);
        let writer = OpenOptions::new().append(true).open(&place.source).unwrap();
        if cfg!(target_os = "linux") {
            assert!(place.act(Deed::Delete).is_err());
        }
        drop(writer);
        assert_eq!(place.act(Deed::Delete), Ok(Done::Deleted));
        assert!(!place.source.exists());
    }

    #[test]
    fn the_sidecar_goes_with_its_file() {
        let place = place(true);
        std::fs::write(sidecar::beside(&place.source), "{}").unwrap();
        place.go();
        assert_eq!(place.names(), ["a.mov", "a.mov.ferryd.json"]);
    }

    #[test]
    fn a_number_goes_before_the_ending() {
        let cases = [("a.mov", "a (1).mov"), ("a", "a (1)"), (".hidden", ".hidden (1)"), ("a.tar.gz", "a.tar (1).gz")];
        for (name, numbered_name) in cases {
            assert_eq!(numbered(Path::new(name), 1), Path::new(numbered_name));
        }
    }
}
