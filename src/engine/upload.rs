//! Carries one claimed job from its first byte to "uploaded". Every step is committed before the next relies on it.
//!
//! What is true if the process dies at an `await`:
//!
//! - in `open`: the host may hold an empty place nobody will use;
//! - before the session is committed: the same; no part was sent;
//! - in `send`: the host may hold the part, and it is sent again (the part in flight);
//! - before the ack is committed: the same;
//! - before `committing` is committed: every part is held and nothing else happened;
//! - in `finish`: nobody knows; the next claim finds `committing` and asks, or finishes again, or does what `on_unknown` says;
//! - before the outcome is committed: the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{OnUnknown, RemotePath};
use crate::crash_point;
use crate::host::{FileFacts, Host, HostError, Part, Place, Tickets, Whole};
use crate::job::State;
use crate::job::plan::{Plan, Range};
use crate::job::upload::{Ack, Class, Digest, Found, Held, Opened, Order, Outcome, Repeat, Shape};
use crate::job::verdict::{LONGEST_BACKOFF, LONGEST_WAIT, RECHECK, Trouble, Verdict, verdict};
use crate::os::clock;
use crate::store::{Claimed, JobId, Keep, PutBack, Store, StoreError, Upload};

use super::bandwidth::Limits;
use super::connections::Connections;
use super::digest::Digesting;
use super::phase::Phases;
use super::source::{self, Gate, Source, SourceError, remote_name};

/// Commits of one session that may go unanswered before `on_unknown` decides.
const COMMITS_UNANSWERED_MAX: u32 = 5;
/// Sessions a file may give up because of unanswered commits.
const SESSIONS_LOST_MAX: u32 = 3;
/// How long a file that cannot be read is left alone.
const SOURCE_PAUSE: Duration = Duration::from_secs(60);
/// How long a file is left alone whose folder is not there: about as often as the watch looks for it.
const FOLDER_PAUSE: Duration = Duration::from_secs(5);

/// What a worker needs to know of the job's host and of the daemon.
#[derive(Clone)]
pub struct Worker {
    /// The queue.
    pub store: Store,
    /// The protocol.
    pub host: Arc<dyn Host>,
    /// What to do when a commit may or may not have taken effect.
    pub on_unknown: OnUnknown,
    /// Failures in a row that are allowed.
    pub retries: Option<u32>,
    /// What the host may have in flight.
    pub connections: Connections,
    /// How fast bytes may flow.
    pub limits: Limits,
    /// The watched folders, with the folder their files go to on hosts that have folders.
    pub folders: Arc<[(PathBuf, RemotePath)]>,
    /// Whether the daemon goes on.
    pub phases: Phases,
}

/// What a worker's end says about its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSays {
    /// It took what it was given.
    Fine,
    /// Nothing new.
    Nothing,
    /// It wants to rest.
    Rest {
        /// For so long.
        pause: Duration,
        /// Where it ends, if it doubles with every rest in a row.
        doubles_to: Option<Duration>,
        /// In its own words.
        why: String,
    },
    /// A person must act.
    Refused(String),
    /// It has no room for a file of this size.
    Full {
        /// The file's size.
        bytes: u64,
        /// In its own words.
        why: String,
    },
    /// It could not even open an upload.
    Stumbled(String),
}

/// Where a worker left its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The job's state now.
    pub state: State,
    /// What that says about its host.
    pub says: HostSays,
}

/// Why a job's road ends here for now.
#[derive(Debug)]
enum Stop {
    /// The queue itself failed: the daemon's matter, not the job's.
    Store(StoreError),
    /// The file is not what it was.
    Source(SourceError),
    /// The host did not do what was asked.
    Host { error: HostError, keep: Keep },
    /// A commit may have taken effect, and nobody can be asked.
    Unknown(String),
    /// There is evidence that a commit took effect, and no proof.
    Likely(String),
    /// The daemon ends.
    Draining,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Stop::Source(error)
    }
}

/// A failure that leaves the session as it is.
impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        let keep = if error.class == Class::SessionLost { Keep::NothingLost } else { Keep::Session };
        Stop::Host { error, keep }
    }
}

