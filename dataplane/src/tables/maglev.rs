//! Which backend a flow takes: a table in which every backend has as many places as its weight says,
//! and keeps nearly all of them when others come or go (Eisenbud et al., "Maglev", NSDI 2016 §3.4).
//!
//! Every backend has an order of preference over all places, made from a hash of its own. In turns
//! each takes the place it likes best among those left. When the turns go round evenly, so do the
//! places; a backend of twice the weight has two turns to another's one.
//!
//! Memory: one byte a place up to 256 backends, two beyond; none for a single backend.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU16;

/// A built table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maglev(Places);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Places {
    None,
    /// All belong to this one.
    One(u16),
    Few(Box<[u8]>),
    Many(Box<[u16]>),
}

/// A backend that asks for places.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// What the table answers with.
    pub index: u16,
    /// Of whatever tells it from the others, wherever and whenever the table is built.
    pub hash: u64,
    /// Its turns beside the others'.
    pub weight: NonZeroU16,
}

impl Maglev {
    /// A table of `size` places, a prime; at least as many as there are candidates, or some get
    /// none. The order of the candidates does not matter, but among those of the same hash.
    pub fn new(candidates: &[Candidate], size: u32) -> Maglev {
        let mut turns = candidates.to_vec();
        turns.sort_by_key(|candidate| candidate.hash);
        let highest = turns.iter().map(|candidate| candidate.index).max();
        Maglev(match (&turns[..], highest) {
            ([], _) | (_, None) => Places::None,
            ([only], _) => Places::One(only.index),
            (_, Some(highest)) if highest < 256 => {
                Places::Few(fill(&turns, size, |index| index as u8))
            }
            _ => Places::Many(fill(&turns, size, |index| index)),
        })
    }

    /// The candidate that has the place of this hash; `None` if there were none.
    #[inline]
    pub fn pick(&self, hash: u64) -> Option<u16> {
        match &self.0 {
            Places::None => None,
            Places::One(index) => Some(*index),
            Places::Few(places) => places
                .get(place(hash, places.len()))
                .copied()
                .map(u16::from),
            Places::Many(places) => places.get(place(hash, places.len())).copied(),
        }
    }

    /// What it takes, in bytes.
    pub fn memory(&self) -> usize {
        match &self.0 {
            Places::None | Places::One(_) => 0,
            Places::Few(places) => places.len(),
            Places::Many(places) => 2 * places.len(),
        }
    }
}

/// Multiplies instead of dividing: the upper bits of the hash say where.
fn place(hash: u64, size: usize) -> usize {
    ((u128::from(hash) * size as u128) >> 64) as usize
}

/// Gives out all places, turn by turn.
fn fill<T: Copy + Default>(turns: &[Candidate], size: u32, entry: impl Fn(u16) -> T) -> Box<[T]> {
    let mut places = vec![T::default(); size as usize].into_boxed_slice();
    let mut left = Left::new(size);
    let mut preferences: Vec<_> = turns
        .iter()
        .map(|it| Preference::new(it.hash, size))
        .collect();
    let mut order = Turns::new(turns);
    for _ in 0..size {
        let turn = order.next();
        let place = preferences[turn].best_of(&mut left);
        places[place as usize] = entry(turns[turn].index);
    }
    places
}

/// The places that nobody has yet, one bit each: small enough for the first-level cache, which is
/// what the filling spends its time on.
struct Left(Vec<u64>);

impl Left {
    fn new(size: u32) -> Left {
        Left(vec![u64::MAX; size.div_ceil(64) as usize])
    }

    /// Takes a place, if it was left.
    #[inline]
    fn take(&mut self, place: u32) -> bool {
        let (word, bit) = (&mut self.0[place as usize / 64], 1 << (place % 64));
        let was_left = *word & bit != 0;
        *word &= !bit;
        was_left
    }
}

/// The places in the order in which a backend likes them: every one once, since the size is a prime.
struct Preference {
    next: u32,
    skip: u32,
    size: u32,
}

impl Preference {
    fn new(hash: u64, size: u32) -> Preference {
        let (offset, skip) = (hash >> 32, hash & u64::from(u32::MAX));
        Preference {
            next: (offset % u64::from(size)) as u32,
            skip: (skip % u64::from(size - 1)) as u32 + 1,
            size,
        }
    }

    #[inline]
    fn best_of(&mut self, left: &mut Left) -> u32 {
        loop {
            let place = self.next;
            // Both are below the size, which is below 2^31.
            let next = place + self.skip;
            self.next = match next >= self.size {
                true => next - self.size,
                false => next,
            };
            if left.take(place) {
                return place;
            }
        }
    }
}

/// Whose turn it is. In which order two backends have theirs does not depend on a third, so that
/// one that goes leaves the turns of the others as they were.
enum Turns {
    /// All weights are the same: round and round.
    Even { next: usize, count: usize },
    /// The n-th turn of a backend is due at n / weight.
    Weighted {
        due: BinaryHeap<Reverse<(u64, usize)>>,
        /// Between two turns of each.
        pause: Vec<u64>,
    },
}

impl Turns {
    fn new(turns: &[Candidate]) -> Turns {
        let first = turns.first().map(|it| it.weight);
        if turns.iter().all(|it| Some(it.weight) == first) {
            let count = turns.len();
            return Turns::Even { next: 0, count };
        }
        let pause = |it: &Candidate| (1 << 32) / u64::from(it.weight.get());
        let pause: Vec<u64> = turns.iter().map(pause).collect();
        let due = pause.iter().enumerate();
        Turns::Weighted {
            due: due.map(|(turn, pause)| Reverse((*pause, turn))).collect(),
            pause,
        }
    }

    #[inline]
    fn next(&mut self) -> usize {
        match self {
            Turns::Even { next, count } => {
                let turn = *next;
                *next = if turn + 1 == *count { 0 } else { turn + 1 };
                turn
            }
            Turns::Weighted { due, pause } => match due.peek_mut() {
                Some(mut first) => {
                    let Reverse((at, turn)) = *first;
                    // A table has less than 2^31 places: no sum of that many pauses overflows.
                    *first = Reverse((at + pause[turn], turn));
                    turn
                }
                None => unreachable!("a table is filled for two candidates or more"),
            },
        }
    }
}

/// Whether a number has no divisor but one and itself.
pub fn is_prime(number: u32) -> bool {
    let divisors = (2..).take_while(|it: &u32| it * it <= number);
    number >= 2 && divisors.into_iter().all(|it| !number.is_multiple_of(it))
}

#[cfg(test)]
mod tests;
