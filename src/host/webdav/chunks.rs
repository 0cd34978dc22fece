//! Uploads in chunks, as Nextcloud and ownCloud take them: a folder of our own beside the files, numbered chunks in it in any order,
//! and a `MOVE` that makes a file of them (page, 12).

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::job::upload::{Ack, Class, Found, Outcome, Repeat, Shape};

use super::super::error::{HostError, excerpt};
use super::super::http::{Reply, Request};
use super::super::{Completion, Part, UploadSession};
use super::naming::Digests;
use super::replies::{Asked, refusal};
use super::{FOLDERS_MAX, Moved, Open, PATIENCE, Seen, WebDav, digest_reply, is_as_sent, list_reply, move_reply, place};

/// The most chunks of a file.
const CHUNKS_MAX: u32 = 10_000;
/// What the size of a chunk is rounded up to where a file is too large for the configured one.
const CHUNK_STEP: u64 = 1024 * 1024;
/// How long the server keeps what belongs to an upload: a day from its beginning, less what the last chunks may take.
const SESSION_LIFE: Duration = Duration::from_secs(20 * 3600);
/// How long it may take to make a file of the chunks.
const ASSEMBLY_PATIENCE: Duration = Duration::from_secs(3600);
/// What the chunks are together.
const WHOLE: &str = ".file";

/// The folder of an upload: what came of making it, once somebody has tried.
pub(super) type ChunkFolder = Arc<OnceCell<Result<(), HostError>>>;

/// How a file goes that is too large for one request.
pub(super) fn shape(chunk_bytes: u64, parallel: usize, file_bytes: u64) -> Shape {
    let needed = file_bytes.div_ceil(u64::from(CHUNKS_MAX)).next_multiple_of(CHUNK_STEP);
    Shape {
        parts_max: CHUNKS_MAX,
        session_life: Some(SESSION_LIFE),
        repeat: Repeat::Harmless,
        parallel,
        ..Shape::parts(chunk_bytes.max(needed))
    }
}

/// The name of a chunk: chunks are joined in the order of their names.
fn name(number: u32) -> String {
    format!("{:05}", number + 1)
}

/// The chunks that are whole, of those that a server lists.
fn whole(at: &UploadSession, listed: &[(String, Seen)]) -> Vec<Ack> {
    let ack = |(name, seen): &(String, Seen)| {
        let number = name.parse::<u32>().ok()?.checked_sub(1).filter(|number| *number < at.plan.parts())?;
        let range = at.plan.range(number);
        let ack = || Ack { number, held_to: range.offset + range.bytes, receipt: None, moved_to: None };
        (seen.bytes == Some(range.bytes)).then(ack)
    };
    listed.iter().filter_map(ack).collect()
}

/// What a refusal of a chunk, or of their file, means.
fn meaning(reply: &Reply) -> HostError {
    let error = refusal(reply, Asked::Store);
    let class = match reply.status {
        412 => Class::SessionLost,
        400 if reply.text.contains("do not sum up") => Class::OffsetMismatch,
        400 if reply.text.contains("Expected filesize") => Class::Transient,
        // Nobody can say which of the chunks it is.
        400 if reply.text.contains("checksum does not match") => Class::SessionLost,
        _ => return error,
    };
    HostError { class, worsens: None, ..error }
}

impl WebDav {
    /// Makes the folder of an upload, once in a life of this process, whichever chunk needs it first: one that is there is our own, of a
    /// request without an answer. Chunks that wait for it share a refusal, so that a host that wants to rest is not asked by each.
    async fn open_folder(&self, open: &Open) -> Result<(), HostError> {
        let folder = self.chunk_folder(&open.waiting);
        let made = folder.get_or_init(|| self.make_chunk_folder(open)).await.clone();
        if made.is_err() {
            self.known_chunk_folders().retain(|_, known| !Arc::ptr_eq(known, &folder));
        }
        made
    }

