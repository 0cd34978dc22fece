//! What the emulated hosts hold: half-sent sessions with their parts, and finished objects.
//!
//! ```text
//! DIR/KIND/sessions/KEY/session.json    what was agreed and how far it is; KEY is percent-encoded
//! DIR/KIND/sessions/KEY/0000000003      one part
//! DIR/KIND/objects/ID.json              what the object is
//! DIR/KIND/objects/ID.bytes             its bytes
//! ```
//!
//! Every file is written beside its place and renamed into it, so that a server killed at any moment finds whole parts or none. A
//! part's bytes are in its file before the reply leaves; nothing is flushed to the disk, since this is a test bench and not a host.
//! A store that discards has the same memory and no files.
//!
//! Locks: the table of sessions and objects may be taken while one session is held, never the other way round, except by
//! `try_lock`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chance::Chance;
use super::digest::hex;
use super::files::{Files, Opened};
use super::hold;
use super::spool::{Aside, Spool, Spooled};

/// How many sessions are remembered, over all hosts. When they are full, those that are finished or lost are forgotten.
pub(super) const SESSIONS_MAX: usize = 100_000;
/// How many objects are held, over all hosts.
const OBJECTS_MAX: usize = 1_000_000;
const ID_CHARS: usize = 10;
const COPY_BYTES: usize = 256 * 1024;

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The kind of the host that holds it.
    pub host: String,
    /// The id the client got.
    pub id: String,
    /// The name the client gave.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal; empty when bytes are discarded.
    pub sha256: Option<String>,
    /// The session it came from.
    pub session: String,
    /// How often its host has stored the same bytes under the same name, this time included. In discard mode the length stands for
    /// the bytes.
    #[serde(skip_deserializing, default)]
    pub stored: u64,
}

/// What the client announced for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) parts: u64,
    pub(super) bytes: u64,
}

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Parts are coming in.
    Open,
    /// It became the object of this id.
    Done(String),
    /// The host has lost it, and says so.
    Lost,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Put {
    /// The part was held before.
    pub(super) again: bool,
    /// It was held with other bytes.
    pub(super) differed: bool,
}

/// Some bytes of a part, on their way into an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The number of the part.
    pub(super) part: u64,
    /// Where they begin in it.
    pub(super) from: u64,
    /// How many they are.
    pub(super) bytes: u64,
}

/// What an object made of pieces is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'w> {
    /// Its id; an object that has it makes room.
    pub(super) id: &'w str,
    pub(super) name: &'w str,
    /// The MD5 its bytes must have, in either case, where that is known. Not checked when bytes are discarded.
    pub(super) md5: Option<&'w str>,
}

/// Why the store does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("session not found")]
    NoSession,
    #[error("session is already complete")]
    Complete,
    #[error("the total number of chunks or bytes differs from that of the first request of this session")]
    OtherTotals,
    #[error("chunk {0} missing")]
    Missing(u64),
    #[error("bytes from {0} on are missing")]
    Gap(u64),
    #[error("the digest differs from that of the bytes")]
    OtherDigest,
    #[error("no space left on the server")]
    Full,
    #[error("the sandbox cannot keep its files")]
    Io(#[from] std::io::Error),
}

/// All that is held, over all hosts.
#[derive(Debug)]
pub(super) struct Store {
    files: Files,
    chance: Chance,
    root: Option<PathBuf>,
    state: Mutex<State>,
    scratch: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<Key, Arc<Mutex<Session>>>,
    order: VecDeque<Key>,
    objects: BTreeMap<Key, Object>,
    stored: HashMap<Likeness, u64>,
}

/// Host and session, or host and object id.
type Key = (String, String);
/// What makes two objects the same: host, name, bytes.
type Likeness = (String, String, String);

#[derive(Debug)]
struct Session {
    totals: Totals,
    stage: Stage,
    parts: BTreeMap<u64, u64>,
    files: Files,
    dir: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct SessionFile {
    totals: Totals,
    stage: Stage,
}

impl Store {
    /// The store in `root`, with what an earlier run left there; one that discards when there is no `root`.
    pub(super) fn open(files: Files, chance: Chance, root: Option<&Path>) -> std::io::Result<Store> {
        let mut state = State::default();
        if let Some(root) = root {
            files.create_dir_all(root)?;
            for kind in files.names(root)? {
                state.recall(&files, root, &kind)?;
            }
        }
        Ok(Store { files, chance, root: root.map(Path::to_owned), state: Mutex::new(state), scratch: AtomicU64::new(0) })
    }

