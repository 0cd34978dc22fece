//! Where ids and keys come from.

use std::fmt;
use std::sync::{Arc, Mutex};

use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::hold;

/// Random numbers. Clones draw from the same source; the default is the operating system's.
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

    /// So many letters and digits.
    pub(super) fn letters(&self, count: usize) -> String {
        self.draw(|source| source.sample_iter(Alphanumeric).take(count).map(char::from).collect())
    }

    /// Any number.
    pub(super) fn number(&self) -> u128 {
        self.draw(|source| source.random())
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
        match &self.0 {
            None => draw(&mut rand::rng()),
            Some(seeded) => draw(&mut *hold(seeded)),
        }
    }
}
