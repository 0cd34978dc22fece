//! 4shared: SOAP calls reserve a file and name an address, parts go there as forms by their first byte, and an MD5 joins them.
//!
//! Source of every fact: `docs/protocols/fourshared.md`, here "page"; the service's own description is its developer
//! how-to. Parts belong to a data centre, so an upload stays with the one it began with (page, 6.4); the key in the address of the
//! parts is fetched anew when it ends, and never stored.

mod folders;
mod known;
mod names;
mod replies;
mod settings;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::Proof;
use crate::job::digest::{Algorithm, DigestRequirement};
use crate::job::upload::{Ack, Class, Found, Opened, Outcome, Repeat, Session, Shape};
use crate::secret::Secret;

use known::{Form, Known, Room};
use replies::{FINISH, link_of, number, returned, truth};
pub use replies::{PartReply, SoapReply, finish_text, part_reply, soap_reply};
pub use settings::{FourSharedConfig, FourSharedFolder, OnExisting};

use super::error::{HostError, excerpt};
use super::http::{Request, Transport};
use super::kind::Protocol;
use super::supplies::Supplies;
use super::xml::{self, Element};
use super::{Answer, Completion, FileFacts, Host, Part, Ticket, Tickets, UploadSession, address, stored};

/// The namespace of the calls (page, 2).
const NAMESPACE: &str = "http://api.soap.shared.pmstation.com/";
/// How long the host may take to join the parts (`docs/protocols/README.md`, section 3).
const FINISH_PATIENCE: Duration = Duration::from_secs(120);
/// How long uploading is left alone when the service has switched it off (page, 5).
const SWITCHED_OFF: Duration = Duration::from_secs(900);
/// The one address that all parts of a file go to.
const FORM: u32 = 0;
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
    /// The name it got; sessions of older programs had none.
    #[serde(default)]
    name: String,
    /// The version of the file it is for; sessions of older programs had none.
    #[serde(default)]
    version: String,
}

impl Reserved {
    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Reserved, HostError> {
        stored::load(session, FourShared::NAME)
    }
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

// Glue.

/// What the host has made of a reservation.
enum Made {
    /// The whole file, with its digest.
    Whole(Outcome),
    /// A file of another size or digest, where the reservation is not open any more.
    Another,
    Nothing,
}

/// A 4shared account.
pub struct FourShared {
    settings: FourSharedConfig,
    /// As it is sent.
    password: Secret,
    /// As it stands in the configuration.
    own_password: Secret,
    transport: Transport,
    strangers: Transport,
    names: names::Names,
    known: Known,
}

impl FourShared {
    /// An account with these settings. `strangers` goes to addresses that the host names.
    pub fn new(settings: FourSharedConfig, own_password: Secret, transport: Transport, strangers: Transport) -> FourShared {
        // The vendor's rule for programs of others: their name goes before the password (page, 3).
        let app = settings.app.as_ref().map(|app| format!("!!!{app}!!:")).unwrap_or_default();
        let password = Secret::new(xml::writable(&format!("{app}{}", own_password.reveal())));
        FourShared {
            settings,
            password,
            own_password,
            transport,
            strangers,
            names: names::Names::default(),
            known: Known::default(),
        }
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
        let now = self.transport.clock().instant();
        if self.known.take_room(bytes, now) {
            return Ok(());
        }
        let most = u64::try_from(number(&self.call("getMaxFileSize", &[]).await?)?).unwrap_or(0);
        if most > 0 && bytes > most {
            return Err(HostError::new(
                Class::FileRejected,
                format!("the account accepts files of up to {most} bytes, but this one has {bytes}"),
            ));
        }
        let free = u64::try_from(number(&self.call("getFreeSpace", &[]).await?)?).unwrap_or(0);
        if bytes > free {
            Err(HostError::new(Class::HostFull, format!("the account has {free} bytes free, but the file has {bytes}")))
        } else {
            self.known.note_room(Room { most, free: free - bytes }, now);
            Ok(())
        }
    }

    /// Why nothing could be reserved: perhaps the service has switched uploading off.
    async fn refused(&self, said: &str) -> HostError {
        let right = self.plain_call("hasRightUpload", &[], false).await.ok().and_then(|response| truth(&response));
        match right {
            Some(false) => {
                let said = "the service has temporarily disabled uploads";
                HostError { wait: Some(SWITCHED_OFF), ..HostError::new(Class::RateLimited, said) }
            }
            _ => HostError::new(Class::Unreadable, said),
        }
    }

