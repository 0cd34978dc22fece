//! Who may know whom. Reads the source, and fails on an arrow that `docs/ARCHITECTURE.md` does not draw.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each part of the house, with the parts it may know.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("job", &[]),
    ("os", &[]),
    ("secret", &[]),
    ("watch", &["job", "os"]),
    ("store", &["job", "os"]),
    ("config", &["job", "secret"]),
    ("host", &["config", "job", "os", "secret"]),
    ("sandbox", &[]),
    ("hook", &["config", "host", "job", "os", "secret"]),
    ("engine", &["config", "hook", "host", "job", "os", "store", "watch"]),
    ("cli", &["config", "engine", "host", "job", "os", "sandbox", "secret", "store"]),
    ("main", &["cli"]),
];

/// Each outside crate that only these parts may know.
const ONLY_IN: [(&str, &[&str]); 8] = [
    ("rusqlite", &["store"]),
    ("notify", &["watch"]),
    ("reqwest", &["host"]),
    ("hyper", &["sandbox"]),
    ("multer", &["sandbox"]),
    ("clap", &["cli"]),
    ("toml", &["config", "sandbox"]),
    ("signal_hook", &["os"]),
];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The part a file belongs to, and its code without comments and tests.
fn code() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let read = |path: PathBuf| {
        let below = path.strip_prefix(&root).unwrap();
        let part = below.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        (part, below.to_owned(), lines.collect::<Vec<_>>().join("\n"))
    };
    files
        .into_iter()
        .map(read)
        .filter(|(part, path, _)| {
            part != "lib" && !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests")
        })
        .collect()
}

/// The parts of ours that a text names.
fn named(code: &str) -> BTreeSet<String> {
    let after = code.split("crate::").skip(1).chain(code.split("ferryd::").skip(1));
    after.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn nobody_knows_more_than_the_house_allows() {
    let known: Vec<&str> = MAY_USE.iter().map(|(part, _)| *part).collect();
    let mut wrong = Vec::new();
    for (part, path, code) in code() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == part) else {
            panic!("{path:?} belongs to no part of the house");
        };
        for name in named(&code) {
            if known.contains(&name.as_str()) && name != part && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{path:?}: {part} must not know {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn each_outside_crate_stays_in_its_room() {
    let mut wrong = Vec::new();
    for (part, path, code) in code() {
        for (crate_name, rooms) in ONLY_IN {
            if !rooms.contains(&part.as_str()) && names_crate(&code, crate_name) {
                wrong.push(format!("{path:?}: only {rooms:?} may know {crate_name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_itself_sees_a_forbidden_arrow() {
    let names = named("use crate::store::Store;\nfn x() { crate::host::y() }");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["host", "store"]);
}
