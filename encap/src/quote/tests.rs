use super::*;
use crate::samples::{self, hex};
use crate::{Network, parse};
use alloc::vec::Vec;

// Built by scapy: 3/4 with MTU 1400 about a VXLAN packet of 1550 bytes from 192.0.2.1 port 50000,
// with an option; packet too big about the first fragment of one over IPv6, behind destination
// options; time exceeded about an echo request.
const QUOTE_TUNNEL4: &str = "02000000000b02000000000a0800450000440001000040018e82c6336401c000020103048a74000005784600060e0000400040111bd7c0000201c000020294040000c35012b505f600000800000000138900";
const QUOTE_TUNNEL6: &str = "02000000000b02000000000a86dd6000000000503a4020010db800000000000000000000009920010db80000000000000000000000010200ed7e000005786000000005dc3c4020010db800000000000000000000000120010db80000000000000000000000022c000104000000001100000100000009c35112b50bb800000800000000138900";
const QUOTE_ECHO4: &str = "02000000000b02000000000a0800450000380001000040018e8ec6336401c00002010b00f4ff000000004500001c00010000010135d6c0000201c00002090800e5ca12340001";

fn read(frame: &[u8]) -> Result<Option<Quote>, Error> {
    Quote::read(frame, &parse(frame).unwrap())
}

/// The error cut to `len` bytes of quote, its lengths and checksums right again.
fn cut(frame: &[u8], len: usize) -> Vec<u8> {
    let meta = parse(frame).unwrap();
    let mut frame = frame[..usize::from(meta.l4) + 8 + len].to_vec();
    let ip_len = frame.len() - 14;
    match meta.network {
        Network::Ipv4 => {
            frame[16..18].copy_from_slice(&(ip_len as u16).to_be_bytes());
            samples::fix_ipv4(&mut frame[14..]);
        }
        _ => frame[18..20].copy_from_slice(&(ip_len as u16 - 40).to_be_bytes()),
    }
    let meta = parse(&frame).unwrap();
    crate::checksum::fill_transport(&mut frame, &meta);
    frame
}

#[test]
fn a_tunnel_packet_is_read_back_behind_its_options() {
    let frame = hex(QUOTE_TUNNEL4);
    let quote = read(&frame).unwrap().unwrap();
    assert_eq!((quote.kind, quote.code, quote.mtu), (3, 4, Some(1400)));
    assert_eq!(quote.src, IpAddr::V4([192, 0, 2, 1].into()));
    assert_eq!(quote.dst, IpAddr::V4([192, 0, 2, 2].into()));
    assert_eq!((quote.protocol, quote.total_len), (17, 1550));
    assert_eq!((quote.src_port, quote.dst_port), (50_000, 4789));
    assert_eq!(quote.transport(&frame)[8..], [8, 0, 0, 0, 0, 0x13, 0x89, 0]);
}

#[test]
fn an_ipv6_one_is_read_back_behind_its_extension_headers() {
    let frame = hex(QUOTE_TUNNEL6);
    let quote = read(&frame).unwrap().unwrap();
    assert_eq!((quote.kind, quote.code, quote.mtu), (2, 0, Some(1400)));
    assert_eq!(quote.src, "2001:db8::1".parse::<IpAddr>().unwrap());
    assert_eq!((quote.protocol, quote.total_len), (17, 1540));
    assert_eq!((quote.src_port, quote.dst_port), (50_001, 4789));
    assert!(!quote.is_later_fragment);
    assert_eq!(quote.transport(&frame).len(), 16);
}

#[test]
fn an_echo_request_is_known_by_its_identifier() {
    let quote = read(&hex(QUOTE_ECHO4)).unwrap().unwrap();
    assert_eq!((quote.kind, quote.mtu, quote.protocol), (11, None, 1));
    assert_eq!((quote.src_port, quote.dst_port), (0x1234, 0x1234));
}

#[test]
fn a_quote_may_end_anywhere_behind_the_header() {
    for (text, header) in [(QUOTE_TUNNEL4, 24), (QUOTE_TUNNEL6, 40)] {
        let whole = hex(text);
        let most = whole.len() - usize::from(parse(&whole).unwrap().l4) - 8;
        for len in 0..most {
            let quote = read(&cut(&whole, len)).unwrap();
            assert_eq!(quote.is_some(), len >= header, "{len}");
            let ports = quote.map_or((0, 0), |quote| (quote.src_port, quote.dst_port));
            let has_ports = ports.1 == 4789;
            // What stands six bytes into UDP, like the identifier of a query.
            let needed = if header == 24 { 24 + 6 } else { 40 + 16 + 6 };
            assert_eq!(has_ports, len >= needed, "{len}: {ports:?}");
        }
    }
}

#[test]
fn damage_is_refused() {
    let mut frame = hex(QUOTE_TUNNEL4);
    frame[40] ^= 1;
    assert_eq!(read(&frame), Err(Error::IcmpChecksum));
    let mut frame = hex(QUOTE_TUNNEL4);
    // RFC 5508 REQ-3: the quoted header's own checksum.
    frame[44] ^= 1;
    let meta = parse(&frame).unwrap();
    crate::checksum::fill_transport(&mut frame, &meta);
    assert_eq!(read(&frame), Err(Error::IpChecksum));
    let fragment = samples::ipv4_fragment(1, 0x2000, &[3, 4, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(&fragment), Err(Error::FragmentedIcmp));
}

#[test]
fn what_is_no_error_quotes_nothing() {
    for text in [samples::PING, samples::PING6, samples::SYN] {
        assert_eq!(read(&hex(text)), Ok(None));
    }
    let nonsense = samples::ipv4(1, &[3, 4, 0, 0, 0, 0, 0, 0]);
    let meta = parse(&nonsense).unwrap();
    let mut nonsense = nonsense;
    crate::checksum::fill_transport(&mut nonsense, &meta);
    assert_eq!(read(&nonsense), Ok(None));
}
