//! What the protocol of a kind asks for over minutes and hours, on simulated time.

use std::path::Path;

use ferryd_sandbox::Object;
use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::log::{Entry, Outcome};
use tokio::time::Instant;

use super::real_hosts::{Bench, bench_of, bench_ruled, table, whole};
use super::world::{HOUR, MINUTE, SECOND, paused};
use crate::host::kind::Kind;
use crate::host::kinds::KINDS;
use crate::job::State;

fn at(bench: &Bench, endpoint: Endpoint) -> Vec<Entry> {
    bench.log().into_iter().filter(|entry| entry.endpoint == Some(endpoint)).collect()
}

fn is_rejected(entry: &Entry) -> bool {
    matches!(entry.outcome, Outcome::Rejected(_))
}

#[test]
fn an_account_that_had_too_many_logins_gets_them_one_by_one_also_after_a_restart() {
    paused(async {
        let bench = bench_ruled("uploadgig", "", |options| {
            let rules = &mut options.rules.uploadgig;
            (rules.logins_max, rules.login_window_seconds) = (2, 50);
        });
        let names: Vec<String> = (0..9).map(|number| format!("file{number}")).collect();
        for name in &names {
            bench.put(name, 100);
        }
        bench.run(7 * MINUTE).await;
        bench.run(HOUR).await;
        for name in &names {
            assert_eq!(bench.world.state(name, "uploadgig").0, State::Done);
        }
        let logins = at(&bench, Endpoint::Open);
        assert_eq!(logins.iter().filter(|login| is_rejected(login)).count(), 1, "{logins:#?}");
        let first = logins.iter().position(is_rejected).unwrap();
        let gaps: Vec<i64> = logins[first..].windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
        assert!(gaps.len() > 5 && gaps.iter().all(|gap| *gap >= 29_000), "{gaps:?}");
    });
}

/// CloudKP is not asked for a session: what it says of itself then shows nothing.
#[test]
fn a_machine_without_a_network_blames_no_host_and_goes_on_half_a_minute_after_it_has_one() {
    paused(async {
        let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| ["cloudkp", "kie"].contains(&kind.word())).collect();
        let tables: String = kinds.iter().map(|kind| table(kind)).collect();
        let bench = bench_of(23, &whole(&kinds, &tables), true, |_| {});
        let offline = 2 * HOUR;
        *bench.lan.offline_until.lock().unwrap() = Some(Instant::now() + offline);
        let names: Vec<String> = (0..12).map(|number| format!("file{number}")).collect();
        for name in &names {
            bench.put(name, 1000);
        }
        bench.run(offline + 45 * SECOND).await;
        for name in &names {
            bench.is_done_at("cloudkp", name);
            bench.is_done_at("kie", name);
        }
    });
}

#[test]
fn a_second_bad_copy_is_the_last() {
    paused(async {
        let bench = bench_ruled("uploadgig", "", |options| {
            options.faults = Script::of([Rule::new(Action::WrongFacts).at(Endpoint::Chunk).when(When::Always)]);
        });
        bench.put("file", 1000);
        bench.run(24 * HOUR).await;
        let sent = at(&bench, Endpoint::Chunk);
        assert_eq!(sent.len(), 2, "{sent:#?}");
        assert!(sent[1].at_ms - sent[0].at_ms >= 300_000);
        assert_eq!(bench.world.state("file", "uploadgig").0, State::Held);
    });
}

/// A KooDrive that loses the answer to its first complete, and then does not know of the file for so many questions.
fn complete_that_lags(questions: When) -> (Bench, Vec<Entry>) {
    paused(async move {
        let missing = Action::Reply { status: 400, headers: Default::default(), body: "{\"code\":13000309}".into(), stored: false };
        let bench = bench_ruled("koodrive", "", |options| {
            options.faults = Script::of([
                Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Finish).when(When::Nth(1)),
                Rule::new(missing).at(Endpoint::Probe).when(questions),
            ]);
        });
        bench.put("file", 6 * 1024 * 1024);
        bench.run(HOUR).await;
        bench.is_done_at("koodrive", "file");
        let completes = at(&bench, Endpoint::Finish);
        (bench, completes)
    })
}

