//! Files in memory, for a simulator. A plain build has none of it.

mod disk;
mod file;
mod folder;
mod paths;

pub use disk::{Change, Disk, FolderEvent, Tell};
pub use file::File;
pub use folder::{Folder, Listing};
