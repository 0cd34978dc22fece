//! What a window makes of answers, as tables.

use proptest::prelude::*;

use super::*;

/// Answers come to requests that took this long each.
const TOOK: Duration = Duration::from_millis(100);

/// A host that is sent as many requests as its window allows, and brings so much through with so many in flight.
struct Busy {
    window: Window,
    now: Duration,
}

impl Busy {
    fn new(window: Window) -> Busy {
        Busy { window, now: Duration::ZERO }
    }

    fn answer(&mut self, shown: Shown, every: Duration) {
        let size = self.window.size();
        self.now += every;
        // With so many in flight, as many are answered during each.
        let took = every * u32::try_from(size).unwrap();
        let answer = Answer { shown, bytes: 1_000_000, sent: self.now.saturating_sub(took), at: self.now, others: size - 1 };
        self.window = self.window.after(answer);
    }

    /// Good answers, of which so many come a second with this window.
    fn answers(&mut self, count: usize, per_second: impl Fn(usize) -> f64) {
        for _ in 0..count {
            let every = Duration::from_secs_f64(1.0 / per_second(self.window.size()));
            self.answer(Shown::Fine, every);
        }
    }
}

/// A link that brings ten answers a second for each request in flight, up to `most` of them.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn up_to(most: usize) -> impl Fn(usize) -> f64 {
    move |size| 10.0 * size.min(most) as f64
}

#[test]
fn a_window_grows_while_more_brings_more_and_no_further() {
    // The most that is allowed, and what the link has room for: the sizes at the end of each rest.
    for (most, room, expected) in
        [(8, 100, 8), (8, 4, 4), (8, 6, 6), (64, 100, 64), (64, 13, 13), (64, 27, 27), (1, 100, 1), (64, 2, 2)]
    {
        let mut busy = Busy::new(Window::new(most));
        busy.answers(3000, up_to(room));
        let sizes: Vec<usize> = (0..300)
            .map(|_| {
                busy.answers(10, up_to(room));
                busy.window.size()
            })
            .collect();
        let usual = sizes.iter().copied().max_by_key(|size| sizes.iter().filter(|other| *other == size).count()).unwrap();
        assert!(usual >= expected && usual <= (expected * 3).div_ceil(2).min(most), "{most} {room}: {usual}");
        let learned = busy.window.told().why;
        let limited = most > 1 && room * 3 / 2 < most;
        assert!(learned == Learned::MoreBringsNothing || !limited, "{most} {room}: {learned:?}");
    }
}

#[test]
fn a_window_that_is_too_large_for_a_link_that_became_slower_shrinks() {
    let mut busy = Busy::new(Window::new(64));
    busy.answers(5000, up_to(40));
    assert!(busy.window.size() >= 40, "{:?}", busy.window);
    busy.answers(20_000, up_to(4));
    assert!(busy.window.size() <= 8, "{:?}", busy.window);
    busy.answers(20_000, up_to(40));
    assert!(busy.window.size() >= 20, "{:?}", busy.window);
}

#[test]
fn too_much_halves_it_once_for_all_that_were_in_flight_together_and_it_grows_by_ones() {
    let mut busy = Busy::new(Window::new(8));
    busy.answers(200, up_to(100));
    let mut window = busy.window;
    assert_eq!(window.size(), 8);
    let answer = |others| Answer { shown: Shown::TooMuch, bytes: 0, sent: busy.now, at: busy.now, others };
    for others in (0..8).rev() {
        window = window.after(answer(others));
    }
    assert_eq!((window.size(), window.told().why), (4, Learned::TooMuch));
    assert_eq!(window.after(answer(3)).size(), 2, "the next ones say something new");
    busy.window = window;
    let mut sizes = vec![4];
    for _ in 0..200 {
        busy.answers(1, up_to(100));
        if sizes.last() != Some(&busy.window.size()) {
            sizes.push(busy.window.size());
        }
    }
    assert_eq!(sizes, [4, 5, 6, 7, 8]);
}

