//! The folder a file goes to on hosts that have folders: a template, filled in from the place of the file in its watch.

use std::path::{Component, Path};

use super::file::{Value, Wrong, did_you_mean, text};

const WORDS: [&str; 5] = ["dir", "name", "stem", "ext", "date"];

/// A template of a folder on a host: `{dir}`, `photos/{date}/{dir}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePath(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Dir,
    Name,
    Stem,
    Ext,
    Date,
}

impl Default for RemotePath {
    fn default() -> RemotePath {
        RemotePath(vec![Piece::Dir])
    }
}

impl RemotePath {
    /// The folder for the file at `relative`, its way from the watch, last changed at `mtime_ns` (nanoseconds since the Unix epoch; the
    /// day it gives is the local one). Names joined by `/`, without one at either end; empty is the host's own root. A name that means
    /// another folder (`..`) never comes out.
    pub fn fill(&self, relative: &Path, mtime_ns: i64) -> String {
        let lossy = |text: Option<&std::ffi::OsStr>| text.unwrap_or_default().to_string_lossy().into_owned();
        let folder = relative.parent().unwrap_or(Path::new(""));
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Dir => filled.push_str(&names(folder).join("/")),
                Piece::Name => filled.push_str(&lossy(relative.file_name())),
                Piece::Stem => filled.push_str(&lossy(relative.file_stem())),
                Piece::Ext => filled.push_str(&lossy(relative.extension())),
                Piece::Date => filled.push_str(&day(mtime_ns)),
            }
        }
        let clean = |name: &str| name.chars().map(|c| if c.is_control() { '_' } else { c }).collect::<String>();
        let kept = filled.split('/').map(str::trim).filter(|name| !matches!(*name, "" | "." | ".."));
        kept.map(clean).collect::<Vec<_>>().join("/")
    }
}

fn names(folder: &Path) -> Vec<String> {
    let normal = folder.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    normal.collect()
}

fn day(mtime_ns: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(mtime_ns.into()).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d").to_string()
}

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
                let (word, after) = after.split_once('}').ok_or_else(|| Wrong::new("has a `{` without its `}`", help))?;
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
            let help = did_you_mean(word, WORDS.into_iter()).unwrap_or_else(|| format!("known are {{{}}}", WORDS.join("}, {")));
            return Err(Wrong::new(format!("holds `{{{word}}}`, which is not known"), help));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, relative: &str) -> String {
        let value = toml::Spanned::new(0..0, toml::de::DeValue::String(template.into()));
        let Ok(template) = remote_path(&value) else { panic!("{template}") };
        template.fill(Path::new(relative), 0)
    }

    #[test]
    fn a_template_becomes_a_folder_that_stays_where_it_is_told() {
        assert_eq!(RemotePath::default().fill(Path::new("a/b/c.txt"), 0), "a/b");
        assert_eq!(filled("{dir}", "c.txt"), "");
        assert_eq!(filled("/in//{dir}/", "a/c.txt"), "in/a");
        assert_eq!(filled("x/{ext}/{stem}", "a/c.tar.gz"), "x/gz/c.tar");
        assert_eq!(filled("../{name}/..", ".."), "");
        assert_eq!(filled("{dir}", "a\nb/c"), "a_b");
        assert!(filled("{date}", "c").starts_with("19"));
        assert_eq!(filled("", "a/c"), "");
    }
}
