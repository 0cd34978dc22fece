//! A file system that hangs, as one on the network does whose server is away: what is on it waits, and nothing else does. Only root
//! can mount one.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferryd::internals::job::State;
use ferryd::internals::store::JobRow;

use crate::bench_top::{Bench, Daemon};
use crate::skip::skipped;

/// The folder that the file system is mounted on, beside the one that is watched on the disk.
const FAR: &str = "far";
/// Mounts it, with the device as the standard input.
const MOUNT: &str = "mount -i -t fuse -o fd=0,rootmode=40000,user_id=0,group_id=0 far \"$0\"";
/// The file in it.
const FILM: &str = "film.mov";
const CONTENT: &[u8] = b"one frame after the other";

/// A file system with one file, served by a thread of the test: nothing where none can be mounted. It is mounted in a namespace of
/// the daemon's own, so that it hangs nobody else.
struct Far {
    device: File,
    /// Whether what is read is not answered any more.
    reads_hang: Arc<AtomicBool>,
    /// Whether a file that is given another name is not.
    renames_hang: Arc<AtomicBool>,
    /// Whether nothing is.
    all_hangs: Arc<AtomicBool>,
    /// Whether somebody has asked for that.
    is_asked_to_rename: Arc<AtomicBool>,
}

impl Far {
    fn new() -> Option<Far> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let Some(device) = device.ok().filter(|_| rustix::process::geteuid().is_root()) else {
            skipped("only root can mount a file system, where the kernel has FUSE");
            return None;
        };
        let (reads_hang, renames_hang, all_hangs, is_asked_to_rename) = Default::default();
        Some(Far { device, reads_hang, renames_hang, all_hangs, is_asked_to_rename })
    }

    /// Answers what is asked; what hangs, once it does not hang any more. The kernel lets no process end that waits for an answer
    /// to a question it has handed over, so everything is answered in the end.
    fn serve(&self) {
        let mut device = self.device.try_clone().unwrap();
        let (reads_hang, all_hangs) = (self.reads_hang.clone(), self.all_hangs.clone());
        let (renames_hang, is_asked_to_rename) = (self.renames_hang.clone(), self.is_asked_to_rename.clone());
        let mut asked = vec![0; 1 << 20];
        std::thread::spawn(move || {
            loop {
                let length = match device.read(&mut asked) {
                    Ok(length) => length,
                    // It is not mounted yet.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    }
                    Err(_) => return,
                };
                let question = Question::of(&asked[..length]);
                let (is_read, is_rename) = (question.kind == READ, RENAMES.contains(&question.kind));
                let (answer, mut device) = (question.whole_answer(), device.try_clone().unwrap());
                let hang = [(true, all_hangs.clone()), (is_read, reads_hang.clone()), (is_rename, renames_hang.clone())];
                let hangs = move || hang.iter().any(|(is_it, hangs)| *is_it && hangs.load(Ordering::Relaxed));
                is_asked_to_rename.fetch_or(is_rename, Ordering::Relaxed);
                let begun = Instant::now();
                let waits = hangs();
                let tell = move || {
                    while hangs() && begun.elapsed() < Duration::from_secs(200) {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    // What nobody waits for any more cannot be answered.
                    answer.map(|answer| device.write(&answer).ok());
                };
                if waits { drop(std::thread::spawn(tell)) } else { tell() }
            }
        });
    }

    /// Starts a daemon that has it mounted.
    fn start(&self, bench: &Bench) -> Daemon {
        self.start_after(&format!("{MOUNT} && "), bench)
    }

    /// Mounts it where this daemon sees it.
    fn mount_for(&self, daemon: &Daemon, bench: &Bench) {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &daemon.pid().to_string(), "sh", "-c", MOUNT]).arg(far(bench));
        let ended = command.stdin(Stdio::from(self.device.try_clone().unwrap())).status().unwrap();
        assert!(ended.success(), "{ended}");
    }

    fn start_after(&self, first: &str, bench: &Bench) -> Daemon {
        let log = File::options().create(true).append(true).open(bench.log_file()).unwrap();
        let script = format!("{first}exec \"$@\" </dev/null");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.arg(far(bench)).arg(env!("CARGO_BIN_EXE_ferryd")).arg("--config").arg(bench.config());
        command.args(["run", "--log", "info,ferryd=debug"]);
        command.stdin(Stdio::from(self.device.try_clone().unwrap())).stdout(Stdio::null()).stderr(log);
        Daemon::of(command)
    }
}

const READ: u32 = 15;
/// RENAME, RENAME2
const RENAMES: [u32; 2] = [12, 45];
const ENOSYS: i32 = -38;
const ENOENT: i32 = -2;

/// What the kernel asks: `fuse(4)`.
struct Question<'a> {
    kind: u32,
    unique: u64,
    node: u64,
    rest: &'a [u8],
}

