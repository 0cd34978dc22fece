//! KooDrive from the other side: JSON calls that create and complete a file, and links that take its parts.
//!
//! The calls are below `PREFIX/koodrive/ose/v1`, each signed or with a token. Parts go to `PUT PREFIX/store/FILEID?...`,
//! stored files come from `GET PREFIX/fetch/FILEID?...`; both are links with a signature of their own and an end. A broken rule is
//! HTTP 400 with a `code`; credentials that are wrong are HTTP 401; what is wrong with a link or its part is said in XML, as object
//! storage does.
//!
//! `calls` answers the JSON calls, `folders` those about folders and shares, `parts` takes parts in and gives files out, `books` keeps what is known of uploads and files,
//! `sign` is about who asks, `session` about how long a token lets anybody in, `proof` about who has a file, `hash` about digests that go on from part to part, `fields` reads JSON.

mod books;
mod calls;
mod fields;
mod folders;
pub(super) mod hash;
mod parts;
mod proof;
mod session;
pub(super) mod sign;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper::Method;
use serde_json::json;

use self::parts::Fault;
use super::Emulated;
use super::exchange::{Answer, Exchange, Stop};
use super::log::Outcome;
use super::objects::Refusal;
use super::reply::Reply;

pub(super) const KIND: &str = "koodrive";
const CALLS: &str = "/koodrive/ose/v1/";

/// How the emulated KooDrive reads and answers where its documentation leaves a choice, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Rejects whatever the documentation does not allow. Otherwise unknown fields, any content type, every form of token, and
    /// large batches of links are taken.
    pub strict: bool,
    /// The application that signs calls.
    pub app_id: String,
    /// The secret it signs with.
    pub app_secret: String,
    /// The user the calls are for.
    pub user_id: String,
    /// The first token of calls that are not signed.
    pub access_token: String,
    /// The id of its session, for `session/refresh`.
    pub session_id: String,
    /// The first refresh token, for `auth/refreshToken`.
    pub refresh_token: String,
    /// After how many seconds without a call a token is dead.
    pub idle_seconds: u32,
    /// How many seconds a token lives that was given out in a refresh, whatever calls it makes; told with it.
    pub expires_in: Option<u32>,
    /// Takes each refresh token once, and then the one that came with the answer. Otherwise it gives out none but the first.
    pub refresh_once: bool,
    /// What stands before a token that is given out in a refresh.
    pub scheme: String,
    /// Where the answer to `auth/refreshToken` has the tokens.
    pub renewed: Renewed,
    /// Takes signed calls.
    pub hmac: bool,
    /// Takes `Bearer TOKEN`.
    pub bearer: bool,
    /// Takes `Bearer+TOKEN`, by the letter of the documentation.
    pub bearer_plus: bool,
    /// Takes the token alone.
    pub bare: bool,
    /// The space of the account, in bytes.
    pub quota: u64,
    /// The longest file, in bytes.
    pub length_max: u64,
    /// The longest name, in characters.
    pub name_chars_max: usize,
    /// The folders there are besides `root`.
    pub folders: Vec<String>,
    /// Takes files without bytes.
    pub empty_files: bool,
    /// Stores a file without its bytes when it holds the same bytes already.
    pub flash: bool,
    /// Takes parts without `partOffset` and `hashCtx`, which then must come in order.
    pub sequential: bool,
    /// The shortest part that is not the last, in bytes. The documentation says 5 MiB; tests may want less.
    pub part_bytes_min: u64,
    /// How many links one call asks for at most.
    pub links_max: usize,
    /// How long a link is good for.
    pub link_seconds: u32,
    /// The first links.
    pub first_links: FirstLinks,
    /// What becomes of an upload when more links are asked for.
    pub upload_id: UploadId,
    /// What becomes of the `proofCode` of a create.
    pub proof: Proof,
    /// How `code` is written.
    pub code: CodeForm,
    /// The scopes that a file may be shared with.
    pub share_scopes: Vec<u64>,
    /// Writes `linkUrl` of a share as a bare number, as one example of the documentation has it.
    pub share_number: bool,
}

