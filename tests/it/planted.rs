//! The bugs that are built in for the simulator stand where their list says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ferryd::internals::planted::{BUGS, UnknownBug, plant};

use super::layers::code;

/// The names in `planted!("…")` of a text.
fn planted_in(code: &str) -> impl Iterator<Item = &str> {
    code.split("planted!(\"").skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_listed_bug_is_planted_in_one_place_and_every_planted_one_is_listed() {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (_, path, code) in code() {
        planted_in(&code).for_each(|name| places.entry(name.to_owned()).or_default().push(path.clone()));
    }
    let listed: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
    let unlisted: Vec<&String> = places.keys().filter(|name| !listed.contains(&name.as_str())).collect();
    assert!(unlisted.is_empty(), "{unlisted:?} are in no list");
    for name in &listed {
        assert_eq!(places.get(*name).map(Vec::len), Some(1), "{name} is planted in {:?}", places.get(*name));
    }
    assert_eq!(places.len(), listed.len(), "a name is listed twice");
}

#[test]
fn the_names_are_such_that_a_binary_can_be_searched_for_them() {
    let is_word = |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    for bug in BUGS {
        let is_pair = bug.name.split_once('.').is_some_and(|(one, other)| is_word(one) && is_word(other));
        assert!(is_pair && !bug.does.is_empty(), "{bug:?}");
    }
}

#[test]
fn a_bug_that_nobody_has_planted_cannot_be_switched_on() {
    assert_eq!(plant("settle.nothing"), Err(UnknownBug("settle.nothing".into())));
    assert_eq!(planted_in("a(planted!(\"x.y\") && b, planted!(\"z\"))").collect::<Vec<_>>(), ["x.y", "z"]);
}
