//! What only a server of tus knows: offsets, half of a request that is kept, addresses of uploads, uploads that are gone.

use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{ReasonClass, State};
use ferryd::internals::store::JobRow;
use ferryd_sandbox::Options;
use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::log::{Entry, Outcome};
use ferryd_sandbox::tus::{Dialect, Locations, Rules};

use crate::bench_top::{Bench, bytes, one};
use crate::hosts::{arrives, is_held_because, send, stands};
use crate::kinds::TUS;
use crate::s3::proofs;
use crate::world::{records, requests};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const SMALL: &str = "chunk = \"64 KiB\"";

fn bench(lines: &str) -> Bench {
    bench_with(lines, |_| {})
}

fn bench_with(lines: &str, rules: impl FnOnce(&mut Rules)) -> Bench {
    let change = |options: &mut Options| rules(&mut options.rules.tus);
    Bench::with(change).to(&["tus"]).host(lines).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []")
}

/// Where each request with bytes began, and how many came.
fn sent(bench: &Bench) -> Vec<(u64, u64)> {
    requests(bench, Endpoint::Chunk).iter().map(|entry| (entry.part.unwrap(), entry.body_bytes)).collect()
}

/// What was asked for, in its order.
fn asked(bench: &Bench) -> Vec<String> {
    bench.sandbox.log().iter().map(|entry| entry.method.clone()).collect()
}

/// Uploads that were created and are no file.
fn left_open(bench: &Bench) -> usize {
    records(bench, "tus", "session-").len() - bench.sandbox.objects().len()
}

#[test]
fn a_file_goes_in_requests_of_the_size_that_is_told_and_an_empty_one_in_none() {
    let file = bytes(1, 200 * KIB);
    for (chunk, expected) in [
        ("64 KiB", vec![(0, 65_536), (65_536, 65_536), (131_072, 65_536), (196_608, 8192)]),
        ("200 KiB", vec![(0, 204_800)]),
        ("whole", vec![(0, 204_800)]),
    ] {
        let bench = bench(&format!("chunk = {chunk:?}"));
        arrives(TUS, &bench, &file);
        assert_eq!(sent(&bench), expected, "{chunk}");
        assert_eq!(asked(&bench)[..2], ["OPTIONS", "POST"]);
        assert!(!asked(&bench).contains(&"HEAD".to_owned()), "nothing was in doubt");
    }
    let bench = bench(SMALL);
    arrives(TUS, &bench, b"");
    assert_eq!(asked(&bench), ["OPTIONS", "POST"]);
}

#[test]
fn what_came_of_a_request_that_broke_off_is_not_sent_again() {
    let bench = bench("checksum = \"none\"\nchunk = \"1 MiB\"");
    let content = bytes(1, 2 * MIB + 7);
    bench.faults(one(Endpoint::Chunk, When::Nth(2), Action::ResetAfterBytes { bytes: 300_000 }));
    arrives(TUS, &bench, &content);
    let sent = sent(&bench);
    assert_eq!(sent[..2].iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, MIB as u64], "{sent:?}");
    let kept = sent[1].1;
    assert!(kept >= 300_000 && sent[2].0 == MIB as u64 + kept, "{sent:?}");
    assert_eq!(sent.iter().map(|(_, bytes)| bytes).sum::<u64>(), content.len() as u64, "no byte came twice: {sent:?}");
    let asked = asked(&bench);
    let broken = asked.iter().rposition(|method| method == "HEAD").unwrap();
    assert!(asked[broken + 1] == "PATCH" && asked[broken - 1] == "PATCH", "{asked:?}");
}

