//! The file that says of another one beside it that it is complete: whoever writes `a.mov` makes `a.mov.done` when it is whole.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::Identity;

/// How a marker is named after its file: `{name}.done`, `{stem}.ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// What stands before the name.
    before: String,
    /// Whether the name goes without what is behind its last dot.
    of_stem: bool,
    /// What stands behind it.
    after: String,
}

/// Why a text does not name markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMarker {
    /// It has neither `{name}` nor `{stem}`, or more than one of them.
    NotOfOneFile,
    /// It adds nothing to the name, so the marker would be the file.
    TheFileItself,
    /// It leads to another folder.
    OtherFolder,
}

/// How it stands with a file and its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The marker is there, and not older than the file.
    Ready,
    /// There is none.
    Missing,
    /// It is older than the file, so it may be about an earlier version.
    Older,
}

impl Marker {
    /// Reads `{name}.done`.
    ///
    /// # Errors
    ///
    /// Says why this names no marker of one file.
    pub fn parse(text: &str) -> Result<Marker, NoMarker> {
        let (placeholder, of_stem) = if text.contains("{stem}") { ("{stem}", true) } else { ("{name}", false) };
        let (before, after) = text.split_once(placeholder).ok_or(NoMarker::NotOfOneFile)?;
        if [before, after].iter().any(|part| part.contains("{name}") || part.contains("{stem}")) {
            return Err(NoMarker::NotOfOneFile);
        }
        if text.contains('/') {
            return Err(NoMarker::OtherFolder);
        }
        if before.is_empty() && after.is_empty() {
            return Err(NoMarker::TheFileItself);
        }
        Ok(Marker { before: before.to_owned(), of_stem, after: after.to_owned() })
    }

    /// The name of the marker of the file `name`.
    pub fn of(&self, name: &OsStr) -> OsString {
        let name = if self.of_stem { Path::new(name).file_stem().unwrap_or(name) } else { name };
        OsString::from_vec([self.before.as_bytes(), name.as_bytes(), self.after.as_bytes()].concat())
    }

    /// Whether `name` is that of a marker, of whatever file.
    pub fn is_one(&self, name: &OsStr) -> bool {
        self.named(name).is_some()
    }

    /// The name of the file that `marker` is of; nothing where it is no marker, or where several files may have it.
    pub fn file_of<'m>(&self, marker: &'m OsStr) -> Option<&'m OsStr> {
        self.named(marker).filter(|_| !self.of_stem)
    }

    fn named<'m>(&self, marker: &'m OsStr) -> Option<&'m OsStr> {
        let rest = marker.as_bytes().strip_prefix(self.before.as_bytes())?.strip_suffix(self.after.as_bytes())?;
        (!rest.is_empty()).then(|| OsStr::from_bytes(rest))
    }
}

/// As it is configured.
impl std::fmt::Display for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let placeholder = if self.of_stem { "{stem}" } else { "{name}" };
        write!(f, "{}{placeholder}{}", self.before, self.after)
    }
}

/// Whether a file is ready by its marker. One of the two times will do: the modification time is the one that copies keep, and a change
/// time that is later was given by the kernel after everything that has happened to the file.
pub(crate) fn readiness(file: &Identity, marker: Option<&Identity>) -> Readiness {
    match marker {
        None => Readiness::Missing,
        Some(marker) if marker.mtime_ns >= file.mtime_ns || marker.ctime_ns >= file.ctime_ns => Readiness::Ready,
        Some(_) if planted!("marker.older_suffices") => Readiness::Ready,
        Some(_) => Readiness::Older,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_named_after_its_file() {
        let cases = [
            ("{name}.done", "a.mov", "a.mov.done", Some("a.mov")),
            ("{stem}.ok", "a.b.mov", "a.b.ok", None),
            (".{name}", "a", ".a", Some("a")),
            ("is-{stem}-whole", "a", "is-a-whole", None),
        ];
        for (text, name, expected, file) in cases {
            let marker = Marker::parse(text).unwrap();
            assert_eq!(marker.of(OsStr::new(name)), expected);
            assert!(marker.is_one(OsStr::new(expected)) && !marker.is_one(OsStr::new("x.mov")), "{text}");
            assert_eq!(marker.file_of(OsStr::new(expected)), file.map(OsStr::new), "{text}");
            assert_eq!(marker.to_string(), text);
        }
        let done = Marker::parse("{name}.done").unwrap();
        assert!(!done.is_one(OsStr::new(".done")), "there is no file that it would be the marker of");
        let not_unicode = OsStr::from_bytes(b"\xff");
        assert_eq!(done.file_of(&done.of(not_unicode)), Some(not_unicode));
    }

    #[test]
    fn what_names_no_marker_of_one_file_is_refused() {
        let cases = [
            ("ready", NoMarker::NotOfOneFile),
            ("", NoMarker::NotOfOneFile),
            ("{name}.{stem}", NoMarker::NotOfOneFile),
            ("{stem}{stem}", NoMarker::NotOfOneFile),
            ("{name}{name}", NoMarker::NotOfOneFile),
            ("{name}", NoMarker::TheFileItself),
            ("{stem}", NoMarker::TheFileItself),
            ("done/{name}", NoMarker::OtherFolder),
            ("../{name}.done", NoMarker::OtherFolder),
        ];
        for (text, expected) in cases {
            assert_eq!(Marker::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_marker_counts_that_was_made_after_the_file_by_one_of_their_times() {
        let times = |mtime_ns, ctime_ns| Identity { device: 1, inode: 1, size: 1, mtime_ns, ctime_ns, born_ns: 1 };
        let file = times(10, 20);
        for (marker, expected) in [
            (None, Readiness::Missing),
            (Some(times(10, 5)), Readiness::Ready),
            (Some(times(5, 20)), Readiness::Ready),
            (Some(times(11, 21)), Readiness::Ready),
            (Some(times(9, 19)), Readiness::Older),
        ] {
            assert_eq!(readiness(&file, marker.as_ref()), expected, "{marker:?}");
        }
    }
}
