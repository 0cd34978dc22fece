//! The daemon is one user and the files are another's, as where people or other services fill the folder: the kernel does not tell
//! then who has a file open for writing. Only root can be two users.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ferryd::internals::job::{Reason, ReasonClass, State};
use ferryd::internals::os::clock;
use ferryd::internals::store::JobRow;
use ferryd_sandbox::faults::{Action, Rule, Script};

use crate::bench_top::{Bench, Daemon, bytes};
use crate::skip::skipped;

/// Nobody's number: the daemon's.
const OTHER: u32 = 65534;
/// A file that has been the same for so long is quiet by the default of `settle`.
const QUIET: Duration = Duration::from_secs(3);

/// A bench whose folders the other user may use; nothing where this one may not hand them over.
fn bench(lines: &str) -> Option<Bench> {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can be two users");
        return None;
    }
    let bench = Bench::new().watch(lines).host("trust_replies = true");
    std::fs::set_permissions(bench.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(bench.drop_dir(), PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::create_dir(bench.state_dir()).unwrap();
    std::fs::set_permissions(bench.state_dir(), PermissionsExt::from_mode(0o700)).unwrap();
    give(&bench.state_dir());
    give(&bench.config());
    Some(bench)
}

fn give(path: &Path) {
    std::os::unix::fs::chown(path, Some(OTHER), Some(OTHER)).unwrap();
}

/// Starts the daemon as the other user, and waits until it has every folder in view.
fn start(bench: &Bench) -> Daemon {
    let daemon = Daemon::spawn(as_other(bench, &["run", "--log", "info,ferryd=debug"]), bench);
    bench.wait_for("the daemon to watch", || bench.log_text().contains(" watching").then_some(()));
    daemon
}

/// A command of the other user, with no capability left.
fn as_other(bench: &Bench, words: &[&str]) -> Command {
    // Where it was built, that user may not go. A copy might still be open for writing in a child of another test, and could not be
    // run.
    let (built, program) = (env!("CARGO_BIN_EXE_ferryd"), bench.dir.path().join("ferryd"));
    if !program.exists() && std::fs::hard_link(built, &program).is_err() {
        std::fs::copy(built, &program).unwrap();
    }
    let mut command = Command::new("setpriv");
    let ids = [OTHER, OTHER].map(|id| id.to_string());
    command.args(["--reuid", &ids[0], "--regid", &ids[1], "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all"]);
    command.arg(program).arg("--config").arg(bench.dir.path().join("config.toml")).args(words);
    command
}

/// A file of this user's, half written, whose writer pauses until it looks quiet.
fn half_written(bench: &Bench, first_half: &[u8]) -> (PathBuf, File) {
    let path = bench.drop_dir().join("film.mov");
    let mut writer = File::create(&path).unwrap();
    writer.write_all(first_half).unwrap();
    bench.wait_for("the writer to have paused for a while", || (age(&path) > QUIET).then_some(()));
    (path, writer)
}

fn age(path: &Path) -> Duration {
    let metadata = std::fs::metadata(path).unwrap();
    let changed_ms = metadata.ctime() * 1000 + metadata.ctime_nsec() / 1_000_000;
    Duration::from_millis(u64::try_from(clock::now_ms() - changed_ms).unwrap_or(0))
}

/// The job of a source that was to be removed and is there still. Before that is tried, it is about to be.
fn why_it_stays(bench: &Bench) -> JobRow {
    let says_why = |job: &JobRow| job.why.as_ref().is_some_and(|why| why.class != ReasonClass::AfterDue);
    bench.wait_for("a reason", || bench.jobs().into_iter().find(|job| job.state != State::Queued && says_why(job)))
}

fn paths(bench: &Bench) -> Vec<PathBuf> {
    bench.jobs().into_iter().map(|job| job.path).collect()
}

#[test]
fn a_file_of_another_user_is_not_sent_while_its_writer_pauses_and_whole_when_that_has_closed_it() {
    let Some(bench) = bench("settle_unknown = \"1h\"") else { return };
    let content = bytes(1, 2_000_000);
    let (_, mut writer) = half_written(&bench, &content[..1_000_000]);
    let daemon = start(&bench);
    // A file of the daemon's own, of which the kernel does tell who writes it.
    let own = bench.put("own", b"own");
    give(&own);
    bench.wait_for("a file of its own", || (bench.held("own") == [b"own"]).then_some(()));
    assert_eq!((bench.held("film.mov").len(), paths(&bench)), (0, vec![own]), "half of a file was sent");
    writer.write_all(&content[1_000_000..]).unwrap();
    drop(writer);
    bench.wait_done(2);
    let held = bench.held("film.mov");
    assert!(held.len() == 1 && held[0] == content, "{} times", held.len());
    daemon.kill();
}

#[test]
fn the_file_of_a_writer_that_was_not_seen_to_close_it_is_not_removed_under_that_writer() {
    let Some(bench) = bench("settle = \"0s\"\nsettle_unknown = \"1s\"\nafter = \"delete\"") else { return };
    let content = bytes(2, 300_000);
    let (path, mut writer) = half_written(&bench, &content[..100_000]);
    let daemon = start(&bench);
    let job = why_it_stays(&bench);
    assert_eq!(job.state, State::Uploaded, "{job:?}");
    assert_eq!(job.why, Some(Reason::new(ReasonClass::MayBeWritten)));
    assert!(job.next_try_ms.is_some_and(|next| next > clock::now_ms() + 3_000_000), "it is not looked at every few minutes");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 100_000, "the file is there, and its writer can go on");
    writer.write_all(&content[100_000..]).unwrap();
    drop(writer);
    // The whole file is another version, and somebody was seen to close that one.
    bench.wait_for("the whole file to be sent", || bench.held("film.mov").into_iter().find(|held| *held == content));
    bench.wait_for("it to be removed", || (!path.exists()).then_some(()));
    bench.wait_done(2);
    daemon.kill();
}

