//! What of the daemon's work is on the disk, and what a loss of power leaves of the rest. What users do is on the disk at once.

use super::disk::Disk;
use super::node::{Node, OpenHandles};

impl Disk {
    /// Takes everything to the disk, as the kernel does by itself after a while.
    pub fn sync(&self) {
        let mut state = self.lock();
        state.journal.clear();
        state.nodes.values_mut().for_each(|node| node.on_disk = None);
    }

    /// Power is lost. Of each change of names that the daemon has not synced, and that nothing which is kept builds on, `choose`
    /// says whether it is kept, from the last one to the first; then of the bytes that it has not synced in each file: whether they
    /// are kept, or else whether they are zeroes now, or else whether half of them is kept. Every process dies, as at
    /// [`Disk::freeze`].
    pub fn power_cut(&self, choose: &mut dyn FnMut() -> bool) {
        self.freeze();
        let now_ns = self.now_ns();
        let mut state = self.lock();
        state.faults.boot += 1;
        let lost = state.journal.lose(choose);
        state.swap(&lost, now_ns);
        for node in state.nodes.values_mut() {
            node.writers = OpenHandles::default();
            lose_bytes(node, choose);
        }
    }
}

fn lose_bytes(node: &mut Node, choose: &mut dyn FnMut() -> bool) {
    let Some(on_disk) = node.on_disk.take().filter(|_| node.links > 0) else { return };
    if choose() {
        return;
    }
    let length = node.len();
    if choose() {
        node.set_len(on_disk.length);
        node.set_len(length);
    } else {
        let lost = length.saturating_sub(on_disk.length);
        node.set_len(on_disk.length + if choose() { lost / 2 } else { 0 });
    }
    (node.mode, node.mtime_ns) = (on_disk.mode, on_disk.mtime_ns);
}
