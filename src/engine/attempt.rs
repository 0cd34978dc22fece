//! Takes one claimed job from its first byte to "uploaded". Every step is committed before the next relies on it; what comes next,
//! and where the job is left when something fails, is decided by `job::attempt`.
//!
//! What is true if the process dies at an `await`:
//!
//! - in `open`: the host may hold an empty session nobody will use;
//! - in `begin`: the same, but the next claim knows that there may be one, and has the host give it up;
//! - before the session is committed: the same; no part was sent;
//! - in `send`: the host may hold the part, and it is sent again (the part in flight);
//! - before the ack is committed: the same;
//! - before `committing` is committed: every part is held (but the last, where the host makes the file of it) and nothing else
//!   happened;
//! - in the last part, where the host makes the file of it, and in `finish`: nobody knows; the next claim finds `committing` and asks, or finishes again, or does what `on_unknown` says;
//! - before the outcome is committed: the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::host::{Completion, FileFacts, HostError, Part, Sample, Tickets, UploadSession};
use crate::job::attempt::{self, Beginning, FinishFailure, Resolution, Resumption, SessionFacts, SessionFate};
use crate::job::content_type;
use crate::job::digest::Digest;
use crate::job::plan::Plan;
use crate::job::upload::{Class, ConfirmedParts, Found, Opened, Order, Outcome, Repeat, Shape};
use crate::job::{SentHash, Step};
use crate::os::crash::crash_point;
use crate::store::{Claimed, Recorded, Upload, Version};

use super::base_of;
use super::digest::Digesting;
use super::live::Sent;
use super::parts::{self, ConfirmedPart, PartSender};
use super::source::{self, Expected, Source, SourceError, remote_name};
use super::stop::Stop;
use super::worker::{self, Worker};

/// How often an upload is opened that wants to be told other bytes each time. A token that is replaced meanwhile asks for them once.
const OPENED_MAX: u32 = 3;
const ALWAYS_OTHERS: &str = "the host asked for other bytes of the file each time";

/// A claimed job under way, with what is known of it so far.
pub(super) struct Attempt {
    pub(super) worker: Worker,
    pub(super) job: Claimed,
    /// What the host can do with the file: as it says today, or as it said when the session was opened that is resumed.
    pub(super) shape: Shape,
    /// Bytes that have flowed, for people to see.
    pub(super) sent: Arc<Sent>,
    /// When it was claimed.
    began: Instant,
    /// Whether it goes on with the session of an earlier claim.
    resumed: bool,
    /// Whether the host has confirmed something new since the claim.
    pub(super) progress: bool,
    /// The session in use, to be given back should the job leave it.
    pub(super) session: Option<Arc<UploadSession>>,
    /// The digest, where the host wants one.
    pub(super) digesting: Option<Arc<Digesting>>,
    /// The digest, once it is known.
    pub(super) digest: Option<Digest>,
}

/// What opening or resuming a session leads to.
enum Started {
    Upload(Upload),
    /// The host has the file already.
    Done(Outcome),
}

impl Attempt {
    pub(super) fn new(worker: Worker, job: Claimed, sent: Arc<Sent>) -> Attempt {
        let shape = worker.host.shape(job.identity.size);
        let began = Instant::now();
        let resumed = false;
        Attempt { worker, job, shape, sent, began, resumed, progress: false, session: None, digesting: None, digest: None }
    }

    pub(super) fn job(&self) -> &Claimed {
        &self.job
    }

