//! What follows an upload: hooks of every kind, after-actions, and what a crash leaves of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ferryd::internals::config::{self, Config, ProcessEnvironment};
use ferryd::internals::engine::deliver::{self, Deliver};
use ferryd::internals::engine::phase::{Phase, PhaseSwitch, phases};
use ferryd::internals::engine::roots::KnownRoots;
use ferryd::internals::host::kinds::KINDS;
use ferryd::internals::job::upload::Outcome;
use ferryd::internals::job::{Identity, Reason, ReasonClass, State};
use ferryd::internals::os::clock;

use rustix::process::Signal;

use ferryd::internals::store::{Arrival, Asking, JobId, JobRow, Query, Store, StoreError, View, Wanted, WriterThread};

use crate::bench_top::{Bench, bytes};

/// A hook for `done`, as lines behind the host.
fn hook(lines: &str) -> String {
    format!("\n[[hook]]\non = [\"done\"]\n{lines}")
}

fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn links(bench: &Bench) -> PathBuf {
    bench.dir.path().join("links.tsv")
}

#[test]
fn every_outcome_is_one_line_in_the_links_file() {
    let bench = Bench::new();
    let path = links(&bench);
    let bench = bench.host(&hook(&format!("links_file = {path:?}")));
    for number in 0..20 {
        bench.put(&format!("f{number}"), &bytes(number, 2000));
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(20);
    let found = lines(&path);
    assert_eq!(found.len(), 21, "{found:?}");
    assert_eq!(found[0], ["time", "event", "host", "path", "link", "remote_id", "bytes", "expires"]);
    for job in &jobs {
        let ours: Vec<_> = found.iter().filter(|line| Path::new(&line[3]) == job.path).collect();
        assert_eq!(ours.len(), 1, "{:?}", job.path);
        let line = ours[0];
        assert_eq!((line[1].as_str(), line[2].as_str(), line[6].as_str()), ("done", "cloudkp", "2000"));
        assert_eq!(Some(&line[4]), job.link.as_ref());
    }
    bench.stop(daemon);
}

/// A hook that runs a script with these arguments.
fn shell(script: &str, arguments: &[&str]) -> String {
    let script = script.replace('{', "{{").replace('}', "}}");
    let words: Vec<String> = ["sh", "-c", &script, "hook"].iter().chain(arguments).map(|word| format!("{word:?}")).collect();
    hook(&format!("command = [{}]", words.join(", ")))
}

/// A request that a webhook made: its `Idempotency-Key`, and its body.
type Posted = (String, serde_json::Value);

/// Answers 500 to the first so many requests and 204 to the others, for as long as the test lives.
fn receiver(failures: usize) -> (SocketAddr, Arc<Mutex<Vec<Posted>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
    let seen = posted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut key, mut length) = (String::new(), 0);
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                let header = line.trim_end().split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value));
                match header.as_ref().map(|(name, value)| (name.as_str(), *value)) {
                    Some(("idempotency-key", value)) => key = value.to_owned(),
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    _ => {}
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let mut posted = seen.lock().unwrap();
            posted.push((key, serde_json::from_slice(&body).unwrap()));
            let status = if posted.len() <= failures { "500 Internal Server Error" } else { "204 No Content" };
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(reply.as_bytes()).unwrap();
        }
    });
    (addr, posted)
}

