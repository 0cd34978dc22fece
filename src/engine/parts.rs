//! Sends the parts of one file: several at once in any order, one after the other, or the whole file as one body.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::host::{HostError, Part, Tickets, UploadSession};
use crate::job::SentHash;
use crate::job::Step;
use crate::job::attempt;
use crate::job::plan::{Plan, Range};
use crate::job::upload::{Ack, Class, ConfirmedParts, Order, Repeat, Shape};
use crate::os::crash::crash_point;
use crate::store::{JobId, Upload};

use super::digest::Digesting;
use super::gate::Gate;
use super::source::{Source, SourceError};
use super::stop::Stop;
use super::worker::Worker;

/// Parts in a row that a host may take nothing new of before the attempt ends.
const WITHOUT_PROGRESS_MAX: u32 = 2;

/// A part that the host has confirmed.
pub(super) struct ConfirmedPart {
    pub(super) ack: Ack,
    /// The hash of the bytes that were sent.
    pub(super) hash: Option<SentHash>,
}

/// What it takes to send parts of one file.
#[derive(Clone)]
pub(super) struct PartSender {
    pub(super) worker: Worker,
    pub(super) job: JobId,
    pub(super) session: Arc<UploadSession>,
    pub(super) source: Source,
    pub(super) plan: Plan,
    pub(super) digesting: Option<Arc<Digesting>>,
}

