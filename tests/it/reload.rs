//! A new configuration takes effect in a daemon that works, and what is under way goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ferryd::internals::job::State;
use ferryd_sandbox::config_of;
use ferryd_sandbox::faults::Endpoint;
use ferryd_sandbox::log::Outcome;

use crate::bench_top::{Bench, bytes};
use crate::world::requests;

/// So many reloads, unless `FERRYD_RELOADS` says another number.
const RELOADS: u64 = 30;

/// A configuration whose parts change from one reload to the next.
struct Variant<'b> {
    bench: &'b Bench,
    number: u64,
}

impl Variant<'_> {
    fn has_guest(&self) -> bool {
        self.number % 3 != 1
    }

    fn text(&self) -> String {
        let Variant { bench, number } = self;
        let rates = ["6 MiB/s", "3 MiB/s", "10 MiB/s", "4 MiB/s"];
        let mut text = format!(
            "[daemon]\nstate_dir = {:?}\nbandwidth = {:?}\nmax_uploads = {}\nmax_connections = {}\n",
            bench.state_dir(),
            rates[(number % 4) as usize],
            6 + number % 5,
            12 + number % 7,
        );
        text += &format!("[[watch]]\npath = {:?}\nto = [\"cloudkp\", \"4shared\"]\nsettle = \"0s\"\n", bench.drop_dir());
        text += &["cloudkp", "4shared"].map(|kind| config_of(kind, bench.sandbox.addr()).unwrap()).concat();
        text += &format!("bandwidth = \"{} MiB/s\"\n", 3 + number % 3);
        if self.has_guest() {
            let guest = config_of("cloudkp", bench.sandbox.addr()).unwrap().replace("[host.cloudkp]", "[host.guest]");
            text += &format!("[[watch]]\npath = {:?}\nto = [\"guest\"]\nsettle = \"0s\"\n{guest}", bench.dir.path().join("guest"));
        }
        if number % 2 == 0 {
            text += &format!("[[hook]]\non = [\"done\"]\nlinks_file = {:?}\n", bench.dir.path().join("links.tsv"));
        }
        text
    }

    fn write(&self, file: &Path) {
        std::fs::write(file, self.text()).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// What `ferryd reload` says of this configuration.
fn reload(file: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferryd"));
    let output = command.arg("--config").arg(file).arg("reload").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn reloads_while_files_are_sent_lose_no_part_and_send_none_twice() {
    let reloads = std::env::var("FERRYD_RELOADS").ok().and_then(|number| number.parse().ok()).unwrap_or(RELOADS);
    let bench = Bench::new();
    let guest = bench.dir.path().join("guest");
    std::fs::create_dir(&guest).unwrap();
    let file = bench.config();
    let variant = |number| Variant { bench: &bench, number };
    variant(0).write(&file);
    let mut run = Command::new(env!("CARGO_BIN_EXE_ferryd"));
    run.arg("--config").arg(&file).args(["run", "--log", "info,ferryd=debug"]);
    let daemon = crate::bench_top::Daemon::spawn(run, &bench);
    let mut files = Vec::new();
    for number in 0..4 + reloads / 8 {
        let (name, content) = (format!("film {number}.mov"), bytes(number, 3_000_000));
        bench.put(&name, &content);
        files.push((name, content, 2));
    }
    bench.wait_for("some parts at the host", || (bench.sandbox.stats().parts_acked >= 8).then_some(()));
    for number in 1..=reloads {
        let variant = variant(number);
        variant.write(&file);
        let (code, said) = reload(&file);
        assert!(code == Some(0) && said.contains("[daemon] changed"), "{code:?} {said}");
        let names = ["note", "guest"].map(|what| format!("{what} {number}.txt"));
        bench.put(&names[0], names[0].as_bytes());
        let staged = bench.dir.path().join("staged");
        std::fs::write(&staged, &names[1]).unwrap();
        std::fs::rename(&staged, guest.join(&names[1])).unwrap();
        for (name, copies) in names.into_iter().zip([2, 1]) {
            files.push((name.clone(), name.into_bytes(), copies));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    variant(reloads * 3).write(&file);
    assert_eq!(reload(&file).0, Some(0));
    let jobs = bench.wait_done(files.iter().map(|(_, _, copies)| copies).sum());
    assert!(jobs.iter().all(|job| job.state == State::Done && !job.maybe_duplicate), "{jobs:#?}");
    for (name, content, copies) in &files {
        let held = bench.held(name);
        assert!(held.len() == *copies && held.iter().all(|held| held == content), "{name}: {} copies", held.len());
    }
    let stats = bench.sandbox.stats();
    assert_eq!(stats.parts_again, 0, "{stats:?}");
    // Nor was one cut off.
    assert!(bench.sandbox.log().iter().all(|request| request.outcome != Outcome::Gone));
    let log = bench.log_text();
    assert_eq!(log.matches("configuration reloaded").count() as u64, reloads + 1);
    assert_eq!(log.matches(" starting; ").count(), 1);
    println!("{reloads} reloads: {} files whole, {} bytes received, no part twice", files.len(), stats.body_bytes);
    assert!(daemon.stop().success());
}

#[test]
fn an_upload_whose_watch_goes_stops_between_parts_and_goes_on_when_the_watch_is_back() {
    let bench = Bench::new().host("bandwidth = \"1 MiB/s\"");
    let content = bytes(1, 4_000_000);
    bench.put("film.mov", &content);
    let daemon = bench.start();
    bench.wait_for("some parts at the host", || (bench.sandbox.stats().parts_acked >= 2).then_some(()));
    let file = bench.config();
    let (before, elsewhere) = (std::fs::read_to_string(&file).unwrap(), bench.dir.path().join("elsewhere"));
    std::fs::create_dir(&elsewhere).unwrap();
    let after = before.replace(&format!("{:?}", bench.drop_dir()), &format!("{elsewhere:?}"));
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&after);
    let (code, said) = reload(&file);
    assert!(code == Some(0) && said.contains("removed") && said.contains("added"), "{said}");
    let job = bench.wait_state(State::Waiting);
    assert!(job.parts_acked < job.parts && job.next_try_ms.is_none() && job.why.is_some(), "{job:?}");
    assert_eq!(bench.sandbox.stats().parts_acked, job.parts_acked, "what was in flight has arrived");
    std::fs::write(elsewhere.join("note.txt"), "note").unwrap();
    bench.wait_for("the other file", || (bench.held("note.txt").len() == 1).then_some(()));
    bench.put("late.txt", b"late");
    write(&before);
    assert_eq!(reload(&file).0, Some(0));
    bench.wait_done(3);
    assert!(bench.held("film.mov") == [content] && bench.held("late.txt").len() == 1);
    assert_eq!(bench.sandbox.stats().parts_again, 0);
    assert_eq!(requests(&bench, Endpoint::Open).len(), 0, "this kind has none");
    bench.stop(daemon);
}

#[test]
fn a_bandwidth_that_is_raised_holds_for_a_part_that_is_in_flight() {
    let bench = Bench::new().host("bandwidth = \"1 KiB/s\"");
    let content = bytes(1, 1_000_000);
    bench.put("film.mov", &content);
    let daemon = bench.start();
    bench.wait_state(State::Uploading);
    bench.wait_for("a request", || {
        (!requests(&bench, Endpoint::Chunk).is_empty() || bench.snapshot()?.per_second > 0).then_some(())
    });
    let bench = bench.change("1 KiB/s", "100 MiB/s");
    let (code, said) = reload(&bench.config());
    assert!(code == Some(0) && said.contains("bandwidth"), "{said}");
    // At the old rate it would take a quarter of an hour.
    bench.wait_done(1);
    assert!(bench.held("film.mov") == [content]);
    assert_eq!(bench.jobs()[0].attempts, 1);
    bench.stop(daemon);
}
