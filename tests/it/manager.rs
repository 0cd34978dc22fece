//! What a service manager hears of the daemon, and what is in its journal.
#![cfg(target_os = "linux")]

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::bench_top::{Bench, Daemon, bytes};

/// The manager's end of the notification socket.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn of(bench: &Bench) -> Manager {
        let socket = UnixDatagram::bind(Manager::path(bench)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Manager { socket }
    }

    fn path(bench: &Bench) -> std::path::PathBuf {
        bench.dir.path().join("notify")
    }

    /// Listens until something says all of these lines, which may be beginnings, and answers all that was heard up to then.
    fn hear(&self, lines: &[&str]) -> Vec<String> {
        let (mut heard, begun) = (Vec::new(), std::time::Instant::now());
        loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "{lines:?} is not in {heard:#?}");
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {lines:?} is not in {heard:#?}"));
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            let said = heard.last().unwrap();
            if lines.iter().all(|line| said.lines().any(|one| one.starts_with(line))) {
                return heard;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_how_the_daemon_is_from_its_start_to_its_end() {
    let bench = Bench::new().host("bandwidth = \"512 KiB/s\"");
    let manager = Manager::of(&bench);
    let path = Manager::path(&bench);
    let daemon = bench.start_with(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "3000000")]);
    manager.hear(&["READY=1"]);
    assert!(bench.log_text().contains(" watching"), "ready was said before every folder was watched");
    bench.put("film.mov", &bytes(1, 3_000_000));
    manager.hear(&["STATUS=0 up, 1 uploading"]);
    let heard = manager.hear(&["STATUS=1 up"]);
    assert!(heard.iter().filter(|said| said.trim_end() == "WATCHDOG=1").count() >= 2, "{heard:?}");
    // At rest, too.
    manager.hear(&["WATCHDOG=1"]);
    manager.hear(&["WATCHDOG=1"]);
    daemon.signal(Signal::HUP);
    manager.hear(&["RELOADING=1", "MONOTONIC_USEC="]);
    manager.hear(&["READY=1"]);
    let refused = bench.change("settle = \"0s\"", "settel = \"0s\"");
    refused.config();
    daemon.signal(Signal::HUP);
    manager.hear(&["RELOADING=1", "MONOTONIC_USEC="]);
    manager.hear(&["READY=1"]);
    daemon.signal(Signal::TERM);
    manager.hear(&["STOPPING=1", "STATUS=stopping: "]);
    assert!(daemon.stop().success());
}

#[test]
fn a_change_of_every_moment_is_told_no_more_often_than_every_two_seconds() {
    let bench = Bench::new();
    let manager = Manager::of(&bench);
    let path = Manager::path(&bench);
    let begun = std::time::Instant::now();
    let daemon = bench.start_with(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    for number in 0..40 {
        bench.put(&format!("{number}.txt"), b"note");
    }
    let heard = manager.hear(&["STATUS=40 up"]);
    let lines = heard.iter().filter(|said| said.starts_with("STATUS=")).count() as u64;
    assert!(lines <= 2 + begun.elapsed().as_secs() / 2, "{heard:?}");
    bench.stop(daemon);
}

#[test]
fn the_journal_gets_a_priority_before_each_line_and_a_file_none() {
    let bench = Bench::new();
    let log = std::fs::File::create(bench.log_file()).unwrap().metadata().unwrap();
    let daemon = bench.start_with(&[("JOURNAL_STREAM", &format!("{}:{}", log.dev(), log.ino()))]);
    bench.put("film.mov", b"film");
    bench.wait_done(1);
    // What it says of it is an error with several lines.
    let bench = bench.change("settle = \"0s\"", "settel = \"0s\"");
    bench.config();
    daemon.signal(Signal::HUP);
    bench.wait_for("the refusal", || bench.log_text().contains("keeping the old configuration").then_some(()));
    let text = bench.log_text();
    assert!(text.lines().all(|line| line.starts_with('<') && line.get(2..3) == Some(">")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("<3>") && line.contains("settel")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("<6>") && line.contains("uploaded")), "{text}");
    assert!(daemon.stop().success());
    let bench = bench.change("settel", "settle");
    let daemon = bench.start_with(&[("JOURNAL_STREAM", "1:1")]);
    bench.stop(daemon);
    let text = bench.log_text();
    assert!(!text.lines().last().unwrap().starts_with('<'), "{text}");
}

#[test]
fn the_log_tells_a_files_way_and_in_json_each_step_names_it_in_fields() {
    let bench = Bench::new().watch("settle = \"1s\"");
    let mut command = bench.command(&["run", "--log-format", "json"]);
    command.env_remove("JOURNAL_STREAM");
    let daemon = Daemon::spawn(command, &bench);
    let watching = || bench.log_text().contains("watching").then_some(());
    bench.wait_for("the daemon to watch", watching);
    let path = bench.put("film.mov", &bytes(1, 100_000));
    let link = bench.wait_done(1)[0].link.clone().unwrap();
    assert!(daemon.stop().success());
    let text = bench.log_text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let mut of_file = lines.iter().filter(|line| line["path"] == path.to_str().unwrap());
    let steps: Vec<&str> = of_file.clone().map(|line| line["message"].as_str().unwrap().split(' ').next().unwrap()).collect();
    let named = format!("{path:?}");
    assert_eq!(steps, ["seen", named.as_str(), "uploading", "uploaded"], "{text}");
    let last = of_file.next_back().unwrap();
    let message = last["message"].as_str().unwrap();
    assert!(message.contains("97.7 KiB in ") && message.contains("/s)") && message.ends_with(&format!(": {link}")), "{message}");
    assert_eq!((&last["level"], &last["host"], &last["job.id"]), (&"INFO".into(), &"cloudkp".into(), &"1".into()));
    assert_eq!((&last["bytes"], &last["link"]), (&100_000.into(), &link.as_str().into()));
}

#[test]
fn a_wrong_word_about_the_log_is_refused() {
    let bench = Bench::new();
    for words in [["run", "--log", "verbose"], ["run", "--log-format", "xml"]] {
        let output = bench.command(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words[2]), "{words:?}");
    }
}
