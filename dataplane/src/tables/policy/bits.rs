//! A set of positions of rules, made to be cut with others: a tree of three levels of 64.
//!
//! A word of each level says which words below it are there, and only those are kept, the second
//! level before the third. So a set of one costs three words, and of a dense one a word of 64
//! positions each. To cut sets, `and` their words from the top: what is left of the first two
//! levels says which words of the third are worth looking at.

/// Positions there are.
pub(super) const CAPACITY: u32 = 64 * 64 * 64;

/// The set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    /// Groups of 4096 positions that are there.
    groups: u64,
    /// For each of them its words that are there; then those words, group by group.
    data: Vec<u64>,
}

impl Bits {
    /// Puts a position below [`CAPACITY`] in; in ascending order that is cheapest.
    pub(super) fn insert(&mut self, position: u32) {
        let (group, word, bit) = split(position);
        if self.groups & 1 << group == 0 {
            self.groups |= 1 << group;
            self.data.insert(rank(self.groups, group), 0);
        }
        let at = self.place(group, word);
        let mask = &mut self.data[rank(self.groups, group)];
        if *mask & 1 << word == 0 {
            *mask |= 1 << word;
            self.data.insert(at, 0);
        }
        self.data[at] |= 1 << bit;
    }

    /// Takes a position out.
    pub(super) fn remove(&mut self, position: u32) {
        let (group, word, bit) = split(position);
        if self.word(group, word) & 1 << bit == 0 {
            return;
        }
        let at = self.place(group, word);
        self.data[at] &= !(1 << bit);
        if self.data[at] != 0 {
            return;
        }
        self.data.remove(at);
        let place = rank(self.groups, group);
        self.data[place] &= !(1 << word);
        if self.data[place] == 0 {
            self.data.remove(place);
            self.groups &= !(1 << group);
        }
    }

    /// True without positions.
    pub(super) fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// The lowest position.
    #[cfg(test)]
    pub(super) fn first(&self) -> Option<u32> {
        let group = (!self.is_empty()).then(|| self.groups.trailing_zeros())?;
        let word = self.words(group).trailing_zeros();
        let bit = self.word(group, word).trailing_zeros();
        Some(group << 12 | word << 6 | bit)
    }

    /// The groups that have positions, a bit each.
    #[inline]
    pub(super) fn groups(&self) -> u64 {
        self.groups
    }

    /// The words of a group that have positions, a bit each.
    #[inline]
    pub(super) fn words(&self, group: u32) -> u64 {
        match self.groups & 1 << group {
            0 => 0,
            _ => self.data[rank(self.groups, group)],
        }
    }

    /// The positions of a word, a bit each.
    #[inline]
    pub(super) fn word(&self, group: u32, word: u32) -> u64 {
        match self.words(group) & 1 << word {
            0 => 0,
            _ => self.data[self.place(group, word)],
        }
    }

    /// Where a word of a group that is there stands, or would stand.
    fn place(&self, group: u32, word: u32) -> usize {
        let before = rank(self.groups, group);
        let words = self.data[..before].iter().map(|mask| mask.count_ones());
        let own = rank(self.data[before], word);
        (self.groups.count_ones() + words.sum::<u32>()) as usize + own
    }
}

/// The numbers of the bits that are set, lowest first.
pub(super) fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(lowest)
    })
}

/// How many bits are set below `place`.
#[inline]
fn rank(set: u64, place: u32) -> usize {
    (set & ((1 << place) - 1)).count_ones() as usize
}

fn split(position: u32) -> (u32, u32, u32) {
    (position >> 12 & 63, position >> 6 & 63, position & 63)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn positions(bits: &Bits) -> Vec<u32> {
        let mut all = Vec::new();
        for group in ones(bits.groups()) {
            for word in ones(bits.words(group)) {
                let set = ones(bits.word(group, word));
                all.extend(set.map(|bit| group << 12 | word << 6 | bit));
            }
        }
        all
    }

    #[test]
    fn it_holds_what_a_set_holds_after_any_insertions_and_removals() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = |bound: u32| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 20) as u32 % bound
        };
        let (mut bits, mut model) = (Bits::default(), BTreeSet::new());
        for step in 0..30_000 {
            // Sparse and dense neighbourhoods, and both ends.
            let position = match next(3) {
                0 => next(CAPACITY),
                1 => 5_000 + next(300),
                _ => CAPACITY - 1 - next(100),
            };
            match next(3) {
                0 => {
                    bits.remove(position);
                    model.remove(&position);
                }
                _ => {
                    bits.insert(position);
                    model.insert(position);
                }
            }
            assert_eq!(bits.first(), model.first().copied());
            if step % 1_000 == 0 {
                assert_eq!(positions(&bits), model.iter().copied().collect::<Vec<_>>());
            }
        }
        for position in model {
            bits.remove(position);
        }
        assert_eq!(bits, Bits::default());
    }
}
