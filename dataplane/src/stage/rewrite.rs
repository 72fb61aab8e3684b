//! What routing does to the packet itself: other addresses and ports, where its
//! flow says so; TTL or hop limit minus one, checksum kept right (RFC 1812
//! §5.3.1, RFC 8200 §3, RFC 1624); and the segment size that a SYN announces
//! lowered to what the vrfs let through that it passes.

use encap::{Buffer, Network, mss, tcp};

use super::{Burst, Context, Lane, Layer, Next, Translated, translate};

/// By how much less a segment of TCP over IPv6 carries.
const LONGER_HEADER: u16 = 20;

/// Every routed packet; its TTL was found to be above one when it was classified.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (index, (packet, lane)) in burst.packets.iter_mut().zip(&mut burst.lanes).enumerate() {
        let Next::Forward(nexthop, Layer::Routed) = lane.next else {
            continue;
        };
        let was = lane.meta.network;
        if lane.is_special
            && lane.translated == Translated::No
            && let Some(hit) = &burst.hits[index]
            && hit.is_translated()
            && let Some(next) = translate::packet(context, lane, hit, packet, nexthop)
        {
            lane.next = next;
            continue;
        }
        encap::rewrite::decrement_ttl(packet.bytes_mut(), &lane.meta);
        if lane.meta.is_tcp() && lane.meta.l4_flags & tcp::SYN != 0 {
            clamp_mss(context, lane, was, packet.bytes_mut());
        }
    }
}

/// Of two vrfs the smaller one counts. What comes from IPv4 is answered over IPv6: the answers are
/// longer there than where the limit was meant.
fn clamp_mss(context: &Context, lane: &Lane, was: Network, frame: &mut [u8]) {
    let clamp = |vrf| context.tables.vrf(vrf)?.tcp_mss_clamp;
    let clamps = [clamp(lane.vrf), clamp(lane.exit_vrf())];
    if let Some(most) = clamps.into_iter().flatten().min() {
        let grows = was == Network::Ipv4 && lane.meta.network == Network::Ipv6;
        let less = if grows { LONGER_HEADER } else { 0 };
        mss::clamp(frame, &lane.meta, most.saturating_sub(less));
    }
}
