//! The same acts on a real file system and in memory have the same answers and leave the same.

use std::collections::BTreeMap;
use std::fs::{FileTimes, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::super::{Base, FileKind, Files, Folder, Stat};
use super::super::Disk;
use super::named;
use crate::os::lease::Writers;
use crate::os::simulated_time::Time;

/// The modification time of everything before each act.
const BEFORE_NS: i64 = 1_000_000_000_000_000_000;

/// Where the acts are done.
enum World {
    Real(tempfile::TempDir),
    Simulated(Disk),
}

use World::{Real, Simulated};

impl World {
    fn top(&self) -> &Path {
        match self {
            Real(dir) => dir.path(),
            Simulated(_) => Path::new("/top"),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top().join(path)
    }

    fn base(&self) -> Base {
        let files = match self {
            Real(_) => Files::Real,
            Simulated(disk) => Files::Simulated(disk.clone()),
        };
        Base::of(&files, self.top(), false)
    }

    fn folder(&self, path: &str) -> io::Result<Folder> {
        self.base().folder(&self.at(path))
    }

    fn make_folder(&self, path: &str) -> io::Result<()> {
        match self {
            Real(_) => std::fs::create_dir_all(self.at(path)),
            Simulated(disk) => disk.make_folders(&self.at(path)),
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Real(_) => std::fs::write(self.at(path), bytes),
            Simulated(disk) => disk.write(&self.at(path), bytes),
        }
    }

    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Real(_) => OpenOptions::new().append(true).open(self.at(path))?.write_all(bytes),
            Simulated(disk) => disk.append(&self.at(path))?.write_all(bytes),
        }
    }

    fn truncate(&self, path: &str, length: usize) -> io::Result<()> {
        match self {
            Real(_) => OpenOptions::new().write(true).open(self.at(path))?.set_len(length as u64),
            Simulated(disk) => disk.truncate(&self.at(path), length),
        }
    }

    fn overwrite(&self, path: &str, bytes: &[u8], offset: usize) -> io::Result<()> {
        match self {
            Real(_) => OpenOptions::new().write(true).open(self.at(path))?.write_all_at(bytes, offset as u64),
            Simulated(disk) => disk.overwrite(&self.at(path), bytes, offset),
        }
    }

    fn overwrite_unnoticed(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Real(_) => {
                let modified = self.at(path).metadata()?.modified()?;
                self.overwrite(path, bytes, 0)?;
                OpenOptions::new().write(true).open(self.at(path))?.set_times(FileTimes::new().set_modified(modified))
            }
            Simulated(disk) => disk.overwrite_unnoticed(&self.at(path), bytes, 0),
        }
    }

    fn allocate(&self, path: &str, length: usize) -> io::Result<()> {
        match self {
            Real(_) => {
                let file = std::fs::File::create(self.at(path))?;
                Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length as u64)?)
            }
            Simulated(disk) => disk.allocate(&self.at(path), length).map(drop),
        }
    }

    fn link(&self, path: &str, new: &str) -> io::Result<()> {
        match self {
            Real(_) => std::fs::hard_link(self.at(path), self.at(new)),
            Simulated(disk) => disk.link(&self.at(path), &self.at(new)),
        }
    }

    fn symlink(&self, target: &str, path: &str) -> io::Result<()> {
        match self {
            Real(_) => symlink(target, self.at(path)),
            Simulated(disk) => disk.symlink(Path::new(target), &self.at(path)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "what a user does is not durable")]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match self {
            Real(_) => std::fs::rename(self.at(from), self.at(to)),
            Simulated(disk) => disk.rename(&self.at(from), &self.at(to)),
        }
    }

    fn replace(&self, path: &str, aside: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Real(_) => self.write(aside, bytes).and_then(|()| self.rename(aside, path)),
            Simulated(disk) => disk.replace(&self.at(path), &self.at(aside), bytes),
        }
    }

    fn exchange(&self, path: &str, other: &str) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match self {
            Real(_) => Ok(renameat_with(CWD, self.at(path), CWD, self.at(other), RenameFlags::EXCHANGE)?),
            Simulated(disk) => disk.exchange(&self.at(path), &self.at(other)),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        match self {
            Real(_) if self.at(path).symlink_metadata()?.is_dir() => std::fs::remove_dir(self.at(path)),
            Real(_) => std::fs::remove_file(self.at(path)),
            Simulated(disk) => disk.remove(&self.at(path)),
        }
    }

    fn set_mode(&self, path: &str, mode: u32) -> io::Result<()> {
        match self {
            Real(_) => std::fs::set_permissions(self.at(path), Permissions::from_mode(mode)),
            Simulated(disk) => disk.set_mode(&self.at(path), mode),
        }
    }

    fn set_mtime(&self, path: &Path, mtime_ns: i64) -> io::Result<()> {
        match self {
            Real(_) => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(mtime_ns.unsigned_abs());
                std::fs::File::open(path)?.set_times(FileTimes::new().set_modified(time))
            }
            Simulated(disk) => disk.set_mtime(path, mtime_ns),
        }
    }
}

