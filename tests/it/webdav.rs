//! What only a WebDAV server knows: bytes that wait for their name, names that are taken, servers that tell less than others.

use ferryd::internals::job::upload::Class;
use ferryd::internals::job::{ReasonClass, State};
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, Script, When};
use ferryd_sandbox::webdav::{Digests, Hrefs, Links, Rules};

use crate::bench_top::{Bench, bytes, one};
use crate::hosts::{arrives, is_held_because, send, stands};
use crate::kinds::{NEXTCLOUD, WEBDAV};
use crate::s3::{fetched, proofs, with_a_file};
use crate::world::{at_once, records, requests};

const MIB: usize = 1024 * 1024;
const CHUNKS: &str = "part_size = \"5 MiB\"";
/// Nothing but WebDAV.
const PLAIN: &str = "flavour = \"plain\"";

/// Lines of the host, and what its server does.
type Way = (&'static str, fn(&mut Rules));

/// The server does not do it, and says so.
const BUSY: Action = Action::Status { code: 503, body: ErrorBody::Plain, stored: false };

fn bench(lines: &str) -> Bench {
    bench_with(lines, |_| {})
}

fn bench_with(lines: &str, rules: impl FnOnce(&mut Rules)) -> Bench {
    let change = |options: &mut ferryd_sandbox::Options| rules(&mut options.rules.webdav);
    Bench::with(change).to(&["webdav"]).host(lines).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []")
}

/// The paths of what the server has, folders included.
fn tree(bench: &Bench) -> Vec<String> {
    let mut paths: Vec<String> =
        records(bench, "webdav", "entry-").into_values().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}

/// How many bodies were sent, and how many were given a name.
fn sent_and_named(bench: &Bench) -> (usize, usize) {
    (requests(bench, Endpoint::Chunk).len(), requests(bench, Endpoint::Finish).len())
}

#[test]
fn a_file_goes_to_its_folder_and_has_its_links() {
    let bench = bench("").watch("settle = \"0s\"\nremote_path = \"x y/{dir}\"");
    bench.put("a/ü.txt", b"content");
    bench.put("a/b/c.txt", b"other content");
    let daemon = bench.start();
    let mut jobs = bench.wait_done(2);
    bench.stop(daemon);
    assert_eq!(tree(&bench), ["x y", "x y/a", "x y/a/b", "x y/a/b/c.txt", "x y/a/ü.txt"]);
    jobs.sort_by(|one, other| one.path.cmp(&other.path));
    let (link, id) = (jobs[1].link.clone().unwrap(), jobs[1].remote_id.clone().unwrap());
    assert!(
        link.ends_with("/webdav/public/x%20y/a/%C3%BC.txt") && id.ends_with("/files/practice/x%20y/a/%C3%BC.txt"),
        "{link} {id}"
    );
    assert_eq!(fetched(&link), b"content");
    assert_eq!((proofs(&bench), jobs[1].stored_bytes), (vec!["digest".into(); 2], Some(7)));
    let made: Vec<String> = requests(&bench, Endpoint::Open).into_iter().map(|entry| entry.path).collect();
    assert!(made.iter().all(|path| path.ends_with('/')) && made.len() <= 9, "{made:?}");
}

#[test]
fn a_name_whose_answer_is_lost_is_known_by_what_is_there_and_given_once() {
    let rules: [fn(&mut Rules); 6] = [
        |_| {},
        |rules| rules.keeps_facts = false,
        |rules| rules.hrefs = Hrefs::Absolute,
        |rules| rules.hrefs = Hrefs::SmallLetters,
        |rules| rules.knows_propfind = false,
        |rules| rules.tells_sizes = false,
    ];
    let lost = [
        Action::LoseReply { reset: true },
        Action::Status { code: 504, body: ErrorBody::Empty, stored: true },
        Action::Html { status: 200, stored: true },
    ];
    let of_clouds = rules.into_iter().take(2).map(|rules| ("", "digest", rules));
    let plain = rules.into_iter().enumerate().map(|(at, rules)| (PLAIN, if at == 5 { "word" } else { "size" }, rules));
    for (at, (lines, proof, rules)) in plain.chain(of_clouds).enumerate() {
        for lost in &lost {
            let bench = bench_with(lines, rules);
            bench.faults(one(Endpoint::Finish, When::Nth(1), lost.clone()));
            let job = arrives(WEBDAV, &bench, &bytes(1, if at % 2 == 0 { 300_000 } else { 30_000 }));
            assert_eq!((sent_and_named(&bench), job.maybe_duplicate), ((1, 1), false), "{at} {lost:?}");
            assert_eq!(proofs(&bench), [proof], "{at} {lost:?}");
            assert_eq!(tree(&bench), ["file"]);
        }
    }
}

#[test]
fn what_was_sent_whole_is_not_sent_again() {
    for point in ["ack.before_commit", "finish.before_send"] {
        let bench = bench("");
        let content = bytes(1, 300_000);
        bench.put("file", &content);
        let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", point)]);
        bench.wait_for(point, || daemon.ended());
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        assert!(bench.held("file") == [content]);
        assert_eq!((sent_and_named(&bench), tree(&bench)), ((1, 1), vec!["file".into()]), "{point}");
    }
    let bench = bench("");
    bench.faults(one(Endpoint::Finish, When::Nth(1), BUSY));
    arrives(WEBDAV, &bench, &bytes(1, 300_000));
    assert_eq!(sent_and_named(&bench), (1, 2));
}

#[test]
fn a_body_that_breaks_off_leaves_what_has_the_name_as_it_was() {
    let (old, new) = (bytes(1, 200_000), bytes(2, 300_000));
    let bench = with_a_file(WEBDAV, bench("on_existing = \"overwrite\""), &old);
    bench.faults(one(Endpoint::Chunk, When::First(3), Action::ResetAfterBytes { bytes: 100_000 }));
    bench.put("file", &new);
    let daemon = bench.start();
    bench.wait_for("a body that broke off", || (requests(&bench, Endpoint::Chunk).len() > 2).then_some(()));
    assert!(bench.held("file") == [old], "nothing is written in its place");
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(bench.held("file") == [new]);
    assert_eq!(tree(&bench), ["file"]);
}

#[test]
fn a_name_that_is_taken_is_settled_as_told() {
    let ways = [(PLAIN, true, 300_000), (PLAIN, false, 300_000), (PLAIN, true, 30_000), (PLAIN, false, 30_000), ("", true, 30_000)];
    for (lines, heeds_overwrite, length) in ways {
        let (old, new) = (bytes(1, 1000), bytes(2, length));
        let of = |on_existing: &str| {
            let lines = format!("on_existing = {on_existing:?}\n{lines}");
            let bench = with_a_file(WEBDAV, bench_with(&lines, |rules| rules.heeds_overwrite = heeds_overwrite), &old);
            let job = send(WEBDAV, &bench, "file", &new);
            (bench, job)
        };
        let (bench, job) = of("overwrite");
        assert_eq!((job.state, bench.held("file") == [new.clone()]), (State::Done, true));
        let (bench, job) = of("rename");
        assert_eq!((job.state, job.stored_name.as_deref()), (State::Done, Some("file (2)")), "{job:#?}");
        assert!(bench.held("file") == [old.clone()] && bench.held("file (2)") == [new.clone()]);
        let (bench, job) = of("skip");
        assert_eq!((job.state, proofs(&bench)), (State::Done, vec!["word".into()]), "{job:#?}");
        assert!(bench.held("file") == [old.clone()]);
    }
    let bench = with_a_file(WEBDAV, bench("on_existing = \"error\""), b"old");
    bench.put("file", b"newer");
    let daemon = bench.start();
    let job = bench.wait_state(State::Waiting);
    bench.stop(daemon);
    assert!(stands(&job, State::Waiting, ReasonClass::Host(Class::RequestRefused), "another file `file`"), "{job:#?}");
    assert_eq!(bench.held("file"), [b"old"]);
}

/// Somebody with a queue of their own sends a file to the same server.
fn somebody_sends(bench: &Bench, name: &str, content: &[u8]) {
    let other = Bench::new();
    let table = ferryd_sandbox::config_of("webdav", bench.sandbox.addr()).unwrap();
    let other_table = ferryd_sandbox::config_of("webdav", other.sandbox.addr()).unwrap();
    let other = other.to(&["webdav"]).change(&other_table, &table).watch("settle = \"0s\"");
    other.put(name, content);
    let daemon = other.start();
    other.wait_done(1);
    other.stop(daemon);
}

#[test]
fn a_name_that_is_taken_while_a_file_is_sent_costs_no_byte() {
    let ways: [Way; 4] =
        [("", |_| {}), (PLAIN, |_| {}), (PLAIN, |rules| rules.keeps_facts = false), (PLAIN, |rules| rules.heeds_overwrite = false)];
    for (lines, rules) in ways {
        let bench = bench_with(lines, rules);
        let (theirs, ours) = (bytes(1, 300_000), bytes(2, 300_000));
        bench.faults(one(Endpoint::Finish, When::Always, BUSY));
        bench.put("file", &ours);
        let daemon = bench.start();
        bench.wait_for("its bytes", || (!requests(&bench, Endpoint::Finish).is_empty()).then_some(()));
        bench.stop(daemon);
        bench.faults(Script::default());
        somebody_sends(&bench, "file", &theirs);
        // The answer to the further name is lost as well.
        bench.faults(one(Endpoint::Finish, When::Nth(1), Action::LoseReply { reset: true }));
        let daemon = bench.start();
        let jobs = bench.wait_done(1);
        bench.stop(daemon);
        assert!(bench.held("file") == [theirs] && bench.held("file (2)") == [ours]);
        assert_eq!(jobs[0].stored_name.as_deref(), Some("file (2)"), "{jobs:#?}");
        assert_eq!(requests(&bench, Endpoint::Chunk).len(), 2, "one for each");
    }
}

#[test]
fn two_files_of_one_name_that_go_at_once_are_both_kept_by_a_server_that_refuses_nothing() {
    let bench = bench_with(PLAIN, |rules| rules.heeds_overwrite = false).watch("settle = \"0s\"\nremote_path = \"\"");
    // Both are told that the name is free before either has it.
    bench.faults(one(Endpoint::Probe, When::Always, Action::SlowReply { seconds: 1.0 }));
    let contents = [bytes(1, 30_000), bytes(2, 30_000)];
    let daemon = bench.start();
    bench.wait_watching();
    for (folder, content) in ["a", "b"].iter().zip(&contents) {
        bench.put(&format!("{folder}/file"), content);
    }
    bench.wait_done(2);
    bench.stop(daemon);
    let mut held = [bench.held("file"), bench.held("file (2)")].concat();
    held.sort();
    let mut expected = contents.to_vec();
    expected.sort();
    assert!(held == expected, "{:?}", tree(&bench));
}

#[test]
fn a_folder_is_never_replaced() {
    for (on_existing, lines) in [("overwrite", ""), ("rename", ""), ("overwrite", PLAIN), ("rename", PLAIN)] {
        let bench = bench(&format!("on_existing = {on_existing:?}\n{lines}")).watch("settle = \"0s\"\nremote_path = \"file\"");
        bench.put("inner", b"content");
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        std::fs::remove_dir_all(bench.state_dir()).unwrap();
        std::fs::remove_file(bench.drop_dir().join("inner")).unwrap();
        let bench = bench.watch("settle = \"0s\"");
        let job = send(WEBDAV, &bench, "file", b"new content");
        let mut there = tree(&bench);
        if on_existing == "rename" {
            assert_eq!(there, ["file", "file (2)", "file/inner"]);
        } else {
            assert!(job.why.as_ref().unwrap().to_string().contains("a folder `file`"), "{job:#?}");
            assert!(there.remove(0).starts_with(".file."), "the bytes wait for a name");
            assert_eq!(there, ["file", "file/inner"]);
        }
    }
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let bench = bench("");
    bench.faults(one(Endpoint::Finish, When::Always, BUSY));
    let path = bench.put("file", &bytes(1, 300_000));
    let daemon = bench.start();
    bench.wait_for("its bytes", || (!requests(&bench, Endpoint::Finish).is_empty()).then_some(()));
    assert_eq!(tree(&bench).len(), 1);
    assert!(tree(&bench)[0].starts_with(".file.") && bench.sandbox.objects().is_empty());
    bench.wait_state(State::Waiting);
    assert!(bench.command(&["cancel", path.to_str().unwrap()]).status().unwrap().success());
    bench.wait_for("the bytes to be removed", || tree(&bench).is_empty().then_some(()));
    bench.stop(daemon);
}

#[test]
fn wrong_credentials_hold_the_host_and_say_what_to_check() {
    for (from, to) in [("s3cret-dav-password", "hunter2hunter2"), ("user = \"practice\"", "user = \"other\"")] {
        let bench = bench("").change(from, to);
        is_held_because(WEBDAV, &bench, ReasonClass::Host(Class::HostRefused), "check `user` and `password`");
    }
}

#[test]
fn what_lets_us_in_is_as_configured_and_in_the_clear_only_where_allowed() {
    let password = "user = \"practice\"\npassword = \"s3cret-dav-password\"";
    let token = "token = { env = \"FERRYD_TEST_TOKEN\" }";
    let bench = bench_with("", |rules| rules.token = Some("lent-for-a-while".into())).change(password, token);
    bench.put("file", b"content");
    let daemon = bench.start_with(&[("FERRYD_TEST_TOKEN", "lent-for-a-while")]);
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(bench.held("file"), [b"content"]);
    assert!(!bench.log_text().contains("lent-for"));

    let said = |bench: &Bench| {
        let output = bench.command(&["check"]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let bench = crate::webdav::bench("");
    let own = format!("base_url = \"http://{}/webdav/remote.php/dav/files/practice\"", bench.sandbox.addr());
    let bench = bench.change(&own, "base_url = \"http://dav.invalid/files\"");
    assert!(said(&bench).contains("`base_url` would send the credentials unencrypted"), "{}", said(&bench));
    let bench = bench.host("allow_http = true");
    assert!(!said(&bench).contains("unencrypted"), "{}", said(&bench));
    let bench = bench.host("").change("user = \"practice\"\n", "");
    assert!(said(&bench).contains("has no `user`"), "{}", said(&bench));
}

#[test]
fn a_check_tells_of_the_folder_and_its_room() {
    let said = |bench: &Bench| {
        let output = bench.command(&["check", "--online"]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let fine = "credentials accepted, folder found, 10240 MiB free";
    assert!(said(&bench("")).contains(&format!("{fine}; Nextcloud 31.0.2\n")), "{}", said(&bench("")));
    assert!(said(&bench("share = true")).contains("31.0.2; makes links"));
    assert!(said(&bench(PLAIN)).contains(&format!("{fine}; WebDAV class 1, 3\n")), "{}", said(&bench(PLAIN)));
    let cases = [(Links::Never, "it does not let you share by link"), (Links::WithPassword, "set `share_password`")];
    for (links, words) in cases {
        let bench = bench_with("share = true", |rules| rules.links = links);
        assert!(said(&bench).contains(words), "{}", said(&bench));
    }
    let maintained = bench_with("", |rules| rules.is_in_maintenance = true);
    assert!(said(&maintained).contains("Nextcloud 31.0.2) is in maintenance"), "{}", said(&maintained));
    let bench = bench("");
    let bench = bench.change("/files/practice\"", "/files/practice/nowhere\"");
    assert!(said(&bench).contains("there is nothing at `base_url`"), "{}", said(&bench));
}

/// Uploads in chunks that are neither files by now nor given up.
fn left_open(bench: &Bench) -> usize {
    records(bench, "webdav", "session-upload-").len()
}

#[test]
fn a_large_file_goes_in_chunks_that_go_together() {
    for (lines, chunks, together) in [("parallel_parts = 2", 5, 2), ("parallel_parts = 1", 5, 1), ("flavour = \"plain\"", 1, 1)] {
        let bench = bench(&format!("{CHUNKS}\n{lines}"));
        let (small, large) = (bytes(1, 5 * MIB), bytes(2, 21 * MIB));
        bench.put("large", &large);
        bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 0.2 }));
        let daemon = bench.start();
        let jobs = bench.wait_done(1);
        let sent = requests(&bench, Endpoint::Chunk);
        assert_eq!((sent.len(), at_once(&sent)), (chunks, together), "{lines}");
        bench.put("small", &small);
        bench.wait_done(2);
        bench.stop(daemon);
        assert!(bench.held("small") == [small] && bench.held("large") == [large], "{lines}");
        assert_eq!((requests(&bench, Endpoint::Chunk).len(), left_open(&bench)), (chunks + 1, 0), "{lines}");
        let proof = if chunks == 1 { "size" } else { "digest" };
        assert_eq!((jobs[0].stored_bytes, proofs(&bench)), (Some(21 * MIB as u64), vec![proof.into(); 2]));
    }
}

#[test]
fn the_folder_of_chunks_is_made_once_though_all_of_them_wait_for_it() {
    let bench = bench(&format!("{CHUNKS}\nparallel_parts = 4"));
    let content = bytes(1, 21 * MIB);
    bench.put("file", &content);
    bench.faults(one(Endpoint::Open, When::Always, Action::SlowReply { seconds: 0.5 }));
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(bench.held("file") == [content]);
    assert_eq!(requests(&bench, Endpoint::Open).len(), 1);
}

#[test]
fn chunks_that_wait_for_their_folder_share_the_refusal_of_it() {
    let bench = bench(&format!("{CHUNKS}\nparallel_parts = 4"));
    let content = bytes(1, 21 * MIB);
    bench.put("file", &content);
    bench.faults(one(Endpoint::Open, When::First(1), BUSY));
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(bench.held("file") == [content]);
    assert_eq!(requests(&bench, Endpoint::Open).len(), 2, "the one that was refused, and that of the next attempt");
}

#[test]
fn chunks_that_are_held_are_not_sent_again() {
    let bench = bench(&format!("{CHUNKS}\nparallel_parts = 1"));
    let content = bytes(1, 40 * MIB);
    bench.put("file", &content);
    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReading { bytes_per_second: 20_000_000 }));
    let daemon = bench.start();
    bench.wait_for("five chunks", || (requests(&bench, Endpoint::Chunk).len() > 5).then_some(()));
    daemon.kill();
    bench.faults(Script::default());
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(bench.held("file") == [content]);
    let chunks = requests(&bench, Endpoint::Chunk).len();
    assert!((8..=9).contains(&chunks), "only the one in flight goes again: {chunks}");
    assert_eq!((requests(&bench, Endpoint::Finish).len(), left_open(&bench)), (1, 0));
}

