//! Protocols, ports and ICMP types as people write them.

use std::ops::RangeInclusive;

use dataplane::tables::spec::IcmpMatch;
use encap::protocol;

use super::text::quoted;

/// Protocols with names.
const PROTOCOLS: [(&str, u8); 5] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("sctp", protocol::SCTP),
    ("icmp", protocol::ICMP),
    ("icmpv6", protocol::ICMPV6),
];

/// The word for a protocol, or its number as text.
pub(crate) fn protocol_name(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).into())
}

/// The number of a protocol written as a word or number.
pub(crate) fn protocol_number(text: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == text);
    known.map_or_else(|| number(text), |(_, number)| Some(*number))
}

/// Whether flows of this protocol have ports.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
}

/// Whether flows of this protocol have a type.
pub(super) fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, protocol::ICMP | protocol::ICMPV6)
}

/// A rule's protocol: `None` is any.
pub(super) fn any_protocol(text: &str) -> Result<Option<u8>, String> {
    if text == "any" {
        return Ok(None);
    }
    protocol_number(text).map(Some).ok_or_else(|| {
        format!(
            "{} is not a protocol; write tcp, udp, sctp, icmp, icmpv6, any or a number to 255",
            quoted(text)
        )
    })
}

/// A protocol that has ports.
pub(super) fn service_protocol(text: &str) -> Result<u8, String> {
    protocol_number(text)
        .filter(|number| has_ports(*number))
        .ok_or_else(|| format!("{} has no services; write tcp, udp or sctp", quoted(text)))
}

/// One port, or several in a row.
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Some(first), Some(last)) = (number::<u16>(first), number::<u16>(last)) else {
        return Err(format!(
            "{} are not ports; write one like 80 or 8000-8100, 0 to 65535",
            quoted(text)
        ));
    };
    if first > last {
        let text = quoted(text);
        return Err(format!(
            "{text} are no ports; the lower one goes first, {last}-{first}"
        ));
    }
    Ok(first..=last)
}

/// The way back.
pub(super) fn ports_text(ports: &RangeInclusive<u16>) -> String {
    let (first, last) = (ports.start(), ports.end());
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// A type, or a type and a code.
pub(super) fn icmp(text: &str) -> Result<IcmpMatch, String> {
    let (kind, code) = match text.split_once('/') {
        Some((kind, code)) => (number(kind), number(code).map(Some)),
        None => (number(text), Some(None)),
    };
    let both = kind.zip(code);
    both.map(|(kind, code)| IcmpMatch { kind, code })
        .ok_or_else(|| {
            format!(
                "{} is not an ICMP type; write one like 8, or with a code 3/4, 0 to 255 each",
                quoted(text)
            )
        })
}

/// The way back.
pub(super) fn icmp_text(icmp: &IcmpMatch) -> String {
    match icmp.code {
        Some(code) => format!("{}/{code}", icmp.kind),
        None => icmp.kind.to_string(),
    }
}

/// Digits only: the standard parser takes a sign, too.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}