    /// Whether bytes are counted instead of kept.
    pub(super) fn discards(&self) -> bool {
        self.root.is_none()
    }

    /// Where a session stands; nothing when it was never heard of.
    pub(super) fn stage(&self, host: &str, session: &str) -> Option<(Stage, Totals)> {
        let session = self.session(host, session)?;
        let session = hold(&session);
        Some((session.stage.clone(), session.totals))
    }

    /// Begins a session, or checks that it was begun with the same totals.
    pub(super) fn begin(&self, host: &str, session: &str, totals: Totals) -> Result<(), Refusal> {
        let known = {
            let mut state = hold(&self.state);
            match state.sessions.get(&key(host, session)) {
                Some(known) => Arc::clone(known),
                None => return self.add_session(&mut state, host, session, totals),
            }
        };
        let known = hold(&known);
        match known.stage {
            Stage::Lost => Err(Refusal::NoSession),
            _ if known.totals != totals => Err(Refusal::OtherTotals),
            _ => Ok(()),
        }
    }

    fn add_session(&self, state: &mut State, host: &str, session: &str, totals: Totals) -> Result<(), Refusal> {
        if state.sessions.len() >= SESSIONS_MAX {
            state.forget_closed()?;
        }
        if state.sessions.len() >= SESSIONS_MAX {
            return Err(Refusal::Full);
        }
        let dir = self.root.as_ref().map(|root| root.join(host).join("sessions").join(file_name(session)));
        let new = Session { totals, stage: Stage::Open, parts: BTreeMap::new(), files: self.files.clone(), dir };
        if let Some(dir) = &new.dir {
            self.files.create_dir_all(dir)?;
        }
        new.note()?;
        state.sessions.insert(key(host, session), Arc::new(Mutex::new(new)));
        state.order.push_back(key(host, session));
        Ok(())
    }

    /// Takes a part in, in place of an earlier one of the same number. `data` is empty when bytes are discarded.
    pub(super) fn put(&self, host: &str, session: &str, part: u64, bytes: u64, data: Option<&[u8]>) -> Result<Put, Refusal> {
        let session = self.session(host, session).ok_or(Refusal::NoSession)?;
        let dir = hold(&session).dir.clone();
        let fresh = match (&dir, data) {
            (Some(dir), Some(data)) => Some(self.write_aside(dir, data)?),
            _ => None,
        };
        let put = hold(&session).take(part, bytes, fresh.as_deref());
        if let (Err(_), Some(fresh)) = (&put, &fresh) {
            self.files.remove(fresh)?;
        }
        put
    }

    fn write_aside(&self, dir: &Path, data: &[u8]) -> std::io::Result<PathBuf> {
        let path = dir.join(format!("new-{}", self.scratch.fetch_add(1, Ordering::Relaxed)));
        self.files.write(&path, data)?;
        Ok(path)
    }

    /// Makes the parts of a session an object. The session remembers which.
    pub(super) fn finish(&self, host: &str, session: &str, name: &str) -> Result<Object, Refusal> {
        let held = self.session(host, session).ok_or(Refusal::NoSession)?;
        let mut held = hold(&held);
        held.check_whole()?;
        let id = self.new_id(host)?;
        let parts: Vec<_> = held.parts.keys().filter_map(|part| Some(held.dir.as_ref()?.join(part_name(*part)))).collect();
        let sha256 = self.join(host, &id, &parts)?;
        let bytes = held.parts.values().sum();
        let object = Object { host: host.into(), id, name: name.into(), bytes, sha256, session: session.into(), stored: 0 };
        let object = self.add_object(object)?;
        held.stage = Stage::Done(object.id.clone());
        held.note()?;
        held.parts.clear();
        parts.iter().try_for_each(|part| self.files.remove(part))?;
        Ok(object)
    }

