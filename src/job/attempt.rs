//! How an attempt begins, what it makes of a finish that nobody answered, and where it leaves its job and its session.
//!
//! Pure and total. The engine brings the facts, calls the host, commits, and acts on what is decided here.

use std::time::Duration;

use super::State;
use super::health::Feedback;
use super::outage::Evidence;
use super::reason::Note;
use super::upload::{Class, Found, Order, Repeat, Shape};
use super::verdict::{
    FailureFacts, LONGEST_BACKOFF, LONGEST_BACKOFF_OFFLINE, LONGEST_WAIT, PERSISTENT_AFTER, RECHECK, RENEWAL, Verdict,
    pause_after_lost_session, verdict,
};

/// Finishes of one session that may go unanswered, over [`PERSISTENT_AFTER`], before the user's choice decides.
const UNANSWERED_MAX: u32 = 5;
/// How long a file that cannot be read is left alone.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);
/// How long a file is left alone whose folder is not there: about as often as its watch looks for it.
const FOLDER_PAUSE: Duration = Duration::from_secs(5);

/// What the user wants where a finish may have taken effect and the host cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// The file is sent again, and its job says that it may be there twice.
    UploadAgain,
    /// The host is asked for evidence, where it can bring any.
    Probe,
    /// The job is held.
    Hold,
}

/// What becomes of a session when its attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionFate {
    /// It is resumed.
    Resume,
    /// It is resumed, and its last finish is known not to have taken effect.
    ResumeUncommitted,
    /// It is resumed, and its last finish went unanswered.
    ResumeUnanswered,
    /// It is resumed, and whether an earlier finish took effect is not known, nor harmless.
    ResumeDoubtful,
    /// It is resumed, and every part is sent again.
    ResendParts,
    /// It is dropped, at no cost to the file.
    Drop,
    /// Its job is over, and giving it back has failed: that is tried again.
    Owed,
    /// It is dropped, and counted as lost.
    DropLost,
    /// It is dropped, counted as lost, and the host may keep what it made of it.
    DropLostMaybeDuplicate,
}

impl SessionFate {
    /// Whether the session counts as lost.
    pub fn is_lost(self) -> bool {
        matches!(self, SessionFate::DropLost | SessionFate::DropLostMaybeDuplicate)
    }

    /// Whether the host may have the file besides the one that the job will end with.
    pub fn may_duplicate(self) -> bool {
        self == SessionFate::DropLostMaybeDuplicate && !planted!("duplicate.unmarked")
    }
}

/// A half-sent upload, as far as the rules ask about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFacts {
    /// How long ago it was opened.
    pub age: Duration,
    /// Whether a finish was sent, or was about to be, and its answer is not known.
    pub committing: bool,
    /// How many finishes have gone unanswered.
    pub unanswered: u32,
    /// Whether every part has been sent a second time because the host missed some.
    pub resent: bool,
    /// Whether its finish has been asked for before, and refused.
    pub refused: bool,
}

/// How an attempt begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// With a new session; one that is there is given back.
    Open,
    /// With the session that is there.
    Resume,
    /// With the question whether the host has the file already.
    AskAboutFinish,
    /// Not at all: nobody can be asked whether the host has the file.
    Undecidable,
}

/// How an attempt begins for a job with this session, if it has one.
pub fn beginning(session: Option<&SessionFacts>, shape: &Shape, on_unknown: OnUnknown) -> Beginning {
    let Some(session) = session else { return Beginning::Open };
    if session.committing {
        // Such a host can bring evidence at best, and asking has its price.
        let undecidable = duplicates_on_resend(shape) && on_unknown != OnUnknown::Probe;
        return if undecidable { Beginning::Undecidable } else { Beginning::AskAboutFinish };
    }
    let expired = shape.session_life.is_some_and(|life| session.age > life);
    // A body that was cut short is worth nothing to a host that may keep what it gets twice.
    if expired || duplicates_on_resend(shape) { Beginning::Open } else { Beginning::Resume }
}

fn duplicates_on_resend(shape: &Shape) -> bool {
    shape.order == Order::WholeFile && shape.repeat == Repeat::MayDuplicate
}

/// What follows when a session is resumed and the host has said what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// What is missing is sent.
    Send,
    /// The host has made the file already.
    Done,
    /// The session cannot be resumed: what that means, and what happened.
    Fail(Class, &'static str),
    /// The host has made another file of it.
    AnotherFile,
}

/// What follows from what the host holds of a session whose finish was never sent. `all_sent` says whether it has confirmed every
/// part, or may have made the file of the last one.
pub fn resumption(found: &Found, all_sent: bool) -> Resumption {
    match found {
        Found::Unsure | Found::Likely(_) | Found::Unlikely | Found::UpTo(_) | Found::Parts(_) => Resumption::Send,
        Found::Gone => Resumption::Fail(Class::SessionLost, SESSION_UNKNOWN),
        Found::AnotherFile => Resumption::AnotherFile,
        Found::Complete(_) if all_sent => Resumption::Done,
        Found::Complete(_) => {
            Resumption::Fail(Class::Unreadable, "the host says it has the whole file, but was never asked to complete the upload")
        }
    }
}

const SESSION_UNKNOWN: &str = "the host no longer recognizes the upload";

