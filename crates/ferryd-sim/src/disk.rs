//! A disk that can lose its power: what was written since the last sync may be there afterwards or not, sector by sector.
//!
//! SQLite works on it through [`mount`](crate::mount), so that its own recovery is what is tested. It is a model of a disk that
//! keeps its promises and no more: what was synced stays, a sector is written whole or torn at one place, and everything else is
//! open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// A disk, and what is wrong with it. Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    gate: Mutex<Option<Gate>>,
    mounted: Mutex<Option<Mounted>>,
}

/// Is asked before each write, cut and sync whether it may happen. Where it may not, it fails and has no effect.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// What lets SQLite find a disk, kept for as long as the disk is.
pub(crate) struct Mounted {
    /// The name that SQLite knows it by.
    pub name: String,
    /// Has SQLite forget the disk when it is dropped.
    pub _guard: Box<dyn Send>,
}

/// Why the disk refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// There is no room.
    Full,
    /// It failed to read, write or sync.
    Io,
    /// There is no such file.
    NotFound,
    /// Somebody else has a lock on the file.
    Busy,
}

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Nothing grows.
    pub full: bool,
    /// Every sync fails, and what it was to make durable stays open.
    pub sync_fails: bool,
    /// Every write fails.
    pub write_fails: bool,
}

/// What was done to a file since it was last synced.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Debug, Default)]
struct File {
    /// What everybody reads.
    now: Vec<u8>,
    /// What survives, with nothing of `open`; none before the first sync.
    durable: Option<Vec<u8>>,
    /// What may survive or not.
    open: Vec<Change>,
    locks: BTreeMap<u64, Level>,
    memory: SharedMemory,
}

/// How much of a file a connection has for itself, as SQLite counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    None,
    /// It reads.
    Shared,
    /// It is about to write; others may read.
    Reserved,
    /// It waits for readers to leave; no new ones come.
    Pending,
    /// It alone uses the file.
    Exclusive,
}

/// The index of SQLite's write-ahead log, which its connections share. A power loss takes it away.
#[derive(Debug, Default)]
struct SharedMemory {
    regions: Vec<Region>,
    /// Those of processes that are no more, which their connections may still point to.
    left: Vec<Region>,
    /// By handle: the locks it shares, and those it has for itself, a bit each.
    locks: BTreeMap<u64, (u8, u8)>,
}

#[derive(Debug)]
struct Region(Box<[u64]>);

pub(crate) struct State {
    files: BTreeMap<String, File>,
    faults: Faults,
    random: StdRng,
    /// Handles given out so far.
    handles: u64,
    /// Handles up to this one belong to a process that is no more: nothing it still tries has an effect.
    dead: u64,
    /// Syncs that were asked for and done.
    syncs: u64,
    /// How often anything in a file became another.
    changes: u64,
}

impl Disk {
    /// An empty disk. `seed` decides what survives a loss of power.
    pub fn new(seed: u64) -> Disk {
        let random = StdRng::seed_from_u64(seed);
        let state = State { files: BTreeMap::new(), faults: Faults::default(), random, handles: 0, dead: 0, syncs: 0, changes: 0 };
        Disk { shared: Arc::new(Shared { state: Mutex::new(state), gate: Mutex::new(None), mounted: Mutex::new(None) }) }
    }

    /// A disk with these files on it. `seed` decides what survives a loss of power.
    pub fn with_files(seed: u64, files: &[(String, Vec<u8>)]) -> Disk {
        let disk = Disk::new(seed);
        let file = |bytes: &Vec<u8>| File { now: bytes.clone(), durable: Some(bytes.clone()), ..File::default() };
        disk.shared.state().files = files.iter().map(|(name, bytes)| (name.clone(), file(bytes))).collect();
        disk
    }

    /// The name that SQLite knows this disk by; `mount` makes it known the first time.
    pub(crate) fn mounted(&self, mount: impl FnOnce(Weak<Shared>) -> Mounted) -> String {
        let mut mounted = self.shared.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        mounted.get_or_insert_with(|| mount(Arc::downgrade(&self.shared))).name.clone()
    }