/// A job under way, with what is known of it so far.
struct Road {
    worker: Worker,
    job: Claimed,
    shape: Shape,
    /// Bytes that have flowed, for people to see.
    sent: Arc<AtomicU64>,
    /// Whether the host has confirmed something new since the claim.
    progress: bool,
    /// The session in use, to be given back should the job leave it.
    place: Option<Arc<Place>>,
    /// The digest, where the host wants one.
    digesting: Option<Arc<Digesting>>,
    /// The digest, once it is known.
    digest: Option<Digest>,
    /// Whether the host is being asked for a place.
    opening: bool,
}

/// What an `open` led to.
enum Begun {
    Upload(Upload),
    /// The host had the bytes already.
    Whole(Outcome),
}

impl Worker {
    /// Carries `job` as far as it goes and commits where it ends. An error is the queue's own: nothing more can be done.
    pub async fn carry(&self, job: Claimed, sent: Arc<AtomicU64>) -> Result<End, StoreError> {
        let shape = self.host.shape(job.identity.size);
        let mut road = Road {
            worker: self.clone(),
            job,
            shape,
            sent,
            progress: false,
            place: None,
            digesting: None,
            digest: None,
            opening: false,
        };
        match road.travel().await {
            Ok(outcome) => {
                crash_point!("uploaded.before_commit");
                let state = self.store.uploaded(road.job.id, outcome).await?;
                crash_point!("uploaded.after_commit");
                tracing::info!(job.id = %road.job.id, bytes = road.job.identity.size, "{:?} is on {}", road.job.path, road.job.host);
                Ok(End { state, says: HostSays::Fine })
            }
            Err(stop) => road.leave(stop).await,
        }
    }

    /// One request, when there is room for it.
    async fn request<T>(&self, step: impl Future<Output = Result<T, HostError>>) -> Result<T, HostError> {
        let _permit = self.connections.acquire().await;
        step.await
    }
}

impl Road {
    async fn travel(&mut self) -> Result<Outcome, Stop> {
        if let Some(upload) = self.job.upload.take_if(|upload| upload.committing) {
            return self.after_a_commit_nobody_answered(upload).await;
        }
        let upload = self.job.upload.take();
        // Given back should it be too old to be resumed.
        self.place = upload.as_ref().map(|upload| place(upload, None, Tickets::default()));
        let upload = upload.filter(|upload| self.can_be_resumed(upload));
        let fresh = upload.is_none();
        let source = self.source(fresh).await?;
        let upload = match upload {
            Some(upload) => self.resume(&source, upload).await?,
            None => self.open(&source).await?,
        };
        let mut upload = match upload {
            Begun::Upload(upload) => upload,
            Begun::Whole(outcome) => return Ok(outcome),
        };
        if self.shape.order == Order::AnyOrder
            && let Some(number) = only_missing(&upload)
        {
            self.send_last(&source, &mut upload, number).await?;
            return self.finish(&upload).await;
        }
        if let Some(outcome) = self.send_all(&source, &mut upload).await? {
            return Ok(outcome);
        }
        source.check().await?;
        self.commit(&upload).await
    }

    /// The last part of a file, as every small file has: its ack and the intent to commit go to the disk together, the ack first.
    async fn send_last(&mut self, source: &Source, upload: &mut Upload, number: u32) -> Result<(), Stop> {
        if self.worker.phases.is_draining() {
            return Err(Stop::Draining);
        }
        let ack = self.lane(source, upload).deliver(number).await?;
        self.progress = true;
        upload.held.insert(number);
        upload.held.receipts.extend(ack.receipt.clone().map(|receipt| (number, receipt)));
        let unchanged = source.check().await;
        crash_point!("ack.before_commit");
        let store = self.worker.store.clone();
        let acked = store.acked(self.job.id, vec![ack], upload.plan);
        if self.digesting.is_some() || unchanged.is_err() {
            // The digest may take a while, and the ack must not wait for it.
            acked.await?;
            unchanged?;
            crash_point!("ack.after_commit");
            self.know_digest(upload.plan).await?;
            store.committing(self.job.id).await?;
            crash_point!("finish.before_send");
            return Ok(());
        }
        let (acked, committing) = tokio::join!(acked, store.committing(self.job.id));
        crash_point!("ack.after_commit");
        acked.and(committing)?;
        crash_point!("finish.before_send");
        Ok(())
    }

    async fn source(&self, fresh: bool) -> Result<Source, SourceError> {
        let path = self.job.path.clone();
        Source::open(path, self.job.identity, fresh, self.worker.limits.clone(), self.sent.clone()).await
    }

