//! Draws the model of `--watch`, on a terminal of any size.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{self, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::super::text::{Line, Tone};
use super::super::words::Words;
use super::model::{Mode, Model};

const KEYS: &str = "q quit  / find  r retry  p pause  u resume  x cancel  c copy  ? keys";
const HELP: [&str; 12] = [
    "Up Down j k       choose a file or a job",
    "PgUp PgDn g G     a page, the first, the last",
    "/                 find: part of a name, a host, a state or a reason;",
    "                  Enter keeps the list, Esc shows all again",
    "r                 retry it now",
    "p  u              pause it, resume it",
    "x                 cancel it; asks first",
    "c                 copy its link (OSC 52)",
    "q  Ctrl-C         leave; the daemon goes on",
    "",
    "On the line of a file, a key is for all of its hosts.",
    "Any key goes back.",
];

/// Draws everything, and has the chosen row in view.
pub(super) fn draw(model: &mut Model, colored: bool, frame: &mut Frame<'_>) {
    let area = frame.area();
    let (wide, rows) = (usize::from(area.width), usize::from(area.height));
    let foot = foot(model, wide);
    let head = cut(head(model, wide), (rows / 3).max(1));
    let details = cut(details(model, wide), rows / 3);
    let mut top = 0;
    let mut put = |lines: &[Line], rows: usize, frame: &mut Frame<'_>| {
        let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(area.height.saturating_sub(top));
        let lines: Vec<text::Line<'_>> = lines.iter().map(|line| styled(line, colored)).collect();
        let there = Rect { y: area.y + top, height: rows, ..area };
        frame.render_widget(Paragraph::new(lines), there);
        top += rows;
        there
    };
    put(&head, head.len(), frame);
    let rule = vec![Line::of(Tone::Faint, "-".repeat(wide))];
    let below = foot.len() + if details.is_empty() { 0 } else { details.len() + 1 };
    model.page = rows.saturating_sub(head.len() + below);
    scroll(model);
    let shown: Vec<Line> = model.rows.iter().skip(model.first).take(model.page).map(|row| one_row(&row.line, wide)).collect();
    let shown = if model.rows.is_empty() { nothing(model) } else { shown };
    let list = put(&shown, model.page, frame);
    if let Some(row) = model.choice().map(|_| model.chosen.saturating_sub(model.first)).and_then(|row| u16::try_from(row).ok())
        && row < list.height
    {
        let there = Rect { y: list.y + row, height: 1, ..list };
        frame.buffer_mut().set_style(there, Style::new().add_modifier(Modifier::REVERSED));
    }
    if !details.is_empty() {
        put(&rule, 1, frame);
        put(&details, details.len(), frame);
    }
    put(&foot, foot.len(), frame);
    if model.mode == Mode::Help {
        let lines = HELP.map(|line| Line::of(Tone::Plain, line));
        let lines: Vec<text::Line<'_>> = lines.iter().map(|line| styled(line, colored)).collect();
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(lines), area);
    }
}

/// Moves what is drawn as little as has the chosen row in it, and the title above the first.
fn scroll(model: &mut Model) {
    let last_first = model.rows.len().saturating_sub(model.page);
    let lowest = (model.chosen + 1).saturating_sub(model.page.max(1));
    let highest = if model.chosen == 1 { 0 } else { model.chosen };
    model.first = model.first.min(highest).max(lowest).min(last_first);
}

fn head(model: &Model, wide: usize) -> Vec<Line> {
    let mut lines = match model.report() {
        Some(report) => Words(report).head(),
        None => vec![Line::of(Tone::Plain, "Looking ...")],
    };
    if let Some(why) = &model.trouble {
        lines.insert(0, Line::of(Tone::Trouble, format!("Cannot look: {why}.")));
    }
    lines.into_iter().flat_map(|line| line.wrap(wide)).collect()
}

fn details(model: &Model, wide: usize) -> Vec<Line> {
    let lines = model.choice().map(|row| row.details.clone()).unwrap_or_default();
    lines.into_iter().flat_map(|line| line.wrap(wide)).flat_map(|line| broken(line, wide)).collect()
}

