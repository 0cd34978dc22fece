//! A practice host in this process, with threads of its own.

use std::sync::Arc;
use std::time::Duration;

pub(super) use ferryd_sandbox::kinds;
use ferryd_sandbox::{self as sandbox, Options, Sandbox};
use tokio::runtime::Runtime;

use crate::config::{self, HostConfig, ProcessEnvironment};
use crate::host::kinds::KINDS;

use super::super::render::CommandFailure;
use super::place::Place;
use super::trouble::failed;

/// How long its last connections may take to end.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The host; stopped when dropped.
pub(super) struct Practice {
    runtime: Option<Runtime>,
    sandbox: Option<Sandbox>,
    pub host: Arc<HostConfig>,
}

impl Practice {
    /// Starts a host of this kind, which counts what it gets and keeps nothing: its disk is not to be measured.
    pub(super) fn start(kind: &str, place: &Place) -> Result<Practice, CommandFailure> {
        let runtime = super::super::runtime()?;
        let options = Options { discard: true, ..Options::new(place.path("host")) };
        let sandbox = {
            let _inside = runtime.enter();
            Sandbox::start(options).map_err(|error| failed("cannot start the practice host", &error))?
        };
        let table = sandbox::config_of(kind, sandbox.addr()).unwrap_or_default();
        let host = read(&table, place)?;
        Ok(Practice { runtime: Some(runtime), sandbox: Some(sandbox), host })
    }
}

fn read(table: &str, place: &Place) -> Result<Arc<HostConfig>, CommandFailure> {
    let config = config::parse(table, &place.path("config.toml"), KINDS, &ProcessEnvironment);
    let config = config.map_err(|error| CommandFailure::configuration(&error))?;
    config.hosts.into_iter().next().ok_or_else(|| failed("cannot start the practice host", &"it has no name"))
}

impl Drop for Practice {
    fn drop(&mut self) {
        drop(self.sandbox.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END_PATIENCE);
        }
    }
}
