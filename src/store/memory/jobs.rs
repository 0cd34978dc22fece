use std::cmp::Reverse;
use std::path::PathBuf;

use super::{
    Asking, Caller, Claims, Event, JobId, JobRow, Outcome, Reason, ReturnedJob, Rules, State, StoreError, Tables, Version,
};
use crate::job::attempt::SessionFate;
use crate::job::believed::{LONGEST_TO_NEXT_TRY, after, waited};
use crate::job::share::{self, Holder, RETRIES_COMPARED};
use crate::job::steer;
use crate::job::verdict::RECHECK;
use crate::store::uploads::may_have_made;
use crate::store::values::Turns;
use crate::store::{Claimed, Recorded};

/// What a host could be given.
#[derive(Default)]
struct There {
    due: usize,
    new: usize,
    next_due_ms: Option<i64>,
}

impl Tables {
    pub(super) fn claim(&mut self, by: Caller, asking: &[Asking], uploads_max: usize) -> Result<Claims, StoreError> {
        let there: Vec<There> = asking.iter().map(|asking| self.there(by, asking)).collect();
        let holder = |(asking, there): (&Asking, &There)| Holder {
            holds: asking.uploads,
            limit: asking.uploads_max,
            wants: asking.room.min(there.due + there.new),
            served: asking.served,
        };
        let holders: Vec<Holder> = asking.iter().zip(&there).map(holder).collect();
        let mut jobs = Vec::new();
        for ((asking, there), given) in asking.iter().zip(&there).zip(share::places(uploads_max, &holders)) {
            let (host, Turns { retries, new, small, small_bytes }) = (&asking.host, asking.turns(there.due, there.new, given));
            let due = self.due_by_priority(host, by.now_ms).into_iter().take(retries);
            let first = self.small_jobs(host, small, small_bytes);
            let others = self.ready_jobs(host).into_iter().filter(|job| !first.contains(job)).take(new - first.len());
            let ready: Vec<JobId> = first.iter().copied().chain(others).collect();
            for (job, retry) in due.map(|job| (job, true)).chain(ready.into_iter().map(|job| (job, false))) {
                jobs.push(self.claim_one(by, job, retry)?);
            }
        }
        let next_to_abandon_ms = self.claim_unwanted(by, asking, uploads_max, &mut jobs)?;
        let next_due_ms = there.into_iter().filter_map(|there| there.next_due_ms).chain(next_to_abandon_ms).min();
        Ok(Claims { jobs, next_due_ms })
    }

    fn there(&mut self, by: Caller, asking: &Asking) -> There {
        if asking.room == 0 {
            return There::default();
        }
        let latest = after(by.now_ms, LONGEST_TO_NEXT_TRY);
        for job in self.jobs.values_mut().filter(|job| job.host == asking.host && job.is_put_off()) {
            job.next_try = job.next_try.map(|next| if next > latest { by.now_ms } else { next });
        }
        let put_off = self.jobs.values().filter(|job| job.host == asking.host && job.is_put_off());
        let next_due_ms = put_off.filter_map(|job| job.next_try.filter(|next| *next > by.now_ms)).min();
        let (due, new) = (self.due_jobs(&asking.host, by.now_ms).len(), self.ready_jobs(&asking.host).len());
        There { due: due.min(asking.room), new: new.min(asking.room), next_due_ms }
    }

    fn due_by_priority(&self, host: &str, now_ms: i64) -> Vec<JobId> {
        let mut due: Vec<JobId> = self.due_jobs(host, now_ms).into_iter().take(RETRIES_COMPARED).collect();
        // Of the same priority, the one that has waited longest stays the first.
        due.sort_by_key(|id| Reverse(self.jobs[id].priority));
        due
    }

    fn due_jobs(&self, host: &str, now_ms: i64) -> Vec<JobId> {
        let is_due = |next: Option<i64>| next.is_some_and(|next| next <= now_ms);
        let due = self.jobs.iter().filter(|(_, job)| job.host == host && job.is_put_off() && is_due(job.next_try));
        let mut due: Vec<_> = due.map(|(id, job)| (job.next_try, *id)).collect();
        due.sort();
        due.into_iter().map(|(_, id)| id).collect()
    }

