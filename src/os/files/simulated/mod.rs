//! Files in memory, for a simulator. A plain build has none of it.

mod disk;
mod file;
mod folder;
mod paths;

pub(crate) use disk::{Disk, NameChange};
pub(crate) use file::File;
pub(crate) use folder::{Folder, Listing};
