//! What only one kind of host knows: logins that run out, passing addresses, digests that spare an upload, folders, addresses in
//! place of files.

use std::time::Duration;

use ferryd::internals::job::health::HostState;
use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{Reason, ReasonClass, State, Step};
use ferryd::internals::store::{HostRow, JobRow};
use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::kie::{Errors, ReplyShape};
use ferryd_sandbox::log::Outcome;
use ferryd_sandbox::uploadgig::{Cmbs, ResultShape};
use ferryd_sandbox::{Lose, fourshared, koodrive};

use crate::bench_top::{Bench, bytes, one};
use crate::kinds::{self, FOURSHARED, KIE, KOODRIVE, Kind, UPLOADGIG, is_parked, no_secret_is_told};
use crate::world::{at_once, folder_at_4shared, records, requests};

const MIB: usize = 1024 * 1024;

/// One file to its end, or to where it is left alone.
pub(crate) fn send(kind: Kind, bench: &Bench, name: &str, content: &[u8]) -> JobRow {
    bench.put(name, content);
    let daemon = bench.start();
    let ended = |job: &JobRow| job.path.ends_with(name) && is_parked(job);
    let job = bench.wait_for(name, || bench.jobs().into_iter().find(ended));
    bench.stop(daemon);
    no_secret_is_told(bench, kind.word);
    job
}

pub(crate) fn arrives(kind: Kind, bench: &Bench, content: &[u8]) -> JobRow {
    let job = send(kind, bench, "file", content);
    assert_eq!(job.state, State::Done, "{job:#?}");
    assert!(kind.held(bench, "file") == [content.to_vec()], "{}", kind.word);
    job
}

/// Whether a job is in this state for this reason, and says so in these words.
pub(crate) fn stands(job: &JobRow, state: State, class: ReasonClass, words: &str) -> bool {
    let fits = |why: &Reason| why.class == class && why.to_string().contains(words);
    job.state == state && job.why.as_ref().is_some_and(fits)
}

pub(crate) fn is_held_because(kind: Kind, bench: &Bench, class: ReasonClass, words: &str) -> JobRow {
    let job = send(kind, bench, "file", &bytes(3, 2 * MIB));
    assert!(stands(&job, State::Held, class, words), "{}: {job:#?}", kind.word);
    job
}

#[test]
fn wrong_credentials_hold_the_host_and_say_what_to_check() {
    let cases = [
        (UPLOADGIG, "s3cret-gig", "check `user` and `password`", Step::Login),
        (KOODRIVE, "test-app-secret", "check the credentials", Step::Open),
        (KIE, "sk-test", "check `api_key`", Step::SendPart),
        (FOURSHARED, "password = \"s3cret\"", "check `user` and `password`", Step::Open),
    ];
    for (kind, right, words, step) in cases {
        let wrong = if right.contains('=') { "password = \"hunter2\"" } else { "hunter2" };
        let mut bench = kind.bench().change(right, wrong);
        let job = is_held_because(kind, &bench, ReasonClass::Host(Class::HostRefused), words);
        assert_eq!(job.why.unwrap().step, Some(step), "{}", kind.word);
        assert_eq!(bench.snapshot().unwrap().hosts[0].report.state, HostState::Held);
        assert!(!bench.log_text().contains("hunter2"));
        // A restart is how a person says that it was mended.
        bench = bench.change(wrong, right);
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
    }
}

#[test]
fn a_secret_that_cannot_be_read_stops_only_its_host() {
    let bench = KIE.bench().change("api_key = \"sk-test\"", "api_key = { env = \"FERRYD_TEST_NOT_SET\" }");
    let job =
        is_held_because(KIE, &bench, ReasonClass::Host(Class::HostRefused), "environment variable FERRYD_TEST_NOT_SET is not set");
    assert_eq!(job.why.unwrap().step, Some(Step::Secret));
    let bench = KIE.bench().change("api_key = \"sk-test\"", "api_key = { command = [\"echo\", \"sk-test\"] }");
    arrives(KIE, &bench, b"content");
}

#[test]
fn a_program_that_never_tells_its_secret_stops_only_its_host_and_no_end_of_the_daemon() {
    let slow = "[host.slow]\nkind = \"kie\"\napi_key = { command = [\"sleep\", \"1000\"] }\n";
    let bench = Bench::new().also_to("slow").change("[daemon]\n", "[daemon]\nshutdown_grace = \"1h\"\n");
    let bench = bench.change("[host.cloudkp]\n", &format!("{slow}[host.cloudkp]\n"));
    for number in 0..20 {
        bench.put(&format!("{number}"), &bytes(number, 1000));
    }
    let daemon = bench.start();
    bench.wait_for("every file at the other host", || (bench.sandbox.objects().len() == 20).then_some(()));
    let awaits = |job: &JobRow| job.host == "slow" && stands(job, State::Uploading, ReasonClass::SecretAwaited, "");
    bench.wait_for("a job to say what it waits for", || bench.jobs().into_iter().find(awaits));
    bench.stop(daemon);
    let waiting = bench.jobs().into_iter().filter(|job| job.host == "slow");
    assert_eq!(waiting.map(|job| (job.state, job.why)).collect::<Vec<_>>(), vec![(State::Queued, None); 20]);
}

