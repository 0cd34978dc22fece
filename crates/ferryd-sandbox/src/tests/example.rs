//! The example as its page describes it, and what is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use super::*;

const LOGIN: &str = "user=me%40objects.invalid&password=s3cret-example";

/// A client with a token.
struct Client<'b> {
    bench: &'b Bench,
    token: String,
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).unwrap_or_else(|| panic!("{text}")).0
}

impl Bench {
    async fn login(&self, fields: &str) -> Said {
        self.example("POST", "/login", &["Content-Type: application/x-www-form-urlencoded"], fields.as_bytes()).await
    }

    async fn client(&self) -> Client<'_> {
        let said = self.login(LOGIN).await;
        assert_eq!(said.status, 200, "{}", said.text());
        Client { bench: self, token: between(said.text(), "<Value>", "</Value>").to_owned() }
    }

    async fn example(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Said {
        let headers: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
        let length = body.len();
        let head = format!(
            "{method} /example{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        self.send(&[head.as_bytes(), body].concat()).await.unwrap()
    }
}

impl Client<'_> {
    async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Said {
        let token = format!("Authorization: Bearer {}", self.token);
        self.bench.example(method, path, &[&[token.as_str()], headers].concat(), body).await
    }

    async fn open(&self, query: &str) -> Said {
        self.ask("POST", &format!("/objects?{query}"), &["Content-Type: image/png"], b"").await
    }

    async fn session(&self, bytes: usize, parts: usize) -> String {
        let said = self.open(&format!("name=a%20b.png&bytes={bytes}&parts={parts}")).await;
        assert_eq!(said.status, 201, "{}", said.text());
        said.header("session-id").unwrap().to_owned()
    }

    async fn part(&self, session: &str, number: usize, bytes: &[u8]) -> Said {
        let digest = format!("Content-MD5: {}", STANDARD.encode(Md5::digest(bytes)));
        self.ask("PUT", &format!("/objects/{session}/parts/{number}"), &[&digest], bytes).await
    }

    async fn etag(&self, session: &str, number: usize, bytes: &[u8]) -> String {
        let said = self.part(session, number, bytes).await;
        assert_eq!(said.status, 200, "{}", said.text());
        said.header("etag").unwrap().to_owned()
    }

    async fn listing(&self, session: &str) -> Said {
        self.ask("GET", &format!("/objects/{session}"), &[], b"").await
    }

    async fn finish(&self, session: &str, named: &[(usize, &str)]) -> Said {
        let part = |(number, etag): &(usize, &str)| format!("<Part><Number>{number}</Number><ETag>{etag}</ETag></Part>");
        let body = format!("<Finish>{}</Finish>", named.iter().map(part).collect::<String>());
        self.ask("POST", &format!("/objects/{session}"), &["Content-Type: application/xml"], body.as_bytes()).await
    }
}

#[track_caller]
fn says(said: &Said, status: u16, code: &str) {
    assert_eq!((said.status, between(said.text(), "<Code>", "</Code>")), (status, code), "{}", said.text());
}

#[tokio::test]
async fn parts_in_any_order_become_the_file_with_its_type() {
    let bench = bench();
    let client = bench.client().await;
    let id = client.session(7, 2).await;
    let second = client.etag(&id, 2, b"efg").await;
    let first = client.etag(&id, 1, b"abcd").await;
    let said = client.finish(&id, &[(1, &first), (2, &second)]).await;
    assert_eq!((said.status, between(said.text(), "<Bytes>", "<")), (200, "7"), "{}", said.text());
    assert_eq!(bench.only_object(), b"abcdefg");
    assert_eq!(bench.sandbox.objects()[0].name, "a b.png");
    let link = between(said.text(), "<Link>http://h", "</Link>");
    let file = bench.get(link).await.unwrap();
    assert_eq!((file.body.as_slice(), file.header("content-type")), (&b"abcdefg"[..], Some("image/png")));
    let again = client.finish(&id, &[(1, &first), (2, &second)]).await;
    assert_eq!((again.text(), client.listing(&id).await.text()), (said.text(), said.text()));
    assert_eq!(bench.sandbox.objects().len(), 1, "a second finish makes no second file");
    says(&client.part(&id, 1, b"abcd").await, 409, "Stored");
    says(&client.ask("DELETE", &format!("/objects/{id}"), &[], b"").await, 409, "Stored");
}

#[tokio::test]
async fn only_a_good_token_opens_anything() {
    let bench = bench_with(|options| options.rules.example.token_requests = 2);
    for wrong in ["", "user=me%40objects.invalid", "user=me%40objects.invalid&password=hunter2", &format!("{LOGIN}&more=1")] {
        says(&bench.login(wrong).await, 403, "WrongLogin");
    }
    says(&bench.example("GET", "/account", &[], b"").await, 401, "TokenEnded");
    says(&bench.example("GET", "/account", &["Authorization: Bearer made-up"], b"").await, 401, "TokenEnded");
    let client = bench.client().await;
    for _ in 0..2 {
        let said = client.ask("GET", "/account", &[], b"").await;
        assert_eq!((said.status, between(said.text(), "<Free>", "<")), (200, "10737418240"));
    }
    says(&client.ask("GET", "/account", &[], b"").await, 401, "TokenEnded");
    let client = bench.client().await;
    bench.sandbox.shift_clock(601);
    says(&client.listing("0").await, 401, "TokenEnded");
}

