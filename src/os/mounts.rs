//! Which file systems are mounted where, as the kernel lists them. Nothing here asks a file system anything, since one that hangs
//! would keep whoever asks.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// A mounted file system: the number of its device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileSystemId(String);

/// Symbolic links that are followed on the way to one path at most.
const LINKS_MAX: usize = 40;

/// What is mounted, in the order of the kernel's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mounts(Vec<Mount>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    id: FileSystemId,
    point: PathBuf,
    may_hang: bool,
}

impl Mounts {
    /// What is mounted now; nothing where the kernel does not list it.
    pub(crate) fn now() -> Mounts {
        let listed = if cfg!(target_os = "linux") { std::fs::read("/proc/self/mountinfo").unwrap_or_default() } else { Vec::new() };
        Mounts::parse(&listed)
    }

    /// The list of `proc_pid_mountinfo(5)`.
    fn parse(listed: &[u8]) -> Mounts {
        Mounts(listed.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// The file system that `path` is on, if it is one that may hang. Links in `path` are not followed.
    pub(crate) fn hanging(&self, path: &Path) -> Option<&FileSystemId> {
        let around = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        // Of several at the same place the last one is seen.
        around.max_by_key(|mount| mount.point.components().count()).filter(|mount| mount.may_hang).map(|mount| &mount.id)
    }

    /// The file systems that may hang, each with its place, that are mounted below `path`.
    fn below<'m>(&'m self, path: &'m Path) -> impl Iterator<Item = (&'m Path, &'m FileSystemId)> {
        let below = self.0.iter().filter(move |mount| mount.may_hang && mount.point != path);
        below.filter_map(move |mount| Some((mount.point.strip_prefix(path).ok()?, &mount.id)))
    }

    /// Every file system that may hang and is met by whoever starts at `path`, and goes below it where `enters` says so of the
    /// way there from `path`.
    pub(crate) fn met(&self, path: &Path, enters: impl Fn(&Path) -> bool) -> BTreeSet<FileSystemId> {
        if !self.0.iter().any(|mount| mount.may_hang) {
            return BTreeSet::new();
        }
        let path = self.resolve(path);
        let below = self.below(&path).filter(|(way, _)| enters(way)).map(|(_, id)| id.clone());
        self.hanging(&path).cloned().into_iter().chain(below).collect()
    }

    /// Whether a look at `path` may hang though one into `folder` does not.
    pub(crate) fn may_hang_from(&self, folder: &Path, path: &Path) -> bool {
        let met = |path: &Path| self.met(path, |_| false);
        !met(path).is_subset(&met(folder))
    }

    /// Where `path` leads, its links followed as far as no file system has to be asked that may hang.
    fn resolve(&self, path: &Path) -> PathBuf {
        let mut ahead: Vec<OsString> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(part) = ahead.pop() {
            if Path::new(&part).components().next() == Some(Component::ParentDir) {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            // The kernel tells of a link from the folder it is in.
            if self.hanging(&next).is_some() || links >= LINKS_MAX {
                at = next;
                continue;
            }
            match std::fs::read_link(&next) {
                Ok(target) => {
                    links += 1;
                    ahead.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
                }
                Err(_) => at = next,
            }
        }
        at
    }
}

fn mount(line: &[u8]) -> Option<Mount> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let optional = words.iter().skip(6).position(|word| *word == b"-")?;
    let kind = String::from_utf8_lossy(words.get(6 + optional + 1)?);
    let id = FileSystemId(String::from_utf8_lossy(words.get(2)?).into_owned());
    Some(Mount { id, point: unescaped(words.get(4)?), may_hang: may_hang(&kind) })
}

/// A path in which a space, a tab, a newline and a backslash are three octal digits behind a backslash.
fn unescaped(text: &[u8]) -> PathBuf {
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        let digits = text.get(at + 1..at + 4).filter(|_| text[at] == b'\\');
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(value.unwrap_or(text[at]));
        at += if value.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether a file system of this kind waits for another process or another machine.
fn may_hang(kind: &str) -> bool {
    const KINDS: [&str; 20] = [
        "9p",
        "afs",
        "autofs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "ocfs2",
        "orangefs",
        "pvfs2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    ];
    kind.starts_with("fuse") || kind.starts_with("nfs") && kind != "nfsd" || KINDS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /net rw,relatime shared:2 master:1 - nfs4 nas:/films rw,vers=4.2
41 27 0:41 / /home/a/my\040stick rw - fuse.sshfs far: rw
42 27 8:1 / /home/a/usb rw - ext4 /dev/sda1 rw
43 40 254:1 / /net/local rw - ext4 /dev/vdb rw
44 27 0:44 / /laid rw - cifs //nas/x rw
45 44 254:2 / /laid rw - ext4 /dev/vdc rw

nonsense
";

    #[test]
    fn a_file_system_that_may_hang_is_told_by_its_place_alone() {
        let mounts = Mounts::parse(LISTED.as_bytes());
        let name = |path: &str| mounts.hanging(Path::new(path)).map(|id| id.0.as_str());
        for (path, expected) in [
            ("/", None),
            ("/home", None),
            ("/net", Some("0:40")),
            ("/net/films/a", Some("0:40")),
            ("/network", None),
            ("/net/local/a", None),
            ("/home/a/my stick/x", Some("0:41")),
            ("/home/a/usb", None),
            ("/laid/a", None),
        ] {
            assert_eq!(name(path), expected, "{path}");
        }
        let met = |path: &str, enters: bool| mounts.met(Path::new(path), |_| enters).into_iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(met("/home", true), ["0:41"]);
        assert_eq!(met("/home", false), [""; 0]);
        assert_eq!(met("/net", true), ["0:40"]);
        assert_eq!(met("/home/a/usb", true), [""; 0]);
    }

    #[test]
    fn whoever_is_on_a_file_system_that_answers_may_hang_on_another() {
        let mounts = Mounts::parse(LISTED.as_bytes());
        for (folder, path, expected) in [
            ("/home/a", "/home/b/x", false),
            ("/home/a", "/net/x", true),
            ("/net/films", "/net/x", false),
            ("/net/films", "/home/a/x", false),
            ("/net/films", "/home/a/my stick/x", true),
        ] {
            assert_eq!(mounts.may_hang_from(Path::new(folder), Path::new(path)), expected, "{folder} {path}");
        }
    }

    #[test]
    fn a_link_is_followed_up_to_where_something_may_hang() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("far/deep")).unwrap();
        std::os::unix::fs::symlink("../far/deep", top.join("link")).unwrap();
        std::os::unix::fs::symlink(top.join("far"), top.join("whole")).unwrap();
        let mounts = Mounts::parse(format!("40 27 0:40 / {} rw - nfs4 nas: rw\n", top.join("far").display()).as_bytes());
        let resolved = |way: &str| mounts.resolve(&top.join(way));
        assert_eq!(resolved("whole/deep/x"), top.join("far/deep/x"));
        assert_eq!(resolved("none/x"), top.join("none/x"));
        std::fs::remove_file(top.join("link")).unwrap();
        std::os::unix::fs::symlink("far/../far/deep", top.join("link")).unwrap();
        assert_eq!(resolved("link"), top.join("far/deep"));
        assert_eq!(mounts.met(&top.join("link"), |_| true).len(), 1);
        std::os::unix::fs::symlink("circle", top.join("circle")).unwrap();
        assert_eq!(resolved("circle"), top.join("circle"), "a circle ends");
    }

    #[test]
    fn what_waits_for_others_is_told_from_what_does_not() {
        for kind in ["nfs", "nfs4", "cifs", "smb3", "fuse", "fuseblk", "fuse.rclone", "9p", "autofs", "ceph"] {
            assert!(may_hang(kind), "{kind}");
        }
        for kind in ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "nfsd", "proc", "zfs"] {
            assert!(!may_hang(kind), "{kind}");
        }
    }
}