/// Nobody restarts or reloads the daemon here.
#[cfg(target_os = "linux")]
#[test]
fn a_password_that_is_corrected_in_its_file_is_used_at_the_next_try() {
    use std::os::unix::fs::PermissionsExt;
    for wrong in [Some("hunter2"), None] {
        let bench = KIE.bench();
        let file = bench.dir.path().join("api-key");
        let bench = bench.change("api_key = \"sk-test\"", &format!("api_key = {{ file = {file:?} }}"));
        let write = |text: &str| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        wrong.into_iter().for_each(&write);
        let clock = crate::clock::Clock::ahead(&bench, 0);
        bench.put("first", b"first");
        let daemon = clock.start_in_its_time(&bench);
        let held = |host: &HostRow| host.report.state == HostState::Held;
        bench.wait_for("the host to be on hold", || bench.snapshot()?.hosts.into_iter().find(held));
        assert!(stands(&bench.jobs()[0], State::Held, ReasonClass::Host(Class::HostRefused), ""));
        write("sk-test");
        clock.set(2 * 3600);
        // What arrives has the daemon look at the time.
        bench.put("second", b"second");
        bench.wait_done(2);
        bench.stop(daemon);
    }
}

#[test]
fn ten_thousand_hosts_fit_into_64_mib() {
    let kinds = [
        "kind = \"cloudkp\"",
        "kind = \"kie\"\napi_key = \"k\"",
        "kind = \"uploadgig\"\nuser = \"a@b.c\"\npassword = \"p\"",
        "kind = \"4shared\"\nuser = \"a@b.c\"\npassword = \"p\"",
    ];
    let hosts: String = (0..10_000).map(|number| format!("\n[host.h{number}]\n{}\n", kinds[number % kinds.len()])).collect();
    // The last one to be made, which says so.
    let last = "\n[host.zz]\nkind = \"kie\"\napi_key = { env = \"FERRYD_TEST_NOT_SET\" }\n";
    let bench = Bench::new().host(&format!("{hosts}{last}"));
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_for("all hosts to be made", || bench.log_text().contains("host zz cannot be used").then_some(()));
    bench.wait_done(1);
    if let Some(peak) = crate::bench_top::peak_resident(daemon.pid()) {
        // Beside the pages of the program, of which there are fewer in a release.
        assert!(peak < 56 * MIB as u64, "{peak} bytes");
    }
    bench.stop(daemon);
    assert_eq!(bench.held("file"), [b"content"]);
}

#[test]
fn a_full_account_holds_what_does_not_fit_and_takes_what_does() {
    let full = [
        (UPLOADGIG, UPLOADGIG.bench_with(|options| options.rules.uploadgig.storage_mib = 1), "the account has 1 MiB free"),
        (KOODRIVE, KOODRIVE.bench_with(|options| options.rules.koodrive.quota = 1_000_000), "Insufficient space"),
        (
            FOURSHARED,
            FOURSHARED.bench_with(|options| options.rules.fourshared.free_bytes = 1_000_000),
            "the account has 1000000 bytes free",
        ),
    ];
    for (kind, bench, words) in full {
        let job = is_held_because(kind, &bench, ReasonClass::Host(Class::HostFull), words);
        assert!(job.next_try_ms.is_some(), "it is asked again: {job:#?}");
        assert!(kind.held(&bench, "file").is_empty());
        assert_eq!(bench.snapshot().unwrap().hosts[0].report.state, HostState::Full, "{}", kind.word);
        let small = send(kind, &bench, "small", b"small");
        assert_eq!(small.state, State::Done, "{}: {small:#?}", kind.word);
    }
}

/// A file that is tried again, and not failed, since nobody said that it is at fault.
fn waits_because(kind: Kind, bench: &Bench, content: &[u8], words: &str) {
    bench.put("file", content);
    let daemon = bench.start();
    let left = |job: &JobRow| job.path.ends_with("file") && (job.state == State::Waiting || is_parked(job));
    let job = bench.wait_for(words, || bench.jobs().into_iter().find(left));
    bench.stop(daemon);
    let waits = stands(&job, State::Waiting, ReasonClass::Host(Class::RequestRefused), words);
    assert!(waits && job.next_try_ms.is_some(), "{}: {job:#?}", kind.word);
}

#[test]
fn a_request_that_is_too_large_says_nothing_of_its_file_until_a_smaller_one_was_taken() {
    let bench = KIE.bench_with(|options| options.rules.kie.file_bytes_max = 1000);
    waits_because(KIE, &bench, &bytes(1, 2000), "too large");
    bench.put("small", b"small");
    let daemon = bench.start();
    bench.wait_state(State::Done);
    bench.put("large", &bytes(2, 3000));
    let large =
        bench.wait_for("the large file", || bench.jobs().into_iter().find(|job| job.path.ends_with("large") && is_parked(job)));
    bench.stop(daemon);
    let words = "it has taken files of up to 5 bytes";
    assert!(stands(&large, State::Failed, ReasonClass::Host(Class::FileRejected), words), "{large:#?}");
    assert_eq!(bench.jobs().into_iter().filter(|job| job.state == State::Done).count(), 1);
}

#[test]
fn a_file_that_is_too_large_fails_alone_and_says_so() {
    let limited = [(
        FOURSHARED,
        FOURSHARED.bench_with(|options| options.rules.fourshared.max_file_bytes = 1000),
        "accepts files of up to 1000 bytes",
    )];
    for (kind, bench, words) in limited {
        let job = send(kind, &bench, "file", &bytes(1, 1001));
        assert!(stands(&job, State::Failed, ReasonClass::Host(Class::FileRejected), words), "{job:#?}");
        assert_eq!(send(kind, &bench, "small", b"small").state, State::Done);
    }
}

