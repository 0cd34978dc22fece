//! What the host remembers of its account: folders, files, reservations, session keys, and how much space is taken.
//!
//! | record | what it is |
//! | --- | --- |
//! | `account` | the next id, the space taken, the turn of the data centres |
//! | `folder-ID` | a folder |
//! | `item-ID` | a stored file; its bytes are the object of this id |
//! | `key-KEY` | a session key |
//! | `session-ID` | a reservation; its parts are the session of this id in the store |
//! | `name-DIGEST` | the id that had a name in a folder last |

use std::io::Result;

use serde::{Deserialize, Serialize};

use super::super::Shared;
use super::super::digest::sha256;
use super::super::objects::{Stage, Totals};
use super::KIND;

/// The folder everything is in.
const ROOT: i64 = -1;
const FIRST_ID: i64 = 1_700_300_001;
const KEY_CHARS: usize = 24;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    ids: i64,
    used: i64,
    turns: usize,
}

/// A folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Folder {
    pub(super) name: String,
    pub(super) parent: i64,
    pub(super) made_ms: i64,
}

/// A stored file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) folder: i64,
    pub(super) bytes: i64,
    pub(super) md5: String,
    pub(super) version: i64,
    pub(super) stored_ms: i64,
    /// How often it was asked about.
    pub(super) asked: u64,
}

/// A place kept for a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub(super) name: String,
    pub(super) folder: i64,
    pub(super) bytes: i64,
    /// The data centre that has the parts.
    pub(super) center: Option<i32>,
    /// The parts that lie over others, each over those before it.
    pub(super) over: Vec<u64>,
    /// What the finish that is under way says the MD5 is.
    pub(super) md5: Option<String>,
}

/// A session key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) folder: i64,
    pub(super) since_ms: i64,
    /// The data centres an address was given out for.
    pub(super) centers: Vec<i32>,
}

/// The account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account<'s> {
    pub(super) shared: &'s Shared,
}

