//! Which characters of names a server is known to read as they were written. There are servers that read some of them otherwise, and
//! give a file another name than it was asked for (page, 11).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Stands for every character that is not ASCII: they are encoded alike.
const NOT_ASCII: char = '\u{80}';

/// The characters that have been read well; bounded, since there are few in ASCII.
#[derive(Debug, Default)]
pub(super) struct ReadWell(Mutex<BTreeSet<char>>);

impl ReadWell {
    /// Whether a path is read as it is written: what is not encoded always is.
    pub(super) fn has(&self, path: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        encoded(path).all(|c| known.contains(&c))
    }

    /// A path has been read as it was written.
    pub(super) fn note(&self, path: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(encoded(path));
    }
}

fn encoded(path: &str) -> impl Iterator<Item = char> {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-._~/".contains(*c);
    path.chars().filter(move |c| !is_plain(c)).map(|c| if c.is_ascii() { c } else { NOT_ASCII })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trusted_once_each_of_its_characters_has_been_read_well() {
        let read = ReadWell::default();
        assert!(read.has("a/b-c_d.e~9") && !read.has("a b") && !read.has("ü"));
        read.note("x y/ö");
        assert!(read.has("a b ü") && !read.has("a;b"));
    }
}
