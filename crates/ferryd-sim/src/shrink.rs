//! From a schedule that breaks a promise to the shortest one that still breaks it.

use crate::run::{Detail, Report, run};
use crate::schedule::{Event, Schedule};

/// Leaves out of the schedule whatever is not needed for it to break the same promise; nothing for one that breaks none.
pub fn shrink(schedule: &Schedule) -> Option<(Schedule, Report)> {
    let mut report = run(schedule, Detail::Story);
    let promise = report.violations.first()?.promise;
    let mut shortest = schedule.clone();
    let mut chunk = shortest.events.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < shortest.events.len() {
            let candidate = without(&shortest, at, chunk);
            let outcome = run(&candidate, Detail::Story);
            if outcome.violations.first().is_some_and(|violation| violation.promise == promise) {
                (shortest, report) = (candidate, outcome);
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    Some((shortest, report))
}

fn without(schedule: &Schedule, at: usize, count: usize) -> Schedule {
    let is_kept = |(index, _): &(usize, &Event)| !(at..at + count).contains(index);
    let events = schedule.events.iter().enumerate().filter(is_kept).map(|(_, event)| event.clone()).collect();
    Schedule { events, ..schedule.clone() }
}