    /// Takes the job as far as it goes.
    pub(super) async fn run(&mut self) -> Result<Outcome, Stop> {
        let earlier = self.job.upload.take();
        let beginning = self.beginning(earlier.as_ref());
        self.resumed = earlier.is_some() && beginning != Beginning::Open;
        // Given back should the attempt begin with another.
        self.session = earlier.as_ref().map(|upload| upload_session(upload, None, Tickets::default()));
        let (source, started) = match (beginning, earlier) {
            (Beginning::Undecidable, _) => return Err(Stop::Undecidable(None)),
            (Beginning::AskAboutFinish, Some(upload)) => return self.resolve_unanswered_finish(upload).await,
            (Beginning::Resume, Some(upload)) => {
                // A body that is the whole file is sent anew, so nothing of it can be mixed with what was sent before.
                let source = self.source(self.shape.order == Order::WholeFile).await?;
                let started = self.resume(&source, upload).await?;
                (source, started)
            }
            (Beginning::Open | Beginning::Resume | Beginning::AskAboutFinish, _) => {
                let source = self.source(true).await?;
                let started = self.open(&source).await?;
                (source, started)
            }
        };
        match started {
            Started::Upload(upload) => self.transfer(&source, upload).await,
            Started::Done(outcome) => Ok(outcome),
        }
    }

    /// How to begin, with the shape by which the rest is done.
    fn beginning(&mut self, earlier: Option<&Upload>) -> Beginning {
        let session = earlier.map(|upload| self.facts_of(upload));
        let stored = earlier.and_then(|upload| upload.shape.clone());
        let opened_with = stored.map_or_else(|| self.shape.clone(), |stored| stored.resumed(&self.shape));
        let beginning = attempt::beginning(session.as_ref(), &opened_with, self.worker.on_unknown);
        if beginning != Beginning::Open {
            self.shape = opened_with;
        }
        beginning
    }

    /// Sends what the host does not hold, and has it make the file.
    async fn transfer(&mut self, source: &Source, mut upload: Upload) -> Result<Outcome, Stop> {
        if self.shape.order == Order::Sequential {
            self.send_in_order(source, &mut upload, self.shape.last_part_commits).await?;
            return self.commit(source, upload, None).await;
        }
        let sender = self.sender(source, &upload);
        let before = upload.confirmed.count();
        let sent = match self.shape.order {
            Order::WholeFile | Order::Sequential => return self.send_whole(source, upload).await,
            Order::Any => sender.send_in_any_order(&mut upload, self.shape.parallel, self.shape.last_with_finish).await,
        };
        self.progress |= upload.confirmed.count() > before;
        let last = sent?;
        self.progress |= last.is_some();
        self.commit(source, upload, last).await
    }

    async fn send_in_order(&mut self, source: &Source, upload: &mut Upload, but_the_last: bool) -> Result<(), Stop> {
        let sender = self.sender(source, upload);
        let before = upload.held_bytes;
        let sent = sender.send_in_order(upload, but_the_last).await;
        self.progress |= upload.held_bytes > before;
        // The session may have moved.
        self.session_of(upload);
        sent
    }

    async fn send_whole(&mut self, source: &Source, mut upload: Upload) -> Result<Outcome, Stop> {
        let sender = self.sender(source, &upload);
        let ack = sender.send_whole(&upload, &self.shape, self.resumed).await?;
        if source.identity().ctime_ns != self.job.identity.ctime_ns {
            self.record_version(source.identity(), None).await?;
        }
        upload.confirmed = parts::confirmed_by(std::slice::from_ref(&ack));
        // Nobody is asked, so the outcome itself is the first thing to be committed.
        let session = self.session_of(&upload);
        let outcome = self.worker.host.finish(&session, self.completion(&upload)).await;
        outcome.map_err(|error| Stop::Host { error: error.during(Step::Finish), session: SessionFate::ResumeUnanswered })
    }

