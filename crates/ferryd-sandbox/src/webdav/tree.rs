//! The tree: what is at a path, and what changes it.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::super::Shared;
use super::super::exchange::Answer;
use super::super::log::Outcome;
use super::super::objects::{Piece, Stage, Totals, Wanted};
use super::super::reply::Reply;
use super::super::spool::Spooled;
use super::{Call, Fault, KIND, id_of, served};

/// Every session is of one part.
const TOTALS: Totals = Totals { parts: 1, bytes: 0 };

/// What is remembered of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) is_folder: bool,
    pub(super) modified_ms: i64,
    pub(super) etag: String,
    /// The digests of a file, as they are told.
    #[serde(default)]
    pub(super) checksums: Option<String>,
}

impl Entry {
    fn new(shared: &Shared, path: &str, is_folder: bool) -> Entry {
        let etag = format!("{:016x}", shared.chance.number() >> 64);
        Entry { path: path.to_owned(), is_folder, modified_ms: shared.clock.now_ms(), etag, checksums: None }
    }

    /// The time of its last change in the words of a header: whole seconds.
    pub(super) fn modified(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(u64::try_from(self.modified_ms).unwrap_or(0)))
    }

    fn set(&self, shared: &Shared) -> std::io::Result<()> {
        shared.records.set(KIND, &record(&self.path), self)
    }
}

/// What is at a path, and how long it is. Of bytes that were lost, nothing is there.
pub(super) fn at(shared: &Shared, path: &str) -> Option<(Entry, u64)> {
    if path.is_empty() {
        return Some((Entry { path: String::new(), is_folder: true, modified_ms: 0, etag: "root".into(), checksums: None }, 0));
    }
    let entry: Entry = shared.records.get(KIND, &record(path))?;
    let bytes = match (entry.is_folder, is_work(path)) {
        (true, _) => Some(0),
        (false, true) => shared.store.parts(KIND, &id_of(path)).get(&0).copied(),
        (false, false) => shared.store.object(KIND, &id_of(path)).map(|object| object.bytes),
    };
    bytes.or_else(|| shared.store.object(KIND, &id_of(path)).map(|object| object.bytes)).map(|bytes| (entry, bytes))
}

/// What is in a folder.
pub(super) fn within(shared: &Shared, folder: &str) -> Vec<(Entry, u64)> {
    let records = shared.records.names(KIND, "entry-");
    let entries = records.iter().filter_map(|name| shared.records.get::<Entry>(KIND, name));
    entries.filter(|entry| parent(&entry.path) == folder).filter_map(|entry| at(shared, &entry.path)).collect()
}

fn record(path: &str) -> String {
    format!("entry-{}", id_of(path))
}

fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a path is that of somebody's work in progress.
fn is_work(path: &str) -> bool {
    last_name(path).starts_with('.')
}

fn is_folder(shared: &Shared, path: &str) -> bool {
    at(shared, path).is_some_and(|(entry, _)| entry.is_folder)
}

/// Remembers a file whose bytes are an object by now.
pub(super) fn note_file(shared: &Shared, path: &str, checksums: Option<String>) -> std::io::Result<()> {
    Entry { checksums, ..Entry::new(shared, path, false) }.set(shared)
}

/// Takes the bytes of a file.
pub(super) fn keep(call: &Call, shared: &Shared, spooled: Spooled) -> Result<Answer, Fault> {
    let (id, file_sha256) = (id_of(&call.path), spooled.sha256.clone());
    let checksums = call.sums.kept(call.rules.digests, spooled.md5.as_deref());
    let was_there = at(shared, &call.path).is_some();
    let answer = if is_work(&call.path) {
        if !matches!(shared.store.stage(KIND, &id), None | Some((Stage::Open, _))) {
            shared.store.forget_session(KIND, &id)?;
        }
        shared.store.begin(KIND, &id, TOTALS)?;
        let put = shared.store.put_spooled(KIND, &id, 0, spooled)?;
        let answer = Answer::plain(Reply::empty(if was_there { 204 } else { 201 }), Outcome::Acked);
        Answer { again: put.again, differed: put.differed, ..answer }
    } else {
        shared.store.keep_as(KIND, id.clone(), last_name(&call.path), &id, spooled)?;
        let answer = Answer::plain(Reply::empty(if was_there { 204 } else { 201 }), Outcome::Stored);
        Answer { again: was_there, ..answer }
    };
    let entry = Entry { checksums, ..Entry::new(shared, &call.path, false) };
    entry.set(shared)?;
    Ok(Answer { reply: answer.reply.header("etag", &format!("\"{}\"", entry.etag)), file_sha256, held: true, ..answer })
}

