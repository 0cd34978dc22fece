//! What the file of an attempt holds: its digest, kept for the next claim, and whether it is still what was sent, where somebody has
//! touched it.

use std::sync::Arc;

use crate::job::digest::Digest;
use crate::job::plan::Plan;
use crate::job::upload::Order;
use crate::job::{Fingerprint, Identity};
use crate::store::{StoreError, Upload, Version};

use super::attempt::{Attempt, refuse_another_version};
use super::digest::Digesting;
use super::source::{COMPARISONS_MAX, Source, SourceError};
use super::stop::Stop;

impl Attempt {
    /// Makes sure that what the host holds, and the digest that it is told, are of what the file holds, though somebody has touched it.
    pub(super) async fn compare(&mut self, source: &Source, upload: &Upload) -> Result<(), Stop> {
        tracing::info!(job.id = %self.job.id, "{:?} was touched while it was uploaded; comparing it with what was sent", self.job.path);
        let digest = self.digest_so_far(upload.plan).await?;
        self.compare_content(source, upload, digest.as_ref()).await?;
        let fingerprint = source.fingerprint().await?;
        self.record_version(source.identity(), Some(fingerprint)).await?;
        if let Some(digest) = digest {
            // With the version before, the queue has forgotten its digest.
            self.worker.store.save_digest(self.job.id, upload.plan.part_bytes, digest).await?;
        }
        Ok(())
    }

    /// Compares the file with what was sent of it and with its digest, until nobody has touched it between the two.
    async fn compare_content(&self, source: &Source, upload: &Upload, digest: Option<&Digest>) -> Result<(), SourceError> {
        for _ in 0..COMPARISONS_MAX {
            self.compare_parts(source, upload).await?;
            let compared = source.identity();
            if let Some(digest) = digest {
                source.compare_digest(digest).await?;
            }
            if source.identity() == compared {
                return Ok(());
            }
        }
        Err(SourceError::Changed("while it was being uploaded, again and again"))
    }

    async fn compare_parts(&self, source: &Source, upload: &Upload) -> Result<(), SourceError> {
        let plan = upload.plan;
        if self.shape.order == Order::Sequential {
            return source.compare(plan.ranges_up_to(upload.held_bytes), upload.sent_hash).await;
        }
        let confirmed = (0..plan.parts()).filter(|number| upload.confirmed.contains(*number));
        source.compare(confirmed.map(|number| plan.range(number)), upload.sent_hash).await
    }

    /// The digest of what the file held when it was read for that: now, in an earlier claim, or not at all.
    async fn digest_so_far(&mut self, plan: Plan) -> Result<Option<Digest>, Stop> {
        self.know_digest(plan).await?;
        match &self.digest {
            None => Ok(self.known_digest(plan).await?),
            known => Ok(known.clone()),
        }
    }

    /// Commits that this is the version that the host gets.
    pub(super) async fn record_version(&mut self, identity: Identity, fingerprint: Option<Fingerprint>) -> Result<(), Stop> {
        let recorded = self.worker.store.record_version(self.job.id, Version { identity, fingerprint }).await?;
        refuse_another_version(recorded)?;
        self.job.identity = identity;
        Ok(())
    }

    /// Makes sure that what the host has by its digest is what the file holds, though somebody may have touched it: of a file that
    /// counted as another version for that, the host would get the same content once more.
    pub(super) async fn compare_with_digest(&self, source: &Source) -> Result<(), SourceError> {
        match &self.digest {
            _ if !source.check().await? => Ok(()),
            Some(digest) => source.compare_digest(digest).await,
            None => Err(SourceError::Changed("while the host was asked whether it has it already")),
        }
    }

    /// What an earlier claim has computed is not computed again, unless somebody has touched the file since.
    pub(super) async fn start_digest(&mut self, source: &Source, plan: Plan) -> Result<(), Stop> {
        let Some(wanted) = self.shape.digest else { return Ok(()) };
        let touched = source.identity().ctime_ns != self.job.identity.ctime_ns;
        if touched {
            let fingerprint = source.fingerprint().await?;
            self.record_version(source.identity(), Some(fingerprint)).await?;
        }
        self.digest = if touched { None } else { self.known_digest(plan).await? };
        let digesting = match &self.digest {
            Some(digest) => Digesting::known(digest, wanted),
            None => Digesting::start(source.clone(), plan, wanted),
        };
        self.digesting = Some(Arc::new(digesting));
        Ok(())
    }

    /// A body that is the whole file is of what the file holds now.
    pub(super) async fn take_version(&mut self, source: &Source, plan: Plan) -> Result<(), Stop> {
        // Knows by the version before whether a digest that was kept still counts.
        self.start_digest(source, plan).await?;
        let fingerprint = source.fingerprint().await?;
        source.note_recorded(Some(fingerprint));
        self.record_version(source.identity(), Some(fingerprint)).await
    }

    /// The digest that the host wants, where an earlier claim has kept it.
    async fn known_digest(&self, plan: Plan) -> Result<Option<Digest>, StoreError> {
        let Some(wanted) = self.shape.digest else { return Ok(None) };
        let kept = self.worker.store.saved_digest(self.job.id, plan.part_bytes).await?;
        Ok(kept.filter(|digest| digest.meets(wanted, plan.parts())))
    }

    /// Waits for the digest, where the host wants one, and keeps it.
    pub(super) async fn know_digest(&mut self, plan: Plan) -> Result<(), Stop> {
        let (None, Some(digesting)) = (&self.digest, &self.digesting) else { return Ok(()) };
        let digest = digesting.whole().await?;
        self.worker.store.save_digest(self.job.id, plan.part_bytes, digest.clone()).await?;
        self.digest = Some(digest);
        Ok(())
    }

    /// What was known of the digest when the finish was sent; computed anew where it was not kept.
    pub(super) async fn know_digest_again(&mut self, plan: Plan) -> Result<(), Stop> {
        self.digest = self.known_digest(plan).await?;
        if self.shape.digest.is_some() && self.digest.is_none() {
            // Of another content the host is told another digest, which it refuses.
            let source = self.source(true).await?;
            self.start_digest(&source, plan).await?;
            self.know_digest(plan).await?;
        }
        Ok(())
    }

    pub(super) fn digest_is_pending(&self) -> bool {
        self.digest.is_none() && self.digesting.is_some()
    }
}
