//! The queue damaged, locked, newer, on a full disk; files and folders that cannot be read; a configuration that changes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ferryd::internals::job::{ReasonClass, State};
use ferryd::internals::os::lock;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, When};
use rustix::process::Signal;

use crate::bench_top::{Bench, Daemon, bytes, one};

fn run_to_its_end(bench: &Bench) -> (Option<i32>, String) {
    let output = bench.command(&["run"]).output().unwrap();
    (output.status.code(), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn queue(bench: &Bench) -> PathBuf {
    bench.state_dir().join(ferryd::internals::store::FILE_NAME)
}

fn set_aside(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.state_dir()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("queue.damaged-")).collect()
}

#[test]
fn a_database_of_rubbish_is_set_aside_and_the_files_are_found_again() {
    let bench = Bench::new();
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    std::fs::write(queue(&bench), bytes(9, 50_000)).unwrap();
    let shown = bench.command(&["status"]).output().unwrap();
    assert_eq!(shown.status.code(), Some(4));
    assert!(text(&shown.stderr).contains("sets a damaged queue aside"), "{}", text(&shown.stderr));
    let daemon = bench.start();
    let jobs = bench.wait_done(1);
    assert!(jobs[0].maybe_duplicate, "it was there before the damage, so it may be on the host twice");
    assert_eq!(set_aside(&bench).len(), 1);
    assert!(bench.log_text().contains("the queue was damaged"));
    bench.put("later", b"later");
    bench.wait_done(2);
    assert!(!bench.jobs().iter().find(|job| job.path.ends_with("later")).unwrap().maybe_duplicate);
    bench.stop(daemon);
    let daemon = bench.start();
    bench.wait_watching();
    assert_eq!(set_aside(&bench).len(), 1, "one damage, one copy: no loop");
    bench.stop(daemon);
}

#[test]
fn what_can_be_read_of_a_damaged_database_is_not_uploaded_again() {
    let bench = Bench::new();
    for number in 0..200 {
        bench.put(&format!("f{number}"), &bytes(number, 500));
    }
    let daemon = bench.start();
    bench.wait_done(200);
    bench.stop(daemon);
    // Rubbish over the pages of one index: the rows themselves can still be read.
    let page: i64 = {
        let database = rusqlite::Connection::open(queue(&bench)).unwrap();
        database.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_ready'", [], |row| row.get(0)).unwrap()
    };
    let mut database = std::fs::read(queue(&bench)).unwrap();
    let begin = usize::try_from((page - 1) * 4096).unwrap();
    database[begin..begin + 4096].copy_from_slice(&bytes(1, 4096));
    std::fs::write(queue(&bench), database).unwrap();
    bench.put("new", b"new");
    let daemon = bench.start();
    bench.wait_for("the new file", || (!bench.held("new").is_empty()).then_some(()));
    bench.wait_for("the queue to come to rest", || bench.jobs().iter().all(|job| job.state == State::Done).then_some(()));
    assert_eq!(set_aside(&bench).len(), 1, "{}", bench.log_text());
    assert_eq!(bench.sandbox.objects().len(), 201, "no file was uploaded twice");
    bench.stop(daemon);
}

#[test]
fn a_newer_queue_is_refused_and_left_alone() {
    let bench = Bench::new();
    let daemon = bench.start();
    bench.stop(daemon);
    rusqlite::Connection::open(queue(&bench)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(queue(&bench)).unwrap();
    let (code, said) = run_to_its_end(&bench);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("schema version 99") && said.contains("hint:"), "{said}");
    assert!(std::fs::read(queue(&bench)).unwrap() == before);
}

#[test]
fn a_second_daemon_is_refused_and_told_of_the_first() {
    let bench = Bench::new();
    let daemon = bench.start();
    bench.wait_watching();
    let (code, said) = run_to_its_end(&bench);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(&format!("another ferryd (PID {})", daemon.pid())), "{said}");
    bench.stop(daemon);
}

