//! The way between the fabric and this node's own kernel: frames pass as they
//! are, so the node stays reachable through the NIC that vrouter took.

use encap::Buffer;

use super::{Burst, Context, Next};
use crate::reason::DropReason;
use crate::tables::Tables;

/// Frames from the kernel go out of the uplink.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    let uplink = context.tables.underlay().fabrics.first();
    for (_, lane) in burst.iter_mut() {
        if !matches!(lane.next, Next::Drop(_)) {
            lane.next = uplink.map_or(Next::Drop(DropReason::NoUnderlayRoute), |uplink| {
                Next::Emit(*uplink)
            });
        }
    }
}

/// What the fabric sent and is not the vrouter's: to the kernel.
pub fn deliver(tables: &Tables) -> Next {
    let host = tables.underlay().host;
    host.map_or(Next::Drop(DropReason::NoHost), Next::Emit)
}
