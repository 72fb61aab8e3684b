//! A frame in a line, for people.

use encap::{Fragment, Network, protocol};

/// Such as `10.1.0.5:4000 > 10.1.0.9:80 tcp S 60 bytes`. `len` is that of the whole frame, of which
/// `frame` may be the beginning.
pub(crate) fn summary(frame: &[u8], len: u32) -> String {
    if frame.is_empty() {
        return "not at hand any more".into();
    }
    let what = match encap::parse(frame) {
        Ok(meta) => of_headers(frame, &meta),
        Err(error) => format!("{} ({error})", macs(frame)),
    };
    format!("{what}, {len} bytes")
}

fn of_headers(frame: &[u8], meta: &encap::Meta) -> String {
    let Some((src, dst)) = meta.addrs(frame) else {
        let what = match meta.network {
            Network::Arp => "arp".to_owned(),
            _ => format!("ethertype {:#06x}", meta.ether_type),
        };
        return format!("{} {what}", macs(frame));
    };
    let has_ports = meta.is_tcp() || meta.is_udp() || meta.protocol == protocol::SCTP;
    let is_later = meta.fragment == Fragment::Later;
    let end = |addr: std::net::IpAddr, port: u16| match has_ports && !is_later {
        true => std::net::SocketAddr::new(addr, port).to_string(),
        false => addr.to_string(),
    };
    let mut line = format!(
        "{} > {} {}",
        end(src, meta.src_port),
        end(dst, meta.dst_port),
        name(meta.protocol)
    );
    if is_later {
        line += &format!(" fragment at {}", meta.fragment_offset);
    } else if meta.is_tcp() {
        line += &format!(" {}", flags(meta.l4_flags));
    } else if matches!(meta.protocol, protocol::ICMP | protocol::ICMPV6) {
        line += &format!(" type {} code {}", meta.l4_flags, meta.icmp_code);
    }
    line
}

/// As tcpdump has them.
fn flags(bits: u8) -> String {
    let names = "FSRP.UEW".chars().enumerate();
    let set = names.filter(|(bit, _)| bits >> bit & 1 == 1);
    match set.map(|(_, name)| name).collect::<String>() {
        none if none.is_empty() => "none".into(),
        some => some,
    }
}

fn name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".into(),
        protocol::UDP => "udp".into(),
        protocol::ICMP => "icmp".into(),
        protocol::ICMPV6 => "icmpv6".into(),
        protocol::SCTP => "sctp".into(),
        number => format!("protocol {number}"),
    }
}

fn macs(frame: &[u8]) -> String {
    let mac = |at: usize| {
        let bytes = frame.get(at..at + 6)?;
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(bytes.join(":"))
    };
    match (mac(6), mac(0)) {
        (Some(src), Some(dst)) => format!("{src} > {dst}"),
        _ => "a piece of a header".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_says_its_ends_and_flags() {
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[17] = 40;
        frame[22..24].copy_from_slice(&[64, 6]);
        frame[26..34].copy_from_slice(&[10, 1, 0, 5, 10, 1, 0, 9]);
        frame[34..38].copy_from_slice(&[0x0f, 0xa0, 0, 80]);
        frame[46..48].copy_from_slice(&[0x50, 0x12]);
        frame[24..26].copy_from_slice(&[0x66, 0xc1]);
        assert_eq!(
            summary(&frame, 54),
            "10.1.0.5:4000 > 10.1.0.9:80 tcp S., 54 bytes"
        );
        assert_eq!(summary(&[], 0), "not at hand any more");
        assert!(summary(&frame[..20], 54).starts_with("00:00:00:00:00:00 > "));
    }
}