#[test]
fn every_kind_of_hook_hears_of_an_outcome() {
    let bench = Bench::new();
    let out = bench.dir.path().join("out");
    let (addr, posted) = receiver(1);
    let script = format!("printf '%s|%s|%s' \"$1\" \"$2\" \"$FERRYD_HOST\" > {out:?}");
    let all =
        [shell(&script, &["{name}", "{{{bytes}}}"]), hook(&format!("webhook = \"http://{addr}/s3cret\"")), hook("sidecar = true")];
    let bench = bench.host(&all.join("\n"));
    let daemon = bench.start();
    let path = bench.put("it's $(a) name", b"content");
    let job = bench.wait_done(1).remove(0);
    assert_eq!(std::fs::read_to_string(out).unwrap(), "it's $(a) name|{7}|cloudkp");
    let posted = posted.lock().unwrap().clone();
    assert_eq!(posted.len(), 2, "once in vain, once more");
    assert_eq!((posted[0].0.as_str(), &posted[0]), ("1-done-1", &posted[1]));
    assert_eq!((posted[0].1["link"].as_str(), posted[0].1["bytes"].as_u64()), (job.link.as_deref(), Some(7)));
    assert!(!bench.log_text().contains("s3cret"), "an address may hold a secret");
    let sidecar = path.with_file_name("it's $(a) name.ferryd.json");
    let sidecar: serde_json::Value = serde_json::from_slice(&std::fs::read(sidecar).unwrap()).unwrap();
    assert_eq!(sidecar["hosts"]["cloudkp"]["link"].as_str(), job.link.as_deref());
    bench.put("another", b"another");
    bench.wait_done(2);
    bench.stop(daemon);
    let daemon = bench.start();
    bench.wait_watching();
    assert_eq!(bench.jobs().len(), 2, "a sidecar is not uploaded");
    bench.stop(daemon);
}

#[test]
fn a_failing_hook_leaves_the_job_uploaded_with_its_reason_until_it_succeeds() {
    let bench = Bench::new();
    let flag = bench.dir.path().join("flag");
    let bench = bench.host(&shell(&format!("test -e {flag:?} || {{ echo no flag; exit 3; }}"), &[]));
    bench.put("file", b"content");
    let daemon = bench.start();
    let failed = |job: &JobRow| job.why.as_ref().is_some_and(|why| why.class == ReasonClass::HookFailed);
    let job = bench.wait_for("a reason", || bench.jobs().into_iter().find(failed));
    assert_eq!(job.state, State::Uploaded);
    let why = job.why.unwrap();
    assert_eq!(why.code.as_deref(), Some("3"));
    assert_eq!(why.to_string(), "uploaded; hook `command sh` failed: it ended with exit status: 3: no flag");
    assert!(job.next_try_ms.is_some() && job.link.is_some());
    let shown = String::from_utf8(bench.command(&["status"]).output().unwrap().stdout).unwrap();
    assert!(shown.contains("uploaded") && shown.contains("no flag"), "{shown}");
    std::fs::write(flag, "").unwrap();
    let job = bench.wait_done(1).remove(0);
    assert_eq!((job.why, bench.sandbox.objects().len()), (None, 1));
    bench.stop(daemon);
}

#[test]
fn hooks_that_hang_hold_up_no_other_and_the_job_says_for_which_it_waits() {
    let bench = Bench::new();
    let out = bench.dir.path().join("out");
    let hang = |number: usize| hook(&format!("command = [\"sleep\", \"100{number}\"]"));
    let good = shell(&format!("echo \"$1\" >> {out:?}"), &["{name}"]);
    let bench = bench.host(&[hang(1), hang(2), hang(3), good].join("\n"));
    for number in 0..10 {
        bench.put(&format!("f{number}"), &bytes(number, 2000));
    }
    let daemon = bench.start();
    bench.wait_for("the good hook to hear of all", || (lines(&out).len() == 10).then_some(()));
    let jobs = bench.jobs();
    let waits = Some(Reason::new(ReasonClass::WaitsForHook).about("command sleep"));
    assert!(jobs.iter().all(|job| job.state == State::Uploaded && job.why == waits), "{jobs:#?}");
    daemon.kill();
}

#[test]
fn a_machine_without_certificates_has_a_daemon_that_says_what_is_missing() {
    let bench = Bench::new().host("\n[[hook]]\non = [\"held\"]\nwebhook = \"http://127.0.0.1:1/\"");
    bench.put("file", b"content");
    let daemon = bench.start_with(&[("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nowhere")]);
    let told = |job: &JobRow| job.why.as_ref().is_some_and(|why| why.also.is_some());
    let job = bench.wait_for("the hook to fail", || bench.jobs().into_iter().find(told));
    assert_eq!(job.state, State::Held);
    let why = job.why.unwrap();
    for said in [why.detail.as_deref(), why.also.as_ref().and_then(|also| also.detail.as_deref())] {
        assert!(said.is_some_and(|said| said.contains("certificates") && said.contains("SSL_CERT_FILE")), "{said:?}");
    }
    bench.stop(daemon);
}

