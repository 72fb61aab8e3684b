//! The first word of an entry: which flow is in it, and how far it is.
//!
//! ```text
//! 63        40 39         8   3       2    1 0
//! | sequence  |  version  | writing | ipv6 | state |
//! ```
//!
//! - *version* counts the uses of the entry. Both entries of a pair have the
//!   same. It changes before anything of a former flow is overwritten, so a
//!   reader that finds the stamp unchanged after copying has copied one flow.
//! - *sequence* counts changes of the action within a use; its lowest bit says
//!   which of the two copies of the action to read. It sits at the top, so it
//!   can be counted up by an addition that overflows into nothing.
//! - *state* and *writing* are decided on the forward entry's stamp, which is
//!   the pair's; the reverse entry's state follows it.

/// Life of a pair, in order; only a pair that loses a race skips `Live`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// In the free list, or owned by a worker that is about to fill it.
    Free = 0,
    /// Filled and in the buckets, but not yet found by lookups.
    Pending = 1,
    /// Found by lookups.
    Live = 2,
    /// Removed, or beaten while pending; its owner is clearing it away.
    Dead = 3,
}

/// A value of the stamp word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    const IPV6: u64 = 1 << 2;
    const VERSION_SHIFT: u32 = 8;
    const SEQUENCE_SHIFT: u32 = 40;
    /// A worker is replacing the pair's actions.
    pub(crate) const WRITING: u64 = 1 << 3;
    /// Added to switch readers to the other copy of the action.
    pub(crate) const SWITCH: u64 = 1 << Self::SEQUENCE_SHIFT;

    /// An empty entry that will hold its `version`th flow.
    pub(crate) fn free(version: u32) -> Stamp {
        Stamp(u64::from(version) << Self::VERSION_SHIFT)
    }

    /// A filled entry of the pair in this state.
    pub(crate) fn filled(version: u32, ipv6: bool, state: State) -> Stamp {
        let family = if ipv6 { Self::IPV6 } else { 0 };
        Stamp(Stamp::free(version).0 | family | state as u64)
    }

    #[inline]
    pub(crate) fn version(self) -> u32 {
        (self.0 >> Self::VERSION_SHIFT) as u32
    }

    #[inline]
    pub(crate) fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Free,
            1 => State::Pending,
            2 => State::Live,
            _ => State::Dead,
        }
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
        self.0 & Self::SWITCH != 0
    }

    pub(crate) fn with_state(self, state: State) -> Stamp {
        Stamp(self.0 & !3 | state as u64)
    }

    pub(crate) fn with_writing(self) -> Stamp {
        Stamp(self.0 | Self::WRITING)
    }

    /// Whether this is the stamp of that flow, and lookups may find it.
    pub(crate) fn is_live(self, version: u32) -> bool {
        self.version() == version && self.state() == State::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_each_other() {
        let stamp = Stamp::filled(u32::MAX, true, State::Pending);
        assert_eq!(stamp.version(), u32::MAX);
        assert!(stamp.is_ipv6() && !stamp.is_writing() && !stamp.second_copy());
        let live = stamp.with_state(State::Live).with_writing();
        assert!(live.is_live(u32::MAX) && live.is_ipv6() && live.is_writing());
    }

    #[test]
    fn the_sequence_overflows_into_nothing() {
        let mut stamp = Stamp::filled(7, false, State::Live);
        let start = stamp;
        for _ in 0..1 << 24 {
            stamp = Stamp(stamp.0.wrapping_add(Stamp::SWITCH));
        }
        assert_eq!(stamp, start);
    }
}
