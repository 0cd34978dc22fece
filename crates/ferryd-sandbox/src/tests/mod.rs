//! The sandbox as a client meets it: bytes on a socket, and what is stored afterwards.
//!
//! The client here is written by hand, so that it can be as wrong as a test wants it.

#[cfg(feature = "example-kind")]
mod example;
mod faults;
mod fourshared;
mod kie;
mod koodrive;
mod rules;
mod state;

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cloudkp::{EmptyFile, FinishReply};
use super::faults::{Action, Endpoint, Rule, Script};
use super::log::{Entry, Outcome};
use super::{Options, Sandbox};

const UUID: &str = "40718826350194427713";
const OTHER: &str = "00000000000000000042";
const LADDER_BASE: usize = 131_072;

/// A sandbox and the folder it lives in.
struct Bench {
    dir: TempDir,
    sandbox: Sandbox,
}

fn bench() -> Bench {
    bench_with(|_| {})
}

/// A sandbox whose CloudKP answers in JSON, as most faults here are about.
fn options_at(state: &std::path::Path) -> Options {
    let mut options = Options::new(state);
    (options.rules.cloudkp.finish_reply, options.rules.cloudkp.empty_file) = (FinishReply::Json, EmptyFile::Reject);
    options
}

fn bench_with(change: impl FnOnce(&mut Options)) -> Bench {
    let dir = TempDir::new().unwrap();
    let mut options = options_at(dir.path());
    change(&mut options);
    Bench { sandbox: Sandbox::start(options).unwrap(), dir }
}

fn faulty(rule: Rule) -> Bench {
    bench_with(|options| options.faults = Script::of([rule]))
}

/// A reply, as far as it came.
#[derive(Debug)]
struct Said {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the body has the length the head promised.
    whole: bool,
}

impl Said {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }

    /// The text of the `error`; nothing when it is null.
    fn error(&self) -> Option<String> {
        self.json()["error"].as_str().map(str::to_owned)
    }

    fn id(&self) -> String {
        self.json()["file_id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn fine(&self) {
        assert_eq!((self.status, self.error()), (200, None), "{}", self.text());
    }

    #[track_caller]
    fn refused(&self, word: &str) {
        assert_eq!(self.status, 200, "a rejection is a text with status 200");
        assert!(self.error().is_some_and(|error| error.contains(word)), "{word}: {}", self.text());
        assert!(self.json()["file_id"].is_null());
    }
}

/// How a connection ended without a whole head of a reply.
#[derive(Debug, PartialEq, Eq)]
enum Silence {
    Closed,
    Reset,
}

impl Bench {
    /// Sends these bytes on a connection of their own and reads to its end.
    async fn send(&self, request: &[u8]) -> Result<Said, Silence> {
        let mut stream = TcpStream::connect(self.sandbox.addr()).await.unwrap();
        // The far side may have heard enough before all is sent; what counts is what it says.
        let unsent = stream.write_all(request).await.is_err();
        let mut reply = Vec::new();
        let reset = stream.read_to_end(&mut reply).await.is_err() || unsent;
        parse(&reply).ok_or(if reset { Silence::Reset } else { Silence::Closed })
    }

    async fn upload(&self, fields: &[(&str, &str)], file: Option<&[u8]>) -> Result<Said, Silence> {
        self.send(&post(&form(fields, file))).await
    }

    async fn chunk(&self, session: &str, index: usize, file: &[u8]) -> Result<Said, Silence> {
        let part = file.chunks(LADDER_BASE).nth(index).unwrap();
        let (index, count, size) = (index.to_string(), file.len().div_ceil(LADDER_BASE).to_string(), file.len().to_string());
        self.upload(&chunk_fields(session, &index, &count, &size), Some(part)).await
    }

    async fn finish(&self, session: &str, count: usize, name: &str) -> Result<Said, Silence> {
        self.upload(&finish_fields(session, &count.to_string(), name), None).await
    }

    /// Uploads a whole file in order. The id.
    async fn store(&self, session: &str, file: &[u8], name: &str) -> String {
        let count = file.len().div_ceil(LADDER_BASE);
        for index in 0..count {
            self.chunk(session, index, file).await.unwrap().fine();
        }
        let finished = self.finish(session, count, name).await.unwrap();
        finished.fine();
        finished.id()
    }

    async fn get(&self, path: &str) -> Result<Said, Silence> {
        self.ask("GET", path, b"").await
    }

    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Said, Silence> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send(&[head.as_bytes(), body].concat()).await
    }

    /// The log, once nothing is going on any more.
    async fn log(&self) -> Vec<Entry> {
        self.sandbox.calm().await;
        self.sandbox.log()
    }

    async fn last(&self) -> Entry {
        self.log().await.pop().unwrap()
    }

    /// The bytes of the only object.
    fn only_object(&self) -> Vec<u8> {
        let objects = self.sandbox.objects();
        assert_eq!(objects.len(), 1);
        self.sandbox.read(&objects[0]).unwrap()
    }

    /// Stops the sandbox and starts it again on what it left.
    async fn restart(self, change: impl FnOnce(&mut Options)) -> Bench {
        self.sandbox.stop().await;
        let mut options = options_at(self.dir.path());
        change(&mut options);
        Bench { sandbox: Sandbox::start(options).unwrap(), dir: self.dir }
    }
}

fn parse(reply: &[u8]) -> Option<Said> {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(reply[..end].to_vec()).unwrap();
    let mut said = Said { status: head[9..12].parse().unwrap(), head, body: reply[end + 4..].to_vec(), whole: true };
    said.whole = said.header("content-length") == Some(&said.body.len().to_string());
    Some(said)
}

fn chunk_fields<'f>(session: &'f str, index: &'f str, count: &'f str, size: &'f str) -> [(&'f str, &'f str); 4] {
    [("dzuuid", session), ("dzchunkindex", index), ("dztotalchunkcount", count), ("dztotalfilesize", size)]
}

fn finish_fields<'f>(session: &'f str, count: &'f str, name: &'f str) -> [(&'f str, &'f str); 4] {
    [("dzuuid", session), ("complete", "yes"), ("file_name", name), ("dztotalchunkcount", count)]
}

/// The fields with one of them changed.
fn but<'f>(fields: [(&'f str, &'f str); 4], name: &str, value: &'f str) -> Vec<(&'f str, &'f str)> {
    fields.map(|(field, old)| (field, if field == name { value } else { old })).to_vec()
}

/// The fields without one of them.
fn without<'f>(fields: [(&'f str, &'f str); 4], name: &str) -> Vec<(&'f str, &'f str)> {
    fields.into_iter().filter(|(field, _)| *field != name).collect()
}

fn form(fields: &[(&str, &str)], file: Option<&[u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--BOUND\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    if let Some(file) = file {
        body.extend(b"--BOUND\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\r\n");
        body.extend(file);
        body.extend(b"\r\n");
    }
    body.extend(b"--BOUND--\r\n");
    body
}

fn post(body: &[u8]) -> Vec<u8> {
    [head("/cloudkp/upload", body.len()).as_bytes(), body].concat()
}

fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=BOUND\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Bytes in which no two chunks are equal.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / LADDER_BASE * 7 + at % 251) as u8).collect()
}

/// Waits at most this long for something that must come; no test waits for it in vain.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.unwrap()
}
