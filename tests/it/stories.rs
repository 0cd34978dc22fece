//! What happens to files: written slowly, renamed, changed, moved, dropped in a burst.

use std::fs::{File, OpenOptions};
use std::io::Write;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::time::Duration;

use ferryd::internals::job::watch::EventSource;
use ferryd::internals::job::{ReasonClass, State, WatchState};
use ferryd::internals::store::{Query, View};
use ferryd_sandbox::faults::{Action, Endpoint, When};

#[cfg(target_os = "linux")]
use crate::bench_top::Daemon;
use crate::bench_top::{Bench, bytes, one, peak_resident};
use crate::world::requests;

#[test]
fn a_file_that_is_still_being_written_is_never_sent_early() {
    let bench = Bench::new().watch("settle = \"2s\"");
    let daemon = bench.start();
    bench.wait_watching();
    let path = bench.drop_dir().join("slow");
    let mut content = Vec::new();
    // Each append opens and closes the file: only the quiet time tells that it is not the last.
    for step in 0..8 {
        let piece = bytes(step, 10_000);
        OpenOptions::new().create(true).append(true).open(&path).unwrap().write_all(&piece).unwrap();
        content.extend(piece);
        std::thread::sleep(Duration::from_millis(120));
    }
    bench.wait_done(1);
    assert_eq!(bench.jobs().len(), 1, "no earlier version was taken up: {:#?}", bench.jobs());
    assert!(bench.held("slow") == [content]);
    bench.stop(daemon);
}

#[test]
fn a_writer_that_pauses_longer_than_settle_is_waited_for() {
    let bench = Bench::new().watch("settle = \"50ms\"");
    let daemon = bench.start();
    bench.wait_watching();
    let mut file = File::create(bench.drop_dir().join("held-open")).unwrap();
    file.write_all(b"first half, ").unwrap();
    // Another file arrives and settles meanwhile, so the watcher has had every chance to take the first one.
    std::thread::sleep(Duration::from_millis(200));
    bench.put("other", b"other");
    bench.wait_done(1);
    assert!(bench.held("held-open").is_empty(), "taken while its writer had it open");
    file.write_all(b"second half").unwrap();
    drop(file);
    bench.wait_done(2);
    assert!(bench.held("held-open") == [b"first half, second half".to_vec()]);
    bench.stop(daemon);
}

#[test]
fn a_file_written_under_a_temporary_name_arrives_once_under_its_own() {
    let bench = Bench::new();
    let daemon = bench.start();
    bench.wait_watching();
    let (part, whole) = (bench.drop_dir().join("film.mov.part"), bench.drop_dir().join("film.mov"));
    std::fs::write(&part, b"film").unwrap();
    bench.put("other", b"other");
    bench.wait_done(1);
    std::fs::rename(part, whole).unwrap();
    bench.wait_done(2);
    assert!(bench.held("film.mov") == [b"film".to_vec()]);
    assert!(bench.held("film.mov.part").is_empty());
    bench.stop(daemon);
}

#[test]
fn a_file_changed_while_it_is_sent_ends_as_gone_and_its_new_version_arrives() {
    let bench = Bench::new().host("bandwidth = \"3 MiB/s\"");
    let (first, second) = (bytes(1, 3_000_000), bytes(2, 3_000_000));
    let path = bench.put("changing", &first);
    let daemon = bench.start();
    bench.wait_for("some chunks at the host", || (bench.sandbox.stats().parts_acked >= 4).then_some(()));
    std::fs::write(&path, &second).unwrap();
    bench.wait_done(1);
    let states: Vec<State> = bench.jobs().iter().map(|job| job.state).collect();
    assert!(states.contains(&State::Gone) && states.contains(&State::Done), "{states:?}");
    assert!(bench.held("changing") == [second], "the host holds the new version and nothing else");
    let gone = bench.jobs().into_iter().find(|job| job.state == State::Gone).unwrap();
    assert_eq!(gone.why.unwrap().class, ReasonClass::FileChanged);
    bench.stop(daemon);
}

#[test]
fn a_file_deleted_while_it_is_sent_ends_as_gone() {
    let bench = Bench::new().host("bandwidth = \"2 MiB/s\"");
    let path = bench.put("doomed", &bytes(1, 2_000_000));
    let daemon = bench.start();
    bench.wait_for("some chunks at the host", || (bench.sandbox.stats().parts_acked >= 2).then_some(()));
    std::fs::remove_file(path).unwrap();
    let why = bench.wait_state(State::Gone).why.unwrap();
    assert!(matches!(why.class, ReasonClass::FileChanged | ReasonClass::FileVanished), "{why}");
    bench.stop(daemon);
    assert!(bench.sandbox.objects().is_empty() && requests(&bench, Endpoint::Finish).is_empty(), "half a file is no file");
}

