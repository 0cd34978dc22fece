//! Calls that keep what lets us in at a host alive while nothing else is asked of it.
//!
//! They are made by nobody's job, so none fails with them: a host that cannot be reached is noted as with any other request, and what is
//! wrong with the credentials shows at the next job.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::KeepAlive;
use crate::host::LazyHost;
use crate::job::Step;

use super::worker::Worker;

/// When the first call is made. The last one before the start may be nearly a period ago, and jobs that only wait make none.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// When a host hears from us.
#[derive(Debug)]
pub(super) struct Rhythm {
    asked: KeepAlive,
    next: Instant,
}

impl Rhythm {
    /// From `now` on, by the clock that runs on while the machine sleeps.
    pub(super) fn new(asked: KeepAlive, now: Instant) -> Rhythm {
        Rhythm { asked, next: now + FIRST_AFTER }
    }

    /// When the next call is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether the host also hears from us while it has no jobs.
    pub(super) fn is_always(&self) -> bool {
        self.asked.always
    }

    /// Whether a call is due. The next one is a period later, whatever becomes of this one.
    pub(super) fn falls_due(&mut self, now: Instant) -> bool {
        let is_due = self.next <= now;
        if is_due {
            self.next = now + self.asked.every;
        }
        is_due
    }
}

/// The calls under way. Dropped, they end.
#[derive(Debug, Default)]
pub(super) struct Calls(JoinSet<()>);

impl Calls {
    /// Lets a host hear from us.
    pub(super) fn begin(&mut self, name: String, worker: Worker<LazyHost>) {
        while self.0.try_join_next().is_some() {}
        self.0.spawn(async move {
            let worker = worker.ready().await;
            match worker.request(Step::Login, worker.host.keep_alive()).await {
                Ok(()) => tracing::debug!("host {name} has heard from us"),
                Err(error) => tracing::warn!("cannot keep the session of host {name} alive: {error}"),
            }
        });
    }
}
