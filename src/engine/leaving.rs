//! Where an attempt leaves its job: the outcome, or why it stopped early and what is to come of that.

use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;

use crate::host::{HostError, Tickets};
use crate::job::attempt::{self, Cause, Failure, History, Leaving, Pause, SessionFate};
use crate::job::health::{Attempted, Feedback, Moment};
use crate::job::{Reason, ReasonClass, State, Step};
use crate::os::answers::Answers;
use crate::os::crash::crash_point;
use crate::os::system::System;
use crate::store::{Claimed, ReturnedJob, StoreError};

use super::attempt::{Attempt, upload_session};
use super::clocks;
use super::live::Sent;
use super::source::SourceError;
use super::stop::Stop;
use super::worker::Worker;

/// Where an attempt left its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The job's state now.
    pub state: State,
    /// What that says about its host.
    pub feedback: Feedback,
    /// Why the job did not get further, if it did not.
    pub why: Option<Reason>,
}

impl Worker {
    /// Carries `job` as far as it goes and commits where it ends. Bytes that flow are added to `sent`. An error is the queue's own:
    /// nothing more can be done.
    pub async fn run(&self, job: Claimed, sent: Arc<Sent>) -> Result<End, StoreError> {
        let attempted = Attempted { job: job.id.0, bytes: job.identity.size, epoch: self.epoch };
        let mut attempt = Attempt::new(self.clone(), job, sent);
        if attempt.job().give_back {
            return attempt.give_back().await;
        }
        tell_of_start(attempt.job());
        let _upload = self.connections.upload();
        let ended = tokio::select! {
            biased;
            ended = attempt.run() => ended,
            () = self.halt.dropped() => Err(Stop::Halted),
        };
        match ended {
            Ok(outcome) => {
                let job = attempt.job();
                crash_point!("uploaded.before_commit");
                let link = outcome.link.clone();
                let state = self.store.record_outcome(job.id, outcome).await?;
                crash_point!("uploaded.after_commit");
                tell_of_outcome(job, link.as_deref(), attempt.pace());
                self.standing.apply(Feedback::Fine, &attempted, self.moment(false), None);
                Ok(End { state, feedback: Feedback::Fine, why: None })
            }
            Err(stop) => attempt.leave(stop, &attempted).await,
        }
    }

    fn moment(&self, others_wait: bool) -> Moment {
        Moment { now: clocks::now(&self.system.clock).into_std(), chance: self.system.chance.fraction(), others_wait }
    }
}

impl Attempt {
    /// Commits where the job stands, and says what its end means for the host.
    pub(super) async fn leave(&mut self, stop: Stop, attempted: &Attempted) -> Result<End, StoreError> {
        let (is_unconnected, is_halted) = (stop.is_unconnected(), matches!(stop, Stop::Halted));
        let (cause, reason) = match stop {
            Stop::Store(error) => return Err(error),
            // Only a file that is not there may be gone.
            stop @ Stop::Source(SourceError::Vanished) => cause_of(stop, self.is_gone().await),
            stop => cause_of(stop, true),
        };
        let mut leaving = attempt::leaving(&cause, &self.history(is_unconnected));
        let mut reason = Reason { note: leaving.note, ..reason };
        if self.tell_of_host(leaving.feedback, attempted, &mut reason).await? {
            leaving = leaving.with_its_host_held();
        }
        if is_halted {
            tracing::info!(job.id = %self.job.id, "upload of {:?} to {} stopped by a command or a new configuration", self.job.path, self.job.host);
        } else {
            log(&self.job, leaving.state, &reason);
        }
        let (state, feedback, session) = (leaving.state, leaving.feedback, leaving.session);
        let forgotten = planted!("held.without_reason") && state == State::Held;
        let kept = (cause != Cause::Draining && !forgotten).then(|| reason.clone());
        let mut returned = returned(&self.worker.system, leaving, kept, self.row());
        let is_left = matches!(session, SessionFate::Drop | SessionFate::DropLost);
        if is_left && !self.abandon().await && state.is_final() {
            returned.session = SessionFate::Owed;
        }
        self.worker.store.return_job(self.job.id, returned).await?;
        Ok(End { state, feedback, why: Some(reason) })
    }

