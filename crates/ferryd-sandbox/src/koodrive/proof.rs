//! The proof that a caller has the file of which it gives the digest: the digest of eight bytes, at a place that follows from who
//! calls.

use std::io::{self, Read};
use std::path::PathBuf;

use super::super::digest::sha256;
use super::super::objects::Store;

/// How many bytes are digested.
const BYTES: u64 = 8;

/// Where those bytes begin in a file of so many, which is not empty.
pub(crate) fn start(origin: &str, file_bytes: u64) -> u64 {
    let whole = sha256(sha256(origin.as_bytes()).as_bytes());
    let last = whole.get(48..).and_then(|last| u64::from_str_radix(last, 16).ok()).unwrap_or(0);
    (last & (u64::MAX >> 1)) % file_bytes.max(1)
}

/// The proof of a file that these files make one after the other.
pub(super) fn of(store: &Store, files: &[PathBuf], start: u64) -> io::Result<String> {
    let (mut left, mut sample) = (start, Vec::new());
    for path in files {
        let mut from = store.open_file(path)?;
        left -= io::copy(&mut from.by_ref().take(left), &mut io::sink())?;
        if left == 0 {
            from.take(BYTES - sample.len() as u64).read_to_end(&mut sample)?;
        }
    }
    Ok(sha256(&sample))
}
