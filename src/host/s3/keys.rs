//! Keys of objects: a template, filled in for a file (page, 8).

use crate::job::upload::Class;

use super::super::FileFacts;
use super::super::error::HostError;
use super::super::names;

/// The longest key, in bytes (page, 4).
const KEY_BYTES_MAX: usize = 1024;

/// A template of a key: `{folder}/{name}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Folder,
    Name,
    Stem,
    Ext,
    Version,
}

/// The words of a template.
pub(super) const WORDS: [&str; 5] = ["folder", "name", "stem", "ext", "version"];

impl KeyTemplate {
    /// Reads a template; the error says what is wrong with it.
    pub(super) fn read(text: &str) -> Result<KeyTemplate, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').ok_or("has an unmatched `{`")?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(piece(word).ok_or_else(|| format!("has an unknown placeholder: {{{word}}}"))?);
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        if !pieces.iter().any(|piece| matches!(piece, Piece::Name | Piece::Stem | Piece::Version)) {
            return Err("gives every file of a folder the same key".into());
        }
        Ok(KeyTemplate(pieces))
    }

    /// Whether files of one name in different folders, or other versions of one file, may get the same key.
    pub(super) fn collides(&self) -> bool {
        !self.0.iter().any(|piece| matches!(piece, Piece::Folder | Piece::Version))
    }

    /// Whether nobody but ferryd has keys like these, and no other file or version has the same.
    pub(super) fn is_ours_alone(&self) -> bool {
        self.0.contains(&Piece::Version)
    }

    /// The key of a file. Never begins with a slash, has no empty names in it and none that means another folder.
    pub(super) fn fill(&self, file: &FileFacts) -> Result<String, HostError> {
        let (stem, ext) = names::halves(&file.name);
        let filled: String = self
            .0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Folder => file.folder.as_str(),
                Piece::Name => &file.name,
                Piece::Stem => stem,
                Piece::Ext => ext,
                Piece::Version => &file.version,
            })
            .collect();
        let clean: String = filled.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
        let names = clean.split('/').filter(|name| !name.is_empty());
        let key = names.map(|name| if matches!(name, "." | "..") { "_" } else { name }).collect::<Vec<_>>().join("/");
        fits(key)
    }
}

/// The same key with a number in its last name: `a/report (2).pdf`.
pub(super) fn numbered(key: &str, number: u32) -> Result<String, HostError> {
    fits(names::numbered(key, number))
}

fn fits(key: String) -> Result<String, HostError> {
    let bytes = key.len();
    if (1..=KEY_BYTES_MAX).contains(&bytes) {
        return Ok(key);
    }
    let said = format!("the key of this file would have {bytes} bytes, and a key has 1 to {KEY_BYTES_MAX}");
    Err(HostError::new(Class::FileRejected, said))
}

fn piece(word: &str) -> Option<Piece> {
    Some(match word {
        "folder" => Piece::Folder,
        "name" => Piece::Name,
        "stem" => Piece::Stem,
        "ext" => Piece::Ext,
        "version" => Piece::Version,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &str, name: &str) -> FileFacts {
        FileFacts { folder: folder.into(), version: "v1".into(), ..FileFacts::named(name, 1) }
    }

    #[test]
    fn a_key_follows_from_the_template_and_stays_in_its_place() {
        let cases = [
            ("{folder}/{name}", "a/b", "c.txt", "a/b/c.txt"),
            ("{folder}/{name}", "", "c.txt", "c.txt"),
            ("/in//{folder}/{version}-{name}", "a", "c", "in/a/v1-c"),
            ("{ext}/{stem}", "a", "x.tar.gz", "gz/x.tar"),
            ("{ext}/{stem}", "a", ".hidden", ".hidden"),
            ("x/../{name}/.", "", "c", "x/_/c/_"),
            ("{name}", "", "a\nb", "a_b"),
            ("{name}", "", "tail .", "tail ."),
        ];
        for (template, folder, name, key) in cases {
            assert_eq!(KeyTemplate::read(template).unwrap().fill(&file(folder, name)).unwrap(), key, "{template}");
        }
    }

    #[test]
    fn a_template_that_cannot_tell_files_apart_is_refused() {
        for wrong in ["", "backup", "{folder}/x", "{name", "{nam}", "{folder}.{ext}"] {
            assert!(KeyTemplate::read(wrong).is_err(), "{wrong}");
        }
        let collides = |text| KeyTemplate::read(text).unwrap().collides();
        let ours = |text| KeyTemplate::read(text).unwrap().is_ours_alone();
        assert!(ours("{folder}/{version}-{name}") && !ours("{folder}/{name}"));
        assert!(collides("{name}") && collides("x/{stem}.{ext}") && !collides("{folder}/{name}") && !collides("{version}"));
    }

    #[test]
    fn a_key_that_is_too_long_is_the_fault_of_the_file() {
        let key = |bytes| KeyTemplate::read("{folder}/{name}").unwrap().fill(&file(&"d".repeat(bytes - 2), "n"));
        assert!(key(KEY_BYTES_MAX).is_ok());
        assert_eq!(key(KEY_BYTES_MAX + 1).unwrap_err().class, Class::FileRejected);
    }
}
