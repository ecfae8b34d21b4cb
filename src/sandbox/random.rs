//! Random numbers that a seed repeats.

/// A splitmix64 generator (Steele, Lea and Flood 2014): small, fast, and the same on every machine.
/// Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The generator that repeats for the same `seed`.
    pub(super) const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator that differs in each process.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub(super) fn from_os() -> Result<Self, getrandom::Error> {
        getrandom::u64().map(Self)
    }

    /// The next 64 bits.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 when `bound` is 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let bound = u64::from(bound.max(1));
        u32::try_from(self.next() % bound).expect("a remainder is below its divisor")
    }

    /// A number in `0.0..1.0`.
    pub(super) fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).expect("the upper half has 32 bits");
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// One of `choices`, which must not be empty.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(u32::try_from(choices.len()).unwrap_or(u32::MAX));
        choices[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers() {
        // The published test vector of splitmix64 for seed 1234567.
        let mut random = Random::from_seed(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_fraction_is_never_one() {
        let mut random = Random::from_seed(7);
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&random.fraction())));
    }
}