/// What follows when a finish went unanswered and the host has been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It has the file.
    Done,
    /// The finish is sent again.
    FinishAgain,
    /// The whole file is sent again, in the place of what is there.
    SendAgain,
    /// It does not have all of the file: what is missing is sent.
    GoOn,
    /// It does not have the file: what happened to the session.
    Lost(&'static str),
    /// It has made another file of the session, as far as it tells.
    AnotherFile,
    /// There is evidence that it has the file, and no proof.
    Probable,
    /// Nobody can know.
    Undecidable,
}

/// What follows from `found` for a session whose finish went unanswered, by a job that has been failing for so long.
pub fn resolution(found: &Found, shape: &Shape, session: &SessionFacts, failing_for: Duration) -> Resolution {
    match (found, shape.repeat) {
        (Found::Complete(_), _) => Resolution::Done,
        (Found::Likely(_), _) => Resolution::Probable,
        (Found::AnotherFile, _) => Resolution::AnotherFile,
        (Found::Unlikely, _) => Resolution::Lost("the host never answered, and there is no sign that it has the file"),
        // Whoever tells how far it is has not made the file of less.
        (Found::UpTo(_), _) if shape.last_part_commits => Resolution::GoOn,
        (Found::Gone, Repeat::Harmless) => Resolution::Lost(SESSION_UNKNOWN),
        (Found::Gone, Repeat::MayDuplicate) => Resolution::Undecidable,
        (_, Repeat::Harmless) if shape.order == Order::WholeFile => Resolution::SendAgain,
        (_, Repeat::MayDuplicate) if shape.order == Order::WholeFile => Resolution::Undecidable,
        // Where a second finish does no harm, it is tried for as long as it takes.
        (_, Repeat::MayDuplicate) if session.unanswered >= UNANSWERED_MAX && failing_for >= PERSISTENT_AFTER => {
            Resolution::Undecidable
        }
        _ => Resolution::FinishAgain,
    }
}

/// What a failed finish means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishFailure {
    /// It may have taken effect, and nobody can be asked.
    Undecidable,
    /// It failed as this class, and this becomes of the session.
    Failed(Class, SessionFate),
}

/// What a finish means that failed as `class`. With `outcome_unknown` it may have taken effect all the same.
pub fn finish_failure(class: Class, outcome_unknown: bool, repeat: Repeat, session: &SessionFacts) -> FinishFailure {
    use FinishFailure::{Failed, Undecidable};
    match class {
        // Nobody can be asked any more, and an earlier finish may have worked.
        Class::SessionLost if outcome_unknown && repeat == Repeat::Harmless => {
            return Failed(class, lost_after(session.committing));
        }
        _ if outcome_unknown => return Failed(class, SessionFate::ResumeUnanswered),
        _ => {}
    }
    let repeated = session.committing && repeat == Repeat::MayDuplicate && !planted!("finish.doubt_forgotten");
    match class {
        // An error to a repeated finish may mean "already done, and forgotten".
        Class::SessionLost | Class::FileRejected | Class::OffsetMismatch if repeated => Undecidable,
        Class::OffsetMismatch if session.resent => Failed(Class::SessionLost, SessionFate::DropLost),
        Class::OffsetMismatch => Failed(class, SessionFate::ResendParts),
        // It may have ended because what was refused has worked all the same.
        Class::SessionLost => Failed(class, lost_after(session.refused && repeat == Repeat::MayDuplicate)),
        // What was made of the session is not the file, and whoever asks about it may take it for that.
        Class::BadCopy if repeat == Repeat::MayDuplicate => Failed(class, SessionFate::DropLostMaybeDuplicate),
        Class::BadCopy => Failed(class, SessionFate::DropLost),
        // Nothing was sent, or nothing was done: an earlier doubt stays what it was.
        _ if repeated => Failed(class, SessionFate::ResumeDoubtful),
        _ if session.committing => Failed(class, SessionFate::Resume),
        _ => Failed(class, SessionFate::ResumeUncommitted),
    }
}

fn lost_after(perhaps_made: bool) -> SessionFate {
    if perhaps_made { SessionFate::DropLostMaybeDuplicate } else { SessionFate::DropLost }
}

/// What becomes of the session when the one body of a file failed. With `last_byte_left` all of it may have arrived, where that
/// matters; before that the host has no file, whatever its error says. A host that takes the next body in the place of this one is
/// given it with the same session, which holds the name of the place. With `resumed`, it may have been given one before.
pub fn body_failure(class: Class, outcome_unknown: bool, last_byte_left: bool, resumed: bool, repeat: Repeat) -> SessionFate {
    match class {
        Class::SessionLost if outcome_unknown && repeat == Repeat::Harmless => lost_after(resumed),
        _ if outcome_unknown && last_byte_left => SessionFate::ResumeUnanswered,
        Class::SessionLost => SessionFate::DropLost,
        Class::BadCopy if repeat == Repeat::MayDuplicate => SessionFate::DropLostMaybeDuplicate,
        _ if repeat == Repeat::Harmless => SessionFate::Resume,
        _ => SessionFate::Drop,
    }
}

/// What becomes of the session when a call failed that changes nothing for good: an open, a part, a question.
pub fn call_failure(class: Class) -> SessionFate {
    if class == Class::SessionLost { SessionFate::DropLost } else { SessionFate::Resume }
}

/// Why an attempt ends before the host has the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The daemon stops.
    Draining,
    /// Neither the file nor its folder is there.
    FolderMissing,
    /// The file cannot be read.
    FileUnreadable,
    /// The file is not the version that was taken up, or is not there any more.
    FileChanged,
    /// A finish may have taken effect, and nobody can be asked.
    Undecidable,
    /// There is evidence that a finish took effect, and no proof.
    Probable,
    /// The host did not do what was asked.
    Failed(Failure),
}

