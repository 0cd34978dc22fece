//! The watching thread: takes hints, looks at files, keeps what is not settled yet, and sleeps until something is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::job::watch::EventSource;
use crate::job::{Identity, Watch, Watches};
use crate::os::clock::Clock;
use crate::os::files::{File, FileKind};
use crate::os::lease::{self, Writers};
use crate::os::system::System;

use super::events::{Events, Unwatched};
use super::hints::{Handle, Heard, Hint, Hints};
use super::root_watch::RootWatch;
use super::scan::{FoundFile, Walk};
use super::settle::{Judgement, Settling, Sighting};
use super::{KNOWN_AT_ONCE, Knowledge, KnownFiles, News, Root, Settled, WatchingEnds};

/// Files that are remembered while they settle; the folder of any further file is scanned again instead.
const SETTLING_MAX: usize = 16_384;
/// Folders that are remembered to be scanned again; beyond that the whole root is.
const RESCANS_MAX: usize = 4096;
/// Settled files that are handed over together.
const BATCH: usize = 512;

/// Watches `roots`, which are all that [`Root::all`] has made, until [`Handle::stop`], or until the owner of the known files says
/// so. Belongs to one thread, which it keeps. `on_ready` is called once every root has been scanned.
pub(crate) fn run(
    roots: Vec<Root>,
    system: &System,
    known_files: &mut (dyn KnownFiles + Send),
    handle: &Handle,
    on_ready: impl FnOnce(),
) {
    if let Err(error) = lease::ignore_lease_signal() {
        tracing::warn!("cannot ignore SIGIO: {error}");
    }
    let mut watcher = Watcher::new(roots, system, known_files, handle);
    // The owner knows why it stopped us.
    if watcher.begin().is_ok() {
        on_ready();
        while watcher.turn(handle.take(watcher.next_due())).is_ok() {}
    }
}

/// A file that is settling: which root, which folder, which name.
type Key = (usize, Arc<Path>, OsString);

/// The watching, for whoever decides when it has its turns.
pub(crate) struct Watcher<'a> {
    clock: Clock,
    /// Tells whose a folder is.
    watches: Watches,
    /// One for each of the watches, in their order.
    roots: Vec<RootWatch>,
    known_files: &'a mut (dyn KnownFiles + Send),
    handle: &'a Handle,
    events: Option<Events>,
    settling: HashMap<Key, (Settling, Instant)>,
    due: BTreeSet<(Instant, Key)>,
    /// Folders to be scanned again.
    rescans: BTreeMap<PathBuf, Instant>,
    batch: Vec<Settled>,
    /// Files that were there before their watch.
    skipped: Vec<Settled>,
}