#[test]
fn too_many_logins_rest_the_account_and_a_restart_does_not_wake_it() {
    let bench = UPLOADGIG.bench_with(|options| options.rules.uploadgig.logins_max = 1);
    arrives(UPLOADGIG, &bench, b"first");
    let second = send(UPLOADGIG, &bench, "second", b"second");
    assert_eq!(second.state, State::Waiting);
    let resting = |bench: &Bench| bench.snapshot().unwrap().hosts.remove(0).report;
    let before = resting(&bench);
    let why = before.why.unwrap();
    let expected = (ReasonClass::Host(Class::RateLimited), Some(Step::Login), Some("-3"));
    assert_eq!((before.state, (why.class, why.step, why.code.as_deref())), (HostState::Resting, expected), "{why}");
    let logins = requests(&bench, Endpoint::Open).len();
    bench.put("third", b"third");
    let daemon = bench.start();
    bench.wait_watching();
    bench.wait_for("the third job", || (bench.jobs().len() == 3).then_some(()));
    bench.stop(daemon);
    assert_eq!((resting(&bench).until_ms, requests(&bench, Endpoint::Open).len()), (before.until_ms, logins));
}

#[test]
fn every_documented_reply_of_uploadgig_is_understood() {
    for result in [ResultShape::Keyed, ResultShape::Array, ResultShape::Bare] {
        for (cmbs, code_as_number) in [(Cmbs::Number, false), (Cmbs::Text, true), (Cmbs::Missing, true), (Cmbs::Fraction, false)] {
            let bench = UPLOADGIG.bench_with(|options| {
                let rules = &mut options.rules.uploadgig;
                (rules.result, rules.cmbs, rules.code_as_number) = (result, cmbs, code_as_number);
            });
            let job = arrives(UPLOADGIG, &bench, b"content");
            assert!(job.link.unwrap().contains("/file/download/"));
        }
    }
}

#[test]
fn a_name_that_uploadgig_does_not_decode_goes_as_it_is_from_the_next_file_on() {
    for (slug, decodes, first, second) in [
        ("encoded", true, "тест 1%.zip", "тест 2%.zip"),
        ("encoded", false, "%D1%82%D0%B5%D1%81%D1%82 1%25.zip", "тест 2%.zip"),
        ("raw", false, "тест 1%.zip", "тест 2%.zip"),
    ] {
        let bench = UPLOADGIG.bench_with(|options| options.rules.uploadgig.decodes_slug = decodes);
        let bench = bench.host(&format!("slug = {slug:?}"));
        let daemon = bench.start();
        for (number, local) in [(1, "тест 1%.zip"), (2, "тест 2%.zip")] {
            bench.put(local, local.as_bytes());
            bench.wait_done(number);
        }
        bench.stop(daemon);
        assert_eq!(
            (bench.held(first), bench.held(second)),
            (vec!["тест 1%.zip".into()], vec!["тест 2%.zip".into()]),
            "{slug} {decodes}"
        );
    }
}

#[test]
fn a_bad_copy_at_uploadgig_is_not_sent_again_at_once() {
    let bench = UPLOADGIG.bench();
    bench.faults(one(Endpoint::Chunk, When::Always, Action::WrongFacts));
    bench.put("file", b"content");
    let daemon = bench.start();
    let job = bench.wait_state(State::Waiting);
    bench.stop(daemon);
    let pause = job.next_try_ms.unwrap() - ferryd::internals::os::clock::now_ms();
    assert!(pause > 240_000 && job.why.as_ref().unwrap().to_string().contains("that copy is"), "{pause} ms: {job:#?}");
    assert_eq!(requests(&bench, Endpoint::Chunk).len(), 1, "each try leaves a copy");
    let daemon = bench.start();
    let job = bench.wait_state(State::Held);
    bench.stop(daemon);
    assert_eq!((job.next_try_ms, job.maybe_duplicate), (None, true), "{job:#?}");
    bench.faults(Script::default());
    assert_eq!(send(UPLOADGIG, &bench, "other", b"other").state, State::Done);
    assert_eq!(requests(&bench, Endpoint::Chunk).len(), 3, "a restart sends it no third time");
}

#[test]
fn with_probe_a_lost_answer_is_held_on_evidence_and_a_lost_body_is_sent_again() {
    let lost = |action| {
        let bench = UPLOADGIG.bench().host("on_unknown = \"probe\"");
        bench.faults(one(Endpoint::Chunk, When::Nth(1), action));
        bench
    };
    let bench = lost(Action::LoseReply { reset: true });
    is_held_because(UPLOADGIG, &bench, ReasonClass::Probable, "probably has the file");
    assert_eq!(UPLOADGIG.held(&bench, "file").len(), 1);
    let bench = lost(Action::ResetAfterBody);
    let job = arrives(UPLOADGIG, &bench, &bytes(1, 3 * MIB));
    assert!(!job.maybe_duplicate);
    let bench = UPLOADGIG.bench().host("on_unknown = \"hold\"");
    bench.faults(one(Endpoint::Chunk, When::Nth(1), Action::LoseReply { reset: true }));
    is_held_because(UPLOADGIG, &bench, ReasonClass::Undecidable, "may be on the host already");
}

#[test]
fn a_body_cut_short_is_known_to_be_no_file() {
    let bench = UPLOADGIG.bench();
    // More than the buffers between the two hold.
    let content = bytes(9, 32 * MIB);
    bench.faults(one(Endpoint::Chunk, When::Nth(1), Action::Stall { after_bytes: 100_000, seconds: 600.0 }));
    bench.put("file", &content);
    let daemon = bench.start();
    bench.wait_for("bytes to flow", || bench.jobs().first().filter(|job| job.sent > 100_000).map(drop));
    daemon.kill();
    let daemon = bench.start();
    let jobs = bench.wait_done(1);
    bench.stop(daemon);
    assert!(!jobs[0].maybe_duplicate && UPLOADGIG.held(&bench, "file") == [content]);
}

