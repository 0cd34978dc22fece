//! A watching thread: takes hints, looks at files, keeps what is not settled yet, and sleeps until something is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::marker::{Marker, Readiness, readiness};
use crate::job::watch::EventSource;
use crate::job::{Identity, Watch, WatchState, Watches};
use crate::os::clock::Clock;
use crate::os::files::{File, FileKind, Files};
use crate::os::lease::{self, Writers};
use crate::os::mounts::{FileSystemId, Mounts};
use crate::os::system::System;

use super::events::{Events, Unwatched};
use super::hints::{Handle, Heard, Hint, Hints, RootsHeard};
use super::pulse::{Owner, Pulse};
use super::root_watch::RootWatch;
use super::scan::{FoundFile, Walk};
use super::settle::{Judgement, Settling, Sighting};
use super::{KNOWN_AT_ONCE, Knowledge, KnownFiles, News, Root, Settled, WatchingEnds};

/// Files that are remembered while they settle; the folder of any further file is scanned again instead.
const SETTLING_MAX: usize = 16_384;
/// Folders that are remembered to be scanned again; beyond that the whole root is.
const RESCANS_MAX: usize = 4096;
/// How often the roots are looked at where nobody tells that another folder may be in their place.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// How often where the kernel tells.
const TOLD_LOOK_PAUSE: Duration = Duration::from_secs(600);
/// A file that may be taken up within less than this is told of when it is met.
const SOON: Duration = Duration::from_secs(10);
/// Settled files that are handed over together.
const BATCH: usize = 512;
/// How often a file without its marker is looked at, should no event tell of the marker.
const MARKER_PAUSE: Duration = Duration::from_secs(60);

/// Watches `roots`, which are some of those that [`Root::all`] has made, until [`Handle::stop`], or until the owner of the known
/// files says so, or none of them is left. Belongs to one thread, which it keeps. `on_ready` is called once each of these roots has
/// been scanned, and `on_leave` with those that meet other file systems than before, and are watched here no longer.
pub(crate) fn run(
    roots: Vec<Root>,
    system: &System,
    known_files: &mut (dyn KnownFiles + Send),
    handle: &Handle,
    on_ready: impl FnOnce(),
    on_leave: impl Fn(Vec<Root>),
) {
    if let Err(error) = lease::ignore_lease_signal() {
        tracing::warn!("cannot ignore SIGIO: {error}");
    }
    let mut watcher = Watcher::new(roots, system, known_files, handle);
    // The owner knows why it stopped us.
    if watcher.begin().is_ok() {
        on_ready();
        while watcher.turn(handle.take(watcher.next_due())).is_ok() {
            let left = std::mem::take(&mut watcher.left);
            if !left.is_empty() {
                on_leave(left);
            }
            if watcher.roots.is_empty() {
                return;
            }
        }
    }
}

/// A file that is settling: which root, which folder, which name.
type Key = (usize, Arc<Path>, OsString);

/// The watching, for whoever decides when it has its turns.
pub(crate) struct Watcher<'a> {
    clock: Clock,
    /// Tells whose a folder is.
    watches: Watches,
    /// Those of this watching, by their places among the watches.
    roots: BTreeMap<usize, RootWatch>,
    known_files: Owner<'a>,
    handle: &'a Handle,
    pulse: Pulse,
    /// What is mounted, where this machine is asked.
    mounts: Option<Mounts>,
    /// The file systems that may hang and that each of the roots meets.
    meets: BTreeSet<FileSystemId>,
    /// Roots that meet others by now.
    left: Vec<Root>,
    events: Option<Events>,
    settling: HashMap<Key, (Settling, Instant)>,
    due: BTreeSet<(Instant, Key)>,
    /// When the roots are looked at again.
    next_look: Instant,
    look_pause: Duration,
    /// For how long the machine had slept when that was last looked at.
    slept: Duration,
    /// Folders to be scanned again.
    rescans: BTreeMap<PathBuf, Instant>,
    batch: Vec<Settled>,
    /// Files that were there before their watch.
    skipped: Vec<Settled>,
}

