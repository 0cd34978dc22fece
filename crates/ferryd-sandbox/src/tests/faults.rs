//! Every fault, as the client meets it and as the store and the log have it afterwards.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::cloudkp::{ChunkReply, Replay};
use super::super::faults::{ErrorBody, RetryAfter, When};
use super::*;

const ONE: [(&str, &str); 4] = [("dzuuid", UUID), ("dzchunkindex", "0"), ("dztotalchunkcount", "1"), ("dztotalfilesize", "3")];

/// A sandbox that does `action` to the first chunk it gets.
fn first_chunk(action: Action) -> Bench {
    faulty(Rule::new(action).host("cloudkp").at(Endpoint::Chunk).when(When::First(1)))
}

/// A sandbox that does `action` to the first finish it gets.
fn first_finish(action: Action) -> Bench {
    faulty(Rule::new(action).host("cloudkp").at(Endpoint::Finish).when(When::First(1)))
}

impl Bench {
    async fn one(&self) -> Result<Said, Silence> {
        self.upload(&ONE, Some(b"abc")).await
    }

    async fn done(&self) -> Result<Said, Silence> {
        self.finish(UUID, 1, "a").await
    }

    /// The log says that the last request met this fault, changed what is stored or not, and got its reply or not.
    #[track_caller]
    fn has(&self, entry: Entry, fault: &str, outcome: Outcome, held: bool, replied: bool) {
        assert_eq!(entry.fault.as_deref(), Some(fault));
        assert_eq!((entry.outcome, entry.held, entry.replied), (outcome, held, Some(replied)), "{fault}");
    }

    async fn faulted(&self, fault: &str, held: bool, replied: bool) {
        let entry = self.last().await;
        self.has(entry, fault, Outcome::Faulted, held, replied);
    }

    /// Whether the chunk is held: a finish succeeds only then.
    async fn is_held(&self) -> bool {
        self.done().await.unwrap().error().is_none()
    }
}

#[tokio::test]
async fn a_failing_status_stores_nothing_and_the_next_try_works() {
    for (code, body) in [(500, ErrorBody::Json), (502, ErrorBody::Plain), (503, ErrorBody::Empty), (504, ErrorBody::Json)] {
        let bench = first_chunk(Action::Status { code, body, stored: false });
        let said = bench.one().await.unwrap();
        assert_eq!((said.status, said.whole), (code, true));
        match body {
            ErrorBody::Json => assert!(said.error().is_some()),
            ErrorBody::Plain => assert!(!said.text().starts_with('{') && !said.text().is_empty()),
            ErrorBody::Empty => assert!(said.body.is_empty()),
        }
        bench.faulted("status", false, true).await;
        bench.one().await.unwrap().fine();
        assert!(!bench.last().await.again);
    }
}

