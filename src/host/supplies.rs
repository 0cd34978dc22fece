//! What a host is made from besides its own settings.

use crate::config::{Environment, HostConfig, SecretSource};
use crate::secret::Secret;

use super::http::{Clients, Settings, Transport};
use super::kept::{HostTokens, KeptTokens};
use super::redact::{KnownSecrets, Secrets};
use super::{HostError, network};

/// What is at hand while a host is made.
pub(crate) struct Supplies<'a> {
    config: &'a HostConfig,
    environment: &'a dyn Environment,
    clients: &'a Clients,
    tokens: &'a KeptTokens,
    network: Settings,
    /// Every secret that was read, to be kept out of whatever the host says.
    secrets: KnownSecrets,
}

impl<'a> Supplies<'a> {
    /// Reads what the connections of the host need: a file of certificates, a proxy with its password.
    pub(super) fn new(
        config: &'a HostConfig,
        environment: &'a dyn Environment,
        clients: &'a Clients,
        tokens: &'a KeptTokens,
    ) -> Result<Supplies<'a>, HostError> {
        let mut secrets = Secrets::default();
        let network = network::settings(&config.network, environment, &mut secrets)?;
        Ok(Supplies { config, environment, clients, tokens, network, secrets: KnownSecrets::new(secrets) })
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

    /// What is kept of the tokens that the host has given out, as long as these texts are configured.
    pub(super) fn tokens(&self, configured: &[&str]) -> HostTokens {
        self.tokens.of(&self.config.name, configured)
    }

    /// Every secret that is known, to which a host adds those that it is given.
    pub(super) fn secrets(&self) -> KnownSecrets {
        self.secrets.clone()
    }
}
