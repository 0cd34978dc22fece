//! Renames that outlive the loss of power: the folders are synced with them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes `bytes` aside and puts them in the place of the file at `path`. `tag` keeps two writers of different files apart.
pub fn replace(path: &Path, bytes: &[u8], tag: i64) -> io::Result<()> {
    let aside = aside(path, tag);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename_over(&aside, path)
}

/// A hidden name in the folder of `path`, which a scan passes over and a later attempt uses again.
pub fn aside(path: &Path, tag: i64) -> PathBuf {
    path.with_file_name(format!(".ferryd-{tag}.tmp.ferryd.json"))
}

#[expect(clippy::disallowed_methods, reason = "this is where the folder is synced")]
fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Renames `from` to `to` unless something is there: then the error is `AlreadyExists`, and nothing has changed. Across file systems the
/// error is `CrossesDevices`.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_exclusively(from, to)?;
    sync_folder_of(to)?;
    sync_folder_of(from)
}

#[cfg(target_os = "linux")]
fn rename_exclusively(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems know no such flag.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => link_then_unlink(from, to),
        renamed => Ok(renamed?),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_exclusively(from: &Path, to: &Path) -> io::Result<()> {
    link_then_unlink(from, to)
}

/// A link never replaces anything. Dying in between leaves both names, of which the old one is removed by the next attempt.
fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}

/// Makes what happened to the names in the folder of `path` durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ever_overwritten_by_a_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "old").unwrap();
        assert_eq!(rename_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(link_then_unlink(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap()), (b"new".to_vec(), b"old".to_vec()));
        rename_new(&from, &dir.path().join("other")).unwrap();
        assert!(!from.exists());
    }
}