#[test]
fn parts_that_are_about_to_be_a_file_are_not_sent_again() {
    let (bench, completes) = complete_that_lags(When::First(3));
    let gaps: Vec<i64> = completes.windows(2).map(|pair| (pair[1].at_ms - pair[0].at_ms) / 1000).collect();
    assert!(gaps.len() == 4 && gaps[1] >= 5 && gaps[2] >= 30 && (60..120).contains(&gaps[3]), "{gaps:?}");
    assert_eq!((at(&bench, Endpoint::Chunk).len(), at(&bench, Endpoint::Open).len()), (2, 1));
    // One that never comes is created again, and found by its digest.
    let (bench, completes) = complete_that_lags(When::Always);
    assert_eq!((completes.len(), at(&bench, Endpoint::Chunk).len(), at(&bench, Endpoint::Open).len()), (5, 2, 2));
}

#[test]
fn each_renewal_of_a_link_is_a_file_of_its_own_and_lives_as_long_as_a_new_one() {
    paused(async {
        let bench = bench_ruled("kie", "refresh = true", |options| {
            let rules = &mut options.rules.kie;
            (rules.kept_seconds, rules.overwriting_renews) = (24 * 3600, false);
        });
        bench.put("file", 1000);
        bench.run(30 * HOUR).await;
        bench.run(30 * HOUR).await;
        let mut names: Vec<String> = bench.lan.sandbox.objects().into_iter().map(|object| object.name).collect();
        names.sort();
        let version = names.iter().find_map(|name| name.strip_suffix("-file").filter(|id| id.len() == 16)).unwrap().to_owned();
        assert_eq!(names, ["-2-file", "-3-file", "-file"].map(|end| format!("{version}{end}")));
        let job = bench.world.job("file", "kie");
        let left = job.expires_ms.unwrap() - bench.world.system.clock.now_ms();
        assert!(job.state == State::Done && left > 0, "{left} ms left");
    });
}

#[test]
fn a_finish_that_the_host_refuses_for_long_is_given_up_for_a_new_session() {
    paused(async {
        let refuses = Action::Reply {
            status: 200,
            headers: Default::default(),
            body: "{\"error\":\"the merger is on holiday\",\"file_id\":null}".into(),
            stored: false,
        };
        let bench = bench_ruled("cloudkp", "", |options| {
            options.faults = Script::of([Rule::new(refuses).at(Endpoint::Finish).when(When::Seconds(2000.0))]);
        });
        let content = bench.put("file", 400_000);
        bench.run(6 * HOUR).await;
        bench.is_done_at("cloudkp", "file");
        assert!(at(&bench, Endpoint::Chunk).len() >= 8, "its four chunks go again, under another number");
        let objects = bench.lan.sandbox.objects();
        assert!(objects.len() == 1 && bench.lan.sandbox.read(&objects[0]).unwrap() == content);
    });
}

#[test]
fn a_host_that_has_left_one_address_is_found_at_the_next_without_a_person() {
    paused(async {
        let two = "base_url = [\"http://127.0.0.1:8080/nowhere\", \"http://127.0.0.1:8080/cloudkp/upload\"]";
        let bench = bench_ruled("cloudkp", two, |_| {});
        for name in ["one", "two"] {
            bench.put(name, 300_000);
        }
        bench.run(3 * HOUR).await;
        for name in ["one", "two"] {
            bench.is_done_at("cloudkp", name);
        }
    });
}

#[test]
fn the_last_chunk_may_be_the_finish() {
    paused(async {
        let bench = bench_ruled("cloudkp", "finish = \"last_chunk\"", |options| {
            let lost = Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Chunk).file("four").when(When::Nth(1));
            options.faults = Script::of([lost]);
        });
        for (name, bytes) in [("four", 400_000), ("single", 10)] {
            bench.put(name, bytes);
        }
        bench.run(HOUR).await;
        for name in ["four", "single"] {
            bench.is_done_at("cloudkp", name);
        }
        let mut sizes: Vec<u64> = bench.lan.sandbox.objects().iter().map(|object| object.bytes).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [10, 400_000]);
        let requests = at(&bench, Endpoint::Chunk).len() + at(&bench, Endpoint::Finish).len();
        assert!((5..=6).contains(&requests), "{:#?}", bench.log());
    });
}

