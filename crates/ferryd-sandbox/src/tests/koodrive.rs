//! What the emulated KooDrive takes and what it rejects.

use std::ops::Deref;

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::super::Lose;
use super::super::digest::sha256;
use super::super::faults::When;
use super::super::koodrive::hash::{INITIAL, Words, context, reach, read_context};
use super::super::koodrive::sign::{Caller, Signed, Who, read_stamp, stamp};
use super::super::koodrive::{CodeForm, FirstLinks, Renewed, Rules, UploadId};
use super::*;

const PREFIX: &str = "/koodrive/koodrive/ose/v1/files";
const PART: usize = 5_242_880;
const WHOLE: &str = "670f15212a83941c8aed6758628e846b0a90cec8704292d0929c1fd44adcd0da";
const SECOND: Words = [3092447890, 3234063028, 3877548911, 3362278882, 2885780610, 2146044395, 3374087744, 4095872729];
const THIRD: Words = [1779701746, 918995803, 1570685731, 1516663119, 3603315028, 2236031456, 1242210455, 1444001641];

/// The test file of the protocol notes.
fn notes_file() -> Vec<u8> {
    (0..10_486_760_usize).map(|at| ((at * 31 + 7) % 251) as u8).collect()
}

/// A sandbox whose KooDrive is talked to.
struct Drive(Bench);

/// What it said.
#[derive(Debug)]
struct Heard(Said);

impl Deref for Drive {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl Deref for Heard {
    type Target = Said;

    fn deref(&self) -> &Said {
        &self.0
    }
}

/// A host as documented.
fn large() -> Drive {
    Drive(bench())
}

/// A host that takes parts of 64 bytes, so that files can be small.
fn small() -> Drive {
    ruled(|_| {})
}

fn ruled(change: impl FnOnce(&mut Rules)) -> Drive {
    Drive(bench_with(|options| {
        options.rules.koodrive.part_bytes_min = 64;
        change(&mut options.rules.koodrive);
    }))
}

fn small_again(options: &mut Options) {
    options.rules.koodrive.part_bytes_min = 64;
}

/// A file of three parts of 64, 128 and 9 bytes.
fn three() -> Vec<u8> {
    bytes(201)
}

const THREE: [(u64, u64); 3] = [(0, 64), (64, 128), (192, 9)];

fn words(file: &[u8], offset: u64) -> Words {
    reach(INITIAL, 0, &file[..offset as usize]).unwrap().words
}

fn create(file: &[u8], name: &str) -> Value {
    json!({ "fileName": name, "fileType": "45", "parentFolder": ["root"], "length": file.len(), "uploadMode": "multipart",
        "uploadType": 1, "autoRename": 4, "sha256": sha256(file) })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn lacking(mut body: Value, name: &str) -> Value {
    body.as_object_mut().unwrap().remove(name);
    body
}

fn info(file: &[u8], number: u64, (offset, bytes): (u64, u64)) -> Value {
    let mut info = json!({ "partNumber": number, "partSize": bytes, "partOffset": offset });
    if number > 1 {
        info["hashCtx"] = json!(words(file, offset));
    }
    info
}

fn slice(file: &[u8], (offset, bytes): (u64, u64)) -> &[u8] {
    &file[offset as usize..(offset + bytes) as usize]
}

impl Heard {
    #[track_caller]
    fn okay(self) -> Value {
        let json = self.json();
        assert_eq!((self.status, &json["code"]), (200, &json!(0)), "{json}");
        json
    }

    #[track_caller]
    fn fails(&self, code: u32, word: &str) {
        let json = self.json();
        assert_eq!((self.status, &json["code"]), (400, &json!(code)), "{json}");
        assert!(json["msg"].as_str().unwrap().contains(word), "{word}: {json}");
    }

    #[track_caller]
    fn unauthorised(&self, word: &str) {
        assert_eq!(self.status, 401, "{}", self.text());
        assert!(self.json()["error_msg"].as_str().unwrap().contains(word), "{word}: {}", self.text());
    }

    #[track_caller]
    fn xml(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.header("content-type")), (status, Some("application/xml")), "{}", self.text());
        assert!(self.text().contains(&format!("<Error><Code>{code}</Code>")), "{}", self.text());
    }

    #[track_caller]
    fn taken(&self) {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(self.header("etag").is_some());
    }
}

impl Drive {
    async fn send(&self, request: &[u8]) -> Result<Heard, Silence> {
        self.0.send(request).await.map(Heard)
    }

    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> Heard {
        Heard(self.0.ask(method, path, body).await.unwrap())
    }

    async fn restart(self, change: impl FnOnce(&mut Options)) -> Drive {
        Drive(self.0.restart(change).await)
    }

    fn host(&self) -> String {
        self.sandbox.addr().to_string()
    }

    fn now(&self) -> i64 {
        self.sandbox.shared.clock.now_ms()
    }

    fn signed_head(&self, method: &str, path: &str, body: &[u8], date: &str, secret: &str) -> String {
        let host = self.host();
        let user = Rules::default().user_id;
        let headers = vec![("host", host.as_str()), ("x-date", date), ("x-user-id", user.as_str())];
        let signature = Signed { method, path, query: "", headers, body }.signature(secret);
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nX-Date: {date}\r\n\
             X-User-Id: {user}\r\nContent-Length: {}\r\nAuthorization: HMAC-SHA256 AppId=app1,SignedHeaders=host;x-date;x-user-id,\
             Signature={signature}\r\n\r\n",
            body.len()
        )
    }

    async fn call(&self, path: &str, body: &Value) -> Heard {
        let body = body.to_string();
        let path = format!("{PREFIX}/{path}").replace("/files/../", "/");
        let head = self.signed_head("POST", &path, body.as_bytes(), &stamp(self.now()), "test-app-secret");
        self.send(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap()
    }

    /// A call with these headers and no others but the length.
    async fn call_as(&self, headers: &str) -> Heard {
        let body = create(b"abc", "a").to_string();
        let host = self.host();
        let request = format!(
            "POST {PREFIX}/create HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n\r\n{body}",
            body.len()
        );
        self.send(request.as_bytes()).await.unwrap()
    }

    async fn created(&self, file: &[u8], name: &str) -> String {
        let said = self.call("create", &create(file, name)).await.okay();
        assert_eq!((&said["rapidUpload"], &said["exist"]), (&json!(false), &json!(false)), "{said}");
        said["fileId"].as_str().unwrap().to_owned()
    }

    async fn ask_links(&self, id: &str, parts: Value) -> Heard {
        self.call("multipart/uploadUrl", &json!({ "fileId": id, "multiParts": parts })).await
    }

    async fn link(&self, id: &str, info: Value) -> String {
        let said = self.ask_links(id, json!([info])).await.okay();
        said["multiParts"][0]["uploadUrl"].as_str().unwrap().to_owned()
    }

    async fn link_to(&self, id: &str, file: &[u8], number: u64) -> String {
        self.link(id, info(file, number, THREE[number as usize - 1])).await
    }

    /// Path and query of a link to this host.
    fn below<'u>(&self, url: &'u str) -> &'u str {
        url.strip_prefix(&format!("http://{}", self.host())).unwrap()
    }

    fn put_request(&self, url: &str, bytes: &[u8]) -> Vec<u8> {
        let (host, path) = (self.host(), self.below(url));
        let head = format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len());
        [head.as_bytes(), bytes].concat()
    }

    async fn put_to(&self, url: &str, bytes: &[u8]) -> Heard {
        self.send(&self.put_request(url, bytes)).await.unwrap()
    }

    /// Sends the parts of these numbers of a file of three.
    async fn put_parts(&self, id: &str, file: &[u8], numbers: &[u64]) {
        for number in numbers {
            let url = self.link_to(id, file, *number).await;
            self.put_to(&url, slice(file, THREE[*number as usize - 1])).await.taken();
        }
    }

    async fn complete(&self, id: &str) -> Heard {
        self.call("complete", &json!({ "fileId": id })).await
    }

    async fn detail(&self, id: &str) -> Heard {
        self.call(&format!("{id}/detail"), &json!({ "containerId": "IAAC1" })).await
    }

    /// Stores a file of three parts. Its id.
    async fn stored(&self, name: &str) -> String {
        let file = three();
        let id = self.created(&file, name).await;
        self.put_parts(&id, &file, &[1, 2, 3]).await;
        self.complete(&id).await.okay();
        id
    }
}

