//! A program of the user's, run to its end: in a process group of its own, for so long and no longer, with an output that is
//! bounded.
//!
//! Only the program itself is waited for. Where the daemon is process 1, as in a container, all that the program leaves behind
//! becomes a child of ours, and to wait for its whole group would be to wait for what was meant to go on.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

/// How long output is waited for once the program has ended: what it has left behind may hold it open for ever, and what it has
/// written itself is there by then.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// What a program may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How long it may run.
    pub time: Duration,
    /// How long it has to end after SIGTERM when that is over, before SIGKILL; zero is no SIGTERM at all.
    pub term_grace: Duration,
    /// How much of its output is kept.
    pub output: Kept,
}

/// Which part of the output is kept, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kept {
    /// The beginning, and one read more, so that too much can be told from enough. Reading ends there.
    Beginning(usize),
    End(usize),
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct CommandEnd {
    /// How; nothing when its time was over, and it was ended with all that it had started.
    pub status: Option<io::Result<ExitStatus>>,
    /// What is kept of what it wrote to those of its outputs that are piped, in the order in which it came.
    pub output: Vec<u8>,
}

/// Runs a program with no input, as [`run_with_input`] does.
///
/// # Errors
/// It could not be started.
pub(crate) async fn run(command: Command, bounds: Bounds) -> io::Result<CommandEnd> {
    run_with_input(command, Vec::new(), bounds).await
}

/// Runs a program that may read `input`, as far as it likes. Dropping the future ends it with all that it has started; what it has left running on purpose when
/// it ends by itself goes on.
///
/// # Errors
/// It could not be started.
pub(crate) async fn run_with_input(mut command: Command, input: Vec<u8>, bounds: Bounds) -> io::Result<CommandEnd> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() }).process_group(0);
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut output = Vec::new();
    let status = {
        let reading = async {
            tokio::join!(write_all(stdin, &input), read_all(out, err, bounds.output, &mut output));
        };
        let waiting = wait(&mut child, &mut group, bounds);
        tokio::pin!(reading, waiting);
        tokio::select! {
            () = &mut reading => waiting.await,
            status = &mut waiting => {
                tokio::time::timeout(OUTPUT_GRACE, reading).await.unwrap_or_default();
                status
            }
        }
    };
    Ok(CommandEnd { status, output })
}

/// The same for who has no runtime, or must not wait on the one it has. Keeps the calling thread.
///
/// # Errors
/// It could not be started.
pub(crate) fn run_and_wait(command: Command, bounds: Bounds) -> io::Result<CommandEnd> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(command, bounds))
    };
    // The caller may be inside a runtime, where no other can be waited on.
    let thread = std::thread::Builder::new().name("command".into()).spawn(run)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that ran it panicked")))
}

/// The program with all that it has started; ended when dropped before the program has ended.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        // A group that is gone is what we want.
        if let Some(group) = self.0 {
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How it ended; nothing when its time was over.
async fn wait(child: &mut Child, group: &mut Group, bounds: Bounds) -> Option<io::Result<ExitStatus>> {
    if let Ok(ended) = tokio::time::timeout(bounds.time, child.wait()).await {
        // What it has left running on purpose goes on, and its number may be another's from now on.
        group.0 = None;
        return Some(ended);
    }
    if !bounds.term_grace.is_zero() {
        group.signal(Signal::TERM);
        drop(tokio::time::timeout(bounds.term_grace, child.wait()).await);
    }
    group.signal(Signal::KILL);
    // SIGKILL is not refused.
    drop(child.wait().await);
    group.0 = None;
    None
}

/// What the program does not read is no matter of ours.
async fn write_all(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        stdin.write_all(input).await.ok();
    }
}