#[test]
fn a_file_renamed_while_it_is_sent_goes_on_and_is_sent_once() {
    for target in ["renamed", "folder/below", "in the place of another"] {
        let bench = Bench::new().watch("settle = \"0s\"\nrescan = \"24h\"").host("bandwidth = \"3 MiB/s\"");
        let content = bytes(1, 3_000_000);
        let daemon = bench.start();
        bench.wait_watching();
        std::fs::create_dir(bench.drop_dir().join("folder")).unwrap();
        bench.put("in the place of another", b"another");
        bench.wait_done(1);
        let path = bench.put("film", &content);
        bench.wait_for("some chunks at the host", || (bench.sandbox.stats().parts_acked >= 5).then_some(()));
        std::fs::rename(path, bench.drop_dir().join(target)).unwrap();
        bench.wait_done(2);
        assert_eq!(bench.held("film"), [content], "{target}: {:#?}", bench.jobs());
        assert_eq!((bench.sandbox.stats().objects_stored, bench.sandbox.stats().parts_again), (2, 0), "{target}");
        let moved = bench.wait_for("the job to follow its file", || {
            bench.jobs().into_iter().find(|job| job.path.ends_with(target) && job.bytes == 3_000_000)
        });
        assert_eq!(moved.state, State::Done, "{target}");
        bench.stop(daemon);
    }
}

/// What a restored backup, a new disk and a move to another machine have in common: paths, sizes and times are the same, and
/// nothing else.
fn restore(bench: &Bench) {
    let aside = bench.dir.path().join("aside");
    std::fs::rename(bench.drop_dir(), &aside).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&aside).arg(bench.drop_dir()).status().unwrap();
    assert!(copied.success());
    // Kept until here, so that no number of an inode is used again.
    std::fs::remove_dir_all(aside).unwrap();
}

#[test]
fn files_restored_from_a_backup_are_not_uploaded_again() {
    let bench = Bench::new();
    for number in 0..50 {
        bench.put(&format!("folder {}/{number}", number % 7), &bytes(number, 1000));
    }
    let daemon = bench.start();
    bench.wait_done(50);
    bench.stop(daemon);
    for _ in 0..2 {
        restore(&bench);
        let daemon = bench.start();
        bench.wait_watching();
        assert_eq!((bench.jobs().len(), bench.sandbox.objects().len()), (50, 50));
        bench.stop(daemon);
    }
    // The new numbers are known: a rename is found by them.
    let from = bench.drop_dir().join("folder 3/3");
    std::fs::rename(from, bench.drop_dir().join("three")).unwrap();
    std::fs::write(bench.drop_dir().join("folder 0/0"), b"another version").unwrap();
    let daemon = bench.start();
    bench.wait_done(51);
    assert_eq!((bench.jobs().len(), bench.sandbox.objects().len()), (51, 51));
    bench.stop(daemon);
}

