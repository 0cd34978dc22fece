//! Where a bucket is: the address of its requests, by path or by name (page, 2).

use serde::{Deserialize, Serialize};
use url::Url;

use super::sign::encoded;

/// How a bucket stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// By name for AWS where the name allows it, by path everywhere else.
    Auto,
    /// `https://endpoint/bucket/key`.
    Path,
    /// `https://bucket.endpoint/key`.
    Virtual,
}

/// A bucket, as requests reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Scheme, host, port and path, without a slash at the end.
    base: String,
    pub(super) region: String,
    pub(super) bucket: String,
}

impl Place {
    /// The bucket at this endpoint, which is an http or https address.
    pub(super) fn new(endpoint: &str, style: Style, region: &str, bucket: &str) -> Place {
        let url = Url::parse(endpoint).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        let is_named = match style {
            Style::Auto => host.ends_with(".amazonaws.com") && !bucket.contains('.'),
            Style::Path => false,
            Style::Virtual => true,
        };
        let (before, port) = (if is_named { format!("{bucket}.") } else { String::new() }, url.as_ref().and_then(Url::port));
        let (scheme, path) = url.as_ref().map_or(("https", ""), |url| (url.scheme(), url.path().trim_end_matches('/')));
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let behind = if is_named { String::new() } else { format!("/{}", encoded(bucket)) };
        let base = format!("{scheme}://{before}{host}{port}{path}{behind}");
        Place { base, region: region.to_owned(), bucket: bucket.to_owned() }
    }

    /// The path of the bucket, or of an object in it, as it is on the wire.
    pub(super) fn path(&self, key: Option<&str>) -> String {
        let behind = self.base.split_once("://").map_or("", |(_, rest)| rest);
        let path = behind.find('/').map_or("", |at| &behind[at..]);
        match key {
            Some(key) => format!("{path}/{}", encoded(key)),
            None if path.is_empty() => "/".to_owned(),
            None => path.to_owned(),
        }
    }

    /// The host, with its port where that is not the usual one, as it is on the wire.
    pub(super) fn host(&self) -> &str {
        let behind = self.base.split_once("://").map_or("", |(_, rest)| rest);
        behind.split('/').next().unwrap_or_default()
    }

    /// The address of the bucket, or of an object in it.
    pub(super) fn url(&self, key: Option<&str>, query: &str) -> String {
        let scheme = self.base.split("://").next().unwrap_or_default();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{scheme}://{}{}{mark}{query}", self.host(), self.path(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_reached_by_its_name_or_by_a_path() {
        let url = |endpoint, style, bucket| Place::new(endpoint, style, "r", bucket).url(Some("a/ü b"), "partNumber=1");
        let aws = "https://s3.eu-central-1.amazonaws.com";
        let behind = "a/%C3%BC%20b?partNumber=1";
        let cases = [
            (aws, Style::Auto, "box", format!("https://box.s3.eu-central-1.amazonaws.com/{behind}")),
            (aws, Style::Auto, "my.box", format!("https://s3.eu-central-1.amazonaws.com/my.box/{behind}")),
            (aws, Style::Path, "box", format!("https://s3.eu-central-1.amazonaws.com/box/{behind}")),
            ("http://127.0.0.1:9000/", Style::Auto, "box", format!("http://127.0.0.1:9000/box/{behind}")),
            ("https://h.example:443/s3/", Style::Auto, "box", format!("https://h.example/s3/box/{behind}")),
            ("https://h.example:8443", Style::Virtual, "box", format!("https://box.h.example:8443/{behind}")),
        ];
        for (endpoint, style, bucket, expected) in cases {
            assert_eq!(url(endpoint, style, bucket), expected);
        }
    }

    #[test]
    fn what_is_signed_is_what_is_on_the_wire() {
        let place = Place::new("http://127.0.0.1:9000/s3", Style::Auto, "r", "box");
        assert_eq!(
            (place.host(), place.path(Some("k")), place.path(None)),
            ("127.0.0.1:9000", "/s3/box/k".into(), "/s3/box".into())
        );
        let place = Place::new("https://h.example", Style::Virtual, "r", "box");
        assert_eq!(
            (place.host(), place.path(None), place.url(None, "")),
            ("box.h.example", "/".into(), "https://box.h.example/".into())
        );
    }
}
