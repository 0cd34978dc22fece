//! How fast this processor computes the digests that a host wants.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::engine::hasher::Hasher;
use crate::job::digest::Algorithm;
use crate::job::upload::Shape;

use super::rate::per_second;
use super::stop::Stop;

const PIECE_BYTES: usize = 256 * 1024;

/// How fast one of them goes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct DigestRate {
    pub algorithm: Algorithm,
    pub per_second: u64,
    /// Whether it is one pass over the whole file; else there is one of each part, and several are computed at once.
    pub of_whole_file: bool,
}

/// The digests that go with files of this shape, for so long at most and over so many bytes.
pub(super) fn measure(shape: &Shape, bytes: u64, time: Duration, stop: &Stop) -> Vec<DigestRate> {
    let of_file = shape.digest.map(|wanted| (wanted.algorithm, true));
    let of_part = shape.part_digest.map(|algorithm| (algorithm, false));
    let rate = |(algorithm, of_whole_file)| DigestRate { algorithm, of_whole_file, per_second: rate(algorithm, bytes, time, stop) };
    of_file.into_iter().chain(of_part).map(rate).collect()
}

fn rate(algorithm: Algorithm, bytes: u64, time: Duration, stop: &Stop) -> u64 {
    let (mut hasher, piece) = (Hasher::new(algorithm), vec![0x5a; PIECE_BYTES]);
    let (begun, mut hashed) = (Instant::now(), 0);
    while (hashed < bytes && begun.elapsed() < time || hashed == 0) && !stop.is_asked() {
        hasher.update(&piece);
        hashed += PIECE_BYTES as u64;
    }
    std::hint::black_box(hasher.finish());
    per_second(hashed, begun.elapsed())
}
