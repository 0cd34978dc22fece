//! Mistakes in the syntax of a configuration, without those that only follow from an earlier one.

use std::ops::Range;

use toml::de::DeTable;

use super::Problem;

/// A file with more mistakes than this is not mended from a list.
const MISTAKES_MAX: usize = 50;
/// Longer texts are told of their first mistake alone: each mistake costs a few readings of the whole text.
const BYTES_MAX: usize = 256 << 10;

/// A mistake as the reader of TOML words it.
struct Mistake {
    message: String,
    span: Option<Range<usize>>,
}

/// What is wrong with the syntax of `text`; empty if nothing is.
///
/// After its first mistake, a reader of TOML can only guess what the rest means: one forgotten `]` makes a mistake of every later line. So the
/// statement with the first mistake is taken out, and the rest is read again.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    let mut rest = text.to_owned();
    let mut mistakes = mistakes_in(&rest);
    let mut problems = Vec::new();
    while !mistakes.is_empty() && problems.len() < MISTAKES_MAX {
        let first = mistakes.remove(0);
        let Some(repair) = repair(&rest, &first, mistakes.len() + 1) else {
            problems.push(told(first, None));
            break;
        };
        problems.push(told(first, repair.begins_above.then(|| line_of(&rest, repair.lines.start))));
        if text.len() > BYTES_MAX {
            break;
        }
        rest = without(&rest, repair.lines);
        mistakes = repair.left;
    }
    problems
}

/// In the order of the text.
fn mistakes_in(text: &str) -> Vec<Mistake> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let mistakes = errors.into_iter().map(|error| Mistake { message: error.message().to_owned(), span: error.span() });
    let mut mistakes: Vec<Mistake> = mistakes.collect();
    mistakes.sort_by_key(|mistake| mistake.span.as_ref().map_or(0, |span| span.start));
    mistakes
}

/// Lines without which there are fewer mistakes.
struct Repair {
    lines: Range<usize>,
    /// Whether the mistake is in what these lines begin and not in the line where it was noticed.
    begins_above: bool,
    left: Vec<Mistake>,
}

/// The lines around a mistake without which the fewest of `all` mistakes are left; nothing if that helps none of them.
fn repair(text: &str, mistake: &Mistake, all: usize) -> Option<Repair> {
    let at = mistake.span.as_ref()?.start.min(text.len());
    let line = line_around(text, at);
    let statement = statement_above(text, line.start);
    let without_lines = |(lines, begins_above): (Range<usize>, bool)| {
        let left = mistakes_in(&without(text, lines.clone()));
        (left.len() < all).then_some(Repair { lines, begins_above, left })
    };
    let one_of_two = [Some((line.clone(), false)), statement.map(|start| (start..line.start, true))].into_iter().flatten();
    let best = one_of_two.filter_map(without_lines).min_by_key(|repair| repair.left.len());
    best.or_else(|| without_lines((statement?..line.end, true)))
}

/// The line with the byte `at`, without its end.
fn line_around(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let length = bytes[start..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - start);
    start..start + length
}

/// Where the statement begins that is the last before `end`: a line with a key or a table's header.
fn statement_above(text: &str, end: usize) -> Option<usize> {
    let mut above = text[..end].split_inclusive('\n').rev().scan(end, |start, line| {
        *start -= line.len();
        Some((*start, line))
    });
    above.find(|(_, line)| line.contains('=') || line.trim_start().starts_with('[')).map(|(start, _)| start)
}

/// The text with spaces in place of these lines, so that everything else keeps its place.
fn without(text: &str, lines: Range<usize>) -> String {
    let blank = |byte: u8| if byte == b'\n' { '\n' } else { ' ' };
    let blanks: String = text[lines.clone()].bytes().map(blank).collect();
    [&text[..lines.start], &blanks, &text[lines.end..]].concat()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// `begun_in` is the line in which something begins that does not end.
fn told(mistake: Mistake, begun_in: Option<usize>) -> Problem {
    let quotes = mistake.message.starts_with("string values must be quoted");
    let help = match begun_in {
        Some(line) => Some(format!("look at line {line}, too: what it begins may lack its end, such as a `]` or a quote")),
        None => quotes.then(|| "put text in quotes: \"~/Drop\"".into()),
    };
    Problem { message: mistake.message, help, span: mistake.span }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of each problem, and whether its help names another line.
    fn lines(text: &str) -> Vec<(usize, Option<usize>)> {
        let named = |help: &str| help.strip_prefix("look at line ")?.split(',').next()?.parse().ok();
        let place = |problem: Problem| (line_of(text, problem.span.unwrap().start), problem.help.as_deref().and_then(named));
        problems(text).into_iter().map(place).collect()
    }

    #[test]
    fn a_mistake_is_told_without_those_that_follow_from_it() {
        type Told = (&'static str, &'static [(usize, Option<usize>)]);
        let table: &[Told] = &[
            ("a = 1\n", &[]),
            ("a = [1\nb = 2\nc = [3]\nd = [\"x\", \"y\"]\n[e]\nf = 1\n", &[(2, Some(1))]),
            ("a = \nb = 2\nc = \n", &[(1, None), (3, None)]),
            ("a = ~/Drop\nb = [1\nc = 5 MiB\n[d]\ne = \"x\"\n", &[(1, None), (3, Some(2)), (3, None)]),
            ("a = \"x\nb = 2\n", &[(1, None)]),
            ("a = '''x\nb = 2\nc = 3\n", &[(4, None)]),
            ("[a\nb = 1\n[[c]\nd = 2\n", &[(1, None), (3, None)]),
            ("a = {b = 1\nc = 2\nd = 3\n", &[(2, Some(1))]),
            ("a = 1\na = 2\n]\n", &[(2, None), (3, None)]),
        ];
        for (text, expected) in table {
            assert_eq!(lines(text), *expected, "{text}");
        }
    }

    #[test]
    fn no_text_is_told_of_without_end() {
        assert_eq!(problems(&"= \n".repeat(1000)).len(), MISTAKES_MAX);
        assert_eq!(problems(&"a = \n".repeat(BYTES_MAX)).len(), 1);
    }
}
