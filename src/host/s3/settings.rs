//! What is configured of a bucket.

use std::time::Duration;

use url::Url;

use crate::config::reading::{
    Table, Value, Wrong, boolean, duration, filled_text, in_the_clear, needed_secret, number_or_auto, one_or_more, part_size,
    secret, text, web_address, word,
};
use crate::config::{Environment, HostSettings, SecretSource};

use super::checksum::Checksum;
use super::keys::{KeyTemplate, WORDS};
use super::place::Style;

const MIB: u64 = 1024 * 1024;
/// The bounds of a part, and of what may go in one request (page, 4).
const PART: std::ops::RangeInclusive<u64> = 5 * MIB..=5120 * MIB;
const SINGLE_PUT: std::ops::RangeInclusive<u64> = 0..=5120 * MIB;
/// How long a signed address may be good (page, 10).
const SHARE_MAX: Duration = Duration::from_secs(604_800);
const STYLES: &[(&str, Style)] = &[("auto", Style::Auto), ("path", Style::Path), ("virtual", Style::Virtual)];
const ON_EXISTING: &[(&str, OnExisting)] = &[
    ("overwrite", OnExisting::Overwrite),
    ("rename", OnExisting::Rename),
    ("skip", OnExisting::Skip),
    ("error", OnExisting::Error),
];
const CHECKSUMS: &[(&str, Option<Checksum>)] = &[
    ("auto", None),
    ("crc64nvme", Some(Checksum::Crc64Nvme)),
    ("crc32c", Some(Checksum::Crc32c)),
    ("sha256", Some(Checksum::Sha256)),
    ("md5", Some(Checksum::Md5)),
    ("none", Some(Checksum::None)),
];
/// Hosts that verify a CRC-64 of the whole object (page, 6), and refuse to store over another (page, 8).
const DOCUMENTED: [&str; 2] = [".amazonaws.com", ".r2.cloudflarestorage.com"];

/// Settings of a bucket.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Scheme, host, port and any path before the bucket, without a slash at the end.
    pub endpoint: String,
    /// The region, as requests are signed for it.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// How the bucket stands in addresses.
    pub style: Style,
    /// The id of the key that signs.
    pub access_key_id: SecretSource,
    /// The key that signs.
    pub secret_access_key: SecretSource,
    /// What goes with a key that is lent for a while.
    pub session_token: Option<SecretSource>,
    /// What an object is called.
    pub key: KeyTemplate,
    /// The least size of a part, in bytes; larger files may need larger parts.
    pub part_bytes: u64,
    /// The largest file that goes in one request, in bytes.
    pub single_put_max: u64,
    /// Parts of one file in flight together.
    pub parallel_parts: Option<usize>,
    /// What goes with each part, so that the service refuses other bytes; nothing where the service is to say whether it can do
    /// better than what every service can.
    pub checksum: Option<Checksum>,
    /// Whether the service is known to refuse a `PUT` to a key that is taken.
    pub refuses_taken_keys: bool,
    /// Whether nobody else opens uploads in this bucket.
    pub only_writer: bool,
    /// What is done where there is an object of the key.
    pub on_existing: OnExisting,
    /// What a link begins with, with a slash at the end; nothing where objects are not public.
    pub link_base: Option<String>,
    /// How long a signed address is good.
    pub share: Duration,
    /// Headers that every object is stored with.
    pub headers: Vec<(&'static str, String)>,
    /// The media type of every object; nothing tells it by the name of the file.
    pub content_type: Option<String>,
}

/// What is done where there is an object of the key.
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

impl S3Config {
    /// Whether every upload of one of our keys is of our opening: nobody else makes keys like these, or nobody else is there.
    pub(super) fn is_only_writer(&self) -> bool {
        self.only_writer || self.key.is_ours_alone()
    }
}

impl HostSettings for S3Config {
    fn addresses(&self) -> Vec<&str> {
        vec![&self.endpoint]
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        let token = self.session_token.as_ref().map(|token| ("session_token", token));
        [("access_key_id", &self.access_key_id), ("secret_access_key", &self.secret_access_key)].into_iter().chain(token).collect()
    }

    fn account(&self) -> String {
        format!("{}/{}", self.endpoint, self.bucket)
    }

    fn risks(&self) -> Vec<String> {
        let mut risks = Vec::new();
        if self.on_existing == OnExisting::Overwrite && self.key.collides() {
            risks.push(
                "`key` has neither {folder} nor {version}: a file overwrites another of its name, also one from another folder"
                    .into(),
            );
        }
        if self.on_existing == OnExisting::Skip {
            risks.push("`on_existing = \"skip\"`: a file whose key is taken counts as uploaded, whatever is stored there".into());
        }
        risks
    }
}

