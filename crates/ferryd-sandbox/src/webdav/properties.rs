//! What is asked of a file or folder, and what is told.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::NsReader;
use quick_xml::escape::escape;
use quick_xml::events::Event;
use quick_xml::name::{Namespace, ResolveResult};

use super::super::Shared;
use super::super::exchange::Answer;
use super::tree::{self, Entry};
use super::{Call, Fault, Hrefs, served, xml};

/// What a path is encoded by in a list.
const IN_HREF: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const DAV: &str = "DAV:";
const OWNCLOUD: &str = "http://owncloud.org/ns";
/// Everything that is told of a file or folder where nothing else is asked for.
const ALL: [&str; 4] = ["resourcetype", "getcontentlength", "getetag", "getlastmodified"];
/// How much room there is.
const FREE_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// A property, by namespace and local name.
type Name = (String, String);

/// The properties that a question asks for.
fn asked_for(text: &str) -> Result<Vec<Name>, Fault> {
    if text.is_empty() {
        return Ok(ALL.map(|name| (DAV.to_owned(), name.to_owned())).to_vec());
    }
    let wrong = || Fault::bad("the question is no propfind");
    let mut reader = NsReader::from_str(text);
    let (mut open, mut wanted): (Vec<Name>, Vec<Name>) = (Vec::new(), Vec::new());
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|_| wrong())?;
        let namespace = match namespace {
            ResolveResult::Bound(Namespace(namespace)) => namespace.to_owned(),
            _ => Default::default(),
        };
        match event {
            Event::Start(start) => {
                open.push((text_of(&namespace), text_of(start.local_name().as_ref())));
                wanted.extend((open.len() == 3).then(|| open[2].clone()));
            }
            Event::Empty(empty) => {
                let name = (text_of(&namespace), text_of(empty.local_name().as_ref()));
                match open.len() {
                    2 => wanted.push(name),
                    1 if name == (DAV.to_owned(), "allprop".to_owned()) => return asked_for(""),
                    _ => return Err(wrong()),
                }
            }
            Event::End(_) => drop(open.pop()),
            Event::Eof => break,
            _ => {}
        }
        let expected = ["propfind", "prop"];
        if open.iter().zip(expected).any(|((namespace, name), expected)| namespace != DAV || name != expected) {
            return Err(wrong());
        }
    }
    if wanted.is_empty() { Err(wrong()) } else { Ok(wanted) }
}

fn text_of(name: &(impl AsRef<str> + ?Sized)) -> String {
    name.as_ref().to_owned()
}

impl Call {
    pub(super) fn look(&self, shared: &Shared, is_deep: bool) -> Result<Answer, Fault> {
        let wanted = asked_for(&self.text)?;
        let own = tree::at(shared, &self.path).ok_or_else(Fault::missing)?;
        let within = if is_deep && own.0.is_folder { tree::within(shared, &self.path) } else { Vec::new() };
        let responses: String =
            std::iter::once(own).chain(within).map(|(entry, bytes)| self.response(&entry, bytes, &wanted)).collect();
        let text = format!("<d:multistatus xmlns:d=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\">{responses}</d:multistatus>");
        Ok(served(xml(207, &text)))
    }

    fn response(&self, entry: &Entry, bytes: u64, wanted: &[Name]) -> String {
        let (mut there, mut missing) = (String::new(), String::new());
        for (namespace, name) in wanted {
            let value = if namespace == DAV { self.value(entry, bytes, name) } else { checksums(entry, namespace, name) };
            let prefix = if namespace == DAV { "d" } else { "oc" };
            match value {
                Some(value) => write!(there, "<{prefix}:{name}>{value}</{prefix}:{name}>").ok(),
                None => write!(missing, "<{prefix}:{name}/>").ok(),
            };
        }
        let stat = |props: &str, status: &str| match props {
            "" => String::new(),
            _ => format!("<d:propstat><d:prop>{props}</d:prop><d:status>HTTP/1.1 {status}</d:status></d:propstat>"),
        };
        let (there, missing) = (stat(&there, "200 OK"), stat(&missing, "404 Not Found"));
        format!("<d:response><d:href>{}</d:href>{there}{missing}</d:response>", escape(self.href(entry).as_str()))
    }

    fn href(&self, entry: &Entry) -> String {
        let path = utf8_percent_encode(&entry.path, IN_HREF).to_string();
        let path = if self.rules.hrefs == Hrefs::SmallLetters { in_small_letters(&path) } else { path };
        let end = if entry.is_folder && !path.is_empty() { "/" } else { "" };
        let path = format!("{}/{path}{end}", self.prefix);
        if self.rules.hrefs == Hrefs::Absolute { format!("https://inner.example:8443{path}") } else { path }
    }

    fn value(&self, entry: &Entry, bytes: u64, name: &str) -> Option<String> {
        match name {
            "resourcetype" => Some(if entry.is_folder { "<d:collection/>".into() } else { String::new() }),
            "getcontentlength" if !entry.is_folder && self.rules.tells_sizes => Some(bytes.to_string()),
            "getetag" => Some(format!("&quot;{}&quot;", entry.etag)),
            "getlastmodified" => Some(entry.modified()),
            "quota-available-bytes" if entry.is_folder => Some(FREE_BYTES.to_string()),
            _ => None,
        }
    }
}

/// The digests of a file.
fn checksums(entry: &Entry, namespace: &str, name: &str) -> Option<String> {
    let told = entry.checksums.as_ref().filter(|_| (namespace, name) == (OWNCLOUD, "checksums"))?;
    Some(format!("<oc:checksum>{}</oc:checksum>", escape(told.as_str())))
}

/// The same with what is encoded in small letters.
fn in_small_letters(path: &str) -> String {
    let mut encoded = 0;
    let letter = |c: char| {
        encoded = if c == '%' { 2 } else { i32::max(encoded - 1, -1) };
        if encoded >= 0 { c.to_ascii_lowercase() } else { c }
    };
    path.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_properties_by_their_namespaces() {
        let text = "<?xml version=\"1.0\"?><a:propfind xmlns:a=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\"><a:prop><a:getetag/>\
                    <oc:fileid></oc:fileid></a:prop></a:propfind>";
        let named = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(asked_for(text).unwrap(), [named(DAV, "getetag"), named("http://owncloud.org/ns", "fileid")]);
        assert_eq!(asked_for("").unwrap().len(), 4);
        assert_eq!(asked_for("<d:propfind xmlns:d=\"DAV:\"><d:allprop/></d:propfind>").unwrap().len(), 4);
        for wrong in [
            "<propfind><prop><getetag/></prop></propfind>",
            "<d:propfind xmlns:d=\"DAV:\"/>",
            "{}",
            "<d:x xmlns:d=\"DAV:\"><d:prop/></d:x>",
        ] {
            assert!(asked_for(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_encoded_is_in_small_letters() {
        assert_eq!(in_small_letters("A/%C3%BCB%20C"), "A/%c3%bcB%20C");
    }
}
