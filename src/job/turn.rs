//! Whom a queued job waits for when its host takes files: what a person asks who sees it stand there.

use std::fmt;

/// More jobs than these are not counted.
pub(crate) const BEFORE_MAX: u64 = 1_000;

/// What there is of uploads, as far as it matters to one queued job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Uploads under way to its host.
    pub to_host: u64,
    /// Uploads under way, to whichever host.
    pub to_all: u64,
    /// Queued jobs for its host that are claimed before it, at most [`BEFORE_MAX`].
    pub before: u64,
    /// How many uploads to its host may be under way, where that is known.
    pub host_places: Option<u64>,
    /// How many may be under way in all, where that is known.
    pub all_places: Option<u64>,
}

/// Whom it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Every place for an upload to its host is taken.
    HostTaken(u64),
    /// Every place for an upload is taken.
    AllTaken(u64),
    /// There are places, and the host is not given more files just now than it deals with.
    Behind,
    /// Nobody.
    Next,
}

/// Whom a queued job waits for.
pub(crate) fn turn(line: &Line) -> Turn {
    let full = |taken: u64, places: Option<u64>| places.is_some_and(|places| taken >= places);
    // Of the two the narrower one is told: more places in all would not help.
    let host_is_narrower = line.host_places < line.all_places || line.all_places.is_none();
    match line {
        Line { to_host, host_places, .. } if full(*to_host, *host_places) && host_is_narrower => Turn::HostTaken(*to_host),
        Line { to_all, all_places, .. } if full(*to_all, *all_places) => Turn::AllTaken(*to_all),
        Line { before: 0, .. } => Turn::Next,
        _ => Turn::Behind,
    }
}

/// The same in words, for a job of this host.
pub(crate) struct Told<'a> {
    pub line: &'a Line,
    pub host: &'a str,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { line, host } = self;
        let before = match line.before {
            0 => "it is next".to_owned(),
            1 => format!("1 job for `{host}` is before it"),
            BEFORE_MAX.. => format!("at least {BEFORE_MAX} jobs for `{host}` are before it"),
            jobs => format!("{jobs} jobs for `{host}` are before it"),
        };
        match turn(line) {
            Turn::HostTaken(1) => write!(f, "waiting for the one upload to `{host}` that may be under way; {before}"),
            Turn::HostTaken(places) => {
                write!(f, "waiting for one of the {places} uploads to `{host}` that may be under way; {before}")
            }
            Turn::AllTaken(1) => write!(f, "waiting for the one upload that may be under way; {before}"),
            Turn::AllTaken(places) => write!(f, "waiting for one of the {places} uploads that may be under way; {before}"),
            Turn::Behind | Turn::Next => f.write_str(&before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_job_waits_for_places_or_for_those_before_it_or_for_nobody() {
        let line = |to_host, to_all, before, host_places, all_places| Line { to_host, to_all, before, host_places, all_places };
        let cases = [
            (line(0, 0, 0, None, None), Turn::Next, "it is next"),
            (line(3, 9, 0, None, None), Turn::Next, "it is next"),
            (line(0, 0, 1, Some(4), Some(16)), Turn::Behind, "1 job for `box` is before it"),
            (line(0, 0, BEFORE_MAX, None, None), Turn::Behind, "at least 1000 jobs for `box` are before it"),
            (line(3, 15, 7, Some(4), Some(16)), Turn::Behind, "7 jobs for `box` are before it"),
            (
                line(1, 1, 0, Some(1), Some(16)),
                Turn::HostTaken(1),
                "waiting for the one upload to `box` that may be under way; it is next",
            ),
            (
                line(4, 16, 2, Some(4), Some(16)),
                Turn::HostTaken(4),
                "waiting for one of the 4 uploads to `box` that may be under way; 2 jobs for `box` are before it",
            ),
            (
                line(0, 16, 0, Some(4), Some(16)),
                Turn::AllTaken(16),
                "waiting for one of the 16 uploads that may be under way; it is next",
            ),
            (line(1, 1, 0, Some(1), Some(1)), Turn::AllTaken(1), "waiting for the one upload that may be under way; it is next"),
            (
                line(16, 16, 0, Some(16), Some(16)),
                Turn::AllTaken(16),
                "waiting for one of the 16 uploads that may be under way; it is next",
            ),
            (
                line(5, 5, 0, Some(4), None),
                Turn::HostTaken(5),
                "waiting for one of the 5 uploads to `box` that may be under way; it is next",
            ),
            (line(5, 5, 0, None, Some(4)), Turn::AllTaken(5), "waiting for one of the 5 uploads that may be under way; it is next"),
        ];
        for (line, expected, told) in cases {
            assert_eq!((turn(&line), Told { line: &line, host: "box" }.to_string().as_str()), (expected, told), "{line:?}");
        }
    }
}
