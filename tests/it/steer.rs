//! What people order by command: the daemon does it at once, what it has answered is on the disk, and nothing is sent twice for it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Output;
use std::time::{Duration, Instant};

use ferryd::internals::job::State;
use ferryd::internals::os::crash::POINTS_OF_ORDERS;
use ferryd_sandbox::cloudkp::Replay;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, When};
use serde_json::Value;

use crate::bench_top::{Bench, Daemon, bytes, one};
use crate::crash::Kill;
use crate::world::requests;

/// What a command answers: its exit code, stdout and stderr.
fn say(bench: &Bench, words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = bench.command(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// What a command prints that succeeds.
fn do_it(bench: &Bench, words: &[&str]) -> String {
    let (code, out, said) = say(bench, words);
    assert_eq!(code, Some(0), "{words:?}: {out}{said}");
    out
}

fn changed(bench: &Bench, words: &[&str]) -> u64 {
    let document: Value = serde_json::from_str(&do_it(bench, &[words, &["--json"]].concat())).unwrap();
    assert_eq!(document["version"], 1);
    document["changed"].as_u64().unwrap()
}

/// A daemon that sends a file slowly, some of which the host has.
fn half_sent(bench: &Bench) -> (Daemon, Vec<u8>) {
    let content = bytes(1, 3_000_000);
    bench.put("film.mov", &content);
    let daemon = bench.start();
    bench.wait_for("some parts at the host", || (bench.sandbox.stats().parts_acked >= 2).then_some(()));
    (daemon, content)
}

fn slow() -> Bench {
    Bench::new().host("bandwidth = \"1 MiB/s\"")
}

#[test]
fn a_paused_upload_stops_and_goes_on_without_a_part_that_is_sent_twice() {
    let bench = slow();
    let (daemon, content) = half_sent(&bench);
    assert_eq!(changed(&bench, &["pause", "--all"]), 1);
    let job = bench.wait_state(State::Paused);
    assert!((2..job.parts).contains(&job.parts_acked), "{job:?}");
    assert_eq!(bench.sandbox.stats().parts_acked, job.parts_acked, "what the host has confirmed is kept");
    assert_eq!((job.attempts, &job.why), (1, &None));
    // Another file goes its way meanwhile.
    bench.put("note.txt", b"note");
    bench.wait_for("the other file", || (bench.held("note.txt").len() == 1).then_some(()));
    let shown = do_it(&bench, &["status"]);
    assert!(shown.contains(&format!("`ferryd resume {}` continues it", job.id)), "{shown}");
    assert_eq!(changed(&bench, &["resume", &job.id.to_string()]), 1);
    bench.wait_done(2);
    assert!(bench.held("film.mov") == [content]);
    assert_eq!(bench.sandbox.stats().parts_again, 0);
    bench.stop(daemon);
}

#[test]
fn a_paused_file_stays_so_across_kill_rename_rescan_and_reload() {
    let bench = slow();
    let (daemon, content) = half_sent(&bench);
    let path = bench.drop_dir().join("film.mov");
    assert_eq!(changed(&bench, &["pause", path.to_str().unwrap()]), 1);
    let kill = Kill::now(bench.sandbox.log());
    daemon.kill();
    std::fs::rename(&path, bench.drop_dir().join("renamed.mov")).unwrap();
    let daemon = bench.start();
    bench.wait_watching();
    bench.put("note.txt", b"note");
    bench.wait_for("the rename", || bench.jobs().iter().any(|job| job.path.ends_with("renamed.mov")).then_some(()));
    assert!(do_it(&bench, &["reload"]).contains("nothing has changed"));
    bench.wait_for("the other file", || (bench.held("note.txt").len() == 1).then_some(()));
    let films: Vec<State> = bench.jobs().iter().filter(|job| job.bytes > 10).map(|job| job.state).collect();
    assert_eq!(films, [State::Paused]);
    do_it(&bench, &["resume", "--in", bench.drop_dir().to_str().unwrap()]);
    bench.wait_done(2);
    assert!([bench.held("film.mov"), bench.held("renamed.mov")].concat() == [content], "once, under the one name or the other");
    kill.only_parts_in_flight_came_again(&bench.sandbox.log());
    bench.stop(daemon);
}

#[test]
fn a_cancelled_upload_is_cancelled_at_the_host_too_and_never_sent_until_somebody_wants_it_again() {
    let bench = Bench::new().to(&["4shared"]).host("bandwidth = \"1 MiB/s\"\npart_size = \"512 KiB\"");
    let (daemon, content) = half_sent(&bench);
    let out = do_it(&bench, &["cancel", "--host", "4shared"]);
    assert!(out.starts_with("Cancelled 1 job. 1 upload under way will stop"), "{out}");
    bench.wait_state(State::Cancelled);
    bench.wait_for("the session to be given back", || (!requests(&bench, Endpoint::Abandon).is_empty()).then_some(()));
    assert!(bench.sandbox.objects().is_empty() && bench.drop_dir().join("film.mov").exists());
    bench.stop(daemon);
    let daemon = bench.start();
    bench.put("note.txt", b"note");
    bench.wait_for("the other file", || (bench.held("note.txt").len() == 1).then_some(()));
    assert_eq!(bench.wait_state(State::Cancelled).parts, 0);
    assert_eq!(changed(&bench, &["again", "--state", "cancelled"]), 1);
    bench.wait_done(2);
    assert!(bench.held("film.mov") == [content]);
    assert_eq!(requests(&bench, Endpoint::Abandon).len(), 1, "once");
    bench.stop(daemon);
}

#[test]
fn what_was_answered_outlives_the_daemon_and_what_was_not_may_not_have_happened() {
    for (order, state) in [("pause", State::Paused), ("cancel", State::Cancelled)] {
        for point in POINTS_OF_ORDERS {
            let bench = slow();
            let content = bytes(1, 2_000_000);
            bench.put("film.mov", &content);
            let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", point)]);
            bench.wait_for("a part at the host", || (bench.sandbox.stats().parts_acked >= 1).then_some(()));
            let (code, out, said) = say(&bench, &[order, "--all"]);
            assert!(code == Some(4) && out.is_empty() && said.contains("may still happen"), "{point}: {code:?} {out}{said}");
            let kill = Kill::now(bench.sandbox.log());
            bench.wait_for("its death", || daemon.ended());
            let daemon = bench.start();
            if *point == "order.before_commit" {
                bench.wait_done(1);
            } else {
                bench.wait_watching();
                assert_eq!(bench.wait_state(state).attempts, 1, "{point}");
                do_it(&bench, &[if order == "pause" { "resume" } else { "again" }, "--all"]);
                bench.wait_done(1);
            }
            assert!(bench.held("film.mov") == [content], "{order} {point}");
            if order == "pause" {
                kill.only_parts_in_flight_came_again(&bench.sandbox.log());
            }
            bench.stop(daemon);
        }
    }
}

#[test]
fn kill_9_at_any_instant_around_a_command_leaves_what_it_has_answered() {
    for round in 0..6 {
        let bench = slow();
        let (daemon, content) = half_sent(&bench);
        let mut command = bench.command(&["pause", "--all", "--json"]);
        let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // A command takes some ten milliseconds; so the daemon dies before, during and after it.
        std::thread::sleep(Duration::from_millis(4 * round));
        let kill = Kill::now(bench.sandbox.log());
        daemon.kill();
        let Output { status, stdout, .. } = child.wait_with_output().unwrap();
        let daemon = bench.start();
        bench.wait_watching();
        if status.success() {
            let answer: Value = serde_json::from_slice(&stdout).unwrap();
            assert_eq!(answer["changed"], 1);
            assert!(bench.jobs().iter().all(|job| job.state == State::Paused), "{round}: {:#?}", bench.jobs());
        }
        do_it(&bench, &["resume", "--all"]);
        bench.wait_done(1);
        assert!(bench.held("film.mov") == [content], "{round}");
        kill.only_parts_in_flight_came_again(&bench.sandbox.log());
        bench.stop(daemon);
    }
}

#[test]
fn without_a_daemon_a_command_counts_when_one_starts() {
    let bench = slow();
    let (daemon, content) = half_sent(&bench);
    daemon.kill();
    let out = do_it(&bench, &["pause", "--all"]);
    assert_eq!(out, "Paused 1 job. The daemon is not running; this counts when it starts.\n");
    let said = say(&bench, &["status"]);
    assert!(said.1.contains("not running") && !said.1.contains("PID"), "{}", said.1);
    let daemon = bench.start();
    bench.wait_watching();
    assert_eq!(bench.wait_state(State::Paused).attempts, 1);
    bench.stop(daemon);
    assert_eq!(changed(&bench, &["resume", "--state", "paused"]), 1);
    let daemon = bench.start();
    bench.wait_done(1);
    assert!(bench.held("film.mov") == [content]);
    bench.stop(daemon);
}

#[test]
fn a_done_file_is_uploaded_anew_and_both_links_are_listed() {
    let bench = Bench::new();
    let path = bench.put("film.mov", b"film");
    let daemon = bench.start();
    bench.wait_done(1);
    let file = path.to_str().unwrap();
    let out = do_it(&bench, &["pause", file]);
    assert_eq!(out, "Nothing was changed.\nLeft as it is: 1 job, done (the host has the file).\n");
    assert_eq!(changed(&bench, &["again", file]), 1);
    bench.wait_done(2);
    assert_eq!(bench.held("film.mov"), [b"film".to_vec(), b"film".to_vec()]);
    let links: Value = serde_json::from_str(&do_it(&bench, &["links", "--json"])).unwrap();
    assert_eq!(links.as_array().unwrap().len(), 2, "{links}");
    bench.stop(daemon);
    let daemon = bench.start();
    bench.put("note.txt", b"note");
    bench.wait_done(3);
    assert_eq!(bench.held("film.mov").len(), 2, "a start uploads nothing anew");
    bench.stop(daemon);
}

#[test]
fn what_is_forgotten_is_told_no_more_and_never_sent_again_by_itself() {
    let bench = Bench::new();
    for name in ["film.mov", "note.txt"] {
        bench.put(name, name.as_bytes());
    }
    let daemon = bench.start();
    bench.wait_done(2);
    let path = bench.drop_dir().join("film.mov");
    let path = path.to_str().unwrap();
    assert_eq!(changed(&bench, &["forget", "--older-than", "1h"]), 0);
    assert_eq!(do_it(&bench, &["forget", path, "--dry-run"]), "Would remove 1 job from the history.\n");
    assert_eq!(bench.jobs().len(), 2, "nothing has happened yet");
    assert_eq!(do_it(&bench, &["forget", path]), "Removed 1 job from the history.\n");
    let (code, _, said) = say(&bench, &["forget"]);
    assert!(code == Some(2) && said.contains("--older-than"), "{said}");
    bench.stop(daemon);
    assert_eq!(changed(&bench, &["forget", "--all"]), 1, "without a daemon, too");
    let document: Value = serde_json::from_str(&do_it(&bench, &["status", "--json"])).unwrap();
    assert_eq!((&document["totals"]["done"], &document["bytes"]["sent"]), (&Value::from(0), &Value::from(0)));
    // A restart, a rescan and another name make no new job of what is known.
    std::fs::rename(bench.drop_dir().join("note.txt"), bench.drop_dir().join("renamed.txt")).unwrap();
    let daemon = bench.start();
    bench.wait_watching();
    bench.put("new.txt", b"new");
    bench.wait_done(1);
    assert_eq!(bench.jobs().len(), 1);
    assert!(do_it(&bench, &["why", path]).contains("removed from the history with `ferryd forget`"));
    assert_eq!(bench.held("film.mov").len() + bench.held("note.txt").len() + bench.held("renamed.txt").len(), 2);
    bench.stop(daemon);
}

/// What `ferryd send` prints that succeeds, for these files and the one host.
fn send(bench: &Bench, files: &[&std::path::Path], more: &[&str]) -> String {
    let files = files.iter().map(|file| file.to_str().unwrap());
    let words: Vec<&str> = ["send", "--to", "cloudkp"].into_iter().chain(more.iter().copied()).chain(files).collect();
    do_it(bench, &words)
}

#[test]
fn a_file_outside_every_watch_is_sent_by_name_once_and_its_link_is_printed() {
    let bench = Bench::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().canonicalize().unwrap();
    let (film, notes) = (folder.join("film.mov"), folder.join("notes"));
    std::fs::write(&film, bytes(1, 3_000_000)).unwrap();
    std::fs::create_dir(&notes).unwrap();
    std::fs::write(notes.join("one.txt"), "one").unwrap();
    let daemon = bench.start();
    bench.wait_watching();
    let link = send(&bench, &[&film], &["--wait"]);
    assert!(link.starts_with("http") && link.lines().count() == 1, "{link}");
    assert!(bench.held("film.mov") == [bytes(1, 3_000_000)]);
    // Again it is the same, and what a folder holds goes with it.
    let both = send(&bench, &[&film, &notes], &["--wait"]);
    assert!(both.contains(link.trim()) && both.lines().count() == 2, "{both}");
    assert_eq!((bench.held("film.mov").len(), bench.held("one.txt")), (1, vec![b"one".to_vec()]));
    assert!(send(&bench, &[&film], &[]).contains("has `") && bench.jobs().len() == 2);
    // A reload and a restart leave it alone, though no watch knows of it.
    std::fs::write(&film, "changed").unwrap();
    assert_eq!(do_it(&bench, &["send", film.to_str().unwrap(), "--to", "cloudkp"]), "In the queue: 1 upload.\n");
    do_it(&bench, &["reload"]);
    daemon.kill();
    let daemon = bench.start();
    bench.wait_done(3);
    assert_eq!(bench.held("film.mov").len(), 2);
    bench.stop(daemon);
}

#[test]
fn without_a_daemon_a_file_is_sent_when_one_starts_or_by_one_of_its_own() {
    let bench = Bench::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let film = elsewhere.path().canonicalize().unwrap().join("film.mov");
    std::fs::write(&film, "film").unwrap();
    let told = send(&bench, &[&film], &[]);
    assert!(told.contains("The daemon is not running"), "{told}");
    let link = send(&bench, &[&film], &["--wait"]);
    assert!(link.starts_with("http"), "{link}");
    assert!(bench.held("film.mov") == [b"film".to_vec()]);
    let document: Value = serde_json::from_str(&send(&bench, &[&film], &["--json"])).unwrap();
    assert_eq!((&document["running"], &document["jobs"][0]["state"]), (&Value::from(false), &Value::from("done")));
}

#[test]
fn what_cannot_be_sent_is_told_file_by_file_and_the_others_go() {
    let bench = Bench::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().canonicalize().unwrap();
    std::fs::write(folder.join("note.txt"), "note").unwrap();
    let daemon = bench.start();
    bench.wait_watching();
    let (there, missing) = (folder.join("note.txt"), folder.join("none"));
    let (there, missing) = (there.to_str().unwrap(), missing.to_str().unwrap());
    let (code, out, said) = say(&bench, &["send", there, missing, "--to", "cloudkp", "--wait"]);
    assert!(code == Some(2) && out.starts_with("http") && said.contains("No such file"), "{out}{said}");
    let (code, _, said) = say(&bench, &["send", there, "--to", "claudkp"]);
    assert!(code == Some(2) && said.contains("did you mean `cloudkp`"), "{said}");
    bench.faults(one(Endpoint::Chunk, When::Always, Action::Status { code: 503, body: ErrorBody::Plain, stored: false }));
    std::fs::write(folder.join("other.txt"), "other").unwrap();
    let other = folder.join("other.txt");
    let (code, out, said) = say(&bench, &["send", other.to_str().unwrap(), "--to", "cloudkp", "--wait", "--timeout", "1s"]);
    assert!(code == Some(1) && out.is_empty(), "{out}{said}");
    bench.stop(daemon);
}

#[test]
fn what_nobody_knows_is_named_with_what_may_have_been_meant() {
    let bench = Bench::new();
    bench.put("film.mov", b"film");
    let (code, _, said) = say(&bench, &["pause", "8"]);
    assert!(code == Some(2) && said.contains("There is no queue"), "{said}");
    let daemon = bench.start();
    bench.wait_done(1);
    let drop_dir = bench.drop_dir();
    let file = |name: &str| drop_dir.join(name).to_str().unwrap().to_owned();
    let (wrong, folder) = (file("flim.mov"), drop_dir.to_str().unwrap().to_owned());
    let cases: [(&[&str], &str); 6] = [
        (&["pause", "99"], "there is no job 99"),
        (&["cancel", &wrong], "did you mean `film.mov`?"),
        (&["cancel", &folder], "--in"),
        (&["retry", "--host", "cloudpk"], "did you mean `cloudkp`?"),
        (&["retry", "--state", "hold"], "held"),
        (&["resume"], "--all"),
    ];
    for (words, expected) in cases {
        let (code, out, said) = say(&bench, words);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}: {said}");
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    bench.stop(daemon);
}

#[test]
fn clients_that_hang_or_talk_rubbish_hold_up_nobody() {
    let bench = Bench::new().host("bandwidth = \"256 KiB/s\"");
    let (daemon, _) = half_sent(&bench);
    let socket = bench.state_dir().join("ferryd.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let idle: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for rubbish in
        [&b"\n"[..], b"{}\n", b"\xff\xfe\n", b"{\"version\":7,\"ask\":\"stop\"}\n", b"{\"version\":1,\"ask\":\"steer\"}\n"]
    {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(rubbish).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let reply: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&reply["version"], &reply["reply"]), (&Value::from(1), &Value::from("failed")), "{said}");
    }
    // A line without an end is given up long before it fills the memory.
    let mut endless = UnixStream::connect(&socket).unwrap();
    let line = vec![b'x'; 1 << 20];
    while endless.write_all(&line).is_ok() {}
    let begun = Instant::now();
    assert_eq!(changed(&bench, &["pause", "--all"]), 1);
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(idle);
    bench.wait_state(State::Paused);
    bench.stop(daemon);
}

#[test]
fn stop_and_reload_tell_what_came_of_them() {
    let bench = Bench::new();
    for words in [["stop"], ["reload"]] {
        let (code, _, said) = say(&bench, &words);
        assert!(code == Some(4) && said.contains("not running"), "{said}");
    }
    let daemon = bench.start();
    bench.wait_watching();
    assert_eq!(do_it(&bench, &["reload"]), "Configuration reloaded: nothing has changed.\n");
    let bench = bench.change("settle = \"0s\"", "settle = \"1s\"");
    let changes = do_it(&bench, &["reload", "--json"]);
    assert!(changes.contains("changed") && changes.contains("watch"), "{changes}");
    let bench = bench.change("settle = \"1s\"", "settel = \"1s\"");
    let (code, _, said) = say(&bench, &["reload", "--state-dir", bench.state_dir().to_str().unwrap()]);
    assert!(code == Some(3) && said.contains("settel") && said.contains("old one"), "{said}");
    assert!(say(&bench, &["status"]).1.contains("settel"), "and status tells it, too");
    let out = do_it(&bench, &["stop", "--state-dir", bench.state_dir().to_str().unwrap()]);
    assert_eq!(out, "The daemon has stopped: it was told to stop.\n");
    assert!(daemon.stop().success(), "it has ended by itself");
}

#[test]
fn waiting_ends_when_nothing_is_left_and_says_when_a_person_is_needed() {
    let bench = slow();
    let (daemon, content) = half_sent(&bench);
    let (code, out, _) = say(&bench, &["wait", "--timeout", "0s"]);
    assert_eq!((code, out.as_str()), (Some(1), "Not over yet: 1 job to go.\n"));
    assert_eq!(do_it(&bench, &["wait", "--timeout", "100s"]), "Nothing is left to do.\n");
    assert!(bench.held("film.mov") == [content]);
    bench.faults(one(Endpoint::Chunk, When::Always, Action::Status { code: 407, body: ErrorBody::Plain, stored: false }));
    bench.put("refused", b"refused");
    let (code, out, said) = say(&bench, &["wait", "--timeout", "100s"]);
    assert_eq!(code, Some(5), "{out}{said}");
    assert!(out.contains("1 held"), "{out}");
    bench.faults(Default::default());
    do_it(&bench, &["retry", "--state", "held"]);
    do_it(&bench, &["wait", "--timeout", "100s"]);
    assert_eq!(bench.held("refused").len(), 1);
    bench.stop(daemon);
}

#[test]
fn a_file_that_may_be_on_the_host_is_sent_again_when_a_person_says_so() {
    let bench = Bench::with(|options| options.rules.cloudkp.replay = Replay::Error).host("on_unknown = \"hold\"");
    bench.faults(one(Endpoint::Finish, When::Nth(1), Action::LoseReply { reset: true }));
    bench.put("film.mov", b"film");
    let daemon = bench.start();
    let job = bench.wait_state(State::Held);
    let number = job.id.to_string();
    assert_eq!(changed(&bench, &["again", &number]), 1);
    bench.wait_done(1);
    assert_eq!(bench.held("film.mov").len(), 2);
    assert!(bench.jobs().iter().all(|job| job.maybe_duplicate));
    let shown = do_it(&bench, &["show", &number]);
    assert!(shown.contains("film.mov") && shown.contains("is done") && shown.contains("may have it twice"), "{shown}");
    let shown: Value = serde_json::from_str(&do_it(&bench, &["show", &number, "--json"])).unwrap();
    assert_eq!((&shown["job"]["state"], &shown["committing"]), (&Value::from("done"), &Value::from(false)));
    assert_eq!(say(&bench, &["show", "99"]).0, Some(2));
    bench.stop(daemon);
}

#[test]
fn the_link_of_a_file_is_that_of_its_newest_upload() {
    let bench = Bench::new();
    let path = bench.put("film.mov", b"film");
    let daemon = bench.start();
    bench.wait_done(1);
    let file = path.to_str().unwrap();
    let link = || do_it(&bench, &["link", file]);
    let first = link();
    assert_eq!(first.trim_end(), bench.jobs()[0].link.as_deref().unwrap());
    do_it(&bench, &["again", file]);
    let jobs = bench.wait_done(2);
    let newest = jobs.iter().max_by_key(|job| job.id).unwrap().link.clone().unwrap();
    assert!(link().trim_end() == newest && link() != first);
    let (code, _, said) = say(&bench, &["link", bench.drop_dir().join("flim.mov").to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("did you mean `film.mov`?"), "{said}");
    bench.stop(daemon);
}

#[test]
fn a_host_without_lasting_links_gives_a_fresh_one_that_leads_to_the_file() {
    let bench = Bench::new().to(&["koodrive"]);
    let path = bench.put("film.mov", b"film");
    let daemon = bench.start();
    assert!(bench.wait_done(1)[0].link.is_none());
    bench.stop(daemon);
    let document: Value = serde_json::from_str(&do_it(&bench, &["link", path.to_str().unwrap(), "--json"])).unwrap();
    assert_eq!(document["temporary"], true);
    let link = document["link"].as_str().unwrap();
    assert!(link.starts_with("http"), "{document}");
    let (host, rest) = link.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /{rest} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("film"), "{reply}");
}

#[test]
fn a_path_is_told_about_whether_it_became_a_job_or_not() {
    let bench = Bench::new();
    bench.put("film.mov", b"film");
    std::fs::write(bench.drop_dir().join("film.part"), b"film").unwrap();
    let why = |bench: &Bench, path: std::path::PathBuf| do_it(bench, &["why", path.to_str().unwrap()]);
    assert!(why(&bench, bench.drop_dir().join("film.mov")).contains("It belongs to the watch"), "also without a queue");
    let daemon = bench.start();
    bench.wait_done(1);
    let open = std::fs::File::create(bench.drop_dir().join("open.mov")).unwrap();
    (&open).write_all(b"still").unwrap();
    let cases = [
        ("film.mov", "Job 1 to cloudkp is done: http"),
        ("film.part", "`*.part` in the watch's `exclude` leaves it out."),
        ("none", "There is no such file."),
        ("../elsewhere", "It is in no watched folder."),
    ];
    for (name, expected) in cases {
        let told = why(&bench, bench.drop_dir().join(name).components().collect());
        let told = if name.starts_with("..") { why(&bench, bench.dir.path().join("elsewhere")) } else { told };
        assert!(told.contains(expected), "{name}: {told}");
    }
    let told = why(&bench, bench.drop_dir().join("open.mov"));
    assert!(told.contains("open for writing") || told.contains("Nobody can tell"), "{told}");
    let document: Value =
        serde_json::from_str(&do_it(&bench, &["why", "--json", bench.drop_dir().join("film.mov").to_str().unwrap()])).unwrap();
    assert_eq!((&document["jobs"][0]["state"], &document["hosts"][0]), (&Value::from("done"), &Value::from("cloudkp")));
    bench.stop(daemon);
}
