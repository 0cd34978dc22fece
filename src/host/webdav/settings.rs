//! What is configured of a folder on a WebDAV server.

use crate::config::reading::{
    Table, Value, Wrong, boolean, filled_text, in_the_clear, integer, needed_secret, part_size, secret, text, web_address, word,
};
use crate::config::{Environment, HostSettings, SecretSource};

use super::cloud::Cloud;
use super::place;

const ON_EXISTING: &[(&str, OnExisting)] = &[
    ("overwrite", OnExisting::Overwrite),
    ("rename", OnExisting::Rename),
    ("skip", OnExisting::Skip),
    ("error", OnExisting::Error),
];

/// The bounds of a chunk (page, 12).
const CHUNK: std::ops::RangeInclusive<u64> = 5 * MIB..=5120 * MIB;
const MIB: u64 = 1024 * 1024;
const CHECKSUMS: &[(&str, bool)] = &[("sha1", true), ("none", false)];
const FLAVOURS: &[(&str, Flavour)] = &[("auto", Flavour::Auto), ("plain", Flavour::Plain), ("nextcloud", Flavour::Nextcloud)];

/// What a server knows besides WebDAV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// What its address says.
    Auto,
    /// Nothing.
    Plain,
    /// What Nextcloud and ownCloud do.
    Nextcloud,
}

/// Settings of a folder on a WebDAV server.
#[derive(Debug, Clone)]
pub struct WebDavConfig {
    /// The address of the folder, without a slash at the end.
    pub base_url: String,
    /// What lets us in.
    pub login: Login,
    /// Where it is, if it is one of Nextcloud or ownCloud; nothing where only WebDAV is spoken.
    pub cloud: Option<Cloud>,
    /// The largest file that goes in one request, and the least size of a chunk of larger ones, in bytes.
    pub part_bytes: u64,
    /// Chunks of one file in flight together.
    pub parallel_parts: usize,
    /// What is done where there is a file of the name.
    pub on_existing: OnExisting,
    /// What a link begins with, without a slash at the end; nothing where files are not public.
    pub link_base: Option<String>,
    /// Whether Nextcloud and ownCloud are told the digests of files, and asked for them.
    pub checksum: bool,
    /// The links that Nextcloud and ownCloud make, where they are wanted.
    pub share: Option<Share>,
}

/// The links that are made.
#[derive(Debug, Clone)]
pub struct Share {
    /// How many days they are good; nothing where they do not end.
    pub days: Option<u32>,
    /// The password that whoever has one must know.
    pub password: Option<SecretSource>,
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
    fn addresses(&self) -> Vec<&str> {
        vec![&self.base_url]
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        let login = match &self.login {
            Login::Open => None,
            Login::Password { password, .. } => Some(("password", password)),
            Login::Token(token) => Some(("token", token)),
        };
        let of_links = self.share.as_ref().and_then(|share| Some(("share_password", share.password.as_ref()?)));
        login.into_iter().chain(of_links).collect()
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
    let checksum = table.get("checksum", true, word(CHECKSUMS));
    let share = share(table, environment);
    let base_url = base_url?;
    let cloud = Cloud::of(&place::base(&base_url)).filter(|_| flavour != Flavour::Plain);
    if flavour == Flavour::Nextcloud && cloud.is_none() {
        let help = "write \"https://HOST/remote.php/dav/files/USER\", and behind it the folder";
        table.complain("base_url", "`base_url` does not say where uploads in chunks go", help);
    }
    if share.is_some() && cloud.is_none() {
        let help =
            "write \"https://HOST/remote.php/dav/files/USER\" as `base_url`, with the folder behind it, or leave out `share`";
        table.complain("share", "only Nextcloud and ownCloud make links", help);
    }
    if !matches!(login, Some(Login::Open)) {
        in_the_clear(table, "base_url", &base_url, allow_http);
    }
    Some(WebDavConfig { base_url, login: login?, cloud, part_bytes, parallel_parts, on_existing, link_base, checksum, share })
}

/// The links that are wanted.
fn share(table: &Table<'_>, environment: &dyn Environment) -> Option<Share> {
    let wanted = table.get("share", Lasting::None, lasting);
    let password = table.find("share_password", secret(table, environment));
    let days = match wanted {
        Lasting::None => {
            if table.has("share_password") {
                table.complain(
                    "share_password",
                    "`share_password` does nothing without `share`",
                    "add `share = true`, or remove it",
                );
            }
            return None;
        }
        Lasting::Days(days) => Some(days),
        Lasting::Forever => None,
    };
    Some(Share { days, password })
}

/// How long a link is good.
#[derive(Debug, Clone, Copy)]
enum Lasting {
    /// There is none.
    None,
    /// So many days.
    Days(u32),
    /// Until somebody ends it.
    Forever,
}

/// Yes or no, or a number of days: "30d".
fn lasting(value: &Value<'_>) -> Result<Lasting, Wrong> {
    if let Ok(is_wanted) = boolean(value) {
        return Ok(if is_wanted { Lasting::Forever } else { Lasting::None });
    }
    let help = "write true for links without an end, or days, such as \"30d\"";
    let given = text(value).map_err(|_| Wrong::new("is no number of days", help))?;
    let days = given.trim().strip_suffix('d').and_then(|days| days.trim().parse().ok()).filter(|days| (1..=3650).contains(days));
    days.map(Lasting::Days).ok_or_else(|| Wrong::new(format!("is \"{given}\", which is no number of days from 1 to 3650"), help))
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
