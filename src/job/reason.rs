//! Why a job, a host or a delivery is not where it should be, as data: stored, compared, and made a sentence where a person reads
//! it.
//!
//! Pure and total: any text that is found in the queue can be read, also the sentences that earlier versions stored.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::upload::Class;

/// How much of a host's error code is kept, in characters.
const CODE_CHARS_MAX: usize = 64;
/// How much of what others said is kept, in characters: the end of a hook's output and an excerpt of a reply fit.
const DETAIL_CHARS_MAX: usize = 5_000;

/// What a host was asked for when it failed. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Step {
    /// Nothing yet: a secret could not be read.
    Secret,
    /// To let us in, where that is a request of its own.
    Login,
    /// A session.
    Open,
    /// To take a part.
    SendPart,
    /// What it holds.
    Probe,
    /// To make the parts a file.
    Finish,
    /// To take a session back.
    Abandon,
}

impl Step {
    /// Every step.
    pub const ALL: [Step; 7] = [Step::Secret, Step::Login, Step::Open, Step::SendPart, Step::Probe, Step::Finish, Step::Abandon];

    /// The word for it, as stored.
    pub fn word(self) -> &'static str {
        match self {
            Step::Secret => "secret",
            Step::Login => "login",
            Step::Open => "open",
            Step::SendPart => "send_part",
            Step::Probe => "probe",
            Step::Finish => "finish",
            Step::Abandon => "abandon",
        }
    }

    /// Whether a host that fails here has not even begun with the file.
    pub fn opens(self) -> bool {
        matches!(self, Step::Secret | Step::Login | Step::Open)
    }
}

impl From<Step> for &'static str {
    fn from(step: Step) -> &'static str {
        step.word()
    }
}

impl TryFrom<String> for Step {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Step, Self::Error> {
        Step::ALL.into_iter().find(|step| step.word() == word).ok_or("no such step")
    }
}

/// What kind of reason it is. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum ReasonClass {
    /// A host did not do what was asked; stored as the word of this class.
    Host(Class),
    /// A text of an earlier version, or one that cannot be read: all that is known is in the detail.
    Told,
    /// A secret of the host in `subject` is still being read, as from a program that takes its time.
    SecretAwaited,
    /// The daemon stops.
    Draining,
    /// A worker panicked.
    Panic,
    /// The file is not the version that was taken up; the detail says when that was noticed.
    FileChanged,
    /// The file is not there any more.
    FileVanished,
    /// The operating system does not let us read the file.
    FileUnreadable,
    /// The file is not there, but its folder or disk may be away, or it may have another name.
    FolderMissing,
    /// A new version of the file was taken up before this one was sent.
    Superseded,
    /// A finish may have taken effect, and nobody can be asked.
    Undecidable,
    /// There is evidence that a finish took effect, and no proof.
    Probable,
    /// The link dies soon, and the file is sent again for a new one.
    LinkExpires,
    /// The after-action waits until the host in `subject` has the file.
    WaitsForHost,
    /// The host in `subject` will not have the file, so nothing is done to it.
    RefusedByHost,
    /// What the host in `subject` has of the file was removed from the history, so the source stays.
    UploadForgotten,
    /// The host in `subject` has proved nothing of the file, and is not trusted.
    UnprovenByHost,
    /// The file was not found for the host in `subject`, which was added after it had been sent.
    NotFoundForHost,
    /// The source is not the version that was sent.
    SourceChanged,
    /// The source was reached through a symbolic link.
    SourceLinked,
    /// The source may be written still, as far as anybody can tell.
    MayBeWritten,
    /// The source is not where it was, but may be under another name, or on a disk that is away.
    SourceMissing,
    /// The after-action failed.
    AfterFailed,
    /// The after-action is about to run, so nothing else is done with the file.
    AfterDue,
    /// The hook in `subject` failed.
    HookFailed,
    /// The hook in `subject` did not end within its time.
    HookTimedOut,
    /// The hook in `subject` has not heard of it yet.
    WaitsForHook,
    /// The hook in `subject` was taken out of the configuration before it had run; the detail says what that means.
    HookRemoved,
    /// No watch covers the file any more.
    NotWatched,
    /// The watch of the file does not send to the host in `subject` any more.
    NotSentTo,
    /// The host in `subject` is not configured any more.
    HostUnconfigured,
    /// The host in `subject` rests; the detail says why.
    HostResting,
    /// The host in `subject` is held; the detail says why.
    HostHeld,
}

