use super::{
    Caller, DaemonId, DeliveryId, Due, Event, HookRule, JobId, Outcome, Reason, Row, Rules, State, StoreError, Tables, Wanted,
};
use crate::job::delivery::hook_name;
use crate::job::gather::{is_waited_for, told_by};
use crate::job::release::{Release, Sibling, release};
use crate::job::{Delivery, ReasonClass};
use crate::store::deliveries::{KEPT, refresh_due_ms};
use crate::store::{AFTER, REFRESH};

/// The jobs of one version.
type Family = Vec<(JobId, Sibling)>;

impl Tables {
    fn insert_row(&mut self, by: Caller, job: JobId, hook: &str, event: Event, due_ms: Option<i64>) -> &mut Row {
        self.deliveries.retain(|_, row| (row.job, row.event, row.hook.as_str()) != (job, event, hook));
        let (number, id) = (self.jobs[&job].attempts, DeliveryId(self.next()));
        let (hook, waited_for) = (hook.to_owned(), is_waited_for(event, false));
        let Caller { daemon, now_ms: made_at } = by;
        let (said, trouble) = (None, None);
        let row = Row { job, hook, event, number, made_at, next_try: due_ms, tries: 0, said, daemon, waited_for, trouble };
        self.deliveries.entry(id).insert_entry(row).into_mut()
    }

    /// Answers whether the job waits for it.
    fn tell(&mut self, by: Caller, job: JobId, hook: &HookRule, event: Event, due_ms: i64, said: Option<&Reason>) -> bool {
        let row = self.insert_row(by, job, &hook.key, event, Some(due_ms));
        row.said = said.cloned();
        row.waited_for = is_waited_for(event, hook.every_ms.is_some());
        if let Some(every_ms) = hook.every_ms.filter(|_| event != Event::Expiring) {
            row.next_try = Some(told_by(by.now_ms, every_ms, by.now_ms));
        }
        row.waited_for
    }

    pub(super) fn after_upload(
        &mut self,
        by: Caller,
        id: JobId,
        outcome: &Outcome,
        rules: &Rules,
    ) -> Result<(State, bool), StoreError> {
        if rules.is_empty() {
            return Ok((State::Done, false));
        }
        let job = self.job(id)?.clone();
        self.deliveries.retain(|_, row| row.job != id || !matches!(row.event, Event::Expiring | Event::Refresh));
        let mut state = State::Done;
        for hook in &rules.hooks {
            if hook.on.contains(&Event::Done) && self.tell(by, id, hook, Event::Done, by.now_ms, None) {
                state = State::Uploaded;
            }
            if let Some(expires_ms) = outcome.expires_ms.filter(|_| hook.on.contains(&Event::Expiring)) {
                let due_ms = expires_ms.saturating_sub(hook.before_ms).max(by.now_ms);
                self.tell(by, id, hook, Event::Expiring, due_ms, None);
            }
        }
        if let Some(expires_ms) = outcome.expires_ms.filter(|_| rules.refresh.contains(&job.host)) {
            let due_ms = refresh_due_ms(by.now_ms, expires_ms, job.attempts.cast_signed());
            self.insert_row(by, id, REFRESH, Event::Refresh, Some(due_ms));
        }
        if rules.after_of(&self.path_of(job.file)).is_some() {
            self.insert_row(by, id, AFTER, Event::After, None);
            state = State::Uploaded;
        }
        let gathers = rules.hooks.iter().any(|hook| hook.every_ms.is_some());
        Ok((state, state == State::Uploaded || outcome.expires_ms.is_some() || gathers))
    }

    pub(super) fn after_leaving(
        &mut self,
        by: Caller,
        id: JobId,
        state: State,
        why: Option<&Reason>,
        rules: &Rules,
    ) -> Result<bool, StoreError> {
        let event = match state {
            State::Failed => Event::Failed,
            State::Held => Event::Held,
            State::Gone | State::Cancelled => return self.review(by, id, rules),
            _ => return Ok(false),
        };
        let told = self.job(id)?.told_held.as_ref();
        let is_news = event != Event::Held || !told.zip(why).is_some_and(|(told, why)| told.same_news(why));
        if event == Event::Held && is_news {
            self.job(id)?.told_held = why.cloned();
        }
        let mut made = false;
        for hook in rules.hooks.iter().filter(|hook| is_news && hook.on.contains(&event)) {
            self.tell(by, id, hook, event, by.now_ms, why);
            made = true;
        }
        if state == State::Failed {
            made |= self.review(by, id, rules)?;
        }
        Ok(made)
    }

