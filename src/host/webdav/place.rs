//! Addresses on the server: those of requests, and those in its replies (page, 2 and 3).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

/// Everything but what RFC 3986 calls unreserved, and the slash between names.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// An address of the configuration as it is on the wire, without a slash at the end.
pub(super) fn base(configured: &str) -> String {
    let url = Url::parse(configured).map_or_else(|_| configured.to_owned(), String::from);
    url.trim_end_matches('/').to_owned()
}

/// The address of what is at `path` below `base`.
pub(super) fn below(base: &str, path: &str) -> String {
    if path.is_empty() { format!("{base}/") } else { format!("{base}/{}", utf8_percent_encode(path, RESERVED)) }
}

/// The address of the folder at `path` below `base`: some servers want the slash at its end (page, 11).
pub(super) fn folder_below(base: &str, path: &str) -> String {
    let url = below(base, path);
    if url.ends_with('/') { url } else { format!("{url}/") }
}

/// The names of the path of an address, or of a path alone, as people read them: servers encode them in their own ways.
pub(super) fn names_of(address: &str) -> Vec<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => address,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let decoded = |name: &str| percent_decode_str(name).decode_utf8_lossy().into_owned();
    path.split('/').filter(|name| !name.is_empty()).map(decoded).collect()
}

/// A path that stays below its folder, of names that can be sent.
pub(super) fn clean(path: &str) -> String {
    let clean: String = path.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let names = clean.split('/').filter(|name| !name.is_empty());
    names.map(|name| if matches!(name, "." | "..") { "_" } else { name }).collect::<Vec<_>>().join("/")
}

/// The folder of a path.
pub(super) fn folder_of(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// The folders of a path, from the outside in.
pub(super) fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_made_of_encoded_names_and_leaves_as_it_is_written() {
        let base = base("https://h.example:443/remote dav/x/");
        assert_eq!(base, "https://h.example/remote%20dav/x");
        let cases = [
            ("a/ü b", "a/%C3%BC%20b"),
            ("100% [a]{b}", "100%25%20%5Ba%5D%7Bb%7D"),
            ("a\\b?c#d;e=&+'\"", "a%5Cb%3Fc%23d%3Be%3D%26%2B%27%22"),
            ("...", "..."),
        ];
        for (path, encoded) in cases {
            let url = below(&base, path);
            assert_eq!(url, format!("{base}/{encoded}"));
            assert_eq!(Url::parse(&url).unwrap().as_str(), url);
        }
        assert_eq!((below(&base, ""), folder_below(&base, "")), (format!("{base}/"), format!("{base}/")));
        assert_eq!(folder_below(&base, "a b"), format!("{base}/a%20b/"));
    }

    #[test]
    fn an_address_is_the_same_however_a_server_writes_it() {
        for address in ["/dav/%c3%bc%20b/", "https://other.example:8080/dav/%C3%BC b", "//dav//ü%20b?x#y"] {
            assert_eq!(names_of(address), ["dav", "ü b"], "{address}");
        }
        assert!(names_of("https://h.example").is_empty());
    }

    #[test]
    fn a_path_stays_below_its_folder() {
        assert_eq!(clean("../a//./b\n/..c/"), "_/a/_/b_/..c");
        assert_eq!((folder_of("a/b/c"), folder_of("c")), ("a/b", ""));
        assert_eq!(folders_of("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
    }
}
