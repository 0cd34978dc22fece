//! The watching thread: takes hints, looks at files, keeps what is not settled yet, and sleeps until something is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::Identity;
use crate::os::beneath::{self, Base, Kind, Stat};
use crate::os::clock;
use crate::os::filesystem::{self, Served};
use crate::os::lease::{self, Writers};

use super::events::{Events, Unwatched};
use super::hints::{Handle, Heard, Hint, Hints};
use super::scan::{Found, Walk, relative};
use super::settle::{Judgement, Settling, Sighting};
use super::{KNOWN_AT_ONCE, Memory, Mode, Noticed, Report, Root, RootState, Settled, Stop};

/// Files that are remembered while they settle; the folder of any further file is scanned again instead.
const SETTLING_MAX: usize = 16_384;
/// Folders that are remembered to be scanned again; beyond that the whole root is.
const LATER_MAX: usize = 4096;
/// Settled files that are handed over together.
const BATCH: usize = 512;
/// How often a folder without events is scanned at most.
const POLL_PAUSE: Duration = Duration::from_secs(5);
/// How often a missing root is looked for.
const MISSING_PAUSE: Duration = Duration::from_secs(5);
/// How often a mere change of the number of settling files is told.
const REPORT_PAUSE: Duration = Duration::from_millis(500);

/// Watches `roots` until [`Handle::stop`], or until the memory says so. Belongs to one thread, which it keeps. `on_ready` is called once
/// every root has been scanned.
pub fn run(roots: Vec<Root>, memory: &mut dyn Memory, handle: &Handle, on_ready: impl FnOnce()) {
    if let Err(error) = lease::ignore_lease_signal() {
        tracing::warn!("cannot ignore SIGIO: {error}");
    }
    let mut watcher = Watcher::new(roots, memory, handle);
    // The owner knows why it stopped us.
    if watcher.scan_due().is_ok() {
        on_ready();
        while watcher.turn().is_ok() {}
    }
}

/// A file that is settling: which root, which folder, which name.
type Key = (usize, Arc<Path>, OsString);

struct Watcher<'a> {
    roots: Vec<RootWatch>,
    memory: &'a mut dyn Memory,
    handle: &'a Handle,
    events: Option<Events>,
    settling: HashMap<Key, (Settling, Instant)>,
    due: BTreeSet<(Instant, Key)>,
    /// Folders to be scanned again.
    later: BTreeMap<PathBuf, Instant>,
    batch: Vec<Settled>,
    /// Files that were there before their watch.
    passed_over: Vec<Settled>,
}

struct RootWatch {
    root: Root,
    report: Report,
    told: Option<(Report, Instant)>,
    /// Since when there is something to tell that nobody was told.
    begun: Instant,
    next_scan: Instant,
    unreadable: Option<String>,
    fallback: Option<String>,
    scanned: bool,
}