#[test]
fn a_hook_that_is_taken_out_holds_nothing_up() {
    let bench = Bench::new().host(&shell("exit 1", &[]));
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_state(State::Uploaded);
    bench.stop(daemon);
    let bench = bench.host("");
    let daemon = bench.start();
    let why = bench.wait_done(1).remove(0).why;
    assert_eq!(why, Some(Reason::new(ReasonClass::HookRemoved).about("command sh")));
    let said = "hook `command sh` is no longer configured; pending calls dropped: 1";
    bench.wait_for("it to be said", || bench.log_text().contains(said).then_some(()));
    bench.stop(daemon);
}

#[test]
fn a_links_file_has_lines_as_its_name_or_the_configuration_says() {
    let bench = Bench::new();
    let (csv, json) = (bench.dir.path().join("links.csv"), bench.dir.path().join("links.txt"));
    let both = [hook(&format!("links_file = {csv:?}")), hook(&format!("links_file = {json:?}\nformat = \"jsonl\""))];
    let bench = bench.host(&both.join("\n"));
    let path = bench.put("a, \"b\".mov", b"content");
    let daemon = bench.start();
    let link = bench.wait_done(1).remove(0).link.unwrap();
    let rows = std::fs::read_to_string(csv).unwrap();
    let name = path.to_str().unwrap().replace('"', "\"\"");
    assert!(rows.starts_with("time,event,host,path,link,remote_id,bytes,expires\n"), "{rows}");
    assert!(rows.contains(&format!(",done,cloudkp,\"{name}\",{link},")), "{rows}");
    let object: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((object["path"].as_str(), object["link"].as_str()), (path.to_str(), Some(link.as_str())));
    bench.stop(daemon);
}