    /// Asks `gate` before each step from now on. It may do to this disk what it wants.
    pub fn before_steps(&self, gate: Gate) {
        *self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate);
    }

    /// What is wrong with the disk from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Takes everything that was written to the file to the disk.
    ///
    /// # Errors
    ///
    /// The disk fails, or there is no such file.
    pub fn sync(&self, name: &str) -> Result<(), DiskError> {
        self.shared.step()?;
        self.shared.state().sync(name, u64::MAX)
    }

    /// How often something was synced.
    pub fn syncs(&self) -> u64 {
        self.shared.state().syncs
    }

    /// How often anything in a file became another.
    pub(crate) fn changes(&self) -> u64 {
        self.shared.state().changes
    }

    /// The power goes: of what was not synced any part may be lost. Connections that are still open fail from now on.
    pub fn lose_power(&self) {
        self.kill_process();
        self.shared.state().lose_power();
    }

    /// The process that used the disk is killed: its locks are gone, and all that it wrote is there. Connections that are still
    /// open fail from now on.
    pub fn kill_process(&self) {
        let mut state = self.shared.state();
        state.dead = state.handles;
        for file in state.files.values_mut() {
            file.locks.clear();
            file.memory.locks.clear();
            // Regions stay where they are for as long as a connection may look at them; the next process begins with new ones.
            let regions = std::mem::take(&mut file.memory.regions);
            file.memory.left.extend(regions);
        }
    }

    /// Every file, with what is in it.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.shared.state().files.iter().map(|(name, file)| (name.clone(), file.now.clone())).collect()
    }

    /// What is in the file, if there is one.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.state().files.get(name).map(|file| file.now.clone())
    }
}

