//! Checksums of bytes at rest, each computed by its definition.

use std::io::Read;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::Shared;
use super::super::digest::hex;

const READ_BYTES: usize = 256 * 1024;

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc64Nvme,
    Crc32c,
    Sha256,
}

const ALL: [Algorithm; 3] = [Algorithm::Crc64Nvme, Algorithm::Crc32c, Algorithm::Sha256];

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Sha256 => "SHA256",
        }
    }

    pub(super) fn header(self) -> &'static str {
        match self {
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Crc32c => "x-amz-checksum-crc32c",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Algorithm> {
        ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(super) fn of_header(name: &str) -> Option<Algorithm> {
        ALL.into_iter().find(|algorithm| algorithm.header() == name)
    }

    /// Whether there is one of a whole object.
    pub(super) fn combines(self) -> bool {
        self != Algorithm::Sha256
    }

    /// That of files, one behind the other, in base64.
    pub(super) fn of_files(self, shared: &Shared, files: &[PathBuf]) -> std::io::Result<String> {
        let mut running = Running::new(self);
        let mut buffer = vec![0; READ_BYTES];
        for path in files {
            let mut file = shared.store.open_file(path)?;
            loop {
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                running.add(&buffer[..read]);
            }
        }
        Ok(running.end())
    }

    /// That of bytes in memory, in base64.
    pub(super) fn of_bytes(self, bytes: &[u8]) -> String {
        let mut running = Running::new(self);
        running.add(bytes);
        running.end()
    }
}

enum Running {
    Crc { table: Box<[u64; 256]>, state: u64, width: usize },
    Sha256(Sha256),
}

impl Running {
    fn new(algorithm: Algorithm) -> Running {
        match algorithm {
            Algorithm::Crc64Nvme => Running::Crc { table: table(0x9a6c_9329_ac4b_c9b5), state: u64::MAX, width: 8 },
            Algorithm::Crc32c => Running::Crc { table: table(0x82f6_3b78), state: u64::from(u32::MAX), width: 4 },
            Algorithm::Sha256 => Running::Sha256(Sha256::new()),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        match self {
            Running::Crc { table, state, .. } => {
                for byte in bytes {
                    *state = table[((*state ^ u64::from(*byte)) & 0xff) as usize] ^ (*state >> 8);
                }
            }
            Running::Sha256(sha256) => sha256.update(bytes),
        }
    }

    fn end(self) -> String {
        match self {
            Running::Crc { state, width, .. } => STANDARD.encode(&(!state).to_be_bytes()[8 - width..]),
            Running::Sha256(sha256) => STANDARD.encode(sha256.finalize()),
        }
    }
}

/// The remainders of all bytes, lowest bit first.
fn table(polynomial: u64) -> Box<[u64; 256]> {
    let mut table = Box::new([0; 256]);
    for (byte, remainder) in (0u64..).zip(table.iter_mut()) {
        *remainder = (0..8).fold(byte, |rest, _| if rest & 1 == 1 { (rest >> 1) ^ polynomial } else { rest >> 1 });
    }
    table
}

/// A digest that is told in base64, in hexadecimal.
pub(super) fn hex_of_base64(text: &str) -> Option<String> {
    STANDARD.decode(text).ok().map(|digest| hex(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_of_their_definitions() {
        let of = |algorithm: Algorithm| hex_of_base64(&algorithm.of_bytes(b"123456789")).unwrap();
        assert_eq!(of(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(of(Algorithm::Crc32c), "e3069283");
        assert!(of(Algorithm::Sha256).starts_with("15e2b0d3"));
    }
}
