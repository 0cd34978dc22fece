//! `multipart/form-data` (RFC 7578) with at most one file, which goes last: two short texts around bytes that are not copied.

use bytes::Bytes;

/// A form, ready but for the bytes of its file.
#[derive(Debug, Clone)]
pub struct Form {
    boundary: String,
    head: String,
    file_bytes: Option<u64>,
}

impl Form {
    /// An empty form with this boundary, which no file may hold.
    pub fn with_boundary(boundary: String) -> Form {
        Form { boundary, head: String::new(), file_bytes: None }
    }

    /// Adds a text field. `name` is ours; `value` goes as it is.
    pub fn text(mut self, name: &str, value: &str) -> Form {
        let boundary = &self.boundary;
        self.head.push_str(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
        self
    }

    /// Adds the file, as the last field, without a content type. Both names are ours: no quotation mark, no line break.
    pub fn file(self, name: &str, file_name: &str, bytes: u64) -> Form {
        self.file_part(name, file_name, "", bytes)
    }

    /// The same with a content type.
    pub fn typed_file(self, name: &str, file_name: &str, content_type: &str, bytes: u64) -> Form {
        self.file_part(name, file_name, &format!("Content-Type: {content_type}\r\n"), bytes)
    }

    fn file_part(mut self, name: &str, file_name: &str, more: &str, bytes: u64) -> Form {
        let boundary = &self.boundary;
        let disposition = format!("form-data; name=\"{name}\"; filename=\"{file_name}\"");
        self.head.push_str(&format!("--{boundary}\r\nContent-Disposition: {disposition}\r\n{more}\r\n"));
        self.file_bytes = Some(bytes);
        self
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// What goes before the file's bytes.
    pub fn head(&self) -> Bytes {
        Bytes::from(self.head.clone())
    }

    /// What goes after the file's bytes.
    pub fn tail(&self) -> Bytes {
        let line = if self.file_bytes.is_some() { "\r\n" } else { "" };
        Bytes::from(format!("{line}--{}--\r\n", self.boundary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_documented_request() {
        let form = Form::with_boundary("BOUND".into()).text("dzuuid", "40718826350194427713").file("file", "file", 3);
        let wire = [&form.head()[..], b"abc", &form.tail()[..]].concat();
        let expected = "--BOUND\r\nContent-Disposition: form-data; name=\"dzuuid\"\r\n\r\n40718826350194427713\r\n\
             --BOUND\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\n\r\nabc\r\n--BOUND--\r\n";
        assert_eq!(String::from_utf8(wire).unwrap(), expected);
    }

    #[test]
    fn a_form_without_a_file_ends_after_its_last_field() {
        let form = Form::with_boundary("B".into()).text("complete", "yes");
        let wire = [form.head(), form.tail()].concat();
        assert_eq!(wire, b"--B\r\nContent-Disposition: form-data; name=\"complete\"\r\n\r\nyes\r\n--B--\r\n");
    }
}