impl Default for Rules {
    /// Strict, with signed calls and `Bearer+TOKEN`.
    fn default() -> Rules {
        Rules {
            strict: true,
            app_id: "app1".into(),
            app_secret: "test-app-secret".into(),
            user_id: "1000000000000000001".into(),
            access_token: "test-token".into(),
            session_id: "test-session".into(),
            refresh_token: "test-refresh".into(),
            idle_seconds: 20 * 60,
            expires_in: Some(1800),
            refresh_once: true,
            scheme: "Bearer+".into(),
            renewed: Renewed::SessionInfo,
            hmac: true,
            bearer: false,
            bearer_plus: true,
            bare: false,
            quota: u64::MAX,
            length_max: 200_000_000_000,
            name_chars_max: 250,
            folders: Vec::new(),
            empty_files: true,
            flash: true,
            sequential: false,
            part_bytes_min: 5 * 1024 * 1024,
            links_max: 10,
            link_seconds: 3600,
            first_links: FirstLinks::Asked,
            upload_id: UploadId::Stays,
            proof: Proof::Checked,
            code: CodeForm::Number,
            share_scopes: vec![1, 2, 3],
            share_number: false,
        }
    }
}

/// When the reply to a create carries links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstLinks {
    /// Never, even when the request asks for some.
    Never,
    /// When the request asks for some.
    Asked,
    /// Always: a link for the whole file as one part when the request asks for none and the file fits into one.
    Always,
}

/// What becomes of an upload when more links are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadId {
    /// It goes on.
    Stays,
    /// Another one with another id takes its place, and the parts so far are gone.
    Changes,
}

/// What becomes of the `proofCode` of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The field is not known.
    Off,
    /// It must be right where it is sent.
    Checked,
    /// It must be there where a digest is sent, and right.
    Required,
}

/// Where the answer to `auth/refreshToken` has the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// In `data.sessionInfo`, by the example of the documentation.
    SessionInfo,
    /// In `data`, by its table.
    Data,
}

/// How `code` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeForm {
    /// As a number.
    Number,
    /// As a string.
    Text,
    /// Of a failure: as a number in an object `error`.
    InError,
}

/// What `[host.koodrive]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    let Rules { app_id, app_secret, user_id, .. } = Rules::default();
    format!(
        "[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}\"\napp_id = \"{app_id}\"\napp_secret = \"{app_secret}\"\n\
         user_id = \"{user_id}\"\nallow_private = true\n"
    )
}

/// The emulation.
#[derive(Debug)]
pub(super) struct KooDrive {
    drive: Arc<Drive>,
}

/// What every request of the host works with.
#[derive(Debug)]
struct Drive {
    rules: Rules,
    /// The files that are being completed. Held while a part is put in its place, so that none slips under a complete.
    completing: Mutex<BTreeSet<String>>,
    /// Held while it is decided what a token may do.
    refreshing: Mutex<()>,
}

impl KooDrive {
    pub(super) fn new(rules: Rules) -> KooDrive {
        KooDrive { drive: Arc::new(Drive { rules, completing: Mutex::default(), refreshing: Mutex::default() }) }
    }

    async fn route(&self, exchange: &mut Exchange) -> Result<Answer, Stop> {
        if exchange.path.starts_with(parts::STORE) {
            return self.drive.put(exchange).await;
        }
        if exchange.path.starts_with(parts::FETCH) {
            return self.drive.fetch(exchange).await;
        }
        let call = exchange.path.strip_prefix(CALLS).and_then(calls::Call::of);
        match (call, &exchange.method) {
            (Some(call), &Method::POST) => self.drive.call(exchange, call).await,
            (Some(_), _) => {
                let reason = "this method is not allowed here";
                let reply = self.refuse(405, reason).header("allow", "POST");
                Ok(Answer::plain(reply, Outcome::Rejected(reason.into())))
            }
            (None, _) => Err(Stop::Refused { status: 404, reason: "there is nothing at this path".into() }),
        }
    }
}

