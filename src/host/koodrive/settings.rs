//! What is configured of a KooDrive space.

use std::time::Duration;

use crate::config::reading::{
    Table, Value, Wrong, allow_private, base_url, boolean, filled_text, number_or_auto, part_size, secret, text, word,
};
use crate::config::{Environment, HostSettings, KeepAlive, SecretSource};

const EMPTY_PART: &[(&str, EmptyPart)] = &[("one-empty-part", EmptyPart::OneEmptyPart), ("reject", EmptyPart::Reject)];
const MIB: u64 = 1024 * 1024;
const PROOF_CODE: &[(&str, ProofCode)] = &[("auto", ProofCode::Auto), ("always", ProofCode::Always), ("never", ProofCode::Never)];
const STAY_ALIVE: &[(&str, StayAlive)] = &[("jobs", StayAlive::Jobs), ("always", StayAlive::Always), ("never", StayAlive::Never)];
/// A token lives for 20 minutes after its last use (`docs/protocols/koodrive.md`, 2.1).
const HEARD_EVERY: Duration = Duration::from_secs(15 * 60);
/// What only a token needs.
const OF_TOKENS: [&str; 3] = ["session_id", "refresh_token", "keep_alive"];
/// The bounds of a part (`docs/protocols/koodrive.md`, 3.2).
const PART: std::ops::RangeInclusive<u64> = 5 * MIB..=5120 * MIB;

/// Settings of a KooDrive space.
#[derive(Debug, Clone)]
pub struct KooDriveConfig {
    /// Scheme, host, port and any path before `/koodrive`, without a slash at the end.
    pub base_url: String,
    /// How requests are signed.
    pub login: KooDriveLogin,
    /// The id of the folder that files go to.
    pub folder: String,
    /// The id of the container that folders are made in; nothing leaves it to what the host says.
    pub container_id: Option<String>,
    /// How many days the link to a stored file is good for; nothing asks for none.
    pub share_days: Option<u32>,
    /// The least size of a part, in bytes; larger files may need larger parts.
    pub part_bytes: u64,
    /// Parts of one file in flight at most, where that is not left to measuring.
    pub parallel_parts: Option<usize>,
    /// Whether the digest is computed before anything is sent, so that a file the host knows already is not sent at all.
    pub flash_upload: bool,
    /// Whether a digest goes with a proof that we have its file.
    pub proof_code: ProofCode,
    /// What is done with a file of 0 bytes.
    pub empty_file: EmptyPart,
    /// Whether the addresses the host names for parts may be of this machine or of a private network.
    pub allow_private: bool,
}

/// How a KooDrive request proves who sends it.
#[derive(Debug, Clone)]
pub enum KooDriveLogin {
    /// The signature of an app, for one of its users.
    App {
        /// The app's id.
        app_id: String,
        /// What the signature is made with.
        app_secret: SecretSource,
        /// The user's id.
        user_id: String,
    },
    /// A token of a session, which lives for 20 minutes after its last use.
    Token {
        /// The token.
        access_token: SecretSource,
        /// What stands before it in the header, where the user knows; the documents have both `Bearer ` and `Bearer+`.
        prefix: Option<String>,
        /// The id of its session, with which another token is had.
        session_id: Option<SecretSource>,
        /// A secret for which another token is had, and another such secret.
        refresh_token: Option<SecretSource>,
        /// When the host hears from us although there is nothing to ask.
        stay_alive: StayAlive,
        /// The user's id.
        user_id: String,
    },
}

/// When a token is kept alive by calls that ask for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StayAlive {
    /// While there is something to be uploaded.
    Jobs,
    /// As long as the daemon runs.
    Always,
    /// Not at all.
    Never,
}

/// Whether a digest goes with a proof that we have its file; the documents of some years know no such field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofCode {
    /// It does, and where the space calls that malformed, not.
    Auto,
    /// It does.
    Always,
    /// It does not.
    Never,
}

/// What a KooDrive space is sent for a file of 0 bytes; the documents leave open whether it takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyPart {
    /// The job fails with that reason.
    Reject,
    /// One part of 0 bytes.
    OneEmptyPart,
}

impl KooDriveLogin {
    /// What requests are signed with, or the token.
    pub(super) fn secret(&self) -> &SecretSource {
        match self {
            KooDriveLogin::App { app_secret, .. } => app_secret,
            KooDriveLogin::Token { access_token, .. } => access_token,
        }
    }

    /// The id of the user whose space it is.
    pub(super) fn user_id(&self) -> &str {
        match self {
            KooDriveLogin::App { user_id, .. } | KooDriveLogin::Token { user_id, .. } => user_id,
        }
    }
}

