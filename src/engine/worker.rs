//! What carries jobs to one host: its protocol, its limits, and the user's choices for it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::config::RemotePath;
use crate::crash_point;
use crate::host::{Host, HostError};
use crate::job::State;
use crate::job::attempt::OnUnknown;
use crate::job::health::Feedback;
use crate::os::beneath::Base;
use crate::store::{Claimed, Store, StoreError};

use super::attempt::Attempt;
use super::bandwidth::Limits;
use super::connections::Connections;
use super::phase::Phases;

/// What a worker needs to know of the job's host and of the daemon.
#[derive(Clone)]
pub struct Worker {
    /// The queue.
    pub store: Store,
    /// The protocol.
    pub host: Arc<dyn Host>,
    /// What to do when a commit may or may not have taken effect.
    pub on_unknown: OnUnknown,
    /// Failures in a row that are allowed.
    pub retries: Option<u32>,
    /// What the host may have in flight.
    pub connections: Connections,
    /// How fast bytes may flow.
    pub limits: Limits,
    /// The watched folders, with the folder their files go to on hosts that have folders.
    pub folders: Arc<[(Base, RemotePath)]>,
    /// Whether the daemon goes on.
    pub phases: Phases,
}

/// Where an attempt left its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The job's state now.
    pub state: State,
    /// What that says about its host.
    pub feedback: Feedback,
    /// Why the job did not get further, for a person.
    pub why: String,
}

impl Worker {
    /// Carries `job` as far as it goes and commits where it ends. Bytes that flow are added to `sent`. An error is the queue's own: nothing
    /// more can be done.
    pub async fn carry(&self, job: Claimed, sent: Arc<AtomicU64>) -> Result<End, StoreError> {
        let mut attempt = Attempt::new(self.clone(), job, sent);
        match attempt.run().await {
            Ok(outcome) => {
                let job = attempt.job();
                crash_point!("uploaded.before_commit");
                let state = self.store.uploaded(job.id, outcome).await?;
                crash_point!("uploaded.after_commit");
                tracing::info!(job.id = %job.id, bytes = job.identity.size, "{:?} is on {}", job.path, job.host);
                Ok(End { state, feedback: Feedback::Fine, why: String::new() })
            }
            Err(stop) => attempt.leave(stop).await,
        }
    }

    /// One request, when there is room for it.
    pub(super) async fn request<T>(&self, step: impl Future<Output = Result<T, HostError>>) -> Result<T, HostError> {
        let _permit = self.connections.acquire().await;
        step.await
    }
}
