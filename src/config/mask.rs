//! A configuration as it may be shown: passwords, keys and tokens masked character for character, so that places in it stay what
//! they are.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Words in the name of a key whose value is nobody's business, also where it is misspelt or at the wrong place.
const SECRET_WORDS: [&str; 8] = ["pass", "pwd", "secret", "key", "token", "webhook", "command", "proxy"];
/// Keys inside a secret that only say where it is.
const PLACES: [&str; 3] = ["env", "file", "credential"];

/// The text with its secrets masked. `tree` is what it means; a text that cannot be read loses all its values if it may hold a
/// secret.
pub(super) fn masked(text: &str, tree: Option<&DeTable<'_>>) -> String {
    match tree {
        Some(tree) => {
            let mut spans = Vec::new();
            table(tree, false, &mut spans);
            spans.extend(logins(text));
            spans.sort_by_key(|span| span.start);
            covered(text, &spans)
        }
        None if is_secret(text) || text.contains('@') => text.split_inclusive('\n').map(without_value).collect(),
        None => text.to_owned(),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn table(fields: &DeTable<'_>, inside: bool, spans: &mut Vec<Range<usize>>) {
    for (key, field) in fields {
        let place = inside && PLACES.contains(&key.get_ref().as_ref());
        value(field, (inside && !place) || is_secret(key.get_ref()), spans);
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

fn covered(text: &str, spans: &[Range<usize>]) -> String {
    let hidden = |at: usize| spans.iter().any(|span| span.contains(&at));
    text.char_indices().map(|(at, c)| if hidden(at) { star(c) } else { c.to_string() }).collect()
}

/// Of a line nobody can place, only what is certainly no value: the name of a table, or a key.
fn without_value(line: &str) -> String {
    let name = |text: &str| !text.trim().is_empty() && text.trim().chars().all(|c| c.is_ascii_alphanumeric() || "_-. ".contains(c));
    let trimmed = line.trim();
    let inner = trimmed.trim_start_matches('[').trim_end_matches(']');
    if trimmed.starts_with('[') && name(inner) {
        return line.to_owned();
    }
    let key_ends = line.find('=').filter(|at| name(&line[..*at])).map_or(0, |at| at + 1);
    let (key, value) = line.split_at(key_ends);
    format!("{key}{}", value.chars().map(star).collect::<String>())
}

fn star(c: char) -> String {
    if matches!(c, '"' | '\'' | '\n' | '\r' | ' ') { c.to_string() } else { "*".repeat(c.len_utf8()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let shown = masked(text, errors.is_empty().then(|| tree.get_ref()));
        assert_eq!(shown.len(), text.len());
        shown
    }

    #[test]
    fn what_may_be_a_secret_is_masked_where_it_stands() {
        assert_eq!(
            shown("user = \"me\"\npasswrod = \"hü!2\"\n api_key = 'sk-1'\n"),
            "user = \"me\"\npasswrod = \"*****\"\n api_key = '****'\n"
        );
        assert_eq!(shown("base_url = \"https://u:p@host/?q\""), "base_url = \"https://***@host/?q\"");
        let inline = shown("[host]\nbox = { kind = \"kie\", password = \"hunter2\", colour = \"red\" }");
        assert!(inline.contains("\"kie\"") && inline.contains("\"red\"") && !inline.contains("hunter2"), "{inline}");
        let lines = shown("password = \"\"\"\nhunter2\n\"\"\"\nsettle = \"2s\"");
        assert!(!lines.contains("hunter2") && lines.contains("\"2s\""), "{lines}");
        let places = shown("password = { env = \"GIG\" }\ntoken = { command = [\"echo\", \"hunter2\"] }");
        assert!(places.contains("\"GIG\"") && !places.contains("hunter2"), "{places}");
    }

    #[test]
    fn a_text_that_cannot_be_read_shows_no_value() {
        let text = shown("[host.box]\npassword = \"\"\"\nhunter2\nuser = \"me");
        assert!(text.contains("[host.box]\npassword = ") && !text.contains("hunter2") && !text.contains("me"), "{text}");
        assert_eq!(shown("[daemon\nx = 3\n"), "[daemon\nx = 3\n");
    }
}