/// How many bytes of a request that has not ended are there.
fn arriving(bench: &Bench) -> u64 {
    let incoming = std::fs::read_dir(bench.dir.path().join("host/incoming")).into_iter().flatten();
    incoming.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_a_request_goes_on_at_the_very_byte() {
    let bench = bench("checksum = \"none\"\nchunk = \"whole\"\nbandwidth = \"2 MiB/s\"");
    let content = bytes(1, 3 * MIB);
    bench.put("file", &content);
    for _ in 0..2 {
        let before = requests(&bench, Endpoint::Chunk).len();
        let daemon = bench.start();
        bench.wait_for("some bytes", || {
            (requests(&bench, Endpoint::Chunk).len() > before && arriving(&bench) > 300_000).then_some(())
        });
        daemon.kill();
        bench.wait_for("their end", || {
            requests(&bench, Endpoint::Chunk).iter().all(|entry| entry.outcome != Outcome::Pending).then_some(())
        });
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(1);
    bench.stop(daemon);
    assert!(bench.held("file") == [content.clone()] && !jobs[0].maybe_duplicate);
    let sent = sent(&bench);
    assert_eq!(sent.iter().map(|(_, bytes)| bytes).sum::<u64>(), content.len() as u64, "no byte came twice: {sent:?}");
    assert!(sent.len() == 3 && sent[1].0 > 0 && sent[2].0 > sent[1].0, "{sent:?}");
    assert_eq!(requests(&bench, Endpoint::Open).len(), 1);
}

#[test]
fn the_answer_to_the_last_bytes_may_be_lost_and_the_file_is_there_once() {
    for (fault, requests_with_bytes) in
        [(Action::LoseReply { reset: true }, 2), (Action::ResetAfterBody, 2), (Action::CloseBeforeReading { reset: true }, 3)]
    {
        let bench = bench(SMALL);
        bench.faults(one(Endpoint::Chunk, When::Nth(2), fault.clone()));
        let job = arrives(TUS, &bench, &bytes(1, 100 * KIB));
        assert!(!job.maybe_duplicate);
        let sent = sent(&bench);
        assert!(sent.len() <= requests_with_bytes + 1, "{fault:?}: {sent:?}");
        assert_eq!((requests(&bench, Endpoint::Open).len(), requests(&bench, Endpoint::Probe).len()), (1, 2), "{fault:?}");
    }
}

/// The last bytes are stored, and the upload is gone with the answer.
fn gone_with_the_answer(lines: &str) -> (Bench, JobRow) {
    let bench = bench_with(&format!("{SMALL}\n{lines}"), |rules| rules.forgets_whole = true);
    bench.faults(one(Endpoint::Chunk, When::Nth(2), Action::LoseReply { reset: true }));
    let job = send(TUS, &bench, "file", &bytes(1, 100 * KIB));
    (bench, job)
}

#[test]
fn an_upload_that_is_gone_after_its_last_bytes_is_what_the_settings_say() {
    let (bench, job) = gone_with_the_answer("");
    assert_eq!((job.state, job.maybe_duplicate, bench.held("file").len()), (State::Done, true, 2), "{job:#?}");
    let (bench, job) = gone_with_the_answer("on_unknown = \"hold\"");
    assert_eq!((job.state, bench.held("file").len()), (State::Held, 1), "{job:#?}");
    let (bench, job) = gone_with_the_answer("on_gone = \"done\"");
    assert_eq!((job.state, job.maybe_duplicate, bench.held("file").len()), (State::Done, false, 1), "{job:#?}");
}

#[test]
fn a_server_that_forgets_what_is_whole_is_no_matter_where_its_answer_was_heard() {
    for point in ["ack.after_commit", "uploaded.before_commit", "finish.before_send"] {
        let bench = bench_with(SMALL, |rules| rules.forgets_whole = true);
        let content = bytes(1, 60 * KIB);
        let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", point)]);
        bench.put("file", &content);
        bench.wait_for(point, || daemon.ended());
        let daemon = bench.start();
        let jobs = bench.wait_done(1);
        bench.stop(daemon);
        assert!(bench.held("file") == [content] && !jobs[0].maybe_duplicate, "{point}: {jobs:#?}");
    }
}

#[test]
fn what_a_server_stores_before_something_of_its_own_fails_is_not_sent_again() {
    for status in [500, 400] {
        let bench = bench_with(SMALL, |rules| rules.hook_fails = Some(status));
        arrives(TUS, &bench, &bytes(1, 100 * KIB));
        assert_eq!(sent(&bench).len(), 2, "{status}");
    }
}

#[test]
fn bytes_have_a_checksum_where_the_server_verifies_it() {
    for (checksum, verified, word) in
        [("sha1", "sha1", true), ("sha256", "sha256", true), ("md5", "md5", true), ("sha1", "md5", false), ("none", "sha1", false)]
    {
        for dialect in [Dialect::Tusd, Dialect::Rustus] {
            let bench = bench_with(&format!("{SMALL}\nchecksum = {checksum:?}"), |rules| {
                rules.checksums = vec![verified.into()];
                rules.dialect = dialect;
            });
            // Where there is a checksum, nothing is kept of a request that breaks off.
            bench.faults(one(Endpoint::Chunk, When::Nth(1), Action::ResetAfterBytes { bytes: 20_000 }));
            arrives(TUS, &bench, &bytes(1, 100 * KIB));
            assert_eq!(sent(&bench)[1].0 == 0, word, "{checksum} {verified}");
        }
    }
}

#[test]
fn requests_end_at_the_borders_that_the_server_wants() {
    let bench =
        bench_with("chunk = \"128 KiB\"\nchunk_multiple = \"64 KiB\"\nchecksum = \"none\"", |rules| rules.chunk_multiple = 65_536);
    bench.faults(one(Endpoint::Chunk, When::Nth(2), Action::ResetAfterBytes { bytes: 70_000 }));
    arrives(TUS, &bench, &bytes(1, 500 * KIB));
    let sent = sent(&bench);
    assert!(sent.len() > 4 && !sent[2].0.is_multiple_of(65_536), "it went on at an odd byte: {sent:?}");
    let refused = requests(&bench, Endpoint::Chunk).into_iter().filter(|entry| matches!(entry.outcome, Outcome::Rejected(_)));
    assert_eq!(refused.count(), 0, "{sent:?}");
}

#[test]
fn a_proxy_that_takes_less_at_once_gets_less() {
    let bench = bench_with("chunk = \"8 MiB\"", |rules| rules.request_bytes_max = Some(3 * MIB as u64));
    arrives(TUS, &bench, &bytes(1, 9 * MIB));
    let taken: Vec<Entry> =
        requests(&bench, Endpoint::Chunk).into_iter().filter(|entry| !matches!(entry.outcome, Outcome::Rejected(_))).collect();
    assert!(taken.iter().all(|entry| entry.body_bytes <= 3 * MIB as u64), "{taken:#?}");
    let bench = bench_with("chunk = \"8 MiB\"", |rules| rules.request_bytes_max = Some(100));
    bench.put("file", &bytes(1, 9 * MIB));
    let daemon = bench.start();
    let class = ReasonClass::Host(Class::RequestRefused);
    bench.wait_for("the limit to be too small", || bench.jobs().into_iter().find(|job| stands(job, State::Waiting, class, "413")));
    bench.stop(daemon);
}

#[test]
fn an_upload_is_found_wherever_the_server_says_and_never_told() {
    let places = [
        (Locations::Absolute, ""),
        (Locations::Relative, ""),
        // Behind a proxy that ends TLS the server names itself as it knows itself.
        (Locations::At("http://inner.invalid:1080".into()), ""),
    ];
    for (place, lines) in places {
        let bench = bench_with(&format!("{SMALL}\n{lines}"), |rules| rules.locations = place.clone());
        let job = arrives(TUS, &bench, &bytes(1, 100 * KIB));
        let id = bench.sandbox.objects()[0].session.clone();
        assert_eq!(job.remote_id.as_deref(), Some(id.as_str()));
        let upload = format!("/tus/files/{id}");
        let status = bench.command(&["status", "--json"]).output().unwrap().stdout;
        assert!(!bench.log_text().contains(&upload) && !String::from_utf8_lossy(&status).contains(&upload), "{place:?}");
    }
}

#[test]
fn another_origin_gets_bytes_and_credentials_only_where_the_settings_name_it() {
    let other = bench("");
    let origin = format!("http://{}", other.sandbox.addr());
    // Nobody knows the upload there: what matters is who is asked.
    let elsewhere = |lines: &str| {
        let place = Locations::At(origin.clone());
        bench_with(&format!("{SMALL}\n{lines}"), |rules| (rules.locations, rules.forgets_whole) = (place, false))
    };
    let bench = elsewhere(&format!("upload_origins = [{origin:?}]"));
    bench.put("file", &bytes(1, 100 * KIB));
    let daemon = bench.start();
    bench.wait_for("bytes for the other origin", || (!requests(&other, Endpoint::Chunk).is_empty()).then_some(()));
    bench.stop(daemon);
    let statuses: Vec<Option<u16>> = requests(&other, Endpoint::Chunk).iter().map(|entry| entry.status).collect();
    assert!(!statuses.contains(&Some(401)), "the credentials came with them: {statuses:?}");
    let before = other.sandbox.log().len();
    let bench = elsewhere("");
    arrives(TUS, &bench, &bytes(1, 100 * KIB));
    assert_eq!(other.sandbox.log().len(), before, "the same upload is where it was created");
}

#[test]
fn an_upload_at_an_origin_that_nobody_has_named_holds_the_host() {
    let bench = bench_with(SMALL, |rules| rules.locations = Locations::At("https://elsewhere.invalid".into()));
    bench.faults(one(Endpoint::Probe, When::Every(1), Action::Moved));
    is_held_because(TUS, &bench, ReasonClass::Host(Class::HostRefused), "add it to `upload_origins`");
}

#[test]
fn we_show_who_we_are_as_the_settings_say() {
    let right = "token = \"tus-practice-token-7\"";
    let cases = [
        ("user = \"me\"\npassword = \"s3cret pass\"", "authorization", "Basic bWU6czNjcmV0IHBhc3M="),
        ("token = \"abc-def-ghi\"", "authorization", "Bearer abc-def-ghi"),
        ("token = \"Token abc-def-ghi\"", "authorization", "Token abc-def-ghi"),
        ("token = \"abc-def-ghi\"\nauth_header = \"X-Api-Key\"", "x-api-key", "abc-def-ghi"),
    ];
    for (lines, name, value) in cases {
        let bench = bench_with(SMALL, |rules| rules.credentials = (name.into(), value.into())).change(right, lines);
        arrives(TUS, &bench, &bytes(1, 100 * KIB));
        let said = bench.command(&["check", "--online"]).output().unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).contains("credentials accepted"), "{lines}: {said:?}");
        assert!(!bench.log_text().contains(value));
    }
    let bench = bench(SMALL).change(right, "token = \"hunter2\"");
    is_held_because(TUS, &bench, ReasonClass::Host(Class::HostRefused), "check the credentials");
    let said = bench.command(&["check", "--online"]).output().unwrap();
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stdout).contains("check the credentials"), "{said:?}");
}

