//! Kie.ai: one authenticated request for each file, to a store that keeps it for a day or so. The same name again overwrites, so
//! any doubt is settled by sending again.
//!
//! Source of every fact: `docs/protocols/kie.md`, here "page"; the service's own description is the page "File
//! Upload API quickstart". Errors come as a status, or in the body under status 200, so the body is read first (page, 3).

mod settings;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Proof;
use crate::job::upload::{Ack, Class, Opened, Outcome, Repeat, Session, Shape};
use crate::secret::Secret;

use super::address;
use super::addresses;
use super::base64::{Base64Source, encoded_bytes};
use super::error::{HostError, excerpt, names_the_file};
use super::form::Form;
use super::http::{Reply, Request, Transport};
use super::kind::Protocol;
use super::largest::Largest;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Tickets, UploadSession, json, stored};

pub use settings::{KieConfig, KieMethod, KieName};

/// The largest file that may travel as base64, in bytes (page, 2.2 and 7: 10 MB).
const BASE64_BYTES_MAX: u64 = 10_000_000;
/// The longest name of a file that is sent, in bytes; the page sets no limit, most file systems do.
const NAME_BYTES_MAX: usize = 180;
/// How long the host may take to fetch an address itself (page, 2.3: 30 s), and to answer.
const FETCH_PATIENCE: Duration = Duration::from_secs(60);
/// How long the host may take to store what it has.
const STORE_PATIENCE: Duration = Duration::from_secs(120);

// Requests.

/// What is fixed before the first attempt, so that every repeat overwrites and none makes a second file (page, 4.2 and 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    /// Where its first attempt went; requests go where today's configuration says.
    base_url: String,
    upload_path: String,
    name: String,
    bytes: u64,
    /// Whether the file holds addresses that the host fetches itself.
    by_url: bool,
    /// Its media type; sessions of older versions had none.
    #[serde(default = "any_type")]
    content_type: String,
    /// Whether it travels as text; sessions of older versions leave it to the settings.
    #[serde(default)]
    as_text: Option<bool>,
    /// What the names of fetched files begin with; sessions of older versions have it in `name` alone.
    #[serde(default)]
    prefix: Option<String>,
}

fn any_type() -> String {
    "application/octet-stream".into()
}

impl Named {
    fn new(settings: &KieConfig, file: &FileFacts) -> Result<Named, HostError> {
        let by_url = settings.remote_urls && addresses::is_list(&file.name);
        if by_url && file.bytes > addresses::LIST_BYTES_MAX {
            let said = format!(
                "a list of addresses can have at most {} bytes, but this file has {}",
                addresses::LIST_BYTES_MAX,
                file.bytes
            );
            return Err(HostError::new(Class::FileRejected, said));
        }
        // A limit of that way, not of the host: what is larger goes the other way (page, 2.2).
        let as_text = settings.method == KieMethod::Base64 && file.bytes <= BASE64_BYTES_MAX;
        let folder = file.folder.split('/').map(sanitised).filter(|name| !name.is_empty());
        let upload_path = std::iter::once(settings.upload_path.clone()).chain(folder).collect::<Vec<_>>().join("/");
        let own = shortened(&sanitised(&file.name));
        // Whether overwriting renews the life of a file is not known, so a renewal has a name, and a link, of its own (page, 4.10).
        let (own_id, prefix) = match file.renewals {
            0 => (file.version.clone(), file.version.clone()),
            renewals => {
                let number = renewals.saturating_add(1);
                (format!("{}-{number}", file.version), format!("{}-r{number}", file.version))
            }
        };
        let name = match settings.name {
            KieName::Plain if !own.is_empty() => own,
            _ => format!("{own_id}-{own}"),
        };
        Ok(Named {
            base_url: settings.base_url.clone(),
            upload_path,
            name,
            bytes: file.bytes,
            by_url,
            content_type: file.content_type.to_owned(),
            as_text: Some(as_text),
            prefix: Some(prefix),
        })
    }

    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Named, HostError> {
        stored::load(session, Kie::NAME)
    }

    fn form(&self, empty: Form) -> Form {
        empty.text("uploadPath", &self.upload_path).text("fileName", &self.name).typed_file(
            "file",
            &self.name,
            &self.content_type,
            self.bytes,
        )
    }

    /// What goes before the base64 text of the file, and after it (page, 2.2).
    fn base64_envelope(&self) -> (String, String) {
        let rest = json!({ "fileName": self.name, "uploadPath": self.upload_path }).to_string();
        (format!("{{\"base64Data\":\"data:{};base64,", self.content_type), format!("\",{}", rest.trim_start_matches('{')))
    }