#[test]
fn what_is_gathered_is_told_in_one_call_and_no_job_waits_for_it() {
    let bench = Bench::new();
    let out = bench.dir.path().join("out");
    let script = format!("cat >> {out:?}; printf '%s|%s|%s\n' \"$1\" \"$FERRYD_COUNT\" \"$FERRYD_NAME\" >> {out:?}");
    let (addr, posted) = receiver(1);
    let both = |every: &str| {
        [shell(&script, &["{summary}"]), hook(&format!("webhook = \"http://{addr}/\""))]
            .map(|hook| format!("{hook}\nevery = {every:?}"))
            .join("\n")
    };
    let bench = bench.host(&format!("trust_replies = true\n{}", both("1h")));
    let bench = bench.watch("settle = \"0s\"\nafter = \"delete\"");
    for number in 0..5 {
        bench.put(&format!("f{number}"), &bytes(number, 2000));
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(5);
    assert!(jobs.iter().all(|job| !job.path.exists()), "no source waits, either");
    let shown = String::from_utf8(bench.command(&["status"]).output().unwrap().stdout).unwrap();
    assert!(shown.contains("Hook `command sh` will hear of 5 events in"), "{shown}");
    let why = bench.command(&["why", jobs[0].path.to_str().unwrap()]).output().unwrap();
    let why = String::from_utf8(why.stdout).unwrap();
    assert!(why.contains("Hook `command sh` will hear that job"), "{why}");
    daemon.kill();
    assert!(!out.exists() && posted.lock().unwrap().is_empty(), "nothing is told before its time");
    let bench = bench.host(&format!("trust_replies = true\n{}", both("1s")));
    let daemon = bench.start();
    bench.wait_for("both to be told", || (out.exists() && posted.lock().unwrap().len() == 2).then_some(()));
    let told = bench.wait_for("the command to end", || {
        let text = std::fs::read_to_string(&out).unwrap();
        text.ends_with("|5|\n").then_some(text)
    });
    let (json, line) = told.split_once('\n').unwrap();
    assert_eq!(line, "5 files are up|5|\n", "one call for all");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let mut names: Vec<&str> = json["events"].as_array().unwrap().iter().filter_map(|event| event["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!((names, json["count"].as_u64()), (vec!["f0", "f1", "f2", "f3", "f4"], Some(5)));
    let posted = posted.lock().unwrap().clone();
    assert_eq!(posted[0], posted[1], "again, since it was refused once, and known by its key");
    assert_eq!((posted[0].1["summary"].as_str(), &posted[0].1["events"]), (Some("5 files are up"), &json["events"]));
    bench.stop(daemon);
}

/// The commands of the example that call this program.
fn recipes(program: &str) -> Vec<String> {
    let example = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")).unwrap();
    let lines = example.lines().filter_map(|line| line.strip_prefix("# command = "));
    lines.filter(|line| line.starts_with(&format!("[\"{program}\""))).map(|line| format!("command = {line}")).collect()
}

#[test]
fn a_desktop_notification_shows_names_as_they_are_and_obeys_none() {
    let bench = Bench::new();
    let (programs, out) = (bench.dir.path().join("programs"), bench.dir.path().join("shown"));
    std::fs::create_dir(&programs).unwrap();
    for program in ["notify-send", "osascript"] {
        let file = programs.join(program);
        // In one write: two of them run at once.
        let script =
            format!("#!/bin/sh\nshown=$(echo {program}; printf '%s\\n' \"$@\"; echo .)\nprintf '%s\\n' \"$shown\" >> {out:?}\n");
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let all = [recipes("notify-send"), recipes("osascript")].concat();
    let hooks =
        all.iter().map(|recipe| if recipe.contains("{summary}") { format!("{recipe}\nevery = \"1s\"") } else { recipe.clone() });
    assert_eq!(all.len(), 3, "{all:?}");
    let bench = bench.host(&hooks.map(|lines| hook(&lines)).collect::<Vec<_>>().join("\n"));
    let name = "-u $(touch x) \" & do shell script \"x.mov";
    bench.put(name, b"content");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let daemon = bench.start_with(&[("PATH", &path)]);
    let link = bench.wait_done(1).remove(0).link.unwrap();
    let shown = bench.wait_for("all three to be shown", || {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        (text.lines().filter(|line| *line == ".").count() == 3).then_some(text)
    });
    assert!(shown.contains(&format!("notify-send\n--app-name=ferryd\n--\n{name}\n{link}\n.\n")), "{shown}");
    assert!(shown.contains(&format!("end run\n--\n{name}\n{link}\n.\n")), "{shown}");
    assert!(shown.contains("notify-send\n--app-name=ferryd\n--\nferryd\n1 file is up\n.\n"), "{shown}");
    bench.stop(daemon);
}

#[test]
fn death_while_a_hook_runs_has_it_run_again() {
    let bench = Bench::new();
    let (runs, flag) = (bench.dir.path().join("runs"), bench.dir.path().join("flag"));
    let script = format!("echo run >> {runs:?}; until test -e {flag:?}; do sleep 0.01; done");
    let bench = bench.host(&shell(&script, &[]));
    bench.put("file", b"content");
    let count = || std::fs::read_to_string(&runs).unwrap_or_default().lines().count();
    let daemon = bench.start();
    bench.wait_for("the hook to run", || (count() == 1).then_some(()));
    daemon.kill();
    assert_eq!(bench.jobs()[0].state, State::Uploaded);
    let daemon = bench.start();
    bench.wait_for("the hook to run again", || (count() == 2).then_some(()));
    std::fs::write(flag, "").unwrap();
    bench.wait_done(1);
    assert_eq!((count(), bench.sandbox.objects().len()), (2, 1), "the hook again, the upload not");
    bench.stop(daemon);
}

#[test]
fn delete_never_takes_a_version_that_was_not_sent() {
    let bench = Bench::new().watch("settle = \"0s\"\nafter = \"delete\"");
    let once = bench.dir.path().join("once");
    let script = format!("test -e {once:?} || {{ touch {once:?}; printf ', changed' >> \"$1\"; }}");
    let bench = bench.host(&format!("trust_replies = true\n{}", shell(&script, &["{path}"])));
    let path = bench.put("file", b"one");
    let daemon = bench.start();
    bench.wait_done(2);
    let mut held = bench.held("file");
    held.sort();
    assert_eq!(held, [b"one".to_vec(), b"one, changed".to_vec()], "both versions are on the host");
    assert!(!path.exists());
    bench.stop(daemon);
}

#[test]
fn a_move_to_another_file_system_keeps_the_way_and_overwrites_nothing() {
    let dir = if Path::new("/dev/shm").is_dir() { tempfile::tempdir_in("/dev/shm") } else { tempfile::tempdir() };
    let target = dir.unwrap();
    let watch = format!("settle = \"0s\"\nafter = {{ move = {:?} }}", target.path());
    let bench = Bench::new().watch(&watch).host("trust_replies = true");
    std::fs::create_dir(target.path().join("sub")).unwrap();
    std::fs::write(target.path().join("sub/a.bin"), "another").unwrap();
    let content = bytes(1, 700_000);
    let path = bench.put("sub/a.bin", &content);
    let daemon = bench.start();
    bench.wait_done(1);
    assert!(!path.exists());
    assert_eq!(std::fs::read(target.path().join("sub/a.bin")).unwrap(), b"another");
    assert!(std::fs::read(target.path().join("sub/a (1).bin")).unwrap() == content);
    assert_eq!(std::fs::read_dir(target.path().join("sub")).unwrap().count(), 2);
    bench.stop(daemon);
}

/// A way to `to` that hangs up on everybody until it is opened.
fn gate(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let opened = Arc::new(AtomicBool::new(false));
    let is_open = opened.clone();
    let pipe = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            std::io::copy(&mut from, &mut to).ok();
            to.shutdown(Shutdown::Both).ok();
        })
    };
    std::thread::spawn(move || {
        for near in listener.incoming().map(Result::unwrap).filter(|_| is_open.load(Ordering::SeqCst)) {
            let far = TcpStream::connect(to).unwrap();
            pipe(near.try_clone().unwrap(), far.try_clone().unwrap());
            pipe(far, near);
        }
    });
    (addr, opened)
}

#[test]
fn the_source_goes_only_when_both_hosts_have_it() {
    let bench = Bench::new().also_to("mirror").watch("settle = \"0s\"\nafter = \"delete\"");
    let (addr, opened) = gate(bench.sandbox.addr());
    let mirror = format!("[host.mirror]\nkind = \"cloudkp\"\ntrust_replies = true\nbase_url = \"http://{addr}/cloudkp\"");
    let bench = bench.host(&format!("trust_replies = true\n\n{mirror}"));
    let path = bench.put("file", b"content");
    let daemon = bench.start();
    let job = bench.wait_state(State::Uploaded);
    assert_eq!((job.host.as_str(), job.why), ("cloudkp", Some(Reason::new(ReasonClass::WaitsForHost).about("mirror"))));
    bench.wait_state(State::Waiting);
    assert!(path.exists());
    opened.store(true, Ordering::SeqCst);
    bench.wait_done(2);
    assert!(!path.exists());
    assert_eq!(bench.held("file").len(), 2);
    bench.stop(daemon);
}

#[test]
fn a_host_that_is_taken_out_gets_nothing_more_and_the_source_waits_for_it() {
    let bench = Bench::new().also_to("mirror").watch("settle = \"0s\"\nafter = \"delete\"");
    let (addr, opened) = gate(bench.sandbox.addr());
    let mirror = format!("[host.mirror]\nkind = \"cloudkp\"\ntrust_replies = true\nbase_url = \"http://{addr}/cloudkp\"");
    let bench = bench.host(&format!("trust_replies = true\n\n{mirror}"));
    let path = bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_state(State::Uploaded);
    bench.wait_state(State::Waiting);
    let both = std::fs::read_to_string(bench.config()).unwrap();
    let write = |text: &str| std::fs::write(bench.dir.path().join("config.toml"), text).unwrap();
    write(&both.replace("\"cloudkp\", \"mirror\"", "\"cloudkp\""));
    opened.store(true, Ordering::SeqCst);
    daemon.signal(Signal::HUP);
    let not_sent = Some(Reason::new(ReasonClass::NotSentTo).about("mirror"));
    let rests = bench.wait_for("the job to rest", || bench.jobs().into_iter().find(|job| job.why == not_sent));
    assert_eq!((rests.state, rests.next_try_ms, rests.host.as_str()), (State::Waiting, None, "mirror"));
    // Another file is through meanwhile, so there was time to send this one.
    let other = bench.put("other", b"other");
    bench.wait_state(State::Done);
    assert!(!other.exists() && path.exists() && bench.held("file").len() == 1);
    write(&both);
    daemon.signal(Signal::HUP);
    bench.wait_for("both files on both hosts", || {
        (bench.held("file").len() == 2 && bench.jobs().iter().all(|job| job.state == State::Done)).then_some(())
    });
    assert!(!path.exists());
    bench.stop(daemon);
}

#[test]
fn a_host_that_is_added_waits_only_for_files_that_a_scan_can_find() {
    let after = "settle = \"0s\"\nafter = \"delete\"";
    let bench = Bench::new().watch(after).host(&format!("trust_replies = true\n{}", shell("exit 1", &[])));
    let gone = bench.put("gone", b"gone");
    let unwanted = bench.put("unwanted", b"unwanted");
    let wanted = bench.put("wanted", b"wanted");
    let daemon = bench.start();
    bench.wait_for("every file to be uploaded", || {
        (bench.jobs().iter().filter(|job| job.state == State::Uploaded).count() == 3).then_some(())
    });
    bench.stop(daemon);
    std::fs::remove_file(&gone).unwrap();
    let mirror = format!("[host.mirror]\nkind = \"cloudkp\"\nbase_url = \"http://{}/cloudkp\"", bench.sandbox.addr());
    let hosts = format!("trust_replies = true\n\n{mirror}\ntrust_replies = true\n{}", shell("exit 0", &[]));
    let bench = bench.also_to("mirror").watch(&format!("{after}\nexclude = [\"unwanted\"]")).host(&hosts);
    let daemon = bench.start();
    let jobs = bench.wait_done(4);
    let of = |path: &Path| jobs.iter().filter(|job| job.path == path).collect::<Vec<_>>();
    assert_eq!((of(&gone).len(), of(&unwanted).len(), of(&wanted).len()), (1, 1, 2));
    for path in [&gone, &unwanted] {
        assert!(of(path)[0].why == Some(Reason::new(ReasonClass::NotFoundForHost).about("mirror")), "{jobs:?}");
    }
    assert!(unwanted.exists() && !wanted.exists());
    bench.stop(daemon);
}

#[test]
fn a_held_job_is_told_of_with_its_reason() {
    let bench = Bench::new().to(&["kie"]).change("\"sk-test\"", "\"wrong\"");
    let path = links(&bench);
    let bench = bench.host(&format!("\n[[hook]]\non = [\"held\"]\ncommand = [\"sh\", \"-c\", \"printf '%s: %s' \\\"$1\\\" \\\"$2\\\" > '{}'\", \"x\", \"{{event}}\", \"{{why}}\"]", path.display()));
    bench.put("file", b"content");
    let daemon = bench.start();
    let why = bench.wait_state(State::Held).why.unwrap();
    let told = bench.wait_for("the hook", || std::fs::read_to_string(&path).ok().filter(|told| !told.is_empty()));
    assert_eq!(told, format!("held: {why}"));
    bench.stop(daemon);
}

#[test]
fn links_prints_what_is_up_and_where() {
    let bench = Bench::new();
    bench.put("one", b"one");
    bench.put("two", b"two");
    let daemon = bench.start();
    let jobs = bench.wait_done(2);
    let shown = |words: &[&str]| String::from_utf8(bench.command(words).output().unwrap().stdout).unwrap();
    let text = shown(&["links"]);
    assert!(text.starts_with("TIME") && text.lines().count() == 3, "{text}");
    assert!(
        jobs.iter().all(|job| text.contains(job.link.as_deref().unwrap()) && text.contains(job.path.to_str().unwrap())),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&shown(&["links", "--json", "--since", "2h"])).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2), "{json}");
    assert!(json[0]["link"].is_string() && json[0]["done_at"].is_string());
    assert_eq!(shown(&["links", "--json", "--since", "2999-01-01"]).trim(), "[]");
    assert_eq!(bench.command(&["links", "--since", "soon"]).output().unwrap().status.code(), Some(2));
    bench.stop(daemon);
}