/// A call to a host that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What it means.
    pub class: Class,
    /// What it means once it is persistent.
    pub worsens: Option<Class>,
    /// The rest the host asked for.
    pub wait: Option<Duration>,
    /// Whether that rest doubles each time the host asks for it again.
    pub doubles: bool,
    /// Whether it asks for it because of too many logins.
    pub spaces: bool,
    /// What becomes of the session.
    pub session: SessionFate,
}

/// What is known of a job when its attempt ends.
#[derive(Debug, Clone)]
pub struct History {
    /// Whether the host has confirmed anything new in this attempt.
    pub progress: bool,
    /// Failures in a row before it.
    pub failures: u32,
    /// Of what kind the last of them was, and how many in a row were of that kind.
    pub last_kind: Option<(String, u32)>,
    /// How long that row of failures has lasted.
    pub failing_for: Duration,
    /// How long it may last before a person is to look.
    pub give_up_after: Duration,
    /// Whether the host is known to be down: then nothing that fails says anything of the file.
    pub host_is_down: bool,
    /// Whether a refusal by the host may be over soon, as when a key ends that has been renewed.
    pub refusal_may_pass: bool,
    /// Whether nothing is reached at all, so that it is this machine's network that is down.
    pub network_is_down: bool,
    /// Sessions that the file has lost.
    pub sessions_lost: u32,
    /// Failures in a row that the user allows.
    pub retries: Option<u32>,
    /// The user's choice where nobody can be asked.
    pub on_unknown: OnUnknown,
    /// The file's size in bytes.
    pub bytes: u64,
}

/// When a job is claimed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// As soon as it is its turn, or never, as its state says.
    None,
    /// After so long.
    For(Duration),
    /// After at least `floor`, and a random share of `ceiling`.
    Jittered {
        /// What is waited in any case.
        floor: Duration,
        /// What is multiplied by a number drawn from 0 to 1.
        ceiling: Duration,
    },
}

/// What is noted of the row of failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Failures in a row.
    pub failures: u32,
    /// Of what kind the last one was, and how many in a row were of that kind.
    pub last_kind: Option<(String, u32)>,
    /// Whether this attempt adds a failure to the row, or begins one.
    pub failed: bool,
    /// Whether the time until the next attempt counts for how long the row lasts.
    pub counts: bool,
}

/// Where an attempt leaves its job, its session and its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// The job's state.
    pub state: State,
    /// When it is claimed again.
    pub pause: Pause,
    /// What becomes of the session.
    pub session: SessionFate,
    /// What is noted of its failures.
    pub record: Record,
    /// What it says about the host.
    pub feedback: Feedback,
    /// What its reason says besides.
    pub note: Note,
}

/// Where an attempt leaves its job that ended for this cause.
pub fn leaving(cause: &Cause, history: &History) -> Leaving {
    let standing = history.standing(State::Queued, Pause::None, SessionFate::Resume);
    match cause {
        Cause::Draining => standing,
        Cause::FolderMissing => Leaving { state: State::Waiting, pause: Pause::For(FOLDER_PAUSE), ..standing },
        Cause::FileUnreadable => Leaving { state: State::Waiting, pause: Pause::For(UNREADABLE_PAUSE), ..standing },
        Cause::FileChanged => Leaving { state: State::Gone, session: SessionFate::Drop, ..standing },
        Cause::Probable => Leaving { state: State::Held, ..standing },
        Cause::Undecidable => history.undecidable(),
        Cause::Failed(failure) => history.failed(failure),
    }
}

impl History {
    /// A leaving that says nothing against the file and nothing about the host.
    fn standing(&self, state: State, pause: Pause, session: SessionFate) -> Leaving {
        let (failures, last_kind) = if self.progress { (0, None) } else { (self.failures, self.last_kind.clone()) };
        let record = Record { failures, last_kind, failed: false, counts: false };
        Leaving { state, pause, session, record, feedback: Feedback::Nothing, note: Note::None }
    }

    /// A person may have to act; the daemon looks again after [`RECHECK`] all the same.
    fn held(&self, session: SessionFate) -> Leaving {
        self.standing(State::Held, Pause::For(RECHECK), session)
    }

    /// The file begins anew, for the session it has lost now.
    fn anew(&self, pause: Duration, session: SessionFate) -> Leaving {
        if pause.is_zero() {
            self.standing(State::Queued, Pause::None, session)
        } else {
            self.standing(State::Waiting, Pause::For(pause), session)
        }
    }

    fn undecidable(&self) -> Leaving {
        match self.on_unknown {
            OnUnknown::Hold | OnUnknown::Probe => {
                Leaving { note: Note::LeftToUser, ..self.standing(State::Held, Pause::None, SessionFate::Resume) }
            }
            OnUnknown::UploadAgain => {
                let (session, given_up) = (SessionFate::DropLostMaybeDuplicate, self.failing_for >= self.give_up_after);
                let leaving = if given_up {
                    Leaving { note: Note::ForADay, ..self.held(session) }
                } else {
                    let pause = pause_after_lost_session(self.sessions_lost);
                    Leaving { note: Note::UploadedAgain, ..self.anew(pause, session) }
                };
                Leaving { record: Record { failed: true, counts: true, ..leaving.record }, ..leaving }
            }
        }
    }

