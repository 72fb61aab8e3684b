//! The ports of one address: which are taken, and the choice of one that is not.
//!
//! One bit a port and transport, 24 KiB an address. Taking a port is one atomic `fetch_or`, so two
//! workers never take the same; whoever took it gives it back. The choice is random (RFC 6056 §3.3):
//! eight draws over the whole range, which find a free one nearly always while a tenth is free; then
//! the words of the range are gone through from a random one, and within a word the draw says which
//! of its free bits.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arrayvec::ArrayVec;

use super::transport::Transport;

const WORDS: usize = 65_536 / 64;
const DRAWS: u32 = 8;
/// Ports below this are for the well-known (RFC 4787 REQ-3 a).
const FIRST_HIGH: u16 = 1024;

/// The ports of one address.
#[derive(Debug)]
pub struct Ports {
    taken: [Box<[AtomicU64]>; 3],
    count: [AtomicU32; 3],
}

/// Ports that would do: a range, and of it perhaps the even or the odd ones only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    range: RangeInclusive<u16>,
    /// 0 or 1: the lowest bit that the port must have.
    parity: Option<u16>,
}

impl Ports {
    /// All free.
    pub fn new() -> Ports {
        let none = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Ports {
            taken: [none(), none(), none()],
            count: Default::default(),
        }
    }

    /// The same ports, taken as they are now, for trying things out.
    pub(super) fn apart(&self) -> Ports {
        let word = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        let copy = |taken: &[AtomicU64]| taken.iter().map(word).collect();
        Ports {
            taken: self.taken.each_ref().map(|taken| copy(taken)),
            count: Default::default(),
        }
    }

    /// Takes a random port that fulfils a wish; `None` if there is none.
    pub fn take(&self, transport: Transport, wish: &Wish, random: u64) -> Option<u16> {
        let taken = &self.taken[transport as usize];
        let port = wish
            .draw(taken, random)
            .or_else(|| wish.search(taken, random))?;
        self.count[transport as usize].fetch_add(1, Ordering::Relaxed);
        Some(port)
    }

    /// Takes this port, if it is free.
    pub(super) fn hold(&self, transport: Transport, port: u16) -> bool {
        let is_held = take(&self.taken[transport as usize], port);
        self.count[transport as usize].fetch_add(is_held.into(), Ordering::Relaxed);
        is_held
    }

    /// All that are taken, in order.
    pub(super) fn all_taken(&self, transport: Transport) -> impl Iterator<Item = u16> {
        let words = self.taken[transport as usize].iter().enumerate();
        words.flat_map(|(index, word)| {
            let word = word.load(Ordering::Relaxed);
            let bits = (0..64).filter(move |bit| word >> bit & 1 != 0);
            bits.map(move |bit| (index * 64) as u16 + bit)
        })
    }