impl PartSender {
    /// Sends what the host does not hold, up to `parallel` parts at once, and no more than this file's share of the requests that the host
    /// may have in flight. After a failure no new part begins; what is in flight may
    /// still arrive and counts. The ack of a part that was the only one missing is not committed, but handed back. With
    /// `but_the_last` that part stays for the finish.
    pub(super) async fn send_in_any_order(
        self,
        upload: &mut Upload,
        parallel: usize,
        but_the_last: bool,
    ) -> Result<Option<ConfirmedPart>, Stop> {
        let end = self.plan.parts().saturating_sub(u32::from(but_the_last));
        if let Some(number) = only_missing(upload).filter(|_| !but_the_last) {
            self.go_on()?;
            let confirmed = self.deliver(number).await?;
            crash_point!("ack.before_commit");
            return Ok(Some(confirmed));
        }
        let mut next = 0;
        let mut in_flight: JoinSet<Result<ConfirmedPart, Stop>> = JoinSet::new();
        let mut stop = None;
        loop {
            while stop.is_none() && in_flight.len() < parallel.min(self.worker.connections.share_of_an_upload()).max(1) {
                // What arrives meanwhile has a number below, so it does not disturb the count.
                let Some(number) = (next..end).find(|number| !upload.confirmed.contains(*number)) else { break };
                stop = self.go_on().err();
                if stop.is_none() {
                    next = number + 1;
                    in_flight.spawn(self.clone().send(number));
                }
            }
            match in_flight.join_next().await {
                None => break,
                Some(Ok(Ok(confirmed))) => note(upload, &confirmed),
                Some(Ok(Err(error))) => stop = Some(more_severe(stop, error)),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        stop.map_or(Ok(None), Err)
    }

    /// Sends one part after the other, each from where the host says the last one ended. With `but_the_last` what fits into one part
    /// is left for later.
    pub(super) async fn send_in_order(mut self, upload: &mut Upload, but_the_last: bool) -> Result<(), Stop> {
        let mut without_progress = 0;
        let left = if but_the_last { self.plan.part_bytes } else { 0 };
        while self.plan.file_bytes - upload.held_bytes.min(self.plan.file_bytes) > left {
            self.go_on()?;
            let range = self.plan.range_at(upload.held_bytes);
            let part = self.source.part(0, range).await?;
            crash_point!("part.before_send");
            let ack = self.request(&part).await?;
            crash_point!("ack.before_commit");
            // Of a part that was not taken whole, nothing is known.
            let hash = self.source.take_hash(range).filter(|_| ack.held_to == range.offset + range.bytes);
            upload.sent_hash = upload.sent_hash.zip(hash).map(|(before, hash)| before.and(hash));
            if let Some(session) = &ack.moved_to {
                upload.session = session.clone();
                let mid_states = self.session.mid_states.clone();
                self.session =
                    Arc::new(UploadSession { session: session.clone(), tickets: Tickets::default(), plan: self.plan, mid_states });
            }
            let before = std::mem::replace(&mut upload.held_bytes, ack.held_to.min(self.plan.file_bytes));
            without_progress = if upload.held_bytes > before { 0 } else { without_progress + 1 };
            if without_progress > WITHOUT_PROGRESS_MAX {
                return Err(HostError::new(Class::OffsetMismatch, "the host accepts no more bytes").during(Step::SendPart).into());
            }
            self.worker.store.record_offset(self.job, upload.held_bytes, upload.sent_hash, ack.moved_to).await?;
            crash_point!("ack.after_commit");
        }
        Ok(())
    }

    /// Sends the file in one body, which is also its finish. Where a second file would show, the intent is on the disk before the
    /// last bytes leave, and whatever leaves it in doubt after that leaves the session as the record of it. With `resumed`, one may have been
    /// sent in this session before.
    pub(super) async fn send_whole(self, upload: &Upload, shape: &Shape, resumed: bool) -> Result<Ack, Stop> {
        self.source.check().await?;
        let range = Range { offset: 0, bytes: upload.plan.file_bytes };
        let waits = shape.body_waits_for_intent();
        let gate = waits.then(|| Gate::new(self.worker.store.clone(), self.job, self.worker.halt.clone()));
        let part = self.source.part_behind(0, range, gate.clone()).await?;
        if let Some(gate) = gate.as_ref().filter(|_| range.bytes == 0)
            && let Err(error) = gate.pass().await
        {
            return Err(gate.failure().map_or_else(|| SourceError::Unreadable(error.to_string()).into(), Stop::Store));
        }
        crash_point!("part.before_send");
        let sent = self.worker.request_with(Step::SendPart, part.bytes, self.worker.host.send(&self.session, &part)).await;
        let ack = sent.map_err(|error| self.after_failed_body(gate.as_deref(), resumed, shape.repeat, error))?;
        crash_point!("ack.before_commit");
        Ok(ack)
    }

    fn after_failed_body(&self, gate: Option<&Gate>, resumed: bool, repeat: Repeat, error: HostError) -> Stop {
        if let Some(failure) = gate.and_then(Gate::failure) {
            return Stop::Store(failure);
        }
        if let Some(failure) = self.source.failure() {
            return Stop::Source(failure);
        }
        let session = attempt::body_failure(error.class, error.doubt, gate.is_some_and(Gate::passed), resumed, repeat);
        Stop::Host { error, session }
    }

    /// The next part may only begin when the ack of this one is committed, so after a crash no more than the parts in flight are
    /// sent a second time.
    async fn send(self, number: u32) -> Result<ConfirmedPart, Stop> {
        if planted!("ack.before_send") {
            let ack = Ack { number, held_to: self.plan.file_bytes, receipt: None, moved_to: None };
            self.worker.store.record_ack(self.job, ack, self.plan, None).await?;
        }
        let confirmed = self.deliver(number).await?;
        crash_point!("ack.before_commit");
        self.worker.store.record_ack(self.job, confirmed.ack.clone(), self.plan, confirmed.hash).await?;
        crash_point!("ack.after_commit");
        Ok(confirmed)
    }

    /// Reads a part and sends it.
    async fn deliver(&self, number: u32) -> Result<ConfirmedPart, Stop> {
        if let Some(digesting) = &self.digesting {
            digesting.before_part(number).await?;
        }
        let range = self.plan.range(number);
        let part = self.source.part(number, range).await?;
        crash_point!("part.before_send");
        let ack = self.request(&part).await?;
        if ack.held_to < part.offset + part.bytes {
            return Err(HostError::new(Class::OffsetMismatch, "the host kept only some of a part").during(Step::SendPart).into());
        }
        Ok(ConfirmedPart { ack, hash: self.source.take_hash(range) })
    }

    async fn request(&self, part: &Part) -> Result<Ack, Stop> {
        let sent = self.worker.request_with(Step::SendPart, part.bytes, self.worker.host.send(&self.session, part)).await;
        sent.map_err(|error| self.source.failure().map_or_else(|| error.into(), Stop::Source))
    }

    fn go_on(&self) -> Result<(), Stop> {
        self.worker.goes_on()
    }
}

/// The one part that the host does not hold, if it is one.
fn only_missing(upload: &Upload) -> Option<u32> {
    let parts = upload.plan.parts();
    if upload.confirmed.count() + 1 != parts {
        return None;
    }
    (0..parts).find(|number| !upload.confirmed.contains(*number))
}

/// Of two reasons to stop, the one that says more about what must follow.
fn more_severe(first: Option<Stop>, second: Stop) -> Stop {
    match first {
        Some(first @ (Stop::Store(_) | Stop::Source(_))) => first,
        Some(Stop::Host { error, session })
            if error.class != Class::Transient && !matches!(second, Stop::Store(_) | Stop::Source(_)) =>
        {
            Stop::Host { error, session }
        }
        _ => second,
    }
}

/// Notes what the host has confirmed.
pub(super) fn note(upload: &mut Upload, ConfirmedPart { ack, hash }: &ConfirmedPart) {
    if upload.confirmed.insert(ack.number) {
        upload.sent_hash = upload.sent_hash.zip(*hash).map(|(before, hash)| before.and(hash));
    }
    upload.confirmed.receipts.extend(ack.receipt.clone().map(|receipt| (ack.number, receipt)));
}

/// What these acks confirm.
pub(super) fn confirmed_by(acks: &[Ack]) -> ConfirmedParts {
    let mut confirmed = ConfirmedParts::default();
    for ack in acks {
        confirmed.insert(ack.number);
        confirmed.receipts.extend(ack.receipt.clone().map(|receipt| (ack.number, receipt)));
    }
    confirmed
}

/// How many bytes the host has confirmed.
pub(super) fn confirmed_bytes(upload: &Upload, order: Order) -> u64 {
    match order {
        Order::Sequential => upload.held_bytes,
        Order::Any | Order::WholeFile => {
            let parts = (0..upload.plan.parts()).filter(|number| upload.confirmed.contains(*number));
            parts.map(|number| upload.plan.range(number).bytes).sum()
        }
    }
}
