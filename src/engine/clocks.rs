//! The time of day next to the clock that nobody sets.

use tokio::time::Instant;

use crate::job::believed::was_set_back;
use crate::os::clock;

/// Both clocks as they were when somebody last looked.
#[derive(Debug)]
pub struct Clocks {
    wall_ms: i64,
    at: Instant,
}

impl Clocks {
    /// Looks at them.
    pub fn now() -> Clocks {
        Clocks { wall_ms: clock::now_ms(), at: Instant::now() }
    }

    /// Whether the time of day was set back since the last look.
    pub fn were_set_back(&mut self) -> bool {
        let now = Clocks::now();
        let set_back = was_set_back(self.wall_ms, now.wall_ms, now.at.saturating_duration_since(self.at));
        *self = now;
        set_back
    }
}
