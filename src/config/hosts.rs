//! What is written in a `[host.NAME]` table becomes the settings of its kind.

use std::net::IpAddr;
use std::time::Duration;

use super::file::{Table, Value, Wrong, boolean, integer, kind, text, word};
use super::secrets::secret;
use super::units::{base_url, duration, size, web_address};
use super::{
    CloudKpConfig, EmptyFile, EmptyPart, Environment, FourSharedConfig, FourSharedFolder, HostKind, KieConfig, KieMethod,
    KooDriveConfig, KooDriveLogin, SecretSource, UploadGigConfig,
};

/// Every kind there is.
pub(super) const KINDS: [&str; 5] = ["cloudkp", "uploadgig", "koodrive", "kie", "4shared"];

const EMPTY_FILE: &[(&str, EmptyFile)] = &[("reject", EmptyFile::Reject), ("one-empty-chunk", EmptyFile::OneEmptyChunk)];
const EMPTY_PART: &[(&str, EmptyPart)] = &[("one-empty-part", EmptyPart::OneEmptyPart), ("reject", EmptyPart::Reject)];
const METHODS: &[(&str, KieMethod)] = &[("stream", KieMethod::Stream), ("base64", KieMethod::Base64)];
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1024 * 1024;
/// The bounds of a KooDrive part (`docs/protocols/koodrive.md`, 3.2).
const KOODRIVE_PART: std::ops::RangeInclusive<u64> = 5 * MIB..=5120 * MIB;
/// The bounds of a 4shared part; the host documents none, these keep a part worth its request and a file below 10 million parts.
const FOURSHARED_PART: std::ops::RangeInclusive<u64> = 256 * 1024..=5120 * MIB;

/// The settings of one host. What is missing is told; the host then does not exist.
pub(super) fn settings(word: &str, table: &Table<'_>, environment: &dyn Environment) -> Option<HostKind> {
    match word {
        "uploadgig" => uploadgig(table, environment).map(HostKind::UploadGig),
        "koodrive" => koodrive(table, environment).map(HostKind::KooDrive),
        "kie" => kie(table, environment).map(HostKind::Kie),
        "4shared" => fourshared(table, environment).map(HostKind::FourShared),
        _ => Some(HostKind::CloudKp(cloudkp(table))),
    }
}

fn cloudkp(table: &Table<'_>) -> CloudKpConfig {
    CloudKpConfig {
        base_url: table.get("base_url", "https://kpdl.cloudkp.com".to_owned(), base_url("/upload")),
        link_base: table.get("link_base", "https://cloudkp.com?c=".to_owned(), text),
        session_max_age: table.get("session_max_age", 24 * HOUR, duration(SECOND)),
        empty_file: table.get("empty_file", EmptyFile::Reject, word(EMPTY_FILE)),
    }
}

fn uploadgig(table: &Table<'_>, environment: &dyn Environment) -> Option<UploadGigConfig> {
    let base_url = table.get("base_url", "https://uploadgig.com".to_owned(), base_url("/api/get_upload_action"));
    let user = table.need("user", "add `user = \"NAME\"`, the account's e-mail address", filled_text);
    let password = table.need("password", SECRET_HELP, secret(table, environment));
    let allow_private = allow_private(table, &base_url);
    Some(UploadGigConfig { base_url, user: user?, password: password?, allow_private })
}

fn koodrive(table: &Table<'_>, environment: &dyn Environment) -> Option<KooDriveConfig> {
    let base_url = table.get("base_url", "https://intl.myhuaweicloud-koodrive.com".to_owned(), base_url("/koodrive/ose"));
    let login = koodrive_login(table, environment);
    let allow_private = allow_private(table, &base_url);
    let config = KooDriveConfig {
        base_url,
        folder: table.get("folder", "root".to_owned(), filled_text),
        part_bytes: table.get("part_size", 16 * MIB, part_size(KOODRIVE_PART, 64)),
        flash_upload: table.get("flash_upload", true, boolean),
        empty_file: table.get("empty_file", EmptyPart::OneEmptyPart, word(EMPTY_PART)),
        allow_private,
        login: login?,
    };
    Some(config)
}

fn koodrive_login(table: &Table<'_>, environment: &dyn Environment) -> Option<KooDriveLogin> {
    let token = table.find("access_token", secret(table, environment));
    let prefix = table.get("token_prefix", "Bearer ".to_owned(), text);
    let user_id = table.find("user_id", filled_text);
    let app_id = table.find("app_id", filled_text);
    let app_secret = table.find("app_secret", secret(table, environment));
    let app_keys = table.has("app_id") || table.has("app_secret");
    if table.has("access_token") {
        if app_keys {
            table.complain(
                "access_token",
                "`access_token` cannot be combined with `app_id` or `app_secret`",
                "keep one of the two ways to log in",
            );
        }
        return token.map(|access_token| KooDriveLogin::Token { access_token, prefix, user_id });
    }
    let help = "set `app_id`, `app_secret` and `user_id` to log in as an app, or `access_token` to use a session";
    for key in ["app_id", "app_secret", "user_id"] {
        if !table.has(key) {
            table.complain(key, format!("{} has no `{key}`", table.title), help);
        }
    }
    Some(KooDriveLogin::App { app_id: app_id?, app_secret: app_secret?, user_id: user_id? })
}

