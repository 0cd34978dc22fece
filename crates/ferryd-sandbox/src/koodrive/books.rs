//! What the host knows of uploads and of files, in records.
//!
//! ```text
//! session-ID            an upload; ID is its file's
//! session-ID.link-N     what a link was given for, by the number of the part
//! session-ID.part-N     what came by it
//! file-ID               a file
//! name-DIGEST           the files of a name in a folder
//! hash-SHA256-BYTES     a file of these bytes
//! folder-ID             a folder
//! share-ID              a share
//! ```

use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::Shared;
use super::super::digest::sha256;
use super::super::objects::{Object, Refusal, Stage, Totals};
use super::super::spool::{Spool, Spooled};
use super::hash::{Reached, Words};
use super::{KIND, Reject};

const COPY_BYTES: usize = 256 * 1024;
const ID_CHARS: usize = 14;

/// An upload that is not complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    /// The final name of the file.
    pub name: String,
    /// The folder it is for.
    pub folder: String,
    /// The length of the file.
    pub bytes: u64,
    /// Its announced digest.
    pub sha256: Option<String>,
    /// The id of the upload at the object storage.
    pub upload_id: String,
    /// The proof that came with the digest.
    #[serde(default)]
    pub proof: Option<Proof>,
}

/// A proof that somebody has a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Proof {
    /// Where its bytes begin.
    pub start: u64,
    /// Their digest, as it was sent.
    pub code: String,
}

/// The place of a part in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The bytes before it.
    pub offset: u64,
    /// Its own.
    pub bytes: u64,
}

impl Place {
    /// The bytes up to its end.
    pub(super) fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// A part that came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Held {
    /// Its place.
    pub place: Place,
    /// The state it went on from.
    pub context: Words,
    /// Where that led; nothing when bytes are discarded.
    pub reached: Option<Reached>,
}

/// A file that is complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Filed {
    /// The folder it is in.
    pub folder: String,
    /// Its digest, at least as announced.
    pub sha256: Option<String>,
    /// When it was completed, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A folder that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folder {
    /// Its name.
    pub name: String,
    /// The folder it is in.
    pub parent: String,
}

/// A share of files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Share {
    /// The files.
    pub files: Vec<String>,
    /// Who may have them.
    pub scope: u64,
    /// For how many days.
    pub days: u64,
}

/// The books, open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Books<'s>(pub &'s Shared);

