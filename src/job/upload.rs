//! The words of an upload: what a host can do, what it holds, what it answered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::digest::{Algorithm, DigestRequirement};
use super::flow::parts_in_flight;
use super::proof::Proof;

/// What a host can do with a file of a given size. It is asked for when a session is opened, and stored with it as JSON: whatever
/// the settings say later, the session goes on by the shape it was opened with ([`Shape::resumed`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// In which order parts may arrive.
    pub order: Order,
    /// The part size to use, in bytes; the last part may be shorter.
    pub part_bytes: u64,
    /// The most parts one file may have.
    pub parts_max: u32,
    /// The largest file the host takes, in bytes, where that is known.
    pub file_bytes_max: Option<u64>,
    /// After this, a session is given up rather than resumed.
    pub session_life: Option<Duration>,
    /// What a repeated commit does.
    pub repeat: Repeat,
    /// Parts of one file that may be in flight together, where `order` allows more than one.
    pub parallel: usize,
    /// Whether a file of 0 bytes can be sent.
    pub takes_empty_files: bool,
    /// What the host wants to know of the file's bytes.
    pub digest: Option<DigestRequirement>,
    /// How the digest is computed that the host wants to have with each part.
    pub part_digest: Option<Algorithm>,
    /// Whether the last part goes with the finish and not before; a host that takes parts in any order.
    #[serde(default)]
    pub last_with_finish: bool,
    /// Whether the host makes the file of the last part, and the finish asks for nothing more; a host that takes parts in order, and
    /// tells how far it is. The intent is on the disk before the last part leaves.
    #[serde(default)]
    pub last_part_commits: bool,
    /// Whether nothing but the session tells that a body which is sent again is the same upload: then it is on the disk before the last
    /// bytes of a whole file leave.
    #[serde(default)]
    pub session_tells: bool,
}

impl Shape {
    /// A host of parts of `part_bytes`, of which nothing else is known: in any order, one at a time, without limits, and a finish
    /// that is sent twice may make two files.
    pub fn parts(part_bytes: u64) -> Shape {
        Shape {
            order: Order::Any,
            part_bytes,
            parts_max: u32::MAX,
            file_bytes_max: None,
            session_life: None,
            repeat: Repeat::MayDuplicate,
            parallel: 1,
            takes_empty_files: true,
            digest: None,
            part_digest: None,
            last_with_finish: false,
            last_part_commits: false,
            session_tells: false,
        }
    }

    /// The same with so many parts of a file in flight at most; where no number is set, as many as a crash may cost.
    #[must_use]
    pub fn with_parallel(self, chosen: Option<usize>) -> Shape {
        Shape { parallel: chosen.unwrap_or_else(|| parts_in_flight(self.part_bytes)), ..self }
    }

    /// Whether a body that is the whole file may not end before the disk knows that it will: what its host has made of it would
    /// otherwise be unknown after a loss of power, and show as a second file.
    pub fn body_waits_for_intent(&self) -> bool {
        self.repeat == Repeat::MayDuplicate || self.session_tells
    }

    /// Whether the session is the place where the host puts the one body of a file. It is on the disk before the body begins: a file that
    /// got another name after a loss of power would otherwise be sent to another place, too.
    pub fn session_is_place(&self) -> bool {
        self.order == Order::WholeFile && !self.body_waits_for_intent()
    }

    /// A host that takes a file in one request, of which nothing else is known: a file that is sent twice may be there twice.
    pub fn whole() -> Shape {
        Shape { order: Order::WholeFile, parts_max: 1, ..Shape::parts(u64::MAX) }
    }

    /// The shape of a session that was opened with this one, where the host would open one with `today` now. How the file is cut,
    /// sent, digested and finished stays as it was; how many parts go at once, and how old the session may become, is as it is
    /// wanted today.
    pub fn resumed(self, today: &Shape) -> Shape {
        Shape { parallel: today.parallel, session_life: today.session_life, ..self }
    }

    /// The shape as it is stored.
    pub fn stored(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The shape that `text` stores, if it is one.
    pub fn read(text: &str) -> Option<Shape> {
        serde_json::from_str(text).ok()
    }
}

/// What an `open` brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A session for the parts.
    Session(Session),
    /// The host has these bytes already, and has made the file of them.
    AlreadyThere(Outcome),
    /// Neither: by now the host is to be told other bytes of the file than it asked for.
    OtherSamples,
}

/// In which order parts may arrive. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Parts are numbered; any order, several at once.
    #[serde(rename = "any_order")]
    Any,
    /// Each part begins where the host says the last one ended.
    #[serde(rename = "in_order")]
    Sequential,
    /// The file travels in one request, which is also its commit.
    WholeFile,
}

