//! Sets of a page's slots.

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits([u64; 4]);

impl Bits {
    /// The set of these bits.
    pub fn of(words: [u64; 4]) -> Self {
        Bits(words)
    }

    /// Whether the slot is in the set.
    #[inline]
    pub fn has(&self, slot: u8) -> bool {
        self.0[usize::from(slot >> 6)] >> (slot & 63) & 1 == 1
    }

    /// Puts a slot into the set or takes it out.
    pub fn set(&mut self, slot: u8, member: bool) {
        let bit = 1 << (slot & 63);
        let word = &mut self.0[usize::from(slot >> 6)];
        *word = if member { *word | bit } else { *word & !bit };
    }

    /// The least slot that is not in the set.
    pub fn first_clear(&self) -> Option<u8> {
        let word = self.0.iter().position(|&word| word != u64::MAX)?;
        u8::try_from(word * 64 + self.0[word].trailing_ones() as usize).ok()
    }

    /// The slots in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().enumerate().flat_map(|(word, &bits)| {
            let mut left = bits;
            std::iter::from_fn(move || {
                let lowest = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (lowest < 64).then(|| (word * 64) as u8 + lowest as u8)
            })
        })
    }

    /// Those that are not in another set.
    pub fn without(self, other: &Bits) -> Self {
        let mut left = self;
        left.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
        left
    }

    /// How many there are.
    pub fn count(&self) -> u16 {
        self.0.iter().map(|word| word.count_ones() as u16).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}