    /// Commits that the host is about to make the file, and has it make the file. `last` is an ack that goes to the disk with the
    /// intent, so that a small file costs one commit less.
    async fn commit(&mut self, source: &Source, mut upload: Upload, last: Option<ConfirmedPart>) -> Result<Outcome, Stop> {
        let store = self.worker.store.clone();
        let touched = source.check().await;
        let mut last = last;
        let is_halted = self.worker.halt.is_asked();
        if let Some(part) = last.take_if(|_| touched != Ok(false) || self.digest_is_pending() || is_halted) {
            // The digest may take a while, and so may a comparison, and the ack must not wait for them.
            parts::note(&mut upload, &part);
            store.record_ack(self.job.id, part.ack, upload.plan, part.hash).await?;
            crash_point!("ack.after_commit");
        }
        if touched? {
            self.compare(source, &upload).await?;
        }
        self.know_digest(upload.plan).await?;
        if self.shape.last_part_commits {
            // What is dropped in the middle of the last part leaves no doubt: the host tells how far it is.
            self.worker.goes_on()?;
        } else {
            self.goes_on_to_commit(last.is_some())?;
        }
        crash_point!("finish.before_commit");
        match last {
            None if upload.committing => {}
            None => store.record_commit_intent(self.job.id).await?,
            Some(part) => {
                parts::note(&mut upload, &part);
                let acked = store.record_ack(self.job.id, part.ack, upload.plan, part.hash);
                let (acked, committing) = tokio::join!(acked, store.record_commit_intent(self.job.id));
                crash_point!("ack.after_commit");
                acked.and(committing)?;
            }
        }
        crash_point!("finish.before_send");
        if self.shape.last_part_commits {
            self.send_in_order(source, &mut upload, false).await?;
            self.goes_on_to_commit(true)?;
        }
        self.finish(&upload).await
    }

    /// From here on the attempt is not dropped. With `owes_ack` it has to go on, since the ack is committed with the intent.
    fn goes_on_to_commit(&self, owes_ack: bool) -> Result<(), Stop> {
        let halt = &self.worker.halt;
        if (owes_ack || !halt.is_asked()) && halt.commits() { Ok(()) } else { Err(Stop::Halted) }
    }

    async fn finish(&mut self, upload: &Upload) -> Result<Outcome, Stop> {
        let mut last = if self.shape.last_with_finish { Some(self.last_part(upload).await?) } else { None };
        let mut finished = self.ask_to_finish(upload, last.as_ref().map(|(_, part)| part)).await;
        if last.is_none() && matches!(&finished, Err(error) if error.wants_last) {
            last = Some(self.last_part(upload).await?);
            finished = self.ask_to_finish(upload, last.as_ref().map(|(_, part)| part)).await;
        }
        match (finished, last.and_then(|(source, _)| source.failure())) {
            (Ok(outcome), _) => Ok(outcome),
            (Err(_), Some(failure)) => Err(failure.into()),
            (Err(error), None) => Err(self.after_failed_finish(upload, error)),
        }
    }

    async fn ask_to_finish(&mut self, upload: &Upload, last: Option<&Part>) -> Result<Outcome, HostError> {
        let session = self.session_of(upload);
        let completion = Completion { last, ..self.completion(upload) };
        self.worker.request(Step::Finish, self.worker.host.finish(&session, completion)).await
    }

    /// The last part, of a file that is what was sent.
    async fn last_part(&mut self, upload: &Upload) -> Result<(Source, Part), Stop> {
        let source = self.source(false).await?;
        let source = self.with_part_digests(&source, upload);
        if source.check().await? {
            self.compare(&source, upload).await?;
        }
        let number = upload.plan.parts().saturating_sub(1);
        let part = source.part(number, upload.plan.range(number)).await?;
        Ok((source, part))
    }

    fn after_failed_finish(&self, upload: &Upload, error: HostError) -> Stop {
        match attempt::finish_failure(error.class, error.doubt, self.shape.repeat, &self.facts_of(upload)) {
            FinishFailure::Undecidable => Stop::Undecidable(Some(error)),
            FinishFailure::Failed(class, session) => Stop::Host { error: HostError { class, ..error }, session },
        }
    }

    pub(super) async fn source(&self, fresh: bool) -> Result<Source, SourceError> {
        let path = self.job.path.clone();
        let base = base_of(&self.worker.system.files, &self.worker.watches, &path);
        let expected = Expected { base, path, version: self.job.identity, fresh };
        Source::open(expected, self.worker.system.threads, self.worker.limits.clone(), self.sent.clone()).await
    }