    /// Stores the bytes of `object` once more under a new id.
    pub(super) fn copy(&self, object: &Object, name: &str) -> Result<Object, Refusal> {
        let id = self.new_id(&object.host)?;
        let from = self.object_path(&object.host, &object.id);
        let sha256 = self.join(&object.host, &id, &Vec::from_iter(from))?;
        self.add_object(Object { id, sha256, name: name.into(), ..object.clone() })
    }

    /// A path for bytes that are still coming in; nothing when bytes are discarded.
    pub(super) fn aside(&self) -> std::io::Result<Option<Aside>> {
        let Some(root) = &self.root else { return Ok(None) };
        let folder = root.join("incoming");
        self.files.create_dir_all(&folder)?;
        let path = folder.join(format!("{}", self.scratch.fetch_add(1, Ordering::Relaxed)));
        Ok(Some(Aside { files: self.files.clone(), path }))
    }

    /// Takes over bytes as a part, in place of an earlier one of the same number.
    pub(super) fn put_spooled(&self, host: &str, session: &str, part: u64, mut spooled: Spooled) -> Result<Put, Refusal> {
        let session = self.session(host, session).ok_or(Refusal::NoSession)?;
        let mut session = hold(&session);
        let (bytes, fresh) = (spooled.bytes, spooled.path.take());
        let put = session.take(part, bytes, fresh.as_deref());
        if let (Err(_), Some(fresh)) = (&put, &fresh) {
            self.files.remove(fresh)?;
        }
        put
    }

    /// Makes an object of bytes that came in one request. `over` is the object whose place it takes, if any.
    pub(super) fn keep_whole(
        &self,
        host: &str,
        over: Option<&Object>,
        name: &str,
        session: &str,
        spooled: Spooled,
    ) -> Result<Object, Refusal> {
        let id = match over {
            Some(object) => object.id.clone(),
            None => self.new_id(host)?,
        };
        self.keep_as(host, id, name, session, spooled)
    }

    /// The same as the object of this id; one that has it makes room.
    pub(super) fn keep_as(
        &self,
        host: &str,
        id: String,
        name: &str,
        session: &str,
        mut spooled: Spooled,
    ) -> Result<Object, Refusal> {
        if let (Some(from), Some(to)) = (spooled.path.take(), self.object_path(host, &id)) {
            self.files.create_dir_all(to.parent().unwrap_or(&to))?;
            self.files.rename(&from, &to)?;
        }
        let (bytes, sha256) = (spooled.bytes, spooled.sha256.take());
        self.add_object(Object { host: host.into(), id, name: name.into(), bytes, sha256, session: session.into(), stored: 0 })
    }

    /// Makes an object of a session whose parts are ranges of any length. `plan` is told which parts are held, and says which bytes
    /// of them follow each other. The session remembers the object.
    pub(super) fn finish_ranges(
        &self,
        host: &str,
        session: &str,
        wanted: Wanted<'_>,
        plan: impl FnOnce(&BTreeMap<u64, u64>) -> Result<Vec<Piece>, Refusal>,
    ) -> Result<Object, Refusal> {
        let held = self.session(host, session).ok_or(Refusal::NoSession)?;
        let mut held = hold(&held);
        held.check_open()?;
        let spooled = held.joined(self, &plan(&held.parts)?)?;
        if spooled.md5.as_deref().zip(wanted.md5).is_some_and(|(md5, wanted)| !md5.eq_ignore_ascii_case(wanted)) {
            return Err(Refusal::OtherDigest);
        }
        let object = self.keep_as(host, wanted.id.to_owned(), wanted.name, session, spooled)?;
        held.stage = Stage::Done(object.id.clone());
        held.note()?;
        let parts = std::mem::take(&mut held.parts);
        let dir = held.dir.clone();
        dir.map_or(Ok(()), |dir| parts.keys().try_for_each(|part| self.files.remove(&dir.join(part_name(*part)))))?;
        Ok(object)
    }

    /// Forgets one session as if it had never been.
    pub(super) fn forget_session(&self, host: &str, session: &str) -> std::io::Result<()> {
        let held = {
            let mut state = hold(&self.state);
            state.order.retain(|known| *known != key(host, session));
            state.sessions.remove(&key(host, session))
        };
        held.map_or(Ok(()), |held| hold(&held).remove())
    }

