//! The folder a file goes to on hosts that have folders: a template, filled in from the place of the file in its watch.

use std::path::{Component, Path};

/// A template of a folder on a host: `{dir}`, `photos/{date}/{dir}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePath(pub Vec<Piece>);

/// A piece of a [`RemotePath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Itself.
    Text(String),
    /// The folders between the watch and the file.
    Dir,
    /// The name of the file.
    Name,
    /// The name without what is behind its last dot.
    Stem,
    /// What is behind the last dot of the name.
    Ext,
    /// The day of the file's last change.
    Date,
}

impl Default for RemotePath {
    fn default() -> RemotePath {
        RemotePath(vec![Piece::Dir])
    }
}

impl RemotePath {
    /// The folder for the file at `relative`, its way from the watch, last changed on `day`. Names joined by `/`, without one at
    /// either end; empty is the host's own root. A name that means another folder (`..`) never comes out.
    pub fn fill(&self, relative: &Path, day: &str) -> String {
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
                Piece::Date => filled.push_str(day),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_to_the_folder_of_the_template_and_never_to_one_outside_it() {
        use Piece::{Date, Dir, Ext, Name, Stem};
        let text = |text: &str| Piece::Text(text.to_owned());
        let cases = [
            // The template, the way of the file from its watch, and the folder on the host.
            (vec![Dir], "a/b/c.txt", "a/b"),
            (vec![Dir], "c.txt", ""),
            (vec![], "a/c.txt", ""),
            (vec![text("/in//"), Dir, text("/")], "a/c.txt", "in/a"),
            (vec![text("x/"), Ext, text("/"), Stem], "a/c.tar.gz", "x/gz/c.tar"),
            (vec![Name, text("/"), Stem, text("/"), Ext], "a/.hidden", ".hidden/.hidden"),
            (vec![Date, text("/"), Dir], "a/c", "2026-01-02/a"),
            // What means another folder, in the template or in a name.
            (vec![text("../x/./"), Name, text("/..")], "..", "x"),
            (vec![text("x/"), Dir], "a/../../b/c", "x/a/b"),
            (vec![text("x/"), Dir], "/a/c", "x/a"),
            (vec![Dir, text("/"), Stem, text("/y")], " . /...txt", "y"),
            // A name is one line.
            (vec![Dir], "a\nb/c\td/x", "a_b/c_d"),
        ];
        for (pieces, relative, expected) in cases {
            let template = RemotePath(pieces);
            assert_eq!(template.fill(Path::new(relative), "2026-01-02"), expected, "{template:?} for {relative:?}");
        }
        assert_eq!(RemotePath::default(), RemotePath(vec![Dir]));
    }
}
