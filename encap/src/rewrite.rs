//! Changes to a packet on its way through a router or a switch, in place.

use crate::{Buffer, Error, MacAddr, Meta, Network, VlanId, checksum, ethernet, ipv4, ipv6, vlan};

/// Lowers the TTL or hop limit by one, keeping the IPv4 checksum right (RFC 1624).
///
/// The caller has checked that more than one hop is left; what is not IP stays as it is.
pub fn decrement_ttl(frame: &mut [u8], meta: &Meta) {
    change_ttl(frame, meta, |ttl| ttl.wrapping_sub(1));
}

/// Lowers the TTL or hop limit to at most `ttl`, keeping the IPv4 checksum right: what leaves a tunnel
/// of the uniform model has no more hops left than its label had, and never more than it came with
/// (RFC 3443 §3.6.1, RFC 4023 §5.2). What is not IP stays as it is.
pub fn limit_ttl(frame: &mut [u8], meta: &Meta, ttl: u8) {
    change_ttl(frame, meta, |old| old.min(ttl));
}

/// [`set_macs`] and [`decrement_ttl`] in one, of a frame whose packet is plain and begins behind an
/// untagged Ethernet header. One too short stays as it is.
#[inline(always)]
pub fn route_plain(frame: &mut [u8], is_ipv4: bool, dst: MacAddr, src: MacAddr) {
    const TTL: usize = ethernet::LEN + 8;
    const HOP_LIMIT: usize = ethernet::LEN + 7;
    const CHECKSUM: usize = ethernet::LEN + 10;

    let Some(head) = frame.first_chunk_mut::<{ ethernet::LEN + ipv4::LEN }>() else {
        return;
    };
    head[..6].copy_from_slice(&dst.0);
    head[6..12].copy_from_slice(&src.0);
    if !is_ipv4 {
        head[HOP_LIMIT] = head[HOP_LIMIT].wrapping_sub(1);
        return;
    }
    // What is taken from the word that the TTL is the upper half of is the same for all.
    const LESS: u16 = 1 << 8;
    head[TTL] = head[TTL].wrapping_sub(1);
    let old = u16::from_be_bytes([head[CHECKSUM], head[CHECKSUM + 1]]);
    let new = checksum::update_u16(old, LESS, 0);
    head[CHECKSUM..CHECKSUM + 2].copy_from_slice(&new.to_be_bytes());
}

/// Undoes [`decrement_ttl`], for an error that quotes the packet as it came.
pub fn increment_ttl(frame: &mut [u8], meta: &Meta) {
    change_ttl(frame, meta, |ttl| ttl.wrapping_add(1));
}

#[inline]
fn change_ttl(frame: &mut [u8], meta: &Meta, change: impl FnOnce(u8) -> u8) {
    let packet = frame.get_mut(usize::from(meta.l3)..).unwrap_or_default();
    match meta.network {
        Network::Ipv4 => {
            let Ok((mut header, _)) = ipv4::Header::split_mut(packet) else {
                return;
            };
            // TTL is the high half of its 16-bit word; the low half cancels out.
            let old = u16::from(header.ttl()) << 8;
            header.set_ttl(change(header.ttl()));
            let new = u16::from(header.ttl()) << 8;
            header.set_checksum(checksum::update_u16(header.checksum(), old, new));
        }
        Network::Ipv6 => {
            if let Ok((mut header, _)) = ipv6::Header::split_mut(packet) {
                header.set_hop_limit(change(header.hop_limit()));
            }
        }
        Network::Arp | Network::Other => {}
    }
}

/// Sets DSCP and ECN, keeping the IPv4 checksum right; what is not IP stays as it is.
pub fn set_traffic_class(frame: &mut [u8], meta: &Meta, traffic_class: u8) {
    let packet = frame.get_mut(usize::from(meta.l3)..).unwrap_or_default();
    match meta.network {
        Network::Ipv4 => {
            let Ok((mut header, _)) = ipv4::Header::split_mut(packet) else {
                return;
            };
            let old = u16::from(header.traffic_class());
            header.set_traffic_class(traffic_class);
            // The other half of this 16-bit word does not change, so its value does not matter.
            let new = u16::from(traffic_class);
            header.set_checksum(checksum::update_u16(header.checksum(), old, new));
        }
        Network::Ipv6 => {
            if let Ok((mut header, _)) = ipv6::Header::split_mut(packet) {
                header.set_traffic_class(traffic_class);
            }
        }
        Network::Arp | Network::Other => {}
    }
}

/// Sets the addresses of the Ethernet frame that starts at `l2`; one too short stays as it is.
pub fn set_macs(frame: &mut [u8], l2: usize, dst: MacAddr, src: MacAddr) {
    let link = frame.get_mut(l2..).unwrap_or_default();
    if let Ok((mut header, _)) = ethernet::Header::split_mut(link) {
        header.set_dst(dst);
        header.set_src(src);
    }
}

/// Puts a VLAN tag into an Ethernet frame, priority 0, in front of one it may have.
///
/// # Errors
/// [`Error::Truncated`] if the packet is no frame, [`Error::NoRoom`] with less than 4 bytes of
/// headroom. The packet is unchanged.
pub fn push_vlan<B: Buffer>(packet: &mut B, id: VlanId) -> Result<(), Error> {
    ethernet::Header::split(packet.bytes())?;
    packet.prepend(vlan::LEN)?;
    let frame = packet.bytes_mut();
    frame.copy_within(vlan::LEN..vlan::LEN + MACS, 0);
    let [high, low] = id.get().to_be_bytes();
    let [type_high, type_low] = ethernet::VLAN.to_be_bytes();
    frame[MACS..MACS + vlan::LEN].copy_from_slice(&[type_high, type_low, high, low]);
    Ok(())
}

/// Takes the outermost VLAN tag out of an Ethernet frame; without one the frame stays as it is.
///
/// # Errors
/// [`Error::Truncated`] if the packet is no frame, or ends within the tag. The packet is unchanged.
pub fn pop_vlan<B: Buffer>(packet: &mut B) -> Result<(), Error> {
    let (header, rest) = ethernet::Header::split(packet.bytes())?;
    if header.ether_type() != ethernet::VLAN {
        return Ok(());
    }
    vlan::Tag::split(rest)?;
    packet.bytes_mut().copy_within(..MACS, vlan::LEN);
    packet.trim_front(vlan::LEN)
}

/// Length of the two addresses, which a tag follows.
const MACS: usize = 12;

#[cfg(test)]
mod tests;
