//! What is configured of a 4shared account.

use crate::config::reading::{
    Table, Value, Wrong, allow_private, filled_text, integer, kind, needed_secret, part_size, text, web_address, word,
};
use crate::config::{Environment, HostSettings, SecretSource};

const ON_EXISTING: &[(&str, OnExisting)] =
    &[("rename", OnExisting::Rename), ("overwrite", OnExisting::Overwrite), ("error", OnExisting::Error)];
const MIB: u64 = 1024 * 1024;
/// The bounds of a part; the host documents none, these keep a part worth its request and a file below 10 million parts.
const PART: std::ops::RangeInclusive<u64> = 256 * 1024..=5120 * MIB;

/// Settings of a 4shared account.
#[derive(Debug, Clone)]
pub struct FourSharedConfig {
    /// Where the calls go.
    pub base_url: String,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// The name of the program as 4shared wants to see it before the password, where it does.
    pub app: Option<String>,
    /// Where files go.
    pub folder: FourSharedFolder,
    /// The size of a part, in bytes.
    pub part_bytes: u64,
    /// Parts of one file in flight together.
    pub parallel_parts: usize,
    /// What is done where another file has the name.
    pub on_existing: OnExisting,
    /// Whether the addresses the host names for parts may be of this machine or of a private network.
    pub allow_private: bool,
}

/// What is done where the folder has another file of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExisting {
    /// The new one gets a number into its name.
    Rename,
    /// That file gets the new content, and keeps its link.
    Overwrite,
    /// The job waits for a person.
    Error,
}

/// A folder of a 4shared account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FourSharedFolder {
    /// By its number; -1 is the root.
    Id(i64),
    /// By its way from the root, names in order; made where it is missing. Empty is the root.
    Path(Vec<String>),
}

impl HostSettings for FourSharedConfig {
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
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<FourSharedConfig> {
    let base_url = table.get("base_url", "https://api.4shared.com/jax3/DesktopApp".to_owned(), web_address);
    let user = table.need("user", "add `user = \"NAME\"`, the account's login", filled_text);
    let password = needed_secret(table, "password", environment);
    let allow_private = allow_private(table, &base_url);
    let config = FourSharedConfig {
        base_url,
        app: table.find("app", filled_text),
        folder: table.get("folder", FourSharedFolder::Id(-1), folder),
        part_bytes: table.get("part_size", 8 * MIB, part_size(PART, 1)),
        parallel_parts: table
            .get("parallel_parts", 1, |value| integer(1, 3)(value).map(|count| usize::try_from(count).unwrap_or(1))),
        on_existing: table.get("on_existing", OnExisting::Rename, word(ON_EXISTING)),
        allow_private,
        user: user?,
        password: password?,
    };
    Some(config)
}

fn folder(value: &Value<'_>) -> Result<FourSharedFolder, Wrong> {
    if let Ok(id) = integer(-1, i64::MAX)(value) {
        return Ok(FourSharedFolder::Id(id));
    }
    let help = "write the number of the folder (-1 is the root), or its path, such as \"backups/2026\"";
    let given = text(value).map_err(|_| Wrong::new(format!("must be a folder, not {}", kind(value)), help))?;
    let names: Vec<String> = given.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.iter().any(|name| matches!(name.as_str(), "." | "..") || name.chars().any(char::is_control)) {
        Err(Wrong::new("is not a valid folder", help))
    } else {
        Ok(FourSharedFolder::Path(names))
    }
}
