//! Proof that the sender has a file of which it gives the digest: the digest of eight of its bytes (page, 3.1.1).

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::sign::hex;

/// How many bytes are digested.
const BYTES: u64 = 8;

/// Which bytes of a file are to be known, for a sender who is named by `origin`; none of an empty one.
pub(super) fn place(origin: &str, file_bytes: u64) -> Option<Range<u64>> {
    let seed = hex(&Sha256::digest(origin));
    let digest = Sha256::digest(seed);
    let last = digest.last_chunk().map_or(0, |last| u64::from_be_bytes(*last));
    let start = (last & i64::MAX.cast_unsigned()).checked_rem(file_bytes)?;
    Some(start..start.saturating_add(BYTES).min(file_bytes))
}

/// What is sent of those bytes.
pub(super) fn code(sample: &[u8]) -> String {
    hex(&Sha256::digest(sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_page() {
        let file: Vec<u8> = (0..10_486_760u64).map(|i| ((i * 31 + 7) % 251) as u8).collect();
        let range = place("1000000000000000001", 10_486_760).unwrap();
        assert_eq!(range, 2_072_025..2_072_033);
        let sample = &file[range.start as usize..range.end as usize];
        assert_eq!(sample, 0x7d9c_bbda_f91d_3c5b_u64.to_be_bytes());
        assert_eq!(code(sample), "ff0adb7e71fbc15d0b633560560a09b4a4607fa934a533e5a7eeca3708b15dab");
    }

    #[test]
    fn a_place_is_within_the_file() {
        assert_eq!(place("x", 0), None);
        for bytes in [1, 7, 8, 9, 200_000_000_000] {
            let range = place("x", bytes).unwrap();
            assert!(range.start < range.end && range.end <= bytes && range.end - range.start <= 8, "{bytes}: {range:?}");
        }
    }
}
