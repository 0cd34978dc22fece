//! What each call does.

use std::sync::Mutex;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::faults::Met;
use super::super::log::Outcome;
use super::super::objects::{Refusal, Stage, Wanted};
use super::account::{Account, Item, Reservation};
use super::part::plan;
use super::soap::{Call, Fault, Value};
use super::{KIND, Rules, SameName, SecondFinish, in_turn};

const NAME_BYTES_MAX: usize = 1024;
/// What may stand unescaped in the path of a link.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a call is, to the fault script.
pub(super) fn what(account: &Account<'_>, call: &Call) -> Met {
    let id = match call.operation.name {
        "uploadFinishFile"
        | "uploadStartedFileExists"
        | "uploadCancelFile"
        | "uploadStartFileUpdate"
        | "getFileInfo"
        | "getFileDownloadLink" => Some(call.number(2)),
        _ => None,
    };
    let file = match call.operation.name {
        "uploadStartFile" | "simpleUploadStart" | "uploadStartFileUpdate" => Some(call.text(3).to_owned()),
        _ => id.and_then(|id| account.name_of(id)),
    };
    Met { host: KIND, endpoint: call.operation.endpoint, session: id.map(|id| id.to_string()), part: None, file }
}

/// What became of a call.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) said: Result<Value, Fault>,
    pub(super) outcome: Outcome,
    /// Whether a file was stored.
    pub(super) held: bool,
}

/// Why a call does not get what it asks for.
#[derive(Debug)]
enum No {
    Fault(Fault),
    /// The value that says so, and the reason for the log.
    Said(Value, String),
}

impl No {
    fn fault(text: impl Into<String>) -> No {
        No::Fault(Fault::raised(text))
    }

    /// A text that is the error and the reason at once.
    fn text(text: impl Into<String>) -> No {
        let text = text.into();
        No::Said(Value::Text(text.clone()), text)
    }
}

impl From<std::io::Error> for No {
    fn from(error: std::io::Error) -> No {
        No::fault(format!("the sandbox cannot keep its files: {error}"))
    }
}

type Said = Result<Value, No>;

/// Where calls are answered.
#[derive(Debug)]
pub(super) struct Desk<'d> {
    pub(super) rules: &'d Rules,
    pub(super) account: Account<'d>,
    /// The address of the host with its prefix, as the client knows it.
    pub(super) host: &'d str,
    pub(super) turn: &'d Mutex<()>,
    /// Whether digests have to be wrong.
    pub(super) lies: bool,
}