/// The settings in its table.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<S3Config> {
    let region = table.get("region", "us-east-1".to_owned(), plain);
    let endpoint = table.get("endpoint", format!("https://s3.{region}.amazonaws.com"), web_address);
    let allow_http = table.get("allow_http", false, boolean);
    in_the_clear(table, "endpoint", &endpoint, allow_http);
    let bucket = table.need("bucket", "add `bucket = \"NAME\"`", plain);
    let access_key_id = needed_secret(table, "access_key_id", environment);
    let secret_access_key = needed_secret(table, "secret_access_key", environment);
    let session_token = table.find("session_token", secret(table, environment));
    let default_key = KeyTemplate::read("{folder}/{name}").ok()?;
    let documented = is_documented(&endpoint).then_some(Checksum::Crc64Nvme);
    let checksum = table.get("checksum", None, word(CHECKSUMS)).or(documented);
    let config = S3Config {
        style: table.get("style", Style::Auto, word(STYLES)),
        key: table.get("key", default_key, key),
        part_bytes: table.get("part_size", 8 * MIB, part_size(PART, MIB)),
        single_put_max: table.get("single_put_max", 16 * MIB, part_size(SINGLE_PUT, 1)),
        parallel_parts: table.get("parallel_parts", None, number_or_auto(1, 64)),
        checksum,
        refuses_taken_keys: is_documented(&endpoint),
        only_writer: table.get("only_writer", false, boolean),
        on_existing: table.get("on_existing", OnExisting::Rename, word(ON_EXISTING)),
        link_base: table.find("link_base", web_address).map(|base| format!("{base}/")),
        share: table.get("share", Duration::from_secs(24 * 3600), share),
        headers: headers(table),
        content_type: table.find("content_type", header_value),
        session_token,
        endpoint,
        region,
        bucket: bucket?,
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
    };
    Some(config)
}

fn is_documented(endpoint: &str) -> bool {
    let url = Url::parse(endpoint).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    DOCUMENTED.iter().any(|end| host.ends_with(end))
}

/// Headers that every object is stored with (page, 3).
fn headers(table: &Table<'_>) -> Vec<(&'static str, String)> {
    const KEYS: [(&str, &str); 6] = [
        ("cache_control", "cache-control"),
        ("content_disposition", "content-disposition"),
        ("storage_class", "x-amz-storage-class"),
        ("acl", "x-amz-acl"),
        ("server_side_encryption", "x-amz-server-side-encryption"),
        ("kms_key_id", "x-amz-server-side-encryption-aws-kms-key-id"),
    ];
    let named = KEYS.iter().filter_map(|(key, name)| Some((*name, table.find(key, header_value)?)));
    let mut headers: Vec<(&'static str, String)> = named.collect();
    if table.has("kms_key_id") && !table.has("server_side_encryption") {
        let message = "`kms_key_id` does nothing without `server_side_encryption`";
        table.complain("kms_key_id", message, "add `server_side_encryption = \"aws:kms\"`");
    }
    let tags = table
        .find("tags", one_or_more(tag))
        .map(|tags| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(tags).finish());
    headers.extend(tags.map(|tags| ("x-amz-tagging", tags)));
    headers
}

fn key(value: &Value<'_>) -> Result<KeyTemplate, Wrong> {
    let help = format!("write names and {{{}}}, such as \"backup/{{folder}}/{{name}}\"", WORDS.join("}, {"));
    KeyTemplate::read(&text(value)?).map_err(|wrong| Wrong::new(wrong, help))
}

/// A name that stands in addresses and signatures.
fn plain(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    let sound = given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if sound && (1..=255).contains(&given.len()) && given.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        Ok(given)
    } else {
        Err(Wrong::new("is no valid name", "write letters, digits, dots and hyphens, as in your account"))
    }
}

/// A text that can be the value of a header.
fn header_value(value: &Value<'_>) -> Result<String, Wrong> {
    let given = filled_text(value)?;
    if given.is_ascii() && given.trim() == given {
        Ok(given)
    } else {
        Err(Wrong::new("cannot be sent", "write ASCII, without spaces around it"))
    }
}

fn tag(value: &Value<'_>) -> Result<(String, String), Wrong> {
    let given = filled_text(value)?;
    let pair = given.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| Wrong::new("is no tag", "write \"NAME=VALUE\", or a list of such"))
}

/// How long a signed address is good: "7d", "12h".
fn share(value: &Value<'_>) -> Result<Duration, Wrong> {
    let given = text(value)?;
    let days = given.trim().strip_suffix('d').and_then(|days| days.trim().parse::<u32>().ok());
    let read = match days {
        Some(days) => Duration::from_secs(24 * 3600).saturating_mul(days),
        None => duration(Duration::from_secs(1))(value)?,
    };
    if (Duration::from_secs(1)..=SHARE_MAX).contains(&read) {
        Ok(read)
    } else {
        Err(Wrong::new(format!("is \"{given}\", which is out of range"), "a signed address is good for \"7d\" at most"))
    }
}
