//! What only the example does: a token that ends, parts with digests and receipts, a listing, a place that is given back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferryd::internals::job::State;
use ferryd_sandbox::Lose;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, Rule, Script, When};
use ferryd_sandbox::log::{Entry, Outcome};

use crate::bench_top::{Bench, bytes, one};
use crate::kinds::{EXAMPLE, no_secret_is_told};
use crate::world::{at_once, records, requests};

const PART: usize = 64 * 1024;

/// One file to its end.
fn arrives(bench: &Bench, name: &str, content: &[u8]) {
    bench.put(name, content);
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(EXAMPLE.held(bench, name) == [content]);
    no_token_is_told(bench);
}

fn logins(bench: &Bench) -> usize {
    requests(bench, Endpoint::Open).iter().filter(|entry| entry.path.ends_with("/login")).count()
}

fn parts_of(bench: &Bench, outcome: fn(&Outcome) -> bool) -> Vec<Entry> {
    requests(bench, Endpoint::Chunk).into_iter().filter(|entry| outcome(&entry.outcome)).collect()
}

fn is_acked(outcome: &Outcome) -> bool {
    *outcome == Outcome::Acked
}

fn is_rejected(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(_))
}

/// Neither the password nor any token that was given out.
fn no_token_is_told(bench: &Bench) {
    no_secret_is_told(bench, "example");
    let tokens = records(bench, "example", "token-");
    assert!(!tokens.is_empty());
    let queue = ["queue.db", "queue.db-wal"].map(|name| std::fs::read(bench.state_dir().join(name)).unwrap_or_default());
    let told = [vec![bench.log_text().into_bytes()], queue.into()].concat();
    for token in tokens.keys() {
        assert!(!told.iter().any(|text| text.windows(token.len()).any(|window| window == token.as_bytes())), "{token}");
    }
}

#[test]
fn a_token_that_ends_in_the_middle_of_a_file_is_fetched_once_for_all_parts_in_flight() {
    let bench = EXAMPLE.bench();
    // Four parts at a time, which wait for their answers together.
    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 0.5 }));
    let content = bytes(1, 12 * PART);
    bench.put("file", &content);
    let daemon = bench.start();
    bench.wait_for("four parts in flight", || (requests(&bench, Endpoint::Chunk).len() == 4).then_some(()));
    bench.sandbox.shift_clock(601);
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(EXAMPLE.held(&bench, "file") == [content]);
    let (acked, refused) = (parts_of(&bench, is_acked), parts_of(&bench, is_rejected));
    assert!(!refused.is_empty() && refused.iter().all(|entry| entry.status == Some(401)), "{refused:#?}");
    assert_eq!((acked.len(), at_once(&acked), logins(&bench)), (12, 4, 2));
    no_token_is_told(&bench);
}

#[test]
fn a_token_that_is_used_up_is_replaced_at_every_kind_of_request() {
    for token_requests in [1, 2, 3] {
        // One part at a time, so that nobody else uses up the fresh token.
        let bench = EXAMPLE.bench_with(|options| options.rules.example.token_requests = token_requests);
        let bench = bench.host(&format!("{}\nmax_connections = 1", EXAMPLE.small_parts()));
        arrives(&bench, "file", &bytes(1, 3 * PART));
        // A session, three parts and a finish.
        assert_eq!(logins(&bench), 5_usize.div_ceil(usize::try_from(token_requests).unwrap()));
    }
}

#[test]
fn a_host_that_takes_no_token_is_held_and_not_asked_for_ever() {
    let bench = EXAMPLE.bench_with(|options| options.rules.example.token_requests = 0);
    bench.put("file", b"content");
    let daemon = bench.start();
    let job = bench.wait_state(State::Held);
    bench.stop(daemon);
    assert_eq!((job.why.unwrap().status, logins(&bench)), (Some(401), 2));
}

/// A way to the host on which the first byte of the first piece that is nothing but `damaged` becomes another.
fn way_that_damages(host: SocketAddr, damaged: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let is_done = Arc::new(AtomicBool::new(false));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(host)) = (client, TcpStream::connect(host)) else { return };
            let (back, ahead) = (client.try_clone().unwrap(), host.try_clone().unwrap());
            let is_done = is_done.clone();
            std::thread::spawn(move || {
                copy(client, ahead, |piece| {
                    let fits = piece.iter().all(|byte| *byte == damaged);
                    if fits && !is_done.swap(true, Ordering::Relaxed) {
                        piece[0] = !damaged;
                    }
                });
            });
            std::thread::spawn(move || copy(host, back, |_| {}));
        }
    });
    address
}

fn copy(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut [u8])) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        change(&mut piece[..count]);
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}

#[test]
fn a_part_that_is_damaged_on_the_way_is_refused_and_sent_again() {
    let bench = EXAMPLE.bench();
    let host = bench.sandbox.addr();
    let bench = bench.change(&host.to_string(), &way_that_damages(host, 0xee).to_string());
    let content = [bytes(1, PART), vec![0xee; PART], bytes(2, PART)].concat();
    arrives(&bench, "file", &content);
    let refused: Vec<_> = parts_of(&bench, is_rejected).into_iter().map(|entry| (entry.part, entry.status)).collect();
    assert_eq!(refused, [(Some(1), Some(400))]);
    let acked = parts_of(&bench, is_acked);
    assert!(acked.len() == 3 && acked.iter().all(|entry| !entry.again), "{acked:#?}");
}