/// A copy of the whole folder on another disk, in the place of the folder: other numbers of devices and inodes, other births and changes of
/// inodes. Then both the folder and the queue are copied once more, as to another machine.
#[cfg(target_os = "linux")]
#[test]
fn many_files_that_come_back_on_another_disk_are_not_sent_again() {
    let files = std::env::var("FERRYD_MANY").map_or(1000, |many| many.parse().unwrap());
    let bench = Bench::new();
    for number in 0..files {
        let folder = bench.drop_dir().join(format!("{}", number % 100));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{number}")), number.to_string()).unwrap();
    }
    let daemon = bench.start();
    let jobs = |wanted: &dyn Fn(State) -> bool| {
        let query = Query { limit: 1, ..Query::default() };
        let snapshot = View::open(&bench.state_dir()).ok()??.snapshot(&query).ok()?;
        Some(snapshot.totals.iter().filter(|(state, _)| wanted(*state)).map(|(_, jobs)| *jobs as usize).sum::<usize>())
    };
    bench.wait_for("every file", || (jobs(&|state| state == State::Done) == Some(files)).then_some(()));
    bench.stop(daemon);
    let sent = bench.sandbox.stats().body_bytes;
    let script = "mount -t tmpfs -o mode=700 tmpfs \"$2\" && cp -a \"$1/.\" \"$2\" && shift 2 && exec \"$@\"";
    let aside = bench.dir.path().join("aside");
    std::fs::rename(bench.drop_dir(), &aside).unwrap();
    std::fs::create_dir(bench.drop_dir()).unwrap();
    for copy in 0..2 {
        if copy == 1 {
            let (old, new) = (bench.dir.path().join("old state"), bench.state_dir());
            std::fs::rename(&new, &old).unwrap();
            assert!(Command::new("cp").arg("-a").arg(&old).arg(&new).status().unwrap().success());
        }
        let mut command = Command::new("unshare");
        command.args(["-r", "-m", "sh", "-c", script, "sh"]).arg(&aside).arg(bench.drop_dir());
        command.arg(env!("CARGO_BIN_EXE_ferryd")).arg("--config").arg(bench.config()).args(["run", "--log", "info"]);
        let before = bench.log_text().matches(" watching").count();
        let daemon = Daemon::spawn(command, &bench);
        let begun = std::time::Instant::now();
        bench.wait_for("the daemon to have looked at all", || {
            (bench.log_text().matches(" watching").count() > before).then_some(())
        });
        println!("copied, started and looked at {files} files in {:?}", begun.elapsed());
        assert_eq!((jobs(&|_| true), bench.sandbox.objects().len()), (Some(files), files));
        assert_eq!(bench.sandbox.stats().body_bytes, sent);
        daemon.stop();
    }
}

#[test]
fn a_half_sent_file_that_is_restored_from_a_backup_is_sent_once_and_by_one_job() {
    let bench = Bench::new().host("bandwidth = \"3 MiB/s\"");
    let content = bytes(1, 2_000_000);
    bench.put("film", &content);
    let daemon = bench.start();
    bench.wait_for("some chunks at the host", || (bench.sandbox.stats().parts_acked >= 4).then_some(()));
    daemon.kill();
    restore(&bench);
    let daemon = bench.start();
    bench.wait_done(1);
    let live = bench.jobs().iter().filter(|job| job.state != State::Gone).count();
    assert_eq!((live, bench.sandbox.objects().len()), (1, 1), "{:#?}", bench.jobs());
    assert!(bench.held("film") == [content]);
    bench.stop(daemon);
}

#[test]
fn a_renamed_file_is_not_uploaded_again_and_a_changed_one_is() {
    let bench = Bench::new();
    let daemon = bench.start();
    let path = bench.put("old name", b"one");
    bench.wait_done(1);
    let renamed = bench.drop_dir().join("new name");
    std::fs::rename(&path, &renamed).unwrap();
    let folder = bench.drop_dir().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::rename(&renamed, folder.join("third name")).unwrap();
    bench.put("another", b"two");
    bench.wait_done(2);
    bench.stop(daemon);
    // Also when nobody watched it happen.
    std::fs::rename(folder.join("third name"), &renamed).unwrap();
    let daemon = bench.start();
    bench.wait_watching();
    assert_eq!(bench.jobs().len(), 2, "{:#?}", bench.jobs());
    std::fs::write(&renamed, b"one, changed").unwrap();
    bench.wait_done(3);
    assert!(bench.held("new name") == [b"one, changed".to_vec()]);
    bench.stop(daemon);
}