    async fn make_chunk_folder(&self, open: &Open) -> Result<(), HostError> {
        let reply = self.ask(Request::custom("MKCOL", &open.waiting).header("destination", open.target())).await?;
        match reply.status {
            201 | 405 => Ok(()),
            404 | 409 => {
                let said = format!("the host answered {}: it has no uploads in chunks; set `flavour = \"plain\"`", reply.status);
                Err(reply.failure(Class::Unreadable, said).worsening_to(Class::HostRefused))
            }
            _ => Err(refusal(&reply, Asked::Call)),
        }
    }

    fn chunk_folder(&self, folder: &str) -> ChunkFolder {
        let mut folders = self.known_chunk_folders();
        if folders.len() >= FOLDERS_MAX && !folders.contains_key(folder) {
            folders.clear();
        }
        folders.entry(folder.to_owned()).or_default().clone()
    }

    fn forget_chunk_folder(&self, open: &Open) {
        self.known_chunk_folders().remove(&open.waiting);
    }

    fn known_chunk_folders(&self) -> MutexGuard<'_, BTreeMap<String, ChunkFolder>> {
        self.chunk_folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn send_chunk(&self, at: &UploadSession, open: &Open, part: &Part) -> Result<Ack, HostError> {
        self.open_folder(open).await?;
        let url = format!("{}/{}", open.waiting, name(part.number));
        let request =
            Request::put(&url).header("destination", open.target()).header("oc-total-length", at.plan.file_bytes.to_string());
        let request = if open.hashed { request.header("x-hash", "sha1") } else { request };
        let reply = self.ask(request.raw(part).patience(PATIENCE)).await?;
        if reply.is_success() {
            is_as_sent(digest_reply(&reply), part)?;
        }
        match reply.status {
            201 | 204 => Ok(Ack { number: part.number, held_to: part.offset + part.bytes, receipt: None, moved_to: None }),
            404 | 409 => {
                self.forget_chunk_folder(open);
                Err(lost(&reply))
            }
            200..=299 => {
                let said = format!("the host answered {} to a chunk: `{}`", reply.status, excerpt(&reply.text));
                Err(reply.failure(Class::Unreadable, said))
            }
            _ => Err(meaning(&reply)),
        }
    }

    /// The chunks that the server has; nothing where it does not know the upload.
    async fn chunks(&self, at: &UploadSession, open: &Open) -> Result<Option<Vec<Ack>>, HostError> {
        let url = format!("{}/", open.waiting);
        let reply = self.propfind(&url, "1").await?;
        if matches!(reply.status, 404 | 410) {
            return Ok(None);
        }
        Ok(Some(whole(at, &list_reply(&reply, &url)?)))
    }

    pub(super) async fn probe_chunks(
        &self,
        at: &UploadSession,
        open: &Open,
        completion: Completion<'_>,
    ) -> Result<Found, HostError> {
        if let Some(acks) = self.chunks(at, open).await? {
            return Ok(Found::Parts(acks));
        }
        self.forget_chunk_folder(open);
        if completion.repeated
            && let Some(outcome) = self.joined_before(at, open, completion.digest).await?
        {
            return Ok(Found::Complete(outcome));
        }
        // Of an upload without a chunk, nobody has made the folder yet.
        Ok(if completion.confirmed.count() == 0 { Found::Parts(Vec::new()) } else { Found::Gone })
    }

    /// Asks for a file of the chunks.
    pub(super) async fn ask_to_join(
        &self,
        at: &UploadSession,
        open: &Open,
        path: &str,
        overwrite: &str,
        digest: Option<&str>,
    ) -> Result<(Moved, Option<String>), HostError> {
        let url = format!("{}/{WHOLE}", open.waiting);
        let request = Request::custom("MOVE", &url)
            .header("destination", place::below(&open.base, path))
            .header("overwrite", overwrite)
            .header("oc-total-length", at.plan.file_bytes.to_string())
            .header("x-oc-mtime", open.mtime.to_string());
        let request = match digest.filter(|_| open.hashed) {
            Some(digest) => request.header("oc-checksum", format!("SHA1:{digest}")).header("x-hash", "sha1"),
            None => request,
        };
        let reply = self.ask(request.patience(ASSEMBLY_PATIENCE)).await?;
        match reply.status {
            // The server may know the upload no more, and say so with the status of a name that is taken.
            412 if reply.text.contains("Missing metadata") => Err(meaning(&reply)),
            400 => Err(meaning(&reply)),
            _ => Ok((move_reply(&reply)?, digest_reply(&reply))),
        }
    }

