#![expect(clippy::disallowed_methods, reason = "it is another user that renames here")]

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::body::PART_BYTES;
use super::open::WHOLE_BYTES;
use super::*;
use crate::host::Part;
use crate::os::files::Base;

struct Place {
    _dir: tempfile::TempDir,
    top: PathBuf,
    private: PathBuf,
}

/// A watched folder with a folder in it, and a folder that is nobody else's business; a file of the same name is in both.
fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let (top, private) = (dir.path().join("top"), dir.path().join("private"));
    for folder in [top.join("sub"), private.clone()] {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("file"), format!("{folder:?}")).unwrap();
    }
    Place { _dir: dir, top, private }
}

impl Place {
    /// Puts a link to the private folder in the place of the other.
    fn swap(&self) {
        std::fs::rename(self.top.join("sub"), self.top.join("aside")).unwrap();
        symlink(&self.private, self.top.join("sub")).unwrap();
    }

    /// Opens the file, as the version that `other` has, as if that had been queued.
    async fn open(&self, follow: bool, other: &Path) -> Result<Source, SourceError> {
        let version = Identity::of(&std::fs::metadata(other.join("file")).unwrap());
        let expected = Expected { base: Base::new(&self.top, follow), path: self.top.join("sub/file"), version, fresh: true };
        Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await
    }
}

async fn bytes_of(part: &Part) -> Vec<u8> {
    let mut frames = part.source.frames();
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| frames.as_mut().poll_frame(cx)).await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    bytes
}

#[tokio::test]
async fn a_part_has_the_digest_of_its_own_bytes_and_only_where_the_host_wants_one() {
    use sha2::Digest;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    // In memory, in one read, and in several with a rest.
    for size in [WHOLE_BYTES, PART_BYTES, 3 * PART_BYTES + 7] {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let version = Identity::of(&std::fs::metadata(&path).unwrap());
        let expected = Expected { base: Base::new(dir.path(), false), path: path.clone(), version, fresh: true };
        let source = Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap();
        for (offset, bytes) in [(0, size), (3, size - 5), (size, 0), (5, 1)] {
            let range = Range { offset, bytes };
            let wanted = &content[offset as usize..(offset + bytes) as usize];
            assert_eq!(source.part(0, range).await.unwrap().digest, None);
            let with = |algorithm| source.clone().with_part_digests(Some(algorithm));
            let part = with(Algorithm::Sha256).part(0, range).await.unwrap();
            assert_eq!(part.digest, Some(sha2::Sha256::digest(wanted).to_vec()), "{range:?} of {size}");
            assert!(bytes_of(&part).await == wanted && bytes_of(&part).await == wanted, "{range:?} of {size}");
            let part = with(Algorithm::Md5).part(0, range).await.unwrap();
            assert_eq!(part.digest, Some(md5::Md5::digest(wanted).to_vec()), "{range:?} of {size}");
        }
    }
}

#[tokio::test]
async fn a_part_that_fits_into_one_read_is_not_read_again_after_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, vec![7; PART_BYTES as usize]).unwrap();
    let version = Identity::of(&std::fs::metadata(&path).unwrap());
    let expected = Expected { base: Base::new(dir.path(), false), path: path.clone(), version, fresh: true };
    let source = Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap();
    let part = source.with_part_digests(Some(Algorithm::Md5)).part(0, Range { offset: 0, bytes: PART_BYTES }).await.unwrap();
    std::fs::write(&path, "").unwrap();
    assert_eq!(bytes_of(&part).await, vec![7; PART_BYTES as usize]);
}

#[tokio::test]
async fn a_folder_that_has_become_a_link_is_not_read_through() {
    let place = place();
    assert!(place.open(false, &place.top.join("sub")).await.is_ok());
    place.swap();
    // Even if the version behind the link is the very one that was queued.
    let refused = place.open(false, &place.private).await.map(drop).unwrap_err();
    assert!(matches!(&refused, SourceError::Changed(how) if how.contains("symbolic link")), "{refused}");
    assert!(place.open(true, &place.private).await.is_ok(), "where links are followed it is");
}

/// A file of several reads, open to be sent.
async fn large_file(path: &Path, fresh: bool) -> (Vec<u8>, Source) {
    let content: Vec<u8> = (0..3 * PART_BYTES).map(|i| (i % 251) as u8).collect();
    std::fs::write(path, &content).unwrap();
    let version = Identity::of(&std::fs::metadata(path).unwrap());
    let base = Base::new(path.parent().unwrap(), false);
    let expected = Expected { base, path: path.to_owned(), version, fresh };
    (content, Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default()).await.unwrap())
}

/// Changes the time of an inode's last change as an attribute does, in the next tick of the clock that stamps it.
fn touch(path: &Path) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let ctime = || std::fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec())).unwrap();
    let before = ctime();
    for mode in [0o600, 0o640].iter().cycle().take_while(|_| ctime() == before) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode)).unwrap();
    }
}