    /// The parts a session holds, with their lengths.
    pub(super) fn parts(&self, host: &str, session: &str) -> BTreeMap<u64, u64> {
        self.session(host, session).map(|session| hold(&session).parts.clone()).unwrap_or_default()
    }

    /// The file of one part of a session; nothing when bytes are discarded.
    pub(super) fn part_path(&self, host: &str, session: &str, part: u64) -> Option<PathBuf> {
        let session = self.session(host, session)?;
        let dir = hold(&session).dir.clone();
        dir.map(|dir| dir.join(part_name(part)))
    }

    fn add_object(&self, object: Object) -> Result<Object, Refusal> {
        if let Some(path) = self.path(&object.host, &format!("{}.json", object.id)) {
            self.files.write_json(&path, &object)?;
        }
        Ok(hold(&self.state).add(object))
    }

    /// Joins files into the bytes of the object `id`. Their SHA-256; nothing when bytes are discarded.
    fn join(&self, host: &str, id: &str, files: &[PathBuf]) -> Result<Option<String>, Refusal> {
        let Some(path) = self.path(host, &format!("{id}.bytes")) else { return Ok(None) };
        if let Some(dir) = path.parent() {
            self.files.create_dir_all(dir)?;
        }
        let mut to = self.files.create(&path)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; COPY_BYTES];
        for path in files {
            let mut from = self.files.open(path)?;
            loop {
                let read = from.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                digest.update(&buffer[..read]);
                to.write_all(&buffer[..read])?;
            }
        }
        Ok(Some(hex(&digest.finalize())))
    }

    /// One object.
    pub(super) fn object(&self, host: &str, id: &str) -> Option<Object> {
        let state = hold(&self.state);
        state.objects.get(&key(host, id)).map(|object| state.counted(object))
    }

    /// All objects, by host and id.
    pub(super) fn objects(&self) -> Vec<Object> {
        let state = hold(&self.state);
        state.objects.values().map(|object| state.counted(object)).collect()
    }

    /// Where the bytes of an object are; nothing when bytes are discarded.
    pub(super) fn object_path(&self, host: &str, id: &str) -> Option<PathBuf> {
        self.path(host, &format!("{id}.bytes"))
    }

    /// Opens a file whose path the store gave.
    pub(super) fn open_file(&self, path: &Path) -> std::io::Result<Opened> {
        self.files.open(path)
    }

    /// Opens the bytes of an object; nothing when bytes are discarded.
    pub(super) fn open_object(&self, host: &str, id: &str) -> Option<std::io::Result<Opened>> {
        self.object_path(host, id).map(|path| self.files.open(&path))
    }

    /// Takes a part away again, behind the client's back. Whether it was there.
    pub(super) fn drop_part(&self, host: &str, session: &str, part: u64) -> bool {
        let Some(session) = self.session(host, session) else { return false };
        let mut session = hold(&session);
        let path = session.dir.as_ref().map(|dir| dir.join(part_name(part)));
        session.parts.remove(&part).is_some() && path.is_none_or(|path| self.files.remove(&path).is_ok())
    }

    /// Changes the first byte of a part, behind the client's back. Whether there was one.
    pub(super) fn corrupt_part(&self, host: &str, session: &str, part: u64) -> bool {
        let Some(session) = self.session(host, session) else { return false };
        let session = hold(&session);
        session.dir.as_ref().is_some_and(|dir| self.files.flip_first_byte(&dir.join(part_name(part))).is_ok())
    }

    /// Loses one session; the host says so from then on.
    pub(super) fn lose_session(&self, host: &str, session: &str) {
        if let Some(session) = self.session(host, session)
            && let Err(error) = hold(&session).lose()
        {
            tracing::warn!(%error, "the sandbox cannot lose a session");
        }
    }

    /// Loses every session, finished or not; the hosts say so from then on. Objects stay.
    pub(super) fn lose_sessions(&self) -> std::io::Result<()> {
        let all: Vec<_> = hold(&self.state).sessions.values().cloned().collect();
        all.iter().try_for_each(|session| hold(session).lose())
    }

