//! Ids that read as words.
//!
//! An answer that is nothing but a word, such as `Maintenance`, is no id. Of ids that are drawn at random, though, a few in ten thousand
//! look like words: `Mghizpd529`, `383FawStge`. The host says the same text whenever it is asked about the same upload, while a word is said
//! to several uploads, or while the host is not well. So such a text is an id once the host has said it again to the same
//! upload and to no other, and has given other ids of the same length between the two.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ids that others must be given between two answers.
const OTHERS: u64 = 2;
/// Texts that are remembered, the last ones.
const TEXTS_MAX: usize = 256;

/// What the host has answered so far, as far as that tells ids from words.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Ids that read as nothing else.
    ids: u64,
    /// How long the last of them was.
    length: usize,
    texts: VecDeque<Text>,
}

#[derive(Debug)]
struct Text {
    text: String,
    /// The upload to which it was said first.
    upload: String,
    /// Whether it was said to another one, too.
    to_others: bool,
    /// Ids that had been given by then.
    ids: u64,
}

impl Words {
    /// The host has given an id that reads as nothing else.
    pub(super) fn note_id(&self, id: &str) {
        let mut heard = self.heard();
        (heard.ids, heard.length) = (heard.ids + 1, id.len());
    }

    /// Whether a text that reads as words, and that was said to this upload, is an id after all.
    pub(super) fn is_id(&self, text: &str, upload: &str) -> bool {
        let mut heard = self.heard();
        let (ids, length) = (heard.ids, heard.length);
        if let Some(before) = heard.texts.iter_mut().find(|before| before.text == text) {
            before.to_others |= before.upload != upload;
            return !before.to_others && text.len() == length && ids >= before.ids + OTHERS;
        }
        if heard.texts.len() == TEXTS_MAX {
            heard.texts.pop_front();
        }
        heard.texts.push_back(Text { text: text.to_owned(), upload: upload.to_owned(), to_others: false, ids });
        false
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(words: &Words, ids: usize) {
        (0..ids).for_each(|_| words.note_id("q7Zk2aB9xY"));
    }

    #[test]
    fn a_text_is_an_id_when_it_is_said_again_to_its_upload_alone_and_others_were_given_ids_in_between() {
        let words = Words::default();
        assert!(!words.is_id("Mghizpd529", "1"), "once");
        assert!(!words.is_id("Mghizpd529", "1"), "nobody was given an id");
        after(&words, 1);
        assert!(!words.is_id("Mghizpd529", "1"));
        after(&words, 1);
        assert!(words.is_id("Mghizpd529", "1"));
        assert!(words.is_id("Mghizpd529", "1"), "it stays one");
    }

    #[test]
    fn a_word_that_is_said_to_two_uploads_or_has_another_length_never_becomes_an_id() {
        let words = Words::default();
        for upload in ["1", "2", "1"] {
            assert!(!words.is_id("BadGateway", upload));
            assert!(!words.is_id("Restarting1", upload));
            after(&words, 3);
        }
        assert!(!words.is_id("Moved", "1"));
        after(&words, 3);
        assert!(!words.is_id("Moved", "1"));
    }

    #[test]
    fn only_the_last_texts_are_remembered() {
        let words = Words::default();
        assert!(!words.is_id("Mghizpd529", "1"));
        (0..TEXTS_MAX).for_each(|number| assert!(!words.is_id(&format!("Word{number}"), "2")));
        after(&words, 2);
        assert!(!words.is_id("Mghizpd529", "1"), "as if it was said for the first time");
        assert_eq!(words.heard().texts.len(), TEXTS_MAX);
    }
}
