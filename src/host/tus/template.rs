//! Texts with gaps: what stands in the metadata of an upload, and in the link of a file.

/// A text with words in braces that stand for something of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Word(&'static str),
}

impl Template {
    /// Reads a text in which these words may stand. Of one that is wrong, what is wrong with it.
    pub(super) fn read(text: &str, words: &[&'static str]) -> Result<Template, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, opened) = rest.split_at(at);
            pieces.extend(Some(before).filter(|before| !before.is_empty()).map(|before| Piece::Text(before.to_owned())));
            let inner = opened.strip_prefix('{').and_then(|opened| opened.split_once('}'));
            let (word, after) = inner.ok_or_else(|| "has a brace that stands alone".to_owned())?;
            let word = words.iter().find(|known| **known == word).ok_or_else(|| format!("has an unknown word: {{{word}}}"))?;
            pieces.push(Piece::Word(word));
            rest = after;
        }
        pieces.extend(Some(rest).filter(|rest| !rest.is_empty()).map(|rest| Piece::Text(rest.to_owned())));
        Ok(Template(pieces))
    }

    /// Whether the word stands in it.
    pub(super) fn has(&self, word: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Word(known) if *known == word))
    }

    /// The text with what each word stands for.
    pub(super) fn fill(&self, mut meaning: impl FnMut(&str) -> String) -> String {
        let filled = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Word(word) => meaning(word),
        });
        filled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["name", "id"];

    #[test]
    fn each_word_is_replaced_by_what_it_stands_for() {
        let cases = [("{name}", "<name>"), ("a/{id}-{name}.b", "a/<id>-<name>.b"), ("", ""), ("plain", "plain")];
        for (text, expected) in cases {
            assert_eq!(Template::read(text, WORDS).unwrap().fill(|word| format!("<{word}>")), expected, "{text}");
        }
        let template = Template::read("{name}", WORDS).unwrap();
        assert!(template.has("name") && !template.has("id"));
    }

    #[test]
    fn a_word_that_stands_for_nothing_is_refused() {
        for wrong in ["{nam}", "{name", "name}", "{}", "{{name}}"] {
            assert!(Template::read(wrong, WORDS).is_err(), "{wrong}");
        }
    }
}
