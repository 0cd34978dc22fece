//! A few hashed blocks of a file, by which its content is known again where the facts of its inode do not decide.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

/// How much is read at each of three places.
const BLOCK_BYTES: u64 = 64 * 1024;

/// The hash of a file's size and of its first, middle and last 64 KiB; of all of it where it has no more than these.
///
/// Equal fingerprints spare an upload of a file that looks the same in every other way. They authorize nothing that cannot be
/// undone: a change between the blocks does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub i64);

impl Fingerprint {
    /// Reads the blocks of a file of `bytes` bytes through `read_at`, which fills a buffer from an offset.
    ///
    /// # Errors
    ///
    /// Those of `read_at`.
    pub(crate) fn read<E>(bytes: u64, mut read_at: impl FnMut(&mut [u8], u64) -> Result<(), E>) -> Result<Fingerprint, E> {
        let mut hasher = XxHash3_64::new();
        hasher.write(&bytes.to_le_bytes());
        let mut buffer = vec![0; usize::try_from(BLOCK_BYTES.min(bytes)).unwrap_or(0)];
        for (offset, length) in blocks(bytes) {
            let block = &mut buffer[..usize::try_from(length).unwrap_or(0)];
            read_at(block, offset)?;
            hasher.write(block);
        }
        Ok(Fingerprint(hasher.finish().cast_signed()))
    }

    /// The fingerprint of a file whose whole content is at hand.
    pub(crate) fn of(content: &[u8]) -> Fingerprint {
        let read_at = |block: &mut [u8], offset: u64| {
            let begin = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = content.get(begin..begin.saturating_add(block.len())).ok_or(())?;
            block.copy_from_slice(found);
            Ok::<_, ()>(())
        };
        Fingerprint::read(content.len() as u64, read_at).unwrap_or(Fingerprint(0))
    }
}

/// Where the blocks of a file begin, and how long they are, in their order and without an overlap.
fn blocks(bytes: u64) -> Vec<(u64, u64)> {
    let starts = if bytes <= 3 * BLOCK_BYTES {
        [0, BLOCK_BYTES, 2 * BLOCK_BYTES]
    } else {
        [0, bytes / 2 - BLOCK_BYTES / 2, bytes - BLOCK_BYTES]
    };
    let block = |start: u64| (start, BLOCK_BYTES.min(bytes.saturating_sub(start)));
    starts.map(block).into_iter().filter(|(_, length)| *length > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_read_whole_and_large_ones_at_three_places() {
        const K: u64 = 1024;
        let cases: [(u64, &[(u64, u64)]); 7] = [
            (0, &[]),
            (1, &[(0, 1)]),
            (64 * K, &[(0, 64 * K)]),
            (64 * K + 1, &[(0, 64 * K), (64 * K, 1)]),
            (192 * K, &[(0, 64 * K), (64 * K, 64 * K), (128 * K, 64 * K)]),
            (192 * K + 2, &[(0, 64 * K), (64 * K + 1, 64 * K), (128 * K + 2, 64 * K)]),
            (u64::MAX, &[(0, 64 * K), (u64::MAX / 2 - 32 * K, 64 * K), (u64::MAX - 64 * K, 64 * K)]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(blocks(bytes), expected, "{bytes} bytes");
        }
    }

    #[test]
    fn another_byte_in_a_block_and_another_size_make_another_fingerprint() {
        let content = vec![7; 300 * 1024];
        let fingerprint = Fingerprint::of(&content);
        for (at, differs) in [(0, true), (100 * 1024, false), (150 * 1024, true), (300 * 1024 - 1, true)] {
            let mut other = content.clone();
            other[at] = 8;
            assert_eq!(Fingerprint::of(&other) != fingerprint, differs, "a change at {at}");
        }
        assert_ne!(Fingerprint::of(&content[1..]), fingerprint);
        assert_ne!(Fingerprint::of(&[]), Fingerprint::of(&[0]));
    }

    #[test]
    fn a_file_that_is_shorter_than_it_said_has_no_fingerprint() {
        assert!(Fingerprint::read(10, |_, _| Err("it ends here")).is_err());
    }
}