    fn failed(&self, failure: &Failure) -> Leaving {
        let kind = failure.kind();
        let failures = if self.progress { 1 } else { self.failures.saturating_add(1) };
        let same = self.last_kind.as_ref().filter(|(last, _)| *last == kind && !self.progress);
        let alike = same.map_or(1, |(_, alike)| alike.saturating_add(1));
        let facts = FailureFacts {
            class: failure.class,
            worsens: failure.worsens,
            wait: failure.wait,
            failures,
            alike,
            failing_for: self.failing_for,
            give_up_after: self.give_up_after,
            sessions_lost: self.sessions_lost,
            retries: self.retries,
        };
        // What has worsened to a lost session is lost as one.
        let lost = facts.meaning() == Class::SessionLost && failure.session != SessionFate::DropLostMaybeDuplicate;
        if lost && failure.session == SessionFate::ResumeDoubtful {
            // Its finish may have made a file before anything failed for so long.
            return self.undecidable();
        }
        let session = if lost { SessionFate::DropLost } else { failure.session };
        let record = Record { failures, last_kind: Some((kind, alike)), failed: true, counts: true };
        let feedback = self.against_the_host(failure);
        if self.is_no_fault_of_the_file() && matches!(feedback, Feedback::Failed(_)) {
            return Leaving { feedback, ..self.put_off(facts, session) };
        }
        match verdict(facts) {
            Verdict::Retry { floor, ceiling } => {
                let pause = Pause::Jittered { floor, ceiling };
                Leaving { record, feedback, ..self.standing(State::Waiting, pause, session) }
            }
            Verdict::RestHost(pause) => {
                let feedback = Feedback::Rest { pause, doubles_to: failure.rest_doubles_to(), spaces: failure.spaces };
                Leaving { feedback, ..self.standing(State::Waiting, Pause::For(pause), session) }
            }
            Verdict::Anew(pause) => Leaving { record, feedback, ..self.anew(pause, session) },
            Verdict::HoldHost if self.refusal_may_pass && alike == 1 => {
                Leaving { record, feedback: Feedback::Refused, ..self.standing(State::Waiting, Pause::For(RENEWAL), session) }
            }
            // Others are taken meanwhile: what goes wrong with this file alone must not keep its host from them.
            Verdict::HoldHost if self.refusal_may_pass => Leaving { record, feedback: Feedback::Nothing, ..self.held(session) },
            Verdict::HoldHost => Leaving { feedback: Feedback::Refused, ..self.held(session) },
            Verdict::HoldForRoom => Leaving { feedback: Feedback::Full { bytes: self.bytes }, ..self.held(session) },
            Verdict::Hold => Leaving { record, feedback, ..self.held(session) },
            Verdict::LeaveToPerson => Leaving { record, feedback, ..self.standing(State::Held, Pause::None, session) },
            Verdict::Fail => self.standing(State::Failed, Pause::None, SessionFate::Drop),
        }
    }
}

impl History {
    fn is_no_fault_of_the_file(&self) -> bool {
        self.host_is_down || self.network_is_down
    }

    /// What is waited for is the host or the network; the file's own row of failures stays as it was.
    fn put_off(&self, facts: FailureFacts, session: SessionFate) -> Leaving {
        let before = FailureFacts { failures: facts.failures.saturating_sub(1), class: Class::Transient, ..facts };
        let Verdict::Retry { floor, ceiling } = verdict(FailureFacts { worsens: None, retries: None, ..before }) else {
            return self.standing(State::Waiting, Pause::For(LONGEST_BACKOFF_OFFLINE), session);
        };
        let longest = if self.network_is_down { LONGEST_BACKOFF_OFFLINE } else { LONGEST_BACKOFF };
        self.standing(State::Waiting, Pause::Jittered { floor, ceiling: ceiling.min(longest) }, session)
    }

    fn against_the_host(&self, failure: &Failure) -> Feedback {
        let counts = match failure.class {
            // What may turn out to be a lost session is a matter of that session.
            _ if failure.worsens == Some(Class::SessionLost) => false,
            Class::Transient | Class::Unreadable | Class::RequestRefused => true,
            // The first time that is the file's own matter.
            Class::SessionLost => self.sessions_lost > 0,
            _ => false,
        };
        let Failure { class, worsens, wait, .. } = *failure;
        let evidence = Evidence { class, worsens, floor: wait, network_is_down: self.network_is_down };
        if counts { Feedback::Failed(evidence) } else { Feedback::Nothing }
    }
}

impl Leaving {
    /// The same where the host has turned out to need a person, and the job with it.
    #[must_use]
    pub fn with_its_host_held(self) -> Leaving {
        match self.state {
            State::Waiting | State::Queued => Leaving { state: State::Held, pause: Pause::For(RECHECK), ..self },
            _ => self,
        }
    }
}

impl Failure {
    /// The stored name of this kind of failure.
    fn kind(&self) -> String {
        match self.worsens {
            None => self.class.word().to_owned(),
            Some(worsens) => format!("{}/{}", self.class.word(), worsens.word()),
        }
    }

