//! The calls about folders, and the one that shares files.

use serde_json::{Value, json};

use super::super::exchange::Answer;
use super::super::log::Outcome;
use super::books::{Folder, Share};
use super::calls::{CONTAINER, Job, ROOT, check_container};
use super::fields::Fields;
use super::{Reject, code};

/// What a folder is among the types of files.
const FOLDER: &str = "10";
const PAGE: u64 = 100;
const DAYS: std::ops::RangeInclusive<u64> = 1..=365;
const FILES_MAX: usize = 100;
const COMMENT_CHARS_MAX: usize = 511;

const SHARE_FIELDS: [&str; 9] =
    ["scope", "fileIds", "containerId", "validDays", "extractCode", "comment", "userIds", "deptIds", "groupIds"];

impl Job<'_> {
    /// Makes a folder.
    pub(super) fn make_folder(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &["fileName", "fileType", "containerId", "parentFolder", "renameMode"])?;
        let name = fields.needed_text("fileName")?;
        self.check_name(name)?;
        if fields.needed_text("fileType")? != FOLDER {
            return Err(Reject::parameter("`fileType` of a folder must be `10`"));
        }
        check_container(fields)?;
        let parent = match fields.list("parentFolder")? {
            None | Some([]) => ROOT.to_owned(),
            Some(_) => self.folder(&fields.needed_texts("parentFolder")?)?,
        };
        let refuses = match fields.needed_number("renameMode")? {
            2 => false,
            3 => true,
            _ => return Err(Reject::parameter("`renameMode` must be 2 or 3")),
        };
        let mut folder = Folder { name: name.into(), parent };
        loop {
            if let Some(id) = self.books.make_folder(&folder)? {
                return Ok(self.said(json!({ "id": id }), Outcome::Served));
            }
            if refuses {
                return Err(Reject::business(code::SAME_NAME, "Duplicate name."));
            }
            folder.name = format!("{name}_{}", self.shared.chance.number());
        }
    }

    /// Lists the folders in a folder, a page at a time.
    pub(super) fn list(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &["containerId", "parentFileId", "fileType", "pageInfo"])?;
        check_container(fields)?;
        let parent = self.folder(&[fields.needed_text("parentFileId")?])?;
        if fields.needed_text("fileType")? != FOLDER {
            return Err(Reject::parameter("only folders are listed here: `fileType` must be `10`"));
        }
        let none = Value::Object(serde_json::Map::new());
        let page = Fields::of(fields.0.get("pageInfo").unwrap_or(&none), "`pageInfo`")?;
        self.check_fields(page, &["pageSize", "pageCursor"])?;
        let size = page.number("pageSize")?.unwrap_or(PAGE);
        if !(1..=PAGE).contains(&size) {
            return Err(Reject::parameter(format!("`pageSize` must be from 1 to {PAGE}")));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let from = match page.text("pageCursor")? {
            None => 0,
            Some(cursor) => cursor.parse::<usize>().map_err(|_| Reject::parameter("`pageCursor` is not one of ours"))?,
        };
        let all = self.books.folders_in(&parent);
        let shown = all.iter().skip(from).take(size);
        let files: Vec<Value> = shown
            .map(|(id, folder)| json!({ "id": id, "fileName": folder.name, "fileType": FOLDER, "parentFolder": [parent], "recycled": false }))
            .collect();
        let mut reply = json!({ "files": files, "pageInfo": { "pageSize": size } });
        if all.len() > from + size {
            reply["pageInfo"]["pageCursor"] = (from + size).to_string().into();
        }
        Ok(self.said(reply, Outcome::Served))
    }

    /// Shares files for some days.
    pub(super) fn share(self, fields: Fields<'_>) -> Result<Answer, Reject> {
        self.check_fields(fields, &SHARE_FIELDS)?;
        check_container(fields)?;
        let scope = fields.needed_number("scope")?;
        let ids = fields.needed_texts("fileIds")?;
        let days = fields.needed_number("validDays")?;
        if ids.len() > FILES_MAX || !DAYS.contains(&days) || !(1..=3).contains(&scope) {
            return Err(Reject::parameter("`fileIds` has 1 to 100 ids, `validDays` is from 1 to 365, `scope` is 1, 2 or 3"));
        }
        if fields.text("comment")?.is_some_and(|text| text.chars().count() > COMMENT_CHARS_MAX) {
            return Err(Reject::parameter("`comment` is too long"));
        }
        let is_code = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if fields.text("extractCode")?.is_some_and(|text| !is_code(text)) {
            return Err(Reject::parameter("`extractCode` must be 8 letters and digits"));
        }
        for id in &ids {
            self.file(id)?;
        }
        let rules = &self.drive.rules;
        if !rules.share_scopes.contains(&scope) {
            return Err(Reject::business(code::NO_RIGHT, "No permission to share in this scope."));
        }
        let share = Share { files: ids.into_iter().map(str::to_owned).collect(), scope, days };
        let id = self.shared.chance.number().to_string();
        self.books.set_share(&id, &share)?;
        let address = format!("https://{CONTAINER}.koodrive.test/s/{id}").to_lowercase();
        let link = if rules.share_number { json!(12345) } else { json!(address) };
        let end = self.shared.clock.now_ms().saturating_add(i64::try_from(days).unwrap_or(0) * 86_400_000);
        let share =
            json!({ "shareId": id, "shortUrl": address, "linkUrl": link, "extractCode": "", "comment": "", "expireTime": end });
        Ok(self.said(json!({ "shareLink": share }), Outcome::Served))
    }
}
