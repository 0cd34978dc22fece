//! Whether nobody is writing a file any more: pure, from sightings over time.
//!
//! The evidence is of three sorts. The file system's own: size, times and allocated blocks that do not change, and a change time
//! that nobody can set, lying far enough back. The platform's events: a writer has closed the file, or it was moved in whole. And
//! the kernel's word that no process has it open for writing, which is asked last (`os::lease`), since it costs an open. Where the
//! kernel does not tell, a writer may only be pausing: then nothing but an event that a writer has closed this very version, or a
//! longer quiet, will do.

use std::time::{Duration, Instant};

use crate::job::Identity;
use crate::os::files::Stat;

use super::hints::Heard;

/// Without an event, and where nobody can tell who writes, a file must stay the same for at least this long.
const LEAST_QUIET: Duration = Duration::from_millis(100);
/// Where nobody can tell who writes: a file must stay the same for so many times as long as it once did before it was written on,
const PAUSES: u32 = 3;
/// but not longer than this for that reason.
const LONGEST_QUIET: Duration = Duration::from_secs(600);
/// There it is looked at this often at least, so that a pause between two writes is seen as one.
const UNASKED_PAUSE: Duration = Duration::from_secs(15);
/// How long a file that somebody has open is left alone at first.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Where the doubling of that pause ends.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a look at a file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    pub identity: Identity,
    /// Allocated blocks: a file that is filled in place grows here and nowhere else.
    pub blocks: u64,
}

impl Sighting {
    /// What this look shows.
    pub(super) fn of(stat: &Stat) -> Sighting {
        Sighting { identity: Identity::from(stat.numbers), blocks: stat.blocks }
    }

    /// Whether an event says that a writer has closed exactly this version: the inode must not have changed since.
    pub(super) fn was_closed(&self, heard: Heard) -> bool {
        matches!(heard, Heard::Closed { at_ns } if self.identity.ctime_ns <= at_ns)
    }
}

/// What is remembered of a file that is not settled yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settling {
    pub seen: Sighting,
    /// Since when it has looked like this.
    pub since: Instant,
    /// Whether a writer has closed it, or it was moved in, since it began to look like this.
    pub closed: bool,
    /// Whether a writer was seen to close it since it began to look like this.
    pub close_seen: bool,
    /// How long it had looked like this at the last look.
    same_for: Duration,
    /// The longest that it has stayed the same and was then written on.
    longest_pause: Duration,
    /// Times it was found quiet but open for writing.
    pub found_open: u32,
    /// Whether it lacks the marker that says that it is complete.
    pub unmarked: bool,
}

/// What a look leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The quiet time has passed; who has it open must still be asked, where that can be told.
    Quiet,
    /// It must be looked at again after this.
    Again(Duration),
}

impl Settling {
    /// What is known after a look, which was caused by what was `heard`.
    pub(super) fn after(before: Option<&Settling>, seen: Sighting, heard: Heard, now: Instant) -> Settling {
        let closed = matches!(heard, Heard::MovedIn | Heard::Closed { .. });
        let close_seen = seen.was_closed(heard);
        match before {
            Some(before) if before.seen == seen => {
                let same_for = now.duration_since(before.since);
                Settling {
                    closed: before.closed || closed,
                    close_seen: before.close_seen || close_seen,
                    same_for,
                    unmarked: false,
                    ..*before
                }
            }
            Some(before) => {
                let since = if planted!("settle.change_unseen") { before.since } else { now };
                let longest_pause = before.longest_pause.max(before.same_for);
                Settling {
                    seen,
                    since,
                    closed,
                    close_seen,
                    same_for: Duration::ZERO,
                    longest_pause,
                    found_open: before.found_open,
                    unmarked: false,
                }
            }
            None => {
                let (same_for, longest_pause) = (Duration::ZERO, Duration::ZERO);
                Settling { seen, since: now, closed, close_seen, same_for, longest_pause, found_open: 0, unmarked: false }
            }
        }
    }

    /// Whoever writes it has said that it is complete, which is as good as to be seen to close it.
    pub(super) fn complete(&mut self) {
        (self.closed, self.close_seen) = (true, true);
    }

