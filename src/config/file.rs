//! The text as written: a tree with positions, and a reader that takes keys out of a table one by one and remembers what is wrong.

use std::cell::RefCell;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// How alike a known key must be to be proposed.
const ALIKE: f64 = 0.6;

/// The longest word that a known one is looked for ...
const WORD_CHARS_MAX: usize = 64;
/// ... and among how many.
const KNOWN_MAX: usize = 500;

/// A value that is not what it should be.
pub(crate) struct Wrong {
    pub message: String,
    pub help: Option<String>,
    pub span: Option<Range<usize>>,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Wrong {
        Wrong { message: message.into(), help: Some(help.into()), span: None }
    }
}

/// Where problems are collected.
#[derive(Default)]
pub(super) struct Problems {
    list: RefCell<Vec<Problem>>,
    /// The file, if others than its owner may read it.
    open_to_others: RefCell<Option<PathBuf>>,
}

impl Problems {
    pub(super) fn add(&self, span: Option<Range<usize>>, message: impl Into<String>, help: Option<String>) {
        self.list.borrow_mut().push(Problem { message: message.into(), help, span });
    }

    /// Looks at who may read the file, so that a password in it is refused where others may.
    pub(super) fn note_readers(&self, file: &Path) {
        let mode = std::fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
        *self.open_to_others.borrow_mut() = (mode & 0o077 != 0).then(|| file.to_owned());
    }

    fn open_to_others(&self) -> Option<PathBuf> {
        self.open_to_others.borrow().clone()
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list.into_inner()
    }
}

/// A value with its position.
pub(crate) type Value<'t> = Spanned<DeValue<'t>>;

/// A table whose keys are being read. What is never asked for is unknown.
pub(crate) struct Table<'t> {
    /// How a person calls it: `[daemon]`, `[[watch]]`.
    pub title: String,
    pub span: Range<usize>,
    table: &'t DeTable<'t>,
    asked: RefCell<Vec<&'static str>>,
    problems: &'t Problems,
}

impl<'t> Table<'t> {
    pub(super) fn new(title: impl Into<String>, table: &'t DeTable<'t>, span: Range<usize>, problems: &'t Problems) -> Table<'t> {
        Table { title: title.into(), span, table, asked: RefCell::default(), problems }
    }

    /// The value of `key` as `read` understands it; a value that is wrong is remembered and the default stands in for it.
    pub(crate) fn get<T>(&self, key: &'static str, default: T, read: impl FnOnce(&'t Value<'t>) -> Result<T, Wrong>) -> T {
        self.find(key, read).unwrap_or(default)
    }

    /// The value of `key` if it is there and right.
    pub(crate) fn find<T>(&self, key: &'static str, read: impl FnOnce(&'t Value<'t>) -> Result<T, Wrong>) -> Option<T> {
        self.asked.borrow_mut().push(key);
        let value = self.table.get(key)?;
        read(value).map_err(|wrong| self.wrong(key, value.span(), wrong)).ok()
    }

    /// The value of a key that must be there.
    pub(crate) fn need<T>(&self, key: &'static str, help: &str, read: impl FnOnce(&'t Value<'t>) -> Result<T, Wrong>) -> Option<T> {
        if !self.table.contains_key(key) {
            self.asked.borrow_mut().push(key);
            self.problems.add(Some(self.span.clone()), format!("{} has no `{key}`", self.title), Some(help.to_owned()));
            return None;
        }
        self.find(key, read)
    }

    /// The file this table is in, if others than its owner may read it.
    pub(super) fn open_to_others(&self) -> Option<PathBuf> {
        self.problems.open_to_others()
    }

    /// Says what is wrong with a key in the light of others.
    pub(crate) fn complain(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.add(Some(self.span_of(key)), message, Some(help.into()));
    }

    /// Says what is wrong with something below this table.
    pub(super) fn complain_at(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.add(Some(span), message, Some(help.into()));
    }

    /// A table that stands below this one.
    pub(super) fn within(&self, title: impl Into<String>, fields: &'t DeTable<'t>, span: Range<usize>) -> Table<'t> {
        Table::new(title, fields, span, self.problems)
    }

    /// Whether the key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the value of `key` stands.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(self.span.clone(), Spanned::span)
    }

    fn wrong(&self, key: &str, span: Range<usize>, wrong: Wrong) {
        let span = wrong.span.unwrap_or(span);
        self.problems.add(Some(span), format!("`{key}` in {} {}", self.title, wrong.message), wrong.help);
    }

    /// Every key that was never asked for is unknown; the nearest known one is proposed.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            if !asked.iter().any(|known| *known == key.get_ref().as_ref()) {
                let help = did_you_mean(key.get_ref(), asked.iter().copied())
                    .unwrap_or_else(|| format!("known keys: {}", asked.join(", ")));
                self.problems.add(Some(key.span()), format!("unknown key `{}` in {}", key.get_ref(), self.title), Some(help));
            }
        }
    }
}