    /// Forgets every session as if it had never been: a later part begins it anew. Objects stay.
    pub(super) fn forget_sessions(&self) -> std::io::Result<()> {
        let all = {
            let mut state = hold(&self.state);
            state.order.clear();
            std::mem::take(&mut state.sessions)
        };
        all.values().try_for_each(|session| hold(session).remove())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) -> std::io::Result<()> {
        self.forget_sessions()?;
        let objects = {
            let mut state = hold(&self.state);
            state.stored.clear();
            std::mem::take(&mut state.objects)
        };
        for (host, id) in objects.keys() {
            for end in ["json", "bytes"] {
                self.path(host, &format!("{id}.{end}")).map_or(Ok(()), |path| self.files.remove(&path))?;
            }
        }
        Ok(())
    }

    fn session(&self, host: &str, session: &str) -> Option<Arc<Mutex<Session>>> {
        hold(&self.state).sessions.get(&key(host, session)).cloned()
    }

    fn new_id(&self, host: &str) -> Result<String, Refusal> {
        let state = hold(&self.state);
        if state.objects.len() >= OBJECTS_MAX {
            return Err(Refusal::Full);
        }
        loop {
            let id = self.chance.letters(ID_CHARS);
            // Never a word: one in a few hundred would be.
            let mixed = id.contains(|c: char| c.is_ascii_digit()) && id.contains(|c: char| c.is_ascii_lowercase());
            if mixed && !state.objects.contains_key(&key(host, &id)) {
                return Ok(id);
            }
        }
    }

    fn path(&self, host: &str, name: &str) -> Option<PathBuf> {
        self.root.as_ref().map(|root| root.join(host).join("objects").join(name))
    }
}

impl State {
    fn recall(&mut self, files: &Files, root: &Path, kind: &str) -> std::io::Result<()> {
        for name in files.names(&root.join(kind).join("objects"))? {
            let path = root.join(kind).join("objects").join(&name);
            if let (true, Some(object)) = (name.ends_with(".json"), files.read_json::<Object>(&path)) {
                self.add(object);
            }
        }
        for name in files.names(&root.join(kind).join("sessions"))? {
            let session = percent_decode_str(&name).decode_utf8_lossy().into_owned();
            if let Some(held) = Session::recall(files, root.join(kind).join("sessions").join(&name))? {
                self.sessions.insert(key(kind, &session), Arc::new(Mutex::new(held)));
                self.order.push_back(key(kind, &session));
            }
        }
        Ok(())
    }

    fn add(&mut self, object: Object) -> Object {
        *self.stored.entry(likeness(&object)).or_default() += 1;
        let counted = self.counted(&object);
        self.objects.insert(key(&object.host, &object.id), object);
        counted
    }

    fn counted(&self, object: &Object) -> Object {
        Object { stored: self.stored.get(&likeness(object)).copied().unwrap_or(0), ..object.clone() }
    }

    /// Forgets the older half of the sessions that are finished or lost. A session somebody holds just now is in use, and stays.
    fn forget_closed(&mut self) -> std::io::Result<()> {
        for _ in 0..self.order.len() {
            let Some(key) = self.order.pop_front() else { break };
            let enough = self.order.len() < SESSIONS_MAX / 2;
            if enough || !self.sessions.get(&key).is_some_and(|session| is_closed(session)) {
                self.order.push_back(key);
            } else if let Some(session) = self.sessions.remove(&key) {
                hold(&session).remove()?;
            }
        }
        Ok(())
    }
}

impl Session {
    fn recall(files: &Files, dir: PathBuf) -> std::io::Result<Option<Session>> {
        let Some(SessionFile { totals, stage }) = files.read_json(&dir.join("session.json")) else { return Ok(None) };
        let mut parts = BTreeMap::new();
        for name in files.names(&dir)? {
            if let Ok(part) = name.parse() {
                parts.insert(part, files.len(&dir.join(&name))?);
            } else if name.starts_with("new-") {
                files.remove(&dir.join(name))?;
            }
        }
        Ok(Some(Session { totals, stage, parts, files: files.clone(), dir: Some(dir) }))
    }

