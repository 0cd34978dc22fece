//! What carries jobs to one host: its protocol, its limits, and the user's choices for it.

use std::sync::Arc;

use crate::config::RemotePath;
use crate::host::{Host, HostError};
use crate::job::Step;
use crate::job::attempt::OnUnknown;
use crate::os::beneath::Base;
use crate::store::Store;

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

impl Worker {
    /// One request, when there is room for it. What fails knows at which step.
    pub(super) async fn request<T>(&self, step: Step, call: impl Future<Output = Result<T, HostError>>) -> Result<T, HostError> {
        let _permit = self.connections.acquire().await;
        call.await.map_err(|error| error.during(step))
    }
}