    /// The file does not go to this host any more: its session is forgotten, and given back.
    async fn give_back(&mut self) -> Result<End, StoreError> {
        self.session = self.job.upload.take().map(|upload| upload_session(&upload, None, Tickets::default()));
        if self.job.is_over {
            if self.abandon().await {
                self.worker.store.record_given_back(self.job.id).await?;
            }
            return Ok(End { state: State::Cancelled, feedback: Feedback::Nothing, why: None });
        }
        let Claimed { id, failures, failing, failing_for, .. } = self.job.clone();
        let why = self.job.path.parent().and_then(|folder| self.worker.watches.unwanted(folder, &self.job.host));
        let session = SessionFate::Drop;
        let rest =
            ReturnedJob { state: State::Waiting, why, next_try_ms: None, failures, failing, failing_for, counts: false, session };
        self.abandon().await;
        self.worker.store.return_job(id, rest).await?;
        Ok(End { state: State::Waiting, feedback: Feedback::Nothing, why: None })
    }

    /// Takes in what the attempt says about its host. Answers whether it turns out that the host needs a person.
    async fn tell_of_host(&self, feedback: Feedback, attempted: &Attempted, why: &mut Reason) -> Result<bool, StoreError> {
        let failed = matches!(feedback, Feedback::Failed(_));
        let others_wait = failed && self.worker.store.others_wait(self.job.host.clone(), self.job.id).await?;
        Ok(self.worker.standing.apply(feedback, attempted, self.worker.moment(others_wait), Some(why)))
    }

    /// How long the row of failures has lasted, before and with this attempt.
    fn row(&self) -> (Option<Duration>, Duration) {
        (self.failing_before(), self.failing_for())
    }

    /// Whether its file is gone for good. One whose file system does not answer is not.
    async fn is_gone(&self) -> bool {
        let (roots, path, device) = (self.worker.roots.clone(), self.job.path.clone(), self.job.identity.device);
        let answers = Answers::of(self.worker.system.threads, &path);
        let now = self.worker.system.clock.awake();
        let lost = answers.get(move || roots.is_lost(&path, device, now)).await.unwrap_or(false);
        // The scan may have followed it after it was claimed.
        lost && self.worker.store.path_of(self.job.id).await.is_ok_and(|path| path == self.job.path)
    }

    fn history(&self, is_unconnected: bool) -> History {
        let standing = &self.worker.standing;
        History {
            progress: self.progress,
            failures: self.job.failures,
            last_kind: self.job.failing.clone(),
            failing_for: self.failing_for(),
            give_up_after: self.worker.give_up_after,
            host_is_down: standing.is_open(),
            refusal_may_pass: standing.health().doubts_refusal(self.worker.epoch),
            network_is_down: is_unconnected && standing.network_is_down(clocks::now(&self.worker.system.clock).into_std()),
            sessions_lost: self.job.sessions_lost,
            retries: self.worker.retries,
            on_unknown: self.worker.on_unknown,
            bytes: self.job.identity.size,
        }
    }

    /// Before the session is forgotten here: after a crash in between, whoever meets it again finds it gone over there, and begins
    /// anew or gives it back once more; the other way round it would be open there for ever. Answers whether nothing of it is left.
    async fn abandon(&mut self) -> bool {
        let Some(session) = self.session.take() else { return true };
        let given_back = self.worker.request(Step::Abandon, self.worker.host.abandon(&session)).await;
        crash_point!("abandon.before_commit");
        given_back
            .inspect_err(|error| tracing::info!(job.id = %self.job.id, "cannot cancel the upload on {}: {error}", self.job.host))
            .is_ok()
    }
}

