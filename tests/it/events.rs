//! The kernel's limits on events are reached: no more watches, and more events than its queue holds. Linux alone has both.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ferryd::internals::job::watch::EventSource;
use ferryd::internals::job::{WatchReport, WatchState};
use rustix::process::Signal;

use crate::bench_top::{Bench, Daemon};
use crate::skip::skipped;

/// Starts the daemon where the kernel allows so many watches: in a user namespace, whose own limit its root may set.
fn start_with_few_watches(bench: &Bench, watches: u32) -> Daemon {
    let script = format!("echo {watches} > /proc/sys/user/max_inotify_watches && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-r", "sh", "-c", &script, "sh"]).arg(env!("CARGO_BIN_EXE_ferryd"));
    command.arg("--config").arg(bench.config()).arg("run");
    Daemon::spawn(command, bench)
}

fn wait_for_events(bench: &Bench, events: EventSource) -> WatchReport {
    bench.wait_for(&format!("the watch to be noticed by {}", events.word()), || {
        let mut reports = bench.snapshot()?.watches.into_iter().map(|watch| watch.report);
        reports.find(|report| report.state == WatchState::Watching && report.events == events)
    })
}

fn put_in_each(bench: &Bench, folders: usize, name: &str) {
    (0..folders).for_each(|folder| drop(bench.put(&format!("{folder}/{name}-{folder}"), name.as_bytes())));
}

fn assert_each_is_there_once(bench: &Bench, folders: usize, name: &str) {
    for folder in 0..folders {
        assert_eq!(bench.held(&format!("{name}-{folder}")), [name.as_bytes()], "{name} in folder {folder}");
    }
}

fn assert_said(bench: &Bench, report: &WatchReport) {
    let why = report.why.as_deref().unwrap_or_default();
    assert!(why.contains("limit on watches") && why.contains("fs.inotify.max_user_watches"), "{why}");
    let shown = bench.command(&["status"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("limit on watches"), "{shown}");
}

#[test]
fn more_folders_than_the_kernel_watches_are_scanned_and_status_says_so() {
    let bench = Bench::new();
    put_in_each(&bench, 8, "before");
    let daemon = start_with_few_watches(&bench, 4);
    bench.wait_done(8);
    assert_said(&bench, &wait_for_events(&bench, EventSource::Poll));
    put_in_each(&bench, 8, "after");
    bench.wait_done(16);
    assert_each_is_there_once(&bench, 8, "before");
    assert_each_is_there_once(&bench, 8, "after");
    daemon.kill();
}

#[test]
fn folders_that_come_when_no_more_can_be_watched_are_scanned_too() {
    let bench = Bench::new();
    // The folder, each one on the way to it, and some more.
    let daemon = start_with_few_watches(&bench, 3 + bench.drop_dir().ancestors().count() as u32);
    wait_for_events(&bench, EventSource::Native);
    put_in_each(&bench, 8, "first");
    assert_said(&bench, &wait_for_events(&bench, EventSource::Poll));
    bench.wait_done(8);
    put_in_each(&bench, 8, "second");
    bench.wait_done(16);
    assert_each_is_there_once(&bench, 8, "first");
    assert_each_is_there_once(&bench, 8, "second");
    daemon.kill();
}

#[test]
fn events_that_the_kernel_dropped_are_a_gap_and_no_file_is_missed() {
    let queue = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    if queue > 200_000 {
        return skipped(&format!("the kernel keeps {queue} events here, which takes too long to fill"));
    }
    let bench = Bench::new();
    let daemon = bench.start();
    bench.wait_watching();
    daemon.signal(Signal::STOP);
    bench.wait_for("the daemon to stand still", || stands_still(daemon.pid()).then_some(()));
    // Two events each, about a name that does not count.
    let (one, other) = (bench.drop_dir().join("a.part"), bench.drop_dir().join("b.part"));
    std::fs::write(&one, b"x").unwrap();
    for _ in 0..queue / 4 + 500 {
        std::fs::rename(&one, &other).unwrap();
        std::fs::rename(&other, &one).unwrap();
    }
    put_in_each(&bench, 20, "unheard");
    daemon.signal(Signal::CONT);
    bench.wait_done(20);
    assert_each_is_there_once(&bench, 20, "unheard");
    let watch =
        bench.wait_for("the gap to be told", || bench.snapshot()?.watches.into_iter().find(|watch| watch.report.gaps_seen > 0));
    assert_eq!((watch.report.gaps_seen, watch.report.events), (1, EventSource::Native));
    bench.put("heard", b"heard");
    bench.wait_done(21);
    bench.stop(daemon);
}

/// Whether every thread of a process that was sent SIGSTOP has stopped.
pub(crate) fn stands_still(pid: u32) -> bool {
    let tasks = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).unwrap();
    let state = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
    tasks.flatten().all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(state))
}

/// Nothing may wake up that somebody has not told to, so no load of this machine makes it fail: only a daemon that looks every few seconds
/// never has so long a rest.
#[test]
fn a_daemon_that_has_nothing_to_do_does_not_wake_up() {
    const REST: Duration = Duration::from_secs(11);
    let bench = Bench::new();
    let daemon = bench.start();
    bench.wait_watching();
    bench.put("file", b"done before");
    bench.wait_done(1);
    let rests = std::iter::repeat_with(|| {
        let before = sleeps(daemon.pid());
        std::thread::sleep(REST);
        sleeps(daemon.pid()) == before
    });
    assert!(rests.take(4).any(|rested| rested), "it wakes up again and again");
    bench.stop(daemon);
}

/// How often each thread has gone to sleep by itself.
fn sleeps(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).unwrap();
    let count = |status: String| status.lines().find(|line| line.starts_with("voluntary")).map(str::to_owned);
    let mut counts: Vec<String> =
        tasks.flatten().filter_map(|task| count(std::fs::read_to_string(task.path().join("status")).ok()?)).collect();
    counts.sort();
    counts
}

/// Nothing looks by itself meanwhile: the next look is minutes away.
#[test]
fn another_folder_in_the_place_of_one_above_the_watch_is_met_at_once() {
    let bench = Bench::new();
    let (above, away) = (bench.dir.path().join("above"), bench.dir.path().join("away"));
    let watched = above.join("watched");
    std::fs::create_dir_all(&watched).unwrap();
    let bench = bench.watch(&format!("settle = \"0s\"\n[[watch]]\npath = {watched:?}\nto = [\"cloudkp\"]\nsettle = \"0s\""));
    let daemon = bench.start();
    bench.wait_watching();
    std::fs::write(watched.join("first"), "one").unwrap();
    bench.wait_done(1);
    for (done, name) in [(2, "second"), (3, "third")] {
        std::fs::rename(&above, away.with_extension(name)).unwrap();
        // It is not missed for long enough to be looked for.
        std::fs::create_dir_all(&watched).unwrap();
        std::fs::write(watched.join(name), name).unwrap();
        bench.wait_done(done);
        assert!(bench.held(name) == [name.as_bytes()]);
    }
    bench.stop(daemon);
}
