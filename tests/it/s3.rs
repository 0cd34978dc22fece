//! What only a store that speaks S3 knows: keys, checksums, uploads that stay open, names that are taken.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{ReasonClass, State};
use ferryd::internals::os::crash::{POINTS_OF_BEGINNING, POINTS_OF_GIVING_UP};
use ferryd::internals::store::{JobRow, View};
use ferryd_sandbox::Options;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, Rule, Script, When};
use ferryd_sandbox::log::Entry;
use ferryd_sandbox::s3::{Checksums, Rules, SecondCompletion};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::bench_top::{Bench, bytes, one};
use crate::hosts::{arrives, is_held_because, send, stands};
use crate::kinds::{Kind, S3};
use crate::world::{at_once, records, requests};

const MIB: usize = 1024 * 1024;
const SMALL: &str = "part_size = \"5 MiB\"\nsingle_put_max = \"1 MiB\"";

fn bench(lines: &str) -> Bench {
    bench_with(lines, |_| {})
}

fn bench_with(lines: &str, rules: impl FnOnce(&mut Rules)) -> Bench {
    let change = |options: &mut Options| rules(&mut options.rules.s3);
    Bench::with(change).to(&["s3"]).host(lines).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []")
}

/// The methods and addresses of all requests, without what is behind `uploadId=`.
fn asked(bench: &Bench) -> Vec<String> {
    let shown = |entry: &Entry| {
        let path = entry.path.trim_start_matches("/s3/practice/").split("uploadId=").next().unwrap_or_default().to_owned();
        format!("{} {path}", entry.method)
    };
    bench.sandbox.log().iter().map(shown).collect()
}

/// Uploads that nobody has completed or given up.
fn left_open(bench: &Bench) -> usize {
    records(bench, "s3", "upload-").len()
}

/// What a host has told about each file, in words.
pub(crate) fn proofs(bench: &Bench) -> Vec<String> {
    let mut view = View::open(&bench.state_dir()).unwrap().unwrap();
    let details = |job: &JobRow| view.details(job.id, 0).unwrap().unwrap().1.proof.unwrap_or_default();
    bench.jobs().iter().map(details).collect()
}

/// A file that somebody has put there before, by a daemon of an older queue.
pub(crate) fn with_a_file(kind: Kind, bench: Bench, content: &[u8]) -> Bench {
    arrives(kind, &bench, content);
    std::fs::remove_dir_all(bench.state_dir()).unwrap();
    bench
}