/// The queue and the task that delivers, without a host: an upload is what a test says it is.
struct Desk {
    dir: tempfile::TempDir,
    config: Config,
    store: Store,
    thread: WriterThread,
    switch: PhaseSwitch,
    task: tokio::task::JoinHandle<Result<(), StoreError>>,
}

impl Desk {
    async fn new(dir: tempfile::TempDir, host: &str, hooks: &str) -> Desk {
        let text = format!(
            "[daemon]\nstate_dir = {0:?}\n[[watch]]\npath = {0:?}\nto = [\"box\"]\n[host.box]\nkind = \"cloudkp\"\n{host}\n{hooks}",
            dir.path()
        );
        let config = config::parse(&text, Path::new("config.toml"), KINDS, &ProcessEnvironment).unwrap();
        let (store, thread) = Store::open(dir.path()).unwrap();
        deliver::follow(&config, &store).await.unwrap();
        let (switch, phases) = phases();
        let task = tokio::spawn(
            Deliver::new(&config, ferryd::internals::os::system::System::default(), store.clone(), phases, KnownRoots::default())
                .unwrap()
                .run(),
        );
        Desk { dir, config, store, thread, switch, task }
    }

    /// A file with an outcome whose link dies then.
    async fn upload(&self, expires_ms: Option<i64>) -> JobId {
        self.upload_as("file", expires_ms).await
    }

