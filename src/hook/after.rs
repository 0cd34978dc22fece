//! What happens to the source when every host has it: nothing, removal, or a move. Touches only the version that was sent, and never
//! overwrites anything.
//!
//! Others may write in the folder, so it is opened once, below its watch and without following links, and everything is done through it.
//! A source is removed in three steps: it is renamed aside, to a name that nobody else knows; looked at there; and unlinked, or else put
//! back. What is removed is therefore what was looked at, whatever has its name by then. Dying in between leaves it aside, where the next
//! attempt finds it.
//!
//! A move is a rename, which either happened or did not; after a crash the source is found gone, which is success. Across file systems the
//! copy is made under a hidden name, synced, given its name, compared, and only then is the source removed; a crash leaves the source in
//! every case, and the next attempt knows a finished copy by its bytes.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::crash_point;
use crate::job::Identity;
use crate::os::clock::Clock;
use crate::os::durable::{self, Came};
use crate::os::files::{self, Base, File, Files, Folder, Kind};
use crate::os::lease::Writers;
use crate::os::names::{Names, Purpose};

use super::facts::name_with;
use super::{HookError, sidecar};

/// Bytes copied and compared at once.
const BLOCK_BYTES: usize = 512 * 1024;
/// Names that are tried before a move is given up: `a.mov`, `a (1).mov` and so on.
const NAMES_MAX: u32 = 10_000;
/// How long a file of which nobody tells who writes it is left alone after its last change.
const UNASKED_QUIET: Duration = Duration::from_secs(24 * 3600);

/// What is to be done with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is removed.
    Delete,
    /// It goes below `folder`, to the place `below`, or one like it where that is taken.
    Move {
        /// The configured folder.
        folder: PathBuf,
        /// The way from there, the file's own name included.
        below: PathBuf,
    },
}

/// A deed and all that it depends on.
#[derive(Debug)]
pub struct Task {
    /// The watched folder.
    pub base: Base,
    /// Where the source is.
    pub path: PathBuf,
    /// The version that was sent.
    pub sent: Identity,
    /// Whether a writer was seen to close this version.
    pub close_seen: bool,
    /// What is to be done.
    pub deed: Deed,
    /// Names for what is there only for a moment.
    pub names: Arc<Names>,
    /// The time.
    pub clock: Clock,
    /// Ends a long copy early, with an error.
    pub stop: Arc<AtomicBool>,
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
    /// It is behind a symbolic link, so it stays.
    Linked,
    /// It may still be written, which nobody can tell: it must be left alone for so long.
    Later(Duration),
}

/// Does what `task` says, if the source is still exactly the version that was sent. Waits for the disk.
///
/// # Errors
///
/// Says what failed; the source is as it was, or aside for the next attempt.
pub fn act(task: &Task) -> Result<Done, HookError> {
    let found = find(task).map_err(|error| HookError::new(format!("cannot look at the file: {error}")))?;
    let source = match found {
        Found::Source(source) => source,
        Found::Nothing(done) => return Ok(done),
    };
    let writers = source.file.writers();
    // What is aside has passed this before, and is looked at again before it goes.
    if !source.is_aside() {
        if writers == Writers::Somebody {
            return Err(HookError::new("somebody has the file open for writing"));
        }
        if let Some(pause) = must_wait(writers, task.close_seen, &task.sent, task.clock.now_ns()) {
            return Ok(Done::Later(pause));
        }
    }
    crash_point!("after.before_move");
    let done = match &task.deed {
        Deed::Delete => source.remove().map(Removed::done).map_err(|error| format!("cannot remove the file: {error}")),
        Deed::Move { folder, below } => source
            .go_below(folder, below)
            .map_err(|error| format!("cannot move the file to `{}`: {}", folder.join(below).display(), explained(&error))),
    };
    let done = done.map_err(HookError::new)?;
    crash_point!("after.after_move");
    Ok(done)
}

fn explained(error: &io::Error) -> String {
    if files::is_link(error) {
        return "a symbolic link is in the way, and none is followed below the folder that files are moved to".into();
    }
    error.to_string()
}

