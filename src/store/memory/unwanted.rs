use super::{Asking, Caller, JobId, Reason, State, StoreError, Tables, Upload, Watches};
use crate::job::believed::after;
use crate::job::verdict::RECHECK;
use crate::store::Claimed;
use crate::store::unwanted::{SESSION_KEPT, SESSION_OWED};

impl Tables {
    pub(super) fn follow_watches(&mut self, by: Caller, watches: &Watches) -> Result<(u64, u64), StoreError> {
        if watches.is_empty() {
            return Ok((0, 0));
        }
        self.forget_sessions(by);
        let put_off = |job: &super::Job| match job.state {
            State::Held => job.next_try.is_some(),
            state => matches!(state, State::Queued | State::Waiting),
        };
        let ours = self.jobs.iter().filter(|(_, job)| job.owner == by.daemon && !job.one_off && put_off(job));
        let mut changed = (0, 0);
        for id in ours.map(|(id, _)| *id).collect::<Vec<_>>() {
            let folder = self.files[&self.jobs[&id].file].folder.clone();
            let job = self.job(id)?;
            let rests = job.state == State::Waiting && job.next_try.is_none();
            match watches.unwanted(&folder, &job.host) {
                Some(why) if rests => job.why = Some(why),
                Some(why) => {
                    self.rest(by, id, why)?;
                    changed.0 += 1;
                }
                None if rests => {
                    (job.state, job.since, job.why, job.abandon_at) = (State::Queued, by.now_ms, None, None);
                    changed.1 += 1;
                }
                None => {}
            }
        }
        Ok(changed)
    }

    #[expect(clippy::unnecessary_wraps, reason = "a verb may fail")]
    pub(super) fn unwanted_under_way(&mut self, by: Caller, watches: &Watches) -> Result<Vec<JobId>, StoreError> {
        let ours = self.jobs.iter().filter(|(_, job)| job.owner == by.daemon && !job.one_off && job.state == State::Uploading);
        let is_unwanted = |job: &super::Job| watches.unwanted(&self.files[&job.file].folder, &job.host).is_some();
        Ok(ours.filter(|(_, job)| is_unwanted(job)).map(|(id, _)| *id).collect())
    }

    pub(super) fn rest(&mut self, by: Caller, id: JobId, why: Reason) -> Result<(), StoreError> {
        let kept = self.uploads.get(&id).filter(|upload| !upload.committing).map(|_| after(by.now_ms, SESSION_KEPT));
        let job = self.move_to(id, State::Waiting, by.now_ms)?;
        (job.next_try, job.why, job.told_held, job.abandon_at) = (None, Some(why), None, kept);
        Ok(())
    }

    fn forget_sessions(&mut self, by: Caller) {
        let latest = after(by.now_ms, SESSION_KEPT);
        let configured = |host: &str| self.hosts.contains_key(&(by.daemon, host.to_owned()));
        for (id, job) in &mut self.jobs {
            job.abandon_at = job.abandon_at.map(|at| at.min(latest));
            if job.owner == by.daemon && job.abandon_at.is_some_and(|at| at <= by.now_ms) && !configured(&job.host) {
                self.uploads.remove(id);
                job.abandon_at = None;
            }
        }
    }

    pub(super) fn claim_unwanted(
        &mut self,
        by: Caller,
        asking: &[Asking],
        uploads_max: usize,
        claimed: &mut Vec<Claimed>,
    ) -> Result<Option<i64>, StoreError> {
        let running: usize = asking.iter().map(|asking| asking.uploads).sum();
        let mut next = None;
        for Asking { host, room, .. } in asking {
            let given = claimed.iter().filter(|job| job.host == *host).count();
            let of_host = self.jobs.iter().filter(|(_, job)| job.host == *host);
            let mut to_abandon: Vec<(i64, JobId)> = of_host
                .filter_map(|(id, job)| Some((job.abandon_at.filter(|_| job.state == State::Waiting || is_over(job.state))?, *id)))
                .collect();
            to_abandon.sort();
            next = next.into_iter().chain(to_abandon.iter().map(|(at, _)| *at).filter(|at| *at > by.now_ms)).min();
            let due = to_abandon.first().filter(|(at, _)| *at <= by.now_ms);
            if let Some((_, id)) = due
                && given < *room
                && running + claimed.len() < uploads_max
            {
                let is_over = is_over(self.job(*id)?.state);
                if !is_over {
                    self.move_to(*id, State::Uploading, by.now_ms)?.owner = by.daemon;
                }
                claimed.push(Claimed { retry: true, give_back: true, is_over, ..self.claimed(*id, by.now_ms)? });
                if is_over {
                    let owed = |upload: &Upload| after(upload.opened_ms, SESSION_OWED) > by.now_ms;
                    let is_owed = self.uploads.get(id).is_some_and(owed);
                    if !is_owed {
                        self.uploads.remove(id);
                    }
                    self.job(*id)?.abandon_at = is_owed.then(|| after(by.now_ms, RECHECK));
                }
            }
        }
        Ok(next)
    }

    pub(super) fn record_given_back(&mut self, _: Caller, id: JobId) -> Result<(), StoreError> {
        if is_over(self.job(id)?.state) {
            self.uploads.remove(&id);
            self.job(id)?.abandon_at = None;
        }
        Ok(())
    }
}

fn is_over(state: State) -> bool {
    matches!(state, State::Cancelled | State::Gone | State::Failed)
}
