//! What a host says back of our secrets is told to nobody, however it is written.
//!
//! A host quotes what it was sent: escaped for JSON, XML or an address, in other letters, in base64. So a text is searched as it is
//! and as what it means, two levels deep. What can be taken out of a reply is taken out before anybody reads it, so that the rest
//! still counts; a text that shows a secret even then is withheld as a whole. Texts in which nothing is escaped cost one search.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use crate::secret::Secret;

/// What stands in place of a secret, ...
const MASK: &str = "[secret]";
/// ... and where the secret is a part of that: shorter than any secret that is taken out.
const SHORT_MASK: &str = "***";
/// What stands in place of a text that shows a secret in a way that it cannot be taken out of.
pub(super) const WITHHELD: &str = "[withheld: the reply holds a secret]";
/// A shorter secret would be found in any reply, and taking it out would spoil the answer.
const TAKEN_OUT_BYTES_MIN: usize = 4;
/// How many secrets are sought that a host has given out, the last ones.
const PASSING_MAX: usize = 32;
/// How often a text is decoded, one way after the other.
const LEVELS: usize = 2;
/// A longer text, such as the listing of a folder, is decoded once: little of it is ever kept, and that is looked at again.
const LONG_TEXT_BYTES: usize = 64 * 1024;
/// How many steps the search for one secret may take at one place of a text, for each of its characters.
const STEPS_PER_CHAR: usize = 8;

/// What must not be told.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<Sought>);

/// A secret as it is looked for: without spaces at its ends, which are lost on many ways.
#[derive(Debug, Clone)]
struct Sought {
    text: Secret,
    folded: Secret,
    letters: Letters,
    /// Whether a host has given it out, and so may give out further ones.
    passing: bool,
}

/// What must not be told, of which more becomes known while the host is in use. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownSecrets(Arc<RwLock<Arc<Secrets>>>);

impl KnownSecrets {
    /// These, to begin with.
    pub(super) fn new(secrets: Secrets) -> KnownSecrets {
        KnownSecrets(Arc::new(RwLock::new(Arc::new(secrets))))
    }

    /// What is known by now.
    pub(super) fn now(&self) -> Arc<Secrets> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a secret that is configured.
    pub(super) fn add(&self, secret: &Secret) {
        Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)).add(secret);
    }

    /// Adds a secret that the host has given out. The last ones count: each takes the place of one that has ended.
    pub(super) fn add_passing(&self, secret: &Secret) {
        Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)).add_passing(secret);
    }
}

impl Sought {
    fn is_taken_out(&self) -> bool {
        self.text.reveal().len() >= TAKEN_OUT_BYTES_MIN
    }

    /// The fewest bytes in which it can be written. No way to write a text shortens it, and letters that are written as others take up
    /// to a third of their bytes, but not where these are ASCII.
    fn bytes_min(&self) -> usize {
        let folded = self.folded.reveal();
        if folded.is_ascii() { folded.len() } else { folded.len().div_ceil(3) }
    }
}

impl Secrets {
    /// Adds a secret. One that nobody could see is none.
    pub(super) fn add(&mut self, secret: &Secret) {
        self.add_sought(secret, false);
    }

    /// Adds those that are known elsewhere.
    pub(super) fn add_all(&mut self, others: &Secrets) {
        others.0.iter().for_each(|sought| self.add(&sought.text));
    }

    fn add_passing(&mut self, secret: &Secret) {
        self.add_sought(secret, true);
        let passing = self.0.iter().filter(|known| known.passing).count();
        if passing > PASSING_MAX
            && let Some(oldest) = self.0.iter().position(|known| known.passing)
        {
            self.0.remove(oldest);
        }
    }

    fn add_sought(&mut self, secret: &Secret, passing: bool) {
        let text = Secret::new(secret.reveal().trim());
        if !text.reveal().is_empty() && !self.0.iter().any(|known| known.text == text) {
            let (folded, letters) = (Secret::new(fold(text.reveal())), Letters::of(text.reveal()));
            self.0.push(Sought { folded, letters, text, passing });
        }
    }

    /// Whether there is nothing to be kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A reply as it may be read: without secrets of four bytes and more, or withheld.
    pub(super) fn taken_out_of(&self, reply: String) -> String {
        if reply.is_empty() || !self.is_shown_in(&reply) {
            return reply;
        }
        let masked = self.0.iter().filter(|sought| sought.is_taken_out()).fold(reply, |text, sought| self.masked(text, sought));
        if self.is_shown_in(&masked) { WITHHELD.to_owned() } else { masked }
    }