#[test]
fn an_address_in_a_private_network_gets_no_byte_unless_it_is_allowed() {
    for kind in [UPLOADGIG, KOODRIVE, FOURSHARED] {
        let bench = kind.bench().change("allow_private = true", "allow_private = false");
        is_held_because(kind, &bench, ReasonClass::Host(Class::HostRefused), "`allow_private = true`");
        assert!(requests(&bench, Endpoint::Chunk).is_empty());
    }
}

#[test]
fn bytes_that_koodrive_knows_are_not_sent_again() {
    let bench = KOODRIVE.bench();
    let content = bytes(4, 6 * MIB);
    arrives(KOODRIVE, &bench, &content);
    let sent = requests(&bench, Endpoint::Chunk).len();
    assert_eq!(sent, 2);
    let again = send(KOODRIVE, &bench, "the same under another name", &content);
    assert_eq!(again.state, State::Done);
    assert_eq!(requests(&bench, Endpoint::Chunk).len(), sent, "a flash upload sends nothing");
    assert!(KOODRIVE.held(&bench, "the same under another name") == [content]);
    let shown = String::from_utf8(bench.command(&["status"]).output().unwrap().stdout).unwrap();
    let id = again.remote_id.unwrap();
    assert!(shown.contains(&id), "without a lasting link, status shows what finds the file: {shown}");
}

#[test]
fn without_flash_upload_the_digest_is_computed_while_parts_are_sent() {
    for flash in [false, true] {
        let bench = KOODRIVE.bench().host(&format!("part_size = \"5 MiB\"\nflash_upload = {flash}"));
        // The second of five parts stays away, so that the upload goes on for as long as it is looked at.
        let away = Rule::new(Action::SlowReply { seconds: 600.0 }).at(Endpoint::Chunk).part(1);
        bench.faults(Script::of([away]));
        bench.put("file", &bytes(4, 21 * MIB));
        let daemon = bench.start();
        bench.wait_for("a part", || bench.jobs().first().filter(|job| job.parts_acked >= 1).map(drop));
        let uploads = records(&bench, "koodrive", "session-");
        let mut digests = uploads.iter().filter(|(id, _)| !id.contains('.')).map(|(_, upload)| &upload["sha256"]);
        let announced = digests.next().expect("an upload that goes on").is_string();
        assert_eq!((announced, digests.next()), (flash, None), "what the host was told before it got the first part");
        daemon.kill();
    }
    let bench = KOODRIVE.bench().host("part_size = \"5 MiB\"\nflash_upload = false");
    arrives(KOODRIVE, &bench, &bytes(4, 21 * MIB));
}

#[test]
fn koodrive_takes_every_switch_of_its_page() {
    let changes: [fn(&mut koodrive::Rules); 6] = [
        |rules| rules.code = koodrive::CodeForm::Text,
        |rules| rules.code = koodrive::CodeForm::InError,
        |rules| rules.links_max = 1,
        |rules| rules.flash = false,
        |rules| rules.first_links = koodrive::FirstLinks::Always,
        |rules| rules.link_seconds = 30,
    ];
    for change in changes {
        let bench = KOODRIVE.bench_with(|options| change(&mut options.rules.koodrive));
        arrives(KOODRIVE, &bench, &bytes(2, 11 * MIB));
    }
}

#[test]
fn every_documented_reply_of_kie_is_understood() {
    for shape in [ReplyShape::Quickstart, ReplyShape::Pages, ReplyShape::UrlOnly] {
        for (errors, code_as_text) in [(Errors::Status, true), (Errors::Body, false)] {
            let bench = KIE.bench_with(|options| {
                let rules = &mut options.rules.kie;
                (rules.shape, rules.errors, rules.code_as_text) = (shape, errors, code_as_text);
            });
            let job = arrives(KIE, &bench, b"content");
            let day = Duration::from_secs(24 * 3600).as_millis() as i64;
            let left = job.expires_ms.unwrap() - ferryd::internals::os::clock::now_ms();
            assert!((day - 60_000..=day).contains(&left), "{left}");
        }
    }
}

#[test]
fn an_error_of_kie_under_status_200_is_an_error() {
    let wrong = KIE.bench_with(|options| options.rules.kie.errors = Errors::Body).change("sk-test", "hunter2");
    is_held_because(KIE, &wrong, ReasonClass::Host(Class::HostRefused), "401");
}

#[test]
fn base64_brings_the_same_bytes() {
    for size in [0, 1, 2, 3, 700_000, 10_000_001] {
        let bench = KIE.bench().host("method = \"base64\"");
        arrives(KIE, &bench, &bytes(8, size));
        let way = if size > 10_000_000 { "stream" } else { "base64" };
        assert!(requests(&bench, Endpoint::Chunk).iter().all(|request| request.path == format!("/kie/api/file-{way}-upload")));
    }
}

#[test]
fn kie_is_told_what_kind_of_file_it_is() {
    for method in ["stream", "base64"] {
        let bench = KIE.bench().host(&format!("method = {method:?}"));
        for (name, media_type) in
            [("report.pdf", "application/pdf"), ("photo.JPG", "image/jpeg"), ("odd", "application/octet-stream")]
        {
            assert_eq!(send(KIE, &bench, name, name.as_bytes()).state, State::Done);
            let kept = records(&bench, "kie", "file-");
            let of = kept.iter().find(|(path, _)| path.ends_with(&format!("-{name}"))).unwrap().1;
            assert_eq!(of["mime"], media_type, "{method} {name}");
        }
    }
}

