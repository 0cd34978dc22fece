//! Uploads in chunks, as Nextcloud takes them: a folder beside the files, numbered chunks in it, and a `MOVE` of what they are
//! together (page, 12).

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::super::Shared;
use super::super::exchange::Answer;
use super::super::log::Outcome;
use super::super::objects::{Piece, Stage, Totals, Wanted};
use super::super::reply::Reply;
use super::super::spool::Spooled;
use super::{Asked, Call, Fault, KIND, UPLOADS, id_of, served, tree, xml};

/// The bounds of a chunk but the last.
const CHUNK: std::ops::RangeInclusive<u64> = 5_000_000..=5_000_000_000;
/// The most chunks.
const CHUNKS_MAX: u64 = 10_000;
/// How long an upload is remembered, from its beginning.
const LIFE_MS: i64 = 24 * 3600 * 1000;
/// What the chunks are together.
const WHOLE: &str = ".file";

/// What is remembered of an upload. It goes with the sessions.
#[derive(Debug, Serialize, Deserialize)]
struct Upload {
    target: String,
    opened_ms: i64,
}

/// Which upload a request is about, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) name: Option<String>,
}

impl Place {
    pub(super) fn of(path: &str) -> Result<Place, Fault> {
        let (id, name) = match path.split_once('/') {
            Some((id, name)) => (id, Some(name.to_owned())),
            None => (path, None),
        };
        if id.is_empty() || name.as_ref().is_some_and(|name| name.contains('/')) {
            return Err(Fault::missing());
        }
        Ok(Place { id: id.to_owned(), name })
    }

    /// The number of a chunk, counted from 0.
    pub(super) fn chunk(&self) -> Option<u64> {
        let name = self.name.as_ref().filter(|name| name.len() == 5 && name.bytes().all(|byte| byte.is_ascii_digit()))?;
        name.parse::<u64>().ok().filter(|number| (1..=CHUNKS_MAX).contains(number)).map(|number| number - 1)
    }
}

fn record(id: &str) -> String {
    format!("session-upload-{id}")
}

/// An upload that is known, and neither lost nor too old.
fn upload(shared: &Shared, id: &str) -> Option<Upload> {
    let upload: Upload = shared.records.get(KIND, &record(id))?;
    let is_open = matches!(shared.store.stage(KIND, id), Some((Stage::Open, _)));
    (is_open && shared.clock.now_ms() - upload.opened_ms < LIFE_MS).then_some(upload)
}

fn number(told: Option<&str>) -> Result<u64, Fault> {
    told.and_then(|told| told.parse().ok()).ok_or_else(|| Fault::bad("`OC-Total-Length` is missing"))
}

impl Call {
    /// Where the file is to be, which every request of an upload says.
    fn target(&self) -> Result<&str, Fault> {
        self.to.as_ref().map(|(path, _)| path.as_str()).ok_or_else(|| Fault::bad("`Destination` is missing"))
    }

    pub(super) fn about_upload(&self, shared: &Shared, place: &Place) -> Result<Answer, Fault> {
        match (self.asked, &place.name) {
            (Asked::Folder, None) => self.begin(shared, place),
            (Asked::Look(is_deep), None) => list(shared, place, is_deep),
            (Asked::Move, Some(name)) if name == WHOLE => self.join(shared, place),
            (Asked::Remove, None) => {
                upload(shared, &place.id).ok_or_else(Fault::missing)?;
                forget(shared, place)?;
                Ok(served(Reply::empty(204)))
            }
            _ => Err(Fault::new(405, "MethodNotAllowed", "this is not done with an upload")),
        }
    }

    fn begin(&self, shared: &Shared, place: &Place) -> Result<Answer, Fault> {
        let target = self.target()?;
        if upload(shared, &place.id).is_some() {
            return Err(Fault::new(405, "MethodNotAllowed", "The resource you tried to create already exists"));
        }
        forget(shared, place)?;
        shared.store.begin(KIND, &place.id, Totals { parts: 0, bytes: 0 })?;
        let upload = Upload { target: target.to_owned(), opened_ms: shared.clock.now_ms() };
        shared.records.set(KIND, &record(&place.id), &upload)?;
        Ok(served(Reply::empty(201)))
    }

