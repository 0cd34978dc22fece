//! What whoever drives the simulation decides: when the daemon dies, and what its disks do not do.

use std::io;
use std::path::Path;

use super::disk::Disk;
use super::faults::StepGate;

/// The daemon's process, and its end.
impl Disk {
    /// Asks `gate` before each thing that the daemon does to the file system, with words such as `remove /drop/a`: a false has it
    /// fail, with nothing done. The gate may itself do to the disk whatever can happen at that moment.
    pub fn before_steps(&self, gate: StepGate) {
        self.lock().faults.step_gate = Some(gate);
    }

    /// The daemon's process dies: whatever it has open is closed, its watches are gone, and nothing that it still tries has an
    /// effect, the end of its handles included.
    pub fn freeze(&self) {
        let mut state = self.lock();
        state.faults.is_frozen = true;
        state.faults.process += 1;
        state.watching.end();
        for node in state.nodes.values_mut() {
            node.writers.of_the_daemon = 0;
        }
        state.prune();
    }

    /// Another process of the daemon's may begin. Handles of the one that died stay dead; what it had that works by path must be
    /// gone by now.
    pub fn thaw(&self) {
        self.lock().faults.is_frozen = false;
    }
}

/// Faults of disks, which only the daemon meets.
impl Disk {
    /// Leaves room for so many bytes on the file system of `path`, or for as many as there may be. What is removed makes no room.
    pub fn set_room(&self, path: &Path, bytes: Option<u64>) -> io::Result<()> {
        let key = self.resolve(path, true)?;
        let mut state = self.lock();
        let device = state.node(key)?.device;
        match bytes {
            Some(bytes) => state.faults.rooms.insert(device, bytes),
            None => state.faults.rooms.remove(&device),
        };
        Ok(())
    }

    /// Takes links and renames that spare what is there away, as on exFAT, or gives them back.
    pub fn cannot_name_exclusively(&self, cannot: bool) {
        self.lock().faults.no_exclusive_names = cannot;
    }

    /// Has every read of the file at `path` fail.
    pub fn damage(&self, path: &Path) -> io::Result<()> {
        let key = self.resolve(path, true)?;
        self.lock().node_mut(key).map(|node| node.is_damaged = true)
    }

    /// Has every file be read again, also on disks that are away.
    pub fn mend_all(&self) {
        self.lock().nodes.values_mut().for_each(|node| node.is_damaged = false);
    }
}