/// What a commit does when it is sent twice because the first answer was lost. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// The host ends up with one file all the same.
    Harmless,
    /// The host may end up with two files.
    MayDuplicate,
}

/// The host's handle for a half-sent upload: opaque to everyone but the host's own code, which begins it with a format version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session(pub String);

/// The host's confirmation of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Which part of the plan.
    pub number: u32,
    /// The offset in the file up to which the host confirms this part; less than what was sent when it kept less.
    pub held_to: u64,
    /// What the host wants to see again at `finish`: an ETag, a reply.
    pub receipt: Option<String>,
    /// Replaces the session; hosts that take parts in order only.
    pub moved_to: Option<Session>,
}

/// What a host says it holds of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The session is no longer known: begin again.
    Gone,
    /// The session has become a file that is not this one, as far as the host tells: begin again, though what it tells may be wrong.
    AnotherFile,
    /// The first so many bytes.
    UpTo(u64),
    /// Exactly these parts.
    Parts(Vec<Ack>),
    /// All of it, with evidence better than a matching length.
    Complete(Outcome),
    /// This host cannot say.
    Unsure,
    /// There is evidence, but no proof, that the host has all of it: the evidence, for a person.
    Likely(String),
    /// There is evidence, but no proof, that it has nothing.
    Unlikely,
}

/// What the user gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Where the file can be fetched.
    pub link: Option<String>,
    /// The host's own name for it.
    pub remote_id: Option<String>,
    /// When it will be gone, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// What the host has told about what it stored.
    pub proof: Proof,
    /// The name under which it stored it, where that is known.
    pub name: Option<String>,
    /// The size that it says it stored, in bytes.
    pub bytes: Option<u64>,
    /// Whether it may have made the file before, of the same upload: it was asked twice, and the first answer was never heard.
    pub maybe_duplicate: bool,
}

/// What a failure means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Network, time-out, a server's passing weakness.
    Transient,
    /// The host asks for rest.
    RateLimited,
    /// The host holds something else than we believed.
    OffsetMismatch,
    /// The session is unknown or expired.
    SessionLost,
    /// Credentials, permission, wrong address.
    HostRefused,
    /// No room for this file.
    HostFull,
    /// This file will never be taken.
    FileRejected,
    /// A reply that cannot be read, or says what nobody knows the meaning of.
    Unreadable,
    /// The host calls the request malformed, and does not say that the file is at fault.
    RequestRefused,
    /// It has stored something else than what was sent.
    BadCopy,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 10] = [
        Class::Transient,
        Class::RateLimited,
        Class::OffsetMismatch,
        Class::SessionLost,
        Class::HostRefused,
        Class::HostFull,
        Class::FileRejected,
        Class::Unreadable,
        Class::RequestRefused,
        Class::BadCopy,
    ];

    /// The word for it, which is stored and never changes its meaning.
    pub fn word(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::RateLimited => "rate_limited",
            Class::OffsetMismatch => "offset_mismatch",
            Class::SessionLost => "session_lost",
            Class::HostRefused => "host_refused",
            Class::HostFull => "host_full",
            Class::FileRejected => "file_rejected",
            Class::Unreadable => "unreadable",
            Class::RequestRefused => "request_refused",
            Class::BadCopy => "bad_copy",
        }
    }
}

/// The parts of a plan that the host has confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfirmedParts {
    words: Vec<u64>,
    count: u32,
    /// What the host wants to see again at `finish`, by part; empty for hosts without receipts.
    pub receipts: BTreeMap<u32, String>,
}