    fn family(&self, id: JobId) -> Family {
        let of = &self.jobs[&id];
        let siblings = self.jobs.iter().filter(|(_, job)| (job.file, job.version) == (of.file, of.version));
        let sibling = |(id, job): (&JobId, &super::Job)| {
            let (hook_pending, ctime_ns) = (self.is_waiting_for(*id, Event::Done), job.identity.ctime_ns);
            let super::Job { host, state, trusted, outcome, .. } = job.clone();
            (*id, Sibling { host, state, proof: outcome.proof, trusted, hook_pending, ctime_ns })
        };
        siblings.map(sibling).collect()
    }

    pub(super) fn review(&mut self, by: Caller, id: JobId, rules: &Rules) -> Result<bool, StoreError> {
        let file = self.job(id)?.file;
        let is_ours = |row: &Row| row.event == Event::After && row.daemon == by.daemon && self.jobs[&row.job].file == file;
        if !self.deliveries.values().any(is_ours) {
            return Ok(false);
        }
        let family = self.family(id);
        let siblings: Vec<Sibling> = family.iter().map(|(_, sibling)| sibling.clone()).collect();
        let path = self.path_of(file);
        let hosts = rules.after_of(&path).map(|watch| &*watch.to);
        let taken_up: Vec<String> = match &self.files[&file] {
            known if known.version == self.jobs[&id].version => known.route.iter().flatten().cloned().collect(),
            _ => Vec::new(),
        };
        match release(&siblings, hosts, &taken_up, &rules.trusted) {
            Release::Unwanted => self.give_up(by, &family, Some(by.daemon), None)?,
            Release::WaitFor(host) => self.stay(by, &family, &Reason::new(ReasonClass::WaitsForHost).about(host), None)?,
            Release::LookFor(host) => {
                self.stay(by, &family, &Reason::new(ReasonClass::WaitsForHost).about(host), Some(host))?;
                return Ok(true);
            }
            Release::Forgotten(host) => {
                self.give_up(by, &family, Some(by.daemon), Some(&Reason::new(ReasonClass::UploadForgotten).about(host)))?
            }
            Release::RefusedBy(host) => {
                self.give_up(by, &family, Some(by.daemon), Some(&Reason::new(ReasonClass::RefusedByHost).about(host)))?
            }
            Release::UnprovenBy(host) => self.stay(by, &family, &Reason::new(ReasonClass::UnprovenByHost).about(host), None)?,
            Release::Touched => self.give_up(by, &family, Some(by.daemon), Some(&Reason::new(ReasonClass::SourceChanged)))?,
            Release::HooksPending => self.look_no_more(&family),
            Release::Due(on_behalf_of) => {
                self.look_no_more(&family);
                return Ok(self.be_due(by, &family, on_behalf_of.map_or(id, |at| family[at].0)));
            }
        }
        Ok(false)
    }

    fn after_rows<'a>(&'a mut self, family: &'a Family) -> impl Iterator<Item = &'a mut Row> {
        self.deliveries.values_mut().filter(|row| row.event == Event::After && family.iter().any(|(id, _)| *id == row.job))
    }

    fn look_no_more(&mut self, family: &Family) {
        for row in self.after_rows(family).filter(|row| row.said.is_some()) {
            (row.next_try, row.said) = (None, None);
        }
    }

    fn be_due(&mut self, by: Caller, family: &Family, on_behalf_of: JobId) -> bool {
        let mut rows = self.after_rows(family).filter(|row| row.job == on_behalf_of && row.next_try.is_none());
        let due = rows.next().map(|row| row.next_try = Some(by.now_ms)).is_some();
        drop(rows);
        for (id, _) in family.iter().filter(|_| due) {
            if let Some(job) = self.jobs.get_mut(id).filter(|job| job.state == State::Uploaded) {
                job.why = None;
            }
        }
        due
    }