    /// Gives a port back.
    pub fn give_back(&self, transport: Transport, port: u16) {
        let (word, bit) = place(port);
        let before = self.taken[transport as usize][word].fetch_and(!bit, Ordering::AcqRel);
        if before & bit != 0 {
            self.count[transport as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// True if the port is taken: one load.
    #[inline]
    pub fn is_taken(&self, transport: Transport, port: u16) -> bool {
        let (word, bit) = place(port);
        self.taken[transport as usize][word].load(Ordering::Relaxed) & bit != 0
    }

    /// How many are taken.
    pub fn taken(&self, transport: Transport) -> u32 {
        self.count[transport as usize].load(Ordering::Relaxed)
    }
}

impl Default for Ports {
    fn default() -> Self {
        Ports::new()
    }
}

impl Wish {
    /// What would do for a machine's port, best first: of its own kind, below 1024 or not (RFC 4787
    /// REQ-3 a), and for UDP of its parity (REQ-4). Parity gives way before a port is refused, and a
    /// port below 1024 is replaced by a higher one; the reverse only where a range has no others.
    pub fn for_port(
        transport: Transport,
        inside: u16,
        range: &RangeInclusive<u16>,
    ) -> ArrayVec<Wish, 4> {
        let (start, end) = (*range.start(), *range.end());
        let low = start..=end.min(FIRST_HIGH - 1);
        let high = start.max(FIRST_HIGH)..=end;
        let ranges = match (transport, inside < FIRST_HIGH) {
            (Transport::Icmp, _) => [Some(range.clone()), None],
            (_, true) => [Some(low), Some(high)],
            (_, false) if high.is_empty() => [Some(low), None],
            (_, false) => [Some(high), None],
        };
        let parity = (transport == Transport::Udp).then_some(inside & 1);
        let mut wishes = ArrayVec::new();
        let some = ranges.into_iter().flatten();
        for range in some.filter(|range| !range.is_empty()) {
            if parity.is_some() {
                let range = range.clone();
                wishes.push(Wish { range, parity });
            }
            let parity = None;
            wishes.push(Wish { range, parity });
        }
        wishes
    }

    /// A few draws over the whole range.
    fn draw(&self, taken: &[AtomicU64], random: u64) -> Option<u16> {
        let (start, end) = (u64::from(*self.range.start()), u64::from(*self.range.end()));
        let mut state = random;
        for _ in 0..DRAWS {
            state = mix(state);
            let port = (start + (((state >> 32) * (end + 1 - start)) >> 32)) as u16;
            let port = match self.parity {
                Some(parity) => port & !1 | parity,
                None => port,
            };
            if self.range.contains(&port) && take(taken, port) {
                return Some(port);
            }
        }
        None
    }

    /// Every word, from a random one on.
    fn search(&self, taken: &[AtomicU64], random: u64) -> Option<u16> {
        let random = mix(!random);
        let (first, _) = place(*self.range.start());
        let (last, _) = place(*self.range.end());
        let words = last - first + 1;
        let start = (random >> 32) as usize % words;
        for step in 0..words {
            let word = first + (start + step) % words;
            while let Some(port) = self.free_in(taken, word, random as u32 & 63) {
                if take(taken, port) {
                    return Some(port);
                }
            }
        }
        None
    }

    /// A free port of a word: the first from a bit on, and around.
    fn free_in(&self, taken: &[AtomicU64], word: usize, from: u32) -> Option<u16> {
        let free = !taken[word].load(Ordering::Relaxed) & self.mask(word);
        let bit = (free.rotate_right(from).trailing_zeros() + from) & 63;
        (free != 0).then_some((word * 64) as u16 + bit as u16)
    }

    /// The ports of a word that would do.
    fn mask(&self, word: usize) -> u64 {
        let (first, start) = (word * 64, usize::from(*self.range.start()));
        let end = usize::from(*self.range.end());
        let from_start = u64::MAX << start.saturating_sub(first).min(63);
        let to_end = u64::MAX >> (first + 63).saturating_sub(end).min(63);
        let parity = match self.parity {
            None => u64::MAX,
            Some(parity) => 0x5555_5555_5555_5555 << parity,
        };
        from_start & to_end & parity
    }
}

fn take(taken: &[AtomicU64], port: u16) -> bool {
    let (word, bit) = place(port);
    // Looked at first, so that a draw that fails writes nothing.
    taken[word].load(Ordering::Relaxed) & bit == 0
        && taken[word].fetch_or(bit, Ordering::AcqRel) & bit == 0
}

fn place(port: u16) -> (usize, u64) {
    (usize::from(port / 64), 1 << (port % 64))
}

/// Spreads every bit over all bits (the finaliser of MurmurHash3).
pub(super) fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: RangeInclusive<u16> = 1..=65_535;

    fn take_all(ports: &Ports, transport: Transport, wishes: &[Wish]) -> Vec<u16> {
        let next = |random: u64| {
            let mut wishes = wishes.iter();
            wishes.find_map(|wish| ports.take(transport, wish, random))
        };
        (1..).map_while(|n: u64| next(mix(n))).collect()
    }

    #[test]
    fn every_port_of_a_range_is_given_once() {
        for (range, transport) in [
            (1024..=1024, Transport::Tcp),
            (1000..=1100, Transport::Icmp),
            (60_001..=65_535, Transport::Tcp),
        ] {
            let ports = Ports::new();
            let wishes = Wish::for_port(transport, 40_000, &range);
            let mut given = take_all(&ports, transport, &wishes);
            assert_eq!(given.len() as u32, ports.taken(transport));
            given.sort_unstable();
            let high = transport != Transport::Icmp;
            let want: Vec<u16> = range.filter(|port| !high || *port >= 1024).collect();
            assert_eq!(given, want);
        }
    }

    #[test]
    fn low_ports_stay_low_and_high_ones_high() {
        let ports = Ports::new();
        let low = take_all(
            &ports,
            Transport::Tcp,
            &Wish::for_port(Transport::Tcp, 80, &(1..=1030)),
        );
        assert_eq!(low.len(), 1030);
        assert!(low[..1023].iter().all(|port| *port < 1024));
        let ports = Ports::new();
        let high = Wish::for_port(Transport::Tcp, 1024, &(1..=1030));
        let high = take_all(&ports, Transport::Tcp, &high);
        assert_eq!(high.len(), 7);
        // A range without high ports has to do.
        let ports = Ports::new();
        let only_low = Wish::for_port(Transport::Tcp, 50_000, &(1..=10));
        assert_eq!(take_all(&ports, Transport::Tcp, &only_low).len(), 10);
    }

    #[test]
    fn udp_keeps_the_parity_while_there_are_such_ports() {
        let ports = Ports::new();
        let wishes = Wish::for_port(Transport::Udp, 5_001, &(2_000..=2_099));
        let given = take_all(&ports, Transport::Udp, &wishes);
        assert_eq!(given.len(), 100);
        assert!(given[..50].iter().all(|port| port % 2 == 1));
    }

    #[test]
    fn ports_do_not_come_in_runs() {
        let ports = Ports::new();
        let wish = &Wish::for_port(Transport::Tcp, 5_000, &ALL)[0];
        let take = |n: u64| ports.take(Transport::Tcp, wish, mix(n)).expect("room");
        let given: Vec<u16> = (0..10_000).map(take).collect();
        let longest = given.windows(4).filter(|some| {
            let steps = some.windows(2).map(|two| two[1].wrapping_sub(two[0]));
            steps.into_iter().all(|step| step == 1)
        });
        assert_eq!(longest.count(), 0);
    }

    #[test]
    fn transports_are_apart_and_what_is_given_back_is_free() {
        let ports = Ports::new();
        let wish = &Wish::for_port(Transport::Tcp, 5_000, &(7_000..=7_000))[0];
        assert_eq!(ports.take(Transport::Tcp, wish, 1), Some(7_000));
        assert_eq!(ports.take(Transport::Tcp, wish, 2), None);
        assert_eq!(ports.take(Transport::Icmp, wish, 2), Some(7_000));
        assert!(ports.is_taken(Transport::Tcp, 7_000) && !ports.is_taken(Transport::Udp, 7_000));
        ports.give_back(Transport::Tcp, 7_000);
        ports.give_back(Transport::Tcp, 7_000);
        assert_eq!(ports.taken(Transport::Tcp), 0);
        assert_eq!(ports.take(Transport::Tcp, wish, 3), Some(7_000));
    }
}
