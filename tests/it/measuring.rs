//! `ferryd bench`: what it uploads, what it leaves behind, and what it refuses to do.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench_top::Bench;

/// The end of a command: its code, and what it said on stdout and stderr.
fn ends(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// All that is in a folder and below, without what the practice hosts of the test keep.
fn everything(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("host") {
            found.extend(everything(&path));
        }
        found.insert(path.to_string_lossy().into_owned());
    }
    found
}

/// A bench with a state folder that has a queue, as after a day of work.
fn used(kind: &'static str) -> Bench {
    let bench = Bench::new().to(&[kind]);
    let daemon = bench.start();
    bench.stop(daemon);
    bench
}

/// The documents that `--json` prints have these keys.
fn document(out: &str) -> Value {
    let document: Value = serde_json::from_str(out).unwrap();
    assert_eq!(document["version"], 1);
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SPEED.md")).unwrap();
    for key in document.as_object().unwrap().keys() {
        assert!(page.contains(&format!("| `{key}` |")), "docs/SPEED.md does not tell of `{key}`");
    }
    document
}

#[test]
fn as_many_files_as_told_arrive_whole_and_nothing_of_the_measurement_stays_here() {
    // One that checks nothing but lengths, and two that check every byte.
    for kind in ["cloudkp", "s3", "4shared"] {
        let bench = used(kind);
        let queue = bench.state_dir().join(ferryd::internals::store::FILE_NAME);
        let (before, queued) = (everything(bench.dir.path()), std::fs::read(&queue).unwrap());
        let (code, out, said) = ends(bench.command(&["bench", "--to", kind, "--size", "3MiB", "--files", "13", "--json"]));
        assert_eq!(code, Some(0), "{kind}: {said}");
        let document = document(&out);
        let (large, small) = (&document["large"], &document["small"]);
        assert_eq!((large["done"].as_u64(), large["sent"].as_u64()), (Some(1), Some(3 << 20)), "{kind}: {document:#}");
        assert_eq!((document["alone"]["files"].as_u64(), small["done"].as_u64()), (Some(7), Some(6)), "{kind}: {document:#}");
        let objects = bench.sandbox.objects();
        let lengths: Vec<usize> = objects.iter().map(|object| bench.sandbox.read(object).unwrap().len()).collect();
        let of = |bytes: usize| lengths.iter().filter(|length| **length == bytes).count();
        assert_eq!((of(3 << 20), of(4096), lengths.len()), (1, 13, 14), "{kind}: {lengths:?}");
        let left: BTreeSet<&str> = document["left"].as_array().unwrap().iter().map(|left| left["name"].as_str().unwrap()).collect();
        assert_eq!(left, objects.iter().map(|object| object.name.as_str()).collect(), "{kind}");
        assert!(left.iter().all(|name| name.starts_with("ferryd-bench-")), "{kind}: {left:?}");
        assert_eq!((everything(bench.dir.path()), std::fs::read(&queue).unwrap()), (before, queued), "{kind}");
        for secret in ["s3cret", "secret"] {
            assert!(!format!("{out}{said}").contains(secret), "{kind}: {out}{said}");
        }
    }
}

#[test]
fn without_a_host_a_practice_host_takes_the_files_and_a_pipe_gets_a_plain_table() {
    let bench = Bench::new();
    let before = {
        drop(bench.config());
        everything(bench.dir.path())
    };
    for kind in ["s3", "tus"] {
        let (code, out, said) = ends(bench.command(&["bench", "--kind", kind, "--size", "1MiB", "--files", "6"]));
        assert_eq!(code, Some(0), "{said}");
        for row in
            ["MEASURED", "disk", "queue", "loopback", "login", "large file", "small files", "first byte", "done", "in flight"]
        {
            assert!(out.lines().any(|line| line.starts_with(row)), "{row:?} is not in\n{out}");
        }
        assert_eq!(out.matches("the brake is").count(), 2, "{out}");
        assert!(!format!("{out}{said}").contains('\x1b'), "{out}{said}");
        assert_eq!((bench.sandbox.log().len(), everything(bench.dir.path())), (0, before.clone()), "{said}");
    }
    // It needs no configuration either.
    let mut alone = Command::new(env!("CARGO_BIN_EXE_ferryd"));
    alone
        .args(["bench", "--size", "64KiB", "--files", "1", "--json"])
        .env("HOME", bench.dir.path().join("drop"))
        .env_remove("FERRYD_CONFIG");
    alone.env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME").env_remove("STATE_DIRECTORY").stdin(Stdio::null());
    let (code, out, said) = ends(alone);
    assert_eq!((code, document(&out)["small"].is_null()), (Some(0), true), "{said}");
    assert_eq!(everything(bench.dir.path()), before);
}

/// A proxy that lets nobody through.
struct ClosedProxy(TcpListener);