impl ReasonClass {
    /// Those that are no class of a failed call.
    const OWN: [ReasonClass; 32] = [
        ReasonClass::Told,
        ReasonClass::SecretAwaited,
        ReasonClass::Draining,
        ReasonClass::Panic,
        ReasonClass::FileChanged,
        ReasonClass::FileVanished,
        ReasonClass::FileUnreadable,
        ReasonClass::FolderMissing,
        ReasonClass::Superseded,
        ReasonClass::Undecidable,
        ReasonClass::Probable,
        ReasonClass::LinkExpires,
        ReasonClass::WaitsForHost,
        ReasonClass::RefusedByHost,
        ReasonClass::UploadForgotten,
        ReasonClass::UnprovenByHost,
        ReasonClass::NotFoundForHost,
        ReasonClass::SourceChanged,
        ReasonClass::SourceLinked,
        ReasonClass::MayBeWritten,
        ReasonClass::SourceMissing,
        ReasonClass::AfterFailed,
        ReasonClass::AfterDue,
        ReasonClass::HookFailed,
        ReasonClass::HookTimedOut,
        ReasonClass::WaitsForHook,
        ReasonClass::HookRemoved,
        ReasonClass::NotWatched,
        ReasonClass::NotSentTo,
        ReasonClass::HostUnconfigured,
        ReasonClass::HostResting,
        ReasonClass::HostHeld,
    ];

    /// Every class.
    pub fn all() -> impl Iterator<Item = ReasonClass> {
        Class::ALL.into_iter().map(ReasonClass::Host).chain(ReasonClass::OWN)
    }

    /// The word for it, as stored.
    pub fn word(self) -> &'static str {
        match self {
            ReasonClass::Host(class) => class.word(),
            ReasonClass::Told => "told",
            ReasonClass::SecretAwaited => "secret_awaited",
            ReasonClass::Draining => "draining",
            ReasonClass::Panic => "panic",
            ReasonClass::FileChanged => "file_changed",
            ReasonClass::FileVanished => "file_vanished",
            ReasonClass::FileUnreadable => "file_unreadable",
            ReasonClass::FolderMissing => "folder_missing",
            ReasonClass::Superseded => "superseded",
            ReasonClass::Undecidable => "undecidable",
            ReasonClass::Probable => "probable",
            ReasonClass::LinkExpires => "link_expires",
            ReasonClass::WaitsForHost => "waits_for_host",
            ReasonClass::RefusedByHost => "refused_by_host",
            ReasonClass::UploadForgotten => "upload_forgotten",
            ReasonClass::UnprovenByHost => "unproven_by_host",
            ReasonClass::NotFoundForHost => "not_found_for_host",
            ReasonClass::SourceChanged => "source_changed",
            ReasonClass::SourceLinked => "source_linked",
            ReasonClass::MayBeWritten => "may_be_written",
            ReasonClass::SourceMissing => "source_missing",
            ReasonClass::AfterFailed => "after_failed",
            ReasonClass::AfterDue => "after_due",
            ReasonClass::HookFailed => "hook_failed",
            ReasonClass::HookTimedOut => "hook_timed_out",
            ReasonClass::WaitsForHook => "waits_for_hook",
            ReasonClass::HookRemoved => "hook_removed",
            ReasonClass::NotWatched => "not_watched",
            ReasonClass::NotSentTo => "not_sent_to",
            ReasonClass::HostUnconfigured => "host_unconfigured",
            ReasonClass::HostResting => "host_resting",
            ReasonClass::HostHeld => "host_held",
        }
    }

    /// Whether the host has the file, and something that follows the upload has not happened yet.
    fn follows_upload(self) -> bool {
        matches!(
            self,
            ReasonClass::WaitsForHost
                | ReasonClass::UnprovenByHost
                | ReasonClass::MayBeWritten
                | ReasonClass::SourceMissing
                | ReasonClass::AfterFailed
                | ReasonClass::AfterDue
                | ReasonClass::HookFailed
                | ReasonClass::HookTimedOut
                | ReasonClass::WaitsForHook
        )
    }
}

