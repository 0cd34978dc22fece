//! What goes with a source that has gone: the marker that said that it was complete, and the folders that it has left empty. What cannot
//! go stays, and does no harm.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::job::marker::Marker;
use crate::os::durable;
use crate::os::files::{FileKind, Folder};
use crate::os::names::Purpose;

use super::source::{NAMES_MAX, every_name_is_taken, numbered};
use super::target::Destination;
use super::task::{AfterAction, Done, Task};

/// A marker that is larger than this does not go to another file system.
const MARKER_BYTES_MAX: u64 = 1024 * 1024;

/// Lets go what goes with the source, if that has gone.
pub(super) fn follow(task: &Task, done: &Done) {
    if !matches!(done, Done::Deleted | Done::Moved(_) | Done::Vanished) {
        return;
    }
    if let Some(markers) = &task.markers
        && let Err(error) = take_marker(task, markers, done)
    {
        tracing::warn!("the marker of {:?} stays where it is: {error}", task.path);
    }
    if task.prune_empty
        && let Err(error) = prune(task)
    {
        tracing::warn!("cannot remove the empty folder of {:?}: {error}", task.path);
    }
}

/// The marker goes where its file goes. It is taken aside first: a file that has come under the same name by then has a marker of its
/// own, or has written this one.
fn take_marker(task: &Task, markers: &Marker, done: &Done) -> io::Result<()> {
    let (Some(folder), Some(own_name)) = (task.path.parent(), task.path.file_name()) else { return Ok(()) };
    let folder = match task.base.without_links().folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let marker = markers.of(own_name);
    let aside = task.names.of(Purpose::Aside, &task.path.with_file_name(&marker))?;
    if !is_there(&folder, &aside)? {
        if !is_there(&folder, &marker)? || is_needed(task, markers, own_name, &marker)? {
            return Ok(());
        }
        durable::take_aside(&folder, &marker, &aside)?;
    }
    if folder.look(own_name).is_ok() {
        return put_back(&folder, &aside, &marker);
    }
    let arrived = if let Done::Moved(path) = done { path.file_name() } else { None };
    if let Err(error) = take_from_aside(task, &folder, &aside, &arrived.map_or(marker.clone(), |name| markers.of(name))) {
        put_back(&folder, &aside, &marker)?;
        return Err(error);
    }
    folder.sync()
}

fn take_from_aside(task: &Task, folder: &Folder, aside: &OsStr, name: &OsStr) -> io::Result<()> {
    match &task.action {
        AfterAction::Delete => folder.remove(aside),
        AfterAction::Move { folder: root, below } => {
            let place = Destination::make(task.base.files(), root, below)?;
            go_to(folder, aside, &place.folder, name)
        }
    }
}

fn is_there(folder: &Folder, name: &OsStr) -> io::Result<bool> {
    match folder.look(name) {
        Ok(stat) => Ok(stat.kind == FileKind::File),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether another file in the folder has the same marker.
fn is_needed(task: &Task, markers: &Marker, own_name: &OsStr, marker: &OsStr) -> io::Result<bool> {
    if markers.file_of(marker).is_some() {
        return Ok(false);
    }
    let folder = task.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut listing = task.base.without_links().folder(folder)?.list()?;
    while let Some(entry) = listing.next_entry() {
        let entry = entry?;
        let name = entry.name();
        if name != own_name && !markers.is_one(name) && markers.of(name) == marker {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A marker that was written meanwhile is as good.
fn put_back(folder: &Folder, aside: &OsStr, marker: &OsStr) -> io::Result<()> {
    match durable::rename_new(folder, aside, folder, marker) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder.remove(aside),
        put => put,
    }
}

fn go_to(folder: &Folder, aside: &OsStr, to: &Folder, name: &OsStr) -> io::Result<()> {
    for number in 0..NAMES_MAX {
        let name = numbered(name, number);
        let gone = match durable::rename_new(folder, aside, to, &name) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(folder, aside, to, &name),
            renamed => renamed,
        };
        match gone {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            gone => return gone,
        }
    }
    Err(every_name_is_taken())
}

fn copy(folder: &Folder, aside: &OsStr, to: &Folder, name: &OsStr) -> io::Result<()> {
    let mut text = Vec::new();
    folder.open(aside)?.take(MARKER_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MARKER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for a marker"));
    }
    let mut made = to.create_new(name, 0o644)?;
    if let Err(error) = made.write_all(&text).and_then(|()| made.sync()) {
        to.remove(name)?;
        return Err(error);
    }
    to.sync()?;
    folder.remove(aside)
}

/// Removes the folders above the source that are empty, up to the watch or to the first that is not. The kernel refuses to remove one that
/// somebody puts something into.
fn prune(task: &Task) -> io::Result<()> {
    let mut left = task.path.parent();
    while let Some(folder) = left.filter(|folder| is_inside(task, folder)) {
        let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(()) };
        let removed = task.base.without_links().folder(above).and_then(|above| {
            above.remove_folder(name)?;
            above.sync()
        });
        match removed {
            Ok(()) => tracing::info!("removed {folder:?}, which was empty"),
            // An attempt that has died may have removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if is_in_use(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        left = Some(above);
    }
    Ok(())
}

fn is_inside(task: &Task, folder: &Path) -> bool {
    let top = task.base.path();
    folder != top && folder.starts_with(top) && !task.watches.iter().any(|watch| watch.path == folder)
}

/// Something is in it, or mounted on it, or it is no folder any more.
fn is_in_use(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory, ResourceBusy};
    matches!(error.kind(), DirectoryNotEmpty | AlreadyExists | ResourceBusy | NotADirectory)
}