    /// Words for a person: withheld if they show any secret, also the shortest.
    pub(super) fn kept_out_of(&self, words: String) -> String {
        let sought: Vec<&Sought> = self.0.iter().collect();
        if is_shown(&sought, &words, LEVELS) { WITHHELD.to_owned() } else { words }
    }

    /// Whether a text shows a secret of four bytes or more.
    pub(super) fn is_shown_in(&self, text: &str) -> bool {
        let sought: Vec<&Sought> = self.0.iter().filter(|sought| sought.is_taken_out()).collect();
        is_shown(&sought, text, if text.len() > LONG_TEXT_BYTES { 1 } else { LEVELS })
    }

    /// The text with a mask wherever the secret stands, each of its characters as it is or escaped.
    fn masked(&self, text: String, sought: &Sought) -> String {
        let found = places(&text, sought.text.reveal());
        if found.is_empty() {
            return text;
        }
        let folded = fold(MASK);
        let mask = if self.0.iter().any(|known| folded.contains(known.folded.reveal())) { SHORT_MASK } else { MASK };
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for place in found {
            masked.push_str(&text[from..place.start]);
            masked.push_str(mask);
            from = place.end;
        }
        masked.push_str(&text[from..]);
        masked
    }
}

fn is_shown(sought: &[&Sought], text: &str, levels: usize) -> bool {
    let shortest = sought.iter().map(|sought| sought.bytes_min()).min().filter(|_| !planted!("secret.not_sought"));
    let Some(shortest) = shortest.filter(|shortest| text.len() >= *shortest) else { return false };
    let there = Letters::of(text);
    if sought.iter().any(|sought| there.include(sought.letters)) {
        let folded = fold(text);
        if sought.iter().any(|sought| folded.contains(sought.folded.reveal())) {
            return true;
        }
    }
    levels > 0 && meanings(text, shortest).any(|meaning| is_shown(sought, &meaning, levels - 1))
}

/// The ASCII characters of a folded text, a bit for each. Nearly every text lacks one of any secret, which is found out with little work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Letters(u128);

impl Letters {
    fn of(text: &str) -> Letters {
        let bit = |c: char| if c.is_ascii() { 1 << u32::from(c) } else { 0 };
        let bits = text.chars().fold(0, |bits, c| match c {
            _ if c.is_ascii_graphic() => bits | bit(c.to_ascii_lowercase()),
            _ if is_blank(c) => bits | bit(' '),
            _ => letters(c).fold(bits, |bits, c| bits | bit(c)),
        });
        Letters(bits)
    }

    fn include(self, others: Letters) -> bool {
        self.0 & others.0 == others.0
    }
}

/// Whether a character counts as a space.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// A text without the difference between small and capital letters, and between one space and many.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if is_blank(c) => {
                if !folded.ends_with(' ') {
                    folded.push(' ');
                }
            }
            // The same for these, and nearly all that hosts say is made of them.
            _ if c.is_ascii() => folded.push(c.to_ascii_lowercase()),
            _ => folded.extend(letters(c)),
        }
    }
    folded
}

/// A character in small letters. Some letters have no single one of the other size, so they go there and back.
fn letters(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

// How a text may be written.

/// What a text means, read in each way in which it says something else. Of base64, what has no `bytes` bytes of text in a row is left out.
fn meanings(text: &str, bytes: usize) -> impl Iterator<Item = String> {
    let json = text.contains('\\').then(|| unescaped(text, json_escape));
    let xml = text.contains('&').then(|| unescaped(text, xml_escape));
    let percent = text.contains('%').then(|| unescaped(text, percent_escape));
    let form = text.contains('+').then(|| unescaped(text, form_escape));
    let several = [&json, &xml, &percent].into_iter().flatten().count() > 1;
    let mixed = several.then(|| unescaped(text, mixed_escape));
    [json, xml, percent, form, mixed].into_iter().flatten().chain(from_base64(text, bytes))
}

/// Reads one escaped character at the start of a text. Answers it and how long it is.
type Escape = fn(&str) -> Option<(char, usize)>;

const ESCAPES: [Escape; 3] = [json_escape, xml_escape, form_escape];

fn unescaped(text: &str, escape: Escape) -> String {
    let mut meaning = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (c, length) = escape(rest).unwrap_or((c, c.len_utf8()));
        meaning.push(c);
        rest = &rest[length..];
    }
    meaning
}

