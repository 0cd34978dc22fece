//! Those who put files into the watched folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::ledger;
use crate::places::{DROP, ELSEWHERE};
use crate::schedule::{Act, Name, Pick};
use crate::stock::marker_of;
use crate::world::World;

/// Where a file is that was moved out of the watch.
const OUT: &str = "/elsewhere/out";

/// How far from the beginning and the end of a large file something is that no fingerprint covers, and how much is changed there.
const BETWEEN: usize = 70_000;
const EDITED_BYTES: u64 = 100;

/// Bytes that no other file has.
fn content(world: &World, bytes: u64) -> Vec<u8> {
    let number = {
        let mut state = world.state();
        state.users.made += 1;
        state.users.made
    };
    let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
    StdRng::seed_from_u64(world.seed.wrapping_mul(1_000_003).wrapping_add(number)).fill_bytes(&mut content);
    // Two contents that begin alike would be told apart by nobody when both are short.
    content.iter_mut().zip(number.to_le_bytes()).for_each(|(byte, of_number)| *byte = of_number);
    content
}

/// A file in the watch, and what is in it.
pub(crate) fn picked(world: &World, pick: Pick) -> Option<PathBuf> {
    let there: Vec<PathBuf> = world.state().ledger.standing.keys().cloned().collect();
    there.get(pick as usize % there.len().max(1)).cloned()
}

/// Does it, and tells it; nothing where there is no file that it could be done to.
pub(crate) fn carry_out(world: &World, act: &Act) -> Option<String> {
    if world.state().users.is_away && !matches!(act, Act::Remount | Act::Close | Act::Continue(_)) {
        return None;
    }
    let told = try_to(world, act);
    told.unwrap_or_else(|error| Some(format!("a user fails to do {act:?}: {error}")))
}

fn try_to(world: &World, act: &Act) -> io::Result<Option<String>> {
    match act {
        Act::Create(name, bytes) => create(world, *name, *bytes).map(Some),
        Act::Open(name, bytes) => open(world, *name, *bytes).map(Some),
        Act::Continue(bytes) => go_on(world, *bytes),
        Act::Close => Ok(close(world)),
        Act::MoveIn(name, bytes) => move_in(world, *name, *bytes).map(Some),
        Act::MoveBack => move_back(world),
        Act::Unmount if !world.setting.is_disk => Ok(None),
        Act::Unmount => {
            close(world);
            world.state().users.is_away = true;
            world.files.unmount(Path::new(DROP))?;
            Ok(Some("the disk of the watched folder is taken away".into()))
        }
        Act::Remount => {
            if !std::mem::take(&mut world.state().users.is_away) {
                return Ok(None);
            }
            world.files.remount(Path::new(DROP))?;
            // Nobody watches the folders of a disk that has come back, before the next scan.
            world.state().was_untold = true;
            Ok(Some("the disk of the watched folder is back, under other numbers".into()))
        }
        Act::Mark => mark(world).map(Some),
        Act::Unmark => unmark(world).map(Some),
        Act::Restore => {
            world.files.restore(Path::new(DROP))?;
            Ok(Some("the watched folder is restored from a backup".into()))
        }
        Act::Append(pick, _)
        | Act::Overwrite(pick, _)
        | Act::Edit(pick)
        | Act::EditSecretly(pick)
        | Act::EditBetween(pick)
        | Act::Replace(pick, _)
        | Act::Truncate(pick)
        | Act::Rename(pick, _)
        | Act::Link(pick, _)
        | Act::Chmod(pick)
        | Act::MoveOut(pick)
        | Act::Remove(pick) => match picked(world, *pick) {
            Some(path) => change(world, &path, act).map(Some),
            None => Ok(None),
        },
    }
}

fn path_of(world: &World, name: Name) -> io::Result<PathBuf> {
    let path = Path::new(DROP).join(name.to_string());
    world.files.make_folders(path.parent().unwrap_or(Path::new(DROP)))?;
    Ok(path)
}

fn create(world: &World, name: Name, bytes: u64) -> io::Result<String> {
    let path = path_of(world, name)?;
    world.files.write(&path, &content(world, bytes))?;
    Ok(format!("a user writes {}, {bytes} bytes", path.display()))
}

fn open(world: &World, name: Name, bytes: u64) -> io::Result<String> {
    close(world);
    let path = path_of(world, name)?;
    let mut file = world.files.create(&path)?;
    file.write_all(&content(world, bytes))?;
    let told = format!("a user begins to write {}, {bytes} bytes so far", path.display());
    world.state().users.writing = Some((file, path));
    Ok(told)
}

fn go_on(world: &World, bytes: u64) -> io::Result<Option<String>> {
    let Some((mut file, path)) = world.state().users.writing.take() else { return Ok(None) };
    file.write_all(&content(world, bytes))?;
    let told = format!("a user writes {bytes} bytes more into {}", path.display());
    world.state().users.writing = Some((file, path));
    Ok(Some(told))
}

fn close(world: &World) -> Option<String> {
    let (file, path) = world.state().users.writing.take()?;
    drop(file);
    Some(format!("a user closes {}", path.display()))
}