impl ConfirmedParts {
    /// Notes `number` as confirmed. Answers whether that is news.
    pub fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = ConfirmedParts::bit(number);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let news = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(news);
        news
    }

    /// Whether `number` is confirmed.
    pub fn contains(&self, number: u32) -> bool {
        let (word, bit) = ConfirmedParts::bit(number);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Whether the same parts are confirmed in `other`.
    pub fn same_parts(&self, other: &ConfirmedParts) -> bool {
        let longest = self.words.len().max(other.words.len());
        (0..longest).all(|word| self.words.get(word).unwrap_or(&0) == other.words.get(word).unwrap_or(&0))
    }

    /// How many parts are confirmed.
    pub fn count(&self) -> u32 {
        self.count
    }

    fn bit(number: u32) -> (usize, u64) {
        ((number / 64) as usize, 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_never_change() {
        let words = [
            "transient",
            "rate_limited",
            "offset_mismatch",
            "session_lost",
            "host_refused",
            "host_full",
            "file_rejected",
            "unreadable",
            "request_refused",
            "bad_copy",
        ];
        assert_eq!(Class::ALL.map(Class::word), words);
    }

    #[test]
    fn what_a_queue_has_stored_of_a_shape_is_read_for_ever() {
        let digest = DigestRequirement { algorithm: Algorithm::Sha256, before_open: true, mid_states: true };
        let by_parts = Shape {
            order: Order::Sequential,
            parts_max: 10_000,
            file_bytes_max: Some(9),
            session_life: Some(Duration::from_millis(1500)),
            repeat: Repeat::Harmless,
            parallel: 4,
            takes_empty_files: false,
            digest: Some(digest),
            part_digest: Some(Algorithm::Md5),
            ..Shape::parts(5)
        };
        let stored = [
            (
                Shape::whole(),
                r#"{"order":"whole_file","part_bytes":18446744073709551615,"parts_max":1,"repeat":"may_duplicate","parallel":1,
                    "takes_empty_files":true}"#,
            ),
            (
                by_parts,
                r#"{"order":"in_order","part_bytes":5,"parts_max":10000,"file_bytes_max":9,"session_life":{"secs":1,"nanos":500000000},
                    "repeat":"harmless","parallel":4,"takes_empty_files":false,
                    "digest":{"algorithm":"sha256","before_open":true,"mid_states":true},"part_digest":"md5"}"#,
            ),
            (
                Shape::parts(7),
                r#"{"order":"any_order","part_bytes":7,"parts_max":4294967295,"file_bytes_max":null,"session_life":null,
                    "repeat":"may_duplicate","parallel":1,"takes_empty_files":true,"digest":null,"of a later version":1}"#,
            ),
        ];
        for (shape, text) in stored {
            assert_eq!(Shape::read(text).as_ref(), Some(&shape), "{text}");
            assert_eq!(Shape::read(&shape.stored()), Some(shape));
        }
        assert_eq!(["", "{}", "null", "a sentence"].map(Shape::read), [None, None, None, None]);
    }

    #[test]
    fn a_session_goes_on_as_it_was_opened_at_the_pace_of_today() {
        let life = Some(Duration::from_secs(9));
        let today = Shape { parallel: 7, session_life: life, repeat: Repeat::Harmless, takes_empty_files: false, ..Shape::whole() };
        assert_eq!(Shape::parts(5).resumed(&today), Shape { parallel: 7, session_life: life, ..Shape::parts(5) });
    }

    #[test]
    fn a_part_that_the_host_lacks_is_never_taken_for_confirmed() {
        let mut confirmed = ConfirmedParts::default();
        // Each alone, in its word and bit, with the borders of the words among them.
        let numbers = [0, 1, 2, 62, 63, 64, 65, 127, 128, 130, 4096];
        for (before, number) in (0..).zip(numbers) {
            assert_eq!((confirmed.count(), confirmed.contains(number)), (before, false), "{number}");
            assert!(confirmed.insert(number));
            let found: Vec<u32> = (0..5000).filter(|number| confirmed.contains(*number)).collect();
            assert_eq!(found, numbers[..=before as usize]);
        }
        assert_eq!(confirmed.words.len(), 65, "a part takes a bit");
    }

    #[test]
    fn a_part_confirmed_twice_counts_once() {
        let mut confirmed = ConfirmedParts::default();
        assert!(confirmed.insert(130));
        assert!(!confirmed.insert(130));
        assert!(confirmed.insert(0));
        assert_eq!(confirmed.count(), 2);
        assert!(confirmed.contains(130) && confirmed.contains(0) && !confirmed.contains(64) && !confirmed.contains(9999));
    }

    #[test]
    fn parts_are_the_same_whatever_room_was_made_for_them_and_others_are_others() {
        let of = |numbers: &[u32]| {
            let mut confirmed = ConfirmedParts::default();
            for number in numbers {
                confirmed.insert(*number);
            }
            confirmed
        };
        let cases: [(&[u32], &[u32], bool); 6] = [
            (&[], &[], true),
            (&[3, 130], &[130, 3], true),
            (&[3], &[3, 130], false),
            (&[3], &[], false),
            // As many, but others.
            (&[3], &[4], false),
            (&[3, 64], &[3, 65], false),
        ];
        for (one, other, same) in cases {
            assert_eq!((of(one).same_parts(&of(other)), of(other).same_parts(&of(one))), (same, same), "{one:?} and {other:?}");
        }
        let roomy = ConfirmedParts { words: vec![8, 0, 0], ..of(&[3]) };
        assert!(roomy.same_parts(&of(&[3])) && of(&[3]).same_parts(&roomy), "room without a part is nothing");
    }
}