impl<'a> Watcher<'a> {
    /// A watching of `roots`, which are all of [`Root::all`].
    pub(crate) fn new(
        roots: Vec<Root>,
        system: &System,
        known_files: &'a mut (dyn KnownFiles + Send),
        handle: &'a Handle,
    ) -> Watcher<'a> {
        let events = match Events::new(handle.clone(), system) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!("file system events are not available ({error:?}); scanning the folders instead");
                None
            }
        };
        let clock = system.clock.clone();
        let watches = roots.first().map(|root| root.watches().clone()).unwrap_or_default();
        let roots = roots.into_iter().map(|root| RootWatch::new(root, events.is_some(), clock.instant())).collect();
        let (settling, due, rescans) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        let (batch, skipped) = (Vec::new(), Vec::new());
        Watcher { clock, watches, roots, known_files, handle, events, settling, due, rescans, batch, skipped }
    }

    /// Scans every root for the first time.
    ///
    /// # Errors
    ///
    /// The watching ends.
    pub(crate) fn begin(&mut self) -> Result<(), WatchingEnds> {
        self.scan_due()
    }

    /// Does what the hints ask for, and all that is due.
    ///
    /// # Errors
    ///
    /// The watching ends.
    pub(crate) fn turn(&mut self, hints: Hints) -> Result<(), WatchingEnds> {
        if hints.stop {
            return Err(WatchingEnds);
        }
        self.follow(hints)?;
        self.look_at_due()?;
        self.scan_due_folders()?;
        self.scan_due()?;
        self.flush()?;
        self.report();
        Ok(())
    }

    /// When there is something to do, should no hint come.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let scans = self.roots.iter().map(|root| root.next_scan);
        let settling = self.due.first().map(|(due, _)| *due);
        let reports = self.roots.iter().filter_map(RootWatch::report_due);
        scans.chain(settling).chain(self.rescans.values().copied()).chain(reports).min()
    }

    fn follow(&mut self, hints: Hints) -> Result<(), WatchingEnds> {
        if (hints.everything || hints.gaps > 0) && !planted!("events.lost_unheeded") {
            let now = self.clock.instant();
            for root in &mut self.roots {
                root.next_scan = now;
                root.report.gaps_seen += hints.gaps;
            }
        }
        for (folder, hint) in hints.folders {
            match hint {
                Hint::Whole => self.list_folder(&folder)?,
                Hint::Names(names) => {
                    for (name, heard) in names {
                        self.look_where_hinted(&folder, &name, heard)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn look_where_hinted(&mut self, folder: &Path, name: &OsStr, heard: Heard) -> Result<(), WatchingEnds> {
        let path = folder.join(name);
        if let Some(watch) = self.roots.iter_mut().find(|watch| watch.root.path() == path) {
            watch.next_scan = self.clock.instant();
        }
        // Beside the files of a watch that is not recursive there may be folders of another.
        let owner = self.watches.owner(folder);
        let walker = self.watches.walker(&path).filter(|walker| Some(*walker) != owner);
        for index in owner.into_iter().chain(walker) {
            self.look_as(index, folder, name, heard)?;
        }
        Ok(())
    }

    /// Looks at what the root at `index` would find of that name: a file if the folder is its own, a folder if it walks there.
    fn look_as(&mut self, index: usize, folder: &Path, name: &OsStr, heard: Heard) -> Result<(), WatchingEnds> {
        let path = folder.join(name);
        let root = &self.roots[index].root;
        // The root itself is scanned at its time, which has come.
        if path == root.path() || !root.filter.enters_all_above(root.relative(&path)) || root.is_excepted(&path) {
            return Ok(());
        }
        match root.base().look(&path) {
            Ok(stat) if stat.kind == FileKind::Folder => {
                if root.walks(&path) && root.filter.enters(root.relative(&path), name) {
                    // Another way may lead to where a link leads, which only a scan of everything can tell.
                    if root.is_link(&path) {
                        self.roots[index].next_scan = self.clock.instant();
                    } else {
                        self.walk(index, &path, true)?;
                    }
                }
                Ok(())
            }
            Ok(stat) if root.owns(folder) && root.takes(&path, name, &stat) => {
                let seen = Sighting::of(&stat);
                let known = self.known_files.known(index, folder, &[(name, seen.identity)])?.pop();
                let known = known.unwrap_or(Knowledge::New(News::default()));
                self.look(index, &Arc::from(folder), name.to_owned(), seen, known, heard)
            }
            _ => {
                self.forget(&(index, Arc::from(folder), name.to_owned()));
                Ok(())
            }
        }
    }

    /// Where every way of noticing a file ends: it is there, and is known, settling or settled.
    fn look(
        &mut self,
        root: usize,
        folder: &Arc<Path>,
        name: OsString,
        seen: Sighting,
        known: Knowledge,
        heard: Heard,
    ) -> Result<(), WatchingEnds> {
        let identity = seen.identity;
        let Knowledge::New(news) = known else {
            if seen.was_closed(heard) {
                self.known_files.closed(folder, &name, &identity)?;
            }
            self.forget(&(root, folder.clone(), name));
            return Ok(());
        };
        let key = (root, folder.clone(), name);
        let (now, now_ns) = (self.clock.instant(), self.clock.now_ns());
        let mut settling = Settling::after(self.settling.get(&key).map(|(settling, _)| settling), seen, heard, now);
        let Watch { settle, settle_unknown, .. } = *self.roots[root].root.watch();
        let judged = match settling.judge(settle, now, now_ns) {
            Judgement::Again(pause) => Judgement::Again(pause),
            Judgement::Quiet if planted!("settle.writer_ignored") => Judgement::Quiet,
            Judgement::Quiet => match self.who_writes(&key, &identity) {
                Writers::Somebody => Judgement::Again(settling.pause_while_open()),
                Writers::Unknown => settling.judge_unasked(settle, settle_unknown, now, now_ns),
                Writers::Nobody => Judgement::Quiet,
            },
        };
        match judged {
            Judgement::Quiet => self.settle(key, &settling, news),
            Judgement::Again(pause) => {
                self.remember(key, settling, now + pause);
                Ok(())
            }
        }
    }

    fn who_writes(&self, (root, folder, name): &Key, identity: &Identity) -> Writers {
        let opened = self.roots[*root].root.base().open(&folder.join(name));
        let same = |file: &File| file.stat().is_ok_and(|stat| Identity::from(stat.numbers) == *identity);
        match opened {
            Ok(file) if same(&file) => file.writers(),
            // It changed under our eyes, which is writing enough.
            Ok(_) => Writers::Somebody,
            // A file we may not read is a job all the same: one that says so.
            Err(_) => Writers::Unknown,
        }
    }

    fn settle(&mut self, key: Key, settling: &Settling, news: News) -> Result<(), WatchingEnds> {
        self.forget(&key);
        let (root, folder, name) = key;
        let (identity, close_seen) = (settling.seen.identity, settling.close_seen);
        self.batch.push(Settled { root, folder: folder.to_path_buf(), name, identity, close_seen, news });
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), WatchingEnds> {
        if !self.skipped.is_empty() {
            self.known_files.skipped(std::mem::take(&mut self.skipped))?;
        }
        if !self.batch.is_empty() {
            self.known_files.settled(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn remember(&mut self, key: Key, settling: Settling, due: Instant) {
        self.forget(&key);
        if self.settling.len() >= SETTLING_MAX {
            return self.scan_again_later(key.1.to_path_buf(), due);
        }
        self.roots[key.0].report.settling += 1;
        self.due.insert((due, key.clone()));
        self.settling.insert(key, (settling, due));
    }

    fn forget(&mut self, key: &Key) {
        if let Some((_, due)) = self.settling.remove(key) {
            self.roots[key.0].report.settling -= 1;
            self.due.remove(&(due, key.clone()));
        }
    }

    fn scan_again_later(&mut self, folder: PathBuf, due: Instant) {
        if self.rescans.len() < RESCANS_MAX || self.rescans.contains_key(&folder) {
            self.rescans.insert(folder, due);
        } else {
            self.roots.iter_mut().for_each(|watch| watch.next_scan = watch.next_scan.min(due));
        }
    }

    fn look_at_due(&mut self) -> Result<(), WatchingEnds> {
        let now = self.clock.instant();
        while let Some((due, key)) = self.due.first()
            && *due <= now
        {
            let key = key.clone();
            // Out of the way until the look has put it back, so that a file that is no more does not keep us here.
            let kept = self.settling.get(&key).map(|(settling, _)| *settling);
            let before = (*due, key.clone());
            self.due.remove(&before);
            let (_, folder, name) = &key;
            self.look_where_hinted(folder, name, Heard::Nothing)?;
            if kept.is_some() && self.settling.get(&key).is_some_and(|(_, due)| *due == before.0) {
                self.forget(&key);
            }
        }
        Ok(())
    }

    fn scan_due_folders(&mut self) -> Result<(), WatchingEnds> {
        let now = self.clock.instant();
        let due: Vec<PathBuf> = self.rescans.iter().filter(|(_, due)| **due <= now).map(|(folder, _)| folder.clone()).collect();
        for folder in due {
            self.rescans.remove(&folder);
            self.list_folder(&folder)?;
        }
        Ok(())
    }

    /// Scans the roots whose time has come, and looks for those that are missing.
    fn scan_due(&mut self) -> Result<(), WatchingEnds> {
        for index in 0..self.roots.len() {
            if self.roots[index].next_scan <= self.clock.instant() {
                self.scan_root(index)?;
            }
        }
        self.flush()?;
        self.report();
        Ok(())
    }

    fn scan_root(&mut self, index: usize) -> Result<(), WatchingEnds> {
        let path = self.roots[index].root.path().to_owned();
        if let Some(why) = self.roots[index].root.missing() {
            self.roots[index].mark_missing(why, self.clock.instant());
            return Ok(());
        }
        self.roots[index].mark_present(self.events.is_some());
        self.report();
        let began = self.clock.instant();
        self.walk(index, &path, true)?;
        self.flush()?;
        self.handle.scanned(&path, began);
        self.roots[index].scanned_at(self.clock.now_ms(), self.clock.instant());
        Ok(())
    }

    /// Lists a folder for the watch that its files belong to, and enters none in it.
    fn list_folder(&mut self, folder: &Path) -> Result<(), WatchingEnds> {
        match self.watches.owner(folder) {
            Some(owner) => self.walk(owner, folder, false),
            None => Ok(()),
        }
    }

    fn walk(&mut self, index: usize, start: &Path, below: bool) -> Result<(), WatchingEnds> {
        // The walk borrows the root while files found on it change the watcher.
        let root = self.roots[index].root.clone();
        let mut walk = Walk::new(&root, start.to_owned(), below);
        let mut unreadable = None;
        while let Some(folder) = walk.next_folder() {
            if self.handle.is_stopped() {
                return Err(WatchingEnds);
            }
            self.watch_folder(index, &folder.path);
            let shared: Arc<Path> = Arc::from(folder.path.as_path());
            let mut found = Vec::new();
            let each = |one| {
                found.push(one);
                if found.len() >= KNOWN_AT_ONCE { self.look_at_found(index, &shared, &mut found) } else { Ok(()) }
            };
            walk.list(&folder, each, |path, error| unreadable = Some(format!("cannot read {path:?}: {error}")))?;
            self.look_at_found(index, &shared, &mut found)?;
        }
        if walk.passed_links() {
            self.roots[index].next_scan = self.clock.instant();
        }
        if unreadable.is_some() || (below && start == root.path()) {
            self.roots[index].note_unreadable(unreadable);
        }
        Ok(())
    }

    /// Files found by walking. They are asked about together, and before any of them is looked at further, which might hang.
    fn look_at_found(&mut self, index: usize, folder: &Arc<Path>, found: &mut Vec<FoundFile>) -> Result<(), WatchingEnds> {
        let watch = &self.roots[index];
        if !watch.scanned && !watch.root.existing {
            return self.skip_existing(index, folder, found);
        }
        let asked: Vec<(&OsStr, Identity)> = found.iter().map(|one| (one.name.as_os_str(), one.sighting.identity)).collect();
        let known = self.known_files.known(index, folder, &asked)?;
        let mut looked_at = found.drain(..).zip(known);
        looked_at
            .try_for_each(|(FoundFile { name, sighting }, known)| self.look(index, folder, name, sighting, known, Heard::Nothing))
    }

    /// Before the first scan of a watch that takes no existing files has ended, what it finds is only remembered.
    fn skip_existing(&mut self, index: usize, folder: &Path, found: &mut Vec<FoundFile>) -> Result<(), WatchingEnds> {
        let skipped = found.drain(..).map(|FoundFile { name, sighting }| Settled {
            root: index,
            folder: folder.to_path_buf(),
            name,
            identity: sighting.identity,
            close_seen: false,
            news: News::default(),
        });
        self.skipped.extend(skipped);
        if self.skipped.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn watch_folder(&mut self, index: usize, folder: &Path) {
        let now = self.clock.instant();
        let watch = &mut self.roots[index];
        if watch.report.events == EventSource::Poll {
            return;
        }
        let Some(events) = &mut self.events else { return };
        let is_root = folder == watch.root.path();
        match events.watch(folder, is_root, watch.root.watch().recursive) {
            Ok(()) | Err(Unwatched::Vanished) => {}
            Err(Unwatched::Limit) => watch.fall_back(
                "the kernel's limit on watches (inotify) is reached, so this folder is scanned every few seconds instead; \
                 raise the limit with `sysctl fs.inotify.max_user_watches=1048576` and restart",
                now,
            ),
            Err(Unwatched::Other(error)) => {
                watch.fall_back(
                    &format!("cannot watch {folder:?} ({error}), so this folder is scanned every few seconds instead"),
                    now,
                );
            }
        }
    }

    fn report(&mut self) {
        let now = self.clock.instant();
        for (index, watch) in self.roots.iter_mut().enumerate() {
            if let Some(report) = watch.due_report(now) {
                self.known_files.report(index, report);
            }
        }
    }
}

#[cfg(test)]
mod tests;
