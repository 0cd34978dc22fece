//! 4shared: SOAP calls reserve a file and name an address, parts go there as forms by their first byte, and an MD5 joins them.
//!
//! Source of every fact: `docs/protocols/fourshared.md`, here "page"; the service's own description is its developer
//! how-to. Parts belong to a data centre, so an upload stays with the one it began with (page, 6.4); the key in the address of the parts
//! is fetched anew when it ends, and never stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{FourSharedConfig, FourSharedFolder};
use crate::job::Proof;
use crate::job::upload::{Ack, Algorithm, Class, Found, Opened, Order, Outcome, Repeat, Session, Shape, Wanted};
use crate::secret::Secret;

use super::error::{HostError, excerpt};
use super::http::{Reply, Request, Transport};
use super::xml::{self, Element};
use super::{Answer, FileFacts, Host, Part, Place, Ticket, Tickets, Whole, address, json, stored};

/// The namespace of the calls (page, 2).
const NAMESPACE: &str = "http://api.soap.shared.pmstation.com/";
/// How long the host may take to join the parts (`docs/protocols/README.md`, section 3).
const FINISH_PATIENCE: Duration = Duration::from_secs(120);
/// How long uploading is left alone when the service has switched it off (page, 5).
const SWITCHED_OFF: Duration = Duration::from_secs(900);
/// How long a file is left alone that another client sends (page, 4: error 5).
const HELD_ELSEWHERE: Duration = Duration::from_secs(600);
/// The root folder.
const ROOT: i64 = -1;
/// How deep a folder may be.
const DEPTH_MAX: usize = 32;
/// The one address that all parts of a file go to.
const FORM: u32 = 0;
/// The call that makes the parts a file.
const FINISH: &str = "uploadFinishFile";
/// How long a listing may be, in bytes: some ten thousand items.
const LISTING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A piece of a part that is not halved any more, in bytes (page, 5).
const PIECE_BYTES_MIN: u64 = 256 * 1024;

// Requests.

/// A session as stored. The key in the address of the parts is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reserved {
    file_id: i64,
    data_center: i64,
    folder: i64,
    bytes: u64,
}

impl Reserved {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Reserved, HostError> {
        stored::load(session, "4shared")
    }
}

/// A stored session as it is stored again.
pub(super) fn stored_again(session: &Session) -> Result<Session, HostError> {
    Reserved::load(session)?.store()
}

/// A call with its arguments in order, as SOAP 1.1 rpc/literal: the operation is in the namespace, its arguments are not (page, 2).
fn envelope(operation: &str, arguments: &[String]) -> String {
    let arguments: String =
        arguments.iter().enumerate().map(|(index, value)| format!("<arg{index}>{}</arg{index}>", xml::escaped(value))).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:a=\"{NAMESPACE}\"><e:Body>\
         <a:{operation}>{arguments}</a:{operation}></e:Body></e:Envelope>"
    )
}

// Replies.

/// What a call was answered.
#[derive(Debug, PartialEq, Eq)]
pub enum SoapReply {
    /// Its response element.
    Response(Element),
    /// A fault, and what it means: the host has read the call, and refused it.
    Fault(HostError),
}

impl SoapReply {
    fn response(self) -> Result<Element, HostError> {
        match self {
            SoapReply::Response(response) => Ok(response),
            SoapReply::Fault(error) => Err(error),
        }
    }
}

/// What the host answered to a call, or why nobody knows. `about_a_file` is whether the call names a file id.
pub fn soap_reply(reply: &Reply, operation: &str, about_a_file: bool) -> Result<SoapReply, HostError> {
    let Some(root) = xml::parse(&reply.text).filter(|root| root.name == "Envelope") else {
        return Err(match reply.status {
            200..=299 => unknown(operation, "no SOAP", reply),
            _ => reply.refusal(),
        });
    };
    if let Some(fault) = root.find("Fault") {
        return Ok(SoapReply::Fault(fault_error(fault, about_a_file, reply)));
    }
    let response = root.find(&format!("{operation}Response")).filter(|_| reply.is_success()).cloned();
    response.map(SoapReply::Response).ok_or_else(|| unknown(operation, "an answer to something else", reply))
}

