//! The emulated 4shared: the road of a file, everything it rejects, and what it remembers.

use md5::{Digest, Md5};

use super::super::Lose;
use super::super::digest::hex;
use super::super::faults::When;
use super::super::fourshared::{NullStyle, PartReply, Rules, SameName, SecondFinish, config};
use super::*;

const ENDPOINT: &str = "/4shared/jax3/DesktopApp";
const NAMESPACE: &str = "http://api.soap.shared.pmstation.com/";
const ME: [&str; 2] = ["me@example.test", "s3cret"];
const PART: usize = 1000;

/// The name of a field and what is in it.
type Field<'f> = (&'f str, &'f [u8]);

fn four(change: impl FnOnce(&mut Rules)) -> Bench {
    bench_with(|options| change(&mut options.rules.fourshared))
}

fn md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

fn file() -> Vec<u8> {
    (0..2500_u32).map(|at| (at * at % 251) as u8).collect()
}

fn envelope(operation: &str, namespace: &str, args: &str) -> String {
    format!(
        "<?xml version='1.0'?><e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:a=\"{namespace}\"><e:Body>\
         <a:{operation}>{args}</a:{operation}></e:Body></e:Envelope>"
    )
}

fn args(values: &[&str]) -> String {
    values.iter().enumerate().map(|(at, value)| format!("<arg{at}>{value}</arg{at}>")).collect()
}

