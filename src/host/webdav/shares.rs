//! Links for others, as Nextcloud and ownCloud make them (page, 13). One is asked for before one is made, so that no answer that is
//! lost, and no death in between, makes a second.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use url::form_urlencoded::Serializer;

use crate::job::upload::{Class, Outcome};
use crate::secret::Secret;

use super::super::error::HostError;
use super::super::http::{Reply, Request};
use super::cloud::Cloud;
use super::ocs::{Link, link_reply, links_reply};
use super::{Share, WebDav, place};

impl WebDav {
    /// The outcome of a file that the host has, with a link for others where one is wanted. What may pass is an error that leaves the
    /// file in doubt: it is asked about then, and not sent again.
    pub(super) async fn shared(&self, path: &str, outcome: Outcome) -> Result<Outcome, HostError> {
        match self.link_for_others(path).await {
            Ok(Some(Link { address, expires_ms })) => Ok(Outcome { link: Some(address), expires_ms, ..outcome }),
            // The server lets nobody share, or not like this: the file is there all the same.
            Ok(None) | Err(HostError { class: Class::RequestRefused, .. }) => Ok(outcome),
            Err(error) => {
                let said = format!("the host has the file, but not yet a link to it: {}", error.said);
                Err(HostError { said, doubt: true, worsens: None, ..error })
            }
        }
    }

    /// The link of a file, made where it has none; nothing where none is wanted.
    pub(super) async fn link_for_others(&self, path: &str) -> Result<Option<Link>, HostError> {
        let Some((cloud, share)) = self.settings.cloud.as_ref().zip(self.settings.share.as_ref()) else { return Ok(None) };
        let path = cloud.path(path);
        let there = format!("{}&{}", cloud.shares(), Serializer::new(String::new()).append_pair("path", &path).finish());
        match links_reply(&self.call(Request::get(&there)).await?)? {
            Some(link) => Ok(Some(link)),
            None => self.make_link(cloud, share, &path).await.map(Some),
        }
    }

    async fn make_link(&self, cloud: &Cloud, share: &Share, path: &str) -> Result<Link, HostError> {
        let url = cloud.shares();
        let request = Request::post(&url).text("application/x-www-form-urlencoded", self.wanted(share, path));
        let request = self.share_password.iter().fold(request, Request::secret);
        link_reply(&self.call(request).await?)
    }

    /// What is wanted of a link.
    fn wanted(&self, share: &Share, path: &str) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("path", path).append_pair("shareType", "3").append_pair("permissions", "1");
        if let Some(until) = share.days.and_then(|days| self.day_in(days)) {
            form.append_pair("expireDate", &until);
        }
        if let Some(password) = &self.share_password {
            form.append_pair("password", password.reveal());
        }
        form.finish()
    }

    /// The date in so many days.
    fn day_in(&self, days: u32) -> Option<String> {
        let today = Timestamp::from_millisecond(self.transport.clock().now_ms()).ok()?.to_zoned(TimeZone::UTC).date();
        today.checked_add(i64::from(days).days()).ok().map(|date| date.to_string())
    }

    /// A call of the interface that is not WebDAV.
    pub(super) async fn call(&self, request: Request<'_>) -> Result<Reply, HostError> {
        let request = request.header("ocs-apirequest", "true").header("accept", "application/json");
        self.ask(request).await
    }

    /// A link to a file that was uploaded, by its own address.
    pub(super) async fn link_of(&self, remote_id: &str) -> Result<Option<Secret>, HostError> {
        let Some(encoded) = remote_id.strip_prefix(&self.base) else { return Ok(None) };
        let link = self.link_for_others(&place::names_of(encoded).join("/")).await?;
        Ok(link.map(|link| Secret::new(link.address)))
    }
}
