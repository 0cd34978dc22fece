//! What a host is made from besides its own settings.

use crate::config::{Environment, HostConfig, SecretSource};
use crate::secret::Secret;

use super::http::{Clients, Settings, Transport};
use super::redact::Secrets;
use super::{HostError, network};

/// What is at hand while a host is made.
pub(crate) struct Supplies<'a> {
    config: &'a HostConfig,
    environment: &'a dyn Environment,
    clients: &'a Clients,
    network: Settings,
    /// Every secret that was read, to be kept out of whatever the host says.
    secrets: Secrets,
}

impl<'a> Supplies<'a> {
    /// Reads what the connections of the host need: a file of certificates, a proxy with its password.
    pub(super) fn new(
        config: &'a HostConfig,
        environment: &'a dyn Environment,
        clients: &'a Clients,
    ) -> Result<Supplies<'a>, HostError> {
        let mut secrets = Secrets::default();
        let network = network::settings(&config.network, environment, &mut secrets)?;
        Ok(Supplies { config, environment, clients, network, secrets })
    }

    /// What goes to the addresses in the configuration.
    pub(super) fn transport(&self) -> Result<Transport, HostError> {
        self.clients.transport(&self.network, self.config.request_timeout)
    }

    /// What goes to addresses that the host names: of this machine and of private networks only where that is allowed.
    pub(super) fn strangers(&self, allow_private: bool) -> Result<Transport, HostError> {
        self.clients.for_strangers(&self.network, self.config.request_timeout, allow_private)
    }

    /// Reads a secret. Whatever the host says from then on is looked through for it.
    pub(super) fn secret(&mut self, source: &SecretSource) -> Result<Secret, HostError> {
        network::read(source, self.environment).inspect(|secret| self.secrets.add(secret))
    }

    pub(super) fn into_secrets(self) -> Secrets {
        self.secrets
    }
}
