//! What the targets share: a reply written as a text, and what is true of every error.
//!
//! An input is a line of words and, below it, the body: `503 html wait=30`, or `200 call=create bytes=7`. So the seeds can be read,
//! and a finding is a file that a person understands.

use std::time::Duration;

use ferryd::internals::host::HostError;
use ferryd::internals::host::http::Reply;

/// The most of a body that the transport reads.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The words for headers of the reply.
const HEADERS: [(&str, &str); 12] = [
    ("to", "location"),
    ("etag", "etag"),
    ("session", "session-id"),
    ("length", "content-length"),
    ("crc32c", "x-amz-checksum-crc32c"),
    ("token", "x-amz-meta-ferryd-upload"),
    ("offset", "upload-offset"),
    ("upload-length", "upload-length"),
    ("version", "tus-version"),
    ("extension", "tus-extension"),
    ("max", "tus-max-size"),
    ("algorithm", "tus-checksum-algorithm"),
];

/// An input, taken apart.
pub struct Input {
    words: Vec<String>,
    /// The reply.
    pub reply: Reply,
}

impl Input {
    /// Reads any bytes as an input, in the way the transport reads a reply.
    pub fn read(data: &[u8]) -> Input {
        let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let words: Vec<String> = String::from_utf8_lossy(&data[..end]).split_whitespace().map(str::to_owned).collect();
        let body = data.get(end + 1..).unwrap_or_default();
        let cut = body.len() > BODY_BYTES_MAX;
        let text = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]).into_owned();
        let mut input = Input { words, reply: Reply::default() };
        input.reply = Reply {
            status: input.words.iter().find_map(|word| word.parse().ok()).unwrap_or(200).clamp(100, 999),
            retry_after: input.number("wait").map(Duration::from_secs),
            html: input.has("html"),
            headers: HEADERS.into_iter().filter_map(|(word, name)| Some((name, input.word(word)?))).collect(),
            text,
            cut: cut || input.has("cut"),
        };
        input
    }

    /// Whether the line has this word.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }

    /// What stands behind `KEY=` in the line.
    pub fn word(&self, key: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The number behind `KEY=` in the line.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.word(key)?.parse().ok()
    }
}

/// What is true of every error: it has words, on one line, and not too many, and its code is no longer than they are.
pub fn assert_told(error: &HostError) {
    assert!(!error.said.trim().is_empty(), "an error without words: {error:?}");
    assert!(!error.said.contains(char::is_control), "an error that breaks the line: {error:?}");
    assert!(error.said.chars().count() < 2_000, "an error that does not end: {error:?}");
    let code = error.code.as_deref().unwrap_or("none");
    assert!(!code.is_empty() && !code.contains(char::is_control) && code.chars().count() < 400, "a strange code: {error:?}");
}

/// What is true of every outcome: it has a link or an id.
pub fn assert_named(outcome: &ferryd::internals::job::upload::Outcome) {
    let says = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
    assert!(says(&outcome.link) || says(&outcome.remote_id), "a success without a name: {outcome:?}");
}
