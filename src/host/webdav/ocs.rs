//! Reads what Nextcloud and ownCloud answer beside WebDAV (page, 13). Every function here is pure.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::job::upload::Class;

use super::super::address;
use super::super::error::{HostError, excerpt};
use super::super::http::Reply;
use super::super::json;
use super::replies::{Asked, refusal};

/// What a share by link is among the kinds of shares.
const BY_LINK: i64 = 3;

/// A link to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it leads.
    pub address: String,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// A program that runs a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its name and version.
    pub name: String,
    /// Whether it lets nobody in for a while.
    pub is_in_maintenance: bool,
}

/// What a server lets its users share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Whether they may make links.
    pub is_allowed: bool,
    /// Whether each link needs a password.
    pub wants_password: bool,
}

/// The link that a file has already, if it has one.
pub fn links_reply(reply: &Reply) -> Result<Option<Link>, HostError> {
    let data = data(reply)?;
    let shares = data.as_array().ok_or_else(|| strange(reply))?;
    Ok(shares.iter().filter_map(Value::as_object).find_map(link))
}

/// The link that was made.
pub fn link_reply(reply: &Reply) -> Result<Link, HostError> {
    data(reply)?.as_object().and_then(link).ok_or_else(|| strange(reply))
}

/// What a server lets its users share.
pub fn sharing_reply(reply: &Reply) -> Result<Sharing, HostError> {
    let data = data(reply)?;
    let sharing = &data["capabilities"]["files_sharing"];
    let flag = |value: &Value| json::flag(Some(value));
    let public = &sharing["public"];
    let is_allowed = flag(&sharing["api_enabled"]) != Some(false) && flag(&public["enabled"]) == Some(true);
    Ok(Sharing { is_allowed, wants_password: flag(&public["password"]["enforced"]) == Some(true) })
}

/// What a server says that it is; nothing where it does not.
pub fn product_reply(reply: &Reply) -> Option<Product> {
    let fields = json::object(&reply.text).filter(|_| reply.is_success())?;
    let told = |name: &str| json::text(fields.get(name));
    let version = told("versionstring").or_else(|| told("version"))?;
    let name = excerpt(&format!("{} {version}", told("productname").unwrap_or_else(|| "ownCloud".into())));
    Some(Product { name, is_in_maintenance: json::flag(fields.get("maintenance")) == Some(true) })
}

fn link(share: &Map<String, Value>) -> Option<Link> {
    let is_link = json::number(share.get("share_type")).is_none_or(|kind| kind == BY_LINK);
    let address = address::link(&json::text(share.get("url"))?).filter(|_| is_link)?;
    let expires_ms = json::text(share.get("expiration")).and_then(|told| midnight(&told));
    Some(Link { address, expires_ms })
}