impl HostSettings for KooDriveConfig {
    fn addresses(&self) -> Vec<&str> {
        vec![&self.base_url]
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretSource)> {
        match &self.login {
            KooDriveLogin::App { app_secret, .. } => vec![("app_secret", app_secret)],
            KooDriveLogin::Token { access_token, session_id, refresh_token, .. } => {
                let session_id = session_id.as_ref().map(|secret| ("session_id", secret));
                let refresh_token = refresh_token.as_ref().map(|secret| ("refresh_token", secret));
                std::iter::once(("access_token", access_token)).chain(session_id).chain(refresh_token).collect()
            }
        }
    }

    fn account(&self) -> String {
        let (KooDriveLogin::App { user_id, .. } | KooDriveLogin::Token { user_id, .. }) = &self.login;
        user_id.clone()
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        match &self.login {
            KooDriveLogin::Token { stay_alive: StayAlive::Jobs, .. } => Some(KeepAlive { every: HEARD_EVERY, always: false }),
            KooDriveLogin::Token { stay_alive: StayAlive::Always, .. } => Some(KeepAlive { every: HEARD_EVERY, always: true }),
            KooDriveLogin::Token { stay_alive: StayAlive::Never, .. } | KooDriveLogin::App { .. } => None,
        }
    }
}

/// The settings in its table.
pub(super) fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<KooDriveConfig> {
    let base_url = table.get("base_url", "https://intl.myhuaweicloud-koodrive.com".to_owned(), base_url("/koodrive/ose"));
    let login = login(table, environment);
    let allow_private = allow_private(table, &base_url);
    let config = KooDriveConfig {
        base_url,
        folder: table.get("folder", "root".to_owned(), filled_text),
        container_id: table.find("container_id", filled_text),
        share_days: table.find("share", days),
        part_bytes: table.get("part_size", 8 * MIB, part_size(PART, 64)),
        parallel_parts: table.get("parallel_parts", None, number_or_auto(1, 16)),
        flash_upload: table.get("flash_upload", true, boolean),
        proof_code: table.get("proof_code", ProofCode::Auto, word(PROOF_CODE)),
        empty_file: table.get("empty_file", EmptyPart::OneEmptyPart, word(EMPTY_PART)),
        allow_private,
        login: login?,
    };
    Some(config)
}

/// A number of days from 1 to a year: "30d".
fn days(value: &Value<'_>) -> Result<u32, Wrong> {
    let given = text(value)?;
    let count = given.trim().strip_suffix('d').and_then(|count| count.trim().parse().ok());
    count.filter(|count| (1..=365).contains(count)).ok_or_else(|| {
        Wrong::new(format!("is \"{given}\", which is no number of days from 1 to 365"), "write days, such as \"30d\"")
    })
}

fn login(table: &Table<'_>, environment: &dyn Environment) -> Option<KooDriveLogin> {
    let token = table.find("access_token", secret(table, environment));
    let prefix = table.find("token_prefix", text);
    let session_id = table.find("session_id", secret(table, environment));
    let refresh_token = table.find("refresh_token", secret(table, environment));
    let stay_alive = table.get("keep_alive", StayAlive::Jobs, word(STAY_ALIVE));
    let user_id = table.find("user_id", filled_text);
    let app_id = table.find("app_id", filled_text);
    let app_secret = table.find("app_secret", secret(table, environment));
    let app_keys = table.has("app_id") || table.has("app_secret");
    let is_token = table.has("access_token");
    if is_token && app_keys {
        table.complain(
            "access_token",
            "`access_token` cannot be combined with `app_id` or `app_secret`",
            "keep one of the two ways to log in",
        );
    }
    let needed: &[&str] = if is_token { &["user_id"] } else { &["app_id", "app_secret", "user_id"] };
    let help = "set `app_id`, `app_secret` and `user_id` to log in as an app, or `access_token` and `user_id` to use a session";
    for key in needed.iter().filter(|key| !table.has(key)) {
        table.complain(key, format!("{} has no `{key}`", table.title), help);
    }
    if is_token {
        let (access_token, user_id) = (token?, user_id?);
        return Some(KooDriveLogin::Token { access_token, prefix, session_id, refresh_token, stay_alive, user_id });
    }
    for key in OF_TOKENS.iter().filter(|key| table.has(key)) {
        table.complain(key, format!("`{key}` does nothing without `access_token`"), "remove it, or log in with `access_token`");
    }
    Some(KooDriveLogin::App { app_id: app_id?, app_secret: app_secret?, user_id: user_id? })
}