#[test]
fn the_signature_is_that_of_the_notes() {
    let body = format!("{{\"fileId\":\"FxTestFileId0001\",\"sha256\":\"{WHOLE}\"}}");
    assert_eq!(sha256(body.as_bytes()), "2c05e11d9e4b587d93b42c23799e209b9ad5796c8105ac17bacb5e5745b0549a");
    let headers = vec![("host", "koodrive.test"), ("x-date", "20250102T030405Z"), ("x-user-id", "1000000000000000001")];
    let path = "/koodrive/ose/v1/files/complete";
    let signed = Signed { method: "POST", path, query: "", headers, body: body.as_bytes() };
    let canonical = sha256(signed.canonical().as_bytes());
    assert_eq!(canonical, "511396a6af7cd54f8a1d45fc957873ec7eb2ad07728d1daacf043949718d1974");
    let signature = signed.signature("test-app-secret");
    assert_eq!(signature, "c3bfad58c31227f8f398145741cf70545ace9774f587d83ce82e2c50bef2eae8");
    let mut headers = HeaderMap::new();
    let authorization = format!("HMAC-SHA256 AppId=app1,SignedHeaders=host;x-date;x-user-id,Signature={signature}");
    headers.insert("authorization", authorization.parse().unwrap());
    headers.insert("host", "koodrive.test".parse().unwrap());
    headers.insert("x-date", "20250102T030405Z".parse().unwrap());
    headers.insert("x-user-id", "1000000000000000001".parse().unwrap());
    let rules = Rules::default();
    let caller =
        Caller { rules: &rules, method: "POST", path, query: "", headers: &headers, body: body.as_bytes(), issued: &|_| None };
    let moment = read_stamp("20250102T030405Z").unwrap();
    assert_eq!(moment, 1_735_787_045_000);
    assert_eq!(caller.check(moment), Ok(Who::App));
    assert_eq!(caller.check(moment + 900_000), Ok(Who::App));
    assert!(caller.check(moment + 901_000).is_err_and(|reason| reason.contains("too old")));
    assert!(caller.check(moment - 1).is_err_and(|reason| reason.contains("future")));
}

#[test]
fn the_states_are_those_of_the_notes() {
    let initial = [1779033703, 3144134277, 1013904242, 2773480762, 1359893119, 2600822924, 528734635, 1541459225];
    assert_eq!(INITIAL, initial);
    let letters = [3747330076, 3894281766, 4215646356, 1339297585, 2992531478, 3604257217, 2878359849, 6512230];
    assert_eq!(reach(INITIAL, 0, &[b'a'; 64][..]).unwrap().words, letters);
    let file = notes_file();
    assert_eq!((words(&file, PART as u64), words(&file, 2 * PART as u64)), (SECOND, THIRD));
    assert_eq!(reach(SECOND, PART as u64, &file[PART..2 * PART]).unwrap().words, THIRD);
    assert_eq!(reach(THIRD, 2 * PART as u64, &file[2 * PART..]).unwrap().digest, WHOLE);
}

#[test]
fn a_digest_that_goes_on_is_the_digest_of_the_whole() {
    let file = bytes(300_000);
    for end in [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 262_143, 262_144, 262_145, 300_000] {
        assert_eq!(reach(INITIAL, 0, &file[..end]).unwrap().digest, sha256(&file[..end]), "{end}");
        let half = end / 128 * 64;
        let reached = reach(words(&file, half as u64), half as u64, &file[half..end]).unwrap();
        assert_eq!(reached.digest, sha256(&file[..end]), "{end}");
    }
}

