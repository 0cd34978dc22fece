//! What a host is made from besides its own settings.

use crate::config::{Environment, HostConfig, SecretError, SecretSource};
use crate::job::Step;
use crate::job::upload::Class;
use crate::os::system::System;
use crate::secret::Secret;

use super::HostError;
use super::http::Transport;
use super::redact::Secrets;

/// What is at hand while a host is made.
pub(crate) struct Supplies<'a> {
    config: &'a HostConfig,
    environment: &'a dyn Environment,
    system: &'a System,
    /// Every secret that was read, to be kept out of whatever the host says.
    secrets: Secrets,
}

impl<'a> Supplies<'a> {
    pub(super) fn new(config: &'a HostConfig, environment: &'a dyn Environment, system: &'a System) -> Supplies<'a> {
        Supplies { config, environment, system, secrets: Secrets::default() }
    }

    /// What goes to the addresses in the configuration.
    pub(super) fn transport(&self) -> Result<Transport, HostError> {
        Transport::new(self.system, self.config.request_timeout)
    }

    /// What goes to addresses that the host names: of this machine and of private networks only where that is allowed.
    pub(super) fn strangers(&self, allow_private: bool) -> Result<Transport, HostError> {
        Transport::for_strangers(self.system, self.config.request_timeout, allow_private)
    }

    /// Reads a secret. Whatever the host says from then on is looked through for it.
    pub(super) fn secret(&mut self, source: &SecretSource) -> Result<Secret, HostError> {
        let failed =
            |error: SecretError| HostError::new(Class::HostRefused, error.to_string()).during(Step::Secret).caused_by(error);
        source.read(self.environment).map_err(failed).inspect(|secret| self.secrets.add(secret))
    }

    pub(super) fn into_secrets(self) -> Secrets {
        self.secrets
    }
}