impl Books<'_> {
    /// Begins an upload. The id of its file.
    pub(super) fn begin(self, upload: &Upload) -> Result<String, Reject> {
        let id = self.new_id();
        // How many parts there will be is known at the end.
        self.0.store.begin(KIND, &id, Totals { parts: 0, bytes: upload.bytes })?;
        self.set_upload(&id, upload)?;
        Ok(id)
    }

    /// An id nobody has.
    pub(super) fn new_id(self) -> String {
        format!("Fx{}", self.0.chance.letters(ID_CHARS))
    }

    /// An id of an upload at the object storage.
    pub(super) fn new_upload_id(self) -> String {
        format!("000001{:026X}", self.0.chance.number() >> 24)
    }

    /// Changes what is known of an upload.
    pub(super) fn set_upload(self, id: &str, upload: &Upload) -> Result<(), Reject> {
        Ok(self.0.records.set(KIND, &session(id), upload)?)
    }

    /// An upload that goes on.
    pub(super) fn upload(self, id: &str) -> Option<Upload> {
        let open = matches!(self.0.store.stage(KIND, id), Some((Stage::Open, _)));
        if open && self.0.store.object(KIND, id).is_none() { self.0.records.get(KIND, &session(id)) } else { None }
    }

    /// The name of a file, complete or not.
    pub(super) fn name(self, id: &str) -> Option<String> {
        let stored = self.0.store.object(KIND, id).map(|object| object.name);
        stored.or_else(|| self.0.records.get(KIND, &session(id)).map(|upload: Upload| upload.name))
    }

    /// What a link was given for.
    pub(super) fn link(self, id: &str, number: u64) -> Option<Place> {
        self.0.records.get(KIND, &link(id, number))
    }

    /// Notes what a link is given for.
    pub(super) fn set_link(self, id: &str, number: u64, place: Place) -> Result<(), Reject> {
        Ok(self.0.records.set(KIND, &link(id, number), &place)?)
    }

    /// A part that came.
    pub(super) fn part(self, id: &str, number: u64) -> Option<Held> {
        self.0.records.get(KIND, &part(id, number))
    }

    /// Notes a part that came.
    pub(super) fn set_part(self, id: &str, number: u64, held: &Held) -> std::io::Result<()> {
        self.0.records.set(KIND, &part(id, number), held)
    }

    /// Forgets the parts and links of an upload.
    pub(super) fn forget_parts(self, id: &str) -> Result<(), Reject> {
        for number in self.0.store.parts(KIND, id).into_keys() {
            self.0.store.drop_part(KIND, id, number);
        }
        for name in self.0.records.names(KIND, &format!("{}.", session(id))) {
            self.0.records.remove(KIND, &name)?;
        }
        Ok(())
    }

    /// Forgets all of an upload but that there was one.
    pub(super) fn close(self, id: &str) -> Result<(), Reject> {
        self.forget_parts(id)?;
        self.0.records.remove(KIND, &session(id))?;
        self.0.store.lose_session(KIND, id);
        Ok(())
    }

    /// The bytes of these files, one after the other, beside the objects.
    pub(super) fn join(self, files: &[PathBuf]) -> Result<Spooled, Reject> {
        let mut spool = Spool::new(self.0.store.aside()?)?;
        let mut buffer = vec![0; COPY_BYTES];
        for path in files {
            let mut from = self.0.store.open_file(path)?;
            loop {
                let read = from.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                spool.take(&buffer[..read])?;
            }
        }
        Ok(spool.end())
    }

    /// Makes a file. The records come first: what a kill leaves is then either whole or can be done again.
    pub(super) fn keep(self, id: &str, upload: &Upload, spooled: Spooled) -> Result<Object, Reject> {
        let digest = spooled.sha256.clone();
        let sha256 = digest.clone().or_else(|| upload.sha256.clone());
        let filed = Filed { folder: upload.folder.clone(), sha256, created_ms: self.0.clock.now_ms() };
        self.0.records.set(KIND, &format!("file-{id}"), &filed)?;
        self.0.records.update(KIND, &named(&upload.folder, &upload.name), |ids: Option<Vec<String>>| {
            let mut ids = ids.unwrap_or_default();
            ids.retain(|known| known != id);
            ids.push(id.to_owned());
            Ok(((), Some(ids)))
        })?;
        if let Some(digest) = digest {
            self.0.records.set(KIND, &hashed(&digest, spooled.bytes), &id)?;
        }
        let bytes = spooled.bytes;
        let place = Object {
            host: KIND.into(),
            id: id.into(),
            name: upload.name.clone(),
            bytes,
            sha256: None,
            session: id.into(),
            stored: 0,
        };
        Ok(self.0.store.keep_whole(KIND, Some(&place), &upload.name, id, spooled)?)
    }

    /// A file.
    pub(super) fn file(self, id: &str) -> Option<(Object, Filed)> {
        Some((self.0.store.object(KIND, id)?, self.0.records.get(KIND, &format!("file-{id}"))?))
    }

    /// The files of this name in a folder.
    pub(super) fn of_name(self, folder: &str, name: &str) -> Vec<(Object, Filed)> {
        let ids: Vec<String> = self.0.records.get(KIND, &named(folder, name)).unwrap_or_default();
        ids.iter().filter_map(|id| self.file(id)).collect()
    }

    /// A file of these bytes, and where they are.
    pub(super) fn of_hash(self, sha256: &str, bytes: u64) -> Option<PathBuf> {
        let id: String = self.0.records.get(KIND, &hashed(sha256, bytes))?;
        let object = self.0.store.object(KIND, &id)?;
        self.0.store.object_path(KIND, &object.id)
    }

    /// A folder that was made.
    pub(super) fn folder(self, id: &str) -> Option<Folder> {
        self.0.records.get(KIND, &format!("folder-{id}"))
    }

    /// The folders in a folder with their ids, by name.
    pub(super) fn folders_in(self, parent: &str) -> Vec<(String, Folder)> {
        let ids = self.0.records.names(KIND, "folder-");
        let ids = ids.iter().filter_map(|name| name.strip_prefix("folder-"));
        let mut folders: Vec<_> = ids.filter_map(|id| Some((id.to_owned(), self.folder(id)?))).collect();
        folders.retain(|(_, folder)| folder.parent == parent);
        folders.sort_by(|one, other| one.1.name.cmp(&other.1.name));
        folders
    }

    /// Makes a folder. Its id; nothing where the name is taken.
    pub(super) fn make_folder(self, folder: &Folder) -> std::io::Result<Option<String>> {
        // One record says who has the name, so that of two calls at the same time one makes the folder.
        let id = self.new_id();
        let name = format!("dir-{}", sha256(format!("{}/{}", folder.parent, folder.name).as_bytes()));
        let is_first = self.0.records.update(KIND, &name, |known: Option<String>| match known {
            Some(known) => Ok((false, Some(known))),
            None => Ok((true, Some(id.clone()))),
        })?;
        if !is_first {
            return Ok(None);
        }
        self.0.records.set(KIND, &format!("folder-{id}"), folder)?;
        Ok(Some(id))
    }

    /// Notes a share.
    pub(super) fn set_share(self, id: &str, share: &Share) -> std::io::Result<()> {
        self.0.records.set(KIND, &format!("share-{id}"), share)
    }

    /// The bytes of all files.
    pub(super) fn used(self) -> u64 {
        self.0.store.objects().iter().filter(|object| object.host == KIND).map(|object| object.bytes).sum()
    }

    /// The files of the parts of an upload, in order.
    pub(super) fn part_files(self, id: &str, count: u64) -> Result<Vec<PathBuf>, Reject> {
        let files = (0..count).map(|number| self.0.store.part_path(KIND, id, number).ok_or(Refusal::NoSession));
        Ok(files.collect::<Result<_, _>>()?)
    }
}

fn session(id: &str) -> String {
    format!("session-{id}")
}

fn link(id: &str, number: u64) -> String {
    format!("session-{id}.link-{number:05}")
}

fn part(id: &str, number: u64) -> String {
    format!("session-{id}.part-{number:05}")
}

/// A digest, since a name may be longer than the name of a record.
fn named(folder: &str, name: &str) -> String {
    format!("name-{}", sha256(format!("{folder}/{name}").as_bytes()))
}

fn hashed(sha256: &str, bytes: u64) -> String {
    format!("hash-{sha256}-{bytes}")
}
