//! SHA-256 continued from part to part: the eight words a link carries, and what they become once the part has come.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::block_api::compress256;

use super::super::digest::hex;

/// The eight words of a state, H0 to H7.
pub(crate) type Words = [u32; 8];

/// The state before the first byte.
pub(crate) const INITIAL: Words =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

const BLOCK_BYTES: usize = 64;
const BUFFER_BYTES: usize = 256 * 1024;

/// Where the digest of a file stands after a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// The state after the last whole block.
    pub words: Words,
    /// The digest of all bytes so far, as if the file ended here, in hexadecimal.
    pub digest: String,
}

/// Goes on from `words`, reached after `offset` bytes, with all that `part` has.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn reach(mut words: Words, offset: u64, mut part: impl Read) -> std::io::Result<Reached> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = offset;
    loop {
        let filled = fill(&mut part, &mut buffer)?;
        bytes += filled as u64;
        let (blocks, tail) = buffer[..filled].as_chunks::<BLOCK_BYTES>();
        compress256(&mut words, blocks);
        if filled < BUFFER_BYTES {
            return Ok(Reached { words, digest: digest(words, tail, bytes) });
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// The digest of `bytes` bytes, of which `tail` is not in `words` yet.
fn digest(mut words: Words, tail: &[u8], bytes: u64) -> String {
    let mut last = tail.to_vec();
    last.push(0x80);
    while last.len() % BLOCK_BYTES != BLOCK_BYTES - 8 {
        last.push(0);
    }
    last.extend(bytes.wrapping_mul(8).to_be_bytes());
    compress256(&mut words, last.as_chunks().0);
    hex(&words.map(u32::to_be_bytes).concat())
}

/// What a link says about the bytes before its part, as JSON with the keys in the host's order.
#[derive(Debug, Serialize, Deserialize)]
struct Context {
    md_len: u32,
    num: u32,
    h: Words,
    nh: u32,
    nl: u32,
    hash_type: String,
}

/// The text of the hash context of a link: base64 of compact JSON.
pub(crate) fn context(words: Words, offset: u64) -> String {
    let bits = u128::from(offset) * 8;
    let (nh, nl) = ((bits >> 32) as u32, bits as u32);
    let context = Context { md_len: 32, num: 0, h: words, nh, nl, hash_type: "sha256".into() };
    STANDARD.encode(serde_json::to_vec(&context).unwrap_or_default())
}

/// The words and the offset in the hash context of a link.
pub(crate) fn read_context(text: &str) -> Option<(Words, u64)> {
    let context: Context = serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?;
    Some((context.h, (u64::from(context.nh) << 32 | u64::from(context.nl)) / 8))
}
