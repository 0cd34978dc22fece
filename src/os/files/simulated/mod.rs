//! Files in memory, for a simulator. A plain build has none of it.

mod disk;
mod file;
mod folder;
mod paths;

pub use disk::{Disk, FolderEvent, NameChange, Tell};
pub use file::File;
pub use folder::{Folder, Listing};
