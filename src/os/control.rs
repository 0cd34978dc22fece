//! The socket in the state folder by which a running daemon is told from a hung one: whoever connects is answered by its main loop, and
//! gives up quickly.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE_NAME: &str = "ferryd.sock";
/// How long a daemon may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// What it answers.
pub(crate) const ALIVE: &[u8] = b"alive\n";

/// Listens in `dir`, for its owner alone. What is left of an earlier daemon goes: the caller owns the folder's lock.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(dir.join(FILE_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_folder, path) = reachable(dir)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(dir.join(FILE_NAME), PermissionsExt::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether the daemon in `dir` answers; nothing where it cannot be asked.
pub(crate) fn ask(dir: &Path) -> Option<bool> {
    let (_folder, path) = reachable(dir).ok()?;
    let mut stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut answer = [0; ALIVE.len()];
    Some(stream.read_exact(&mut answer).is_ok() && answer == *ALIVE)
}

/// A path to the socket that is short enough for the address of one, as long as the folder is open.
fn reachable(dir: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(dir)?;
    let path = if cfg!(target_os = "linux") {
        PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(FILE_NAME)
    } else {
        dir.join(FILE_NAME)
    };
    Ok((folder, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_daemon_is_asked_however_deep_its_folder_is() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        assert_eq!(ask(&deep), None);
        for _ in 0..2 {
            let listener = listen(&deep).unwrap();
            listener.set_nonblocking(false).unwrap();
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| ask(&deep));
                listener.accept().unwrap().0.write_all(ALIVE).unwrap();
                assert_eq!(asking.join().unwrap(), Some(true));
            });
        }
        assert_eq!(ask(&deep), None, "nobody listens");
    }
}