impl Shared {
    /// Whether the step that is to come may happen.
    pub(crate) fn step(&self) -> Result<(), DiskError> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Nothing is locked here: the gate may lose the power.
        if gate.is_none_or(|gate| gate()) { Ok(()) } else { Err(DiskError::Io) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Opens a file, and gives the number of the handle.
    pub(crate) fn open(&mut self, name: &str, create: bool) -> Result<u64, DiskError> {
        if !self.files.contains_key(name) {
            if !create {
                return Err(DiskError::NotFound);
            }
            if self.faults.full {
                return Err(DiskError::Full);
            }
            self.files.insert(name.to_owned(), File::default());
        }
        self.handles += 1;
        Ok(self.handles)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Removes a file, for good: SQLite removes only what it does not need after a loss of power either way.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.files.remove(name).map(drop).ok_or(DiskError::NotFound)
    }

    pub(crate) fn close(&mut self, name: &str, handle: u64) {
        if let Some(file) = self.files.get_mut(name) {
            file.locks.remove(&handle);
            file.memory.locks.remove(&handle);
        }
    }

    fn file(&mut self, name: &str, handle: u64) -> Result<&mut File, DiskError> {
        if handle <= self.dead {
            return Err(DiskError::Io);
        }
        self.files.get_mut(name).ok_or(DiskError::Io)
    }

    pub(crate) fn size(&mut self, name: &str, handle: u64) -> Result<usize, DiskError> {
        Ok(self.file(name, handle)?.now.len())
    }

    /// Fills `into` from `offset` on; answers how many bytes there were.
    pub(crate) fn read(&mut self, name: &str, handle: u64, offset: usize, into: &mut [u8]) -> Result<usize, DiskError> {
        let from = self.file(name, handle)?.now.get(offset..).unwrap_or_default();
        let bytes = from.len().min(into.len());
        into[..bytes].copy_from_slice(&from[..bytes]);
        Ok(bytes)
    }

    pub(crate) fn write(&mut self, name: &str, handle: u64, offset: usize, bytes: &[u8]) -> Result<(), DiskError> {
        let faults = self.faults;
        let file = self.file(name, handle)?;
        if faults.write_fails {
            return Err(DiskError::Io);
        }
        if faults.full && offset + bytes.len() > file.now.len() {
            return Err(DiskError::Full);
        }
        write_at(&mut file.now, offset, bytes);
        file.open.push(Change::Write { offset, bytes: bytes.to_vec() });
        self.changes += 1;
        Ok(())
    }

    pub(crate) fn truncate(&mut self, name: &str, handle: u64, size: usize) -> Result<(), DiskError> {
        if self.faults.write_fails {
            return Err(DiskError::Io);
        }
        let file = self.file(name, handle)?;
        file.now.resize(size, 0);
        file.open.push(Change::Truncate(size));
        self.changes += 1;
        Ok(())
    }

    pub(crate) fn sync(&mut self, name: &str, handle: u64) -> Result<(), DiskError> {
        if self.faults.sync_fails {
            return Err(DiskError::Io);
        }
        let file = self.file(name, handle)?;
        let mut durable = file.durable.take().unwrap_or_default();
        for change in file.open.drain(..) {
            change.apply(&mut durable);
        }
        file.durable = Some(durable);
        self.syncs += 1;
        Ok(())
    }

    fn lose_power(&mut self) {
        // Sometimes nearly all of it was written, sometimes hardly any.
        let kept = self.random.random::<f64>();
        self.changes += 1;
        let State { files, random, .. } = self;
        files.retain(|_, file| {
            let open = std::mem::take(&mut file.open);
            // A file that was never synced may not even have a name.
            let there = file.durable.is_some() || random.random::<f64>() < kept;
            let mut now = file.durable.take().unwrap_or_default();
            for change in open {
                change.survive(&mut now, kept, random);
            }
            let memory = std::mem::take(&mut file.memory);
            *file = File { now: now.clone(), durable: Some(now), memory, ..File::default() };
            there
        });
    }

    /// Whether the handle now has this level of the file.
    pub(crate) fn lock(&mut self, name: &str, handle: u64, level: Level) -> Result<(), DiskError> {
        let locks = &mut self.file(name, handle)?.locks;
        let others = locks.iter().filter(|(other, _)| **other != handle).map(|(_, level)| *level).max().unwrap_or_default();
        let bound = match level {
            Level::None | Level::Shared => Level::Pending,
            Level::Reserved | Level::Pending => Level::Reserved,
            Level::Exclusive => Level::Shared,
        };
        if others >= bound {
            return Err(DiskError::Busy);
        }
        locks.insert(handle, level);
        Ok(())
    }

    pub(crate) fn unlock(&mut self, name: &str, handle: u64, level: Level) -> Result<(), DiskError> {
        self.file(name, handle)?.locks.insert(handle, level);
        Ok(())
    }

    pub(crate) fn is_reserved(&mut self, name: &str, handle: u64) -> Result<bool, DiskError> {
        Ok(self.file(name, handle)?.locks.values().any(|level| *level >= Level::Reserved))
    }

    /// The `index`th region of shared memory, of `bytes` bytes; nothing if it is not there and shall not be made. Its place never
    /// changes.
    pub(crate) fn region(
        &mut self,
        name: &str,
        handle: u64,
        index: usize,
        bytes: usize,
        make: bool,
    ) -> Result<Option<*mut u64>, DiskError> {
        let regions = &mut self.file(name, handle)?.memory.regions;
        while make && regions.len() <= index {
            regions.push(Region(vec![0; bytes.div_ceil(8)].into()));
        }
        Ok(regions.get_mut(index).map(|region| region.0.as_mut_ptr()))
    }

    pub(crate) fn lock_memory(&mut self, name: &str, handle: u64, mask: u8, exclusive: bool) -> Result<(), DiskError> {
        let locks = &mut self.file(name, handle)?.memory.locks;
        let taken =
            |(other, (shared, own)): (&u64, &(u8, u8))| *other != handle && (own & mask != 0 || (exclusive && shared & mask != 0));
        if locks.iter().any(taken) {
            return Err(DiskError::Busy);
        }
        let (shared, own) = locks.entry(handle).or_default();
        *(if exclusive { own } else { shared }) |= mask;
        Ok(())
    }

    pub(crate) fn unlock_memory(&mut self, name: &str, handle: u64, mask: u8) -> Result<(), DiskError> {
        if let Some((shared, own)) = self.file(name, handle)?.memory.locks.get_mut(&handle) {
            *shared &= !mask;
            *own &= !mask;
        }
        Ok(())
    }

    pub(crate) fn unmap(&mut self, name: &str, handle: u64, remove: bool) -> Result<(), DiskError> {
        let memory = &mut self.file(name, handle)?.memory;
        memory.locks.remove(&handle);
        if remove && memory.locks.is_empty() {
            memory.regions.clear();
        }
        Ok(())
    }

    pub(crate) fn fill_with_chance(&mut self, bytes: &mut [u8]) {
        self.random.fill_bytes(bytes);
    }
}

impl Change {
    fn apply(self, file: &mut Vec<u8>) {
        match self {
            Change::Truncate(size) => file.resize(size, 0),
            Change::Write { offset, bytes } => write_at(file, offset, &bytes),
        }
    }

