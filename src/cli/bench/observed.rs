//! A host whose requests are counted while it is used: how many are in flight, for how long, and when the first byte of a file went.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::host::{Answer, Completion, FileFacts, Frames, Host, Part, PartSource, Tickets, UploadSession};
use crate::job::digest::Algorithm;
use crate::job::upload::{Ack, Found, Opened, Outcome, Session, Shape};
use crate::secret::Secret;

/// What requests have shown since somebody began to count. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<Counting>>);

#[derive(Default)]
struct Counting {
    /// When a request began or ended last.
    changed: Option<Instant>,
    now: u32,
    peak: u32,
    /// The time of all requests together, and the time in which there was one at least.
    in_use: Duration,
    busy: Duration,
    first_byte: Option<Instant>,
}

/// How many requests were in flight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct InUse {
    /// On an average over the time.
    pub mean: f64,
    pub peak: u32,
    /// The part of the time in which there was one at least.
    pub busy: f64,
}

impl Counting {
    fn change(&mut self, at: Instant, change: impl FnOnce(u32) -> u32) {
        let passed = self.changed.map_or(Duration::ZERO, |changed| at.saturating_duration_since(changed));
        self.in_use += passed * self.now;
        self.busy += if self.now > 0 { passed } else { Duration::ZERO };
        (self.changed, self.now) = (Some(at), change(self.now));
        self.peak = self.peak.max(self.now);
    }

    fn over(&self, took: Duration) -> InUse {
        let share = |time: Duration| time.as_secs_f64() / took.as_secs_f64().max(f64::EPSILON);
        InUse { mean: share(self.in_use), peak: self.peak, busy: share(self.busy).min(1.0) }
    }
}

impl Requests {
    fn counting(&self) -> MutexGuard<'_, Counting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from nothing, but for requests that are in flight.
    pub(super) fn begin(&self) {
        let mut counting = self.counting();
        let now = counting.now;
        *counting = Counting { changed: Some(Instant::now()), now, peak: now, ..Counting::default() };
    }

    /// What was seen since, over so much time.
    pub(super) fn over(&self, took: Duration) -> InUse {
        let mut counting = self.counting();
        counting.change(Instant::now(), |now| now);
        counting.over(took)
    }

    /// When the first byte of a part went to the transport.
    pub(super) fn first_byte(&self) -> Option<Instant> {
        self.counting().first_byte
    }

    fn enter(&self) -> InFlight {
        self.counting().change(Instant::now(), |now| now + 1);
        InFlight(self.clone())
    }

    fn byte(&self) {
        self.counting().first_byte.get_or_insert_with(Instant::now);
    }
}

/// A request, in flight until it is dropped.
struct InFlight(Requests);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.counting().change(Instant::now(), |now| now.saturating_sub(1));
    }
}

/// A host whose requests are counted.
pub(super) struct Observed {
    host: Arc<dyn Host>,
    requests: Requests,
}

impl Observed {
    pub(super) fn around(host: Arc<dyn Host>, requests: Requests) -> Arc<dyn Host> {
        Arc::new(Observed { host, requests })
    }

    fn counted<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            let _in_flight = self.requests.enter();
            answer.await
        })
    }
}

/// The bytes of a part, whose first is noticed.
struct ObservedSource {
    source: Arc<dyn PartSource>,
    requests: Requests,
}

impl PartSource for ObservedSource {
    fn frames(&self) -> Frames {
        self.requests.byte();
        self.source.frames()
    }

    fn frames_of(&self, offset: u64, bytes: u64) -> Frames {
        self.requests.byte();
        self.source.frames_of(offset, bytes)
    }
}

impl Host for Observed {
    fn shape(&self, file_bytes: u64) -> Shape {
        self.host.shape(file_bytes)
    }

    fn samples(&self, file_bytes: u64) -> Vec<Range<u64>> {
        self.host.samples(file_bytes)
    }

    fn open<'a>(&'a self, file: &'a FileFacts, tickets: &'a Tickets) -> Answer<'a, Opened> {
        self.counted(self.host.open(file, tickets))
    }

    fn has_begun(&self, session: &Session) -> bool {
        self.host.has_begun(session)
    }

    fn begin<'a>(&'a self, at: &'a UploadSession, again: bool) -> Answer<'a, Session> {
        self.counted(self.host.begin(at, again))
    }

    fn part_digest(&self, session: &Session, shape: &Shape) -> Option<Algorithm> {
        self.host.part_digest(session, shape)
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let _in_flight = self.requests.enter();
            let source = ObservedSource { source: part.source.clone(), requests: self.requests.clone() };
            let part = Part { source: Arc::new(source), ..part.clone() };
            self.host.send(at, &part).await
        })
    }

    fn probe<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Found> {
        self.counted(self.host.probe(at, completion))
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        self.counted(self.host.finish(at, completion))
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        self.counted(self.host.abandon(at))
    }

    fn check(&self) -> Answer<'_, String> {
        self.host.check()
    }

    fn keep_alive(&self) -> Answer<'_, ()> {
        self.host.keep_alive()
    }

    fn address<'a>(&'a self, remote_id: &'a str) -> Answer<'a, Option<Secret>> {
        self.host.address(remote_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_requests_that_overlap_counts_for_each_of_them_and_once_as_busy() {
        let (begun, mut counting) = (Instant::now(), Counting::default());
        let at = |ms| begun + Duration::from_millis(ms);
        counting.change(at(0), |now| now);
        counting.change(at(100), |now| now + 1);
        counting.change(at(200), |now| now + 1);
        counting.change(at(300), |now| now - 1);
        counting.change(at(400), |now| now - 1);
        counting.change(at(1000), |now| now);
        let seen = counting.over(Duration::from_secs(1));
        assert!((seen.mean - 0.4).abs() < 1e-9 && (seen.busy - 0.3).abs() < 1e-9 && seen.peak == 2, "{seen:?}");
    }
}
