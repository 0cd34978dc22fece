use std::path::Path;

use super::{Caller, DeliveryId, Job, JobId, Rules, State, Steer, Steered, StoreError, Tables};
use crate::job::Identity;
use crate::job::absence::NO_DEVICE;
use crate::job::steer::{Effect, Order, Selection, Steerable};

impl Tables {
    pub(super) fn steer(&mut self, by: Caller, steer: &Steer, rules: Option<&Rules>) -> Result<(Steered, bool), StoreError> {
        let after = self.jobs.iter().filter(|(id, job)| **id > steer.after && self.is_selected(**id, job, steer));
        let found: Vec<(JobId, Job)> = after.map(|(id, job)| (*id, job.clone())).collect();
        let (mut steered, mut due) = (Steered::default(), false);
        for (id, job) in found {
            let facts =
                Steerable { state: job.state, has_time: job.next_try.is_some(), wanted: job.wanted, under_way: steer.under_way };
            let effect = self.possible(id, &job, steer.order.effect(facts));
            due |= self.apply(by, id, effect, rules)?;
            steered.note(id, job.state, effect);
            if steer.order == Order::Retry && effect != Effect::Nothing {
                steered.hosts.insert(job.host);
            }
        }
        Ok((steered, due))
    }

    fn is_selected(&self, id: JobId, job: &Job, steer: &Steer) -> bool {
        let Selection { jobs, files, below, hosts, states, before_ms } = &steer.selection;
        let file = &self.files[&job.file];
        let is_below = |folder: &Path| below.is_empty() || below.iter().any(|below| folder.starts_with(below));
        let concerned = match (states.is_empty(), steer.selection.names()) {
            (true, true) => true,
            (true, false) => steer.order.concerns().any(|state| state == job.state),
            (false, _) => states.contains(&job.state),
        };
        let named = !steer.selection.names() || jobs.contains(&id) || files.contains(&file.folder.join(&file.name));
        let is_old = before_ms.is_none_or(|before_ms| job.since < before_ms);
        named && concerned && is_old && is_below(&file.folder) && (hosts.is_empty() || hosts.contains(&job.host))
    }

    fn possible(&self, id: JobId, job: &Job, effect: Effect) -> Effect {
        if effect == Effect::Remove {
            return if self.may_be_removed(id, job) { effect } else { Effect::Nothing };
        }
        if !matches!(effect, Effect::Queue | Effect::QueueAnew | Effect::FurtherJob) {
            return effect;
        }
        let file = &self.files[&job.file];
        let is_newest = job.state == State::Paused || (file.version == job.version && file.route.is_some());
        let is_of_it = |other: &Job| (other.file, &other.host, other.version) == (job.file, &job.host, job.version);
        let live = |state: State| state == State::Uploaded || !state.is_final();
        let is_on_its_way = self.jobs.iter().any(|(other, row)| *other != id && is_of_it(row) && live(row.state));
        if is_newest && !is_on_its_way { effect } else { Effect::Nothing }
    }

    fn may_be_removed(&self, id: JobId, job: &Job) -> bool {
        let mut of_its_file = self.jobs.iter().filter(|(_, other)| other.file == job.file);
        let keeps_it = |(other, row): (&JobId, &Job)| {
            !row.state.is_final()
                || row.state == State::Uploaded
                || self.deliveries.values().any(|delivery| delivery.job == *other)
                || (row.host == job.host && row.renewals < job.renewals && *other != id)
        };
        let may_be_there = job.state == State::Gone && job.maybe_duplicate;
        job.abandon_at.is_none() && !may_be_there && !of_its_file.any(keeps_it)
    }

    fn remove(&mut self, id: JobId) -> Result<(), StoreError> {
        let (file, one_off) = (self.job(id)?.file, self.job(id)?.one_off);
        if let Some(file) = self.files.get_mut(&file) {
            file.forgotten |= !one_off;
        }
        self.uploads.remove(&id);
        self.digests.remove(&id);
        self.jobs.remove(&id);
        Ok(())
    }

    fn apply(&mut self, by: Caller, id: JobId, effect: Effect, rules: Option<&Rules>) -> Result<bool, StoreError> {
        match effect {
            Effect::Nothing => {}
            Effect::Become(State::Cancelled) => return self.cancel(by, id, rules),
            Effect::Become(_) => self.pause(by, id)?,
            Effect::Queue => {
                if self.job(id)?.state == State::Failed {
                    self.uploads.remove(&id);
                }
                self.queue(by, id, rules)?;
            }
            Effect::QueueAnew => {
                let committing = self.uploads.remove(&id).is_some_and(|upload| upload.committing);
                self.job(id)?.maybe_duplicate |= committing;
                self.queue(by, id, rules)?;
            }
            Effect::BeDue => {
                let job = self.job(id)?;
                (job.next_try, job.told_held) = (Some(by.now_ms), None);
            }
            Effect::DeliverNow => return Ok(self.try_now(by, id)),
            Effect::LeaveAs(state) => self.job(id)?.wanted = Some(state),
            Effect::GoOn => self.job(id)?.wanted = None,
            Effect::FurtherJob => {
                let further = self.further_job(by, id)?;
                self.look_at(by, further, rules)?;
            }
            Effect::Remove => self.remove(id)?,
        }
        Ok(false)
    }

