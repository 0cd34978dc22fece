//! What a person reads: the head, then what needs a person, what moves, what waits, and the newest of what is finished. On a terminal it
//! is cut to what fits below each other, the head last; in a pipe it is whole.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr;

use crate::job::{JobRow, State};

use super::super::render;
use super::groups::{Bundle, Group, Section, bundles, groups};
use super::look::Report;
use super::text::{Line, Tone, shortened};
use super::words::Words;

/// Names that stand for all files with the same reason.
const NAMES_SHOWN: usize = 4;
/// What says where the rest is.
const ALL_OF_IT: &str = "All: `ferryd status --watch`, or `ferryd status | less`";

/// A terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Cells of a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

/// The lines of a page for a terminal of this size; without one, whole lines, and all of them.
pub(super) fn page(report: &Report, size: Option<Size>) -> Vec<Line> {
    let (words, wide) = (Words(report), size.map(|size| size.columns));
    let parts = parts(report, wide);
    let head = wrapped(words.head(), wide);
    let Some(Size { columns, rows }) = size else {
        return whole(head, parts);
    };
    // The prompt has a row.
    let room = rows.saturating_sub(1);
    let head = cut_head(head, columns, (room / 2).max(3));
    let rows_of = |lines: &[Line]| lines.iter().map(|line| line.rows(columns)).sum::<usize>();
    let page = whole(head.clone(), parts.clone());
    if rows_of(&page) <= room {
        return page;
    }
    let below = room.saturating_sub(rows_of(&head));
    [head, cut(parts, columns, below)].concat()
}

/// What is below a title.
#[derive(Debug, Clone)]
struct Part {
    title: Line,
    entries: Vec<Entry>,
    /// Jobs that belong here and were not read.
    beyond: u64,
}

/// What is shown of one file, or of several with one reason.
#[derive(Debug, Clone)]
struct Entry {
    lines: Vec<Line>,
    jobs: u64,
}

fn wrapped(lines: Vec<Line>, wide: Option<usize>) -> Vec<Line> {
    match wide {
        Some(columns) => lines.into_iter().flat_map(|line| line.wrap(columns)).collect(),
        None => lines,
    }
}

fn parts(report: &Report, wide: Option<usize>) -> Vec<Part> {
    let snapshot = &report.snapshot;
    let bundles = bundles(groups(&snapshot.jobs, &snapshot.beside));
    let mut shown: BTreeMap<State, u64> = BTreeMap::new();
    let jobs = bundles.iter().flat_map(|bundle| &bundle.groups).flat_map(|group| &group.jobs);
    jobs.for_each(|job| *shown.entry(job.state).or_default() += 1);
    let beyond = |section: Section| -> u64 {
        let of_section = snapshot.totals.iter().filter(|(state, _)| Section::of(*state) == section && !report.is_filtered);
        of_section.map(|(state, jobs)| jobs.saturating_sub(shown.get(state).copied().unwrap_or(0))).sum()
    };
    let entries = Entries::new(report, wide);
    let part = |section: Section| Part {
        title: Line::of(Tone::Title, section.title()),
        entries: bundles.iter().filter(|bundle| bundle.groups[0].section == section).map(|bundle| entries.of(bundle)).collect(),
        beyond: beyond(section),
    };
    let parts = Section::ALL.map(part).into_iter();
    parts.filter(|part| !part.entries.is_empty() || part.beyond > 0).collect()
}

fn more(jobs: u64) -> Line {
    let noun = if jobs == 1 { "job" } else { "jobs" };
    Line::of(Tone::Faint, format!("  and {} more {noun}", render::thousands(jobs)))
}

fn whole(head: Vec<Line>, parts: Vec<Part>) -> Vec<Line> {
    let mut lines = head;
    for Part { title, entries, beyond } in parts {
        lines.extend([Line::default(), title]);
        lines.extend(entries.into_iter().flat_map(|entry| entry.lines));
        if beyond > 0 {
            lines.push(Line {
                pieces: [more(beyond).pieces, vec![(Tone::Faint, "; `--limit` shows more of them".into())]].concat(),
                hang: 2,
            });
        }
    }
    lines
}

