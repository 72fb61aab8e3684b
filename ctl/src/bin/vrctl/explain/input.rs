//! Packets as people give them: a tuple, hex digits, a capture.

use std::path::Path;

use ctl::proto::TuplePacket;
use dataplane::io::pcap::PcapReader;

/// Packets of a capture that are asked about.
const MAX_PACKETS: usize = 64;

/// `tcp 10.1.0.5:40000 10.1.0.9:80`, `10.1.0.9`, `icmp fd01::9`: a protocol, a source and a
/// destination, the first two of which may be missing.
pub(super) fn tuple(words: &[String]) -> Result<TuplePacket, String> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    // As copied from elsewhere.
    words.retain(|word| !matches!(*word, "->" | "to" | "from"));
    let mut tuple = TuplePacket::default();
    if let [first, ..] = words[..]
        && address(first).is_none()
    {
        tuple.protocol = Some(words.remove(0).into());
    }
    let (src, dst) = match words[..] {
        [dst] => (None, dst),
        [src, dst] => (Some(src), dst),
        _ => {
            return Err(
                "say what to explain: [PROTOCOL] [SOURCE[:PORT]] DESTINATION[:PORT], --hex, --pcap or --flow"
                    .into(),
            );
        }
    };
    let read = |word: &str| {
        address(word).ok_or_else(|| {
            format!("`{word}` is not an address; write 10.1.0.9, 10.1.0.9:80 or [fd01::9]:80")
        })
    };
    let (addr, port) = read(dst)?;
    (tuple.dst_addr, tuple.dst_port) = (addr, port);
    if let Some(src) = src {
        let (addr, port) = read(src)?;
        (tuple.src_addr, tuple.src_port) = (Some(addr), port);
    }
    if tuple.protocol.is_none() && (tuple.src_port.is_some() || tuple.dst_port.is_some()) {
        tuple.protocol = Some("tcp".into());
    }
    Ok(tuple)
}

/// An address with or without a port.
fn address(word: &str) -> Option<(String, Option<u32>)> {
    if let Ok(addr) = word.parse::<std::net::IpAddr>() {
        return Some((addr.to_string(), None));
    }
    let end: std::net::SocketAddr = word.parse().ok()?;
    Some((end.ip().to_string(), Some(end.port().into())))
}

/// Hex digits, with whatever stands between bytes in the tools that print them.
pub(super) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let is_between = |c: char| c.is_whitespace() || matches!(c, ':' | '-' | ',');
    let digits: String = text.chars().filter(|c| !is_between(*c)).collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) || digits.is_empty() {
        return Err(
            "--hex wants two hex digits for every byte, from the Ethernet header on".into(),
        );
    }
    let byte = |at: usize| {
        let pair = &digits[at..at + 2];
        u8::from_str_radix(pair, 16).map_err(|_| format!("--hex: `{pair}` is not a byte"))
    };
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The packets of a capture.
pub(super) fn pcap(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let failed = |error: dataplane::io::pcap::PcapError| error.to_string();
    let mut reader = PcapReader::open(path).map_err(failed)?;
    let mut frames = Vec::new();
    while let Some((_, frame)) = reader.next_packet().map_err(failed)? {
        if frames.len() == MAX_PACKETS {
            return Err(format!(
                "{} has more than {MAX_PACKETS} packets; take out those that matter",
                path.display()
            ));
        }
        frames.push(frame.to_vec());
    }
    match frames.is_empty() {
        true => Err(format!("{} has no packets", path.display())),
        false => Ok(frames),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &str) -> Result<TuplePacket, String> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        tuple(&words)
    }

    #[test]
    fn tuples_are_read_as_people_write_them() {
        let all = said("udp 10.1.0.5:53 -> 10.1.0.9:4000").unwrap();
        assert_eq!(all.protocol.as_deref(), Some("udp"));
        assert_eq!(
            (all.src_addr.as_deref(), all.src_port),
            (Some("10.1.0.5"), Some(53))
        );
        assert_eq!(
            (all.dst_addr.as_str(), all.dst_port),
            ("10.1.0.9", Some(4000))
        );
        let only = said("fd01::9").unwrap();
        assert_eq!(
            (only.protocol, only.src_addr, only.dst_port),
            (None, None, None)
        );
        let tcp = said("[fd01::9]:80").unwrap();
        assert_eq!(
            (tcp.protocol.as_deref(), tcp.dst_port),
            (Some("tcp"), Some(80))
        );
        assert!(
            said("tcp 10.1.0.9:80000")
                .unwrap_err()
                .contains("is not an address")
        );
        assert!(said("a b c d").is_err());
    }

    #[test]
    fn hex_is_read_with_and_without_separators() {
        assert_eq!(hex("00 5e:01-ff").unwrap(), [0, 0x5e, 1, 0xff]);
        assert_eq!(hex("0x0a0b").unwrap(), [10, 11]);
        assert!(hex("0a0").is_err() && hex("zz").is_err() && hex("ü0").is_err());
    }
}