    async fn upload_as(&self, name: &str, expires_ms: Option<i64>) -> JobId {
        let path = self.dir.path().join(name);
        std::fs::write(&path, "content").unwrap();
        let identity = Identity::of(&std::fs::metadata(&path).unwrap());
        let (folder, name, hosts) = (self.dir.path().to_owned(), name.into(), Arc::from(["box".to_owned()]));
        let arrival = Arrival {
            folder,
            name,
            identity,
            hosts,
            make_jobs: true,
            one_off: false,
            first_version_only: false,
            priority: 0,
            close_seen: false,
            fingerprint: None,
            maybe_known: false,
        };
        self.store.enqueue(vec![arrival]).await.unwrap();
        let job = self.store.claim(vec![Asking::new("box", 1)], 1, clock::now_ms()).await.unwrap().jobs[0].id;
        let outcome = Outcome { link: Some("http://x".into()), expires_ms, ..Outcome::default() };
        self.store.record_outcome(job, outcome).await.unwrap();
        job
    }

    async fn wait(&self, state: State) {
        let query = Query { limit: 10, ..Query::default() };
        let state_is = || View::open(self.dir.path()).unwrap().unwrap().snapshot(&query).unwrap().jobs[0].state == state;
        let begun = std::time::Instant::now();
        while !state_is() {
            assert!(begun.elapsed().as_secs() < 60, "waited too long for {state}");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Ends the task as the daemon would.
    async fn end(self, phase: Phase) -> tempfile::TempDir {
        self.switch.advance(Phase::Draining);
        self.switch.advance(phase);
        self.task.await.unwrap().unwrap();
        drop(self.store);
        tokio::task::spawn_blocking(move || self.thread.join()).await.unwrap();
        assert!(!self.config.hosts.is_empty());
        self.dir
    }
}

#[tokio::test]
async fn a_link_that_dies_is_told_of_and_its_file_sent_again() {
    let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = aside.path().join("links.tsv");
    let hooks = format!("[[hook]]\non = [\"expiring\"]\nbefore = \"2h\"\nlinks_file = {path:?}");
    let desk = Desk::new(dir, "refresh = true", &hooks).await;
    // So near its end that the last tenth of its life is about to begin.
    desk.upload(Some(clock::now_ms() + 10)).await;
    desk.wait(State::Queued).await;
    while lines(&path).len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let _dir = desk.end(Phase::Draining).await;
    let found = lines(&path);
    assert_eq!((found.len(), found[1][1].as_str(), found[1][4].as_str()), (2, "expiring", "http://x"));
}

#[tokio::test]
async fn a_dying_link_of_a_changed_file_is_left_to_die() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let desk = Desk::new(dir, "refresh = true", "").await;
    desk.upload(Some(clock::now_ms() + 3_600_000)).await;
    std::fs::write(file, "changed").unwrap();
    // The link's time has come when the next task begins, and the file is another by then.
    let refresh =
        desk.store.due_deliveries(vec![Wanted::new("refresh", 1)], Vec::new(), i64::MAX).await.unwrap().deliveries.remove(0);
    desk.store.record_failed_delivery(vec![refresh.id], Reason::new(ReasonClass::AfterDue), 0).await.unwrap();
    let dir = desk.end(Phase::Draining).await;
    let desk = Desk::new(dir, "refresh = true", "").await;
    let due = || desk.store.due_deliveries(vec![Wanted::new("refresh", 1)], Vec::new(), i64::MAX);
    let begun = std::time::Instant::now();
    while !due().await.unwrap().deliveries.is_empty() {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    desk.wait(State::Done).await;
    desk.end(Phase::Draining).await;
}

#[tokio::test]
async fn the_end_drops_a_hook_that_hangs_and_marks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (pid, flag) = (dir.path().join("pid"), dir.path().join("flag"));
    let hooks = shell(&format!("test -e {flag:?} && exit; echo $$ > {pid:?}; sleep 600"), &[]);
    let desk = Desk::new(dir, "", &hooks).await;
    desk.upload(None).await;
    let running = || std::fs::read_to_string(&pid).ok().and_then(|text| text.trim().parse::<i32>().ok());
    while running().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let child = running().unwrap();
    let dir = desk.end(Phase::Stopping).await;
    let job = View::open(dir.path()).unwrap().unwrap().snapshot(&Query { limit: 1, ..Query::default() }).unwrap().jobs.remove(0);
    let waits = Reason::new(ReasonClass::WaitsForHook).about("command sh");
    assert_eq!((job.state, job.why), (State::Uploaded, Some(waits)), "no failure");
    let begun = std::time::Instant::now();
    while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z")) {
        assert!(begun.elapsed().as_secs() < 60, "the command lives on");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    // The next start carries it again.
    std::fs::write(flag, "").unwrap();
    let desk = Desk::new(dir, "", &hooks).await;
    desk.wait(State::Done).await;
    desk.end(Phase::Draining).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn lines_that_are_due_together_are_written_together_and_each_once() {
    use rustix::fs::inotify;

    let (dir, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = aside.path().join("links");
    let path = folder.join("links.tsv");
    let hooks = hook(&format!("links_file = {path:?}"));
    // Where a file is in the way of the folder, no line can be written.
    std::fs::write(&folder, "").unwrap();
    let desk = Desk::new(dir, "", &hooks).await;
    for number in 0..250 {
        desk.upload_as(&format!("f{number}"), None).await;
    }
    let dir = desk.end(Phase::Draining).await;
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let events = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&events, &folder, inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_WRITE).unwrap();
    let desk = Desk::new(dir, "", &hooks).await;
    let left = || View::open(desk.dir.path()).unwrap().unwrap().snapshot(&Query::default()).unwrap().totals;
    let begun = std::time::Instant::now();
    while !left().contains(&(State::Done, 250)) {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let mut buffer = [std::mem::MaybeUninit::uninit(); 65_536];
    let mut reader = inotify::Reader::new(&events, &mut buffer);
    let mut opened = 0;
    while let Ok(event) = reader.next() {
        opened += usize::from(event.events().contains(inotify::ReadFlags::OPEN));
    }
    assert_eq!(opened, 3, "a hundred lines at once");
    let mut found: Vec<String> = lines(&path).into_iter().skip(1).map(|line| line[3].clone()).collect();
    found.sort();
    found.dedup();
    assert_eq!((found.len(), lines(&path).len()), (250, 251));
    desk.end(Phase::Draining).await;
}