/// What the last row says: what is asked, what came of it, or what can be done.
fn foot(model: &Model, wide: usize) -> Vec<Line> {
    let line = match (&model.mode, &model.notice) {
        (Mode::Find, _) => Line::of(Tone::Title, format!("Find: {}_", model.wanted)),
        (Mode::Confirm(jobs), _) => {
            let what = if jobs.len() == 1 { "this upload".to_owned() } else { format!("these {} uploads", jobs.len()) };
            Line::of(Tone::Trouble, format!("Cancel {what}? The file stays. y: yes, any other key: no"))
        }
        (_, Some(notice)) => Line::of(Tone::Title, notice),
        _ if !model.wanted.is_empty() => Line::of(Tone::Faint, format!("Only what has `{}`; Esc shows all.  {KEYS}", model.wanted)),
        _ => Line::of(Tone::Faint, KEYS),
    };
    cut(line.wrap(wide).into_iter().flat_map(|line| broken(line, wide)).collect(), 3)
}

fn nothing(model: &Model) -> Vec<Line> {
    let text = match (model.report(), model.wanted.is_empty()) {
        (None, _) => "",
        (Some(_), true) => "No jobs.",
        (Some(_), false) => "Nothing here has that in it.",
    };
    vec![Line::of(Tone::Plain, text)]
}

/// The first of these lines.
fn cut(mut lines: Vec<Line>, most: usize) -> Vec<Line> {
    lines.truncate(most);
    lines
}

/// A line in one row: what does not fit is left out word by word, so that no link is shown in part.
fn one_row(line: &Line, wide: usize) -> Line {
    let mut broken = line.clone().wrap(wide.saturating_sub(2)).into_iter();
    let first = broken.next().unwrap_or_default();
    if broken.next().is_none() { first } else { first.with(Tone::Faint, " …") }
}

/// A word that is longer than a row goes on in the next, from its beginning: a terminal of rows has no other room.
fn broken(line: Line, wide: usize) -> Vec<Line> {
    if line.cells() <= wide || wide == 0 {
        return vec![line];
    }
    let tone = line.pieces.first().map_or(Tone::Plain, |(tone, _)| *tone);
    let mut rows = vec![String::new()];
    for letter in line.text().chars() {
        let row = rows.last().map(|row| format!("{row}{letter}")).unwrap_or_default();
        if Line::of(tone, row.as_str()).cells() > wide {
            rows.push(letter.into())
        } else {
            rows.pop();
            rows.push(row)
        }
    }
    rows.into_iter().map(|row| Line::of(tone, row)).collect()
}

fn styled(line: &Line, colored: bool) -> text::Line<'static> {
    let span = |(tone, text): &(Tone, String)| Span::styled(text.clone(), style(*tone, colored));
    text::Line::from(line.pieces.iter().map(span).collect::<Vec<_>>())
}