    /// Where the parts go: a fresh key for this data centre keeps the parts that are there (page, 6.4).
    async fn form_address(&self, data_center: i64, folder: i64) -> Result<Ticket, HostError> {
        let key = self.call("createUploadSessionKey", &[folder.to_string()]).await?;
        let Some(key) = returned(&key) else {
            let said = format!("the host refused a key for the folder {folder}; check `folder`");
            return Err(HostError::new(Class::Unreadable, said));
        };
        let form = self.plain_call("getUploadFormUrl", &[data_center.to_string(), key.to_owned()], false).await?;
        let form = returned(&form).unwrap_or_default();
        if !form.starts_with("http") {
            return Err(HostError::new(Class::Unreadable, "the host gave no upload address for the parts"));
        }
        address::check(form, self.settings.allow_private)?;
        Ok(Ticket { address: Secret::new(form), until_ms: i64::MAX })
    }

    /// Where the parts of a new file go: to the data centre of the last one, as long as nothing speaks against it.
    async fn form(&self, folder: i64) -> Result<Form, HostError> {
        let now = self.transport.clock().instant();
        if let Some(form) = self.known.form(folder, now) {
            return Ok(form);
        }
        let data_center = number(&self.call("getNewFileDataCenter", &[]).await?)?;
        if data_center <= 0 || i32::try_from(data_center).is_err() {
            let class = if data_center <= 0 { Class::Transient } else { Class::Unreadable };
            return Err(HostError::new(class, format!("the host assigned no data center: {data_center}")));
        }
        let form = Form { data_center, ticket: self.form_address(data_center, folder).await? };
        self.known.note_form(folder, form.clone(), now);
        Ok(form)
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
    async fn post(&self, at: &UploadSession, reserved: &Reserved, part: &Part, offset: u64, bytes: u64) -> Result<(), HostError> {
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
        at: &UploadSession,
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
                Err(if self.is_open(reserved).await? {
                    error
                } else {
                    HostError { class: Class::SessionLost, worsens: None, ..error }
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
        let reply = match self.strangers.send(request).await {
            Ok(reply) => part_reply(&reply),
            Err(error) => Err(error),
        };
        match &reply {
            Ok(PartReply::Held | PartReply::TooMuch(_)) => {}
            Ok(PartReply::KeyEnded(_)) => {
                self.known.key_ended(reserved.folder, &ticket.address, self.transport.clock().instant());
            }
            Err(_) => self.known.forget_form(reserved.folder),
        }
        reply
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

    /// The outcome of a file whose `digest` the host has compared. `bytes` is the size that it says it has, where it was asked.
    async fn link(&self, reserved: &Reserved, digest: &str, bytes: Option<u64>) -> Result<Outcome, HostError> {
        let file_id = reserved.file_id;
        let link = self.file_call("getFileDownloadLink", file_id, &[]).await?;
        let link = link_of(returned(&link))?;
        let proof = if digest.is_empty() { Proof::Word } else { Proof::Digest };
        let name = stored::name(Some(reserved.name.clone()));
        Ok(Outcome { link: Some(link), remote_id: Some(file_id.to_string()), proof, name, bytes, ..Outcome::default() })
    }

    /// What the host has of the reservation's file (page, 5, "Outcome unknown").
    async fn made(&self, reserved: &Reserved, digest: &str) -> Result<Made, HostError> {
        let info = match self.file_call("getFileInfo", reserved.file_id, &[]).await {
            Ok(info) => info,
            Err(error) if error.class == Class::SessionLost => return Ok(Made::Nothing),
            Err(error) => return Err(error),
        };
        let Some(info) = info.children.iter().find(|child| child.name == "return" && !child.nil) else { return Ok(Made::Nothing) };
        if info.text_of("removed") == Some("true") {
            return Ok(Made::Nothing);
        }
        if info.text_of("size").and_then(|size| size.parse().ok()) != Some(reserved.bytes) {
            return Ok(Made::Another);
        }
        match info.text_of("md5") {
            Some(md5) if md5.eq_ignore_ascii_case(digest) => {
                self.link(reserved, digest, Some(reserved.bytes)).await.map(Made::Whole)
            }
            Some(_) => Ok(Made::Another),
            // An open reservation may show its full size; otherwise the digest is still being computed.
            None if self.is_open(reserved).await? => Ok(Made::Nothing),
            None => Err(HostError::new(Class::Transient, "the host has a file of this size, but has not computed its digest yet")),
        }
    }
}

impl Protocol for FourShared {
    const WORD: &'static str = "4shared";
    const NAME: &'static str = "4shared";

    type Settings = FourSharedConfig;

    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<FourSharedConfig> {
        settings::read(table, environment)
    }

    fn make(settings: &FourSharedConfig, supplies: &mut Supplies<'_>) -> Result<FourShared, HostError> {
        let password = supplies.secret(&settings.password)?;
        let strangers = supplies.strangers(settings.allow_private)?;
        Ok(FourShared::new(settings.clone(), password, supplies.transport()?, strangers))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Reserved::load(session)?.store()
    }
}

impl Host for FourShared {
    fn shape(&self, _: u64) -> Shape {
        Shape {
            repeat: Repeat::Harmless,
            parallel: self.settings.parallel_parts,
            takes_empty_files: false,
            digest: Some(DigestRequirement { algorithm: Algorithm::Md5, before_open: false, mid_states: false }),
            ..Shape::parts(self.settings.part_bytes)
        }
    }

    /// Reserves last, right before the bytes, so that fewer reservations are left behind (page, 6.2).
    fn open<'a>(&'a self, file: &'a FileFacts, tickets: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async move {
            let file = &FileFacts { name: folders::fit(&file.name), ..file.clone() };
            self.check_room(file.bytes).await?;
            let folder = self.folder(&file.folder).await?;
            let Form { data_center, ticket } = self.form(folder).await?;
            let names::Place { file_id, name } = self.reserve(folder, file).await?;
            self.names.is_used(file_id, &file.version);
            tickets.lock().await.insert(FORM, ticket);
            let version = file.version.clone();
            Reserved { file_id, data_center, folder, bytes: file.bytes, name, version }.store().map(Opened::Session)
        })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            self.names.is_used(reserved.file_id, &reserved.version);
            self.post(at, &reserved, part, 0, part.bytes).await?;
            Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: None, moved_to: None })
        })
    }

    /// With a digest, which is known only when everything was sent, the host is asked for the whole file first.
    fn probe<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Found> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            if let Some(digest) = completion.digest
                && let Made::Whole(outcome) = self.made(&reserved, digest).await?
            {
                return Ok(Found::Complete(outcome));
            }
            if self.is_open(&reserved).await? {
                return Ok(Found::Unsure);
            }
            // A finish that was still under way at the first question may have closed the reservation since.
            let Some(digest) = completion.digest else { return Ok(Found::Gone) };
            Ok(match self.made(&reserved, digest).await? {
                Made::Whole(outcome) => Found::Complete(outcome),
                Made::Another => Found::AnotherFile,
                Made::Nothing => Found::Gone,
            })
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            let digest = completion.digest.unwrap_or_default();
            let response = self.file_call(FINISH, reserved.file_id, &[digest.to_owned()]).await?;
            if let Err(error) = finish_text(returned(&response)) {
                // An earlier finish may have worked unheard; the host then has no kind word for a second one.
                return match self.made(&reserved, digest).await {
                    Ok(Made::Whole(outcome)) => Ok(outcome),
                    Ok(Made::Another | Made::Nothing) => Err(error),
                    Err(unheard) => Err(HostError { class: Class::Transient, worsens: None, doubt: true, ..unheard }),
                };
            }
            // The file is there: a link that does not come leaves a doubt, and the next try asks for the file.
            self.names.is_gone(reserved.file_id);
            self.link(&reserved, digest, None).await.map_err(|error| HostError { class: Class::Transient, doubt: true, ..error })
        })
    }

    fn abandon<'a>(&'a self, at: &'a UploadSession) -> Answer<'a, ()> {
        Box::pin(async move {
            let reserved = Reserved::load(&at.session)?;
            self.names.is_gone(reserved.file_id);
            self.file_call("uploadCancelFile", reserved.file_id, &[]).await.map(drop)
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(&self.settings.base_url, files, most))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let login = self.call("login", &[]).await?;
            if let Some(said) = returned(&login) {
                return Err(HostError::new(
                    Class::HostRefused,
                    format!("the host answered `{}`; check `user` and `password`", excerpt(said)),
                ));
            }
            let free = u64::try_from(number(&self.call("getFreeSpace", &[]).await?)?).unwrap_or(0);
            Ok(format!("logged in; {} free", bytesize::ByteSize::b(free).display().iec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