/// `\/`, `\n`, `\u002f`, and what other languages have besides: `\x2f`, `\u{2f}`.
fn json_escape(text: &str) -> Option<(char, usize)> {
    let kind = text.strip_prefix('\\')?.chars().next()?;
    match kind {
        '"' | '\'' | '\\' | '/' => Some((kind, 2)),
        'b' => Some(('\u{8}', 2)),
        'f' => Some(('\u{c}', 2)),
        'n' => Some(('\n', 2)),
        'r' => Some(('\r', 2)),
        't' => Some(('\t', 2)),
        'x' => bytes_escape(text, "\\x"),
        'u' if text[2..].starts_with('{') => {
            let digits = text[3..].split_once('}').map(|(digits, _)| digits).filter(|digits| digits.len() <= 6)?;
            Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, 4 + digits.len()))
        }
        'u' => {
            let unit = |at: usize| u16::from_str_radix(text.get(at..at + 4)?, 16).ok();
            let pair = |first| text[6..].starts_with("\\u").then(|| Some([first, unit(8)?])).flatten();
            let first = unit(2)?;
            let alone = char::from_u32(u32::from(first)).map(|c| (c, 6));
            alone.or_else(|| Some((char::decode_utf16(pair(first)?).next()?.ok()?, 12)))
        }
        _ => None,
    }
}

/// The names of the characters that are escaped, `&NAME;`.
const NAMES: [(&str, char); 35] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("rcub", '}'),
];

/// `&amp;`, `&#38;`, `&#x26;`.
fn xml_escape(text: &str) -> Option<(char, usize)> {
    let rest = text.strip_prefix('&')?;
    let end = rest.bytes().take(12).position(|byte| byte == b';')?;
    let name = &rest[..end];
    let number = name.strip_prefix('#').and_then(|digits| match digits.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    });
    let named = || NAMES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c);
    let c = number.and_then(char::from_u32).or_else(named)?;
    Some((c, end + 2))
}

/// `%2F`, in capitals or not; several of them where a character has several bytes.
fn percent_escape(text: &str) -> Option<(char, usize)> {
    bytes_escape(text, "%")
}

/// The same, and `+` for a space.
fn form_escape(text: &str) -> Option<(char, usize)> {
    if text.starts_with('+') { Some((' ', 1)) } else { percent_escape(text) }
}

/// Any of them, where a text has been put together of several.
fn mixed_escape(text: &str) -> Option<(char, usize)> {
    json_escape(text).or_else(|| xml_escape(text)).or_else(|| percent_escape(text))
}

/// A character whose bytes are written as `mark` and two digits each; a byte that is no UTF-8 means what it does in Latin-1.
fn bytes_escape(text: &str, mark: &str) -> Option<(char, usize)> {
    let step = mark.len() + 2;
    let byte = |index: usize| {
        let digits = text.get(index * step..(index + 1) * step)?.strip_prefix(mark)?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    };
    let bytes: Vec<u8> = (0..4).map_while(byte).collect();
    let first = *bytes.first()?;
    let whole =
        (1..=bytes.len()).find_map(|length| std::str::from_utf8(&bytes[..length]).ok()?.chars().next().map(|c| (c, length)));
    let (c, length) = whole.unwrap_or((char::from(first), 1));
    Some((c, length * step))
}

/// What the runs of base64 in a text mean, in both alphabets. Where a run begins nobody knows, so it is read from each of its first four
/// characters on. Most runs are words or numbers, and mean bytes that are no text: only pieces of text of at least `bytes` bytes are told.
fn from_base64(text: &str, bytes: usize) -> impl Iterator<Item = String> {
    let runs = runs_of_base64(text, (4 * bytes).div_ceil(3));
    let offsets = if runs.is_empty() { 0..0 } else { 0..4 };
    let meanings = offsets.map(move |offset| {
        let mut meaning = String::new();
        for run in &runs {
            let decoded = from_six_bits(run.get(offset..).unwrap_or_default());
            let pieces = decoded.utf8_chunks().map(|chunk| chunk.valid()).filter(|piece| piece.len() >= bytes);
            pieces.for_each(|piece| meaning.extend([piece, "\n"]));
        }
        meaning
    });
    meanings.filter(|meaning| !meaning.is_empty())
}

