//! What the commands that read the queue answer: exit codes, what goes to stdout and what to stderr.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ferryd::internals::store::FILE_NAME;

use crate::bench_top::Bench;
use crate::disasters::without_privileges;

/// The commands that only look.
const LOOKS: [&[&str]; 4] = [&["status"], &["status", "--json"], &["links"], &["links", "--json"]];

/// A bench whose queue has one done job.
fn used() -> Bench {
    let bench = Bench::new();
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    bench
}

fn answer(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_host_that_nobody_knows_is_a_mistake_of_the_command_line() {
    let bench = used().change("[host.cloudkp]", "[host.box]").change("to = [\"cloudkp\"]", "to = [\"box\"]");
    for words in LOOKS {
        let ask = |host| answer(bench.command(&[words, &["--host", host]].concat()));
        let (code, out, said) = ask("bxo");
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        assert!(
            said.contains("no host `bxo`; the known hosts are `box`, `cloudkp`") && said.contains("did you mean `box`?"),
            "{said}"
        );
        let (code, out, said) = ask("cloudkp");
        assert_eq!((code, said.as_str()), (Some(0), ""), "its jobs are in the queue");
        assert!(out.contains("drop/file") || out.contains(" file "), "{out}");
        let (code, out, said) = ask("box");
        assert_eq!((code, said.as_str()), (Some(0), ""), "it is configured");
        assert!(!out.contains("drop/file") && !out.contains(" file "), "{out}");
    }
}

#[test]
fn a_daemon_that_has_never_run_has_no_queue_and_that_is_said() {
    let bench = Bench::new();
    let look = |words| {
        let (code, out, said) = answer(bench.command(words));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("There is no queue in `") && said.contains("ferryd run"), "{words:?}: {said}");
        out
    };
    let outs = LOOKS.map(look);
    let json: serde_json::Value = serde_json::from_str(&outs[1]).unwrap();
    assert_eq!((json["version"].as_u64(), json["jobs"].as_array().map(Vec::len)), (Some(1), Some(0)));
    assert!(outs[0].contains("not running") && outs[2].is_empty() && outs[3] == "[]\n", "{outs:?}");
    assert_eq!(answer(bench.command(&["status", "--host", "bxo"])).0, Some(2), "the configuration knows the hosts");
    // A queue whose maker had no room for more than its name.
    std::fs::create_dir(bench.state_dir()).unwrap();
    File::create(bench.state_dir().join(FILE_NAME)).unwrap();
    assert_eq!(LOOKS.map(look)[3], "[]\n");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_finds_no_room_is_a_failure_and_a_closed_pipe_is_none() {
    let bench = used();
    for words in LOOKS.into_iter().chain([&["check"][..]]) {
        let mut full = bench.command(words);
        full.stdout(File::options().write(true).open("/dev/full").unwrap());
        let (code, _, said) = answer(full);
        assert_eq!(code, Some(1), "{words:?}: {said}");
        assert!(said.contains("cannot write the output") && said.contains("No space left"), "{words:?}: {said}");
        let mut child =
            bench.command(words).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn what_is_wrong_with_the_queue_has_an_exit_code_of_its_own() {
    let bench = used();
    let queue = bench.state_dir().join(FILE_NAME);
    let good = std::fs::read(&queue).unwrap();
    let every = |words: &str, say: &dyn Fn(&[&str]) -> Command| {
        for command in LOOKS.into_iter().chain([&["check"][..]]) {
            let (code, out, said) = answer(say(command));
            assert_eq!(code, Some(4), "{command:?}: {out}{said}");
            assert!(format!("{out}{said}").contains(words), "{command:?}: {out}{said}");
        }
    };
    let (code, out, said) = answer(bench.command(&["check"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("queue: no damage found"), "{out}");

    rusqlite::Connection::open(&queue).unwrap().pragma_update(None, "user_version", 99).unwrap();
    every("schema version 99", &|words| bench.command(words));
    std::fs::write(&queue, b"rubbish ".repeat(1000)).unwrap();
    every("damaged", &|words| bench.command(words));
    std::fs::write(&queue, &good).unwrap();
    std::fs::set_permissions(bench.state_dir(), PermissionsExt::from_mode(0o000)).unwrap();
    every(&bench.state_dir().to_string_lossy(), &|words| without_privileges(&bench, words));
    std::fs::set_permissions(bench.state_dir(), PermissionsExt::from_mode(0o700)).unwrap();

    // Damage that nobody meets by chance: a page somewhere in the middle.
    let page: i64 = {
        let database = rusqlite::Connection::open(&queue).unwrap();
        database.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_ready'", [], |row| row.get(0)).unwrap()
    };
    let mut bytes = good;
    let end = usize::try_from(page).unwrap() * 4096;
    bytes[end - 4096..end].fill(7);
    std::fs::write(&queue, bytes).unwrap();
    let (code, out, _) = answer(bench.command(&["check"]));
    assert!(code == Some(4) && out.contains("damaged") && out.contains("sets a damaged queue aside"), "{out}");
    std::fs::remove_dir_all(bench.drop_dir()).unwrap();
    let (code, _, said) = answer(bench.command(&["check"]));
    assert!(code == Some(3) && said.contains("2 problems"), "what is wrong with the configuration goes first: {said}");
}

#[test]
fn a_host_that_does_not_answer_is_no_fault_of_the_configuration() {
    let kind = ["uploadgig"];
    let bench = Bench::new().to(&kind);
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = {
        let to = addr.to_string();
        let from = bench.sandbox.addr().to_string();
        bench.change(&from, &to)
    };
    let (code, out, _) = answer(bench.command(&["check", "--online"]));
    assert_eq!(code, Some(1), "{out}");
}

#[test]
fn check_tells_what_a_start_would_upload_to_each_host() {
    let bench = Bench::new().to(&["cloudkp", "kie"]).watch("settle = \"0s\"\nexclude = [\"*.tmp\"]");
    let checked = || {
        let (code, out, said) = answer(bench.command(&["check"]));
        assert_eq!(code, Some(0), "{said}");
        out.lines().find(|line| line.contains("a start would upload")).map(str::to_owned).unwrap_or_else(|| panic!("{out}"))
    };
    bench.put("sub/one", &[0; 1024]);
    bench.put("two", &[0; 1024]);
    bench.put("three.tmp", &[0; 1024]);
    assert!(checked().ends_with("2 new files (2.0 KiB) to `cloudkp`, 2 new files (2.0 KiB) to `kie`"), "{}", checked());
    let daemon = bench.start();
    bench.wait_done(4);
    bench.stop(daemon);
    assert!(checked().contains("no new files"), "{}", checked());
    bench.put("four", &[0; 100]);
    assert!(checked().ends_with("1 new file (100 B) to `cloudkp`, 1 new file (100 B) to `kie`"), "{}", checked());
}

/// A process that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_practice_hosts_write_a_configuration_that_can_be_used_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let ferryd = || Command::new(env!("CARGO_BIN_EXE_ferryd"));
    let config = dir.path().join("practice.toml");
    let mut hosts = ferryd();
    hosts.args(["sandbox", "--listen", "127.0.0.1:0", "--write-config"]).arg(&config).stdout(Stdio::piped());
    let mut hosts = Ended(hosts.spawn().unwrap());
    let told: Vec<String> = BufReader::new(hosts.0.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    assert!(told[1].starts_with("# Now run: ferryd --config ") && told[2].ends_with("practice.d/Drop"), "{told:?}");
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let with = |words: &[&str]| {
        let mut command = ferryd();
        command.arg("--config").arg(&config).args(words);
        command
    };
    let mut daemon = Ended(with(&["run"]).stderr(Stdio::null()).spawn().unwrap());
    let drop = dir.path().join("practice.d/Drop");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !drop.is_dir() {
        assert!(Instant::now() < deadline && daemon.0.try_wait().unwrap().is_none(), "no folder, or no daemon");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(drop.join("file"), "content").unwrap();
    let links = || answer(with(&["links", "--json"])).1.matches("\"state\":\"done\"").count();
    let kinds = ferryd_sandbox::kinds().len();
    while links() < kinds {
        assert!(Instant::now() < deadline, "{} of {kinds}", links());
        std::thread::sleep(Duration::from_millis(50));
    }
    let (code, _, said) = answer(with(&["stop"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(daemon.0.wait().unwrap().success());
    let mut again = ferryd();
    again.args(["sandbox", "--listen", "127.0.0.1:0", "--write-config"]).arg(&config);
    let (code, _, said) = answer(again);
    assert!(code == Some(2) && said.contains("practice.toml"), "nothing is overwritten: {said}");
}
