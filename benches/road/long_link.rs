//! Hosts that are far away: how much of a long link a large file and small ones fill.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::daemon::{Place, Setup, sandbox};
use crate::listener;
use crate::machine::{MIB, curl_if_any, number, tell};

/// What is read and passed on at once.
const PIECE_BYTES: usize = 16 * 1024;
/// What one connection may have on its way in one direction: 4 MiB, as if its receiver had a window of twice that.
const PIECES_ON_THE_WAY: usize = 256;
/// The times of a round trip, in milliseconds.
const ROUND_TRIPS: [u64; 3] = [20, 100, 300];
/// One kind with parts that go together, one with larger ones, one with a body after the other, and one with a single body.
const KINDS: [&str; 4] = ["cloudkp", "s3", "tus", "kie"];
const SMALL_BYTES: usize = 64 * 1024;
const GOAL: &str = "90 % of the link";

pub(crate) fn rows() {
    let mebibytes = number("FERRYD_BENCH_LINK_MIB", 256);
    let files = number("FERRYD_BENCH_LINK_FILES", 200);
    let megabits = number("FERRYD_BENCH_LINK_MBIT", 200);
    let staging = tempfile::tempdir().unwrap();
    let large = staging.path().join("large");
    let piece = [7; MIB as usize];
    let mut file = File::create(&large).unwrap();
    (0..mebibytes).for_each(|_| file.write_all(&piece).unwrap());
    // A file that somebody may still write is not sent, under whatever name.
    drop(file);
    for round_trip in ROUND_TRIPS {
        let link = Link { delay: Duration::from_millis(round_trip) / 2, bytes_per_second: megabits as f64 * 1e6 / 8.0 };
        let of_link = |bytes: u64, took: Duration| 100.0 * bytes as f64 / link.bytes_per_second / took.as_secs_f64();
        let where_ = format!("over {round_trip} ms and {megabits} Mbit/s");
        if curl_if_any().is_some() {
            let took = curl(&large, &link);
            let share = of_link(mebibytes * MIB, took);
            tell(&format!("{mebibytes} MiB by curl {where_}: {:.1} s, {share:.0} % of the link", took.as_secs_f64()), "none");
        }
        for kind in KINDS {
            let (of_large, of_small) = one(kind, &large, files, &link);
            let (large_share, small_share) = (of_link(mebibytes * MIB, of_large), of_link(files * SMALL_BYTES as u64, of_small));
            let large = format!("{mebibytes} MiB in {:.1} s, {large_share:.0} % of the link", of_large.as_secs_f64());
            let small = format!("{files} files of 64 KiB in {:.1} s, {small_share:.0} %", of_small.as_secs_f64());
            tell(&format!("to {kind} {where_}: {large}; {small}"), GOAL);
        }
    }
}

/// How long the large file and then the small ones took.
fn one(kind: &'static str, large: &Path, files: u64, link: &Link) -> (Duration, Duration) {
    let host = tempfile::tempdir().unwrap();
    let (_sandbox, addr) = sandbox(host.path());
    let place = Place::new(&Setup::new(kind), link.to(addr));
    let (_daemon, _) = place.start();
    let staged = place.dir.path().join("staged");
    std::fs::hard_link(large, &staged).or_else(|_| std::fs::copy(large, &staged).map(drop)).unwrap();
    let begun = Instant::now();
    std::fs::rename(&staged, place.drop_dir().join("large")).unwrap();
    place.wait_done(1);
    let of_large = begun.elapsed();
    std::fs::create_dir(&staged).unwrap();
    (0..files).for_each(|number| std::fs::write(staged.join(number.to_string()), [number as u8; SMALL_BYTES]).unwrap());
    let begun = Instant::now();
    std::fs::rename(&staged, place.drop_dir().join("small")).unwrap();
    place.wait_done(files + 1);
    (of_large, begun.elapsed())
}

fn curl(file: &Path, link: &Link) -> Duration {
    let addr = link.to(listener::serve(b"", |_, _| {}));
    let begun = Instant::now();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "-H", "Expect:", "-o", "/dev/null", "-T"]).arg(file).arg(format!("http://{addr}/"));
    assert!(curl.status().unwrap().success(), "curl has failed");
    begun.elapsed()
}

/// A link on which everything arrives late, and whose direction to the host carries so much for all connections together. It loses nothing,
/// and a connection is at full speed at once.
struct Link {
    delay: Duration,
    bytes_per_second: f64,
}

/// Some bytes, and when they arrive.
type Piece = (Instant, Vec<u8>);

impl Link {
    /// An address on this side of the link. It is served until the process ends.
    fn to(&self, host: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (delay, bytes_per_second) = (self.delay, self.bytes_per_second);
        let free_at = Arc::new(Mutex::new(Instant::now()));
        spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(host) else { continue };
                near.set_nodelay(true).and(far.set_nodelay(true)).unwrap();
                let free_at = free_at.clone();
                // The first bytes wait for the connection, which costs a round trip.
                let mut opened = Some(2 * delay);
                let up = move |bytes: usize| {
                    let mut free_at = free_at.lock().unwrap();
                    *free_at = (*free_at).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / bytes_per_second);
                    *free_at + delay + opened.take().unwrap_or_default()
                };
                carry(near.try_clone().unwrap(), far.try_clone().unwrap(), up);
                carry(far, near, move |_| Instant::now() + delay);
            }
        });
        addr
    }
}

/// Carries what comes from `from` to `to`, each piece for when it is due.
fn carry(from: TcpStream, to: TcpStream, due: impl FnMut(usize) -> Instant + Send + 'static) {
    let (put, take) = sync_channel(PIECES_ON_THE_WAY);
    spawn(move || read(from, &put, due));
    spawn(move || write(to, &take));
}

fn read(mut from: TcpStream, put: &SyncSender<Piece>, mut due: impl FnMut(usize) -> Instant) {
    let mut buffer = [0; PIECE_BYTES];
    while let Ok(bytes) = from.read(&mut buffer)
        && bytes > 0
    {
        if put.send((due(bytes), buffer[..bytes].to_vec())).is_err() {
            return;
        }
    }
}

fn write(mut to: TcpStream, take: &Receiver<Piece>) {
    let mut last = Instant::now();
    for (due, bytes) in take {
        // Nothing overtakes what was sent before it.
        last = last.max(due);
        sleep(last.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            to.shutdown(Shutdown::Both).ok();
            return;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
