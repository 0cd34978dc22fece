//! SIGKILL in the middle of a large file: how much is sent twice, and what is left open at the host.

use std::collections::HashSet;
use std::time::Duration;

use ferryd_sandbox::faults::Endpoint;
use ferryd_sandbox::log::{Entry, Outcome};
use ferryd_sandbox::{Options, Sandbox};

use crate::daemon::{Place, Setup};
use crate::large;
use crate::machine::{MIB, number, tell};

const KIND: &str = "cloudkp";

/// What the host has seen of one file.
struct Seen {
    /// Bytes of the parts, their forms included.
    bytes: u64,
    part_bytes: u64,
    sessions: usize,
    open: usize,
    stored: usize,
    /// At which share of the file the daemon was killed.
    killed_at: f64,
}

pub(crate) fn row() {
    let (mebibytes, kills) = (number("FERRYD_BENCH_KILL_MIB", 256), number("FERRYD_BENCH_KILLS", 5));
    let undisturbed = send(mebibytes, None);
    let killed: Vec<Seen> = (0..kills).map(|_| send(mebibytes, Some(undisturbed.part_bytes))).collect();
    let twice: Vec<u64> = killed.iter().map(|seen| seen.bytes.saturating_sub(undisturbed.bytes)).collect();
    let twice: Vec<String> = twice.iter().map(|bytes| format!("{:.0}", *bytes as f64 / 1024.0)).collect();
    let at: Vec<String> = killed.iter().map(|seen| format!("{:.0} %", seen.killed_at * 100.0)).collect();
    let sum = |count: fn(&Seen) -> usize| killed.iter().map(count).sum::<usize>();
    let row = format!(
        "SIGKILL in the middle of {mebibytes} MiB to {KIND} (at {}), parts of about {} KiB: {} KiB sent twice; {} kills, {} files, {} sessions, {} of them left open",
        at.join(", "),
        undisturbed.part_bytes / 1024,
        twice.join(", "),
        killed.len(),
        sum(|seen| seen.stored),
        sum(|seen| seen.sessions),
        sum(|seen| seen.open)
    );
    tell(&row, "the parts in flight, nothing left open");
}

/// Sends one file, with a kill at its half where the size of a part is given.
fn send(mebibytes: u64, part_bytes: Option<u64>) -> Seen {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let host = tempfile::tempdir().unwrap();
    let options = Options { discard: true, ..Options::new(host.path()) };
    let sandbox = runtime.block_on(async { Sandbox::start(options) }).unwrap();
    let place = Place::new(&Setup::new(KIND), sandbox.addr());
    let staged = place.dir.path().join("staged");
    large::write(&staged, mebibytes, 3);
    let mut daemon = place.start().0;
    std::fs::rename(staged, place.drop_dir().join("large")).unwrap();
    let mut killed_at = 0.0;
    if let Some(part_bytes) = part_bytes {
        let half = mebibytes * MIB / part_bytes / 2;
        while sandbox.stats().parts_acked < half {
            std::thread::sleep(Duration::from_micros(100));
        }
        daemon.kill();
        killed_at = (sandbox.stats().parts_acked * part_bytes) as f64 / (mebibytes * MIB) as f64;
        daemon = place.start().0;
    }
    place.wait_done(1);
    daemon.stop();
    runtime.block_on(sandbox.calm());
    seen(&sandbox.log(), sandbox.objects().len(), killed_at)
}

fn seen(log: &[Entry], stored: usize, killed_at: f64) -> Seen {
    let parts = || log.iter().filter(|entry| entry.endpoint == Some(Endpoint::Chunk));
    let sessions = |entries: &mut dyn Iterator<Item = &Entry>| -> HashSet<String> {
        entries.filter_map(|entry| entry.session.clone()).collect()
    };
    let begun = sessions(&mut parts());
    let ended = sessions(&mut log.iter().filter(|entry| entry.outcome == Outcome::Stored));
    let (bytes, count) = parts().fold((0, 0), |(bytes, count), entry| (bytes + entry.body_bytes, count + 1));
    Seen { bytes, part_bytes: bytes / count, sessions: begun.len(), open: begun.difference(&ended).count(), stored, killed_at }
}
