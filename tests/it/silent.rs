//! Output that goes nowhere: what cannot be said is lost, and nothing else.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::process::Stdio;

use crate::bench_top::{Bench, Daemon};

/// Where nothing can be written: a full disk, and a pipe that nobody reads any more.
const NOWHERE: [&str; 2] = ["a full disk", "a closed pipe"];

fn nowhere(kind: &str) -> Stdio {
    match kind {
        "a full disk" => File::options().write(true).open("/dev/full").unwrap().into(),
        _ => std::io::pipe().unwrap().1.into(),
    }
}

#[test]
fn a_log_that_cannot_be_written_costs_its_lines_and_no_upload() {
    for kind in NOWHERE {
        let bench = Bench::new();
        bench.put("early", b"early");
        let mut command = bench.command(&["run", "--log", "debug"]);
        command.stdout(Stdio::null()).stderr(nowhere(kind));
        let daemon = Daemon::of(command);
        bench.wait_done(1);
        bench.put("late", b"late");
        bench.wait_done(2);
        assert_eq!((bench.held("early").len(), bench.held("late").len()), (1, 1), "{kind}");
        let ended = daemon.stop();
        assert_eq!(ended.code(), Some(0), "{kind}: {ended}");
    }
}

#[test]
fn no_command_panics_when_nobody_can_be_told() {
    let bench = Bench::new();
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    let said_wrong = ["--no-such-flag", "status", "links", "check", "--help"];
    for kind in NOWHERE {
        for word in said_wrong {
            let ended = bench.command(&[word]).stdout(nowhere(kind)).stderr(nowhere(kind)).status().unwrap();
            assert!(ended.code().is_some_and(|code| code < 100), "{word} into {kind}: {ended}");
        }
    }
}