/// "did you mean …", if anything is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    // What is too long to be a slip of the pen is not looked for, nor is a word among very many.
    let letters = word.chars().count();
    let like = |known: &&str| known.chars().count().abs_diff(letters) * 5 <= 2 * letters.max(known.chars().count());
    let candidates = known.filter(|_| letters <= WORD_CHARS_MAX).take(KNOWN_MAX).filter(like);
    let scored = candidates.map(|known| (strsim::normalized_damerau_levenshtein(word, known), known));
    let (score, nearest) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= ALIKE).then(|| format!("did you mean `{nearest}`?"))
}

/// A string.
pub(crate) fn text(value: &Value<'_>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(Wrong::new(format!("must be a string, not {}", kind(value)), "put it in quotes: \"…\"")),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(value: &Value<'_>) -> Result<bool, Wrong> {
    match value.get_ref() {
        DeValue::Boolean(answer) => Ok(*answer),
        _ => Err(Wrong::new(format!("must be true or false, not {}", kind(value)), "write true or false, without quotes")),
    }
}

/// A number in these bounds, or nothing where it is to be found by measuring.
pub(crate) fn number_or_auto(least: i64, most: i64) -> impl Fn(&Value<'_>) -> Result<Option<usize>, Wrong> {
    move |value| match value.get_ref() {
        DeValue::String(word) if word == "auto" => Ok(None),
        _ => match integer(least, most)(value) {
            Ok(number) => Ok(usize::try_from(number).ok()),
            Err(wrong) => Err(Wrong::new(wrong.message, format!("write \"auto\" or a whole number from {least} to {most}"))),
        },
    }
}

/// A whole number within bounds.
pub(crate) fn integer(least: i64, most: i64) -> impl Fn(&Value<'_>) -> Result<i64, Wrong> {
    move |value| {
        let number = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok(),
            _ => None,
        };
        let help = format!("write a whole number from {least} to {most}");
        match number {
            Some(number) if (least..=most).contains(&number) => Ok(number),
            Some(number) => Err(Wrong::new(format!("is {number}, which is out of range"), help)),
            None => Err(Wrong::new(format!("must be a whole number, not {}", kind(value)), help)),
        }
    }
}

/// A list of strings with their positions.
pub(super) fn texts(value: &Value<'_>) -> Result<Vec<Spanned<String>>, Wrong> {
    let wrong = |value: &Value<'_>, joined: &str| {
        let message = format!("must be a list of strings{joined} {}", kind(value));
        Wrong { span: Some(value.span()), ..Wrong::new(message, "write [\"one\", \"two\"]") }
    };
    let DeValue::Array(items) = value.get_ref() else { return Err(wrong(value, ", not")) };
    let read = |item: &Value<'_>| text(item).map(|text| Spanned::new(item.span(), text)).map_err(|_| wrong(item, ", but contains"));
    items.iter().map(read).collect()
}

/// One value that `read` reads, or a list of them that is not empty.
pub(crate) fn one_or_more<T>(read: impl Fn(&Value<'_>) -> Result<T, Wrong>) -> impl Fn(&Value<'_>) -> Result<Vec<T>, Wrong> {
    move |value| match value.get_ref() {
        DeValue::Array(items) if items.is_empty() => Err(Wrong::new("is an empty list", "write at least one value")),
        DeValue::Array(items) => items
            .iter()
            .map(|item| read(item).map_err(|wrong| Wrong { span: wrong.span.or_else(|| Some(item.span())), ..wrong }))
            .collect(),
        _ => read(value).map(|one| vec![one]),
    }
}

/// One of a few words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Value<'_>) -> Result<T, Wrong> {
    move |value| {
        let given = text(value)?;
        let found = words.iter().find(|(word, _)| *word == given);
        let known = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let help = did_you_mean(&given, words.iter().map(|(word, _)| *word))
                .unwrap_or_else(|| format!("expected one of: {}", known()));
            Wrong::new(format!("has an unknown value: \"{given}\""), help)
        })
    }
}

/// What a value is, for a person.
pub(crate) fn kind(value: &Value<'_>) -> String {
    match value.get_ref() {
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(answer) => format!("{answer}"),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