#[test]
fn a_file_of_another_user_that_was_only_moved_in_is_removed_when_somebody_is_seen_to_close_it() {
    let Some(bench) = bench("settle = \"0s\"\nsettle_unknown = \"1s\"\nafter = \"delete\"") else { return };
    let daemon = start(&bench);
    let path = bench.put("moved in", b"content");
    let job = why_it_stays(&bench);
    assert!(job.state == State::Uploaded && path.exists(), "{job:?}");
    // Opened for writing and closed, without a change: nobody has it open now.
    drop(File::options().append(true).open(&path).unwrap());
    bench.wait_done(1);
    assert!(!path.exists());
    assert_eq!(bench.held("moved in"), [b"content"]);
    daemon.kill();
}

#[test]
fn that_the_kernel_does_not_tell_who_writes_is_said_by_check_before_and_by_status_while_it_matters() {
    let Some(bench) = bench("settle_unknown = \"1h\"") else { return };
    let checked = as_other(&bench, &["check"]).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    let note = "the kernel does not tell who writes the files of others";
    assert!(said.lines().any(|line| line.starts_with("note ") && line.contains(note)), "{said}");
    let daemon = start(&bench);
    let why = || bench.snapshot()?.watches.into_iter().next()?.report.why;
    assert_eq!(why(), None, "nothing is there yet that anybody could write");
    bench.put("of another", b"content");
    let why = bench.wait_for("status to say so", why);
    assert!(why.contains("`settle_unknown`"), "{why}");
    let shown = as_other(&bench, &["status"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("the kernel does not tell who writes the files here"), "{shown}");
    daemon.kill();
}

/// What the kernel says of a process: that it leaves no core file, and that its memory is root's alone.
fn assert_is_private(pid: u32, what: &str) {
    let of = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    let limits = std::fs::read_to_string(of("limits")).unwrap();
    let core: Vec<&str> = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core[4], "0", "{what} would leave a core file");
    assert_eq!(std::fs::metadata(of("mem")).unwrap().uid(), 0, "other processes of its user may read the memory of {what}");
}

#[test]
fn the_memory_of_whatever_reads_secrets_goes_into_no_core_file_and_to_no_other_process() {
    let Some(bench) = bench("settle = \"0s\"") else { return };
    bench.faults(Script::of([Rule::new(Action::SlowReply { seconds: 100.0 })]));
    let mut checking = as_other(&bench, &["check", "--online"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    bench.wait_for("the check to ask the host", || (!bench.sandbox.log().is_empty()).then_some(()));
    assert_is_private(checking.id(), "`ferryd check --online`");
    checking.kill().unwrap();
    checking.wait().unwrap();
    let daemon = start(&bench);
    assert_is_private(daemon.pid(), "`ferryd run`");
    daemon.kill();
}