    /// Does to `now` what of this change reached the disk, when each sector did with the chance `kept`.
    fn survive(self, now: &mut Vec<u8>, kept: f64, random: &mut StdRng) {
        match self {
            Change::Truncate(size) => {
                if random.random::<f64>() < kept {
                    now.resize(size, 0);
                }
            }
            Change::Write { offset, bytes } => {
                let mut done = 0;
                while done < bytes.len() {
                    let at = offset + done;
                    let here = (SECTOR - at % SECTOR).min(bytes.len() - done);
                    let sector = &bytes[done..done + here];
                    let chance = random.random::<f64>();
                    if chance < kept {
                        write_at(now, at, sector);
                    } else if chance > 0.95 {
                        write_at(now, at, &sector[..random.random_range(0..here)]);
                    }
                    done += here;
                }
            }
        }
    }
}

fn write_at(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    fn open(disk: &Disk) -> Connection {
        let connection =
            Connection::open_with_flags_and_vfs("/queue.db", OpenFlags::default(), crate::mount(disk).as_str()).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 20").unwrap();
        connection
    }

    fn numbers(connection: &Connection) -> Vec<i64> {
        let mut all = connection.prepare("SELECT n FROM numbers ORDER BY n").unwrap();
        all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Inserts some 60 numbers, syncs the log after number 40, and loses the power; gives what is there then.
    fn after_a_loss_of_power(seed: u64) -> Vec<i64> {
        let disk = Disk::new(seed);
        let connection = open(&disk);
        connection.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)").unwrap();
        for number in 0..45 + seed % 30 {
            connection.execute("INSERT INTO numbers VALUES (?1, ?2)", (number as i64, "x".repeat(700))).unwrap();
            if number == 40 {
                disk.sync("/queue.db-wal").unwrap();
            }
        }
        disk.lose_power();
        drop(connection);
        let again = open(&disk);
        let sound: String = again.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "seed {seed}");
        numbers(&again)
    }

    #[test]
    fn what_was_synced_is_there_after_a_loss_of_power_and_of_the_rest_a_beginning() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let there = after_a_loss_of_power(seed);
            assert!(there.len() > 40, "seed {seed}: {there:?}");
            assert!(there.iter().copied().eq(0..there.len() as i64), "seed {seed}: a beginning, not {there:?}");
            lengths.insert(there.len());
        }
        assert!(lengths.len() > 5, "{lengths:?}");
    }

    #[test]
    fn the_same_seed_loses_the_same() {
        for seed in 0..20 {
            assert_eq!(after_a_loss_of_power(seed), after_a_loss_of_power(seed), "seed {seed}");
        }
    }

    #[test]
    fn a_killed_process_loses_nothing_and_frees_its_locks() {
        let disk = Disk::new(1);
        let connection = open(&disk);
        connection.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY); INSERT INTO numbers VALUES (7)").unwrap();
        connection.execute_batch("BEGIN IMMEDIATE; INSERT INTO numbers VALUES (8)").unwrap();
        let other = open(&disk);
        assert!(other.execute_batch("BEGIN IMMEDIATE").is_err(), "the first one writes");
        assert_eq!(numbers(&other), [7], "a reader sees what is committed");
        drop(other);
        disk.kill_process();
        assert!(connection.execute_batch("COMMIT").is_err(), "it is no more");
        drop(connection);
        let again = open(&disk);
        assert_eq!(numbers(&again), [7]);
        again.execute_batch("INSERT INTO numbers VALUES (9)").unwrap();
    }

    #[test]
    fn a_full_disk_and_a_failing_one_refuse_and_go_on_when_they_can() {
        let disk = Disk::new(1);
        let connection = open(&disk);
        connection.execute_batch("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").unwrap();
        for faults in [Faults { full: true, ..Faults::default() }, Faults { write_fails: true, ..Faults::default() }] {
            disk.set_faults(faults);
            assert!(connection.execute_batch("INSERT INTO numbers VALUES (1)").is_err(), "{faults:?}");
            disk.set_faults(Faults::default());
        }
        connection.execute_batch("INSERT INTO numbers VALUES (1)").unwrap();
        disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
        assert_eq!(disk.sync("/queue.db-wal"), Err(DiskError::Io));
    }
}
