//! A clock that was wrong: what was written by it delays nothing for long once it is right.
#![cfg(target_os = "linux")]

use std::path::PathBuf;

use ferryd::internals::job::State;
use ferryd::internals::job::health::HostState;
use ferryd_sandbox::faults::{Action, Endpoint, RetryAfter, Script, When};

use crate::bench_top::{Bench, Daemon, one};

const YEAR: i64 = 365 * 24 * 3600;

/// A clock for a daemon that can be set while it runs.
pub(crate) struct Clock {
    shim: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is ahead by so many seconds.
    pub(crate) fn ahead(bench: &Bench, seconds: i64) -> Clock {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock.c");
        let clock = Clock { shim: bench.dir.path().join("clock.so"), file: bench.dir.path().join("clock") };
        let built = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&clock.shim).arg(source).status();
        assert!(built.unwrap().success(), "the C compiler that builds SQLite builds this, too");
        clock.set(seconds);
        clock
    }

    pub(crate) fn set(&self, seconds: i64) {
        let aside = self.file.with_extension("next");
        std::fs::write(&aside, seconds.to_string()).unwrap();
        std::fs::rename(aside, &self.file).unwrap();
    }

    fn start(&self, bench: &Bench) -> Daemon {
        self.start_with(bench, &[])
    }

    /// A daemon for which time itself passes when this clock is set ahead.
    pub(crate) fn start_in_its_time(&self, bench: &Bench) -> Daemon {
        self.start_with(bench, &[("FERRYD_TEST_ALL_CLOCKS", "1")])
    }

    fn start_with(&self, bench: &Bench, more: &[(&str, &str)]) -> Daemon {
        let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let (shim, file) = (path(&self.shim), path(&self.file));
        let environment = [("LD_PRELOAD", shim.as_str()), ("FERRYD_TEST_CLOCK", file.as_str())];
        bench.start_with(&[&environment, more].concat())
    }
}

fn failing() -> Script {
    let action = Action::Reply { status: 500, headers: Default::default(), body: "down".into(), stored: false };
    one(Endpoint::Chunk, When::Always, action)
}

/// The host asks for rest, once.
fn resting() -> Script {
    one(Endpoint::Chunk, When::First(1), Action::TooManyRequests { retry_after: RetryAfter::Seconds(2) })
}

#[test]
fn a_job_that_waits_is_not_kept_by_a_clock_that_is_set_back_while_the_daemon_runs() {
    for ahead in [20 * 60, YEAR] {
        let bench = Bench::new();
        bench.faults(failing());
        bench.put("file", b"content");
        let clock = Clock::ahead(&bench, ahead);
        let daemon = clock.start(&bench);
        let waiting = bench.wait_state(State::Waiting);
        assert!(waiting.since_ms > ferryd::internals::os::clock::now_ms() + ahead * 900, "the clock was ahead: {waiting:#?}");
        clock.set(0);
        bench.faults(Script::default());
        bench.wait_done(1);
        assert_eq!(bench.held("file"), [b"content"]);
        bench.stop(daemon);
    }
}

#[test]
fn a_host_that_asked_for_rest_under_a_wrong_clock_rests_no_longer_than_it_asked() {
    for restart in [false, true] {
        let bench = Bench::new();
        bench.faults(resting());
        bench.put("file", b"content");
        let clock = Clock::ahead(&bench, YEAR);
        let mut daemon = clock.start(&bench);
        bench.wait_for("the host to rest", || {
            bench.snapshot()?.hosts.into_iter().find(|host| host.report.state == HostState::Resting)
        });
        bench.wait_state(State::Waiting);
        clock.set(0);
        if restart {
            daemon.kill();
            daemon = clock.start(&bench);
        }
        bench.wait_done(1);
        assert_eq!(bench.held("file"), [b"content"]);
        bench.stop(daemon);
    }
}

#[test]
fn a_hook_that_failed_under_a_wrong_clock_is_tried_again_when_it_is_right() {
    for restart in [false, true] {
        let bench = Bench::new();
        let (mended, told) = (bench.dir.path().join("mended"), bench.dir.path().join("told"));
        let command = format!("test -e {} && touch {}", mended.display(), told.display());
        let bench = bench.host(&format!("[[hook]]\non = [\"done\"]\ncommand = [\"sh\", \"-c\", {command:?}]"));
        bench.put("file", b"content");
        let clock = Clock::ahead(&bench, YEAR);
        let mut daemon = clock.start(&bench);
        bench.wait_for("the hook to fail", || bench.jobs().into_iter().find(|job| job.why.is_some()));
        clock.set(0);
        std::fs::write(&mended, "").unwrap();
        if restart {
            daemon.kill();
            daemon = clock.start(&bench);
        }
        bench.wait_done(1);
        assert!(told.exists());
        bench.stop(daemon);
    }
}