#[test]
fn of_parts_that_the_host_has_lost_or_damaged_only_those_are_sent_again() {
    for action in [Action::DropPart, Action::CorruptPart, Action::WrongFacts] {
        let bench = EXAMPLE.bench();
        bench.faults(Script::of([Rule::new(action.clone()).at(Endpoint::Chunk).part(1).when(When::Nth(1))]));
        arrives(&bench, "file", &bytes(1, 4 * PART));
        // An ETag that was told wrong is mended by the listing alone.
        let sent = if action == Action::WrongFacts { 4 } else { 5 };
        let finishes = requests(&bench, Endpoint::Finish).iter().map(|entry| entry.status).collect::<Vec<_>>();
        assert_eq!((parts_of(&bench, is_acked).len(), finishes), (sent, vec![Some(409), Some(200)]), "{action:?}");
    }
}

#[test]
fn a_part_whose_answer_was_never_committed_is_found_in_the_listing() {
    let bench = EXAMPLE.bench();
    let content = bytes(1, 2 * PART);
    let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", "ack.before_commit")]);
    bench.put("file", &content);
    bench.wait_for("the death", || daemon.ended());
    let held_before = bench.jobs()[0].parts_acked;
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(held_before < 2 && EXAMPLE.held(&bench, "file") == [content]);
    assert!(parts_of(&bench, is_acked).iter().all(|entry| !entry.again), "what the host holds is not sent again");
    assert_eq!(requests(&bench, Endpoint::Probe).len(), 1);
}

#[test]
fn a_fault_at_the_login_or_at_the_opening_of_a_session_ends_with_the_file_there_once() {
    let status = |code, stored| Action::Status { code, body: ErrorBody::Empty, stored };
    let actions = [
        status(500, true),
        status(503, false),
        Action::LoseReply { reset: true },
        Action::CutReply { bytes: 30 },
        Action::Html { status: 200, stored: true },
        Action::Expire,
        Action::Twice,
    ];
    // The first of these requests is a login, the second opens a session.
    for (action, nth) in actions.iter().flat_map(|action| [(action, 1), (action, 2)]) {
        let bench = EXAMPLE.bench();
        bench.faults(one(Endpoint::Open, When::Nth(nth), action.clone()));
        let daemon = bench.start();
        bench.put("file", b"content");
        let told = format!("{action:?} {nth}");
        let is_expired_login = *action == Action::Expire && nth == 1;
        let job = if is_expired_login { bench.wait_state(State::Held) } else { bench.wait_state(State::Done) };
        bench.stop(daemon);
        assert_eq!(bench.sandbox.stats().faults, 1, "{told}");
        assert_eq!(EXAMPLE.held(&bench, "file").len(), usize::from(!is_expired_login), "{told}: {job:#?}");
        no_secret_is_told(&bench, &told);
    }
}

#[test]
fn the_type_of_a_file_goes_along() {
    for (name, content_type) in [("photo.png", "image/png"), ("no-extension", "application/octet-stream")] {
        let bench = EXAMPLE.bench();
        arrives(&bench, name, b"content");
        let kept: Vec<_> = records(&bench, "example", "file-").into_values().collect();
        assert_eq!(kept, [serde_json::json!({ "content_type": content_type })]);
    }
}

#[test]
fn an_upload_that_is_given_up_is_given_back() {
    let bench = EXAMPLE.bench().host(&format!("{}\nbandwidth = \"256 KiB/s\"", EXAMPLE.small_parts()));
    let path = bench.put("file", &bytes(1, 16 * PART));
    let daemon = bench.start();
    bench.wait_for("a part", || bench.jobs().first().filter(|job| job.parts_acked >= 1).map(drop));
    assert_eq!(records(&bench, "example", "session-").len(), 1);
    std::fs::remove_file(path).unwrap();
    bench.wait_state(State::Gone);
    bench.wait_for("the session to be given back", || records(&bench, "example", "session-").is_empty().then_some(()));
    bench.stop(daemon);
    let asked: Vec<_> = requests(&bench, Endpoint::Abandon).into_iter().map(|entry| (entry.method, entry.status)).collect();
    assert_eq!(asked, [("DELETE".to_owned(), Some(204))]);
}

#[test]
fn an_example_that_is_restarted_loses_nothing_and_one_that_forgets_begins_anew() {
    for lose in [Lose::Nothing, Lose::Sessions] {
        let mut bench = EXAMPLE.bench().host(&format!("{}\nbandwidth = \"256 KiB/s\"", EXAMPLE.small_parts()));
        let content = bytes(1, 8 * PART);
        bench.put("file", &content);
        let daemon = bench.start();
        bench.wait_for("a part", || bench.jobs().first().filter(|job| job.parts_acked >= 2).map(drop));
        bench.restart_host(lose);
        bench.wait_done(1);
        bench.stop(daemon);
        assert!(EXAMPLE.held(&bench, "file") == [content], "{lose:?}");
    }
}
