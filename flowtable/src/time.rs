//! Time and lifetimes: ticks, lifetime classes and their timeouts.
//!
//! This crate reads no clock; `now` is an argument everywhere.

/// Milliseconds since the engine's start, wrapping after 49.7 days.
///
/// Two ticks compare correctly as long as they are less than 24.8 days apart,
/// which is why no timeout is longer than [`Timeouts::MAX_MS`].
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

/// State of a flow pair, which chooses its idle timeout: for TCP the state of
/// the connection (RFC 9293 §3.3.2), seen from the middle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// TCP, a SYN went forward.
    SynSent,
    /// TCP, the SYN was answered by one.
    SynReceived,
    /// TCP, handshake complete.
    Established,
    /// TCP, the forward side has sent its FIN.
    FinForward,
    /// TCP, the reverse side has sent its FIN.
    FinReverse,
    /// TCP, after both FINs or an RST.
    Closed,
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
    pub const ALL: [Class; 11] = [
        Class::SynSent,
        Class::SynReceived,
        Class::Established,
        Class::FinForward,
        Class::FinReverse,
        Class::Closed,
        Class::Udp,
        Class::UdpReplied,
        Class::Icmp,
        Class::Other,
        Class::Dropped,
    ];

    /// The class with this number, of which only the four lowest bits count.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Class {
        const BY_NUMBER: [Class; 16] = {
            let mut all = [Class::Dropped; 16];
            let mut number = 0;
            while number < Class::ALL.len() {
                all[number] = Class::ALL[number];
                number += 1;
            }
            all
        };
        BY_NUMBER[(bits & 15) as usize]
    }

    /// Whether the flow is one that a flood makes: a handshake not complete, or
    /// nothing but a drop. Their share of a table and of a quota is bounded,
    /// they time out first, and they are the first to be evicted.
    #[inline]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Class::SynSent | Class::SynReceived | Class::Dropped)
    }
}

/// Idle timeout per class, in milliseconds.
///
/// Defaults:
///
/// | class | s | |
/// |---|---|---|
/// | `Established` | 7440 | RFC 5382 REQ-5: at least 2 h 4 min |
/// | `FinForward`, `FinReverse`, `Closed` | 240 | RFC 5382 REQ-5: at least 4 min |
/// | `SynSent`, `SynReceived` | 20 | longer than a SYN waits for its first four repetitions (RFC 6298) |
/// | `UdpReplied` | 300 | RFC 4787 REQ-5: 5 min recommended, 2 min at least |
/// | `Udp` | 30 | nobody answered |
/// | `Icmp` | 60 | RFC 5508 REQ-2: at least 60 s |
/// | `Other` | 300 | |
/// | `Dropped` | 10 | |
///
/// RFC 5382 and RFC 4787 ask more of a translation nobody has answered yet (4
/// and 2 min): that is for whoever holds the translation to keep, the flow may
/// go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts([u32; Class::ALL.len()]);

impl Timeouts {
    /// Longest timeout there is, in milliseconds: 24 days. See [`Ticks`]; a flow
    /// may go a thirty-second late, and some rounds of the clock hand.
    pub const MAX_MS: u32 = 24 * 24 * 3600 * 1000;

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
            .with(Class::SynSent, 20_000)
            .with(Class::SynReceived, 20_000)
            .with(Class::Established, 7_440_000)
            .with(Class::FinForward, 240_000)
            .with(Class::FinReverse, 240_000)
            .with(Class::Closed, 240_000)
            .with(Class::Udp, 30_000)
            .with(Class::UdpReplied, 300_000)
            .with(Class::Icmp, 60_000)
            .with(Class::Other, 300_000)
            .with(Class::Dropped, 10_000)
    }
}

#[cfg(all(test, not(loom)))]
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
        for closing in [Class::FinForward, Class::FinReverse, Class::Closed] {
            assert!(timeouts.timeout_ms(closing) >= 240_000);
        }
        assert!(timeouts.timeout_ms(Class::UdpReplied) >= 120_000);
        assert!(timeouts.timeout_ms(Class::Icmp) >= 60_000);
    }

    #[test]
    fn half_open_flows_have_the_shortest_timeouts() {
        let timeouts = Timeouts::default();
        let longest = |half_open| {
            let of = Class::ALL
                .into_iter()
                .filter(move |c| c.is_half_open() == half_open);
            of.map(|class| timeouts.timeout_ms(class))
        };
        assert!(longest(true).max() < longest(false).min());
    }

    #[test]
    fn a_timeout_longer_than_the_clock_can_tell_is_shortened() {
        let timeouts = Timeouts::default().with(Class::Other, u32::MAX);
        assert_eq!(timeouts.timeout_ms(Class::Other), Timeouts::MAX_MS);
    }
}