    /// Takes a chunk.
    pub(super) fn keep_chunk(&self, shared: &Shared, place: &Place, spooled: Spooled) -> Result<Answer, Fault> {
        let chunk = place.chunk().ok_or_else(|| Fault::bad("Invalid chunk name, must be numeric between 1 and 10000"))?;
        let known = upload(shared, &place.id).ok_or_else(Fault::missing)?;
        if self.target()? != known.target {
            return Err(Fault::bad("`Destination` is not that of the upload"));
        }
        number(self.total.as_deref())?;
        let (bytes, file_sha256) = (spooled.bytes, spooled.sha256.clone());
        if bytes > *CHUNK.end() {
            return Err(Fault::new(413, "EntityTooLarge", "the chunk is too large"));
        }
        let put = shared.store.put_spooled(KIND, &place.id, chunk, spooled)?;
        let answer = Answer::plain(Reply::empty(if put.again { 204 } else { 201 }), Outcome::Acked);
        Ok(Answer { file_sha256, held: true, again: put.again, differed: put.differed, ..answer })
    }

    /// Makes a file of the chunks.
    fn join(&self, shared: &Shared, place: &Place) -> Result<Answer, Fault> {
        let known = upload(shared, &place.id).ok_or_else(Fault::missing)?;
        let Some((to, replaces)) = &self.to else { return Err(Fault::bad("`Destination` is missing")) };
        if *to != known.target {
            return Err(Fault::bad("`Destination` is not that of the upload"));
        }
        tree::has_parent(shared, to)?;
        let there = tree::at(shared, to);
        if there.is_some() && !replaces && self.rules.heeds_overwrite {
            return Err(Fault::new(412, "PreconditionFailed", "The destination node already exists"));
        }
        if there.as_ref().is_some_and(|(there, _)| there.is_folder) {
            return Err(Fault::new(403, "Forbidden", "a folder with all that is in it would be replaced"));
        }
        let (wanted, parts) = (number(self.total.as_deref())?, shared.store.parts(KIND, &place.id));
        let sum: u64 = parts.values().sum();
        if sum != wanted {
            return Err(Fault::bad(format!("Chunks on server do not sum up to {wanted} but to {sum} bytes")));
        }
        if parts.values().rev().skip(1).any(|bytes| !CHUNK.contains(bytes)) {
            return Err(Fault::bad("a chunk other than the last is too small"));
        }
        let name = to.rsplit('/').next().unwrap_or(to);
        let id = id_of(to);
        let (sums, md5) =
            self.sums.of_parts(shared, parts.keys().filter_map(|part| shared.store.part_path(KIND, &place.id, *part)))?;
        sums.compare(self.rules.digests)?;
        let object = shared.store.finish_ranges(KIND, &place.id, Wanted { id: &id, name, md5: None }, |held| Ok(pieces(held)))?;
        forget(shared, place)?;
        tree::note_file(shared, to, sums.kept(self.rules.digests, md5.as_deref()))?;
        let reply = Reply::empty(if there.is_some() { 204 } else { 201 }).header("x-oc-mtime", "accepted");
        let reply = sums.told(self.rules.digests, reply);
        Ok(Answer { file_sha256: object.sha256, held: true, ..Answer::plain(reply, Outcome::Stored) })
    }
}

fn pieces(held: &BTreeMap<u64, u64>) -> Vec<Piece> {
    held.iter().map(|(part, bytes)| Piece { part: *part, from: 0, bytes: *bytes }).collect()
}

fn forget(shared: &Shared, place: &Place) -> std::io::Result<()> {
    shared.store.forget_session(KIND, &place.id)?;
    shared.records.remove(KIND, &record(&place.id))
}

/// The chunks of an upload, and what they are together.
fn list(shared: &Shared, place: &Place, is_deep: bool) -> Result<Answer, Fault> {
    upload(shared, &place.id).ok_or_else(Fault::missing)?;
    let parts = shared.store.parts(KIND, &place.id);
    let folder = format!("/{KIND}/{UPLOADS}/{}", place.id);
    let stat = |prop: &str| format!("<d:propstat><d:prop>{prop}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>");
    let mut responses =
        format!("<d:response><d:href>{folder}/</d:href>{}</d:response>", stat("<d:resourcetype><d:collection/></d:resourcetype>"));
    let whole = (WHOLE.to_owned(), parts.values().sum::<u64>());
    let chunks = parts.iter().map(|(part, bytes)| (format!("{:05}", part + 1), *bytes));
    for (name, bytes) in chunks.chain([whole]).filter(|_| is_deep) {
        let prop = stat(&format!("<d:resourcetype/><d:getcontentlength>{bytes}</d:getcontentlength>"));
        write!(responses, "<d:response><d:href>{folder}/{name}</d:href>{prop}</d:response>").ok();
    }
    Ok(served(xml(207, &format!("<d:multistatus xmlns:d=\"DAV:\">{responses}</d:multistatus>"))))
}
