//! What a person sees and does in `--watch`: the rows of the list, which of them is chosen, what is looked for, and what each key does.
//! Pure: keys and reports go in, what is to be done comes out.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::job::steer::Order;
use crate::job::{JobId, JobRow};

use super::super::super::render;
use super::super::groups::{Group, Section, groups};
use super::super::look::Report;
use super::super::page::Entries;
use super::super::text::{Line, Tone};
use super::super::words::Words;

/// Cells of a name in the list.
const NAME_CELLS: usize = 40;

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// To leave.
    Quit,
    /// To have this done with these jobs.
    Steer(Order, Vec<JobId>),
    /// To have this text in the clipboard.
    Copy(String),
}

/// What a key means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// A command.
    #[default]
    Browse,
    /// A letter of what is looked for.
    Find,
    /// Yes or no: whether these jobs are to be cancelled.
    Confirm(Vec<JobId>),
    /// The end of the list of keys.
    Help,
}

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    /// A section, which nobody can choose.
    Title,
    /// A file with several hosts.
    File(PathBuf, u64),
    /// A job.
    Job(JobId),
}

/// A row of the list.
#[derive(Debug, Clone)]
pub(super) struct Row {
    about: About,
    /// What stands in it.
    pub line: Line,
    /// What is said of it where there is more room.
    pub details: Vec<Line>,
    jobs: Vec<JobId>,
    links: Vec<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What was seen last.
    report: Option<Report>,
    /// What keeps anything newer from being seen.
    pub trouble: Option<String>,
    /// The list.
    pub rows: Vec<Row>,
    /// The row that is chosen.
    pub chosen: usize,
    /// The first row that is drawn.
    pub first: usize,
    /// How many rows are drawn at a time.
    pub page: usize,
    /// What is looked for.
    pub wanted: String,
    /// What the next key means.
    pub mode: Mode,
    /// What came of the last wish.
    pub notice: Option<String>,
}

impl Model {
    /// Something was seen.
    pub(super) fn see(&mut self, report: Report) {
        (self.report, self.trouble) = (Some(report), None);
        self.list();
    }

    /// What was seen last.
    pub(super) fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Nothing newer can be seen.
    pub(super) fn fail(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// A wish was carried out, or not.
    pub(super) fn notice(&mut self, said: &str) {
        self.notice = Some(said.split_whitespace().collect::<Vec<_>>().join(" "));
    }

    /// The row that is chosen.
    pub(super) fn choice(&self) -> Option<&Row> {
        self.rows.get(self.chosen).filter(|row| row.about != About::Title)
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Some(Wish::Quit),
                _ => None,
            };
        }
        self.notice = None;
        match std::mem::take(&mut self.mode) {
            Mode::Browse => return self.command(key.code),
            Mode::Help => {}
            Mode::Find => self.find(key.code),
            Mode::Confirm(jobs) => {
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    return Some(Wish::Steer(Order::Cancel, jobs));
                }
                self.notice("Nothing was cancelled.");
            }
        }
        None
    }

    fn command(&mut self, code: KeyCode) -> Option<Wish> {
        match code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Find,
            KeyCode::Esc => self.look_for(String::new()),
            KeyCode::Char('r') => return self.steer(Order::Retry),
            KeyCode::Char('p') => return self.steer(Order::Pause),
            KeyCode::Char('u') => return self.steer(Order::Resume),
            KeyCode::Char('x') => {
                if let Some(Wish::Steer(_, jobs)) = self.steer(Order::Cancel) {
                    self.mode = Mode::Confirm(jobs);
                }
            }
            KeyCode::Char('c') => return self.copy(),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-self.a_page()),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(self.a_page()),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            _ => {}
        }
        None
    }

    fn find(&mut self, code: KeyCode) {
        let mut wanted = self.wanted.clone();
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => return self.look_for(String::new()),
            KeyCode::Backspace if wanted.pop().is_none() => return,
            KeyCode::Char(letter) => wanted.push(letter),
            _ => {}
        }
        self.mode = Mode::Find;
        self.look_for(wanted);
    }

    fn look_for(&mut self, wanted: String) {
        self.wanted = wanted;
        self.list();
    }

    fn steer(&mut self, order: Order) -> Option<Wish> {
        match self.choice().map(|row| row.jobs.clone()) {
            Some(jobs) => Some(Wish::Steer(order, jobs)),
            None => {
                self.notice("No job is chosen.");
                None
            }
        }
    }

    fn copy(&mut self) -> Option<Wish> {
        let links = self.choice().map(|row| row.links.join("\n")).unwrap_or_default();
        if links.is_empty() {
            self.notice("It has no link yet. `ferryd link FILE` fetches one where the host gives none that last.");
            return None;
        }
        let said = format!("Copied, if this terminal lets programs do that: {links}");
        self.notice(&said);
        Some(Wish::Copy(links))
    }

    fn a_page(&self) -> isize {
        isize::try_from(self.page.max(2) - 1).unwrap_or(isize::MAX)
    }

    /// Chooses the row that is so far away, as far as there are rows.
    fn go(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        let there = self.chosen.saturating_add_signed(by).min(last);
        // A title is stepped over, back at the first row.
        let can_be_chosen = |index: &usize| self.rows.get(*index).is_some_and(|row| row.about != About::Title);
        let on = (there..=last).find(can_be_chosen);
        let back = (0..=there).rev().find(can_be_chosen);
        let found = if by < 0 { back.or(on) } else { on.or(back) };
        self.chosen = found.unwrap_or(0);
    }

    /// Makes the list anew. What was chosen stays so, wherever it is now.
    fn list(&mut self) {
        let chosen = self.choice().map(|row| row.about.clone());
        let Some(report) = &self.report else { return };
        self.rows = rows(report, &self.wanted.to_lowercase());
        if let Some(index) = chosen.and_then(|about| self.rows.iter().position(|row| row.about == about)) {
            self.chosen = index;
        }
        self.go(0);
    }
}

