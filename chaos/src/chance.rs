//! Random numbers from a seed: every random choice of a run comes from here, so a seed plays the same run again.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// A separate stream for each subject under one seed: draws of one part do not shift the draws of another.
    pub(crate) fn of(seed: u64, subject: u64) -> Self {
        let mut chance = Self(seed ^ subject.wrapping_mul(0xd134_2543_de82_ef95));
        chance.next();
        Self(chance.next())
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `range`, whose end is exclusive.
    pub(crate) const fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// True once in this many cases.
    pub(crate) const fn one_in(&mut self, cases: u64) -> bool {
        self.next().is_multiple_of(cases)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = self.within(0..end as u64 + 1) as usize;
            items.swap(end, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_again_and_subjects_differ() {
        let drawn = |seed, subject| {
            let mut chance = Chance::of(seed, subject);
            [chance.next(), chance.next(), chance.next()]
        };
        assert_eq!(drawn(7, 1), drawn(7, 1));
        assert_ne!(drawn(7, 1), drawn(7, 2));
        assert_ne!(drawn(7, 1), drawn(8, 1));
    }
}
