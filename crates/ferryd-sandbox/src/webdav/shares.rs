//! What Nextcloud and ownCloud have beside WebDAV: what they are, and links to files (page, 13 and 14).

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Shared;
use super::super::exchange::{Answer, Exchange, Stop};
use super::super::faults::{Endpoint, Met};
use super::super::log::Outcome;
use super::super::reply::Reply;
use super::{Fault, KIND, Links, Rules, WebDav, served, text, tree};

/// Where links are listed and made.
const SHARES: &str = "ocs/v2.php/apps/files_sharing/api/v1/shares";
/// Where it is told what users may do.
const CAPABILITIES: &str = "ocs/v2.php/cloud/capabilities";
/// What links begin with.
const LINK: &str = "s/";

/// A page that is no folder and no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    Status,
    Capabilities,
    /// The links of a file; with `true` one more.
    Shares(bool),
    /// What a link leads to.
    Link(String),
}

impl Page {
    pub(super) fn of(exchange: &Exchange) -> Option<Page> {
        let path = exchange.path.trim_start_matches('/');
        match (exchange.method.as_str(), path) {
            ("GET", "status.php") => Some(Page::Status),
            ("GET", CAPABILITIES) => Some(Page::Capabilities),
            ("GET", SHARES) => Some(Page::Shares(false)),
            ("POST", SHARES) => Some(Page::Shares(true)),
            ("GET", path) => path.strip_prefix(LINK).map(|token| Page::Link(token.to_owned())),
            _ => None,
        }
    }

    fn endpoint(&self) -> Endpoint {
        match self {
            Page::Status | Page::Capabilities | Page::Shares(false) => Endpoint::Probe,
            Page::Shares(true) | Page::Link(_) => Endpoint::Link,
        }
    }
}

/// A link that was made. It outlives what was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Share {
    id: u64,
    path: String,
    token: String,
    expiration: Option<String>,
    password: Option<String>,
}

/// What was asked of the page.
struct Asked {
    page: Page,
    rules: Rules,
    /// The fields of the query and of the form.
    fields: Vec<(String, String)>,
    /// What addresses begin with.
    own: String,
}

impl WebDav {
    pub(super) async fn beside(&self, exchange: &mut Exchange, page: Page) -> Result<Answer, Stop> {
        let header = |name: &str| exchange.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let is_open = matches!(page, Page::Status | Page::Link(_));
        let says_so = header("ocs-apirequest").as_deref() == Some("true");
        let own = format!("http://{}/{KIND}", header("host").unwrap_or_default());
        let mut fields = fields_of(&exchange.query);
        exchange.met(Met { host: KIND, endpoint: page.endpoint(), session: None, part: None, file: None })?;
        if !is_open && self.admitted(exchange).is_err() {
            return Ok(refused(401, 997, "Current user is not logged in").into_answer());
        }
        if !is_open && !says_so {
            return Ok(refused(412, 412, "`OCS-APIRequest` is missing").into_answer());
        }
        let body = text(exchange).await?;
        fields.extend(fields_of(&body));
        exchange.received().await?;
        if !is_open && !fields.contains(&("format".into(), "json".into())) {
            return Ok(refused(400, 400, "only JSON is spoken").into_answer());
        }
        let asked = Asked { page, rules: self.rules.clone(), fields, own };
        let times = exchange.times();
        exchange.work(move |shared| (1..times).fold(asked.answer(shared), |_, _| asked.answer(shared))).await
    }
}

impl Asked {
    fn answer(&self, shared: &Shared) -> Answer {
        match &self.page {
            Page::Status => served(Reply::json(200, self.status())),
            Page::Capabilities => ocs(200, 200, "OK", &self.capabilities()).into_answer(),
            Page::Shares(is_new) => match self.shares(shared, *is_new) {
                Ok(data) => ocs(200, 200, "OK", &data).into_answer(),
                Err(refused) => refused.into_answer(),
            },
            Page::Link(token) => self.linked(shared, token).unwrap_or_else(Fault::answer),
        }
    }

    fn status(&self) -> String {
        let maintenance = self.rules.is_in_maintenance;
        json!({ "installed": true, "maintenance": maintenance, "needsDbUpgrade": false, "version": "31.0.2.1",
            "versionstring": "31.0.2", "edition": "", "productname": "Nextcloud", "extendedSupport": false })
        .to_string()
    }

