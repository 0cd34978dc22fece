//! Moves of a source to another folder.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::os::durable::{self, Came};
use crate::os::files::Folder;
use crate::os::names::Purpose;

use super::super::sidecar;
use super::source::{NAMES_MAX, Removed, SentFile, every_name_is_taken, numbered, put_back};
use super::target::Destination;
use super::task::{AfterAction, Done};

impl SentFile<'_> {
    pub(super) fn go_below(&self, root: &Path, below: &Path) -> io::Result<Done> {
        let place = Destination::make(self.task.base.files(), root, below)?;
        for number in 0..NAMES_MAX {
            let name = numbered(place.name, number);
            match durable::name_new(&self.folder, &self.name, &place.folder, &name) {
                Ok(came) => return self.arrive(&place, &name, came),
                // A link that an earlier attempt has made.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_at(&place.folder, &name) => {
                    return self.arrive(&place, &name, Came::Linked);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return self.leave_for(&place, &self.copy(&place)?),
                Err(error) => return Err(error),
            }
        }
        Err(every_name_is_taken())
    }

    /// It has the name `name` in its new folder; if it was the file that was looked at.
    pub(super) fn arrive(&self, place: &Destination<'_>, name: &OsStr, came: Came) -> io::Result<Done> {
        let is_it = self.is_at(&place.folder, name);
        match came {
            Came::Renamed if is_it => Ok(self.with_sidecar(place, name)),
            Came::Renamed => put_back(&place.folder, name, &self.folder, self.own_name).map(|()| Done::Changed),
            Came::Linked if is_it => self.leave_for(place, name),
            Came::Linked => place.folder.remove(name).map(|()| Done::Changed),
        }
    }

    /// Whether an earlier attempt has given it a name in its new folder already, and died before it took the old one.
    pub(super) fn has_arrived(&self) -> io::Result<bool> {
        let AfterAction::Move { folder, below } = &self.task.action else { return Ok(false) };
        let place = Destination::make(self.task.base.files(), folder, below)?;
        for number in 0..NAMES_MAX {
            let name = numbered(place.name, number);
            match place.folder.look(&name) {
                Ok(_) if self.is_at(&place.folder, &name) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The source goes, since it has another name or a whole copy in `place`. Should it have changed meanwhile, both stay.
    fn leave_for(&self, place: &Destination<'_>, name: &OsStr) -> io::Result<Done> {
        match self.remove()? {
            Removed::Gone | Removed::Vanished => Ok(self.with_sidecar(place, name)),
            Removed::PutBack => Ok(Done::Changed),
        }
    }

    /// The sidecar goes where its file goes; one that cannot stays, and does no harm.
    fn with_sidecar(&self, place: &Destination<'_>, name: &OsStr) -> Done {
        let sidecar = sidecar::name_of(self.own_name);
        if let Err(error) = self.move_sidecar(&sidecar, &place.folder, &sidecar::name_of(name)) {
            tracing::warn!("{:?} stays where it is: {error}", self.task.path.with_file_name(sidecar));
        }
        Done::Moved(place.path.join(name))
    }

    fn move_sidecar(&self, sidecar: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        let text = match sidecar::read(&self.folder, sidecar)? {
            sidecar::Existing::Nothing => return Ok(()),
            sidecar::Existing::Text(text) => text,
            sidecar::Existing::Foreign(what) => return Err(io::Error::other(format!("it is {what}, so ferryd did not write it"))),
            sidecar::Existing::InTheWay => return Err(io::Error::other("it is not a regular file")),
        };
        if durable::rename_new(&self.folder, sidecar, to, new).is_ok() {
            return Ok(());
        }
        if sidecar::read(to, new)? == sidecar::Existing::InTheWay {
            return Err(io::Error::other("its new name is in use by something that is not a regular file"));
        }
        let aside = self.task.names.of(Purpose::Sidecar, &self.task.path)?;
        durable::replace(to, new, &aside, &text, sidecar::MODE)?;
        self.folder.remove(sidecar)
    }
}