    fn ready_jobs(&self, host: &str) -> Vec<JobId> {
        let ready = self.jobs.iter().filter(|(_, job)| job.host == host && job.state == State::Queued);
        let mut ready: Vec<_> = ready.map(|(id, job)| (-job.priority, *id)).collect();
        ready.sort();
        ready.into_iter().map(|(_, id)| id).collect()
    }

    /// The smallest of those that come first, as far as they are smaller than `bytes`.
    fn small_jobs(&self, host: &str, most: usize, bytes: i64) -> Vec<JobId> {
        let ready = self.jobs.iter().filter(|(_, job)| job.host == host && job.state == State::Queued);
        let mut ready: Vec<_> = ready.map(|(id, job)| (-job.priority, job.identity.size, *id)).collect();
        ready.sort();
        let small = ready.into_iter().take(most).filter(|(_, size, _)| i64::try_from(*size).is_ok_and(|size| size < bytes));
        let mut small: Vec<JobId> = small.map(|(.., id)| id).collect();
        small.sort();
        small
    }

    fn claim_one(&mut self, by: Caller, id: JobId, retry: bool) -> Result<Claimed, StoreError> {
        let claimed = Claimed { retry, ..self.claimed(id, by.now_ms)? };
        let job = self.move_to(id, State::Uploading, by.now_ms)?;
        (job.owner, job.why, job.next_try) = (by.daemon, None, None);
        job.attempts += 1;
        Ok(claimed)
    }

    pub(super) fn claimed(&mut self, id: JobId, now_ms: i64) -> Result<Claimed, StoreError> {
        let upload = self.uploads.get(&id).cloned();
        let job = self.job(id)?.clone();
        let waited = waited(job.failed_at, job.next_try, now_ms);
        Ok(Claimed {
            id,
            path: self.path_of(job.file),
            host: job.host,
            identity: job.identity,
            failures: job.failures,
            failing: job.failing,
            failing_for: job.failing_for.map(|lasted| lasted + waited),
            sessions_lost: job.sessions_lost,
            renewals: job.renewals,
            retry: false,
            give_back: false,
            is_over: false,
            upload,
        })
    }

    pub(super) fn path(&mut self, _: Caller, job: JobId) -> Result<PathBuf, StoreError> {
        let file = self.job(job)?.file;
        Ok(self.path_of(file))
    }

    pub(super) fn record_version(&mut self, by: Caller, job: JobId, version: &Version) -> Result<Recorded, StoreError> {
        if !self.is_ours(by, job)? {
            return Ok(Recorded::NotOurs);
        }
        if !self.keep_fingerprint(job, version)? {
            return Ok(Recorded::OtherVersion);
        }
        self.note_ctime(job, version.identity.ctime_ns)?;
        Ok(Recorded::Yes)
    }

    /// What the job sends was touched before this time. A digest that was kept may be of other content.
    pub(super) fn note_ctime(&mut self, id: JobId, ctime_ns: i64) -> Result<(), StoreError> {
        let job = self.job(id)?;
        if std::mem::replace(&mut job.identity.ctime_ns, ctime_ns) != ctime_ns {
            self.digests.remove(&id);
        }
        Ok(())
    }

    pub(super) fn record_wait(&mut self, by: Caller, job: JobId, why: Option<&Reason>) -> Result<(), StoreError> {
        let job = self.job(job)?;
        if (job.state, job.owner) == (State::Uploading, by.daemon) {
            job.why = why.cloned();
        }
        Ok(())
    }

    fn moved_on(&mut self, by: Caller, job: JobId) -> Result<Option<State>, StoreError> {
        let job = self.job(job)?;
        Ok((job.state != State::Uploading || job.owner != by.daemon).then_some(job.state))
    }

    pub(super) fn record_outcome(
        &mut self,
        by: Caller,
        id: JobId,
        outcome: &Outcome,
        rules: &Rules,
    ) -> Result<(State, bool), StoreError> {
        if let Some(state) = self.moved_on(by, id)? {
            return Ok((state, false));
        }
        let parts = self.uploads.remove(&id).map_or(0, |upload| upload.plan.parts().into());
        self.digests.remove(&id);
        let (state, made) = self.after_upload(by, id, outcome, rules)?;
        let job = self.move_to(id, state, by.now_ms)?;
        (job.done_at, job.parts, job.trusted) = (Some(by.now_ms), parts, rules.trusted.contains(&job.host));
        (job.next_try, job.why, job.told_held, job.wanted) = (None, None, None, None);
        (job.failures, job.failing, job.failing_for, job.failed_at, job.sessions_lost) = (0, None, None, None, 0);
        job.outcome = outcome.clone();
        job.maybe_duplicate |= outcome.maybe_duplicate;
        if state == State::Uploaded {
            self.review(by, id, rules)?;
        }
        Ok((state, made))
    }

