//! An independent judge of what was forwarded: plain code from the RFCs that
//! shares nothing with the engine. It knows Ethernet with one tag, IPv4, IPv6
//! and its extension headers, UDP, TCP, ICMP, VXLAN, MPLS and GRE.

/// What stands at an offset of a frame, or nothing where the frame ends.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Sum of 16-bit words in one's complement, not inverted (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// An IP packet as its own header describes it.
pub struct Packet<'a> {
    /// Source and destination, one behind the other.
    addresses: &'a [u8],
    protocol: u8,
    /// A fragment: what it carries cannot be judged alone.
    is_fragment: bool,
    /// What the header carries, to the end that it says.
    payload: &'a [u8],
    /// Bytes behind that end.
    padding: usize,
    is_ipv4: bool,
}

/// Reads the IP packet that `bytes` begin with.
///
/// # Errors
/// What is wrong with its header, in words.
pub fn ip(bytes: &[u8]) -> Result<Packet<'_>, &'static str> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(bytes),
        Some(6) => ipv6(bytes),
        _ => Err("neither IPv4 nor IPv6"),
    }
}

fn ipv4(bytes: &[u8]) -> Result<Packet<'_>, &'static str> {
    let header_len = usize::from(bytes[0] & 0xf) * 4;
    if header_len < 20 || bytes.len() < header_len {
        return Err("IPv4 header length");
    }
    let total_len = u16_at(bytes, 2).map_or(0, usize::from);
    if total_len < header_len || total_len > bytes.len() {
        return Err("IPv4 total length");
    }
    if sum(&[&bytes[..header_len]]) != 0xffff {
        return Err("IPv4 header checksum");
    }
    Ok(Packet {
        addresses: &bytes[12..20],
        protocol: bytes[9],
        is_fragment: u16_at(bytes, 6).is_some_and(|field| field & 0x3fff != 0),
        payload: &bytes[header_len..total_len],
        padding: bytes.len() - total_len,
        is_ipv4: true,
    })
}

fn ipv6(bytes: &[u8]) -> Result<Packet<'_>, &'static str> {
    if bytes.len() < 40 {
        return Err("IPv6 header cut short");
    }
    let end = 40 + u16_at(bytes, 4).map_or(0, usize::from);
    if end > bytes.len() {
        return Err("IPv6 payload length");
    }
    let mut packet = Packet {
        addresses: &bytes[8..40],
        protocol: bytes[6],
        is_fragment: false,
        payload: &bytes[40..end],
        padding: bytes.len() - end,
        is_ipv4: false,
    };
    // Hop-by-hop, routing, fragment, authentication, options, mobility, HIP, shim6.
    while !packet.is_fragment && [0, 43, 44, 51, 60, 135, 139, 140].contains(&packet.protocol) {
        let [next, size, ..] = *packet.payload else {
            return Err("extension header cut short");
        };
        let len = match packet.protocol {
            44 => 8,
            51 => (usize::from(size) + 2) * 4,
            _ => (usize::from(size) + 1) * 8,
        };
        if packet.payload.len() < len {
            return Err("extension header cut short");
        }
        if packet.protocol == 44 {
            let field = u16_at(packet.payload, 2).unwrap_or(0);
            packet.is_fragment = field & 0xfff9 != 0;
        }
        packet.protocol = next;
        packet.payload = &packet.payload[len..];
    }
    Ok(packet)
}

impl<'a> Packet<'a> {
    /// Whether the UDP length, where there is one, fits the packet.
    pub fn udp_len_fits(&self) -> bool {
        if self.protocol != 17 || self.is_fragment {
            return true;
        }
        u16_at(self.payload, 4).is_some_and(|len| (8..=self.payload.len()).contains(&len.into()))
    }

    /// Whether the checksum of what it carries is right; `None` where there is none,
    /// or not all of what it covers.
    pub fn transport_is_right(&self) -> Option<bool> {
        if self.is_fragment {
            return None;
        }
        let covered = match self.protocol {
            17 => {
                let len = usize::from(u16_at(self.payload, 4)?);
                if u16_at(self.payload, 6)? == 0 {
                    return None;
                }
                self.payload.get(..len)?
            }
            6 if self.payload.len() >= 20 => self.payload,
            1 | 58 if self.payload.len() >= 8 => self.payload,
            _ => return None,
        };
        // ICMP has no pseudo-header; everything else has (RFC 8200 §8.1).
        let found = match (self.protocol, self.is_ipv4) {
            (1, true) => sum(&[covered]),
            (1, false) | (58, true) => return None,
            _ => {
                let len = (covered.len() as u32).to_be_bytes();
                sum(&[self.addresses, &len, &[0, self.protocol], covered])
            }
        };
        Some(found == 0xffff)
    }

