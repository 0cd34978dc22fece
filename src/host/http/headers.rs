//! The headers of a reply.

use std::fmt;

use reqwest::header::HeaderMap;

use super::super::redact::Secrets;

/// How many headers of a reply are kept, ...
const HEADERS_MAX: usize = 100;
/// ... and how many bytes of names and values.
const BYTES_MAX: usize = 64 * 1024;

/// The headers of a reply, in the order in which they came. Those beyond 100, beyond 64 KiB in all, or with a value that is not
/// ASCII are left out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    pub(super) fn of(map: &HeaderMap) -> Headers {
        map.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect()
    }

    /// The first value of the header `name`, in whatever letters either is written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn without(self, secrets: &Secrets) -> Headers {
        Headers(self.0.into_iter().map(|(name, value)| (name, secrets.taken_out_of(value))).collect())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(headers: I) -> Headers {
        let mut bytes = 0;
        let fits = |(name, value): &(&str, &str)| {
            let sum = bytes + name.len() + value.len();
            let fits = sum <= BYTES_MAX;
            bytes = if fits { sum } else { bytes };
            fits
        };
        let kept = headers.into_iter().filter(fits).take(HEADERS_MAX);
        Headers(kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// Only the names: a value may be a cookie or a signed address.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_header_is_found_in_whatever_letters_it_is_written() {
        let headers: Headers = [("ETag", "\"a\""), ("etag", "\"b\""), ("Upload-Offset", "7")].into_iter().collect();
        assert_eq!((headers.get("etag"), headers.get("UPLOAD-OFFSET"), headers.get("etags")), (Some("\"a\""), Some("7"), None));
    }

    #[test]
    fn a_host_cannot_fill_the_memory_with_headers() {
        let long = "x".repeat(BYTES_MAX - 10);
        let headers: Headers = [("long", long.as_str()), ("longer", long.as_str()), ("etag", "e")].into_iter().collect();
        assert_eq!((headers.get("long").is_some(), headers.get("longer"), headers.get("etag")), (true, None, Some("e")));
        let names: Vec<String> = (0..1000).map(|number| format!("h{number}")).collect();
        let headers: Headers = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(headers.0.len(), HEADERS_MAX);
    }

    #[test]
    fn a_secret_is_in_no_header_and_no_value_in_debug_output() {
        let mut secrets = Secrets::default();
        secrets.add(&Secret::new("hunter2"));
        let headers: Headers =
            [("location", "https://h.example/?key=hunter2&a=1"), ("cookie", "aHVudGVyMg==")].into_iter().collect();
        assert_eq!(format!("{headers:?}"), "[\"location\", \"cookie\"]");
        let shown = headers.without(&secrets);
        assert_eq!(shown.get("location"), Some("https://h.example/?key=[secret]&a=1"));
        assert!(!shown.get("cookie").unwrap().contains("aHVudGVyMg"));
    }
}
