//! A configuration as it may be shown: in place of each password, key and token stands the same word, whatever its length, and places
//! in the text are found again.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Words in the name of a key whose value is nobody's business, also where it is misspelt or at the wrong place.
const SECRET_WORDS: [&str; 9] = ["pass", "pwd", "secret", "key", "token", "session_id", "webhook", "command", "proxy"];
/// Keys inside a secret that only say where it is.
const PLACES: [&str; 3] = ["env", "file", "credential"];
/// What stands in place of a secret.
const MASK: &str = "[secret]";

/// A text with its secrets masked.
#[derive(Debug, Default)]
pub(super) struct Masked {
    pub text: String,
    /// What was replaced, and by what, in the order of the text.
    cuts: Vec<(Range<usize>, Range<usize>)>,
}

impl Masked {
    /// Where a place of the text as it was written stands in this one; a place within a secret becomes the whole mask.
    pub(super) fn span(&self, written: &Range<usize>) -> Range<usize> {
        let start = self.place(written.start, |mask| mask.start);
        start..self.place(written.end, |mask| mask.end).max(start)
    }

    fn place(&self, at: usize, within: impl Fn(&Range<usize>) -> usize) -> usize {
        match self.cuts.iter().rev().find(|(cut, _)| cut.start <= at) {
            Some((cut, mask)) if at < cut.end => within(mask),
            Some((cut, mask)) => mask.end + (at - cut.end),
            None => at,
        }
    }
}