/// A form of any fields, the file among them.
fn any_form(fields: &[Field<'_>], file_field: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = if *name == file_field { "; filename=\"any\"\r\nContent-Type: application/octet-stream" } else { "" };
        body.extend(format!("--BOUND\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend(*value);
        body.extend(b"\r\n");
    }
    body.extend(b"--BOUND--\r\n");
    body
}

impl Said {
    /// What is in `<return>`; nothing when there is no such element.
    fn returned(&self) -> Option<String> {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("text/xml; charset=utf-8"));
        let (_, rest) = self.text().split_once("<return>")?;
        Some(rest.split_once("</return>").unwrap().0.to_owned())
    }

    #[track_caller]
    fn says(&self, value: &str) {
        assert_eq!(self.returned().as_deref(), Some(value), "{}", self.text());
    }

    #[track_caller]
    fn mentions(&self, word: &str) {
        assert!(self.returned().is_some_and(|text| text.contains(word)), "{word}: {}", self.text());
    }

    #[track_caller]
    fn faults(&self, word: &str) {
        assert_eq!(self.status, 500, "{}", self.text());
        let fault = self.text().split_once("<faultstring>").unwrap().1.split_once("</faultstring>").unwrap().0;
        assert!(fault.contains(word), "{word}: {fault}");
    }

    #[track_caller]
    fn part_error(&self, code: u8) {
        assert_eq!((self.status, self.text()), (200, format!("{{\"errorCode\":{code},\"status\":\"error\"}}").as_str()));
    }

    /// What is in this element of an answer.
    fn element(&self, name: &str) -> &str {
        let (_, rest) = self.text().split_once(&format!("<{name}>")).unwrap();
        rest.split_once(&format!("</{name}>")).unwrap().0
    }
}

impl Bench {
    async fn soap(&self, body: &str) -> Said {
        self.soap_as("text/xml; charset=utf-8", body).await
    }

    async fn soap_as(&self, kind: &str, body: &str) -> Said {
        let head = format!(
            "POST {ENDPOINT} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: {kind}\r\nSOAPAction: \"any/thing\"\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap()
    }

    async fn plain_call(&self, operation: &str, values: &[&str]) -> Said {
        self.soap(&envelope(operation, NAMESPACE, &args(values))).await
    }

    /// A call with the right credentials before the arguments.
    async fn call(&self, operation: &str, values: &[&str]) -> Said {
        self.plain_call(operation, &[&ME, values].concat()).await
    }

    async fn reserve(&self, name: &str, bytes: usize) -> String {
        let id = self.call("uploadStartFile", &["-1", name, &bytes.to_string()]).await.returned().unwrap();
        assert!(id.parse::<i64>().unwrap() > 0);
        id
    }

    /// The path of an upload address with a fresh key.
    async fn address(&self, center: &str) -> String {
        self.address_in("-1", center).await
    }

    async fn address_in(&self, folder: &str, center: &str) -> String {
        let key = self.call("createUploadSessionKey", &[folder]).await.returned().unwrap();
        let url = self.plain_call("getUploadFormUrl", &[center, &key]).await.returned().unwrap();
        assert_eq!(url, format!("http://h/4shared/dc{center}/upload?sid={key}"));
        url.strip_prefix("http://h").unwrap().to_owned()
    }

    async fn post(&self, path: &str, body: &[u8]) -> Said {
        self.send(&[head(path, body.len()).as_bytes(), body].concat()).await.unwrap()
    }

    async fn range(&self, path: &str, id: &str, first: u64, bytes: &[u8]) -> Said {
        let first = first.to_string();
        let fields = [("resumableFileId", id.as_bytes()), ("resumableFirstByte", first.as_bytes()), ("FilePart", bytes)];
        self.post(path, &any_form(&fields, "FilePart")).await
    }

    /// Sends the parts of these numbers.
    async fn parts(&self, path: &str, id: &str, file: &[u8], numbers: &[usize]) {
        for number in numbers {
            let part = file.chunks(PART).nth(*number).unwrap();
            let said = self.range(path, id, (number * PART) as u64, part).await;
            assert_eq!((said.status, said.text()), (200, "{\"status\":\"OK\"}"));
        }
    }

    async fn finish_file(&self, id: &str, md5: &str) -> Said {
        self.call("uploadFinishFile", &[id, md5]).await
    }

    /// Uploads a whole file. Its id.
    async fn give(&self, name: &str, file: &[u8]) -> String {
        let (id, path) = (self.reserve(name, file.len()).await, self.address("7").await);
        self.parts(&path, &id, file, &Vec::from_iter(0..file.len().div_ceil(PART))).await;
        self.finish_file(&id, &md5(file)).await.says("");
        id
    }

    async fn exists(&self, id: &str) -> bool {
        self.call("uploadStartedFileExists", &[id]).await.returned().unwrap() == "true"
    }
}

#[tokio::test]
async fn a_file_goes_the_whole_road() {
    let (bench, file) = (bench(), file());
    bench.call("login", &[]).await.says("");
    bench.call("isExistsLoginPassword", &[]).await.says("true");
    bench.call("isAccountActive", &[]).await.says("true");
    bench.call("isAccountBanned", &[]).await.says("false");
    bench.plain_call("hasRightUpload", &[]).await.says("true");
    bench.call("getMaxFileSize", &[]).await.says(&(2_u64 << 30).to_string());
    let free: usize = bench.call("getFreeSpace", &[]).await.returned().unwrap().parse().unwrap();
    bench.call("getNewFileDataCenter", &[]).await.says("7");
    bench.call("getNewFileDataCenter", &[]).await.says("12");
    bench.call("getNewFileDataCenter", &[]).await.says("7");
    let (id, path) = (bench.reserve("a &amp; &#252;.bin", file.len()).await, bench.address("7").await);
    assert!(bench.exists(&id).await);
    bench.call("getFileInfo", &[&id]).await.faults("not found");
    bench.parts(&path, &id, &file, &[0, 1, 2]).await;
    bench.finish_file(&id, &md5(&file).to_uppercase()).await.says("");
    assert!(!bench.exists(&id).await);
    bench.call("getFreeSpace", &[]).await.says(&(free - file.len()).to_string());
    let info = bench.call("getFileInfo", &[&id]).await;
    let told = ["id", "name", "size", "md5", "removed", "directory", "parentId", "version"].map(|name| info.element(name));
    assert_eq!(told, [&id, "a &amp; ü.bin", "2500", &md5(&file), "false", "false", "-1", "1"]);
    let link = bench.call("getFileDownloadLink", &[&id]).await.returned().unwrap();
    assert_eq!(link, format!("http://h/4shared/file/{id}/a%20%26%20%C3%BC.bin"));
    assert_eq!(link, info.element("downloadLink"));
    assert_eq!(bench.get(link.strip_prefix("http://h").unwrap()).await.unwrap().body, file);
    assert_eq!(bench.only_object(), file);
    let object = &bench.sandbox.objects()[0];
    assert_eq!((object.name.as_str(), &object.session, &object.id, object.stored), ("a & ü.bin", &id, &id, 1));
}

#[tokio::test]
async fn parts_come_in_any_order_and_of_any_size() {
    let (bench, file) = (bench(), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("12").await);
    bench.parts(&path, &id, &file, &[2, 0, 1]).await;
    bench.finish_file(&id, &md5(&file)).await.says("");
    let (id, path) = (bench.reserve("b", file.len()).await, bench.address("12").await);
    for (first, last) in [(2499, 2500), (0, 1), (1, 1700), (1700, 2499)] {
        assert_eq!(bench.range(&path, &id, first as u64, &file[first..last]).await.status, 200);
    }
    bench.finish_file(&id, &md5(&file)).await.says("");
    assert!(bench.sandbox.objects().iter().all(|object| bench.sandbox.read(object).unwrap() == file));
}

#[tokio::test]
async fn a_part_may_come_again_and_what_came_last_counts() {
    let (bench, file) = (bench(), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    let marks = async |first: usize, bytes: &[u8]| {
        bench.range(&path, &id, first as u64, bytes).await;
        let entry = bench.last().await;
        (entry.again, entry.differed, entry.held)
    };
    assert_eq!(marks(0, &[9; 1500]).await, (false, false, true));
    assert_eq!(marks(0, &[9; 1500]).await, (true, false, true));
    assert_eq!(marks(0, &file[..1500]).await, (true, true, true));
    assert_eq!(marks(1400, &file[1400..]).await, (true, false, true));
    assert_eq!(marks(700, &[7; 20]).await, (true, true, true));
    bench.finish_file(&id, &md5(&file)).await.mentions("md5");
    assert_eq!(marks(690, &file[690..730]).await, (true, true, true));
    bench.finish_file(&id, &md5(&file)).await.says("");
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn the_text_fields_come_in_any_order() {
    let (bench, file) = (bench(), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    let fields = [("resumableFirstByte", &b"0"[..]), ("resumableFileId", id.as_bytes()), ("FilePart", &file)];
    assert_eq!(bench.post(&path, &any_form(&fields, "FilePart")).await.status, 200);
    bench.finish_file(&id, &md5(&file)).await.says("");
}

#[tokio::test]
async fn the_log_tells_what_a_request_was_about() {
    let (bench, file) = (bench(), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    bench.parts(&path, &id, &file, &[0, 1, 2]).await;
    bench.finish_file(&id, &md5(&file)).await.says("");
    bench.call("getFileInfo", &[&id]).await;
    bench.call("getFileDownloadLink", &[&id]).await;
    bench.get(&format!("/4shared/file/{id}/a")).await.unwrap();
    bench.call("uploadCancelFile", &[&id]).await.faults("not found");
    let log = bench.log().await;
    let seen: Vec<_> = log.iter().map(|entry| (entry.endpoint.unwrap(), entry.part, entry.outcome.clone())).collect();
    let expected = [
        (Endpoint::Open, None, Outcome::Served),
        (Endpoint::Address, None, Outcome::Served),
        (Endpoint::Address, None, Outcome::Served),
        (Endpoint::Chunk, Some(0), Outcome::Acked),
        (Endpoint::Chunk, Some(1000), Outcome::Acked),
        (Endpoint::Chunk, Some(2000), Outcome::Acked),
        (Endpoint::Finish, None, Outcome::Stored),
        (Endpoint::Probe, None, Outcome::Served),
        (Endpoint::Link, None, Outcome::Served),
        (Endpoint::Link, None, Outcome::Served),
        (Endpoint::Abandon, None, Outcome::Rejected("not found: there is no such file".into())),
    ];
    assert_eq!(seen, expected);
    assert!(log[3..].iter().all(|entry| entry.session.as_ref() == Some(&id) && entry.file.as_deref() == Some("a")));
    assert_eq!(log[3].file_sha256, Some(super::super::digest::sha256(&file[..PART])));
    let stats = bench.sandbox.stats();
    assert_eq!((stats.parts_acked, stats.objects_stored), (3, 1));
}

#[tokio::test]
async fn wrong_credentials_are_told_in_each_calls_own_way() {
    let bench = bench();
    for wrong in [["me@example.test", "S3cret"], ["me", "s3cret"], ["", ""]] {
        bench.plain_call("login", &wrong).await.mentions("wrong login or password");
        bench.plain_call("isExistsLoginPassword", &wrong).await.says("false");
        for operation in ["isAccountActive", "isAccountBanned", "getFreeSpace", "getMaxFileSize", "getNewFileDataCenter"] {
            bench.plain_call(operation, &wrong).await.faults("wrong login or password");
        }
        for operation in [
            "createUploadSessionKey",
            "uploadStartedFileExists",
            "uploadCancelFile",
            "getFileInfo",
            "getFileDownloadLink",
            "getItems",
        ] {
            bench.plain_call(operation, &[&wrong[..], &["-1"]].concat()).await.faults("wrong login or password");
        }
        for operation in ["uploadFinishFile", "createNewFolder"] {
            bench.plain_call(operation, &[&wrong[..], &["-1", "a"]].concat()).await.faults("wrong login or password");
        }
        for operation in ["uploadStartFile", "uploadStartFileUpdate", "simpleUploadStart"] {
            bench.plain_call(operation, &[&wrong[..], &["-1", "a", "1"]].concat()).await.faults("wrong login or password");
        }
    }
    bench.plain_call("login", &["me@example.test", "!!!program!!:s3cret"]).await.says("");
    bench.plain_call("login", &["me@example.test", "!!!!!:s3cret"]).await.mentions("wrong");
}

#[tokio::test]
async fn barred_accounts_say_so() {
    let banned = four(|rules| rules.banned = true);
    banned.call("isAccountBanned", &[]).await.says("true");
    banned.call("login", &[]).await.mentions("banned");
    banned.call("getFreeSpace", &[]).await.faults("access denied");
    let inactive = four(|rules| rules.inactive = true);
    inactive.call("isAccountActive", &[]).await.says("false");
    inactive.call("login", &[]).await.mentions("not active");
    let closed = four(|rules| rules.upload_right = false);
    closed.plain_call("hasRightUpload", &[]).await.says("false");
    closed.call("uploadStartFile", &["-1", "a", "1"]).await.says("0");
}

#[tokio::test]
async fn envelopes_are_read_strictly() {
    let bench = bench();
    let good = envelope("getFreeSpace", NAMESPACE, &args(&ME));
    bench.soap(&good).await.says(&(15_u64 << 30).to_string());
    bench.soap(&good.replace("a:", "other:").replace("xmlns:a=", "xmlns:other=")).await.returned().unwrap();
    bench.soap(&good.replace("<e:Body>", "<e:Header/><e:Body>")).await.returned().unwrap();
    bench.soap_as("text/xml", &good).await.returned().unwrap();
    let wrong = [
        (envelope("getFreeSpace", "http://elsewhere/", &args(&ME)), "dispatch"),
        (envelope("getFreeSpaces", NAMESPACE, &args(&ME)), "dispatch"),
        (envelope("getFreeSpace", NAMESPACE, &args(&ME[..1])), "2 arguments"),
        (envelope("getFreeSpace", NAMESPACE, &args(&["a", "b", "c"])), "2 arguments"),
        (envelope("getFreeSpace", NAMESPACE, "<arg1>s3cret</arg1><arg0>me@example.test</arg0>"), "arg0"),
        (envelope("getFreeSpace", NAMESPACE, "<login>a</login><password>b</password>"), "arg0"),
        (envelope("getFreeSpace", NAMESPACE, "<a:arg0>a</a:arg0><a:arg1>b</a:arg1>"), "no namespace"),
        (envelope("getFreeSpace", NAMESPACE, "<arg0><b>a</b></arg0><arg1>b</arg1>"), "elements"),
        (envelope("getFreeSpace", NAMESPACE, "text<arg0>a</arg0><arg1>b</arg1>"), "text"),
        (envelope("getFreeSpace", NAMESPACE, "<arg0>&#1;</arg0><arg1>b</arg1>"), "forbids"),
        (envelope("getFreeSpace", NAMESPACE, "<arg0>&eacute;</arg0><arg1>b</arg1>"), "eacute"),
        (envelope("uploadCancelFile", NAMESPACE, &args(&["a", "b", "c"])), "number"),
        (envelope("getUploadFormUrl", NAMESPACE, &args(&["2147483648", "k"])), "number"),
        (good.replace("soap/envelope/", "other/"), "Envelope"),
        (good.replace("e:Body", "e:Bodies"), "Body"),
        (good.replace("<?xml version='1.0'?>", "<!DOCTYPE a>"), "DTD"),
        (good.replace("</e:Envelope>", ""), "early"),
        (good.replace("</arg1>", "</arg2>"), "cannot be read"),
        (good.clone() + "<more/>", "root"),
        (good.replace("a:", "b:").replace("xmlns:b", "xmlns:a"), "`b`"),
        (String::new(), "no XML"),
        ("{}".to_owned(), "outside"),
    ];
    for (body, word) in wrong {
        bench.soap(&body).await.faults(word);
    }
    assert_eq!(bench.soap_as("application/soap+xml", &good).await.status, 415);
    assert_eq!(bench.soap_as("text/xml; charset=latin1", &good).await.status, 415);
    assert_eq!(bench.soap(&envelope("login", NAMESPACE, &args(&["a", &"b".repeat(300_000)]))).await.status, 413);
}

#[tokio::test]
async fn a_tolerant_host_reads_by_local_names() {
    let bench = four(|rules| rules.strict = false);
    let odd = "<more/><a:arg1><![CDATA[s3cret]]></a:arg1><arg0>me@example.test</arg0>";
    bench.soap_as("application/xml", &envelope("getMaxFileSize", "urn:other", odd)).await.says(&(2_u64 << 30).to_string());
    bench.soap(&envelope("getMaxFileSize", NAMESPACE, "<arg0>a</arg0>")).await.faults("arg1");
    let (id, path) = (bench.reserve("a", 3).await, bench.address("7").await);
    let fields: [Field<'_>; 4] =
        [("more", b"x"), ("FilePart", b"abc"), ("resumableFileId", id.as_bytes()), ("resumableFirstByte", b"00")];
    assert_eq!(bench.post(&format!("{path}&more=1"), &any_form(&fields, "FilePart")).await.status, 200);
    bench.finish_file(&id, &md5(b"abc")).await.says("");
}

#[tokio::test]
async fn faults_have_the_shape_of_soap_with_a_detail_or_without() {
    let bench = bench();
    let said = bench.call("getFileInfo", &["5"]).await;
    assert_eq!(said.header("content-type"), Some("text/xml; charset=utf-8"));
    assert_eq!(said.element("faultcode"), "S:Server");
    assert_eq!(said.element("details"), said.element("faultstring"));
    assert!(said.element("exceptionClass").ends_with("ApiException"));
    let bare = four(|rules| rules.fault_detail = false);
    assert!(!bare.call("getFileInfo", &["5"]).await.text().contains("<detail>"));
}

#[tokio::test]
async fn reservations_have_limits() {
    let bench = four(|rules| (rules.max_file_bytes, rules.free_bytes) = (3000, 2600));
    let start = async |folder: &str, name: &str, bytes: &str| {
        let said = bench.call("uploadStartFile", &[folder, name, bytes]).await;
        said.returned().unwrap().parse::<i64>().unwrap()
    };
    assert!(start("-1", "a", "3001").await <= 0, "larger than allowed");
    assert!(start("-1", "a", "2601").await <= 0, "larger than the space");
    assert!(start("-1", "a", "-1").await <= 0, "negative");
    assert!(start("5", "a", "1").await <= 0, "unknown folder");
    assert!(start("-1", "", "1").await <= 0 && start("-1", "a/b", "1").await <= 0, "bad names");
    assert!(start("-1", "a", "2600").await > 0);
    let simple = bench.call("simpleUploadStart", &["-1", "a", "3001"]).await;
    assert_eq!((simple.element("fileId"), simple.element("message")), ("-1", "the file is too large"));
    assert_eq!((simple.element("freeSpace"), simple.element("maxFileSize"), simple.element("uploadUrl")), ("2600", "3000", ""));
    let late = bench.reserve("late", 200).await;
    bench.give("b", &file()).await;
    assert!(start("-1", "c", "101").await <= 0, "the space is taken");
    assert!(start("-1", "c", "100").await > 0);
    let path = bench.address("7").await;
    bench.range(&path, &late, 0, &[1; 200]).await.part_error(2);
}

#[tokio::test]
async fn a_name_is_given_once_in_a_folder_until_it_is_free_again() {
    let start = async |bench: &Bench, name: &str| {
        let said = bench.call("uploadStartFile", &["-1", name, "3"]).await;
        said.returned().unwrap().parse::<i64>().unwrap()
    };
    let bench = four(|_| {});
    let id = start(&bench, "a").await;
    assert_eq!((start(&bench, "a").await, start(&bench, "b").await > 0), (-5, true), "it is reserved");
    bench.call("uploadCancelFile", &[&id.to_string()]).await;
    assert!(start(&bench, "a").await > 0, "a cancelled place frees its name");
    let stored = bench.give("c", b"abc").await;
    assert_eq!(start(&bench, "c").await, -5, "it is stored");
    let update = bench.call("uploadStartFileUpdate", &[&stored, "c", "3"]).await;
    assert_eq!(update.returned().unwrap(), stored, "new content under its own name");
    let names = async |bench: &Bench, first: &str, count: &str| {
        let said = bench.call("getItemsPartial", &["-1", first, count]).await;
        let page = said.text();
        ["a", "b", "c"].into_iter().filter(|name| page.contains(&format!("<name>{name}</name>"))).collect::<String>()
    };
    assert_eq!([names(&bench, "0", "2").await, names(&bench, "2", "2").await], ["ab", "c"]);
    assert_eq!(bench.call("getItemsCount", &["-1"]).await.returned().unwrap(), "3");
    let silent = four(|rules| (rules.lists_reserved, rules.pages) = (false, true));
    start(&silent, "a").await;
    assert_eq!(names(&silent, "0", "9").await, "");
    let loose = four(|rules| rules.same_name = SameName::Allow);
    assert!(start(&loose, "a").await > 0 && start(&loose, "a").await > 0);
}

#[tokio::test]
async fn keys_centres_and_addresses_belong_together() {
    let bench = bench();
    bench.call("createUploadSessionKey", &["5"]).await.says("");
    let key = bench.call("createUploadSessionKey", &["-1"]).await.returned().unwrap();
    let url = async |center: &str, key: &str| bench.plain_call("getUploadFormUrl", &[center, key]).await.returned().unwrap();
    assert!(!url("8", &key).await.starts_with("http"));
    assert!(!url("7", "other").await.starts_with("http"));
    assert!(url("7", &key).await.starts_with("http"));
    let id = bench.reserve("a", 3).await;
    bench.range(&format!("/4shared/dc12/upload?sid={key}"), &id, 0, b"abc").await.part_error(4);
    for (path, status) in [
        (format!("/4shared/dc8/upload?sid={key}"), 404),
        (format!("/4shared/dcx/upload?sid={key}"), 404),
        ("/4shared/dc7/upload?sid=other".to_owned(), 403),
        ("/4shared/dc7/upload".to_owned(), 400),
        (format!("/4shared/dc7/upload?sid={key}&more=1"), 400),
    ] {
        assert_eq!(bench.range(&path, &id, 0, b"abc").await.status, status, "{path}");
    }
    let folder = bench.call("createNewFolder", &["-1", "sub"]).await.returned().unwrap();
    let path = bench.address_in(&folder, "7").await;
    assert_eq!(bench.range(&path, &id, 0, b"abc").await.status, 403, "the key is for another folder");
    bench.range(&bench.address("7").await, &id, 0, b"abc").await.json()["status"].as_str().unwrap();
    let none = four(|rules| rules.data_centers.clear());
    none.call("getNewFileDataCenter", &[]).await.says("0");
}

#[tokio::test]
async fn keys_expire_and_fresh_ones_carry_on() {
    let (bench, file) = (four(|rules| rules.key_lifetime_seconds = 600), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    bench.parts(&path, &id, &file, &[0]).await;
    bench.sandbox.shift_clock(590);
    bench.parts(&path, &id, &file, &[1]).await;
    bench.sandbox.shift_clock(20);
    let said = bench.range(&path, &id, 2000, &file[2000..]).await;
    assert_eq!(said.status, 403);
    let key = path.split_once("sid=").unwrap().1;
    assert!(!bench.plain_call("getUploadFormUrl", &["7", key]).await.returned().unwrap().starts_with("http"));
    let path = bench.address("7").await;
    bench.parts(&path, &id, &file, &[2]).await;
    bench.finish_file(&id, &md5(&file)).await.says("");
}

#[tokio::test]
async fn another_data_centre_forgets_the_parts_of_the_first() {
    let file = file();
    for lost in [true, false] {
        let bench = four(|rules| rules.parts_lost_on_change = lost);
        let id = bench.reserve("a", file.len()).await;
        bench.parts(&bench.address("7").await, &id, &file, &[0, 1]).await;
        bench.parts(&bench.address("12").await, &id, &file, &[2]).await;
        let finished = bench.finish_file(&id, &md5(&file)).await;
        if lost {
            finished.mentions("incomplete: bytes from 0 ");
            bench.parts(&bench.address("12").await, &id, &file, &[0, 1]).await;
            assert!(!bench.last().await.again);
            bench.finish_file(&id, &md5(&file)).await.says("");
        } else {
            finished.says("");
        }
        assert_eq!(bench.only_object(), file);
    }
}

#[tokio::test]
async fn malformed_parts_are_rejected() {
    let bench = bench();
    let (id, path) = (bench.reserve("a", 10).await, bench.address("7").await);
    let (id, file): (&[u8], &[u8]) = (id.as_bytes(), b"abc");
    let wrong: [(&[Field<'_>], &str); 10] = [
        (&[("resumableFirstByte", b"0"), ("FilePart", file)], "resumableFileId is missing"),
        (&[("resumableFileId", id), ("FilePart", file)], "resumableFirstByte is missing"),
        (&[("resumableFileId", id), ("resumableFirstByte", b"0")], "FilePart is missing"),
        (&[("resumableFileId", id), ("resumableFirstByte", b"-1"), ("FilePart", file)], "not a decimal number"),
        (&[("resumableFileId", id), ("resumableFirstByte", b"0x1"), ("FilePart", file)], "not a decimal number"),
        (&[("resumableFileId", id), ("resumableFirstByte", b"00"), ("FilePart", file)], "not a decimal number"),
        (&[("resumableFileId", b""), ("resumableFirstByte", b"0"), ("FilePart", file)], "not a decimal number"),
        (&[("resumableFileId", id), ("resumableFirstByte", b"0"), ("more", b"x"), ("FilePart", file)], "`more` is unknown"),
        (&[("resumableFileId", id), ("resumableFileId", id), ("resumableFirstByte", b"0"), ("FilePart", file)], "repeated"),
        (&[("resumableFileId", id), ("FilePart", file), ("resumableFirstByte", b"0")], "last field"),
    ];
    for (fields, word) in wrong {
        let said = bench.post(&path, &any_form(fields, "FilePart")).await;
        assert_eq!(said.status, 400, "{word}");
        assert!(said.text().contains(word), "{word}: {}", said.text());
    }
    let fields = [("resumableFileId", id), ("resumableFirstByte", &b"0"[..]), ("file", file)];
    assert!(bench.post(&path, &any_form(&fields, "file")).await.text().contains("`FilePart`"));
    assert_eq!(bench.ask("POST", &path, b"abc").await.unwrap().status, 415);
    let head = head(&path, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    assert_eq!(bench.send(format!("{head}0\r\n\r\n").as_bytes()).await.unwrap().status, 411);
    assert_eq!(bench.sandbox.stats().parts_acked, 0);
}

#[tokio::test]
async fn parts_have_error_codes() {
    let bench = bench();
    let (id, path) = (bench.reserve("a", 10).await, bench.address("7").await);
    bench.range(&path, &id, 8, b"abc").await.part_error(1);
    bench.range(&path, &id, u64::MAX, b"abc").await.part_error(1);
    bench.range(&path, &id, 0, b"").await.part_error(3);
    for unknown in ["0", "5", "1700399999", "18446744073709551615"] {
        bench.range(&path, unknown, 0, b"abc").await.part_error(6);
    }
    let done = bench.give("b", b"abc").await;
    bench.range(&path, &done, 0, b"abc").await.part_error(6);
    let small = four(|rules| rules.part_form_bytes_max = 2000);
    let (id, path) = (small.reserve("a", 5000).await, small.address("7").await);
    assert_eq!(small.range(&path, &id, 0, &[1; 3000]).await.status, 413);
    assert_eq!(small.range(&path, &id, 0, &[1; 1000]).await.status, 200);
}

#[tokio::test]
async fn a_smaller_limit_reaches_files_that_are_under_way() {
    let bench = bench();
    let id = bench.reserve("a", 10).await;
    let bench = bench.restart(|options| options.rules.fourshared.max_file_bytes = 9).await;
    bench.range(&bench.address("7").await, &id, 0, b"abc").await.part_error(1);
}

#[tokio::test]
async fn a_finish_wants_all_the_bytes_and_their_digest() {
    let (bench, file) = (bench(), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    bench.finish_file(&id, &md5(&file)).await.mentions("incomplete: bytes from 0 ");
    bench.parts(&path, &id, &file, &[0, 2]).await;
    bench.finish_file(&id, &md5(&file)).await.mentions("incomplete: bytes from 1000 ");
    bench.parts(&path, &id, &file, &[1]).await;
    bench.finish_file(&id, "abc").await.mentions("md5");
    bench.finish_file(&id, &"g".repeat(32)).await.mentions("md5");
    bench.finish_file(&id, &"0".repeat(32)).await.mentions("md5");
    for unknown in ["5", "0", "-3"] {
        bench.finish_file(unknown, &md5(&file)).await.faults("not found");
    }
    assert!(bench.exists(&id).await && bench.sandbox.objects().is_empty());
    assert_eq!(std::fs::read_dir(bench.dir.path().join("incoming")).unwrap().count(), 0, "nothing is left over");
    bench.finish_file(&id, &md5(&file)).await.says("");
    let empty = bench.reserve("empty", 0).await;
    bench.finish_file(&empty, &md5(b"")).await.mentions("size");
}

#[tokio::test]
async fn a_second_finish_is_answered_as_told() {
    let file = file();
    for (second, text) in [(SecondFinish::Text, "the upload is finished already"), (SecondFinish::Empty, "")] {
        let bench = four(|rules| rules.second_finish = second);
        let id = bench.give("a", &file).await;
        bench.finish_file(&id, &md5(&file)).await.says(text);
        assert_eq!(bench.sandbox.objects()[0].stored, 1);
    }
}

#[tokio::test]
async fn of_two_finishes_at_once_one_makes_the_file() {
    let (bench, file) = (bench(), file());
    for turn in 0..50 {
        let id = bench.reserve(&format!("{turn}"), file.len()).await;
        bench.parts(&bench.address("7").await, &id, &file, &[0, 1, 2]).await;
        let digest = md5(&file);
        let (one, other) = tokio::join!(bench.finish_file(&id, &digest), bench.finish_file(&id, &digest));
        let mut texts = [one.returned().unwrap(), other.returned().unwrap()];
        texts.sort();
        assert_eq!(texts, ["", "the upload is finished already"]);
        assert_eq!(bench.call("getFileInfo", &[&id]).await.element("version"), "1");
    }
}

#[tokio::test]
async fn parts_go_in_parallel() {
    let (bench, file) = (bench(), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    tokio::join!(bench.parts(&path, &id, &file, &[2]), bench.parts(&path, &id, &file, &[0]), bench.parts(&path, &id, &file, &[1]));
    bench.finish_file(&id, &md5(&file)).await.says("");
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn a_cancelled_file_is_forgotten() {
    let (bench, file) = (bench(), file());
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    bench.parts(&path, &id, &file, &[0, 1, 2]).await;
    assert_eq!(bench.call("uploadCancelFile", &[&id]).await.returned(), None);
    assert!(!bench.exists(&id).await);
    bench.range(&path, &id, 0, &file[..1000]).await.part_error(6);
    bench.finish_file(&id, &md5(&file)).await.faults("not found");
    bench.call("uploadCancelFile", &[&id]).await.faults("not found");
    assert!(!bench.dir.path().join("4shared/sessions").join(&id).exists());
}

#[tokio::test]
async fn new_content_takes_the_place_of_the_old() {
    let (bench, file) = (bench(), file());
    let free: usize = bench.call("getFreeSpace", &[]).await.returned().unwrap().parse().unwrap();
    let id = bench.give("a", &file).await;
    bench.call("uploadStartFileUpdate", &["5", "a", "3"]).await.faults("not found");
    bench.call("uploadStartFileUpdate", &[&id, "a", "3"]).await.says(&id);
    assert!(bench.exists(&id).await);
    assert_eq!(bench.call("getFileInfo", &[&id]).await.element("size"), "2500");
    bench.parts(&bench.address("7").await, &id, b"abc", &[0]).await;
    bench.finish_file(&id, &md5(b"abc")).await.says("");
    let info = bench.call("getFileInfo", &[&id]).await;
    assert_eq!((info.element("size"), info.element("version")), ("3", "2"));
    bench.call("getFreeSpace", &[]).await.says(&(free - 3).to_string());
    assert_eq!(bench.only_object(), b"abc");
}

#[tokio::test]
async fn one_call_prepares_everything() {
    let (bench, file) = (bench(), file());
    let info = bench.call("simpleUploadStart", &["-1", "a", "2500"]).await;
    let (id, url) = (info.element("fileId"), info.element("uploadUrl"));
    assert_eq!(info.element("message"), "");
    bench.parts(url.strip_prefix("http://h").unwrap(), id, &file, &[0, 1, 2]).await;
    bench.finish_file(id, &md5(&file)).await.says("");
}

#[tokio::test]
async fn folders_hold_files_and_folders() {
    let bench = bench();
    let folder = bench.call("createNewFolder", &["-1", "sub"]).await.returned().unwrap();
    bench.call("createNewFolder", &["-1", "sub"]).await.says("-1");
    bench.call("createNewFolder", &["5", "sub"]).await.says("-2");
    bench.call("createNewFolder", &["-1", "a/b"]).await.says("0");
    let inner = bench.call("createNewFolder", &[&folder, "sub"]).await.returned().unwrap();
    let id = bench.call("uploadStartFile", &[&folder, "a", "3"]).await.returned().unwrap();
    bench.parts(&bench.address_in(&folder, "7").await, &id, b"abc", &[0]).await;
    bench.finish_file(&id, &md5(b"abc")).await.says("");
    let listed = bench.call("getItems", &[&folder]).await;
    let ids: Vec<_> = listed.text().split("<id>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    assert_eq!(ids, [&inner, &id]);
    assert_eq!(bench.call("getFileInfo", &[&inner]).await.element("directory"), "true");
    bench.call("getItems", &["5"]).await.faults("no such folder");
    bench.call("getItems", &[&inner]).await.says("");
}

#[tokio::test]
async fn nothing_is_written_in_three_ways() {
    for (nulls, shape) in [
        (NullStyle::Absent, "Response xmlns:ns2=\"http://api.soap.shared.pmstation.com/\"></ns2:"),
        (NullStyle::Nil, "xsi:nil=\"true\"/></ns2:"),
        (NullStyle::Empty, "<return></return></ns2:"),
    ] {
        let bench = four(|rules| (rules.nulls, rules.md5_after_calls) = (nulls, 1));
        for said in [bench.call("login", &[]).await, bench.call("createUploadSessionKey", &["5"]).await] {
            assert!(said.status == 200 && said.text().contains(shape), "{}", said.text());
        }
        let (id, path) = (bench.reserve("a", 3).await, bench.address("7").await);
        bench.parts(&path, &id, b"abc", &[0]).await;
        let finished = bench.finish_file(&id, &md5(b"abc")).await;
        assert!(finished.text().contains(shape), "{}", finished.text());
        let info = bench.call("getFileInfo", &[&id]).await;
        let md5 = match nulls {
            NullStyle::Absent => !info.text().contains("<md5"),
            NullStyle::Nil => info.text().contains("<md5 xmlns:xsi="),
            NullStyle::Empty => info.text().contains("<md5></md5>"),
            NullStyle::Text => info.text().contains("<md5>null</md5>"),
        };
        assert!(md5, "{}", info.text());
        let cancelled = bench.call("uploadCancelFile", &[&bench.reserve("b", 3).await]).await;
        assert!(!cancelled.text().contains("return"), "a call without a result has none");
    }
}

#[tokio::test]
async fn parts_are_answered_in_three_ways() {
    for (style, good, bad) in [
        (PartReply::Empty, "", "{\"errorCode\":6,"),
        (PartReply::Json, "{\"status\":\"OK\"}", "{\"errorCode\":6,"),
        (PartReply::Html, "name=\"uploadedFileId\" value=\"1700300001\"", "name=\"errorCode\" value=\"6\""),
    ] {
        let bench = four(|rules| rules.part_reply = style);
        let (id, path) = (bench.reserve("a", 3).await, bench.address("7").await);
        let said = bench.range(&path, &id, 0, b"abc").await;
        assert!(said.status == 200 && said.text().contains(good) && said.text().is_empty() == good.is_empty(), "{}", said.text());
        let said = bench.range(&path, "5", 0, b"abc").await;
        assert!(said.status == 200 && said.text().contains(bad), "{}", said.text());
    }
}

#[tokio::test]
async fn the_digest_may_come_later() {
    let bench = four(|rules| rules.md5_after_calls = 2);
    let id = bench.give("a", b"abc").await;
    for digest in ["", "", &md5(b"abc"), &md5(b"abc")] {
        let info = bench.call("getFileInfo", &[&id]).await;
        assert_eq!((info.element("size"), info.element("md5")), ("3", digest));
    }
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let (bench, file) = (bench(), file());
    let folder = bench.call("createNewFolder", &["-1", "sub"]).await.returned().unwrap();
    let stored = bench.give("old", b"abc").await;
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    bench.parts(&path, &id, &file, &[0, 1]).await;
    bench.range(&path, &id, 500, &file[500..600]).await;
    let free = bench.call("getFreeSpace", &[]).await.returned().unwrap();
    let bench = bench.restart(|_| {}).await;
    bench.call("getFreeSpace", &[]).await.says(&free);
    assert!(bench.exists(&id).await);
    bench.parts(&path, &id, &file, &[2]).await;
    bench.finish_file(&id, &md5(&file)).await.says("");
    assert_eq!(bench.get(&format!("/4shared/file/{stored}/old")).await.unwrap().body, b"abc");
    assert_eq!(bench.call("getFileInfo", &[&stored]).await.element("md5"), md5(b"abc"));
    bench.call("createNewFolder", &["-1", "sub"]).await.says("-1");
    assert_eq!(bench.call("getFileInfo", &[&folder]).await.element("name"), "sub");
    assert!(bench.reserve("b", 1).await > id);
}

#[tokio::test]
async fn a_restart_without_sessions_forgets_reservations() {
    let (bench, file) = (bench(), file());
    let stored = bench.give("old", b"abc").await;
    let (id, path) = (bench.reserve("a", file.len()).await, bench.address("7").await);
    bench.parts(&path, &id, &file, &[0, 1, 2]).await;
    let bench = bench.restart(|options| options.lose = Lose::Sessions).await;
    assert!(!bench.exists(&id).await);
    bench.range(&path, &id, 0, &file[..1000]).await.part_error(6);
    bench.finish_file(&id, &md5(&file)).await.faults("not found");
    assert_eq!(bench.call("getFileInfo", &[&stored]).await.element("size"), "3");
    let fresh = bench.reserve("a", 3).await;
    assert!(fresh > id, "an id is never given twice");
    bench.sandbox.lose_sessions().unwrap();
    assert!(!bench.exists(&fresh).await);
    let bench = bench.restart(|options| options.lose = Lose::Everything).await;
    bench.call("getFileInfo", &[&stored]).await.faults("not found");
}

#[tokio::test]
async fn a_finish_cut_short_by_a_kill_is_made_good() {
    let (bench, file) = (bench(), file());
    let id = bench.reserve("a", file.len()).await;
    bench.parts(&bench.address("7").await, &id, &file, &[0, 1, 2]).await;
    let records = bench.dir.path().join("4shared/records");
    let reserved = records.join(format!("session%2D{id}.json"));
    // As the finish leaves it while it joins the parts.
    let before = std::fs::read_to_string(&reserved).unwrap().replace("\"md5\":null", &format!("\"md5\":\"{}\"", md5(&file)));
    bench.finish_file(&id, &md5(&file)).await.says("");
    std::fs::write(&reserved, before).unwrap();
    std::fs::remove_file(records.join(format!("item%2D{id}.json"))).unwrap();
    let bench = bench.restart(|_| {}).await;
    assert!(bench.exists(&id).await);
    bench.finish_file(&id, &md5(&file)).await.mentions("finished already");
    assert_eq!(bench.call("getFileInfo", &[&id]).await.element("md5"), md5(&file));
    assert!(!bench.exists(&id).await);
}

#[tokio::test]
async fn faults_speak_in_the_words_of_the_host() {
    let bench = bench();
    let (id, path) = (bench.reserve("a", 3).await, bench.address("7").await);
    let set = |endpoint, action: Action| {
        bench.sandbox.set_faults(Script::of([Rule::new(action).host("4shared").at(endpoint).when(When::First(1))])).unwrap();
    };
    set(Endpoint::Chunk, Action::Expire);
    assert_eq!(bench.range(&path, &id, 0, b"abc").await.status, 403);
    set(Endpoint::Chunk, Action::Limit);
    assert_eq!(bench.range(&path, &id, 0, b"abc").await.status, 429);
    set(Endpoint::Chunk, Action::AccountFull);
    bench.range(&path, &id, 0, b"abc").await.part_error(2);
    set(Endpoint::Open, Action::Deny);
    bench.call("getFreeSpace", &[]).await.faults("denied: wrong login or password");
    set(Endpoint::Chunk, Action::CorruptPart);
    assert_eq!(bench.range(&path, &id, 0, b"abc").await.status, 200);
    bench.finish_file(&id, &md5(b"abc")).await.mentions("md5");
    set(Endpoint::Chunk, Action::DropPart);
    assert_eq!(bench.range(&path, &id, 0, b"abc").await.status, 200);
    bench.finish_file(&id, &md5(b"abc")).await.mentions("incomplete");
    set(Endpoint::Chunk, Action::Twice);
    assert_eq!(bench.range(&path, &id, 0, b"abc").await.status, 200);
    let entry = bench.last().await;
    assert!(entry.again && !entry.differed);
    set(Endpoint::Finish, Action::WrongFacts);
    bench.finish_file(&id, &md5(b"abc")).await.mentions("md5");
    assert!(bench.exists(&id).await, "what it does not believe it does not store");
    set(Endpoint::Finish, Action::Twice);
    bench.finish_file(&id, &md5(b"abc")).await.says("the upload is finished already");
    set(Endpoint::Probe, Action::WrongFacts);
    assert_ne!(bench.call("getFileInfo", &[&id]).await.element("md5"), md5(b"abc"));
    assert_eq!(bench.call("getFileInfo", &[&id]).await.element("md5"), md5(b"abc"));
    assert_eq!(bench.only_object(), b"abc");
}

#[tokio::test]
async fn a_session_may_be_lost_at_a_part_and_at_the_finish() {
    for (endpoint, finishes) in [(Endpoint::Chunk, false), (Endpoint::Finish, true)] {
        let bench = faulty(Rule::new(Action::LoseSession).at(endpoint));
        let (id, path) = (bench.reserve("a", 3).await, bench.address("7").await);
        let said = bench.range(&path, &id, 0, b"abc").await;
        if finishes {
            bench.finish_file(&id, &md5(b"abc")).await.faults("not found");
        } else {
            said.part_error(6);
        }
        assert!(!bench.exists(&id).await);
    }
}

#[tokio::test]
async fn a_host_that_only_counts_believes_any_digest() {
    let bench = bench_with(|options| options.discard = true);
    let (id, path) = (bench.reserve("a", 2500).await, bench.address("7").await);
    bench.parts(&path, &id, &file(), &[0, 2]).await;
    bench.finish_file(&id, &"a".repeat(32)).await.mentions("incomplete: bytes from 1000 ");
    bench.parts(&path, &id, &file(), &[1]).await;
    bench.finish_file(&id, "abc").await.mentions("md5");
    bench.finish_file(&id, &"A".repeat(32)).await.says("");
    let info = bench.call("getFileInfo", &[&id]).await;
    assert_eq!((info.element("size"), info.element("md5")), ("2500", "a".repeat(32).as_str()));
}

#[tokio::test]
async fn the_service_describes_itself() {
    let bench = bench();
    let said = bench.get(&format!("{ENDPOINT}?wsdl")).await.unwrap();
    assert_eq!(said.status, 200);
    let text = said.text();
    assert!(text.contains("<soap:address location=\"http://h/4shared/jax3/DesktopApp\"/>"));
    assert_eq!(text.matches("<soap:operation ").count(), 22);
    assert!(text.contains("<part name=\"arg0\" type=\"xs:int\"/><part name=\"arg1\" type=\"xs:string\"/>"));
    assert!(text.contains("<message name=\"uploadCancelFileResponse\"></message>"));
    for word in ["DesktopAppJax2Service", "DesktopAppJax2Port", "fileUploadInfo", "accountItem", "style=\"rpc\""] {
        assert!(text.contains(word), "{word}");
    }
    assert_eq!(bench.get(ENDPOINT).await.unwrap().status, 404);
    assert_eq!(bench.ask("PUT", ENDPOINT, b"").await.unwrap().status, 405);
    assert_eq!(bench.get("/4shared/dc7/upload").await.unwrap().status, 405);
    assert_eq!(bench.get("/4shared/file/5/a").await.unwrap().status, 404);
    assert_eq!(bench.ask("DELETE", "/4shared/file/5/a", b"").await.unwrap().status, 405);
    assert_eq!(bench.get("/4shared/other").await.unwrap().status, 404);
}

#[test]
fn the_configuration_can_be_read() {
    let parsed: toml::Table = toml::from_str(&config("127.0.0.1:9".parse().unwrap())).unwrap();
    let host = &parsed["host"]["4shared"];
    assert_eq!(host["kind"].as_str(), Some("4shared"));
    assert_eq!(host["base_url"].as_str(), Some("http://127.0.0.1:9/4shared/jax3/DesktopApp"));
    assert_eq!((host["user"].as_str(), host["password"].as_str()), (Some(ME[0]), Some(ME[1])));
    assert_eq!(host["allow_private"].as_bool(), Some(true));
}