/// Starts the daemon with its state folder on a disk of its own, of 12 MiB, of which `filled` bytes are taken, in a mount
/// namespace.
#[cfg(target_os = "linux")]
fn start_on_a_small_disk(bench: &Bench, filled: u32) -> Daemon {
    std::fs::create_dir_all(bench.state_dir()).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=12m,mode=700 tmpfs \"$1\" && head -c {filled} /dev/zero > \"$1/filler\" && shift && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", &script, "sh"]).arg(bench.state_dir());
    command.arg(env!("CARGO_BIN_EXE_ferryd")).arg("--config").arg(bench.config()).arg("run");
    Daemon::spawn(command, bench)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_makes_everything_wait_and_nothing_is_lost() {
    let bench = Bench::new();
    let mut daemon = start_on_a_small_disk(&bench, 12_200_000);
    // The other side of the mount namespace.
    let state = Path::new("/proc").join(daemon.pid().to_string()).join("root").join(bench.state_dir().strip_prefix("/").unwrap());
    let name = |number: usize| format!("{number}-{}", "n".repeat(200));
    for number in 0..1500 {
        std::fs::write(bench.drop_dir().join(name(number)), b"x").unwrap();
    }
    let trouble = bench.wait_for("the daemon to say that its disk is full", || lock::owner(&state)?.trouble);
    assert!(trouble.contains("no space left"), "{trouble}");
    // Where the daemon is, the state folder is the small disk.
    let mut inside = Command::new("nsenter");
    inside.args(["-U", "-m", "--preserve-credentials", "-t"]).arg(daemon.pid().to_string());
    inside.arg(env!("CARGO_BIN_EXE_ferryd")).arg("--config").arg(bench.config()).arg("status");
    bench.wait_for("status to say that the disk is full", || {
        let shown = inside.output().unwrap();
        text(&shown.stdout).contains("): no space left").then_some(())
    });
    assert!(daemon.ended().is_none(), "it waits, it does not die");
    std::fs::remove_file(state.join("filler")).unwrap();
    bench.wait_for("every file", || (bench.sandbox.objects().len() == 1500).then_some(()));
    bench.wait_for("the trouble to be over", || lock::owner(&state)?.trouble.is_none().then_some(()));
    daemon.kill();
    for number in 0..1500 {
        assert_eq!(bench.held(&name(number)).len(), 1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_at_the_start_is_waited_for() {
    let bench = Bench::new();
    bench.put("file", b"content");
    // Two pages are left: one for the lock, and not enough for the queue.
    let mut daemon = start_on_a_small_disk(&bench, (12 << 20) - 8192);
    let state = Path::new("/proc").join(daemon.pid().to_string()).join("root").join(bench.state_dir().strip_prefix("/").unwrap());
    let trouble = bench.wait_for("the daemon to say that its disk is full", || lock::owner(&state)?.trouble);
    assert!(trouble.contains("no space left") && daemon.ended().is_none(), "{trouble}");
    std::fs::remove_file(state.join("filler")).unwrap();
    bench.wait_for("the file", || (bench.sandbox.objects().len() == 1).then_some(()));
    assert!(lock::owner(&state).unwrap().trouble.is_none());
    daemon.kill();
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_room_for_the_very_first_page_is_waited_for() {
    let bench = Bench::new();
    bench.put("file", b"content");
    let mut daemon = start_on_a_small_disk(&bench, 12 << 20);
    let state = Path::new("/proc").join(daemon.pid().to_string()).join("root").join(bench.state_dir().strip_prefix("/").unwrap());
    let said = "cannot start: no space left on the disk";
    bench.wait_for("the daemon to say that its disk is full", || bench.log_text().contains(said).then_some(()));
    assert!(daemon.ended().is_none(), "it waits, it does not die");
    std::fs::remove_file(state.join("filler")).unwrap();
    bench.wait_for("the file", || (bench.sandbox.objects().len() == 1).then_some(()));
    daemon.kill();
}

/// What becomes of the queue, and the word for it.
type Happening<'a> = (&'a dyn Fn(&Path), &'a str);

#[test]
fn a_queue_that_is_removed_replaced_or_emptied_under_the_daemon_is_noticed_and_nothing_is_sent_twice_unmarked() {
    let removed = |path: &Path| std::fs::remove_file(path).unwrap();
    let replaced = |path: &Path| {
        // As a backup is put back: what is in the log is not in it.
        std::fs::copy(path, path.with_extension("backup")).unwrap();
        std::fs::rename(path.with_extension("backup"), path).unwrap();
    };
    let emptied = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    let happenings: [Happening<'_>; 3] = [(&removed, "removed"), (&replaced, "replaced"), (&emptied, "emptied")];
    for (happens, said) in happenings {
        let bench = Bench::new();
        bench.put("before", b"before");
        let daemon = bench.start();
        bench.wait_done(1);
        bench.wait_watching();
        // Nothing moves: nobody but the daemon itself has a reason to look.
        happens(&queue(&bench));
        bench.wait_for("the daemon to notice", || bench.log_text().contains(&format!("{said} ")).then_some(()));
        bench.put("after", b"after");
        let jobs = bench.wait_done(2);
        // What is in memory of a file that was emptied need not be all.
        let is_known = said != "emptied";
        assert!(!is_known || !jobs.iter().any(|job| job.maybe_duplicate), "{said}: everything is known still: {jobs:#?}");
        let aside = set_aside(&bench).into_iter().filter(|path| path.extension().is_some_and(|end| end == "db"));
        assert_eq!(aside.count(), usize::from(said != "removed"), "{said}");
        // The engine that runs now is another, which has its folders in view later.
        bench.wait_for("the daemon to watch again", || (bench.log_text().matches(" watching").count() >= 2).then_some(()));
        assert!(daemon.stop().success(), "{said}");
        let daemon = bench.start();
        bench.put("last", b"last");
        bench.wait_done(3);
        bench.stop(daemon);
        let marked = bench.jobs().iter().filter(|job| job.maybe_duplicate).count();
        assert!(marked == 0 || !is_known, "{said}");
        assert_eq!(bench.sandbox.objects().len(), 3 + marked, "{said}: what was sent again is marked");
    }
}

/// A command that file permissions hold for, also when the tests run as root.
pub(crate) fn without_privileges(bench: &Bench, words: &[&str]) -> Command {
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override,-dac_read_search"]);
        command.arg(env!("CARGO_BIN_EXE_ferryd"));
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_ferryd"))
    };
    command.arg("--config").arg(bench.config()).args(words);
    command
}

#[test]
fn what_cannot_be_read_is_said_and_stops_nothing_else() {
    // Neither can it be asked who writes it.
    let bench = Bench::new().watch("settle = \"0s\"\nsettle_unknown = \"0s\"");
    let secret = bench.put("secret", b"secret");
    let folder = bench.drop_dir().join("closed");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("inside"), b"inside").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o000)).unwrap();
    bench.put("open", b"open");
    let daemon = Daemon::spawn(without_privileges(&bench, &["run"]), &bench);
    bench.wait_state(State::Done);
    let waiting = bench.wait_state(State::Waiting);
    assert!(waiting.path.ends_with("secret"));
    let why = waiting.why.unwrap();
    assert_eq!(why.class, ReasonClass::FileUnreadable);
    assert!(why.to_string().contains("cannot be read") && why.to_string().contains("ermission denied"), "{why}");
    let watch =
        bench.wait_for("the watch to complain", || bench.snapshot()?.watches.into_iter().find(|watch| watch.report.why.is_some()));
    assert!(watch.report.why.unwrap().contains("closed"));
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    daemon.kill();
}

#[test]
fn a_changed_configuration_takes_effect_on_sighup_and_a_broken_one_does_not() {
    let bench = Bench::new();
    bench.faults(one(Endpoint::Chunk, When::First(1), Action::Status { code: 407, body: ErrorBody::Plain, stored: false }));
    bench.put("file", b"content");
    let daemon = bench.start();
    // It is a while until it would be tried again without being told.
    bench.wait_state(State::Held);
    let good = std::fs::read_to_string(bench.config()).unwrap();
    std::fs::write(bench.dir.path().join("config.toml"), "[[wach]]\n").unwrap();
    daemon.signal(Signal::HUP);
    bench.wait_for("the broken configuration to be refused", || bench.log_text().contains("did you mean `watch`?").then_some(()));
    std::fs::write(bench.dir.path().join("config.toml"), good).unwrap();
    daemon.signal(Signal::HUP);
    bench.wait_done(1);
    bench.stop(daemon);
}

fn status(bench: &Bench) -> Output {
    bench.command(&["status", "--json"]).output().unwrap()
}

#[test]
fn status_answers_whether_the_daemon_runs_hangs_or_is_dead() {
    let bench = Bench::new().host("bandwidth = \"1 MiB/s\"");
    let empty: serde_json::Value = serde_json::from_slice(&status(&bench).stdout).unwrap();
    assert_eq!((empty["daemon"]["running"].as_bool(), empty["jobs"].as_array().map(Vec::len)), (Some(false), Some(0)));
    bench.put("file", &bytes(1, 4_000_000));
    let daemon = bench.start();
    bench.wait_for("some bytes", || bench.jobs().into_iter().find(|job| job.parts_acked > 2));
    daemon.signal(Signal::STOP);
    let hung: serde_json::Value = serde_json::from_slice(&status(&bench).stdout).unwrap();
    assert_eq!((hung["daemon"]["running"].as_bool(), hung["daemon"]["pid"].as_u64()), (Some(true), Some(daemon.pid().into())));
    assert_eq!(hung["daemon"]["responding"], false);
    assert_eq!(hung["jobs"][0]["state"], "uploading");
    let shown = text(&bench.command(&["status"]).output().unwrap().stdout);
    assert!(shown.starts_with("Daemon does not answer"), "{shown}");
    assert!(hung["jobs"][0]["sent"].as_u64().unwrap() > 0);
    daemon.signal(Signal::CONT);
    let alive: serde_json::Value = serde_json::from_slice(&status(&bench).stdout).unwrap();
    assert!(alive["daemon"]["responding"] == true && alive["daemon"]["heartbeat"].is_string(), "{alive}");
    daemon.kill();
    let dead: serde_json::Value = serde_json::from_slice(&status(&bench).stdout).unwrap();
    assert_eq!(dead["daemon"]["running"].as_bool(), Some(false));
    assert_eq!(dead["jobs"][0]["state"], "queued", "nothing uploads without a daemon");
    assert!(dead["jobs"][0]["parts_acked"].as_u64().unwrap() > 2, "what the host holds is known");
}

#[test]
fn status_says_why_the_last_daemon_ended_and_that_a_reload_was_refused() {
    let bench = Bench::new();
    let daemon = bench.start();
    bench.wait_watching();
    let (file, good) = (bench.dir.path().join("config.toml"), std::fs::read_to_string(bench.config()).unwrap());
    // The bench itself would write the configuration anew.
    let ask = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_ferryd")).arg("--config").arg(&file).args(words).output().unwrap();
    let daemon_of = || serde_json::from_slice::<serde_json::Value>(&ask(&["status", "--json"]).stdout).unwrap()["daemon"].clone();
    std::fs::write(&file, format!("{good}\n[[wach]]\n")).unwrap();
    daemon.signal(Signal::HUP);
    let refused = bench.wait_for("the refusal", || daemon_of()["reload_refused"].as_str().map(str::to_owned));
    assert!(refused.contains(", column 3: unknown key `wach`"), "{refused}");
    // The broken configuration keeps nobody from looking.
    for words in [&["status"][..], &["links"]] {
        let output = ask(words);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("The configuration cannot be used: line "), "{}", text(&output.stderr));
    }
    std::fs::write(bench.dir.path().join("config.toml"), good).unwrap();
    daemon.signal(Signal::HUP);
    bench.wait_for("the refusal to be over", || daemon_of()["reload_refused"].is_null().then_some(()));
    bench.stop(daemon);
    assert_eq!(daemon_of()["last_end"]["why"], "it was told to stop");
    assert!(daemon_of()["last_end"]["at"].is_string());
    assert!(bench.log_text().trim_end().ends_with("stopped"), "{}", bench.log_text());
    let daemon = bench.start();
    bench.wait_watching();
    daemon.kill();
    assert!(daemon_of()["last_end"]["why"].as_str().unwrap().contains("was killed"));
}

