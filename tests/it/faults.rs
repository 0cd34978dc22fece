//! Everything that can go wrong between the daemon and a CloudKP host: each ends with the file there, or with a job that says why
//! not.

use ferryd::internals::job::health::HostState;
use ferryd::internals::job::reason::Note;
use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{ReasonClass, State, Step};
use ferryd::internals::store::JobRow;
use ferryd_sandbox::cloudkp::{ChunkReply, FinishReply, Replay};
use ferryd_sandbox::faults::{Action, Endpoint, RetryAfter, Rule, Script, When};

use crate::bench_top::{Bench, bytes, one};
use crate::kinds::{CLOUDKP, KIE, KOODRIVE, Kind};

const CHUNK: Endpoint = Endpoint::Chunk;
const FINISH: Endpoint = Endpoint::Finish;

/// The request takes effect, and this is the answer.
fn afterwards(status: u16, body: impl Into<String>) -> Action {
    Action::Reply { status, headers: Default::default(), body: body.into(), stored: true }
}

fn reply(status: u16, body: &str) -> Action {
    Action::Reply { status, headers: Default::default(), body: body.into(), stored: false }
}

fn script_and(mut script: Script, endpoint: Endpoint, when: When, action: Action) -> Script {
    script.rules.push(Rule::new(action).at(endpoint).when(when));
    script
}

/// One file of three chunks through `script`, to its end.
fn through(script: Script) -> (Bench, JobRow) {
    through_with(Bench::new(), script)
}

fn through_with(bench: Bench, script: Script) -> (Bench, JobRow) {
    bench.faults(script);
    let content = bytes(5, 300_000);
    bench.put("file", &content);
    let daemon = bench.start();
    let job = bench.wait_for("the job to end or to be held", || {
        let settled = |job: &JobRow| job.state.is_final() || job.state == State::Held;
        bench.jobs().into_iter().find(settled)
    });
    for held in bench.held("file") {
        assert!(held == content, "what the host holds is not the file");
    }
    assert_eq!(job.link.is_some(), job.state == State::Done);
    bench.stop(daemon);
    (bench, job)
}

/// The file arrives exactly once, and nothing is said about a second one.
fn lands_once(script: Script) -> Bench {
    let (bench, job) = through(script.clone());
    assert_eq!(job.state, State::Done, "{script:?}: {job:#?}");
    assert_eq!((bench.held("file").len(), job.maybe_duplicate), (1, false), "{script:?}");
    bench
}

#[test]
fn a_chunk_that_fails_in_any_way_is_sent_again() {
    let actions = [
        reply(500, "{\"error\":\"oops\"}"),
        reply(502, ""),
        reply(503, "busy"),
        reply(504, "late"),
        Action::TooManyRequests { retry_after: RetryAfter::Seconds(1) },
        Action::TooManyRequests { retry_after: RetryAfter::DateInSeconds(1) },
        Action::TooManyRequests { retry_after: RetryAfter::Absent },
        Action::CloseBeforeReading { reset: true },
        Action::ResetAfterBytes { bytes: 1000 },
        Action::ResetAfterBody,
        Action::LoseReply { reset: true },
        Action::CutReply { bytes: 0 },
        Action::WrongLength { by: 10 },
        Action::Html { status: 200, stored: false },
        Action::Html { status: 503, stored: false },
        Action::Twice,
        reply(200, "{\"error\":\"no space left on the server\"}"),
        reply(200, "{\"error\":17}"),
        reply(200, "{\"error\":\"odd\",\"more\":[1]}"),
        reply(200, "{\"err"),
        afterwards(200, "{\"more\":{},\"error\":null}"),
        Action::SlowReading { bytes_per_second: 2_000_000 },
        Action::SlowReply { seconds: 0.05 },
        Action::EarlyReply { status: 503, body: Default::default(), after_bytes: 0, hold_seconds: 0.0 },
    ];
    let scripts = actions.map(|action| one(CHUNK, When::Nth(2), action));
    for script in &scripts {
        lands_once(script.clone());
    }
}

