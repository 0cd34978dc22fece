//! Which of several addresses new uploads go to: the host has moved before (page, 2.1).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An address is gone that was met so this often ...
const GONE_TIMES: u32 = 3;
/// ... over at least this time, with no success in between.
const GONE_AFTER: Duration = Duration::from_secs(15 * 60);

/// What is known of the addresses since the host was made.
#[derive(Debug, Default)]
pub(super) struct Moving(Mutex<State>);

#[derive(Debug, Default, Clone, Copy)]
struct State {
    /// The place in the list of the one in use.
    present: usize,
    /// How often it was gone since it answered last, and since when.
    gone: Option<(u32, Instant)>,
    /// How many were given up in a row.
    given_up: usize,
}

impl Moving {
    /// The place in the list of the address that new uploads go to.
    pub(super) fn present(&self) -> usize {
        self.lock().present
    }

    /// The address in use has answered as the host does.
    pub(super) fn is_there(&self) {
        let mut state = self.lock();
        (state.gone, state.given_up) = (None, 0);
    }

    /// The address at this place, one of `count`, does not answer as the host does. Answers whether one is left to be tried.
    pub(super) fn is_gone(&self, place: usize, count: usize, now: Instant) -> bool {
        let mut state = self.lock();
        if place != state.present {
            return true;
        }
        let (times, since) = state.gone.unwrap_or((0, now));
        let times = times.saturating_add(1);
        if times >= GONE_TIMES && now.saturating_duration_since(since) >= GONE_AFTER {
            *state = State { present: (place + 1) % count.max(1), gone: None, given_up: state.given_up.saturating_add(1) };
        } else {
            state.gone = Some((times, since));
        }
        state.given_up < count
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_address_is_used_when_one_is_gone_for_a_quarter_of_an_hour_and_all_are_tried_before_a_person_is_called() {
        let (moving, begun) = (Moving::default(), Instant::now());
        let gone = |minutes: u64| {
            let left = moving.is_gone(moving.present(), 2, begun + Duration::from_secs(60 * minutes));
            (moving.present(), left)
        };
        assert_eq!([0, 1, 14].map(gone), [(0, true); 3]);
        assert_eq!(gone(15), (1, true));
        assert!(moving.is_gone(0, 2, begun), "what is still on its way to the old one says nothing of the new one");
        assert_eq!([16, 17].map(gone), [(1, true); 2]);
        moving.is_there();
        assert_eq!([40, 41, 54].map(gone), [(1, true); 3], "a success ends the row");
        assert_eq!(gone(55), (0, true));
        assert_eq!([56, 57, 71].map(gone), [(0, true), (0, true), (1, false)], "none of them is there");
    }
}
