//! A source that was found, and its removal.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use crate::job::Identity;
use crate::os::crash::crash_point;
use crate::os::durable;
use crate::os::files::{self, File, FileKind, Folder};
use crate::os::lease::Writers;

use super::super::facts::name_with;
use super::task::{Done, Task};

/// Names that are tried before a move is given up: `a.mov`, `a (1).mov` and so on.
pub(super) const NAMES_MAX: u32 = 10_000;

/// The source, open, in its open folder.
pub(super) struct SentFile<'t> {
    pub(super) task: &'t Task,
    pub(super) folder: Folder,
    /// The name by which it was queued.
    pub(super) own_name: &'t OsStr,
    /// The name that it has for a moment before it goes.
    pub(super) aside: OsString,
    /// Which of the two it was found under.
    pub(super) name: OsString,
    pub(super) file: File,
    /// What it was when it was opened.
    pub(super) identity: Identity,
}

/// How a removal has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Gone,
    /// It had no name any more.
    Vanished,
    /// What had its name was not what was looked at, or somebody writes it: it has been put back.
    PutBack,
}

impl Removed {
    pub(super) fn done(self) -> Done {
        match self {
            Removed::Gone => Done::Deleted,
            Removed::Vanished => Done::Vanished,
            Removed::PutBack => Done::Changed,
        }
    }
}

impl SentFile<'_> {
    pub(super) fn is_aside(&self) -> bool {
        self.name == self.aside
    }

    /// Whether the open file has this name, and the content that it had when it was opened.
    pub(super) fn is_at(&self, folder: &Folder, name: &OsStr) -> bool {
        let handle = self.file.stat().is_ok_and(|stat| Identity::from(stat.numbers).same_inode(&self.identity));
        let named = |stat: files::Stat| stat.kind == FileKind::File && Identity::from(stat.numbers).same_inode(&self.identity);
        handle && folder.look(name).is_ok_and(named)
    }

    pub(super) fn remove(&self) -> io::Result<Removed> {
        if !self.is_aside() {
            match durable::take_aside(&self.folder, &self.name, &self.aside) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::Vanished),
                taken => taken?,
            }
        }
        crash_point!("after.aside");
        self.remove_aside()
    }

    /// What is aside is looked at once more: only now is it certain that nobody can give its name to something else.
    pub(super) fn remove_aside(&self) -> io::Result<Removed> {
        if !self.is_at(&self.folder, &self.aside) || self.file.writers() == Writers::Somebody {
            put_back(&self.folder, &self.aside, &self.folder, self.own_name)?;
            return Ok(Removed::PutBack);
        }
        self.folder.remove(&self.aside)?;
        self.folder.sync()?;
        Ok(Removed::Gone)
    }
}

/// Gives the file `aside` the name `own_name` again, in the folder `to`, or a visible one like it where that is taken: nothing is
/// overwritten and nothing is lost.
pub(super) fn put_back(folder: &Folder, aside: &OsStr, to: &Folder, own_name: &OsStr) -> io::Result<()> {
    for number in 0..NAMES_MAX {
        match durable::rename_new(folder, aside, to, &numbered(own_name, number)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            put => return put,
        }
    }
    Err(every_name_is_taken())
}

pub(super) fn every_name_is_taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "every similar name is already in use")
}

/// `a.mov`, `a (1).mov`, `a (2).mov`.
pub(super) fn numbered(name: &OsStr, number: u32) -> OsString {
    if number == 0 {
        return name.to_owned();
    }
    let path = Path::new(name);
    let mut numbered = name_with(path.file_stem().unwrap_or_default(), &format!(" ({number})"));
    if let Some(extension) = path.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    numbered
}
