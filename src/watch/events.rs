//! The platform's events, as hints. Never a reason to act, only where to look.
//!
//! We ask for names that appear, move or vanish and for files that a writer has closed: never for "opened" or "closed without
//! writing", which our own scans and reads would raise. On Linux each folder is watched by itself, by the scan, before it is
//! listed; elsewhere one watch covers a root.

use std::path::Path;
#[cfg(feature = "simulator")]
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher};

use crate::os::clock::Clock;
use crate::os::files::Files;
#[cfg(feature = "simulator")]
use crate::os::files::simulated;
use crate::os::system::System;

use super::hints::{Handle, Heard};

/// Whether every folder needs a watch of its own.
const ONE_BY_ONE: bool = cfg!(target_os = "linux");

/// Who tells of events.
pub(super) enum Events {
    Platform(RecommendedWatcher),
    /// A simulator.
    #[cfg(feature = "simulator")]
    Simulated(simulated::Disk),
}

/// Why a folder cannot be watched.
#[derive(Debug)]
pub(super) enum Unwatched {
    /// The kernel's limit on watches is reached.
    Limit,
    /// It is not there any more.
    Vanished,
    /// Something else.
    Other(String),
}

impl Events {
    /// A watcher that gives its hints to `handle`.
    pub(super) fn new(handle: Handle, system: &System) -> Result<Events, Unwatched> {
        let clock = system.clock.clone();
        match &system.files {
            Files::Real => Events::of_the_platform(handle, clock),
            #[cfg(feature = "simulator")]
            Files::Simulated(disk) => {
                disk.on_change(Arc::new(move |event| match event {
                    simulated::Event::Name(event) => handle.hear(&event.folder, &event.name, heard_of(event.change, &clock)),
                    simulated::Event::Overflow => handle.lost_events(),
                }));
                Ok(Events::Simulated(disk.clone()))
            }
        }
    }

    fn of_the_platform(handle: Handle, clock: Clock) -> Result<Events, Unwatched> {
        let wanted = EventKindMask::CREATE
            | EventKindMask::REMOVE
            | EventKindMask::MODIFY_NAME
            | EventKindMask::ACCESS_CLOSE
            | data_where_needed();
        let config = Config::default().with_event_kinds(wanted).with_follow_symlinks(false);
        let tell = move |event: notify::Result<Event>| match event {
            Ok(event) => hint(&handle, &event, &clock),
            Err(error) => {
                tracing::warn!("error while reading file system events: {error}");
                handle.lost_events();
            }
        };
        RecommendedWatcher::new(tell, config).map(Events::Platform).map_err(unwatched)
    }

    /// Watches a folder that is about to be listed; `is_root` where it is a watch's own.
    pub(super) fn watch(&mut self, folder: &Path, is_root: bool, recursive: bool) -> Result<(), Unwatched> {
        match self {
            Events::Platform(platform) => watch(platform, folder, is_root, recursive),
            #[cfg(feature = "simulator")]
            Events::Simulated(disk) => disk.watch(folder).map_err(|error| unwatched_for(&error)),
        }
    }

    /// The folder that was a watch's own is another one now: the old one is nobody's business any more.
    pub(super) fn unwatch(&mut self, folder: &Path) {
        match self {
            // That it is not watched any more is what is wanted.
            Events::Platform(platform) => drop(platform.unwatch(folder)),
            #[cfg(feature = "simulator")]
            Events::Simulated(_) => {}
        }
    }
}

fn watch(platform: &mut RecommendedWatcher, folder: &Path, is_root: bool, recursive: bool) -> Result<(), Unwatched> {
    let mode = match (ONE_BY_ONE, is_root) {
        (true, _) => RecursiveMode::NonRecursive,
        (false, true) if recursive => RecursiveMode::Recursive,
        (false, true) => RecursiveMode::NonRecursive,
        (false, false) => return Ok(()),
    };
    platform.watch(folder, mode).map_err(unwatched)
}