#[tokio::test]
async fn a_failing_status_may_hide_that_the_chunk_is_stored() {
    let bench = first_chunk(Action::Status { code: 500, body: ErrorBody::Json, stored: true });
    assert_eq!(bench.one().await.unwrap().status, 500);
    bench.faulted("status", true, true).await;
    assert!(bench.is_held().await);
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_back_in_three_ways() {
    for retry_after in [RetryAfter::Absent, RetryAfter::Seconds(7), RetryAfter::DateInSeconds(600)] {
        let bench = first_chunk(Action::TooManyRequests { retry_after });
        let said = bench.one().await.unwrap();
        assert_eq!(said.status, 429);
        match retry_after {
            RetryAfter::Absent => assert_eq!(said.header("retry-after"), None),
            RetryAfter::Seconds(_) => assert_eq!(said.header("retry-after"), Some("7")),
            RetryAfter::DateInSeconds(_) => {
                let date = httpdate::parse_http_date(said.header("retry-after").unwrap()).unwrap();
                let away = date.duration_since(std::fs::metadata(bench.dir.path().join("log.jsonl")).unwrap().modified().unwrap());
                assert!((570..630).contains(&away.unwrap().as_secs()));
            }
        }
        bench.faulted("too_many_requests", false, true).await;
    }
}

#[tokio::test]
async fn a_connection_closed_before_reading_is_reset_and_stores_nothing() {
    let bench = first_chunk(Action::CloseBeforeReading { reset: true });
    let file = bytes(LADDER_BASE);
    assert_eq!(bench.chunk(UUID, 0, &file).await.unwrap_err(), Silence::Reset);
    bench.faulted("close_before_reading", false, false).await;
    assert!(!bench.is_held().await);
}

#[tokio::test]
async fn a_connection_closed_before_reading_can_end_without_a_reset() {
    let bench = first_chunk(Action::CloseBeforeReading { reset: false });
    assert_eq!(bench.one().await.unwrap_err(), Silence::Closed);
    assert!(!bench.is_held().await);
}

#[tokio::test]
async fn a_reset_after_some_bytes_comes_while_the_client_still_sends() {
    let bench = first_chunk(Action::ResetAfterBytes { bytes: 50_000 });
    let body = form(&chunk_fields(UUID, "0", "1", "131072"), Some(&bytes(LADDER_BASE)));
    let request = post(&body);
    let mut stream = TcpStream::connect(bench.sandbox.addr()).await.unwrap();
    stream.write_all(&request[..60_000]).await.unwrap();
    let error = soon(stream.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let entry = bench.last().await;
    assert!((50_000..60_000).contains(&entry.body_bytes), "{}", entry.body_bytes);
    bench.has(entry, "reset_after_bytes", Outcome::Faulted, false, false);
    assert!(!bench.is_held().await);
}

#[tokio::test]
async fn a_reset_after_more_bytes_than_there_are_comes_at_the_end() {
    let bench = first_chunk(Action::ResetAfterBytes { bytes: 1 << 40 });
    assert_eq!(bench.one().await.unwrap_err(), Silence::Reset);
    assert!(!bench.is_held().await);
}

#[tokio::test]
async fn a_reset_after_the_body_stores_nothing() {
    let bench = first_chunk(Action::ResetAfterBody);
    assert_eq!(bench.one().await.unwrap_err(), Silence::Reset);
    let entry = bench.last().await;
    assert_eq!(entry.body_bytes, form(&ONE, Some(b"abc")).len() as u64);
    bench.has(entry, "reset_after_body", Outcome::Faulted, false, false);
    assert!(!bench.is_held().await);
}

#[tokio::test]
async fn a_lost_reply_leaves_the_chunk_stored() {
    for (reset, silence) in [(true, Silence::Reset), (false, Silence::Closed)] {
        let bench = first_chunk(Action::LoseReply { reset });
        assert_eq!(bench.one().await.unwrap_err(), silence);
        bench.faulted("lose_reply", true, false).await;
        bench.one().await.unwrap().fine();
        assert!(bench.last().await.again);
        assert!(bench.is_held().await);
    }
}

#[tokio::test]
async fn a_lost_reply_to_a_finish_leaves_the_object_stored() {
    let bench = first_finish(Action::LoseReply { reset: true });
    bench.one().await.unwrap().fine();
    assert_eq!(bench.done().await.unwrap_err(), Silence::Reset);
    assert_eq!(bench.only_object(), b"abc");
    assert_eq!(bench.done().await.unwrap().id(), bench.sandbox.objects()[0].id);
    assert_eq!(bench.sandbox.objects()[0].stored, 1);
}

async fn timed<T>(what: impl Future<Output = T>) -> (T, f64) {
    let begun = Instant::now();
    (what.await, begun.elapsed().as_secs_f64())
}

#[tokio::test]
async fn slow_reading_takes_the_time_it_must() {
    for discard in [false, true] {
        let bench = bench_with(|options| {
            options.discard = discard;
            options.faults = Script::of([Rule::new(Action::SlowReading { bytes_per_second: 500_000 })]);
        });
        let (said, seconds) = timed(bench.chunk(UUID, 0, &bytes(LADDER_BASE))).await;
        said.unwrap().fine();
        assert!(seconds > 0.26, "{seconds}");
        bench.has(bench.last().await, "slow_reading", Outcome::Acked, true, true);
    }
}

#[tokio::test]
async fn a_stall_takes_its_time_and_the_request_goes_on() {
    for after_bytes in [0, 100_000] {
        let bench = first_chunk(Action::Stall { after_bytes, seconds: 0.2 });
        let (said, seconds) = timed(bench.chunk(UUID, 0, &bytes(LADDER_BASE))).await;
        said.unwrap().fine();
        assert!(seconds > 0.2, "{seconds}");
        bench.has(bench.last().await, "stall", Outcome::Acked, true, true);
    }
}

#[tokio::test]
async fn a_slow_reply_comes_late_and_whole() {
    let bench = first_chunk(Action::SlowReply { seconds: 0.2 });
    let (said, seconds) = timed(bench.one()).await;
    said.unwrap().fine();
    assert!(seconds > 0.2, "{seconds}");
    bench.has(bench.last().await, "slow_reply", Outcome::Acked, true, true);
}

#[tokio::test]
async fn a_reply_is_cut_where_the_script_says() {
    for bytes in [0, 5] {
        let bench = first_finish(Action::CutReply { bytes });
        bench.one().await.unwrap().fine();
        let said = soon(bench.done()).await.unwrap();
        assert_eq!((said.status, said.text(), said.whole), (200, &r#"{"error""#[..bytes as usize], false));
        let entry = bench.last().await;
        bench.has(entry, "cut_reply", Outcome::Stored, true, false);
        assert_eq!(bench.only_object(), b"abc");
    }
}

#[tokio::test]
async fn a_link_can_be_cut_in_the_middle_of_a_file() {
    let bench = faulty(Rule::new(Action::CutReply { bytes: 300_000 }).at(Endpoint::Link).file("a"));
    let file = bytes(LADDER_BASE * 4);
    let id = bench.store(UUID, &file, "a").await;
    let said = soon(bench.get(&format!("/cloudkp?c={id}"))).await.unwrap();
    assert!(!said.whole && said.body == file[..300_000]);
    bench.has(bench.last().await, "cut_reply", Outcome::Served, false, false);
}

#[tokio::test]
async fn a_reply_claims_a_length_it_does_not_have() {
    for (by, given) in [(5, 29), (-3, 26), (-1000, 0)] {
        let bench = first_chunk(Action::WrongLength { by });
        let said = soon(bench.one()).await.unwrap();
        let claimed = 29_i64.saturating_add(by).max(0).to_string();
        assert_eq!((said.header("content-length"), said.body.len()), (Some(claimed.as_str()), given));
        assert_eq!(bench.last().await.fault.as_deref(), Some("wrong_length"));
    }
    let bench = bench_with(|options| {
        options.rules.cloudkp.chunk_reply = ChunkReply::Empty;
        options.faults = Script::of([Rule::new(Action::WrongLength { by: 4 })]);
    });
    let said = soon(bench.one()).await.unwrap();
    assert_eq!((said.header("content-length"), said.whole), (Some("4"), false));
}

#[tokio::test]
async fn a_maintenance_page_may_come_with_200_and_may_hide_a_stored_file() {
    for (status, stored) in [(200, false), (503, false), (200, true)] {
        let bench = first_finish(Action::Html { status, stored });
        bench.one().await.unwrap().fine();
        let said = bench.done().await.unwrap();
        assert_eq!(said.status, status);
        assert!(said.header("content-type").unwrap().starts_with("text/html") && said.text().starts_with('<'));
        bench.faulted("html", stored, true).await;
        assert_eq!(bench.sandbox.objects().len(), usize::from(stored));
    }
}

#[tokio::test]
async fn a_session_lost_before_a_chunk_is_unknown_from_then_on() {
    let bench = faulty(Rule::new(Action::LoseSession).at(Endpoint::Chunk).part(1));
    let file = bytes(LADDER_BASE + 1);
    bench.chunk(UUID, 0, &file).await.unwrap().fine();
    bench.chunk(UUID, 1, &file).await.unwrap().refused("session not found");
    let entry = bench.last().await;
    bench.has(entry, "lose_session", Outcome::Rejected("session not found".into()), false, true);
    bench.chunk(UUID, 0, &file).await.unwrap().refused("session not found");
    bench.finish(UUID, 2, "a").await.unwrap().refused("session not found");
    bench.chunk(OTHER, 0, &file).await.unwrap().fine();
}

#[tokio::test]
async fn a_session_lost_before_the_finish_is_unknown() {
    let bench = first_finish(Action::LoseSession);
    bench.one().await.unwrap().fine();
    bench.done().await.unwrap().refused("session not found");
    bench.done().await.unwrap().refused("session not found");
    assert_eq!(bench.sandbox.objects().len(), 0);
}

#[tokio::test]
async fn a_full_account_says_so_in_the_words_of_the_host() {
    let bench = first_chunk(Action::AccountFull);
    bench.one().await.unwrap().refused("no space");
    bench.faulted("account_full", false, true).await;
    assert!(!bench.is_held().await);
}

#[tokio::test]
async fn a_dropped_part_is_acknowledged_and_missing_at_the_finish() {
    let bench = first_chunk(Action::DropPart);
    bench.one().await.unwrap().fine();
    let entry = bench.last().await;
    bench.has(entry, "drop_part", Outcome::Acked, false, true);
    bench.done().await.unwrap().refused("chunk 0 missing");
    bench.one().await.unwrap().fine();
    assert!(bench.is_held().await);
}

#[tokio::test]
async fn a_corrupted_part_is_acknowledged_and_wrong_in_the_file() {
    let bench = first_chunk(Action::CorruptPart);
    bench.one().await.unwrap().fine();
    assert!(bench.is_held().await);
    assert_eq!(bench.only_object(), [!b'a', b'b', b'c']);
}

#[tokio::test]
async fn a_request_processed_twice_shows_only_where_the_host_is_not_idempotent() {
    let bench = first_chunk(Action::Twice);
    bench.one().await.unwrap().fine();
    assert!(bench.last().await.again);
    for (replay, objects) in [(Replay::SameId, 1), (Replay::NewId, 2)] {
        let bench = bench_with(|options| {
            options.rules.cloudkp.replay = replay;
            options.faults = Script::of([Rule::new(Action::Twice).at(Endpoint::Finish)]);
        });
        bench.one().await.unwrap().fine();
        bench.done().await.unwrap().fine();
        assert_eq!(bench.sandbox.objects().len(), objects);
        bench.has(bench.last().await, "twice", Outcome::Stored, true, true);
    }
}

#[tokio::test]
async fn an_early_reply_comes_while_the_client_still_sends() {
    let action = Action::EarlyReply { status: 413, body: ErrorBody::Json, after_bytes: 20_000, hold_seconds: 0.0 };
    let bench = first_chunk(action);
    let request = post(&form(&chunk_fields(UUID, "0", "1", "131072"), Some(&bytes(LADDER_BASE))));
    let mut stream = TcpStream::connect(bench.sandbox.addr()).await.unwrap();
    stream.write_all(&request[..30_000]).await.unwrap();
    let mut reply = Vec::new();
    // What follows the reply may be a reset; it must not take the reply away.
    soon(stream.read_to_end(&mut reply)).await.ok();
    assert_eq!(parse(&reply).unwrap().status, 413);
    let entry = bench.last().await;
    assert!(entry.body_bytes < 30_000);
    bench.has(entry, "early_reply", Outcome::Faulted, false, true);
}

#[tokio::test]
async fn an_early_reply_can_leave_the_connection_half_open() {
    let bench = first_chunk(Action::EarlyReply { status: 503, body: ErrorBody::Empty, after_bytes: 0, hold_seconds: 60.0 });
    let request = post(&form(&chunk_fields(UUID, "0", "1", "131072"), Some(&bytes(LADDER_BASE))));
    let mut stream = TcpStream::connect(bench.sandbox.addr()).await.unwrap();
    stream.write_all(&request[..30_000]).await.unwrap();
    let mut reply = Vec::new();
    soon(stream.read_to_end(&mut reply)).await.unwrap();
    assert_eq!(parse(&reply).unwrap().status, 503);
    // The far side has said its last word and still takes ours.
    stream.write_all(&request[30_000..30_010]).await.unwrap();
    soon(bench.sandbox.stop()).await;
}

#[tokio::test]
async fn json_replies_are_bent() {
    let cases = [
        (Action::SwapTypes, r#"{"error":"","file_id":"ID"}"#),
        (Action::ReorderFields, r#"{"file_id":"ID","error":null}"#),
        (Action::ExtraFields, r#"{"aa_unknown":{"nested":[1,"two",null]},"error":null,"file_id":"ID","zz_unknown":true}"#),
    ];
    for (action, expected) in cases {
        let bench = first_finish(action.clone());
        bench.one().await.unwrap().fine();
        let said = bench.done().await.unwrap();
        assert_eq!(said.text(), expected.replace("ID", &bench.sandbox.objects()[0].id));
        bench.has(bench.last().await, action.name(), Outcome::Stored, true, true);
    }
}

#[tokio::test]
async fn a_redirect_leads_to_itself_or_elsewhere() {
    for (status, to, expected) in
        [(301, None, "/cloudkp/upload"), (308, Some("http://127.0.0.1:9/x".to_owned()), "http://127.0.0.1:9/x")]
    {
        let bench = first_chunk(Action::Redirect { status, to });
        let said = bench.one().await.unwrap();
        assert_eq!((said.status, said.header("location")), (status, Some(expected)));
        bench.faulted("redirect", false, true).await;
        assert!(!bench.is_held().await);
    }
}

#[tokio::test]
async fn a_host_that_has_moved_is_404_everywhere() {
    let bench = bench();
    let id = bench.store(OTHER, b"abc", "a").await;
    bench.sandbox.set_faults(Script::of([Rule::new(Action::Moved).host("cloudkp")])).unwrap();
    let link = bench.get(&format!("/cloudkp?c={id}")).await;
    for said in [bench.one().await, bench.done().await, link] {
        assert_eq!(said.unwrap().status, 404);
    }
    bench.sandbox.set_faults(Script::default()).unwrap();
    bench.one().await.unwrap().fine();
}

#[tokio::test]
async fn a_custom_reply_says_what_the_script_says() {
    for stored in [false, true] {
        let headers = BTreeMap::from([("x-teapot".to_owned(), "short".to_owned())]);
        let bench = first_chunk(Action::Reply { status: 418, headers, body: "stout".into(), stored });
        let said = bench.one().await.unwrap();
        assert_eq!((said.status, said.header("x-teapot"), said.text(), said.whole), (418, Some("short"), "stout", true));
        bench.faulted("reply", stored, true).await;
        assert_eq!(bench.is_held().await, stored);
    }
}

#[tokio::test]
async fn a_fault_for_a_named_file_spares_the_others() {
    let bench = faulty(Rule::new(Action::AccountFull).at(Endpoint::Finish).file("b"));
    bench.one().await.unwrap().fine();
    bench.finish(UUID, 1, "b").await.unwrap().refused("no space");
    bench.finish(UUID, 1, "a").await.unwrap().fine();
}

#[test]
fn a_mistake_in_a_script_is_told_in_the_words_of_the_script() {
    let told = |action: &str| Script::parse(&format!("[[rules]]\naction = {action}\n")).unwrap_err().to_string();
    let cases = [
        ("{ status = 503 }", "invalid type: integer `503`, expected a table of its settings: `status = { ... }`"),
        ("{ lose_reply = 1 }", "expected a table of its settings: `lose_reply = { ... }`"),
        ("{ status = {} }", "missing field `code`"),
    ];
    for (action, expected) in cases {
        let told = told(action);
        assert!(told.contains(expected) && !told.contains("Action::"), "{told}");
    }
}

/// The first column of the table in the manual whose title is `` `title` ``, without the quotes.
fn column(title: &str) -> Vec<String> {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/SANDBOX.md")).unwrap();
    let rows = manual.lines().skip_while(|line| !line.starts_with(&format!("| `{title}` |"))).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split(" | ").next().unwrap().trim_start_matches("| ").trim_matches('`').to_owned()).collect()
}

/// The words that the reader of scripts says that it knows, where `key` has one that it does not.
fn words_of(key: &str, rest: &str) -> Vec<String> {
    let error = Script::parse(&format!("[[rules]]\n{key} = \"nothing\"\n{rest}")).unwrap_err().to_string();
    let (_, words) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
    let words = words.lines().next().unwrap().split(", ");
    words.map(|word| word.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_manual_shows_every_fault_and_when_it_acts_as_a_script_may_have_it() {
    let rule = |key: &str, value: &str| {
        format!("[[rules]]\n{key} = {value}\n{}", if key == "action" { "" } else { "action = \"deny\"\n" })
    };
    for (key, rest) in [("action", ""), ("when", "action = \"deny\"\n")] {
        let shown = column(key);
        for value in &shown {
            Script::parse(&rule(key, value)).unwrap_or_else(|error| panic!("{value}: {error}"));
        }
        let word =
            |value: &String| value.trim_matches(|c: char| !c.is_ascii_lowercase()).split([' ', '"']).next().unwrap().to_owned();
        let mut shown: Vec<String> = shown.iter().map(word).collect();
        let mut known = words_of(key, rest);
        shown.sort();
        known.sort();
        assert_eq!(shown, known, "{key}");
    }
}