    /// Whether it has been quiet for long enough. `now_ns` is the wall clock, against which the file's own times are held.
    pub(super) fn judge(&self, settle: Duration, now: Instant, now_ns: i64) -> Judgement {
        self.judge_by(if self.closed { settle } else { settle.max(LEAST_QUIET) }, now, now_ns)
    }

    /// The same where nobody tells who has it open: its writer may only be pausing, unless it was seen to close this very version.
    /// That a file was moved in says nothing of its writer, who may have it open still.
    pub(super) fn judge_unasked(&self, settle: Duration, settle_unknown: Duration, now: Instant, now_ns: i64) -> Judgement {
        if self.close_seen {
            return self.judge(settle, now, now_ns);
        }
        match self.judge_by(quiet_unasked(settle, settle_unknown, self.longest_pause), now, now_ns) {
            Judgement::Again(pause) => Judgement::Again(pause.min(UNASKED_PAUSE)),
            Judgement::Quiet => Judgement::Quiet,
        }
    }

    fn judge_by(&self, needed: Duration, now: Instant, now_ns: i64) -> Judgement {
        let quiet = now.duration_since(self.since).max(self.age(now_ns));
        if quiet >= needed { Judgement::Quiet } else { Judgement::Again(needed - quiet) }
    }

    /// How long ago the file last changed by its own account; nothing when that lies in the future, as on a server with another
    /// clock.
    fn age(&self, now_ns: i64) -> Duration {
        let changed_ns = self.seen.identity.mtime_ns.max(self.seen.identity.ctime_ns);
        Duration::from_nanos(u64::try_from(now_ns.saturating_sub(changed_ns)).unwrap_or(0))
    }

    /// It is quiet, and somebody has it open for writing: when to look again, should no event say that it was closed.
    pub(super) fn pause_while_open(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.found_open.min(6));
        self.found_open = self.found_open.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }
}