fn kie(table: &Table<'_>, environment: &dyn Environment) -> Option<KieConfig> {
    let base_url = table.get("base_url", "https://kieai.redpandaai.co".to_owned(), base_url("/api"));
    let api_key = table.need("api_key", SECRET_HELP, secret(table, environment));
    in_the_clear(table, &base_url, false);
    Some(KieConfig {
        base_url,
        method: table.get("method", KieMethod::Stream, word(METHODS)),
        remote_urls: table.get("remote_urls", false, boolean),
        upload_path: table.get("upload_path", "ferryd".to_owned(), upload_path),
        kept_for: table.get("kept_for", 24 * HOUR, duration(SECOND)),
        api_key: api_key?,
    })
}

fn fourshared(table: &Table<'_>, environment: &dyn Environment) -> Option<FourSharedConfig> {
    let base_url = table.get("base_url", "https://api.4shared.com/jax3/DesktopApp".to_owned(), web_address);
    let user = table.need("user", "add `user = \"NAME\"`, the account's login", filled_text);
    let password = table.need("password", SECRET_HELP, secret(table, environment));
    let allow_private = allow_private(table, &base_url);
    let config = FourSharedConfig {
        base_url,
        app: table.find("app", filled_text),
        folder: table.get("folder", FourSharedFolder::Id(-1), folder),
        part_bytes: table.get("part_size", 8 * MIB, part_size(FOURSHARED_PART, 1)),
        parallel_parts: table
            .get("parallel_parts", 1, |value| integer(1, 3)(value).map(|count| usize::try_from(count).unwrap_or(1))),
        allow_private,
        user: user?,
        password: password?,
    };
    Some(config)
}

const SECRET_HELP: &str =
    "write \"…\", or better, where to read it from: { env = \"NAME\" }, { file = \"PATH\" } or { command = [\"…\"] }";

fn allow_private(table: &Table<'_>, base_url: &str) -> bool {
    let allowed = table.get("allow_private", false, boolean);
    in_the_clear(table, base_url, allowed);
    allowed
}

/// A password must not cross a network in the clear; this machine is no network.
fn in_the_clear(table: &Table<'_>, base_url: &str, allowed: bool) {
    if base_url.starts_with("http://") && !allowed && !is_loopback(base_url) {
        table.complain("base_url", "`base_url` would send the credentials unencrypted", "use https://");
    }
}

fn is_loopback(address: &str) -> bool {
    let url = url::Url::parse(address).ok();
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}

fn filled_text(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    match given.is_empty() || given.chars().any(char::is_control) {
        true => Err(Wrong::new("is empty or contains a control character", "write it exactly as in your account")),
        false => Ok(given),
    }
}

fn part_size(bounds: std::ops::RangeInclusive<u64>, multiple: u64) -> impl Fn(&Value<'_>) -> Result<u64, Wrong> {
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

/// A folder of Kie.ai: no slash at either end, nothing that means another folder (`docs/protocols/kie.md`, 2.1).
fn upload_path(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    let sound = given.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.chars().any(char::is_control));
    match sound {
        true => Ok(given),
        false => Err(Wrong::new("is not a valid folder", "write names with `/` between them, such as \"ferryd/inbox\"")),
    }
}

fn folder(value: &Value<'_>) -> Result<FourSharedFolder, Wrong> {
    if let Ok(id) = integer(-1, i64::MAX)(value) {
        return Ok(FourSharedFolder::Id(id));
    }
    let help = "write the number of the folder (-1 is the root), or its path, such as \"backups/2026\"";
    let given = text(value).map_err(|_| Wrong::new(format!("must be a folder, not {}", kind(value)), help))?;
    let names: Vec<String> = given.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    match names.iter().any(|name| matches!(name.as_str(), "." | "..") || name.chars().any(char::is_control)) {
        true => Err(Wrong::new("is not a valid folder", help)),
        false => Ok(FourSharedFolder::Path(names)),
    }
}

impl HostKind {
    /// The secrets this host needs, with the keys they stand under.
    pub fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        match self {
            HostKind::CloudKp(_) => Vec::new(),
            HostKind::UploadGig(config) => vec![("password", &config.password)],
            HostKind::KooDrive(KooDriveConfig { login: KooDriveLogin::App { app_secret, .. }, .. }) => {
                vec![("app_secret", app_secret)]
            }
            HostKind::KooDrive(KooDriveConfig { login: KooDriveLogin::Token { access_token, .. }, .. }) => {
                vec![("access_token", access_token)]
            }
            HostKind::Kie(config) => vec![("api_key", &config.api_key)],
            HostKind::FourShared(config) => vec![("password", &config.password)],
        }
    }
}