/// A KooDrive that has the content of a file already, and answers the question for it only after `meddle` was done to the file.
/// Answers what it holds then.
fn asked_while(meddle: impl Fn(&Bench, &Path)) -> (Bench, Vec<Object>) {
    paused(async {
        let bench = bench_ruled("koodrive", "", |_| {});
        let content = bench.put("first", 200_000);
        // What the name means at the host already: a further file of this name gets one of its own, also when it is made again.
        bench.world.disk.write(Path::new("/drop/name"), b"what was there before").unwrap();
        bench.run(5 * MINUTE).await;
        let slow = Rule::new(Action::SlowReply { seconds: 20.0 }).at(Endpoint::Open).when(When::First(1));
        bench.lan.sandbox.set_faults(Script::of([slow])).unwrap();
        let name = Path::new("/drop/name");
        bench.world.disk.write(name, &content).unwrap();
        let meddling = async {
            tokio::time::sleep(15 * SECOND).await;
            meddle(&bench, name);
        };
        tokio::join!(bench.run(2 * HOUR), meddling);
        bench.is_done_at("koodrive", "name");
        let digest = bench.lan.sandbox.objects()[0].sha256.clone();
        let holds = bench.lan.sandbox.objects().into_iter().filter(|object| object.sha256 == digest).collect();
        (bench, holds)
    })
}

#[test]
fn a_file_that_is_touched_while_the_host_looks_for_its_content_is_not_there_twice_for_that() {
    let (bench, holds) = asked_while(|bench, file| bench.world.disk.set_mode(file, 0o600).unwrap());
    assert_eq!(holds.len(), 2, "once under each name: {holds:#?}");
    assert_eq!(
        at(&bench, Endpoint::Open).iter().filter(|open| open.file.as_deref() == Some("name")).count(),
        2,
        "no third question"
    );
}

#[test]
fn a_file_that_changes_unseen_while_the_host_looks_for_its_content_goes_up_as_it_is_now() {
    let new = vec![7; 200_000];
    let (bench, _) = asked_while(|bench, file| bench.world.disk.overwrite_unnoticed(file, &new, 0).unwrap());
    let sandbox = &bench.lan.sandbox;
    assert!(sandbox.objects().iter().any(|object| sandbox.read(object).unwrap() == new), "{:#?}", sandbox.objects());
}

/// The requests of two files that are each written twice, to a store whose first look at the second is wrong, as where another program
/// stores an object in between: its refusal shows that it heeds the condition.
async fn written_twice(on_existing: &str) -> (Bench, Vec<String>) {
    let free = Action::Reply { status: 404, headers: Default::default(), body: String::new(), stored: false };
    let bench = bench_ruled("s3", &format!("on_existing = \"{on_existing}\""), |options| {
        options.faults = Script::of([Rule::new(free).at(Endpoint::Probe).when(When::Nth(2))]);
    });
    let puts = async {
        for (name, bytes) in [("file", 1000), ("file", 2000), ("other", 3000), ("other", 4000)] {
            bench.put(name, bytes);
            tokio::time::sleep(600 * SECOND).await;
        }
    };
    tokio::join!(bench.run(HOUR), puts);
    let told = |entry: &Entry| format!("{} {}", entry.method, entry.path.rsplit('/').next().unwrap());
    let requests = bench.log().iter().map(told).collect();
    (bench, requests)
}

#[test]
fn a_store_that_refuses_a_taken_key_is_not_asked_before_every_small_file() {
    paused(async {
        let (bench, requests) = written_twice("rename").await;
        let expected = [
            &["HEAD file", "PUT file"][..],
            // It is taken all the same. The token is looked for, and then a name.
            &["HEAD file", "PUT file", "HEAD file", "HEAD file", "HEAD file%20%282%29", "PUT file%20%282%29"],
            &["PUT other"],
            &["PUT other", "HEAD other", "HEAD other", "HEAD other%20%282%29", "PUT other%20%282%29"],
        ];
        assert_eq!(requests, expected.concat());
        assert_eq!(bench.held(KINDS.iter().find(|kind| kind.word() == "s3").unwrap()).len(), 4, "nothing is overwritten");
    });
}

#[test]
fn what_is_to_be_skipped_is_not_sent_to_find_that_out() {
    paused(async {
        let (_, requests) = written_twice("skip").await;
        let refused = ["HEAD file", "PUT file", "HEAD file"];
        assert_eq!(requests, [&["HEAD file", "PUT file"][..], &refused, &["HEAD other", "PUT other"], &["HEAD other"]].concat());
    });
}
