use super::{Ack, Caller, Digest, JobId, Plan, SentHash, Session, Shape, StoreError, Tables, Upload, Version};
use crate::job::attempt::SessionFate;
use crate::job::upload::ConfirmedParts;
use crate::store::Recorded;
use crate::store::uploads::was_perhaps_finished;

impl Tables {
    /// Does `work` to the upload of a job that is this daemon's still.
    fn with_upload(&mut self, by: Caller, job: JobId, work: impl FnOnce(&mut Upload)) -> Result<bool, StoreError> {
        let ours = self.is_ours(by, job)?;
        if let Some(upload) = self.uploads.get_mut(&job).filter(|_| ours) {
            work(upload);
        }
        Ok(ours)
    }

    pub(super) fn record_session(
        &mut self,
        by: Caller,
        job: JobId,
        session: &Session,
        shape: &Shape,
        plan: &Plan,
        version: &Version,
    ) -> Result<Recorded, StoreError> {
        if !self.is_ours(by, job)? {
            return Ok(Recorded::NotOurs);
        }
        if !self.keep_fingerprint(job, version)? {
            return Ok(Recorded::OtherVersion);
        }
        let upload = Upload {
            session: session.clone(),
            shape: Some(shape.clone()),
            plan: *plan,
            confirmed: ConfirmedParts::default(),
            held_bytes: 0,
            sent_hash: Some(SentHash::default()),
            opened_ms: by.now_ms,
            committing: false,
            commits: 0,
            resent: false,
        };
        let former = self.uploads.insert(job, upload);
        let again = former
            .is_some_and(|former| was_perhaps_finished(former.shape.as_ref(), former.committing, former.held_bytes, &former.plan));
        self.job(job)?.maybe_duplicate |= again;
        self.note_ctime(job, version.identity.ctime_ns)?;
        Ok(Recorded::Yes)
    }

    pub(super) fn record_begun(&mut self, by: Caller, job: JobId, session: &Session) -> Result<bool, StoreError> {
        self.with_upload(by, job, |upload| upload.session = session.clone())
    }

    pub(super) fn record_ack(
        &mut self,
        by: Caller,
        job: JobId,
        ack: &Ack,
        plan: &Plan,
        hash: Option<SentHash>,
    ) -> Result<bool, StoreError> {
        let ours = self.with_upload(by, job, |upload| {
            if !upload.confirmed.contains(ack.number) {
                upload.sent_hash = upload.sent_hash.zip(hash).map(|(before, hash)| before.and(hash));
            }
            note(upload, std::slice::from_ref(ack), plan);
        })?;
        if ours {
            self.progressed(job)?;
        }
        Ok(ours)
    }

    pub(super) fn record_offset(
        &mut self,
        by: Caller,
        job: JobId,
        held_bytes: u64,
        hash: Option<SentHash>,
        moved_to: Option<&Session>,
    ) -> Result<bool, StoreError> {
        let ours = self.with_upload(by, job, |upload| {
            (upload.held_bytes, upload.sent_hash) = (held_bytes, hash);
            upload.session = moved_to.unwrap_or(&upload.session).clone();
        })?;
        if ours {
            self.progressed(job)?;
        }
        Ok(ours)
    }

    pub(super) fn replace_acks(
        &mut self,
        by: Caller,
        job: JobId,
        acks: &[Ack],
        held_bytes: u64,
        plan: &Plan,
        hash: Option<SentHash>,
    ) -> Result<bool, StoreError> {
        self.with_upload(by, job, |upload| {
            upload.sent_hash = hash;
            (upload.confirmed, upload.held_bytes) = (ConfirmedParts::default(), if acks.is_empty() { held_bytes } else { 0 });
            note(upload, acks, plan);
        })
    }

    pub(super) fn record_commit_intent(&mut self, by: Caller, job: JobId) -> Result<bool, StoreError> {
        self.with_upload(by, job, |upload| upload.committing = true)
    }

    pub(super) fn save_digest(&mut self, by: Caller, job: JobId, part_bytes: u64, digest: &Digest) -> Result<bool, StoreError> {
        let ours = self.is_ours(by, job)?;
        if ours {
            self.digests.insert(job, (part_bytes, digest.clone()));
        }
        Ok(ours)
    }

    pub(super) fn saved_digest(&mut self, _: Caller, job: JobId, part_bytes: u64) -> Result<Option<Digest>, StoreError> {
        Ok(self.digests.get(&job).filter(|(cut, _)| *cut == part_bytes).map(|(_, digest)| digest.clone()))
    }

    pub(super) fn keep(&mut self, job: JobId, fate: SessionFate) {
        if matches!(fate, SessionFate::Drop | SessionFate::DropLost | SessionFate::DropLostMaybeDuplicate) {
            self.uploads.remove(&job);
        }
        let Some(upload) = self.uploads.get_mut(&job) else { return };
        match fate {
            SessionFate::ResumeUncommitted => upload.committing = false,
            SessionFate::ResumeUnanswered => {
                upload.committing = true;
                upload.commits += 1;
            }
            SessionFate::ResendParts => {
                (upload.confirmed, upload.held_bytes) = (ConfirmedParts::default(), 0);
                upload.sent_hash = Some(SentHash::default());
                (upload.resent, upload.committing) = (true, false);
            }
            _ => {}
        }
    }

    fn progressed(&mut self, job: JobId) -> Result<(), StoreError> {
        let job = self.job(job)?;
        if job.failures > 0 || job.told_held.is_some() {
            (job.failures, job.failing, job.told_held) = (0, None, None);
            job.failing_for = job.failing_for.filter(|_| job.sessions_lost > 0);
        }
        Ok(())
    }
}

fn note(upload: &mut Upload, acks: &[Ack], plan: &Plan) {
    for ack in acks {
        if upload.confirmed.insert(ack.number) {
            upload.held_bytes += plan.range(ack.number).bytes;
            upload.confirmed.receipts.extend(ack.receipt.clone().map(|receipt| (ack.number, receipt)));
        }
        upload.session = ack.moved_to.as_ref().unwrap_or(&upload.session).clone();
    }
}