#[test]
fn an_object_is_stored_with_what_the_settings_say() {
    let lines = "content_type = \"text/x-log\"\ncache_control = \"no-store\"\ncontent_disposition = \"attachment\"\n\
                 storage_class = \"STANDARD_IA\"\nacl = \"private\"\nserver_side_encryption = \"aws:kms\"\nkms_key_id = \"key-7\"\n\
                 tags = [\"project=a b\", \"owner=me\"]";
    for single in [true, false] {
        let bench = bench(if single { lines.to_owned() } else { format!("{lines}\n{SMALL}") }.as_str());
        arrives(S3, &bench, &bytes(1, 2 * MIB));
        let kept = records(&bench, "s3", "object-").into_values().next().unwrap();
        let header = |name: &str| kept["headers"][name].as_str().unwrap_or_default().to_owned();
        let told = [
            ("content-type", "text/x-log"),
            ("cache-control", "no-store"),
            ("content-disposition", "attachment"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-acl", "private"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "key-7"),
            ("x-amz-tagging", "project=a+b&owner=me"),
        ];
        for (name, value) in told {
            assert_eq!(header(name), value, "{name}");
        }
        assert!(header("x-amz-meta-mtime").contains('.') && header("x-amz-meta-ferryd-upload").len() == 32, "{kept:#?}");
    }
}

#[test]
fn a_key_and_its_links_are_made_as_told() {
    let bench =
        bench("key = \"in/{folder}/{stem}-{version}.{ext}\"\nshare = \"2d\"").watch("settle = \"0s\"\nremote_path = \"x y\"");
    bench.put("a/ü.txt", b"content");
    let daemon = bench.start();
    let jobs = bench.wait_done(1);
    bench.stop(daemon);
    let id = jobs[0].remote_id.clone().unwrap();
    assert!(id.starts_with("s3://practice/in/x y/ü-") && id.ends_with(".txt"), "{id}");
    let said = bench.command(&["link", bench.drop_dir().join("a/ü.txt").to_str().unwrap()]).output().unwrap();
    let link = String::from_utf8(said.stdout).unwrap().trim().to_owned();
    assert!(link.contains("/s3/practice/in/x%20y/%C3%BC-") && link.contains("X-Amz-Expires=172800"), "{link}");
    assert_eq!(fetched(&link), b"content");
    let bench = crate::s3::bench("link_base = \"https://files.example/public\"");
    bench.put("a b.txt", b"content");
    let daemon = bench.start();
    let jobs = bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(jobs[0].link.as_deref(), Some("https://files.example/public/a%20b.txt"));
}

/// What is at an address of this machine.
pub(crate) fn fetched(link: &str) -> Vec<u8> {
    let (host, path) = link.trim_start_matches("http://").split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
    reply.split_off(end + 4)
}

#[test]
fn a_small_file_goes_in_one_request_and_a_large_one_in_parts_that_go_together() {
    let bench = bench("single_put_max = \"5 MiB\"\npart_size = \"6 MiB\"\nparallel_parts = 2");
    let (small, large) = (bytes(1, 5 * MIB), bytes(2, 31 * MIB));
    bench.put("small", &small);
    bench.put("large", &large);
    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 0.2 }));
    let daemon = bench.start();
    let jobs = bench.wait_done(2);
    bench.stop(daemon);
    assert!(bench.held("small") == [small] && bench.held("large") == [large]);
    let parts: Vec<Entry> = requests(&bench, Endpoint::Chunk).into_iter().filter(|entry| entry.session.is_some()).collect();
    let numbers: BTreeSet<Option<u64>> = parts.iter().map(|entry| entry.part).collect();
    assert_eq!((parts.len(), numbers.len(), at_once(&parts)), (6, 6, 2));
    assert_eq!(asked(&bench).iter().filter(|asked| *asked == "PUT small").count(), 1);
    assert!(jobs.iter().all(|job| job.stored_bytes.is_some()), "{jobs:#?}");
    assert_eq!(left_open(&bench), 0);
}

#[test]
fn every_checksum_proves_the_object_where_the_store_verifies_it() {
    for (checksum, proof) in [
        ("crc64nvme", "digest"),
        ("crc32c", "digest"),
        ("sha256", "digest"),
        ("md5", "digest"),
        ("auto", "digest"),
        ("none", "size"),
    ] {
        let bench = bench(&format!("checksum = {checksum:?}\n{SMALL}"));
        let (small, large) = (bytes(1, 1000), bytes(2, 11 * MIB + 7));
        bench.put("small", &small);
        bench.put("large", &large);
        let daemon = bench.start();
        bench.wait_done(2);
        bench.stop(daemon);
        assert!(bench.held("small") == [small] && bench.held("large") == [large], "{checksum}");
        assert_eq!(proofs(&bench), [proof; 2], "{checksum}");
    }
}

/// The header with which the checksum of each object came.
fn checksums(bench: &Bench) -> Vec<String> {
    let header = |meta: serde_json::Value| meta["checksum"][0].as_str().unwrap_or_default().to_owned();
    records(bench, "s3", "object-").into_values().map(header).collect()
}

#[test]
fn a_store_says_itself_whether_it_verifies_what_is_cheaper_than_an_md5() {
    for (checksums_are, opened, used) in
        [(Checksums::Verified, 2, "x-amz-checksum-crc64nvme"), (Checksums::Ignored, 2, ""), (Checksums::Refused, 3, "")]
    {
        let bench = bench_with(SMALL, |rules| rules.checksums = checksums_are);
        let daemon = bench.start();
        for (number, size) in [(1, 6 * MIB), (2, 6 * MIB), (3, 1000)] {
            bench.put(&format!("file {number}"), &bytes(1, size));
            bench.wait_done(number);
        }
        bench.stop(daemon);
        assert_eq!(requests(&bench, Endpoint::Open).len(), opened, "{checksums_are:?}: it is asked once");
        assert_eq!(checksums(&bench), [used; 3], "{checksums_are:?}");
        assert_eq!(proofs(&bench), ["digest"; 3], "{checksums_are:?}");
    }
}

