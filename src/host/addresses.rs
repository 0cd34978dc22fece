//! The web addresses that a shortcut file holds: `*.url` (Windows), `*.webloc` (macOS), `*.uri-list` (RFC 2483).

use std::io::Cursor;

use plist::stream::Event;
use url::Url;

/// The most addresses one file may hold.
const ADDRESSES_MAX: usize = 100;
/// The longest file that can be a list of addresses, in bytes.
pub(super) const LIST_BYTES_MAX: u64 = 64 * 1024;
/// How much of a property list is read, in beginnings, ends and values.
const PLIST_EVENTS_MAX: usize = 1000;

/// Whether a file of this name holds addresses.
pub(super) fn is_list(name: &str) -> bool {
    kind(name).is_some()
}

enum LinkFile {
    Url,
    Webloc,
    UriList,
}

fn kind(name: &str) -> Option<LinkFile> {
    let (_, end) = name.rsplit_once('.')?;
    match end.to_ascii_lowercase().as_str() {
        "url" => Some(LinkFile::Url),
        "webloc" => Some(LinkFile::Webloc),
        "uri-list" => Some(LinkFile::UriList),
        _ => None,
    }
}

/// The addresses in the file `name`, in order.
///
/// # Errors
/// A text for a person, when there is none, one is no http or https address, or there are too many.
pub fn read(name: &str, content: &[u8]) -> Result<Vec<String>, String> {
    let text = String::from_utf8_lossy(content);
    let found = match kind(name) {
        Some(LinkFile::Webloc) => webloc(content),
        Some(LinkFile::UriList) => {
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
        }
        _ => shortcut(&text),
    };
    if found.is_empty() {
        return Err("the file contains no address".into());
    }
    if found.len() > ADDRESSES_MAX {
        return Err(format!("the file contains {} addresses; at most {ADDRESSES_MAX} are allowed", found.len()));
    }
    found.iter().map(|address| normal(address)).collect()
}

fn normal(address: &str) -> Result<String, String> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(String::from).ok_or_else(|| format!("`{}` is not an http or https address", super::excerpt(address)))
}

/// `URL=` in the section `[InternetShortcut]`.
fn shortcut(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.eq_ignore_ascii_case("[InternetShortcut]");
        } else if let Some((key, value)) = line.split_once('=')
            && inside
            && key.trim().eq_ignore_ascii_case("url")
        {
            found.push(value.trim().to_owned());
        }
    }
    found
}

/// The texts after the keys `URL` of a property list, XML or binary. Read as it comes and to a limit: the objects of a binary list
/// may hold one another so often that a few bytes would fill any memory.
fn webloc(content: &[u8]) -> Vec<String> {
    let events = plist::stream::Reader::new(Cursor::new(content)).take(PLIST_EVENTS_MAX);
    let mut found = Vec::new();
    let mut is_next = false;
    for event in events.map_while(Result::ok) {
        match event {
            Event::String(text) if is_next => {
                is_next = false;
                found.push(text.trim().to_owned());
            }
            Event::String(text) => is_next = text == "URL",
            _ => is_next = false,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_shortcut_gives_its_addresses() {
        let webloc = "<?xml version=\"1.0\"?>\n<!DOCTYPE plist PUBLIC \"a\" \"b\">\n<plist version=\"1.0\"><dict>\n<key>URL</key>\n\
                      <string>https://example.org/a?b=1&amp;c=2</string>\n</dict></plist>";
        assert_eq!(read("x.webloc", webloc.as_bytes()).unwrap(), ["https://example.org/a?b=1&c=2"]);
        let url = "\u{feff}[DEFAULT]\r\nURL=http://no/\r\n[InternetShortcut]\r\nurl = https://example.org/a.png\r\nIconIndex=0\r\n";
        assert_eq!(read("x.URL", url.as_bytes()).unwrap(), ["https://example.org/a.png"]);
        let list = "# two\r\nhttps://a.example/1\r\n\r\n https://a.example/2 \r\n";
        assert_eq!(read("x.uri-list", list.as_bytes()).unwrap(), ["https://a.example/1", "https://a.example/2"]);
    }

    /// A binary property list of these objects, the first of which is its root.
    fn binary(objects: &[&[u8]]) -> Vec<u8> {
        let mut list = b"bplist00".to_vec();
        let mut offsets = Vec::new();
        for object in objects {
            offsets.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
            list.extend_from_slice(object);
        }
        let table = list.len() as u64;
        list.extend(offsets);
        list.extend([0, 0, 0, 0, 0, 0, 2, 1]);
        for number in [objects.len() as u64, 0, table] {
            list.extend(number.to_be_bytes());
        }
        list
    }

    #[test]
    fn a_shortcut_that_safari_writes_in_binary_gives_its_address() {
        let address = "https://example.org/a?b=1&c=2";
        let text = [&[0x5f, 0x10, address.len() as u8], address.as_bytes()].concat();
        let list = binary(&[&[0xd1, 1, 2], b"\x53URL", &text]);
        assert_eq!(read("x.webloc", &list).unwrap(), [address]);
        let wide: Vec<u8> = address.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let text = [&[0x6f, 0x10, address.len() as u8], wide.as_slice()].concat();
        assert_eq!(read("x.webloc", &binary(&[&[0xd1, 1, 2], b"\x53URL", &text])).unwrap(), [address]);
        for cut in 0..list.len() {
            assert!(read("x.webloc", &list[..cut]).is_err(), "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_shortcut_whose_objects_hold_one_another_without_end_is_read_to_a_limit() {
        let holds: Vec<[u8; 11]> = (1..=60).map(|next| [[0xaa].as_slice(), &[next; 10]].concat().try_into().unwrap()).collect();
        let mut objects: Vec<&[u8]> = holds.iter().map(<[u8; 11]>::as_slice).collect();
        objects.push(b"\x51x");
        assert!(read("x.webloc", &binary(&objects)).unwrap_err().contains("contains no address"));
    }

    #[test]
    fn what_is_no_list_of_addresses_says_why() {
        for (name, content, said) in [
            ("x.url", "", "contains no address"),
            ("x.webloc", "bplist00\u{1}", "contains no address"),
            ("x.webloc", "<plist><dict><key>URL", "contains no address"),
            ("x.uri-list", "ftp://a/b", "`ftp://a/b` is not an http or https address"),
            ("x.uri-list", "file:///etc/passwd", "is not an http"),
            ("x.uri-list", &"https://a/\n".repeat(101), "101 addresses"),
        ] {
            assert!(read(name, content.as_bytes()).unwrap_err().contains(said), "{name} {content}");
        }
        assert!(is_list("a.url") && !is_list("url") && !is_list("a.txt"));
    }
}
