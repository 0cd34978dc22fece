//! What a person reads, word for word: help, status, findings, complaints. Whatever changes from run to run is replaced by its name
//! in brackets. The texts are in `snapshots/`; `INSTA_UPDATE=always cargo test --test it messages::` writes what is said now, and
//! `git diff` shows what has changed.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ferryd::internals::job::State;
use ferryd_sandbox::faults::{Action, Endpoint, When};

use crate::bench_top::{Bench, one};

/// What differs from run to run, as regular expressions, and what stands in its place.
const CHANGING: [(&str, &str); 13] = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "[time]"),
    (r"  \d\d:\d\d  ", "  [time]  "),
    (r"\b\d+ (s|min|h|d) ago", "[long] ago"),
    (r"\b(in|for) \d+ (s|min|h|d)\b", "$1 [long]"),
    (r"PID \d+", "PID [pid]"),
    (r#"("pid": ?)\d+"#, "$1[pid]"),
    (r#"("attempts": ?)\d+"#, "$1[n]"),
    (r#"("remote_id": ?)"[^"]+""#, r#"$1"[id]""#),
    (r"\?c=[0-9A-Za-z]+", "?c=[id]"),
    (r"[0-9.]+ [KMGT]iB free", "[size] free"),
    // Only Linux has it.
    (r"(?m)^ok +inotify limit: [\d,]+ folders\n", ""),
    (r"(?m) +$", ""),
];

/// The columns of a table are as wide as what stands in them.
const COLUMNS: (&str, &str) = (r"(\S) {2,}", "$1  ");

/// Compares how a command ended and what it said with the snapshot of this name; `known` are texts of this run, and their names.
fn says(name: &str, known: &[(&str, &str)], mut command: Command) {
    command.env("COLUMNS", "100").env_remove("FERRYD_LOG").env_remove("FERRYD_CONFIG").env_remove("NO_COLOR");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    let said = format!("exit code {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr));
    let said = known.iter().fold(said, |said, (text, name)| said.replace(text, name));
    let is_table = said.contains("JOB ") || said.contains("TIME ");
    let mut settings = insta::Settings::clone_current();
    for (changing, name) in CHANGING.into_iter().chain(is_table.then_some(COLUMNS)) {
        settings.add_filter(changing, name);
    }
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, said));
}

fn of_bench(name: &str, bench: &Bench, words: &[&str]) {
    let (dir, addr) = (bench.dir.path().to_str().unwrap(), bench.sandbox.addr().to_string());
    says(name, &[(dir, "[dir]"), (&addr, "[addr]")], bench.command(words));
}

fn plain(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferryd"));
    command.args(words);
    command
}

#[test]
fn help_of_every_command() {
    says("help", &[], plain(&["--help"]));
    for command in
        ["run", "status", "links", "why", "show", "link", "retry", "pause", "cancel", "again", "wait", "check", "demo", "sandbox"]
    {
        says(&format!("help_{command}"), &[], plain(&[command, "--help"]));
    }
}

#[test]
fn a_wrong_command_line() {
    says("wrong_command", &[], plain(&["stats"]));
    says("wrong_option", &[], plain(&["status", "--state", "don"]));
}

/// A queue with a job that is done and one that failed, one of a host that a person must look at, one of a host that rests, and one
/// more for each of these two.
fn in_every_state() -> Bench {
    let bench = Bench::with(|options| options.rules.fourshared.upload_right = false);
    let bench = bench.to(&["cloudkp", "kie", "4shared"]).watch("settle = \"0s\"\nmin_size = \"0 B\"");
    let bench = bench.change("api_key = \"sk-test\"", "api_key = \"wrong\"");
    let bench = bench.change("kind = \"cloudkp\"", "kind = \"cloudkp\"\nempty_file = \"reject\"");
    let daemon = bench.start();
    let wait_for = |wanted: &[(State, usize)]| {
        let count = |state: State| bench.jobs().iter().filter(|job| job.state == state).count();
        bench.wait_for("the jobs", || wanted.iter().all(|(state, jobs)| count(*state) == *jobs).then_some(()));
    };
    bench.put("one\n.txt", b"content");
    wait_for(&[(State::Done, 1), (State::Held, 1), (State::Waiting, 1)]);
    bench.put("empty.txt", b"");
    wait_for(&[(State::Failed, 1), (State::Queued, 2)]);
    bench.stop(daemon);
    bench
}

#[test]
fn the_queue_as_status_and_links_show_it() {
    let bench = in_every_state();
    of_bench("status", &bench, &["status"]);
    of_bench("status_json", &bench, &["status", "--json"]);
    of_bench("status_of_some", &bench, &["status", "--state", "held", "--state", "failed", "--host", "kie", "--limit", "1"]);
    of_bench("links", &bench, &["links"]);
    of_bench("links_json", &bench, &["links", "--json"]);
    of_bench("unknown_host", &bench, &["links", "--host", "clowdkp"]);
    let daemon = bench.start();
    bench.wait_watching();
    of_bench("second_daemon", &bench, &["run"]);
    bench.stop(daemon);
}

#[test]
fn queued_jobs_say_whom_they_wait_for() {
    let bench = Bench::new().change("[daemon]\n", "[daemon]\nmax_uploads = 1\n");
    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 100.0 }));
    let daemon = bench.start();
    bench.wait_watching();
    let mut path = bench.put("first", b"content");
    bench.wait_state(State::Uploading);
    for (queued, name) in [(1, "second"), (2, "third")] {
        path = bench.put(name, b"content");
        let count = || bench.jobs().iter().filter(|job| job.state == State::Queued).count();
        bench.wait_for("the job", || (count() == queued).then_some(()));
    }
    of_bench("status_of_queued", &bench, &["status", "--state", "queued"]);
    of_bench("why_queued", &bench, &["why", path.to_str().unwrap()]);
    daemon.kill();
}