#[test]
fn one_folder_by_two_ways_is_refused_by_check_by_a_start_and_by_a_reload() {
    let bench = Bench::new();
    let other_way = bench.dir.path().join("another");
    std::os::unix::fs::symlink(bench.drop_dir(), &other_way).unwrap();
    let daemon = bench.start();
    bench.wait_watching();
    let file = bench.config();
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n[[watch]]\npath = {other_way:?}\nto = [\"cloudkp\"]\n")).unwrap();
    let said = format!("the watches `{}` and `{}` are the same folder", bench.drop_dir().display(), other_way.display());
    daemon.signal(Signal::HUP);
    bench.wait_for("the reload to be refused", || {
        let refused = lock::owner(&bench.state_dir())?.reload_refused?;
        (refused == said).then_some(())
    });
    bench.put("file", b"content");
    bench.wait_done(1);
    // The bench itself would write the configuration anew.
    let ask = |word: &str| Command::new(env!("CARGO_BIN_EXE_ferryd")).arg("--config").arg(&file).arg(word).output().unwrap();
    let checked = ask("check");
    let lines = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(3), "{lines}");
    assert!(lines.lines().any(|line| line.starts_with("problem ") && line.contains(&said)), "{lines}");
    daemon.kill();
    let refused = ask("run");
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains(&said), "{}", text(&refused.stderr));
    assert_eq!(bench.sandbox.objects().len(), 1);
}

