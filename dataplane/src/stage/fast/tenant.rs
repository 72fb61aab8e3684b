//! Reads what a tenant's machine sends: stages `parse`, `tenant` and `overlay` for a plain packet to
//! the virtual router from one of the vif's own addresses.

use encap::{Buffer, Ends, L4Checksum, Plain, ethernet};

use super::{From, Read, Seen, key};
use crate::io::Batch;
use crate::stage::{Context, Ingress};
use crate::tables::Vif;

/// Finds the batch's plain packets and their keys.
#[inline(never)]
pub(super) fn read<'t, B: Buffer>(context: &Context<'t>, packets: &Batch<B>, read: &mut Read<'t>) {
    let vif = context.vif;
    let Some(vrf) = context.tables.vrf(vif.vrf) else {
        return;
    };
    if vif.vlan.is_some() || vif.is_guarded || !vif.port.is_strict {
        return;
    }
    let Some(from) = From::new(vrf, Ingress::vif(vif.id)) else {
        return;
    };
    read.froms.push(from);
    // Both addresses are known: the router's, and the machine's own.
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&vrf.mac.0);
    macs[6..].copy_from_slice(&vif.mac.0);
    let mut allowed = Allowed::default();
    for (index, packet) in packets.iter().enumerate() {
        let Some((plain, ends)) = plain(packet, &macs) else {
            continue;
        };
        if !allowed.admits(vif, &ends) {
            continue;
        }
        read.keys.push(key(from.zone, &plain, &ends));
        read.seen.push(Seen {
            index: index as u8,
            from: 0,
            before: 0,
            end: packet.len() as u16,
            plain,
        });
    }
}

#[inline(always)]
fn plain<B: Buffer>(packet: &B, macs: &[u8; 12]) -> Option<(Plain, Ends)> {
    let offload = packet.offload();
    if packet.is_chained() || !offload.is_finished() || offload.l4_checksum == L4Checksum::Wrong {
        return None;
    }
    let frame = packet.bytes();
    let link = frame.first_chunk::<{ ethernet::LEN }>()?;
    if link[..12] != macs[..] {
        return None;
    }
    let (plain, ends) = Plain::read(frame, ethernet::LEN)?;
    let is_right = u16::from_be_bytes([link[12], link[13]]) == plain.ether_type();
    (is_right && plain.ttl > 1).then_some((plain, ends))
}

/// Who was found to be allowed to send last: mostly there is one.
#[derive(Default)]
struct Allowed {
    ipv4: Option<u32>,
    ipv6: Option<u128>,
}

impl Allowed {
    #[inline(always)]
    fn admits(&mut self, vif: &Vif, ends: &Ends) -> bool {
        match ends {
            Ends::Ipv4(src, _) => {
                let bits = src.to_bits();
                if self.ipv4 == Some(bits) {
                    return true;
                }
                self.ipv4 = Some(bits).filter(|_| vif.may_send_from((*src).into()));
                self.ipv4.is_some()
            }
            Ends::Ipv6(src, _) => {
                let bits = src.to_bits();
                if self.ipv6 == Some(bits) {
                    return true;
                }
                // An address that says nothing of who sends, or only on its link, is no router's business.
                let is_global = !src.is_unspecified() && !src.is_unicast_link_local();
                let may_send = is_global && vif.may_send_from((*src).into());
                self.ipv6 = Some(bits).filter(|_| may_send);
                may_send
            }
        }
    }
}
