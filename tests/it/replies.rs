//! What hosts say, and what is made of it: words that are no success, secrets that come back, and nonsense that passes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use ferryd::internals::job::{Reason, ReasonClass, State};
use ferryd::internals::store::JobRow;
use ferryd_sandbox::faults::{Action, Endpoint, When};
use ferryd_sandbox::kie::ReplyShape;

use crate::bench_top::{Bench, bytes, one};
use crate::kinds::{CLOUDKP, FOURSHARED, KIE, KOODRIVE, Kind, UPLOADGIG, is_parked};

const DELETE: &str = "settle = \"0s\"\nafter = \"delete\"";

fn says(status: u16, body: impl Into<String>) -> Action {
    Action::Reply { status, headers: Default::default(), body: body.into(), stored: false }
}

/// Does `each` to every item, all at once: most of their time is waiting.
fn at_once<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for item in items {
            scope.spawn(|| each(item));
        }
    });
}

/// One file to a host that answers so, and is to be deleted, until the job has ended or waits after its third attempt, which knows
/// the first ones from the queue alone.
fn left_in_doubt(kind: Kind, endpoint: Endpoint, reply: &str) {
    // Even a host that is trusted must say something that could be an outcome.
    let bench = kind.bench().watch(DELETE).host("trust_replies = true");
    bench.faults(one(endpoint, When::Always, says(200, reply)));
    let path = bench.put("file", b"the only copy");
    let daemon = bench.start();
    let settled = |job: &JobRow| (job.state == State::Waiting && job.attempts >= 3) || is_parked(job);
    let job = bench.wait_for(reply, || bench.jobs().into_iter().find(settled));
    bench.stop(daemon);
    assert!(path.exists(), "{} {reply}: the only copy is gone", kind.word);
    assert!(job.state != State::Done && job.link.is_none(), "{} {reply}: {job:#?}", kind.word);
    assert!(bench.sandbox.objects().is_empty());
}

#[test]
fn a_host_that_answers_everything_with_one_word_has_no_file_and_the_source_stays() {
    let words = [
        "failed",
        "maintenance",
        "Unauthorized",
        "busy",
        "timeout",
        "denied",
        "not_found",
        "NotFound",
        "0",
        "-1",
        "x7Kq2a9",
        "{\"file_id\":0}",
        "{\"file_id\":\"error\"}",
        "{\"status\":\"failed\",\"file_id\":\"x\"}",
    ];
    at_once(&words, |word| left_in_doubt(CLOUDKP, Endpoint::Any, word));
}

#[test]
fn a_link_that_is_no_web_address_is_no_success() {
    let long = format!("https://h.example/{}", "a".repeat(3000));
    for link in ["maintenance", "javascript:alert(1)", "https://", "https://h.example/\\u0007", &long] {
        let kie = format!("{{\"success\":true,\"code\":200,\"data\":{{\"downloadUrl\":\"{link}\"}}}}");
        let gig = format!("{{\"0\":{{\"ok\":true,\"message\":\"m\",\"url\":\"{link}\",\"size\":13,\"id\":\"a1\"}}}}");
        at_once(&[(KIE, kie), (UPLOADGIG, gig)], |(kind, reply)| left_in_doubt(*kind, Endpoint::Chunk, reply));
    }
}

#[test]
fn a_source_waits_for_proof_until_its_host_is_trusted() {
    let bench = CLOUDKP.bench().watch(DELETE);
    let path = bench.put("file", b"the only copy");
    let daemon = bench.start();
    let job = bench.wait_for("a reason", || bench.jobs().into_iter().find(|job| job.why.is_some() || job.state.is_final()));
    assert!(job.state == State::Uploaded && path.exists(), "{job:#?}");
    assert_eq!(job.why, Some(Reason::new(ReasonClass::UnprovenByHost).about("cloudkp")));
    let checked = bench.command(&["check"]).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.code() == Some(3) && said.contains("trust_replies = true"), "{said}");
    let bench = bench.host("trust_replies = true");
    assert!(bench.command(&["check"]).output().unwrap().status.success());
    daemon.signal(rustix::process::Signal::HUP);
    bench.wait_for("the reload", || bench.log_text().contains("configuration reloaded: host cloudkp changed").then_some(()));
    // A file that is uploaded from here on goes.
    let later = bench.put("later", b"another");
    bench.wait_state(State::Done);
    assert!(!later.exists() && path.exists(), "a reload makes no delete due");
    bench.stop(daemon);
    let daemon = bench.start();
    assert!(bench.wait_done(2).iter().all(|job| job.why.is_none()));
    assert!(!path.exists());
    bench.stop(daemon);
}

