//! The daemon's log, as a part of the story.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Once, Weak};

use tracing::Level;

use crate::world::World;

/// What begins a line of the log, after the time.
pub(crate) const LOGGED: &str = "    | ";

thread_local! {
    /// The world whose story this thread's log belongs to.
    static WORLD: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

/// Does `work` with what the daemon logs meanwhile, in this thread, told in the story of `world`.
pub(crate) fn with_log<T>(world: &Arc<World>, work: impl FnOnce() -> T) -> T {
    static INSTALLED: Once = Once::new();
    // One for the whole process: where subscribers come and go, lines of other threads are lost meanwhile.
    INSTALLED.call_once(|| {
        let log = tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false).with_max_level(Level::DEBUG);
        let log = log.with_writer(|| Lines { world: WORLD.with(|world| world.borrow().upgrade()), text: Vec::new() });
        if let Err(error) = tracing::subscriber::set_global_default(log.finish()) {
            world.tell(&format!("(the log is somebody else's: {error})"));
        }
    });
    WORLD.with(|current| *current.borrow_mut() = Arc::downgrade(world));
    let done = work();
    WORLD.with(|current| *current.borrow_mut() = Weak::new());
    done
}

/// One event of the log, on its way into the story.
struct Lines {
    world: Option<Arc<World>>,
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
        let Some(world) = self.world.take() else { return };
        for line in String::from_utf8_lossy(&self.text).lines() {
            world.tell(&format!("{LOGGED}{line}"));
        }
    }
}
