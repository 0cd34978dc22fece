//! How a watch is doing.

use super::watch::EventSource;

/// How a watch is doing, for people to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchReport {
    /// In a word.
    pub state: WatchState,
    /// How changes are noticed: [`EventSource::Auto`] only before that was found out.
    pub events: EventSource,
    /// When the last full scan ended, in milliseconds since the Unix epoch.
    pub last_scan_ms: Option<i64>,
    /// Files that somebody is still writing, or may be.
    pub settling: u64,
    /// Times events were lost, each followed by a full scan.
    pub gaps_seen: u64,
    /// What is wrong.
    pub why: Option<String>,
}

/// The state of a watch. The words are stored and shown; they never change their meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchState {
    /// Nothing was heard of it since the daemon began.
    #[default]
    Starting,
    /// Being scanned for the first time.
    Scanning,
    /// Watched.
    Watching,
    /// Not there.
    Missing,
}

impl WatchState {
    /// Every state.
    pub const ALL: [WatchState; 4] = [WatchState::Starting, WatchState::Scanning, WatchState::Watching, WatchState::Missing];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            WatchState::Starting => "starting",
            WatchState::Scanning => "scanning",
            WatchState::Watching => "watching",
            WatchState::Missing => "missing",
        }
    }

    /// What has this word.
    pub fn from_word(word: &str) -> Option<WatchState> {
        WatchState::ALL.into_iter().find(|state| state.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_never_change() {
        let words = ["starting", "scanning", "watching", "missing"];
        assert_eq!(WatchState::ALL.map(WatchState::word), words);
        assert_eq!(words.map(WatchState::from_word), WatchState::ALL.map(Some));
        assert_eq!(WatchState::from_word("x"), None);
    }
}
