//! What the account and its data centres have said, for as long as it is believed without asking again: of many small files each would
//! otherwise ask five times before its first byte.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::secret::Secret;

use super::super::Ticket;

/// How long that is. Nothing tells how long the service means it (page, 6.5); what it refuses in the meantime is asked for anew.
const LIFE: Duration = Duration::from_secs(60);

/// How large files may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// The largest file that the account takes; 0 for any.
    pub most: u64,
    /// What it has free.
    pub free: u64,
}

impl Room {
    fn has(self, bytes: u64) -> bool {
        bytes <= self.free && (self.most == 0 || bytes <= self.most)
    }
}

/// Where the parts of a file go.
#[derive(Clone)]
pub(super) struct Form {
    pub data_center: i64,
    pub ticket: Ticket,
}

/// What is known since the host was made.
#[derive(Default)]
pub(super) struct Known {
    room: Mutex<Option<(Room, Instant)>>,
    /// By folder.
    forms: Mutex<BTreeMap<i64, (Form, Instant)>>,
    /// Whether a key was refused that was not a minute old: it may have served for one file.
    keys_end_early: AtomicBool,
}

fn hold<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < LIFE
}

impl Known {
    /// Takes the room of a file, where there is known to be enough.
    pub(super) fn take_room(&self, bytes: u64, now: Instant) -> bool {
        match hold(&self.room).as_mut().filter(|(room, since)| is_fresh(*since, now) && room.has(bytes)) {
            Some((room, _)) => {
                room.free -= bytes;
                true
            }
            None => false,
        }
    }

    /// Notes the room that the account says it has.
    pub(super) fn note_room(&self, room: Room, now: Instant) {
        *hold(&self.room) = Some((room, now));
    }

    /// Where the parts of the last file of this folder went.
    pub(super) fn form(&self, folder: i64, now: Instant) -> Option<Form> {
        hold(&self.forms).get(&folder).filter(|(_, since)| is_fresh(*since, now)).map(|(form, _)| form.clone())
    }

    pub(super) fn note_form(&self, folder: i64, form: Form, now: Instant) {
        if self.keys_end_early.load(Ordering::Relaxed) {
            return;
        }
        let mut forms = hold(&self.forms);
        forms.retain(|_, (_, since)| is_fresh(*since, now));
        forms.insert(folder, (form, now));
    }

    /// Something is wrong with where the parts of this folder go.
    pub(super) fn forget_form(&self, folder: i64) {
        hold(&self.forms).remove(&folder);
    }

    /// The key in this address has ended.
    pub(super) fn key_ended(&self, folder: i64, address: &Secret, now: Instant) {
        let known = hold(&self.forms).remove(&folder);
        if known.is_some_and(|(form, since)| form.ticket.address == *address && is_fresh(since, now)) {
            self.keys_end_early.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_until_there_is_none_or_it_is_too_long_ago() {
        let (known, now) = (Known::default(), Instant::now());
        assert!(!known.take_room(1, now), "nobody has said anything");
        known.note_room(Room { most: 60, free: 100 }, now);
        let asked: Vec<bool> = [61, 60, 41, 40, 1].into_iter().map(|bytes| known.take_room(bytes, now)).collect();
        assert_eq!(asked, [false, true, false, true, false]);
        known.note_room(Room { most: 0, free: 100 }, now);
        assert!(known.take_room(90, now + LIFE.mul_f64(0.9)), "it takes files of any size");
        assert!(!known.take_room(1, now + LIFE));
    }

    #[test]
    fn a_form_serves_its_folder_until_it_is_refused_or_too_old() {
        let (known, now) = (Known::default(), Instant::now());
        let form = |data_center| Form { data_center, ticket: Ticket { address: Secret::new("http://form"), until_ms: i64::MAX } };
        let center = |folder, now| known.form(folder, now).map(|form| form.data_center);
        known.note_form(7, form(1), now);
        known.note_form(8, form(2), now + LIFE / 2);
        assert_eq!([center(7, now), center(8, now), center(9, now)], [Some(1), Some(2), None]);
        assert_eq!([center(7, now + LIFE), center(8, now + LIFE)], [None, Some(2)]);
        known.forget_form(8);
        assert_eq!(center(8, now), None);
    }

    #[test]
    fn keys_that_end_early_serve_one_file_each() {
        let (known, now) = (Known::default(), Instant::now());
        let ticket = |address: &str| Ticket { address: Secret::new(address), until_ms: i64::MAX };
        let note = |address| known.note_form(7, Form { data_center: 1, ticket: ticket(address) }, now);
        note("http://one");
        known.key_ended(7, &Secret::new("http://one"), now + LIFE);
        note("http://two");
        known.key_ended(7, &Secret::new("http://one"), now);
        note("http://three");
        assert!(known.form(7, now).is_some(), "those had served for a minute, or were others");
        known.key_ended(7, &Secret::new("http://three"), now);
        note("http://four");
        assert!(known.form(7, now).is_none());
    }
}