    /// A body that was cut short is worth nothing to a host that may keep what it gets twice: its next one begins with a new session.
    fn can_be_resumed(&self, upload: &Upload) -> bool {
        let age = Duration::from_millis(u64::try_from(clock::now_ms() - upload.opened_ms).unwrap_or(0));
        let stale = self.shape.session_life.is_some_and(|life| age > life);
        let one_shot = self.shape.order == Order::Whole && self.shape.repeat == Repeat::MayDuplicate;
        !stale && !one_shot
    }

    async fn open(&mut self, source: &Source) -> Result<Begun, Stop> {
        let identity = source.identity();
        let plan = Plan::new(identity.size, &self.shape).map_err(|error| HostError::new(Class::FileRejected, error.to_string()))?;
        self.start_digest(source, plan).await?;
        if self.shape.digest.is_some_and(|wanted| wanted.before_open) {
            self.know_digest(plan).await?;
        }
        let facts = FileFacts {
            name: remote_name(&self.job.path),
            folder: self.remote_folder(),
            version: source::version(&self.job.path, &identity),
            bytes: plan.file_bytes,
            parts: plan.parts(),
            part_bytes: plan.part_bytes,
            digest: self.digest.as_ref().map(|digest| digest.hex.clone()),
        };
        let tickets = Tickets::default();
        crash_point!("open.before_call");
        self.opening = true;
        let opened = self.worker.request(self.worker.host.open(&facts, &tickets)).await?;
        self.opening = false;
        let session = match opened {
            Opened::Session(session) => session,
            Opened::Whole(outcome) => {
                source.check().await?;
                self.worker.store.sent_as(self.job.id, identity).await?;
                return Ok(Begun::Whole(outcome));
            }
        };
        crash_point!("open.before_commit");
        let opened_ms = clock::now_ms();
        self.worker.store.opened(self.job.id, session.clone(), plan, identity).await?;
        crash_point!("open.after_commit");
        let (held, held_bytes) = (Held::default(), 0);
        let upload = Upload { session, plan, held, held_bytes, opened_ms, committing: false, commits: 0, resent: false };
        self.place = Some(place(&upload, self.digesting.as_deref(), tickets));
        Ok(Begun::Upload(upload))
    }

    /// The folder of the innermost watch that the file is in, filled in.
    fn remote_folder(&self) -> String {
        let watched = self.worker.folders.iter().filter(|(folder, _)| self.job.path.starts_with(folder));
        let innermost = watched.max_by_key(|(folder, _)| folder.components().count());
        let below = innermost.and_then(|(folder, template)| Some((self.job.path.strip_prefix(folder).ok()?, template)));
        below.map(|(relative, template)| template.fill(relative, self.job.identity.mtime_ns)).unwrap_or_default()
    }

    /// What an earlier claim has computed is not computed again.
    async fn start_digest(&mut self, source: &Source, plan: Plan) -> Result<(), StoreError> {
        let Some(wanted) = self.shape.digest else { return Ok(()) };
        self.digest = self.worker.store.digest(self.job.id, plan.part_bytes).await?;
        let digesting = match &self.digest {
            Some(digest) => Digesting::known(digest),
            None => Digesting::start(source.clone(), plan, wanted.algorithm),
        };
        self.digesting = Some(Arc::new(digesting));
        Ok(())
    }

    /// Waits for the digest, where the host wants one, and keeps it.
    async fn know_digest(&mut self, plan: Plan) -> Result<(), Stop> {
        let (None, Some(digesting)) = (&self.digest, &self.digesting) else { return Ok(()) };
        let digest = digesting.whole().await?;
        self.worker.store.digested(self.job.id, plan.part_bytes, digest.clone()).await?;
        self.digest = Some(digest);
        Ok(())
    }