    /// The tunnel packet's own headers judged, and what is inside: an Ethernet
    /// frame of VXLAN, or what a label stack carries.
    fn opened(&self) -> Option<Result<Inside<'a>, &'static str>> {
        match (self.protocol, u16_at(self.payload, 2)?) {
            _ if self.is_fragment => None,
            (17, 4789) => Some(match self.payload.get(16..) {
                Some(frame) if self.payload[8] & 8 != 0 => Ok(Inside::Frame(frame)),
                _ => Err("VXLAN header"),
            }),
            (17, 6635) => Some(labelled(&self.payload[8.min(self.payload.len())..])),
            (47, 0x8847) => {
                let fields = (self.payload[0] & 0xb0).count_ones() as usize * 4;
                Some(match self.payload.get(4 + fields..) {
                    Some(stack) => labelled(stack),
                    None => Err("GRE header"),
                })
            }
            _ => None,
        }
    }
}

/// What a tunnel packet carries.
pub enum Inside<'a> {
    Frame(&'a [u8]),
    /// Behind a label stack: IP if its first nibble says so, or else Ethernet.
    Labelled(&'a [u8]),
}

fn labelled(mut stack: &[u8]) -> Result<Inside<'_>, &'static str> {
    loop {
        let [_, _, third, _, rest @ ..] = stack else {
            return Err("label stack without a bottom");
        };
        if third & 1 != 0 {
            return Ok(Inside::Labelled(rest));
        }
        stack = rest;
    }
}

/// The network header of a frame, behind one tag at most; `None` if it is not IP.
pub fn network(frame: &[u8]) -> Option<&[u8]> {
    let mut at = 12;
    if u16_at(frame, at)? == 0x8100 {
        at += 4;
    }
    match u16_at(frame, at)? {
        0x0800 | 0x86dd => frame.get(at + 2..),
        _ => None,
    }
}

/// The IP packet inside a frame: that of the tunnel packet, if `opens` and it is
/// one, or the frame's own. `None` where there is none, or it is malformed.
pub fn innermost(frame: &[u8], opens: bool) -> Option<Packet<'_>> {
    let packet = ip(network(frame)?).ok()?;
    if !opens {
        return Some(packet);
    }
    match packet.opened() {
        None => Some(packet),
        Some(Ok(Inside::Frame(frame))) => ip(network(frame)?).ok(),
        Some(Ok(Inside::Labelled(bytes))) => match bytes.first().map(|byte| byte >> 4) {
            Some(4 | 6) => ip(bytes).ok(),
            _ => ip(network(bytes)?).ok(),
        },
        Some(Err(_)) => None,
    }
}

/// Judges a frame that was sent.
///
/// # Errors
/// What is wrong with it, in words.
pub fn sent(frame: &[u8]) -> Result<(), &'static str> {
    if frame.len() < 14 {
        return Err("shorter than an Ethernet header");
    }
    let Some(bytes) = network(frame) else {
        return Ok(());
    };
    if ip(bytes)?.udp_len_fits() {
        Ok(())
    } else {
        Err("UDP length")
    }
}

/// Judges a tunnel packet of our own: nothing behind its end, lengths that say
/// where it is, and all that [`sent`] wants of what is inside. True if it was one.
///
/// # Errors
/// What is wrong with it, in words.
pub fn tunnelled(frame: &[u8]) -> Result<bool, &'static str> {
    let Some(bytes) = network(frame) else {
        return Ok(false);
    };
    let outer = ip(bytes)?;
    let inside = match outer.opened() {
        None => return Ok(false),
        Some(inside) => inside?,
    };
    if outer.padding != 0 {
        return Err("bytes behind the outer packet");
    }
    if outer.protocol == 17
        && u16_at(outer.payload, 4).map(usize::from) != Some(outer.payload.len())
    {
        return Err("outer UDP length");
    }
    if outer.transport_is_right() == Some(false) {
        return Err("outer UDP checksum");
    }
    match inside {
        Inside::Frame(frame) => sent(frame)?,
        Inside::Labelled(bytes) => match bytes.first().map(|byte| byte >> 4) {
            Some(4 | 6) => match ip(bytes)?.padding {
                0 => {}
                _ => return Err("padding in an L3 tunnel"),
            },
            _ => sent(bytes)?,
        },
    }
    Ok(true)
}