#[test]
fn an_address_that_kie_cannot_fetch_is_told_by_number() {
    let bench = KIE.bench().host("remote_urls = true");
    let first = arrives(KIE, &bench, b"the first file").link.unwrap();
    bench.put("two.uri-list", format!("{first}\nhttp://127.0.0.1:9/gone\n").as_bytes());
    let daemon = bench.start();
    let left = |job: &JobRow| job.path.ends_with("two.uri-list") && job.why.is_some();
    let job = bench.wait_for("a reason", || bench.jobs().into_iter().find(left));
    bench.stop(daemon);
    let why = job.why.unwrap().to_string();
    assert!(why.contains("address 2 (`http://127.0.0.1:9/gone`)"), "{why}");
}

#[test]
fn a_dropped_address_is_fetched_by_kie_itself() {
    let bench = KIE.bench().host("remote_urls = true");
    let first = arrives(KIE, &bench, b"the first file").link.unwrap();
    let link = send(KIE, &bench, "shortcut.url", format!("[InternetShortcut]\r\nURL={first}\r\n").as_bytes());
    assert_eq!(link.state, State::Done, "{link:#?}");
    let list = send(KIE, &bench, "two.uri-list", format!("# two\n{first}\n{first}?again\n").as_bytes());
    assert_eq!(list.link.unwrap().split(' ').count(), 2);
    let held: Vec<_> = bench.sandbox.objects().iter().map(|object| bench.sandbox.read(object).unwrap()).collect();
    assert!(held.len() == 4 && held.iter().all(|bytes| bytes == b"the first file"));
    let bad = send(KIE, &bench, "bad.url", b"[InternetShortcut]\nURL=file:///etc/passwd\n");
    assert!(stands(&bad, State::Failed, ReasonClass::Host(Class::FileRejected), "not an http or https address"), "{bad:#?}");
    // Without the setting it is a file like any other.
    let plain = KIE.bench();
    arrives(KIE, &plain, b"content");
    assert_eq!(send(KIE, &plain, "shortcut.url", b"[InternetShortcut]").state, State::Done);
}

#[test]
fn folders_of_4shared_are_found_or_made() {
    let bench = FOURSHARED.bench().host("folder = \"backups/2026\"\npart_size = \"256 KiB\"");
    bench.put("a/b/one", b"one");
    bench.put("a/two", b"two");
    bench.put("three", b"three");
    let daemon = bench.start();
    bench.wait_done(3);
    bench.put("a/four", b"four");
    bench.wait_done(4);
    bench.stop(daemon);
    for (name, folder) in [("one", "a/b"), ("two", "a"), ("three", ""), ("four", "a")] {
        let folder = ["backups/2026", folder].join("/");
        assert_eq!(folder_at_4shared(&bench, name), folder.trim_end_matches('/'), "{name}");
        assert_eq!(bench.held(name), [name.as_bytes()]);
    }
    assert_eq!(records(&bench, "4shared", "folder-").len(), 4, "none is made twice");
    no_secret_is_told(&bench, "4shared");
}

#[test]
fn parts_of_4shared_may_go_together() {
    for (lines, most) in [("", 1), ("parallel_parts = 2\n", 2), ("parallel_parts = 3\n", 3)] {
        let bench = FOURSHARED.bench().host(&format!("{lines}part_size = \"256 KiB\""));
        bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 0.1 }));
        arrives(FOURSHARED, &bench, &bytes(6, 2 * MIB + 1));
        let parts = requests(&bench, Endpoint::Chunk);
        assert_eq!((parts.len(), at_once(&parts)), (9, most));
    }
}

#[test]
fn parts_of_cloudkp_go_together_as_told() {
    // Four requests go at first where nothing is set, and eight at most.
    for (lines, expected) in [("", 4..=8), ("parallel_parts = 1", 1..=1), ("parallel_parts = 3", 3..=3)] {
        let bench = kinds::CLOUDKP.bench().host(lines);
        bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 0.1 }));
        arrives(kinds::CLOUDKP, &bench, &bytes(6, 2 * MIB + 1));
        let together = at_once(&requests(&bench, Endpoint::Chunk));
        assert!(expected.contains(&together), "{together} with {lines:?}");
    }
}

#[test]
fn parts_of_koodrive_go_together_as_told() {
    for (lines, most) in [("", 3), ("parallel_parts = 1", 1), ("parallel_parts = 4", 4)] {
        let bench = KOODRIVE.bench().host(&format!("part_size = \"5 MiB\"\n{lines}"));
        bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 0.5 }));
        arrives(KOODRIVE, &bench, &bytes(6, 30 * MIB));
        assert_eq!(at_once(&requests(&bench, Endpoint::Chunk)), most, "{lines}");
    }
}

#[test]
fn a_part_that_is_too_much_for_one_request_goes_in_halves() {
    let bench =
        FOURSHARED.bench_with(|options| options.rules.fourshared.part_form_bytes_max = 700_000).host("part_size = \"2 MiB\"");
    arrives(FOURSHARED, &bench, &bytes(6, 5 * MIB + 1));
    let bench = FOURSHARED.bench_with(|options| options.rules.fourshared.part_form_bytes_max = 100_000);
    waits_because(FOURSHARED, &bench, &bytes(6, MIB), "413");
}

