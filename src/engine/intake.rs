//! From settled files to rows: what the watches ask of the queue, on the watches' own thread.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::job::{Identity, Watch, WatchReport, Watches};
use crate::os::crash::crash_point;
use crate::os::files::{Base, Files};
use crate::os::system::System;
use crate::store::{Arrival, LOOKUPS_MAX, Seen, Store, StoreError};
use crate::watch::{self, Settled, WatchingEnds};

/// The queue, for as long as it is lent: a thread that hangs keeps nobody from closing it.
#[derive(Clone)]
pub(crate) struct Lent(Arc<Mutex<Option<Store>>>);

impl Lent {
    fn store(&self) -> Result<Store, StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    /// Whoever has it asks it nothing any more.
    pub(crate) fn take_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What was told of each root last, by its place among the watches.
pub(crate) type Reports = Arc<Mutex<BTreeMap<usize, WatchReport>>>;

/// What the watches ask about at once, the store answers for at once.
const _: () = assert!(watch::KNOWN_AT_ONCE <= LOOKUPS_MAX);

/// The queue as the watches see it.
pub(crate) struct Intake {
    store: Lent,
    reports: Reports,
    system: System,
    watches: Watches,
    /// The queue's failure, which ended the watching.
    failed: Option<StoreError>,
}

impl Intake {
    /// An intake for the files of these watches, whose roots are numbered in the same order.
    pub(crate) fn new(system: System, store: Store, watches: Watches) -> Intake {
        let store = Lent(Arc::new(Mutex::new(Some(store))));
        Intake { system, store, reports: Reports::default(), watches, failed: None }
    }

    /// The way to take the queue back.
    pub(crate) fn lent(&self) -> Lent {
        self.store.clone()
    }

    /// What it has reported, as it goes on.
    pub(crate) fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// Why the watching stopped, if the queue was the reason.
    pub(crate) fn into_failure(self) -> Option<StoreError> {
        self.failed
    }

    fn note<T>(&mut self, result: Result<T, StoreError>) -> Result<T, WatchingEnds> {
        result.map_err(|error| {
            self.failed.get_or_insert(error);
            WatchingEnds
        })
    }

    fn look(&mut self, root: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<bool>, StoreError> {
        let hosts = self.watches[root].to.clone();
        let seen = self.store.store()?.look_up(folder, files, &hosts)?;
        files.iter().zip(seen).map(|((name, identity), seen)| self.is_known(&hosts, folder, name, identity, seen)).collect()
    }

    fn is_known(&self, hosts: &[String], folder: &Path, name: &OsStr, now: &Identity, seen: Seen) -> Result<bool, StoreError> {
        match seen {
            Seen::Known => Ok(true),
            Seen::Unknown => Ok(false),
            Seen::Renumbered => {
                self.store.store()?.record_new_numbers(folder.to_owned(), name.to_owned(), *now).blocking()?;
                Ok(true)
            }
            Seen::Elsewhere { folder: before, name: named } => {
                let path = before.join(&named);
                if is_still_there(&self.system.files, &path, now) {
                    return Ok(false);
                }
                tracing::info!("{path:?} was renamed to {:?}; not uploading it again", folder.join(name));
                self.store.store()?.record_rename((before, named), (folder.to_owned(), name.to_owned()), *now).blocking()?;
                // Its hosts may be others here, which only the new path can tell, and another name of it may have taken its place
                // since.
                Ok(self.store.store()?.look_up(folder, &[(name, *now)], hosts)?.contains(&Seen::Known))
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
        crash_point!("enqueue.before_commit");
        let made = self.store.store()?.enqueue(arrivals).blocking()?;
        crash_point!("enqueue.after_commit");
        tracing::debug!("jobs queued: {made}");
        Ok(())
    }
}

/// A second name of the same file (a hard link) is a file of its own; only a name that is no more was a rename.
fn is_still_there(files: &Files, path: &Path, identity: &Identity) -> bool {
    Base::around(files, path).look(path).is_ok_and(|stat| stat.device_and_inode().1 == identity.inode)
}

impl watch::KnownFiles for Intake {
    fn known(&mut self, root: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<bool>, WatchingEnds> {
        let known = self.look(root, folder, files);
        self.note(known)
    }

    fn closed(&mut self, folder: &Path, name: &OsStr, identity: &Identity) -> Result<(), WatchingEnds> {
        let store = self.store.store();
        let done = store.and_then(|store| store.record_close(folder.to_owned(), name.to_owned(), *identity).blocking());
        self.note(done)
    }

    fn settled(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds> {
        let done = self.enqueue(batch, true);
        self.note(done)
    }

    fn skipped(&mut self, batch: Vec<Settled>) -> Result<(), WatchingEnds> {
        let done = self.enqueue(batch, false);
        self.note(done)
    }

    fn report(&mut self, root: usize, report: &WatchReport) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).insert(root, report.clone());
        let store = self.store.store();
        let told = store.and_then(|store| store.record_watch(self.watches[root].path.clone(), report.clone()).blocking());
        if let Err(error) = told {
            tracing::debug!("cannot note how a watch is doing: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::KnownFiles;

    #[test]
    fn of_two_names_that_a_renamed_file_has_now_one_takes_its_place_and_the_other_is_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let [before, first, second] = ["before", "first", "second"].map(|name| dir.path().join(name));
        std::fs::write(&before, "once").unwrap();
        let identity = Identity { born_ns: 7, ..Identity::of(&std::fs::metadata(&before).unwrap()) };
        let store = Store::in_memory(Arc::new(|| 1)).unwrap();
        let watches = [Watch::new(dir.path().to_owned(), Arc::from(["box".to_owned()]))].into_iter().collect();
        let mut intake = Intake::new(System::default(), store, watches);
        let settled =
            |name: &str| Settled { root: 0, folder: dir.path().to_owned(), name: name.into(), identity, close_seen: false };
        intake.settled(vec![settled("before")]).unwrap();
        std::fs::hard_link(&before, &second).unwrap();
        std::fs::hard_link(&before, &first).unwrap();
        std::fs::remove_file(&before).unwrap();
        let mut known = |names: [&str; 2]| {
            let files = names.map(|name| (OsStr::new(name), identity));
            intake.known(0, dir.path(), &files).unwrap()
        };
        assert_eq!(known(["first", "second"]), [true, false]);
        assert_eq!(known(["second", "first"]), [false, true], "the first one keeps its place");
    }
}
