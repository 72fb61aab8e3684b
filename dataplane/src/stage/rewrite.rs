//! What routing does to the packet itself: TTL or hop limit minus one, checksum
//! kept right (RFC 1812 §5.3.1, RFC 8200 §3, RFC 1624), and the segment size that
//! a SYN announces lowered to what the vrf lets through.

use encap::{Buffer, mss, tcp};

use super::{Burst, Context, Lane, Layer, Next};

/// Every routed packet; its TTL was found to be above one when it was classified.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if let Next::Forward(_, Layer::Routed) = lane.next {
            encap::rewrite::decrement_ttl(packet.bytes_mut(), &lane.meta);
            if lane.meta.is_tcp() && lane.meta.l4_flags & tcp::SYN != 0 {
                clamp_mss(context, lane, packet.bytes_mut());
            }
        }
    }
}

fn clamp_mss(context: &Context, lane: &Lane, frame: &mut [u8]) {
    let vrf = context.tables.vrf(lane.vrf);
    if let Some(most) = vrf.and_then(|vrf| vrf.tcp_mss_clamp) {
        mss::clamp(frame, &lane.meta, most);
    }
}
