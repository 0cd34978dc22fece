//! Symbolic links, pipes and other surprises that somebody lays out in a folder that others may write: nothing outside the folder
//! is read, written or removed for them, and nothing hangs.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferryd::internals::job::{Reason, ReasonClass, State};

#[cfg(target_os = "linux")]
use crate::bench_top::bytes;
use crate::bench_top::{Bench, peak_resident};
#[cfg(target_os = "linux")]
use crate::events::stands_still;
#[cfg(target_os = "linux")]
use {
    rand::{RngExt, SeedableRng},
    rustix::fs::{CWD, RenameFlags, renameat_with},
    rustix::process::Signal,
    std::sync::atomic::{AtomicBool, AtomicU64, Ordering},
    std::time::Duration,
};

const SIDECAR: &str = "\n[[hook]]\non = [\"done\"]\nsidecar = true";

/// A folder beside the watched one with a file in it that is nobody else's business.
fn private(bench: &Bench) -> PathBuf {
    let folder = bench.dir.path().join("private");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("secret"), "secret").unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn why(bench: &Bench) -> String {
    // Before the hook has run, the job only waits for it.
    let failed = |why: &Reason| why.class != ReasonClass::WaitsForHook;
    let uploaded = || bench.jobs().into_iter().find_map(|job| job.why.filter(|why| job.state == State::Uploaded && failed(why)));
    bench.wait_for("a reason", uploaded).to_string()
}

#[test]
fn a_sidecar_is_never_written_through_a_link_of_a_foreseen_name() {
    let bench = Bench::new().host(SIDECAR);
    let secret = private(&bench).join("secret");
    for job in 1..10 {
        symlink(&secret, bench.drop_dir().join(format!(".ferryd-{job}.tmp.ferryd.json"))).unwrap();
    }
    bench.put("$(touch pwned).mov", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret", "a file outside the folder was overwritten");
    let sidecar = std::fs::read_to_string(bench.drop_dir().join("$(touch pwned).mov.ferryd.json")).unwrap();
    assert!(sidecar.contains("\"hosts\""), "{sidecar}");
    bench.stop(daemon);
}

#[test]
fn a_pipe_in_the_place_of_a_sidecar_is_said_and_hangs_nothing() {
    let bench = Bench::new().host(SIDECAR);
    let pipe = bench.drop_dir().join("a.mov.ferryd.json");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    bench.put("a.mov", b"content");
    let daemon = bench.start();
    let why = why(&bench);
    assert!(why.contains("a.mov.ferryd.json") && why.contains("not a regular file"), "{why}");
    assert_eq!(names(&bench.drop_dir()), ["a.mov", "a.mov.ferryd.json"], "it is still there, and nothing beside it");
    std::fs::remove_file(&pipe).unwrap();
    bench.wait_done(1);
    assert!(std::fs::read_to_string(&pipe).unwrap().contains("\"hosts\""));
    bench.stop(daemon);
}

#[test]
fn a_huge_file_in_the_place_of_a_sidecar_costs_no_memory() {
    let bench = Bench::new().host(SIDECAR);
    let huge = std::fs::File::create(bench.drop_dir().join("a.mov.ferryd.json")).unwrap();
    huge.set_len(3 << 30).unwrap();
    bench.put("a.mov", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    if let Some(peak) = peak_resident(daemon.pid()) {
        assert!(peak < 256 << 20, "{} MiB", peak >> 20);
    }
    bench.stop(daemon);
}

#[cfg(target_os = "linux")]
#[test]
fn a_subfolder_that_becomes_a_link_gives_nothing_away() {
    let bench = Bench::new().watch("settle = \"0s\"\nafter = \"delete\"").host("trust_replies = true");
    let private = private(&bench);
    let daemon = bench.start();
    bench.put("sub/first", b"first");
    bench.wait_done(1);
    daemon.signal(Signal::STOP);
    bench.wait_for("the daemon to stand still", || stands_still(daemon.pid()).then_some(()));
    // It will hear of a file in the folder, and then find a link in the folder's place.
    let sub = bench.drop_dir().join("sub");
    std::fs::write(sub.join("secret"), "bait").unwrap();
    std::fs::rename(&sub, bench.dir.path().join("aside")).unwrap();
    symlink(&private, &sub).unwrap();
    daemon.signal(Signal::CONT);
    bench.put("last", b"last");
    bench.wait_for("the last file", || (bench.held("last") == [b"last"]).then_some(()));
    bench.wait_for("the queue to come to rest", || bench.jobs().iter().all(|job| job.state.is_final()).then_some(()));
    assert_eq!(bench.held("secret"), Vec::<Vec<u8>>::new(), "a file outside the folder was uploaded");
    assert_eq!(names(&private), ["secret"], "a file outside the folder was removed");
    bench.stop(daemon);
}

/// Whoever may write to a watched folder swaps a folder in it for a link, and back, while files in it are looked at, read and removed.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_is_swapped_for_a_link_a_hundred_times_at_random_gives_nothing_away() {
    const FILES: u64 = 100;
    let bench = Bench::new().watch("settle = \"0s\"\nafter = \"delete\"\nrescan = \"1s\"").host("trust_replies = true");
    let private = private(&bench);
    let kept = std::fs::read(private.join("secret")).unwrap();
    let (sub, link) = (bench.drop_dir().join("sub"), bench.dir.path().join("link"));
    std::fs::create_dir(&sub).unwrap();
    symlink(&private, &link).unwrap();
    let folder = std::fs::File::open(&sub).unwrap();
    // Wherever its name is.
    let inside = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder)));
    let daemon = bench.start();
    bench.wait_watching();
    let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = rand::rngs::StdRng::seed_from_u64(5);
            while !done.load(Ordering::Relaxed) || swaps.load(Ordering::Relaxed) % 2 == 1 {
                renameat_with(CWD, &sub, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(rng.random_range(0..3000)));
            }
        });
        for number in 0..FILES {
            std::fs::write(inside.join("secret"), bytes(number, 100)).unwrap();
            let before = swaps.load(Ordering::Relaxed);
            bench.wait_for("a few swaps", || (swaps.load(Ordering::Relaxed) > before + 8).then_some(()));
        }
        done.store(true, Ordering::Relaxed);
    });
    bench.put("sub/last", b"last");
    bench.wait_for("the last file", || (bench.held("last") == [b"last"]).then_some(()));
    bench.wait_for("the queue to come to rest", || bench.jobs().iter().all(|job| job.state.is_final()).then_some(()));
    assert!(!bench.held("secret").is_empty(), "nothing was tried");
    assert!(bench.held("secret").iter().all(|held| *held != kept), "a file outside the folder was uploaded");
    assert_eq!(names(&private), ["secret"], "a file outside the folder was removed, or one was put there");
    assert_eq!(std::fs::read(private.join("secret")).unwrap(), kept);
    bench.stop(daemon);
}

#[test]
fn what_is_reached_through_links_is_neither_deleted_nor_moved_so_the_configuration_is_refused() {
    let moved = format!("{{ move = {:?} }}", "/nowhere/sent");
    for after in ["\"delete\"", &moved] {
        let bench = Bench::new().watch(&format!("follow_symlinks = true\nafter = {after}")).host("trust_replies = true");
        let secret = private(&bench).join("secret");
        symlink(&secret, bench.drop_dir().join("file link")).unwrap();
        let ended = bench.command(&["run"]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(3), "{said}");
        assert!(said.contains("with `follow_symlinks`") && secret.exists(), "{said}");
    }
}
