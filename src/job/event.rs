//! What deliveries are about.

/// Something that happened to a job and is followed by a hook, or by work of ferryd's own. The words are stored, so they are
/// stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The host has the file, and the outcome is committed.
    Done,
    /// The file will never be taken.
    Failed,
    /// A person must act.
    Held,
    /// The link dies soon.
    Expiring,
    /// Every host has the file, and every hook has heard of it.
    After,
    /// The link dies soon, and the host's configuration asks for a new one.
    Refresh,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 6] = [Event::Done, Event::Failed, Event::Held, Event::Expiring, Event::After, Event::Refresh];
    /// Those that a hook may wait for.
    pub const OF_HOOKS: [Event; 4] = [Event::Done, Event::Failed, Event::Held, Event::Expiring];

    /// The word for it, as configured, stored and shown.
    pub const fn word(self) -> &'static str {
        match self {
            Event::Done => "done",
            Event::Failed => "failed",
            Event::Held => "held",
            Event::Expiring => "expiring",
            Event::After => "after",
            Event::Refresh => "refresh",
        }
    }

    /// What has this word.
    pub fn from_word(word: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_never_change() {
        let words = ["done", "failed", "held", "expiring", "after", "refresh"];
        assert_eq!(Event::ALL.map(Event::word), words);
        assert_eq!(words.map(Event::from_word), Event::ALL.map(Some));
        assert_eq!(Event::from_word("Done"), None);
    }
}