#[test]
fn the_context_counts_bits_with_a_carry() {
    let table =
        [(536870848, 0, 4294966784_u64), (536870912, 1, 0), (536870976, 1, 512), (5368709120, 10, 0), (471859200, 0, 3774873600)];
    for (offset, nh, nl) in table {
        let text = context(SECOND, offset);
        let json = String::from_utf8(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &text).unwrap()).unwrap();
        let h = SECOND.map(|word| word.to_string()).join(",");
        assert_eq!(json, format!(r#"{{"md_len":32,"num":0,"h":[{h}],"nh":{nh},"nl":{nl},"hash_type":"sha256"}}"#));
        assert_eq!(read_context(&text), Some((SECOND, offset)));
    }
}

#[tokio::test]
async fn the_file_of_the_notes_comes_back_as_it_was_sent() {
    let bench = large();
    let file = notes_file();
    let created = bench.call("create", &create(&file, "a.zip")).await.okay();
    assert_eq!((&created["fileName"], &created["containerId"]), (&json!("a.zip"), &json!("IAAC1")));
    assert_eq!((&created["parentFolder"], created.get("multiParts")), (&json!(["DEU1"]), None));
    let id = created["fileId"].as_str().unwrap();
    let second = json!({ "partNumber": 2, "partSize": PART, "partOffset": PART, "hashCtx": SECOND });
    let third = json!({ "partNumber": 3, "partSize": 1000, "partOffset": 2 * PART, "hashCtx": THIRD });
    let said = bench.ask_links(id, json!([second, third])).await.okay();
    let url = said["multiParts"][0]["uploadUrl"].as_str().unwrap();
    assert_eq!(lacking(said["multiParts"][0].clone(), "uploadUrl"), second);
    let upload_id = created["uploadId"].as_str().unwrap();
    let begin = format!("/koodrive/store/{id}?partNumber=2&uploadId={upload_id}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=");
    assert!(bench.below(url).starts_with(&begin), "{url}");
    let middle = "Z&X-Amz-SignedHeaders=content-length%3Bhost&X-Amz-Expires=3600&X-Amz-Credential=AK1%2F";
    assert!(url.contains(middle) && url.contains("%2Fr1%2Fs3%2Faws4_request&X-Amz-Iteration-Hash-Ctx="), "{url}");
    let end = "&X-Amz-Iteration-Hash-Ctx=eyJtZF9sZW4iOjMyLCJudW0iOjAsImgiOlszMDkyNDQ3ODkwLDMyMzQwNjMwMjgsMzg3NzU0ODkxMSwzMzYyMjc4ODgyLDI4ODU3ODA2MTAsMjE0NjA0NDM5NSwzMzc0MDg3NzQ0LDQwOTU4NzI3MjldLCJuaCI6MCwibmwiOjQxOTQzMDQwLCJoYXNoX3R5cGUiOiJzaGEyNTYifQ%3D%3D&X-Amz-Signature=";
    assert!(url.contains(end), "{url}");
    bench.put_to(said["multiParts"][1]["uploadUrl"].as_str().unwrap(), &file[2 * PART..]).await.taken();
    bench.put_to(url, &file[PART..2 * PART]).await.taken();
    let url = bench.link(id, json!({ "partNumber": 1, "partSize": PART, "partOffset": 0 })).await;
    assert!(!url.contains("Hash-Ctx"));
    bench.put_to(&url, &file[..PART]).await.taken();
    bench.detail(id).await.fails(13_000_309, "does not exist");
    bench.call("complete", &json!({ "fileId": id, "sha256": WHOLE })).await.okay();
    let detail = bench.detail(id).await.okay();
    assert_eq!((&detail["size"], &detail["fileName"], &detail["recycled"]), (&json!(file.len()), &json!("a.zip"), &json!(false)));
    assert!(bench.only_object() == file);
    let object = bench.sandbox.objects().pop().unwrap();
    assert_eq!((object.name.as_str(), object.session.as_str(), object.sha256.as_deref()), ("a.zip", id, Some(WHOLE)));
    let said = bench.call("download", &json!({ "containerId": "IAAC1", "fileIds": [id] })).await.okay();
    let url = said["downloadUrl"].as_str().unwrap().to_owned();
    let fetch = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", bench.below(&url), bench.host());
    let back = bench.send(fetch.as_bytes()).await.unwrap();
    assert!(back.whole && back.body == file);
    let other = fetch.replace("Signature=", "Signature=0");
    bench.send(other.as_bytes()).await.unwrap().xml(403, "SignatureDoesNotMatch");
    bench.sandbox.shift_clock(3600);
    bench.send(fetch.as_bytes()).await.unwrap().xml(403, "AccessDenied");
}

#[tokio::test]
async fn the_log_tells_what_each_request_was() {
    let bench = small();
    let id = bench.stored("a.zip").await;
    bench.detail(&id).await.okay();
    let log = bench.log().await;
    let told: Vec<_> = log.iter().map(|entry| (entry.endpoint.unwrap(), entry.part, entry.outcome.clone())).collect();
    let mut expected = vec![(Endpoint::Open, None, Outcome::Served)];
    for part in 0..3 {
        expected.push((Endpoint::Address, Some(part), Outcome::Served));
        expected.push((Endpoint::Chunk, Some(part), Outcome::Acked));
    }
    expected.extend([(Endpoint::Finish, None, Outcome::Stored), (Endpoint::Probe, None, Outcome::Served)]);
    assert_eq!(told, expected);
    assert!(log.iter().all(|entry| entry.file.as_deref() == Some("a.zip")));
    assert!(log.iter().skip(1).all(|entry| entry.session.as_deref() == Some(&id)));
    assert_eq!(log[2].file_sha256, Some(sha256(&three()[..64])));
    let stats = bench.sandbox.stats();
    assert_eq!((stats.parts_acked, stats.objects_stored, stats.rejected), (3, 1, 0));
}

#[tokio::test]
async fn other_paths_are_404_and_other_methods_405() {
    let bench = small();
    for path in ["files", "files/create/", "files/detail", "files//detail", "files/a/b/detail", "files/complete2"] {
        let said = bench.ask("POST", &format!("/koodrive/koodrive/ose/v1/{path}"), b"{}").await;
        assert_eq!((said.status, &said.json()["error_code"]), (404, &json!("APIGW.0101")), "{path}");
    }
    assert_eq!(bench.ask("POST", "/koodrive/ose/v1/files/create", b"{}").await.status, 404);
    let said = bench.ask("GET", &format!("{PREFIX}/create"), b"").await;
    assert_eq!((said.status, said.header("allow")), (405, Some("POST")));
    bench.ask("POST", "/koodrive/store/x", b"").await.xml(405, "MethodNotAllowed");
    bench.ask("PUT", "/koodrive/fetch/x", b"").await.xml(405, "MethodNotAllowed");
}

#[tokio::test]
async fn a_call_must_be_signed_for_this_time_by_this_application() {
    let bench = small();
    let body = create(b"abc", "a").to_string();
    let path = format!("{PREFIX}/create");
    let send = async |date: &str, secret: &str, change: &dyn Fn(String) -> String| {
        let head = change(bench.signed_head("POST", &path, body.as_bytes(), date, secret));
        bench.send(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap()
    };
    let same = |head: String| head;
    let now = stamp(bench.now());
    send(&now, "test-app-secret", &same).await.okay();
    send(&now, "another", &same).await.unauthorised("does not match");
    send(&stamp(bench.now() - 901_000), "test-app-secret", &same).await.unauthorised("too old");
    send(&stamp(bench.now() + 30_000), "test-app-secret", &same).await.unauthorised("future");
    send("2026-01-02", "test-app-secret", &same).await.unauthorised("X-Date");
    let wrong: [(&str, &str, &str); 7] = [
        ("AppId=app1", "AppId=app2", "application"),
        ("X-User-Id: 1", "X-User-Id: 2", "user"),
        ("X-User-Id: ", "X-Other: ", "X-User-Id is missing"),
        ("X-Date: ", "X-Other: ", "X-Date is missing"),
        ("host;x-date;x-user-id", "x-date;host;x-user-id", "sorted"),
        ("host;x-date;x-user-id", "host;x-date", "sorted"),
        ("app1,Signed", "app1, Signed", "cannot be read"),
    ];
    for (from, to, word) in wrong {
        send(&now, "test-app-secret", &|head| head.replace(from, to)).await.unauthorised(word);
    }
    bench.sandbox.shift_clock(1200);
    send(&now, "test-app-secret", &same).await.unauthorised("too old");
    bench.sandbox.shift_clock(-2400);
    send(&now, "test-app-secret", &same).await.unauthorised("future");
}

#[tokio::test]
async fn the_signature_covers_the_body() {
    let bench = small();
    let (body, other) = (create(b"abc", "a").to_string(), create(b"abc", "b").to_string());
    let head = bench.signed_head("POST", &format!("{PREFIX}/create"), body.as_bytes(), &stamp(bench.now()), "test-app-secret");
    bench.send(&[head.as_bytes(), other.as_bytes()].concat()).await.unwrap().unauthorised("does not match");
}

#[tokio::test]
async fn a_token_is_taken_in_the_forms_of_the_rules() {
    let forms = ["Bearer test-token", "Bearer+test-token", "test-token"];
    let taken = async |bench: &Drive| {
        let mut taken = Vec::new();
        for form in forms {
            let date = stamp(bench.now());
            let headers = format!(
                "Content-Type: application/json\r\nX-User-Id: 1000000000000000001\r\nX-Date: {date}\r\nAuthorization: {form}"
            );
            taken.push(bench.call_as(&headers).await.status == 200);
        }
        taken
    };
    assert_eq!(taken(&small()).await, [false, true, false]);
    assert_eq!(taken(&ruled(|rules| (rules.bearer, rules.bearer_plus) = (true, false))).await, [true, false, false]);
    assert_eq!(taken(&ruled(|rules| (rules.bare, rules.bearer_plus) = (true, false))).await, [false, false, true]);
    let tolerant = ruled(|rules| rules.strict = false);
    assert_eq!(taken(&tolerant).await, [true, true, true]);
    tolerant.call_as("Authorization: Bearer test-token").await.okay();
    tolerant.call_as("Authorization: Bearer other").await.unauthorised("token");
    tolerant.call_as("Authorization: Bearer Bearer+test-token").await.unauthorised("token");
    small().call_as("Authorization: Bearer+test-token").await.unauthorised("X-User-Id is missing");
    small().call_as("X-Other: x").await.unauthorised("Authorization is missing");
    let bearer_only = ruled(|rules| rules.hmac = false);
    bearer_only.call("create", &create(b"abc", "a")).await.unauthorised("signatures are not taken");
}

fn folder(name: &str, parent: &Value) -> Value {
    json!({ "fileName": name, "fileType": "10", "containerId": "IAAC1", "parentFolder": [parent], "renameMode": 3 })
}

#[tokio::test]
async fn a_folder_is_made_once_and_listed_in_pages() {
    let bench = small();
    let directory = "../directory";
    let root = json!("root");
    let made = bench.call(directory, &folder("a", &root)).await.okay()["id"].clone();
    bench.call(directory, &folder("a", &root)).await.fails(13_000_405, "Duplicate");
    bench.call(directory, &with(folder("a", &root), "renameMode", json!(2))).await.okay();
    bench.call(directory, &folder("a", &made)).await.okay();
    for number in 0..3 {
        bench.call(directory, &folder(&format!("b{number}"), &root)).await.okay();
    }
    let page = |info: Value| json!({ "containerId": "IAAC1", "parentFileId": "root", "fileType": "10", "pageInfo": info });
    let first = bench.call("0", &page(json!({ "pageSize": 2 }))).await.okay();
    assert_eq!((&first["files"][0]["id"], &first["files"][0]["fileName"]), (&made, &json!("a")), "{first}");
    assert_eq!((first["files"].as_array().unwrap().len(), &first["pageInfo"]["pageCursor"]), (2, &json!("2")));
    let last = bench.call("0", &page(json!({ "pageSize": 2, "pageCursor": "4" }))).await.okay();
    assert_eq!((last["files"].as_array().unwrap().len(), last["pageInfo"].get("pageCursor")), (1, None), "{last}");
    bench.call("0", &page(json!({ "pageSize": 101 }))).await.fails(13_000_102, "pageSize");
    let wrong = [
        (with(folder("x", &root), "fileType", json!("45")), 13_000_102),
        (with(folder("x", &root), "containerId", json!("other")), 13_000_411),
        (with(folder("x", &root), "renameMode", json!(4)), 13_000_102),
        (folder("a/b", &root), 13_000_102),
        (folder("x", &json!("nowhere")), 13_000_309),
        (with(folder("x", &root), "more", json!(1)), 13_000_102),
    ];
    for (body, code) in wrong {
        bench.call(directory, &body).await.fails(code, "");
    }
    let file = three();
    let into = with(create(&file, "f"), "parentFolder", json!([made]));
    assert_eq!(bench.call("create", &into).await.okay()["parentFolder"], json!([made]));
}

#[tokio::test]
async fn a_file_is_shared_within_the_scopes_of_the_rules() {
    let bench = ruled(|rules| (rules.share_scopes, rules.share_number) = (vec![2], true));
    let id = bench.stored("a.zip").await;
    let share = json!({ "scope": 2, "fileIds": [id], "containerId": "IAAC1", "validDays": 30 });
    let said = bench.call("../share", &share).await.okay();
    let link = &said["shareLink"];
    assert!(link["linkUrl"].is_number() && link["shortUrl"].as_str().unwrap().starts_with("https://"), "{said}");
    bench.call("../share", &with(share.clone(), "scope", json!(1))).await.fails(13_000_410, "scope");
    for (name, value) in [("validDays", json!(366)), ("validDays", json!(0)), ("fileIds", json!([])), ("extractCode", json!("ab"))]
    {
        bench.call("../share", &with(share.clone(), name, value)).await.fails(13_000_102, "");
    }
    bench.call("../share", &with(share, "fileIds", json!(["Fx"]))).await.fails(13_000_309, "");
}

#[tokio::test]
async fn a_code_may_be_inside_an_error() {
    let bench = ruled(|rules| rules.code = CodeForm::InError);
    let said = bench.detail("Fx").await;
    assert_eq!((said.status, &said.json()["error"]["code"], said.json().get("code")), (400, &json!(13_000_309), None));
}

#[tokio::test]
async fn headers_and_bodies_must_be_as_documented() {
    let bench = small();
    let date = stamp(bench.now());
    let who = format!("Authorization: Bearer+test-token\r\nX-User-Id: 1000000000000000001\r\nX-Date: {date}");
    let kind = "Content-Type: application/json";
    bench.call_as(&format!("{who}\r\nContent-Type: text/plain")).await.fails(13_000_101, "content type");
    bench.call_as(&format!("{who}\r\n{kind}\r\nX-Traceid: {}", "a".repeat(57))).await.fails(13_000_102, "X-Traceid");
    bench.call_as(&format!("{who}\r\n{kind}\r\nX-Traceid: {}-", "a".repeat(57))).await.fails(13_000_102, "X-Traceid");
    bench.call_as(&format!("{who}\r\n{kind}; charset=utf-8\r\nX-Traceid: {}_", "a".repeat(57))).await.okay();
    bench.call("create", &json!([1])).await.fails(13_000_102, "JSON object");
    let path = format!("{PREFIX}/create");
    let head = bench.signed_head("POST", &path, b"{", &stamp(bench.now()), "test-app-secret");
    bench.send(&[head.as_bytes(), b"{"].concat()).await.unwrap().fails(13_000_101, "not JSON");
    let long = bench.signed_head("POST", &path, &vec![b' '; 2 << 20], &date, "test-app-secret");
    assert_eq!(bench.send(&[long.as_bytes(), &vec![b' '; 2 << 20]].concat()).await.unwrap().status, 413);
}

#[tokio::test]
async fn each_field_of_a_create_is_checked() {
    let bench = ruled(|rules| rules.folders = vec!["F1".into()]);
    let sound = create(b"abc", "a.zip");
    for name in ["fileName", "fileType", "parentFolder", "length", "uploadMode", "uploadType"] {
        bench.call("create", &lacking(sound.clone(), name)).await.fails(13_000_102, &format!("`{name}` is missing"));
    }
    let digest = sha256(b"abc");
    let wrong = [
        ("fileName", json!("")),
        ("fileName", json!("  ")),
        ("fileName", json!(".")),
        ("fileName", json!("..")),
        ("fileName", json!(7)),
        ("fileName", json!("x".repeat(251))),
        ("fileType", json!(45)),
        ("fileType", json!("")),
        ("parentFolder", json!([])),
        ("parentFolder", json!("root")),
        ("length", json!(-1)),
        ("length", json!("3")),
        ("length", json!(200_000_000_001_u64)),
        ("uploadMode", json!("put")),
        ("uploadType", json!(0)),
        ("uploadType", json!(2)),
        ("uploadType", json!("1")),
        ("sha256", json!(digest[1..])),
        ("sha256", json!(format!("g{}", &digest[1..]))),
        ("preHash", json!("abc")),
        ("autoRename", json!(1)),
        ("autoRename", json!(5)),
        ("createdTime", json!("yesterday")),
        ("description", json!("x".repeat(513))),
        ("mimeType", json!(1)),
        ("unknown", json!(1)),
        ("fileId", json!("x")),
        ("multiParts", json!([])),
        ("multiParts", json!([{ "partNumber": 1, "partSize": 4 }])),
    ];
    for (name, value) in wrong {
        bench.call("create", &with(sound.clone(), name, value.clone())).await.fails(13_000_102, "");
    }
    for c in "<>|:\"*?/\\\n".chars() {
        bench.call("create", &with(sound.clone(), "fileName", json!(format!("a{c}b")))).await.fails(13_000_102, "character");
    }
    bench.call("create", &with(sound.clone(), "parentFolder", json!(["F2"]))).await.fails(13_000_309, "folder");
    let sound_too = [
        ("fileName", json!("ä".repeat(250))),
        ("parentFolder", json!(["F1", "F2"])),
        ("parentFolder", json!(["DEU1"])),
        ("length", json!(200_000_000_000_u64)),
        ("length", json!(0)),
        ("createdTime", json!("2023-08-18T05:43:49Z")),
        ("createdTime", json!("2023-08-18 05:43:49")),
        ("description", json!("ä".repeat(512))),
        ("preHash", json!(digest)),
        ("autoRename", json!(2)),
        ("autoRename", json!(3)),
    ];
    for (name, value) in sound_too {
        bench.call("create", &with(sound.clone(), name, value)).await.okay();
    }
    bench.call("create", &lacking(lacking(sound.clone(), "sha256"), "autoRename")).await.okay();
    let tolerant = ruled(|rules| rules.strict = false);
    tolerant.call("create", &with(sound, "unknown", json!(1))).await.okay();
}

#[tokio::test]
async fn a_file_without_bytes_is_one_part_of_none() {
    let bench = large();
    let id = bench.created(b"", "empty").await;
    bench.complete(&id).await.fails(13_000_402, "0 of 0 bytes");
    let url = bench.link(&id, json!({ "partNumber": 1, "partSize": 0, "partOffset": 0 })).await;
    bench.put_to(&url, b"").await.taken();
    bench.complete(&id).await.okay();
    assert_eq!(bench.only_object(), b"");
    let bench = ruled(|rules| rules.empty_files = false);
    bench.call("create", &create(b"", "empty")).await.fails(13_000_102, "`length`");
}

#[tokio::test]
async fn a_name_that_is_taken_is_dealt_with_as_asked() {
    let bench = ruled(|rules| rules.flash = false);
    let first = bench.stored("a.zip").await;
    let sound = create(&three(), "a.zip");
    let exists = bench.call("create", &sound).await.okay();
    assert_eq!((&exists["exist"], &exists["fileId"]), (&json!(true), &json!(first)));
    bench.call("create", &with(sound.clone(), "autoRename", json!(3))).await.fails(13_000_405, "Duplicate");
    let renamed = bench.call("create", &with(sound.clone(), "autoRename", json!(2))).await.okay();
    let name = renamed["fileName"].as_str().unwrap();
    assert!(name.starts_with("a_2") && name.ends_with(".zip") && renamed["exist"] == json!(false), "{name}");
    for other in [with(sound.clone(), "sha256", json!(sha256(b"other"))), lacking(sound.clone(), "sha256")] {
        let renamed = bench.call("create", &other).await.okay();
        assert_ne!((&renamed["fileName"], &renamed["exist"]), (&json!("a.zip"), &json!(true)));
    }
    // The same name elsewhere, or of a file that is not complete, is in nobody's way.
    bench.created(&three(), "b.zip").await;
    let other = bench.call("create", &with(create(&three(), "b.zip"), "autoRename", json!(3))).await.okay();
    assert_eq!(other["fileName"], "b.zip");
    let long = "x".repeat(246) + ".zip";
    bench.stored(&long).await;
    let renamed = bench.call("create", &with(create(b"abc", &long), "autoRename", json!(2))).await.okay();
    let name = renamed["fileName"].as_str().unwrap();
    assert!(name.len() == 250 && name.ends_with(".zip") && name != long, "{name}");
}

#[tokio::test]
async fn bytes_that_are_held_need_not_be_sent() {
    let bench = small();
    bench.stored("a.zip").await;
    let said = bench.call("create", &create(&three(), "b.zip")).await.okay();
    assert_eq!((&said["rapidUpload"], &said["exist"]), (&json!(true), &json!(false)));
    let id = said["fileId"].as_str().unwrap();
    let entry = bench.last().await;
    assert!(entry.held && entry.outcome == Outcome::Stored);
    let object = bench.sandbox.objects().into_iter().find(|object| object.name == "b.zip").unwrap();
    assert_eq!((object.id.as_str(), object.session.as_str(), object.sha256.clone()), (id, id, Some(sha256(&three()))));
    assert_eq!(bench.sandbox.read(&object).unwrap(), three());
    bench.detail(id).await.okay();
    bench.complete(id).await.fails(13_000_401, "not found");
    let other = bench.call("create", &with(create(&three(), "c.zip"), "length", json!(202))).await.okay();
    assert_eq!(other["rapidUpload"], json!(false));
    let without = ruled(|rules| rules.flash = false);
    without.stored("a.zip").await;
    without.created(&three(), "b.zip").await;
}

#[tokio::test]
async fn a_file_over_the_quota_is_refused() {
    let bench = ruled(|rules| rules.quota = 300);
    let (first, second) = (bench.created(&three(), "a").await, bench.created(&three(), "b").await);
    for id in [&first, &second] {
        bench.put_parts(id, &three(), &[1, 2, 3]).await;
    }
    bench.complete(&first).await.okay();
    bench.complete(&second).await.fails(13_000_311, "space");
    bench.call("create", &create(&bytes(100), "b")).await.fails(13_000_311, "space");
    bench.call("create", &create(&bytes(99), "b")).await.okay();
}

#[tokio::test]
async fn what_a_link_is_asked_for_is_checked() {
    let bench = small();
    let file = three();
    let id = bench.created(&file, "a").await;
    let (first, second, third) = (info(&file, 1, THREE[0]), info(&file, 2, THREE[1]), info(&file, 3, THREE[2]));
    bench.ask_links("FxUnknown", json!([first])).await.fails(13_000_401, "not found");
    bench.call("multipart/uploadUrl", &json!({ "multiParts": [first] })).await.fails(13_000_102, "fileId");
    bench.call("multipart/uploadUrl", &json!({ "fileId": id })).await.fails(13_000_102, "multiParts");
    bench.ask_links(&id, json!([])).await.fails(13_000_102, "1 to 10");
    bench.ask_links(&id, json!([7])).await.fails(13_000_102, "object");
    bench.ask_links(&id, json!([first, first])).await.fails(13_000_102, "twice");
    bench.ask_links(&id, json!(vec![first.clone(); 11])).await.fails(13_000_102, "1 to 10");
    let wrong = [
        (with(first.clone(), "partNumber", json!(0)), "1 to 10000"),
        (with(second.clone(), "partNumber", json!(10_001)), "1 to 10000"),
        (lacking(first.clone(), "partNumber"), "missing"),
        (lacking(first.clone(), "partSize"), "missing"),
        (with(first.clone(), "partSize", json!(63)), "at least 64"),
        (with(first.clone(), "partSize", json!(65)), "multiple of 64"),
        (with(first.clone(), "partSize", json!(202)), "after the 201 bytes"),
        (with(first.clone(), "partSize", json!(5_368_709_121_u64)), "at most"),
        (with(first.clone(), "partOffset", json!(64)), "must be 0"),
        (with(first.clone(), "hashCtx", json!(INITIAL)), "first part"),
        (with(first.clone(), "uploadUrl", json!("http://x")), "not for requests"),
        (with(first.clone(), "partId", json!("x")), "not for requests"),
        (lacking(second.clone(), "partOffset"), "missing"),
        (lacking(second.clone(), "hashCtx"), "missing"),
        (with(second.clone(), "partOffset", json!(65)), "multiple of 64"),
        (with(second.clone(), "partOffset", json!(0)), "sum of the sizes"),
        (with(second.clone(), "hashCtx", json!([1, 2, 3, 4, 5, 6, 7])), "8 numbers"),
        (with(second.clone(), "hashCtx", json!([1, 2, 3, 4, 5, 6, 7, 8, 9])), "8 numbers"),
        (with(second.clone(), "hashCtx", json!([1, 2, 3, 4, 5, 6, 7, 4_294_967_296_u64])), "8 numbers"),
        (with(second.clone(), "hashCtx", json!([1, 2, 3, 4, 5, 6, 7, -8])), "8 numbers"),
        (with(third.clone(), "partOffset", json!(64)), "at least 64"),
        (with(with(third.clone(), "partOffset", json!(64)), "partSize", json!(137)), "sum of the sizes"),
    ];
    for (part, word) in wrong {
        bench.ask_links(&id, json!([part])).await.fails(13_000_102, word);
    }
    bench.ask_links(&id, json!([first])).await.okay();
    let shifted = with(second.clone(), "partOffset", json!(128));
    bench.ask_links(&id, json!([with(shifted, "partSize", json!(64))])).await.fails(13_000_102, "sum of the sizes");
    bench.ask_links(&id, json!([second, third])).await.okay();
    bench.ask_links(&id, json!([with(first, "partSize", json!(128))])).await.fails(13_000_102, "sum of the sizes");
}

#[tokio::test]
async fn links_may_be_asked_for_in_any_order() {
    let bench = small();
    let file = three();
    let id = bench.created(&file, "a").await;
    bench.put_parts(&id, &file, &[3, 1, 2]).await;
    bench.complete(&id).await.okay();
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn a_part_must_come_as_its_link_says() {
    let bench = small();
    let file = three();
    let id = bench.created(&file, "a").await;
    let url = bench.link_to(&id, &file, 2).await;
    let part = slice(&file, THREE[1]);
    let send = async |from: &str, to: &str| {
        let request = String::from_utf8_lossy(&bench.put_request(&url, b"")).replace("Content-Length: 0", "Content-Length: 128");
        assert!(request.contains(from), "{from}");
        bench.send(&[request.replacen(from, to, 1).as_bytes(), part].concat()).await.unwrap()
    };
    bench.put_to(&url, &part[..127]).await.xml(403, "SignatureDoesNotMatch");
    bench.put_to(&url, &file[..129]).await.xml(403, "SignatureDoesNotMatch");
    let tampered = [
        ("partNumber=2", "partNumber=3"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=9999"),
        ("uploadId=0", "uploadId=1"),
        ("%3B", ";"),
        ("%2F", "/"),
        ("Hash-Ctx=eyJ", "Hash-Ctx=eyK"),
        ("Signature=", "Signature=0"),
        ("X-Amz-Signature=", "X-Amz-Signatur="),
        ("Host: 127", "Host: 128"),
        ("/koodrive/store/F", "/koodrive/store/%46"),
    ];
    for (from, to) in tampered {
        send(from, to).await.xml(403, "SignatureDoesNotMatch");
    }
    send("Connection", "Authorization: Bearer test-token\r\nConnection").await.xml(400, "InvalidArgument");
    send("Connection", "x-amz-acl: private\r\nConnection").await.xml(400, "InvalidArgument");
    let head = String::from_utf8(bench.put_request(&url, b"")).unwrap().replace("Content-Length: 0", "Transfer-Encoding: chunked");
    bench.send(format!("{head}3\r\nabc\r\n0\r\n\r\n").as_bytes()).await.unwrap().xml(411, "MissingContentLength");
    assert!(bench.log().await.iter().all(|entry| !entry.held));
    let said = send("Connection", "Content-Type: application/octet-stream\r\nConnection").await;
    said.taken();
    assert_eq!(said.header("etag").map(str::len), Some(34));
}

#[tokio::test]
async fn a_link_has_an_end() {
    let bench = ruled(|rules| rules.link_seconds = 60);
    let file = three();
    let id = bench.created(&file, "a").await;
    let url = bench.link_to(&id, &file, 1).await;
    assert!(url.contains("X-Amz-Expires=60&"));
    bench.sandbox.shift_clock(50);
    bench.put_to(&url, &file[..64]).await.taken();
    bench.sandbox.shift_clock(10);
    let said = bench.put_to(&url, &file[..64]).await;
    said.xml(403, "AccessDenied");
    assert!(said.text().contains("<Message>Request has expired</Message>"));
    let url = bench.link_to(&id, &file, 1).await;
    bench.put_to(&url, &file[..64]).await.taken();
    bench.sandbox.shift_clock(-1200);
    bench.put_to(&url, &file[..64]).await.xml(403, "RequestTimeTooSkewed");
}

#[tokio::test]
async fn the_last_of_a_part_sent_twice_counts() {
    let bench = small();
    let file = three();
    let id = bench.created(&file, "a").await;
    bench.put_parts(&id, &file, &[1, 2, 3]).await;
    let url = bench.link_to(&id, &file, 1).await;
    bench.put_to(&url, &[7; 64]).await.taken();
    let entry = bench.last().await;
    assert!(entry.again && entry.differed && entry.held);
    bench.complete(&id).await.fails(13_000_402, "hashCtx");
    bench.put_to(&url, &file[..64]).await.taken();
    bench.put_to(&url, &file[..64]).await.taken();
    let entry = bench.last().await;
    assert!(entry.again && !entry.differed);
    bench.complete(&id).await.okay();
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn a_complete_needs_all_parts_and_right_digests() {
    let bench = small();
    let file = three();
    let id = bench.created(&file, "a").await;
    bench.call("complete", &json!({})).await.fails(13_000_102, "fileId");
    bench.call("complete", &json!({ "fileId": id, "sha256": "x" })).await.fails(13_000_102, "sha256");
    bench.call("complete", &json!({ "fileId": id, "length": 3 })).await.fails(13_000_102, "length");
    bench.complete("FxUnknown").await.fails(13_000_401, "not found");
    bench.complete(&id).await.fails(13_000_402, "0 of 201");
    bench.put_parts(&id, &file, &[1, 3]).await;
    bench.complete(&id).await.fails(13_000_402, "part 2 is missing");
    let wrong = with(info(&file, 2, THREE[1]), "hashCtx", json!(INITIAL));
    let url = bench.link(&id, wrong).await;
    bench.put_to(&url, slice(&file, THREE[1])).await.taken();
    bench.complete(&id).await.fails(13_000_402, "hashCtx");
    bench.put_parts(&id, &file, &[2]).await;
    bench.call("complete", &json!({ "fileId": id, "sha256": sha256(b"") })).await.fails(13_000_402, "SHA-256");
    assert_eq!(bench.sandbox.objects(), []);
    bench.call("complete", &json!({ "fileId": id, "sha256": sha256(&file).to_uppercase() })).await.okay();
    let other = bench.call("create", &with(create(&file, "b"), "sha256", json!(sha256(b"")))).await.okay();
    let other = other["fileId"].as_str().unwrap();
    bench.put_parts(other, &file, &[1, 2, 3]).await;
    bench.complete(other).await.fails(13_000_402, "SHA-256");
}

#[tokio::test]
async fn parts_must_follow_one_another() {
    let bench = small();
    let file = bytes(256);
    let id = bench.created(&file, "a").await;
    let whole = bench.link(&id, json!({ "partNumber": 1, "partSize": 256 })).await;
    let half = bench.link(&id, json!({ "partNumber": 1, "partSize": 128 })).await;
    let end = bench.link(&id, info(&file, 2, (128, 128))).await;
    bench.put_to(&whole, &file).await.taken();
    bench.put_to(&end, &file[128..]).await.taken();
    bench.complete(&id).await.fails(13_000_402, "part 2 does not begin");
    bench.put_to(&half, &file[..128]).await.taken();
    bench.complete(&id).await.okay();
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn after_a_complete_there_is_a_file_and_no_upload() {
    let bench = small();
    let file = three();
    let id = bench.created(&file, "a").await;
    bench.put_parts(&id, &file, &[1, 2, 3]).await;
    let url = bench.link_to(&id, &file, 1).await;
    bench.detail(&id).await.fails(13_000_309, "does not exist");
    bench.complete(&id).await.okay();
    bench.complete(&id).await.fails(13_000_401, "not found");
    bench.ask_links(&id, json!([info(&file, 1, THREE[0])])).await.fails(13_000_401, "not found");
    bench.put_to(&url, &file[..64]).await.xml(404, "NoSuchUpload");
    assert_eq!(bench.detail(&id).await.okay()["size"], json!(201));
    bench.detail("FxUnknown").await.fails(13_000_309, "does not exist");
    let path = format!("{id}/detail");
    bench.call(&path, &json!({})).await.fails(13_000_102, "containerId");
    bench.call(&path, &json!({ "containerId": "other" })).await.fails(13_000_411, "space");
    let download = json!({ "containerId": "IAAC1", "fileIds": [id, "FxUnknown"] });
    bench.call("download", &download).await.fails(13_000_309, "does not exist");
    let many = json!({ "containerId": "IAAC1", "fileIds": vec![id; 101] });
    bench.call("download", &many).await.fails(13_000_102, "100");
}

#[tokio::test]
async fn without_contexts_parts_must_come_in_order() {
    let bench = ruled(|rules| rules.sequential = true);
    let file = three();
    let id = bench.created(&file, "a").await;
    let parts: Vec<_> =
        THREE.iter().zip(1..).map(|((_, bytes), number)| json!({ "partNumber": number, "partSize": bytes })).collect();
    bench.ask_links(&id, json!([parts[1]])).await.fails(13_000_102, "partOffset");
    let said = bench.ask_links(&id, json!(parts)).await.okay();
    let urls: Vec<_> = (0..3).map(|part| said["multiParts"][part]["uploadUrl"].as_str().unwrap().to_owned()).collect();
    assert!(urls.iter().all(|url| !url.contains("Hash-Ctx")));
    bench.put_to(&urls[1], slice(&file, THREE[1])).await.xml(400, "InvalidArgument");
    for (url, place) in urls.iter().zip(THREE) {
        bench.put_to(url, slice(&file, place)).await.taken();
    }
    bench.complete(&id).await.okay();
    assert_eq!(bench.only_object(), file);
    let mixed = json!([info(&file, 1, THREE[0]), lacking(info(&file, 2, THREE[1]), "hashCtx")]);
    let id = bench.created(&bytes(202), "b").await;
    bench.ask_links(&id, mixed).await.fails(13_000_102, "hashCtx");
}

#[tokio::test]
async fn rules_change_the_form_of_replies() {
    let text = ruled(|rules| rules.code = CodeForm::Text);
    assert_eq!(text.call("create", &create(b"abc", "a")).await.json()["code"], "0");
    assert_eq!(text.complete("FxUnknown").await.json()["code"], "13000401");
    let asking = with(create(b"abc", "a"), "multiParts", json!([{ "partNumber": 1, "partSize": 3, "partOffset": 0 }]));
    for (first_links, plain, asked) in
        [(FirstLinks::Never, false, false), (FirstLinks::Asked, false, true), (FirstLinks::Always, true, true)]
    {
        let bench = ruled(|rules| rules.first_links = first_links);
        assert_eq!(bench.call("create", &create(b"abc", "a")).await.okay().get("multiParts").is_some(), plain);
        let said = bench.call("create", &asking).await.okay();
        assert_eq!(said.get("multiParts").is_some(), asked);
        if asked {
            bench.put_to(said["multiParts"][0]["uploadUrl"].as_str().unwrap(), b"abc").await.taken();
            bench.complete(said["fileId"].as_str().unwrap()).await.okay();
            assert_eq!(bench.only_object(), b"abc");
        }
    }
}

#[tokio::test]
async fn an_upload_may_be_replaced_by_another() {
    let bench = ruled(|rules| rules.upload_id = UploadId::Changes);
    let file = three();
    let id = bench.created(&file, "a").await;
    let first = bench.link_to(&id, &file, 1).await;
    bench.put_to(&first, &file[..64]).await.taken();
    let second = bench.link_to(&id, &file, 2).await;
    let upload_id = |url: &str| url.split("uploadId=").nth(1).unwrap()[..32].to_owned();
    assert_ne!(upload_id(&first), upload_id(&second));
    bench.put_to(&first, &file[..64]).await.xml(404, "NoSuchUpload");
    bench.put_to(&second, slice(&file, THREE[1])).await.taken();
    bench.complete(&id).await.fails(13_000_402, "part 1 is missing");
}

#[tokio::test]
async fn a_restart_keeps_half_a_file_and_its_rest_completes_it() {
    let bench = small();
    let file = three();
    let done = bench.stored("done").await;
    let id = bench.created(&bytes(201 - 64), "x").await;
    assert_ne!(id, done);
    let id = bench.call("create", &with(create(&file, "a"), "sha256", json!(sha256(b"none")))).await.okay()["fileId"].clone();
    let id = id.as_str().unwrap();
    bench.put_parts(id, &file, &[1, 3]).await;
    let second = bench.link_to(id, &file, 2).await;
    let path = bench.below(&second).to_owned();
    let before = bench.host();
    let bench = bench.restart(small_again).await;
    // The port is another one, and links are for the host they were made for.
    let stale = format!("PUT {path} HTTP/1.1\r\nHost: {before}\r\nConnection: close\r\nContent-Length: 128\r\n\r\n");
    bench.send(&[stale.as_bytes(), slice(&file, THREE[1])].concat()).await.unwrap().taken();
    bench.complete(id).await.fails(13_000_402, "SHA-256");
    bench.detail(&done).await.okay();
    assert_eq!(bench.call("create", &create(&file, "done")).await.okay()["exist"], json!(true));
    assert_eq!(bench.call("create", &create(&file, "other")).await.okay()["rapidUpload"], json!(true));
    let id =
        bench.call("create", &with(lacking(create(&file, "b"), "sha256"), "autoRename", json!(2))).await.okay()["fileId"].clone();
    let id = id.as_str().unwrap().to_owned();
    bench.put_parts(&id, &file, &[3, 2]).await;
    let bench = bench.restart(small_again).await;
    bench.put_parts(&id, &file, &[1]).await;
    bench.complete(&id).await.okay();
    bench.complete(&id).await.fails(13_000_401, "");
    let bench = bench.restart(small_again).await;
    bench.detail(&id).await.okay();
    bench.complete(&id).await.fails(13_000_401, "");
}

#[tokio::test]
async fn a_restart_without_sessions_keeps_files_alone() {
    let bench = small();
    let file = three();
    let done = bench.stored("done").await;
    let id = bench.created(&bytes(200), "a").await;
    let url = bench.link(&id, json!({ "partNumber": 1, "partSize": 64 })).await;
    bench.put_to(&url, &file[..64]).await.taken();
    let (path, host) = (bench.below(&url).to_owned(), bench.host());
    let bench = bench
        .restart(|options| {
            small_again(options);
            options.lose = Lose::Sessions;
        })
        .await;
    bench.complete(&id).await.fails(13_000_401, "not found");
    bench.ask_links(&id, json!([info(&file, 1, THREE[0])])).await.fails(13_000_401, "not found");
    let stale = format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 64\r\n\r\n");
    bench.send(&[stale.as_bytes(), &file[..64]].concat()).await.unwrap().xml(404, "NoSuchUpload");
    bench.detail(&done).await.okay();
    assert_eq!(bench.call("create", &create(&file, "other")).await.okay()["rapidUpload"], json!(true));
    assert!(!bench.dir.path().join("koodrive/records").read_dir().unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("session")
    }));
}

#[tokio::test]
async fn lost_sessions_are_unknown_and_their_files_stay() {
    let bench = small();
    let file = three();
    let done = bench.stored("done").await;
    let id = bench.created(&bytes(200), "a").await;
    let url = bench.link(&id, json!({ "partNumber": 1, "partSize": 64 })).await;
    bench.sandbox.lose_sessions().unwrap();
    bench.put_to(&url, &file[..64]).await.xml(404, "NoSuchUpload");
    bench.complete(&id).await.fails(13_000_401, "not found");
    bench.detail(&done).await.okay();
    assert_eq!(bench.only_object(), file);
}

/// A host with a rule at work, and a file of three parts on it whose parts are not sent yet.
async fn faulty_file(rule: Rule) -> (Drive, String) {
    let bench = small();
    let id = bench.created(&three(), "a").await;
    bench.sandbox.set_faults(Script::of([rule.host("koodrive")])).unwrap();
    (bench, id)
}

#[tokio::test]
async fn faults_speak_the_words_of_the_host() {
    let (bench, id) = faulty_file(Rule::new(Action::Expire).at(Endpoint::Chunk)).await;
    let url = bench.link_to(&id, &three(), 1).await;
    bench.put_to(&url, &three()[..64]).await.xml(403, "AccessDenied");
    let (bench, id) = faulty_file(Rule::new(Action::Deny).at(Endpoint::Address)).await;
    bench.ask_links(&id, json!([])).await.unauthorised("authentication");
    let (bench, _) = faulty_file(Rule::new(Action::Limit).at(Endpoint::Open)).await;
    let said = bench.call("create", &create(b"abc", "b")).await;
    assert_eq!((said.status, &said.json()["error_code"]), (429, &json!("APIGW.0308")));
    let (bench, _) = faulty_file(Rule::new(Action::AccountFull)).await;
    bench.call("create", &create(b"abc", "b")).await.fails(13_000_311, "space");
    let (bench, id) = faulty_file(Rule::new(Action::LoseSession).at(Endpoint::Finish)).await;
    bench.put_parts(&id, &three(), &[1, 2, 3]).await;
    bench.complete(&id).await.fails(13_000_401, "not found");
    bench.ask_links(&id, json!([info(&three(), 1, THREE[0])])).await.fails(13_000_401, "not found");
    let (bench, id) = faulty_file(Rule::new(Action::LoseSession).at(Endpoint::Chunk).part(1)).await;
    bench.put_parts(&id, &three(), &[1]).await;
    let url = bench.link_to(&id, &three(), 2).await;
    bench.put_to(&url, slice(&three(), THREE[1])).await.xml(404, "NoSuchUpload");
}

#[tokio::test]
async fn a_part_that_is_dropped_or_corrupted_is_found_at_the_end() {
    for (action, word) in [(Action::DropPart, "part 2 is missing"), (Action::CorruptPart, "has changed")] {
        let (bench, id) = faulty_file(Rule::new(action).at(Endpoint::Chunk).part(1).when(When::First(1))).await;
        bench.put_parts(&id, &three(), &[1, 2, 3]).await;
        bench.complete(&id).await.fails(13_000_402, word);
        bench.put_parts(&id, &three(), &[2]).await;
        bench.complete(&id).await.okay();
        assert_eq!(bench.only_object(), three());
        assert_eq!(std::fs::read_dir(bench.dir.path().join("incoming")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_complete_that_lies_can_be_repeated() {
    let (bench, id) = faulty_file(Rule::new(Action::WrongFacts).when(When::First(1))).await;
    bench.sandbox.set_faults(Script::of([Rule::new(Action::WrongFacts).at(Endpoint::Finish).when(When::First(1))])).unwrap();
    bench.put_parts(&id, &three(), &[1, 2, 3]).await;
    bench.complete(&id).await.fails(13_000_402, "on purpose");
    bench.complete(&id).await.okay();
    let (bench, id) = faulty_file(Rule::new(Action::WrongFacts).at(Endpoint::Chunk).part(0)).await;
    for (number, honest) in [(1, false), (2, true)] {
        let url = bench.link_to(&id, &three(), number).await;
        let part = slice(&three(), THREE[number as usize - 1]).to_vec();
        let said = bench.put_to(&url, &part).await;
        use md5::Digest;
        let md5 = super::super::digest::hex(&md5::Md5::digest(&part));
        assert_eq!(said.header("etag") == Some(&format!("\"{md5}\"")), honest, "{}", said.head);
    }
}

#[tokio::test]
async fn a_lost_reply_and_a_double_request_leave_one_file() {
    let (bench, id) = faulty_file(Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Finish).when(When::First(1))).await;
    bench.put_parts(&id, &three(), &[1, 2, 3]).await;
    let body = json!({ "fileId": id }).to_string();
    let path = format!("{PREFIX}/complete");
    let head = bench.signed_head("POST", &path, body.as_bytes(), &stamp(bench.now()), "test-app-secret");
    assert!(bench.send(&[head.as_bytes(), body.as_bytes()].concat()).await.is_err());
    bench.detail(&id).await.okay();
    bench.complete(&id).await.fails(13_000_401, "not found");
    let (bench, id) = faulty_file(Rule::new(Action::Twice)).await;
    bench.put_parts(&id, &three(), &[1, 2, 3]).await;
    assert!(bench.last().await.again);
    bench.complete(&id).await.fails(13_000_401, "not found");
    assert!(bench.last().await.held);
    assert_eq!(bench.only_object(), three());
}

#[tokio::test]
async fn a_host_that_discards_checks_lengths_alone() {
    let bench = Drive(bench_with(|options| {
        small_again(options);
        options.discard = true;
    }));
    let file = three();
    let id = bench.created(&file, "a").await;
    let wrong = with(info(&file, 2, THREE[1]), "hashCtx", json!(INITIAL));
    let url = bench.link(&id, wrong).await;
    bench.put_to(&url, slice(&file, THREE[1])).await.taken();
    bench.put_parts(&id, &file, &[1]).await;
    bench.complete(&id).await.fails(13_000_402, "192 of 201");
    bench.put_parts(&id, &file, &[3]).await;
    bench.complete(&id).await.okay();
    assert_eq!(bench.detail(&id).await.okay()["size"], json!(201));
    assert_eq!(bench.sandbox.objects()[0].sha256, None);
    assert_eq!(bench.call("create", &create(&file, "a")).await.okay()["exist"], json!(true));
    bench.created(&file, "b").await;
}

#[test]
fn the_configuration_names_the_host_and_its_secrets() {
    let text = super::super::koodrive::config("127.0.0.1:8080".parse().unwrap());
    let table: toml::Table = toml::from_str(&text).unwrap();
    let koodrive = &table["host"]["koodrive"];
    let value = |name: &str| koodrive[name].as_str().unwrap().to_owned();
    assert_eq!((value("kind"), value("base_url")), ("koodrive".into(), "http://127.0.0.1:8080/koodrive".into()));
    assert_eq!((value("app_id"), value("app_secret")), ("app1".into(), "test-app-secret".into()));
    assert_eq!((value("user_id"), koodrive["allow_private"].as_bool()), ("1000000000000000001".into(), Some(true)));
}

#[tokio::test]
async fn a_part_has_at_least_5_mib_unless_the_rules_say_less() {
    let bench = large();
    let id = bench.call("create", &with(create(b"", "a"), "length", json!(10_486_760))).await.okay()["fileId"].clone();
    let id = id.as_str().unwrap();
    let part = |bytes: usize| json!([{ "partNumber": 1, "partSize": bytes, "partOffset": 0 }]);
    bench.ask_links(id, part(PART - 64)).await.fails(13_000_102, "at least 5242880");
    bench.ask_links(id, part(PART)).await.okay();
    bench.ask_links(id, part(10_486_760)).await.okay();
}

#[tokio::test]
async fn of_completes_at_the_same_time_one_wins() {
    let bench = small();
    let file = bytes(3_000_000);
    let id = bench.created(&file, "a").await;
    let url = bench.link(&id, json!({ "partNumber": 1, "partSize": file.len() })).await;
    bench.put_to(&url, &file).await.taken();
    let (one, two, three) = tokio::join!(bench.complete(&id), bench.complete(&id), bench.complete(&id));
    let mut codes = [one, two, three].map(|said| said.json()["code"].as_u64().unwrap());
    codes.sort_unstable();
    assert!(codes[0] == 0 && codes[1..].iter().all(|code| [13_000_401, 13_000_403].contains(code)), "{codes:?}");
    assert_eq!(bench.sandbox.objects().len(), 1);
}

impl Drive {
    /// A call below the prefix of all calls with a token, and with more headers.
    async fn call_with_token(&self, path: &str, token: &str, more: &str, body: &str) -> Heard {
        let (host, date, path) = (self.host(), stamp(self.now()), format!("{PREFIX}/../{path}").replace("/files/../", "/"));
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\
             X-User-Id: 1000000000000000001\r\nX-Date: {date}\r\nAuthorization: {token}\r\n{more}\r\n{body}",
            body.len()
        );
        self.send(request.as_bytes()).await.unwrap()
    }

    /// Lists the folders with a token.
    async fn list_with_token(&self, token: &str) -> Heard {
        let body = json!({ "containerId": "IAAC1", "parentFileId": "root", "fileType": "10" }).to_string();
        self.call_with_token("files/0", token, "", &body).await
    }

    /// Another token by the id of the session.
    async fn refresh_session(&self, token: &str, id: &str) -> Heard {
        self.call_with_token("session/refresh", token, &format!("x-session-id: {id}\r\n"), "{}").await
    }

    /// Another token by a refresh token.
    async fn refresh_token(&self, refresh: &str) -> Heard {
        self.call_with_token("auth/refreshToken", "none", "", &json!({ "refreshToken": refresh }).to_string()).await
    }
}

#[tokio::test]
async fn a_token_lives_for_twenty_minutes_after_each_call_and_no_longer() {
    let bench = small();
    for _ in 0..4 {
        bench.list_with_token("Bearer+test-token").await.okay();
        bench.sandbox.shift_clock(1199);
    }
    bench.sandbox.shift_clock(10);
    bench.list_with_token("Bearer+test-token").await.unauthorised("has ended");
    bench.list_with_token("Bearer+test-token").await.unauthorised("has ended");
    bench.call("create", &create(b"abc", "a")).await.okay();
}

#[tokio::test]
async fn the_id_of_a_session_gives_another_token_even_for_one_that_is_dead() {
    let bench = ruled(|rules| rules.scheme = "AT ".into());
    bench.list_with_token("Bearer+test-token").await.okay();
    bench.sandbox.shift_clock(1300);
    bench.refresh_session("Bearer+test-token", "another").await.unauthorised("session");
    bench.refresh_session("Bearer+other", "test-session").await.unauthorised("session");
    let token = bench.refresh_session("Bearer+test-token", "test-session").await.okay()["accessToken"].as_str().unwrap().to_owned();
    assert!(token.starts_with("AT "));
    bench.list_with_token(&token).await.okay();
    for other in ["Bearer+test-token", &token[3..], &format!("Bearer+{}", &token[3..])] {
        bench.list_with_token(other).await.unauthorised("not valid");
    }
    bench.refresh_session(&token[3..], "test-session").await.unauthorised("session");
    let next = bench.refresh_session(&token, "test-session").await.okay()["accessToken"].clone();
    assert_ne!(next, json!(token));
    // Whoever has not heard of the last one asks with one before it.
    for former in [token.as_str(), "Bearer+test-token"] {
        bench.refresh_session(former, "test-session").await.okay();
        bench.list_with_token(former).await.unauthorised("not valid");
    }
}

#[tokio::test]
async fn a_refresh_token_is_good_for_once_unless_the_rules_say_otherwise() {
    let bench = small();
    bench.refresh_token("other").await.unauthorised("refresh token");
    let info = bench.refresh_token("test-refresh").await.okay()["data"]["sessionInfo"].clone();
    assert_eq!(info["expiresIn"], 1800);
    bench.refresh_token("test-refresh").await.unauthorised("refresh token");
    let token = info["accessToken"].as_str().unwrap();
    for _ in 0..2 {
        bench.list_with_token(token).await.okay();
        bench.sandbox.shift_clock(850);
    }
    bench.list_with_token(token).await.okay();
    bench.sandbox.shift_clock(150);
    bench.list_with_token(token).await.unauthorised("has ended");
    bench.refresh_token(info["refreshToken"].as_str().unwrap()).await.okay();
    let bench = ruled(|rules| (rules.refresh_once, rules.renewed, rules.expires_in) = (false, Renewed::Data, None));
    for _ in 0..3 {
        let data = bench.refresh_token("test-refresh").await.okay()["data"].clone();
        assert_eq!((&data["refreshToken"], &data["expiresIn"]), (&json!("test-refresh"), &Value::Null));
        bench.list_with_token(data["accessToken"].as_str().unwrap()).await.okay();
    }
}
