//! The only chance in the crate: the jitter of election timeouts, from a seed.

/// Steele, Lea and Flood's SplitMix64: one word of state, no bad seeds, good enough to keep two
/// followers from campaigning at once and cheap enough to be part of a model-checked state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// Members are often started with one seed (a test, a copied configuration); their jitter
    /// must differ all the same, hence the stream.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(stream);
        Self(seed ^ mixed.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`; the bias of the multiply-shift is below 2^-32 for our bounds.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}