impl<'s> Account<'s> {
    pub(super) fn new(shared: &'s Shared) -> Account<'s> {
        Account { shared }
    }

    /// How many bytes the stored files have.
    pub(super) fn used(&self) -> i64 {
        self.shared.records.get::<Counts>(KIND, "account").map_or(0, |counts| counts.used)
    }

    fn count<R>(&self, change: impl FnOnce(&mut Counts) -> R) -> Result<R> {
        self.shared.records.update(KIND, "account", |counts| {
            let mut counts: Counts = counts.unwrap_or_default();
            let result = change(&mut counts);
            Ok((result, Some(counts)))
        })
    }

    fn new_id(&self) -> Result<i64> {
        self.count(|counts| {
            counts.ids += 1;
            FIRST_ID + counts.ids - 1
        })
    }

    /// Whose turn it is, of so many.
    pub(super) fn turn(&self, of: usize) -> Result<usize> {
        self.count(|counts| {
            counts.turns += 1;
            (counts.turns - 1) % of.max(1)
        })
    }

    pub(super) fn has_folder(&self, id: i64) -> bool {
        id == ROOT || self.folder(id).is_some()
    }

    pub(super) fn folder(&self, id: i64) -> Option<Folder> {
        self.shared.records.get(KIND, &format!("folder-{id}"))
    }

    /// Makes a folder. Its id.
    pub(super) fn add_folder(&self, parent: i64, name: &str) -> Result<i64> {
        let (id, made_ms) = (self.new_id()?, self.shared.clock.now_ms());
        self.shared.records.set(KIND, &format!("folder-{id}"), &Folder { name: name.into(), parent, made_ms })?;
        Ok(id)
    }

    /// The folders in a folder.
    pub(super) fn folders_in(&self, parent: i64) -> Vec<(i64, Folder)> {
        let all = self.ids("folder-").into_iter();
        all.filter_map(|id| Some((id, self.folder(id)?))).filter(|(_, folder)| folder.parent == parent).collect()
    }

    /// The files in a folder.
    pub(super) fn items_in(&self, folder: i64) -> Vec<(i64, Item)> {
        let all = self.ids("item-").into_iter();
        all.filter_map(|id| Some((id, self.item(id)?))).filter(|(_, item)| item.folder == folder).collect()
    }

    fn ids(&self, prefix: &str) -> Vec<i64> {
        let names = self.shared.records.names(KIND, prefix);
        names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect()
    }

    pub(super) fn item(&self, id: i64) -> Option<Item> {
        self.shared.records.get(KIND, &format!("item-{id}"))
    }

    /// Notes that a file was asked about. How often it was before.
    pub(super) fn ask(&self, id: i64) -> Result<u64> {
        self.shared.records.update(KIND, &format!("item-{id}"), |item: Option<Item>| {
            let asked = item.as_ref().map_or(0, |item| item.asked);
            Ok((asked, item.map(|item| Item { asked: asked + 1, ..item })))
        })
    }

    /// Makes a session key for a folder.
    pub(super) fn add_key(&self, folder: i64) -> Result<String> {
        let name = self.shared.chance.letters(KEY_CHARS);
        let key = Key { folder, since_ms: self.shared.clock.now_ms(), centers: Vec::new() };
        self.shared.records.set(KIND, &format!("key-{name}"), &key)?;
        Ok(name)
    }

    /// A session key, unless it is unknown or older than so many seconds.
    pub(super) fn key(&self, name: &str, lifetime_seconds: u64) -> Option<Key> {
        let key: Key = self.shared.records.get(KIND, &format!("key-{name}"))?;
        let age_ms = self.shared.clock.now_ms().saturating_sub(key.since_ms);
        let old = u64::try_from(age_ms).is_ok_and(|age_ms| age_ms > lifetime_seconds.saturating_mul(1000));
        (!old).then_some(key)
    }

    pub(super) fn set_key(&self, name: &str, key: &Key) -> Result<()> {
        self.shared.records.set(KIND, &format!("key-{name}"), key)
    }

    /// Keeps a place for a new file. Its id.
    pub(super) fn reserve(&self, folder: i64, name: &str, bytes: i64) -> Result<i64> {
        let id = self.new_id()?;
        self.reserve_as(id, folder, name, bytes)?;
        Ok(id)
    }

    /// Keeps a place under an id, for the new bytes of its file.
    pub(super) fn reserve_as(&self, id: i64, folder: i64, name: &str, bytes: i64) -> Result<()> {
        self.shared.store.forget_session(KIND, &id.to_string())?;
        let totals = Totals { parts: 0, bytes: bytes.unsigned_abs() };
        self.shared.store.begin(KIND, &id.to_string(), totals).map_err(std::io::Error::other)?;
        let reservation = Reservation { name: name.into(), folder, bytes, center: None, over: Vec::new(), md5: None };
        self.shared.records.set(KIND, &named(folder, name), &id)?;
        self.set_reservation(id, &reservation)
    }

    /// The file or reservation that has this name in a folder.
    pub(super) fn of_name(&self, folder: i64, name: &str) -> Option<i64> {
        let id: i64 = self.shared.records.get(KIND, &named(folder, name))?;
        let reserved = self.reservation(id).is_some_and(|(at, _)| at.folder == folder && at.name == name);
        let stored = self.item(id).is_some_and(|at| at.folder == folder && at.name == name);
        (reserved || stored).then_some(id)
    }

    /// What is reserved in a folder and not finished.
    pub(super) fn reserved_in(&self, folder: i64) -> Vec<(i64, Reservation)> {
        let all = self.ids("session-").into_iter();
        let all = all.filter_map(|id| Some((id, self.reservation(id)?.0)));
        all.filter(|(id, reservation)| reservation.folder == folder && self.item(*id).is_none()).collect()
    }

    /// A reservation, and how far its parts are. Nothing when the host has lost it.
    pub(super) fn reservation(&self, id: i64) -> Option<(Reservation, Stage)> {
        let reservation = self.shared.records.get(KIND, &format!("session-{id}"))?;
        let (stage, _) = self.shared.store.stage(KIND, &id.to_string())?;
        (stage != Stage::Lost).then_some((reservation, stage))
    }

    pub(super) fn set_reservation(&self, id: i64, reservation: &Reservation) -> Result<()> {
        self.shared.records.set(KIND, &format!("session-{id}"), reservation)
    }

    /// Forgets a reservation and its parts.
    pub(super) fn cancel(&self, id: i64) -> Result<()> {
        self.shared.records.remove(KIND, &format!("session-{id}"))?;
        self.shared.store.forget_session(KIND, &id.to_string())
    }

    /// Makes a file of a reservation whose bytes are stored.
    pub(super) fn complete(&self, id: i64, reservation: &Reservation, md5: &str) -> Result<()> {
        let before = self.item(id);
        let item = Item {
            name: reservation.name.clone(),
            folder: reservation.folder,
            bytes: reservation.bytes,
            md5: md5.to_ascii_lowercase(),
            version: before.as_ref().map_or(1, |item| item.version + 1),
            stored_ms: self.shared.clock.now_ms(),
            asked: 0,
        };
        self.shared.records.set(KIND, &format!("item-{id}"), &item)?;
        self.count(|counts| counts.used += item.bytes - before.map_or(0, |item| item.bytes))?;
        self.shared.records.remove(KIND, &format!("session-{id}"))
    }

    /// The name of a file, stored or not.
    pub(super) fn name_of(&self, id: i64) -> Option<String> {
        let reserved: Option<Reservation> = self.shared.records.get(KIND, &format!("session-{id}"));
        reserved.map(|reservation| reservation.name).or_else(|| self.item(id).map(|item| item.name))
    }
}

/// A digest, since a name may be longer than the name of a record.
fn named(folder: i64, name: &str) -> String {
    format!("name-{}", sha256(format!("{folder}/{name}").as_bytes()))
}
