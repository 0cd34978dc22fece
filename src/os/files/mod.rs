//! The files that the daemon works on: those of the real file system, or those that a simulator keeps in memory. Whoever walks,
//! looks, reads, renames or removes is handed [`Files`] and asks nothing else.
//!
//! What is below a folder ([`Base`]) can be reached without following symbolic links.
//!
//! A path is resolved anew whenever it is used, and whoever may write in a folder may have put a symbolic link into the way since
//! the last time. Where links are not to be followed, what lies below a folder is therefore opened in one step that refuses them
//! (`openat2(2)`), or component by component where the kernel has no such call. What is done afterwards is done through the
//! descriptor, which goes on meaning the same folder or file whatever happens to its path.
//!
//! The folder at the top may itself be reached through links: it is the user's own word. It is opened anew for each use, so that
//! nothing here stands in the way of an unmount.

mod base;
mod beneath;
mod file;
mod folder;
mod look;
#[cfg(feature = "simulator")]
pub mod simulated;
mod stat;
mod top;

pub(crate) use base::Base;
pub(crate) use file::File;
pub use file::Files;
pub(crate) use folder::{Folder, Listing};
pub(crate) use stat::{Entry, FileKind, Stat, is_link};
