//! What routing does to the packet itself: TTL or hop limit minus one, checksum
//! kept right (RFC 1812 §5.3.1, RFC 8200 §3, RFC 1624).

use encap::Buffer;

use super::{Burst, Layer, Next};

/// Every routed packet; its TTL was found to be above one when it was classified.
pub fn run<B: Buffer>(burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if let Next::Forward(_, Layer::Routed) = lane.next {
            encap::rewrite::decrement_ttl(packet.bytes_mut(), &lane.meta);
        }
    }
}
