//! One loop that alone claims jobs: it owns the slots and what is known of each host, and sleeps until a job arrives, a job is due, a
//! worker ends or the phase changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::crash_point;
use crate::job::State;
use crate::job::upload::Class;
use crate::job::verdict::{FIRST_BACKOFF, LONGEST_BACKOFF, RECHECK, Trouble, Verdict, verdict};
use crate::os::clock;
use crate::store::{Asking, Claimed, HostStatus, JobId, Keep, PutBack, Store, StoreError};
use crate::watch::Handle;

use super::clocks::Clocks;
use super::live::Board;
use super::phase::{Phase, Phases};
use super::split;
use super::upload::{End, HostSays, Worker};

/// A host with its limits and how it is doing.
pub struct Lane {
    /// Its name in the configuration.
    pub name: String,
    /// What a worker for it needs.
    pub worker: Worker,
    /// Jobs that may upload to it at once.
    pub uploads_max: usize,
    /// Jobs that do.
    pub uploads: usize,
    /// Those of them that had been tried before.
    pub retries: usize,
    /// When it was given a job last, as a count of all jobs given.
    pub served: u64,
    /// Whether that job had been tried before.
    pub retried_last: bool,
    /// How it is doing.
    pub health: Health,
    /// How often it has asked for rest or refused us: a job claimed before the last time says nothing about the host after it.
    pub troubles: u32,
    /// Rests it asked for in a row.
    pub rests: u32,
    /// Uploads of different files in a row that it could not even open, and the last of them: one poisonous file says nothing of a host.
    pub stumbles: u32,
    /// The last job that it could not open.
    pub stumbled: Option<JobId>,
    /// The size from which on it has no room, why, and until when that is believed.
    pub full: Option<(u64, String, Instant)>,
}

/// Whether a host may be given jobs. Rests are kept by the clock that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It takes files, as far as anybody knows.
    Ready,
    /// It asked for rest.
    RestingUntil(Instant),
    /// A person must act; one job at a time tries it after this.
    HeldUntil(Instant),
}

/// Uploads in a row that may fail to open before the whole host is left alone for a while.
const STUMBLES_FREE: u32 = 4;

struct Running {
    job: JobId,
    path: PathBuf,
    lane: usize,
    bytes: u64,
    failures: u32,
    /// Whether it had been tried before.
    retry: bool,
    /// The lane's troubles when the job was claimed.
    troubles: u32,
}

/// The loop's state.
pub struct Dispatch {
    store: Store,
    lanes: Vec<Lane>,
    uploads_max: usize,
    board: Board,
    phases: Phases,
    hints: Handle,
    workers: JoinSet<Result<End, StoreError>>,
    running: HashMap<Id, Running>,
    /// Jobs given so far, over all hosts.
    served: u64,
    clocks: Clocks,
}

impl Dispatch {
    /// A loop over these hosts. Files whose job is gone are hinted at, so that their new version is met at once.
    pub fn new(store: Store, lanes: Vec<Lane>, uploads_max: usize, board: Board, phases: Phases, hints: Handle) -> Dispatch {
        let (workers, running) = (JoinSet::new(), HashMap::new());
        Dispatch { store, lanes, uploads_max, board, phases, hints, workers, running, served: 0, clocks: Clocks::now() }
    }