/// The runs of base64 in a text that have at least `least` characters, each character as its six bits.
fn runs_of_base64(text: &str, least: usize) -> Vec<Vec<u8>> {
    // Long ones are written on several lines.
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    let ends = |byte: u8| six_bits(byte).is_none() && !is_break(byte);
    let pieces = text.as_bytes().split(|byte| ends(*byte)).filter(|piece| piece.len() >= least);
    let runs = pieces.map(|piece| piece.iter().filter_map(|byte| six_bits(*byte)).collect());
    runs.filter(|run: &Vec<u8>| run.len() >= least).collect()
}

/// What a character of base64 stands for, in either alphabet.
fn six_bits(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// Bytes of six bits each, as bytes of eight; what is left over at the end is dropped.
fn from_six_bits(run: &[u8]) -> Vec<u8> {
    let (mut held, mut bits) = (0u32, 0);
    let mut bytes = Vec::with_capacity(run.len() * 3 / 4);
    for six in run {
        held = (held << 6 | u32::from(*six)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes
}

// Where a secret stands.

/// Where `secret` stands in a text, in whatever letters, each of its characters as it is or escaped. None overlaps another.
fn places(text: &str, secret: &str) -> Vec<Range<usize>> {
    let secret: Vec<char> = secret.chars().collect();
    let mut places = Vec::new();
    let mut from = 0;
    for (at, _) in text.char_indices() {
        if at >= from
            && let Some(end) = end_of(text, at, &secret)
        {
            places.push(at..end);
            from = end;
        }
    }
    places
}

/// Where the secret ends that begins at `at`. A character may be written in several ways that begin alike, so each is tried.
fn end_of(text: &str, at: usize, secret: &[char]) -> Option<usize> {
    let mut left = vec![(at, 0)];
    for _ in 0..STEPS_PER_CHAR * secret.len() {
        let (at, known) = left.pop()?;
        let Some(wanted) = secret.get(known) else { return Some(at) };
        let rest = &text[at..];
        let plain = rest.chars().next().map(|c| (c, c.len_utf8()));
        let written = plain.into_iter().chain(ESCAPES.iter().filter_map(|escape| escape(rest)));
        left.extend(written.filter(|(c, _)| letters(*c).eq(letters(*wanted))).map(|(_, length)| (at + length, known + 1)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::excerpt;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn secrets(all: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        all.iter().for_each(|secret| secrets.add(&Secret::new(*secret)));
        secrets
    }

    /// What is kept in the end of a reply.
    fn kept(secrets: &Secrets, reply: &str) -> String {
        secrets.kept_out_of(excerpt(&secrets.taken_out_of(reply.to_owned())))
    }

    fn json(text: &str) -> String {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    }

    fn each(text: &str, write: impl Fn(char) -> String) -> String {
        text.chars().map(write).collect()
    }

    fn utf16(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
    }

    fn percent(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    fn small_percent(c: char) -> String {
        if c.is_ascii_alphanumeric() { c.to_string() } else { percent(&c.to_string()).to_lowercase() }
    }

    type Writer = fn(&str) -> String;

    /// Ways to write a text so that it means the same.
    const WRITERS: [(&str, Writer); 15] = [
        ("as it is", |text| text.to_owned()),
        ("json", json),
        ("json of php", |text| json(text).replace('/', "\\/")),
        ("json in numbers", utf16),
        ("json in capital numbers", |text| utf16(text).to_uppercase().replace("\\U", "\\u")),
        ("xml", |text| quick_xml::escape::escape(text).into_owned()),
        ("xml in numbers", |text| each(text, |c| format!("&#{};", u32::from(c)))),
        ("xml in hexadecimal", |text| each(text, |c| format!("&#x{:X};", u32::from(c)))),
        ("percent", percent),
        ("percent in small letters", |text| each(text, small_percent)),
        ("form", |text| url::form_urlencoded::byte_serialize(text.as_bytes()).collect()),
        ("base64", |text| STANDARD.encode(text)),
        ("base64 behind one byte", |text| STANDARD.encode(format!(":{text}:"))),
        ("base64 behind two bytes", |text| STANDARD.encode(format!("u:{text}"))),
        ("base64 for addresses", |text| URL_SAFE_NO_PAD.encode(text)),
    ];

    const SECRETS: [&str; 6] = ["p@ss&word/9<x%\"", "hunter2!", "sk-abcdef/ghijkl+mn", "пароль\\7 ß", "a b+c%20d", "1234"];

    #[test]
    fn the_short_way_for_ascii_is_the_long_one() {
        for c in (0..128_u8).map(char::from) {
            assert_eq!(letters(c).collect::<String>(), c.to_ascii_lowercase().to_string(), "{c:?}");
        }
    }

    #[test]
    fn a_letter_takes_at_most_three_times_its_bytes_as_another_one_and_not_more_in_ascii() {
        for c in '\0'..=char::MAX {
            let folded: String = letters(c).collect();
            let of_ascii = folded.chars().filter(char::is_ascii).count();
            assert!(folded.len() <= 3 * c.len_utf8() && of_ascii <= c.len_utf8(), "{c:?} is {folded:?}");
        }
    }

    #[test]
    fn a_secret_is_kept_in_no_spelling_and_no_spelling_of_that() {
        for secret in SECRETS {
            let known = secrets(&[secret]);
            for case in [secret.to_owned(), secret.to_uppercase(), secret.to_lowercase()] {
                for (first, inner) in WRITERS {
                    for (second, outer) in WRITERS {
                        let written = outer(&inner(&case));
                        let kept = kept(&known, &format!("bad key {written}, try again"));
                        let told = format!("{case} as {first}, then {second}: {kept}");
                        assert!(!kept.contains(&written) && !kept.contains(secret), "{told}");
                        assert!(kept == WITHHELD || kept == "bad key [secret], try again", "{told}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_escaped_once_is_taken_out_and_the_rest_of_the_reply_counts() {
        for secret in SECRETS {
            let known = secrets(&[secret]);
            for (way, write) in WRITERS.into_iter().filter(|(way, _)| !way.contains("base64")) {
                let reply = format!("{{\"code\":401,\"msg\":\"{0} or {0}\"}}", write(secret));
                assert_eq!(known.taken_out_of(reply), "{\"code\":401,\"msg\":\"[secret] or [secret]\"}", "{secret} as {way}");
            }
        }
        // Several ways in one.
        let known = secrets(&["p@ss&word/9<x%\""]);
        assert_eq!(known.taken_out_of("(P%40ss&amp;word\\/9&#60;x%25\\u0022)".into()), "([secret])");
    }

    #[test]
    fn a_reply_without_a_secret_is_left_as_it_is() {
        let known = secrets(&["p@ss&word/9<x%\"", "hunter2!"]);
        let replies = [
            "",
            "{\"url\":\"https:\\/\\/h\\/f?a=1&b=%2F+c\",\"msg\":\"\\u00e9 \\ud83d\\ude00 \\ud83d \\q \\\"}",
            "<a>&amp;&#x26;&nonsense;&;&#xffffffff;</a>%%zz%e9%f0%9f%98%80",
            "p@ss&word/9<x%",
            "hunter2",
            "hunter 2!",
            "aHVudGVyMg==",
            "&amp",
            "\\",
            "%",
            "%2",
            "\\u12",
            "\\u{110000}",
            "\\x4",
            "é%e",
        ];
        for reply in replies {
            assert_eq!(known.taken_out_of(reply.to_owned()), reply);
            assert_eq!(known.kept_out_of(reply.to_owned()), reply);
        }
        assert_eq!(Secrets::default().kept_out_of("anything".into()), "anything");
    }

    #[test]
    fn a_short_secret_leaves_replies_alone_and_is_in_no_words() {
        let known = secrets(&["a/b"]);
        assert_eq!(known.taken_out_of("{\"url\":\"https://h/a/b\"}".into()), "{\"url\":\"https://h/a/b\"}");
        for words in ["the host answered `a/b`", "the host answered `A\\/B`", "the host answered `%61%2fb`", "YS9i"] {
            assert_eq!(known.kept_out_of(words.into()), WITHHELD, "{words}");
        }
        assert_eq!(known.kept_out_of("the host answered `b/a`".into()), "the host answered `b/a`");
        let blank = secrets(&["   ", ""]);
        assert!(blank.is_empty() && blank.kept_out_of("a b   c".into()) == "a b   c");
    }

    #[test]
    fn spaces_at_the_ends_of_a_secret_and_lines_in_it_do_not_hide_it() {
        let known = secrets(&[" pass phrase \n"]);
        assert_eq!(known.taken_out_of("`pass phrase`".into()), "`[secret]`");
        for reply in ["pass  phrase", "pass\nphrase", "pass\\tphrase", "pass&nbsp;phrase", "cGFzcyBw\r\naHJhc2U="] {
            assert!(!kept(&known, reply).to_lowercase().contains("phrase"), "{reply}");
            assert_eq!(kept(&known, reply), if reply.contains("nbsp") { "[secret]" } else { WITHHELD }, "{reply}");
        }
    }

    #[test]
    fn a_mask_tells_nothing_of_a_secret_that_is_a_part_of_it() {
        assert_eq!(secrets(&["secret"]).taken_out_of("your Secret is wrong".into()), "your *** is wrong");
        // The mask and what stands behind it would be the secret.
        assert_eq!(secrets(&["t]xx"]).taken_out_of("t]xxxx".into()), WITHHELD);
        let two = secrets(&["hunter2!", "hunter2!!"]);
        assert_eq!(two.taken_out_of("hunter2!!".into()), "[secret]!");
    }

    #[test]
    fn what_a_host_gives_out_is_sought_from_then_on_and_what_is_configured_for_ever() {
        let known = KnownSecrets::new(secrets(&["configured"]));
        let early = known.clone();
        (0..=PASSING_MAX).for_each(|number| known.add_passing(&Secret::new(format!("given-{number}."))));
        for shown in ["configured", "given-1.", &format!("given-{PASSING_MAX}.")] {
            assert!(early.now().is_shown_in(shown), "{shown}");
        }
        assert!(!early.now().is_shown_in("given-0."), "the oldest has made room");
    }

    #[test]
    fn a_text_that_is_made_to_be_slow_is_looked_through_in_time() {
        let known = secrets(&[&"%".repeat(2000)]);
        let reply = "%25".repeat(20_000);
        assert_eq!(known.taken_out_of(reply.clone() + "x"), "[secret]".repeat(10) + "x");
        let known = secrets(&[&format!("{}!", "%".repeat(500))]);
        assert_eq!(known.taken_out_of(reply.clone()), reply);
    }

    proptest! {
        #[test]
        fn no_secret_is_kept_wherever_it_stands(
            secret in "\\PC{4,20}", case in 0usize..3, first in 0..WRITERS.len(), second in 0..WRITERS.len(), before in 0usize..320, after in 0usize..20,
        ) {
            let known = secrets(&[&secret]);
            prop_assume!(secret.trim().len() >= 4 && !fold(&[MASK, WITHHELD].join("z")).contains(&fold(secret.trim())) && !"zzzz".contains(&secret));
            let case = [secret.clone(), secret.to_uppercase(), secret.to_lowercase()][case].clone();
            let written = (WRITERS[second].1)(&(WRITERS[first].1)(&case));
            let reply = format!("{}{written}{}", "z".repeat(before), "z".repeat(after));
            let kept = kept(&known, &reply);
            prop_assert!(!known.is_shown_in(&kept), "{}", kept);
            let bare = secret.trim();
            for (_, write) in WRITERS.into_iter().filter(|(way, _)| !way.contains("base64 behind")) {
                prop_assert!(!kept.contains(&write(bare)), "{}", kept);
            }
        }

        #[test]
        fn a_text_that_holds_another_has_all_its_letters(text in "(\\PC|[a-zA-Z\u{212a}\u{17f}ßŉİıﬁ \n\u{a0}]){0,40}", from in 0usize..40, length in 0usize..20) {
            let part: String = text.chars().skip(from).take(length).collect();
            let of_folded: Letters = Letters::of(&fold(&part));
            prop_assert_eq!(Letters::of(&part), of_folded);
            prop_assert!(Letters::of(&text).include(of_folded));
        }

        #[test]
        fn no_text_makes_the_search_panic(text in "([\\\\&%+;#xu{}0-9a-fé\"/ ]|amp;|\\PC){0,60}") {
            let known = secrets(&["a&é/", "&amp;%20"]);
            let kept = known.taken_out_of(text.clone());
            prop_assert!(!known.is_shown_in(&kept) || kept == WITHHELD);
            if !known.is_shown_in(&text) {
                prop_assert_eq!(kept, text);
            }
        }
    }
}
