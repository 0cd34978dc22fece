//! How many files a second the queue takes durably: one after the other, and from many at once. A queue of its own, through the store.

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::job::Identity;
use crate::store::{Arrival, Store, StoreError};

use super::super::progress::Progress;
use super::super::render::CommandFailure;
use super::rate::per_second;
use super::stop::Stop;

/// How many wait for the disk at once.
const TOGETHER: u64 = 64;
/// More than this says nothing more.
const COMMITS_MAX: u64 = 20_000;

/// How fast it went.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Queue {
    /// Commits a second, each begun when the one before was on the disk.
    pub alone_per_second: u64,
    /// The same where so many wait at once, which share what the disk does.
    pub together_per_second: u64,
    pub together: u64,
}

/// Measures in the folder `dir`, which has no queue yet, for so long at most.
pub(super) fn measure(dir: &Path, time: Duration, stop: &Stop, progress: &mut Progress) -> Result<Queue, CommandFailure> {
    let failed = |error: StoreError| CommandFailure::store(dir, &error);
    progress.now("Writing to a queue");
    let (store, thread) = Store::open(dir).map_err(failed)?;
    let names = AtomicU64::new(0);
    let measured = commits(&store, 1, time / 2, &names, stop)
        .and_then(|alone| Ok((alone, commits(&store, TOGETHER, time / 2, &names, stop)?)));
    drop(store);
    thread.join();
    stop.check()?;
    let (alone_per_second, together_per_second) = measured.map_err(failed)?;
    Ok(Queue { alone_per_second, together_per_second, together: TOGETHER })
}

/// Commits a second of so many writers.
fn commits(store: &Store, writers: u64, time: Duration, names: &AtomicU64, stop: &Stop) -> Result<u64, StoreError> {
    let (begun, done) = (Instant::now(), AtomicU64::new(0));
    let write = || {
        while begun.elapsed() < time && done.load(Ordering::Relaxed) < COMMITS_MAX && !stop.is_asked() {
            store.enqueue(vec![arrival(names.fetch_add(1, Ordering::Relaxed))]).blocking()?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let writing: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        let ended = writing.into_iter().map(|writer| writer.join().unwrap_or(Err(StoreError::Closed)));
        ended.collect::<Result<Vec<()>, StoreError>>()
    })?;
    Ok(per_second(done.into_inner(), begun.elapsed()))
}

/// A file that nobody has.
fn arrival(number: u64) -> Arrival {
    let inode = i64::try_from(number).unwrap_or(i64::MAX);
    Arrival {
        folder: "/".into(),
        name: OsString::from(format!("file {number}")),
        identity: Identity { device: 1, inode, size: 1, mtime_ns: 1, ctime_ns: 1, born_ns: 1 },
        hosts: ["host".to_owned()].into(),
        make_jobs: true,
        one_off: true,
        first_version_only: false,
        priority: 0,
        close_seen: false,
        fingerprint: None,
        maybe_known: false,
    }
}
