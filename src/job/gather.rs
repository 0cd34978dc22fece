//! Hooks that gather: what they keep, until when, what waits for it, and the sentence that tells of it.
//!
//! Pure and total.

use std::collections::BTreeSet;
use std::path::Path;

use super::Event;

/// When at the latest an event is told that a hook keeps for as long as this: earlier where an earlier event is told, with which it
/// goes. A clock that was wrong when it happened makes nobody wait for longer than that.
pub(crate) fn told_by(made_ms: i64, every_ms: i64, now_ms: i64) -> i64 {
    made_ms.min(now_ms).saturating_add(every_ms).max(now_ms)
}

/// Whether the job is done, and its after-action due, only once this has succeeded. A notification that is put off on purpose holds
/// up neither: who wants a file to be there for a hook has it called at once.
pub(crate) fn is_waited_for(event: Event, gathers: bool) -> bool {
    match event {
        Event::Done => !gathers,
        Event::After => true,
        Event::Failed | Event::Held | Event::Expiring | Event::Refresh => false,
    }
}

/// What has happened to these files, in a few words: `12 files are up, 1 needs you`. A file counts once for each event.
pub(crate) fn summary<'a>(events: impl Iterator<Item = (Event, &'a Path)>) -> String {
    let told: BTreeSet<(usize, &Path)> = events.filter_map(|(event, path)| Some((place(event)?, path))).collect();
    let mut clauses: Vec<String> = Vec::new();
    for (at, event) in Event::OF_HOOKS.into_iter().enumerate() {
        let files = told.iter().filter(|(of, _)| *of == at).count();
        let one = files == 1;
        let noun = match event {
            Event::Expiring if one => " link",
            Event::Expiring => " links",
            _ if !clauses.is_empty() => "",
            _ if one => " file",
            _ => " files",
        };
        let verb = match event {
            Event::Done if one => "is up",
            Event::Done => "are up",
            Event::Held if one => "needs you",
            Event::Held => "need you",
            Event::Expiring if one => "expires soon",
            Event::Expiring => "expire soon",
            _ => "failed",
        };
        if files > 0 {
            clauses.push(format!("{files}{noun} {verb}"));
        }
    }
    clauses.join(", ")
}

fn place(event: Event) -> Option<usize> {
    Event::OF_HOOKS.into_iter().position(|known| known == event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_when_its_time_is_over_and_no_wrong_clock_prolongs_it() {
        let (minute, day) = (60_000, 24 * 3_600_000);
        let cases = [
            ("just now", day, day + minute),
            ("half a minute ago", day - 30_000, day + 30_000),
            ("long ago", 0, day),
            ("tomorrow, by a clock that was wrong", 2 * day, day + minute),
            ("at no time", i64::MIN, day),
        ];
        for (what, made_ms, expected) in cases {
            assert_eq!(told_by(made_ms, minute, day), expected, "{what}");
        }
        assert_eq!(told_by(i64::MAX, i64::MAX, i64::MAX), i64::MAX);
    }

    #[test]
    fn a_job_waits_for_a_hook_that_is_called_at_once_and_for_none_that_gathers() {
        let cases = [
            (Event::Done, false, true),
            (Event::Done, true, false),
            (Event::After, false, true),
            (Event::After, true, true),
            (Event::Failed, false, false),
            (Event::Failed, true, false),
            (Event::Held, false, false),
            (Event::Held, true, false),
            (Event::Expiring, false, false),
            (Event::Expiring, true, false),
            (Event::Refresh, false, false),
            (Event::Refresh, true, false),
        ];
        for (event, gathers, expected) in cases {
            assert_eq!(is_waited_for(event, gathers), expected, "{event:?} {gathers}");
        }
    }

    #[test]
    fn a_summary_counts_files_and_says_what_has_become_of_them() {
        let said = |events: &[(Event, &str)]| summary(events.iter().map(|(event, path)| (*event, Path::new(*path))));
        let (done, failed, held, expiring) = (Event::Done, Event::Failed, Event::Held, Event::Expiring);
        let cases: [(&[(Event, &str)], &str); 9] = [
            (&[(done, "a")], "1 file is up"),
            (&[(done, "a"), (done, "b"), (held, "c")], "2 files are up, 1 needs you"),
            (&[(done, "a"), (done, "a"), (done, "b")], "2 files are up"),
            (&[(held, "a"), (held, "b"), (failed, "c")], "1 file failed, 2 need you"),
            (&[(failed, "a"), (failed, "b")], "2 files failed"),
            (&[(held, "a")], "1 file needs you"),
            (&[(expiring, "a"), (done, "a")], "1 file is up, 1 link expires soon"),
            (&[(expiring, "a"), (expiring, "b")], "2 links expire soon"),
            (&[], ""),
        ];
        for (events, expected) in cases {
            assert_eq!(said(events), expected);
        }
    }
}