    /// Opens an upload with the bytes that the host wants to be told; once more where these are others by then.
    async fn ask_to_open(&self, source: &Source, facts: &mut FileFacts, tickets: &Tickets) -> Result<Opened, Stop> {
        let host = &self.worker.host;
        for _ in 0..OPENED_MAX {
            facts.samples.clear();
            for range in host.samples(facts.bytes) {
                let bytes = source.sample(range.clone()).await?;
                facts.samples.push(Sample { range, bytes });
            }
            match self.worker.request(Step::Open, host.open(facts, tickets)).await? {
                Opened::OtherSamples => {}
                opened => return Ok(opened),
            }
        }
        Ok(Opened::OtherSamples)
    }

    /// Asks the host for a session, and commits it with the plan that is made for it.
    async fn open(&mut self, source: &Source) -> Result<Started, Stop> {
        let identity = source.identity();
        let plan = Plan::new(identity.size, &self.shape);
        let plan = plan.map_err(|error| HostError::new(Class::FileRejected, error.to_string()).during(Step::Open))?;
        self.start_digest(source, plan).await?;
        // An earlier claim may have asked with it, and the host made the file without anybody having heard of that.
        let was_asked_before = self.digest.is_some();
        if self.shape.digest.is_some_and(|wanted| wanted.before_open) {
            self.know_digest(plan).await?;
        }
        let name = remote_name(&self.job.path);
        let mut facts = FileFacts {
            content_type: content_type::of_name(&name),
            mtime_ns: identity.mtime_ns,
            name,
            folder: worker::remote_folder(&self.worker.watches, &self.job.path, self.job.identity.mtime_ns),
            version: source::version(&self.job.path, &identity),
            renewals: self.job.renewals,
            bytes: plan.file_bytes,
            parts: plan.parts(),
            part_bytes: plan.part_bytes,
            digest: self.digest.as_ref().map(|digest| digest.hex.clone()),
            asked_before: was_asked_before,
            samples: Vec::new(),
        };
        let tickets = Tickets::default();
        crash_point!("open.before_call");
        let (opened, fingerprint) = tokio::join!(self.ask_to_open(source, &mut facts, &tickets), source.fingerprint());
        let session = match opened? {
            Opened::Session(session) => session,
            Opened::OtherSamples => return Err(HostError::new(Class::Unreadable, ALWAYS_OTHERS).during(Step::Open).into()),
            Opened::AlreadyThere(outcome) => {
                self.compare_with_digest(source).await?;
                self.record_version(source.identity(), Some(fingerprint?)).await?;
                let maybe_duplicate = outcome.maybe_duplicate || was_asked_before;
                return Ok(Started::Done(Outcome { maybe_duplicate, ..outcome }));
            }
        };
        crash_point!("open.before_commit");
        let opened_ms = self.worker.system.clock.now_ms();
        let known = fingerprint.as_ref().ok().copied();
        let version = Version { identity, fingerprint: known };
        source.note_recorded(known);
        let recorded = self.worker.store.record_session(self.job.id, session.clone(), self.shape.clone(), plan, version).await?;
        crash_point!("open.after_commit");
        self.job.identity = identity;
        let mut upload = Upload {
            session,
            shape: Some(self.shape.clone()),
            plan,
            confirmed: ConfirmedParts::default(),
            held_bytes: 0,
            sent_hash: Some(SentHash::default()),
            opened_ms,
            committing: false,
            commits: 0,
            resent: false,
        };
        self.session = Some(upload_session(&upload, self.digesting.as_deref(), tickets));
        refuse_another_version(recorded)?;
        fingerprint?;
        self.begin(&mut upload, false).await?;
        Ok(Started::Upload(upload))
    }

    /// Opens over there what is only announced so far, and commits what came of it. Answers whether there was anything to open.
    async fn begin(&mut self, upload: &mut Upload, again: bool) -> Result<bool, Stop> {
        if self.worker.host.has_begun(&upload.session) {
            return Ok(false);
        }
        self.worker.store.on_the_disk().await?;
        let announced = self.session_of(upload);
        let session = self.worker.request(Step::Open, self.worker.host.begin(&announced, again)).await?;
        crash_point!("begin.before_commit");
        self.worker.store.record_begun(self.job.id, session.clone()).await?;
        upload.session = session;
        self.session_of(upload);
        Ok(true)
    }

