//! Hooks that did not end within their time rest as a whole: the next delivery would fare no better, and each takes all its time.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::job::verdict::backoff;

/// How a task for a hook has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It has done what it could.
    Fine,
    /// The hook did not end within its time.
    TimedOut,
}

/// The hooks that rest, or did so last time: until when, and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Rests(HashMap<String, (Instant, u32)>);

impl Rests {
    /// Notes how a task for `hook` has ended. A hook rests longer each time.
    pub(super) fn note(&mut self, hook: &str, ended: Ended, now: Instant) {
        match ended {
            Ended::Fine => drop(self.0.remove(hook)),
            Ended::TimedOut => {
                // Two tasks that began together are one failure.
                let (until, times) = self.0.get(hook).copied().unwrap_or((now, 0));
                if until <= now {
                    self.0.insert(hook.to_owned(), (now + backoff(times.saturating_add(1)), times.saturating_add(1)));
                }
            }
        }
    }

    /// How many tasks `hook` may have under way, which has at most `most`: none while it rests, and one until that has shown whether
    /// it is well.
    pub(super) fn tasks_max(&self, hook: &str, most: usize, now: Instant) -> usize {
        match self.0.get(hook) {
            Some((until, _)) if *until > now => 0,
            Some(_) => most.min(1),
            None => most,
        }
    }

    /// When the next rest ends.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|(until, _)| *until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_times_out_rests_as_a_whole_longer_each_time_and_then_shows_with_one_task_that_it_is_well() {
        let (mut rests, start) = (Rests::default(), Instant::now());
        rests.note("hangs", Ended::TimedOut, start);
        rests.note("hangs", Ended::TimedOut, start);
        let first = start + backoff(1);
        assert_eq!((rests.tasks_max("hangs", 2, start), rests.next_end(start)), (0, Some(first)));
        assert_eq!(rests.tasks_max("other", 2, start), 2, "no other rests with it");
        assert_eq!((rests.tasks_max("hangs", 2, first), rests.next_end(first)), (1, None));
        rests.note("hangs", Ended::TimedOut, first);
        assert_eq!(rests.next_end(first), Some(first + backoff(2)));
        rests.note("hangs", Ended::Fine, first + backoff(2));
        assert_eq!(rests.tasks_max("hangs", 2, first + backoff(2)), 2);
    }
}
