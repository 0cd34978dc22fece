//! Tokens that end: kept alive while jobs only wait, and replaced by the session that they belong to.

use std::path::Path;

use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::koodrive::{Proof, Renewed, Rules};

use super::real_hosts::{Bench, bench_of, table, whole};
use super::world::{HOUR, MINUTE, Nothing, paused};
use crate::host::TOKENS_FILE;
use crate::host::kind::Kind;
use crate::host::kinds::KINDS;
use crate::job::State;

const PART: usize = 5 * 1024 * 1024;
const BOTH: &str = "session_id = \"test-session\"\nrefresh_token = \"test-refresh\"\n";
const BY_SESSION: &str = "session_id = \"test-session\"\n";
const BY_TOKEN: &str = "refresh_token = \"test-refresh\"\n";

fn kind() -> &'static Kind {
    KINDS.iter().find(|kind| kind.word() == "koodrive").unwrap()
}

/// A configuration with this token, and these lines in the table of its space.
fn config(token: &str, lines: &str) -> String {
    let plain = table(kind());
    let kept: Vec<&str> = plain.lines().filter(|line| !line.starts_with("app_")).collect();
    whole(&[kind()], &format!("{}\naccess_token = {token:?}\n{lines}", kept.join("\n")))
}

/// A space with a token, these lines in its table, and these rules.
fn space(lines: &str, faults: Script, rules: impl FnOnce(&mut Rules)) -> Bench {
    bench_of(23, &config("test-token", lines), true, |options| {
        options.faults = faults;
        rules(&mut options.rules.koodrive);
    })
}

impl Bench {
    /// How many requests went to a path with this in it.
    fn asked(&self, path: &str) -> usize {
        self.log().iter().filter(|entry| entry.path.contains(path)).count()
    }

    fn refused(&self) -> usize {
        self.log().iter().filter(|entry| entry.status == Some(401)).count()
    }

    fn arrived(&self, name: &str) {
        self.is_done_at("koodrive", name);
    }
}

/// A file that arrives, and one for which there is no room at its first three tries.
fn waiting(lines: &str) -> Bench {
    paused(async {
        let full = Rule::new(Action::AccountFull).at(Endpoint::Open).file("file").when(When::First(3));
        let bench = space(lines, Script::of([full]), |_| {});
        bench.put("early", 999);
        bench.run(MINUTE).await;
        bench.arrived("early");
        bench.put("file", 1000);
        bench.run(5 * HOUR).await;
        let tries: Vec<i64> = bench.log().iter().filter(|entry| entry.fault.is_some()).map(|entry| entry.at_ms).collect();
        assert!(tries[2] - tries[0] > 2 * 3_600_000, "it waits for hours: {tries:?}");
        bench
    })
}

#[test]
fn a_token_that_dies_after_twenty_idle_minutes_survives_hours_in_which_jobs_only_wait() {
    let bench = waiting("");
    bench.arrived("file");
    assert!(bench.asked("files/0") + bench.asked("uploadUrl") >= 10, "{:#?}", bench.log());
    let bench = waiting("keep_alive = \"never\"\n");
    assert_eq!(bench.world.state("file", "koodrive").0, State::Held, "without it the token is dead by then");
    assert!(bench.refused() > 0);
}

#[test]
fn a_host_without_jobs_hears_from_us_only_where_that_is_wanted() {
    for (lines, calls) in
        [("", 0), ("keep_alive = \"jobs\"\n", 0), ("keep_alive = \"never\"\n", 0), ("keep_alive = \"always\"\n", 8)]
    {
        paused(async {
            let bench = space(lines, Script::default(), |_| {});
            bench.run(2 * HOUR).await;
            assert_eq!(bench.log().len(), calls, "{lines}: {:#?}", bench.log());
            assert_eq!(bench.refused(), 0, "{lines}");
        });
    }
}

#[test]
fn a_call_that_keeps_a_session_alive_fails_no_job_and_holds_no_host() {
    paused(async {
        let rule = |action| Rule::new(action).at(Endpoint::Address).when(When::First(3));
        let bench = space("keep_alive = \"always\"\n", Script::of([rule(Action::Deny)]), |_| {});
        bench.run(30 * MINUTE).await;
        assert!(bench.refused() >= 3, "{:#?}", bench.log());
        bench.put("file", 1000);
        bench.run(MINUTE).await;
        let job = bench.world.job("file", "koodrive");
        assert_eq!((job.state, job.attempts), (State::Done, 1), "{:#?}", bench.log());
    });
}

/// Files that come ten at a time, each time after the token has died.
fn after_each_death(lines: &str, rules: impl FnOnce(&mut Rules)) -> Bench {
    paused(async {
        let lines = format!("keep_alive = \"never\"\n{lines}");
        let bench = space(&lines, Script::default(), rules);
        let arriving = async {
            for batch in 0..4 {
                for number in 0..10 {
                    bench.put(&format!("{batch}-{number}"), PART / 50 + batch * 10 + number);
                }
                tokio::time::sleep(25 * MINUTE).await;
            }
        };
        tokio::join!(bench.run(2 * HOUR), arriving);
        for name in (0..40).map(|number| format!("{}-{}", number / 10, number % 10)) {
            bench.arrived(&name);
            assert_eq!(bench.world.job(&name, "koodrive").attempts, 1, "{name} {:?}: {:#?}", lines, bench.log());
        }
        assert_eq!(bench.held(kind()).len(), 40);
        bench
    })
}

