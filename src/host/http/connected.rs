//! A client with its connections, and how it is set up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder};

use super::super::error::HostError;
use super::ahead::{Ahead, Role};
use super::names::PublicNames;
use crate::job::upload::Class;
use crate::secret::Secret;

/// How long a connection may take to be made (`docs/protocols/README.md`, section 3).
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection nobody uses is kept.
pub(super) const KEEP_IDLE: Duration = Duration::from_secs(30);

/// The way that requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// As the variables of the environment say (`HTTPS_PROXY`, `NO_PROXY` and the like).
    #[default]
    Environment,
    /// Straight to the host.
    Direct,
    /// Through the proxy at this address, which may hold a password.
    At(Secret),
}

/// A client with the connections that were made ahead for it.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) ahead: Ahead,
    key: Key,
    /// What makes connections ahead, once any are wanted.
    opener: OnceLock<Option<Client>>,
}

/// All that makes one client another one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) ca: Option<Arc<[u8]>>,
    pub(super) proxy: Proxy,
    /// Whether names may lead to the Internet only.
    pub(super) public_only: bool,
}

impl Connected {
    pub(super) fn new(key: Key) -> Result<Connected, HostError> {
        let ahead = Ahead::default();
        Ok(Connected { client: client(&key, Role::Takes(ahead.clone()))?, ahead, key, opener: OnceLock::new() })
    }

    /// One that only builds requests.
    #[cfg(feature = "simulator")]
    pub(super) fn to_nobody() -> Result<Connected, HostError> {
        let client = builder().no_proxy().tls_certs_only([]).build().map_err(failed)?;
        let key = Key { ca: None, proxy: Proxy::Direct, public_only: false };
        Ok(Connected { client, ahead: Ahead::default(), key, opener: OnceLock::new() })
    }

    /// One that connects as the client does, whose connections are kept for that one.
    pub(super) fn opener(&self) -> Option<&Client> {
        self.opener.get_or_init(|| client(&self.key, Role::Makes(self.ahead.clone())).ok()).as_ref()
    }
}

fn failed(error: reqwest::Error) -> HostError {
    HostError::new(Class::HostRefused, format!("cannot set up the HTTP client: {}", with_causes(&error))).caused_by(error)
}

/// An error with what caused it, and what helps where the machine has no certificates.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    if text.to_lowercase().contains("certificate") {
        text.push_str(
            "; install the package `ca-certificates`, or set SSL_CERT_FILE to a file with the certificates to be trusted",
        );
    }
    text
}

fn builder() -> ClientBuilder {
    // Another part of the process may have chosen a provider before; any will do.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(KEEP_IDLE)
        .tcp_nodelay(true)
        .http1_only()
        // In the letters of the hosts' own samples: servers that are somebody's own work may compare them.
        .http1_title_case_headers()
}

fn client(key: &Key, role: Role) -> Result<Client, HostError> {
    let mut builder = builder().connector_layer(role);
    if let Some(pem) = &key.ca {
        let refused = |error| {
            HostError::new(Class::HostRefused, "`ca_file` cannot be used: it is no list of certificates in PEM").caused_by(error)
        };
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).map_err(refused)?);
    }
    builder = match &key.proxy {
        Proxy::Environment => builder,
        Proxy::Direct => builder.no_proxy(),
        Proxy::At(address) => builder.proxy(proxy(address)?),
    };
    if key.public_only {
        builder = builder.dns_resolver(Arc::new(PublicNames));
    }
    builder.build().map_err(failed)
}

fn proxy(address: &Secret) -> Result<reqwest::Proxy, HostError> {
    // What the library says of a wrong address may quote it.
    let sound = url::Url::parse(address.reveal()).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let proxy = reqwest::Proxy::all(address.reveal()).ok().filter(|_| sound);
    proxy.ok_or_else(|| HostError::new(Class::HostRefused, "`proxy` is no address of an HTTP proxy, such as http://HOST:PORT"))
}