#[test]
fn a_host_that_tells_the_size_or_a_digest_need_not_be_trusted() {
    at_once(&[UPLOADGIG, KOODRIVE, KIE, FOURSHARED], |kind| {
        let bench = kind.bench().watch(DELETE);
        assert!(bench.command(&["check"]).output().unwrap().status.success(), "{}", kind.word);
        let path = bench.put("file", b"content");
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        assert!(!path.exists() && kind.held(&bench, "file") == [b"content"], "{}", kind.word);
    });
    // A reply of Kie.ai without a size is a word.
    let bench = KIE.bench_with(|options| options.rules.kie.shape = ReplyShape::UrlOnly).watch(DELETE);
    let path = bench.put("file", b"content");
    let daemon = bench.start();
    let job = bench.wait_for("a reason", || bench.jobs().into_iter().find(|job| job.why.is_some() || job.state.is_final()));
    assert!(job.state == State::Uploaded && path.exists() && job.why.unwrap().class == ReasonClass::UnprovenByHost);
    bench.stop(daemon);
}

const SECRET: &str = "p@ss&word/9<x%\"";

/// The secret as somebody may write it, all in lower case.
fn spellings(secret: &str) -> Vec<String> {
    let xml = secret.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let percent = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02x}", u32::from(c)) };
    let json = secret.replace('"', "\\\"");
    let all = [secret.to_owned(), xml.clone(), xml.replace("&quot;", "\""), secret.chars().map(percent).collect(), json.clone()];
    all.into_iter().chain([json.replace('/', "\\/")]).map(|text| text.to_lowercase()).collect()
}

/// Neither the log, nor the rows, nor what `status` prints holds one of `texts`, in whatever case.
fn nowhere(bench: &Bench, texts: &[String], told: &str) {
    let mut places = vec![("the log", bench.log_text().into_bytes())];
    for name in ["queue.db", "queue.db-wal"] {
        places.push(("the queue", std::fs::read(bench.state_dir().join(name)).unwrap_or_default()));
    }
    for words in [&["status", "--json"][..], &["status"]] {
        places.push(("status", bench.command(words).output().unwrap().stdout));
    }
    for (place, content) in places {
        let content = content.to_ascii_lowercase();
        for text in texts {
            assert!(!content.windows(text.len()).any(|window| window == text.as_bytes()), "{told}: {place} holds `{text}`");
        }
    }
}

fn fault(words: &str) -> String {
    format!(
        "<S:Envelope xmlns:S=\"http://schemas.xmlsoap.org/soap/envelope/\"><S:Body><S:Fault><faultcode>S:Server</faultcode>\
         <faultstring>{words}</faultstring></S:Fault></S:Body></S:Envelope>"
    )
}

#[test]
fn a_secret_that_a_host_says_back_in_another_spelling_is_told_nowhere() {
    let page = "<html><pre>user=me%40example.org&amp;pass=p%40ss%26word%2F9%3Cx%25%22</pre></html>";
    let cases = [
        (KIE, "\"sk-test\"", Endpoint::Chunk, 401, "{\"code\":401,\"msg\":\"bad key p@ss&word\\/9<x%\\\" here\"}".to_owned()),
        (KIE, "\"sk-test\"", Endpoint::Chunk, 200, "{\"code\":7,\"msg\":\"bad key P%40ss%26word%2f9%3cx%25%22 here\"}".to_owned()),
        (KIE, "\"sk-test\"", Endpoint::Chunk, 500, "Authorization: QmVhcmVyIHBAc3Mmd29yZC85PHglIg==".to_owned()),
        (FOURSHARED, "\"s3cret\"", Endpoint::Open, 500, fault("login failed for password p@ss&amp;word/9&lt;x%&quot;")),
        (FOURSHARED, "\"s3cret\"", Endpoint::Open, 200, fault("&quot;p@ss&amp;amp;word/9&amp;lt;x%&amp;quot;&quot; is odd")),
        (UPLOADGIG, "\"s3cret-gig\"", Endpoint::Open, 500, page.to_owned()),
        (
            UPLOADGIG,
            "\"s3cret-gig\"",
            Endpoint::Open,
            200,
            "{\"code\":\"5\",\"result\":\"P@SS\\u0026WORD\\/9\\u003cX%\\\"?\"}".to_owned(),
        ),
        (
            KOODRIVE,
            "\"test-app-secret\"",
            Endpoint::Open,
            400,
            "{\"code\":13000101,\"msg\":\"key p@ss&word\\/9<x%\\\"\"}".to_owned(),
        ),
    ];
    at_once(&cases, |(kind, right, endpoint, status, body)| {
        let told = format!("{} {body}", kind.word);
        let bench = kind.bench_with(|options| options.rules.kie.api_key = SECRET.into()).change(right, &format!("'{SECRET}'"));
        bench.faults(one(*endpoint, When::Always, says(*status, body.clone())));
        bench.put("file", b"content");
        let daemon = bench.start();
        let job = bench.wait_for(&told, || bench.jobs().into_iter().find(|job| job.why.is_some()));
        bench.stop(daemon);
        assert!(!job.why.unwrap().to_string().is_empty(), "{told}");
        let base64 = ["qmvhcmvyihbac3mmd29yzc85phglig".to_owned()];
        nowhere(&bench, &[&spellings(SECRET)[..], &base64].concat(), &told);
    });
}