#[test]
fn a_queue_that_is_not_there_yet() {
    let bench = Bench::new();
    of_bench("status_without_queue", &bench, &["status"]);
    let daemon = bench.start();
    bench.wait_watching();
    of_bench("status_of_nothing", &bench, &["status"]);
    bench.stop(daemon);
}

#[test]
fn findings_of_check() {
    let hooks =
        "\n[[hook]]\non = [\"done\"]\ncommand = [\"no-such-program\", \"{link}\"]\n[[hook]]\non = [\"failed\"]\nsidecar = true\n";
    let good = Bench::new().to(&["cloudkp", "kie"]);
    of_bench("check", &good, &["check"]);
    let bad = Bench::new().to(&["cloudkp", "kie"]).host(hooks).change("\"sk-test\"", "{ env = \"FERRYD_TEST_NOT_SET\" }");
    std::fs::remove_dir(bad.drop_dir()).unwrap();
    of_bench("check_bad", &bad, &["check"]);
    let refused = Bench::new().to(&["kie", "uploadgig"]).change("\"sk-test\"", "\"wrong\"");
    of_bench("check_online", &refused, &["check", "--online"]);
}

/// What is said of this configuration.
fn complaint(name: &str, text: &str, mode: u32) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    says(name, &[(dir.path().to_str().unwrap(), "[dir]")], plain(&["--config", file.to_str().unwrap(), "check"]));
}

#[test]
fn complaints_about_a_configuration() {
    says("config_missing", &[], plain(&["--config", "/nowhere/config.toml", "run"]));
    complaint("config_empty", "", 0o600);
    complaint("config_syntax", "[daemon]\nmax_uploads = \n\n[[watch]\npath = \"/drop\"\n", 0o600);
    let many = "[daemon]\nmax_upload = 3\nbandwidth = \"fast\"\n\n[[watch]]\npath = \"Drop\"\nto = [\"bxo\"]\nsettle = 2\n\
                include = [\"[\"]\n\n[host.box]\nkind = \"cloudpk\"\n\n[host.kie]\nkind = \"kie\"\napi_key = { env = 7 }\n\n\
                [[hook]]\non = [\"don\"]\ncommand = [\"echo\", \"{lnk}\"]\n";
    complaint("config_many", many, 0o600);
    let secret = "[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n\n[host.box]\nkind = \"kie\"\napi_key = \"hunter2\"\n";
    complaint("config_open_to_others", secret, 0o644);
}

#[test]
fn no_snapshot_is_left_over() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let source = std::fs::read_to_string(here.join("messages.rs")).unwrap();
    let files = std::fs::read_dir(here.join("snapshots")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_used = |file: &String| {
        let name = file.strip_prefix("it__messages__").and_then(|name| name.strip_suffix(".snap"));
        name.is_some_and(|name| source.contains(&format!("\"{}\"", name.trim_start_matches("help_"))))
    };
    let left_over: BTreeSet<String> = files.filter(|file| file.ends_with(".snap") && !is_used(file)).collect();
    assert_eq!(left_over, BTreeSet::new());
}
