//! Random numbers for weights: fast, and the same for a seed on every machine and number of threads.

/// xoshiro256++ of Blackman and Vigna.
#[derive(Clone, Debug)]
pub(super) struct Random([u64; 4]);

impl Random {
    /// A stream of its own for each part of a file.
    pub(super) fn new(seed: u64, part: u64) -> Self {
        let mut state = seed ^ part.wrapping_mul(0xd134_2543_de82_ef95);
        Self(std::array::from_fn(|_| splitmix(&mut state)))
    }

    pub(super) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below a limit; the tiny bias does not matter for what it is used for.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Fills with numbers of a standard deviation, spread evenly around 0: as good as a bell curve for weights, and
    /// several times faster.
    pub(super) fn fill(&mut self, numbers: &mut [f32], deviation: f32) {
        // An even spread over (-1, 1) has the deviation 1/sqrt(3). The integers have 31 bits and a sign.
        let scale = deviation * 3_f32.sqrt() / 2_147_483_648.0;
        for pair in numbers.chunks_mut(2) {
            let bits = self.next();
            pair[0] = (bits as u32).cast_signed() as f32 * scale;
            if let Some(second) = pair.get_mut(1) {
                *second = ((bits >> 32) as u32).cast_signed() as f32 * scale;
            }
        }
    }
}

/// Spreads a seed over the state, as the generator's authors advise.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_what_was_asked_for() {
        let mut numbers = vec![0.0; 100_001];
        Random::new(1, 2).fill(&mut numbers, 0.5);
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        let variance = numbers.iter().map(|number| number * number).sum::<f32>() / numbers.len() as f32;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "{}", variance.sqrt());
    }

    #[test]
    fn parts_and_seeds_differ() {
        let first = |seed, part| Random::new(seed, part).next();
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(first(1, 1), first(2, 1));
    }
}
