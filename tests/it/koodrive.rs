//! What only a KooDrive space knows: whose clock counts, how a token is written, folders, links that last, and what becomes of a
//! complete that nobody has answered.

use ferryd::internals::job::State;
use ferryd::internals::store::JobRow;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, Rule, Script, When};
use ferryd_sandbox::log::Outcome;

use crate::bench_top::{bytes, one};
use crate::hosts::{arrives, is_held_because, send};
use crate::kinds::KOODRIVE;
use crate::world::{records, requests};

use ferryd::internals::job::ReasonClass;
use ferryd::internals::job::upload::Class;

const MIB: usize = 1024 * 1024;
const LOGIN: &str = "app_id = \"app1\"\napp_secret = \"test-app-secret\"\n";

fn was_refused(entry: &ferryd_sandbox::log::Entry) -> bool {
    matches!(entry.outcome, Outcome::Rejected(_))
}

#[test]
fn clocks_that_differ_by_seconds_or_minutes_keep_no_file_from_koodrive() {
    for seconds in [-3, 3, -1200, 1200] {
        let bench = KOODRIVE.bench();
        bench.sandbox.shift_clock(seconds);
        arrives(KOODRIVE, &bench, &bytes(3, 11 * MIB));
        let refused = bench.sandbox.log().iter().filter(|entry| was_refused(entry)).count();
        // Dated back by a minute, a call may meet a clock that is seconds behind; one that is far off is learned from one refusal.
        let most = usize::from(seconds.abs() > 60);
        assert_eq!(refused, most, "{seconds} s: {:#?}", bench.sandbox.log());
    }
}

#[test]
fn a_token_is_sent_as_the_space_takes_it_and_never_with_two_schemes() {
    let forms: [(&str, &str, [bool; 3]); 6] = [
        ("test-token", "", [true, false, false]),
        ("test-token", "", [false, true, false]),
        ("test-token", "", [false, false, true]),
        ("Bearer+test-token", "", [true, false, false]),
        ("Bearer test-token", "", [false, true, false]),
        ("Bearer+test-token", "token_prefix = \"Bearer \"\n", [true, false, false]),
    ];
    for (token, more, taken) in forms {
        let bench = KOODRIVE.bench_with(|options| {
            let rules = &mut options.rules.koodrive;
            [rules.bearer_plus, rules.bearer, rules.bare] = taken;
        });
        let bench = bench.change(LOGIN, &format!("access_token = \"{token}\"\n{more}"));
        arrives(KOODRIVE, &bench, &bytes(3, 6 * MIB));
        let refused = bench.sandbox.log().iter().filter(|entry| was_refused(entry)).count();
        let tries = if token == "test-token" { taken.iter().position(|taken| *taken).unwrap() } else { 0 };
        assert_eq!(refused, tries, "{token} {taken:?}: what was taken once is kept");
    }
    let bench = KOODRIVE.bench().change(LOGIN, "access_token = \"hunter2\"\n");
    is_held_because(KOODRIVE, &bench, ReasonClass::Host(Class::HostRefused), "check the credentials");
}

#[test]
fn folders_of_koodrive_are_found_or_made() {
    for more in ["", "container_id = \"IAAC1\"\n"] {
        let bench = KOODRIVE.bench().host(&format!("{more}part_size = \"5 MiB\""));
        let files = [("a/b/one", "a/b"), ("a/two", "a"), ("three", ""), ("odd: name?/four", "odd_ name_")];
        for (path, _) in files {
            bench.put(path, path.as_bytes());
        }
        let daemon = bench.start();
        bench.wait_done(4);
        bench.stop(daemon);
        // A daemon that has just been started knows of no folder, and finds those that are there.
        bench.put("a/b/five", b"a/b/five");
        let daemon = bench.start();
        bench.wait_done(5);
        bench.stop(daemon);
        let (folders, stored) = (records(&bench, "koodrive", "folder-"), records(&bench, "koodrive", "file-"));
        assert_eq!(folders.len(), 3, "none is made twice: {folders:?}");
        for (path, folder) in files.into_iter().chain([("a/b/five", "a/b")]) {
            let object =
                bench.sandbox.objects().into_iter().find(|object| object.name == path.rsplit('/').next().unwrap()).unwrap();
            let mut at = stored[&object.id]["folder"].as_str().unwrap().to_owned();
            let mut names = Vec::new();
            while let Some(above) = folders.get(&at) {
                names.insert(0, above["name"].as_str().unwrap().to_owned());
                at = above["parent"].as_str().unwrap().to_owned();
            }
            assert_eq!(names.join("/"), folder, "{path}");
            assert_eq!(bench.sandbox.read(&object).unwrap(), path.as_bytes());
        }
    }
}

fn shared(rules: impl Fn(&mut ferryd_sandbox::koodrive::Rules)) -> crate::bench_top::Bench {
    let bench = KOODRIVE.bench_with(|options| rules(&mut options.rules.koodrive));
    bench.host("part_size = \"5 MiB\"\nshare = \"30d\"")
}