#[test]
fn an_error_that_says_nothing_of_the_load_changes_nothing_and_one_place_stays() {
    let mut busy = Busy::new(Window::new(8));
    let before = busy.window.size();
    (0..100).for_each(|_| busy.answer(Shown::Nothing, TOOK));
    assert_eq!(busy.window.size(), before);
    (0..100).for_each(|_| busy.answer(Shown::TooMuch, TOOK));
    assert_eq!(busy.window.size(), 1);
}

#[test]
fn a_window_that_is_not_in_use_stays_as_it_is_and_a_pause_is_no_part_of_a_round() {
    let mut window = Window::new(64);
    let mut now = Duration::ZERO;
    for _ in 0..1000 {
        now += TOOK;
        window = window.after(Answer { shown: Shown::Fine, bytes: 1_000_000, sent: now - TOOK, at: now, others: 1 });
    }
    assert_eq!((window.size(), window.told().why), (4, Learned::Nothing), "two of four are in flight");
    // One at a time, with an hour before each tenth: the pauses say nothing of what comes through.
    let mut window = Window { now: 1, ..Window::new(2) };
    for number in 0..40 {
        now += if number % 10 == 0 { Duration::from_secs(3600) } else { Duration::ZERO };
        now += TOOK;
        window = window.after(Answer { shown: Shown::Fine, bytes: 1_000_000, sent: now - TOOK, at: now, others: 0 });
    }
    let Aim::Larger { rate, .. } = window.aim else { panic!("{window:?}") };
    assert!((9_000_000..11_000_000).contains(&rate), "{rate}");
}

#[test]
fn what_is_answered_without_a_request_ends_no_round() {
    let mut window = Window::new(8);
    let mut now = Duration::ZERO;
    let moment = Duration::from_micros(10);
    for _ in 0..200 {
        now += TOOK / 8;
        let others = window.size() - 1;
        window = window.after(Answer { shown: Shown::Fine, bytes: 1_000_000, sent: now.saturating_sub(TOOK), at: now, others });
        now += TOOK / 8;
        window = window.after(Answer { shown: Shown::Fine, bytes: 0, sent: now - moment, at: now, others });
    }
    assert_eq!(window.size(), 8, "it was in use, and a larger one is tried");
}

#[test]
fn another_limit_holds_at_once() {
    let mut busy = Busy::new(Window::new(8));
    busy.answers(200, up_to(100));
    let full = busy.window;
    assert_eq!(full.size(), 8);
    for (window, most, size) in
        [(full, 3, 3), (full, 20, 8), (full, 8, 8), (Window::new(8), 20, 4), (Window::new(2), 20, 4), (full, 0, 1)]
    {
        assert_eq!(window.with_most(most).size(), size, "{window:?} {most}");
    }
    busy.window = full.with_most(20);
    busy.answers(5000, up_to(100));
    assert!(busy.window.size() > 13, "it was at its most, and goes on growing");
}

#[test]
fn of_one_file_no_more_is_in_flight_than_may_be_sent_again_after_a_crash() {
    const MIB: u64 = 1024 * 1024;
    for (part, parts) in [(512 * 1024, 32), (5 * MIB, 3), (8 * MIB, 2), (16 * MIB, 1), (64 * MIB, 1), (u64::MAX, 1)] {
        assert_eq!(parts_in_flight(part), parts, "{part}");
    }
    assert!(parts_in_flight(0) >= 1);
}

proptest! {
    #[test]
    fn it_stays_between_one_and_the_most(
        most in 0usize..40,
        answers in prop::collection::vec((0usize..3, 0usize..40, 0u64..3_000, 0u64..u64::MAX), 0..400),
    ) {
        let shown = [Shown::Fine, Shown::TooMuch, Shown::Nothing];
        let mut at = Duration::ZERO;
        let window = answers.into_iter().fold(Window::new(most), |window, (which, others, pause, bytes)| {
            let sent = at;
            at += Duration::from_millis(pause);
            window.after(Answer { shown: shown[which], bytes, sent, at, others })
        });
        prop_assert!((1..=most.max(1)).contains(&window.size()));
    }
}