impl ClosedProxy {
    fn new() -> ClosedProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        ClosedProxy(listener)
    }

    fn address(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// Whether somebody has connected since the last time.
    fn was_asked(&self) -> bool {
        let mut asked = false;
        loop {
            match self.0.accept() {
                Ok(_) => asked = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return asked,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn what_is_not_on_this_machine_hears_nothing_before_a_person_has_said_yes() {
    let proxy = ClosedProxy::new();
    let bench = Bench::new().host(&format!("proxy = \"{}\"", proxy.address()));
    let addr = bench.sandbox.addr().to_string();
    // Elsewhere; and here, as somebody else's machine would understand it.
    let elsewhere = Bench::new().host(&format!("proxy = \"{}\"", proxy.address()));
    let theirs = elsewhere.sandbox.addr().to_string();
    let elsewhere = elsewhere.change(&format!("base_url = \"http://{theirs}"), "base_url = \"http://192.0.2.1:9");
    for bench in [bench, elsewhere] {
        let before = {
            drop(bench.config());
            everything(bench.dir.path())
        };
        let words = ["bench", "--to", "cloudkp", "--size", "1MiB", "--files", "5", "--time", "1s"];
        let (code, out, said) = ends(bench.command(&words));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        for told in ["1 file of 1.0 MiB", "5 files of 4.0 KiB", "`cloudkp`", "cannot delete", "ferryd-bench-", "--yes"] {
            assert!(said.contains(told), "{told:?} is not in\n{said}");
        }
        assert!(!proxy.was_asked() && bench.sandbox.log().is_empty(), "{addr} was asked");
        let (code, out, said) = ends(bench.command(&[&words[..], &["--yes"]].concat()));
        assert!(code == Some(1) && out.is_empty() && said.contains("cannot be used"), "{code:?}: {out}{said}");
        assert!(proxy.was_asked());
        assert_eq!(everything(bench.dir.path()), before);
    }
}

#[test]
fn a_command_line_that_means_nothing_and_a_folder_that_is_watched_are_refused() {
    let bench = Bench::new();
    let drop_dir = bench.drop_dir().to_string_lossy().into_owned();
    let cases: [(&[&str], &str); 8] = [
        (&["--in", &drop_dir], "watches it"),
        (&["--in", "/nowhere/at/all"], "cannot measure in"),
        (&["--to", "clodkp"], "did you mean `cloudkp`?"),
        (&["--to", "cloudkp", "--kind", "s3"], "cannot be used with"),
        (&["--kind", "s4"], "s3"),
        (&["--size", "0"], "expected a size"),
        (&["--time", "0s"], "expected a time"),
        (&["--files", "0"], "1..=10000"),
    ];
    for (words, told) in cases {
        let (code, out, said) = ends(bench.command(&[&["bench"], words].concat()));
        assert!(code == Some(2) && out.is_empty() && said.contains(told), "{words:?}: {code:?} {out}{said}");
    }
    assert!(bench.sandbox.log().is_empty() && everything(&bench.drop_dir()).is_empty());
}

#[test]
fn a_host_that_does_not_know_us_gets_no_file() {
    let bench = Bench::new().to(&["kie"]).change("api_key = \"sk-test\"", "api_key = \"hunter2\"");
    let (code, out, said) = ends(bench.command(&["bench", "--to", "kie", "--size", "1MiB", "--files", "5"]));
    assert!(code == Some(3) && out.is_empty() && said.contains("cannot be used") && !said.contains("hunter2"), "{code:?} {said}");
    assert!(bench.sandbox.objects().is_empty());
}

#[test]
fn a_file_that_takes_too_long_is_given_up_and_what_went_is_told() {
    let bench = Bench::new().host("bandwidth = \"64 KiB/s\"");
    let before = {
        drop(bench.config());
        everything(bench.dir.path())
    };
    let (code, out, said) =
        ends(bench.command(&["bench", "--to", "cloudkp", "--size", "4MiB", "--files", "2", "--time", "1s", "--json"]));
    assert_eq!(code, Some(0), "{said}");
    let document = document(&out);
    let sent = document["large"]["sent"].as_u64().unwrap();
    assert!(document["large"]["done"] == 0 && sent > 0 && sent < 4 << 20, "{document:#}");
    assert_eq!((document["bandwidth"].as_u64(), everything(bench.dir.path())), (Some(64 << 10), before));
    assert!(
        bench.sandbox.objects().iter().all(|object| object.name.contains("alone") || object.name.contains("0000")),
        "{document:#}"
    );
}

/// A measurement that uploads, and will for long.
fn uploading(bench: &Bench) -> Child {
    let words = ["bench", "--to", "cloudkp", "--size", "4MiB", "--time", "10m"];
    let child = bench.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let before = bench.sandbox.stats().requests;
    let begun = Instant::now();
    // Its login is the first, and a part of the file comes after it.
    while bench.sandbox.stats().requests < before + 5 {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing is uploaded");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn signal(child: &Child, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_measurement_that_is_interrupted_leaves_nothing_and_one_that_is_killed_leaves_it_to_the_next() {
    let bench = Bench::new().host("bandwidth = \"256 KiB/s\"");
    let before = {
        drop(bench.config());
        everything(bench.dir.path())
    };
    for stopped_by in [Signal::INT, Signal::TERM, Signal::HUP] {
        let child = uploading(&bench);
        assert_ne!(everything(bench.dir.path()), before);
        signal(&child, stopped_by);
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(1) && stdout.is_empty() && said.contains("interrupted"), "{stopped_by:?}: {status} {said}");
        assert_eq!(everything(bench.dir.path()), before, "{stopped_by:?}");
    }
    let mut child = uploading(&bench);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(everything(bench.dir.path()), before);
    let (code, _, said) = ends(bench.command(&["bench", "--size", "64KiB", "--files", "1"]));
    assert_eq!((code, everything(bench.dir.path())), (Some(0), before), "{said}");
}
