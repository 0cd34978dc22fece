//! The world of a simulator: files in memory, and a time that somebody moves. A plain build has none of it.

mod disk;
mod file;
mod folder;
mod time;

pub use disk::{Change, Disk, FolderEvent, Tell};
pub use file::File;
pub use folder::{Folder, Listing};
pub use time::Time;
