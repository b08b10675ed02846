//! Generators of a study: each party of each run has its own, from the run's seed alone, so that a
//! table can be made again. A client of a service is never seeded.

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

/// The generator of one party (a client, by its number, or what `party` stands for) in one run.
pub fn generator(seed: u64, party: u64) -> ChaCha20Rng {
    let mut key = [0; 32];
    let (first, rest) = key.split_at_mut(8);
    first.copy_from_slice(&seed.to_le_bytes());
    let (second, _) = rest.split_at_mut(8);
    second.copy_from_slice(&party.to_le_bytes());
    ChaCha20Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn parties_and_seeds_have_streams_of_their_own() {
        let first = |seed, party| generator(seed, party).next_u64();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(2, 1));
        assert_ne!(first(1, 2), first(1, 3));
    }
}