#[test]
fn chunks_are_joined_once_whatever_becomes_of_the_answer() {
    for lost in [Action::LoseReply { reset: true }, Action::Status { code: 504, body: ErrorBody::Empty, stored: true }] {
        let bench = bench(CHUNKS);
        bench.faults(one(Endpoint::Finish, When::Nth(1), lost.clone()));
        let job = arrives(NEXTCLOUD, &bench, &bytes(1, 6 * MIB));
        assert_eq!((sent_and_named(&bench), job.maybe_duplicate, left_open(&bench)), ((2, 1), false, 0), "{lost:?}");
        assert_eq!(proofs(&bench), ["size"]);
    }
}

#[test]
fn a_name_that_is_taken_while_chunks_are_sent_is_left_to_whoever_has_it() {
    let bench = bench(CHUNKS);
    let (theirs, ours) = (bytes(1, 1000), bytes(2, 6 * MIB));
    bench.faults(one(Endpoint::Finish, When::Always, BUSY));
    bench.put("file", &ours);
    let daemon = bench.start();
    bench.wait_for("its chunks", || (!requests(&bench, Endpoint::Finish).is_empty()).then_some(()));
    bench.stop(daemon);
    bench.faults(Script::default());
    somebody_sends(&bench, "file", &theirs);
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert!(bench.held("file") == [theirs] && bench.held("file (2)") == [ours]);
    assert_eq!(left_open(&bench), 0);
}

