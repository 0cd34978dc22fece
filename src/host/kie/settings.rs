//! What is configured of a Kie.ai account.

use std::time::Duration;

use crate::config::reading::{Table, Value, Wrong, base_url, boolean, duration, in_the_clear, needed_secret, text, word};
use crate::config::{Environment, HostSettings, SecretSource};

const METHODS: &[(&str, KieMethod)] = &[("stream", KieMethod::Stream), ("base64", KieMethod::Base64)];
const NAMES: &[(&str, KieName)] = &[("versioned", KieName::Versioned), ("plain", KieName::Plain)];
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Settings of a Kie.ai account.
#[derive(Debug, Clone)]
pub struct KieConfig {
    /// Scheme, host, port and any path before `/api`, without a slash at the end.
    pub base_url: String,
    /// The key of the account.
    pub api_key: SecretSource,
    /// How files travel.
    pub method: KieMethod,
    /// What files are called there.
    pub name: KieName,
    /// Whether a dropped `*.url`, `*.webloc` or `*.uri-list` file means the addresses it holds.
    pub remote_urls: bool,
    /// What stands before the folder of a file: no slash at either end.
    pub upload_path: String,
    /// How long the host keeps a file when it does not say so itself.
    pub kept_for: Duration,
}

/// How files travel to Kie.ai.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KieMethod {
    /// As a form.
    Stream,
    /// As text in a JSON document, up to 10 MB.
    Base64,
}

/// What files are called at Kie.ai, where the same name again overwrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KieName {
    /// With what stands for their version before their own name, so that only the same bytes overwrite.
    Versioned,
    /// By their own name.
    Plain,
}

impl HostSettings for KieConfig {
    fn addresses(&self) -> Vec<&str> {
        vec![&self.base_url]
    }

    fn risks(&self) -> Vec<String> {
        let is_plain = self.name == KieName::Plain;
        let said = "`name = \"plain\"`: a file overwrites another of its name in the same folder there, also its own older version, whose \
                    link then leads to the new one";
        is_plain.then(|| said.to_owned()).into_iter().collect()
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        vec![("api_key", &self.api_key)]
    }
}

/// The settings in its table.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<KieConfig> {
    let base_url = table.get("base_url", "https://kieai.redpandaai.co".to_owned(), base_url("/api"));
    let api_key = needed_secret(table, "api_key", environment);
    in_the_clear(table, "base_url", &base_url, false);
    Some(KieConfig {
        base_url,
        method: table.get("method", KieMethod::Stream, word(METHODS)),
        name: table.get("name", KieName::Versioned, word(NAMES)),
        remote_urls: table.get("remote_urls", false, boolean),
        upload_path: table.get("upload_path", "ferryd".to_owned(), upload_path),
        kept_for: table.get("kept_for", DAY, duration(SECOND)),
        api_key: api_key?,
    })
}

/// A folder: no slash at either end, nothing that means another folder (`docs/protocols/kie.md`, 2.1).
fn upload_path(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    let sound = given.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.chars().any(char::is_control));
    if sound {
        Ok(given)
    } else {
        Err(Wrong::new("is not a valid folder", "write names with `/` between them, such as \"ferryd/inbox\""))
    }
}
