//! What the daemon and the users have done to the files in the watch: seen by comparing what stands there with what stood there
//! before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferryd::internals::job::State;
use ferryd::internals::os::simulated_files::Facts;
use ferryd::internals::store::JobRow;
use ferryd_sandbox::Object;

use crate::ledger::{Content, Digest, Ledger, Standing, digest};
use crate::places::{DROP, MARKER, SENT};
use crate::setting::After;
use crate::world::World;

/// Files that nobody writes, markers apart.
type Found = BTreeMap<PathBuf, Seen>;

/// A file that nobody writes.
struct Seen {
    digest: Digest,
    bytes: u64,
    is_ready: bool,
}

/// What begins the names of files that the daemon makes for a moment.
const PRIVATE: &str = ".ferryd-";

fn is_private(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PRIVATE))
}

fn is_marker(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(MARKER.as_bytes())
}

/// Where the marker of a file is.
pub(crate) fn marker_of(path: &Path) -> PathBuf {
    let mut marker = path.as_os_str().to_owned();
    marker.push(MARKER);
    marker.into()
}

/// Whether a file with these numbers may be sent: where markers are wanted, its own is there, and no older than the file by one of
/// their times.
fn is_ready(world: &World, path: &Path, numbers: [i64; 6]) -> bool {
    let [.., mtime, ctime, _] = numbers;
    let marker = |path: &Path| world.files.facts(&marker_of(path)).map(|facts| facts.numbers);
    !world.setting.has_markers || marker(path).is_some_and(|[.., of_marker, changed, _]| of_marker >= mtime || changed >= ctime)
}

/// The regular files below a folder that nobody writes, with their digests.
fn files_in(world: &World, folder: &str) -> Found {
    let mut found = BTreeMap::new();
    for path in world.files.files_below(Path::new(folder)) {
        let path = Path::new(folder).join(path);
        if is_marker(&path) {
            continue;
        }
        let Some(Facts { numbers, writers: 0, is_file: true, .. }) = world.files.facts(&path) else { continue };
        let known = world.state().ledger.digests.get(&numbers).cloned();
        let digest = known.unwrap_or_else(|| {
            let digest = digest(&world.files.read(&path).unwrap_or_default());
            world.state().ledger.digests.insert(numbers, digest.clone());
            digest
        });
        let is_ready = is_ready(world, &path, numbers);
        found.insert(path, Seen { digest, bytes: numbers[2].unsigned_abs(), is_ready });
    }
    found
}

impl Ledger {
    /// Counts the contents that have come under names that did not have them, each of which is a file of its own. A content that
    /// has left another name at the same time was renamed, and is none.
    fn count_arrivals(&mut self, now: &Found) {
        let mut come: BTreeMap<&Digest, usize> = BTreeMap::new();
        for (path, Seen { digest, bytes, .. }) in now.iter().filter(|(path, _)| !is_private(path)) {
            self.closed.entry(digest.clone()).or_insert(Content::new(*bytes));
            *come.entry(digest).or_default() += usize::from(self.last.get(path) != Some(digest));
        }
        for (digest, come) in come {
            let has_left = |(path, old): &(&PathBuf, &Standing)| {
                old.digest == *digest && now.get(*path).is_none_or(|new| new.digest != *digest)
            };
            let left = self.standing.iter().filter(has_left).count();
            self.closed.entry(digest.clone()).and_modify(|content| content.arrivals += come.saturating_sub(left));
        }
    }
}

impl World {
    /// Looks at what the daemon has done to the files since the last time stock was taken, before anybody else does something.
    pub(crate) fn look(&self) {
        let now = files_in(self, DROP);
        let before = self.state().ledger.standing.clone();
        let aside: BTreeSet<&Digest> = now.iter().filter(|(path, _)| is_private(path)).map(|(_, seen)| &seen.digest).collect();
        for (path, standing) in &before {
            match now.get(path) {
                Some(seen) if seen.digest == standing.digest => {}
                Some(_) => self.violated("source", format!("the daemon has changed {}", path.display())),
                None if aside.contains(&standing.digest) => {
                    self.state().ledger.aside.insert(standing.digest.clone(), path.clone());
                }
                None => self.left(path, standing),
            }
        }
        let was_aside = self.state().ledger.aside.clone();
        let is_put_back = |path: &Path, digest: &Digest| was_aside.get(digest).is_some_and(|before| before == path);
        for (path, Seen { digest, .. }) in now.iter().filter(|(path, _)| !before.contains_key(*path) && !is_private(path)) {
            if is_put_back(path, digest) {
                continue;
            }
            self.violated("source", format!("the daemon has put {} where only users put files", path.display()));
        }
    }