    fn capabilities(&self) -> Value {
        let links = self.rules.links;
        json!({ "version": { "string": "31.0.2" }, "capabilities": { "files_sharing": { "api_enabled": true,
            "public": { "enabled": links != Links::Never, "password": { "enforced": links == Links::WithPassword } } } } })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn shares(&self, shared: &Shared, is_new: bool) -> Result<Value, Refused> {
        let path = self.field("path").and_then(|path| path.strip_prefix('/')).ok_or_else(|| refused(404, 404, "Wrong path"))?;
        if tree::at(shared, path).is_none() || path.is_empty() {
            return Err(refused(404, 404, "Wrong path, file/folder does not exist"));
        }
        let known: Vec<Share> =
            shared.records.names(KIND, "share-").iter().filter_map(|name| shared.records.get(KIND, name)).collect();
        if !is_new {
            let of_file: Vec<Value> = known.iter().filter(|share| share.path == path).map(|share| self.shown(share)).collect();
            return Ok(Value::from(of_file));
        }
        if self.field("shareType") != Some("3") || self.field("permissions") != Some("1") {
            return Err(refused(400, 400, "Unknown share type"));
        }
        let password = self.field("password").map(str::to_owned);
        match self.rules.links {
            Links::Never => return Err(refused(403, 403, "Public link sharing is disabled by the administrator")),
            Links::WithPassword if password.is_none() => {
                return Err(refused(403, 403, "Passwords are enforced for link and mail shares"));
            }
            Links::Made | Links::WithPassword => {}
        }
        let is_date = |date: &str| date.len() == 10 && date.split('-').all(|number| number.parse::<u16>().is_ok());
        let expiration = self.field("expireDate").map(str::to_owned);
        if expiration.as_ref().is_some_and(|date| !is_date(date)) {
            return Err(refused(404, 404, "Invalid date. Format must be YYYY-MM-DD"));
        }
        let token = shared.chance.letters(15);
        let share = Share { id: known.len() as u64 + 1, path: path.to_owned(), token, expiration, password };
        let set = shared.records.set(KIND, &format!("share-{}", share.token), &share);
        set.map_err(|_| refused(500, 996, "the sandbox cannot keep its files"))?;
        Ok(self.shown(&share))
    }

    fn shown(&self, share: &Share) -> Value {
        let expiration = share.expiration.as_ref().map(|date| format!("{date} 00:00:00"));
        let password = share.password.as_ref().map(|_| "***");
        json!({ "id": share.id.to_string(), "share_type": 3, "permissions": 17, "path": format!("/{}", share.path), "token": share.token,
            "url": format!("{}/{LINK}{}", self.own, share.token), "expiration": expiration, "password": password })
    }

    /// A page for people, or with `/download` behind it the file.
    fn linked(&self, shared: &Shared, token: &str) -> Result<Answer, Fault> {
        let (token, wants_file) = token.strip_suffix("/download").map_or((token, false), |token| (token, true));
        let share: Share = shared.records.get(KIND, &format!("share-{token}")).ok_or_else(Fault::missing)?;
        if share.password.is_some() {
            return Ok(served(Reply::html(401, "<html>This link is protected by a password.</html>")));
        }
        if wants_file { tree::fetched(shared, &share.path) } else { Ok(served(Reply::html(200, "<html>A file.</html>"))) }
    }
}

/// What is answered in the form of this interface.
struct Told(Reply, Outcome);

impl Told {
    fn into_answer(self) -> Answer {
        Answer::plain(self.0, self.1)
    }
}

fn ocs(status: u16, code: u16, words: &str, data: &Value) -> Told {
    let word = if code == 200 { "ok" } else { "failure" };
    let text = json!({ "ocs": { "meta": { "status": word, "statuscode": code, "message": words }, "data": data } });
    let outcome = if code == 200 { Outcome::Served } else { Outcome::Rejected(words.to_owned()) };
    Told(Reply::json(status, text.to_string()), outcome)
}

/// A refusal: the status of HTTP, the one of this interface, words.
struct Refused(u16, u16, &'static str);

impl Refused {
    fn into_answer(self) -> Answer {
        ocs(self.0, self.1, self.2, &Value::Array(Vec::new())).into_answer()
    }
}

fn refused(status: u16, code: u16, words: &'static str) -> Refused {
    Refused(status, code, words)
}

/// The fields of a query or a form.
fn fields_of(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decoded(name), decoded(value))).collect()
}
