//! The folders of an account.

use crate::job::upload::Class;

use super::super::error::{HostError, excerpt};
use super::super::xml::Element;
use super::FourShared;
use super::replies::{items_of, number, soap_reply};
use super::settings::FourSharedFolder;

/// The root folder.
const ROOT: i64 = -1;
/// How deep a folder may be.
const DEPTH_MAX: usize = 32;
/// How long a listing may be, in bytes: some ten thousand items.
const LISTING_BYTES_MAX: usize = 4 * 1024 * 1024;

impl FourShared {
    /// The number of the folder that a file goes to; folders that are missing are made.
    pub(super) async fn folder(&self, below: &str) -> Result<i64, HostError> {
        let (mut folder, mut names) = match &self.settings.folder {
            FourSharedFolder::Id(id) => (*id, Vec::new()),
            FourSharedFolder::Path(names) => (ROOT, names.clone()),
        };
        names.extend(below.split('/').filter(|name| !name.is_empty()).map(str::to_owned));
        if names.len() > DEPTH_MAX {
            return Err(HostError::new(Class::FileRejected, format!("the folder `{}` is nested too deeply", excerpt(below))));
        }
        for name in names {
            folder = match self.child(folder, &name).await? {
                Some(child) => child,
                None => self.make_folder(folder, &name).await?,
            };
        }
        Ok(folder)
    }

    async fn child(&self, folder: i64, name: &str) -> Result<Option<i64>, HostError> {
        let request = self.request("getItems", &self.arguments(&[folder.to_string()])).reply_max(LISTING_BYTES_MAX);
        let reply = self.transport.send(request).await?;
        if reply.cut {
            let said = format!(
                "the folder {folder} contains too many files to list; set `folder` to a smaller one, or `remote_path = \"\"`"
            );
            return Err(HostError::new(Class::Unreadable, said));
        }
        let items = soap_reply(&reply, "getItems", false)?.response()?;
        let is_it = |item: &&Element| {
            item.text_of("directory") == Some("true")
                && item.text_of("name") == Some(name)
                && item.text_of("removed") != Some("true")
        };
        Ok(items_of(&items).into_iter().find(is_it).and_then(|item| item.text_of("id")?.parse().ok()))
    }

    async fn make_folder(&self, folder: i64, name: &str) -> Result<i64, HostError> {
        let made = number(&self.call("createNewFolder", &[folder.to_string(), name.to_owned()]).await?)?;
        let strange = |said: String| HostError::new(Class::Unreadable, said);
        match made {
            1.. => Ok(made),
            // Somebody was faster.
            -1 => self.child(folder, name).await?.ok_or_else(|| strange(format!("the folder `{name}` exists but is not listed"))),
            0 => Err(HostError::new(Class::HostRefused, format!("the host does not allow creating the folder `{name}`"))),
            _ => Err(strange(format!("cannot create the folder `{name}`: its parent folder is gone"))),
        }
    }
}