/// How long a file must stay the same of which nobody tells who writes it, and which has paused for so long before.
fn quiet_unasked(settle: Duration, settle_unknown: Duration, longest_pause: Duration) -> Duration {
    let for_pauses = longest_pause.saturating_mul(PAUSES).min(LONGEST_QUIET);
    settle.max(settle_unknown).max(LEAST_QUIET).max(for_pauses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLOSED: Heard = Heard::Closed { at_ns: i64::MAX };
    const SETTLE: Duration = Duration::from_secs(2);
    const EPOCH_NS: i64 = 1_000_000_000_000;

    fn sighting(size: u64, changed_ns: i64) -> Sighting {
        let identity = Identity { device: 1, inode: 1, size, mtime_ns: changed_ns, ctime_ns: changed_ns, born_ns: 1 };
        Sighting { identity, blocks: size / 512 }
    }

    /// A story: at each time (milliseconds) the file has this size, and a close may have been heard. Says when it is first quiet.
    fn first_quiet(story: &[(u64, u64, bool)], settle: Duration) -> Option<u64> {
        let start = Instant::now();
        let mut settling: Option<Settling> = None;
        let mut changed_ms = 0;
        for (at_ms, size, closed) in story {
            if settling.as_ref().is_none_or(|before| before.seen.identity.size != *size) {
                changed_ms = *at_ms;
            }
            let ns = |ms: u64| EPOCH_NS + i64::try_from(ms).unwrap() * 1_000_000;
            let now = start + Duration::from_millis(*at_ms);
            let heard = if *closed { CLOSED } else { Heard::Nothing };
            let after = Settling::after(settling.as_ref(), sighting(*size, ns(changed_ms)), heard, now);
            if after.judge(settle, now, ns(*at_ms)) == Judgement::Quiet {
                return Some(*at_ms);
            }
            settling = Some(after);
        }
        None
    }

    #[test]
    fn a_file_that_grows_in_steps_settles_after_the_last() {
        let story = [(0, 10, false), (1500, 20, false), (3000, 30, false), (4500, 30, false), (5000, 30, false)];
        assert_eq!(first_quiet(&story, SETTLE), Some(5000));
    }

    #[test]
    fn with_no_settle_time_a_close_is_enough_and_its_absence_is_not() {
        assert_eq!(first_quiet(&[(0, 10, true)], Duration::ZERO), Some(0));
        assert_eq!(first_quiet(&[(0, 10, false), (50, 10, false), (100, 10, false)], Duration::ZERO), Some(100));
    }

    #[test]
    fn a_close_followed_by_more_writing_is_forgotten() {
        assert_eq!(first_quiet(&[(0, 10, false), (10, 10, true)], Duration::from_millis(20)), None);
        let story = [(0, 10, true), (10, 20, false), (60, 20, false), (110, 20, false)];
        assert_eq!(first_quiet(&story, Duration::from_millis(20)), Some(110));
    }

    #[test]
    fn blocks_that_grow_under_the_same_size_are_writing() {
        let start = Instant::now();
        let full = Sighting { blocks: 8, ..sighting(4096, EPOCH_NS) };
        let sparse = Sighting { blocks: 0, ..full };
        let before = Settling::after(None, sparse, Heard::Nothing, start);
        let after = Settling::after(Some(&before), full, Heard::Nothing, start + SETTLE);
        assert_eq!(after.since, start + SETTLE);
    }

    #[test]
    fn an_old_file_is_quiet_at_first_sight_and_one_from_the_future_is_not() {
        let now = Instant::now();
        let judge = |changed_ns| Settling::after(None, sighting(1, changed_ns), Heard::Nothing, now).judge(SETTLE, now, EPOCH_NS);
        assert_eq!(judge(EPOCH_NS - 3_000_000_000), Judgement::Quiet);
        assert_eq!(judge(EPOCH_NS + 3_000_000_000), Judgement::Again(SETTLE));
    }

    /// Where nobody tells who writes: what was heard of a file, how long it has been the same in our sight and by its own account
    /// (in seconds), and after how many seconds it is looked at again.
    #[test]
    fn a_file_of_which_nobody_tells_who_writes_needs_a_close_or_a_long_quiet() {
        let minute = Duration::from_secs(60);
        let closed_before = Heard::Closed { at_ns: EPOCH_NS - 1 };
        let closed_then = Heard::Closed { at_ns: EPOCH_NS };
        for (heard, watched, own, left) in [
            (Heard::Nothing, 3, 3, Some(15)),
            (Heard::Nothing, 59, 59, Some(1)),
            (Heard::Nothing, 60, 3, None),
            (Heard::Nothing, 0, 60, None),
            (Heard::Touched, 3, 3, Some(15)),
            (Heard::MovedIn, 3, 3, Some(15)),
            (Heard::MovedIn, 60, 60, None),
            (closed_then, 1, 1, Some(1)),
            (closed_then, 2, 2, None),
            // Somebody closed the file, and then it changed: that was another version.
            (closed_before, 3, 3, Some(15)),
        ] {
            let start = Instant::now();
            let settling = Settling::after(None, sighting(1, EPOCH_NS), heard, start);
            let judged =
                settling.judge_unasked(SETTLE, minute, start + Duration::from_secs(watched), EPOCH_NS + own * 1_000_000_000);
            let expected = left.map_or(Judgement::Quiet, |left| Judgement::Again(Duration::from_secs(left)));
            assert_eq!(judged, expected, "{heard:?} {watched} {own}");
        }
    }

    #[test]
    fn the_quiet_that_is_wanted_of_a_file_that_grows_in_bursts_grows_with_its_pauses_to_ten_minutes() {
        let seconds = Duration::from_secs;
        for (settle, unknown, pause, wanted) in [
            (2, 60, 0, 60),
            (2, 60, 20, 60),
            (2, 60, 21, 63),
            (2, 60, 59, 177),
            (2, 60, 250, 600),
            (2, 60, 100_000, 600),
            (2, 1200, 250, 1200),
            (900, 60, 250, 900),
            (0, 0, 30, 90),
        ] {
            assert_eq!(quiet_unasked(seconds(settle), seconds(unknown), seconds(pause)), seconds(wanted), "{unknown} {pause}");
        }
        assert_eq!(quiet_unasked(seconds(0), seconds(0), seconds(0)), LEAST_QUIET);
    }

    /// A writer that writes every so many seconds, and is then away for longer: after how many seconds of that its file is taken
    /// for finished, looked at as often as is asked for.
    fn taken_after(writes_every: u64, writes: u64) -> u64 {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let (mut settling, mut at): (Option<Settling>, u64) = (None, 0);
        loop {
            let written = (at / writes_every).min(writes);
            let ns = |second: u64| EPOCH_NS + i64::try_from(second).unwrap() * 1_000_000_000;
            let now = start + Duration::from_secs(at);
            let seen = sighting(written + 1, ns(written * writes_every));
            let after = Settling::after(settling.as_ref(), seen, Heard::Nothing, now);
            match after.judge_unasked(SETTLE, minute, now, ns(at)) {
                Judgement::Quiet => return at.saturating_sub(writes * writes_every),
                Judgement::Again(pause) => at += pause.as_secs().max(1),
            }
            settling = Some(after);
        }
    }

    #[test]
    fn a_writer_that_stalls_for_longer_than_it_ever_did_is_waited_for() {
        assert!((60..=75).contains(&taken_after(1, 200)), "it writes all the time: {}", taken_after(1, 200));
        let bursts = taken_after(50, 20);
        assert!((100..=180).contains(&bursts), "it pauses for 50 s each time: {bursts}");
    }

    #[test]
    fn a_close_of_an_earlier_version_is_none_of_this_one() {
        let start = Instant::now();
        let first = Settling::after(None, sighting(1, EPOCH_NS), CLOSED, start);
        assert!(first.close_seen && Settling::after(Some(&first), sighting(1, EPOCH_NS), Heard::Nothing, start).close_seen);
        assert!(!Settling::after(Some(&first), sighting(1, EPOCH_NS + 1), Heard::Nothing, start).close_seen);
        assert!(!Settling::after(Some(&first), sighting(2, EPOCH_NS), Heard::Touched, start).close_seen);
        let moved_in = Settling::after(None, sighting(1, EPOCH_NS), Heard::MovedIn, start);
        assert!(moved_in.closed && !moved_in.close_seen);
    }

    #[test]
    fn where_it_can_be_asked_who_writes_a_long_quiet_is_not_waited_for() {
        let now = Instant::now();
        let settling = Settling::after(None, sighting(1, EPOCH_NS), Heard::Nothing, now);
        assert_eq!(settling.judge(SETTLE, now + SETTLE, EPOCH_NS), Judgement::Quiet);
        let longer = settling.judge_unasked(SETTLE, Duration::ZERO, now + SETTLE, EPOCH_NS);
        assert_eq!(longer, Judgement::Quiet, "and it is never shorter than `settle`");
        assert_eq!(settling.judge_unasked(SETTLE, Duration::ZERO, now, EPOCH_NS), Judgement::Again(SETTLE));
    }

    #[test]
    fn a_file_held_open_is_asked_about_less_and_less_often() {
        let mut settling = Settling::after(None, sighting(1, 0), Heard::Nothing, Instant::now());
        let pauses: Vec<u64> = (0..9).map(|_| settling.pause_while_open().as_millis() as u64).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    proptest! {
        #[test]
        fn a_file_that_grows_faster_than_it_settles_never_settles(steps in prop::collection::vec(1u64..1999, 1..50)) {
            let mut at = 0;
            let story: Vec<_> = steps.iter().enumerate().map(|(index, step)| { at += step; (at, index as u64 + 1, index % 2 == 0) }).collect();
            prop_assert_eq!(first_quiet(&story, SETTLE), None);
        }

        #[test]
        fn a_file_that_rests_settles(steps in prop::collection::vec(1u64..5000, 1..20)) {
            let mut at = 0;
            let mut story: Vec<_> = steps.iter().enumerate().map(|(index, step)| { at += step; (at, index as u64 + 1, false) }).collect();
            let size = story.len() as u64;
            story.push((at + 2000, size, false));
            prop_assert!(first_quiet(&story, SETTLE).is_some());
        }
    }
}