/// What a fault means, by its words (page, 5).
fn fault_error(fault: &Element, about_a_file: bool, reply: &Reply) -> HostError {
    let part = |name: &str| fault.find(name).map(|element| element.text.as_str()).unwrap_or_default();
    let words = [part("faultstring"), part("details"), part("exceptionClass")].join(" ");
    let said = format!("the host answered a fault: `{}`", excerpt(&words));
    let lower = words.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let error = if has(&["login", "password", "access", "denied", "banned", "not active"]) {
        reply.failure(Class::HostRefused, format!("{said}; check `user` and `password`"))
    } else if about_a_file && has(&["not found", "no such", "does not exist", "unknown file"]) {
        reply.failure(Class::SessionLost, said)
    } else {
        // A fault is an answer: the call was refused.
        reply.failure(Class::Unreadable, said)
    };
    error.with_code(part("faultcode"))
}

fn number(response: &Element) -> Result<i64, HostError> {
    let text = response.text_of("return").unwrap_or_default();
    text.parse().map_err(|_| HostError::new(Class::Unreadable, format!("the host sent `{}` for a number", excerpt(text))))
}

fn truth(response: &Element) -> Option<bool> {
    match response.text_of("return")? {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The items of a listing. How an array is wrapped is not documented, so an item is whatever says whether it is a folder.
fn items_of(element: &Element) -> Vec<&Element> {
    match element.children.iter().any(|child| child.name == "directory") {
        true => vec![element],
        false => element.children.iter().flat_map(items_of).collect(),
    }
}

/// What the host makes of a part.
#[derive(Debug, PartialEq, Eq)]
pub enum PartReply {
    /// It is held.
    Held,
    /// The key in the address was not taken; with a fresh one it may be.
    KeyEnded(HostError),
    /// It is too much for one request.
    TooMuch(HostError),
}

/// Reads the reply to a part. The host documents none: JSON or a page with hidden fields may say that it failed (page, 4).
pub fn part_reply(reply: &Reply) -> Result<PartReply, HostError> {
    match reply.status {
        200..=299 => {}
        401 | 403 | 404 | 410 => {
            return Ok(PartReply::KeyEnded(reply.failure(Class::Unreadable, reply.said())));
        }
        413 => {
            return Ok(PartReply::TooMuch(reply.failure(Class::RequestRefused, reply.said())));
        }
        // A part sent again does no harm, so no doubt is worth keeping.
        _ => return Err(HostError { doubt: false, ..reply.refusal() }),
    }
    if let Some(fields) = json::object(&reply.text) {
        let failed =
            fields.get("status").and_then(|status| status.as_str()).is_some_and(|status| status.eq_ignore_ascii_case("error"));
        return match json::number(fields.get("errorCode")).filter(|code| *code != 0) {
            Some(code) => Err(part_failure(code, reply)),
            None if failed => Err(part_failure(0, reply)),
            None => Ok(PartReply::Held),
        };
    }
    match (hidden(&reply.text, "errorCode").and_then(|text| text.parse().ok()), hidden(&reply.text, "uploadedFileId")) {
        (Some(code), _) if code != 0 => Err(part_failure(code, reply)),
        (_, Some(_)) => Ok(PartReply::Held),
        _ if hidden(&reply.text, "alert").is_some_and(|text| !text.is_empty()) => Err(part_failure(0, reply)),
        // A page without any of the fields is somebody else's page.
        _ if reply.html => Err(reply.failure(Class::Unreadable, format!("the host sent a web page: `{}`", excerpt(&reply.text)))),
        _ if reply.text.trim_start().starts_with(['{', '[']) => {
            Err(reply.failure(Class::Unreadable, format!("the host's answer ends in the middle: `{}`", excerpt(&reply.text))))
        }
        _ => Ok(PartReply::Held),
    }
}

/// The value of a hidden field of an HTML page. The page is no XML, so it is searched, not read.
fn hidden(page: &str, name: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let marks = [format!("\"{}\"", name.to_ascii_lowercase()), format!("'{}'", name.to_ascii_lowercase())];
    let at = marks.iter().find_map(|mark| lower.find(mark))?;
    let begin = lower[..at].rfind('<')?;
    let end = at + lower[at..].find('>')?;
    let tag = &page[begin..end];
    let value = tag.to_ascii_lowercase().find("value=").map(|from| &tag[from + 6..])?;
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    value[1..].split(quote).next().map(str::to_owned)
}

/// The error codes of the upload server (page, 4).
fn part_failure(code: i64, reply: &Reply) -> HostError {
    let said = |what: &str| format!("the host answered error {code} ({what}): `{}`", excerpt(&reply.text));
    let failure = |class, said: String| reply.failure(class, said).with_code(code);
    match code {
        1 => failure(Class::FileRejected, said("file too large")),
        2 => failure(Class::HostFull, said("not enough space")),
        3 => failure(Class::FileRejected, said("empty file")),
        4 => failure(Class::Transient, said("data centre error")).worsening_to(Class::SessionLost),
        5 => {
            let error = failure(Class::Transient, said("resumed from another place")).worsening_to(Class::SessionLost);
            HostError { wait: Some(HELD_ELSEWHERE), ..error }
        }
        6 => failure(Class::SessionLost, said("unfinished file was deleted")),
        7 => failure(Class::FileRejected, said("wrong file type")),
        _ => failure(Class::Unreadable, said("unknown")),
    }
}

/// Nothing where the finish worked, else what its text means (page, 5).
pub fn finish_text(text: Option<&str>) -> Result<(), HostError> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(()) };
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let said = format!("the host does not join the parts: `{}`", excerpt(text));
    Err(if has(&["md5", "checksum"]) {
        HostError::new(Class::SessionLost, said)
    } else if has(&["size", "incomplete", "not uploaded"]) {
        HostError::new(Class::OffsetMismatch, said)
    } else {
        HostError::new(Class::Unreadable, said)
    })
}

