//! The first word of an entry: which flow is in it, and how far it is.
//!
//! ```text
//! 63       42 41       10 9     6    5       4       3   2   0
//! | sequence |  version  | class | writing | second | ipv6 | state |
//! ```
//!
//! - *version* counts the uses of the entry. Both entries of a pair have the
//!   same. It changes before anything of a former flow is overwritten, so a
//!   reader that finds the stamp unchanged after copying has copied one flow.
//! - *sequence* counts changes of the action within a use, and *second* says
//!   which of the two copies of the action to read.
//! - *state*, *class* and *writing* are decided on the forward entry's stamp,
//!   which is the pair's; the reverse entry's state and class follow it. That
//!   class and life are one word lets an eviction be of a half-open flow or of
//!   none: a flow that has become established meanwhile is not exchanged.

use crate::time::Class;

/// Life of a pair, in order; a pair that loses a race goes from `Pending` to
/// `Beaten`, every other one to `Live`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum State {
    /// In a free list, or owned by a worker that is filling it.
    Free = 0,
    /// Filled and in the index, seen by rivals but not yet by lookups.
    Pending = 1,
    /// Found by lookups.
    Live = 2,
    /// Removed; who removed it is clearing it away.
    Dead = 3,
    /// Never went live: a rival did. Who filled it is clearing it away.
    Beaten = 4,
}

/// A value of the stamp word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    const STATE: u64 = 7;
    const IPV6: u64 = 1 << 3;
    const SECOND: u64 = 1 << 4;
    const CLASS_SHIFT: u32 = 6;
    const VERSION_SHIFT: u32 = 10;
    const SEQUENCE_SHIFT: u32 = 42;
    /// A worker is replacing the pair's actions.
    pub(crate) const WRITING: u64 = 1 << 5;
    /// The bits that tell whether there is anything unusual about an entry.
    pub(crate) const PLAIN: u64 = Self::STATE | Self::IPV6 | Self::SECOND;

    /// An empty entry that will hold its `version`th flow.
    pub(crate) fn free(version: u32) -> Stamp {
        Stamp(u64::from(version) << Self::VERSION_SHIFT)
    }

    /// A filled entry of a pair that may go live.
    pub(crate) fn pending(version: u32, ipv6: bool, class: Class) -> Stamp {
        let family = if ipv6 { Self::IPV6 } else { 0 };
        let class = (class as u64) << Self::CLASS_SHIFT;
        Stamp(Stamp::free(version).0 | class | family | State::Pending as u64)
    }

    #[inline]
    pub(crate) fn version(self) -> u32 {
        (self.0 >> Self::VERSION_SHIFT) as u32
    }

    #[inline]
    pub(crate) fn state(self) -> State {
        match self.0 & Self::STATE {
            0 => State::Free,
            1 => State::Pending,
            2 => State::Live,
            3 => State::Dead,
            _ => State::Beaten,
        }
    }

    #[inline]
    pub(crate) fn class(self) -> Class {
        Class::from_bits(self.0 >> Self::CLASS_SHIFT)
    }

    #[inline]
    pub(crate) fn is_ipv6(self) -> bool {
        self.0 & Self::IPV6 != 0
    }

    /// Whether a worker is replacing the actions.
    pub(crate) fn is_writing(self) -> bool {
        self.0 & Self::WRITING != 0
    }

    /// Whether the second copy of the action is the one to read.
    #[inline]
    pub(crate) fn second_copy(self) -> bool {
        self.0 & Self::SECOND != 0
    }

    /// What [`Stamp::PLAIN`] leaves of the stamp of an entry where lookups find
    /// a flow of this family, in the first copy of the action: of what nearly
    /// every hit is.
    #[inline]
    pub(crate) const fn plain(ipv6: bool) -> u64 {
        State::Live as u64 | if ipv6 { Self::IPV6 } else { 0 }
    }

    pub(crate) fn with_state(self, state: State) -> Stamp {
        Stamp(self.0 & !Self::STATE | state as u64)
    }

    pub(crate) fn with_class(self, class: Class) -> Stamp {
        Stamp(self.0 & !(15 << Self::CLASS_SHIFT) | (class as u64) << Self::CLASS_SHIFT)
    }

    /// Sends readers to the other copy of the action.
    pub(crate) fn switched(self) -> Stamp {
        Stamp((self.0 ^ Self::SECOND).wrapping_add(1 << Self::SEQUENCE_SHIFT))
    }

    pub(crate) fn with_writing(self) -> Stamp {
        Stamp(self.0 | Self::WRITING)
    }

    /// Whether this is the stamp of that flow, and lookups may find it.
    #[inline]
    pub(crate) fn is_live(self, version: u32) -> bool {
        self.version() == version && self.state() == State::Live
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let stamp = Stamp::pending(u32::MAX, true, Class::Dropped);
        assert_eq!(stamp.version(), u32::MAX);
        assert_eq!(
            (stamp.state(), stamp.class()),
            (State::Pending, Class::Dropped)
        );
        assert!(stamp.is_ipv6() && !stamp.is_writing() && !stamp.second_copy());
        let live = stamp.with_state(State::Live);
        assert_eq!(live.0 & Stamp::PLAIN, Stamp::plain(true));
        assert_ne!(live.0 & Stamp::PLAIN, Stamp::plain(false));
        assert_ne!(live.switched().0 & Stamp::PLAIN, Stamp::plain(true));
        let changed = live.with_writing().with_class(Class::SynSent);
        assert!(changed.is_live(u32::MAX) && changed.is_ipv6() && changed.is_writing());
        assert_eq!(changed.class(), Class::SynSent);
        let beaten = Stamp::pending(3, false, Class::Udp).with_state(State::Beaten);
        assert_eq!(
            (beaten.state(), beaten.class()),
            (State::Beaten, Class::Udp)
        );
    }

    #[test]
    fn the_sequence_overflows_into_nothing() {
        let start = Stamp::pending(7, false, Class::Other);
        let mut stamp = start;
        for _ in 0..1 << (64 - Stamp::SEQUENCE_SHIFT) {
            assert!(!stamp.second_copy());
            stamp = stamp.switched();
            assert!(stamp.second_copy() && stamp != start);
            stamp = stamp.switched();
        }
        assert_eq!(stamp, start);
    }
}