/// The first rows of the head, and how many more there are.
fn cut_head(head: Vec<Line>, columns: usize, room: usize) -> Vec<Line> {
    let mut used = 0;
    let fits = head.iter().take_while(|line| {
        used += line.rows(columns);
        used <= room
    });
    let fits = fits.count();
    if fits == head.len() {
        return head;
    }
    let kept = fits.saturating_sub(1);
    let left = head.len() - kept;
    let more = Line::of(Tone::Faint, format!("and {left} more lines"));
    head.into_iter().take(kept).chain([more]).collect()
}

/// As much of each part as fits. Each is sure of its title, then of its first entry, and the rest of the room goes to the first parts.
fn cut(parts: Vec<Part>, columns: usize, room: usize) -> Vec<Line> {
    let rows_of = |entry: &Entry| entry.lines.iter().map(|line| line.rows(columns)).sum::<usize>();
    let all = |part: &Part| 1 + usize::from(part.beyond > 0) + part.entries.iter().map(rows_of).sum::<usize>();
    let first = |part: &Part| all(part).min(2 + part.entries.first().map_or(0, rows_of));
    let title = |part: &Part| all(part).min(2);
    let end = Line::of(Tone::Faint, ALL_OF_IT).wrap(columns);
    let end = if end.len() * 2 > room { Vec::new() } else { end };
    let mut room = room.saturating_sub(end.len());
    let mut given = vec![0; parts.len()];
    for wanted in [&title as &dyn Fn(&Part) -> usize, &first, &all] {
        for (part, given) in parts.iter().zip(&mut given) {
            let rows = wanted(part).saturating_sub(*given).min(room);
            *given += rows;
            room -= rows;
        }
    }
    let mut lines = Vec::new();
    for (Part { title, entries, beyond }, given) in parts.into_iter().zip(given) {
        if given < 2 {
            continue;
        }
        let all: usize = entries.iter().map(rows_of).sum();
        let (mut left, mut hidden) = (given - 1, beyond);
        // What is cut is counted in a row of its own.
        left -= usize::from(beyond > 0 || all > left);
        lines.push(title);
        let mut is_full = false;
        for entry in entries {
            is_full |= rows_of(&entry) > left;
            if is_full {
                hidden += entry.jobs;
            } else {
                left -= rows_of(&entry);
                lines.extend(entry.lines);
            }
        }
        lines.extend((hidden > 0).then(|| more(hidden)));
    }
    lines.extend(end);
    lines
}

/// Draws entries.
pub(super) struct Entries<'a> {
    words: Words<'a>,
    wide: Option<usize>,
    id_cells: usize,
}

