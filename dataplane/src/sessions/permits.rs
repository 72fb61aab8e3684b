//! To whom the machine behind a binding has sent: what filtering by address, or by address and port,
//! lets in (RFC 4787 §5).
//!
//! Flows remember the same, but not long enough: a question nobody answered is forgotten by the flow
//! table after half a minute, and its answer may come after two; and to another port of the same
//! address there is no flow.
//!
//! A table of fixed size: tags under a keyed hash, eight to a bucket, each with how many flows it
//! stands for, and when it ends after the last of them. A full bucket gives up what ends first; then that remote is
//! filtered once its flow is gone, which harms nobody. A tag has 63 bits, so a stranger is let in by
//! chance never. Only first packets and ends of flows come here, and hold one of 64 locks for a bucket
//! of two cache lines.

use std::sync::{Mutex, PoisonError};

use flowtable::Ticks;

const WAYS: usize = 8;
const STRIPES: usize = 64;

/// The table.
#[derive(Debug)]
pub(super) struct Permits {
    stripes: Box<[Mutex<Box<[Bucket]>>]>,
}

type Bucket = [Permit; WAYS];

/// A free place has tag 0.
#[derive(Clone, Copy, Debug, Default)]
struct Permit {
    tag: u64,
    flows: u32,
    /// When no flow is left.
    ends: Ticks,
}

impl Permits {
    /// Room for so many, rounded up.
    pub(super) fn new(capacity: usize) -> Permits {
        let buckets = capacity.div_ceil(WAYS * STRIPES).max(1);
        let stripe = || Mutex::new(vec![Bucket::default(); buckets].into());
        Permits {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
        }
    }

    /// Lets this tag in for one more flow, until [`Self::end`] says when that ends.
    pub(super) fn admit(&self, tag: u64, now: Ticks) {
        self.with_bucket(tag, |bucket, tag| {
            if let Some(permit) = bucket.iter_mut().find(|permit| permit.tag == tag) {
                permit.flows = permit.flows.saturating_add(1);
                return;
            }
            let worth = |permit: &Permit| match (permit.tag, permit.flows) {
                (0, _) => 0,
                (_, 0) => 1 + u64::from(permit.ends.since(now)),
                _ => u64::MAX,
            };
            let least = (0..WAYS).min_by_key(|way| worth(&bucket[*way]));
            bucket[least.unwrap_or(0)] = Permit {
                tag,
                flows: 1,
                ends: now,
            };
        });
    }

    /// A flow that this tag was admitted for is over; if it was the last, the tag is not let in from
    /// `at` on.
    pub(super) fn end(&self, tag: u64, at: Ticks) {
        self.with_bucket(tag, |bucket, tag| {
            if let Some(permit) = bucket.iter_mut().find(|permit| permit.tag == tag) {
                permit.flows = permit.flows.saturating_sub(1);
                permit.ends = permit.ends.latest(at);
            }
        });
    }

    /// Whether this tag is let in.
    pub(super) fn allows(&self, tag: u64, now: Ticks) -> bool {
        self.with_bucket(tag, |bucket, tag| {
            let mut found = bucket.iter().filter(|permit| permit.tag == tag);
            found.any(|permit| permit.flows > 0 || permit.ends.since(now) > 0)
        })
    }

    fn with_bucket<T>(&self, tag: u64, look: impl FnOnce(&mut Bucket, u64) -> T) -> T {
        let stripe = &self.stripes[tag as usize % STRIPES];
        let mut buckets = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (tag >> 20) as usize % buckets.len();
        look(&mut buckets[place], tag | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::mix;
    use super::*;

    #[test]
    fn a_tag_is_let_in_until_its_end() {
        let permits = Permits::new(1_000);
        assert!(!permits.allows(77, Ticks(0)));
        permits.admit(77, Ticks(0));
        assert!(permits.allows(77, Ticks(1 << 30)) && !permits.allows(79, Ticks(0)));
        permits.end(77, Ticks(500));
        assert!(permits.allows(77, Ticks(499)) && !permits.allows(77, Ticks(500)));
        permits.end(79, Ticks(500)); // nobody's
        permits.admit(77, Ticks(600));
        assert!(permits.allows(77, Ticks(700)));
    }

    #[test]
    fn a_full_table_gives_up_what_has_ended() {
        let permits = Permits::new(1);
        let tags: Vec<u64> = (1..10_000).map(mix).collect();
        for (now, tag) in tags.iter().enumerate() {
            permits.admit(*tag, Ticks(now as u32));
            permits.end(*tag, Ticks(now as u32 + 10));
            assert!(permits.allows(*tag, Ticks(now as u32 + 9)));
        }
    }
}
