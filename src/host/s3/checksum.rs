//! How the service is told what the bytes are, so that it refuses others (page, 6).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::job::digest::Algorithm;
use crate::job::plan::Plan;

use super::sign::hex;

/// What goes with each part. The words are stored, so they are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// `x-amz-checksum-crc64nvme`, which the service combines into one of the whole object.
    Crc64Nvme,
    /// `x-amz-checksum-crc32c`, the same.
    Crc32c,
    /// `x-amz-checksum-sha256`; of an object in parts there is only a hash of hashes.
    Sha256,
    /// `Content-MD5`, which the oldest services know, and the ETag is.
    Md5,
    /// Nothing.
    None,
}

impl Checksum {
    /// What the engine computes for each part.
    pub(super) fn algorithm(self) -> Option<Algorithm> {
        match self {
            Checksum::Crc64Nvme => Some(Algorithm::Crc64Nvme),
            Checksum::Crc32c => Some(Algorithm::Crc32c),
            Checksum::Sha256 => Some(Algorithm::Sha256),
            Checksum::Md5 => Some(Algorithm::Md5),
            Checksum::None => None,
        }
    }

    /// The header with which it goes.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Checksum::Crc64Nvme => Some("x-amz-checksum-crc64nvme"),
            Checksum::Crc32c => Some("x-amz-checksum-crc32c"),
            Checksum::Sha256 => Some("x-amz-checksum-sha256"),
            Checksum::Md5 => Some("content-md5"),
            Checksum::None => None,
        }
    }

    /// What an upload in parts is opened with: the name of the algorithm, and whether the service tells the checksum of the whole
    /// or one of those of the parts.
    pub(super) fn announced(self) -> Option<(&'static str, &'static str)> {
        match self {
            Checksum::Crc64Nvme => Some(("CRC64NVME", "FULL_OBJECT")),
            Checksum::Crc32c => Some(("CRC32C", "FULL_OBJECT")),
            Checksum::Sha256 => Some(("SHA256", "COMPOSITE")),
            Checksum::Md5 | Checksum::None => None,
        }
    }

    /// The element of XML that has it.
    pub(super) fn element(self) -> Option<&'static str> {
        match self {
            Checksum::Crc64Nvme => Some("ChecksumCRC64NVME"),
            Checksum::Crc32c => Some("ChecksumCRC32C"),
            Checksum::Sha256 => Some("ChecksumSHA256"),
            Checksum::Md5 | Checksum::None => None,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Checksum::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Checksum::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Checksum::Sha256 | Checksum::Md5 | Checksum::None => None,
        }
    }
}

/// A digest as headers and XML have it.
pub(super) fn text(digest: &[u8]) -> String {
    STANDARD.encode(digest)
}

/// What the service will tell of an object that is what was sent: its ETag where that follows from the digests, and its checksum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) bytes: u64,
    pub(super) etag: Option<String>,
    pub(super) checksum: Option<String>,
}

/// What it will tell of a file that was sent in one request, with this digest.
pub(super) fn of_whole(checksum: Checksum, digest: Option<&str>, bytes: u64) -> Expected {
    let digest = digest.map(str::to_owned);
    match checksum {
        Checksum::Md5 => Expected { bytes, etag: digest.and_then(|digest| etag(&digest)), checksum: None },
        _ => Expected { bytes, etag: None, checksum: digest },
    }
}

/// What it will tell of a file in these parts, which were sent with these digests. Where one is missing, only its size is known.
pub(super) fn of_parts(checksum: Checksum, digests: &BTreeMap<u32, String>, plan: Plan) -> Expected {
    let decoded: Option<Vec<Vec<u8>>> =
        (0..plan.parts()).map(|number| STANDARD.decode(digests.get(&number)?).ok().filter(|digest| !digest.is_empty())).collect();
    let size = Expected { bytes: plan.file_bytes, ..Expected::default() };
    let Some(decoded) = decoded else { return size };
    let parts = decoded.len();
    match (checksum, checksum.crc()) {
        (Checksum::Md5, _) => {
            let etag = format!("{}-{parts}", hex(&Md5::digest(decoded.concat())));
            Expected { etag: Some(etag), ..size }
        }
        (Checksum::Sha256, _) => {
            let checksum = format!("{}-{parts}", STANDARD.encode(Sha256::digest(decoded.concat())));
            Expected { checksum: Some(checksum), ..size }
        }
        (_, Some(algorithm)) => Expected { checksum: combined(algorithm, &decoded, plan), ..size },
        (_, None) => size,
    }
}