#[test]
fn a_token_that_ends_is_replaced_once_for_all_jobs_and_no_job_notices() {
    for lines in [BY_SESSION, BY_TOKEN, BOTH] {
        for renewed in [Renewed::SessionInfo, Renewed::Data] {
            for scheme in ["Bearer+", "AT "] {
                let bench = after_each_death(lines, |rules| {
                    (rules.renewed, rules.scheme) = (renewed, scheme.into());
                    rules.expires_in = None;
                });
                let told = format!("{lines} {renewed:?} {scheme}: {:#?}", bench.log());
                let (by_session, by_token) = (bench.asked("session/refresh"), bench.asked("auth/refreshToken"));
                let expected = if lines == BY_TOKEN { (0, 3) } else { (3, 0) };
                assert_eq!((by_session, by_token), expected, "{told}");
            }
        }
    }
}

#[test]
fn a_session_that_the_host_does_not_know_any_more_is_renewed_by_the_refresh_token() {
    let bench = after_each_death(BOTH, |rules| rules.session_id = "another".into());
    assert!(bench.asked("session/refresh") >= 3 && bench.asked("auth/refreshToken") >= 3, "{:#?}", bench.log());
}

#[test]
fn a_proof_is_that_of_the_token_that_the_upload_is_opened_with() {
    for lines in [BY_SESSION, "proof_code = \"always\"\nsession_id = \"test-session\"\n"] {
        let bench = after_each_death(lines, |rules| rules.proof = Proof::Required);
        let refused = bench.log().iter().filter(|entry| entry.status == Some(400)).count();
        assert_eq!(refused, 0, "{lines}: {:#?}", bench.log());
    }
}

#[test]
fn a_token_that_says_when_it_ends_is_replaced_before_that_and_no_call_is_refused() {
    paused(async {
        let bench = space(BY_TOKEN, Script::default(), |rules| rules.idle_seconds = 300);
        let arriving = async {
            for number in 0..120 {
                bench.put(&number.to_string(), 1000 + number);
                // The first token ends by itself, since nobody has said when.
                tokio::time::sleep(if number == 0 { 10 * MINUTE } else { MINUTE }).await;
            }
        };
        tokio::join!(bench.run(3 * HOUR), arriving);
        (0..120).for_each(|number| bench.arrived(&number.to_string()));
        assert_eq!(bench.refused(), 1, "the first token: {:#?}", bench.log());
        assert!((4..=6).contains(&bench.asked("auth/refreshToken")), "{}", bench.asked("auth/refreshToken"));
    });
}

#[test]
fn what_the_host_has_given_out_outlives_the_daemon_and_a_new_login_of_a_person_wins() {
    paused(async {
        let lines = format!("keep_alive = \"never\"\n{BY_TOKEN}");
        let mut bench = space(&lines, Script::default(), |_| {});
        for number in 0..3 {
            bench.put(&number.to_string(), 1000 + number);
            bench.run(MINUTE).await;
            bench.arrived(&number.to_string());
            tokio::time::sleep(25 * MINUTE).await;
        }
        assert_eq!(bench.asked("auth/refreshToken"), 2, "each refresh token is good for once: {:#?}", bench.log());
        // What is kept is of no use any more, and what was configured is used up.
        let file = Path::new("/state").join(TOKENS_FILE);
        let kept = String::from_utf8(bench.world.disk.read(&file).unwrap()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&kept).unwrap();
        let [access, refresh] = ["access_token", "refresh_token"].map(|key| document["hosts"]["koodrive"][key].as_str().unwrap());
        let ended = kept.replace(access, "ended").replace(refresh, "ended");
        bench.world.disk.write(&file, ended.as_bytes()).unwrap();
        bench.put("late", 2000);
        bench.run(30 * MINUTE).await;
        let (state, why) = bench.world.state("late", "koodrive");
        let why = why.unwrap().to_string();
        assert!(state == State::Held && why.contains("log in again"), "{state} {why}");
        assert!(!why.contains("test-"), "{why}");
        let lines = format!("keep_alive = \"never\"\nrefresh_token = {refresh:?}\n");
        bench.world.config = crate::config::parse(&config(access, &lines), Path::new("/config.toml"), KINDS, &Nothing).unwrap();
        bench.run(30 * MINUTE).await;
        bench.arrived("late");
    });
}

#[test]
fn on_a_full_disk_a_new_token_is_used_only_when_it_is_kept_and_is_not_asked_for_twice() {
    paused(async {
        let bench = space(&format!("keep_alive = \"never\"\n{BY_TOKEN}"), Script::default(), |_| {});
        bench.put("first", 1000);
        let meanwhile = async {
            tokio::time::sleep(25 * MINUTE).await;
            bench.world.disk.set_room(Path::new("/state"), Some(0)).unwrap();
            bench.put("second", 1001);
            tokio::time::sleep(10 * MINUTE).await;
            let (state, why) = bench.world.state("second", "koodrive");
            assert!(state == State::Waiting && why.unwrap().to_string().contains(TOKENS_FILE));
            assert_eq!(bench.log().last().unwrap().path, "/koodrive/koodrive/ose/v1/auth/refreshToken", "{:#?}", bench.log());
            bench.world.disk.set_room(Path::new("/state"), None).unwrap();
        };
        tokio::join!(bench.run(HOUR), meanwhile);
        bench.arrived("second");
        assert_eq!(bench.asked("auth/refreshToken"), 1);
    });
}
