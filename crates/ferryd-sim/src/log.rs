//! The daemon's log, as a part of the story.

use std::io::{self, Write};
use std::sync::{Arc, Weak};

use tracing::Level;

use crate::world::World;

/// What begins a line of the log, after the time.
pub(crate) const LOGGED: &str = "    | ";

/// Does `work` with what the daemon logs meanwhile, in this thread, told in the story of `world`.
pub(crate) fn with_log<T>(world: &Arc<World>, work: impl FnOnce() -> T) -> T {
    let world = Arc::downgrade(world);
    let log = tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_max_level(Level::DEBUG)
        .with_writer(move || Lines { world: world.clone(), text: Vec::new() })
        .finish();
    tracing::subscriber::with_default(log, work)
}

/// One event of the log, on its way into the story.
struct Lines {
    world: Weak<World>,
    text: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let Some(world) = self.world.upgrade() else { return };
        for line in String::from_utf8_lossy(&self.text).lines() {
            world.tell(&format!("{LOGGED}{line}"));
        }
    }
}