impl<'a> Question<'a> {
    fn of(asked: &'a [u8]) -> Question<'a> {
        let word = |at: usize| u32::from_ne_bytes(asked[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(asked[at..at + 8].try_into().unwrap());
        Question { kind: word(4), unique: long(8), node: long(16), rest: &asked[40..] }
    }

    /// The answer as the kernel wants it; nothing where it wants none.
    fn whole_answer(&self) -> Option<Vec<u8>> {
        let (error, body) = self.answer()?;
        let mut answer = (16 + u32::try_from(body.len()).unwrap()).to_ne_bytes().to_vec();
        answer.extend(error.to_ne_bytes());
        answer.extend(self.unique.to_ne_bytes());
        answer.extend(body);
        Some(answer)
    }

    /// The error and the body; nothing where no answer is wanted.
    fn answer(&self) -> Option<(i32, Vec<u8>)> {
        let long = |at: usize| u64::from_ne_bytes(self.rest[at..at + 8].try_into().unwrap());
        let of = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        Some(match self.kind {
            // FORGET, BATCH_FORGET, INTERRUPT
            2 | 42 | 36 => return None,
            // LOOKUP
            1 if self.rest.strip_suffix(b"\0") == Some(FILM.as_bytes()) => {
                let valid = [2u64, 0, 60, 60].iter().flat_map(|long| long.to_ne_bytes());
                (0, valid.chain(of(&[0, 0])).chain(attributes(2)).collect())
            }
            1 => (ENOENT, Vec::new()),
            // GETATTR
            3 => (0, 60u64.to_ne_bytes().into_iter().chain(of(&[0, 0])).chain(attributes(self.node)).collect()),
            // OPEN, OPENDIR: past the page cache
            14 | 27 => (0, of(&[0, 0, 1, 0])),
            READ => (0, CONTENT[usize::try_from(long(8)).unwrap().min(CONTENT.len())..].to_vec()),
            // STATFS
            17 => (0, vec![0; 80]),
            // RELEASE, FLUSH, RELEASEDIR
            18 | 25 | 29 => (0, Vec::new()),
            // INIT
            26 => (0, of(&[7, 31, 0, 0, 0, 1 << 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            // READDIR
            28 if long(8) == 0 => {
                let head = [2u64, 1].iter().flat_map(|long| long.to_ne_bytes());
                let name = of(&[u32::try_from(FILM.len()).unwrap(), 8]).into_iter().chain(FILM.bytes());
                let mut entry: Vec<u8> = head.chain(name).collect();
                entry.resize(entry.len().next_multiple_of(8), 0);
                (0, entry)
            }
            28 => (0, Vec::new()),
            _ => (ENOSYS, Vec::new()),
        })
    }
}

/// Of the folder at the top, or of the file: old, and small.
fn attributes(node: u64) -> Vec<u8> {
    let bytes = if node == 1 { 0 } else { CONTENT.len() as u64 };
    let time = 1_700_000_000;
    let longs = [node, bytes, 1, time, time, time].into_iter().flat_map(u64::to_ne_bytes);
    let mode = if node == 1 { 0o040_755 } else { 0o100_644 };
    longs.chain([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0u32].into_iter().flat_map(u32::to_ne_bytes)).collect()
}

fn far(bench: &Bench) -> PathBuf {
    bench.dir.path().join(FAR)
}

fn bench() -> Bench {
    bench_with("")
}

/// The same with this in each watch.
fn bench_with(more: &str) -> Bench {
    let bench = Bench::new();
    let second = format!(
        "settle = \"0s\"\n{more}\n[[watch]]\npath = {:?}\nto = [\"cloudkp\"]\nsettle = \"0s\"\nsettle_unknown = \"0s\"\n{more}",
        far(&bench)
    );
    std::fs::create_dir(far(&bench)).unwrap();
    bench.watch(&second)
}

/// What is said of the watch on the file system that hangs.
fn why(bench: &Bench) -> Option<String> {
    let watches = bench.snapshot()?.watches;
    watches.into_iter().find(|watch| watch.path == far(bench))?.report.why
}

fn job_of(bench: &Bench, name: &str) -> Option<JobRow> {
    bench.jobs().into_iter().find(|job| job.path.ends_with(name))
}

/// Ends a daemon, and makes sure that it does not wait for what hangs. The grace for parts in flight is 20 s.
fn stop_soon(daemon: Daemon) {
    let begun = Instant::now();
    let ended = daemon.stop();
    assert!(ended.success() && begun.elapsed() < Duration::from_secs(15), "{ended} after {:?}", begun.elapsed());
}

#[test]
fn a_folder_that_hangs_keeps_no_other_folder_waiting_says_so_and_is_not_waited_for_at_the_end() {
    let Some(hung) = Far::new() else { return };
    let bench = bench();
    // Nobody serves it: even a look at its top is never answered.
    let daemon = hung.start(&bench);
    bench.put("near", b"near");
    bench.wait_for("a file of the other folder", || (bench.held("near") == [b"near"]).then_some(()));
    assert_eq!(why(&bench), None, "it may answer yet");
    bench.wait_for("a reason", || why(&bench).filter(|why| why.contains("has not answered for 30 s")));
    bench.wait_for("the daemon to say that it watches", || bench.log_text().contains(" watching").then_some(()));
    // A reload leaves the thread that hangs behind, too.
    daemon.signal(rustix::process::Signal::HUP);
    bench.wait_for("the reload", || bench.log_text().contains("configuration reloaded").then_some(()));
    bench.put("nearer", b"nearer");
    bench.wait_for("a file of the other folder", || (bench.held("nearer") == [b"nearer"]).then_some(()));
    stop_soon(daemon);
}

#[test]
fn a_file_whose_bytes_do_not_come_waits_with_the_reason_and_keeps_no_other_file_waiting() {
    let Some(served) = Far::new() else { return };
    let bench = bench();
    served.reads_hang.store(true, Ordering::Relaxed);
    served.serve();
    let daemon = served.start(&bench);
    let waits = |job: &JobRow| job.state == State::Waiting && format!("{:?}", job.why).contains("has not answered for 30 s");
    bench.wait_for("the file that hangs to be tried", || job_of(&bench, FILM).filter(|job| job.attempts > 0));
    bench.put("near", b"near");
    bench.wait_for("a file of the other folder", || (bench.held("near") == [b"near"]).then_some(()));
    bench.wait_for("the job to wait", || job_of(&bench, FILM).filter(waits));
    served.reads_hang.store(false, Ordering::Relaxed);
    bench.wait_for("the file when it is read again", || (bench.held(FILM) == [CONTENT]).then_some(()));
    stop_soon(daemon);
}

#[test]
fn a_file_system_that_is_mounted_on_a_watch_later_is_met_and_hangs_no_other_folder_either() {
    let Some(served) = Far::new() else { return };
    let bench = bench();
    served.serve();
    let daemon = served.start_after("", &bench);
    bench.wait_for("the daemon to watch", || bench.log_text().contains(" watching").then_some(()));
    served.mount_for(&daemon, &bench);
    bench.wait_for("the file on it", || (bench.held(FILM) == [CONTENT]).then_some(()));
    served.all_hangs.store(true, Ordering::Relaxed);
    bench.wait_for("a reason", || why(&bench).filter(|why| why.contains("has not answered for 30 s")));
    bench.put("near", b"near");
    bench.wait_for("a file of the other folder", || (bench.held("near") == [b"near"]).then_some(()));
    served.all_hangs.store(false, Ordering::Relaxed);
    bench.wait_for("it to answer again", || why(&bench).filter(|why| !why.contains("has not answered")));
    stop_soon(daemon);
}

/// Has the daemon remove what is uploaded, and waits until it hangs in that on the one file system.
fn hung_in_a_deletion() -> Option<(Far, Bench, Daemon)> {
    let served = Far::new()?;
    let bench = bench_with("after = \"delete\"\n").host("trust_replies = true");
    let bench = bench.change("[daemon]\n", "[daemon]\nshutdown_grace = \"10s\"\n");
    served.renames_hang.store(true, Ordering::Relaxed);
    served.serve();
    let daemon = served.start(&bench);
    bench.wait_for("the file to be removed", || served.is_asked_to_rename.load(Ordering::Relaxed).then_some(()));
    Some((served, bench, daemon))
}

#[test]
fn a_deletion_that_hangs_keeps_no_other_deletion_waiting_and_says_so() {
    let Some((served, bench, daemon)) = hung_in_a_deletion() else { return };
    for number in 0..5 {
        bench.put(&format!("near{number}"), b"near");
    }
    let is_empty = || std::fs::read_dir(bench.dir.path().join("drop")).unwrap().next().is_none();
    bench.wait_for("the files of the other folder to be uploaded and removed", || {
        (bench.held("near4") == [b"near"] && is_empty()).then_some(())
    });
    served.all_hangs.store(true, Ordering::Relaxed);
    let says_so = |job: &JobRow| format!("{:?}", job.why).contains("has not answered for 30 s");
    bench.wait_for("a reason", || job_of(&bench, FILM).filter(says_so));
    stop_while_it_hangs(&served, &bench, daemon, Duration::from_secs(8));
}

#[test]
fn a_deletion_that_has_just_begun_to_hang_is_waited_for_no_longer_than_the_grace() {
    let Some((served, bench, daemon)) = hung_in_a_deletion() else { return };
    stop_while_it_hangs(&served, &bench, daemon, Duration::from_secs(13));
}

/// The daemon has ended for itself within the limit. The kernel keeps what is left of its process until the question is answered.
fn stop_while_it_hangs(served: &Far, bench: &Bench, mut daemon: Daemon, limit: Duration) {
    let begun = Instant::now();
    daemon.signal(rustix::process::Signal::TERM);
    bench.wait_for("the daemon to say that it has stopped", || bench.log_text().contains(": stopped\n").then_some(()));
    assert!(begun.elapsed() < limit, "after {:?}", begun.elapsed());
    served.all_hangs.store(false, Ordering::Relaxed);
    served.renames_hang.store(false, Ordering::Relaxed);
    assert!(bench.wait_for("its end", || daemon.ended()).success());
}