impl From<ReasonClass> for &'static str {
    fn from(class: ReasonClass) -> &'static str {
        class.word()
    }
}

impl TryFrom<String> for ReasonClass {
    type Error = &'static str;

    fn try_from(word: String) -> Result<ReasonClass, Self::Error> {
        ReasonClass::all().find(|class| class.word() == word).ok_or("no such class")
    }
}

/// What a reason says besides what happened. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// Nothing.
    #[default]
    None,
    /// The file is uploaded again, and may be there twice.
    UploadedAgain,
    /// The same has happened for a day.
    ForADay,
    /// The file may be there, and the user decides.
    LeftToUser,
}

impl Note {
    fn is_none(&self) -> bool {
        *self == Note::None
    }
}

/// Why something is not where it should be. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What kind of reason it is.
    pub class: ReasonClass,
    /// What the host was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// The HTTP status that it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The host's own error code, or the exit code of a hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The name of the host or hook that it is about, where that is not the job's own host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What happened, in the words of whoever knows: a host's code with an excerpt of the reply, the operating system, a hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The beginning of the reply of a host, where nobody knows what it means; longer than the excerpt in `detail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// What is to be said besides.
    #[serde(default, skip_serializing_if = "Note::is_none")]
    pub note: Note,
    /// What else went wrong: a hook that was to tell of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<Box<Reason>>,
}

impl Reason {
    /// A reason of which nothing but its class is known.
    pub fn new(class: ReasonClass) -> Reason {
        Reason {
            class,
            step: None,
            status: None,
            code: None,
            subject: None,
            detail: None,
            reply: None,
            note: Note::None,
            also: None,
        }
    }