/// The text with its secrets masked. `tree` is what it means; a text that cannot be read loses all its values if it may hold a
/// secret.
pub(super) fn masked(text: &str, tree: Option<&DeTable<'_>>) -> Masked {
    let mut spans = Vec::new();
    match tree {
        Some(tree) => {
            table(tree, false, &mut spans);
            spans.extend(logins(text));
        }
        None if is_secret(text) || text.contains('@') => {
            let mut begin = 0;
            for line in text.split_inclusive('\n') {
                spans.extend(value_of(line).map(|value| begin + value.start..begin + value.end));
                begin += line.len();
            }
        }
        None => {}
    }
    spans.sort_by_key(|span| (span.start, span.end));
    covered(text, spans)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn table(fields: &DeTable<'_>, inside: bool, spans: &mut Vec<Range<usize>>) {
    for (key, field) in fields {
        let place = inside && PLACES.contains(&key.get_ref().as_ref());
        match field.get_ref() {
            DeValue::Array(words) if !inside && key.get_ref() == "command" => command(words, spans),
            _ => value(field, (inside && !place) || is_secret(key.get_ref()), spans),
        }
    }
}

/// The command of a hook, which may well hold a secret, is shown as far as a mistake can be seen in it: the program, options, and words
/// with placeholders.
fn command(words: &[toml::Spanned<DeValue<'_>>], spans: &mut Vec<Range<usize>>) {
    for (at, word) in words.iter().enumerate() {
        let is_shown = match word.get_ref() {
            DeValue::String(text) => {
                let is_option = text.starts_with("--") || (text.starts_with('-') && text.len() == 2);
                let is_plain = !text.contains([':', '=', '@']);
                is_plain && (at == 0 || is_option || text.contains('{'))
            }
            _ => false,
        };
        value(word, !is_shown, spans);
    }
}

fn value(field: &toml::Spanned<DeValue<'_>>, secret: bool, spans: &mut Vec<Range<usize>>) {
    match field.get_ref() {
        DeValue::Table(fields) => table(fields, secret, spans),
        DeValue::Array(items) => items.iter().for_each(|item| value(item, secret, spans)),
        _ if secret => spans.push(field.span()),
        _ => {}
    }
}

/// Where `user:password` stands in an address.
fn logins(text: &str) -> Vec<Range<usize>> {
    let found = text.match_indices("://").filter_map(|(at, mark)| {
        let begin = at + mark.len();
        let authority = &text[begin..];
        let end = authority.find(|c: char| "/?#\"' \n".contains(c)).unwrap_or(authority.len());
        let login = authority[..end].rfind('@')?;
        Some(begin..begin + login)
    });
    found.collect()
}

/// Line breaks stay, so that every line has its number.
fn covered(text: &str, spans: Vec<Range<usize>>) -> Masked {
    let mut masked = Masked::default();
    let mut end = 0;
    for span in spans {
        let span = span.start.max(end)..span.end;
        let Some(secret) = text.get(span.clone()).filter(|secret| !secret.trim_matches(['"', '\'']).is_empty()) else { continue };
        masked.text.push_str(&text[end..span.start]);
        let begin = masked.text.len();
        let quote = secret.chars().next().filter(|c| matches!(c, '"' | '\'')).map_or(String::new(), String::from);
        masked.text.push_str(&format!("{quote}{MASK}{quote}"));
        let mask = begin..masked.text.len();
        masked.text.extend(secret.matches('\n'));
        masked.cuts.push((span.clone(), mask.start..masked.text.len()));
        end = span.end;
    }
    masked.text.push_str(&text[end..]);
    masked
}

/// Of a line nobody can place, what is not certainly no value: only the name of a table and a key are none.
fn value_of(line: &str) -> Option<Range<usize>> {
    let name = |text: &str| !text.trim().is_empty() && text.trim().chars().all(|c| c.is_ascii_alphanumeric() || "_-. ".contains(c));
    let trimmed = line.trim();
    let inner = trimmed.trim_start_matches('[').trim_end_matches(']');
    if trimmed.starts_with('[') && name(inner) {
        return None;
    }
    let key_ends = line.find('=').filter(|at| name(&line[..*at])).map_or(0, |at| at + 1);
    let value = &line[key_ends..];
    let begin = key_ends + (value.len() - value.trim_start().len());
    let end = key_ends + value.trim_end().len();
    (begin < end).then_some(begin..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let shown = masked(text, errors.is_empty().then(|| tree.get_ref()));
        assert_eq!(shown.text.lines().count(), text.lines().count());
        shown.text
    }

    #[test]
    fn what_may_be_a_secret_is_masked_where_it_stands() {
        assert_eq!(
            shown("user = \"me\"\npasswrod = \"hü!2\"\n api_key = 'sk-1'\n"),
            "user = \"me\"\npasswrod = \"[secret]\"\n api_key = '[secret]'\n"
        );
        assert_eq!(shown("base_url = \"https://u:p@host/?q\""), "base_url = \"https://[secret]@host/?q\"");
        let inline = shown("[host]\nbox = { kind = \"kie\", password = \"hunter2\", colour = \"red\" }");
        assert!(inline.contains("\"kie\"") && inline.contains("\"red\"") && !inline.contains("hunter2"), "{inline}");
        let lines = shown("password = \"\"\"\nhunter2\n\"\"\"\nsettle = \"2s\"");
        assert!(!lines.contains("hunter2") && lines.contains("\"2s\""), "{lines}");
        let places = shown("password = { env = \"GIG\" }\ntoken = { command = [\"echo\", \"hunter2\"] }");
        assert!(places.contains("\"GIG\"") && !places.contains("hunter2"), "{places}");
    }

    #[test]
    fn how_long_a_secret_is_cannot_be_seen_and_what_comes_after_it_is_found() {
        let long = format!("password = \"{}\" # x\nkind = \"kie\"\n", "s".repeat(300));
        let (tree, _) = DeTable::parse_recoverable(&long);
        let shown = masked(&long, Some(tree.get_ref()));
        assert_eq!(shown.text, "password = \"[secret]\" # x\nkind = \"kie\"\n");
        let of = |text: &str, word: &str| text.find(word).map(|at| at..at + word.len()).unwrap();
        assert_eq!(shown.span(&of(&long, "kie")), of(&shown.text, "kie"));
        assert_eq!(shown.span(&of(&long, "sss")), of(&shown.text, "\"[secret]\""));
        assert_eq!(shown.span(&of(&long, "password")), of(&shown.text, "password"));
        assert_eq!(shown.span(&(long.len()..long.len())), shown.text.len()..shown.text.len());
    }

    #[test]
    fn a_mistake_in_a_command_can_be_seen_and_no_secret_in_it() {
        let text =
            "[[hook]]\ncommand = [\"curl\", \"-s\", \"--data\", \"{nmae}\", \"-psecret\", \"hunter2\", \"Token: x\", \"k={link}\"]";
        let expected =
            "command = [\"curl\", \"-s\", \"--data\", \"{nmae}\", \"[secret]\", \"[secret]\", \"[secret]\", \"[secret]\"]";
        assert!(shown(text).ends_with(expected), "{}", shown(text));
    }

    #[test]
    fn a_text_that_cannot_be_read_shows_no_value() {
        let text = shown("[host.box]\npassword = \"\"\"\nhunter2\nuser = \"me");
        assert!(text.contains("[host.box]\npassword = ") && !text.contains("hunter2") && !text.contains("me"), "{text}");
        assert_eq!(shown("[daemon\nx = 3\n"), "[daemon\nx = 3\n");
    }
}