    pub(super) fn return_job(
        &mut self,
        by: Caller,
        id: JobId,
        left: &ReturnedJob,
        rules: &Rules,
    ) -> Result<Option<bool>, StoreError> {
        if self.moved_on(by, id)?.is_some() {
            return Ok(None);
        }
        let is_in_doubt = self.uploads.get(&id).is_some_and(|upload| {
            let was_last = upload.committing || upload.held_bytes + upload.plan.part_bytes >= upload.plan.file_bytes;
            may_have_made(upload.shape.as_ref(), was_last)
        });
        self.keep(id, left.session);
        let state = steer::left(self.job(id)?.wanted, left.state);
        let is_steered = state != left.state;
        let why = left.why.as_ref().filter(|_| !is_steered);
        let job = self.move_to(id, state, by.now_ms)?;
        (job.next_try, job.why, job.abandon_at) = (left.next_try_ms.filter(|_| !is_steered), why.cloned(), None);
        job.wanted = None;
        (job.failures, job.failing, job.failing_for) = (left.failures, left.failing.clone(), left.failing_for);
        job.failed_at = (left.counts && !is_steered).then_some(by.now_ms);
        job.sessions_lost += u32::from(left.session.is_lost());
        let is_gone_in_doubt = is_in_doubt && left.state == State::Gone;
        job.maybe_duplicate |= left.session.may_duplicate() || is_gone_in_doubt;
        if state.is_final() {
            self.digests.remove(&id);
        }
        if state == State::Cancelled {
            self.give_back_soon(by, id)?;
        }
        if left.session == SessionFate::Owed && state.is_final() {
            self.give_back_at(id, after(by.now_ms, RECHECK))?;
        }
        if state == State::Gone {
            self.forget(id)?;
        }
        self.after_leaving(by, id, state, why, rules).map(Some)
    }

    pub(super) fn every_job(&self) -> Vec<JobRow> {
        let row = |(id, job): (&JobId, &super::Job)| {
            let upload = self.uploads.get(id);
            let live = self.live.iter().filter(|((_, of), _)| of == id).map(|(_, (live, _))| live);
            let (sent, per_second) = live.fold((0, 0), |(sent, rate), live| (live.sent.max(sent), live.per_second.max(rate)));
            let has_it = matches!(job.state, State::Done | State::Uploaded);
            let held_bytes = upload.map_or(0, |upload| upload.held_bytes);
            JobRow {
                id: *id,
                path: self.path_of(job.file),
                host: job.host.clone(),
                state: job.state,
                bytes: job.identity.size,
                sent: if has_it { job.identity.size } else { held_bytes.max(sent).min(job.identity.size) },
                per_second,
                parts: if has_it { job.parts } else { upload.map_or(0, |upload| upload.plan.parts().into()) },
                parts_acked: if has_it { job.parts } else { upload.map_or(0, |upload| upload.confirmed.count().into()) },
                attempts: job.attempts,
                priority: job.priority,
                since_ms: job.since,
                next_try_ms: job.next_try,
                why: job.why.clone(),
                link: job.outcome.link.clone(),
                remote_id: job.outcome.remote_id.clone(),
                expires_ms: job.outcome.expires_ms,
                maybe_duplicate: job.maybe_duplicate,
                queued_at_ms: job.queued_at,
                done_at_ms: job.done_at,
                stored_name: job.outcome.name.clone(),
                stored_bytes: job.outcome.bytes,
            }
        };
        self.jobs.iter().map(row).collect()
    }

    /// Whether the job waits for a row for this event.
    pub(super) fn is_waiting_for(&self, job: JobId, event: Event) -> bool {
        self.deliveries.values().any(|row| row.job == job && row.event == event && row.waited_for)
    }
}

impl super::Job {
    pub(super) fn is_put_off(&self) -> bool {
        matches!(self.state, State::Waiting | State::Held)
    }
}