    fn stay(&mut self, by: Caller, family: &Family, why: &Reason, look: Option<&str>) -> Result<(), StoreError> {
        for (id, sibling) in family {
            let look = look.filter(|_| !sibling.hook_pending);
            let ours = |row: &&mut Row| row.job == *id && row.daemon == by.daemon && (row.next_try.is_some() || look.is_some());
            for row in self.after_rows(family).filter(ours) {
                (row.next_try, row.said) =
                    (look.map(|_| by.now_ms), look.map(|host| Reason::new(ReasonClass::WaitsForHost).about(host)));
            }
            let job = self.job(*id)?;
            if job.state == State::Uploaded && !sibling.hook_pending {
                job.why = Some(why.clone());
            }
        }
        Ok(())
    }

    fn give_up(&mut self, by: Caller, family: &Family, of: Option<DaemonId>, note: Option<&Reason>) -> Result<(), StoreError> {
        for (id, _) in family {
            let goes = |row: &Row| row.job == *id && row.event == Event::After && of.is_none_or(|daemon| daemon == row.daemon);
            self.deliveries.retain(|_, row| !goes(row));
            self.settle(by, *id, note)?;
        }
        Ok(())
    }

    fn settle(&mut self, by: Caller, id: JobId, note: Option<&Reason>) -> Result<(), StoreError> {
        let pending = self.is_waiting_for(id, Event::Done) || self.is_waiting_for(id, Event::After);
        if self.job(id)?.state == State::Uploaded && !pending {
            let job = self.move_to(id, State::Done, by.now_ms)?;
            (job.why, job.next_try) = (note.cloned(), None);
        }
        Ok(())
    }

    pub(super) fn supersede_deliveries(&mut self, by: Caller, file: i64) -> Result<(), StoreError> {
        let waits = |row: &Row| row.next_try.is_none_or(|next| next > by.now_ms) || row.said.is_some();
        let of_file = |row: &&Row| row.event == Event::After && self.jobs[&row.job].file == file && waits(row);
        let jobs: Vec<JobId> = self.deliveries.values().filter(of_file).map(|row| row.job).collect();
        for job in jobs {
            self.deliveries.retain(|_, row| row.job != job || row.event != Event::After);
            self.settle(by, job, None)?;
        }
        Ok(())
    }

    pub(super) fn set_rules(&mut self, by: Caller, rules: &Rules) -> Result<Vec<(String, u64)>, StoreError> {
        let keys: Vec<String> = rules.hooks.iter().map(|hook| hook.key.clone()).collect();
        let before = self.hooks.insert(by.daemon, keys.clone()).unwrap_or_else(|| keys.clone());
        let new: Vec<&String> = keys.iter().filter(|key| !before.contains(key)).collect();
        for row in self.deliveries.values_mut().filter(|row| row.daemon == by.daemon) {
            let is_of_a_hook = !matches!(row.event, Event::After | Event::Refresh);
            let heirs: Vec<_> = new.iter().filter(|key| rules.wants(key, row.event)).collect();
            if is_of_a_hook && !rules.wants(&row.hook, row.event) && heirs.len() == 1 {
                (row.hook, row.tries, row.trouble) = (heirs[0].to_string(), 0, None);
                if let Some(job) = self.jobs.get_mut(&row.job).filter(|job| row.waited_for && job.state == State::Uploaded) {
                    (job.why, job.next_try) = (None, None);
                }
            }
        }
        let goes = |row: &Row| match row.event {
            Event::After => false,
            Event::Refresh => !rules.refresh.contains(&self.jobs[&row.job].host),
            event => !rules.wants(&row.hook, event),
        };
        let ours = self.deliveries.iter().filter(|(_, row)| row.daemon == by.daemon);
        let gone: Vec<(DeliveryId, Row)> = ours.filter(|(_, row)| goes(row)).map(|(id, row)| (*id, row.clone())).collect();
        for (id, _) in &gone {
            self.deliveries.remove(id);
        }
        for (_, row) in &gone {
            self.remove_hook(by, row)?;
        }
        for job in self.jobs.values_mut().filter(|job| job.state == State::Uploaded && job.owner == by.daemon) {
            job.trusted |= rules.trusted_before.contains(&job.host);
        }
        self.deliveries_be_due(by);
        self.gather_on(by, rules);
        let after = |row: &&Row| row.daemon == by.daemon && row.event == Event::After;
        for job in self.deliveries.values().filter(after).map(|row| row.job).collect::<Vec<_>>() {
            self.review(by, job, rules)?;
        }
        let ours: Vec<JobId> = self.jobs.iter().filter(|(_, job)| job.owner == by.daemon).map(|(id, _)| *id).collect();
        ours.into_iter().try_for_each(|id| self.settle(by, id, None))?;
        Ok(gone.into_iter().map(|(_, row)| (row.hook, 1)).collect())
    }