#[test]
fn a_file_is_sent_to_its_end_with_the_checksum_that_it_began_with() {
    for (before, after) in [("md5", "crc64nvme"), ("crc64nvme", "md5"), ("crc32c", "sha256"), ("auto", "none")] {
        let bench = bench(&format!("{SMALL}\nparallel_parts = 1\nchecksum = {before:?}"));
        bench.faults(one(Endpoint::Chunk, When::Nth(2), Action::SlowReply { seconds: 600.0 }));
        let content = bytes(1, 16 * MIB);
        bench.put("file", &content);
        let daemon = bench.start();
        bench.wait_for("two parts", || (requests(&bench, Endpoint::Chunk).len() >= 2).then_some(()));
        daemon.kill();
        bench.faults(Script::default());
        let bench = bench.change(&format!("checksum = {before:?}"), &format!("checksum = {after:?}"));
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        assert!(bench.held("file") == [content], "{before} {after}");
        assert_eq!((requests(&bench, Endpoint::Open).len(), proofs(&bench)), (1, vec!["digest".into()]), "{before} {after}");
    }
}

#[test]
fn a_store_that_ignores_checksums_and_makes_etags_of_its_own_proves_the_size() {
    let lax = |rules: &mut Rules| (rules.checksums, rules.etag_is_md5) = (Checksums::Ignored, false);
    for checksum in ["md5", "crc32c"] {
        let bench = bench_with(&format!("checksum = {checksum:?}\n{SMALL}"), lax);
        bench.put("small", &bytes(1, 1000));
        bench.put("large", &bytes(2, 6 * MIB));
        let daemon = bench.start();
        bench.wait_done(2);
        bench.stop(daemon);
        assert_eq!(proofs(&bench), ["size"; 2], "{checksum}");
    }
}