impl<'a> Watcher<'a> {
    fn new(roots: Vec<Root>, memory: &'a mut dyn Memory, handle: &'a Handle) -> Watcher<'a> {
        let events = match Events::new(handle.clone()) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!("the file system gives no events ({error:?}); folders are scanned instead");
                None
            }
        };
        let now = Instant::now();
        let roots = roots.into_iter().map(|root| RootWatch::new(root, events.is_some(), now)).collect();
        let (settling, due, later) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        Watcher { roots, memory, handle, events, settling, due, later, batch: Vec::new(), passed_over: Vec::new() }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<(), Stop> {
        let hints = self.handle.take(self.next_due());
        if hints.stop {
            return Err(Stop);
        }
        self.follow(hints)?;
        self.look_at_due()?;
        self.scan_later_folders()?;
        self.scan_due()?;
        self.flush()?;
        self.report();
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        let scans = self.roots.iter().map(|root| root.next_scan);
        let settling = self.due.first().map(|(due, _)| *due);
        let untold = self.roots.iter().filter_map(RootWatch::untold_until);
        scans.chain(settling).chain(self.later.values().copied()).chain(untold).min()
    }

    fn follow(&mut self, hints: Hints) -> Result<(), Stop> {
        if hints.everything || hints.gaps > 0 {
            let now = Instant::now();
            for root in &mut self.roots {
                root.next_scan = now;
                root.report.gaps_seen += hints.gaps;
            }
        }
        for (folder, hint) in hints.folders {
            match hint {
                Hint::Whole => self.scan_folder(&folder, false)?,
                Hint::Names(names) => {
                    for (name, heard) in names {
                        self.look_where_hinted(&folder, &name, heard)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The root that owns what is in `folder`: the deepest around it.
    fn owner(&self, folder: &Path) -> Option<usize> {
        let owns = |watch: &RootWatch| match watch.root.recursive {
            true => folder.starts_with(&watch.root.path),
            false => folder == watch.root.path,
        };
        let around = self.roots.iter().enumerate().filter(|(_, watch)| owns(watch));
        around.max_by_key(|(_, watch)| watch.root.path.components().count()).map(|(index, _)| index)
    }

    fn look_where_hinted(&mut self, folder: &Path, name: &OsStr, heard: Heard) -> Result<(), Stop> {
        let path = folder.join(name);
        if let Some(watch) = self.roots.iter_mut().find(|watch| watch.root.path == path) {
            watch.next_scan = Instant::now();
        }
        let Some(owner) = self.owner(folder) else { return Ok(()) };
        let root = &self.roots[owner].root;
        if !root.filter.enters_all_above(relative(root, &path)) || root.is_excepted(&path) {
            return Ok(());
        }
        match root.base().look(&path) {
            Ok(stat) if stat.kind == Kind::Folder => {
                if root.recursive && root.filter.enters(relative(root, &path), name) {
                    // Another way may lead to where a link leads, which only a scan of everything can tell.
                    match path.is_symlink() {
                        true => self.roots[owner].next_scan = Instant::now(),
                        false => self.scan_folder(&path, true)?,
                    }
                }
                Ok(())
            }
            Ok(stat) if root.takes(&path, name, &stat) => {
                let seen = Sighting::of(&stat);
                let known = self.memory.known(owner, folder, &[(name, seen.identity)])?.contains(&true);
                self.look(owner, &Arc::from(folder), name.to_owned(), seen, known, heard)
            }
            _ => {
                self.forget(&(owner, Arc::from(folder), name.to_owned()));
                Ok(())
            }
        }
    }

    /// The one road: a file that is there, looked at, and found known, settling or settled.
    fn look(
        &mut self,
        root: usize,
        folder: &Arc<Path>,
        name: OsString,
        seen: Sighting,
        known: bool,
        heard: Heard,
    ) -> Result<(), Stop> {
        let identity = seen.identity;
        if known {
            if seen.was_closed(heard) {
                self.memory.closed(folder, &name, &identity)?;
            }
            self.forget(&(root, folder.clone(), name));
            return Ok(());
        }
        let key = (root, folder.clone(), name);
        let (now, now_ns) = (Instant::now(), clock::now_ns());
        let mut settling = Settling::after(self.settling.get(&key).map(|(settling, _)| settling), seen, heard, now);
        let Root { settle, settle_unknown, .. } = self.roots[root].root;
        let judged = match settling.judge(settle, now, now_ns) {
            Judgement::Again(pause) => Judgement::Again(pause),
            Judgement::Quiet => match self.who_writes(&key, &identity) {
                Writers::Somebody => Judgement::Again(settling.pause_while_open()),
                Writers::Unknown => settling.judge_unasked(settle, settle_unknown, now, now_ns),
                Writers::Nobody => Judgement::Quiet,
            },
        };
        match judged {
            Judgement::Quiet => self.settle(key, &settling),
            Judgement::Again(pause) => {
                self.remember(key, settling, now + pause);
                Ok(())
            }
        }
    }

    fn who_writes(&self, (root, folder, name): &Key, identity: &Identity) -> Writers {
        let opened = self.roots[*root].root.base().open(&folder.join(name));
        let same = |file: &File| file.metadata().is_ok_and(|metadata| Identity::of(&metadata) == *identity);
        match opened {
            Ok(file) if same(&file) => lease::writers(&file),
            // It changed under our eyes, which is writing enough.
            Ok(_) => Writers::Somebody,
            // A file we may not read is a job all the same: one that says so.
            Err(_) => Writers::Unknown,
        }
    }

    fn settle(&mut self, key: Key, settling: &Settling) -> Result<(), Stop> {
        self.forget(&key);
        let (root, folder, name) = key;
        let (identity, close_seen) = (settling.seen.identity, settling.close_seen);
        self.batch.push(Settled { root, folder: folder.to_path_buf(), name, identity, close_seen });
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if !self.passed_over.is_empty() {
            self.memory.passed_over(std::mem::take(&mut self.passed_over))?;
        }
        if !self.batch.is_empty() {
            self.memory.settled(std::mem::take(&mut self.batch))?;
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
        if self.later.len() < LATER_MAX || self.later.contains_key(&folder) {
            self.later.insert(folder, due);
        } else {
            self.roots.iter_mut().for_each(|watch| watch.next_scan = watch.next_scan.min(due));
        }
    }

    fn look_at_due(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
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

    fn scan_later_folders(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        let due: Vec<PathBuf> = self.later.iter().filter(|(_, due)| **due <= now).map(|(folder, _)| folder.clone()).collect();
        for folder in due {
            self.later.remove(&folder);
            self.scan_folder(&folder, false)?;
        }
        Ok(())
    }

    /// Scans the roots whose time has come, and looks for those that are missing.
    fn scan_due(&mut self) -> Result<(), Stop> {
        for index in 0..self.roots.len() {
            if self.roots[index].next_scan <= Instant::now() {
                self.scan_root(index)?;
            }
        }
        self.flush()?;
        self.report();
        Ok(())
    }

    fn scan_root(&mut self, index: usize) -> Result<(), Stop> {
        let path = self.roots[index].root.path.clone();
        if let Some(why) = missing(&path) {
            self.roots[index].miss(why);
            return Ok(());
        }
        self.roots[index].find(self.events.is_some());
        self.report();
        self.walk(index, &path, true)?;
        self.flush()?;
        let watch = &mut self.roots[index];
        watch.scanned = true;
        watch.report.state = RootState::Watching;
        watch.report.last_scan_ms = Some(clock::now_ms());
        watch.next_scan = Instant::now() + watch.scan_pause();
        Ok(())
    }

    fn scan_folder(&mut self, folder: &Path, below: bool) -> Result<(), Stop> {
        match self.owner(folder) {
            Some(owner) => self.walk(owner, folder, below),
            None => Ok(()),
        }
    }

    fn walk(&mut self, index: usize, start: &Path, below: bool) -> Result<(), Stop> {
        // The walk borrows the root while files found on it change the watcher.
        let root = self.roots[index].root.clone();
        let mut walk = Walk::new(&root, start.to_owned(), below);
        let mut unreadable = None;
        while let Some(folder) = walk.next_folder() {
            if self.handle.is_stopped() {
                return Err(Stop);
            }
            self.watch_folder(index, &folder.path);
            let shared: Arc<Path> = Arc::from(folder.path.as_path());
            let mut found = Vec::new();
            let each = |one| {
                found.push(one);
                if found.len() >= KNOWN_AT_ONCE { self.meet_all(index, &shared, &mut found) } else { Ok(()) }
            };
            walk.list(&folder, each, |path, error| unreadable = Some(format!("cannot read {path:?}: {error}")))?;
            self.meet_all(index, &shared, &mut found)?;
        }
        if walk.passed_links() {
            self.roots[index].next_scan = Instant::now();
        }
        if unreadable.is_some() || (below && start == root.path) {
            self.roots[index].note_unreadable(unreadable);
        }
        Ok(())
    }

    /// Files found by walking. They are asked about together, and before any of them is looked at further, which might hang.
    fn meet_all(&mut self, index: usize, folder: &Arc<Path>, found: &mut Vec<Found>) -> Result<(), Stop> {
        let watch = &self.roots[index];
        if !watch.scanned && !watch.root.existing {
            return self.pass_over(index, folder, found);
        }
        let asked: Vec<(&OsStr, Identity)> = found.iter().map(|one| (one.name.as_os_str(), one.sighting.identity)).collect();
        let known = self.memory.known(index, folder, &asked)?;
        let mut met = found.drain(..).zip(known);
        met.try_for_each(|(Found { name, sighting }, known)| self.look(index, folder, name, sighting, known, Heard::Nothing))
    }

    /// Before the first scan of a watch that takes no existing files has ended, what it finds is only remembered.
    fn pass_over(&mut self, index: usize, folder: &Path, found: &mut Vec<Found>) -> Result<(), Stop> {
        let passed_over = found.drain(..).map(|Found { name, sighting }| Settled {
            root: index,
            folder: folder.to_path_buf(),
            name,
            identity: sighting.identity,
            close_seen: false,
        });
        self.passed_over.extend(passed_over);
        if self.passed_over.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn watch_folder(&mut self, index: usize, folder: &Path) {
        let watch = &mut self.roots[index];
        if watch.report.events == Noticed::Poll {
            return;
        }
        let Some(events) = &mut self.events else { return };
        let is_root = folder == watch.root.path;
        match events.watch(folder, is_root, watch.root.recursive) {
            Ok(()) | Err(Unwatched::Vanished) => {}
            Err(Unwatched::Limit) => watch.fall_back(
                "the kernel's limit on watches is reached, so this folder is scanned every few seconds instead; \
                 raise it with `sysctl fs.inotify.max_user_watches=1048576` and restart",
            ),
            Err(Unwatched::Other(error)) => {
                watch.fall_back(&format!("cannot watch {folder:?} ({error}), so this folder is scanned every few seconds instead"));
            }
        }
    }

    fn report(&mut self) {
        let now = Instant::now();
        for (index, watch) in self.roots.iter_mut().enumerate() {
            if watch.untold_until().is_some_and(|until| until <= now) {
                self.memory.report(index, &watch.report);
                watch.told = Some((watch.report.clone(), now));
            }
        }
    }
}

impl RootWatch {
    fn new(root: Root, has_events: bool, now: Instant) -> RootWatch {
        let events = notice(&root, has_events);
        let report = Report { state: RootState::Scanning, events, last_scan_ms: None, settling: 0, gaps_seen: 0, why: None };
        RootWatch { root, report, told: None, begun: now, next_scan: now, unreadable: None, fallback: None, scanned: false }
    }

    fn scan_pause(&self) -> Duration {
        match self.report.events {
            Noticed::Native => self.root.rescan,
            Noticed::Poll => POLL_PAUSE.max(self.root.settle),
        }
    }

    fn miss(&mut self, why: String) {
        if self.report.state != RootState::Missing {
            tracing::warn!("the watch {:?} is missing: {why}", self.root.path);
        }
        self.report.state = RootState::Missing;
        self.report.why = Some(why);
        self.next_scan = Instant::now() + MISSING_PAUSE;
    }

    /// It is there: what was said about its absence no longer holds, and events are asked of it anew.
    fn find(&mut self, has_events: bool) {
        if self.report.state == RootState::Missing {
            tracing::info!("the watch {:?} is there again", self.root.path);
            self.report.state = RootState::Scanning;
            self.report.events = notice(&self.root, has_events);
            self.fallback = None;
        }
        self.explain();
    }

    fn note_unreadable(&mut self, unreadable: Option<String>) {
        if let Some(why) = &unreadable
            && self.unreadable != unreadable
        {
            tracing::warn!("{why}");
        }
        self.unreadable = unreadable;
        self.explain();
    }

    fn fall_back(&mut self, why: &str) {
        tracing::warn!("the watch {:?}: {why}", self.root.path);
        self.fallback = Some(why.to_owned());
        self.report.events = Noticed::Poll;
        // Outside a full scan, the next one may be an hour away.
        self.next_scan = self.next_scan.min(Instant::now() + self.scan_pause());
        self.explain();
    }

    fn explain(&mut self) {
        let reasons: Vec<&str> = self.fallback.iter().chain(&self.unreadable).map(String::as_str).collect();
        self.report.why = (!reasons.is_empty()).then(|| reasons.join("; "));
    }

    /// When the report should be told, if it should: at once, but for a mere count of settling files, which may change often.
    fn untold_until(&self) -> Option<Instant> {
        match &self.told {
            None => Some(self.begun),
            Some((told, _)) if *told == self.report => None,
            Some((told, at)) => {
                let only_a_count = Report { settling: told.settling, ..self.report.clone() } == *told && self.report.settling > 0;
                Some(if only_a_count { *at + REPORT_PAUSE } else { *at })
            }
        }
    }
}

impl Root {
    /// Whether a scan would still find this version of the file at `path`. What nobody can tell, as in a root that is not there, is a yes.
    pub fn would_find(&self, path: &Path, version: &Identity) -> bool {
        let Some(name) = path.file_name() else { return false };
        if !self.filter.enters_all_above(relative(self, path)) || self.is_excepted(path) {
            return false;
        }
        match self.base().look(path) {
            Ok(found) => Identity::from(found.numbers).same_version(version) && self.takes(path, name, &found),
            Err(error) if beneath::is_link(&error) => false,
            Err(error) => error.kind() != std::io::ErrorKind::NotFound || missing(&self.path).is_some(),
        }
    }

    /// Where its files are reached from.
    pub fn base(&self) -> Base {
        Base::new(&self.path, self.follow_symlinks)
    }

    fn is_excepted(&self, path: &Path) -> bool {
        self.except.iter().any(|except| path.starts_with(except))
    }

    fn takes(&self, path: &Path, name: &OsStr, stat: &Stat) -> bool {
        stat.kind == Kind::File && self.filter.takes(relative(self, path), name) && self.filter.takes_size(stat.size())
    }
}

fn missing(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some("it is not a folder".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("there is no such folder".into()),
        Err(error) => Some(format!("it cannot be looked at: {error}")),
    }
}

fn notice(root: &Root, has_events: bool) -> Noticed {
    match root.mode {
        _ if !has_events => Noticed::Poll,
        Mode::Poll => Noticed::Poll,
        Mode::Native => Noticed::Native,
        // Of what others change the kernel tells nothing.
        Mode::Auto if filesystem::at(&root.path) != Served::Here => Noticed::Poll,
        Mode::Auto => Noticed::Native,
    }
}