/// Writes one byte and sets the time of the last change back.
fn change_unseen(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    touch(path);
    file.write_all_at(b"!", at).unwrap();
    file.set_modified(before).unwrap();
}

#[tokio::test]
async fn a_file_that_is_renamed_linked_or_touched_while_it_is_sent_is_the_same_when_it_has_been_compared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let (content, source) = large_file(&path, true).await;
    let sent = Range { offset: 5, bytes: PART_BYTES + 9 };
    bytes_of(&source.part(0, sent).await.unwrap()).await;
    let hash = source.take_hash(sent);
    assert_eq!(source.check().await, Ok(false));
    touch(&path);
    std::fs::hard_link(&path, dir.path().join("other")).unwrap();
    std::fs::rename(&path, dir.path().join("renamed")).unwrap();
    assert_eq!(source.check().await, Ok(true));
    let rest = Range { offset: 5 + sent.bytes, bytes: 7 };
    assert_eq!(bytes_of(&source.part(1, rest).await.unwrap()).await, content[rest.offset as usize..][..7], "and is read on");
    assert_eq!(source.compare(std::iter::once(sent), hash).await, Ok(()));
    assert_eq!((source.check().await, source.identity().ctime_ns > 0), (Ok(false), true));
    assert!(source.compare(std::iter::once(sent), None).await.is_err(), "what was sent is not known");
}

#[tokio::test]
async fn a_change_of_what_was_sent_shows_though_its_time_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let (_, source) = large_file(&path, true).await;
    let sent = Range { offset: 0, bytes: 2 * PART_BYTES };
    bytes_of(&source.part(0, sent).await.unwrap()).await;
    let hash = source.take_hash(sent);
    assert_eq!((hash.is_some(), source.take_hash(sent)), (true, None), "it is asked for once");
    change_unseen(&path, PART_BYTES);
    assert_eq!(source.check().await, Ok(true));
    let refused = source.compare(std::iter::once(sent), hash).await.unwrap_err();
    assert!(matches!(refused, SourceError::Changed(how) if how.contains("set back")));
    assert_eq!(source.check().await, Ok(true), "it is as doubtful as before");
}

#[tokio::test]
async fn the_last_bytes_of_a_whole_body_go_only_if_those_before_them_are_still_in_the_file() {
    for changed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (content, source) = large_file(&path, true).await;
        let part = source.part(0, Range { offset: 0, bytes: content.len() as u64 }).await.unwrap();
        let (mut frames, mut sent) = (part.source.frames(), 0);
        while sent < 2 * PART_BYTES {
            let frame = std::future::poll_fn(|cx| frames.as_mut().poll_frame(cx)).await.unwrap().unwrap();
            sent += frame.into_data().unwrap().len() as u64;
        }
        if changed {
            change_unseen(&path, 7)
        } else {
            touch(&path)
        }
        let mut failed = false;
        while let Some(frame) = std::future::poll_fn(|cx| frames.as_mut().poll_frame(cx)).await {
            match frame {
                Ok(frame) => sent += frame.into_data().unwrap().len() as u64,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        assert_eq!((failed, sent == content.len() as u64), (changed, !changed));
        assert_eq!(source.failure().is_some(), changed);
    }
}

#[tokio::test]
async fn a_file_that_was_touched_since_its_parts_were_sent_is_opened_as_one_to_be_compared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, vec![7; 100]).unwrap();
    let version = Identity::of(&std::fs::metadata(&path).unwrap());
    touch(&path);
    let open = |fresh| {
        let expected = Expected { base: Base::new(dir.path(), false), path: path.clone(), version, fresh };
        Source::open(expected, Threads::Pool, Limits::new(Vec::new()), Arc::default())
    };
    assert_eq!(open(true).await.unwrap().check().await, Ok(false));
    assert_eq!(open(false).await.unwrap().check().await, Ok(true));
}

#[tokio::test]
async fn a_file_that_is_deleted_or_replaced_while_it_is_sent_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for replaced in [false, true] {
        let (content, source) = large_file(&path, true).await;
        if replaced {
            std::fs::write(dir.path().join("new"), content).unwrap();
            std::fs::rename(dir.path().join("new"), &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        assert!(matches!(source.check().await, Err(SourceError::Changed(how)) if how.contains("deleted")), "{replaced}");
    }
}

#[tokio::test]
async fn a_folder_that_is_swapped_for_a_link_while_its_file_is_sent_leads_nowhere_else() {
    let place = place();
    let source = place.open(false, &place.top.join("sub")).await.unwrap();
    place.swap();
    assert_eq!(source.check().await, Ok(false), "the file that is open has been moved, and is the same");
    let own = format!("{:?}", place.top.join("sub"));
    let part = source.part(0, Range { offset: 0, bytes: own.len() as u64 }).await.unwrap();
    assert_eq!(bytes_of(&part).await, own.as_bytes(), "of the file in the watched folder");
}
