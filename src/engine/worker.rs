//! What carries jobs to one host: its protocol, its limits, and the user's choices for it.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::host::{Host, HostError, LazyHost};
use crate::job::attempt::OnUnknown;
use crate::job::flow::Shown;
use crate::job::upload::Class;
use crate::job::{JobId, Reason, ReasonClass, Step, Watches};
use crate::os::calendar;
use crate::os::system::System;
use crate::store::{Store, StoreError};

use super::bandwidth::Limits;
use super::clocks;
use super::connections::{Connections, Request};
use super::halt::Halt;
use super::phase::Phases;
use super::roots::KnownRoots;
use super::standing::Standing;
use super::stop::Stop;

/// What a worker needs to know of the job's host and of the daemon.
#[derive(Clone)]
pub struct Worker<H = Arc<dyn Host>> {
    /// Time, chance, files and threads.
    pub system: System,
    /// The queue.
    pub store: Store,
    /// The protocol.
    pub host: H,
    /// What to do when a commit may or may not have taken effect.
    pub on_unknown: OnUnknown,
    /// Failures in a row that are allowed.
    pub retries: Option<u32>,
    /// How long failures may go on before a person is to look.
    pub give_up_after: Duration,
    /// How the host is doing.
    pub standing: Standing,
    /// Which of the host's troubles an attempt of this worker knows of.
    pub epoch: u32,
    /// What the host may have in flight.
    pub connections: Connections,
    /// How fast bytes may flow.
    pub limits: Limits,
    /// The watches that the files are in.
    pub watches: Watches,
    /// The roots of these watches.
    pub roots: KnownRoots,
    /// Whether the daemon goes on.
    pub phases: Phases,
    /// Whether the attempt does.
    pub halt: Halt,
}

/// How long a host may take to be made before its job says so.
const MAKING_SAID_AFTER: Duration = Duration::from_secs(2);

impl Worker<LazyHost> {
    /// The same for an upload, which says for what it waits where a secret takes its time. An error is the queue's own.
    pub(super) async fn ready_for(self, job: JobId, host: &str) -> Result<Worker, StoreError> {
        let store = self.store.clone();
        let ready = self.ready();
        tokio::pin!(ready);
        if let Ok(ready) = tokio::time::timeout(MAKING_SAID_AFTER, &mut ready).await {
            return Ok(ready);
        }
        store.record_wait(job, Some(Reason::new(ReasonClass::SecretAwaited).about(host))).await?;
        let ready = ready.await;
        store.record_wait(job, None).await?;
        Ok(ready)
    }

    /// The same with its host made. One attempt has one host from beginning to end.
    pub(super) async fn ready(self) -> Worker {
        let Worker { system, store, host, on_unknown, retries, give_up_after, standing, epoch, .. } = self;
        let Worker { connections, limits, watches, roots, phases, halt, .. } = self;
        let host = host.get().await;
        Worker {
            system,
            store,
            host,
            on_unknown,
            retries,
            give_up_after,
            standing,
            epoch,
            connections,
            limits,
            watches,
            roots,
            phases,
            halt,
        }
    }
}

impl Worker {
    /// Whether something new may begin.
    pub(super) fn goes_on(&self) -> Result<(), Stop> {
        if self.phases.is_draining() {
            Err(Stop::Draining)
        } else if self.halt.is_asked() {
            Err(Stop::Halted)
        } else {
            Ok(())
        }
    }

    /// One request that carries no bytes of the file.
    pub(super) async fn request<T>(&self, step: Step, call: impl Future<Output = Result<T, HostError>>) -> Result<T, HostError> {
        self.request_with(step, 0, call).await
    }

    /// One request that carries so many bytes of the file, when there is room for it. What fails knows at which step. A host may also
    /// answer without the network.
    pub(super) async fn request_with<T>(
        &self,
        step: Step,
        bytes: u64,
        call: impl Future<Output = Result<T, HostError>>,
    ) -> Result<T, HostError> {
        let permit = self.connections.acquire().await;
        let sent = self.now();
        let mut call = pin!(call);
        let at_once = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        let answer = match at_once {
            // It has asked nobody: that shows neither that the host is there nor how fast it answers.
            Poll::Ready(Ok(answer)) => return Ok(answer),
            Poll::Ready(failed) => failed,
            Poll::Pending => call.await,
        };
        let at = self.now();
        self.standing.heard(step, self.epoch, &answer, at);
        if planted!("connection.not_given_back") && answer.is_err() {
            std::mem::forget(permit);
        } else {
            permit.done(Request { shown: shown(&answer), bytes, sent, at });
        }
        answer.map_err(|error| error.during(step))
    }

    fn now(&self) -> std::time::Instant {
        clocks::now(&self.system.clock).into_std()
    }
}

/// What an answer shows of how much its host has to do.
fn shown<T>(answer: &Result<T, HostError>) -> Shown {
    match answer {
        Ok(_) => Shown::Fine,
        Err(error) if matches!(error.status, Some(429 | 503)) || error.class == Class::RateLimited => Shown::TooMuch,
        // The connection broke.
        Err(error) if error.status.is_none() && error.doubt && !error.unconnected => Shown::TooMuch,
        Err(_) => Shown::Nothing,
    }
}

/// The folder that the file at `path`, last changed at `mtime_ns`, goes to on hosts that have folders: as its watch wants it, or
/// the host's own root where no watch covers it any more.
pub(super) fn remote_folder(watches: &Watches, path: &Path, mtime_ns: i64) -> String {
    let filled = watches.of_file(path).and_then(|watch| {
        let relative = path.strip_prefix(&watch.path).ok()?;
        Some(watch.remote_path.fill(relative, &calendar::local_day(mtime_ns)))
    });
    filled.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Watch;

    #[test]
    fn below_an_inner_watch_that_is_not_recursive_the_folder_is_the_outer_watchs() {
        let watch = |path: &str, recursive| Watch { recursive, ..Watch::new(path.into(), Arc::from([])) };
        let watches = [watch("/d", true), watch("/d/in", false)].into_iter().collect();
        let folder = |path: &str| remote_folder(&watches, Path::new(path), 0);
        assert_eq!([folder("/d/f"), folder("/d/out/f"), folder("/d/in/f")], ["", "out", ""]);
        assert_eq!([folder("/d/in/sub/f"), folder("/e/sub/f")], ["in/sub", ""]);
    }
}
