//! The folders of a space.

use serde_json::{Value, json as object};

use crate::job::upload::Class;

use super::super::error::{HostError, excerpt};
use super::super::{FileFacts, json};
use super::replies::{self, Call};
use super::{KooDrive, file_type, remote_name};

/// What a folder is among the types of files (page, 3.5).
const FOLDER: &str = "10";
/// How many items a page of a listing has, and how many pages are read before a folder counts as not found.
const PAGE: usize = 100;
const PAGES_MAX: usize = 1000;

impl KooDrive {
    /// The id of the folder that a file goes to. Folders that are missing are made.
    pub(super) async fn folder(&self, file: &FileFacts) -> Result<String, HostError> {
        let mut folder = self.settings.folder.clone();
        let mut path = String::new();
        for name in file.folder.split('/').filter(|name| !name.is_empty()) {
            let name = remote_name(name);
            path = format!("{path}/{name}");
            if let Some(known) = self.learned.folder(&path) {
                folder = known;
                continue;
            }
            let container = self.container(file).await?;
            folder = self.make_folder(&container, &folder, &name).await?;
            self.learned.keep_folder(&path, &folder);
        }
        Ok(folder)
    }

    /// The container that folders are made in: as configured, or as the host named it when it created a file.
    async fn container(&self, file: &FileFacts) -> Result<String, HostError> {
        if let Some(known) = self.settings.container_id.as_ref().or(self.learned.container.get()) {
            return Ok(known.clone());
        }
        // Without a digest nothing is made of it but an upload that never completes.
        let name = remote_name(&file.name);
        let body = object!({
            "fileName": name, "fileType": file_type(&name), "parentFolder": [self.settings.folder], "length": file.bytes,
            "uploadMode": "multipart", "uploadType": 1, "autoRename": 4,
        });
        let reply =
            self.call(Call::Create, &self.settings.base_url, "files/create", &body).await.map_err(|refused| refused.error)?;
        let said = || HostError::new(Class::Unreadable, "the host did not say which container files go to; set `container_id`");
        let container = json::text(reply.get("containerId")).ok_or_else(said)?;
        Ok(self.learned.container.get_or_init(|| container).clone())
    }

    async fn make_folder(&self, container: &str, parent: &str, name: &str) -> Result<String, HostError> {
        let body = object!({
            "fileName": name, "fileType": FOLDER, "containerId": container, "parentFolder": [parent], "renameMode": 3,
        });
        let unreadable = |said: String| HostError::new(Class::Unreadable, said);
        match self.call(Call::Folder, &self.settings.base_url, "directory", &body).await {
            Ok(reply) => {
                let id = json::text(reply.get("id")).or_else(|| json::text(reply.get("fileId")));
                id.ok_or_else(|| unreadable(format!("the host made the folder `{}` but gave no id", excerpt(name))))
            }
            // It is there already, or somebody was faster.
            Err(refused) if refused.code == Some(replies::SAME_NAME) => {
                let child = self.child(container, parent, name).await?;
                child.ok_or_else(|| unreadable(format!("the folder `{}` exists but is not listed", excerpt(name))))
            }
            Err(refused) => Err(refused.error),
        }
    }

    /// The id of the folder of this name in `parent`.
    async fn child(&self, container: &str, parent: &str, name: &str) -> Result<Option<String>, HostError> {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let reply = self.list(container, parent, PAGE, cursor.as_deref()).await?;
            if let Some(id) = replies::folder_of(&reply, name) {
                return Ok(Some(id));
            }
            let next = replies::next_page(&reply).filter(|next| cursor.as_ref() != Some(next));
            let Some(next) = next else { return Ok(None) };
            cursor = Some(next);
        }
        Ok(None)
    }

    /// One page of the folders in `parent`.
    pub(super) async fn list(&self, container: &str, parent: &str, size: usize, cursor: Option<&str>) -> Result<Value, HostError> {
        let mut page = object!({ "pageSize": size });
        if let Some(cursor) = cursor {
            page["pageCursor"] = cursor.into();
        }
        let body = object!({ "containerId": container, "parentFileId": parent, "fileType": FOLDER, "pageInfo": page });
        let reply = self.call(Call::List, &self.settings.base_url, "files/0", &body).await;
        reply.map(Value::Object).map_err(|refused| refused.error)
    }
}
