//! Meters and mirrors.

use dataplane::tables::spec::{Meter, Mirror};

use super::problems::Problems;
use super::text;
use crate::proto;

/// A place for copies of packets.
pub(super) fn mirror(w: &proto::Mirror, p: &mut Problems) -> Option<Mirror> {
    let name = p.text("name", &w.name, text::name);
    let nexthop = p.text("nexthop", &w.nexthop, text::name);
    Some(Mirror {
        name: name?,
        nexthop: nexthop?,
    })
}

/// A limit in bits, in packets, or in both.
pub(super) fn meter(w: &proto::Meter, p: &mut Problems) -> Option<Meter> {
    // More than any machine has, and far from where sums of them overflow.
    const MOST_BITS: u64 = 10_000_000_000_000;
    const MOST_PACKETS: u64 = 10_000_000_000;
    // A bucket that no full frame fits in would let none of them through, ever.
    const LEAST_BURST: u64 = 1_500;
    let name = p.text("name", &w.name, text::name);
    if w.bits_per_second.is_none() && w.packets_per_second.is_none() {
        p.missing::<()>("", "bits_per_second, packets_per_second or both");
    }
    let bits_per_second = p.optional("bits_per_second", w.bits_per_second, |p, field, bits| {
        p.number(field, bits, 1..=MOST_BITS, "a rate in bits")
    });
    let burst_bytes = p.optional("burst_bytes", w.burst_bytes, |p, field, bytes| {
        p.number(field, bytes, LEAST_BURST..=u32::MAX.into(), "a burst")
    });
    let packets = w.packets_per_second;
    let packets_per_second = p.optional("packets_per_second", packets, |p, field, packets| {
        p.number(field, packets, 1..=MOST_PACKETS, "a rate in packets")
    });
    let burst_packets = p.optional("burst_packets", w.burst_packets, |p, field, packets| {
        p.number(field, packets, 1..=u32::MAX.into(), "a burst")
    });
    let pairs = [
        ("burst_bytes", w.burst_bytes, "bits", w.bits_per_second),
        ("burst_packets", w.burst_packets, "packets", packets),
    ];
    for (field, burst, unit, rate) in pairs {
        if burst.is_some() && rate.is_none() {
            let reason = format!("only goes with {unit}_per_second; leave it out");
            p.invalid::<()>(field, reason);
        }
    }
    Some(Meter {
        name: name?,
        bits_per_second: bits_per_second?,
        burst_bytes: burst_bytes?,
        packets_per_second: packets_per_second?,
        burst_packets: burst_packets?,
    })
}

impl From<&Mirror> for proto::Mirror {
    fn from(mirror: &Mirror) -> Self {
        proto::Mirror {
            name: mirror.name.to_string(),
            nexthop: mirror.nexthop.to_string(),
        }
    }
}

impl From<&Meter> for proto::Meter {
    fn from(meter: &Meter) -> Self {
        proto::Meter {
            name: meter.name.to_string(),
            bits_per_second: meter.bits_per_second,
            burst_bytes: meter.burst_bytes,
            packets_per_second: meter.packets_per_second,
            burst_packets: meter.burst_packets,
        }
    }
}