    /// The same with what happened.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Reason {
        Reason { detail: Some(bounded(detail.into(), DETAIL_CHARS_MAX)), ..self }
    }

    /// The same about the host or hook of this name.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Reason {
        Reason { subject: Some(subject.into()), ..self }
    }

    /// The same with an error code of somebody else's making.
    #[must_use]
    pub fn code(self, code: Option<String>) -> Reason {
        Reason { code: code.map(|code| bounded(code, CODE_CHARS_MAX)), ..self }
    }

    /// The same with something else that went wrong.
    #[must_use]
    pub fn and_also(self, also: Option<Reason>) -> Reason {
        Reason { also: also.map(Box::new), ..self }
    }

    /// What stands in the queue for it.
    pub fn stored(&self) -> String {
        // A sentence can be read again, too.
        serde_json::to_string(self).unwrap_or_else(|_| self.to_string())
    }

    /// What stands in the queue. A text that is no reason of ours is one that was told.
    pub fn read(text: &str) -> Reason {
        serde_json::from_str(text).unwrap_or_else(|_| Reason::new(ReasonClass::Told).detail(text))
    }

    /// Whether somebody who has heard of `self` knows all that matters of `other`. What somebody said in detail does not matter: it
    /// may be worded, or count, another way each time.
    pub fn same_news(&self, other: &Reason) -> bool {
        let known = |reason: &Reason| (reason.class, reason.step, reason.status);
        let is_told = self.class == ReasonClass::Told;
        known(self) == known(other)
            && self.code == other.code
            && self.subject == other.subject
            && (!is_told || self.detail == other.detail)
    }

    /// What happened, as a fragment that reads after a colon.
    pub fn fragment(&self) -> String {
        let happened = self.happened();
        match self.note {
            Note::None => happened,
            Note::UploadedAgain => format!("{happened}; uploading it again, so the host may have it twice"),
            Note::ForADay => format!("{happened}, for a day now; the host may have the file several times"),
            Note::LeftToUser => {
                format!("{happened}; the file may be on the host already, and `on_unknown` leaves the decision to you")
            }
        }
    }

    fn happened(&self) -> String {
        let detail = self.detail.as_deref().unwrap_or_default();
        let subject = self.subject.as_deref().unwrap_or_default();
        match self.class {
            ReasonClass::Host(_) | ReasonClass::Told | ReasonClass::AfterFailed => detail.to_owned(),
            ReasonClass::SecretAwaited => format!("waiting for a secret of `{subject}` to be read"),
            ReasonClass::Draining => "the daemon is stopping".into(),
            ReasonClass::Panic => "ferryd panicked while uploading this file; this is a bug in ferryd".into(),
            ReasonClass::FileChanged => format!("the file changed {detail}"),
            ReasonClass::FileVanished => "the file no longer exists".into(),
            ReasonClass::FileUnreadable => format!("the file cannot be read: {detail}"),
            ReasonClass::FolderMissing => "the file is not where it was: looking for it under another name, or waiting for its folder or disk to come back".into(),
            ReasonClass::Superseded => "the file changed before it was uploaded; the new version has a job of its own".into(),
            ReasonClass::Undecidable if detail.is_empty() => "the host never answered the request that completes the upload".into(),
            ReasonClass::Undecidable => detail.to_owned(),
            ReasonClass::Probable => {
                format!("the host never answered, but probably has the file: {detail}; check the account")
            }
            ReasonClass::LinkExpires => "the link expires soon; uploading the file again for a new one".into(),
            ReasonClass::WaitsForHost => format!("keeping the file until `{subject}` has it, too"),
            ReasonClass::RefusedByHost => format!("leaving the file where it is: `{subject}` does not accept it"),
            ReasonClass::UploadForgotten => {
                format!("leaving the file where it is: what `{subject}` has of it was removed with `ferryd forget`")
            }
            ReasonClass::UnprovenByHost => format!(
                "leaving the file where it is: `{subject}` reported neither a size nor a digest that proves the upload; \
                 set `trust_replies = true` in [host.{subject}] to accept its reply as proof"
            ),
            ReasonClass::NotFoundForHost => {
                format!("the after-action was skipped: the file was missing, changed or excluded by the time `{subject}` was added")
            }
            ReasonClass::SourceChanged => "leaving the file where it is: it is not the version that was uploaded".into(),
            ReasonClass::SourceLinked => {
                "leaving the file where it is: it was reached through a symbolic link, and ferryd never deletes or moves such files"
                    .into()
            }
            ReasonClass::MayBeWritten => {
                "ferryd cannot tell whether another program is still writing the file (it belongs to another user, or \
                 its file system does not report that): waiting until it is seen to be closed, or until 24 hours after its last change"
                    .into()
            }
            ReasonClass::SourceMissing => {
                "the file is not where it was: looking for it under another name, or waiting for its folder or disk to come back".into()
            }
            ReasonClass::AfterDue => "the after-action is about to run".into(),
            ReasonClass::HookFailed | ReasonClass::HookTimedOut => format!("hook `{subject}` failed: {detail}"),
            ReasonClass::WaitsForHook => format!("waiting for hook `{subject}`"),
            ReasonClass::HookRemoved if detail.is_empty() => {
                format!("hook `{subject}` was taken out of the configuration before it had run for this file")
            }
            ReasonClass::HookRemoved => {
                format!("hook `{subject}` was taken out of the configuration before it had run for this file; {detail}")
            }
            ReasonClass::NotWatched => "no watch covers this file any more; put the watch back, and the upload goes on".into(),
            ReasonClass::NotSentTo => format!(
                "its watch does not upload to `{subject}` any more; put `{subject}` back into `to`, and the upload goes on"
            ),
            ReasonClass::HostUnconfigured => format!("the host `{subject}` is no longer configured"),
            ReasonClass::HostResting => format!("host `{subject}` is paused: {detail}"),
            ReasonClass::HostHeld => format!("host `{subject}` is on hold: {detail}"),
        }
    }
}

