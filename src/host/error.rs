//! A failed call to a host: what it means, and what was said.

use std::time::Duration;

use crate::job::upload::Class;

/// How much of a strange reply is kept, in characters.
const EXCERPT_CHARS: usize = 300;

/// A failed call to a host. The class says what to do, the text says what happened, as a fragment that reads after "cannot …:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct HostError {
    /// What the failure means.
    pub class: Class,
    /// What it means from the third time in a row on, where a host is not believed for ever.
    pub worsens: Option<Class>,
    /// What happened, for a person; an excerpt of the reply where there was one. Holds no secret.
    pub said: String,
    /// The rest the host asked for.
    pub wait: Option<Duration>,
    /// Whether the rest doubles each time the host asks for it again, up to an hour.
    pub doubles: bool,
    /// Whether the request may have taken effect all the same: it was sent, and no answer that settles the matter came back.
    pub doubt: bool,
}

impl HostError {
    /// A failure after which it is certain that nothing took effect.
    pub fn new(class: Class, said: impl Into<String>) -> Self {
        HostError { class, worsens: None, said: said.into(), wait: None, doubles: false, doubt: false }
    }

    /// The same, but from the third time in a row on it means `class`.
    #[must_use]
    pub fn worsening_to(self, class: Class) -> Self {
        HostError { worsens: Some(class), ..self }
    }

    /// A failure after which nobody knows whether the request took effect.
    pub fn unanswered(class: Class, said: impl Into<String>) -> Self {
        HostError { doubt: true, ..HostError::new(class, said) }
    }
}

/// The beginning of a reply in one line, for a person: control characters become spaces, and it never grows long.
pub fn excerpt(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_CHARS).collect();
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        line.push('…');
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("<html>\r\n\x1b[31m  oops\n"), "<html> [31m oops");
        assert_eq!(excerpt(&"ä".repeat(1000)).chars().count(), EXCERPT_CHARS + 1);
    }
}
