//! Who is told what happens in watched folders, and what goes wrong on the way.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::disk::Disk;
use super::node::{Key, MAY_READ, os_error};
use super::state::ROOT;
use super::watching::{Event, EventGate, Fate, FolderEvent, NameChange, Tell};

impl Disk {
    /// Tells `tell` of what happens in folders that [`Disk::watch`] names. There is one who is told, until its process dies.
    pub fn on_change(&self, tell: Tell) {
        self.lock().watching.tell = Some(tell);
    }

    /// Tells from now on what happens to names in the folder at `path`.
    pub fn watch(&self, path: &Path) -> io::Result<()> {
        let daemon = self.daemon();
        self.alive(daemon)?;
        let mut state = self.lock();
        let folder = state.resolve(daemon, ROOT, path, true)?;
        state.node(folder)?.permit(daemon, MAY_READ)?;
        let watching = &mut state.watching;
        let is_new = !watching.folders.contains_key(&folder);
        if is_new && watching.limit.is_some_and(|limit| watching.folders.len() >= limit) {
            return Err(os_error(libc::ENOSPC));
        }
        watching.folders.insert(folder, path.to_owned());
        Ok(())
    }

    /// Lets no more than so many folders be watched.
    pub fn limit_watches(&self, limit: Option<usize>) {
        self.lock().watching.limit = limit;
    }

    /// Asks `gate` what becomes of each event.
    pub fn before_events(&self, gate: EventGate) {
        self.lock().watching.gate = Some(gate);
    }

    /// Tells of the events that were to come later, in the order in which they happened.
    pub fn deliver_late_events(&self) {
        let late = std::mem::take(&mut self.lock().watching.late);
        late.into_iter().for_each(|event| self.tell(&Event::Name(event)));
    }

    /// Tells that there were more events than could be kept, and forgets those that were to come later.
    pub fn lose_events(&self) {
        self.lock().watching.late.clear();
        self.tell(&Event::Overflow);
    }

    /// Tells of `name` in a folder that is watched, when nothing of ours is locked.
    pub(super) fn say(&self, folder: Key, name: &OsStr, change: NameChange) {
        let state = self.lock();
        let Some(folder) = state.watching.folders.get(&folder).cloned() else { return };
        let gate = state.watching.gate.clone();
        drop(state);
        let event = FolderEvent { folder, name: name.to_owned(), change };
        match gate.map_or(Fate::Deliver, |gate| gate(&event)) {
            Fate::Deliver => self.tell(&Event::Name(event)),
            Fate::Lose => {}
            Fate::Twice => {
                let event = Event::Name(event);
                self.tell(&event);
                self.tell(&event);
            }
            Fate::Later => self.lock().watching.late.push(event),
        }
    }

    fn tell(&self, event: &Event) {
        let tell = self.lock().watching.tell.clone();
        if let Some(tell) = tell {
            tell(event);
        }
    }
}