#[test]
fn chunks_that_are_given_up_leave_nothing() {
    let bench = bench(&format!("{CHUNKS}\nparallel_parts = 1"));
    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReading { bytes_per_second: 2_000_000 }));
    let path = bench.put("file", &bytes(1, 20 * MIB));
    let daemon = bench.start();
    bench.wait_for("a chunk", || (!requests(&bench, Endpoint::Chunk).is_empty()).then_some(()));
    assert_eq!(left_open(&bench), 1);
    assert!(bench.command(&["cancel", path.to_str().unwrap()]).status().unwrap().success());
    bench.wait_for("the upload to be given up", || (left_open(&bench) == 0).then_some(()));
    bench.stop(daemon);
}

/// The addresses of the links that the server has made.
fn links(bench: &Bench) -> Vec<String> {
    records(bench, "webdav", "share-").into_keys().collect()
}

#[test]
fn a_link_to_a_file_is_made_once_whatever_becomes_of_the_answer() {
    let lost = [
        Action::LoseReply { reset: true },
        Action::Html { status: 200, stored: true },
        Action::Status { code: 504, body: ErrorBody::Empty, stored: true },
        BUSY,
    ];
    for (action, lines) in lost.into_iter().zip(["share = true", "share = true", CHUNKS, "share = true"]) {
        let lines = if lines == CHUNKS { format!("{CHUNKS}\nshare = true") } else { lines.to_owned() };
        let bench = bench(&lines);
        bench.faults(one(Endpoint::Link, When::Nth(1), action.clone()));
        let content = bytes(1, if lines.contains("part_size") { 6 * MIB } else { 30_000 });
        let job = arrives(NEXTCLOUD, &bench, &content);
        let link = job.link.clone().unwrap();
        assert!(link.contains("/webdav/s/") && links(&bench) == [link.rsplit('/').next().unwrap()], "{action:?} {link}");
        assert_eq!((fetched(&format!("{link}/download")) == content, job.maybe_duplicate), (true, false), "{action:?}");
        assert_eq!(requests(&bench, Endpoint::Finish).len(), 1, "{action:?}");
    }
    let bench = bench("share = true").watch("settle = \"0s\"\nremote_path = \"x y\"");
    bench.put("ü.txt", b"content");
    let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", "uploaded.before_commit")]);
    bench.wait_for("its death", || daemon.ended());
    let daemon = bench.start();
    let jobs = bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(links(&bench).len(), 1);
    assert_eq!(fetched(&format!("{}/download", jobs[0].link.as_ref().unwrap())), b"content");
}