async fn read_all(
    mut out: Option<impl AsyncRead + Unpin>,
    mut err: Option<impl AsyncRead + Unpin>,
    keep: Kept,
    into: &mut Vec<u8>,
) {
    let (mut first, mut second) = ([0; 1024], [0; 1024]);
    while out.is_some() || err.is_some() {
        let read = tokio::select! {
            read = read(&mut out, &mut first), if out.is_some() => &first[..read],
            read = read(&mut err, &mut second), if err.is_some() => &second[..read],
        };
        into.extend_from_slice(read);
        match keep {
            Kept::Beginning(bytes) if into.len() > bytes => return,
            Kept::Beginning(_) => {}
            Kept::End(bytes) => drop(into.drain(..into.len().saturating_sub(bytes))),
        }
    }
}

async fn read(from: &mut Option<impl AsyncRead + Unpin>, into: &mut [u8]) -> usize {
    let Some(stream) = from else { return 0 };
    let read = stream.read(into).await.unwrap_or(0);
    if read == 0 {
        *from = None;
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn bounds(time: Duration, output: Kept) -> Bounds {
        Bounds { time, term_grace: LONG, output }
    }

    fn succeeded(ended: &CommandEnd) -> bool {
        matches!(&ended.status, Some(Ok(status)) if status.success())
    }

    /// Whether a process is gone, or about to be taken away by whoever has taken it over.
    async fn is_gone(pid: i32) {
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let begun = std::time::Instant::now();
        while !state().is_empty() && !state().contains(") Z") {
            assert!(begun.elapsed() < LONG, "it lives on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn of_a_program_that_writes_without_end_no_more_is_kept_than_was_asked_for() {
        let ended = run(shell("seq 100000; echo end"), bounds(LONG, Kept::End(100))).await.unwrap();
        assert!(succeeded(&ended) && ended.output.len() == 100 && ended.output.ends_with(b"100000\nend\n"));
        let ended = run(shell("exec yes"), bounds(LONG, Kept::Beginning(100))).await.unwrap();
        assert!(!succeeded(&ended), "nobody reads on");
        assert!((101..=100 + 1024).contains(&ended.output.len()), "{}", ended.output.len());
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_keeps_nobody_waiting_and_lives_on() {
        let dir = tempfile::tempdir().unwrap();
        let script = "(while [ ! -e go ]; do sleep 0.01; done; echo > done; exec sleep 600) & echo $!; echo err >&2";
        let mut command = shell(script);
        command.current_dir(&dir);
        let ended = run(command, bounds(LONG, Kept::End(100))).await.unwrap();
        let output = String::from_utf8(ended.output.clone()).unwrap();
        assert!(succeeded(&ended) && output.contains("err"), "{output}");
        std::fs::write(dir.path().join("go"), "").unwrap();
        let begun = std::time::Instant::now();
        while !dir.path().join("done").exists() {
            assert!(begun.elapsed() < LONG, "it was ended");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let left: i32 = output.lines().find_map(|line| line.parse().ok()).unwrap();
        rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_is_given_up_ends_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > '{0}.next'; mv '{0}.next' '{0}'; wait", file.display());
        let running = tokio::spawn(run(shell(&script), bounds(LONG, Kept::End(100))));
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.abort();
        is_gone(std::fs::read_to_string(file).unwrap().trim().parse().unwrap()).await;
    }

    #[tokio::test]
    async fn a_program_that_does_not_heed_sigterm_is_killed() {
        let grace = Duration::from_millis(50);
        let bounds = Bounds { time: Duration::from_millis(200), term_grace: grace, output: Kept::End(100) };
        let ended = run(shell("trap '' TERM; echo here; while :; do sleep 1; done"), bounds).await.unwrap();
        assert!(ended.status.is_none());
    }

    #[tokio::test]
    async fn inside_a_runtime_it_can_be_waited_for_all_the_same() {
        let ended = run_and_wait(shell("echo here"), bounds(LONG, Kept::Beginning(100))).unwrap();
        assert!(succeeded(&ended) && ended.output == b"here\n");
        assert!(run_and_wait(Command::new("/nowhere/x"), bounds(LONG, Kept::Beginning(100))).is_err());
    }
}
