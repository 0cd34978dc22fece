//! Requests.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use url::Url;

use super::super::form::Form;
use super::super::redact::Secrets;
use super::super::{Part, PartSource};
use super::body::PartSlice;
use crate::secret::Secret;

/// How much of a reply is read before it is judged.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// Values of a query that are shorter are no secrets, and would be found everywhere.
const SECRET_BYTES_MIN: usize = 6;

/// A request on its way to be sent.
pub struct Request<'a> {
    /// `None` if what was asked for is no method.
    pub(super) method: Option<Method>,
    pub(super) url: &'a str,
    pub(super) headers: Vec<(Cow<'static, str>, String)>,
    pub(super) body: Payload<'a>,
    pub(super) patience: Duration,
    pub(super) follows: bool,
    pub(super) exact: bool,
    pub(super) reply_bytes_max: usize,
    /// What must not be told, should the host say it back to us.
    pub(super) secrets: Secrets,
}

/// What a request carries. The bytes of a part are read anew whenever it is sent.
pub(super) enum Payload<'a> {
    Nothing,
    Text(Bytes),
    Around { head: Bytes, file: Option<PartSlice<'a>>, tail: Bytes },
}

impl<'a> Request<'a> {
    /// A GET.
    pub fn get(url: &'a str) -> Request<'a> {
        Request::new(Method::GET, url)
    }

    /// A POST.
    pub fn post(url: &'a str) -> Request<'a> {
        Request::new(Method::POST, url)
    }

    /// A PUT.
    pub fn put(url: &'a str) -> Request<'a> {
        Request::new(Method::PUT, url)
    }

    /// A HEAD, whose reply has headers and no text.
    pub fn head(url: &'a str) -> Request<'a> {
        Request::new(Method::HEAD, url)
    }

    /// A PATCH.
    pub fn patch(url: &'a str) -> Request<'a> {
        Request::new(Method::PATCH, url)
    }

    /// A DELETE.
    pub fn delete(url: &'a str) -> Request<'a> {
        Request::new(Method::DELETE, url)
    }

    /// Any other, such as MKCOL. A name that cannot be one is an error when the request is sent.
    pub fn custom(method: &str, url: &'a str) -> Request<'a> {
        Request { method: Method::from_bytes(method.as_bytes()).ok(), ..Request::new(Method::GET, url) }
    }

    fn new(method: Method, url: &'a str) -> Request<'a> {
        Request {
            method: Some(method),
            url,
            headers: Vec::new(),
            body: Payload::Nothing,
            patience: Duration::ZERO,
            follows: false,
            exact: false,
            reply_bytes_max: REPLY_BYTES_MAX,
            secrets: Secrets::default(),
        }
    }

    /// With a header. A name or a value that cannot be one is an error when the request is sent.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Request<'a> {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a text as its body.
    #[must_use]
    pub fn text(self, content_type: &str, text: impl Into<Bytes>) -> Request<'a> {
        Request { body: Payload::Text(text.into()), ..self }.header("content-type", content_type)
    }

    /// With a form, and the bytes of `part` as its file where there is one.
    #[must_use]
    pub fn form(self, form: Form, part: Option<&'a Part>) -> Request<'a> {
        let file = part.map(|part| PartSlice { source: part.source.as_ref(), offset: None, bytes: part.bytes });
        self.form_of(form, file)
    }

    /// The same with `bytes` bytes of the part from `offset` on.
    #[must_use]
    pub fn form_piece(self, form: Form, part: &'a Part, offset: u64, bytes: u64) -> Request<'a> {
        self.form_of(form, Some(PartSlice { source: part.source.as_ref(), offset: Some(offset), bytes }))
    }

    fn form_of(self, form: Form, file: Option<PartSlice<'a>>) -> Request<'a> {
        let kind = form.content_type();
        Request { body: Payload::Around { head: form.head(), file, tail: form.tail() }, ..self }.header("content-type", kind)
    }

    /// With `bytes` bytes of a file, and texts around them.
    #[must_use]
    pub fn around(self, head: impl Into<Bytes>, file: &'a dyn PartSource, bytes: u64, tail: impl Into<Bytes>) -> Request<'a> {
        let file = Some(PartSlice { source: file, offset: None, bytes });
        Request { body: Payload::Around { head: head.into(), file, tail: tail.into() }, ..self }
    }

    /// With the bytes of a part and nothing else.
    #[must_use]
    pub fn raw(self, part: &'a Part) -> Request<'a> {
        self.around(Bytes::new(), part.source.as_ref(), part.bytes, Bytes::new())
    }

    /// With the first `bytes` bytes of a part and nothing else.
    #[must_use]
    pub fn raw_start(self, part: &'a Part, bytes: u64) -> Request<'a> {
        let file = Some(PartSlice { source: part.source.as_ref(), offset: Some(0), bytes });
        Request { body: Payload::Around { head: Bytes::new(), file, tail: Bytes::new() }, ..self }
    }

    /// With time for the host to think once it has everything, also between the beginning of its reply and the end.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Request<'a> {
        Request { patience, ..self }
    }

    /// Follows redirections that repeat the same request at the same host.
    #[must_use]
    pub fn following(self) -> Request<'a> {
        Request { follows: true, ..self }
    }

    /// To an address that a signature covers, and that must leave byte for byte as it is written.
    #[must_use]
    pub fn verbatim(self) -> Request<'a> {
        Request { exact: true, ..self }
    }

    /// The same for an address that holds its signature: the values of its query are secrets.
    #[must_use]
    pub fn exactly(mut self) -> Request<'a> {
        let query = Url::parse(self.url).ok().map(|url| url.query().unwrap_or_default().to_owned()).unwrap_or_default();
        let values = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
        for value in values.filter(|value| value.len() >= SECRET_BYTES_MIN) {
            self.secrets.add(&Secret::new(value));
            // What it means may be said back as well.
            self.secrets.add(&Secret::new(percent_encoding::percent_decode_str(value).decode_utf8_lossy()));
        }
        self.verbatim()
    }

    /// With something that must not be told, should the host say it back to us.
    #[must_use]
    pub fn secret(mut self, secret: &Secret) -> Request<'a> {
        self.secrets.add(secret);
        self
    }

    /// The same with all of these.
    #[must_use]
    pub(in crate::host) fn secrets(mut self, secrets: &Secrets) -> Request<'a> {
        self.secrets.add_all(secrets);
        self
    }

    /// With a reply of more than 64 KiB.
    #[must_use]
    pub fn reply_max(self, bytes: usize) -> Request<'a> {
        Request { reply_bytes_max: bytes, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::Reply;
    use super::*;

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, text: text.into(), ..Reply::default() }
    }

    #[test]
    fn a_secret_that_comes_back_is_not_told() {
        let request = Request::post("https://s.example/o?id=01234%2F56789&n=1").exactly().secret(&Secret::new("hunter2"));
        let said = |text: &str| reply(403, &request.secrets.taken_out_of(text.to_owned())).refusal().said;
        assert!(said("no hunter2 for 01234%2F56789 here").contains("no [secret] for [secret] here"));
        assert!(said("no Hunter2 for 01234/56789 here").contains("no [secret] for [secret] here"));
    }
}
