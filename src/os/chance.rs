//! The one place that throws dice.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Where random numbers come from. Clones draw from the same source; the default is the operating system's.
#[derive(Clone, Default)]
pub struct Chance(Option<Arc<Mutex<StdRng>>>);

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Chance(seeded)" } else { "Chance(system)" })
    }
}

impl Chance {
    /// Numbers that follow from `seed` and the order in which they are drawn.
    pub fn seeded(seed: u64) -> Chance {
        Chance(Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// A number from 0 up to, but not including, 1.
    pub fn fraction(&self) -> f64 {
        self.draw(|source| source.random())
    }

    /// Bytes that nobody can foresee, unless there is a seed.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        self.draw(|source| {
            let mut bytes = [0; N];
            source.fill_bytes(&mut bytes);
            bytes
        })
    }

    /// So many decimal digits.
    pub fn digits(&self, count: usize) -> String {
        self.draw(|source| (0..count).map(|_| char::from(b'0' + source.random_range(0..10u8))).collect())
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
        match &self.0 {
            None => draw(&mut rand::rng()),
            Some(seeded) => draw(&mut *seeded.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_no_seed_others() {
        let drawn = |chance: Chance| (chance.fraction().to_bits(), chance.bytes::<16>(), chance.digits(20));
        assert_eq!(drawn(Chance::seeded(7)), drawn(Chance::seeded(7)));
        assert_ne!(drawn(Chance::seeded(7)), drawn(Chance::seeded(8)));
        assert_ne!(drawn(Chance::default()), drawn(Chance::default()));
        let digits = Chance::default().digits(1000);
        assert!(digits.len() == 1000 && (b'0'..=b'9').all(|digit| digits.as_bytes().contains(&digit)));
    }
}
