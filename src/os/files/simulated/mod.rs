//! Files in memory, for a simulator. A plain build has none of it.

mod disk;
mod file;
mod folder;
mod paths;

pub use disk::{Disk, FolderEvent, NameChange};
pub use file::File;
pub(crate) use folder::{Folder, Listing};
