//! Tells when a path may lead to something else than before: a file system was mounted or unmounted, or a folder on the way was
//! moved. Only Linux tells, and only of paths without symbolic links.

use std::io;
use std::path::Path;

#[cfg(target_os = "linux")]
pub(crate) use listening::PathChanges;
#[cfg(not(target_os = "linux"))]
pub(crate) use unheard::PathChanges;

#[cfg(target_os = "linux")]
mod listening {
    use std::fs::File;
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::{Path, io};

    /// What the kernel has to say of some paths.
    pub(crate) struct PathChanges {
        /// The list of what is mounted, which can be read with priority when it has changed (`proc_pid_mounts(5)`).
        mounts: AsyncFd<File>,
        /// An inotify instance that watches every folder on the way.
        moves: AsyncFd<OwnedFd>,
    }

    #[expect(deprecated, reason = "what takes its place is unsafe, for types that do not own what they give out, as these do")]
    fn heard<T: AsRawFd>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
        AsyncFd::with_interest(descriptor, interest)
    }

    const MOVED: WatchFlags = WatchFlags::MOVE_SELF.union(WatchFlags::DELETE_SELF).union(WatchFlags::DONT_FOLLOW);

    /// Watches `folder` and each one above it.
    fn watch_way(moves: &OwnedFd, folder: &Path) -> io::Result<()> {
        for folder in folder.ancestors() {
            inotify::add_watch(moves, folder, MOVED | WatchFlags::ONLYDIR)?;
        }
        Ok(())
    }

    impl PathChanges {
        /// Begins to listen for changes of `paths`, which are absolute and on file systems that do not hang.
        ///
        /// # Errors
        ///
        /// One of them is not there or has a symbolic link on the way, or the kernel does not tell.
        pub(crate) fn of<'p>(paths: impl IntoIterator<Item = &'p Path>) -> io::Result<PathChanges> {
            PathChanges::with(|moves| paths.into_iter().try_for_each(|path| watch_way(moves, path)))
        }

        /// The same for a file, which counts as changed whenever it is written to, or its name or mode are.
        ///
        /// # Errors
        ///
        /// As above.
        pub(crate) fn of_file(path: &Path) -> io::Result<PathChanges> {
            PathChanges::with(|moves| {
                watch_way(moves, path.parent().unwrap_or(path))?;
                // That a name has gone changes the number of links, long before a file that is open is deleted.
                inotify::add_watch(moves, path, MOVED | WatchFlags::ATTRIB | WatchFlags::MODIFY)?;
                Ok(())
            })
        }

        fn with(watch: impl FnOnce(&OwnedFd) -> io::Result<()>) -> io::Result<PathChanges> {
            let mounts = heard(File::open("/proc/self/mountinfo")?, Interest::PRIORITY)?;
            let moves = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            watch(&moves)?;
            Ok(PathChanges { mounts, moves: heard(moves, Interest::READABLE)? })
        }

        /// Waits for the first change. What came after it is not told: whoever goes on listens anew, and looks.
        pub(crate) async fn next(&self) {
            // Where the runtime cannot tell, there is nothing to wait for, and a look does no harm.
            tokio::select! {
                changed = self.mounts.ready(Interest::PRIORITY) => drop(changed),
                moved = self.moves.readable() => drop(moved),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod unheard {
    use super::{Path, io};

    /// What the system has to say of some paths: nothing.
    pub(crate) struct PathChanges(std::convert::Infallible);

    impl PathChanges {
        /// # Errors
        ///
        /// Always.
        pub(crate) fn of<'p>(_: impl IntoIterator<Item = &'p Path>) -> io::Result<PathChanges> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// # Errors
        ///
        /// Always.
        pub(crate) fn of_file(_: &Path) -> io::Result<PathChanges> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) async fn next(&self) {
            match self.0 {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "nothing of it has to last")]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn that_a_folder_on_the_way_was_moved_or_taken_away_is_told_and_what_happens_in_it_is_not() {
        type Act = fn(&Path);
        let acts: [(Act, bool); 7] = [
            (|top| fs::write(top.join("a/b/c/file"), "new").unwrap(), false),
            (|top| fs::rename(top.join("a/b/c/old"), top.join("a/b/c/new")).unwrap(), false),
            (|top| fs::create_dir(top.join("a/beside")).unwrap(), false),
            (|top| fs::rename(top.join("a"), top.join("moved")).unwrap(), true),
            (|top| fs::rename(top.join("a/b"), top.join("b")).unwrap(), true),
            (|top| fs::rename(top.join("a/b/c"), top.join("a/b/d")).unwrap(), true),
            (|top| fs::remove_dir_all(top.join("a")).unwrap(), true),
        ];
        for (number, (act, told)) in acts.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let top = dir.path().canonicalize().unwrap();
            fs::create_dir_all(top.join("a/b/c")).unwrap();
            fs::write(top.join("a/b/c/old"), "old").unwrap();
            let watched = top.join("a/b/c");
            let changes = PathChanges::of([watched.as_path()]).unwrap();
            act(&top);
            if told {
                changes.next().await;
            } else {
                tokio::time::timeout(SHORT, changes.next()).await.expect_err(&number.to_string());
            }
        }
    }

    #[tokio::test]
    async fn that_a_file_was_taken_away_replaced_or_emptied_is_told_while_it_is_open() {
        type Act = fn(&Path);
        let acts: [Act; 4] = [
            |top| fs::remove_file(top.join("in/file")).unwrap(),
            |top| fs::rename(top.join("other"), top.join("in/file")).unwrap(),
            |top| drop(fs::File::create(top.join("in/file")).unwrap()),
            |top| fs::rename(top.join("in"), top.join("out")).unwrap(),
        ];
        for act in acts {
            let dir = tempfile::tempdir().unwrap();
            let top = dir.path().canonicalize().unwrap();
            fs::create_dir(top.join("in")).unwrap();
            fs::write(top.join("in/file"), "content").unwrap();
            fs::write(top.join("other"), "another").unwrap();
            let _open = fs::File::open(top.join("in/file")).unwrap();
            let changes = PathChanges::of_file(&top.join("in/file")).unwrap();
            fs::write(top.join("in/beside"), "it").unwrap();
            tokio::time::timeout(SHORT, changes.next()).await.unwrap_err();
            act(&top);
            changes.next().await;
        }
    }

    #[tokio::test]
    async fn of_a_path_with_a_link_and_of_one_that_is_not_there_nothing_is_promised() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        std::os::unix::fs::symlink(top.join("real"), top.join("link")).unwrap();
        for (path, heard) in [("real/deep", true), ("link/deep", false), ("link", false), ("none", false)] {
            assert_eq!(PathChanges::of([top.join(path).as_path()]).is_ok(), heard, "{path}");
        }
    }
}