    /// The request that lets the host fetch the address `url`, which is number `index` of its file (page, 2.3).
    fn by_url(&self, url: &str, index: usize) -> String {
        let last =
            url::Url::parse(url).ok().and_then(|url| url.path_segments()?.next_back().map(str::to_owned)).unwrap_or_default();
        let last = percent_encoding::percent_decode_str(&last).decode_utf8_lossy().into_owned();
        let prefix = self.prefix.as_deref().or(self.name.split('-').next()).unwrap_or_default();
        let name = match sanitised(&last) {
            last if last.is_empty() => format!("{prefix}-{index}"),
            last => format!("{prefix}-{index}-{}", shortened(&last)),
        };
        json!({ "fileUrl": url, "uploadPath": self.upload_path, "fileName": name }).to_string()
    }
}

/// A name without what means something in a path, a form or an address.
fn sanitised(name: &str) -> String {
    let unsafe_in_a_name = |c: char| c.is_control() || "/\\:*?\"<>|#%&".contains(c);
    let name: String = name.chars().map(|c| if unsafe_in_a_name(c) { '_' } else { c }).collect();
    name.trim_matches(['.', ' ']).to_owned()
}

/// A name that is not too long and keeps its end, which says what kind of file it is.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, end) = name.rsplit_once('.').filter(|(_, end)| end.len() < 20).unwrap_or((name, ""));
    let stem = &stem[..stem.floor_char_boundary(NAME_BYTES_MAX - end.len() - 1)];
    if end.is_empty() { stem.to_owned() } else { format!("{stem}.{end}") }
}

// Replies.

/// The link, or why there is none (page, 3). `bytes` is the size of what was sent, where we know it; `now_ms` the time of the
/// reply.
pub fn upload_reply(reply: &Reply, bytes: Option<u64>, kept_for: Duration, now_ms: i64) -> Result<Outcome, HostError> {
    let Some(fields) = json::object(&reply.text) else { return Err(without_json(reply)) };
    let code = json::number(fields.get("code"));
    let success = json::flag(fields.get("success"));
    let msg = json::text(fields.get("msg")).unwrap_or_default();
    let said = || said(code, &msg, reply);
    if let Some(code) = code.filter(|code| *code != 200) {
        return Err(failure(code, &msg, said(), reply).with_code(code));
    }
    if !reply.is_success() {
        return Err(failure(reply.status.into(), &msg, said(), reply));
    }
    if success == Some(false) {
        let class = if names_the_file(&msg) { Class::FileRejected } else { Class::Unreadable };
        return Err(reply.failure(class, said()));
    }
    let empty = serde_json::Map::new();
    let data = fields.get("data").and_then(Value::as_object).unwrap_or(&empty);
    let link = ["downloadUrl", "fileUrl", "url"].iter().find_map(|key| json::text(data.get(*key)));
    let (Some(link), Some(_)) = (link.and_then(|link| address::link(&link)), code) else {
        return Err(unknown("an answer without a link", reply));
    };
    let stored = json::number(data.get("fileSize"));
    // What the host has fetched itself is told, and there is nothing to compare it with.
    let proof = if bytes.and(stored).is_some() { Proof::Size } else { Proof::Word };
    if let (Some(sent), Some(stored)) = (bytes, stored)
        && u64::try_from(stored) != Ok(sent)
    {
        let said = format!("the host stored {stored} bytes, but {sent} were sent");
        return Err(reply.failure(Class::Unreadable, said).worsening_to(Class::BadCopy));
    }
    let time = |key: &str| json::text(data.get(key)).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let uploaded = time("uploadTime").or_else(|| time("uploadedAt")).map_or(now_ms, jiff::Timestamp::as_millisecond);
    let kept_ms = i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX);
    let expires = time("expiresAt").map_or(uploaded.saturating_add(kept_ms), jiff::Timestamp::as_millisecond);
    let remote_id = ["fileId", "filePath"].iter().find_map(|key| json::text(data.get(*key)));
    let name = stored::name(json::text(data.get("fileName")));
    let stored = stored.and_then(|stored| u64::try_from(stored).ok());
    let (link, expires_ms) = (Some(link), Some(expires));
    Ok(Outcome { link, remote_id, expires_ms, proof, name, bytes: stored, ..Outcome::default() })
}

