//! From a schedule that breaks a promise to the shortest one that still breaks it.

use crate::run::{Detail, Report, run};
use crate::schedule::{Event, Schedule};

/// Leaves out of the schedule whatever is not needed for it to break the same promise; nothing for one that breaks none.
pub fn shrink(schedule: &Schedule) -> Option<(Schedule, Report)> {
    let promise = run(schedule, Detail::Story).violations.first()?.promise;
    shrink_while(schedule, |report| report.violations.first().is_some_and(|violation| violation.promise == promise))
}

/// Leaves out of the schedule whatever is not needed for `still` to hold of what is told of it; nothing for one of which it does not
/// hold.
pub fn shrink_while(schedule: &Schedule, still: impl Fn(&Report) -> bool) -> Option<(Schedule, Report)> {
    let mut report = Some(run(schedule, Detail::Story)).filter(&still)?;
    let mut shortest = schedule.clone();
    let mut chunk = shortest.events.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < shortest.events.len() {
            let candidate = without(&shortest, at, chunk);
            let outcome = run(&candidate, Detail::Story);
            if still(&outcome) {
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
