//! A failed call to a host: what it means, where it failed, and what was said.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::job::shown::is_unsafe;
use crate::job::upload::Class;
use crate::job::{Reason, ReasonClass, Step};

/// How much of a strange reply is kept, in characters.
const EXCERPT_CHARS: usize = 300;

/// How much of a reply that nobody understands is kept, in bytes.
const REPLY_BYTES_MAX: usize = 4 * 1024;

/// A failed call to a host. The class says what to do; where it failed, the status and the host's own code are for comparing; the
/// text says what happened, as a fragment that reads after "cannot …:", and nobody but a person reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct HostError {
    /// What the failure means.
    pub class: Class,
    /// What it means once it is persistent, where a host is not believed for ever.
    pub worsens: Option<Class>,
    /// What the host was asked for; filled in by whoever asked, unless the host's own code knows better.
    pub step: Option<Step>,
    /// The HTTP status of the reply, where there was one.
    pub status: Option<u16>,
    /// The host's own error code, where there was one.
    pub code: Option<String>,
    /// What happened, for a person; an excerpt of the reply where there was one. Holds no secret.
    pub said: String,
    /// The beginning of the reply, where nobody knows what it means. Holds no secret.
    pub reply: Option<String>,
    /// The rest the host asked for.
    pub wait: Option<Duration>,
    /// Whether the rest doubles each time the host asks for it again, up to an hour.
    pub doubles: bool,
    /// Whether it asks for it because of too many logins, which are kept apart from then on.
    pub spaces: bool,
    /// Whether the request may have taken effect all the same: it was sent, and no answer that settles the matter came back.
    pub doubt: bool,
    /// Whether there was no connection at all.
    pub unconnected: bool,
    /// Whether nothing was made, and the finish is to be asked for at once more with the last part ([`super::Completion::last`]).
    pub wants_last: bool,
    /// The error that it came from.
    pub source: Option<ErrorCause>,
}

/// The error behind a failure. Two are equal if they say the same.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct ErrorCause(Arc<dyn Error + Send + Sync>);

impl PartialEq for ErrorCause {
    fn eq(&self, other: &ErrorCause) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for ErrorCause {}

impl HostError {
    /// A failure after which it is certain that nothing took effect.
    pub fn new(class: Class, said: impl Into<String>) -> Self {
        HostError {
            class,
            worsens: None,
            step: None,
            status: None,
            code: None,
            said: said.into(),
            reply: None,
            wait: None,
            doubles: false,
            spaces: false,
            doubt: false,
            unconnected: false,
            wants_last: false,
            source: None,
        }
    }

    /// The same, but once it is persistent it means `class`.
    #[must_use]
    pub fn worsening_to(self, class: Class) -> Self {
        HostError { worsens: Some(class), ..self }
    }

    /// A failure after which nobody knows whether the request took effect.
    pub fn unanswered(class: Class, said: impl Into<String>) -> Self {
        HostError { doubt: true, ..HostError::new(class, said) }
    }

    /// The same at this step, unless it is known to have failed at another.
    #[must_use]
    pub fn during(self, step: Step) -> Self {
        HostError { step: self.step.or(Some(step)), ..self }
    }

    /// The same with the status of the reply.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        HostError { status: Some(status), ..self }
    }

    /// The same with the host's own code.
    #[must_use]
    pub fn with_code(self, code: impl ToString) -> Self {
        HostError { code: Some(excerpt(&code.to_string())).filter(|code| !code.is_empty()), ..self }
    }

    /// The same with the beginning of the reply, to be kept for a person.
    #[must_use]
    pub fn with_reply(self, text: &str) -> Self {
        let text = without_queries(&text[..text.floor_char_boundary(REPLY_BYTES_MAX)]);
        HostError { reply: Some(text).filter(|text| !text.trim().is_empty()), ..self }
    }

    /// The same with what it came from.
    #[must_use]
    pub fn caused_by(self, error: impl Error + Send + Sync + 'static) -> Self {
        HostError { source: Some(ErrorCause(Arc::new(error))), ..self }
    }
}

impl From<HostError> for Reason {
    fn from(error: HostError) -> Reason {
        let HostError { class, step, status, code, said, reply, .. } = error;
        Reason { step, status, reply, ..Reason::new(ReasonClass::Host(class)).detail(said).code(code) }
    }
}

/// Whether a host's words are a verdict on the file itself: it is too large, its name or type is not taken, it is empty. Only such
/// words may fail a file; any others may be about the request, or about the host. A refusal that asks to be tried again is none.
pub(super) fn names_the_file(text: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    let about_something_else =
        has(&["request", "entity", "payload", "body", "header", "content", "media", "mime", "url", "path", "folder"])
            || has(&[
                "parameter",
                "parameters",
                "param",
                "field",
                "required",
                "missing",
                "chunk",
                "chunks",
                "part",
                "parts",
                "directory",
            ])
            || has(&["user", "username", "account", "login", "password", "token", "key", "host", "server", "domain"]);
    let passing = has(&["again", "later", "retry", "temporarily", "temporary", "busy", "unavailable", "timeout"]);
    if about_something_else || passing || !has(&["file", "files", "filename", "filetype", "name", "type", "extension", "format"]) {
        return false;
    }
    let is_refused =
        has(&["invalid", "unsupported", "forbidden", "refused", "rejected", "illegal", "disallowed", "blocked", "wrong"])
            || (has(&["not"]) && has(&["allowed", "supported", "accepted", "permitted"]));
    let is_too_large = (has(&["too"]) && has(&["large", "big", "long"]))
        || (has(&["size"]) && has(&["limit", "maximum", "exceeds", "exceeded", "exceeding"]));
    let names = has(&["filename", "filetype", "name", "type", "extension", "format"]);
    (names && is_refused) || is_too_large || (has(&["file"]) && has(&["empty"]))
}