fn said(code: Option<i64>, msg: &str, reply: &Reply) -> String {
    let code = code.unwrap_or(reply.status.into());
    let text = if msg.is_empty() { &reply.text } else { msg };
    format!("the host answered {code}: `{}`", excerpt(text))
}

/// What a code in the body, or a status, means (page, 3), with the host's own words where there are any.
fn failure(code: i64, msg: &str, said: String, reply: &Reply) -> HostError {
    let (class, worsens, advice) = match code {
        400 | 415 | 422 if names_the_file(msg) => (Class::FileRejected, None, ""),
        400 | 413 | 415 | 422 => (Class::RequestRefused, None, ""),
        401 => (Class::HostRefused, None, "; check `api_key`"),
        402 | 433 => (Class::HostRefused, None, ""),
        403 => (Class::HostRefused, None, "; check `api_key`"),
        404 | 405 | 410 => (Class::Unreadable, Some(Class::HostRefused), "; check `base_url`"),
        429 | 455 => (Class::RateLimited, None, ""),
        501 | 505 => (Class::Unreadable, Some(Class::HostRefused), ""),
        507 => (Class::HostFull, None, ""),
        408 | 425 | 500..=599 => (Class::Transient, None, ""),
        300..=399 => (Class::Unreadable, Some(Class::HostRefused), "; the host has moved: set its new `base_url`"),
        _ => (Class::Unreadable, None, ""),
    };
    HostError { worsens, wait: reply.retry_after, ..reply.failure(class, format!("{said}{advice}")) }
}

fn without_json(reply: &Reply) -> HostError {
    match reply.status {
        200..=299 => unknown("no JSON", reply),
        // A firewall in front of the host speaks HTML; the host itself does not.
        401 | 403 => {
            let firewall =
                if reply.is_markup() { "; a firewall may have blocked the request: try another `user_agent`" } else { "" };
            reply.failure(Class::Unreadable, format!("{}{firewall}", reply.said())).worsening_to(Class::HostRefused)
        }
        status => failure(status.into(), "", reply.said(), reply),
    }
}

fn unknown(what: &str, reply: &Reply) -> HostError {
    let said = format!("the host sent {what} ({}): `{}`", reply.status, excerpt(&reply.text));
    HostError { doubt: true, ..reply.failure(Class::Transient, said) }
}

// Glue.

/// A Kie.ai account.
pub struct Kie {
    settings: KieConfig,
    api_key: Secret,
    transport: Transport,
    largest: Largest,
}

impl Kie {
    /// An account with these settings.
    pub fn new(settings: KieConfig, api_key: Secret, transport: Transport) -> Kie {
        Kie { settings, api_key, transport, largest: Largest::default() }
    }

    fn post<'a>(&self, url: &'a str) -> Request<'a> {
        let authorization = format!("Bearer {}", self.api_key.reveal());
        Request::post(url).header("authorization", authorization).patience(STORE_PATIENCE).secret(&self.api_key)
    }

    async fn send_file(&self, named: &Named, part: &Part) -> Result<Outcome, HostError> {
        let as_text = named.as_text.unwrap_or(self.settings.method == KieMethod::Base64);
        let reply = if as_text {
            let url = format!("{}/api/file-base64-upload", self.settings.base_url);
            let (head, tail) = named.base64_envelope();
            let encoded = Base64Source(Arc::clone(&part.source));
            let request = self.post(&url).header("content-type", "application/json");
            self.transport.send(request.around(head, &encoded, encoded_bytes(part.bytes), tail)).await?
        } else {
            let url = format!("{}/api/file-stream-upload", self.settings.base_url);
            self.transport.send(self.post(&url).form(named.form(self.transport.form()), Some(part))).await?
        };
        let read = upload_reply(&reply, Some(part.bytes), self.settings.kept_for, self.transport.clock().now_ms());
        let outcome = read.map_err(|error| self.largest.judge(error, part.bytes))?;
        self.largest.took(part.bytes);
        Ok(outcome)
    }

    /// Lets the host fetch every address of a shortcut file. The outcome has all links, with spaces between them.
    async fn send_addresses(&self, named: &Named, part: &Part) -> Result<Outcome, HostError> {
        let limit = usize::try_from(addresses::LIST_BYTES_MAX).unwrap_or(usize::MAX);
        let content = Limited::new(part.source.frames(), limit).collect().await;
        let content = content.map_err(|error| HostError::new(Class::Transient, error.to_string()))?.to_bytes();
        let found = addresses::read(&named.name, &content).map_err(|why| HostError::new(Class::FileRejected, why))?;
        let url = format!("{}/api/file-url-upload", self.settings.base_url);
        let (mut links, mut ids, mut expires) = (Vec::new(), Vec::new(), Vec::new());
        for (index, address) in found.iter().enumerate() {
            let request = self.post(&url).text("application/json", named.by_url(address, index + 1)).patience(FETCH_PATIENCE);
            let named_in = |error: HostError| {
                let said = format!("address {} (`{}`): {}", index + 1, excerpt(address), error.said);
                HostError { said, ..error }
            };
            let reply = self.transport.send(request).await.map_err(named_in)?;
            let outcome = upload_reply(&reply, None, self.settings.kept_for, self.transport.clock().now_ms()).map_err(named_in)?;
            links.extend(outcome.link);
            ids.extend(outcome.remote_id);
            expires.extend(outcome.expires_ms);
        }
        let joined = |texts: Vec<String>| Some(texts.join(" ")).filter(|text| !text.is_empty());
        let expires_ms = expires.into_iter().min();
        Ok(Outcome { link: joined(links), remote_id: joined(ids), expires_ms, ..Outcome::default() })
    }
}