    fn rest_doubles_to(&self) -> Option<Duration> {
        match self.wait {
            _ if self.doubles => Some(LONGEST_WAIT),
            None => Some(LONGEST_BACKOFF),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::upload::Outcome;
    use crate::job::verdict::GIVE_UP_AFTER;

    fn shape(order: Order, repeat: Repeat) -> Shape {
        Shape { order, repeat, session_life: Some(Duration::from_secs(100)), ..Shape::parts(8) }
    }

    const SESSION: SessionFacts =
        SessionFacts { age: Duration::ZERO, committing: false, unanswered: 0, resent: false, refused: false };
    const COMMITTING: SessionFacts = SessionFacts { committing: true, ..SESSION };
    const RESENT: SessionFacts = SessionFacts { resent: true, ..SESSION };
    const REFUSED: SessionFacts = SessionFacts { refused: true, ..SESSION };

    const BY_PART: (Order, Repeat) = (Order::Any, Repeat::Harmless);
    const BY_PART_ONCE: (Order, Repeat) = (Order::Any, Repeat::MayDuplicate);
    const OVERWRITES: (Order, Repeat) = (Order::WholeFile, Repeat::Harmless);
    const DUPLICATES: (Order, Repeat) = (Order::WholeFile, Repeat::MayDuplicate);

    #[test]
    fn an_attempt_begins_where_the_last_one_ended_unless_that_would_make_a_second_file() {
        let old = SessionFacts { age: Duration::from_secs(101), ..SESSION };
        let at_its_last = SessionFacts { age: Duration::from_secs(100), ..SESSION };
        let cases = [
            (None, BY_PART, OnUnknown::UploadAgain, Beginning::Open),
            (Some(SESSION), BY_PART, OnUnknown::UploadAgain, Beginning::Resume),
            (Some(SESSION), BY_PART_ONCE, OnUnknown::Hold, Beginning::Resume),
            (Some(SESSION), OVERWRITES, OnUnknown::UploadAgain, Beginning::Resume),
            (Some(SESSION), DUPLICATES, OnUnknown::UploadAgain, Beginning::Open),
            (Some(old), BY_PART, OnUnknown::UploadAgain, Beginning::Open),
            (Some(at_its_last), BY_PART, OnUnknown::UploadAgain, Beginning::Resume),
            (Some(COMMITTING), BY_PART, OnUnknown::Hold, Beginning::AskAboutFinish),
            (Some(COMMITTING), OVERWRITES, OnUnknown::UploadAgain, Beginning::AskAboutFinish),
            (Some(SessionFacts { committing: true, ..old }), BY_PART, OnUnknown::UploadAgain, Beginning::AskAboutFinish),
            (Some(COMMITTING), DUPLICATES, OnUnknown::UploadAgain, Beginning::Undecidable),
            (Some(COMMITTING), DUPLICATES, OnUnknown::Hold, Beginning::Undecidable),
            (Some(COMMITTING), DUPLICATES, OnUnknown::Probe, Beginning::AskAboutFinish),
        ];
        for (session, (order, repeat), on_unknown, expected) in cases {
            let found = beginning(session.as_ref(), &shape(order, repeat), on_unknown);
            assert_eq!(found, expected, "{session:?} {order:?} {repeat:?} {on_unknown:?}");
        }
    }

    fn whole() -> Found {
        Found::Complete(Outcome::default())
    }

    #[test]
    fn a_host_is_believed_about_a_session_but_not_that_it_has_what_it_was_never_sent() {
        for found in [Found::Unsure, Found::UpTo(3), Found::Parts(Vec::new()), Found::Likely(String::new()), Found::Unlikely] {
            assert_eq!([resumption(&found, false), resumption(&found, true)], [Resumption::Send; 2], "{found:?}");
        }
        assert_eq!(resumption(&whole(), true), Resumption::Done);
        assert!(matches!(resumption(&whole(), false), Resumption::Fail(Class::Unreadable, _)));
        assert!(matches!(resumption(&Found::Gone, true), Resumption::Fail(Class::SessionLost, _)));
        assert_eq!(resumption(&Found::AnotherFile, true), Resumption::AnotherFile);
    }

    #[test]
    fn what_follows_from_a_finish_that_nobody_answered() {
        let often = SessionFacts { unanswered: UNANSWERED_MAX, ..COMMITTING };
        let lost = |found: &Found, shape| matches!(resolution(found, &shape, &COMMITTING, Duration::ZERO), Resolution::Lost(_));
        for (order, repeat) in [BY_PART, BY_PART_ONCE, OVERWRITES, DUPLICATES] {
            let resolve = |found| resolution(&found, &shape(order, repeat), &COMMITTING, Duration::ZERO);
            assert_eq!(resolve(whole()), Resolution::Done);
            assert_eq!(resolve(Found::Likely(String::new())), Resolution::Probable);
            assert_eq!(resolve(Found::AnotherFile), Resolution::AnotherFile);
            assert!(lost(&Found::Unlikely, shape(order, repeat)));
        }
        assert!(lost(&Found::Gone, shape(Order::Any, Repeat::Harmless)));
        let cases = [
            (Found::Gone, BY_PART_ONCE, COMMITTING, Duration::ZERO, Resolution::Undecidable),
            (Found::Unsure, BY_PART, often, GIVE_UP_AFTER, Resolution::FinishAgain),
            (Found::Unsure, BY_PART_ONCE, COMMITTING, GIVE_UP_AFTER, Resolution::FinishAgain),
            (Found::Unsure, BY_PART_ONCE, often, Duration::ZERO, Resolution::FinishAgain),
            (Found::Unsure, BY_PART_ONCE, often, PERSISTENT_AFTER, Resolution::Undecidable),
            (Found::Unsure, OVERWRITES, often, GIVE_UP_AFTER, Resolution::SendAgain),
            (Found::Unsure, DUPLICATES, COMMITTING, Duration::ZERO, Resolution::Undecidable),
            (Found::Parts(Vec::new()), BY_PART, COMMITTING, Duration::ZERO, Resolution::FinishAgain),
            (Found::UpTo(7), BY_PART, COMMITTING, Duration::ZERO, Resolution::FinishAgain),
        ];
        for (found, (order, repeat), session, failing_for, expected) in cases {
            let decided = resolution(&found, &shape(order, repeat), &session, failing_for);
            assert_eq!(decided, expected, "{found:?} {order:?} {repeat:?} {session:?} {failing_for:?}");
        }
        for repeat in [Repeat::Harmless, Repeat::MayDuplicate] {
            let to_the_last = Shape { last_part_commits: true, ..shape(Order::Sequential, repeat) };
            assert_eq!(resolution(&Found::UpTo(7), &to_the_last, &often, GIVE_UP_AFTER), Resolution::GoOn);
            assert_eq!(resolution(&whole(), &to_the_last, &often, GIVE_UP_AFTER), Resolution::Done);
        }
    }

    #[test]
    fn what_a_failed_finish_means() {
        use Class::{BadCopy, FileRejected, HostRefused, OffsetMismatch, SessionLost, Transient};
        use FinishFailure::{Failed, Undecidable};
        use Repeat::{Harmless, MayDuplicate};
        let cases = [
            (Transient, true, Harmless, SESSION, Failed(Transient, SessionFate::ResumeUnanswered)),
            (Transient, false, Harmless, SESSION, Failed(Transient, SessionFate::ResumeUncommitted)),
            (Transient, false, MayDuplicate, COMMITTING, Failed(Transient, SessionFate::ResumeDoubtful)),
            (Transient, false, Harmless, COMMITTING, Failed(Transient, SessionFate::Resume)),
            (HostRefused, false, Harmless, SESSION, Failed(HostRefused, SessionFate::ResumeUncommitted)),
            (FileRejected, false, MayDuplicate, SESSION, Failed(FileRejected, SessionFate::ResumeUncommitted)),
            (FileRejected, false, MayDuplicate, COMMITTING, Undecidable),
            (SessionLost, false, MayDuplicate, COMMITTING, Undecidable),
            (SessionLost, false, Harmless, COMMITTING, Failed(SessionLost, SessionFate::DropLost)),
            (OffsetMismatch, false, MayDuplicate, COMMITTING, Undecidable),
            (OffsetMismatch, false, MayDuplicate, SESSION, Failed(OffsetMismatch, SessionFate::ResendParts)),
            (OffsetMismatch, false, MayDuplicate, RESENT, Failed(SessionLost, SessionFate::DropLost)),
            (SessionLost, true, Harmless, COMMITTING, Failed(SessionLost, SessionFate::DropLostMaybeDuplicate)),
            (SessionLost, true, Harmless, SESSION, Failed(SessionLost, SessionFate::DropLost)),
            (SessionLost, true, MayDuplicate, SESSION, Failed(SessionLost, SessionFate::ResumeUnanswered)),
            (SessionLost, false, MayDuplicate, SESSION, Failed(SessionLost, SessionFate::DropLost)),
            (SessionLost, false, MayDuplicate, REFUSED, Failed(SessionLost, SessionFate::DropLostMaybeDuplicate)),
            (SessionLost, false, Harmless, REFUSED, Failed(SessionLost, SessionFate::DropLost)),
            (BadCopy, false, Harmless, COMMITTING, Failed(BadCopy, SessionFate::DropLost)),
            (BadCopy, false, MayDuplicate, COMMITTING, Failed(BadCopy, SessionFate::DropLostMaybeDuplicate)),
        ];
        for (class, outcome_unknown, repeat, session, expected) in cases {
            let found = finish_failure(class, outcome_unknown, repeat, &session);
            assert_eq!(found, expected, "{class:?} {outcome_unknown} {repeat:?} {session:?}");
        }
    }

    #[test]
    fn only_a_body_that_left_whole_may_have_made_a_file() {
        for class in Class::ALL {
            for (repeat, kept) in [(Repeat::MayDuplicate, SessionFate::Drop), (Repeat::Harmless, SessionFate::Resume)] {
                if class != Class::SessionLost || repeat == Repeat::MayDuplicate {
                    assert_eq!(body_failure(class, true, true, false, repeat), SessionFate::ResumeUnanswered, "{class:?}");
                }
                let expected = match class {
                    Class::SessionLost => SessionFate::DropLost,
                    Class::BadCopy if repeat == Repeat::MayDuplicate => SessionFate::DropLostMaybeDuplicate,
                    _ => kept,
                };
                for (outcome_unknown, last_byte_left) in [(true, false), (false, true), (false, false)] {
                    let found = body_failure(class, outcome_unknown, last_byte_left, false, repeat);
                    assert_eq!(found, expected, "{class:?} {repeat:?}");
                }
            }
        }
    }

    #[test]
    fn a_body_that_was_perhaps_taken_before_leaves_a_mark_where_nobody_can_tell_whose_the_one_is_that_is_there() {
        let lost = |outcome_unknown, resumed| body_failure(Class::SessionLost, outcome_unknown, false, resumed, Repeat::Harmless);
        assert_eq!(lost(true, true), SessionFate::DropLostMaybeDuplicate);
        assert_eq!([lost(true, false), lost(false, true)], [SessionFate::DropLost; 2]);
    }

    fn history() -> History {
        History {
            progress: false,
            failures: 2,
            last_kind: Some(("transient".into(), 2)),
            failing_for: Duration::from_secs(10),
            give_up_after: GIVE_UP_AFTER,
            host_is_down: false,
            refusal_may_pass: false,
            network_is_down: false,
            sessions_lost: 0,
            retries: None,
            on_unknown: OnUnknown::UploadAgain,
            bytes: 7,
        }
    }

    fn failure(class: Class) -> Failure {
        let session = call_failure(class);
        Failure { class, worsens: None, wait: None, doubles: false, spaces: false, session }
    }

    fn failed(failure: Failure, history: &History) -> Leaving {
        leaving(&Cause::Failed(failure), history)
    }

    #[test]
    fn what_is_not_the_hosts_doing_says_nothing_against_the_file_or_the_host() {
        let cases = [
            (Cause::Draining, State::Queued, Pause::None, SessionFate::Resume),
            (Cause::FolderMissing, State::Waiting, Pause::For(FOLDER_PAUSE), SessionFate::Resume),
            (Cause::FileUnreadable, State::Waiting, Pause::For(UNREADABLE_PAUSE), SessionFate::Resume),
            (Cause::FileChanged, State::Gone, Pause::None, SessionFate::Drop),
            (Cause::Probable, State::Held, Pause::None, SessionFate::Resume),
        ];
        for (cause, state, pause, session) in cases {
            let record = Record { failures: 2, last_kind: Some(("transient".into(), 2)), failed: false, counts: false };
            let expected = Leaving { state, pause, session, record, feedback: Feedback::Nothing, note: Note::None };
            assert_eq!(leaving(&cause, &history()), expected, "{cause:?}");
        }
        let progressed = leaving(&Cause::Draining, &History { progress: true, ..history() });
        assert_eq!(progressed.record, Record { failures: 0, last_kind: None, failed: false, counts: false });
    }

    #[test]
    fn where_nobody_can_be_asked_the_users_choice_decides() {
        let undecidable = |on_unknown, sessions_lost, failing_for| {
            let left = leaving(&Cause::Undecidable, &History { on_unknown, sessions_lost, failing_for, ..history() });
            (left.state, left.pause, left.session, left.note)
        };
        let hour = Duration::from_secs(3600);
        let again = SessionFate::DropLostMaybeDuplicate;
        for choice in [OnUnknown::Hold, OnUnknown::Probe] {
            let held = (State::Held, Pause::None, SessionFate::Resume, Note::LeftToUser);
            assert_eq!(undecidable(choice, 9, GIVE_UP_AFTER), held);
        }
        let choice = OnUnknown::UploadAgain;
        assert_eq!(undecidable(choice, 0, hour), (State::Queued, Pause::None, again, Note::UploadedAgain));
        let five_minutes = Pause::For(Duration::from_secs(300));
        assert_eq!(undecidable(choice, 1, hour), (State::Waiting, five_minutes, again, Note::UploadedAgain));
        assert_eq!(undecidable(choice, 9, GIVE_UP_AFTER), (State::Held, Pause::For(RECHECK), again, Note::ForADay));
        assert!(leaving(&Cause::Undecidable, &history()).record.failed, "the row of failures begins, so that it can grow old");
    }

    #[test]
    fn a_failure_leaves_its_job_and_its_host_as_its_verdict_says() {
        let minutes = Duration::from_secs(60);
        let cases = [
            (Class::Transient, State::Waiting, against(Class::Transient), SessionFate::Resume),
            (Class::Unreadable, State::Waiting, against(Class::Unreadable), SessionFate::Resume),
            (Class::RequestRefused, State::Waiting, against(Class::RequestRefused), SessionFate::Resume),
            (Class::OffsetMismatch, State::Waiting, Feedback::Nothing, SessionFate::Resume),
            (Class::SessionLost, State::Queued, Feedback::Nothing, SessionFate::DropLost),
            (Class::HostRefused, State::Held, Feedback::Refused, SessionFate::Resume),
            (Class::HostFull, State::Held, Feedback::Full { bytes: 7 }, SessionFate::Resume),
            (Class::FileRejected, State::Failed, Feedback::Nothing, SessionFate::Drop),
            (Class::BadCopy, State::Waiting, Feedback::Nothing, SessionFate::Resume),
        ];
        for (class, state, feedback, session) in cases {
            let left = failed(failure(class), &history());
            assert_eq!((left.state, left.feedback, left.session), (state, feedback, session), "{class:?}");
        }
        let rest = failed(Failure { wait: Some(minutes), ..failure(Class::RateLimited) }, &history());
        assert_eq!(rest.feedback, Feedback::Rest { pause: minutes, doubles_to: None, spaces: false });
        assert_eq!((rest.pause, rest.record.failures), (Pause::For(minutes), 2), "a rest is no failure of the file");
        let doubling =
            failed(Failure { wait: Some(minutes), doubles: true, spaces: true, ..failure(Class::RateLimited) }, &history());
        assert_eq!(doubling.feedback, Feedback::Rest { pause: minutes, doubles_to: Some(LONGEST_WAIT), spaces: true });
    }

    #[test]
    fn a_finish_that_fails_for_long_loses_its_session_and_one_that_may_have_worked_is_left_to_the_user() {
        let long = History {
            failing_for: PERSISTENT_AFTER,
            last_kind: Some(("unreadable/session_lost".into(), 2)),
            on_unknown: OnUnknown::Hold,
            ..history()
        };
        let fails = |session| {
            let failure = Failure { worsens: Some(Class::SessionLost), session, ..failure(Class::Unreadable) };
            let left = failed(failure, &long);
            (left.state, left.session)
        };
        assert_eq!(fails(SessionFate::ResumeUncommitted), (State::Queued, SessionFate::DropLost));
        assert_eq!(fails(SessionFate::ResumeDoubtful), (State::Held, SessionFate::Resume), "the other would be sent twice");
    }

    #[test]
    fn a_file_that_has_left_two_bad_copies_is_not_tried_again_by_itself() {
        let again = History { last_kind: Some(("bad_copy".into(), 1)), ..history() };
        let left = failed(Failure { session: SessionFate::DropLostMaybeDuplicate, ..failure(Class::BadCopy) }, &again);
        assert_eq!((left.state, left.pause, left.session), (State::Held, Pause::None, SessionFate::DropLostMaybeDuplicate));
    }

    fn against(class: Class) -> Feedback {
        Feedback::Failed(Evidence { class, worsens: None, floor: None, network_is_down: false })
    }

    #[test]
    fn a_lost_session_says_something_of_the_host_from_the_second_on() {
        let feedback = |sessions_lost| failed(failure(Class::SessionLost), &History { sessions_lost, ..history() }).feedback;
        assert_eq!([feedback(0), feedback(1)], [Feedback::Nothing, against(Class::SessionLost)]);
        let may_be_lost = Failure { worsens: Some(Class::SessionLost), ..failure(Class::Unreadable) };
        assert_eq!(failed(may_be_lost, &history()).feedback, Feedback::Nothing);
    }

    #[test]
    fn what_fails_while_the_host_or_the_network_is_down_is_not_counted_against_the_file() {
        let long = History { failures: 20, failing_for: GIVE_UP_AFTER, sessions_lost: 5, retries: Some(1), ..history() };
        for (host_is_down, network_is_down) in [(true, false), (false, true)] {
            for class in [Class::Transient, Class::Unreadable, Class::RequestRefused, Class::SessionLost] {
                let left = failed(failure(class), &History { host_is_down, network_is_down, ..long.clone() });
                assert_eq!(left.state, State::Waiting, "{class:?}");
                assert_eq!((left.record.failures, left.record.failed, left.record.counts), (20, false, false), "{class:?}");
                let Pause::Jittered { ceiling, .. } = left.pause else { panic!("{class:?}") };
                assert!(!network_is_down || ceiling <= Duration::from_secs(30), "{class:?}");
            }
            let wrong = failed(failure(Class::HostRefused), &History { host_is_down, network_is_down, ..long.clone() });
            assert_eq!((wrong.state, wrong.feedback), (State::Held, Feedback::Refused));
        }
    }

    #[test]
    fn a_refusal_that_may_pass_is_looked_at_once_more_and_no_file_does_so_twice_in_a_row() {
        let may_pass = History { refusal_may_pass: true, ..history() };
        let left = failed(failure(Class::HostRefused), &may_pass);
        assert_eq!((left.state, left.pause, left.feedback), (State::Waiting, Pause::For(RENEWAL), Feedback::Refused));
        let (failures, last_kind) = (left.record.failures, left.record.last_kind);
        let left = failed(failure(Class::HostRefused), &History { failures, last_kind: last_kind.clone(), ..may_pass.clone() });
        assert_eq!(
            (left.state, left.pause, left.feedback),
            (State::Held, Pause::For(RECHECK), Feedback::Nothing),
            "it is held alone"
        );
        let progressed = History { progress: true, last_kind, ..may_pass };
        assert_eq!(failed(failure(Class::HostRefused), &progressed).state, State::Waiting);
    }

    #[test]
    fn a_job_is_held_with_its_host_unless_it_is_over() {
        let left = failed(failure(Class::Unreadable), &history()).with_its_host_held();
        assert_eq!((left.state, left.pause), (State::Held, Pause::For(RECHECK)));
        assert_eq!(failed(failure(Class::FileRejected), &history()).with_its_host_held().state, State::Failed);
    }

    #[test]
    fn failures_are_counted_in_a_row_and_by_kind() {
        let count = |class, history: &History| {
            let record = failed(failure(class), history).record;
            (record.failures, record.last_kind.unwrap().1, record.failed)
        };
        assert_eq!(count(Class::Transient, &history()), (3, 3, true));
        assert_eq!(count(Class::Unreadable, &history()), (3, 1, true));
        assert_eq!(count(Class::Transient, &History { progress: true, ..history() }), (1, 1, true));
        assert_eq!(count(Class::SessionLost, &history()), (3, 1, true), "also where the file begins anew");
        let for_a_day = History { failing_for: GIVE_UP_AFTER, ..history() };
        assert_eq!(count(Class::Unreadable, &for_a_day), (3, 1, true), "also where a person is to look");
        assert_eq!(count(Class::HostRefused, &history()), (2, 2, false), "not where the host is at fault");
    }

    #[test]
    fn what_has_worsened_to_a_lost_session_is_lost_as_one() {
        let long = History { failing_for: PERSISTENT_AFTER, last_kind: Some(("transient/session_lost".into(), 5)), ..history() };
        let worse = Failure { worsens: Some(Class::SessionLost), ..failure(Class::Transient) };
        assert_eq!(failed(worse, &long).session, SessionFate::DropLost);
        let doubtful = Failure { session: SessionFate::DropLostMaybeDuplicate, ..worse };
        assert_eq!(failed(doubtful, &long).session, SessionFate::DropLostMaybeDuplicate);
    }
}
