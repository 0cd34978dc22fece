//! Sessions of a KooDrive space that end, through the real daemon: what renews them, what is kept of them, and what a kill leaves.

use std::os::unix::fs::PermissionsExt;

use ferryd::internals::host::TOKENS_FILE;
use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{ReasonClass, State};
use ferryd::internals::os::crash::POINTS_OF_TOKENS;
use ferryd_sandbox::faults::{Action, Endpoint, Script, When};
use ferryd_sandbox::koodrive::Rules;
use serde_json::Value;

use crate::bench_top::{Bench, bytes, one};
use crate::hosts::stands;
use crate::kinds::{KOODRIVE, no_secret_is_told};
use crate::world::records;

const LOGIN: &str = "app_id = \"app1\"\napp_secret = \"test-app-secret\"\n";
const TOKEN: &str = "access_token = \"test-token\"\n";
const BY_SESSION: &str = "session_id = \"test-session\"\n";
const BY_TOKEN: &str = "refresh_token = \"test-refresh\"\n";
/// Longer than a token lives here without a call, and short enough for the date of a call.
const LATER: i64 = 800;

/// A space whose token is dead after ten minutes without a call.
fn space(lines: &str, rules: impl FnOnce(&mut Rules)) -> Bench {
    let bench = KOODRIVE.bench_with(|options| {
        options.rules.koodrive.idle_seconds = 600;
        rules(&mut options.rules.koodrive);
    });
    bench.change(LOGIN, &format!("{TOKEN}{lines}"))
}

fn refreshes(bench: &Bench) -> usize {
    let is_one = |path: &str| path.ends_with("session/refresh") || path.ends_with("auth/refreshToken");
    bench.sandbox.log().iter().filter(|entry| is_one(&entry.path)).count()
}

fn put(bench: &Bench, names: std::ops::Range<usize>) {
    for name in names {
        bench.put(&format!("file-{name}"), &bytes(name as u64, 60_000 + name));
    }
}

fn are_there(bench: &Bench, names: std::ops::Range<usize>) {
    for name in names {
        assert!(bench.held(&format!("file-{name}")) == [bytes(name as u64, 60_000 + name)], "file-{name}");
    }
}