#[tokio::test]
async fn a_part_is_held_only_with_its_own_digest() {
    let bench = bench();
    let client = bench.client().await;
    let id = client.session(4, 1).await;
    let path = format!("/objects/{id}/parts/1");
    let other = format!("Content-MD5: {}", STANDARD.encode(Md5::digest(b"abce")));
    says(&client.ask("PUT", &path, &[&other], b"abcd").await, 400, "BadDigest");
    for malformed in ["Content-MD5: ", "Content-MD5: YWJj", "Content-MD5: ?", "X: y"] {
        says(&client.ask("PUT", &path, &[malformed], b"abcd").await, 400, "BadRequest");
    }
    assert!(client.listing(&id).await.text().ends_with("<Parts></Parts>"));
    for number in [0, 2] {
        says(&client.part(&id, number, b"abcd").await, 400, "BadRequest");
    }
    let etag = client.etag(&id, 1, b"abcd").await;
    assert_eq!(client.etag(&id, 1, b"abcd").await, etag, "the same again is the same");
    assert_ne!(client.etag(&id, 1, b"dcba").await, etag);
}

#[tokio::test]
async fn a_finish_names_what_is_held_and_nothing_else() {
    let bench = bench();
    let client = bench.client().await;
    let id = client.session(7, 2).await;
    let first = client.etag(&id, 1, b"abcd").await;
    says(&client.finish(&id, &[(1, &first)]).await, 409, "WrongPart");
    says(&client.finish(&id, &[(1, &first), (2, "\"00\"")]).await, 409, "WrongPart");
    let second = client.etag(&id, 2, b"ef").await;
    says(&client.finish(&id, &[(1, &first), (2, &second)]).await, 409, "WrongPart");
    let second = client.etag(&id, 2, b"efg").await;
    for wrong in [vec![(2, &second), (1, &first)], vec![(1, &second), (2, &first)], vec![(1, &first), (2, &second), (2, &second)]] {
        let wrong: Vec<_> = wrong.into_iter().map(|(number, etag)| (number, etag.as_str())).collect();
        says(&client.finish(&id, &wrong).await, 409, "WrongPart");
    }
    let url = format!("/objects/{id}");
    for body in
        ["", "<Finish>", "<Other/>", "<Finish><Part><Number>1</Number></Part></Finish>", "<Finish>x</Finish>", "<Finish/><Finish/>"]
    {
        says(&client.ask("POST", &url, &["Content-Type: application/xml"], body.as_bytes()).await, 400, "BadRequest");
    }
    says(&client.ask("POST", &url, &["Content-Type: text/plain"], b"<Finish/>").await, 400, "BadRequest");
    assert!(bench.sandbox.objects().is_empty());
    // Quotation marks may be written either way.
    let first = first.replace('"', "&quot;");
    assert_eq!(client.finish(&id, &[(1, &first), (2, &second)]).await.status, 200);
    assert_eq!(bench.only_object(), b"abcdefg");
}

#[tokio::test]
async fn a_part_that_is_damaged_or_lost_is_not_listed_any_more() {
    for action in [Action::CorruptPart, Action::DropPart] {
        let bench = faulty(Rule::new(action).at(Endpoint::Chunk).part(0));
        let client = bench.client().await;
        let id = client.session(7, 2).await;
        let (first, second) = (client.etag(&id, 1, b"abcd").await, client.etag(&id, 2, b"efg").await);
        let listing = client.listing(&id).await;
        let only =
            format!("<Parts><Part><Number>2</Number><Bytes>3</Bytes><ETag>{}</ETag></Part></Parts>", second.replace('"', "&quot;"));
        assert!(listing.text().ends_with(&only), "{}", listing.text());
        says(&client.finish(&id, &[(1, &first), (2, &second)]).await, 409, "WrongPart");
    }
}

#[tokio::test]
async fn a_session_is_known_until_it_ends_or_is_given_up() {
    let bench = bench();
    let client = bench.client().await;
    let unknown = "0".repeat(32);
    for said in [client.listing(&unknown).await, client.part(&unknown, 1, b"a").await, client.finish(&unknown, &[]).await] {
        says(&said, 404, "NoSuchSession");
    }
    let id = client.session(1, 1).await;
    client.etag(&id, 1, b"a").await;
    assert_eq!(client.ask("DELETE", &format!("/objects/{id}"), &[], b"").await.status, 204);
    says(&client.ask("DELETE", &format!("/objects/{id}"), &[], b"").await, 404, "NoSuchSession");
    let id = client.session(1, 1).await;
    bench.sandbox.shift_clock(7 * 24 * 3600 + 1);
    let client = bench.client().await;
    says(&client.listing(&id).await, 404, "NoSuchSession");
}

#[tokio::test]
async fn a_session_needs_a_name_a_size_a_count_and_room() {
    let bench = bench_with(|options| (options.rules.example.account_bytes, options.rules.example.file_bytes_max) = (10, 20));
    let client = bench.client().await;
    for query in [
        "",
        "name=a&bytes=1",
        "name=a&bytes=1&parts=1&more=1",
        "name=a&bytes=x&parts=1",
        "name=a&bytes=1&parts=0",
        "name=a&bytes=1&parts=10001",
    ] {
        says(&client.open(query).await, 400, "BadRequest");
    }
    for name in ["", "a%2Fb", "a%0Ab", &"a".repeat(256)] {
        says(&client.open(&format!("name={name}&bytes=1&parts=1")).await, 400, "NameNotTaken");
    }
    says(&client.open("name=a&bytes=11&parts=1").await, 507, "NoSpace");
    says(&client.open("name=a&bytes=21&parts=1").await, 413, "TooLarge");
    says(&client.ask("POST", "/objects?name=a&bytes=1&parts=1", &[], b"").await, 400, "BadRequest");
    says(&client.ask("PATCH", "/objects", &[], b"").await, 405, "BadRequest");
    says(&client.ask("GET", "/nothing", &[], b"").await, 404, "BadRequest");
}
