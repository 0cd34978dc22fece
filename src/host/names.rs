//! Names of files, and the further names of those that are taken.

/// A name without what is behind its last dot, and that.
pub(super) fn halves(name: &str) -> (&str, &str) {
    name.rsplit_once('.').filter(|(stem, ext)| !stem.is_empty() && !ext.is_empty()).unwrap_or((name, ""))
}

/// The same path with a number in its last name: `a/report (2).pdf`.
pub(super) fn numbered(path: &str, number: u32) -> String {
    let (folder, name) = path.rfind('/').map_or(("", path), |at| path.split_at(at + 1));
    let (stem, ext) = halves(name);
    let end = if ext.is_empty() { String::new() } else { format!(".{ext}") };
    format!("{folder}{stem} ({number}){end}")
}

/// The last name of a path.
pub(super) fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_before_the_end_of_the_name() {
        let cases = [("a/b.c/report.pdf", "a/b.c/report (2).pdf"), ("a.b/c", "a.b/c (2)"), (".x", ".x (2)"), ("c.", "c. (2)")];
        for (path, expected) in cases {
            assert_eq!(numbered(path, 2), expected);
        }
        assert_eq!((last_name("a/b"), last_name("b")), ("b", "b"));
    }
}