fn move_in(world: &World, name: Name, bytes: u64) -> io::Result<String> {
    let content = content(world, bytes);
    let number = world.state().users.made;
    let folder = Path::new(ELSEWHERE).join(format!("folder {number}"));
    world.files.make_folders(&folder)?;
    world.files.write(&folder.join(char::from(b'a' + name.0).to_string()), &content)?;
    let to = Path::new(DROP).join(format!("folder {number}"));
    match world.files.rename(&folder, &to) {
        Ok(()) => {}
        // The watch is another file system: what moves there is copied.
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            world.files.make_folders(&to)?;
            world.files.write(&to.join(char::from(b'a' + name.0).to_string()), &content)?;
        }
        Err(error) => return Err(error),
    }
    Ok(format!("a user moves {} in, with a file of {bytes} bytes", to.display()))
}

fn move_back(world: &World) -> io::Result<Option<String>> {
    let Some(path) = world.state().users.moved_out.take() else { return Ok(None) };
    if world.files.facts(&path).is_some() {
        return Ok(None);
    }
    world.files.make_folders(path.parent().unwrap_or(Path::new(DROP)))?;
    let digest = ledger::digest(&world.files.read(Path::new(OUT))?);
    world.files.rename(Path::new(OUT), &path)?;
    world.state().ledger.closed.entry(digest).and_modify(|content| content.was_away = true);
    Ok(Some(format!("a user moves {} back", path.display())))
}

/// The marker of every file that stands there.
fn markers(world: &World) -> Vec<PathBuf> {
    world.state().ledger.standing.keys().map(|path| marker_of(path)).collect()
}

fn mark(world: &World) -> io::Result<String> {
    for marker in markers(world) {
        world.files.write(&marker, b"")?;
    }
    Ok("a user marks every file as complete".into())
}

fn unmark(world: &World) -> io::Result<String> {
    for marker in markers(world).iter().filter(|marker| world.files.facts(marker).is_some()) {
        world.files.remove(marker)?;
    }
    Ok("a user removes every marker".into())
}

/// Whether the file at `path` is at another place of the watch, too.
fn has_other_name(world: &World, path: &Path, [device, inode, ..]: [i64; 6]) -> bool {
    let others: Vec<PathBuf> = world.state().ledger.standing.keys().filter(|other| *other != path).cloned().collect();
    others.iter().filter_map(|other| world.files.facts(other)).any(|facts| facts.numbers[..2] == [device, inode])
}

fn change(world: &World, path: &Path, act: &Act) -> io::Result<String> {
    // Of two changes at the same moment the numbers do not tell.
    if let Some(facts) = world.files.facts(path) {
        world.state().ledger.digests.remove(&facts.numbers);
        // The folder of another name tells nobody.
        let is_in_place = !matches!(act, Act::Replace(..) | Act::Rename(..) | Act::Link(..) | Act::MoveOut(_) | Act::Remove(_));
        let has_other_name = is_in_place && has_other_name(world, path, facts.numbers);
        world.state().was_untold |= has_other_name;
    }
    let told = path.display();
    let files = &world.files;
    Ok(match act {
        Act::Append(_, bytes) => {
            files.append(path)?.write_all(&content(world, *bytes))?;
            format!("a user adds {bytes} bytes to {told}")
        }
        Act::Overwrite(_, bytes) => {
            files.write(path, &content(world, *bytes))?;
            format!("a user writes {told} anew, {bytes} bytes")
        }
        Act::Edit(_) => {
            let bytes = files.read(path)?.len() as u64;
            files.overwrite(path, &content(world, bytes), 0)?;
            format!("a user changes bytes of {told}")
        }
        Act::EditSecretly(_) => {
            let bytes = files.read(path)?.len() as u64;
            files.overwrite_unnoticed(path, &content(world, bytes), 0)?;
            format!("a user changes bytes of {told} and sets its mtime back")
        }
        Act::EditBetween(_) => {
            let bytes = files.read(path)?.len();
            for offset in [BETWEEN, bytes.saturating_sub(BETWEEN)] {
                files.overwrite_unnoticed(path, &content(world, EDITED_BYTES), offset)?;
            }
            let hidden = ledger::digest(&files.read(path)?);
            world.state().ledger.hidden.insert(hidden);
            format!("a user changes {told} in two places and sets its mtime back")
        }
        Act::Replace(_, bytes) => {
            let beside = path.with_extension("tmp");
            files.write(&beside, &content(world, *bytes))?;
            files.rename(&beside, path)?;
            format!("a user replaces {told} by a file of {bytes} bytes")
        }
        Act::Truncate(_) => {
            let bytes = files.read(path)?.len() / 2;
            files.truncate(path, bytes)?;
            format!("a user cuts {told} to {bytes} bytes")
        }
        Act::Rename(_, name) => {
            let to = path_of(world, *name)?;
            files.rename(path, &to)?;
            format!("a user renames {told} to {}", to.display())
        }
        Act::Link(_, name) => {
            let to = path_of(world, *name)?;
            files.link(path, &to)?;
            format!("a user links {told} as {}", to.display())
        }
        Act::Chmod(_) => {
            files.set_mode(path, 0o600)?;
            format!("a user changes the mode of {told}")
        }
        Act::MoveOut(_) => {
            files.rename(path, Path::new(OUT))?;
            world.state().users.moved_out = Some(path.to_owned());
            format!("a user moves {told} out of the folder")
        }
        Act::Remove(_) => {
            files.remove(path)?;
            format!("a user removes {told}")
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    })
}

/// They stop: files are closed, disks are back.
pub(crate) fn go_home(world: &World) {
    let last = if world.setting.has_markers { Some(Act::Mark) } else { None };
    for act in [Act::Close, Act::Remount].into_iter().chain(last) {
        if let Some(told) = carry_out(world, &act) {
            world.tell(&told);
        }
    }
}