/// The link of a file that the host has.
fn link_of(text: Option<&str>) -> Result<String, HostError> {
    match text {
        Some(text) => address::link(text).ok_or_else(|| {
            HostError::new(Class::Unreadable, format!("the host has the file, and gives `{}` for a link", excerpt(text)))
        }),
        None => Err(HostError::new(Class::Transient, "the host has the file, and gives no link for it yet")),
    }
}

/// An answer that cannot be read. Only of a finish it matters whether it took effect, and the host is asked.
fn unknown(operation: &str, what: &str, reply: &Reply) -> HostError {
    let class = if operation == FINISH { Class::Transient } else { Class::Unreadable };
    let said = format!("the host sent {what} ({}): `{}`", reply.status, excerpt(&reply.text));
    HostError { doubt: true, ..reply.failure(class, said) }
}

// Glue.

/// A 4shared account.
pub struct FourShared {
    settings: FourSharedConfig,
    /// As it is sent.
    password: Secret,
    /// As it stands in the configuration.
    own_password: Secret,
    transport: Transport,
    strangers: Transport,
}

impl FourShared {
    /// An account with these settings. `strangers` goes to addresses that the host names.
    pub fn new(settings: FourSharedConfig, own_password: Secret, transport: Transport, strangers: Transport) -> FourShared {
        // The vendor's rule for programs of others: their name goes before the password (page, 3).
        let app = settings.app.as_ref().map(|app| format!("!!!{app}!!:")).unwrap_or_default();
        let password = Secret::new(xml::writable(&format!("{app}{}", own_password.reveal())));
        FourShared { settings, password, own_password, transport, strangers }
    }

    /// A call without credentials.
    async fn plain_call(&self, operation: &str, arguments: &[String], about_a_file: bool) -> Result<Element, HostError> {
        self.ask(operation, arguments, about_a_file).await?.response()
    }

    async fn ask(&self, operation: &str, arguments: &[String], about_a_file: bool) -> Result<SoapReply, HostError> {
        soap_reply(&self.transport.send(self.request(operation, arguments)).await?, operation, about_a_file)
    }

