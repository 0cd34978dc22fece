//! The template of `remote_path`.

use crate::job::remote_path::{Piece, RemotePath};

use super::file::{Value, Wrong, did_you_mean, text};

const WORDS: [&str; 5] = ["dir", "name", "stem", "ext", "date"];

/// Reads a template.
pub(super) fn remote_path(value: &Value<'_>) -> Result<RemotePath, Wrong> {
    let given = text(value)?;
    let help = "write folder names and {dir}, {name}, {stem}, {ext} or {date}, such as \"photos/{date}\"";
    let mut pieces = Vec::new();
    let mut rest = given.as_str();
    while !rest.is_empty() {
        let (before, word) = match rest.split_once('{') {
            None => (std::mem::take(&mut rest), None),
            Some((before, after)) => {
                let (word, after) = after.split_once('}').ok_or_else(|| Wrong::new("has an unmatched `{`", help))?;
                rest = after;
                (before, Some(word))
            }
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.extend(word.map(piece).transpose()?);
    }
    Ok(RemotePath(pieces))
}

fn piece(word: &str) -> Result<Piece, Wrong> {
    Ok(match word {
        "dir" => Piece::Dir,
        "name" => Piece::Name,
        "stem" => Piece::Stem,
        "ext" => Piece::Ext,
        "date" => Piece::Date,
        _ => {
            let help =
                did_you_mean(word, WORDS.into_iter()).unwrap_or_else(|| format!("the placeholders are {{{}}}", WORDS.join("}, {")));
            return Err(Wrong::new(format!("has an unknown placeholder: {{{word}}}"), help));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn filled(template: &str, relative: &str) -> String {
        let value = toml::Spanned::new(0..0, toml::de::DeValue::String(template.into()));
        let Ok(template) = remote_path(&value) else { panic!("{template}") };
        template.fill(Path::new(relative), "1970-01-01")
    }

    #[test]
    fn a_template_becomes_a_folder_that_stays_where_it_is_told() {
        assert_eq!(RemotePath::default().fill(Path::new("a/b/c.txt"), ""), "a/b");
        assert_eq!(filled("{dir}", "c.txt"), "");
        assert_eq!(filled("/in//{dir}/", "a/c.txt"), "in/a");
        assert_eq!(filled("x/{ext}/{stem}", "a/c.tar.gz"), "x/gz/c.tar");
        assert_eq!(filled("../{name}/..", ".."), "");
        assert_eq!(filled("{dir}", "a\nb/c"), "a_b");
        assert_eq!(filled("{date}/x", "c"), "1970-01-01/x");
        assert_eq!(filled("", "a/c"), "");
    }
}
