//! From a configured kind to the code that speaks it.

use std::sync::Arc;

use crate::config::{Environment, HostConfig};
use crate::job::upload::Class;

use super::http::Clients;
use super::kept::KeptTokens;
use super::redacting::Redacting;
use super::supplies::Supplies;
use super::{Host, HostError, kinds};

/// Makes the host that `config` describes, with its secrets read. May wait for a program that prints one.
///
/// # Errors
/// `HostRefused` when a secret cannot be had, or no HTTP client can be made.
pub fn host(
    config: &HostConfig,
    environment: &dyn Environment,
    clients: &Clients,
    tokens: &KeptTokens,
) -> Result<Arc<dyn Host>, HostError> {
    let mut supplies = Supplies::new(config, environment, clients, tokens)?;
    let unknown = || HostError::new(Class::HostRefused, format!("nothing here speaks to a host of the kind {:?}", config.kind));
    let host = kinds::of(config.kind.word()).ok_or_else(unknown)?.make(config, &mut supplies)?;
    Ok(Redacting::around(host, supplies.secrets()))
}