    /// The daemon has taken a file away.
    fn left(&self, path: &Path, standing: &Standing) {
        self.tell(&format!("(the daemon has taken {} away)", path.display()));
        self.state().ledger.standing.remove(path);
        let afters = self.state().ledger.afters.clone();
        let told = path.display();
        if afters.is_subset(&BTreeSet::from([After::Keep])) {
            return self.violated("source", format!("{told} is gone, though sources stay"));
        }
        if standing.spared {
            return self.violated("source", format!("{told} is gone: it was on the hosts before sources were told to go"));
        }
        if !self.setting.has_proof() {
            self.violated("source", format!("{told} is gone, though a host has given no more than its word"));
        }
        let careless = self.state().careless.clone();
        let lacks = |host: &&str| !careless.contains(*host) && !self.holds(host, &standing.digest);
        let lacking: Vec<&str> = self.setting.hosts.iter().copied().filter(lacks).collect();
        if !lacking.is_empty() {
            self.violated("source", format!("{told} is gone, but its content is not on {}", lacking.join(" and ")));
        }
        if !afters.contains(&After::Delete) && !files_in(self, SENT).values().any(|seen| seen.digest == standing.digest) {
            self.violated("source", format!("{told} was moved, but is nowhere"));
        }
    }

    /// Whether a host has a file with these bytes.
    pub(crate) fn holds(&self, host: &str, digest: &str) -> bool {
        self.sandbox.objects().iter().any(|object| object.host == host && object.sha256.as_deref() == Some(digest))
    }

    /// Notes what is there, after users have done something.
    pub(crate) fn take_stock(&self) {
        let now = files_in(self, DROP);
        let at = self.time.passed();
        let mut state = self.state();
        let after = state.after;
        let ledger = &mut state.ledger;
        ledger.afters.insert(after);
        ledger.count_arrivals(&now);
        let mut standing = BTreeMap::new();
        for (path, Seen { digest, bytes, is_ready }) in &now {
            if is_private(path) {
                // It still counts as being where it was.
                standing.extend(
                    ledger.standing.iter().filter(|(_, old)| old.digest == *digest).map(|(p, old)| (p.clone(), old.clone())),
                );
                continue;
            }
            let names = now.values().filter(|other| other.digest == *digest).count();
            ledger.closed.entry(digest.clone()).and_modify(|content| {
                content.names = content.names.max(names);
                content.was_ready |= is_ready;
            });
            ledger.last.insert(path.clone(), digest.clone());
            let new = Standing::new(digest, *bytes, at, *is_ready);
            let entry = match ledger.standing.get(path).filter(|old| old.digest == *digest) {
                Some(old) if old.is_ready == *is_ready => old.clone(),
                Some(old) => Standing { spared: old.spared, ..new },
                None => new,
            };
            standing.insert(path.clone(), entry);
        }
        ledger.standing = standing;
    }

    /// So much time has passed while the daemon ran and nothing was wrong with the machine.
    pub(crate) fn was_calm(&self, time: Duration) {
        self.state().ledger.standing.values_mut().for_each(|standing| standing.calm += time);
    }

    /// Sources that every host has, and that the daemon has known about, are to stay, whatever is configured from now on.
    pub(crate) fn spare_what_is_done(&self) {
        let objects = self.sandbox.objects();
        let state = &mut *self.state();
        let (jobs, ledger, repeated) = (&state.jobs, &mut state.ledger, &state.orders.repeated);
        // Of a content with several names the jobs may be those of another.
        let has_one_name = |digest: &Digest| ledger.closed.get(digest).is_some_and(|content| content.names == 1);
        for (path, standing) in ledger.standing.iter_mut().filter(|(_, standing)| has_one_name(&standing.digest)) {
            let is_done = |host: &str| {
                // One that is to be sent again has its after-action again, too.
                let is_repeated = repeated.iter().any(|(_, bytes)| *bytes == standing.bytes);
                let is_it = |job: &JobRow| !is_repeated && job.path == *path && job.host == host && job.bytes == standing.bytes;
                let is_held = |object: &Object| object.host == host && object.sha256.as_ref() == Some(&standing.digest);
                // An earlier content of the same size may have been done.
                let last = jobs.iter().filter(|job| is_it(job)).max_by_key(|job| job.id);
                last.is_some_and(|job| job.state == State::Done) && objects.iter().any(is_held)
            };
            standing.spared |= self.setting.hosts.iter().all(|host| is_done(host));
        }
    }

    /// Whether the daemon has left a file of its own in the watch.
    pub(crate) fn private_files(&self) -> Vec<PathBuf> {
        files_in(self, DROP).into_keys().filter(|path| is_private(path)).collect()
    }
}