/// The cause as the rules know it, and as a person hears of it.
fn cause_of(stop: Stop, is_gone: bool) -> (Cause, Reason) {
    match stop {
        Stop::Store(_) | Stop::Draining | Stop::Halted => (Cause::Draining, Reason::new(ReasonClass::Draining)),
        Stop::Source(SourceError::Vanished) if !is_gone && !planted!("folder_missing.is_gone") => {
            (Cause::FolderMissing, Reason::new(ReasonClass::FolderMissing))
        }
        Stop::Source(error @ SourceError::Unreadable(_)) => (Cause::FileUnreadable, error.into()),
        Stop::Source(error @ (SourceError::Vanished | SourceError::Changed(_))) => (Cause::FileChanged, error.into()),
        Stop::Undecidable(error) => {
            let unanswered = Reason { step: Some(Step::Finish), ..Reason::new(ReasonClass::Undecidable) };
            let answered = |error| Reason { class: ReasonClass::Undecidable, ..Reason::from(error) };
            (Cause::Undecidable, error.map_or(unanswered, answered))
        }
        Stop::Probable(evidence) => {
            let reason = Reason::new(ReasonClass::Probable).detail(evidence);
            (Cause::Probable, Reason { step: Some(Step::Finish), ..reason })
        }
        Stop::Host { error, session } => {
            let HostError { class, worsens, wait, doubles, spaces, .. } = error;
            (Cause::Failed(Failure { class, worsens, wait, doubles, spaces, session }), error.into())
        }
    }
}

/// What is stored of a job that is left like this. `row` is how long its row of failures has lasted, before this attempt, if there
/// was one, and with it.
pub(super) fn returned(
    system: &System,
    leaving: Leaving,
    why: Option<Reason>,
    (before, with): (Option<Duration>, Duration),
) -> ReturnedJob {
    let pause = match leaving.pause {
        Pause::None => None,
        Pause::For(pause) => Some(pause),
        Pause::Jittered { floor, ceiling } => Some(floor + ceiling.mul_f64(system.chance.fraction())),
    };
    ReturnedJob {
        state: leaving.state,
        why,
        next_try_ms: pause.map(|pause| system.clock.in_ms(pause)),
        failures: leaving.record.failures,
        failing: leaving.record.last_kind,
        failing_for: if leaving.record.failed { Some(with) } else { before },
        counts: leaving.record.counts,
        session: leaving.session,
    }
}

fn tell_of_start(job: &Claimed) {
    let Claimed { id, path, host, upload, .. } = job;
    let (shown, bytes) = (path.display(), job.identity.size);
    let what = if upload.is_some() { "continuing the upload of" } else { "uploading" };
    tracing::info!(job.id = %id, host, path = %shown, bytes, "{what} {path:?} to {host}: {}", ByteSize::b(bytes).display().iec());
}

/// The last line about a file: how fast it was, and where it is now.
fn tell_of_outcome(job: &Claimed, link: Option<&str>, (took, flowed): (Duration, u64)) {
    let Claimed { id, path, host, .. } = job;
    let (shown, bytes, seconds) = (path.display(), job.identity.size, took.as_secs_f64());
    let bytes_per_second = (flowed as f64 / seconds.max(0.001)) as u64;
    let size = |bytes: u64| ByteSize::b(bytes).display().iec();
    let speed = if flowed > 0 { format!(" ({}/s)", size(bytes_per_second)) } else { String::new() };
    let at = link.map_or(String::new(), |link| format!(": {link}"));
    tracing::info!(
        job.id = %id, host, path = %shown, bytes, seconds, bytes_per_second, link,
        "uploaded {path:?} to {host}, {} in {seconds:.1} s{speed}{at}", size(bytes)
    );
}

fn log(job: &Claimed, state: State, why: &Reason) {
    let Claimed { id, path, host, .. } = job;
    let shown = path.display();
    match state {
        State::Failed => tracing::warn!(job.id = %id, host, path = %shown, "upload of {path:?} to {host} failed: {why}"),
        State::Held => {
            tracing::warn!(job.id = %id, host, path = %shown, "upload of {path:?} to {host} is on hold and needs your attention: {why}");
        }
        State::Queued => {
            tracing::info!(job.id = %id, host, path = %shown, "upload of {path:?} to {host} put back into the queue: {why}");
        }
        State::Gone => tracing::info!(job.id = %id, host, path = %shown, "upload of {path:?} to {host} given up: {why}"),
        _ => tracing::info!(job.id = %id, host, path = %shown, "upload of {path:?} to {host} will be retried: {why}"),
    }
}
