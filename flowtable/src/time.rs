//! Time and lifetimes: ticks, lifetime classes and their timeouts.
//!
//! This crate reads no clock; `now` is an argument everywhere.

/// Milliseconds since the engine's start, wrapping after 49.7 days.
///
/// Two ticks compare correctly as long as they are less than 24.8 days apart,
/// which is why no timeout is longer than that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ticks(pub u32);

impl Ticks {
    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is the later one.
    ///
    /// Workers read their clocks at different moments, so one may see a flow
    /// that another has touched "in the future". That flow is not idle.
    #[inline]
    pub fn since(self, earlier: Ticks) -> u32 {
        let elapsed = self.0.wrapping_sub(earlier.0);
        if elapsed > i32::MAX as u32 {
            0
        } else {
            elapsed
        }
    }

    /// This time plus `ms` milliseconds.
    #[inline]
    pub fn after(self, ms: u32) -> Ticks {
        Ticks(self.0.wrapping_add(ms))
    }

    /// The later one of two times.
    #[inline]
    pub fn latest(self, other: Ticks) -> Ticks {
        if self.since(other) > 0 { self } else { other }
    }
}

/// Lifetime class of a flow pair; it chooses the idle timeout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// TCP, handshake not complete.
    HalfOpen,
    /// TCP, handshake complete.
    Established,
    /// TCP, after FIN or RST.
    Closing,
    /// UDP seen in one direction only.
    Udp,
    /// UDP seen in both directions.
    UdpReplied,
    /// ICMP queries, both versions.
    Icmp,
    /// Any other protocol.
    Other,
    /// The verdict is a drop; the entry only saves deciding again.
    Dropped,
}

impl Class {
    /// Every class, in the order of its number.
    pub const ALL: [Class; 8] = [
        Class::HalfOpen,
        Class::Established,
        Class::Closing,
        Class::Udp,
        Class::UdpReplied,
        Class::Icmp,
        Class::Other,
        Class::Dropped,
    ];

    /// The class with this number; only the three lowest bits count.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Class {
        Class::ALL[(bits & 7) as usize]
    }
}

/// Idle timeout per class, in milliseconds.
///
/// Defaults:
///
/// | class | s | |
/// |---|---|---|
/// | `Established` | 7440 | RFC 5382 REQ-5: at least 2 h 4 min |
/// | `HalfOpen`, `Closing` | 240 | RFC 5382 REQ-5: at least 4 min |
/// | `UdpReplied` | 300 | RFC 4787 REQ-5: 5 min recommended, 2 min at least |
/// | `Udp` | 30 | nobody answered; a flow that must keep a translation for the RFC's 2 min is not in this class |
/// | `Icmp` | 60 | RFC 5508 REQ-2: at least 60 s |
/// | `Other` | 300 | |
/// | `Dropped` | 10 | |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts([u32; Class::ALL.len()]);

impl Timeouts {
    /// Longest timeout there is, in milliseconds: 24.8 days, see [`Ticks`].
    pub const MAX_MS: u32 = i32::MAX as u32;

    /// The same with another timeout for `class`, at most [`Timeouts::MAX_MS`].
    #[must_use]
    pub fn with(mut self, class: Class, timeout_ms: u32) -> Timeouts {
        self.0[class as usize] = timeout_ms.min(Self::MAX_MS);
        self
    }

    /// Timeout of `class` in milliseconds.
    #[inline]
    pub fn timeout_ms(&self, class: Class) -> u32 {
        self.0[class as usize]
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts([0; Class::ALL.len()])
            .with(Class::HalfOpen, 240_000)
            .with(Class::Established, 7_440_000)
            .with(Class::Closing, 240_000)
            .with(Class::Udp, 30_000)
            .with(Class::UdpReplied, 300_000)
            .with(Class::Icmp, 60_000)
            .with(Class::Other, 300_000)
            .with(Class::Dropped, 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_across_the_wrap() {
        let before = Ticks(u32::MAX - 10);
        assert_eq!(before.after(30).since(before), 30);
        assert_eq!(before.latest(before.after(30)), before.after(30));
    }

    #[test]
    fn a_touch_from_the_future_is_not_idle() {
        assert_eq!(Ticks(100).since(Ticks(105)), 0);
    }

    #[test]
    fn classes_survive_their_number() {
        for class in Class::ALL {
            assert_eq!(Class::from_bits(class as u64), class);
        }
    }

    #[test]
    fn defaults_keep_the_minima_of_the_rfcs() {
        let timeouts = Timeouts::default();
        assert!(timeouts.timeout_ms(Class::Established) >= 7_440_000);
        assert!(timeouts.timeout_ms(Class::HalfOpen) >= 240_000);
        assert!(timeouts.timeout_ms(Class::Closing) >= 240_000);
        assert!(timeouts.timeout_ms(Class::UdpReplied) >= 120_000);
        assert!(timeouts.timeout_ms(Class::Icmp) >= 60_000);
    }

    #[test]
    fn a_timeout_longer_than_the_clock_can_tell_is_shortened() {
        let timeouts = Timeouts::default().with(Class::Other, u32::MAX);
        assert_eq!(timeouts.timeout_ms(Class::Other), Timeouts::MAX_MS);
    }
}