#[cfg(feature = "simulator")]
fn heard_of(change: simulated::NameChange, clock: &Clock) -> Heard {
    match change {
        simulated::NameChange::Touched => Heard::Touched,
        simulated::NameChange::MovedIn => Heard::MovedIn,
        simulated::NameChange::Closed => Heard::Closed { at_ns: clock.now_ns() },
    }
}

/// Only Linux tells of a close; elsewhere changed data is the hint.
fn data_where_needed() -> EventKindMask {
    if ONE_BY_ONE { EventKindMask::empty() } else { EventKindMask::MODIFY_DATA }
}

fn unwatched(error: notify::Error) -> Unwatched {
    match error.kind {
        ErrorKind::MaxFilesWatch => Unwatched::Limit,
        ErrorKind::PathNotFound => Unwatched::Vanished,
        ErrorKind::Io(ref cause) => unwatched_for(cause),
        _ => Unwatched::Other(error.to_string()),
    }
}

fn unwatched_for(cause: &std::io::Error) -> Unwatched {
    match cause.raw_os_error() {
        _ if cause.kind() == std::io::ErrorKind::NotFound => Unwatched::Vanished,
        // The second is what inotify itself says.
        Some(libc::EMFILE | libc::ENOSPC) => Unwatched::Limit,
        _ => Unwatched::Other(cause.to_string()),
    }
}

fn hint(handle: &Handle, event: &Event, clock: &Clock) {
    if event.need_rescan() {
        handle.lost_events();
    }
    let heard = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Heard::Closed { at_ns: clock.now_ns() },
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Heard::MovedIn,
        EventKind::Access(_) | EventKind::Other => return,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Remove(_) => Heard::Touched,
    };
    let both = event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both));
    for (index, path) in event.paths.iter().enumerate() {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            // Of the two names of a rename the second is the new one.
            handle.hear(folder, name, if both && index == 1 { Heard::MovedIn } else { heard });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hints::Hint;
    use super::*;
    use notify::event::CreateKind;
    use std::ffi::OsStr;

    /// What is heard of `name` when these events have come, each about these names.
    fn heard(events: &[(EventKind, &[&str])], name: &str) -> Option<Heard> {
        let handle = Handle::default();
        for (kind, names) in events {
            let event = names.iter().fold(Event::new(*kind), |event, name| event.add_path(Path::new("/a").join(name)));
            hint(&handle, &event, &Clock::default());
        }
        match handle.take(Some(std::time::Instant::now())).folders.get(Path::new("/a"))? {
            Hint::Names(names) => names.get(OsStr::new(name)).copied(),
            Hint::Whole => None,
        }
    }

    #[test]
    fn a_file_that_was_closed_a_file_that_was_moved_in_and_one_that_was_touched_are_told_apart() {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let renamed = |mode| EventKind::Modify(ModifyKind::Name(mode));
        let made = EventKind::Create(CreateKind::File);
        assert!(matches!(heard(&[(made, &["x"]), (closed, &["x"])], "x"), Some(Heard::Closed { .. })));
        assert_eq!(heard(&[(made, &["x"])], "x"), Some(Heard::Touched));
        assert_eq!(heard(&[(EventKind::Access(AccessKind::Open(AccessMode::Any)), &["x"])], "x"), None);
        // A rename within what is watched comes as three events.
        let rename =
            [(renamed(RenameMode::From), &["x"][..]), (renamed(RenameMode::To), &["y"]), (renamed(RenameMode::Both), &["x", "y"])];
        assert_eq!((heard(&rename, "x"), heard(&rename, "y")), (Some(Heard::Touched), Some(Heard::MovedIn)));
        // The file that is there now is not the one that was closed.
        assert_eq!(heard(&[(closed, &["y"]), (renamed(RenameMode::To), &["y"])], "y"), Some(Heard::MovedIn));
    }
}
