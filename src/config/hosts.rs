//! What the settings of several kinds of hosts have in common.

use std::net::IpAddr;

use super::file::{Table, Value, Wrong, boolean, text};
use super::secrets::secret;
use super::units::size;
use super::{Environment, SecretSource};

const SECRET_HELP: &str =
    "write \"…\", or better, where to read it from: { env = \"NAME\" }, { file = \"PATH\" } or { command = [\"…\"] }";

/// A secret that must be there.
pub(crate) fn needed_secret(table: &Table<'_>, key: &'static str, environment: &dyn Environment) -> Option<SecretSource> {
    table.need(key, SECRET_HELP, secret(table, environment))
}

/// The key `allow_private`, which also lets credentials go to `base_url` unencrypted.
pub(crate) fn allow_private(table: &Table<'_>, base_url: &str) -> bool {
    let allowed = table.get("allow_private", false, boolean);
    in_the_clear(table, "base_url", base_url, allowed);
    allowed
}

/// A password must not cross a network in the clear; this machine is no network.
pub(crate) fn in_the_clear(table: &Table<'_>, key: &str, address: &str, allowed: bool) {
    if address.starts_with("http://") && !allowed && !is_loopback(address) {
        table.complain(key, format!("`{key}` would send the credentials unencrypted"), "use https://");
    }
}

/// Whether an address is this machine's own.
pub(super) fn is_loopback(address: &str) -> bool {
    let url = url::Url::parse(address).ok();
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}

/// A text of an account, exactly as it is there.
pub(crate) fn filled_text(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    if given.is_empty() || given.chars().any(char::is_control) {
        Err(Wrong::new("is empty or contains a control character", "write it exactly as in your account"))
    } else {
        Ok(given)
    }
}

/// A size of parts within bounds, rounded up to a multiple.
pub(crate) fn part_size(bounds: std::ops::RangeInclusive<u64>, multiple: u64) -> impl Fn(&Value<'_>) -> Result<u64, Wrong> {
    move |value| {
        let bytes = size(value)?;
        let shown = |bytes: u64| bytesize::ByteSize::b(bytes).display().iec().to_string();
        if bounds.contains(&bytes) {
            return Ok(bytes.next_multiple_of(multiple));
        }
        let message = format!("must be between {} and {}", shown(*bounds.start()), shown(*bounds.end()));
        Err(Wrong::new(message, "write a size such as \"16 MiB\""))
    }
}
