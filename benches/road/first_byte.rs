//! From the close of a file to its first byte at the host, with the rows committed between: one file after the other, and a burst.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::daemon::{Place, Setup};
use crate::listener;
use crate::machine::{ROUNDS, median, milliseconds, number, share, synced_appends, tell};

/// What a host of the kind `kie` answers to a file.
const REPLY: &[u8] = br#"{"success":true,"code":200,"data":{"downloadUrl":"http://127.0.0.1/first-byte"}}"#;
/// Every name begins so, and goes on with its number.
const NAME: &[u8] = b"first-byte-";
/// Between two files, so that the daemon has come to rest.
const GAP: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);
/// Files that go ahead, so that the road is trodden and the connection open.
const WARM: usize = 5;

/// The number of a file, and when its first byte came.
type Arrival = (usize, Instant);

pub(crate) fn rows() {
    let (tell_arrival, arrivals) = channel();
    let addr = listener::serve(REPLY, move |first, beginning| {
        if let Some(number) = number_in(beginning) {
            tell_arrival.send((number, first)).ok();
        }
    });
    // Of itself this kind takes two files at once.
    let place = Place::new(&Setup { host_lines: "max_uploads = 32", ..Setup::new("kie") }, addr);
    let (_daemon, _) = place.start();
    let drop_dir = place.drop_dir();
    let files = number("FERRYD_BENCH_FIRST_BYTES", 500) as usize;
    one_by_one(&drop_dir, &arrivals, 0..WARM);
    let waits = one_by_one(&drop_dir, &arrivals, WARM..WARM + files);
    let syncs = synced_appends(place.dir.path(), files);
    let (p50, p99) = (share(&waits, 0.5), share(&waits, 0.99));
    let sync = format!("one synced append here: p50 {:.3} ms, p99 {:.3} ms", share(&syncs, 0.5), share(&syncs, 0.99));
    let what = format!("close to first byte, {files} files one after the other");
    tell(&format!("{what}: p50 {p50:.2} ms, p99 {p99:.2} ms; {sync}"), "p50 0.3 ms, p99 1 ms");

    let size = number("FERRYD_BENCH_BURST", 200) as usize;
    let begins = |round: usize| WARM + files + round * size;
    let bursts: Vec<Vec<f64>> = (0..ROUNDS).map(|round| burst(&drop_dir, &arrivals, begins(round)..begins(round + 1))).collect();
    let of_all = |part: f64| median(&bursts.iter().map(|waits| share(waits, part)).collect::<Vec<_>>());
    let (p50, p99) = (of_all(0.5), of_all(0.99));
    tell(&format!("close to first byte, a burst of {size}: p50 {p50:.1} ms, p99 {p99:.1} ms"), "p99 25 ms");
}

fn one_by_one(dir: &Path, arrivals: &Receiver<Arrival>, numbers: std::ops::Range<usize>) -> Vec<f64> {
    let wait = |number| {
        let closed = put(dir, number);
        let (arrived, at) = arrivals.recv_timeout(PATIENCE).unwrap();
        assert_eq!(arrived, number, "another file arrived");
        std::thread::sleep(GAP);
        milliseconds(at.saturating_duration_since(closed))
    };
    numbers.map(wait).collect()
}

fn burst(dir: &Path, arrivals: &Receiver<Arrival>, numbers: std::ops::Range<usize>) -> Vec<f64> {
    let begin = numbers.start;
    let closed: Vec<Instant> = numbers.map(|number| put(dir, number)).collect();
    let arrived = closed.iter().map(|_| arrivals.recv_timeout(PATIENCE).unwrap());
    let waits = arrived.map(|(number, at)| milliseconds(at.saturating_duration_since(closed[number - begin]))).collect();
    std::thread::sleep(GAP * 20);
    waits
}

/// Writes a file in the folder itself; answers when it was closed.
fn put(dir: &Path, number: usize) -> Instant {
    let name = format!("{}{number}.", String::from_utf8_lossy(NAME));
    let mut file = File::create(dir.join(name)).unwrap();
    file.write_all(&[number as u8; 4096]).unwrap();
    let closed = Instant::now();
    drop(file);
    closed
}

fn number_in(request: &[u8]) -> Option<usize> {
    let at = request.windows(NAME.len()).position(|bytes| bytes == NAME)? + NAME.len();
    let digits: String = request[at..].iter().map(|byte| *byte as char).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
