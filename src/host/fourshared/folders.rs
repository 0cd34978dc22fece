//! The folders of an account.

use crate::job::upload::Class;

use super::super::error::{HostError, excerpt};
use super::super::xml::Element;
use super::FourShared;
use super::replies::{SoapReply, items_of, number, soap_reply};
use super::settings::FourSharedFolder;

/// The root folder.
const ROOT: i64 = -1;
/// How deep a folder may be.
const DEPTH_MAX: usize = 32;
/// How many items a page of a listing has (page, 3), and how many pages are read.
const PAGE: usize = 100;
const PAGES_MAX: usize = 10_000;
/// How long a listing may be, in bytes: some ten thousand items.
const LISTING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One item of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) is_folder: bool,
}

/// The items of a listing that are there.
fn items(listing: &Element) -> Vec<Item> {
    let read = |item: &Element| {
        let is_there = item.text_of("removed") != Some("true");
        let (id, name) = (item.text_of("id")?.parse().ok()?, item.text_of("name")?.to_owned());
        is_there.then_some(Item { id, name, is_folder: item.text_of("directory") == Some("true") })
    };
    items_of(listing).into_iter().filter_map(read).collect()
}

/// A name that the service takes: none of its folders has one with a slash of either kind (page, 3).
pub(super) fn fit(name: &str) -> String {
    name.replace(['/', '\\'], "_")
}

impl FourShared {
    /// The number of the folder that a file goes to; folders that are missing are made.
    pub(super) async fn folder(&self, below: &str) -> Result<i64, HostError> {
        let (mut folder, mut path) = match &self.settings.folder {
            FourSharedFolder::Id(id) => (*id, Vec::new()),
            FourSharedFolder::Path(path) => (ROOT, path.clone()),
        };
        path.extend(below.split('/').filter(|name| !name.is_empty()).map(fit));
        if path.len() > DEPTH_MAX {
            return Err(HostError::new(Class::RequestRefused, format!("the folder `{}` is nested too deeply", excerpt(below))));
        }
        for name in path {
            folder = match self.child(folder, &name).await? {
                Some(child) => child,
                None => self.make_folder(folder, &name).await?,
            };
        }
        Ok(folder)
    }

    async fn child(&self, folder: i64, name: &str) -> Result<Option<i64>, HostError> {
        let found = self.items(folder, true, |item| item.is_folder && item.name == name).await?;
        Ok(found.first().map(|item| item.id))
    }

    /// The items of a folder that `keep` wants, page by page, so that no folder is too large. Folders come first; with
    /// `folders_only` nothing is read behind them.
    pub(super) async fn items(
        &self,
        folder: i64,
        folders_only: bool,
        keep: impl Fn(&Item) -> bool + Send + Sync,
    ) -> Result<Vec<Item>, HostError> {
        let mut kept = Vec::new();
        let mut last_id = None;
        for page in 0..PAGES_MAX {
            let page_of = [folder.to_string(), (page * PAGE).to_string(), PAGE.to_string()];
            let (count, items) = match self.listing("getItemsPartial", &page_of).await? {
                SoapReply::Response(response) => (items_of(&response).len(), items(&response)),
                // A service that knows no pages lists all at once.
                SoapReply::Fault(fault) if page == 0 && fault.class == Class::Unreadable => {
                    let all = self.listing("getItems", &[folder.to_string()]).await?.response()?;
                    return Ok(items(&all).into_iter().filter(|item| keep(item)).collect());
                }
                SoapReply::Fault(fault) => return Err(fault),
            };
            let end = items.last().map(|item| item.id);
            let is_last = count < PAGE || end == last_id || (folders_only && items.iter().any(|item| !item.is_folder));
            last_id = end;
            kept.extend(items.into_iter().filter(|item| keep(item)));
            if is_last {
                break;
            }
        }
        Ok(kept)
    }

    async fn listing(&self, operation: &str, rest: &[String]) -> Result<SoapReply, HostError> {
        let request = self.request(operation, &self.arguments(rest)).reply_max(LISTING_BYTES_MAX);
        let reply = self.transport.send(request).await?;
        if reply.cut {
            let said = "the folder contains too many files to list; set `folder` to a smaller one, or `remote_path = \"\"`";
            return Err(HostError::new(Class::Unreadable, said));
        }
        soap_reply(&reply, operation, false)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_slash_of_either_kind() {
        assert_eq!(["a\\b.txt", "a/b", "plain"].map(fit), ["a_b.txt", "a_b", "plain"]);
    }
}
