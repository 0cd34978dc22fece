//! XML as hosts send it: a small tree of elements by their local names, whatever the prefixes. Bounded like the reply it comes
//! from.
//!
//! Prefixes need not be declared: what a fault says counts all the same. Parsers that know namespaces refuse such a text as a
//! whole.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// How deep elements may nest before a text is taken for nonsense.
const DEPTH_MAX: usize = 32;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Its local name.
    pub name: String,
    /// Its own text, without what is around it.
    pub text: String,
    /// Whether it says that it is no value (`xsi:nil`).
    pub nil: bool,
    /// The elements in it, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// The first element of this name in it, at any depth, itself included.
    pub fn find(&self, name: &str) -> Option<&Element> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }

    /// The text of the child of this name; nothing where there is none, it is nil or empty.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        let child = self.children.iter().find(|child| child.name == name && !child.nil)?;
        Some(child.text.as_str()).filter(|text| !text.is_empty())
    }
}

/// The root element; nothing where `text` is no XML, or is cut short.
pub fn parse(text: &str) -> Option<Element> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = vec![Element::default()];
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if open.len() > DEPTH_MAX {
                    return None;
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => open.last_mut()?.children.push(element(&start)?),
            Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::GeneralRef(name) => open.last_mut()?.text.push_str(&reference(&name)),
            Event::End(_) => {
                let mut done = open.pop()?;
                done.text = done.text.trim().to_owned();
                open.last_mut()?.children.push(done);
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    match <[Element; 1]>::try_from(open) {
        Ok([top]) => <[Element; 1]>::try_from(top.children).ok().map(|[root]| root),
        Err(_) => None,
    }
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Option<Element> {
    let mut nil = false;
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        nil |= attribute.key.local_name().as_ref() == "nil" && matches!(attribute.value.as_ref(), "true" | "1");
    }
    let name = Some(start.local_name().as_ref().to_owned()).filter(|name| !name.is_empty())?;
    Some(Element { name, nil, ..Element::default() })
}

/// What `&name;` means; nothing for names only a document type would explain.
fn reference(name: &BytesRef<'_>) -> String {
    if let Ok(Some(c)) = name.resolve_char_ref() {
        return c.to_string();
    }
    let known = quick_xml::escape::resolve_xml_entity(&name.xml10_content()).unwrap_or_default();
    known.to_owned()
}

/// A text as it may stand in an element.
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(writable(text)).into_owned()
}

/// A text as an element can say it. Characters that XML 1.0 has no way to write become `_`.
pub(super) fn writable(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_are_found_by_their_local_names() {
        let text = "<?xml version=\"1.0\"?><S:Envelope xmlns:S=\"x\"><S:Body><n:r><return>a &amp; &#98;<![CDATA[<c>]]></return><e xsi:nil=\"true\"/></n:r></S:Body></S:Envelope>";
        let root = parse(text).unwrap();
        let r = root.find("r").unwrap();
        assert_eq!(r.text_of("return"), Some("a & b<c>"));
        assert_eq!((r.text_of("e"), r.children[1].nil), (None, true));
        assert_eq!(root.find("nothing"), None);
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        for text in [
            "",
            "plain",
            "<a><b>",
            "<a></b>",
            "<a/><b/>",
            "< />",
            "<a></a:><b>",
            "<p:/>",
            "<!DOCTYPE html><html><body>",
            &"<a>".repeat(100),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[<>/a-z&;\"= !\\[\\]-]{0,80}") {
            drop(parse(&text));
        }

        #[test]
        fn what_is_escaped_reads_back(text in "\\PC{0,40}") {
            let read = parse(&format!("<a>{}</a>", escaped(&text))).unwrap().text;
            prop_assert_eq!(read, text.trim());
        }
    }
}