impl<'a> Entries<'a> {
    /// Entries of what is in a report.
    pub(super) fn new(report: &'a Report, wide: Option<usize>) -> Entries<'a> {
        let jobs = report.snapshot.jobs.iter().chain(&report.snapshot.beside);
        let id_cells = jobs.map(|job| job.id.to_string().len()).max().unwrap_or(0).max(3);
        Entries { words: Words(report), wide, id_cells }
    }

    fn of(&self, bundle: &Bundle<'_>) -> Entry {
        let jobs = bundle.groups.iter().map(|group| group.jobs.len() as u64).sum();
        let lines = match bundle.groups.as_slice() {
            [group] if group.jobs.len() == 1 => vec![self.alone(group.jobs[0])],
            [group] => self.of_file(group),
            groups => self.of_files(groups),
        };
        Entry { lines: wrapped(lines, self.wide), jobs }
    }

    /// A line that begins with the number of a job, or with room for one.
    fn beginning(&self, id: Option<&JobRow>) -> Line {
        let id = id.map(|job| job.id.to_string()).unwrap_or_default();
        let cells = self.id_cells;
        Line::hanging(cells + 4).with(Tone::Faint, format!("  {id:>cells$}  "))
    }

    fn name(&self, job: &JobRow) -> String {
        let name = self.words.short(&job.path);
        self.wide.map_or(name.clone(), |columns| shortened(&name, (columns / 2).max(12)))
    }

    /// The only job of a file.
    pub(super) fn alone(&self, job: &JobRow) -> Line {
        let line = self.beginning(Some(job));
        let line =
            line.with(Tone::Plain, format!("{}  {}  {}  ", self.name(job), render::size(job.bytes), render::line(&job.host)));
        with(line, self.words.told(job))
    }

    /// A file, and its jobs below it.
    pub(super) fn of_file(&self, group: &Group<'_>) -> Vec<Line> {
        let first = group.jobs[0];
        let title = self.beginning(None).with(Tone::Plain, format!("{}  {}", self.name(first), render::size(first.bytes)));
        let cells = group.jobs.iter().map(|job| job.host.width()).max().unwrap_or(0);
        let line = |job: &&JobRow| {
            let host = render::padded(&render::line(&job.host), cells);
            with(self.beginning(Some(job)).with(Tone::Plain, format!("  {host}  ")), self.words.told(job))
        };
        [title].into_iter().chain(group.jobs.iter().map(line)).collect()
    }

    /// Their names, and what is said of all of them once.
    fn of_files(&self, groups: &[Group<'_>]) -> Vec<Line> {
        let mut names: Vec<String> = groups.iter().take(NAMES_SHOWN).map(|group| self.name(group.jobs[0])).collect();
        if groups.len() > NAMES_SHOWN {
            names.push(format!("and {} more files", render::thousands((groups.len() - NAMES_SHOWN) as u64)));
        }
        let bytes = groups.iter().map(|group| group.jobs[0].bytes).sum();
        let title = self.beginning(None).with(Tone::Plain, format!("{}  {}", names.join(", "), render::size(bytes)));
        let pending = groups[0].jobs.iter().filter(|job| Section::of(job.state) != Section::Finished);
        let line = |job: &&JobRow| {
            let alike =
                groups.iter().flat_map(|group| &group.jobs).filter(|other| (&other.host, other.state) == (&job.host, job.state));
            let line = self.beginning(None).with(Tone::Plain, format!("  {}  ", render::line(&job.host)));
            with(line, self.words.told_of_several(job, alike.copied()))
        };
        [title].into_iter().chain(pending.map(line)).collect()
    }
}

fn with(mut line: Line, more: Line) -> Line {
    line.pieces.extend(more.pieces);
    line
}

#[cfg(test)]
mod tests {
    use super::super::look::Daemon;
    use super::super::samples::{daemon, job, note, report};
    use super::*;
    use crate::job::health::HostState;
    use crate::job::{HostReport, JobId, JobRow, Reason, ReasonClass};
    use crate::os::lock::{LastEnd, LockNote};

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| line.text() + "\n").collect()
    }

    fn piped(report: &Report) -> String {
        text(&page(report, None))
    }

    fn on(report: &Report, columns: usize, rows: usize) -> Vec<String> {
        page(report, Some(Size { columns, rows })).iter().map(Line::text).collect()
    }

    fn at(id: i64, name: &str, host: &str, state: State, why: Option<&str>) -> JobRow {
        JobRow { id: JobId(id), path: format!("/home/u/Drop/{name}").into(), host: host.into(), ..job(state, why) }
    }

    #[test]
    fn a_page_says_why_since_when_and_what_next() {
        let jobs = vec![
            at(3, "refused.mov", "box", State::Held, Some("the host answered 404")),
            at(8, "a\n.mov", "box", State::Uploading, None),
            JobRow { next_try_ms: Some(72_000), ..at(2, "later.mov", "box", State::Waiting, Some("the host answered 502")) },
            at(5, "queued.mov", "box", State::Queued, None),
            JobRow { stored_name: Some("b\n.mov".into()), ..at(4, "c.mov", "box", State::Done, None) },
        ];
        let page = piped(&report(jobs));
        for expected in [
            "Daemon running for 1 min (PID 7).\nJobs: 1 queued, 1 uploading, 1 waiting, 1 held, 1 done; 30 B left at 10 B/s, about 6 s.\n",
            "    8  a\\n.mov  100 B  box  #######...  70 %  10 B/s, about 3 s left",
            "    2  later.mov  100 B  box  waiting at 70 % for 1 min: the host answered 502; retrying in 12 s",
            "    3  refused.mov  100 B  box  held at 70 % for 1 min: the host answered 404",
            "    4  c.mov  100 B  box  00:00  http://x?c=1 (stored as `b\\n.mov`)",
            "in the queue at 70 % for 1 min: waiting for one of the 4 uploads to `box` that may be under way; 3 jobs for `box` are before it",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in\n{page}");
        }
        let titles = ["Needs your attention", "Uploading", "Waiting", "Finished"].map(|title| page.find(title).unwrap());
        assert!(titles.is_sorted() && !page.contains('\x1b'), "{page}");
    }