/// The checksum of a whole, of those of its parts.
fn combined(algorithm: CrcAlgorithm, parts: &[Vec<u8>], plan: Plan) -> Option<String> {
    let width = parts.first()?.len();
    let mut whole: Option<u64> = None;
    for (number, part) in (0..).zip(parts) {
        let own = number_of(part).filter(|_| part.len() == width)?;
        whole = Some(match whole {
            Some(before) => crc_fast::checksum_combine(algorithm, before, own, plan.range(number).bytes),
            None => own,
        });
    }
    whole.map(|whole| text(&whole.to_be_bytes()[8usize.saturating_sub(width)..]))
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    let is_sound = matches!(bytes.len(), 4 | 8);
    is_sound.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The MD5 of a header as an ETag has it.
fn etag(md5: &str) -> Option<String> {
    STANDARD.decode(md5).ok().filter(|digest| digest.len() == 16).map(|digest| hex(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(parts: &[&str], digest: impl Fn(&[u8]) -> Vec<u8>) -> BTreeMap<u32, String> {
        (0..).zip(parts).map(|(number, part)| (number, text(&digest(part.as_bytes())))).collect()
    }

    #[test]
    fn the_checksum_of_the_whole_follows_from_those_of_its_parts() {
        let plan = Plan { file_bytes: 9, part_bytes: 4 };
        let parts = ["1234", "5678", "9"];
        let crc = |algorithm, bytes: &[u8]| crc_fast::checksum(algorithm, bytes).to_be_bytes();
        let of = |bytes: &[u8]| crc(CrcAlgorithm::Crc64Nvme, bytes).to_vec();
        let found = of_parts(Checksum::Crc64Nvme, &digests(&parts, of), plan);
        assert_eq!(found, Expected { bytes: 9, etag: None, checksum: Some(text(&0xae8b_1486_0a79_9888_u64.to_be_bytes())) });
        let of = |bytes: &[u8]| crc(CrcAlgorithm::Crc32Iscsi, bytes)[4..].to_vec();
        let found = of_parts(Checksum::Crc32c, &digests(&parts, of), plan);
        assert_eq!(found.checksum, Some(text(&0xe306_9283_u32.to_be_bytes())));
        // printf 1234 | md5sum and so on, their bytes joined, | md5sum.
        let found = of_parts(Checksum::Md5, &digests(&parts, |bytes| Md5::digest(bytes).to_vec()), plan);
        let joined = parts.map(|part| Md5::digest(part).to_vec()).concat();
        assert_eq!((found.etag, found.checksum), (Some(format!("{}-3", hex(&Md5::digest(joined)))), None));
    }

    #[test]
    fn where_a_digest_is_missing_or_is_none_only_the_size_is_known() {
        let plan = Plan { file_bytes: 9, part_bytes: 4 };
        let size = Expected { bytes: 9, ..Expected::default() };
        let mut some = digests(&["1234", "5678"], |_| vec![1; 8]);
        assert_eq!(of_parts(Checksum::Crc64Nvme, &some, plan), size);
        for odd in ["", "AAA", "!", "AAAA"] {
            some.insert(2, odd.to_owned());
            assert_eq!(of_parts(Checksum::Crc64Nvme, &some, plan), size, "{odd}");
        }
        assert_eq!(of_parts(Checksum::None, &digests(&["1234", "5678", "9"], |_| vec![1]), plan), size);
        assert_eq!(of_whole(Checksum::Md5, Some("AAAA"), 9), size);
    }

    #[test]
    fn the_etag_of_one_request_is_its_md5() {
        let md5 = text(&Md5::digest(b"abc"));
        assert_eq!(of_whole(Checksum::Md5, Some(&md5), 3).etag.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert_eq!(of_whole(Checksum::Crc32c, Some("4waSgw=="), 9).checksum.as_deref(), Some("4waSgw=="));
    }
}