fn style(tone: Tone, colored: bool) -> Style {
    let style = Style::new();
    match tone {
        Tone::Title => style.add_modifier(Modifier::BOLD),
        _ if !colored => style,
        Tone::Plain => style,
        Tone::Faint => style.add_modifier(Modifier::DIM),
        Tone::Good => style.fg(Color::Green),
        Tone::Moving => style.fg(Color::Cyan),
        Tone::Waiting => style.fg(Color::Yellow),
        Tone::Trouble => style.fg(Color::Red),
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use unicode_width::UnicodeWidthStr;

    use super::super::super::samples::{job, report};
    use super::*;
    use crate::job::{JobId, JobRow, State};

    fn at(id: i64, name: &str, host: &str, state: State, why: Option<&str>) -> JobRow {
        JobRow { id: JobId(id), path: format!("/home/u/Drop/{name}").into(), host: host.into(), ..job(state, why) }
    }

    fn model() -> Model {
        let mut model = Model::default();
        let long = format!("https://files.example.com/download/{}", "x".repeat(120));
        let mut jobs = vec![
            at(1, "contract.pdf", "mirror", State::Held, Some("the host answered 401 (Unauthorized): check `user` and `password`")),
            at(2, "film.mov", "box", State::Uploading, None),
            at(3, "film.mov", "mirror", State::Queued, None),
            JobRow {
                next_try_ms: Some(84_000),
                ..at(4, "写真.jpg", "box", State::Waiting, Some("the host answered 502 (Bad Gateway)"))
            },
            JobRow { link: Some(long), ..at(5, "notes.txt", "box", State::Done, None) },
        ];
        jobs.extend((6..60).map(|id| at(id, &format!("photo {id}.jpg"), "box", State::Done, None)));
        model.see(report(jobs));
        model
    }

    fn drawn(model: &mut Model, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(model, true, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y: u16| {
            let cells = (0..columns).map(|x| buffer[(x, y)].symbol());
            // The cell behind a wide letter is hidden by it.
            let (mut hidden, mut row) = (false, String::new());
            for cell in cells {
                if !std::mem::replace(&mut hidden, cell.width() > 1) {
                    row.push_str(cell);
                }
            }
            row.trim_end().to_owned() + "\n"
        };
        (0..rows).map(row).collect()
    }

    #[test]
    fn it_is_drawn_at_60_by_20() {
        insta::assert_snapshot!(drawn(&mut model(), 60, 20));
    }

    #[test]
    fn it_is_drawn_at_80_by_24() {
        insta::assert_snapshot!(drawn(&mut model(), 80, 24));
    }

    #[test]
    fn it_is_drawn_at_200_by_50() {
        insta::assert_snapshot!(drawn(&mut model(), 200, 50));
    }

    #[test]
    fn the_chosen_row_is_in_view_wherever_it_is() {
        let mut model = model();
        for key in [KeyCode::End, KeyCode::PageUp, KeyCode::PageUp, KeyCode::Home, KeyCode::PageDown, KeyCode::Down] {
            model.key(KeyEvent::from(key));
            drawn(&mut model, 80, 24);
            assert!((model.first..model.first + model.page).contains(&model.chosen), "{key:?}");
        }
        model.key(KeyEvent::from(KeyCode::Home));
        assert!(drawn(&mut model, 80, 24).contains("Needs your attention"), "with the title above it");
    }

    #[test]
    fn a_link_is_shown_whole_or_not_at_all() {
        let mut model = model();
        (0..5).for_each(|_| drop(model.key(KeyEvent::from(KeyCode::Down))));
        let text = drawn(&mut model, 60, 20);
        let (list, details) = text.split_once("----").unwrap();
        assert!(!list.contains("https://"), "{text}");
        assert!(details.replace('\n', "").contains(&format!("https://files.example.com/download/{}", "x".repeat(120))), "{text}");
    }

    #[test]
    fn no_size_is_too_small_or_too_large() {
        for columns in [1, 2, 3, 7, 20, 59, 61, 300] {
            for rows in [1, 2, 3, 4, 5, 9, 19, 60] {
                let mut model = model();
                for key in "?j/film".chars() {
                    drawn(&mut model, columns, rows);
                    model.key(KeyEvent::from(KeyCode::Char(key)));
                }
                drawn(&mut model, columns, rows);
                drawn(&mut Model::default(), columns, rows);
            }
        }
    }

    #[test]
    fn what_is_asked_and_what_came_of_it_stand_in_the_last_row() {
        let mut model = model();
        assert!(drawn(&mut model, 80, 24).trim_end().ends_with("c copy  ? keys"));
        model.key(KeyEvent::from(KeyCode::Char('x')));
        assert!(drawn(&mut model, 80, 24).trim_end().ends_with("Cancel this upload? The file stays. y: yes, any other key: no"));
        model.key(KeyEvent::from(KeyCode::Char('n')));
        model.notice("Paused 1 job.\n");
        assert!(drawn(&mut model, 80, 24).trim_end().ends_with("Paused 1 job."));
        "/film".chars().for_each(|key| drop(model.key(KeyEvent::from(KeyCode::Char(key)))));
        assert!(drawn(&mut model, 80, 24).trim_end().ends_with("Find: film_"));
        model.fail("the queue is damaged".into());
        assert!(drawn(&mut model, 80, 24).starts_with("Cannot look: the queue is damaged."));
    }
}