    #[test]
    fn after_the_clock_was_set_back_nothing_has_lasted_since_a_time_to_come() {
        let jobs = [State::Queued, State::Waiting, State::Held, State::Failed, State::Gone];
        let jobs = jobs.map(|state| JobRow { since_ms: 9_000_000, ..job(state, Some("no reply")) });
        let unexplained = JobRow { since_ms: 9_000_000, ..job(State::Queued, None) };
        let report = Report { daemon: daemon(note(7, 9_000_000)), ..report(jobs.into_iter().chain([unexplained]).collect()) };
        let page = piped(&report);
        assert!(page.contains("Daemon running (PID 7)."), "{page}");
        assert!(
            !page.contains("2 h") && !page.contains(" ago") && page.contains("in the queue at 70 %: waiting for one"),
            "{page}"
        );
    }

    #[test]
    fn a_count_of_one_is_singular() {
        let mut report = report(vec![]);
        let mut page = |settling| {
            report.snapshot.watches[0].report.settling = settling;
            piped(&report)
        };
        assert!(page(1).contains("Drop: 1 file is still being written or only just finished."));
        assert!(page(2).contains("Drop: 2 files are still being written or only just finished."));
    }

    #[test]
    fn a_dead_daemon_a_troubled_one_and_one_that_hangs_say_so() {
        let shown = report(vec![job(State::Queued, None)]);
        let page = |daemon: &Daemon| piped(&Report { daemon: daemon.clone(), ..shown.clone() });
        let dead = page(&Daemon::default());
        assert!(dead.starts_with("Daemon not running; start it with `ferryd run`."), "{dead}");
        assert!(dead.contains("waiting at 70 % for the daemon to start"), "{dead}");
        let end = |at_ms, why: &str| Daemon { last_end: Some(LastEnd { at_ms, why: why.into() }), ..Daemon::default() };
        assert!(
            page(&end(Some(0), "the queue is damaged")).contains("not running (it ended 1 min ago: the queue is damaged); start")
        );
        assert!(page(&end(None, "it was killed")).contains("not running (it ended: it was killed); start"));
        let full = LockNote { trouble: Some("no space left for the queue".into()), ..note(7, 0) };
        assert!(page(&daemon(full)).contains("Daemon cannot continue (PID 7): no space left"));
        let hung = Daemon { answers: Some(false), ..daemon(LockNote { beat_ms: Some(30_000), ..note(7, 0) }) };
        assert!(page(&hung).contains("Daemon does not answer (PID 7)") && page(&hung).contains("; it did 30 s ago."));
        let refused = LockNote { reload_refused: Some("line 1: no".into()), ..note(7, 0) };
        assert!(page(&daemon(refused)).contains("the old one stays in effect: line 1: no."));
    }

    #[test]
    fn one_file_with_several_hosts_is_one_group_and_a_reason_of_several_files_is_told_once() {
        let mut jobs = vec![
            at(1, "film.mov", "box", State::Held, Some("wrong password")),
            at(2, "film.mov", "mirror", State::Uploading, None),
        ];
        jobs.extend((10..22).map(|id| at(id, &format!("{id}.jpg"), "box", State::Waiting, Some("no reply"))));
        let mut report = report(jobs);
        report.snapshot.beside = vec![at(3, "film.mov", "third", State::Done, None)];
        let page = piped(&report);
        let group = "         film.mov  100 B\n    1    box     held at 70 % for 1 min: wrong password\n    2    mirror  #######...  70 %  10 B/s\n    \
                     3    third   00:00  http://x?c=1\n";
        assert!(page.contains(&group.replacen("         film", "       film", 1)), "{page}");
        let bundle = "       10.jpg, 11.jpg, 12.jpg, 13.jpg, and 8 more files  1.2 KiB\n         box  waiting for 1 min: no reply";
        assert!(page.contains(bundle) && page.matches("no reply").count() == 1, "{page}");
        assert!(!page.contains("\nUploading\n"), "its worst job says where a file is: {page}");
    }