impl Protocol for Kie {
    const WORD: &'static str = "kie";
    const NAME: &'static str = "Kie.ai";
    /// The service limits its keys (page, 4.9).
    const MAX_UPLOADS: Option<usize> = Some(2);

    type Settings = KieConfig;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<KieConfig> {
        settings::read(table, environment)
    }

    fn make(settings: &KieConfig, supplies: &mut Supplies<'_>) -> Result<Kie, HostError> {
        let api_key = supplies.secret(&settings.api_key)?;
        Ok(Kie::new(settings.clone(), api_key, supplies.transport()?))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Named::load(session)?.store()
    }
}

impl Host for Kie {
    fn shape(&self, _: u64) -> Shape {
        Shape { repeat: Repeat::Harmless, ..Shape::whole() }
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async { Named::new(&self.settings, file)?.store().map(Opened::Session) })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let named = Named::load(&at.session)?;
            let outcome =
                if named.by_url { self.send_addresses(&named, part).await? } else { self.send_file(&named, part).await? };
            let receipt = stored::receipt(outcome);
            Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt, moved_to: None })
        })
    }

    /// What was sent before is overwritten, unless the service has given the file another name for it.
    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let (named, outcome) = (Named::load(&at.session)?, stored::outcome(completion)?);
            let is_renamed = !named.by_url && outcome.name.as_ref().is_some_and(|name| *name != named.name);
            let maybe_duplicate = outcome.maybe_duplicate || (completion.repeated && is_renamed);
            Ok(Outcome { maybe_duplicate, ..outcome })
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(&self.settings.base_url, files, most))
    }

    /// A document without a file: a key that is taken gets "missing parameter", any other is refused first.
    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let url = format!("{}/api/file-base64-upload", self.settings.base_url);
            let reply = self.transport.send(self.post(&url).text("application/json", "{}")).await?;
            let code = json::object(&reply.text).and_then(|fields| json::number(fields.get("code")));
            match code.unwrap_or(reply.status.into()) {
                400 | 422 => Ok("API key accepted".to_owned()),
                _ => match upload_reply(&reply, None, self.settings.kept_for, 0) {
                    Ok(_) => Ok("API key accepted".to_owned()),
                    Err(error) => Err(error),
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn reply(status: u16, text: &str) -> Reply {
        Reply { status, html: text.trim_start().starts_with('<'), text: text.into(), ..Reply::default() }
    }

    fn read(status: u16, text: &str) -> Result<Outcome, HostError> {
        upload_reply(&reply(status, text), Some(48_213), DAY, 1_000)
    }

    fn class(status: u16, text: &str) -> (Class, Option<Class>, bool) {
        let error = read(status, text).unwrap_err();
        (error.class, error.worsens, error.doubt)
    }

    fn settings(method: KieMethod) -> KieConfig {
        KieConfig {
            base_url: "https://h".into(),
            api_key: crate::config::SecretSource::Env("K".into()),
            method,
            name: KieName::Versioned,
            remote_urls: true,
            upload_path: "inbox".into(),
            kept_for: DAY,
        }
    }

    fn facts(name: &str, bytes: u64) -> FileFacts {
        FileFacts { folder: "a/b:c".into(), ..FileFacts::named(name, bytes) }
    }

    #[test]
    fn both_documented_replies_give_the_link() {
        let page = r#"{"success":true,"code":200,"msg":"File uploaded successfully","data":{"fileName":"670f1521-report.pdf",
            "filePath":"inbox/host1/670f1521-report.pdf","downloadUrl":"https://tempfile.redpandaai.co/u1/r.pdf","fileSize":48213,
            "mimeType":"application/pdf","uploadedAt":"2026-01-01T12:00:00.000Z"}}"#;
        let outcome = read(200, page).unwrap();
        assert_eq!(outcome.link.as_deref(), Some("https://tempfile.redpandaai.co/u1/r.pdf"));
        assert_eq!(outcome.remote_id.as_deref(), Some("inbox/host1/670f1521-report.pdf"));
        assert_eq!((outcome.expires_ms, outcome.proof), (Some(1_767_268_800_000 + 86_400_000), Proof::Size));
        let seed = r#"{"success":true,"code":"200","msg":"ok","data":{"fileId":"f1","fileUrl":"https://x/f","fileSize":"48213",
            "uploadTime":"2025-01-01T12:00:00Z","expiresAt":"2025-01-04T12:00:00Z"}}"#;
        let outcome = read(200, seed).unwrap();
        assert_eq!(outcome.expires_ms, Some(1_735_992_000_000));
        assert_eq!((outcome.link.as_deref(), outcome.remote_id.as_deref()), (Some("https://x/f"), Some("f1")));
        let least = r#"{"code":200,"data":{"url":"https://x/u"}}"#;
        let outcome = read(200, least).unwrap();
        assert_eq!((outcome.expires_ms, outcome.proof), (Some(1_000 + 86_400_000), Proof::Word), "no size, no proof");
        let fetched = upload_reply(&reply(200, page), None, DAY, 1_000).unwrap();
        assert_eq!(fetched.proof, Proof::Word, "what the host has fetched itself is compared with nothing");
    }

    #[test]
    fn an_error_counts_whether_it_is_in_the_status_or_in_the_body() {
        let certain = |class| (class, None, false);
        for status in [200, 401] {
            assert_eq!(class(status, r#"{"code":401,"msg":"You do not have access permissions"}"#), certain(Class::HostRefused));
        }
        assert_eq!(
            class(200, r#"{"success":false,"code":400,"msg":"Missing required parameter: uploadPath"}"#),
            certain(Class::RequestRefused)
        );
        assert_eq!(class(400, r#"{"msg":"File type not supported"}"#), certain(Class::FileRejected));
        assert_eq!(class(200, r#"{"success":false,"code":"422","msg":"the file is too large"}"#), certain(Class::FileRejected));
        assert_eq!(class(400, r#"{"msg":"file type"}"#), certain(Class::RequestRefused));
        assert_eq!(class(422, "<html>File type not allowed"), certain(Class::RequestRefused), "that page is not the service's");
        assert_eq!(
            class(413, r#"{"code":413,"msg":"The file is too large"}"#),
            certain(Class::RequestRefused),
            "perhaps it takes none"
        );
        for code in [501, 505, 777] {
            assert_eq!(class(200, &format!("{{\"code\":{code},\"msg\":\"?\"}}")).0, Class::Unreadable, "{code}");
        }
        assert_eq!(class(200, r#"{"success":false,"code":"429","msg":"slow down"}"#), certain(Class::RateLimited));
        assert_eq!(class(500, ""), certain(Class::Transient));
        assert_eq!(class(413, "<html>"), certain(Class::RequestRefused));
        for (status, text) in [(404, "not found"), (302, ""), (501, ""), (403, "<html>"), (401, "")] {
            assert_eq!(class(status, text), (Class::Unreadable, Some(Class::HostRefused), false), "{status}");
        }
        assert_eq!(class(507, ""), certain(Class::HostFull));
        assert_eq!(class(200, r#"{"success":false,"code":200,"msg":"storage node busy"}"#), certain(Class::Unreadable));
        assert_eq!(class(200, r#"{"success":false,"msg":"File format not supported"}"#), certain(Class::FileRejected));
    }

    #[test]
    fn what_cannot_be_read_is_neither_success_nor_failure() {
        let no_link = ["maintenance", "javascript:alert(1)", "/f", "https://"]
            .map(|link| format!("{{\"success\":true,\"code\":200,\"data\":{{\"downloadUrl\":\"{link}\",\"fileSize\":48213}}}}"));
        for text in &no_link {
            assert_eq!(class(200, text), (Class::Transient, None, true), "{text}");
        }
        for text in ["", "<html>ok</html>", "{\"success\":true,\"code\":200,\"da", "{\"code\":200,\"data\":{}}", "{}", "null"] {
            assert_eq!(class(200, text), (Class::Transient, None, true), "{text}");
        }
    }

    #[test]
    fn another_size_is_no_success() {
        let text = r#"{"success":true,"code":200,"data":{"downloadUrl":"https://x/f","fileSize":48212}}"#;
        assert_eq!(class(200, text), (Class::Unreadable, Some(Class::BadCopy), false));
    }

    #[test]
    fn a_renewal_has_a_name_of_its_own_and_a_plain_name_never_changes() {
        let settings = settings(KieMethod::Stream);
        let named = |settings: &KieConfig, renewals, name| {
            let file = FileFacts { renewals, ..facts(name, 3) };
            let named = Named::new(settings, &file).unwrap();
            (named.name.clone(), named.by_url("https://x/b.png", 1))
        };
        let names = [0, 1, 2].map(|renewals| named(&settings, renewals, "a.png"));
        assert_eq!(
            names.clone().map(|(name, _)| name),
            ["670f15212a83941c-a.png", "670f15212a83941c-2-a.png", "670f15212a83941c-3-a.png"]
        );
        for ((_, fetched), name) in
            names.iter().zip(["670f15212a83941c-1-b.png", "670f15212a83941c-r2-1-b.png", "670f15212a83941c-r3-1-b.png"])
        {
            assert!(fetched.contains(&format!("\"fileName\":\"{name}\"")), "{fetched}");
        }
        let plain = KieConfig { name: KieName::Plain, ..settings };
        assert_eq!([0, 1].map(|renewals| named(&plain, renewals, "a.png").0), ["a.png", "a.png"]);
        assert_eq!(named(&plain, 0, "..").0, "670f15212a83941c-");
    }

    #[test]
    fn a_name_is_fixed_before_the_first_attempt_and_safe_everywhere() {
        let named = Named::new(&settings(KieMethod::Stream), &facts("a \"b\"/..\\ü.pdf", 3)).unwrap();
        assert_eq!((named.upload_path.as_str(), named.name.as_str()), ("inbox/a/b_c", "670f15212a83941c-a _b__.._ü.pdf"));
        assert_eq!(Named::load(&named.store().unwrap()).unwrap(), named);
        let long = Named::new(&settings(KieMethod::Stream), &facts(&format!("{}.pdf", "ü".repeat(300)), 3)).unwrap();
        assert!(long.name.ends_with("ü.pdf") && long.name.len() <= NAME_BYTES_MAX + 17, "{}", long.name);
    }

    #[test]
    fn base64_ends_where_the_host_says() {
        let settings = settings(KieMethod::Base64);
        let as_text = |bytes| Named::new(&settings, &facts("a", bytes)).unwrap().as_text;
        assert_eq!([BASE64_BYTES_MAX, BASE64_BYTES_MAX + 1].map(as_text), [Some(true), Some(false)]);
        let stored = Session(Named::new(&settings, &facts("a", 3)).unwrap().store().unwrap().0.replace("\"as_text\":true,", ""));
        assert_eq!(Named::load(&Session(stored.0.replace(",\"as_text\":true", ""))).unwrap().as_text, None);
        let (head, tail) = Named::new(&settings, &facts("q\"q", 3)).unwrap().base64_envelope();
        let whole: Value = serde_json::from_str(&format!("{head}YWJj{tail}")).unwrap();
        assert_eq!(
            (whole["base64Data"].as_str(), whole["uploadPath"].as_str()),
            (Some("data:application/octet-stream;base64,YWJj"), Some("inbox/a/b_c"))
        );
    }

    #[test]
    fn the_status_and_the_code_are_kept_apart_from_the_words() {
        let told = |status, text: &str| {
            let error = upload_reply(&reply(status, text), None, DAY, 0).unwrap_err();
            (error.status, error.code)
        };
        assert_eq!(told(200, "{\"code\":401,\"msg\":\"no\"}"), (Some(200), Some("401".into())));
        assert_eq!(told(413, "{}"), (Some(413), None));
        assert_eq!(told(502, "<html>"), (Some(502), None));
        assert_eq!(told(200, "?"), (Some(200), None));
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_reader_panic_or_an_error_a_success(status in 100u16..600, text in ".{0,200}") {
            prop_assert!(read(status, &text).is_err());
        }
    }
}
