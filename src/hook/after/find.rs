//! The look for a source.

use std::io;

use crate::job::Identity;
use crate::os::files::{self, FileKind};
use crate::os::names::Purpose;

use super::source::{SentFile, put_back};
use super::task::{Done, Task};

/// What a look for the source leads to.
pub(super) enum Search<'t> {
    Source(SentFile<'t>),
    Nothing(Done),
}

/// Looks for the source, first where an attempt that died may have left it.
pub(super) fn find(task: &Task) -> io::Result<Search<'_>> {
    let (Some(folder), Some(own_name)) = (task.path.parent(), task.path.file_name()) else {
        return Ok(Search::Nothing(Done::Vanished));
    };
    let folder = match task.base.without_links().folder(folder) {
        Err(error) if files::is_link(&error) => return Ok(Search::Nothing(Done::Linked)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Search::Nothing(Done::Vanished));
        }
        opened => opened?,
    };
    let aside = task.names.of(Purpose::Aside, &task.path)?;
    let mut name = own_name.to_owned();
    match folder.look(&aside) {
        Ok(stat) if stat.kind == FileKind::File && Identity::from(stat.numbers).same_inode(&task.sent) => name.clone_from(&aside),
        // Whatever it is, it is not ours to keep there.
        Ok(_) => put_back(&folder, &aside, &folder, own_name)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = match folder.open(&name) {
        Err(error) if files::is_link(&error) => return Ok(Search::Nothing(Done::Linked)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Search::Nothing(Done::Vanished)),
        opened => opened?,
    };
    let stat = file.stat()?;
    let identity = Identity::from(stat.numbers);
    let source = SentFile { task, folder, own_name, aside, name, file, identity };
    // A rename or a link of our own changes the inode's times.
    let is_ours = |source: &SentFile<'_>| Ok::<_, io::Error>(source.is_aside() || (stat.links > 1 && source.has_arrived()?));
    let is_it = planted!("after.any_version") || identity == task.sent || (identity.same_inode(&task.sent) && is_ours(&source)?);
    Ok(if stat.kind == FileKind::File && is_it { Search::Source(source) } else { Search::Nothing(Done::Changed) })
}