    /// A session of an earlier claim: the host is asked, and believed over our own rows.
    async fn resume(&mut self, source: &Source, mut upload: Upload) -> Result<Begun, Stop> {
        self.start_digest(source, upload.plan).await?;
        let place = place(&upload, self.digesting.as_deref(), Tickets::default());
        self.place = Some(place.clone());
        let all_sent = upload.held.count() == upload.plan.parts();
        // A digest says that everything was sent, and that the host may have made the file of it already.
        let digest = self.digest.as_ref().filter(|_| all_sent).map(|digest| digest.hex.as_str());
        match self.worker.request(self.worker.host.probe(&place, Whole { held: &upload.held, digest })).await? {
            Found::Unsure | Found::Likely(_) | Found::Unlikely => {}
            Found::Gone => return Err(HostError::new(Class::SessionLost, "the host no longer knows the session").into()),
            Found::UpTo(bytes) => {
                upload.held_bytes = bytes;
                self.worker.store.found(self.job.id, Vec::new(), bytes, upload.plan).await?;
            }
            Found::Parts(acks) => {
                upload.held = held_of(&acks);
                self.worker.store.found(self.job.id, acks, 0, upload.plan).await?;
            }
            Found::Whole(outcome) if all_sent => return Ok(Begun::Whole(outcome)),
            Found::Whole(_) => {
                let said = "the host says that it has the whole file, and it was never asked to finish";
                return Err(HostError::new(Class::Unreadable, said).into());
            }
        }
        self.sent.store(held_bytes(&upload, self.shape.order), Ordering::Relaxed);
        Ok(Begun::Upload(upload))
    }

    /// The place of the session in use. One that has moved, or was found committing, has no tickets yet.
    fn place_of(&mut self, upload: &Upload) -> Arc<Place> {
        match &self.place {
            Some(place) if place.session == upload.session => place.clone(),
            _ => {
                let place = place(upload, self.digesting.as_deref(), Tickets::default());
                self.place.insert(place).clone()
            }
        }
    }

    fn lane(&mut self, source: &Source, upload: &Upload) -> SendLane {
        SendLane {
            worker: self.worker.clone(),
            job: self.job.id,
            place: self.place_of(upload),
            source: source.clone(),
            plan: upload.plan,
            digesting: self.digesting.clone(),
        }
    }

    /// Sends what the host does not hold. A file that travels whole has its outcome afterwards; any other still has to be committed.
    async fn send_all(&mut self, source: &Source, upload: &mut Upload) -> Result<Option<Outcome>, Stop> {
        match self.shape.order {
            Order::AnyOrder => self.send_in_any_order(source, upload).await.map(|()| None),
            Order::InOrder => self.send_in_order(source, upload).await.map(|()| None),
            Order::Whole => self.send_whole(source, upload).await.map(Some),
        }
    }