#[test]
fn fourshared_takes_every_switch_of_its_page() {
    let changes: [fn(&mut fourshared::Rules); 9] = [
        |rules| rules.nulls = fourshared::NullStyle::Text,
        |rules| rules.nulls = fourshared::NullStyle::Nil,
        |rules| rules.nulls = fourshared::NullStyle::Empty,
        |rules| rules.nulls = fourshared::NullStyle::Absent,
        |rules| rules.part_reply = fourshared::PartReply::Empty,
        |rules| rules.part_reply = fourshared::PartReply::Json,
        |rules| rules.part_reply = fourshared::PartReply::Html,
        |rules| rules.second_finish = fourshared::SecondFinish::Empty,
        |rules| rules.md5_after_calls = 2,
    ];
    for change in changes {
        let bench = FOURSHARED.bench_with(|options| change(&mut options.rules.fourshared));
        bench.faults(one(Endpoint::Finish, When::Nth(1), Action::LoseReply { reset: true }));
        arrives(FOURSHARED, &bench, &bytes(2, 600_000));
    }
}

#[test]
fn a_key_of_4shared_that_ends_in_the_middle_is_fetched_anew_for_the_same_data_centre() {
    let bench = FOURSHARED.bench().host("bandwidth = \"2 MiB/s\"\npart_size = \"256 KiB\"");
    let content = bytes(6, 2 * MIB);
    bench.put("file", &content);
    let daemon = bench.start();
    bench.wait_for("two parts", || bench.jobs().first().filter(|job| job.parts_acked >= 2).map(drop));
    bench.sandbox.shift_clock(2 * 3600);
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(FOURSHARED.held(&bench, "file") == [content]);
    let again = requests(&bench, Endpoint::Chunk).into_iter().filter(|entry| entry.again).count();
    assert_eq!(again, 0, "no part that is held goes again");
}

#[test]
fn an_account_of_4shared_that_may_not_upload_is_held_or_rests() {
    let bench = FOURSHARED.bench_with(|options| options.rules.fourshared.banned = true);
    is_held_because(FOURSHARED, &bench, ReasonClass::Host(Class::HostRefused), "check `user` and `password`");
    let bench = FOURSHARED.bench_with(|options| options.rules.fourshared.upload_right = false);
    let job = send(FOURSHARED, &bench, "file", b"content");
    assert!(stands(&job, State::Waiting, ReasonClass::Host(Class::RateLimited), "temporarily disabled uploads"), "{job:#?}");
}

#[test]
fn a_place_that_is_given_up_is_given_back() {
    let bench = FOURSHARED.bench().host("bandwidth = \"1 MiB/s\"\npart_size = \"256 KiB\"");
    let path = bench.put("file", &bytes(1, 2 * MIB));
    let daemon = bench.start();
    bench.wait_for("a part", || bench.jobs().first().filter(|job| job.parts_acked >= 1).map(drop));
    std::fs::remove_file(path).unwrap();
    bench.wait_state(State::Gone);
    bench.wait_for("the cancel", || (requests(&bench, Endpoint::Abandon).len() == 1).then_some(()));
    bench.stop(daemon);
}

#[test]
fn a_file_that_was_begun_keeps_its_parts_when_their_size_is_changed() {
    for (kind, size, since, length) in [(FOURSHARED, "256 KiB", "1 MiB", 2 * MIB), (KOODRIVE, "5 MiB", "16 MiB", 16 * MIB)] {
        let bench = kind.bench().host(&format!("bandwidth = \"{} B/s\"\npart_size = \"{size}\"", length / 2));
        let content = bytes(1, length);
        bench.put("file", &content);
        let daemon = bench.start();
        bench.wait_for("a part", || bench.jobs().first().filter(|job| job.parts_acked >= 1).map(drop));
        daemon.kill();
        let job = bench.jobs().remove(0);
        let bench = bench.change(size, since);
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        assert!(kind.held(&bench, "file") == [content], "{}", kind.word);
        // A new session would have parts of the new size, which are fewer.
        let acked = requests(&bench, Endpoint::Chunk).into_iter().filter(|entry| entry.outcome == Outcome::Acked).count() as u64;
        assert!((job.parts..=2 * job.parts - job.parts_acked).contains(&acked), "{}: {acked} of {job:?}", kind.word);
    }
}

#[test]
fn a_host_that_is_restarted_loses_nothing_and_one_that_forgets_begins_anew() {
    for kind in [UPLOADGIG, KOODRIVE, KIE, FOURSHARED] {
        for lose in [Lose::Nothing, Lose::Sessions] {
            let size = kind.part_bytes().map_or(3 * MIB, |part| 3 * part);
            let rate = format!("bandwidth = \"{} B/s\"\n{}", size / 2, kind.small_parts());
            let mut bench = kind.bench().host(&rate);
            let content = bytes(1, size);
            bench.put("file", &content);
            let daemon = bench.start();
            bench.wait_for("bytes to flow", || bench.jobs().first().filter(|job| job.sent > size as u64 / 3).map(drop));
            bench.restart_host(lose);
            let jobs = bench.wait_done(1);
            bench.stop(daemon);
            assert!(kind.held(&bench, "file") == [content], "{} {lose:?}", kind.word);
            assert!(!jobs[0].maybe_duplicate, "{} {lose:?}", kind.word);
        }
    }
}

