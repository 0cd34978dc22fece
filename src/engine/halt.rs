//! How one attempt is told to stop, though the daemon goes on.
//!
//! Nothing new begins, and what is in flight may still arrive: for a moment, after which it is dropped, or for as long as it takes. From the commit of its intent on, a
//! file may be on the host, so the attempt goes on to its end: an answer that nobody hears would leave a doubt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// How long parts in flight may take to arrive.
const PATIENCE: Duration = Duration::from_secs(3);

const GOES_ON: u8 = 0;
const COMMITS: u8 = 1;
const DROPPED: u8 = 2;

/// What tells an attempt to stop. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Halt(Arc<HaltState>);

#[derive(Debug)]
struct HaltState {
    asked: watch::Sender<Asked>,
    step: AtomicU8,
}

/// What an attempt is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Nothing,
    /// To begin nothing new.
    ToLeave,
    /// The same, and what is in flight has only a moment.
    ToStop,
}

impl Default for Halt {
    fn default() -> Halt {
        Halt(Arc::new(HaltState { asked: watch::Sender::new(Asked::Nothing), step: AtomicU8::new(GOES_ON) }))
    }
}

impl Halt {
    /// Tells the attempt to stop.
    pub(super) fn ask(&self) {
        self.0.asked.send_replace(Asked::ToStop);
    }

    /// Tells the attempt to stop when what is in flight has arrived.
    pub(super) fn ask_to_leave(&self) {
        self.0.asked.send_if_modified(|asked| std::mem::replace(asked, Asked::ToLeave.max(*asked)) == Asked::Nothing);
    }

    /// Takes that back, for as long as the attempt has not noticed.
    pub(super) fn withdraw(&self) {
        self.0.asked.send_replace(Asked::Nothing);
    }

    /// Whether nothing new may begin.
    pub(super) fn is_asked(&self) -> bool {
        *self.0.asked.borrow() != Asked::Nothing
    }

    /// The attempt is about to commit that the host makes the file. Answers false where it is dropped already, and must not.
    pub(super) fn commits(&self) -> bool {
        let before = self.0.step.compare_exchange(GOES_ON, COMMITS, Ordering::AcqRel, Ordering::Acquire);
        matches!(before, Ok(_) | Err(COMMITS))
    }

    /// Resolves when what is in flight is to be dropped.
    pub(super) async fn dropped(&self) {
        let mut asked = self.0.asked.subscribe();
        loop {
            // The sender lives as long as `self`.
            drop(asked.wait_for(|asked| *asked == Asked::ToStop).await);
            tokio::time::sleep(PATIENCE).await;
            if *self.0.asked.borrow() != Asked::ToStop {
                continue;
            }
            if self.0.step.compare_exchange(GOES_ON, DROPPED, Ordering::AcqRel, Ordering::Acquire).is_err() {
                std::future::pending::<()>().await;
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_dropped(halt: &Halt) -> bool {
        tokio::time::timeout(2 * PATIENCE, halt.dropped()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_is_dropped_after_a_moment_unless_the_file_may_be_on_the_host() {
        let halt = Halt::default();
        assert!(!is_dropped(&halt).await, "nobody has asked");
        halt.ask();
        assert!(is_dropped(&halt).await);
        assert!(!halt.commits(), "what is dropped commits nothing");
        let halt = Halt::default();
        halt.ask_to_leave();
        assert!(halt.is_asked() && !is_dropped(&halt).await, "what is in flight arrives");
        halt.ask();
        halt.ask_to_leave();
        assert!(is_dropped(&halt).await);
        let halt = Halt::default();
        assert!(halt.commits() && halt.commits());
        halt.ask();
        assert!(halt.is_asked() && !is_dropped(&halt).await);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_thinks_better_of_it_in_time_has_the_attempt_go_on() {
        let halt = Halt::default();
        halt.ask();
        halt.withdraw();
        assert!(!halt.is_asked() && !is_dropped(&halt).await);
        halt.ask();
        let thinks_better_of_it = async {
            tokio::time::sleep(PATIENCE / 2).await;
            halt.withdraw();
        };
        assert!(!tokio::join!(is_dropped(&halt), thinks_better_of_it).0, "while what is in flight may still arrive");
        halt.ask();
        assert!(is_dropped(&halt).await);
    }
}
