//! What a person is told who asks whether the host is there (page, 14). Uploads nothing.

use crate::job::upload::Class;

use super::super::error::{HostError, excerpt};
use super::super::http::Request;
use super::WebDav;
use super::ocs::{Product, Sharing, product_reply, sharing_reply};

impl WebDav {
    pub(super) async fn examine(&self) -> Result<String, HostError> {
        let product = self.product().await?;
        let login = if self.authorization.is_some() { "credentials accepted" } else { "no login needed" };
        let missing = || {
            let said = "there is nothing at `base_url`; it must be the address of a folder that is there";
            HostError::new(Class::HostRefused, said)
        };
        let seen = self.look(&self.base, "").await?.ok_or_else(missing)?;
        let room = seen.free.map_or(String::new(), |free| format!(", {} MiB free", free / (1024 * 1024)));
        let product = match product {
            Some(product) => Some(product),
            None => self.classes().await?,
        };
        let product = product.map_or(String::new(), |product| format!("; {product}"));
        Ok(format!("{login}, folder found{room}{product}{}", self.sharing().await?))
    }

    /// What Nextcloud or ownCloud says that it is; nothing of others.
    async fn product(&self) -> Result<Option<String>, HostError> {
        let Some(cloud) = &self.settings.cloud else { return Ok(None) };
        // Whoever does not say it may take files all the same.
        let Some(product) = product_reply(&self.transport.send(Request::get(&cloud.status())).await?) else { return Ok(None) };
        let Product { name, is_in_maintenance } = product;
        if is_in_maintenance {
            return Err(HostError::new(
                Class::Transient,
                format!("the host ({name}) is in maintenance, and takes nothing meanwhile"),
            ));
        }
        Ok(Some(name))
    }

    /// What a server says of itself, and which classes of WebDAV it has.
    async fn classes(&self) -> Result<Option<String>, HostError> {
        let reply = self.ask(Request::custom("OPTIONS", &format!("{}/", self.base))).await?;
        let told = |name: &str| reply.header(name).map(excerpt).filter(|told| !told.is_empty() && reply.is_success());
        let classes = told("dav").map(|classes| format!("WebDAV class {classes}"));
        let told: Vec<String> = told("server").into_iter().chain(classes).collect();
        Ok(Some(told.join(", ")).filter(|told| !told.is_empty()))
    }

    /// Whether links can be made as they are wanted.
    async fn sharing(&self) -> Result<&'static str, HostError> {
        let Some((cloud, share)) = self.settings.cloud.as_ref().zip(self.settings.share.as_ref()) else { return Ok("") };
        let reply = self.call(Request::get(&cloud.capabilities())).await?;
        Ok(match sharing_reply(&reply) {
            Ok(Sharing { is_allowed: false, .. }) => "; it does not let you share by link, so files get none",
            Ok(Sharing { wants_password: true, .. }) if share.password.is_none() => {
                "; it makes no link without a password: set `share_password`"
            }
            Ok(_) => "; makes links",
            Err(_) => "; it does not say whether it makes links",
        })
    }
}
