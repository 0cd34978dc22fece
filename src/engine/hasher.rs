//! Digest algorithms at work.

use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;
use sha2::digest::common::hazmat::SerializableState;

use crate::job::digest::{Algorithm, MidState};

/// A digest under way.
pub(crate) enum Hasher {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Crc(Algorithm, crc_fast::Digest),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Md5 => Hasher::Md5(Md5::new()),
            Algorithm::Sha1 => Hasher::Sha1(Sha1::new()),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Crc64Nvme => Hasher::Crc(algorithm, crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Crc32c => Hasher::Crc(algorithm, crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Md5(md5) => md5.update(bytes),
            Hasher::Sha1(sha1) => sha1.update(bytes),
            Hasher::Sha256(sha256) => sha256.update(bytes),
            Hasher::Crc(_, crc) => crc.update(bytes),
        }
    }

    /// The inner state. It is that of all bytes only between two blocks of 64: what is left of a block is held back.
    pub(super) fn mid_state(&self) -> MidState {
        match self {
            Hasher::Md5(md5) => words(&md5.serialize(), Algorithm::Md5),
            Hasher::Sha1(sha1) => words(&sha1.serialize(), Algorithm::Sha1),
            Hasher::Sha256(sha256) => words(&sha256.serialize(), Algorithm::Sha256),
            Hasher::Crc(algorithm, crc) => words(&crc.finalize().to_le_bytes(), *algorithm),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Hasher::Md5(md5) => md5.finalize().to_vec(),
            Hasher::Sha1(sha1) => sha1.finalize().to_vec(),
            Hasher::Sha256(sha256) => sha256.finalize().to_vec(),
            // Most significant byte first, as protocols write them.
            Hasher::Crc(algorithm, crc) => {
                let bytes = crc.finalize().to_be_bytes();
                bytes[bytes.len() - 4 * algorithm.state_words()..].to_vec()
            }
        }
    }
}

/// A serialized state begins with its words, little end first.
fn words(state: &[u8], algorithm: Algorithm) -> MidState {
    let (words, _) = state.as_chunks::<4>();
    MidState(words.iter().take(algorithm.state_words()).map(|word| u32::from_le_bytes(*word)).collect())
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_its_definition() {
        let of = |algorithm| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            hex(&hasher.finish())
        };
        assert_eq!((of(Algorithm::Crc64Nvme).as_str(), of(Algorithm::Crc32c).as_str()), ("ae8b14860a799888", "e3069283"));
        assert_eq!(hex(&Hasher::new(Algorithm::Crc32c).finish()), "00000000");
        assert_eq!(of(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
    }

    /// Going on from a state must end in the digest, so the state is that of the bytes before.
    #[test]
    fn a_mid_state_is_what_the_rest_of_the_file_goes_on_from() {
        let (block, rest) = ([7; 64], {
            let mut padded = [0; 64];
            padded[..4].copy_from_slice(b"rest");
            padded[4] = 0x80;
            padded
        });
        let bits: u64 = (64 + 4) * 8;
        let of = |algorithm| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&block);
            let state = hasher.mid_state().0;
            hasher.update(b"rest");
            (state, hasher.finish())
        };
        let (state, digest) = of(Algorithm::Md5);
        let mut words: [u32; 4] = state[..].try_into().unwrap();
        let mut last = rest;
        last[56..].copy_from_slice(&bits.to_le_bytes());
        md5::block_api::compress(&mut words, &[last]);
        assert_eq!(words.map(u32::to_le_bytes).concat(), digest);

        let (state, digest) = of(Algorithm::Sha1);
        let mut words: [u32; 5] = state[..].try_into().unwrap();
        let mut last = rest;
        last[56..].copy_from_slice(&bits.to_be_bytes());
        sha1::block_api::compress(&mut words, &[last]);
        assert_eq!(words.map(u32::to_be_bytes).concat(), digest);

        let (state, digest) = of(Algorithm::Sha256);
        let mut words: [u32; 8] = state[..].try_into().unwrap();
        let mut last = rest;
        last[56..].copy_from_slice(&bits.to_be_bytes());
        sha2::block_api::compress256(&mut words, &[last]);
        assert_eq!(words.map(u32::to_be_bytes).concat(), digest);
    }
}