impl<'a> Watcher<'a> {
    /// A watching of `roots`, which are some of [`Root::all`].
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
        let mounts = matches!(system.files, Files::Real).then(Mounts::now);
        let meets = mounts.as_ref().zip(roots.first()).map(|(mounts, root)| root.may_hang(mounts)).unwrap_or_default();
        let (pulse, left) = (handle.pulse(), Vec::new());
        let known_files = Owner::new(known_files, pulse.clone());
        let root_watch = |root: Root| {
            pulse.begins(root.index());
            (root.index(), RootWatch::new(root, events.is_some(), clock.awake()))
        };
        let roots = roots.into_iter().map(root_watch).collect();
        let (settling, due, rescans) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        let (batch, skipped, next_look) = (Vec::new(), Vec::new(), clock.awake() + LOOK_PAUSE);
        let slept = clock.slept();
        Watcher {
            clock,
            watches,
            roots,
            known_files,
            handle,
            pulse,
            mounts,
            meets,
            left,
            events,
            settling,
            due,
            next_look,
            look_pause: LOOK_PAUSE,
            slept,
            rescans,
            batch,
            skipped,
        }
    }

    /// Scans every root for the first time.
    ///
    /// # Errors
    ///
    /// The watching ends.
    pub(crate) fn begin(&mut self) -> Result<(), WatchingEnds> {
        self.scan_due()?;
        self.pulse.rests();
        Ok(())
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
        self.catch_up_with_sleep();
        self.follow(hints)?;
        self.look_at_due()?;
        self.scan_due_folders()?;
        self.look_at_roots();
        self.scan_due()?;
        self.flush()?;
        self.report();
        self.pulse.rests();
        Ok(())
    }

    /// Scans of everything are due by a clock that runs on while the machine sleeps: others may have written to a folder on the
    /// network meanwhile. Nobody on this machine has, so what settles goes by the clock that stood still.
    fn catch_up_with_sleep(&mut self) {
        let slept = self.clock.slept();
        let since = slept.saturating_sub(std::mem::replace(&mut self.slept, slept));
        if !since.is_zero() {
            let now = self.clock.awake();
            self.roots.values_mut().for_each(|watch| watch.next_scan = watch.next_scan.checked_sub(since).unwrap_or(now));
        }
    }

    /// When there is something to do, should no hint come.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let scans = self.roots.values().map(|root| root.next_scan);
        let settling = self.due.first().map(|(due, _)| *due);
        let reports = self.roots.values().filter_map(RootWatch::report_due);
        let looks = (!self.roots.is_empty()).then_some(self.next_look);
        scans.chain(looks).chain(settling).chain(self.rescans.values().copied()).chain(reports).min()
    }

    fn follow(&mut self, hints: Hints) -> Result<(), WatchingEnds> {
        if (hints.everything || hints.gaps > 0) && !planted!("events.lost_unheeded") {
            let now = self.clock.awake();
            for root in self.roots.values_mut() {
                root.next_scan = now;
                root.report.gaps_seen += hints.gaps;
            }
        }
        if let Some(heard) = hints.roots {
            self.look_pause = if heard == RootsHeard::Told { TOLD_LOOK_PAUSE } else { LOOK_PAUSE };
            self.next_look = self.clock.awake();
        }
        if hints.report_again {
            let now = self.clock.awake();
            self.roots.values_mut().for_each(|watch| watch.report_again(now));
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
        if let Some(watch) = self.roots.values_mut().find(|watch| watch.root.path() == path) {
            watch.next_scan = self.clock.awake();
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
        // It may be a root of another thread.
        let Some(RootWatch { root, .. }) = self.roots.get(&index) else { return Ok(()) };
        // The root itself is scanned at its time, which has come.
        if path == root.path() || !root.filter.enters_all_above(root.relative(&path)) || root.is_excepted(&path) {
            return Ok(());
        }
        self.pulse.begins(index);
        if let Some(markers) = root.watch().ready_when.clone().filter(|markers| markers.is_one(name)) {
            return self.look_at_marked(index, folder, name, &markers);
        }
        match root.base().look(&path) {
            Ok(stat) if stat.kind == FileKind::Folder => {
                if root.walks(&path) && root.filter.enters(root.relative(&path), name) {
                    // Another way may lead to where a link leads, which only a scan of everything can tell.
                    if root.is_link(&path) {
                        self.scan_soon(index);
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
        let (now, now_ns) = (self.clock.awake(), self.clock.now_ns());
        let mut settling = Settling::after(self.settling.get(&key).map(|(settling, _)| settling), seen, heard, now);
        let Watch { settle, settle_unknown, .. } = self.watches[root];
        match self.readiness(&key, &identity) {
            None => {}
            Some(Readiness::Ready) => settling.complete(),
            Some(Readiness::Missing | Readiness::Older) => {
                settling.unmarked = true;
                self.remember(key, settling, now + MARKER_PAUSE);
                return Ok(());
            }
        }
        let judged = match settling.judge(settle, now, now_ns) {
            Judgement::Again(pause) => Judgement::Again(pause),
            Judgement::Quiet if planted!("settle.writer_ignored") => Judgement::Quiet,
            Judgement::Quiet => match self.who_writes(&key, &identity) {
                Writers::Somebody => Judgement::Again(settling.pause_while_open()),
                Writers::Unknown => {
                    self.note_unasked(root, &settling);
                    settling.judge_unasked(settle, settle_unknown, now, now_ns)
                }
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

    /// What the marker of a file says, where its watch wants one.
    fn readiness(&self, (root, folder, name): &Key, identity: &Identity) -> Option<Readiness> {
        let root = &self.roots.get(root)?.root;
        let marker = folder.join(root.watch().ready_when.as_ref()?.of(name));
        let found = root.base().look(&marker).ok().filter(|stat| stat.kind == FileKind::File);
        Some(readiness(identity, found.map(|stat| Identity::from(stat.numbers)).as_ref()))
    }

    /// The marker `name` has appeared or changed: the files that wait for it are looked at.
    fn look_at_marked(&mut self, index: usize, folder: &Path, name: &OsStr, markers: &Marker) -> Result<(), WatchingEnds> {
        if let Some(file) = markers.file_of(name) {
            return self.look_as(index, folder, file, Heard::Nothing);
        }
        let waits = |(root, its, file): &&Key| *root == index && &**its == folder && markers.of(file) == name;
        let files: Vec<OsString> = self.settling.keys().filter(waits).map(|(_, _, file)| file.clone()).collect();
        files.iter().try_for_each(|file| self.look_as(index, folder, file, Heard::Nothing))
    }

    /// A file that a writer was seen to close needs nobody to be asked.
    fn note_unasked(&mut self, root: usize, settling: &Settling) {
        if let Some(watch) = self.roots.get_mut(&root).filter(|_| !settling.close_seen) {
            watch.note_unasked();
        }
    }

    fn who_writes(&self, (root, folder, name): &Key, identity: &Identity) -> Writers {
        let Some(watch) = self.roots.get(root) else { return Writers::Unknown };
        let opened = watch.root.base().open(&folder.join(name));
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
        let path = folder.join(&name);
        tracing::info!(path = %path.display(), "{path:?} has settled; queueing it for {}", self.watches[root].to.join(", "));
        self.batch.push(Settled { root, folder: folder.to_path_buf(), name, identity, close_seen, news });
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), WatchingEnds> {
        let mut skipped = std::mem::take(&mut self.skipped);
        // An old file in a folder that was moved in just now has come with it, and is met again by the event.
        skipped.retain(|one| {
            let root = self.roots.get(&one.root).map(|watch| watch.root.path());
            !root.is_some_and(|root| self.handle.has_arrived(root, &one.folder.join(&one.name)))
        });
        if !skipped.is_empty() {
            self.known_files.skipped(skipped)?;
        }
        if !self.batch.is_empty() {
            self.known_files.settled(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    fn remember(&mut self, key: Key, settling: Settling, due: Instant) {
        let is_news = !self.settling.contains_key(&key);
        self.forget(&key);
        if self.settling.len() >= SETTLING_MAX {
            return self.scan_again_later(key.1.to_path_buf(), due);
        }
        if is_news {
            let path = key.1.join(&key.2);
            tracing::info!(path = %path.display(), "seen {path:?}; waiting until it has settled");
            if !settling.unmarked && due < self.clock.awake() + SOON {
                self.known_files.settling(key.0);
            }
        }
        self.roots.entry(key.0).and_modify(|watch| watch.settles(settling.unmarked));
        self.due.insert((due, key.clone()));
        self.settling.insert(key, (settling, due));
    }

    fn forget(&mut self, key: &Key) {
        if let Some((settling, due)) = self.settling.remove(key) {
            self.roots.entry(key.0).and_modify(|watch| watch.settles_no_more(settling.unmarked));
            self.due.remove(&(due, key.clone()));
        }
    }

    fn scan_again_later(&mut self, folder: PathBuf, due: Instant) {
        if self.rescans.len() < RESCANS_MAX || self.rescans.contains_key(&folder) {
            self.rescans.insert(folder, due);
        } else {
            self.roots.values_mut().for_each(|watch| watch.next_scan = watch.next_scan.min(due));
        }
    }

    fn look_at_due(&mut self) -> Result<(), WatchingEnds> {
        let now = self.clock.awake();
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
        let now = self.clock.awake();
        let due: Vec<PathBuf> = self.rescans.iter().filter(|(_, due)| **due <= now).map(|(folder, _)| folder.clone()).collect();
        for folder in due {
            self.rescans.remove(&folder);
            self.list_folder(&folder)?;
        }
        Ok(())
    }

    /// Gives away the roots that meet other file systems which may hang than before, without asking any of these.
    fn leave_where_mounts_changed(&mut self) {
        let Some(mounts) = self.mounts.as_ref().map(|_| Mounts::now()).filter(|now| self.mounts.as_ref() != Some(now)) else {
            return;
        };
        let leaves = |watch: &RootWatch| watch.root.may_hang(&mounts) != self.meets;
        let leaving: Vec<usize> = self.roots.iter().filter(|(_, watch)| leaves(watch)).map(|(index, _)| *index).collect();
        for index in leaving {
            let settling: Vec<Key> = self.settling.keys().filter(|key| key.0 == index).cloned().collect();
            settling.iter().for_each(|key| self.forget(key));
            self.left.extend(self.roots.remove(&index).map(|watch| watch.root));
        }
        self.mounts = Some(mounts);
    }

    /// Looks whether each root is still the folder that was scanned: its own events do not tell of a parent that was renamed, or of a
    /// file system that was mounted over it.
    fn look_at_roots(&mut self) {
        let now = self.clock.awake();
        if self.next_look > now {
            return;
        }
        self.leave_where_mounts_changed();
        for (index, watch) in self.roots.iter_mut().filter(|(_, watch)| watch.report.state != WatchState::Missing) {
            self.pulse.begins(*index);
            if watch.root.top().map_or(true, |top| watch.is_another(top)) {
                watch.next_scan = now;
            }
        }
        self.next_look = now + self.look_pause;
    }

    /// Scans the roots whose time has come, and looks for those that are missing.
    fn scan_due(&mut self) -> Result<(), WatchingEnds> {
        let indices: Vec<usize> = self.roots.keys().copied().collect();
        for index in indices {
            let is_due = |watch: &RootWatch| watch.next_scan <= self.clock.awake();
            if self.roots.get(&index).is_some_and(is_due) {
                self.leave_where_mounts_changed();
                self.scan_root(index)?;
            }
        }
        self.flush()?;
        self.report();
        Ok(())
    }

    fn scan_root(&mut self, index: usize) -> Result<(), WatchingEnds> {
        let Some(watch) = self.roots.get_mut(&index) else { return Ok(()) };
        self.pulse.begins(index);
        let top = match watch.root.top() {
            Ok(top) => top,
            Err(why) => {
                watch.mark_missing(why, self.clock.awake());
                return Ok(());
            }
        };
        if watch.is_another(top)
            && let Some(events) = &mut self.events
        {
            events.unwatch(watch.root.path());
        }
        watch.mark_present(top, self.events.is_some(), self.clock.awake());
        let path = watch.root.path().to_owned();
        self.report();
        let began = self.clock.awake();
        self.walk(index, &path, true)?;
        self.flush()?;
        self.handle.scanned(&path, began);
        if let Some(watch) = self.roots.get_mut(&index) {
            watch.scanned_at(self.clock.now_ms(), self.clock.awake());
        }
        Ok(())
    }

    fn scan_soon(&mut self, index: usize) {
        if let Some(watch) = self.roots.get_mut(&index) {
            watch.next_scan = self.clock.awake();
        }
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
        let Some(root) = self.roots.get(&index).map(|watch| watch.root.clone()) else { return Ok(()) };
        let pulse = self.pulse.clone();
        let mut walk = Walk::new(&root, start.to_owned(), below);
        let mut unreadable = None;
        while let Some(folder) = walk.next_folder() {
            if self.handle.is_stopped() {
                return Err(WatchingEnds);
            }
            pulse.begins(index);
            self.watch_folder(index, &folder.path);
            let shared: Arc<Path> = Arc::from(folder.path.as_path());
            let mut found = Vec::new();
            let each = |one| {
                pulse.begins(index);
                found.push(one);
                if found.len() >= KNOWN_AT_ONCE { self.look_at_found(index, &shared, &mut found) } else { Ok(()) }
            };
            walk.list(&folder, each, |path, error| unreadable = Some(format!("cannot read {path:?}: {error}")))?;
            self.look_at_found(index, &shared, &mut found)?;
        }
        if walk.passed_links() {
            self.scan_soon(index);
        }
        if let Some(watch) = self.roots.get_mut(&index)
            && (unreadable.is_some() || (below && start == root.path()))
        {
            watch.note_unreadable(unreadable);
        }
        Ok(())
    }

    /// Files found by walking. They are asked about together, and before any of them is looked at further, which might hang.
    fn look_at_found(&mut self, index: usize, folder: &Arc<Path>, found: &mut Vec<FoundFile>) -> Result<(), WatchingEnds> {
        // A large folder takes its time.
        if self.handle.is_stopped() {
            return Err(WatchingEnds);
        }
        let Some(watch) = self.roots.get(&index) else { return Ok(()) };
        if let Some(old_before_ns) = watch.root.old_before_ns.filter(|_| !watch.scanned) {
            self.pass_over_old(index, folder, found, old_before_ns)?;
        }
        let asked: Vec<(&OsStr, Identity)> = found.iter().map(|one| (one.name.as_os_str(), one.sighting.identity)).collect();
        let known = self.known_files.known(index, folder, &asked)?;
        let mut looked_at = found.drain(..).zip(known);
        looked_at
            .try_for_each(|(FoundFile { name, sighting }, known)| self.look(index, folder, name, sighting, known, Heard::Nothing))
    }

    /// Before the first scan of a watch that takes no existing files has ended, what it finds of these is only remembered. What
    /// has come since is left in `found`.
    fn pass_over_old(
        &mut self,
        index: usize,
        folder: &Path,
        found: &mut Vec<FoundFile>,
        old_before_ns: i64,
    ) -> Result<(), WatchingEnds> {
        let old = found.extract_if(.., |one| one.sighting.identity.ctime_ns < old_before_ns);
        let skipped = old.map(|FoundFile { name, sighting }| Settled {
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
        let now = self.clock.awake();
        let Some(watch) = self.roots.get_mut(&index) else { return };
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
        let now = self.clock.awake();
        for (index, watch) in &mut self.roots {
            if let Some(report) = watch.due_report(now) {
                self.known_files.report(*index, report);
            }
        }
    }
}

#[cfg(test)]
mod tests;