#[test]
fn a_chunk_that_the_host_lost_is_found_missing_and_all_are_sent_again() {
    let bench = lands_once(one(CHUNK, When::Nth(2), Action::DropPart));
    assert_eq!(bench.sandbox.stats().parts_acked, 6, "three, and the same three again");
}

#[test]
fn a_session_that_the_host_lost_begins_anew() {
    lands_once(one(CHUNK, When::Nth(2), Action::LoseSession));
    lands_once(one(FINISH, When::Nth(1), Action::LoseSession));
}

#[test]
fn a_host_that_loses_every_session_has_the_file_in_the_end() {
    bad_at_first(one(FINISH, When::Always, Action::LoseSession), "session not found");
}

#[test]
fn a_finish_that_may_have_worked_is_finished_again_under_its_session() {
    let actions = [
        Action::LoseReply { reset: true },
        Action::CutReply { bytes: 5 },
        Action::WrongLength { by: 10 },
        reply(502, ""),
        Action::Html { status: 200, stored: false },
        afterwards(200, ""),
        afterwards(500, "{}"),
        Action::CloseBeforeReading { reset: true },
        reply(200, "what?"),
    ];
    for action in actions {
        let script = one(FINISH, When::Nth(1), action);
        let (bench, job) = through(script.clone());
        // Nobody can know whether it would have made another file the second time.
        assert_eq!((job.state, job.maybe_duplicate), (State::Done, true), "{script:?}: {job:#?}");
        assert_eq!(bench.held("file").len(), 1, "{script:?}");
    }
}

#[test]
fn a_host_that_makes_another_file_of_a_finished_session_has_it_twice_and_the_job_says_so() {
    let bench = Bench::with(|options| options.rules.cloudkp.replay = Replay::NewId);
    let (bench, job) = through_with(bench, one(FINISH, When::Nth(1), Action::LoseReply { reset: true }));
    assert_eq!((job.state, job.maybe_duplicate, bench.held("file").len()), (State::Done, true, 2), "{job:#?}");
}

#[test]
fn a_host_that_forgets_a_finished_session_may_have_the_file_twice_and_the_job_says_so() {
    let bench = Bench::with(|options| options.rules.cloudkp.replay = Replay::Error);
    let (bench, job) = through_with(bench, one(FINISH, When::Nth(1), Action::LoseReply { reset: true }));
    assert_eq!((job.state, job.maybe_duplicate), (State::Done, true), "{job:#?}");
    assert_eq!(bench.held("file").len(), 2);
}

#[test]
fn with_hold_it_is_left_to_a_person_and_is_never_there_twice() {
    let bench = Bench::with(|options| options.rules.cloudkp.replay = Replay::Error).host("on_unknown = \"hold\"");
    let (bench, job) = through_with(bench, one(FINISH, When::Nth(1), Action::LoseReply { reset: true }));
    assert_eq!(job.state, State::Held, "{job:#?}");
    let why = job.why.unwrap();
    assert_eq!((why.class, why.step, why.note), (ReasonClass::Undecidable, Some(Step::Finish), Note::LeftToUser));
    assert!(why.to_string().contains("may be on the host already"), "{why}");
    assert_eq!(bench.held("file").len(), 1);
}

#[test]
fn every_documented_reply_gives_the_link() {
    for chunk_reply in [ChunkReply::Empty, ChunkReply::Ok, ChunkReply::Json] {
        for finish_reply in [FinishReply::Json, FinishReply::JsonNullText, FinishReply::Bare, FinishReply::JsonString] {
            let bench = Bench::with(|options| {
                options.rules.cloudkp.chunk_reply = chunk_reply;
                options.rules.cloudkp.finish_reply = finish_reply;
            });
            let (bench, job) = through_with(bench, Script::default());
            let id = bench.sandbox.objects()[0].id.clone();
            assert_eq!(job.link.unwrap(), format!("http://{}/cloudkp?c={id}", bench.sandbox.addr()));
        }
    }
}

