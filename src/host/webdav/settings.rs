//! What is configured of a folder on a WebDAV server.

use crate::config::reading::{
    Table, boolean, filled_text, in_the_clear, integer, needed_secret, part_size, secret, web_address, word,
};
use crate::config::{Environment, HostSettings, SecretSource};

const ON_EXISTING: &[(&str, OnExisting)] = &[
    ("overwrite", OnExisting::Overwrite),
    ("rename", OnExisting::Rename),
    ("skip", OnExisting::Skip),
    ("error", OnExisting::Error),
];

/// The bounds of a chunk (page, 12).
const CHUNK: std::ops::RangeInclusive<u64> = 5 * MIB..=5120 * MIB;
const MIB: u64 = 1024 * 1024;
const FLAVOURS: &[(&str, Flavour)] = &[("auto", Flavour::Auto), ("plain", Flavour::Plain), ("nextcloud", Flavour::Nextcloud)];

/// What a server knows besides WebDAV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// What its address says.
    Auto,
    /// Nothing.
    Plain,
    /// Uploads in chunks.
    Nextcloud,
}

/// Settings of a folder on a WebDAV server.
#[derive(Debug, Clone)]
pub struct WebDavConfig {
    /// The address of the folder, without a slash at the end.
    pub base_url: String,
    /// What lets us in.
    pub login: Login,
    /// Where uploads in chunks go; nothing where files go in one request each.
    pub uploads_url: Option<String>,
    /// The largest file that goes in one request, and the least size of a chunk of larger ones, in bytes.
    pub part_bytes: u64,
    /// Chunks of one file in flight together.
    pub parallel_parts: usize,
    /// What is done where there is a file of the name.
    pub on_existing: OnExisting,
    /// What a link begins with, without a slash at the end; nothing where files are not public.
    pub link_base: Option<String>,
}

/// What lets us in.
#[derive(Debug, Clone)]
pub enum Login {
    /// Nothing: the folder is open to everybody.
    Open,
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password, for Nextcloud one that was made for this program.
        password: SecretSource,
    },
    /// A token.
    Token(SecretSource),
}

/// What is done where there is a file of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExisting {
    /// The new one takes its place.
    Overwrite,
    /// The new one gets a number into its name.
    Rename,
    /// The file counts as uploaded.
    Skip,
    /// The job waits for a person.
    Error,
}

impl HostSettings for WebDavConfig {
    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        match &self.login {
            Login::Open => Vec::new(),
            Login::Password { password, .. } => vec![("password", password)],
            Login::Token(token) => vec![("token", token)],
        }
    }

    fn account(&self) -> String {
        match &self.login {
            Login::Password { user, .. } => format!("{user} {}", self.base_url),
            Login::Open | Login::Token(_) => self.base_url.clone(),
        }
    }

    fn risks(&self) -> Vec<String> {
        let said = "`on_existing = \"skip\"`: a file whose name is taken counts as uploaded, whatever is stored there";
        (self.on_existing == OnExisting::Skip).then(|| said.to_owned()).into_iter().collect()
    }
}

/// The settings in its table.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<WebDavConfig> {
    let help = "add `base_url = \"https://HOST/PATH\"`, the address of a folder";
    let base_url = table.need("base_url", help, web_address);
    let allow_http = table.get("allow_http", false, boolean);
    let login = login(table, environment);
    let on_existing = table.get("on_existing", OnExisting::Rename, word(ON_EXISTING));
    let link_base = table.find("link_base", web_address);
    let flavour = table.get("flavour", Flavour::Auto, word(FLAVOURS));
    let part_bytes = table.get("part_size", 32 * MIB, part_size(CHUNK, MIB));
    let parallel_parts =
        table.get("parallel_parts", 3, |value| integer(1, 16)(value).map(|count| usize::try_from(count).unwrap_or(1)));
    let base_url = base_url?;
    let uploads_url = uploads_url(&base_url).filter(|_| flavour != Flavour::Plain);
    if flavour == Flavour::Nextcloud && uploads_url.is_none() {
        let help = "write \"https://HOST/remote.php/dav/files/USER\", and behind it the folder";
        table.complain("base_url", "`base_url` does not say where uploads in chunks go", help);
    }
    if !matches!(login, Some(Login::Open)) {
        in_the_clear(table, "base_url", &base_url, allow_http);
    }
    Some(WebDavConfig { base_url, login: login?, uploads_url, part_bytes, parallel_parts, on_existing, link_base })
}

/// Where Nextcloud and ownCloud take chunks for the user of this folder (page, 12).
fn uploads_url(base_url: &str) -> Option<String> {
    let (server, behind) = base_url.split_once("/remote.php/dav/files/")?;
    let user = behind.split('/').next().filter(|user| !user.is_empty())?;
    Some(format!("{server}/remote.php/dav/uploads/{user}"))
}

fn login(table: &Table<'_>, environment: &dyn Environment) -> Option<Login> {
    if table.has("token") && (table.has("user") || table.has("password")) {
        table.complain("token", "`token` goes without `user` and `password`", "leave out one of them");
    }
    let token = table.find("token", secret(table, environment));
    if table.has("token") {
        return token.map(Login::Token);
    }
    if !table.has("user") && !table.has("password") {
        // So that they are known.
        table.find("user", filled_text);
        table.find("password", secret(table, environment));
        return Some(Login::Open);
    }
    let user = table.need("user", "add `user = \"NAME\"`", filled_text);
    let password = needed_secret(table, "password", environment);
    Some(Login::Password { user: user?, password: password? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_uploads_follows_from_that_of_the_files() {
        let of = |address: &str| uploads_url(address);
        let there = Some("https://h.example/x/remote.php/dav/uploads/me%40you".to_owned());
        assert_eq!(of("https://h.example/x/remote.php/dav/files/me%40you/a/b"), there);
        assert_eq!(of("https://h.example/x/remote.php/dav/files/me%40you"), there);
        assert_eq!(of("https://h.example/remote.php/webdav"), None);
        assert_eq!(of("https://h.example/remote.php/dav/files/"), None);
    }
}
