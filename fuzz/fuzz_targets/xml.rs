//! The XML reader, and what it makes of a text that we wrote ourselves.
#![no_main]

use ferryd::internals::host::fuzzing::{Element, escaped, xml};
use libfuzzer_sys::fuzz_target;

/// How deep the reader lets elements nest.
const DEPTH_MAX: usize = 33;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Some(root) = xml(&text) {
        assert!(!root.name.is_empty() && depth(&root) <= DEPTH_MAX);
        assert_eq!(root.find(&root.name), Some(&root));
    }
    let written = format!("<?xml version=\"1.0\"?><e:a xmlns:e=\"x\"><arg0>{}</arg0></e:a>", escaped(&text));
    let root = xml(&written).unwrap_or_else(|| panic!("not read again: {written:?}"));
    assert_eq!((root.name.as_str(), root.children.len()), ("a", 1));
    assert_eq!(root.children[0].text, expected(&text), "{written:?}");
});

fn depth(element: &Element) -> usize {
    1 + element.children.iter().map(depth).max().unwrap_or(0)
}

/// What XML has no way to write becomes `_`; the rest is as it was, without what is around it.
fn expected(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let clean: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    clean.trim().to_owned()
}
