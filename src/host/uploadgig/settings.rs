//! What is configured of an UploadGig account.

use crate::config::reading::{Table, allow_private, base_url, filled_text, needed_secret};
use crate::config::{Environment, HostSettings, SecretSource};

/// Settings of an UploadGig account.
#[derive(Debug, Clone)]
pub struct UploadGigConfig {
    /// Scheme, host, port and any path before `/api`, without a slash at the end.
    pub base_url: String,
    /// The account, an e-mail address.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// Whether the address the host names for the bytes may be one of this machine or of a private network.
    pub allow_private: bool,
}

impl HostSettings for UploadGigConfig {
    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        vec![("password", &self.password)]
    }
}

/// The settings in its table.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<UploadGigConfig> {
    let base_url = table.get("base_url", "https://uploadgig.com".to_owned(), base_url("/api/get_upload_action"));
    let user = table.need("user", "add `user = \"NAME\"`, the account's e-mail address", filled_text);
    let password = needed_secret(table, "password", environment);
    let allow_private = allow_private(table, &base_url);
    Some(UploadGigConfig { base_url, user: user?, password: password?, allow_private })
}