/// The beginning of a reply in one line, for a person: control characters become spaces, it never grows long, and of an address
/// nothing is shown behind its `?`, where hosts put what opens doors.
pub(crate) fn excerpt(text: &str) -> String {
    let text = &without_queries(text);
    let mut line: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).take(EXCERPT_CHARS).collect();
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        line.push('…');
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ")
}

/// Cuts what looks like the query of an address: `?name=…` up to where an address ends.
fn without_queries(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('?') {
        let (before, query) = rest.split_at(at + 1);
        shown.push_str(before);
        let name = query.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.%".contains(c)));
        let is_query = name.is_some_and(|end| end > 0 && query[end..].starts_with('='));
        let end = query.find(|c: char| c.is_whitespace() || "\"'<>`\\)]}".contains(c)).unwrap_or(query.len());
        rest = if is_query {
            shown.push('…');
            &query[end..]
        } else {
            query
        };
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_behind_the_question_mark_of_an_address_is_shown() {
        let text = "{\"action\":\"http:\\/\\/192.0.2.10:81\\/upload?identity=0123456789abcdef\",\"cmbs\":1} why? https://s/o?a=1&X-Amz-Signature=ab <b>";
        let shown = excerpt(text);
        assert!(shown.contains("upload?…\",\"cmbs\"") && shown.ends_with("why? https://s/o?… <b>"), "{shown}");
        assert_eq!(excerpt("really? no=way"), "really? no=way");
        assert_eq!(excerpt("https://cut/short?identity=01234"), "https://cut/short?…");
    }

    #[test]
    fn only_words_about_the_file_itself_are_a_verdict_on_it() {
        let verdicts = [
            "file too large",
            "File is too big!",
            "{file_size}: file size limit exceeded",
            "the file exceeds the maximum size",
            "File type not allowed",
            "File format not supported: .exe",
            "Invalid file name",
            "this extension is not permitted",
            "name not allowed",
            "unsupported filetype",
            "wrong file type",
            "The file is empty",
            "file name too long",
        ];
        for words in verdicts {
            assert!(names_the_file(words), "{words}");
        }
        let others = [
            "",
            "oops",
            "Internal error, please retry",
            "storage node busy",
            "Missing required parameter: uploadPath",
            "Invalid parameter: fileName",
            "Parameter error.",
            "Request Entity Too Large",
            "413 Payload Too Large",
            "request body too large for this type",
            "Unsupported Media Type",
            "Invalid content type",
            "mime type not allowed",
            "wrong user name",
            "invalid folder name",
            "unsupported token type",
            "Content-Type header is not supported",
            "wrong chunk size",
            "the size of the part is invalid",
            "file not found",
            "file could not be stored",
            "invalid file",
            "the file type cannot be checked, try again later",
            "file upload is not allowed",
            "too many requests",
            "disk is full",
            "the merger is on holiday",
        ];
        for words in others {
            assert!(!names_the_file(words), "{words}");
        }
    }

    #[test]
    fn a_reason_has_all_that_the_failure_knows() {
        let error = HostError::unanswered(Class::Transient, "the host answered 502").with_status(502).with_code("E 7\n");
        let reason = Reason::from(error.during(Step::Login).during(Step::Open));
        let expected = Reason { step: Some(Step::Login), status: Some(502), ..Reason::new(ReasonClass::Host(Class::Transient)) };
        assert_eq!(reason, expected.detail("the host answered 502").code(Some("E 7".into())));
    }

    #[test]
    fn a_reply_that_nobody_understands_is_kept_up_to_a_length_and_without_what_opens_doors() {
        let long = format!("{{\n \"a\": \"https://s/o?a=1&X-Amz-Signature=ab\",\n{}", "ü".repeat(9_000));
        let kept = HostError::new(Class::Unreadable, "?").with_reply(&long).reply.unwrap();
        assert!(kept.starts_with("{\n \"a\": \"https://s/o?…\",\n") && (3_900..=4_096).contains(&kept.len()), "{}", kept.len());
        let reason = Reason::from(HostError::new(Class::Unreadable, "?").with_reply(&long));
        assert_eq!(Reason::read(&reason.stored()).reply, Some(kept));
        assert_eq!(HostError::new(Class::Unreadable, "?").with_reply(" \n").reply, None);
    }

    #[test]
    fn the_error_behind_a_failure_can_be_asked_for() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = HostError::new(Class::Transient, "no").caused_by(refused);
        let causes = std::iter::successors(Error::source(&error), |cause| (*cause).source());
        let said: Vec<String> = causes.map(ToString::to_string).collect();
        assert_eq!(said, ["connection refused"]);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("<html>\r\n\x1b[31m  oops\n"), "<html> [31m oops");
        assert_eq!(excerpt(&"ä".repeat(1000)).chars().count(), EXCERPT_CHARS + 1);
    }
}