    #[test]
    fn what_its_host_keeps_from_moving_points_to_the_head() {
        let mut report = report(vec![JobRow { next_try_ms: Some(84_000), ..job(State::Waiting, None) }]);
        let why = Reason::new(ReasonClass::HostResting).detail("no reply at all");
        let host = HostReport { state: HostState::Resting, until_ms: Some(84_000), why: Some(why.clone()), rests: 1 };
        report.snapshot.hosts[0].report = host;
        report.snapshot.jobs[0].why = Some(why);
        let page = piped(&report);
        assert!(page.contains("Host box paused: ") && page.matches("no reply at all").count() == 1, "{page}");
        assert!(page.contains("waiting at 70 % for 1 min: the host is paused; retrying in 24 s"), "{page}");
    }

    /// A long queue of everything.
    fn crowd() -> Report {
        let long = "https://files.example.com/download/".to_owned() + &"x".repeat(100);
        let state = |id: i64| match id {
            0..10 => State::Held,
            10..26 => State::Uploading,
            26..50 => State::Waiting,
            _ => State::Done,
        };
        let one = |id: i64| {
            let why = format!("the host answered {id}00 at some length, so that this takes more than a row of a narrow terminal");
            let row = at(id, &format!("a file with a long name {id}.mov"), "box", state(id), (id < 50).then_some(why.as_str()));
            JobRow { link: row.link.as_ref().map(|_| format!("{long}{id}")), ..row }
        };
        report((0..100).map(one).collect())
    }

    #[test]
    fn it_fits_every_terminal_with_its_head_and_breaks_no_link() {
        let report = crowd();
        for (columns, rows) in [(60, 20), (80, 24), (80, 12), (200, 50), (40, 10), (21, 5)] {
            let lines = on(&report, columns, rows);
            let used: usize = lines.iter().map(|line| line.width().div_ceil(columns).max(1)).sum();
            assert!(used < rows, "{columns}x{rows}: {used} rows\n{}", lines.join("\n"));
            assert!(lines[0].starts_with("Daemon"), "{columns}x{rows}");
            for line in &lines {
                assert!(!line.contains("https://") || line.contains(&"x".repeat(100)), "a link is whole: {line}");
                assert!(line.width() <= columns || line.contains("https://"), "{columns}x{rows}: {line}");
            }
        }
        let lines = on(&report, 80, 24).join("\n");
        for title in
            ["Needs your attention\n", "\nUploading\n", "\nWaiting\n", "\nFinished\n", "more jobs", "ferryd status --watch"]
        {
            assert!(lines.contains(title), "{title:?} is not in\n{lines}");
        }
        let whole = piped(&report);
        assert!(whole.lines().count() > 100 && !whole.contains("more jobs"), "{whole}");
    }

    #[test]
    fn what_was_not_read_is_counted_unless_it_was_not_asked_for() {
        let mut report = report(vec![at(1, "a", "box", State::Queued, None)]);
        report.snapshot.totals = State::ALL.map(|state| (state, u64::from(state == State::Queued) * 1_500)).to_vec();
        assert!(piped(&report).contains("  and 1,499 more jobs; `--limit` shows more of them\n"), "{}", piped(&report));
        let asked = Report { is_filtered: true, ..report };
        assert!(!piped(&asked).contains("more"));
    }

    #[test]
    fn a_page_that_fits_is_not_cut() {
        let report = report(vec![at(1, "a", "box", State::Done, None), at(2, "b", "box", State::Uploading, None)]);
        let lines = on(&report, 80, 24);
        assert_eq!(lines.join("\n"), piped(&report).trim_end());
        assert!(on(&report, 80, 8).last().unwrap().contains("--watch"));
    }
}