    fn pause(&mut self, by: Caller, id: JobId) -> Result<(), StoreError> {
        let job = self.move_to(id, State::Paused, by.now_ms)?;
        (job.next_try, job.why, job.wanted, job.failed_at, job.abandon_at) = (None, None, None, None, None);
        Ok(())
    }

    fn cancel(&mut self, by: Caller, id: JobId, rules: Option<&Rules>) -> Result<bool, StoreError> {
        let job = self.move_to(id, State::Cancelled, by.now_ms)?;
        (job.next_try, job.why, job.wanted, job.failed_at) = (None, None, None, None);
        self.give_back_soon(by, id)?;
        rules.map_or(Ok(false), |rules| self.after_leaving(by, id, State::Cancelled, None, rules))
    }

    pub(super) fn give_back_soon(&mut self, by: Caller, id: JobId) -> Result<(), StoreError> {
        self.digests.remove(&id);
        self.give_back_at(id, by.now_ms)
    }

    pub(super) fn give_back_at(&mut self, id: JobId, at_ms: i64) -> Result<(), StoreError> {
        let to_give_back = self.uploads.get(&id).is_some_and(|upload| !upload.committing);
        self.job(id)?.abandon_at = to_give_back.then_some(at_ms);
        Ok(())
    }

    fn queue(&mut self, by: Caller, id: JobId, rules: Option<&Rules>) -> Result<(), StoreError> {
        let job = self.move_to(id, State::Queued, by.now_ms)?;
        (job.next_try, job.why, job.told_held, job.abandon_at) = (None, None, None, None);
        (job.failures, job.failing, job.failing_for, job.failed_at, job.owner) = (0, None, None, None, by.daemon);
        self.look_at(by, id, rules)
    }

    fn look_at(&mut self, by: Caller, id: JobId, rules: Option<&Rules>) -> Result<(), StoreError> {
        if self.jobs[&id].one_off {
            return Ok(());
        }
        let folder = self.files[&self.jobs[&id].file].folder.clone();
        let watches = rules.map(|rules| &rules.watches).filter(|watches| !watches.is_empty());
        if let Some(why) = watches.and_then(|watches| watches.unwanted(&folder, &self.jobs[&id].host)) {
            self.rest(by, id, why)?;
        }
        Ok(())
    }

    fn further_job(&mut self, by: Caller, id: JobId) -> Result<JobId, StoreError> {
        let done = self.job(id)?.clone();
        let identity = Identity { device: NO_DEVICE, ..self.files[&done.file].identity };
        let further = JobId(self.next());
        let Job { file, host, version, priority, close_seen, one_off, .. } = done;
        let of_host = self.jobs.values().filter(|job| job.file == file && job.host == host);
        let renewals = 1 + of_host.map(|job| job.renewals).max().unwrap_or(0);
        self.jobs.insert(further, Job { close_seen, one_off, renewals, ..Job::new(by, file, host, version, identity, priority) });
        Ok(further)
    }

    fn try_now(&mut self, by: Caller, id: JobId) -> bool {
        let is_it = |(_, row): &(&DeliveryId, &mut super::Row)| {
            row.job == id && row.daemon == by.daemon && row.tries > 0 && row.next_try > Some(by.now_ms)
        };
        let rows: Vec<_> = self.deliveries.iter_mut().filter(is_it).collect();
        let due = !rows.is_empty();
        rows.into_iter().for_each(|(_, row)| row.next_try = Some(by.now_ms));
        due
    }

    pub(super) fn recover_steered(&mut self, by: Caller) -> Result<(), StoreError> {
        let steered = self.jobs.iter().filter(|(_, job)| job.state == State::Uploading && job.owner == by.daemon);
        let steered: Vec<(JobId, State)> = steered.filter_map(|(id, job)| Some((*id, job.wanted?))).collect();
        for (id, wanted) in steered {
            match wanted {
                State::Cancelled => self.cancel(by, id, None).map(drop)?,
                _ => self.pause(by, id)?,
            }
        }
        Ok(())
    }
}
