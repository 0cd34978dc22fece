//! HTTP clients, shared by all who want the same.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::error::HostError;
#[cfg(feature = "simulator")]
use super::connected::{CONNECT_TIMEOUT, KEEP_IDLE};
use super::connected::{Connected, Key, Proxy};
#[cfg(feature = "simulator")]
use super::simulated::{Connector, Network};
use super::transport::Transport;
use crate::os::system::System;

/// How requests travel, whatever their protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca: Option<Arc<[u8]>>,
    /// The way out.
    pub proxy: Proxy,
    /// What is said of the program, where it is not its name and version.
    pub user_agent: Option<String>,
}

/// Clients, each shared by all transports whose settings need the same one: a client has its own connections, tables of
/// certificates and about 150 KiB, and twice that once connections are made ahead. Those that nobody uses any more are dropped when another is made. Clones share.
///
/// A client belongs to the runtime that it is first used on, so these must not outlive it.
#[derive(Clone)]
pub struct Clients {
    system: System,
    made: Arc<Mutex<HashMap<Key, Arc<Connected>>>>,
    #[cfg(feature = "simulator")]
    simulated: Option<Arc<Network>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    /// No client yet.
    pub fn new(system: &System) -> Clients {
        Clients {
            system: system.clone(),
            made: Arc::default(),
            #[cfg(feature = "simulator")]
            simulated: None,
        }
    }

    /// Clients whose connections `connector` makes, all of them: what the settings say of certificates and of the way out has no
    /// effect.
    ///
    /// # Errors
    /// `HostRefused` when the HTTP library cannot be set up.
    #[cfg(feature = "simulator")]
    pub fn simulated(system: &System, connector: Arc<dyn Connector>) -> Result<Clients, HostError> {
        let unconnected = Connected::to_nobody()?;
        let network = Network::new(connector, unconnected, CONNECT_TIMEOUT, KEEP_IDLE);
        Ok(Clients { simulated: Some(Arc::new(network)), ..Clients::new(system) })
    }

    /// Time, chance and threads of whoever uses these clients.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// A client that gives up on a request when no byte has moved for `idle`.
    ///
    /// # Errors
    /// `HostRefused` when the certificates or the proxy's address make no sense.
    pub fn transport(&self, settings: &Settings, idle: Duration) -> Result<Transport, HostError> {
        let key = Key { ca: settings.ca.clone(), proxy: settings.proxy.clone(), public_only: false };
        self.of(key, settings, idle)
    }

    /// The same for addresses that a host named in a reply: unless `allow_private`, no name leads to a private network, and no
    /// proxy is used, for it would resolve the names itself.
    ///
    /// # Errors
    /// As for [`Clients::transport`].
    pub fn for_strangers(&self, settings: &Settings, idle: Duration, allow_private: bool) -> Result<Transport, HostError> {
        if allow_private {
            return self.transport(settings, idle);
        }
        self.of(Key { ca: settings.ca.clone(), proxy: Proxy::Direct, public_only: true }, settings, idle)
    }

    fn of(&self, key: Key, settings: &Settings, idle: Duration) -> Result<Transport, HostError> {
        #[cfg(feature = "simulator")]
        if let Some(network) = &self.simulated {
            let transport = Transport::of(network.client.clone(), &self.system, idle, settings.user_agent.as_deref(), false);
            return Ok(transport.on(network));
        }
        let is_through_proxy = matches!(key.proxy, Proxy::At(_));
        let client = self.client(key)?;
        Ok(Transport::of(client, &self.system, idle, settings.user_agent.as_deref(), is_through_proxy))
    }

    fn client(&self, key: Key) -> Result<Arc<Connected>, HostError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&key) {
            return Ok(client.clone());
        }
        let client = Arc::new(Connected::new(key.clone())?);
        made.retain(|_, client| Arc::strong_count(client) > 1);
        made.insert(key, client.clone());
        Ok(client)
    }
}

impl Transport {
    /// A client of its own that gives up on a request when no byte has moved for `idle`.
    pub fn new(system: &System, idle: Duration) -> Result<Transport, HostError> {
        Clients::new(system).transport(&Settings::default(), idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::upload::Class;
    use crate::secret::Secret;

    const IDLE: Duration = Duration::from_secs(5);

    #[test]
    fn equal_settings_share_one_client() {
        let clients = Clients::new(&System::default());
        let plain = Settings::default();
        let first = clients.transport(&plain, IDLE).unwrap();
        let other_time = clients.clone().transport(&plain, 2 * IDLE).unwrap();
        let named = clients.transport(&Settings { user_agent: Some("me".into()), ..plain.clone() }, IDLE).unwrap();
        let allowed = clients.for_strangers(&plain, IDLE, true).unwrap();
        for same in [&other_time, &named, &allowed] {
            assert!(first.shares_client_with(same));
        }
        let strangers = clients.for_strangers(&plain, IDLE, false).unwrap();
        assert!(!first.shares_client_with(&strangers), "what strangers name must not lead to a private network");
        let through = |address: &str| Settings { proxy: Proxy::At(Secret::new(address)), ..Settings::default() };
        let one = clients.transport(&through("http://u:a@proxy:1"), IDLE).unwrap();
        let two = clients.transport(&through("http://u:b@proxy:1"), IDLE).unwrap();
        let direct = clients.transport(&Settings { proxy: Proxy::Direct, ..Settings::default() }, IDLE).unwrap();
        for other in [&two, &direct, &first] {
            assert!(!one.shares_client_with(other));
        }
        assert!(strangers.shares_client_with(&clients.for_strangers(&through("http://proxy:1"), IDLE, false).unwrap()));
    }

    #[test]
    fn clients_that_nobody_uses_any_more_are_dropped() {
        let clients = Clients::new(&System::default());
        for number in 0..3 {
            let settings = Settings { proxy: Proxy::At(Secret::new(format!("http://proxy:{number}"))), ..Settings::default() };
            clients.transport(&settings, IDLE).unwrap();
        }
        assert_eq!(clients.made.lock().unwrap().len(), 1);
    }

    #[test]
    fn settings_that_make_no_sense_say_so_and_show_no_password() {
        let clients = Clients::new(&System::default());
        for address in ["hunter2", "u:hunter2@proxy:1", "socks5://u:hunter2@proxy:1", "http://u:hunter2@:1"] {
            let settings = Settings { proxy: Proxy::At(Secret::new(address)), ..Settings::default() };
            let error = clients.transport(&settings, IDLE).err().unwrap();
            assert!(error.said.starts_with("`proxy` is no address") && !format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let pem = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        let settings = Settings { ca: Some(pem.as_bytes().into()), ..Settings::default() };
        let error = clients.transport(&settings, IDLE).err().unwrap();
        assert!(error.class == Class::HostRefused && error.said.contains("`ca_file`"), "{error:?}");
    }
}