    fn request(&self, operation: &str, arguments: &[String]) -> Request<'_> {
        Request::post(&self.settings.base_url)
            .header("soapaction", "\"\"")
            .text("text/xml; charset=utf-8", envelope(operation, arguments))
            .patience(FINISH_PATIENCE)
            .secret(&self.password)
            .secret(&self.own_password)
            .following()
    }

    async fn call(&self, operation: &str, rest: &[String]) -> Result<Element, HostError> {
        self.plain_call(operation, &self.arguments(rest), false).await
    }

    async fn file_call(&self, operation: &str, file_id: i64, rest: &[String]) -> Result<Element, HostError> {
        let rest = [&[file_id.to_string()], rest].concat();
        self.plain_call(operation, &self.arguments(&rest), true).await
    }

    fn arguments(&self, rest: &[String]) -> Vec<String> {
        [&[self.settings.user.clone(), self.password.reveal().to_owned()], rest].concat()
    }

    /// Room and the limit of a file, before anything is reserved (page, 5).
    async fn check_room(&self, bytes: u64) -> Result<(), HostError> {
        let most = u64::try_from(number(&self.call("getMaxFileSize", &[]).await?)?).unwrap_or(0);
        if most > 0 && bytes > most {
            return Err(HostError::new(
                Class::FileRejected,
                format!("the account takes files of {most} bytes, and this one has {bytes}"),
            ));
        }
        let free = u64::try_from(number(&self.call("getFreeSpace", &[]).await?)?).unwrap_or(0);
        match bytes > free {
            true => Err(HostError::new(Class::HostFull, format!("the account has {free} bytes left, and the file has {bytes}"))),
            false => Ok(()),
        }
    }

    /// Why nothing could be reserved: perhaps the service has switched uploading off.
    async fn refused(&self, said: &str) -> HostError {
        let right = self.plain_call("hasRightUpload", &[], false).await.ok().and_then(|response| truth(&response));
        match right {
            Some(false) => {
                let said = "the service has switched uploading off for now";
                HostError { wait: Some(SWITCHED_OFF), ..HostError::new(Class::RateLimited, said) }
            }
            _ => HostError::new(Class::Unreadable, said),
        }
    }

    /// The number of the folder that a file goes to; folders that are missing are made.
    async fn folder(&self, below: &str) -> Result<i64, HostError> {
        let (mut folder, mut names) = match &self.settings.folder {
            FourSharedFolder::Id(id) => (*id, Vec::new()),
            FourSharedFolder::Path(names) => (ROOT, names.clone()),
        };
        names.extend(below.split('/').filter(|name| !name.is_empty()).map(str::to_owned));
        if names.len() > DEPTH_MAX {
            return Err(HostError::new(Class::FileRejected, format!("the folder `{}` is too deep", excerpt(below))));
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
                "the folder {folder} holds too many files to be listed; set `folder` to a smaller one, or `remote_path = \"\"`"
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
            -1 => self.child(folder, name).await?.ok_or_else(|| strange(format!("the folder `{name}` exists and is not listed"))),
            0 => Err(HostError::new(Class::HostRefused, format!("the host does not let us make the folder `{name}`"))),
            _ => Err(strange(format!("the folder `{name}` cannot be made: the one above it is gone"))),
        }
    }

    /// Where the parts go: a fresh key for this data centre keeps the parts that are there (page, 6.4).
    async fn form_address(&self, data_center: i64, folder: i64) -> Result<Ticket, HostError> {
        let key = self.call("createUploadSessionKey", &[folder.to_string()]).await?;
        let Some(key) = key.text_of("return") else {
            let said = format!("the host gives no key for the folder {folder}; check `folder`");
            return Err(HostError::new(Class::Unreadable, said));
        };
        let form = self.plain_call("getUploadFormUrl", &[data_center.to_string(), key.to_owned()], false).await?;
        let form = form.text_of("return").unwrap_or_default();
        if !form.starts_with("http") {
            return Err(HostError::new(Class::Unreadable, "the host named no address for the parts"));
        }
        address::check(form, self.settings.allow_private)?;
        Ok(Ticket { address: Secret::new(form), until_ms: i64::MAX })
    }

    async fn form_ticket(&self, reserved: &Reserved, tickets: &Tickets) -> Result<Ticket, HostError> {
        let mut tickets = tickets.lock().await;
        if let Some(ticket) = tickets.get(&FORM) {
            return Ok(ticket.clone());
        }
        let ticket = self.form_address(reserved.data_center, reserved.folder).await?;
        tickets.insert(FORM, ticket.clone());
        Ok(ticket)
    }

    /// Sends the bytes from `offset` of the part on, `bytes` of them; halves what is too much for one request (page, 5).
    async fn post(&self, at: &Place, reserved: &Reserved, part: &Part, offset: u64, bytes: u64) -> Result<(), HostError> {
        let mut left = vec![(offset, bytes)];
        while let Some((offset, bytes)) = left.pop() {
            match self.post_with_a_fresh_key(at, reserved, part, offset, bytes).await? {
                None => {}
                Some(error) if bytes <= PIECE_BYTES_MIN => return Err(error),
                Some(_) => {
                    let half = bytes / 2;
                    // The first half is the next to go.
                    left.extend([(offset + half, bytes - half), (offset, half)]);
                }
            }
        }
        Ok(())
    }

    /// Answers what the host said where it was too much for one request.
    async fn post_with_a_fresh_key(
        &self,
        at: &Place,
        reserved: &Reserved,
        part: &Part,
        offset: u64,
        bytes: u64,
    ) -> Result<Option<HostError>, HostError> {
        let ticket = self.form_ticket(reserved, &at.tickets).await?;
        match self.post_once(reserved, &ticket, part, offset, bytes).await? {
            PartReply::Held => return Ok(None),
            PartReply::TooMuch(error) => return Ok(Some(error)),
            PartReply::KeyEnded(_) => {}
        }
        // Another part in flight may have fetched a fresh one already.
        at.tickets.lock().await.retain(|_, known| known.address != ticket.address);
        let fresh = self.form_ticket(reserved, &at.tickets).await?;
        match self.post_once(reserved, &fresh, part, offset, bytes).await? {
            PartReply::Held => Ok(None),
            PartReply::TooMuch(error) => Ok(Some(error)),
            PartReply::KeyEnded(error) => {
                at.tickets.lock().await.clear();
                Err(match self.is_open(reserved).await? {
                    true => error,
                    false => HostError { class: Class::SessionLost, worsens: None, ..error },
                })
            }
        }
    }

    async fn post_once(
        &self,
        reserved: &Reserved,
        ticket: &Ticket,
        part: &Part,
        offset: u64,
        bytes: u64,
    ) -> Result<PartReply, HostError> {
        let form = self
            .strangers
            .form()
            .text("resumableFileId", &reserved.file_id.to_string())
            .text("resumableFirstByte", &(part.offset + offset).to_string())
            .typed_file("FilePart", "FilePart", "application/octet-stream", bytes);
        let request = Request::post(ticket.address.reveal()).form_piece(form, part, offset, bytes).exactly();
        part_reply(&self.strangers.send(request).await?)
    }

    /// Whether the reservation is still open; a host that cannot say so is believed to have it (page, 7).
    async fn is_open(&self, reserved: &Reserved) -> Result<bool, HostError> {
        let arguments = self.arguments(&[reserved.file_id.to_string()]);
        match self.ask("uploadStartedFileExists", &arguments, true).await? {
            SoapReply::Response(response) => Ok(truth(&response).unwrap_or(true)),
            SoapReply::Fault(fault) if fault.class == Class::SessionLost => Ok(false),
            SoapReply::Fault(fault) if fault.class == Class::Unreadable => Ok(true),
            SoapReply::Fault(fault) => Err(fault),
        }
    }

    /// The outcome of a file whose `digest` the host has compared.
    async fn link(&self, file_id: i64, digest: &str) -> Result<Outcome, HostError> {
        let link = self.file_call("getFileDownloadLink", file_id, &[]).await?;
        let link = link_of(link.text_of("return"))?;
        let proof = if digest.is_empty() { Proof::Word } else { Proof::Digest };
        Ok(Outcome { link: Some(link), remote_id: Some(file_id.to_string()), expires_ms: None, proof })
    }

    /// The outcome, where the host has the whole file and its digest (page, 5, "Outcome unknown").
    async fn whole(&self, reserved: &Reserved, digest: &str) -> Result<Option<Outcome>, HostError> {
        let info = match self.file_call("getFileInfo", reserved.file_id, &[]).await {
            Ok(info) => info,
            Err(error) if error.class == Class::SessionLost => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(info) = info.children.iter().find(|child| child.name == "return" && !child.nil) else { return Ok(None) };
        let size_fits = info.text_of("size").and_then(|size| size.parse().ok()) == Some(reserved.bytes);
        if !size_fits || info.text_of("removed") == Some("true") {
            return Ok(None);
        }
        match info.text_of("md5") {
            Some(md5) if md5.eq_ignore_ascii_case(digest) => self.link(reserved.file_id, digest).await.map(Some),
            Some(_) => Ok(None),
            // An open reservation may show its full size; otherwise the digest is still being computed.
            None if self.is_open(reserved).await? => Ok(None),
            None => Err(HostError::new(Class::Transient, "the host has a file of this size, and no digest of it yet")),
        }
    }
}