    fn remove_hook(&mut self, by: Caller, row: &Row) -> Result<(), StoreError> {
        let removed = Reason::new(ReasonClass::HookRemoved).about(hook_name(&row.hook));
        match row.event {
            Event::Done if !row.waited_for => Ok(()),
            Event::Done if self.is_waiting_for(row.job, Event::After) => {
                self.give_up(by, &self.family(row.job), Some(by.daemon), Some(&removed.detail(KEPT)))
            }
            Event::Done => self.settle(by, row.job, Some(&removed)),
            _ => self.say(row, Some(&removed), None),
        }
    }

    pub(super) fn deliveries_be_due(&mut self, by: Caller) {
        let days_ahead = |row: &Row| row.tries == 0 && matches!(row.event, Event::Expiring | Event::Refresh);
        for row in self.deliveries.values_mut().filter(|row| row.daemon == by.daemon && !days_ahead(row)) {
            row.next_try = row.next_try.map(|next| next.min(by.now_ms));
        }
    }

    fn gather_on(&mut self, by: Caller, rules: &Rules) {
        for row in self.deliveries.values_mut().filter(|row| row.daemon == by.daemon && row.tries == 0 && !row.waited_for) {
            let rule = rules.hooks.iter().find(|hook| hook.key == row.hook && row.event != Event::Expiring);
            if let Some(every_ms) = rule.and_then(|hook| hook.every_ms) {
                row.next_try = Some(told_by(row.made_at, every_ms, by.now_ms));
            }
        }
    }

    pub(super) fn due_deliveries(&mut self, by: Caller, wanted: &[Wanted], running: &[DeliveryId]) -> Result<Due, StoreError> {
        let mut due = Due::default();
        for Wanted { hook, room, ahead_ms } in wanted {
            let rows = self.deliveries.iter().filter(|(_, row)| row.daemon == by.daemon && row.hook == *hook);
            let mut timed: Vec<_> = rows.filter_map(|(id, row)| Some((row.next_try?, *id, row))).collect();
            timed.sort_by_key(|(next, id, _)| (*next, *id));
            let later: Vec<_> = timed.iter().filter(|(next, ..)| *next > by.now_ms).copied().collect();
            let ahead_ms = if later.len() == timed.len() { 0 } else { *ahead_ms };
            let found = timed.into_iter().filter(|(next, ..)| *next <= by.now_ms.saturating_add(ahead_ms));
            let found = found.into_iter().filter(|(_, id, _)| !running.contains(id)).take(*room);
            due.deliveries.extend(found.map(|(_, id, row)| self.delivery(by, id, row)));
            due.next_due_ms = due.next_due_ms.into_iter().chain(later.iter().map(|(next, ..)| *next)).min();
        }
        Ok(due)
    }

    fn delivery(&self, by: Caller, id: DeliveryId, row: &Row) -> Delivery {
        let job = &self.jobs[&row.job];
        let host = self.hosts.get(&(by.daemon, job.host.clone()));
        Delivery {
            id,
            hook: row.hook.clone(),
            event: row.event,
            number: row.number,
            made_ms: row.made_at,
            tries: row.tries,
            job: row.job,
            path: self.path_of(job.file),
            identity: job.identity,
            close_seen: job.close_seen,
            one_off: job.one_off,
            host: job.host.clone(),
            kind: host.map(|host| host.kind.clone()).unwrap_or_default(),
            state: match row.event {
                Event::Failed => State::Failed,
                Event::Held => State::Held,
                _ => job.state,
            },
            why: row.said.clone(),
            link: job.outcome.link.clone(),
            remote_id: job.outcome.remote_id.clone(),
            expires_ms: job.outcome.expires_ms,
        }
    }

