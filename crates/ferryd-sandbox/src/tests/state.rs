//! What outlives a restart, what the log tells, and the control interface.

use super::super::cloudkp::Replay;
use super::super::faults::When;
use super::super::files::Files;
use super::super::{Chance, Lose};
use super::*;

#[tokio::test]
async fn a_restart_keeps_half_a_file_and_its_rest_completes_it() {
    let bench = bench();
    let file = bytes(LADDER_BASE * 2 + 9);
    bench.chunk(UUID, 2, &file).await.unwrap().fine();
    bench.chunk(UUID, 0, &file).await.unwrap().fine();
    let bench = bench.restart(|_| {}).await;
    bench.finish(UUID, 3, "a").await.unwrap().refused("chunk 1 missing");
    bench.chunk(UUID, 2, &file).await.unwrap().fine();
    let entry = bench.last().await;
    assert!(entry.again && !entry.differed);
    bench.chunk(UUID, 1, &file).await.unwrap().fine();
    bench.finish(UUID, 3, "a").await.unwrap().fine();
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn a_restart_keeps_objects_and_remembers_finished_sessions() {
    let bench = bench();
    let id = bench.store(UUID, b"abc", "a").await;
    let before = bench.sandbox.objects();
    let bench = bench.restart(|_| {}).await;
    assert_eq!(bench.sandbox.objects(), before);
    assert_eq!(bench.get(&format!("/cloudkp?c={id}")).await.unwrap().body, b"abc");
    assert_eq!(bench.finish(UUID, 1, "a").await.unwrap().id(), id);
    let bench = bench.restart(|options| options.rules.cloudkp.replay = Replay::NewId).await;
    assert_ne!(bench.finish(UUID, 1, "a").await.unwrap().id(), id);
    let bench = bench.restart(|_| {}).await;
    assert!(bench.sandbox.objects().iter().all(|object| object.stored == 2));
}

#[tokio::test]
async fn a_restart_without_sessions_begins_them_anew() {
    let bench = bench();
    let file = bytes(LADDER_BASE + 1);
    bench.store(OTHER, b"abc", "a").await;
    bench.chunk(UUID, 0, &file).await.unwrap().fine();
    let bench = bench.restart(|options| options.lose = Lose::Sessions).await;
    bench.finish(UUID, 2, "b").await.unwrap().refused("session not found");
    bench.chunk(UUID, 1, &file).await.unwrap().fine();
    bench.finish(UUID, 2, "b").await.unwrap().refused("chunk 0 missing");
    assert_eq!(bench.only_object(), b"abc");
    assert!(bench.sandbox.log().len() > 4);
}

#[tokio::test]
async fn a_restart_without_state_knows_nothing() {
    let bench = bench();
    let id = bench.store(UUID, b"abc", "a").await;
    let bench = bench.restart(|options| options.lose = Lose::Everything).await;
    assert_eq!((bench.sandbox.objects().len(), bench.sandbox.log().len()), (0, 0));
    assert_eq!(bench.get(&format!("/cloudkp?c={id}")).await.unwrap().status, 404);
    bench.finish(UUID, 1, "a").await.unwrap().refused("session not found");
    let bench = bench.restart(|_| {}).await;
    assert_eq!(bench.sandbox.objects().len(), 0);
}

#[tokio::test]
async fn a_killed_server_leaves_whole_parts_or_none() {
    let bench = bench();
    let file = bytes(LADDER_BASE + 1);
    bench.chunk(UUID, 0, &file).await.unwrap().fine();
    // What a kill between writing and renaming leaves behind, and what it leaves of the last line of the log.
    let session = bench.dir.path().join("cloudkp/sessions").join(UUID);
    std::fs::write(session.join("new-7"), b"half").unwrap();
    let log = bench.dir.path().join("log.jsonl");
    let mut torn = std::fs::read(&log).unwrap();
    torn.extend(b"{\"seq\":99,\"meth");
    std::fs::write(&log, torn).unwrap();
    let bench = bench.restart(|_| {}).await;
    assert!(!session.join("new-7").exists());
    bench.finish(UUID, 2, "a").await.unwrap().refused("chunk 1 missing");
    assert_eq!(bench.log().await.len(), 2);
}

#[tokio::test]
async fn lost_sessions_are_unknown_and_forgotten_ones_begin_anew() {
    let bench = bench();
    let file = bytes(LADDER_BASE + 1);
    bench.chunk(UUID, 0, &file).await.unwrap().fine();
    bench.store(OTHER, b"abc", "a").await;
    bench.sandbox.lose_sessions().unwrap();
    bench.chunk(UUID, 1, &file).await.unwrap().refused("session not found");
    bench.finish(OTHER, 1, "a").await.unwrap().refused("session not found");
    assert_eq!(bench.only_object(), b"abc");
    let bench = bench.restart(|_| {}).await;
    bench.chunk(UUID, 1, &file).await.unwrap().refused("session not found");
    bench.sandbox.forget_sessions().unwrap();
    bench.chunk(UUID, 1, &file).await.unwrap().fine();
}

#[tokio::test]
async fn the_log_tells_which_ack_came_before_which_request() {
    let bench = bench();
    let file = bytes(LADDER_BASE + 1);
    bench.chunk(UUID, 1, &file).await.unwrap().fine();
    bench.chunk(UUID, 0, &file).await.unwrap().fine();
    bench.finish(UUID, 2, "a").await.unwrap().fine();
    let log = bench.log().await;
    let parts: Vec<_> = log.iter().map(|entry| (entry.endpoint, entry.part, entry.outcome.clone())).collect();
    let expected = [
        (Some(Endpoint::Chunk), Some(1), Outcome::Acked),
        (Some(Endpoint::Chunk), Some(0), Outcome::Acked),
        (Some(Endpoint::Finish), None, Outcome::Stored),
    ];
    assert_eq!(parts, expected);
    assert!(log.windows(2).all(|pair| pair[0].ended.unwrap() < pair[1].seq));
    let first = &log[0];
    assert_eq!((first.method.as_str(), first.path.as_str(), first.host.as_deref()), ("POST", "/cloudkp/upload", Some("cloudkp")));
    assert_eq!((first.session.as_deref(), first.status, first.replied), (Some(UUID), Some(200), Some(true)));
    assert_eq!(first.file_sha256, Some(super::super::digest::sha256(&file[LADDER_BASE..])));
    let body = form(&chunk_fields(UUID, "1", "2", "131073"), Some(&file[LADDER_BASE..]));
    assert_eq!(first.body_bytes, body.len() as u64);
    assert_eq!(log[2].file.as_deref(), Some("a"));
}

#[tokio::test]
async fn the_log_outlives_a_restart_and_its_marks_go_on() {
    let bench = bench();
    bench.store(UUID, b"abc", "a").await;
    let before = bench.log().await;
    let bench = bench.restart(|_| {}).await;
    assert_eq!(bench.sandbox.log(), before);
    bench.finish(UUID, 1, "a").await.unwrap().fine();
    let after = bench.log().await;
    assert_eq!(after.len(), 3);
    assert!(after[2].seq > before[1].ended.unwrap());
    assert_eq!(bench.sandbox.log_after(before[1].seq), after[2..]);
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_is_in_the_log_and_stores_nothing() {
    let bench = bench();
    let request = post(&form(&chunk_fields(UUID, "0", "1", "131072"), Some(&bytes(LADDER_BASE))));
    let mut stream = TcpStream::connect(bench.sandbox.addr()).await.unwrap();
    stream.write_all(&request[..70_000]).await.unwrap();
    drop(stream);
    // The next request comes after the server has seen that one end, or the wait below sees it.
    bench.finish(UUID, 1, "a").await.unwrap().refused("session not found");
    let gone = soon(async {
        loop {
            let log = bench.log().await;
            if let Some(entry) = log.into_iter().find(|entry| entry.endpoint == Some(Endpoint::Chunk)) {
                return entry;
            }
            tokio::task::yield_now().await;
        }
    });
    let entry = gone.await;
    assert_eq!((entry.outcome, entry.replied, entry.held), (Outcome::Gone, Some(false), false));
}

#[tokio::test]
async fn requests_to_nowhere_are_in_the_log() {
    let bench = bench();
    assert_eq!(bench.get("/elsewhere?x=1").await.unwrap().status, 404);
    let entry = bench.last().await;
    assert_eq!((entry.path.as_str(), entry.host, entry.status), ("/elsewhere?x=1", None, Some(404)));
    let long = format!("/{}", "ä".repeat(500).replace('ä', "%C3%A4"));
    bench.get(&long).await.unwrap();
    assert_eq!(bench.last().await.path.len(), 300);
}

#[tokio::test]
async fn the_control_interface_answers_from_another_process() {
    let bench = bench();
    bench.store(UUID, b"abc", "a").await;
    bench.sandbox.calm().await;
    let log: Vec<Entry> = serde_json::from_slice(&bench.get("/_sandbox/log").await.unwrap().body).unwrap();
    assert_eq!(log, bench.sandbox.log());
    let later = bench.get(&format!("/_sandbox/log?after={}", log[0].seq)).await.unwrap().json();
    assert_eq!(later.as_array().unwrap().len(), 1);
    let objects = bench.get("/_sandbox/objects").await.unwrap().json();
    assert_eq!((objects[0]["name"].as_str(), objects[0]["stored"].as_u64()), (Some("a"), Some(1)));
    let stats = bench.get("/_sandbox/stats").await.unwrap().json();
    assert_eq!((stats["parts_acked"].as_u64(), stats["requests"].as_u64()), (Some(1), Some(2)));
    for (method, path) in
        [("POST", "log"), ("PUT", "objects"), ("POST", "stats"), ("GET", "faults"), ("GET", "reset"), ("GET", "lose-sessions")]
    {
        assert_eq!(bench.ask(method, &format!("/_sandbox/{path}"), b"").await.unwrap().status, 405, "{path}");
    }
    assert_eq!(bench.get("/_sandbox/other").await.unwrap().status, 404);
    assert_eq!(bench.sandbox.log().len(), 2, "the control interface is not in the log");
}

#[tokio::test]
async fn the_control_interface_loses_sessions_and_resets() {
    let bench = bench();
    bench.store(UUID, b"abc", "a").await;
    assert_eq!(bench.ask("POST", "/_sandbox/lose-sessions", b"").await.unwrap().status, 204);
    bench.chunk(UUID, 0, b"abc").await.unwrap().refused("session not found");
    assert_eq!(bench.ask("POST", "/_sandbox/lose-sessions?silently", b"").await.unwrap().status, 204);
    bench.chunk(UUID, 0, b"abc").await.unwrap().fine();
    bench.sandbox.calm().await;
    assert_eq!(bench.ask("POST", "/_sandbox/reset", b"").await.unwrap().status, 204);
    assert_eq!((bench.sandbox.objects().len(), bench.sandbox.log().len(), bench.sandbox.stats().requests), (0, 0, 0));
    bench.finish(UUID, 1, "a").await.unwrap().refused("session not found");
}

#[tokio::test]
async fn the_control_interface_takes_scripts_and_refuses_bad_ones() {
    let bench = bench();
    let good = b"[[rules]]\nendpoint = \"chunk\"\naction = \"account_full\"\n";
    assert_eq!(bench.ask("PUT", "/_sandbox/faults", good).await.unwrap().status, 204);
    bench.chunk(UUID, 0, b"abc").await.unwrap().refused("no space");
    for bad in [&b"[[rules]]\naction = \"thrice\""[..], b"{\"rules\":[{\"action\":{\"status\":{\"code\":1}}}]}", b"\xff"] {
        let said = bench.ask("PUT", "/_sandbox/faults", bad).await.unwrap();
        assert!(said.status == 400 && !said.body.is_empty());
    }
    let long = vec![b'#'; 2 << 20];
    assert_eq!(bench.ask("PUT", "/_sandbox/faults", &long).await.unwrap().status, 413);
    bench.chunk(UUID, 0, b"abc").await.unwrap().refused("no space");
    assert_eq!(bench.ask("PUT", "/_sandbox/faults", b"").await.unwrap().status, 204);
    bench.chunk(UUID, 0, b"abc").await.unwrap().fine();
}

#[tokio::test]
async fn a_stopped_sandbox_is_gone_at_once_and_its_address_is_free() {
    let slow = Rule::new(Action::SlowReply { seconds: 3000.0 }).when(When::Always);
    let bench = faulty(slow);
    let addr = bench.sandbox.addr();
    let mut waiting = TcpStream::connect(addr).await.unwrap();
    waiting.write_all(&post(&form(&chunk_fields(UUID, "0", "1", "3"), Some(b"abc")))).await.unwrap();
    soon(async {
        while bench.sandbox.log().first().is_none_or(|entry| entry.endpoint.is_none()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let bench = soon(bench.restart(|options| options.listen = addr)).await;
    assert_eq!(bench.sandbox.addr(), addr);
    assert!(!matches!(waiting.read(&mut [0; 16]).await, Ok(1..)));
    assert_eq!(bench.sandbox.log()[0].outcome, Outcome::Gone);
    bench.finish(OTHER, 1, "a").await.unwrap().refused("session not found");
}

#[tokio::test]
async fn a_dropped_sandbox_stops() {
    let bench = bench();
    let addr = bench.sandbox.addr();
    drop(bench.sandbox);
    soon(async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_sandbox_listens_on_loopback_alone_and_refuses_what_it_cannot_do() {
    let dir = TempDir::new().unwrap();
    let with = |change: fn(&mut Options)| {
        let mut options = Options::new(dir.path());
        change(&mut options);
        Sandbox::start(options).map(|_| ()).unwrap_err().to_string()
    };
    assert!(with(|options| options.listen = "0.0.0.0:0".parse().unwrap()).contains("`0.0.0.0:0` is not a loopback address"));
    assert!(with(|options| options.dir = "/dev/null/x".into()).contains("`/dev/null/x`"));
    assert!(with(|options| options.faults = Script::of([Rule::new(Action::SlowReply { seconds: -1.0 })])).contains("rule 1"));
    let bench = bench();
    let taken = bench.sandbox.addr();
    let mut options = Options::new(dir.path());
    options.listen = taken;
    assert!(Sandbox::start(options).unwrap_err().to_string().contains(&format!("cannot listen on {taken}")));
}

#[tokio::test]
async fn the_configuration_names_the_hosts_as_served() {
    let bench = bench();
    let addr = bench.sandbox.addr();
    let parsed: toml::Table = toml::from_str(&bench.sandbox.config()).unwrap();
    let host = &parsed["host"]["cloudkp"];
    assert_eq!(host["kind"].as_str(), Some("cloudkp"));
    assert_eq!(host["base_url"].as_str(), Some(format!("http://{addr}/cloudkp").as_str()));
    assert_eq!(host["link_base"].as_str(), Some(format!("http://{addr}/cloudkp?c=").as_str()));
}

#[tokio::test]
async fn sessions_have_a_bound_and_finished_ones_make_room() {
    use super::super::objects::{SESSIONS_MAX, Store, Totals};
    let store = Store::open(Files::default(), Chance::default(), None).unwrap();
    let totals = Totals { parts: 1, bytes: 1 };
    for number in 0..SESSIONS_MAX {
        store.begin("cloudkp", &number.to_string(), totals).unwrap();
    }
    assert_eq!(store.begin("cloudkp", "more", totals).unwrap_err().to_string(), "no space left on the server");
    store.put("cloudkp", "7", 0, 1, None).unwrap();
    store.finish("cloudkp", "7", "a").unwrap();
    store.begin("cloudkp", "more", totals).unwrap();
    assert!(store.stage("cloudkp", "7").is_none() && store.stage("cloudkp", "8").is_some());
}
