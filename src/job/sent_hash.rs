//! The hash of the bytes that were sent, by which a file that was touched meanwhile is compared with them.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

/// The hashes of ranges of a file, combined so that neither their order nor their number costs anything.
///
/// It finds out what happens by accident, as when a file is written and its times are set back; not what somebody constructs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SentHash(pub i64);

impl SentHash {
    /// What was sent with this one and with `other`, which have no range in common.
    #[must_use]
    pub fn and(self, other: SentHash) -> SentHash {
        SentHash(self.0 ^ other.0)
    }
}

/// Hashes one range of a file.
pub(crate) struct RangeHasher(XxHash3_64);

impl RangeHasher {
    /// For the range that begins at `offset`.
    pub(crate) fn new(offset: u64) -> RangeHasher {
        RangeHasher(XxHash3_64::with_seed(offset))
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash of what it has taken so far.
    pub(crate) fn so_far(&self) -> SentHash {
        SentHash(self.0.finish().cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(offset: u64, bytes: &[u8]) -> SentHash {
        let mut hasher = RangeHasher::new(offset);
        bytes.chunks(3).for_each(|chunk| hasher.update(chunk));
        hasher.so_far()
    }

    #[test]
    fn ranges_count_in_any_order_but_each_at_its_place() {
        let (one, two) = (hash(0, b"one, two"), hash(8, b"three"));
        assert_eq!(one.and(two), two.and(one));
        assert_eq!(SentHash::default().and(one), one);
        assert_eq!(one.and(two).and(two), one, "what is taken away again");
        assert_ne!(hash(0, b"three"), two, "another place");
        assert_ne!(hash(0, b"one, twe"), one, "another byte");
        assert_ne!(hash(0, b"x").and(hash(8, b"x")), SentHash::default(), "equal ranges do not cancel each other out");
    }
}
