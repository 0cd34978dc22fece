//! CloudKP: chunks of a fixed ladder of sizes as multipart forms, then one finishing form. No login, no query, no checksum.
//!
//! Source of every fact: `docs/protocols/cloudkp.md`, here "page"; the service's own description is the page
//! "upload files to kpcloud using api". Nothing on the host can be asked what it holds, so a probe is always `Unsure`, and a finish
//! that went unanswered is finished again under the same session (page, 3.3).

mod moving;
mod replies;
mod settings;
mod words;

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::config::Environment;
use crate::config::reading::Table;
use crate::job::upload::{Ack, Class, Opened, Outcome, Session, Shape};
use crate::os::chance::Chance;

use super::error::HostError;
use super::form::Form;
use super::http::{Reply, Request, Transport};
use super::kind::Protocol;
use super::supplies::Supplies;
use super::{Answer, Completion, FileFacts, Host, Part, Tickets, UploadSession, stored};

use replies::reads_as_id;

pub use replies::{chunk_reply, finish_reply, is_other_form_wanted};
pub use settings::{CloudKpConfig, EmptyFile, Finish};

// Requests.

/// Decimal digits in the number of an upload (page, 4.6).
const UUID_DIGITS: usize = 20;
/// The first rung of the ladder, in bytes; larger files use twice and four times as much (page, 2.2).
const CHUNK_BYTES: u64 = 131_072;
/// From this size on a file goes in chunks of twice the size.
const TWICE_FROM: u64 = 104_857_600;
/// From this size on a file goes in chunks of four times the size.
const FOUR_TIMES_FROM: u64 = 786_432_000;
/// How long the host may take to merge the chunks (`docs/protocols/README.md`, section 3).
const FINISH_PATIENCE: Duration = Duration::from_secs(120);

/// The chunk size for a file of so many bytes.
fn chunk_bytes(file_bytes: u64) -> u64 {
    match file_bytes {
        FOUR_TIMES_FROM.. => CHUNK_BYTES * 4,
        TWICE_FROM.. => CHUNK_BYTES * 2,
        _ => CHUNK_BYTES,
    }
}

/// A session as stored: all that later requests need but the address, which is that of today's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    /// [`UUID_DIGITS`] random decimal digits, chosen by us; a string, since they overflow 64 bits (page, 4.6).
    uuid: String,
    /// Where it was opened.
    url: String,
    name: String,
    bytes: u64,
    parts: u32,
}

impl Open {
    fn new(settings: &CloudKpConfig, base_url: &str, file: &FileFacts, chance: &Chance) -> Open {
        let uuid = chance.digits(UUID_DIGITS);
        let name = file.name.replace(['/', '\\'], "_");
        let is_finish_alone = file.bytes == 0 && settings.empty_file == EmptyFile::FinishOnly;
        let parts = if is_finish_alone { 0 } else { file.parts };
        Open { uuid, url: upload_url(base_url), name, bytes: file.bytes, parts }
    }

    fn store(&self) -> Result<Session, HostError> {
        stored::session(self)
    }

    fn load(session: &Session) -> Result<Open, HostError> {
        stored::load(session, CloudKp::NAME)
    }

    /// The fields of a chunk, text first, the file last (page, 2.3).
    fn chunk_form(&self, empty: Form, number: u32, bytes: u64) -> Form {
        self.texts_of(empty, number).file("file", "file", bytes)
    }

    fn texts_of(&self, empty: Form, number: u32) -> Form {
        empty
            .text("dzuuid", &self.uuid)
            .text("dzchunkindex", &number.to_string())
            .text("dztotalchunkcount", &self.parts.to_string())
            .text("dztotalfilesize", &self.bytes.to_string())
    }

    /// The fields of the last chunk where it is the finish, too (page, 4.1).
    fn last_form(&self, empty: Form, number: u32, bytes: u64) -> Form {
        self.texts_of(empty, number).text("complete", "yes").text("file_name", &self.name).file("file", "file", bytes)
    }

    /// The fields of the finish (page, 2.4).
    fn finish_form(&self, empty: Form) -> Form {
        empty
            .text("dzuuid", &self.uuid)
            .text("complete", "yes")
            .text("file_name", &self.name)
            .text("dztotalchunkcount", &self.parts.to_string())
    }
}

// Glue.

fn upload_url(base_url: &str) -> String {
    format!("{base_url}/upload")
}

/// A CloudKP host.
pub struct CloudKp {
    settings: CloudKpConfig,
    transport: Transport,
    moving: moving::Moving,
    words: words::Words,
    /// The form of a finish that the host has asked for by refusing the other.
    taken: AtomicU8,
}

/// It has refused none.
const UNKNOWN: u8 = 0;
/// The last chunk goes with it.
const WITH_CHUNK: u8 = 1;
/// It goes alone.
const WITHOUT_CHUNK: u8 = 2;

/// How a request to finish was answered.
struct Finished {
    answer: Result<Outcome, HostError>,
    /// Whether nothing was made because it is the other form that the host makes files of.
    wants_other_form: bool,
}