    /// What follows where the server misses the chunks, or the folder of the file.
    pub(super) async fn after_missing_chunks(
        &self,
        at: &UploadSession,
        open: &Open,
        path: &str,
        digest: Option<&str>,
    ) -> Result<Option<Outcome>, HostError> {
        if self.chunks(at, open).await?.is_some() {
            self.make_folders_again(&open.base, path).await?;
            return Ok(None);
        }
        self.forget_chunk_folder(open);
        let lost = || HostError::new(Class::SessionLost, "the host has lost the chunks it was sent");
        self.joined_before(at, open, digest).await?.map_or_else(|| Err(lost()), |outcome| Ok(Some(outcome)))
    }

    /// The outcome of a file that was made of the chunks, as nobody has heard.
    async fn joined_before(&self, at: &UploadSession, open: &Open, digest: Option<&str>) -> Result<Option<Outcome>, HostError> {
        let Some((path, seen)) = self.named(open, at.plan.file_bytes, digest).await? else { return Ok(None) };
        let is_proven = Digests { told: None, own: digest }.are_equal(open, &seen)?;
        self.outcome(open, &path, seen.bytes, is_proven).await.map(Some)
    }
}

fn lost(reply: &Reply) -> HostError {
    let said = format!("the host answered {}: it no longer knows the upload", reply.status);
    reply.failure(Class::SessionLost, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Tickets;
    use crate::job::plan::Plan;
    use crate::job::upload::Session;

    #[test]
    fn chunks_are_as_large_as_told_or_as_a_large_file_needs() {
        const MIB: u64 = 1024 * 1024;
        for (file, chunk) in [(33 * MIB, 32 * MIB), (320_000 * MIB, 32 * MIB), (320_000 * MIB + 1, 33 * MIB)] {
            let shape = shape(32 * MIB, 3, file);
            assert_eq!((shape.part_bytes, shape.parallel), (chunk, 3));
            assert!(file.div_ceil(chunk) <= u64::from(CHUNKS_MAX));
        }
        assert_eq!([name(0), name(9_999)], ["00001", "10000"]);
    }

    #[test]
    fn only_chunks_of_the_right_size_are_taken_from_a_list() {
        let plan = Plan { file_bytes: 25, part_bytes: 10 };
        let at = UploadSession {
            session: Session(String::new()),
            tickets: Tickets::default(),
            plan,
            mid_states: std::sync::Arc::default(),
        };
        let seen = |name: &str, bytes| (name.to_owned(), Seen { bytes, ..Seen::default() });
        let listed = [
            seen(".file", Some(15)),
            seen("00001", Some(10)),
            seen("00002", Some(9)),
            seen("00003", Some(5)),
            seen("00004", Some(5)),
            seen("0", Some(10)),
            seen("x", None),
        ];
        let numbers: Vec<u32> = whole(&at, &listed).iter().map(|ack| ack.number).collect();
        assert_eq!(numbers, [0, 2]);
    }

    #[test]
    fn a_refusal_of_chunks_means_what_the_page_says() {
        let class = |status, message: &str| {
            let text = format!("<d:error xmlns:d=\"DAV:\" xmlns:s=\"x\"><s:message>{message}</s:message></d:error>");
            meaning(&Reply { status, text, ..Reply::default() }).class
        };
        assert_eq!(class(400, "Chunks on server do not sum up to 7 but to 6 bytes"), Class::OffsetMismatch);
        assert_eq!(class(400, "Expected filesize of 7 bytes but read 6"), Class::Transient);
        assert_eq!(class(400, "The computed checksum does not match the one received from the client."), Class::SessionLost);
        assert_eq!(class(400, "Invalid chunk name"), Class::RequestRefused);
        assert_eq!(class(412, "Missing metadata for chunked upload"), Class::SessionLost);
        assert_eq!(class(507, "no room"), Class::HostFull);
    }
}