    /// Works until the daemon stops and every worker has left. An error is the queue's own.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut phases = self.phases.clone();
        loop {
            let due = if self.phases.is_draining() { None } else { self.claim().await? };
            if self.phases.is_draining() && self.workers.is_empty() {
                return Ok(());
            }
            let next_phase = if self.phases.is_draining() { Phase::Stopping } else { Phase::Draining };
            tokio::select! {
                () = phases.reached(next_phase) => if next_phase == Phase::Stopping {
                    // Their requests are dropped; what was committed stays, and the rest is found at the next start.
                    self.workers.shutdown().await;
                    return Ok(());
                },
                Some(ended) = self.workers.join_next_with_id() => self.take_back(ended).await?,
                () = self.store.arrivals() => {}
                () = sleep_until(due), if due.is_some() => {}
            }
        }
    }

    /// Fills the free slots and answers when the next job or host is due.
    async fn claim(&mut self) -> Result<Option<Instant>, StoreError> {
        if self.clocks.were_set_back() {
            self.forget_times().await?;
        }
        let now = Instant::now();
        let rested = self.lanes.iter().filter_map(|lane| lane.health.until()).filter(|until| *until > now).min();
        let free = self.uploads_max.saturating_sub(self.running.len());
        let asking: Vec<Asking> = self.lanes.iter().map(|lane| lane.asks(now)).collect();
        if free == 0 || asking.iter().all(|asking| asking.room == 0) {
            return Ok(rested);
        }
        let claims = self.store.claim(asking, self.uploads_max, clock::now_ms()).await?;
        crash_point!("claim.after_commit");
        let full = claims.jobs.len() == free;
        let mut held = false;
        for job in claims.jobs {
            self.note(&job);
            match self.hold_for_room(&job).await? {
                true => held = true,
                false => self.start(job),
            }
        }
        if held {
            // The slots of those that were held are for others, at once.
            return Ok(Some(Instant::now()));
        }
        // With every slot taken the next worker's end comes first.
        let due = claims.next_due_ms.filter(|_| !full).map(instant_of);
        Ok(rested.into_iter().chain(due).min())
    }

    /// The time of day was set back: what was put off until a time of the old one is due, as at a start, and rests, which go on, end at
    /// another.
    async fn forget_times(&mut self) -> Result<(), StoreError> {
        tracing::warn!("the clock was set back; what waits for a time is tried again now");
        self.store.clock_was_set_back().await?;
        for lane in &self.lanes {
            let until = lane.health.until().into_iter().chain(lane.full.as_ref().map(|(.., until)| *until)).max();
            if let Some(left) = until.map(|until| until.saturating_duration_since(Instant::now())) {
                self.store.host_rests_until(lane.name.clone(), until_ms(left)).await?;
            }
        }
        Ok(())
    }

    /// Whose turn it was, whatever becomes of the job.
    fn note(&mut self, job: &Claimed) {
        self.served += 1;
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.name == job.host) {
            (lane.served, lane.retried_last) = (self.served, job.retry);
        }
    }

    fn start(&mut self, job: Claimed) {
        let Some(lane) = self.lanes.iter().position(|lane| lane.name == job.host) else { return };
        self.lanes[lane].uploads += 1;
        self.lanes[lane].retries += usize::from(job.retry);
        let worker = self.lanes[lane].worker.clone();
        let place = self.board.enter(job.id);
        let running = Running {
            job: job.id,
            path: job.path.clone(),
            lane,
            bytes: job.identity.size,
            failures: job.failures,
            retry: job.retry,
            troubles: self.lanes[lane].troubles,
        };
        let task = self.workers.spawn(async move {
            let says = worker.carry(job, place.sent.clone()).await;
            drop(place);
            says
        });
        self.running.insert(task.id(), running);
    }

    /// Takes back what ended, and everything else that has ended meanwhile. Jobs end together, since one commit serves many; those that
    /// have their answer may take their last step first, so that one claim fills all their slots.
    async fn take_back(&mut self, ended: Result<(Id, Result<End, StoreError>), JoinError>) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        let mut ended = Some(ended);
        while let Some(one) = ended {
            let id = match &one {
                Ok((id, _)) => *id,
                Err(error) => error.id(),
            };
            if let Some(running) = self.running.remove(&id) {
                self.lanes[running.lane].uploads -= 1;
                self.lanes[running.lane].retries -= usize::from(running.retry);
                match one {
                    Ok((_, end)) => {
                        let End { state, says } = end?;
                        if state == State::Gone
                            && let Some((folder, name)) = split(&running.path)
                        {
                            self.hints.look(&folder, &name);
                        }
                        self.listen(&running, says).await?;
                    }
                    Err(error) => self.after_a_panic(&running, &error).await?,
                }
            }
            ended = self.workers.try_join_next_with_id();
        }
        Ok(())
    }

    async fn listen(&mut self, running: &Running, says: HostSays) -> Result<(), StoreError> {
        let lane = &mut self.lanes[running.lane];
        // Jobs that were in flight together tell of one and the same trouble.
        let news = running.troubles == lane.troubles;
        if matches!(says, HostSays::Rest { .. } | HostSays::Refused(_)) {
            lane.troubles = lane.troubles.wrapping_add(1);
        }
        if says == HostSays::Fine && lane.full.take_if(|(bytes, ..)| running.bytes >= *bytes).is_some() {
            tracing::info!("host {} has room again", lane.name);
            self.store.release_held(lane.name.clone()).await?;
            let status = HostStatus { state: "ready", until_ms: None, why: None, rests: lane.rests };
            self.store.host_status(lane.name.clone(), status).await?;
        }
        match says {
            HostSays::Nothing => Ok(()),
            HostSays::Fine if lane.health == Health::Ready || running.troubles != lane.troubles => {
                lane.stumbles = 0;
                Ok(())
            }
            HostSays::Stumbled(_) if lane.stumbled == Some(running.job) => Ok(()),
            HostSays::Stumbled(why) => {
                lane.stumbled = Some(running.job);
                lane.stumbles = lane.stumbles.saturating_add(1);
                match lane.stumbles.checked_sub(STUMBLES_FREE + 1) {
                    None => Ok(()),
                    Some(more) => {
                        let pause = doubled(FIRST_BACKOFF, more + 1, LONGEST_BACKOFF);
                        self.rest(running.lane, pause, why).await
                    }
                }
            }
            HostSays::Full { bytes, why } => {
                let now = Instant::now();
                // The smallest file that found no room says most.
                let from = lane.full.as_ref().filter(|(.., until)| *until > now).map_or(bytes, |(least, ..)| bytes.min(*least));
                lane.full = Some((from, why.clone(), now + RECHECK));
                let status = HostStatus { state: "full", until_ms: Some(until_ms(RECHECK)), why: Some(why), rests: lane.rests };
                self.store.host_status(lane.name.clone(), status).await
            }
            HostSays::Fine => {
                tracing::info!("host {} takes files again", lane.name);
                (lane.health, lane.rests, lane.stumbles) = (Health::Ready, 0, 0);
                self.store.release_held(lane.name.clone()).await?;
                let status = HostStatus { state: "ready", until_ms: None, why: None, rests: 0 };
                self.store.host_status(lane.name.clone(), status).await
            }
            HostSays::Rest { pause, doubles_to, why } => {
                lane.rests = lane.rests.saturating_add(u32::from(news));
                let pause = doubles_to.map_or(pause, |most| doubled(pause, lane.rests, most));
                self.rest(running.lane, pause, why).await
            }
            HostSays::Refused(why) => {
                lane.health = Health::HeldUntil(Instant::now() + RECHECK);
                tracing::warn!("host {} is held until a person acts: {why}", lane.name);
                let status = HostStatus { state: "held", until_ms: Some(until_ms(RECHECK)), why: Some(why), rests: lane.rests };
                self.store.host_status(lane.name.clone(), status).await
            }
        }
    }

    async fn rest(&mut self, lane: usize, pause: Duration, why: String) -> Result<(), StoreError> {
        let lane = &mut self.lanes[lane];
        if matches!(lane.health, Health::HeldUntil(until) if until > Instant::now()) {
            // A person must act, whatever a job says that was in flight together with the one that found out.
            return Ok(());
        }
        lane.health = Health::RestingUntil(Instant::now() + pause);
        tracing::info!("host {} rests for {} s: {why}", lane.name, pause.as_secs());
        let status = HostStatus { state: "resting", until_ms: Some(until_ms(pause)), why: Some(why), rests: lane.rests };
        self.store.host_status(lane.name.clone(), status).await
    }

    /// A file for which the host is known to have no room is not even tried.
    async fn hold_for_room(&self, job: &Claimed) -> Result<bool, StoreError> {
        let Some(lane) = self.lanes.iter().find(|lane| lane.name == job.host) else { return Ok(false) };
        let now = Instant::now();
        let Some((_, why, until)) = lane.full.as_ref().filter(|(bytes, _, until)| job.identity.size >= *bytes && *until > now)
        else {
            return Ok(false);
        };
        let (failures, failing) = (job.failures, job.failing.clone());
        let put_back = PutBack {
            state: State::Held,
            why: Some(why.clone()),
            next_try_ms: Some(until_ms(*until - now)),
            failures,
            failing,
            session: Keep::Session,
        };
        self.store.put_back(job.id, put_back).await?;
        Ok(true)
    }

    /// A panic is our fault, and ends only its own job: it counts as a reply nobody could read.
    async fn after_a_panic(&self, running: &Running, error: &JoinError) -> Result<(), StoreError> {
        tracing::error!(job.id = %running.job, "a worker panicked; this is a bug in ferryd: {error}");
        let failures = running.failures.saturating_add(1);
        let trouble = Trouble {
            class: Class::Unreadable,
            worsens: None,
            wait: None,
            failures,
            alike: failures,
            sessions_lost: 0,
            retries: None,
        };
        let (state, next_try_ms) = match verdict(trouble) {
            Verdict::Retry { ceiling, .. } => (State::Waiting, Some(until_ms(ceiling))),
            _ => (State::Failed, None),
        };
        let why = Some("a worker panicked on this file; this is a bug in ferryd".to_owned());
        self.store.put_back(running.job, PutBack { state, why, next_try_ms, failures, failing: None, session: Keep::Session }).await
    }
}