/// What there is: of each path its kind, links and size where they are told alike, whether its content was changed, whether room is
/// allocated for all of it, its bytes, and the first path of the same inode.
type Tree = BTreeMap<PathBuf, (FileKind, u64, u64, bool, bool, Vec<u8>, PathBuf)>;

fn walk(world: &World, folder: &Path, each: &mut dyn FnMut(PathBuf, Stat)) {
    let mut listing = world.base().folder(folder).unwrap().list().unwrap();
    let mut names: Vec<_> = std::iter::from_fn(|| listing.next_entry()).map(|entry| entry.unwrap().name().to_owned()).collect();
    names.sort();
    for name in names {
        let stat = listing.look(&name).unwrap();
        if stat.kind == FileKind::Folder {
            walk(world, &folder.join(&name), each);
        }
        each(folder.join(name), stat);
    }
}

fn tree(world: &World) -> Tree {
    let (mut tree, mut first) = (Tree::new(), BTreeMap::new());
    walk(world, world.top(), &mut |path, stat| {
        let way = path.strip_prefix(world.top()).unwrap().to_owned();
        let same = first.entry(stat.device_and_inode()).or_insert_with(|| way.clone()).clone();
        let is_file = stat.kind == FileKind::File;
        let (links, size) = if is_file { (stat.links, stat.size()) } else { (0, 0) };
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        if is_file {
            world.base().open(&path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        }
        let is_changed = stat.kind != FileKind::Link && stat.mtime_ns() != BEFORE_NS;
        tree.insert(way, (stat.kind, links, size, is_changed, stat.blocks * 512 >= size, bytes, same));
    });
    tree
}

/// Makes every modification time the same.
fn make_old(world: &World) {
    let mut paths = Vec::new();
    walk(world, world.top(), &mut |path, stat| paths.extend((stat.kind != FileKind::Link).then_some(path)));
    paths.iter().for_each(|path| world.set_mtime(path, BEFORE_NS).unwrap());
}

type Act = (&'static str, fn(&World) -> io::Result<()>);

const USERS: &[Act] = &[
    ("make folders", |world| world.make_folder("sub/deep")),
    ("write", |world| world.write("a", b"words")),
    ("write in nothing", |world| world.write("nowhere/a", b"words")),
    ("write in a file", |world| world.write("a/b", b"words")),
    ("write a folder", |world| world.write("sub", b"words")),
    ("append", |world| world.append("a", b" and more")),
    ("append to nothing", |world| world.append("nothing", b"x")),
    ("truncate", |world| world.truncate("a", 3)),
    ("lengthen", |world| world.truncate("a", 100_000)),
    ("fill", |world| world.overwrite("a", &[7; 100_000], 0)),
    ("overwrite", |world| world.overwrite("a", b"other", 50_000)),
    ("overwrite behind the end", |world| world.overwrite("a", b"other", 200_000)),
    ("overwrite unnoticed", |world| world.overwrite_unnoticed("a", b"third")),
    ("allocate", |world| world.allocate("b", 100_000)),
    ("link", |world| world.link("a", "sub/link")),
    ("link over", |world| world.link("a", "b")),
    ("link nothing", |world| world.link("nothing", "c")),
    ("link a folder", |world| world.link("sub", "c")),
    ("rename to the other name of the same file", |world| world.rename("a", "sub/link")),
    ("rename to itself", |world| world.rename("b", "b")),
    ("write through the link", |world| world.write("sub/link", b"both")),
    ("replace", |world| world.replace("a", ".a.tmp", b"new")),
    ("exchange", |world| world.exchange("a", "sub/link")),
    ("exchange with a folder", |world| world.exchange("b", "sub")),
    ("exchange back", |world| world.exchange("b", "sub")),
    ("exchange with nothing", |world| world.exchange("b", "nothing")),
    ("exchange with what it is in", |world| world.exchange("sub/deep", "sub")),
    ("change the mode", |world| world.set_mode("a", 0o640)),
    ("symbolic link", |world| world.symlink("sub/link", "soft")),
    ("symbolic link over", |world| world.symlink("sub/link", "a")),
    ("write through the symbolic link", |world| world.write("soft", b"through")),
    ("rename the symbolic link", |world| world.rename("soft", "sub/soft")),
    ("link the symbolic link", |world| world.link("sub/soft", "soft too")),
    ("rename a folder", |world| world.rename("sub", "other")),
    ("rename a folder into itself", |world| world.rename("other", "other/deep/in")),
    ("rename a folder over a file", |world| world.rename("other", "a")),
    ("rename a file over a folder", |world| world.rename("a", "other/deep")),
    ("rename a folder over one with files", |world| world.rename("other/deep", "other")),
    ("make folders again", |world| world.make_folder("empty")),
    ("rename a folder over an empty one", |world| world.rename("other", "empty")),
    ("rename nothing", |world| world.rename("nothing", "a")),
    ("rename into nothing", |world| world.rename("a", "nowhere/a")),
    ("remove a folder with files", |world| world.remove("empty")),
    ("remove an empty folder", |world| world.remove("empty/deep")),
    ("remove one of two names", |world| world.remove("empty/soft")),
    ("remove", |world| world.remove("a")),
    ("remove nothing", |world| world.remove("a")),
];

const THE_DAEMONS: &[Act] = &[
    ("make", |world| world.base().make(&world.at("sub/deep")).map(drop)),
    ("create", |world| world.folder("")?.create_new(named("a"), 0o600)?.write_all(b"words")),
    ("create over", |world| world.folder("")?.create_new(named("a"), 0o600).map(drop)),
    ("make in a file", |world| world.base().make(&world.at("a/sub")).map(drop)),
    ("set the mode and the time", |world| {
        world.folder("sub")?.create_new(named("b"), 0o600)?.set_mode_and_mtime(0o640, BEFORE_NS - 5)
    }),
    ("open nothing", |world| world.folder("sub")?.open(named("nothing")).map(drop)),
    ("read behind the end", |world| world.folder("")?.open(named("a"))?.read_exact_at(&mut [0; 9], 3)),
    ("read a folder", |world| world.base().open(&world.at("sub"))?.read_exact_at(&mut [0], 0)),
    ("list a file", |world| world.folder("a").map(drop)),
    ("look in a file", |world| world.base().look(&world.at("a/b")).map(drop)),
    ("link", |world| world.folder("")?.link(named("a"), &world.folder("sub")?, named("a"))),
    ("link over", |world| world.folder("")?.link(named("a"), &world.folder("sub")?, named("b"))),
    ("rename to another name of the file", |world| world.folder("")?.rename_over(named("a"), &world.folder("sub")?, named("a"))),
    ("the same, sparing it", |world| world.folder("")?.rename_new(named("a"), &world.folder("sub")?, named("a"))),
    ("rename, sparing what is not there", |world| world.folder("")?.rename_new(named("a"), &world.folder("sub")?, named("c"))),
    ("rename, sparing what is there", |world| world.folder("sub")?.rename_new(named("c"), &world.folder("sub")?, named("b"))),
    ("rename over", |world| world.folder("sub")?.rename_over(named("c"), &world.folder("sub")?, named("b"))),
    ("rename over a folder", |world| world.folder("sub")?.rename_over(named("b"), &world.folder("")?, named("sub"))),
    ("rename nothing", |world| world.folder("")?.rename_new(named("nothing"), &world.folder("sub")?, named("d"))),
    ("remove a folder", |world| world.folder("")?.remove(named("sub"))),
    ("remove nothing", |world| world.folder("")?.remove(named("nothing"))),
    ("remove a folder that is not empty", |world| world.folder("")?.remove_folder(named("sub"))),
    ("remove a folder that is a file", |world| world.folder("sub")?.remove_folder(named("b"))),
    ("remove a folder that is not there", |world| world.folder("")?.remove_folder(named("nothing"))),
    ("remove an empty folder", |world| {
        world.folder("sub").and_then(|_| world.base().make(&world.at("sub/new"))).map(drop)?;
        world.folder("sub")?.remove_folder(named("new"))
    }),
    ("remove", |world| world.folder("sub")?.remove(named("b"))),
    ("create in a folder that is gone", |world| {
        let folder = world.folder("sub/deep")?;
        world.remove("sub/deep")?;
        folder.create_new(named("a"), 0o600).map(drop)
    }),
    ("a link is in the way", |world| {
        world.symlink("sub", "soft")?;
        world.base().look(&world.at("soft/a")).map(drop)
    }),
    ("a link is not opened", |world| world.folder("")?.open(named("soft")).map(drop)),
    ("a link is not listed", |world| world.folder("soft").map(drop)),
    ("a file that is gone is read", |world| {
        let file = world.folder("sub")?.open(named("a"))?;
        world.folder("sub")?.remove(named("a"))?;
        file.read_exact_at(&mut [0; 5], 0)?;
        assert_eq!(file.stat()?.links, 0);
        Ok(())
    }),
];

#[test]
fn the_same_acts_have_the_same_answers_and_leave_the_same() {
    for acts in [USERS, THE_DAEMONS] {
        let time = Time::by_hand(1_800_000_000_000_000_000);
        let disk = Disk::new(time.clock());
        disk.make_folders(Path::new("/top")).unwrap();
        let (real, simulated) = (Real(tempfile::tempdir().unwrap()), Simulated(disk));
        for (words, act) in acts {
            [&real, &simulated].into_iter().for_each(make_old);
            time.pass(Duration::from_secs(1));
            let [one, other] = [&real, &simulated].map(|world| act(world).map_err(|error| (error.kind(), error.raw_os_error())));
            assert_eq!(one, other, "{words}: the answers, the real one first");
            assert_eq!(tree(&real), tree(&simulated), "{words}: what is left, the real one first");
        }
    }
}

#[test]
fn a_file_has_writers_until_the_last_one_closes_it() {
    let time = Time::by_hand(1_800_000_000_000_000_000);
    let disk = Disk::new(time.clock());
    disk.write(Path::new("/a"), b"x").unwrap();
    let base = Base::of(&Files::Simulated(disk.clone()), Path::new("/"), false);
    let (one, other) = (disk.append(Path::new("/a")).unwrap(), disk.allocate(Path::new("/a"), 4096).unwrap());
    let reader = base.open(Path::new("/a")).unwrap();
    assert_eq!((reader.writers(), reader.stat().unwrap().size()), (Writers::Somebody, 4096));
    drop(one);
    assert_eq!(reader.writers(), Writers::Somebody);
    drop(other);
    assert_eq!(reader.writers(), Writers::Nobody);
}

#[test]
fn a_name_that_comes_or_goes_changes_the_time_of_the_inode_alone() {
    let time = Time::by_hand(1_800_000_000_000_000_000);
    let disk = Disk::new(time.clock());
    disk.write(Path::new("/a"), b"x").unwrap();
    let base = Base::of(&Files::Simulated(disk.clone()), Path::new("/"), false);
    let file = base.open(Path::new("/a")).unwrap();
    let acts: [fn(&Disk) -> io::Result<()>; 4] = [
        |disk| disk.link(Path::new("/a"), Path::new("/b")),
        |disk| disk.rename(Path::new("/a"), Path::new("/c")),
        |disk| disk.remove(Path::new("/b")),
        |disk| disk.set_mtime(Path::new("/c"), 1_800_000_000_000_000_000),
    ];
    for (index, act) in acts.iter().enumerate() {
        let before = file.stat().unwrap();
        time.pass(Duration::from_secs(1));
        act(&disk).unwrap();
        let after = file.stat().unwrap();
        assert_eq!(after.numbers[4] - before.numbers[4], 1_000_000_000, "act {index}");
        assert_eq!((after.numbers[..4].to_vec(), after.numbers[5]), (before.numbers[..4].to_vec(), before.numbers[5]));
    }
}