impl Call {
    /// Whether bytes may come to the path.
    pub(super) fn may_put(&self, shared: &Shared) -> Result<(), Fault> {
        if self.path.is_empty() || is_folder(shared, &self.path) {
            return Err(Fault::new(405, "MethodNotAllowed", "PUT is not allowed on folders"));
        }
        has_parent(shared, &self.path)
    }

    pub(super) fn make_folder(&self, shared: &Shared) -> Result<Answer, Fault> {
        if at(shared, &self.path).is_some() {
            return Err(Fault::new(405, "MethodNotAllowed", "The resource you tried to create already exists"));
        }
        has_parent(shared, &self.path)?;
        Entry::new(shared, &self.path, true).set(shared)?;
        Ok(served(Reply::empty(201)))
    }

    /// Gives work in progress a name. With a name that is no work, it becomes an object.
    pub(super) fn rename(&self, shared: &Shared) -> Result<Answer, Fault> {
        let Some((to, replaces)) = &self.to else { return Err(Fault::bad("`Destination` is missing")) };
        let (entry, bytes) = at(shared, &self.path).ok_or_else(Fault::missing)?;
        let (from_id, to_id) = (id_of(&self.path), id_of(to));
        if *to == self.path || entry.is_folder || shared.store.stage(KIND, &from_id).is_none() {
            return Err(Fault::new(403, "Forbidden", "only work in progress is moved here"));
        }
        has_parent(shared, to)?;
        let there = at(shared, to);
        if there.is_some() && !replaces && self.rules.heeds_overwrite {
            return Err(Fault::new(412, "PreconditionFailed", "The destination node already exists"));
        }
        if there.as_ref().is_some_and(|(there, _)| there.is_folder) {
            return Err(Fault::new(403, "Forbidden", "a folder with all that is in it would be replaced"));
        }
        // What had the name as somebody's work makes room, too.
        shared.store.forget_session(KIND, &to_id)?;
        let wanted = Wanted { id: &to_id, name: last_name(to), md5: None };
        let object = shared.store.finish_ranges(KIND, &from_id, wanted, |_| Ok(vec![Piece { part: 0, from: 0, bytes }]))?;
        shared.store.forget_session(KIND, &from_id)?;
        let fresh = Entry { checksums: entry.checksums.clone(), ..Entry::new(shared, to, false) };
        let moved = if self.rules.keeps_facts { Entry { path: to.clone(), ..entry } } else { fresh };
        moved.set(shared)?;
        shared.records.remove(KIND, &record(&self.path))?;
        let answer = Answer::plain(Reply::empty(if there.is_some() { 204 } else { 201 }), Outcome::Stored);
        Ok(Answer { file_sha256: object.sha256, held: true, ..answer })
    }

    pub(super) fn remove(&self, shared: &Shared) -> Result<Answer, Fault> {
        let (entry, _) = at(shared, &self.path).ok_or_else(Fault::missing)?;
        if entry.is_folder || shared.store.stage(KIND, &id_of(&self.path)).is_none() {
            return Err(Fault::new(403, "Forbidden", "only work in progress is removed here"));
        }
        shared.store.forget_session(KIND, &id_of(&self.path))?;
        shared.records.remove(KIND, &record(&self.path))?;
        Ok(served(Reply::empty(204)))
    }

    pub(super) fn fetch(&self, shared: &Shared) -> Result<Answer, Fault> {
        let (entry, bytes) = at(shared, &self.path).ok_or_else(Fault::missing)?;
        if entry.is_folder && self.rules.knows_propfind {
            return Err(Fault::new(405, "MethodNotAllowed", "GET is not allowed on folders"));
        }
        if entry.is_folder {
            return Err(Fault::new(403, "Forbidden", "the folder is not listed"));
        }
        content(shared, &entry, bytes)
    }
}

/// The file at a path.
pub(super) fn fetched(shared: &Shared, path: &str) -> Result<Answer, Fault> {
    let (entry, bytes) = at(shared, path).filter(|(entry, _)| !entry.is_folder).ok_or_else(Fault::missing)?;
    content(shared, &entry, bytes)
}

fn content(shared: &Shared, entry: &Entry, bytes: u64) -> Result<Answer, Fault> {
    let id = id_of(&entry.path);
    let path = shared.store.object(KIND, &id).and_then(|_| shared.store.object_path(KIND, &id));
    // Of what is counted and not kept, nothing can be told.
    let path = path.or_else(|| shared.store.part_path(KIND, &id, 0)).ok_or_else(Fault::missing)?;
    let reply = Reply::file(shared.store.open_file(&path)?, bytes);
    Ok(served(reply.header("etag", &format!("\"{}\"", entry.etag)).header("last-modified", &entry.modified())))
}

pub(super) fn has_parent(shared: &Shared, path: &str) -> Result<(), Fault> {
    if is_folder(shared, parent(path)) { Ok(()) } else { Err(Fault::new(409, "Conflict", "Parent node does not exist")) }
}
