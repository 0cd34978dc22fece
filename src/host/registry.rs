//! From a configured kind to the code that speaks it: one line per host.

use std::sync::Arc;

use crate::config::{HostConfig, HostKind};

use super::http::Transport;
use super::{Host, HostError, cloudkp};

/// Makes the host that `config` describes.
pub fn host(config: &HostConfig) -> Result<Arc<dyn Host>, HostError> {
    let transport = Transport::new(config.request_timeout)?;
    Ok(match &config.kind {
        HostKind::CloudKp(settings) => Arc::new(cloudkp::CloudKp::new(settings.clone(), transport)),
    })
}
