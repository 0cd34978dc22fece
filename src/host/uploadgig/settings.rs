//! What is configured of an UploadGig account.

use crate::config::reading::{Table, allow_private, base_url, filled_text, needed_secret, word};
use crate::config::{Environment, HostSettings, SecretSource};

const SLUG: &[(&str, Slug)] = &[("encoded", Slug::Encoded), ("raw", Slug::Raw)];

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
    /// How names travel that are more than printable ASCII.
    pub slug: Slug,
}

/// How a name is written in the `Slug` header; whether the service decodes it is not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slug {
    /// Percent-encoded.
    Encoded,
    /// As UTF-8.
    Raw,
}

impl HostSettings for UploadGigConfig {
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

/// The settings in its table.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<UploadGigConfig> {
    let base_url = table.get("base_url", "https://uploadgig.com".to_owned(), base_url("/api/get_upload_action"));
    let user = table.need("user", "add `user = \"NAME\"`, the account's e-mail address", filled_text);
    let password = needed_secret(table, "password", environment);
    let allow_private = allow_private(table, &base_url);
    let slug = table.get("slug", Slug::Encoded, word(SLUG));
    Some(UploadGigConfig { base_url, user: user?, password: password?, allow_private, slug })
}