#[test]
fn a_token_goes_over_a_network_in_the_clear_only_where_allowed() {
    let told = |lines: &str| {
        let bench = bench("");
        let endpoint = format!("http://{}/tus/files/", bench.sandbox.addr());
        let bench =
            bench.change(&format!("endpoint = {endpoint:?}"), &format!("endpoint = \"http://tus.example/files/\"\n{lines}"));
        let said = bench.command(&["check"]).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
    };
    assert!(told("").contains("would send the credentials unencrypted"));
    assert!(!told("allow_http = true").contains("unencrypted"));
}

#[test]
fn the_server_is_told_what_the_settings_say() {
    let lines = "metadata = [\"bucketName=films\", \"objectName={folder}/{name}\", \"contentType={type}\", \"empty=\"]\n\
                 headers = [\"x-upsert: true\", \"X-Team: a b\"]";
    let wants = |rules: &mut Rules| rules.wants = vec![("x-upsert".into(), "true".into()), ("x-team".into(), "a b".into())];
    let bench = bench_with(&format!("{SMALL}\n{lines}"), wants);
    let bench = bench.watch("settle = \"0s\"\nremote_path = \"in\"");
    bench.put("ü, 1.txt", &bytes(1, 100 * KIB));
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    let kept = records(&bench, "tus", "session-").into_values().next().unwrap();
    let told = kept["metadata"].as_str().unwrap();
    // "films", "in/ü, 1.txt", "text/plain".
    assert_eq!(told, "bucketName ZmlsbXM=,objectName aW4vw7wsIDEudHh0,contentType dGV4dC9wbGFpbg==,empty");
    let usual = crate::tus::bench(SMALL);
    arrives(TUS, &usual, b"content");
    let kept = records(&usual, "tus", "session-").into_values().next().unwrap();
    let keys: Vec<&str> = kept["metadata"].as_str().unwrap().split(',').filter_map(|pair| pair.split(' ').next()).collect();
    assert_eq!(keys, ["filename", "filetype", "name", "type"]);
}