fn rows(report: &Report, wanted: &str) -> Vec<Row> {
    // Names are whole in the details.
    let entries = Entries::new(report, Some(NAME_CELLS * 2));
    let mut rows = Vec::new();
    let mut before = None;
    for group in groups(&report.snapshot.jobs, &report.snapshot.beside) {
        if !is_wanted(report, &group, wanted) {
            continue;
        }
        if before != Some(group.section) {
            rows.push(title(group.section));
        }
        before = Some(group.section);
        rows.extend(of_group(report, &entries, &group));
    }
    rows
}

/// Whether what is looked for stands anywhere in what is said of a file.
fn is_wanted(report: &Report, group: &Group<'_>, wanted: &str) -> bool {
    let words = Words(report);
    let stands_in = |job: &&JobRow| {
        let said = format!("{} {} {} {}", render::path(&job.path), job.host, job.state, words.told(job).text());
        said.to_lowercase().contains(wanted)
    };
    wanted.is_empty() || group.jobs.iter().any(stands_in)
}

fn title(section: Section) -> Row {
    let line = Line::of(Tone::Title, section.title());
    Row { about: About::Title, line, details: Vec::new(), jobs: Vec::new(), links: Vec::new() }
}

fn of_group<'a>(report: &Report, entries: &Entries<'_>, group: &Group<'a>) -> Vec<Row> {
    let words = Words(report);
    let link = |job: &&JobRow| job.link.as_deref().map(render::line);
    let of_job = |job: &&'a JobRow, line: Line| Row {
        about: About::Job(job.id),
        line,
        details: vec![file(job), told(words, job)],
        jobs: vec![job.id],
        links: link(job).into_iter().collect(),
    };
    let [first, _, ..] = group.jobs.as_slice() else {
        return group.jobs.iter().map(|job| of_job(job, entries.alone(job))).collect();
    };
    let mut lines = entries.of_file(group).into_iter();
    let whole = Row {
        about: About::File(first.path.clone(), first.bytes),
        line: lines.next().unwrap_or_default(),
        details: [file(first)].into_iter().chain(group.jobs.iter().map(|job| told(words, job))).collect(),
        jobs: group.jobs.iter().map(|job| job.id).collect(),
        links: group.jobs.iter().filter_map(link).collect(),
    };
    [whole].into_iter().chain(group.jobs.iter().zip(lines).map(|(job, line)| of_job(job, line))).collect()
}

fn file(job: &JobRow) -> Line {
    Line::hanging(0).with(Tone::Title, format!("{}  {}", render::path(&job.path), render::size(job.bytes)))
}