/// Answers every request with what it was authorized by, in capitals, for as long as the test lives.
fn echo() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let authorized = head.lines().find_map(|line| line.strip_prefix("Authorization: ")).unwrap().to_owned();
            let body = format!("{{\"code\":13000201,\"msg\":\"cannot verify {}\"}}", authorized.to_uppercase());
            heard.lock().unwrap().push(authorized);
            let reply = format!("HTTP/1.1 500 E\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    (addr, seen)
}

#[test]
fn a_signature_that_koodrive_says_back_is_told_nowhere() {
    let bench = KOODRIVE.bench();
    let (addr, seen) = echo();
    let there = format!("http://{}/koodrive", bench.sandbox.addr());
    let bench = bench.change(&there, &format!("http://{addr}"));
    bench.put("file", b"content");
    let daemon = bench.start();
    let job = bench.wait_for("a reason", || bench.jobs().into_iter().find(|job| job.why.is_some()));
    bench.stop(daemon);
    assert_eq!(job.why.unwrap().code.as_deref(), Some("13000201"));
    let signatures: Vec<String> =
        seen.lock().unwrap().iter().map(|header| header.split_once("Signature=").unwrap().1.to_owned()).collect();
    assert!(!signatures.is_empty() && signatures.iter().all(|signature| signature.len() == 64));
    nowhere(&bench, &signatures, "the signature");
}