#[test]
fn a_file_has_the_link_that_the_settings_or_the_server_make() {
    let link = |lines: &str, header: Option<(&str, &str)>| {
        let names = header.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let bench = bench_with("", |rules| rules.names_file = names);
        let before = format!("link_template = \"http://{}/tus/stored/{{id}}/{{name}}\"", bench.sandbox.addr());
        let bench = bench.change(&before, lines);
        let job = arrives(TUS, &bench, &bytes(1, 100 * KIB));
        let id = bench.sandbox.objects()[0].session.clone();
        (job.link.map(|link| link.replace(&id, "ID")), job.remote_id.map(|remote| remote.replace(&id, "ID")))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(link("", None), (None, some("ID")));
    let template = "link_template = \"https://cdn.example/{id}/{name}\"";
    assert_eq!(link(template, None), (some("https://cdn.example/ID/file"), some("ID")));
    let header = "link_header = \"Stream-Media-Id\"";
    assert_eq!(link(header, Some(("stream-media-id", "abc-1"))), (None, some("abc-1")));
    let both = format!("{template}\n{header}");
    assert_eq!(link(&both, Some(("stream-media-id", "a 1"))), (some("https://cdn.example/a%201/file"), some("a 1")));
    let whole = ("stream-media-id", "https://cdn.example/watch?v=1");
    assert_eq!(link(header, Some(whole)), (some("https://cdn.example/watch?v=1"), some("ID")));
}

#[test]
fn a_digest_that_the_application_tells_is_compared() {
    let content = bytes(1, 300 * KIB);
    let digest = sha256(&content);
    let lines = format!("{SMALL}\nverify_header = \"X-File-SHA256\"");
    let told = |value: &str| {
        let names = Some(("x-file-sha256".to_owned(), value.to_owned()));
        bench_with(&lines, |rules| rules.names_file = names)
    };
    let bench = told(&digest);
    arrives(TUS, &bench, &content);
    assert_eq!(proofs(&bench), ["digest"]);
    // What was told of the last bytes is still known after a death.
    let bench = told(&digest);
    bench.put("file", &content);
    let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", "uploaded.before_commit")]);
    bench.wait_for("its death", || daemon.ended());
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(proofs(&bench), ["digest"]);
    let bench = told(&"0".repeat(64));
    let job = send(TUS, &bench, "file", &content);
    assert!(stands(&job, State::Waiting, ReasonClass::Host(Class::BadCopy), "another digest"), "{job:#?}");
    let bench = bench_with(&lines, |_| {});
    arrives(TUS, &bench, &content);
    assert_eq!(proofs(&bench), ["size"], "nothing was told");
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_proxy_that_knows_only_post_is_spoken_to_by_post() {
    let bench = bench_with(SMALL, |rules| rules.takes_all_methods = false);
    bench.put("file", &bytes(1, 100 * KIB));
    let daemon = bench.start();
    let class = ReasonClass::Host(Class::Unreadable);
    let held = |job: &JobRow| stands(job, State::Waiting, class, "set `method_override = true`");
    bench.wait_for("a word of what helps", || bench.jobs().into_iter().find(held));
    bench.stop(daemon);
    let bench = bench_with(&format!("{SMALL}\nmethod_override = true"), |rules| rules.takes_all_methods = false);
    arrives(TUS, &bench, &bytes(1, 100 * KIB));
    assert!(!asked(&bench).contains(&"PATCH".to_owned()));
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing_open() {
    for method_override in [true, false] {
        let bench = bench(&format!("{SMALL}\nmethod_override = {method_override}\nbandwidth = \"64 KiB/s\""));
        bench.put("file", &bytes(1, MIB));
        let daemon = bench.start();
        bench.wait_for("some bytes", || (requests(&bench, Endpoint::Chunk).len() > 1).then_some(()));
        assert_eq!(left_open(&bench), 1);
        assert!(bench.command(&["cancel", "--all"]).output().unwrap().status.success());
        bench.wait_for("the upload to be given up", || (left_open(&bench) == 0).then_some(()));
        bench.stop(daemon);
    }
}

#[test]
fn an_upload_that_has_expired_begins_anew() {
    for dialect in [Dialect::Tusd, Dialect::Node] {
        let bench = bench_with(&format!("{SMALL}\nbandwidth = \"128 KiB/s\""), |rules| {
            (rules.dialect, rules.life_seconds) = (dialect, Some(3600));
        });
        let content = bytes(1, 300 * KIB);
        bench.put("file", &content);
        let daemon = bench.start();
        bench.wait_for("some bytes", || (requests(&bench, Endpoint::Chunk).len() > 1).then_some(()));
        daemon.kill();
        bench.sandbox.shift_clock(7200);
        let daemon = bench.start();
        let jobs = bench.wait_done(1);
        bench.stop(daemon);
        assert!(bench.held("file") == [content] && !jobs[0].maybe_duplicate);
        assert_eq!(requests(&bench, Endpoint::Open).len(), 2);
    }
}

#[test]
fn an_upload_that_is_locked_by_a_request_of_ours_is_waited_for() {
    let bench = bench_with(&format!("{SMALL}\nchecksum = \"none\""), |rules| rules.lock_seconds = 1);
    bench.faults(one(Endpoint::Chunk, When::Nth(2), Action::ResetAfterBytes { bytes: 1000 }));
    arrives(TUS, &bench, &bytes(1, 200 * KIB));
    assert_eq!(requests(&bench, Endpoint::Open).len(), 1);
}

#[test]
fn a_file_that_is_too_large_for_the_server_fails_before_anything_is_sent() {
    let bench = bench_with("", |rules| rules.bytes_max = Some(1000));
    let job = send(TUS, &bench, "file", &bytes(1, 1001));
    assert!(stands(&job, State::Failed, ReasonClass::Host(Class::FileRejected), "at most 1000"), "{job:#?}");
    assert_eq!(asked(&bench), ["OPTIONS"]);
    let said = bench.command(&["check", "--online"]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("files up to 1000 B"), "{said:?}");
}

#[test]
fn a_file_that_the_application_refuses_fails_with_its_words() {
    let refuses = Action::Reply {
        status: 400,
        headers: Default::default(),
        body: "ERR_UPLOAD_REJECTED: no films here".into(),
        stored: false,
    };
    let bench = bench(SMALL);
    bench.faults(Script::of([Rule::new(refuses).at(Endpoint::Open)]));
    let job = send(TUS, &bench, "file", b"content");
    assert!(stands(&job, State::Failed, ReasonClass::Host(Class::FileRejected), "no films here"), "{job:#?}");
}

#[test]
fn a_server_that_loses_what_it_has_confirmed_is_asked_to_begin_anew() {
    for (losses, uploads) in [(1, 1), (3, 2)] {
        let bench = bench(SMALL);
        bench.faults(one(Endpoint::Chunk, When::First(losses), Action::DropPart));
        arrives(TUS, &bench, &bytes(1, 200 * KIB));
        assert_eq!(requests(&bench, Endpoint::Open).len(), uploads, "{losses}");
    }
}

#[test]
fn a_file_that_may_have_been_made_is_not_removed_with_its_job() {
    let bench = bench(SMALL);
    let as_ever = Action::SlowReply { seconds: 0.0 };
    let busy = Action::Status { code: 503, body: Default::default(), stored: false };
    bench.faults(Script::of([
        Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Chunk).when(When::Nth(2)),
        Rule::new(as_ever).at(Endpoint::Probe).when(When::Nth(1)),
        Rule::new(busy).at(Endpoint::Probe),
    ]));
    bench.put("file", &bytes(1, 100 * KIB));
    let daemon = bench.start();
    bench.wait_for("a question", || asked(&bench).contains(&"HEAD".to_owned()).then_some(()));
    bench.wait_state(State::Waiting);
    assert!(bench.command(&["cancel", "--all"]).output().unwrap().status.success());
    bench.wait_state(State::Cancelled);
    bench.stop(daemon);
    assert!(!asked(&bench).contains(&"DELETE".to_owned()), "{:?}", asked(&bench));
}
