//! The socket in the state folder by which a running daemon is asked, and told what to do: one request and one reply a connection, each a
//! line. Whoever asks gives up in time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE_NAME: &str = "ferryd.sock";
/// How long a daemon may take to say that it is alive, and either side to say what it has to say.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request or a reply.
pub(crate) const LINE_BYTES_MAX: u64 = 1 << 20;

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nobody listens.
    Nobody,
    /// Nobody has answered.
    Silence,
    /// This line.
    Line(Vec<u8>),
}

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

/// Asks the daemon in `dir`, which may take so long to answer.
pub(crate) fn ask(dir: &Path, request: &[u8], patience: Duration) -> Answer {
    let stream = reachable(dir).and_then(|(_folder, path)| UnixStream::connect(path));
    match stream {
        Err(_) => Answer::Nobody,
        Ok(stream) => answer(stream, request, patience).map_or(Answer::Silence, Answer::Line),
    }
}

/// What is not a whole line is no answer.
fn answer(mut stream: UnixStream, request: &[u8], patience: Duration) -> Option<Vec<u8>> {
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(request).and_then(|()| stream.write_all(b"\n")).ok()?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line).ok()?;
    (line.pop() == Some(b'\n')).then_some(line)
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

    fn asked(dir: &Path) -> Answer {
        ask(dir, b"who", Duration::from_secs(20))
    }

    /// Takes one request, and says this.
    fn say(listener: &UnixListener, said: &[u8]) {
        let (stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
        assert_eq!(request, "who\n");
        (&stream).write_all(said).unwrap();
    }

    #[test]
    fn a_daemon_is_asked_however_deep_its_folder_is() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        assert_eq!(asked(&deep), Answer::Nobody);
        for (said, heard) in
            [(&b"alive\nmore"[..], Answer::Line(b"alive".to_vec())), (b"aliv", Answer::Silence), (b"", Answer::Silence)]
        {
            let listener = listen(&deep).unwrap();
            listener.set_nonblocking(false).unwrap();
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| asked(&deep));
                say(&listener, said);
                assert_eq!(asking.join().unwrap(), heard);
            });
        }
        assert_eq!(asked(&deep), Answer::Nobody, "nobody listens");
    }

    #[test]
    fn a_daemon_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = listen(dir.path()).unwrap();
        assert_eq!(ask(dir.path(), b"who", Duration::from_millis(50)), Answer::Silence);
        let mode = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