/// One more attempt at the only job there is, and how it stands after that.
fn tried_again(bench: &Bench) -> JobRow {
    let attempts = bench.jobs().first().map_or(0, |job| job.attempts);
    let daemon = bench.start();
    let job = bench.wait_for("the next failure", || {
        bench.jobs().into_iter().find(|job| job.attempts > attempts && matches!(job.state, State::Waiting | State::Held))
    });
    bench.stop(daemon);
    job
}

#[test]
fn a_host_that_has_moved_says_at_once_what_to_set_and_is_held_when_that_lasts() {
    let redirect = Action::Redirect { status: 301, to: Some("http://127.0.0.1:9/".into()) };
    for (action, status) in [(reply(404, ""), 404), (redirect, 301), (reply(403, "banned"), 403)] {
        let bench = Bench::new();
        bench.faults(one(CHUNK, When::Always, action));
        bench.put("file", &bytes(5, 300_000));
        for _ in 0..3 {
            let job = tried_again(&bench);
            let why = job.why.clone().unwrap();
            assert_eq!((job.state, why.class, why.status), (State::Waiting, ReasonClass::Host(Class::Unreadable), Some(status)));
            assert!(why.to_string().contains(if status == 403 { "credentials" } else { "base_url" }), "{why}");
        }
        change_queue(&bench, "UPDATE hosts SET outage = replace(outage, '\"ms\":', '\"ms\":900000')");
        let job = tried_again(&bench);
        let why = job.why.clone().unwrap();
        let expected = (ReasonClass::Host(Class::HostRefused), Some(Step::SendPart), Some(status));
        assert_eq!((job.state, why.class, why.step, why.status), (State::Held, expected.0, expected.1, expected.2), "{job:#?}");
        assert!(job.next_try_ms.is_some(), "it is looked at again");
        let host = &bench.snapshot().unwrap().hosts[0];
        assert_eq!((host.report.state, &host.report.why), (HostState::Held, &job.why));
        // A restart is how a person says that it was mended.
        bench.faults(Script::default());
        let daemon = bench.start();
        bench.wait_done(1);
        bench.wait_for("the host to be ready", || (bench.snapshot()?.hosts[0].report.state == HostState::Ready).then_some(()));
        bench.stop(daemon);
    }
}

/// A file that is half sent to a host of this kind where it was, and goes on where it is now.
fn goes_on_at_the_corrected_address(kind: Kind) {
    let bench = kind.bench();
    let content = bytes(5, kind.part_bytes().unwrap_or(300_000) * 2);
    bench.put("file", &content);
    // What was begun has an address of the host in it, or none.
    let last_part = if kind.part_bytes().is_some() { 2 } else { 1 };
    bench.faults(one(CHUNK, When::Nth(last_part), reply(500, "")));
    let begun = tried_again(&bench);
    bench.faults(Script::default());
    let there = format!("http://{}/{}", bench.sandbox.addr(), kind.word);
    let nowhere = format!("http://{}/nobody", bench.sandbox.addr());
    let bench = bench.change(&there, &nowhere);
    let job = tried_again(&bench);
    assert!(job.why.is_some() && kind.held(&bench, "file").is_empty(), "{}: {begun:?} {job:?}", kind.word);
    let asked_nowhere = bench.sandbox.log().iter().filter(|entry| entry.path.starts_with("/nobody")).count();
    assert!(asked_nowhere > 0, "{}: the wrong address is the one that is asked, whatever was begun elsewhere", kind.word);
    let bench = bench.change(&nowhere, &there);
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(kind.held(&bench, "file") == [content], "{}", kind.word);
}

#[test]
fn a_corrected_address_reaches_a_file_that_was_begun_at_another() {
    for kind in [CLOUDKP, KOODRIVE, KIE] {
        goes_on_at_the_corrected_address(kind);
    }
}

