//! How far a TCP connection is, as far as its segments tell whoever sees them pass: one word for each
//! direction, written with its counters.
//!
//! It is kept for resets alone (RFC 5961 §3): who cannot see a connection does not know what is
//! expected next, and a reset from such a one must not end the flow. Windows are not kept, so nothing
//! can be called out of its window, and nothing is (RFC 7323 §2: a middlebox that misses the scaling
//! would break connections).

use crate::lookup::Hit;
use crate::sync::Relaxed;
use crate::table::FlowTable;

/// How far one direction is. All zero while nothing is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// The sequence number after what was sent.
    pub next: u32,
    /// What it has acknowledged: the sequence number that it expects of the other direction.
    pub acked: u32,
}

/// What is so far behind was sent again; what is further is taken at its word.
const BEHIND: u32 = 1 << 22;

impl Progress {
    /// After a segment that ends before `next`, and acknowledges so much if it does: what was sent
    /// again takes nothing back.
    #[inline]
    pub(crate) fn after(self, next: u32, acked: Option<u32>) -> Progress {
        let later = |known: u32, new: u32| match known.wrapping_sub(new) <= BEHIND {
            true => known,
            false => new,
        };
        Progress {
            next: later(self.next, next),
            acked: acked.map_or(self.acked, |acked| later(self.acked, acked)),
        }
    }

    /// Whether the direction that is so far may end the connection with a reset of this number, the
    /// other one being as far as `other`.
    ///
    /// It is what the other end expects, as that end itself has said (RFC 5961 §3.2: exactly the next
    /// one), or what follows this direction's own segments, if those were such as the other end would
    /// take: near what it expects, and with an acknowledgement near what it had sent (RFC 5961 §5.2).
    /// Both ends must have been heard; before that there is nothing to hold a reset against.
    pub fn may_reset(self, sequence: u32, other: Progress) -> bool {
        let unknown = Progress::default();
        if self == unknown || other == unknown {
            return true;
        }
        let near = |a: u32, b: u32| a.wrapping_sub(b).wrapping_add(BEHIND) <= 2 * BEHIND;
        let is_plausible = near(self.next, other.acked) && near(self.acked, other.next);
        sequence == other.acked || (sequence == self.next && is_plausible)
    }

    #[inline]
    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.next) << 32 | u64::from(self.acked)
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Progress {
        Progress {
            next: (word >> 32) as u32,
            acked: word as u32,
        }
    }
}

impl FlowTable {
    /// Takes note of a TCP segment of the direction that was hit: the sequence number after it, and
    /// what it acknowledges if it does. Ignored if the flow is gone.
    #[inline]
    pub fn advance(&self, hit: &Hit, next: u32, acked: Option<u32>) {
        let entry = self.entry(hit.id);
        if entry.stamp(Relaxed).version() == hit.version() {
            entry.advance(next, acked);
        }
    }

    /// How far the direction that was hit is, and the other one.
    pub fn progress(&self, hit: &Hit) -> (Progress, Progress) {
        let other = self.entry(hit.id.partner());
        (self.entry(hit.id).progress(), other.progress())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(next: u32, acked: u32) -> Progress {
        Progress { next, acked }
    }

    #[test]
    fn what_is_sent_again_takes_nothing_back() {
        let far = at(1_000, 50).after(2_000, Some(40)).after(1_500, Some(60));
        assert_eq!(far.after(2_000, None), at(2_000, 60));
        let wrapped = at(u32::MAX - 5, 7).after(10, Some(7));
        assert_eq!(wrapped, at(10, 7));
        assert_eq!(wrapped.after(u32::MAX - 5, Some(7)), at(10, 7));
    }

    #[test]
    fn what_is_far_off_is_forgotten_by_the_next_one() {
        let misled = at(1_000, 50).after(1 << 30, Some(50));
        assert_eq!(misled.after(1_100, Some(50)), at(1_100, 50));
    }

    #[test]
    fn a_reset_is_the_next_one_exactly() {
        let (own, other) = (at(1_100, 500), at(500, 1_000));
        assert!(own.may_reset(1_000, other), "what the other end expects");
        assert!(own.may_reset(1_100, other), "after what is under way");
        for off in [1, 999, 1_001, 1_099, 1_101, 1_000 + 65_535, 1 << 31] {
            assert!(!own.may_reset(off, other), "{off}");
        }
    }

    #[test]
    fn who_guesses_cannot_make_a_reset_fit() {
        let other = at(500, 1_000);
        // Segments of somebody's own, far from the connection's, and a reset after them.
        for guessed in [at(1 << 30, 500), at(1_100, 1 << 30)] {
            assert!(!guessed.may_reset(guessed.next, other));
            assert!(
                guessed.may_reset(1_000, other),
                "the other end's word counts"
            );
        }
    }

    #[test]
    fn before_both_are_heard_any_reset_counts() {
        assert!(at(7, 8).may_reset(1, Progress::default()));
        assert!(Progress::default().may_reset(1, at(7, 8)));
    }
}