fn advised(error: HostError) -> HostError {
    HostError { said: format!("{}; the other form of `finish` may be what it wants", error.said), ..error }
}

impl CloudKp {
    /// A host with these settings.
    pub fn new(settings: CloudKpConfig, transport: Transport) -> CloudKp {
        CloudKp {
            settings,
            transport,
            moving: moving::Moving::default(),
            words: words::Words::default(),
            taken: AtomicU8::new(UNKNOWN),
        }
    }

    /// The address of new uploads.
    fn present(&self) -> &str {
        let urls = &self.settings.base_urls;
        urls.get(self.moving.present()).or(urls.first()).map_or("", String::as_str)
    }

    /// Where the requests of an upload go: where it began, as long as that is configured. Answers the place of that in the list, too.
    fn place_of(&self, open: &Open) -> (usize, String) {
        let began = self.settings.base_urls.iter().position(|base_url| upload_url(base_url) == open.url);
        began.map_or_else(|| (self.moving.present(), upload_url(self.present())), |place| (place, open.url.clone()))
    }

    /// Makes the chunks a file, with the last one or without it.
    async fn finish_as(&self, last: Option<&Part>, open: &Open, completion: Completion<'_>) -> Finished {
        let (place, url) = self.place_of(open);
        let form = match last {
            Some(part) => open.last_form(self.transport.form(), part.number, part.bytes),
            None => open.finish_form(self.transport.form()),
        };
        let reply = self.transport.send(Request::post(&url).form(form, last).patience(FINISH_PATIENCE)).await;
        let wants_other_form = reply.as_ref().is_ok_and(|reply| is_other_form_wanted(reply, last.is_some()));
        let is_id = |text: &str| self.words.is_id(text, &open.uuid);
        let read = |reply: Reply| finish_reply(&reply, &self.settings.link_base, &completion.confirmed.receipts, is_id);
        Finished { answer: self.take_in(place, reply.and_then(read)), wants_other_form }
    }

    /// The same in the form that the host makes files of: where it refuses the one, it is asked once in the other.
    ///
    /// Only where it is certain that nothing was made: a refusal of a finish that went unanswered before may be about a file that is
    /// there, and the last chunk alone would be a second one.
    async fn finish_in_either_form(&self, open: &Open, completion: Completion<'_>) -> Result<Outcome, HostError> {
        let is_certain = !completion.repeated && open.parts > 0;
        let known = if is_certain { self.taken.load(Ordering::Relaxed) } else { UNKNOWN };
        // A file without chunks has no last one (page, 4.7).
        let last = completion.last.filter(|_| open.parts > 0);
        match last {
            None if known == WITH_CHUNK => {
                let said = "the host makes a file of the last chunk alone";
                return Err(HostError { wants_last: true, ..HostError::new(Class::Transient, said) });
            }
            Some(part) if known == WITHOUT_CHUNK => return self.finish_apart(part, open, completion).await,
            _ => {}
        }
        let Finished { answer, wants_other_form } = self.finish_as(last, open, completion).await;
        match last {
            _ if !wants_other_form => answer,
            None if is_certain => {
                self.taken.store(WITH_CHUNK, Ordering::Relaxed);
                answer.map_err(|error| HostError { wants_last: true, ..advised(error) })
            }
            Some(part) if is_certain && known == UNKNOWN => {
                self.taken.store(WITHOUT_CHUNK, Ordering::Relaxed);
                self.finish_apart(part, open, completion).await
            }
            _ => {
                self.taken.store(UNKNOWN, Ordering::Relaxed);
                answer.map_err(advised)
            }
        }
    }

    /// Sends the last chunk like the others, and then a finish without it.
    async fn finish_apart(&self, part: &Part, open: &Open, completion: Completion<'_>) -> Result<Outcome, HostError> {
        self.send_chunk(open, part).await?;
        let Finished { answer, wants_other_form } = self.finish_as(None, open, completion).await;
        if wants_other_form {
            self.taken.store(UNKNOWN, Ordering::Relaxed);
            return answer.map_err(advised);
        }
        answer
    }

    async fn send_chunk(&self, open: &Open, part: &Part) -> Result<Option<String>, HostError> {
        let form = open.chunk_form(self.transport.form(), part.number, part.bytes);
        let (place, url) = self.place_of(open);
        let reply = self.transport.send(Request::post(&url).form(form, Some(part))).await;
        self.take_in(place, reply.and_then(|reply| chunk_reply(&reply)))
    }

