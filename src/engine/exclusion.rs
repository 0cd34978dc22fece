//! What keeps a file from being taken up, as its watch is configured, for a person who asks.

use std::path::Path;

use crate::job::Watch;
use crate::watch::filter::Filter;

/// Why a file does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exclusion {
    /// It is one that ferryd writes itself.
    Ours,
    /// It is the marker of another file.
    Marker,
    /// This glob of `exclude` is about it, or about a folder on the way to it.
    Excluded(String),
    /// No glob of `include` is about it.
    NotIncluded,
    /// It is smaller than so many bytes.
    TooSmall(u64),
    /// It is larger than so many bytes.
    TooLarge(u64),
}

/// All that keeps the file of so many bytes at `relative` below its watch from being taken up.
pub(crate) fn exclusions(watch: &Watch, relative: &Path, bytes: u64) -> Vec<Exclusion> {
    let everything = ["*".to_owned()];
    let takes = |include: &[String], exclude: &[String]| {
        let name = relative.file_name().unwrap_or_default();
        // The configuration has no other globs than those that can be read.
        let filter = Filter::new(include, exclude, 0, None);
        filter.map_or(true, |filter| filter.takes(relative, name) && filter.enters_all_above(relative))
    };
    let mut found = Vec::new();
    if !takes(&everything, &[]) {
        found.push(Exclusion::Ours);
    } else if watch.ready_when.as_ref().zip(relative.file_name()).is_some_and(|(markers, name)| markers.is_one(name)) {
        found.push(Exclusion::Marker);
    } else {
        let excludes = |glob: &&String| !takes(&everything, std::slice::from_ref(*glob));
        found.extend(watch.exclude.iter().filter(excludes).cloned().map(Exclusion::Excluded));
        found.extend((!takes(&watch.include, &[])).then_some(Exclusion::NotIncluded));
    }
    found.extend((bytes < watch.min_size).then_some(Exclusion::TooSmall(watch.min_size)));
    found.extend(watch.max_size.filter(|max| bytes > *max).map(Exclusion::TooLarge));
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::marker::Marker;

    #[test]
    fn all_that_keeps_a_file_from_being_taken_up_is_named() {
        let watch = Watch {
            include: vec!["*.mov".into(), "*.part".into(), "*.json".into()],
            exclude: vec!["*.part".into(), "old".into(), "raw/**".into()],
            ready_when: Marker::parse("{name}.done").ok(),
            min_size: 10,
            max_size: Some(20),
            ..Watch::new("/drop".into(), Arc::from([]))
        };
        let excluded = |glob: &str| Exclusion::Excluded(glob.into());
        let cases = [
            ("a.mov", 10, vec![]),
            ("sub/a.mov", 20, vec![]),
            ("a.txt", 15, vec![Exclusion::NotIncluded]),
            ("a.part", 9, vec![excluded("*.part"), Exclusion::TooSmall(10)]),
            ("old/sub/a.mov", 21, vec![excluded("old"), Exclusion::TooLarge(20)]),
            ("raw/a.part", 15, vec![excluded("*.part"), excluded("raw/**")]),
            ("a.mov.ferryd.json", 15, vec![Exclusion::Ours]),
            ("sub/a.mov.done", 15, vec![Exclusion::Marker]),
        ];
        for (path, bytes, expected) in cases {
            assert_eq!(exclusions(&watch, Path::new(path), bytes), expected, "{path}");
        }
    }
}