impl Desk<'_> {
    /// Does what a call asks.
    pub(super) fn answer(&self, call: &Call) -> Done {
        let finish = call.operation.name == "uploadFinishFile";
        let (said, outcome) = match self.admit(call).and_then(|()| self.dispatch(call)) {
            Ok(value) if finish => (Ok(value), Outcome::Stored),
            Ok(value) => (Ok(value), Outcome::Served),
            Err(No::Said(value, reason)) => (Ok(value), Outcome::Rejected(reason)),
            Err(No::Fault(fault)) => {
                let reason = fault.text.clone();
                (Err(fault), Outcome::Rejected(reason))
            }
        };
        let held = outcome == Outcome::Stored;
        Done { said, outcome, held }
    }

    /// Whether the credentials of a call are good, where it has any. The calls that ask just that answer for themselves.
    fn admit(&self, call: &Call) -> Result<(), No> {
        let good = !call.operation.needs_login() || self.knows(call);
        match call.operation.name {
            "login" if !good => Err(No::text("wrong login or password")),
            "isExistsLoginPassword" if !good => Err(No::Said(Value::Truth(false), "wrong login or password".into())),
            _ if !good => Err(No::fault("denied: wrong login or password")),
            "isExistsLoginPassword" | "isAccountActive" | "isAccountBanned" => Ok(()),
            "login" => self.barred().map_or(Ok(()), |reason| Err(No::text(reason))),
            _ if call.operation.needs_login() => self.barred().map_or(Ok(()), |reason| Err(No::fault(reason))),
            _ => Ok(()),
        }
    }

    fn knows(&self, call: &Call) -> bool {
        let password = call.text(1);
        let prefixed = password.strip_prefix("!!!").and_then(|rest| rest.split_once("!!:"));
        let bare = prefixed.filter(|(program, _)| !program.is_empty()).map(|(_, password)| password);
        call.text(0) == self.rules.login && (password == self.rules.password || bare == Some(self.rules.password.as_str()))
    }

    fn barred(&self) -> Option<&'static str> {
        match self.rules {
            Rules { banned: true, .. } => Some("access denied: the account is banned"),
            Rules { inactive: true, .. } => Some("access denied: the account is not active"),
            _ => None,
        }
    }

    fn dispatch(&self, call: &Call) -> Said {
        let (id, text) = (call.number(2), call.text(3));
        match call.operation.name {
            "login" => Ok(Value::Null),
            "isExistsLoginPassword" => Ok(Value::Truth(true)),
            "isAccountActive" => Ok(Value::Truth(!self.rules.inactive)),
            "isAccountBanned" => Ok(Value::Truth(self.rules.banned)),
            "hasRightUpload" => Ok(Value::Truth(self.rules.upload_right)),
            "getFreeSpace" => Ok(Value::Number(self.free())),
            "getMaxFileSize" => Ok(Value::Number(self.rules.max_file_bytes)),
            "createUploadSessionKey" => self.key(id),
            "getNewFileDataCenter" => self.center(),
            "getUploadFormUrl" => self.url(call.number(0), call.text(1)),
            "uploadStartFile" => self.start(id, text, call.number(4)),
            "uploadStartFileUpdate" => self.update(id, text, call.number(4)),
            "simpleUploadStart" => self.simple(id, text, call.number(4)),
            "uploadFinishFile" => self.finish(id, text),
            "uploadStartedFileExists" => Ok(Value::Truth(self.account.reservation(id).is_some())),
            "uploadCancelFile" => self.cancel(id),
            "getFileInfo" => self.info(id),
            "getFileDownloadLink" => self.stored(id).map(|item| Value::Text(self.link(id, &item.name))),
            "getItems" => Ok(Value::List(self.items(id)?)),
            "getItemsCount" | "getItemsPartial" if !self.rules.pages => Err(No::fault("this operation is not known")),
            "getItemsCount" => Ok(Value::Number(i64::try_from(self.items(id)?.len()).unwrap_or(i64::MAX))),
            "getItemsPartial" => self.page(id, call.number(3), call.number(4)),
            "createNewFolder" => self.folder(id, text),
            _ => Err(No::fault("this operation is not emulated")),
        }
    }

    fn free(&self) -> i64 {
        self.rules.free_bytes.saturating_sub(self.account.used())
    }

    fn key(&self, folder: i64) -> Said {
        if self.account.has_folder(folder) {
            Ok(Value::Text(self.account.add_key(folder)?))
        } else {
            Err(No::Said(Value::Null, "there is no such folder".into()))
        }
    }

    fn center(&self) -> Said {
        let centers = &self.rules.data_centers;
        let turn = self.account.turn(centers.len())?;
        let center = centers.get(turn).ok_or_else(|| No::Said(Value::Number(0), "there is no data centre".into()))?;
        Ok(Value::Number((*center).into()))
    }

    fn url(&self, center: i64, name: &str) -> Said {
        let known = i32::try_from(center).ok().filter(|center| self.rules.data_centers.contains(center));
        let center = known.ok_or_else(|| No::text("error: there is no such data centre"))?;
        let key = || self.account.key(name, self.rules.key_lifetime_seconds);
        in_turn(self.turn, || {
            let mut key = key().ok_or_else(|| No::text("error: the session key is unknown or has expired"))?;
            if !key.centers.contains(&center) {
                key.centers.push(center);
                self.account.set_key(name, &key)?;
            }
            Ok(Value::Text(format!("{}/dc{center}/upload?sid={name}", self.host)))
        })
    }

    /// Why no file of this name and size goes into this folder, and the number that says so.
    fn obstacle(&self, folder: i64, name: &str, bytes: i64, free: i64) -> Option<(i64, &'static str)> {
        let wrong = |c: char| matches!(c, '/' | '\\') || c.is_control();
        match () {
            () if !self.rules.upload_right => Some((0, "uploading is switched off")),
            () if bytes < 0 => Some((-1, "the size is negative")),
            () if bytes > self.rules.max_file_bytes => Some((-1, "the file is too large")),
            () if bytes > free => Some((-2, "there is not enough space")),
            () if !self.account.has_folder(folder) => Some((-3, "there is no such folder")),
            () if name.is_empty() || name.len() > NAME_BYTES_MAX => Some((-4, "the name is empty or too long")),
            () if self.rules.strict && name.contains(wrong) => {
                Some((-4, "the name holds a slash, a backslash or a control character"))
            }
            () => None,
        }
    }

    fn reserve(&self, folder: i64, name: &str, bytes: i64) -> Result<i64, (No, &'static str)> {
        if let Some((number, reason)) = self.obstacle(folder, name, bytes, self.free()) {
            return Err((No::Said(Value::Number(number), reason.into()), reason));
        }
        in_turn(self.turn, || {
            if let Some((number, reason)) = self.taken(folder, name, None) {
                return Err((No::Said(Value::Number(number), reason.into()), reason));
            }
            self.account.reserve(folder, name, bytes).map_err(|error| (error.into(), "the sandbox cannot keep its files"))
        })
    }

    /// Whether another file than this one has the name in the folder, and the number that says so.
    fn taken(&self, folder: i64, name: &str, id: Option<i64>) -> Option<(i64, &'static str)> {
        let other = self.account.of_name(folder, name).filter(|holder| Some(*holder) != id)?;
        let is_taken = self.rules.same_name == SameName::Refuse && other > 0;
        is_taken.then_some((-5, "a file of this name is there already"))
    }

    fn start(&self, folder: i64, name: &str, bytes: i64) -> Said {
        self.reserve(folder, name, bytes).map(Value::Number).map_err(|(no, _)| no)
    }

    fn update(&self, id: i64, name: &str, bytes: i64) -> Said {
        let item = self.stored(id)?;
        if let Some((number, reason)) = self.obstacle(item.folder, name, bytes, self.free().saturating_add(item.bytes)) {
            return Err(No::Said(Value::Number(number), reason.into()));
        }
        in_turn(self.turn, || {
            if let Some((number, reason)) = self.taken(item.folder, name, Some(id)) {
                return Err(No::Said(Value::Number(number), reason.into()));
            }
            Ok(self.account.reserve_as(id, item.folder, name, bytes)?)
        })?;
        Ok(Value::Number(id))
    }

    fn simple(&self, folder: i64, name: &str, bytes: i64) -> Said {
        let info = |id: i64, message: Option<&str>, url: Value| {
            Value::Fields(vec![
                ("fileId", Value::Number(id)),
                ("freeSpace", Value::Number(self.free())),
                ("maxFileSize", Value::Number(self.rules.max_file_bytes)),
                ("message", Value::text_or_null(message.map(str::to_owned))),
                ("uploadUrl", url),
            ])
        };
        let refused = |number: Value, reason: &str| match number {
            Value::Number(number) => No::Said(info(number, Some(reason), Value::Null), reason.into()),
            _ => No::fault(reason),
        };
        let Value::Number(center) = self.center()? else { return Err(No::fault("there is no data centre")) };
        let id = match self.reserve(folder, name, bytes) {
            Ok(id) => id,
            Err((No::Said(number, _), reason)) => return Err(refused(number, reason)),
            Err((no, _)) => return Err(no),
        };
        let url = self.url(center, &self.account.add_key(folder)?)?;
        Ok(info(id, None, url))
    }

    fn cancel(&self, id: i64) -> Said {
        in_turn(self.turn, || match self.account.reservation(id) {
            Some((_, Stage::Open)) => Ok(self.account.cancel(id)?),
            _ => Err(no_file()),
        })?;
        Ok(Value::Nothing)
    }

    fn finish(&self, id: i64, md5: &str) -> Said {
        let reservation = match self.account.reservation(id) {
            Some((reservation, Stage::Open)) => reservation,
            _ => return self.finish_again(id),
        };
        if md5.len() != 32 || !md5.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(No::text("the md5 must be 32 hexadecimal digits"));
        }
        if reservation.bytes == 0 {
            return Err(No::text("the file has no bytes, its size must not be 0"));
        }
        if self.lies {
            return Err(No::text("the md5 checksum does not match"));
        }
        self.join(id, md5)
    }

    fn join(&self, id: i64, md5: &str) -> Said {
        let Some(reservation) = self.claim(id, md5)? else {
            return self.finish_again(id);
        };
        let (session, bytes) = (id.to_string(), reservation.bytes.unsigned_abs());
        let wanted = Wanted { id: &session, name: &reservation.name, md5: Some(md5) };
        let joined = self.account.shared.store.finish_ranges(KIND, &session, wanted, |held| plan(held, &reservation.over, bytes));
        match joined {
            Ok(_) => {
                self.settle(id, Some(md5))?;
                Ok(Value::Null)
            }
            Err(Refusal::Gap(from)) => Err(No::text(format!("the file is incomplete: bytes from {from} on are not uploaded"))),
            Err(Refusal::OtherDigest) => Err(No::text("the md5 checksum does not match")),
            Err(Refusal::Complete) => self.finish_again(id),
            Err(Refusal::NoSession) => Err(no_file()),
            Err(Refusal::Io(error)) => Err(error.into()),
            Err(other) => Err(No::fault(other.to_string())),
        }
    }

    /// Writes down what a finish says of the bytes, unless another finish was here meanwhile.
    fn claim(&self, id: i64, md5: &str) -> Result<Option<Reservation>, No> {
        in_turn(self.turn, || match self.account.reservation(id) {
            Some((reservation, Stage::Open)) => {
                let reservation = Reservation { md5: Some(md5.to_owned()), ..reservation };
                self.account.set_reservation(id, &reservation)?;
                Ok(Some(reservation))
            }
            _ => Ok(None),
        })
    }

    /// Makes a file of a reservation whose bytes are stored, unless that is done.
    fn settle(&self, id: i64, md5: Option<&str>) -> Result<(), No> {
        in_turn(self.turn, || match self.account.reservation(id) {
            Some((reservation, Stage::Done(_))) => {
                let md5 = md5.or(reservation.md5.as_deref()).unwrap_or_default();
                Ok(self.account.complete(id, &reservation, md5)?)
            }
            _ => Ok(()),
        })
    }

    fn finish_again(&self, id: i64) -> Said {
        // The finish before this one may have been cut short, or still be, between the bytes and the record of the file.
        self.settle(id, None)?;
        self.stored(id)?;
        match self.rules.second_finish {
            SecondFinish::Text => Err(No::text("the upload is finished already")),
            SecondFinish::Empty => Err(No::Said(Value::Null, "the upload is finished already".into())),
        }
    }

    fn stored(&self, id: i64) -> Result<Item, No> {
        self.account.item(id).ok_or_else(no_file)
    }

    fn info(&self, id: i64) -> Said {
        if let Some(folder) = self.account.folder(id) {
            return Ok(self.folder_info(id, &folder));
        }
        let item = self.stored(id)?;
        let known = self.account.ask(id)? >= self.rules.md5_after_calls;
        Ok(self.item_info(id, &item, known))
    }

    fn item_info(&self, id: i64, item: &Item, md5_known: bool) -> Value {
        let md5 = if self.lies { other_digest(&item.md5) } else { item.md5.clone() };
        let link = Value::Text(self.link(id, &item.name));
        let md5 = Value::text_or_null(Some(md5).filter(|_| md5_known));
        entry(
            Listed { id, parent: item.folder, name: &item.name, at_ms: item.stored_ms, size: item.bytes, version: item.version },
            [link, md5],
        )
    }

    fn folder_info(&self, id: i64, folder: &super::account::Folder) -> Value {
        entry(
            Listed { id, parent: folder.parent, name: &folder.name, at_ms: folder.made_ms, size: -1, version: 1 },
            [Value::Null, Value::Null],
        )
    }

    /// Some of the items of a folder, from `start` on.
    fn page(&self, folder: i64, start: i64, count: i64) -> Said {
        let (Ok(start), Ok(count)) = (usize::try_from(start), usize::try_from(count)) else {
            return Err(No::fault("startIndex and count must not be negative"));
        };
        Ok(Value::List(self.items(folder)?.into_iter().skip(start).take(count).collect()))
    }

    /// The folders of a folder and its files, each by name.
    fn items(&self, folder: i64) -> Result<Vec<Value>, No> {
        if !self.account.has_folder(folder) {
            return Err(No::fault("there is no such folder"));
        }
        let mut folders = self.account.folders_in(folder);
        folders.sort_by(|one, other| one.1.name.cmp(&other.1.name));
        let folders = folders.into_iter().map(|(id, folder)| self.folder_info(id, &folder));
        let files = self.account.items_in(folder).into_iter();
        let mut files: Vec<(String, Value)> = files
            .map(|(id, item)| (item.name.clone(), self.item_info(id, &item, item.asked >= self.rules.md5_after_calls)))
            .collect();
        if self.rules.lists_reserved {
            files.extend(self.account.reserved_in(folder).into_iter().map(|(id, reservation)| {
                let Reservation { name, folder: parent, bytes: size, .. } = &reservation;
                let listed = Listed { id, parent: *parent, name, at_ms: 0, size: *size, version: 1 };
                (name.clone(), entry(listed, [Value::Null, Value::Null]))
            }));
        }
        files.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(folders.chain(files.into_iter().map(|(_, item)| item)).collect())
    }

    fn folder(&self, parent: i64, name: &str) -> Said {
        let no = |number: i64, reason: &str| Err(No::Said(Value::Number(number), reason.into()));
        if name.trim().is_empty() || name.contains(['/', '\\']) || name.len() > NAME_BYTES_MAX {
            return no(0, "this cannot be the name of a folder");
        }
        if !self.account.has_folder(parent) {
            return no(-2, "there is no such folder");
        }
        in_turn(self.turn, || {
            if self.account.folders_in(parent).iter().any(|(_, folder)| folder.name == name) {
                no(-1, "there is a folder of this name")
            } else {
                Ok(Value::Number(self.account.add_folder(parent, name)?))
            }
        })
    }

    fn link(&self, id: i64, name: &str) -> String {
        format!("{}/file/{id}/{}", self.host, utf8_percent_encode(name, ESCAPED))
    }
}