#[test]
fn a_link_is_good_for_as_long_and_as_secret_as_told() {
    let password = "share_password = \"for-friends-only\"";
    let bench = bench_with(&format!("share = \"7d\"\n{password}"), |rules| rules.links = Links::WithPassword);
    let job = arrives(WEBDAV, &bench, b"content");
    let days = (job.expires_ms.unwrap() - ferryd::internals::os::clock::now_ms()) / 86_400_000;
    assert!((5..=7).contains(&days), "{days}");
    let share = records(&bench, "webdav", "share-").into_values().next().unwrap();
    assert_eq!(share["password"], "for-friends-only");
    assert!(!bench.log_text().contains("for-friends-only"));

    let bench = bench_with("share = true", |rules| rules.links = Links::WithPassword);
    let job = arrives(WEBDAV, &bench, b"content");
    assert!(job.link.unwrap().contains("/public/"), "the file is there, and has the link that it would have without");
    assert_eq!(links(&bench), [""; 0]);

    let said = |bench: &Bench| {
        let output = bench.command(&["check"]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let of = |lines: &str| said(&crate::webdav::bench(lines));
    assert!(of(&format!("share = true\n{PLAIN}")).contains("only Nextcloud and ownCloud make links"));
    assert!(of(password).contains("does nothing without `share`"));
    assert!(of("share = \"soon\"").contains("which is no number of days"));
}

#[test]
fn a_link_can_be_had_later() {
    let bench = bench("");
    let public = format!("link_base = \"http://{}/webdav/public\"\n", bench.sandbox.addr());
    let bench = bench.change(&public, "");
    assert_eq!(arrives(WEBDAV, &bench, b"content").link, None);
    let file = bench.drop_dir().join("file");
    let said = |bench: &Bench| bench.command(&["link", file.to_str().unwrap()]).output().unwrap();
    assert!(!said(&bench).status.success());
    let bench = bench.host("share = true");
    let link = String::from_utf8(said(&bench).stdout).unwrap().trim().to_owned();
    assert_eq!(fetched(&format!("{link}/download")), b"content");
    assert_eq!(String::from_utf8(said(&bench).stdout).unwrap().trim(), link);
}

#[test]
fn a_digest_proves_what_the_server_has() {
    let large = 6 * MIB;
    let cases = [
        ("", Digests::Answered, 30_000, "digest"),
        ("", Digests::Compared, 30_000, "digest"),
        ("", Digests::Unknown, 30_000, "size"),
        ("checksum = \"none\"", Digests::Answered, 30_000, "size"),
        (CHUNKS, Digests::Answered, large, "digest"),
        (CHUNKS, Digests::Compared, large, "digest"),
        (CHUNKS, Digests::Unknown, large, "size"),
    ];
    for (lines, digests, length, proof) in cases {
        let bench = bench_with(lines, |rules| rules.digests = digests);
        arrives(NEXTCLOUD, &bench, &bytes(1, length));
        assert_eq!(proofs(&bench), [proof], "{lines} {digests:?} {length}");
    }
}

#[test]
fn bytes_that_arrive_damaged_are_sent_again() {
    let one_by_one = &format!("{CHUNKS}\nparallel_parts = 1");
    for (lines, digests, length, sent) in [
        ("", Digests::Answered, 30_000, 2),
        ("", Digests::Compared, 30_000, 2),
        (one_by_one, Digests::Answered, 6 * MIB, 3),
        (one_by_one, Digests::Compared, 6 * MIB, 3),
    ] {
        let bench = bench_with(lines, |rules| rules.digests = digests);
        bench.faults(one(Endpoint::Chunk, When::Nth(1), Action::WrongFacts));
        arrives(NEXTCLOUD, &bench, &bytes(1, length));
        assert_eq!(sent_and_named(&bench), (sent, 1), "{lines} {digests:?}");
    }
}

#[test]
fn a_small_file_costs_as_few_requests_as_its_promises_need() {
    let cases = [("", 30_000, 2), (PLAIN, 30_000, 4), (PLAIN, 300_000, 5), ("", 300_000, 3)];
    for (lines, length, expected) in cases {
        let bench = bench(lines);
        bench.put("first file", b"x");
        let daemon = bench.start();
        bench.wait_done(1);
        let before = bench.sandbox.log().len();
        bench.put("second file", &bytes(1, length));
        bench.wait_done(2);
        bench.stop(daemon);
        let made: Vec<String> = bench.sandbox.log()[before..].iter().map(|entry| entry.method.clone()).collect();
        assert_eq!(made.len(), expected, "{lines} {length}: {made:?}");
    }
}

#[test]
fn a_server_in_maintenance_rests_as_a_whole() {
    let bench = bench_with("", |rules| rules.is_in_maintenance = true);
    let job = send(WEBDAV, &bench, "file", b"content");
    assert!(stands(&job, State::Waiting, ReasonClass::Host(Class::RateLimited), "it is in maintenance"), "{job:#?}");
}
