//! What only a 4shared account knows: names that are taken, and folders that are listed in pages.

use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{ReasonClass, State};
use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::fourshared::Rules;

use crate::bench_top::{Bench, bytes, one};
use crate::hosts::{arrives, send, stands};
use crate::kinds::FOURSHARED;
use crate::world::{folder_at_4shared, records, requests};

/// A file that somebody has put there before, by a daemon of an older queue.
fn with_a_file_there(bench: Bench, content: &[u8]) -> Bench {
    arrives(FOURSHARED, &bench, content);
    std::fs::remove_dir_all(bench.state_dir()).unwrap();
    bench
}

#[test]
fn a_name_that_is_taken_is_settled_as_told() {
    let (old, new) = (bytes(1, 300_000), bytes(2, 400_000));
    let of = |on_existing: &str| {
        let bench = FOURSHARED.bench().host(&format!("on_existing = {on_existing:?}\npart_size = \"256 KiB\""));
        let bench = with_a_file_there(bench, &old);
        let job = send(FOURSHARED, &bench, "file", &new);
        (bench, job)
    };
    let (bench, job) = of("rename");
    assert_eq!(job.state, State::Done, "{job:#?}");
    assert_eq!((bench.held("file"), bench.held("file (2)")), (vec![old.clone()], vec![new.clone()]));
    let (bench, job) = of("overwrite");
    assert_eq!(job.state, State::Done, "{job:#?}");
    assert_eq!(bench.held("file"), std::slice::from_ref(&new), "the same file, and so the same link");
    let bench = FOURSHARED.bench().host("on_existing = \"error\"");
    let bench = with_a_file_there(bench, &old);
    bench.put("file", &new);
    let daemon = bench.start();
    let job = bench.wait_state(State::Waiting);
    bench.stop(daemon);
    assert!(stands(&job, State::Waiting, ReasonClass::Host(Class::RequestRefused), "another file named `file`"), "{job:#?}");
    assert_eq!(bench.held("file"), [old]);
}

#[test]
fn a_place_whose_reply_was_lost_is_cancelled_and_does_not_keep_its_name() {
    let bench = FOURSHARED.bench();
    // Every call before the last of an open is answered, so that the reservation is the one that goes unheard.
    let start = Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Open).file("file").when(When::Nth(1));
    bench.faults(Script::of([start]));
    let content = bytes(1, 600_000);
    arrives(FOURSHARED, &bench, &content);
    assert_eq!(requests(&bench, Endpoint::Abandon).len(), 1, "{:#?}", bench.sandbox.log());
    assert_eq!(bench.held("file"), [content], "under its own name");
}

#[test]
fn a_name_that_is_reserved_and_not_listed_is_left_alone_for_a_while() {
    let bench = FOURSHARED.bench_with(|options| options.rules.fourshared.lists_reserved = false);
    let start = Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Open).file("file").when(When::Nth(1));
    bench.faults(Script::of([start]));
    let job = send(FOURSHARED, &bench, "file", b"content");
    let pause = job.next_try_ms.unwrap() - ferryd::internals::os::clock::now_ms();
    assert!(job.state == State::Waiting && (500_000..=1_300_000).contains(&pause), "{pause} ms: {job:#?}");
}

fn in_pages(rules: impl Fn(&mut Rules)) {
    let bench = FOURSHARED.bench_with(|options| rules(&mut options.rules.fourshared));
    for number in 0..120 {
        bench.put(&format!("folder{number:03}/f"), b"x");
    }
    let daemon = bench.start();
    bench.wait_done(120);
    bench.stop(daemon);
    // A daemon that has just been started finds the folder on the second page.
    bench.put("folder119/last", b"last");
    let daemon = bench.start();
    bench.wait_done(121);
    bench.stop(daemon);
    assert_eq!(records(&bench, "4shared", "folder-").len(), 120, "none is made twice");
    assert_eq!(folder_at_4shared(&bench, "last"), "folder119");
}

#[test]
fn a_folder_of_many_items_is_read_in_pages() {
    in_pages(|_| {});
}

#[test]
fn a_service_without_pages_is_asked_for_all_at_once() {
    let bench = FOURSHARED.bench_with(|options| options.rules.fourshared.pages = false);
    bench.put("a/b/one", b"one");
    bench.put("a/two", b"two");
    let daemon = bench.start();
    bench.wait_done(2);
    bench.stop(daemon);
    assert_eq!((folder_at_4shared(&bench, "one"), folder_at_4shared(&bench, "two")), ("a/b".into(), "a".into()));
    // A listing that is refused for a while is no folder without items.
    bench.faults(one(Endpoint::Open, When::First(2), Action::Status { code: 503, body: Default::default(), stored: false }));
    bench.put("a/three", b"three");
    let daemon = bench.start();
    bench.wait_done(3);
    bench.stop(daemon);
    assert_eq!(records(&bench, "4shared", "folder-").len(), 2);
}

#[test]
fn a_backslash_in_a_name_keeps_no_file_from_4shared() {
    let bench = FOURSHARED.bench();
    let job = send(FOURSHARED, &bench, "a\\b.txt", b"content");
    assert_eq!((job.state, job.renamed_to()), (State::Done, Some("a_b.txt")), "{job:#?}");
    bench.put("sub\\folder/file", b"other");
    let daemon = bench.start();
    bench.wait_done(2);
    bench.stop(daemon);
    assert_eq!(folder_at_4shared(&bench, "file"), "sub_folder");
}