/// What is kept of the space, and what the host has given out last.
fn kept_and_given(bench: &Bench) -> (Value, Value) {
    let text = std::fs::read_to_string(bench.state_dir().join(TOKENS_FILE)).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    (document["hosts"]["koodrive"].clone(), records(bench, "koodrive", "login")[""].clone())
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_queue_is_replaced_and_every_file_arrives_without_a_command() {
    for lines in [BY_SESSION, BY_TOKEN, &format!("{BY_SESSION}{BY_TOKEN}")] {
        let bench = space(lines, |_| {});
        put(&bench, 0..3);
        let daemon = bench.start();
        bench.wait_done(3);
        assert!(!bench.state_dir().join(TOKENS_FILE).exists(), "nothing was given out yet");
        bench.sandbox.shift_clock(LATER);
        put(&bench, 3..9);
        let jobs = bench.wait_done(9);
        assert!(jobs.iter().all(|job| job.state == State::Done && job.attempts == 1), "{jobs:#?}");
        are_there(&bench, 0..9);
        assert_eq!(refreshes(&bench), 1, "one for all: {:#?}", bench.sandbox.log());
        let (kept, given) = kept_and_given(&bench);
        assert_eq!(kept["access_token"], given["token"]);
        let mode = std::fs::metadata(bench.state_dir().join(TOKENS_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!kept["configured"].as_str().unwrap().contains("test-"), "what is configured is a digest");
        no_secret_is_told(&bench, lines);
        bench.stop(daemon);
        no_secret_is_told(&bench, lines);
    }
}

#[test]
fn a_new_token_that_the_host_says_back_is_in_no_reason_row_or_log() {
    let bench = space(BY_TOKEN, |_| {});
    put(&bench, 0..1);
    let daemon = bench.start();
    bench.wait_done(1);
    bench.sandbox.shift_clock(LATER);
    put(&bench, 1..2);
    bench.wait_done(2);
    let (kept, _) = kept_and_given(&bench);
    let [access, refresh] = ["access_token", "refresh_token"].map(|key| kept[key].as_str().unwrap().to_owned());
    let bare = access.strip_prefix("Bearer+").unwrap();
    let body = format!("{{\"code\":13000410,\"msg\":\"no right for {bare}, nor for {refresh}\"}}");
    bench.faults(one(
        Endpoint::Open,
        When::Always,
        Action::Reply { status: 400, headers: Default::default(), body, stored: false },
    ));
    put(&bench, 2..3);
    let job = bench.wait_state(State::Held);
    assert!(stands(&job, State::Held, ReasonClass::Host(Class::HostRefused), "no right for [secret]"), "{job:#?}");
    no_secret_is_told(&bench, "said back");
    bench.faults(Script::default());
    bench.stop(daemon);
}

/// Dies at this point while it replaces a token, and is started again.
fn killed(point: &str, lines: &str, rules: impl FnOnce(&mut Rules)) -> Bench {
    let bench = space(lines, rules);
    put(&bench, 0..1);
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    bench.sandbox.shift_clock(LATER);
    put(&bench, 1..4);
    let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", point)]);
    let ended = bench.wait_for(&format!("death at {point}"), || daemon.ended());
    assert!(ended.code().is_none(), "{point}: {ended}");
    assert_eq!(refreshes(&bench), 1, "{point}");
    bench
}

#[test]
fn death_right_after_a_refresh_costs_no_file_and_no_login() {
    for point in POINTS_OF_TOKENS {
        for (lines, once) in [(BY_SESSION, true), (BY_TOKEN, false), (BY_TOKEN, true)] {
            let is_kept = *point == "token.after_write";
            if !is_kept && once && lines == BY_TOKEN {
                continue;
            }
            let bench = killed(point, lines, |rules| rules.refresh_once = once);
            let daemon = bench.start();
            bench.wait_done(4);
            bench.stop(daemon);
            are_there(&bench, 0..4);
            assert_eq!(refreshes(&bench), if is_kept { 1 } else { 2 }, "{point} {lines} {once}");
            no_secret_is_told(&bench, point);
        }
    }
}

#[test]
fn a_refresh_token_that_was_used_up_just_before_a_crash_holds_the_host_until_a_person_logs_in() {
    let bench = killed("token.before_write", BY_TOKEN, |_| {});
    let daemon = bench.start();
    let job = bench.wait_state(State::Held);
    assert!(stands(&job, State::Held, ReasonClass::Host(Class::HostRefused), "log in again"), "{job:#?}");
    bench.stop(daemon);
    no_secret_is_told(&bench, "used up");
    let given = records(&bench, "koodrive", "login")[""].clone();
    let login = format!("access_token = {}\nrefresh_token = {}\n", given["token"], given["refresh"]);
    let bench = bench.change(&format!("{TOKEN}{BY_TOKEN}"), &login);
    let daemon = bench.start();
    bench.wait_done(4);
    bench.stop(daemon);
    are_there(&bench, 0..4);
}

#[test]
fn a_command_beside_the_daemon_uses_what_is_kept_and_uses_nothing_up() {
    let bench = space(BY_TOKEN, |_| {});
    put(&bench, 0..1);
    let daemon = bench.start();
    bench.wait_done(1);
    bench.sandbox.shift_clock(LATER);
    let check = || {
        let output = bench.command(&["check", "--online"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let said = check();
    assert!(said.contains("`ferryd run` renews it"), "{said}");
    assert_eq!(refreshes(&bench), 0);
    put(&bench, 1..2);
    bench.wait_done(2);
    let said = check();
    assert!(said.contains("credentials accepted"), "{said}");
    assert_eq!(refreshes(&bench), 1);
    bench.stop(daemon);
}

/// Nobody starts or reloads the daemon here; its time is set.
#[cfg(target_os = "linux")]
#[test]
fn a_host_without_jobs_hears_from_us_only_where_keep_alive_says_so() {
    for (said, is_heard) in [("always", true), ("never", false)] {
        let bench = space(&format!("keep_alive = {said:?}\n"), |_| {});
        let clock = crate::clock::Clock::ahead(&bench, 0);
        put(&bench, 0..1);
        let daemon = clock.start_in_its_time(&bench);
        bench.wait_done(1);
        bench.wait_watching();
        let lists =
            || bench.sandbox.log().iter().filter(|entry| entry.path.ends_with("files/0") && entry.status == Some(200)).count();
        assert_eq!(lists(), 0, "{said}");
        clock.set(120);
        // Whoever asks has the daemon look at the time.
        assert!(bench.command(&["status"]).output().unwrap().status.success());
        if is_heard {
            bench.wait_for("a call", || (lists() > 0).then_some(()));
        }
        put(&bench, 1..2);
        let jobs = bench.wait_done(2);
        let [first, second] = [0, 1].map(|number| {
            let name = format!("file-{number}");
            jobs.iter().find(|job| job.path.ends_with(&name)).unwrap().queued_at_ms
        });
        assert!(second - first > 100_000, "its time has passed: {jobs:#?}");
        assert_eq!(lists() > 0, is_heard, "{said}: {:#?}", bench.sandbox.log());
        bench.stop(daemon);
    }
}
