//! What a body is by its beginning: a page for people, a document for programs, or neither.

/// Names of elements that a page for people begins with where it leaves out what should come before.
const HTML: [&str; 27] = [
    "html", "head", "body", "title", "meta", "link", "style", "script", "base", "center", "div", "span", "p", "a", "b", "br", "hr",
    "h1", "h2", "h3", "font", "form", "img", "iframe", "pre", "table", "main",
];

/// Whether a body is HTML, or is no document of any sort but begins like one. XML is not HTML unless its root says that it is.
pub(super) fn is_html(content_type: Option<&str>, text: &str) -> bool {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if matches!(kind.as_str(), "text/html" | "application/xhtml+xml") {
        return true;
    }
    let Some(start) = Start::of(text) else { return false };
    let says_xml = start.declares_xml || matches!(kind.as_str(), "text/xml" | "application/xml") || kind.ends_with("+xml");
    match start.root {
        RootElement::Html => true,
        RootElement::Named(name) if says_xml => name.eq_ignore_ascii_case("html"),
        RootElement::Named(name) => HTML.iter().any(|known| known.eq_ignore_ascii_case(name)),
        RootElement::None => !says_xml,
    }
}

/// How a text with markup begins.
struct Start<'t> {
    declares_xml: bool,
    root: RootElement<'t>,
}

enum RootElement<'t> {
    /// A document type says that it is HTML.
    Html,
    /// The first element, with its prefix.
    Named(&'t str),
    None,
}

impl<'t> Start<'t> {
    fn of(text: &'t str) -> Option<Start<'t>> {
        let mut rest = text.trim_start_matches('\u{feff}').trim_start();
        rest.strip_prefix('<')?;
        let mut declares_xml = false;
        loop {
            rest = rest.trim_start();
            if let Some(declaration) = rest.strip_prefix("<?") {
                declares_xml |= declaration.starts_with("xml");
                rest = behind(declaration, "?>");
            } else if let Some(comment) = rest.strip_prefix("<!--") {
                rest = behind(comment, "-->");
            } else if let Some(kind) = rest.strip_prefix("<!") {
                let mut words = kind.split(|c: char| c.is_whitespace() || c == '>');
                let is_doctype = words.next().is_some_and(|word| word.eq_ignore_ascii_case("doctype"));
                if is_doctype && words.next().is_some_and(|word| word.eq_ignore_ascii_case("html")) {
                    return Some(Start { declares_xml, root: RootElement::Html });
                }
                rest = behind(kind, ">");
            } else {
                return Some(Start { declares_xml, root: root(rest) });
            }
        }
    }
}

fn behind<'t>(text: &'t str, end: &str) -> &'t str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

fn root(text: &str) -> RootElement<'_> {
    let Some(tag) = text.strip_prefix('<') else { return RootElement::None };
    let end = tag.find(|c: char| !(c.is_alphanumeric() || matches!(c, ':' | '_' | '-' | '.'))).unwrap_or(tag.len());
    let name = &tag[..end];
    if name.starts_with(|c: char| c.is_alphabetic() || c == '_') { RootElement::Named(name) } else { RootElement::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_html_and_a_document_is_not() {
        let pages: [(Option<&str>, &str); 17] = [
            (Some("text/html"), ""),
            (Some("Text/HTML; charset=utf-8"), "maintenance"),
            (Some("text/html"), "<?xml version=\"1.0\"?><Error/>"),
            (Some("application/xhtml+xml"), "<x/>"),
            (None, "<!DOCTYPE html><title>parked</title>"),
            (None, "\r\n <!doctype HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\">"),
            (None, "<html><head>"),
            (Some("application/json"), "<HTML lang=en>"),
            (None, "\u{feff}<!-- a proxy --><html>"),
            (None, "<?xml version=\"1.0\"?><!DOCTYPE html><html xmlns=\"http://www.w3.org/1999/xhtml\">"),
            (Some("text/xml"), "<html>"),
            (None, "<center><h1>502 Bad Gateway</h1></center>"),
            (None, "<h1>no</h1>"),
            (None, "<script>location = '/'</script>"),
            (None, "<!-- nothing else"),
            (None, "<<<"),
            (None, "<% oops %>"),
        ];
        for (kind, text) in pages {
            assert!(is_html(kind, text), "{kind:?} {text}");
        }
        let others: [(Option<&str>, &str); 14] = [
            (None, ""),
            (None, "ok"),
            (None, "{\"a\": \"<html>\"}"),
            (None, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchUpload</Code></Error>"),
            (Some("application/xml"), "<Error/>"),
            (Some("application/xml"), "<a>"),
            (Some("text/xml; charset=utf-8"), "<D:multistatus xmlns:D=\"DAV:\">"),
            (Some("application/soap+xml"), "<p/>"),
            (None, "<Error><Message>no</Message></Error>"),
            (None, "<S:Envelope>"),
            (None, "<d:multistatus/>"),
            (None, "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"),
            (None, "<?xml version=\"1.0\"?><!-- html --><a/>"),
            (Some("application/xml"), "<!-- cut"),
        ];
        for (kind, text) in others {
            assert!(!is_html(kind, text), "{kind:?} {text}");
        }
    }
}
