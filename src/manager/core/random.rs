//! Randomness that is passed in: the same seed draws the same.

/// A small generator (SplitMix64, Steele, Lea and Flood 2014): good enough to spread clients, and nothing to keep.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The generator of a seed and of what it is for.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        Self(seed ^ purpose.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// Above 0 and below 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

/// Things that are drawn as often as they weigh, by number.
#[derive(Debug)]
pub(super) struct Weights {
    /// The sums up to each of them and with it.
    ends: Vec<f64>,
}

impl Weights {
    pub(super) fn new(weights: impl Iterator<Item = f64>) -> Self {
        let sum = |sum: &mut f64, weight: f64| {
            *sum += weight;
            Some(*sum)
        };
        Self { ends: weights.scan(0.0, sum).collect() }
    }

    /// What all weigh together.
    pub(super) fn total(&self) -> f64 {
        self.ends.last().copied().unwrap_or(0.0)
    }

    /// The number of one; 0 if there is none.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.total();
        self.ends.partition_point(|end| *end <= at).min(self.ends.len().saturating_sub(1))
    }
}