    fn row_of(&self, by: Caller, id: DeliveryId) -> Option<Row> {
        self.deliveries.get(&id).filter(|row| row.daemon == by.daemon).cloned()
    }

    pub(super) fn record_delivery(&mut self, by: Caller, ids: &[DeliveryId], rules: &Rules) -> Result<bool, StoreError> {
        ids.iter().try_fold(false, |due, id| Ok(due | self.delivered_one(by, *id, rules)?))
    }

    fn delivered_one(&mut self, by: Caller, id: DeliveryId, rules: &Rules) -> Result<bool, StoreError> {
        let Some(row) = self.row_of(by, id) else { return Ok(false) };
        self.say(&row, None, None)?;
        self.deliveries.remove(&id);
        match row.event {
            Event::Done => {
                self.settle(by, row.job, None)?;
                self.review(by, row.job, rules)
            }
            Event::After => {
                let note = row.said.map(|waits| Reason { class: ReasonClass::NotFoundForHost, ..waits });
                self.give_up(by, &self.family(row.job), None, note.as_ref()).map(|()| false)
            }
            Event::Failed | Event::Held | Event::Expiring | Event::Refresh => Ok(false),
        }
    }

    pub(super) fn keep_source(&mut self, by: Caller, id: DeliveryId, note: &Reason) -> Result<(), StoreError> {
        match self.row_of(by, id).filter(|row| row.event == Event::After) {
            Some(row) => self.give_up(by, &self.family(row.job), None, Some(note)),
            None => Ok(()),
        }
    }

    pub(super) fn record_missing_file(&mut self, by: Caller, id: DeliveryId, rules: &Rules) -> Result<bool, StoreError> {
        match self.row_of(by, id).filter(|row| row.said.is_some()) {
            Some(_) => self.delivered_one(by, id, rules),
            None => Ok(false),
        }
    }

    pub(super) fn record_failed_delivery(
        &mut self,
        by: Caller,
        ids: &[DeliveryId],
        why: &Reason,
        next_try_ms: i64,
    ) -> Result<(), StoreError> {
        for id in ids {
            let Some(row) = self.deliveries.get_mut(id).filter(|row| row.daemon == by.daemon) else { continue };
            row.tries += 1;
            row.next_try = Some(next_try_ms);
            row.trouble = (!row.waited_for).then(|| why.clone());
            let row = row.clone();
            self.say(&row, Some(why), Some(next_try_ms))?;
        }
        Ok(())
    }

    pub(super) fn look_again_later(&mut self, by: Caller, id: DeliveryId, next_try_ms: i64) -> Result<(), StoreError> {
        if let Some(row) = self.deliveries.get_mut(&id).filter(|row| row.daemon == by.daemon && row.said.is_some()) {
            row.tries += 1;
            row.next_try = Some(next_try_ms);
        }
        Ok(())
    }

    fn say(&mut self, row: &Row, why: Option<&Reason>, next_try_ms: Option<i64>) -> Result<(), StoreError> {
        let job = self.job(row.job)?;
        match row.event {
            Event::Done | Event::After if row.waited_for && job.state == State::Uploaded => {
                (job.why, job.next_try) = (why.cloned(), next_try_ms);
            }
            Event::Failed | Event::Held if job.state.word() == row.event.word() => {
                job.why = row.said.clone().map(|said| said.and_also(why.cloned()));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn requeue(&mut self, by: Caller, id: DeliveryId) -> Result<bool, StoreError> {
        let Some(row) = self.row_of(by, id) else { return Ok(false) };
        let file = self.job(row.job)?.file;
        let about_to_run = |row: &Row| row.event == Event::After && row.next_try.is_some() && row.said.is_none();
        let blocked = self.deliveries.values().any(|row| about_to_run(row) && self.jobs[&row.job].file == file);
        if blocked || !matches!(self.job(row.job)?.state, State::Done | State::Uploaded) {
            return Ok(false);
        }
        let job = self.move_to(row.job, State::Queued, by.now_ms)?;
        (job.next_try, job.why) = (None, Some(Reason::new(ReasonClass::LinkExpires)));
        job.renewals += 1;
        self.deliveries.remove(&id);
        Ok(true)
    }
}