#[test]
fn a_host_that_asks_for_rest_is_left_alone_with_all_its_files() {
    let bench = Bench::new();
    bench.faults(one(CHUNK, When::Nth(1), Action::TooManyRequests { retry_after: RetryAfter::Seconds(5) }));
    for number in 0..5 {
        bench.put(&format!("f{number}"), &bytes(number, 1000));
    }
    let daemon = bench.start();
    let resting = bench
        .wait_for("the host to rest", || bench.snapshot()?.hosts.into_iter().find(|host| host.report.state == HostState::Resting));
    let resting = resting.report;
    let why = resting.why.unwrap();
    assert_eq!((why.class, why.status), (ReasonClass::Host(Class::RateLimited), Some(429)), "{why}");
    assert!(resting.until_ms.is_some());
    bench.wait_done(5);
    let jobs = bench.jobs();
    assert!(jobs.iter().all(|job| bench.held(job.path.file_name().unwrap().to_str().unwrap()).len() == 1));
    bench.stop(daemon);
}

#[test]
fn a_file_that_the_host_refuses_fails_alone() {
    let bench = Bench::new();
    bench.faults(one(CHUNK, When::Nth(1), reply(200, "{\"error\":\"file size limit exceeded\"}")));
    bench.put("big", &bytes(1, 1000));
    let daemon = bench.start();
    let failed = bench.wait_state(State::Failed);
    let why = failed.why.unwrap();
    assert_eq!(why.class, ReasonClass::Host(Class::FileRejected));
    assert!(why.to_string().contains("file size limit exceeded"), "{why}");
    bench.put("small", &bytes(2, 1000));
    bench.wait_state(State::Done);
    bench.stop(daemon);
}

#[test]
fn replies_that_nobody_can_read_never_fail_a_file() {
    bad_at_first(one(CHUNK, When::Always, reply(200, "{\"error\":\"E_FROBNICATE\"}")), "E_FROBNICATE");
}

#[test]
fn a_file_that_is_missed_some_parts_of_each_time_is_never_failed() {
    let mut script = one(CHUNK, When::Every(2), Action::DropPart);
    script = script_and(script, CHUNK, When::Every(3), Action::DropPart);
    bad_at_first(script, "missing");
}

/// A host that fails as `script` has it, however often it is asked, and then is well: its file waits with the reason and arrives.
fn bad_at_first(script: Script, reason: &str) {
    let bench = Bench::new();
    bench.faults(script);
    let content = bytes(5, 300_000);
    bench.put("file", &content);
    for _ in 0..5 {
        // A start has everything tried again at once.
        let daemon = bench.start();
        let stood = bench.wait_for("the job to stand", || {
            bench.jobs().into_iter().find(|job| job.state.is_final() || (job.state == State::Waiting && job.next_try_ms.is_some()))
        });
        assert_eq!(stood.state, State::Waiting, "{stood:#?}");
        assert!(stood.why.as_ref().is_some_and(|why| why.to_string().contains(reason)), "{stood:#?}");
        bench.stop(daemon);
    }
    bench.faults(Script::default());
    let daemon = bench.start();
    let jobs = bench.wait_done(1);
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    assert!(bench.held("file") == [content]);
    bench.stop(daemon);
}

/// Changes the queue of a daemon that does not run.
fn change_queue(bench: &Bench, sql: &str) {
    let queue = rusqlite::Connection::open(bench.state_dir().join(ferryd::internals::store::FILE_NAME)).unwrap();
    assert!(queue.execute(sql, []).unwrap() > 0);
}

/// Brings a job that has failed for three times or more, the last time with `script`, to its next failure when its row of failures
/// is `hours` old.
fn after_hours(bench: &Bench, script: Script, hours: u32) -> JobRow {
    bench.faults(script);
    bench.put("file", &bytes(5, 300_000));
    for _ in 0..3 {
        let daemon = bench.start();
        bench.wait_state(State::Waiting);
        bench.stop(daemon);
    }
    change_queue(bench, &format!("UPDATE jobs SET failing_ms = failing_ms + {hours} * 3600000"));
    let attempts = bench.jobs()[0].attempts;
    let daemon = bench.start();
    let job = bench.wait_for("the next failure", || {
        bench.jobs().into_iter().find(|job| job.attempts > attempts && matches!(job.state, State::Waiting | State::Held))
    });
    bench.stop(daemon);
    job
}