#[test]
fn the_version_that_a_bucket_keeps_of_an_object_is_told_and_links_are_to_its_key() {
    let bench = bench_with(SMALL, |rules| rules.is_versioned = true);
    // The answer that would tell the version is lost once.
    bench.faults(one(Endpoint::Finish, When::Nth(1), Action::LoseReply { reset: true }));
    let files = [("small", bytes(1, 1000)), ("large", bytes(2, 6 * MIB)), ("again", bytes(3, 6 * MIB))];
    for (name, content) in &files {
        bench.put(name, content);
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(3);
    bench.stop(daemon);
    let kept = records(&bench, "s3", "object-");
    let versions: BTreeSet<String> = kept.values().map(|meta| meta["version"].as_str().unwrap().to_owned()).collect();
    let told: BTreeSet<String> =
        jobs.iter().map(|job| job.remote_id.as_ref().unwrap().split_once("?versionId=").unwrap().1.to_owned()).collect();
    assert_eq!((told.len(), told), (3, versions));
    for (name, content) in &files {
        let said = bench.command(&["link", bench.drop_dir().join(name).to_str().unwrap()]).output().unwrap();
        let link = String::from_utf8(said.stdout).unwrap().trim().to_owned();
        assert!(fetched(&link) == *content, "{link}");
    }
}

#[test]
fn a_key_that_may_only_write_uploads_all_the_same() {
    let bench = bench_with(&format!("checksum = \"none\"\n{SMALL}"), |rules| rules.may_look = false);
    bench.put("small", &bytes(1, 1000));
    bench.put("large", &bytes(2, 6 * MIB));
    let daemon = bench.start();
    bench.wait_done(2);
    bench.stop(daemon);
    assert_eq!(proofs(&bench), ["word"; 2]);
    let said = bench.command(&["check", "--online"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("may not list the bucket `practice`"), "{said}");
}

#[test]
fn parts_that_are_held_are_found_page_by_page_and_not_sent_again() {
    let bench = bench_with(&format!("{SMALL}\nparallel_parts = 1"), |rules| rules.listed_max = 2);
    let content = bytes(1, 40 * MIB);
    bench.put("file", &content);
    bench.faults(Script::of([Rule::new(Action::SlowReading { bytes_per_second: 20_000_000 }).at(Endpoint::Chunk)]));
    let daemon = bench.start();
    bench.wait_for("five parts", || (requests(&bench, Endpoint::Chunk).len() > 5).then_some(()));
    daemon.kill();
    let before = requests(&bench, Endpoint::Chunk).len();
    bench.faults(Script::default());
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(bench.held("file") == [content]);
    let parts = requests(&bench, Endpoint::Chunk).len();
    assert!((8..=9).contains(&parts) && before >= 6, "only the part in flight goes again: {parts} after {before}");
    assert!(asked(&bench).iter().any(|asked| asked.contains("part-number-marker=2&")), "{:#?}", asked(&bench));
    assert_eq!(left_open(&bench), 0);
}

#[test]
fn a_completion_whose_answer_is_lost_is_known_by_its_token_and_not_sent_again() {
    for second_completion in [SecondCompletion::NoSuchUpload, SecondCompletion::AccessDenied] {
        let bench = bench_with(SMALL, |rules| rules.second_completion = second_completion);
        bench.faults(one(Endpoint::Finish, When::Nth(1), Action::LoseReply { reset: true }));
        let content = bytes(1, 6 * MIB);
        let job = arrives(S3, &bench, &content);
        assert_eq!(
            (requests(&bench, Endpoint::Finish).len(), job.maybe_duplicate, proofs(&bench)),
            (1, false, vec!["digest".into()])
        );
        assert_eq!((requests(&bench, Endpoint::Chunk).len(), left_open(&bench)), (2, 0));
    }
}

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";

fn denied(endpoint: Endpoint, when: When) -> Rule {
    let body = DENIED.to_owned();
    Rule::new(Action::Reply { status: 403, headers: Default::default(), body, stored: false }).at(endpoint).when(when)
}

#[test]
fn an_upload_that_is_refused_while_another_would_be_taken_begins_anew() {
    // Of an upload without a part, the list says enough.
    for (endpoint, opened) in [(Endpoint::Chunk, 2), (Endpoint::Finish, 3)] {
        let bench = bench(&format!("{SMALL}\nparallel_parts = 1"));
        bench.faults(Script::of([denied(endpoint, When::Nth(1))]));
        arrives(S3, &bench, &bytes(1, 6 * MIB));
        assert_eq!((requests(&bench, Endpoint::Open).len(), left_open(&bench)), (opened, 0), "{endpoint:?}");
    }
}

#[test]
fn a_key_that_may_not_write_any_more_holds_the_host_and_keeps_what_was_sent() {
    let bench = bench(SMALL);
    let opens = [2, 3].map(|nth| denied(Endpoint::Open, When::Nth(nth)));
    bench.faults(Script::of(opens.into_iter().chain([denied(Endpoint::Finish, When::Always)])));
    let job = send(S3, &bench, "file", &bytes(1, 6 * MIB));
    assert!(stands(&job, State::Held, ReasonClass::Host(Class::HostRefused), "must be allowed to write"), "{job:#?}");
    bench.faults(Script::default());
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!((requests(&bench, Endpoint::Chunk).len(), left_open(&bench)), (2, 0));
}

#[test]
fn what_a_store_may_have_made_that_shows_nobody_what_it_has_is_marked_when_it_is_sent_again() {
    for (answered, marked) in [(false, true), (true, false)] {
        let bench = bench_with("", |rules| rules.may_look = false);
        let taken = bench.put("file", b"another");
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        let lost = Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Chunk).when(When::Nth(1));
        bench.faults(if answered { Script::default() } else { Script::of([lost]) });
        // Of a first answer that the key is taken, the reason is clear.
        let path = if answered { taken } else { bench.put("other", b"first") };
        std::fs::write(&path, b"content").unwrap();
        let daemon = bench.start();
        let has_lost = |job: &JobRow| {
            let mut view = View::open(&bench.state_dir()).unwrap().unwrap();
            view.details(job.id, 0).unwrap().is_some_and(|(_, details)| details.sessions_lost > 0)
        };
        let lost = bench.wait_for("a lost session", || bench.jobs().into_iter().find(has_lost)).id;
        bench.stop(daemon);
        let job = bench.jobs().into_iter().find(|job| job.id == lost).unwrap();
        assert_eq!(job.maybe_duplicate, marked, "{job:#?}");
    }
}

#[test]
fn what_a_store_without_metadata_has_made_is_left_to_a_person_or_overwritten() {
    let lost = |endpoint| one(endpoint, When::Nth(1), Action::LoseReply { reset: true });
    for (lines, endpoint) in [(SMALL, Endpoint::Finish), ("", Endpoint::Chunk)] {
        let bench = bench_with(lines, |rules| rules.keeps_metadata = false);
        bench.faults(lost(endpoint));
        is_held_because(S3, &bench, ReasonClass::Probable, "without the metadata that would tell whose");
        assert_eq!(bench.sandbox.objects().len(), 1, "{endpoint:?}");
        let bench = bench_with(&format!("{lines}\non_existing = \"overwrite\""), |rules| rules.keeps_metadata = false);
        bench.faults(lost(endpoint));
        arrives(S3, &bench, &bytes(1, 6 * MIB));
        assert_eq!(requests(&bench, endpoint).len(), 2, "it is sent once more, in the same place");
        assert_eq!(bench.sandbox.objects().len(), 1, "{endpoint:?}");
    }
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing_open() {
    let bench = bench(&format!("{SMALL}\nparallel_parts = 1"));
    bench.faults(Script::of([Rule::new(Action::SlowReading { bytes_per_second: 2_000_000 }).at(Endpoint::Chunk)]));
    let path = bench.put("file", &bytes(1, 20 * MIB));
    let daemon = bench.start();
    bench.wait_for("a part", || (!requests(&bench, Endpoint::Chunk).is_empty()).then_some(()));
    assert_eq!(left_open(&bench), 1);
    assert!(bench.command(&["cancel", path.to_str().unwrap()]).status().unwrap().success());
    bench.wait_for("the upload to be given up", || (left_open(&bench) == 0).then_some(()));
    bench.stop(daemon);
}

/// What the store answers to a request of somebody else, at a path with its query, both encoded.
fn asked_by_another(bench: &Bench, method: &str, path: &str, body: &[u8]) -> String {
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let Rules { access_key_id, secret_access_key, region, .. } = Rules::default();
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    let words: Vec<&str> = now.split(' ').collect();
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(words[2]).unwrap() / 3 + 1;
    let day = format!("{}{month:02}{}", words[3], words[1]);
    let time = format!("{day}T{}Z", words[4].replace(':', ""));
    let (host, scope) = (bench.sandbox.addr(), format!("{day}/{region}/s3/aws4_request"));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let canonical = format!(
        "{method}\n/s3/practice/{path}\n{query}\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{time}\n\n{signed}\nUNSIGNED-PAYLOAD"
    );
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let first = format!("AWS4{secret_access_key}").into_bytes();
    let signature = hex(&[&day, &region, "s3", "aws4_request", to_sign.as_str()].iter().fold(first, |key, text| mac(&key, text)));
    let head = format!(
        "{method} /s3/practice/{path}?{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
         x-amz-date: {time}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={access_key_id}/{scope},SignedHeaders={signed},Signature={signature}\r\n\r\n",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    reply
}

/// An upload that somebody else has opened.
fn opened_by_another(bench: &Bench, key: &str) -> String {
    let reply = asked_by_another(bench, "POST", &format!("{key}?uploads="), b"");
    reply.split_once("<UploadId>").unwrap().1.split_once("</UploadId>").unwrap().0.to_owned()
}

#[test]
fn an_upload_whose_id_was_never_heard_or_kept_is_given_up_and_nobody_elses_is() {
    for keys in ["only_writer = true", "key = \"{folder}/{version}-{name}\""] {
        let bench = bench_with(&format!("{SMALL}\n{keys}"), |rules| rules.listed_max = 1);
        let content = bytes(1, 6 * MIB);
        bench.put("file", &content);
        let theirs = ["a", "fil", "file2", "file.x", "zz"].map(|key| opened_by_another(&bench, key));
        // Once the answer is lost, then the process dies before the next one is on record, and once more.
        bench.faults(one(Endpoint::Open, When::Nth(1), Action::LoseReply { reset: true }));
        for _ in 0..2 {
            let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", POINTS_OF_BEGINNING[0])]);
            bench.wait_for("the death of the daemon", || daemon.ended());
            assert_eq!(left_open(&bench), theirs.len() + 1, "{keys}: one more than is known of");
        }
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        assert_eq!(records(&bench, "s3", "upload-").into_keys().collect::<BTreeSet<_>>(), theirs.into());
        assert_eq!((bench.sandbox.objects().len(), requests(&bench, Endpoint::Chunk).len()), (1, 2), "{keys}");
    }
}

#[test]
fn an_upload_whose_id_was_never_heard_is_given_up_though_further_answers_are_lost() {
    for lost in 1..=4 {
        let bench = bench(&format!("{SMALL}\nonly_writer = true"));
        let lose = |endpoint, nth| Rule::new(Action::LoseReply { reset: true }).at(endpoint).when(When::Nth(nth));
        let also = if lost == 4 { lose(Endpoint::Abandon, 1) } else { lose(Endpoint::Probe, lost) };
        bench.faults(Script::of([lose(Endpoint::Open, 1), also]));
        arrives(S3, &bench, &bytes(1, 6 * MIB));
        assert_eq!(left_open(&bench), 0, "{lost}");
    }
}

#[test]
fn an_upload_that_may_be_somebody_elses_is_never_given_up() {
    let bench = bench(SMALL);
    bench.put("file", &bytes(1, 6 * MIB));
    let theirs = opened_by_another(&bench, "file");
    bench.faults(one(Endpoint::Open, When::Nth(1), Action::LoseReply { reset: true }));
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    let open = records(&bench, "s3", "upload-");
    assert!(open.contains_key(&theirs), "{open:#?}");
    assert_eq!(open.len(), 2, "that of the lost answer looks like theirs");
}

#[test]
fn an_upload_with_parts_is_not_taken_for_one_that_nobody_has_heard_of() {
    let bench = bench(&format!("{SMALL}\nonly_writer = true"));
    let path = bench.put("file", &bytes(1, 6 * MIB));
    let theirs = opened_by_another(&bench, "file");
    asked_by_another(&bench, "PUT", &format!("file?partNumber=1&uploadId={theirs}"), b"a part");
    let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", POINTS_OF_BEGINNING[0])]);
    bench.wait_for("the death of the daemon", || daemon.ended());
    assert!(bench.command(&["cancel", path.to_str().unwrap()]).status().unwrap().success());
    let daemon = bench.start();
    bench.wait_for("the upload to be given up", || (left_open(&bench) == 1).then_some(()));
    bench.stop(daemon);
    assert!(records(&bench, "s3", "upload-").contains_key(&theirs), "a job that is cancelled gives up its own");
}

#[test]
fn a_store_that_lists_no_uploads_gets_the_file_all_the_same() {
    let bench = bench_with(&format!("{SMALL}\nchecksum = \"none\"\nonly_writer = true"), |rules| rules.may_look = false);
    bench.faults(one(Endpoint::Open, When::Nth(1), Action::LoseReply { reset: true }));
    arrives(S3, &bench, &bytes(1, 6 * MIB));
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing_open_though_the_daemon_dies_or_the_store_fails_meanwhile() {
    for ordered in [true, false] {
        let bench = bench(&format!("{SMALL}\nparallel_parts = 1"));
        let slow = Rule::new(Action::SlowReading { bytes_per_second: 4_000_000 }).at(Endpoint::Chunk);
        let failing =
            Rule::new(Action::Status { code: 503, body: ErrorBody::Empty, stored: false }).at(Endpoint::Abandon).when(When::Nth(1));
        bench.faults(Script::of([slow, failing]));
        let path = bench.put("file", &bytes(1, 20 * MIB));
        let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", POINTS_OF_GIVING_UP[0])]);
        bench.wait_for("a part", || (!requests(&bench, Endpoint::Chunk).is_empty()).then_some(()));
        if ordered {
            assert!(bench.command(&["cancel", path.to_str().unwrap()]).status().unwrap().success());
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        bench.wait_for("the death of the daemon", || daemon.ended());
        assert_eq!(left_open(&bench), 1);
        let daemon = bench.start();
        bench.wait_for("the upload to be given up", || (left_open(&bench) == 0).then_some(()));
        bench.wait_for("the job to be over", || bench.jobs().iter().all(|job| job.state.is_final()).then_some(()));
        bench.stop(daemon);
    }
}

#[test]
fn an_upload_that_cannot_be_given_up_with_its_job_is_given_up_later() {
    let bench = bench(&format!("{SMALL}\nparallel_parts = 1"));
    let slow = Rule::new(Action::SlowReading { bytes_per_second: 4_000_000 }).at(Endpoint::Chunk);
    let failing = Rule::new(Action::Status { code: 503, body: ErrorBody::Empty, stored: false }).at(Endpoint::Abandon);
    bench.faults(Script::of([slow, failing]));
    let path = bench.put("file", &bytes(1, 20 * MIB));
    let daemon = bench.start();
    bench.wait_for("a part", || (!requests(&bench, Endpoint::Chunk).is_empty()).then_some(()));
    std::fs::remove_file(&path).unwrap();
    bench.wait_state(State::Gone);
    bench.stop(daemon);
    assert_eq!(left_open(&bench), 1, "the store does not answer");
    bench.faults(Script::default());
    let daemon = bench.start();
    bench.wait_for("the upload to be given up", || (left_open(&bench) == 0).then_some(()));
    bench.stop(daemon);
    assert_eq!(bench.jobs().iter().map(|job| job.state).collect::<Vec<_>>(), [State::Gone]);
}

#[test]
fn a_key_that_is_taken_is_settled_as_told() {
    for heeds_conditions in [true, false] {
        for size in [300_000, 6 * MIB] {
            let (old, new) = (bytes(1, 1000), bytes(2, size));
            let of = |on_existing: &str| {
                let lines = format!("on_existing = {on_existing:?}\n{SMALL}");
                let bench = with_a_file(S3, bench_with(&lines, |rules| rules.heeds_conditions = heeds_conditions), &old);
                let job = send(S3, &bench, "file", &new);
                assert_eq!(left_open(&bench), 0);
                (bench, job)
            };
            let (bench, job) = of("overwrite");
            assert_eq!((job.state, bench.held("file")), (State::Done, vec![new.clone()]));
            let (bench, job) = of("rename");
            assert_eq!((job.state, job.stored_name.as_deref()), (State::Done, Some("file (2)")), "{job:#?}");
            assert!(bench.held("file") == [old.clone()] && bench.held("file (2)") == [new.clone()]);
            let (bench, job) = of("skip");
            assert_eq!((job.state, bench.held("file")), (State::Done, vec![old.clone()]), "{job:#?}");
            assert_eq!(proofs(&bench), ["word"]);
        }
    }
    let bench = with_a_file(S3, bench("on_existing = \"error\""), b"old");
    bench.put("file", b"newer");
    let daemon = bench.start();
    let job = bench.wait_state(State::Waiting);
    bench.stop(daemon);
    assert!(stands(&job, State::Waiting, ReasonClass::Host(Class::RequestRefused), "another object `file`"), "{job:#?}");
    assert_eq!(bench.held("file"), [b"old"]);
}

#[test]
fn an_object_that_appears_while_a_file_is_sent_is_not_overwritten() {
    for size in [300_000, 6 * MIB] {
        let bench = bench(&format!("on_existing = \"rename\"\n{SMALL}"));
        let (theirs, ours) = (bytes(1, 1000), bytes(2, size));
        bench.faults(one(Endpoint::Chunk, When::Always, Action::Limit));
        bench.put("file", &ours);
        let daemon = bench.start();
        bench.wait_for("its bytes", || (!requests(&bench, Endpoint::Chunk).is_empty()).then_some(()));
        bench.stop(daemon);
        bench.faults(Script::default());
        // Somebody with a queue of their own.
        let other = Bench::new();
        let table = ferryd_sandbox::config_of("s3", bench.sandbox.addr()).unwrap();
        let other_table = ferryd_sandbox::config_of("s3", other.sandbox.addr()).unwrap();
        let other = other.to(&["s3"]).change(&other_table, &table).watch("settle = \"0s\"");
        other.put("file", &theirs);
        let theirs_runs = other.start();
        other.wait_done(1);
        other.stop(theirs_runs);
        let daemon = bench.start();
        let jobs = bench.wait_done(1);
        bench.stop(daemon);
        let mut held: Vec<(String, Vec<u8>)> =
            bench.sandbox.objects().iter().map(|object| (object.name.clone(), bench.sandbox.read(object).unwrap())).collect();
        held.sort();
        let name = jobs[0].stored_name.clone().unwrap();
        assert!(held.contains(&(name, ours)) && held.iter().any(|(_, content)| *content == theirs), "{size}: {jobs:#?}");
        assert_eq!((held.len(), left_open(&bench)), (2, 0));
    }
}

#[test]
fn requests_are_signed_with_what_is_configured() {
    let lent = |rules: &mut Rules| {
        (rules.access_key_id, rules.secret_access_key) = ("AKIDOTHER".into(), "another-long-secret".into());
        rules.session_token = Some("lent-for-a-while".into());
        (rules.region, rules.bucket) = ("eu-west-3".into(), "other.bucket".into());
    };
    let bench = bench_with("session_token = { env = \"FERRYD_TEST_TOKEN\" }", lent)
        .change("access_key_id = \"AKIDEXAMPLE1234567\"", "access_key_id = { command = [\"echo\", \"AKIDOTHER\"] }")
        .change("s3cret-object-store-key", "another-long-secret")
        .change("eu-central-1", "eu-west-3")
        .change("\"practice\"", "\"other.bucket\"");
    bench.put("file", b"content");
    let daemon = bench.start_with(&[("FERRYD_TEST_TOKEN", "lent-for-a-while")]);
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(bench.held("file"), [b"content"]);
    assert!(!bench.log_text().contains("lent-for") && !bench.log_text().contains("another-long"));
}

#[test]
fn wrong_settings_hold_the_host_and_say_what_to_check() {
    let cases = [
        ("s3cret-object-store-key", "hunter2hunter2", "check `access_key_id`, `secret_access_key` and `region`"),
        ("eu-central-1", "mars-1", "it names `eu-central-1`; check `region` and `endpoint`"),
        ("\"practice\"", "\"other\"", "check `bucket` and `endpoint`"),
    ];
    for (from, to, said) in cases {
        let bench = bench("").change(from, to);
        is_held_because(S3, &bench, ReasonClass::Host(Class::HostRefused), said);
    }
}

#[test]
fn a_key_that_has_ended_is_read_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (program, reads) = (dir.path().join("token"), dir.path().join("reads"));
    std::fs::write(&program, format!("#!/bin/sh\necho read >> {}\necho lent-for-an-hour\n", reads.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let lines = format!("session_token = {{ command = [{program:?}] }}\n{SMALL}\nparallel_parts = 1");
    let bench = bench_with(&lines, |rules| rules.session_token = Some("lent-for-an-hour".into()));
    bench.faults(one(Endpoint::Chunk, When::Nth(2), Action::Expire));
    arrives(S3, &bench, &bytes(1, 11 * MIB));
    assert_eq!((requests(&bench, Endpoint::Open).len(), requests(&bench, Endpoint::Chunk).len(), left_open(&bench)), (1, 4, 0));
    assert_eq!(std::fs::read_to_string(&reads).unwrap().lines().count(), 2);
}

#[test]
fn a_key_that_was_lent_and_has_ended_is_asked_with_once_more_and_what_was_sent_is_kept() {
    let bench = bench(&format!("{SMALL}\nparallel_parts = 1"));
    bench.faults(Script::of([2, 3].map(|nth| Rule::new(Action::Expire).at(Endpoint::Chunk).when(When::Nth(nth)))));
    bench.put("file", &bytes(1, 11 * MIB));
    let daemon = bench.start();
    let job = bench.wait_state(State::Held);
    assert!(stands(&job, State::Held, ReasonClass::Host(Class::HostRefused), "`session_token` has ended"), "{job:#?}");
    assert_eq!(requests(&bench, Endpoint::Chunk).len(), 3, "it may have been renewed meanwhile");
    bench.faults(Script::default());
    assert!(bench.command(&["retry", "--all"]).status().unwrap().success());
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!((requests(&bench, Endpoint::Chunk).len(), requests(&bench, Endpoint::Open).len(), left_open(&bench)), (5, 1, 0));
}

#[test]
fn a_clock_that_is_wrong_is_noticed_and_costs_one_request() {
    let bench = bench("");
    bench.sandbox.shift_clock(5 * 3600);
    bench.put("one", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.put("two", b"content");
    bench.wait_done(2);
    bench.stop(daemon);
    assert_eq!(asked(&bench), ["HEAD one", "HEAD one", "PUT one", "HEAD two", "PUT two"]);
}

#[test]
fn a_bucket_is_reached_by_its_name_where_told_to_and_in_the_clear_only_where_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let (tell, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"content") {
                let mut some = [0; 1024];
                let read = client.read(&mut some).unwrap();
                request.extend_from_slice(&some[..read]);
            }
            tell.send(String::from_utf8_lossy(&request).to_ascii_lowercase()).unwrap();
            // The MD5 of what came.
            let reply =
                "HTTP/1.1 200 OK\r\nETag: \"9a0364b9e99bb480dd25e1f0284c8555\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            client.write_all(reply.as_bytes()).unwrap();
        }
    });
    let lines = format!("style = \"virtual\"\nproxy = \"http://{proxy}\"\non_existing = \"overwrite\"");
    let bench = bench(&lines);
    let from = format!("endpoint = \"http://{}/s3\"", bench.sandbox.addr());
    let bench = bench.change(&from, "endpoint = \"http://store.invalid\"");
    let said = bench.command(&["check"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("`endpoint` would send the credentials unencrypted"), "{said}");
    let bench = bench.host(&format!("{lines}\nallow_http = true"));
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(proofs(&bench), ["digest"]);
    let head = heads.recv().unwrap();
    assert!(head.starts_with("put http://practice.store.invalid/file http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: practice.store.invalid\r\n"), "{head}");
}
