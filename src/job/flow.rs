//! How many requests a host is given at once: fewer when it shows that it has too many, more again as it answers. Pure.

/// Requests in flight at a host whose documents say nothing of that, unless the user wants another number.
pub(crate) const MOST_UNASKED: usize = 8;

/// What a request has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It was answered as it should be.
    Fine,
    /// The host has too much to do: 429, 503, or a connection that broke.
    TooMuch,
    /// Nothing of that.
    Nothing,
}

/// How many requests may be in flight: halved when the host has too much to do, and one more after as many good answers as there may
/// be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    most: usize,
    now: usize,
    /// Good answers since it changed.
    good: usize,
    /// Answers that are still to come to requests from before it was halved, which say nothing of what it is now.
    late: usize,
}

impl Window {
    /// As many as there may ever be.
    pub(crate) fn new(most: usize) -> Window {
        Window { most: most.max(1), now: most.max(1), good: 0, late: 0 }
    }

    /// The same where there may never be more than `most`. One that was as large as it may be is so again.
    #[must_use]
    pub(crate) fn with_most(self, most: usize) -> Window {
        let most = most.max(1);
        let now = if self.now == self.most { most } else { self.now.min(most) };
        Window { most, now, ..self }
    }

    /// How many requests may be in flight.
    pub(crate) fn size(&self) -> usize {
        self.now
    }

    /// The window after an answer, with so many other requests in flight.
    #[must_use]
    pub(crate) fn after(self, shown: Shown, others: usize) -> Window {
        if self.late > 0 {
            return Window { late: (self.late - 1).min(others), ..self };
        }
        match shown {
            Shown::Nothing => self,
            Shown::TooMuch => Window { now: (self.now / 2).max(1), good: 0, late: others, ..self },
            Shown::Fine if self.now >= self.most => Window { good: 0, ..self },
            Shown::Fine if self.good + 1 >= self.now => Window { now: self.now + 1, good: 0, ..self },
            Shown::Fine => Window { good: self.good + 1, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer, and how often it came.
    type Answers = (Shown, usize);

    /// The size after these answers, none of which has others beside it.
    fn size(most: usize, answers: &[Answers]) -> usize {
        let one = |window: Window, (shown, times): &(Shown, usize)| (0..*times).fold(window, |window, _| window.after(*shown, 0));
        answers.iter().fold(Window::new(most), one).size()
    }

    #[test]
    fn another_limit_holds_at_once_and_a_window_that_was_halved_grows_to_it_by_good_answers() {
        let halved = Window::new(8).after(Shown::TooMuch, 0);
        for (window, most, size) in
            [(Window::new(8), 3, 3), (Window::new(8), 20, 20), (halved, 20, 4), (halved, 3, 3), (Window::new(8), 0, 1)]
        {
            assert_eq!(window.with_most(most).size(), size, "{window:?} {most}");
        }
    }

    #[test]
    fn too_much_halves_and_good_answers_grow_it_again() {
        use Shown::{Fine, Nothing, TooMuch};
        let cases: [(usize, &[Answers], usize); 11] = [
            (8, &[], 8),
            (8, &[(Fine, 100)], 8),
            (8, &[(Nothing, 100)], 8),
            (8, &[(TooMuch, 1)], 4),
            (8, &[(TooMuch, 2)], 2),
            (8, &[(TooMuch, 9)], 1),
            (1, &[(TooMuch, 9)], 1),
            (0, &[(TooMuch, 1)], 1),
            (8, &[(TooMuch, 1), (Fine, 3)], 4),
            (8, &[(TooMuch, 1), (Fine, 4)], 5),
            (8, &[(TooMuch, 1), (Fine, 4 + 5 + 6 + 7)], 8),
        ];
        for (most, answers, expected) in cases {
            assert_eq!(size(most, answers), expected, "{most} {answers:?}");
        }
    }

    #[test]
    fn requests_that_were_in_flight_together_halve_it_once() {
        let mut window = Window::new(8);
        for others in (0..8).rev() {
            window = window.after(Shown::TooMuch, others);
        }
        assert_eq!(window.size(), 4);
        assert_eq!(window.after(Shown::TooMuch, 3).size(), 2, "the next ones say something new");
    }

    proptest! {
        #[test]
        fn it_stays_between_one_and_the_most(most in 0usize..40, answers in prop::collection::vec((0usize..3, 0usize..40), 0..200)) {
            let shown = [Shown::Fine, Shown::TooMuch, Shown::Nothing];
            let window = answers.into_iter().fold(Window::new(most), |window, (at, others)| window.after(shown[at], others));
            prop_assert!((1..=most.max(1)).contains(&window.size()));
        }
    }
}
