//! ARP for IPv4 over Ethernet (RFC 826): a view, the reply to a request in place, and requests.

use crate::{Buffer, Error, MacAddr, buffer, ethernet, split, split_mut, vlan};
use core::net::Ipv4Addr;
use core::ops::{Deref, DerefMut};

/// Length of the packet in bytes.
pub const LEN: usize = 28;

/// Operation: who has this address?
pub const REQUEST: u16 = 1;
/// Operation: this is where it is.
pub const REPLY: u16 = 2;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// ARP packet. `B` is `&[u8; 28]` to read, `&mut [u8; 28]` to write.
#[derive(Clone, Copy, Debug)]
pub struct Packet<B>(B);

impl<'a> Packet<&'a [u8; LEN]> {
    /// Splits the packet from the bytes after it, which are padding.
    ///
    /// # Errors
    /// [`Error::MalformedArp`] if fewer than 28 bytes remain, or they are not for IPv4 over Ethernet.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        match split(buf) {
            Ok((packet, rest)) if packet.starts_with(&ETHERNET_IPV4) => Ok((Self(packet), rest)),
            _ => Err(Error::MalformedArp),
        }
    }
}

impl<'a> Packet<&'a mut [u8; LEN]> {
    /// [`split`](Packet::split) to write.
    ///
    /// # Errors
    /// [`Error::MalformedArp`] if fewer than 28 bytes remain, or they are not for IPv4 over Ethernet.
    pub fn split_mut(buf: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Error> {
        match split_mut(buf) {
            Ok((packet, rest)) if packet.starts_with(&ETHERNET_IPV4) => Ok((Self(packet), rest)),
            _ => Err(Error::MalformedArp),
        }
    }
}

impl<B: Deref<Target = [u8; LEN]>> Packet<B> {
    /// [`REQUEST`], [`REPLY`], or something older.
    pub fn operation(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// Link-layer address of the sender.
    pub fn sender_mac(&self) -> MacAddr {
        let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// IPv4 address of the sender; unspecified in a probe (RFC 5227 §2.1).
    pub fn sender_ip(&self) -> Ipv4Addr {
        let [.., a, b, c, d, _, _, _, _, _, _, _, _, _, _] = *self.0;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Link-layer address of the target; meaningless in a request.
    pub fn target_mac(&self) -> MacAddr {
        let [.., a, b, c, d, e, f, _, _, _, _] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// IPv4 address of the target.
    pub fn target_ip(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.0;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Whether an address is asked for.
    pub fn is_request(&self) -> bool {
        self.operation() == REQUEST
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Packet<B> {
    /// Writes all fields.
    fn set(&mut self, operation: u16, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) {
        self.0[..6].copy_from_slice(&ETHERNET_IPV4);
        self.0[6..8].copy_from_slice(&operation.to_be_bytes());
        self.0[8..14].copy_from_slice(&sender.0.0);
        self.0[14..18].copy_from_slice(&sender.1.octets());
        self.0[18..24].copy_from_slice(&target.0.0);
        self.0[24..].copy_from_slice(&target.1.octets());
    }
}

/// Turns the request in the Ethernet frame at `l2` into its reply: the address asked for is at
/// `our_mac`. A VLAN tag stays. The reply goes to where the frame came from.
///
/// A frame that is not a well-formed request stays as it is; whoever decides to answer has read the
/// request through [`Packet`].
pub fn reply(frame: &mut [u8], l2: usize, our_mac: MacAddr) {
    let link = frame.get_mut(l2..).unwrap_or_default();
    let Ok((mut link, mut rest)) = ethernet::Header::split_mut(link) else {
        return;
    };
    if link.ether_type() == ethernet::VLAN {
        rest = rest.get_mut(vlan::LEN..).unwrap_or_default();
    }
    let Ok((mut packet, _)) = Packet::split_mut(rest) else {
        return;
    };
    if !packet.is_request() {
        return;
    }
    let asker = (packet.sender_mac(), packet.sender_ip());
    packet.set(REPLY, (our_mac, packet.target_ip()), asker);
    link.set_dst(link.src());
    link.set_src(our_mac);
}

/// Makes `packet` a broadcast frame that asks who has `target`, whatever it held before.
///
/// With `target` equal to `src` it announces that address (RFC 5227 §2.3); with `src` unspecified
/// it probes whether another station has it (§2.1).
///
/// # Errors
/// [`Error::NoRoom`] if the buffer cannot hold 42 bytes.
pub fn request<B: Buffer>(
    packet: &mut B,
    src_mac: MacAddr,
    src: Ipv4Addr,
    target: Ipv4Addr,
) -> Result<(), Error> {
    buffer::clear(packet, ethernet::LEN + LEN)?;
    let (mut link, rest) = ethernet::Header::split_mut(packet.bytes_mut())?;
    link.set_dst(MacAddr::BROADCAST);
    link.set_src(src_mac);
    link.set_ether_type(ethernet::ARP);
    let (bytes, _) = split_mut(rest)?;
    Packet(bytes).set(REQUEST, (src_mac, src), (MacAddr::ZERO, target));
    Ok(())
}

#[cfg(test)]
mod tests;
