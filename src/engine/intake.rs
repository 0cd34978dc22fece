//! From settled files to rows: what the watches ask of the queue, on the watches' own thread.

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::job::watch::OnChange;
use crate::job::{Fingerprint, Identity, Watch, WatchReport, Watches};
use crate::os::crash::crash_point;
use crate::os::files::{Base, Files};
use crate::os::mounts::Mounts;
use crate::os::system::System;
use crate::store::{Arrival, Earlier, LOOKUPS_MAX, Seen, Store, StoreError};
use crate::watch::{self, Knowledge, News, Settled, WatchingEnds};

use super::ahead::Expected;
use super::roots::KnownRoots;

/// The queue, for as long as it is lent: a thread that hangs keeps nobody from closing it.
#[derive(Clone)]
pub(crate) struct Lent(Arc<Mutex<Option<Store>>>);

impl Lent {
    pub(super) fn store(&self) -> Result<Store, StoreError> {
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

/// Tells whether a file that is met is a version that was taken up already.
#[derive(Clone)]
pub(crate) struct Recognition {
    system: System,
    store: Lent,
}

/// The queue as the watches see it.
pub(crate) struct Intake {
    store: Lent,
    reports: Reports,
    recognition: Recognition,
    watches: Watches,
    roots: KnownRoots,
    expected: Expected,
    /// The queue's failure, which ended the watching.
    failed: Option<StoreError>,
}

impl Intake {
    /// An intake for the files of these watches, whose roots are numbered in the same order.
    pub(crate) fn new(system: System, store: Store, watches: Watches, roots: KnownRoots, expected: Expected) -> Intake {
        let recognition = Recognition::new(system, store);
        let store = recognition.store.clone();
        Intake { recognition, store, reports: Reports::default(), watches, roots, expected, failed: None }
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

    fn look(&mut self, root: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<Knowledge>, StoreError> {
        let hosts = self.watches[root].to.clone();
        let known = self.recognition.recognize(&hosts, folder, files)?;
        if known.contains(&Knowledge::Known) {
            let met = files.iter().zip(&known).filter(|(_, known)| **known == Knowledge::Known);
            self.met_files(root, met.map(|((_, now), _)| now.device))?;
        }
        Ok(known)
    }

    /// The root of a watch is the one whose files the queue knows.
    fn met_files(&self, root: usize, devices: impl Iterator<Item = i64>) -> Result<(), StoreError> {
        let watch = &self.watches[root];
        match self.roots.met_files(watch, devices) {
            Some(folder) => self.store.store()?.record_root(watch.path.clone(), folder).blocking(),
            None => Ok(()),
        }
    }

    fn enqueue(&mut self, batch: Vec<Settled>, make_jobs: bool) -> Result<(), StoreError> {
        let mut roots: BTreeMap<usize, BTreeSet<i64>> = BTreeMap::new();
        for settled in &batch {
            roots.entry(settled.root).or_default().insert(settled.identity.device);
        }
        let arrivals = batch.into_iter().map(|settled| {
            let Settled { root, folder, name, identity, close_seen, news: News { fingerprint, maybe_known } } = settled;
            let Watch { to, priority, on_change, .. } = &self.watches[root];
            Arrival {
                folder,
                name,
                identity,
                hosts: to.clone(),
                make_jobs,
                one_off: false,
                first_version_only: *on_change == OnChange::Ignore,
                priority: *priority,
                close_seen,
                fingerprint,
                maybe_known,
            }
        });
        let arrivals: Vec<Arrival> = arrivals.collect();
        // Before the files: once their disk has another number, nobody else could tell that the old one was the same disk's.
        roots.into_iter().try_for_each(|(root, devices)| self.met_files(root, devices.into_iter()))?;
        crash_point!("enqueue.before_commit");
        let made = self.store.store()?.enqueue(arrivals).blocking()?;
        crash_point!("enqueue.after_commit");
        tracing::debug!("jobs queued: {made}");
        Ok(())
    }
}

impl Recognition {
    pub(crate) fn new(system: System, store: Store) -> Recognition {
        Recognition { system, store: Lent(Arc::new(Mutex::new(Some(store)))) }
    }

    /// The way to the queue, and to take it back.
    pub(crate) fn lent(&self) -> &Lent {
        &self.store
    }

    /// What is known of each of these files in `folder`, which are to go to `hosts`. A rename is followed.
    pub(crate) fn recognize(
        &self,
        hosts: &[String],
        folder: &Path,
        files: &[(&OsStr, Identity)],
    ) -> Result<Vec<Knowledge>, StoreError> {
        let seen = self.store.store()?.look_up(folder, files, hosts)?;
        let (mounts, has_followed) = (OnceCell::new(), Cell::new(false));
        let met = files.iter().map(|(name, now)| MetFile { folder, name, now, mounts: &mounts, has_followed: &has_followed });
        met.zip(seen)
            .map(|(met, seen)| {
                // A rename that was followed since they were looked up has moved what is known of one file, and perhaps displaced another.
                let seen = if has_followed.get() { self.look_up(hosts, &met)? } else { seen };
                self.judge(hosts, &met, seen)
            })
            .collect()
    }

    fn look_up(&self, hosts: &[String], met: &MetFile<'_>) -> Result<Seen, StoreError> {
        let seen = self.store.store()?.look_up(met.folder, &[(met.name, *met.now)], hosts)?;
        Ok(seen.into_iter().next().unwrap_or(Seen::Unknown))
    }

    fn judge(&self, hosts: &[String], met: &MetFile<'_>, seen: Seen) -> Result<Knowledge, StoreError> {
        match seen {
            Seen::Known => Ok(Knowledge::Known),
            Seen::Unknown => Ok(Knowledge::New(News::default())),
            Seen::Renumbered => self.adopt(met),
            Seen::Touched { fingerprint: known, is_taken_up } => match met.fingerprint(&self.system.files) {
                Some(now) if now == known && is_taken_up => self.adopt(met),
                fingerprint => Ok(Knowledge::New(News { fingerprint, maybe_known: fingerprint.is_none() })),
            },
            Seen::Elsewhere(earlier) => self.judge_elsewhere(hosts, met, earlier),
        }
    }

    fn adopt(&self, met: &MetFile<'_>) -> Result<Knowledge, StoreError> {
        self.store.store()?.record_new_numbers(met.folder.to_owned(), met.name.to_owned(), *met.now).blocking()?;
        Ok(Knowledge::Known)
    }

    /// A file that looks like one that was taken up elsewhere has been renamed if the other name is no more: the same inode, unless its
    /// content is another, or the same content under the same name. The same content under another name may be a copy, which is sent.
    fn judge_elsewhere(&self, hosts: &[String], met: &MetFile<'_>, earlier: Vec<Earlier>) -> Result<Knowledge, StoreError> {
        let mut news = News::default();
        for before in earlier {
            if self.is_beyond_reach(met, &before.folder) || is_still_there(&self.system.files, &before, met) {
                continue;
            }
            if before.fingerprint.is_some() {
                news.fingerprint = news.fingerprint.or_else(|| met.fingerprint(&self.system.files));
            }
            let is_compared = news.fingerprint.is_some() && before.fingerprint.is_some();
            if is_compared && news.fingerprint != before.fingerprint {
                continue;
            }
            if before.is_replaced() {
                news.maybe_known = true;
                continue;
            }
            if !before.same_inode {
                if !is_compared {
                    // One that cannot be read now may be it.
                    news.maybe_known |= before.fingerprint.is_some();
                    continue;
                }
                if before.own_name() != met.name {
                    news.maybe_known = true;
                    continue;
                }
            }
            let unread = before.fingerprint.is_some() && !is_compared;
            return self.follow_rename(hosts, met, before, unread);
        }
        Ok(Knowledge::New(News { fingerprint: None, ..news }))
    }

    /// Whether a look into `before` may hang though one into `folder` does not, since it is on a file system of another machine or
    /// process. What is there is not asked, and counts as being there still.
    fn is_beyond_reach(&self, met: &MetFile<'_>, before: &Path) -> bool {
        if met.folder == before || !matches!(self.system.files, Files::Real) {
            return false;
        }
        met.mounts.get_or_init(Mounts::now).may_hang_from(met.folder, before)
    }

    /// With `unread`, its content could not be compared, and somebody may have changed it and set its times back. So it is remembered
    /// with a time of change that no file has, and compared when it is met again.
    fn follow_rename(&self, hosts: &[String], met: &MetFile<'_>, before: Earlier, unread: bool) -> Result<Knowledge, StoreError> {
        let MetFile { folder, name, now, has_followed, .. } = *met;
        let recorded = if unread { Identity { ctime_ns: 0, ..*now } } else { *now };
        let (earlier, to) = (before.path(), (folder.to_owned(), name.to_owned()));
        if self.store.store()?.record_rename((before.folder, before.name), to, recorded).blocking()? {
            tracing::info!("{earlier:?} was renamed to {:?}; not uploading it again", folder.join(name));
            has_followed.set(true);
        }
        // Its hosts may be others here, which only the new path can tell, and another name of it may have taken its place since.
        let is_known = self.look_up(hosts, met)? == Seen::Known;
        Ok(if is_known { Knowledge::Known } else { Knowledge::New(News::default()) })
    }
}

/// A file that the scan has met.
struct MetFile<'a> {
    folder: &'a Path,
    name: &'a OsStr,
    now: &'a Identity,
    /// What is mounted, once it has been asked for one of the files that were met together.
    mounts: &'a OnceCell<Mounts>,
    /// Whether a rename of one of those was followed.
    has_followed: &'a Cell<bool>,
}

impl MetFile<'_> {
    /// The fingerprint of its content, if it is still what was met once it has been read.
    fn fingerprint(&self, files: &Files) -> Option<Fingerprint> {
        let path = self.folder.join(self.name);
        let file = Base::around(files, &path).open(&path).ok()?;
        let is_it = || file.stat().is_ok_and(|stat| Identity::from(stat.numbers) == *self.now);
        let fingerprint = Fingerprint::read(self.now.size, |block, offset| file.read_exact_at(block, offset)).ok()?;
        is_it().then_some(fingerprint)
    }
}

/// A second name of the same file (a hard link) is a file of its own; only a name that is no more was a rename. A name that has
/// another file now is no more.
fn is_still_there(files: &Files, before: &Earlier, met: &MetFile<'_>) -> bool {
    if before.is_displaced() {
        return false;
    }
    let (path, now) = (before.folder.join(&before.name), met.now);
    // Where letters do not differ by their case, a file is found under the spelling that it had, too.
    if before.folder == met.folder && before.name != met.name && is_spelled_alike(&before.name, met.name) {
        return is_listed(files, &path).unwrap_or(true);
    }
    let found = Base::around(files, &path).look(&path).map(|stat| Identity::from(stat.numbers));
    match found {
        Ok(found) if before.same_inode => found.inode == now.inode,
        // Without an inode to go by, whatever is there may be what was taken up.
        Ok(found) => found.same_version(now),
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

/// Whether two names differ in nothing but the case of their letters.
fn is_spelled_alike(one: &OsStr, other: &OsStr) -> bool {
    let folded = |name: &OsStr| name.to_str().map(str::to_lowercase);
    folded(one).is_some_and(|one| folded(other) == Some(one))
}

/// Whether the folder of `path` lists its very name.
fn is_listed(files: &Files, path: &Path) -> io::Result<bool> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    let mut listing = Base::around(files, path).folder(folder)?.list()?;
    while let Some(entry) = listing.next_entry() {
        if entry?.name() == name {
            return Ok(true);
        }
    }
    Ok(false)
}

impl watch::KnownFiles for Intake {
    fn known(&mut self, root: usize, folder: &Path, files: &[(&OsStr, Identity)]) -> Result<Vec<Knowledge>, WatchingEnds> {
        let known = self.look(root, folder, files);
        self.note(known)
    }

    fn closed(&mut self, folder: &Path, name: &OsStr, identity: &Identity) -> Result<(), WatchingEnds> {
        let store = self.store.store();
        let done = store.and_then(|store| store.record_close(folder.to_owned(), name.to_owned(), *identity).blocking());
        self.note(done)
    }

    fn settling(&mut self, root: usize) {
        self.expected.expect(&self.watches[root].to);
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
    fn a_name_that_was_spelled_with_other_letters_is_there_only_if_it_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["Film.mov", "other"] {
            std::fs::write(at(name), "film").unwrap();
        }
        let now = Identity::of(&std::fs::metadata(at("Film.mov")).unwrap());
        let met = MetFile {
            folder: dir.path(),
            name: OsStr::new("Film.mov"),
            now: &now,
            mounts: &OnceCell::new(),
            has_followed: &Cell::new(false),
        };
        let is_there = |name: &str| {
            let before = Earlier { folder: dir.path().to_owned(), name: name.into(), same_inode: true, fingerprint: None };
            is_still_there(&Files::Real, &before, &met)
        };
        assert!(!is_there("film.mov"), "it is not listed, whatever is found by that name");
        std::fs::hard_link(at("Film.mov"), at("film.mov")).unwrap();
        assert!(is_there("film.mov"), "a second name is a file of its own");
        assert!(!is_there("film"));
        assert!(
            is_spelled_alike(OsStr::new("ÄRGER.txt"), OsStr::new("ärger.TXT"))
                && !is_spelled_alike(OsStr::new("a"), OsStr::new("b"))
        );
    }

    #[test]
    fn of_two_names_that_a_renamed_file_has_now_one_takes_its_place_and_the_other_is_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let [before, first, second] = ["before", "first", "second"].map(|name| dir.path().join(name));
        std::fs::write(&before, "once").unwrap();
        let identity = Identity { born_ns: 7, ..Identity::of(&std::fs::metadata(&before).unwrap()) };
        let store = Store::in_memory(Arc::new(|| 1)).unwrap();
        let watches: Watches = [Watch::new(dir.path().to_owned(), Arc::from(["box".to_owned()]))].into_iter().collect();
        let roots = KnownRoots::new(Files::Real, watches.clone(), Vec::new(), crate::watch::Handle::default());
        let mut intake = Intake::new(System::default(), store, watches, roots, Expected::default());
        let settled = |name: &str| Settled {
            root: 0,
            folder: dir.path().to_owned(),
            name: name.into(),
            identity,
            close_seen: false,
            news: News::default(),
        };
        intake.settled(vec![settled("before")]).unwrap();
        std::fs::hard_link(&before, &second).unwrap();
        std::fs::hard_link(&before, &first).unwrap();
        std::fs::remove_file(&before).unwrap();
        let mut known = |names: [&str; 2]| {
            let files = names.map(|name| (OsStr::new(name), identity));
            intake.known(0, dir.path(), &files).unwrap().iter().map(|known| *known == Knowledge::Known).collect::<Vec<_>>()
        };
        assert_eq!(known(["first", "second"]), [true, false]);
        assert_eq!(known(["second", "first"]), [false, true], "the first one keeps its place");
    }
}
