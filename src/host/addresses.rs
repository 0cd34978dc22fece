//! The web addresses that a shortcut file holds: `*.url` (Windows), `*.webloc` (macOS), `*.uri-list` (RFC 2483).

use quick_xml::Reader;
use quick_xml::events::Event;
use url::Url;

/// The most addresses one file may hold.
const ADDRESSES_MAX: usize = 100;
/// The longest file that can be a list of addresses, in bytes.
pub const LIST_BYTES_MAX: u64 = 64 * 1024;

/// Whether a file of this name holds addresses.
pub fn is_list(name: &str) -> bool {
    kind(name).is_some()
}

enum Kind {
    Url,
    Webloc,
    UriList,
}

fn kind(name: &str) -> Option<Kind> {
    let (_, end) = name.rsplit_once('.')?;
    match end.to_ascii_lowercase().as_str() {
        "url" => Some(Kind::Url),
        "webloc" => Some(Kind::Webloc),
        "uri-list" => Some(Kind::UriList),
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
        Some(Kind::Webloc) if content.starts_with(b"bplist") => {
            return Err(
                "the file is a binary property list, which is not supported; convert it with `plutil -convert xml1 FILE`".into()
            );
        }
        Some(Kind::Webloc) => webloc(&text),
        Some(Kind::UriList) => {
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

/// The text after the key `URL` of a property list.
fn webloc(text: &str) -> Vec<String> {
    let mut reader = Reader::from_str(text);
    let (mut texts, mut now): (Vec<String>, String) = (Vec::new(), String::new());
    loop {
        match reader.read_event() {
            Ok(Event::Text(text)) => now.push_str(&text.xml10_content()),
            Ok(Event::GeneralRef(name)) => now.push_str(&super::xml::reference(&name)),
            Ok(Event::Start(_) | Event::End(_)) => texts.push(std::mem::take(&mut now).trim().to_owned()),
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    texts.retain(|text| !text.is_empty());
    let keys = texts.windows(2).filter(|pair| pair[0] == "URL");
    keys.map(|pair| pair[1].clone()).collect()
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

    #[test]
    fn what_is_no_list_of_addresses_says_why() {
        for (name, content, said) in [
            ("x.url", "", "contains no address"),
            ("x.webloc", "bplist00\u{1}", "binary property list"),
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