impl Lane {
    fn asks(&self, now: Instant) -> Asking {
        Asking {
            host: self.name.clone(),
            uploads: self.uploads,
            retries: self.retries,
            uploads_max: self.uploads_max,
            room: self.room(now),
            served: self.served,
            retried_last: self.retried_last,
        }
    }

    fn room(&self, now: Instant) -> usize {
        let most = match self.health {
            Health::Ready => self.uploads_max,
            Health::RestingUntil(until) if until <= now => self.uploads_max,
            Health::HeldUntil(until) if until <= now => 1,
            Health::RestingUntil(_) | Health::HeldUntil(_) => 0,
        };
        most.saturating_sub(self.uploads)
    }
}

impl Health {
    fn until(self) -> Option<Instant> {
        match self {
            Health::Ready => None,
            Health::RestingUntil(until) | Health::HeldUntil(until) => Some(until),
        }
    }
}

/// The first rest, doubled with every further one in a row.
fn doubled(pause: Duration, rests: u32, most: Duration) -> Duration {
    pause.saturating_mul(1 << rests.saturating_sub(1).min(12)).min(most)
}

fn until_ms(pause: Duration) -> i64 {
    clock::now_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

fn instant_of(at_ms: i64) -> Instant {
    let left = u64::try_from(at_ms.saturating_sub(clock::now_ms())).unwrap_or(0);
    // One millisecond more, so that the time has certainly come when the sleep ends.
    Instant::now() + Duration::from_millis(left.saturating_add(1))
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}