    fn take(&mut self, part: u64, bytes: u64, fresh: Option<&Path>) -> Result<Put, Refusal> {
        match self.stage {
            Stage::Open => {}
            Stage::Done(_) => return Err(Refusal::Complete),
            Stage::Lost => return Err(Refusal::NoSession),
        }
        let mut put = Put { again: self.parts.contains_key(&part), differed: false };
        if let (Some(dir), Some(fresh)) = (&self.dir, fresh) {
            let path = dir.join(part_name(part));
            put.differed = put.again && !same_bytes(&self.files, &path, fresh)?;
            self.files.rename(fresh, &path)?;
        }
        self.parts.insert(part, bytes);
        Ok(put)
    }

    fn check_open(&self) -> Result<(), Refusal> {
        match self.stage {
            Stage::Open => Ok(()),
            Stage::Done(_) => Err(Refusal::Complete),
            Stage::Lost => Err(Refusal::NoSession),
        }
    }

    /// The bytes of these pieces, one after the other, beside the objects.
    fn joined(&self, store: &Store, pieces: &[Piece]) -> std::io::Result<Spooled> {
        let Some(dir) = &self.dir else {
            let bytes = pieces.iter().map(|piece| piece.bytes).sum();
            return Ok(Spooled::discarded(bytes));
        };
        let mut spool = Spool::new(store.aside()?)?;
        let mut buffer = vec![0; COPY_BYTES];
        for piece in pieces {
            let mut file = self.files.open(&dir.join(part_name(piece.part)))?;
            file.seek(SeekFrom::Start(piece.from))?;
            let mut left = piece.bytes;
            while left > 0 {
                let count = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
                file.read_exact(&mut buffer[..count])?;
                spool.take(&buffer[..count])?;
                left -= count as u64;
            }
        }
        Ok(spool.end())
    }

    fn check_whole(&self) -> Result<(), Refusal> {
        match self.stage {
            Stage::Done(_) => Err(Refusal::Complete),
            Stage::Lost => Err(Refusal::NoSession),
            Stage::Open if self.parts.len() as u64 == self.totals.parts => Ok(()),
            Stage::Open => {
                let missing = self.parts.keys().zip(0..).find(|(part, expected)| **part != *expected);
                Err(Refusal::Missing(missing.map_or(self.parts.len() as u64, |(_, expected)| expected)))
            }
        }
    }

    fn lose(&mut self) -> std::io::Result<()> {
        self.stage = Stage::Lost;
        let lost = std::mem::take(&mut self.parts);
        let Some(dir) = &self.dir else { return Ok(()) };
        lost.keys().try_for_each(|part| self.files.remove(&dir.join(part_name(*part))))?;
        self.note()
    }

    fn remove(&self) -> std::io::Result<()> {
        self.dir.as_ref().map_or(Ok(()), |dir| self.files.remove_dir_all(dir))
    }

    fn note(&self) -> std::io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        self.files.write_json(&dir.join("session.json"), &SessionFile { totals: self.totals, stage: self.stage.clone() })
    }
}

fn same_bytes(files: &Files, one: &Path, other: &Path) -> std::io::Result<bool> {
    if files.len(one)? != files.len(other)? {
        return Ok(false);
    }
    let (mut one, mut other) = (files.open(one)?, files.open(other)?);
    let (mut ours, mut theirs) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
    loop {
        let read = one.read(&mut ours)?;
        other.read_exact(&mut theirs[..read])?;
        if read == 0 || ours[..read] != theirs[..read] {
            return Ok(read == 0);
        }
    }
}

fn is_closed(session: &Mutex<Session>) -> bool {
    session.try_lock().is_ok_and(|session| session.stage != Stage::Open)
}

fn key(host: &str, name: &str) -> Key {
    (host.to_owned(), name.to_owned())
}

fn likeness(object: &Object) -> Likeness {
    let bytes = object.sha256.clone().unwrap_or_else(|| object.bytes.to_string());
    (object.host.clone(), object.name.clone(), bytes)
}

fn file_name(session: &str) -> String {
    utf8_percent_encode(session, NON_ALPHANUMERIC).to_string()
}

fn part_name(part: u64) -> String {
    format!("{part:010}")
}
