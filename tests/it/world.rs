//! What the sandbox hosts show of themselves after the fact: who was there at once, and what they remember of folders.

use std::collections::BTreeMap;

use ferryd_sandbox::faults::Endpoint;
use ferryd_sandbox::log::Entry;
use serde_json::Value;

use crate::bench_top::Bench;

/// The requests to this endpoint, oldest first.
pub(crate) fn requests(bench: &Bench, endpoint: Endpoint) -> Vec<Entry> {
    bench.sandbox.log().into_iter().filter(|entry| entry.endpoint == Some(endpoint)).collect()
}

/// How many of these requests were under way together at most.
pub(crate) fn at_once<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> usize {
    overlap(entries.into_iter().map(|entry| (entry.seq, entry.ended.unwrap_or(u64::MAX))))
}

/// How many uploads were under way together at most, each from its first request to its last.
pub(crate) fn uploads_at_once<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> usize {
    let mut spans: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for entry in entries {
        let (Some(host), Some(session)) = (&entry.host, &entry.session) else { continue };
        let span = spans.entry((host, session)).or_insert((entry.seq, 0));
        span.1 = span.1.max(entry.ended.unwrap_or(u64::MAX));
    }
    overlap(spans.into_values())
}

fn overlap(spans: impl IntoIterator<Item = (u64, u64)>) -> usize {
    let mut marks: Vec<(u64, isize)> = spans.into_iter().flat_map(|(begin, end)| [(begin, 1), (end, -1)]).collect();
    marks.sort_unstable();
    let counts = marks.into_iter().scan(0, |count, (_, change)| {
        *count += change;
        Some(*count)
    });
    counts.max().unwrap_or(0).cast_unsigned()
}

/// What a host remembers under names that begin with `prefix`, by the rest of the name.
pub(crate) fn records(bench: &Bench, kind: &str, prefix: &str) -> BTreeMap<String, Value> {
    let folder = bench.dir.path().join("host").join(kind).join("records");
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let named = files.filter(|path| path.extension().is_some_and(|end| end == "json")).filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let name = percent_encoding::percent_decode_str(&name).decode_utf8_lossy().into_owned();
        // A record that is forgotten just now is none.
        let text = std::fs::read(&path).ok()?;
        Some((name.strip_prefix(prefix)?.to_owned(), serde_json::from_slice(&text).unwrap()))
    });
    named.collect()
}

/// Where the 4shared host keeps the file of this name: the folders from the root down, with `/` between them.
pub(crate) fn folder_at_4shared(bench: &Bench, name: &str) -> String {
    let (folders, items) = (records(bench, "4shared", "folder-"), records(bench, "4shared", "item-"));
    let item = items.values().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name} is not there: {items:?}"));
    let mut at = item["folder"].to_string();
    let mut names = Vec::new();
    while let Some(folder) = folders.get(&at) {
        names.insert(0, folder["name"].as_str().unwrap().to_owned());
        at = folder["parent"].to_string();
    }
    assert_eq!(at, "-1", "every folder is below the root");
    names.join("/")
}

#[test]
fn spans_that_only_touch_are_not_at_once() {
    assert_eq!(overlap([]), 0);
    assert_eq!(overlap([(1, 4), (2, 3), (4, 9)]), 2);
    assert_eq!(overlap([(1, u64::MAX), (2, 3), (5, 6), (5, u64::MAX)]), 3);
}