/// The sentence that a person reads.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.class.follows_upload() {
            f.write_str("uploaded; ")?;
        }
        f.write_str(&self.fragment())?;
        match &self.also {
            Some(also) => write!(f, "; {}", also.fragment()),
            None => Ok(()),
        }
    }
}

/// A text that ends somewhere.
fn bounded(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> Reason {
        let reason = Reason::new(ReasonClass::Host(Class::HostRefused)).detail("the host answered 401 (Unauthorized): `no`");
        Reason { step: Some(Step::Open), status: Some(status), ..reason }
    }

    #[test]
    fn every_class_and_step_has_a_word_of_its_own_and_is_read_back() {
        let words: Vec<&str> = ReasonClass::all().map(ReasonClass::word).collect();
        let unique: std::collections::BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!((words.len(), unique.len()), (42, 42));
        for class in ReasonClass::all() {
            for step in Step::ALL {
                let reason = Reason { step: Some(step), ..Reason::new(class) };
                assert_eq!(Reason::read(&reason.stored()), reason);
            }
        }
    }

    #[test]
    fn the_words_never_change() {
        assert_eq!(Step::ALL.map(Step::word), ["secret", "login", "open", "send_part", "probe", "finish", "abandon"]);
        let words = [
            "told",
            "secret_awaited",
            "draining",
            "panic",
            "file_changed",
            "file_vanished",
            "file_unreadable",
            "folder_missing",
            "superseded",
            "undecidable",
            "probable",
            "link_expires",
            "waits_for_host",
            "refused_by_host",
            "upload_forgotten",
            "unproven_by_host",
            "not_found_for_host",
            "source_changed",
            "source_linked",
            "may_be_written",
            "source_missing",
            "after_failed",
            "after_due",
            "hook_failed",
            "hook_timed_out",
            "waits_for_hook",
            "hook_removed",
            "not_watched",
            "not_sent_to",
            "host_unconfigured",
            "host_resting",
            "host_held",
        ];
        assert_eq!(ReasonClass::OWN.map(ReasonClass::word), words);
        let notes = [Note::None, Note::UploadedAgain, Note::ForADay, Note::LeftToUser].map(|note| serde_json::json!(note));
        assert_eq!(notes, ["none", "uploaded_again", "for_a_day", "left_to_user"]);
    }

    #[test]
    fn a_reason_survives_the_queue_with_all_that_is_known() {
        let hook = Reason::new(ReasonClass::HookFailed).about("command sh").code(Some("3".into())).detail("exit status: 3");
        for note in [Note::None, Note::UploadedAgain, Note::ForADay, Note::LeftToUser] {
            let reason = Reason { note, ..refused(401) }.code(Some("E\"1".into())).and_also(Some(hook.clone()));
            assert_eq!(Reason::read(&reason.stored()), reason);
        }
        let stored = Reason::new(ReasonClass::FileVanished).stored();
        assert_eq!(stored, "{\"class\":\"file_vanished\"}", "what is not known takes no room");
    }

    #[test]
    fn what_an_older_version_stored_is_shown_as_it_is() {
        for text in ["the host answered 502", "", "{}", "{\"class\":\"no_such_class\"}", "null", "[1]", "{\"class\":"] {
            let reason = Reason::read(text);
            assert_eq!((reason.class, reason.to_string().as_str()), (ReasonClass::Told, text));
        }
    }

    #[test]
    fn a_person_hears_again_only_of_what_is_another_matter() {
        let about = |name: &str| Reason::new(ReasonClass::WaitsForHost).about(name);
        let told = |text: &str| Reason::read(text);
        let cases = [
            ("the same", refused(401), refused(401), true),
            ("in other words", refused(401), refused(401).detail("the host answered 401 (Unauthorized): `go away, 17`"), true),
            ("with a note", refused(401), Reason { note: Note::ForADay, ..refused(401) }, true),
            ("with a hook that failed", refused(401), refused(401).and_also(Some(about("a"))), true),
            ("another status", refused(401), refused(403), false),
            ("no status", refused(401), Reason { status: None, ..refused(401) }, false),
            ("another step", refused(401), Reason { step: Some(Step::Finish), ..refused(401) }, false),
            ("another class", refused(401), Reason { class: ReasonClass::Host(Class::HostFull), ..refused(401) }, false),
            ("another code", refused(401), refused(401).code(Some("-3".into())), false),
            ("the same host", about("a"), about("a"), true),
            ("another host", about("a"), about("b"), false),
            ("a text of an older version", told("the host answered 401"), refused(401), false),
            ("the same text", told("the host answered 401"), told("the host answered 401"), true),
            ("another text", told("the host answered 401"), told("the host answered 403"), false),
        ];
        for (what, heard, now, expected) in cases {
            assert_eq!((heard.same_news(&now), now.same_news(&heard)), (expected, expected), "{what}");
        }
    }

    #[test]
    fn what_others_said_has_an_end() {
        let long = Reason::new(ReasonClass::Told).detail("ä".repeat(100_000)).code(Some("ö".repeat(1_000)));
        let chars = |text: &Option<String>| text.as_ref().map(|text| text.chars().count());
        assert_eq!((chars(&long.detail), chars(&long.code)), (Some(DETAIL_CHARS_MAX), Some(CODE_CHARS_MAX)));
    }

    #[test]
    fn no_reason_is_without_words() {
        for class in ReasonClass::all() {
            let reason = Reason::new(class).about("box").detail("no such thing");
            assert!(reason.to_string().len() > 10, "{class:?}: {reason}");
        }
    }

    #[test]
    fn a_sentence_says_what_happened_what_follows_and_what_else_went_wrong() {
        let hook = Reason::new(ReasonClass::HookFailed).about("command sh").detail("it ended with exit status: 3");
        let unanswered = Reason::new(ReasonClass::Undecidable);
        let cases = [
            (hook.clone(), "uploaded; hook `command sh` failed: it ended with exit status: 3"),
            (
                refused(401).and_also(Some(hook)),
                "the host answered 401 (Unauthorized): `no`; hook `command sh` failed: it ended with exit status: 3",
            ),
            (
                Reason { note: Note::UploadedAgain, ..unanswered.clone() },
                "the host never answered the request that completes the upload; uploading it again, so the host may have it twice",
            ),
            (
                Reason { note: Note::ForADay, ..unanswered.clone() },
                "the host never answered the request that completes the upload, for a day now; the host may have the file several times",
            ),
            (
                Reason { note: Note::LeftToUser, ..unanswered.detail("the host answered `uuid?`") },
                "the host answered `uuid?`; the file may be on the host already, and `on_unknown` leaves the decision to you",
            ),
            (
                Reason::new(ReasonClass::UnprovenByHost).about("box"),
                "uploaded; leaving the file where it is: `box` reported neither a size nor a digest that proves the upload; \
                 set `trust_replies = true` in [host.box] to accept its reply as proof",
            ),
        ];
        for (reason, sentence) in cases {
            assert_eq!(reason.to_string(), sentence);
        }
    }
}