#[test]
fn one_file_goes_to_every_kind_of_host() {
    let kinds = ferryd_sandbox::kinds();
    let bench = Bench::new().to(&kinds);
    let content = bytes(1, 700_000);
    bench.put("file", &content);
    let daemon = bench.start();
    let jobs = bench.wait_done(kinds.len());
    bench.stop(daemon);
    assert_eq!(jobs.len(), kinds.len());
    let objects = bench.sandbox.objects();
    for kind in kinds {
        assert!(objects.iter().any(|object| object.host == kind && bench.sandbox.read(object).unwrap() == content), "{kind}");
    }
    no_secret_is_told(&bench, "all");
}

#[test]
fn a_host_that_is_down_does_not_keep_the_others_waiting() {
    let bench = Bench::new().to(&["kie", "4shared"]);
    let down = Rule::new(Action::Status { code: 503, body: Default::default(), stored: false }).host("4shared");
    bench.faults(Script::of([down]));
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_state(State::Done);
    let waiting = bench.wait_state(State::Waiting);
    assert_eq!(waiting.host, "4shared");
    bench.stop(daemon);
}

#[test]
fn a_host_that_opens_nothing_is_not_asked_by_every_file() {
    let bench = UPLOADGIG.bench();
    let strange = Action::Reply { status: 200, headers: Default::default(), body: "{\"result\":1}".into(), stored: false };
    bench.faults(one(Endpoint::Open, When::Always, strange));
    for number in 0..40 {
        bench.put(&format!("f{number}"), b"content");
    }
    let daemon = bench.start();
    bench.wait_for("the host to rest", || {
        bench.snapshot()?.hosts.into_iter().find(|host| host.report.state == HostState::Resting && host.report.until_ms.is_some())
    });
    std::thread::sleep(Duration::from_secs(3));
    bench.stop(daemon);
    let logins = requests(&bench, Endpoint::Open).len();
    assert!(logins < 15, "{logins} logins in a few seconds");
}

#[test]
fn a_full_account_is_not_asked_again_by_every_file_that_cannot_fit() {
    let bench = UPLOADGIG.bench_with(|options| options.rules.uploadgig.storage_mib = 1);
    let large = bytes(1, 2 * MIB);
    for number in 0..10 {
        bench.put(&format!("f{number}"), &large);
    }
    let daemon = bench.start();
    bench.wait_for("all to be held", || (bench.jobs().iter().filter(|job| job.state == State::Held).count() == 10).then_some(()));
    assert_eq!(bench.snapshot().unwrap().hosts[0].report.state, HostState::Full);
    bench.put("small", b"small");
    bench.wait_state(State::Done);
    bench.stop(daemon);
    assert_eq!(requests(&bench, Endpoint::Open).len(), 2, "one login for the large ones, one for the small one");
}

#[test]
fn a_link_that_dies_is_told_of_and_renewed_under_a_name_of_its_own() {
    let hook = "refresh = true\n[[hook]]\non = [\"expiring\"]\nbefore = \"3s\"\ncommand = [\"sh\", \"-c\", \"echo $FERRYD_EVENT >> told\"]";
    let bench = KIE.bench_with(|options| {
        options.rules.kie.kept_seconds = 5;
        options.rules.kie.shape = ReplyShape::Quickstart;
        options.rules.kie.overwriting_renews = false;
    });
    let told = bench.dir.path().join("told");
    let bench = bench.host(&hook.replace(">> told", &format!(">> {}", told.display())));
    bench.put("file", b"content");
    let daemon = bench.start();
    let first = bench.wait_done(1).remove(0);
    bench.wait_for("the hook", || std::fs::read_to_string(&told).ok().filter(|text| text.starts_with("expiring\n")));
    let left = first.expires_ms.unwrap() - ferryd::internals::os::clock::now_ms();
    assert!(left <= 3000, "told {left} ms before the end, and 3 s were asked for");
    let renewed = bench.wait_for("a new link", || bench.jobs().into_iter().find(|job| job.expires_ms > first.expires_ms));
    bench.stop(daemon);
    let [old, new] = [first, renewed].map(|job| job.stored_name.unwrap());
    assert_eq!(old.replacen("-file", "-2-file", 1), new);
    let held = bench.sandbox.objects().into_iter().map(|object| object.name).collect::<Vec<_>>();
    assert!(held.contains(&old) && held.contains(&new), "the old one lives out its time: {held:?}");
}