#[test]
fn in_what_the_daemon_makes_nobody_else_may_write_whatever_its_umask_is() {
    let bench = Bench::new();
    let at = |name: &str| bench.dir.path().join(name);
    let watch = format!("settle = \"0s\"\nafter = {{ move = {:?} }}", at("sent/deep"));
    let host = format!(
        "trust_replies = true\n[[hook]]\non = [\"done\"]\nlinks_file = {:?}\n[[watch]]\npath = {:?}\nto = [\"cloudkp\"]\ncreate = true",
        at("links/deep/links.tsv"),
        at("made/deep")
    );
    let made = ["sent", "sent/deep", "links", "links/deep", "made", "made/deep", "state"].map(at);
    let bench = bench.watch(&watch).host(&host);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_ferryd")]).arg("--config").arg(bench.config()).arg("run");
    let daemon = Daemon::spawn(command, &bench);
    bench.put("file", b"content");
    bench.wait_done(1);
    for folder in made {
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "others may write in {folder:?}: {mode:o}");
    }
    daemon.kill();
}

#[test]
fn two_signals_to_stop_that_come_together_are_one() {
    let bench = Bench::new().host("bandwidth = \"256 KiB/s\"");
    bench.put("file", &bytes(1, 4_000_000));
    let mut daemon = bench.start();
    bench.wait_for("some bytes", || bench.jobs().into_iter().find(|job| job.parts_acked > 0));
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::TERM);
    let status = bench.wait_for("its end", || daemon.ended());
    assert_eq!(status.code(), Some(0), "it was not cut short");
    assert!(bench.log_text().contains("stopped"), "{}", bench.log_text());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let bench = Bench::new();
    let daemon = bench.start();
    bench.stop(daemon);
    let mut child = bench.command(&["status"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

#[test]
fn a_wrong_configuration_ends_with_its_exit_code_and_every_problem() {
    let bench = Bench::new().watch("settle = 3\nexlude = []");
    for words in [&["run"][..], &["check"], &["status"]] {
        let output = bench.command(words).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains("must be a duration") && said.contains("did you mean `exclude`?") && said.contains("2 problems"),
            "{said}"
        );
    }
}

#[test]
fn check_finds_what_run_would_stumble_over() {
    let bench = Bench::new();
    let output = bench.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    std::fs::remove_dir(bench.drop_dir()).unwrap();
    let output = bench.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    assert!(said.contains("is missing") && said.contains("hint: mkdir"), "{said}");
}

#[test]
fn a_state_folder_that_others_may_write_is_refused() {
    let bench = Bench::new();
    std::fs::create_dir(bench.state_dir()).unwrap();
    std::fs::set_permissions(bench.state_dir(), PermissionsExt::from_mode(0o777)).unwrap();
    let (code, said) = run_to_its_end(&bench);
    assert_eq!(code, Some(4));
    assert!(said.contains("chmod 700"), "{said}");
}
