//! What is configured of an account of the example.

use crate::config::reading::{Table, base_url, filled_text, in_the_clear, needed_secret, part_size};
use crate::config::{Environment, HostSettings, SecretSource};

const MIB: u64 = 1024 * 1024;
/// The bounds of a part; the service sets none, these keep a part worth its request.
const PART: std::ops::RangeInclusive<u64> = 64 * 1024..=5120 * MIB;

/// Settings of an account of the example.
#[derive(Debug, Clone)]
pub struct ExampleConfig {
    /// Scheme, host, port and any path before `/objects`, without a slash at the end.
    pub base_url: String,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// The size of a part, in bytes.
    pub part_bytes: u64,
}

impl HostSettings for ExampleConfig {
    fn addresses(&self) -> Vec<&str> {
        vec![&self.base_url]
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        vec![("password", &self.password)]
    }

    fn account(&self) -> String {
        self.user.clone()
    }
}

/// The settings in its table. What cannot do without a key comes last, so that all that is wrong is told at once.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<ExampleConfig> {
    let base_url = table.need("base_url", "add `base_url = \"https://HOST\"`", base_url("/objects"));
    let user = table.need("user", "add `user = \"NAME\"`, the account's login", filled_text);
    let password = needed_secret(table, "password", environment);
    let part_bytes = table.get("part_size", 8 * MIB, part_size(PART, 1));
    let base_url = base_url?;
    in_the_clear(table, "base_url", &base_url, false);
    Some(ExampleConfig { base_url, user: user?, password: password?, part_bytes })
}