/// `ferryd check --online`: whether it was fine, and what it said.
fn check_online(bench: &Bench) -> (bool, String) {
    let output = bench.command(&["check", "--online"]).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

#[test]
fn check_online_proves_every_login_and_uploads_nothing() {
    let bench = Bench::new().to(&ferryd_sandbox::kinds());
    let (fine, said) = check_online(&bench);
    assert!(fine, "{said}");
    for kind in kinds::all() {
        assert!(said.contains(kind.fine), "{}: {said}", kind.word);
    }
    assert!(bench.sandbox.objects().is_empty() && !bench.sandbox.log().iter().any(|entry| entry.held));
    for (kind, (right, wrong)) in kinds::all().iter().filter_map(|kind| Some((kind.word, kind.login?))) {
        let (fine, said) = check_online(&Bench::new().to(&[kind]).change(right, wrong));
        assert!(!fine && said.contains(&format!("problem  host `{kind}` ({kind}): ")) && !said.contains("hunter2"), "{said}");
    }
    let nobody_listens = Bench::new().to(&["kie"]);
    let there = format!("http://{}/kie", nobody_listens.sandbox.addr());
    let (fine, said) = check_online(&nobody_listens.change(&there, "http://127.0.0.1:9"));
    assert!(!fine && said.contains("cannot connect to"), "{said}");
    let nobody_there = Bench::new();
    let there = format!("http://{}/cloudkp", nobody_there.sandbox.addr());
    let nowhere = format!("http://{}/nobody", nobody_there.sandbox.addr());
    let (fine, said) = check_online(&nobody_there.change(&there, &nowhere));
    let doubt = "a server answers with 404 (no login needed); only an upload shows whether it is the host";
    assert!(fine && said.contains(doubt), "{said}");
}

#[test]
fn a_proxy_of_another_kind_than_http_in_the_environment_is_named() {
    let check = |host: &str| {
        let bench = Bench::new().host(host);
        let output = bench.command(&["check", "--online"]).env("ALL_PROXY", "socks5://me:hunter2@127.0.0.1:9").output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (fine, said) = check("");
    assert!(!fine && said.contains("ALL_PROXY") && said.contains("`proxy`") && !said.contains("hunter2"), "{said}");
    let (fine, said) = check("proxy = \"none\"");
    assert!(fine, "{said}");
}

/// A file of this size that takes no room on the disk, with bytes at both ends.
fn put_sparse(bench: &Bench, name: &str, size: u64) {
    use std::os::unix::fs::FileExt;
    let staged = bench.dir.path().join("staged-sparse");
    let file = std::fs::File::create(&staged).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(name.as_bytes(), 0).unwrap();
    file.write_all_at(name.as_bytes(), size - name.len() as u64).unwrap();
    std::fs::rename(staged, bench.drop_dir().join(name)).unwrap();
}

/// What a process has asked the kernel to read, in bytes.
fn bytes_read(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

fn is_large() -> bool {
    std::env::var_os("FERRYD_LARGE").is_some()
}

#[test]
fn a_large_file_is_read_once_for_its_digest_and_once_to_be_sent_in_little_memory() {
    let size: u64 = if is_large() { 2 << 30 } else { 96 << 20 };
    for flash in ["true", "false"] {
        let bench = KOODRIVE.bench_with(|options| options.discard = true).host(&format!("flash_upload = {flash}"));
        // Four files with four parts each in flight: sixteen connections.
        let sizes = [size, size / 4, size / 4, size / 4];
        for (number, size) in sizes.iter().enumerate() {
            put_sparse(&bench, &format!("f{number}"), *size);
        }
        let daemon = bench.start();
        bench.wait_done(sizes.len());
        let (read, peak) = (bytes_read(daemon.pid()), crate::bench_top::peak_resident(daemon.pid()).unwrap());
        bench.stop(daemon);
        let all: u64 = sizes.iter().sum();
        println!(
            "flash_upload = {flash}: {} MiB, read {:.3} times, peak {} KiB resident",
            all >> 20,
            read as f64 / all as f64,
            peak >> 10
        );
        assert!(read < 2 * all + all / 20, "{read} bytes were read of {all}");
        assert!(peak < 48 << 20, "{} MiB resident", peak >> 20);
    }
}

#[test]
#[ignore = "takes a gigabyte and a minute; the sandbox's own vectors test the carry in every run"]
fn a_large_file_past_512_mib_carries_its_bit_count() {
    let bench = KOODRIVE.bench().host("flash_upload = false");
    let size = 600 << 20;
    put_sparse(&bench, "file", size);
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    let ours = std::fs::read(bench.drop_dir().join("file")).unwrap();
    assert!(requests(&bench, Endpoint::Chunk).len() > 32 && bench.held("file") == [ours]);
}

#[test]
fn a_name_that_the_host_has_changed_because_of_a_body_that_was_not_answered_is_marked() {
    let bench = KIE.bench();
    let lost = Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Chunk).when(When::Nth(1));
    let renamed = Rule::new(Action::StoreOtherName).at(Endpoint::Chunk).when(When::Nth(2));
    bench.faults(Script::of([lost, renamed]));
    let job = send(KIE, &bench, "file.txt", b"one");
    assert!(job.state == State::Done && job.maybe_duplicate && job.renamed_to().is_some(), "{job:#?}");
    assert_eq!(bench.sandbox.objects().len(), 2);
}

#[test]
fn a_name_that_a_host_has_changed_is_told_with_the_outcome() {
    for (kind, endpoint) in [(UPLOADGIG, Endpoint::Chunk), (KIE, Endpoint::Chunk), (KOODRIVE, Endpoint::Open)] {
        let bench = kind.bench();
        let job = send(kind, &bench, "as it is.txt", b"one");
        assert!(job.stored_name.as_ref().is_some_and(|name| name.ends_with("as it is.txt")), "{job:#?}");
        assert_eq!(job.renamed_to(), None, "{}", kind.word);
        bench.faults(one(endpoint, When::Always, Action::StoreOtherName));
        let job = send(kind, &bench, "other.txt", b"four");
        assert_eq!(job.state, State::Done, "{job:#?}");
        let stored = bench.sandbox.objects().into_iter().find(|object| object.bytes == 4).unwrap();
        assert_eq!((job.renamed_to(), job.stored_name.as_deref()), (Some(&*stored.name), Some(&*stored.name)));
        // KooDrive tells no size of what it has stored; its digest is better.
        assert_eq!(job.stored_bytes, (kind.word != "koodrive").then_some(4));
    }
    let quiet = KIE.bench_with(|options| options.rules.kie.shape = ReplyShape::UrlOnly);
    let job = send(KIE, &quiet, "file.txt", b"one");
    assert_eq!((job.state, job.stored_name, job.stored_bytes), (State::Done, None, None));
}