    /// A session of an earlier claim: the host is asked, and believed over our own rows.
    async fn resume(&mut self, source: &Source, mut upload: Upload) -> Result<Started, Stop> {
        if self.shape.order == Order::WholeFile {
            self.take_version(source, upload.plan).await?;
        } else {
            if source.check().await? {
                self.compare(source, &upload).await?;
            }
            self.start_digest(source, upload.plan).await?;
        }
        let session = upload_session(&upload, self.digesting.as_deref(), Tickets::default());
        self.session = Some(session.clone());
        if self.begin(&mut upload, true).await? {
            // Nothing was sent to what has only now been opened.
            return Ok(Started::Upload(upload));
        }
        let all_sent = upload.confirmed.count() == upload.plan.parts();
        // A digest says that everything was sent, and that the host may have made the file of it already.
        let digest = self.digest.as_ref().filter(|_| all_sent).map(|digest| digest.hex.as_str());
        let found = self
            .worker
            .request(
                Step::Probe,
                self.worker.host.probe(&session, Completion { confirmed: &upload.confirmed, digest, repeated: false, last: None }),
            )
            .await?;
        match (attempt::resumption(&found, all_sent || self.shape.last_part_commits), found) {
            (Resumption::Fail(class, said), _) => return Err(HostError::new(class, said).during(Step::Probe).into()),
            (Resumption::AnotherFile, _) => return Err(made_another_file()),
            (Resumption::Done, Found::Complete(outcome)) => return Ok(Started::Done(outcome)),
            (_, Found::UpTo(bytes)) => self.believe(&mut upload, bytes).await?,
            (_, Found::Parts(acks)) => {
                let before = std::mem::replace(&mut upload.confirmed, parts::confirmed_by(&acks));
                upload.sent_hash = upload.sent_hash.filter(|_| before.same_parts(&upload.confirmed));
                self.worker.store.replace_acks(self.job.id, acks, 0, upload.plan, upload.sent_hash).await?;
            }
            _ => {}
        }
        self.sent.resume_at(parts::confirmed_bytes(&upload, self.shape.order));
        Ok(Started::Upload(upload))
    }

    /// The host is known to hold so many bytes, whatever we thought.
    async fn believe(&self, upload: &mut Upload, bytes: u64) -> Result<(), Stop> {
        upload.sent_hash = upload.sent_hash.filter(|_| bytes == upload.held_bytes);
        upload.held_bytes = bytes;
        self.worker.store.replace_acks(self.job.id, Vec::new(), bytes, upload.plan, upload.sent_hash).await?;
        self.sent.resume_at(bytes);
        Ok(())
    }

    /// A job whose last finish has no answer: the host is asked, or finishes again, or the user's choice decides.
    async fn resolve_unanswered_finish(&mut self, mut upload: Upload) -> Result<Outcome, Stop> {
        self.know_digest_again(upload.plan).await?;
        if !self.shape.last_part_commits {
            self.goes_on_to_commit(false)?;
        }
        let session = self.session_of(&upload);
        let found = self.worker.request(Step::Probe, self.worker.host.probe(&session, self.completion(&upload))).await?;
        match (attempt::resolution(&found, &self.shape, &self.facts_of(&upload), self.failing_for()), found) {
            (Resolution::Done, Found::Complete(outcome)) => Ok(outcome),
            (Resolution::Probable, Found::Likely(evidence)) => Err(Stop::Probable(evidence)),
            (Resolution::Lost(said), _) => Err(HostError::new(Class::SessionLost, said).during(Step::Probe).into()),
            (Resolution::AnotherFile, _) => Err(made_another_file()),
            (Resolution::SendAgain, _) => {
                let source = self.source(true).await?;
                self.take_version(&source, upload.plan).await?;
                self.know_digest(upload.plan).await?;
                self.send_whole(&source, upload).await
            }
            (Resolution::GoOn, Found::UpTo(bytes)) => {
                let source = self.source(false).await?;
                if source.check().await? {
                    self.compare(&source, &upload).await?;
                }
                self.believe(&mut upload, bytes).await?;
                self.transfer(&source, upload).await
            }
            (Resolution::FinishAgain, _) => {
                let maybe_duplicate = self.shape.repeat == Repeat::MayDuplicate;
                self.finish(&upload).await.map(|outcome| Outcome { maybe_duplicate, ..outcome })
            }
            (Resolution::Done | Resolution::Probable | Resolution::GoOn | Resolution::Undecidable, _) => {
                Err(Stop::Undecidable(None))
            }
        }
    }

