//! What a bad host and bad files leave of the room: what is well keeps its share of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use ferryd::internals::job::State;

use crate::bench_top::Bench;

/// A host that is a socket and an `answer` to each request, which is given the body. It lives as long as the test.
fn listen(answer: impl Fn(&[u8]) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &*answer));
        }
    });
    address
}

/// Answers requests until the connection ends.
fn serve(stream: TcpStream, answer: &dyn Fn(&[u8]) -> String) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        (&stream).write_all(answer(&body).as_bytes()).ok()?;
    }
}

fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn contains(body: &[u8], word: &str) -> bool {
    body.windows(word.len()).any(|part| part == word.as_bytes())
}

/// What has arrived at a host, in order, and which of it may have its answer.
#[derive(Default)]
struct Gate {
    arrived: Mutex<Vec<(&'static str, bool)>>,
    changed: Condvar,
}

impl Gate {
    /// Notes the arrival and answers its number.
    fn arrive(&self, what: &'static str) -> usize {
        let mut arrived = self.arrived.lock().unwrap();
        arrived.push((what, false));
        arrived.len() - 1
    }

    fn wait(&self, number: usize) {
        drop(self.changed.wait_while(self.arrived.lock().unwrap(), |arrived| !arrived[number].1).unwrap());
    }

    fn let_go(&self, number: usize) {
        self.arrived.lock().unwrap()[number].1 = true;
        self.changed.notify_all();
    }

    fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }

    fn what(&self, number: usize) -> &'static str {
        self.arrived.lock().unwrap()[number].0
    }
}

/// A host hangs in all that it is given while files arrive for another one, with these lines in `[daemon]`.
fn one_hangs_and_the_other_goes_on(daemon_lines: &str, hangs_in: usize) {
    let hanging = Arc::new(Gate::default());
    let gate = hanging.clone();
    let address = listen(move |_| {
        gate.wait(gate.arrive("a part"));
        String::new()
    });
    let bench = Bench::new().change("[daemon]\n", &format!("[daemon]\n{daemon_lines}\n"));
    let other = bench.dir.path().join("other");
    let bench = bench.host(&format!(
        "[host.hangs]\nkind = \"cloudkp\"\nbase_url = \"http://{address}\"\nmax_connections = 64\nrequest_timeout = \"1h\"\n\
         [[watch]]\npath = {other:?}\nto = [\"hangs\"]\nsettle = \"0s\""
    ));
    std::fs::create_dir(&other).unwrap();
    for number in 0..200 {
        // Several parts each, so that the connections run short, too.
        std::fs::File::create(other.join(format!("f{number}"))).unwrap().set_len(700_000).unwrap();
    }
    let daemon = bench.start();
    bench.wait_for("the host to hang in as much as it is given", || (hanging.count() >= hangs_in).then_some(()));
    for number in 0..30 {
        bench.put(&format!("g{number}"), b"content");
    }
    bench.wait_for("all files of the other host", || (bench.sandbox.objects().len() == 30).then_some(()));
    for number in 0..30 {
        assert_eq!(bench.held(&format!("g{number}")), [b"content"]);
    }
    let hangs: Vec<_> = bench.jobs().into_iter().filter(|job| job.host == "hangs").collect();
    let count = |state| hangs.iter().filter(|job| job.state == state).count();
    assert!(count(State::Uploading) > 0, "it still hangs in some");
    assert_eq!((hangs.len(), count(State::Uploading) + count(State::Queued)), (200, 200), "and has let go of none");
    assert_eq!(hanging.count(), hangs_in, "with all that it may have in flight");
    daemon.kill();
}

#[test]
fn a_host_that_never_answers_leaves_the_others_their_share_of_uploads() {
    // As many requests as a host has that has not answered yet.
    one_hangs_and_the_other_goes_on("", 4);
}

#[test]
fn a_host_that_never_answers_leaves_the_others_their_share_of_connections() {
    one_hangs_and_the_other_goes_on("max_connections = 4", 3);
}

#[test]
fn a_good_file_does_not_wait_behind_a_thousand_bad_ones_of_its_host() {
    const SLOTS: usize = 4;
    let gate = Arc::new(Gate::default());
    let at = gate.clone();
    let address = listen(move |body| {
        if contains(body, "poison") {
            at.wait(at.arrive("poison"));
            return reply("500 Internal Server Error", "");
        }
        if contains(body, "\"complete\"") {
            return reply("200 OK", "{\"file_id\":\"aB3dE6gH9k\"}");
        }
        at.arrive("good");
        reply("200 OK", "")
    });
    let bench = Bench::new();
    let sandbox = format!("http://{}/cloudkp\"", bench.sandbox.addr());
    let bench = bench
        .change(&sandbox, &format!("http://{address}\""))
        .change("[daemon]\n", &format!("[daemon]\nmax_uploads = {SLOTS}\n"))
        .host("request_timeout = \"1h\"\nmax_connections = 64");
    for number in 0..1000 {
        bench.put(&format!("bad{number}"), b"poison");
    }
    let daemon = bench.start();
    bench.wait_for("a job for each bad file", || (bench.jobs().len() == 1000).then_some(()));
    daemon.kill();
    // They have failed often, and their turn has come again.
    let queue = rusqlite::Connection::open(bench.state_dir().join(ferryd::internals::store::FILE_NAME)).unwrap();
    queue.execute("UPDATE jobs SET state = 'waiting', next_try = 1, failures = 12", []).unwrap();
    let before = gate.count();
    let daemon = bench.start();
    bench.wait_for("bad files in every slot", || (gate.count() == before + SLOTS).then_some(()));
    bench.put("good", b"content");
    bench.wait_for("a job for the good file", || (bench.jobs().len() == 1001).then_some(()));
    gate.let_go(before);
    bench.wait_for("the next file", || (gate.count() > before + SLOTS).then_some(()));
    assert_eq!(gate.what(before + SLOTS), "good", "the first slot that is free is the good file's");
    let done = bench.wait_state(State::Done);
    assert!(done.path.ends_with("good") && done.link.is_some(), "{done:#?}");
    daemon.kill();
}