#[test]
fn a_host_that_talks_nonsense_for_a_while_fails_no_file_and_has_every_file_in_the_end() {
    let html = "<html><body>Something went wrong</body></html>";
    let nonsense = [
        (CLOUDKP, Endpoint::Chunk, 200, "{\"error\":\"E_FROBNICATE\"}".to_owned()),
        (CLOUDKP, Endpoint::Chunk, 200, html.to_owned()),
        (CLOUDKP, Endpoint::Chunk, 400, "bad request".to_owned()),
        (CLOUDKP, Endpoint::Chunk, 413, String::new()),
        (CLOUDKP, Endpoint::Finish, 200, "{\"error\":\"the merger is on holiday\"}".to_owned()),
        (CLOUDKP, Endpoint::Finish, 422, html.to_owned()),
        (UPLOADGIG, Endpoint::Open, 200, "{\"code\":\"7\",\"result\":\"hm\"}".to_owned()),
        (UPLOADGIG, Endpoint::Open, 200, "gibberish".to_owned()),
        (UPLOADGIG, Endpoint::Open, 400, String::new()),
        (UPLOADGIG, Endpoint::Chunk, 200, "{\"0\":{\"ok\":false,\"message\":\"Internal error, please retry\"}}".to_owned()),
        (UPLOADGIG, Endpoint::Chunk, 422, "{\"error\":\"no\"}".to_owned()),
        (KOODRIVE, Endpoint::Open, 400, "{\"code\":13000102,\"msg\":\"Parameter error.\"}".to_owned()),
        (KOODRIVE, Endpoint::Open, 200, "{\"code\":777}".to_owned()),
        (KOODRIVE, Endpoint::Open, 400, html.to_owned()),
        (KOODRIVE, Endpoint::Chunk, 400, "<Error><Code>InvalidArgument</Code><Message>m</Message></Error>".to_owned()),
        (KOODRIVE, Endpoint::Finish, 200, "{\"code\":13009999,\"msg\":\"?\"}".to_owned()),
        (KIE, Endpoint::Chunk, 200, "{\"success\":false,\"code\":200,\"msg\":\"storage node busy\"}".to_owned()),
        (
            KIE,
            Endpoint::Chunk,
            400,
            "{\"success\":false,\"code\":400,\"msg\":\"Missing required parameter: uploadPath\"}".to_owned(),
        ),
        (KIE, Endpoint::Chunk, 413, html.to_owned()),
        (KIE, Endpoint::Chunk, 422, html.to_owned()),
        (FOURSHARED, Endpoint::Open, 500, fault("the moon is in the way")),
        (FOURSHARED, Endpoint::Open, 200, html.to_owned()),
        (FOURSHARED, Endpoint::Chunk, 200, "{\"status\":\"error\",\"errorCode\":99}".to_owned()),
        (FOURSHARED, Endpoint::Chunk, 415, html.to_owned()),
        (FOURSHARED, Endpoint::Finish, 500, fault("not now")),
    ];
    at_once(&nonsense, |(kind, endpoint, status, body)| {
        let told = format!("{} {endpoint:?} {status} {body}", kind.word);
        let bench = kind.bench();
        // Three times the same is what was once taken for the last word.
        bench.faults(one(*endpoint, When::First(3), says(*status, body.clone())));
        let content = bytes(3, 70_000);
        bench.put("file", &content);
        let daemon = bench.start();
        let job = bench.wait_for(&told, || bench.jobs().into_iter().find(is_parked_for_good));
        bench.stop(daemon);
        assert_eq!(job.state, State::Done, "{told}: {job:#?}");
        assert!(kind.held(&bench, "file").contains(&content), "{told}");
        let met = bench.sandbox.log().iter().filter(|entry| entry.fault.is_some()).count();
        assert_eq!(met, 3, "{told}");
    });
}

/// A job that nothing will move without a person.
fn is_parked_for_good(job: &JobRow) -> bool {
    job.state.is_final() || job.state == State::Held
}

/// 4shared refuses a name with a number that is no file's.
#[test]
fn a_name_that_4shared_reserves_nothing_for_and_does_not_list_fails_no_file() {
    let answer = "<S:Envelope xmlns:S=\"http://schemas.xmlsoap.org/soap/envelope/\"><S:Body><ns2:uploadStartFileResponse \
                  xmlns:ns2=\"http://api.soap.shared.pmstation.com/\"><return>0</return></ns2:uploadStartFileResponse></S:Body></S:Envelope>";
    let bench = FOURSHARED.bench();
    // The third call at this endpoint is the reservation; room and limit are asked for before it.
    bench.faults(one(Endpoint::Open, When::Nth(3), says(200, answer)));
    bench.put("file", b"content");
    let daemon = bench.start();
    let job = bench.wait_state(State::Waiting);
    bench.stop(daemon);
    let pause = job.next_try_ms.unwrap() - ferryd::internals::os::clock::now_ms();
    assert!(pause > 500_000, "a lost reservation may keep the name for a while: {pause} ms, {job:#?}");
}

/// Every request for some seconds, to every kind of host.
#[test]
fn a_host_that_refuses_everything_for_a_while_has_every_file_without_a_command() {
    let refusals = [
        (CLOUDKP, says(200, "{\"error\":\"storage node 7 said no\"}")),
        (UPLOADGIG, says(400, "")),
        (KOODRIVE, says(400, "{\"code\":13000102,\"msg\":\"Parameter error.\"}")),
        (KIE, says(200, "{\"success\":false,\"code\":400,\"msg\":\"Missing required parameter\"}")),
        (FOURSHARED, says(400, "no")),
    ];
    std::thread::scope(|scope| {
        for (kind, refusal) in refusals {
            scope.spawn(move || {
                let bench = kind.bench();
                bench.faults(one(Endpoint::Any, When::Seconds(2.0), refusal));
                for name in ["one", "two"] {
                    bench.put(name, name.as_bytes());
                }
                let daemon = bench.start();
                bench.wait_done(2);
                bench.stop(daemon);
                assert!(["one", "two"].iter().all(|name| kind.held(&bench, name) == [name.as_bytes()]), "{}", kind.word);
            });
        }
    });
}
