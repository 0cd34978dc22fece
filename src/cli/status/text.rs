//! Lines for a terminal: pieces of text with what they mean, and where they are broken. A link is a word, and no word is ever broken.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a piece of text means; its colour where there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Text.
    #[default]
    Plain,
    /// A title.
    Title,
    /// What matters least.
    Faint,
    /// What is well.
    Good,
    /// What moves.
    Moving,
    /// What waits.
    Waiting,
    /// What needs a person.
    Trouble,
}

impl Tone {
    /// The escape code that begins it; nothing for plain text.
    fn code(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Title => Some("1"),
            Tone::Faint => Some("2"),
            Tone::Good => Some("32"),
            Tone::Moving => Some("36"),
            Tone::Waiting => Some("33"),
            Tone::Trouble => Some("31"),
        }
    }
}

/// A line of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Its pieces, from left to right.
    pub pieces: Vec<(Tone, String)>,
    /// Where it goes on after a break.
    pub hang: usize,
}

impl Line {
    /// A line that goes on so far to the right after a break.
    pub(super) fn hanging(hang: usize) -> Line {
        Line { hang, ..Line::default() }
    }

    /// A line of one piece.
    pub(super) fn of(tone: Tone, text: impl Into<String>) -> Line {
        Line::hanging(2).with(tone, text)
    }

    /// The same with a further piece.
    pub(super) fn with(mut self, tone: Tone, text: impl Into<String>) -> Line {
        self.pieces.push((tone, text.into()));
        self
    }

    /// How many cells it takes.
    pub(super) fn cells(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.width()).sum()
    }

    /// How many rows it takes where a row has so many cells.
    pub(super) fn rows(&self, width: usize) -> usize {
        self.cells().div_ceil(width.max(1)).max(1)
    }

    /// Breaks it between words into lines of this width. A word that is longer has a line of its own, and sticks out.
    pub(super) fn wrap(self, width: usize) -> Vec<Line> {
        let hang = self.hang.min(width / 2);
        let (mut lines, mut line, mut used) = (Vec::new(), Line::default(), 0);
        for (tone, text) in &self.pieces {
            for word in text.split_inclusive(' ') {
                let cells = word.trim_end_matches(' ').width();
                if cells > 0 && used + cells > width && line.pieces.iter().any(|(_, text)| !text.trim().is_empty()) {
                    lines.push(std::mem::take(&mut line).trimmed());
                    used = if hang + cells > width { 0 } else { hang };
                    line.push(Tone::Plain, &" ".repeat(used));
                }
                line.push(*tone, word);
                used += word.width();
            }
        }
        lines.push(line.trimmed());
        lines
    }

    fn push(&mut self, tone: Tone, text: &str) {
        match self.pieces.last_mut() {
            Some((last, before)) if *last == tone => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push((tone, text.to_owned())),
        }
    }

    fn trimmed(mut self) -> Line {
        while let Some((_, text)) = self.pieces.last_mut() {
            text.truncate(text.trim_end_matches(' ').len());
            if !text.is_empty() {
                break;
            }
            self.pieces.pop();
        }
        self
    }

    /// The text alone.
    pub(super) fn text(&self) -> String {
        self.pieces.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// The text with its colours.
    pub(super) fn colored(&self) -> String {
        let piece = |(tone, text): &(Tone, String)| match tone.code() {
            Some(code) if !text.trim().is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.clone(),
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// A name in so many cells: of a longer one the beginning and the end.
pub(super) fn shortened(name: &str, cells: usize) -> String {
    if name.width() <= cells {
        return name.to_owned();
    }
    let end = fitting(name.chars().rev(), cells / 3).into_iter().rev().collect::<String>();
    let begin = fitting(name.chars(), cells.saturating_sub(end.width() + 1)).into_iter().collect::<String>();
    format!("{begin}…{end}")
}

/// The first of these that fit into so many cells.
fn fitting(chars: impl Iterator<Item = char>, cells: usize) -> Vec<char> {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= cells
    };
    chars.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, width: usize) -> Vec<String> {
        Line::hanging(2).with(Tone::Plain, text).wrap(width).iter().map(Line::text).collect()
    }

    #[test]
    fn a_line_is_broken_between_words_and_no_word_is() {
        assert_eq!(wrapped("for 3 s: the host answered 502", 20), ["for 3 s: the host", "  answered 502"]);
        let link = "https://example.com/a/very/long/link";
        assert_eq!(wrapped(&format!("    7  a.mov  {link} (twice)"), 20), ["    7  a.mov", link, "  (twice)"]);
        assert_eq!(wrapped(link, 10), [link]);
        assert_eq!(wrapped("", 10), [""]);
        for width in 0..40 {
            let lines = wrapped(&format!("  one two  three {link} four"), width);
            assert_eq!(lines.concat().replace(' ', ""), format!("onetwothree{link}four"), "{width}");
            assert!(lines.iter().any(|line| line.contains(link)), "{width}");
        }
    }

    #[test]
    fn what_a_piece_means_stays_with_its_words() {
        let line = Line::hanging(0).with(Tone::Trouble, "held for ").with(Tone::Plain, "3 min: no reply");
        let lines = line.wrap(12);
        assert_eq!(lines[0].pieces, [(Tone::Trouble, "held for ".into()), (Tone::Plain, "3".into())]);
        assert_eq!(lines[1].colored(), "min: no");
        assert_eq!(lines[0].colored(), "\x1b[31mheld for \x1b[0m3");
        assert_eq!((lines[0].cells(), lines[0].rows(5), Line::default().rows(5), lines[0].rows(0)), (10, 2, 1, 10));
    }

    #[test]
    fn a_name_keeps_its_beginning_and_its_end_whatever_its_letters_are() {
        let cases = [("a.mov", 10, "a.mov"), ("holiday video.mov", 12, "holiday….mov"), ("写真写真写真.jpg", 9, "写真….jpg")];
        for (name, cells, shown) in cases {
            let short = shortened(name, cells);
            assert!(short.width() <= cells, "{short}");
            assert_eq!(short.ends_with(&shown[shown.len() - 2..]), true, "{short} {shown}");
        }
        assert_eq!(shortened("abc", 0), "…");
    }
}