impl Host for FourShared {
    fn shape(&self, _: u64) -> Shape {
        Shape {
            order: Order::AnyOrder,
            part_bytes: self.settings.part_bytes,
            parts_max: u32::MAX,
            file_bytes_max: None,
            session_life: None,
            repeat: Repeat::Harmless,
            parallel: self.settings.parallel_parts,
            takes_empty_files: false,
            digest: Some(Wanted { algorithm: Algorithm::Md5, before_open: false }),
        }
    }

    /// Reserves last, right before the bytes, so that fewer reservations are left behind (page, 6.2).
    fn open<'a>(&'a self, file: &'a FileFacts, tickets: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            self.check_room(file.bytes).await?;
            let folder = self.folder(&file.folder).await?;
            let data_center = number(&self.call("getNewFileDataCenter", &[]).await?)?;
            if data_center <= 0 || i32::try_from(data_center).is_err() {
                let class = if data_center <= 0 { Class::Transient } else { Class::Unreadable };
                return Err(HostError::new(class, format!("the host named no data centre: {data_center}")));
            }
            let ticket = self.form_address(data_center, folder).await?;
            let rest = [folder.to_string(), file.name.clone(), file.bytes.to_string()];
            let file_id = number(&self.call("uploadStartFile", &rest).await?)?;
            if file_id <= 0 {
                return Err(self.refused(&format!("the host reserves nothing for the file: {file_id}")).await);
            }
            tickets.lock().await.insert(FORM, ticket);
            Reserved { file_id, data_center, folder, bytes: file.bytes }.store().map(Opened::Session)
        })
    }

    fn send<'a>(&'a self, at: &'a Place, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            self.post(at, &reserved, part, 0, part.bytes).await?;
            Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: None, moved_to: None })
        })
    }

    /// With a digest, which is known only when everything was sent, the host is asked for the whole file first.
    fn probe<'a>(&'a self, at: &'a Place, whole: Whole<'a>) -> Answer<'a, Found> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            if let Some(digest) = whole.digest
                && let Some(outcome) = self.whole(&reserved, digest).await?
            {
                return Ok(Found::Whole(outcome));
            }
            if self.is_open(&reserved).await? {
                return Ok(Found::Unsure);
            }
            // A finish that was still under way at the first question may have closed the reservation since.
            let since = match whole.digest {
                Some(digest) => self.whole(&reserved, digest).await?,
                None => None,
            };
            Ok(since.map_or(Found::Gone, Found::Whole))
        })
    }

    fn finish<'a>(&'a self, at: &'a Place, whole: Whole<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            let digest = whole.digest.unwrap_or_default();
            let response = self.file_call(FINISH, reserved.file_id, &[digest.to_owned()]).await?;
            if let Err(error) = finish_text(response.text_of("return")) {
                // An earlier finish may have worked unheard; the host then has no kind word for a second one.
                return match self.whole(&reserved, digest).await {
                    Ok(Some(outcome)) => Ok(outcome),
                    Ok(None) => Err(error),
                    Err(unheard) => Err(HostError { class: Class::Transient, worsens: None, doubt: true, ..unheard }),
                };
            }
            // The file is there: a link that does not come leaves a doubt, and the next try asks for the file.
            self.link(reserved.file_id, digest).await.map_err(|error| HostError { class: Class::Transient, doubt: true, ..error })
        })
    }

    fn abandon<'a>(&'a self, at: &'a Place) -> Answer<'a, ()> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            self.file_call("uploadCancelFile", reserved.file_id, &[]).await.map(drop)
        })
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let login = self.call("login", &[]).await?;
            if let Some(said) = login.text_of("return") {
                return Err(HostError::new(
                    Class::HostRefused,
                    format!("the host answered `{}`; check `user` and `password`", excerpt(said)),
                ));
            }
            let free = u64::try_from(number(&self.call("getFreeSpace", &[]).await?)?).unwrap_or(0);
            Ok(format!("logged in; {} left", bytesize::ByteSize::b(free).display().iec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(status: u16, text: &str) -> Reply {
        let html = text.trim_start().to_lowercase().starts_with("<html") || text.starts_with("<!DOCTYPE html");
        Reply { status, html, text: text.into(), ..Reply::default() }
    }

    fn class(error: &HostError) -> (Class, Option<Class>, bool) {
        (error.class, error.worsens, error.doubt)
    }

    fn part(status: u16, text: &str) -> Result<PartReply, (Class, Option<Class>)> {
        part_reply(&reply(status, text)).map_err(|error| (error.class, error.worsens))
    }

    fn answered(reply: &Reply, operation: &str, about_a_file: bool) -> Result<Element, HostError> {
        soap_reply(reply, operation, about_a_file).and_then(SoapReply::response)
    }

    #[test]
    fn a_call_is_that_of_the_page() {
        let arguments = ["me@example.test", "s3<&cret", "-1"].map(str::to_owned);
        let sent = envelope("uploadStartFile", &arguments);
        assert!(
            sent.contains(
                "<a:uploadStartFile><arg0>me@example.test</arg0><arg1>s3&lt;&amp;cret</arg1><arg2>-1</arg2></a:uploadStartFile>"
            ),
            "{sent}"
        );
        assert!(xml::parse(&sent).is_some());
    }

    #[test]
    fn an_answer_is_read_whatever_its_prefixes() {
        let text = "<S:Envelope xmlns:S=\"http://schemas.xmlsoap.org/soap/envelope/\"><S:Body><ns2:uploadStartFileResponse \
                    xmlns:ns2=\"http://api.soap.shared.pmstation.com/\"><return>1700300001</return></ns2:uploadStartFileResponse></S:Body></S:Envelope>";
        let response = answered(&reply(200, text), "uploadStartFile", false).unwrap();
        assert_eq!(number(&response).unwrap(), 1_700_300_001);
        assert_eq!(class(&answered(&reply(200, text), "login", false).unwrap_err()), (Class::Unreadable, None, true));
        for null in ["", "<return/>", "<return xsi:nil=\"true\"/>", "<return></return>"] {
            let text = text.replace("<return>1700300001</return>", null);
            let response = answered(&reply(200, &text), "uploadStartFile", false).unwrap();
            assert_eq!(response.text_of("return"), None, "{null}");
            assert_eq!(class(&number(&response).unwrap_err()), (Class::Unreadable, None, false));
        }
    }

    #[test]
    fn items_are_found_however_the_array_is_wrapped() {
        let item = |id: u32| format!("<id>{id}</id><name>n</name><directory>true</directory>");
        for text in [
            format!("<r><return>{}</return><return>{}</return></r>", item(1), item(2)),
            format!("<r><return><item>{}</item><item>{}</item></return></r>", item(1), item(2)),
        ] {
            let root = xml::parse(&text).unwrap();
            let ids: Vec<_> = items_of(&root).into_iter().map(|item| item.text_of("id").unwrap()).collect();
            assert_eq!(ids, ["1", "2"]);
        }
    }

    #[test]
    fn a_fault_means_what_its_words_say() {
        let fault = |words: &str, about_a_file| {
            let text = format!(
                "<S:Envelope><S:Body><S:Fault><faultcode>S:Server</faultcode><faultstring>{words}</faultstring><detail><n:ApiException><details>d</details>\
                 </n:ApiException></detail></S:Fault></S:Body></S:Envelope>"
            );
            class(&answered(&reply(500, &text), "getFileInfo", about_a_file).unwrap_err())
        };
        assert_eq!(fault("denied", false), (Class::HostRefused, None, false));
        assert_eq!(fault("wrong password", true), (Class::HostRefused, None, false));
        assert_eq!(fault("File not found", true), (Class::SessionLost, None, false));
        assert_eq!(fault("File not found", false), (Class::Unreadable, None, false));
        assert_eq!(fault("oops", true), (Class::Unreadable, None, false));
        let text = "<S:Envelope><S:Body><S:Fault><faultcode>S:Server</faultcode><faultstring>oops</faultstring></S:Fault></S:Body></S:Envelope>";
        let Ok(SoapReply::Fault(error)) = soap_reply(&reply(500, text), "getFileInfo", true) else { panic!("no fault") };
        assert_eq!((error.status, error.code.as_deref()), (Some(500), Some("S:Server")));
    }

    #[test]
    fn what_is_no_soap_leaves_the_matter_open() {
        for text in ["", "<html>", "<S:Envelope><S:Body>", "{}"] {
            let error = |operation| class(&answered(&reply(200, text), operation, false).unwrap_err());
            assert_eq!(error("login"), (Class::Unreadable, None, true), "{text}");
            assert_eq!(error(FINISH), (Class::Transient, None, true), "{text}");
        }
        assert_eq!(class(&answered(&reply(503, ""), "login", false).unwrap_err()).0, Class::Transient);
        assert_eq!(class(&answered(&reply(404, "<html>"), "login", false).unwrap_err()).0, Class::HostRefused);
    }

    #[test]
    fn a_part_is_held_in_every_form_of_yes() {
        for text in ["", "ok", "{\"status\":\"OK\"}", "{\"status\":\"ok\",\"errorCode\":0}"] {
            assert_eq!(part(200, text), Ok(PartReply::Held), "{text}");
        }
        let page = "<html><body><input type=\"hidden\" name=\"uploadedFileId\" value=\"17\"/></body></html>";
        assert_eq!(part(200, page), Ok(PartReply::Held));
    }

    #[test]
    fn a_part_that_fails_says_what_follows() {
        let expected = [
            (1, Class::FileRejected, None),
            (2, Class::HostFull, None),
            (3, Class::FileRejected, None),
            (4, Class::Transient, Some(Class::SessionLost)),
            (5, Class::Transient, Some(Class::SessionLost)),
            (6, Class::SessionLost, None),
            (7, Class::FileRejected, None),
            (99, Class::Unreadable, None),
        ];
        for (code, class, worsens) in expected {
            let page =
                format!("<html><input type='hidden' name='errorCode' value='{code}'><input name=\"alert\" value=\"no\"></html>");
            assert_eq!(part(200, &page), Err((class, worsens)), "{code}");
            assert_eq!(part(200, &format!("{{\"status\":\"error\",\"errorCode\":\"{code}\"}}")), Err((class, worsens)), "{code}");
        }
        assert_eq!(part(200, "<html>maintenance</html>"), Err((Class::Unreadable, None)));
        assert_eq!(part(200, "{\"stat"), Err((Class::Unreadable, None)));
        assert!(matches!(part(403, ""), Ok(PartReply::KeyEnded(error)) if error.class == Class::Unreadable));
        assert!(matches!(part(413, ""), Ok(PartReply::TooMuch(error)) if error.class == Class::RequestRefused));
        assert_eq!(part(415, "").unwrap_err(), (Class::RequestRefused, None));
        let error = part_reply(&reply(200, "{\"status\":\"error\",\"errorCode\":\"7\"}")).unwrap_err();
        assert_eq!((error.status, error.code.as_deref()), (Some(200), Some("7")));
        assert_eq!(part(500, "").unwrap_err().0, Class::Transient);
    }

    #[test]
    fn only_a_web_address_is_the_link_of_a_file() {
        assert_eq!(
            link_of(Some("https://www.4shared.com/file/17/a.html")).as_deref(),
            Ok("https://www.4shared.com/file/17/a.html")
        );
        assert_eq!(class(&link_of(Some("maintenance")).unwrap_err()), (Class::Unreadable, None, false));
        assert_eq!(class(&link_of(None).unwrap_err()), (Class::Transient, None, false));
    }

    #[test]
    fn a_finish_is_done_when_nothing_is_said() {
        assert!(finish_text(None).is_ok() && finish_text(Some(" ")).is_ok());
        assert_eq!(class(&finish_text(Some("wrong MD5")).unwrap_err()), (Class::SessionLost, None, false));
        assert_eq!(class(&finish_text(Some("file is incomplete")).unwrap_err()), (Class::OffsetMismatch, None, false));
        assert_eq!(class(&finish_text(Some("hm")).unwrap_err()), (Class::Unreadable, None, false));
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_readers_panic(status in 100u16..600, text in "[<>/a-zA-Z\"'= {}:0-9]{0,120}") {
            let reply = reply(status, &text);
            prop_assert!(answered(&reply, "login", true).is_err());
            prop_assert!(part_reply(&reply) != Ok(PartReply::Held) || reply.is_success());
        }
    }
}