    /// Takes in how a request of an upload was answered. Where the host is not there any more, new uploads go to the next address,
    /// and one that began at another address begins anew.
    fn take_in<T>(&self, place: usize, read: Result<T, HostError>) -> Result<T, HostError> {
        let is_gone = |error: &HostError| error.worsens == Some(Class::HostRefused) || error.unconnected;
        match read {
            Err(error) if is_gone(&error) && self.settings.base_urls.len() > 1 => {
                let now = self.transport.clock().instant();
                let is_left = self.moving.is_gone(place, self.settings.base_urls.len(), now);
                let is_present = place == self.moving.present();
                // Without a connection nobody has said anything of the upload.
                Err(if !is_present && !error.unconnected {
                    HostError { class: Class::SessionLost, worsens: None, ..error }
                } else if is_left {
                    HostError { worsens: None, ..error }
                } else {
                    error
                })
            }
            Err(error) => Err(error),
            Ok(answer) => {
                self.moving.is_there();
                Ok(answer)
            }
        }
    }
}

impl Protocol for CloudKp {
    const WORD: &'static str = "cloudkp";
    const NAME: &'static str = "CloudKP";
    /// It answers with an id alone (page, 3.2).
    const GIVES_ONLY_ITS_WORD: bool = true;

    type Settings = CloudKpConfig;

    fn read(table: &Table<'_>, _: &dyn Environment) -> Option<CloudKpConfig> {
        Some(settings::read(table))
    }

    fn make(settings: &CloudKpConfig, supplies: &mut Supplies<'_>) -> Result<CloudKp, HostError> {
        Ok(CloudKp::new(settings.clone(), supplies.transport()?))
    }

    fn stored_again(session: &Session) -> Result<Session, HostError> {
        Open::load(session)?.store()
    }
}

impl Host for CloudKp {
    fn shape(&self, file_bytes: u64) -> Shape {
        Shape {
            session_life: Some(self.settings.session_max_age),
            takes_empty_files: self.settings.empty_file != EmptyFile::Reject,
            last_with_finish: self.settings.finish == Finish::LastChunk,
            ..Shape::parts(chunk_bytes(file_bytes)).with_parallel(self.settings.parallel_parts)
        }
    }

    fn open<'a>(&'a self, file: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        Box::pin(async { Open::new(&self.settings, self.present(), file, self.transport.chance()).store().map(Opened::Session) })
    }

    fn send<'a>(&'a self, at: &'a UploadSession, part: &'a Part) -> Answer<'a, Ack> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            if open.parts == 0 {
                // The finish is all there is to send (page, 4.7).
                return Ok(Ack { number: part.number, held_to: part.offset, receipt: None, moved_to: None });
            }
            let receipt = self.send_chunk(&open, part).await?;
            Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt, moved_to: None })
        })
    }

    fn finish<'a>(&'a self, at: &'a UploadSession, completion: Completion<'a>) -> Answer<'a, Outcome> {
        Box::pin(async move {
            let open = Open::load(&at.session)?;
            let outcome = self.finish_in_either_form(&open, completion).await?;
            outcome.remote_id.iter().filter(|id| reads_as_id(id)).for_each(|id| self.words.note_id(id));
            Ok(outcome)
        })
    }

    fn open_ahead(&self, files: usize, most: usize) -> Answer<'_, ()> {
        Box::pin(self.transport.open_ahead(self.present(), files, most))
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let reply = self.transport.send(Request::get(self.present())).await?;
            match reply.status {
                500.. => Err(reply.refusal()),
                200..=299 => Ok("reachable (no login needed)".to_owned()),
                // Whoever answers may be another than the host: only an upload would show (page, 2.1).
                status => {
                    Ok(format!("a server answers with {status} (no login needed); only an upload shows whether it is the host"))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(empty_file: EmptyFile) -> CloudKpConfig {
        CloudKpConfig {
            base_urls: vec!["http://127.0.0.1:1/kp".into()],
            finish: Finish::Separate,
            link_base: "https://cloudkp.com?c=".into(),
            session_max_age: Duration::from_secs(1),
            empty_file,
            parallel_parts: Some(1),
        }
    }

    #[test]
    fn the_ladder_has_the_check_values_of_the_page() {
        let parts = |bytes: u64| bytes.div_ceil(chunk_bytes(bytes));
        let sizes = [1, 131_072, 131_073, 104_857_599, 104_857_600, 786_431_999, 786_432_000, 1_073_741_824];
        assert_eq!(sizes.map(parts), [1, 1, 2, 800, 400, 3000, 1500, 2048]);
    }

    #[test]
    fn a_session_survives_being_stored_and_a_strange_one_is_lost() {
        let file = FileFacts::named("a\\b.zip", 7);
        let open = Open::new(&settings(EmptyFile::FinishOnly), "https://kp", &file, &Chance::default());
        assert_eq!((open.name.as_str(), open.uuid.len()), ("a_b.zip", 20));
        assert!(open.uuid.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(Open::load(&open.store().unwrap()).unwrap(), open);
        let later = open.store().unwrap().0.replace("\"v\":1", "\"v\":2");
        for text in ["", "{}", &later] {
            assert_eq!(Open::load(&Session(text.into())).unwrap_err().class, Class::SessionLost, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_stored_session_never_makes_the_reader_panic(text in ".{0,200}") {
            drop(Open::load(&Session(text)));
        }
    }
}