/// For how long a file must still be left alone, because a writer may have it open of whom nobody tells us. The file's own change time
/// counts, which nobody can set, and its modification time as far as it is not in the future.
fn must_wait(writers: Writers, close_seen: bool, sent: &Identity, now_ns: i64) -> Option<Duration> {
    if writers != Writers::Unknown || close_seen {
        return None;
    }
    let changed_ns = if sent.mtime_ns <= now_ns { sent.mtime_ns.max(sent.ctime_ns) } else { sent.ctime_ns };
    let quiet = Duration::from_nanos(u64::try_from(now_ns.saturating_sub(changed_ns)).unwrap_or(0));
    UNASKED_QUIET.checked_sub(quiet).filter(|left| !left.is_zero())
}

/// What a look for the source leads to.
enum Found<'t> {
    Source(Source<'t>),
    Nothing(Done),
}

/// The source, open, in its open folder.
struct Source<'t> {
    task: &'t Task,
    folder: Folder,
    /// The name by which it was queued.
    own_name: &'t OsStr,
    /// The name that it has for a moment before it goes.
    aside: OsString,
    /// Which of the two it was found under.
    name: OsString,
    file: File,
    /// What it was when it was opened.
    identity: Identity,
}

/// How a removal has ended.
#[derive(Debug, PartialEq, Eq)]
enum Removed {
    Gone,
    /// It had no name any more.
    Vanished,
    /// What had its name was not what was looked at, or somebody writes it: it has been put back.
    PutBack,
}

impl Removed {
    fn done(self) -> Done {
        match self {
            Removed::Gone => Done::Deleted,
            Removed::Vanished => Done::Vanished,
            Removed::PutBack => Done::Changed,
        }
    }
}

/// Looks for the source, first where an attempt that died may have left it.
fn find(task: &Task) -> io::Result<Found<'_>> {
    let (Some(folder), Some(own_name)) = (task.path.parent(), task.path.file_name()) else {
        return Ok(Found::Nothing(Done::Vanished));
    };
    let folder = match task.base.without_links().folder(folder) {
        Err(error) if files::is_link(&error) => return Ok(Found::Nothing(Done::Linked)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Found::Nothing(Done::Vanished));
        }
        opened => opened?,
    };
    let aside = task.names.of(Purpose::Aside, &task.path)?;
    let mut name = own_name.to_owned();
    match folder.look(&aside) {
        Ok(stat) if stat.kind == Kind::File && Identity::from(stat.numbers).same_inode(&task.sent) => name.clone_from(&aside),
        // Whatever it is, it is not ours to keep there.
        Ok(_) => put_back(&folder, &aside, &folder, own_name)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = match folder.open(&name) {
        Err(error) if files::is_link(&error) => return Ok(Found::Nothing(Done::Linked)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing(Done::Vanished)),
        opened => opened?,
    };
    let stat = file.stat()?;
    let identity = Identity::from(stat.numbers);
    let source = Source { task, folder, own_name, aside, name, file, identity };
    let is_it = match identity == task.sent {
        true => true,
        // A rename or a link of our own has changed its inode.
        false => identity.same_inode(&task.sent) && (source.is_aside() || (stat.links > 1 && source.has_arrived()?)),
    };
    Ok(if stat.kind == Kind::File && is_it { Found::Source(source) } else { Found::Nothing(Done::Changed) })
}

/// Gives the file `aside` the name `own_name` again, in the folder `to`, or a visible one like it where that is taken: nothing is overwritten
/// and nothing is lost.
fn put_back(folder: &Folder, aside: &OsStr, to: &Folder, own_name: &OsStr) -> io::Result<()> {
    for number in 0..NAMES_MAX {
        match durable::rename_new(folder, aside, to, &numbered(own_name, number)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            put => return put,
        }
    }
    Err(every_name_is_taken())
}

fn every_name_is_taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "every name like it is taken")
}

