//! How the requests of a host travel: keys that every `[host.NAME]` may have.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::os::whole;

use super::Environment;
use super::file::{Table, Value, Wrong, kind, text};
use super::secrets::{SecretSource, secret};
use super::units::path;

/// What a file with certificates has in it.
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";
/// The longest file of certificates that makes sense, in bytes.
pub(crate) const CA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How the requests of a host travel.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Certificates in PEM that are trusted besides those of the system. It could be read when the configuration was.
    pub ca_file: Option<PathBuf>,
    /// The way out.
    pub proxy: ProxySource,
    /// What is said of the program, where it is not its name and version.
    pub user_agent: Option<String>,
}

/// The way that requests go.
#[derive(Debug, Clone, Default)]
pub enum ProxySource {
    /// As the variables of the environment say (`HTTPS_PROXY`, `NO_PROXY` and the like).
    #[default]
    Environment,
    /// Straight to the host.
    Direct,
    /// Through the proxy at this address, which may hold a password.
    At(SecretSource),
}

pub(super) fn network(table: &Table<'_>, environment: &dyn Environment) -> Network {
    Network {
        ca_file: table.find("ca_file", ca_file(environment)),
        proxy: table.get("proxy", ProxySource::Environment, proxy(table, environment)),
        user_agent: table.find("user_agent", user_agent),
    }
}

fn ca_file(environment: &dyn Environment) -> impl Fn(&Value<'_>) -> Result<PathBuf, Wrong> {
    move |value| {
        let file = path(environment)(value)?;
        let help = "give the path of a file with certificates in PEM that the user that runs ferryd can read";
        match whole::read(&file, CA_BYTES_MAX) {
            Ok(bytes) if bytes.windows(PEM.len()).any(|window| window == PEM) => Ok(file),
            Ok(_) => Err(Wrong::new(format!("has no certificate in it: `{}`", file.display()), help)),
            Err(error) => Err(Wrong::new(format!("cannot be read: `{}`: {error}", file.display()), help)),
        }
    }
}

/// What is wrong with an address is said without it: it may hold a password.
fn proxy<'v>(table: &Table<'_>, environment: &'v dyn Environment) -> impl Fn(&Value<'_>) -> Result<ProxySource, Wrong> + 'v {
    let secret = secret(table, environment);
    move |value| {
        let help = "write \"http://HOST:PORT\", \"http://USER:PASSWORD@HOST:PORT\", \"none\", or { env = \"NAME\" }, { file = \"PATH\" } \
                    or { command = [\"…\"] } for an address with a password";
        let given = match value.get_ref() {
            DeValue::String(_) => text(value)?,
            DeValue::Table(_) => return secret(value).map(ProxySource::At),
            _ => return Err(Wrong::new(format!("must be the address of a proxy, not {}", kind(value)), help)),
        };
        if given == "none" {
            return Ok(ProxySource::Direct);
        }
        let url = url::Url::parse(&given).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let plain = url.filter(|url| matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none());
        match plain {
            None => Err(Wrong::new("is no address of an HTTP proxy", help)),
            Some(url) if url.username().is_empty() && url.password().is_none() => {
                Ok(ProxySource::At(SecretSource::Plain(crate::secret::Secret::new(given))))
            }
            Some(_) => secret(value).map(ProxySource::At),
        }
    }
}

fn user_agent(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    let is_sendable = given.trim() == given && !given.is_empty() && given.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_sendable { Ok(given) } else { Err(Wrong::new("cannot be sent", "write it in ASCII, such as \"backup/1.0\"")) }
}