#[test]
fn with_share_the_outcome_has_a_link_that_lasts() {
    for (scopes, number, works) in [(vec![1, 2, 3], false, true), (vec![2], true, true), (vec![3], false, false)] {
        let bench = shared(|rules| (rules.share_scopes, rules.share_number) = (scopes.clone(), number));
        let job = arrives(KOODRIVE, &bench, &bytes(3, 6 * MIB));
        let days = job.expires_ms.map(|end| (end - ferryd::internals::os::clock::now_ms()) / 86_400_000);
        assert_eq!((job.link.is_some(), days), (works, works.then_some(29)), "{scopes:?}: {job:#?}");
        assert!(job.link.is_none_or(|link| link.starts_with("https://")));
        let shares = records(&bench, "koodrive", "share-");
        assert_eq!(shares.len(), usize::from(works));
        assert!(shares.values().all(|share| share["days"] == 30 && share["scope"] == scopes[0]), "{shares:?}");
        // Bytes that the space has already are shared, too.
        let again = send(KOODRIVE, &bench, "again", &bytes(3, 6 * MIB));
        assert_eq!((again.state, again.link.is_some()), (State::Done, works));
    }
}

#[test]
fn a_share_that_fails_or_is_cut_off_by_a_crash_sends_no_byte_again() {
    let parts = |bench: &crate::bench_top::Bench| requests(bench, Endpoint::Chunk).len();
    let bench = shared(|_| {});
    let down = Action::Status { code: 503, body: ErrorBody::Empty, stored: false };
    bench.faults(one(Endpoint::Link, When::First(2), down));
    let job = arrives(KOODRIVE, &bench, &bytes(3, 11 * MIB));
    assert_eq!((job.link.is_some(), parts(&bench)), (true, 3));
    let bench = shared(|_| {});
    bench.faults(one(Endpoint::Link, When::Nth(1), Action::SlowReply { seconds: 600.0 }));
    bench.put("file", &bytes(3, 11 * MIB));
    let daemon = bench.start();
    bench.wait_for("the share to be asked for", || requests(&bench, Endpoint::Link).first().map(drop));
    daemon.kill();
    let daemon = bench.start();
    let job: JobRow = bench.wait_done(1).remove(0);
    bench.stop(daemon);
    assert_eq!((job.link.is_some(), parts(&bench)), (true, 3), "{job:#?}");
    assert_eq!(KOODRIVE.held(&bench, "file").len(), 1);
}

#[test]
fn a_detail_that_is_refused_is_no_word_that_the_file_is_not_there() {
    let bench = KOODRIVE.bench();
    let reply =
        |code: u16, body: &str| Action::Reply { status: code, headers: Default::default(), body: body.into(), stored: false };
    bench.faults(Script::of([
        Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Finish).when(When::Nth(1)),
        Rule::new(reply(400, "{\"code\":13000403,\"msg\":\"State change failed.\"}")).at(Endpoint::Probe).when(When::First(2)),
    ]));
    arrives(KOODRIVE, &bench, &bytes(3, 11 * MIB));
    assert_eq!(requests(&bench, Endpoint::Chunk).len(), 3, "no part goes again");
    assert_eq!(requests(&bench, Endpoint::Open).len(), 1);
}

#[test]
fn a_digest_goes_with_a_proof_as_far_as_the_space_knows_of_one() {
    use ferryd_sandbox::koodrive::Proof;
    let content = bytes(3, 6 * MIB);
    // The host's line; what the space wants; creates, and whether the second file was found by its digest.
    let cases = [
        ("", Proof::Checked, 1, true),
        ("", Proof::Required, 1, true),
        ("", Proof::Off, 2, true),
        ("proof_code = \"always\"", Proof::Required, 1, true),
        ("proof_code = \"never\"", Proof::Off, 1, true),
    ];
    for (line, proof, creates, found) in cases {
        let bench = KOODRIVE.bench_with(|options| options.rules.koodrive.proof = proof);
        let bench = bench.host(&format!("part_size = \"5 MiB\"\n{line}"));
        arrives(KOODRIVE, &bench, &content);
        assert_eq!(requests(&bench, Endpoint::Open).len(), creates, "{line} {proof:?}");
        let parts = requests(&bench, Endpoint::Chunk).len();
        assert_eq!(send(KOODRIVE, &bench, "again", &content).state, State::Done);
        assert_eq!(requests(&bench, Endpoint::Chunk).len() == parts, found, "{line} {proof:?}");
    }
    let bench = KOODRIVE.bench_with(|options| options.rules.koodrive.proof = Proof::Required);
    let bench = bench.host("part_size = \"5 MiB\"\nproof_code = \"never\"");
    let job = send(KOODRIVE, &bench, "file", &content);
    assert!(job.why.is_some_and(|why| why.class == ReasonClass::Host(Class::RequestRefused)));
    // Without its digest, if that is what it takes.
    let bench = KOODRIVE.bench_with(|options| options.rules.koodrive.proof = Proof::Required);
    let bench = bench.host("part_size = \"5 MiB\"");
    let says = Action::Reply { status: 400, headers: Default::default(), body: "{\"code\":13000102}".into(), stored: false };
    bench.faults(one(Endpoint::Open, When::First(2), says));
    let job = arrives(KOODRIVE, &bench, &content);
    assert_eq!((requests(&bench, Endpoint::Open).len(), job.attempts), (3, 1));
}

#[test]
fn the_proof_of_a_token_begins_with_the_token_as_it_is_sent() {
    let bench = KOODRIVE.bench_with(|options| options.rules.koodrive.proof = ferryd_sandbox::koodrive::Proof::Required);
    let bench = bench.change(LOGIN, "access_token = \"test-token\"\nproof_code = \"always\"\n");
    arrives(KOODRIVE, &bench, &bytes(3, 6 * MIB));
}