    /// Several parts at once. After a failure no new part begins; what is in flight may still arrive and counts.
    async fn send_in_any_order(&mut self, source: &Source, upload: &mut Upload) -> Result<(), Stop> {
        let lane = self.lane(source, upload);
        let Upload { plan, held, .. } = upload;
        let mut next = 0;
        let mut lanes: JoinSet<Result<Ack, Stop>> = JoinSet::new();
        let mut stop = None;
        loop {
            while stop.is_none() && lanes.len() < self.shape.parallel.max(1) {
                if self.worker.phases.is_draining() {
                    stop = Some(Stop::Draining);
                    break;
                }
                // What arrives meanwhile has a number below, so it does not disturb the count.
                let Some(number) = (next..plan.parts()).find(|number| !held.contains(*number)) else { break };
                next = number + 1;
                lanes.spawn(lane.clone().send(number));
            }
            match lanes.join_next().await {
                None => break,
                Some(Ok(Ok(ack))) => {
                    self.progress = true;
                    held.insert(ack.number);
                    held.receipts.extend(ack.receipt.map(|receipt| (ack.number, receipt)));
                }
                Some(Ok(Err(error))) => stop = Some(worse(stop, error)),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        stop.map_or(Ok(()), Err)
    }

    /// One part after the other, each from where the host says the last one ended.
    async fn send_in_order(&mut self, source: &Source, upload: &mut Upload) -> Result<(), Stop> {
        let mut without_progress = 0;
        while upload.held_bytes < upload.plan.file_bytes {
            if self.worker.phases.is_draining() {
                return Err(Stop::Draining);
            }
            let range = upload.plan.from_offset(upload.held_bytes);
            let ack = self.deliver(source, upload, range).await?;
            if let Some(session) = &ack.moved_to {
                upload.session = session.clone();
            }
            let before = std::mem::replace(&mut upload.held_bytes, ack.held_to.min(upload.plan.file_bytes));
            without_progress = if upload.held_bytes > before { 0 } else { without_progress + 1 };
            self.progress |= upload.held_bytes > before;
            if without_progress > 2 {
                return Err(HostError::new(Class::OffsetMismatch, "the host takes no more bytes").into());
            }
            self.worker.store.advanced(self.job.id, upload.held_bytes, ack.moved_to).await?;
        }
        Ok(())
    }

    async fn deliver(&mut self, source: &Source, upload: &Upload, range: Range) -> Result<Ack, Stop> {
        let part = source.part(0, range).await?;
        let place = self.place_of(upload);
        let sent = self.worker.request(self.worker.host.send(&place, &part)).await;
        sent.map_err(|error| source.failure().map_or_else(|| error.into(), Stop::Source))
    }

    /// The request is the commit, and its answer the outcome. Where a second file would show, the intent is on the disk before the last
    /// bytes leave, and whatever leaves it in doubt after that leaves the session as the record of it.
    async fn send_whole(&mut self, source: &Source, upload: &mut Upload) -> Result<Outcome, Stop> {
        source.check().await?;
        let range = Range { offset: 0, bytes: upload.plan.file_bytes };
        let gate = match self.shape.repeat {
            Repeat::MayDuplicate => Some(Gate::new(self.worker.store.clone(), self.job.id)),
            Repeat::Harmless => None,
        };
        let part = source.part_behind(0, range, gate.clone()).await?;
        if let Some(gate) = gate.as_ref().filter(|_| range.bytes == 0)
            && let Err(error) = gate.pass().await
        {
            return Err(gate.failure().map_or_else(|| SourceError::Unreadable(error.to_string()).into(), Stop::Store));
        }
        crash_point!("part.before_send");
        let place = self.place_of(upload);
        let ack = match self.worker.request(self.worker.host.send(&place, &part)).await {
            Ok(ack) => ack,
            Err(error) => return Err(self.after_a_failed_body(source, gate.as_deref(), error)),
        };
        crash_point!("ack.before_commit");
        upload.held = held_of(std::slice::from_ref(&ack));
        // Nobody is asked, so the outcome itself is the first thing to be committed.
        let outcome = self.worker.host.finish(&place, self.whole(upload)).await;
        outcome.map_err(|error| Stop::Host { error, keep: Keep::SessionUnanswered })
    }

    /// A body that never left whole is no file at the host, whatever its error says.
    fn after_a_failed_body(&self, source: &Source, gate: Option<&Gate>, error: HostError) -> Stop {
        if let Some(failure) = gate.and_then(Gate::failure) {
            return Stop::Store(failure);
        }
        match source.failure() {
            Some(failure) => Stop::Source(failure),
            None if error.doubt && gate.is_some_and(Gate::passed) => Stop::Host { error, keep: Keep::SessionUnanswered },
            None if error.class == Class::SessionLost => error.into(),
            None => Stop::Host { error, keep: Keep::Nothing },
        }
    }

    /// Records the intent, then asks the host to make the parts a file.
    async fn commit(&mut self, upload: &Upload) -> Result<Outcome, Stop> {
        self.know_digest(upload.plan).await?;
        crash_point!("finish.before_commit");
        self.worker.store.committing(self.job.id).await?;
        crash_point!("finish.before_send");
        self.finish(upload).await
    }

    async fn finish(&mut self, upload: &Upload) -> Result<Outcome, Stop> {
        let place = self.place_of(upload);
        let finished = self.worker.request(self.worker.host.finish(&place, self.whole(upload))).await;
        finished.map_err(|error| self.after_a_failed_commit(upload, error))
    }

    fn whole<'a>(&'a self, upload: &'a Upload) -> Whole<'a> {
        Whole { held: &upload.held, digest: self.digest.as_ref().map(|digest| digest.hex.as_str()) }
    }

    fn after_a_failed_commit(&self, upload: &Upload, error: HostError) -> Stop {
        let may_duplicate = upload.committing && self.shape.repeat == Repeat::MayDuplicate;
        if error.doubt {
            return Stop::Host { error, keep: Keep::SessionUnanswered };
        }
        match error.class {
            // An error to a repeated commit may mean "already done, and forgotten".
            Class::SessionLost | Class::FileRejected | Class::OffsetMismatch if may_duplicate => Stop::Unknown(error.said),
            Class::OffsetMismatch if upload.resent && self.job.sessions_lost > 0 => {
                // Every part went twice in two sessions: it is not the way that is at fault.
                Stop::Host { error: HostError { class: Class::FileRejected, ..error }, keep: Keep::Nothing }
            }
            Class::OffsetMismatch if upload.resent => {
                Stop::Host { error: HostError { class: Class::SessionLost, ..error }, keep: Keep::NothingLost }
            }
            Class::OffsetMismatch => Stop::Host { error, keep: Keep::SessionWithoutParts },
            Class::SessionLost => Stop::Host { error, keep: Keep::NothingLost },
            // Nothing was sent, or nothing was done: an earlier doubt stays what it was.
            _ if upload.committing => Stop::Host { error, keep: Keep::Session },
            _ => Stop::Host { error, keep: Keep::SessionUncommitted },
        }
    }

    /// The road of a job whose last commit has no answer: the host is asked, or finishes again, or the user's choice decides.
    async fn after_a_commit_nobody_answered(&mut self, upload: Upload) -> Result<Outcome, Stop> {
        let unanswered = || "the host never answered the request that makes the file";
        let one_shot = self.shape.order == Order::Whole && self.shape.repeat == Repeat::MayDuplicate;
        // Such a host can bring evidence at best, and asking has its price.
        if one_shot && self.worker.on_unknown != OnUnknown::Probe {
            return Err(Stop::Unknown(unanswered().into()));
        }
        if self.shape.digest.is_some() {
            self.digest = self.worker.store.digest(self.job.id, upload.plan.part_bytes).await?;
            if self.digest.is_none() {
                let source = self.source(false).await?;
                self.start_digest(&source, upload.plan).await?;
                self.know_digest(upload.plan).await?;
            }
        }
        let place = self.place_of(&upload);
        match self.worker.request(self.worker.host.probe(&place, self.whole(&upload))).await? {
            Found::Whole(outcome) => return Ok(outcome),
            Found::Gone if self.shape.repeat == Repeat::Harmless => {
                return Err(HostError::new(Class::SessionLost, "the host no longer knows the session").into());
            }
            Found::Gone => return Err(Stop::Unknown(unanswered().into())),
            Found::Likely(evidence) => return Err(Stop::Likely(evidence)),
            Found::Unlikely => {
                let said = "the host never answered, and nothing speaks for its having the file";
                return Err(HostError::new(Class::SessionLost, said).into());
            }
            Found::UpTo(_) | Found::Parts(_) | Found::Unsure => {}
        }
        if self.shape.order == Order::Whole {
            return match self.shape.repeat {
                Repeat::Harmless => self.send_whole_again(upload).await,
                Repeat::MayDuplicate => Err(Stop::Unknown(unanswered().into())),
            };
        }
        // Where a second commit does no harm, it is tried for as long as it takes.
        if upload.commits >= COMMITS_UNANSWERED_MAX && self.shape.repeat == Repeat::MayDuplicate {
            return Err(Stop::Unknown(unanswered().into()));
        }
        self.finish(&upload).await
    }

    async fn send_whole_again(&mut self, mut upload: Upload) -> Result<Outcome, Stop> {
        let source = self.source(false).await?;
        self.send_whole(&source, &mut upload).await
    }

    /// Commits where the job stands, and says what its end means for the host.
    async fn leave(&mut self, stop: Stop) -> Result<End, StoreError> {
        let (put_back, says) = match stop {
            Stop::Store(error) => return Err(error),
            Stop::Draining => (self.put_back(State::Queued, None, Keep::Session), HostSays::Nothing),
            Stop::Source(error) => (self.leave_for_source(error), HostSays::Nothing),
            Stop::Unknown(why) => (self.leave_in_doubt(&why), HostSays::Nothing),
            Stop::Likely(evidence) => (self.leave_to_a_person(&evidence), HostSays::Nothing),
            Stop::Host { error, keep } => self.leave_for_host(error, keep),
        };
        log(&self.job, &put_back);
        let (state, kept) = (put_back.state, put_back.session);
        self.worker.store.put_back(self.job.id, put_back).await?;
        if matches!(kept, Keep::Nothing | Keep::NothingLost) {
            self.abandon().await;
        }
        Ok(End { state, says })
    }

    /// Only after the session is forgotten here: a crash in between leaves an open place over there, never a job that relies on one.
    async fn abandon(&mut self) {
        if let Some(place) = self.place.take()
            && let Err(error) = self.worker.request(self.worker.host.abandon(&place)).await
        {
            tracing::info!(job.id = %self.job.id, "cannot give the session back to {}: {error}", self.job.host);
        }
    }

    fn put_back(&self, state: State, why: Option<String>, session: Keep) -> PutBack {
        let (failures, failing) = if self.progress { (0, None) } else { (self.job.failures, self.job.failing.clone()) };
        PutBack { state, why, next_try_ms: None, failures, failing, session }
    }

    fn leave_for_source(&self, error: SourceError) -> PutBack {
        let folder_is_there = self.job.path.parent().is_some_and(|folder| folder.exists());
        match error {
            SourceError::Vanished if !folder_is_there => {
                let why = "the folder of this file is not there".to_owned();
                self.waiting(why, FOLDER_PAUSE, Keep::Session)
            }
            SourceError::Unreadable(_) => self.waiting(error.to_string(), SOURCE_PAUSE, Keep::Session),
            SourceError::Vanished | SourceError::Changed(_) => self.put_back(State::Gone, Some(error.to_string()), Keep::Nothing),
        }
    }

    fn waiting(&self, why: String, pause: Duration, session: Keep) -> PutBack {
        PutBack { next_try_ms: Some(after(pause)), ..self.put_back(State::Waiting, Some(why), session) }
    }

    fn leave_in_doubt(&self, why: &str) -> PutBack {
        let keep = Keep::NothingLostMaybeDuplicate;
        match self.worker.on_unknown {
            OnUnknown::Hold | OnUnknown::Probe => {
                let why = format!("{why}; the file may be on the host already, and `on_unknown` leaves it to you");
                self.put_back(State::Held, Some(why), Keep::Session)
            }
            OnUnknown::UploadAgain if self.job.sessions_lost < SESSIONS_LOST_MAX => {
                let why = format!("{why}; it is uploaded again, and may be there twice");
                self.put_back(State::Queued, Some(why), keep)
            }
            OnUnknown::UploadAgain => {
                let why = format!("{why}, for the {}th time", SESSIONS_LOST_MAX + 1);
                self.put_back(State::Failed, Some(why), keep)
            }
        }
    }

    fn leave_to_a_person(&self, evidence: &str) -> PutBack {
        let why = format!("the host never answered, and the file is probably there: {evidence}; look at the account");
        self.put_back(State::Held, Some(why), Keep::Session)
    }

    fn leave_for_host(&self, error: HostError, keep: Keep) -> (PutBack, HostSays) {
        let failures = if self.progress { 1 } else { self.job.failures.saturating_add(1) };
        let kind = format!("{:?}/{:?}", error.class, error.worsens);
        let before = self.job.failing.as_ref().filter(|(known, _)| *known == kind && !self.progress);
        let alike = before.map_or(1, |(_, alike)| alike.saturating_add(1));
        let failing = Some((kind, alike));
        let trouble = Trouble {
            class: error.class,
            worsens: error.worsens,
            wait: error.wait,
            failures,
            alike,
            sessions_lost: self.job.sessions_lost,
            retries: self.worker.retries,
        };
        // What has worsened to a lost session is lost as one.
        let lost = trouble.meaning() == Class::SessionLost && keep != Keep::NothingLostMaybeDuplicate;
        let keep = if lost { Keep::NothingLost } else { keep };
        let (why, bytes) = (error.said, self.job.identity.size);
        let stumbles = |why: &str| if self.opening { HostSays::Stumbled(why.to_owned()) } else { HostSays::Nothing };
        match verdict(trouble) {
            Verdict::Retry { floor, ceiling } => {
                let pause = floor + ceiling.mul_f64(rand::random::<f64>());
                let says = stumbles(&why);
                (PutBack { failures, failing, ..self.waiting(why, pause, keep) }, says)
            }
            Verdict::RestHost(pause) => {
                let doubles_to = match error.wait {
                    _ if error.doubles => Some(LONGEST_WAIT),
                    None => Some(LONGEST_BACKOFF),
                    Some(_) => None,
                };
                (self.waiting(why.clone(), pause, keep), HostSays::Rest { pause, doubles_to, why })
            }
            Verdict::Anew => (self.put_back(State::Queued, Some(why), keep), HostSays::Nothing),
            Verdict::HoldHost => (self.held(why.clone(), keep), HostSays::Refused(why)),
            Verdict::HoldForRoom => (self.held(why.clone(), keep), HostSays::Full { bytes, why }),
            Verdict::Hold => (PutBack { failures, failing, ..self.put_back(State::Held, Some(why), keep) }, HostSays::Nothing),
            Verdict::Fail => (self.put_back(State::Failed, Some(why), Keep::Nothing), HostSays::Nothing),
        }
    }

    /// Held until somebody acts or an hour is over; the waiting says nothing against the file.
    fn held(&self, why: String, keep: Keep) -> PutBack {
        PutBack { next_try_ms: Some(after(RECHECK)), ..self.put_back(State::Held, Some(why), keep) }
    }
}

/// What a lane needs to send parts of one file.
#[derive(Clone)]
struct SendLane {
    worker: Worker,
    job: JobId,
    place: Arc<Place>,
    source: Source,
    plan: Plan,
    digesting: Option<Arc<Digesting>>,
}

impl SendLane {
    /// One lane's turn: the lane is free again only when the ack is committed, so after a crash no more than the parts in the lanes are
    /// sent a second time.
    async fn send(self, number: u32) -> Result<Ack, Stop> {
        let ack = self.deliver(number).await?;
        crash_point!("ack.before_commit");
        self.worker.store.acked(self.job, vec![ack.clone()], self.plan).await?;
        crash_point!("ack.after_commit");
        Ok(ack)
    }

    /// Reads a part and sends it.
    async fn deliver(&self, number: u32) -> Result<Ack, Stop> {
        if let Some(digesting) = &self.digesting {
            digesting.before_part(number).await?;
        }
        let part: Part = self.source.part(number, self.plan.range(number)).await?;
        crash_point!("part.before_send");
        let sent = self.worker.request(self.worker.host.send(&self.place, &part)).await;
        let ack = sent.map_err(|error| self.source.failure().map_or_else(|| Stop::from(error), Stop::Source))?;
        match ack.held_to < part.offset + part.bytes {
            true => Err(HostError::new(Class::OffsetMismatch, "the host kept only a share of a part").into()),
            false => Ok(ack),
        }
    }
}

fn place(upload: &Upload, digesting: Option<&Digesting>, tickets: Tickets) -> Arc<Place> {
    let borders = digesting.map(Digesting::borders).unwrap_or_default();
    Arc::new(Place { session: upload.session.clone(), tickets, plan: upload.plan, borders })
}

/// The one part that the host does not hold, if it is one.
fn only_missing(upload: &Upload) -> Option<u32> {
    let parts = upload.plan.parts();
    match upload.held.count() + 1 == parts {
        true => (0..parts).find(|number| !upload.held.contains(*number)),
        false => None,
    }
}

/// Of two reasons to stop, the one that says more about what must follow.
fn worse(first: Option<Stop>, second: Stop) -> Stop {
    match first {
        Some(first @ (Stop::Store(_) | Stop::Source(_))) => first,
        Some(Stop::Host { error, keep })
            if error.class != Class::Transient && !matches!(second, Stop::Store(_) | Stop::Source(_)) =>
        {
            Stop::Host { error, keep }
        }
        _ => second,
    }
}

fn held_of(acks: &[Ack]) -> Held {
    let mut held = Held::default();
    for ack in acks {
        held.insert(ack.number);
        held.receipts.extend(ack.receipt.clone().map(|receipt| (ack.number, receipt)));
    }
    held
}

fn held_bytes(upload: &Upload, order: Order) -> u64 {
    match order {
        Order::InOrder => upload.held_bytes,
        Order::AnyOrder | Order::Whole => {
            let parts = (0..upload.plan.parts()).filter(|number| upload.held.contains(*number));
            parts.map(|number| upload.plan.range(number).bytes).sum()
        }
    }
}

fn after(pause: Duration) -> i64 {
    clock::now_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

fn log(job: &Claimed, put_back: &PutBack) {
    let why = put_back.why.as_deref().unwrap_or("the daemon stops");
    let (id, host, state) = (job.id, &job.host, put_back.state);
    match state {
        State::Failed | State::Held => tracing::warn!(job.id = %id, "{:?} on {host} is {state}: {why}", job.path),
        _ => tracing::info!(job.id = %id, "{:?} on {host} is {state}: {why}", job.path),
    }
}