impl Emulated for KooDrive {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        match status {
            404 | 405 => gateway(status, "APIGW.0101", reason),
            500.. => self.drive.failure(status, code::INTERNAL, reason),
            _ => self.drive.failure(status, code::REQUEST, reason),
        }
    }

    fn full(&self) -> Reply {
        self.drive.failure(400, code::FULL, "Insufficient space.")
    }

    fn expired(&self) -> Reply {
        Fault::expired().reply()
    }

    fn denied(&self) -> Reply {
        gateway(401, "APIGW.0301", "Incorrect authentication information")
    }

    fn limited(&self) -> Reply {
        gateway(429, "APIGW.0308", "The throttling threshold has been reached")
    }
}

impl Drive {
    fn failure(&self, status: u16, code: u32, reason: &str) -> Reply {
        let body = match self.rules.code {
            CodeForm::InError => json!({ "error": { "code": code, "msg": reason, "errorData": {} } }),
            CodeForm::Number | CodeForm::Text => json!({ "code": self.code(code), "msg": reason }),
        };
        Reply::json(status, body.to_string())
    }

    fn code(&self, code: u32) -> serde_json::Value {
        match self.rules.code {
            CodeForm::Number | CodeForm::InError => code.into(),
            CodeForm::Text => code.to_string().into(),
        }
    }

    fn rejected(&self, reject: Reject) -> Answer {
        let reason = reject.to_string();
        let reply = match &reject {
            Reject::Business { code, reason } => self.failure(400, *code, reason),
            Reject::Denied(reason) => gateway(401, "APIGW.0301", reason),
            Reject::Store(Refusal::NoSession | Refusal::Complete) => self.failure(400, code::NO_UPLOAD, "Upload task not found."),
            Reject::Store(Refusal::Full) => self.failure(400, code::FULL, "Insufficient space."),
            Reject::Store(_) => self.failure(500, code::INTERNAL, "Internal call failed."),
        };
        Answer::plain(reply, Outcome::Rejected(reason))
    }
}

fn gateway(status: u16, code: &str, reason: &str) -> Reply {
    Reply::json(status, json!({ "error_code": code, "error_msg": reason }).to_string())
}

/// The codes of the host that this emulation uses.
mod code {
    pub(super) const REQUEST: u32 = 13_000_101;
    pub(super) const PARAMETER: u32 = 13_000_102;
    pub(super) const INTERNAL: u32 = 13_000_201;
    pub(super) const MISSING: u32 = 13_000_309;
    pub(super) const FULL: u32 = 13_000_311;
    pub(super) const NO_UPLOAD: u32 = 13_000_401;
    pub(super) const INTEGRITY: u32 = 13_000_402;
    pub(super) const BUSY: u32 = 13_000_403;
    pub(super) const NO_RIGHT: u32 = 13_000_410;
    pub(super) const SAME_NAME: u32 = 13_000_405;
    pub(super) const OTHER_SPACE: u32 = 13_000_411;
}

/// Why a call is rejected.
#[derive(Debug, thiserror::Error)]
enum Reject {
    #[error("{code}: {reason}")]
    Business { code: u32, reason: String },
    #[error("{0}")]
    Denied(String),
    #[error(transparent)]
    Store(#[from] Refusal),
}

impl From<std::io::Error> for Reject {
    fn from(error: std::io::Error) -> Reject {
        Reject::Store(Refusal::Io(error))
    }
}

impl Reject {
    fn business(code: u32, reason: impl Into<String>) -> Reject {
        Reject::Business { code, reason: reason.into() }
    }

    fn parameter(reason: impl Into<String>) -> Reject {
        Reject::business(code::PARAMETER, reason)
    }

    fn integrity(reason: impl Into<String>) -> Reject {
        Reject::business(code::INTEGRITY, reason)
    }

    fn no_upload() -> Reject {
        Reject::business(code::NO_UPLOAD, "Upload task not found.")
    }
}