#[test]
fn with_a_limit_on_retries_the_job_is_held_for_a_person_but_not_within_minutes() {
    let bench = Bench::new().host("retries = 1");
    let job = after_hours(&bench, one(CHUNK, When::Always, reply(500, "down")), 1);
    assert_eq!(job.state, State::Held, "{job:#?}");
    assert!(job.why.unwrap().status == Some(500) && job.next_try_ms.is_some());
}

#[test]
fn with_a_shorter_patience_what_nobody_understands_is_shown_sooner() {
    let strange = || one(CHUNK, When::Always, reply(200, "{\"error\":\"E_FROBNICATE\"}"));
    let patience = |bench: Bench| after_hours(&bench, strange(), 2).state;
    assert_eq!(patience(Bench::new().host("give_up_after = \"1h\"")), State::Held);
    assert_eq!(patience(Bench::new().host("give_up_after = \"3h\"")), State::Waiting);
}

#[test]
fn what_nobody_understands_for_a_day_is_held_and_an_outage_is_waited_out() {
    let strange = one(CHUNK, When::Always, reply(200, "{\"error\":\"E_FROBNICATE\"}"));
    let job = after_hours(&Bench::new(), strange, 25);
    assert_eq!(job.state, State::Held, "{job:#?}");
    assert_eq!(job.why.unwrap().class, ReasonClass::Host(Class::Unreadable));
    assert!(job.next_try_ms.is_some(), "it is tried again all the same");
    let job = after_hours(&Bench::new(), one(CHUNK, When::Always, reply(500, "down")), 25);
    assert_eq!(job.state, State::Waiting, "{job:#?}");
}

#[test]
fn an_unreachable_host_makes_the_job_wait_and_say_why() {
    let mut bench = Bench::new();
    // Nobody listens on port 9 of the loopback.
    bench = bench.host("request_timeout = \"1s\"");
    let config = bench.config();
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace(&format!("http://{}/cloudkp\"", bench.sandbox.addr()), "http://127.0.0.1:9\"");
    let own = bench.dir.path().join("unreachable.toml");
    std::fs::write(&own, text).unwrap();
    bench.put("file", b"content");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ferryd"));
    let mut child = command.arg("--config").arg(own).arg("run").stderr(std::process::Stdio::null()).spawn().unwrap();
    let waiting = bench.wait_state(State::Waiting);
    child.kill().unwrap();
    child.wait().unwrap();
    let why = waiting.why.unwrap();
    assert_eq!((why.class, why.step, why.status), (ReasonClass::Host(Class::Transient), Some(Step::SendPart), None), "{why}");
    assert!(why.to_string().to_lowercase().contains("connect"), "{why}");
    assert!(waiting.next_try_ms.is_some());
}

#[test]
fn a_host_that_stops_in_the_middle_is_given_up_after_the_idle_time() {
    let bench = Bench::new().host("request_timeout = \"1s\"");
    let (bench, job) = through_with(bench, one(CHUNK, When::Nth(1), Action::SlowReply { seconds: 600.0 }));
    assert_eq!(job.state, State::Done, "{job:#?}");
    let said = "no data was transferred for 1 s";
    assert!(bench.log_text().contains(said), "{}", bench.log_text());
}

#[test]
fn random_faults_of_every_kind_lose_and_mix_nothing() {
    let actions = [
        Action::ResetAfterBytes { bytes: 50_000 },
        Action::LoseReply { reset: true },
        reply(500, ""),
        Action::Html { status: 200, stored: false },
        Action::CutReply { bytes: 1 },
    ];
    let script = actions.into_iter().enumerate().fold(Script::default(), |script, (seed, action)| {
        script_and(script, CHUNK, When::Probability { chance: 0.04, seed: seed as u64 }, action)
    });
    let bench = Bench::new();
    bench.faults(script);
    let contents: Vec<Vec<u8>> = (0..10).map(|seed| bytes(seed, 150_000 * (seed as usize + 1))).collect();
    for (number, content) in contents.iter().enumerate() {
        bench.put(&format!("f{number}"), content);
    }
    let daemon = bench.start();
    bench.wait_done(contents.len());
    for (number, content) in contents.iter().enumerate() {
        assert!(bench.held(&format!("f{number}")) == [content.clone()]);
    }
    bench.stop(daemon);
}