fn told(words: Words<'_>, job: &JobRow) -> Line {
    let mut line = Line::hanging(2).with(Tone::Plain, format!("{}: ", render::line(&job.host)));
    line.pieces.extend(words.told(job).pieces);
    line
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::{job, report};
    use super::*;
    use crate::job::State;

    fn at(id: i64, name: &str, host: &str, state: State) -> JobRow {
        JobRow { id: JobId(id), path: format!("/home/u/Drop/{name}").into(), host: host.into(), ..job(state, None) }
    }

    /// A held file, one with two hosts, and one that is done.
    fn model() -> Model {
        let mut model = Model { page: 4, ..Model::default() };
        model.see(report(vec![
            at(1, "held.mov", "box", State::Held),
            at(2, "film.mov", "box", State::Uploading),
            at(3, "film.mov", "mirror", State::Uploading),
            at(4, "done.mov", "box", State::Done),
        ]));
        model
    }

    fn press(model: &mut Model, keys: &str) -> Option<Wish> {
        keys.chars().filter_map(|key| model.key(KeyEvent::from(KeyCode::Char(key)))).last()
    }

    fn jobs(model: &Model) -> Vec<i64> {
        model.choice().map(|row| row.jobs.iter().map(|id| id.0).collect()).unwrap_or_default()
    }

    #[test]
    fn keys_walk_over_what_can_be_chosen_and_stop_at_the_ends() {
        let mut model = model();
        assert_eq!((model.rows.len(), jobs(&model)), (8, vec![1]), "the first job, not the title above it");
        let walk = [("k", vec![1]), ("j", vec![2, 3]), ("j", vec![2]), ("j", vec![3]), ("j", vec![4]), ("j", vec![4])];
        for (key, chosen) in walk {
            press(&mut model, key);
            assert_eq!(jobs(&model), chosen, "{key}");
        }
        for (code, chosen) in
            [(KeyCode::Home, vec![1]), (KeyCode::PageDown, vec![2]), (KeyCode::PageUp, vec![1]), (KeyCode::End, vec![4])]
        {
            model.key(code.into());
            assert_eq!(jobs(&model), chosen, "{code:?}");
        }
    }

    #[test]
    fn an_order_is_for_what_is_chosen_and_a_cancel_asks_first() {
        let mut model = model();
        assert_eq!(press(&mut model, "r"), Some(Wish::Steer(Order::Retry, vec![JobId(1)])));
        assert_eq!(press(&mut model, "jp"), Some(Wish::Steer(Order::Pause, vec![JobId(2), JobId(3)])));
        assert_eq!(press(&mut model, "ju"), Some(Wish::Steer(Order::Resume, vec![JobId(2)])));
        assert_eq!((press(&mut model, "x"), &model.mode), (None, &Mode::Confirm(vec![JobId(2)])));
        assert_eq!(press(&mut model, "n"), None);
        assert_eq!((&model.mode, model.notice.as_deref()), (&Mode::Browse, Some("Nothing was cancelled.")));
        assert_eq!(press(&mut model, "xy"), Some(Wish::Steer(Order::Cancel, vec![JobId(2)])));
        assert_eq!(press(&mut model, "q"), Some(Wish::Quit));
        assert_eq!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Wish::Quit));
    }

    #[test]
    fn a_link_is_copied_whole_and_what_has_none_says_so() {
        let mut model = model();
        assert_eq!(press(&mut model, "c"), None);
        assert!(model.notice.as_ref().unwrap().contains("no link"));
        assert_eq!(press(&mut model, "Gc"), Some(Wish::Copy("http://x?c=1".into())));
    }

    #[test]
    fn what_is_looked_for_narrows_the_list_letter_by_letter() {
        let mut model = model();
        press(&mut model, "/MIRROR");
        assert_eq!((model.rows.len(), jobs(&model)), (4, vec![2, 3]), "the whole file");
        model.key(KeyCode::Enter.into());
        assert_eq!((&model.mode, model.wanted.as_str()), (&Mode::Browse, "MIRROR"));
        press(&mut model, "/x");
        assert!(model.rows.is_empty() && model.choice().is_none());
        assert_eq!(press(&mut model, "y"), None, "a letter is no command while something is looked for");
        model.key(KeyCode::Esc.into());
        assert_eq!((model.rows.len(), &model.mode), (8, &Mode::Browse));
        assert_eq!(press(&mut Model::default(), "rxc"), None, "nothing is there before anything was seen");
    }

    #[test]
    fn what_is_chosen_stays_so_when_the_list_changes() {
        let mut model = model();
        press(&mut model, "G");
        model.see(report(vec![at(9, "new.mov", "box", State::Uploading), at(4, "done.mov", "box", State::Done)]));
        assert_eq!(jobs(&model), [4]);
        model.see(report(vec![at(9, "new.mov", "box", State::Uploading)]));
        assert_eq!(jobs(&model), [9], "or something near it, when it is no more");
        model.see(report(vec![]));
        assert!(model.choice().is_none());
        model.fail("the queue is damaged".into());
        assert!(model.trouble.is_some());
    }
}