#[test]
fn odd_names_arrive() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new().watch("settle = \"0s\"\nexclude = []");
    let daemon = bench.start();
    bench.wait_watching();
    let names: [&[u8]; 7] = [b"a b", "ünï".as_bytes(), b"-dash", b"q\"uo'te", b"new\nline", b"caf\xe9", b".hidden"];
    for name in names {
        std::fs::write(bench.drop_dir().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    bench.wait_done(names.len());
    let mut held: Vec<String> = bench.sandbox.objects().into_iter().map(|object| object.name).collect();
    held.sort();
    assert_eq!(held, ["-dash", ".hidden", "a b", "caf\u{fffd}", "new_line", "q\"uo'te", "ünï"]);
    bench.stop(daemon);
}

#[test]
fn a_burst_over_many_new_nested_folders_loses_nothing_in_little_memory() {
    // The full size takes longer than a test should: FERRYD_BURST=20000.
    let count: usize = std::env::var("FERRYD_BURST").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    let bench = Bench::with(|options| options.discard = true);
    let daemon = bench.start();
    bench.wait_watching();
    for folder in 0..200 {
        let path = bench.drop_dir().join(format!("{}/{}/{folder}", folder % 5, folder % 20));
        std::fs::create_dir_all(&path).unwrap();
        for file in 0..count / 200 {
            std::fs::write(path.join(format!("{file}")), bytes(file as u64, 1024)).unwrap();
        }
    }
    let count = count / 200 * 200;
    bench.wait_for("every file", || {
        (bench.snapshot()?.totals.iter().find(|(state, _)| *state == State::Done)?.1 >= count as u64).then_some(())
    });
    assert_eq!(bench.sandbox.stats().objects_stored, count as u64, "each once");
    if let Some(peak) = peak_resident(daemon.pid()) {
        println!("{count} files: peak resident {} KiB", peak / 1024);
        assert!(peak <= 10 * 1024 * 1024, "{} KiB resident", peak / 1024);
    }
    bench.stop(daemon);
}

#[test]
fn a_watch_that_takes_no_existing_files_takes_those_that_come_later() {
    let bench = Bench::new().watch("settle = \"0s\"\nexisting = false");
    let old = bench.put("old", b"old");
    // Older than the margin towards sending.
    let changed = std::fs::metadata(&old).unwrap().modified().unwrap();
    bench.wait_for("the file to be old", || changed.elapsed().is_ok_and(|age| age > Duration::from_millis(1500)).then_some(()));
    let daemon = bench.start();
    bench.wait_watching();
    bench.put("new", b"new");
    bench.wait_done(1);
    bench.stop(daemon);
    let daemon = bench.start();
    bench.wait_watching();
    assert!(bench.held("old").is_empty(), "a restart does not take what was passed over");
    std::fs::write(old, b"old, changed").unwrap();
    bench.wait_done(2);
    bench.stop(daemon);
}

#[test]
fn a_folder_that_is_missing_at_the_start_says_so_and_is_taken_up_when_it_comes() {
    let bench = Bench::new();
    std::fs::remove_dir(bench.drop_dir()).unwrap();
    let daemon = bench.start();
    bench.wait_for("the watch to be missing", || {
        bench.snapshot()?.watches.into_iter().find(|watch| watch.report.state == WatchState::Missing)
    });
    bench.put("file", b"content");
    bench.wait_done(1);
    bench.stop(daemon);
}

#[test]
fn a_missing_folder_is_found_when_it_comes_and_stops_nothing_else() {
    let bench = Bench::new();
    std::fs::remove_dir(bench.drop_dir()).unwrap();
    let daemon = bench.start();
    bench.wait_for("the watch to be missing", || {
        bench.snapshot()?.watches.into_iter().find(|watch| watch.report.state == WatchState::Missing)
    });
    std::fs::create_dir(bench.drop_dir()).unwrap();
    bench.put("late", b"late");
    bench.wait_done(1);
    bench.stop(daemon);
}

#[test]
fn folders_that_are_polled_give_their_files_too() {
    let bench = Bench::new().watch("settle = \"0s\"\nevents = \"poll\"");
    let daemon = bench.start();
    bench.wait_watching();
    bench.put("polled", b"polled");
    bench.wait_done(1);
    assert_eq!(bench.snapshot().unwrap().watches[0].report.events, EventSource::Poll);
    bench.stop(daemon);
}

#[test]
fn a_stop_lets_parts_in_flight_arrive_and_a_second_one_does_not_wait() {
    let bench = Bench::new().host("bandwidth = \"2 MiB/s\"");
    bench.put("long", &bytes(3, 6_000_000));
    let daemon = bench.start();
    bench.wait_for("a chunk at the host", || (bench.sandbox.stats().parts_acked >= 1).then_some(()));
    bench.stop(daemon);
    let stats = bench.sandbox.stats();
    assert_eq!(stats.parts_again, 0);
    let acked = bench.jobs()[0].parts_acked;
    assert_eq!(acked, stats.parts_acked, "every chunk that the host took is known");

    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 60.0 }));
    let mut daemon = bench.start();
    bench.wait_watching();
    let held = bench.jobs()[0].sent;
    bench.wait_for("a chunk on its way", || (bench.jobs()[0].sent > held).then_some(()));
    daemon.signal(rustix::process::Signal::TERM);
    bench.wait_for("the first signal to be heard", || {
        (bench.log_text().matches("signal again to quit at once").count() == 2).then_some(())
    });
    // Within a second it is the same request; then it is another.
    let ended = bench.wait_for("its end", || {
        daemon.signal(rustix::process::Signal::TERM);
        daemon.ended()
    });
    assert_eq!(ended.code(), Some(1), "{ended}");
}