fn no_file() -> No {
    No::fault("not found: there is no such file")
}

/// What an `accountItem` says of a file, or of a folder when the size is -1.
#[derive(Debug, Clone, Copy)]
struct Listed<'l> {
    id: i64,
    parent: i64,
    name: &'l str,
    at_ms: i64,
    size: i64,
    version: i64,
}

fn entry(listed: Listed<'_>, [link, md5]: [Value; 2]) -> Value {
    let Listed { id, parent, name, at_ms, size, version } = listed;
    let date = Timestamp::from_millisecond(at_ms).ok().map(|at| at.to_string());
    Value::Fields(vec![
        ("date", Value::text_or_null(date)),
        ("directory", Value::Truth(size < 0)),
        ("downloadCount", Value::Number(0)),
        ("downloadLink", link),
        ("empty", Value::Truth(size <= 0)),
        ("id", Value::Number(id)),
        ("md5", md5),
        ("name", Value::Text(name.to_owned())),
        ("parentId", Value::Number(parent)),
        ("removed", Value::Truth(false)),
        ("shared", Value::Truth(false)),
        ("size", Value::Number(size.max(0))),
        ("version", Value::Number(version)),
    ])
}

/// A digest that is not this one.
fn other_digest(md5: &str) -> String {
    let turned = |c: char| if c == '0' { '1' } else { '0' };
    md5.chars().map(turned).collect()
}
