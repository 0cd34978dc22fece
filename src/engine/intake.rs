//! From settled files to rows: what the watches ask of the queue, on the watches' own thread.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::runtime::Handle as Runtime;

use crate::crash_point;
use crate::job::{Identity, Watch, WatchReport, Watches};
use crate::store::{Arrival, Memory, Seen, Store, StoreError};
use crate::watch::{self, Settled, Stop};

/// The queue as the watches see it.
pub struct Intake {
    store: Store,
    memory: Memory,
    runtime: Runtime,
    watches: Watches,
    /// The queue's failure, which ended the watching.
    failed: Option<StoreError>,
}

impl Intake {
    /// An intake for the files of these watches, whose roots are numbered in the same order.
    pub fn new(store: Store, runtime: Runtime, watches: Watches) -> Result<Intake, StoreError> {
        let memory = store.memory()?;
        Ok(Intake { store, memory, runtime, watches, failed: None })
    }

    /// Why the watching stopped, if the queue was the reason.
    pub fn into_failure(self) -> Option<StoreError> {
        self.failed
    }

    fn note<T>(&mut self, result: Result<T, StoreError>) -> Result<T, Stop> {
        result.map_err(|error| {
            self.failed.get_or_insert(error);
            Stop
        })
    }

    fn look(&mut self, root: usize, folder: &Path, name: &OsStr, identity: &Identity) -> Result<bool, StoreError> {
        let seen = self.memory.look(folder, name, identity, &self.watches[root].to)?;
        if seen != Seen::Known {
            // What follows may wait for a file system or for the writer.
            self.memory.let_go()?;
        }
        match seen {
            Seen::Known => Ok(true),
            Seen::Unknown => Ok(false),
            Seen::Renumbered { file } => {
                self.runtime.block_on(self.store.renumbered(file, *identity))?;
                Ok(true)
            }
            Seen::Elsewhere { path, .. } if is_still_there(&path, identity) => Ok(false),
            Seen::Elsewhere { file, path } => {
                tracing::info!("{path:?} is {:?} now; it is not uploaded again", folder.join(name));
                let renamed = self.store.renamed(file, folder.to_owned(), name.to_owned(), *identity);
                self.runtime.block_on(renamed)?;
                // Its hosts may be others here, which only the new path can tell.
                Ok(matches!(self.memory.look(folder, name, identity, &self.watches[root].to)?, Seen::Known))
            }
        }
    }

    fn enqueue(&mut self, batch: Vec<Settled>, make_jobs: bool) -> Result<(), StoreError> {
        let arrivals = batch.into_iter().map(|settled| {
            let Settled { root, folder, name, identity, close_seen } = settled;
            let Watch { to, priority, .. } = &self.watches[root];
            Arrival { folder, name, identity, hosts: to.clone(), make_jobs, priority: *priority, close_seen }
        });
        let arrivals: Vec<Arrival> = arrivals.collect();
        self.memory.let_go()?;
        crash_point!("enqueue.before_commit");
        let made = self.runtime.block_on(self.store.enqueue(arrivals))?;
        crash_point!("enqueue.after_commit");
        tracing::debug!("{made} jobs queued");
        Ok(())
    }
}

/// A second name of the same file (a hard link) is a file of its own; only a name that is no more was a rename.
fn is_still_there(path: &Path, identity: &Identity) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ino().cast_signed() == identity.inode)
}

impl watch::Memory for Intake {
    fn known(&mut self, root: usize, folder: &Path, name: &OsStr, identity: &Identity) -> Result<bool, Stop> {
        let known = self.look(root, folder, name, identity);
        self.note(known)
    }

    fn closed(&mut self, folder: &Path, name: &OsStr, identity: &Identity) -> Result<(), Stop> {
        let done = self
            .memory
            .let_go()
            .and_then(|()| self.runtime.block_on(self.store.close_seen(folder.to_owned(), name.to_owned(), *identity)));
        self.note(done)
    }

    fn listing(&mut self) {
        self.memory.listing();
    }

    fn listed(&mut self) -> Result<(), Stop> {
        let done = self.memory.listed();
        self.note(done)
    }

    fn settled(&mut self, batch: Vec<Settled>) -> Result<(), Stop> {
        let done = self.enqueue(batch, true);
        self.note(done)
    }

    fn passed_over(&mut self, batch: Vec<Settled>) -> Result<(), Stop> {
        let done = self.enqueue(batch, false);
        self.note(done)
    }

    fn report(&mut self, root: usize, report: &WatchReport) {
        let told = self.runtime.block_on(self.store.watch_status(self.watches[root].path.clone(), report.clone()));
        if let Err(error) = told {
            tracing::debug!("cannot note how a watch is doing: {error}");
        }
    }
}