/// The beginning of a day, by the clock of nobody in particular: the server's may be some hours away.
fn midnight(told: &str) -> Option<i64> {
    let date: Date = told.get(..10)?.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// What the server answers, where it has done as it was asked. What it will not do by its own words is `RequestRefused`; nothing else
/// is.
fn data(reply: &Reply) -> Result<Value, HostError> {
    let document = json::object(&reply.text).filter(|_| !reply.cut);
    let Some(Value::Object(mut answer)) = document.and_then(|mut document| document.remove("ocs")) else {
        return Err(if reply.is_success() { strange(reply) } else { not_its_own(reply) });
    };
    let meta = answer.remove("meta").unwrap_or_default();
    let code = json::number(meta.get("statuscode"));
    let words = excerpt(&json::text(meta.get("message")).unwrap_or_default());
    let class = match (code, reply.status) {
        (_, 429 | 500..=599) | (None, _) => return Err(not_its_own(reply)),
        (Some(100 | 200), _) => return Ok(answer.remove("data").unwrap_or_default()),
        (Some(401 | 997), _) => Class::HostRefused,
        // It may not have heard of a file that is new.
        (Some(404), _) => Class::Unreadable,
        (Some(429), _) => Class::RateLimited,
        (Some(500..=599 | 996), _) => Class::Transient,
        _ => Class::RequestRefused,
    };
    Err(reply.failure(class, format!("the host answered {} ({}): `{words}`", reply.status, code.unwrap_or(0))))
}

/// Somebody on the way may have said so.
fn not_its_own(reply: &Reply) -> HostError {
    let error = refusal(reply, Asked::Call);
    if error.class == Class::RequestRefused { HostError { class: Class::Unreadable, ..error } } else { error }
}

fn strange(reply: &Reply) -> HostError {
    let said = format!("the host did not answer a question about links ({}): `{}`", reply.status, excerpt(&reply.text));
    reply.failure(Class::Unreadable, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ocs(status: u16, code: u32, data: &str) -> Reply {
        let text =
            format!("{{\"ocs\":{{\"meta\":{{\"status\":\"x\",\"statuscode\":{code},\"message\":\"words\"}},\"data\":{data}}}}}");
        Reply { status, text, ..Reply::default() }
    }

    const SHARE: &str = "{\"id\":\"17\",\"share_type\":3,\"token\":\"kd3\",\"url\":\"https://s.example/s/kd3\",\"expiration\":\"1970-01-02 00:00:00\"}";

    #[test]
    fn a_link_is_that_of_a_share_by_link() {
        let link = Link { address: "https://s.example/s/kd3".into(), expires_ms: Some(86_400_000) };
        assert_eq!(link_reply(&ocs(200, 200, SHARE)).unwrap(), link);
        assert_eq!(link_reply(&ocs(200, 100, SHARE)).unwrap(), link, "as the first version says it");
        let of_a_user = SHARE.replace(":3,", ":0,");
        assert_eq!(links_reply(&ocs(200, 200, &format!("[{of_a_user},{SHARE}]"))).unwrap(), Some(link));
        assert_eq!(links_reply(&ocs(200, 200, &format!("[{of_a_user}]"))).unwrap(), None);
        let endless = SHARE.replace("\"1970-01-02 00:00:00\"", "null");
        assert_eq!(link_reply(&ocs(200, 200, &endless)).unwrap().expires_ms, None);
        for strange in
            [ocs(200, 200, "[]"), ocs(200, 200, &SHARE.replace("https", "javascript")), Reply { status: 200, ..ocs(200, 200, "") }]
        {
            assert_eq!(link_reply(&strange).unwrap_err().class, Class::Unreadable, "{strange:?}");
        }
    }

    #[test]
    fn only_the_servers_own_no_is_one() {
        let cases = [
            (403, 403, Class::RequestRefused),
            (400, 400, Class::RequestRefused),
            (200, 998, Class::RequestRefused),
            (404, 404, Class::Unreadable),
            (401, 997, Class::HostRefused),
            (503, 503, Class::Transient),
            (429, 429, Class::RateLimited),
            (200, 996, Class::Transient),
        ];
        for (status, code, class) in cases {
            assert_eq!(link_reply(&ocs(status, code, "[]")).unwrap_err().class, class, "{status} {code}");
        }
        for status in [400, 403, 422] {
            let page = Reply { status, html: true, text: "<html>".into(), ..Reply::default() };
            assert_eq!(link_reply(&page).unwrap_err().class, Class::Unreadable, "a proxy may say no for a moment");
        }
    }

    #[test]
    fn a_server_tells_what_it_is_and_what_it_lets_users_share() {
        let told = |text: &str| product_reply(&Reply { status: 200, text: text.into(), ..Reply::default() });
        let product = told(
            "{\"installed\":true,\"maintenance\":false,\"version\":\"31.0.2.1\",\"versionstring\":\"31.0.2\",\"productname\":\"Nextcloud\"}",
        );
        assert_eq!(product, Some(Product { name: "Nextcloud 31.0.2".into(), is_in_maintenance: false }));
        assert!(told("{\"maintenance\":true,\"version\":\"10\"}").unwrap().is_in_maintenance);
        assert_eq!((told("{}"), told("<html>")), (None, None));
        let sharing = |public: &str| {
            let data = format!("{{\"capabilities\":{{\"files_sharing\":{{\"api_enabled\":true,\"public\":{public}}}}}}}");
            let Sharing { is_allowed, wants_password } = sharing_reply(&ocs(200, 200, &data)).unwrap();
            (is_allowed, wants_password)
        };
        assert_eq!(sharing("{\"enabled\":true,\"password\":{\"enforced\":false}}"), (true, false));
        assert_eq!(sharing("{\"enabled\":true,\"password\":{\"enforced\":true}}"), (true, true));
        assert_eq!(sharing("{\"enabled\":false}"), (false, false));
    }
}