    /// The session in use. One that has moved, or was found committing, has no tickets yet.
    fn session_of(&mut self, upload: &Upload) -> Arc<UploadSession> {
        match &self.session {
            Some(open) if open.session == upload.session => open.clone(),
            _ => {
                let session = upload_session(upload, self.digesting.as_deref(), Tickets::default());
                self.session.insert(session).clone()
            }
        }
    }

    fn sender(&mut self, source: &Source, upload: &Upload) -> PartSender {
        PartSender {
            worker: self.worker.clone(),
            job: self.job.id,
            session: self.session_of(upload),
            source: self.with_part_digests(source, upload),
            plan: upload.plan,
            digesting: self.digesting.clone(),
        }
    }

    fn with_part_digests(&self, source: &Source, upload: &Upload) -> Source {
        source.clone().with_part_digests(self.worker.host.part_digest(&upload.session, &self.shape))
    }

    fn completion<'a>(&'a self, upload: &'a Upload) -> Completion<'a> {
        let digest = self.digest.as_ref().map(|digest| digest.hex.as_str());
        let repeated = upload.committing || (self.resumed && self.shape.order == Order::WholeFile);
        Completion { confirmed: &upload.confirmed, digest, repeated, last: None }
    }

    fn facts_of(&self, upload: &Upload) -> SessionFacts {
        SessionFacts {
            age: self.worker.system.clock.since(upload.opened_ms),
            committing: upload.committing,
            unanswered: upload.commits,
            resent: upload.resent,
            // Progress ends a row of failures, so what has failed since the last part was its finish. A person's order ends the row, too, but
            // of an upload that had every part at the claim its finish was the next to be asked for.
            refused: !self.progress && (self.job.failures > 0 || (self.resumed && holds_all(upload))),
        }
    }

    /// How long it has taken so far, and how many bytes have flowed.
    pub(super) fn pace(&self) -> (Duration, u64) {
        (self.began.elapsed(), self.sent.flowed())
    }

    /// How long the row of failures had lasted at the claim. Progress ends one, but for a file that has lost sessions: each new one
    /// progresses at first.
    pub(super) fn failing_before(&self) -> Option<Duration> {
        self.job.failing_for.filter(|_| !self.progress || self.job.sessions_lost > 0)
    }

    pub(super) fn failing_for(&self) -> Duration {
        self.failing_before().map_or(Duration::ZERO, |before| before + self.began.elapsed())
    }
}

/// What the host tells may change, and then it has the file twice.
fn made_another_file() -> Stop {
    let error =
        HostError::new(Class::SessionLost, "the host has made a file of the upload, but says that its size or digest is another");
    Stop::Host { error: error.during(Step::Probe), session: SessionFate::DropLostMaybeDuplicate }
}

/// Whether the host has confirmed every byte.
fn holds_all(upload: &Upload) -> bool {
    upload.confirmed.count() == upload.plan.parts() || upload.held_bytes >= upload.plan.file_bytes
}

/// The hosts of a file get one version of it.
pub(super) fn refuse_another_version(recorded: Recorded) -> Result<(), SourceError> {
    match recorded {
        Recorded::OtherVersion => Err(SourceError::Changed("since it was sent to another host, or before")),
        Recorded::Yes | Recorded::NotOurs => Ok(()),
    }
}

pub(super) fn upload_session(upload: &Upload, digesting: Option<&Digesting>, tickets: Tickets) -> Arc<UploadSession> {
    let mid_states = digesting.map(Digesting::mid_states).unwrap_or_default();
    Arc::new(UploadSession { session: upload.session.clone(), tickets, plan: upload.plan, mid_states })
}