impl Source<'_> {
    fn is_aside(&self) -> bool {
        self.name == self.aside
    }

    /// Whether the open file has this name, and the content that it had when it was opened.
    fn is_at(&self, folder: &Folder, name: &OsStr) -> bool {
        let handle = self.file.stat().is_ok_and(|stat| Identity::from(stat.numbers).same_inode(&self.identity));
        let named = |stat: files::Stat| stat.kind == Kind::File && Identity::from(stat.numbers).same_inode(&self.identity);
        handle && folder.look(name).is_ok_and(named)
    }

    fn remove(&self) -> io::Result<Removed> {
        if !self.is_aside() {
            match durable::take_aside(&self.folder, &self.name, &self.aside) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::Vanished),
                taken => taken?,
            }
        }
        crash_point!("after.aside");
        self.remove_aside()
    }

    /// What is aside is looked at once more: only now is it certain that nobody can give its name to something else.
    fn remove_aside(&self) -> io::Result<Removed> {
        if !self.is_at(&self.folder, &self.aside) || self.file.writers() == Writers::Somebody {
            put_back(&self.folder, &self.aside, &self.folder, self.own_name)?;
            return Ok(Removed::PutBack);
        }
        self.folder.remove(&self.aside)?;
        self.folder.sync()?;
        Ok(Removed::Gone)
    }

    fn go_below(&self, root: &Path, below: &Path) -> io::Result<Done> {
        let place = Target::make(self.task.base.files(), root, below)?;
        for number in 0..NAMES_MAX {
            let name = numbered(place.name, number);
            match durable::name_new(&self.folder, &self.name, &place.folder, &name) {
                Ok(came) => return self.arrive(&place, &name, came),
                // A link that an earlier attempt has made.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_at(&place.folder, &name) => {
                    return self.arrive(&place, &name, Came::Linked);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return self.copy(&place),
                Err(error) => return Err(error),
            }
        }
        Err(every_name_is_taken())
    }

    /// It has the name `name` in its new folder; if it was the file that was looked at.
    fn arrive(&self, place: &Target<'_>, name: &OsStr, came: Came) -> io::Result<Done> {
        let is_it = self.is_at(&place.folder, name);
        match came {
            Came::Renamed if is_it => Ok(self.with_sidecar(place, name)),
            Came::Renamed => put_back(&place.folder, name, &self.folder, self.own_name).map(|()| Done::Changed),
            Came::Linked if is_it => self.leave_for(place, name),
            Came::Linked => place.folder.remove(name).map(|()| Done::Changed),
        }
    }

    /// Whether an earlier attempt has given it a name in its new folder already, and died before it took the old one.
    fn has_arrived(&self) -> io::Result<bool> {
        let Deed::Move { folder, below } = &self.task.deed else { return Ok(false) };
        let place = Target::make(self.task.base.files(), folder, below)?;
        for number in 0..NAMES_MAX {
            let name = numbered(place.name, number);
            match place.folder.look(&name) {
                Ok(_) if self.is_at(&place.folder, &name) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The source goes, since it has another name or a whole copy in `place`. Should it have changed meanwhile, both stay.
    fn leave_for(&self, place: &Target<'_>, name: &OsStr) -> io::Result<Done> {
        match self.remove()? {
            Removed::Gone | Removed::Vanished => Ok(self.with_sidecar(place, name)),
            Removed::PutBack => Ok(Done::Changed),
        }
    }

    fn copy(&self, place: &Target<'_>) -> io::Result<Done> {
        let mut free = 0;
        while free < NAMES_MAX {
            let name = numbered(place.name, free);
            match place.folder.look(&name) {
                // A copy that an earlier attempt has finished.
                Ok(_) if self.is_copy(&place.folder, &name)? => return self.leave_for(place, &name),
                Ok(_) => free += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        let aside = self.write_aside(&place.folder)?;
        for number in free..NAMES_MAX {
            let name = numbered(place.name, number);
            match durable::rename_new(&place.folder, &aside, &place.folder, &name) {
                Ok(()) if self.is_copy(&place.folder, &name)? => return self.leave_for(place, &name),
                Ok(()) => {
                    // The name is ours, and what is under it is worth nothing.
                    place.folder.remove(&name)?;
                    return Err(io::Error::other("the copy differs from the file"));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        place.folder.remove(&aside)?;
        Err(every_name_is_taken())
    }

    /// Writes a copy into `folder`, and answers the name that it has there for a moment.
    fn write_aside(&self, folder: &Folder) -> io::Result<OsString> {
        let aside = self.task.names.of(Purpose::Copy, &self.task.path)?;
        let stat = self.file.stat()?;
        let mut copy = durable::create_aside(folder, &aside, 0o600)?;
        let written = self.blocks(|block, _| copy.write_all(block).map(|()| true));
        if written.is_err() {
            // A full disk must not keep half a copy.
            folder.remove(&aside)?;
        }
        written?;
        // Not every file system keeps these; the bytes are what counts.
        if let Err(error) = copy.set_mode_and_mtime(stat.mode, stat.mtime_ns()) {
            tracing::debug!("the copy of {:?} has another mode or time: {error}", self.task.path);
        }
        copy.sync()?;
        Ok(aside)
    }

    /// Hands the source over block by block, each with its offset, until `each` has seen enough. Answers whether it saw all.
    fn blocks(&self, mut each: impl FnMut(&[u8], u64) -> io::Result<bool>) -> io::Result<bool> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut offset = 0;
        let size = self.identity.size;
        while offset < size {
            if self.task.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the daemon stops; it begins again at the next start"));
            }
            let length = BLOCK_BYTES.min(usize::try_from(size - offset).unwrap_or(BLOCK_BYTES));
            self.file.read_exact_at(&mut block[..length], offset)?;
            if !each(&block[..length], offset)? {
                return Ok(false);
            }
            offset += length as u64;
        }
        Ok(true)
    }

    /// Whether the file `name` is of the same size, and equal byte for byte. Its time may be kept more coarsely there.
    fn is_copy(&self, folder: &Folder, name: &OsStr) -> io::Result<bool> {
        let stat = folder.look(name)?;
        if stat.kind != Kind::File || stat.size() != self.identity.size {
            return Ok(false);
        }
        let mut copy = folder.open(name)?;
        let mut other = vec![0; BLOCK_BYTES];
        let equal = self.blocks(|block, _| {
            copy.read_exact(&mut other[..block.len()])?;
            Ok(other[..block.len()] == *block)
        })?;
        Ok(equal && Identity::from(self.file.stat()?.numbers) == self.identity)
    }

    /// The sidecar goes where its file goes; one that cannot stays, and does no harm.
    fn with_sidecar(&self, place: &Target<'_>, name: &OsStr) -> Done {
        let sidecar = sidecar::name_of(self.own_name);
        if let Err(error) = self.move_sidecar(&sidecar, &place.folder, &sidecar::name_of(name)) {
            tracing::warn!("{:?} stays where it is: {error}", self.task.path.with_file_name(sidecar));
        }
        Done::Moved(place.path.join(name))
    }

    fn move_sidecar(&self, sidecar: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        let text = match sidecar::read(&self.folder, sidecar)? {
            sidecar::Found::Nothing => return Ok(()),
            sidecar::Found::Text(text) => text,
            sidecar::Found::Foreign(what) => return Err(io::Error::other(format!("it is {what}, and so no sidecar of ours"))),
            sidecar::Found::InTheWay => return Err(io::Error::other("it is not a regular file")),
        };
        if durable::rename_new(&self.folder, sidecar, to, new).is_ok() {
            return Ok(());
        }
        if sidecar::read(to, new)? == sidecar::Found::InTheWay {
            return Err(io::Error::other("what has its new name is not a regular file"));
        }
        let aside = self.task.names.of(Purpose::Sidecar, &self.task.path)?;
        durable::replace(to, new, &aside, &text, sidecar::MODE)?;
        self.folder.remove(sidecar)
    }
}

/// Where a source is moved to.
struct Target<'t> {
    folder: Folder,
    path: PathBuf,
    name: &'t OsStr,
}

impl<'t> Target<'t> {
    /// The folder is the configured one, or below it without a link on the way; it is made where it is missing.
    fn make(files: &Files, root: &Path, below: &'t Path) -> io::Result<Target<'t>> {
        let name = below.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = root.join(below.parent().unwrap_or(Path::new("")));
        let folder = Base::of(files, root, false).make(&path)?;
        Ok(Target { folder, path, name })
    }
}

/// `a.mov`, `a (1).mov`, `a (2).mov`.
fn numbered(name: &OsStr, number: u32) -> OsString {
    if number == 0 {
        return name.to_owned();
    }
    let path = Path::new(name);
    let mut numbered = name_with(path.file_stem().unwrap_or_default(), &format!(" ({number})"));
    if let Some(extension) = path.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::system::System;
    use std::fs::OpenOptions;
    use std::fs::{File, FileTimes};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;

    struct Place {
        dir: tempfile::TempDir,
        _state: tempfile::TempDir,
        /// The folder that files are moved to.
        root: PathBuf,
        task: Task,
    }

    static CONTENT: [u8; BLOCK_BYTES + 1] = [7; BLOCK_BYTES + 1];

    /// A source and a target; with `apart` on two file systems, where this machine has two.
    fn place(apart: bool) -> Place {
        let dir =
            if apart && Path::new("/dev/shm").is_dir() { tempfile::tempdir_in("/dev/shm") } else { tempfile::tempdir() }.unwrap();
        let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("a.mov");
        std::fs::write(&path, CONTENT).unwrap();
        let root = if apart { other.keep() } else { dir.path().to_owned() }.join("Sent");
        let task = Task {
            base: Base::new(dir.path(), false),
            sent: version(&path),
            path,
            close_seen: false,
            deed: Deed::Move { folder: root.clone(), below: "x/a.mov".into() },
            names: Arc::new(Names::new(&System::default(), state.path())),
            clock: Clock::default(),
            stop: Arc::default(),
        };
        Place { dir, _state: state, root, task }
    }

    /// A source that is to be removed.
    fn doomed() -> Place {
        let mut place = place(false);
        place.task.deed = Deed::Delete;
        place
    }

    fn version(path: &Path) -> Identity {
        Identity::of(&std::fs::symlink_metadata(path).unwrap())
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn text(path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    impl Place {
        fn act(&self) -> Result<Done, HookError> {
            act(&self.task)
        }

        fn source(&self) -> Source<'_> {
            match find(&self.task).unwrap() {
                Found::Source(source) => source,
                Found::Nothing(done) => panic!("{done:?}"),
            }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn aside(&self) -> PathBuf {
            self.dir.path().join(self.task.names.of(Purpose::Aside, &self.task.path).unwrap())
        }

        /// What has arrived.
        fn sent(&self) -> Vec<String> {
            names_in(&self.root.join("x"))
        }

        fn left(&self) -> Vec<String> {
            names_in(self.dir.path())
        }
    }

    /// Renames as another user would, with no thought of durability.
    #[expect(clippy::disallowed_methods, reason = "it is not the daemon that does it")]
    fn rename(from: &Path, to: &Path) {
        std::fs::rename(from, to).unwrap();
    }

    #[test]
    fn a_move_never_overwrites_and_can_be_asked_for_again() {
        for apart in [false, true] {
            let place = place(apart);
            std::fs::create_dir_all(place.root.join("x")).unwrap();
            std::fs::write(place.root.join("x/a.mov"), "another").unwrap();
            let Ok(Done::Moved(moved)) = place.act() else { panic!("not moved") };
            assert_eq!(moved, place.root.join("x/a (1).mov"));
            assert_eq!(std::fs::read(&moved).unwrap(), CONTENT);
            assert_eq!(text(place.root.join("x/a.mov")), "another");
            assert_eq!(place.act(), Ok(Done::Vanished));
            assert_eq!(place.sent(), ["a (1).mov", "a.mov"]);
        }
    }

    #[test]
    fn a_copy_that_was_finished_before_a_crash_is_not_made_again() {
        let mut place = place(true);
        let mtime = std::fs::metadata(&place.task.path).unwrap().modified().unwrap();
        place.act().unwrap();
        std::fs::write(&place.task.path, CONTENT).unwrap();
        File::options().write(true).open(&place.task.path).unwrap().set_times(FileTimes::new().set_modified(mtime)).unwrap();
        place.task.sent = version(&place.task.path);
        assert_eq!(place.act(), Ok(Done::Moved(place.root.join("x/a.mov"))));
        assert_eq!((place.sent(), place.task.path.exists()), (vec!["a.mov".to_owned()], false));
    }

    #[test]
    fn what_a_crash_left_of_a_copy_is_taken_up_and_a_link_in_its_place_is_not_followed() {
        let place = place(true);
        let victim = place.at("victim");
        std::fs::write(&victim, "victim").unwrap();
        std::fs::create_dir_all(place.root.join("x")).unwrap();
        let copy = place.root.join("x").join(place.task.names.of(Purpose::Copy, &place.task.path).unwrap());
        symlink(&victim, &copy).unwrap();
        assert!(matches!(place.act(), Ok(Done::Moved(_))));
        assert_eq!((text(&victim), place.sent()), ("victim".to_owned(), vec!["a.mov".to_owned()]));
    }

    #[test]
    fn a_changed_file_stays() {
        for mut place in [doomed(), place(false)] {
            std::fs::write(&place.task.path, "changed").unwrap();
            assert_eq!(place.act(), Ok(Done::Changed));
            // Neither is one that only its change time tells apart.
            place.task.sent = version(&place.task.path);
            std::fs::set_permissions(&place.task.path, PermissionsExt::from_mode(0o640)).unwrap();
            assert_eq!(place.act(), Ok(Done::Changed));
            assert_eq!(text(&place.task.path), "changed");
        }
    }

    #[test]
    fn a_file_that_is_open_for_writing_stays_until_it_is_closed() {
        let place = doomed();
        let writer = OpenOptions::new().append(true).open(&place.task.path).unwrap();
        if cfg!(target_os = "linux") {
            assert!(place.act().is_err());
        }
        drop(writer);
        assert_eq!(place.act(), Ok(Done::Deleted));
        assert_eq!(place.left(), Vec::<String>::new());
    }

    /// Who writes, whether a writer was seen to close the version, how long ago it was last modified and its inode last changed, and for how
    /// long it must be left alone: all in hours, and a negative age is in the future.
    #[test]
    fn a_file_of_which_nobody_tells_who_writes_it_goes_after_a_close_or_a_day() {
        use Writers::{Nobody, Somebody, Unknown};
        const HOUR_NS: i64 = 3_600_000_000_000;
        let now_ns = 1_000_000 * HOUR_NS;
        for (writers, close_seen, modified, changed, left) in [
            (Nobody, false, 0, 0, None),
            (Somebody, false, 0, 0, None),
            (Unknown, true, 0, 0, None),
            (Unknown, false, 0, 0, Some(24)),
            (Unknown, false, 30, 1, Some(23)),
            (Unknown, false, 1, 30, Some(23)),
            (Unknown, false, 23, 23, Some(1)),
            (Unknown, false, 24, 24, None),
            (Unknown, false, 100, 100, None),
            // A modification time is what its writer says; the change time is not.
            (Unknown, false, -9000, 10, Some(14)),
            (Unknown, false, -9000, 24, None),
            (Unknown, false, 24, -1, Some(24)),
        ] {
            let (mtime_ns, ctime_ns) = (now_ns - modified * HOUR_NS, now_ns - changed * HOUR_NS);
            let sent = Identity { device: 1, inode: 1, size: 1, mtime_ns, ctime_ns, born_ns: 1 };
            let expected = left.map(|hours| Duration::from_secs(hours * 3600));
            assert_eq!(must_wait(writers, close_seen, &sent, now_ns), expected, "{writers:?} {close_seen} {modified} {changed}");
        }
    }

    #[test]
    fn the_sidecar_goes_with_its_file() {
        for apart in [false, true] {
            let place = place(apart);
            std::fs::write(place.at("a.mov.ferryd.json"), "{}").unwrap();
            place.act().unwrap();
            assert_eq!(place.sent(), ["a.mov", "a.mov.ferryd.json"]);
            assert!(!place.at("a.mov.ferryd.json").exists());
        }
    }

    #[test]
    fn what_is_no_sidecar_stays_and_the_file_goes_without_it() {
        for apart in [false, true] {
            let place = place(apart);
            let sidecar = place.at("a.mov.ferryd.json");
            std::fs::create_dir(&sidecar).unwrap();
            assert!(matches!(place.act(), Ok(Done::Moved(_))));
            assert_eq!((place.sent(), sidecar.is_dir()), (vec!["a.mov".to_owned()], true));
        }
        for apart in [false, true] {
            let place = place(apart);
            let sidecar = File::create(place.at("a.mov.ferryd.json")).unwrap();
            sidecar.set_len(3 << 30).unwrap();
            assert!(matches!(place.act(), Ok(Done::Moved(_))));
            assert_eq!(place.sent(), ["a.mov"]);
        }
    }

    #[test]
    fn a_number_goes_before_the_ending() {
        let cases = [("a.mov", "a (1).mov"), ("a", "a (1)"), (".hidden", ".hidden (1)"), ("a.tar.gz", "a.tar (1).gz")];
        for (name, numbered_name) in cases {
            assert_eq!(numbered(OsStr::new(name), 1), numbered_name);
        }
    }

    /// Writes other bytes to `path`, of the same size, and says that they were last written when the file `like` was.
    fn write_twin(path: &Path, like: &Path) {
        let metadata = std::fs::metadata(like).unwrap();
        std::fs::write(path, vec![8; usize::try_from(metadata.len()).unwrap()]).unwrap();
        let times = FileTimes::new().set_modified(metadata.modified().unwrap());
        File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    }

    /// What somebody puts in the place of a file that has been renamed to `kept`.
    const STRANGERS: [fn(&Path, &Path); 3] = [
        |path, _| std::fs::write(path, "another").unwrap(),
        |path, kept| symlink(kept, path).unwrap(),
        // By its size and its time it is the version that was sent.
        |path, kept| write_twin(path, kept),
    ];

    #[test]
    fn what_takes_the_name_between_the_look_and_the_removal_is_put_back() {
        for put in STRANGERS {
            let place = doomed();
            let source = place.source();
            rename(&place.task.path, &place.at("kept"));
            put(&place.task.path, &place.at("kept"));
            let (before, is_link) = (std::fs::read(&place.task.path).unwrap(), place.task.path.is_symlink());
            assert_eq!(source.remove().unwrap(), Removed::PutBack);
            assert_eq!(place.left(), ["a.mov", "kept"]);
            assert!(std::fs::read(&place.task.path).unwrap() == before && place.task.path.is_symlink() == is_link);
        }
    }

    #[test]
    fn what_takes_the_name_between_the_look_and_the_move_is_put_back() {
        for put in STRANGERS {
            let place = place(false);
            let source = place.source();
            rename(&place.task.path, &place.at("kept"));
            put(&place.task.path, &place.at("kept"));
            let before = std::fs::read(&place.task.path).unwrap();
            let Deed::Move { folder, below } = &place.task.deed else { unreachable!() };
            assert_eq!(source.go_below(folder, below).unwrap(), Done::Changed);
            assert!(std::fs::read(&place.task.path).unwrap() == before && place.sent().is_empty());
        }
    }

    #[test]
    fn another_file_of_the_same_size_and_time_under_the_name_aside_is_put_back_and_not_removed() {
        let place = doomed();
        write_twin(&place.aside(), &place.task.path);
        rename(&place.task.path, &place.at("kept"));
        assert_eq!(place.act(), Ok(Done::Changed));
        assert_eq!(place.left(), ["a.mov", "kept"]);
        assert!(std::fs::read(&place.task.path).unwrap()[0] == 8);
    }

    #[test]
    fn what_cannot_be_put_back_under_its_name_gets_a_visible_one() {
        let place = doomed();
        let source = place.source();
        durable::take_aside(&source.folder, &source.name, &source.aside).unwrap();
        // Somebody writes it through an old handle, and somebody else takes its name.
        std::fs::write(place.aside(), "rewritten").unwrap();
        std::fs::write(&place.task.path, "another").unwrap();
        assert_eq!(source.remove_aside().unwrap(), Removed::PutBack);
        assert_eq!(place.left(), ["a (1).mov", "a.mov"]);
        assert_eq!((text(place.at("a (1).mov")), text(&place.task.path)), ("rewritten".to_owned(), "another".to_owned()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_somebody_opens_for_writing_at_the_last_moment_is_put_back() {
        let place = doomed();
        let source = place.source();
        durable::take_aside(&source.folder, &source.name, &source.aside).unwrap();
        let _writer = OpenOptions::new().append(true).open(place.aside()).unwrap();
        assert_eq!(source.remove_aside().unwrap(), Removed::PutBack);
        assert_eq!(place.left(), ["a.mov"]);
    }

    #[test]
    fn a_file_that_an_attempt_left_aside_when_it_died_goes_with_the_next() {
        for place in [doomed(), place(false), place(true)] {
            rename(&place.task.path, &place.aside());
            let moved = place.root.join("x/a.mov");
            let done = if place.task.deed == Deed::Delete { Done::Deleted } else { Done::Moved(moved.clone()) };
            assert_eq!(place.act(), Ok(done));
            assert!(!place.aside().exists() && !place.task.path.exists());
            assert_eq!(moved.exists(), place.task.deed != Deed::Delete);
        }
    }

    #[test]
    fn a_file_that_was_left_aside_and_changed_there_is_put_back() {
        for place in [doomed(), place(false)] {
            rename(&place.task.path, &place.aside());
            std::fs::write(place.aside(), "rewritten").unwrap();
            assert_eq!(place.act(), Ok(Done::Changed));
            assert_eq!((text(&place.task.path), place.aside().exists()), ("rewritten".to_owned(), false));
        }
    }

    #[test]
    fn a_file_that_was_left_aside_while_a_new_one_took_its_name_loses_neither() {
        let mut place = doomed();
        rename(&place.task.path, &place.aside());
        std::fs::write(&place.task.path, "new").unwrap();
        // The new one is the version that was sent meanwhile.
        place.task.sent = version(&place.task.path);
        assert_eq!(place.act(), Ok(Done::Deleted));
        assert_eq!(place.left(), ["a (1).mov"]);
        assert_eq!(std::fs::read(place.at("a (1).mov")).unwrap(), CONTENT);
    }

    #[test]
    fn a_move_that_died_between_its_link_and_its_removal_is_ended() {
        let place = place(false);
        std::fs::create_dir_all(place.root.join("x")).unwrap();
        std::fs::write(place.root.join("x/a.mov"), "another").unwrap();
        std::fs::hard_link(&place.task.path, place.root.join("x/a (1).mov")).unwrap();
        assert_ne!(version(&place.task.path), place.task.sent, "a link changes the inode");
        assert_eq!(place.act(), Ok(Done::Moved(place.root.join("x/a (1).mov"))));
        assert_eq!((place.sent(), place.task.path.exists()), (vec!["a (1).mov".to_owned(), "a.mov".to_owned()], false));
    }

    #[test]
    fn a_link_made_where_no_rename_spares_what_is_there_is_only_of_the_file_that_was_looked_at() {
        let place = place(false);
        let source = place.source();
        let Deed::Move { folder, below } = &place.task.deed else { unreachable!() };
        let target = Target::make(&Files::Real, folder, below).unwrap();
        source.folder.link(&source.name, &target.folder, target.name).unwrap();
        assert_eq!(source.arrive(&target, target.name, Came::Linked).unwrap(), Done::Moved(place.root.join("x/a.mov")));
        assert_eq!((place.sent(), place.task.path.exists()), (vec!["a.mov".to_owned()], false));
        // Another file under the name: the link goes again, and the file stays.
        std::fs::write(&place.task.path, "another").unwrap();
        source.folder.link(&source.name, &target.folder, OsStr::new("b.mov")).unwrap();
        assert_eq!(source.arrive(&target, OsStr::new("b.mov"), Came::Linked).unwrap(), Done::Changed);
        assert_eq!((place.sent(), text(&place.task.path)), (vec!["a.mov".to_owned()], "another".to_owned()));
    }

    #[test]
    fn nothing_behind_a_link_is_removed_whether_links_are_followed_or_not() {
        for follow in [false, true] {
            let place = doomed();
            let private = place.at("private");
            std::fs::create_dir(&private).unwrap();
            rename(&place.task.path, &private.join("a.mov"));
            symlink(&private, place.at("sub")).unwrap();
            symlink(private.join("a.mov"), place.at("b.mov")).unwrap();
            let sent = version(&private.join("a.mov"));
            for path in [place.at("sub/a.mov"), place.at("b.mov")] {
                let base = Base::new(place.dir.path(), follow);
                let (names, stop) = (place.task.names.clone(), Arc::default());
                let clock = Clock::default();
                let task = Task { base, path, sent, close_seen: true, deed: Deed::Delete, names, clock, stop };
                assert_eq!(act(&task), Ok(Done::Linked));
            }
            assert_eq!(names_in(&private), ["a.mov"]);
        }
    }

    #[test]
    fn a_folder_that_becomes_a_link_after_the_look_changes_nothing() {
        let mut place = doomed();
        let (sub, private) = (place.at("sub"), place.at("private"));
        for folder in [&sub, &private] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("a.mov"), "x").unwrap();
        }
        place.task.path = sub.join("a.mov");
        place.task.sent = version(&place.task.path);
        let source = place.source();
        rename(&sub, &place.at("aside"));
        symlink(&private, &sub).unwrap();
        assert_eq!(source.remove().unwrap(), Removed::Gone, "the file that was looked at, where it is now");
        assert_eq!((names_in(&private), names_in(&place.at("aside"))), (vec!["a.mov".to_owned()], Vec::new()));
    }

    #[test]
    fn nothing_is_moved_through_a_link_below_the_target() {
        for apart in [false, true] {
            let place = place(apart);
            let private = place.root.with_file_name("private");
            std::fs::create_dir_all(&place.root).unwrap();
            std::fs::create_dir(&private).unwrap();
            symlink(&private, place.root.join("x")).unwrap();
            let error = place.act().unwrap_err().to_string();
            assert!(error.contains("symbolic link is in the way"), "{error}");
            assert_eq!((names_in(&private), place.task.path.exists()), (Vec::new(), true));
        }
    }
}
